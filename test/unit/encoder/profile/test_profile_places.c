/* test_profile_places.c - where a profile says that addresses lie: functions, mappings, code made at run time.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/answers.c encoder/names/helper_program.c encoder/names/object_file.c encoder/names/trouble.c
 * links: encoder/bytes/protobuf.c encoder/profile/profile.c encoder/profile/writer.c
 * links: encoder/profile/mappings.c encoder/profile/profile.pb-c.c encoder/names/names.c
 * links: encoder/names/site.c encoder/names/tails.c encoder/names/ways.c
 * links: encoder/names/cache.c encoder/names/symbolizer.c encoder/names/container.c encoder/names/jit.c
 * links: shim/base/own_file.c shim/listener/spawn.c shim/listener/keeper.c shim/listener/filters.c
 * links: encoder/names/elf_symbols.c encoder/names/maps.c
 * links: encoder/profile/rows.c encoder/bytes/sort.c encoder/bytes/intern.c encoder/bytes/gzip.c encoder/bytes/out.c
 * links: encoder/bytes/utf8.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include "test/unit/encoder/profile/profile_made.h"

static uint64_t location_with(const Pprof__Profile *p, uint64_t address, const char *file)
{
	for (size_t i = 0; i < p->n_location; i++) {
		uint64_t m = p->location[i]->mapping_id;
		if (p->location[i]->address == address &&
		    (file ? m && strstr(text(p, p->mapping[m - 1]->filename), file) : !m))
			return i + 1;
	}
	fail_msg("no location %#llx in %s", (unsigned long long)address, file ? file : "nothing");
	return 0;
}

static void test_functions_are_named_and_unknown_addresses_by_their_file(void **state)
{
	(void)state;
	struct profile_snapshot s = heap(PROFILE_HEAP, COUNT(heap_rows));
	for (int round = 0; round < 2; round++) { /* from the file, from the cache */
		Pprof__Profile *p = encode(&s, NULL);
		assert_string_equal(name_at(p, location_with(p, stacks[0]->pc[0], "test_profile")),
		                    "first_function_of_the_test");
		assert_string_equal(name_at(p, location_with(p, stacks[0]->pc[1], "test_profile")),
		                    "second_function_of_the_test");
		assert_string_equal(name_at(p, location_with(p, 0x11080, "libold.so")), "libold.so+0x1080");
		assert_string_equal(name_at(p, location_with(p, 0x11080, "new.so")), "lib?new.so+0x1080");
		assert_string_equal(name_at(p, location_with(p, 0x14010, "new.so")), "lib?new.so+0x4010");
		assert_string_equal(name_at(p, location_with(p, 0x9010, NULL)), "[anonymous]+0x9010");
		drop(p);
	}
}

static void test_mappings_begin_with_the_program_and_leave_out_what_is_gone_and_unused(void **state)
{
	(void)state;
	struct profile_snapshot s = heap(PROFILE_HEAP, 1);
	Pprof__Profile *p = encode(&s, NULL);
	assert_int_equal(p->n_mapping, 3); /* the program, and the two parts of what is loaded */
	assert_non_null(strstr(text(p, p->mapping[0]->filename), "test_profile"));
	assert_int_equal(p->mapping[0]->memory_start, program.text[0].start & ~4095ul);
	assert_int_equal(p->mapping[0]->file_offset, program.text[0].file_offset & ~4095ul);
	assert_string_equal(text(p, p->mapping[1]->filename), "/nowhere/lib?new.so");
	assert_int_equal(p->mapping[2]->file_offset, 0x4000);
	assert_string_equal(text(p, p->mapping[1]->build_id), "");
	drop(p);
	s = heap(PROFILE_HEAP, COUNT(heap_rows));
	p = encode(&s, NULL);
	assert_int_equal(p->n_mapping, 4); /* libold.so holds an address of a sample */
	assert_string_equal(text(p, p->mapping[1]->filename), "/nowhere/libold.so");
	assert_string_equal(text(p, p->mapping[1]->build_id), "ab01");
	drop(p);
}

static void test_equal_addresses_of_two_objects_are_two_locations(void **state)
{
	(void)state;
	struct profile_snapshot s = heap(PROFILE_HEAP, COUNT(heap_rows));
	Pprof__Profile *p = encode(&s, NULL);
	assert_true(location_with(p, 0x11080, "libold.so") != location_with(p, 0x11080, "new.so"));
	/* and no other address is there twice */
	for (size_t i = 0; i < p->n_location; i++)
		for (size_t k = 0; k < i; k++)
			assert_true(p->location[i]->address != p->location[k]->address ||
			            p->location[i]->address == 0x11080);
	drop(p);
}

/* Pieces of code that no file has, far from each other: each has a mapping. expect_sound sees to the order of ids. */
static void test_mappings_of_made_code_are_numbered_as_they_are_written(void **state)
{
	enum { PIECES = 40, PAGE = 4096 };
	struct stack *s = calloc(1, sizeof *s + PIECES * sizeof(uintptr_t));
	char *all = mmap(NULL, 2 * PIECES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	(void)state;
	assert_true(all != MAP_FAILED);
	s->depth = PIECES;
	for (size_t i = 0; i < PIECES; i++) {
		char *piece = all + 2 * PAGE * (i * 7 % PIECES);
		assert_int_equal(mprotect(piece, PAGE, PROT_READ | PROT_EXEC), 0);
		s->pc[i] = (uintptr_t)piece + 16;
	}
	struct cpu_row row = {.stack = s, .name = "", .count = 1, .ns = 10000000};
	struct profile_snapshot cpu = {.kind = PROFILE_CPU, .cpu = {.period_ns = 10000000, .count = 1, .rows = &row}};
	Pprof__Profile *p = encode(&cpu, NULL);
	assert_int_equal(p->n_location, PIECES);
	for (size_t i = 0; i < PIECES; i++) {
		assert_true(p->location[i]->mapping_id > 0);
		const Pprof__Mapping *m = p->mapping[p->location[i]->mapping_id - 1];
		assert_string_equal(text(p, m->filename), "[jit]");
	}
	drop(p);
	munmap(all, 2 * PIECES * PAGE);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_functions_are_named_and_unknown_addresses_by_their_file),
		cmocka_unit_test(test_mappings_begin_with_the_program_and_leave_out_what_is_gone_and_unused),
		cmocka_unit_test(test_equal_addresses_of_two_objects_are_two_locations),
		cmocka_unit_test(test_mappings_of_made_code_are_numbered_as_they_are_written),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
