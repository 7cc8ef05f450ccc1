/* text.c - the text forms: debug=1 of the snapshot profiles, and the answer of /symbol. (debug=2 is dump_text.c.)
 *
 * Runs in: listener. All memory from the request's region.
 *
 * Format: PPROF-SPEC section 1, "Text formats": each address printed is a return address, one above the address to
 * look up; heap rows hold the sampled values, which the reader scales by the rate in the header.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "encoder/dump_text.h"
#include "encoder/encoder.h"
#include "encoder/names.h"
#include "encoder/rows.h"
#include "encoder/utf8.h"

enum { ALLOC_OBJECTS, ALLOC_BYTES, INUSE_OBJECTS, INUSE_BYTES };

/* "a: b [c: d]" */
static void print_values(struct out *o, const int64_t value[4])
{
	out_dec(o, value[INUSE_OBJECTS]);
	out_str(o, ": ");
	out_dec(o, value[INUSE_BYTES]);
	out_str(o, " [");
	out_dec(o, value[ALLOC_OBJECTS]);
	out_str(o, ": ");
	out_dec(o, value[ALLOC_BYTES]);
	out_str(o, "]");
}

static void print_heap_header(struct out *o, const struct rows *rows)
{
	int64_t total[4] = {0};
	for (size_t i = 0; i < rows->count; i++)
		for (int k = 0; k < 4; k++)
			total[k] += rows->at[i].raw[k];
	total[ALLOC_BYTES]++; /* never equal to inuse: the reader would take that for two columns, as Go says */
	out_str(o, "heap profile: ");
	print_values(o, total);
	out_str(o, " @ heap/");
	out_dec(o, (int64_t)(2 * rows->period));
	out_str(o, "\n");
}

static void print_count_header(struct out *o, const struct rows *rows, const char *name)
{
	int64_t total = 0;
	for (size_t i = 0; i < rows->count; i++)
		total += rows->at[i].value[0];
	out_str(o, name);
	out_str(o, " profile: total ");
	out_dec(o, total);
	out_str(o, "\n");
}

static void print_addresses(struct out *o, const struct stack *s)
{
	out_str(o, " @");
	for (size_t i = 0; i < s->depth; i++) {
		out_str(o, " 0x");
		out_hex(o, s->pc[i] + 1);
	}
	out_str(o, "\n");
}

/* The label, as JSON: what is in a thread's name must not end it. */
static void print_label(struct region *r, struct out *o, const char *raw)
{
	const char *name = utf8_copy(r, span_of(raw));
	if (!name)
		return;
	out_str(o, "# labels: {\"thread\":\"");
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;
		if (c == '"' || c == '\\')
			out_str(o, "\\");
		out_bytes(o, c < 0x20 ? "?" : name, 1);
	}
	out_str(o, "\"}\n");
}

static void print_frames(struct out *o, struct names *n, const struct stack *s)
{
	for (size_t i = 0; i < s->depth; i++) {
		struct name name = names_of(n, names_site(n, s->pc[i], s->place));
		out_str(o, "#\t0x");
		out_hex(o, s->pc[i] + 1);
		out_str(o, "\t");
		out_span(o, name.function);
		if (name.offset) {
			out_str(o, "+0x");
			out_hex(o, name.offset + 1);
		}
		out_str(o, "\n");
	}
	out_str(o, "\n");
}

static int prepare_names(struct region *r, struct names *n, const struct rows *rows)
{
	size_t count = 0;
	for (size_t i = 0; i < rows->count; i++)
		count += rows->at[i].stack->depth;
	struct site *sites = region_alloc(r, count * sizeof *sites + 1);
	if (!sites || names_begin(n, r) < 0)
		return -ENOMEM;
	count = 0;
	for (size_t i = 0; i < rows->count; i++)
		for (size_t k = 0; k < rows->at[i].stack->depth; k++)
			sites[count++] = names_site(n, rows->at[i].stack->pc[k], rows->at[i].stack->place);
	return names_prepare(n, sites, count);
}

/* Threads without a stack, by name. */
static void print_unreached(struct region *r, struct out *o, const struct dump_snapshot *s)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct dump_thread *t = &s->threads[i];
		char *name = rows_reach(t) ? NULL : utf8_line(r, span_of(t->name));
		if (!name)
			continue;
		out_str(o, "# thread ");
		out_dec(o, t->tid);
		out_str(o, " (");
		out_str(o, name);
		out_str(o, ") not reached");
		if (t->reason) {
			out_str(o, ": ");
			out_str(o, t->reason);
		}
		out_str(o, "\n");
	}
}

int profile_encode_text(struct region *r, struct out *o, const struct profile_snapshot *now, int64_t debug)
{
	static const char *const count_names[] = {
	    [PROFILE_THREADCREATE] = "threadcreate", [PROFILE_GOROUTINE] = "goroutine", [PROFILE_CPU] = NULL};
	const char *count_name = count_names[now->kind];
	struct rows rows;
	struct names names;
	if (now->kind == PROFILE_GOROUTINE && debug >= 2)
		return dump_print(r, o, &now->dump);
	if (rows_make(r, &rows, now, NULL) < 0 || prepare_names(r, &names, &rows) < 0)
		return -ENOMEM;
	rows_sort(&rows, now->kind);
	if (count_name)
		print_count_header(o, &rows, count_name);
	else
		print_heap_header(o, &rows);
	for (size_t i = 0; i < rows.count; i++) {
		const struct row *row = &rows.at[i];
		if (count_name)
			out_dec(o, row->value[0]);
		else
			print_values(o, row->raw);
		print_addresses(o, row->stack);
		if (row->thread)
			print_label(r, o, row->thread);
		print_frames(o, &names, row->stack);
	}
	if (now->kind == PROFILE_GOROUTINE)
		print_unreached(r, o, &now->dump);
	out_str(o, "\n--- Memory map: ---\n"); /* the one of the two marks that ends a count profile, too */
	out_span(o, names.maps.text);
	return o->failed ? -ENOMEM : 0;
}

/* How many words a query may hold: one for each '+', and one more. */
static size_t count_words(struct span query)
{
	size_t n = 1;
	for (size_t i = 0; i < query.len; i++)
		n += query.at[i] == '+';
	return n;
}

int symbol_answer(struct region *r, struct out *o, struct span query)
{
	struct names names;
	struct site *sites = region_alloc(r, count_words(query) * sizeof *sites);
	size_t count = 0;
	if (!sites || names_begin(&names, r) < 0)
		return -ENOMEM;
	while (query.len) {
		uint64_t value;
		if (text_parse_uint(span_cut(&query, '+'), 0, &value))
			sites[count++] = names_site_now(&names, value);
	}
	if (names_prepare(&names, sites, count) < 0)
		return -ENOMEM;
	out_str(o, "num_symbols: 1\n");
	for (size_t i = 0; i < count; i++) {
		if (!sites[i].module)
			continue;
		struct name name = names_of(&names, sites[i]);
		out_str(o, "0x");
		out_hex(o, sites[i].address);
		out_str(o, " ");
		out_span(o, name.function);
		out_str(o, "\n");
	}
	return o->failed ? -ENOMEM : 0;
}
