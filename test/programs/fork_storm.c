/* fork_storm.c - threads allocate without pause while others fork; the children allocate, free and end.
 *
 * fork_storm [FORKS]      per forking thread (two of them).
 * Runs in: a test program. Truth: `children N`, `right_status N` (each child ends with its own code), `end`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>
#include <sys/wait.h>

#include "truth.h"

enum { FORKERS = 2, ALLOCATORS = 4 };
static atomic_bool stop;
static atomic_int children, right;
static int forks = 150;

static void *allocate(void *arg)
{
	unsigned x = (unsigned)(uintptr_t)arg + 1;
	void *blocks[64] = {0};
	while (!atomic_load(&stop)) {
		x = x * 1664525 + 1013904223;
		unsigned i = x >> 26;
		free(blocks[i]);
		blocks[i] = malloc(1 + (x >> 8) % 5000);
	}
	for (unsigned i = 0; i < 64; i++)
		free(blocks[i]);
	return NULL;
}

static void *in_child(void *arg)
{
	(void)arg;
	free(malloc(3000));
	return NULL;
}

static void child(int code)
{
	void *blocks[100];
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 100; i++)
			blocks[i] = malloc((size_t)(i + 1) * 50);
		for (int i = 0; i < 100; i++)
			free(blocks[i]);
	}
	if (code % 8 == 0) {
		pthread_t t;
		if (pthread_create(&t, NULL, in_child, NULL) == 0)
			pthread_join(t, NULL);
	}
	if (code % 4 == 1) {
		pid_t grandchild = fork();
		if (grandchild == 0) {
			free(calloc(10, 1000));
			_exit(0);
		}
		int status;
		if (grandchild > 0 && (waitpid(grandchild, &status, 0) != grandchild || status != 0))
			_exit(255);
	}
	_exit(code);
}

static void *fork_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < forks; i++) {
		pid_t pid = fork();
		if (pid == 0)
			child(i % 100);
		if (pid < 0)
			continue;
		int status = 0;
		atomic_fetch_add(&children, 1);
		if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == i % 100)
			atomic_fetch_add(&right, 1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t a[ALLOCATORS], f[FORKERS];
	if (argc > 1)
		forks = atoi(argv[1]);
	for (int i = 0; i < ALLOCATORS; i++)
		pthread_create(&a[i], NULL, allocate, (void *)(uintptr_t)i);
	for (int i = 0; i < FORKERS; i++)
		pthread_create(&f[i], NULL, fork_often, NULL);
	for (int i = 0; i < FORKERS; i++)
		pthread_join(f[i], NULL);
	atomic_store(&stop, 1);
	for (int i = 0; i < ALLOCATORS; i++)
		pthread_join(a[i], NULL);
	printf("children %d\nright_status %d\nend 1\n", atomic_load(&children), atomic_load(&right));
	return 0;
}
