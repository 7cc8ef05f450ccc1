/* fill_in_made.h - files and a profile that are made up, for the tests of fill_in.c.
 *
 * Runs in: test programs. Each includes it once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_FILL_IN_MADE_H
#define PPROFSHIM_TEST_FILL_IN_MADE_H

/* links: shim/base/text.c shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "encoder/symbolize/fill_in.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/saved/profile_file.h"
#include "test/unit/support/count.h"

/* --- made-up files --------------------------------------------------------------------------------- */

struct object {
	const char *path, *build_id;
};

static struct object files[] = {
	{"/app", "aa11"},         {"/lib/libc.so", "cc33"}, {"/moved/app", "aa11"},
	{"/moved/other", "aa11"}, {"/moved/bare", ""},      {"/new/app", ""},
};
static unsigned opened[COUNT(files)], objects_open;

struct object *object_open(const char *path, const char *build_id, const char **why)
{
	*why = "no such file";
	for (size_t i = 0; i < COUNT(files); i++) {
		if (strcmp(path, files[i].path) != 0)
			continue;
		*why = "another build id";
		if (build_id && *files[i].build_id && strcmp(build_id, files[i].build_id) != 0)
			return NULL;
		opened[i]++;
		objects_open++;
		return &files[i];
	}
	return NULL;
}

void object_close(struct object *o)
{
	(void)o;
	objects_open--;
}

const char *object_note(const struct object *o)
{
	return strstr(o->path, "libc") ? "a part of it is damaged" : NULL;
}

/* Headers say 0x1000 more than the offset; nothing is executable from 0x8000 on. */
uint64_t object_address_of_offset(const struct object *o, uint64_t offset)
{
	(void)o;
	return offset < 0x8000 ? offset + 0x1000 : UINT64_MAX;
}

static const struct frame inlined[] = {
	{"ns::twice", "_ZN2ns5twiceEi", "/src/a.h", 12, 10},
	{"ns::four", "_ZN2ns4fourEi", "/src/a.h", 20, 19},
	{"main", "main", "/src/b.c", 7, 5},
};
static const struct frame plain[] = {{"main", "main", "/src/b.c", 8, 5}};
static const struct frame symbol_only[] = {{"qsort", "qsort", "", 0, 0}};
static const struct frame odd[] = {{"caf\xe9", "caf\xe9", "/src/\n\xc3\xa9.c", 1, 1}};

void object_lookup(struct object *o, const uint64_t *addresses, size_t count,
                   void (*tell)(void *arg, const struct answer *a), void *arg)
{
	(void)o;
	for (size_t i = 0; i < count; i++) {
		assert_true(i == 0 || addresses[i] != addresses[i - 1]);
		struct answer a = {.address = addresses[i]};
		switch (a.address) {
		case 0x2010: a.frame = inlined, a.count = COUNT(inlined); break;
		case 0x2020: a.frame = plain, a.count = 1; break;
		case 0x2030: a.frame = symbol_only, a.count = 1; break;
		case 0x2040: a.frame = odd, a.count = 1; break;
		}
		char name[32];
		const struct frame its_own = {name, name, "/src/many.c", 1, 1};
		snprintf(name, sizeof name, "f%llx", (unsigned long long)a.address);
		if (a.address >= 0x3000)
			a.frame = &its_own, a.count = 1;
		tell(arg, &a);
	}
}

/* --- a profile to begin with ----------------------------------------------------------------------- */

/* A field that profile.proto does not know, on every message. */
static uint8_t unknown_bytes[] = {0x2a};
static ProtobufCMessageUnknownField unknown_field = {
	.tag = 99, .wire_type = PROTOBUF_C_WIRE_TYPE_VARINT, .len = 1, .data = unknown_bytes};

#define WITH_UNKNOWN(m) ((m)->base.n_unknown_fields = 1, (m)->base.unknown_fields = &unknown_field)

enum { LOCATIONS = 12, FUNCTIONS = 6 };

