/* test_names.c - who is asked for names, how long that may take, and what there is when it took too long.
 *
 * Runs in: its own process, with shell scripts as helper programs. The modules are made up: this program's file, many
 * times.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/names.c encoder/names/container.c encoder/names/cache.c encoder/names/symbolizer.c
 * links: encoder/names/site.c
 * links: encoder/bytes/intern.c encoder/names/jit.c encoder/names/elf_symbols.c encoder/names/maps.c
 * links: encoder/bytes/sort.c encoder/bytes/out.c encoder/bytes/utf8.c shim/base/own_file.c shim/listener/spawn.c
 * links: shim/base/text.c shim/base/arena.c shim/base/sync.c */
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
	for (int m = 0; m < MODULES; m++) {
		module[m] = (struct module){.path = m == GONE ? "/nowhere/libgone.so" : own_path,
		                            .bias = base_of(m),
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

static void wait_for_rest(void)
{
	uint64_t until = now_ns() + WAIT_MS * (SECOND / 1000);
	while (encoder_rest()) {
		assert_true(now_ns() < until);
		usleep(1000);
	}
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

/* --- all is well ----------------------------------------------------------------------------------- */

static void test_all_names_come_from_one_helper_and_stay_known(void **state)
{
	(void)state;
	struct request r = {0};
	use_script(ALL_ANSWERED);
	const struct site sites[] = {site_of(1, other), site_of(0, marked + 2), site_of(1, marked + 1),
	                             site_of(0, marked + 2), site_of(2, marked)};
	assert_int_equal(once(&r, sites, COUNT(sites)), -EAGAIN);
	assert_in_range(r.patience.until_ns, now_ns() + 5 * SECOND, now_ns() + 16 * SECOND);
	whole(&r, sites, COUNT(sites));
	for (size_t i = 0; i < COUNT(sites); i++)
		expect_complete(&r, sites[i]);
	expect_note(&r, NULL);
	finish(&r);
	assert_int_equal(count_helpers(), 1);
	char expected[4 * 4200];
	uint64_t low = marked + 1 < other ? marked + 1 : other, high = marked + 1 < other ? other : marked + 1;
	snprintf(expected, sizeof expected, "o -\np %s\na %llx\no -\np %s\na %llx\na %llx\no -\np %s\na %llx\n",
	         own_path, (unsigned long long)marked + 2, own_path, (unsigned long long)low, (unsigned long long)high,
	         own_path, (unsigned long long)marked);
	assert_string_equal(read_file("request"), expected);
	/* the next request finds them, whoever asks */
	assert_int_equal(once(&r, sites, COUNT(sites)), 0);
	expect_complete(&r, sites[0]);
	finish(&r);
	struct region region = {0};
	struct names n;
	assert_int_equal(names_begin(&n, &region), 0);
	assert_int_equal(names_prepare(&n, sites, COUNT(sites), NULL), 0);
	assert_int_equal(names_of(&n, site_of(0, marked + 2)).count, 2);
	region_release(&region);
	/* but what is new is asked for */
	const struct site more[] = {site_of(0, marked + 2), site_of(3, marked + 3)};
	whole(&r, more, COUNT(more));
	expect_complete(&r, more[1]);
	assert_null(strstr(read_file("request") + 1, "o -\n")); /* about that object alone */
	finish(&r);
	assert_int_equal(count_helpers(), 2);
	assert_int_equal(encoder_rest(), 0);
	assert_null(encoder_trouble());
}

static void test_without_patience_tables_are_read_and_nothing_is_started(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	struct region region = {0};
	struct names n;
	const struct site sites[] = {site_of(0, marked + 2), site_of(1, other)};
	assert_int_equal(names_begin(&n, &region), 0);
	assert_int_equal(names_prepare(&n, sites, COUNT(sites), NULL), 0);
	struct name name = names_of(&n, sites[0]);
	assert_true(name.count == 1 && span_is(name.frame->function, "marked_function") && name.offset == 2);
	assert_true(span_is(names_of(&n, sites[1]).frame->function, "other_function"));
	assert_null(n.note);
	region_release(&region);
	assert_int_equal(count_helpers(), 0);
	/* what was read there is asked for when there is time */
	struct request r = {0};
	whole(&r, sites, COUNT(sites));
	expect_complete(&r, sites[0]);
	expect_complete(&r, sites[1]);
	assert_int_equal(count_helpers(), 1);
	finish(&r);
}

static void test_a_site_without_an_object_is_not_asked_for(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	struct request r = {0};
	const struct site nowhere = {.address = 0x1000};
	assert_int_equal(once(&r, &nowhere, 1), 0);
	assert_int_equal(names_of(&r.names, nowhere).count, 1);
	assert_int_equal(once(&r, NULL, 0), 0);
	assert_int_equal(count_helpers(), 0);
	finish(&r);
}

static void test_an_object_whose_file_is_gone_is_not_asked_for(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	struct request r = {0};
	const struct site gone[] = {site_of(GONE, 0x1234)}, both[] = {site_of(GONE, 0x1234), site_of(2, marked + 1)};
	assert_int_equal(once(&r, gone, 1), 0);
	assert_int_equal(count_helpers(), 0);
	expect_table(&r, gone[0], "libgone.so+0x1234", 0);
	expect_note(&r, NULL);
	finish(&r);
	whole(&r, both, 2);
	expect_table(&r, both[0], "libgone.so+0x1234", 0);
	expect_complete(&r, both[1]);
	assert_int_equal(count_helpers(), 1);
	finish(&r);
}

static void test_it_is_asked_only_about_the_file_that_was_loaded(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	struct request r = {0};
	module[1].build_id_len = 3; /* not that of our file */
	memcpy(module[1].build_id, "odd", 3);
	const struct site sites[] = {site_of(1, marked)};
	assert_int_equal(once(&r, sites, 1), 0);
	assert_int_equal(count_helpers(), 0);
	finish(&r);
	make_modules();
}

/* --- one that takes its time ----------------------------------------------------------------------- */

static void test_it_is_asked_again_until_it_is_done(void **state)
{
	(void)state;
	use_script(WAIT_FOR_GO ALL_ANSWERED);
	struct request r = {0}, second = {0}, known = {0};
	const struct site sites[] = {site_of(0, marked)}, others[] = {site_of(1, marked)}, gone[] = {site_of(GONE, 0)};
	for (int i = 0; i < 20; i++) {
		assert_int_equal(once(&r, sites, 1), -EAGAIN);
		assert_in_range(encoder_wait_ms(&r.patience), 1, 100);
		assert_int_equal(encoder_rest(), 1000);
		usleep(5000);
	}
	/* one who comes meanwhile waits for its turn */
	assert_int_equal(once(&second, others, 1), -EAGAIN);
	assert_in_range(encoder_wait_ms(&second.patience), 1, 100);
	/* who lacks nothing that it could say does not wait */
	assert_int_equal(names_begin(&known.names, &known.region), 0);
	assert_int_equal(names_prepare(&known.names, gone, 1, NULL), 0);
	write_file("go", "");
	whole(&r, sites, 1);
	expect_complete(&r, sites[0]);
	assert_int_equal(count_helpers(), 1);
	whole(&second, others, 1);
	expect_complete(&second, others[0]);
	assert_int_equal(count_helpers(), 2);
	finish(&r);
	finish(&second);
	finish(&known);
}

static void test_who_lacks_nothing_does_not_wait_for_others(void **state)
{
	(void)state;
	use_script("[ $(grep -c = requests) = 1 ] || " WAIT_FOR_GO ALL_ANSWERED);
	struct request r = {0}, second = {0};
	const struct site sites[] = {site_of(0, marked)}, others[] = {site_of(1, marked)};
	whole(&r, sites, 1);
	assert_int_equal(once(&second, others, 1), -EAGAIN);
	finish(&r);
	assert_int_equal(once(&r, sites, 1), 0);
	expect_complete(&r, sites[0]);
	expect_note(&r, NULL);
	write_file("go", "");
	whole(&second, others, 1);
	finish(&r);
	finish(&second);
}

static void test_after_the_deadline_tables_are_read_and_the_answers_come_next_time(void **state)
{
	(void)state;
	use_script(WAIT_FOR_GO ALL_ANSWERED);
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked + 3), site_of(1, other + 1)};
	assert_int_equal(once(&r, sites, COUNT(sites)), -EAGAIN);
	r.patience.until_ns = now_ns() + 200 * (SECOND / 1000);
	uint64_t before = now_ns();
	whole(&r, sites, COUNT(sites));
	assert_true(now_ns() >= before + 150 * (SECOND / 1000));
	expect_table(&r, sites[0], "marked_function", 3);
	expect_table(&r, sites[1], "other_function", 1);
	expect_note(&r, LATE);
	finish(&r);
	assert_int_equal(encoder_rest(), 1000); /* it goes on */
	write_file("go", "");
	wait_for_rest();
	assert_int_equal(once(&r, sites, COUNT(sites)), 0);
	expect_complete(&r, sites[0]);
	expect_complete(&r, sites[1]);
	expect_note(&r, NULL);
	assert_int_equal(count_helpers(), 1);
	finish(&r);
}

static void test_a_request_that_went_away_leaves_its_answers(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked + 3)};
	assert_int_equal(once(&r, sites, 1), -EAGAIN);
	finish(&r);
	wait_for_rest();
	assert_int_equal(once(&r, sites, 1), 0);
	expect_complete(&r, sites[0]);
	assert_int_equal(count_helpers(), 1);
	finish(&r);
}

