/* thread_names.c - threads that name themselves in every way, and live on.
 *
 * Runs in: a test program. Truth: `thread NAME` for each; created by create_named; `ready`; waits for the
 * end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <semaphore.h>
#include <sys/prctl.h>

#include "truth.h"

static const char *const names[] = {"by-pthread", "by-prctl", "by-other", "fifteen-letters", "sp ace\"quote"};
static sem_t named;

static void *live(void *arg)
{
	size_t i = (size_t)arg;
	if (i == 1)
		prctl(PR_SET_NAME, names[i]);
	else if (i != 2)
		pthread_setname_np(pthread_self(), names[i]);
	sem_post(&named);
	for (;;)
		pause();
	return NULL;
}

SITE static void create_named(pthread_t *t, size_t i)
{
	pthread_create(t, NULL, live, (void *)i);
	KEEP(t);
}

int main(void)
{
	sem_init(&named, 0, 0);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		pthread_t t;
		create_named(&t, i);
		if (i == 2)
			pthread_setname_np(t, names[i]);
		sem_wait(&named);
		printf("thread %s\n", names[i]);
	}
	ready_and_wait();
	fflush(stdout);
	_exit(0);
}
