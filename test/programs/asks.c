/* asks.c - which of these functions does a program find by dlsym? asks NAME...
 *
 * Runs in: a process of its own, bare or under the shim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		printf("%s: %s, next: %s\n", argv[i], dlsym(RTLD_DEFAULT, argv[i]) ? "there" : "not there",
		       dlsym(RTLD_NEXT, argv[i]) ? "there" : "not there");
	return 0;
}
