/* ready_then_sleep.c - an old idiom with a small window: a child says "ready", then sleeps until a signal sets its
 * flag. Its work between the two makes the window larger.
 *
 * usage: ready_then_sleep ROUNDS  prints "slept_on N": children whose signal came in the window
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t flag;

static void on_signal(int sig)
{
	(void)sig;
	flag = 1;
}

/* It ends with 1 when it slept to the end. */
static void be_child(int ready)
{
	if (write(ready, "r", 1) != 1)
		_exit(2);
	_exit(!flag && sleep(1) == 0);
}

int main(int argc, char **argv)
{
	long rounds = argc > 1 ? atol(argv[1]) : 30, late = 0;
	struct sigaction a = {.sa_handler = on_signal};
	sigaction(SIGUSR1, &a, NULL);
	for (long i = 0; i < rounds; i++) {
		int fds[2], status;
		char c;
		if (pipe(fds) != 0)
			return 1;
		pid_t child = fork();
		if (!child)
			be_child(fds[1]);
		if (read(fds[0], &c, 1) != 1)
			return 1;
		kill(child, SIGUSR1);
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			continue;
		late += WIFEXITED(status) && WEXITSTATUS(status) == 1;
		close(fds[0]);
		close(fds[1]);
	}
	printf("slept_on %ld\n", late);
	return 0;
}
