/* no_unwind.c - code that an unwinder knows nothing of: a program without unwind tables or frame pointers,
 * and machine code made at run time that calls malloc.
 * flags: -fno-asynchronous-unwind-tables -fno-unwind-tables -fomit-frame-pointer
 *
 * Runs in: a test program. Truth: `site_plain SIZE ALLOCATED LIVE`, `generated SIZE ALLOCATED LIVE` (has no
 * name), `generated_start`, `generated_end`; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/mman.h>

#include "truth.h"

enum { SIZE = 2500 };

SITE static void *site_plain(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}

/* A function `void *f(size_t)` that calls malloc: with no frame pointer, or one that is used for something
 * else altogether. */
static void *generate(int spoil)
{
	unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *at = code;
	void *target = (void *)malloc;
#if defined(__x86_64__)
	*at++ = 0x55; /* push rbp */
	if (spoil) {  /* mov rbp, 0x10 */
		memcpy(at, (unsigned char[]){0x48, 0xc7, 0xc5, 0x10, 0, 0, 0}, 7);
		at += 7;
	}
	*at++ = 0x48, *at++ = 0xb8; /* mov rax, target */
	memcpy(at, &target, 8);
	at += 8;
	*at++ = 0xff, *at++ = 0xd0; /* call rax */
	*at++ = 0x5d;               /* pop rbp */
	*at++ = 0xc3;               /* ret */
#else
	(void)at, (void)target, (void)spoil;
	return NULL;
#endif
	mprotect(code, 4096, PROT_READ | PROT_EXEC);
	return code;
}

int main(void)
{
	void *(*made[2])(size_t) = {(void *(*)(size_t))generate(0), (void *(*)(size_t))generate(1)};
	for (int i = 0; i < 100; i++) {
		keep_block(site_plain(SIZE));
		free(site_plain(SIZE));
		for (int j = 0; j < 2 && made[j]; j++) {
			keep_block(made[j](SIZE));
			free(made[j](SIZE));
		}
	}
	truth_add("site_plain", SIZE, 200, 100);
	truth_add("generated", SIZE, made[0] ? 400 : 0, made[0] ? 200 : 0);
	truth_print();
	printf("generated_start %ld\ngenerated_end %ld\n", (long)made[0], (long)made[0] + 4096);
	ready_and_wait();
	return 0;
}
