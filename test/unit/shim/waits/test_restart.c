/* test_restart.c - calls that a signal of ours cuts short go on: never EINTR, the right time, all the bytes; and a
 * signal of the program's ends them all the same.
 *
 * Runs in: its own process. Threads stand in real system calls that no hook has recorded; the main thread looks at them
 * as the listener does, and sends a signal (SIGUSR2) whose handler does what ours does. SIGUSR1 is the program's, with
 * a handler that does what a trampoline does first.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/waits/restart.c shim/waits/calls.c shim/waits/waits.c shim/profiles/deadlock.c shim/threads/tasks.c
 * links: shim/base/powers.c
 * links: shim/base/house.c shim/libc/clock.c shim/libc/real.c shim/base/text.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/queues.c */
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

enum { OURS = SIGUSR2, PROGRAMS = SIGUSR1, TIME_MS = 3000, LARGE = 300000 };

__thread struct self self; /* sampling.c's */

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

static void raise_here(int sig)
{
	os_call(SYS_tgkill, getpid(), os_tid(), sig);
}

static void on_ours(int sig, siginfo_t *info, void *context)
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

static void on_programs(int sig, siginfo_t *info, void *context)
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

static int install(void **state)
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

static void *stand(void *arg)
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

static void nap(void)
{
	os_call(SYS_nanosleep, &(struct timespec){.tv_nsec = 1000000}, NULL);
}

static bool is_done(struct stander *s)
{
	return __atomic_load_n(&s->done, __ATOMIC_ACQUIRE);
}

/* Until it is blocked; false: it came back. */
static bool await_blocked(struct stander *s)
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

static void start(struct stander *s, const struct stander *kind)
{
	*s = *kind;
	assert_int_equal(pthread_create(&s->thread, NULL, stand, s), 0);
	assert_true(await_blocked(s));
}

/* Our signal, after a look or without. */
static void interrupt(struct stander *s, bool look)
{
	uint32_t before = __atomic_load_n(&s->hits, __ATOMIC_RELAXED);
	if (look)
		assert_true(restart_look(&s->record));
	os_call(SYS_tgkill, getpid(), s->tid, OURS);
	while (__atomic_load_n(&s->hits, __ATOMIC_RELAXED) == before)
		nap();
}

static void finish(struct stander *s)
{
	pthread_join(s->thread, NULL);
}

/* --- the calls ---------------------------------------------------------------------------------------------- */

static struct timespec span(const struct stander *s)
{
	return (struct timespec){.tv_sec = s->ms / 1000, .tv_nsec = s->ms % 1000 * 1000000l};
}

static struct timespec until(clockid_t clock, const struct stander *s)
{
	uint64_t at = os_clock_ns(clock) + (uint64_t)s->ms * 1000000;
	return (struct timespec){.tv_sec = (time_t)(at / 1000000000), .tv_nsec = (long)(at % 1000000000)};
}

#define TIME_OF(s) ((s)->ms < 0 ? NULL : &(struct timespec){(s)->ms / 1000, (s)->ms % 1000 * 1000000l})

static void make_pipe(struct stander *s)
{
	assert_int_equal(pipe(s->fd), 0);
}
static void make_pair(struct stander *s)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s->fd), 0);
}
static void feed(struct stander *s)
{
	assert_int_equal(write(s->fd[1], "x", 1), 1);
}

