/* go.c - an execution trace in Go's version 1 format (encoder/FORMATS.md).
 *
 * Runs in: listener. All memory from the request's region.
 *
 * Each thread's life has a G and a P of its own. When a thread creates another or ends its wait, that is a call,
 * written on the P of the thread that makes it. P 0 belongs to no thread; it has the events without a thread.
 *
 *   P 0         Gomaxprocs, GoCreate of the threads that were there, HeapAlloc; at the end frequency, stacks, strings
 *   P 1, 2, …   ProcStart, GoStart, { GoBlock…, GoUnblock, GoStart }, GoEnd or GoPreempt, ProcStop;
 *               a system call is { GoSysCall, GoSysBlock, ProcStop, GoSysExit, ProcStart, GoStart }
 *
 * Readers put the events of all Ps into one order, by their dependencies, and then require that times never decrease.
 * So no event may depend on a later one, nor two events of one time on each other. Therefore a call is written only if
 * its thread was at work just before, and ends a wait only if the wait began earlier. Otherwise the thread wakes
 * itself, or P 0 creates it.
 *
 * Times are in nanoseconds. The trace begins once the threads that were there have started: each starts a few
 * nanoseconds earlier, at a time of its own (Go's newer reader moves events of equal times apart, one by one).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/trace/trace.h"

#include <errno.h>

#include "encoder/bytes/intern.h"
#include "encoder/bytes/sort.h"
#include "encoder/trace/frames.h"
#include "encoder/trace/order.h"
#include "encoder/bytes/utf8.h"
#include "shim/base/pace.h"

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

enum {
	VARINT_MAX = 10,
	STACK_FRAMES_MAX = 128, /* with more, `go tool trace -pprof` of Go 1.26 fails */
	STACK_BYTES_MAX = 2048, /* limit of Go 1.26's reader for the arguments of one event */
	FRAME_BYTES_MAX = 4 * VARINT_MAX,
	OWN_FRAMES_MAX = 1 << 20, /* frames of stacks written once for each of their threads; 14 bytes each */
	STAGE_NS = 4,             /* between the starts of two threads that were there */
};

static const uint8_t block_event[TRACE_WAITS] = {
	[TRACE_SYNC] = GO_BLOCK_SYNC,     [TRACE_COND] = GO_BLOCK_COND, [TRACE_NET] = GO_BLOCK_NET,
	[TRACE_SELECT] = GO_BLOCK_SELECT, [TRACE_SLEEP] = GO_SLEEP,     [TRACE_SYSCALL] = GO_SYS_CALL,
};

/* What another thread, or P 0, does to a life: it creates it or ends its wait. */
struct call {
	uint64_t at_ns;
	uint32_t on_p;
	uint32_t life;
	uint32_t wait; /* index of the wait that ends; CREATES: it creates the life */
};
#define CREATES UINT32_MAX

/* The G of a life. */
struct goroutine {
	uint64_t id;
	uint64_t start; /* ticks */
	const char *label;
};

/* A stack of one thread: its root frame names the thread. */
struct stack_key {
	const struct stack *stack; /* NULL: the root frame alone */
	size_t life;               /* ANY: several threads share it */
};
#define ANY SIZE_MAX

struct writer {
	struct region *region;
	struct out *out;
	const struct trace_snapshot *snapshot;
	struct trace_order order;
	struct trace_frames frames;
	struct intern strings, stacks;     /* id = number + 1 */
	struct stack_key *spare;           /* the next key of stacks */
	size_t own_frames;                 /* number of frames of stacks of one thread */
	struct frame_fields *frame_fields; /* of each frame; zero: not yet */
	struct goroutine *goroutines;      /* one for each life */
	struct call *calls;                /* by P, then by time */
	size_t call_count;
	const struct trace_life *teller; /* whose P has the comments; NULL: P 0 */
	uint64_t zero_ns;                /* ticks + zero_ns = CLOCK_MONOTONIC; it may wrap around */
	uint64_t now;                    /* ticks of the batch's last event */
	bool failed;
};

/* ---- bytes ---- */

static size_t put_varint(uint8_t *to, uint64_t v)
{
	size_t n = 0;
	for (; v >= 0x80; v >>= 7)
		to[n++] = (uint8_t)(v | 0x80);
	to[n++] = (uint8_t)v;
	return n;
}

