/* test_symbolize_serve.c - the helper's side of the protocol: every request gets an answer, and only whole lines.
 *
 * Runs in: its own process. Objects are made up here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/symbolize/serve.c encoder/symbolize/reply.c encoder/symbolize/request.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/symbolize/demangle.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/symbolize/protocol.h"
#include "encoder/symbolize/serve.h"
#include "test/unit/support/count.h"

/* --- made-up files --------------------------------------------------------------------------------- */

struct object {
	const char *note;
};

static struct object plain, damaged = {"its lines are damaged"};
static char huge[200 * 1024];
static unsigned objects_open;
static int out_fd; /* of the answer that is being written */
static off_t sent; /* bytes of it, when address 0x72 was looked up */

struct object *object_open(const char *path, const char *build_id, const char **why)
{
	bool is_damaged = strcmp(path, "/damaged") == 0;
	if (strcmp(path, "/plain") != 0 && !is_damaged) {
		*why = "no such file";
		return NULL;
	}
	if (build_id && strcmp(build_id, "aa11") != 0) {
		*why = "another build id";
		return NULL;
	}
	objects_open++;
	return is_damaged ? &damaged : &plain;
}

void object_close(struct object *o)
{
	(void)o;
	objects_open--;
}

const char *object_note(const struct object *o)
{
	return o->note;
}

static const struct frame inlined[] = {{"f(int)", "_Z1fi", "/src/a.c", 12, 10}, {"main", "main", "/src/b.c", 7, 0}};
static const struct frame symbol_only[] = {{"start", "start", "", 0, 0}};
static const struct frame controls[] = {{"a\tb\nc\x7f", "\x01z", "/src/\r.c", 1, 1}};
static const struct frame large[] = {{huge, huge, huge, 4294967295u, 4294967295u}};
static struct frame many[1000];

static const struct {
	uint64_t address;
	const struct frame *frame;
	size_t count;
} known[] = {
	{0x10, inlined, 2}, {0x20, symbol_only, 1}, {0x40, many, COUNT(many)}, {0x50, large, 1}, {0x60, controls, 1}};

void object_lookup(struct object *o, const uint64_t *addresses, size_t count,
                   void (*tell)(void *arg, const struct answer *a), void *arg)
{
	(void)o;
	for (size_t i = 0; i < count; i++) {
		struct answer a = {.address = addresses[i]};
		assert_true(i == 0 || addresses[i] > addresses[i - 1]); /* each once */
		for (size_t k = 0; k < COUNT(known); k++)
			if (known[k].address == addresses[i])
				a = (struct answer){.address = addresses[i],
				                    .start = addresses[i] & ~UINT64_C(7),
				                    .count = known[k].count,
				                    .frame = known[k].frame,
				                    .calls = addresses[i] == 0x20 ? "f" : NULL,
				                    .called = 0x200};
		if (addresses[i] == 0x71)
			usleep(150 * 1000);
		if (addresses[i] == 0x72)
			sent = lseek(out_fd, 0, SEEK_CUR);
		tell(arg, &a);
	}
}

/* A call to a function at 0x200, which jumps on to another at 0x300, and to malloc. */
void object_jumps(struct object *o, const uint64_t *addresses, size_t count,
                  void (*tell)(void *arg, const struct jumps *j), void *arg)
{
	static const struct jump jump[] = {{0x200, 0x20f, 0x300, "g\n"}, {0x300, 0, 0, "malloc"}};
	(void)o;
	for (size_t i = 0; i < count; i++)
		tell(arg, &(struct jumps){addresses[i], addresses[i] == 0x15 ? 0x200 : 0,
		                          addresses[i] == 0x15 ? COUNT(jump) : 0, jump});
}

char *demangle(const char *name, bool whole)
{
	assert_false(whole);
	return name[0] == '_' ? strdup(name + 1) : NULL;
}

/* --- asking ---------------------------------------------------------------------------------------- */

