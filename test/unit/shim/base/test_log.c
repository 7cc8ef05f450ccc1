/* test_log.c - what is told, where, and by which process of a tree.
 *
 * Runs in: its own process, which starts itself again: as the parent with an environment (argument "parent"), whose
 * forked child logs into a pipe.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/base/log.c shim/base/own_file.c shim/base/powers.c shim/base/settings.c shim/base/text.c */
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/log.h"
#include "test/unit/support/count.h"

static const char *const OURS = "LD_PRELOAD=/nowhere/libpprofshim.so";

/* The forked child of a parent that was started with some environment: it tells a warning and an information. */
static int be_parent(const char *destination)
{
	pid_t child = fork();
	if (child == 0) {
		dup2(STDOUT_FILENO, STDERR_FILENO); /* the loader's own words to the parent are not ours */
		log_start(destination[0] == '-' ? NULL : destination, NULL, "/usr/lib/libpprofshim.so");
		log_warn("something is wrong");
		log_info("something is so");
		_exit(log_parent());
	}
	int status;
	return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

struct answer {
	char text[4096];
	enum log_parent parent;
};

static struct answer run(const char *destination, char *const *environment)
{
	int fd[2];
	struct answer a = {.text = ""};
	assert_int_equal(pipe(fd), 0);
	pid_t child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_WRONLY);
		dup2(fd[1], STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		char *argv[] = {"test_log", "parent", (char *)destination, NULL};
		execve("/proc/self/exe", argv, environment);
		_exit(101);
	}
	close(fd[1]);
	size_t len = 0;
	for (ssize_t n; (n = read(fd[0], a.text + len, sizeof a.text - 1 - len)) > 0;)
		len += (size_t)n;
	close(fd[0]);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= PARENT_HIDDEN);
	a.parent = (enum log_parent)WEXITSTATUS(status);
	return a;
}

static void test_a_parent_is_known_by_its_environment(void **state)
{
	static const struct {
		const char *entry[4];
		bool ours;
	} rows[] = {
		{{NULL}, false},
		{{"A=B"}, false},
		{{"LD_PRELOAD=/nowhere/libpprofshim.so"}, true},
		{{"LD_PRELOAD=/nowhere/libother.so:/nowhere/libpprofshim.so"}, true},
		{{"LD_PRELOAD=/nowhere/libpprofshim.debug.so"}, false}, /* another file than ours */
		{{"LD_PRELOAD=/nowhere/libother.so"}, false},
		{{"XLD_PRELOAD=/nowhere/libpprofshim.so"}, false},
		{{"X=LD_PRELOAD=/nowhere/libpprofshim.so"}, false},
		{{"LD_PRELOAD=/nowhere/libpprofshim.so", "DISABLE_PPROF=1"}, false},
		{{"DISABLE_PPROF=yes", "LD_PRELOAD=/nowhere/libpprofshim.so"}, false},
		{{"DISABLE_PPROF=0", "LD_PRELOAD=/nowhere/libpprofshim.so"}, true},
		{{"LD_PRELOAD=/nowhere/libpprofshim.so", "DISABLE_PPROF="}, true},
		{{"LD_PRELOAD=/nowhere/libpprofshim.so", "DISABLE_PPROF=off", "Z=1"}, true},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct answer a = run("-", (char *const *)rows[i].entry);
		if (a.parent != (rows[i].ours ? PARENT_OURS : PARENT_NOT_OURS))
			fail_msg("row %zu: %d", i, (int)a.parent);
		assert_string_equal(a.text, rows[i].ours ? "" : "pprofshim: something is wrong\n");
	}
}

static void test_information_is_told_when_it_is_asked_for(void **state)
{
	static const struct {
		const char *destination, *text;
	} rows[] = {
		{"-", "pprofshim: something is wrong\n"},
		{"", "pprofshim: something is wrong\n"},
		{"info", "pprofshim: something is wrong\npprofshim: something is so\n"},
		{"INFO", "pprofshim: something is wrong\npprofshim: something is so\n"},
	};
	(void)state;
	char *none[] = {NULL};
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_string_equal(run(rows[i].destination, none).text, rows[i].text);
	char *ours[] = {(char *)OURS, NULL};
	assert_string_equal(run("info", ours).text, "pprofshim: something is so\n");
}

