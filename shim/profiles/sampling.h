/* sampling.h - which allocations are sampled: a Poisson process over the bytes that a thread asks for.
 *
 * Runs in: app's thread inside an allocation hook, at any time from the loader's first malloc on.
 *
 * The maths. Points lie on the line of all bytes requested, on average one in `rate` bytes, without memory. A
 * block is sampled when at least one point falls on it:
 *     P(size) = 1 - exp(-size / rate)
 * A thread counts down the bytes to its next point (drawn from the exponential distribution); the block that
 * takes the counter to 0 or below is sampled, and a new distance is drawn. A sample stands for
 * 1 / P(size) blocks, so its estimate is unbiased for every size (Horvitz and Thompson, 1952; the method
 * is that of Go's runtime/mprof.go and of tcmalloc).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SAMPLER_H
#define PPROFSHIM_SAMPLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/exports.h"
#include "shim/base/house.h"
#include "shim/stack/unwind.h"

/* All that the shim keeps in thread-local storage: zero at a thread's birth, so its first allocation takes
 * the slow path, which sets it up. */
struct sampler_thread {
	int64_t countdown_bytes;   /* to the next sample */
	uint64_t random;           /* state of the generator; 0: not set up */
	struct unwind_stack stack; /* of the thread, where its end is known */
	struct thread *thread;     /* threads.h; NULL: not known yet */
	uint32_t handled;    /* signals that handlers of the program took on this thread, modulo 2^32: hooks/signal.c */
	uint32_t samples;    /* taken so far, modulo 2^32 */
	uint32_t cpu_due_us; /* cpu.c: CPU time to the next sample of a CPU profile; 0: not drawn yet */
	uint32_t cpu_age_us; /* cpu.c: CPU time seen while profiled, as far as it matters */
	uint32_t stamp;      /* sync.h: what it writes into locks that it takes; 0: not known yet */
	uint8_t closing;     /* modules.c: dlclose calls that this thread is in */
	bool blocked;        /* fork.c: our signal, while this thread forks */
	bool busy;           /* this thread may hold locks of the house: whatever it calls meanwhile is not recorded */
};
extern HIDDEN __thread struct sampler_thread sampler_thread;

/* Count `size` bytes. True: not sampled, go on to the real function. The fast path of malloc: one
 * subtraction, one branch. (A size of 2^63 or more counts up instead; no allocator can serve it.) */
static inline bool sampler_skip(size_t size)
{
#if defined(__x86_64__)
	bool skip;
	__asm__("subq %2, %0" : "+m"(sampler_thread.countdown_bytes), "=@ccg"(skip) : "r"(size));
	return __builtin_expect(skip, 1);
#else
	return __builtin_expect((sampler_thread.countdown_bytes -= (int64_t)size) > 0, 1);
#endif
}

/* After sampler_skip said no: is this block really to be sampled? True: record it, then sampler_leave. False:
 * the thread was only set up, sampling is off, or this call is nested in another. */
bool sampler_enter(size_t size);
void sampler_leave(void);

/* This thread is about to take locks of the house outside sampler_enter. False: it holds some already (a signal
 * handler interrupted it): leave it be. */
static inline bool sampler_hold(void)
{
	if (sampler_thread.busy || !house_look())
		return false;
	__atomic_store_n(&sampler_thread.busy, true, __ATOMIC_RELAXED);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return true;
}

static inline void sampler_release(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	__atomic_store_n(&sampler_thread.busy, false, __ATOMIC_RELAXED);
}

/* The same for calls that a signal handler may make, or leave by a jump (siglongjmp, asynchronous cancellation): all
 * signals are blocked meanwhile, so that no lock is left behind. Two or three system calls: for what is recorded
 * rarely. False, too, on an alternate signal stack, which has no room for us. */
bool sampler_hold_alone(uint64_t *mask);
void sampler_release_alone(const uint64_t *mask);

/* Keep calls that the real function makes to other hooks from being counted: what sampler_shut returns
 * goes to sampler_open after the call. (Allocators that build calloc on malloc.) */
int64_t sampler_shut(void);
void sampler_open(int64_t before);

/* 64 random bits of this thread's sequence. */
uint64_t sampler_random(void);

/* Init: mean bytes between samples; 1 samples every block, 0 none. Until then hooks pass through. */
void sampler_start(uint64_t rate_bytes, uint64_t seed);
uint64_t sampler_rate_bytes(void);

/* In a fork child: draw from another sequence than the parent. */
void sampler_fork_child(void);

/* The blocks and bytes that one sampled block of this size stands for. Objects in units of
 * 1 / SAMPLER_OBJECT_UNIT. */
enum { SAMPLER_OBJECT_UNIT = 1 << 12 };
struct sampler_weight {
	uint64_t objects, bytes;
};
struct sampler_weight sampler_weight(size_t size);

/* The maths, for the unit test: -ln(u) for u in (0, 1), and 1 - exp(-x) for x >= 0. */
double sampler_minus_log(double u);
double sampler_one_minus_exp(double x);

#endif
