/* test_threads_text.c - goroutine?debug=2: what is stuck, the blocks of the threads, line by line.
 *
 * Runs in: its own process. Stubs: the list of modules.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/answers.c encoder/names/helper_program.c encoder/names/object_file.c encoder/names/trouble.c
 * links: encoder/profile/threads_text.c encoder/profile/frames.c encoder/profile/go_text.c
 * links: encoder/bytes/intern.c encoder/names/names.c encoder/names/cache.c
 * links: encoder/names/site.c encoder/names/tails.c encoder/names/ways.c
 * links: encoder/names/symbolizer.c encoder/names/container.c encoder/names/jit.c shim/base/own_file.c
 * links: shim/listener/spawn.c shim/listener/keeper.c shim/listener/filters.c encoder/names/elf_symbols.c
 * links: encoder/names/maps.c encoder/bytes/sort.c
 * links: encoder/bytes/out.c encoder/bytes/utf8.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/profile/threads_text.h"
#include "encoder/names/names.h"
#include "encoder/bytes/utf8.h"
#include "test/unit/encoder/profile/modules_made.h"
#include "test/unit/support/count.h"

#define SECOND 1000000000ll

static struct {
	struct stack head;
	uintptr_t pc[2];
} known, foo, nowhere, empty;

static char known_frame[260], known_lines[400]; /* of the stack `known` */

static int start(void **state)
{
	(void)state;
	char self[200] = {0};
	find_modules();
	library.path = "/nowhere/lib\nfoo.so";
	known.head.depth = 2;
	known.pc[0] = (uintptr_t)known_function_of_the_test + 2;
	known.pc[1] = 0x11080;
	foo.head.depth = 1;
	foo.pc[0] = 0x11090;
	nowhere.head.depth = 1;
	nowhere.pc[0] = 0x9010;
	if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
		return -1;
	snprintf(known_frame, sizeof known_frame, "%s:0 .c:0 +0x2\n", self);
	snprintf(known_lines, sizeof known_lines,
	         "known_function_of_the_test(...)\n\t%s"
	         "lib?foo.so+0x1080(...)\n\t/nowhere/lib?foo.so:0 .c:0\n",
	         known_frame);
	return 0;
}

static char *join(const struct out *o)
{
	char *all = calloc(1, o->len + 1);
	size_t at = 0;
	for (const struct out_chunk *c = o->first; c; at += c->used, c = c->next)
		memcpy(all + at, c->bytes, c->used);
	return all;
}

static char *print_as(const struct dump_snapshot *s, int64_t debug)
{
	struct region r = {0};
	struct out o;
	out_init(&o, &r);
	assert_int_equal(dump_print(&r, &o, s, debug, NULL), 0);
	char *all = join(&o);
	region_release(&r);
	return all;
}

static char *print(const struct dump_snapshot *s)
{
	return print_as(s, 2);
}

static void expect_thread(struct dump_thread t, const char *want)
{
	const struct dump_snapshot s = {.count = 1, .threads = &t};
	char *all = print(&s);
	assert_string_equal(all, want);
	free(all);
}

static void test_a_running_thread_is_a_header_its_name_and_its_stack(void **state)
{
	(void)state;
	char want[500];
	snprintf(want, sizeof want, "# thread alice\ngoroutine 101 [running]:\n%s\n", known_lines);
	expect_thread(
		(struct dump_thread){
			.tid = 101, .name = "alice", .state = "running", .since_ns = -1, .stack = &known.head},
		want);
}

#define FRAME "[anonymous]+0x9010(...)\n\t[anonymous]:0 .c:0\n\n"

static void test_frames_in_no_object_have_their_address(void **state)
{
	(void)state;
	expect_thread(
		(struct dump_thread){
			.tid = 1, .name = "jit", .state = "running", .since_ns = -1, .stack = &nowhere.head},
		"# thread jit\ngoroutine 1 [running]:\n" FRAME);
}

