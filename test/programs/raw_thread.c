/* raw_thread.c - a thread that libc does not know: made by clone(2), with a thread pointer to a page of its own, or to
 * nothing.
 *
 * raw_thread own|none|shared [alarm]
 * Runs in: a test program; what it prints must be the same with the shim and without. The thread computes and calls
 * nothing; with `alarm` it takes the program's own SIGALRM, which the main thread blocks. Until the end of stdin.
 * Truth: `ready`; at the end `computed 1`, `alarms N` (0 or 1: any), `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define BARE __attribute__((noinline, optimize("no-stack-protector")))

static volatile int stop, ended;
static volatile unsigned long computed, alarms;

static BARE void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

static BARE int compute(void *arg)
{
	while (!stop)
		computed++;
	ended = 1;
	return arg != NULL;
}

/* A page between two that nobody may touch, which begins with a pointer to itself. */
static char *thread_block(void)
{
	char *area = mmap(NULL, 3 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *block = area + 4096;
	if (area == MAP_FAILED || mprotect(block, 4096, PROT_READ | PROT_WRITE) != 0)
		abort();
	memcpy(block, &block, sizeof block);
	return block;
}

static void alarm_every_us(long us)
{
	struct itimerval t = {{0, us}, {0, us}};
	setitimer(ITIMER_REAL, &t, NULL);
}

int main(int argc, char **argv)
{
	int shared = argc > 1 && strcmp(argv[1], "shared") == 0, own = argc > 1 && strcmp(argv[1], "own") == 0;
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
	            (shared ? 0 : CLONE_SETTLS);
	char *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sigaction a = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	sigset_t alarm_set;
	sigemptyset(&alarm_set);
	sigaddset(&alarm_set, SIGALRM);
	sigaction(SIGALRM, &a, NULL);
	if (clone(compute, stack + 65536 - 64, flags, NULL, NULL, own ? thread_block() : NULL, NULL) < 0)
		return 2;
	sigprocmask(SIG_BLOCK, &alarm_set, NULL);
	while (!computed)
		usleep(1000);
	puts("ready");
	fflush(stdout);
	if (argc > 2)
		alarm_every_us(5000);
	while (getchar() != EOF || (argc > 2 && !alarms))
		usleep(10000);
	alarm_every_us(0);
	for (stop = 1; !ended;)
		usleep(1000);
	usleep(10000); /* it leaves by the exit call */
	printf("computed %d\nalarms %d\nend 1\n", computed > 0, alarms > 0);
	return 0;
}
