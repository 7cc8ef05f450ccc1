/* shut_in_frees.c - blocks of before a filter of system calls are freed behind it.
 *
 * usage: shut_in_frees BLOCKS [ROOM]
 * Allocates at least BLOCKS small blocks, the last of them far from the heap's end, and with room for at least ROOM
 * bytes; forbids all calls but write and the end; shrinks every other block, and frees all. Libc makes no call for
 * that: it keeps small blocks for the next that wants one. Prints "freed".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALLOW(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
static struct sock_filter allowed[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	ALLOW(SYS_write),
	ALLOW(SYS_exit_group),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

enum { BYTES = 100, MOST = 1 << 20, FAR = 80 * 1024 /* libc then looks for memory to give back */ };
static char *blocks[MOST];

static int allocate(int least, size_t room)
{
	int n = 0;
	char *block;
	do {
		block = blocks[n++] = malloc(BYTES);
		memset(block, n - 1, BYTES);
	} while (n < MOST &&
	         (n < least || n % 2 == 0 || (char *)sbrk(0) - block < FAR || malloc_usable_size(block) < room));
	return n;
}

int main(int argc, char **argv)
{
	struct sock_fprog filter = {.len = sizeof allowed / sizeof *allowed, .filter = allowed};
	int n = allocate(atoi(argv[1]), argc > 2 ? (size_t)atoi(argv[2]) : 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		_exit(2);
	for (int i = 0; i < n; i++) {
		if (i % 2)
			blocks[i] = realloc(blocks[i], BYTES / 2);
		if (blocks[i][BYTES / 2 - 1] != (char)i)
			_exit(3);
		free(blocks[i]);
	}
	if (write(1, "freed\n", 6) != 6)
		_exit(4);
	_exit(0);
}
