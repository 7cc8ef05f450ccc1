/* mem.c - the few memory and string functions of libc, for this library alone.
 *
 * Runs in: everywhere.
 * So: a program may define its own memcpy or strlen, which use thread-local storage, count, or trap. The library must
 * not call those, least of all in the listener, whose thread block has no room for their data. The functions here are
 * hidden, and the linker finds them before libc's. Compiled without builtins (Makefile), or the loops would become
 * calls of themselves.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <stdint.h>

#include "shim/arch/arch.h"
#include "shim/base/exports.h"

HIDDEN void *memcpy(void *restrict to, const void *restrict from, size_t n);
HIDDEN void *memmove(void *to, const void *from, size_t n);
HIDDEN void *memset(void *at, int value, size_t n);
HIDDEN int memcmp(const void *a, const void *b, size_t n);
HIDDEN void *memchr(const void *at, int value, size_t n);
HIDDEN size_t strlen(const char *s);
HIDDEN size_t strnlen(const char *s, size_t max);
HIDDEN int strcmp(const char *a, const char *b);

/* Unaligned words that may alias anything. */
typedef uint64_t __attribute__((may_alias, aligned(1))) word;

void *memcpy(void *restrict to, const void *restrict from, size_t n)
{
	char *t = to;
	const char *f = from;
	if (arch_copy(to, from, n))
		return to;
	for (; n >= sizeof(word); n -= sizeof(word), t += sizeof(word), f += sizeof(word))
		*(word *)t = *(const word *)f;
	while (n--)
		*t++ = *f++;
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	char *t = to;
	const char *f = from;
	if ((uintptr_t)t - (uintptr_t)f >= n)
		return memcpy(to, from, n);
	while (n--)
		t[n] = f[n];
	return to;
}

void *memset(void *at, int value, size_t n)
{
	if (arch_fill(at, value, n))
		return at;
	for (char *t = at; n--; t++)
		*t = (char)value;
	return at;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;
	for (; n >= sizeof(word) && *(const word *)x == *(const word *)y; n -= sizeof(word))
		x += sizeof(word), y += sizeof(word);
	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

void *memchr(const void *at, int value, size_t n)
{
	for (const unsigned char *p = at; n--; p++)
		if (*p == (unsigned char)value)
			return (void *)p;
	return NULL;
}

size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;
	while (n < max && s[n])
		n++;
	return n;
}

size_t strlen(const char *s)
{
	return strnlen(s, SIZE_MAX);
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (unsigned char)*a - (unsigned char)*b;
}
