/* server.c - the event loop: accepts clients, lets each move on when it can, keeps their deadlines.
 *
 * Runs in: listener, which is a bare clone(2) thread. So: no libc but mem*, no errno, nothing blocks but
 * epoll_pwait; without clients that waits for ever.
 *
 * At most LIMIT_CONNECTIONS clients are served. One more takes the place of the connection that has been longest
 * without a complete request, or whose client does not read its answer. If handlers are at work for all of them, it is
 * answered with 503. That takes a slot of its own: a close with the request unread would reset the connection before
 * the client has seen the answer. Only if LIMIT_REFUSALS such slots are in use, a client is closed at once.
 *
 * The descriptor table may be the program's, and in a fork child the numbers kept here belong to another table. The
 * program may close our descriptors (closefrom). It also forks: a child's copy keeps a socket open, and registered with
 * epoll, after our close. Hence: shut down and deregister before a close, and check what a number refers to before
 * using it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/un.h>

#include "http/server/connection.h"
#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"

enum {
	SLOTS = LIMIT_CONNECTIONS + LIMIT_REFUSALS,
	EVENTS_AT_ONCE = SLOTS + 3, /* all there can be: see expire */
	ACCEPT_AT_ONCE = 16,

	/* epoll's data: the slot's number, the generation above it. Or one of these. */
	TAG_LISTEN = SLOTS,
	TAG_WAKE,
	TAG_END,
};

/* Owned by the listener. In a fork child it first holds the state of the parent's listener. */
static struct {
	bool running;
	bool stopping;
	uint32_t generation; /* of the process that it ran in last (house.h) */
	bool loopback;       /* address is loopback TCP */
	bool peers_checked;  /* address is an abstract socket: no file's permissions protect it */
	int epoll_fd;
	int listen_fd; /* -1: serving nothing */
	int wake_fd;   /* -1: none */
	int end_fd;    /* -1: none */
	struct fd_identity listen_identity;
	uint64_t rest_again_ns;   /* rest() is due then; 0: never */
	uint64_t accept_again_ns; /* not polling listen_fd until then; 0: polling */
	void (*wake)(void);
	struct connection slots[SLOTS];
} server;

static uint64_t now_ns(void)
{
	return os_clock_ns(CLOCK_MONOTONIC);
}

/* ---- the epoll set ---- */

static long watch(int op, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event e = {.events = events, .data = {.u64 = tag}};
	return os_call(SYS_epoll_ctl, server.epoll_fd, op, fd, &e);
}

static uint64_t tag_of(const struct connection *c)
{
	return (uint64_t)c->generation << 32 | (uint64_t)(c - server.slots);
}

static long watch_listen(int op)
{
	return watch(op, server.listen_fd, server.accept_again_ns ? 0 : EPOLLIN, TAG_LISTEN);
}

/* All epoll sets have the same inode, so ours is recognised by its contents: to ask again for events that it has
 * already changes nothing, and another set refuses that. */
static bool is_our_epoll(void)
{
	if (server.epoll_fd < 0)
		return false;
	if (server.wake_fd >= 0 && watch(EPOLL_CTL_MOD, server.wake_fd, EPOLLIN, TAG_WAKE) == 0)
		return true;
	if (server.listen_fd >= 0 && watch_listen(EPOLL_CTL_MOD) == 0)
		return true;
	for (const struct connection *c = server.slots; c < server.slots + SLOTS; c++)
		if (c->state != CONNECTION_FREE && watch(EPOLL_CTL_MOD, c->fd, c->watched, tag_of(c)) == 0)
			return true;
	return false;
}

/* Close the set, unless it may be the program's. */
static void close_epoll(void)
{
	if (is_our_epoll())
		os_close(server.epoll_fd);
	server.epoll_fd = -1;
}

/* Make a new set with all our descriptors. Returns 0, or a negative errno. */
static int open_epoll(void)
{
	server.epoll_fd = fd_raise((int)os_call(SYS_epoll_create1, EPOLL_CLOEXEC));
	if (server.epoll_fd < 0)
		return server.epoll_fd;
	if (server.wake_fd >= 0)
		watch(EPOLL_CTL_ADD, server.wake_fd, EPOLLIN, TAG_WAKE);
	if (server.end_fd >= 0)
		watch(EPOLL_CTL_ADD, server.end_fd, EPOLLIN, TAG_END);
	if (server.listen_fd >= 0)
		watch_listen(EPOLL_CTL_ADD);
	for (struct connection *c = server.slots; c < server.slots + SLOTS; c++)
		if (c->state != CONNECTION_FREE)
			watch(EPOLL_CTL_ADD, c->fd, c->watched, tag_of(c));
	return 0;
}

