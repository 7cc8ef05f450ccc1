/* runpath_main.c - dlopen of a library whose own dlopen finds its sibling by its own RUNPATH ($ORIGIN).
 *
 * runpath_main LIBRARY
 * Runs in: a test program; it must print the same with the shim and without: `sibling 42`, `not_mine 1` (the
 * program itself has no such RUNPATH and must not find the sibling).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	printf("not_mine %d\n", dlopen("librunpath_b.so", RTLD_NOW) == NULL);
	void *h = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	if (!h) {
		printf("dlerror %s\n", dlerror());
		return 1;
	}
	int (*ask)(void) = (int (*)(void))dlsym(h, "runpath_ask_sibling");
	printf("sibling %d\n", ask());
	return dlclose(h);
}
