/* server.c - the event loop: accepts clients, lets each move on when it can, keeps their deadlines.
 *
 * Runs in: listener, which is a bare clone(2) thread. So: no libc but mem*, no errno, nothing blocks but
 * epoll_pwait; without clients that waits for ever.
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

#include "http/server/polled.h"
#include "http/server/relay.h"
#include "http/server/server_state.h"
#include "http/server/slots.h"
#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"

enum {
	EVENTS_AT_ONCE = 2 * SLOTS + 4, /* all there can be: see expire */
	ACCEPT_AT_ONCE = 16,
};

struct server server;

static uint64_t now_ns(void)
{
	return os_clock_ns(CLOCK_MONOTONIC);
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
	polled_watch_listen(EPOLL_CTL_MOD);
}

static void resume_accepting(void)
{
	server.accept_again_ns = 0;
	polled_watch_listen(EPOLL_CTL_MOD);
}

/* A child's copy would keep the port, so a shutdown ends the listening for all copies. */
static void close_listen(void)
{
	if (server.listen_fd >= 0 && fd_is(server.listen_fd, server.listen_identity)) {
		polled_watch(EPOLL_CTL_DEL, server.listen_fd, 0, 0);
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
	slots_admit(high);
	return true;
}

static void on_listen(void)
{
	if (server.listen_fd < 0)
		return;
	if (!fd_is(server.listen_fd, server.listen_identity)) { /* closed by the program: not ours any more */
		server.listen_fd = -1;
		polled_renew(); /* see slots_disown */
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
		slots_reset(c);
	close_listen();
}

void server_move(int fd, const struct address *address)
{
	close_everything();
	set_listen(fd, address);
	if (fd >= 0)
		polled_watch_listen(EPOLL_CTL_ADD);
}

/* The sockets are left to the loop, which may have been using one: server_move closes them. */
void server_leave_port(void)
{
	if (server.listen_fd >= 0)
		os_call(SYS_shutdown, server.listen_fd, SHUT_RDWR);
	for (struct connection *c = server.slots; c < server.slots + SLOTS; c++)
		if (word_load_relaxed(&c->state) != CONNECTION_FREE)
			slots_reset_socket(c->fd);
}

void server_adopt(int fd)
{
	slots_admit_passed(fd_raise(fd));
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
		if (!slots_own(c)) {
			slots_disown(c);
			continue;
		}
		connection_expire(c);
		slots_settle(c);
	}
}

static void on_wake(int fd, uint32_t events)
{
	if (events & EPOLLIN)
		server.wake();
	else
		polled_watch(EPOLL_CTL_DEL, fd, 0, 0); /* it is broken, and would wake us for ever */
}

static void on_side(uint32_t events)
{
	if (events & EPOLLIN)
		server.side();
	else
		polled_watch(EPOLL_CTL_DEL, server.side_fd, 0, 0);
}

static void dispatch(const struct epoll_event *e)
{
	switch ((uint32_t)e->data.u64) {
	case TAG_LISTEN: on_listen(); break;
	case TAG_WAKE: on_wake(server.wake_fd, e->events); break;
	case TAG_END: on_wake(server.end_fd, e->events); break;
	case TAG_SIDE: on_side(e->events); break;
	default: slots_on_event(e->data.u64, e->events);
	}
}

/* In a fork child: close the copies of the parent's sockets, without a shutdown, which would affect the parent. (If the
 * listener has a table of its own, the child has no copies, and nothing is closed.) In the place of a listener that
 * ended in the same process: end what its requests began, too, or a profile would go on for ever. */
static void give_back_inherited(const struct server_options *options)
{
	if (!server.running)
		return;
	polled_close();
	for (struct connection *c = server.slots; c < server.slots + SLOTS; c++) {
		if (c->state == CONNECTION_FREE)
			continue;
		if (slots_own(c))
			os_close(c->fd);
		if (c->x && c->x->abandon && server.generation == shared_load_relaxed(&house.generation))
			c->x->abandon(c->x); /* else its handler's resources belong to the parent */
		relay_close(c);
		slots_forget(c);
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
	server.side_fd = options->side ? options->side_fd : -1;
	server.wake = options->wake;
	server.secure = options->secure;
	server.side = options->side;
	set_listen(options->listen_fd, &options->address);
	server.running = true;
	server.generation = shared_load_relaxed(&house.generation);
	if (polled_open() < 0)
		server.stopping = true;
	if (options->begin)
		options->begin();
	rest(options->rest);
	while (!server.stopping) {
		long n = os_call(SYS_epoll_pwait, server.epoll_fd, events, EVENTS_AT_ONCE, time_left(), 0, 8);
		if (n == -EBADF || n == -EINVAL) { /* the program closed the set, or has the number now */
			polled_renew();
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
	polled_close();
	close_everything();
	server.running = false;
}