static void renew_epoll(void)
{
	close_epoll();
	if (open_epoll() < 0)
		server.stopping = true;
}

/* ---- connections ---- */

static bool is_ours(const struct connection *c)
{
	return fd_is(c->fd, c->identity);
}

/* Free the slot, without closing its descriptor or calling its handler. */
static void forget_slot(struct connection *c)
{
	c->x = NULL;
	if (c->task.stack)
		pace_end(&c->task);
	region_release(&c->answer);
	region_release(&c->region);
	c->state = CONNECTION_FREE;
}

static void free_slot(struct connection *c)
{
	struct exchange *x = c->x;
	connection_tell_cut(c);
	if (c->task.stack)
		pace_finish(&c->task);
	if (x && x->abandon)
		x->abandon(x);
	forget_slot(c);
}

/* End TCP without TIME_WAIT and without unsent data, even if another process holds the socket. */
static void reset(int fd)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	os_call(SYS_connect, fd, &none, sizeof none);
}

static void close_connection(struct connection *c)
{
	if (is_ours(c)) {
		watch(EPOLL_CTL_DEL, c->fd, 0, 0);
		if (c->reset)
			reset(c->fd);
		os_call(SYS_shutdown, c->fd, SHUT_RDWR);
		os_close(c->fd);
	}
	free_slot(c);
}

static void reset_connection(struct connection *c)
{
	if (c->state == CONNECTION_FREE)
		return;
	c->reset = true;
	close_connection(c);
}

/* After a step of c: close it, or watch for the events that it waits for now. */
static void settle(struct connection *c)
{
	uint32_t wanted = connection_interest(c);
	if (c->state == CONNECTION_FREE)
		return;
	if (c->state != CONNECTION_OVER && wanted != c->watched) {
		if (watch(EPOLL_CTL_MOD, c->fd, wanted, tag_of(c)) < 0)
			c->state = CONNECTION_OVER;
		c->watched = wanted;
	}
	if (c->state == CONNECTION_OVER)
		close_connection(c);
}

/* The program has the number now. The old set may still report our socket for it (a fork child's copy keeps it alive),
 * and the socket cannot be deregistered. So a new set replaces the old one. */
static void disown(struct connection *c)
{
	free_slot(c);
	renew_epoll();
}

static void on_connection(uint64_t tag, uint32_t events)
{
	struct connection *c = &server.slots[(uint32_t)tag];
	if (c->state == CONNECTION_FREE || c->generation != tag >> 32)
		return; /* it was closed since the event was reported */
	if (!is_ours(c)) {
		disown(c);
		return;
	}
	connection_ready(c, events);
	settle(c);
}

static struct connection *find_free(struct connection *from, struct connection *to)
{
	for (; from < to; from++)
		if (from->state == CONNECTION_FREE)
			return from;
	return NULL;
}

static struct connection *evict_idlest(void)
{
	struct connection *idlest = NULL;
	uint64_t idlest_ns = UINT64_MAX;
	for (struct connection *c = server.slots; c < server.slots + LIMIT_CONNECTIONS; c++) {
		uint64_t since_ns = connection_idle_since(c);
		if (since_ns && since_ns < idlest_ns) {
			idlest = c;
			idlest_ns = since_ns;
		}
	}
	if (!idlest)
		return NULL;
	idlest->reset = idlest->state == CONNECTION_WRITE; /* what it did not read goes with it */
	close_connection(idlest);
	return idlest;
}

static void admit(int fd)
{
	struct connection *const refusals = server.slots + LIMIT_CONNECTIONS;
	struct connection *c = find_free(server.slots, refusals);
	if (!c)
		c = evict_idlest();
	bool served = c != NULL;
	if (!c)
		c = find_free(refusals, refusals + LIMIT_REFUSALS);
	if (!c) {
		os_close(fd);
		return;
	}
	if (served)
		connection_open(c, fd, server.loopback);
	else
		connection_refuse(c, fd);
	c->watched = connection_interest(c);
	if (watch(EPOLL_CTL_ADD, fd, c->watched, tag_of(c)) < 0)
		c->state = CONNECTION_OVER;
	settle(c);
}

