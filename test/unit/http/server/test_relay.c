/* test_relay.c - answers that another process makes: what it says is passed on or refused, whatever it says.
 *
 * Runs in: its own process; the server in a thread of it (test/unit/support/served.h). The other process is the test:
 * it stands in the door's table, and gets one end of a socket pair for each request, as a member does.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: test/unit/support/served.c test/unit/support/stub_encoder.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/door/door_state.h"
#include "http/server/limits.h"
#include "shim/base/arena.h"
#include "test/unit/support/count.h"
#include "test/unit/support/served.h"

#define PATH "/debug/pprof/heap?x=1"
#define REQUEST GET("/pid/42" PATH)

static int ends[2]; /* of the connection between the owner and the member: the server's, the test's */

/* Orders, in the server's thread. */

static void join(void)
{
	door.role = DOOR_OWNER;
	door.table.own_pid = 1;
	struct member *m = table_add(&door.table, ends[0]);
	if (!m)
		abort();
	table_name(&door.table, m, 42);
}

static void leave(void)
{
	table_clear(&door.table);
	door.role = DOOR_NONE;
}

static void hurry(void)
{
	server_deadlines.relay_take_ms = 400;
}

static int begin(void **state)
{
	int rc = start(state);
	if (rc == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
		return -1;
	give_order(join);
	return rc;
}

static int end(void **state)
{
	give_order(leave);
	close(ends[0]);
	close(ends[1]);
	return stop(state);
}

/* Returns the client that the owner has passed on, with its request read to the empty line. */
static int passed(char *request, size_t room)
{
	union protocol_message m;
	struct pollfd there = {.fd = ends[1], .events = POLLIN};
	int fd = -1;
	size_t n = 0;
	assert_int_equal(poll(&there, 1, 30000), 1);
	assert_int_equal(wire_receive(ends[1], &m, &fd), sizeof m.head);
	assert_int_equal(m.head.kind, PROTOCOL_PASS);
	assert_true(fd >= 0);
	fcntl(fd, F_SETFL, 0);
	for (request[0] = '\0'; !strstr(request, "\r\n\r\n"); request[n] = '\0') {
		ssize_t r = read(fd, request + n, room - 1 - n);
		assert_true(r > 0);
		n += (size_t)r;
	}
	return fd;
}

/* What the member says to a request, and then it closes. Returns the client's connection. */
static int served_by(const char *answer, size_t len)
{
	char request[512];
	int client = dial();
	say(client, REQUEST);
	int fd = passed(request, sizeof request);
	while (len) {
		ssize_t n = send(fd, answer, len, MSG_NOSIGNAL);
		if (n <= 0)
			break; /* it has heard enough */
		answer += n;
		len -= (size_t)n;
	}
	close(fd);
	return client;
}

static void test_the_request_goes_on_without_the_prefix_and_its_answer_comes_whole(void **state)
{
	(void)state;
	char request[512];
	int client = dial();
	for (int i = 0; i < 3; i++) {
		static const char answer[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nX-Its: own\r\n\r\nhello";
		say(client, REQUEST);
		int fd = passed(request, sizeof request);
		assert_string_equal(request, "GET " PATH " HTTP/1.1\r\nHost: localhost\r\n\r\n");
		for (size_t at = 0; at < sizeof answer - 1; at++)
			assert_int_equal(write(fd, answer + at, 1), 1);
		struct reply r = hear(client);
		assert_int_equal(r.status, 404);
		assert_has(&r, "X-Its: own\r\n");
		assert_string_equal(r.body, "hello");
		close(fd);
	}
	close(client);
}

static void test_a_body_goes_on(void **state)
{
	(void)state;
	char request[512], body[4] = "";
	int client = dial();
	say(client, "POST /pid/42/debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n0x1");
	int fd = passed(request, sizeof request);
	assert_non_null(strstr(request, "Content-Length: 3\r\n"));
	const char *rest = strstr(request, "\r\n\r\n") + 4;
	size_t have = strlen(rest);
	memcpy(body, rest, have < 3 ? have : 3);
	while (have < 3) {
		ssize_t n = read(fd, body + have, 3 - have);
		assert_true(n > 0);
		have += (size_t)n;
	}
	assert_string_equal(body, "0x1");
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
	assert_int_equal(write(fd, answer, sizeof answer - 1), sizeof answer - 1);
	assert_int_equal(hear(client).status, 200);
	close(fd);
	close(client);
}

static void test_an_answer_that_cannot_be_understood_is_a_502(void **state)
{
	static const char *const answers[] = {
		"",
		"HTTP/1.1 200 OK\r\n",
		"HTTP/1.1 200 OK\r\n\r\nno length",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\ny",
		"HTTP/1.1 199 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
		"\r\n\r\n",
	};
	(void)state;
	for (size_t i = 0; i < COUNT(answers); i++) {
		int client = served_by(answers[i], strlen(answers[i]));
		assert_int_equal(hear(client).status, 502);
		close(client);
		give_order(leave);
		give_order(join);
	}
}

static void test_a_head_without_an_end_is_a_502(void **state)
{
	(void)state;
	size_t len = 1 << 20;
	char *endless = malloc(len);
	assert_non_null(endless);
	memset(endless, 'x', len);
	memcpy(endless, "HTTP/1.1 200 OK\r\nX: ", 20);
	int client = served_by(endless, len);
	assert_int_equal(hear(client).status, 502);
	close(client);
	free(endless);
}

static void test_no_more_bytes_come_than_were_said(void **state)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n";
	(void)state;
	int client = served_by(answer, sizeof answer - 1);
	struct reply r = hear(client);
	assert_int_equal(r.status, 200);
	assert_string_equal(r.body, "ok");
	say(client, GET("/nothing"));
	assert_int_equal(hear(client).status, 404); /* and not what came too much */
	close(client);
}

static void test_an_answer_that_ends_early_ends_by_a_reset(void **state)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this";
	(void)state;
	char bytes[512];
	ssize_t n;
	int client = served_by(answer, sizeof answer - 1);
	while ((n = recv(client, bytes, sizeof bytes, 0)) > 0)
		;
	assert_int_equal(n, -1);
	close(client);
}

