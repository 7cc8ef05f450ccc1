/* test_own_file.c - which files a setting may name.
 *
 * Runs in: its own process, in a folder of its own below /tmp. Tests with another user's files run as root
 * alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/base/own_file.c shim/base/text.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/own_file.h"

enum { STRANGER = 65534 };

static char home[64];

static int enter_folder(void **state)
{
	(void)state;
	strcpy(home, "/tmp/test_own_file.XXXXXX");
	return mkdtemp(home) && chmod(home, 0755) == 0 ? chdir(home) : -1;
}

static int leave_folder(void **state)
{
	(void)state;
	char command[128];
	snprintf(command, sizeof command, "rm -rf %s", home);
	return chdir("/") || system(command);
}

static const char *at(const char *name)
{
	static char path[200];
	snprintf(path, sizeof path, "%s/%s", home, name);
	return path;
}

static int try_append(const char *name)
{
	int fd = own_file_append(at(name));
	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static void put(const char *name, mode_t mode)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "old\n", 4), 4);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void test_a_missing_file_is_made_for_its_user_alone(void **state)
{
	(void)state;
	struct stat s;
	umask(0);
	assert_int_equal(try_append("new"), 0);
	assert_int_equal(stat("new", &s), 0);
	assert_int_equal(s.st_mode & 07777, 0600);
}

static void test_an_own_file_is_appended_to(void **state)
{
	(void)state;
	char text[20] = "";
	put("own", 0644);
	int fd = own_file_append(at("./own"));
	assert_int_equal(write(fd, "new\n", 4), 4);
	close(fd);
	fd = open("own", O_RDONLY);
	assert_int_equal(read(fd, text, sizeof text), 8);
	close(fd);
	assert_string_equal(text, "old\nnew\n");
}

static void test_what_is_no_file_is_not_opened(void **state)
{
	(void)state;
	assert_int_equal(mkfifo("fifo", 0600), 0);
	int reader = open("fifo", O_RDONLY | O_NONBLOCK);
	assert_int_equal(try_append("fifo"), -EPERM);
	close(reader);
	assert_int_equal(try_append("fifo"), -EPERM); /* and it does not wait for a reader */
	assert_int_equal(mkdir("folder", 0700), 0);
	assert_int_equal(try_append("folder"), -EPERM);
	assert_int_equal(own_file_append("/dev/null"), -EPERM);
	assert_int_equal(own_file_append("relative"), -EINVAL);
	assert_int_equal(try_append("nowhere/x"), -ENOENT);
	assert_int_equal(try_append("fifo/x"), -ENOTDIR);
}

static void test_a_link_or_a_second_name_is_not_written_by(void **state)
{
	(void)state;
	put("precious", 0600);
	assert_int_equal(symlink("precious", "link"), 0);
	assert_int_equal(symlink("made", "dangling"), 0);
	assert_int_equal(try_append("link"), -EPERM);
	assert_int_equal(try_append("dangling"), -EPERM);
	assert_int_equal(access("made", F_OK), -1);
	assert_int_equal(link("precious", "second"), 0);
	assert_int_equal(try_append("second"), -EPERM);
}

static void test_an_own_link_to_a_folder_is_followed(void **state)
{
	(void)state;
	assert_int_equal(mkdir("real", 0755), 0);
	assert_int_equal(symlink("real", "to_real"), 0);
	assert_int_equal(try_append("to_real/log"), 0);
	assert_int_equal(access("real/log", F_OK), 0);
	assert_int_equal(chmod(home, 0777), 0); /* here others could put another link in its place */
	int r = try_append("to_real/log");
	assert_int_equal(chmod(home, 01777), 0);
	int sticky = try_append("to_real/log");
	assert_int_equal(chmod(home, 0755), 0);
	assert_int_equal(r, -ELOOP);
	assert_int_equal(sticky, 0);
}

static void test_what_another_user_made_is_left_alone(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	put("foreign", 0666);
	assert_int_equal(chown("foreign", STRANGER, STRANGER), 0);
	assert_int_equal(try_append("foreign"), -EPERM);
	assert_int_equal(mkdir("there", 0755), 0);
	assert_int_equal(symlink("there", "foreign_link"), 0);
	assert_int_equal(lchown("foreign_link", STRANGER, STRANGER), 0);
	assert_int_equal(try_append("foreign_link/log"), -ELOOP);
	assert_int_equal(access("there/log", F_OK), -1);
}

