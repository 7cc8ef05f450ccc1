/* cancel.c - malloc and free are no cancellation points; a cancelled thread leaves no lock behind.
 *
 * Runs in: a test program; it must print the same with the shim and without.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "truth.h"

static int past;

static void *cancelled(void *arg)
{
	(void)arg;
	pthread_cancel(pthread_self());
	for (int i = 0; i < 500; i++) {
		void *p = realloc(malloc(3000), 9000);
		KEEP(p);
		free(p);
	}
	past++;
	pthread_testcancel();
	puts("not_reached 1");
	return NULL;
}

static void *leaves(void *arg)
{
	void *p = malloc(5000);
	KEEP(p);
	free(p);
	past++;
	pthread_exit(arg);
}

static void destroy(void *p)
{
	void *q = malloc(2000);
	KEEP(q);
	free(q);
	free(p);
}

static pthread_key_t key;
static void *with_destructor(void *arg)
{
	pthread_setspecific(key, malloc(3000));
	past++;
	return arg;
}

int main(void)
{
	int ended_by_cancel = 0;
	pthread_key_create(&key, destroy);
	for (int i = 0; i < 50; i++) {
		pthread_t t;
		void *result;
		pthread_create(&t, NULL, cancelled, NULL);
		pthread_join(t, &result);
		ended_by_cancel += result == PTHREAD_CANCELED;
		pthread_create(&t, NULL, leaves, NULL);
		pthread_join(t, NULL);
		pthread_create(&t, NULL, with_destructor, NULL);
		pthread_join(t, NULL);
	}
	printf("past_malloc %d\ncancelled %d\nend 1\n", past, ended_by_cancel);
	return 0;
}
