/* test_fill_in.c - saved profiles get what they lack, and keep all they have.
 *
 * Runs in: its own process. The files that are looked into are made up here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/symbolize/fill_in.c encoder/symbolize/profile_file.c encoder/profile/profile.pb-c.c
 * links: encoder/bytes/utf8.c */
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
#include "encoder/symbolize/profile_file.h"
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

static void make_functions(void)
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

static void make_locations(void)
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

static void make_mappings(void)
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

static Pprof__Profile *make(void)
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

static int file_of(const void *bytes, size_t len)
{
	int fd = memfd_create("profile", MFD_CLOEXEC);
	assert_int_equal(write(fd, bytes, len), len);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static int packed(const Pprof__Profile *p)
{
	uint8_t *bytes = malloc(pprof__profile__get_packed_size(p));
	int fd = file_of(bytes, pprof__profile__pack(p, bytes));
	free(bytes);
	return fd;
}

/* *notes: to be freed; NULL: nobody wants them. */
static Pprof__Profile *complete_with(const Pprof__Profile *p, const char **paths, size_t count, char **notes)
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

static const Pprof__Function *function_of(const Pprof__Profile *p, const Pprof__Line *l)
{
	for (size_t i = 0; i < p->n_function; i++)
		if (p->function[i]->id == l->function_id)
			return p->function[i];
	fail_msg("no function %llu", (unsigned long long)l->function_id);
	return NULL;
}

/* "name,system,file:line from start" of each line. */
static const char *lines_of(const Pprof__Profile *p, size_t location)
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

static void test_locations_get_what_they_lack(void **state)
{
	(void)state;
	Pprof__Profile *p = complete_with(make(), NULL, 0, NULL);
	assert_string_equal(lines_of(p, 1), "ns::twice,_ZN2ns5twiceEi,/src/a.h:12 from 10; "
	                                    "ns::four,_ZN2ns4fourEi,/src/a.h:20 from 19; main,main,/src/b.c:7 from 5");
	assert_string_equal(lines_of(p, 2), "main,main,/src/b.c:8 from 5");
	assert_string_equal(lines_of(p, 3), "named,named,:0 from 0");
	assert_string_equal(lines_of(p, 4), "qsort,qsort,:0 from 0");
	assert_string_equal(lines_of(p, 5), "complete,complete,known.c:9 from 0");
	assert_string_equal(lines_of(p, 6), "named,named,:0 from 0");
	assert_string_equal(lines_of(p, 7), "qsort,qsort,:0 from 0");
	assert_string_equal(lines_of(p, 8), "caf?,caf?,/src/?\xc3\xa9.c:1 from 1");
	assert_string_equal(lines_of(p, 9), "app+0x20,app+0x20,:0 from 0");
	assert_string_equal(lines_of(p, 10), "named,named,:0 from 0");
	assert_string_equal(lines_of(p, 11), "");
	assert_string_equal(lines_of(p, 12), "");
	assert_int_equal(p->location[0]->line[2]->function_id, p->location[1]->line[0]->function_id);
	assert_int_equal(p->location[3]->line[0]->function_id, p->location[6]->line[0]->function_id);
	assert_int_equal(opened[0], 1); /* for all of its locations */
	pprof__profile__free_unpacked(p, NULL);
}

static void test_all_else_stays_as_it_is(void **state)
{
	(void)state;
	Pprof__Profile *p = complete_with(make(), NULL, 0, NULL);
	assert_int_equal(p->base.n_unknown_fields, 1);
	assert_int_equal(p->time_nanos, -5);
	assert_int_equal(p->period, 7);
	assert_int_equal(p->comment[0], 9);
	assert_null(p->period_type);
	for (size_t i = 0; i < COUNT(strings); i++)
		assert_string_equal(p->string_table[i], strings[i]);
	assert_int_equal(p->n_sample, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(p->sample[i]->location_id[0], 9 - i);
		assert_int_equal(p->sample[i]->value[0], 100 - i);
		assert_int_equal(p->sample[i]->base.n_unknown_fields, 1);
	}
	for (size_t i = 0; i < LOCATIONS; i++) {
		assert_int_equal(p->location[i]->id, i + 1);
		assert_int_equal(p->location[i]->address, rows[i].address);
	}
	assert_int_equal(p->location[0]->base.n_unknown_fields, 1);
	assert_int_equal(p->location[4]->line[0]->base.n_unknown_fields, 1);
	assert_int_equal(p->mapping[1]->base.n_unknown_fields, 1);
	assert_int_equal(p->function[5]->base.n_unknown_fields, 1);
	assert_int_equal(p->function[5]->base.unknown_fields[0].tag, 99);
	assert_int_equal(p->function[5]->base.unknown_fields[0].data[0], 0x2a);
	pprof__profile__free_unpacked(p, NULL);
}

static void test_functions_are_numbered_without_gaps_and_none_is_left_over(void **state)
{
	(void)state;
	Pprof__Profile *p = complete_with(make(), NULL, 0, NULL);
	size_t stopgaps = 0;
	for (size_t i = 0; i < p->n_function; i++) {
		assert_int_equal(p->function[i]->id, i + 1);
		stopgaps += strcmp(p->string_table[p->function[i]->name], "app+0x1234") == 0;
	}
	assert_int_equal(stopgaps, 0); /* its place was taken */
	assert_int_equal(p->n_function, FUNCTIONS - 1 + 5);
	pprof__profile__free_unpacked(p, NULL);
}

static void test_mappings_say_only_what_is_true(void **state)
{
	(void)state;
	Pprof__Profile *p = complete_with(make(), NULL, 0, NULL);
	const Pprof__Mapping *m = p->mapping[0];
	assert_true(!m->has_functions && m->has_filenames && m->has_line_numbers &&
	            m->has_inline_frames); /* location 12 */
	m = p->mapping[1];
	assert_true(m->has_functions && m->has_filenames && m->has_line_numbers && !m->has_inline_frames);
	m = p->mapping[2];
	assert_true(m->has_functions && !m->has_filenames && !m->has_line_numbers && !m->has_inline_frames);
	pprof__profile__free_unpacked(p, NULL);
	p = make();
	p->location[11]->address = 0x401020;
	p = complete_with(p, NULL, 0, NULL);
	assert_true(p->mapping[0]->has_functions);
	pprof__profile__free_unpacked(p, NULL);
}

static void test_a_completed_profile_is_not_changed_again(void **state)
{
	(void)state;
	Pprof__Profile *once = complete_with(make(), NULL, 0, NULL), *twice = complete_with(once, NULL, 0, NULL);
	size_t len = pprof__profile__get_packed_size(once);
	assert_int_equal(pprof__profile__get_packed_size(twice), len);
	uint8_t *a = malloc(len), *b = malloc(len);
	pprof__profile__pack(once, a);
	pprof__profile__pack(twice, b);
	assert_memory_equal(a, b, len);
	free(a), free(b);
	pprof__profile__free_unpacked(once, NULL);
	pprof__profile__free_unpacked(twice, NULL);
}

/* --- files elsewhere ------------------------------------------------------------------------------- */

static bool found_app(const char *path_in_profile, const char *build_id, const char *binary)
{
	Pprof__Profile *p = make();
	p->string_table[3] = (char *)(uintptr_t)path_in_profile;
	p->string_table[4] = (char *)(uintptr_t)build_id;
	p = complete_with(p, &binary, binary != NULL, NULL);
	bool found = p->location[0]->n_line == 3;
	pprof__profile__free_unpacked(p, NULL);
	return found;
}

static void test_a_moved_file_is_found_by_build_id_or_name(void **state)
{
	(void)state;
	assert_true(found_app("/app", "aa11", NULL));
	assert_true(found_app("/app", "", NULL));
	assert_false(found_app("/app", "bb22", NULL));
	assert_false(found_app("/gone/app", "aa11", NULL));
	assert_true(found_app("/gone/app", "aa11", "/moved/app"));
	assert_true(found_app("/gone/app", "aa11", "/moved/other")); /* by build id */
	assert_false(found_app("/gone/app", "bb22", "/moved/app"));  /* another version */
	assert_true(found_app("/gone/app", "", "/moved/app"));       /* by name, where it has no id */
	assert_true(found_app("/gone/app", "aa11", "/new/app"));     /* by name, where the file has none */
	assert_false(found_app("/gone/app", "aa11", "/moved/bare")); /* neither name nor id */
	assert_false(found_app("/gone/app", "", "/moved/other"));
}

static void test_what_the_user_names_goes_before_the_path_of_the_profile(void **state)
{
	const char *paths[] = {"/moved/app"};
	(void)state;
	pprof__profile__free_unpacked(complete_with(make(), paths, 1, NULL), NULL);
	assert_int_equal(opened[0], 0);
	assert_int_equal(opened[2], 1);
}

static void test_files_that_cannot_be_read_are_named(void **state)
{
	char *notes;
	Pprof__Profile *p = make();
	(void)state;
	p->string_table[3] = (char[]){"/gone/app"};
	p = complete_with(p, NULL, 0, &notes);
	assert_string_equal(notes, "pprofshim-symbolize: /gone/app: no such file; --binary names a file elsewhere\n"
	                           "pprofshim-symbolize: /lib/libc.so: a part of it is damaged\n");
	free(notes);
	pprof__profile__free_unpacked(p, NULL);
}

/* --- profiles and files that lie ------------------------------------------------------------------- */

static const char *wrong_with(const void *bytes, size_t len)
{
	int in = file_of(bytes, len), out = open("/dev/null", O_WRONLY);
	const char *wrong = complete_file(in, out, &(struct binaries){0}, stderr);
	close(in);
	close(out);
	return wrong;
}

static size_t gzip_of(const void *bytes, size_t len, unsigned char *out, size_t cap)
{
	z_stream z = {.next_in = (unsigned char *)(uintptr_t)bytes,
	              .avail_in = (unsigned)len,
	              .next_out = out,
	              .avail_out = (unsigned)cap};
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, 0), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

static void test_gzip_of_several_members_is_read(void **state)
{
	unsigned char bytes[4096], zipped[8192];
	(void)state;
	size_t len = pprof__profile__pack(make(), bytes), n = 0;
	for (size_t at = 0; at < len; at += 100)
		n += gzip_of(bytes + at, len - at < 100 ? len - at : 100, zipped + n, sizeof zipped - n);
	int in = file_of(zipped, n);
	Pprof__Profile *p;
	assert_null(profile_read(in, &p));
	assert_int_equal(pprof__profile__get_packed_size(p), len);
	pprof__profile__free_unpacked(p, NULL);
	close(in);
	/* cut anywhere, or with something behind it, it is refused */
	for (size_t cut = 1; cut < n; cut++)
		if (memcmp(zipped + cut, "\x1f\x8b\x08", 3) != 0)
			assert_non_null(wrong_with(zipped, cut));
	zipped[n] = 'x';
	assert_non_null(wrong_with(zipped, n + 1));
}

static void test_what_is_no_profile_is_refused(void **state)
{
	static const char *const others[] = {"",
	                                     "x",
	                                     "heap profile: 1: 2 [3: 4] @ heap/5\n",
	                                     "\x1f\x8b",
	                                     "\x1f\x8b\x08",
	                                     "{}",
	                                     "\n\x04\x08\x01\x10\x02"};
	(void)state;
	for (size_t i = 0; i < COUNT(others); i++)
		assert_non_null(wrong_with(others[i], strlen(others[i])));
	assert_non_null(complete_file(-1, -1, &(struct binaries){0}, stderr));
}

static void test_output_that_cannot_be_written_is_an_error(void **state)
{
	(void)state;
	int in = packed(make()), full = open("/dev/full", O_WRONLY);
	FILE *null = fopen("/dev/null", "w");
	assert_string_equal(complete_file(in, full, &(struct binaries){0}, null), "No space left on device");
	fclose(null);
	close(in);
	close(full);
}

static void test_numbers_that_point_nowhere_do_no_harm(void **state)
{
	(void)state;
	static const int64_t values[] = {-1, INT64_MIN, INT64_MAX, 1000};
	for (size_t i = 0; i < COUNT(values); i++) {
		Pprof__Profile *p = make();
		p->mapping[1]->filename = values[i];
		p->mapping[0]->build_id = values[i];
		p->function[0]->name = values[i];
		p->function[2]->filename = values[i];
		p->location[4]->line[0]->function_id = (uint64_t)values[i];
		p->location[5]->mapping_id = (uint64_t)values[i];
		p->location[2]->address = (uint64_t)values[i];
		pprof__profile__free_unpacked(complete_with(p, NULL, 0, NULL), NULL);
	}
	Pprof__Profile *p = make();
	p->function[0]->id = UINT64_MAX;
	int in = packed(p), out = open("/dev/null", O_WRONLY);
	assert_non_null(complete_file(in, out, &(struct binaries){0}, stderr));
	close(in);
	close(out);
}

static void test_any_bytes_are_a_profile_or_an_error(void **state)
{
	unsigned char good[4096], bytes[4096];
	size_t len = pprof__profile__pack(make(), good);
	uint64_t x = 88172645463325252u;
	int out = open("/dev/null", O_WRONLY);
	FILE *null = fopen("/dev/null", "w");
	(void)state;
	for (int round = 0; round < 20000; round++) {
		memcpy(bytes, good, len);
		for (unsigned k = 0; k <= round % 8u; k++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			bytes[x % len] =
				(x >> 40) & 1 ? (unsigned char)(x >> 32) : bytes[x % len] ^ (1u << (x >> 41) % 8);
		}
		int in = file_of(bytes, round % 16 ? len : x % len);
		complete_file(in, out, &(struct binaries){0}, null);
		close(in);
		assert_int_equal(objects_open, 0);
	}
	fclose(null);
	close(out);
}

/* More of everything than any table begins with. */
static void test_thousands_of_functions_fit(void **state)
{
	enum { N = 5000 };
	(void)state;
	Pprof__Profile *p = make();
	Pprof__Function *many = calloc(N, sizeof *many), **all = calloc(N, sizeof *all);
	Pprof__Location *at = calloc(N, sizeof *at), **ats = calloc(N, sizeof *ats);
	for (size_t i = 0; i < N; i++) {
		many[i] = (Pprof__Function)PPROF__FUNCTION__INIT;
		many[i].id = N - i;
		all[i] = &many[i];
		at[i] = (Pprof__Location)PPROF__LOCATION__INIT;
		at[i].id = i + 1, at[i].mapping_id = 1, at[i].address = 0x402000 + i;
		ats[i] = &at[i];
	}
	p->function = all, p->n_function = N;
	p->location = ats, p->n_location = N;
	p = complete_with(p, NULL, 0, NULL);
	assert_int_equal(p->n_function, 2 * N);
	for (size_t i = 0; i < N; i++) {
		char want[64];
		snprintf(want, sizeof want, "f%zx", 0x3000 + i);
		assert_int_equal(p->location[i]->line[0]->function_id, N + 1 + i);
		assert_string_equal(p->string_table[p->function[N + i]->name], want);
	}
	pprof__profile__free_unpacked(p, NULL);
	free(many), free(all), free(at), free(ats);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_locations_get_what_they_lack),
		cmocka_unit_test(test_all_else_stays_as_it_is),
		cmocka_unit_test(test_functions_are_numbered_without_gaps_and_none_is_left_over),
		cmocka_unit_test(test_mappings_say_only_what_is_true),
		cmocka_unit_test(test_a_completed_profile_is_not_changed_again),
		cmocka_unit_test(test_a_moved_file_is_found_by_build_id_or_name),
		cmocka_unit_test(test_what_the_user_names_goes_before_the_path_of_the_profile),
		cmocka_unit_test(test_files_that_cannot_be_read_are_named),
		cmocka_unit_test(test_gzip_of_several_members_is_read),
		cmocka_unit_test(test_what_is_no_profile_is_refused),
		cmocka_unit_test(test_output_that_cannot_be_written_is_an_error),
		cmocka_unit_test(test_numbers_that_point_nowhere_do_no_harm),
		cmocka_unit_test(test_any_bytes_are_a_profile_or_an_error),
		cmocka_unit_test(test_thousands_of_functions_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
