/* names.h - function names for addresses of this process, and the modules they lie in.
 *
 * Runs in: listener. A request's view of the loaded objects, in its region; names found once are kept in
 * the listener's own cache for the next request.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_NAMES_H
#define PPROFSHIM_NAMES_H

#include "encoder/maps.h"
#include "shim/snapshot.h"

struct names {
	struct region *region;
	struct maps maps;
	struct module_list modules;
};

/* An address, and the object it is in: an address may have been used twice. */
struct site {
	uintptr_t address;
	const struct module *module; /* NULL: in no object */
};

/* What is known of one site. */
struct name {
	struct span function;        /* never empty: "libfoo.so+0x1234" where there is no symbol */
	uint64_t offset;             /* of the address in that function */
};

/* 0, or -ENOMEM. */
int names_begin(struct names *n, struct region *r);

/* Look up many at once (one pass over each file), so that names_of is cheap for them. 0, or -ENOMEM. */
int names_prepare(struct names *n, const struct site *sites, size_t count);

/* A site that names_prepare has seen. */
struct name names_of(struct names *n, struct site site);

/* The object that an address of a stack of this place lies in (snapshot.h). */
struct site names_site(const struct names *n, uintptr_t address, unsigned place);

/* The object that lies there now, or did last. */
struct site names_site_now(const struct names *n, uintptr_t address);

/* The path of a module as it is now on disk; of one that is gone, as it was given to the loader. */
struct span names_path(const struct names *n, const struct module *m);

/* Forget what a fork child inherited. Listener's start. */
void names_start(void);

#endif
