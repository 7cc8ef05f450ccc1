/* utf8.h - make any bytes well-formed UTF-8, as the profile format wants all strings.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_UTF8_H
#define PPROFSHIM_UTF8_H

#include "shim/base/arena.h"
#include "shim/base/text.h"

/* A copy, NUL-terminated. NULs in it become '?', and so do all bytes that are not ASCII when the whole is not
 * well formed. NULL: no memory. */
char *utf8_copy(struct region *r, struct span s);

/* The same for a line of text: control characters, those that a terminal obeys, become '?', too. */
char *utf8_line(struct region *r, struct span s);

#endif