/* ---- the listening socket ---- */

/* Anyone in the network namespace can name an abstract socket: only our own user and root may enter. */
static bool is_welcome(int fd)
{
	struct {
		int32_t pid;
		uint32_t uid, gid;
	} peer; /* struct ucred, which <sys/socket.h> keeps for _GNU_SOURCE */
	socklen_t len = sizeof peer;
	if (!server.peers_checked)
		return true;
	if (os_call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return false;
	return peer.uid == 0 || peer.uid == (uint32_t)os_call(SYS_geteuid, 0);
}

/* No descriptor is left. The client stays in the queue, so polling for it would spin. */
static void pause_accepting(void)
{
	server.accept_again_ns = now_ns() + server_deadlines.accept_pause_ms * UINT64_C(1000000);
	watch_listen(EPOLL_CTL_MOD);
}

static void resume_accepting(void)
{
	server.accept_again_ns = 0;
	watch_listen(EPOLL_CTL_MOD);
}

/* A child's copy would keep the port, so a shutdown ends the listening for all copies. */
static void close_listen(void)
{
	if (server.listen_fd >= 0 && fd_is(server.listen_fd, server.listen_identity)) {
		watch(EPOLL_CTL_DEL, server.listen_fd, 0, 0);
		os_call(SYS_shutdown, server.listen_fd, SHUT_RDWR);
		os_close(server.listen_fd);
	}
	server.listen_fd = -1;
}

/* False: stop accepting for now. */
static bool accept_one(void)
{
	int on = 1;
	long fd = os_call(SYS_accept4, server.listen_fd, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK);
	switch (fd) {
	case -EAGAIN: return false;
	case -EMFILE:
	case -ENFILE:
	case -ENOBUFS:
	case -ENOMEM:
	case -EPERM: /* forbidden by a firewall or a seccomp filter, for a moment or for ever */
	case -ENOSYS: pause_accepting(); return false;
	case -EBADF: /* shut down by another process that holds it: epoll would report that for ever */
	case -EINVAL:
	case -ENOTSOCK: close_listen(); return false;
	}
	if (fd < 0) /* a failure of this client alone (accept(2) passes network errors on) */
		return true;
	int high = fd_raise((int)fd);
	if (!is_welcome(high)) {
		os_close(high);
		return true;
	}
	os_call(SYS_setsockopt, high, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* the head goes with the body */
	admit(high);
	return true;
}

static void on_listen(void)
{
	if (server.listen_fd < 0)
		return;
	if (!fd_is(server.listen_fd, server.listen_identity)) { /* closed by the program: not ours any more */
		server.listen_fd = -1;
		renew_epoll(); /* see disown */
		return;
	}
	for (int i = 0; i < ACCEPT_AT_ONCE && accept_one(); i++)
		;
}

static bool is_abstract(const struct address *a)
{
	return a->kind == ADDRESS_UNIX && ((const struct sockaddr_un *)&a->sa)->sun_path[0] == '\0';
}

static void set_listen(int fd, const struct address *address)
{
	server.listen_fd = fd;
	server.accept_again_ns = 0;
	if (fd < 0)
		return;
	server.listen_identity = fd_identify(fd);
	server.loopback = address_is_loopback(address);
	server.peers_checked = is_abstract(address);
}

static void close_everything(void)
{
	for (struct connection *c = server.slots; c < server.slots + SLOTS; c++)
		reset_connection(c);
	close_listen();
}

void server_move(int fd, const struct address *address)
{
	close_everything();
	set_listen(fd, address);
	if (fd >= 0)
		watch_listen(EPOLL_CTL_ADD);
}

/* The sockets are left to the loop, which may have been using one: server_move closes them. */
void server_leave_port(void)
{
	if (server.listen_fd >= 0)
		os_call(SYS_shutdown, server.listen_fd, SHUT_RDWR);
	for (struct connection *c = server.slots; c < server.slots + SLOTS; c++)
		if (word_load_relaxed(&c->state) != CONNECTION_FREE)
			reset(c->fd);
}

void server_stop(void)
{
	close_everything();
	server.stopping = true;
}

/* ---- the loop ---- */

/* Milliseconds until something is due, rounded up; -1: nothing is. */
static int time_left(void)
{
	uint64_t nearest = server.accept_again_ns ? server.accept_again_ns : UINT64_MAX;
	if (server.rest_again_ns && server.rest_again_ns < nearest)
		nearest = server.rest_again_ns;
	for (const struct connection *c = server.slots; c < server.slots + SLOTS; c++)
		if (c->state != CONNECTION_FREE && c->deadline_ns < nearest)
			nearest = c->deadline_ns;
	if (nearest == UINT64_MAX)
		return -1;
	uint64_t now = now_ns();
	return nearest <= now ? 0 : (int)((nearest - now + 999999) / 1000000);
}

/* `now` is the time at which the last events were reported. If bytes of a client came while a handler was busy past the
 * client's deadline, the next round reads them before it checks the deadline. */
static void expire(uint64_t now)
{
	if (server.accept_again_ns && server.accept_again_ns <= now && server.listen_fd >= 0)
		resume_accepting();
	for (struct connection *c = server.slots; c < server.slots + SLOTS; c++) {
		if (c->state == CONNECTION_FREE || c->deadline_ns > now)
			continue;
		if (!is_ours(c)) {
			disown(c);
			continue;
		}
		connection_expire(c);
		settle(c);
	}
}

static void on_wake(int fd, uint32_t events)
{
	if (events & EPOLLIN)
		server.wake();
	else
		watch(EPOLL_CTL_DEL, fd, 0, 0); /* it is broken, and would wake us for ever */
}

static void dispatch(const struct epoll_event *e)
{
	switch ((uint32_t)e->data.u64) {
	case TAG_LISTEN: on_listen(); break;
	case TAG_WAKE: on_wake(server.wake_fd, e->events); break;
	case TAG_END: on_wake(server.end_fd, e->events); break;
	default: on_connection(e->data.u64, e->events);
	}
}

/* In a fork child: close the copies of the parent's sockets, without a shutdown, which would affect the parent. (If the
 * listener has a table of its own, the child has no copies, and nothing is closed.) In the place of a listener that
 * ended in the same process: end what its requests began, too, or a profile would go on for ever. */
static void give_back_inherited(const struct server_options *options)
{
	if (!server.running)
		return;
	close_epoll();
	for (struct connection *c = server.slots; c < server.slots + SLOTS; c++) {
		if (c->state == CONNECTION_FREE)
			continue;
		if (is_ours(c))
			os_close(c->fd);
		if (c->x && c->x->abandon && server.generation == shared_load_relaxed(&house.generation))
			c->x->abandon(c->x); /* else its handler's resources belong to the parent */
		forget_slot(c);
	}
	if (server.listen_fd >= 0 && server.listen_fd != options->listen_fd &&
	    fd_is(server.listen_fd, server.listen_identity))
		os_close(server.listen_fd);
}

static void rest(unsigned (*work)(void))
{
	unsigned ms = work ? work() : 0;
	server.rest_again_ns = ms ? now_ns() + ms * UINT64_C(1000000) : 0;
}

void server_run(const struct server_options *options)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	give_back_inherited(options);
	server.stopping = false;
	server.wake_fd = options->wake_fd;
	server.end_fd = options->end_fd;
	server.wake = options->wake;
	set_listen(options->listen_fd, &options->address);
	server.running = true;
	server.generation = shared_load_relaxed(&house.generation);
	if (open_epoll() < 0)
		server.stopping = true;
	if (options->begin)
		options->begin();
	while (!server.stopping) {
		long n = os_call(SYS_epoll_pwait, server.epoll_fd, events, EVENTS_AT_ONCE, time_left(), 0, 8);
		if (n == -EBADF || n == -EINVAL) { /* the program closed the set, or has the number now */
			renew_epoll();
			continue;
		}
		if (options->begin)
			options->begin();
		uint64_t now = now_ns();
		for (long i = 0; i < n && !server.stopping; i++)
			dispatch(&events[i]);
		if (!server.stopping)
			expire(now);
		rest(options->rest);
	}
	close_epoll();
	close_everything();
	server.running = false;
}
