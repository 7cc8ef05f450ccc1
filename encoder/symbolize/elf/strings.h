/* strings.h - strings that live as long as an object: each is kept once, without control characters.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_STRINGS_H
#define PPROFSHIM_STRINGS_H

#include <stddef.h>

#include "shim/base/arena.h"

struct text_entry;

/* Zero-initialise it. */
struct texts {
	struct region region;
	struct text_entry **bucket;
	size_t buckets, count;
};

/* Returns the kept string; NULL: no memory. Equal texts give the same pointer. */
const char *texts_keep(struct texts *t, const char *s, size_t len);

/* Returns the demangled name of `system`, a linker's name that is kept already; without memory, `system`. */
const char *texts_name(struct texts *t, const char *system);

void texts_release(struct texts *t);

#endif
