/* test_request.c - the request parser: what it understands, what it refuses, and that the answer does
 * not depend on how the bytes were cut.
 *
 * Runs in: its own process. The parser may not read a byte behind the buffer: every input ends at a
 * PROT_NONE page.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/server/request.c http/server/path.c shim/base/text.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "http/server/limits.h"
#include "http/server/request.h"

enum { ROOM = 64 * 1024, PAGE = 4096 };

static char *fence; /* the first byte that must not be read */

static int map_fence(void **state)
{
	(void)state;
	char *p = mmap(NULL, ROOM + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -1;
	fence = p + ROOM;
	return mprotect(fence, PAGE, PROT_NONE);
}

/* text, placed to end at the fence. */
static const char *place(const void *text, size_t len)
{
	assert_true(len <= ROOM);
	return memcpy(fence - len, text, len);
}

static long parse(struct request *q, const char *text, size_t len)
{
	*q = (struct request){0};
	return request_parse(q, place(text, len), len);
}

/* Feed it in two reads, cut at `cut`; the second read ends at the fence. The first one is a prefix, so it
 * is the parser's word that it looks at len bytes only. */
static long parse_cut(struct request *q, const char *text, size_t len, size_t cut)
{
	const char *at = place(text, len);
	*q = (struct request){0};
	long n = request_parse(q, at, cut);
	return n == REQUEST_PARTIAL ? request_parse(q, at, len) : n;
}

static long parse_bytewise(struct request *q, const char *text, size_t len)
{
	const char *at = place(text, len);
	long n = REQUEST_PARTIAL;
	*q = (struct request){0};
	for (size_t i = 0; i <= len && n == REQUEST_PARTIAL; i++)
		n = request_parse(q, at, i);
	return n;
}

static void assert_span(struct span s, const char *expected)
{
	if (!span_is(s, expected))
		fail_msg("got \"%.*s\", expected \"%s\"", (int)s.len, s.at, expected);
}

#define HOST "Host: localhost:6060\r\n"

static const struct {
	const char *text;
	enum request_method method;
	const char *path, *query, *host;
	uint64_t content_length;
	bool http10, keep_alive, expect_continue, form;
} good[] = {
	{"GET / HTTP/1.1\r\n" HOST "\r\n", METHOD_GET, "/", "", "localhost:6060", 0, 0, 1, 0, 0},
	{"HEAD /a?b=c HTTP/1.1\r\n" HOST "\r\n", METHOD_HEAD, "/a", "b=c", "localhost:6060", 0, 0, 1, 0, 0},
	{"GET /a?b?c#d HTTP/1.1\nHost:x\n\n", METHOD_GET, "/a", "b?c#d", "x", 0, 0, 1, 0, 0},
	{"\r\n\n\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n", METHOD_GET, "/", "", "localhost:6060", 0, 0, 1, 0, 0},
	{"GET / HTTP/1.0\r\n\r\n", METHOD_GET, "/", "", "", 0, 1, 0, 0, 0},
	{"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", METHOD_GET, "/", "", "", 0, 1, 1, 0, 0},
	{"GET / HTTP/1.0\r\nExpect: what\r\n\r\n", METHOD_GET, "/", "", "", 0, 1, 0, 0, 0},
	{"GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", METHOD_GET, "/", "", "", 0, 1, 0, 0, 0},
	{"GET / HTTP/1.1\r\nhOsT: \t a \t\r\nConnection: TE , cLose\r\n\r\n", METHOD_GET, "/", "", "a", 0, 0, 0, 0, 0},
	{"GET / HTTP/1.1\r\nHost:\r\n\r\n", METHOD_GET, "/", "", "", 0, 0, 1, 0, 0},
	{"GET / HTTP/1.1\r\n" HOST "X-Empty:\r\nX: \x80\xff\t:\r\n\r\n", METHOD_GET, "/", "", "localhost:6060", 0, 0, 1,
         0, 0},
	{"GET http://a:1/b?c HTTP/1.1\r\n" HOST "\r\n", METHOD_GET, "/b", "c", "a:1", 0, 0, 1, 0, 0},
	{"GET HTTPS://a HTTP/1.1\r\n" HOST "\r\n", METHOD_GET, "/", "", "a", 0, 0, 1, 0, 0},
	{"GET http://a?b HTTP/1.1\r\n" HOST "\r\n", METHOD_GET, "/", "b", "a", 0, 0, 1, 0, 0},
	{"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", METHOD_OTHER, "", "", "localhost:6060", 0, 0, 1, 0, 0},
	{"CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", METHOD_OTHER, "", "", "localhost:6060", 0, 0, 1, 0, 0},
	{"get / HTTP/1.1\r\n" HOST "\r\n", METHOD_OTHER, "", "", "localhost:6060", 0, 0, 1, 0, 0},
	{"POST / HTTP/1.1\r\n" HOST "\r\n", METHOD_POST, "/", "", "localhost:6060", 0, 0, 1, 0, 0},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 0012\r\nContent-length:12\r\nExpect: 100-Continue\r\n"
         "Content-Type: Application/X-www-form-urlencoded ; charset=x\r\n\r\n",
         METHOD_POST, "/", "", "localhost:6060", 12, 0, 1, 1, 1},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 4194304\r\n\r\n", METHOD_POST, "/", "", "localhost:6060", 4194304,
         0, 1, 0, 0},
};

