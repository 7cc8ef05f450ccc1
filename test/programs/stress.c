/* stress.c - threads that allocate, resize, free and pass blocks to each other in every way at once.
 *
 * stress [THREADS [OPERATIONS]]      of each thread.
 * Runs in: a test program. Truth: `site_N SIZE ALLOCATED LIVE` as in heap_truth.c (site_realloc: blocks of
 * several sizes); waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdatomic.h>

#include "truth.h"

enum { SLOTS = 512, KINDS = 5, RESIZES = 3 };

SITE static void *site_malloc(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}
SITE static void *site_calloc(size_t n)
{
	void *p = calloc(1, n);
	KEEP(p);
	return p;
}
SITE static void *site_memalign(size_t n)
{
	void *p = memalign(64, n);
	KEEP(p);
	return p;
}
SITE static void *site_large(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}
SITE static void *site_realloc(void *p, size_t n)
{
	p = realloc(p, n);
	KEEP(p);
	return p;
}

static const struct {
	const char *name;
	void *(*make)(size_t);
	size_t size;
} kinds[KINDS - 1] = {
	{"site_malloc", site_malloc, 72},
	{"site_calloc", site_calloc, 1200},
	{"site_memalign", site_memalign, 640},
	{"site_large", site_large, 200000},
};
static const size_t resizes[RESIZES] = {48, 3000, 40000};

/* The slots are everybody's: whoever takes a block out frees it. The first word says what it is. */
static _Atomic(long *) slots[SLOTS];
static atomic_long made[KINDS - 1 + RESIZES], freed[KINDS - 1 + RESIZES];
static long operations = 100000;

static void drop(long *p)
{
	if (p) {
		atomic_fetch_add(&freed[*p], 1);
		free(p);
	}
}

static void *work(void *arg)
{
	uint64_t x = 88172645463325252u * ((uintptr_t)arg + 1);
	for (long i = 0; i < operations; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		_Atomic(long *) *slot = &slots[x % SLOTS];
		unsigned what = x >> 32 & 7;
		long *p = atomic_exchange(slot, NULL);
		if (what < 3 || (what == 3 && i % 16 == 0)) {
			drop(p);
			p = kinds[what].make(kinds[what].size);
			*p = what;
			atomic_fetch_add(&made[what], 1);
		} else if (what < 7) {
			long to = KINDS - 1 + (long)(x >> 40) % RESIZES;
			if (p)
				atomic_fetch_add(&freed[*p], 1);
			p = site_realloc(p, resizes[to - (KINDS - 1)]);
			*p = to;
			atomic_fetch_add(&made[to], 1);
		} else {
			drop(p);
			continue;
		}
		drop(atomic_exchange(slot, p));
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t t[64];
	int n = argc > 1 ? atoi(argv[1]) : 6;
	if (argc > 2)
		operations = atol(argv[2]);
	for (int i = 0; i < n && i < 64; i++)
		pthread_create(&t[i], NULL, work, (void *)(uintptr_t)i);
	for (int i = 0; i < n && i < 64; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < KINDS - 1; i++)
		truth_add(kinds[i].name, kinds[i].size, made[i], made[i] - freed[i]);
	for (int i = 0; i < RESIZES; i++)
		truth_add("site_realloc", resizes[i], made[KINDS - 1 + i], made[KINDS - 1 + i] - freed[KINDS - 1 + i]);
	truth_print();
	ready_and_wait();
	return 0;
}
