/* mappings.c - the mappings of a profile: what lies where, and what is known about the functions there.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/profile/mappings.h"

#include <errno.h>

/* What is known about the addresses in one mapped object. */
struct knowledge {
	bool used;
	bool files, lines, inlines;
	uint64_t first_id; /* of its first segment's mapping; 0: it has none */
};

static const struct map *extra_map(const struct profile_writer *w, struct site site)
{
	const struct map *map = names_jit_map(&w->names, site);
	return map ? map : names_second_map(&w->names, site);
}

static size_t module_index(const struct profile_writer *w, const struct module *m)
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
static bool find_used(struct profile_writer *w, struct mappings *ms, const struct site *sites, const struct name *names,
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
static bool find_extra(struct profile_writer *w, struct mappings *ms, const struct site *sites, size_t count)
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

int mappings_find(struct profile_writer *w, struct mappings *ms, const struct site *sites, const struct name *names,
                  size_t count)
{
	return find_used(w, ms, sites, names, count) && find_extra(w, ms, sites, count) ? 0 : -ENOMEM;
}

static int64_t build_id_string(struct profile_writer *w, const struct module *m)
{
	char *hex = region_alloc(w->region, 2 * sizeof m->build_id + 1);
	for (unsigned i = 0; hex && i < m->build_id_len; i++) {
		hex[2 * i] = "0123456789abcdef"[m->build_id[i] >> 4];
		hex[2 * i + 1] = "0123456789abcdef"[m->build_id[i] & 15];
	}
	return hex ? profile_text_id(w, hex) : 0;
}

/* A mapping. k: what is known about its functions; NULL: nothing. */
struct mapping {
	uint64_t id, start, limit, offset;
	int64_t filename, build_id;
	const struct knowledge *k;
};

static void write_mapping(struct profile_writer *w, const struct mapping *m)
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
	profile_write_part(w, PROFILE_MAPPING);
}

static void write_module(struct profile_writer *w, const struct module *m, const struct knowledge *k)
{
	for (unsigned i = 0; i < m->text_count; i++)
		write_mapping(w, &(struct mapping){
					 .id = k->first_id + i,
					 .start = m->text[i].start & ~(uintptr_t)4095,
					 .limit = (m->text[i].end + 4095) & ~(uintptr_t)4095,
					 .offset = m->text[i].file_offset & ~(uint64_t)4095,
					 .filename = profile_string_id(w, names_shown_path(&w->names, m)),
					 .build_id = build_id_string(w, m),
					 .k = k,
				 });
}

static void write_extra(struct profile_writer *w, const struct mappings *ms, const struct map *map, uint64_t id)
{
	struct site site = names_site_now(&w->names, map->start);
	struct mapping mapping = {.id = id, .start = map->start, .limit = map->end};
	mapping.filename = site.module ? profile_string_id(w, map->path) : profile_text_id(w, "[jit]");
	if (site.module) {
		mapping.k = &ms->of_module[module_index(w, site.module)];
		mapping.offset = map->offset;
		mapping.build_id = build_id_string(w, site.module);
	}
	write_mapping(w, &mapping);
}

void mappings_write(struct profile_writer *w, struct mappings *ms)
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

uint64_t mappings_id(struct profile_writer *w, struct mappings *ms, struct site site)
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
