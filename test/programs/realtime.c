/* realtime.c - a process that is pinned to one processor and scheduled in a class of its own.
 *
 * Runs in: a test program of one thread, until stdin ends. argv[1]: the class (`other`, `fifo`, `deadline`), argv[2]:
 * which process takes it (`self`, or a `child` by fork). It works for a part of the time: burn for 5 ms in 25, and a
 * wait. Prints `ready PID`, or `refused` where the kernel does not allow that.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "truth.h"

enum { DEADLINE = 6 };

/* struct sched_attr of Linux 3.14 */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static long take_class(const char *class)
{
	struct sched_param high = {10};
	struct attributes a = {.size = sizeof a, .policy = DEADLINE, .runtime = 10000000, .deadline = 50000000};
	a.period = a.deadline;
	if (strcmp(class, "fifo") == 0)
		return sched_setscheduler(0, SCHED_FIFO, &high);
	return strcmp(class, "deadline") ? 0 : syscall(SYS_sched_setattr, 0, &a, 0);
}

/* The last one that it may run on. (The kernel wants a deadline's thread to run on all.) */
static long pin(void)
{
	cpu_set_t all, last;
	if (sched_getaffinity(0, sizeof all, &all))
		return -1;
	CPU_ZERO(&last);
	for (int i = CPU_SETSIZE; i-- > 0 && !CPU_COUNT(&last);)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &last);
	return sched_setaffinity(0, sizeof last, &last);
}

__attribute__((noinline, noclone)) void burn(void)
{
	struct timespec t;
	long from_ns, now_ns;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	from_ns = t.tv_sec * 1000000000L + t.tv_nsec;
	do {
		for (volatile unsigned i = 0; i < 20000; i++)
			continue;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
		now_ns = t.tv_sec * 1000000000L + t.tv_nsec;
	} while (now_ns - from_ns < 5000000);
}

static void become(const char *class)
{
	if ((strcmp(class, "deadline") && pin()) || take_class(class)) {
		puts("refused");
		exit(0);
	}
	printf("ready %d\n", getpid());
	fflush(stdout);
}

/* Its first wait is long, which starts a child's listener. */
static void work(void)
{
	struct pollfd in = {.fd = 0, .events = POLLIN};
	for (int ms = 100; poll(&in, 1, ms) == 0; ms = 20)
		burn();
}

int main(int argc, char **argv)
{
	bool is_child = argc > 2 && strcmp(argv[2], "child") == 0;
	if (is_child && fork()) {
		int status;
		wait(&status);
		return status != 0;
	}
	if (is_child)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	become(argc > 1 ? argv[1] : "other");
	work();
	return 0;
}
