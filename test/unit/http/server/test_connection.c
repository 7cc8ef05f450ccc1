/* test_connection.c - connections: one request after the other, bodies, broken requests, large answers, how many
 * there may be.
 *
 * Runs in: its own process; the server in a thread of it (test/unit/support/served.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: test/unit/support/served.c test/unit/support/stub_encoder.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shim/base/arena.h"
#include "http/server/limits.h"
#include "test/unit/support/served.h"

static void test_a_connection_serves_many_requests_and_closes_when_asked(void **state)
{
	(void)state;
	int fd = dial();
	for (int i = 0; i < 50; i++) {
		say(fd, GET("/debug/pprof/heap"));
		struct reply r = hear(fd);
		assert_int_equal(r.status, 200);
		assert_lacks(&r, "Connection:");
	}
	say(fd, GETC("/debug/pprof/heap"));
	struct reply r = hear(fd);
	assert_has(&r, "Connection: close\r\n");
	assert_closed(fd);
	close(fd);
}

static void test_http10_closes_unless_asked_not_to(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, "GET /debug/pprof/heap HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	struct reply r = hear(fd);
	assert_has(&r, "Connection: keep-alive\r\n");
	say(fd, "GET /debug/pprof/heap HTTP/1.0\r\n\r\n");
	r = hear(fd);
	assert_has(&r, "Connection: close\r\n");
	assert_closed(fd);
	close(fd);
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
	(void)state;
	enum { ROUNDS = 300 };
	static const char three[] = GET("/debug/pprof/heap")
		GET("/nothing") "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n0x1";
	char *all = malloc(ROUNDS * (sizeof three - 1));
	for (int i = 0; i < ROUNDS; i++)
		memcpy(all + i * (sizeof three - 1), three, sizeof three - 1);
	int fd = dial();
	say_bytes(fd, all, ROUNDS * (sizeof three - 1)); /* several input buffers: requests are cut */
	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(hear(fd).status, 200);
		assert_int_equal(hear(fd).status, 404);
		assert_string_equal(hear(fd).body, "num_symbols: 1\n0x1");
	}
	free(all);
	close(fd);
}

static void test_a_slow_client_is_served_byte_by_byte(void **state)
{
	(void)state;
	static const char text[] =
		"POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n0x1" GET("/nothing");
	int fd = dial();
	for (size_t i = 0; i < sizeof text - 1; i++) {
		say_bytes(fd, text + i, 1);
		sleep_ms(1);
	}
	assert_string_equal(hear(fd).body, "num_symbols: 1\n0x1");
	assert_int_equal(hear(fd).status, 404);
	close(fd);
}

static void test_a_client_that_ended_its_side_gets_its_answer(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, GET("/debug/pprof/heap"));
	shutdown(fd, SHUT_WR);
	assert_int_equal(hear(fd).status, 200);
	assert_closed(fd);
	close(fd);
}

static void test_a_body_on_a_get_is_read_and_dropped(void **state)
{
	(void)state;
	enum { LENGTH = 300000 };
	char head[200], *body = calloc(1, LENGTH);
	snprintf(head, sizeof head, "GET /debug/pprof/heap HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n",
	         LENGTH);
	int fd = dial();
	say(fd, head);
	say_bytes(fd, body, LENGTH);
	assert_int_equal(hear(fd).status, 200);
	say(fd, GET("/nothing"));
	assert_int_equal(hear(fd).status, 404);
	free(body);
	close(fd);
}

static void test_a_large_body_is_taken_whole(void **state)
{
	(void)state;
	char head[200], *body = malloc(LIMIT_BODY);
	memset(body, '1', LIMIT_BODY);
	snprintf(head, sizeof head,
	         "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", LIMIT_BODY);
	int fd = dial();
	say(fd, head);
	say_bytes(fd, body, LIMIT_BODY);
	struct reply r = hear(fd);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.body_len, LIMIT_BODY + strlen("num_symbols: 1\n"));
	assert_memory_equal(r.body + strlen("num_symbols: 1\n"), body, LIMIT_BODY);
	free(body);
	close(fd);
}

static void test_a_client_that_waits_for_100_is_told_to_continue(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
	        "3\r\n\r\n");
	struct reply r = hear(fd);
	assert_string_equal(r.head, "HTTP/1.1 100 Continue\r\n\r\n");
	say(fd, "0x1");
	assert_string_equal(hear(fd).body, "num_symbols: 1\n0x1");
	say(fd, "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
	        "3\r\n\r\n0x1");
	assert_int_equal(hear(fd).status, 200); /* it did not wait */
	close(fd);
}

