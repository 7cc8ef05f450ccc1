/* symbolizer_made.h - a helper made of a script, and what the cache holds of its answers.
 *
 * Runs in: unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SYMBOLIZER_MADE_H
#define PPROFSHIM_SYMBOLIZER_MADE_H

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
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "encoder/symbolize/protocol.h"
#include "encoder/names/container.h"
#include "encoder/names/symbolizer.h"
#include "encoder/bytes/utf8.h"
#include "shim/listener/spawn.h"
#include "test/unit/at_home.h"
#include "test/unit/support/child.h"
#include "test/unit/support/count.h"
#include "test/unit/support/descriptors.h"

#define KILLED(n) \
	"no lines and inlined calls: pprofshim-symbolize was killed by signal " n "; names are those of symbol tables"
#define FAILED(n) \
	"no lines and inlined calls: pprofshim-symbolize failed with status " n "; names are those of symbol tables"
#define STOPPED "no lines and inlined calls: pprofshim-symbolize stopped early; names are those of symbol tables"
#define ABSENT \
	"no lines and inlined calls: pprofshim-symbolize is not there; install it beside the library, or say where " \
	"in PPROF_SYMBOLIZER"
#define FORBIDDEN \
	"no lines and inlined calls: starting pprofshim-symbolize is forbidden here; complete a saved profile " \
	"elsewhere: pprofshim-symbolize FILE"
#define REFUSED \
	"no lines and inlined calls: PPROF_SYMBOLIZER is no absolute path, or others than root and this user can " \
	"change it or a folder on its way; it is not run"

enum {
	MODULES = 3,
	ADDRESSES = 8, /* of each: 10, 20 … 80, hexadecimal */
	WAIT_MS = 30 * 1000
};

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- a helper made of a script --------------------------------------------------------------------- */

static char dir[] = "/tmp/test_symbolizer.XXXXXX";
static char program[128];
static struct module module[MODULES] = {
	{.path = "/lib/a", .build_id = {0xab, 0xcd, 0x01}, .build_id_len = 3},
	{.path = "/lib/b", .build_id = {0xff}, .build_id_len = 1},
	{.path = "/lib/c"},
};
static const uint64_t addresses[ADDRESSES] = {0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80};
static const struct question questions[MODULES] = {
	{&module[0], "/path of/a", addresses, ADDRESSES},
	{&module[1], "/path of/b", addresses, ADDRESSES},
	{&module[2], "/path of/c", addresses, ADDRESSES},
};

static const char *in_dir(const char *name)
{
	static char path[128];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static void write_file(const char *name, const void *bytes, size_t n)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	close(fd);
}

static inline const char *read_file(const char *name)
{
	static char text[65536];
	int fd = open(in_dir(name), O_RDONLY);
	assert_true(fd >= 0);
	ssize_t n = read(fd, text, sizeof text - 1);
	assert_true(n >= 0);
	close(fd);
	text[n] = '\0';
	return text;
}

static uint64_t room = UINT64_MAX;
uint64_t container_room(void) /* container.c's */
{
	return room;
}

/* Begin anew, with this script. */
static void use_script(const char *script)
{
	struct maps none = {0};
	static char text[16384];
	char self[4096] = "";
	assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
	int n = snprintf(text, sizeof text, "#!/bin/sh\nself='%s'\ncd %s\n%s\n", self, dir, script);
	assert_in_range(n, 1, sizeof text - 1);
	unlink(program);
	write_file("helper", text, (size_t)n);
	assert_int_equal(chmod(program, 0755), 0);
	cache_start(64 << 20);
	symbolizer_start(&(struct encoder_options){
		.symbolizer = program, .symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20});
	symbolizer_locate(&none);
}

/* A script that reads the request, and then says this. */
static void use_answer(const char *answer)
{
	write_file("answer", answer, strlen(answer));
	use_script("cat >/dev/null; exec cat answer");
}

static bool would_answer(int m)
{
	return symbolizer_would_answer(cache_object(&module[m]));
}

static void ask_all(void)
{
	assert_int_equal(symbolizer_ask(questions, MODULES), 0);
}

