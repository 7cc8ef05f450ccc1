/* misaligned.c - calls made with a stack that is off by 8. Libc's functions below do not care.
 *
 * usage: misaligned SECONDS   makes them over and over, two threads for those that need another; prints "calls N", or
 * dies
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* fn(a, b, c, d, e), from a stack that is off by 8. */
long call_off(void *fn, long a, long b, long c, long d, long e);
__asm__(".text\n"
        ".type call_off, @function\n"
        "call_off:\n"
        "\tpush %rbp\n"
        "\tmov %rsp, %rbp\n"
        "\tsub $8, %rsp\n" /* aligned would be: nothing, as the return address and %rbp are 16 bytes */
        "\tmov %rdi, %r11\n"
        "\tmov %rsi, %rdi\n"
        "\tmov %rdx, %rsi\n"
        "\tmov %rcx, %rdx\n"
        "\tmov %r8, %rcx\n"
        "\tmov %r9, %r8\n"
        "\txor %r9d, %r9d\n"
        "\txor %eax, %eax\n"
        "\tpush %r9\n"
        "\tpush %r9\n"
        "\tcall *%r11\n"
        "\tleave\n"
        "\tret\n"
        ".size call_off, . - call_off\n");

#define OFF5(fn, a, b, c, d, e, ...) call_off((void *)(fn), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define OFF(fn, ...) (calls++, OFF5(fn, __VA_ARGS__, 0, 0, 0, 0, 0))

static long calls;
static volatile int stop;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static sem_t sem;
static int fds[2];
static unsigned word;

static void *other(void *unused)
{
	(void)unused;
	while (!stop) {
		pthread_mutex_lock(&mutex);
		usleep(200);
		pthread_cond_signal(&cond);
		pthread_mutex_unlock(&mutex);
		pthread_rwlock_wrlock(&rwlock);
		usleep(200);
		pthread_rwlock_unlock(&rwlock);
		sem_post(&sem);
		__atomic_fetch_add(&word, 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		sched_yield();
	}
	return NULL;
}

static void allocate(void)
{
	void *out = NULL;
	void *p = (void *)OFF(malloc, 100);
	p = (void *)OFF(realloc, p, 5000);
	OFF(free, p);
	p = (void *)OFF(calloc, 10, 30);
	p = (void *)OFF(reallocarray, p, 20, 30);
	OFF(free, p);
	OFF(free, (void *)OFF(aligned_alloc, 64, 640));
	OFF(free, (void *)OFF(memalign, 64, 640));
	OFF(free, (void *)OFF(valloc, 640));
	OFF(posix_memalign, &out, 64, 640);
	OFF(free, out);
}

static void wait_for_other(void)
{
	struct timespec soon;
	OFF(pthread_mutex_lock, &mutex);
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_sec += 1;
	OFF(pthread_cond_timedwait, &cond, &mutex, &soon);
	OFF(pthread_cond_signal, &cond);
	OFF(pthread_mutex_unlock, &mutex);
	OFF(pthread_rwlock_rdlock, &rwlock);
	OFF(pthread_rwlock_unlock, &rwlock);
	OFF(pthread_rwlock_wrlock, &rwlock);
	OFF(pthread_rwlock_unlock, &rwlock);
	OFF(sem_wait, &sem);
	OFF(syscall, SYS_futex, &word, FUTEX_WAIT_PRIVATE, word);
}

static void transfer(void)
{
	struct timespec t = {.tv_nsec = 1000};
	struct pollfd p = {.fd = fds[0], .events = POLLIN};
	char c[8] = "x";
	struct iovec v = {c, 1};
	OFF(write, fds[1], c, 1);
	OFF(poll, &p, 1, 1);
	OFF(read, fds[0], c, 1);
	OFF(send, fds[1], c, 1, 0);
	OFF(recv, fds[0], c, 1, 0);
	OFF(writev, fds[1], &v, 1);
	OFF(readv, fds[0], &v, 1);
	OFF(nanosleep, &t, NULL);
	OFF(usleep, 1);
	OFF(syscall, SYS_gettid);
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 1);
	pthread_t thread;
	sem_init(&sem, 0, 0);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		return 1;
	pthread_create(&thread, NULL, other, NULL);
	puts("ready");
	fflush(stdout);
	while (time(NULL) < end) {
		allocate();
		wait_for_other();
		transfer();
	}
	stop = 1;
	pthread_join(thread, NULL);
	printf("calls %ld\n", calls);
	return 0;
}
