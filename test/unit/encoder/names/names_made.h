/* names_made.h - modules, a helper made of a script, and what is asked of both.
 *
 * Runs in: unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_NAMES_MADE_H
#define PPROFSHIM_NAMES_MADE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/listener/spawn.h"
#include "encoder/names/names.h"
#include "test/unit/at_home.h"
#include "test/unit/support/count.h"

#define SECOND UINT64_C(1000000000)
#define ABSENT \
	"no lines and inlined calls: pprofshim-symbolize is not there; install it beside the library, or say where " \
	"in PPROF_SYMBOLIZER"
#define KILLED \
	"no lines and inlined calls: pprofshim-symbolize was killed by signal 11; names are those of symbol tables"
#define LATE "no lines and inlined calls: the symbolizer is still at work; ask again later"

enum { MODULES = 7, GONE = 6, WAIT_MS = 30 * 1000 };

void marked_function(void);
void other_function(void);
__attribute__((noinline, aligned(16))) void marked_function(void)
{
	__asm__ volatile("nop; nop; nop; nop; nop; nop; nop; nop");
}
__attribute__((noinline, aligned(16))) void other_function(void)
{
	__asm__ volatile("nop; nop; nop; nop");
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* --- modules --------------------------------------------------------------------------------------- */

static char own_path[4096];
static struct module module[MODULES];
static const struct module *list[MODULES];
static uint64_t marked, other; /* as the file's headers count */

struct module_list snapshot_modules(void)
{
	return (struct module_list){MODULES, list};
}

static uintptr_t base_of(int m)
{
	return (uintptr_t)0x100000000000 * 3 + ((uintptr_t)m << 36); /* where nothing is */
}

static void make_modules(void)
{
	Dl_info d;
	struct link_map *map;
	assert_true(dladdr1((void *)marked_function, &d, (void **)&map, RTLD_DL_LINKMAP) != 0);
	assert_true(readlink("/proc/self/exe", own_path, sizeof own_path - 1) > 0);
	marked = (uintptr_t)marked_function - map->l_addr;
	other = (uintptr_t)other_function - map->l_addr;
	static struct module_text text[MODULES];
	for (int m = 0; m < MODULES; m++) {
		module[m] = (struct module){.path = m == GONE ? "/nowhere/libgone.so" : own_path,
		                            .bias = base_of(m),
		                            .text = &text[m],
		                            .text_count = 1,
		                            .gone = SHARED_INIT(m == GONE)};
		module[m].start = module[m].text[0].start = base_of(m);
		module[m].end = module[m].text[0].end = base_of(m) + ((uintptr_t)1 << 35);
		list[m] = &module[m];
	}
}

static struct site site_of(int m, uint64_t address)
{
	return (struct site){.address = base_of(m) + address, .module = &module[m]};
}

/* --- a helper made of a script --------------------------------------------------------------------- */

static char dir[] = "/tmp/test_names.XXXXXX";
static char program[64];

static void path_in(char path[static 64], const char *name)
{
	snprintf(path, 64, "%.30s/%.30s", dir, name);
}

