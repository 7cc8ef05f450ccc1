/* profile.c - snapshots as pprof's protobuf (encoder/FORMATS.md), and what the kinds have in common.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * The profile is written as a series of small Profile messages, each with one sample, one location …: a protobuf reader
 * merges concatenated messages. So only one row is in memory at a time, and a string is written when it is first used.
 * The numbers of fields are those of profile.proto.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/encoder.h"

#include <errno.h>

#include "encoder/bytes/gzip.h"
#include "encoder/bytes/intern.h"
#include "encoder/bytes/protobuf.h"
#include "encoder/bytes/utf8.h"
#include "encoder/names/names.h"
#include "encoder/profile/rows.h"
#include "shim/base/pace.h"

enum { /* the numbers of fields */
       PROFILE_SAMPLE_TYPE = 1,
       PROFILE_SAMPLE = 2,
       PROFILE_MAPPING = 3,
       PROFILE_LOCATION = 4,
       PROFILE_FUNCTION = 5,
       PROFILE_STRING_TABLE = 6,
       PROFILE_DROP_FRAMES = 7,
       PROFILE_TIME_NANOS = 9,
       PROFILE_DURATION_NANOS = 10,
       PROFILE_PERIOD_TYPE = 11,
       PROFILE_PERIOD = 12,
       PROFILE_COMMENT = 13,
       PROFILE_DEFAULT_SAMPLE_TYPE = 14,

       VALUE_TYPE = 1,
       VALUE_UNIT = 2,

       SAMPLE_LOCATION_ID = 1,
       SAMPLE_VALUE = 2,
       SAMPLE_LABEL = 3,
       LABEL_KEY = 1,
       LABEL_STR = 2,
       LABEL_NUM = 3,

       MAPPING_ID = 1,
       MAPPING_START = 2,
       MAPPING_LIMIT = 3,
       MAPPING_OFFSET = 4,
       MAPPING_FILENAME = 5,
       MAPPING_BUILD_ID = 6,
       MAPPING_HAS_FUNCTIONS = 7,
       MAPPING_HAS_FILENAMES = 8,
       MAPPING_HAS_LINE_NUMBERS = 9,
       MAPPING_HAS_INLINE_FRAMES = 10,

       LOCATION_ID = 1,
       LOCATION_MAPPING_ID = 2,
       LOCATION_ADDRESS = 3,
       LOCATION_LINE = 4,
       LINE_FUNCTION_ID = 1,
       LINE_LINE = 2,

       FUNCTION_ID = 1,
       FUNCTION_NAME = 2,
       FUNCTION_SYSTEM_NAME = 3,
       FUNCTION_FILENAME = 4,
       FUNCTION_START_LINE = 5,
};

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

struct writer {
	struct region *region;
	struct gzip gzip;
	struct out *out;
	struct names names;
	struct intern strings, sites, functions;
	struct site *spare_site;             /* the next key of sites */
	struct site *site;                   /* by location id minus 1 */
	struct name *name;                   /* by location id minus 1 */
	struct function_key *spare_function; /* of functions */
	struct message profile, part, inner; /* a Profile, a message in it, and a message in that one */
	struct message location;             /* filled while functions and strings are written */
	struct message string;               /* a Profile of one string, written while others are filled */
	bool failed;
};

void encoder_start(const struct encoder_options *options)
{
	names_start(options);
}

/* Write a Profile message, or a piece of one, and empty it. */
static void write_message(struct writer *w, struct message *m)
{
	if (m->failed)
		w->failed = true;
	else
		gzip_bytes(&w->gzip, m->at, m->len);
	m->len = 0;
}

/* Write a Profile message of this one part. */
static void write_part(struct writer *w, unsigned field)
{
	message_part(&w->profile, field, &w->part);
	write_message(w, &w->profile);
}

static int64_t string_id(struct writer *w, struct span s)
{
	bool is_new;
	int64_t id = intern(&w->strings, w->region, s, &is_new);
	if (id < 0)
		w->failed = true;
	if (id < 0 || !is_new)
		return id;
	char *text = utf8_copy(w->region, s);
	if (!text) {
		w->failed = true;
		return 0;
	}
	message_str(&w->string, PROFILE_STRING_TABLE, text);
	write_message(w, &w->string);
	return id;
}

static int64_t text_id(struct writer *w, const char *s)
{
	return string_id(w, span_of(s));
}

