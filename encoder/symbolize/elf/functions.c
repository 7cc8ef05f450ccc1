/* functions.c - addresses of functions by their names in symbol tables.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/elf/functions.h"

#include <gelf.h>
#include <stdlib.h>
#include <string.h>

struct function {
	const char *name; /* in the file */
	uint64_t address;
};

struct functions {
	size_t count, cap;
	struct function *at; /* by name */
};

static bool add(struct functions *list, const char *name, uint64_t address)
{
	if (list->count == list->cap) {
		size_t cap = 2 * list->cap + 1024;
		struct function *more = realloc(list->at, cap * sizeof *more);
		if (!more)
			return false;
		list->at = more;
		list->cap = cap;
	}
	list->at[list->count++] = (struct function){name, address};
	return true;
}

static void add_table(struct functions *list, const struct elf_file *f, Elf_Scn *scn, const GElf_Shdr *table)
{
	Elf_Data *data = elf_getdata(scn, NULL);
	size_t count = data && table->sh_entsize ? data->d_size / table->sh_entsize : 0;
	GElf_Sym s;
	for (size_t i = 0; i < count && i < INT32_MAX; i++) {
		if (!gelf_getsym(data, (int)i, &s) || GELF_ST_TYPE(s.st_info) != STT_FUNC || s.st_shndx == SHN_UNDEF)
			continue;
		const char *name = elf_strptr(f->elf, table->sh_link, s.st_name);
		if (name && *name && !add(list, name, s.st_value))
			return;
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct function *)a)->name, ((const struct function *)b)->name);
}

struct functions *functions_open(const struct elf_file *f)
{
	struct functions *list = calloc(1, sizeof *list);
	GElf_Shdr s;
	for (Elf_Scn *scn = NULL; list && (scn = elf_nextscn(f->elf, scn));)
		if (gelf_getshdr(scn, &s) && (s.sh_type == SHT_SYMTAB || s.sh_type == SHT_DYNSYM))
			add_table(list, f, scn, &s);
	if (list && list->count)
		qsort(list->at, list->count, sizeof *list->at, by_name);
	return list;
}

void functions_close(struct functions *list)
{
	if (list)
		free(list->at);
	free(list);
}

/* A function may be in both tables. */
uint64_t functions_find(const struct functions *list, const char *name)
{
	const struct function key = {.name = name}, *end = list->at + list->count;
	const struct function *at = list->count ? bsearch(&key, list->at, list->count, sizeof key, by_name) : NULL;
	if (!at)
		return 0;
	for (const struct function *other = at; other < end && strcmp(other->name, name) == 0; other++)
		if (other->address != at->address)
			return 0;
	for (const struct function *other = at; other >= list->at && strcmp(other->name, name) == 0; other--)
		if (other->address != at->address)
			return 0;
	return at->address;
}
