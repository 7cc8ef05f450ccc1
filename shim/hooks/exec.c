/* exec.c - exec: another program takes over this process.
 *
 * Runs in: app's thread; a child of vfork, which shares our memory but is another process. It has no listener, and not
 * its parent's interval timer, so there the hook only makes the call.
 *
 * The listener would stay behind with the port, its helper and all memory of the old program. So it ends before, and
 * comes back if exec fails. exec removes timers, but not the interval timer that a CPU profile may fall back to: its
 * signal would end the new program, which has no handler for it. So that timer is stopped, too.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>

#include "shim/hooks/exec.h"

#include "shim/base/confined.h"
#include "shim/base/exports.h"
#include "shim/base/self.h"
#include "shim/listener/listener.h"
#include "shim/libc/real.h"
#include "shim/waits/signals.h"

struct exec_scope exec_begins(void)
{
	struct exec_scope scope = {.listener = listener_pause()};
	self_calls_begin();
	scope.interval = !confined() && signals_before_exec();
	self_calls_end();
	return scope;
}

void exec_failed(struct exec_scope scope)
{
	if (!scope.interval && !scope.listener)
		return;
	int saved = errno;
	if (scope.interval)
		signals_exec_failed();
	if (scope.listener)
		listener_resume();
	errno = saved;
}

#define EXECS(call) \
	struct exec_scope scope = exec_begins(); \
	int r = call; \
	exec_failed(scope); \
	return r

EXPORT ALIGNED int execve(const char *path, char *const argv[], char *const envp[])
{
	EXECS(real_execve(path, argv, envp));
}

EXPORT ALIGNED int execv(const char *path, char *const argv[])
{
	EXECS(real_execv(path, argv));
}

EXPORT ALIGNED int execvp(const char *file, char *const argv[])
{
	EXECS(real_execvp(file, argv));
}

EXPORT ALIGNED int execvpe(const char *file, char *const argv[], char *const envp[])
{
	EXECS(real_execvpe(file, argv, envp));
}

EXPORT ALIGNED int execveat(int dir, const char *path, char *const argv[], char *const envp[], int flags)
{
	EXECS(real_execveat(dir, path, argv, envp, flags));
}

EXPORT ALIGNED int fexecve(int fd, char *const argv[], char *const envp[])
{
	EXECS(real_fexecve(fd, argv, envp));
}

/* Counts the arguments, the NULL at their end included. */
static size_t count_args(const char *first, va_list list)
{
	size_t n = 1;
	for (const char *arg = first; arg; arg = va_arg(list, const char *))
		n++;
	return n;
}

/* Copies them; what follows stays in the list. */
static void copy_args(char **argv, const char *first, va_list *list)
{
	*argv = (char *)(uintptr_t)first;
	while (*argv++)
		*argv = va_arg(*list, char *);
}

#define COLLECT(arg) \
	va_list list; \
	va_start(list, arg); \
	size_t count = count_args(arg, list); \
	va_end(list); \
	char *argv[count]; \
	va_start(list, arg); \
	copy_args(argv, arg, &list)

EXPORT ALIGNED int execl(const char *path, const char *arg, ...)
{
	COLLECT(arg);
	va_end(list);
	EXECS(real_execv(path, argv));
}

EXPORT ALIGNED int execlp(const char *file, const char *arg, ...)
{
	COLLECT(arg);
	va_end(list);
	EXECS(real_execvp(file, argv));
}

EXPORT ALIGNED int execle(const char *path, const char *arg, ...)
{
	COLLECT(arg);
	char *const *envp = va_arg(list, char *const *);
	va_end(list);
	EXECS(real_execve(path, argv, envp));
}
