/* test_descriptors.c - what descriptors are: files, pipes, sockets of each family with their peers, epoll.
 *
 * Runs in: its own process, of whose descriptors it asks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/threads/descriptors.c shim/threads/unix_peers.c shim/base/powers.c shim/base/text.c
 * links: shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/threads/descriptors.h"

static struct region region;

static const char *name_of(int fd)
{
	struct descriptor d = {.fd = fd};
	descriptors_name(&region, &d, 1);
	return d.name;
}

/* Bind to any port, and listen, or connect to the port. Returns the descriptor; *port is its own. */
static int internet(int family, int type, const char *address, int to, int *port)
{
	struct sockaddr_storage s = {.ss_family = (sa_family_t)family};
	struct sockaddr_in *v4 = (void *)&s;
	struct sockaddr_in6 *v6 = (void *)&s;
	socklen_t len = family == AF_INET ? sizeof *v4 : sizeof *v6;
	int fd = socket(family, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	assert_int_equal(inet_pton(family, address, family == AF_INET ? (void *)&v4->sin_addr : &v6->sin6_addr), 1);
	v4->sin_port = htons((uint16_t)to); /* at the same place in both */
	assert_int_equal((to ? connect : bind)(fd, (void *)&s, len), 0);
	if (!to && type == SOCK_STREAM)
		assert_int_equal(listen(fd, 5), 0);
	assert_int_equal(getsockname(fd, (void *)&s, &len), 0);
	*port = ntohs(v4->sin_port);
	return fd;
}

static void expect(int fd, const char *format, int one, int other)
{
	char want[128];
	snprintf(want, sizeof want, format, one, other);
	assert_string_equal(name_of(fd), want);
}

static void test_tcp_sockets_have_both_ends(void **state)
{
	(void)state;
	int at, from, any;
	int listener = internet(AF_INET, SOCK_STREAM, "127.0.0.1", 0, &at);
	int client = internet(AF_INET, SOCK_STREAM, "127.0.0.1", at, &from);
	int server = accept(listener, NULL, NULL);
	expect(listener, "tcp 127.0.0.1:%d, listening", at, 0);
	expect(client, "tcp 127.0.0.1:%d, peer 127.0.0.1:%d", from, at);
	expect(server, "tcp 127.0.0.1:%d, peer 127.0.0.1:%d", at, from);
	close(server), close(client), close(listener);
	listener = internet(AF_INET6, SOCK_STREAM, "::", 0, &any);
	if (listener < 0)
		skip(); /* a machine without IPv6 */
	expect(listener, "tcp [::]:%d, listening", any, 0);
	client = internet(AF_INET, SOCK_STREAM, "127.0.0.1", any, &from);
	server = accept(listener, NULL, NULL);
	expect(server, "tcp 127.0.0.1:%d, peer 127.0.0.1:%d", any, from); /* an IPv4 address in an IPv6 socket */
	close(server), close(client), close(listener);
	listener = internet(AF_INET6, SOCK_STREAM, "::1", 0, &any);
	expect(listener, "tcp [::1]:%d, listening", any, 0);
	close(listener);
}

static void test_udp_sockets_have_a_peer_once_they_are_connected(void **state)
{
	(void)state;
	int at, from;
	int one = internet(AF_INET, SOCK_DGRAM, "127.0.0.1", 0, &at);
	int other = internet(AF_INET, SOCK_DGRAM, "127.0.0.1", at, &from);
	expect(one, "udp 127.0.0.1:%d", at, 0);
	expect(other, "udp 127.0.0.1:%d, peer 127.0.0.1:%d", from, at);
	close(one), close(other);
}

static void test_unix_sockets_have_their_path(void **state)
{
	(void)state;
	int pair[2], fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	snprintf(name.sun_path, sizeof name.sun_path, "/tmp/descriptors of %d", (int)getpid());
	assert_int_equal(bind(fd, (void *)&name, sizeof name), 0);
	unlink(name.sun_path);
	expect(fd, "unix /tmp/descriptors of %d", getpid(), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_memory_equal(name_of(pair[0]), "unix socket", 11);
	close(fd), close(pair[0]), close(pair[1]);
}

/* Where there is a filter of system calls, nobody is asked: only the own path is told. */
static void test_unix_sockets_have_their_peer_by_its_path_or_its_number(void **state)
{
	(void)state;
	int at = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct stat s;
	char path[80], want[200];
	int len = snprintf(path, sizeof path, "@abstract of %d", (int)getpid());
	memcpy(name.sun_path + 1, path + 1, (size_t)len - 1);
	socklen_t bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len);
	assert_int_equal(bind(at, (void *)&name, bytes), 0);
	assert_int_equal(listen(at, 5), 0);
	assert_int_equal(connect(client, (void *)&name, bytes), 0);
	int server = accept(at, NULL, NULL);
	snprintf(want, sizeof want, "unix %s, listening", path);
	assert_string_equal(name_of(at), want);
	if (prctl(PR_GET_SECCOMP) == 0) {
		snprintf(want, sizeof want, "unix socket, peer %s", path);
		assert_string_equal(name_of(client), want);
		fstat(client, &s);
		snprintf(want, sizeof want, "unix %s, peer socket:[%lu]", path, (unsigned long)s.st_ino);
		assert_string_equal(name_of(server), want);
	} else {
		assert_string_equal(name_of(client), "unix socket");
	}
	close(at), close(client), close(server);
}

static void test_what_has_no_name_is_told_by_its_kind(void **state)
{
	(void)state;
	int event = eventfd(0, 0);
	assert_string_equal(name_of(event), "eventfd");
	close(event);
}

/* The first five are named, and the others are counted. */
static void test_several_descriptors_are_told_at_once(void **state)
{
	(void)state;
	int null = open("/dev/null", O_RDONLY), event = eventfd(0, 0), many[7], epoll = epoll_create1(0);
	struct epoll_event e = {.events = EPOLLIN};
	struct descriptor targets[] = {{.fd = null}, {.fd = event}, {.fd = 1000000}, {.fd = epoll}};
	struct descriptor d = {.fd = -1, .targets = targets, .target_count = 4, .target_total = 6};
	char want[200];
	descriptors_name(&region, &d, 1);
	snprintf(want, sizeof want, "%d: /dev/null; %d: eventfd; 1000000; %d: epoll; …", null, event, epoll);
	assert_string_equal(d.name, want);
	for (int i = 0; i < 7; i++)
		epoll_ctl(epoll, EPOLL_CTL_ADD, many[i] = eventfd(0, 0), &e);
	assert_memory_equal(name_of(epoll), "epoll of 7 descriptors (", 24);
	const char *rest = strstr(name_of(epoll), "; …)");
	assert_true(rest && !rest[strlen("; …)")]);
	for (int i = 0; i < 7; i++)
		close(many[i]);
	close(null), close(event), close(epoll);
}

static void test_files_pipes_and_epoll(void **state)
{
	(void)state;
	int null = open("/dev/null", O_RDONLY), ends[2], epoll = epoll_create1(0);
	struct epoll_event e = {.events = EPOLLIN};
	assert_int_equal(pipe(ends), 0);
	assert_string_equal(name_of(null), "/dev/null");
	assert_memory_equal(name_of(ends[0]), "pipe:[", 6);
	assert_string_equal(name_of(epoll), "epoll of 0 descriptors");
	epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &e);
	char want[100];
	snprintf(want, sizeof want, "epoll of 1 descriptor (%d: %s)", ends[0], name_of(ends[0]));
	assert_string_equal(name_of(epoll), want);
	close(ends[0]), close(ends[1]), close(null), close(epoll);
	assert_null(name_of(null));
	assert_null(name_of(-1));
}

