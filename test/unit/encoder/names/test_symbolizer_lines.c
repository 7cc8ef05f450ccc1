/* test_symbolizer_lines.c - answers of a helper that are none, and too much of them.
 *
 * Runs in: its own process, with shell scripts as helper programs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/answers.c encoder/names/helper_program.c encoder/names/trouble.c
 * links: encoder/names/symbolizer.c encoder/names/cache.c encoder/bytes/intern.c encoder/bytes/utf8.c
 * links: encoder/bytes/out.c encoder/names/maps.c shim/base/own_file.c shim/listener/spawn.c shim/listener/keeper.c
 * links: shim/listener/filters.c shim/base/text.c
 * links: shim/base/arena.c shim/base/sync.c */
#include "test/unit/encoder/names/symbolizer_made.h"

/* --- answers that are none ------------------------------------------------------------------------- */

static void expect(const char *answer, const char *what)
{
	run(answer);
	if (strcmp(known(), what) != 0)
		fail_msg("of \"%s\" is known:\n%s", answer, known());
}

static void test_what_is_no_line_of_the_protocol_is_passed_over(void **state)
{
	(void)state;
	expect("\n\nx\nxyz 1 2\n10 20\n\t\n \n  a 10 0\no 0\n o 1\nhello world\na 20 0\nf 1 1\t\t\tf\nff 1 1\t\t\tg\nf "
	       "2 2\t\t\tlate\nE\ne\n",
	       "0:20 from 0 [f|||1|1]\n");
	expect("o 0\na\na \na x 0\na 10\na 10 \na 10 x\na -10 0\na 0x10 0\na  10 0\nf 1 1\t\t\tf\ne\n", "");
	expect("o 0\na 20 0\nf\nf \nf 1\nf 1 1\nf x 1\t\t\tf\nf 1 x\t\t\tf\nf -1 1\t\t\tf\nf 1 1\t\t\t\nf 1 1\t\t\nf 2 "
	       "2\t\t\tg\ne\n",
	       "0:20 from 0 [g|||2|2]\n");
	expect("f 1 1\t\t\tf\no 0\nf 1 1\t\t\tf\ne\n", ""); /* of no address */
	expect("o 0\na 10 0\nf 1 1\t\t\ta\tb\tc\ne\n", "0:10 from 0 [a?b?c|||1|1]\n");
	expect("o 0\r\na 10 0\r\ne\r\n", "");
	expect("e", "");
	assert_string_equal(symbolizer_trouble(), STOPPED); /* that was no line */
}

static void test_addresses_of_no_object_are_passed_over(void **state)
{
	(void)state;
	expect("a 10 0\nf 1 1\t\t\tf\ne\n", "");
	expect("a 10 0\nf 1 1\t\t\tf\no 0\na 20 0\nf 1 1\t\t\tg\ne\n", "0:20 from 0 [g|||1|1]\n");
	expect("o 3\na 10 0\nf 1 1\t\t\tf\ne\n", "");
	expect("o 18446744073709551616\na 10 0\no -1\na 20 0\no x\na 30 0\no \na 40 0\no\na 50 0\ne\n", "");
}

static void test_only_what_was_asked_is_taken_and_once(void **state)
{
	(void)state;
	run("o 0\na 11 0\nf 1 1\t\t\tf\na 0 0\nf 1 1\t\t\tf\na 90 0\na 10 0\nf 1 1\t\t\tfirst\na 10 0\nf 2 "
	    "2\t\t\tsecond\ne\n");
	assert_string_equal(known(), "0:10 from 0 [first|||1|1]\n");
	assert_null(find(0, 0x11));
	assert_null(find(0, 0));
	assert_null(find(0, 0x90));
	assert_false(would_answer(0)); /* it was not all answered */
}

static void test_addresses_of_unknown_objects_are_not_those_of_the_one_before(void **state)
{
	(void)state;
	expect("o 1\na 10 0\nf 1 1\t\t\tf\no 3\na 20 0\nf 1 1\t\t\tg\ne\n", "1:10 from 0 [f|||1|1]\n");
}

static void test_numbers_that_are_too_large_are_no_numbers(void **state)
{
	(void)state;
	expect("o 0\na 10000000000000010 0\nf 1 1\t\t\tf\na 20 10000000000000000\nf 1 1\t\t\tf\n"
	       "a 30 0\nf 99999999999999999999 1\t\t\tf\nf 1 18446744073709551616\t\t\tf\n"
	       "a 40 0\nf 4294967301 18446744073709551615\t\t\tf\ne\n",
	       "0:30 from 0\n0:40 from 0 [f|||0|0]\n"); /* a line is not known then */
	static const uint64_t last = UINT64_MAX;
	use_answer("o 0\na ffffffffffffffff ffffffffffffffff\nf 1 1\t\t\tf\ne\n");
	assert_int_equal(symbolizer_ask(&(struct question){&module[0], "/a", &last, 1}, 1), 0);
	wait_for_end();
	assert_non_null(find(0, UINT64_MAX));
	assert_int_equal(find(0, UINT64_MAX)->start, UINT64_MAX);
}