static void check_good(size_t i, const struct request *q, long n)
{
	if (n != (long)strlen(good[i].text))
		fail_msg("row %zu: %ld, status %u", i, n, q->status);
	assert_int_equal(q->method, good[i].method);
	assert_span(q->path.at ? q->path : SPAN(""), good[i].path);
	assert_span(q->query.at ? q->query : SPAN(""), good[i].query);
	assert_span(q->host.at ? q->host : SPAN(""), good[i].host);
	assert_int_equal(q->content_length, good[i].content_length);
	assert_int_equal(q->http10, good[i].http10);
	assert_int_equal(q->keep_alive, good[i].keep_alive);
	assert_int_equal(q->expect_continue, good[i].expect_continue);
	assert_int_equal(q->form, good[i].form);
}

static void test_well_formed_requests_are_understood(void **state)
{
	(void)state;
	struct request q;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		check_good(i, &q, parse(&q, good[i].text, strlen(good[i].text)));
}

static void test_well_formed_requests_may_be_cut_anywhere(void **state)
{
	(void)state;
	struct request q;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		size_t len = strlen(good[i].text);
		for (size_t cut = 0; cut <= len; cut++)
			check_good(i, &q, parse_cut(&q, good[i].text, len, cut));
		check_good(i, &q, parse_bytewise(&q, good[i].text, len));
	}
}

static void test_a_prefix_is_partial(void **state)
{
	(void)state;
	struct request q;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		for (size_t len = 0; len < strlen(good[i].text); len++)
			assert_int_equal(parse(&q, good[i].text, len), REQUEST_PARTIAL);
}

static void test_what_follows_the_head_is_not_looked_at(void **state)
{
	(void)state;
	struct request q;
	const char text[] = "GET / HTTP/1.1\r\n" HOST "\r\n\0\r\r garbage";
	assert_int_equal(parse(&q, text, sizeof text), strlen("GET / HTTP/1.1\r\n" HOST "\r\n"));
}

#define ROW(status, text) \
	{ \
		status, text, sizeof text - 1 \
	}