static void write_varint(struct writer *w, uint64_t v)
{
	uint8_t bytes[VARINT_MAX];
	out_bytes(w->out, bytes, put_varint(bytes, v));
}

static void write_event(struct writer *w, unsigned type, const uint64_t *args, size_t count)
{
	uint8_t bytes[2 + 8 * VARINT_MAX];
	size_t head = count < 4 ? 1 : 2, n = head;
	for (size_t i = 0; i < count; i++)
		n += put_varint(bytes + n, args[i]);
	bytes[0] = (uint8_t)(type | (count < 4 ? count - 1 : 3) << 6);
	if (head == 2)
		bytes[1] = (uint8_t)(n - head);
	out_bytes(w->out, bytes, n);
}

#define EVENT(w, type, ...) \
	write_event((w), (type), (const uint64_t[]){__VA_ARGS__}, \
	            sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static uint64_t tick_of(const struct writer *w, uint64_t ns)
{
	return ns - w->zero_ns;
}

static void begin_batch(struct writer *w, uint64_t p, uint64_t tick)
{
	EVENT(w, GO_BATCH, p, tick);
	w->now = tick;
}

/* The first argument of a timed event. */
static uint64_t delta(struct writer *w, uint64_t tick)
{
	uint64_t passed = tick - w->now;
	w->now = tick;
	return passed;
}

/* ---- ids ---- */

/* Returns the id of a text, which the caller keeps in place; 0: it is empty. */
static uint64_t string_id(struct writer *w, struct span s)
{
	bool is_new;
	int64_t n = s.len ? intern(&w->strings, w->region, s, &is_new) : -1;
	if (n < 0 && s.len)
		w->failed = true;
	return (uint64_t)(n + 1);
}

/* If many threads have many stacks, later stacks lack the frame that names the thread, which bounds the size of the
 * file. */
static struct stack_key make_key(struct writer *w, const struct stack *stack, const struct trace_life *l)
{
	bool is_any = stack && stack->depth && w->own_frames >= OWN_FRAMES_MAX;
	return (struct stack_key){stack, is_any ? ANY : (size_t)(l - w->order.lives)};
}

static uint64_t stack_id(struct writer *w, const struct stack *stack, const struct trace_life *l)
{
	bool is_new = false;
	int64_t n = -1;
	if (!w->spare)
		w->spare = region_alloc(w->region, sizeof *w->spare);
	if (w->spare) {
		*w->spare = make_key(w, stack, l);
		n = intern(&w->stacks, w->region, (struct span){(const char *)w->spare, sizeof *w->spare}, &is_new);
	}
	if (n < 0)
		w->failed = true;
	if (is_new) {
		w->own_frames += w->spare->life != ANY && stack ? stack->depth : 0;
		w->spare = NULL; /* the table keeps it */
	}
	return (uint64_t)(n + 1);
}

static uint32_t p_of(const struct writer *w, const struct trace_life *l)
{
	return (uint32_t)(l - w->order.lives) + 1;
}

static struct goroutine *goroutine_of(const struct writer *w, const struct trace_life *l)
{
	return &w->goroutines[l - w->order.lives];
}

/* Go's M. */
static uint64_t thread_of(const struct trace_life *l)
{
	return l->tid > 0 ? (uint64_t)l->tid : 0;
}

/* Returns the sequence number of a G when its wait number k begins: creation and start count one each, every wait
 * before it two. */
static uint64_t wait_sequence(size_t k)
{
	return 2 + 2 * k;
}

/* "worker [tid 1234]" */
static char *make_label(struct writer *w, const struct trace_life *l)
{
	size_t name = strlen(l->name), room = name + 32;
	char *text = region_alloc(w->region, room);
	struct line line = {text, room, 0};
	if (!text)
		return NULL;
	line_bytes(&line, l->name, name);
	line_str(&line, " [tid ");
	line_dec(&line, l->tid);
	line_str(&line, "]");
	return text;
}

/* A G's id is its thread's tid, unless that is 0, which is no G, or an earlier life has it. */
static int name_goroutines(struct writer *w)
{
	const struct trace_order *o = &w->order;
	uint64_t next =
		o->tid_count && o->tids[o->tid_count - 1].tid > 0 ? (uint64_t)o->tids[o->tid_count - 1].tid + 1 : 1;
	w->goroutines = region_alloc(w->region, o->count * sizeof *w->goroutines + 1);
	if (!w->goroutines)
		return -ENOMEM;
	for (size_t i = 0; i < o->count; i++) {
		const struct trace_life *l = &o->lives[i];
		bool is_first = !i || l[-1].tid != l->tid;
		w->goroutines[i].id = is_first && l->tid > 0 ? (uint64_t)l->tid : next++;
		w->goroutines[i].label = make_label(w, l);
		if (!w->goroutines[i].label)
			return -ENOMEM;
	}
	return 0;
}

/* ---- the stage: what was there when the trace began ---- */

static void set_times(struct writer *w)
{
	uint64_t tick = 1;
	for (size_t i = 0; i < w->order.count; i++)
		if (w->order.lives[i].was_there)
			w->goroutines[i].start = tick += STAGE_NS;
	w->zero_ns = w->order.begin_ns - (tick + STAGE_NS);
	for (size_t i = 0; i < w->order.count; i++)
		if (!w->order.lives[i].was_there)
			w->goroutines[i].start = tick_of(w, w->order.lives[i].start_ns);
}

static void write_creation(struct writer *w, const struct trace_life *l, uint64_t tick, uint64_t stack)
{
	uint64_t start_stack = stack_id(w, NULL, l); /* the G is named after its root frame */
	EVENT(w, GO_CREATE, delta(w, tick), goroutine_of(w, l)->id, start_stack, stack);
}

/* ---- calls ---- */

/* Returns the thread that ended a wait, if the file can say so. (A system call must end by itself, or readers do not
 * count it as one.) */
static const struct trace_life *waker_of(const struct writer *w, const struct trace_item *wait)
{
	const struct trace_event *e = wait->event;
	if (!e || e->kind == TRACE_SYSCALL || wait->end_ns == TRACE_LASTS || !e->other_tid)
		return NULL;
	if (e->woken_ns <= wait->start_ns || e->woken_ns > wait->end_ns)
		return NULL;
	return trace_order_at_work(&w->order, e->other_tid, e->woken_ns);
}

static struct call birth_of(const struct writer *w, const struct trace_life *l)
{
	const struct trace_event *e = l->born;
	const struct trace_life *creator = NULL;
	uint64_t at = l->start_ns;
	if (e && e->created_ns >= w->order.begin_ns && e->created_ns <= l->start_ns) {
		at = e->created_ns;
		creator = trace_order_at_work(&w->order, e->creator_tid, at);
	}
	return (struct call){at, creator ? p_of(w, creator) : 0, (uint32_t)(l - w->order.lives), CREATES};
}

static void add_calls_to(struct writer *w, const struct trace_life *l, struct call *list)
{
	if (!l->was_there)
		list[w->call_count++] = birth_of(w, l);
	for (size_t k = 0; k < l->wait_count; k++) {
		const struct trace_life *waker = waker_of(w, &l->waits[k]);
		if (waker)
			list[w->call_count++] = (struct call){l->waits[k].event->woken_ns, p_of(w, waker),
			                                      (uint32_t)(l - w->order.lives), (uint32_t)k};
	}
}

static size_t count_calls(const struct writer *w)
{
	size_t count = w->order.count; /* births */
	for (size_t i = 0; i < w->order.count; i++)
		for (size_t k = 0; k < w->order.lives[i].wait_count; k++)
			count += waker_of(w, &w->order.lives[i].waits[k]) != NULL;
	return count;
}

static bool call_before(const void *first, const void *second)
{
	const struct call *a = first, *b = second;
	if (a->on_p != b->on_p)
		return a->on_p < b->on_p;
	if (a->at_ns != b->at_ns)
		return a->at_ns < b->at_ns;
	return a->life != b->life ? a->life < b->life : a->wait < b->wait;
}

static int find_calls(struct writer *w)
{
	w->calls = region_alloc(w->region, count_calls(w) * sizeof *w->calls + 1);
	if (!w->calls)
		return -ENOMEM;
	for (size_t i = 0; i < w->order.count; i++)
		add_calls_to(w, &w->order.lives[i], w->calls);
	sort_items(w->calls, w->call_count, sizeof *w->calls, call_before);
	return 0;
}

/* Write the call of `by`; NULL: of no thread, on P 0. */
static void write_call(struct writer *w, const struct call *c, const struct trace_life *by)
{
	const struct trace_life *l = &w->order.lives[c->life];
	uint64_t tick = tick_of(w, c->at_ns);
	if (c->wait == CREATES) {
		write_creation(w, l, tick, by ? stack_id(w, l->born->stack, by) : 0);
		return;
	}
	uint64_t stack = stack_id(w, l->waits[c->wait].event->woken_by, by);
	EVENT(w, GO_UNBLOCK, delta(w, tick), goroutine_of(w, l)->id, wait_sequence(c->wait), stack);
}

/* ---- logs ---- */

static void write_log(struct writer *w, uint64_t tick, const char *category, uint64_t stack, struct span text)
{
	EVENT(w, GO_USER_LOG, delta(w, tick), 0, string_id(w, span_of(category)), stack);
	write_varint(w, text.len);
	out_span(w->out, text);
}

static void write_log_event(struct writer *w, const struct trace_life *l, const struct trace_event *e, uint64_t tick)
{
	const char *end = memchr(e->text, 0, sizeof e->text), *category = trace_log_category(e->category);
	struct span raw = {e->text, end ? (size_t)(end - e->text) : sizeof e->text};
	char *text = utf8_line(w->region, raw);
	if (!text)
		w->failed = true;
	else
		write_log(w, tick, category ? category : "log", stack_id(w, e->stack, l), (struct span){text, raw.len});
}

/* Write the comments (losses, say) at the end, on the P of a thread at work then: a viewer shows no others. */
static void write_comments(struct writer *w, const struct trace_life *teller, uint64_t tick)
{
	if (w->teller != teller)
		return;
	for (size_t i = 0; i < w->snapshot->comment_count; i++) {
		struct span raw = span_of(w->snapshot->comments[i]);
		char *text = utf8_line(w->region, raw);
		if (!text)
			w->failed = true;
		else
			write_log(w, tick, "pprofshim", teller ? stack_id(w, NULL, teller) : 0,
			          (struct span){text, raw.len});
	}
}

static bool is_at_work_at_the_end(const struct trace_life *l)
{
	return !l->has_ended && (!l->wait_count || l->waits[l->wait_count - 1].end_ns != TRACE_LASTS);
}

/* If no thread is at work at the end, the first thread has the comments when it starts. */
static void choose_teller(struct writer *w)
{
	w->teller = w->order.count ? w->order.lives : NULL;
	for (size_t i = w->order.count; i-- > 0;)
		if (is_at_work_at_the_end(&w->order.lives[i]))
			w->teller = &w->order.lives[i];
}

static bool is_lock_call(const char *call)
{
	return span_starts(span_of(call), "pthread_mutex_") || span_starts(span_of(call), "pthread_rwlock_");
}

static void print_milliseconds(struct line *l, uint64_t ns)
{
	uint64_t us = ns / 1000 % 1000;
	line_dec(l, (int64_t)(ns / 1000000));
	line_str(l, us < 10 ? ".00" : us < 100 ? ".0" : ".");
	line_dec(l, (int64_t)us);
	line_str(l, " ms");
}

/* "pthread_mutex_lock 0x55d0 1.234 ms, let go by worker [1234]" */
static void write_contention(struct writer *w, const struct trace_life *l, const struct trace_item *wait)
{
	const struct trace_event *e = wait->event;
	const char *call = e && e->kind == TRACE_SYNC ? trace_call_name(e->call) : NULL;
	if (!call || !e->object || !is_lock_call(call))
		return;
	char text[256];
	struct line line = LINE(text);
	line_str(&line, call);
	line_str(&line, " 0x");
	line_hex(&line, e->object);
	line_str(&line, " ");
	print_milliseconds(&line,
	                   wait->end_ns - (e->start_ns && e->start_ns < wait->start_ns ? e->start_ns : wait->start_ns));
	const struct trace_life *by = e->other_tid ? trace_order_alive(&w->order, e->other_tid, e->woken_ns) : NULL;
	if (by) {
		line_str(&line, ", let go by ");
		line_str(&line, by->name);
		line_str(&line, " [");
		line_dec(&line, by->tid);
		line_str(&line, "]");
	}
	write_log(w, w->now, "contention", stack_id(w, e->stack, l), (struct span){line.at, line.len});
}

/* ---- a life ---- */

/* How far a life has been written. */
struct turn {
	const struct trace_life *life;
	const struct call *call, *calls_end; /* the calls that it makes */
	const struct trace_item *point, *points_end;
};

static bool begins_syscall(const struct trace_life *l, uint64_t ns)
{
	const struct trace_item *w = trace_life_next_wait(l, ns);
	for (; w < l->waits + l->wait_count && w->start_ns == ns; w++)
		if (w->event && w->event->kind == TRACE_SYSCALL)
			return true;
	return false;
}

/* Readers treat samples as a batch of their own. A sample must not have the time at which its G is created, nor lie
 * between the two events that begin a system call. If so, move it by 1 or 2 ns; false: there is no room. */
static bool find_sample_time(const struct writer *w, const struct trace_life *l, uint64_t *ns)
{
	static const int moves[] = {0, -1, 1, 2};
	for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
		uint64_t at = *ns + (uint64_t)moves[i];
		if (tick_of(w, at) > goroutine_of(w, l)->start && !begins_syscall(l, at)) {
			*ns = at;
			return true;
		}
	}
	return false;
}