static void test_texts_become_utf8_without_control_characters(void **state)
{
	(void)state;
	expect("o 0\na 10 0\nf 1 1\t/src/\x1b[31m\x7f\t_\x01\xff\tna\xffme\nf 2 "
	       "2\t\xc3\xa4\t\xc2\x85\t\xf0\x9f\x98\x80\ne\n",
	       "0:10 from 0 [na?me|_??|/src/?[31m?|1|1] [\xf0\x9f\x98\x80|\?\?|\xc3\xa4|2|2]\n");
}

static void test_nuls_end_nothing(void **state)
{
	static const char answer[] = "o 0\na 10 0\nf 1 1\t/\0s\t\0\tf\0g\n\0\na 20 0\0\na 30 0\ne\n";
	(void)state;
	use_answer("");
	write_file("answer", answer, sizeof answer - 1);
	ask_all();
	wait_for_end();
	assert_string_equal(known(), "0:10 from 0 [f?g|?|/?s|1|1]\n0:30 from 0\n");
}

/* --- too much of it -------------------------------------------------------------------------------- */

static char *repeat(char *at, char c, size_t n)
{
	memset(at, c, n);
	return at + n;
}

static void test_a_line_that_is_too_long_is_dropped_to_its_end(void **state)
{
	static const size_t rows[] = {SYMBOLIZE_LINE_MAX + 1, SYMBOLIZE_LINE_MAX + 2, 2 * SYMBOLIZE_LINE_MAX, 3000000};
	(void)state;
	char *answer = malloc(4000000);
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *at = stpcpy(answer, "o 0\na 10 0\nf 1 1\t\t\tf\nf 2 2\t\t\t");
		at = repeat(at, 'x', rows[i] - strlen("f 2 2\t\t\t"));
		strcpy(at, "\nf 3 3\t\t\tg\na 20 0\nf 1 1\t\t\th\ne\n");
		run(answer);
		assert_string_equal(known(), "0:10 from 0 [f|||1|1] [g|||3|3]\n0:20 from 0 [h|||1|1]\n");
	}
	free(answer);
}

static void test_a_line_as_long_as_may_be_is_taken(void **state)
{
	(void)state;
	char *answer = malloc(2 * SYMBOLIZE_LINE_MAX);
	for (size_t less = 0; less < 3; less++) {
		size_t n = SYMBOLIZE_LINE_MAX - less - strlen("f 1 1\t\t\t");
		char *at = stpcpy(answer, "o 0\na 10 0\nf 1 1\t\t\t");
		at = repeat(at, 'x', n);
		strcpy(at, "\na 20 0\ne\n");
		run(answer);
		assert_true(find(0, 0x10) && find(0, 0x20));
		if (find(0, 0x10)->count != 1 || find(0, 0x10)->frame->function.len != n)
			fail_msg("a line of %zu bytes was dropped", SYMBOLIZE_LINE_MAX - less);
	}
	free(answer);
}

static void test_frames_beyond_the_limit_are_cut(void **state)
{
	(void)state;
	char *answer = malloc(1000000), *at = stpcpy(answer, "o 0\na 10 0\n");
	for (int i = 0; i < 1000; i++)
		at += sprintf(at, "f %d 1\t\t\tf%d\n", i, i);
	strcpy(at, "a 20 0\nf 1 1\t\t\tg\ne\n");
	run(answer);
	free(answer);
	const struct cached *c = find(0, 0x10);
	assert_true(c && c->count == SYMBOLIZE_FRAMES_MAX);
	for (uint32_t i = 0; i < c->count; i++)
		assert_int_equal(c->frame[i].line, i);
	assert_int_equal(find(0, 0x20)->count, 1);
}

static void test_frames_with_long_texts_are_as_many_as_fit(void **state)
{
	(void)state;
	char *answer = malloc(100 * 61000), *at = stpcpy(answer, "o 0\na 10 0\n");
	for (int i = 0; i < 50; i++) {
		at += sprintf(at, "f %d 1\t\t\t", i);
		at = repeat(at, (char)('a' + i % 20), 60000);
		*at++ = '\n';
	}
	strcpy(at, "a 20 0\nf 1 1\t\t\tg\ne\n");
	run(answer);
	free(answer);
	const struct cached *c = find(0, 0x10);
	assert_non_null(c);
	assert_in_range(c->count, 3, 5);
	for (uint32_t i = 0; i < c->count; i++) {
		assert_int_equal(c->frame[i].line, i);
		assert_int_equal(c->frame[i].function.len, 60000);
		assert_int_equal(c->frame[i].function.at[59999], 'a' + i);
	}
	assert_int_equal(find(0, 0x20)->count, 1);
}

/* The listener goes on with other things meanwhile. */
static void poll_endless(void)
{
	ask_all();
	for (int i = 0; i < 20; i++) {
		CHECK(symbolizer_poll());
		usleep(20 * 1000);
	}
}

