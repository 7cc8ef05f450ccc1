/* lookup.c - one object: its files, its symbols and its DWARF put together.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/dwarf/lookup.h"

#include <errno.h>
#include <gelf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/symbolize/elf/debug_file.h"
#include "encoder/symbolize/dwarf/dwarf.h"
#include "encoder/symbolize/dwarf/jumps.h"
#include "encoder/symbolize/elf/symbols.h"
#include "encoder/symbolize/elf/strings.h"
#include "encoder/symbolize/elf/zstd.h"

struct object {
	struct elf_file *file;
	struct elf_file *debug;      /* NULL: the file has its own, or there is none */
	struct elf_file *mini;       /* .gnu_debugdata unpacked; NULL: none */
	struct dwarf *dwarf;         /* of the debug file, else of the file; NULL: neither has any */
	struct functions *functions; /* with the addresses of the DWARF; NULL: not needed so far */
	struct texts texts;
	const char *note;
};

void lookup_set_debug_dirs(const char *dirs)
{
	debug_file_set_dirs(dirs);
}

/* Does the file have this build id in hex? A text with an odd digit, or one that isn't hex, matches no file. */
static bool is_id(const struct elf_file *f, const char *hex)
{
	static const char digits[] = "0123456789abcdef";
	if (strlen(hex) != 2 * f->id_len)
		return false;
	for (size_t i = 0; i < f->id_len; i++)
		if ((hex[2 * i] | 0x20) != (digits[f->id[i] >> 4] | 0x20) ||
		    (hex[2 * i + 1] | 0x20) != (digits[f->id[i] & 15] | 0x20))
			return false;
	return true;
}

/* Is .debug_info packed still? By zlib it may be: libdw unpacks that. */
static bool is_packed_otherwise(const struct elf_file *f)
{
	GElf_Chdr packing;
	Elf_Scn *scn = elf_file_section(f, ".debug_info", NULL);
	return scn && gelf_getchdr(scn, &packing) && packing.ch_type != ELFCOMPRESS_ZLIB;
}

static void open_dwarf(struct object *o, struct elf_file *f)
{
	bool all = zstd_unpack(f);
	if (is_packed_otherwise(f)) {
		o->note = all ? "its DWARF is not packed by zlib or zstd, and can't be read; objcopy "
		                "--decompress-debug-sections helps"
		              : "its DWARF is packed by zstd, and damaged, or there is no memory to unpack it";
		return;
	}
	o->dwarf = dwarf_open(f, &o->texts);
	if (!o->dwarf && elf_file_has(f, ".debug_info", ".zdebug_info"))
		o->note = "the DWARF can't be read: it is damaged, or there is no memory to unpack it";
}

struct object *object_open(const char *path, const char *build_id, const char **why)
{
	static bool unlimited;
	if (!unlimited)
		arena_set_limit(UINT64_C(1) << 40); /* here, RLIMIT_DATA is the real limit */
	unlimited = true;
	struct elf_file *file = elf_file_open(path, why);
	if (!file)
		return NULL;
	struct object *o = calloc(1, sizeof *o);
	if (o && (!build_id || !file->id_len || is_id(file, build_id))) {
		o->file = file;
		if (!elf_file_has(file, ".debug_info", ".zdebug_info"))
			o->debug = debug_file_find(file);
		o->mini = debug_file_unpack_mini(file);
		open_dwarf(o, o->debug ? o->debug : file);
		return o;
	}
	*why = o ? "another build id: the file was replaced" : "no memory";
	free(o);
	elf_file_close(file);
	return NULL;
}

void object_close(struct object *o)
{
	dwarf_close(o->dwarf);
	functions_close(o->functions);
	elf_file_close(o->file);
	elf_file_close(o->debug);
	elf_file_close(o->mini);
	texts_release(&o->texts);
	free(o);
}

const char *object_note(const struct object *o)
{
	return o->note || !o->dwarf ? o->note : dwarf_note(o->dwarf);
}

