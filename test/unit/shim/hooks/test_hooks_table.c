/* test_hooks_table.c - shim/hooks.def against libc, against the library's exports, and the search for what is behind.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/libc/real.c shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "shim/libc/real.h"
#include "shim/waits/waits.h"
#include "test/unit/support/count.h"

static const struct hook {
	const char *name;
	bool in_libc; /* every libc has it */
	bool own;     /* made of other hooks: nothing is asked behind it */
	void *const *real;
	const char *params, *args;
	const char *kind, *object, *view, *way, *looked_at; /* of calls that may block; else NULL */
} hooks[] = {
#define REAL(symbol, p, a) \
	.name = #symbol, .in_libc = true, .real = (void *const *)&real_##symbol, .params = #p, .args = #a
#define HOOK(symbol, type, p, a) {REAL(symbol, p, a)},
#define HOOK_WAITS(symbol, type, p, a, k, o, v, w, ...) \
	{REAL(symbol, p, a), .kind = #k, .object = #o, .view = #v, .way = #w, .looked_at = #__VA_ARGS__},
#define HOOK_WAITS_OWN(symbol, type, p, a, k, v) {REAL(symbol, p, a), .kind = #k, .view = #v},
#define HOOK_NEW(symbol, type, params, args) {.name = #symbol},
#define HOOK_DELETE(symbol, type, params, args) {.name = #symbol},
#define HOOK_OWN(symbol, type, params, args) {.name = #symbol, .own = true},
#define HOOK_VARIADIC(symbol, type, p) {.name = #symbol, .in_libc = true, .own = true},
#include "shim/hooks.def"
};

static void test_no_symbol_is_hooked_twice(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(hooks); i++)
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(hooks[i].name, hooks[k].name);
}

/* The allocator's family must be whole: one function that is missing is a block that is freed unseen. */
static void test_the_allocators_family_is_whole(void **state)
{
	static const char *const family[] = {"malloc",  "calloc",     "realloc",           "reallocarray",   "free",
	                                     "cfree",   "memalign",   "aligned_alloc",     "posix_memalign", "valloc",
	                                     "pvalloc", "free_sized", "free_aligned_sized"};
	static const char *const with[] = {"", "RKSt9nothrow_t", "St11align_val_t", "St11align_val_tRKSt9nothrow_t"};
	static const char *const without[] = {
		"", "m", "RKSt9nothrow_t", "St11align_val_t", "mSt11align_val_t", "St11align_val_tRKSt9nothrow_t"};
	char want[64][64];
	size_t count = 0;
	(void)state;
	for (size_t i = 0; i < COUNT(family); i++)
		snprintf(want[count++], sizeof *want, "%s", family[i]);
	for (const char *kind = "wa"; *kind; kind++)
		for (size_t i = 0; i < COUNT(with); i++)
			snprintf(want[count++], sizeof *want, "_Zn%cm%s", *kind, with[i]);
	for (const char *kind = "la"; *kind; kind++)
		for (size_t i = 0; i < COUNT(without); i++)
			snprintf(want[count++], sizeof *want, "_Zd%cPv%s", *kind, without[i]);
	for (size_t i = 0; i < count; i++) {
		bool found = false;
		for (size_t k = 0; k < COUNT(hooks); k++)
			found |= strcmp(hooks[k].name, want[i]) == 0;
		if (!found)
			fail_msg("%s is not hooked", want[i]);
	}
}

static void test_vfork_and_posix_spawn_are_left_alone(void **state)
{
	static const char *const never[] = {"vfork", "posix_spawn", "posix_spawnp", "fork", "getenv", "dlsym", "exit"};
	(void)state;
	for (size_t i = 0; i < COUNT(hooks); i++)
		for (size_t k = 0; k < COUNT(never); k++)
			assert_string_not_equal(hooks[i].name, never[k]);
}

static bool is_of_libaio(const char *name)
{
	return strcmp(name, "io_getevents") == 0;
}

/* From here, "after us" is after this program: what dlsym finds there, too, in the version that programs bind to. */
static void test_what_is_behind_a_hook_is_what_the_loader_would_bind_to(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(hooks); i++) {
		void *want = dlsym(RTLD_NEXT, hooks[i].name), *got = real_find(hooks[i].name).address;
		if (got != want && !hooks[i].own)
			fail_msg("%s: %p, not %p", hooks[i].name, got, want);
		if (hooks[i].in_libc && !got && !is_of_libaio(hooks[i].name))
			fail_msg("%s is in no library", hooks[i].name);
	}
}

