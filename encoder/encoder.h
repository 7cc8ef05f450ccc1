/* encoder.h - what http/ may ask of the encoder: one profile, as protobuf or text; one execution trace (trace.h).
 *
 * Runs in: listener. All scratch memory comes from the region handed in and goes back with it.
 * Every function returns 0, or a negative errno (-ENOMEM: the shim's memory cap); then the out's
 * content is not to be sent.
 *
 * Those that are given a struct patience need names, for which a helper program is asked: while it has not answered
 * they return -EAGAIN, and are to be called again, with a new out, when encoder_wait_ms says 0. What the helper does
 * not answer in time has names from symbol tables.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ENCODER_H
#define PPROFSHIM_ENCODER_H

#include "encoder/bytes/out.h"
#include "encoder/trace/trace.h"
#include "shim/base/arena.h"
#include "shim/snapshot.h"
#include "shim/base/text.h"

/* The profiles this build can make. */
enum profile_kind {
	PROFILE_HEAP,
	PROFILE_ALLOCS,
	PROFILE_THREADCREATE,
	PROFILE_GOROUTINE,
	PROFILE_BLOCK,
	PROFILE_MUTEX,
	PROFILE_CPU,
};

/* The counters of one kind at one moment. */
struct profile_snapshot {
	enum profile_kind kind;
	uint64_t mono_ns; /* CLOCK_MONOTONIC, when it was taken */
	union {
		struct heap_snapshot heap;
		struct thread_snapshot threads;
		struct dump_snapshot dump;
		struct contention_snapshot contention;
		struct cpu_snapshot cpu;
	};
};

/* Of one request: how long it waits for names. Zero-initialise; NULL: not at all. */
struct patience {
	uint64_t until_ns; /* CLOCK_MONOTONIC; 0: the waiting has not begun */
	unsigned rounds;   /* times that it has asked */
	uint64_t ticket;   /* of what it asked for; 0: nothing yet */
	unsigned most_s;   /* so long; 0: as long as may be */
};

/* Milliseconds until one should ask again; 0: call again what said -EAGAIN. */
unsigned encoder_wait_ms(const struct patience *p);

/* The gzipped protobuf of `now`, or of now - before when before is not NULL (a delta). */
int profile_encode(struct region *r, struct out *o, const struct profile_snapshot *now,
                   const struct profile_snapshot *before, struct patience *p);

/* The text form that `debug` asks for: grouped by stack; from 2 on, of goroutine, one block a thread. (The CPU profile
 * has none.) Of a large one o has the first part, and makes the others while it goes out; *r and *now last as long. */
int profile_encode_text(struct region *r, struct out *o, const struct profile_snapshot *now, int64_t debug,
                        struct patience *p);

/* The answer of /symbol to a query of addresses joined by '+' (encoder/FORMATS.md). */
int symbol_answer(struct region *r, struct out *o, struct span query, struct patience *p);

/* Why names have no lines, or are missing, for people; NULL: all is well. */
const char *encoder_trouble(void);

struct encoder_options {
	const char *symbolizer; /* path of the helper program; NULL: the one beside the library */
	bool symbolizer_off;    /* none */
	const char *debug_dirs; /* where it looks for debug files; NULL: in the usual places alone */
	uint64_t symbolizer_memory_bytes;
	uint64_t memory_limit_bytes; /* the cap of the profiler's own memory, of which known names have a share */
};

/* Listener's start: drops what a fork child inherited of caches. */
void encoder_start(const struct encoder_options *options);

/* Once in a while, between requests: end a helper that has done its work after everybody went. Milliseconds until it
 * should be called again; 0: not before the next request. */
unsigned encoder_rest(void);

#endif