static void put_type(struct writer *w, unsigned field, struct type t)
{
	message_number(&w->part, VALUE_TYPE, (uint64_t)text_id(w, t.name));
	message_number(&w->part, VALUE_UNIT, (uint64_t)text_id(w, t.unit));
	message_part(&w->profile, field, &w->part);
}

static void write_types(struct writer *w, const struct kind *k, int64_t period)
{
	for (size_t i = 0; i < k->values; i++)
		put_type(w, PROFILE_SAMPLE_TYPE, k->sample[i]);
	message_number(&w->profile, PROFILE_DROP_FRAMES, (uint64_t)text_id(w, k->drop));
	put_type(w, PROFILE_PERIOD_TYPE, k->period);
	message_number(&w->profile, PROFILE_PERIOD, (uint64_t)period);
	if (k->preset)
		message_number(&w->profile, PROFILE_DEFAULT_SAMPLE_TYPE, (uint64_t)text_id(w, k->preset));
	write_message(w, &w->profile);
}

static void write_comment(void *arg, const char *line)
{
	struct writer *w = arg;
	uint64_t id = (uint64_t)text_id(w, line);
	message_packed(&w->profile, PROFILE_COMMENT, &id, 1);
	write_message(w, &w->profile);
}

/* Returns the id of a location. Ids follow the order in which addresses appear; the locations themselves are written
 * after the samples. */
static uint64_t location_id(struct writer *w, uintptr_t address, uint64_t place)
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

static void put_label(struct writer *w, const char *key, const char *text, int64_t number)
{
	message_number(&w->inner, LABEL_KEY, (uint64_t)text_id(w, key));
	message_number(&w->inner, LABEL_STR, (uint64_t)text_id(w, text));
	message_number(&w->inner, LABEL_NUM, (uint64_t)number);
	message_part(&w->part, SAMPLE_LABEL, &w->inner);
}

static void put_labels(struct writer *w, const struct row *row)
{
	if (row->class_bytes)
		put_label(w, "bytes", "", (int64_t)row->class_bytes);
	if (row->thread && row->thread[0])
		put_label(w, "thread", row->thread, 0);
	if (row->tid)
		put_label(w, "tid", "", row->tid);
}

static void write_sample(struct writer *w, const struct row *row, size_t values)
{
	uint64_t ids[row->stack->depth + 1];
	for (size_t i = 0; i < row->stack->depth; i++)
		ids[i] = location_id(w, row->stack->pc[i], row->stack->place);
	message_packed(&w->part, SAMPLE_LOCATION_ID, ids, row->stack->depth);
	message_packed(&w->part, SAMPLE_VALUE, (const uint64_t *)row->value, values);
	put_labels(w, row);
	write_part(w, PROFILE_SAMPLE);
}

/* What is known about the addresses in one mapped object. */
struct knowledge {
	bool used;
	bool files, lines, inlines;
	uint64_t first_id; /* of its first segment's mapping; 0: it has none */
};

/* The mappings of the profile: one for each module, in their order, and one for each piece of code that has no file or
 * is mapped a second time. */
struct mappings {
	struct knowledge *of_module;
	struct intern extra;          /* struct map */
	const struct map **extra_map; /* by its number there: readers want ids in the order of the file */
	uint64_t extra_first_id;
};

static const struct map *extra_map(const struct writer *w, struct site site)
{
	const struct map *map = names_jit_map(&w->names, site);
	return map ? map : names_second_map(&w->names, site);
}

static size_t module_index(const struct writer *w, const struct module *m)
{
	const struct module_list *l = &w->names.modules;
	size_t i = 0;
	while (i < l->count && l->at[i] != m)
		i++;
	return i;
}

static void learn(struct knowledge *k, const struct name *name)
{
	k->used = true;
	k->inlines |= name->count > 1;
	for (size_t i = 0; i < name->count; i++) {
		k->files |= name->frame[i].file.len > 0;
		k->lines |= name->frame[i].line > 0;
	}
}

/* Find the objects that get a mapping: those that are loaded, and those with an address in the profile. */
static bool find_used(struct writer *w, struct mappings *ms, const struct site *sites, const struct name *names,
                      size_t count)
{
	struct module_list *l = &w->names.modules;
	const struct module *last = NULL;
	size_t index = 0;
	ms->of_module = region_alloc(w->region, (l->count + 1) * sizeof *ms->of_module);
	for (size_t i = 0; ms->of_module && i < l->count; i++)
		ms->of_module[i].used = !module_is_gone(l->at[i]);
	for (size_t i = 0; ms->of_module && i < count; i++) {
		if (!sites[i].module)
			continue;
		if (sites[i].module != last)
			index = module_index(w, last = sites[i].module);
		learn(&ms->of_module[index],
		      &names[i]); /* a module that was loaded meanwhile is beyond the end of the list */
	}
	return ms->of_module != NULL;
}

