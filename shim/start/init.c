/* init.c - start the library, before the program's first constructor.
 *
 * Runs in: init: the loader's thread, before main (-z initfirst: before other libraries' constructors, and before
 * libc's own, so no libc function but those used below); listen_and_serve() and move() in the listener. The only file
 * of shim/ that includes http/ and encoder/.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/start/init.h"

#include <netinet/in.h>
#include <sys/auxv.h>

#include "encoder/encoder.h"
#include "http/guard/token.h"
#include "http/server/server.h"
#include "http/tls/tls.h"
#include "shim/base/arena.h"
#include "shim/libc/clock.h"
#include "shim/profiles/delays.h"
#include "shim/base/exports.h"
#include "shim/start/fork.h"
#include "shim/start/wanted.h"
#include "shim/listener/claim.h"
#include "shim/profiles/heap.h"
#include "shim/hooks/malloc.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/libc/libc_thread.h"
#include "shim/listener/listener.h"
#include "shim/profiles/live.h"
#include "shim/base/log.h"
#include "shim/base/losses.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/powers.h"
#include "shim/libc/real.h"
#include "shim/waits/signals.h"
#include "shim/waits/waits.h"
#include "shim/waits/queues.h"
#include "shim/profiles/trace_events.h"
#include "shim/profiles/dump.h"
#include "shim/profiles/trace_events.h"
#include "shim/profiles/cpu.h"
#include "shim/base/random.h"
#include "shim/profiles/sampling.h"
#include "shim/base/settings.h"
#include "shim/listener/spawn.h"
#include "shim/stack/here.h"
#include "shim/base/text.h"
#include "shim/threads/threads.h"
#include "shim/stack/sample.h"
#include "shim/stack/unwind.h"
#include "shim/listener/visitor.h"

/* Enough to make a profile, whatever PPROF_MEMORY_LIMIT says: else a loss could not be reported. */
enum { LEAST_FOR_REQUESTS = 12 << 20 };

extern char **__environ;

/* Libc's own functions: a program may define these, too, and it has not started yet. */
static unsigned long (*get_auxval)(unsigned long type);
static const char *(*get_glibc_version)(void); /* NULL: musl */

static struct address wanted;  /* PPROF_ADDR; immutable after init */
static struct address serving; /* where we listen: init, then the listener's */
static bool serving_is_found;  /* by init, for the listener to begin with */

FORKED_CODE void init_fork_child(void)
{
	listener_set_pending(wanted.kind != ADDRESS_OFF);
}

