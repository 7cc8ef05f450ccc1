/* symbols_seccomp.c - a program that confines itself: who makes a process is killed, or told EPERM.
 *
 * symbols_seccomp kill|errno [thread]      thread: the filter is for this thread alone, else for all there are
 * Runs in: a test program. The filter is there as soon as main begins; then allocations in site_confined, and `ready`.
 * The end of stdin ends it, `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "truth.h"

SITE static void *site_confined(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}

#ifndef __NR_fork
#define __NR_fork -1
#define __NR_vfork -1
#endif
#define REFUSE(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, action)

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	unsigned action = strcmp(argv[1], "kill") == 0 ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | EPERM;
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		REFUSE(__NR_execve),
		REFUSE(__NR_execveat),
		REFUSE(__NR_clone),
		REFUSE(__NR_clone3),
		REFUSE(__NR_fork),
		REFUSE(__NR_vfork),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, argc > 2 ? 0 : SECCOMP_FILTER_FLAG_TSYNC, &program) != 0) {
		printf("no_seccomp %d\n", errno);
		return 0;
	}
	for (int i = 0; i < 10; i++)
		keep_block(site_confined(3000));
	ready_and_wait();
	puts("end 1");
	return 0;
}