/* --- one that fails -------------------------------------------------------------------------------- */

static void test_one_that_is_not_there_is_told(void **state)
{
	(void)state;
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked + 1)};
	use_script("");
	unlink(program);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(once(&r, sites, 1), 0);
		expect_table(&r, sites[0], "marked_function", 1);
		expect_note(&r, ABSENT);
		assert_string_equal(encoder_trouble(), ABSENT);
		assert_int_equal(encoder_wait_ms(&r.patience), 0);
		finish(&r);
	}
}

static void test_one_that_is_switched_off_is_no_trouble(void **state)
{
	(void)state;
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked + 1)};
	use_script(ALL_ANSWERED);
	names_start(&(struct encoder_options){.symbolizer = program,
	                                      .symbolizer_off = true,
	                                      .symbolizer_memory_bytes = UINT64_MAX,
	                                      .memory_limit_bytes = 64 << 20});
	assert_int_equal(once(&r, sites, 1), 0);
	expect_table(&r, sites[0], "marked_function", 1);
	expect_note(&r, NULL);
	assert_null(encoder_trouble());
	assert_int_equal(count_helpers(), 0);
	finish(&r);
}

static void test_when_it_dies_another_is_asked_about_the_rest(void **state)
{
	(void)state;
	use_script("if [ $(grep -c = requests) = 1 ]; then printf 'o 0\\na %s 0\\nf 1 1\\t\\t\\tfirst\\no 1\\n' $(sed "
	           "-n 's/^a //p;T;q' request); exec \"$self\" die; fi; " ALL_ANSWERED);
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked), site_of(1, marked + 1), site_of(2, marked + 2)};
	whole(&r, sites, COUNT(sites));
	if (count_helpers() != 2)
		fail_msg("%s", read_file("requests"));
	assert_in_range(r.patience.rounds, 2, 3);
	struct name n = names_of(&r.names, sites[0]);
	assert_true(n.count == 1 && span_is(n.frame->function, "first") && n.frame->line == 1);
	expect_table(&r, sites[1], "marked_function", 1);
	expect_complete(&r, sites[2]);
	expect_note(&r, KILLED);
	char expected[5000];
	snprintf(expected, sizeof expected, "o -\np %s\na %llx\n", own_path, (unsigned long long)marked + 2);
	assert_string_equal(read_file("request"), expected);
	finish(&r);
	/* not at once again */
	assert_int_equal(once(&r, sites, COUNT(sites)), 0);
	expect_note(&r, KILLED);
	assert_int_equal(count_helpers(), 2);
	finish(&r);
	/* what is complete has no note */
	assert_int_equal(once(&r, &sites[2], 1), 0);
	expect_note(&r, NULL);
	finish(&r);
}

