/* cache.h - what was found out about addresses, kept for the next request.
 *
 * Runs in: listener. One owner, no lock; memory of its own region, capped. What it gives out is valid until
 * cache_trim or cache_forget.
 *
 * The key is the object's build id and the address in the file: so what was known of a library is known again when it
 * is loaded once more, and stays known when its file is gone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CACHE_H
#define PPROFSHIM_CACHE_H

#include "encoder/names/names.h"

/* One file's identity; a module without a build id is an object of its own. */
struct object {
	uint64_t again_ns; /* CLOCK_MONOTONIC: the symbolizer failed on it; not to be asked about it before that */
	uint32_t number;
};

struct cached {
	struct cached *next;
	const struct object *object;
	uint64_t address; /* as the file's headers count */
	uint64_t start;   /* of the function around it; 0: not known */
	const struct name_frame *frame;
	uint32_t count; /* of frames; 0: nothing is known of it, and asking again would not help */
	bool complete;  /* by the symbolizer; else from a symbol table */
};

/* NULL: no memory. */
struct object *cache_object(const struct module *m);

/* NULL: not known yet. */
const struct cached *cache_find(const struct object *o, uint64_t address);

/* Remember, in place of what was known; the frames and their texts are copied. Without memory, nothing is remembered.
 */
void cache_put(const struct object *o, uint64_t address, uint64_t start, const struct name_frame *frame, uint32_t count,
               bool complete);

/* Begin anew when it has grown over its share of the memory. Objects, too, are no longer valid. */
void cache_trim(void);
void cache_forget(void);

/* Begin empty; its share is an eighth of the cap, at most 16 MiB. */
void cache_start(uint64_t memory_limit_bytes);

#endif
