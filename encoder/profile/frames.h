/* frames.h - the stacks of a dump as lines: each function with its file, and which of them say nothing to people.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_FRAMES_H
#define PPROFSHIM_FRAMES_H

#include "encoder/names/names.h"

struct frames;

/* A function of a stack. An inlined one is a line of its own, before the one that it was inlined into. */
struct frame_line {
	struct span function;
	struct span file; /* the source; if that is not known, the object */
	uint32_t line;    /* 0: not known */
	uint64_t offset;  /* of the address in the function; 0 also for an inlined one */
	const char *object;
	uint64_t file_address;    /* as the headers of the object's file have it, and addr2line takes it */
	bool is_folded;           /* an inner one of libc, or an outer one of std::thread */
	bool is_own;              /* neither libc's nor of the language's library */
	bool is_libc, is_library; /* it lies in libc; in the library of C++ */
};

/* Look up all stacks of a dump at once. *s becomes a copy whose stacks have the frames of functions that ended in a
 * jump (names/tails.h). Returns 0, -ENOMEM or -EAGAIN (encoder.h). */
int frames_prepare(struct frames **f, struct region *r, const struct dump_snapshot **s, struct patience *p);

/* Returns the lines of a stack, the innermost first, and their number in *count. They are valid up to the next call. */
const struct frame_line *frames_of(struct frames *f, const struct stack *s, size_t *count);

/* Returns what stands for the stack in one line: the innermost function that is the program's own, else of another
 * library, else any; NULL: it has none. */
const struct frame_line *frames_main(struct frames *f, const struct stack *s);

/* Returns why names are missing or poor, for people; NULL: none is. */
const char *frames_note(const struct frames *f);

#endif
