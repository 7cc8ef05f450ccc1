/* test_server.c - the whole http room against a stub encoder, through sockets on 127.0.0.1.
 *
 * Runs in: its own process; the server in a thread of it, whose deadlines no busy machine meets but in the tests
 * of deadlines, where they are tenths of a second. What must not be early is never early; what a busy machine may
 * make late is measured again, a few times, by the same bound. Every test ends with a look at what is left: no
 * memory mapped, no descriptor more than before.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/server/server.c http/server/connection.c http/endpoints/routes.c http/endpoints/parameters.c
 * links: http/endpoints/answer.c
 * links: http/endpoints/index.c http/endpoints/cmdline.c http/endpoints/symbol.c http/endpoints/snapshot.c
 * links: http/endpoints/cpu.c http/endpoints/trace.c http/server/request.c http/server/query.c
 * links: http/server/response.c http/address/host.c http/address/ip.c http/address/fd.c http/address/address.c
 * links: encoder/bytes/out.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/house.h"
#include "http/address/fd.h"
#include "http/endpoints/take.h"
#include "http/server/limits.h"
#include "http/server/server.h"
#include "encoder/encoder.h"

/* Server and client meet in sockets alone, which ThreadSanitizer does not see through our own system
 * calls. What the client wrote before it said something, the stub sees; and the other way round. */
static int wire;

static void wire_release(void)
{
	__atomic_add_fetch(&wire, 1, __ATOMIC_ACQ_REL);
}

static void wire_acquire(void)
{
	__atomic_load_n(&wire, __ATOMIC_ACQUIRE);
}

/* ---- the stub encoder: called in the server's thread, set while it is idle ---- */

static struct {
	size_t body_bytes; /* of a binary profile */
	int error;         /* of every call */
	const char *loss;
	int busy_ms; /* of a binary profile */
	int takes;   /* atomic */
	bool had_before;
	enum profile_kind kind;
	int64_t debug; /* of a text form */
	const char *stuck[2];

	/* names: attempts that lack some, each for some looks; for ever. Atomic */
	unsigned rounds, looks;
	bool never_named;
	int attempts;
	const char *trouble;

	/* rates of contention */
	int raise_error, raises, restores;
	int takes_at_raise, takes_at_restore;
	enum contention_kind raise_kind;
	uint64_t rate;

	/* the CPU profile, the trace; counts are atomic */
	int begin_error, end_error;
	unsigned drain_ms, hz;
	unsigned drains_until_full; /* of a trace; 0: it never is */
	int begins, drains, ends, abandons, releases;
	int *scratch; /* in the region that it was given */
	uint64_t duration_ns;
} stub;

static void sleep_ms(int ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
	nanosleep(&t, NULL);
}

static int stub_result(void)
{
	int error = stub.error;
	wire_release();
	return error;
}

static int taken(void)
{
	return __atomic_load_n(&stub.takes, __ATOMIC_ACQUIRE);
}

int profile_take(struct region *r, enum profile_kind kind, struct profile_snapshot *s)
{
	wire_acquire();
	*s = (struct profile_snapshot){.kind = kind};
	region_alloc(r, 1000);
	__atomic_add_fetch(&stub.takes, 1, __ATOMIC_RELEASE);
	return stub_result();
}

static void count(int *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_ACQ_REL);
}

