/* demo.c - the bundled demo of `make run`: a little shop that leaks, churns and names its threads.
 *
 * demo [SECONDS]      lives that long (10), then ends with status 0.
 * Runs in: a program of its own. Truth: what it prints about itself, one `key value` a line:
 * session_cache_leak grows by about 1 MiB a second and never shrinks, order_book_grow holds 24 MiB (the leak is the
 * smaller row for as long as anybody looks), request_parse and report_render allocate much and hold next to nothing.
 * The CPU's time goes to request_parse.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))
#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

static atomic_bool stop;
static atomic_long leaked_bytes, requests;

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* The leak: sessions are put in and never taken out. */
struct session {
	struct session *older;
	char data[1016];
};
static struct session *sessions;

NOINLINE static void session_cache_leak(void)
{
	struct session *s = malloc(sizeof *s);
	if (!s)
		return;
	memset(s->data, 's', sizeof s->data);
	s->older = sessions;
	sessions = s;
	atomic_fetch_add(&leaked_bytes, (long)sizeof *s);
}

/* Grows by doubling to 24 MiB and stays. */
static char *order_book;

NOINLINE static void order_book_grow(void)
{
	for (size_t size = 3 << 16; size <= 24 << 20; size *= 2) {
		char *more = realloc(order_book, size);
		if (!more)
			return;
		order_book = more;
		order_book[size - 1] = 1;
	}
}

/* Churn: many short-lived blocks. */
NOINLINE static size_t request_parse(unsigned i)
{
	char *words[16];
	size_t sum = 0;
	for (unsigned w = 0; w < 16; w++) {
		size_t n = 16 + (i * 31 + w * 57) % 600;
		words[w] = malloc(n);
		if (words[w])
			memset(words[w], 'w', n);
	}
	for (unsigned w = 0; w < 16; w++) {
		sum += words[w] ? (size_t)words[w][0] : 0;
		free(words[w]);
	}
	return sum;
}

NOINLINE static void request_serve(unsigned i)
{
	KEEP(request_parse(i));
	atomic_fetch_add(&requests, 1);
}

NOINLINE static void report_render(void)
{
	char *page = calloc(1, 3 << 20);
	KEEP(page);
	if (page)
		memset(page, 'r', 1 << 16);
	free(page);
}

static void *worker(void *arg)
{
	char name[16];
	snprintf(name, sizeof name, "worker-%d", (int)(long)arg);
	pthread_setname_np(pthread_self(), name);
	for (unsigned i = 0; !atomic_load(&stop); i++) {
		request_serve(i);
		if (i % 4096 == 0)
			pause_ms(5);
	}
	return NULL;
}

static void *reporter(void *arg)
{
	(void)arg;
	pthread_setname_np(pthread_self(), "reporter");
	while (!atomic_load(&stop)) {
		report_render();
		pause_ms(50);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 10;
	double end = now_s() + (seconds > 0 ? seconds : 10);
	pthread_t threads[4];
	int n = 0;

	order_book_grow();
	for (long i = 0; i < 3; i++)
		n += pthread_create(&threads[n], NULL, worker, (void *)i) == 0;
	n += pthread_create(&threads[n], NULL, reporter, NULL) == 0;
	while (now_s() < end) {
		for (int i = 0; i < 50; i++)
			session_cache_leak();
		pause_ms(50);
	}
	atomic_store(&stop, 1);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	printf("leaked_bytes %ld\nrequests %ld\n", atomic_load(&leaked_bytes), atomic_load(&requests));
	return 0;
}
