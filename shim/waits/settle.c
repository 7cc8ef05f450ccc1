/* settle.c - wait until all signals of ours have been taken.
 *
 * Runs in: listener, in its handler too, which may have interrupted anything there.
 * So: system calls alone; no memory but the stack's.
 *
 * From the moment when the kernel takes a signal of ours from the pending ones until our handler has returned, every
 * signal is blocked in that thread, number 33 with them, which libc lets nobody block for long. So the kernel's own
 * masks tell where each thread is.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/settle.h"

#include <signal.h>

#include "shim/base/os.h"
#include "shim/base/text.h"
#include "shim/threads/tasks.h"
#include "shim/waits/signals.h"

enum {
	STEP_NS = 1000000,
	MOST_NS = 1500000000,
	CLEAN_ROUNDS = 2, /* between the two masks lies an instant that shows in neither */
};

static uint64_t mask_in(const char *text, const char *key)
{
	uint64_t mask = 0;
	text_parse_uint(tasks_value(text, key), 16, &mask);
	return mask;
}

static bool is_one_of(const char *text, char a, char b)
{
	struct span state = tasks_value(text, "State");
	return state.len && (state.at[0] == a || state.at[0] == b);
}

/* A thread that sleeps with all signals blocked is not in our handler, which never sleeps. One that is stopped may be
 * so for ever. */
static void look(void *arg, int tid)
{
	char text[2048];
	bool *is_clean = arg;
	if (tid == os_tid() || tasks_read(tid, "status", text, sizeof text) <= 0)
		return;
	uint64_t blocked = mask_in(text, "SigBlk");
	uint64_t due = (mask_in(text, "SigPnd") | mask_in(text, "ShdPnd")) & ~blocked & signals_begun();
	bool in_handler = blocked & OS_SIGNAL_BIT(SIGNALS_OURS) && is_one_of(text, 'R', 'D');
	if (in_handler || (due && !is_one_of(text, 'T', 't')))
		*is_clean = false;
}

void settle_signals(void)
{
	uint64_t until = os_clock_ns(CLOCK_MONOTONIC) + MOST_NS;
	int clean = 0;
	if (!signals_begun())
		return;
	do {
		bool is_clean = true;
		tasks_each(look, &is_clean);
		clean = is_clean ? clean + 1 : 0;
	} while (clean < CLEAN_ROUNDS && os_step(until, STEP_NS));
}
