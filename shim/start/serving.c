/* serving.c - where this process serves: the address of PPROF_ADDR, the port, the door that it may share with others.
 *
 * Runs in: init (what it exports); the listener (all that serving_start hands to it). With init.c the only file of
 * shim/ that includes http/ and encoder/.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/start/serving.h"

#include <netinet/in.h>
#include <sys/resource.h>

#include "encoder/encoder.h"
#include "http/door/door.h"
#include "http/guard/token.h"
#include "http/server/server.h"
#include "http/tls/tls.h"
#include "shim/base/house.h"
#include "shim/base/log.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/powers.h"
#include "shim/base/settings.h"
#include "shim/base/text.h"
#include "shim/listener/claim.h"
#include "shim/listener/listener.h"
#include "shim/listener/spawn.h"
#include "shim/listener/visitor.h"
#include "shim/profiles/cpu.h"
#include "shim/profiles/dump.h"
#include "shim/profiles/trace_events.h"
#include "shim/waits/signals.h"

static struct address wanted;  /* PPROF_ADDR; immutable after init */
static struct address serving; /* where we listen: init, then the listener's */
static bool serving_is_found;  /* by init, for the listener to begin with */

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

static void claim_anew(uint16_t port)
{
	claim_give_up(&claim);
	if (port)
		claim = claim_make(port);
}

/* Records and reports the port that is served now (0: none). Who owns the door has claimed the port that is wanted, and
 * keeps that wherever it serves. Listener. */
