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

/* Map the ring at the first call; empty it at every call. Listener.
 * Returns 0, or -ENOMEM. */
int ring_start(void);

/* Free the places that late handlers kept, when no handler writes any more. Listener. */
void ring_forget_late(void);
void ring_fork_child(void);

/* Returns a place to write a sample to, and its number; then commit it. Returns NULL if the ring is full (counted). */
struct sample *ring_begin(uint32_t *number);
void ring_commit(struct sample *s, uint32_t number);

/* Returns the oldest sample if it is complete, else NULL. Give it back with ring_next. */
struct sample *ring_front(void);
void ring_next(void);

/* Pass over the oldest sample, if it was begun and is not complete.
 * Returns false if there is no such sample. */
bool ring_skip(void);

/* Drop all samples. */
void ring_empty(void);

/* Return how many samples the ring has room for, and how many were lost since ring_start. */
uint64_t ring_places(void);
uint64_t ring_lost(void);

#endif
