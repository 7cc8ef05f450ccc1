/* test_access.c - the lines of the access log: every field, and that no client writes a field of its own.
 *
 * Runs in: its own process; the lines go through a pipe in place of stderr.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/server/access.c http/address/peer.c http/address/ip.c shim/base/text.c shim/base/log.c
 * links: shim/base/own_file.c shim/base/powers.c shim/base/settings.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <regex.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/server/access.h"
#include "shim/base/log.h"
#include "test/unit/at_home.h"

static char line[2000];

/* Returns the line that is written. */
static const char *told(const char *words, const struct access *a)
{
	int fd[2], keep = dup(STDERR_FILENO);
	assert_int_equal(pipe(fd), 0);
	dup2(fd[1], STDERR_FILENO);
	close(fd[1]);
	log_start(words, NULL, "libpprofshim.so");
	access_tell(a);
	dup2(keep, STDERR_FILENO);
	close(keep);
	ssize_t n = read(fd[0], line, sizeof line - 1);
	close(fd[0]);
	line[n > 0 ? n : 0] = '\0';
	return line;
}

static void assert_like(const char *text, const char *pattern)
{
	regex_t r;
	assert_int_equal(regcomp(&r, pattern, REG_EXTENDED | REG_NOSUB), 0);
	if (regexec(&r, text, 0, NULL, 0) != 0)
		fail_msg("%s is not like %s", text, pattern);
	regfree(&r);
}

#define TIME "20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{3}Z"

static void test_a_line_has_every_field(void **state)
{
	(void)state;
	struct peer p = {.kind = PEER_TCP, .ip = {[10] = 0xff, 0xff, 127, 0, 0, 1}, .port = 51000};
	struct access a = {
		.peer = &p,
		.method = SPAN("GET"),
		.path = SPAN("/debug/pprof/heap"),
		.query = SPAN("debug=1"),
		.user = SPAN("alice"),
		.status = 200,
		.bytes = 4321,
		.ns = 12999999,
		.is_whole = true,
	};
	assert_like(told("access", &a), "^pprofshim: access " TIME " 127\\.0\\.0\\.1:51000 [0-9]+ GET "
	                                "/debug/pprof/heap\\?debug=1 200 4321 12ms alice\n$");
	a.is_whole = false;
	a.query = a.user = SPAN("");
	p = (struct peer){.kind = PEER_TCP, .ip = {[15] = 1}, .port = 1};
	assert_like(told("info,access", &a), " \\[::1\\]:1 [0-9]+ GET /debug/pprof/heap 200 4321\\+ 12ms -\n$");
	p = (struct peer){.kind = PEER_UNIX, .uid = 4294967294, .pid = 42};
	a = (struct access){.peer = &p};
	assert_like(told(" access ,info", &a), " uid=4294967294,pid=42 [0-9]+ - - 0 0\\+ 0ms -\n$");
}

static void test_without_the_word_nothing_is_written(void **state)
{
	(void)state;
	struct peer p = {.kind = PEER_UNKNOWN};
	struct access a = {.peer = &p, .status = 200};
	assert_string_equal(told("info", &a), "");
	assert_string_equal(told(NULL, &a), "");
}

static void test_no_client_writes_a_field_or_a_line_of_its_own(void **state)
{
	(void)state;
	static char much[9000];
	struct peer p = {.kind = PEER_UNKNOWN};
	memset(much, 'x', sizeof much);
	struct access a = {
		.peer = &p,
		.method = SPAN("GET"),
		.path = {much, sizeof much},
		.query = {much, sizeof much},
		.user = SPAN("a b\nc\x1b[2J\xff\0d"),
		.status = 404,
	};
	assert_like(told("access", &a),
	            "^pprofshim: access [^ ]+ - [0-9]+ GET x{192}\\.\\.\\.\\?x{192}\\.\\.\\. 404 0\\+ 0ms "
	            "a%20b%0Ac%1B\\[2J%FF%00d\n$");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_line_has_every_field),
		cmocka_unit_test(test_without_the_word_nothing_is_written),
		cmocka_unit_test(test_no_client_writes_a_field_or_a_line_of_its_own),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