static void test_a_thread_has_one_frame_of_the_stack_that_created_it_and_the_others_above(void **state)
{
	(void)state;
	char want[700];
	struct dump_thread t = {.tid = 2,
	                        .name = "w",
	                        .state = "running",
	                        .since_ns = -1,
	                        .stack = &foo.head,
	                        .created_by = &known.head};
	snprintf(want, sizeof want,
	         "# thread w\n# created by known_function_of_the_test <- lib?foo.so+0x1080\n"
	         "goroutine 2 [running]:\n"
	         "lib?foo.so+0x1090(...)\n\t/nowhere/lib?foo.so:0 .c:0\n"
	         "created by known_function_of_the_test\n\t%s\n",
	         known_frame);
	expect_thread(t, want);
	t.created_by = &nowhere.head;
	expect_thread(t, "# thread w\ngoroutine 2 [running]:\n"
	                 "lib?foo.so+0x1090(...)\n\t/nowhere/lib?foo.so:0 .c:0\n"
	                 "created by [anonymous]+0x9010\n\t[anonymous]:0 .c:0\n\n");
}

static void test_the_whole_dump_has_objects_and_their_addresses(void **state)
{
	(void)state;
	struct dump_thread t = {.tid = 2,
	                        .name = "w",
	                        .state = "running",
	                        .since_ns = -1,
	                        .stack = &foo.head,
	                        .created_by = &nowhere.head};
	const struct dump_snapshot s = {.count = 1, .threads = &t};
	char *all = print_as(&s, 3);
	assert_string_equal(all, "# thread w\n"
	                         "goroutine 2 [running]:\n"
	                         "lib?foo.so+0x1090(...)\n\t/nowhere/lib?foo.so:0 (/nowhere/lib?foo.so 0x1090)\n"
	                         "created by [anonymous]+0x9010\n\t[anonymous]:0 ([anonymous] 0x9010)\n\n");
	free(all);
}

/* Readers want a frame at least. */
#define NONE "thread_not_reached(...)\n\t??:0\n"

static void test_a_thread_without_its_stack_says_why(void **state)
{
	(void)state;
	expect_thread(
		(struct dump_thread){
			.tid = 3, .name = "x", .state = "running", .since_ns = -1, .reason = "it blocks every signal"},
		"# thread x\n# not reached: it blocks every signal\ngoroutine 3 [running]:\n" NONE "\n");
	expect_thread(
		(struct dump_thread){.tid = 3, .name = "x", .state = "running", .since_ns = -1, .stack = &empty.head},
		"# thread x\n# not reached\ngoroutine 3 [running]:\n" NONE "\n");
	expect_thread((struct dump_thread){.tid = 3,
	                                   .name = "x",
	                                   .state = "running",
	                                   .since_ns = -1,
	                                   .stack = &nowhere.head,
	                                   .reason = "no unwind table"},
	              "# thread x\n# stack is short: no unwind table\ngoroutine 3 [running]:\n" FRAME);
	expect_thread((struct dump_thread){.tid = 3,
	                                   .name = "x",
	                                   .state = "running",
	                                   .since_ns = -1,
	                                   .reason = "late",
	                                   .created_by = &nowhere.head},
	              "# thread x\n# not reached: late\ngoroutine 3 [running]:\n" NONE
	              "created by [anonymous]+0x9010\n\t[anonymous]:0 .c:0\n\n");
}

