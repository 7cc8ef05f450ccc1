/* test_container.c - how much memory a control group has left, from files made here.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/symbolize/container.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "encoder/symbolize/container.h"

static char root[] = "/tmp/test_container.XXXXXX";

static void put(const char *name, const char *text)
{
	char path[256];
	snprintf(path, sizeof path, "%s/%s", root, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void make_group(const char *name, const char *max, const char *current, const char *stat)
{
	char path[256];
	snprintf(path, sizeof path, "%s/%s", root, name);
	mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/memory.max", name);
	put(path, max);
	snprintf(path, sizeof path, "%s/memory.current", name);
	put(path, current);
	snprintf(path, sizeof path, "%s/memory.stat", name);
	put(path, stat);
}

static uint64_t room(const char *membership)
{
	char path[256];
	put("membership", membership);
	snprintf(path, sizeof path, "%s/membership", root);
	return container_room(root, path);
}

static void test_a_group_has_what_its_limit_leaves(void **state)
{
	(void)state;
	make_group("pod", "max\n", "5000\n", "anon 4000\nfile 1000\nshmem 0\n");
	make_group("pod/app", "1000000\n", "700000\n", "anon 300000\nfile 400000\nkernel 0\nshmem 100000\n");
	make_group("pod/full", "1000\n", "1200\n", "anon 1200\n");
	assert_int_equal(room("0::/pod/app\n"), 1000000 - (700000 - 300000)); /* files that can be dropped count as free */
	assert_int_equal(room("12:cpu:/x\n0::/pod/app\n"), 600000);
	assert_int_equal(room("0::/pod/full\n"), 0);
	assert_int_equal(room("0::/pod\n"), UINT64_MAX);
}

static void test_the_groups_around_it_limit_it_too(void **state)
{
	(void)state;
	make_group("pod", "500000\n", "100000\n", "anon 100000\n");
	make_group("pod/app", "1000000\n", "100000\n", "anon 100000\n");
	assert_int_equal(room("0::/pod/app\n"), 400000);
	put("memory.max", "300000\n");
	put("memory.current", "100000\n");
	put("memory.stat", "");
	assert_int_equal(room("0::/pod/app\n"), 200000);
	assert_int_equal(room("0::/\n"), 200000);
}

static void test_what_is_no_such_group_has_no_limit(void **state)
{
	(void)state;
	put("memory.max", "max\n");
	assert_int_equal(room("4:memory:/pod\n"), UINT64_MAX);
	assert_int_equal(room(""), UINT64_MAX);
	assert_int_equal(room("0::/gone\n"), UINT64_MAX);
	assert_int_equal(container_room(root, "/nonexistent"), UINT64_MAX);
}

static int make_root(void **state)
{
	(void)state;
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	char command[64];
	(void)state;
	snprintf(command, sizeof command, "rm -r %s", root);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_group_has_what_its_limit_leaves),
		cmocka_unit_test(test_the_groups_around_it_limit_it_too),
		cmocka_unit_test(test_what_is_no_such_group_has_no_limit),
	};
	return cmocka_run_group_tests(tests, make_root, remove_root);
}
