/* eintr_abort.c - one thread for each call that can block; aborts on EINTR, on an early return, on a short count.
 *
 * eintr_abort [SECONDS [NAME]]      NAME: only the calls whose name begins so
 * Runs in: a test program. A thread calls its call over and over, with bursts of CPU time between, in two ways: until
 * `waker`, one thread for all of them, lets it go, or until the call's own time-out. Each return is held against that.
 * Truth: `ready`; at the end, for each call, `NAME WOKEN TIMED_OUT`, and `end 1`. At a fault it says on stderr
 * what is wrong, and aborts.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "clocks.h"
#include "truth.h"

enum { IDLE, READY, WAITING, RELEASED };
enum { LARGE = 300000, PIECE = 997, FED = 6 * PIECE, FOREVER_MS = 120000, LATE_MS = 60000 };

struct slot {
	const char *name;
	void (*call)(struct slot *s);
	int (*prepare)(struct slot *s);  /* by the waker: may the victim begin? */
	void (*release)(struct slot *s); /* by the waker; says RELEASED before the victim can see it */
	void (*set_up)(struct slot *s);

	atomic_int state;
	_Atomic int64_t release_at;
	pthread_t thread;
	atomic_int tid;
	uint64_t random;
	long woken, timed_out;

	/* of the call that is under way, by the victim */
	int timed, ms;
	int64_t from, slack_ns;

	/* what is waited for */
	int fd[2], extra[64], extras, ipc, signal;
	long moved;
	pthread_mutex_t mutex;
	pthread_rwlock_t rwlock;
	pthread_cond_t cond;
	sem_t sem;
	int predicate;
	_Atomic uint32_t word;
};

static atomic_bool stop;
static char folder[] = "/tmp/eintr_abort.XXXXXX";
static int ipcs[64][2], ipc_count; /* kind (0 messages, 1 semaphores), id */
static char zeros[LARGE];

static void clean_up(void)
{
	for (int i = 0; i < ipc_count; i++)
		if (ipcs[i][0])
			semctl(ipcs[i][1], 0, IPC_RMID);
		else
			msgctl(ipcs[i][1], IPC_RMID, NULL);
	rmdir(folder);
}

static void die(const char *name, const char *what, long value, long expected, int error)
{
	static atomic_flag told = ATOMIC_FLAG_INIT;
	while (atomic_flag_test_and_set(&told)) /* what others see now comes of this */
		pause();
	fprintf(stderr, "eintr_abort: %s: %s: %ld for %ld, errno %d (%s)\n", name, what, value, expected, error,
	        strerror(error));
	clean_up();
	abort();
}

#define MUST(call) \
	({ \
		long must_ = (long)(call); \
		if (must_ < 0) \
			die(#call, "set-up", must_, 0, errno); \
		must_; \
	})

/* ---- a call's begin and end ---- */

static void nap(struct slot *s, int64_t ns)
{
	int64_t from = now_ns(CLOCK_MONOTONIC);
	struct timespec t = timespec_of(ns);
	if (nanosleep(&t, NULL) != 0)
		die(s->name, "nanosleep between calls", -1, 0, errno);
	if (now_ns(CLOCK_MONOTONIC) - from < ns)
		die(s->name, "nanosleep between calls was early", now_ns(CLOCK_MONOTONIC) - from, ns, 0);
}

/* A burst of CPU time, so that the timers of a profile expire around the call too. */
static void burst(struct slot *s)
{
	burn_here((int64_t)(next_random(&s->random) % 600000));
}

/* Until the waker lets it go. */
static void begin_woken(struct slot *s)
{
	burst(s);
	s->timed = 0;
	s->from = now_ns(CLOCK_MONOTONIC);
	atomic_store(&s->release_at, s->from + 3 * MS + (int64_t)(next_random(&s->random) % (25 * MS)));
	atomic_store(&s->state, WAITING);
}

/* Until its time-out. */
static int begin_timed(struct slot *s)
{
	burst(s);
	s->timed = 1;
	s->ms = 1 + (int)(next_random(&s->random) % 30);
	s->from = now_ns(CLOCK_MONOTONIC);
	return s->ms;
}

/* One or the other; returns the time-out in ms. */
static int begin(struct slot *s)
{
	if (next_random(&s->random) % 2)
		return begin_timed(s);
	begin_woken(s);
	return FOREVER_MS;
}

static void finish_woken(struct slot *s, long result, long expected, int error)
{
	if (result != expected)
		die(s->name, "returned", result, expected, error);
	if (atomic_load(&s->state) != RELEASED)
		die(s->name, "returned before it was let go", atomic_load(&s->state), RELEASED, 0);
	s->woken++;
	atomic_store(&s->state, IDLE);
}

static void finish_timed(struct slot *s, long result, long expected, int error, int expected_error)
{
	int64_t took = now_ns(CLOCK_MONOTONIC) - s->from;
	if (result != expected || (expected < 0 && error != expected_error))
		die(s->name, "returned at its time-out", result, expected, error);
	if (took < s->ms * MS - s->slack_ns)
		die(s->name, "was early (ns)", took, s->ms * MS, 0);
	if (took > (s->ms + LATE_MS) * MS)
		die(s->name, "was late (ns)", took, s->ms * MS, 0);
	s->timed_out++;
}

/* result: of the call; woken: what it is when woken; timed, timed_error: when timed out. */
static void finish(struct slot *s, long result, long woken, long timed, int timed_error)
{
	int error = errno;
	if (s->timed)
		finish_timed(s, result, timed, error, timed_error);
	else
		finish_woken(s, result, woken, error);
}

/* For calls that return the error. */
static void finish_code(struct slot *s, int result)
{
	if (s->timed)
		finish_timed(s, result, ETIMEDOUT, 0, 0);
	else
		finish_woken(s, result, 0, result);
}

static struct timespec after(clockid_t clock, int ms)
{
	return timespec_of(now_ns(clock) + ms * MS);
}

static struct timespec span(int ms)
{
	return timespec_of(ms * MS);
}

/* By the waker, before it does what lets the victim go. */
static void let_go(struct slot *s)
{
	atomic_store(&s->state, RELEASED);
}

/* ---- locks: the waker holds them ---- */

static void set_up_mutex(struct slot *s)
{
	pthread_mutex_init(&s->mutex, NULL);
}
static void set_up_mutex_pi(struct slot *s)
{
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&s->mutex, &a);
}
static int hold_mutex(struct slot *s)
{
	return pthread_mutex_trylock(&s->mutex) == 0;
}
static void let_mutex_go(struct slot *s)
{
	let_go(s);
	pthread_mutex_unlock(&s->mutex);
}
static void got_mutex(struct slot *s, int result)
{
	if (!s->timed && result == 0)
		pthread_mutex_unlock(&s->mutex);
	finish_code(s, result);
}
static void call_mutex_lock(struct slot *s)
{
	begin_woken(s);
	got_mutex(s, pthread_mutex_lock(&s->mutex));
}
static void call_mutex_timedlock(struct slot *s)
{
	struct timespec t = after(CLOCK_REALTIME, begin(s));
	got_mutex(s, pthread_mutex_timedlock(&s->mutex, &t));
}
static void call_mutex_clocklock(struct slot *s)
{
	struct timespec t = after(CLOCK_MONOTONIC, begin(s));
	got_mutex(s, pthread_mutex_clocklock(&s->mutex, CLOCK_MONOTONIC, &t));
}

