/* trouble.c - why the helper program has not answered, for users, and when it is tried again.
 *
 * Runs in: listener. Static state of its own; one owner, no lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/trouble.h"

#include <errno.h>
#include <string.h>

#include "encoder/names/symbolizer.h"
#include "encoder/symbolize/protocol.h"
#include "shim/base/os.h"
#include "shim/base/text.h"

#define SECOND UINT64_C(1000000000)

static struct {
	char text[160];
	uint64_t at_ns, again_ns;
	bool is_late; /* the text says that a helper is late */
} trouble;

void trouble_reset(void)
{
	memset(&trouble, 0, sizeof trouble);
}

bool trouble_is_over(uint64_t now_ns)
{
	return now_ns >= trouble.again_ns;
}

void trouble_remember(const char *what, int number, const char *then)
{
	struct line l = LINE(trouble.text);
	line_str(&l, "no lines and inlined calls: ");
	line_str(&l, what);
	if (number)
		line_dec(&l, number);
	line_str(&l, then);
	trouble.at_ns = os_clock_ns(CLOCK_MONOTONIC);
	trouble.is_late = false;
}

void symbolizer_is_late(void)
{
	trouble_remember("the symbolizer is still at work", 0, "; ask again later");
	trouble.is_late = true;
}

bool symbolizer_was_late(void)
{
	return trouble.is_late;
}

void trouble_forgive(void)
{
	if (trouble.is_late || os_clock_ns(CLOCK_MONOTONIC) - trouble.at_ns > AGAIN_SECONDS * SECOND)
		trouble.text[0] = '\0';
}

const char *symbolizer_trouble(void)
{
	return trouble.text[0] ? trouble.text : NULL;
}

void trouble_rest(void)
{
	trouble.again_ns = os_clock_ns(CLOCK_MONOTONIC) + AGAIN_SECONDS * SECOND;
}

int trouble_give_up(int error)
{
	switch (error) {
	case -ENOENT:
		trouble_remember(SYMBOLIZE_PROGRAM
		                 " is not there; install it beside the library, or say where in PPROF_SYMBOLIZER",
		                 0, "");
		break;
	case -EACCES:
	case -EPERM:
		trouble_remember("starting " SYMBOLIZE_PROGRAM " is forbidden here", 0,
		                 "; complete a saved profile elsewhere: " SYMBOLIZE_PROGRAM " FILE");
		break;
	case -EMFILE:
	case -ENFILE:
	case -EINVAL: /* the limit of descriptors is below the numbers that the helper gets */
		trouble_remember("no descriptors left to start " SYMBOLIZE_PROGRAM, 0, "; raise the limit (ulimit -n)");
		break;
	case -EAGAIN:
		trouble_remember("no room for one more process, " SYMBOLIZE_PROGRAM, 0,
		                 "; raise the limit (ulimit -u, pids.max)");
		break;
	case -ENOSPC:
		trouble_remember("the container has too little memory left for " SYMBOLIZE_PROGRAM, 0,
		                 "; raise its limit, or complete a saved profile elsewhere");
		break;
	case -EBUSY:
		trouble_remember(SYMBOLIZE_PROGRAM " does not start: its file can't be read", 0,
		                 "; put it on a file system that answers");
		break;
	default:
		trouble_remember(SYMBOLIZE_PROGRAM " could not be started, error ", -error,
		                 "; names are those of symbol tables");
	}
	trouble_rest();
	return error;
}

void trouble_tell_end(int status, const char *fault)
{
	if (fault)
		trouble_remember(SYMBOLIZE_PROGRAM, 0, fault);
	else if (status > 0 && (status & 0x7f))
		trouble_remember(SYMBOLIZE_PROGRAM " was killed by signal ", status & 0x7f,
		                 "; names are those of symbol tables");
	else if (status > 0)
		trouble_remember(SYMBOLIZE_PROGRAM " failed with status ", status >> 8,
		                 "; names are those of symbol tables");
	else
		trouble_remember(SYMBOLIZE_PROGRAM " stopped early", 0, "; names are those of symbol tables");
}
