/* test_settings.c - every spelling of every setting, and what is said of a bad one.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/base/settings.c shim/base/text.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shim/base/settings.h"
#include "test/unit/support/count.h"

static struct settings preset;
static char complaint[512];
static int complaints;

static void complain(const char *line)
{
	snprintf(complaint, sizeof complaint, "%s", line);
	complaints++;
}

static int remember(void **state)
{
	(void)state;
	preset = settings;
	return 0;
}

static int reset(void **state)
{
	(void)state;
	settings = preset;
	complaints = 0;
	complaint[0] = '\0';
	return 0;
}

static void read_environ(char *const *environ)
{
	settings_read_texts(environ);
	settings_read_numbers(environ, complain);
}

static void read_one(const char *entry)
{
	char copy[1024];
	snprintf(copy, sizeof copy, "%s", entry);
	char *environ[] = {copy, NULL};
	read_environ(environ);
}

static void test_the_presets_are_the_documented_ones(void **state)
{
	(void)state;
	assert_int_equal(settings.heap_rate, 524288);
	assert_int_equal(settings.cpu_hz, 100);
	assert_int_equal(settings.stack_depth, 128);
	assert_int_equal(settings.memory_limit, 64 << 20);
	assert_null(settings.disable);
	assert_null(settings.addr);
	assert_null(settings.log);
	char *none[] = {NULL};
	read_environ(none);
	assert_memory_equal(&settings, &preset, sizeof settings);
}

static void test_no_is_said_in_five_ways(void **state)
{
	static const struct {
		const char *text;
		bool no;
	} rows[] = {
		{NULL, true},   {"", true},      {"0", true},     {"false", true}, {"False", true}, {"FALSE", true},
		{"no", true},   {"No", true},    {"NO", true},    {"off", true},   {"oFf", true},   {"1", false},
		{"yes", false}, {"true", false}, {"on", false},   {"00", false},   {" ", false},    {"0 ", false},
		{"n", false},   {"f", false},    {"nope", false}, {"offf", false}, {"2", false},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		if (settings_is_no(rows[i].text) != rows[i].no)
			fail_msg("row %zu: \"%s\"", i, rows[i].text ? rows[i].text : "(null)");
}

static void test_numbers_are_taken_within_their_limits_and_else_refused_once(void **state)
{
	static const struct {
		const char *entry;
		bool good;
		uint64_t rate, depth, limit;
	} rows[] = {
		{"PPROF_HEAP_RATE=0", true, 0, 128, 64 << 20},
		{"PPROF_HEAP_RATE=1", true, 1, 128, 64 << 20},
		{"PPROF_HEAP_RATE=1099511627776", true, 1ull << 40, 128, 64 << 20},
		{"PPROF_HEAP_RATE=", true, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE=1099511627777", false, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE=18446744073709551616", false, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE=-1", false, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE=+1", false, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE=0x10", false, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE=1e6", false, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE= 1", false, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE=1 ", false, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE=off", false, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE=256K", true, 256 << 10, 128, 64 << 20},
		{"PPROF_HEAP_RATE=1MiB", true, 1 << 20, 128, 64 << 20},
		{"PPROF_HEAP_RATE=1T", true, 1ull << 40, 128, 64 << 20},
		{"PPROF_HEAP_RATE=100B", true, 100, 128, 64 << 20},
		{"PPROF_HEAP_RATE=100iB", false, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE=BK", false, 524288, 128, 64 << 20},
		{"PPROF_HEAP_RATE=512 K", false, 524288, 128, 64 << 20},
		{"PPROF_STACK_DEPTH=1", true, 524288, 1, 64 << 20},
		{"PPROF_STACK_DEPTH=512", true, 524288, 512, 64 << 20},
		{"PPROF_STACK_DEPTH=0", false, 524288, 128, 64 << 20},
		{"PPROF_STACK_DEPTH=513", false, 524288, 128, 64 << 20},
		{"PPROF_MEMORY_LIMIT=1048576", true, 524288, 128, 1 << 20},
		{"PPROF_MEMORY_LIMIT=1024K", true, 524288, 128, 1 << 20},
		{"PPROF_MEMORY_LIMIT=1024k", true, 524288, 128, 1 << 20},
		{"PPROF_MEMORY_LIMIT=32M", true, 524288, 128, 32 << 20},
		{"PPROF_MEMORY_LIMIT=32m", true, 524288, 128, 32 << 20},
		{"PPROF_MEMORY_LIMIT=1G", true, 524288, 128, 1 << 30},
		{"PPROF_MEMORY_LIMIT=1g", true, 524288, 128, 1 << 30},
		{"PPROF_MEMORY_LIMIT=1024G", true, 524288, 128, 1ull << 40},
		{"PPROF_MEMORY_LIMIT=1025G", false, 524288, 128, 64 << 20},
		{"PPROF_MEMORY_LIMIT=1023K", false, 524288, 128, 64 << 20},
		{"PPROF_MEMORY_LIMIT=K", false, 524288, 128, 64 << 20},
		{"PPROF_MEMORY_LIMIT=1KK", false, 524288, 128, 64 << 20},
		{"PPROF_MEMORY_LIMIT=32MB", true, 524288, 128, 32 << 20},
		{"PPROF_MEMORY_LIMIT=32MiB", true, 524288, 128, 32 << 20},
		{"PPROF_MEMORY_LIMIT=32mib", true, 524288, 128, 32 << 20},
		{"PPROF_MEMORY_LIMIT=2048KiB", true, 524288, 128, 2 << 20},
		{"PPROF_MEMORY_LIMIT=1T", true, 524288, 128, 1ull << 40},
		{"PPROF_MEMORY_LIMIT=2T", false, 524288, 128, 64 << 20},
		{"PPROF_MEMORY_LIMIT=32Mi", false, 524288, 128, 64 << 20},
		{"PPROF_MEMORY_LIMIT=0.5G", false, 524288, 128, 64 << 20},
		/* 2^34 G = 2^64: the product must not come round as something small */
		{"PPROF_MEMORY_LIMIT=17179869184G", false, 524288, 128, 64 << 20},
		{"PPROF_MEMORY_LIMIT=17179869185G", false, 524288, 128, 64 << 20},
		{"PPROF_MEMORY_LIMIT=18446744073709551615K", false, 524288, 128, 64 << 20},
		{"PPROF_MEMORY_LIMIT=18014398509482048K", false, 524288, 128, 64 << 20},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		reset(state);
		read_one(rows[i].entry);
		if (settings.heap_rate != rows[i].rate || settings.stack_depth != rows[i].depth ||
		    settings.memory_limit != rows[i].limit)
			fail_msg("%s: %llu %llu %llu", rows[i].entry, (unsigned long long)settings.heap_rate,
			         (unsigned long long)settings.stack_depth, (unsigned long long)settings.memory_limit);
		if (complaints != !rows[i].good)
			fail_msg("%s: %d complaints", rows[i].entry, complaints);
	}
}

