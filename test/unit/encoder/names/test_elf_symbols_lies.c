/* test_elf_symbols_lies.c - small files made for the purpose: rules for aliases and sizes, and fields that lie.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/elf_symbols.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include "test/unit/encoder/names/elf_symbols_made.h"

/* --- files that lie ---------------------------------------------------------------------------- */

/* A small ELF file with a table of a few symbols, in memory: mutations hit something that matters. */
struct small {
	Elf64_Ehdr e;
	Elf64_Phdr p[2];
	Elf64_Shdr s[4];
	Elf64_Sym symbol[6];
	char names[64];
	struct {
		Elf64_Nhdr n;
		char name[4];
		uint8_t id[20];
	} note;
};

static struct small small(void)
{
	struct small f = {
		.e = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
	              .e_type = ET_DYN,
	              .e_machine = EM_X86_64,
	              .e_version = EV_CURRENT,
	              .e_phoff = offsetof(struct small, p),
	              .e_shoff = offsetof(struct small, s),
	              .e_ehsize = sizeof(Elf64_Ehdr),
	              .e_phentsize = sizeof(Elf64_Phdr),
	              .e_phnum = 2,
	              .e_shentsize = sizeof(Elf64_Shdr),
	              .e_shnum = 3},
		.p = {{.p_type = PT_LOAD, .p_filesz = 4096, .p_memsz = 4096},
	              {.p_type = PT_NOTE,
	               .p_offset = offsetof(struct small, note),
	               .p_filesz = sizeof f.note,
	               .p_memsz = sizeof f.note}},
		.s = {{0},
	              {.sh_type = SHT_SYMTAB,
	               .sh_offset = offsetof(struct small, symbol),
	               .sh_size = sizeof f.symbol,
	               .sh_link = 2,
	               .sh_entsize = sizeof(Elf64_Sym)},
	              {.sh_type = SHT_STRTAB, .sh_offset = offsetof(struct small, names), .sh_size = sizeof f.names}},
		.names = "\0small\0large\0weak@@V1\0bare\0inner",
		.note = {.n = {4, 20, NT_GNU_BUILD_ID}, .name = "GNU", .id = {1, 2, 3}},
	};
	const struct {
		unsigned name, bind, type;
		uint64_t value, size;
	} rows[] = {{1, STB_LOCAL, STT_FUNC, 0x1000, 16},
	            {7, STB_GLOBAL, STT_FUNC, 0x2000, 0x1000},
	            {13, STB_WEAK, STT_FUNC, 0x4000, 32},
	            {22, STB_GLOBAL, STT_NOTYPE, 0x5000, 0},
	            {27, STB_LOCAL, STT_FUNC, 0x2100, 16}};
	for (size_t i = 0; i < COUNT(rows); i++)
		f.symbol[i + 1] = (Elf64_Sym){.st_name = rows[i].name,
		                              .st_info = ELF64_ST_INFO(rows[i].bind, rows[i].type),
		                              .st_shndx = 1,
		                              .st_value = rows[i].value,
		                              .st_size = rows[i].size};
	return f;
}

static int file_of(const void *bytes, size_t len)
{
	int fd = memfd_create("small", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, len), len);
	return fd;
}

static void test_the_nearest_sized_symbol_wins_and_versions_are_cut_off(void **state)
{
	static const struct {
		uint64_t address;
		const char *name;
	} rows[] = {{0x0fff, ""},      {0x1000, "small"}, {0x100f, "small"}, {0x1010, ""},
	            {0x2000, "large"}, {0x20ff, "large"}, {0x2100, "inner"}, {0x210f, "inner"},
	            {0x2110, "large"}, {0x2fff, "large"}, {0x3000, ""},      {0x4001, "weak"},
	            {0x4020, ""},      {0x5000, "bare"},  {0x5fff, "bare"},  {0x6000, ""}};
	(void)state;
	struct region r = {0};
	struct small f = small();
	struct elf_query q[COUNT(rows)] = {{0}};
	for (size_t i = 0; i < COUNT(rows); i++)
		q[i].address = rows[i].address;
	int fd = file_of(&f, sizeof f);
	assert_int_equal(elf_symbols_of_file(&r, fd, q, COUNT(rows)), 0);
	for (size_t i = 0; i < COUNT(rows); i++)
		if (q[i].name.len != strlen(rows[i].name) || (q[i].name.len && !span_is(q[i].name, rows[i].name)))
			fail_msg("%#llx is \"%.*s\", not \"%s\"", (unsigned long long)rows[i].address,
			         (int)q[i].name.len, q[i].name.at, rows[i].name);
	assert_true(elf_has_build_id(fd, f.note.id, sizeof f.note.id));
	f.note.id[7] = 9;
	assert_false(elf_has_build_id(fd, f.note.id, sizeof f.note.id));
	close(fd);
	region_release(&r);
}

