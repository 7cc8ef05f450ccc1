/* ever_new_stacks.c - allocates at ever other call stacks, as parsers and interpreters do: 32 frames deep, any path of
 * two functions.
 *
 * ever_new_stacks COUNT      so many stacks; every eighth block is kept.
 * ever_new_stacks COUNT busy the same, and then again without end, until stdin ends.
 * Runs in: a test program.
 * Truth: `leaf SIZE ALLOCATED LIVE`; then `ready`; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdbool.h>

#include "truth.h"

enum { DEPTH = 32, SIZE = 48, KEPT_OF = 8 };

SITE static void *leaf(void)
{
	void *p = malloc(SIZE);
	KEEP(p);
	return p;
}

static void *left(uint64_t path, int depth);
static void *right(uint64_t path, int depth);

static void *further(uint64_t path, int depth)
{
	return depth == 0 ? leaf() : path & 1 ? left(path >> 1, depth - 1) : right(path >> 1, depth - 1);
}

SITE static void *left(uint64_t path, int depth)
{
	void *p = further(path, depth);
	KEEP(p);
	return p;
}

SITE static void *right(uint64_t path, int depth)
{
	void *p = further(path, depth);
	KEEP(p);
	return p;
}

/* Stack number n: odd multiples visit every path once before one comes again. */
static void visit(uint64_t n, bool keep)
{
	void *p = further(n * 0x9e3779b1u, DEPTH);
	if (!keep)
		free(p);
}

static bool has_ended(void)
{
	char c;
	return read(0, &c, 1) == 0;
}

int main(int argc, char **argv)
{
	uint64_t count = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000, n = 0;
	for (; n < count; n++)
		visit(n, n % KEPT_OF == 0);
	truth_add("leaf", SIZE, (long)count, (long)((count + KEPT_OF - 1) / KEPT_OF));
	truth_print();
	if (argc <= 2) {
		ready_and_wait();
		return 0;
	}
	puts("ready 1");
	fflush(stdout);
	fcntl(0, F_SETFL, O_NONBLOCK);
	while (!has_ended())
		for (int i = 0; i < 1000; i++)
			visit(n++, false);
	return 0;
}
