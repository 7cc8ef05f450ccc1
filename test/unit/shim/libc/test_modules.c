/* test_modules.c - the list of loaded objects against the loader's own; libraries that come and go.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/libc/modules.c shim/libc/loaded.c shim/libc/headers.c shim/base/text.c shim/libc/real.c shim/base/arena.c
 * links: shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/libc/modules.h"

static int forgotten;

static void count_changes(void)
{
	__atomic_fetch_add(&forgotten, 1, __ATOMIC_RELAXED);
}

/* Two small libraries of libc's package that nothing here needs. */
static const char *const libraries[] = {"libnss_compat.so.2", "libBrokenLocale.so.1"};
static const char *const functions[] = {"_nss_compat_getpwnam_r", "__ctype_get_mb_cur_max"};

static int start(void **state)
{
	(void)state;
	modules_on_change(count_changes);
	modules_refresh();
	return 0;
}

static const struct module *find_by_path(const char *part)
{
	struct module_list l = snapshot_modules();
	for (size_t i = 0; i < l.count; i++)
		if (strstr(l.at[i]->path, part) && !shared_own(&l.at[i]->gone))
			return l.at[i];
	return NULL;
}

/* (Where a linker puts constants into the segment of the code, they are part of it.) */
static bool find_text(uintptr_t at)
{
	struct module_list l = snapshot_modules();
	for (size_t i = 0; i < l.count; i++)
		for (unsigned k = 0; k < l.at[i]->text_count; k++)
			if (at >= l.at[i]->text[k].start && at < l.at[i]->text[k].end)
				return true;
	return false;
}

static int compare_with_loader(struct dl_phdr_info *info, size_t size, void *arg)
{
	size_t *index = arg;
	struct module_list l = snapshot_modules();
	(void)size;
	assert_in_range(*index, 0, l.count - 1);
	const struct module *m = l.at[(*index)++];
	assert_string_equal(m->path, info->dlpi_name);
	assert_int_equal(m->bias, info->dlpi_addr);
	unsigned texts = 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uintptr_t at = info->dlpi_addr + p->p_vaddr;
		if (p->p_type == PT_LOAD) {
			assert_true(m->start <= at && at + p->p_memsz <= m->end);
			if (p->p_flags & PF_X) {
				assert_int_equal(m->text[texts].start, at);
				assert_int_equal(m->text[texts].end, at + p->p_memsz);
				assert_int_equal(m->text[texts++].file_offset, p->p_offset);
			}
		}
		if (p->p_type == PT_GNU_EH_FRAME)
			assert_int_equal(m->unwind_table, at);
	}
	assert_int_equal(m->text_count, texts);
	assert_false(shared_own(&m->gone));
	return 0;
}

/* Must be the first: nothing has come or gone yet. */
static void test_the_list_is_the_loaders_in_its_order(void **state)
{
	(void)state;
	size_t count = 0;
	dl_iterate_phdr(compare_with_loader, &count);
	assert_int_equal(snapshot_modules().count, count);
	assert_string_equal(snapshot_modules().at[0]->path, ""); /* the program is the first */
}

static void test_every_object_with_a_build_id_shows_it(void **state)
{
	(void)state;
	const struct module *libc = find_by_path("libc.so.6");
	assert_non_null(libc);
	assert_int_equal(libc->build_id_len, 20);
	uint8_t zero[20] = {0};
	assert_memory_not_equal(libc->build_id, zero, 20);
}

static void test_an_address_is_found_in_the_object_whose_code_it_is(void **state)
{
	(void)state;
	void *libc = dlopen("libc.so.6", RTLD_NOW);
	assert_ptr_equal(modules_find((uintptr_t)dlsym(libc, "qsort")), find_by_path("libc.so.6"));
	assert_ptr_equal(modules_find((uintptr_t)start), snapshot_modules().at[0]);
	void *heap = malloc(16);
	assert_null(modules_find((uintptr_t)heap));
	assert_null(modules_find((uintptr_t)&heap));
	assert_null(modules_find(0));
	assert_null(modules_find(UINTPTR_MAX));
	free(heap);
	struct module_list l = snapshot_modules();
	for (size_t i = 0; i < l.count; i++)
		for (unsigned k = 0; k < l.at[i]->text_count; k++) {
			assert_ptr_equal(modules_find(l.at[i]->text[k].start), l.at[i]);
			assert_ptr_equal(modules_find(l.at[i]->text[k].end - 1), l.at[i]);
		}
}

/* Stacks of code without unwind tables are guessed: a word that is no return address may point anywhere. */
static void test_an_address_in_the_data_of_an_object_is_no_new_object(void **state)
{
	(void)state;
	static int data;
	static const int constant = 7;
	uintptr_t rows[] = {(uintptr_t)&data, (uintptr_t)&constant, (uintptr_t)libraries, (uintptr_t)stdout,
	                    (uintptr_t)&environ};
	size_t count = snapshot_modules().count;
	for (int round = 0; round < 3; round++)
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
			if (!find_text(rows[i]))
				assert_null(modules_find(rows[i]));
	assert_int_equal(snapshot_modules().count, count);
}

