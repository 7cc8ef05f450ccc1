/* sending.h - the second half of a connection: its answer goes out, and the client gets to see it.
 *
 * Runs in: listener. Each call makes one system call that moves bytes, and none waits.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SENDING_H
#define PPROFSHIM_SENDING_H

#include "http/server/connection.h"

/* Send what the handler has put into the exchange's answer. */
void sending_begin(struct connection *c);

/* Send an answer that stands ready in static storage (response.h). */
void sending_begin_ready_made(struct connection *c, const struct out_chunk *first);

/* Send the 503 that needs no memory, and close then. */
void sending_begin_out_of_memory(struct connection *c);

/* Returns the bytes in the kernel's queue that the other end of a socket has not taken. */
int sending_count_unsent(int fd);

/* Enter this state with the deadline of a client that takes nothing. */
void sending_await_client(struct connection *c, enum connection_state state);

/* The whole answer is sent. */
void sending_finish(struct connection *c);

/* WRITE: the socket takes more bytes. */
void sending_go_on(struct connection *c);

/* WRITE, and RELAY to a slow client: the deadline has passed. */
void sending_expire(struct connection *c);

/* As sendmsg does, by the layer between us and the socket if there is one.
 * Returns the bytes that were taken, or a negative errno. */
long sending_send(struct connection *c, const struct iovec *parts, size_t n);

/* Nothing more is sent: wait until the client has read it and closes. */
void sending_linger(struct connection *c);

/* LINGER: drop what the client still sends. */
void sending_drain(struct connection *c);

/* In the same states: returns CLOCK_MONOTONIC ns since when the client has read nothing; 0: it reads, or has not been
 * slow for long.
 */
uint64_t sending_unread_since(const struct connection *c);

#endif
