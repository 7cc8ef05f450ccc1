/* shut_in.c - the program allows itself little (seccomp), then goes on with what is allowed.
 *
 * usage: shut_in HOW WHO [ACTION]
 *   HOW     strict: prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); filter: the same with a filter; syscall: seccomp(2);
 *           number: prctl by its number, too; tsync: seccomp(2) for all threads, of which there is one more; refused: a
 *           filter that the kernel does not take; asked: filters that are nowhere, by which programs ask what the
 *           kernel has
 *   WHO     self; child: one that was forked; clone: one that libc was not told of, as sandboxes make them;
 *           maker: itself, and may make threads, which it does then; crowd: itself, with tsync, and with a dozen
 *           threads more, which allocate and lock until the filter is there, and after; busy: the same behind a
 *           filter that forbids the return from a handler, too
 *   ACTION  of the filter for what is not allowed: kill (the preset), trap, errno, log, notify
 *
 * Prints "ready", waits for its input to end (so that requests can be made before), then shuts itself in, writes,
 * allocates, frees, locks, sleeps not at all, and ends: by the bare exit call, or, with "number", by exit(). Prints
 * "allowed N" with a sum that it computed.
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

static const int allowed[] = {
	SYS_rt_sigreturn, /* the first: "busy" does without */
	SYS_read,         SYS_write, SYS_exit,  SYS_exit_group, SYS_mmap,    SYS_munmap,
	SYS_mremap,       SYS_brk,   SYS_futex, SYS_mprotect,   SYS_madvise, SYS_getrandom,
};
enum { ALLOWED = sizeof allowed / sizeof *allowed };

/* What libc calls for a second thread, and in it. */
static const int for_threads[] = {
	SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq, SYS_rt_sigprocmask,
};
enum { FOR_THREADS = sizeof for_threads / sizeof *for_threads };

static struct sock_filter instructions[ALLOWED + FOR_THREADS + 3];
static int makes_threads, forbids_return;