static void write_sample(struct writer *w, const struct trace_life *l, const struct trace_item *point)
{
	uint64_t ns = point->start_ns;
	if (find_sample_time(w, l, &ns))
		EVENT(w, GO_CPU_SAMPLE, 0, tick_of(w, ns), p_of(w, l), goroutine_of(w, l)->id,
		      stack_id(w, point->event->stack, l));
}

/* Write the remaining calls and points up to the wait (NULL: up to the end of the life), and the points within it:
 * its logs at its beginning, as only a thread at work can log. */
static void write_work(struct writer *w, struct turn *t, const struct trace_item *wait)
{
	uint64_t work_ns = wait ? wait->start_ns : UINT64_MAX, until_ns = wait ? wait->end_ns : UINT64_MAX;
	for (;;) {
		bool has_call = t->call < t->calls_end && t->call->at_ns <= work_ns;
		bool has_point =
			t->point < t->points_end && (t->point->start_ns <= work_ns || t->point->start_ns < until_ns);
		if (has_call && (!has_point || t->call->at_ns <= t->point->start_ns)) {
			write_call(w, t->call++, t->life);
			continue;
		}
		if (!has_point)
			return;
		const struct trace_item *p = t->point++;
		if (p->event->kind == TRACE_CPU)
			write_sample(w, t->life, p);
		else if (p->event->kind == TRACE_LOG)
			write_log_event(w, t->life, p->event,
			                tick_of(w, p->start_ns < work_ns ? p->start_ns : work_ns));
	}
}

