/* cxx_in_c.c - a C program that loads a C++ library with RTLD_LOCAL: libstdc++ is not in the global scope,
 * so "the next operator new" is not to be found there.
 *
 * cxx_in_c LIBRARY      LIBRARY: linked/libcxxext.cc
 * Runs in: a test program; it must print the same with the shim and without, but for nothing. Truth:
 * `caught 1` (bad_alloc came through), `site_ext_new SIZE ALLOCATED LIVE`; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>

#include "truth.h"

int main(int argc, char **argv)
{
	void *h = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	if (!h) {
		printf("dlerror %s\n", dlerror());
		return 1;
	}
	int (*catches)(void) = (int (*)(void))dlsym(h, "ext_catches_bad_alloc");
	void *(*make)(size_t) = (void *(*)(size_t))dlsym(h, "site_ext_new");
	void (*unmake)(void *) = (void (*)(void *))dlsym(h, "ext_delete");
	void (*throws)(void) = (void (*)(void))dlsym(h, "ext_throw_and_catch");
	printf("caught %d\n", catches());
	for (int i = 0; i < 100; i++)
		throws();
	for (int i = 0; i < 100; i++) {
		void *p = make(3000);
		if (i % 2)
			keep_block(p);
		else
			unmake(p);
	}
	truth_add("site_ext_new", 3000, 100, 50);
	truth_print();
	ready_and_wait();
	return 0;
}