static long c_read(struct stander *s)
{
	char c;
	make_pipe(s);
	return read(s->fd[0], &c, 1);
}
static long c_readv(struct stander *s)
{
	char c;
	make_pipe(s);
	return readv(s->fd[0], &(struct iovec){&c, 1}, 1);
}
static long c_recv(struct stander *s)
{
	char c;
	make_pair(s);
	return recv(s->fd[0], &c, 1, 0);
}
static long c_recvmsg(struct stander *s)
{
	char c;
	struct iovec v = {&c, 1};
	make_pair(s);
	return recvmsg(s->fd[0], &(struct msghdr){.msg_iov = &v, .msg_iovlen = 1}, 0);
}
static long c_recv_timed(struct stander *s)
{
	char c;
	make_pair(s);
	struct timeval t = {.tv_sec = 60};
	setsockopt(s->fd[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
	return recv(s->fd[0], &c, 1, 0);
}
static long c_poll(struct stander *s)
{
	make_pipe(s);
	return poll(&(struct pollfd){s->fd[0], POLLIN, 0}, 1, s->ms);
}
static long c_ppoll(struct stander *s)
{
	make_pipe(s);
	return ppoll(&(struct pollfd){s->fd[0], POLLIN, 0}, 1, TIME_OF(s), NULL);
}
static long c_select(struct stander *s)
{
	fd_set set;
	struct timeval t = {s->ms / 1000, s->ms % 1000 * 1000l};
	make_pipe(s);
	FD_ZERO(&set);
	FD_SET(s->fd[0], &set);
	return select(s->fd[0] + 1, &set, NULL, NULL, s->ms < 0 ? NULL : &t);
}
static long c_pselect(struct stander *s)
{
	fd_set set;
	make_pipe(s);
	FD_ZERO(&set);
	FD_SET(s->fd[0], &set);
	return pselect(s->fd[0] + 1, &set, NULL, NULL, TIME_OF(s), NULL);
}
static int make_epoll(struct stander *s)
{
	struct epoll_event e = {.events = EPOLLIN};
	int fd = epoll_create1(0);
	make_pipe(s);
	epoll_ctl(fd, EPOLL_CTL_ADD, s->fd[0], &e);
	return fd;
}
static long c_epoll_wait(struct stander *s)
{
	struct epoll_event e;
	return epoll_wait(make_epoll(s), &e, 1, s->ms);
}
static long c_epoll_pwait(struct stander *s)
{
	struct epoll_event e;
	return epoll_pwait(make_epoll(s), &e, 1, s->ms, NULL);
}
static long c_epoll_pwait2(struct stander *s)
{
	struct epoll_event e;
	return syscall(SYS_epoll_pwait2, make_epoll(s), &e, 1, TIME_OF(s), NULL, 0);
}
static int make_socket(struct stander *s)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t bytes = sizeof a;
	s->fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	s->fd[1] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	bind(s->fd[0], (void *)&a, bytes);
	listen(s->fd[0], 1);
	getsockname(s->fd[0], (void *)&a, &bytes);
	s->ipc = ntohs(a.sin_port);
	return s->fd[0];
}
static void r_connect(struct stander *s)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)s->ipc)};
	connect(s->fd[1], (void *)&a, sizeof a);
}
static long c_accept(struct stander *s)
{
	return accept(make_socket(s), NULL, NULL) > 0;
}
static long c_accept_timed(struct stander *s)
{
	struct timeval t = {.tv_sec = 60};
	setsockopt(make_socket(s), SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
	return accept4(s->fd[0], NULL, NULL, SOCK_CLOEXEC) > 0;
}
static long c_nanosleep(struct stander *s)
{
	return nanosleep(TIME_OF(s), NULL);
}
static long c_nanosleep_left(struct stander *s)
{
	struct timespec left;
	return nanosleep(TIME_OF(s), &left);
}
static long c_nanosleep_same(struct stander *s)
{
	struct timespec t = span(s);
	return nanosleep(&t, &t);
}
static long c_usleep(struct stander *s)
{
	return usleep((useconds_t)s->ms * 1000);
}
static long c_sleep(struct stander *s)
{
	return sleep((unsigned)s->ms / 1000);
}
static long c_clock_nanosleep(struct stander *s)
{
	return clock_nanosleep(CLOCK_MONOTONIC, 0, TIME_OF(s), NULL);
}
static long c_clock_nanosleep_until(struct stander *s)
{
	struct timespec t = until(CLOCK_MONOTONIC, s);
	return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}
static long c_sem_wait(struct stander *s)
{
	sem_init(&s->sem, 0, 0);
	return sem_wait(&s->sem);
}
static void r_sem(struct stander *s)
{
	sem_post(&s->sem);
}
static long c_sem_timedwait(struct stander *s)
{
	struct timespec t = until(CLOCK_REALTIME, s);
	sem_init(&s->sem, 0, 0);
	return sem_timedwait(&s->sem, &t);
}
static void usr_set(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGRTMIN + 3);
	pthread_sigmask(SIG_BLOCK, set, NULL);
}
static void r_signal(struct stander *s)
{
	os_call(SYS_tgkill, getpid(), s->tid, SIGRTMIN + 3);
}
static long c_sigwait(struct stander *s)
{
	sigset_t set;
	int sig;
	(void)s;
	usr_set(&set);
	return sigwait(&set, &sig);
}
static long c_sigtimedwait(struct stander *s)
{
	sigset_t set;
	usr_set(&set);
	return sigtimedwait(&set, NULL, TIME_OF(s)) > 0 ? 0 : -1;
}
static void r_programs(struct stander *s)
{
	os_call(SYS_tgkill, getpid(), s->tid, PROGRAMS);
}
static long c_pause(struct stander *s)
{
	(void)s;
	return pause();
}
static long c_sigsuspend(struct stander *s)
{
	sigset_t set;
	(void)s;
	sigemptyset(&set);
	return sigsuspend(&set);
}
static long c_wait(struct stander *s)
{
	s->child = fork();
	if (!s->child) {
		sigset_t set;
		sigfillset(&set);
		sigprocmask(SIG_BLOCK, &set, NULL);
		for (;;)
			pause();
	}
	return waitpid(s->child, NULL, 0) == s->child;
}
static void r_child(struct stander *s)
{
	kill(s->child, SIGKILL);
}
static long c_msgrcv(struct stander *s)
{
	struct {
		long type;
		char c;
	} m;
	s->ipc = msgget(IPC_PRIVATE, 0600);
	return msgrcv(s->ipc, &m, 1, 0, 0);
}
static void r_msg(struct stander *s)
{
	struct {
		long type;
		char c;
	} m = {1, 'x'};
	msgsnd(s->ipc, &m, 1, 0);
}
static long c_semop(struct stander *s)
{
	s->ipc = semget(IPC_PRIVATE, 1, 0600);
	return semop(s->ipc, &(struct sembuf){0, -1, 0}, 1);
}
static long c_semtimedop(struct stander *s)
{
	s->ipc = semget(IPC_PRIVATE, 1, 0600);
	return semtimedop(s->ipc, &(struct sembuf){0, -1, 0}, 1, TIME_OF(s));
}
static void r_semop(struct stander *s)
{
	semop(s->ipc, &(struct sembuf){0, 1, 0}, 1);
}
static long c_futex(struct stander *s)
{
	return syscall(SYS_futex, &s->word, FUTEX_WAIT_PRIVATE, 0, TIME_OF(s), NULL, 0);
}
static long c_futex_bitset(struct stander *s)
{
	struct timespec t = until(CLOCK_MONOTONIC, s);
	return syscall(SYS_futex, &s->word, FUTEX_WAIT_BITSET_PRIVATE, 0, s->ms < 0 ? NULL : &t, NULL, -1);
}
static void r_futex(struct stander *s)
{
	__atomic_store_n(&s->word, 1, __ATOMIC_SEQ_CST);
	os_futex_wake(&s->word, 1);
}

