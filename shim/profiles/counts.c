/* counts.c - how much each profile would show: the numbers of the index page.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/snapshot.h"

#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"

struct snapshot_counts snapshot_counts(void)
{
	uint64_t contention[CONTENTION_KINDS];
	struct snapshot_counts c = {.threadcreate = threads_created(), .goroutine = tasks_count()};
	snapshot_count_contention(contention);
	c.block = contention[CONTENTION_BLOCK];
	c.mutex = contention[CONTENTION_MUTEX];
	snapshot_count_heap(&c.heap, &c.allocs);
	return c;
}
