/* host.c - open the library that it is told, and print what its count() answers.
 *
 * Runs in: a process of its own, bare or under the shim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	void *handle = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	int (*count)(void) = NULL;
	if (handle)
		*(void **)&count = dlsym(handle, "count");
	if (!count) {
		puts(dlerror());
		return 1;
	}
	printf("%d by a thread\n", count());
	return 0;
}
