/* snapshot.h - what the rooms above may know of the shim: a copy of its counters at one moment.
 *
 * Runs in: listener. The copies live in the request's region; what they point to (stacks, modules) is immutable and
 * never freed. Counters are atomic and read without a lock: a row is nearly always consistent in itself, but rows are
 * not all of one instant.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SNAPSHOT_H
#define PPROFSHIM_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/arena.h"
#include "shim/base/cut.h"
#include "shim/base/losses.h"
#include "shim/base/module.h"
#include "shim/base/shared.h"
#include "shim/base/stack.h"
#include "shim/waits/object.h"

/* One row of a heap profile: the counters of a stack and size class. `raw` are the sampled blocks themselves, `scaled`
 * their estimate of all blocks (each sample divided by its probability). */
struct heap_values {
	uint64_t alloc_objects, alloc_bytes, free_objects, free_bytes;
};
struct heap_row {
	const struct stack *stack;
	uint64_t class_bytes; /* the size class, for the label "bytes" */
	struct heap_values raw, scaled;
};
struct heap_snapshot {
	uint64_t time_ns; /* CLOCK_REALTIME */
	uint64_t rate_bytes;
	uint64_t max_rss_bytes; /* the most memory that was resident; 0: not known */
	size_t count;
	struct heap_row *rows; /* in the order the buckets were made: a later snapshot has the same
	                        * rows first */
};

/* Returns 0, -ENOMEM, or -ECANCELED if nobody wants the outcome any more (pace.h). */
int snapshot_heap(struct region *r, struct heap_snapshot *s);

/* Count the buckets with blocks in use, and those that ever had any. */
void snapshot_count_heap(uint64_t *in_use, uint64_t *all);

/* Returns the estimate of all memory in use. */
uint64_t snapshot_heap_in_use(void);

/* One row of threadcreate: the stack that called pthread_create and how often. The snapshot reads the names of its
 * living threads from /proc/<pid>/task. */
struct thread_row {
	const struct stack *stack;
	const char *name; /* of living threads; NULL: ended, or not known any more */
	uint64_t count;
};
struct thread_snapshot {
	uint64_t time_ns;
	size_t count;
	struct thread_row *rows;
};
int snapshot_threads(struct region *r, struct thread_snapshot *s);

/* CPU profiles. begin arms the timers, or joins the profiles that are being taken: then the rate is theirs, and a
 * comment tells. drain takes what the signal handlers wrote so far and returns in how many milliseconds to call it
 * again. end makes the rows of what was sampled since that begin, and disarms if it was the last. A profile lives in
 * the region that was given to begin, which tells it from others and must outlast it; abandon makes no rows (the client
 * went away). A profile that runs must come to exactly one end or abandon. */
struct cpu_row {
	const struct stack *stack; /* pc[0] is the very address that was executing */
	const char *name;          /* of the thread, when it was sampled; never NULL */
	int tid;
	uint64_t count; /* of periods: a sample that stands for two counts twice */
	uint64_t ns;    /* count * period_ns */
};
struct cpu_snapshot {
	uint64_t time_ns; /* CLOCK_REALTIME of its beginning */
	uint64_t duration_ns;
	uint64_t period_ns; /* CPU time between two samples of a thread */
	size_t count;
	struct cpu_row *rows;
	size_t comment_count;
	const char **comments; /* what was lost, or done in another way: for users */
};
int snapshot_cpu_begin(struct region *r, unsigned hz); /* 0; -EBUSY: too many run already; or another negative errno */
unsigned snapshot_cpu_drain(void);
int snapshot_cpu_end(struct region *r, struct cpu_snapshot *s); /* 0, or -ENOMEM */
void snapshot_cpu_abandon(struct region *r);

/* All threads of the program, read one after another: each thread is consistent in itself, but they are not one
 * instant. */