static char *const strings[] = {"",        "samples",    "count",   "/app",     "aa11",   "/lib/libc.so", "named",
                                "known.c", "app+0x1234", "comment", "complete", "orphan", "app+0x20",     "[vdso]"};

static struct made {
	Pprof__Profile p;
	Pprof__ValueType type, *types[1];
	Pprof__Sample sample[2], *samples[2];
	uint64_t ids[2][2];
	int64_t values[2], comments[1];
	Pprof__Mapping mapping[3], *mappings[3];
	Pprof__Location location[LOCATIONS], *locations[LOCATIONS];
	Pprof__Line line[LOCATIONS], *lines[LOCATIONS];
	Pprof__Function function[FUNCTIONS], *functions[FUNCTIONS];
	char *strings[COUNT(strings)];
} made;

/* What each location is, and what becomes of it. */
static const struct {
	uint64_t mapping, address, function, line;
} rows[LOCATIONS] = {
	{1, 0x401010, 0, 0}, /* 1: nothing known; becomes three lines */
	{1, 0x401020, 1, 0}, /* 2: has a name without a line; gets it */
	{1, 0x401030, 1, 0}, /* 3: has a name; the file has only another name: stays */
	{1, 0x401030, 2, 0}, /* 4: a stopgap of a name; gets the true one */
	{1, 0x401010, 3, 9}, /* 5: is complete: stays */
	{1, 0x401050, 1, 0}, /* 6: the file knows nothing: stays */
	{2, 0x701030, 0, 0}, /* 7: a symbol */
	{2, 0x701040, 0, 0}, /* 8: names that are no UTF-8 */
	{1, 0x409010, 4, 0}, /* 9: in no code: stays */
	{3, 0x901010, 5, 0}, /* 10: no file: stays */
	{0, 0x401010, 0, 0}, /* 11: no mapping: stays */
	{1, 0x501010, 0, 0}, /* 12: outside of its mapping: stays */
};

static inline void make_functions(void)
{
	static const int64_t names[FUNCTIONS] = {6, 8, 10, 12, 6, 11};
	for (size_t i = 0; i < FUNCTIONS; i++) {
		made.function[i] = (Pprof__Function)PPROF__FUNCTION__INIT;
		made.function[i].id = i + 1;
		made.function[i].name = made.function[i].system_name = names[i];
		made.function[i].filename = i == 2 ? 7 : 0;
		made.functions[i] = &made.function[i];
	}
	WITH_UNKNOWN(&made.function[5]);
	made.p.function = made.functions, made.p.n_function = FUNCTIONS;
}

static inline void make_locations(void)
{
	for (size_t i = 0; i < LOCATIONS; i++) {
		Pprof__Location *l = &made.location[i];
		*l = (Pprof__Location)PPROF__LOCATION__INIT;
		l->id = i + 1;
		l->mapping_id = rows[i].mapping;
		l->address = rows[i].address;
		made.line[i] = (Pprof__Line)PPROF__LINE__INIT;
		made.line[i].function_id = rows[i].function;
		made.line[i].line = (int64_t)rows[i].line;
		made.lines[i] = &made.line[i];
		l->line = &made.lines[i], l->n_line = rows[i].function != 0;
		made.locations[i] = l;
	}
	WITH_UNKNOWN(&made.location[0]);
	WITH_UNKNOWN(&made.line[4]);
	made.p.location = made.locations, made.p.n_location = LOCATIONS;
}

static inline void make_mappings(void)
{
	static const struct {
		uint64_t start;
		int64_t file, id;
	} maps[] = {{0x400000, 3, 4}, {0x700000, 5, 0}, {0x900000, 13, 0}};
	for (size_t i = 0; i < COUNT(maps); i++) {
		Pprof__Mapping *m = &made.mapping[i];
		*m = (Pprof__Mapping)PPROF__MAPPING__INIT;
		m->id = i + 1;
		m->memory_start = maps[i].start;
		m->memory_limit = maps[i].start + 0x10000;
		m->filename = maps[i].file;
		m->build_id = maps[i].id;
		made.mappings[i] = m;
	}
	made.mapping[2].has_functions = 1;
	WITH_UNKNOWN(&made.mapping[1]);
	made.p.mapping = made.mappings, made.p.n_mapping = COUNT(maps);
}

