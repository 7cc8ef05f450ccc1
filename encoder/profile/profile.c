/* profile.c - snapshots as pprof's protobuf (PPROF-SPEC section 2), and what the kinds have in common.
 *
 * Runs in: listener. All memory from the request's region; protobuf-c packs into buffers of ours.
 *
 * The message is written as a series of small Profile messages, each with one sample, one location …: protobuf defines
 * that concatenated messages are merged. So only one row is in memory at a time, and a string is written
 * when it is first used.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/encoder.h"

#include <errno.h>

#include "encoder/bytes/gzip.h"
#include "encoder/bytes/intern.h"
#include "encoder/names/names.h"
#include "encoder/profile/profile.pb-c.h"
#include "encoder/profile/rows.h"
#include "encoder/bytes/utf8.h"
#include "shim/os.h"

/* Frames of allocators, to be cut off below the program's own call. Anchored by pprof; on names without
 * parameters. */
static const char drop_frames[] =
    "operator new(\\[\\])?|operator new(\\[\\])?\\(.*\\)|_Znwm|_Znam|_Zn[wa]mSt.*|_Zn[wa]mRKSt.*"
    "|std::allocator<.*>::allocate.*|std::allocator::allocate.*|std::allocator_traits.*::allocate.*"
    "|(std::__|__gnu_cxx::)new_allocator.*::allocate.*|std::__allocate_guarded.*|std::_Vector_base.*::_M_allocate.*";

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
#define HEAP_TYPES {{"alloc_objects", "count"}, {"alloc_space", "bytes"}, {"inuse_objects", "count"}, {"inuse_space", "bytes"}}
    [PROFILE_HEAP] = {HEAP_TYPES, 4, {"space", "bytes"}, "inuse_space", drop_frames},
    [PROFILE_ALLOCS] = {HEAP_TYPES, 4, {"space", "bytes"}, "alloc_space", drop_frames},
    [PROFILE_THREADCREATE] = {{{"threadcreate", "count"}}, 1, {"threadcreate", "count"}, NULL, ""},
    [PROFILE_GOROUTINE] = {{{"goroutine", "count"}}, 1, {"goroutine", "count"}, NULL, ""},
#define CONTENTION_TYPES {{"contentions", "count"}, {"delay", "nanoseconds"}}
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
	struct site *spare_site; /* the next key of sites */
	struct function_key *spare_function; /* … of functions */
	uint8_t *buf;            /* for one packed message */
	size_t buf_cap;
	bool failed;
};

int profile_take(struct region *r, enum profile_kind kind, struct profile_snapshot *s)
{
	s->kind = kind;
	s->mono_ns = os_clock_ns(CLOCK_MONOTONIC);
	switch (kind) {
	case PROFILE_HEAP:
	case PROFILE_ALLOCS:
		return snapshot_heap(r, &s->heap);
	case PROFILE_THREADCREATE:
		return snapshot_threads(r, &s->threads);
	case PROFILE_GOROUTINE:
		return snapshot_dump(r, &s->dump);
	case PROFILE_BLOCK:
		return snapshot_contention(r, CONTENTION_BLOCK, &s->contention);
	case PROFILE_MUTEX:
		return snapshot_contention(r, CONTENTION_MUTEX, &s->contention);
	case PROFILE_CPU:
		break;
	}
	return -EINVAL;
}

void encoder_start(const struct encoder_options *options)
{
	names_start(options);
}

static void write_message(struct writer *w, const Pprof__Profile *p)
{
	size_t need = pprof__profile__get_packed_size(p);
	if (need > w->buf_cap) {
		w->buf = region_alloc(w->region, need * 2);
		w->buf_cap = w->buf ? need * 2 : 0;
	}
	if (!w->buf) {
		w->failed = true;
		return;
	}
	gzip_bytes(&w->gzip, w->buf, pprof__profile__pack(p, w->buf));
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
	Pprof__Profile p = PPROF__PROFILE__INIT;
	p.n_string_table = 1;
	p.string_table = &text;
	write_message(w, &p);
	return id;
}

static int64_t text_id(struct writer *w, const char *s)
{
	return string_id(w, span_of(s));
}

