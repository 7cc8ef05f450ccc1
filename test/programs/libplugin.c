/* libplugin.c - a library that dlchurn loads, calls and unloads.
 *
 * Runs in: a test program. Its allocations are made by plugin_allocate, called through plugin_call.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

void *plugin_allocate(size_t n);
void *plugin_call(size_t n);

__attribute__((noinline)) void *plugin_allocate(size_t n)
{
	void *p = malloc(n);
	__asm__ volatile("" : : "r"(p) : "memory");
	return p;
}

void *plugin_call(size_t n)
{
	void *p = plugin_allocate(n);
	__asm__ volatile("" : : "r"(p) : "memory");
	return p;
}
