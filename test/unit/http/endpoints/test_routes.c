/* test_routes.c - what each endpoint answers, and how it refuses, through sockets.
 *
 * Runs in: its own process; the server in a thread of it (test/unit/support/served.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: test/unit/support/served.c test/unit/support/stub_encoder.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "test/unit/support/served.h"
#include "shim/base/house.h"

static void test_index_lists_every_endpoint_and_what_got_lost(void **state)
{
	(void)state;
	stub.loss = "3 samples <lost> & \"gone\"";
	struct reply r = ask(GET("/debug/pprof/"));
	assert_int_equal(r.status, 200);
	assert_has(&r, "Content-Type: text/html; charset=utf-8\r\n");
	assert_has(&r, "X-Content-Type-Options: nosniff\r\n");
	static const char *const expected[] = {
		"<td>101</td><td><a href=\"heap?debug=1\">heap</a>",
		"<td>202</td><td><a href=\"allocs?debug=1\">allocs</a>",
		"<td>303</td><td><a href=\"threadcreate?debug=1\">threadcreate</a>",
		"<td>404</td><td><a href=\"goroutine?debug=1\">goroutine</a></td>",
		"<a href=\"profile?debug=1\">profile</a></td>",
		"<td>505</td><td><a href=\"block?debug=1\">block</a></td>",
		"<td>606</td><td><a href=\"mutex?debug=1\">mutex</a></td>",
		"<td>0</td><td><a href=\"trace?debug=1\">trace</a></td>",
		"rate=N",
		"PPROF_BLOCK_RATE",
		"fraction=N",
		"PPROF_MUTEX_FRACTION",
		"<code>hz=N</code> in Hz (profile): Samples",
		"<code>format=go|perfetto</code> (trace): ",
		"\"cmdline?debug=1\"",
		"\"symbol?debug=1\"",
		"\"goroutine?debug=2\"",
		"3 samples &lt;lost&gt; &amp; &#34;gone&#34;",
		"<b>test_routes</b>",
		"</html>",
	};
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
		if (!strstr(r.body, expected[i]))
			fail_msg("no %s in %s", expected[i], r.body);
	assert_null(strstr(r.body, "Stuck"));
}

static void test_index_warns_of_what_is_stuck_before_all_else(void **state)
{
	(void)state;
	stub.stuck[0] = "DEADLOCK: thread 1 (<a>) waits";
	stub.stuck[1] = "STALLED: thread 2 (b)";
	struct reply r = ask(GET("/debug/pprof/"));
	const char *title = strstr(r.body, "<h2>Stuck</h2>"), *table = strstr(r.body, "<table>");
	assert_true(title && title < table);
	const char *lines =
		strstr(title, "<li>DEADLOCK: thread 1 (&lt;a&gt;) waits</li>\n<li>STALLED: thread 2 (b)</li>\n</ul>");
	assert_true(lines && lines < table);
	const char *link = strstr(lines, "href=\"goroutine?debug=2\"");
	assert_true(link && link < table);
}

static void test_all_processes_together_have_the_profiles_that_can_be_merged(void **state)
{
	(void)state;
	static const struct {
		const char *request;
		int status, merges;
	} rows[] = {
		{GET("/pod/debug/pprof/cmdline"), 404, 0},
		{GET("/pod/debug/pprof/trace"), 404, 0},
		{GET("/pod/debug/pprof/"), 404, 0},
		{GET("/pod/debug/pprof/nothing"), 404, 0},
		{GET("/pod/debug/pprof/heap?debug=1"), 400, 0},
		{GET("/pod/debug/pprof/heap?seconds=-1"), 400, 0},
		/* our own answer comes first; then there is no helper to merge it */
		{GET("/pod/debug/pprof/heap"), 503, 1},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct reply r = ask(rows[i].request);
		assert_int_equal(r.status, rows[i].status);
		assert_int_equal(counted(&stub.merges), rows[i].merges);
		assert_int_equal(counted(&stub.attempts), rows[i].merges);
	}
}

static void test_cmdline_is_argv_joined_by_nul(void **state)
{
	(void)state;
	char expected[4096];
	int fd = open("/proc/self/cmdline", O_RDONLY);
	ssize_t n = read(fd, expected, sizeof expected);
	close(fd);
	struct reply r = ask(GET("/debug/pprof/cmdline"));
	assert_int_equal(r.status, 200);
	assert_has(&r, "Content-Type: text/plain; charset=utf-8\r\n");
	assert_int_equal(r.body_len, n - 1);
	assert_memory_equal(r.body, expected, n - 1);
}