static void write_types(struct writer *w, const struct kind *k, int64_t period)
{
	Pprof__ValueType sample[4], *list[4];
	for (size_t i = 0; i < k->values; i++) {
		sample[i] = (Pprof__ValueType)PPROF__VALUE_TYPE__INIT;
		sample[i].type = text_id(w, k->sample[i].name);
		sample[i].unit = text_id(w, k->sample[i].unit);
		list[i] = &sample[i];
	}
	Pprof__ValueType period_type = PPROF__VALUE_TYPE__INIT;
	period_type.type = text_id(w, k->period.name);
	period_type.unit = text_id(w, k->period.unit);
	Pprof__Profile p = PPROF__PROFILE__INIT;
	p.n_sample_type = k->values;
	p.sample_type = list;
	p.period_type = &period_type;
	p.period = period;
	p.drop_frames = text_id(w, k->drop);
	if (k->preset)
		p.default_sample_type = text_id(w, k->preset);
	write_message(w, &p);
}

static void write_comment(void *arg, const char *line)
{
	struct writer *w = arg;
	int64_t id = text_id(w, line);
	Pprof__Profile p = PPROF__PROFILE__INIT;
	p.n_comment = 1;
	p.comment = &id;
	write_message(w, &p);
}

/* Location ids are given out as addresses turn up; the locations themselves are written at the end. */
static uint64_t location_id(struct writer *w, uintptr_t address, unsigned place)
{
	bool is_new;
	int64_t n = -1;
	if (!w->spare_site)
		w->spare_site = region_alloc(w->region, sizeof *w->spare_site);
	if (w->spare_site) {
		*w->spare_site = names_site(&w->names, address, place);
		n = intern(&w->sites, w->region, (struct span){(const char *)w->spare_site, sizeof *w->spare_site}, &is_new);
	}
	if (n < 0)
		w->failed = true;
	else if (is_new)
		w->spare_site = NULL; /* it is the table's now */
	return (uint64_t)n + 1;
}

struct labels {
	size_t count;
	Pprof__Label label[3], *list[3];
};

static void add_label(struct writer *w, struct labels *l, const char *key, const char *text, int64_t number)
{
	Pprof__Label *label = l->list[l->count] = &l->label[l->count];
	l->count++;
	*label = (Pprof__Label)PPROF__LABEL__INIT;
	label->key = text_id(w, key);
	label->str = text_id(w, text);
	label->num = number;
}

static void find_labels(struct writer *w, struct labels *l, const struct row *row)
{
	if (row->class_bytes)
		add_label(w, l, "bytes", "", (int64_t)row->class_bytes);
	if (row->thread && row->thread[0])
		add_label(w, l, "thread", row->thread, 0);
	if (row->tid)
		add_label(w, l, "tid", "", row->tid);
}

static void write_sample(struct writer *w, const struct row *row, size_t values)
{
	struct labels labels = {0};
	Pprof__Sample sample = PPROF__SAMPLE__INIT, *samples = &sample;
	uint64_t ids[row->stack->depth + 1];
	for (size_t i = 0; i < row->stack->depth; i++)
		ids[i] = location_id(w, row->stack->pc[i], row->stack->place);
	sample.n_location_id = row->stack->depth;
	sample.location_id = ids;
	sample.n_value = values;
	sample.value = (int64_t *)row->value;
	find_labels(w, &labels, row);
	sample.n_label = labels.count;
	sample.label = labels.list;
	Pprof__Profile p = PPROF__PROFILE__INIT;
	p.n_sample = 1;
	p.sample = &samples;
	write_message(w, &p);
}

/* What is known of the addresses in one mapped object. */
struct knowledge {
	bool used;
	bool files, lines, inlines;
	uint64_t first_id; /* of its first segment's mapping; 0: it has none */
};

/* The mappings of the profile: one for each module, in their order; one for each piece of code without a file, or that is mapped
 * once more. */
