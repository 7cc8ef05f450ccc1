/* wanted.c - is this one of the programs that are to be served? PPROF_ONLY, PPROF_FOLLOW.
 *
 * Runs in: init, before anything of the library has started: system calls, and memory of the stack alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/start/wanted.h"

#include <limits.h>

#include "shim/base/log.h"
#include "shim/base/os.h"
#include "shim/base/settings.h"
#include "shim/base/text.h"

static struct span last_part(struct span path)
{
	while (path.len && memchr(path.at, '/', path.len))
		span_cut(&path, '/');
	return path;
}

/* A program is known by the file that runs and by the names that it was started by: Debian's redis-server is a link to
 * redis-check-rdb, and a script's file is its interpreter. */
static bool is_named(const char *list, const char *execfn, const char *arg0)
{
	char exe[PATH_MAX];
	if (execfn && settings_lists(list, last_part(span_of(execfn))))
		return true;
	if (arg0 && settings_lists(list, last_part(span_of(arg0))))
		return true;
	long n = os_call(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", exe, sizeof exe);
	return n > 0 && settings_lists(list, last_part((struct span){exe, (size_t)n}));
}

/* (An empty text counts as not set, as in manifests.) */
static bool follows(void)
{
	return !settings.follow || !settings.follow[0] || !settings_is_no(settings.follow);
}

bool wanted_program(const char *execfn, const char *arg0)
{
	if (settings.only && settings.only[0] && !is_named(settings.only, execfn, arg0))
		return false;
	return follows() || log_parent() != PARENT_OURS;
}
