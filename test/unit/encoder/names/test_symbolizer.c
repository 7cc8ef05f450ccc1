/* test_symbolizer.c - a helper's answers come into the cache, and what happens when it dies.
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

#include <sys/socket.h>

/* --- whole answers --------------------------------------------------------------------------------- */

static void test_answers_are_in_the_cache(void **state)
{
	(void)state;
	run(whole);
	assert_string_equal(known(), whole_known);
	assert_null(symbolizer_trouble());
	expect_nothing_left();
}

static void test_it_is_asked_in_the_words_of_the_protocol(void **state)
{
	(void)state;
	use_script("echo \"$0 $#: $*\" >arguments; cat >request; echo e");
	ask_all();
	wait_for_end();
#define ADDRESS_LINES "a 10\na 20\na 30\na 40\na 50\na 60\na 70\na 80\n"
	assert_string_equal(read_file("request"),
	                    "o abcd01\np /path of/a\n" ADDRESS_LINES "o ff\np /path of/b\n" ADDRESS_LINES
	                    "o -\np /path of/c\n" ADDRESS_LINES);
	char expected[256];
	snprintf(expected, sizeof expected, "%s 1: --pipe\n", program);
	assert_string_equal(read_file("arguments"), expected);
	symbolizer_start(&(struct encoder_options){.symbolizer = program,
	                                           .symbolizer_memory_bytes = UINT64_MAX,
	                                           .memory_limit_bytes = 64 << 20,
	                                           .debug_dirs = "/d:/e f"});
	symbolizer_locate(&(struct maps){0});
	assert_int_equal(symbolizer_ask(questions, 1), 0);
	wait_for_end();
	snprintf(expected, sizeof expected, "%s 3: --pipe --debug-dirs /d:/e f\n", program);
	assert_string_equal(read_file("arguments"), expected);
	static const uint64_t high[] = {0, UINT64_MAX};
	static uint8_t longest[32];
	memset(longest, 0x5a, sizeof longest);
	struct module m = {.build_id_len = sizeof longest};
	memcpy(m.build_id, longest, sizeof longest);
	assert_int_equal(symbolizer_ask(&(struct question){&m, "/p", high, 2}, 1), 0);
	wait_for_end();
	assert_string_equal(read_file("request"),
	                    "o 5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\np /p\n"
	                    "a 0\na ffffffffffffffff\n");
	assert_null(symbolizer_trouble());
}

static void test_answers_may_come_in_any_pieces(void **state)
{
	static const char *const scripts[] = {
		"cat >/dev/null; exec dd if=answer bs=1 2>/dev/null",
		"cat >/dev/null; exec dd if=answer bs=3 2>/dev/null",
		"cat >/dev/null; exec dd if=answer bs=17 2>/dev/null",
		/* within a number, a letter, before and after an end of a line */
		"cat >/dev/null; for n in 1 3 1 2 4 5 16 10 40 1 1 10 30; do dd bs=$n count=1 2>/dev/null; sleep 0.01; "
		"done <answer; "
		"tail -c +125 answer",
	};
	(void)state;
	for (size_t i = 0; i < COUNT(scripts); i++) {
		use_script(scripts[i]);
		write_file("answer", whole, strlen(whole));
		ask_all();
		uint64_t until = now_ms() + WAIT_MS;
		while (symbolizer_poll())
			assert_true(now_ms() < until);
		assert_string_equal(known(), whole_known);
		assert_null(symbolizer_trouble());
	}
}

