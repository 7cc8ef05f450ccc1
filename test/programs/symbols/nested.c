/* nested.c - a C function in a function: what names in C are in is not told.
 *
 * Runs in: programs under test.
 *
 * SPDX-License-Identifier: Apache-2.0 */
static int outer(volatile int *v)
{
	int k = *v;
	__attribute__((always_inline)) inline int inner(int n)
	{
		return n * k + *v;
	}
	return inner(3) + inner(*v);
}

int main(int argc, char **argv)
{
	volatile int v = argc;
	return outer(&v) == (argv == 0);
}
