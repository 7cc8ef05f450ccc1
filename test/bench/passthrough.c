/* passthrough.c - the least that a preloaded sampling profiler can cost: what the shim is measured against.
 *
 * Runs in: the measured program's threads. One subtract from a thread-local countdown and one branch in
 * malloc, calloc and realloc, one branch on the pointer in free, a tail jump to the real function; nothing
 * is ever sampled.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))
#define COLD __attribute__((noinline, cold))

/* Until the constructor ran, the pointers lead to functions that look up the real ones. */
static void *early_malloc(size_t size);
static void early_free(void *p);
static void *early_calloc(size_t n, size_t each);
static void *early_realloc(void *p, size_t size);

static void *(*real_malloc)(size_t) = early_malloc;
static void (*real_free)(void *) = early_free;
static void *(*real_calloc)(size_t, size_t) = early_calloc;
static void *(*real_realloc)(void *, size_t) = early_realloc;

static _Thread_local intptr_t countdown __attribute__((tls_model("initial-exec"))) = INTPTR_MAX;
static volatile unsigned long looked_up;

__attribute__((constructor)) static void resolve(void)
{
	*(void **)&real_malloc = dlsym(RTLD_NEXT, "malloc");
	*(void **)&real_free = dlsym(RTLD_NEXT, "free");
	*(void **)&real_calloc = dlsym(RTLD_NEXT, "calloc");
	*(void **)&real_realloc = dlsym(RTLD_NEXT, "realloc");
}

static void *early_malloc(size_t size)
{
	resolve();
	return real_malloc(size);
}
static void early_free(void *p)
{
	resolve();
	real_free(p);
}
static void *early_calloc(size_t n, size_t each)
{
	resolve();
	return real_calloc(n, each);
}
static void *early_realloc(void *p, size_t size)
{
	resolve();
	return real_realloc(p, size);
}

COLD static void *sampled_malloc(size_t size)
{
	countdown = INTPTR_MAX;
	return real_malloc(size);
}
COLD static void *sampled_calloc(size_t n, size_t each)
{
	countdown = INTPTR_MAX;
	return real_calloc(n, each);
}
COLD static void *sampled_realloc(void *p, size_t size)
{
	countdown = INTPTR_MAX;
	return real_realloc(p, size);
}
COLD static void looked_up_free(void *p)
{
	looked_up++;
	real_free(p);
}

EXPORT void *malloc(size_t size)
{
	if (__builtin_expect((countdown -= (intptr_t)size) < 0, 0))
		return sampled_malloc(size);
	return real_malloc(size);
}

EXPORT void *calloc(size_t n, size_t each)
{
	if (__builtin_expect((countdown -= (intptr_t)(n * each)) < 0, 0))
		return sampled_calloc(n, each);
	return real_calloc(n, each);
}

EXPORT void *realloc(void *p, size_t size)
{
	if (__builtin_expect((countdown -= (intptr_t)size) < 0, 0))
		return sampled_realloc(p, size);
	return real_realloc(p, size);
}

EXPORT void free(void *p)
{
	if (__builtin_expect(((uintptr_t)p & 4095) == 0, 0)) {
		looked_up_free(p);
		return;
	}
	real_free(p);
}