/* Number the pieces of code that get a mapping of their own, in the order in which they appear. False: no memory. */
static bool find_extra(struct writer *w, struct mappings *ms, const struct site *sites, size_t count)
{
	ms->extra_map = region_alloc(w->region, count * sizeof *ms->extra_map + 1);
	for (size_t i = 0; ms->extra_map && i < count; i++) {
		const struct map *map = extra_map(w, sites[i]);
		bool is_new = false;
		int64_t n = 0;
		if (map)
			n = intern(&ms->extra, w->region, (struct span){(const char *)map, sizeof *map}, &is_new);
		if (n < 0)
			return false;
		if (is_new)
			ms->extra_map[n] = map;
	}
	return ms->extra_map != NULL;
}

static int64_t build_id_string(struct writer *w, const struct module *m)
{
	char *hex = region_alloc(w->region, 2 * sizeof m->build_id + 1);
	for (unsigned i = 0; hex && i < m->build_id_len; i++) {
		hex[2 * i] = "0123456789abcdef"[m->build_id[i] >> 4];
		hex[2 * i + 1] = "0123456789abcdef"[m->build_id[i] & 15];
	}
	return hex ? text_id(w, hex) : 0;
}

/* A mapping. k: what is known about its functions; NULL: nothing. */
struct mapping {
	uint64_t id, start, limit, offset;
	int64_t filename, build_id;
	const struct knowledge *k;
};

static void write_mapping(struct writer *w, const struct mapping *m)
{
	struct message *part = &w->part;
	message_number(part, MAPPING_ID, m->id);
	message_number(part, MAPPING_START, m->start);
	message_number(part, MAPPING_LIMIT, m->limit);
	message_number(part, MAPPING_OFFSET, m->offset);
	message_number(part, MAPPING_FILENAME, (uint64_t)m->filename);
	message_number(part, MAPPING_BUILD_ID, (uint64_t)m->build_id);
	message_number(part, MAPPING_HAS_FUNCTIONS, true);
	message_number(part, MAPPING_HAS_FILENAMES, m->k && m->k->files);
	message_number(part, MAPPING_HAS_LINE_NUMBERS, m->k && m->k->lines);
	message_number(part, MAPPING_HAS_INLINE_FRAMES, m->k && m->k->inlines);
	write_part(w, PROFILE_MAPPING);
}

static void write_module(struct writer *w, const struct module *m, const struct knowledge *k)
{
	for (unsigned i = 0; i < m->text_count; i++)
		write_mapping(w, &(struct mapping){
					 .id = k->first_id + i,
					 .start = m->text[i].start & ~(uintptr_t)4095,
					 .limit = (m->text[i].end + 4095) & ~(uintptr_t)4095,
					 .offset = m->text[i].file_offset & ~(uint64_t)4095,
					 .filename = string_id(w, names_shown_path(&w->names, m)),
					 .build_id = build_id_string(w, m),
					 .k = k,
				 });
}

static void write_extra(struct writer *w, const struct mappings *ms, const struct map *map, uint64_t id)
{
	struct site site = names_site_now(&w->names, map->start);
	struct mapping mapping = {.id = id, .start = map->start, .limit = map->end};
	mapping.filename = site.module ? string_id(w, map->path) : text_id(w, "[jit]");
	if (site.module) {
		mapping.k = &ms->of_module[module_index(w, site.module)];
		mapping.offset = map->offset;
		mapping.build_id = build_id_string(w, site.module);
	}
	write_mapping(w, &mapping);
}

/* Write the modules' mappings in the order of their list; the program is the first. */
static void write_mappings(struct writer *w, struct mappings *ms)
{
	struct module_list *l = &w->names.modules;
	uint64_t id = 1;
	for (size_t i = 0; i < l->count; i++) {
		struct knowledge *k = &ms->of_module[i];
		if (!k->used)
			continue;
		k->first_id = id;
		write_module(w, l->at[i], k);
		id += l->at[i]->text_count;
	}
	ms->extra_first_id = id;
	for (size_t i = 0; i < ms->extra.count; i++)
		write_extra(w, ms, ms->extra_map[i], id + i);
}

