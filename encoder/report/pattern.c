/* pattern.c - regular expressions that choose functions.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/report/pattern.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	EXPRESSION_MAX = 4096,
	REPEATS_MAX = 1000, /* of {…}, multiplied: as in Go. libc would build a machine of any size */
};

/* The product of all counts in braces: no nesting of them can be more. */
static unsigned long repeats_in(const char *s)
{
	unsigned long product = 1;
	for (; *s && product <= REPEATS_MAX; s++) {
		if (*s == '\\' && s[1]) {
			s++;
		} else if (*s == '{') {
			unsigned long first = strtoul(s + 1, NULL, 10);
			const char *comma = strpbrk(s, ",}");
			unsigned long last = comma && *comma == ',' ? strtoul(comma + 1, NULL, 10) : 0;
			unsigned long most = first > last ? first : last;
			product = most > REPEATS_MAX ? REPEATS_MAX + 1 : product * (most ? most : 1);
		}
	}
	return product;
}

/* A backslash and what follows, at *s. Returns where to go on writing. */
static char *put_escape(char *to, const char *s)
{
	if (*s == 'd' || *s == 'D')
		return stpcpy(to, *s == 'd' ? "[0-9]" : "[^0-9]");
	*to++ = '\\';
	*to++ = *s;
	return to;
}

/* Is what follows `c` within brackets, given whether `c` is? `before` is the character before it. */
static bool set_goes_on(bool in_set, char before, char c)
{
	return in_set ? c != ']' || before == '[' : c == '[';
}

/* Go's words for the same thing. `to` has room for five times the text. */
static void translate(char *to, const char *s)
{
	bool in_set = false;
	for (char before = '('; *s; before = *s++) {
		if (*s == '\\' && s[1]) { /* not in brackets: see wrong_escape */
			to = put_escape(to, ++s);
			continue;
		}
		if (!in_set && *s == '?' && strchr("*+?}", before))
			continue; /* takes as little as it can: whether it matches is the same */
		*to++ = *s;
		if (!in_set && strncmp(s, "(?:", 3) == 0)
			s += 2;
		in_set = set_goes_on(in_set, before, *s);
	}
	*to = '\0';
}

/* Escapes that libc's regex would take for something else, in silence. */
static const char *wrong_escape(const char *s)
{
	bool in_set = false;
	for (char before = '('; *s; before = *s++) {
		if (*s == '\\' && in_set)
			return "it has a backslash in brackets, where it is no escape here";
		if (*s == '\\' && s[1]) {
			if (isalnum((unsigned char)*++s) && !strchr("dDwWsSbB", *s))
				return "it has an escape other than \\d, \\w, \\s, \\b and those of punctuation";
			continue;
		}
		in_set = set_goes_on(in_set, before, *s);
	}
	return NULL;
}

static const char *refusal(const char *expression)
{
	if (strlen(expression) > EXPRESSION_MAX)
		return "it is too long";
	if (repeats_in(expression) > REPEATS_MAX)
		return "its repetitions are too many";
	return wrong_escape(expression);
}

static bool compile(struct pattern *p, const char *expression, bool whole, int flags)
{
	char *own = malloc(5 * strlen(expression) + 1), *all = NULL;
	if (!own)
		return false;
	translate(own, expression);
	int length = asprintf(&all, whole ? "^(%s)$" : "%s", own);
	int error = length < 0 ? REG_ESPACE : regcomp(&p->compiled, all, REG_EXTENDED | REG_NOSUB | flags);
	if (error)
		regerror(error, &p->compiled, p->why, sizeof p->why);
	if (length >= 0)
		free(all);
	free(own);
	return !error;
}

bool pattern_set(struct pattern *p, const char *expression, bool whole)
{
	static const char any_case[] = "(?i)";
	bool fold = strncmp(expression, any_case, sizeof any_case - 1) == 0;
	const char *wrong = refusal(expression);
	*p = (struct pattern){.why = "there is no memory for it"};
	if (wrong)
		snprintf(p->why, sizeof p->why, "%s", wrong);
	else
		p->is_set = compile(p, expression + (fold ? sizeof any_case - 1 : 0), whole, fold ? REG_ICASE : 0);
	return p->is_set;
}

void pattern_free(struct pattern *p)
{
	if (p->is_set)
		regfree(&p->compiled);
	p->is_set = false;
}

bool pattern_matches(const struct pattern *p, const char *text)
{
	return p->is_set && regexec(&p->compiled, text, 0, NULL, 0) == 0;
}
