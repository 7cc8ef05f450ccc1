/* headers.h - what a loaded object says of itself in its ELF headers.
 *
 * Runs in: init, app's thread inside a hook, listener; the caller holds the lock of the list of objects (MODULES),
 * which also guards the buffers.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HEADERS_H
#define PPROFSHIM_HEADERS_H

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>

#include "shim/base/module.h"

/* Where an object is, and its program headers. */
struct headers {
	uintptr_t bias;
	const char *path;
	const ElfW(Phdr) * phdr;
	unsigned count;
	bool stable; /* the object can't go away meanwhile (the loader's lock is held) */
};

/* Copies the headers of an object that libc's lock-free table has, to buffers that the next call overwrites.
 * Returns false if the object, or the loader's record of it, was unmapped meanwhile. */
bool headers_copy_locked(const struct dl_find_object *o, struct headers *h);

/* Fills in what the headers tell: segments, build id, or a hash of the file's beginning. m->text is a buffer that the
 * next call overwrites. */
void headers_tell_locked(const struct headers *h, struct module *m);

#endif
