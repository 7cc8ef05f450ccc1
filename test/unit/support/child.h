/* child.h - tests in a child process, which has tables, caps and signal dispositions of its own and whose crash is one
 * failed test.
 *
 * Runs in: unit tests. cmocka's checks do not work in the child: CHECK does.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_CHILD_H
#define PPROFSHIM_TEST_CHILD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { CHILD_SKIPPED = 77 }; /* what a child exits with that cannot be tried here */

/* End the process, and say where, if it is not so. */
#define CHECK(what) \
	do { \
		if (!(what)) { \
			dprintf(2, "# %s:%d: %s\n", __FILE__, __LINE__, #what); \
			_exit(1); \
		} \
	} while (0)

/* Run begin, if there is one, and body in a child. A child that skips skips the test.
 *
 * Returns the status that waitpid gives of the child. */
static inline int child_status(void (*begin)(void), void (*body)(void))
{
	int status = -1;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		if (begin)
			begin();
		body();
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		continue;
	if (WIFEXITED(status) && WEXITSTATUS(status) == CHILD_SKIPPED)
		skip();
	return status;
}

static inline void expect_good_end(int status)
{
	if (WIFSIGNALED(status))
		fail_msg("signal %d ended the child", WTERMSIG(status));
	if (status)
		fail_msg("the child ended with %#x", status);
}

static inline void in_child_after(void (*begin)(void), void (*body)(void))
{
	expect_good_end(child_status(begin, body));
}

static inline void in_child(void (*body)(void))
{
	in_child_after(NULL, body);
}

#endif
