/* test_address.c - PPROF_ADDR: parsed, printed, bound; IP addresses and Host headers as text.
 *
 * Runs in: its own process. Binds to loopback ports of the kernel's choice and to sockets in a temporary
 * folder.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/address/address.c http/address/ip.c http/address/host.c http/address/fd.c shim/base/text.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/address/fd.h"
#include "http/address/host.h"
#include "http/address/ip.h"
#include "http/address/address.h"

#define LONG_PATH_107 \
	"/234567890123456789012345678901234567890123456789" \
	"0123456789012345678901234567890123456789012345678901234567"

static void test_addresses_are_parsed_and_printed(void **state)
{
	(void)state;
	static const struct {
		const char *text, *printed;
		uint16_t port;
	} rows[] = {
		{"off", "off", 0},
		{":6060", "http://localhost:6060/debug/pprof/", 6060},
		{"0.0.0.0:1", "http://localhost:1/debug/pprof/", 1},
		{"[::]:65535", "http://localhost:65535/debug/pprof/", 65535},
		{"127.0.0.1:6060", "http://127.0.0.1:6060/debug/pprof/", 6060},
		{"localhost:6060", "http://127.0.0.1:6060/debug/pprof/", 6060},
		{"LocalHost:0", "http://127.0.0.1:0/debug/pprof/", 0},
		{"10.1.2.3:80", "http://10.1.2.3:80/debug/pprof/", 80},
		{"[::1]:6060", "http://[::1]:6060/debug/pprof/", 6060},
		{"[2001:DB8:0:0:1:0:0:1]:6060", "http://[2001:db8::1:0:0:1]:6060/debug/pprof/", 6060},
		{"unix:/run/a.sock", "unix:/run/a.sock", 0},
		{"unix:@name", "unix:@name", 0},
		{"unix:" LONG_PATH_107, "unix:" LONG_PATH_107, 0},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct address a;
		const char *why = NULL;
		char printed[160];
		struct line l = LINE(printed);
		if (address_parse(span_of(rows[i].text), &a, &why) != 0)
			fail_msg("%s: %s", rows[i].text, why);
		address_print(&a, &l);
		assert_string_equal(printed, rows[i].printed);
		assert_int_equal(a.port, rows[i].port);
	}
}

static void test_addresses_that_go_would_refuse_are_refused_with_a_reason(void **state)
{
	(void)state;
	static const char *const rows[] = {
		"",
		"6060",
		"localhost",
		"127.0.0.1",
		":",
		"localhost:",
		":-1",
		":+1",
		":65536",
		":6060 ",
		" :6060",
		":http",
		"example.com:6060",
		"1.2.3:6060",
		"1.2.3.4.5:6060",
		"1.2.3.256:6060",
		"01.2.3.4:6060",
		"::1:6060",
		"[::1]",
		"[::1",
		"[::1]6060",
		"[]:6060",
		"[1.2.3.4]:6060",
		"[::1%lo]:6060",
		"OFF",
		"unix:",
		"unix:/",
		"unix:@",
		"unix:relative",
		"unix:" LONG_PATH_107 "8",
		"tcp:1:2",
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct address a;
		const char *why = NULL;
		if (address_parse(span_of(rows[i]), &a, &why) != -EINVAL)
			fail_msg("%s was accepted", rows[i]);
		assert_true(why && why[0] && !strchr(why, '\n'));
	}
	struct address a;
	const char *why;
	assert_int_equal(address_parse(SPAN("unix:/a\0b"), &a, &why), -EINVAL);
}

static void test_ipv6_text_is_read_and_written_in_its_short_form(void **state)
{
	(void)state;
	static const struct {
		const char *text, *printed; /* NULL: refused */
	} rows[] = {
		{"::", "::"},
		{"::1", "::1"},
		{"1::", "1::"},
		{"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
		{"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
		{"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
		{"1:0:0:2:0:0:0:3", "1:0:0:2::3"},
		{"1:0:0:2:3:0:0:4", "1::2:3:0:0:4"},
		{"0:0:0:0:0:0:0:0", "::"},
		{"fe80::ABCD", "fe80::abcd"},
		{"::ffff:1.2.3.4", "::ffff:102:304"},
		{"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"},
		{"0001:0002::", "1:2::"},
		{"", NULL},
		{":", NULL},
		{":::", NULL},
		{"1", NULL},
		{"1:", NULL},
		{":1", NULL},
		{"1::2::3", NULL},
		{"1:2:3:4:5:6:7", NULL},
		{"1:2:3:4:5:6:7:8:9", NULL},
		{"1:2:3:4:5:6:7:8::", NULL},
		{"::1:2:3:4:5:6:7:8", NULL},
		{"1:2:3:4:5:6:7:1.2.3.4", NULL},
		{"1.2.3.4::", NULL},
		{"::1.2.3", NULL},
		{"::1.2.3.4:5", NULL},
		{"12345::", NULL},
		{"g::", NULL},
		{"::1 ", NULL},
		{"1.2.3.4", NULL},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t ip[16];
		char printed[64];
		struct line l = LINE(printed);
		bool ok = ip_parse_v6(span_of(rows[i].text), ip);
		if (ok != (rows[i].printed != NULL))
			fail_msg("%s: %d", rows[i].text, ok);
		if (!ok)
			continue;
		ip_print_v6(ip, &l);
		assert_string_equal(printed, rows[i].printed);
	}
}

static void test_hosts_that_a_rebound_name_cannot_be_are_local(void **state)
{
	(void)state;
	static const struct {
		const char *host;
		bool local;
	} rows[] = {
		{"localhost", 1},
		{"localhost:6060", 1},
		{"LOCALHOST:1", 1},
		{"a.b.localhost:6060", 1},
		{"127.0.0.1", 1},
		{"127.0.0.1:6060", 1},
		{"10.0.0.1:6060", 1},
		{"[::1]", 1},
		{"[::1]:6060", 1},
		{"localhost:", 1},
		{"[::ffff:127.0.0.1]", 1},
		{"", 0},
		{"evil.example", 0},
		{"evil.example:6060", 0},
		{"localhost.evil.example", 0},
		{"notlocalhost", 0},
		{".localhost", 0},
		{"127.0.0.1.evil.example", 0},
		{"127.0.0.1@evil.example", 0},
		{"evil@127.0.0.1", 0},
		{"[::1].evil.example", 0},
		{"[evil.example]", 0},
		{"[::1", 0},
		{"::1", 0},
		{"[", 0},
		{"localhost:80:80", 0},
		{"localhost:x", 0},
		{"localhost:65536", 0},
		{"127.1", 0},
		{"0x7f.0.0.1", 0},
		{"127.0.0.1 ", 0},
		{"a, localhost", 0},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (host_is_local(span_of(rows[i].host)) != rows[i].local)
			fail_msg("%s", rows[i].host);
}

static struct address parsed(const char *text)
{
	struct address a;
	const char *why;
	assert_int_equal(address_parse(span_of(text), &a, &why), 0);
	return a;
}

static void assert_answers(const struct address *a, bool expected)
{
	int fd = socket(a->sa.ss_family, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&a->sa, a->sa_len) == 0, expected);
	close(fd);
}

static void test_a_listening_socket_is_high_nonblocking_and_closed_on_exec(void **state)
{
	(void)state;
	struct address a = parsed("127.0.0.1:0");
	int lowest = dup(0);
	close(lowest);
	int fd = address_listen(&a);
	assert_true(fd > 100);
	assert_int_not_equal(a.port, 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_answers(&a, true);
	int again = dup(0);
	assert_int_equal(again, lowest); /* the program's numbers are as they were */
	close(again);
	close(fd);
}

static void test_a_taken_port_gives_the_next_one(void **state)
{
	(void)state;
	struct address first = parsed("127.0.0.1:0");
	int fd = address_listen(&first);
	assert_true(fd >= 0);
	struct address second = first;
	int other = address_listen(&second);
	assert_true(other >= 0);
	assert_true(second.port > first.port && second.port <= first.port + 10);
	assert_answers(&second, true);
	struct address all = parsed(":0"); /* the wildcard collides with an address as well */
	all.port = first.port;
	((struct sockaddr_in6 *)&all.sa)->sin6_port = ((struct sockaddr_in *)&first.sa)->sin_port;
	int third = address_listen(&all);
	assert_true(third >= 0);
	assert_true(all.port > first.port);
	close(fd);
	close(other);
	close(third);
}

static void test_a_range_without_a_free_port_says_so(void **state)
{
	(void)state;
	int fds[16], n = 0;
	struct address a = parsed("127.0.0.1:65530"), last;
	do {
		assert_true(n < 16);
		last = a;
		fds[n++] = address_listen(&last);
	} while (fds[n - 1] >= 0);
	assert_int_equal(fds[n - 1], -EADDRINUSE); /* and not past 65535 */
	while (n-- > 1)
		close(fds[n - 1]);
}

static void test_an_address_that_is_not_ours_is_an_error(void **state)
{
	(void)state;
	struct address a = parsed("192.0.2.1:0"), off = parsed("off");
	assert_int_equal(address_listen(&a), -EADDRNOTAVAIL);
	assert_int_equal(address_listen(&off), -EINVAL);
}

static void test_a_wildcard_is_reached_by_ipv4(void **state)
{
	(void)state;
	struct address a = parsed(":0");
	int fd = address_listen(&a);
	assert_true(fd >= 0);
	char text[32];
	snprintf(text, sizeof text, "127.0.0.1:%u", a.port);
	struct address v4 = parsed(text);
	assert_answers(&v4, true);
	close(fd);
}

static void test_a_stale_socket_file_is_replaced_and_a_live_one_is_not(void **state)
{
	(void)state;
	char dir[] = "/tmp/test_address.XXXXXX", text[64];
	assert_non_null(mkdtemp(dir));
	snprintf(text, sizeof text, "unix:%s/s", dir);
	struct address a = parsed(text);
	int fd = address_listen(&a);
	assert_true(fd >= 0);
	assert_answers(&a, true);
	assert_int_equal(address_listen(&a), -EADDRINUSE);
	close(fd);
	assert_answers(&a, false);
	fd = address_listen(&a);
	assert_true(fd >= 0);
	assert_answers(&a, true);
	close(fd);
	if (geteuid() == 0) { /* another user's */
		assert_int_equal(chown(text + 5, 65534, 65534), 0);
		assert_int_equal(address_listen(&a), -EADDRINUSE);
	}
	unlink(text + 5);

	int file = open(text + 5, O_CREAT | O_WRONLY, 0600); /* not a socket: not ours to remove */
	close(file);
	assert_int_equal(address_listen(&a), -EADDRINUSE);
	assert_int_equal(access(text + 5, F_OK), 0);
	unlink(text + 5);
	rmdir(dir);
}

static void test_an_abstract_socket_answers(void **state)
{
	(void)state;
	char text[64];
	snprintf(text, sizeof text, "unix:@test_address.%d", (int)getpid());
	struct address a = parsed(text);
	int fd = address_listen(&a);
	assert_true(fd >= 0);
	assert_answers(&a, true);
	assert_int_equal(address_listen(&a), -EADDRINUSE);
	close(fd);
}

static void test_an_fd_is_known_by_what_it_refers_to(void **state)
{
	(void)state;
	int fd = fd_raise(socket(AF_INET, SOCK_STREAM, 0));
	struct fd_identity identity = fd_identify(fd);
	assert_true(fd_is(fd, identity));
	int other = socket(AF_INET, SOCK_STREAM, 0);
	assert_false(fd_is(other, identity));
	assert_int_equal(dup2(other, fd), fd);
	assert_false(fd_is(fd, identity));
	close(fd);
	assert_false(fd_is(fd, identity));
	assert_false(fd_is(fd, fd_identify(fd)));
	assert_int_equal(fd_raise(-EMFILE), -EMFILE);
	close(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses_are_parsed_and_printed),
		cmocka_unit_test(test_addresses_that_go_would_refuse_are_refused_with_a_reason),
		cmocka_unit_test(test_ipv6_text_is_read_and_written_in_its_short_form),
		cmocka_unit_test(test_hosts_that_a_rebound_name_cannot_be_are_local),
		cmocka_unit_test(test_a_listening_socket_is_high_nonblocking_and_closed_on_exec),
		cmocka_unit_test(test_a_taken_port_gives_the_next_one),
		cmocka_unit_test(test_a_range_without_a_free_port_says_so),
		cmocka_unit_test(test_an_address_that_is_not_ours_is_an_error),
		cmocka_unit_test(test_a_wildcard_is_reached_by_ipv4),
		cmocka_unit_test(test_a_stale_socket_file_is_replaced_and_a_live_one_is_not),
		cmocka_unit_test(test_an_abstract_socket_answers),
		cmocka_unit_test(test_an_fd_is_known_by_what_it_refers_to),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
