/* old_kernel.c - run a program as on an older kernel: newer system calls are unknown to it, or forbidden.
 *
 * usage: old_kernel ERRNO PROGRAM [ARGUMENT...]
 * Every call that is newer than Linux 4.4 fails with this errno: 38 (ENOSYS), or 1 (EPERM), as older containers have
 * it. With EPERM the calls fail, too, by which one process reads another's memory. madvise does not know
 * MADV_WIPEONFORK.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WIPE_ON_FORK = 18 };

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define FAIL(number) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (number))
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

int main(int argc, char **argv)
{
	unsigned number = argc > 1 ? (unsigned)atoi(argv[1]) : ENOSYS;
	unsigned reads = number == EPERM ? SYS_process_vm_readv : SYS_mlock2;
	/* The numbers of calls rise with time from mlock2 on (4.4), on each machine. */
	struct sock_filter code[] = {
		LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 8, 0),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_mlock2, 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, reads, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 2),
		LOAD(args[2]),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, WIPE_ON_FORK, 2, 0),
		ALLOW,
		FAIL(number),
		FAIL(EINVAL),
		FAIL(ENOSYS),
	};
	struct sock_fprog filter = {.len = sizeof code / sizeof *code, .filter = code};
	if (argc < 3 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter))
		return 77;
	execv(argv[2], argv + 2);
	return 78;
}
