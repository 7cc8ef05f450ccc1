/* go_writer.h - the bytes of Go's trace: events, and what they refer to by number, which is stacks and strings.
 *
 * Runs in: listener. All memory from the request's region. Nothing here returns an error: a lack of memory is in
 * w->failed, and what was written must not be sent then.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_GO_WRITER_H
#define PPROFSHIM_GO_WRITER_H

#include <stdint.h>

#include "encoder/bytes/intern.h"
#include "encoder/bytes/out.h"
#include "encoder/trace/frames.h"
#include "encoder/trace/order.h"

enum {
	GO_BATCH = 1,
	GO_FREQUENCY = 2,
	GO_STACK = 3,
	GO_GOMAXPROCS = 4,
	GO_PROC_START = 5,
	GO_PROC_STOP = 6,
	GO_CREATE = 13,
	GO_START = 14,
	GO_END = 15,
	GO_PREEMPT = 18,
	GO_SLEEP = 19,
	GO_BLOCK = 20,
	GO_UNBLOCK = 21,
	GO_BLOCK_SELECT = 24,
	GO_BLOCK_SYNC = 25,
	GO_BLOCK_COND = 26,
	GO_BLOCK_NET = 27,
	GO_SYS_CALL = 28,
	GO_SYS_EXIT = 29,
	GO_SYS_BLOCK = 30,
	GO_HEAP_ALLOC = 33,
	GO_STRING = 37,
	GO_START_LOCAL = 38,
	GO_UNBLOCK_LOCAL = 39,
	GO_USER_LOG = 48,
	GO_CPU_SAMPLE = 49,
};

/* The G of a life. */
struct go_goroutine {
	uint64_t id;
	uint64_t start; /* ticks */
	const char *label;
};

/* A stack of one thread: its root frame names the thread. */
struct go_stack_key {
	const struct stack *stack; /* NULL: the root frame alone */
	size_t life;               /* GO_STACK_OF_ANY: several threads share it */
};
#define GO_STACK_OF_ANY SIZE_MAX

struct go_writer {
	struct region *region;
	struct out *out;
	const struct trace_snapshot *snapshot;
	struct trace_order order;
	struct trace_frames frames;
	struct intern strings, stacks;        /* id = number + 1 */
	struct go_stack_key *spare;           /* the next key of stacks */
	size_t own_frames;                    /* number of frames of stacks of one thread */
	struct go_frame_fields *frame_fields; /* of each frame; zero: not yet */
	struct go_goroutine *goroutines;      /* one for each life */
	struct go_call *calls;                /* go.c's; by P, then by time */
	size_t call_count;
	const struct trace_life *teller; /* whose P has the comments; NULL: P 0 */
	uint64_t zero_ns;                /* ticks + zero_ns = CLOCK_MONOTONIC; it may wrap around */
	uint64_t now;                    /* ticks of the batch's last event */
	bool failed;
};

/* ---- events ---- */

void go_write_varint(struct go_writer *w, uint64_t v);
void go_write_event(struct go_writer *w, unsigned type, const uint64_t *args, size_t count);

#define EVENT(w, type, ...) \
	go_write_event((w), (type), (const uint64_t[]){__VA_ARGS__}, \
	               sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static inline uint64_t go_tick_of(const struct go_writer *w, uint64_t ns)
{
	return ns - w->zero_ns;
}

/* Begin the events of a P, the first at that time or later. */
void go_begin_batch(struct go_writer *w, uint64_t p, uint64_t tick);

/* The first argument of a timed event. */
static inline uint64_t go_delta(struct go_writer *w, uint64_t tick)
{
	uint64_t passed = tick - w->now;
	w->now = tick;
	return passed;
}

/* ---- what they refer to ---- */

/* Returns the id of a text, which the caller keeps in place; 0: it is empty. */
uint64_t go_string_id(struct go_writer *w, struct span s);

/* Returns the id of a stack of that thread; NULL: of the root frame alone, which names the thread. */
uint64_t go_stack_id(struct go_writer *w, const struct stack *stack, const struct trace_life *l);

static inline uint32_t go_p_of(const struct go_writer *w, const struct trace_life *l)
{
	return (uint32_t)(l - w->order.lives) + 1;
}

static inline struct go_goroutine *go_goroutine_of(const struct go_writer *w, const struct trace_life *l)
{
	return &w->goroutines[l - w->order.lives];
}

/* Give each life its G, once the frames and the order are known. Returns 0 or -ENOMEM. */
int go_prepare_names(struct go_writer *w);

/* Write the frequency, and all stacks and strings that were referred to. */
void go_write_tables(struct go_writer *w);

#endif
