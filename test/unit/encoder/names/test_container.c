/* test_container.c - how much memory a control group has left, from files made here.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/container.c shim/base/text.c */
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

#include "encoder/names/container.h"

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

/* Of version 1. */
static void make_old_group(const char *name, const char *limit, const char *usage, const char *stat)
{
	char path[256];
	snprintf(path, sizeof path, "%s/%s", root, name);
	mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/memory.limit_in_bytes", name);
	put(path, limit);
	snprintf(path, sizeof path, "%s/memory.usage_in_bytes", name);
	put(path, usage);
	snprintf(path, sizeof path, "%s/memory.stat", name);
	put(path, stat);
}

/* `mounts` says %s where the root of the test is. */
static uint64_t room_mounted(const char *membership, const char *mounts)
{
	char text[1024], path[2][256];
	put("membership", membership);
	snprintf(text, sizeof text, mounts, root, root);
	put("mounts", text);
	snprintf(path[0], sizeof path[0], "%s/membership", root);
	snprintf(path[1], sizeof path[1], "%s/mounts", root);
	return container_room_of(path[0], path[1]);
}

#define OTHERS "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n23 1 0:5 / /proc rw - proc proc rw\n"

static uint64_t room(const char *membership)
{
	return room_mounted(membership, OTHERS "30 22 0:26 / %s rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
}

static void test_a_group_has_what_its_limit_leaves(void **state)
{
	(void)state;
	make_group("pod", "max\n", "5000\n", "anon 4000\nfile 1000\nshmem 0\n");
	make_group("pod/app", "1000000\n", "700000\n", "anon 300000\nfile 400000\nkernel 0\nshmem 100000\n");
	make_group("pod/full", "1000\n", "1200\n", "anon 1200\n");
	assert_int_equal(room("0::/pod/app\n"),
	                 1000000 - (700000 - 300000)); /* files that can be dropped count as free */
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
	put("memory.max", "max\n");
}

static void test_groups_of_version_1_are_asked_too(void **state)
{
	static const char mounts[] = OTHERS "31 22 0:27 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct\n"
					    "32 22 0:28 / %s/old rw - cgroup cgroup rw,memory\n";
	(void)state;
	make_old_group("old", "9223372036854771712\n", "1000\n", "");
	make_old_group("old/docker", "25165824\n", "9000000\n",
	               "cache 1\ntotal_inactive_file 500000\ntotal_active_file 400000\ntotal_rss 8\n");
	make_old_group("old/docker/app", "30000000\n", "1000000\n", "total_inactive_file 0\n");
	assert_int_equal(room_mounted("4:memory:/docker\n3:cpu:/y\n", mounts), 25165824 - 8100000);
	assert_int_equal(room_mounted("4:cpuset,memory:/docker/app\n", mounts), 25165824 - 8100000); /* the tightest */
	assert_int_equal(room_mounted("4:memory:/\n", mounts), UINT64_MAX);
	assert_int_equal(room_mounted("4:memory:/gone/away\n", mounts), UINT64_MAX);
	assert_int_equal(room_mounted("3:cpu:/docker\n", mounts), UINT64_MAX);
}

/* In a container that has no name space of its own for groups, its group is what is mounted. */
static void test_a_group_that_is_the_mount_itself_is_found(void **state)
{
	(void)state;
	make_old_group("ours", "1000000\n", "400000\n", "");
	make_old_group("ours/part", "500000\n", "100000\n", "");
	static const char mounts[] = "32 22 0:28 /docker/abc %s/ours rw master:3 - cgroup cgroup rw,memory\n";
	assert_int_equal(room_mounted("4:memory:/docker/abc\n", mounts), 600000);
	assert_int_equal(room_mounted("4:memory:/docker/abc/part\n", mounts), 400000);
	assert_int_equal(room_mounted("4:memory:/docker/abcd\n", mounts),
	                 600000); /* not below: those above it are asked */
}

static void test_both_versions_may_be_there(void **state)
{
	static const char mounts[] =
		"30 22 0:26 / %s/new rw - cgroup2 cgroup2 rw\n32 22 0:28 / %s/old1 rw - cgroup cgroup rw,memory\n";
	(void)state;
	make_group("new", "max\n", "1\n", "");
	make_group("new/a", "7000\n", "1000\n", "");
	make_old_group("old1", "9223372036854771712\n", "1\n", "");
	make_old_group("old1/b", "9000\n", "5000\n", "");
	assert_int_equal(room_mounted("4:memory:/b\n0::/a\n", mounts), 4000);
	assert_int_equal(room_mounted("4:memory:/\n0::/a\n", mounts), 6000);
}

static void test_what_is_no_such_group_has_no_limit(void **state)
{
	(void)state;
	assert_int_equal(room(""), UINT64_MAX);
	assert_int_equal(room("0::/gone\n"), UINT64_MAX);
	assert_int_equal(room("nonsense\n\n:::\n"), UINT64_MAX);
	assert_int_equal(room_mounted("0::/pod/app\n", ""), UINT64_MAX);
	assert_int_equal(container_room_of("/nonexistent", "/nonexistent"), UINT64_MAX);
	container_room(); /* whatever this machine has */
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
		cmocka_unit_test(test_groups_of_version_1_are_asked_too),
		cmocka_unit_test(test_a_group_that_is_the_mount_itself_is_found),
		cmocka_unit_test(test_both_versions_may_be_there),
		cmocka_unit_test(test_what_is_no_such_group_has_no_limit),
	};
	return cmocka_run_group_tests(tests, make_root, remove_root);
}
