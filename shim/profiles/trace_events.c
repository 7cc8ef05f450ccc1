/* trace_events.c - the buffer of an execution trace, and the events that the program's threads write to it.
 *
 * Runs in: app's thread inside a hook; listener (the buffer's life).
 * So: no allocation but the arena's (for stacks), errno preserved. A signal handler that interrupts a thread in here
 * finds it busy, and leaves the trace alone.
 *
 * The buffer is divided into chunks. A thread takes a chunk and fills it alone, so threads seldom meet. The trace ends
 * when the buffer is full: it is complete up to there, and has nothing after that.
 *
 * Shared: `next` and `full_ns` are atomic. A thread notes in its record that it writes, by an exchange: the listener
 * switches the trace off and then looks at every record, so either it sees the writer, or the writer sees the switch.
 * The writer of a waker's entry first makes its number odd; readers read the number twice.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/profiles/trace_events.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "shim/base/shared.h"
#include "shim/libc/clock.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/base/settings.h"
#include "shim/snapshot.h"
#include "shim/stack/here.h"

enum {
	WAKERS = 1024,
	CHUNK_EVENTS = sizeof((struct trace_chunk *)0)->at / sizeof(struct trace_event),
	BUFFER_MOST = 16 << 20,
	BUFFER_LEAST = 64 << 10,
	SHARE = 10, /* 1 / SHARE of the memory limit: what is made of the buffer may take twice as much beside it */
	CLOSE_MS = 200,
	/* Anything shorter was no wait. Sending is work in the kernel as long as there is room. */
	SHORT_NS = 3000,
	SHORT_SEND_NS = 20000,
};

/* The thread that last unlocked, signalled or posted an object of this hash. */
struct waker {
	shared_u32 number; /* odd: being written */
	int32_t tid;
	uintptr_t object;
	uint64_t ns;
	const struct stack *stack;
};

static struct {
	uint32_t number;    /* of the trace; 0: there was none */
	shared_u64 full_ns; /* since when the buffer has been full; 0: it is not */
	shared_size next;   /* the first free chunk */
	size_t count;       /* of chunks: only the listener takes the last ones */
	size_t bytes;
	struct waker *wakers;
	struct trace_chunk *chunks; /* after the wakers */
	struct trace_chunk *own;    /* the listener's */
	bool lost;                  /* an event of the listener found no room */
	bool is_free;               /* its memory was given back */
	bool stays;                 /* mapped: a thread may still write; no trace begins before it is done */
} trace FORKED;

/* Takes the next of the first `limit` chunks. */
static struct trace_chunk *take_chunk(size_t limit)
{
	size_t i = shared_load_relaxed(&trace.next);
	do {
		if (i >= limit)
			return NULL;
	} while (!shared_cas_relaxed(&trace.next, &i, i + 1));
	return &trace.chunks[i];
}

static size_t threads_limit(void)
{
	enum { LISTENERS_SHARE = 16 };
	return trace.count - trace.count / LISTENERS_SHARE;
}

static void note_full(void)
{
	uint64_t none = 0;
	shared_cas_relaxed(&trace.full_ns, &none, clock_ns(CLOCK_MONOTONIC));
}

/* Notes that this thread writes. Returns false if no trace is taken. */
static bool begin_writing(struct thread *t)
{
	shared_exchange_seq_cst(&t->is_tracing, 1);
	shared_fence_seq_cst(); /* no instruction more on x86 */
	if (shared_load_acquire(&waits_watchers) & WAITS_FOR_TRACE && !trace_full_ns())
		return true;
	shared_store_release(&t->is_tracing, 0);
	return false;
}

static void end_writing(struct thread *t)
{
	shared_store_release(&t->is_tracing, 0);
}

static void put_in(struct trace_chunk *c, const struct trace_event *e)
{
	c->at[shared_own(&c->count)] = *e;
	shared_store_release(&c->count, shared_own(&c->count) + 1); /* the listener reads it meanwhile, for births */
}

/* Writes an event of this thread. Busy. */
static void put(struct thread *t, struct trace_event *e)
{
	if (!begin_writing(t))
		return;
	if (t->chunk_of != trace.number || shared_own(&t->chunk->count) == CHUNK_EVENTS) {
		t->chunk = take_chunk(threads_limit());
		t->chunk_of = t->chunk ? trace.number : 0;
	}
	e->tid = shared_own(&t->tid);
	if (t->chunk)
		put_in(t->chunk, e);
	else
		note_full();
	end_writing(t);
}

void trace_add(const struct trace_event *e)
{
	if (!trace.own || shared_own(&trace.own->count) == CHUNK_EVENTS)
		trace.own = take_chunk(trace.count);
	if (trace.own)
		put_in(trace.own, e);
	else
		trace.lost = true;
}

bool trace_lost(void)
{
	return trace.lost;
}

static struct waker *waker_of(uintptr_t object)
{
	return &trace.wakers[(uint64_t)object * 0x9e3779b97f4a7c15u >> 54];
}

