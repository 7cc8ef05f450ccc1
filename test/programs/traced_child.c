/* traced_child.c - traces a child as debuggers do, with an event for everything that it makes, to its end.
 *
 * Truth: "exec 1, exit 1, other events 0, others 0, status 5": the child is started again once, makes no thread and no
 * process, and ends with 5, after it waited for a while.
 *
 * Ends with 77 where tracing is not allowed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

static const int all_events = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC |
                              PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL;

static void live(char *self)
{
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		_exit(9);
	raise(SIGSTOP);
	execl("/proc/self/exe", self, "again", (char *)NULL);
	_exit(9);
}

int main(int argc, char **argv)
{
	int status, events[16] = {0}, others = 0, result = -1;
	if (argc > 1) {
		poll(NULL, 0, 100);
		return 5;
	}
	pid_t child = fork();
	if (child == 0)
		live(argv[0]);
	waitpid(child, &status, 0);
	if (!WIFSTOPPED(status) || ptrace(PTRACE_SETOPTIONS, child, 0, all_events))
		return 77;
	ptrace(PTRACE_CONT, child, 0, 0);
	for (pid_t p; (p = waitpid(-1, &status, __WALL)) > 0;) {
		others += p != child;
		if (WIFSTOPPED(status)) {
			events[status >> 16 & 15]++;
			ptrace(PTRACE_CONT, p, 0, 0);
		} else if (p == child) {
			result = WEXITSTATUS(status);
		}
	}
	printf("exec %d, exit %d, other events %d, others %d, status %d\n", events[PTRACE_EVENT_EXEC],
	       events[PTRACE_EVENT_EXIT],
	       events[PTRACE_EVENT_CLONE] + events[PTRACE_EVENT_FORK] + events[PTRACE_EVENT_VFORK], others, result);
	return 0;
}