struct dump_thread {
	int tid;
	const char *name; /* never NULL */
	const char *state; /* "running", the call it waits in ("pthread_mutex_lock", "poll"), "futex (system call)" … */
	enum dump_object object_kind;
	uint64_t object;         /* what it waits for: the mutex's address, a descriptor … */
	const char *object_name; /* by snapshot_dump_descriptors: "/path", "tcp 10.0.0.1:80, peer …"; or NULL */
	const int *polled;       /* of DUMP_FDS: the first of these descriptors */
	size_t polled_count;
	int64_t since_ns;               /* how long it has been waiting; negative: not known */
	const struct stack *stack;      /* pc[0] as in a CPU profile; NULL: it could not be reached */
	const char *reason;             /* why there is no stack, or why it is short; NULL: all is well */
	const struct stack *created_by; /* the stack that created it; NULL: not known, or the main thread */
	int owner_tid;                  /* of the lock that it waits for; 0: not known, or it waits for no lock */
	const char *owner_name;         /* NULL: the owner is no thread any more, or there is none */
};
/* A deadlock is a ring of threads, each of which holds what the one before waits for. A stalled thread has waited long
 * for a lock. The chain holds indexes into threads. */
struct dump_stuck {
	bool is_deadlock;
	size_t count; /* of the chain; a stalled thread: 1 */
	const size_t *chain;
};
struct dump_snapshot {
	uint64_t time_ns;
	size_t count;
	struct dump_thread *threads;   /* the main thread first, then as they were made */
	const struct stack *unreached; /* in counts of threads, the stack of those without one; NULL: none */
	size_t deadlock_count;
	struct dump_stuck *stuck; /* deadlocks first */
	const char *note;         /* why threads have no stack, for users, and what helps; NULL: all is well */
};
int snapshot_dump(struct region *r, struct dump_snapshot *s); /* 0, or -ENOMEM */

/* Set object_name of the threads that wait for descriptors, as far as it is known. A program that has closed one since
 * may have another there. */
void snapshot_dump_descriptors(struct region *r, struct dump_snapshot *s);

/* Tell deadlocks and stalled threads without stacks, for the index page: one line each. Cheap. */
void snapshot_stuck(struct region *r, void (*tell)(void *arg, const char *line), void *arg);

/* Contention, as counters since the start. It has two sides. `block`: the stacks that waited (pc[0] is the function
 * that waited, an address of its own and no return address). `mutex`: the stacks that made others wait (pc[0] is the
 * function that released the lock). */
enum contention_kind { CONTENTION_BLOCK, CONTENTION_MUTEX, CONTENTION_KINDS };
struct contention_row {
	const struct stack *stack;
	uint64_t contentions; /* estimate of all: each sampled one divided by its probability */
	uint64_t delay_ns;
};
struct contention_snapshot {
	uint64_t time_ns; /* CLOCK_REALTIME */
	size_t count;
	struct contention_row *rows; /* a later snapshot has the same rows first */
};
int snapshot_contention(struct region *r, enum contention_kind kind, struct contention_snapshot *s); /* 0, or -ENOMEM */

/* Count the stacks that have any contention, of each kind. */
void snapshot_count_contention(uint64_t counts[CONTENTION_KINDS]);

/* Returns the rate at which events are sampled now (block: ns; mutex: one in this many events); 0: switched off, for
 * good. */
uint64_t snapshot_contention_rate(enum contention_kind kind);

/* Sample events at this rate (1 or more) if it is finer than the present one, until restore gets the token.
 * Returns a token (0 or more), -EBUSY if too many ask at once, or -ENOSYS if sampling is switched off. */
int snapshot_contention_raise(enum contention_kind kind, uint64_t rate);
void snapshot_contention_restore(enum contention_kind kind, int token);

