/* lock_chain.c - thread i waits for the mutex that thread i + 1 holds; the last one waits for ever.
 *
 * lock_chain THREADS
 * Runs in: a test program. Truth: `ready`; ends at the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "truth.h"

enum { MOST = 4096, STACK_BYTES = 64 * 1024 };

static pthread_mutex_t mutexes[MOST + 1];
static pthread_barrier_t all_hold;

SITE static void wait_for_next(size_t i)
{
	pthread_mutex_lock(&mutexes[i + 1]);
	KEEP(&i);
}

static void *link_of_chain(void *arg)
{
	size_t i = (size_t)arg;
	pthread_mutex_lock(&mutexes[i]);
	pthread_barrier_wait(&all_hold);
	wait_for_next(i);
	return NULL;
}

int main(int argc, char **argv)
{
	size_t count = argc > 1 ? (size_t)atoi(argv[1]) : 10;
	pthread_attr_t small;
	pthread_t t;
	if (count > MOST)
		return 2;
	for (size_t i = 0; i <= count; i++)
		pthread_mutex_init(&mutexes[i], NULL);
	pthread_mutex_lock(&mutexes[count]);
	pthread_barrier_init(&all_hold, NULL, (unsigned)count + 1);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK_BYTES);
	for (size_t i = 0; i < count; i++)
		if (pthread_create(&t, &small, link_of_chain, (void *)i) != 0) {
			puts("failed 1");
			return 1;
		}
	pthread_barrier_wait(&all_hold);
	ready_and_wait();
	_exit(0);
}