static int counted(const int *counter)
{
	return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

/* As the names' side does: an attempt that fails has used memory and written some of the answer. */
static bool names_are_missing(struct region *r, struct out *o, struct patience *p)
{
	wire_acquire();
	if (!p)
		abort();
	count(&stub.attempts);
	if (p->rounds >= stub.rounds)
		return false;
	p->rounds++;
	region_alloc(r, 200 * 1000);
	out_str(o, "half an answer");
	return true;
}

unsigned encoder_wait_ms(const struct patience *p)
{
	return __atomic_load_n(&stub.never_named, __ATOMIC_RELAXED) || stub.looks++ < 3 * p->rounds ? 2 : 0;
}

const char *encoder_trouble(void)
{
	return stub.trouble;
}

int profile_encode(struct region *r, struct out *o, const struct profile_snapshot *now,
                   const struct profile_snapshot *before, struct patience *p)
{
	char block[1000];
	if (names_are_missing(r, o, p))
		return -EAGAIN;
	wire_acquire();
	sleep_ms(stub.busy_ms);
	stub.had_before = before != NULL;
	stub.duration_ns = now->kind == PROFILE_CPU ? now->cpu.duration_ns : 0;
	stub.kind = now->kind;
	for (size_t n = 0; n < stub.body_bytes; n += sizeof block) {
		memset(block, 'a' + (int)(n / sizeof block % 26), sizeof block);
		out_bytes(o, block, stub.body_bytes - n < sizeof block ? stub.body_bytes - n : sizeof block);
	}
	return stub_result();
}

int profile_encode_text(struct region *r, struct out *o, const struct profile_snapshot *now, int64_t debug,
                        struct patience *p)
{
	if (names_are_missing(r, o, p))
		return -EAGAIN;
	wire_acquire();
	stub.kind = now->kind;
	stub.debug = debug;
	out_str(o, "text form\n");
	return stub_result();
}

int symbol_answer(struct region *r, struct out *o, struct span query, struct patience *p)
{
	if (names_are_missing(r, o, p))
		return -EAGAIN;
	wire_acquire();
	out_str(o, "num_symbols: 1\n");
	out_span(o, query);
	return stub_result();
}

void snapshot_losses(void (*tell)(void *arg, const char *line), void *arg)
{
	wire_acquire();
	if (stub.loss)
		tell(arg, stub.loss);
}

struct snapshot_counts snapshot_counts(void)
{
	return (struct snapshot_counts){
		.heap = 101, .allocs = 202, .threadcreate = 303, .goroutine = 404, .block = 505, .mutex = 606};
}

void snapshot_stuck(struct region *r, void (*tell)(void *arg, const char *line), void *arg)
{
	wire_acquire();
	region_alloc(r, 100);
	for (int i = 0; i < 2 && stub.stuck[i]; i++)
		tell(arg, stub.stuck[i]);
}

int snapshot_cpu_begin(struct region *r, unsigned hz)
{
	wire_acquire();
	stub.hz = hz;
	stub.scratch = region_alloc(r, sizeof *stub.scratch);
	int error = stub.begin_error;
	if (!error)
		count(&stub.begins);
	wire_release();
	return error;
}

unsigned snapshot_cpu_drain(void)
{
	wire_acquire();
	count(stub.scratch);
	count(&stub.drains);
	return stub.drain_ms;
}

int snapshot_cpu_end(struct cpu_snapshot *s)
{
	wire_acquire();
	count(stub.scratch); /* its memory is still there */
	count(&stub.ends);
	*s = (struct cpu_snapshot){.duration_ns = 123};
	return stub.end_error;
}

void snapshot_cpu_abandon(void)
{
	count(stub.scratch); /* and here */
	count(&stub.abandons);
}

enum { TOKEN = 3 };

int snapshot_contention_raise(enum contention_kind kind, uint64_t rate)
{
	wire_acquire();
	count(&stub.raises);
	stub.takes_at_raise = taken();
	stub.raise_kind = kind;
	stub.rate = rate;
	int error = stub.raise_error;
	wire_release();
	return error ? error : TOKEN;
}

void snapshot_contention_restore(enum contention_kind kind, int token)
{
	if (kind != stub.raise_kind || token != TOKEN)
		abort();
	stub.takes_at_restore = taken();
	count(&stub.restores);
}

int snapshot_trace_begin(struct region *r)
{
	return snapshot_cpu_begin(r, 0);
}

unsigned snapshot_trace_drain(void)
{
	unsigned ms = snapshot_cpu_drain();
	return stub.drains_until_full && counted(&stub.drains) >= (int)stub.drains_until_full ? 0 : ms;
}

int snapshot_trace_end(struct trace_snapshot *s)
{
	struct cpu_snapshot cpu;
	*s = (struct trace_snapshot){.begin_ns = 77};
	return snapshot_cpu_end(&cpu);
}

void snapshot_trace_release(void)
{
	count(stub.scratch);
	count(&stub.releases);
}

void snapshot_trace_abandon(void)
{
	snapshot_cpu_abandon();
}

static int encode_trace(struct out *o, const struct trace_snapshot *s, const char *text)
{
	if (s->begin_ns != 77 || counted(&stub.releases) == counted(&stub.ends))
		abort(); /* it is given back already */
	out_str(o, text);
	return stub_result();
}

int trace_encode_go(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p)
{
	if (names_are_missing(r, o, p))
		return -EAGAIN;
	return encode_trace(o, s, "go");
}

int trace_encode_perfetto(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p)
{
	if (names_are_missing(r, o, p))
		return -EAGAIN;
	return encode_trace(o, s, "perfetto");
}

/* ---- the server ---- */

static struct {
	pthread_t thread;
	struct server_options options;
	struct address address; /* that clients connect to */
	void (*order)(void);    /* carried out by wake(), in the server's thread */
	int done;               /* atomic: orders carried out */
	int move_fd;
	struct address move_to;
	uint64_t limit_bytes;
	int fds_before;
} run;

static void obey(void)
{
	uint64_t n;
	if (read(run.options.wake_fd, &n, sizeof n) != sizeof n)
		abort();
	run.order();
	__atomic_add_fetch(&run.done, 1, __ATOMIC_RELEASE);
}

static int now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

static void order_move(void)
{
	server_move(run.move_fd, &run.move_to);
}

static void order_limit(void)
{
	arena_set_limit(run.limit_bytes);
}

static void give_order(void (*order)(void))
{
	uint64_t one = 1;
	int done = __atomic_load_n(&run.done, __ATOMIC_ACQUIRE);
	run.order = order;
	assert_int_equal(write(run.options.wake_fd, &one, sizeof one), sizeof one);
	for (int i = 0; i < 20000 && __atomic_load_n(&run.done, __ATOMIC_ACQUIRE) == done; i++)
		sleep_ms(1);
	assert_int_not_equal(__atomic_load_n(&run.done, __ATOMIC_ACQUIRE), done);
}

static int open_fds(void)
{
	int n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static struct address parsed(const char *text)
{
	struct address a;
	const char *why;
	assert_int_equal(address_parse(span_of(text), &a, &why), 0);
	return a;
}

static void *serve(void *arg)
{
	sigset_t all;
	(void)arg;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	server_run(&run.options);
	return NULL;
}

static int start_with(uint32_t deadline_ms)
{
	memset(&stub, 0, sizeof stub);
	stub.body_bytes = 100;
	server_deadlines = (struct server_deadlines){.head_ms = deadline_ms,
	                                             .body_ms = deadline_ms,
	                                             .idle_ms = deadline_ms,
	                                             .write_ms = deadline_ms,
	                                             .linger_ms = deadline_ms,
	                                             .accept_pause_ms = 50};
	arena_set_limit(64 << 20);
	run.fds_before = open_fds();
	run.address = parsed("127.0.0.1:0");
	run.options = (struct server_options){
		.listen_fd = address_listen(&run.address),
		.address = run.address,
		.wake_fd = eventfd(0, EFD_CLOEXEC),
		.end_fd = -1,
		.wake = obey,
	};
	if (run.options.listen_fd < 0 || run.options.wake_fd < 0)
		return -1;
	return pthread_create(&run.thread, NULL, serve, NULL);
}

static int start(void **state)
{
	(void)state;
	return start_with(20000);
}

static int start_hurried(void **state)
{
	(void)state;
	return start_with(400);
}

static int stop(void **state)
{
	(void)state;
	give_order(server_stop);
	pthread_join(run.thread, NULL);
	close(run.options.wake_fd);
	if (arena_mapped_bytes() != 0 || open_fds() != run.fds_before) {
		print_error("left: %llu bytes, %d descriptors\n", (unsigned long long)arena_mapped_bytes(),
		            open_fds() - run.fds_before);
		return -1;
	}
	return 0;
}

/* ---- a client ---- */

static int dial(void)
{
	struct timeval limit = {30, 0};
	int fd = socket(run.address.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	assert_int_equal(connect(fd, (struct sockaddr *)&run.address.sa, run.address.sa_len), 0);
	return fd;
}

static void say_bytes(int fd, const void *p, size_t n)
{
	const char *at = p;
	wire_release();
	while (n) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
		if (sent <= 0)
			fail_msg("send: %s", strerror(errno));
		at += sent;
		n -= (size_t)sent;
	}
}

static void say(int fd, const char *text)
{
	say_bytes(fd, text, strlen(text));
}

struct reply {
	int status;
	char head[4096];
	char *body; /* of the last reply only */
	size_t body_len;
};

/* One answer off fd, not a byte more. status 0: the connection ended instead. */
static struct reply hear_for(int fd, bool head_only)
{
	static char *body;
	struct reply r = {0};
	size_t n = 0;
	while (n < 4 || memcmp(r.head + n - 4, "\r\n\r\n", 4) != 0) {
		assert_true(n < sizeof r.head - 1);
		if (recv(fd, r.head + n, 1, 0) != 1)
			return (struct reply){0};
		n++;
	}
	r.status = (int)strtol(r.head + 9, NULL, 10);
	const char *length = strstr(r.head, "Content-Length: ");
	if (!length || head_only)
		return r;
	r.body_len = strtoul(length + 16, NULL, 10);
	body = r.body = realloc(body, r.body_len + 1);
	for (n = 0; n < r.body_len;) {
		ssize_t got = recv(fd, r.body + n, r.body_len - n, 0);
		if (got <= 0)
			fail_msg("the body ends after %zu of %zu", n, r.body_len);
		n += (size_t)got;
	}
	r.body[n] = '\0';
	return r;
}

static struct reply hear(int fd)
{
	struct reply r = hear_for(fd, false);
	wire_acquire();
	return r;
}

/* The server has closed in good order: no reset, nothing more to read. */
static void assert_closed(int fd)
{
	char c;
	assert_int_equal(recv(fd, &c, 1, 0), 0);
}

static bool is_open(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};
	return poll(&p, 1, 0) == 0;
}

static struct reply ask(const char *request)
{
	int fd = dial();
	say(fd, request);
	struct reply r = hear(fd);
	close(fd);
	return r;
}

/* Measure until it is so, and not for ever: what is never so in all these turns is not for want of a processor. */
enum { TURNS = 8 };
static void expect_in_a_turn(bool (*measure)(void))
{
	for (int turn = 1; !measure(); turn++)
		if (turn == TURNS)
			fail_msg("too late, or too busy, %d times", TURNS);
}

/* Never sooner; whether it is in time is the result. */
static bool takes_ms(int from, int least, int most)
{
	int ms = now_ms() - from;
	if (ms < least)
		fail_msg("%d ms, not %d", ms, least);
	return ms <= most;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define GETC(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

static void assert_has(const struct reply *r, const char *header)
{
	if (!strstr(r->head, header))
		fail_msg("no \"%s\" in: %s", header, r->head);
}

static void assert_lacks(const struct reply *r, const char *header)
{
	if (strstr(r->head, header))
		fail_msg("\"%s\" in: %s", header, r->head);
}

/* ---- endpoints ---- */

static void test_index_lists_every_endpoint_and_what_got_lost(void **state)
{
	(void)state;
	stub.loss = "3 samples <lost> & \"gone\"";
	struct reply r = ask(GET("/debug/pprof/"));
	assert_int_equal(r.status, 200);
	assert_has(&r, "Content-Type: text/html; charset=utf-8\r\n");
	assert_has(&r, "X-Content-Type-Options: nosniff\r\n");
	static const char *const expected[] = {
		"<td>101</td><td><a href=\"heap?debug=1\">heap</a>",
		"<td>202</td><td><a href=\"allocs?debug=1\">allocs</a>",
		"<td>303</td><td><a href=\"threadcreate?debug=1\">threadcreate</a>",
		"<td>404</td><td><a href=\"goroutine?debug=1\">goroutine</a></td>",
		"<a href=\"profile?debug=1\">profile</a></td>",
		"<td>505</td><td><a href=\"block?debug=1\">block</a></td>",
		"<td>606</td><td><a href=\"mutex?debug=1\">mutex</a></td>",
		"<td>0</td><td><a href=\"trace?debug=1\">trace</a></td>",
		"rate=N",
		"PPROF_BLOCK_RATE",
		"fraction=N",
		"PPROF_MUTEX_FRACTION",
		"<code>hz=N</code> in Hz (profile): Samples",
		"<code>format=go|perfetto</code> (trace): ",
		"\"cmdline?debug=1\"",
		"\"symbol?debug=1\"",
		"\"goroutine?debug=2\"",
		"3 samples &lt;lost&gt; &amp; &#34;gone&#34;",
		"<b>test_server</b>",
		"</html>",
	};
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
		if (!strstr(r.body, expected[i]))
			fail_msg("no %s in %s", expected[i], r.body);
	assert_null(strstr(r.body, "Stuck"));
}

static void test_index_warns_of_what_is_stuck_before_all_else(void **state)
{
	(void)state;
	stub.stuck[0] = "DEADLOCK: thread 1 (<a>) waits";
	stub.stuck[1] = "STALLED: thread 2 (b)";
	struct reply r = ask(GET("/debug/pprof/"));
	const char *title = strstr(r.body, "<h2>Stuck</h2>"), *table = strstr(r.body, "<table>");
	assert_true(title && title < table);
	const char *lines =
		strstr(title, "<li>DEADLOCK: thread 1 (&lt;a&gt;) waits</li>\n<li>STALLED: thread 2 (b)</li>\n</ul>");
	assert_true(lines && lines < table);
	const char *link = strstr(lines, "href=\"goroutine?debug=2\"");
	assert_true(link && link < table);
}

static void test_cmdline_is_argv_joined_by_nul(void **state)
{
	(void)state;
	char expected[4096];
	int fd = open("/proc/self/cmdline", O_RDONLY);
	ssize_t n = read(fd, expected, sizeof expected);
	close(fd);
	struct reply r = ask(GET("/debug/pprof/cmdline"));
	assert_int_equal(r.status, 200);
	assert_has(&r, "Content-Type: text/plain; charset=utf-8\r\n");
	assert_int_equal(r.body_len, n - 1);
	assert_memory_equal(r.body, expected, n - 1);
}

static void test_snapshot_profiles_are_attachments_or_text(void **state)
{
	(void)state;
	static const struct {
		const char *request, *body_start, *file; /* file NULL: text */
		enum profile_kind kind;
	} rows[] = {
		{GET("/debug/pprof/heap"), "aaa", "attachment; filename=\"heap\"\r\n", PROFILE_HEAP},
		{GET("/debug/pprof/allocs?debug=0"), "aaa", "attachment; filename=\"allocs\"\r\n", PROFILE_ALLOCS},
		{GET("/debug/pprof/threadcreate?debug=x"), "aaa", "filename=\"threadcreate\"\r\n",
	         PROFILE_THREADCREATE},
		{GET("/debug/pprof/heap?gc=1&seconds="), "aaa", "filename=\"heap\"\r\n", PROFILE_HEAP},
		{GET("http://localhost/debug/pprof/heap"), "aaa", "filename=\"heap\"\r\n", PROFILE_HEAP},
		{GET("/debug/pprof/goroutine"), "aaa", "filename=\"goroutine\"\r\n", PROFILE_GOROUTINE},
		{GET("/debug/pprof/block"), "aaa", "filename=\"block\"\r\n", PROFILE_BLOCK},
		{GET("/debug/pprof/mutex?rate=x"), "aaa", "filename=\"mutex\"\r\n", PROFILE_MUTEX},
		{GET("/debug/pprof/heap?rate=1&fraction=1"), "aaa", "filename=\"heap\"\r\n", PROFILE_HEAP},
		{GET("/debug/pprof/block?debug=1&fraction=1"), "text form\n", NULL, PROFILE_BLOCK},
		{GET("/debug/pprof/mutex?debug=2"), "text form\n", NULL, PROFILE_MUTEX},
		{GET("/debug/pprof/goroutine?debug=1"), "text form\n", NULL, PROFILE_GOROUTINE},
		{GET("/debug/pprof/goroutine?debug=2"), "text form\n", NULL, PROFILE_GOROUTINE},
		{GET("/debug/pprof/heap?debug=1"), "text form\n", NULL, PROFILE_HEAP},
		{GET("/debug/pprof/heap?debug=-2"), "text form\n", NULL, PROFILE_HEAP},
		{"POST /debug/pprof/heap?debug=0 HTTP/1.1\r\nHost: [::1]:1\r\nContent-Length: 7\r\n"
	         "Content-Type: application/x-www-form-urlencoded\r\n\r\ndebug=1",
	         "text form\n", NULL, PROFILE_HEAP},
		{"POST /debug/pprof/heap?debug=0 HTTP/1.1\r\nHost: [::1]:1\r\nContent-Length: 7\r\n\r\ndebug=1", "aaa",
	         "filename=\"heap\"\r\n", PROFILE_HEAP},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct reply r = ask(rows[i].request);
		assert_int_equal(r.status, 200);
		assert_memory_equal(r.body, rows[i].body_start, strlen(rows[i].body_start));
		if (rows[i].file) {
			assert_has(&r, rows[i].file);
			assert_has(&r, "Content-Type: application/octet-stream\r\n");
			assert_false(stub.had_before);
		} else {
			assert_has(&r, "Content-Type: text/plain; charset=utf-8\r\n");
			assert_lacks(&r, "Content-Disposition");
			if (strstr(rows[i].request, "goroutine"))
				assert_int_equal(stub.debug, strstr(rows[i].request, "debug=2") ? 2 : 1);
		}
		assert_int_equal(stub.kind, rows[i].kind);
		assert_lacks(&r, "X-Go-Pprof");
		assert_lacks(&r, "Content-Encoding");
	}
}

static void test_symbol_reads_the_query_of_a_get_and_the_body_of_a_post(void **state)
{
	(void)state;
	assert_string_equal(ask(GET("/debug/pprof/symbol")).body, "num_symbols: 1\n");
	assert_string_equal(ask(GET("/debug/pprof/symbol?0x1+%2B")).body, "num_symbols: 1\n0x1+%2B");
	assert_string_equal(
		ask("POST /debug/pprof/symbol?0x9 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n0x1+0x2")
			.body,
		"num_symbols: 1\n0x1+0x2");
	assert_string_equal(ask("POST /debug/pprof/symbol?0x9 HTTP/1.1\r\nHost: localhost\r\n\r\n").body,
	                    "num_symbols: 1\n");
}

static void test_refusals_have_gos_texts_and_keep_the_connection(void **state)
{
	(void)state;
#define WRONG(query) GET("/debug/pprof/heap?" query)
	static const char invalid[] = "invalid value for \"seconds\" - must be a positive integer\n";
	static const char too_long[] = "profile duration exceeds server's WriteTimeout\n";
	static const char both[] = "seconds and debug params are incompatible\n";
	static const char bad_rate[] = "invalid value for \"rate\" - must be a positive integer\n";
	static const char bad_fraction[] = "invalid value for \"fraction\" - must be a positive integer\n";
	static const char bad_format[] = "invalid value for \"format\" - must be go or perfetto\n";
	static const char alone[] = "\"rate\" needs \"seconds\": it holds while a difference is being taken\n";
	static const struct {
		const char *request;
		int status;
		const char *body, *header; /* NULL: any */
	} rows[] = {
		{WRONG("seconds=0"), 400, invalid, NULL},
		{WRONG("seconds=-1"), 400, invalid, NULL},
		{WRONG("seconds=1.5"), 400, invalid, NULL},
		{WRONG("seconds=x"), 400, invalid, NULL},
		{WRONG("seconds=x&debug=1"), 400, invalid, NULL},
		{WRONG("seconds=99999999999999999999"), 400, invalid, NULL},
		{WRONG("seconds=3601"), 400, too_long, NULL},
		{WRONG("seconds=9223372036854775807&debug=1"), 400, too_long, NULL},
		{WRONG("seconds=1&debug=1"), 400, both, NULL},
		{GET("/"), 404, "404 page not found\n", NULL},
		{GET("/debug/pprof2"), 404, "404 page not found\n", NULL},
		{GET("/debug"), 404, "404 page not found\n", NULL},
		{GET("/debug/pprof/nothing"), 404, "Unknown profile\n", NULL},
		{GET("/debug/pprof/heap/"), 404, "Unknown profile\n", NULL},
		{GET("/debug/pprof/index"), 404, "Unknown profile\n", NULL},
		{GET("/debug/pprof//"), 404, "Unknown profile\n", NULL},
		{GET("/debug/pprof/goroutine?seconds=0"), 400, invalid, NULL},
		{GET("/debug/pprof/goroutine?seconds=1&debug=2"), 400, both, NULL},
		{GET("/debug/pprof/block?seconds=1&rate=0"), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?seconds=1&rate=-1"), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?seconds=1&rate=1ms"), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?seconds=1&rate="), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?seconds=1&rate=9223372036854775808"), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?rate=0"), 400, bad_rate, NULL},
		{GET("/debug/pprof/block?seconds=0&rate=0"), 400, invalid, NULL},
		{GET("/debug/pprof/block?seconds=3601&rate=0"), 400, too_long, NULL},
		{GET("/debug/pprof/block?seconds=1&debug=1&rate=0"), 400, both, NULL},
		{GET("/debug/pprof/block?rate=1"), 400, alone, NULL},
		{GET("/debug/pprof/block?seconds=&rate=1&debug=1"), 400, alone, NULL},
		{GET("/debug/pprof/mutex?seconds=1&fraction=x"), 400, bad_fraction, NULL},
		{GET("/debug/pprof/mutex?fraction=1"), 400,
	         "\"fraction\" needs \"seconds\": it holds while a difference is being taken\n", NULL},
		{GET("/debug/pprof/trace?seconds=3600.1"), 400, too_long, NULL},
		{GET("/debug/pprof/trace?seconds=1e99&format=x"), 400, too_long, NULL},
		{GET("/debug/pprof/trace?seconds=inf"), 400, too_long, NULL},
		{GET("/debug/pprof/trace?format=x"), 400, bad_format, NULL},
		{GET("/debug/pprof/trace?format=GO"), 400, bad_format, NULL},
		{"DELETE /debug/pprof/heap HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, NULL,
	         "Allow: GET, HEAD, POST\r\n"},
		{"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, NULL, "Allow: GET, HEAD, POST\r\n"},
		{"PUT /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 405, NULL, NULL},
		{"GET /debug/pprof/ HTTP/1.1\r\nHost: evil.example:6060\r\n\r\n", 403, NULL, NULL},
		{"GET http://evil.example/debug/pprof/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 403, NULL, NULL},
	};
	int fd = dial();
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		say(fd, rows[i].request);
		struct reply r = hear(fd);
		if (r.status != rows[i].status)
			fail_msg("row %zu: %d", i, r.status);
		if (rows[i].body)
			assert_string_equal(r.body, rows[i].body);
		if (rows[i].header)
			assert_has(&r, rows[i].header);
		assert_true(r.body_len > 1 && strchr(r.body, '\n') == r.body + r.body_len - 1);
		assert_has(&r, "Content-Type: text/plain; charset=utf-8\r\n");
		assert_has(&r, "X-Go-Pprof: 1\r\n");
		assert_has(&r, "X-Content-Type-Options: nosniff\r\n");
		assert_lacks(&r, "Connection:");
	}
	close(fd);
	assert_int_equal(taken(), 0);
	assert_int_equal(counted(&stub.raises) + counted(&stub.begins), 0);
}

static void test_the_folder_without_its_slash_is_redirected(void **state)
{
	(void)state;
	struct reply r = ask(GET("/debug/pprof"));
	assert_int_equal(r.status, 301);
	assert_has(&r, "Location: /debug/pprof/\r\n");
	r = ask(GET("/debug/pprof?a=b&c"));
	assert_int_equal(r.status, 301);
	assert_has(&r, "Location: /debug/pprof/?a=b&c\r\n");
}

static void test_encoder_errors_are_one_line_and_nothing_else(void **state)
{
	(void)state;
	static const char *const requests[] = {GET("/debug/pprof/heap"), GET("/debug/pprof/heap?debug=1"),
	                                       GET("/debug/pprof/symbol?0x1")};
	stub.error = -ENOMEM;
	for (size_t i = 0; i < 3; i++) {
		struct reply r = ask(requests[i]);
		assert_int_equal(r.status, 503);
		assert_string_equal(r.body, "pprofshim: no memory left for this answer; ask again when others are "
		                            "done, or raise PPROF_MEMORY_LIMIT\n");
		assert_lacks(&r, "Content-Disposition");
		assert_has(&r, "X-Go-Pprof: 1\r\n");
	}
	stub.error = -EIO;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(ask(requests[i]).status, 500);
}

static void test_head_is_get_without_its_body(void **state)
{
	(void)state;
	static const char *const paths[] = {"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/nothing",
	                                    "/debug/pprof"};
	int fd = dial();
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		char request[200], head[4096];
		snprintf(request, sizeof request, "HEAD %s HTTP/1.1\r\nHost: localhost\r\n\r\n", paths[i]);
		say(fd, request);
		struct reply r = hear_for(fd, true);
		strcpy(head, r.head);
		snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", paths[i]);
		say(fd, request);
		r = hear(fd);
		assert_string_equal(r.head, head);
	}
	close(fd);
}

static void limit_memory(uint64_t bytes)
{
	run.limit_bytes = bytes;
	give_order(order_limit);
}

static void test_out_of_memory_is_said_without_memory(void **state)
{
	(void)state;
	limit_memory(0);
	struct reply r = ask(GET("/debug/pprof/heap"));
	assert_int_equal(r.status, 503);
	assert_string_equal(r.body, "pprofshim: no memory left for this answer; ask again when others are done, or "
	                            "raise PPROF_MEMORY_LIMIT\n");
	limit_memory(160 * 1024); /* enough for the request, not for the answer */
	stub.body_bytes = 200000;
	r = ask(GET("/debug/pprof/heap"));
	assert_int_equal(r.status, 503);
	assert_string_equal(r.body, "pprofshim: no memory left for this answer; ask again when others are done, or "
	                            "raise PPROF_MEMORY_LIMIT\n");
	limit_memory(64 << 20);
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
}

/* ---- connections ---- */

static void test_a_connection_serves_many_requests_and_closes_when_asked(void **state)
{
	(void)state;
	int fd = dial();
	for (int i = 0; i < 50; i++) {
		say(fd, GET("/debug/pprof/heap"));
		struct reply r = hear(fd);
		assert_int_equal(r.status, 200);
		assert_lacks(&r, "Connection:");
	}
	say(fd, GETC("/debug/pprof/heap"));
	struct reply r = hear(fd);
	assert_has(&r, "Connection: close\r\n");
	assert_closed(fd);
	close(fd);
}

static void test_http10_closes_unless_asked_not_to(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, "GET /debug/pprof/heap HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	struct reply r = hear(fd);
	assert_has(&r, "Connection: keep-alive\r\n");
	say(fd, "GET /debug/pprof/heap HTTP/1.0\r\n\r\n");
	r = hear(fd);
	assert_has(&r, "Connection: close\r\n");
	assert_closed(fd);
	close(fd);
}

static void test_pipelined_requests_are_answered_in_order(void **state)
{
	(void)state;
	enum { ROUNDS = 300 };
	static const char three[] = GET("/debug/pprof/heap")
		GET("/nothing") "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n0x1";
	char *all = malloc(ROUNDS * (sizeof three - 1));
	for (int i = 0; i < ROUNDS; i++)
		memcpy(all + i * (sizeof three - 1), three, sizeof three - 1);
	int fd = dial();
	say_bytes(fd, all, ROUNDS * (sizeof three - 1)); /* several input buffers: requests are cut */
	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(hear(fd).status, 200);
		assert_int_equal(hear(fd).status, 404);
		assert_string_equal(hear(fd).body, "num_symbols: 1\n0x1");
	}
	free(all);
	close(fd);
}

static void test_a_slow_client_is_served_byte_by_byte(void **state)
{
	(void)state;
	static const char text[] =
		"POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n0x1" GET("/nothing");
	int fd = dial();
	for (size_t i = 0; i < sizeof text - 1; i++) {
		say_bytes(fd, text + i, 1);
		sleep_ms(1);
	}
	assert_string_equal(hear(fd).body, "num_symbols: 1\n0x1");
	assert_int_equal(hear(fd).status, 404);
	close(fd);
}

static void test_a_client_that_ended_its_side_gets_its_answer(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, GET("/debug/pprof/heap"));
	shutdown(fd, SHUT_WR);
	assert_int_equal(hear(fd).status, 200);
	assert_closed(fd);
	close(fd);
}

static void test_a_body_on_a_get_is_read_and_dropped(void **state)
{
	(void)state;
	enum { LENGTH = 300000 };
	char head[200], *body = calloc(1, LENGTH);
	snprintf(head, sizeof head, "GET /debug/pprof/heap HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n",
	         LENGTH);
	int fd = dial();
	say(fd, head);
	say_bytes(fd, body, LENGTH);
	assert_int_equal(hear(fd).status, 200);
	say(fd, GET("/nothing"));
	assert_int_equal(hear(fd).status, 404);
	free(body);
	close(fd);
}

static void test_a_large_body_is_taken_whole(void **state)
{
	(void)state;
	char head[200], *body = malloc(LIMIT_BODY);
	memset(body, '1', LIMIT_BODY);
	snprintf(head, sizeof head,
	         "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", LIMIT_BODY);
	int fd = dial();
	say(fd, head);
	say_bytes(fd, body, LIMIT_BODY);
	struct reply r = hear(fd);
	assert_int_equal(r.status, 200);
	assert_int_equal(r.body_len, LIMIT_BODY + strlen("num_symbols: 1\n"));
	assert_memory_equal(r.body + strlen("num_symbols: 1\n"), body, LIMIT_BODY);
	free(body);
	close(fd);
}

static void test_a_client_that_waits_for_100_is_told_to_continue(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
	        "3\r\n\r\n");
	struct reply r = hear(fd);
	assert_string_equal(r.head, "HTTP/1.1 100 Continue\r\n\r\n");
	say(fd, "0x1");
	assert_string_equal(hear(fd).body, "num_symbols: 1\n0x1");
	say(fd, "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
	        "3\r\n\r\n0x1");
	assert_int_equal(hear(fd).status, 200); /* it did not wait */
	close(fd);
}

