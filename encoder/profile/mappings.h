/* mappings.h - the mappings of a profile: what lies where, and what is known about the functions there.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_MAPPINGS_H
#define PPROFSHIM_MAPPINGS_H

#include "encoder/profile/writer.h"

/* The mappings of the profile: one for each module, in their order, and one for each piece of code that has no file or
 * is mapped a second time. */
struct mappings {
	struct knowledge *of_module;
	struct intern extra;          /* struct map */
	const struct map **extra_map; /* by its number there: readers want ids in the order of the file */
	uint64_t extra_first_id;
};

/* Find the mappings that these addresses, and the names found there, need; *ms is zero before.
 * Returns 0 or -ENOMEM. */
int mappings_find(struct profile_writer *w, struct mappings *ms, const struct site *sites, const struct name *names,
                  size_t count);

/* Write them: those of modules in the order of their list, the program first. */
void mappings_write(struct profile_writer *w, struct mappings *ms);

/* Returns the id of a site's mapping, after they are written; 0: it lies in none. */
uint64_t mappings_id(struct profile_writer *w, struct mappings *ms, struct site site);

#endif
