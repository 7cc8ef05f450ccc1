/* test_maps.c - /proc/self/maps, against what this process knows of its own memory.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/maps.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
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
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/names/maps.h"

enum { PAGE = 4096 };

static void test_lines_are_in_order_and_every_one_is_read(void **state)
{
	(void)state;
	struct region r = {0};
	struct maps m;
	assert_int_equal(maps_read(&r, &m), 0);
	size_t lines = 0;
	for (size_t i = 0; i < m.text.len; i++)
		lines += m.text.at[i] == '\n';
	assert_int_equal(m.count, lines);
	assert_true(m.count > 5);
	for (size_t i = 0; i < m.count; i++) {
		assert_true(m.at[i].start < m.at[i].end);
		assert_true(i == 0 || m.at[i - 1].end <= m.at[i].start);
	}
	region_release(&r);
}

static void test_an_address_is_found_in_its_mapping_and_no_other(void **state)
{
	(void)state;
	struct region r = {0};
	struct maps m;
	char *p = mmap(NULL, 5 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(mprotect(p + PAGE, PAGE, PROT_READ), 0);
	assert_int_equal(munmap(p + 3 * PAGE, PAGE), 0);
	assert_int_equal(maps_read(&r, &m), 0);
	const struct map *readable = maps_find(&m, (uintptr_t)p + PAGE);
	assert_non_null(readable);
	assert_int_equal(readable->start, (uintptr_t)p + PAGE);
	assert_int_equal(readable->end, (uintptr_t)p + 2 * PAGE);
	assert_int_equal(readable->path.len, 0);
	assert_ptr_equal(maps_find(&m, (uintptr_t)p + 2 * PAGE - 1), readable);
	assert_ptr_not_equal(maps_find(&m, (uintptr_t)p + 2 * PAGE), readable);
	assert_null(maps_find(&m, (uintptr_t)p + 3 * PAGE));
	assert_null(maps_find(&m, (uintptr_t)p + 4 * PAGE - 1));
	assert_non_null(maps_find(&m, (uintptr_t)p + 4 * PAGE));
	assert_null(maps_find(&m, 0));
	assert_null(maps_find(&m, UINTPTR_MAX));
	const struct map *stack = maps_find(&m, (uintptr_t)&m);
	assert_non_null(stack);
	assert_true(span_is(stack->path, "[stack]"));
	for (size_t i = 0; i < m.count; i++) {
		assert_ptr_equal(maps_find(&m, m.at[i].start), &m.at[i]);
		assert_ptr_equal(maps_find(&m, m.at[i].end - 1), &m.at[i]);
	}
	munmap(p, 3 * PAGE);
	munmap(p + 4 * PAGE, PAGE);
	region_release(&r);
}

static void test_a_file_is_known_by_path_and_offset_even_when_it_is_deleted(void **state)
{
	static const char *const names[] = {"/plain", "/with two  blanks", "/ends in (deleted)"};
	(void)state;
	char dir[] = "/tmp/test_maps.XXXXXX";
	if (!mkdtemp(dir))
		skip();
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char path[200];
		snprintf(path, sizeof path, "%s%s", dir, names[i]);
		FILE *f = fopen(path, "w+");
		assert_non_null(f);
		assert_int_equal(ftruncate(fileno(f), 2 * PAGE), 0);
		void *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fileno(f), PAGE);
		assert_ptr_not_equal(p, MAP_FAILED);
		for (int deleted = 0; deleted < 2; deleted++) {
			struct region r = {0};
			struct maps m;
			if (deleted)
				unlink(path);
			assert_int_equal(maps_read(&r, &m), 0);
			const struct map *found = maps_find(&m, (uintptr_t)p);
			assert_non_null(found);
			assert_int_equal(found->offset, PAGE);
			/* (a name that ends so by itself looks deleted before it is: proc(5) cannot tell, either) */
			if (i < 2 || deleted) {
				assert_int_equal(found->deleted, deleted);
				if (!span_is(found->path, path))
					fail_msg("\"%.*s\" is not \"%s\"", (int)found->path.len, found->path.at, path);
			}
			region_release(&r);
		}
		munmap(p, PAGE);
		fclose(f);
	}
	rmdir(dir);
}

static const struct map *map_of(const struct maps *m, const void *p)
{
	const struct map *found = maps_find(m, (uintptr_t)p);
	assert_non_null(found);
	return found;
}

static void test_memory_without_a_file_is_no_object_whatever_its_name(void **state)
{
	(void)state;
	struct region r = {0};
	struct maps m;
	int fd = memfd_create("file", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	void *memfd = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	void *shared = mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	void *plain = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_int_equal(maps_read(&r, &m), 0);
	assert_true(maps_is_object(map_of(&m, map_of)));
	assert_false(maps_is_object(map_of(&m, memfd)));
	assert_false(maps_is_object(map_of(&m, shared)));
	assert_false(maps_is_object(map_of(&m, plain)));
	assert_false(maps_is_object(map_of(&m, &m)));
	for (size_t i = 0; i < m.count; i++)
		if (span_is(m.at[i].path, "[vdso]"))
			assert_true(maps_is_object(&m.at[i]));
	munmap(memfd, PAGE);
	munmap(shared, PAGE);
	munmap(plain, PAGE);
	close(fd);
	region_release(&r);
}

/* More lines than the first buffer holds. */
static void test_a_long_list_of_mappings_is_read_whole(void **state)
{
	(void)state;
	enum { N = 1500 };
	char *p = mmap(NULL, 2 * N * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(mprotect(p + 2 * i * PAGE, PAGE, PROT_READ), 0);
	struct region r = {0};
	struct maps m;
	assert_int_equal(maps_read(&r, &m), 0);
	assert_true(m.text.len > 64 * 1024);
	assert_true(m.count >= 2 * N);
	for (size_t i = 0; i < N; i++)
		assert_int_equal(maps_find(&m, (uintptr_t)p + 2 * i * PAGE)->start, (uintptr_t)p + 2 * i * PAGE);
	assert_int_equal(m.text.at[m.text.len - 1], '\n');
	munmap(p, 2 * N * PAGE);
	region_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_are_in_order_and_every_one_is_read),
		cmocka_unit_test(test_an_address_is_found_in_its_mapping_and_no_other),
		cmocka_unit_test(test_a_file_is_known_by_path_and_offset_even_when_it_is_deleted),
		cmocka_unit_test(test_memory_without_a_file_is_no_object_whatever_its_name),
		cmocka_unit_test(test_a_long_list_of_mappings_is_read_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
