/* query.h - parameters of a request, from its urlencoded body and its URL.
 *
 * Runs in: listener. Decoded values live in the request's region. No libc but mem*.
 *
 * Like Go's FormValue: the body is searched first, then the URL; the first pair with a name wins; pairs with a
 * malformed %-sequence or a ';' are skipped.
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
	bool failed; /* no memory for a value: the results must not be used */
};

/* Find the value of `name`, decoded; it is empty without a '='. False: there is no such parameter; *value is empty. */
bool query_find(struct query *q, const char *name, struct span *value);

/* Parse all of s as a decimal number of seconds, as Go's strconv.ParseFloat does (sign, fraction, exponent, inf; not
 * its hexadecimal form). *ns is the time in whole nanoseconds, cut but not to 0; UINT64_MAX if it is too long, 0 if it
 * is negative. False: s is no number, or "nan". */
bool query_parse_seconds(struct span s, uint64_t *ns);

#endif
