/* test_restart.c - calls that a signal of ours cuts short go on: never EINTR, the right time; and a signal of the
 * program's ends them all the same.
 *
 * Runs in: a process of its own, as standing_made.h says.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/waits/restart.c shim/waits/restart_look.c shim/waits/restart_transfers.c shim/waits/calls.c
 * links: shim/waits/waits.c shim/profiles/deadlock.c shim/threads/tasks.c
 * links: shim/base/powers.c
 * links: shim/base/house.c shim/libc/clock.c shim/libc/real.c shim/base/text.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/queues.c */
#include "test/unit/shim/waits/standing_made.h"

enum { TIME_MS = 3000 };

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
	{ \
		.name = text, .call = function, .release = let_go, .result_released = r, .ms = -1 \
	}
	FOR_EVER("read", c_read, feed, 1),
	FOR_EVER("readv", c_readv, feed, 1),
	FOR_EVER("recv", c_recv, feed, 1),
	FOR_EVER("recvmsg", c_recvmsg, feed, 1),
	FOR_EVER("recv, SO_RCVTIMEO", c_recv_timed, feed, 1),
	FOR_EVER("poll", c_poll, feed, 1),
	FOR_EVER("ppoll", c_ppoll, feed, 1),
	FOR_EVER("select", c_select, feed, 1),
	FOR_EVER("pselect", c_pselect, feed, 1),
	FOR_EVER("epoll_wait", c_epoll_wait, feed, 1),
	FOR_EVER("epoll_pwait", c_epoll_pwait, feed, 1),
	FOR_EVER("epoll_pwait2", c_epoll_pwait2, feed, 1),
	FOR_EVER("accept", c_accept, r_connect, 1),
	FOR_EVER("accept4, SO_RCVTIMEO", c_accept_timed, r_connect, 1),
	FOR_EVER("sem_wait", c_sem_wait, r_sem, 0),
	FOR_EVER("sigwait", c_sigwait, r_signal, 0),
	FOR_EVER("sigtimedwait", c_sigtimedwait, r_signal, 0),
	FOR_EVER("pause", c_pause, r_programs, -1),
	FOR_EVER("sigsuspend", c_sigsuspend, r_programs, -1),
	FOR_EVER("waitpid", c_wait, r_child, 1),
	FOR_EVER("msgrcv", c_msgrcv, r_msg, 1),
	FOR_EVER("semop", c_semop, r_semop, 0),
	FOR_EVER("semtimedop", c_semtimedop, r_semop, 0),
	FOR_EVER("futex", c_futex, r_futex, 0),
	FOR_EVER("futex, bitset", c_futex_bitset, r_futex, 0),
#undef FOR_EVER
};

/* What is returned at the time-out, and the error (or no matter). */
static const struct timed {
	struct stander kind;
	long result;
	int error;
} timed[] = {
#define TIMED(text, function, r, e) \
	{ \
		.kind = {.name = text, .call = function, .ms = TIME_MS}, .result = r, .error = e \
	}
	TIMED("poll", c_poll, 0, 0),
	TIMED("ppoll", c_ppoll, 0, 0),
	TIMED("select", c_select, 0, 0),
	TIMED("pselect", c_pselect, 0, 0),
	TIMED("epoll_wait", c_epoll_wait, 0, 0),
	TIMED("epoll_pwait", c_epoll_pwait, 0, 0),
	TIMED("epoll_pwait2", c_epoll_pwait2, 0, 0),
	TIMED("nanosleep", c_nanosleep, 0, 0),
	TIMED("nanosleep, left", c_nanosleep_left, 0, 0),
	TIMED("nanosleep, left in place", c_nanosleep_same, 0, 0),
	TIMED("usleep", c_usleep, 0, 0),
	TIMED("sleep", c_sleep, 0, 0),
	TIMED("clock_nanosleep", c_clock_nanosleep, 0, 0),
	TIMED("clock_nanosleep, until", c_clock_nanosleep_until, 0, 0),
	TIMED("sem_timedwait", c_sem_timedwait, -1, ETIMEDOUT),
	TIMED("sigtimedwait", c_sigtimedwait, -1, EAGAIN),
	TIMED("semtimedop", c_semtimedop, -1, EAGAIN),
	TIMED("futex", c_futex, -1, ETIMEDOUT),
	TIMED("futex, bitset", c_futex_bitset, -1, ETIMEDOUT),
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
	close_both(s);
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

int main(void)
{
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
	};
	return RUN(tests);
}