static void now_serving(uint16_t port)
{
	char url[128];
	struct line l = LINE(url);
	listener_serves(port);
	if (door_role() != DOOR_OWNER)
		claim_anew(port);
	if (port || serving.kind == ADDRESS_UNIX)
		tell_address();
	address_print(&serving, &l);
	if (port)
		door_is_open(url);
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

/* "<address> is taken; profiles are at <address>" */
static void warn_taken(const struct address *where)
{
	char text[256];
	struct line l = LINE(text);
	address_print(&wanted, &l);
	line_str(&l, " is taken; profiles are at ");
	address_print(where, &l);
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

/* Opens the address that is wanted, or the next free one. */
static int open_near(void)
{
	serving = wanted;
	int fd = address_listen(&serving);
	if (fd >= 0 && serving.kind == ADDRESS_TCP && wanted.port && serving.port != wanted.port)
		warn_taken(&serving);
	return fd;
}

/* An address that was free in init may be taken by now. */
static int open_found(void)
{
	if (!serving_is_found)
		serving = wanted;
	serving_is_found = false;
	return address_listen_here(&serving);
}

static int open_without_door(void)
{
	int fd = open_found();
	return fd == -EADDRINUSE ? open_near() : fd;
}

/* ---- the door: http/door/door.h ---- */

/* A thousand processes may join. Does nothing where the limit is the program's own. */
static void raise_limit_of_descriptors(void)
{
	enum { ENOUGH = 4096 };
	uint64_t limit[2];
	if (listener_is_inside() || os_call(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, limit) < 0 || limit[0] >= ENOUGH)
		return;
	limit[0] = limit[1] < ENOUGH ? limit[1] : ENOUGH;
	os_call(SYS_prlimit64, 0, RLIMIT_NOFILE, limit, 0);
}

static void serve_at(int fd)
{
	server_move(fd, &serving);
	now_serving(serving.port);
}

/* We have the door of an owner that has died: its port is free, or will be in a moment. */
static bool own(bool is_last)
{
	raise_limit_of_descriptors();
	claim_anew(wanted.port);
	int fd = is_last ? open_near() : open_found();
	if (fd >= 0)
		serve_at(fd);
	else if (is_last || fd != -EADDRINUSE)
		warn_not_listening(fd);
	return fd >= 0;
}

static void joined(const char *name, const char *url)
{
	static const struct span page = SPAN("/debug/pprof/");
	char text[256];
	struct line l = LINE(text);
	const char *end = span_find(span_of(url), page);
	line_str(&l, "profiles of pid ");
	line_dec(&l, house_pid());
	line_str(&l, " are at ");
	line_bytes(&l, url, end ? (size_t)(end - url) : strlen(url));
	line_str(&l, "/pid/");
	line_str(&l, name);
	line_str(&l, page.at);
	log_info(l.at);
}

static void alone(const char *why)
{
	log_info(why);
	int fd = open_near();
	if (fd >= 0)
		serve_at(fd);
	else
		warn_not_listening(fd);
}

static const char *lock_of_settings(void)
{
	bool token = settings.token_file != NULL;
	if (settings.tls_client_ca)
		return token ? "/ca+token" : "/ca";
	if (wanted.secure)
		return token ? "/tls+token" : "/tls";
	return token ? "/token" : "";
}

/* Returns a socket that listens; -EAGAIN: the door will say where, or that another process listens for us; another
 * negative errno. */
static int open_address(void)
{
	enum door_role role = door_open(&wanted, &(struct door_life){.lock = lock_of_settings(),
	                                                             .own = own,
	                                                             .joined = joined,
	                                                             .alone = alone,
	                                                             .adopt = server_adopt});
	if (role == DOOR_NONE || role == DOOR_ALONE)
		return open_without_door();
	if (role != DOOR_OWNER)
		return -EAGAIN;
	raise_limit_of_descriptors();
	claim_anew(wanted.port); /* first: whoever finds the port taken finds that, too */
	int fd = open_found();
	return fd == -EADDRINUSE ? -EAGAIN : fd;
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

/* Of two times from now; 0: never. */
static unsigned sooner(unsigned a, unsigned b)
{
	return a && (!b || a < b) ? a : b;
}

/* After each round of the loop. */
static unsigned rest(void)
{
	if (!listener_has_program())
		os_call(SYS_exit_group, 0);
	return sooner(visitor_rest(), sooner(encoder_rest(), door_rest()));
}

/* The listener's life. */
static void listen_and_serve(int wake_fd, int end_fd)
{
	pace_begin();
	is_begun = false;
	claim = (struct claim){-1, -1}; /* of another listener, in another table */
	int listen_fd = open_address();
	bool is_served = listen_fd >= 0 || listen_fd == -EAGAIN;
	listener_has_opened(is_served ? 0 : listen_fd);
	if (!is_served)
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
	if (listen_fd >= 0)
		now_serving(serving.kind == ADDRESS_TCP ? serving.port : 0);
	server_run(&(struct server_options){
		.listen_fd = listen_fd,
		.address = serving,
		.wake_fd = wake_fd,
		.end_fd = end_fd,
		.side_fd = door_fd(),
		.side = door_ready,
		.secure = secure,
		.begin = begin_round,
		.wake = listener_obey,
		.rest = rest,
	});
	spawn_kill();
}

static void read_address(void)
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

void serving_read_address(void)
{
	read_address();
	wanted.secure = settings.tls_cert || settings.tls_key;
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

/* Serves where the port that is wanted is a stranger's. */
static void serve_near(void)
{
	int fd = open_near();
	if (fd >= 0)
		serve_at_once(fd);
	else
		warn_not_listening(fd);
}

/* A process that gets the wanted port serves at once. If another process under the shim has the port, or is about to,
 * this one joins it from its first long wait or sampled event on: a short-lived process pays nothing. If a process
 * without the shim has it, this one takes the next free port at once. */
static void find_place(void)
{
	int fd = try_address();
	if (fd >= 0)
		serve_at_once(fd);
	else if (fd != -EADDRINUSE)
		warn_not_listening(fd);
	else if (log_parent() == PARENT_OURS || (wanted.kind == ADDRESS_TCP && claim_is_ours(wanted.port)))
		listener_set_pending(true);
	else
		serve_near();
}

void serving_start(void)
{
	listener_configure(&(struct listener_life){
		.main = listen_and_serve, .leave_port = server_leave_port, .move = move, .stop = server_stop});
	if (wanted.kind == ADDRESS_OFF)
		return;
	if (wanted.kind == ADDRESS_TCP && !address_is_loopback(&wanted) && !settings.token_file &&
	    !settings.tls_client_ca)
		warn_open();
	serving = wanted;
	int begun_fd = wanted.kind == ADDRESS_TCP ? claim_begin(wanted.port) : -1;
	if (begun_fd == -EADDRINUSE)
		listener_set_pending(true);
	else
		find_place();
	if (begun_fd >= 0)
		os_close(begun_fd);
}

bool serving_is_wanted(void)
{
	return wanted.kind != ADDRESS_OFF;
}
