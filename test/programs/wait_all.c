/* wait_all.c - waits as debuggers do, for children of every kind, until there is none left.
 *
 * wait_all waitpid|wait3|wait4|waitid|wait4_by_number|waitid_by_number
 *
 * Truth: one child, which ended with status 7; then ECHILD, at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t wait_by(const char *way, int *status)
{
	struct rusage usage;
	siginfo_t info = {.si_pid = 0};
	if (!strcmp(way, "waitpid"))
		return waitpid(-1, status, __WALL);
	if (!strcmp(way, "wait3"))
		return wait3(status, __WALL, &usage);
	if (!strcmp(way, "wait4"))
		return wait4(-1, status, __WALL, &usage);
	if (!strcmp(way, "wait4_by_number"))
		return (pid_t)syscall(SYS_wait4, -1, status, __WALL, &usage);
	int r = !strcmp(way, "waitid_by_number") ? (int)syscall(SYS_waitid, P_ALL, 0, &info, WEXITED | __WALL, NULL)
	                                         : waitid(P_ALL, 0, &info, WEXITED | __WALL);
	*status = info.si_status << 8;
	return r ? -1 : info.si_pid;
}

int main(int argc, char **argv)
{
	int status, children = 0, right = 0;
	pid_t child = fork(), pid;
	if (child == 0)
		_exit(7);
	usleep(200000); /* a listener is there by now */
	while ((pid = wait_by(argc > 1 ? argv[1] : "waitpid", &status)) > 0) {
		children++;
		right += pid == child && WEXITSTATUS(status) == 7;
	}
	printf("children %d right %d none_left %d\n", children, right, errno == ECHILD);
	return 0;
}