struct mappings {
	struct knowledge *of_module;
	struct intern extra; /* struct map */
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

/* Which objects are worth a mapping: those that are loaded, and those with an address in the profile. */
static bool find_used(struct writer *w, struct mappings *ms, const struct site *sites, const struct name *names, size_t count)
{
	struct module_list *l = &w->names.modules;
	const struct module *last = NULL;
	size_t index = 0;
	ms->of_module = region_alloc(w->region, (l->count + 1) * sizeof *ms->of_module);
	for (size_t i = 0; ms->of_module && i < l->count; i++)
		ms->of_module[i].used = !__atomic_load_n(&l->at[i]->gone, __ATOMIC_RELAXED);
	for (size_t i = 0; ms->of_module && i < count; i++) {
		if (!sites[i].module)
			continue;
		if (sites[i].module != last)
			index = module_index(w, last = sites[i].module);
		learn(&ms->of_module[index], &names[i]); /* one beyond the list: of a module that was loaded meanwhile */
	}
	for (size_t i = 0; ms->of_module && i < count; i++) {
		const struct map *map = extra_map(w, sites[i]);
		bool is_new;
		if (map && intern(&ms->extra, w->region, (struct span){(const char *)map, sizeof *map}, &is_new) < 0)
			return false;
	}
	return ms->of_module != NULL;
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

static void write_mapping(struct writer *w, Pprof__Mapping *mapping)
{
	Pprof__Profile p = PPROF__PROFILE__INIT;
	mapping->has_functions = true;
	p.n_mapping = 1;
	p.mapping = &mapping;
	write_message(w, &p);
}

static void write_module(struct writer *w, const struct module *m, const struct knowledge *k)
{
	for (unsigned i = 0; i < m->text_count; i++) {
		Pprof__Mapping mapping = PPROF__MAPPING__INIT;
		mapping.id = k->first_id + i;
		mapping.memory_start = m->text[i].start & ~(uintptr_t)4095;
		mapping.memory_limit = (m->text[i].end + 4095) & ~(uintptr_t)4095;
		mapping.file_offset = m->text[i].file_offset & ~(uint64_t)4095;
		mapping.filename = string_id(w, names_path(&w->names, m));
		mapping.build_id = build_id_string(w, m);
		mapping.has_filenames = k->files;
		mapping.has_line_numbers = k->lines;
		mapping.has_inline_frames = k->inlines;
		write_mapping(w, &mapping);
	}
}

static void write_extra(struct writer *w, const struct mappings *ms, const struct map *map, uint64_t id)
{
	struct site site = names_site_now(&w->names, map->start);
	Pprof__Mapping mapping = PPROF__MAPPING__INIT;
	mapping.id = id;
	mapping.memory_start = map->start;
	mapping.memory_limit = map->end;
	mapping.filename = site.module ? string_id(w, map->path) : text_id(w, "[jit]");
	if (site.module) {
		const struct knowledge *k = &ms->of_module[module_index(w, site.module)];
		mapping.file_offset = map->offset;
		mapping.build_id = build_id_string(w, site.module);
		mapping.has_filenames = k->files;
		mapping.has_line_numbers = k->lines;
		mapping.has_inline_frames = k->inlines;
	}
	write_mapping(w, &mapping);
}

/* Modules in the order of their list; the program is the first. */
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
	for (size_t i = 0; i < ms->extra.cap; i++) {
		const struct intern_entry *e = &ms->extra.entry[i];
		if (e->number_plus_1)
			write_extra(w, ms, (const struct map *)(const void *)e->key.at, id + e->number_plus_1 - 1);
	}
}

/* 0: it lies in no mapping. */
static uint64_t mapping_id(struct writer *w, struct mappings *ms, struct site site)
{
	const struct module *m = site.module;
	const struct map *map = extra_map(w, site);
	bool is_new;
	if (map)
		return ms->extra_first_id + (uint64_t)intern(&ms->extra, w->region, (struct span){(const char *)map, sizeof *map}, &is_new);
	uint64_t first_id = m ? ms->of_module[module_index(w, m)].first_id : 0;
	for (unsigned k = 0; first_id && k < m->text_count; k++)
		if (site.address >= m->text[k].start && site.address < m->text[k].end)
			return first_id + k;
	return 0;
}

/* What tells functions apart: strings by their ids. */
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
	*key = (struct function_key){string_id(w, f->function), string_id(w, f->system), string_id(w, f->file), f->start_line};
	int64_t n = intern(&w->functions, w->region, (struct span){(const char *)key, sizeof *key}, &is_new);
	uint64_t id = (uint64_t)n + 1;
	if (n < 0)
		w->failed = true;
	if (n < 0 || !is_new)
		return id;
	w->spare_function = NULL; /* it is the table's now */
	Pprof__Function function = PPROF__FUNCTION__INIT, *functions = &function;
	function.id = id;
	function.name = key->name;
	function.system_name = key->system;
	function.filename = key->file;
	function.start_line = key->start_line;
	Pprof__Profile p = PPROF__PROFILE__INIT;
	p.n_function = 1;
	p.function = &functions;
	write_message(w, &p);
	return id;
}

