/* record.h - one living thread: what each room keeps of it. Types alone.
 *
 * Runs in: app's thread inside a hook, our signal handler, listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_RECORD_H
#define PPROFSHIM_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "shim/base/shared.h"
#include "shim/stack/unwind.h"

/* A wait, as its thread publishes it (waits/waits.h). The fields change only while `state` says WAIT_NONE or
 * WAIT_CHANGING; a state with a call never comes back after it was left. */
struct wait {
	shared_u64 state;   /* instance << 8 | enum wait_call */
	uint64_t instances; /* waits so far */
	uintptr_t object;   /* what it waits for: waits_kind() says of what kind */
	struct wait_frame {
		uintptr_t pc, sp, fp;
	} frame;              /* the caller's */
	uint64_t since_ns;    /* CLOCK_MONOTONIC; CLOCK_MONOTONIC_COARSE for locks that nobody watches; 0: not taken */
	uint32_t handled;     /* self.handled when it began */
	shared_u32 cut_short; /* our signal interrupted the system call of this wait */
};

/* A system call that our signal cut short (waits/restart.h). */
struct restart {
	/* The thread's own. Where it was when one of the program's handlers last came, and how many came
	 * (waits/handlers.c). */
	uintptr_t handled_pc, handled_sp;
	/* The call that our handler set back last. It fails if a handler of the program's comes before it is made. */
	uintptr_t again_pc, again_sp;
	shared_u32 handled;
	bool again_always;    /* whatever that handler's SA_RESTART says */
	bool keep_off;        /* the listener's: send this thread no signal of ours now */
	struct timespec time; /* what is left of a time-out */
	/* In this published wait (its state) the time-out was cut already, and counts from then on. */
	uint64_t cut_state, cut_ns;
	/* Written by the listener, while the thread was blocked (waits/restart_look.c). */
	shared_u32 number; /* odd: what follows is being written */
	uint32_t handled_then;
	long nr; /* -1: nothing is known */
	uint64_t args[6];
	uintptr_t pc, sp;
	uint64_t looked_ns, since_ns; /* CLOCK_MONOTONIC; since_ns 0: not known */
	uint64_t sleeps;              /* how often it had gone to sleep */
	uint64_t cpu_ns;              /* and for how long it had run */
};

/* A lock that the thread had to wait for and has now (profiles/acquires.h). The thread's own. */
enum { ACQUIRE_DEPTH = 5 };
struct acquire {
	uintptr_t lock;    /* 0: none */
	uint64_t fraction; /* what its release stands for in the mutex profile; 0: it is not kept */
	uintptr_t sp;      /* of the innermost frame */
	size_t depth;      /* 0: the frames are not known */
	uintptr_t pc[ACQUIRE_DEPTH];
};

/* One living thread. Records are never freed: a new thread gets the record of one that ended. */
struct thread {
	struct wait wait; /* written by the thread itself without a lock */
	struct restart restart;
	struct thread *next;
	struct thread_site *site;         /* where it was created; NULL: not known */
	shared_address handle;            /* pthread_self() of a thread that pthread_create made; 0: not known */
	shared_int tid;                   /* 0: nobody's */
	shared_u32 timer;                 /* ticks.c: THREAD_NO_TIMER, being made, or its timer's number plus one */
	uint64_t armed_cpu_ns;            /* ticks.c: the CPU time it had used when it got the timer */
	SHARED(struct queue *) waits_for; /* queues.c, these two; the thread's own */
	uint64_t waits_since_ns;
	struct thread *waits_before, *waits_after; /* queues.c; under its bucket's lock */
	struct acquire acquire;
	struct trace_chunk *chunk; /* trace_events.c, these four; the thread's own */
	uint32_t chunk_of;         /* which trace */
	shared_u32 is_tracing;     /* it is writing to the chunk */
	shared_u32 end_told_in;    /* the trace in which it said that it ends */
	shared_u32 entered;        /* threads.c: how often it was found or given away */
};
enum { THREAD_NO_TIMER = 0, THREAD_TIMER_BEING_MADE = UINT32_MAX };

#endif
