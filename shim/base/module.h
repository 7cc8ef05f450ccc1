/* module.h - a loaded object, and the list of all (libc/loaded.c).
 *
 * Runs in: everywhere; types and look-ups without a lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_BASE_MODULE_H
#define PPROFSHIM_BASE_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/shared.h"

/* A loaded object, or one that was loaded once. */
struct module {
	const char *path;     /* as the loader has it: may be relative, is "" for the program itself */
	uintptr_t start, end; /* addresses from the first to the last segment */
	uintptr_t bias;       /* address in memory minus address in the file's headers */
	struct module_text {
		uintptr_t start, end; /* executable segment in memory */
		uint64_t file_offset;
	} * text;
	unsigned text_count;
	uint8_t build_id[32];
	unsigned build_id_len;
	uint64_t head_hash;     /* text_hash of the first head_bytes of its file, where it has no build id */
	unsigned head_bytes;    /* 0: not known */
	uintptr_t unwind_table; /* .eh_frame_hdr in memory; 0: none (for the unwinder) */
	shared_bool gone;       /* unloaded since */
	/* libc/loaded.c's */
	uint32_t number; /* of its place; 0: nothing lay there before it */
	uint32_t identity;
	struct module *child[4]; /* of those that were ever loaded, by identity */
	uint64_t seen_in;        /* the last renewal that saw it */
};

/* Was this object unloaded? */
static inline bool module_is_gone(const struct module *m)
{
	return shared_load_relaxed(&m->gone);
}

/* The modules known now, the main program first. If several have lain at an address, one after another, a stack's place
 * tells which is meant: each half of it holds 0 or the index of such a module plus one. If it does not tell, the first
 * is meant. (If there are more than two in one stack, the third is a guess.) Neither the array nor what it points to is
 * ever freed or changed, save `gone`. */
struct module_list {
	size_t count;
	const struct module *const *at;
};
struct module_list snapshot_modules(void);
static inline size_t place_module(uint64_t place, int half)
{
	return half ? (size_t)(place >> 32) : (size_t)(place & UINT32_MAX);
}

#endif
