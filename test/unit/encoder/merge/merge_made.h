/* merge_made.h - profiles that are made up, for the tests of merging.
 *
 * Runs in: test programs. Each includes it once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_MERGE_MADE_H
#define PPROFSHIM_TEST_MERGE_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/merge/merge.h"
#include "encoder/saved/profile_file.h"
#include "shim/base/arena.h"
#include "test/unit/support/count.h"

/* Two functions called `work` (in a.c and b.c), `main`; three locations of one line each. Sample n is locations n + 1
 * and 3 (main), with value 10 * (n + 1), and a label. */
enum { STRINGS = 16, SAMPLES = 3, LOCATIONS = 3 };
enum { S_WORK = 1, S_MAIN, S_A, S_B, S_APP, S_ID, S_CPU, S_NS, S_KEY, S_TEXT, S_BYTES, S_NOTE, S_PID, S_DROP };

static char *const made_strings[STRINGS] = {"",       "work", "main",        "a.c", "b.c",  "/app",
                                            "aa11",   "cpu",  "nanoseconds", "key", "text", "bytes",
                                            "a note", "pid",  "malloc",      "x"};

struct made {
	Pprof__Profile p;
	char *strings[STRINGS];
	Pprof__ValueType type, *types[1], period_type;
	Pprof__Mapping mapping, *mappings[1];
	Pprof__Function function[3], *functions[3];
	Pprof__Line line[LOCATIONS], *lines[LOCATIONS];
	Pprof__Location location[LOCATIONS], *locations[LOCATIONS];
	Pprof__Label label[SAMPLES], *labels[SAMPLES];
	uint64_t stack[SAMPLES][2];
	int64_t value[SAMPLES], comment[1];
	Pprof__Sample sample[SAMPLES], *samples[SAMPLES];
};

static inline void made_functions(struct made *d)
{
	static const struct {
		int64_t name, file, start;
	} rows[] = {{S_WORK, S_A, 10}, {S_WORK, S_B, 10}, {S_MAIN, S_A, 30}};
	for (size_t i = 0; i < COUNT(rows); i++) {
		Pprof__Function *f = d->functions[i] = &d->function[i];
		*f = (Pprof__Function)PPROF__FUNCTION__INIT;
		f->id = 100 - i;
		f->name = f->system_name = rows[i].name;
		f->filename = rows[i].file;
		f->start_line = rows[i].start;
	}
	d->p.function = d->functions, d->p.n_function = COUNT(rows);
}

static inline void made_locations(struct made *d, uint64_t start)
{
	for (size_t i = 0; i < LOCATIONS; i++) {
		Pprof__Location *l = d->locations[i] = &d->location[i];
		*l = (Pprof__Location)PPROF__LOCATION__INIT;
		d->line[i] = (Pprof__Line)PPROF__LINE__INIT;
		d->line[i].function_id = d->function[i].id, d->line[i].line = (int64_t)(10 * i + 11);
		d->lines[i] = &d->line[i];
		l->id = 7 * (i + 1), l->mapping_id = 5, l->address = start + 0x100 * i;
		l->line = &d->lines[i], l->n_line = 1;
	}
	d->p.location = d->locations, d->p.n_location = LOCATIONS;
}

static inline void made_samples(struct made *d)
{
	for (size_t i = 0; i < SAMPLES; i++) {
		Pprof__Sample *s = d->samples[i] = &d->sample[i];
		*s = (Pprof__Sample)PPROF__SAMPLE__INIT;
		d->label[i] = (Pprof__Label)PPROF__LABEL__INIT;
		d->label[i].key = S_KEY, d->label[i].str = S_TEXT;
		d->labels[i] = &d->label[i];
		d->stack[i][0] = 7 * (i + 1), d->stack[i][1] = 7 * LOCATIONS;
		d->value[i] = (int64_t)(10 * (i + 1));
		s->location_id = d->stack[i], s->n_location_id = 2;
		s->value = &d->value[i], s->n_value = 1;
		s->label = &d->labels[i], s->n_label = 1;
	}
	d->p.sample = d->samples, d->p.n_sample = SAMPLES;
}

/* The program is loaded at `start`. */
static inline struct made *made_at(struct made *d, uint64_t start)
{
	memset(d, 0, sizeof *d);
	d->p = (Pprof__Profile)PPROF__PROFILE__INIT;
	memcpy(d->strings, made_strings, sizeof made_strings);
	d->p.string_table = d->strings, d->p.n_string_table = STRINGS;
	d->type = d->period_type = (Pprof__ValueType)PPROF__VALUE_TYPE__INIT;
	d->type.type = d->period_type.type = S_CPU, d->type.unit = d->period_type.unit = S_NS;
	d->types[0] = &d->type;
	d->p.sample_type = d->types, d->p.n_sample_type = 1;
	d->p.period_type = &d->period_type, d->p.period = 10;
	d->p.time_nanos = 1000, d->p.duration_nanos = 5;
	d->p.drop_frames = S_DROP;
	d->comment[0] = S_NOTE;
	d->p.comment = d->comment, d->p.n_comment = 1;
	d->mapping = (Pprof__Mapping)PPROF__MAPPING__INIT;
	d->mapping.id = 5, d->mapping.memory_start = start, d->mapping.memory_limit = start + 0x2000;
	d->mapping.filename = S_APP, d->mapping.build_id = S_ID, d->mapping.has_functions = 1;
	d->mappings[0] = &d->mapping;
	d->p.mapping = d->mappings, d->p.n_mapping = 1;
	made_functions(d);
	made_locations(d, start);
	made_samples(d);
	return d;
}

/* --- results --------------------------------------------------------------------------------------- */

static inline const char *text_of(const Pprof__Profile *p, int64_t number)
{
	assert_in_range(number, 0, p->n_string_table - 1);
	return p->string_table[number];
}

/* What was written to a file, from its beginning. */
static inline Pprof__Profile *written(int fd)
{
	Pprof__Profile *p;
	lseek(fd, 0, SEEK_SET);
	const char *wrong = profile_read(fd, &p);
	assert_null(wrong);
	close(fd);
	return p;
}

/* Write and free a merge. */
static inline Pprof__Profile *result(struct merge *m)
{
	int fd = memfd_create("merged", MFD_CLOEXEC);
	const char *wrong = merge_write(m, fd);
	assert_null(wrong);
	merge_free(m);
	return written(fd);
}

#endif
