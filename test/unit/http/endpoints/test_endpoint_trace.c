/* test_endpoint_trace.c - the execution trace: begun, drained, ended, given back.
 *
 * Runs in: its own process; the server in a thread of it (test/unit/support/served.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: test/unit/support/served.c test/unit/support/stub_encoder.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "test/unit/support/served.h"

static bool drained_trace(void)
{
	forget_counts();
	stub.drain_ms = 300;
	int from = now_ms(), fd = dial();
	say(fd, GET("/debug/pprof/trace"));
	wait_for(&stub.begins, 1);
	ask_for_others();
	bool soon = now_ms() - from < 900;
	struct reply r = hear(fd);
	bool in_time = takes_ms(from, 1000, 1250) && soon;
	assert_int_equal(r.status, 200);
	assert_has(&r, "Content-Type: application/octet-stream\r\n");
	assert_has(&r, "Content-Disposition: attachment; filename=\"trace\"\r\n");
	assert_string_equal(r.body, "go");
	assert_in_range(counted(&stub.drains), 1, 4); /* at 0, 300, 600, 900 */
	assert_int_equal(counted(&stub.ends), 1);
	assert_int_equal(counted(&stub.releases), 1);
	say(fd, GET("/nothing"));
	assert_int_equal(hear(fd).status, 404);
	close(fd);
	sleep_ms(50);
	assert_int_equal(counted(&stub.abandons), 0);
	return in_time && counted(&stub.drains) == 4;
}

static void test_a_trace_is_drained_until_its_end_and_given_back_when_it_is_encoded(void **state)
{
	(void)state;
	expect_in_a_turn(drained_trace);
}

static void test_a_trace_is_in_the_format_and_of_the_length_asked_for(void **state)
{
	static const struct {
		const char *request, *body, *file;
		int least_ms;
	} rows[] = {
		{TRACE("seconds=.1"), "go", "filename=\"trace\"\r\n", 100},
		{TRACE("seconds=1e-1&format=go"), "go", "filename=\"trace\"\r\n", 100},
		{TRACE("seconds=0.2&format=&debug=1"), "go", "filename=\"trace\"\r\n", 200},
		{TRACE("seconds=0.3&format=perfetto"), "perfetto", "filename=\"trace.perfetto-trace\"\r\n", 300},
		{TRACE("seconds=1e-30"), "go", "filename=\"trace\"\r\n", 0},
		{TRACE("seconds=0"), "go", "filename=\"trace\"\r\n", 1000},
		{TRACE("seconds=-3"), "go", "filename=\"trace\"\r\n", 1000},
		{TRACE("seconds=x"), "go", "filename=\"trace\"\r\n", 1000},
		{TRACE("seconds=nan"), "go", "filename=\"trace\"\r\n", 1000},
		{"POST /debug/pprof/trace?seconds=30 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 27\r\n"
	         "Content-Type: application/x-www-form-urlencoded\r\n\r\nseconds=0.2&format=perfetto",
	         "perfetto", "filename=\"trace.perfetto-trace\"\r\n", 200},
	};
	enum { N = sizeof rows / sizeof *rows };
	(void)state;
	stub.drain_ms = 20;
	int asked = 0;
	for (int i = 0, turn = 1; i < N; asked++) {
		int from = now_ms();
		struct reply r = ask(rows[i].request);
		bool in_time = takes_ms(from, rows[i].least_ms, rows[i].least_ms + 180);
		assert_int_equal(r.status, 200);
		assert_has(&r, rows[i].file);
		assert_string_equal(r.body, rows[i].body);
		if (!in_time && turn == TURNS)
			fail_msg("row %d takes too long, %d times", i, TURNS);
		turn = in_time ? 1 : turn + 1;
		i += in_time;
	}
	assert_int_equal(counted(&stub.releases), asked);
}

