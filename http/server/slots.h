/* slots.h - the clients of the loop: a slot for each, and who gives way when all are taken.
 *
 * Runs in: listener; slots_reset_socket in a signal handler that interrupted it, too.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SLOTS_H
#define PPROFSHIM_SLOTS_H

#include "http/server/connection.h"

/* Take a new client: serve it, refuse it with 503, or close it at once. fd is non-blocking and becomes the slot's. */
void slots_admit(int fd);

/* The same for a client that the owner of the door passes on. */
void slots_admit_passed(int fd);

/* Handle an event of a connection, by epoll's data (polled_tag_of). */
void slots_on_event(uint64_t tag, uint32_t events);

/* After a step of c: close it, or watch for the events that it waits for now. */
void slots_settle(struct connection *c);

/* Returns whether c's descriptor still refers to its socket. */
bool slots_own(const struct connection *c);

/* The program has the number of c's descriptor: free the slot and make a new epoll set. */
void slots_disown(struct connection *c);

/* Free the slot, without closing its descriptor or calling its handler. */
void slots_forget(struct connection *c);

/* Close the connection at once, and drop what is unsent. Does nothing with a free slot. */
void slots_reset(struct connection *c);

/* End TCP without TIME_WAIT and without unsent data, even if another process holds the socket. */
void slots_reset_socket(int fd);

#endif
