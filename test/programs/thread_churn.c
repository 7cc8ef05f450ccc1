/* thread_churn.c - many threads made and ended, at two known places.
 *
 * thread_churn [THREADS]
 * Runs in: a test program. Truth: `create_joined N`, `create_detached N`, `create_nested N` (made by threads):
 * how often each function called pthread_create with success; `ready`; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <semaphore.h>
#include <stdatomic.h>

#include "truth.h"

static atomic_long joined, detached, nested;
static sem_t ended;

static void *allocate(void *arg)
{
	void *p = malloc(100);
	KEEP(p);
	free(p);
	if (arg)
		sem_post(&ended);
	return NULL;
}

SITE static int create_joined(pthread_t *t, void *(*start)(void *))
{
	int r = pthread_create(t, NULL, start, NULL);
	KEEP(t);
	joined += r == 0;
	return r;
}

SITE static int create_detached(pthread_t *t)
{
	int r = pthread_create(t, NULL, allocate, &ended);
	KEEP(t);
	detached += r == 0;
	return r;
}

SITE static int create_nested(pthread_t *t)
{
	int r = pthread_create(t, NULL, allocate, NULL);
	KEEP(t);
	nested += r == 0;
	return r;
}

static void *make_one(void *arg)
{
	pthread_t t;
	(void)arg;
	if (create_nested(&t) == 0)
		pthread_join(t, NULL);
	return NULL;
}

int main(int argc, char **argv)
{
	long n = argc > 1 ? atol(argv[1]) : 10000;
	sem_init(&ended, 0, 0);
	for (long i = 0; i < n / 20; i++) {
		pthread_t t[10];
		int made = 0;
		for (int j = 0; j < 10; j++)
			made += create_joined(&t[made], j == 9 ? make_one : allocate) == 0;
		for (int j = 0; j < made; j++)
			pthread_join(t[j], NULL);
		made = 0;
		for (int j = 0; j < 9; j++) {
			if (create_detached(&t[0]) == 0) {
				pthread_detach(t[0]);
				made++;
			}
		}
		for (int j = 0; j < made; j++)
			sem_wait(&ended);
	}
	printf("create_joined %ld\ncreate_detached %ld\ncreate_nested %ld\n", joined, detached, nested);
	ready_and_wait();
	return 0;
}
