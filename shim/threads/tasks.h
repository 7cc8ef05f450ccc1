/* tasks.h - the threads of this process as the kernel has them: /proc/<pid>/task.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TASKS_H
#define PPROFSHIM_TASKS_H

#include "shim/base/arena.h"
#include "shim/base/shared.h"
#include "shim/base/text.h"

/* Threads of ours that are not the program's. *tid is set while the thread lives. */
enum tasks_ours { TASKS_LISTENER, TASKS_VISITOR, TASKS_OURS };
void tasks_hide(enum tasks_ours which, const shared_int *tid);

/* Init: where there is no /proc, `each_known` calls `each` with the threads that are known otherwise. */
void tasks_otherwise(void (*each_known)(void (*each)(void *arg, int tid), void *arg));

/* Returns the tids of the program's threads, without ours, the main thread first, and their number in *count. Returns
 * NULL if there is no memory, or they are not known (*count is 0). */
int *tasks_list(struct region *r, size_t *count);
size_t tasks_count(void);

/* Calls `each` with every one of these tids. No memory is needed; may be called in the listener's handler. */
void tasks_each(void (*each)(void *arg, int tid), void *arg);

/* Read a file of a thread's folder, or the beginning of it, NUL-terminated.
 * Returns the bytes read, or a negative errno. */
long tasks_read(int tid, const char *file, char *buf, size_t cap);

/* Returns the name of a thread; NULL if it has ended or there is no memory. */
const char *tasks_name(struct region *r, int tid);

/* The state of a thread, as the kernel tells it. */
enum task_state {
	TASK_GONE,
	TASK_RUNS,    /* or could, if it had a processor */
	TASK_BLOCKED, /* in a system call (nr), or stopped outside one (nr -1): sp and pc are its registers */
	TASK_SLEEPS,  /* blocked, but the kernel does not say where; without /proc any thread */
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

/* Returns for how many nanoseconds a blocked thread has not run, or a little less; negative if the kernel does not say.
 * *cpu_ns, unless it is NULL, gets the processor's time that the thread has used so far; 0 if the kernel does not say.
 */
int64_t tasks_idle_ns(int tid, uint64_t *cpu_ns);

/* Returns the value of the line that begins with `key`, in the text of "status". */
struct span tasks_value(const char *text, const char *key);

/* Returns the exit status, as for exit(2), of a thread that has ended and is still listed. */
int tasks_exit_status(int tid);

/* Does the thread run the kernel's code alone, as those that io_uring makes do? It takes no signal. */
bool tasks_is_kernels(int tid);

/* Returns how often the thread has gone to sleep. */
uint64_t tasks_sleeps(int tid);

/* Does the thread block this signal? Does it take it, by a handler? */
bool tasks_blocks(int tid, int sig);
bool tasks_catches(int tid, int sig);

#endif
