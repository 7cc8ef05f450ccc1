/* exec_children.c - children by vfork, posix_spawn, system, popen, fork + exec, from a thread too.
 *
 * Runs in: a test program; it must print the same with the shim and without. The children print nothing
 * of their own and inherit no descriptor of the library: `child_fds` are those that a child finds open.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <spawn.h>
#include <sys/wait.h>

#include "truth.h"

extern char **environ;
static char *const exit_7[] = {"sh", "-c", "exit 7", NULL};

static int status_of(pid_t pid)
{
	int status = -1;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int by_vfork(void)
{
	void *volatile kept = malloc(1000);
	pid_t pid = vfork();
	if (pid == 0) {
		execv("/bin/sh", exit_7);
		_exit(99);
	}
	free(kept);
	return status_of(pid);
}

static int by_spawn(void)
{
	pid_t pid;
	if (posix_spawn(&pid, "/bin/sh", NULL, NULL, exit_7, environ) != 0)
		return -1;
	return status_of(pid);
}

static int by_fork(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		free(malloc(100));
		execv("/bin/sh", exit_7);
		_exit(99);
	}
	return status_of(pid);
}

static void *all(void *arg)
{
	const char *who = arg;
	for (int i = 0; i < 5; i++)
		printf("%s_vfork %d\n%s_spawn %d\n%s_fork %d\n", who, by_vfork(), who, by_spawn(), who, by_fork());
	fflush(stdout);
	printf("%s_system %d\n", who, WEXITSTATUS(system("exit 7")));
	FILE *f = popen("ls /proc/self/fd | tr '\\n' ' '", "r");
	char line[4096] = "";
	if (f && fgets(line, sizeof line, f))
		printf("%s_child_fds %s\n", who, line);
	if (f)
		printf("%s_pclose %d\n", who, pclose(f));
	return NULL;
}

int main(void)
{
	pthread_t t;
	all("main");
	pthread_create(&t, NULL, all, "thread");
	pthread_join(t, NULL);
	puts("end 1");
	return 0;
}
