/* text_form.c - the text forms: debug=1 of the snapshot profiles, and the answer of /symbol. (debug=2 is
 * threads_text.c.)
 *
 * Runs in: listener. All memory from the request's region.
 *
 * Format: encoder/FORMATS.md, "Text forms". Each printed address is a return address, one above the address to look up
 * (the reader subtracts 1 from the leaf of a contention row, too). Heap rows hold the sampled values; the reader scales
 * them by the rate in the header.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "encoder/bytes/intern.h"
#include "encoder/profile/threads_text.h"
#include "encoder/encoder.h"
#include "encoder/names/names.h"
#include "encoder/profile/rows.h"
#include "encoder/bytes/utf8.h"
#include "shim/base/pace.h"

enum { ALLOC_OBJECTS, ALLOC_BYTES, INUSE_OBJECTS, INUSE_BYTES };
enum { CONTENTIONS, DELAY_NS };
enum { PART_BYTES = 128 * 1024 }; /* made at once; a small text has one part */

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
	total[ALLOC_BYTES]++; /* if it were equal to inuse, the reader would expect two columns, as Go says */
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

/* Delays are in nanoseconds and values estimate all events. So the header says: cycles of 1 ns, nothing to scale. */
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

/* A delay belongs to at least one event, even if the estimate was rounded to 0. */
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

/* Print the label as JSON: no character of a thread's name may end it. */
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

/* "#	0x55d0	inner+0x10	/src/a.c:12". Inlined functions have lines of their own, with the same address. */
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

/* ---- the lines of an address, made once ---- */

/* An address as a stack has it. (No struct site: the object at an address may change between two lookups.) */
struct place {
	uintptr_t pc, place;
};

/* A text form while it is sent: the next part is made when the last one has gone. */
struct text_form {
	struct region *region;
	const struct profile_snapshot *now;
	struct rows rows;
	struct names names;
	struct intern places; /* number n is lines[n] */
	struct span *lines;   /* the text of its frames */
	size_t next;          /* index of the next row */
	uint64_t left_bytes;
	bool is_over;
};

/* Give a place its number. *spare is memory for the next key; NULL: none yet. */
static bool find_place(struct text_form *t, struct place **spare, uintptr_t pc, uint64_t place)
{
	bool is_new = false;
	if (!*spare)
		*spare = region_alloc(t->region, sizeof **spare);
	if (!*spare)
		return false;
	**spare = (struct place){pc, place};
	if (intern(&t->places, t->region, (struct span){(const char *)*spare, sizeof **spare}, &is_new) < 0)
		return false;
	*spare = is_new ? NULL : *spare;
	return true;
}

static bool find_places(struct text_form *t)
{
	struct place *spare = NULL;
	for (size_t i = 0; i < t->rows.count && !pace(); i++) {
		const struct stack *s = t->rows.at[i].stack;
		for (size_t k = 0; k < s->depth; k++)
			if (!find_place(t, &spare, s->pc[k], s->place))
				return false;
	}
	return true;
}

/* Returns a copy of the text in o, and empties o. */
static struct span take_text(struct region *r, struct out *o)
{
	struct span text = {region_alloc(r, o->len + 1), o->len};
	char *to = (char *)text.at;
	for (struct out_chunk *c = o->first; to && c; to += c->used, c->used = 0, c = c->next)
		memcpy(to, c->bytes, c->used);
	o->failed |= !to;
	o->last = o->first;
	o->len = 0;
	return text;
}

static int make_lines(struct text_form *t, const struct site *sites)
{
	struct out scratch;
	out_init(&scratch, t->region);
	t->lines = region_alloc(t->region, t->places.count * sizeof *t->lines + 1);
	for (size_t i = 0; t->lines && i < t->places.count; i++, pace()) {
		struct name name = names_of(&t->names, sites[i]);
		print_frame(&scratch, sites[i].address + 1, &name);
		t->lines[i] = take_text(t->region, &scratch);
	}
	return t->lines && !scratch.failed ? 0 : -ENOMEM;
}

static int prepare_lines(struct text_form *t, struct patience *p)
{
	int rc = names_begin(&t->names, t->region);
	if (rc == 0)
		rc = rows_complete(&t->rows, t->now->kind, &t->names, p);
	if (rc < 0)
		return rc;
	if (!find_places(t))
		return -ENOMEM;
	struct site *sites = region_alloc(t->region, t->places.count * sizeof *sites + 1);
	for (size_t i = 0; sites && i < t->places.cap; i++) {
		const struct intern_entry *e = &t->places.entry[i];
		const struct place *k = (const struct place *)(const void *)e->key.at;
		if (e->number_plus_1)
			sites[e->number_plus_1 - 1] = names_site(&t->names, k->pc, k->place);
	}
	rc = sites ? names_prepare(&t->names, sites, t->places.count, p) : -ENOMEM;
	return rc < 0 ? rc : make_lines(t, sites);
}

