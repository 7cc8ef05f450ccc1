/* self_view.c - how a program looks to itself, and what it does when it is told to.
 *
 * Reads commands, one a line, and waits for them in poll, 100 ms at a time; "ready" first. At the end of its input it
 * returns 0.
 *   view        prints "threads N" (/proc/self/stat), "tasks N" (/proc/self/task), "wait R E": what wait(2) says
 *   bare_exit   the bare exit call, status 7
 *   exec, exec_syscall, execveat    this program takes its own place
 *   exec_fails  prints "failed 2"
 *   setuid      gives up root; prints "setuid R"
 *   pairs       a thousand times another effective user and back; prints "pairs R"
 *   steps       another user and other groups, by way of root; prints "steps R"
 *   initgroups  the groups of another user; prints "initgroups R"
 *   numbers     the same by syscall(); prints "numbers R"
 *   dumpable    asks for core dumps; prints "dumpable N", as the kernel says afterwards. is_dumpable: the latter alone
 *   notify      asks for a message queue's notification, waits, sends a message; prints "notified 1"
 * flags: -lrt
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int count_tasks(void)
{
	int n = 0;
	DIR *dir = opendir("/proc/self/task");
	for (struct dirent *e; dir && (e = readdir(dir));)
		n += e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

static int num_threads(void)
{
	char text[1024] = "";
	int n = -1, fd = open("/proc/self/stat", O_RDONLY);
	if (read(fd, text, sizeof text - 1) > 0)
		sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d",
		       &n);
	close(fd);
	return n;
}

static void view(void)
{
	printf("threads %d\ntasks %d\n", num_threads(), count_tasks());
	int r = wait(NULL);
	printf("wait %d %d\n", r, errno);
}

static void notify(void)
{
	char name[64];
	snprintf(name, sizeof name, "/self-view-%d", getpid());
	struct mq_attr a = {.mq_maxmsg = 4, .mq_msgsize = 8};
	mqd_t q = mq_open(name, O_CREAT | O_RDWR, 0600, &a);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	if (q == (mqd_t)-1 || mq_notify(q, &event)) {
		printf("notified no_queue\n");
		return;
	}
	for (int i = 0; i < 5; i++)
		poll(NULL, 0, 100);
	mq_send(q, "x", 1, 0);
	struct timespec patience = {.tv_sec = 10};
	printf("notified %d\n", sigtimedwait(&set, NULL, &patience) == SIGUSR1);
	mq_unlink(name);
}

static void in_child(void (*what)(void))
{
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		what();
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static int make_pairs(void)
{
	int r = 0;
	for (int i = 0; i < 1000; i++)
		r |= seteuid(65534) | seteuid(0);
	return r;
}

static int go_by_steps(void)
{
	const gid_t groups[] = {7, 11, 65534};
	return seteuid(65534) | seteuid(0) | setgroups(3, groups) | setgid(11) | seteuid(12) | seteuid(0) | setuid(13);
}

/* What libc does for all threads, for the one that there is. */
static int go_by_number(void)
{
	const gid_t groups[] = {7, 11, 65534};
	return (int)(syscall(SYS_setresuid, -1, 65534, -1) | syscall(SYS_setresuid, -1, 0, -1) |
	             syscall(SYS_setgroups, 3, groups) | syscall(SYS_setgid, 11) | syscall(SYS_setreuid, -1, 12) |
	             syscall(SYS_setreuid, -1, 0) | syscall(SYS_setuid, 13));
}

static void do_command(char *line)
{
	char *argv[] = {"self_view", NULL};
	if (!strcmp(line, "view"))
		view();
	else if (!strcmp(line, "bare_exit"))
		syscall(SYS_exit, 7);
	else if (!strcmp(line, "exec"))
		execve("/proc/self/exe", argv, environ);
	else if (!strcmp(line, "exec_syscall"))
		syscall(SYS_execve, "/proc/self/exe", argv, environ);
	else if (!strcmp(line, "execveat"))
		syscall(SYS_execveat, AT_FDCWD, "/proc/self/exe", argv, environ, 0);
	else if (!strcmp(line, "exec_fails"))
		printf("failed %d\n", execv("/nonexistent", argv) == -1 ? errno : 0);
	else if (!strcmp(line, "setuid"))
		printf("setuid %d\n", setuid(65534));
	else if (!strcmp(line, "pairs"))
		printf("pairs %d\n", make_pairs());
	else if (!strcmp(line, "steps"))
		printf("steps %d\n", go_by_steps());
	else if (!strcmp(line, "initgroups"))
		printf("initgroups %d\n", initgroups("nobody", 7));
	else if (!strcmp(line, "numbers"))
		printf("numbers %d\n", go_by_number());
	else if (!strcmp(line, "dumpable"))
		printf("dumpable %d\n", prctl(PR_SET_DUMPABLE, 1) ? -1 : prctl(PR_GET_DUMPABLE));
	else if (!strcmp(line, "is_dumpable"))
		printf("is_dumpable %d\n", prctl(PR_GET_DUMPABLE));
	else if (!strcmp(line, "notify"))
		notify();
	else if (!strcmp(line, "notify_in_child"))
		in_child(notify);
	fflush(stdout);
}

int main(void)
{
	char line[256];
	int n = 0;
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		struct pollfd in = {.fd = 0, .events = POLLIN};
		if (poll(&in, 1, 100) <= 0)
			continue;
		if (read(0, line + n, 1) <= 0)
			return 0;
		if (line[n] != '\n' && n < (int)sizeof line - 2) {
			n++;
			continue;
		}
		line[n] = '\0';
		n = 0;
		do_command(line);
	}
}