/* Returns the id of a site's mapping; 0: it lies in none. */
static uint64_t mapping_id(struct writer *w, struct mappings *ms, struct site site)
{
	const struct module *m = site.module;
	const struct map *map = extra_map(w, site);
	bool is_new;
	if (map)
		return ms->extra_first_id +
		       (uint64_t)intern(&ms->extra, w->region, (struct span){(const char *)map, sizeof *map}, &is_new);
	uint64_t first_id = m ? ms->of_module[module_index(w, m)].first_id : 0;
	for (unsigned k = 0; first_id && k < m->text_count; k++)
		if (site.address >= m->text[k].start && site.address < m->text[k].end)
			return first_id + k;
	return 0;
}

/* Functions with an equal key are the same. Strings are given by their ids. */
struct function_key {
	int64_t name, system, file, start_line;
};

static uint64_t function_id(struct writer *w, const struct name_frame *f)
{
	struct function_key *key = w->spare_function ? w->spare_function : region_alloc(w->region, sizeof *key);
	bool is_new;
	w->spare_function = key;
	if (!key) {
		w->failed = true;
		return 0;
	}
	*key = (struct function_key){string_id(w, f->function), string_id(w, f->system), string_id(w, f->file),
	                             f->start_line};
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
	write_part(w, PROFILE_FUNCTION);
	return id;
}

static void write_location(struct writer *w, uint64_t id, uint64_t mapping, uint64_t address, const struct name *name)
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
	write_message(w, &w->profile);
}

static struct site *list_sites(struct writer *w)
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
static int find_names(struct writer *w, const struct rows *rows, struct patience *patience)
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

static void write_locations(struct writer *w)
{
	struct mappings ms = {0};
	size_t count = w->sites.count;
	if (!find_used(w, &ms, w->site, w->name, count) || !find_extra(w, &ms, w->site, count)) {
		w->failed = true;
		return;
	}
	write_mappings(w, &ms);
	for (size_t i = 0; i < count && !pace(); i++)
		write_location(w, i + 1, mapping_id(w, &ms, w->site[i]), w->site[i].address, &w->name[i]);
}

static void write_times(struct writer *w, uint64_t time_ns, uint64_t duration_ns)
{
	message_number(&w->profile, PROFILE_TIME_NANOS, time_ns);
	message_number(&w->profile, PROFILE_DURATION_NANOS, duration_ns);
	write_message(w, &w->profile);
}

static void write_unreached(struct writer *w, size_t count)
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
static void write_cuts(struct writer *w, const struct profile_snapshot *now, const struct rows *rows)
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

static void write_comments(struct writer *w, const struct profile_snapshot *now, const struct rows *rows)
{
	for (size_t i = 0; now->kind == PROFILE_CPU && i < now->cpu.comment_count; i++)
		write_comment(w, now->cpu.comments[i]);
	write_unreached(w, rows->unreached);
	write_cuts(w, now, rows);
	if (w->names.note)
		write_comment(w, w->names.note);
	snapshot_losses(write_comment, w);
}

static void start_messages(struct writer *w)
{
	struct message *all[] = {&w->profile, &w->part, &w->inner, &w->location, &w->string};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		message_init(all[i], w->region);
}

int profile_encode(struct region *r, struct out *o, const struct profile_snapshot *now,
                   const struct profile_snapshot *before, struct patience *patience)
{
	const struct kind *k = &kinds[now->kind];
	struct rows rows;
	struct writer *w = region_alloc(r, sizeof *w);
	if (!w || rows_make(r, &rows, now, before) < 0)
		return -ENOMEM;
	w->region = r;
	w->out = o;
	start_messages(w);
	if (names_begin(&w->names, r) < 0)
		return -ENOMEM;
	int rc = rows_complete(&rows, now->kind, &w->names, patience);
	if (rc == 0)
		rc = find_names(w, &rows, patience);
	if (rc < 0)
		return rc;
	if (gzip_begin(&w->gzip, r, o) < 0)
		return -ENOMEM;
	text_id(w, ""); /* string_table[0] */
	write_types(w, k, (int64_t)rows.period);
	write_times(w, rows.time_ns, rows.duration_ns);
	for (size_t i = 0; i < rows.count && !pace(); i++)
		write_sample(w, &rows.at[i], k->values);
	write_locations(w);
	write_comments(w, now, &rows);
	gzip_end(&w->gzip);
	return w->failed || o->failed ? -ENOMEM : 0;
}