/* Of those that end by a signal alone, EINTR is the right end. */
static const struct stander for_ever[] = {
#define FOR_EVER(text, function, let_go, r) \
	{.name = text, .call = function, .release = let_go, .result_released = r, .ms = -1},
	FOR_EVER("read", c_read, feed, 1) FOR_EVER("readv", c_readv, feed, 1) FOR_EVER("recv", c_recv, feed, 1)
		FOR_EVER("recvmsg", c_recvmsg, feed, 1) FOR_EVER("recv, SO_RCVTIMEO", c_recv_timed, feed, 1) FOR_EVER(
			"poll", c_poll, feed, 1) FOR_EVER("ppoll", c_ppoll, feed, 1) FOR_EVER("select", c_select, feed,
                                                                                              1)
			FOR_EVER("pselect", c_pselect, feed, 1) FOR_EVER("epoll_wait", c_epoll_wait, feed, 1) FOR_EVER(
				"epoll_pwait", c_epoll_pwait, feed, 1) FOR_EVER("epoll_pwait2", c_epoll_pwait2, feed, 1)
				FOR_EVER("accept", c_accept, r_connect,
                                         1) FOR_EVER("accept4, SO_RCVTIMEO", c_accept_timed, r_connect,
                                                     1) FOR_EVER("sem_wait", c_sem_wait, r_sem, 0)
					FOR_EVER("sigwait", c_sigwait, r_signal,
                                                 0) FOR_EVER("sigtimedwait", c_sigtimedwait, r_signal,
                                                             0) FOR_EVER("pause", c_pause, r_programs, -1)
						FOR_EVER("sigsuspend", c_sigsuspend, r_programs,
                                                         -1) FOR_EVER("waitpid", c_wait, r_child,
                                                                      1) FOR_EVER("msgrcv", c_msgrcv, r_msg, 1)
							FOR_EVER("semop", c_semop, r_semop,
                                                                 0) FOR_EVER("semtimedop", c_semtimedop, r_semop,
                                                                             0) FOR_EVER("futex", c_futex, r_futex, 0)
								FOR_EVER("futex, bitset", c_futex_bitset, r_futex, 0)
#undef FOR_EVER
};

/* What is returned at the time-out, and the error (or no matter). */
static const struct timed {
	struct stander kind;
	long result;
	int error;
} timed[] = {
#define TIMED(text, function, r, e) {.kind = {.name = text, .call = function, .ms = TIME_MS}, .result = r, .error = e},
	TIMED("poll", c_poll, 0, 0) TIMED("ppoll", c_ppoll, 0, 0) TIMED("select", c_select, 0, 0)
		TIMED("pselect", c_pselect, 0, 0) TIMED("epoll_wait", c_epoll_wait, 0, 0) TIMED(
			"epoll_pwait", c_epoll_pwait, 0, 0) TIMED("epoll_pwait2", c_epoll_pwait2, 0, 0)
			TIMED("nanosleep", c_nanosleep, 0, 0) TIMED("nanosleep, left", c_nanosleep_left, 0, 0) TIMED(
				"nanosleep, left in place", c_nanosleep_same, 0, 0) TIMED("usleep", c_usleep, 0, 0)
				TIMED("sleep", c_sleep, 0, 0) TIMED("clock_nanosleep", c_clock_nanosleep, 0, 0)
					TIMED("clock_nanosleep, until", c_clock_nanosleep_until, 0,
                                              0) TIMED("sem_timedwait", c_sem_timedwait, -1,
                                                       ETIMEDOUT) TIMED("sigtimedwait", c_sigtimedwait, -1, EAGAIN)
						TIMED("semtimedop", c_semtimedop, -1, EAGAIN)
							TIMED("futex", c_futex, -1, ETIMEDOUT)
								TIMED("futex, bitset", c_futex_bitset, -1, ETIMEDOUT)
#undef TIMED
};

