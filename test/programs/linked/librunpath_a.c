/* librunpath_a.c - opens its sibling by a bare name, found by this library's RUNPATH alone.
 *
 * Runs in: a test program.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stddef.h>

int runpath_ask_sibling(void);
int runpath_ask_sibling(void)
{
	void *h = dlopen("librunpath_b.so", RTLD_NOW);
	int (*answer)(void) = h ? (int (*)(void))dlsym(h, "runpath_answer") : NULL;
	int n = answer ? answer() : -1;
	if (h)
		dlclose(h);
	return n;
}
