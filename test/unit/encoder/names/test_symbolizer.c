/* test_symbolizer.c - the helper program's answers, of which any byte may be anything, and its end, which may come any
 * time.
 *
 * Runs in: its own process, with shell scripts as helper programs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/symbolizer.c encoder/names/cache.c encoder/bytes/intern.c encoder/bytes/utf8.c
 * links: encoder/bytes/out.c encoder/names/maps.c shim/base/own_file.c shim/listener/spawn.c shim/base/text.c
 * links: shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/symbolize/protocol.h"
#include "encoder/names/container.h"
#include "encoder/names/symbolizer.h"
#include "encoder/bytes/utf8.h"
#include "shim/listener/spawn.h"
#include "test/unit/at_home.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"

#define KILLED(n) \
	"no lines and inlined calls: pprofshim-symbolize was killed by signal " n "; names are those of symbol tables"
#define FAILED(n) \
	"no lines and inlined calls: pprofshim-symbolize failed with status " n "; names are those of symbol tables"
#define STOPPED "no lines and inlined calls: pprofshim-symbolize stopped early; names are those of symbol tables"
#define ABSENT \
	"no lines and inlined calls: pprofshim-symbolize is not there; install it beside the library, or say where " \
	"in PPROF_SYMBOLIZER"
#define FORBIDDEN \
	"no lines and inlined calls: starting pprofshim-symbolize is forbidden here; complete a saved profile " \
	"elsewhere: pprofshim-symbolize FILE"
#define REFUSED \
	"no lines and inlined calls: PPROF_SYMBOLIZER is no absolute path, or others than root and this user can " \
	"change it or a folder on its way; it is not run"

enum {
	MODULES = 3,
	ADDRESSES = 8, /* of each: 10, 20 … 80, hexadecimal */
	WAIT_MS = 30 * 1000
};

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- a helper made of a script --------------------------------------------------------------------- */

static char dir[] = "/tmp/test_symbolizer.XXXXXX";
static char program[128];
static struct module module[MODULES] = {
	{.path = "/lib/a", .build_id = {0xab, 0xcd, 0x01}, .build_id_len = 3},
	{.path = "/lib/b", .build_id = {0xff}, .build_id_len = 1},
	{.path = "/lib/c"},
};
static const uint64_t addresses[ADDRESSES] = {0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80};
static const struct question questions[MODULES] = {
	{&module[0], "/path of/a", addresses, ADDRESSES},
	{&module[1], "/path of/b", addresses, ADDRESSES},
	{&module[2], "/path of/c", addresses, ADDRESSES},
};

static const char *in_dir(const char *name)
{
	static char path[128];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static void write_file(const char *name, const void *bytes, size_t n)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	close(fd);
}

static const char *read_file(const char *name)
{
	static char text[65536];
	int fd = open(in_dir(name), O_RDONLY);
	assert_true(fd >= 0);
	ssize_t n = read(fd, text, sizeof text - 1);
	assert_true(n >= 0);
	close(fd);
	text[n] = '\0';
	return text;
}

static uint64_t room = UINT64_MAX;
uint64_t container_room(void) /* container.c's */
{
	return room;
}

/* Begin anew, with this script. */
static void use_script(const char *script)
{
	struct maps none = {0};
	static char text[16384];
	char self[4096] = "";
	assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
	int n = snprintf(text, sizeof text, "#!/bin/sh\nself='%s'\ncd %s\n%s\n", self, dir, script);
	assert_in_range(n, 1, sizeof text - 1);
	unlink(program);
	write_file("helper", text, (size_t)n);
	assert_int_equal(chmod(program, 0755), 0);
	cache_start(64 << 20);
	symbolizer_start(&(struct encoder_options){
		.symbolizer = program, .symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20});
	symbolizer_locate(&none);
}

/* A script that reads the request, and then says this. */
static void use_answer(const char *answer)
{
	write_file("answer", answer, strlen(answer));
	use_script("cat >/dev/null; exec cat answer");
}

static bool would_answer(int m)
{
	return symbolizer_would_answer(cache_object(&module[m]));
}

static void ask_all(void)
{
	assert_int_equal(symbolizer_ask(questions, MODULES), 0);
}

static void wait_for_end(void)
{
	uint64_t until = now_ms() + WAIT_MS;
	while (symbolizer_poll()) {
		assert_true(now_ms() < until);
		usleep(500);
	}
}

static void run(const char *answer)
{
	use_answer(answer);
	ask_all();
	wait_for_end();
}

/* --- what the cache holds -------------------------------------------------------------------------- */

static const struct cached *find(int m, uint64_t address)
{
	return cache_find(cache_object(&module[m]), address);
}

