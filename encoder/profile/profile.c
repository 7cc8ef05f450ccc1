/* profile.c - snapshots as pprof's protobuf (encoder/FORMATS.md), and what the kinds have in common.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * The profile is written as a series of small Profile messages, each with one sample, one location …: a protobuf reader
 * merges concatenated messages. So only one row is in memory at a time, and a string is written when it is first used.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/encoder.h"

#include <errno.h>

#include "encoder/profile/mappings.h"
#include "encoder/profile/rows.h"
#include "encoder/profile/writer.h"
#include "shim/base/pace.h"

/* Frames of allocators, which pprof cuts off below the program's own call. pprof anchors the expression and matches it
 * with names without parameters. */
static const char drop_frames[] =
	"operator new(\\[\\])?|operator new(\\[\\])?\\(.*\\)|_Znwm|_Znam|_Zn[wa]mSt.*|_Zn[wa]mRKSt.*"
	"|std::allocator<.*>::allocate.*|std::allocator::allocate.*|std::allocator_traits.*::allocate.*"
	"|(std::__|__gnu_cxx::)new_allocator.*::allocate.*|std::__allocate_guarded.*|std::_Vector_base.*::_M_allocate."
	"*";

struct type {
	const char *name, *unit;
};

static const struct kind {
	struct type sample[4];
	size_t values;
	struct type period;
	const char *preset; /* default_sample_type; NULL: none */
	const char *drop;   /* drop_frames; "": none */
} kinds[] = {
#define HEAP_TYPES \
	{ \
		{"alloc_objects", "count"}, {"alloc_space", "bytes"}, {"inuse_objects", "count"}, \
		{ \
			"inuse_space", "bytes" \
		} \
	}
	[PROFILE_HEAP] = {HEAP_TYPES, 4, {"space", "bytes"}, "inuse_space", drop_frames},
	[PROFILE_ALLOCS] = {HEAP_TYPES, 4, {"space", "bytes"}, "alloc_space", drop_frames},
	[PROFILE_THREADCREATE] = {{{"threadcreate", "count"}}, 1, {"threadcreate", "count"}, NULL, ""},
	[PROFILE_GOROUTINE] = {{{"goroutine", "count"}}, 1, {"goroutine", "count"}, NULL, ""},
#define CONTENTION_TYPES \
	{ \
		{"contentions", "count"}, \
		{ \
			"delay", "nanoseconds" \
		} \
	}
	[PROFILE_BLOCK] = {CONTENTION_TYPES, 2, {"contentions", "count"}, NULL, ""},
	[PROFILE_MUTEX] = {CONTENTION_TYPES, 2, {"contentions", "count"}, NULL, ""},
	[PROFILE_CPU] = {{{"samples", "count"}, {"cpu", "nanoseconds"}}, 2, {"cpu", "nanoseconds"}, NULL, ""},
};

void encoder_start(const struct encoder_options *options)
{
	names_start(options);
}

static void put_type(struct profile_writer *w, unsigned field, struct type t)
{
	message_number(&w->part, VALUE_TYPE, (uint64_t)profile_text_id(w, t.name));
	message_number(&w->part, VALUE_UNIT, (uint64_t)profile_text_id(w, t.unit));
	message_part(&w->profile, field, &w->part);
}

static void write_types(struct profile_writer *w, const struct kind *k, int64_t period)
{
	for (size_t i = 0; i < k->values; i++)
		put_type(w, PROFILE_SAMPLE_TYPE, k->sample[i]);
	message_number(&w->profile, PROFILE_DROP_FRAMES, (uint64_t)profile_text_id(w, k->drop));
	put_type(w, PROFILE_PERIOD_TYPE, k->period);
	message_number(&w->profile, PROFILE_PERIOD, (uint64_t)period);
	if (k->preset)
		message_number(&w->profile, PROFILE_DEFAULT_SAMPLE_TYPE, (uint64_t)profile_text_id(w, k->preset));
	profile_write_message(w, &w->profile);
}

static void write_comment(void *arg, const char *line)
{
	struct profile_writer *w = arg;
	uint64_t id = (uint64_t)profile_text_id(w, line);
	message_packed(&w->profile, PROFILE_COMMENT, &id, 1);
	profile_write_message(w, &w->profile);
}

/* Returns the id of a location. Ids follow the order in which addresses appear; the locations themselves are written
 * after the samples. */
static uint64_t location_id(struct profile_writer *w, uintptr_t address, uint64_t place)
{
	bool is_new;
	int64_t n = -1;
	if (!w->spare_site)
		w->spare_site = region_alloc(w->region, sizeof *w->spare_site);
	if (w->spare_site) {
		*w->spare_site = names_site(&w->names, address, place);
		n = intern(&w->sites, w->region, (struct span){(const char *)w->spare_site, sizeof *w->spare_site},
		           &is_new);
	}
	if (n < 0)
		w->failed = true;
	else if (is_new)
		w->spare_site = NULL; /* the table keeps it */
	return (uint64_t)n + 1;
}