static void give_back(struct stander *s)
{
	if (s->call == c_msgrcv)
		msgctl(s->ipc, IPC_RMID, NULL);
	if (s->call == c_semop || s->call == c_semtimedop)
		semctl(s->ipc, 0, IPC_RMID);
	if (s->call == c_wait) {
		kill(s->child, SIGKILL);
		waitpid(s->child, NULL, 0);
	}
	for (int i = 0; i < 2; i++)
		if (s->fd[i])
			close(s->fd[i]);
}

/* --- what ends a call, and what does not ------------------------------------------------------------------- */

static void check_for_ever(const struct stander *kind, bool look)
{
	struct stander s;
	start(&s, kind);
	for (int i = 0; i < 3; i++) {
		interrupt(&s, look);
		if (!await_blocked(&s))
			fail_msg("%s: returned %ld, errno %d", s.name, s.result, s.error);
	}
	s.release(&s);
	finish(&s);
	if (s.result != s.result_released)
		fail_msg("%s: returned %ld, errno %d, when it was let go", s.name, s.result, s.error);
	give_back(&s);
}

static void test_our_signal_ends_no_call(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(for_ever); i++)
		check_for_ever(&for_ever[i], true);
}

/* Whose number is known by the code alone: not those that are made by syscall(). */
static void test_the_code_says_what_libc_calls(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(for_ever); i++)
		if (for_ever[i].call != c_futex && for_ever[i].call != c_futex_bitset &&
		    for_ever[i].call != c_epoll_pwait2)
			check_for_ever(&for_ever[i], false);
}

/* All at once: a call that began anew would last until two thirds of its time later. gap_ms: between the look and the
 * signal. Returns the name of a call that took too long; NULL: none. */
static const char *check_time_outs(unsigned gap_ms)
{
	static struct stander s[COUNT(timed)];
	const char *slow = NULL;
	for (size_t i = 0; i < COUNT(timed); i++)
		start(&s[i], &timed[i].kind);
	os_call(SYS_nanosleep, &(struct timespec){.tv_sec = TIME_MS * 2 / 3 / 1000}, NULL);
	for (size_t i = 0; i < COUNT(timed) && gap_ms; i++)
		assert_true(restart_look(&s[i].record));
	os_call(SYS_nanosleep, &(struct timespec){.tv_nsec = gap_ms * 1000000l}, NULL);
	for (size_t i = 0; i < COUNT(timed); i++)
		interrupt(&s[i], !gap_ms);
	for (size_t i = 0; i < COUNT(timed); i++) {
		finish(&s[i]);
		int64_t took_ms = (int64_t)(s[i].ended_ns - s[i].began_ns) / 1000000;
		if (s[i].result != timed[i].result || (timed[i].error && s[i].error != timed[i].error))
			fail_msg("%s: returned %ld, errno %d", s[i].name, s[i].result, s[i].error);
		if (took_ms < TIME_MS - 10)
			fail_msg("%s: took %ld ms", s[i].name, (long)took_ms);
		if (took_ms > TIME_MS * 3 / 2)
			slow = s[i].name;
		give_back(&s[i]);
	}
	return slow;
}

static void test_a_time_out_is_kept(void **state)
{
	(void)state;
	const char *slow = check_time_outs(0);
	if (slow)
		fail_msg("%s: as if it had begun anew", slow);
}

/* On a busy machine a signal comes late. (It may also be so busy that a thread takes long to wake up: then it is tried
 * again.) */
static void test_a_time_out_is_kept_when_our_signal_comes_long_after_the_look(void **state)
{
	enum { GAP_MS = 200, TRIES = 3 };
	const char *slow = "none";
	(void)state;
	for (int i = 0; i < TRIES && slow; i++)
		slow = check_time_outs(GAP_MS);
	if (slow)
		fail_msg("%s: as if it had begun anew", slow);
}

/* EINTR by its error number, or as its result. */
static bool was_interrupted(const struct stander *s)
{
	return s->result == EINTR || (s->result == -1 && s->error == EINTR) || (s->call == c_sleep && s->result > 0) ||
	       s->call == c_wait || s->call == c_accept || s->call == c_accept_timed;
}

static void check_ended(const struct stander *kind, void (*happens)(struct stander *s))
{
	struct stander s;
	start(&s, kind);
	happens(&s);
	while (!is_done(&s)) { /* a call that goes on is let go in the end */
		static int waited;
		if (++waited > 20000)
			fail_msg("%s: goes on", s.name);
		nap();
	}
	finish(&s);
	if (!was_interrupted(&s) || s.handled == 0)
		fail_msg("%s: returned %ld, errno %d, %u handled", s.name, s.result, s.error, s.handled);
	give_back(&s);
}

