/* waits_for_input.c - waits in poll for the end of its input, which is a long wait.
 *
 * Runs in: a test of its own. Prints "ready 1" first; with the argument "confine" it sets a filter of system calls when
 * it has read a line, with "exec" it becomes itself anew then, and says "again 1".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

static void confine(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {1, &allow};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void obey(char **argv, const char *what)
{
	char *again[] = {argv[0], (char *)"again", NULL};
	if (strcmp(what, "exec") == 0)
		execv("/proc/self/exe", again);
	if (strcmp(what, "confine") == 0)
		confine();
	puts("done 1");
}

int main(int argc, char **argv)
{
	char line[64];
	struct pollfd input = {.fd = 0, .events = POLLIN};
	const char *what = argc > 1 ? argv[1] : "";
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts(strcmp(what, "again") == 0 ? "again 1" : "ready 1");
	while (poll(&input, 1, -1) > 0 && read(0, line, sizeof line) > 0)
		obey(argv, what);
	return 0;
}
