/* dump_truth.c - threads that each stand in a known place: blocked in a known call by way of known functions, or
 * running.
 *
 * dump_truth [MORE]      so many more threads, which wait in pthread_cond_wait and in read
 * Runs in: a test program. Truth: `thread TID NAME CALL` for each (CALL: the libc call; `running`; `raw` for a system
 * call past libc; `deaf` for a thread that runs with all 64 signals blocked); the stack of thread NAME is
 * level_a, level_b, level_c, stand, and create_stander made it. `holder TID OBJECT` names the owner of the mutex and
 * its address; `ready`. At each line on stdin: `interrupted N`, how many waits ended (must be 0), and `told K`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <alloca.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>

#include "clocks.h"
#include "truth.h"

static atomic_int interrupted;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, cond_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t sem;
static int pipe_fd[2], pair_fd[2], listener, epoll;
static pthread_t joined;
static uint32_t word;
static const struct timespec long_time = {100000, 0};

static void s_mutex(void)
{
	pthread_mutex_lock(&mutex);
}
static void s_timed_mutex(void)
{
	struct timespec t = timespec_of(now_ns(CLOCK_REALTIME) + 100000 * SECOND);
	pthread_mutex_timedlock(&mutex, &t);
}
static void s_rdlock(void)
{
	pthread_rwlock_rdlock(&rwlock);
}
static void s_wrlock(void)
{
	pthread_rwlock_wrlock(&rwlock);
}
static void s_cond(void)
{
	pthread_mutex_lock(&cond_mutex);
	pthread_cond_wait(&cond, &cond_mutex);
}
static void s_sem(void)
{
	sem_wait(&sem);
}
static void s_join(void)
{
	pthread_join(joined, NULL);
}
static void s_barrier(void)
{
	pthread_barrier_wait(&barrier);
}
static void s_poll(void)
{
	struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};
	poll(&p, 1, -1);
}
static void s_ppoll(void)
{
	struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};
	ppoll(&p, 1, NULL, NULL);
}
static void s_select(void)
{
	fd_set s;
	FD_ZERO(&s);
	FD_SET(pipe_fd[0], &s);
	select(pipe_fd[0] + 1, &s, NULL, NULL, NULL);
}
static void s_epoll(void)
{
	struct epoll_event e;
	epoll_wait(epoll, &e, 1, -1);
}
static void s_read(void)
{
	char c;
	if (read(pipe_fd[0], &c, 1) >= 0)
		abort();
}
static void s_recv(void)
{
	char c;
	recv(pair_fd[0], &c, 1, 0);
}
static void s_accept(void)
{
	accept(listener, NULL, NULL);
}
static void s_nanosleep(void)
{
	nanosleep(&long_time, NULL);
}
static void s_usleep(void)
{
	usleep(UINT_MAX);
}
static void s_sigwait(void)
{
	sigset_t s;
	int sig;
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	sigwait(&s, &sig);
}
static void s_pause(void)
{
	pause();
}
static void s_futex(void)
{
	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

SITE static void in_vla(size_t n)
{
	char array[n], *more = alloca(n + 13), c;
	memset(array, 1, n);
	memset(more, 2, n + 13);
	KEEP(array);
	KEEP(more);
	if (recv(pair_fd[0], &c, 1, 0) >= 0)
		abort();
	KEEP(array);
}
static void s_vla(void)
{
	in_vla(3001);
}

/* Past libc: nobody wraps these. A signal would end the second one. */
static long raw(long number, long a, long b, long c, long d)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = 8;
	long result;
	__asm__ volatile("syscall"
	                 : "=a"(result)
	                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
	                 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = 8;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
	return x0;
#else
	return syscall(number, a, b, c, d, 8);
#endif
}
static void s_raw_futex(void)
{
	raw(SYS_futex, (long)&word, FUTEX_WAIT_PRIVATE, 0, 0);
}
static void s_raw_ppoll(void)
{
	raw(SYS_ppoll, 0, 0, 0, 0);
}

SITE static void burning(void)
{
	for (;;)
		spin(1000000);
}
static void s_running(void)
{
	burning();
}
static void s_deaf(void)
{
	uint64_t all = ~(uint64_t)0;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all);
	burning();
}

