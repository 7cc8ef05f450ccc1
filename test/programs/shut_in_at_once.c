/* shut_in_at_once.c - two threads shut themselves in (seccomp) at the same time, in many copies of the process.
 *
 * usage: shut_in_at_once HOW ROUNDS
 *   HOW   both: each sets a filter for all threads; divided: one sets a filter for all threads, the other one for
 *         itself alone, so that the kernel refuses the first if it comes second; again: one thread sets three, of which
 *         the kernel refuses the second
 *
 * Each copy waits long enough for whoever wants to begin something there, then sets the filters, and goes on with what
 * they allow: it waits for its input, locks, allocates, writes. Prints "rounds N killed K".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ALLOW(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (nr), 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
/* No rt_sigreturn: the program has no handler. */
static struct sock_filter allowed[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	ALLOW(SYS_read),
	ALLOW(SYS_write),
	ALLOW(SYS_futex),
	ALLOW(SYS_brk),
	ALLOW(SYS_mmap),
	ALLOW(SYS_munmap),
	ALLOW(SYS_mprotect),
	ALLOW(SYS_madvise),
	ALLOW(SYS_seccomp),
	ALLOW(SYS_prctl),
	ALLOW(SYS_exit_group),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

static const char *how;
static int pipe_ends[2];
static pthread_barrier_t begin, done;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static long set_filter(unsigned long flags)
{
	struct sock_fprog filter = {.len = sizeof allowed / sizeof *allowed, .filter = allowed};
	if (!flags)
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
}

/* What needs no system call but those that are allowed. */
static void go_on(void)
{
	char c;
	for (int i = 0; i < 20; i++) {
		if (write(pipe_ends[1], "x", 1) != 1 || read(pipe_ends[0], &c, 1) != 1)
			_exit(3);
		pthread_mutex_lock(&mutex);
		free(malloc(500));
		pthread_mutex_unlock(&mutex);
	}
}

static void *other(void *arg)
{
	free(malloc(500)); /* libc asks for the processors at a thread's first block */
	pthread_barrier_wait(&begin);
	set_filter(!strcmp(how, "both") ? SECCOMP_FILTER_FLAG_TSYNC : 0);
	go_on();
	pthread_barrier_wait(&done);
	pthread_barrier_wait(&begin); /* for ever: the end of a thread is not allowed */
	return arg;
}

static void again(void)
{
	struct sock_fprog none = {0};
	if (set_filter(SECCOMP_FILTER_FLAG_TSYNC) || !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &none) ||
	    set_filter(SECCOMP_FILTER_FLAG_TSYNC))
		_exit(4);
}

static void live(void)
{
	pthread_t thread;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	usleep(20000);
	if (!strcmp(how, "again")) {
		again();
		go_on();
		_exit(0);
	}
	if (pthread_create(&thread, NULL, other, NULL))
		_exit(2);
	pthread_barrier_wait(&begin);
	set_filter(SECCOMP_FILTER_FLAG_TSYNC);
	go_on();
	pthread_barrier_wait(&done);
	_exit(0);
}

int main(int argc, char **argv)
{
	int rounds = argc > 2 ? atoi(argv[2]) : 1, killed = 0;
	how = argv[1];
	if (pipe(pipe_ends))
		return 2;
	pthread_barrier_init(&begin, NULL, 2);
	pthread_barrier_init(&done, NULL, 2);
	for (int i = 0; i < rounds; i++) {
		int status;
		pid_t child = fork();
		if (child == 0)
			live();
		waitpid(child, &status, 0);
		killed += status != 0;
	}
	printf("rounds %d killed %d\n", rounds, killed);
	return 0;
}
