/* rows.h - what the rows of rows.def need: one turn of each hook, as a function row_<symbol>(turns) that calls the one
 * in `self`.
 *
 * Runs in: bench/idle.c, which counts, and torture/subject.c, which is stepped through. Functions are looked up by
 * name, as the table has some that not every libc has.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_ROWS_H
#define PPROFSHIM_TEST_ROWS_H

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

static void *self; /* the function of the row */
static char buffer[64];
static struct iovec piece = {buffer, sizeof buffer};
static struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
static struct mmsghdr messages[1];
static struct sockaddr address;
static socklen_t address_bytes;
static struct pollfd none[1];
static struct epoll_event event;
static struct timespec zero, past = {.tv_sec = 1};
static struct timeval zero_us;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, checked;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_spinlock_t spin;
static pthread_barrier_t barrier;
static mtx_t c11_mutex, c11_recursive;
static cnd_t c11_cond;
static sem_t sem;
static sigset_t usr1, nothing;
static struct sigaction old_action;
static siginfo_t info;
static struct sembuf operation;
static struct rusage usage;
static volatile int caught;
static int status;
static void *block;
static struct sigevent no_event = {.sigev_notify = SIGEV_NONE};
static const union sigval nothing_to_say;
static const char nowhere[] = "/nowhere";
static char *const no_arguments[] = {(char *)nowhere, NULL};
typedef void (*rows_handler)(int);

static int rows_thrd_main(void *arg)
{
	(void)arg;
	return 0;
}

static void *rows_thread_main(void *arg)
{
	return arg;
}

static void on_signal(int sig)
{
	caught = sig;
}

/* ROW(symbol, return type, (parameters), what one turn does): `call` is the symbol. */
#define ROW(symbol, type, params, ...) \
	static void row_##symbol(int turns) \
	{ \
		type(*const call) params = (type(*) params)self; \
		for (int i = 0; i < turns; i++) { \
			__VA_ARGS__; \
		} \
	}
#define ALLOCATES(symbol, params, ...) ROW(symbol, void *, params, void *p = call(__VA_ARGS__); KEEP(p); free(p))
#define NEWS(symbol, params, ...) ALLOCATES(symbol, params, __VA_ARGS__)
#define DELETES(symbol, params, ...) ROW(symbol, void, params, void *p = malloc(64); KEEP(p); call(__VA_ARGS__))
#include "test/bench/rows.def"
#undef ROW

static const struct row {
	const char *name;
	void (*run)(int turns);
} rows[] = {
#define ROW(symbol, ...) {#symbol, row_##symbol},
#include "test/bench/rows.def"
#undef ROW
};

static void rows_prepare(void)
{
	pthread_mutexattr_t attr;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&checked, &attr);
	pthread_spin_init(&spin, 0);
	pthread_barrier_init(&barrier, NULL, 1);
	mtx_init(&c11_mutex, mtx_plain);
	mtx_init(&c11_recursive, mtx_plain | mtx_recursive);
	cnd_init(&c11_cond);
	sem_init(&sem, 0, 1);
	sigemptyset(&nothing);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	signal(SIGUSR1, on_signal);
	signal(SIGALRM, on_signal);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	messages[0].msg_hdr = message;
	block = malloc(64);
}

#endif
