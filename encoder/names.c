/* names.c - function names for addresses of this process.
 *
 * Runs in: listener. One owner, no lock; the cache is static and the listener's alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names.h"

#include "encoder/elf_symbols.h"
#include "encoder/sort.h"
#include "encoder/utf8.h"
#include "shim/os.h"

enum { SLOTS = 2048, CACHED_MAX = 100 * 1000 };

struct cached {
	struct cached *next;
	const struct module *module; /* with the address: another object may come to lie there */
	uintptr_t address;
	uintptr_t start;
	struct span function; /* empty: there is none */
};

static struct {
	struct region region;
	size_t count;
} cache;
static struct cached *cache_slot[SLOTS]; /* of addresses */

static void forget(void)
{
	memset(cache_slot, 0, sizeof cache_slot);
	cache.count = 0;
	region_release(&cache.region);
}

void names_start(void)
{
	if (cache.count)
		forget();
}

static struct cached **slot_of(uintptr_t address)
{
	return &cache_slot[(address * 0x9e3779b97f4a7c15u >> 32) % SLOTS];
}

static const struct cached *find_cached(const struct module *m, uintptr_t address)
{
	const struct cached *c = *slot_of(address);
	while (c && (c->address != address || c->module != m))
		c = c->next;
	return c;
}

static void add_cached(const struct module *m, const struct elf_query *q)
{
	struct cached *c = region_alloc(&cache.region, sizeof *c);
	char *name = c ? utf8_copy(&cache.region, q->name) : NULL;
	if (!name)
		return; /* the next request asks the file again */
	uintptr_t address = q->address + m->bias;
	*c = (struct cached){
	    .next = *slot_of(address),
	    .module = m,
	    .address = address,
	    .start = q->name.len ? q->start + m->bias : 0,
	    .function = {name, q->name.len},
	};
	*slot_of(address) = c;
	cache.count++;
}

int names_begin(struct names *n, struct region *r)
{
	if (cache.count > CACHED_MAX)
		forget();
	*n = (struct names){.region = r, .modules = snapshot_modules()};
	return maps_read(r, &n->maps) == -ENOMEM ? -ENOMEM : 0;
}

static bool holds(const struct module *m, uintptr_t address)
{
	for (unsigned i = 0; i < m->text_count; i++)
		if (address >= m->text[i].start && address < m->text[i].end)
			return true;
	return false;
}

struct site names_site_now(const struct names *n, uintptr_t address)
{
	const struct module *once = NULL;
	for (size_t i = n->modules.count; i-- > 0;) {
		const struct module *m = n->modules.at[i];
		if (!holds(m, address))
			continue;
		if (!__atomic_load_n(&m->gone, __ATOMIC_RELAXED))
			return (struct site){address, m};
		once = once ? once : m;
	}
	return (struct site){address, once};
}

struct site names_site(const struct names *n, uintptr_t address, unsigned place)
{
	if (place && place <= n->modules.count && holds(n->modules.at[place - 1], address))
		return (struct site){address, n->modules.at[place - 1]};
	for (size_t i = 0; !place && i < n->modules.count; i++)
		if (holds(n->modules.at[i], address))
			return (struct site){address, n->modules.at[i]};
	return names_site_now(n, address);
}

struct span names_path(const struct names *n, const struct module *m)
{
	const struct map *map = m->gone ? NULL : maps_find(&n->maps, m->text[0].start);
	return map && map->path.len ? map->path : span_of(m->path);
}

static int open_if_same(const char *path, const struct module *m)
{
	int fd = (int)os_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0 && !elf_has_build_id(fd, m->build_id, m->build_id_len)) {
		os_close(fd);
		return -ENOENT;
	}
	return fd;
}

/* The file that a module was loaded from; the program itself can be opened even when it was deleted. */
static int open_module(const struct names *n, const struct module *m)
{
	char path[4096];
	struct line l = LINE(path);
	struct span s = names_path(n, m);
	line_bytes(&l, s.at, s.len);
	int fd = path[0] == '/' ? open_if_same(path, m) : -ENOENT;
	if (fd < 0 && n->modules.count && m == n->modules.at[0])
		fd = open_if_same("/proc/self/exe", m);
	return fd;
}

static void query_module(struct names *n, const struct module *m, struct elf_query *q, size_t count)
{
	int fd = open_module(n, m);
	int error = fd < 0 ? fd : elf_symbols_of_file(n->region, fd, q, count);
	if (fd >= 0)
		os_close(fd);
	if (error && !m->gone) {
		fd = (int)os_open("/proc/self/mem", O_RDONLY);
		if (fd >= 0) {
			error = elf_symbols_of_memory(n->region, fd, m->start, m->bias, q, count);
			os_close(fd);
		}
	}
	if (error == -ENOMEM || error == -EMFILE || error == -ENFILE)
		return; /* it may pass: ask again the next time */
	for (size_t i = 0; i < count; i++)
		add_cached(m, &q[i]);
}

static bool site_before(const void *first, const void *second)
{
	const struct site *a = first, *b = second;
	return a->module != b->module ? a->module < b->module : a->address < b->address;
}

int names_prepare(struct names *n, const struct site *sites, size_t count)
{
	struct site *w = region_alloc(n->region, count * sizeof *w + 1);
	struct elf_query *q = region_alloc(n->region, count * sizeof *q + 1);
	size_t open = 0;
	if (!w || !q)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		if (sites[i].module && !find_cached(sites[i].module, sites[i].address))
			w[open++] = sites[i];
	sort_items(w, open, sizeof *w, site_before);
	for (size_t i = 0; i < open;) {
		const struct module *m = w[i].module;
		size_t k = 0;
		for (; i < open && w[i].module == m; i++)
			if (!k || q[k - 1].address != w[i].address - m->bias)
				q[k++] = (struct elf_query){.address = w[i].address - m->bias};
		query_module(n, m, q, k);
	}
	return 0;
}

/* "libfoo.so+0x1234": the file's name and the address as its headers count. */
static struct span plain_name(struct names *n, const struct module *m, uintptr_t address)
{
	const struct map *map = maps_find(&n->maps, address);
	struct span path = m ? names_path(n, m) : map ? map->path : (struct span){0};
	while (path.len && memchr(path.at, '/', path.len))
		span_cut(&path, '/');
	if (!path.len)
		path = m ? SPAN("[program]") : SPAN("[anonymous]");
	char text[320];
	struct line l = LINE(text);
	line_bytes(&l, path.at, path.len < 256 ? path.len : 256);
	line_str(&l, "+0x");
	line_hex(&l, address - (m ? m->bias : map ? map->start : 0));
	char *copy = utf8_copy(n->region, (struct span){l.at, l.len});
	return copy ? (struct span){copy, l.len} : SPAN("[out of memory]");
}

struct name names_of(struct names *n, struct site site)
{
	const struct cached *c = site.module ? find_cached(site.module, site.address) : NULL;
	if (c && c->function.len)
		return (struct name){c->function, site.address - c->start};
	return (struct name){plain_name(n, site.module, site.address), 0};
}
