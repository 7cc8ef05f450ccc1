/* names.c - functions, files and lines for addresses of this process.
 *
 * Runs in: listener. One owner, no lock.
 *
 * Names come from the cache. If it lacks some, the symbolizer is asked about all of them at once. If it cannot answer,
 * or not in time, the symbol table of the object's file is read here or, if the file is gone, the dynamic symbols in
 * memory. Names of code in no object come from the map that a JIT compiler left in /tmp (jit.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/names.h"

#include "encoder/names/elf_symbols.h"
#include "encoder/names/cache.h"
#include "encoder/names/object_file.h"
#include "encoder/bytes/sort.h"
#include "encoder/names/symbolizer.h"
#include "encoder/symbolize/protocol.h"
#include "encoder/bytes/utf8.h"
#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"

enum {
	PATIENCE_S = 15, /* longest wait for the symbolizer; the steps after it need time, too */
	LATE_PATIENCE_S = 2,
	ROUNDS_MAX = 4, /* how often one request asks */
	POLL_MS = 3,
};

void names_start(const struct encoder_options *options)
{
	cache_start(options->memory_limit_bytes);
	symbolizer_start(options);
}

int names_begin(struct names *n, struct region *r)
{
	*n = (struct names){.region = r, .modules = snapshot_modules(), .executable = object_file_executable(r)};
	if (n->modules.count && object_file_is_programs(house.path))
		n->program = span_of(house.path);
	if (!n->executable.len && house.path) /* no /proc: the path that the program was started by is what is known */
		n->executable = span_of(house.path);
	return maps_read(r, &n->maps) == -ENOMEM ? -ENOMEM : 0;
}

/* ---- what is missing ---- */

/* Addresses of one module to look up. */
struct wanted {
	const struct module *module;
	struct object *object;
	uint64_t *address; /* as the file's headers count, ascending */
	size_t count;
};
struct missing {
	size_t count;
	struct wanted *at;
};

static bool site_before(const void *first, const void *second)
{
	const struct site *a = first, *b = second;
	return a->module != b->module ? a->module < b->module : names_file_address(*a) < names_file_address(*b);
}

/* Is an address to be looked up? With the symbolizer, also if only a symbol table has named it. */
static bool is_missing(struct object *o, uint64_t address, bool with_symbolizer)
{
	const struct cached *c = cache_find(o, address);
	return !c || (with_symbolizer && !c->complete && symbolizer_would_answer(o));
}

/* Collect the missing addresses of one module: its sorted sites [from, to). */
static void want(struct wanted *w, const struct site *from, const struct site *to, bool with_symbolizer)
{
	*w = (struct wanted){.module = from->module, .object = cache_object(from->module), .address = w->address};
	for (; from < to; from++) {
		uint64_t address = names_file_address(*from);
		bool again = w->count && w->address[w->count - 1] == address;
		if (w->object && !again && is_missing(w->object, address, with_symbolizer))
			w->address[w->count++] = address;
	}
}

static int find_missing(const struct names *n, struct missing *missing, const struct site *sites, size_t count,
                        bool with_symbolizer)
{
	struct site *s = region_alloc(n->region, count * sizeof *s + 1);
	uint64_t *address = region_alloc(n->region, count * sizeof *address + 1);
	missing->count = 0;
	missing->at = region_alloc(n->region, (n->modules.count + 1) * sizeof *missing->at);
	if (!s || !address || !missing->at)
		return -ENOMEM;
	size_t open = 0;
	for (size_t i = 0; i < count; i++)
		if (sites[i].module && !cut_of(sites[i].address))
			s[open++] = sites[i];
	sort_items(s, open, sizeof *s, site_before);
	for (size_t i = 0, end; i < open; i = end) {
		struct wanted *w = &missing->at[missing->count];
		for (end = i; end < open && s[end].module == s[i].module; end++)
			;
		w->address = address + i;
		want(w, s + i, s + end, with_symbolizer);
		missing->count += w->count > 0;
	}
	return 0;
}

/* ---- the symbolizer ---- */

/* Ask the symbolizer. Returns a ticket; 0: there is nothing to ask, or no memory. */
static uint64_t ask(struct names *n, const struct missing *missing)
{
	struct question *q = region_alloc(n->region, missing->count * sizeof *q + 1);
	size_t count = 0;
	for (size_t i = 0; q && i < missing->count; i++) {
		const struct wanted *w = &missing->at[i];
		const char *path = symbolizer_would_answer(w->object) ? object_file_find(n, w->module) : NULL;
		if (path)
			q[count++] = (struct question){w->module, path, w->address, w->count};
		else if (!module_is_gone(w->module) && symbolizer_would_answer(w->object) &&
		         span_starts(names_path(n, w->module), "/"))
			n->note = "files of loaded objects can't be opened (deleted, replaced, another user's, outside "
				  "of a chroot): their names are few";
	}
	return count ? symbolizer_queue(q, count) : 0;
}

