/* descriptors.h - what the program's descriptors are: files with their path, sockets with their peer.
 *
 * Runs in: listener. All memory from the request's region. Nothing of the program's is touched: /proc tells it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DESCRIPTORS_H
#define PPROFSHIM_DESCRIPTORS_H

#include "shim/base/arena.h"

/* A descriptor to be named, with the rest 0. `name` is set by descriptors_name: "/path", "tcp 10.0.0.1:80,
 * peer 10.0.0.7:5123", "tcp 0.0.0.0:80, listening", "unix /path", "unix socket, peer /path", "eventfd", "epoll of 3
 * descriptors (5: /path; 7: eventfd; …)", or what the kernel calls it; NULL: not known. */
struct descriptor {
	int fd; /* -1: there is none; its targets alone are named, as "5: /path; 7: eventfd; …" */
	const char *name;
	uint64_t inode;                      /* of a socket; else 0 */
	struct descriptor *same_bucket;      /* for descriptors_name alone */
	struct descriptor *targets;          /* the first of those that it watches; found for an epoll */
	uint32_t target_count, target_total; /* of these, and of all */
};

/* Name them all at once: tables of sockets are read once, whatever their number. */
void descriptors_name(struct region *r, struct descriptor *at, size_t count);

#endif
