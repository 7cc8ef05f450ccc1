/* parameters.c - how the values of parameters are read and checked.
 *
 * Runs in: listener. Memory of the exchange's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/parameters.h"

#include "http/endpoints/endpoints.h"

/* The column `values`. */
#define ANY \
	{ \
		VALUE_ANY, 0, 0, NULL \
	}
#define INTEGER(least, most) \
	{ \
		VALUE_INTEGER, least, most, NULL \
	}
#define SECONDS(least, most) \
	{ \
		VALUE_SECONDS, least, most, NULL \
	}
#define NANOSECONDS(least, most) \
	{ \
		VALUE_NS, least, most, NULL \
	}
#define WORDS(words) \
	{ \
		VALUE_WORD, 0, INT64_MAX, words \
	}

const struct parameter parameters[PARAMETERS] = {
#define PARAMETER(id, name, unit, values, preset, bad, must_be, description) \
	{name, unit, values, preset, bad, "invalid value for \"" name "\" - must be " must_be, description},
#include "http/endpoints/endpoints.def"
};

static bool parse_ns(struct span text, int64_t *ns)
{
	uint64_t value;
	if (!query_parse_seconds(text, &value))
		return false;
	*ns = value < INT64_MAX ? (int64_t)value : INT64_MAX;
	return true;
}

static bool parse_word(struct span text, const char *words, int64_t *index)
{
	struct span rest = span_of(words);
	for (*index = 0; rest.len; ++*index) {
		struct span word = span_cut(&rest, '|');
		if (word.len == text.len && memcmp(word.at, text.at, text.len) == 0)
			return true;
	}
	return false;
}

static bool parse(const struct parameter *p, struct span text, int64_t *value)
{
	switch (p->values.kind) {
	case VALUE_INTEGER:
	case VALUE_SECONDS: return text_parse_int(text, value);
	case VALUE_NS: return parse_ns(text, value);
	case VALUE_WORD: return parse_word(text, p->values.words, value);
	case VALUE_ANY: break;
	}
	return false;
}

/* Returns what is wrong with the value that was given, or NULL. */
static const char *check(const struct parameter *p, struct span text, int64_t *value)
{
	int64_t given;
	bool is_time = p->values.kind == VALUE_SECONDS || p->values.kind == VALUE_NS;
	bool is_good = parse(p, text, &given) && given >= p->values.least;
	if (is_good && given > p->values.most && is_time)
		return "profile duration exceeds server's WriteTimeout"; /* in Go's words */
	if (is_good && given <= p->values.most)
		*value = given;
	else if (p->bad != PRESET)
		return p->wrong;
	return NULL;
}

const char *parameter_read(struct exchange *x, enum parameter_id id, int64_t *value)
{
	const struct parameter *p = &parameters[id];
	struct span text;
	*value = p->preset;
	if (!(x->endpoint->takes & 1u << id) || !query_find(&x->query, p->name, &text))
		return NULL;
	if (!text.len && p->bad == REFUSED_UNLESS_EMPTY)
		return NULL;
	return check(p, text, value);
}
