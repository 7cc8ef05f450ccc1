/* names.h - functions, files and lines for addresses of this process, and the modules they lie in.
 *
 * Runs in: listener. A request's view of the loaded objects, in its region. The symbolizer's answers are kept in a
 * cache for the next request (cache.h).
 *
 *   names_begin ─► names_prepare (all sites at once; -EAGAIN: ask again later, from names_begin on) ─► names_of …
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_NAMES_H
#define PPROFSHIM_NAMES_H

#include "encoder/encoder.h"
#include "encoder/names/jit.h"
#include "encoder/names/maps.h"
#include "shim/snapshot.h"

/* An address and the object it is in: two objects may have been loaded at one address, one after the other. */
struct site {
	uintptr_t address;
	const struct module *module; /* NULL: in no object */
	uintptr_t home; /* of code that was mapped a second time (node does that with its own): its address in the
	                   object; else 0 */
};

/* One function at a site. Spans are well-formed UTF-8 without control characters. Unknown spans are empty, unknown
 * numbers 0. */
struct name_frame {
	struct span function; /* for users; never empty: "libfoo.so+0x1234" where there is no symbol */
	struct span system;   /* as linked; equal to function where nothing was demangled */
	struct span file;
	uint32_t line, start_line; /* start_line: where the function begins */
};

/* The names of one site: the function and the calls that were inlined there. */
struct name {
	const struct name_frame *frame; /* innermost first */
	size_t count;                   /* at least 1 */
	uint64_t offset;                /* of the address in the outermost function */
};

/* Stacks that may lack functions which ended in a jump (tails.h), and of each kind the function that was called first.
 */
struct tails_doubts {
	size_t ambiguous, unknown; /* there is more than one way; no jumps are known */
	struct span ambiguous_first, unknown_first;
};

struct names {
	struct region *region;
	struct maps maps;
	struct module_list modules;
	struct jit_query *jit; /* sites that lie in no object, by address */
	size_t jit_count;
	struct span program; /* the path that the program was started by, if that is a link to its file; else empty */
	struct span executable; /* the path of the program's file, as the kernel has it; empty: not known */
	struct tails_doubts tails;
	const char *note; /* why some names are missing or poor, for users; NULL: none is */
};

/* Begin a request's view. Returns 0, or -ENOMEM. */
int names_begin(struct names *n, struct region *r);

/* Look up all these sites at once. Returns 0, -ENOMEM, or -EAGAIN: the symbolizer is at work (encoder.h). */
int names_prepare(struct names *n, const struct site *sites, size_t count, struct patience *p);

/* Look up what may have jumped on from the calls that end after these sites: CACHE_CALL in cache.h. Returns as
 * names_prepare does. */
int names_prepare_calls(struct names *n, const struct site *sites, size_t count, struct patience *p);

/* Returns the names of a site that names_prepare has looked up. */
struct name names_of(struct names *n, struct site site);

/* Find the object of an address on a stack with this place (snapshot.h). */
struct site names_site(const struct names *n, uintptr_t address, uint64_t place);

/* Find the object that is loaded at the address now, else the last one that was. */
struct site names_site_now(const struct names *n, uintptr_t address);

/* Returns the path of a module: as it is on disk now, or, if it was unloaded, as it was given to the loader. */
struct span names_path(const struct names *n, const struct module *m);

/* Returns the same for users: a program has the name that it was started by, also where that is a link. */
struct span names_shown_path(const struct names *n, const struct module *m);

/* Returns the mapping of a site in code made at run time (JIT), which has no file; NULL: it is not in such code. */
const struct map *names_jit_map(const struct names *n, struct site site);

/* Returns the mapping of a site in code that was mapped a second time; NULL: the site is not in such code. */
const struct map *names_second_map(const struct names *n, struct site site);

/* Returns the address that the headers of the site's file have for it; without an object, the address itself. */
uint64_t names_file_address(struct site site);

/* Called at the listener's start: forget what a fork child inherited. */
void names_start(const struct encoder_options *options);

#endif