static void test_a_renewal_without_a_change_changes_nothing(void **state)
{
	(void)state;
	struct module_list before = snapshot_modules();
	int was = forgotten;
	modules_refresh();
	modules_refresh();
	assert_int_equal(snapshot_modules().count, before.count);
	assert_int_equal(forgotten, was);
}

static void test_a_library_is_met_when_its_first_address_turns_up(void **state)
{
	(void)state;
	if (!modules_find_lazily())
		skip();
	void *h = dlopen(libraries[0], RTLD_NOW);
	if (!h)
		skip();
	size_t count = snapshot_modules().count;
	uintptr_t f = (uintptr_t)dlsym(h, functions[0]);
	assert_null(find_by_path(libraries[0]));
	/* while something is being unloaded, only what is known is told */
	modules_closing_begin();
	modules_closing_begin();
	assert_null(modules_find(f));
	modules_closing_end();
	assert_true(modules_closing());
	assert_null(modules_find(f));
	modules_closing_end();
	assert_false(modules_closing());
	const struct module *m = modules_find(f);
	assert_non_null(m);
	assert_ptr_equal(find_by_path(libraries[0]), m);
	assert_int_equal(snapshot_modules().count, count + 1);
	assert_true(m->unwind_table >= m->start && m->unwind_table < m->end);
	assert_true(m->build_id_len > 0);
	modules_refresh(); /* the loader's list says the same */
	assert_int_equal(snapshot_modules().count, count + 1);
	assert_false(shared_own(&m->gone));
	dlclose(h);
	modules_refresh();
	assert_true(shared_own(&m->gone));
	assert_null(modules_find(f));
	assert_null(find_by_path(libraries[0]));
}

static void test_a_library_that_comes_back_to_its_place_gets_its_entry_back(void **state)
{
	(void)state;
	size_t count = 0;
	for (int i = 0; i < 20; i++) {
		int was = forgotten;
		void *h = dlopen(libraries[0], RTLD_NOW);
		if (!h)
			skip();
		const struct module *m = modules_find((uintptr_t)dlsym(h, functions[0]));
		if (!m) {
			modules_refresh();
			m = find_by_path(libraries[0]);
		}
		assert_non_null(m);
		assert_false(shared_own(&m->gone));
		if (i == 0)
			count = snapshot_modules().count;
		dlclose(h);
		modules_refresh();
		assert_true(shared_own(&m->gone));
		assert_true(forgotten > was); /* rules of its addresses may be another's now */
	}
	assert_in_range(snapshot_modules().count, count, count + 2);
}

/* Beside libc. */
static const char *library_file(void)
{
	static char path[512];
	const struct module *libc = find_by_path("libc.so.6");
	const char *slash = libc ? strrchr(libc->path, '/') : NULL;
	if (!slash)
		skip();
	snprintf(path, sizeof path, "%.*s/%s", (int)(slash - libc->path), libc->path, libraries[1]);
	return path;
}

/* A copy of a library that is another one to whoever looks: its build id says so. */
static void write_copy(const char *path, unsigned number)
{
	static char bytes[1 << 20];
	FILE *from = fopen(library_file(), "rb"), *to = fopen(path, "wb");
	if (!from || !to)
		skip();
	size_t n = fread(bytes, 1, sizeof bytes, from);
	char *note = memmem(bytes, n, "\3\0\0\0GNU", 8);
	assert_non_null(note);
	memcpy(note + 8, &number, sizeof number);
	assert_int_equal(fwrite(bytes, 1, n, to), n);
	fclose(from);
	fclose(to);
}

static const struct module *load_copy(unsigned number, void **handle, uintptr_t *function)
{
	char path[64];
	snprintf(path, sizeof path, "/tmp/test_modules.%d.%u.so", (int)getpid(), number);
	write_copy(path, number);
	*handle = dlopen(path, RTLD_NOW);
	unlink(path);
	if (!*handle)
		skip();
	*function = (uintptr_t)dlsym(*handle, functions[1]);
	modules_refresh();
	return modules_find(*function);
}