/* Read by parts of a size of its own: lines begin and end at every place of them. */
static void test_a_long_answer_is_whole(void **state)
{
	enum { N = 40000 };
	(void)state;
	char *answer = malloc(N * 100), *at = stpcpy(answer, "o 0\n");
	for (int i = 0; i < N; i++)
		at += sprintf(at, "a %x %x\nf %d %d\t/src/%d.c\t_f%d\tf%d\n", i + 1, i, i, i % 100, i % 1000, i, i);
	strcpy(at, "e\n");
	use_answer(answer);
	uint64_t *asked = malloc(N * sizeof *asked);
	for (int i = 0; i < N; i++)
		asked[i] = (uint64_t)i + 1;
	assert_int_equal(symbolizer_ask(&(struct question){&module[0], "/a", asked, N}, 1), 0);
	wait_for_end();
	free(answer);
	free(asked);
	for (int i = 0; i < N; i++) {
		char name[16], file[16];
		const struct cached *c = find(0, (uint64_t)i + 1);
		snprintf(name, sizeof name, "f%d", i);
		snprintf(file, sizeof file, "/src/%d.c", i % 1000);
		assert_true(c && c->count == 1 && c->start == (uint64_t)i && c->complete);
		assert_true(span_is(c->frame->function, name) && span_is(c->frame->file, file) &&
		            c->frame->line == (uint32_t)i);
	}
}

static void test_what_follows_the_end_does_not_count(void **state)
{
	(void)state;
	run("o 0\na 10 0\nf 1 1\t\t\tf\ne\na 20 0\nf 1 1\t\t\tg\n");
	assert_string_equal(known(), "0:10 from 0 [f|||1|1]\n");
	assert_null(symbolizer_trouble());
	/* and it is not waited for */
	use_script("cat >/dev/null; echo e; exec sleep 1000");
	ask_all();
	wait_for_end();
	assert_null(symbolizer_trouble());
	expect_nothing_left();
}

/* --- one that dies --------------------------------------------------------------------------------- */

static void test_death_is_blamed_on_the_object_that_was_looked_at(void **state)
{
	(void)state;
	use_script("cat >/dev/null; printf 'o 0\\n'; for i in 1 2 3 4 5 6 7 8; do printf \"a ${i}0 0\\nf 1 "
	           "1\\t\\t\\tf\\n\"; done; "
	           "printf 'o 1\\na 10 0\\nf 1 1\\t\\t\\tg\\na 20 0\\nf 1'; exec \"$self\" die 11");
	ask_all();
	wait_for_end();
	assert_string_equal(symbolizer_trouble(), KILLED("11"));
	for (size_t i = 0; i < ADDRESSES; i++)
		assert_non_null(find(0, addresses[i]));
	assert_non_null(find(1, 0x10)); /* it was whole */
	assert_null(find(1, 0x20));     /* more might have come */
	assert_null(find(2, 0x10));
	assert_true(would_answer(0));
	assert_false(would_answer(1));
	assert_true(would_answer(2));
	uint64_t again_ns = cache_object(&module[1])->again_ns, now = now_ms() * 1000000;
	assert_in_range(again_ns, now + 20 * UINT64_C(1000000000), now + 100 * UINT64_C(1000000000)); /* a while */
	expect_nothing_left();
	/* the others, then, do well; the reason why something is missing is told for a while */
	write_file("answer", "o 0\na 10 0\ne\n", 13);
	write_file("helper", "#!/bin/sh\ncd ${0%/*}; cat >request; exec cat answer\n", 53 - 1);
	assert_int_equal(symbolizer_ask(&questions[2], 1), 0);
	wait_for_end();
	assert_non_null(find(2, 0x10));
	assert_string_equal(symbolizer_trouble(), KILLED("11"));
}

static const struct {
	const char *script, *trouble;
} deaths[] = {
	{"cat >/dev/null; exit 3", FAILED("3")},
	{"cat >/dev/null; exit 0", STOPPED},
	{"cat >/dev/null; echo 'o 0'; exit 255", FAILED("255")},
	{"cat >/dev/null; echo 'o 0'", STOPPED},
	{"cat >/dev/null; echo 'o 0'; exec \"$self\" die 6", KILLED("6")},
	{"cat >/dev/null; exec \"$self\" die 9", KILLED("9")},
	{"cat >/dev/null; exec \"$self\" die 7", KILLED("7")},
	{"cat >/dev/null; echo 'o 0'; echo 'a 10 0'", STOPPED},
};

