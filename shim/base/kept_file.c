/* kept_file.c - a file that a setting names, and that is read again when it has changed.
 *
 * Runs in: listener. System calls alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/kept_file.h"

#include <errno.h>
#include <fcntl.h>

#include "shim/base/os.h"
#include "shim/base/powers.h"

int kept_file_open(const char *path, struct stat *now)
{
	bool were = powers_use(true);
	int fd = (int)os_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	powers_use(were);
	if (fd < 0)
		return fd;
	long r = os_call(SYS_fstat, fd, now); /* its kernel structure is libc's on 64-bit Linux */
	if (r >= 0)
		return fd;
	os_close(fd);
	return (int)r;
}

bool kept_file_is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

bool kept_file_is_denied(int error)
{
	return error == -EACCES || error == -EPERM;
}
