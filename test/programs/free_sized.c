/* free_sized.c - C23's free_sized and free_aligned_sized, and the old cfree, of a library that it is linked with.
 *
 * Runs in: a test program; libc may have none of the three. Truth: `site_sized SIZE ALLOCATED LIVE`
 * as in heap_truth.c; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "truth.h"

SITE static void *site_sized(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}
SITE static void *site_sized_aligned(size_t n)
{
	void *p = aligned_alloc(64, n);
	KEEP(p);
	return p;
}

int main(void)
{
	void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
	void (*aligned)(void *, size_t, size_t) =
		(void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
	void (*old)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");
	if (!sized || !aligned || !old)
		return 4;
	for (int i = 0; i < 300; i++) {
		void *p = site_sized(3200), *q = site_sized_aligned(640);
		if (i % 3 == 0) {
			keep_block(p);
			keep_block(q);
		} else {
			if (i % 3 == 1)
				sized(p, 3200);
			else
				old(p);
			aligned(q, 64, 640);
		}
	}
	sized(NULL, 10);
	truth_add("site_sized", 3200, 300, 100);
	truth_add("site_sized_aligned", 640, 300, 100);
	truth_print();
	ready_and_wait();
	return 0;
}
