/* altstack.c - faults handled on alternate stacks, handlers that burn CPU there, and threads on the smallest stacks.
 *
 * altstack [SECONDS]
 * Runs in: a test program; what it prints must be the same with the shim and without. Every alternate stack lies
 * between two pages that nobody may touch. Threads: faults on SIGSTKSZ bytes that are left by siglongjmp; a handler
 * that burns on SIGSTKSZ bytes; short handlers on the least that the kernel takes, twice; and burning threads of
 * PTHREAD_STACK_MIN. Truth: `ready`; at the end `faults_survived 1`, `burnt_on_altstack 1`, `small_altstack 1`,
 * `tiny_threads 1`, `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "clocks.h"
#include "truth.h"

static atomic_bool stop;
static atomic_long faults, burns, small, tiny;
static __thread sigjmp_buf back;
static char *volatile nowhere;

/* Needs no SA_ONSTACK of anyone else's; the guard below turns an overflow into a crash. */
static void use_altstack(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (size + page - 1) / page * page;
	char *p = mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || mprotect(p + page, room, PROT_READ | PROT_WRITE) != 0)
		abort();
	stack_t s = {.ss_sp = p + page, .ss_size = size};
	if (sigaltstack(&s, NULL) != 0)
		abort();
}

static void check_on_altstack(void)
{
	stack_t now;
	if (sigaltstack(NULL, &now) != 0 || !(now.ss_flags & SS_ONSTACK))
		abort();
}

static void on_segv(int sig)
{
	(void)sig;
	check_on_altstack();
	siglongjmp(back, 1);
}

static void on_usr1(int sig)
{
	(void)sig;
	check_on_altstack();
	burn_here(3 * MS);
	atomic_fetch_add(&burns, 1);
}

static void on_usr2(int sig)
{
	(void)sig;
	check_on_altstack();
	atomic_fetch_add(&small, 1);
}

static void *fault(void *arg)
{
	use_altstack((size_t)SIGSTKSZ);
	while (!atomic_load(&stop)) {
		if (sigsetjmp(back, 1) == 0)
			nowhere[0] = 1;
		atomic_fetch_add(&faults, 1);
		burn_here(100000);
	}
	return arg;
}

static void *handle(void *arg)
{
	int sig = arg ? SIGUSR2 : SIGUSR1;
	/* The least that the kernel takes, for the program's frame and for one more. */
	use_altstack(arg ? 2 * (size_t)sysconf(_SC_MINSIGSTKSZ) + 2048 : (size_t)SIGSTKSZ);
	while (!atomic_load(&stop)) {
		raise(sig);
		burn_here(100000);
	}
	return arg;
}

static void *burn(void *arg)
{
	for (int i = 0; i < 20 && !atomic_load(&stop); i++)
		burn_here(2 * MS);
	atomic_fetch_add(&tiny, 1);
	return arg;
}

static void tiny_threads(void)
{
	pthread_t t[8];
	pthread_attr_t a;
	int made = 0;
	pthread_attr_init(&a);
	if (pthread_attr_setstacksize(&a, (size_t)PTHREAD_STACK_MIN) != 0)
		abort();
	for (int i = 0; i < 8; i++)
		made += pthread_create(&t[made], &a, burn, NULL) == 0;
	while (made > 0)
		pthread_join(t[--made], NULL);
}

int main(int argc, char **argv)
{
	int64_t until = now_ns(CLOCK_MONOTONIC) + (argc > 1 ? atoi(argv[1]) : 2) * SECOND;
	pthread_t t[3];
	struct sigaction a = {.sa_handler = on_segv, .sa_flags = SA_ONSTACK};
	sigaction(SIGSEGV, &a, NULL);
	a.sa_handler = on_usr1;
	sigaction(SIGUSR1, &a, NULL);
	a.sa_handler = on_usr2;
	sigaction(SIGUSR2, &a, NULL);
	pthread_create(&t[0], NULL, fault, NULL);
	pthread_create(&t[1], NULL, handle, NULL);
	pthread_create(&t[2], NULL, handle, &stop);
	puts("ready 1");
	fflush(stdout);
	do
		tiny_threads();
	while (now_ns(CLOCK_MONOTONIC) < until);
	atomic_store(&stop, 1);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	printf("faults_survived %d\nburnt_on_altstack %d\nsmall_altstack %d\ntiny_threads %d\nend 1\n", faults > 10,
	       burns > 10, small > 10, tiny >= 8);
	return 0;
}
