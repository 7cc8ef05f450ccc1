/* shapes.h - functions whose frames are of every shape that compilers make, and which call what they are given.
 *
 * Runs in: unit tests of the unwinder.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_SHAPES_H
#define PPROFSHIM_TEST_SHAPES_H

#include <alloca.h>
#include <stdint.h>
#include <stdlib.h>

#define NOINLINE __attribute__((noinline, noclone, no_sanitize("address", "undefined", "thread")))

struct shape {
	const char *name;
	int (*run)(int (*)(void));
};

static volatile int keep; /* read and written so that no call is the last thing that a function does */

static NOINLINE int plain(int (*next)(void))
{
	return next() + keep;
}

static NOINLINE int with_array(int (*next)(void))
{
	volatile char a[3000];
	a[keep & 1] = 1;
	return next() + a[0] + keep;
}

static NOINLINE int with_alloca(int (*next)(void))
{
	volatile char *a = alloca((size_t)(keep & 63) + 1);
	a[0] = 1;
	return next() + a[0] + keep;
}

static NOINLINE int aligned(int (*next)(void))
{
	_Alignas(64) volatile char a[64];
	a[0] = 1;
	return next() + a[0] + ((uintptr_t)a % 64 != 0) + keep;
}

static NOINLINE int many_registers(int (*next)(void))
{
	long a = keep, b = keep + 1, c = keep + 2, d = keep + 3, e = keep + 4, f = keep + 5;
	for (int i = 0; i < 2; i++) {
		a += b ^ c, b += c ^ d, c += d ^ e, d += e ^ f, e += f ^ a, f += a ^ b;
		if (i == 1)
			a += next();
	}
	return (int)(a + b + c + d + e + f);
}

static int (*from_qsort)(void);
static int compare(const void *a, const void *b)
{
	(void)a, (void)b;
	if (from_qsort) {
		int (*next)(void) = from_qsort;
		from_qsort = NULL;
		next();
	}
	return keep & 0;
}

static NOINLINE int through_libc(int (*next)(void))
{
	int list[4] = {keep, 2, 3, 1};
	from_qsort = next;
	qsort(list, 4, sizeof *list, compare);
	return list[0] + keep;
}

#endif