static void test_every_end_without_the_last_word_is_trouble(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(deaths); i++) {
		use_script(deaths[i].script);
		assert_null(symbolizer_trouble());
		ask_all();
		wait_for_end();
		assert_non_null(symbolizer_trouble());
		if (strcmp(symbolizer_trouble(), deaths[i].trouble) != 0)
			fail_msg("%s: \"%s\"", deaths[i].script, symbolizer_trouble());
		/* before any object, it is the helper's fault; else that of the first object */
		bool in_object = strstr(deaths[i].script, "o 0") && strcmp(deaths[i].trouble, KILLED("9")) != 0;
		assert_false(would_answer(0));
		assert_int_equal(would_answer(1), in_object);
		assert_int_equal(would_answer(2), in_object);
		expect_nothing_left();
	}
}

/* Questions that come while a helper runs wait for the next, all together; but not those that the running one was
 * asked already. */
static void test_questions_wait_for_the_next_helper_and_are_put_together(void **state)
{
	static const uint64_t low[] = {0x10, 0x30}, high[] = {0x20, 0x30, 0x40};
	(void)state;
	use_script("echo start >>starts; cat >request.$(wc -l <starts | tr -d ' '); while [ ! -e go ]; do sleep 0.01; "
	           "done\n"
	           "printf 'o 0\\n'; sed -n 's/^a \\(.*\\)/a \\1 0\\nf 1 1\\t\\t\\tf\\1/p' request.$(wc -l <starts | "
	           "tr -d ' '); echo e");
	const struct question first = {&module[0], "/a", low, 2}, second = {&module[0], "/a", high, 3},
			      third = {&module[0], "/a", high + 2, 1};
	uint64_t one = symbolizer_queue(&first, 1);
	assert_true(one != 0);
	assert_int_equal(symbolizer_queue(&first, 1), one); /* it is being asked */
	uint64_t two = symbolizer_queue(&second, 1);
	assert_int_equal(two, one + 1);
	assert_int_equal(symbolizer_queue(&third, 1), two);
	assert_false(symbolizer_is_done(one));
	assert_false(symbolizer_is_done(two));
	FILE *go = fopen(in_dir("go"), "w");
	assert_non_null(go);
	fclose(go);
	wait_for_end();
	assert_true(symbolizer_is_done(one));
	assert_true(symbolizer_is_done(two));
	for (uint64_t address = 0x10; address <= 0x40; address += 0x10)
		assert_non_null(find(0, address));
	assert_string_equal(read_file("request.1"), "o abcd01\np /a\na 10\na 30\n");
	assert_string_equal(read_file("request.2"), "o abcd01\np /a\na 20\na 40\n");
	static const char *const made[] = {"go", "starts", "request.1", "request.2"};
	for (size_t i = 0; i < COUNT(made); i++)
		assert_int_equal(unlink(in_dir(made[i])), 0);
	expect_nothing_left();
}

/* It is gone when the questions are written. */
static void test_one_that_dies_before_it_reads_is_told_by_its_death(void **state)
{
	enum { N = 300 * 1000 }; /* more than a pipe holds */
	static const struct {
		const char *script, *trouble;
	} rows[] = {{"exec \"$self\" die 7", KILLED("7")}, {"exit 1", FAILED("1")}};
	(void)state;
	uint64_t *many = malloc(N * sizeof *many);
	for (int i = 0; i < N; i++)
		many[i] = (uint64_t)i;
	for (size_t i = 0; i < COUNT(rows); i++) {
		use_script(rows[i].script);
		assert_int_equal(symbolizer_ask(&(struct question){&module[0], "/a", many, N}, 1), 0);
		wait_for_end();
		assert_non_null(symbolizer_trouble());
		assert_string_equal(symbolizer_trouble(), rows[i].trouble);
		assert_false(would_answer(0));
		expect_nothing_left();
	}
	free(many);
}

