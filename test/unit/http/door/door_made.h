/* door_made.h - what the tests of a door's two sides share: an address of their own, and the rooms around the door.
 *
 * Runs in: test programs. Each includes it once. What the door asks of other rooms is answered here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_DOOR_MADE_H
#define PPROFSHIM_TEST_DOOR_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "http/door/door_state.h"
#include "http/door/status.h"
#include "shim/base/house.h"
#include "shim/base/log.h"
#include "test/unit/support/count.h"

static struct {
	unsigned owned, joined, alone, warnings;
	char name[24], url[120], why[80];
	int adopted_fd;
} told;

void log_warn(const char *line)
{
	assert_non_null(line);
	told.warnings++;
}

void status_take(union protocol_message *m)
{
	protocol_begin(m, PROTOCOL_STATUS);
	m->status.threads = 7;
}

int status_parent(void)
{
	return 1;
}

int status_parent_of(int pid)
{
	return pid ? 1 : 0;
}

static bool own(bool is_last)
{
	(void)is_last;
	told.owned++;
	door_is_open("http://127.0.0.1:1/debug/pprof/");
	return true;
}

static void joined(const char *name, const char *url)
{
	told.joined++;
	snprintf(told.name, sizeof told.name, "%s", name);
	snprintf(told.url, sizeof told.url, "%s", url);
}

static void alone(const char *why)
{
	told.alone++;
	snprintf(told.why, sizeof told.why, "%s", why);
}

static void adopt(int fd)
{
	told.adopted_fd = fd;
}

static const struct door_life life = {.lock = "", .own = own, .joined = joined, .alone = alone, .adopt = adopt};

/* No other process has a door of this name: the lock is a part of it. */
static struct wire_name made_name(struct address *a, char lock[32])
{
	const char *why;
	snprintf(lock, 32, "/test%d", (int)getpid());
	assert_int_equal(address_parse(SPAN("127.0.0.1:6060"), a, &why), 0);
	return wire_name_of(a, lock);
}

/* Let the door do what it has to do now, and what it puts off for less than a second. */
static void turn(void)
{
	struct pollfd there = {.fd = door_fd(), .events = POLLIN};
	unsigned ms = door_rest();
	if (poll(&there, 1, ms && ms < 1000 ? (int)ms : 0) > 0)
		door_ready();
}

/* Returns the kind of the next message; PROTOCOL_BAD: the other side has closed. */
static enum protocol_kind hear(int fd, union protocol_message *m, int *passed_fd)
{
	for (int i = 0; i < 1000; i++) {
		turn();
		long n = wire_receive(fd, m, passed_fd);
		if (n > 0)
			return protocol_kind(m, (size_t)n);
		if (n == 0)
			return PROTOCOL_BAD;
		poll(NULL, 0, 5);
	}
	fail_msg("nothing was said");
	return PROTOCOL_BAD;
}

static void say(int fd, union protocol_message *m, size_t size)
{
	assert_int_equal(wire_send(fd, m, size, -1), 0);
	turn();
}

static void say_kind(int fd, enum protocol_kind kind)
{
	union protocol_message m;
	size_t size = protocol_begin(&m, kind);
	say(fd, &m, size);
}

#endif
