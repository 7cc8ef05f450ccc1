/* fuzz_merge.c - any bytes as profiles that are merged: each is refused, or the result is a profile that merges again,
 * with the same sums.
 *
 * Runs in: its own process, under libFuzzer. The first byte says where the second profile begins, if there are two.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/merge/tables.c encoder/merge/source.c encoder/merge/headers.c encoder/merge/samples.c
 * links: encoder/merge/write.c encoder/saved/profile_file.c encoder/saved/places.c encoder/profile/profile.pb-c.c
 * links: encoder/bytes/intern.c encoder/bytes/utf8.c */
/* links: shim/base/text.c test/fuzz/region_malloc.c */
/* libs: -lprotobuf-c -lz */
#define _GNU_SOURCE
#include "test/fuzz/input.h"

#include "encoder/merge/merge.h"
#include "encoder/saved/profile_file.h"

static const struct profile_limits limits = {.unpacked_bytes = 16 << 20, .message_bytes = 32 << 20};

/* The sum of all values of each type, with those that are too large wrapped around. */
static uint64_t sum_of(const Pprof__Profile *p)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < p->n_sample; i++)
		for (size_t k = 0; k < p->sample[i]->n_value; k++)
			sum += (uint64_t)p->sample[i]->value[k] * (k + 1);
	return sum;
}

/* Returns the sum of what was added; *lost: memory ended. */
static uint64_t add(struct merge *m, const uint8_t *data, size_t size, size_t *lost)
{
	static const struct merge_label label[] = {{"process", "nginx"}};
	Pprof__Profile *p;
	uint64_t sum = 0;
	size_t its;
	if (profile_unpack(data, size, &limits, &p))
		return 0;
	if (!merge_add(m, p, label, size % 2, &its)) {
		sum = sum_of(p);
		*lost += its;
	}
	pprof__profile__free_unpacked(p, NULL);
	return sum;
}

/* Write a merge. Returns the result. */
static Pprof__Profile *result(struct merge *m)
{
	static int out;
	Pprof__Profile *p;
	file_fill(&out, NULL, 0);
	MUST(!merge_write(m, out) && lseek(out, 0, SEEK_SET) == 0 && !profile_read(out, &p));
	return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct merge *m = merge_new(), *again = merge_new();
	size_t lost = 0;
	if (size) {
		size_t cut = 1 + data[0] * (size - 1) / 255;
		uint64_t sum = add(m, data + 1, cut - 1, &lost) + add(m, data + cut, size - cut, &lost);
		if (merge_count(m)) {
			Pprof__Profile *once = result(m), *twice;
			MUST(lost || sum_of(once) == sum);
			MUST(!merge_add(again, once, NULL, 0, &lost));
			twice = result(again);
			MUST(lost || (once->n_sample == twice->n_sample && once->n_location == twice->n_location &&
			              once->n_function == twice->n_function && sum_of(twice) == sum));
			pprof__profile__free_unpacked(once, NULL);
			pprof__profile__free_unpacked(twice, NULL);
		}
	}
	merge_free(m);
	merge_free(again);
	return 0;
}
