/* wire.h - the sockets of a door: an abstract name, who is at the other end, messages with and without a descriptor.
 *
 * Runs in: listener. System calls alone; none waits.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DOOR_WIRE_H
#define PPROFSHIM_DOOR_WIRE_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "http/address/address.h"
#include "http/door/protocol.h"

struct wire_name {
	struct sockaddr_un sa;
	socklen_t len;
};

/* Returns the name of the door at an address: "@pprofshim/6060/door", and its lock. For a host that others of the same
 * port may listen beside (127.0.0.2), the address is a part of it. */
struct wire_name wire_name_of(const struct address *a, const char *lock);

/* Bind the name and listen, or connect to it. Returns the socket, with a high number, or a negative errno. */
int wire_bind(const struct wire_name *name);
int wire_connect(const struct wire_name *name);

/* Listen again on a socket that was bound: from now on who connects sees the user that we are now. */
int wire_listen(int fd);

/* Who made the other end: the process that connected, or the one that listens. */
struct wire_peer {
	int32_t pid; /* 0: not in our pid namespace */
	uint32_t uid, gid;
};
bool wire_peer_of(int fd, struct wire_peer *p);

/* Send a message of `size` bytes, and a descriptor with it (negative: none).
 * Returns 0 or a negative errno: -EAGAIN, the other side does not read. */
int wire_send(int fd, const union protocol_message *m, size_t size, int passed_fd);

/* Receive a message. passed_fd: where a descriptor that came with it is put, or -1; NULL: the kernel drops such ones.
 * Returns its size (sizeof *m + 1 if it was longer), 0 at the end, or a negative errno. */
long wire_receive(int fd, union protocol_message *m, int *passed_fd);

#endif
