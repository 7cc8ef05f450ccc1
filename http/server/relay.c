/* relay.c - passes a request on to another process, and its answer to the client.
 *
 * Runs in: listener, between two waits of the event loop. Nothing here blocks: every read and write is one non-blocking
 * system call.
 *
 * The source speaks as our own server does: a length, no chunks. It is not believed: a head that is too long or says no
 * length is 502, and the client never gets more bytes than the head has said.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/relay.h"

#include <sys/epoll.h>
#include <sys/uio.h>

#include "http/server/sending.h"
#include "http/server/steps.h"
#include "shim/base/os.h"

enum {
	HEAD_MOST = 8 * 1024, /* bytes of an answer's head */
	HEAD_ROOM = 64,       /* for the header that is added to it */
};

bool relay_ask(struct exchange *x, int fd, struct span head, uint64_t patience_ms)
{
	struct relay *r = region_alloc(x->region, sizeof *r);
	if (!r)
		return false;
	*r = (struct relay){.fd = fd, .identity = fd_identify(fd), .head = head, .patience_ms = patience_ms};
	if (x->body)
		r->body = (struct span){x->body, x->body_len};
	x->relay = r;
	return true;
}

void relay_close(struct connection *c)
{
	struct relay *r = c->x ? c->x->relay : NULL;
	if (!r)
		return;
	if (fd_is(r->fd, r->identity))
		os_close(r->fd);
	c->x->relay = NULL;
	region_release(&c->answer);
}

/* Nothing of an answer has gone to the client: it gets this error. */
static void fail(struct connection *c, unsigned status, const char *text)
{
	relay_close(c);
	response_error(&c->x->answer, status, text);
	sending_begin(c);
}

/* A part of the answer has gone to the client: only a reset tells that it is not whole. */
static void cut(struct connection *c)
{
	c->reset = true;
	steps_end(c);
}

static void await_source(struct connection *c)
{
	const struct relay *r = c->x->relay;
	if (r->is_headed)
		steps_enter(c, CONNECTION_RELAY, server_deadlines.relay_stall_ms);
}

void relay_begin(struct connection *c)
{
	steps_enter(c, CONNECTION_RELAY, server_deadlines.relay_take_ms);
}

/* ---- the request ---- */

static size_t request_bytes(const struct relay *r)
{
	return r->head.len + r->body.len;
}

static void ask(struct connection *c)
{
	struct relay *r = c->x->relay;
	struct iovec parts[2] = {{(char *)r->head.at, r->head.len}, {(char *)r->body.at, r->body.len}};
	struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
	if (r->asked < r->head.len) {
		parts[0] = (struct iovec){(char *)r->head.at + r->asked, r->head.len - r->asked};
	} else {
		size_t of_body = r->asked - r->head.len;
		parts[1] = (struct iovec){(char *)r->body.at + of_body, r->body.len - of_body};
		m.msg_iov++;
		m.msg_iovlen--;
	}
	long n = os_call(SYS_sendmsg, r->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0)
		r->asked += (size_t)n;
	else if (n != -EAGAIN && n != -EINTR)
		r->asked =
			request_bytes(r); /* what it has answered before it closed, or its end, is still to be read */
}

/* ---- the answer ---- */

static bool waits_for_client(const struct relay *r)
{
	return r->is_headed && r->have > r->given;
}

static void give(struct connection *c)
{
	struct relay *r = c->x->relay;
	const struct iovec part = {r->buffer + r->given, r->have - r->given};
	long n = sending_send(c, &part, 1);
	if (n < 0 && n != -EAGAIN && n != -EINTR) {
		steps_end(c);
		return;
	}
	size_t sent = n > 0 ? (size_t)n : 0;
	c->bytes += sent;
	r->left -= sent;
	r->given += sent;
	if (r->given < r->have) {
		if (sent || !r->is_slow)
			sending_await_client(c, CONNECTION_RELAY);
		r->is_slow = true;
		return;
	}
	r->have = r->given = 0;
	r->is_slow = false;
	if (r->left) {
		await_source(c);
		return;
	}
	relay_close(c);
	sending_finish(c);
}

/* Returns the value of a header in the head; empty: it has none. */
static struct span find_header(struct span head, struct span name)
{
	const char *at = span_find(head, name);
	if (!at)
		return (struct span){0};
	at += name.len;
	struct span rest = {at, head.len - (size_t)(at - head.at)};
	return span_cut(&rest, '\r');
}

