/* pattern.h - regular expressions that choose functions: of the user, and of a profile's drop_frames.
 *
 * Runs in: pprofshim.
 *
 * The language is POSIX's extended one, by libc's regex. Of what Go's has besides, \d, (?:…), a leading (?i) and
 * quantifiers that take as little as they can are translated; no profile says anything else.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PATTERN_H
#define PPROFSHIM_PATTERN_H

#include <regex.h>
#include <stdbool.h>

struct pattern {
	regex_t compiled;
	bool is_set;
	char why[160]; /* what is wrong with it */
};

/* Compile the expression; `whole`: it has to match all of a text. A pattern may come from a profile, which may come
 * from anybody: what would take much memory or time is refused. Returns false: *p is not set, p->why says why.
 * pattern_free gives it back in any case. */
bool pattern_set(struct pattern *p, const char *expression, bool whole);
void pattern_free(struct pattern *p);

/* Does the text match? A pattern that is not set matches nothing. */
bool pattern_matches(const struct pattern *p, const char *text);

#endif
