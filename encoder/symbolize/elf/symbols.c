/* symbols.c - which symbol table is asked, and in what order.
 *
 * Runs in: pprofshim-symbolize.
 *
 * The search itself is encoder/names/elf_symbols.c, so that names are the same with and without this helper.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/elf/symbols.h"

#include <errno.h>
#include <stdlib.h>

#include "encoder/names/elf_symbols.h"

struct search {
	struct texts *texts;
	const uint64_t *addresses;
	struct symbol *symbols;
	size_t count;
	struct elf_query *query; /* one for each address without a name so far */
	size_t *place;           /* index of that address */
};

static void take(struct search *s, size_t queries, uint64_t shift, bool is_own)
{
	for (size_t i = 0; i < queries; i++) {
		const struct elf_query *q = &s->query[i];
		struct symbol *to = &s->symbols[s->place[i]];
		to->name = q->name.len ? texts_keep(s->texts, q->name.at, q->name.len) : NULL;
		to->start = to->name ? q->start - shift : 0;
		to->file = q->file.len ? texts_keep(s->texts, q->file.at, q->file.len) : NULL;
		to->file = to->file ? to->file : "";
		to->is_own = is_own;
	}
}

static int search_file(struct search *s, const struct elf_file *f, uint64_t shift, bool is_own)
{
	size_t n = 0;
	for (size_t i = 0; i < s->count; i++)
		if (!s->symbols[i].name) {
			s->place[n] = i;
			s->query[n++] = (struct elf_query){.address = s->addresses[i] + shift};
		}
	if (!n)
		return 0;
	struct region r = {0};
	int error = elf_symbols_of_file(&r, f->fd, s->query, n);
	if (!error)
		take(s, n, shift, is_own);
	region_release(&r);
	return error == -ENOMEM ? error : 0;
}

static int search_all(struct search *s, const struct elf_file *file, const struct elf_file *debug,
                      const struct elf_file *mini)
{
	const struct elf_file *other[] = {debug, mini};
	int error = search_file(s, file, 0, true);
	for (size_t i = 0; i < 2; i++)
		if (other[i] && !error)
			error = search_file(s, other[i], elf_file_shift(file, other[i]), false);
	return error;
}

int symbols_find(struct texts *texts, const struct elf_file *file, const struct elf_file *debug,
                 const struct elf_file *mini, const uint64_t *addresses, size_t count, struct symbol *symbols)
{
	struct search s = {
		.texts = texts,
		.addresses = addresses,
		.symbols = symbols,
		.count = count,
		.query = calloc(count, sizeof *s.query),
		.place = calloc(count, sizeof *s.place),
	};
	int error = s.query && s.place ? search_all(&s, file, debug, mini) : -ENOMEM;
	free(s.query);
	free(s.place);
	return error;
}