static void test_one_that_says_the_same_for_ever_holds_nobody_up(void **state)
{
	static const char *const scripts[] = {
		"cat >/dev/null; exec yes 'f 1 1'",
		"cat >/dev/null; exec cat /dev/zero",
		"cat >/dev/null; echo 'o 0'; exec yes 'a 10 0'",
	};
	(void)state;
	for (size_t i = 0; i < COUNT(scripts); i++) {
		use_script(scripts[i]);
		in_child_within(60, poll_endless);
	}
}

/* --- anything -------------------------------------------------------------------------------------- */

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void)
{
	random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
	return random_state;
}

static size_t make_random(char *bytes, size_t cap)
{
	static const char *const parts[] = {
		"o ",
		"0",
		"1",
		"2",
		"3",
		"a ",
		"10",
		"20",
		"30",
		"40 10",
		" ",
		"f ",
		"f 1 1\t",
		"\t",
		"/src/a.c",
		"\t",
		"_Z1f",
		"name",
		"\n",
		"\n",
		"\n",
		"n ",
		"d 0 x",
		"e",
		"18446744073709551616",
		"ffffffffffffffff",
		"4294967296",
		"-",
		"\xff",
		"\xc3\xa4",
		"\x1b",
		"\no 0\na 10 10\nf 3 1\t/a\tb\tc\n",
		"\no 1\na 20 0\n",
		"\no 2\n",
	};
	size_t len = 0, most = next_random() % 8 ? 600 : cap;
	if (next_random() % 16 == 0) { /* nothing but noise */
		for (most = next_random() % 5000; len < most; len++)
			bytes[len] = (char)next_random();
		return len;
	}
	while (len + 100 < most && next_random() % 200) {
		uint64_t x = next_random();
		const char *part = parts[x % COUNT(parts)];
		if (x >> 58 == 0)
			bytes[len++] = (char)(x >> 32);
		else if (x >> 54 == 1023 && most == cap) {
			size_t n = (x >> 20) % 70000;
			n = n < cap - len - 100 ? n : cap - len - 100;
			memset(bytes + len, 'y', n);
			len += n;
		} else
			len = (size_t)(stpcpy(bytes + len, part) - bytes);
	}
	if (next_random() % 2)
		len = (size_t)(stpcpy(bytes + len, "\ne\n") - bytes);
	return len;
}

static bool is_clean(struct region *r, struct span s)
{
	char *copy = utf8_line(r, s);
	return s.len == 0 || memcmp(copy, s.at, s.len) == 0;
}

static void check_known(struct region *r)
{
	for (int m = 0; m < MODULES; m++)
		for (size_t i = 0; i < ADDRESSES; i++) {
			const struct cached *c = find(m, addresses[i]);
			for (uint32_t k = 0; c && k < c->count; k++) {
				const struct name_frame *f = &c->frame[k];
				assert_true(f->function.len > 0);
				assert_true(is_clean(r, f->function) && is_clean(r, f->system) && is_clean(r, f->file));
			}
			assert_true(!c ||
			            (c->complete && c->count <= SYMBOLIZE_FRAMES_MAX && c->address == addresses[i]));
		}
	region_release(r);
}

static void test_any_bytes_do_no_harm(void **state)
{
	enum { ROUNDS = 3000, LEAST = 300, SECONDS = 40, CAP = 300 * 1000 };
	(void)state;
	char *bytes = malloc(CAP);
	uint64_t until = now_ms() + SECONDS * 1000;
	use_script("exec cat answer");
	for (int i = 0; i < ROUNDS && (i < LEAST || now_ms() < until); i++) {
		struct region r = {0};
		symbolizer_start(&(struct encoder_options){
			.symbolizer = program, .symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20});
		symbolizer_locate(&(struct maps){0});
		if (i % 64 == 0)
			cache_start(64 << 20);
		write_file("answer", bytes, make_random(bytes, CAP));
		ask_all();
		wait_for_end();
		check_known(&r);
	}
	free(bytes);
	cache_start(64 << 20);
	assert_int_equal(arena_mapped_bytes(), 0);
	expect_nothing_left();
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "die") == 0)
		die(atoi(argv[2]));
	spawn_start();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_no_line_of_the_protocol_is_passed_over),
		cmocka_unit_test(test_addresses_of_no_object_are_passed_over),
		cmocka_unit_test(test_only_what_was_asked_is_taken_and_once),
		cmocka_unit_test(test_addresses_of_unknown_objects_are_not_those_of_the_one_before),
		cmocka_unit_test(test_numbers_that_are_too_large_are_no_numbers),
		cmocka_unit_test(test_texts_become_utf8_without_control_characters),
		cmocka_unit_test(test_nuls_end_nothing),
		cmocka_unit_test(test_a_line_that_is_too_long_is_dropped_to_its_end),
		cmocka_unit_test(test_a_line_as_long_as_may_be_is_taken),
		cmocka_unit_test(test_frames_beyond_the_limit_are_cut),
		cmocka_unit_test(test_frames_with_long_texts_are_as_many_as_fit),
		cmocka_unit_test(test_one_that_says_the_same_for_ever_holds_nobody_up),
		cmocka_unit_test(test_any_bytes_do_no_harm),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
