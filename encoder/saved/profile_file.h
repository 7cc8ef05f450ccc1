/* profile_file.h - saved profiles: from a file to messages in memory and back.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PROFILE_FILE_H
#define PPROFSHIM_PROFILE_FILE_H

#include <stddef.h>

#include "encoder/profile/profile.pb-c.h"

/* Read a profile to the end of fd: a protobuf, gzipped (in any number of members) or not. Fields that profile.proto
 * does not know are kept. *p is to be freed with pprof__profile__free_unpacked.
 * Returns NULL, or what is wrong, a constant string. */
const char *profile_read(int fd, Pprof__Profile **p);

/* The memory that reading may take; 0: a gibibyte, unpacked, and any memory. */
struct profile_limits {
	size_t unpacked_bytes; /* as protobuf, without gzip */
	size_t message_bytes;  /* as messages in memory */
};

/* The same for a profile that is in memory. */
const char *profile_unpack(const void *bytes, size_t len, const struct profile_limits *limits, Pprof__Profile **p);

/* Write a profile, gzipped without a date. Returns NULL, or what is wrong. */
const char *profile_write(int fd, const Pprof__Profile *p);

/* The same in parts: readers take messages that follow each other for one, with the fields of all.
 * profile_writer_new returns NULL if there is no memory; profile_writer_end frees the writer. */
struct profile_writer;
struct profile_writer *profile_writer_new(int fd);
void profile_writer_part(struct profile_writer *w, const Pprof__Profile *p);
const char *profile_writer_end(struct profile_writer *w);

#endif
