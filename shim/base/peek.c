/* peek.c - read memory of this process that may be gone the next moment, by ways that cannot fault.
 *
 * Runs in: app's thread inside a hook, listener; peek_in_use in our signal handler, too. System calls alone, errno
 * untouched.
 *
 * The kernel copies the bytes, and returns EFAULT where a load would raise a signal. Only old kernels and some filters
 * of containers refuse that.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/peek.h"

#include <string.h>
#include <sys/uio.h>

#include "shim/base/confined.h"
#include "shim/base/house.h"
#include "shim/base/os.h"

enum { PAGE = 4096 };

/* Where the kernel, or a container's filter, does not have the system call, the listener reads by a file. */
static bool read_by_file(uintptr_t at, void *to, size_t bytes)
{
	int fd = (int)os_open("/proc/self/mem", O_RDONLY);
	if (fd < 0)
		return false;
	long n = os_pread(fd, to, bytes, at);
	os_close(fd);
	return n == (long)bytes;
}

/* There a thread of the program, whose table of descriptors is not ours to use, asks for each page whether it can be
 * read, and reads it at once. */
static bool read_by_pages(uintptr_t at, char *to, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		size_t in_page = PAGE - ((at + done) & (PAGE - 1)), n = in_page < bytes - done ? in_page : bytes - done;
		if (!os_readable((const void *)((at + done) & ~(uintptr_t)7)))
			return false;
		memcpy(to + done, (const void *)(at + done), n);
		done += n;
	}
	return true;
}

static bool read_otherwise(uintptr_t at, void *to, size_t bytes)
{
	return house_is_ours() ? read_by_pages(at, to, bytes) : read_by_file(at, to, bytes);
}

bool peek(uintptr_t at, void *to, size_t bytes)
{
	struct iovec here = {to, bytes}, there = {(void *)at, bytes};
	if (confined())
		return false;
	long n = os_call(SYS_process_vm_readv, os_pid(), &here, 1, &there, 1, 0);
	return n == (long)bytes || ((n == -EPERM || n == -ENOSYS) && read_otherwise(at, to, bytes));
}

bool peek_in_use(uintptr_t at, void *to, size_t bytes)
{
	struct iovec here = {to, bytes}, there = {(void *)at, bytes};
	if (confined())
		return false;
	long n = os_call(SYS_process_vm_readv, os_pid(), &here, 1, &there, 1, 0);
	if (n >= 0 || n == -EFAULT || n == -ENOMEM)
		return n == (long)bytes;
	if (!os_readable((const void *)(at & ~(uintptr_t)7)))
		return false;
	memcpy(to, (const void *)at, bytes);
	return true;
}

/* Page by page: the text may end with the last one that is mapped. */
bool peek_text(uintptr_t at, char *to, size_t cap)
{
	for (size_t len = 0; len < cap;) {
		size_t in_page = PAGE - ((at + len) & (PAGE - 1)), part = in_page < cap - len ? in_page : cap - len;
		if (!peek(at + len, to + len, part))
			return false;
		if (memchr(to + len, '\0', part))
			return true;
		len += part;
	}
	return false;
}