static void print_frames(struct out *o, struct text_form *t, const struct stack *s)
{
	for (size_t i = 0; i < s->depth; i++) {
		const struct place k = {s->pc[i], s->place};
		int64_t n = intern_find(&t->places, (struct span){(const char *)&k, sizeof k});
		if (n >= 0)
			out_span(o, t->lines[n]);
	}
	out_str(o, "\n");
}

/* Print the names of threads without a stack. */
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

/* How a kind of profile is printed: its first lines, which begin with the title, and the values of a row. */
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

static void print_row(struct out *o, struct text_form *t, const struct row *row)
{
	forms[t->now->kind].print_row(o, row);
	print_addresses(o, row->stack);
	if (row->thread)
		print_label(t->region, o, row->thread);
	print_frames(o, t, row->stack);
}

static void print_fact(struct out *o, const char *name, int64_t value)
{
	out_str(o, "# ");
	out_str(o, name);
	out_str(o, " = ");
	out_dec(o, value);
	out_str(o, "\n");
}

/* Print what readers of Go's form look for, as far as it is known: estimates of all blocks. */
static void print_memory(struct out *o, const struct text_form *t)
{
	int64_t total[4] = {0};
	for (size_t i = 0; i < t->rows.count; i++)
		for (int k = 0; k < 4; k++)
			total[k] += t->rows.at[i].value[k];
	out_str(o, "\n# runtime.MemStats\n");
	print_fact(o, "Alloc", total[INUSE_BYTES]);
	print_fact(o, "TotalAlloc", total[ALLOC_BYTES]);
	print_fact(o, "Mallocs", total[ALLOC_OBJECTS]);
	print_fact(o, "Frees", total[ALLOC_OBJECTS] - total[INUSE_OBJECTS]);
	print_fact(o, "HeapAlloc", total[INUSE_BYTES]);
	print_fact(o, "HeapObjects", total[INUSE_OBJECTS]);
	if (t->now->heap.max_rss_bytes)
		print_fact(o, "MaxRSS", (int64_t)t->now->heap.max_rss_bytes);
}

static void print_end(struct out *o, struct text_form *t)
{
	if (t->now->kind == PROFILE_HEAP || t->now->kind == PROFILE_ALLOCS)
		print_memory(o, t);
	if (t->now->kind == PROFILE_GOROUTINE)
		print_unreached(t->region, o, &t->now->dump);
	out_str(o, "\n--- Memory map: ---\n"); /* of the two possible marks, only this one ends a count profile, too */
	out_span(o, t->names.maps.text);
	t->is_over = true;
}

/* Print rows from the next one on, about `most` bytes. */
static void print_part(struct out *o, struct text_form *t, uint64_t most)
{
	const struct form *form = &forms[t->now->kind];
	if (t->next == 0)
		form->print_header(o, &t->rows, form->title);
	while (t->next < t->rows.count && !o->failed && o->len < most && !pace())
		print_row(o, t, &t->rows.at[t->next++]);
	if (t->next == t->rows.count)
		print_end(o, t);
}

static void print_more(struct out *o)
{
	struct text_form *t = o->source;
	print_part(o, t, PART_BYTES);
	t->left_bytes -= o->len;
	if (!t->is_over)
		return;
	o->more = NULL;
	o->failed |= t->left_bytes != 0; /* the length differs from the one counted: memory was short */
}

/* Count the length of the whole text, and print its first part. */
static int print_first(struct out *o, struct text_form *t)
{
	struct out all = {0};
	print_part(&all, t, UINT64_MAX);
	if (!t->is_over)
		return -ECANCELED;
	t->next = 0;
	t->left_bytes = all.len;
	t->is_over = false;
	o->source = t;
	o->more = print_more;
	print_more(o);
	o->more_bytes = all.len - o->len;
	return o->failed ? -ENOMEM : 0;
}

int profile_encode_text(struct region *r, struct out *o, const struct profile_snapshot *now, int64_t debug,
                        struct patience *p)
{
	if (now->kind == PROFILE_GOROUTINE && debug >= 2)
		return dump_print(r, o, &now->dump, debug, p);
	struct text_form *t = region_alloc(r, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->region = r;
	t->now = now;
	int rc = rows_make(r, &t->rows, now, NULL);
	if (rc == 0)
		rc = prepare_lines(t, p);
	if (rc < 0)
		return rc;
	rows_sort(&t->rows, now->kind);
	return print_first(o, t);
}

/* Returns the most words that a query may hold: one more than it has '+'. */
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
		out_span(o, name.frame[name.count - 1].function); /* there is room for one: the outermost function */
		out_str(o, "\n");
	}
	return o->failed ? -ENOMEM : 0;
}
