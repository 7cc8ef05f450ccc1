/* test_deadlines.c - who is too late, and that nobody who only waits costs time.
 *
 * Runs in: its own process; the server in a thread of it (test/unit/support/served.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: test/unit/support/served.c test/unit/support/stub_encoder.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/unit/support/served.h"

static bool late_requests(void)
{
	int from = now_ms(), nothing = dial(), head = dial(), body = dial(), idle = dial();
	say(head, "GET /debug/pprof/heap HTTP/1.1\r\nHost:");
	say(body, "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n0x");
	say(idle, GET("/debug/pprof/heap"));
	assert_int_equal(hear(idle).status, 200);
	sleep_ms(200);
	bool both_open = is_open(head) && is_open(idle), soon = now_ms() - from < 380;
	assert_true(both_open || !soon);
	int late[] = {nothing, head, body};
	for (int i = 0; i < 3; i++) {
		struct reply r = hear(late[i]);
		assert_int_equal(r.status, 408);
		assert_has(&r, "Connection: close\r\n");
		assert_closed(late[i]);
		close(late[i]);
	}
	assert_closed(idle);
	close(idle);
	return takes_ms(from, 380, 1500) && soon;
}

static void test_late_requests_get_408_and_idle_connections_a_silent_end(void **state)
{
	(void)state;
	expect_in_a_turn(late_requests);
}

static bool slow_head(void)
{
	int from = now_ms(), fd = dial();
	struct pollfd p = {.fd = fd, .events = POLLIN};
	say(fd, "GET / HTTP/1.1\r\nX: ");
	while (poll(&p, 1, 20) == 0 && now_ms() - from < 3000)
		send(fd, "x", 1, MSG_NOSIGNAL);
	assert_int_equal(hear(fd).status, 408);
	close(fd);
	return takes_ms(from, 380, 1500);
}

static void test_the_head_has_one_deadline_however_many_bytes_come(void **state)
{
	(void)state;
	expect_in_a_turn(slow_head);
}

/* The heads must be in before their deadline, the rest of the requests while the server is busy. */
static bool busy_server(void)
{
	enum { N = 40, BUSY_MS = 600 /* longer than the deadline */ };
	int from = now_ms(), fds[N], busy = dial();
	stub.takes = stub.busy_ms = 0;
	for (int i = 0; i < N; i++) {
		fds[i] = dial();
		say(fds[i], i % 2 ? "GET /nothing HTTP/1.1\r\n"
		                  : "POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
	}
	sleep_ms(50);
	stub.busy_ms = BUSY_MS;
	int busy_from = now_ms();
	say(busy, GET("/debug/pprof/heap"));
	for (int i = 0; i < 3000 && taken() == 0; i++)
		sleep_ms(1);
	bool in_time = now_ms() - from < 380;
	for (int i = 0; in_time && i < N; i++)
		say(fds[i], i % 2 ? "Host: localhost\r\n\r\n" : "x");
	in_time = in_time && now_ms() - busy_from < BUSY_MS - 20;
	hear(busy);
	for (int i = 0; i < N; i++) {
		if (in_time)
			assert_int_equal(hear(fds[i]).status, i % 2 ? 404 : 403);
		close(fds[i]);
	}
	close(busy);
	return in_time;
}

static void test_requests_that_came_while_the_server_was_busy_are_not_late(void **state)
{
	(void)state;
	expect_in_a_turn(busy_server);
}

static void test_a_client_that_never_closes_is_closed(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, GETC("/debug/pprof/heap"));
	assert_int_equal(hear(fd).status, 200);
	assert_closed(fd);
	sleep_ms(600);
	for (int i = 0; i < 2000 && send(fd, "x", 1, MSG_NOSIGNAL) == 1; i++)
		sleep_ms(5);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	close(fd);
}

/* It may have been woken by the last client late. */
static bool sleeps(void)
{
	sleep_ms(100);
	return sleeps_for(700);
}

static void test_an_idle_listener_never_wakes(void **state)
{
	(void)state;
	assert_int_equal(ask(GETC("/debug/pprof/heap")).status, 200);
	expect_in_a_turn(sleeps);
}

/* Of a busy machine's server, once the large answer is made. */
static bool costs_little(void)
{
	double before = thread_seconds();
	sleep_ms(300);
	return thread_seconds() - before < 0.03;
}

static void test_waiting_connections_cost_no_time(void **state)
{
	(void)state;
	int delta = dial(), large = dial(), closing = dial(), piped = dial();
	stub.body_bytes = 20 << 20;
	say(large, GET("/debug/pprof/heap"));
	say(delta, GET("/debug/pprof/heap?seconds=3") GET("/nothing"));
	say(closing, GETC("/nothing"));
	say(piped, GET("/nothing") "GET /debug");
	sleep_ms(200);
	expect_in_a_turn(costs_little);
	wire_acquire();
	stub.body_bytes = 100;
	wire_release();
	assert_int_equal(hear(delta).status, 200);
	assert_int_equal(hear(delta).status, 404);
	close(delta);
	close(large);
	close(closing);
	close(piped);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HURRIED(test_late_requests_get_408_and_idle_connections_a_silent_end),
		HURRIED(test_the_head_has_one_deadline_however_many_bytes_come),
		HURRIED(test_requests_that_came_while_the_server_was_busy_are_not_late),
		HURRIED(test_a_client_that_never_closes_is_closed),
		SERVED(test_an_idle_listener_never_wakes),
		SERVED(test_waiting_connections_cost_no_time),
	};
	signal(SIGPIPE, SIG_DFL); /* one from the server would end us */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