static void write_wait(struct writer *w, const struct trace_life *l, size_t k)
{
	const struct trace_item *wait = &l->waits[k];
	const struct trace_event *e = wait->event;
	uint64_t g = goroutine_of(w, l)->id, end = tick_of(w, wait->end_ns);
	uint64_t stack = stack_id(w, e ? e->stack : NULL, l);
	bool is_syscall = e && e->kind == TRACE_SYSCALL;
	EVENT(w, e ? block_event[e->kind] : GO_BLOCK, delta(w, tick_of(w, wait->start_ns)), stack);
	if (is_syscall) {
		EVENT(w, GO_SYS_BLOCK, 0);
		EVENT(w, GO_PROC_STOP, 0); /* Go takes the P away; its viewer (1.26) fails if the P is still there */
	}
	if (wait->end_ns == TRACE_LASTS)
		return;
	if (waker_of(w, wait)) {
		EVENT(w, GO_START, delta(w, end), g, wait_sequence(k) + 1);
	} else {
		if (is_syscall) {
			EVENT(w, GO_SYS_EXIT, delta(w, end), g, wait_sequence(k), 0);
			EVENT(w, GO_PROC_START, 0, thread_of(l));
		} else {
			EVENT(w, GO_UNBLOCK_LOCAL, delta(w, end), g, stack);
		}
		EVENT(w, GO_START_LOCAL, 0, g);
	}
	write_contention(w, l, wait);
}

