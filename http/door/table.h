/* table.h - the processes that have joined a door, and their names.
 *
 * Runs in: listener of the door's owner. Memory of the table's own region, a block for some members at a time; it is
 * kept for the next ones.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DOOR_TABLE_H
#define PPROFSHIM_DOOR_TABLE_H

#include <stdbool.h>

#include "http/address/fd.h"
#include "http/door/protocol.h"
#include "shim/base/arena.h"
#include "shim/base/text.h"

enum {
	TABLE_MOST = 1000, /* members at a time */
	TABLE_BLOCK = 32,  /* members that memory is had for at once */
	TABLE_BLOCKS = (TABLE_MOST + TABLE_BLOCK - 1) / TABLE_BLOCK,
	TABLE_PASSES = 16, /* clients that a member may have been given and not have taken */
};

struct member {
	int fd; /* -1: the place is free */
	struct fd_identity identity;
	uint32_t generation; /* tells those apart that had the place one after another */
	bool is_known;       /* it has said hello, and has a name */
	int32_t pid;         /* of the program: in our pid namespace if it is visible there, else in its own */
	int32_t parent;      /* of the program, in our pid namespace; 0: not visible there */
	uint32_t twin;       /* 0, or which of the processes of that number it is: 2, 3 … */
	uint64_t come_ns;    /* CLOCK_MONOTONIC */
	bool is_asked;       /* for its status, and has not answered */
	unsigned passes;     /* clients that it was given and has not taken */
	uint64_t told_ns;    /* when the status came; 0: never */
	struct protocol_status status;
};

/* Zero-initialise it. */
struct table {
	struct region region;
	struct member *blocks[TABLE_BLOCKS];
	size_t count;     /* members */
	int32_t own_pid;  /* a name that no member gets */
	uint64_t refused; /* processes for which there was no room */
};

/* Add a member. Returns it; NULL: the table is full, or there is no memory. */
struct member *table_add(struct table *t, int fd);

/* Take a member off the list. The descriptor is the caller's to close. */
void table_remove(struct table *t, struct member *m);

/* Returns the member at a place, 0 to TABLE_MOST - 1; NULL: there is none. */
struct member *table_at(const struct table *t, size_t place);

/* Returns its place, which with its generation is its identity for epoll. */
size_t table_place(const struct table *t, const struct member *m);

/* Give a member the name of this pid: "42", or "42-2" if another one is 42. */
void table_name(struct table *t, struct member *m, int32_t pid);

/* Print the name. */
void table_print_name(const struct member *m, struct line *l);

/* Returns the member of that name; NULL: there is none. */
struct member *table_find(const struct table *t, struct span name);

/* Forget all members and give the memory back. */
void table_clear(struct table *t);

#endif
