/* losses.c - tell what was lost.
 *
 * Runs in: listener (snapshot_losses); the counters are written everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/losses.h"

#include <link.h>

#include "shim/base/proc.h"
#include "shim/base/shared.h"
#include "shim/base/text.h"

struct losses losses;

/* The loader's, for debuggers. From glibc 2.35 on its version tells whether dlmopen was called. Libraries opened so
 * have a libc of their own, and no preloaded library stands before it. */
extern struct r_debug _r_debug __attribute__((weak));

static void look_for_name_spaces(void)
{
	if (&_r_debug && word_load_relaxed(&_r_debug.r_version) > 1)
		shared_store_relaxed(&losses.name_spaces, 1);
}

void snapshot_losses(void (*tell)(void *arg, const char *line), void *arg)
{
	const struct {
		const shared_u64 *count;
		const char *text;
	} rows[] = {
#define LOSS(name, what) {&losses.name, what},
		LOSSES(LOSS)
#undef LOSS
	};
	look_for_name_spaces();
	if (!proc_is_there())
		tell(arg, PROC_IS_MISSING ": where blocked threads stand, names of threads, and most names of "
		                          "functions are not known; mount it there (mount -t proc)");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t count = shared_load_relaxed(rows[i].count);
		char text[256];
		struct line l = LINE(text);
		if (!count)
			continue;
		line_dec(&l, (int64_t)count);
		line_str(&l, " ");
		line_str(&l, rows[i].text);
		tell(arg, l.at);
	}
}