static void test_an_object_that_was_answered_is_not_blamed(void **state)
{
	(void)state;
	use_script("cat >/dev/null; printf 'o 0\\na 10 0\\nf 1 1\\t\\t\\tf\\no 1\\n'; exec \"$self\" die 11");
	const struct question q[] = {
		{&module[0], "/a", addresses, 1}, {&module[1], "/b", addresses, 1}, {&module[2], "/c", addresses, 1}};
	assert_int_equal(symbolizer_ask(q, 3), 0);
	wait_for_end();
	assert_true(would_answer(0));
	assert_false(would_answer(1));
	assert_true(would_answer(2));
}

static void test_an_object_without_answers_is_not_asked_for_again_at_once(void **state)
{
	(void)state;
	run("o 0\nn no such file\no 1\na 10 0\no 2\na 10 0\na 20 0\na 30 0\na 40 0\na 50 0\na 60 0\na 70 0\na 80 "
	    "0\ne\n");
	assert_null(symbolizer_trouble());
	assert_false(would_answer(0));
	assert_false(would_answer(1)); /* in part */
	assert_true(would_answer(2));
}

static char *const other_words[SYMBOLIZER_WORDS] = {"merge", "--pipe"};

/* At other work, it says so over the socket, and goes on until that is closed. */
static void test_questions_wait_while_it_is_at_other_work(void **state)
{
	(void)state;
	int pair[2];
	char said[32] = "";
	write_file("answer", whole, strlen(whole));
	use_script(
		"if [ \"$1\" = merge ]; then echo \"$*\"; fi; cat >/dev/null; [ \"$1\" = merge ] || exec cat answer");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(symbolizer_lend(other_words, pair[1], 1000), 0);
	close(pair[1]);
	assert_int_equal(symbolizer_lend(other_words, pair[0], 1000), -EAGAIN);
	uint64_t ticket = symbolizer_queue(questions, MODULES);
	assert_true(ticket && !symbolizer_is_done(ticket));
	assert_int_equal(read(pair[0], said, sizeof said - 1), 13);
	assert_string_equal(said, "merge --pipe\n");
	assert_true(symbolizer_poll() && !symbolizer_is_done(ticket));
	assert_string_equal(known(), "");
	close(pair[0]);
	wait_for_end();
	assert_true(symbolizer_is_done(ticket));
	assert_string_equal(known(), whole_known);
	assert_null(symbolizer_trouble());
	expect_nothing_left();
}

static void test_it_is_not_lent_while_it_answers(void **state)
{
	(void)state;
	use_script("sleep 0.2; cat >/dev/null; echo e");
	ask_all();
	assert_int_equal(symbolizer_lend(other_words, 0, 1000), -EAGAIN);
	wait_for_end();
	expect_nothing_left();
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "die") == 0)
		die(atoi(argv[2]));
	spawn_start();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers_are_in_the_cache),
		cmocka_unit_test(test_it_is_asked_in_the_words_of_the_protocol),
		cmocka_unit_test(test_answers_may_come_in_any_pieces),
		cmocka_unit_test(test_a_long_answer_is_whole),
		cmocka_unit_test(test_what_follows_the_end_does_not_count),
		cmocka_unit_test(test_death_is_blamed_on_the_object_that_was_looked_at),
		cmocka_unit_test(test_every_end_without_the_last_word_is_trouble),
		cmocka_unit_test(test_questions_wait_for_the_next_helper_and_are_put_together),
		cmocka_unit_test(test_one_that_dies_before_it_reads_is_told_by_its_death),
		cmocka_unit_test(test_an_object_that_was_answered_is_not_blamed),
		cmocka_unit_test(test_an_object_without_answers_is_not_asked_for_again_at_once),
		cmocka_unit_test(test_questions_wait_while_it_is_at_other_work),
		cmocka_unit_test(test_it_is_not_lent_while_it_answers),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