static void test_the_rate_of_cpu_samples_is_from_1_to_1000(void **state)
{
	static const struct {
		const char *entry;
		bool good;
		uint64_t hz;
	} rows[] = {
		{"PPROF_CPU_HZ=1", true, 1},        {"PPROF_CPU_HZ=250", true, 250}, {"PPROF_CPU_HZ=1000", true, 1000},
		{"PPROF_CPU_HZ=", true, 100},       {"PPROF_CPU_HZ=0", false, 100},  {"PPROF_CPU_HZ=1001", false, 100},
		{"PPROF_CPU_HZ=1K", false, 100},    {"PPROF_CPU_HZ=-1", false, 100}, {"PPROF_CPU_HZ=99.5", false, 100},
		{"PPROF_CPU_HZ=100Hz", false, 100},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		reset(state);
		read_one(rows[i].entry);
		if (settings.cpu_hz != rows[i].hz || complaints != !rows[i].good)
			fail_msg("%s: %llu, %d complaints", rows[i].entry, (unsigned long long)settings.cpu_hz,
			         complaints);
	}
	read_one("PPROF_CPU_HZ=0");
	assert_string_equal(complaint, "PPROF_CPU_HZ=0 is not a number from 1 to 1000; using 100");
}

static void test_a_complaint_names_the_setting_its_limits_and_what_is_used(void **state)
{
	(void)state;
	read_one("PPROF_STACK_DEPTH=many");
	assert_string_equal(complaint, "PPROF_STACK_DEPTH=many is not a number from 1 to 512; using 128");
	read_one("PPROF_HEAP_RATE=-5");
	assert_string_equal(complaint, "PPROF_HEAP_RATE=-5 is not a number of bytes (also with K, M or G) from 0 to "
	                               "1099511627776; using 524288");
}

static void test_a_complaint_about_a_very_long_value_is_still_a_line(void **state)
{
	(void)state;
	char entry[900] = "PPROF_MEMORY_LIMIT=";
	memset(entry + strlen(entry), 'x', 800);
	read_one(entry);
	assert_int_equal(complaints, 1);
	assert_in_range(strlen(complaint), 80, 255);
	assert_non_null(strstr(complaint, "; using 67108864"));
}

static void test_texts_are_taken_as_they_are(void **state)
{
	(void)state;
	char disable[] = "DISABLE_PPROF=", addr[] = "PPROF_ADDR= a=b ", log[] = "PPROF_LOG=/x";
	char *environ[] = {disable, addr, log, NULL};
	read_environ(environ);
	assert_string_equal(settings.disable, "");
	assert_string_equal(settings.addr, " a=b ");
	assert_string_equal(settings.log, "/x");
	assert_int_equal(complaints, 0);
}

static void test_other_variables_are_not_ours(void **state)
{
	static const char *const rows[] = {"PPROF_HEAP_RAT=5",
	                                   "PPROF_HEAP_RATES=5",
	                                   "XPPROF_HEAP_RATE=5",
	                                   "pprof_heap_rate=5",
	                                   "=PPROF_HEAP_RATE=5",
	                                   "=",
	                                   "",
	                                   "PPROF_HEAP_RATE",
	                                   "HEAP_RATE=5",
	                                   "PATH=/bin"};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		read_one(rows[i]);
		if (memcmp(&settings, &preset, sizeof settings) != 0 || complaints)
			fail_msg("\"%s\" changed something: %s", rows[i], complaint);
	}
}