static void test_what_a_thread_waits_for_is_told_as_far_as_it_is_known(void **state)
{
	static const struct {
		struct dump_thread thread;
		const char *header, *line;
	} rows[] = {
		{{.state = "poll", .since_ns = -1}, "[poll]", ""},
		{{.state = "poll", .since_ns = 0}, "[poll]", "# waits in poll since 0.000s\n"},
		{{.state = "poll", .since_ns = 1204999999}, "[poll]", "# waits in poll since 1.204s\n"},
		{{.state = "read", .object_kind = DUMP_FD, .object = 5, .since_ns = 59 * SECOND + 45000000},
	         "[read]",
	         "# waits in read for descriptor 5 since 59.045s\n"},
		{{.state = "accept",
	          .object_kind = DUMP_FD,
	          .object = 6,
	          .object_name = "unix /tmp/a\nb",
	          .since_ns = -1},
	         "[accept]",
	         "# waits in accept for descriptor 6 (unix /tmp/a?b)\n"},
		{{.state = "read", .object_kind = DUMP_FD, .object = 0, .since_ns = 60 * SECOND},
	         "[read, 1 minutes]",
	         "# waits in read for descriptor 0 since 1m0s\n"},
		{{.state = "poll", .object_kind = DUMP_FDS, .object = 1, .since_ns = -1},
	         "[poll]",
	         "# waits in poll for 1 descriptor\n"},
		{{.state = "select",
	          .object_kind = DUMP_FDS,
	          .object = 7,
	          .object_name = "3: eventfd; 4; …",
	          .since_ns = 0},
	         "[select]",
	         "# waits in select for 7 descriptors (3: eventfd; 4; …) since 0.000s\n"},
		{{.state = "pthread_join", .object_kind = DUMP_TID, .object = 123, .since_ns = 192 * SECOND},
	         "[pthread_join, 3 minutes]",
	         "# waits in pthread_join for thread 123 since 3m12s\n"},
		{{.state = "waitpid", .object_kind = DUMP_PID, .object = 77, .since_ns = 7510 * SECOND},
	         "[waitpid, 125 minutes]",
	         "# waits in waitpid for process 77 since 2h5m10s\n"},
		{{.state = "futex (system call)", .object_kind = DUMP_ADDRESS, .object = 0x7f00dead, .since_ns = -1},
	         "[futex (system call)]",
	         "# waits in futex (system call) for 0x7f00dead\n"},
		{{.state = "pthread_mutex_lock",
	          .object_kind = DUMP_ADDRESS,
	          .object = 0x55,
	          .since_ns = 2 * SECOND,
	          .owner_tid = 9,
	          .owner_name = "b\x7fob"},
	         "[pthread_mutex_lock]",
	         "# waits in pthread_mutex_lock for 0x55 since 2.000s, held by thread 9 (b?ob)\n"},
		{{.state = "pthread_mutex_lock",
	          .object_kind = DUMP_ADDRESS,
	          .object = 0x55,
	          .since_ns = -1,
	          .owner_tid = 9},
	         "[pthread_mutex_lock]",
	         "# waits in pthread_mutex_lock for 0x55, held by thread 9, which has ended\n"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char want[400];
		struct dump_thread t = rows[i].thread;
		t.tid = 4, t.name = "n\xff", t.reason = "r";
		snprintf(want, sizeof want, "# thread n?\n%s# not reached: r\ngoroutine 4 %s:\n" NONE "\n",
		         rows[i].line, rows[i].header);
		expect_thread(t, want);
	}
}

static struct dump_thread waiter(int tid, const char *name, uint64_t mutex, int owner, const char *owner_name)
{
	return (struct dump_thread){.tid = tid,
	                            .name = name,
	                            .state = "pthread_mutex_lock",
	                            .object_kind = DUMP_ADDRESS,
	                            .object = mutex,
	                            .since_ns = 75 * SECOND,
	                            .owner_tid = owner,
	                            .owner_name = owner_name,
	                            .stack = &nowhere.head};
}

static void test_a_deadlock_is_named_with_its_chain_and_its_blocks_before_all_others(void **state)
{
	(void)state;
	struct dump_thread t[] = {
		{.tid = 100, .name = "main", .state = "running", .since_ns = -1, .stack = &nowhere.head},
		waiter(101, "alice", 0x5510, 102, "bob"),
		waiter(102, "bob", 0x5520, 103, "ca\nrol"),
		waiter(103, "ca\nrol", 0x5530, 101, "alice"),
	};
	t[2].stack = &foo.head;
	struct dump_stuck stuck = {.is_deadlock = true, .count = 3, .chain = (const size_t[]){1, 2, 3}};
	struct dump_snapshot s = {.count = 4, .threads = t, .deadlock_count = 1, .stuck = &stuck};
#define ALICE \
	"# thread alice\n# waits in pthread_mutex_lock for 0x5510 since 1m15s, held by thread 102 (bob)\n" \
	"goroutine 101 [pthread_mutex_lock, 1 minutes]:\n" FRAME
#define BOB \
	"# thread bob\n# waits in pthread_mutex_lock for 0x5520 since 1m15s, held by thread 103 (ca?rol)\n" \
	"goroutine 102 [pthread_mutex_lock, 1 minutes]:\n" \
	"lib?foo.so+0x1090(...)\n\t/nowhere/lib?foo.so:0 .c:0\n\n"
#define CAROL \
	"# thread ca?rol\n# waits in pthread_mutex_lock for 0x5530 since 1m15s, held by thread 101 (alice)\n" \
	"goroutine 103 [pthread_mutex_lock, 1 minutes]:\n" FRAME
	char *all = print(&s);
	assert_string_equal(
		all, "DEADLOCK: thread 101 (alice) in [anonymous]+0x9010 waits for pthread_mutex_lock 0x5510 "
		     "held by thread 102 (bob) in lib?foo.so+0x1090, "
		     "which waits for pthread_mutex_lock 0x5520 held by thread 103 (ca?rol) in [anonymous]+0x9010, "
		     "which waits for pthread_mutex_lock 0x5530 held by thread 101 (alice)\n\n" ALICE BOB CAROL
		     "# thread main\ngoroutine 100 [running]:\n" FRAME);
	free(all);
}

static void test_a_thread_that_waits_for_itself_is_a_deadlock_of_one(void **state)
{
	(void)state;
	static const char line[] =
		"DEADLOCK: thread 7 (x) in [anonymous]+0x9010 waits for pthread_mutex_lock 0x10 held by thread 7 "
		"(x)\n\n# thread x\n";
	struct dump_thread t = waiter(7, "x", 0x10, 7, "x");
	struct dump_stuck stuck = {.is_deadlock = true, .count = 1, .chain = (const size_t[]){0}};
	struct dump_snapshot s = {.count = 1, .threads = &t, .deadlock_count = 1, .stuck = &stuck};
	char *all = print(&s);
	assert_memory_equal(all, line, sizeof line - 1);
	free(all);
}

static void test_stalled_threads_are_lines_with_what_is_known_of_the_holder(void **state)
{
	(void)state;
	static const char lines[] =
		"STALLED: thread 103 (carol) in [anonymous]+0x9010 has been waiting for 75 seconds in "
		"pthread_mutex_lock 0x10 held by thread 104 (dave) in [anonymous]+0x9010\n\n"
		"STALLED: thread 104 (dave) in [anonymous]+0x9010 has been waiting for 75 seconds in "
		"pthread_mutex_lock 0x20 held by thread 102, which has ended\n\n"
		"STALLED: thread 105 (eve) in [anonymous]+0x9010 has been waiting for 75 seconds in "
		"pthread_mutex_lock 0x30\n\n"
		"STALLED: thread 106 (frank) has been waiting in pthread_rwlock_wrlock\n\n"
		"# thread carol\n";
	struct dump_thread t[] = {waiter(103, "carol", 0x10, 104, "dave"),
	                          waiter(104, "dave", 0x20, 102, NULL),
	                          waiter(105, "eve", 0x30, 0, NULL),
	                          {.tid = 106, .name = "frank", .state = "pthread_rwlock_wrlock", .since_ns = -1}};
	static const size_t chain[] = {0, 1, 2, 3};
	struct dump_stuck stuck[] = {{.count = 1, .chain = chain},
	                             {.count = 1, .chain = chain + 1},
	                             {.count = 1, .chain = chain + 2},
	                             {.count = 1, .chain = chain + 3},
	                             {.count = 0}};
	struct dump_snapshot s = {.count = 4, .threads = t, .deadlock_count = COUNT(stuck), .stuck = stuck};
	char *all = print(&s);
	assert_memory_equal(all, lines, sizeof lines - 1);
	free(all);
}

static void test_nothing_is_printed_of_no_threads(void **state)
{
	(void)state;
	struct dump_snapshot s = {0};
	char *all = print(&s);
	assert_string_equal(all, "");
	free(all);
}

enum { MANY = 1000, DEPTH = 40 };

static struct dump_thread *many_threads(void)
{
	struct dump_thread *t = calloc(MANY, sizeof *t);
	for (int i = 0; i < MANY; i++) {
		struct stack *s = calloc(1, sizeof *s + DEPTH * sizeof *s->pc);
		s->depth = DEPTH;
		for (uintptr_t k = 0; k < DEPTH; k++)
			s->pc[k] = k % 2 ? program.text[0].start + ((uintptr_t)i * DEPTH + k) %
			                                                   (program.text[0].end - program.text[0].start)
			                 : 0x5000000000 + (uintptr_t)i * 4096 + k;
		t[i] = (struct dump_thread){
			.tid = i + 1, .name = "worker", .state = "poll", .stack = s, .created_by = &known.head};
	}
	return t;
}

static void drop(struct dump_thread *t)
{
	for (int i = 0; i < MANY; i++)
		free((void *)t[i].stack);
	free(t);
}

static double seconds_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Each stack differs, no address twice: the worst there is. */
static void test_a_thousand_threads_are_printed_in_a_moment(void **state)
{
	(void)state;
	struct dump_thread *t = many_threads();
	struct dump_snapshot s = {.count = MANY, .threads = t};
	double from = seconds_now();
	char *all = print(&s);
	double spent = seconds_now() - from;
	size_t headers = 0, frames = 0;
	for (const char *at = all; (at = strstr(at, "goroutine ")); at++)
		headers++;
	for (const char *at = all; (at = strstr(at, "(...)\n\t")); at++)
		frames++;
	assert_int_equal(headers, MANY);
	assert_int_equal(frames, MANY * DEPTH);
	print_message("%d threads: %.0f ms, %zu bytes\n", MANY, spent * 1e3, strlen(all));
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
	assert_true(spent < 0.5);
#endif
	free(all);
	drop(t);
	names_start(&(struct encoder_options){.symbolizer_off = true,
	                                      .memory_limit_bytes = 64 << 20}); /* gives back what it keeps */
}

static void test_without_memory_the_dump_says_so(void **state)
{
	(void)state;
	pid_t child = fork();
	if (child == 0) {
		struct dump_thread *t = many_threads();
		struct dump_snapshot s = {.count = MANY, .threads = t};
		int failures = 0, error = -1;
		for (size_t room = 0; error && room < 64 << 20; room += 1 << 19) {
			struct region r = {0};
			struct out o;
			out_init(&o, &r);
			arena_set_limit(room);
			error = dump_print(&r, &o, &s, 2, NULL);
			if (error && error != -ENOMEM)
				_exit(2);
			failures += error == -ENOMEM;
			region_release(&r);
			names_start(&(struct encoder_options){.symbolizer_off = true, .memory_limit_bytes = 64 << 20});
		}
		_exit(error == 0 && failures > 2 ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_a_line_of_text_has_no_control_characters(void **state)
{
	static const char *const rows[][2] = {
		{"", ""},
		{"plain", "plain"},
		{"a\nb\tc\x1b[0m\x7f", "a?b?c?[0m?"},
		{"caf\xc3\xa9 \xc2\xa0", "caf\xc3\xa9 \xc2\xa0"},
		{"\xc2\x9b"
	         "31m",
	         "??31m"}, /* a terminal's CSI in one character */
		{"\xc2", "?"},
	};
	(void)state;
	struct region r = {0};
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_string_equal(utf8_line(&r, span_of(rows[i][0])), rows[i][1]);
	region_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_running_thread_is_a_header_its_name_and_its_stack),
		cmocka_unit_test(test_frames_in_no_object_have_their_address),
		cmocka_unit_test(test_a_thread_has_one_frame_of_the_stack_that_created_it_and_the_others_above),
		cmocka_unit_test(test_the_whole_dump_has_objects_and_their_addresses),
		cmocka_unit_test(test_a_thread_without_its_stack_says_why),
		cmocka_unit_test(test_what_a_thread_waits_for_is_told_as_far_as_it_is_known),
		cmocka_unit_test(test_a_deadlock_is_named_with_its_chain_and_its_blocks_before_all_others),
		cmocka_unit_test(test_a_thread_that_waits_for_itself_is_a_deadlock_of_one),
		cmocka_unit_test(test_stalled_threads_are_lines_with_what_is_known_of_the_holder),
		cmocka_unit_test(test_nothing_is_printed_of_no_threads),
		cmocka_unit_test(test_a_thousand_threads_are_printed_in_a_moment),
		cmocka_unit_test(test_without_memory_the_dump_says_so),
		cmocka_unit_test(test_a_line_of_text_has_no_control_characters),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
