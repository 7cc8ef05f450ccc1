/* polled.h - the loop's epoll set: which descriptors wake it, and for which events.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_POLLED_H
#define PPROFSHIM_POLLED_H

#include "http/server/connection.h"

/* Make a new set with all our descriptors. Returns 0, or a negative errno. */
int polled_open(void);

/* Close the set, unless it may be the program's. */
void polled_close(void);

/* Replace the set. If there is no descriptor for a new one, the server stops. */
void polled_renew(void);

/* Add, modify or delete (op, as EPOLL_CTL_ADD) the events of fd. Returns 0, or a negative errno. */
long polled_watch(int op, int fd, uint32_t events, uint64_t tag);

/* The same for the listening socket, by whether clients are accepted now. */
long polled_watch_listen(int op);

/* Watch the source of c's answer for these events (relay.h); 0: for none. */
void polled_watch_source(struct connection *c, uint32_t events);

/* Returns the data by which an event of c is known: the number of its slot, its generation above. */
uint64_t polled_tag_of(const struct connection *c);

#endif