static const struct {
	unsigned status;
	const char *text;
	size_t len;
} broken[] = {
	ROW(400, "GET\r\n"),
	ROW(400, "GET /\r\n"),
	ROW(400, "GET  / HTTP/1.1\r\n"),
	ROW(400, "GET /  HTTP/1.1\r\n"),
	ROW(400, "GET / HTTP/1.1 \r\n"),
	ROW(400, "GET /a b HTTP/1.1\r\n"),
	ROW(400, "GET /\ta HTTP/1.1\r\n"),
	ROW(400, " GET / HTTP/1.1\r\n"),
	ROW(400, "G(T / HTTP/1.1\r\n"),
	ROW(400, "GET a HTTP/1.1\r\n"),
	ROW(400, "GET * HTTP/1.1\r\n"),
	ROW(400, "GET http:/// HTTP/1.1\r\n"),
	ROW(400, "GET http:// HTTP/1.1\r\n"),
	ROW(400, "GET ftp://a/ HTTP/1.1\r\n"),
	ROW(400, "GET / HTTP/1\r\n"),
	ROW(400, "GET / HTTP/11\r\n"),
	ROW(400, "GET / HTTP/1.10\r\n"),
	ROW(400, "GET / http/1.1\r\n"),
	ROW(400, "GET / HTTP/+.1\r\n"),
	ROW(400, "GET / HTTP/1,1\r\n"),
	ROW(505, "GET / HTTP/0.9\r\n"),
	ROW(505, "GET / HTTP/1.2\r\n"),
	ROW(505, "PRI * HTTP/2.0\r\n"),
	ROW(400, "\n\n\n\n\n"),
	ROW(400, "\x16\x03\x01"), /* TLS */
	ROW(400, "\0"),
	ROW(400, "GET / HTTP/1.1\rHost"),
	ROW(400, "GET / HTTP/1.1\r\r"),
	ROW(400, "GET /\x7f"),
	ROW(400, "GET / HTTP/1.1\r\n" HOST "A: b\0"),
	ROW(400, "GET / HTTP/1.1\r\n" HOST "A: b\rc"),
	ROW(400, "GET / HTTP/1.1\r\n" HOST "\rA"),
	ROW(400, "GET / HTTP/1.1\r\n" HOST " folded\r\n"),
	ROW(400, "GET / HTTP/1.1\r\n" HOST "\tfolded\r\n"),
	ROW(400, "GET / HTTP/1.1\r\n" HOST "no colon\r\n"),
	ROW(400, "GET / HTTP/1.1\r\n" HOST ": empty\r\n"),
	ROW(400, "GET / HTTP/1.1\r\nHost : a\r\n"),
	ROW(400, "GET / HTTP/1.1\r\nH\xf6st: a\r\n"),
	ROW(400, "GET / HTTP/1.1\r\n\r\n"),
	ROW(400, "GET http://a/ HTTP/1.1\r\n\r\n"),
	ROW(400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n"),
	ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: \r\n"),
	ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n"),
	ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n"),
	ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n"),
	ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1 2\r\n"),
	ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n"),
	ROW(400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n"),
	ROW(413, "POST / HTTP/1.1\r\n" HOST "Content-Length: 4194305\r\n\r\n"),
	ROW(413, "GET / HTTP/1.0\r\nContent-Length: 18446744073709551616\r\n\r\n"),
	ROW(501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"),
	ROW(501, "POST / HTTP/1.0\r\nTransfer-Encoding:\r\nContent-Length: 1\r\n\r\n"),
	ROW(417, "POST / HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n"),
};

static void test_broken_requests_get_their_status(void **state)
{
	(void)state;
	struct request q;
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		for (size_t cut = 0; cut <= broken[i].len; cut++) {
			long n = parse_cut(&q, broken[i].text, broken[i].len, cut);
			if (n != REQUEST_BAD || q.status != broken[i].status)
				fail_msg("row %zu cut at %zu: %ld, status %u", i, cut, n, q.status);
			assert_true(q.reason && q.reason[0] && !strchr(q.reason, '\n'));
		}
		assert_int_equal(parse_bytewise(&q, broken[i].text, broken[i].len), REQUEST_BAD);
		assert_int_equal(q.status, broken[i].status);
	}
}

/* A request whose line has `line` bytes and whose headers have `headers` (0: none and not finished). */
static size_t build(char *buf, size_t line, size_t headers, const char *eol)
{
	static const char tail[] = " HTTP/1.1", head[] = "Host: a\r\nX: ";
	size_t n = (size_t)sprintf(buf, "GET /");
	memset(buf + n, 'a', line - n);
	memcpy(buf + line - strlen(tail), tail, strlen(tail));
	n = line + (size_t)sprintf(buf + line, "%s", eol);
	if (!headers)
		return n;
	size_t end = n + headers;
	n += (size_t)sprintf(buf + n, "%s", head);
	memset(buf + n, 'b', end - n);
	memcpy(buf + end - 4, "\r\n\r\n", 4);
	return end;
}

static void test_limits_are_exact(void **state)
{
	(void)state;
	static char buf[ROOM];
	struct request q;
	static const struct {
		size_t line, headers;
		const char *eol;
		unsigned status;
	} rows[] = {
		{LIMIT_REQUEST_LINE, 100, "\r\n", 0},
		{LIMIT_REQUEST_LINE, 100, "\n", 0},
		{LIMIT_REQUEST_LINE + 1, 0, "\r\n", 414},
		{LIMIT_REQUEST_LINE + 1, 0, "\n", 414},
		{100, LIMIT_HEADERS, "\r\n", 0},
		{100, LIMIT_HEADERS + 1, "\r\n", 431},
		{LIMIT_REQUEST_LINE, LIMIT_HEADERS, "\r\n", 0},
		{LIMIT_REQUEST_LINE, LIMIT_HEADERS + 1, "\n", 431},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		size_t len = build(buf, rows[i].line, rows[i].headers, rows[i].eol);
		long n = parse(&q, buf, len);
		assert_int_equal(n, rows[i].status ? REQUEST_BAD : (long)len);
		assert_int_equal(q.status, rows[i].status);
		assert_int_equal(parse_bytewise(&q, buf, len), n);
		assert_int_equal(q.status, rows[i].status);
	}
}

static void test_endless_input_is_decided_within_the_input_buffer(void **state)
{
	(void)state;
	static const char *const starts[] = {
		"", "A", "\r\n\r\n\r\n\r\nA", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nA:", "GET /"};
	static char buf[LIMIT_INPUT];
	struct request q;
	for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
		memset(buf, 'x', sizeof buf);
		memcpy(buf, starts[i], strlen(starts[i]));
		assert_int_equal(parse(&q, buf, sizeof buf), REQUEST_BAD);
		assert_true(q.status == 414 || q.status == 431);
	}
}

static uint64_t random_state = 42;

static unsigned random_below(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)((random_state >> 33) % n);
}

static size_t mutate(char *buf, size_t len)
{
	static const char likely[] = "\r\n\r\n :\t\0 HTTP/1.1,;?%&=0123456789abcAZ\x80\xff";
	for (unsigned n = 1 + random_below(4); n; n--) {
		size_t at = random_below((unsigned)len + 1);
		switch (random_below(4)) {
		case 0: /* change */
			if (at < len)
				buf[at] = likely[random_below(sizeof likely)];
			break;
		case 1: /* insert */
			memmove(buf + at + 1, buf + at, len - at);
			buf[at] = likely[random_below(sizeof likely)];
			len++;
			break;
		case 2: /* drop */
			if (at < len) {
				memmove(buf + at, buf + at + 1, len - at - 1);
				len--;
			}
			break;
		default: { /* say a part twice */
			size_t part = random_below(20);
			if (at + part > len)
				break;
			memmove(buf + at + part, buf + at, len - at);
			len += part;
		}
		}
	}
	return len;
}

static void assert_inside(struct span s, const char *from, size_t len)
{
	if (s.len && !(s.len == 1 && s.at[0] == '/')) /* the path of "http://host" is a literal */
		assert_true(s.at >= from && s.at + s.len <= from + len);
}

static void test_mutated_requests_end_in_one_of_three_ways_however_cut(void **state)
{
	(void)state;
	for (int round = 0; round < 60000; round++) {
		char buf[1024];
		struct request whole, cut, bytewise;
		const char *text = round % 3 ? good[random_below(sizeof good / sizeof *good)].text
		                             : broken[random_below(sizeof broken / sizeof *broken)].text;
		size_t len = strlen(text);
		memcpy(buf, text, len);
		len = mutate(buf, len);
		long n = parse(&whole, buf, len);
		assert_true(n == REQUEST_BAD || n == REQUEST_PARTIAL || (n > 0 && (size_t)n <= len));
		if (n == REQUEST_BAD)
			assert_true(whole.status >= 400 && whole.reason);
		assert_inside(whole.path, fence - len, len);
		assert_inside(whole.query, fence - len, len);
		assert_inside(whole.host, fence - len, len);
		assert_int_equal(parse_cut(&cut, buf, len, random_below((unsigned)len + 1)), n);
		assert_int_equal(parse_bytewise(&bytewise, buf, len), n);
		assert_int_equal(cut.status, whole.status);
		assert_int_equal(bytewise.status, whole.status);
		if (n > 0)
			assert_true(whole.content_length <= LIMIT_BODY && cut.content_length == whole.content_length);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_well_formed_requests_are_understood),
		cmocka_unit_test(test_well_formed_requests_may_be_cut_anywhere),
		cmocka_unit_test(test_a_prefix_is_partial),
		cmocka_unit_test(test_what_follows_the_head_is_not_looked_at),
		cmocka_unit_test(test_broken_requests_get_their_status),
		cmocka_unit_test(test_limits_are_exact),
		cmocka_unit_test(test_endless_input_is_decided_within_the_input_buffer),
		cmocka_unit_test(test_mutated_requests_end_in_one_of_three_ways_however_cut),
	};
	return cmocka_run_group_tests(tests, map_fence, NULL);
}
