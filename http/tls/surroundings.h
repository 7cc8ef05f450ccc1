/* surroundings.h - what mbedTLS stands on: memory, randomness, limits.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SURROUNDINGS_H
#define PPROFSHIM_SURROUNDINGS_H

#include <stdbool.h>
#include <stddef.h>

/* A listener begins: give back the memory of one before, forget all that mbedTLS has kept, and map new memory. What a
 * listener before left half done, in this process or in the one that this is a copy of, so does no harm.
 * Returns whether there is memory, and randomness. */
bool surroundings_start(void);

/* Give mbedTLS's memory back. */
void surroundings_end(void);

/* A step of a handshake begins: from here on it may check so many signatures of certificates. */
void surroundings_allow_signatures(void);

/* Fill with random bytes, as mbedTLS asks. Returns 0, or an error of mbedTLS. */
int surroundings_random(void *unused, unsigned char *to, size_t n);

#endif
