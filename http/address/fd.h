/* fd.h - descriptors that live in somebody else's table: numbered out of the way, known by identity.
 *
 * Runs in: listener, init. So: system calls alone, no errno.
 *
 * The table belongs to the program. It may count on the lowest free number (close(0); open(…)), and it
 * may close ours and reuse the number. So ours are moved up, and looked at before they are used.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FD_H
#define PPROFSHIM_FD_H

#include <stdbool.h>
#include <stdint.h>

struct fd_identity {
	uint64_t device, inode;
};

/* Move fd to a high number, CLOEXEC. The new number; where there is no room, fd itself. A negative fd
 * (an error) is handed through. */
int fd_raise(int fd);

/* What fd refers to now. All zero when it is closed. */
struct fd_identity fd_identify(int fd);

/* Does fd still refer to what was identified? */
bool fd_is(int fd, struct fd_identity identity);

#endif
