/* fuzz_complete.c - any bytes as a saved profile: it is refused, or completed to one that is a profile, too.
 *
 * Runs in: its own process, under libFuzzer. The files that it names are made up here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/symbolize/fill_in.c encoder/symbolize/completion.c encoder/symbolize/fill_lines.c
 * links: encoder/saved/profile_file.c encoder/saved/places.c encoder/profile/profile.pb-c.c
 * links: encoder/bytes/utf8.c */
/* links: shim/base/text.c test/fuzz/region_malloc.c */
/* libs: -lprotobuf-c -lz */
#define _GNU_SOURCE
#include "test/fuzz/input.h"

#include "encoder/symbolize/fill_in.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/saved/profile_file.h"

/* --- made-up files ------------------------------------------------------------------------------------ */

struct object {
	const char *note;
};

static struct object object = {"a note"};
static int objects_open;

struct object *object_open(const char *path, const char *build_id, const char **why)
{
	*why = "no such file";
	if (path[0] != '/' || (build_id && strcmp(build_id, "aa11") != 0))
		return NULL;
	objects_open++;
	return &object;
}

void object_close(struct object *o)
{
	(void)o;
	objects_open--;
}

const char *object_note(const struct object *o)
{
	return o->note;
}

uint64_t object_address_of_offset(const struct object *o, uint64_t offset)
{
	(void)o;
	return offset % 16 == 15 ? UINT64_MAX : offset / 2;
}

void object_lookup(struct object *o, const uint64_t *addresses, size_t count,
                   void (*tell)(void *arg, const struct answer *a), void *arg)
{
	static const struct frame frame[] = {{"f", "_Z1fv", "/a.c", 12, 10},
	                                     {"f", "_Z1fv", "/a.c", 12, 10},
	                                     {"main", "main", "/b\xff.c", 7, 0},
	                                     {"g\n", "g\n", "", 0, 0}};
	(void)o;
	for (size_t i = 0; i < count; i++) {
		MUST(i == 0 || addresses[i] > addresses[i - 1]);
		tell(arg, &(struct answer){.address = addresses[i],
		                           .count = addresses[i] % 4,
		                           .frame = &frame[addresses[i] / 4 % 2]});
	}
}

/* ---------------------------------------------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int in, out;
	static FILE *notes;
	static const char *path[] = {"/elsewhere/app", "/elsewhere/other"};
	const struct binaries binaries = {path, 2};
	Pprof__Profile *before, *after;
	if (!notes)
		notes = fopen("/dev/null", "w");
	file_fill(&in, data, size);
	file_fill(&out, NULL, 0);
	const char *wrong = complete_file(in, out, &binaries, notes);
	MUST(objects_open == 0);
	if (wrong)
		return 0;
	lseek(in, 0, SEEK_SET);
	lseek(out, 0, SEEK_SET);
	MUST(!profile_read(in, &before));
	if (profile_read(out, &after)) {
		/* protobuf-c reads an unknown field of number 0, whose key is of two bytes, and not the one byte that
		 * it writes for that */
		file_fill(&out, NULL, 0);
		MUST(!profile_write(out, before) && lseek(out, 0, SEEK_SET) == 0 && profile_read(out, &after));
		pprof__profile__free_unpacked(before, NULL);
		return 0;
	}
	MUST(before->n_sample == after->n_sample && before->n_location == after->n_location &&
	     before->n_mapping == after->n_mapping && before->n_string_table <= after->n_string_table);
	pprof__profile__free_unpacked(before, NULL);
	pprof__profile__free_unpacked(after, NULL);
	return 0;
}