static void test_one_request_starts_only_a_few(void **state)
{
	(void)state;
	use_script("echo 'o 0'; exec \"$self\" die");
	struct request r = {0};
	struct site sites[GONE];
	for (int m = 0; m < GONE; m++)
		sites[m] = site_of(m, marked + 4);
	whole(&r, sites, COUNT(sites));
	assert_in_range(count_helpers(), 2, 4);
	assert_in_range(r.patience.rounds, count_helpers(), 4);
	for (size_t i = 0; i < COUNT(sites); i++)
		expect_table(&r, sites[i], "marked_function", 4);
	expect_note(&r, KILLED);
	finish(&r);
	int before = count_helpers(); /* the next one asks about the others, and then there are none left */
	whole(&r, sites, COUNT(sites));
	assert_in_range(count_helpers(), before + 1, GONE);
	finish(&r);
	before = count_helpers();
	whole(&r, sites, COUNT(sites));
	assert_int_equal(count_helpers(), before);
	finish(&r);
}

static void test_what_it_does_not_answer_is_read_from_tables(void **state)
{
	(void)state;
	use_script("printf 'o 0\\nn its file cannot be read\\no 1\\na %s 0\\ne\\n' $(sed -n 's/^a //p' request | tail "
	           "-n 1)");
	struct request r = {0};
	const struct site sites[] = {site_of(0, marked + 1), site_of(1, marked + 2)};
	whole(&r, sites, COUNT(sites));
	expect_table(&r, sites[0], "marked_function", 1);
	struct name n = names_of(&r.names, sites[1]); /* it knows that there is nothing */
	assert_int_equal(n.count, 1);
	assert_true(memmem(n.frame->function.at, n.frame->function.len, "+0x", 3) != NULL);
	assert_null(encoder_trouble());
	finish(&r);
	whole(&r, sites, COUNT(sites));
	assert_int_equal(count_helpers(), 1); /* and is not asked again at once */
	finish(&r);
}