/* "bare" at 0x5000 has no size: it ends at the next symbol, whatever that is, and with its section. */
static void test_a_symbol_without_a_size_ends_where_the_next_one_or_its_section_does(void **state)
{
	static const struct {
		uint64_t address, next, section_end;
		const char *name;
	} rows[] = {{0x50ff, 0x5100, 0, "bare"},      {0x5200, 0x5100, 0, ""},      {0x5100, 0x5100, 0, "weak"},
	            {0x51ff, 0x4000, 0x5200, "bare"}, {0x5200, 0x4000, 0x5200, ""}, {0x5fff, 0x6000, 0x9000, "bare"}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct region r = {0};
		struct small f = small();
		struct elf_query q = {.address = rows[i].address};
		f.symbol[3].st_value = rows[i].next; /* of 32 bytes */
		if (rows[i].section_end) {
			f.s[3] = (Elf64_Shdr){.sh_type = SHT_PROGBITS,
			                      .sh_flags = SHF_ALLOC,
			                      .sh_addr = 0x5000,
			                      .sh_size = rows[i].section_end - 0x5000};
			f.symbol[4].st_shndx = 3;
			f.e.e_shnum = 4;
		}
		int fd = file_of(&f, sizeof f);
		assert_int_equal(elf_symbols_of_file(&r, fd, &q, 1), 0);
		if (q.name.len != strlen(rows[i].name) || (q.name.len && !span_is(q.name, rows[i].name)))
			fail_msg("%#llx is \"%.*s\", not \"%s\"", (unsigned long long)rows[i].address, (int)q.name.len,
			         q.name.at, rows[i].name);
		close(fd);
		region_release(&r);
	}
}

/* Of names for one address, the public one that programs call: the fewest underscores in front;
 * of equals the shortest, the first in the alphabet; of mangled ones the last in the table. */