static void append(char *text, size_t cap, const char *format, ...)
{
	va_list args;
	size_t len = strlen(text);
	va_start(args, format);
	vsnprintf(text + len, cap - len, format, args);
	va_end(args);
}

/* All that is known of the modules' addresses, as lines. */
static const char *known(void)
{
	static char text[16384];
	text[0] = '\0';
	for (int m = 0; m < MODULES; m++)
		for (size_t i = 0; i < ADDRESSES; i++) {
			const struct cached *c = find(m, addresses[i]);
			if (!c)
				continue;
			append(text, sizeof text, "%d:%x from %x%s", m, (unsigned)addresses[i], (unsigned)c->start,
			       c->complete ? "" : " incomplete");
			for (uint32_t k = 0; k < c->count; k++) {
				const struct name_frame *f = &c->frame[k];
				append(text, sizeof text, " [%.*s|%.*s|%.*s|%u|%u]", (int)f->function.len,
				       f->function.at, (int)f->system.len, f->system.at, (int)f->file.len, f->file.at,
				       f->line, f->start_line);
			}
			append(text, sizeof text, "\n");
		}
	return text;
}

static int count_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int descriptors_at_start;

static void expect_nothing_left(void)
{
	assert_false(symbolizer_poll());
	assert_int_equal(count_descriptors(), descriptors_at_start);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

/* --- whole answers --------------------------------------------------------------------------------- */

static const char whole[] = "o 0\n"
			    "a 10 8\nf 12 10\t/src/a.c\t_Z1fi\tf(int)\nf 7 0\t/src/b.c\tmain\tmain\n"
			    "a 20 20\nf 0 0\t\tstart\tstart\n"
			    "a 30 0\n"
			    "n something for people\n"
			    "o 1\n"
			    "n /path of/b: no such file\n"
			    "o 2\n"
			    "a 80 70\nf 2147483647 2147483647\t/src/c d.c\t\t(anonymous namespace)::g\n"
			    "a 10 0\nf 1 0\t/x\tx\tx\n"
			    "e\n";
static const char whole_known[] = "0:10 from 8 [f(int)|_Z1fi|/src/a.c|12|10] [main|main|/src/b.c|7|0]\n"
				  "0:20 from 20 [start|start||0|0]\n"
				  "0:30 from 0\n"
				  "2:10 from 0 [x|x|/x|1|0]\n"
				  "2:80 from 70 [(anonymous namespace)::g||/src/c d.c|2147483647|2147483647]\n";

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

static unsigned limit_s;
static void child_begin(void)
{
	alarm(limit_s);
	spawn_start();
}

/* With an alarm: one that hangs does not hold up the other tests. */
static void in_child_within(unsigned seconds, void (*body)(void))
{
	limit_s = seconds;
	int status = child_status(child_begin, body);
	if (status == SIGALRM)
		fail_msg("it was not done after %u s", seconds);
	expect_good_end(status);
}

/* Whoever asks goes on with other things meanwhile. */
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

/* Who asks while a helper runs waits for the next, with all others; but not for what the one that runs was asked
 * already. */
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

/* --- one that cannot be had ------------------------------------------------------------------------ */

/* The program is in the same container: of what is left, half may be taken. */
static void test_a_helper_has_half_of_what_the_container_leaves_or_is_not_started(void **state)
{
	(void)state;
	use_script("ulimit -d >limit; cat >/dev/null; echo e");
	room = 40 << 20;
	ask_all();
	wait_for_end();
	assert_string_equal(read_file("limit"), "20480\n");
	unlink(in_dir("limit"));
	room = 15 << 20;
	use_script("touch started; cat >/dev/null; echo e");
	assert_int_equal(symbolizer_ask(questions, MODULES), -ENOSPC);
	assert_non_null(strstr(symbolizer_trouble(), "too little memory"));
	assert_false(would_answer(0)); /* for a while */
	room = UINT64_MAX;
	assert_int_equal(access(in_dir("started"), F_OK), -1);
}

/* That was want of memory, most likely: whoever is asked about, it would be the same. */
static void test_after_a_helper_that_the_kernel_killed_none_is_tried_for_a_while(void **state)
{
	(void)state;
	use_script("read line; echo o 0; kill -9 $$");
	ask_all();
	wait_for_end();
	assert_string_equal(symbolizer_trouble(), KILLED("9"));
	for (int i = 0; i < MODULES; i++)
		assert_false(would_answer(i));
}

static void test_what_cannot_be_started_is_told_and_not_tried_again_at_once(void **state)
{
	static const struct {
		const char *content;
		mode_t mode;
		int error;
		const char *trouble;
	} rows[] = {
		{NULL, 0, -ENOENT, ABSENT},
		{"#!/bin/sh\n", 0644, -EACCES, FORBIDDEN},
		{"#!/bin/sh\n", 0757, -EPERM, REFUSED},
		{"#!/nowhere\n", 0755, -ENOENT, ABSENT},
		{"no program", 0755, -ENOEXEC,
	         "no lines and inlined calls: pprofshim-symbolize could not be started, error 8; names are those of "
	         "symbol tables"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		use_script("exit 0");
		unlink(program);
		if (rows[i].content) {
			write_file("helper", rows[i].content, strlen(rows[i].content));
			chmod(program, rows[i].mode);
		}
		assert_true(would_answer(0));
		assert_int_equal(symbolizer_ask(questions, MODULES), rows[i].error);
		assert_string_equal(symbolizer_trouble(), rows[i].trouble);
		for (int m = 0; m < MODULES; m++)
			assert_false(would_answer(m));
		expect_nothing_left();
	}
}

static void test_a_relative_path_is_not_run(void **state)
{
	(void)state;
	use_script("touch was_run");
	char before[4096];
	assert_non_null(getcwd(before, sizeof before));
	assert_int_equal(chdir(dir), 0);
	symbolizer_start(&(struct encoder_options){
		.symbolizer = "./helper", .symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20});
	symbolizer_locate(&(struct maps){0});
	int r = symbolizer_ask(questions, MODULES);
	assert_int_equal(chdir(before), 0);
	assert_int_equal(r, -EPERM);
	assert_string_equal(symbolizer_trouble(), REFUSED);
}

static void test_it_is_where_the_options_say_else_beside_the_library(void **state)
{
	(void)state;
	struct region r = {0};
	struct maps maps;
	assert_int_equal(maps_read(&r, &maps), 0);
	cache_start(64 << 20);
	symbolizer_start(&(struct encoder_options){.symbolizer_off = true, .symbolizer = program});
	symbolizer_locate(&maps);
	assert_false(would_answer(0));
	assert_null(symbolizer_trouble());
	symbolizer_start(
		&(struct encoder_options){.symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20});
	assert_false(would_answer(0)); /* not looked for yet */
	symbolizer_locate(&(struct maps){0});
	assert_false(would_answer(0));
	symbolizer_locate(&maps);
	assert_true(would_answer(0));
	/* here, that is the test program's folder */
	char beside[4200] = "";
	ssize_t n = readlink("/proc/self/exe", beside, 4000);
	assert_in_range(n, 1, 4000);
	strcpy(strrchr(beside, '/'), "/" SYMBOLIZE_PROGRAM);
	if (access(beside, F_OK) != 0) {
		assert_int_equal(symbolizer_ask(questions, 1), -ENOENT);
		assert_string_equal(symbolizer_trouble(), ABSENT);
	}
	static char longest[5000];
	memset(longest, 'x', sizeof longest - 1);
	symbolizer_start(&(struct encoder_options){.symbolizer = longest});
	symbolizer_locate(&maps);
	assert_false(would_answer(0));
	region_release(&r);
}

static void lack_memory(void)
{
	use_answer("o 0\na 10 0\ne\n");
	arena_set_limit(arena_mapped_bytes() + 128 * 1024);
	int before = count_descriptors();
	uint64_t mapped = arena_mapped_bytes();
	CHECK(symbolizer_ask(questions, MODULES) == -ENOMEM);
	CHECK(!symbolizer_poll());
	CHECK(strcmp(symbolizer_trouble(),
	             "no lines and inlined calls: pprofshim-symbolize could not be started, error 12; names are "
	             "those of symbol tables") == 0);
	CHECK(arena_mapped_bytes() <= mapped + 64 * 1024); /* of the cache's */
	CHECK(count_descriptors() == before);
}

static void test_without_memory_it_is_not_started(void **state)
{
	(void)state;
	in_child_within(60, lack_memory);
}

/* --- one that takes its time ----------------------------------------------------------------------- */

static void test_nobody_waits_for_one_that_is_silent(void **state)
{
	(void)state;
	use_script("cat >/dev/null; printf 'o 0\\na 10 0\\nf 1 1\\t\\t\\tf\\na 2'; touch here; while [ ! -e go ]; do "
	           "sleep 0.02; done; "
	           "rm go; printf '0 0\\ne\\n'");
	ask_all();
	uint64_t until = now_ms() + WAIT_MS;
	while (access(in_dir("here"), F_OK) != 0 || !find(0, 0x10) || now_ms() < until - WAIT_MS + 300) {
		assert_true(symbolizer_poll());
		assert_true(now_ms() < until);
		usleep(500);
		if (access(in_dir("here"), F_OK) == 0 && now_ms() > until - WAIT_MS + 300)
			break; /* the address may wait for its frames' end */
	}
	assert_null(symbolizer_trouble());
	assert_null(find(0, 0x20));
	write_file("go", "", 0);
	wait_for_end();
	assert_string_equal(known(), "0:10 from 0 [f|||1|1]\n0:20 from 0\n");
	unlink(in_dir("here"));
	expect_nothing_left();
}

static void test_one_that_does_not_read_is_given_up(void **state)
{
	enum { N = 300 * 1000 }; /* more than a pipe holds */
	(void)state;
	uint64_t *many = malloc(N * sizeof *many);
	for (int i = 0; i < N; i++)
		many[i] = 0x7f0000000000 + (uint64_t)i;
	use_script("exec sleep 1000");
	uint64_t before = now_ms();
	assert_int_equal(symbolizer_ask(&(struct question){&module[0], "/a", many, N}, 1), 0);
	assert_in_range(now_ms() - before, 400, WAIT_MS);
	assert_string_equal(symbolizer_trouble(),
	                    "no lines and inlined calls: pprofshim-symbolize did not read its questions and was ended; "
	                    "names are those of symbol tables");
	assert_false(would_answer(0));
	assert_false(would_answer(1));
	expect_nothing_left();
	/* one that does gets it all */
	use_script("wc -lc >request; echo e");
	assert_int_equal(symbolizer_ask(&(struct question){&module[0], "/a", many, N}, 1), 0);
	wait_for_end();
	long lines, bytes;
	assert_int_equal(sscanf(read_file("request"), "%ld %ld", &lines, &bytes), 2);
	assert_int_equal(lines, N + 2);
	assert_int_equal(bytes, strlen("o abcd01\np /a\n") + N * 15);
	free(many);
}

/* The parent's helper is none of the child's: it neither reads nor ends it. */
static void forget_parents(void)
{
	cache_start(64 << 20);
	symbolizer_start(&(struct encoder_options){
		.symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20, .symbolizer = program});
	CHECK(!symbolizer_poll());
	CHECK(!symbolizer_trouble());
}

static void test_a_fork_child_forgets_the_parents_helper(void **state)
{
	(void)state;
	use_script("cat >/dev/null; while [ ! -e go ]; do sleep 0.02; done; rm go; cat answer");
	write_file("answer", whole, strlen(whole));
	ask_all();
	in_child_within(60, forget_parents);
	assert_true(symbolizer_poll());
	write_file("go", "", 0);
	wait_for_end();
	assert_string_equal(known(), whole_known);
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

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(program, sizeof program, "%s", in_dir("helper"));
	descriptors_at_start = count_descriptors();
	sigset_t all; /* as in the listener */
	sigfillset(&all);
	sigdelset(&all, SIGALRM);
	return sigprocmask(SIG_BLOCK, &all, NULL);
}

static int remove_dir(void **state)
{
	static const char *const names[] = {"helper", "answer", "request", "arguments", "here", "go"};
	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		unlink(in_dir(names[i]));
	return rmdir(dir);
}

/* Of a script, which can't unblock signals. */
static void die(int number)
{
	sigset_t none;
	sigemptyset(&none);
	signal(number, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	raise(number);
	_exit(0);
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
		cmocka_unit_test(test_death_is_blamed_on_the_object_that_was_looked_at),
		cmocka_unit_test(test_every_end_without_the_last_word_is_trouble),
		cmocka_unit_test(test_questions_wait_for_the_next_helper_and_are_put_together),
		cmocka_unit_test(test_one_that_dies_before_it_reads_is_told_by_its_death),
		cmocka_unit_test(test_an_object_that_was_answered_is_not_blamed),
		cmocka_unit_test(test_an_object_without_answers_is_not_asked_for_again_at_once),
		cmocka_unit_test(test_a_helper_has_half_of_what_the_container_leaves_or_is_not_started),
		cmocka_unit_test(test_after_a_helper_that_the_kernel_killed_none_is_tried_for_a_while),
		cmocka_unit_test(test_what_cannot_be_started_is_told_and_not_tried_again_at_once),
		cmocka_unit_test(test_a_relative_path_is_not_run),
		cmocka_unit_test(test_it_is_where_the_options_say_else_beside_the_library),
		cmocka_unit_test(test_without_memory_it_is_not_started),
		cmocka_unit_test(test_nobody_waits_for_one_that_is_silent),
		cmocka_unit_test(test_one_that_does_not_read_is_given_up),
		cmocka_unit_test(test_a_fork_child_forgets_the_parents_helper),
		cmocka_unit_test(test_any_bytes_do_no_harm),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
