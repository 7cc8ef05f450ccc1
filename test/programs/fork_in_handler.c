/* fork_in_handler.c [stdin] - a signal handler forks, and changes credentials, while the program allocates.
 *
 * Runs in: a process of its own, until 400 times are over, and standard input if it is named. Truth: it ends, and every
 * child ended with its status. (POSIX lists fork, waitpid and seteuid as safe in a handler.)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 400 };
static volatile int forks, bad;

static bool has_ended(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, 0) == 1;
}

static void on_alarm(int signal)
{
	int status;
	pid_t pid = fork();
	(void)signal;
	if (pid == 0)
		_exit(7);
	bad += waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 7;
	bad += seteuid(geteuid()) != 0;
	forks++;
}

int main(int argc, char **argv)
{
	bool until_end = argc > 1; /* of stdin */
	struct sigaction a = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct itimerval every = {.it_interval.tv_usec = 2000, .it_value.tv_usec = 2000}, never = {{0}, {0}};
	sigaction(SIGALRM, &a, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	while (forks < MOST || (until_end && !has_ended(STDIN_FILENO))) {
		for (int i = 0; i < 100; i++)
			free(malloc(1000 + (size_t)i * 50));
		bad += seteuid(geteuid()) != 0;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	printf("children %d\nbad %d\n", forks >= MOST, bad);
	return bad != 0;
}
