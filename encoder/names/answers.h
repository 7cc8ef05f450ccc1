/* answers.h - what the helper program says, line by line, taken into the cache.
 *
 * Runs in: listener. The answers are not trusted: the helper reads files that may be damaged or hostile, and may die
 * within any line. Only addresses that were asked about are taken, and only whole ones.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ANSWERS_H
#define PPROFSHIM_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encoder/names/cache.h"
#include "encoder/names/symbolizer.h"

enum { ANSWERS_ROOM = 64 * 1024 }; /* bytes to read at once */

/* An object that the running helper was asked about. */
struct asked {
	struct object *object;
	size_t asked, answered;
	uint64_t *address; /* ascending */
	bool *is_answered; /* of each */
};

struct answers {
	struct asked *at;
	size_t count;
	size_t current; /* index of the object at work; count: none */
	size_t begun;   /* number of objects begun */
	bool is_done;   /* the helper has sent the line 'e' */
	char *line;     /* the incomplete last line */
	size_t line_len;
	/* the address whose frames are coming in */
	bool has_address;
	uint64_t address, start;
	struct name_frame *frame;
	char *frame_text; /* the texts of these frames */
	size_t frame_text_len;
	uint32_t frame_count;
	struct span calls; /* in frame_text */
	uint64_t called;
	struct way_jump *jump; /* of an address with CACHE_CALL */
	uint32_t jumps;
};

/* Begin with the questions. All memory is r's. Returns 0 or -ENOMEM. */
int answers_prepare(struct answers *a, struct region *r, const struct question *q, size_t count);

/* Returns room to read ANSWERS_ROOM bytes of answers into. */
char *answers_room(const struct answers *a);

/* Take the complete lines of the bytes that were read; keep the rest. A line that is too long is dropped. */
void answers_take(struct answers *a, const char *bytes, size_t n);

/* Returns the mark of an address that was asked about; NULL: it was not, or is answered already. */
bool *answers_find(const struct asked *a, uint64_t address);

#endif