static void write_start(struct writer *w, const struct trace_life *l)
{
	const struct goroutine *g = goroutine_of(w, l);
	uint64_t p_start = g->start - l->was_there;
	begin_batch(w, p_of(w, l), p_start);
	EVENT(w, GO_PROC_START, 0, thread_of(l));
	EVENT(w, GO_START_LOCAL, delta(w, g->start), g->id);
	if (!is_at_work_at_the_end(l))
		write_comments(w, l, w->now);
}

static bool lasts_in_syscall(const struct trace_life *l)
{
	const struct trace_item *last = l->wait_count ? &l->waits[l->wait_count - 1] : NULL;
	return last && last->end_ns == TRACE_LASTS && last->event && last->event->kind == TRACE_SYSCALL;
}

/* Stop a thread that is at work at the end, as Go does: its viewer (1.19) fails at a start that nothing follows. */
static void write_finish(struct writer *w, const struct trace_life *l)
{
	uint64_t end = tick_of(w, l->end_ns);
	if (l->has_ended) {
		EVENT(w, GO_END, delta(w, end));
	} else if (is_at_work_at_the_end(l)) {
		write_comments(w, l, end);
		EVENT(w, GO_PREEMPT, delta(w, end), stack_id(w, NULL, l));
	} else if (lasts_in_syscall(l)) {
		return; /* its P has stopped */
	}
	EVENT(w, GO_PROC_STOP, 0);
}

