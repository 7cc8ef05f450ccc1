/* powers.h - the capabilities that the listener uses: none, but for what needs them.
 *
 * Runs in: listener, in its handler too. System calls alone.
 *
 * Code that answers strangers needs no capability, and a program may drop its own in ways that no hook sees.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_POWERS_H
#define PPROFSHIM_POWERS_H

#include <stdbool.h>

/* Put all permitted capabilities into effect, or none.
 * Returns whether they were in effect before. */
bool powers_use(bool all);

#endif
