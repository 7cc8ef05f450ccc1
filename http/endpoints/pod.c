/* pod.c - /pod/debug/pprof/…: a profile of all processes behind the door.
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits: a handler that needs time sets
 * x->resume and returns.
 *
 *   ask all how they are ─► a connection and a request to each, ourselves too ─► our own answer begins
 *        ─► the helper gets the connections, reads and merges ─► its answer is passed on to the client (relay.h)
 *
 * We wait for our own answer first, because it may need the helper for names, and there is one at a time. The others'
 * answers wait in their connections.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/pod.h"

#include <poll.h>
#include <sys/uio.h>

#include "encoder/encoder.h"
#include "http/address/fd.h"
#include "http/door/door.h"
#include "http/endpoints/answer.h"
#include "http/endpoints/parameters.h"
#include "http/endpoints/processes.h"
#include "http/server/relay.h"
#include "http/server/server.h"
#include "shim/base/os.h"

#define MS_NS UINT64_C(1000000)

enum {
	OTHERS_S = 10,         /* that the others have once our own answer begins */
	SELF_MS = 30 * 1000,   /* that our own answer has, with the time that is asked for */
	HELPER_MS = 20 * 1000, /* until the helper is free */
	HELPER_LIFE_S = 120,   /* slow clients included */
	RELAY_MS = 60 * 1000,
	LOOK_MS = 10,
	REQUEST_MAX = 4096,
	BATCH = 200,    /* descriptors in a message: the kernel takes 253 */
	LINE_MAX = 128, /* bytes of the line about a process */
};

struct pod_member {
	char name[24], program[16];
	int fd; /* negative: why there is none */
	struct fd_identity identity;
};

struct pod {
	struct pod_member *at;
	size_t count;
	size_t self; /* our own place; count: none */
	int64_t seconds;
	uint64_t until_ns;
};

static uint64_t now_ns(void)
{
	return os_clock_ns(CLOCK_MONOTONIC);
}

static void hang_up(struct pod_member *m)
{
	if (m->fd >= 0 && fd_is(m->fd, m->identity))
		os_close(m->fd);
	m->fd = -EPIPE;
}

static void abandon(struct exchange *x)
{
	struct pod *p = x->own;
	for (size_t i = 0; i < p->count; i++)
		hang_up(&p->at[i]);
}

static void fail(struct exchange *x, int rc)
{
	answer_end_wait(x);
	if (rc == -ENOENT || rc == -EPERM || rc == -EACCES)
		response_error(&x->answer, 503,
		               "pprofshim: pprofshim-symbolize, which merges the profiles, cannot be started; /pid/ "
		               "lists the processes one by one");
	else
		answer_failure(x, rc);
}

/* ---- the helper ---- */

static bool is_plain(char c)
{
	return (unsigned char)c >= ' ' && c != 0x7f;
}

/* "m 42\tnginx\t\n" */
static void line_member(struct line *l, const struct pod_member *m)
{
	line_str(l, "m ");
	line_str(l, m->name);
	line_str(l, "\t");
	for (size_t i = 0; i < sizeof m->program && m->program[i]; i++)
		line_bytes(l, is_plain(m->program[i]) ? &m->program[i] : "?", 1);
	line_str(l, m->fd >= 0         ? "\t\n"
	            : m->fd == -EBUSY  ? "\tit takes no requests; it may be stopped or frozen\n"
	            : m->fd == -ENOENT ? "\tit has ended\n"
	                               : "\tit cannot be reached\n");
}

/* Send the lines of some members, with their connections. Returns 0, or a negative errno. */
static int send_members(int fd, const struct pod_member *at, size_t count, struct line *l)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(BATCH * sizeof(int))];
	} control;
	struct msghdr m = {.msg_iovlen = 1};
	size_t fds = 0;
	l->len = 0;
	for (size_t i = 0; i < count; i++) {
		line_member(l, &at[i]);
		if (at[i].fd >= 0)
			memcpy(CMSG_DATA(&control.head) + fds++ * sizeof(int), &at[i].fd, sizeof(int));
	}
	struct iovec part = {l->at, l->len};
	m.msg_iov = &part;
	if (fds) {
		control.head.cmsg_level = SOL_SOCKET;
		control.head.cmsg_type = SCM_RIGHTS;
		control.head.cmsg_len = CMSG_LEN(fds * sizeof(int));
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(fds * sizeof(int));
	}
	long n = os_call(SYS_sendmsg, fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? (int)n : (size_t)n < l->len ? -ENOBUFS : 0;
}

static int send_all(struct exchange *x, int fd)
{
	const struct pod *p = x->own;
	struct line l = {region_alloc(x->region, BATCH * LINE_MAX), BATCH * LINE_MAX, 0};
	int rc = l.at ? 0 : -ENOMEM;
	for (size_t i = 0; i < p->count && rc == 0; i += BATCH)
		rc = send_members(fd, p->at + i, p->count - i < BATCH ? p->count - i : BATCH, &l);
	return rc;
}

/* "t 10 heap\n\n"; empty: no memory. */
static struct span last_lines(struct exchange *x)
{
	struct line l = {region_alloc(x->region, LINE_MAX), LINE_MAX, 0};
	if (!l.at)
		return (struct span){0};
	line_str(&l, "t ");
	line_dec(&l, OTHERS_S);
	line_str(&l, " pod-");
	line_str(&l, x->endpoint->name);
	line_str(&l, "\n\n");
	return (struct span){l.at, l.len};
}

