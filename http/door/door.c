/* door.c - which role this process has behind the door, and its descriptors.
 *
 * Runs in: listener. No libc but mem*, nothing waits.
 *
 * Binding the socket's name is atomic, so there is one owner. Who finds the name bound connects to it. For a moment
 * nobody may listen there (its owner begins, or ends): then both are tried again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/door/door_state.h"

#include <sys/epoll.h>
#include <sys/resource.h>

#include "shim/base/house.h"

enum {
	EVENTS_AT_ONCE = 32,
	SOON_MS = 50,     /* after the owner's death, all members try at different times within this */
	TRIES_MOST = 100, /* while nobody listens, or too many join at once */
	PORT_MS = 30,     /* between tries to have the port of an owner that has just died */
	PORT_TRIES = 20,
};

struct door door = {.epoll_fd = -1, .fd = -1};

long door_watch(int op, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event e = {.events = events, .data = {.u64 = tag}};
	return os_call(SYS_epoll_ctl, door.epoll_fd, op, fd, &e);
}

void door_drop(int fd, struct fd_identity identity)
{
	if (fd < 0 || !fd_is(fd, identity))
		return;
	door_watch(EPOLL_CTL_DEL, fd, 0, 0);
	os_close(fd);
}

void door_again(unsigned ms)
{
	const uint64_t seed[2] = {door_now_ns(), (uint64_t)os_pid()};
	door.again_ns = seed[0] + (1 + text_hash(seed, sizeof seed) % ms) * UINT64_C(1000000);
}

static void leave_fd(void)
{
	door_drop(door.fd, door.identity);
	door.fd = -1;
}

void door_be_alone(const char *why)
{
	leave_fd();
	door.role = DOOR_ALONE;
	door.again_ns = 0;
	if (door.is_begun)
		door.life.alone(why);
}

void door_seek_soon(void)
{
	leave_fd();
	door.role = DOOR_SEEKING;
	if (door.tries++ > TRIES_MOST)
		door_be_alone("nobody answers at the door");
	else
		door_again(SOON_MS);
}

static void seek(void)
{
	int fd = wire_bind(&door.name);
	bool is_bound = fd >= 0;
	if (fd == -EADDRINUSE)
		fd = wire_connect(&door.name);
	if (fd == -ECONNREFUSED || fd == -EAGAIN) {
		door_seek_soon();
		return;
	}
	if (fd < 0) {
		door_be_alone("the door cannot be had");
		return;
	}
	door.fd = fd;
	door.identity = fd_identify(fd);
	if (is_bound)
		owner_begin(fd);
	else
		door_member_begin(fd);
}

/* Nothing is closed but what is surely ours: a listener before this one had another table, mostly. */
static void begin_anew(void)
{
	door_close();
	door = (struct door){.epoll_fd = -1, .fd = -1, .table = {.own_pid = house_pid()}};
}

/* A door takes descriptors that a process with very few needs for its clients. */
static bool has_descriptors(void)
{
	enum { LEAST = 64 };
	uint64_t limit[2];
	return os_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, limit) < 0 || limit[0] >= LEAST;
}

enum door_role door_open(const struct address *wanted, const struct door_life *life)
{
	begin_anew();
	if (wanted->kind != ADDRESS_TCP || !wanted->port || !has_descriptors())
		return DOOR_NONE;
	door.life = *life;
	door.name = wire_name_of(wanted, life->lock);
	door.epoll_fd = fd_raise((int)os_call(SYS_epoll_create1, EPOLL_CLOEXEC));
	if (door.epoll_fd < 0)
		return door.role = DOOR_NONE;
	seek();
	door.is_begun = true;
	return door.role;
}

enum door_role door_role(void)
{
	return door.role;
}

int door_fd(void)
{
	return door.epoll_fd;
}

void door_is_open(const char *url)
{
	struct line l = LINE(door.url);
	line_str(&l, url);
	if (door.role != DOOR_OWNER || door.is_open)
		return;
	door.is_open = true;
	door.again_ns = 0;
	door_watch(EPOLL_CTL_ADD, door.fd, EPOLLIN, DOOR_TAG);
}

static void dispatch(uint64_t tag)
{
	if (tag != DOOR_TAG)
		owner_hear(tag);
	else if (door.role == DOOR_OWNER)
		owner_accept();
	else
		door_member_hear();
}

void door_ready(void)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	long n = os_call(SYS_epoll_pwait, door.epoll_fd, events, EVENTS_AT_ONCE, 0, 0, 8);
	for (long i = 0; i < n; i++)
		dispatch(events[i].data.u64);
}

static void try_port(void)
{
	bool is_last = door.tries++ >= PORT_TRIES;
	if (door.life.own(is_last))
		return;
	if (is_last) {
		door_close();
		door.role = DOOR_ALONE;
	} else {
		door_again(PORT_MS);
	}
}

static void try_again(uint64_t now_ns)
{
	if (!door.again_ns || door.again_ns > now_ns)
		return;
	door.again_ns = 0;
	if (door.role == DOOR_OWNER)
		try_port();
	else if (door.role == DOOR_SEEKING)
		seek();
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return !a || (b && b < a) ? b : a;
}

unsigned door_rest(void)
{
	if (door.role == DOOR_OWNER)
		owner_follow_identity();
	if (!(door.again_ns || door.sweep_ns || door.accept_ns))
		return 0;
	uint64_t now_ns = door_now_ns();
	try_again(now_ns);
	owner_rest(now_ns);
	uint64_t next_ns = sooner(door.again_ns, sooner(door.sweep_ns, door.accept_ns));
	return !next_ns ? 0 : next_ns <= now_ns ? 1 : (unsigned)((next_ns - now_ns) / 1000000 + 1);
}

void door_close(void)
{
	owner_close();
	leave_fd();
	door.again_ns = 0;
	door.role = DOOR_NONE;
}
