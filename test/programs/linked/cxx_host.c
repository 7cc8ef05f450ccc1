/* cxx_host.c - open C++ plug-ins one after the other, twice, and call each: cxx_host MODE PLUGIN...
 *
 * MODE is made of: local, deepbind or own (a name space of its own); keep: none is unloaded; wait: at the end, for
 * input. Prints what each plug-in says, and whether the program itself has an operator new. Built as C, and as C++ with
 * libstdc++ in it.
 *
 * Runs in: a process of its own, bare or under the shim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void *open_plugin(const char *mode, const char *path)
{
	if (strstr(mode, "own"))
		return dlmopen(LM_ID_NEWLM, path, RTLD_NOW);
	return dlopen(path, RTLD_NOW | RTLD_LOCAL | (strstr(mode, "deepbind") ? RTLD_DEEPBIND : 0));
}

static int call(const char *mode, const char *path)
{
	void *handle = open_plugin(mode, path);
	if (!handle) {
		puts(dlerror());
		return 2;
	}
	int (*plug)(int);
	*(void **)&plug = dlsym(handle, "plug");
	printf("%s: %d\n", strrchr(path, '/') + 1, plug(100));
	fflush(stdout);
	return strstr(mode, "keep") ? 0 : dlclose(handle);
}

int main(int argc, char **argv)
{
	printf("operator new: %s, io_getevents: %s\n", dlsym(RTLD_DEFAULT, "_Znwm") ? "there" : "not there",
	       dlsym(RTLD_DEFAULT, "io_getevents") ? "there" : "not there");
	for (int turn = 0; turn < 2; turn++)
		for (int i = 2; i < argc; i++)
			if (call(argv[1], argv[i]))
				return 2;
	if (strstr(argv[1], "wait")) {
		puts("ready");
		fflush(stdout);
		getchar();
	}
	return 0;
}