/* An execution trace: what each thread did, and when. One at a time in a process. All times are CLOCK_MONOTONIC. */
enum trace_kind {
	/* Waits, from start_ns to end_ns, in the function at stack->pc[0] (an address of its own, no return address) */
	TRACE_SYNC,   /* a lock, a semaphore, a barrier, a futex, another thread's end */
	TRACE_COND,   /* a condition */
	TRACE_NET,    /* one socket */
	TRACE_SELECT, /* poll, select, epoll_wait: many descriptors */
	TRACE_SLEEP,
	TRACE_SYSCALL, /* whatever else blocks: a pipe, a file, a child process, a signal */
	TRACE_WAITS,   /* not a kind: the number of kinds of waits */
	/* Points in time: start_ns; end_ns is the same */
	TRACE_BORN =
		TRACE_WAITS, /* the thread began; creator_tid created it at created_ns, at `stack` (NULL: not known) */
	TRACE_ENDED,         /* the thread ended, to the trace's precision */
	TRACE_CPU,           /* a CPU sample; pc[0] is the very address that was executing */
	TRACE_HEAP,          /* the memory in use grew by the estimate `bytes` (it may be negative) */
	TRACE_LOG,           /* `text`, with its `category`; `stack` may be NULL */
};
struct trace_event {
	uint64_t start_ns;
	uint64_t end_ns;           /* of a wait that still lasts when the trace ends: UINT64_MAX; one that began before
	                            * the trace has a start_ns below begin_ns (0: not known) */
	const struct stack *stack; /* NULL: not known */
	int32_t tid;
	uint8_t kind;     /* enum trace_kind */
	uint8_t call;     /* of a wait: trace_call_name() */
	uint8_t category; /* of a log: trace_log_category() */
	union {
		struct {
			uint64_t object;   /* of a wait: the lock's address, the descriptor …; 0: none */
			uint64_t woken_ns; /* another thread ended the wait then; 0: not known, or nobody did */
			const struct stack *woken_by;
			int32_t other_tid; /* that thread; 0: not known */
		};
		struct {
			uint64_t created_ns;
			int32_t creator_tid;
		};
		int64_t bytes;
		char text[32]; /* ends with NUL */
	};
};
const char *trace_call_name(unsigned call);        /* "pthread_mutex_lock" */
const char *trace_log_category(unsigned category); /* "dlopen" */

/* A thread that was there at the beginning, or at the end, or had an event. */
struct trace_thread {
	int tid;
	const char *name; /* never NULL; "" when it was never learned */
	bool was_there;   /* when the trace began */
	bool was_blocked; /* then, in whatever call */
	bool has_ended;   /* before the trace did; a TRACE_ENDED that says when may be missing */
};
struct trace_chunk {
	shared_u32 count; /* the listener reads it while the trace lasts */
	uint32_t seen;    /* of these, by trace_session.c */
	uint32_t unused[14];
	struct trace_event at[31];
};
/* Returns how many events a chunk holds. */
static inline uint32_t trace_chunk_count(const struct trace_chunk *c)
{
	return shared_load_relaxed(&c->count);
}

struct trace_snapshot {
	uint64_t begin_ns, end_ns;
	uint64_t in_use_bytes; /* estimate of the memory in use at the beginning */
	size_t thread_count;
	struct trace_thread *threads; /* by tid */
	size_t chunk_count;
	const struct trace_chunk *chunks; /* a thread's events by the time at which they end, threads mixed; a signal
	                                   * handler's waits may lie inside another wait of its thread */
	size_t comment_count;
	const char **comments; /* what was lost, that the buffer was full …: for users */
};
/* The calls are as for the CPU profile, which may run at the same time. begin returns 0, -EBUSY if a trace runs
 * already, or another negative errno. drain returns in how many milliseconds to call it again; 0: the buffer is full,
 * so end it now. The snapshot and all that it points to live until snapshot_trace_release, which must follow end. */
int snapshot_trace_begin(struct region *r);
unsigned snapshot_trace_drain(void);
int snapshot_trace_end(struct trace_snapshot *s); /* 0, or -ENOMEM; then release, too */
void snapshot_trace_release(void);
void snapshot_trace_abandon(void); /* instead of end and release */

/* Returns how many threads the program has, without ours and without those that the kernel made in it. */
uint64_t snapshot_count_threads(void);

/* Totals for the index page: stacks with blocks in use, stacks that ever allocated, threads created, threads alive,
 * stacks that waited, stacks that made others wait. */
struct snapshot_counts {
	uint64_t heap, allocs, threadcreate, goroutine, block, mutex;
};
struct snapshot_counts snapshot_counts(void);

#endif