static void test_of_public_aliases_the_one_with_the_fewest_underscores_in_front_wins(void **state)
{
	enum { LOCAL = STB_LOCAL, GLOBAL = STB_GLOBAL, WEAK = STB_WEAK };
	static const struct {
		struct {
			const char *name;
			unsigned bind;
			uint64_t size;
		} aliases[5];
		const char *best;
	} rows[] = {
		{{{"__open", GLOBAL, 16}, {"open", WEAK, 16}, {"_open", GLOBAL, 16}}, "open"},
		{{{"open", WEAK, 16}, {"__open", GLOBAL, 16}, {"__libc_open", GLOBAL, 16}}, "open"},
		{{{"___a", GLOBAL, 16}, {"__b", GLOBAL, 16}, {"_c_", GLOBAL, 16}, {"__d", GLOBAL, 16}}, "_c_"},
		{{{"__b", GLOBAL, 16}, {"__a", GLOBAL, 16}}, "__a"}, /* equals: by the alphabet, */
		{{{"strtoumax", GLOBAL, 16}, {"strtoul", WEAK, 16}, {"strtoull", WEAK, 16}},
	         "strtoul"}, /* the shortest first */
		{{{"_ZN1AC1Ev", GLOBAL, 16}, {"_ZN1AC2Ev", GLOBAL, 16}, {"_ZN1AC1Ev", LOCAL, 16}}, "_ZN1AC2Ev"},
		{{{"plain", LOCAL, 16}, {"__public", GLOBAL, 16}}, "__public"}, /* not one that is not public */
		{{{"__public", WEAK, 16}, {"plain", LOCAL, 16}}, "__public"},
		{{{"__b", LOCAL, 16}, {"_a", LOCAL, 16}}, "_a"},            /* where none is public, the same */
		{{{"bare", GLOBAL, 0}, {"__sized", LOCAL, 16}}, "__sized"}, /* nor one that does not say its size */
		{{{"__x@@V_2", GLOBAL, 16}, {"x@V_1", GLOBAL, 16}, {"_x", GLOBAL, 16}}, "x"},
		{{{"__read", GLOBAL, 16}, {"read", GLOBAL, 32}}, "read"},
		{{{"read", GLOBAL, 16}, {"__read", LOCAL, 32}}, "__read"}, /* the one that reaches farther */
		{{{"___", GLOBAL, 16}, {"__", GLOBAL, 16}}, "__"},
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct region r = {0};
		struct small f = small();
		size_t at = 1;
		memset(f.symbol, 0, sizeof f.symbol);
		for (size_t k = 0; k < COUNT(rows[i].aliases) && rows[i].aliases[k].name; k++) {
			f.symbol[k + 1] = (Elf64_Sym){.st_name = (uint32_t)at,
			                              .st_info = ELF64_ST_INFO(rows[i].aliases[k].bind, STT_FUNC),
			                              .st_shndx = 1,
			                              .st_value = 0x1000,
			                              .st_size = rows[i].aliases[k].size};
			at += (size_t)snprintf(f.names + at, sizeof f.names - at, "%s", rows[i].aliases[k].name) + 1;
			assert_true(at < sizeof f.names);
		}
		struct elf_query q[] = {{.address = 0x1000}, {.address = 0x1001}, {.address = 0x100f}};
		int fd = file_of(&f, sizeof f);
		assert_int_equal(elf_symbols_of_file(&r, fd, q, COUNT(q)), 0);
		for (size_t k = 0; k < COUNT(q); k++)
			if (!span_is(q[k].name, rows[i].best))
				fail_msg("row %zu: \"%.*s\", not \"%s\"", i, (int)q[k].name.len, q[k].name.at,
				         rows[i].best);
		close(fd);
		region_release(&r);
	}
}

/* A local symbol is of the source file that the table names before it. */
static void test_local_symbols_have_their_source_file(void **state)
{
	(void)state;
	struct region r = {0};
	struct small f = small();
	memset(f.symbol, 0, sizeof f.symbol);
	memcpy(f.names, "\0a.c\0one\0b.c\0two\0all", 21);
	const struct {
		unsigned name, bind, type, value, size;
	} rows[] = {{1, STB_LOCAL, STT_FILE, 0, 0},
	            {5, STB_LOCAL, STT_FUNC, 0x1000, 16},
	            {9, STB_LOCAL, STT_FILE, 0, 0},
	            {13, STB_LOCAL, STT_FUNC, 0x2000, 16},
	            {17, STB_GLOBAL, STT_FUNC, 0x3000, 16}};
	for (size_t i = 0; i < COUNT(rows); i++)
		f.symbol[i + 1] = (Elf64_Sym){.st_name = rows[i].name,
		                              .st_info = ELF64_ST_INFO(rows[i].bind, rows[i].type),
		                              .st_shndx = 1,
		                              .st_value = rows[i].value,
		                              .st_size = rows[i].size};
	struct elf_query q[] = {{.address = 0x1001}, {.address = 0x2001}, {.address = 0x3001}, {.address = 0x4001}};
	int fd = file_of(&f, sizeof f);
	assert_int_equal(elf_symbols_of_file(&r, fd, q, COUNT(q)), 0);
	assert_true(span_is(q[0].name, "one") && span_is(q[0].file, "a.c"));
	assert_true(span_is(q[1].name, "two") && span_is(q[1].file, "b.c"));
	assert_true(span_is(q[2].name, "all") && !q[2].file.len);
	assert_true(!q[3].name.len && !q[3].file.len);
	close(fd);
	region_release(&r);
}

