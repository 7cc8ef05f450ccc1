/* fp_env.c - a program that traps inexact arithmetic and rounds downwards allocates all the same.
 *
 * Runs in: a process of its own. Truth: it ends, no floating point flag is raised, and rounding stays as it was.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
	feclearexcept(FE_ALL_EXCEPT);
	fesetround(FE_DOWNWARD);
	feenableexcept(FE_INEXACT | FE_UNDERFLOW | FE_OVERFLOW | FE_DIVBYZERO | FE_INVALID);
	for (int i = 0; i < 20000; i++) {
		void *volatile p = malloc(1000 + (size_t)i % 5000);
		free(p);
	}
	int raised = fetestexcept(FE_ALL_EXCEPT), rounding = fegetround();
	fedisableexcept(FE_ALL_EXCEPT);
	printf("raised %d\nrounds_downward %d\n", raised, rounding == FE_DOWNWARD);
	return 0;
}