static void put_label(struct profile_writer *w, const char *key, const char *text, int64_t number)
{
	message_number(&w->inner, LABEL_KEY, (uint64_t)profile_text_id(w, key));
	message_number(&w->inner, LABEL_STR, (uint64_t)profile_text_id(w, text));
	message_number(&w->inner, LABEL_NUM, (uint64_t)number);
	message_part(&w->part, SAMPLE_LABEL, &w->inner);
}

static void put_labels(struct profile_writer *w, const struct row *row)
{
	if (row->class_bytes)
		put_label(w, "bytes", "", (int64_t)row->class_bytes);
	if (row->thread && row->thread[0])
		put_label(w, "thread", row->thread, 0);
	if (row->tid)
		put_label(w, "tid", "", row->tid);
}

static void write_sample(struct profile_writer *w, const struct row *row, size_t values)
{
	uint64_t ids[row->stack->depth + 1];
	for (size_t i = 0; i < row->stack->depth; i++)
		ids[i] = location_id(w, row->stack->pc[i], row->stack->place);
	message_packed(&w->part, SAMPLE_LOCATION_ID, ids, row->stack->depth);
	message_packed(&w->part, SAMPLE_VALUE, (const uint64_t *)row->value, values);
	put_labels(w, row);
	profile_write_part(w, PROFILE_SAMPLE);
}

/* Functions with an equal key are the same. Strings are given by their ids. */
struct function_key {
	int64_t name, system, file, start_line;
};

static uint64_t function_id(struct profile_writer *w, const struct name_frame *f)
{
	struct function_key *key = w->spare_function ? w->spare_function : region_alloc(w->region, sizeof *key);
	bool is_new;
	w->spare_function = key;
	if (!key) {
		w->failed = true;
		return 0;
	}
	*key = (struct function_key){profile_string_id(w, f->function), profile_string_id(w, f->system),
	                             profile_string_id(w, f->file), f->start_line};
	int64_t n = intern(&w->functions, w->region, (struct span){(const char *)key, sizeof *key}, &is_new);
	uint64_t id = (uint64_t)n + 1;
	if (n < 0)
		w->failed = true;
	if (n < 0 || !is_new)
		return id;
	w->spare_function = NULL; /* the table keeps it */
	message_number(&w->part, FUNCTION_ID, id);
	message_number(&w->part, FUNCTION_NAME, (uint64_t)key->name);
	message_number(&w->part, FUNCTION_SYSTEM_NAME, (uint64_t)key->system);
	message_number(&w->part, FUNCTION_FILENAME, (uint64_t)key->file);
	message_number(&w->part, FUNCTION_START_LINE, (uint64_t)key->start_line);
	profile_write_part(w, PROFILE_FUNCTION);
	return id;
}

static void write_location(struct profile_writer *w, uint64_t id, uint64_t mapping, uint64_t address,
                           const struct name *name)
{
	struct message *location = &w->location; /* functions are written meanwhile */
	message_number(location, LOCATION_ID, id);
	message_number(location, LOCATION_MAPPING_ID, mapping);
	message_number(location, LOCATION_ADDRESS, address);
	for (size_t i = 0; i < name->count; i++) {
		message_number(&w->inner, LINE_FUNCTION_ID, function_id(w, &name->frame[i]));
		message_number(&w->inner, LINE_LINE, (uint64_t)name->frame[i].line);
		message_part(location, LOCATION_LINE, &w->inner);
	}
	message_part(&w->profile, PROFILE_LOCATION, location);
	profile_write_message(w, &w->profile);
}

static struct site *list_sites(struct profile_writer *w)
{
	struct site *sites = region_alloc(w->region, w->sites.count * sizeof *sites + 1);
	for (size_t i = 0; sites && i < w->sites.cap; i++) {
		const struct intern_entry *e = &w->sites.entry[i];
		if (e->number_plus_1)
			memcpy(&sites[e->number_plus_1 - 1], e->key.at, sizeof *sites);
	}
	return sites;
}

/* Look up all names before anything is written, so that an answer which waits for them is encoded only once. Returns 0,
 * -ENOMEM or -EAGAIN. */
static int find_names(struct profile_writer *w, const struct rows *rows, struct patience *patience)
{
	for (size_t i = 0; i < rows->count && !pace(); i++)
		for (size_t k = 0; k < rows->at[i].stack->depth; k++)
			location_id(w, rows->at[i].stack->pc[k], rows->at[i].stack->place);
	size_t count = w->sites.count;
	w->site = list_sites(w);
	w->name = region_alloc(w->region, count * sizeof *w->name + 1);
	int r = !w->failed && w->site && w->name ? names_prepare(&w->names, w->site, count, patience) : -ENOMEM;
	for (size_t i = 0; r == 0 && i < count && !pace(); i++)
		w->name[i] = names_of(&w->names, w->site[i]);
	return r;
}

