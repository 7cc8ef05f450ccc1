/* connection.c - one client: reads requests, has them answered, sends the answers.
 *
 * Runs in: listener, between two waits of the event loop. Nothing here blocks: every read and write is one non-blocking
 * system call, and then the loop takes the next client. So no client holds up another.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/connection.h"

#include <asm/ioctls.h>
#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "http/server/access.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"

enum {
	CHUNKS_AT_ONCE = 16,
	DRAIN_AT_ONCE = 16,
	SCRATCH = 2048, /* on the listener's small stack */
};

struct server_deadlines server_deadlines = {
	.head_ms = 10 * 1000,
	.body_ms = 30 * 1000,
	.idle_ms = 60 * 1000,
	.write_ms = 60 * 1000,
	.write_large_ms = 15 * 1000,
	.write_gives_way_ms = 5 * 1000,
	.linger_ms = 5 * 1000,
	.accept_pause_ms = 500,
};

static uint64_t now_ns(void)
{
	return os_clock_ns(CLOCK_MONOTONIC);
}

static void enter(struct connection *c, enum connection_state state, uint32_t deadline_ms)
{
	c->state = state;
	c->deadline_ns = now_ns() + deadline_ms * UINT64_C(1000000);
}

static void end(struct connection *c)
{
	c->state = CONNECTION_OVER;
}

static long receive(struct connection *c, void *to, size_t room)
{
	return os_call(SYS_recvfrom, c->fd, to, room, MSG_DONTWAIT, 0, 0);
}

/* After a receive: is there no data yet? Any other result without data ends the connection. */
static bool must_wait(long received)
{
	return received == -EAGAIN || received == -EINTR;
}

