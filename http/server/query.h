/* query.h - parameters of a request: of its urlencoded body and of its URL.
 *
 * Runs in: listener. Decoded values live in the request's region. No libc but mem*.
 *
 * As Go's FormValue: the body first, then the URL; the first pair of a name wins; a pair with a
 * malformed %-sequence or a ';' is passed over.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_QUERY_H
#define PPROFSHIM_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/arena.h"
#include "shim/base/text.h"

struct query {
	struct span body; /* empty when it is not urlencoded */
	struct span url;  /* without the '?' */
	struct region *region;
	bool failed; /* no memory for a value: what was found is not to be trusted */
};

/* The value of `name`, decoded; empty when it has no '='. False, and an empty value: there is none. */
bool query_find(struct query *q, const char *name, struct span *value);

/* The whole of s as a decimal number of seconds, as Go's strconv.ParseFloat has it (sign, fraction, exponent, inf; not
 * its hexadecimal form), in ns: cut to whole ones but never to 0, UINT64_MAX for what is longer; 0 for what is
 * negative. False: no number, "nan" included. */
bool query_parse_seconds(struct span s, uint64_t *ns);

#endif
