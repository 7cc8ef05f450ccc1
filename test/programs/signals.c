/* signals.c - sigwait on a full set, process signals, an alternate stack, a handler that leaves by longjmp,
 * sleeps and reads that must not end early.
 *
 * Runs in: a test program; it must print the same with the shim and without.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include "truth.h"

static sigjmp_buf back;
static char *volatile nowhere;

static void on_segv(int sig)
{
	char here;
	(void)sig;
	free(malloc(3000)); /* the fault was raised by this program's own code, outside the allocator */
	KEEP(&here);
	siglongjmp(back, 1);
}

static void *fault_on_own_stack(void *arg)
{
	stack_t s = {.ss_sp = malloc(SIGSTKSZ), .ss_size = (size_t)SIGSTKSZ};
	struct sigaction a = {.sa_handler = on_segv, .sa_flags = SA_ONSTACK};
	sigaltstack(&s, NULL);
	sigaction(SIGSEGV, &a, NULL);
	for (volatile int i = 0; i < 200; i++) {
		if (sigsetjmp(back, 1) == 0)
			nowhere[i] = 1;
		free(malloc(2000));
	}
	s.ss_flags = SS_DISABLE;
	sigaltstack(&s, NULL);
	free(s.ss_sp);
	puts(arg);
	return NULL;
}

static void *wait_for_any(void *arg)
{
	sigset_t all;
	int sig = 0;
	(void)arg;
	sigfillset(&all);
	if (sigwait(&all, &sig) == 0)
		printf("sigwait_got %d\n", sig);
	return NULL;
}

static atomic_int handled;
static void count(int sig)
{
	(void)sig;
	int e = errno;
	atomic_fetch_add(&handled, 1);
	errno = e;
}

static void *sleep_through(void *arg)
{
	(void)arg;
	errno = 0;
	printf("nanosleep %d\n", nanosleep(&(struct timespec){0, 300000000}, NULL));
	return NULL;
}

int main(void)
{
	pthread_t t;
	fault_on_own_stack("faults_main 200");
	pthread_create(&t, NULL, fault_on_own_stack, "faults_thread 200");
	pthread_join(t, NULL);
	pthread_create(&t, NULL, sleep_through, NULL);
	pthread_join(t, NULL);

	/* A process signal goes to the one thread that does not block it, never to a thread of the library's. */
	sigset_t usr1, old;
	struct sigaction a = {.sa_handler = count};
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigaction(SIGUSR1, &a, NULL);
	sigprocmask(SIG_BLOCK, &usr1, &old);
	kill(getpid(), SIGUSR1);
	nanosleep(&(struct timespec){0, 100000000}, NULL);
	printf("while_blocked %d\n", atomic_load(&handled));
	sigset_t pending;
	sigpending(&pending);
	printf("pending %d\n", sigismember(&pending, SIGUSR1));
	sigprocmask(SIG_SETMASK, &old, NULL);
	printf("after_unblocked %d\n", atomic_load(&handled));

	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	pthread_create(&t, NULL, wait_for_any, NULL);
	kill(getpid(), SIGTERM);
	pthread_join(t, NULL);
	puts("end 1");
	return 0;
}
