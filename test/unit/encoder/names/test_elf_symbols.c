/* test_elf_symbols.c - symbols of real files: of this program, and of libc.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/elf_symbols.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include "test/unit/encoder/names/elf_symbols_made.h"

struct image {
	unsigned char *at;
	size_t len;
};

static struct image load(const char *path)
{
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	struct image i = {.len = (size_t)ftell(f)};
	rewind(f);
	i.at = malloc(i.len);
	assert_int_equal(fread(i.at, 1, i.len, f), i.len);
	fclose(f);
	return i;
}

/* The truth, read as simply as can be: all function symbols of the best table. */
struct table {
	const Elf64_Sym *symbol;
	size_t count;
	const char *names;
};

static struct table find_table(const struct image *i)
{
	const Elf64_Ehdr *e = (void *)i->at;
	const Elf64_Shdr *s = (void *)(i->at + e->e_shoff);
	struct table t = {0};
	for (int pass = 0; pass < 2 && !t.symbol; pass++)
		for (int k = 0; k < e->e_shnum; k++)
			if (s[k].sh_type == (pass ? SHT_DYNSYM : SHT_SYMTAB))
				t = (struct table){(void *)(i->at + s[k].sh_offset), s[k].sh_size / sizeof(Elf64_Sym),
				                   (void *)(i->at + s[s[k].sh_link].sh_offset)};
	assert_non_null(t.symbol);
	return t;
}

static bool is_function(const Elf64_Sym *s)
{
	return ELF64_ST_TYPE(s->st_info) == STT_FUNC && s->st_shndx != SHN_UNDEF && s->st_size && s->st_value;
}

/* Is `name` what the table calls a sized function around this address, none of which begins later? */
static bool is_right(const struct table *t, const struct elf_query *q)
{
	uint64_t latest = 0;
	bool right = false;
	for (size_t k = 0; k < t->count; k++) {
		const Elf64_Sym *s = &t->symbol[k];
		if (!is_function(s) || q->address < s->st_value || q->address - s->st_value >= s->st_size)
			continue;
		if (s->st_value > latest)
			latest = s->st_value, right = false;
		const char *name = t->names + s->st_name;
		size_t len = strcspn(name, "@");
		right |= s->st_value == latest && q->name.len == len && memcmp(q->name.at, name, len) == 0;
	}
	return latest && right && q->start == latest;
}

static int by_address(const void *a, const void *b)
{
	const struct elf_query *x = a, *y = b;
	return (x->address > y->address) - (x->address < y->address);
}

static void compare_random_addresses(const char *path)
{
	enum { N = 1500 };
	struct image i = load(path);
	struct table t = find_table(&i);
	struct region r = {0};
	struct elf_query *q = calloc(N, sizeof *q);
	size_t n = 0;
	while (n < N) {
		const Elf64_Sym *s = &t.symbol[next_random() % t.count];
		if (!is_function(s))
			continue;
		q[n].address = s->st_value + (n % 4 == 0   ? 0
		                              : n % 4 == 1 ? s->st_size - 1
		                                           : next_random() % s->st_size);
		n++;
	}
	qsort(q, N, sizeof *q, by_address);
	int fd = open(path, O_RDONLY);
	assert_int_equal(elf_symbols_of_file(&r, fd, q, N), 0);
	close(fd);
	for (n = 0; n < N; n++)
		if (!is_right(&t, &q[n]))
			fail_msg("%s: %#llx is \"%.*s\" from %#llx", path, (unsigned long long)q[n].address,
			         (int)q[n].name.len, q[n].name.at, (unsigned long long)q[n].start);
	free(q);
	free(i.at);
	region_release(&r);
}

static const char *path_of(const void *p)
{
	Dl_info d;
	assert_true(dladdr(p, &d) != 0);
	return d.dli_fname;
}

static void test_names_in_this_program_are_those_of_its_table(void **state)
{
	(void)state;
	compare_random_addresses("/proc/self/exe");
}

static void test_names_in_libc_are_those_of_its_table(void **state)
{
	(void)state;
	compare_random_addresses(path_of(dlsym(RTLD_DEFAULT, "qsort")));
}

static uintptr_t bias_of(const void *p)
{
	Dl_info d;
	struct link_map *map;
	assert_true(dladdr1(p, &d, (void **)&map, RTLD_DL_LINKMAP) != 0);
	return map->l_addr;
}

