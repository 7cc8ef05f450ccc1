/* fill_in.h - add to a saved profile the functions, files, lines and inlined calls that it lacks.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FILL_IN_H
#define PPROFSHIM_FILL_IN_H

#include <stddef.h>
#include <stdio.h>

#include "encoder/profile/profile.pb-c.h"

/* Files to try for mappings whose file is not where the profile says. They match by build id or, if one of the two has
 * none, by base name. */
struct binaries {
	const char **path;
	size_t count;
};

/* Complete every location whose file can be found; nothing else changes. The additions are in protobuf-c's memory
 * (malloc) and are freed with the profile. `notes` gets a line for each file that could not be read.
 * Returns NULL, or what is wrong: then the profile must not be written, but still be freed. */
const char *complete_profile(Pprof__Profile *p, const struct binaries *binaries, FILE *notes);

/* Complete the profile in `in`, gzipped or not, and write it gzipped to `out`; both are descriptors.
 * Returns NULL, or what is wrong. */
const char *complete_file(int in, int out, const struct binaries *binaries, FILE *notes);

#endif
