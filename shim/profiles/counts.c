/* counts.c - how much each profile would show: the numbers of the index page.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/snapshot.h"

#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"

/* The kernel makes threads of its own in the program (io_uring): dumps leave them out. To ask for one costs three
 * system calls, so those that libc made are not asked for. */
static bool is_programs(int tid)
{
	return threads_facts(tid).thread || !tasks_is_kernels(tid);
}

uint64_t snapshot_count_threads(void)
{
	struct region scratch = {0};
	size_t listed, count = 0;
	const int *tids = tasks_list(&scratch, &listed);
	if (!tids)
		return tasks_count();
	for (size_t i = 0; i < listed; i++)
		count += is_programs(tids[i]);
	region_release(&scratch);
	return count;
}

struct snapshot_counts snapshot_counts(void)
{
	uint64_t contention[CONTENTION_KINDS];
	struct snapshot_counts c = {.threadcreate = threads_created(), .goroutine = snapshot_count_threads()};
	snapshot_count_contention(contention);
	c.block = contention[CONTENTION_BLOCK];
	c.mutex = contention[CONTENTION_MUTEX];
	snapshot_count_heap(&c.heap, &c.allocs);
	return c;
}
