/* many_segments.c - a program whose code is in eight executable segments, far apart.
 *
 * Runs in: a test program, until stdin ends. work calls far_0 to far_7 in turns. Prints `ready`.
 * flags: -no-pie -Wl,--section-start=.far_0=0x10000000 -Wl,--section-start=.far_1=0x12000000
 * flags: -Wl,--section-start=.far_2=0x14000000 -Wl,--section-start=.far_3=0x16000000
 * flags: -Wl,--section-start=.far_4=0x18000000 -Wl,--section-start=.far_5=0x1a000000
 * flags: -Wl,--section-start=.far_6=0x1c000000 -Wl,--section-start=.far_7=0x1e000000
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "truth.h"

#define FAR(n) \
	__attribute__((noinline, noclone, section(".far_" #n))) unsigned far_##n(unsigned x) \
	{ \
		for (int i = 0; i < 30000; i++) \
			x = x * 1664525u + n; \
		KEEP(&x); \
		return x; \
	}
FAR(0)
FAR(1)
FAR(2)
FAR(3)
FAR(4)
FAR(5)
FAR(6)
FAR(7)

static void *work(void *arg)
{
	for (unsigned x = 1;;)
		x = far_7(far_6(far_5(far_4(far_3(far_2(far_1(far_0(x))))))));
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