/* If two threads write at once, one is left out. */
static void write_waker(const struct thread *t, uintptr_t object, const struct stack *s)
{
	struct waker *w = waker_of(object);
	uint32_t number = shared_load_relaxed(&w->number);
	if (number & 1 || !shared_cas_acquire(&w->number, &number, number + 1))
		return;
	w->tid = shared_own(&t->tid);
	w->object = object;
	w->ns = clock_ns(CLOCK_MONOTONIC);
	w->stack = s;
	shared_store_release(&w->number, number + 2);
}

static void read_waker(const struct thread *t, struct trace_event *e)
{
	const struct waker *w = waker_of(e->object);
	uint32_t number = shared_load_acquire(&w->number);
	struct waker copy = *w;
	shared_fence_acquire();
	if (number & 1 || shared_load_relaxed(&w->number) != number || copy.object != e->object ||
	    copy.tid == shared_own(&t->tid) || copy.ns < e->start_ns || copy.ns > e->end_ns)
		return;
	e->woken_ns = copy.ns;
	e->woken_by = copy.stack;
	e->other_tid = copy.tid;
}

void trace_wakes(uintptr_t object, uintptr_t function, struct unwind_frame from)
{
	uint64_t mask;
	struct thread *t = threads_self();
	if (!t)
		t = threads_enter_self();
	if (!t || !self_hold_alone(&mask))
		return;
	const struct stack *s = stack_here(function, from);
	if (begin_writing(t)) {
		write_waker(t, object, s);
		end_writing(t);
	}
	self_release_alone(&mask);
}

