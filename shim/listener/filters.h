/* filters.h - has the program confined itself since it began (seccomp)?
 *
 * Runs in: init (filters_start); listener; the helper's first instructions (filters_were_inherited).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FILTERS_H
#define PPROFSHIM_FILTERS_H

#include <stdbool.h>

/* Counts the filters that the program begins with. Init, before the program can do anything. */
void filters_start(void);

/* Filters that a container was started with allow new processes: they allowed this one. Filters that a program sets
 * later for itself are there to prevent that, and may kill the program for trying.
 * Returns true if there are others now, or if that is not known. */
bool filters_have_changed(void);

/* Returns true if there were filters at the start. */
bool filters_were_inherited(void);

#endif