/* Of symbols that begin at one address the longest is the name of all of it. */
static void test_an_alias_that_ends_earlier_names_nothing(void **state)
{
	(void)state;
	struct region r = {0};
	struct small f = small();
	memset(f.symbol, 0, sizeof f.symbol);
	memcpy(f.names, "\0__whole\0part\0@@V", 18);
	const struct {
		unsigned name, size;
	} rows[] = {{1, 32}, {9, 16}};
	for (size_t i = 0; i < COUNT(rows); i++)
		f.symbol[i + 1] = (Elf64_Sym){.st_name = rows[i].name,
		                              .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
		                              .st_shndx = 1,
		                              .st_value = 0x1000,
		                              .st_size = rows[i].size};
	struct elf_query q[] = {{.address = 0x1000},
	                        {.address = 0x100f},
	                        {.address = 0x1010},
	                        {.address = 0x101f},
	                        {.address = 0x1020}};
	static const char *const want[] = {"__whole", "__whole", "__whole", "__whole", ""};
	int fd = file_of(&f, sizeof f);
	assert_int_equal(elf_symbols_of_file(&r, fd, q, COUNT(q)), 0);
	for (size_t i = 0; i < COUNT(q); i++)
		if (q[i].name.len != strlen(want[i]) || (q[i].name.len && !span_is(q[i].name, want[i])))
			fail_msg("%#llx is \"%.*s\"", (unsigned long long)q[i].address, (int)q[i].name.len,
			         q[i].name.at);
	close(fd);
	static const uint32_t empty[] = {14 /* "@@V" */, 5000, UINT32_MAX};
	for (size_t i = 0; i < COUNT(empty); i++) { /* a name that is none is better than nothing, and no more */
		struct elf_query one = {.address = 0x1000};
		f.symbol[1].st_name = empty[i];
		f.symbol[1].st_size = f.symbol[2].st_size;
		fd = file_of(&f, sizeof f);
		assert_int_equal(elf_symbols_of_file(&r, fd, &one, 1), 0);
		assert_true(span_is(one.name, "part"));
		close(fd);
	}
	region_release(&r);
}

/* More than there is room for: the best of the last ones. */
static void test_of_very_many_aliases_the_last_ones_are_looked_at(void **state)
{
	enum { ALIASES = 40 };
	struct {
		struct small f;
		Elf64_Sym symbol[ALIASES + 1];
		char names[ALIASES * 4 + 1];
	} many = {.f = small()};
	(void)state;
	many.f.s[1].sh_offset = offsetof(__typeof__(many), symbol);
	many.f.s[1].sh_size = sizeof many.symbol;
	many.f.s[2].sh_offset = offsetof(__typeof__(many), names);
	many.f.s[2].sh_size = sizeof many.names;
	for (unsigned i = 0; i < ALIASES; i++) {
		many.symbol[i + 1] = (Elf64_Sym){.st_name = 1 + 4 * i,
		                                 .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
		                                 .st_shndx = 1,
		                                 .st_value = 0x1000,
		                                 .st_size = 8};
		memcpy(many.names + 1 + 4 * i, i == ALIASES - ELF_ALIASES_MOST ? "_z\0" : "__y", 4);
	}
	struct region r = {0};
	struct elf_query q = {.address = 0x1007};
	int fd = file_of(&many, sizeof many);
	assert_int_equal(elf_symbols_of_file(&r, fd, &q, 1), 0);
	assert_true(span_is(q.name, "_z"));
	close(fd);
	region_release(&r);
}

static void ask_everything(const void *bytes, size_t len)
{
	static const uint8_t id[20] = {1, 2, 3};
	struct region r = {0};
	struct elf_query q[40] = {{0}};
	for (size_t i = 0; i < COUNT(q); i++)
		q[i].address = i == COUNT(q) - 1 ? UINT64_MAX : i * 0x180;
	int fd = file_of(bytes, len);
	int error = elf_symbols_of_file(&r, fd, q, COUNT(q));
	assert_true(error == 0 || error == -ENOEXEC || error == -EIO || error == -ENOMEM);
	for (size_t i = 0; i < COUNT(q) && !error; i++)
		for (size_t k = 0; k < q[i].name.len; k++)
			assert_true(q[i].name.at[k] != '\0'); /* every byte of a name can be read, none is its end */
	elf_has_build_id(fd, id, sizeof id);
	elf_symbols_of_memory(&r, fd, 0, 0, q, COUNT(q));
	elf_symbols_of_memory(&r, fd, 64, 1 << 20, q, COUNT(q));
	assert_true(arena_mapped_bytes() < 32 << 20); /* no count in a file makes us take more */
	close(fd);
	region_release(&r);
}

