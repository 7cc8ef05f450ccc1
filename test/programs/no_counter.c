/* no_counter.c - a program that denies itself the processor's time-stamp counter, and may shut itself in beside.
 *
 * usage: no_counter HOW [filter]     HOW: prctl, or number for the same by syscall(); filter: and then allow all
 * threads little more than futexes
 *
 * Prints "ready", waits for a line, then has a mutex that another thread wants, too, allocates, and ends. A read of the
 * counter, by the vDSO's clock as well, is SIGSEGV in it, a system call that is not allowed is SIGSYS. Prints "had N".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TURNS = 300 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile int begun;

static void work(void)
{
	for (volatile int i = 0; i < 20000; i++)
		continue;
}

/* It leaves the mutex for a moment only. */
static void *hold(void *arg)
{
	for (;; begun = 1) {
		pthread_mutex_lock(&mutex);
		work();
		pthread_mutex_unlock(&mutex);
	}
	return arg;
}

static int shut_in(void)
{
	static const int allowed[] = {SYS_read,         SYS_write,  SYS_exit,     SYS_exit_group, SYS_futex,
	                              SYS_rt_sigreturn, SYS_mmap,   SYS_munmap,   SYS_brk,        SYS_madvise,
	                              SYS_mprotect,     SYS_mremap, SYS_getrandom};
	enum { ALLOWED = sizeof allowed / sizeof *allowed };
	struct sock_filter code[ALLOWED + 3];
	int k = 0;
	code[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (int i = 0; i < ALLOWED; i++)
		code[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], ALLOWED - i, 0);
	code[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	code[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog filter = {.len = (unsigned short)k, .filter = code};
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	       syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) != 0;
}

int main(int argc, char **argv)
{
	pthread_t other;
	char c;
	int had = 0, by_number = argc > 1 && !strcmp(argv[1], "number");
	void *volatile block;
	if (by_number ? syscall(SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0)
	              : prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0))
		return 77;
	puts("ready");
	fflush(stdout);
	if (read(0, &c, 1) < 0 || pthread_create(&other, NULL, hold, NULL) != 0)
		return 2;
	while (!begun)
		usleep(1000);
	if (argc > 2 && shut_in())
		return 77;
	for (; had < TURNS; had++) {
		pthread_mutex_lock(&mutex);
		block = malloc(100000);
		work();
		free(block);
		pthread_mutex_unlock(&mutex);
	}
	printf("had %d\n", had);
	fflush(stdout);
	_exit(0);
}
