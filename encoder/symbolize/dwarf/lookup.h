/* lookup.h - functions, files, lines and inlined calls at addresses of one ELF file.
 *
 * Runs in: pprofshim-symbolize (a process of its own, one thread; it may allocate, map and die).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LOOKUP_H
#define PPROFSHIM_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

/* Texts are valid until the object is closed. None is NULL. */
struct frame {
	const char *name;    /* demangled, without parameters and return type (demangle.h); never "" */
	const char *system;  /* as linked; equal to name for C */
	const char *file;    /* as compiled, with the directory of the compilation in front; "": not known */
	unsigned line;       /* 0: not known */
	unsigned start_line; /* where the function is declared (DW_AT_decl_line); 0: not known */
};

struct answer {
	uint64_t address;
	uint64_t start;            /* of the function's symbol, else of its DWARF entry; 0: not known */
	size_t count;              /* 0: nothing is known */
	const struct frame *frame; /* innermost first; valid until tell returns */
	const char *calls;         /* the function that a call which ends after the address names, as linked; NULL: not
	                            * known, or no call ends there */
	uint64_t called;           /* where the machine code of that call goes to; 0: not known */
};

enum { JUMPS_MOST = 64 };

/* A jump at the end of a function, to another one. */
struct jump {
	uint64_t from;    /* the first address of its function */
	uint64_t at;      /* an address within the jump; 0: not known */
	uint64_t to;      /* the first address of the other; 0: it is not in this file */
	const char *name; /* the other, as linked; "": not known */
};

/* All jumps that may follow a call: from the function that it names, and from those that these jump to. */
struct jumps {
	uint64_t address; /* before the end of the call */
	uint64_t first;   /* the first address of the function that it names; 0: not known */
	size_t count;     /* 0: none, or too many */
	const struct jump *jump;
};

struct object;

/* Set the colon-separated folders that are searched for debug files before /usr/lib/debug; NULL: none. */
void lookup_set_debug_dirs(const char *dirs);

/* Open the ELF file at `path` and its debug information, wherever that is. If the file has a build id, it must be
 * build_id (hex; NULL: any).
 * Returns NULL if that fails; *why is then the reason, a constant string. */
struct object *object_open(const char *path, const char *build_id, const char **why);
void object_close(struct object *o);

/* Returns a line for users about what could not be read (memory, damaged DWARF …); NULL: all is well. */
const char *object_note(const struct object *o);

/* Returns the address that the headers give byte `offset` of the file, in a segment that is mapped executable;
 * UINT64_MAX: there is none. */
uint64_t object_address_of_offset(const struct object *o, uint64_t offset);

/* Look up addresses of the file's headers, in any order, and call `tell` for each. An address that is there twice is
 * told twice. */
void object_lookup(struct object *o, const uint64_t *addresses, size_t count,
                   void (*tell)(void *arg, const struct answer *a), void *arg);

/* Look up what may follow the calls that end after these addresses, in any order, and call `tell` for each. */
void object_jumps(struct object *o, const uint64_t *addresses, size_t count,
                  void (*tell)(void *arg, const struct jumps *j), void *arg);

#endif
