/* powers.h - the capabilities that the listener uses: none, but for what needs them.
 *
 * Runs in: listener, in its handler too. System calls alone.
 *
 * What answers strangers needs no capability, and a program may shed its own by ways that no hook sees.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_POWERS_H
#define PPROFSHIM_POWERS_H

#include <stdbool.h>

/* All that it is permitted, or none, are in effect from now on. Returns whether they were. */
bool powers_use(bool all);

#endif
