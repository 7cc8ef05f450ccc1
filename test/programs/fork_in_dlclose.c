/* fork_in_dlclose LIBRARY: the main thread forks while another one is in dlclose. The child allocates in functions
 * that were in no stack before.
 *
 * Runs in: a process of its own, and its child. Truth: `ready` by the child, which ends with stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BLOCKS = 200 };

static volatile int after;
static void *blocks[BLOCKS];

__attribute__((noinline)) static void leaf(int i)
{
	blocks[i] = malloc(1 << 20);
	after++;
}

__attribute__((noinline)) static void middle(int i)
{
	leaf(i);
	after++;
}

__attribute__((noinline)) static void outer(void)
{
	for (int i = 0; i < BLOCKS; i++)
		middle(i);
	after++;
}

static void *close_it(void *library)
{
	dlclose(library);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
	int *begun = library ? dlsym(library, "slow_end_begun") : NULL;
	if (!begun)
		return 1;
	pthread_create(&thread, NULL, close_it, library);
	while (!__atomic_load_n(begun, __ATOMIC_ACQUIRE))
		usleep(1000);
	pid_t child = fork();
	if (child == 0) {
		outer();
		puts("ready");
		fflush(stdout);
		while (getchar() != EOF)
			continue;
		_exit(0);
	}
	int status;
	waitpid(child, &status, 0);
	pthread_join(thread, NULL);
	return status != 0;
}