/* Has the request asked, and is an answer still to come? */
static bool is_waiting(const struct patience *p)
{
	return p->ticket && !symbolizer_is_done(p->ticket);
}

unsigned encoder_wait_ms(const struct patience *p)
{
	symbolizer_poll();
	return is_waiting(p) && os_clock_ns(CLOCK_MONOTONIC) < p->until_ns ? POLL_MS : 0;
}

/* A symbolizer that was too slow for another request gets less time. */
static unsigned patience_s(const struct patience *p)
{
	unsigned most_s = p->most_s ? p->most_s : PATIENCE_S;
	return symbolizer_was_late() && most_s > LATE_PATIENCE_S ? LATE_PATIENCE_S : most_s;
}

/* Returns 0, -ENOMEM, or -EAGAIN: the symbolizer is at work, and there is time to wait for it. */
static int consult(struct names *n, const struct site *sites, size_t count, struct patience *p)
{
	struct missing missing;
	uint64_t now_ns = os_clock_ns(CLOCK_MONOTONIC);
	bool is_busy = symbolizer_poll();
	symbolizer_locate(&n->maps);
	if (!p->until_ns) {
		p->until_ns = now_ns + patience_s(p) * UINT64_C(1000000000);
		if (!is_busy)
			cache_trim();
	}
	if (now_ns >= p->until_ns || p->rounds >= ROUNDS_MAX)
		return 0;
	if (find_missing(n, &missing, sites, count, true) < 0)
		return -ENOMEM;
	if (!missing.count)
		return 0;
	if (is_waiting(p))
		return -EAGAIN;
	p->ticket = ask(n, &missing);
	p->rounds++;
	return is_waiting(p) ? -EAGAIN : 0;
}

/* ---- symbol tables ---- */

static int query_file(const struct names *n, const struct wanted *w, struct elf_query *q)
{
	const char *path = object_file_find(n, w->module);
	int fd = path ? (int)os_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY) : -ENOENT;
	int error = fd < 0 ? fd : elf_symbols_of_file(n->region, fd, q, w->count);
	if (fd >= 0)
		os_close(fd);
	return error;
}

static int query_memory(const struct names *n, const struct wanted *w, struct elf_query *q)
{
	int fd = (int)os_open("/proc/self/mem", O_RDONLY);
	bool is_open = fd >= 0;
	if (!is_open && fd != -ENOENT)
		return fd;
	int error = elf_symbols_of_memory(n->region, is_open ? fd : ELF_OWN_MEMORY, w->module->start, w->module->bias,
	                                  q, w->count);
	if (is_open)
		os_close(fd);
	return error;
}

static int query(const struct names *n, const struct wanted *w)
{
	struct elf_query *q = region_alloc(n->region, w->count * sizeof *q + 1);
	if (!q)
		return -ENOMEM;
	for (size_t i = 0; i < w->count; i++)
		q[i].address = w->address[i];
	int error = query_file(n, w, q);
	if (error && error != -ECANCELED && !module_is_gone(w->module))
		error = query_memory(n, w, q);
	if (error == -ECANCELED || error == -ENOMEM || error == -EMFILE || error == -ENFILE)
		return 0; /* this may pass: the next request tries again */
	for (size_t i = 0; i < w->count; i++) {
		const struct name_frame f = {.function = q[i].name, .system = q[i].name, .file = q[i].file};
		cache_put(w->object, q[i].address, q[i].start, &f, q[i].name.len > 0, false);
	}
	return 0;
}

static int query_tables(struct names *n, const struct site *sites, size_t count)
{
	struct missing missing;
	int r = find_missing(n, &missing, sites, count, false);
	for (size_t i = 0; i < missing.count && r == 0 && !pace(); i++)
		r = query(n, &missing.at[i]);
	return r;
}

/* ---- code that lies in no object ---- */

static bool jit_before(const void *first, const void *second)
{
	const struct jit_query *a = first, *b = second;
	return a->address < b->address;
}

static int query_jit(struct names *n, const struct site *sites, size_t count)
{
	struct jit_query *q = n->jit = region_alloc(n->region, count * sizeof *q + 1);
	n->jit_count = 0;
	if (!q)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		if (names_jit_map(n, sites[i]))
			q[n->jit_count++] = (struct jit_query){.address = sites[i].address};
	sort_items(q, n->jit_count, sizeof *q, jit_before);
	int r = n->jit_count ? jit_names(n->region, q, n->jit_count) : 0;
	if (r == -ENOMEM)
		return r;
	if (r == -EPERM)
		n->note = "no names of run-time code: its /tmp/perf-PID.map is another user's, or others may write to "
			  "it; umask 022 helps";
	for (size_t i = 0; i < n->jit_count; i++) {
		q[i].name.at = utf8_line(n->region, q[i].name);
		if (!q[i].name.at)
			return -ENOMEM;
	}
	return 0;
}