static void test_snapshot_profiles_are_attachments_or_text(void **state)
{
	(void)state;
	static const struct {
		const char *request, *body_start, *file; /* file NULL: text */
		enum profile_kind kind;
	} rows[] = {
		{GET("/debug/pprof/heap"), "aaa", "attachment; filename=\"heap\"\r\n", PROFILE_HEAP},
		{GET("/debug/pprof/allocs?debug=0"), "aaa", "attachment; filename=\"allocs\"\r\n", PROFILE_ALLOCS},
		{GET("/debug/pprof/threadcreate?debug=x"), "aaa", "filename=\"threadcreate\"\r\n",
	         PROFILE_THREADCREATE},
		{GET("/debug/pprof/heap?gc=1&seconds="), "aaa", "filename=\"heap\"\r\n", PROFILE_HEAP},
		{GET("http://localhost/debug/pprof/heap"), "aaa", "filename=\"heap\"\r\n", PROFILE_HEAP},
		{GET("/debug/pprof/goroutine"), "aaa", "filename=\"goroutine\"\r\n", PROFILE_GOROUTINE},
		{GET("/debug/pprof/block"), "aaa", "filename=\"block\"\r\n", PROFILE_BLOCK},
		{GET("/debug/pprof/mutex?rate=x"), "aaa", "filename=\"mutex\"\r\n", PROFILE_MUTEX},
		{GET("/debug/pprof/heap?rate=1&fraction=1"), "aaa", "filename=\"heap\"\r\n", PROFILE_HEAP},
		{GET("/debug/pprof/block?debug=1&fraction=1"), "text form\n", NULL, PROFILE_BLOCK},
		{GET("/debug/pprof/mutex?debug=2"), "text form\n", NULL, PROFILE_MUTEX},
		{GET("/debug/pprof/goroutine?debug=1"), "text form\n", NULL, PROFILE_GOROUTINE},
		{GET("/debug/pprof/goroutine?debug=2"), "text form\n", NULL, PROFILE_GOROUTINE},
		{GET("/debug/pprof/heap?debug=1"), "text form\n", NULL, PROFILE_HEAP},
		{GET("/debug/pprof/heap?debug=-2"), "text form\n", NULL, PROFILE_HEAP},
		{"POST /debug/pprof/heap?debug=0 HTTP/1.1\r\nHost: [::1]:1\r\nContent-Length: 7\r\n"
	         "Content-Type: application/x-www-form-urlencoded\r\n\r\ndebug=1",
	         "text form\n", NULL, PROFILE_HEAP},
		{"POST /debug/pprof/heap?debug=0 HTTP/1.1\r\nHost: [::1]:1\r\nContent-Length: 7\r\n\r\ndebug=1", "aaa",
	         "filename=\"heap\"\r\n", PROFILE_HEAP},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct reply r = ask(rows[i].request);
		assert_int_equal(r.status, 200);
		assert_memory_equal(r.body, rows[i].body_start, strlen(rows[i].body_start));
		if (rows[i].file) {
			assert_has(&r, rows[i].file);
			assert_has(&r, "Content-Type: application/octet-stream\r\n");
			assert_false(stub.had_before);
		} else {
			assert_has(&r, "Content-Type: text/plain; charset=utf-8\r\n");
			assert_lacks(&r, "Content-Disposition");
			if (strstr(rows[i].request, "goroutine"))
				assert_int_equal(stub.debug, strstr(rows[i].request, "debug=2") ? 2 : 1);
		}
		assert_int_equal(stub.kind, rows[i].kind);
		assert_lacks(&r, "X-Go-Pprof");
		assert_lacks(&r, "Content-Encoding");
	}
}

static void test_symbol_reads_the_query_of_a_get_and_the_body_of_a_post(void **state)
{
	(void)state;
	assert_string_equal(ask(GET("/debug/pprof/symbol")).body, "num_symbols: 1\n");
	assert_string_equal(ask(GET("/debug/pprof/symbol?0x1+%2B")).body, "num_symbols: 1\n0x1+%2B");
	assert_string_equal(
		ask("POST /debug/pprof/symbol?0x9 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n0x1+0x2")
			.body,
		"num_symbols: 1\n0x1+0x2");
	assert_string_equal(ask("POST /debug/pprof/symbol?0x9 HTTP/1.1\r\nHost: localhost\r\n\r\n").body,
	                    "num_symbols: 1\n");
}

