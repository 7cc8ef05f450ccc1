/* philosophers.c - philosophers who take their forks in one order and eat slowly: they wait much, and never for good.
 *
 * philosophers [MEAL_MS]
 * Runs in: a test program. Truth: `ready`; at the end of stdin `meals N` and `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <stdatomic.h>

#include "clocks.h"
#include "truth.h"

enum { PHILOSOPHERS = 5 };
static pthread_mutex_t forks[PHILOSOPHERS];
static atomic_bool stop;
static atomic_long meals;
static long meal_ms = 300;

SITE static void take_forks(int first, int second)
{
	pthread_mutex_lock(&forks[first]);
	pthread_mutex_lock(&forks[second]);
	KEEP(forks);
}

static void *dine(void *arg)
{
	int i = (int)(intptr_t)arg, left = i, right = (i + 1) % PHILOSOPHERS;
	int first = left < right ? left : right, second = left < right ? right : left;
	char name[16];
	snprintf(name, sizeof name, "philosopher-%d", i);
	pthread_setname_np(pthread_self(), name);
	while (!atomic_load(&stop)) {
		take_forks(first, second);
		usleep((useconds_t)meal_ms * 1000);
		atomic_fetch_add(&meals, 1);
		pthread_mutex_unlock(&forks[second]);
		pthread_mutex_unlock(&forks[first]);
	}
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t[PHILOSOPHERS];
	if (argc > 1)
		meal_ms = atol(argv[1]);
	for (int i = 0; i < PHILOSOPHERS; i++)
		pthread_mutex_init(&forks[i], NULL);
	for (int i = 0; i < PHILOSOPHERS; i++)
		pthread_create(&t[i], NULL, dine, (void *)(intptr_t)i);
	ready_and_wait();
	atomic_store(&stop, 1);
	for (int i = 0; i < PHILOSOPHERS; i++)
		pthread_join(t[i], NULL);
	printf("meals %ld\nend 1\n", (long)meals);
	return 0;
}
