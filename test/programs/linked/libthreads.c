/* libthreads.c - a library that starts a thread, which counts to 1000 under a lock and by a semaphore.
 *
 * Runs in: host.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <semaphore.h>

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static sem_t done;
static int sum;

static void *work(void *arg)
{
	for (int i = 0; i < 1000; i++) {
		pthread_rwlock_wrlock(&lock);
		sum++;
		pthread_rwlock_unlock(&lock);
	}
	sem_post(&done);
	return arg;
}

int count(void)
{
	pthread_t thread;
	if (sem_init(&done, 0, 0) || pthread_create(&thread, 0, work, 0))
		return -1;
	sem_wait(&done);
	return pthread_join(thread, 0) ? -1 : sum;
}
