/* contention_storm.c - many threads at many locks of every kind, for as long as it takes; what it prints is the same
 * each time.
 *
 * contention_storm [THREADS [ROUNDS]]      (16 threads, 4000 rounds)
 * Runs in: a test program. Each lock guards a counter that is no atomic, so a lock that does not exclude shows. Threads
 * are born and die meanwhile, time-outs end waits, and a signal interrupts them. Prints `ready`, the counters, `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <threads.h>

#include "contention.h"

enum { LOCKS = 61, KINDS = 7 };

static pthread_mutex_t mutexes[LOCKS], cond_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_spinlock_t spin_lock;
static mtx_t mtx;
static sem_t sem;
static long counters[LOCKS], of_writers, of_spin, of_mtx, of_sem, tokens, consumed, brief, rounds = 4000;
static int threads = 16, stop;
static volatile sig_atomic_t handled;

static void handler(int sig)
{
	(void)sig;
	handled = 1;
}

static void take(pthread_mutex_t *m, int how)
{
	struct timespec t;
	int result;
	switch (how % 3) {
	case 0: must(pthread_mutex_lock(m)); return;
	case 1:
		while (pthread_mutex_trylock(m) != 0)
			sched_yield();
		return;
	default:
		do {
			t = timespec_of(now_ns(CLOCK_REALTIME) + 50000);
			result = pthread_mutex_timedlock(m, &t);
		} while (result == ETIMEDOUT);
		must(result);
	}
}

static void *work(void *arg)
{
	uint64_t random = 88172645463325252u + (uint64_t)(long)arg;
	for (long i = 0; i < rounds; i++) {
		uint64_t x = next_random(&random);
		/* Half of the time one of a few, or the storm would be a breeze. */
		size_t at = x & 1 ? (x >> 8) % 3 : (x >> 8) % LOCKS;
		take(&mutexes[at], (int)(x >> 20));
		long was = counters[at];
		if (x & 64)
			spin(500);
		if ((x >> 32) % 64 == 0)
			nap(30000);
		counters[at] = was + 1;
		must(pthread_mutex_unlock(&mutexes[at]));
		if ((x >> 4) % 4 == 0) {
			must(pthread_rwlock_wrlock(&rwlock));
			of_writers++;
		} else {
			must(pthread_rwlock_rdlock(&rwlock));
		}
		must(pthread_rwlock_unlock(&rwlock));
		must(pthread_spin_lock(&spin_lock));
		of_spin++;
		must(pthread_spin_unlock(&spin_lock));
		must(mtx_lock(&mtx));
		of_mtx++;
		must(mtx_unlock(&mtx));
		while (sem_wait(&sem) != 0)
			;
		of_sem++;
		sem_post(&sem);
		/* Even threads make tokens, odd ones take as many. */
		must(pthread_mutex_lock(&cond_mutex));
		if ((long)arg % 2 == 0) {
			tokens++;
			must(pthread_cond_signal(&cond));
		} else {
			while (tokens == 0)
				must(pthread_cond_wait(&cond, &cond_mutex));
			tokens--;
			consumed++;
		}
		must(pthread_mutex_unlock(&cond_mutex));
	}
	return arg;
}

static void *live_briefly(void *arg)
{
	take(&mutexes[0], 0);
	brief++;
	must(pthread_mutex_unlock(&mutexes[0]));
	return arg;
}

static void *breed(void *arg)
{
	for (int i = 0; i < 200; i++) {
		pthread_t t[2];
		for (int k = 0; k < 2; k++)
			must(pthread_create(&t[k], NULL, live_briefly, NULL));
		for (int k = 0; k < 2; k++)
			must(pthread_join(t[k], NULL));
	}
	return arg;
}

static pthread_t *workers;
static void *interrupt(void *arg)
{
	for (int i = 0; !__atomic_load_n(&stop, __ATOMIC_SEQ_CST); i = (i + 1) % threads) {
		pthread_kill(workers[i], SIGUSR1);
		nap(500000);
	}
	return arg;
}

int main(int argc, char **argv)
{
	const int types[] = {PTHREAD_MUTEX_NORMAL,      PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
	                     PTHREAD_MUTEX_ADAPTIVE_NP, PTHREAD_MUTEX_NORMAL,    PTHREAD_MUTEX_NORMAL,
	                     PTHREAD_MUTEX_ERRORCHECK};
	struct sigaction act = {.sa_handler = handler};
	pthread_t breeder, interrupter;
	if (argc > 1)
		threads = atoi(argv[1]);
	if (argc > 2)
		rounds = atol(argv[2]);
	for (int i = 0; i < LOCKS; i++) {
		pthread_mutexattr_t a;
		pthread_mutexattr_init(&a);
		must(pthread_mutexattr_settype(&a, types[i % KINDS]));
		must(pthread_mutexattr_setprotocol(&a, i % KINDS == 4 ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE));
		must(pthread_mutexattr_setrobust(&a, i % KINDS >= 5 ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED));
		must(pthread_mutex_init(&mutexes[i], &a));
	}
	must(pthread_spin_init(&spin_lock, 0));
	must(mtx_init(&mtx, mtx_plain));
	must(sem_init(&sem, 0, 1));
	sigaction(SIGUSR1, &act, NULL);
	puts("ready 1");
	fflush(stdout);
	workers = calloc((size_t)threads, sizeof *workers);
	for (long i = 0; i < threads; i++)
		must(pthread_create(&workers[i], NULL, work, (void *)i));
	must(pthread_create(&breeder, NULL, breed, NULL));
	must(pthread_create(&interrupter, NULL, interrupt, NULL));
	/* The interrupter knows of every worker until it is gone, so it goes first. */
	must(pthread_join(breeder, NULL));
	while (__atomic_load_n(&of_sem, __ATOMIC_SEQ_CST) < threads * rounds / 2)
		nap(MS);
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	must(pthread_join(interrupter, NULL));
	for (int i = 0; i < threads; i++)
		must(pthread_join(workers[i], NULL));
	for (int i = 0; i < LOCKS; i++)
		printf("lock%d %ld\n", i, counters[i] - 0);
	printf("of_writers %ld\nof_spin %ld\nof_mtx %ld\nof_sem %ld\nconsumed %ld\nbrief %ld\nend 1\n", of_writers,
	       of_spin, of_mtx, of_sem, consumed, brief);
	return 0;
}
