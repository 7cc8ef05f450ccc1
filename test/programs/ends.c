/* ends.c - programs that end in many ways, and somebody who watches what they leave behind.
 *
 * Runs in: a test program.
 *
 * ends HOW [wait]     ends so; wait: reads a line first, after "ready". HOW: return, _exit, _Exit, quick, exit_group,
 *                     abort; in_child: a child that is served as well ends by _exit, then this one does; in_handler:
 *                     _exit in a handler of SIGALRM; abort_caught: leaves abort by a handler, prints "caught", returns;
 *                     later, later_return: after 30 ms, by _exit or from main
 * ends vfork          after each line that it reads, children that share its memory end in three ways; prints "children
 * 3" ends watch N HOW    as one who inherits orphans, starts a copy of itself N times, which ends HOW, with
 * $ENDS_PRELOAD as its LD_PRELOAD; the copy is $ENDS_COPY. Prints "busy B": how often the copy's file could not be
 * written to when its end had been told, and "others O": children that it never made.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf before_abort;

static void say_quick(void)
{
	if (write(1, "quick\n", 6) < 0)
		_exit(1);
}

static void end_in_handler(int sig)
{
	(void)sig;
	_exit(0);
}

static void leave_abort(int sig)
{
	(void)sig;
	siglongjmp(before_abort, 1);
}

/* A long wait, in which a child's listener is started. */
static void end_in_child(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		poll(NULL, 0, 30);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	_exit(0);
}

static void catch_abort(void)
{
	signal(SIGABRT, leave_abort);
	if (sigsetjmp(before_abort, 1) == 0)
		abort();
	puts("caught");
	fflush(stdout);
}

static int end(const char *how)
{
	if (!strcmp(how, "_exit"))
		_exit(0);
	if (!strcmp(how, "_Exit"))
		_Exit(0);
	if (!strcmp(how, "quick")) {
		at_quick_exit(say_quick);
		quick_exit(0);
	}
	if (!strcmp(how, "exit_group"))
		syscall(SYS_exit_group, 0);
	if (!strcmp(how, "abort"))
		abort();
	if (!strcmp(how, "later") || !strcmp(how, "later_return"))
		poll(NULL, 0, 30);
	if (!strcmp(how, "later"))
		_exit(0);
	if (!strcmp(how, "in_child"))
		end_in_child();
	if (!strcmp(how, "abort_caught"))
		catch_abort();
	if (!strcmp(how, "in_handler")) {
		signal(SIGALRM, end_in_handler);
		raise(SIGALRM);
	}
	return 0;
}

static int share_memory(void)
{
	char line[64];
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		int status[3];
		for (int i = 0; i < 3; i++) {
			pid_t pid = vfork();
			if (pid == 0 && i == 0)
				_exit(1);
			if (pid == 0 && i == 1)
				syscall(SYS_exit_group, 2);
			if (pid == 0)
				_Exit(3);
			waitpid(pid, &status[i], 0);
		}
		printf("children %d%d%d\n", WEXITSTATUS(status[0]), WEXITSTATUS(status[1]), WEXITSTATUS(status[2]));
		fflush(stdout);
	}
	return 0;
}

static void become(const char *path, const char *how)
{
	const struct rlimit no_core = {0, 0};
	setrlimit(RLIMIT_CORE, &no_core);
	if (getenv("ENDS_PRELOAD"))
		setenv("LD_PRELOAD", getenv("ENDS_PRELOAD"), 1);
	execl(path, path, how, NULL);
	_exit(127);
}

static int watch(const char *path, int turns, const char *how)
{
	int busy = 0, others = 0, status = 0;
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	for (int i = 0; i < turns; i++) {
		pid_t pid = fork();
		if (pid == 0)
			become(path, how);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			continue;
		int fd = open(path, O_WRONLY);
		busy += fd < 0 && errno == ETXTBSY;
		close(fd);
		if (WIFEXITED(status) && WEXITSTATUS(status))
			return 1;
		while (waitpid(-1, NULL, 0) > 0)
			others++;
	}
	printf("busy %d\nothers %d\n", busy, others);
	return 0;
}

/* The copy is what is written to: this program's own file is in use. */
static int watch_copy(int turns, const char *how)
{
	return watch(getenv("ENDS_COPY"), turns, how);
}

int main(int argc, char **argv)
{
	char line[64];
	if (argc > 3 && !strcmp(argv[1], "watch"))
		return watch_copy(atoi(argv[2]), argv[3]);
	if (argc > 1 && !strcmp(argv[1], "vfork"))
		return share_memory();
	if (argc > 2) {
		puts("ready");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin))
			return 1;
	}
	return argc > 1 ? end(argv[1]) : 2;
}
