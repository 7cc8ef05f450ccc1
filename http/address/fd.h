/* fd.h - our descriptors in the program's table: high numbers, checked by identity.
 *
 * Runs in: listener, init. So: system calls alone, no errno.
 *
 * The table belongs to the program. The program may rely on getting the lowest free number (close(0); open(…)), and it
 * may close our descriptors and reuse their numbers. So ours get high numbers, and are checked before use.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FD_H
#define PPROFSHIM_FD_H

#include <stdbool.h>
#include <stdint.h>

struct fd_identity {
	uint64_t device, inode;
};

/* Move fd to a high number, CLOEXEC. Returns the new number, or fd itself if there is no room or fd is negative (an
 * error). */
int fd_raise(int fd);

/* Returns the identity of the file that fd refers to now; all zero if fd is closed. */
struct fd_identity fd_identify(int fd);

/* Does fd still refer to the file with this identity? */
bool fd_is(int fd, struct fd_identity identity);

#endif
