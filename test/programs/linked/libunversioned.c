/* libunversioned.c - condition variables by references without a version, as of a library that was linked without libc.
 *
 * Runs in: unversioned.c. Linked with -nostdlib.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

extern void *malloc(size_t size);
extern void free(void *block);

static pthread_mutex_t mutex;
static pthread_cond_t *cond;
static int ready;

static void *be_ready(void *arg)
{
	pthread_mutex_lock(&mutex);
	ready = 1;
	pthread_cond_signal(cond);
	pthread_mutex_unlock(&mutex);
	return arg;
}

static void take_turn(void)
{
	pthread_t thread;
	cond = malloc(sizeof *cond);
	pthread_cond_init(cond, 0);
	ready = 0;
	pthread_mutex_lock(&mutex);
	pthread_create(&thread, 0, be_ready, 0);
	while (!ready)
		pthread_cond_wait(cond, &mutex);
	pthread_mutex_unlock(&mutex);
	pthread_join(thread, 0);
	pthread_cond_destroy(cond);
	free(cond);
}

int take_turns(int count)
{
	for (int i = 0; i < count; i++)
		take_turn();
	return count;
}