static int file_of(const void *bytes, size_t len)
{
	int fd = memfd_create("request", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	lseek(fd, 0, SEEK_SET);
	return fd;
}

/* The whole answer, a string of the test's (free). */
static char *ask_bytes(const void *bytes, size_t len)
{
	int in = file_of(bytes, len);
	out_fd = memfd_create("answer", MFD_CLOEXEC);
	assert_int_equal(serve(in, out_fd), 0);
	off_t size = lseek(out_fd, 0, SEEK_CUR);
	char *answer = calloc(1, (size_t)size + 1);
	assert_int_equal(pread(out_fd, answer, (size_t)size, 0), size);
	assert_int_equal(strlen(answer), size);
	close(in);
	close(out_fd);
	assert_int_equal(objects_open, 0);
	return answer;
}

static void expect(const char *request, const char *answer)
{
	char *got = ask_bytes(request, strlen(request));
	assert_string_equal(got, answer);
	free(got);
}

static void test_objects_are_answered_in_the_order_of_the_request(void **state)
{
	(void)state;
	expect("o aa11\np /plain\na 20\na 10\na 30\no -\np /plain\na 10\n",
	       "o 0\n"
	       "a 10 10\nf 12 10\t/src/a.c\t_Z1fi\tf(int)\nf 7 0\t/src/b.c\tmain\tmain\n"
	       "a 20 20\nc 200 f\nf 0 0\t\tstart\tstart\n"
	       "a 30 0\n"
	       "o 1\n"
	       "a 10 10\nf 12 10\t/src/a.c\t_Z1fi\tf(int)\nf 7 0\t/src/b.c\tmain\tmain\n"
	       "e\n");
}

static void test_what_follows_a_call_is_told(void **state)
{
	(void)state;
	expect("o -\np /plain\na 8000000000000015\na 30\na 8000000000000016\n",
	       "o 0\n"
	       "a 30 0\n"
	       "a 8000000000000015 200\ng 200 20f 300\tg?\ng 300 0 0\tmalloc\n"
	       "a 8000000000000016 0\n"
	       "e\n");
}

static void test_an_empty_request_is_answered(void **state)
{
	(void)state;
	expect("", "e\n");
}

static void test_an_address_that_is_there_twice_is_answered_once(void **state)
{
	(void)state;
	expect("o -\np /plain\na 30\na 20\na 030\na 30", "o 0\na 20 20\nc 200 f\nf 0 0\t\tstart\tstart\na 30 0\ne\n");
}

static void test_the_first_path_that_can_be_opened_counts(void **state)
{
	(void)state;
	expect("o -\np /gone\np /plain\np /damaged\na 30\n", "o 0\na 30 0\ne\n");
}

static void test_an_object_without_a_file_says_why(void **state)
{
	(void)state;
	expect("o -\np /gone\np /away\na 30\no bb22\np /plain\na 30\no -\na 30\n",
	       "o 0\nn /gone: no such file\nn /away: no such file\n"
	       "o 1\nn /plain: another build id\n"
	       "o 2\nn no file of it is known\ne\n");
	expect("o -\np /1\np /2\np /3\np /4\n", "o 0\nn /1: no such file\nn /2: no such file\nn /3: no such file\ne\n");
}

static void test_what_is_damaged_is_said_once(void **state)
{
	(void)state;
	expect("o -\np /damaged\na 30\n", "o 0\nn its lines are damaged\na 30 0\ne\n");
}

static void test_mangled_names_become_simple_and_others_get_no_line(void **state)
{
	(void)state;
	expect("d _one\nd main\no -\nd _two\n", "d 0 one\nd 2 two\no 0\nn no file of it is known\ne\n");
}

static void test_control_characters_cannot_end_a_line_or_a_text(void **state)
{
	(void)state;
	expect("o -\np /plain\na 60\n", "o 0\na 60 60\nf 1 1\t/src/?.c\t?z\ta?b?c?\ne\n");
	expect("d _a\tb\x01\n", "d 0 a?b?\ne\n");
	expect("o -\np /go\x1bne\n", "o 0\nn /go?ne: no such file\ne\n");
}

static void test_what_is_no_line_of_the_protocol_is_passed_over(void **state)
{
	static const char *const rows[] = {
		"a 10\np /plain\n",
		"x y\n",
		"\n\n",
		"ab 10\n",
		"e\n",
		"a\n",
		"o -\np /plain\na\na \na xyz\na 10 \na 0x10\na -1\na 10000000000000000\nnonsense\n p /plain\n",
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		expect(rows[i], i + 1 < COUNT(rows) ? "e\n" : "o 0\ne\n");
	expect("o -\np /plain\na fFfFfffffffffff0\n", "o 0\na fffffffffffffff0 0\ne\n");
}

/* --- limits ---------------------------------------------------------------------------------------- */

static size_t count_of(const char *s, const char *what)
{
	size_t n = 0;
	for (; (s = strstr(s, what)); s++)
		n++;
	return n;
}

static void test_frames_beyond_the_limit_are_cut(void **state)
{
	(void)state;
	char *got = ask_bytes("o -\np /plain\na 40\na 41\n", 23);
	assert_int_equal(count_of(got, "\nf "), SYMBOLIZE_FRAMES_MAX);
	assert_non_null(strstr(got, "\na 41 0\ne\n"));
	free(got);
}

static void test_a_line_that_would_be_too_long_is_cut_and_stays_whole(void **state)
{
	(void)state;
	for (size_t shift = 0; shift < 4; shift++) {
		memset(huge, 'x', shift);
		for (size_t i = shift; i + 4 < sizeof huge; i += 4)
			memcpy(huge + i, "\xf0\x9f\x98\x80", 4); /* one character */
		char *got = ask_bytes("o -\np /plain\na 50\n", 18), *f = strstr(got, "\nf ");
		assert_non_null(f);
		size_t len = strcspn(f + 1, "\n");
		assert_in_range(len, SYMBOLIZE_LINE_MAX / 2, SYMBOLIZE_LINE_MAX);
		assert_int_equal(strncmp(f, "\nf 4294967295 4294967295\t", 25), 0);
		assert_string_equal(f + 1 + len, "\ne\n");
		f += 25;
		for (int text = 0; text < 3; text++) { /* no character was cut in two */
			size_t n = strcspn(f, "\t\n");
			assert_int_equal((n - shift) % 4, 0);
			f += n + 1;
		}
		free(got);
		memset(huge, 0, sizeof huge);
	}
}

static void test_what_is_known_is_sent_before_the_object_is_done(void **state)
{
	(void)state;
	free(ask_bytes("o -\np /plain\na 70\na 71\na 72\n", 28));
	assert_true(sent >= (off_t)strlen("o 0\na 70 0\n"));
}

/* A line that a reader of the protocol takes. */
static bool is_answer(const char *line, size_t len)
{
	if (len > SYMBOLIZE_LINE_MAX || !strchr("onafde", line[0]) || (line[0] != 'e' && line[1] != ' '))
		return false;
	size_t tabs = 0;
	for (size_t i = 0; i < len; i++) {
		tabs += line[i] == '\t';
		if ((unsigned char)line[i] < 0x20 && line[i] != '\t')
			return false;
	}
	return tabs == (line[0] == 'f' ? 3 : 0);
}

static void test_any_bytes_get_a_whole_answer(void **state)
{
	static const char *const parts[] = {"o ", "o",  "p ", "/plain", "/damaged", "a ", "10", "50",   "60", "\n",
	                                    "\n", "\n", "-",  "aa11",   "d ",       "_x", "\t", "\xff", "f",  " "};
	uint64_t x = 88172645463325252u;
	(void)state;
	for (int round = 0; round < 3000; round++) {
		char bytes[512];
		size_t len = 0;
		while (len + 16 < sizeof bytes) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			const char *part = parts[x % COUNT(parts)];
			if (x >> 60 == 0)
				bytes[len++] = (char)(x >> 32);
			else
				len = (size_t)(stpcpy(bytes + len, part) - bytes);
			if (x >> 57 == 0x7f)
				break;
		}
		char *got = ask_bytes(bytes, len), *line = got;
		for (size_t n; *line; line += n + 1) {
			n = strcspn(line, "\n");
			assert_int_equal(line[n], '\n');
			assert_true(is_answer(line, n));
		}
		assert_true(strlen(got) >= 2 && strcmp(line - 2, "e\n") == 0);
		free(got);
	}
}

/* --- the process ----------------------------------------------------------------------------------- */

static void test_a_reader_that_is_gone_is_an_error(void **state)
{
	(void)state;
	int in = file_of("o -\np /plain\na 10\n", 18), full = open("/dev/full", O_WRONLY);
	assert_int_equal(serve(in, full), -ENOSPC);
	assert_int_equal(serve(-1, full), -EBADF);
	close(in);
	close(full);
}

/* Descriptors that don't block are waited for. */
static void test_pipes_that_do_not_block_lose_nothing(void **state)
{
	int in[2], out[2], status;
	(void)state;
	assert_int_equal(pipe2(in, O_NONBLOCK), 0);
	assert_int_equal(pipe2(out, O_NONBLOCK), 0);
	pid_t child = fork();
	if (child == 0) {
		close(in[1]);
		close(out[0]);
		_exit(serve(in[0], out[1]) == 0 ? 0 : 1);
	}
	close(in[0]);
	close(out[1]);
	usleep(20 * 1000);
	assert_int_equal(write(in[1], "o -\np /plain\na 40\n", 18), 18);
	usleep(20 * 1000);
	for (int i = 0; i < 200; i++)
		assert_int_equal(write(in[1], "o -\np /plain\na 40\n", 18), 18);
	close(in[1]);
	char buf[1000];
	size_t total = 0;
	for (ssize_t n; (n = read(out[0], buf, sizeof buf)) != 0;)
		if (n > 0)
			total += (size_t)n;
		else
			usleep(100);
	assert_true(total > 201 * SYMBOLIZE_FRAMES_MAX * 10);
	close(out[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* In a child, as it changes the process. Exits with the number of what is wrong. */
static int prepared(void)
{
	sigset_t all, now;
	struct sigaction action;
	struct rlimit core;
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, SIG_IGN);
	close(STDERR_FILENO);
	serve_prepare();
	sigprocmask(SIG_BLOCK, NULL, &now);
	if (!sigisemptyset(&now))
		return 1;
	if (sigaction(SIGPIPE, NULL, &action) != 0 || action.sa_handler != SIG_DFL)
		return 2;
	if (sigaction(SIGALRM, NULL, &action) != 0 || action.sa_handler != SIG_DFL || alarm(0) == 0)
		return 3;
	if (fcntl(STDERR_FILENO, F_GETFD) < 0 || fcntl(STDERR_FILENO + 1, F_GETFD) >= 0)
		return 4;
	return getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_cur ? 5 : 0;
}

static void test_what_a_child_of_a_listener_inherits_is_undone(void **state)
{
	int status;
	(void)state;
	pid_t child = fork();
	if (child == 0) {
		closefrom(STDERR_FILENO + 1);
		_exit(prepared());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	for (size_t i = 0; i < COUNT(many); i++)
		many[i] = inlined[i % 2];
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_objects_are_answered_in_the_order_of_the_request),
		cmocka_unit_test(test_what_follows_a_call_is_told),
		cmocka_unit_test(test_an_empty_request_is_answered),
		cmocka_unit_test(test_an_address_that_is_there_twice_is_answered_once),
		cmocka_unit_test(test_the_first_path_that_can_be_opened_counts),
		cmocka_unit_test(test_an_object_without_a_file_says_why),
		cmocka_unit_test(test_what_is_damaged_is_said_once),
		cmocka_unit_test(test_mangled_names_become_simple_and_others_get_no_line),
		cmocka_unit_test(test_control_characters_cannot_end_a_line_or_a_text),
		cmocka_unit_test(test_what_is_no_line_of_the_protocol_is_passed_over),
		cmocka_unit_test(test_frames_beyond_the_limit_are_cut),
		cmocka_unit_test(test_a_line_that_would_be_too_long_is_cut_and_stays_whole),
		cmocka_unit_test(test_what_is_known_is_sent_before_the_object_is_done),
		cmocka_unit_test(test_any_bytes_get_a_whole_answer),
		cmocka_unit_test(test_a_reader_that_is_gone_is_an_error),
		cmocka_unit_test(test_pipes_that_do_not_block_lose_nothing),
		cmocka_unit_test(test_what_a_child_of_a_listener_inherits_is_undone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