static void tell_address(void)
{
	char text[192];
	struct line l = LINE(text);
	line_str(&l, "profiles of pid ");
	line_dec(&l, house_pid());
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

static struct claim claim = {-1, -1}; /* the listener's */

/* Records and reports the port that is served now (0: none). Listener. */
static void now_serving(uint16_t port)
{
	claim_give_up(&claim);
	if (port)
		claim = claim_make(port);
	listener_serves(port);
	if (port || serving.kind == ADDRESS_UNIX)
		tell_address();
}

/* The listener's move(): leaves a port that the program wants. It leaves first, so that the program gets the port in
 * any case. */
static void move(void)
{
	struct address next = serving;
	server_move(-1, &serving);
	now_serving(0);
	int fd = -EADDRINUSE;
	if (serving.port < UINT16_MAX) {
		set_port(&next, (uint16_t)(serving.port + 1));
		fd = address_listen(&next);
	}
	if (fd < 0)
		return;
	serving = next;
	server_move(fd, &serving);
	now_serving(serving.port);
}

/* An address that was free in init may be taken by now. */
static int open_address(void)
{
	if (!serving_is_found)
		serving = wanted;
	serving_is_found = false;
	int fd = address_listen_here(&serving);
	if (fd != -EADDRINUSE)
		return fd;
	serving = wanted;
	return address_listen(&serving);
}

/* Ends what a listener that has ended in this process left in the middle: it may have been stopped anywhere. What its
 * requests began, the server has ended before. */
static void begin_anew(void)
{
	visitor_begin_anew();
	trace_session_begin_anew();
	cpu_begin_anew();
	cpu_profile_fork_child();
	dump_begin_anew();
	signals_end_all();
}

static bool is_begun; /* the listener's: its first round */

static void begin_round(void)
{
	if (!is_begun)
		begin_anew();
	is_begun = true;
	listener_look();
}

/* After each round of the loop. */
static unsigned rest(void)
{
	if (!listener_has_program())
		os_call(SYS_exit_group, 0);
	unsigned visitor_ms = visitor_rest(), encoder_ms = encoder_rest();
	return visitor_ms && (!encoder_ms || visitor_ms < encoder_ms) ? visitor_ms : encoder_ms;
}

/* The listener's life. */
static void listen_and_serve(int wake_fd, int end_fd)
{
	pace_begin();
	is_begun = false;
	int listen_fd = open_address();
	claim = (struct claim){-1, -1}; /* of another listener, in another table */
	listener_has_opened(listen_fd < 0 ? listen_fd : 0);
	if (listen_fd < 0)
		return;
	encoder_start(&(struct encoder_options){
		.symbolizer = settings.symbolizer,
		.symbolizer_off = settings.symbolizer && settings_is_no(settings.symbolizer),
		.debug_dirs = settings.debug_dirs,
		.symbolizer_memory_bytes = settings.symbolizer_memory,
		.memory_limit_bytes = settings.memory_limit,
	});
	powers_use(false);
	token_start(settings.token_file);
	token_look(); /* says in the log what is wrong with it */
	const struct secure_layer *secure = tls_start(&(struct tls_options){
		.certificate = settings.tls_cert, .key = settings.tls_key, .client_ca = settings.tls_client_ca});
	now_serving(serving.kind == ADDRESS_TCP ? serving.port : 0);
	server_run(&(struct server_options){
		.listen_fd = listen_fd,
		.address = serving,
		.wake_fd = wake_fd,
		.end_fd = end_fd,
		.secure = secure,
		.begin = begin_round,
		.wake = listener_obey,
		.rest = rest,
	});
	spawn_kill();
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

/* "<address> is taken; profiles <are at …>" */
static void warn_taken(const char *what, const struct address *where)
{
	char text[256];
	struct line l = LINE(text);
	address_print(&wanted, &l);
	line_str(&l, " is taken; profiles ");
	line_str(&l, what);
	if (where)
		address_print(where, &l);
	log_warn(l.at);
}

static void warn_open(void)
{
	char text[256];
	struct line l = LINE(text);
	address_print(&wanted, &l);
	line_str(&l,
	         " is open to everybody who can reach it; set PPROF_TOKEN_FILE, or PPROF_ADDR to an address of this "
	         "machine alone");
	log_warn(l.at);
}

static void warn_not_served(const char *what, int error)
{
	char text[256];
	struct line l = LINE(text);
	line_str(&l, what);
	line_str(&l, " cannot be had (error ");
	line_dec(&l, -error);
	line_str(&l, "); no profiles are served; set PPROF_ADDR to another address, or to off");
	log_warn(l.at);
}

static void warn_not_listening(int error)
{
	char text[192];
	struct line l = LINE(text);
	address_print(&wanted, &l);
	warn_not_served(l.at, error);
}

/* The listener opens the address itself, in its own table of descriptors. */
static void serve_at_once(int fd)
{
	os_close(fd);
	serving_is_found = true;
	int r = listener_start();
	if (r < 0)
		warn_not_served("what serves", r);
}

/* Can we expect the address to be free in a moment? */
static bool is_left(void)
{
	return wanted.kind == ADDRESS_TCP ? claim_is_left(wanted.port) : log_parent() == PARENT_NOT_OURS;
}

/* Opens the address, unless it is taken. A restarted program finds its own old listener there, which is about to
 * end. */
static int try_address(void)
{
	enum { STEP_MS = 2, STEPS = 100 };
	struct timespec step = {.tv_nsec = STEP_MS * 1000000};
	int fd = address_listen_here(&serving);
	for (int i = 0; i < STEPS && fd == -EADDRINUSE && is_left(); i++) {
		os_call(SYS_nanosleep, &step, NULL);
		fd = address_listen_here(&serving);
	}
	return fd;
}

/* A process that gets the wanted port serves at once. If another process under the shim has the port, this one serves
 * from its first long wait or sampled event on: a short-lived process pays nothing. If a process without the shim has
 * it, this one takes the next free port at once. */
static void start_listener(void)
{
	listener_configure(&(struct listener_life){
		.main = listen_and_serve, .leave_port = server_leave_port, .move = move, .stop = server_stop});
	if (wanted.kind == ADDRESS_OFF)
		return;
	if (wanted.kind == ADDRESS_TCP && !address_is_loopback(&wanted) && !settings.token_file &&
	    !settings.tls_client_ca)
		warn_open();
	serving = wanted;
	int fd = try_address();
	bool behind_ours = fd == -EADDRINUSE && wanted.kind == ADDRESS_TCP && claim_is_ours(wanted.port);
	if (fd >= 0) {
		serve_at_once(fd);
	} else if (fd != -EADDRINUSE) {
		warn_not_listening(fd);
	} else if (log_parent() == PARENT_OURS || (log_parent() == PARENT_HIDDEN && behind_ours)) {
		listener_set_pending(true);
	} else if (behind_ours) {
		warn_taken("will be on the next free port above it", NULL);
		listener_set_pending(true);
	} else if ((fd = address_listen(&serving)) >= 0) {
		warn_taken("are at ", &serving);
		serve_at_once(fd);
	} else {
		warn_not_listening(fd);
	}
}

/* 16 random bytes that the kernel gives every new program image. */
static uint64_t random_seed(void)
{
	uint64_t seed = os_clock_ns(CLOCK_MONOTONIC) ^ (uint64_t)os_pid() << 32;
	const void *random = (const void *)get_auxval(AT_RANDOM);
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

/* Copies a text that is needed later: programs write over their environment (setproctitle). An empty text counts as not
 * set. */
static const char *keep_text(const char *text)
{
	size_t n = text ? strlen(text) : 0;
	char *copy = n ? arena_alloc(n + 1) : NULL;
	return copy ? memcpy(copy, text, n) : NULL;
}

static void start_heap(void)
{
	hooks_malloc_start();
	note_own_malloc();
	stack_here_start(settings.stack_depth);
	uint64_t rate = settings.heap_rate;
	if (rate && live_start(real_malloc_is_libc(), rate, settings.memory_limit) < 0) {
		losses_count(heap_off);
		rate = 0;
	}
	random_start(random_seed());
	sampling_start(rate);
}

static void leave_us_out(void)
{
	extern HIDDEN const char __ehdr_start, etext; /* the linker's: this library's first byte, its code's end */
	unwind_leave_out(&__ehdr_start, &etext);
}

static const char *our_path(void)
{
	const struct module *us = modules_find((uintptr_t)&our_path);
	return us ? us->path : "libpprofshim.so";
}

/* Is this a libc that we can't serve correctly yet? That is musl, or a glibc with a separate thread library (before
 * 2.34), which is started before us. There the program runs as without us. */
static bool is_unknown_libc(void)
{
	uint64_t major = 0, minor = 0;
	struct span rest = get_glibc_version ? span_of(get_glibc_version()) : (struct span){0};
	bool read =
		text_parse_uint(span_cut(&rest, '.'), 10, &major) && text_parse_uint(span_cut(&rest, '.'), 10, &minor);
	return !read || major < 2 || (major == 2 && minor < 34);
}

static void tell_unknown_libc(void)
{
	log_start(settings.log, settings.log_file, "libpprofshim.so");
	log_info("this libc is not served yet (musl, or a glibc before 2.34): the program runs as without the library");
}

/* A thread's record is about to be another's: clears what the layers above threads keep in it. */
static void forget_record(struct thread *t)
{
	waits_reset(&t->wait);
	t->restart = (struct restart){0};
	t->acquire = (struct acquire){0};
	queues_forget(t);
	trace_forget(t);
}

static const struct signals_takers takers = {
	.tick = cpu_tick,
	.interval = cpu_interval,
	.answer = dump_answer,
	.refuse = dump_refuse,
	.is_knock = visitor_is_knock,
	.knock = visitor_start_wanted,
};

static void finish_quickly(void *arg)
{
	(void)arg;
	if (listener_was_born)
		listener_ends_with_program();
}

/* quick_exit calls handlers in reverse order: ours is the first registered, and so runs after all of the program's. */
static void note_quick_exit(void)
{
	int (*note)(void (*call)(void *), void *object) =
		(int (*)(void (*)(void *), void *))real_find("__cxa_at_quick_exit").address;
	if (note)
		note(finish_quickly, NULL);
}

static void start(char *const *envp)
{
	self_hold(); /* calls from here are not sampled */
	modules_on_change(unwind_forget);
	threads_on_reuse(forget_record);
	signals_start(&takers);
	fork_start();
	clock_start();
	threads_start();
	libc_thread_start(get_auxval(AT_HWCAP2));
	leave_us_out();
	self.stack = unwind_main_stack(get_auxval(AT_EXECFN)); /* the program's name lies there */
	sample_main_stack(self.stack.hi, (uintptr_t)envp);
	modules_refresh();
	log_start(settings.log, settings.log_file, our_path());
	settings_read_numbers(envp, log_warn);
	settings_tell_unknown(envp, log_warn);
	arena_set_limit(settings.memory_limit);
	arena_set_least_for_requests(LEAST_FOR_REQUESTS);
	house.path = keep_text((const char *)get_auxval(AT_EXECFN));
	settings.symbolizer = keep_text(settings.symbolizer);
	settings.debug_dirs = keep_text(settings.debug_dirs);
	settings.token_file = keep_text(settings.token_file);
	settings.tls_cert = keep_text(settings.tls_cert);
	settings.tls_key = keep_text(settings.tls_key);
	settings.tls_client_ca = keep_text(settings.tls_client_ca);
	spawn_start();
	parse_address();
	wanted.secure = settings.tls_cert || settings.tls_key;
	start_heap();
	delays_start(settings.block_rate, settings.mutex_fraction);
	start_listener();
	note_quick_exit();
	self_release();
	house.on = true;
}

/* A process that waits for the program must find nothing left of it: its memory, and with that its mapped files, go
 * with the last process that shares it. */
__attribute__((destructor)) static void finish(void)
{
	self_calls_begin();
	if (house_is_on() && !confined() && listener_is_our_process())
		listener_stop_for_good(NULL);
	self_calls_end();
}

/* A program that gained rights at its start (AT_SECURE) may have its environment from a user who must not gain any by
 * us: then we do not even read it. (glibc's loader passes the environment to constructors, and has not set __environ
 * yet; musl's has set it, and passes nothing.) */
__attribute__((constructor)) static void init(int argc, char **argv, char **envp)
{
	real_start();
	get_auxval = (unsigned long (*)(unsigned long))real_find("getauxval").address;
	get_glibc_version = (const char *(*)(void))real_find("gnu_get_libc_version").address;
	bool secure = !get_auxval || get_auxval(AT_SECURE);
	if (!secure)
		settings_read_texts(get_glibc_version ? envp : __environ);
	bool wanted_here =
		!secure && settings_is_no(settings.disable) &&
		wanted_program((const char *)get_auxval(AT_EXECFN), get_glibc_version && argc > 0 ? argv[0] : NULL);
	if (wanted_here && !is_unknown_libc()) {
		exports_fit();
		house.arguments = argc;
		start(envp);
		return;
	}
	exports_withdraw();
	sampling_start(0);
	if (wanted_here)
		tell_unknown_libc();
}
