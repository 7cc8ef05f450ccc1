/* slots.c - the clients of the loop: which are served, which are refused, and which give way.
 *
 * Runs in: listener; slots_reset_socket in a signal handler that interrupted it, too. No libc but mem*, no errno,
 * nothing blocks.
 *
 * At most LIMIT_CONNECTIONS clients are served. One more takes the place of the connection that has been longest
 * without a complete request, or whose client does not read its answer. If handlers are at work for all of them, it is
 * answered with 503. That takes a slot of its own: a close with the request unread would reset the connection before
 * the client has seen the answer. Only if LIMIT_REFUSALS such slots are in use, a client is closed at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/slots.h"

#include <sys/epoll.h>

#include "http/server/polled.h"
#include "http/server/relay.h"
#include "http/server/server_state.h"
#include "shim/base/os.h"

bool slots_own(const struct connection *c)
{
	return fd_is(c->fd, c->identity);
}

/* Free the slot, without closing its descriptor or calling its handler. */
void slots_forget(struct connection *c)
{
	c->x = NULL;
	c->secure = NULL; /* in a fork child it is the parent's */
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
	relay_close(c);
	connection_free_secure(c);
	slots_forget(c);
}

/* End TCP without TIME_WAIT and without unsent data, even if another process holds the socket. */
void slots_reset_socket(int fd)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	os_call(SYS_connect, fd, &none, sizeof none);
}

static void close_connection(struct connection *c)
{
	if (slots_own(c)) {
		polled_watch(EPOLL_CTL_DEL, c->fd, 0, 0);
		if (c->reset)
			slots_reset_socket(c->fd);
		os_call(SYS_shutdown, c->fd, SHUT_RDWR);
		os_close(c->fd);
	}
	free_slot(c);
}

void slots_reset(struct connection *c)
{
	if (c->state == CONNECTION_FREE)
		return;
	c->reset = true;
	close_connection(c);
}

/* After a step of c: close it, or watch for the events that it waits for now. */
void slots_settle(struct connection *c)
{
	uint32_t wanted = connection_interest(c);
	if (c->state == CONNECTION_FREE)
		return;
	if (c->state != CONNECTION_OVER && wanted != c->watched) {
		if (polled_watch(EPOLL_CTL_MOD, c->fd, wanted, polled_tag_of(c)) < 0)
			c->state = CONNECTION_OVER;
		c->watched = wanted;
	}
	if (c->state == CONNECTION_RELAY)
		polled_watch_source(c, relay_source_interest(c));
	if (c->state == CONNECTION_OVER)
		close_connection(c);
}

/* The program has the number now. The old set may still report our socket for it (a fork child's copy keeps it alive),
 * and the socket cannot be deregistered. So a new set replaces the old one. */
void slots_disown(struct connection *c)
{
	free_slot(c);
	polled_renew();
}

void slots_on_event(uint64_t tag, uint32_t events)
{
	bool of_source = (uint32_t)tag >= TAG_RELAY;
	struct connection *c = &server.slots[(uint32_t)tag - (of_source ? TAG_RELAY : 0)];
	if (c->state == CONNECTION_FREE || c->generation != tag >> 32 || (of_source && c->state != CONNECTION_RELAY))
		return; /* it was closed, or has its answer, since the event was reported */
	if (!slots_own(c)) {
		slots_disown(c);
		return;
	}
	if (of_source)
		relay_source_ready(c, events);
	else
		connection_ready(c, events);
	slots_settle(c);
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

static void admit(int fd, bool is_passed)
{
	struct connection *const refusals = server.slots + LIMIT_CONNECTIONS;
	struct connection *c = find_free(server.slots, refusals);
	if (!c)
		c = evict_idlest();
	bool served = c != NULL;
	if (!c && !server.secure) /* an answer would take a handshake */
		c = find_free(refusals, refusals + LIMIT_REFUSALS);
	if (!c) {
		os_close(fd);
		return;
	}
	if (served && is_passed)
		connection_open_passed(c, fd);
	else if (served)
		connection_open(c, fd, server.loopback, server.secure);
	else
		connection_refuse(c, fd);
	c->watched = connection_interest(c);
	if (polled_watch(EPOLL_CTL_ADD, fd, c->watched, polled_tag_of(c)) < 0)
		c->state = CONNECTION_OVER;
	slots_settle(c);
}

void slots_admit(int fd)
{
	admit(fd, false);
}

void slots_admit_passed(int fd)
{
	admit(fd, true);
}
