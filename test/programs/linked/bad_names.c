/* bad_names.c - functions whose names are not UTF-8, are very long, or look like something else.
 *
 * Runs in: a test program. Truth: `allocated N` blocks of 1000 bytes at each of the three; waits for the end of
 * stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "../truth.h"

#define TEN(x) x x x x x x x x x x
#define LONG_NAME "site_long_" TEN(TEN("0123456789") TEN("abcdefghij"))

void *bytes_named(size_t n) __asm__("site_\xff\xfe\xc3name");
void *long_named(size_t n) __asm__(LONG_NAME);
void *odd_named(size_t n) __asm__("_ZN4siteIXX");

SITE void *bytes_named(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}
SITE void *long_named(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}
SITE void *odd_named(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}

int main(void)
{
	for (int i = 0; i < 10; i++) {
		keep_block(bytes_named(1000));
		keep_block(long_named(1000));
		keep_block(odd_named(1000));
	}
	puts("allocated 10");
	ready_and_wait();
	return 0;
}