static void write_locations(struct profile_writer *w)
{
	struct mappings ms = {0};
	size_t count = w->sites.count;
	if (mappings_find(w, &ms, w->site, w->name, count) < 0) {
		w->failed = true;
		return;
	}
	mappings_write(w, &ms);
	for (size_t i = 0; i < count && !pace(); i++)
		write_location(w, i + 1, mappings_id(w, &ms, w->site[i]), w->site[i].address, &w->name[i]);
}

static void write_times(struct profile_writer *w, uint64_t time_ns, uint64_t duration_ns)
{
	message_number(&w->profile, PROFILE_TIME_NANOS, time_ns);
	message_number(&w->profile, PROFILE_DURATION_NANOS, duration_ns);
	profile_write_message(w, &w->profile);
}

static void write_unreached(struct profile_writer *w, size_t count)
{
	char text[96];
	struct line l = LINE(text);
	if (!count)
		return;
	line_dec(&l, (int64_t)count);
	line_str(&l, count == 1 ? " thread" : " threads");
	line_str(&l, " could not be reached: see goroutine?debug=2");
	write_comment(w, text);
}

/* Says how many stacks end with a mark, and why. */
static void write_cuts(struct profile_writer *w, const struct profile_snapshot *now, const struct rows *rows)
{
	bool is_cpu = now->kind == PROFILE_CPU;
	int64_t count[CUTS] = {0}, all = 0;
	for (size_t i = 0; i < rows->count; i++) {
		const struct stack *s = rows->at[i].stack;
		int64_t n = is_cpu ? rows->at[i].value[0] : 1;
		count[s->depth ? cut_of(s->pc[s->depth - 1]) : CUT_NOT] += n;
		all += n;
	}
	for (int cut = CUT_NOT + 1; cut < CUTS; cut++) {
		char text[320];
		struct line l = LINE(text);
		if (!count[cut])
			continue;
		line_dec(&l, count[cut]);
		line_str(&l, " of ");
		line_dec(&l, all);
		line_str(&l, is_cpu ? " samples" : " stacks");
		line_str(&l, " end at [truncated]: ");
		line_str(&l, cut_reason((enum stack_cut)cut));
		write_comment(w, text);
	}
}

/* Says that stacks may lack functions which ended in a jump. */
static void write_doubt(struct profile_writer *w, size_t count, struct span first, const char *why)
{
	char text[512];
	struct line l = LINE(text);
	if (!count)
		return;
	line_dec(&l, (int64_t)count);
	line_str(&l, count == 1 ? " stack may lack" : " stacks may lack");
	line_str(&l, " functions that ended in a jump to another (tail calls), after a call of ");
	line_bytes(&l, first.at, first.len < sizeof text / 4 ? first.len : sizeof text / 4);
	line_str(&l, count == 1 ? ": " : ", first of all: ");
	line_str(&l, why);
	write_comment(w, text);
}

static void write_comments(struct profile_writer *w, const struct profile_snapshot *now, const struct rows *rows)
{
	for (size_t i = 0; now->kind == PROFILE_CPU && i < now->cpu.comment_count; i++)
		write_comment(w, now->cpu.comments[i]);
	write_unreached(w, rows->unreached);
	write_cuts(w, now, rows);
	const struct tails_doubts *tails = &w->names.tails;
	write_doubt(w, tails->ambiguous, tails->ambiguous_first, "there is more than one way");
	write_doubt(w, tails->unknown, tails->unknown_first, "its file has no debug information of the jump");
	if (w->names.note)
		write_comment(w, w->names.note);
	snapshot_losses(write_comment, w);
}

int profile_encode(struct region *r, struct out *o, const struct profile_snapshot *now,
                   const struct profile_snapshot *before, struct patience *patience)
{
	const struct kind *k = &kinds[now->kind];
	struct rows rows;
	struct profile_writer *w = region_alloc(r, sizeof *w);
	if (!w || rows_make(r, &rows, now, before) < 0)
		return -ENOMEM;
	profile_writer_start(w, r, o);
	if (names_begin(&w->names, r) < 0)
		return -ENOMEM;
	int rc = rows_complete(&rows, now->kind, &w->names, patience);
	if (rc == 0)
		rc = find_names(w, &rows, patience);
	if (rc < 0)
		return rc;
	if (gzip_begin(&w->gzip, r, o) < 0)
		return -ENOMEM;
	profile_text_id(w, ""); /* string_table[0] */
	write_types(w, k, (int64_t)rows.period);
	write_times(w, rows.time_ns, rows.duration_ns);
	for (size_t i = 0; i < rows.count && !pace(); i++)
		write_sample(w, &rows.at[i], k->values);
	write_locations(w);
	write_comments(w, now, &rows);
	gzip_end(&w->gzip);
	return w->failed || o->failed ? -ENOMEM : 0;
}