/* --- much of it, and little memory ----------------------------------------------------------------- */

static void test_many_sites_are_asked_for_at_once(void **state)
{
	enum { N = 20000 };
	(void)state;
	use_script("exec awk '/^o/ { print \"o \" n++ } /^a/ { print \"a \" $2 \" 0\\nf 1 1\\t\\t\\tn\" $2 } END { "
	           "print \"e\" }' request");
	struct site *sites = calloc(N, sizeof *sites);
	for (int i = 0; i < N; i++)
		sites[i] = site_of(i % GONE, 0x1000 + (uint64_t)(N - i) * 8);
	struct request r = {0};
	whole(&r, sites, N);
	for (int i = 0; i < N; i++) {
		char expected[32];
		snprintf(expected, sizeof expected, "n%llx",
		         (unsigned long long)(sites[i].address - sites[i].module->bias));
		struct name n = names_of(&r.names, sites[i]);
		assert_true(n.count == 1 && span_is(n.frame->function, expected));
	}
	assert_int_equal(count_helpers(), 1);
	free(sites);
	finish(&r);
}

static void lack_memory(void)
{
	const struct site sites[] = {site_of(0, marked), site_of(1, marked)};
	uint64_t mapped = arena_mapped_bytes();
	int enough = 0;
	alarm(60);
	for (uint64_t spare = 0; spare < 4 << 20; spare += 32 * 1024) {
		struct request r = {0};
		names_start(&(struct encoder_options){
			.symbolizer = program, .symbolizer_memory_bytes = UINT64_MAX, .memory_limit_bytes = 64 << 20});
		arena_set_limit(mapped + spare);
		int result;
		while ((result = once(&r, sites, COUNT(sites))) == -EAGAIN)
			usleep(1000);
		if (result != 0 && result != -ENOMEM)
			_exit(1);
		if (result == 0 && !names_of(&r.names, sites[0]).count)
			_exit(2);
		enough += result == 0;
		finish(&r);
	}
	names_start(&(struct encoder_options){0});
	_exit(arena_mapped_bytes() != mapped ? 3 : enough ? 0 : 4);
}

static void test_without_memory_it_is_an_error_and_no_harm(void **state)
{
	(void)state;
	use_script(ALL_ANSWERED);
	fflush(stdout);
	int status;
	pid_t child = fork();
	if (child == 0)
		lack_memory();
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

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

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "die") == 0)
		die();
	spawn_start();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_names_come_from_one_helper_and_stay_known),
		cmocka_unit_test(test_without_patience_tables_are_read_and_nothing_is_started),
		cmocka_unit_test(test_a_site_without_an_object_is_not_asked_for),
		cmocka_unit_test(test_an_object_whose_file_is_gone_is_not_asked_for),
		cmocka_unit_test(test_it_is_asked_only_about_the_file_that_was_loaded),
		cmocka_unit_test(test_it_is_asked_again_until_it_is_done),
		cmocka_unit_test(test_who_lacks_nothing_does_not_wait_for_others),
		cmocka_unit_test(test_after_the_deadline_tables_are_read_and_the_answers_come_next_time),
		cmocka_unit_test(test_a_request_that_went_away_leaves_its_answers),
		cmocka_unit_test(test_one_that_is_not_there_is_told),
		cmocka_unit_test(test_one_that_is_switched_off_is_no_trouble),
		cmocka_unit_test(test_when_it_dies_another_is_asked_about_the_rest),
		cmocka_unit_test(test_one_request_starts_only_a_few),
		cmocka_unit_test(test_what_it_does_not_answer_is_read_from_tables),
		cmocka_unit_test(test_many_sites_are_asked_for_at_once),
		cmocka_unit_test(test_without_memory_it_is_an_error_and_no_harm),
	};
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