static const struct place {
	const char *name, *call;
	void (*stand)(void);
} places[] = {
	{"in-mutex", "pthread_mutex_lock", s_mutex},
	{"in-timed-mutex", "pthread_mutex_timedlock", s_timed_mutex},
	{"in-rdlock", "pthread_rwlock_rdlock", s_rdlock},
	{"in-wrlock", "pthread_rwlock_wrlock", s_wrlock},
	{"in-cond", "pthread_cond_wait", s_cond},
	{"in-sem", "sem_wait", s_sem},
	{"in-join", "pthread_join", s_join},
	{"in-barrier", "pthread_barrier_wait", s_barrier},
	{"in-poll", "poll", s_poll},
	{"in-ppoll", "ppoll", s_ppoll},
	{"in-select", "select", s_select},
	{"in-epoll", "epoll_wait", s_epoll},
	{"in-read", "read", s_read},
	{"in-recv", "recv", s_recv},
	{"in-accept", "accept", s_accept},
	{"in-nanosleep", "nanosleep", s_nanosleep},
	{"in-usleep", "usleep", s_usleep},
	{"in-sigwait", "sigwait", s_sigwait},
	{"in-pause", "pause", s_pause},
	{"in-futex", "syscall", s_futex},
	{"in-vla", "recv", s_vla},
	{"in-raw-futex", "raw", s_raw_futex},
	{"in-raw-ppoll", "raw", s_raw_ppoll},
	{"running", "running", s_running},
	{"deaf", "deaf", s_deaf},
};
enum { PLACES = sizeof places / sizeof *places };
static atomic_int tids[PLACES], more_standing, *standing;

/* The chain: none of these calls is a tail call. */
SITE static void level_c(const struct place *p)
{
	p->stand();
	atomic_fetch_add(&interrupted, 1);
	for (;;)
		pause();
}
SITE static void level_b(const struct place *p)
{
	level_c(p);
	KEEP(p);
}
SITE static void level_a(const struct place *p)
{
	level_b(p);
	KEEP(p);
}

SITE static void *stand(void *arg)
{
	const struct place *p = arg;
	pthread_setname_np(pthread_self(), p->name);
	atomic_store(&tids[p - places], own_tid());
	level_a(p);
	KEEP(p);
	return arg;
}

SITE static void *stand_more(void *arg)
{
	char name[16];
	long i = (long)arg;
	snprintf(name, sizeof name, "more-%ld", i);
	pthread_setname_np(pthread_self(), name);
	atomic_store(&standing[i], own_tid());
	atomic_fetch_add(&more_standing, 1);
	level_a(&places[i % 2 ? 12 : 4]);
	return arg;
}

SITE static pthread_t create_stander(void *(*start)(void *), void *arg)
{
	pthread_t t;
	pthread_attr_t a;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 128 << 10);
	int r = pthread_create(&t, &a, start, arg);
	KEEP(&t);
	if (r != 0)
		abort();
	return t;
}

/* Holds the locks, asleep. */
static void *hold(void *arg)
{
	pthread_setname_np(pthread_self(), "holder");
	pthread_mutex_lock(&mutex);
	pthread_rwlock_wrlock(&rwlock);
	printf("holder %d %ld\n", own_tid(), (long)&mutex);
	sem_post(arg);
	while (pause() < 0)
		;
	return arg;
}

static void set_up(void)
{
	struct epoll_event e = {.events = EPOLLIN};
	struct sockaddr any = {.sa_family = AF_UNIX};
	sem_t held;
	sem_init(&held, 0, 0);
	if (pipe(pipe_fd) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair_fd) != 0)
		abort();
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(listener, &any, sizeof any.sa_family) != 0 || listen(listener, 4) != 0)
		abort();
	epoll = epoll_create1(0);
	epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_fd[0], &e);
	sem_init(&sem, 0, 0);
	pthread_barrier_init(&barrier, NULL, 2);
	joined = create_stander(hold, &held);
	while (sem_wait(&held) != 0)
		;
}

int main(int argc, char **argv)
{
	char line[64];
	int more = argc > 1 ? atoi(argv[1]) : 0;
	set_up();
	standing = calloc((size_t)more + 1, sizeof *standing);
	for (int i = 0; i < PLACES; i++)
		create_stander(stand, (void *)&places[i]);
	for (long i = 0; i < more; i++)
		create_stander(stand_more, (void *)i);
	for (int i = 0; i < PLACES; i++) {
		while (!atomic_load(&tids[i]))
			syscall(SYS_sched_yield);
		if (places[i].stand != s_running && places[i].stand != s_deaf)
			until_asleep(tids[i]);
		printf("thread %d %s %s\n", tids[i], places[i].name, places[i].call);
	}
	while (atomic_load(&more_standing) < more)
		syscall(SYS_sched_yield);
	for (int i = 0; i < more; i++)
		while (state_of(standing[i]) != 'S')
			syscall(SYS_sched_yield);
	puts("ready 1");
	fflush(stdout);
	for (int k = 1; fgets(line, sizeof line, stdin); k++) {
		printf("interrupted %d\ntold %d\n", atomic_load(&interrupted), k);
		fflush(stdout);
	}
	_exit(0);
}