static bool is_socket(int fd)
{
	struct stat st;
	return os_call(SYS_fstat, fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

enum trace_kind trace_kind_of(enum wait_view view, uintptr_t object)
{
	switch (view) {
	case VIEW_SYNC: return TRACE_SYNC;
	case VIEW_COND: return TRACE_COND;
	case VIEW_NET:
	case VIEW_SEND: return TRACE_NET;
	case VIEW_READ:
	case VIEW_WRITE: return is_socket((int)object) ? TRACE_NET : TRACE_SYSCALL;
	case VIEW_SELECT: return TRACE_SELECT;
	case VIEW_SLEEP: return TRACE_SLEEP;
	case VIEW_SYSCALL: break;
	}
	return TRACE_SYSCALL;
}

static bool is_short(enum wait_view view, uint64_t ns)
{
	switch (view) {
	case VIEW_SYNC:
	case VIEW_COND:
	case VIEW_SLEEP: return false;
	case VIEW_SEND:
	case VIEW_WRITE: return ns < SHORT_SEND_NS;
	default: return ns < SHORT_NS;
	}
}

/* Has a frame of its own, as the stack walk, which goes deeper, is over by now. */
static __attribute__((noinline)) void put_wait(const struct stack *stack, enum wait_view view, unsigned call,
                                               uintptr_t object, uint64_t since_ns, uint64_t end_ns)
{
	struct thread *t = threads_self();
	struct trace_event e = {
		.start_ns = since_ns,
		.end_ns = end_ns,
		.stack = stack,
		.kind = (uint8_t)trace_kind_of(view, object),
		.call = (uint8_t)call,
		.object = object,
	};
	if (object && (view == VIEW_SYNC || view == VIEW_COND) && begin_writing(t)) {
		read_waker(t, &e);
		end_writing(t);
	}
	put(t, &e);
}

void trace_waited(enum wait_view view, unsigned call, uintptr_t object, uint64_t since_ns, uint64_t end_ns,
                  struct unwind_frame from)
{
	uint64_t mask;
	if (!threads_self() || (since_ns && is_short(view, end_ns - since_ns)) || !self_hold_alone(&mask))
		return;
	const struct stack *s = stack_here(waits_function(call), from);
	if (threads_self()) /* a copy of the process that was just noticed may have given its record up */
		put_wait(s, view, call, object, since_ns, end_ns);
	self_release_alone(&mask);
}

void trace_born(struct thread *t, const struct thread_start *start)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	struct trace_event e = {
		.start_ns = now_ns,
		.end_ns = now_ns,
		.stack = threads_site_stack(start->site),
		.kind = TRACE_BORN,
		.created_ns = start->created_ns ? start->created_ns : now_ns,
		.creator_tid = start->creator_tid,
	};
	put(t, &e);
}

void trace_ended(void)
{
	enum { PR_GET_NAME_ = 16 }; /* linux/prctl.h */
	uint64_t mask;
	struct thread *t = threads_self();
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	struct trace_event e = {.start_ns = now_ns, .end_ns = now_ns, .kind = TRACE_ENDED};
	if (!t || !trace_is_on() || !self_hold_alone(&mask))
		return;
	os_call(SYS_prctl, PR_GET_NAME_, e.text);
	put(t, &e);
	shared_store_release(&t->end_told_in, trace.number);
	self_release_alone(&mask);
}

bool trace_end_is_told(const struct thread *t)
{
	return shared_load_acquire(&t->end_told_in) == trace.number;
}

void trace_forget(struct thread *t)
{
	t->chunk_of = 0;
	shared_set_own(&t->is_tracing, 0);
	shared_set_own(&t->end_told_in, 0);
}

void trace_heap(int64_t bytes)
{
	struct thread *t = threads_self();
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	if (!t)
		t = threads_enter_busy();
	if (t)
		put(t, &(struct trace_event){.start_ns = now_ns, .end_ns = now_ns, .kind = TRACE_HEAP, .bytes = bytes});
}

void trace_log(enum trace_category category, const char *text, struct unwind_frame from)
{
	uint64_t mask;
	struct thread *t = threads_self();
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	struct trace_event e = {.start_ns = now_ns, .end_ns = now_ns, .kind = TRACE_LOG, .category = (uint8_t)category};
	if (!t)
		t = threads_enter_self();
	if (!t || !self_hold_alone(&mask))
		return;
	size_t len = strlen(text);
	memcpy(e.text, len < sizeof e.text ? text : text + len - (sizeof e.text - 1),
	       len < sizeof e.text ? len : sizeof e.text - 1);
	e.stack = stack_here(0, from);
	put(t, &e);
	self_release_alone(&mask);
}

void trace_cpu(const struct sample *s)
{
	trace_add(&(struct trace_event){
		.start_ns = s->time_ns,
		.end_ns = s->time_ns,
		.stack = stacks_intern_at(s->pc, s->depth, s->place),
		.tid = s->tid,
		.kind = TRACE_CPU,
	});
}

static void look_for_writer(struct thread *t, void *writers)
{
	*(size_t *)writers += shared_load_seq_cst(&t->is_tracing) != 0;
}

/* Waits until no thread writes any more, at most for CLOSE_MS. */
static bool writers_are_done(void)
{
	for (int ms = 0; ms < CLOSE_MS; ms++) {
		size_t writers = 0;
		threads_each(look_for_writer, &writers);
		if (writers == 0)
			return true;
		os_call(SYS_nanosleep, &(struct timespec){.tv_nsec = 1000000}, NULL);
	}
	return false;
}

static void unmap(void)
{
	if (trace.bytes)
		os_unmap(trace.wakers, trace.bytes);
	trace.bytes = 0;
	trace.stays = false;
}

static void *map_charged(size_t bytes)
{
	if (arena_charge_request(bytes) < 0)
		return NULL;
	void *at = os_map(bytes);
	if (!os_failed(at))
		return at;
	arena_uncharge_request(bytes);
	return NULL;
}

static void begin_in(void *memory, size_t bytes)
{
	trace.bytes = bytes;
	trace.is_free = false;
	trace.wakers = memory;
	trace.chunks = (void *)((char *)memory + WAKERS * sizeof(struct waker));
	trace.count = (bytes - WAKERS * sizeof(struct waker)) / sizeof *trace.chunks;
	shared_set_own(&trace.next, 0);
	trace.own = NULL;
	trace.lost = false;
	shared_set_own(&trace.full_ns, 0);
	trace.number = trace.number + 1 ? trace.number + 1 : 1;
	waits_watch(WAITS_FOR_TRACE, true);
}

int trace_open(void)
{
	size_t bytes = settings.memory_limit / SHARE < BUFFER_MOST ? settings.memory_limit / SHARE : BUFFER_MOST;
	if (trace.stays && !writers_are_done())
		return -EBUSY;
	unmap();
	for (bytes &= ~(size_t)4095; bytes >= BUFFER_LEAST; bytes = (bytes / 2) & ~(size_t)4095) {
		void *at = map_charged(bytes);
		if (!at)
			continue;
		begin_in(at, bytes);
		return 0;
	}
	return -ENOMEM;
}

bool trace_close(void)
{
	waits_watch(WAITS_FOR_TRACE, false);
	trace.stays = !writers_are_done();
	return !trace.stays;
}

/* For a late writer the addresses stay mapped, and only pages that it touches use memory. */
void trace_free(void)
{
	if (!trace.bytes || trace.is_free)
		return;
	trace.is_free = true;
	arena_uncharge_request(trace.bytes);
	if (trace.stays)
		os_call(SYS_madvise, trace.wakers, trace.bytes, MADV_DONTNEED);
	else
		unmap();
}

struct trace_chunk *trace_chunks(size_t *count)
{
	*count = shared_load_relaxed(&trace.next);
	return trace.chunks;
}

uint64_t trace_full_ns(void)
{
	return shared_load_relaxed(&trace.full_ns);
}

FORKED_CODE void trace_fork_child(void)
{
	if (!trace.bytes)
		return;
	waits_watch(WAITS_FOR_TRACE, false);
	trace.stays = house.was_busy; /* a handler that forked may have interrupted a writer */
	trace_free();
	if (!trace.stays)
		unmap();
}