/* Returns NULL if the address has no name. */
static const struct jit_query *find_jit(const struct names *n, uintptr_t address)
{
	size_t i = sort_first_from(n->jit, n->jit_count, sizeof *n->jit, address);
	return i < n->jit_count && n->jit[i].address == address && n->jit[i].name.len ? &n->jit[i] : NULL;
}

/* ---- all together ---- */

static bool is_any_incomplete(const struct site *sites, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct object *o = sites[i].module ? cache_object(sites[i].module) : NULL;
		const struct cached *c = cache_find(o, names_file_address(sites[i]));
		if (c && !c->complete)
			return true;
	}
	return false;
}

static void take_note(struct names *n, const struct site *sites, size_t count, const struct patience *p)
{
	if (n->note || !is_any_incomplete(sites, count))
		return;
	if (p && is_waiting(p))
		symbolizer_is_late();
	n->note = symbolizer_trouble();
}

int names_prepare(struct names *n, const struct site *sites, size_t count, struct patience *p)
{
	int r = p ? consult(n, sites, count, p) : 0;
	if (r == 0)
		r = query_tables(n, sites, count);
	if (r == 0)
		r = query_jit(n, sites, count);
	if (r == 0)
		take_note(n, sites, count, p);
	return r;
}

int names_prepare_calls(struct names *n, const struct site *sites, size_t count, struct patience *p)
{
	struct site *calls = p ? region_alloc(n->region, count * sizeof *calls + 1) : NULL;
	if (!calls)
		return p ? -ENOMEM : 0;
	for (size_t i = 0; i < count; i++) {
		calls[i] = sites[i];
		calls[i].address |= CACHE_CALL;
		if (calls[i].home)
			calls[i].home |= CACHE_CALL;
	}
	return consult(n, calls, count, p);
}

const char *encoder_trouble(void)
{
	return symbolizer_trouble();
}

int encoder_merge(int fd, unsigned life_s)
{
	static char *const words[SYMBOLIZER_WORDS] = {SYMBOLIZE_MERGE, SYMBOLIZE_PIPE};
	return symbolizer_lend(words, fd, life_s);
}

unsigned encoder_rest(void)
{
	return symbolizer_rest_ms();
}

/* "libfoo.so+0x1234": the file's name, and the address in its headers. */
static struct span plain_name(struct names *n, struct site site)
{
	const struct module *m = site.module;
	const struct map *map = maps_find(&n->maps, site.address);
	struct span path = m                        ? names_shown_path(n, m)
	                   : names_jit_map(n, site) ? SPAN("[jit]")
	                   : map                    ? map->path
	                                            : (struct span){0};
	while (path.len && memchr(path.at, '/', path.len))
		span_cut(&path, '/');
	if (!path.len)
		path = m ? SPAN("[program]") : SPAN("[anonymous]");
	char text[320];
	struct line l = LINE(text);
	line_bytes(&l, path.at, path.len < 256 ? path.len : 256);
	line_str(&l, "+0x");
	line_hex(&l, m ? names_file_address(site) : site.address - (map ? map->start : 0));
	char *copy = utf8_line(n->region, (struct span){l.at, l.len});
	return copy ? (struct span){copy, l.len} : SPAN("[out of memory]");
}

static struct name single(struct names *n, struct span function, uint64_t offset)
{
	static const struct name_frame none = {.function = {"[out of memory]", 15}, .system = {"[out of memory]", 15}};
	struct name_frame *f = region_alloc(n->region, sizeof *f);
	if (!f)
		return (struct name){&none, 1, 0};
	*f = (struct name_frame){.function = function, .system = function};
	return (struct name){f, 1, offset};
}

/* The first address of a function means the function itself, not a call that was inlined there. (For the call that a
 * thread waits in, no other address is known.) */
static struct name function_itself(struct names *n, const struct cached *c)
{
	const struct name_frame *outer = &c->frame[c->count - 1];
	struct name_frame *f = c->count > 1 ? region_alloc(n->region, sizeof *f) : NULL;
	if (!f)
		return (struct name){outer, 1, 0};
	*f = *outer;
	f->line = f->start_line ? f->start_line : f->line;
	return (struct name){f, 1, 0};
}

struct name names_of(struct names *n, struct site site)
{
	if (cut_of(site.address))
		return single(n, SPAN("[truncated]"), 0);
	struct object *o = site.module ? cache_object(site.module) : NULL;
	uint64_t address = names_file_address(site);
	const struct cached *c = cache_find(o, address);
	if (c && c->count && address == c->start)
		return function_itself(n, c);
	if (c && c->count)
		return (struct name){c->frame, c->count, c->start ? address - c->start : 0};
	const struct jit_query *jit = o ? NULL : find_jit(n, site.address);
	if (jit)
		return single(n, jit->name, site.address - jit->start);
	return single(n, plain_name(n, site), 0);
}