static void test_refusals_have_gos_texts_and_keep_the_connection(void **state)
{
	(void)state;
#define WRONG(query) GET("/debug/pprof/heap?" query)
	static const char invalid[] = "invalid value for \"seconds\" - must be a positive integer\n";
	static const char too_long[] = "profile duration exceeds server's WriteTimeout\n";
	static const char both[] = "seconds and debug params are incompatible\n";
	static const char bad_rate[] = "invalid value for \"rate\" - must be a positive integer\n";
	static const char bad_fraction[] = "invalid value for \"fraction\" - must be a positive integer\n";
	static const char bad_format[] = "invalid value for \"format\" - must be go or perfetto\n";
	static const char alone[] = "\"rate\" needs \"seconds\": it holds while a difference is being taken\n";
	static const struct {
		const char *request;
		int status;
		const char *body, *header; /* NULL: any */
	} rows[] = {
		{WRONG("seconds=0"), 400, invalid, NULL},
		{WRONG("seconds=-1"), 400, invalid, NULL},
		{WRONG("seconds=1.5"), 400, invalid, NULL},
		{WRONG("seconds=x"), 400, invalid, NULL},
		{WRONG("seconds=x&debug=1"), 400, invalid, NULL},
		{WRONG("seconds=99999999999999999999"), 400, invalid, NULL},
		{WRONG("seconds=3601"), 400, too_long, NULL},
		{WRONG("seconds=9223372036854775807&debug=1"), 400, too_long, NULL},
		{WRONG("seconds=1&debug=1"), 400, both, NULL},
		{GET("/x"), 404, "404 page not found\n", NULL},
		{GET("/debug/pprof2"), 404, "404 page not found\n", NULL},
		{GET("/debug"), 404, "404 page not found\n", NULL},
		{GET("/debug/pprof/nothing"), 404, "Unknown profile\n", NULL},
		{GET("/debug/pprof/heap/"), 404, "Unknown profile\n", NULL},
		{GET("/debug/pprof/index"), 404, "Unknown profile\n", NULL},
		{GET("/debug/pprof/%2f"), 404, "Unknown profile\n", NULL},
		{GET("/debug/pprof/goroutine?seconds=0"), 400, invalid, NULL},
		{GET("/debug/pprof/goroutine?seconds=1&debug=2"), 400, both, NULL},
		{GET("/debug/pprof/block?seconds=1&rate=0"), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?seconds=1&rate=-1"), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?seconds=1&rate=1ms"), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?seconds=1&rate="), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?seconds=1&rate=9223372036854775808"), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?rate=0"), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?seconds=0&rate=0"), 400, invalid, NULL},
		{GET("/debug/pprof/block?seconds=3601&rate=0"), 400, too_long, NULL},
		{GET("/debug/pprof/block?seconds=1&debug=1&rate=0"), 400, both, NULL},
		{GET("/debug/pprof/block?rate=1"), 400, alone, NULL},
		{GET("/debug/pprof/block?seconds=&rate=1&debug=1"), 400, alone, NULL},
		{GET("/debug/pprof/mutex?seconds=1&fraction=x"), 400, bad_fraction, NULL},
		{GET("/debug/pprof/mutex?fraction=1"), 400,
	         "\"fraction\" needs \"seconds\": it holds while a difference is being taken\n", NULL},
		{GET("/debug/pprof/trace?seconds=3600.1"), 400, too_long, NULL},
		{GET("/debug/pprof/trace?seconds=1e99&format=x"), 400, too_long, NULL},
		{GET("/debug/pprof/trace?seconds=inf"), 400, too_long, NULL},
		{GET("/debug/pprof/trace?format=x"), 400, bad_format, NULL},
		{GET("/debug/pprof/trace?format=GO"), 400, bad_format, NULL},
		{"DELETE /debug/pprof/heap HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, NULL,
	         "Allow: GET, HEAD, POST\r\n"},
		{"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, NULL, "Allow: GET, HEAD, POST\r\n"},
		{"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 405, NULL, NULL},
		{"GET /debug/pprof/ HTTP/1.1\r\nHost: evil.example:6060\r\n\r\n", 403, NULL, NULL},
		{"GET http://evil.example/debug/pprof/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 403, NULL, NULL},
	};
	int fd = dial();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		say(fd, rows[i].request);
		struct reply r = hear(fd);
		if (r.status != rows[i].status)
			fail_msg("row %zu: %d", i, r.status);
		if (rows[i].body)
			assert_string_equal(r.body, rows[i].body);
		if (rows[i].header)
			assert_has(&r, rows[i].header);
		assert_true(r.body_len > 1 && strchr(r.body, '\n') == r.body + r.body_len - 1);
		assert_has(&r, "Content-Type: text/plain; charset=utf-8\r\n");
		assert_has(&r, "X-Go-Pprof: 1\r\n");
		assert_has(&r, "X-Content-Type-Options: nosniff\r\n");
		assert_lacks(&r, "Connection:");
	}
	close(fd);
	assert_int_equal(taken(), 0);
	assert_int_equal(counted(&stub.raises) + counted(&stub.begins), 0);
}