static void test_many_are_named_at_once_and_some_twice(void **state)
{
	enum { MANY = 300 };
	static struct descriptor d[2 * MANY];
	int pair[MANY][2], at;
	(void)state;
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair[i]), 0);
		d[i].fd = d[MANY + i].fd = pair[i][0];
	}
	d[7].fd = d[MANY + 7].fd = internet(AF_INET, SOCK_STREAM, "127.0.0.1", 0, &at);
	descriptors_name(&region, d, 2 * MANY);
	for (int i = 0; i < 2 * MANY; i++)
		assert_memory_equal(d[i].name, i % MANY == 7 ? "tcp 127.0.0.1:" : "unix socket", 11);
	close(d[7].fd);
	for (int i = 0; i < MANY; i++)
		close(pair[i][0]), close(pair[i][1]);
}

static int release(void **state)
{
	(void)state;
	region_release(&region);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_tcp_sockets_have_both_ends, release),
		cmocka_unit_test_teardown(test_udp_sockets_have_a_peer_once_they_are_connected, release),
		cmocka_unit_test_teardown(test_unix_sockets_have_their_path, release),
		cmocka_unit_test_teardown(test_unix_sockets_have_their_peer_by_its_path_or_its_number, release),
		cmocka_unit_test_teardown(test_what_has_no_name_is_told_by_its_kind, release),
		cmocka_unit_test_teardown(test_several_descriptors_are_told_at_once, release),
		cmocka_unit_test_teardown(test_files_pipes_and_epoll, release),
		cmocka_unit_test_teardown(test_many_are_named_at_once_and_some_twice, release),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
