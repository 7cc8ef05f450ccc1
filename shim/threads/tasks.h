/* tasks.h - the threads of this process as the kernel has them: /proc/<pid>/task.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TASKS_H
#define PPROFSHIM_TASKS_H

#include "shim/base/arena.h"
#include "shim/base/text.h"

/* Threads of ours that are not the program's: their ids are there while they live. */
enum tasks_ours { TASKS_LISTENER, TASKS_VISITOR, TASKS_OURS };
void tasks_hide(enum tasks_ours which, const int *tid);

/* The tids of the program's threads, ours left out, the main thread first. Returns their number in *count; NULL:
 * no memory, or no /proc (*count is 0). */
int *tasks_list(struct region *r, size_t *count);
size_t tasks_count(void);

/* A file of a thread's folder, or a piece of its beginning, NUL-terminated. Bytes read, or a negative errno. */
long tasks_read(int tid, const char *file, char *buf, size_t cap);

/* The name of a thread; NULL: it has ended, or no memory. */
const char *tasks_name(struct region *r, int tid);

/* Where a thread stands, says the kernel. */
enum task_state {
	TASK_GONE,
	TASK_RUNS,    /* or could, if it had a processor */
	TASK_BLOCKED, /* in a system call (nr), or stopped outside one (nr -1): sp and pc are its registers */
	TASK_SLEEPS,  /* blocked, but the kernel does not say where */
};
struct task {
	enum task_state state;
	int nr;
	uint64_t args[6];
	uintptr_t sp, pc;
};
struct task tasks_look(int tid);
static inline bool tasks_same(const struct task *a, const struct task *b)
{
	return a->state == b->state && a->nr == b->nr && a->sp == b->sp && a->pc == b->pc && a->args[0] == b->args[0] &&
	       a->args[1] == b->args[1];
}

/* Since how many nanoseconds a thread that is blocked has not run, or a little less; negative: the kernel does not say.
 */
int64_t tasks_idle_ns(int tid);

/* In the text of "status": the value of the line that begins with `key`. */
struct span tasks_value(const char *text, const char *key);

/* With what a thread that is still listed has ended, as for exit(2). */
int tasks_exit_status(int tid);

/* How often it has gone to sleep. */
uint64_t tasks_sleeps(int tid);

/* Does it block this signal? And does it take it, by a handler? */
bool tasks_blocks(int tid, int sig);
bool tasks_catches(int tid, int sig);

#endif
