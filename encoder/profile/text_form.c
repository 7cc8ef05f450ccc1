/* text_form.c - the text forms: debug=1 of the snapshot profiles, and the answer of /symbol. (debug=2 is
 * threads_text.c.)
 *
 * Runs in: listener. All memory from the request's region.
 *
 * Format: encoder/FORMATS.md, "Text forms": each address printed is a return address, one above the address to
 * look up (the reader subtracts one from the leaf of a contention row, too); heap rows hold the sampled values, which
 * the reader scales by the rate in the header.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "encoder/profile/threads_text.h"
#include "encoder/encoder.h"
#include "encoder/names/names.h"
#include "encoder/profile/rows.h"
#include "encoder/bytes/utf8.h"
#include "shim/base/pace.h"

enum { ALLOC_OBJECTS, ALLOC_BYTES, INUSE_OBJECTS, INUSE_BYTES };
enum { CONTENTIONS, DELAY_NS };

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

static void print_heap_header(struct out *o, const struct rows *rows, const char *title)
{
	int64_t total[4] = {0};
	for (size_t i = 0; i < rows->count; i++)
		for (int k = 0; k < 4; k++)
			total[k] += rows->at[i].raw[k];
	total[ALLOC_BYTES]++; /* never equal to inuse: the reader would take that for two columns, as Go says */
	out_str(o, title);
	print_values(o, total);
	out_str(o, " @ heap/");
	out_dec(o, (int64_t)(2 * rows->period));
	out_str(o, "\n");
}

static void print_count_header(struct out *o, const struct rows *rows, const char *title)
{
	int64_t total = 0;
	for (size_t i = 0; i < rows->count; i++)
		total += rows->at[i].value[0];
	out_str(o, title);
	out_dec(o, total);
	out_str(o, "\n");
}

/* Delays are nanoseconds already, and values estimates of all: cycles of 1 ns, each event counted. */
static void print_contention_header(struct out *o, const struct rows *rows, const char *title)
{
	(void)rows;
	out_str(o, title);
}

static void print_heap_row(struct out *o, const struct row *row)
{
	print_values(o, row->raw);
}

static void print_count_row(struct out *o, const struct row *row)
{
	out_dec(o, row->value[0]);
}

/* A delay is that of one event at least, whatever the estimate was rounded to. */
static void print_contention_row(struct out *o, const struct row *row)
{
	bool is_none = row->value[CONTENTIONS] == 0 && row->value[DELAY_NS] != 0;
	out_dec(o, row->value[DELAY_NS]);
	out_str(o, " ");
	out_dec(o, is_none ? 1 : row->value[CONTENTIONS]);
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

/* "#	0x55d0	inner+0x10	/src/a.c:12": inlined functions have lines of their own, at the same address. */
static void print_frame(struct out *o, uintptr_t address, const struct name *name)
{
	for (size_t i = 0; i < name->count; i++) {
		const struct name_frame *f = &name->frame[i];
		out_str(o, "#\t0x");
		out_hex(o, address);
		out_str(o, "\t");
		out_span(o, f->function);
		if (name->offset) {
			out_str(o, "+0x");
			out_hex(o, name->offset + 1);
		}
		if (f->file.len && f->line) {
			out_str(o, "\t");
			out_span(o, f->file);
			out_str(o, ":");
			out_dec(o, f->line);
		}
		out_str(o, "\n");
	}
}

static void print_frames(struct out *o, struct names *n, const struct stack *s)
{
	for (size_t i = 0; i < s->depth; i++) {
		struct name name = names_of(n, names_site(n, s->pc[i], s->place));
		print_frame(o, s->pc[i] + 1, &name);
	}
	out_str(o, "\n");
}

static int prepare_names(struct region *r, struct names *n, const struct rows *rows, struct patience *p)
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
	return names_prepare(n, sites, count, p);
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

/* How a kind is written: its first lines, which begin with the title, and the values of a row. */
static const struct form {
	const char *title;
	void (*print_header)(struct out *o, const struct rows *rows, const char *title);
	void (*print_row)(struct out *o, const struct row *row);
} forms[] = {
	[PROFILE_HEAP] = {"heap profile: ", print_heap_header, print_heap_row},
	[PROFILE_ALLOCS] = {"heap profile: ", print_heap_header, print_heap_row},
	[PROFILE_THREADCREATE] = {"threadcreate profile: total ", print_count_header, print_count_row},
	[PROFILE_GOROUTINE] = {"goroutine profile: total ", print_count_header, print_count_row},
	[PROFILE_BLOCK] = {"--- contention:\ncycles/second=1000000000\n", print_contention_header,
                           print_contention_row},
	[PROFILE_MUTEX] = {"--- mutex:\ncycles/second=1000000000\nsampling period=1\n", print_contention_header,
                           print_contention_row},
};

int profile_encode_text(struct region *r, struct out *o, const struct profile_snapshot *now, int64_t debug,
                        struct patience *p)
{
	struct rows rows;
	struct names names;
	if (now->kind == PROFILE_GOROUTINE && debug >= 2)
		return dump_print(r, o, &now->dump, p);
	int rc = rows_make(r, &rows, now, NULL);
	if (rc == 0)
		rc = prepare_names(r, &names, &rows, p);
	if (rc < 0)
		return rc;
	const struct form *form = &forms[now->kind];
	rows_sort(&rows, now->kind);
	form->print_header(o, &rows, form->title);
	for (size_t i = 0; i < rows.count && !o->failed && !pace(); i++) {
		const struct row *row = &rows.at[i];
		form->print_row(o, row);
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

int symbol_answer(struct region *r, struct out *o, struct span query, struct patience *p)
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
	int rc = names_prepare(&names, sites, count, p);
	if (rc < 0)
		return rc;
	out_str(o, "num_symbols: 1\n");
	for (size_t i = 0; i < count; i++) {
		if (!sites[i].module)
			continue;
		struct name name = names_of(&names, sites[i]);
		out_str(o, "0x");
		out_hex(o, sites[i].address);
		out_str(o, " ");
		out_span(o, name.frame[name.count - 1].function); /* it has room for one: the function in the file */
		out_str(o, "\n");
	}
	return o->failed ? -ENOMEM : 0;
}