/* sigwait is not interrupted by glibc. */
static void check_all_ended(void (*happens)(struct stander *s))
{
	for (size_t i = 0; i < COUNT(for_ever); i++)
		if (for_ever[i].call != c_sigwait)
			check_ended(&for_ever[i], happens);
	for (size_t i = 0; i < COUNT(timed); i++)
		check_ended(&timed[i].kind, happens);
}

static void looked_and_interrupted(struct stander *s)
{
	restart_look(&s->record);
	os_call(SYS_tgkill, getpid(), s->tid, OURS);
}

static void test_the_programs_signal_ends_it_alone(void **state)
{
	(void)state;
	check_all_ended(r_programs);
}

static void test_a_signal_that_is_due_with_ours_ends_it(void **state)
{
	(void)state;
	raise_before = true;
	check_all_ended(looked_and_interrupted);
}

static void test_a_signal_before_the_call_is_made_again_ends_it(void **state)
{
	(void)state;
	raise_after = true;
	check_all_ended(looked_and_interrupted);
}

static void looked_and_handled(struct stander *s)
{
	restart_look(&s->record);
	r_programs(s);
}

static void test_our_signal_after_the_programs_handler_leaves_it_ended(void **state)
{
	(void)state;
	raise_ours_in_programs = true;
	check_all_ended(looked_and_handled);
	check_all_ended(r_programs); /* nothing was noted */
}

/* The first is ended by the program's signal; the second is another one. */
static long c_twice(struct stander *s)
{
	long first = 0, second = 0;
	make_pipe(s);
	for (int i = 0; i < 2; i++) {
		long r = poll(&(struct pollfd){s->fd[0], POLLIN, 0}, 1, -1);
		*(i ? &second : &first) = r;
	}
	return first == -1 && second == 1;
}

static void test_a_handler_that_ran_in_an_earlier_call_is_no_matter(void **state)
{
	const struct stander kind = {
		.name = "poll, twice", .call = c_twice, .release = feed, .result_released = 1, .ms = -1};
	struct stander s;
	(void)state;
	start(&s, &kind);
	r_programs(&s);
	while (!__atomic_load_n(&s.handled, __ATOMIC_RELAXED))
		nap();
	await_blocked(&s);
	interrupt(&s, false);
	interrupt(&s, true);
	assert_true(await_blocked(&s));
	feed(&s);
	finish(&s);
	assert_int_equal(s.result, 1);
	give_back(&s);
}

/* --- transfers --------------------------------------------------------------------------------------------- */

static char sent[LARGE], received[LARGE];

static long t_write(struct stander *s)
{
	return write(s->fd[1], sent, LARGE);
}
static long t_writev(struct stander *s)
{
	struct iovec v[] = {{sent, 1000}, {sent + 1000, 0}, {sent + 1000, 150000}, {sent + 151000, LARGE - 151000}};
	return writev(s->fd[1], v, COUNT(v));
}
static long t_send(struct stander *s)
{
	return send(s->fd[1], sent, LARGE, 0);
}
static long t_sendmsg(struct stander *s)
{
	struct iovec v[] = {{sent, 70000}, {sent + 70000, LARGE - 70000}};
	return sendmsg(s->fd[1], &(struct msghdr){.msg_iov = v, .msg_iovlen = 2}, MSG_NOSIGNAL);
}
static long t_recv(struct stander *s)
{
	return recv(s->fd[0], received, LARGE, MSG_WAITALL);
}
static long t_recvmsg(struct stander *s)
{
	struct iovec v[] = {{received, 70000}, {received + 70000, LARGE - 70000}};
	return recvmsg(s->fd[0], &(struct msghdr){.msg_iov = v, .msg_iovlen = 2}, MSG_WAITALL);
}

static const struct transfer {
	struct stander kind;
	bool is_pipe, receives;
} transfers[] = {
#define TRANSFER(text, function, pipe, receive) \
	{.kind = {.name = text, .call = function}, .is_pipe = pipe, .receives = receive},
	TRANSFER("write to a pipe", t_write, true, false) TRANSFER("writev to a pipe", t_writev, true, false)
		TRANSFER("write to a socket", t_write, false, false)
			TRANSFER("writev to a socket", t_writev, false, false) TRANSFER("send", t_send, false, false)
				TRANSFER("sendmsg", t_sendmsg, false, false) TRANSFER("recv", t_recv, false, true)
					TRANSFER("recvmsg", t_recvmsg, false, true)
#undef TRANSFER
};

static void fill_sent(void)
{
	for (size_t i = 0; i < LARGE; i++)
		sent[i] = (char)(i * 31 + i / 251);
}