/* The one symbol of another library: bound to there, in the version that programs are linked with. */
static void test_io_getevents_is_found_in_libaio(void **state)
{
	(void)state;
	void *libaio = dlopen("libaio.so.1", RTLD_NOW | RTLD_GLOBAL);
	if (!libaio)
		libaio = dlopen("libaio.so.1t64", RTLD_NOW | RTLD_GLOBAL);
	if (!libaio)
		skip();
	assert_non_null(real_find("io_getevents").address);
	assert_ptr_equal(real_find("io_getevents").address, dlsym(libaio, "io_getevents"));
	dlclose(libaio);
}

/* Until its first call, a hook's real function is a stub of our own: each pointer is set, and each its own. */
static void test_every_hook_has_a_real_function_of_its_own(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(hooks); i++) {
		if (hooks[i].real && !*hooks[i].real)
			fail_msg("%s", hooks[i].name);
		for (size_t k = 0; hooks[i].real && k < i; k++)
			assert_ptr_not_equal(hooks[i].real, hooks[k].real);
	}
}

/* Is `word` among these, which are separated by what is no part of a name? */
static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = list; (at = strstr(at, word)); at++) {
		bool begins = at == list || !(at[-1] == '_' || (at[-1] >= 'a' && at[-1] <= 'z'));
		if (begins && !(at[n] == '_' || (at[n] >= 'a' && at[n] <= 'z')))
			return true;
	}
	return false;
}

static bool is_one_of(const char *text, const char *const *list)
{
	for (; *list; list++)
		if (strcmp(text, *list) == 0)
			return true;
	return false;
}

/* The object of a wait is a parameter. The table names it wherever the dump can show it. */
static void test_a_call_that_waits_names_an_object_that_it_has(void **state)
{
	static const char *const kinds[] = {"NO_OBJECT", "ADDRESS", "FD", "TID", "PID", NULL};
	(void)state;
	size_t waits = 0;
	for (size_t i = 0; i < COUNT(hooks); i++) {
		const struct hook *h = &hooks[i];
		if (!h->kind)
			continue;
		waits++;
		bool has_object = strcmp(h->kind, "NO_OBJECT") != 0;
		if (!is_one_of(h->kind, kinds))
			fail_msg("%s: kind %s", h->name, h->kind);
		if (h->object && has_object != has_word(h->args, h->object))
			fail_msg("%s: a %s called %s", h->name, h->kind, h->object);
		if (has_word(h->params, "fd") != (strcmp(h->kind, "FD") == 0))
			fail_msg("%s%s waits for a %s", h->name, h->params, h->kind);
	}
	assert_int_equal(waits + 1, WAIT_CALLS); /* and WAIT_NONE */
	assert_true(waits > 70);
}

/* A relative time-out that is forgotten makes a call wait longer each time that our signal interrupts it; a point in
 * time that is taken for a relative one makes it end at once. */
static void test_relative_time_outs_are_cut_down_and_points_in_time_are_not(void **state)
{
	static const char *const ways[] = {"MUTEX",    "READ_LOCK",    "WRITE_LOCK", "COND",         "SEM",      "SPIN",
	                                   "BARRIER",  "JOIN",         "JOIN_UNTIL", "PLAIN",        "CHILDREN", "LONG",
	                                   "LONG_SET", "MILLISECONDS", "RELATIVE",   "RELATIVE_SET", "SELECT",   NULL};
	(void)state;
	for (size_t i = 0; i < COUNT(hooks); i++) {
		const struct hook *h = &hooks[i];
		if (!h->way)
			continue;
		if (!is_one_of(h->way, ways))
			fail_msg("%s: way %s", h->name, h->way);
		bool ms = has_word(h->args, "timeout"), relative = has_word(h->args, "time"),
		     left = has_word(h->args, "left");
		const char *want = ms ? "MILLISECONDS" : relative ? "RELATIVE" : left ? "SELECT" : NULL;
		if (want ? strncmp(h->way, want, strlen(want)) != 0
		         : strstr(h->way, "MILLISECONDS") || strstr(h->way, "RELATIVE") || strstr(h->way, "SELECT"))
			fail_msg("%s%s: way %s", h->name, h->params, h->way);
		if (strstr(h->way, "_SET") && !has_word(h->args, "set"))
			fail_msg("%s has no set", h->name);
		if (has_word(h->args, "until") && (want || strstr(h->params, "const struct timespec *until") == NULL))
			fail_msg("%s: until", h->name);
	}
}