static void test_a_program_is_run_that_only_root_and_its_user_can_write(void **state)
{
	(void)state;
	put("program", 0755);
	assert_int_equal(own_file_may_run(at("program")), 0);
	assert_int_equal(own_file_may_run("program"), -EINVAL);
	assert_int_equal(own_file_may_run(at("none")), -ENOENT);
	assert_int_equal(symlink("program", "to_program"), 0);
	assert_int_equal(own_file_may_run(at("to_program")), 0);
	assert_int_equal(own_file_may_run(home), -EPERM);
	assert_int_equal(chmod("program", 0757), 0);
	assert_int_equal(own_file_may_run(at("program")), -EPERM);
	assert_int_equal(chmod("program", 0775), 0); /* nor may a group: who is in it is not known */
	assert_int_equal(own_file_may_run(at("program")), -EPERM);
	if (geteuid() == 0) {
		assert_int_equal(chmod("program", 0755) || chown("program", STRANGER, STRANGER), 0);
		assert_int_equal(own_file_may_run(at("program")), -EPERM);
	}
}

static int try_in_folder(mode_t mode)
{
	assert_int_equal(chmod("way", mode), 0);
	return own_file_may_run(at("way/on/program"));
}

static void test_a_program_is_run_from_folders_that_nobody_else_can_write(void **state)
{
	(void)state;
	assert_int_equal(mkdir("way", 0755) || mkdir("way/on", 0755), 0);
	put("way/on/program", 0755);
	assert_int_equal(try_in_folder(0755), 0);
	assert_int_equal(try_in_folder(0775), -EPERM);
	assert_int_equal(try_in_folder(0757), -EPERM);
	assert_int_equal(try_in_folder(01777), 0); /* entries of this user's stay there */
	if (geteuid() == 0) {
		assert_int_equal(chown("way", STRANGER, STRANGER), 0);
		assert_int_equal(try_in_folder(0755), -EPERM);
	}
}

static int try_beside(mode_t mode, mode_t neighbour)
{
	char path[200];
	strcpy(path, at("helper"));
	assert_int_equal(chmod("helper", mode) || chmod("library", neighbour), 0);
	return own_file_may_run_beside(path, at("library"));
}

static void test_a_program_beside_the_library_is_trusted_as_that_is(void **state)
{
	(void)state;
	put("helper", 0755);
	put("library", 0644);
	assert_int_equal(try_beside(0755, 0644), 0);
	assert_int_equal(try_beside(0775, 0644), -EPERM);
	assert_int_equal(try_beside(0775, 0664), 0);
	assert_int_equal(try_beside(0757, 0664), -EPERM);
	assert_int_equal(chmod(home, 0777), 0); /* others could replace the library, too */
	int r = try_beside(0755, 0644);
	assert_int_equal(chmod(home, 0755), 0);
	assert_int_equal(r, 0);
	if (geteuid() == 0) {
		assert_int_equal(chown("library", 0, 1), 0);
		assert_int_equal(try_beside(0775, 0664), -EPERM);
		assert_int_equal(chown("helper", STRANGER, STRANGER), 0);
		assert_int_equal(try_beside(0755, 0644), -EPERM);
		assert_int_equal(chown("library", STRANGER, STRANGER), 0);
		assert_int_equal(try_beside(0755, 0644), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_missing_file_is_made_for_its_user_alone),
		cmocka_unit_test(test_an_own_file_is_appended_to),
		cmocka_unit_test(test_what_is_no_file_is_not_opened),
		cmocka_unit_test(test_a_link_or_a_second_name_is_not_written_by),
		cmocka_unit_test(test_an_own_link_to_a_folder_is_followed),
		cmocka_unit_test(test_what_another_user_made_is_left_alone),
		cmocka_unit_test(test_a_program_is_run_that_only_root_and_its_user_can_write),
		cmocka_unit_test(test_a_program_is_run_from_folders_that_nobody_else_can_write),
		cmocka_unit_test(test_a_program_beside_the_library_is_trusted_as_that_is),
	};
	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
