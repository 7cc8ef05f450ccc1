/* site.c - which object an address lies in, and where in its file.
 *
 * Runs in: listener. No lock; reads the list of objects, which is never freed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "encoder/names/names.h"

static bool holds(const struct module *m, uintptr_t address)
{
	for (unsigned i = 0; i < m->text_count; i++)
		if (address >= m->text[i].start && address < m->text[i].end)
			return true;
	return false;
}

/* Find the object of code that was mapped a second time, not by the loader. */
static struct site find_twin(const struct names *n, uintptr_t address)
{
	const struct map *map = maps_find(&n->maps, address);
	for (size_t i = 0; map && map->path.len && i < n->modules.count; i++) {
		const struct module *m = n->modules.at[i];
		struct span path = names_path(n, m);
		if (path.len != map->path.len || memcmp(path.at, map->path.at, path.len) != 0)
			continue;
		uint64_t offset = map->offset + (address - map->start);
		for (unsigned k = 0; k < m->text_count; k++)
			if (offset >= m->text[k].file_offset &&
			    offset - m->text[k].file_offset < m->text[k].end - m->text[k].start)
				return (struct site){address, m, m->text[k].start + (offset - m->text[k].file_offset)};
	}
	return (struct site){.address = address};
}

uint64_t names_file_address(struct site site)
{
	return (site.home ? site.home : site.address) - (site.module ? site.module->bias : 0);
}

const struct map *names_jit_map(const struct names *n, struct site site)
{
	const struct map *map = site.module ? NULL : maps_find(&n->maps, site.address);
	return map && !maps_is_object(map) ? map : NULL;
}

const struct map *names_second_map(const struct names *n, struct site site)
{
	return site.home ? maps_find(&n->maps, site.address) : NULL;
}

struct site names_site_now(const struct names *n, uintptr_t address)
{
	const struct module *once = NULL;
	for (size_t i = n->modules.count; i-- > 0;) {
		const struct module *m = n->modules.at[i];
		if (!holds(m, address))
			continue;
		if (!module_is_gone(m))
			return (struct site){.address = address, .module = m};
		once = once ? once : m;
	}
	return once ? (struct site){.address = address, .module = once} : find_twin(n, address);
}

struct site names_site(const struct names *n, uintptr_t address, uint64_t place)
{
	for (int half = 0; place && half < 2; half++) {
		size_t i = place_module(place, half);
		if (i && i <= n->modules.count && holds(n->modules.at[i - 1], address))
			return (struct site){.address = address, .module = n->modules.at[i - 1]};
	}
	for (size_t i = 0; i < n->modules.count; i++)
		if (holds(n->modules.at[i], address))
			return (struct site){.address = address, .module = n->modules.at[i]};
	return names_site_now(n, address);
}

/* Finds a mapping of an object's file. Programs copy their text to other memory, for huge pages, and mostly leave the
 * rest where it was. */
static const struct map *find_file(const struct maps *maps, const struct module *m)
{
	const struct map *map = maps_first_above(maps, m->start), *text = NULL;
	for (; map < maps->at + maps->count && map->start < m->end; map++) {
		if (!maps_is_object(map))
			continue;
		if (!holds(m, map->start))
			return map;
		text = text ? text : map;
	}
	return text;
}

struct span names_path(const struct names *n, const struct module *m)
{
	const struct map *map = module_is_gone(m) ? NULL : find_file(&n->maps, m);
	if (map)
		return map->path;
	return m->path[0] ? span_of(m->path) : n->executable;
}

struct span names_shown_path(const struct names *n, const struct module *m)
{
	return n->program.len && m == n->modules.at[0] ? n->program : names_path(n, m);
}