/* POSIX: the pthread family never returns EINTR, so its calls are not made again; all others may fail with it. */
static void test_the_pthread_family_alone_never_sees_an_interruption(void **state)
{
	static const char *const never[] = {"MUTEX",   "READ_LOCK", "WRITE_LOCK", "COND", "SPIN",
	                                    "BARRIER", "JOIN",      "JOIN_UNTIL", NULL};
	static const char *const prefixes[] = {"pthread_", "mtx_", "cnd_", "thrd_"};
	(void)state;
	for (size_t i = 0; i < COUNT(hooks); i++) {
		bool is_pthread = false;
		for (size_t k = 0; k < COUNT(prefixes); k++)
			is_pthread |= strncmp(hooks[i].name, prefixes[k], strlen(prefixes[k])) == 0;
		if (hooks[i].way && is_one_of(hooks[i].way, never) != is_pthread)
			fail_msg("%s: way %s", hooks[i].name, hooks[i].way);
	}
}

/* Each way is given what it looks at, and a way that is for good only is no way for a call that gives up. */
static void test_each_way_finds_what_it_looks_at(void **state)
{
	static const struct {
		const char *way, *param;
	} needs[] = {{"MUTEX", "mutex"},       {"READ_LOCK", "lock"}, {"WRITE_LOCK", "lock"},
	             {"COND", "mutex"},        {"SEM", "sem"},        {"SPIN", "lock"},
	             {"CHILDREN", "options"},  {"SELECT", "left"},    {"MILLISECONDS", "&timeout"},
	             {"RELATIVE", "&time"},    {"LONG_SET", "&set"},  {"RELATIVE_SET", "&set"},
	             {"RELATIVE_SET", "&time"}};
	(void)state;
	for (size_t i = 0; i < COUNT(hooks); i++) {
		const struct hook *h = &hooks[i];
		if (!h->way)
			continue;
		for (size_t k = 0; k < COUNT(needs); k++)
			if (strcmp(h->way, needs[k].way) == 0 && !has_word(h->looked_at, needs[k].param))
				fail_msg("%s: way %s, but no %s", h->name, h->way, needs[k].param);
		if (strcmp(h->way, "JOIN") == 0 || strcmp(h->way, "JOIN_UNTIL") == 0)
			if (has_word(h->args, "until") != (strcmp(h->way, "JOIN_UNTIL") == 0))
				fail_msg("%s: way %s", h->name, h->way);
		if (strstr(h->name, "rdlock") && strcmp(h->way, "READ_LOCK") != 0)
			fail_msg("%s: way %s", h->name, h->way);
		if (strstr(h->name, "wrlock") && strcmp(h->way, "WRITE_LOCK") != 0)
			fail_msg("%s: way %s", h->name, h->way);
	}
}

static void test_every_wait_has_a_view_that_suits_its_object(void **state)
{
	static const char *const views[] = {"SYNC",  "COND",   "NET",   "SEND",    "READ",
	                                    "WRITE", "SELECT", "SLEEP", "SYSCALL", NULL};
	static const char *const of_address[] = {"SYNC", "COND", NULL};
	static const char *const of_fd[] = {"NET", "SEND", "READ", "WRITE",
	                                    NULL}; /* trace_kind_of looks at the descriptor */
	static const char *const of_time[] = {"MILLISECONDS", "SELECT", NULL};
	(void)state;
	for (size_t i = 0; i < COUNT(hooks); i++) {
		const struct hook *h = &hooks[i];
		if (!h->kind) {
			assert_null(h->view);
			continue;
		}
		if (!is_one_of(h->view, views))
			fail_msg("%s: view %s", h->name, h->view);
		bool address = strcmp(h->kind, "ADDRESS") == 0, fd = strcmp(h->kind, "FD") == 0;
		if (address && !is_one_of(h->view, of_address))
			fail_msg("%s: a %s seen as %s", h->name, h->kind, h->view);
		if (is_one_of(h->view, of_fd) && !fd)
			fail_msg("%s: a %s seen as %s", h->name, h->kind, h->view);
		if (h->way && is_one_of(h->way, of_time) && strcmp(h->view, "SELECT") != 0)
			fail_msg("%s: way %s seen as %s", h->name, h->way, h->view);
		if (strstr(h->name, "sleep") && strcmp(h->view, "SLEEP") != 0)
			fail_msg("%s: seen as %s", h->name, h->view);
		bool is_cond = strncmp(h->name, "pthread_cond_", 13) == 0 || strncmp(h->name, "cnd_", 4) == 0;
		if (is_cond != (strcmp(h->view, "COND") == 0))
			fail_msg("%s: seen as %s", h->name, h->view);
	}
}

