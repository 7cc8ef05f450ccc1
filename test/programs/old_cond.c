/* old_cond.c - condition variables of glibc before 2.3.2: old_cond versioned | by_name
 *
 * versioned: two threads take turns by functions of the oldest version, on an object that is one pointer. by_name: what
 * dlsym and dlvsym find can be called.
 *
 * Runs in: a process of its own, bare or under the shim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define OLD(name) __asm__(".symver old_" #name "," #name "@GLIBC_2.2.5")
OLD(pthread_cond_init);
OLD(pthread_cond_wait);
OLD(pthread_cond_timedwait);
OLD(pthread_cond_signal);
OLD(pthread_cond_broadcast);
OLD(pthread_cond_destroy);
int old_pthread_cond_init(void *cond, const void *attr);
int old_pthread_cond_wait(void *cond, pthread_mutex_t *mutex);
int old_pthread_cond_timedwait(void *cond, pthread_mutex_t *mutex, const struct timespec *until);
int old_pthread_cond_signal(void *cond);
int old_pthread_cond_broadcast(void *cond);
int old_pthread_cond_destroy(void *cond);

enum { TURNS = 20000 };

static struct {
	pthread_mutex_t mutex;
	void *cond; /* all that the old type was */
	char behind[64];
	int turn;
	long turns;
} s = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void *take_turns(void *me)
{
	struct timespec far = {.tv_sec = INT32_MAX};
	for (int i = 0; i < TURNS; i++) {
		pthread_mutex_lock(&s.mutex);
		while (s.turn != (int)(intptr_t)me)
			if (i % 2)
				old_pthread_cond_wait(&s.cond, &s.mutex);
			else
				old_pthread_cond_timedwait(&s.cond, &s.mutex, &far);
		s.turn = !s.turn;
		s.turns++;
		if (i % 3)
			old_pthread_cond_signal(&s.cond);
		else
			old_pthread_cond_broadcast(&s.cond);
		pthread_mutex_unlock(&s.mutex);
	}
	return NULL;
}

static int run_versioned(void)
{
	pthread_t threads[2];
	int changed = 0;
	old_pthread_cond_init(&s.cond, NULL);
	for (intptr_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, take_turns, (void *)i);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < sizeof s.behind; i++)
		changed += s.behind[i] != 0;
	printf("versioned: %ld turns, %d bytes behind the old object\n", s.turns, changed);
	return old_pthread_cond_destroy(&s.cond);
}

static void *nothing(void *arg)
{
	return arg;
}

/* Start a thread by this pthread_create and wait for its end. */
static int try_create(void *function)
{
	int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	pthread_t thread;
	*(void **)&create = function;
	int r = create ? create(&thread, NULL, nothing, NULL) : -1;
	return r ? r : pthread_join(thread, NULL);
}

static int run_by_name(void)
{
	void *old = dlvsym(RTLD_DEFAULT, "pthread_cond_signal", "GLIBC_2.2.5");
	void *now = dlvsym(RTLD_DEFAULT, "pthread_cond_signal", "GLIBC_2.3.2");
	printf("pthread_cond_signal of 2.2.5 and 2.3.2 %s\n",
	       old && now && old != now ? "differ" : "are one, or missing");
	printf("pthread_create of 2.2.5: %d, of 2.34: %d, by dlsym: %d\n",
	       try_create(dlvsym(RTLD_DEFAULT, "pthread_create", "GLIBC_2.2.5")),
	       try_create(dlvsym(RTLD_DEFAULT, "pthread_create", "GLIBC_2.34")),
	       try_create(dlsym(RTLD_DEFAULT, "pthread_create")));
	return 0;
}

int main(int argc, char **argv)
{
	return argc > 1 && strcmp(argv[1], "by_name") == 0 ? run_by_name() : run_versioned();
}