static void write_life(struct writer *w, const struct trace_life *l, const struct call **call)
{
	struct turn t = {.life = l,
	                 .call = *call,
	                 .calls_end = *call,
	                 .point = l->points,
	                 .points_end = l->points + l->point_count};
	while (t.calls_end < w->calls + w->call_count && t.calls_end->on_p == p_of(w, l))
		t.calls_end++;
	*call = t.calls_end;
	write_start(w, l);
	for (size_t k = 0; k < l->wait_count; k++) {
		write_work(w, &t, &l->waits[k]);
		write_wait(w, l, k);
	}
	write_work(w, &t, NULL);
	write_finish(w, l);
}

/* ---- P 0 ---- */

static void write_heap(struct writer *w, uint64_t ns, uint64_t in_use)
{
	EVENT(w, GO_HEAP_ALLOC, delta(w, tick_of(w, ns)), in_use);
}

static void write_stage(struct writer *w)
{
	begin_batch(w, 0, 1);
	EVENT(w, GO_GOMAXPROCS, 0, w->order.count + 1, 0);
	for (size_t i = 0; i < w->order.count; i++)
		if (w->order.lives[i].was_there)
			write_creation(w, &w->order.lives[i], w->goroutines[i].start, 0);
}

/* Write the threads that were there, births without a known creator, and the heap. */
static void write_nobody(struct writer *w, const struct call **call)
{
	const struct call *c = w->calls, *calls_end = w->calls + w->call_count;
	size_t count, i = 0;
	const struct trace_item **heap = trace_order_heap(&w->order, w->region, &count);
	uint64_t in_use = w->snapshot->in_use_bytes;
	if (!heap) {
		w->failed = true;
		return;
	}
	write_stage(w);
	write_heap(w, w->order.begin_ns, in_use);
	while (i < count || (c < calls_end && !c->on_p)) {
		if (i == count || (c < calls_end && !c->on_p && c->at_ns <= heap[i]->start_ns)) {
			write_call(w, c++, NULL);
			continue;
		}
		in_use = trace_heap_after(in_use, heap[i]->event);
		write_heap(w, heap[i++]->start_ns, in_use);
	}
	write_heap(w, w->order.end_ns, in_use); /* else the counter would seem to end at the last change */
	*call = c;
	write_comments(w, NULL, tick_of(w, w->order.end_ns));
}

/* ---- what all refer to ---- */

/* Readers identify a frame by its pc, so a frame at the same address in another object gets a pc of its own. The pc of
 * a root frame is the number of its P. */
static uint64_t pc_of(const struct writer *w, size_t frame)
{
	const struct trace_frame *f = &w->frames.frames[frame];
	return f->is_other || f->address <= w->order.count ? UINT64_C(1) << 62 | frame : f->address;
}

/* A frame as it is written: texts by their numbers; 0: not known. */
struct frame_fields {
	uint64_t pc, function, file, line;
};

static size_t put_frame(uint8_t *to, const struct frame_fields *f)
{
	size_t n = put_varint(to, f->pc);
	n += put_varint(to + n, f->function);
	n += put_varint(to + n, f->file);
	return n + put_varint(to + n, f->line);
}