static void test_the_default_version_wins_over_older_ones(void **state)
{
	/* each has had several in glibc's history */
	static const char *const names[] = {
		"pthread_cond_wait", "pthread_cond_timedwait", "memcpy", "regexec",       "nftw", "realpath", "fopen",
		"posix_spawn",       "sched_getaffinity",      "glob64", "pthread_create"};
	(void)state;
	int met = 0;
	for (size_t i = 0; i < COUNT(names); i++) {
		void *libc = dlopen("libc.so.6", RTLD_NOW);
		void *want = dlsym(RTLD_NEXT, names[i]);
		(void)libc;
		if (!want)
			continue;
		met++;
		if (real_find(names[i]).address != want)
			fail_msg("%s", names[i]);
	}
	assert_true(met > 3);
}

/* (Not the default version of anything: found, as there is no other.) */
static void test_what_is_nowhere_is_not_found(void **state)
{
	(void)state;
	assert_null(real_find("no_such_function_anywhere").address);
	assert_null(real_find("").address);
	assert_null(real_find_anywhere("no_such_function_anywhere").address);
	assert_null(real_find("environ").address); /* data */
	assert_non_null(real_find_anywhere("_dl_find_object").address);
}

static void test_two_symbols_of_an_object_are_known_to_be_of_one(void **state)
{
	(void)state;
	assert_int_equal(real_find("qsort").object, real_find("bsearch").object);
	assert_true(real_find("cmocka_unit_test_does_not_exist").object == 0);
	assert_true(real_find("_cmocka_run_group_tests").object != real_find("qsort").object);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t drop_repeated(const char **sorted, size_t count)
{
	size_t kept = 0;
	for (size_t i = 0; i < count; i++)
		if (!kept || strcmp(sorted[kept - 1], sorted[i]) != 0)
			sorted[kept++] = sorted[i];
	return kept;
}

static void test_the_library_exports_the_table_and_nothing_else(void **state)
{
	(void)state;
	FILE *f = fopen("build/libpprofshim.so", "rb");
	if (!f)
		skip();
	fseek(f, 0, SEEK_END);
	size_t len = (size_t)ftell(f), count = 0;
	char *image = malloc(len);
	rewind(f);
	assert_int_equal(fread(image, 1, len, f), len);
	fclose(f);
	const Elf64_Ehdr *e = (void *)image;
	const Elf64_Shdr *s = (void *)(image + e->e_shoff), *table = NULL;
	for (int i = 0; i < e->e_shnum; i++)
		if (s[i].sh_type == SHT_DYNSYM)
			table = &s[i];
	assert_non_null(table);
	const Elf64_Sym *symbol = (void *)(image + table->sh_offset);
	const char *names = image + s[table->sh_link].sh_offset;
	const char **exported = calloc(table->sh_size / sizeof *symbol, sizeof *exported), *want[COUNT(hooks)];
	for (size_t i = 0; i < table->sh_size / sizeof *symbol; i++)
		if (symbol[i].st_shndx != SHN_UNDEF && symbol[i].st_shndx != SHN_ABS /* a version's name */ &&
		    symbol[i].st_name)
			exported[count++] = names + symbol[i].st_name;
	for (size_t i = 0; i < COUNT(hooks); i++)
		want[i] = hooks[i].name;
	qsort(exported, count, sizeof *exported, by_text);
	count = drop_repeated(exported, count); /* a hook in several versions */
	qsort(want, COUNT(hooks), sizeof *want, by_text);
	for (size_t i = 0; i < count && i < COUNT(hooks); i++)
		assert_string_equal(exported[i], want[i]);
	assert_int_equal(count, COUNT(hooks));
	free(exported);
	free(image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_symbol_is_hooked_twice),
		cmocka_unit_test(test_the_allocators_family_is_whole),
		cmocka_unit_test(test_vfork_and_posix_spawn_are_left_alone),
		cmocka_unit_test(test_what_is_behind_a_hook_is_what_the_loader_would_bind_to),
		cmocka_unit_test(test_io_getevents_is_found_in_libaio),
		cmocka_unit_test(test_every_hook_has_a_real_function_of_its_own),
		cmocka_unit_test(test_a_call_that_waits_names_an_object_that_it_has),
		cmocka_unit_test(test_relative_time_outs_are_cut_down_and_points_in_time_are_not),
		cmocka_unit_test(test_the_pthread_family_alone_never_sees_an_interruption),
		cmocka_unit_test(test_each_way_finds_what_it_looks_at),
		cmocka_unit_test(test_every_wait_has_a_view_that_suits_its_object),
		cmocka_unit_test(test_the_default_version_wins_over_older_ones),
		cmocka_unit_test(test_what_is_nowhere_is_not_found),
		cmocka_unit_test(test_two_symbols_of_an_object_are_known_to_be_of_one),
		cmocka_unit_test(test_the_library_exports_the_table_and_nothing_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