static void wait_for_end(void)
{
	uint64_t until = now_ms() + WAIT_MS;
	while (symbolizer_poll()) {
		assert_true(now_ms() < until);
		usleep(500);
	}
}

static inline void run(const char *answer)
{
	use_answer(answer);
	ask_all();
	wait_for_end();
}

/* --- what the cache holds -------------------------------------------------------------------------- */

static const struct cached *find(int m, uint64_t address)
{
	return cache_find(cache_object(&module[m]), address);
}

static void append(char *text, size_t cap, const char *format, ...)
{
	va_list args;
	size_t len = strlen(text);
	va_start(args, format);
	vsnprintf(text + len, cap - len, format, args);
	va_end(args);
}

/* All that is known of the modules' addresses, as lines. */
static const char *known(void)
{
	static char text[16384];
	text[0] = '\0';
	for (int m = 0; m < MODULES; m++)
		for (size_t i = 0; i < ADDRESSES; i++) {
			const struct cached *c = find(m, addresses[i]);
			if (!c)
				continue;
			append(text, sizeof text, "%d:%x from %x%s", m, (unsigned)addresses[i], (unsigned)c->start,
			       c->complete ? "" : " incomplete");
			for (uint32_t k = 0; k < c->count; k++) {
				const struct name_frame *f = &c->frame[k];
				append(text, sizeof text, " [%.*s|%.*s|%.*s|%u|%u]", (int)f->function.len,
				       f->function.at, (int)f->system.len, f->system.at, (int)f->file.len, f->file.at,
				       f->line, f->start_line);
			}
			append(text, sizeof text, "\n");
		}
	return text;
}

static int descriptors_at_start;

static void expect_nothing_left(void)
{
	assert_false(symbolizer_poll());
	assert_int_equal(count_descriptors(), descriptors_at_start);
	assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
	assert_int_equal(errno, ECHILD);
}

/* --- whole answers --------------------------------------------------------------------------------- */

static const char whole[] = "o 0\n"
			    "a 10 8\nf 12 10\t/src/a.c\t_Z1fi\tf(int)\nf 7 0\t/src/b.c\tmain\tmain\n"
			    "a 20 20\nf 0 0\t\tstart\tstart\n"
			    "a 30 0\n"
			    "n something for people\n"
			    "o 1\n"
			    "n /path of/b: no such file\n"
			    "o 2\n"
			    "a 80 70\nf 2147483647 2147483647\t/src/c d.c\t\t(anonymous namespace)::g\n"
			    "a 10 0\nf 1 0\t/x\tx\tx\n"
			    "e\n";
static const char whole_known[] = "0:10 from 8 [f(int)|_Z1fi|/src/a.c|12|10] [main|main|/src/b.c|7|0]\n"
				  "0:20 from 20 [start|start||0|0]\n"
				  "0:30 from 0\n"
				  "2:10 from 0 [x|x|/x|1|0]\n"
				  "2:80 from 70 [(anonymous namespace)::g||/src/c d.c|2147483647|2147483647]\n";

/* --- too much of it -------------------------------------------------------------------------------- */

static unsigned limit_s;
static inline void child_begin(void)
{
	alarm(limit_s);
	spawn_start();
}

/* With an alarm: one that hangs does not hold up the other tests. */
static inline void in_child_within(unsigned seconds, void (*body)(void))
{
	limit_s = seconds;
	int status = child_status(child_begin, body);
	if (status == SIGALRM)
		fail_msg("it was not done after %u s", seconds);
	expect_good_end(status);
}

/* --- anything -------------------------------------------------------------------------------------- */

static int make_dir(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(program, sizeof program, "%s", in_dir("helper"));
	descriptors_at_start = count_descriptors();
	sigset_t all; /* as in the listener */
	sigfillset(&all);
	sigdelset(&all, SIGALRM);
	return sigprocmask(SIG_BLOCK, &all, NULL);
}

static int remove_dir(void **state)
{
	static const char *const names[] = {"helper", "answer", "request", "arguments", "here", "go"};
	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		unlink(in_dir(names[i]));
	return rmdir(dir);
}

/* Of a script, which can't unblock signals. */
static void die(int number)
{
	sigset_t none;
	sigemptyset(&none);
	signal(number, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	raise(number);
	_exit(0);
}

#endif