static void write_location(struct writer *w, Pprof__Location *location, const struct name *name)
{
	Pprof__Line *line = region_alloc(w->region, name->count * sizeof *line);
	Pprof__Line **lines = region_alloc(w->region, name->count * sizeof *lines);
	if (!line || !lines) {
		w->failed = true;
		return;
	}
	for (size_t i = 0; i < name->count; i++) {
		line[i] = (Pprof__Line)PPROF__LINE__INIT;
		line[i].function_id = function_id(w, &name->frame[i]);
		line[i].line = name->frame[i].line;
		lines[i] = &line[i];
	}
	location->n_line = name->count;
	location->line = lines;
	Pprof__Profile p = PPROF__PROFILE__INIT;
	p.n_location = 1;
	p.location = &location;
	write_message(w, &p);
}

static struct site *find_sites(struct writer *w)
{
	struct site *sites = region_alloc(w->region, w->sites.count * sizeof *sites + 1);
	for (size_t i = 0; sites && i < w->sites.cap; i++) {
		const struct intern_entry *e = &w->sites.entry[i];
		if (e->number_plus_1)
			memcpy(&sites[e->number_plus_1 - 1], e->key.at, sizeof *sites);
	}
	return sites;
}

/* 0, -ENOMEM, or -EAGAIN. */
static int write_locations(struct writer *w, struct patience *patience)
{
	struct mappings ms = {0};
	size_t count = w->sites.count;
	struct site *sites = find_sites(w);
	struct name *names = region_alloc(w->region, count * sizeof *names + 1);
	int r = sites && names ? names_prepare(&w->names, sites, count, patience) : -ENOMEM;
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++)
		names[i] = names_of(&w->names, sites[i]);
	if (!find_used(w, &ms, sites, names, count))
		return -ENOMEM;
	write_mappings(w, &ms);
	for (size_t i = 0; i < count; i++) {
		Pprof__Location location = PPROF__LOCATION__INIT;
		location.id = i + 1;
		location.mapping_id = mapping_id(w, &ms, sites[i]);
		location.address = sites[i].address;
		write_location(w, &location, &names[i]);
	}
	return 0;
}

static void write_times(struct writer *w, uint64_t time_ns, uint64_t duration_ns)
{
	Pprof__Profile p = PPROF__PROFILE__INIT;
	p.time_nanos = (int64_t)time_ns;
	p.duration_nanos = (int64_t)duration_ns;
	write_message(w, &p);
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

static void write_comments(struct writer *w, const struct profile_snapshot *now, const struct rows *rows)
{
	for (size_t i = 0; now->kind == PROFILE_CPU && i < now->cpu.comment_count; i++)
		write_comment(w, now->cpu.comments[i]);
	write_unreached(w, rows->unreached);
	if (w->names.note)
		write_comment(w, w->names.note);
	snapshot_losses(write_comment, w);
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
	if (gzip_begin(&w->gzip, r, o) < 0 || names_begin(&w->names, r) < 0)
		return -ENOMEM;
	text_id(w, ""); /* string_table[0] */
	write_types(w, k, (int64_t)rows.period);
	write_times(w, rows.time_ns, rows.duration_ns);
	for (size_t i = 0; i < rows.count; i++)
		write_sample(w, &rows.at[i], k->values);
	int rc = write_locations(w, patience);
	if (rc < 0)
		return rc;
	write_comments(w, now, &rows);
	gzip_end(&w->gzip);
	return w->failed || o->failed ? -ENOMEM : 0;
}
