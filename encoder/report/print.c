/* print.c - names and tables as text.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/report/print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/report/recording.h"
#include "encoder/report/units.h"

/* --- names ----------------------------------------------------------------------------------------- */

/* Bytes of a character of UTF-8, at least one; strings of a profile are well-formed. */
static size_t character_bytes(const char *s)
{
	unsigned char c = (unsigned char)*s;
	size_t len = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	return strnlen(s, len);
}

/* C0, DEL and C1; and the marks that turn the direction of a line or split it: U+061C, U+200E, U+200F, U+2028 to
 * U+202E, U+2066 to U+2069. */
static bool is_control(const char *s, size_t len)
{
	unsigned char a = (unsigned char)s[0], b = len > 1 ? (unsigned char)s[1] : 0;
	unsigned char c = len > 2 ? (unsigned char)s[2] : 0;
	if (len == 1)
		return a < 0x20 || a == 0x7f || a >= 0x80;
	if (len == 2)
		return (a == 0xc2 && b < 0xa0) || (a == 0xd8 && b == 0x9c);
	return a == 0xe2 && ((b == 0x80 && (c == 0x8e || c == 0x8f || (c >= 0xa8 && c <= 0xae))) ||
	                     (b == 0x81 && c >= 0xa6 && c <= 0xa9));
}

void print_name(FILE *out, const char *name, unsigned columns)
{
	for (unsigned used = 0; *name; used++) {
		size_t len = character_bytes(name);
		if (columns && used + 1 == columns && name[len]) {
			fputs("…", out);
			return;
		}
		if (is_control(name, len))
			fputc('?', out);
		else
			fwrite(name, 1, len, out);
		name += len;
	}
}

void print_json_string(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++)
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < 0x20 || *text == 0x7f)
			fprintf(out, "\\u%04x", *text);
		else
			fputc(*text, out);
	fputc('"', out);
}

/* --- tables ---------------------------------------------------------------------------------------- */

static const char *inlined_word(const struct table_row *r)
{
	static const char *const words[] = {"", " (partial-inline)", " (inline)"};
	return words[r->inlined];
}

/* Where the function begins, if the row is a function; rows that are lines have it in their name. */
static bool has_place(const struct table_row *r)
{
	return r->name == r->function && *r->file;
}

static void print_row_name(FILE *out, const struct table_row *r, unsigned columns)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		return;
	fprintf(f, "%s%s", r->name, inlined_word(r));
	if (has_place(r))
		fprintf(f, "  %s", r->file);
	if (has_place(r) && r->line > 0)
		fprintf(f, ":%" PRId64, r->line);
	if (fclose(f) == 0)
		print_name(out, text, columns);
	free(text);
}

static int64_t shown_sum(const struct table *t)
{
	int64_t sum = 0;
	for (size_t i = 0; i < t->count; i++)
		sum = recording_sum(sum, t->row[i].flat);
	return sum;
}

static void print_head(FILE *out, const struct table *t, const char *row_word)
{
	char shown[UNITS_TEXT], share[UNITS_TEXT], total[UNITS_TEXT];
	const char *percent = units_share(share, shown_sum(t), t->total);
	fprintf(out, "%zu of %zu %s: ", t->count, t->all, row_word);
	fprintf(out, "%s (%s) of %s ", units_label(shown, shown_sum(t), t->of, t->in), percent + strspn(percent, " "),
	        units_label(total, t->total, t->of, t->in));
	print_name(out, t->type, 0);
	fputc('\n', out);
}

void print_table(FILE *out, const struct table *t, const char *row_word, unsigned columns)
{
	enum { NUMBERS = 47 };
	char text[5][UNITS_TEXT];
	int64_t sum = 0;
	print_head(out, t, row_word);
	fprintf(out, "%10s %6s %6s %10s %6s\n", "flat", "flat%", "sum%", "cum", "cum%");
	for (size_t i = 0; i < t->count; i++) {
		const struct table_row *r = &t->row[i];
		sum = recording_sum(sum, r->flat);
		fprintf(out, "%10s %s %s %10s %s  ", units_label(text[0], r->flat, t->of, t->in),
		        units_share(text[1], r->flat, t->total), units_share(text[2], sum, t->total),
		        units_label(text[3], r->cum, t->of, t->in), units_share(text[4], r->cum, t->total));
		print_row_name(out, r, columns > NUMBERS + 10 ? columns - NUMBERS : columns ? 10 : 0);
		fputc('\n', out);
	}
}

static void print_json_row(FILE *out, const struct table_row *r)
{
	fprintf(out, "{\"flat\":%" PRId64 ",\"cum\":%" PRId64 ",\"name\":", r->flat, r->cum);
	print_json_string(out, r->name);
	fprintf(out, ",\"function\":");
	print_json_string(out, r->function);
	fprintf(out, ",\"file\":");
	print_json_string(out, r->file);
	fprintf(out, ",\"line\":%" PRId64 "}", r->line);
}

void print_json(FILE *out, const struct table *t)
{
	fprintf(out, "{\"type\":");
	print_json_string(out, t->type);
	fprintf(out, ",\"unit\":");
	print_json_string(out, t->of);
	fprintf(out, ",\"total\":%" PRId64 ",\"all\":%zu,\"rows\":[", t->total, t->all);
	for (size_t i = 0; i < t->count; i++) {
		fprintf(out, i ? ",\n" : "\n");
		print_json_row(out, &t->row[i]);
	}
	fprintf(out, "\n]}\n");
}