static void test_the_folder_without_its_slash_is_redirected(void **state)
{
	(void)state;
	struct reply r = ask(GET("/debug/pprof"));
	assert_int_equal(r.status, 301);
	assert_has(&r, "Location: /debug/pprof/\r\n");
	r = ask(GET("/debug/pprof?a=b&c"));
	assert_int_equal(r.status, 301);
	assert_has(&r, "Location: /debug/pprof/?a=b&c\r\n");
}

static void test_encoder_errors_are_one_line_and_nothing_else(void **state)
{
	(void)state;
	static const char *const requests[] = {GET("/debug/pprof/heap"), GET("/debug/pprof/heap?debug=1"),
	                                       GET("/debug/pprof/symbol?0x1")};
	stub.error = -ENOMEM;
	for (size_t i = 0; i < 3; i++) {
		struct reply r = ask(requests[i]);
		assert_int_equal(r.status, 503);
		assert_string_equal(r.body, "pprofshim: no memory left for this answer; ask again when others are "
		                            "done, or raise PPROF_MEMORY_LIMIT\n");
		assert_lacks(&r, "Content-Disposition");
		assert_has(&r, "X-Go-Pprof: 1\r\n");
	}
	stub.error = -EIO;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(ask(requests[i]).status, 500);
}

static void test_head_is_get_without_its_body(void **state)
{
	(void)state;
	static const char *const paths[] = {"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/nothing",
	                                    "/debug/pprof"};
	int fd = dial();
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		char request[200], head[4096];
		snprintf(request, sizeof request, "HEAD %s HTTP/1.1\r\nHost: localhost\r\n\r\n", paths[i]);
		say(fd, request);
		struct reply r = hear_for(fd, true);
		strcpy(head, r.head);
		snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", paths[i]);
		say(fd, request);
		r = hear(fd);
		assert_string_equal(r.head, head);
	}
	close(fd);
}

static void limit_memory(uint64_t bytes)
{
	run.limit_bytes = bytes;
	give_order(order_limit);
}

static void test_out_of_memory_is_said_without_memory(void **state)
{
	(void)state;
	limit_memory(0);
	struct reply r = ask(GET("/debug/pprof/heap"));
	assert_int_equal(r.status, 503);
	assert_string_equal(r.body, "pprofshim: no memory left for this answer; ask again when others are done, or "
	                            "raise PPROF_MEMORY_LIMIT\n");
	limit_memory(160 * 1024); /* enough for the request, not for the answer */
	stub.body_bytes = 200000;
	r = ask(GET("/debug/pprof/heap"));
	assert_int_equal(r.status, 503);
	assert_string_equal(r.body, "pprofshim: no memory left for this answer; ask again when others are done, or "
	                            "raise PPROF_MEMORY_LIMIT\n");
	limit_memory(64 << 20);
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
}

int main(void)
{
	shared_store_relaxed(&house.pid, getpid());
	const struct CMUnitTest tests[] = {
		SERVED(test_index_lists_every_endpoint_and_what_got_lost),
		SERVED(test_index_warns_of_what_is_stuck_before_all_else),
		SERVED(test_cmdline_is_argv_joined_by_nul),
		SERVED(test_all_processes_together_have_the_profiles_that_can_be_merged),
		SERVED(test_snapshot_profiles_are_attachments_or_text),
		SERVED(test_symbol_reads_the_query_of_a_get_and_the_body_of_a_post),
		SERVED(test_refusals_have_gos_texts_and_keep_the_connection),
		SERVED(test_the_folder_without_its_slash_is_redirected),
		SERVED(test_encoder_errors_are_one_line_and_nothing_else),
		SERVED(test_head_is_get_without_its_body),
		SERVED(test_out_of_memory_is_said_without_memory),
	};
	signal(SIGPIPE, SIG_DFL); /* one from the server would end us */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
