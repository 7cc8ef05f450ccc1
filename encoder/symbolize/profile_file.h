/* profile_file.h - saved profiles: from a file to messages in memory and back.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PROFILE_FILE_H
#define PPROFSHIM_PROFILE_FILE_H

#include "encoder/profile/profile.pb-c.h"

/* Read to the end: a protobuf, gzipped (in any number of members) or not. Fields that profile.proto does not know are
 * kept. NULL: *p is the profile (pprof__profile__free_unpacked); else what is wrong, in words that stay. */
const char *profile_read(int fd, Pprof__Profile **p);

/* Written gzipped, without a date. NULL, or what is wrong. */
const char *profile_write(int fd, const Pprof__Profile *p);

#endif