static void test_settings_are_read_from_among_others(void **state)
{
	(void)state;
	char a[] = "HOME=/", b[] = "PPROF_HEAP_RATE=7", c[] = "PPROF_STACK_DEPTH=9", d[] = "X=PPROF_HEAP_RATE=8";
	char *environ[] = {a, b, c, d, NULL};
	read_environ(environ);
	assert_int_equal(settings.heap_rate, 7);
	assert_int_equal(settings.stack_depth, 9);
}

static void tell_unknown(const char *const *entries, size_t count)
{
	char copy[8][64], *environ[9] = {NULL};
	for (size_t i = 0; i < count; i++) {
		snprintf(copy[i], sizeof copy[i], "%s", entries[i]);
		environ[i] = copy[i];
	}
	settings_tell_unknown(environ, complain);
}

static void test_an_unknown_setting_is_told_with_the_one_that_was_meant(void **state)
{
	static const struct {
		const char *entry, *told;
	} rows[] = {
		{"PPROF_HEAPRATE=512K", "PPROF_HEAPRATE (did you mean PPROF_HEAP_RATE?)"},
		{"PPROF_MEM_LIMIT=1M", "PPROF_MEM_LIMIT (did you mean PPROF_MEMORY_LIMIT?)"},
		{"PPROF_ADDRESS=:1", "PPROF_ADDRESS"},
		{"PPROF_ADR=:1", "PPROF_ADR (did you mean PPROF_ADDR?)"},
		{"PPROF_PORT=7000", "PPROF_PORT"},
		{"DISABLE_PPROFS=1", "DISABLE_PPROFS (did you mean DISABLE_PPROF?)"},
		{"PPROF_=", "PPROF_"},
		{"PPROF_HEAP_RATE=1", NULL},
		{"DISABLE_PPROF=", NULL},
		{"PPROF_TMPDIR=/tmp", NULL},
		{"PPROF_PORT=tcp://10.0.0.1:80", NULL},
		{"PPROF_PORT_80_TCP_PORT=80", NULL},
		{"PPROF_SERVICE_HOST=10.0.0.1", NULL},
		{"OTHER=1", NULL},
		{"", NULL},
	};
	for (size_t i = 0; i < COUNT(rows); i++) {
		char line[256];
		reset(state);
		tell_unknown(&rows[i].entry, 1);
		snprintf(line, sizeof line, "no setting, and without effect: %s", rows[i].told ? rows[i].told : "");
		if (complaints != (rows[i].told != NULL) || (rows[i].told && strcmp(complaint, line) != 0))
			fail_msg("%s: %d, %s", rows[i].entry, complaints, complaint);
	}
}

static void test_all_unknown_settings_are_told_in_one_line(void **state)
{
	static const char *const entries[] = {"PPROF_FOO=1", "HOME=/", "PPROF_LOGS=info"};
	(void)state;
	tell_unknown(entries, COUNT(entries));
	assert_int_equal(complaints, 1);
	assert_string_equal(complaint,
	                    "no setting, and without effect: PPROF_FOO, PPROF_LOGS (did you mean PPROF_LOG?)");
}

static void test_unknown_settings_without_number_fill_a_line_at_most(void **state)
{
	char name[300] = "PPROF_", *environ[40] = {NULL};
	(void)state;
	memset(name + 6, 'X', sizeof name - 7);
	for (size_t i = 0; i + 1 < COUNT(environ); i++)
		environ[i] = name;
	settings_tell_unknown(environ, complain);
	assert_int_equal(complaints, 1);
	assert_in_range(strlen(complaint), 200, 400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_the_presets_are_the_documented_ones, reset),
		cmocka_unit_test_setup(test_no_is_said_in_five_ways, reset),
		cmocka_unit_test_setup(test_numbers_are_taken_within_their_limits_and_else_refused_once, reset),
		cmocka_unit_test_setup(test_the_rate_of_cpu_samples_is_from_1_to_1000, reset),
		cmocka_unit_test_setup(test_a_complaint_names_the_setting_its_limits_and_what_is_used, reset),
		cmocka_unit_test_setup(test_a_complaint_about_a_very_long_value_is_still_a_line, reset),
		cmocka_unit_test_setup(test_texts_are_taken_as_they_are, reset),
		cmocka_unit_test_setup(test_other_variables_are_not_ours, reset),
		cmocka_unit_test_setup(test_settings_are_read_from_among_others, reset),
		cmocka_unit_test_setup(test_an_unknown_setting_is_told_with_the_one_that_was_meant, reset),
		cmocka_unit_test_setup(test_all_unknown_settings_are_told_in_one_line, reset),
		cmocka_unit_test_setup(test_unknown_settings_without_number_fill_a_line_at_most, reset),
	};
	return cmocka_run_group_tests(tests, remember, NULL);
}