static bool full_traces(void)
{
	int from = now_ms();
	forget_counts();
	stub.drain_ms = 20;
	for (unsigned n = 1; n <= 2; n++) {
		stub.drains = 0;
		stub.drains_until_full = n;
		assert_string_equal(ask(TRACE("seconds=30")).body, "go");
		assert_int_equal(counted(&stub.drains), n);
		assert_int_equal(counted(&stub.releases), n);
	}
	assert_int_equal(counted(&stub.abandons), 0);
	return takes_ms(from, 0, 500);
}

static void test_a_full_trace_ends_early(void **state)
{
	(void)state;
	expect_in_a_turn(full_traces);
}

static void test_head_of_a_trace_takes_one(void **state)
{
	(void)state;
	int fd = dial();
	stub.drain_ms = 20;
	say(fd, "HEAD /debug/pprof/trace?seconds=0.1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
	struct reply r = hear_for(fd, true);
	assert_int_equal(r.status, 200);
	assert_has(&r, "filename=\"trace\"\r\n");
	assert_has(&r, "Content-Length: 2\r\n");
	assert_int_equal(counted(&stub.releases), 1);
	say(fd, GET("/nothing"));
	assert_int_equal(hear(fd).status, 404);
	close(fd);
}

static void test_a_trace_that_cannot_begin_says_why(void **state)
{
	static const struct {
		int error;
		const char *text;
	} rows[] = {
		{-EBUSY, "Could not enable tracing: tracing is already enabled\n"},
		{-ENOMEM, "Could not enable tracing: pprofshim: no memory left for this answer; ask again when others "
	                  "are done, or raise PPROF_MEMORY_LIMIT\n"},
		{-EAGAIN, "Could not enable tracing: error 11\n"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		stub.begin_error = rows[i].error;
		struct reply r = ask(GET("/debug/pprof/trace"));
		assert_int_equal(r.status, rows[i].error == -ENOMEM ? 503 : 500);
		assert_string_equal(r.body, rows[i].text);
		assert_has(&r, "X-Go-Pprof: 1\r\n");
		assert_lacks(&r, "Content-Disposition");
	}
	assert_int_equal(
		counted(&stub.drains) + counted(&stub.ends) + counted(&stub.abandons) + counted(&stub.releases), 0);
}

static void test_a_trace_that_cannot_end_or_be_encoded_is_given_back(void **state)
{
	(void)state;
	stub.drain_ms = 20;
	for (int i = 0; i < 2; i++) {
		stub.end_error = i == 0 ? -ENOMEM : 0;
		stub.error = i == 1 ? -ENOMEM : 0;
		struct reply r = ask(TRACE("seconds=0.1"));
		assert_int_equal(r.status, 503);
		assert_string_equal(r.body, "pprofshim: no memory left for this answer; ask again when others are "
		                            "done, or raise PPROF_MEMORY_LIMIT\n");
		assert_lacks(&r, "Content-Disposition");
		sleep_ms(50);
		assert_int_equal(counted(&stub.ends), i + 1);
		assert_int_equal(counted(&stub.releases), i + 1);
		assert_int_equal(counted(&stub.abandons), 0);
	}
}

static void test_a_trace_whose_client_goes_away_is_abandoned_once(void **state)
{
	(void)state;
	stub.drain_ms = 20;
	int fd = dial();
	say(fd, TRACE("seconds=0.5"));
	wait_for(&stub.begins, 1);
	sleep_ms(100);
	close(fd);
	wait_for(&stub.abandons, 1);
	sleep_ms(600);
	assert_int_equal(counted(&stub.abandons), 1);
	assert_int_equal(counted(&stub.ends) + counted(&stub.releases), 0);
	wait_for_no_memory();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(test_a_trace_is_drained_until_its_end_and_given_back_when_it_is_encoded),
		SERVED(test_a_trace_is_in_the_format_and_of_the_length_asked_for),
		SERVED(test_a_full_trace_ends_early),
		SERVED(test_head_of_a_trace_takes_one),
		SERVED(test_a_trace_that_cannot_begin_says_why),
		SERVED(test_a_trace_that_cannot_end_or_be_encoded_is_given_back),
		SERVED(test_a_trace_whose_client_goes_away_is_abandoned_once),
	};
	signal(SIGPIPE, SIG_DFL); /* one from the server would end us */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
