/* symbols_guest.c - a program that would notice a child it did not make.
 *
 * symbols_guest [subreaper|ignores]   subreaper: orphans among its descendants become its children, as if it were
 * process 1; ignores: SIGCHLD is ignored, so that nobody need wait for children Runs in: a test program. It waits for
 * any child, in each way, again and again, and has a SIGCHLD handler. A line on stdin: `status WAITS SEEN HANDLED
 * ERRORS`: calls so far, children seen, signals handled, other results than ECHILD. At the end one child of its own
 * must be seen: `own 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "truth.h"

static volatile sig_atomic_t handled;
static long waits, seen, errors;

static void on_child(int sig)
{
	(void)sig;
	handled++;
}

static void judge(long r)
{
	waits++;
	if (r > 0)
		seen++;
	else if (r == 0 || errno != ECHILD)
		errors++;
}

static void wait_in_all_ways(void)
{
	siginfo_t info = {0};
	int status;
	judge(waitpid(-1, &status, WNOHANG));
	judge(wait(&status));
	judge(waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED));
	judge(wait4(-1, &status, 0, NULL));
	judge(waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT));
	judge(waitpid(0, &status, WNOHANG));
}

SITE static void *site_guest(size_t n)
{
	void *p = malloc(n);
	KEEP(p);
	return p;
}

int main(int argc, char **argv)
{
	int ignores = argc > 1 && strcmp(argv[1], "ignores") == 0;
	if (argc > 1 && !ignores && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
		return 2;
	struct sigaction act = {.sa_handler = on_child, .sa_flags = SA_RESTART};
	struct pollfd in = {.fd = 0, .events = POLLIN};
	char c;
	if (ignores)
		act.sa_handler = SIG_IGN;
	sigaction(SIGCHLD, &act, NULL);
	for (int i = 0; i < 10; i++)
		keep_block(site_guest(3000));
	puts("ready 1");
	fflush(stdout);
	for (;;) {
		wait_in_all_ways();
		if (poll(&in, 1, 1) <= 0)
			continue;
		if (read(0, &c, 1) <= 0)
			break;
		printf("status %ld %ld %d %ld\n", waits, seen, (int)handled, errors);
		fflush(stdout);
	}
	long before = handled;
	pid_t child = fork();
	if (child == 0)
		_exit(7);
	int status = 0;
	pid_t got = wait(&status);
	if (ignores)
		printf("own %d\n", got == -1 && errno == ECHILD);
	else
		printf("own %d\n",
		       got == child && WIFEXITED(status) && WEXITSTATUS(status) == 7 && handled == before + 1);
	return 0;
}