static void tell(const struct connection *c, bool is_whole)
{
	struct access a = {.peer = &c->peer, .bytes = c->bytes, .ns = now_ns() - c->begin_ns, .is_whole = is_whole};
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
static void linger(struct connection *c)
{
	os_call(SYS_shutdown, c->fd, SHUT_WR);
	c->drained = 0;
	enter(c, CONNECTION_LINGER, server_deadlines.linger_ms);
}

static void drain(struct connection *c)
{
	char scratch[SCRATCH];
	for (int i = 0; i < DRAIN_AT_ONCE; i++) {
		long n = receive(c, scratch, sizeof scratch);
		if (must_wait(n))
			return;
		if (n <= 0 || (c->drained += (uint64_t)n) > LIMIT_DRAIN) {
			end(c);
			return;
		}
	}
}

/* ---- the answer ---- */

static void begin_head(struct connection *c);

/* Returns the bytes in the kernel's queue that the client has not taken. */
static int count_unsent(const struct connection *c)
{
	int n = 0;
	os_call(SYS_ioctl, c->fd, SIOCOUTQ, &n);
	return n;
}

static void enter_write(struct connection *c)
{
	bool is_large = c->answer.bytes + c->region.bytes > LIMIT_SMALL_ANSWER;
	c->unsent = count_unsent(c);
	c->moved_ns = now_ns();
	enter(c, CONNECTION_WRITE, is_large ? server_deadlines.write_large_ms : server_deadlines.write_ms);
}

/* Nothing could be written up to the deadline. But the kernel lets us write again only when a good part of a large
 * queue is gone, so a slow client that takes something from the queue may go on. */
static void expire_write(struct connection *c)
{
	if (count_unsent(c) < c->unsent) {
		enter_write(c);
		return;
	}
	c->reset = true;
	end(c);
}

static void finish_answer(struct connection *c)
{
	tell(c, true);
	c->bytes = 0;
	c->ready_made = 0;
	c->since_ns = now_ns();
	region_release(&c->answer);
	if (c->last) {
		c->x = NULL;
		region_release(&c->region);
		linger(c);
		return;
	}
	begin_head(c);
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

static long send_chunks(struct connection *c)
{
	struct iovec parts[CHUNKS_AT_ONCE];
	size_t skip = c->chunk_sent, n = 0;
	for (const struct out_chunk *p = c->chunk; p && n < CHUNKS_AT_ONCE; p = p->next, skip = 0)
		parts[n++] = (struct iovec){(char *)p->bytes + skip, p->used - skip};
	struct msghdr m = {.msg_iov = parts, .msg_iovlen = n};
	return os_call(SYS_sendmsg, c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
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
	end(c);
	return false;
}

static void send_answer(struct connection *c)
{
	long n = send_chunks(c);
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n < 0) {
		end(c);
		return;
	}
	advance(c, (size_t)n);
	if (c->chunk || make_part(c))
		enter_write(c);
	else if (c->state != CONNECTION_OVER)
		finish_answer(c);
}

static void begin_send(struct connection *c, const struct out_chunk *first)
{
	c->chunk = first;
	c->chunk_sent = 0;
	enter_write(c);
	send_answer(c);
}

static void send_out_of_memory(struct connection *c)
{
	c->last = true;
	c->ready_made = 503;
	if (c->x)
		c->x->answer.body.more = NULL;
	begin_send(c, response_out_of_memory());
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

static void begin_answer(struct connection *c)
{
	struct exchange *x = c->x;
	const struct response_end how = {
		.close = c->last,
		.http10 = x->request.http10,
		.head_only = x->request.method == METHOD_HEAD,
	};
	const struct out_chunk *first = response_finish(&x->answer, how);
	if (first)
		begin_send(c, move_answer(c, first));
	else
		send_out_of_memory(c);
}

/* The client broke the protocol, so its next bytes cannot be understood: answer, and read no further request. */
static void answer_broken(struct connection *c, unsigned status, const char *text)
{
	c->last = true;
	response_error(&c->x->answer, status, text);
	begin_answer(c);
}

/* ---- the request ---- */

/* After a handler has run: send its answer, or wait for its next time. */
static void follow_handler(struct connection *c)
{
	if (c->x->resume) {
		c->deadline_ns = c->x->resume_ns;
		c->state = CONNECTION_WAIT;
	} else {
		begin_answer(c);
	}
}

static void work(void *arg)
{
	struct connection *c = arg;
	c->handler(c->x);
}

/* Run a handler. One that takes long gives way to other clients, and continues after their turn. */
static void go_on(struct connection *c)
{
	pace_go_on(&c->task);
	if (!c->task.is_done) {
		c->deadline_ns = c->task.again_ns;
		c->state = CONNECTION_WAIT;
		return;
	}
	pace_end(&c->task);
	follow_handler(c);
}

static void begin_work(struct connection *c, void (*handler)(struct exchange *x))
{
	c->handler = handler;
	if (pace_start(&c->task, work, c)) {
		go_on(c);
		return;
	}
	handler(c->x); /* without memory for a stack it runs to its end at once */
	follow_handler(c);
}

static void run_handler(struct connection *c)
{
	c->last = !c->x->request.keep_alive;
	c->request = region_mark(&c->region);
	begin_work(c, endpoint_answer);
}

static void say_continue(struct connection *c)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	long n = os_call(SYS_sendto, c->fd, text, sizeof text - 1, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	if (n > 0 && (size_t)n < sizeof text - 1)
		end(c); /* half of it was sent: no answer can follow. (If none was, the client soon sends anyway.) */
}

/* The head is complete, with head_len bytes: place the bytes of the body that have come. Only a POST's body is kept. */
static void begin_body(struct connection *c, size_t head_len)
{
	struct exchange *x = c->x;
	size_t want = x->request.content_length;
	size_t have = x->input_len - head_len < want ? x->input_len - head_len : want;
	x->consumed = head_len + have;
	x->body_len = have;
	if (want && x->request.method == METHOD_POST) {
		x->body = region_alloc(&c->region, want);
		if (!x->body) {
			answer_broken(c, 503, TEXT_OUT_OF_MEMORY);
			return;
		}
		memcpy(x->body, x->input + head_len, have);
	}
	if (have == want) {
		run_handler(c);
		return;
	}
	enter(c, CONNECTION_BODY, server_deadlines.body_ms);
	if (x->request.expect_continue && have == 0)
		say_continue(c);
}

static void read_body(struct connection *c)
{
	char scratch[SCRATCH];
	struct exchange *x = c->x;
	size_t left = x->request.content_length - x->body_len;
	char *to = x->body ? x->body + x->body_len : scratch;
	long n = receive(c, to, x->body || left < SCRATCH ? left : SCRATCH);
	if (must_wait(n))
		return;
	if (n <= 0) {
		end(c);
		return;
	}
	x->body_len += (size_t)n;
	if (x->body_len == x->request.content_length)
		run_handler(c);
}

/* Begin a new exchange in a new region. False: no memory. */
static bool begin_exchange(struct connection *c)
{
	c->begin_ns = now_ns();
	c->x = region_alloc(&c->region, sizeof *c->x);
	if (!c->x)
		return false;
	c->x->region = &c->region;
	c->x->loopback = c->loopback;
	c->x->peer = c->peer;
	response_init(&c->x->answer, &c->region);
	return true;
}

/* Begin to wait for the next request. If some of its bytes came with the last one, they move to its region, and a
 * deadline that is now makes the loop come back to them after the other clients. */
static void begin_head(struct connection *c)
{
	struct exchange *done = c->x;
	struct region old = c->region;
	c->request = (struct region_mark){0};
	size_t rest = done->input_len - done->consumed;
	c->x = NULL;
	c->region = (struct region){0};
	if (rest == 0) {
		enter(c, CONNECTION_IDLE, server_deadlines.idle_ms);
	} else if (begin_exchange(c)) {
		memcpy(c->x->input, done->input + done->consumed, rest);
		c->x->input_len = rest;
		c->pending = true;
		enter(c, CONNECTION_HEAD, 0);
	} else {
		send_out_of_memory(c);
	}
	region_release(&old);
}

static void parse_head(struct connection *c)
{
	struct exchange *x = c->x;
	long n = request_parse(&x->request, x->input, x->input_len);
	if (c->pending)
		enter(c, CONNECTION_HEAD, server_deadlines.head_ms);
	c->pending = false;
	if (n == REQUEST_BAD)
		answer_broken(c, x->request.status, x->request.reason);
	else if (n > 0)
		begin_body(c, (size_t)n);
}

static void read_head(struct connection *c)
{
	if (c->state == CONNECTION_IDLE)
		enter(c, CONNECTION_HEAD, server_deadlines.head_ms);
	if (!c->x && !begin_exchange(c)) {
		send_out_of_memory(c);
		return;
	}
	struct exchange *x = c->x;
	long n = receive(c, x->input + x->input_len, sizeof x->input - x->input_len);
	if (must_wait(n))
		return;
	if (n <= 0) {
		end(c);
		return;
	}
	x->input_len += (size_t)n;
	parse_head(c);
}

/* ---- what the loop calls ---- */

static void take_slot(struct connection *c, int fd, bool loopback, uint32_t generation)
{
	*c = (struct connection){
		.fd = fd,
		.identity = fd_identify(fd),
		.generation = generation,
		.loopback = loopback,
		.peer = peer_of(fd),
		.since_ns = now_ns(),
	};
	shared_fence_compiler();
}

void connection_open(struct connection *c, int fd, bool loopback)
{
	take_slot(c, fd, loopback, c->generation + 1);
	enter(c, CONNECTION_HEAD, server_deadlines.head_ms);
}

void connection_refuse(struct connection *c, int fd)
{
	take_slot(c, fd, false, c->generation + 1);
	c->begin_ns = c->since_ns;
	c->ready_made = 503;
	c->last = true;
	begin_send(c, response_too_many());
}

void connection_ready(struct connection *c, uint32_t events)
{
	switch (c->state) {
	case CONNECTION_HEAD:
		if (c->pending)
			parse_head(c);
		else
			read_head(c);
		break;
	case CONNECTION_IDLE: read_head(c); break;
	case CONNECTION_BODY: read_body(c); break;
	case CONNECTION_WAIT: /* the only event asked for: the client has gone */
		if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
			end(c);
		break;
	case CONNECTION_WRITE: send_answer(c); break;
	case CONNECTION_LINGER: drain(c); break;
	case CONNECTION_FREE:
	case CONNECTION_OVER: break;
	}
}

static void resume_handler(struct connection *c)
{
	struct exchange *x = c->x;
	if (c->task.stack) {
		go_on(c);
		return;
	}
	void (*resume)(struct exchange *) = x->resume;
	x->resume = NULL;
	begin_work(c, resume);
}

void connection_expire(struct connection *c)
{
	switch (c->state) {
	case CONNECTION_HEAD:
	case CONNECTION_BODY:
		if (c->pending)
			parse_head(c);
		else if (c->x || begin_exchange(c))
			answer_broken(c, 408, "request timed out: it did not come in whole");
		else
			send_out_of_memory(c);
		break;
	case CONNECTION_WAIT: resume_handler(c); break;
	case CONNECTION_WRITE: expire_write(c); break;
	case CONNECTION_IDLE:
	case CONNECTION_LINGER:
	case CONNECTION_FREE:
	case CONNECTION_OVER: end(c); break;
	}
}

static uint64_t unread_since(const struct connection *c)
{
	uint64_t patience_ns = server_deadlines.write_gives_way_ms * UINT64_C(1000000);
	return c->moved_ns + patience_ns < now_ns() && count_unsent(c) >= c->unsent ? c->moved_ns : 0;
}

uint64_t connection_idle_since(const struct connection *c)
{
	switch (c->state) {
	case CONNECTION_HEAD:
	case CONNECTION_BODY:
	case CONNECTION_IDLE:
	case CONNECTION_LINGER: return c->since_ns;
	case CONNECTION_WRITE: return unread_since(c);
	case CONNECTION_WAIT:
	case CONNECTION_FREE:
	case CONNECTION_OVER: break;
	}
	return 0;
}

uint32_t connection_interest(const struct connection *c)
{
	switch (c->state) {
	case CONNECTION_HEAD:
	case CONNECTION_BODY:
	case CONNECTION_IDLE:
	case CONNECTION_LINGER: return EPOLLIN | EPOLLRDHUP;
	case CONNECTION_WAIT: /* not for the next request, which would wake us all the while */ return EPOLLRDHUP;
	case CONNECTION_WRITE: return EPOLLOUT;
	case CONNECTION_FREE:
	case CONNECTION_OVER: break;
	}
	return 0;
}
