/* heap_bias.c - many equal blocks at one site, half of them freed again: the same at each run, so that
 * the mean of many runs' profiles shows a bias of the estimate.
 *
 * heap_bias SIZE COUNT [SIZE COUNT]...      up to 8 sizes, each at a site of its own.
 * Runs in: a test program. The blocks are not touched beyond their first bytes: large ones cost address
 * space, not memory.
 * Truth: `site_N SIZE ALLOCATED LIVE`, N counting the sizes from 0; then `ready`; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "truth.h"

#define SITES(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

#define DEFINE(n) \
	SITE static void *site_##n(size_t size) \
	{ \
		void *p = malloc(size); \
		KEEP(p); \
		return p; \
	}
SITES(DEFINE)

#define ROW(n) {"site_" #n, site_##n},
static const struct {
	const char *name;
	void *(*make)(size_t);
} sites[] = {SITES(ROW)};

int main(int argc, char **argv)
{
	for (int s = 0; s < 8 && 2 + 2 * s < argc; s++) {
		size_t size = (size_t)atoll(argv[1 + 2 * s]);
		long count = atol(argv[2 + 2 * s]) & ~1L;
		for (long i = 0; i < count; i += 2) {
			void *kept = sites[s].make(size);
			void *freed = sites[s].make(size);
			if (!kept || !freed) {
				puts("failed 1");
				return 1;
			}
			keep_block(kept);
			free(freed);
		}
		truth_add(sites[s].name, size, count, count / 2);
	}
	truth_print();
	ready_and_wait();
	return 0;
}
