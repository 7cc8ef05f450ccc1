/* encoder.h - what http/ may ask of the encoder: one profile, as protobuf or text; one execution trace (trace.h).
 *
 * Runs in: listener. All scratch memory comes from the region passed in and goes back with it.
 * Every function that writes an out returns 0, or a negative errno (-ENOMEM: the shim's memory cap is reached). After
 * an error the content of the out must not be sent.
 *
 * The functions with a struct patience need names, and ask a helper program for them. While it has not answered they
 * return -EAGAIN; the caller calls again, with a new out, when encoder_wait_ms returns 0. Addresses that the helper
 * does not answer in time get names from symbol tables.
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

/* How long one request waits for names. Zero-initialise it. NULL in its place: the request does not wait. */
struct patience {
	uint64_t until_ns; /* CLOCK_MONOTONIC; 0: the wait has not begun */
	unsigned rounds;   /* how often it has asked */
	uint64_t ticket;   /* of its last question; 0: none yet */
	unsigned most_s;   /* longest wait in seconds; 0: the default */
};

/* Returns the milliseconds until the next call of this function; 0: call again what returned -EAGAIN. */
unsigned encoder_wait_ms(const struct patience *p);

/* Write the gzipped protobuf of `now`, or of the delta now - before when before is not NULL. */
int profile_encode(struct region *r, struct out *o, const struct profile_snapshot *now,
                   const struct profile_snapshot *before, struct patience *p);

/* Write the text form that `debug` asks for: grouped by stack, or, for goroutine from debug=2 on, one block a thread.
 * (The CPU profile has no text form.) If the text is large, o gets its first part and makes the others while it is
 * sent; *r and *now must last as long. */
int profile_encode_text(struct region *r, struct out *o, const struct profile_snapshot *now, int64_t debug,
                        struct patience *p);

/* Write the answer of /symbol to a query: addresses joined by '+' (encoder/FORMATS.md). */
int symbol_answer(struct region *r, struct out *o, struct span query, struct patience *p);

/* Returns why names are missing or have no lines, as a text for users; NULL: all is well. */
const char *encoder_trouble(void);

/* Start the helper program to merge profiles, with `fd`, a socket that stays the caller's, as its standard input and
 * output (encoder/symbolize/protocol.h). It is ended after life_s seconds. Until it has ended, others wait for names.
 * Returns 0; -EAGAIN: it is at work, ask again soon; or another negative errno: it cannot be had. */
int encoder_merge(int fd, unsigned life_s);

struct encoder_options {
	const char *symbolizer; /* path of the helper program; NULL: the one beside the library */
	bool symbolizer_off;    /* run no helper program */
	const char *debug_dirs; /* more folders where it looks for debug files; NULL: only the usual places */
	uint64_t symbolizer_memory_bytes;
	uint64_t memory_limit_bytes; /* the cap of the profiler's own memory; the cache of names has a share of it */
};

/* Called at the listener's start: drop the caches that a fork child inherited. */
void encoder_start(const struct encoder_options *options);

/* Called now and then between requests: end a helper that finished its work after all clients had gone.
 * Returns the milliseconds until the next call; 0: no call before the next request. */
unsigned encoder_rest(void);

#endif
