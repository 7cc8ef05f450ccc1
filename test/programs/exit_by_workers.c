/* exit_by_workers.c - main calls pthread_exit; the process ends when its last worker does.
 *
 * Runs in: a test program; it must print the same with the shim and without, and end by itself with
 * status 0, running its atexit handlers and destructors.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include "truth.h"

static void at_exit(void)
{
	free(malloc(5000));
	puts("atexit 1");
}

__attribute__((destructor)) static void destructor(void)
{
	free(malloc(5000));
	puts("destructor 1");
}

static void *worker(void *arg)
{
	long n = (long)arg;
	nanosleep(&(struct timespec){0, 100000000 * n}, NULL);
	for (int i = 0; i < 1000; i++)
		free(malloc(2000));
	if (n == 3)
		puts("last_worker 1");
	return NULL;
}

int main(void)
{
	atexit(at_exit);
	for (long i = 1; i <= 3; i++) {
		pthread_t t;
		pthread_create(&t, NULL, worker, (void *)i);
		pthread_detach(t);
	}
	puts("main_exits 1");
	pthread_exit(NULL);
}
