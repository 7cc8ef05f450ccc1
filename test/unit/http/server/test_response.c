/* test_response.c - answers: heads, errors, and those that need no memory.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/server/response.c encoder/bytes/out.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "http/server/response.h"

/* The chain as one string, in a static buffer. */
static const char *joined(const struct out_chunk *c)
{
	static char text[256 * 1024];
	size_t n = 0;
	for (; c; c = c->next) {
		assert_true(n + c->used < sizeof text);
		memcpy(text + n, c->bytes, c->used);
		n += c->used;
	}
	text[n] = '\0';
	return text;
}

static void test_an_answer_has_its_headers_in_a_head_of_its_own(void **state)
{
	(void)state;
	struct region region = {0};
	struct response r;
	response_init(&r, &region);
	response_begin(&r, 200, TYPE_BINARY);
	response_header(&r, "X-A", SPAN("b"));
	out_str(&r.body, "body");
	assert_string_equal(joined(response_finish(&r, (struct response_end){0})),
	                    "HTTP/1.1 200 OK\r\n"
	                    "Content-Type: application/octet-stream\r\n"
	                    "X-Content-Type-Options: nosniff\r\n"
	                    "Cache-Control: no-store\r\n"
	                    "X-A: b\r\n"
	                    "Content-Length: 4\r\n"
	                    "\r\n"
	                    "body");
	region_release(&region);
}

static void test_an_empty_body_is_an_answer_too(void **state)
{
	(void)state;
	struct region region = {0};
	struct response r;
	response_init(&r, &region);
	response_begin(&r, 200, TYPE_TEXT);
	assert_non_null(strstr(joined(response_finish(&r, (struct response_end){0})), "Content-Length: 0\r\n\r\n"));
	region_release(&region);
}

static void test_an_error_is_what_go_tool_pprof_shows(void **state)
{
	(void)state;
	struct region region = {0};
	struct response r;
	response_init(&r, &region);
	response_begin(&r, 200, TYPE_BINARY);
	response_header(&r, "Content-Disposition", SPAN("attachment"));
	out_str(&r.body, "half of it");
	response_error(&r, 500, "no");
	assert_int_equal(r.status, 500);
	assert_string_equal(joined(response_finish(&r, (struct response_end){.close = true})),
	                    "HTTP/1.1 500 Internal Server Error\r\n"
	                    "Content-Type: text/plain; charset=utf-8\r\n"
	                    "X-Content-Type-Options: nosniff\r\n"
	                    "Cache-Control: no-store\r\n"
	                    "X-Go-Pprof: 1\r\n"
	                    "Content-Length: 3\r\n"
	                    "Connection: close\r\n"
	                    "\r\n"
	                    "no\n");
	region_release(&region);
}

static void test_connection_is_said_where_it_is_not_the_default(void **state)
{
	(void)state;
	static const struct {
		struct response_end end;
		const char *said; /* NULL: nothing */
	} rows[] = {
		{{.close = false, .http10 = false}, NULL},
		{{.close = false, .http10 = true}, "Connection: keep-alive\r\n"},
		{{.close = true, .http10 = false}, "Connection: close\r\n"},
		{{.close = true, .http10 = true}, "Connection: close\r\n"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct region region = {0};
		struct response r;
		response_init(&r, &region);
		response_begin(&r, 200, TYPE_TEXT);
		const char *hit = strstr(joined(response_finish(&r, rows[i].end)), "Connection: ");
		if (rows[i].said)
			assert_memory_equal(hit, rows[i].said, strlen(rows[i].said));
		else
			assert_null(hit);
		region_release(&region);
	}
}

static void test_head_counts_the_body_and_leaves_it_out(void **state)
{
	(void)state;
	struct region region = {0};
	struct response r;
	response_init(&r, &region);
	response_begin(&r, 200, TYPE_TEXT);
	for (int i = 0; i < 100000; i++)
		out_str(&r.body, "x");
	const char *text = joined(response_finish(&r, (struct response_end){.head_only = true}));
	assert_non_null(strstr(text, "Content-Length: 100000\r\n"));
	assert_string_equal(text + strlen(text) - 4, "\r\n\r\n");
	region_release(&region);
}

static void test_a_large_body_is_sent_from_its_chunks(void **state)
{
	(void)state;
	struct region region = {0};
	struct response r;
	response_init(&r, &region);
	response_begin(&r, 200, TYPE_TEXT);
	for (int i = 0; i < 100000; i++)
		out_str(&r.body, "x");
	const struct out_chunk *first = response_finish(&r, (struct response_end){0});
	assert_ptr_equal(first->next, r.body.first);
	assert_int_equal(strspn(strstr(joined(first), "\r\n\r\n") + 4, "x"), 100000);
	region_release(&region);
}

static void test_without_memory_there_is_no_answer_but_the_static_one(void **state)
{
	(void)state;
	struct region region = {0};
	struct response r;
	arena_set_limit(0);
	response_init(&r, &region);
	response_error(&r, 500, "no");
	assert_null(response_finish(&r, (struct response_end){0}));
	arena_set_limit(64 << 20);
}

static void test_static_answers_count_their_body_right(void **state)
{
	(void)state;
	const struct out_chunk *const rows[] = {response_out_of_memory(), response_too_many(), response_wants_tls()};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *text = joined(rows[i]);
		const char *length = strstr(text, "Content-Length: "), *body = strstr(text, "\r\n\r\n");
		assert_non_null(length);
		assert_non_null(body);
		assert_int_equal(strtol(length + 16, NULL, 10), strlen(body + 4));
		assert_non_null(strstr(text, "Connection: close\r\n"));
	}
}

static void test_every_status_that_is_used_has_a_text(void **state)
{
	(void)state;
	static const unsigned used[] = {200, 301, 400, 403, 404, 405, 408, 413, 414, 417, 431, 500, 501, 503, 505};
	for (size_t i = 0; i < sizeof used / sizeof *used; i++) {
		struct region region = {0};
		struct response r;
		response_init(&r, &region);
		response_begin(&r, used[i], TYPE_TEXT);
		assert_null(strstr(joined(response_finish(&r, (struct response_end){0})), "Unknown"));
		region_release(&region);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_answer_has_its_headers_in_a_head_of_its_own),
		cmocka_unit_test(test_an_empty_body_is_an_answer_too),
		cmocka_unit_test(test_an_error_is_what_go_tool_pprof_shows),
		cmocka_unit_test(test_connection_is_said_where_it_is_not_the_default),
		cmocka_unit_test(test_head_counts_the_body_and_leaves_it_out),
		cmocka_unit_test(test_a_large_body_is_sent_from_its_chunks),
		cmocka_unit_test(test_without_memory_there_is_no_answer_but_the_static_one),
		cmocka_unit_test(test_static_answers_count_their_body_right),
		cmocka_unit_test(test_every_status_that_is_used_has_a_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
