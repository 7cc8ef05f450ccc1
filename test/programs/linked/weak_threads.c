/* weak_threads.c - a program that asks by weak references whether it has threads, semaphores, operators, and uses what
 * it has.
 *
 * Runs in: a process of its own, bare or under the shim; linked with libpthread or, where libc is a library of its own,
 * without.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#pragma weak pthread_create
#pragma weak pthread_join
#pragma weak pthread_mutex_lock
#pragma weak pthread_mutex_unlock
#pragma weak pthread_rwlock_rdlock
#pragma weak pthread_rwlock_unlock
#pragma weak pthread_spin_lock
#pragma weak pthread_barrier_wait
#pragma weak pthread_cond_wait
#pragma weak sem_wait
#pragma weak sem_post
#pragma weak dlopen
#pragma weak dlclose
#pragma weak clock_nanosleep
extern int dlopen(void), dlclose(void);

static const struct {
	const char *name;
	void *at;
} asked[] = {
#define ASK(name) \
	{ \
#name, (void *)(name) \
	}
	ASK(pthread_create),
	ASK(pthread_join),
	ASK(pthread_mutex_lock),
	ASK(pthread_mutex_unlock),
	ASK(pthread_rwlock_rdlock),
	ASK(pthread_rwlock_unlock),
	ASK(pthread_spin_lock),
	ASK(pthread_barrier_wait),
	ASK(pthread_cond_wait),
	ASK(sem_wait),
	ASK(sem_post),
	ASK(dlopen),
	ASK(dlclose),
	ASK(clock_nanosleep),
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long sum;

static void add(void)
{
	if (pthread_mutex_lock)
		pthread_mutex_lock(&mutex);
	sum++;
	if (pthread_mutex_unlock)
		pthread_mutex_unlock(&mutex);
}

static void *work(void *arg)
{
	for (int i = 0; i < 1000; i++) {
		free(malloc(1000));
		add();
	}
	return arg;
}

int main(void)
{
	pthread_t thread;
	for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
		printf("%s %s\n", asked[i].name, asked[i].at ? "there" : "not there");
	if (pthread_create && pthread_join) {
		int r = pthread_create(&thread, NULL, work, NULL);
		printf("create %d\n", r);
		if (!r)
			printf("join %d\n", pthread_join(thread, NULL));
	} else {
		work(NULL);
	}
	printf("sum %ld\n", sum);
	return 3;
}
