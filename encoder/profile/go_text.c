/* go_text.c - names, files and states as the readers of Go's dumps accept them.
 *
 * Runs in: listener. No allocation.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/profile/go_text.h"

#include <stdbool.h>

#define PERCENT "\xef\xbc\x85" /* U+FF05, the full-width one */
#define SLASH "\xe2\x88\x95"   /* U+2215, the sign of division */

enum { NAME_MOST = 4096 };

/* Is the parenthesis at s.at[0] closed? */
static bool is_closed(struct span s)
{
	size_t depth = 0;
	for (size_t i = 0; i < s.len; i++) {
		depth += s.at[i] == '(';
		depth -= s.at[i] == ')';
		if (!depth)
			return true;
	}
	return false;
}

/* Does a name go on with a '.'? Then a '/' belongs to a path, as in Go's own names. */
static bool has_dot(struct span s)
{
	return s.len && memchr(s.at, '.', s.len);
}

/* Cut a very long name, between two characters. */
static struct span shorten(struct span name)
{
	if (name.len > NAME_MOST)
		for (name.len = NAME_MOST; name.len && (name.at[name.len] & 0xc0) == 0x80;)
			name.len--;
	return name;
}

void go_text_function(struct out *o, struct span name)
{
	size_t depth = 0; /* of parentheses; all but the outer ones become brackets */
	name = shorten(name);
	for (size_t i = 0; i < name.len; i++) {
		struct span rest = {name.at + i, name.len - i};
		switch (rest.at[0]) {
		case '(':
			if (depth || is_closed(rest))
				depth++;
			out_str(o, depth == 1 ? "(" : "[");
			break;
		case ')':
			out_str(o, depth == 1 ? ")" : "]");
			depth -= depth > 0;
			break;
		case '%': out_str(o, PERCENT); break;
		case '/': out_str(o, has_dot(rest) ? "/" : SLASH); break;
		default: out_bytes(o, rest.at, 1);
		}
	}
}

void go_text_state(struct out *o, struct span state)
{
	for (size_t i = 0; i < state.len; i++)
		switch (state.at[i]) {
		case ',': out_str(o, ";"); break;
		case ']': out_str(o, ")"); break;
		default: out_bytes(o, &state.at[i], 1);
		}
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void out_file(struct out *o, struct span file)
{
	for (size_t i = 0; i < file.len; i++) {
		bool ends_it = file.at[i] == ':' && i + 1 < file.len && is_digit(file.at[i + 1]);
		out_bytes(o, ends_it ? "?" : &file.at[i], 1);
	}
}

static bool ends_in(struct span s, const char *suffix)
{
	size_t n = strlen(suffix);
	return s.len > n && memcmp(s.at + s.len - n, suffix, n) == 0;
}

void go_text_place(struct out *o, struct span file, uint32_t line)
{
	out_file(o, file);
	out_str(o, ":");
	out_dec(o, line);
	if (ends_in(file, ".go") || ends_in(file, ".c") || ends_in(file, ".s"))
		return;
	out_str(o, " .c:");
	out_dec(o, line);
}
