/* bare_children SECONDS: a process of one thread makes children by clone(2) and by _Fork, of which libc's fork
 * handlers know nothing. They allocate.
 *
 * Runs in: a process of its own. Truth: `ready` when it has allocated in many stacks; `children N`, `hung N`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH = 13, STACKS = 1 << DEPTH, OF_A_CHILD = 200, PATIENCE_S = 10, HUNG_MOST = 3 };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *down(unsigned way, int depth);

#define TURN(name) \
	__attribute__((noinline)) static void *name(unsigned way, int depth) \
	{ \
		void *p = down(way >> 1, depth - 1); \
		__asm__ volatile("" : : "r"(p)); \
		return p; \
	}
TURN(left)
TURN(right)

__attribute__((noinline)) static void *down(unsigned way, int depth)
{
	void *p = depth == 0 ? malloc(64) : way & 1 ? left(way, depth) : right(way, depth);
	__asm__ volatile("" : : "r"(p));
	return p;
}

static void allocate(unsigned stacks)
{
	for (unsigned i = 0; i < stacks; i++)
		free(down(i, DEPTH));
}

static int ends(pid_t child)
{
	double until = now() + PATIENCE_S;
	int status;
	while (now() < until) {
		if (waitpid(child, &status, WNOHANG) == child)
			return status == 0;
		usleep(200);
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return 0;
}

int main(int argc, char **argv)
{
	long children = 0, hung = 0;
	allocate(STACKS);
	puts("ready");
	fflush(stdout);
	double until = now() + (argc > 1 ? atof(argv[1]) : 3);
	while (now() < until && hung < HUNG_MOST) {
		pid_t child = children % 2 ? _Fork() : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
		if (child == 0) {
			allocate(OF_A_CHILD);
			_exit(0);
		}
		children++;
		hung += !ends(child);
	}
	printf("children %ld\nhung %ld\n", children, hung);
	return hung != 0;
}