static void set_up_rwlock(struct slot *s)
{
	pthread_rwlock_init(&s->rwlock, NULL);
}
static int hold_rwlock(struct slot *s)
{
	return pthread_rwlock_trywrlock(&s->rwlock) == 0;
}
static void let_rwlock_go(struct slot *s)
{
	let_go(s);
	pthread_rwlock_unlock(&s->rwlock);
}
static void got_rwlock(struct slot *s, int result)
{
	if (!s->timed && result == 0)
		pthread_rwlock_unlock(&s->rwlock);
	finish_code(s, result);
}
static void call_rdlock(struct slot *s)
{
	begin_woken(s);
	got_rwlock(s, pthread_rwlock_rdlock(&s->rwlock));
}
static void call_wrlock(struct slot *s)
{
	begin_woken(s);
	got_rwlock(s, pthread_rwlock_wrlock(&s->rwlock));
}
static void call_timedrdlock(struct slot *s)
{
	struct timespec t = after(CLOCK_REALTIME, begin(s));
	got_rwlock(s, pthread_rwlock_timedrdlock(&s->rwlock, &t));
}
static void call_timedwrlock(struct slot *s)
{
	struct timespec t = after(CLOCK_REALTIME, begin(s));
	got_rwlock(s, pthread_rwlock_timedwrlock(&s->rwlock, &t));
}
static void call_clockrdlock(struct slot *s)
{
	struct timespec t = after(CLOCK_MONOTONIC, begin(s));
	got_rwlock(s, pthread_rwlock_clockrdlock(&s->rwlock, CLOCK_MONOTONIC, &t));
}
static void call_clockwrlock(struct slot *s)
{
	struct timespec t = after(CLOCK_MONOTONIC, begin(s));
	got_rwlock(s, pthread_rwlock_clockwrlock(&s->rwlock, CLOCK_MONOTONIC, &t));
}

/* ---- condition variables ---- */

static void set_up_cond(struct slot *s)
{
	pthread_mutex_init(&s->mutex, NULL);
	pthread_cond_init(&s->cond, NULL);
}
static int prepare_cond(struct slot *s)
{
	s->predicate = 0;
	return 1;
}
static void signal_cond(struct slot *s)
{
	if (pthread_mutex_trylock(&s->mutex) != 0)
		return; /* next time */
	let_go(s);
	s->predicate = 1;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->mutex);
}
static void got_cond(struct slot *s, int result)
{
	int locked = pthread_mutex_trylock(&s->mutex);
	if (locked != EBUSY)
		die(s->name, "returned without the mutex", locked, EBUSY, 0);
	if (result == 0 && !s->predicate)
		die(s->name, "woke with nobody signalling", 0, 1, 0);
	pthread_mutex_unlock(&s->mutex);
	finish_code(s, result);
}
static void call_cond_wait(struct slot *s)
{
	pthread_mutex_lock(&s->mutex);
	begin_woken(s);
	got_cond(s, pthread_cond_wait(&s->cond, &s->mutex));
}
static void call_cond_timedwait(struct slot *s)
{
	pthread_mutex_lock(&s->mutex);
	struct timespec t = after(CLOCK_REALTIME, begin(s));
	got_cond(s, pthread_cond_timedwait(&s->cond, &s->mutex, &t));
}
static void call_cond_clockwait(struct slot *s)
{
	pthread_mutex_lock(&s->mutex);
	struct timespec t = after(CLOCK_MONOTONIC, begin(s));
	got_cond(s, pthread_cond_clockwait(&s->cond, &s->mutex, CLOCK_MONOTONIC, &t));
}

/* ---- semaphores ---- */

static void set_up_sem(struct slot *s)
{
	sem_init(&s->sem, 0, 0);
}
static void post(struct slot *s)
{
	let_go(s);
	sem_post(&s->sem);
}
static void call_sem_wait(struct slot *s)
{
	begin_woken(s);
	finish(s, sem_wait(&s->sem), 0, 0, 0);
}
static void call_sem_timedwait(struct slot *s)
{
	struct timespec t = after(CLOCK_REALTIME, begin(s));
	finish(s, sem_timedwait(&s->sem, &t), 0, -1, ETIMEDOUT);
}
static void call_sem_clockwait(struct slot *s)
{
	struct timespec t = after(CLOCK_MONOTONIC, begin(s));
	finish(s, sem_clockwait(&s->sem, CLOCK_MONOTONIC, &t), 0, -1, ETIMEDOUT);
}

/* ---- joins, barriers: partners of their own ---- */

struct partner {
	int64_t ends_at;
	int ended;
};

static void *be_joined(void *arg)
{
	struct partner *p = arg;
	struct timespec t = timespec_of(p->ends_at);
	int r = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	if (r != 0 || now_ns(CLOCK_MONOTONIC) < p->ends_at)
		die("clock_nanosleep of a thread to be joined", "returned", r, 0, r);
	p->ended = 1;
	return p;
}

static void join(struct slot *s, int (*how)(pthread_t t, void **result, int ms))
{
	pthread_t t;
	void *result = NULL;
	int ms = begin_timed(s);
	struct partner p = {.ends_at = s->from + ms * MS};
	int r = pthread_create(&t, NULL, be_joined, &p);
	if (r != 0)
		die(s->name, "pthread_create", r, 0, r);
	int first = how(t, &result, FOREVER_MS);
	if (first != 0 || result != &p || !p.ended)
		die(s->name, "joined", first, 0, first);
	finish_timed(s, 0, 0, 0, 0);
}

