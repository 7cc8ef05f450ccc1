/* served.h - the whole http room in a thread of a test, and a client of it.
 *
 * Runs in: test programs. The server has deadlines that no busy machine meets but in the tests of deadlines, where they
 * are tenths of a second. Nothing may be early, ever; where a busy machine may make something late, it is measured
 * again, a few times, by the same bound. Every test ends with a look at what is left: no memory mapped, no descriptor
 * more than before.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_SERVED_H
#define PPROFSHIM_TEST_SERVED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>

#include <cmocka.h>

#include "http/address/address.h"
#include "http/server/server.h"
#include "test/unit/support/stub_encoder.h"

struct served {
	pthread_t thread;
	struct server_options options;
	struct address address; /* that clients connect to */
	void (*order)(void);    /* carried out by wake(), in the server's thread */
	int done;               /* atomic: orders carried out */
	int move_fd;
	struct address move_to;
	uint64_t limit_bytes;
	int fds_before;
};

extern struct served run;

int now_ms(void);
void order_move(void);
void order_limit(void);
void give_order(void (*order)(void));
struct address parsed(const char *text);
void *serve(void *arg);
int start(void **state);
int start_hurried(void **state);
int stop(void **state);

#define SERVED(test) cmocka_unit_test_setup_teardown(test, start, stop)
#define HURRIED(test) cmocka_unit_test_setup_teardown(test, start_hurried, stop)

/* ---- a client ---- */

struct reply {
	int status;
	char head[4096];
	char *body; /* of the last reply only */
	size_t body_len;
};

#define GET(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\n\r\n"
#define GETC(path) "GET " path " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
#define TRACE(query) GET("/debug/pprof/trace?" query)

int dial(void);
void say_bytes(int fd, const void *p, size_t n);
void say(int fd, const char *text);
/* One answer off fd, not a byte more. status 0: the connection ended instead. */
struct reply hear_for(int fd, bool head_only);
struct reply hear(int fd);
/* The server has closed in good order: no reset, nothing more to read. */
void assert_closed(int fd);
bool is_open(int fd);
struct reply ask(const char *request);

enum { TURNS = 8 };
/* Measure until it is so, and not for ever: what is never so in all these turns is not for want of a processor. */
void expect_in_a_turn(bool (*measure)(void));
/* Never sooner; whether it is in time is the result. */
bool takes_ms(int from, int least, int most);
void assert_has(const struct reply *r, const char *header);
void assert_lacks(const struct reply *r, const char *header);

/* ---- what goes on ---- */

void wait_for_least(const int *counter, int value);
void wait_for(const int *counter, int value);
/* The server has given back all memory of requests: it does so in its own time. */
void wait_for_no_memory(void);
void forget_counts(void);
void begin_long_profile(int *fd);
double thread_seconds(void);
bool sleeps_for(int ms);
void until_server_sleeps(void);
void ask_for_others(void);

#endif