/* A plug-in that is built anew and loaded again and again. */
static void test_only_stacks_that_touch_addresses_used_twice_are_told_apart(void **state)
{
	enum { ROUNDS = 300 };
	(void)state;
	size_t apart = 0;
	uintptr_t own[3] = {(uintptr_t)start, (uintptr_t)find_by_path, (uintptr_t)find_text};
	uint64_t seen[ROUNDS];
	for (unsigned i = 0; i < ROUNDS; i++) {
		void *h;
		uintptr_t f;
		const struct module *m = load_copy(i, &h, &f);
		assert_non_null(m);
		uintptr_t mixed[3] = {own[0], f, own[1]};
		struct module_list l = snapshot_modules();
		size_t overlaps = 0;
		for (size_t k = 0; k < l.count; k++)
			overlaps += l.at[k] != m && l.at[k]->start < m->end && m->start < l.at[k]->end;
		seen[i] = modules_place_of(mixed, 3);
		assert_int_equal(modules_place_of(own, 3), 0);
		assert_true(seen[i] >> 32 == 0 && (overlaps ? l.at[place_module(seen[i], 0) - 1] == m : seen[i] == 0));
		for (unsigned k = 0; k < i && overlaps; k++)
			assert_true(seen[k] != seen[i]);
		apart += overlaps > 0;
		dlclose(h);
		modules_refresh();
		assert_int_equal(modules_place_of(own, 3), 0);
		assert_int_equal(modules_place_of(mixed, 3), 0); /* it is no more */
	}
	assert_true(apart > ROUNDS / 2);
}

/* Two of them at once: what lies at an address is known of both. */
static void test_a_stack_may_touch_two_such_objects(void **state)
{
	(void)state;
	void *h[2];
	uintptr_t f[2];
	for (unsigned i = 0; i < 2; i++) /* where they will be, others were */
		load_copy(1000 + i, &h[i], &f[i]);
	dlclose(h[1]);
	dlclose(h[0]);
	const struct module *m[2];
	for (unsigned i = 0; i < 2; i++)
		m[i] = load_copy(2000 + i, &h[i], &f[i]);
	uint64_t place = modules_place_of(f, 2);
	for (int i = 0; i < 2; i++)
		if (!m[i]->number)
			skip(); /* they came elsewhere */
	for (int i = 0; i < 2; i++)
		assert_ptr_equal(snapshot_modules().at[place_module(place, i) - 1], m[i]);
	dlclose(h[1]);
	dlclose(h[0]);
	modules_refresh();
}

/* Libc unloads objects of its own without a word to us: what is met in their place is found out. */
static void test_an_object_that_vanished_unseen_makes_room_for_the_next(void **state)
{
	(void)state;
	if (!modules_find_lazily())
		skip();
	void *h;
	uintptr_t f;
	const struct module *first = load_copy(3000, &h, &f);
	dlclose(h);
	assert_false(shared_own(&first->gone)); /* nobody has looked */
	assert_null(modules_find(f));
	assert_true(shared_own(&first->gone));
	const struct module *second = load_copy(3001, &h, &f);
	assert_true(second && second != first && !shared_own(&second->gone));
	dlclose(h);
	modules_refresh();
}

static int stop; /* atomic */

static void *look_up(void *arg)
{
	uintptr_t own = (uintptr_t)look_up, *libc = arg;
	size_t wrong = 0;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		const struct module *m = modules_find(own), *n = modules_find(*libc);
		wrong += !m || m->path[0] || !n || !strstr(n->path, "libc.so");
		struct module_list l = snapshot_modules();
		for (size_t i = 0; i < l.count; i++)
			wrong += !l.at[i] || !l.at[i]->path || l.at[i]->text_count == 0;
	}
	return (void *)wrong;
}

static void test_readers_see_whole_entries_while_libraries_come_and_go(void **state)
{
	(void)state;
	pthread_t t[3];
	uintptr_t libc = (uintptr_t)dlsym(dlopen("libc.so.6", RTLD_NOW), "qsort");
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&t[i], NULL, look_up, &libc), 0);
	for (int i = 0; i < 60; i++) {
		void *h = dlopen(libraries[i % 2], RTLD_NOW);
		if (i % 3 == 0)
			modules_refresh();
		else if (h)
			modules_find((uintptr_t)dlsym(h, functions[i % 2]));
		if (h)
			dlclose(h);
		modules_refresh();
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++) {
		void *wrong;
		pthread_join(t[i], &wrong);
		assert_null(wrong);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_list_is_the_loaders_in_its_order),
		cmocka_unit_test(test_every_object_with_a_build_id_shows_it),
		cmocka_unit_test(test_an_address_is_found_in_the_object_whose_code_it_is),
		cmocka_unit_test(test_an_address_in_the_data_of_an_object_is_no_new_object),
		cmocka_unit_test(test_a_renewal_without_a_change_changes_nothing),
		cmocka_unit_test(test_a_library_is_met_when_its_first_address_turns_up),
		cmocka_unit_test(test_a_library_that_comes_back_to_its_place_gets_its_entry_back),
		cmocka_unit_test(test_only_stacks_that_touch_addresses_used_twice_are_told_apart),
		cmocka_unit_test(test_a_stack_may_touch_two_such_objects),
		cmocka_unit_test(test_an_object_that_vanished_unseen_makes_room_for_the_next),
		cmocka_unit_test(test_readers_see_whole_entries_while_libraries_come_and_go),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