static inline Pprof__Profile *make(void)
{
	Pprof__Profile *p = &made.p;
	*p = (Pprof__Profile)PPROF__PROFILE__INIT;
	made.type = (Pprof__ValueType)PPROF__VALUE_TYPE__INIT;
	made.type.type = 1, made.type.unit = 2;
	made.types[0] = &made.type;
	p->sample_type = made.types, p->n_sample_type = 1;
	for (int i = 0; i < 2; i++) {
		made.sample[i] = (Pprof__Sample)PPROF__SAMPLE__INIT;
		made.ids[i][0] = (uint64_t)(9 - i), made.ids[i][1] = 1;
		made.values[i] = 100 - i;
		made.sample[i].location_id = made.ids[i], made.sample[i].n_location_id = 2;
		made.sample[i].value = &made.values[i], made.sample[i].n_value = 1;
		WITH_UNKNOWN(&made.sample[i]);
		made.samples[i] = &made.sample[i];
	}
	p->sample = made.samples, p->n_sample = 2;
	memcpy(made.strings, strings, sizeof strings);
	p->string_table = made.strings, p->n_string_table = COUNT(strings);
	made.comments[0] = 9;
	p->comment = made.comments, p->n_comment = 1;
	p->time_nanos = -5, p->period = 7;
	WITH_UNKNOWN(p);
	make_mappings();
	make_locations();
	make_functions();
	return p;
}

/* --- through the files ----------------------------------------------------------------------------- */

static inline int file_of(const void *bytes, size_t len)
{
	int fd = memfd_create("profile", MFD_CLOEXEC);
	assert_int_equal(write(fd, bytes, len), len);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static inline int packed(const Pprof__Profile *p)
{
	uint8_t *bytes = malloc(pprof__profile__get_packed_size(p));
	int fd = file_of(bytes, pprof__profile__pack(p, bytes));
	free(bytes);
	return fd;
}

/* *notes: to be freed; NULL: nobody wants them. */
static inline Pprof__Profile *complete_with(const Pprof__Profile *p, const char **paths, size_t count, char **notes)
{
	struct binaries binaries = {paths, count};
	int in = packed(p), out = memfd_create("completed", MFD_CLOEXEC);
	char *said;
	size_t len;
	unsigned char magic[2];
	Pprof__Profile *done;
	FILE *f = open_memstream(&said, &len);
	memset(opened, 0, sizeof opened);
	assert_null(complete_file(in, out, &binaries, f));
	assert_int_equal(objects_open, 0);
	fclose(f);
	assert_int_equal(pread(out, magic, 2, 0), 2);
	assert_true(magic[0] == 0x1f && magic[1] == 0x8b);
	lseek(out, 0, SEEK_SET);
	assert_null(profile_read(out, &done));
	close(in);
	close(out);
	if (notes)
		*notes = said;
	else
		free(said);
	return done;
}

static inline const Pprof__Function *function_of(const Pprof__Profile *p, const Pprof__Line *l)
{
	for (size_t i = 0; i < p->n_function; i++)
		if (p->function[i]->id == l->function_id)
			return p->function[i];
	fail_msg("no function %llu", (unsigned long long)l->function_id);
	return NULL;
}

/* "name,system,file:line from start" of each line. */
static inline const char *lines_of(const Pprof__Profile *p, size_t location)
{
	static char buf[1024];
	const Pprof__Location *l = p->location[location - 1];
	size_t at = 0;
	buf[0] = '\0';
	for (size_t i = 0; i < l->n_line; i++) {
		const Pprof__Function *f = function_of(p, l->line[i]);
		at += (size_t)snprintf(buf + at, sizeof buf - at, "%s%s,%s,%s:%d from %d", i ? "; " : "",
		                       p->string_table[f->name], p->string_table[f->system_name],
		                       p->string_table[f->filename], (int)l->line[i]->line, (int)f->start_line);
	}
	return buf;
}

#endif
