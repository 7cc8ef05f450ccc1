/* serving.h - where this process serves.
 *
 * Runs in: init, but for serving_is_wanted: fork, too.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SERVING_H
#define PPROFSHIM_SERVING_H

#include <stdbool.h>

/* Read PPROF_ADDR. Says so if it is no good. */
void serving_read_address(void);

/* Start the listener at once, or have it started later: when another process under the library has the port. */
void serving_start(void);

/* Is there an address to serve at? */
bool serving_is_wanted(void);

#endif