/* Take a piece from the thread that sends, or give one to the thread that receives. */
static size_t other_side(const struct transfer *t, struct stander *s, size_t at)
{
	enum { PIECE = 7001 };
	size_t n = LARGE - at < PIECE ? LARGE - at : PIECE;
	ssize_t moved = t->receives ? write(s->fd[1], sent + at, n) : read(s->fd[0], received + at, n);
	assert_true(moved > 0);
	return (size_t)moved;
}

static void begin_transfer(const struct transfer *t, struct stander *s)
{
	struct stander kind = t->kind;
	fill_sent();
	memset(received, 0, sizeof received);
	if (t->is_pipe)
		make_pipe(&kind);
	else
		make_pair(&kind);
	start(s, &kind);
}

static void test_a_transfer_moves_all_it_was_asked_for(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(transfers); i++) {
		struct stander s;
		begin_transfer(&transfers[i], &s);
		for (size_t at = 0, piece = 0; at < LARGE; piece++) {
			at += other_side(&transfers[i], &s, at);
			if (piece % 5 == 0 && await_blocked(&s))
				interrupt(&s, piece % 2 == 0);
		}
		finish(&s);
		if (s.result != LARGE)
			fail_msg("%s: %ld bytes, errno %d", s.name, s.result, s.error);
		assert_memory_equal(sent, received, LARGE);
		give_back(&s);
	}
}

/* Returns false if nothing had been moved yet when the signal came: on a busy machine the call gets no processor. */
static bool ends_with_a_part(const struct transfer *t, int way)
{
	struct stander s;
	begin_transfer(t, &s);
	size_t at = other_side(t, &s, 0);
	raise_before = way == 0;
	raise_ours_in_programs = way == 1;
	await_blocked(&s);
	if (way == 2) { /* in the middle of the rest */
		interrupt(&s, true);
		at += other_side(t, &s, at);
		await_blocked(&s);
	}
	os_call(SYS_tgkill, getpid(), s.tid, way == 0 ? OURS : PROGRAMS);
	finish(&s);
	bool moved = s.result != -1 || s.error != EINTR;
	if (moved && (s.result <= 0 || s.result >= LARGE || (size_t)s.result < at))
		fail_msg("%s: %ld bytes, errno %d", s.name, s.result, s.error);
	install(NULL);
	give_back(&s);
	return moved;
}

static void test_the_programs_signal_ends_a_transfer_too(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(transfers); i++)
		for (int way = 0; way < 3; way++) {
			int tries = 0;
			while (!ends_with_a_part(&transfers[i], way))
				assert_true(++tries < 20);
		}
}

/* One that may not wait came back with what it could move at once. */
static void test_a_transfer_that_may_not_wait_has_no_rest(void **state)
{
	(void)state;
	struct stander s = {.name = "none"};
	make_pipe(&s);
	fcntl(s.fd[1], F_SETFL, O_NONBLOCK);
	standing = &s;
	self.thread = &s.record;
	for (int i = 0; i < 2000;
	     i++) { /* a signal that is due when the call returns: it is sent in it, by another thread */
		char drain[65536];
		raise_here(OURS);
		ssize_t n = write(s.fd[1], sent, LARGE);
		assert_true(n > 0 && n < LARGE);
		for (ssize_t got = 0; got < n;)
			got += read(s.fd[0], drain, sizeof drain);
	}
	give_back(&s);
}

enum { REGISTERS_CUT = -3 };
#if defined(__x86_64__)
/* All registers but those that a system call leaves undefined, after a transfer with a rest. */
static long t_registers(struct stander *s)
{
	uint64_t vector[4] = {0x1122334455667788, 0x99aabbccddeeff00, 0x0123456789abcdef, 0xfedcba9876543210},
		 after[4] = {0};
	long result = SYS_write, fd = s->fd[1], same;
	register long r10 __asm__("r10") = 10, r8 __asm__("r8") = 8, r9 __asm__("r9") = 9, r12 __asm__("r12") = 12;
	const char *from = sent;
	size_t count = LARGE;
	__asm__ volatile("movdqu (%[v]), %%xmm0\n\tmovdqu 16(%[v]), %%xmm15\n\tsyscall\n\t"
	                 "movdqu %%xmm0, (%[after])\n\tmovdqu %%xmm15, 16(%[after])"
	                 : "+a"(result), "+D"(fd), "+S"(from), "+d"(count), "+r"(r10), "+r"(r8), "+r"(r9), "+r"(r12)
	                 : [v] "r"(vector), [after] "b"(after)
	                 : "rcx", "r11", "xmm0", "xmm15", "memory");
	same = memcmp(vector, after, sizeof vector) == 0 && fd == s->fd[1] && from == sent && count == LARGE &&
	       r10 == 10 && r8 == 8 && r9 == 9 && r12 == 12;
	if (same && result < (long)LARGE) { /* cut: its number was not known any more, see below */
		for (size_t at = result > 0 ? (size_t)result : 0; at < LARGE;) {
			ssize_t n = write(s->fd[1], sent + at, LARGE - at);
			at += n > 0 ? (size_t)n : 0;
		}
		return REGISTERS_CUT;
	}
	return same ? result : -2;
}
#endif