/* Strings get their numbers when they are first used. */
static const struct frame_fields *fields_of(struct writer *w, size_t frame)
{
	struct frame_fields *fields = &w->frame_fields[frame];
	const struct trace_frame *f = &w->frames.frames[frame];
	if (!fields->function)
		*fields = (struct frame_fields){pc_of(w, frame), string_id(w, f->function),
		                                f->file.len ? string_id(w, f->file) : 0, f->line};
	return fields;
}

/* Write the frames from the leaf on, as many as readers accept, and the root frame. */
static void write_stack(struct writer *w, uint64_t id, const struct stack_key *key)
{
	uint8_t bytes[STACK_BYTES_MAX], head[2 * VARINT_MAX];
	size_t n = 0, count = 0, depth = key->stack ? key->stack->depth : 0;
	for (; count < depth && count < STACK_FRAMES_MAX - 1 && n + 2 * FRAME_BYTES_MAX + sizeof head < sizeof bytes;
	     count++) {
		size_t frame = trace_frames_number(&w->frames, key->stack, count);
		n += put_frame(bytes + n, fields_of(w, frame));
	}
	if (key->life != ANY) {
		struct frame_fields root = {.pc = key->life + 1,
		                            .function = string_id(w, span_of(w->goroutines[key->life].label))};
		n += put_frame(bytes + n, &root);
		count++;
	}
	size_t head_len = put_varint(head, id);
	head_len += put_varint(head + head_len, count);
	out_bytes(w->out, &(uint8_t){GO_STACK | 3 << 6}, 1);
	write_varint(w, head_len + n);
	out_bytes(w->out, head, head_len);
	out_bytes(w->out, bytes, n);
}

/* Returns the keys of a table in the order of their numbers; NULL: no memory. */
static struct span *keys_of(struct writer *w, const struct intern *t)
{
	struct span *keys = region_alloc(w->region, t->count * sizeof *keys + 1);
	for (size_t i = 0; keys && i < t->cap; i++)
		if (t->entry[i].number_plus_1)
			keys[t->entry[i].number_plus_1 - 1] = t->entry[i].key;
	if (!keys)
		w->failed = true;
	return keys;
}

static void write_strings(struct writer *w)
{
	struct span *keys = keys_of(w, &w->strings);
	for (size_t i = 0; keys && i < w->strings.count; i++) {
		out_bytes(w->out, &(uint8_t){GO_STRING}, 1);
		write_varint(w, i + 1);
		write_varint(w, keys[i].len);
		out_span(w->out, keys[i]);
	}
}

static void write_tables(struct writer *w)
{
	begin_batch(w, 0, tick_of(w, w->order.end_ns));
	EVENT(w, GO_FREQUENCY, 1000000000);
	struct span *keys = keys_of(w, &w->stacks);
	for (size_t i = 0; keys && i < w->stacks.count; i++)
		write_stack(w, i + 1, (const struct stack_key *)(const void *)keys[i].at);
	write_strings(w);
}

/* Returns 0, -ENOMEM or -EAGAIN. */
static int prepare(struct writer *w, struct patience *patience)
{
	int rc = trace_frames_make(&w->frames, w->region, w->snapshot, patience);
	if (rc < 0)
		return rc;
	w->frame_fields = region_alloc(w->region, w->frames.places.count * sizeof *w->frame_fields + 1);
	if (!w->frame_fields || trace_order_make(&w->order, w->region, w->snapshot) < 0 || name_goroutines(w) < 0)
		return -ENOMEM;
	set_times(w);
	choose_teller(w);
	return find_calls(w);
}

int trace_encode_go(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *patience)
{
	struct writer *w = region_alloc(r, sizeof *w);
	const struct call *call = NULL;
	if (!w)
		return -ENOMEM;
	*w = (struct writer){.region = r, .out = o, .snapshot = s};
	int rc = prepare(w, patience);
	if (rc < 0)
		return rc;
	out_bytes(o, "go 1.19 trace\0\0\0", 16);
	write_nobody(w, &call);
	for (size_t i = 0; i < w->order.count && !w->failed && !o->failed && !pace(); i++)
		write_life(w, &w->order.lives[i], &call);
	write_tables(w);
	return w->failed || o->failed ? -ENOMEM : 0;
}
