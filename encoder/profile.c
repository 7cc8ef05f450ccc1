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

#include "encoder/gzip.h"
#include "encoder/intern.h"
#include "encoder/names.h"
#include "encoder/profile.pb-c.h"
#include "encoder/rows.h"
#include "encoder/utf8.h"
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

void encoder_start(void)
{
	names_start();
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

/* Which objects are worth a mapping: those that are loaded, and those with an address in the profile. */
static bool *find_used(struct writer *w, const struct site *sites, size_t count)
{
	struct module_list *l = &w->names.modules;
	bool *used = region_alloc(w->region, l->count + 1);
	for (size_t i = 0; used && i < l->count; i++)
		used[i] = !__atomic_load_n(&l->at[i]->gone, __ATOMIC_RELAXED);
	for (size_t i = 0; used && i < count; i++)
		for (size_t k = 0; sites[i].module && sites[i].module->gone && k < l->count; k++)
			used[k] |= l->at[k] == sites[i].module;
	return used;
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

/* What turns an address into its mapping's id: modules in the order of their list, each with the id of its first
 * segment; 0: it has none. */
static uint64_t *write_mappings(struct writer *w, const bool *used)
{
	struct module_list *l = &w->names.modules;
	uint64_t *first_id = region_alloc(w->region, (l->count + 1) * sizeof *first_id);
	uint64_t id = 0;
	for (size_t i = 0; first_id && i < l->count; i++) {
		const struct module *m = l->at[i];
		if (!used[i])
			continue;
		first_id[i] = id + 1;
		for (unsigned k = 0; k < m->text_count; k++) {
			Pprof__Mapping mapping = PPROF__MAPPING__INIT, *mappings = &mapping;
			mapping.id = ++id;
			mapping.memory_start = m->text[k].start & ~(uintptr_t)4095;
			mapping.memory_limit = (m->text[k].end + 4095) & ~(uintptr_t)4095;
			mapping.file_offset = m->text[k].file_offset & ~(uint64_t)4095;
			mapping.filename = string_id(w, names_path(&w->names, m));
			mapping.build_id = build_id_string(w, m);
			mapping.has_functions = true;
			Pprof__Profile p = PPROF__PROFILE__INIT;
			p.n_mapping = 1;
			p.mapping = &mappings;
			write_message(w, &p);
		}
	}
	return first_id;
}

static uint64_t mapping_id(struct writer *w, const uint64_t *first_id, const struct module *m, uintptr_t address)
{
	struct module_list *l = &w->names.modules;
	for (size_t i = l->count; m && i-- > 0;)
		if (l->at[i] == m && first_id[i])
			for (unsigned k = 0; k < m->text_count; k++)
				if (address >= m->text[k].start && address < m->text[k].end)
					return first_id[i] + k;
	return 0;
}

static uint64_t function_id(struct writer *w, struct span name)
{
	bool is_new;
	int64_t n = intern(&w->functions, w->region, name, &is_new);
	uint64_t id = (uint64_t)n + 1;
	if (n < 0)
		w->failed = true;
	if (n < 0 || !is_new)
		return id;
	Pprof__Function function = PPROF__FUNCTION__INIT, *functions = &function;
	function.id = id;
	function.name = function.system_name = string_id(w, name);
	Pprof__Profile p = PPROF__PROFILE__INIT;
	p.n_function = 1;
	p.function = &functions;
	write_message(w, &p);
	return id;
}

static void write_location(struct writer *w, uint64_t id, struct site site, const uint64_t *first_id)
{
	struct name name = names_of(&w->names, site);
	Pprof__Line line = PPROF__LINE__INIT, *lines = &line;
	Pprof__Location location = PPROF__LOCATION__INIT, *locations = &location;
	line.function_id = function_id(w, name.function);
	location.id = id;
	location.mapping_id = mapping_id(w, first_id, site.module, site.address);
	location.address = site.address;
	location.n_line = 1;
	location.line = &lines;
	Pprof__Profile p = PPROF__PROFILE__INIT;
	p.n_location = 1;
	p.location = &locations;
	write_message(w, &p);
}

static void write_locations(struct writer *w)
{
	size_t count = w->sites.count;
	struct site *sites = region_alloc(w->region, count * sizeof *sites + 1);
	if (!sites) {
		w->failed = true;
		return;
	}
	for (size_t i = 0; i < w->sites.cap; i++) {
		const struct intern_entry *e = &w->sites.entry[i];
		if (e->number_plus_1)
			memcpy(&sites[e->number_plus_1 - 1], e->key.at, sizeof *sites);
	}
	bool *used = find_used(w, sites, count);
	uint64_t *first_id = used ? write_mappings(w, used) : NULL;
	if (!first_id || names_prepare(&w->names, sites, count) < 0) {
		w->failed = true;
		return;
	}
	for (size_t i = 0; i < count; i++)
		write_location(w, i + 1, sites[i], first_id);
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
	snapshot_losses(write_comment, w);
}

int profile_encode(struct region *r, struct out *o, const struct profile_snapshot *now,
                   const struct profile_snapshot *before)
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
	write_locations(w);
	write_comments(w, now, &rows);
	gzip_end(&w->gzip);
	return w->failed || o->failed ? -ENOMEM : 0;
}
