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
#define SETTING(field, variable, type, preset, least, most) .field = (SETTINGS_##type)(preset),
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
#define SETTING(field, variable, type, preset, least, most) {variable, type, &settings.field, least, most},
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

/* Take a unit off the end: K, M, G or T, of 1024, of either case, and after it B or iB, or nothing.
 * Returns the power of two that it stands for. */
static unsigned take_unit(struct span *s)
{
	static const char letters[] = "kmgt";
	size_t len = s->len;
	if (len && (s->at[len - 1] | 0x20) == 'b')
		len--;
	bool is_binary = len < s->len && len && (s->at[len - 1] | 0x20) == 'i';
	len -= is_binary;
	const char *letter = len ? memchr(letters, s->at[len - 1] | 0x20, sizeof letters - 1) : NULL;
	if (letter)
		s->len = len - 1;
	else if (!is_binary) /* bytes, "B" at most */
		s->len = len;
	return letter ? 10 * (unsigned)(letter - letters + 1) : 0;
}

bool settings_lists(const char *list, struct span name)
{
	struct span rest = span_of(list);
	while (rest.len) {
		struct span one = span_trim(span_cut(&rest, ','));
		if (name.len && one.len == name.len && memcmp(one.at, name.at, one.len) == 0)
			return true;
	}
	return false;
}

static bool parse_bytes(struct span s, uint64_t *value)
{
	unsigned shift = take_unit(&s);
	return text_parse_uint(s, 10, value) && *value << shift >> shift == *value && (*value <<= shift, true);
}

static void complain_of(const struct setting *s, const char *text, void (*complain)(const char *))
{
	char message[256];
	struct line l = LINE(message);
	line_str(&l, s->variable);
	line_str(&l, "=");
	line_bytes(&l, text, strnlen(text, 64));
	line_str(&l,
	         s->type == BYTES ? " is not a number of bytes (also with K, M or G) from " : " is not a number from ");
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
	static const char one[] = "PPROF_", other[] = "DISABLE_PPROF";
	struct span start = {entry, strnlen(entry, sizeof other - 1)};
	return span_starts(start, one) || span_starts(start, other);
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

/* ---- names that are none of ours ---- */

enum { NAME_MOST = 40, LETTERS_PER_MISTAKE = 3 };

static size_t least_of(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;
	return least < c ? least : c;
}

/* Returns by how many letters two names differ: changed, left out or too many (Levenshtein's distance). */
static size_t differ_by(struct span a, struct span b)
{
	size_t row[NAME_MOST + 1];
	if (a.len > NAME_MOST || b.len > NAME_MOST)
		return NAME_MOST;
	for (size_t k = 0; k <= b.len; k++)
		row[k] = k;
	for (size_t i = 0; i < a.len; i++) {
		size_t diagonal = row[0];
		row[0] = i + 1;
		for (size_t k = 0; k < b.len; k++) {
			size_t above = row[k + 1];
			row[k + 1] = least_of(above + 1, row[k] + 1, diagonal + (a.at[i] != b.at[k]));
			diagonal = above;
		}
	}
	return row[b.len];
}

static bool has(struct span s, const char *part)
{
	for (; s.len >= strlen(part); s.at++, s.len--)
		if (span_starts(s, part))
			return true;
	return false;
}

/* Names that others know: those of go tool pprof, of gperftools, and what Kubernetes sets for a service of that name.
 */
static bool is_of_others(struct span name, struct span value)
{
	static const char *const others[] = {"PPROF_BINARY_PATH", "PPROF_PATH", "PPROF_TMPDIR", "PPROF_TOOLS"};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (span_is(name, others[i]))
			return true;
	return has(name, "_SERVICE_") || has(name, "_PORT_") || has(value, "://");
}

/* Returns the setting that was meant; NULL: none is like it. */
static const char *nearest(struct span name)
{
	const char *near = NULL;
	size_t least = (name.len - (sizeof "PPROF_" - 1)) / LETTERS_PER_MISTAKE + 1;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		size_t by = differ_by(name, span_of(table[i].variable));
		if (by < least) {
			least = by;
			near = table[i].variable;
		}
	}
	return near;
}

static void name_unknown(struct line *l, struct span name)
{
	const char *near = nearest(name);
	line_str(l, l->len ? ", " : "no setting, and without effect: ");
	line_bytes(l, name.at, name.len < NAME_MOST ? name.len : NAME_MOST);
	if (!near)
		return;
	line_str(l, " (did you mean ");
	line_str(l, near);
	line_str(l, "?)");
}

void settings_tell_unknown(char *const *environ, void (*complain)(const char *))
{
	char message[400];
	struct line l = LINE(message);
	for (; *environ; environ++) {
		const char *value;
		struct span rest = span_of(*environ), name = span_cut(&rest, '=');
		if (may_be_ours(*environ) && !find_row(*environ, &value) && !is_of_others(name, rest))
			name_unknown(&l, name);
	}
	if (l.len)
		complain(l.at);
}
