/* door_state.h - what the two sides of a door share in one process: door.c, which has the role, owner.c and member.c.
 * Nobody else includes this.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DOOR_STATE_H
#define PPROFSHIM_DOOR_STATE_H

#include "http/door/door.h"
#include "http/door/table.h"
#include "http/door/wire.h"
#include "shim/base/os.h"

/* Owned by the listener. In a fork child, and in a listener that comes after another one, it first holds what that one
 * left: descriptors of another table. */
struct door {
	enum door_role role;
	bool is_begun; /* changes of the role are told */
	bool is_open;  /* owner: it has a port */
	struct wire_name name;
	struct door_life life;
	int epoll_fd; /* of all descriptors below */
	int fd;       /* owner: the socket that listens; else the connection to the owner; -1: none */
	struct fd_identity identity;
	uint32_t uid; /* owner: the user whose processes join; 0: all */
	unsigned tries;
	uint64_t again_ns;  /* CLOCK_MONOTONIC: the next try; 0: none */
	uint64_t sweep_ns;  /* owner: when those that say nothing go; 0: there are none */
	uint64_t accept_ns; /* owner: no descriptor is left, so none is taken before; 0: they are */
	uint64_t asked_ns;  /* owner: when all were asked */
	char url[120];
	struct table table;
};

extern struct door door;

enum { DOOR_TAG = 0 }; /* epoll's data for door.fd; of a member: its place + 1, its generation above */

static inline uint64_t door_now_ns(void)
{
	return os_clock_ns(CLOCK_MONOTONIC);
}

/* Add, modify or delete (op, as EPOLL_CTL_ADD) a descriptor. Returns 0 or a negative errno. */
long door_watch(int op, int fd, uint32_t events, uint64_t tag);

/* Close a descriptor of ours, if it is still that. */
void door_drop(int fd, struct fd_identity identity);

/* The role changes. */
void door_be_alone(const char *why);
void door_seek_soon(void);

/* Try again within this many milliseconds, at random. */
void door_again(unsigned ms);

/* owner.c */
void owner_begin(int fd);
void owner_accept(void);
void owner_hear(uint64_t tag);
void owner_rest(uint64_t now_ns);

/* The program may have given up root for good. Who joins sees the user who listened last, so listen again; those that
 * joined root alone have to go. */
void owner_follow_identity(void);
void owner_close(void);

/* member.c */
void door_member_begin(int fd);
void door_member_hear(void);

#endif