static void test_others_have_their_turn_while_a_large_table_is_read(void **state)
{
	enum { TABLE_BYTES = 1 << 20 };
	(void)state;
	struct small *f = calloc(1, sizeof *f + TABLE_BYTES);
	struct region r = {0};
	struct elf_query q = {.address = 0x2000};
	*f = small();
	memcpy(f + 1, f->symbol, sizeof f->symbol); /* and very many that are none */
	f->s[1].sh_offset = sizeof *f;
	f->s[1].sh_size = TABLE_BYTES;
	int fd = file_of(f, sizeof *f + TABLE_BYTES);
	turns = 0;
	assert_int_equal(elf_symbols_of_file(&r, fd, &q, 1), 0);
	assert_int_equal(q.name.len, 5);
	assert_in_range(turns, TABLE_BYTES / (64 << 10), 1000);
	is_unwanted = true;
	assert_int_equal(elf_symbols_of_file(&r, fd, &q, 1), -ECANCELED);
	is_unwanted = false;
	close(fd);
	free(f);
	region_release(&r);
}

static void test_truncated_files_are_refused_or_read_but_never_crash(void **state)
{
	(void)state;
	struct small f = small();
	for (size_t len = 0; len <= sizeof f; len += 3)
		ask_everything(&f, len);
}

static void test_files_with_lying_fields_are_refused_or_read_but_never_crash(void **state)
{
	static const uint64_t bad[] = {0,
	                               1,
	                               7,
	                               24,
	                               63,
	                               64,
	                               0xff,
	                               0xffff,
	                               0x7fffffff,
	                               0xffffffff,
	                               1ull << 32,
	                               1ull << 40,
	                               INT64_MAX,
	                               1ull << 63,
	                               UINT64_MAX - 63,
	                               UINT64_MAX - 7,
	                               UINT64_MAX};
	(void)state;
	for (size_t at = 0; at + 8 <= sizeof(struct small); at += at < offsetof(struct small, symbol) ? 2 : 8)
		for (size_t i = 0; i < COUNT(bad); i++) {
			struct small f = small();
			size_t width = i % 3 == 0 ? 8 : i % 3 == 1 ? 4 : 2;
			memcpy((char *)&f + at, &bad[i], width);
			/* a count of tens of millions is honest work, if the file has them; ours has not */
			ask_everything(&f, sizeof f);
		}
}

static void test_files_with_random_bytes_are_refused_or_read_but_never_crash(void **state)
{
	(void)state;
	for (int round = 0; round < 3000; round++) {
		struct small f = small();
		for (uint64_t n = 1 + next_random() % 12; n; n--) {
			uint64_t x = next_random();
			((unsigned char *)&f)[x % sizeof f] = (unsigned char)(x >> 32);
		}
		ask_everything(&f, round % 4 ? sizeof f : next_random() % sizeof f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_nearest_sized_symbol_wins_and_versions_are_cut_off),
		cmocka_unit_test(test_a_symbol_without_a_size_ends_where_the_next_one_or_its_section_does),
		cmocka_unit_test(test_of_public_aliases_the_one_with_the_fewest_underscores_in_front_wins),
		cmocka_unit_test(test_local_symbols_have_their_source_file),
		cmocka_unit_test(test_an_alias_that_ends_earlier_names_nothing),
		cmocka_unit_test(test_of_very_many_aliases_the_last_ones_are_looked_at),
		cmocka_unit_test(test_others_have_their_turn_while_a_large_table_is_read),
		cmocka_unit_test(test_truncated_files_are_refused_or_read_but_never_crash),
		cmocka_unit_test(test_files_with_lying_fields_are_refused_or_read_but_never_crash),
		cmocka_unit_test(test_files_with_random_bytes_are_refused_or_read_but_never_crash),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
