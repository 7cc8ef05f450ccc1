/* addr2line.c - lines of addresses for users and their scripts, as addr2line -i of GNU binutils prints them.
 *
 * Runs in: pprofshim-symbolize. The output equals that of addr2line (binutils 2.40) to the byte, but lacks its
 * " (discriminator N)".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/addr2line.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "encoder/symbolize/demangle.h"

bool by_hand_parse(const char *text, uint64_t *address)
{
	char *end;
	if (!isxdigit((unsigned char)text[0])) /* strtoull takes a sign, too */
		return false;
	errno = 0;
	*address = strtoull(text, &end, 16);
	return *end == '\0' && errno == 0;
}

enum {
	LINES_MAX = 64 * 1024, /* bytes of lines looked up together; a longer line is taken for several */
};

/* Answers come in any order; each is kept as text until its turn. */
struct answers {
	const struct by_hand *how;
	uint64_t *address; /* ascending */
	char **text;
	size_t count;
};

static void print_function(const struct by_hand *how, const char *system, FILE *out)
{
	char *simple = how->demangle ? demangle(system, true) : NULL;
	fprintf(out, "%s%s", simple ? simple : *system ? system : "??", how->pretty ? " at " : "\n");
	free(simple);
}

static void print_frame(const struct by_hand *how, const struct frame *f, FILE *out)
{
	const char *slash = how->base_names ? strrchr(f->file, '/') : NULL;
	if (how->functions)
		print_function(how, f->system, out);
	fprintf(out, "%s:", !*f->file ? "??" : slash ? slash + 1 : f->file);
	if (f->line)
		fprintf(out, "%u\n", f->line);
	else
		fprintf(out, "?\n");
}

static void print_answer(const struct by_hand *how, const struct answer *a, FILE *out)
{
	if (a->count == 0)
		fprintf(out, "%s??:0\n", !how->functions ? "" : how->pretty ? "?? " : "??\n");
	for (size_t i = 0; i < a->count; i++) {
		if (i && how->pretty)
			fprintf(out, " (inlined by) ");
		print_frame(how, &a->frame[i], out);
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

/* Returns the place for an address's text; NULL: the address was not asked for. */
static char **text_of(const struct answers *all, uint64_t address)
{
	const uint64_t *at = bsearch(&address, all->address, all->count, sizeof address, by_value);
	return at ? &all->text[at - all->address] : NULL;
}

static void keep_answer(void *arg, const struct answer *a)
{
	const struct answers *all = arg;
	char **text = text_of(all, a->address);
	size_t len;
	if (!text || *text)
		return;
	FILE *f = open_memstream(text, &len);
	if (!f)
		return;
	print_answer(all->how, a, f);
	fclose(f);
}

/* Make room for all answers, and sort the addresses, each once. */
static bool prepare(struct answers *all, const uint64_t *addresses, size_t count)
{
	all->address = calloc(count + 1, sizeof *all->address);
	all->text = calloc(count + 1, sizeof *all->text);
	if (!all->address || !all->text)
		return false;
	if (count)
		memcpy(all->address, addresses, count * sizeof *addresses);
	qsort(all->address, count, sizeof *all->address, by_value);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || all->address[i] != all->address[i - 1])
			all->address[all->count++] = all->address[i];
	return true;
}

bool by_hand_print(const struct by_hand *how, struct object *o, const uint64_t *addresses, size_t count, FILE *out)
{
	struct answers all = {.how = how};
	bool prepared = prepare(&all, addresses, count);
	if (prepared)
		object_lookup(o, all.address, all.count, keep_answer, &all);
	for (size_t i = 0; prepared && i < count; i++) {
		char **text = text_of(&all, addresses[i]);
		if (how->addresses)
			fprintf(out, "0x%016llx%s", (unsigned long long)addresses[i], how->pretty ? ": " : "\n");
		if (*text)
			fputs(*text, out);
		else
			print_answer(how, &(struct answer){.address = addresses[i]}, out);
	}
	for (size_t i = 0; i < all.count; i++)
		free(all.text[i]);
	free(all.text);
	free(all.address);
	return prepared;
}

/* --- addresses from elsewhere ---------------------------------------------------------------------- */

struct lines {
	size_t len;
	char bytes[LINES_MAX + 1]; /* one more for a final NUL */
	uint64_t address[LINES_MAX];
};

/* Answer and remove the complete lines at the beginning of the bytes; at the end of the input, all of them. Returns 0,
 * or a negative errno. */
static int answer_lines(const struct by_hand *how, struct object *o, struct lines *l, bool at_end, FILE *out)
{
	size_t count = 0, done = 0;
	while (done < l->len) {
		char *line = l->bytes + done, *end = memchr(line, '\n', l->len - done);
		if (!end && !at_end && (done || l->len < LINES_MAX))
			break;
		end = end ? end : l->bytes + l->len;
		*end = '\0';
		l->address[count++] = strtoull(line, NULL, 16);
		done = (size_t)(end - l->bytes) + (end < l->bytes + l->len);
	}
	memmove(l->bytes, l->bytes + done, l->len - done);
	l->len -= done;
	if (count && !by_hand_print(how, o, l->address, count, out))
		return -ENOMEM;
	return fflush(out) == 0 ? 0 : -errno;
}

int by_hand_lines(const struct by_hand *how, struct object *o, int in, FILE *out)
{
	struct lines *l = calloc(1, sizeof *l);
	ssize_t n = 1;
	int error = l ? 0 : -ENOMEM;
	while (!error && n) {
		n = read(in, l->bytes + l->len, LINES_MAX - l->len);
		if (n < 0) {
			error = errno == EINTR ? 0 : -errno;
			continue;
		}
		l->len += (size_t)n;
		error = answer_lines(how, o, l, n == 0, out);
	}
	free(l);
	return error;
}
