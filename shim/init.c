/* init.c - put the house together, before the program's first constructor.
 *
 * Runs in: init: the loader's thread, before main (-z initfirst: before other libraries' constructors, and before
 * libc's own, so no libc function but those used below); listen() and move() in the listener.
 * The one file of shim/ that looks upward (http/, encoder/).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/init.h"

#include <netinet/in.h>
#include <sys/auxv.h>

#include "encoder/encoder.h"
#include "http/server.h"
#include "shim/arena.h"
#include "shim/fork.h"
#include "shim/heap.h"
#include "shim/hooks_malloc.h"
#include "shim/listener.h"
#include "shim/live.h"
#include "shim/log.h"
#include "shim/losses.h"
#include "shim/modules.h"
#include "shim/os.h"
#include "shim/real.h"
#include "shim/sampler.h"
#include "shim/settings.h"
#include "shim/text.h"
#include "shim/unwind.h"

static bool is_on;
static struct address wanted;  /* PPROF_ADDR; immutable after init */
static struct address serving; /* where we listen: init, then the listener's */

bool init_is_on(void)
{
	return is_on;
}

void init_fork_child(void)
{
	listener_pending = wanted.kind != ADDRESS_OFF;
}

static void tell_address(void)
{
	char text[192];
	struct line l = LINE(text);
	line_str(&l, "profiles of pid ");
	line_dec(&l, os_pid());
	line_str(&l, " are at ");
	address_print(&serving, &l);
	log_info(l.at);
}

static void set_port(struct address *a, uint16_t port)
{
	a->port = port;
	if (a->sa.ss_family == AF_INET)
		((struct sockaddr_in *)&a->sa)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)&a->sa)->sin6_port = htons(port);
}

/* The listener's move(): away from a port that the program wants. First off it, so that the program gets it in
 * any case. */
static void move(void)
{
	struct address next = serving;
	server_move(-1, &serving);
	listener_serves(0);
	set_port(&next, (uint16_t)(serving.port + 1));
	int fd = address_listen(&next);
	if (fd < 0)
		return;
	serving = next;
	server_move(fd, &serving);
	listener_serves(serving.port);
	tell_address();
}

static int wake_fd_now;

static void wake(void)
{
	listener_obey(wake_fd_now);
}

/* The listener's life. */
static void listen_and_serve(int listen_fd, int wake_fd)
{
	encoder_start();
	if (listen_fd < 0) {
		serving = wanted;
		listen_fd = address_listen(&serving);
	}
	if (listen_fd < 0)
		return;
	wake_fd_now = wake_fd;
	listener_serves(serving.kind == ADDRESS_TCP ? serving.port : 0);
	tell_address();
	server_run(&(struct server_options){
	    .listen_fd = listen_fd, .address = serving, .wake_fd = wake_fd, .wake = wake});
}

static void parse_address(void)
{
	static const char preset[] = "127.0.0.1:6060";
	const char *why = "";
	if (settings.addr && settings.addr[0]) {
		if (address_parse(span_of(settings.addr), &wanted, &why) == 0)
			return;
		char text[256];
		struct line l = LINE(text);
		line_str(&l, "PPROF_ADDR=");
		line_bytes(&l, settings.addr, strnlen(settings.addr, 64));
		line_str(&l, " is no good (");
		line_str(&l, why);
		line_str(&l, "); using ");
		line_str(&l, preset);
		log_warn(l.at);
	}
	address_parse(span_of(preset), &wanted, &why);
}

static void warn_moved(void)
{
	char text[256];
	struct line l = LINE(text);
	address_print(&wanted, &l);
	line_str(&l, " is taken; profiles are at ");
	address_print(&serving, &l);
	log_warn(l.at);
}

static void warn_not_served(const char *what, int error)
{
	char text[256];
	struct line l = LINE(text);
	line_str(&l, what);
	line_str(&l, error == -EADDRINUSE ? " is taken" : " cannot be had (error ");
	if (error != -EADDRINUSE) {
		line_dec(&l, -error);
		line_str(&l, ")");
	}
	line_str(&l, "; no profiles are served; set PPROF_ADDR to another address, or to off");
	log_warn(l.at);
}

static void warn_not_listening(int error)
{
	char text[128];
	struct line l = LINE(text);
	address_print(&wanted, &l);
	warn_not_served(l.at, error);
}

/* Who gets the wanted port serves at once, and so does the first process of a tree on the next free one. Other
 * processes wait until they have something to show. */
static void start_listener(void)
{
	listener_configure(listen_and_serve, move);
	if (wanted.kind == ADDRESS_OFF)
		return;
	serving = wanted;
	int fd = address_listen(&serving);
	bool moved = fd < 0 || serving.port != wanted.port;
	if (moved && log_parent_is_ours()) {
		if (fd >= 0)
			os_close(fd);
		listener_pending = true;
		return;
	}
	if (fd < 0) {
		warn_not_listening(fd);
		return;
	}
	if (moved)
		warn_moved();
	int r = listener_start(fd);
	os_close(fd);
	if (r < 0)
		warn_not_served("a thread for the listener", r);
}

/* 16 random bytes that the kernel gives every new program image. */
static uint64_t random_seed(void)
{
	uint64_t seed = os_clock_ns(CLOCK_MONOTONIC) ^ (uint64_t)os_pid() << 32;
	const void *random = (const void *)getauxval(AT_RANDOM);
	uint64_t given = 0;
	if (random)
		memcpy(&given, random, sizeof given);
	return seed ^ given;
}

static void note_own_malloc(void)
{
	if (real_program_defines("malloc"))
		losses_count(own_malloc);
}

static void start_heap(void)
{
	hooks_malloc_start();
	note_own_malloc();
	heap_start(settings.stack_depth);
	uint64_t rate = settings.heap_rate;
	if (live_start(real_malloc_is_libc(), rate, settings.memory_limit) < 0)
		rate = 0;
	sampler_start(rate, random_seed());
}

/* Constructors get the program's arguments from the loader; libc's own `environ` may not be set yet. */
__attribute__((constructor)) static void init(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv;
	settings_read_texts(envp);
	if (!settings_is_no(settings.disable)) {
		sampler_start(0, 0);
		return;
	}
	log_start(settings.log);
	settings_read_numbers(envp, log_warn);
	arena_set_limit(settings.memory_limit);
	parse_address();
	modules_refresh();
	if (unwind_learn_start() < 0)
		losses_count(no_unwinder);
	fork_start();
	start_heap();
	start_listener();
	is_on = true;
}