/* The helper runs; its answer comes from fd. */
static void pass_on(struct exchange *x, int fd)
{
	struct span head = last_lines(x);
	int rc = head.len ? send_all(x, fd) : -ENOMEM;
	if (rc == 0 && !relay_ask(x, fd, head, RELAY_MS))
		rc = -ENOMEM;
	if (rc < 0) {
		os_close(fd);
		fail(x, rc);
		return;
	}
	answer_end_wait(x); /* the helper has the connections */
}

static void start_helper(struct exchange *x)
{
	const struct pod *p = x->own;
	int pair[2];
	int rc = (int)os_call(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
	if (rc < 0) {
		fail(x, rc);
		return;
	}
	int ours = fd_raise(pair[0]), its = fd_raise(pair[1]);
	os_call(SYS_fcntl, ours, F_SETFL, O_NONBLOCK);
	rc = encoder_merge(its, HELPER_LIFE_S);
	os_close(its);
	if (rc == 0) {
		pass_on(x, ours);
		return;
	}
	os_close(ours);
	if (rc == -EAGAIN && now_ns() < p->until_ns)
		answer_pause(x, start_helper, now_ns() + LOOK_MS * MS_NS, p->until_ns);
	else
		fail(x, rc);
}

/* ---- asking ---- */

/* Has our own answer begun? */
static bool is_answered(const struct pod *p)
{
	if (p->self == p->count || p->at[p->self].fd < 0)
		return true;
	struct pollfd own = {.fd = p->at[p->self].fd, .events = POLLIN};
	struct timespec none = {0};
	return os_call(SYS_ppoll, &own, 1, &none, 0, 0) != 0;
}

static void await_own(struct exchange *x)
{
	struct pod *p = x->own;
	if (!is_answered(p) && now_ns() < p->until_ns) {
		answer_pause(x, await_own, now_ns() + LOOK_MS * MS_NS, p->until_ns);
		return;
	}
	p->until_ns = now_ns() + HELPER_MS * MS_NS;
	start_helper(x);
}

/* A client of our own server, as if the door had passed it on. */
static int connect_self(void)
{
	int pair[2];
	long rc = os_call(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
	if (rc < 0)
		return (int)rc;
	server_adopt(pair[1]);
	return fd_raise(pair[0]);
}

/* Returns the request to each; empty: no memory. */
static struct span make_request(struct exchange *x)
{
	struct line l = {region_alloc(x->region, REQUEST_MAX + x->request.query.len),
	                 REQUEST_MAX + x->request.query.len, 0};
	if (!l.at)
		return (struct span){0};
	line_str(&l, "GET /debug/pprof/");
	line_str(&l, x->endpoint->name);
	line_str(&l, x->request.query.len ? "?" : "");
	line_bytes(&l, x->request.query.at, x->request.query.len);
	line_str(&l, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	return (struct span){l.at, l.len};
}

static void ask(struct pod_member *m, const struct door_process *d, struct span request)
{
	struct span name = {d->name, strlen(d->name)};
	memcpy(m->name, d->name, sizeof m->name);
	memcpy(m->program, d->status.program, sizeof m->program); /* an old one is better than none */
	m->fd = d->is_self ? connect_self() : door_connect(name);
	if (m->fd < 0)
		return;
	m->identity = fd_identify(m->fd);
	long n = os_call(SYS_sendto, m->fd, request.at, request.len, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0);
	if (n < (long)request.len)
		hang_up(m);
}

/* All have said how they are, or have not in time. */
static void ask_all(struct exchange *x)
{
	size_t count;
	const struct door_process *list = door_list(x->region, &count);
	struct span request = make_request(x);
	struct pod *p = answer_own(x, sizeof *p);
	if (!p)
		return;
	p->at = list && request.len ? region_alloc(x->region, count * sizeof *p->at + 1) : NULL;
	if (!p->at) {
		answer_failure(x, -ENOMEM);
		return;
	}
	p->count = p->self = count;
	for (size_t i = 0; i < count; i++) {
		ask(&p->at[i], &list[i], request);
		if (list[i].is_self)
			p->self = i;
	}
	x->abandon = abandon;
	bool is_cpu = x->endpoint->kind == PROFILE_CPU;
	parameter_read(x, is_cpu ? PARAMETER_CPU_SECONDS : PARAMETER_SECONDS, &p->seconds);
	p->until_ns = now_ns() + ((uint64_t)p->seconds * 1000 + SELF_MS) * MS_NS;
	await_own(x);
}

/* Each process checks the rest of the query itself. */
void pod_answer(struct exchange *x)
{
	int64_t seconds, debug = 0;
	bool is_cpu = x->endpoint->kind == PROFILE_CPU;
	const char *wrong = parameter_read(x, is_cpu ? PARAMETER_CPU_SECONDS : PARAMETER_SECONDS, &seconds);
	if (!is_cpu)
		parameter_read(x, PARAMETER_DEBUG, &debug);
	if (x->query.failed)
		answer_failure(x, -ENOMEM);
	else if (wrong)
		response_error(&x->answer, 400, wrong);
	else if (debug)
		response_error(&x->answer, 400, "pprofshim: all processes together are no text; leave out debug");
	else
		processes_ask(x, ask_all);
}
