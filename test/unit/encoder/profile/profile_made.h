/* profile_made.h - snapshots made by hand, encoded, unpacked with zlib and protobuf-c, and checked.
 *
 * Runs in: test programs. Each includes it once. Stubs: the list of modules, the losses.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_PROFILE_MADE_H
#define PPROFSHIM_TEST_PROFILE_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "encoder/encoder.h"
#include "encoder/profile/profile.pb-c.h"
#include "encoder/bytes/utf8.h"
#include "test/unit/support/count.h"

/* --- stubs ------------------------------------------------------------------------------------- */

static struct module program = {.path = "", .text = (struct module_text[1]){{0}}, .text_count = 1};
static struct module twice_old = {.path = "/nowhere/libold.so",
                                  .start = 0x10000,
                                  .end = 0x20000,
                                  .bias = 0x10000,
                                  .text = (struct module_text[]){{0x11000, 0x12000, 0x1000}},
                                  .text_count = 1,
                                  .build_id = {0xab, 0x01},
                                  .build_id_len = 2,
                                  .gone = SHARED_INIT(true)};
static struct module twice_new = {
	.path = "/nowhere/lib\xffnew.so",
	.start = 0x10000,
	.end = 0x20000,
	.bias = 0x10000,
	.text = (struct module_text[]){{0x11000, 0x12000, 0x1000}, {0x14000, 0x15000, 0x4000}},
	.text_count = 2};
static struct module unused_gone = {.path = "/nowhere/libgone.so",
                                    .start = 0x30000,
                                    .end = 0x40000,
                                    .bias = 0x30000,
                                    .text = (struct module_text[]){{0x31000, 0x32000, 0x1000}},
                                    .text_count = 1,
                                    .gone = SHARED_INIT(true)};
static const struct module *modules[] = {&program, &twice_old, &twice_new, &unused_gone};
static const char *loss;

struct module_list snapshot_modules(void)
{
	return (struct module_list){COUNT(modules), modules};
}

void snapshot_losses(void (*tell)(void *arg, const char *line), void *arg)
{
	if (loss)
		tell(arg, loss);
}

/* --- functions of this program, to be found by name -------------------------------------------- */

int first_function_of_the_test(int x);
__attribute__((noinline)) int first_function_of_the_test(int x)
{
	return x * 3 + 1;
}

int second_function_of_the_test(int x);
__attribute__((noinline)) int second_function_of_the_test(int x)
{
	return x * 5 + 2;
}

static int find_program(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size, (void)arg;
	program.bias = info->dlpi_addr;
	program.start = UINTPTR_MAX;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + p->p_vaddr, end = start + p->p_memsz;
		if (p->p_type != PT_LOAD)
			continue;
		program.start = start < program.start ? start : program.start;
		program.end = end > program.end ? end : program.end;
		if (p->p_flags & PF_X) {
			program.text[0].start = start;
			program.text[0].end = end;
			program.text[0].file_offset = p->p_offset;
		}
	}
	return 1;
}

static struct stack *stack_of(unsigned place, size_t depth, ...)
{
	struct stack *s = calloc(1, sizeof *s + depth * sizeof(uintptr_t));
	va_list list;
	va_start(list, depth);
	s->depth = (uint16_t)depth;
	s->place = place;
	for (size_t i = 0; i < depth; i++)
		s->pc[i] = va_arg(list, uintptr_t);
	va_end(list);
	return s;
}

static struct stack *stacks[8];

static int start(void **state)
{
	(void)state;
	dl_iterate_phdr(find_program, NULL);
	uintptr_t a = (uintptr_t)first_function_of_the_test + 1, b = (uintptr_t)second_function_of_the_test + 1;
	stacks[0] = stack_of(0, (size_t)2, a, b);
	stacks[1] = stack_of(0, (size_t)3, b, a, (uintptr_t)0x11080);
	stacks[2] = stack_of(3, (size_t)2, (uintptr_t)0x11080, (uintptr_t)0x14010);
	stacks[3] = stack_of(0, (size_t)1, (uintptr_t)0x9010); /* in nothing */
	stacks[4] = stack_of(0, (size_t)0);
	encoder_start(&(struct encoder_options){.symbolizer_off = true, .memory_limit_bytes = 64 << 20});
	return 0;
}

/* --- decoding ---------------------------------------------------------------------------------- */

static uint8_t *unpacked;

static Pprof__Profile *decode(const struct out *o)
{
	enum { ROOM = 4 << 20 };
	uint8_t *packed = malloc(o->len + 1);
	size_t at = 0;
	for (const struct out_chunk *c = o->first; c; at += c->used, c = c->next)
		memcpy(packed + at, c->bytes, c->used);
	unpacked = malloc(ROOM);
	z_stream z = {.next_in = packed, .avail_in = (unsigned)at, .next_out = unpacked, .avail_out = ROOM};
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	Pprof__Profile *p = pprof__profile__unpack(NULL, z.total_out, unpacked);
	inflateEnd(&z);
	free(packed);
	assert_non_null(p);
	return p;
}

static void drop(Pprof__Profile *p)
{
	pprof__profile__free_unpacked(p, NULL);
	free(unpacked);
}

