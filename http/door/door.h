/* door.h - one door for all processes under the library in a network namespace.
 *
 * Runs in: listener. Nothing here waits: every call makes system calls that return at once.
 *
 * The first process binds an abstract Unix socket that is named after the port of PPROF_ADDR. It owns the door and
 * takes the TCP port. All others connect to that socket, and both ends keep the connection: they are members. A client
 * of the door that asks for a member's page is passed on to it by one end of a socket pair.
 *
 *   client ──TCP──► owner ──/pid/42/…──► socket pair ──► member 42: a connection like any other
 *
 *             bind            ┌──────── OWNER
 *   SEEKING ──────────────────┤ taken          hello            welcome
 *      ▲                      └───────► connect ─────► JOINING ─────────► MEMBER
 *      │                                   └─ a stranger's, refused ─► ALONE
 *      └──────────────── the owner has died ◄─────────────────────────────┘
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DOOR_H
#define PPROFSHIM_DOOR_H

#include <stdbool.h>
#include <stddef.h>

#include "http/address/address.h"
#include "http/door/protocol.h"
#include "shim/base/arena.h"

enum door_role {
	DOOR_NONE,    /* no door: a Unix socket, a port that the kernel chooses, few descriptors */
	DOOR_SEEKING, /* tries again in a moment */
	DOOR_JOINING,
	DOOR_MEMBER,
	DOOR_OWNER,
	DOOR_ALONE, /* the door is not for us */
};

/* What the door tells its process. All are called by the loop. */
struct door_life {
	/* "", or what clients must show: a part of the door's name. Nobody is reached by a door with less of a lock
	 * than its own settings ask for. */
	const char *lock;
	/* We own the door: take the port. is_last: in another place, if it must be.
	 * Returns false if the port is still in use; then it is called again in a moment. */
	bool (*own)(bool is_last);                         /* if it has it, it calls door_is_open */
	void (*joined)(const char *name, const char *url); /* of us, and of the door */
	void (*alone)(const char *why);                    /* serve at a port of our own */
	void (*adopt)(int fd);                             /* a client of the door's, passed to us */
};

/* Begin: what a listener before this one left is forgotten. Bind the door's socket, or connect to it.
 * Returns the role, in which it may change by door_ready and door_rest. */
enum door_role door_open(const struct address *wanted, const struct door_life *life);

enum door_role door_role(void);

/* Returns the descriptor that is readable when door_ready has something to do; negative: none. */
int door_fd(void);
void door_ready(void);

/* The owner has a port, at this URL: others may join. */
void door_is_open(const char *url);

/* After each round of the loop. Returns in how many milliseconds to call it again; 0: not needed. */
unsigned door_rest(void);

/* Close all. */
void door_close(void);

/* A process behind the door, for lists. */
struct door_process {
	char name[24];  /* in URLs */
	bool is_self;   /* it is the owner */
	int32_t pid;    /* in the owner's pid namespace; 0: not visible there */
	int32_t parent; /* the pid of its program's parent, there; 0: not known */
	bool is_told;   /* status is of now */
	struct protocol_status status;
};

/* Ask all members how they are. They answer in door_ready. */
void door_ask_all(void);

/* Returns how many of them have not answered yet. */
size_t door_silent(void);

/* Returns the list of all processes, the owner first, in the region, and their number; NULL: no memory. */
struct door_process *door_list(struct region *r, size_t *count);

/* Returns how many processes were refused because the table was full. */
uint64_t door_refused(void);

/* Is this the name of our own process? */
bool door_is_self(struct span name);

/* Connect to the member of this name, as a client of its server.
 * Returns our end of the connection, non-blocking: write an HTTP request to it and read the answer. -ENOENT: there is
 * no such member; -EBUSY: it takes none at present (it is stopped, or frozen); or another negative errno. */
int door_connect(struct span name);

#endif
