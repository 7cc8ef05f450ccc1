/* writer.h - a profile as it is written: a series of small Profile messages, compressed.
 *
 * Runs in: listener. All memory from the request's region. Nothing here returns an error: a lack of memory is in
 * w->failed, and what was written must not be sent then.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PROFILE_WRITER_H
#define PPROFSHIM_PROFILE_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "encoder/bytes/gzip.h"
#include "encoder/bytes/intern.h"
#include "encoder/bytes/protobuf.h"
#include "encoder/names/names.h"

enum { /* the numbers of fields of profile.proto */
       PROFILE_SAMPLE_TYPE = 1,
       PROFILE_SAMPLE = 2,
       PROFILE_MAPPING = 3,
       PROFILE_LOCATION = 4,
       PROFILE_FUNCTION = 5,
       PROFILE_STRING_TABLE = 6,
       PROFILE_DROP_FRAMES = 7,
       PROFILE_TIME_NANOS = 9,
       PROFILE_DURATION_NANOS = 10,
       PROFILE_PERIOD_TYPE = 11,
       PROFILE_PERIOD = 12,
       PROFILE_COMMENT = 13,
       PROFILE_DEFAULT_SAMPLE_TYPE = 14,

       VALUE_TYPE = 1,
       VALUE_UNIT = 2,

       SAMPLE_LOCATION_ID = 1,
       SAMPLE_VALUE = 2,
       SAMPLE_LABEL = 3,
       LABEL_KEY = 1,
       LABEL_STR = 2,
       LABEL_NUM = 3,

       MAPPING_ID = 1,
       MAPPING_START = 2,
       MAPPING_LIMIT = 3,
       MAPPING_OFFSET = 4,
       MAPPING_FILENAME = 5,
       MAPPING_BUILD_ID = 6,
       MAPPING_HAS_FUNCTIONS = 7,
       MAPPING_HAS_FILENAMES = 8,
       MAPPING_HAS_LINE_NUMBERS = 9,
       MAPPING_HAS_INLINE_FRAMES = 10,

       LOCATION_ID = 1,
       LOCATION_MAPPING_ID = 2,
       LOCATION_ADDRESS = 3,
       LOCATION_LINE = 4,
       LINE_FUNCTION_ID = 1,
       LINE_LINE = 2,

       FUNCTION_ID = 1,
       FUNCTION_NAME = 2,
       FUNCTION_SYSTEM_NAME = 3,
       FUNCTION_FILENAME = 4,
       FUNCTION_START_LINE = 5,
};

struct profile_writer {
	struct region *region;
	struct gzip gzip;
	struct out *out;
	struct names names;
	struct intern strings, sites, functions;
	struct site *spare_site;             /* the next key of sites */
	struct site *site;                   /* by location id minus 1 */
	struct name *name;                   /* by location id minus 1 */
	struct function_key *spare_function; /* of functions */
	struct message profile, part, inner; /* a Profile, a message in it, and a message in that one */
	struct message location;             /* filled while functions and strings are written */
	struct message string;               /* a Profile of one string, written while others are filled */
	bool failed;
};

/* Begin without anything written. */
void profile_writer_start(struct profile_writer *w, struct region *r, struct out *o);

/* Write a Profile message, or a piece of one, and empty it. */
void profile_write_message(struct profile_writer *w, struct message *m);

/* Write a Profile message of one part, w->part. */
void profile_write_part(struct profile_writer *w, unsigned field);

/* Returns the id of a string, which is written if it is new. The caller keeps the text in place. */
int64_t profile_string_id(struct profile_writer *w, struct span s);
int64_t profile_text_id(struct profile_writer *w, const char *s);

#endif
