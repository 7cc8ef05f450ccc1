/* standing_made.h - threads that stand in real system calls, for the tests of restart.c.
 *
 * Runs in: test programs of their own. No hook has recorded the calls; the main thread looks at the threads as the
 * listener does, and sends a signal (SIGUSR2) whose handler does what ours does. SIGUSR1 is the program's, with a
 * handler that does what a trampoline does first. One test program includes this once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_STANDING_MADE_H
#define PPROFSHIM_TEST_STANDING_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/libc/clock.h"
#include "shim/waits/handlers.h"
#include "shim/waits/queues.h"
#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/waits/restart.h"
#include "shim/threads/tasks.h"
#include "shim/threads/threads.h"
#include "shim/waits/waits.h"
#include "test/unit/support/count.h"

enum { OURS = SIGUSR2, PROGRAMS = SIGUSR1 };

bool handlers_counted(uintptr_t handler) /* handlers.c's */
{
	(void)handler;
	return true;
}

void threads_each(void (*each)(struct thread *t, void *arg), void *arg) /* threads.c's */
{
	(void)each, (void)arg;
}

/* --- a thread that stands in a call --------------------------------------------------------------------- */

struct stander {
	const char *name;
	long (*call)(struct stander *s);
	void (*release)(struct stander *s);
	long result_released; /* when let go */
	int ms;               /* the time-out of the call; negative: for ever */

	struct thread record;
	pthread_t thread;
	int tid;          /* atomic */
	uint32_t done;    /* atomic */
	uint32_t hits;    /* atomic: our handler's */
	uint32_t handled; /* atomic: the program's */
	long result;
	int error;
	uint64_t began_ns, ended_ns;
	int fd[2], ipc;
	uint32_t word;
	sem_t sem;
	pid_t child;
};

static __thread struct stander *standing;

/* What happens while our handler runs, and right after. */
static bool raise_before, raise_after;

static inline void raise_here(int sig)
{
	os_call(SYS_tgkill, getpid(), os_tid(), sig);
}

static inline void on_ours(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	uint64_t mask;
	(void)sig, (void)info;
	memcpy(&mask, &u->uc_sigmask, sizeof mask);
	if (raise_before)
		raise_here(PROGRAMS);
	restart_interrupted(u, mask);
	if (raise_after)
		raise_here(PROGRAMS);
	__atomic_fetch_add(&standing->hits, 1, __ATOMIC_RELAXED);
}

static bool raise_ours_in_programs;

static inline void on_programs(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	struct restart *r = &standing->record.restart;
	(void)info;
	self.handled++;
	shared_set_own(&r->handled, shared_own(&r->handled) + 1);
#if defined(__x86_64__)
	r->handled_pc = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
	r->handled_sp = (uintptr_t)u->uc_mcontext.gregs[REG_RSP];
	if (u->uc_mcontext.gregs[REG_RCX] == u->uc_mcontext.gregs[REG_RIP])
		u->uc_mcontext.gregs[REG_RCX] = 0;
	if (r->handled_pc == r->again_pc)
		restart_give_up(sig, u);
#endif
	if (raise_ours_in_programs)
		raise_here(OURS); /* it comes when this handler has returned */
	__atomic_fetch_add(&standing->handled, 1, __ATOMIC_RELAXED);
}

static inline int install(void **state)
{
	(void)state;
	struct sigaction a = {.sa_sigaction = on_ours, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigaction b = {.sa_sigaction = on_programs, .sa_flags = SA_SIGINFO};
	sigfillset(&a.sa_mask);
	sigemptyset(&b.sa_mask);
	sigaddset(&b.sa_mask, OURS);
	sigaction(OURS, &a, NULL);
	sigaction(PROGRAMS, &b, NULL);
	raise_before = raise_after = raise_ours_in_programs = false;
	return 0;
}

static inline void *stand(void *arg)
{
	struct stander *s = standing = arg;
	self.thread = &s->record;
	shared_store_relaxed(&s->record.tid, os_tid());
	__atomic_store_n(&s->tid, os_tid(), __ATOMIC_RELEASE);
	s->began_ns = clock_ns(CLOCK_MONOTONIC);
	s->result = s->call(s);
	s->error = errno;
	s->ended_ns = clock_ns(CLOCK_MONOTONIC);
	__atomic_store_n(&s->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static inline void nap(void)
{
	os_call(SYS_nanosleep, &(struct timespec){.tv_nsec = 1000000}, NULL);
}

static inline bool is_done(struct stander *s)
{
	return __atomic_load_n(&s->done, __ATOMIC_ACQUIRE);
}

/* Until it is blocked; false: it came back. */
static inline bool await_blocked(struct stander *s)
{
	for (;;) {
		int tid = __atomic_load_n(&s->tid, __ATOMIC_ACQUIRE);
		if (is_done(s))
			return false;
		if (tid && tasks_look(tid).state == TASK_BLOCKED)
			return true;
		nap();
	}
}

static inline void start(struct stander *s, const struct stander *kind)
{
	*s = *kind;
	assert_int_equal(pthread_create(&s->thread, NULL, stand, s), 0);
	assert_true(await_blocked(s));
}

/* Our signal, after a look or without. */
static inline void interrupt(struct stander *s, bool look)
{
	uint32_t before = __atomic_load_n(&s->hits, __ATOMIC_RELAXED);
	if (look)
		assert_true(restart_look(&s->record));
	os_call(SYS_tgkill, getpid(), s->tid, OURS);
	while (__atomic_load_n(&s->hits, __ATOMIC_RELAXED) == before)
		nap();
}

static inline void finish(struct stander *s)
{
	pthread_join(s->thread, NULL);
}

/* --- what the calls are made on ----------------------------------------------------------------------------- */

static inline void make_pipe(struct stander *s)
{
	assert_int_equal(pipe(s->fd), 0);
}
static inline void make_pair(struct stander *s)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s->fd), 0);
}
static inline void close_both(struct stander *s)
{
	for (int i = 0; i < 2; i++)
		if (s->fd[i])
			close(s->fd[i]);
}

static inline int on_x86(void **state)
{
#if defined(__x86_64__)
	return install(state);
#else
	(void)state;
	return 0;
#endif
}

#define TEST(name) cmocka_unit_test_setup(name, on_x86)

/* Run the tests. Elsewhere than on x86-64 no call is known; ThreadSanitizer runs handlers later, and not where the
 * signal came. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define RUN(tests) (house_start(NULL), clock_start(), cmocka_run_group_tests(tests, NULL, NULL))
#else
#define RUN(tests) ((void)(tests), 0)
#endif

#endif