/* start, n times c, end. */
static const char *repeated(const char *start, char c, size_t n, const char *end)
{
	static char text[64 * 1024];
	size_t len = strlen(start);
	memcpy(text, start, len);
	memset(text + len, c, n);
	strcpy(text + len + n, end);
	return text;
}

static void assert_broken(const char *request, int status)
{
	int fd = dial();
	say(fd, request);
	struct reply r = hear(fd);
	if (r.status != status)
		fail_msg("%d, expected %d: %.60s", r.status, status, request);
	assert_has(&r, "Connection: close\r\n");
	assert_has(&r, "X-Go-Pprof: 1\r\n");
	assert_true(r.body_len > 1);
	assert_closed(fd);
	close(fd);
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
}

static void test_broken_requests_are_answered_closed_and_forgotten(void **state)
{
	(void)state;
	assert_broken("nonsense\r\n\r\n", 400);
	assert_broken("\x16\x03\x01\x02", 400);
	assert_broken("GET / HTTP/1.1\r\n\r\n", 400);
	assert_broken("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
	assert_broken("GET / HTTP/2.0\r\n\r\n", 505);
	assert_broken("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400);
	assert_broken("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501);
	assert_broken("POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417);
	assert_broken("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4194305\r\n\r\n", 413);
	assert_broken(repeated("GET /", 'a', 9000, " HTTP/1.1\r\n\r\n"), 414);
	assert_broken(repeated("GET / HTTP/1.1\r\nHost: a\r\nX: ", 'a', 17000, "\r\n\r\n"), 431);
	assert_broken(repeated("", 'a', 60000, ""), 414);
}

static void test_a_client_busy_sending_too_much_sees_the_answer(void **state)
{
	(void)state;
	enum { LENGTH = 6 << 20 };
	char *body = calloc(1, LENGTH);
	int fd = dial();
	say(fd, "POST /debug/pprof/symbol HTTP/1.1\r\nHost: a\r\nContent-Length: 6291456\r\n\r\n");
	say_bytes(fd, body, LENGTH);
	assert_int_equal(hear(fd).status, 413);
	assert_closed(fd);
	free(body);
	close(fd);
}

static void test_what_follows_a_broken_request_is_not_a_request(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, GET("/debug/pprof/heap") "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" GET(
			"/debug/pprof/heap"));
	assert_int_equal(hear(fd).status, 200);
	assert_int_equal(hear(fd).status, 501);
	assert_closed(fd);
	close(fd);
}

static void test_sixty_four_are_served_and_the_rest_is_told(void **state)
{
	(void)state;
	int fds[70];
	for (int i = 0; i < 70; i++)
		fds[i] = dial();
	for (int i = 64; i < 70; i++) {
		say(fds[i], GET("/debug/pprof/heap"));
		assert_int_equal(hear(fds[i]).status, 503);
		assert_closed(fds[i]);
		close(fds[i]);
	}
	for (int i = 0; i < 64; i++)
		say(fds[i], GET("/debug/pprof/heap"));
	for (int i = 0; i < 64; i++)
		assert_int_equal(hear(fds[i]).status, 200);
	int late = dial(); /* all 64 are idle: the one that has been for longest goes */
	say(late, GET("/debug/pprof/heap"));
	assert_int_equal(hear(late).status, 200);
	int gone = 0;
	for (int i = 0; i < 64; i++) {
		struct pollfd p = {.fd = fds[i], .events = POLLRDHUP};
		gone += poll(&p, 1, 0);
		close(fds[i]);
	}
	assert_int_equal(gone, 1);
	close(late);
}

static void test_many_times_the_connections_come_and_go(void **state)
{
	(void)state;
	for (int i = 0; i < 500; i++) {
		int fd = dial();
		if (i % 3)
			say(fd, i % 3 == 1 ? GET("/debug/pprof/heap") : "GET /debug/p");
		if (i % 6 == 1)
			hear(fd);
		close(fd);
	}
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
}

/* ---- deadlines ---- */

static bool late_requests(void)
{
	int from = now_ms(), nothing = dial(), head = dial(), body = dial(), idle = dial();
	say(head, "GET /debug/pprof/heap HTTP/1.1\r\nHost:");
	say(body, "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n0x");
	say(idle, GET("/debug/pprof/heap"));
	assert_int_equal(hear(idle).status, 200);
	sleep_ms(200);
	bool both_open = is_open(head) && is_open(idle), soon = now_ms() - from < 380;
	assert_true(both_open || !soon);
	int late[] = {nothing, head, body};
	for (int i = 0; i < 3; i++) {
		struct reply r = hear(late[i]);
		assert_int_equal(r.status, 408);
		assert_has(&r, "Connection: close\r\n");
		assert_closed(late[i]);
		close(late[i]);
	}
	assert_closed(idle);
	close(idle);
	return takes_ms(from, 380, 1500) && soon;
}

static void test_late_requests_get_408_and_idle_connections_a_silent_end(void **state)
{
	(void)state;
	expect_in_a_turn(late_requests);
}

static bool slow_head(void)
{
	int from = now_ms(), fd = dial();
	struct pollfd p = {.fd = fd, .events = POLLIN};
	say(fd, "GET / HTTP/1.1\r\nX: ");
	while (poll(&p, 1, 20) == 0 && now_ms() - from < 3000)
		send(fd, "x", 1, MSG_NOSIGNAL);
	assert_int_equal(hear(fd).status, 408);
	close(fd);
	return takes_ms(from, 380, 1500);
}

static void test_the_head_has_one_deadline_however_many_bytes_come(void **state)
{
	(void)state;
	expect_in_a_turn(slow_head);
}

/* The heads must be in before their deadline, the rest of the requests while the server is busy. */
static bool busy_server(void)
{
	enum { N = 40, BUSY_MS = 600 /* longer than the deadline */ };
	int from = now_ms(), fds[N], busy = dial();
	stub.takes = stub.busy_ms = 0;
	for (int i = 0; i < N; i++) {
		fds[i] = dial();
		say(fds[i], i % 2 ? "GET /nothing HTTP/1.1\r\n"
		                  : "POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n");
	}
	sleep_ms(50);
	stub.busy_ms = BUSY_MS;
	int busy_from = now_ms();
	say(busy, GET("/debug/pprof/heap"));
	for (int i = 0; i < 3000 && taken() == 0; i++)
		sleep_ms(1);
	bool in_time = now_ms() - from < 380;
	for (int i = 0; in_time && i < N; i++)
		say(fds[i], i % 2 ? "Host: localhost\r\n\r\n" : "x");
	in_time = in_time && now_ms() - busy_from < BUSY_MS - 20;
	hear(busy);
	for (int i = 0; i < N; i++) {
		if (in_time)
			assert_int_equal(hear(fds[i]).status, i % 2 ? 404 : 403);
		close(fds[i]);
	}
	close(busy);
	return in_time;
}

static void test_requests_that_came_while_the_server_was_busy_are_not_late(void **state)
{
	(void)state;
	expect_in_a_turn(busy_server);
}

static void test_a_client_that_never_closes_is_closed(void **state)
{
	(void)state;
	int fd = dial();
	say(fd, GETC("/debug/pprof/heap"));
	assert_int_equal(hear(fd).status, 200);
	assert_closed(fd);
	sleep_ms(600);
	for (int i = 0; i < 2000 && send(fd, "x", 1, MSG_NOSIGNAL) == 1; i++)
		sleep_ms(5);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
	close(fd);
}

static double thread_seconds(void)
{
	clockid_t clock;
	struct timespec t;
	pthread_getcpuclockid(run.thread, &clock);
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* From the kernel's count of the thread's sleeps. */
static long thread_switches(void)
{
	char path[300], line[200];
	long most = -1;
	DIR *d = opendir("/proc/self/task");
	for (struct dirent *e; (e = readdir(d));) {
		if (atoi(e->d_name) == 0 || atoi(e->d_name) == getpid())
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
		FILE *f = fopen(path, "r");
		while (f && fgets(line, sizeof line, f))
			sscanf(line, "voluntary_ctxt_switches: %ld", &most);
		if (f)
			fclose(f);
	}
	closedir(d);
	return most;
}

static bool sleeps_for(int ms)
{
	long before = thread_switches();
	sleep_ms(ms);
	return thread_switches() == before;
}

/* It may have been woken by the last client late. */
static bool sleeps(void)
{
	sleep_ms(100);
	return sleeps_for(700);
}

static void test_an_idle_listener_never_wakes(void **state)
{
	(void)state;
	assert_int_equal(ask(GETC("/debug/pprof/heap")).status, 200);
	expect_in_a_turn(sleeps);
}

/* Of a busy machine's server, once the large answer is made. */
static bool costs_little(void)
{
	double before = thread_seconds();
	sleep_ms(300);
	return thread_seconds() - before < 0.03;
}

static void test_waiting_connections_cost_no_time(void **state)
{
	(void)state;
	int delta = dial(), large = dial(), closing = dial(), piped = dial();
	stub.body_bytes = 20 << 20;
	say(large, GET("/debug/pprof/heap"));
	say(delta, GET("/debug/pprof/heap?seconds=3") GET("/nothing"));
	say(closing, GETC("/nothing"));
	say(piped, GET("/nothing") "GET /debug");
	sleep_ms(200);
	expect_in_a_turn(costs_little);
	wire_acquire();
	stub.body_bytes = 100;
	wire_release();
	assert_int_equal(hear(delta).status, 200);
	assert_int_equal(hear(delta).status, 404);
	close(delta);
	close(large);
	close(closing);
	close(piped);
}

/* ---- deltas ---- */

static void ask_for_others(void)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(GET("/debug/pprof/threadcreate")).status, 200);
}

static bool two_deltas(void)
{
	stub.takes = 0;
	int from = now_ms(), first = dial(), second = dial();
	say(first, GET("/debug/pprof/heap?seconds=1"));
	say(second, GET("/debug/pprof/allocs?seconds=1"));
	ask_for_others();
	bool waits = is_open(first), soon = now_ms() - from < 900;
	assert_true(waits || !soon);
	struct reply r = hear(first);
	assert_int_equal(r.status, 200);
	assert_has(&r, "Content-Disposition: attachment; filename=\"heap-delta\"\r\n");
	assert_has(&r, "Content-Type: application/octet-stream\r\n");
	r = hear(second);
	assert_has(&r, "Content-Disposition: attachment; filename=\"allocs-delta\"\r\n");
	bool in_time = takes_ms(from, 1000, 1900) && soon;
	assert_true(!soon || stub.had_before); /* else one of the others was the last */
	assert_int_equal(taken(), 24);
	say(first, GET("/nothing"));
	assert_int_equal(hear(first).status, 404);
	close(first);
	close(second);
	return in_time;
}

static void test_a_delta_waits_while_others_are_served(void **state)
{
	(void)state;
	expect_in_a_turn(two_deltas);
}

static void test_a_delta_whose_client_goes_away_is_dropped(void **state)
{
	(void)state;
	int closes = dial(), resets = dial();
	say(closes, GET("/debug/pprof/heap?seconds=1"));
	say(resets, GET("/debug/pprof/heap?seconds=1"));
	for (int i = 0; i < 20000 && taken() < 2; i++)
		sleep_ms(1);
	close(closes);
	setsockopt(resets, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	close(resets);
	for (int i = 0; i < 5000 && arena_mapped_bytes(); i++)
		sleep_ms(1);
	assert_int_equal(arena_mapped_bytes(), 0);
	sleep_ms(1100);
	assert_int_equal(taken(), 2);
}

/* ---- deltas of contention at a rate of their own ---- */

static void wait_for_least(const int *counter, int value)
{
	for (int i = 0; i < 20000 && counted(counter) < value; i++)
		sleep_ms(1);
	assert_true(counted(counter) >= value);
}

static void wait_for(const int *counter, int value)
{
	wait_for_least(counter, value);
	assert_int_equal(counted(counter), value);
}

static bool rates_of_their_own(void)
{
	static const struct {
		const char *request, *file;
		enum profile_kind kind;
		enum contention_kind side;
		uint64_t rate;
	} rows[] = {
		{GET("/debug/pprof/block?seconds=1&rate=1"), "filename=\"block-delta\"\r\n", PROFILE_BLOCK,
	         CONTENTION_BLOCK, 1},
		{GET("/debug/pprof/mutex?fraction=%2b9223372036854775807&rate=x&seconds=1"),
	         "filename=\"mutex-delta\"\r\n", PROFILE_MUTEX, CONTENTION_MUTEX, INT64_MAX},
		{"POST /debug/pprof/block?rate=7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n"
	         "Content-Type: application/x-www-form-urlencoded\r\n\r\nseconds=1&rate=5",
	         "filename=\"block-delta\"\r\n", PROFILE_BLOCK, CONTENTION_BLOCK, 5},
	};
	bool in_time = true;
	stub.raises = stub.restores = stub.takes = 0;
	for (int i = 0; i < (int)(sizeof rows / sizeof *rows); i++) {
		int from = now_ms(), fd = dial();
		say(fd, rows[i].request);
		wait_for(&stub.raises, i + 1);
		sleep_ms(500);
		int restored = counted(&stub.restores);
		bool soon = now_ms() - from < 950;
		assert_true(restored == i || !soon);
		in_time &= soon;
		struct reply r = hear(fd);
		assert_int_equal(r.status, 200);
		assert_has(&r, rows[i].file);
		assert_int_equal(stub.kind, rows[i].kind);
		assert_true(stub.had_before);
		assert_int_equal(stub.raise_kind, rows[i].side);
		assert_int_equal(stub.rate, rows[i].rate);
		assert_int_equal(stub.takes_at_raise, 2 * i);
		assert_int_equal(stub.takes_at_restore, 2 * i + 2);
		close(fd);
		sleep_ms(50);
		assert_int_equal(counted(&stub.restores), i + 1); /* once */
	}
	return in_time;
}

static void test_a_rate_holds_from_before_the_first_snapshot_until_after_the_second(void **state)
{
	(void)state;
	expect_in_a_turn(rates_of_their_own);
}

static void test_a_delta_without_a_rate_raises_none(void **state)
{
	(void)state;
	int block = dial(), heap = dial();
	say(block, GET("/debug/pprof/block?seconds=1&fraction=1"));
	say(heap, GET("/debug/pprof/heap?seconds=1&rate=1&fraction=1"));
	assert_int_equal(hear(block).status, 200);
	assert_int_equal(hear(heap).status, 200);
	assert_int_equal(counted(&stub.raises) + counted(&stub.restores), 0);
	close(block);
	close(heap);
}

static void test_a_rate_that_cannot_be_had_is_refused_in_one_line(void **state)
{
	static const struct {
		const char *request;
		int error, status;
		const char *text;
	} rows[] = {
		{GET("/debug/pprof/block?seconds=1&rate=1"), -ENOSYS, 400,
	         "pprofshim: nothing is recorded, as the program was started with PPROF_BLOCK_RATE=0; start it with "
	         "another value, or without\n"},
		{GET("/debug/pprof/mutex?seconds=1&fraction=1"), -ENOSYS, 400,
	         "pprofshim: nothing is recorded, as the program was started with PPROF_MUTEX_FRACTION=0; start it "
	         "with another value, or without\n"},
		{GET("/debug/pprof/mutex?seconds=1&fraction=1"), -EBUSY, 503,
	         "pprofshim: too many requests have a rate of their own already; ask again later\n"},
		{GET("/debug/pprof/block?seconds=1&rate=1"), -ENOMEM, 503,
	         "pprofshim: no memory left for this answer; ask again when others are done, or raise "
	         "PPROF_MEMORY_LIMIT\n"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		stub.raise_error = rows[i].error;
		struct reply r = ask(rows[i].request);
		assert_int_equal(r.status, rows[i].status);
		assert_string_equal(r.body, rows[i].text);
		assert_has(&r, "X-Go-Pprof: 1\r\n");
		assert_lacks(&r, "Content-Disposition");
	}
	assert_int_equal(taken(), 0);
	assert_int_equal(counted(&stub.restores), 0);
}

static bool failing_snapshots(void)
{
	stub.takes = stub.restores = 0;
	stub.error = -ENOMEM; /* of the first */
	assert_int_equal(ask(GET("/debug/pprof/block?seconds=1&rate=1")).status, 503);
	assert_int_equal(counted(&stub.restores), 1);
	stub.error = 0;
	int from = now_ms(), fd = dial();
	say(fd, GET("/debug/pprof/block?seconds=1&rate=1"));
	wait_for_least(&stub.takes, 2);
	sleep_ms(50);
	wire_acquire();
	stub.error = -ENOMEM;
	wire_release();
	bool in_time = now_ms() - from < 950;
	int status = hear(fd).status;
	assert_true(status == 503 || !in_time);
	close(fd);
	wait_for(&stub.restores, 2);
	sleep_ms(50);
	assert_int_equal(counted(&stub.restores), 2);
	return in_time;
}

static void test_a_rate_is_restored_when_a_snapshot_fails(void **state)
{
	(void)state;
	expect_in_a_turn(failing_snapshots);
}

static void test_a_rate_is_restored_once_when_its_client_goes_away(void **state)
{
	(void)state;
	int leaves = dial(), stays = dial();
	say(leaves, GET("/debug/pprof/block?seconds=1&rate=1"));
	say(stays, GET("/debug/pprof/block?seconds=30&rate=2"));
	wait_for(&stub.raises, 2);
	close(leaves);
	wait_for(&stub.restores, 1);
	sleep_ms(1100);
	assert_int_equal(counted(&stub.restores), 1);
	assert_int_equal(taken(), 2);
	run.move_fd = -1;
	give_order(order_move);
	assert_int_equal(counted(&stub.restores), 2);
	close(stays);
}

/* ---- the CPU profile ---- */

static void forget_counts(void)
{
	stub.begins = stub.drains = stub.ends = stub.abandons = stub.releases = 0;
}

static bool drained_profile(void)
{
	forget_counts();
	stub.drain_ms = 300;
	int from = now_ms(), fd = dial();
	say(fd, GET("/debug/pprof/profile?seconds=1"));
	wait_for(&stub.begins, 1);
	ask_for_others();
	bool waits = is_open(fd), soon = now_ms() - from < 900;
	assert_true(waits || !soon);
	struct reply r = hear(fd);
	bool in_time = takes_ms(from, 1000, 1250) && soon; /* not at the drain after the end */
	assert_int_equal(r.status, 200);
	assert_has(&r, "Content-Type: application/octet-stream\r\n");
	assert_has(&r, "Content-Disposition: attachment; filename=\"profile\"\r\n");
	assert_int_equal(r.body_len, 100);
	if (soon) { /* else one of the others was the last */
		assert_int_equal(stub.kind, PROFILE_CPU);
		assert_int_equal(stub.duration_ns, 123);
		assert_false(stub.had_before);
	}
	assert_int_equal(stub.hz, 0);
	assert_in_range(counted(&stub.drains), 1, 4); /* at 0, 300, 600, 900 */
	assert_int_equal(counted(&stub.ends), 1);
	say(fd, GET("/nothing"));
	assert_int_equal(hear(fd).status, 404);
	close(fd);
	sleep_ms(50);
	assert_int_equal(counted(&stub.abandons), 0);
	return in_time && counted(&stub.drains) == 4;
}

static void test_a_cpu_profile_is_drained_until_its_end_while_others_are_served(void **state)
{
	(void)state;
	expect_in_a_turn(drained_profile);
}

static bool drained_all_the_time(void)
{
	forget_counts();
	assert_int_equal(ask(GET("/debug/pprof/profile?seconds=1&hz=1000")).status, 200);
	assert_int_equal(stub.hz, 1000);
	assert_in_range(counted(&stub.drains), 1, 1001);
	return counted(&stub.drains) >= 100;
}

static void test_a_profile_that_wants_to_be_drained_all_the_time_does_not_spin(void **state)
{
	(void)state;
	expect_in_a_turn(drained_all_the_time);
}

static void test_head_of_a_profile_takes_one(void **state)
{
	(void)state;
	int fd = dial();
	stub.drain_ms = 100;
	say(fd, "HEAD /debug/pprof/profile?seconds=1&hz=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
	struct reply r = hear_for(fd, true);
	assert_int_equal(r.status, 200);
	assert_has(&r, "filename=\"profile\"\r\n");
	assert_int_equal(counted(&stub.ends), 1);
	say(fd, GET("/nothing"));
	assert_int_equal(hear(fd).status, 404);
	close(fd);
}

static void test_a_profile_that_cannot_begin_says_why(void **state)
{
	static const struct {
		int error;
		const char *text;
	} rows[] = {
		{-EBUSY, "Could not enable CPU profiling: cpu profiling already in use\n"},
		{-ENOSYS, "Could not enable CPU profiling: not possible on this system\n"},
		{-ENOMEM, "Could not enable CPU profiling: pprofshim: no memory left for this answer; ask again when "
	                  "others are done, or raise PPROF_MEMORY_LIMIT\n"},
		{-EAGAIN, "Could not enable CPU profiling: error 11\n"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		stub.begin_error = rows[i].error;
		struct reply r = ask(GET("/debug/pprof/profile?seconds=1"));
		assert_int_equal(r.status, rows[i].error == -ENOMEM ? 503 : 500);
		assert_string_equal(r.body, rows[i].text);
		assert_has(&r, "Content-Type: text/plain; charset=utf-8\r\n");
		assert_has(&r, "X-Go-Pprof: 1\r\n");
		assert_lacks(&r, "Content-Disposition");
	}
	assert_int_equal(counted(&stub.drains) + counted(&stub.ends) + counted(&stub.abandons), 0);
}

static void test_a_profile_that_cannot_end_says_so_and_is_over(void **state)
{
	(void)state;
	stub.drain_ms = 100;
	stub.end_error = -ENOMEM;
	struct reply r = ask(GET("/debug/pprof/profile?seconds=1"));
	assert_int_equal(r.status, 503);
	assert_string_equal(r.body, "pprofshim: no memory left for this answer; ask again when others are done, or "
	                            "raise PPROF_MEMORY_LIMIT\n");
	assert_lacks(&r, "Content-Disposition");
	sleep_ms(50);
	assert_int_equal(counted(&stub.ends), 1);
	assert_int_equal(counted(&stub.abandons), 0);
}

static void test_a_profile_of_impossible_length_or_rate_is_refused(void **state)
{
	static const char too_long[] = "profile duration exceeds server's WriteTimeout\n";
	static const char bad_hz[] = "invalid value for \"hz\" - must be an integer from 1 to 1000\n";
#define PROFILE(query) GET("/debug/pprof/profile?" query)
	static const struct {
		const char *request, *text;
	} rows[] = {
		{PROFILE("seconds=3601"), too_long},
		{PROFILE("seconds=9223372036854775807&hz=x"), too_long},
		{PROFILE("hz=0"), bad_hz},
		{PROFILE("hz=-1"), bad_hz},
		{PROFILE("hz=1001"), bad_hz},
		{PROFILE("hz=4294967396"), bad_hz},
		{PROFILE("hz=99999999999999999999"), bad_hz},
		{PROFILE("hz=1.5"), bad_hz},
		{PROFILE("hz=x&seconds=1"), bad_hz},
		{PROFILE("hz="), bad_hz},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct reply r = ask(rows[i].request);
		if (r.status != 400 || strcmp(r.body, rows[i].text) != 0)
			fail_msg("%s: %d %s", rows[i].request, r.status, r.body);
	}
	assert_int_equal(counted(&stub.begins), 0);
}

static void test_a_profile_without_a_good_length_takes_long(void **state)
{
	static const char *const requests[] = {
		PROFILE(""),
		PROFILE("seconds=0"),
		PROFILE("seconds=-1"),
		PROFILE("seconds=1.5"),
		PROFILE("seconds=x"),
		PROFILE("seconds=99999999999999999999"),
		PROFILE("seconds=3600"),
		"POST /debug/pprof/profile?seconds=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
		"Content-Type: application/x-www-form-urlencoded\r\n\r\nseconds=0"};
	enum { N = sizeof requests / sizeof *requests };
	int fd[N];
	(void)state;
	stub.drain_ms = 100;
	for (int i = 0; i < N; i++) {
		fd[i] = dial();
		say(fd[i], requests[i]);
	}
	wait_for(&stub.begins, N);
	sleep_ms(1600);
	for (int i = 0; i < N; i++) {
		assert_true(is_open(fd[i]));
		close(fd[i]);
		wait_for(&stub.abandons, i + 1);
	}
	assert_int_equal(counted(&stub.ends), 0);
}

static void test_a_profile_whose_client_goes_away_is_abandoned_once(void **state)
{
	(void)state;
	stub.drain_ms = 50;
	for (int resets = 0; resets < 2; resets++) {
		int fd = dial();
		say(fd, GET("/debug/pprof/profile?seconds=1"));
		wait_for(&stub.begins, resets + 1);
		sleep_ms(resets * 120);
		if (resets)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
		close(fd);
		wait_for(&stub.abandons, resets + 1);
	}
	int drains = counted(&stub.drains);
	sleep_ms(1100);
	assert_int_equal(counted(&stub.abandons), 2);
	assert_int_equal(counted(&stub.drains), drains);
	assert_int_equal(counted(&stub.ends), 0);
	assert_int_equal(arena_mapped_bytes(), 0);
}

static void begin_long_profile(int *fd)
{
	*fd = dial();
	stub.drain_ms = 50;
	say(*fd, GET("/debug/pprof/profile?seconds=30"));
	wait_for(&stub.begins, 1);
}

static void test_a_moved_server_abandons_its_profile(void **state)
{
	(void)state;
	int fd;
	begin_long_profile(&fd);
	run.move_fd = -1;
	give_order(order_move);
	assert_int_equal(counted(&stub.abandons), 1);
	close(fd);
}

static void test_a_server_stops_in_a_profile(void **state)
{
	(void)state;
	int fd;
	begin_long_profile(&fd);
	run.fds_before++; /* fd, which ends with the test program */
}

static int stop_in_a_profile(void **state)
{
	int rc = stop(state);
	return rc == 0 && counted(&stub.abandons) == 1 && counted(&stub.ends) == 0 ? 0 : -1;
}

/* ---- the execution trace ---- */

#define TRACE(query) GET("/debug/pprof/trace?" query)

static bool drained_trace(void)
{
	forget_counts();
	stub.drain_ms = 300;
	int from = now_ms(), fd = dial();
	say(fd, GET("/debug/pprof/trace"));
	wait_for(&stub.begins, 1);
	ask_for_others();
	bool soon = now_ms() - from < 900;
	struct reply r = hear(fd);
	bool in_time = takes_ms(from, 1000, 1250) && soon;
	assert_int_equal(r.status, 200);
	assert_has(&r, "Content-Type: application/octet-stream\r\n");
	assert_has(&r, "Content-Disposition: attachment; filename=\"trace\"\r\n");
	assert_string_equal(r.body, "go");
	assert_in_range(counted(&stub.drains), 1, 4); /* at 0, 300, 600, 900 */
	assert_int_equal(counted(&stub.ends), 1);
	assert_int_equal(counted(&stub.releases), 1);
	say(fd, GET("/nothing"));
	assert_int_equal(hear(fd).status, 404);
	close(fd);
	sleep_ms(50);
	assert_int_equal(counted(&stub.abandons), 0);
	return in_time && counted(&stub.drains) == 4;
}

static void test_a_trace_is_drained_until_its_end_and_given_back_when_it_is_encoded(void **state)
{
	(void)state;
	expect_in_a_turn(drained_trace);
}

static void test_a_trace_is_in_the_format_and_of_the_length_asked_for(void **state)
{
	static const struct {
		const char *request, *body, *file;
		int least_ms;
	} rows[] = {
		{TRACE("seconds=.1"), "go", "filename=\"trace\"\r\n", 100},
		{TRACE("seconds=1e-1&format=go"), "go", "filename=\"trace\"\r\n", 100},
		{TRACE("seconds=0.2&format=&debug=1"), "go", "filename=\"trace\"\r\n", 200},
		{TRACE("seconds=0.3&format=perfetto"), "perfetto", "filename=\"trace.perfetto-trace\"\r\n", 300},
		{TRACE("seconds=1e-30"), "go", "filename=\"trace\"\r\n", 0},
		{TRACE("seconds=0"), "go", "filename=\"trace\"\r\n", 1000},
		{TRACE("seconds=-3"), "go", "filename=\"trace\"\r\n", 1000},
		{TRACE("seconds=x"), "go", "filename=\"trace\"\r\n", 1000},
		{TRACE("seconds=nan"), "go", "filename=\"trace\"\r\n", 1000},
		{"POST /debug/pprof/trace?seconds=30 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 27\r\n"
	         "Content-Type: application/x-www-form-urlencoded\r\n\r\nseconds=0.2&format=perfetto",
	         "perfetto", "filename=\"trace.perfetto-trace\"\r\n", 200},
	};
	enum { N = sizeof rows / sizeof *rows };
	(void)state;
	stub.drain_ms = 20;
	int asked = 0;
	for (int i = 0, turn = 1; i < N; asked++) {
		int from = now_ms();
		struct reply r = ask(rows[i].request);
		bool in_time = takes_ms(from, rows[i].least_ms, rows[i].least_ms + 180);
		assert_int_equal(r.status, 200);
		assert_has(&r, rows[i].file);
		assert_string_equal(r.body, rows[i].body);
		if (!in_time && turn == TURNS)
			fail_msg("row %d takes too long, %d times", i, TURNS);
		turn = in_time ? 1 : turn + 1;
		i += in_time;
	}
	assert_int_equal(counted(&stub.releases), asked);
}

static bool full_traces(void)
{
	int from = now_ms();
	forget_counts();
	stub.drain_ms = 20;
	for (unsigned n = 1; n <= 2; n++) {
		stub.drains = 0;
		stub.drains_until_full = n;
		assert_string_equal(ask(TRACE("seconds=30")).body, "go");
		assert_int_equal(counted(&stub.drains), n);
		assert_int_equal(counted(&stub.releases), n);
	}
	assert_int_equal(counted(&stub.abandons), 0);
	return takes_ms(from, 0, 500);
}

static void test_a_full_trace_ends_early(void **state)
{
	(void)state;
	expect_in_a_turn(full_traces);
}

static void test_head_of_a_trace_takes_one(void **state)
{
	(void)state;
	int fd = dial();
	stub.drain_ms = 20;
	say(fd, "HEAD /debug/pprof/trace?seconds=0.1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
	struct reply r = hear_for(fd, true);
	assert_int_equal(r.status, 200);
	assert_has(&r, "filename=\"trace\"\r\n");
	assert_has(&r, "Content-Length: 2\r\n");
	assert_int_equal(counted(&stub.releases), 1);
	say(fd, GET("/nothing"));
	assert_int_equal(hear(fd).status, 404);
	close(fd);
}

static void test_a_trace_that_cannot_begin_says_why(void **state)
{
	static const struct {
		int error;
		const char *text;
	} rows[] = {
		{-EBUSY, "Could not enable tracing: tracing is already enabled\n"},
		{-ENOMEM, "Could not enable tracing: pprofshim: no memory left for this answer; ask again when others "
	                  "are done, or raise PPROF_MEMORY_LIMIT\n"},
		{-EAGAIN, "Could not enable tracing: error 11\n"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		stub.begin_error = rows[i].error;
		struct reply r = ask(GET("/debug/pprof/trace"));
		assert_int_equal(r.status, rows[i].error == -ENOMEM ? 503 : 500);
		assert_string_equal(r.body, rows[i].text);
		assert_has(&r, "X-Go-Pprof: 1\r\n");
		assert_lacks(&r, "Content-Disposition");
	}
	assert_int_equal(
		counted(&stub.drains) + counted(&stub.ends) + counted(&stub.abandons) + counted(&stub.releases), 0);
}

static void test_a_trace_that_cannot_end_or_be_encoded_is_given_back(void **state)
{
	(void)state;
	stub.drain_ms = 20;
	for (int i = 0; i < 2; i++) {
		stub.end_error = i == 0 ? -ENOMEM : 0;
		stub.error = i == 1 ? -ENOMEM : 0;
		struct reply r = ask(TRACE("seconds=0.1"));
		assert_int_equal(r.status, 503);
		assert_string_equal(r.body, "pprofshim: no memory left for this answer; ask again when others are "
		                            "done, or raise PPROF_MEMORY_LIMIT\n");
		assert_lacks(&r, "Content-Disposition");
		sleep_ms(50);
		assert_int_equal(counted(&stub.ends), i + 1);
		assert_int_equal(counted(&stub.releases), i + 1);
		assert_int_equal(counted(&stub.abandons), 0);
	}
}

static void test_a_trace_whose_client_goes_away_is_abandoned_once(void **state)
{
	(void)state;
	stub.drain_ms = 20;
	int fd = dial();
	say(fd, TRACE("seconds=0.5"));
	wait_for(&stub.begins, 1);
	sleep_ms(100);
	close(fd);
	wait_for(&stub.abandons, 1);
	sleep_ms(600);
	assert_int_equal(counted(&stub.abandons), 1);
	assert_int_equal(counted(&stub.ends) + counted(&stub.releases), 0);
	assert_int_equal(arena_mapped_bytes(), 0);
}

/* ---- large answers ---- */

/* ---- answers that need names ---- */

static void test_an_answer_is_made_again_until_all_names_are_there(void **state)
{
	static const struct {
		const char *request, *body;
	} rows[] = {
		{GET("/debug/pprof/heap?debug=1"), "text form\n"},
		{GET("/debug/pprof/symbol?0x1"), "num_symbols: 1\n0x1"},
		{TRACE("seconds=0.1"), "go"},
	};
	(void)state;
	stub.drain_ms = 20;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		stub.rounds = 3;
		stub.looks = 0;
		stub.attempts = 0;
		struct reply r = ask(rows[i].request);
		assert_int_equal(r.status, 200);
		assert_string_equal(r.body, rows[i].body);
		assert_int_equal(counted(&stub.attempts), 4);
	}
	stub.looks = 0;
	assert_int_equal(ask(GET("/debug/pprof/heap?seconds=1")).status, 200);
	stub.looks = 0;
	assert_int_equal(ask(GET("/debug/pprof/profile?seconds=1")).status, 200);
}

static bool looked_up(void)
{
	int fd = dial(), from = now_ms();
	stub.attempts = 0;
	stub.rounds = 1;
	stub.never_named = true;
	say(fd, GET("/debug/pprof/heap"));
	wait_for(&stub.attempts, 1);
	uint64_t held = arena_mapped_bytes();
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(GET("/debug/pprof/")).status, 200);
	int attempts = counted(&stub.attempts);
	bool soon = now_ms() - from < 2000;
	assert_true(attempts == 1 || !soon);
	assert_true(held < 200 * 1000); /* what the attempt had taken is given back */
	__atomic_store_n(&stub.never_named, false, __ATOMIC_RELAXED);
	assert_int_equal(hear(fd).status, 200);
	assert_true(counted(&stub.attempts) == 2 || !soon);
	close(fd);
	return soon;
}

static void test_while_names_are_looked_up_others_are_served(void **state)
{
	(void)state;
	expect_in_a_turn(looked_up);
}

static void test_a_trace_whose_client_goes_away_before_it_is_named_is_given_back(void **state)
{
	(void)state;
	int fd = dial();
	stub.drain_ms = 20;
	stub.rounds = 1;
	stub.never_named = true;
	say(fd, TRACE("seconds=0.1"));
	wait_for(&stub.attempts, 1);
	assert_int_equal(counted(&stub.releases), 0);
	close(fd);
	wait_for(&stub.releases, 1);
	sleep_ms(50);
	assert_int_equal(counted(&stub.releases), 1);
	assert_int_equal(counted(&stub.abandons), 0);
}

static void test_the_index_tells_the_symbolizers_trouble(void **state)
{
	(void)state;
	stub.trouble = "it is <not> there";
	struct reply r = ask(GET("/debug/pprof/"));
	assert_non_null(strstr(r.body, "<li>it is &lt;not&gt; there</li>"));
}

static void test_a_slow_reader_gets_a_large_answer_whole(void **state)
{
	(void)state;
	enum { LENGTH = 20 << 20 };
	int fd = dial();
	size_t n = 0;
	static char part[256 * 1024];
	stub.body_bytes = LENGTH;
	say(fd, GETC("/debug/pprof/heap"));
	while (true) { /* the head */
		assert_int_equal(recv(fd, part + n++, 1, 0), 1);
		if (n >= 4 && memcmp(part + n - 4, "\r\n\r\n", 4) == 0)
			break;
	}
	for (n = 0; n < LENGTH;) {
		ssize_t got = recv(fd, part, sizeof part, 0);
		assert_true(got > 0);
		for (ssize_t i = 0; i < got; i++)
			if (part[i] != 'a' + (int)((n + (size_t)i) / 1000 % 26))
				fail_msg("byte %zu", n + (size_t)i);
		n += (size_t)got;
		if (n < 2 << 20)
			sleep_ms(1);
	}
	assert_int_equal(n, LENGTH);
	assert_closed(fd);
	close(fd);
}

static void test_a_reader_that_stops_is_reset(void **state)
{
	(void)state;
	char part[4096];
	int fd = dial();
	stub.body_bytes = 20 << 20;
	say(fd, GET("/debug/pprof/heap"));
	assert_int_equal(recv(fd, part, sizeof part, 0) > 0, 1);
	for (int i = 0; i < 20000 && !arena_mapped_bytes(); i++)
		sleep_ms(1);
	for (int i = 0; i < 20000 && arena_mapped_bytes(); i++)
		sleep_ms(1);
	assert_int_equal(arena_mapped_bytes(), 0);
	ssize_t got;
	while ((got = recv(fd, part, sizeof part, 0)) > 0)
		;
	assert_int_equal(got, -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
	assert_int_equal(ask(GET("/nothing")).status, 404);
}

/* ---- the program around it ---- */

static void test_a_moved_server_leaves_its_port_free_at_once(void **state)
{
	(void)state;
	int used = dial(), waits = dial(), half = dial();
	say(used, GET("/debug/pprof/heap"));
	assert_int_equal(hear(used).status, 200);
	say(waits, GET("/debug/pprof/heap?seconds=30"));
	say(half, "GET /");
	for (int i = 0; i < 20000 && taken() < 2; i++)
		sleep_ms(1);
	int copy = fcntl(run.options.listen_fd, F_DUPFD_CLOEXEC, 0); /* as a fork child holds one */

	struct address old = run.address;
	run.move_to = parsed("127.0.0.1:0");
	run.move_fd = address_listen(&run.move_to);
	assert_true(run.move_fd >= 0);
	give_order(order_move);
	run.address = run.move_to;

	close(copy);
	int theirs = socket(AF_INET, SOCK_STREAM, 0); /* the program does not say SO_REUSEADDR */
	assert_int_equal(bind(theirs, (struct sockaddr *)&old.sa, old.sa_len), 0);
	assert_int_equal(listen(theirs, 1), 0);
	char c;
	assert_int_equal(recv(used, &c, 1, 0), -1);
	assert_int_equal(recv(waits, &c, 1, 0), -1);
	assert_int_equal(recv(half, &c, 1, 0), -1);
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
	close(theirs);
	close(used);
	close(waits);
	close(half);
}

static void test_a_server_may_be_moved_to_nowhere_and_back(void **state)
{
	(void)state;
	run.move_fd = -1;
	give_order(order_move);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&run.address.sa, run.address.sa_len), -1);
	close(fd);
	run.move_to = parsed("127.0.0.1:0");
	run.move_fd = address_listen(&run.move_to);
	give_order(order_move);
	run.address = run.move_to;
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
}

static void test_hosts_are_checked_on_loopback_alone(void **state)
{
	(void)state;
	static const char request[] = "GET /debug/pprof/heap HTTP/1.1\r\nHost: pod.example:6060\r\n\r\n";
	assert_int_equal(ask(request).status, 403);
	run.move_to = parsed(":0");
	run.move_fd = address_listen(&run.move_to);
	give_order(order_move);
	char text[32];
	snprintf(text, sizeof text, "127.0.0.1:%u", run.move_to.port);
	run.address = parsed(text);
	assert_int_equal(ask(request).status, 200);
	char name[64];
	snprintf(name, sizeof name, "unix:@test_server.%d", (int)getpid());
	run.move_to = parsed(name);
	run.move_fd = address_listen(&run.move_to);
	give_order(order_move);
	run.address = run.move_to;
	assert_int_equal(ask(request).status, 200);
}

static bool sleeps_shortly(void)
{
	sleep_ms(100);
	return sleeps_for(300);
}

static void test_without_descriptors_clients_wait_and_nothing_spins(void **state)
{
	(void)state;
	struct rlimit old, tight;
	assert_int_equal(ask(GETC("/nothing")).status, 404); /* it runs, and has what it needs */
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	getrlimit(RLIMIT_NOFILE, &old);
	tight = (struct rlimit){.rlim_cur = (rlim_t)fd + 1, .rlim_max = old.rlim_max};
	setrlimit(RLIMIT_NOFILE, &tight);
	int rc = connect(fd, (struct sockaddr *)&run.address.sa, run.address.sa_len);
	double before = thread_seconds();
	sleep_ms(300);
	double spent = thread_seconds() - before;
	setrlimit(RLIMIT_NOFILE, &old);
	assert_int_equal(rc, 0);
	assert_true(spent < 0.05);
	say(fd, GET("/debug/pprof/heap"));
	assert_int_equal(hear(fd).status, 200);
	close(fd);
	expect_in_a_turn(sleeps_shortly); /* and then it sleeps for ever again */
}

/* The highest numbers are ours: accepted connections. */
static int highest_fd(void)
{
	int most = -1;
	DIR *d = opendir("/proc/self/fd");
	for (struct dirent *e; (e = readdir(d));)
		if (atoi(e->d_name) > most)
			most = atoi(e->d_name);
	closedir(d);
	return most;
}

static void test_a_descriptor_that_the_program_took_is_left_alone(void **state)
{
	(void)state;
	int before = highest_fd(), fd = dial(), other = dial(), pair[2];
	say(fd, GET("/debug/pprof/heap"));
	assert_int_equal(hear(fd).status, 200);
	int theirs = highest_fd();
	assert_true(theirs > before);                 /* fd's, idle now, or other's */
	int copy = fcntl(theirs, F_DUPFD_CLOEXEC, 0); /* keeps it in the epoll set, as a fork child does */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(dup2(pair[0], theirs), theirs);
	send(fd, "x", 1, MSG_NOSIGNAL);
	send(other, "x", 1, MSG_NOSIGNAL);
	sleep_ms(50);
	double spent = thread_seconds();
	sleep_ms(200);
	assert_true(thread_seconds() - spent < 0.05);
	sleep_ms(800); /* past every deadline */
	say_bytes(pair[1], "mine", 4);
	char text[4];
	assert_int_equal(recv(theirs, text, 4, MSG_DONTWAIT), 4); /* nobody read it, nobody closed it */
	assert_memory_equal(text, "mine", 4);
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
	close(theirs);
	close(copy);
	close(pair[0]);
	close(pair[1]);
	close(fd);
	close(other);
}

static void test_a_profile_whose_descriptor_the_program_took_is_abandoned(void **state)
{
	(void)state;
	int before = highest_fd(), fd, pair[2];
	begin_long_profile(&fd);
	int theirs = highest_fd();
	assert_true(theirs > before);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(dup2(pair[0], theirs), theirs);
	wait_for(&stub.abandons, 1);
	sleep_ms(100);
	assert_int_equal(counted(&stub.abandons), 1);
	assert_int_equal(fcntl(theirs, F_GETFD) >= 0, 1);
	close(theirs);
	close(pair[0]);
	close(pair[1]);
	close(fd);
}

static void test_a_fork_childs_copies_neither_keep_clients_nor_wake_the_server(void **state)
{
	(void)state;
	int fd = dial(), go[2];
	char c;
	say(fd, GET("/debug/pprof/heap"));
	assert_int_equal(hear(fd).status, 200);
	assert_int_equal(pipe(go), 0);
	pid_t child = fork();
	if (child == 0) {
		close(go[1]);
		_exit(read(go[0], &c, 1) == 0 ? 0 : 1);
	}
	close(go[0]);
	assert_closed(fd); /* idle for too long: the client sees it although the child holds a copy */
	double spent = thread_seconds();
	sleep_ms(200);
	assert_true(thread_seconds() - spent < 0.05);
	close(go[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	close(fd);
}

static char server_state(void)
{
	char path[300], text[300], state = 0;
	DIR *d = opendir("/proc/self/task");
	for (struct dirent *e; (e = readdir(d));) {
		if (atoi(e->d_name) == 0 || atoi(e->d_name) == getpid())
			continue;
		snprintf(path, sizeof path, "/proc/self/task/%s/stat", e->d_name);
		FILE *f = fopen(path, "r");
		if (f && fgets(text, sizeof text, f) && strrchr(text, ')'))
			state = strrchr(text, ')')[2];
		if (f)
			fclose(f);
	}
	closedir(d);
	return state;
}

static void until_server_sleeps(void)
{
	for (int seen = 0, i = 0; seen < 3 && i < 20000; i++) {
		sleep_ms(1);
		seen = server_state() == 'S' ? seen + 1 : 0;
	}
}

#ifndef __SANITIZE_THREAD__ /* which cannot start a thread in a child of threads */
/* A child has what the server has at the fork: none of the tests forks while it is still at the last answer. */
static pid_t fork_while_it_sleeps(void)
{
	until_server_sleeps();
	return fork();
}

static int child_life(void)
{
	struct address a = parsed("127.0.0.1:0");
	struct server_options options = run.options;
	int parents_listen = options.listen_fd, parents_port = run.address.port;
	options.listen_fd = address_listen(&a);
	options.address = a;
	options.wake_fd = eventfd(0, EFD_CLOEXEC);
	run.options = options;
	run.address = a;
	if (pthread_create(&run.thread, NULL, serve, NULL) != 0)
		return 1;
	if (ask(GET("/debug/pprof/heap")).status != 200)
		return 2;
	struct sockaddr_in held = {0}; /* the number may serve something else by now */
	socklen_t len = sizeof held;
	if (getsockname(parents_listen, (struct sockaddr *)&held, &len) == 0 && ntohs(held.sin_port) == parents_port)
		return 3;
	give_order(server_stop);
	pthread_join(run.thread, NULL);
	return arena_mapped_bytes() == 0 ? 0 : 4;
}

static void test_a_fork_child_serves_anew_and_leaves_the_parents_clients_alone(void **state)
{
	(void)state;
	int idle = dial(), waits = dial(), status;
	say(idle, GET("/debug/pprof/heap"));
	assert_int_equal(hear(idle).status, 200);
	say(waits, GET("/debug/pprof/heap?seconds=1"));
	for (int i = 0; i < 20000 && taken() < 2; i++)
		sleep_ms(1);
	pid_t child = fork_while_it_sleeps();
	if (child == 0)
		_exit(child_life());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	say(idle, GET("/nothing"));
	assert_int_equal(hear(idle).status, 404);
	assert_int_equal(hear(waits).status, 200);
	close(idle);
	close(waits);
}
/* Where the listener has a table of its own, the numbers it left in memory mean the child's own files. */
static int child_life_in_another_table(void)
{
	enum { FROM = 850, TO = 930 };
	int mine[2];
	if (pipe(mine) != 0)
		return 10;
	struct fd_identity identity = fd_identify(mine[0]);
	for (int fd = FROM; fd < TO; fd++)
		if (dup2(mine[0], fd) != fd)
			return 11;
	int status = child_life();
	if (status)
		return status;
	for (int fd = FROM; fd < TO; fd++)
		if (!fd_is(fd, identity))
			return 12;
	return 0;
}

enum { OVER = 30 };
static int child_life_without_a_profile(void)
{
	house.generation++; /* as libc's fork handler has it */
	if (counted(&stub.ends))
		return OVER; /* before the fork */
	int status = child_life();
	return status ? status : counted(&stub.abandons) + counted(&stub.ends) ? 20 : 0;
}

static bool fork_in_a_profile(void)
{
	int fd = dial(), status;
	forget_counts();
	stub.drain_ms = 50;
	say(fd, GET("/debug/pprof/profile?seconds=1"));
	wait_for(&stub.begins, 1);
	pid_t child = fork_while_it_sleeps();
	if (child == 0)
		_exit(child_life_without_a_profile());
	assert_int_equal(waitpid(child, &status, 0), child);
	bool over = status == OVER << 8;
	assert_true(over || status == 0);
	assert_int_equal(hear(fd).status, 200);
	assert_int_equal(counted(&stub.ends), 1);
	assert_int_equal(counted(&stub.abandons), 0);
	close(fd);
	return !over;
}

static void test_a_fork_child_leaves_the_parents_profile_alone(void **state)
{
	(void)state;
	expect_in_a_turn(fork_in_a_profile);
}

static void test_a_fork_child_loses_no_file_that_has_a_number_of_the_parents(void **state)
{
	(void)state;
	int idle = dial(), status;
	say(idle, GET("/debug/pprof/heap"));
	assert_int_equal(hear(idle).status, 200);
	pid_t child = fork_while_it_sleeps();
	if (child == 0)
		_exit(child_life_in_another_table());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	say(idle, GET("/nothing"));
	assert_int_equal(hear(idle).status, 404);
	close(idle);
}
#endif

static void test_the_programs_lowest_numbers_stay_free(void **state)
{
	(void)state;
	int first = dial();
	until_server_sleeps(); /* a descriptor has a low number for a moment, before it is moved up */
	int expected = dup(0);
	close(expected);
	say(first, GET("/debug/pprof/heap"));
	assert_int_equal(hear(first).status, 200);
	until_server_sleeps();
	int next = dup(0);
	assert_int_equal(next, expected);
	close(next);
	close(first);
}

static void test_random_bytes_do_not_stop_the_service(void **state)
{
	(void)state;
	static const char seed[] =
		GET("/debug/pprof/heap?debug=1") "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\n"
						 "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n0x1+2" GET("/");
	uint32_t x = 1;
	for (int round = 0; round < 1500; round++) {
		char text[sizeof seed];
		memcpy(text, seed, sizeof seed);
		for (int n = 0; n < 3; n++) {
			x = x * 1664525 + 1013904223;
			text[(x >> 8) % (sizeof seed - 1)] = (char)(x >> 24);
		}
		int fd = dial();
		send(fd, text, sizeof seed - 1, MSG_NOSIGNAL);
		if (round % 4 == 0)
			hear(fd);
		close(fd);
	}
	assert_int_equal(ask(GET("/debug/pprof/heap")).status, 200);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, start, stop)
#define HURRIED(test) cmocka_unit_test_setup_teardown(test, start_hurried, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(test_index_lists_every_endpoint_and_what_got_lost),
		SERVED(test_index_warns_of_what_is_stuck_before_all_else),
		SERVED(test_cmdline_is_argv_joined_by_nul),
		SERVED(test_snapshot_profiles_are_attachments_or_text),
		SERVED(test_symbol_reads_the_query_of_a_get_and_the_body_of_a_post),
		SERVED(test_refusals_have_gos_texts_and_keep_the_connection),
		SERVED(test_the_folder_without_its_slash_is_redirected),
		SERVED(test_encoder_errors_are_one_line_and_nothing_else),
		SERVED(test_head_is_get_without_its_body),
		SERVED(test_out_of_memory_is_said_without_memory),
		SERVED(test_a_connection_serves_many_requests_and_closes_when_asked),
		SERVED(test_http10_closes_unless_asked_not_to),
		SERVED(test_pipelined_requests_are_answered_in_order),
		SERVED(test_a_slow_client_is_served_byte_by_byte),
		SERVED(test_a_client_that_ended_its_side_gets_its_answer),
		SERVED(test_a_body_on_a_get_is_read_and_dropped),
		SERVED(test_a_large_body_is_taken_whole),
		SERVED(test_a_client_that_waits_for_100_is_told_to_continue),
		SERVED(test_broken_requests_are_answered_closed_and_forgotten),
		SERVED(test_a_client_busy_sending_too_much_sees_the_answer),
		SERVED(test_what_follows_a_broken_request_is_not_a_request),
		SERVED(test_sixty_four_are_served_and_the_rest_is_told),
		SERVED(test_many_times_the_connections_come_and_go),
		HURRIED(test_late_requests_get_408_and_idle_connections_a_silent_end),
		HURRIED(test_the_head_has_one_deadline_however_many_bytes_come),
		HURRIED(test_requests_that_came_while_the_server_was_busy_are_not_late),
		HURRIED(test_a_client_that_never_closes_is_closed),
		SERVED(test_an_idle_listener_never_wakes),
		SERVED(test_waiting_connections_cost_no_time),
		SERVED(test_a_delta_waits_while_others_are_served),
		SERVED(test_a_delta_whose_client_goes_away_is_dropped),
		SERVED(test_a_rate_holds_from_before_the_first_snapshot_until_after_the_second),
		SERVED(test_a_delta_without_a_rate_raises_none),
		SERVED(test_a_rate_that_cannot_be_had_is_refused_in_one_line),
		SERVED(test_a_rate_is_restored_when_a_snapshot_fails),
		SERVED(test_a_rate_is_restored_once_when_its_client_goes_away),
		SERVED(test_a_cpu_profile_is_drained_until_its_end_while_others_are_served),
		SERVED(test_a_profile_that_wants_to_be_drained_all_the_time_does_not_spin),
		SERVED(test_head_of_a_profile_takes_one),
		SERVED(test_a_profile_that_cannot_begin_says_why),
		SERVED(test_a_profile_that_cannot_end_says_so_and_is_over),
		SERVED(test_a_profile_of_impossible_length_or_rate_is_refused),
		SERVED(test_a_profile_without_a_good_length_takes_long),
		SERVED(test_a_profile_whose_client_goes_away_is_abandoned_once),
		SERVED(test_a_moved_server_abandons_its_profile),
		cmocka_unit_test_setup_teardown(test_a_server_stops_in_a_profile, start, stop_in_a_profile),
		SERVED(test_a_trace_is_drained_until_its_end_and_given_back_when_it_is_encoded),
		SERVED(test_a_trace_is_in_the_format_and_of_the_length_asked_for),
		SERVED(test_a_full_trace_ends_early),
		SERVED(test_head_of_a_trace_takes_one),
		SERVED(test_a_trace_that_cannot_begin_says_why),
		SERVED(test_a_trace_that_cannot_end_or_be_encoded_is_given_back),
		SERVED(test_a_trace_whose_client_goes_away_is_abandoned_once),
		SERVED(test_an_answer_is_made_again_until_all_names_are_there),
		SERVED(test_while_names_are_looked_up_others_are_served),
		SERVED(test_a_trace_whose_client_goes_away_before_it_is_named_is_given_back),
		SERVED(test_the_index_tells_the_symbolizers_trouble),
		SERVED(test_a_slow_reader_gets_a_large_answer_whole),
		HURRIED(test_a_reader_that_stops_is_reset),
		SERVED(test_a_moved_server_leaves_its_port_free_at_once),
		SERVED(test_a_server_may_be_moved_to_nowhere_and_back),
		SERVED(test_hosts_are_checked_on_loopback_alone),
		SERVED(test_without_descriptors_clients_wait_and_nothing_spins),
		HURRIED(test_a_descriptor_that_the_program_took_is_left_alone),
		SERVED(test_a_profile_whose_descriptor_the_program_took_is_abandoned),
		HURRIED(test_a_fork_childs_copies_neither_keep_clients_nor_wake_the_server),
#ifndef __SANITIZE_THREAD__
		SERVED(test_a_fork_child_serves_anew_and_leaves_the_parents_clients_alone),
		SERVED(test_a_fork_child_leaves_the_parents_profile_alone),
		SERVED(test_a_fork_child_loses_no_file_that_has_a_number_of_the_parents),
#endif
		SERVED(test_the_programs_lowest_numbers_stay_free),
		SERVED(test_random_bytes_do_not_stop_the_service),
	};
	signal(SIGPIPE, SIG_DFL); /* one from the server would end us */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
