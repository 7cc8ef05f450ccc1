/* contention_fork.c - a parent that waited for locks, and a child that inherits nothing of that and waits in its turn.
 *
 * Runs in: a test program. Truth: `block:wait_in_parent:pthread_mutex_lock COUNT NS`, of the parent, and
 * `block:wait_in_child:...` of the child, `child_pid PID`; then `ready` (by the parent). Both live until the end of
 * stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <poll.h>
#include <sys/wait.h>

#include "contention.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

#define SIDE(kind) \
	static struct tally kind##_waits = {"block", "wait_in_" #kind, "pthread_mutex_lock", 0, 0, 0, 0, NULL}; \
	static struct tally kind##_held = {"mutex", "let_go_" #kind, "pthread_mutex_unlock", 0, 0, 0, 0, NULL}; \
	SITE static void hold_##kind(struct race *r) \
	{ \
		must(pthread_mutex_lock(&mutex)); \
		KEEP(r); \
	} \
	SITE static void let_go_##kind(struct race *r) \
	{ \
		queue_charge(&r->queue, &kind##_held); \
		must(pthread_mutex_unlock(&mutex)); \
		KEEP(r); \
	} \
	SITE static void wait_in_##kind(struct race *r, int i) \
	{ \
		int64_t t = queue_enter(&r->queue, i); \
		must(pthread_mutex_lock(&mutex)); \
		queue_leave(&r->queue, i, t, &kind##_waits); \
		let_go_##kind(r); \
	} \
	static struct race race_of_##kind = {#kind, hold_##kind, let_go_##kind, wait_in_##kind, NULL, 2, 0, 0};
SIDE(parent)
SIDE(child)

int main(void)
{
	int told[2], end[2];
	char c;
	races_run(&race_of_parent, 1, 10, 5 * MS);
	tallies_print();
	fflush(stdout);
	if (pipe(told) != 0 || pipe(end) != 0)
		return 2;
	pid_t pid = fork();
	if (pid == 0) {
		close(end[1]);
		tallies = NULL;
		races_run(&race_of_child, 1, 7, 5 * MS);
		tallies_print();
		fflush(stdout);
		if (write(told[1], "x", 1) != 1)
			_exit(1);
		/* A wait that may be long: who is in one listens. */
		struct pollfd p = {.fd = end[0], .events = POLLIN};
		poll(&p, 1, -1);
		_exit(0);
	}
	close(end[0]);
	if (read(told[0], &c, 1) != 1)
		return 3;
	printf("child_pid %d\n", (int)pid);
	ready_and_wait();
	close(end[1]);
	int status = 0;
	waitpid(pid, &status, 0);
	return status != 0;
}
