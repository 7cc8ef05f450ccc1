/* dlchurn.c - load a library, allocate from its code, unload it, over and over, while threads allocate.
 *
 * dlchurn LIBRARY [ROUNDS]
 * Runs in: a test program. Truth: `plugin_allocate SIZE ALLOCATED LIVE` as heap_truth.c; the library is
 * loaded again at the end, so that its name can be looked up; waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <stdatomic.h>

#include "truth.h"

static atomic_bool stop;

static void *allocate(void *arg)
{
	while (!atomic_load(&stop))
		free(malloc(1000));
	return arg;
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 200;
	pthread_t t[2];
	void *h = NULL;
	if (argc < 2)
		return 2;
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, allocate, NULL);
	for (int i = 0; i < rounds; i++) {
		h = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
		void *(*call)(size_t) = h ? (void *(*)(size_t))dlsym(h, "plugin_call") : NULL;
		if (!call) {
			printf("dlerror %s\n", dlerror());
			return 1;
		}
		keep_block(call(5000));
		free(call(5000));
		if (i < rounds - 1 && dlclose(h) != 0)
			puts("dlclose_failed 1");
	}
	atomic_store(&stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	truth_add("plugin_allocate", 5000, 2 * rounds, rounds);
	truth_print();
	printf("no_such_library %d\n", dlopen("libnosuch-of-ours.so", RTLD_NOW) == NULL);
	printf("dlerror_told %d\n", dlerror() != NULL);
	printf("dlerror_cleared %d\n", dlerror() == NULL);
	ready_and_wait();
	return 0;
}
