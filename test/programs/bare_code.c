/* bare_code.c - code with little for an unwinder to go by; how little, the compiler's and linker's flags say.
 *
 * Runs in: a test program, until stdin ends. work -> middle -> burn, which keeps data in the frame pointer with
 * -DDATA_IN_FP; `middle` allocates. Prints `ready`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "truth.h"

#if defined(DATA_IN_FP) && defined(__x86_64__)
#define IN_FRAME_POINTER(v) register unsigned long v __asm__("rbp")
#else
#define IN_FRAME_POINTER(v) unsigned long v
#endif

SITE static unsigned long burn(unsigned long x)
{
	unsigned long a = x, b = x * 3, c = x * 5, d = x * 7, e = x * 11, f = x * 13, g = x * 17;
	IN_FRAME_POINTER(h) = x * 19;
	for (int i = 0; i < 30000; i++) {
		a = a * b + c, b = b * c + d, c = c * d + e, d = d * e + f;
		e = e * f + g, f = f * g + h, g = g * h + a, h = h * a + b;
		__asm__ volatile("" : "+r"(h));
	}
	return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h;
}

SITE static unsigned long middle(unsigned long x)
{
	x = burn(x);
	void *p = malloc(100 + x % 100);
	KEEP(p);
	free(p);
	return x + 1;
}

static void *work(void *arg)
{
	for (unsigned long x = 1;;)
		x = middle(x);
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
