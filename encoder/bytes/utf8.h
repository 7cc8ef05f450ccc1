/* utf8.h - make any bytes well-formed UTF-8: the profile format requires it of all strings.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_UTF8_H
#define PPROFSHIM_UTF8_H

#include "shim/base/arena.h"
#include "shim/base/text.h"

/* Returns a NUL-terminated copy; NULL: no memory. NULs in it become '?', and so do all bytes that are not ASCII if the
 * whole is not well-formed UTF-8. */
char *utf8_copy(struct region *r, struct span s);

/* The same for a line of text: control characters, which a terminal would obey, become '?', too. */
char *utf8_line(struct region *r, struct span s);

#endif
