/* edge_calls.c - calls of the allocator at the edges: NULL, 0, too much, wrong alignment, errno.
 *
 * Runs in: a test program; it must print the same with the shim and without.
 * Truth: `key value` lines; addresses are never printed, only whether they are as they should be.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>

#include "truth.h"

static volatile size_t too_much = PTRDIFF_MAX - 64;
static volatile size_t much = (size_t)1 << 46; /* allowed as a number, not to be had */
static volatile size_t zero;

static void say(const char *what, long value)
{
	printf("%s %ld\n", what, value);
}

static void failing(const char *what, void *p)
{
	int e = errno;
	printf("%s_is_null %d\n%s_errno %d\n", what, p == NULL, what, e);
	errno = 0;
}

int main(void)
{
	errno = 0;
	free(NULL);
	say("free_null_errno", errno);

	void *a = malloc(zero), *b = malloc(zero);
	say("malloc_zero_is_block", a != NULL && b != NULL && a != b);
	say("malloc_zero_usable", malloc_usable_size(a) > 0);
	free(a);
	free(b);
	a = calloc(zero, 8);
	say("calloc_zero_is_block", a != NULL);
	free(a);

	errno = 0;
	failing("malloc_too_much", malloc(too_much));
	failing("malloc_much", malloc(much));
	failing("calloc_overflow", calloc(too_much, 16));
	failing("calloc_much", calloc(1, much));
	failing("reallocarray_overflow", reallocarray(NULL, too_much, 16));
	failing("aligned_alloc_much", aligned_alloc(64, much));
	failing("memalign_much", memalign(4096, much));
	failing("valloc_much", valloc(much));
	failing("pvalloc_much", pvalloc(much));
	failing("pvalloc_overflow", pvalloc(SIZE_MAX - 5));

	void *out = &out;
	say("posix_memalign_bad_align", posix_memalign(&out, 3, 8));
	say("posix_memalign_small_align", posix_memalign(&out, 2, 8));
	say("posix_memalign_much", posix_memalign(&out, 64, much));
	say("posix_memalign_errno", errno);
	say("posix_memalign_out_kept", out == &out);

	char *volatile p = malloc(100); /* volatile: the compiler takes a block for gone after realloc */
	memset(p, 7, 100);
	errno = 0;
	failing("realloc_too_much", realloc(p, too_much));
	failing("realloc_much", realloc(p, much));
	failing("reallocarray_much", reallocarray(p, much / 16, 16));
	say("realloc_kept_content", p[0] == 7 && p[99] == 7);
	void *none = realloc(p, zero);
	say("realloc_to_zero_is_null", none == NULL);

	/* Every alignment the family takes, and what is usable of it. */
	int aligned = 1, usable = 1;
	for (size_t align = sizeof(void *); align <= 65536; align *= 2) {
		void *q = NULL;
		if (posix_memalign(&q, align, align + 1) != 0 || (uintptr_t)q % align)
			aligned = 0;
		usable &= malloc_usable_size(q) >= align + 1;
		memset(q, 1, align + 1);
		q = realloc(q, 3 * align);
		memset(q, 2, 3 * align);
		free(q);
		q = memalign(align, 5);
		aligned &= (uintptr_t)q % align == 0;
		usable &= malloc_usable_size(q) >= 5;
		free(q);
		q = aligned_alloc(align, 2 * align);
		aligned &= (uintptr_t)q % align == 0;
		memset(q, 3, malloc_usable_size(q));
		free(q);
	}
	say("aligned", aligned);
	say("usable", usable);
	a = valloc(10);
	say("valloc_aligned", (uintptr_t)a % 4096 == 0);
	free(a);
	a = pvalloc(10);
	say("pvalloc_aligned", (uintptr_t)a % 4096 == 0 && malloc_usable_size(a) >= 4096);
	free(a);

	/* The whole usable size may be written, whatever block it is. */
	for (size_t n = 1; n < 20000; n += n / 3 + 1) {
		char *block = malloc(n);
		size_t room = malloc_usable_size(block);
		if (room < n)
			say("usable_less_than_asked", (long)n);
		memset(block, 5, room);
		block = realloc(block, room + 1);
		if (block[room - 1] != 5)
			say("realloc_lost", (long)n);
		free(block);
	}

	/* errno: kept by calls that succeed. */
	int kept = 1;
	for (int i = 0; i < 2000; i++) {
		errno = 4242;
		void *q = malloc((size_t)i * 100);
		kept &= errno == 4242;
		q = realloc(q, (size_t)i * 130 + 1);
		kept &= errno == 4242;
		free(q);
		kept &= errno == 4242;
		q = calloc(7, (size_t)i);
		free(q);
		kept &= errno == 4242;
	}
	say("errno_kept", kept);
	a = malloc(64 << 20); /* its own mapping: free is a munmap */
	errno = 4242;
	free(a);
	say("errno_kept_by_munmap", errno == 4242);
	say("end", 1);
	return 0;
}
