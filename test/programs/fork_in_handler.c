/* fork_in_handler.c - a signal handler forks, and changes credentials, while the program allocates.
 *
 * Runs in: a process of its own. Truth: it ends, and every child ended with its status.
 * (POSIX lists fork, waitpid and seteuid as safe in a handler.)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int forks, bad;

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

int main(void)
{
	struct sigaction a = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct itimerval every = {.it_interval.tv_usec = 2000, .it_value.tv_usec = 2000}, never = {{0}, {0}};
	sigaction(SIGALRM, &a, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	while (forks < 400) {
		for (int i = 0; i < 100; i++)
			free(malloc(1000 + (size_t)i * 50));
		bad += seteuid(geteuid()) != 0;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	printf("children %d\nbad %d\n", forks >= 400, bad);
	return bad != 0;
}
