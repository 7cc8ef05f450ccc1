/* encoder.h - what http/ may ask of the encoder: one profile, as protobuf or text; one execution trace (trace.h).
 *
 * Runs in: listener. All scratch memory comes from the region handed in and goes back with it.
 * Every function returns 0, or a negative errno (-ENOMEM: the shim's memory cap); then the out's
 * content is not to be sent.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_ENCODER_H
#define PPROFSHIM_ENCODER_H

#include "encoder/out.h"
#include "encoder/trace.h"
#include "shim/arena.h"
#include "shim/snapshot.h"
#include "shim/text.h"

/* The profiles this build can make. */
enum profile_kind {
	PROFILE_HEAP,
	PROFILE_ALLOCS,
	PROFILE_THREADCREATE,
	PROFILE_GOROUTINE,
	PROFILE_BLOCK,
	PROFILE_MUTEX,
	PROFILE_CPU, /* takes time: filled in by who took it, profile_take has none */
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

/* A snapshot of any kind but the CPU profile. */
int profile_take(struct region *r, enum profile_kind kind, struct profile_snapshot *s);

/* The gzipped protobuf of `now`, or of now - before when before is not NULL (a delta). */
int profile_encode(struct region *r, struct out *o, const struct profile_snapshot *now,
                   const struct profile_snapshot *before);

/* The text form that `debug` asks for: grouped by stack; from 2 on, of goroutine, one block a thread. (The CPU profile
 * has none.) */
int profile_encode_text(struct region *r, struct out *o, const struct profile_snapshot *now, int64_t debug);

/* The answer of /symbol to a query of addresses joined by '+' (PPROF-SPEC section 1). */
int symbol_answer(struct region *r, struct out *o, struct span query);

/* Drop what a fork child inherited of the listener's caches. Listener's start. */
void encoder_start(void);

#endif
