/* cache.h - what was found out about addresses, kept for the next request.
 *
 * Runs in: listener. One owner, no lock; memory of its own region, capped. Pointers into the cache are valid until
 * cache_trim or cache_forget.
 *
 * The key is the object's build id and the address in the file. So the names of a library are still known when it is
 * loaded once more, or when its file is gone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CACHE_H
#define PPROFSHIM_CACHE_H

#include "encoder/names/names.h"
#include "encoder/names/ways.h"

/* One file's identity; a module without a build id is an object of its own. */
struct object {
	uint64_t again_ns; /* CLOCK_MONOTONIC: the symbolizer failed on it, and is not asked about it before then */
	uint32_t number;
};

/* Added to an address: the entry is about the call that ends after it, and what may have jumped on from there. */
#define CACHE_CALL (UINT64_C(1) << 63)

/* Of an address, the call that ends after it; of an address with CACHE_CALL, what may have jumped on from there. */
struct cached_call {
	struct span name; /* the function that it names, as linked */
	uint64_t to;      /* where its machine code goes to, which may be a stub; 0: not known */
	const struct way_jump *jump;
	uint32_t jumps;
};

struct cached {
	struct cached *next;
	const struct object *object;
	uint64_t address; /* as the file's headers count */
	uint64_t start;   /* of the function around it, or of the one that is called; 0: not known */
	const struct name_frame *frame;
	uint32_t count;                 /* of frames; 0: it has no name, and asking again would not help */
	bool complete;                  /* answered by the symbolizer; else from a symbol table */
	const struct cached_call *call; /* NULL: nothing is known of one */
};

/* Returns the object of a module; NULL: no memory. */
struct object *cache_object(const struct module *m);

/* Returns what is known of an address; NULL: nothing yet. */
const struct cached *cache_find(const struct object *o, uint64_t address);

/* Store an address in place of its old entry. The frames and their texts are copied. If memory is short, nothing is
 * stored. */
void cache_put(const struct object *o, uint64_t address, uint64_t start, const struct name_frame *frame, uint32_t count,
               bool complete);

/* Store what a call that ends after the address names, and where it goes to, beside its frames. */
void cache_put_callee(const struct object *o, uint64_t address, struct span name, uint64_t to);

/* Store the jumps that may follow a call (CACHE_CALL) to the function that begins at `start`. */
void cache_put_jumps(const struct object *o, uint64_t address, uint64_t start, const struct way_jump *jump,
                     uint32_t count);

/* Empty the cache: cache_trim only if it is larger than its share of the memory. Objects become invalid, too. */
void cache_trim(void);
void cache_forget(void);

/* Begin empty. The cache's share is an eighth of the cap, at most 16 MiB. */
void cache_start(uint64_t memory_limit_bytes);

#endif
