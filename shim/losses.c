/* losses.c - tell what was lost.
 *
 * Runs in: listener (snapshot_losses); the counters are written everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/losses.h"

#include "shim/snapshot.h"
#include "shim/text.h"

struct losses losses;

void snapshot_losses(void (*tell)(void *arg, const char *line), void *arg)
{
	const struct {
		const uint64_t *count;
		const char *text;
	} rows[] = {
#define LOSS(name, what) {&losses.name, what},
	    LOSSES(LOSS)
#undef LOSS
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t count = __atomic_load_n(rows[i].count, __ATOMIC_RELAXED);
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
