/* heap_truth.c - known bytes at known sites, through every allocation function of C.
 *
 * heap_truth KB [no-pvalloc]      about KB KiB are allocated at each site. (jemalloc has no pvalloc: a block of
 * libc's cannot be freed there.)
 * Runs in: a test program; the e2e tests compare its profile with its words.
 * Truth: `SITE SIZE ALLOCATED LIVE`, the blocks of SIZE bytes that SITE asked for and those still in use.
 * A realloc counts as a free of the old block and an allocation of the whole new one. Sites named via_
 * reach the allocator through libc. `ready` closes the list; the program then waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "truth.h"

#include <malloc.h>

static size_t site_bytes;

static size_t blocks_of(size_t bytes)
{
	size_t n = site_bytes / bytes & ~(size_t)7;
	return n < 8 ? 8 : n;
}

static void *must(void *p)
{
	if (!p) {
		puts("failed 1");
		exit(1);
	}
	return p;
}

SITE static void *site_many_small(size_t n)
{
	void *p = must(malloc(n));
	KEEP(p);
	return p;
}
SITE static void *site_few_large(size_t n)
{
	void *p = must(malloc(n));
	KEEP(p);
	return p;
}
SITE static void *site_freed(size_t n)
{
	void *p = must(malloc(n));
	KEEP(p);
	return p;
}
SITE static void *site_half_freed(size_t n)
{
	void *p = must(malloc(n));
	KEEP(p);
	return p;
}
SITE static void *site_mixed(size_t n)
{
	void *p = must(malloc(n));
	KEEP(p);
	return p;
}
SITE static void *site_calloc(size_t n, size_t each)
{
	void *p = must(calloc(n, each));
	KEEP(p);
	return p;
}
SITE static void *site_realloc_of_null(size_t n)
{
	void *p = must(realloc(NULL, n));
	KEEP(p);
	return p;
}
SITE static void *site_realloc_grow(void *p, size_t n)
{
	p = must(realloc(p, n));
	KEEP(p);
	return p;
}
SITE static void *site_realloc_shrink(void *p, size_t n)
{
	p = must(realloc(p, n));
	KEEP(p);
	return p;
}
SITE static void *site_realloc_then_freed(void *p, size_t n)
{
	p = must(realloc(p, n));
	KEEP(p);
	return p;
}
SITE static void *site_reallocarray(void *p, size_t n, size_t each)
{
	p = must(reallocarray(p, n, each));
	KEEP(p);
	return p;
}
SITE static void *site_aligned_alloc(size_t align, size_t n)
{
	void *p = must(aligned_alloc(align, n));
	KEEP(p);
	return p;
}
SITE static void *site_memalign(size_t align, size_t n)
{
	void *p = must(memalign(align, n));
	KEEP(p);
	return p;
}
SITE static void *site_valloc(size_t n)
{
	void *p = must(valloc(n));
	KEEP(p);
	return p;
}
SITE static void *site_pvalloc(size_t n)
{
	void *p = must(pvalloc(n));
	KEEP(p);
	return p;
}
SITE static void *site_thread_dies(size_t n)
{
	void *p = must(malloc(n));
	KEEP(p);
	return p;
}
SITE static void *site_freed_elsewhere(size_t n)
{
	void *p = must(malloc(n));
	KEEP(p);
	return p;
}
SITE static void *via_strdup(const char *s)
{
	void *p = must(strdup(s));
	KEEP(p);
	return p;
}

SITE static void *site_posix_memalign(size_t align, size_t n)
{
	void *p = NULL;
	if (posix_memalign(&p, align, n) != 0)
		must(NULL);
	if ((uintptr_t)p % align)
		puts("misaligned 1");
	KEEP(p);
	return p;
}

SITE static void *via_getline(FILE *f, size_t *n)
{
	char *line = NULL;
	*n = 0;
	rewind(f);
	if (getline(&line, n, f) < 0)
		must(NULL);
	KEEP(line);
	return line;
}

static void plain(const char *name, void *(*site)(size_t), size_t size, unsigned kept_of_8)
{
	size_t n = blocks_of(size), kept = 0;
	for (size_t i = 0; i < n; i++) {
		void *p = site(size);
		if (i % 8 < kept_of_8) {
			keep_block(p);
			kept++;
		} else {
			free(p);
		}
	}
	truth_add(name, size, (long)n, (long)kept);
}

static void aligned(const char *name, void *(*site)(size_t, size_t), size_t align, size_t size)
{
	size_t n = blocks_of(size);
	for (size_t i = 0; i < n; i++) {
		void *p = site(align, size);
		if ((uintptr_t)p % align)
			puts("misaligned 1");
		if (i % 4)
			keep_block(p);
		else
			free(p);
	}
	truth_add(name, size, (long)n, (long)(n - n / 4));
}

/* Walk blocks along a chain of sizes; all but the last size end freed by the next realloc. */
static void chain(const char *name, void *(*site)(void *, size_t), const size_t *sizes, size_t steps, int freed)
{
	size_t sum = 0;
	for (size_t i = 0; i < steps; i++)
		sum += sizes[i];
	size_t n = blocks_of(sum);
	for (size_t b = 0; b < n; b++) {
		unsigned char *p = NULL;
		for (size_t i = 0; i < steps; i++) {
			size_t had = i ? (sizes[i - 1] < sizes[i] ? sizes[i - 1] : sizes[i]) : 0;
			p = site(p, sizes[i]);
			if (had && p[had - 1] != (unsigned char)b && sizes[i - 1] <= sizes[i])
				puts("content_lost 1");
			p[sizes[i] - 1] = (unsigned char)b;
		}
		if (freed)
			free(p);
		else
			keep_block(p);
	}
	for (size_t i = 0; i < steps; i++)
		truth_add(name, sizes[i], (long)n, i == steps - 1 && !freed ? (long)n : 0);
}

