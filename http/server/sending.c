/* sending.c - sends the answers of a connection, and waits until the client has seen the last one.
 *
 * Runs in: listener, between two waits of the event loop. Nothing here blocks: every read and write is one non-blocking
 * system call.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/sending.h"

#include <asm/ioctls.h>
#include <linux/sockios.h>
#include <sys/uio.h>

#include "http/server/access.h"
#include "http/server/steps.h"
#include "shim/base/os.h"

enum {
	CHUNKS_AT_ONCE = 16,
	DRAIN_AT_ONCE = 16,
	SCRATCH = 2048, /* on the listener's small stack */
};

static void tell(const struct connection *c, bool is_whole)
{
	if (c->is_passed) /* the owner of the door tells */
		return;
	struct access a = {
		.peer = &c->peer, .bytes = c->bytes, .ns = steps_now_ns() - c->begin_ns, .is_whole = is_whole};
	if (c->x) {
		a.method = c->x->request.method_name;
		a.path = c->x->request.path;
		a.query = c->x->request.query;
		a.user = span_of(c->x->user);
	}
	a.status = c->ready_made || !c->x ? c->ready_made : c->x->answer.status;
	access_tell(&a);
}

void connection_tell_cut(const struct connection *c)
{
	bool is_asked = c->x && (c->x->consumed || c->x->answer.status);
	if (is_asked || c->ready_made)
		tell(c, false);
}

/* ---- the end: the answer has been sent, the client has to see it ---- */

/* Closing a socket with unread bytes resets it, and a reset overtakes the answer. So send no more, and read until the
 * client closes. */
void sending_linger(struct connection *c)
{
	if (c->secure)
		c->layer->say_end(c->secure);
	os_call(SYS_shutdown, c->fd, SHUT_WR);
	c->drained = 0;
	steps_enter(c, CONNECTION_LINGER, server_deadlines.linger_ms);
}

void sending_drain(struct connection *c)
{
	char scratch[SCRATCH];
	for (int i = 0; i < DRAIN_AT_ONCE; i++) {
		long n = os_call(SYS_recvfrom, c->fd, scratch, sizeof scratch, MSG_DONTWAIT, 0, 0);
		if (steps_must_wait(n))
			return;
		if (n <= 0 || (c->drained += (uint64_t)n) > LIMIT_DRAIN) {
			steps_end(c);
			return;
		}
	}
}

/* ---- the answer ---- */

int sending_count_unsent(int fd)
{
	int n = 0;
	os_call(SYS_ioctl, fd, SIOCOUTQ, &n);
	return n;
}

void sending_await_client(struct connection *c, enum connection_state state)
{
	bool is_large = c->answer.bytes + c->region.bytes > LIMIT_SMALL_ANSWER;
	c->unsent = sending_count_unsent(c->fd);
	c->moved_ns = steps_now_ns();
	steps_enter(c, state, is_large ? server_deadlines.write_large_ms : server_deadlines.write_ms);
}

/* Nothing could be written up to the deadline. But the kernel lets us write again only when a good part of a large
 * queue is gone, so a slow client that takes something from the queue may go on. */
void sending_expire(struct connection *c)
{
	if (sending_count_unsent(c->fd) < c->unsent) {
		sending_await_client(c, c->state);
		return;
	}
	c->reset = true;
	steps_end(c);
}

void sending_finish(struct connection *c)
{
	tell(c, true);
	c->bytes = 0;
	c->ready_made = 0;
	c->since_ns = steps_now_ns();
	region_release(&c->answer);
	if (c->last) {
		c->x = NULL;
		region_release(&c->region);
		sending_linger(c);
		return;
	}
	connection_begin_head(c);
}

static void advance(struct connection *c, size_t sent)
{
	c->chunk_sent += sent;
	c->bytes += sent;
	while (c->chunk && c->chunk_sent >= c->chunk->used) {
		c->chunk_sent -= c->chunk->used;
		c->chunk = c->chunk->next;
	}
}

long sending_send(struct connection *c, const struct iovec *parts, size_t n)
{
	struct msghdr m = {.msg_iov = (struct iovec *)parts, .msg_iovlen = n};
	if (c->secure)
		return c->layer->send(c->secure, parts, n);
	return os_call(SYS_sendmsg, c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static long send_chunks(struct connection *c)
{
	struct iovec parts[CHUNKS_AT_ONCE];
	size_t skip = c->chunk_sent, n = 0;
	for (const struct out_chunk *p = c->chunk; p && n < CHUNKS_AT_ONCE; p = p->next, skip = 0)
		parts[n++] = (struct iovec){(char *)p->bytes + skip, p->used - skip};
	return sending_send(c, parts, n);
}

/* Make the next part of an answer that is made while it is sent. False: there is none, or no memory for it, and the
 * connection is reset, as the answer is shorter than its head says. */
static bool make_part(struct connection *c)
{
	struct out *body = c->x ? &c->x->answer.body : NULL;
	if (!body || !body->more)
		return false;
	region_release(&c->answer);
	out_make_part(body, &c->answer);
	c->chunk = body->first;
	c->chunk_sent = 0;
	if (!body->failed)
		return true;
	c->reset = true;
	steps_end(c);
	return false;
}

void sending_go_on(struct connection *c)
{
	long n = send_chunks(c);
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n < 0) {
		steps_end(c);
		return;
	}
	advance(c, (size_t)n);
	if (c->chunk || make_part(c))
		sending_await_client(c, CONNECTION_WRITE);
	else if (c->state != CONNECTION_OVER)
		sending_finish(c);
}

void sending_begin_ready_made(struct connection *c, const struct out_chunk *first)
{
	c->chunk = first;
	c->chunk_sent = 0;
	sending_await_client(c, CONNECTION_WRITE);
	sending_go_on(c);
}

void sending_begin_out_of_memory(struct connection *c)
{
	c->last = true;
	c->ready_made = 503;
	if (c->x)
		c->x->answer.body.more = NULL;
	sending_begin_ready_made(c, response_out_of_memory());
}

static void copy_chunks(struct region *to, const struct out_chunk *from, struct out *copy)
{
	out_init(copy, to);
	for (; from; from = from->next)
		out_bytes(copy, from->bytes, from->used);
}

/* Move a large answer to a region of its own. So a slow client holds only the answer, not the memory that it was made
 * with, which may be ten times as much. */
static const struct out_chunk *move_answer(struct connection *c, const struct out_chunk *first)
{
	enum { SMALL = 256 * 1024 };
	struct out copy;
	if (!c->request.chunk || c->x->answer.body.more || c->region.bytes <= SMALL ||
	    c->region.bytes / 2 < c->x->answer.body.len)
		return first;
	copy_chunks(&c->answer, first, &copy);
	if (copy.failed) {
		region_release(&c->answer);
		return first;
	}
	region_rewind(&c->region, c->request);
	return copy.first;
}

void sending_begin(struct connection *c)
{
	struct exchange *x = c->x;
	const struct response_end how = {
		.close = c->last,
		.http10 = x->request.http10,
		.head_only = x->request.method == METHOD_HEAD,
	};
	const struct out_chunk *first = response_finish(&x->answer, how);
	if (first)
		sending_begin_ready_made(c, move_answer(c, first));
	else
		sending_begin_out_of_memory(c);
}

uint64_t sending_unread_since(const struct connection *c)
{
	uint64_t patience_ns = server_deadlines.write_gives_way_ms * UINT64_C(1000000);
	return c->moved_ns + patience_ns < steps_now_ns() && sending_count_unsent(c->fd) >= c->unsent ? c->moved_ns : 0;
}