static void test_no_register_is_changed(void **state)
{
	(void)state;
#if defined(__x86_64__)
	const struct transfer t = {.kind = {.name = "registers", .call = t_registers}, .is_pipe = true};
	/* Its number is in no instruction. A writer that wakes up late, between the look at it and the signal, blocks
	 * again in a call that nobody has looked at. */
	long result = REGISTERS_CUT;
	for (int tries = 0; tries < 20 && result == REGISTERS_CUT; tries++) {
		struct stander s;
		begin_transfer(&t, &s);
		for (size_t at = 0; at < LARGE;) {
			at += other_side(&t, &s, at);
			if (at < LARGE / 2 && await_blocked(&s))
				interrupt(&s, true);
		}
		finish(&s);
		result = s.result;
		give_back(&s);
	}
	assert_int_equal(result, LARGE);
#else
	skip();
#endif
}

/* --- what the listener sees --------------------------------------------------------------------------------- */

static long c_everything(struct stander *s)
{
	uint64_t all = ~(uint64_t)0 & ~((uint64_t)1 << (OURS - 1));
	struct timespec t = {.tv_sec = 1};
	(void)s;
	return syscall(SYS_rt_sigtimedwait, &all, NULL, &t, sizeof all);
}

static void test_a_thread_that_waits_for_our_signal_gets_none(void **state)
{
	const struct stander kind = {.name = "everything", .call = c_everything, .ms = -1};
	struct stander s;
	(void)state;
	start(&s, &kind);
	assert_false(restart_look(&s.record));
	assert_true(s.record.restart.keep_off);
	finish(&s);
}

/* --- where it is looked --------------------------------------------------------------------------------------- */

/* Code in a page of its own, as runtimes make it: nothing can be read before it. */
static void test_the_first_instruction_of_a_page_has_nothing_before_it(void **state)
{
	(void)state;
#if defined(__x86_64__)
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ucontext_t u;
	assert_ptr_not_equal(pages, MAP_FAILED);
	assert_int_equal(mprotect(pages, 4096, PROT_NONE), 0);
	for (uintptr_t offset = 0; offset < 2; offset++) {
		memset(&u, 0, sizeof u);
		u.uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)(pages + 4096 + offset);
		u.uc_mcontext.gregs[REG_RAX] = -EINTR;
		restart_interrupted(&u, ~(uint64_t)0);
		assert_int_equal(u.uc_mcontext.gregs[REG_RIP], (greg_t)(uintptr_t)(pages + 4096 + offset));
	}
	munmap(pages, 8192);
#else
	skip();
#endif
}

#if defined(__x86_64__)
/* A page that can't be read, behind one with "mov $SYS_semtimedop, %eax; syscall" at its beginning. */
static char *pages_with_call(void)
{
	static const unsigned char call[] = {0x90, 0x90, 0xb8, SYS_semtimedop & 0xff, SYS_semtimedop >> 8, 0,
	                                     0,    0x0f, 0x05};
	char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(pages, MAP_FAILED);
	memcpy(pages, call, sizeof call);
	assert_int_equal(mprotect(pages + 4096, 4096, PROT_NONE), 0);
	return pages;
}
enum { BEHIND_CALL = 9, STACK = 1 << 16 };

/* A thread that our signal interrupted behind that call, in a wait that its hook has published. */
static void interrupted_in(ucontext_t *u, struct thread *t, const char *pages, const char *time)
{
	memset(u, 0, sizeof *u);
	memset(t, 0, sizeof *t);
	t->restart.nr = -1;
	self.thread = t;
	struct unwind_frame frame = {.sp = STACK};
	struct wait_scope scope;
	waits_enter(&scope, WAIT_semtimedop, 0, frame, clock_ns(CLOCK_MONOTONIC) - 1000000000);
	u->uc_mcontext.gregs[REG_RSP] = STACK - 100;
	u->uc_mcontext.gregs[REG_RIP] = u->uc_mcontext.gregs[REG_RCX] = (greg_t)(uintptr_t)(pages + BEHIND_CALL);
	u->uc_mcontext.gregs[REG_RAX] = -EINTR;
	u->uc_mcontext.gregs[REG_R10] = (greg_t)(uintptr_t)time;
}
#endif

/* If the hook made it again, a handler of the program's could come between its last look and the call, and be missed.
 */