/* start, n times c, end. */
static const char *repeated(const char *start, char c, size_t n, const char *end)
{
	static char text[64 * 1024];
	size_t len = strlen(start);
	memcpy(text, start, len);
	memset(text + len, c, n);
	strcpy(text + len + n, end);
	return text;
}

static void assert_broken(const char *request, int status)
{
	int fd = dial();
	say(fd, request);
	struct reply r = hear(fd);
	if (r.status != status)
		fail_msg("%d, expected %d: %.60s", r.status, status, request);
	assert_has(&r, "Connection: close\r\n");
	assert_has(&r, "X-Go-Pprof: 1\r\n");
	assert_true(r.body_len > 1);
	assert_closed(fd);
	close(fd);
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
}

static void test_broken_requests_are_answered_closed_and_forgotten(void **state)
{
	(void)state;
	assert_broken("nonsense\r\n\r\n", 400);
	assert_broken("\x16\x03\x01\x02", 400);
	assert_broken("GET / HTTP/1.1\r\n\r\n", 400);
	assert_broken("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
	assert_broken("GET / HTTP/2.0\r\n\r\n", 505);
	assert_broken("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400);
	assert_broken("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501);
	assert_broken("POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417);
	assert_broken("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4194305\r\n\r\n", 413);
	assert_broken(repeated("GET /", 'a', 21000, " HTTP/1.1\r\n\r\n"), 414);
	assert_broken(repeated("GET / HTTP/1.1\r\nHost: a\r\nX: ", 'a', 17000, "\r\n\r\n"), 431);
	assert_broken(repeated("", 'a', 60000, ""), 414);
}

static void test_a_client_busy_sending_too_much_sees_the_answer(void **state)
{
	(void)state;
	enum { LENGTH = 6 << 20 };
	char *body = calloc(1, LENGTH);
	int fd = dial();
	say(fd, "POST /debug/pprof/symbol HTTP/1.1\r\nHost: a\r\nContent-Length: 6291456\r\n\r\n");
	say_bytes(fd, body, LENGTH);
	assert_int_equal(hear(fd).status, 413);
	assert_closed(fd);
	free(body);
	close(fd);
}

static void test_what_follows_a_broken_request_is_not_a_request(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, GET("/debug/pprof/heap") "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" GET(
			"/debug/pprof/heap"));
	assert_int_equal(hear(fd).status, 200);
	assert_int_equal(hear(fd).status, 501);
	assert_closed(fd);
	close(fd);
}

static bool has_ended(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};
	return poll(&p, 1, 0) == 1;
}

static void test_sixty_four_at_work_are_served_and_the_rest_is_told(void **state)
{
	(void)state;
	int fds[70];
	for (int i = 0; i < 64; i++) {
		fds[i] = dial();
		say(fds[i], GET("/debug/pprof/heap?seconds=60"));
	}
	wait_for(&stub.takes, 64);
	for (int i = 64; i < 70; i++) {
		fds[i] = dial();
		say(fds[i], GET("/debug/pprof/heap"));
		assert_int_equal(hear(fds[i]).status, 503);
		assert_closed(fds[i]);
	}
	for (int i = 0; i < 64; i++)
		assert_false(has_ended(fds[i]));
	for (int i = 0; i < 70; i++)
		close(fds[i]);
}

static void test_who_asked_for_nothing_longest_gives_way(void **state)
{
	(void)state;
	enum { IDLE = 32 };
	int fds[64], late[4], gone = 0;
	for (int i = 0; i < 64; i++)
		fds[i] = dial();
	for (int i = 63; i >= IDLE; i--) { /* the last one's answer says that all are accepted */
		say(fds[i], GET("/debug/pprof/heap"));
		assert_int_equal(hear(fds[i]).status, 200);
	}
	say(fds[0], "GET /debug/pprof/heap HTTP/1.1\r\nHost:"); /* half a request is none */
	for (int i = 0; i < 4; i++) {
		late[i] = dial();
		say(late[i], GET("/debug/pprof/heap"));
		assert_int_equal(hear(late[i]).status, 200);
	}
	for (int i = 0; i < 64; i++) {
		assert_true(!has_ended(fds[i]) || i < 4);
		gone += has_ended(fds[i]);
		close(fds[i]);
	}
	assert_int_equal(gone, 4);
	for (int i = 0; i < 4; i++)
		close(late[i]);
}

static void test_half_open_connections_keep_nobody_out(void **state)
{
	(void)state;
	enum { MANY = 400 };
	int fds[MANY];
	for (int i = 0; i < MANY; i++) {
		fds[i] = dial();
		if (i % 2)
			say(fds[i], "GET /debug/p");
		if (i % 20 == 0)
			assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
	}
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
	for (int i = 0; i < MANY; i++)
		close(fds[i]);
}

/* Sixty-four clients that read nothing: after a while any of them gives way. */
static bool unread_answers_give_way(void)
{
	int fds[64], from = now_ms();
	stub.body_bytes = 8 << 20;
	for (int i = 0; i < 64; i++) {
		fds[i] = dial();
		say(fds[i], i < 4 ? GET("/debug/pprof/heap") : GET("/debug/pprof/heap?seconds=60"));
	}
	wait_for_least(&stub.takes, 64);
	sleep_ms((int)server_deadlines.write_gives_way_ms + 200);
	stub.body_bytes = 100;
	int status = ask(GET("/debug/pprof/heap")).status;
	for (int i = 0; i < 64; i++)
		close(fds[i]);
	stub.takes = 0;
	return takes_ms(from, 0, (int)server_deadlines.write_ms) && status == 200;
}

static void test_a_client_that_does_not_read_gives_way(void **state)
{
	(void)state;
	expect_in_a_turn(unread_answers_give_way);
}

static void test_many_times_the_connections_come_and_go(void **state)
{
	(void)state;
	for (int i = 0; i < 500; i++) {
		int fd = dial();
		if (i % 3)
			say(fd, i % 3 == 1 ? GET("/debug/pprof/heap") : "GET /debug/p");
		if (i % 6 == 1)
			hear(fd);
		close(fd);
	}
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
}

static void test_a_slow_reader_gets_a_large_answer_whole(void **state)
{
	(void)state;
	enum { LENGTH = 20 << 20 };
	int fd = dial();
	size_t n = 0;
	static char part[256 * 1024];
	stub.body_bytes = LENGTH;
	say(fd, GETC("/debug/pprof/heap"));
	while (true) { /* the head */
		assert_int_equal(recv(fd, part + n++, 1, 0), 1);
		if (n >= 4 && memcmp(part + n - 4, "\r\n\r\n", 4) == 0)
			break;
	}
	for (n = 0; n < LENGTH;) {
		ssize_t got = recv(fd, part, sizeof part, 0);
		assert_true(got > 0);
		for (ssize_t i = 0; i < got; i++)
			if (part[i] != 'a' + (int)((n + (size_t)i) / 1000 % 26))
				fail_msg("byte %zu", n + (size_t)i);
		n += (size_t)got;
		if (n < 2 << 20)
			sleep_ms(1);
	}
	assert_int_equal(n, LENGTH);
	assert_closed(fd);
	close(fd);
}

static void test_a_reader_that_stops_is_reset(void **state)
{
	(void)state;
	char part[4096];
	int fd = dial();
	stub.body_bytes = 20 << 20;
	say(fd, GET("/debug/pprof/heap"));
	assert_int_equal(recv(fd, part, sizeof part, 0) > 0, 1);
	for (int i = 0; i < 20000 && !arena_mapped_bytes(); i++)
		sleep_ms(1);
	wait_for_no_memory();
	ssize_t got;
	while ((got = recv(fd, part, sizeof part, 0)) > 0)
		;
	assert_int_equal(got, -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
	assert_int_equal(ask(GET("/nothing")).status, 404);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(test_a_connection_serves_many_requests_and_closes_when_asked),
		SERVED(test_http10_closes_unless_asked_not_to),
		SERVED(test_pipelined_requests_are_answered_in_order),
		SERVED(test_a_slow_client_is_served_byte_by_byte),
		SERVED(test_a_client_that_ended_its_side_gets_its_answer),
		SERVED(test_a_body_on_a_get_is_read_and_dropped),
		SERVED(test_a_large_body_is_taken_whole),
		SERVED(test_a_client_that_waits_for_100_is_told_to_continue),
		SERVED(test_broken_requests_are_answered_closed_and_forgotten),
		SERVED(test_a_client_busy_sending_too_much_sees_the_answer),
		SERVED(test_what_follows_a_broken_request_is_not_a_request),
		SERVED(test_sixty_four_at_work_are_served_and_the_rest_is_told),
		SERVED(test_who_asked_for_nothing_longest_gives_way),
		SERVED(test_half_open_connections_keep_nobody_out),
		SERVED(test_a_client_that_does_not_read_gives_way),
		SERVED(test_many_times_the_connections_come_and_go),
		SERVED(test_a_slow_reader_gets_a_large_answer_whole),
		HURRIED(test_a_reader_that_stops_is_reset),
	};
	signal(SIGPIPE, SIG_DFL); /* one from the server would end us */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