static const char *text(const Pprof__Profile *p, int64_t id)
{
	assert_in_range(id, 0, p->n_string_table - 1);
	return p->string_table[id];
}

static const char *name_at(const Pprof__Profile *p, uint64_t location)
{
	assert_in_range(location, 1, p->n_location);
	return text(p, p->function[p->location[location - 1]->line[0]->function_id - 1]->name);
}

static bool is_utf8(const char *s)
{
	for (const unsigned char *u = (const unsigned char *)s; *u; u++) {
		int more = *u < 0x80 ? 0 : *u >> 5 == 6 ? 1 : *u >> 4 == 14 ? 2 : *u >> 3 == 30 ? 3 : -1;
		if (more < 0)
			return false;
		for (; more; more--)
			if (*++u >> 6 != 2)
				return false;
	}
	return true;
}

/* Every reader wants this of every profile. */
static void expect_sound(const Pprof__Profile *p)
{
	assert_true(p->n_string_table > 0);
	assert_string_equal(p->string_table[0], "");
	for (size_t i = 0; i < p->n_string_table; i++) {
		assert_true(is_utf8(p->string_table[i]));
		assert_true(i == 0 || p->string_table[i][0]);
	}
	for (size_t i = 0; i < p->n_mapping; i++) {
		const Pprof__Mapping *m = p->mapping[i];
		assert_int_equal(m->id, i + 1);
		assert_true(m->memory_start < m->memory_limit);
		assert_int_equal((m->memory_start | m->memory_limit | m->file_offset) % 4096, 0);
		assert_true(m->has_functions);
		assert_false(m->has_filenames || m->has_line_numbers || m->has_inline_frames);
		text(p, m->filename);
		text(p, m->build_id);
	}
	for (size_t i = 0; i < p->n_function; i++) {
		assert_int_equal(p->function[i]->id, i + 1);
		assert_true(text(p, p->function[i]->name)[0]);
		assert_int_equal(p->function[i]->name, p->function[i]->system_name);
	}
	for (size_t i = 0; i < p->n_location; i++) {
		const Pprof__Location *l = p->location[i];
		assert_int_equal(l->id, i + 1);
		assert_true(l->address != 0);
		assert_int_equal(l->n_line, 1);
		assert_in_range(l->line[0]->function_id, 1, p->n_function);
		assert_in_range(l->mapping_id, 0, p->n_mapping);
		if (l->mapping_id) {
			const Pprof__Mapping *m = p->mapping[l->mapping_id - 1];
			assert_in_range(l->address, m->memory_start, m->memory_limit - 1);
		}
	}
	for (size_t i = 0; i < p->n_sample; i++) {
		const Pprof__Sample *s = p->sample[i];
		assert_int_equal(s->n_value, p->n_sample_type);
		for (size_t k = 0; k < s->n_location_id; k++)
			assert_in_range(s->location_id[k], 1, p->n_location);
		for (size_t k = 0; k < s->n_label; k++) {
			assert_true(text(p, s->label[k]->key)[0]);
			text(p, s->label[k]->str);
		}
	}
	text(p, p->drop_frames);
	text(p, p->default_sample_type);
	for (size_t i = 0; i < p->n_comment; i++)
		text(p, p->comment[i]);
}

static Pprof__Profile *encode(const struct profile_snapshot *now, const struct profile_snapshot *before)
{
	struct region r = {0};
	struct out o;
	uint64_t mapped = arena_mapped_bytes();
	out_init(&o, &r);
	assert_int_equal(profile_encode(&r, &o, now, before, NULL), 0);
	Pprof__Profile *p = decode(&o);
	region_release(&r);
	expect_sound(p);
	assert_in_range(arena_mapped_bytes() - mapped, 0, 1 << 20); /* the cache of names, no more */
	return p;
}

/* --- snapshots --------------------------------------------------------------------------------- */

static struct heap_row heap_rows[] = {
	{.class_bytes = 16, .raw = {2, 32, 1, 16}, .scaled = {200, 3200, 100, 1600}},
	{.class_bytes = 64, .raw = {1, 60, 0, 0}, .scaled = {70, 4200, 0, 0}},
	{.class_bytes = 64, .raw = {5, 300, 5, 300}, .scaled = {500, 30000, 500, 30000}},
	{.class_bytes = 0, .raw = {1, 0, 0, 0}, .scaled = {1, 0, 0, 0}},
	{.class_bytes = 8, .raw = {0, 0, 0, 0}, .scaled = {0, 0, 0, 0}},
	{.class_bytes = 4096, .raw = {1, 4096, 0, 0}, .scaled = {128, 524288, 0, 0}},
};

static struct profile_snapshot heap(enum profile_kind kind, size_t rows)
{
	static const int stack_of_row[] = {0, 0, 1, 2, 2, 3};
	for (size_t i = 0; i < COUNT(heap_rows); i++)
		heap_rows[i].stack = stacks[stack_of_row[i]];
	return (struct profile_snapshot){
		.kind = kind,
		.mono_ns = 9000,
		.heap = {.time_ns = 1234567890123456789, .rate_bytes = 524288, .count = rows, .rows = heap_rows}};
}

#endif
