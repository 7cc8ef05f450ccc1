/* fd.c - our descriptors in the program's table.
 *
 * Runs in: listener, init. System calls alone, no errno.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/address/fd.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include "shim/base/os.h"

enum {
	ROOM = 128,     /* more than the connections, the listening socket and the loop's own */
	CEILING = 1024, /* the kernel's table grows with the highest number, so keep that low */
};

/* Returns the lowest number that is high enough, as far as the process's limit allows. */
static int high_number(void)
{
	struct {
		uint64_t soft, hard;
	} limit = {CEILING, CEILING};
	os_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, &limit);
	uint64_t end = limit.soft < CEILING ? limit.soft : CEILING;
	return (int)(end > 2 * ROOM ? end - ROOM : end / 2);
}

int fd_raise(int fd)
{
	int least = high_number();
	if (fd < 0 || fd >= least)
		return fd;
	long high = os_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, least);
	if (high < 0)
		return fd;
	os_close(fd);
	return (int)high;
}

struct fd_identity fd_identify(int fd)
{
	struct stat st;
	if (os_call(SYS_fstat, fd, &st) < 0)
		return (struct fd_identity){0, 0};
	return (struct fd_identity){st.st_dev, st.st_ino};
}

bool fd_is(int fd, struct fd_identity identity)
{
	struct fd_identity now = fd_identify(fd);
	return now.inode && now.inode == identity.inode && now.device == identity.device;
}