static void test_a_wait_of_a_hook_is_made_again_with_nothing_in_between(void **state)
{
	(void)state;
#if defined(__x86_64__)
	char *pages = pages_with_call();
	struct timespec minute = {.tv_sec = 60};
	struct thread t;
	ucontext_t u;
	interrupted_in(&u, &t, pages, (const char *)&minute);
	restart_interrupted_in(&u, 0, &t.wait);
	assert_int_equal(u.uc_mcontext.gregs[REG_RIP], (greg_t)(uintptr_t)(pages + BEHIND_CALL - 2));
	assert_int_equal(u.uc_mcontext.gregs[REG_RAX], SYS_semtimedop);
	assert_false(waits_may_be_cut_short());
	const struct timespec *left = (const void *)u.uc_mcontext.gregs[REG_R10];
	assert_in_range(left->tv_sec, 30, 59); /* a second has passed, more on a busy machine */
	restart_give_up(PROGRAMS, &u);         /* its handler comes here, and has no SA_RESTART */
	assert_int_equal(u.uc_mcontext.gregs[REG_RIP], (greg_t)(uintptr_t)(pages + BEHIND_CALL));
	assert_int_equal(u.uc_mcontext.gregs[REG_RAX], -EINTR);
	munmap(pages, 8192);
#else
	skip();
#endif
}

static void test_a_time_out_that_was_cut_counts_from_then_on(void **state)
{
	(void)state;
#if defined(__x86_64__)
	char *pages = pages_with_call();
	struct timespec minute = {.tv_sec = 60};
	struct thread t;
	ucontext_t u;
	interrupted_in(&u, &t, pages, (const char *)&minute);
	t.wait.since_ns -= 20000000000; /* 21 s ago */
	for (int i = 0; i < 3; i++) {
		u.uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)(pages + BEHIND_CALL);
		u.uc_mcontext.gregs[REG_RAX] = -EINTR;
		restart_interrupted_in(&u, 0, &t.wait);
	}
	const struct timespec *left = (const void *)u.uc_mcontext.gregs[REG_R10];
	assert_in_range(left->tv_sec, 25, 39); /* not 0 */
	munmap(pages, 8192);
#else
	skip();
#endif
}

static void test_code_and_times_that_we_may_not_read_are_left_alone(void **state)
{
	(void)state;
#if defined(__x86_64__)
	char *pages = pages_with_call();
	struct thread t;
	ucontext_t u;
	for (uintptr_t offset = 0; offset < 64; offset++) {
		const char *code = pages + 4096 + offset;
		interrupted_in(&u, &t, code - BEHIND_CALL, NULL);
		restart_interrupted_in(&u, 0, &t.wait);
		restart_interrupted(&u, 0);
		u.uc_mcontext.gregs[REG_RCX] += 2;
		restart_interrupted_in(&u, 0, &t.wait);
		restart_interrupted(&u, 0);
		restart_give_up(PROGRAMS, &u);
		assert_int_equal(u.uc_mcontext.gregs[REG_RIP], (greg_t)(uintptr_t)code);
	}
	for (int bytes = 0; bytes < 9; bytes += 8) { /* none, or the first half of a time */
		interrupted_in(&u, &t, pages, pages + 4096 - bytes);
		restart_interrupted_in(&u, 0, &t.wait);
		assert_int_equal(u.uc_mcontext.gregs[REG_RIP], (greg_t)(uintptr_t)(pages + BEHIND_CALL - 2));
		assert_int_equal(u.uc_mcontext.gregs[REG_R10], (greg_t)(uintptr_t)(pages + 4096 - bytes));
	}
	munmap(pages, 8192);
#else
	skip();
#endif
}

static int on_x86(void **state)
{
#if defined(__x86_64__)
	return install(state);
#else
	(void)state;
	return 0;
#endif
}

#define TEST(name) cmocka_unit_test_setup(name, on_x86)

int main(void)
{
#if !defined(__x86_64__) || defined(__SANITIZE_THREAD__)
	return 0; /* no call is known there; ThreadSanitizer runs handlers later, and not where the signal came */
#endif
	const struct CMUnitTest tests[] = {
		TEST(test_our_signal_ends_no_call),
		TEST(test_the_code_says_what_libc_calls),
		TEST(test_a_time_out_is_kept),
		TEST(test_a_time_out_is_kept_when_our_signal_comes_long_after_the_look),
		TEST(test_the_programs_signal_ends_it_alone),
		TEST(test_a_signal_that_is_due_with_ours_ends_it),
		TEST(test_a_signal_before_the_call_is_made_again_ends_it),
		TEST(test_our_signal_after_the_programs_handler_leaves_it_ended),
		TEST(test_a_handler_that_ran_in_an_earlier_call_is_no_matter),
		TEST(test_a_transfer_moves_all_it_was_asked_for),
		TEST(test_the_programs_signal_ends_a_transfer_too),
		TEST(test_a_transfer_that_may_not_wait_has_no_rest),
		TEST(test_no_register_is_changed),
		TEST(test_a_thread_that_waits_for_our_signal_gets_none),
		TEST(test_the_first_instruction_of_a_page_has_nothing_before_it),
		TEST(test_a_wait_of_a_hook_is_made_again_with_nothing_in_between),
		TEST(test_a_time_out_that_was_cut_counts_from_then_on),
		TEST(test_code_and_times_that_we_may_not_read_are_left_alone),
	};
	house_start(NULL);
	clock_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