static void test_a_large_answer_comes_whole_to_a_slow_reader(void **state)
{
	enum { LEN = 3 << 20 };
	(void)state;
	char *answer = malloc(LEN + 100);
	assert_non_null(answer);
	int head = sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LEN);
	for (size_t i = 0; i < LEN; i++)
		answer[(size_t)head + i] = (char)('a' + i % 26);
	struct {
		int client;
		char *got;
	} c = {dial(), malloc(LEN + 100)};
	assert_non_null(c.got);
	say(c.client, REQUEST);
	char request[512];
	int fd = passed(request, sizeof request);
	size_t sent = 0, have = 0, all = (size_t)head + LEN;
	while (have < all) { /* as much goes in as there is room for; then some comes out */
		if (sent < all) {
			ssize_t n = send(fd, answer + sent, all - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
		}
		ssize_t n = recv(c.client, c.got + have, 10000, 0);
		assert_true(n > 0);
		have += (size_t)n;
	}
	assert_int_equal(have, all);
	assert_memory_equal(c.got + head, answer + head, LEN);
	close(fd);
	close(c.client);
	free(c.got);
	free(answer);
}

static void test_a_member_that_does_not_read_is_a_504(void **state)
{
	(void)state;
	int clients[TABLE_PASSES + 1];
	give_order(hurry);
	for (size_t i = 0; i < COUNT(clients); i++) {
		clients[i] = dial();
		say(clients[i], REQUEST);
	}
	for (size_t i = 0; i < COUNT(clients); i++) {
		assert_int_equal(hear(clients[i]).status, 504);
		close(clients[i]);
	}
}

static void test_a_client_that_goes_takes_its_relay_with_it(void **state)
{
	(void)state;
	char request[512], byte;
	int client = dial();
	say(client, REQUEST);
	int fd = passed(request, sizeof request);
	close(client);
	assert_int_equal(read(fd, &byte, 1), 0);
	close(fd);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_the_request_goes_on_without_the_prefix_and_its_answer_comes_whole),
		TEST(test_a_body_goes_on),
		TEST(test_an_answer_that_cannot_be_understood_is_a_502),
		TEST(test_a_head_without_an_end_is_a_502),
		TEST(test_no_more_bytes_come_than_were_said),
		TEST(test_an_answer_that_ends_early_ends_by_a_reset),
		TEST(test_a_large_answer_comes_whole_to_a_slow_reader),
		TEST(test_a_client_that_goes_takes_its_relay_with_it),
		TEST(test_a_member_that_does_not_read_is_a_504),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
