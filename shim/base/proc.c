/* proc.c - paths and files in /proc.
 *
 * Runs in: as proc.h says. So: only raw system calls.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/proc.h"

#include "shim/base/house.h"

void proc_put_program(struct line *l, const char *rest)
{
	line_str(l, "/proc/");
	if (house_pid())
		line_dec(l, house_pid());
	else /* not in the library: a unit test */
		line_str(l, "self");
	line_str(l, rest);
}

long proc_read(uint64_t pid, const char *name, char *buf, size_t room)
{
	char path[64];
	struct line l = LINE(path);
	line_str(&l, "/proc/");
	line_dec(&l, (int64_t)pid);
	line_str(&l, name);
	int fd = (int)os_open(path, O_RDONLY);
	if (fd < 0)
		return fd;
	long n = os_read(fd, buf, room);
	os_close(fd);
	return n;
}