uint64_t object_address_of_offset(const struct object *o, uint64_t offset)
{
	return elf_file_address_of_offset(o->file, offset);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

struct lookup {
	struct object *o;
	struct region r;
	size_t count;
	uint64_t *address;     /* ascending */
	struct symbol *symbol; /* of each */
	struct found *found;   /* of each */
};

static bool prepare(struct lookup *l, const uint64_t *addresses, size_t count)
{
	l->count = count;
	l->address = region_alloc(&l->r, count * sizeof *l->address);
	l->symbol = region_alloc(&l->r, count * sizeof *l->symbol);
	l->found = region_alloc(&l->r, count * sizeof *l->found);
	if (!l->address || !l->symbol || !l->found)
		return false;
	memcpy(l->address, addresses, count * sizeof *addresses);
	qsort(l->address, count, sizeof *l->address, by_value);
	return true;
}

/* The outermost function gets the name of its symbol in the file itself, which tells foo from foo.cold and
 * foo.constprop.0, and read from __GI___libc_read. Symbols of a debug file name functions that have no name in DWARF. A
 * frame without any name stays, as its line is known. Frames are left out only if there is no memory for names. */
static void name_frames(struct lookup *l, struct found *f, const struct symbol *s)
{
	size_t kept = 0;
	struct frame *outer = f->count ? &f->frame[f->count - 1] : NULL;
	if (outer && s->name && (s->is_own || !outer->system)) {
		outer->name = NULL;
		outer->system = s->name;
	}
	if (outer && s->name && s->is_own && !outer->file[0])
		outer->file = s->file;
	for (size_t i = 0; i < f->count; i++) {
		struct frame frame = f->frame[i];
		if (!frame.system)
			frame.system = texts_keep(&l->o->texts, "??", 2);
		if (!frame.system)
			continue;
		if (!frame.name)
			frame.name = texts_name(&l->o->texts, frame.system);
		f->frame[kept++] = frame;
	}
	f->count = kept;
}

/* --- calls without debug information ------------------------------------------------------------- */

struct target {
	uint64_t address;
	size_t index; /* of the call */
};

/* Find where direct calls go, and list those that DWARF does not name, ascending. */
static size_t list_targets(struct lookup *l, struct target *t)
{
	size_t n = 0;
	for (size_t i = 0; i < l->count; i++) {
		struct found *f = &l->found[i];
		f->called = elf_file_call_target(l->o->file, l->address[i] + 1);
		if (f->called && !f->calls)
			t[n++] = (struct target){f->called, i};
	}
	qsort(t, n, sizeof *t, by_value);
	return n;
}

/* Name what direct calls go to where DWARF does not: the function that begins there. */
static void name_targets(struct lookup *l)
{
	struct target *t = region_alloc(&l->r, l->count * sizeof *t);
	uint64_t *address = region_alloc(&l->r, l->count * sizeof *address);
	struct symbol *symbol = region_alloc(&l->r, l->count * sizeof *symbol);
	size_t n = t && address && symbol ? list_targets(l, t) : 0;
	for (size_t i = 0; i < n; i++)
		address[i] = t[i].address;
	if (!n || symbols_find(&l->o->texts, l->o->file, l->o->debug, l->o->mini, address, n, symbol) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (symbol[i].name && symbol[i].start == t[i].address) {
			l->found[t[i].index].calls = symbol[i].name;
		}
}

static void tell_one(struct lookup *l, size_t i, void (*tell)(void *arg, const struct answer *a), void *arg)
{
	const struct symbol *s = &l->symbol[i];
	struct found *f = &l->found[i];
	struct frame bare = {.system = s->name, .file = s->name ? s->file : ""};
	struct answer a = {
		.address = l->address[i], .start = s->name ? s->start : 0, .calls = f->calls, .called = f->called};
	name_frames(l, f, s);
	if (!a.start && f->start)
		a.start = f->start - (f->address - a.address);
	if (f->count) {
		a.frame = f->frame;
		a.count = f->count;
	} else if (s->name) {
		bare.name = texts_name(&l->o->texts, s->name);
		a.frame = &bare;
		a.count = 1;
	}
	tell(arg, &a);
}

void object_lookup(struct object *o, const uint64_t *addresses, size_t count,
                   void (*tell)(void *arg, const struct answer *a), void *arg)
{
	struct lookup l = {.o = o};
	if (count && !prepare(&l, addresses, count))
		o->note = "no memory";
	else if (count) {
		uint64_t shift = o->debug ? elf_file_shift(o->file, o->debug) : 0;
		for (size_t i = 0; i < count; i++)
			l.found[i].address = l.address[i] + shift;
		if (symbols_find(&o->texts, o->file, o->debug, o->mini, l.address, count, l.symbol) < 0)
			o->note = "no memory for symbols";
		if (o->dwarf)
			dwarf_find(o->dwarf, &l.r, l.found, count);
		name_targets(&l);
		for (size_t i = 0; i < count; i++)
			tell_one(&l, i, tell, arg);
	}
	region_release(&l.r);
}

/* --- jumps ------------------------------------------------------------------------------------ */

struct jumping {
	struct object *o;
	struct region r;
	struct found *found; /* of each address */
	struct jumps *jumps;
	size_t count;
};

static void find_jumps(void *arg)
{
	struct jumping *j = arg;
	if (!j->o->functions)
		j->o->functions = functions_open(j->o->debug ? j->o->debug : j->o->file);
	if (!j->o->functions)
		return;
	dwarf_find(j->o->dwarf, &j->r, j->found, j->count);
	for (size_t i = 0; i < j->count; i++)
		jumps_find(j->o->dwarf, j->o->functions, &j->o->texts, &j->r, &j->found[i], &j->jumps[i]);
}

/* Addresses in the debug file become those of the file. */
static void shift_jumps(struct jumps *j, uint64_t shift)
{
	struct jump *jump = (struct jump *)j->jump;
	j->first -= j->first ? shift : 0;
	for (size_t i = 0; i < j->count; i++) {
		jump[i].from -= shift;
		jump[i].at -= jump[i].at ? shift : 0;
		jump[i].to -= jump[i].to ? shift : 0;
	}
}

void object_jumps(struct object *o, const uint64_t *addresses, size_t count,
                  void (*tell)(void *arg, const struct jumps *j), void *arg)
{
	struct lookup l = {.o = o};
	struct jumping j = {.o = o, .count = count};
	uint64_t shift = o->debug ? elf_file_shift(o->file, o->debug) : 0;
	if (count && prepare(&l, addresses, count) && (j.jumps = region_alloc(&l.r, count * sizeof *j.jumps))) {
		j.found = l.found;
		for (size_t i = 0; i < count; i++)
			j.found[i].address = l.address[i] + shift;
		if (o->dwarf)
			dwarf_guard(o->dwarf, find_jumps, &j);
		name_targets(&l);
		for (size_t i = 0; i < count; i++) {
			j.jumps[i].address = l.address[i];
			shift_jumps(&j.jumps[i], shift);
			if (!j.jumps[i].first && l.found[i].calls && !l.found[i].has_call)
				j.jumps[i].first = l.found[i].called;
			tell(arg, &j.jumps[i]);
		}
	}
	region_release(&j.r);
	region_release(&l.r);
}