/* Not in time first, then in time. */
static void join_twice(struct slot *s, int (*how)(pthread_t t, void **result, int ms))
{
	pthread_t t;
	int ms = begin_timed(s);
	struct partner p = {.ends_at = s->from + 8 * ms * MS};
	int r = pthread_create(&t, NULL, be_joined, &p);
	if (r != 0)
		die(s->name, "pthread_create", r, 0, r);
	int64_t from = now_ns(CLOCK_MONOTONIC);
	r = how(t, NULL, ms);
	int64_t took = now_ns(CLOCK_MONOTONIC) - from;
	if (r == ETIMEDOUT ? took < ms * MS - s->slack_ns : r != 0 || !p.ended)
		die(s->name, "returned", r, ETIMEDOUT, r);
	if (r == 0) /* a busy machine: the thread ended first */
		return;
	s->timed_out++;
	r = pthread_join(t, NULL);
	if (r != 0 || !p.ended)
		die(s->name, "pthread_join after it", r, 0, r);
}
static int how_join(pthread_t t, void **result, int ms)
{
	(void)ms;
	return pthread_join(t, result);
}
static int how_timedjoin(pthread_t t, void **result, int ms)
{
	struct timespec at = after(CLOCK_REALTIME, ms);
	return pthread_timedjoin_np(t, result, &at);
}
static int how_clockjoin(pthread_t t, void **result, int ms)
{
	struct timespec at = after(CLOCK_MONOTONIC, ms);
	return pthread_clockjoin_np(t, result, CLOCK_MONOTONIC, &at);
}
static void call_join(struct slot *s)
{
	join(s, how_join);
}
static void call_timedjoin(struct slot *s)
{
	s->timed_out % 2 ? join(s, how_timedjoin) : join_twice(s, how_timedjoin);
}
static void call_clockjoin(struct slot *s)
{
	s->timed_out % 2 ? join(s, how_clockjoin) : join_twice(s, how_clockjoin);
}

/* Two victims meet; who stops first lets the other pass through s->word. */
static pthread_barrier_t barrier;
static atomic_long rounds[2];
static atomic_int leaving;

static void call_barrier(struct slot *s)
{
	int me = s->signal;
	burst(s);
	nap(s, (int64_t)(next_random(&s->random) % (8 * MS)));
	long round = atomic_fetch_add(&rounds[me], 1) + 1;
	int r = pthread_barrier_wait(&barrier);
	if ((r != 0 && r != PTHREAD_BARRIER_SERIAL_THREAD) || atomic_load(&rounds[!me]) < round)
		die(s->name, "met nobody", r, 0, r);
	s->woken++;
	/* Both leave after the same round: the first of the two decides it for the next but one. */
	int never = 0;
	if (me == 0 && atomic_load(&stop))
		atomic_compare_exchange_strong(&leaving, &never, (int)round + 1);
}
static int barrier_is_over(struct slot *s)
{
	int last = atomic_load(&leaving);
	return last && atomic_load(&rounds[s->signal]) >= last;
}
static void set_up_barrier(struct slot *s)
{
	s->signal = strcmp(s->name, "pthread_barrier_wait_2") == 0;
	if (!s->signal)
		pthread_barrier_init(&barrier, NULL, 2);
}

/* ---- readiness of a pipe ---- */

static void set_up_pipe(struct slot *s)
{
	MUST(pipe2(s->fd, O_CLOEXEC));
}
static void write_byte(struct slot *s)
{
	let_go(s);
	MUST(write(s->fd[1], "x", 1));
}
static void take_byte(struct slot *s)
{
	char c;
	if (!s->timed && read(s->fd[0], &c, 1) != 1)
		die(s->name, "there was no byte to read", 0, 1, errno);
}
static struct pollfd pollfd_of(struct slot *s)
{
	return (struct pollfd){.fd = s->fd[0], .events = POLLIN};
}

static const sigset_t *some_mask(struct slot *s, sigset_t *mask)
{
	switch (next_random(&s->random) % 4) {
	case 0: return NULL;
	case 1: sigemptyset(mask); return mask;
	case 2: sigfillset(mask); return mask;
	default: memset(mask, 0xff, sizeof *mask); return mask;
	}
}
static void call_poll(struct slot *s)
{
	struct pollfd p = pollfd_of(s);
	int ms = begin(s);
	int r = poll(&p, 1, s->timed || s->woken % 2 ? ms : -1), e = errno;
	if (r == 1)
		take_byte(s);
	errno = e;
	finish(s, r, 1, 0, 0);
}
static void call_ppoll(struct slot *s)
{
	sigset_t mask;
	const sigset_t *m = some_mask(s, &mask);
	struct pollfd p = pollfd_of(s);
	struct timespec t = span(begin(s));
	int r = ppoll(&p, 1, s->timed || s->woken % 2 ? &t : NULL, m), e = errno;
	if (r == 1)
		take_byte(s);
	errno = e;
	finish(s, r, 1, 0, 0);
}
static void call_select(struct slot *s)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(s->fd[0], &set);
	struct timeval t = {.tv_usec = 0};
	int ms = begin(s);
	t = (struct timeval){ms / 1000, ms % 1000 * 1000};
	int r = select(s->fd[0] + 1, &set, NULL, NULL, s->timed || s->woken % 2 ? &t : NULL), e = errno;
	if (r == 0 && (t.tv_sec || t.tv_usec))
		die(s->name, "time left over (us)", t.tv_usec, 0, 0);
	if (r == 1)
		take_byte(s);
	errno = e;
	finish(s, r, 1, 0, 0);
}
static void call_pselect(struct slot *s)
{
	sigset_t mask;
	fd_set set;
	FD_ZERO(&set);
	FD_SET(s->fd[0], &set);
	const sigset_t *m = some_mask(s, &mask);
	struct timespec t = span(begin(s));
	int r = pselect(s->fd[0] + 1, &set, NULL, NULL, s->timed || s->woken % 2 ? &t : NULL, m), e = errno;
	if (r == 1)
		take_byte(s);
	errno = e;
	finish(s, r, 1, 0, 0);
}
static void set_up_epoll(struct slot *s)
{
	struct epoll_event e = {.events = EPOLLIN};
	set_up_pipe(s);
	s->ipc = (int)MUST(epoll_create1(EPOLL_CLOEXEC));
	MUST(epoll_ctl(s->ipc, EPOLL_CTL_ADD, s->fd[0], &e));
}
static void got_epoll(struct slot *s, int r)
{
	int e = errno;
	if (r == 1)
		take_byte(s);
	errno = e;
	finish(s, r, 1, 0, 0);
}
static void call_epoll_wait(struct slot *s)
{
	struct epoll_event e;
	int ms = begin(s);
	got_epoll(s, epoll_wait(s->ipc, &e, 1, s->timed || s->woken % 2 ? ms : -1));
}
static void call_epoll_pwait(struct slot *s)
{
	sigset_t mask;
	struct epoll_event e;
	const sigset_t *m = some_mask(s, &mask);
	int ms = begin(s);
	got_epoll(s, epoll_pwait(s->ipc, &e, 1, s->timed || s->woken % 2 ? ms : -1, m));
}
static void call_epoll_pwait2(struct slot *s)
{
	sigset_t mask;
	struct epoll_event e;
	const sigset_t *m = some_mask(s, &mask);
	struct timespec t = span(begin(s));
	got_epoll(s, epoll_pwait2(s->ipc, &e, 1, s->timed || s->woken % 2 ? &t : NULL, m));
}