static struct sock_fprog make_filter(unsigned action)
{
	int k = 0;
	instructions[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	int most = ALLOWED + (makes_threads ? FOR_THREADS : 0);
	for (int i = forbids_return; i < most; i++) {
		int nr = i < ALLOWED ? allowed[i] : for_threads[i - ALLOWED];
		instructions[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, most - i, 0);
	}
	instructions[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	instructions[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	return (struct sock_fprog){.len = k, .filter = instructions};
}

static unsigned action_of(const char *name)
{
	return !strcmp(name, "trap")     ? SECCOMP_RET_TRAP
	       : !strcmp(name, "errno")  ? SECCOMP_RET_ERRNO | 38
	       : !strcmp(name, "log")    ? SECCOMP_RET_LOG
	       : !strcmp(name, "notify") ? 0x7fc00000u /* SECCOMP_RET_USER_NOTIF */
	                                 : SECCOMP_RET_KILL_PROCESS;
}

static int shut_in(const char *how, const char *action)
{
	struct sock_fprog filter = make_filter(action_of(action));
	unsigned long flags = !strcmp(action, "notify") ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
	if (!strcmp(how, "strict"))
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (!strcmp(how, "refused"))
		filter.len = 0;
	if (!strcmp(how, "asked"))
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) |
		       (int)syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) |
		       (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, NULL);
	if (!strcmp(how, "number"))
		return (int)syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
	if (!strcmp(how, "filter") || !strcmp(how, "refused"))
		return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
	if (!strcmp(how, "tsync"))
		flags |= SECCOMP_FILTER_FLAG_TSYNC;
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter) < 0 ? -1 : 0;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile int up, go, gone;

/* Nothing but what is allowed. */
static unsigned long work(int rounds, size_t bytes)
{
	unsigned long sum = 0;
	for (int i = 0; i < rounds; i++) {
		volatile char *block = malloc(bytes);
		block[bytes / 2] = (char)i;
		pthread_mutex_lock(&mutex);
		sum += (unsigned char)block[bytes / 2];
		pthread_mutex_unlock(&mutex);
		free((void *)block);
	}
	return sum;
}

enum { CROWD = 40 };
static int is_crowd, others_count = 1;

static void *other(void *arg)
{
	__atomic_add_fetch(&up, 1, __ATOMIC_SEQ_CST);
	while (!go)
		if (is_crowd)
			work(1, 500);
	*(unsigned long *)arg = work(2000, 500); /* libc reads a file to give back the memory of threads */
	__atomic_add_fetch(&gone, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_exit, 0);
	return NULL;
}

static void *one_of_many(void *arg)
{
	return (void *)(work(100, 5000) + (unsigned long)arg);
}

static unsigned long make_threads(void)
{
	unsigned long sum = 0;
	for (unsigned long i = 0; i < 20; i++) {
		pthread_t thread;
		void *result;
		if (pthread_create(&thread, NULL, one_of_many, (void *)i) || pthread_join(thread, &result))
			syscall(SYS_exit, 5);
		sum += (unsigned long)result;
	}
	return sum;
}

static void say(const char *text, unsigned long number)
{
	char line[64];
	int n = 0, digits[20], count = 0;
	while (*text)
		line[n++] = *text++;
	do
		digits[count++] = (int)(number % 10);
	while (number /= 10);
	while (count)
		line[n++] = (char)('0' + digits[--count]);
	line[n++] = '\n';
	if (write(1, line, n) != n)
		syscall(SYS_exit, 3);
}

static void live_shut_in(const char *how, const char *action)
{
	pthread_t thread;
	unsigned long others[CROWD] = {0};
	int all = !strcmp(how, "tsync"), strict = !strcmp(how, "strict");
	int refused = !strcmp(how, "refused") || !strcmp(how, "asked");
	if (makes_threads)
		make_threads(); /* libc gets ready for threads at the first one */
	for (int i = 0; all && i < others_count; i++)
		if (pthread_create(&thread, NULL, other, &others[i]))
			_exit(2);
	while (all && up < others_count)
		;
	if (is_crowd)
		usleep(150000); /* a profile that is being taken meets them */
	if (shut_in(how, action) != (refused ? -1 : 0))
		_exit(4);
	go = 1;
	unsigned long sum = strict ? 7 : work(4000, 50000); /* strict mode allows no memory */
	sum += makes_threads ? make_threads() : 0;
	while (all && gone < others_count)
		;
	for (int i = 0; i < others_count; i++)
		sum += others[i];
	say("allowed ", sum);
	if (refused) { /* and it lives on as before */
		char c;
		while (read(0, &c, 1) > 0)
			;
		say("lived ", sum);
	}
	if (!strcmp(how, "number"))
		exit(0);
	syscall(all ? SYS_exit_group : SYS_exit, 0);
}

/* Its only thread: libc's notion of it is the parent's. */
static pid_t make_child(const char *who)
{
	if (!strcmp(who, "self") || !strcmp(who, "maker") || !strcmp(who, "crowd") || !strcmp(who, "busy"))
		return 0;
	return !strcmp(who, "child") ? fork() : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

int main(int argc, char **argv)
{
	const char *how = argv[1], *action = argc > 3 ? argv[3] : "kill";
	char c;
	printf("ready\n");
	fflush(stdout);
	while (read(0, &c, 1) > 0 && c != '\n')
		;
	makes_threads = !strcmp(argv[2], "maker");
	forbids_return = !strcmp(argv[2], "busy");
	is_crowd = forbids_return || !strcmp(argv[2], "crowd");
	others_count = is_crowd ? CROWD : 1;
	int status = 0;
	pid_t child = make_child(argv[2]);
	if (child == 0)
		live_shut_in(how, action);
	waitpid(child, &status, 0);
	printf("status %x\n", status);
	return 0;
}
