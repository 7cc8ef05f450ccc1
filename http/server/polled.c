/* polled.c - the loop's epoll set.
 *
 * Runs in: listener. No libc but mem*, no errno.
 *
 * The program may close the set, as it may close any descriptor of ours, and may have the number afterwards. So the set
 * is recognised before it is closed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/polled.h"

#include <sys/epoll.h>

#include "http/server/relay.h"
#include "http/server/server_state.h"
#include "shim/base/os.h"

long polled_watch(int op, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event e = {.events = events, .data = {.u64 = tag}};
	return os_call(SYS_epoll_ctl, server.epoll_fd, op, fd, &e);
}

uint64_t polled_tag_of(const struct connection *c)
{
	return (uint64_t)c->generation << 32 | (uint64_t)(c - server.slots);
}

/* A source that has closed is reported all the time, whatever is asked for: so while nothing is, it is not watched. */
void polled_watch_source(struct connection *c, uint32_t events)
{
	struct relay *r = c->x->relay;
	int op = !events ? EPOLL_CTL_DEL : r->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	if (events != r->watched && polled_watch(op, r->fd, events, polled_tag_of(c) + TAG_RELAY) < 0)
		c->state = CONNECTION_OVER;
	r->watched = events;
}

long polled_watch_listen(int op)
{
	return polled_watch(op, server.listen_fd, server.accept_again_ns ? 0 : EPOLLIN, TAG_LISTEN);
}

/* All epoll sets have the same inode, so ours is recognised by its contents: to ask again for events that it has
 * already changes nothing, and another set refuses that. */
static bool is_our_epoll(void)
{
	if (server.epoll_fd < 0)
		return false;
	if (server.wake_fd >= 0 && polled_watch(EPOLL_CTL_MOD, server.wake_fd, EPOLLIN, TAG_WAKE) == 0)
		return true;
	if (server.listen_fd >= 0 && polled_watch_listen(EPOLL_CTL_MOD) == 0)
		return true;
	for (const struct connection *c = server.slots; c < server.slots + SLOTS; c++)
		if (c->state != CONNECTION_FREE &&
		    polled_watch(EPOLL_CTL_MOD, c->fd, c->watched, polled_tag_of(c)) == 0)
			return true;
	return false;
}

/* Close the set, unless it may be the program's. */
void polled_close(void)
{
	if (is_our_epoll())
		os_close(server.epoll_fd);
	server.epoll_fd = -1;
}

static void add(struct connection *c)
{
	polled_watch(EPOLL_CTL_ADD, c->fd, c->watched, polled_tag_of(c));
	if (c->state != CONNECTION_RELAY)
		return;
	uint32_t events = c->x->relay->watched;
	c->x->relay->watched = 0;
	polled_watch_source(c, events);
}

/* Make a new set with all our descriptors. Returns 0, or a negative errno. */
int polled_open(void)
{
	server.epoll_fd = fd_raise((int)os_call(SYS_epoll_create1, EPOLL_CLOEXEC));
	if (server.epoll_fd < 0)
		return server.epoll_fd;
	if (server.wake_fd >= 0)
		polled_watch(EPOLL_CTL_ADD, server.wake_fd, EPOLLIN, TAG_WAKE);
	if (server.end_fd >= 0)
		polled_watch(EPOLL_CTL_ADD, server.end_fd, EPOLLIN, TAG_END);
	if (server.listen_fd >= 0)
		polled_watch_listen(EPOLL_CTL_ADD);
	if (server.side_fd >= 0)
		polled_watch(EPOLL_CTL_ADD, server.side_fd, EPOLLIN, TAG_SIDE);
	for (struct connection *c = server.slots; c < server.slots + SLOTS; c++)
		if (c->state != CONNECTION_FREE)
			add(c);
	return 0;
}

void polled_renew(void)
{
	polled_close();
	if (polled_open() < 0)
		server.stopping = true;
}
