/* ring.h - samples on their way from signal handlers to the listener.
 *
 * Runs in: signal handler (ring_begin, ring_commit; any number at once, one may interrupt another), listener (the
 * rest).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_RING_H
#define PPROFSHIM_RING_H

#include <stdbool.h>

#include "shim/stack/sample.h"

/* Map the ring at the first call; empty it at every call. Listener. 0, or -ENOMEM. */
int ring_start(void);

/* No handler writes now: places that late ones kept can be had again. Listener. */
void ring_forget_late(void);
void ring_fork_child(void);

/* A place to write a sample to, and its number; NULL: the ring is full (counted). Then commit it. */
struct sample *ring_begin(uint32_t *number);
void ring_commit(struct sample *s, uint32_t number);

/* The oldest sample that is complete, or NULL; give it back with ring_next. */
struct sample *ring_front(void);
void ring_next(void);

/* Pass over a sample that was begun and is not complete. False: there is none. */
bool ring_skip(void);

/* Drop all samples. */
void ring_empty(void);

/* How many samples it holds. Samples lost since ring_start. */
uint64_t ring_places(void);
uint64_t ring_lost(void);

#endif
