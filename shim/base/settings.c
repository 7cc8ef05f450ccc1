/* settings.c - read the environment variables of settings.def.
 *
 * Runs in: init, before main. The environment is read as the kernel handed it over, not through getenv (a
 * program may export its own: ARCHITECTURE.md), and never changed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/settings.h"

#include <stddef.h>

#include "shim/base/text.h"

struct settings settings = {
#define SETTING(field, variable, type, preset, least, most, help) .field = (SETTINGS_##type)(preset),
#include "shim/settings.def"
#undef SETTING
};

enum type { BYTES, UINT, TEXT };

static const struct setting {
	const char *variable;
	enum type type;
	void *field;
	uint64_t least, most;
} table[] = {
#define SETTING(field, variable, type, preset, least, most, help) {variable, type, &settings.field, least, most},
#include "shim/settings.def"
#undef SETTING
};

bool settings_is_no(const char *text)
{
	static const char *const no[] = {"", "0", "false", "no", "off"};
	for (size_t i = 0; text && i < sizeof no / sizeof *no; i++)
		if (span_is_nocase(span_of(text), no[i]))
			return true;
	return !text;
}

static bool parse_bytes(struct span s, uint64_t *value)
{
	static const struct {
		char letter;
		unsigned shift;
	} suffixes[] = {{'K', 10}, {'k', 10}, {'M', 20}, {'m', 20}, {'G', 30}, {'g', 30}};
	unsigned shift = 0;
	for (size_t i = 0; s.len && i < sizeof suffixes / sizeof *suffixes; i++)
		if (s.at[s.len - 1] == suffixes[i].letter) {
			shift = suffixes[i].shift;
			s.len--;
			break;
		}
	return text_parse_uint(s, 10, value) && *value << shift >> shift == *value && (*value <<= shift, true);
}

static void complain_of(const struct setting *s, const char *text, void (*complain)(const char *))
{
	char message[256];
	struct line l = LINE(message);
	line_str(&l, s->variable);
	line_str(&l, "=");
	line_bytes(&l, text, strnlen(text, 64));
	line_str(&l, " is not a number from ");
	line_dec(&l, (int64_t)s->least);
	line_str(&l, " to ");
	line_dec(&l, (int64_t)s->most);
	line_str(&l, "; using ");
	line_dec(&l, (int64_t) * (uint64_t *)s->field);
	complain(l.at);
}

static void set_number(const struct setting *s, const char *text, void (*complain)(const char *))
{
	uint64_t value;
	struct span t = span_of(text);
	if (t.len == 0) /* an empty value counts as not set, as in shells and manifests */
		return;
	bool good = s->type == BYTES ? parse_bytes(t, &value) : text_parse_uint(t, 10, &value);
	if (good && value >= s->least && value <= s->most)
		*(uint64_t *)s->field = value;
	else
		complain_of(s, text, complain);
}

/* An environment may be long; for most of it this is the only look. */
static bool may_be_ours(const char *entry)
{
	return strncmp(entry, "PPROF_", 6) == 0 || strncmp(entry, "DISABLE_PPROF", 13) == 0;
}

/* Returns the row of a "NAME=value", and its value; NULL if it is none of ours. */
static const struct setting *find_row(const char *entry, const char **value)
{
	if (!may_be_ours(entry))
		return NULL;
	struct span rest = span_of(entry);
	struct span name = span_cut(&rest, '=');
	*value = rest.at;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (span_is(name, table[i].variable))
			return &table[i];
	return NULL;
}

void settings_read_texts(char *const *environ)
{
	for (; *environ; environ++) {
		const char *value;
		const struct setting *s = find_row(*environ, &value);
		if (s && s->type == TEXT && !*(const char **)s->field) /* of two, the first counts, as with getenv */
			*(const char **)s->field = value;
	}
}

void settings_read_numbers(char *const *environ, void (*complain)(const char *))
{
	bool seen[sizeof table / sizeof *table] = {false};
	for (; *environ; environ++) {
		const char *value;
		const struct setting *s = find_row(*environ, &value);
		if (!s || s->type == TEXT || seen[s - table])
			continue;
		seen[s - table] = true;
		set_number(s, value, complain);
	}
}