/* Our own word on whether the connection goes on, in front of the empty line. */
static size_t add_connection_header(struct connection *c, size_t head_len)
{
	struct relay *r = c->x->relay;
	struct span header = SPAN("");
	if (c->last)
		header = SPAN("Connection: close\r\n");
	else if (c->x->request.http10)
		header = SPAN("Connection: keep-alive\r\n");
	char *end = r->buffer + head_len - 2;
	memmove(end + header.len, end, r->have - head_len + 2);
	memcpy(end, header.at, header.len);
	r->have += header.len;
	return head_len + header.len;
}

/* Returns false if this is no head of an answer as our server makes them. */
static bool take_head(struct connection *c, struct span head)
{
	struct relay *r = c->x->relay;
	uint64_t status, length;
	struct span rest = head, version = span_cut(&rest, ' ');
	if (!span_is(version, "HTTP/1.1") || !text_parse_uint(span_cut(&rest, ' '), 10, &status) || status < 200 ||
	    status > 599 || !text_parse_uint(find_header(head, SPAN("\r\nContent-Length: ")), 10, &length))
		return false;
	bool says_close = find_header(head, SPAN("\r\nConnection: close")).at != NULL;
	c->x->answer.status = (unsigned)status;
	size_t head_len = says_close ? head.len : add_connection_header(c, head.len);
	c->last |= says_close;
	r->is_headed = true;
	r->left = head_len + (c->x->request.method == METHOD_HEAD ? 0 : length);
	return true;
}

/* Returns false if the head is not whole yet, or no good: then the client has its answer. */
static bool read_head(struct connection *c)
{
	struct relay *r = c->x->relay;
	struct span seen = {r->buffer, r->have < HEAD_MOST ? r->have : HEAD_MOST};
	const char *end = span_find(seen, SPAN("\r\n\r\n"));
	if (!end && r->have < HEAD_MOST)
		return false;
	if (end && take_head(c, (struct span){r->buffer, (size_t)(end - r->buffer) + 4}))
		return true;
	fail(c, 502, "pprofshim: the process gave no answer that can be understood");
	return false;
}

static void take(struct connection *c)
{
	struct relay *r = c->x->relay;
	if (!r->buffer && !(r->buffer = region_alloc(&c->answer, RELAY_BUFFER + HEAD_ROOM))) {
		relay_close(c);
		sending_begin_out_of_memory(c);
		return;
	}
	long n = os_call(SYS_recvfrom, r->fd, r->buffer + r->have, RELAY_BUFFER - r->have, MSG_DONTWAIT, 0, 0);
	if (steps_must_wait(n))
		return;
	if (n <= 0 && r->is_headed)
		cut(c);
	else if (n <= 0)
		fail(c, 502, "pprofshim: the process ended before it answered");
	if (n <= 0)
		return;
	r->have += (size_t)n;
	if (!r->is_headed && !read_head(c))
		return;
	if (r->have > r->left)
		r->have = r->left;
	give(c);
}

void relay_source_ready(struct connection *c, uint32_t events)
{
	struct relay *r = c->x->relay;
	if (r->asked < request_bytes(r) && events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		ask(c);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !waits_for_client(r))
		take(c);
}

void relay_client_ready(struct connection *c, uint32_t events)
{
	if (waits_for_client(c->x->relay))
		give(c);
	else if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		steps_end(c);
}

/* A process that has read the whole request runs: it gets the longer deadline, once.
 * Returns false if it has not, or had that before. */
static bool has_time(struct connection *c)
{
	struct relay *r = c->x->relay;
	if (r->is_taken || r->asked < request_bytes(r) || sending_count_unsent(r->fd) > 0)
		return false;
	r->is_taken = true;
	steps_enter(c, CONNECTION_RELAY, 0);
	c->deadline_ns += r->patience_ms * UINT64_C(1000000);
	return true;
}

void relay_expire(struct connection *c)
{
	const struct relay *r = c->x->relay;
	if (waits_for_client(r))
		sending_expire(c);
	else if (r->is_headed)
		cut(c);
	else if (!has_time(c))
		fail(c, 504, "pprofshim: the process did not answer in time; it may be stopped (SIGSTOP) or frozen");
}

uint32_t relay_client_interest(const struct connection *c)
{
	return waits_for_client(c->x->relay) ? EPOLLOUT : EPOLLRDHUP;
}

uint32_t relay_source_interest(const struct connection *c)
{
	const struct relay *r = c->x->relay;
	return (r->asked < request_bytes(r) ? EPOLLOUT : 0) | (waits_for_client(r) ? 0 : EPOLLIN);
}
