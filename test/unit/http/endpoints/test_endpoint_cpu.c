/* test_endpoint_cpu.c - the CPU profile: begun, drained, ended, abandoned.
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
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/endpoints/take.h"
#include "test/unit/support/served.h"

static bool drained_profile(void)
{
	forget_counts();
	stub.drain_ms = 300;
	int from = now_ms(), fd = dial();
	say(fd, GET("/debug/pprof/profile?seconds=1"));
	wait_for(&stub.begins, 1);
	ask_for_others();
	bool waits = is_open(fd), soon = now_ms() - from < 900;
	assert_true(waits || !soon);
	struct reply r = hear(fd);
	bool in_time = takes_ms(from, 1000, 1250) && soon; /* not at the drain after the end */
	assert_int_equal(r.status, 200);
	assert_has(&r, "Content-Type: application/octet-stream\r\n");
	assert_has(&r, "Content-Disposition: attachment; filename=\"profile\"\r\n");
	assert_int_equal(r.body_len, 100);
	if (soon) { /* else one of the others was the last */
		assert_int_equal(stub.kind, PROFILE_CPU);
		assert_int_equal(stub.duration_ns, 123);
		assert_false(stub.had_before);
	}
	assert_int_equal(stub.hz, 0);
	assert_in_range(counted(&stub.drains), 1, 4); /* at 0, 300, 600, 900 */
	assert_int_equal(counted(&stub.ends), 1);
	say(fd, GET("/nothing"));
	assert_int_equal(hear(fd).status, 404);
	close(fd);
	sleep_ms(50);
	assert_int_equal(counted(&stub.abandons), 0);
	return in_time && counted(&stub.drains) == 4;
}

static void test_a_cpu_profile_is_drained_until_its_end_while_others_are_served(void **state)
{
	(void)state;
	expect_in_a_turn(drained_profile);
}

static bool drained_all_the_time(void)
{
	forget_counts();
	assert_int_equal(ask(GET("/debug/pprof/profile?seconds=1&hz=1000")).status, 200);
	assert_int_equal(stub.hz, 1000);
	assert_in_range(counted(&stub.drains), 1, 1001);
	return counted(&stub.drains) >= 100;
}

static void test_a_profile_that_wants_to_be_drained_all_the_time_does_not_spin(void **state)
{
	(void)state;
	expect_in_a_turn(drained_all_the_time);
}

