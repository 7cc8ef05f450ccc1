/* fill_in.h - a saved profile, with the functions, files, lines and inlined calls that it lacks.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FILL_IN_H
#define PPROFSHIM_FILL_IN_H

#include <stddef.h>
#include <stdio.h>

#include "encoder/profile/profile.pb-c.h"

/* Files that may be those of mappings which are not where the profile says: found by build id, or by base name where
 * one of both has none. */
struct binaries {
	const char **path;
	size_t count;
};

/* Look up what is not known in full of every location whose file can be found; all else stays as it is. What it adds is
 * in protobuf-c's memory (malloc), to be freed with the profile. A line on `notes` for each file that could not be
 * read. NULL, or what is wrong: the profile is then not to be written, but still to be freed. */
const char *complete_profile(Pprof__Profile *p, const struct binaries *binaries, FILE *notes);

/* From file descriptor to file descriptor; gzipped or not to gzipped. NULL, or what is wrong. */
const char *complete_file(int in, int out, const struct binaries *binaries, FILE *notes);

#endif