static void write_file(const char *name, const char *text)
{
	char path[64];
	path_in(path, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static const char *read_file(const char *name)
{
	static char text[65536];
	char path[64];
	path_in(path, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return text;
}

/* Begin anew. The script finds the request in the file "request", and all requests in "requests". */
static void use_script(const char *script)
{
	static const char *const names[] = {"helper", "answer", "request", "requests", "go"};
	char text[16384], path[64];
	for (size_t i = 0; i < COUNT(names); i++) {
		path_in(path, names[i]);
		unlink(path);
	}
	snprintf(text, sizeof text,
	         "#!/bin/sh\nself='%s'\ncd %s\ncat >request; { echo =; cat request; } >>requests\n%s\n", own_path, dir,
	         script);
	write_file("helper", text);
	path_in(program, "helper");
	assert_int_equal(chmod(program, 0755), 0);
	names_start(&(struct encoder_options){
		.symbolizer = program, .symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20});
}

static int count_helpers(void)
{
	int n = 0;
	for (const char *s = read_file("requests"); (s = strstr(s, "=\n")); s += 2)
		n++;
	return n;
}

#define ALL_ANSWERED \
	"n=0; while read -r letter rest; do case $letter in o) echo \"o $n\"; n=$((n + 1));; " \
	"a) printf 'a %s %s\\nf 7 5\\t/src/a.c\\t_in\\tinlined\\nf 9 1\\t/src/b.c\\touter\\touter\\n' $rest " \
	"${rest%?}0;; esac; done <request; echo e"
#define WAIT_FOR_GO "while [ ! -e go ]; do sleep 0.02; done; "

/* --- asking ---------------------------------------------------------------------------------------- */

struct request {
	struct region region;
	struct names names;
	struct patience patience;
};

static int once(struct request *r, const struct site *sites, size_t count)
{
	region_release(&r->region);
	int result = names_begin(&r->names, &r->region);
	return result ? result : names_prepare(&r->names, sites, count, &r->patience);
}

/* As the server does it. */
static void whole(struct request *r, const struct site *sites, size_t count)
{
	uint64_t until = now_ns() + WAIT_MS * (SECOND / 1000);
	for (int result; (result = once(r, sites, count)) != 0;) {
		assert_int_equal(result, -EAGAIN);
		for (unsigned ms; (ms = encoder_wait_ms(&r->patience)) != 0; usleep(ms * 1000))
			assert_true(now_ns() < until);
	}
}

static void finish(struct request *r)
{
	region_release(&r->region);
	*r = (struct request){0};
}

static void expect_complete(struct request *r, struct site s)
{
	struct name n = names_of(&r->names, s);
	uint64_t address = s.address - s.module->bias;
	if (address % 16 == 0) { /* the function itself, which begins there */
		assert_int_equal(n.count, 1);
		assert_true(span_is(n.frame->function, "outer") && span_is(n.frame->file, "/src/b.c"));
		assert_int_equal(n.frame->line, 1);
		assert_int_equal(n.offset, 0);
		return;
	}
	assert_int_equal(n.count, 2);
	assert_true(span_is(n.frame[0].function, "inlined") && span_is(n.frame[0].system, "_in") &&
	            span_is(n.frame[0].file, "/src/a.c"));
	assert_true(span_is(n.frame[1].function, "outer") && span_is(n.frame[1].file, "/src/b.c"));
	assert_int_equal(n.frame[0].line, 7);
	assert_int_equal(n.frame[0].start_line, 5);
	assert_int_equal(n.frame[1].line, 9);
	assert_int_equal(n.offset, address % 16);
}

static void expect_table(struct request *r, struct site s, const char *function, uint64_t offset)
{
	struct name n = names_of(&r->names, s);
	assert_int_equal(n.count, 1);
	if (!span_is(n.frame->function, function))
		fail_msg("\"%.*s\" is not %s", (int)n.frame->function.len, n.frame->function.at, function);
	assert_true(span_is(n.frame->system, function) && !n.frame->file.len && !n.frame->line && !n.frame->start_line);
	assert_int_equal(n.offset, offset);
}

static void expect_note(const struct request *r, const char *note)
{
	if (!note)
		assert_null(r->names.note);
	else if (!r->names.note)
		fail_msg("there is no note: %s", note);
	else
		assert_string_equal(r->names.note, note);
}

/* --- much of it, and little memory ----------------------------------------------------------------- */

static int make_dir(void **state)
{
	sigset_t all; /* as in the listener */
	(void)state;
	sigfillset(&all);
	sigdelset(&all, SIGALRM);
	sigprocmask(SIG_BLOCK, &all, NULL);
	make_modules();
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = {"helper", "answer", "request", "requests", "go"};
	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		char path[64];
		path_in(path, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

/* Of a script, which can't unblock signals. */
static void die(void)
{
	sigset_t none;
	sigemptyset(&none);
	signal(SIGSEGV, SIG_DFL);
	sigprocmask(SIG_SETMASK, &none, NULL);
	raise(SIGSEGV);
}

#endif
