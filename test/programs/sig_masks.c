/* sig_masks.c - the masks and dispositions that this process and its children have, by the kernel's account.
 *
 * sig_masks [SECONDS]      how long it goes on asking
 * Runs in: a test program; it must print the same with the shim and without. Each account (of the thread, a child by
 * fork, one by fork and exec, by posix_spawn, by system) is printed when it differs from the one before.
 * Signals 32 and 33, libc's own, are told of the mask alone: posix_spawn hands them on ignored, and a timer's may be
 * pending in a thread that blocks even them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "clocks.h"
#include "truth.h"

extern char **environ;
static char *self;

static void on_signal(int sig)
{
	(void)sig;
}

/* Signals blocked, ignored, caught, pending: as hexadecimal words. */
static void account(char *into, size_t size)
{
	char text[4096];
	int fd = open("/proc/thread-self/status", O_RDONLY | O_CLOEXEC);
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	static const char *const keys[] = {"\nSigPnd:", "\nShdPnd:", "\nSigBlk:", "\nSigIgn:", "\nSigCgt:"};
	size_t at = 0;
	for (int i = 0; i < 5; i++) {
		const char *found = strstr(text, keys[i]);
		unsigned long long word = found ? strtoull(found + 8, NULL, 16) : 0;
		if (i != 2)
			word &= ~(3ull << 31);
		at += (size_t)snprintf(into + at, size - at, " %s %016llx", keys[i] + 1, word);
	}
}

static void tell(const char *who, const char *text)
{
	static char last[8][400];
	static const char *names[8];
	int i = 0;
	while (i < 7 && names[i] && strcmp(names[i], who) != 0)
		i++;
	names[i] = who;
	if (strcmp(last[i], text) != 0)
		printf("%s%s\n", who, text);
	snprintf(last[i], sizeof last[i], "%s", text);
	fflush(stdout);
}

static void hear(const char *who, int fd, pid_t pid)
{
	char text[400];
	size_t got = 0;
	ssize_t n;
	while ((n = read(fd, text + got, sizeof text - 1 - got)) > 0)
		got += (size_t)n;
	text[got] = 0;
	close(fd);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	tell(who, text);
}

static void by_fork(int then_exec)
{
	int fd[2];
	if (pipe(fd) != 0)
		abort();
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fd[1], 1);
		close(fd[0]);
		close(fd[1]);
		if (then_exec)
			execl(self, self, "child", NULL);
		char text[400];
		account(text, sizeof text);
		_exit(write(1, text, strlen(text)) < 0);
	}
	close(fd[1]);
	hear(then_exec ? "fork+exec" : "fork", fd[0], pid);
}

static void by_spawn(void)
{
	int fd[2];
	pid_t pid = 0;
	char *argv[] = {self, "child", NULL};
	posix_spawn_file_actions_t a;
	if (pipe2(fd, O_CLOEXEC) != 0)
		abort();
	posix_spawn_file_actions_init(&a);
	posix_spawn_file_actions_adddup2(&a, fd[1], 1);
	if (posix_spawn(&pid, self, &a, NULL, argv, environ) != 0)
		abort();
	posix_spawn_file_actions_destroy(&a);
	close(fd[1]);
	hear("spawn", fd[0], pid);
}

static void by_popen(void)
{
	char command[400], text[400] = "";
	snprintf(command, sizeof command, "exec '%s' child", self);
	FILE *f = popen(command, "r");
	if (f) {
		size_t n = fread(text, 1, sizeof text - 1, f);
		text[n] = 0;
		pclose(f);
	}
	tell("popen", text);
}

static void all_ways(void)
{
	char text[400];
	account(text, sizeof text);
	tell("self", text);
	burn_here(3 * MS);
	by_fork(0);
	by_fork(1);
	burn_here(3 * MS);
	by_spawn();
	by_popen();
}

static void *with_full_mask(void *arg)
{
	char text[400];
	uint64_t all = ~(uint64_t)0, seen = 0;
	syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof all);
	burn_here(20 * MS);
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &seen, sizeof seen);
	snprintf(text, sizeof text, " mask %016llx", (unsigned long long)seen);
	tell("raw", text);
	account(text, sizeof text);
	tell("full", text);
	return arg;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "child") == 0) {
		char text[400];
		account(text, sizeof text);
		return write(1, text, strlen(text)) < 0;
	}
	self = argv[0];
	int64_t until = now_ns(CLOCK_MONOTONIC) + (argc > 1 ? atoi(argv[1]) : 1) * SECOND;
	struct sigaction a = {.sa_handler = on_signal};
	sigset_t blocked;
	sigaction(SIGUSR2, &a, NULL);
	sigaction(SIGRTMIN + 2, &a, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGRTMIN + 7, SIG_IGN);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGRTMIN + 5);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	puts("ready 1");
	fflush(stdout);
	do {
		pthread_t t;
		all_ways();
		pthread_create(&t, NULL, with_full_mask, NULL);
		pthread_join(t, NULL);
	} while (now_ns(CLOCK_MONOTONIC) < until);
	puts("end 1");
	return 0;
}
