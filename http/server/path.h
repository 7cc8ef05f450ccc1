/* path.h - the path of a request: cleaned and decoded, as Go's ServeMux does it.
 *
 * Runs in: listener. No allocation: results are written to the caller's buffer, of path.len + 1 bytes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PATH_H
#define PPROFSHIM_PATH_H

#include <stdbool.h>

#include "shim/base/text.h"

/* Is each '%' followed by two hexadecimal digits? */
bool path_is_well_formed(struct span path);

/* Take out of an absolute path what changes nothing: "//", "/./" and "/x/../". A slash at the end stays. It does not
 * look into %-sequences, so "%2e%2e" stays.
 * Returns the clean path, which begins with a slash. */
struct span path_clean(struct span path, char *to);

/* Decode the %-sequences of a well-formed path. Returns the bytes that they stand for: any may be among them. */
struct span path_decode(struct span path, char *to);

#endif
