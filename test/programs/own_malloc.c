/* own_malloc.c - a program with an allocator of its own in the executable: the shim never sees its calls.
 *
 * Runs in: a test program. Truth: `own 1` if every block came from its own arena (asked for directly and
 * by libc), `end 1`; then waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "truth.h"

static char arena[32 << 20] __attribute__((aligned(4096)));
static size_t used;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* A block's size lies in the 16 bytes before it; nothing is given back. */
static void *carve(size_t align, size_t size)
{
	pthread_mutex_lock(&lock);
	size_t at = (used + 16 + align - 1) & ~(align - 1);
	void *p = NULL;
	if (size <= sizeof arena && at + size <= sizeof arena) {
		used = at + size;
		p = arena + at;
		((size_t *)p)[-1] = size;
	}
	pthread_mutex_unlock(&lock);
	if (!p)
		errno = ENOMEM;
	return p;
}

void *malloc(size_t size)
{
	return carve(16, size);
}
void free(void *p)
{
	(void)p;
}
void *calloc(size_t n, size_t each)
{
	return carve(16, n * each);
}
void *memalign(size_t align, size_t size)
{
	return carve(align < 16 ? 16 : align, size);
}
void *aligned_alloc(size_t align, size_t size)
{
	return memalign(align, size);
}
void *valloc(size_t size)
{
	return memalign(4096, size);
}
size_t malloc_usable_size(void *p)
{
	return p ? ((size_t *)p)[-1] : 0;
}

int posix_memalign(void **out, size_t align, size_t size)
{
	void *p = memalign(align, size);
	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

void *realloc(void *p, size_t size)
{
	void *q = malloc(size);
	if (p && q) {
		size_t had = malloc_usable_size(p);
		memcpy(q, p, had < size ? had : size);
	}
	return q;
}

static int mine(const void *p)
{
	return (const char *)p >= arena && (const char *)p < arena + sizeof arena;
}

static void *allocate(void *arg)
{
	int *own = arg;
	for (int i = 0; i < 1000; i++) {
		void *p = malloc(100);
		*own &= mine(p);
		free(p);
	}
	return NULL;
}

int main(void)
{
	int own = 1;
	pthread_t t;
	pthread_create(&t, NULL, allocate, &own);
	pthread_join(t, NULL);
	char *s = strdup("libc's own call");
	own &= mine(s);
	free(s);
	s = realloc(malloc(10), 1000);
	own &= mine(s);
	free(s);
	printf("own %d\nend 1\n", own);
	ready_and_wait();
	return 0;
}