enum { THREADS = 8, HELD = 10000, PASSED = 3000 };

static void *hold_and_die(void *arg)
{
	size_t n = blocks_of(HELD) / THREADS;
	void **chain = NULL;
	for (size_t i = 0; i < n; i++) {
		void **p = site_thread_dies(HELD);
		*p = chain;
		chain = p;
	}
	*(void ***)arg = chain;
	truth_add("site_thread_dies", HELD, (long)n, (long)n);
	return NULL;
}

static void *free_every_other(void *arg)
{
	void **at = arg;
	long freed = 0;
	for (int i = 0; at; i++) {
		void **next = *at;
		if (i % 2) {
			free(at);
			freed++;
		} else {
			keep_block(at); /* joined before anybody else keeps */
		}
		at = next;
	}
	truth_add("site_freed_elsewhere", PASSED, 0, -freed);
	return NULL;
}

SITE static void threads(void)
{
	static void *held[THREADS];
	pthread_t t[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, hold_and_die, &held[i]);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);

	size_t n = blocks_of(PASSED);
	void **list = NULL;
	for (size_t i = 0; i < n; i++) {
		void **p = site_freed_elsewhere(PASSED);
		*p = list;
		list = p;
	}
	truth_add("site_freed_elsewhere", PASSED, (long)n, (long)n);
	pthread_create(&t[0], NULL, free_every_other, list);
	pthread_join(t[0], NULL);
}

static void libc_inside(void)
{
	char text[100];
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = 0;
	size_t n = blocks_of(sizeof text);
	for (size_t i = 0; i < n; i++) {
		void *p = via_strdup(text);
		if (i % 2)
			keep_block(p);
		else
			free(p);
	}
	truth_add("via_strdup", sizeof text, (long)n, (long)(n / 2));

	FILE *f = tmpfile();
	if (!f)
		return;
	fprintf(f, "a line\n");
	n = blocks_of(120) / 8;
	for (size_t i = 0; i < n; i++) {
		size_t size;
		keep_block(via_getline(f, &size));
		truth_add("via_getline", size, 1, 1);
	}
	fclose(f);
}

int main(int argc, char **argv)
{
	site_bytes = (argc > 1 ? (size_t)atol(argv[1]) : 1024) << 10;

	plain("site_many_small", site_many_small, 48, 8);
	plain("site_few_large", site_few_large, 1 << 20, 8);
	plain("site_freed", site_freed, 4096, 0);
	plain("site_half_freed", site_half_freed, 2000, 4);
	plain("site_mixed", site_mixed, 32, 2);
	plain("site_mixed", site_mixed, 700, 4);
	plain("site_mixed", site_mixed, 50000, 6);
	plain("site_realloc_of_null", site_realloc_of_null, 1500, 4);

	size_t n = blocks_of(1000);
	for (size_t i = 0; i < n; i++) {
		unsigned char *p = site_calloc(10, 100);
		if (p[0] | p[999])
			puts("not_zero 1");
		if (i % 2) {
			keep_block(p);
		} else {
			memset(p, 0xff, 1000);
			free(p);
		}
	}
	truth_add("site_calloc", 1000, (long)n, (long)(n / 2));

	chain("site_realloc_grow", site_realloc_grow, (const size_t[]){100, 300, 900, 2700, 8100}, 5, 0);
	chain("site_realloc_shrink", site_realloc_shrink, (const size_t[]){20000, 5000, 600}, 3, 0);
	chain("site_realloc_then_freed", site_realloc_then_freed, (const size_t[]){64, 100000, 200, 300000}, 4, 1);

	n = blocks_of(2400);
	for (size_t i = 0; i < n; i++)
		keep_block(site_reallocarray(site_reallocarray(NULL, 8, 100), 16, 100));
	truth_add("site_reallocarray", 800, (long)n, 0);
	truth_add("site_reallocarray", 1600, (long)n, (long)n);

	aligned("site_posix_memalign", site_posix_memalign, 64, 3000);
	aligned("site_aligned_alloc", site_aligned_alloc, 128, 1280);
	aligned("site_memalign", site_memalign, 4096, 6000);
	plain("site_valloc", site_valloc, 5000, 4);
	if (argc < 3)
		plain("site_pvalloc", site_pvalloc, 8192, 4);
	threads();
	libc_inside();

	truth_print();
	ready_and_wait();
	return 0;
}
