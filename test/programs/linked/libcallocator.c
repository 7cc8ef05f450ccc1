/* libcallocator.c - an allocator whose functions are built on its own public malloc, as several are: calloc,
 * realloc and the memalign family call malloc through the symbol table, so a preloaded library sees both calls.
 *
 * Runs in: a test program, preloaded behind the shim. Thread-safe; freed memory is not used again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { HEADER = 16 };
static atomic_flag lock = ATOMIC_FLAG_INIT;
static char *chunk;
static size_t room;

static void *carve(size_t bytes)
{
	void *p = NULL;
	while (atomic_flag_test_and_set_explicit(&lock, memory_order_acquire))
		;
	if (bytes > room) {
		size_t more = bytes > (64 << 20) ? bytes : 64 << 20;
		char *fresh =
			mmap(NULL, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (fresh != MAP_FAILED) {
			chunk = fresh;
			room = more;
		}
	}
	if (bytes <= room) {
		p = chunk;
		chunk += bytes;
		room -= bytes;
	}
	atomic_flag_clear_explicit(&lock, memory_order_release);
	return p;
}

void *malloc(size_t size)
{
	size_t bytes = (size + HEADER + 15) & ~(size_t)15;
	char *p = bytes < size ? NULL : carve(bytes);
	if (!p) {
		errno = ENOMEM;
		return NULL;
	}
	*(size_t *)(p + HEADER - sizeof(size_t)) = size;
	return p + HEADER;
}

void free(void *p)
{
	(void)p;
}

size_t malloc_usable_size(void *p);
size_t malloc_usable_size(void *p)
{
	return p ? ((size_t *)p)[-1] : 0;
}

void *calloc(size_t n, size_t each)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, each, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	void *(*volatile public)(size_t) = malloc; /* or the compiler makes this function call itself */
	void *p = public(bytes);
	return p ? memset(p, 0, bytes) : NULL;
}

void *realloc(void *p, size_t size)
{
	void *q = malloc(size);
	if (p && q) {
		size_t had = malloc_usable_size(p);
		memcpy(q, p, had < size ? had : size);
		free(p);
	}
	return q;
}

void *memalign(size_t align, size_t size);
void *memalign(size_t align, size_t size)
{
	if (align <= 16)
		return malloc(size);
	char *p = malloc(size + align + HEADER);
	if (!p)
		return NULL;
	char *q = (char *)(((uintptr_t)p + HEADER + align - 1) & ~(uintptr_t)(align - 1));
	((size_t *)(void *)q)[-1] = size;
	return q;
}

int posix_memalign(void **out, size_t align, size_t size)
{
	if (align < sizeof(void *) || (align & (align - 1)))
		return EINVAL;
	void *p = memalign(align, size);
	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

void *aligned_alloc(size_t align, size_t size)
{
	return memalign(align, size);
}
void *valloc(size_t size)
{
	return memalign(4096, size);
}
void *pvalloc(size_t size);
void *pvalloc(size_t size)
{
	return memalign(4096, (size + 4095) & ~(size_t)4095);
}
void *reallocarray(void *p, size_t n, size_t each)
{
	size_t bytes;
	if (__builtin_mul_overflow(n, each, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, bytes);
}