static void test_known_functions_have_their_known_names(void **state)
{
	static const char *const names[] = {"qsort",
	                                    "strtoul",
	                                    "getaddrinfo",
	                                    "fopen",
	                                    "regexec",
	                                    "read",
	                                    "poll",
	                                    "nanosleep",
	                                    "pthread_mutex_lock",
	                                    "pthread_cond_wait",
	                                    "sem_wait"};
	(void)state;
	void *libc = dlopen("libc.so.6", RTLD_NOW); /* under a sanitizer the global names may be others' */
	assert_non_null(libc);
	for (size_t i = 0; i < COUNT(names); i++) {
		struct region r = {0};
		char *p = dlsym(libc, names[i]);
		assert_non_null(p);
		const char *path = path_of(p);
		if (!strstr(path, "libc"))
			continue;
		struct elf_query q = {.address = (uintptr_t)p + 1 - bias_of(p)};
		int fd = open(path, O_RDONLY);
		assert_int_equal(elf_symbols_of_file(&r, fd, &q, 1), 0);
		close(fd);
		char got[64];
		snprintf(got, sizeof got, "%.*s", (int)q.name.len, q.name.at);
		if (!strstr(got, names[i]) || got[0] == '_') /* strtoull is as right as strtoul, __read is not */
			fail_msg("%s is called %s", names[i], got);
		assert_int_equal(q.start, (uintptr_t)p - bias_of(p));
		region_release(&r);
	}
}

static void test_addresses_outside_of_every_symbol_have_no_name(void **state)
{
	(void)state;
	struct region r = {0};
	struct elf_query q[] = {
		{.address = 0}, {.address = 1}, {.address = (uint64_t)1 << 40}, {.address = UINT64_MAX}};
	int fd = open("/proc/self/exe", O_RDONLY);
	assert_int_equal(elf_symbols_of_file(&r, fd, q, COUNT(q)), 0);
	for (size_t i = 0; i < COUNT(q); i++)
		assert_int_equal(q[i].name.len, 0);
	assert_int_equal(elf_symbols_of_file(&r, fd, NULL, 0), 0);
	close(fd);
	region_release(&r);
}

/* The loaded image knows its dynamic symbols, without any file. */
static void test_without_the_file_the_loaded_image_gives_the_dynamic_names(void **state)
{
	static const char *const names[] = {"qsort", "strtoul", "getaddrinfo", "abort"};
	(void)state;
	void *libc = dlopen("libc.so.6", RTLD_NOW);
	int fd = open("/proc/self/mem", O_RDONLY);
	if (fd < 0)
		skip();
	for (size_t i = 0; i < COUNT(names); i++) {
		struct region r = {0};
		char *p = dlsym(libc, names[i]);
		Dl_info d;
		assert_true(dladdr(p, &d) != 0);
		uintptr_t bias = bias_of(p);
		struct elf_query q = {.address = (uintptr_t)p - bias};
		assert_int_equal(elf_symbols_of_memory(&r, fd, (uintptr_t)d.dli_fbase, bias, &q, 1), 0);
		assert_int_equal(q.start, (uintptr_t)p - bias);
		assert_non_null(memmem(q.name.at, q.name.len, names[i], strlen(names[i])));
		region_release(&r);
	}
	struct region r = {0};
	struct elf_query q = {.address = 1};
	assert_int_equal(elf_symbols_of_memory(&r, fd, 4096, 4096, &q, 1), -ENOEXEC);
	assert_int_equal(elf_symbols_of_memory(&r, fd, (uintptr_t)&q, 0, &q, 1), -ENOEXEC);
	region_release(&r);
	close(fd);
}

static size_t own_build_id(uint8_t id[64])
{
	struct image i = load("/proc/self/exe");
	const Elf64_Ehdr *e = (void *)i.at;
	const Elf64_Shdr *s = (void *)(i.at + e->e_shoff);
	const char *names = (void *)(i.at + s[e->e_shstrndx].sh_offset);
	size_t len = 0;
	for (int k = 0; k < e->e_shnum; k++)
		if (strcmp(names + s[k].sh_name, ".note.gnu.build-id") == 0) {
			len = s[k].sh_size - 16;
			assert_in_range(len, 1, 64);
			memcpy(id, i.at + s[k].sh_offset + 16, len);
		}
	free(i.at);
	return len;
}

static void test_a_build_id_tells_one_file_from_another(void **state)
{
	(void)state;
	uint8_t id[64] = {0};
	size_t len = own_build_id(id);
	int self = open("/proc/self/exe", O_RDONLY), null = open("/dev/null", O_RDONLY);
	assert_true(elf_has_build_id(self, id, 0)); /* nothing is known */
	assert_true(elf_has_build_id(null, id, len));
	if (len) {
		assert_true(elf_has_build_id(self, id, len));
		id[len - 1] ^= 1;
		assert_false(elf_has_build_id(self, id, len));
		id[len - 1] ^= 1;
		id[0] ^= 0x80;
		assert_false(elf_has_build_id(self, id, len));
	}
	close(self);
	close(null);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_in_this_program_are_those_of_its_table),
		cmocka_unit_test(test_names_in_libc_are_those_of_its_table),
		cmocka_unit_test(test_known_functions_have_their_known_names),
		cmocka_unit_test(test_addresses_outside_of_every_symbol_have_no_name),
		cmocka_unit_test(test_without_the_file_the_loaded_image_gives_the_dynamic_names),
		cmocka_unit_test(test_a_build_id_tells_one_file_from_another),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
