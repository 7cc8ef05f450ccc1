/* names.h - functions, files and lines for addresses of this process, and the modules they lie in.
 *
 * Runs in: listener. A request's view of the loaded objects, in its region. What the symbolizer finds is kept in a
 * cache of its own for the next request (symbolizer.h).
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

/* An address, and the object it is in: an address may have been used twice. */
struct site {
	uintptr_t address;
	const struct module *module; /* NULL: in no object */
	uintptr_t home; /* 0, or where this code is in the object: it was mapped a second time (node does that with its
	                   own) */
};

/* One function at a site. Spans are well-formed UTF-8 without control characters; those that are not known are empty,
 * numbers 0. */
struct name_frame {
	struct span function; /* for people; never empty: "libfoo.so+0x1234" where there is no symbol */
	struct span system;   /* as linked; equal to function where nothing was demangled */
	struct span file;
	uint32_t line, start_line; /* start_line: where the function begins */
};

/* What is known of one site: the function, and what was inlined there. */
struct name {
	const struct name_frame *frame; /* innermost first */
	size_t count;                   /* at least 1 */
	uint64_t offset;                /* of the address in the outermost function */
};

struct names {
	struct region *region;
	struct maps maps;
	struct module_list modules;
	struct jit_query *jit; /* sites that lie in no object, by address */
	size_t jit_count;
	const char *note; /* why names are not what they could be, for people; NULL: they are */
};

/* 0, or -ENOMEM. */
int names_begin(struct names *n, struct region *r);

/* Look up all these at once. 0, -ENOMEM; -EAGAIN: the symbolizer is at work (encoder.h). */
int names_prepare(struct names *n, const struct site *sites, size_t count, struct patience *p);

/* A site that names_prepare has seen. */
struct name names_of(struct names *n, struct site site);

/* The object that an address of a stack of this place lies in (snapshot.h). */
struct site names_site(const struct names *n, uintptr_t address, uint64_t place);

/* The object that lies there now, or did last. */
struct site names_site_now(const struct names *n, uintptr_t address);

/* The path of a module as it is now on disk; of one that is gone, as it was given to the loader. */
struct span names_path(const struct names *n, const struct module *m);

/* Code without a file that somebody made at run time (JIT) lies in this mapping; NULL: the site is no such. */
const struct map *names_jit_map(const struct names *n, struct site site);

/* The mapping of code that was mapped a second time; NULL: the site is no such. */
const struct map *names_second_map(const struct names *n, struct site site);

/* An address as the headers of the site's file count; of a site without an object, the address. */
uint64_t names_file_address(struct site site);

/* Listener's start: forget what a fork child inherited. */
void names_start(const struct encoder_options *options);

#endif
