/* libplugin_b.c - a library as large as libplugin, which may come to lie where that one lay.
 *
 * Runs in: a test program. Its allocations are made by plugin_b_allocat, called through plugin_call.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

void *plugin_b_allocat(size_t n);
void *plugin_call(size_t n);

__attribute__((noinline)) void *plugin_b_allocat(size_t n)
{
	void *p = malloc(n);
	__asm__ volatile("" : : "r"(p) : "memory");
	return p;
}

void *plugin_call(size_t n)
{
	void *p = plugin_b_allocat(n);
	__asm__ volatile("" : : "r"(p) : "memory");
	return p;
}
