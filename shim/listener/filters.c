/* filters.c - count the program's seccomp filters.
 *
 * Runs in: as filters.h says. So: only raw system calls; a status file is read in parts, into a small buffer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/filters.h"

#include <stdint.h>
#include <sys/prctl.h>

#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/proc.h"
#include "shim/base/text.h"

static int filters_at_start = -1; /* immutable after init; -1: not known */

/* "Seccomp_filters:	2" */
static void count_in_line(struct span line, const char *key, int *count)
{
	uint64_t value;
	if (!span_starts(line, key))
		return;
	span_cut(&line, ':');
	if (text_parse_uint(span_trim(line), 10, &value))
		*count = (int)value;
}

/* Returns the number of seccomp filters of a thread or process (older kernels only tell whether there are any); -1: not
 * known. Other lines may be of any length (a user in many groups): only the beginning of each is kept. */
static int count_filters(const char *status_path)
{
	char part[1024], line[64];
	size_t len = 0;
	int fd = (int)os_open(status_path, O_RDONLY), filters = -1, mode = -1;
	if (fd < 0)
		return -1;
	for (long n; (n = os_read(fd, part, sizeof part)) > 0;)
		for (long i = 0; i < n; i++) {
			if (part[i] != '\n') {
				if (len < sizeof line)
					line[len++] = part[i];
				continue;
			}
			count_in_line((struct span){line, len}, "Seccomp_filters:", &filters);
			count_in_line((struct span){line, len}, "Seccomp:", &mode);
			len = 0;
		}
	os_close(fd);
	return filters >= 0 ? filters : mode;
}

/* Counts the filters of the program: the listener is another process with the program's memory, and might be used to
 * act for it. */
static int count_own_filters(void)
{
	char path[64];
	struct line l = LINE(path);
	proc_put_program(&l, "/status");
	return count_filters(path);
}

bool filters_have_changed(void)
{
	return filters_at_start < 0 || count_own_filters() != filters_at_start;
}

bool filters_were_inherited(void)
{
	return filters_at_start > 0;
}

/* Most programs have no filter, and to ask for that is cheap. */
void filters_start(void)
{
	filters_at_start = os_call(SYS_prctl, PR_GET_SECCOMP) == 0 ? 0 : count_own_filters();
}
