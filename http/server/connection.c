/* connection.c - one client: reads requests and has them answered. sending.c sends the answers.
 *
 * Runs in: listener, between two waits of the event loop. Nothing here blocks: every read and write is one non-blocking
 * system call, and then the loop takes the next client. So no client holds up another.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/connection.h"

#include <sys/epoll.h>

#include "http/server/relay.h"
#include "http/server/sending.h"
#include "http/server/steps.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"

enum {
	SCRATCH = 2048, /* on the listener's small stack */
};

struct server_deadlines server_deadlines = {
	.head_ms = 10 * 1000,
	.body_ms = 30 * 1000,
	.idle_ms = 60 * 1000,
	.write_ms = 60 * 1000,
	.write_large_ms = 15 * 1000,
	.write_gives_way_ms = 5 * 1000,
	.relay_take_ms = 10 * 1000,
	.relay_stall_ms = 15 * 1000,
	.linger_ms = 5 * 1000,
	.accept_pause_ms = 500,
};

/* The client broke the protocol, so its next bytes cannot be understood: answer, and read no further request. */
static void answer_broken(struct connection *c, unsigned status, const char *text)
{
	c->last = true;
	response_error(&c->x->answer, status, text);
	sending_begin(c);
}

/* ---- the request ---- */

/* After a handler has run: send its answer, have another process make it, or wait for the handler's next time. */
static void follow_handler(struct connection *c)
{
	if (c->x->resume) {
		c->deadline_ns = c->x->resume_ns;
		c->state = CONNECTION_WAIT;
	} else if (c->x->relay) {
		relay_begin(c);
	} else {
		sending_begin(c);
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
	const struct iovec part = {(char *)text, sizeof text - 1};
	long n = sending_send(c, &part, 1);
	if (n > 0 ? (size_t)n < sizeof text - 1 : c->secure != NULL)
		steps_end(c); /* half of it was sent: no answer can follow. (If none was, the client soon sends anyway,
		               * but a layer below may keep it for later.) */
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
	steps_enter(c, CONNECTION_BODY, server_deadlines.body_ms);
	if (x->request.expect_continue && have == 0)
		say_continue(c);
}

static void read_body(struct connection *c)
{
	char scratch[SCRATCH];
	struct exchange *x = c->x;
	size_t left = x->request.content_length - x->body_len;
	char *to = x->body ? x->body + x->body_len : scratch;
	long n = steps_receive(c, to, x->body || left < SCRATCH ? left : SCRATCH);
	if (steps_must_wait(n))
		return;
	if (n <= 0) {
		steps_end(c);
		return;
	}
	x->body_len += (size_t)n;
	if (x->body_len == x->request.content_length)
		run_handler(c);
}

/* Begin a new exchange in a new region. False: no memory. */
static bool begin_exchange(struct connection *c)
{
	c->begin_ns = steps_now_ns();
	c->x = region_alloc(&c->region, sizeof *c->x);
	if (!c->x)
		return false;
	c->x->region = &c->region;
	c->x->loopback = c->loopback;
	c->x->is_passed = c->is_passed;
	c->x->peer = c->peer;
	struct line user = LINE(c->x->user);
	if (c->secure)
		line_str(&user, c->layer->user(c->secure));
	response_init(&c->x->answer, &c->region);
	return true;
}

/* Begin to wait for the next request. If some of its bytes came with the last one, they move to its region, and a
 * deadline that is now makes the loop come back to them after the other clients. */
void connection_begin_head(struct connection *c)
{
	struct exchange *done = c->x;
	struct region old = c->region;
	c->request = (struct region_mark){0};
	size_t rest = done->input_len - done->consumed;
	c->x = NULL;
	c->region = (struct region){0};
	if (rest == 0) {
		steps_enter(c, CONNECTION_IDLE, server_deadlines.idle_ms);
	} else if (begin_exchange(c)) {
		memcpy(c->x->input, done->input + done->consumed, rest);
		c->x->input_len = rest;
		c->pending = true;
		steps_enter(c, CONNECTION_HEAD, 0);
	} else {
		sending_begin_out_of_memory(c);
	}
	region_release(&old);
}

static void parse_head(struct connection *c)
{
	struct exchange *x = c->x;
	long n = request_parse(&x->request, x->input, x->input_len);
	if (c->pending)
		steps_enter(c, CONNECTION_HEAD, server_deadlines.head_ms);
	c->pending = false;
	if (n == REQUEST_BAD)
		answer_broken(c, x->request.status, x->request.reason);
	else if (n > 0)
		begin_body(c, (size_t)n);
}

static void read_head(struct connection *c)
{
	if (c->state == CONNECTION_IDLE)
		steps_enter(c, CONNECTION_HEAD, server_deadlines.head_ms);
	if (!c->x && !begin_exchange(c)) {
		sending_begin_out_of_memory(c);
		return;
	}
	struct exchange *x = c->x;
	long n = steps_receive(c, x->input + x->input_len, sizeof x->input - x->input_len);
	if (steps_must_wait(n))
		return;
	if (n <= 0) {
		steps_end(c);
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
		.since_ns = steps_now_ns(),
	};
	shared_fence_compiler();
}

static void open_secure(struct connection *c, const struct secure_layer *layer)
{
	steps_enter(c, CONNECTION_HANDSHAKE, server_deadlines.head_ms);
	c->layer = layer;
	c->secure = layer->open(c->fd);
	if (!c->secure)
		steps_end(c);
}

void connection_open(struct connection *c, int fd, bool loopback, const struct secure_layer *layer)
{
	take_slot(c, fd, loopback, c->generation + 1);
	if (layer)
		open_secure(c, layer);
	else
		steps_enter(c, CONNECTION_HEAD, server_deadlines.head_ms);
}

void connection_free_secure(struct connection *c)
{
	if (c->secure)
		c->layer->close(c->secure);
	c->secure = NULL;
}

void connection_open_passed(struct connection *c, int fd)
{
	connection_open(c, fd, false, NULL);
	c->is_passed = true;
}

void connection_refuse(struct connection *c, int fd)
{
	take_slot(c, fd, false, c->generation + 1);
	c->begin_ns = c->since_ns;
	c->ready_made = 503;
	c->last = true;
	sending_begin_ready_made(c, response_too_many());
}

static void answer_plain(struct connection *c)
{
	connection_free_secure(c);
	c->begin_ns = c->since_ns;
	c->ready_made = 400;
	c->last = true;
	sending_begin_ready_made(c, response_wants_tls());
}

/* (The deadline stays: it is for the handshake and the first head together.) */
static void shake_hands(struct connection *c)
{
	switch (c->layer->shake_hands(c->secure)) {
	case SECURE_WAITS: break;
	case SECURE_READY: c->state = CONNECTION_HEAD; break;
	case SECURE_FAILED: sending_linger(c); break;
	case SECURE_PLAIN: answer_plain(c); break;
	}
}

void connection_ready(struct connection *c, uint32_t events)
{
	switch (c->state) {
	case CONNECTION_HANDSHAKE: shake_hands(c); break;
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
			steps_end(c);
		break;
	case CONNECTION_WRITE: sending_go_on(c); break;
	case CONNECTION_RELAY: relay_client_ready(c, events); break;
	case CONNECTION_LINGER: sending_drain(c); break;
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
			sending_begin_out_of_memory(c);
		break;
	case CONNECTION_WAIT: resume_handler(c); break;
	case CONNECTION_WRITE: sending_expire(c); break;
	case CONNECTION_RELAY: relay_expire(c); break;
	case CONNECTION_HANDSHAKE:
	case CONNECTION_IDLE:
	case CONNECTION_LINGER:
	case CONNECTION_FREE:
	case CONNECTION_OVER: steps_end(c); break;
	}
}

uint64_t connection_idle_since(const struct connection *c)
{
	switch (c->state) {
	case CONNECTION_HANDSHAKE:
	case CONNECTION_HEAD:
	case CONNECTION_BODY:
	case CONNECTION_IDLE:
	case CONNECTION_LINGER: return c->since_ns;
	case CONNECTION_WRITE: return sending_unread_since(c);
	case CONNECTION_RELAY: return relay_client_interest(c) == EPOLLOUT ? sending_unread_since(c) : 0;
	case CONNECTION_WAIT:
	case CONNECTION_FREE:
	case CONNECTION_OVER: break;
	}
	return 0;
}

uint32_t connection_interest(const struct connection *c)
{
	switch (c->state) {
	case CONNECTION_HANDSHAKE:
	case CONNECTION_HEAD:
	case CONNECTION_BODY:
	case CONNECTION_IDLE: return c->secure ? c->layer->interest(c->secure) : EPOLLIN | EPOLLRDHUP;
	case CONNECTION_LINGER: return EPOLLIN | EPOLLRDHUP;
	case CONNECTION_WAIT: /* not for the next request, which would wake us all the while */ return EPOLLRDHUP;
	case CONNECTION_WRITE: return EPOLLOUT;
	case CONNECTION_RELAY: return relay_client_interest(c);
	case CONNECTION_FREE:
	case CONNECTION_OVER: break;
	}
	return 0;
}
