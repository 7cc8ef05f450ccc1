/* profile_file.h - saved profiles: from a file to messages in memory and back.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PROFILE_FILE_H
#define PPROFSHIM_PROFILE_FILE_H

#include "encoder/profile/profile.pb-c.h"

/* Read a profile to the end of fd: a protobuf, gzipped (in any number of members) or not. Fields that profile.proto
 * does not know are kept. *p is to be freed with pprof__profile__free_unpacked.
 * Returns NULL, or what is wrong, a constant string. */
const char *profile_read(int fd, Pprof__Profile **p);

/* Write a profile, gzipped without a date. Returns NULL, or what is wrong. */
const char *profile_write(int fd, const Pprof__Profile *p);

#endif
