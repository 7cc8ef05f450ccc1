/* two_plugins.c - two libraries that take turns at the same address.
 *
 * two_plugins LIBRARY LIBRARY
 * Runs in: a test program. Truth: `plugin_allocate SIZE ALLOCATED LIVE` and `plugin_b_allocat ...`, `same_place N`
 * (how often the second lay where the first had been); waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>

#include "../truth.h"

int main(int argc, char **argv)
{
	void *last = NULL;
	int same = 0;
	if (argc < 3)
		return 2;
	for (int i = 0; i < 40; i++) {
		void *h = dlopen(argv[1 + i % 2], RTLD_NOW | RTLD_LOCAL);
		void *(*call)(size_t) = h ? (void *(*)(size_t))dlsym(h, "plugin_call") : NULL;
		if (!call)
			return 1;
		same += i > 0 && (void *)call == last;
		last = (void *)call;
		size_t size = i % 2 ? 3000 : 5000;
		keep_block(call(size));
		dlclose(h);
	}
	truth_add("plugin_allocate", 5000, 20, 20);
	truth_add("plugin_b_allocat", 3000, 20, 20);
	truth_print();
	printf("same_place %d\n", same);
	ready_and_wait();
	return 0;
}
