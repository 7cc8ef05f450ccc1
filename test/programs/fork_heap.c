/* fork_heap.c - a child that inherits blocks, frees half of them and makes its own.
 *
 * Runs in: a test program. Truth: `parent_pid`, `child_pid`, then `site_inherited`, `site_child` rows as in
 * heap_truth.c, for the child; the parent has all of site_inherited and none of site_child. Both live until
 * the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/wait.h>

#include "truth.h"

SITE static void *site_inherited(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}
SITE static void *site_child(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}

enum { COUNT = 400, SIZE = 3000 };
static void *blocks[COUNT];

int main(void)
{
	int told[2], end[2];
	char c = 0;
	for (int i = 0; i < COUNT; i++)
		blocks[i] = site_inherited(SIZE);
	if (pipe(told) != 0 || pipe(end) != 0)
		return 2;
	pid_t pid = fork();
	if (pid == 0) {
		close(end[1]);
		for (int i = 0; i < COUNT; i += 2)
			free(blocks[i]);
		for (int i = 0; i < COUNT; i++)
			keep_block(site_child(SIZE));
		if (write(told[1], &c, 1) != 1)
			_exit(3);
		while (read(end[0], &c, 1) > 0)
			;
		_exit(0);
	}
	close(end[0]);
	if (pid < 0 || read(told[0], &c, 1) != 1)
		return 2;
	truth_add("site_inherited", SIZE, COUNT, COUNT / 2);
	truth_add("site_child", SIZE, COUNT, COUNT);
	printf("parent_pid %d\nchild_pid %d\n", getpid(), pid);
	truth_print();
	ready_and_wait();
	close(end[1]);
	int status;
	waitpid(pid, &status, 0);
	return status != 0;
}