/* ---- reading ---- */

static void set_up_pair(struct slot *s)
{
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->fd));
}
static void set_up_timed_pair(struct slot *s)
{
	set_up_pair(s);
	s->slack_ns = 11 * MS; /* the kernel counts this time-out in ticks, the first one begun */
}
static void call_read(struct slot *s)
{
	char c[8];
	begin_woken(s);
	finish(s, read(s->fd[0], c, sizeof c), 1, 0, 0);
}
static void call_readv(struct slot *s)
{
	char c[8];
	struct iovec v[2] = {{c, 0}, {c, sizeof c}};
	begin_woken(s);
	finish(s, readv(s->fd[0], v, 2), 1, 0, 0);
}
static void call_recv(struct slot *s)
{
	char c[8];
	begin_woken(s);
	finish(s, recv(s->fd[0], c, sizeof c, 0), 1, 0, 0);
}
static void call_recvfrom(struct slot *s)
{
	char c[8];
	begin_woken(s);
	finish(s, recvfrom(s->fd[0], c, sizeof c, 0, NULL, NULL), 1, 0, 0);
}
static void call_recvmsg(struct slot *s)
{
	char c[8];
	struct iovec v = {c, sizeof c};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	begin_woken(s);
	finish(s, recvmsg(s->fd[0], &m, 0), 1, 0, 0);
}
static void call_recv_timed(struct slot *s)
{
	char c[8];
	int ms = begin(s);
	struct timeval t = {ms / 1000, ms % 1000 * 1000};
	setsockopt(s->fd[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
	finish(s, recv(s->fd[0], c, sizeof c, 0), 1, -1, EAGAIN);
}

/* Fed in pieces: the call must come back with the whole. */
static void feed(struct slot *s)
{
	static char piece[PIECE];
	s->moved = (s->moved + PIECE) % FED;
	if (s->moved == 0)
		let_go(s);
	MUST(write(s->fd[1], piece, PIECE));
}
static void call_recv_all(struct slot *s)
{
	char c[FED];
	begin_woken(s);
	finish(s, recv(s->fd[0], c, FED, MSG_WAITALL), FED, 0, 0);
}
static void call_recvmsg_all(struct slot *s)
{
	char c[FED];
	struct iovec v[2] = {{c, FED / 2}, {c + FED / 2, FED - FED / 2}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	begin_woken(s);
	finish(s, recvmsg(s->fd[0], &m, MSG_WAITALL), FED, 0, 0);
}

/* ---- writing more than fits: a slow reader drains it; the call must return the whole ---- */

static void set_up_full_pipe(struct slot *s)
{
	set_up_pipe(s);
	fcntl(s->fd[1], F_SETPIPE_SZ, 4096);
	fcntl(s->fd[0], F_SETFL, O_NONBLOCK);
}
static void set_up_full_pair(struct slot *s)
{
	int size = 4096;
	set_up_pair(s);
	setsockopt(s->fd[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	fcntl(s->fd[0], F_SETFL, O_NONBLOCK);
}
static void drain(struct slot *s)
{
	static char into[20000];
	for (int i = 0; i < 3; i++) {
		ssize_t n = read(s->fd[0], into, sizeof into);
		if (n <= 0)
			break;
		s->moved += n;
		if (s->moved > LARGE)
			die(s->name, "more came out than went in", s->moved, LARGE, 0);
	}
	if (s->moved == LARGE) {
		s->moved = 0;
		let_go(s);
	}
}
/* All is written before all has come out. */
static void finish_write(struct slot *s, long result)
{
	int error = errno;
	while (result == LARGE && atomic_load(&s->state) != RELEASED)
		sched_yield();
	finish_woken(s, result, LARGE, error);
}
static void call_write(struct slot *s)
{
	begin_woken(s);
	finish_write(s, write(s->fd[1], zeros, LARGE));
}
static void call_writev(struct slot *s)
{
	struct iovec v[3] = {{zeros, 1000}, {zeros, LARGE / 2}, {zeros, LARGE - LARGE / 2 - 1000}};
	begin_woken(s);
	finish_write(s, writev(s->fd[1], v, 3));
}
static void call_send(struct slot *s)
{
	begin_woken(s);
	finish_write(s, send(s->fd[1], zeros, LARGE, MSG_NOSIGNAL));
}
static void call_sendto(struct slot *s)
{
	begin_woken(s);
	finish_write(s, sendto(s->fd[1], zeros, LARGE, 0, NULL, 0));
}
static void call_sendmsg(struct slot *s)
{
	struct iovec v[2] = {{zeros, LARGE / 3}, {zeros, LARGE - LARGE / 3}};
	struct msghdr m = {.msg_iov = v, .msg_iovlen = 2};
	begin_woken(s);
	finish_write(s, sendmsg(s->fd[1], &m, 0));
}
static void call_send_timed(struct slot *s)
{
	struct timeval t = {LATE_MS / 1000 + 20, 0};
	setsockopt(s->fd[1], SOL_SOCKET, SO_SNDTIMEO, &t, sizeof t);
	begin_woken(s);
	finish_write(s, send(s->fd[1], zeros, LARGE, 0));
}

/* ---- accept and connect on Unix sockets ---- */

static socklen_t address(struct slot *s, struct sockaddr_un *a)
{
	a->sun_family = AF_UNIX;
	int n = snprintf(a->sun_path + 1, sizeof a->sun_path - 1, "%s.%s", folder, s->name);
	a->sun_path[0] = 0;
	return (socklen_t)(sizeof a->sun_family + 1 + (size_t)n);
}
static void set_up_listener(struct slot *s)
{
	struct sockaddr_un a = {0};
	s->fd[0] = (int)MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	MUST(bind(s->fd[0], (struct sockaddr *)&a, address(s, &a)));
	MUST(listen(s->fd[0], 1));
}
static int connect_quickly(struct slot *s)
{
	struct sockaddr_un a = {0};
	int fd = (int)MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	int r = connect(fd, (struct sockaddr *)&a, address(s, &a));
	if (r != 0)
		close(fd);
	else if (s->extras < 64)
		s->extra[s->extras++] = fd;
	return r == 0;
}
static void close_extras(struct slot *s)
{
	while (s->extras > 0)
		close(s->extra[--s->extras]);
}
static void visit(struct slot *s)
{
	let_go(s);
	if (!connect_quickly(s))
		die(s->name, "the waker's connect", -1, 0, errno);
}
static int prepare_accept(struct slot *s)
{
	close_extras(s);
	return 1;
}
static void got_connection(struct slot *s, int fd)
{
	int e = errno;
	if (fd >= 0)
		close(fd);
	errno = e;
	finish(s, fd < 0 ? -1 : 0, 0, -1, EAGAIN);
}
static void call_accept(struct slot *s)
{
	begin_woken(s);
	got_connection(s, accept(s->fd[0], NULL, NULL));
}
static void call_accept4(struct slot *s)
{
	struct sockaddr_un a;
	socklen_t n = sizeof a;
	begin_woken(s);
	got_connection(s, accept4(s->fd[0], (struct sockaddr *)&a, &n, SOCK_CLOEXEC));
}
static void set_up_timed_listener(struct slot *s)
{
	set_up_listener(s);
	s->slack_ns = 11 * MS;
}
static void call_accept_timed(struct slot *s)
{
	int ms = begin(s);
	struct timeval t = {ms / 1000, ms % 1000 * 1000};
	setsockopt(s->fd[0], SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
	got_connection(s, accept(s->fd[0], NULL, NULL));
}
/* The backlog is full until the waker accepts. */
static int fill_backlog(struct slot *s)
{
	while (s->extras < 60 && connect_quickly(s))
		;
	return 1;
}
static void accept_all(struct slot *s)
{
	let_go(s);
	fcntl(s->fd[0], F_SETFL, O_NONBLOCK);
	for (int fd; (fd = accept(s->fd[0], NULL, NULL)) >= 0;)
		close(fd);
	fcntl(s->fd[0], F_SETFL, 0);
	close_extras(s);
}
static void call_connect(struct slot *s)
{
	struct sockaddr_un a = {0};
	int fd = (int)MUST(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	socklen_t n = address(s, &a);
	begin_woken(s);
	int r = connect(fd, (struct sockaddr *)&a, n), e = errno;
	close(fd);
	finish_woken(s, r, 0, e);
}

/* ---- sleeps ---- */

static void call_nanosleep(struct slot *s)
{
	struct timespec left = {-1, -1}, t = span(begin_timed(s));
	int r = nanosleep(&t, &left);
	finish(s, r, 0, 0, 0);
	if (left.tv_sec != -1 || left.tv_nsec != -1)
		die(s->name, "time left over (ns)", left.tv_nsec, -1, 0);
}
static void call_clock_nanosleep(struct slot *s)
{
	struct timespec t = span(begin_timed(s));
	finish(s, clock_nanosleep(s->timed_out % 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME, 0, &t, NULL), 0, 0, 0);
}
static void call_clock_nanosleep_abs(struct slot *s)
{
	clockid_t clock = s->timed_out % 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
	struct timespec t = after(clock, begin_timed(s));
	finish(s, clock_nanosleep(clock, TIMER_ABSTIME, &t, NULL), 0, 0, 0);
}
static void call_usleep(struct slot *s)
{
	finish(s, usleep((useconds_t)begin_timed(s) * 1000), 0, 0, 0);
}
static void call_sleep(struct slot *s)
{
	begin_timed(s);
	s->ms = 1000;
	finish(s, (long)sleep(1), 0, 0, 0);
}

/* ---- the program's own signals ---- */

static void set_up_signal(struct slot *s)
{
	static int next;
	s->signal = SIGRTMIN + 1 + next++;
}
/* The limit of pending signals is the user's: other processes may have reached it. */
static void send_signal(struct slot *s)
{
	let_go(s);
	while (pthread_kill(s->thread, s->signal) == EAGAIN)
		sched_yield();
}
static sigset_t own_signal(struct slot *s)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, s->signal);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return set;
}
static void call_sigwait(struct slot *s)
{
	sigset_t set = own_signal(s);
	int got = 0;
	begin_woken(s);
	int r = sigwait(&set, &got);
	finish_woken(s, r ? -r : got, s->signal, r);
}
static void call_sigwaitinfo(struct slot *s)
{
	sigset_t set = own_signal(s);
	siginfo_t info;
	begin_woken(s);
	finish(s, sigwaitinfo(&set, s->woken % 2 ? &info : NULL), s->signal, 0, 0);
}
static void call_sigtimedwait(struct slot *s)
{
	sigset_t set = own_signal(s);
	struct timespec t = span(begin(s));
	finish(s, sigtimedwait(&set, NULL, &t), s->signal, -1, EAGAIN);
}
static __thread volatile int handled;
static void on_signal(int sig)
{
	(void)sig;
	handled++;
}
/* EINTR is what these two are for; they must not return before it. */
static void call_sigsuspend(struct slot *s)
{
	own_signal(s);
	sigset_t mask;
	sigfillset(&mask);
	sigdelset(&mask, s->signal);
	int before = handled;
	begin_woken(s);
	int r = sigsuspend(&mask);
	if (r != -1 || errno != EINTR || handled != before + 1)
		die(s->name, "signals handled", handled - before, 1, errno);
	finish_woken(s, 0, 0, 0);
}
/* A signal that comes just before pause is lost to it: it is sent until it is seen, and this thread calls nothing
 * else meanwhile. */
static void send_until_seen(struct slot *s)
{
	int waiting = WAITING; /* the victim may be through by now, and must not be let go twice */
	atomic_compare_exchange_strong(&s->state, &waiting, RELEASED);
	if (s->moved++ % 16 == 0)
		pthread_kill(s->thread, s->signal);
}
static void call_pause(struct slot *s)
{
	int before = handled;
	begin_woken(s);
	int r = pause();
	if (r != -1 || errno != EINTR || handled == before)
		die(s->name, "signals handled", handled - before, 1, errno);
	finish_woken(s, 0, 0, 0);
}

/* ---- children ---- */

static void call_wait(struct slot *s)
{
	char c;
	int status = -1;
	siginfo_t info = {0};
	pid_t pid = fork();
	if (pid < 0)
		die(s->name, "fork", pid, 0, errno);
	if (pid == 0) {
		close(s->fd[1]); /* so that it ends with this process too */
		while (read(s->fd[0], &c, 1) < 0)
			;
		_exit(7);
	}
	begin_woken(s);
	pid_t got = -1;
	switch (s->woken % 6) {
	case 0: got = wait(&status); break;
	case 1: got = waitpid(pid, &status, 0); break;
	case 2: got = waitpid(-1, &status, 0); break;
	case 3: got = wait4(pid, &status, 0, NULL); break;
	case 4: got = wait3(&status, 0, NULL); break;
	default: got = waitid(P_PID, (id_t)pid, &info, WEXITED) == 0 ? info.si_pid : -1; status = info.si_status << 8;
	}
	int e = errno;
	if (got == pid && (!WIFEXITED(status) || WEXITSTATUS(status) != 7))
		die(s->name, "status", status, 7 << 8, e);
	finish_woken(s, got, pid, e);
}

/* ---- System V ---- */

struct message {
	long type;
	char text[1000];
};

static void set_up_messages(struct slot *s)
{
	s->ipc = (int)MUST(msgget(IPC_PRIVATE, 0600));
	ipcs[ipc_count][0] = 0;
	ipcs[ipc_count++][1] = s->ipc;
}
static void send_message(struct slot *s)
{
	struct message m = {.type = 5};
	let_go(s);
	MUST(msgsnd(s->ipc, &m, 10, IPC_NOWAIT));
}
static void call_msgrcv(struct slot *s)
{
	struct message m;
	begin_woken(s);
	finish(s, msgrcv(s->ipc, &m, sizeof m.text, 5, 0), 10, 0, 0);
}
static int fill_messages(struct slot *s)
{
	struct message m = {.type = 6};
	while (msgsnd(s->ipc, &m, sizeof m.text, IPC_NOWAIT) == 0)
		;
	return errno == EAGAIN;
}
static void take_message(struct slot *s)
{
	struct message m;
	let_go(s);
	MUST(msgrcv(s->ipc, &m, sizeof m.text, 0, IPC_NOWAIT));
}
static void call_msgsnd(struct slot *s)
{
	struct message m = {.type = 7};
	begin_woken(s);
	finish(s, msgsnd(s->ipc, &m, sizeof m.text, 0), 0, 0, 0);
}
static void set_up_semaphores(struct slot *s)
{
	s->ipc = (int)MUST(semget(IPC_PRIVATE, 1, 0600));
	MUST(semctl(s->ipc, 0, SETVAL, 0));
	ipcs[ipc_count][0] = 1;
	ipcs[ipc_count++][1] = s->ipc;
}
static void raise_semaphore(struct slot *s)
{
	struct sembuf up = {0, 1, IPC_NOWAIT};
	let_go(s);
	MUST(semop(s->ipc, &up, 1));
}
static void call_semop(struct slot *s)
{
	struct sembuf down = {0, -1, 0};
	begin_woken(s);
	finish(s, semop(s->ipc, &down, 1), 0, 0, 0);
}
static void call_semtimedop(struct slot *s)
{
	struct sembuf down = {0, -1, 0};
	struct timespec t = span(begin(s));
	finish(s, semtimedop(s->ipc, &down, 1, &t), 0, -1, EAGAIN);
}

/* ---- flock, futex, asynchronous input ---- */

static void set_up_file(struct slot *s)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", folder, s->name);
	for (int i = 0; i < 2; i++)
		s->fd[i] = (int)MUST(open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
	unlink(path);
	/* Without the name, the second one is opened through the first. */
	snprintf(path, sizeof path, "/proc/self/fd/%d", s->fd[0]);
	close(s->fd[1]);
	s->fd[1] = (int)MUST(open(path, O_RDWR | O_CLOEXEC));
}
static int hold_flock(struct slot *s)
{
	return flock(s->fd[0], LOCK_EX | LOCK_NB) == 0;
}
static void let_flock_go(struct slot *s)
{
	let_go(s);
	MUST(flock(s->fd[0], LOCK_UN));
}
static void call_flock(struct slot *s)
{
	begin_woken(s);
	int r = flock(s->fd[1], s->woken % 2 ? LOCK_EX : LOCK_SH), e = errno;
	flock(s->fd[1], LOCK_UN);
	finish_woken(s, r, 0, e);
}

static int prepare_word(struct slot *s)
{
	atomic_store(&s->word, 0);
	return 1;
}
static void wake_word(struct slot *s)
{
	let_go(s);
	atomic_store(&s->word, 1);
	syscall(SYS_futex, &s->word, FUTEX_WAKE_PRIVATE, 1);
}
/* The word may change before the call: that is EAGAIN, and no wait. */
static void got_futex(struct slot *s, long r)
{
	int e = errno;
	if (r == -1 && e == EAGAIN && !s->timed && atomic_load(&s->word) == 1)
		r = 0;
	errno = e;
	finish(s, r, 0, -1, ETIMEDOUT);
}
static void call_futex(struct slot *s)
{
	begin_woken(s);
	got_futex(s, syscall(SYS_futex, &s->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
}
static void call_futex_timed(struct slot *s)
{
	struct timespec t = span(begin(s));
	got_futex(s, syscall(SYS_futex, &s->word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0));
}
static void call_futex_bitset(struct slot *s)
{
	struct timespec t = after(CLOCK_MONOTONIC, begin(s));
	got_futex(s, syscall(SYS_futex, &s->word, FUTEX_WAIT_BITSET_PRIVATE, 0, &t, NULL, FUTEX_BITSET_MATCH_ANY));
}
static void call_futex_bitset_real(struct slot *s)
{
	struct timespec t = after(CLOCK_REALTIME, begin(s));
	got_futex(s, syscall(SYS_futex, &s->word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 0, &t, NULL,
	                     FUTEX_BITSET_MATCH_ANY));
}

static aio_context_t aio;
static int aio_works;
static void set_up_aio(struct slot *s)
{
	(void)s;
	aio_works = aio || syscall(SYS_io_setup, 4, &aio) == 0;
}
static void call_io_getevents(struct slot *s)
{
	struct io_event e;
	struct timespec t = span(begin_timed(s));
	if (!aio_works) {
		nanosleep(&t, NULL);
		return;
	}
	long r = syscall(SYS_io_getevents, aio, 1, 1, &e, &t);
	finish(s, r, 0, 0, 0);
}
#if defined(__x86_64__)
/* No hook is passed, and the code does not say the number. The kernel says EINTR, too, where a signal comes when the
 * time is up and the thread has no processor yet; it may be asked then, as it does not wait any more. */
static void call_io_getevents_bare(struct slot *s)
{
	struct io_event e;
	struct timespec t = span(begin_timed(s));
	register long number __asm__("rax") = aio_works ? SYS_io_getevents : SYS_nanosleep;
	register long rdi __asm__("rdi") = aio_works ? (long)aio : (long)&t;
	register long rsi __asm__("rsi") = aio_works ? 1 : 0;
	register long rdx __asm__("rdx") = 1;
	register void *r10 __asm__("r10") = &e;
	register void *r8 __asm__("r8") = &t;
	__asm__ volatile("" : "+r"(number));
	__asm__ volatile("nop; nop; nop; nop; nop; nop; nop; nop; nop; nop; nop; nop; nop; nop; nop; nop; syscall"
	                 : "+r"(number)
	                 : "r"(rdi), "r"(rsi), "r"(rdx), "r"(r10), "r"(r8)
	                 : "rcx", "r11", "memory");
	if (number == -EINTR && now_ns(CLOCK_MONOTONIC) - s->from >= s->ms * MS)
		number = 0;
	errno = number < 0 ? (int)-number : 0;
	finish(s, number < 0 ? -1 : number, 0, 0, 0);
}
#endif

/* ---- the table ---- */

/* REALTIME deadlines are held against the monotonic clock: adjustment of the one may shorten 30 ms by this. */
enum { ADJUSTED = 100000 };

static struct slot slots[] = {
	{"pthread_mutex_lock", call_mutex_lock, hold_mutex, let_mutex_go, set_up_mutex},
	{"pthread_mutex_lock_pi", call_mutex_lock, hold_mutex, let_mutex_go, set_up_mutex_pi},
	{"pthread_mutex_timedlock", call_mutex_timedlock, hold_mutex, let_mutex_go, set_up_mutex, .slack_ns = ADJUSTED},
	{"pthread_mutex_clocklock", call_mutex_clocklock, hold_mutex, let_mutex_go, set_up_mutex},
	{"pthread_rwlock_rdlock", call_rdlock, hold_rwlock, let_rwlock_go, set_up_rwlock},
	{"pthread_rwlock_wrlock", call_wrlock, hold_rwlock, let_rwlock_go, set_up_rwlock},
	{"pthread_rwlock_timedrdlock", call_timedrdlock, hold_rwlock, let_rwlock_go, set_up_rwlock,
         .slack_ns = ADJUSTED},
	{"pthread_rwlock_timedwrlock", call_timedwrlock, hold_rwlock, let_rwlock_go, set_up_rwlock,
         .slack_ns = ADJUSTED},
	{"pthread_rwlock_clockrdlock", call_clockrdlock, hold_rwlock, let_rwlock_go, set_up_rwlock},
	{"pthread_rwlock_clockwrlock", call_clockwrlock, hold_rwlock, let_rwlock_go, set_up_rwlock},
	{"pthread_cond_wait", call_cond_wait, prepare_cond, signal_cond, set_up_cond},
	{"pthread_cond_timedwait", call_cond_timedwait, prepare_cond, signal_cond, set_up_cond, .slack_ns = ADJUSTED},
	{"pthread_cond_clockwait", call_cond_clockwait, prepare_cond, signal_cond, set_up_cond},
	{"sem_wait", call_sem_wait, NULL, post, set_up_sem},
	{"sem_timedwait", call_sem_timedwait, NULL, post, set_up_sem, .slack_ns = ADJUSTED},
	{"sem_clockwait", call_sem_clockwait, NULL, post, set_up_sem},
	{"pthread_join", call_join, NULL, NULL, NULL},
	{"pthread_timedjoin_np", call_timedjoin, NULL, NULL, NULL, .slack_ns = ADJUSTED},
	{"pthread_clockjoin_np", call_clockjoin, NULL, NULL, NULL},
	{"pthread_barrier_wait", call_barrier, NULL, NULL, set_up_barrier},
	{"pthread_barrier_wait_2", call_barrier, NULL, NULL, set_up_barrier},
	{"poll", call_poll, NULL, write_byte, set_up_pipe},
	{"ppoll", call_ppoll, NULL, write_byte, set_up_pipe},
	{"select", call_select, NULL, write_byte, set_up_pipe},
	{"pselect", call_pselect, NULL, write_byte, set_up_pipe},
	{"epoll_wait", call_epoll_wait, NULL, write_byte, set_up_epoll},
	{"epoll_pwait", call_epoll_pwait, NULL, write_byte, set_up_epoll},
	{"epoll_pwait2", call_epoll_pwait2, NULL, write_byte, set_up_epoll},
	{"read", call_read, NULL, write_byte, set_up_pipe},
	{"readv", call_readv, NULL, write_byte, set_up_pipe},
	{"recv", call_recv, NULL, write_byte, set_up_pair},
	{"recvfrom", call_recvfrom, NULL, write_byte, set_up_pair},
	{"recvmsg", call_recvmsg, NULL, write_byte, set_up_pair},
	{"recv_so_rcvtimeo", call_recv_timed, NULL, write_byte, set_up_timed_pair},
	{"recv_msg_waitall", call_recv_all, NULL, feed, set_up_pair},
	{"recvmsg_msg_waitall", call_recvmsg_all, NULL, feed, set_up_pair},
	{"write", call_write, NULL, drain, set_up_full_pipe},
	{"writev", call_writev, NULL, drain, set_up_full_pipe},
	{"write_socket", call_write, NULL, drain, set_up_full_pair},
	{"send", call_send, NULL, drain, set_up_full_pair},
	{"sendto", call_sendto, NULL, drain, set_up_full_pair},
	{"sendmsg", call_sendmsg, NULL, drain, set_up_full_pair},
	{"send_so_sndtimeo", call_send_timed, NULL, drain, set_up_full_pair},
	{"accept", call_accept, prepare_accept, visit, set_up_listener},
	{"accept4", call_accept4, prepare_accept, visit, set_up_listener},
	{"accept_so_rcvtimeo", call_accept_timed, prepare_accept, visit, set_up_timed_listener},
	{"connect", call_connect, fill_backlog, accept_all, set_up_listener},
	{"nanosleep", call_nanosleep, NULL, NULL, NULL},
	{"clock_nanosleep", call_clock_nanosleep, NULL, NULL, NULL},
	{"clock_nanosleep_abstime", call_clock_nanosleep_abs, NULL, NULL, NULL, .slack_ns = ADJUSTED},
	{"usleep", call_usleep, NULL, NULL, NULL},
	{"sleep", call_sleep, NULL, NULL, NULL},
	{"sigwait", call_sigwait, NULL, send_signal, set_up_signal},
	{"sigwaitinfo", call_sigwaitinfo, NULL, send_signal, set_up_signal},
	{"sigtimedwait", call_sigtimedwait, NULL, send_signal, set_up_signal},
	{"sigsuspend", call_sigsuspend, NULL, send_signal, set_up_signal},
	{"pause", call_pause, NULL, send_until_seen, set_up_signal},
	{"wait", call_wait, NULL, write_byte, set_up_pipe},
	{"msgrcv", call_msgrcv, NULL, send_message, set_up_messages},
	{"msgsnd", call_msgsnd, fill_messages, take_message, set_up_messages},
	{"semop", call_semop, NULL, raise_semaphore, set_up_semaphores},
	{"semtimedop", call_semtimedop, NULL, raise_semaphore, set_up_semaphores},
	{"flock", call_flock, hold_flock, let_flock_go, set_up_file},
	{"futex", call_futex, prepare_word, wake_word, NULL},
	{"futex_timed", call_futex_timed, prepare_word, wake_word, NULL},
	{"futex_wait_bitset", call_futex_bitset, prepare_word, wake_word, NULL},
	{"futex_clock_realtime", call_futex_bitset_real, prepare_word, wake_word, NULL, .slack_ns = ADJUSTED},
	{"io_getevents", call_io_getevents, NULL, NULL, set_up_aio},
#if defined(__x86_64__)
	{"io_getevents_bare", call_io_getevents_bare, NULL, NULL, set_up_aio},
#endif
};
enum { SLOTS = sizeof slots / sizeof *slots };
static int chosen[SLOTS];
static atomic_int victims;

static int is_barrier(const struct slot *s)
{
	return s->call == call_barrier;
}

static void *victim(void *arg)
{
	struct slot *s = arg;
	pthread_setname_np(pthread_self(), s->name + (strncmp(s->name, "pthread_", 8) == 0 ? 8 : 0));
	atomic_store(&s->tid, own_tid());
	while (is_barrier(s) ? !barrier_is_over(s) : !atomic_load(&stop)) {
		while (s->release && atomic_load(&s->state) != READY) {
			burst(s);
			if (s->call == call_pause)
				sched_yield();
			else
				nap(s, MS);
		}
		s->call(s);
	}
	atomic_fetch_sub(&victims, 1);
	return NULL;
}

/* Holds what the victims wait for, and lets it go. Its own calls never block, but for its sleep, which is held
 * to the same rules. */
static void visit_slot(struct slot *s, int64_t now)
{
	int state = atomic_load(&s->state);
	if (state == IDLE && (!s->prepare || s->prepare(s)))
		atomic_store(&s->state, READY);
	else if (now >= atomic_load(&s->release_at) &&
	         (state == WAITING || (state == RELEASED && s->call == call_pause)))
		s->release(s);
}

static void *waker(void *arg)
{
	struct slot own = {.name = "waker"};
	while (atomic_load(&victims) > 0) {
		int64_t now = now_ns(CLOCK_MONOTONIC);
		for (int i = 0; i < SLOTS; i++)
			if (chosen[i] && slots[i].release)
				visit_slot(&slots[i], now);
		nap(&own, 2 * MS);
	}
	return arg;
}

int main(int argc, char **argv)
{
	int seconds = argc > 1 ? atoi(argv[1]) : 10;
	const char *only = argc > 2 ? argv[2] : "";
	struct sigaction a = {.sa_handler = on_signal};
	pthread_t waking;
	MUST(mkdtemp(folder) ? 0 : -1);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < SLOTS; i++) {
		struct slot *s = &slots[i];
		chosen[i] = strncmp(s->name, only, strlen(only)) == 0;
		if (!chosen[i])
			continue;
		s->random = 88172645463325252u * (uint64_t)(i + 1);
		if (s->set_up)
			s->set_up(s);
		if (s->signal > SIGRTMIN)
			sigaction(s->signal, &a, NULL);
		atomic_fetch_add(&victims, 1);
	}
	pthread_create(&waking, NULL, waker, NULL);
	for (int i = 0; i < SLOTS; i++)
		if (chosen[i] && pthread_create(&slots[i].thread, NULL, victim, &slots[i]) != 0)
			die(slots[i].name, "pthread_create", -1, 0, errno);
	puts("ready 1");
	fflush(stdout);
	struct slot own = {.name = "main"};
	nap(&own, seconds * SECOND);
	atomic_store(&stop, 1);
	for (int i = 0; i < SLOTS; i++)
		if (chosen[i])
			pthread_join(slots[i].thread, NULL);
	pthread_join(waking, NULL);
	for (int i = 0; i < SLOTS; i++)
		if (chosen[i])
			printf("%s %ld %ld\n", slots[i].name, slots[i].woken, slots[i].timed_out);
	clean_up();
	puts("end 1");
	return 0;
}
