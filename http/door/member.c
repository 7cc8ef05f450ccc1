/* member.c - a process that has joined the door of another one.
 *
 * Runs in: listener. Nothing waits. The owner is of our user, or root: it may ask whatever it likes. What it says is
 * checked all the same.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/epoll.h>

#include "http/door/door_state.h"
#include "http/door/status.h"
#include "shim/base/house.h"

enum { MESSAGES_AT_ONCE = 8 };

/* Whom we join reads our memory's profiles: our own user, or root. */
static bool is_ours(uint32_t uid)
{
	return uid == 0 || uid == (uint32_t)os_call(SYS_geteuid, 0);
}

static bool say_hello(int fd)
{
	union protocol_message m;
	size_t size = protocol_begin(&m, PROTOCOL_HELLO);
	m.hello.pid = house_pid();
	m.hello.listener = os_pid();
	m.hello.parent = status_parent();
	int rc = wire_send(fd, &m, size, -1);
	return rc == 0 || rc == -EPIPE; /* it has closed; why, is what it has sent */
}

void door_member_begin(int fd)
{
	struct wire_peer owner;
	if (!wire_peer_of(fd, &owner) || !is_ours(owner.uid))
		door_be_alone("another user's program has the door");
	else if (!say_hello(fd) || door_watch(EPOLL_CTL_ADD, fd, EPOLLIN, DOOR_TAG) < 0)
		door_seek_soon();
	else
		door.role = DOOR_JOINING;
}

static void tell_status(void)
{
	union protocol_message m;
	status_take(&m);
	wire_send(door.fd, &m, sizeof m.status, -1); /* an owner that does not read gets none */
}

static void take_client(int fd)
{
	union protocol_message m;
	size_t size = protocol_begin(&m, PROTOCOL_TAKEN);
	wire_send(door.fd, &m, size, -1);
	if (fd >= 0)
		door.life.adopt(fd);
}

static void be_refused(uint32_t why)
{
	static const char *const texts[PROTOCOL_REFUSALS] = {
		[PROTOCOL_STRANGER] = "another user's program has the door",
		[PROTOCOL_FULL] = "1000 processes are behind the door already",
		[PROTOCOL_OTHER] = "another version of the library has the door",
	};
	door_be_alone(texts[why]);
}

static void be_welcome(const struct protocol_welcome *w)
{
	door.role = DOOR_MEMBER;
	door.tries = 0;
	door.life.joined(w->name, w->url);
}

static void obey(const union protocol_message *m, enum protocol_kind kind, int passed_fd)
{
	if (kind != PROTOCOL_PASS && passed_fd >= 0)
		os_close(passed_fd);
	if (kind == PROTOCOL_PASS)
		take_client(passed_fd);
	else if (kind == PROTOCOL_ASK)
		tell_status();
	else if (kind == PROTOCOL_REFUSED)
		be_refused(m->refused.why);
	else if (kind == PROTOCOL_WELCOME && door.role == DOOR_JOINING)
		be_welcome(&m->welcome);
	else
		door_be_alone("what has the door does not speak as this library does");
}

void door_member_hear(void)
{
	for (int i = 0; i < MESSAGES_AT_ONCE && (door.role == DOOR_JOINING || door.role == DOOR_MEMBER); i++) {
		union protocol_message m;
		int passed_fd;
		long n = wire_receive(door.fd, &m, &passed_fd);
		if (n == -EAGAIN || n == -EINTR)
			return;
		if (n == -ECONNRESET) /* it closed without reading our hello; why, is what it has sent */
			continue;
		if (n > 0)
			obey(&m, protocol_kind(&m, (size_t)n), passed_fd);
		else
			door_seek_soon(); /* the owner has died: one of its members is the next */
	}
}
