/* recording.c - the profile that a report is about.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "encoder/report/recording.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "encoder/merge/merge.h"
#include "encoder/report/units.h"
#include "encoder/saved/profile_file.h"

static void negate(Pprof__Profile *p)
{
	for (size_t i = 0; i < p->n_sample; i++)
		for (size_t k = 0; k < p->sample[i]->n_value; k++)
			p->sample[i]->value[k] = (int64_t)(0 - (uint64_t)p->sample[i]->value[k]);
}

static const char *take_in(struct merge *m, const Pprof__Profile *p, bool is_base)
{
	static const struct merge_label base = {RECORDING_BASE, "true"};
	size_t lost = 0;
	const char *wrong = merge_add(m, p, &base, is_base, &lost);
	return wrong || !lost ? wrong : "there is not enough memory for it";
}

/* Write the merge into memory and read it again: then it is a profile like any other. */
static const char *read_back(const struct merge *m, Pprof__Profile **joined)
{
	int fd = memfd_create("profile", MFD_CLOEXEC);
	if (fd < 0)
		return "the kernel gives no file in memory for it";
	const char *wrong = merge_write(m, fd);
	if (!wrong)
		wrong = lseek(fd, 0, SEEK_SET) == 0 ? profile_read(fd, joined) : "it cannot be read again";
	close(fd);
	return wrong;
}

const char *recording_join(Pprof__Profile *now, Pprof__Profile *older, Pprof__Profile **joined, bool *of_older)
{
	struct merge *m = merge_new();
	*of_older = false;
	*joined = NULL;
	if (!m)
		return "there is not enough memory for it";
	const char *wrong = take_in(m, now, false);
	if (!wrong && older) {
		negate(older);
		wrong = take_in(m, older, true);
		*of_older = wrong != NULL;
	}
	if (!wrong)
		wrong = read_back(m, joined);
	merge_free(m);
	return wrong;
}

/* --- sample types ---------------------------------------------------------------------------------- */

static const char *type_name(const Pprof__Profile *p, size_t type)
{
	return p->string_table[p->sample_type[type]->type];
}

static int find_type(const Pprof__Profile *p, const char *name)
{
	for (size_t i = 0; i < p->n_sample_type; i++)
		if (strcmp(type_name(p, i), name) == 0)
			return (int)i;
	return -1;
}

int recording_type(const Pprof__Profile *p, const char *name)
{
	char *end;
	int last = (int)p->n_sample_type - 1;
	if (!name) {
		int preset = find_type(p, p->string_table[p->default_sample_type]);
		return preset >= 0 ? preset : last;
	}
	unsigned long number = strtoul(name, &end, 10);
	if (*name >= '0' && *name <= '9' && !*end)
		return number <= (unsigned long)last ? (int)number : -1;
	int type = find_type(p, name);
	/* pprof knows heap profiles of old whose types are "space" and "objects". */
	return type < 0 && strncmp(name, "inuse_", 6) == 0 ? find_type(p, name + 6) : type;
}

/* --- what is 100 % --------------------------------------------------------------------------------- */

static bool is_of_base(const Pprof__Profile *p, const Pprof__Sample *s)
{
	for (size_t i = 0; i < s->n_label; i++)
		if (strcmp(p->string_table[s->label[i]->key], RECORDING_BASE) == 0)
			return true;
	return false;
}

int64_t recording_total(const Pprof__Profile *p, size_t type)
{
	int64_t all = 0, base = 0;
	for (size_t i = 0; i < p->n_sample; i++) {
		int64_t size = units_size(p->sample[i]->value[type]);
		all = recording_sum(all, size);
		if (is_of_base(p, p->sample[i]))
			base = recording_sum(base, size);
	}
	return base > 0 ? base : all;
}
