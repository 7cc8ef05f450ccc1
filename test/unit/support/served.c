/* served.c - the whole http room in a thread of a test, and a client of it.
 *
 * Runs in: test programs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/server/access.c http/guard/guard.c http/guard/guesses.c http/guard/token.c
 * links: shim/base/kept_file.c shim/base/log.c shim/base/own_file.c shim/base/powers.c shim/base/settings.c
 * links: http/server/server.c http/server/polled.c http/server/slots.c http/server/connection.c
 * links: http/server/relay.c http/server/sending.c http/endpoints/routes.c http/endpoints/parameters.c
 * links: http/endpoints/answer.c
 * links: encoder/bytes/utf8.c http/endpoints/processes.c http/endpoints/pid.c http/endpoints/html.c
 * links: http/endpoints/pod.c
 * links: http/door/door.c http/door/owner.c http/door/member.c http/door/table.c http/door/protocol.c
 * links: http/door/wire.c http/door/status.c
 * links: http/endpoints/index.c http/endpoints/cmdline.c http/endpoints/symbol.c http/endpoints/snapshot.c
 * links: http/endpoints/cpu.c http/endpoints/trace.c http/server/request.c http/server/query.c http/server/path.c
 * links: http/server/response.c http/address/host.c http/address/peer.c http/address/ip.c
 * links: http/address/fd.c http/address/address.c
 * links: encoder/bytes/out.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test/unit/support/served.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "http/server/limits.h"
#include "shim/base/arena.h"
#include "test/unit/support/descriptors.h"

struct served run;

static void obey(void)
{
	uint64_t n;
	if (read(run.options.wake_fd, &n, sizeof n) != sizeof n)
		abort();
	run.order();
	__atomic_add_fetch(&run.done, 1, __ATOMIC_RELEASE);
}

int now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

void order_move(void)
{
	server_move(run.move_fd, &run.move_to);
}

void order_limit(void)
{
	arena_set_limit(run.limit_bytes);
}

void give_order(void (*order)(void))
{
	uint64_t one = 1;
	int done = __atomic_load_n(&run.done, __ATOMIC_ACQUIRE);
	run.order = order;
	assert_int_equal(write(run.options.wake_fd, &one, sizeof one), sizeof one);
	for (int i = 0; i < 20000 && __atomic_load_n(&run.done, __ATOMIC_ACQUIRE) == done; i++)
		sleep_ms(1);
	assert_int_not_equal(__atomic_load_n(&run.done, __ATOMIC_ACQUIRE), done);
}

struct address parsed(const char *text)
{
	struct address a;
	const char *why;
	assert_int_equal(address_parse(span_of(text), &a, &why), 0);
	return a;
}

void *serve(void *arg)
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
	                                             .write_large_ms = deadline_ms,
	                                             .write_gives_way_ms = 300,
	                                             .relay_take_ms = deadline_ms,
	                                             .relay_stall_ms = deadline_ms,
	                                             .linger_ms = deadline_ms,
	                                             .accept_pause_ms = 50};
	arena_set_limit(64 << 20);
	run.fds_before = count_descriptors();
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

int start(void **state)
{
	(void)state;
	return start_with(20000);
}

int start_hurried(void **state)
{
	(void)state;
	return start_with(400);
}

int stop(void **state)
{
	(void)state;
	give_order(server_stop);
	pthread_join(run.thread, NULL);
	close(run.options.wake_fd);
	if (arena_mapped_bytes() != 0 || count_descriptors() != run.fds_before) {
		print_error("left: %llu bytes, %d descriptors\n", (unsigned long long)arena_mapped_bytes(),
		            count_descriptors() - run.fds_before);
		return -1;
	}
	return 0;
}

/* ---- a client ---- */

int dial(void)
{
	struct timeval limit = {30, 0};
	int fd = socket(run.address.sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	assert_int_equal(connect(fd, (struct sockaddr *)&run.address.sa, run.address.sa_len), 0);
	return fd;
}

void say_bytes(int fd, const void *p, size_t n)
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

void say(int fd, const char *text)
{
	say_bytes(fd, text, strlen(text));
}

struct reply hear_for(int fd, bool head_only)
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

struct reply hear(int fd)
{
	struct reply r = hear_for(fd, false);
	wire_acquire();
	return r;
}

void assert_closed(int fd)
{
	char c;
	assert_int_equal(recv(fd, &c, 1, 0), 0);
}

bool is_open(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLRDHUP};
	return poll(&p, 1, 0) == 0;
}

struct reply ask(const char *request)
{
	int fd = dial();
	say(fd, request);
	struct reply r = hear(fd);
	close(fd);
	return r;
}

void expect_in_a_turn(bool (*measure)(void))
{
	for (int turn = 1; !measure(); turn++)
		if (turn == TURNS)
			fail_msg("too late, or too busy, %d times", TURNS);
}

bool takes_ms(int from, int least, int most)
{
	int ms = now_ms() - from;
	if (ms < least)
		fail_msg("%d ms, not %d", ms, least);
	return ms <= most;
}

void assert_has(const struct reply *r, const char *header)
{
	if (!strstr(r->head, header))
		fail_msg("no \"%s\" in: %s", header, r->head);
}

void assert_lacks(const struct reply *r, const char *header)
{
	if (strstr(r->head, header))
		fail_msg("\"%s\" in: %s", header, r->head);
}

/* ---- what goes on ---- */

void wait_for_least(const int *counter, int value)
{
	for (int i = 0; i < 20000 && counted(counter) < value; i++)
		sleep_ms(1);
	assert_true(counted(counter) >= value);
}

void wait_for(const int *counter, int value)
{
	wait_for_least(counter, value);
	assert_int_equal(counted(counter), value);
}

void wait_for_no_memory(void)
{
	for (int i = 0; i < 20000 && arena_mapped_bytes(); i++)
		sleep_ms(1);
	assert_int_equal(arena_mapped_bytes(), 0);
}

void forget_counts(void)
{
	stub.begins = stub.drains = stub.ends = stub.abandons = stub.releases = 0;
}

void begin_long_profile(int *fd)
{
	*fd = dial();
	stub.drain_ms = 50;
	say(*fd, GET("/debug/pprof/profile?seconds=30"));
	wait_for(&stub.begins, 1);
}

double thread_seconds(void)
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

bool sleeps_for(int ms)
{
	long before = thread_switches();
	sleep_ms(ms);
	return thread_switches() == before;
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

void until_server_sleeps(void)
{
	for (int seen = 0, i = 0; seen < 3 && i < 20000; i++) {
		sleep_ms(1);
		seen = server_state() == 'S' ? seen + 1 : 0;
	}
}

void ask_for_others(void)
{
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(GET("/debug/pprof/threadcreate")).status, 200);
}
