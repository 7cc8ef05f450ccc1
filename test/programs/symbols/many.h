/* many.h - code in a header: inlined calls are in another file than the caller.
 *
 * Runs in: nothing (many.c).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef MANY_H
#define MANY_H

static inline int header_clamp(int x, int low, int high)
{
	if (x < low)
		return low;
	return x > high ? high : x;
}

static inline int header_mix(int x)
{
	int y = header_clamp(x, 2, 1000);
	for (int i = 0; i < y; i++)
		y ^= (x << i % 5) + header_clamp(y, i, x);
	return y;
}

#endif