static void test_another_word_is_warned_of(void **state)
{
	(void)state;
	char *none[] = {NULL};
	struct answer a = run("verbose", none);
	assert_memory_equal(a.text, "pprofshim: PPROF_LOG wants info", 31);
	assert_null(strstr(a.text, "something is so"));
	assert_non_null(strstr(a.text, "\npprofshim: something is wrong\n"));
}

static void test_a_path_is_appended_to(void **state)
{
	(void)state;
	char path[] = "/tmp/test_log.XXXXXX";
	int fd = mkstemp(path);
	if (fd < 0)
		skip();
	char *none[] = {NULL};
	assert_string_equal(run(path, none).text, "");
	assert_string_equal(run(path, none).text, "");
	char text[1000] = "";
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	unlink(path);
	static const char once[] = "pprofshim: something is wrong\npprofshim: something is so\n";
	assert_int_equal(n, 2 * strlen(once));
	assert_memory_equal(text, once, strlen(once));
	assert_string_equal(text + strlen(once), once);
	assert_string_equal(run("/nowhere/at/all", none).text, ""); /* nothing is told, nothing breaks */
}

static void test_a_very_long_line_is_cut_and_still_a_line(void **state)
{
	(void)state;
	int fd[2];
	assert_int_equal(pipe(fd), 0);
	pid_t child = fork();
	if (child == 0) {
		static char line[5000];
		memset(line, 'x', sizeof line - 1);
		dup2(fd[1], STDERR_FILENO);
		log_start("info", NULL, "/usr/lib/libpprofshim.so");
		log_info(line);
		_exit(0);
	}
	close(fd[1]);
	char text[6000];
	ssize_t n = read(fd[0], text, sizeof text);
	close(fd[0]);
	waitpid(child, NULL, 0);
	assert_in_range(n, 300, 768);
	assert_int_equal(text[n - 1], '\n');
	assert_null(memchr(text, '\n', (size_t)n - 1));
}

static void test_what_would_write_a_line_of_its_own_is_told_as_numbers(void **state)
{
	(void)state;
	int fd[2];
	assert_int_equal(pipe(fd), 0);
	pid_t child = fork();
	if (child == 0) {
		dup2(fd[1], STDERR_FILENO);
		log_start("info", NULL, "/usr/lib/libpprofshim.so");
		log_info("a\nroot::0:0\t\x1b[2J\x7f\xc2\x9b|b");
		_exit(0);
	}
	close(fd[1]);
	char text[200] = "";
	assert_true(read(fd[0], text, sizeof text - 1) > 0);
	close(fd[0]);
	waitpid(child, NULL, 0);
	assert_string_equal(text, "pprofshim: a\\x0aroot::0:0\\x09\\x1b[2J\\x7f\\xc2\\x9b|b\n");
}

static void test_the_child_of_a_fork_is_silent(void **state)
{
	(void)state;
	int fd[2];
	assert_int_equal(pipe(fd), 0);
	pid_t child = fork();
	if (child == 0) {
		dup2(fd[1], STDERR_FILENO);
		log_start(NULL, NULL, "/usr/lib/libpprofshim.so");
		log_fork_child();
		log_warn("not told");
		_exit(log_parent() == PARENT_OURS ? 0 : 1);
	}
	close(fd[1]);
	char text[100];
	assert_int_equal(read(fd[0], text, sizeof text), 0);
	close(fd[0]);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "parent") == 0)
		return be_parent(argv[2]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_parent_is_known_by_its_environment),
		cmocka_unit_test(test_information_is_told_when_it_is_asked_for),
		cmocka_unit_test(test_another_word_is_warned_of),
		cmocka_unit_test(test_a_path_is_appended_to),
		cmocka_unit_test(test_a_very_long_line_is_cut_and_still_a_line),
		cmocka_unit_test(test_what_would_write_a_line_of_its_own_is_told_as_numbers),
		cmocka_unit_test(test_the_child_of_a_fork_is_silent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
