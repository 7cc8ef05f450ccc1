/* test_server.c - the server in its program: it moves, stops, lacks descriptors, checks hosts, survives anything sent.
 *
 * Runs in: its own process; the server in a thread of it (test/unit/support/served.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: test/unit/support/served.c test/unit/support/stub_encoder.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/unit/support/served.h"

static void test_a_moved_server_leaves_its_port_free_at_once(void **state)
{
	(void)state;
	int used = dial(), waits = dial(), half = dial();
	say(used, GET("/debug/pprof/heap"));
	assert_int_equal(hear(used).status, 200);
	say(waits, GET("/debug/pprof/heap?seconds=30"));
	say(half, "GET /");
	for (int i = 0; i < 20000 && taken() < 2; i++)
		sleep_ms(1);
	int copy = fcntl(run.options.listen_fd, F_DUPFD_CLOEXEC, 0); /* as a fork child holds one */

	struct address old = run.address;
	run.move_to = parsed("127.0.0.1:0");
	run.move_fd = address_listen(&run.move_to);
	assert_true(run.move_fd >= 0);
	give_order(order_move);
	run.address = run.move_to;

	close(copy);
	int theirs = socket(AF_INET, SOCK_STREAM, 0); /* the program does not say SO_REUSEADDR */
	assert_int_equal(bind(theirs, (struct sockaddr *)&old.sa, old.sa_len), 0);
	assert_int_equal(listen(theirs, 1), 0);
	char c;
	assert_int_equal(recv(used, &c, 1, 0), -1);
	assert_int_equal(recv(waits, &c, 1, 0), -1);
	assert_int_equal(recv(half, &c, 1, 0), -1);
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
	close(theirs);
	close(used);
	close(waits);
	close(half);
}

static void test_a_server_may_be_moved_to_nowhere_and_back(void **state)
{
	(void)state;
	run.move_fd = -1;
	give_order(order_move);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&run.address.sa, run.address.sa_len), -1);
	close(fd);
	run.move_to = parsed("127.0.0.1:0");
	run.move_fd = address_listen(&run.move_to);
	give_order(order_move);
	run.address = run.move_to;
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
}

static void test_hosts_are_checked_on_loopback_alone(void **state)
{
	(void)state;
	static const char request[] = "GET /debug/pprof/heap HTTP/1.1\r\nHost: pod.example:6060\r\n\r\n";
	assert_int_equal(ask(request).status, 403);
	run.move_to = parsed(":0");
	run.move_fd = address_listen(&run.move_to);
	give_order(order_move);
	char text[32];
	snprintf(text, sizeof text, "127.0.0.1:%u", run.move_to.port);
	run.address = parsed(text);
	assert_int_equal(ask(request).status, 200);
	char name[64];
	snprintf(name, sizeof name, "unix:@test_server.%d", (int)getpid());
	run.move_to = parsed(name);
	run.move_fd = address_listen(&run.move_to);
	give_order(order_move);
	run.address = run.move_to;
	assert_int_equal(ask(request).status, 200);
}

static bool sleeps_shortly(void)
{
	sleep_ms(100);
	return sleeps_for(300);
}

static void test_without_descriptors_clients_wait_and_nothing_spins(void **state)
{
	(void)state;
	struct rlimit old, tight;
	assert_int_equal(ask(GETC("/nothing")).status, 404); /* it runs, and has what it needs */
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	getrlimit(RLIMIT_NOFILE, &old);
	tight = (struct rlimit){.rlim_cur = (rlim_t)fd + 1, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &tight);
	int rc = connect(fd, (struct sockaddr *)&run.address.sa, run.address.sa_len);
	double before = thread_seconds();
	sleep_ms(300);
	double spent = thread_seconds() - before;
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(rc, 0);
	assert_true(spent < 0.05);
	say(fd, GET("/debug/pprof/heap"));
	assert_int_equal(hear(fd).status, 200);
	close(fd);
	expect_in_a_turn(sleeps_shortly); /* and then it sleeps for ever again */
}

static void test_the_programs_lowest_numbers_stay_free(void **state)
{
	(void)state;
	int first = dial();
	until_server_sleeps(); /* a descriptor has a low number for a moment, before it is moved up */
	int expected = dup(0);
	close(expected);
	say(first, GET("/debug/pprof/heap"));
	assert_int_equal(hear(first).status, 200);
	until_server_sleeps();
	int next = dup(0);
	assert_int_equal(next, expected);
	close(next);
	close(first);
}

static void test_random_bytes_do_not_stop_the_service(void **state)
{
	(void)state;
	static const char seed[] =
		GET("/debug/pprof/heap?debug=1") "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\n"
						 "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n0x1+2" GET("/");
	uint32_t x = 1;
	for (int round = 0; round < 1500; round++) {
		char text[sizeof seed];
		memcpy(text, seed, sizeof seed);
		for (int n = 0; n < 3; n++) {
			x = x * 1664525 + 1013904223;
			text[(x >> 8) % (sizeof seed - 1)] = (char)(x >> 24);
		}
		int fd = dial();
		send(fd, text, sizeof seed - 1, MSG_NOSIGNAL);
		if (round % 4 == 0)
			hear(fd);
		close(fd);
	}
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(test_a_moved_server_leaves_its_port_free_at_once),
		SERVED(test_a_server_may_be_moved_to_nowhere_and_back),
		SERVED(test_hosts_are_checked_on_loopback_alone),
		SERVED(test_without_descriptors_clients_wait_and_nothing_spins),
		SERVED(test_the_programs_lowest_numbers_stay_free),
		SERVED(test_random_bytes_do_not_stop_the_service),
	};
	signal(SIGPIPE, SIG_DFL); /* one from the server would end us */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
