/* early_alloc.c - a program linked with libearly, and its own early constructor and an IFUNC-less start.
 *
 * Runs in: a test program. Truth: `early 50`, `site_early SIZE ALLOCATED LIVE` and the wait of truth.h; the
 * blocks of the constructor are freed in main's part: a block from before is known to free and realloc.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "../truth.h"

extern void *early_blocks;
int early_count(void);

int main(void)
{
	printf("early %d\n", early_count());
	for (int i = 0; i < 20; i++) {
		void **p = early_blocks;
		early_blocks = *p;
		if (i % 2)
			free(p);
		else
			free(realloc(p, 4000));
	}
	truth_add("site_early", 2000, 100, 30);
	truth_print();
	ready_and_wait();
	return 0;
}
