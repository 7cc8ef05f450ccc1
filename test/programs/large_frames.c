/* large_frames.c - functions with large arrays between the beginning of a thread and its work.
 *
 * Runs in: a test program, until stdin ends. Threads: "work" -> frame_of_<size> -> leaf, which has many places to be
 * interrupted at. Prints `ready`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "truth.h"

#define CASE(n) \
	case n: \
		x = x * (1664525u + n) + 1013904223u; \
		x ^= x >> (n % 13 + 3); \
		break;
#define CASES(n) CASE(n##0) CASE(n##1) CASE(n##2) CASE(n##3) CASE(n##4) CASE(n##5) CASE(n##6) CASE(n##7)

SITE static unsigned leaf(unsigned x)
{
	for (int i = 0; i < 20000; i++)
		switch (x % 70 + 10) {
			CASES(1) CASES(2) CASES(3) CASES(4) CASES(5) CASES(6) CASES(7)
		}
	return x;
}

#define FRAME(size) \
	SITE static void frame_of_##size(void) \
	{ \
		char array[size]; \
		array[0] = 1; \
		KEEP(array); \
		unsigned x = leaf((unsigned)array[0]); \
		KEEP(&x); \
	}
FRAME(20000)
FRAME(100000)
FRAME(700000)
FRAME(2000000)

static void *work(void *arg)
{
	for (;;) {
		frame_of_20000();
		frame_of_100000();
		frame_of_700000();
		frame_of_2000000();
	}
	return arg;
}

int main(void)
{
	pthread_t t;
	if (pthread_create(&t, NULL, work, NULL))
		return 1;
	ready_and_wait();
	return 0;
}
