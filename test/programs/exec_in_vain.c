/* exec_in_vain.c - threads that run, and one that fails to exec as often as it is told to: each time the listener ends
 * and another one comes, whatever it was at.
 *
 * Reads lines, each of which says: once more.
 * Truth: `started 1`; after each line `failed N`, how often it has failed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>

#include "truth.h"

enum { RUNNING = 3 };

static void *run(void *arg)
{
	for (volatile unsigned long n = 0;; n++)
		KEEP(&n);
	return arg;
}

/* The next listener begins with such a call. */
static void *wait_long(void *arg)
{
	while (poll(NULL, 0, 100) == 0)
		continue;
	return arg;
}

int main(void)
{
	char *nothing[] = {"nothing", NULL}, line[64];
	int failed = 0;
	pthread_t t;
	for (int i = 0; i < RUNNING; i++)
		pthread_create(&t, NULL, run, NULL);
	pthread_create(&t, NULL, wait_long, NULL);
	printf("started 1\n");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		failed += execv("/nonexistent", nothing) == -1;
		printf("failed %d\n", failed);
		fflush(stdout);
	}
	return 0;
}