static void test_head_of_a_profile_takes_one(void **state)
{
	(void)state;
	int fd = dial();
	stub.drain_ms = 100;
	say(fd, "HEAD /debug/pprof/profile?seconds=1&hz=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
	struct reply r = hear_for(fd, true);
	assert_int_equal(r.status, 200);
	assert_has(&r, "filename=\"profile\"\r\n");
	assert_int_equal(counted(&stub.ends), 1);
	say(fd, GET("/nothing"));
	assert_int_equal(hear(fd).status, 404);
	close(fd);
}

static void test_a_profile_that_cannot_begin_says_why(void **state)
{
	static const struct {
		int error;
		const char *text;
	} rows[] = {
		{-EBUSY, "Could not enable CPU profiling: cpu profiling already in use\n"},
		{-ENOSYS, "Could not enable CPU profiling: not possible on this system\n"},
		{-ENOMEM, "Could not enable CPU profiling: pprofshim: no memory left for this answer; ask again when "
	                  "others are done, or raise PPROF_MEMORY_LIMIT\n"},
		{-EAGAIN, "Could not enable CPU profiling: error 11\n"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		stub.begin_error = rows[i].error;
		struct reply r = ask(GET("/debug/pprof/profile?seconds=1"));
		assert_int_equal(r.status, rows[i].error == -ENOMEM ? 503 : 500);
		assert_string_equal(r.body, rows[i].text);
		assert_has(&r, "Content-Type: text/plain; charset=utf-8\r\n");
		assert_has(&r, "X-Go-Pprof: 1\r\n");
		assert_lacks(&r, "Content-Disposition");
	}
	assert_int_equal(counted(&stub.drains) + counted(&stub.ends) + counted(&stub.abandons), 0);
}

static void test_a_profile_that_cannot_end_says_so_and_is_over(void **state)
{
	(void)state;
	stub.drain_ms = 100;
	stub.end_error = -ENOMEM;
	struct reply r = ask(GET("/debug/pprof/profile?seconds=1"));
	assert_int_equal(r.status, 503);
	assert_string_equal(r.body, "pprofshim: no memory left for this answer; ask again when others are done, or "
	                            "raise PPROF_MEMORY_LIMIT\n");
	assert_lacks(&r, "Content-Disposition");
	sleep_ms(50);
	assert_int_equal(counted(&stub.ends), 1);
	assert_int_equal(counted(&stub.abandons), 0);
}

static void test_a_profile_of_impossible_length_or_rate_is_refused(void **state)
{
	static const char too_long[] = "profile duration exceeds server's WriteTimeout\n";
	static const char bad_hz[] = "invalid value for \"hz\" - must be an integer from 1 to 1000\n";
#define PROFILE(query) GET("/debug/pprof/profile?" query)
	static const struct {
		const char *request, *text;
	} rows[] = {
		{PROFILE("seconds=3601"), too_long},
		{PROFILE("seconds=9223372036854775807&hz=x"), too_long},
		{PROFILE("hz=0"), bad_hz},
		{PROFILE("hz=-1"), bad_hz},
		{PROFILE("hz=1001"), bad_hz},
		{PROFILE("hz=4294967396"), bad_hz},
		{PROFILE("hz=99999999999999999999"), bad_hz},
		{PROFILE("hz=1.5"), bad_hz},
		{PROFILE("hz=x&seconds=1"), bad_hz},
		{PROFILE("hz="), bad_hz},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct reply r = ask(rows[i].request);
		if (r.status != 400 || strcmp(r.body, rows[i].text) != 0)
			fail_msg("%s: %d %s", rows[i].request, r.status, r.body);
	}
	assert_int_equal(counted(&stub.begins), 0);
}

static void test_a_profile_without_a_good_length_takes_long(void **state)
{
	static const char *const requests[] = {
		PROFILE(""),
		PROFILE("seconds=0"),
		PROFILE("seconds=-1"),
		PROFILE("seconds=1.5"),
		PROFILE("seconds=x"),
		PROFILE("seconds=99999999999999999999"),
		PROFILE("seconds=3600"),
		("POST /debug/pprof/profile?seconds=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
	         "Content-Type: application/x-www-form-urlencoded\r\n\r\nseconds=0")};
	enum { N = sizeof requests / sizeof *requests };
	int fd[N];
	(void)state;
	stub.drain_ms = 100;
	for (int i = 0; i < N; i++) {
		fd[i] = dial();
		say(fd[i], requests[i]);
	}
	wait_for(&stub.begins, N);
	sleep_ms(1600);
	for (int i = 0; i < N; i++) {
		assert_true(is_open(fd[i]));
		close(fd[i]);
		wait_for(&stub.abandons, i + 1);
	}
	assert_int_equal(counted(&stub.ends), 0);
}

static void test_a_profile_whose_client_goes_away_is_abandoned_once(void **state)
{
	(void)state;
	stub.drain_ms = 50;
	for (int resets = 0; resets < 2; resets++) {
		int fd = dial();
		say(fd, GET("/debug/pprof/profile?seconds=1"));
		wait_for(&stub.begins, resets + 1);
		sleep_ms(resets * 120);
		if (resets)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
		close(fd);
		wait_for(&stub.abandons, resets + 1);
	}
	int drains = counted(&stub.drains);
	sleep_ms(1100);
	assert_int_equal(counted(&stub.abandons), 2);
	assert_int_equal(counted(&stub.drains), drains);
	assert_int_equal(counted(&stub.ends), 0);
	wait_for_no_memory();
}

static void test_a_moved_server_abandons_its_profile(void **state)
{
	(void)state;
	int fd;
	begin_long_profile(&fd);
	run.move_fd = -1;
	give_order(order_move);
	assert_int_equal(counted(&stub.abandons), 1);
	close(fd);
}

static void test_a_server_stops_in_a_profile(void **state)
{
	(void)state;
	int fd;
	begin_long_profile(&fd);
	run.fds_before++; /* fd, which ends with the test program */
}

static int stop_in_a_profile(void **state)
{
	int rc = stop(state);
	return rc == 0 && counted(&stub.abandons) == 1 && counted(&stub.ends) == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(test_a_cpu_profile_is_drained_until_its_end_while_others_are_served),
		SERVED(test_a_profile_that_wants_to_be_drained_all_the_time_does_not_spin),
		SERVED(test_head_of_a_profile_takes_one),
		SERVED(test_a_profile_that_cannot_begin_says_why),
		SERVED(test_a_profile_that_cannot_end_says_so_and_is_over),
		SERVED(test_a_profile_of_impossible_length_or_rate_is_refused),
		SERVED(test_a_profile_without_a_good_length_takes_long),
		SERVED(test_a_profile_whose_client_goes_away_is_abandoned_once),
		SERVED(test_a_moved_server_abandons_its_profile),
		cmocka_unit_test_setup_teardown(test_a_server_stops_in_a_profile, start, stop_in_a_profile),
	};
	signal(SIGPIPE, SIG_DFL); /* one from the server would end us */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
