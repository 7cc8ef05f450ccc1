/* perfetto.c - an execution trace for ui.perfetto.dev: a protobuf of TracePackets (encoder/FORMATS.md; the field
 * numbers are those of perfetto's public protos/perfetto/trace).
 *
 * Runs in: listener. All memory from the request's region.
 *
 * Each thread's life has a track and a packet sequence of its own, with times in order. Waits are slices, everything
 * else is an instant. Another sequence has the clocks, the process, the heap as a counter, and the losses. A stack is
 * a callstack, and for older readers the text of its functions, the leaf first. It is sent once for each thread, as
 * interned data belongs to one sequence.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/trace/trace.h"

#include <errno.h>

#include "encoder/bytes/intern.h"
#include "encoder/bytes/protobuf.h"
#include "encoder/bytes/utf8.h"
#include "encoder/trace/frames.h"
#include "encoder/trace/order.h"
#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"

enum { /* the numbers of fields */
       TRACE_PACKET = 1,

       PACKET_CLOCK_SNAPSHOT = 6,
       PACKET_TIMESTAMP = 8,
       PACKET_SEQUENCE_ID = 10,
       PACKET_TRACK_EVENT = 11,
       PACKET_INTERNED_DATA = 12,
       PACKET_SEQUENCE_FLAGS = 13,
       PACKET_CLOCK_ID = 58,
       PACKET_TRACK_DESCRIPTOR = 60,

       SNAPSHOT_CLOCKS = 1,
       SNAPSHOT_PRIMARY = 2,
       CLOCK_ID = 1,
       CLOCK_TIMESTAMP = 2,

       TRACK_UUID = 1,
       TRACK_NAME = 2,
       TRACK_PROCESS = 3,
       TRACK_THREAD = 4,
       TRACK_PARENT = 5,
       TRACK_COUNTER = 8,
       PROCESS_PID = 1,
       PROCESS_NAME = 6,
       THREAD_PID = 1,
       THREAD_TID = 2,
       THREAD_NAME = 5,
       COUNTER_UNIT = 3,

       EVENT_ANNOTATIONS = 4,
       EVENT_TYPE = 9,
       EVENT_TRACK = 11,
       EVENT_CATEGORIES = 22,
       EVENT_NAME = 23,
       EVENT_COUNTER_VALUE = 30,
       EVENT_CALLSTACK_IID = 56,

       ANNOTATION_UINT = 3,
       ANNOTATION_STRING = 6,
       ANNOTATION_POINTER = 7,
       ANNOTATION_NAME = 10,
       ANNOTATION_STRING_IID = 17,

       INTERNED_FUNCTION_NAMES = 5,
       INTERNED_FRAMES = 6,
       INTERNED_CALLSTACKS = 7,
       INTERNED_MAPPINGS = 19,
       INTERNED_ANNOTATION_STRINGS = 29,
       INTERNED_IID = 1, /* of all of these */
       INTERNED_STR = 2,
       FRAME_FUNCTION = 2,
       FRAME_MAPPING = 3,
       FRAME_ADDRESS = 4,
       CALLSTACK_FRAMES = 2,
};

enum { /* values */
       PERFETTO_REALTIME = 1,
       PERFETTO_MONOTONIC = 3,
       PERFETTO_BOOTTIME = 6,
       UNIT_BYTES = 3,
       STATE_CLEARED = 1, /* sequence flags: the first packet */
       STATE_NEEDED = 2,
       TYPE_BEGIN = 1,
       TYPE_END = 2,
       TYPE_INSTANT = 3,
       TYPE_COUNTER = 4,
};

enum {
	STACK_TEXT_MAX = 4096,
	STACK_TEXTS_MAX = 16 << 20, /* bytes of all stacks; later ones are left out */
	NAME_MAX_BYTES = 256,       /* of an event; the name of a function may be longer */
	PROCESS_TRACK = 1,
	HEAP_TRACK = 2,
	LIVES_TRACK = 3, /* and the following ones: threads */
	SHARED_SEQUENCE = 1,
	LIVES_SEQUENCE = 2, /* and the following ones: threads */
	ONLY_MAPPING = 1,   /* readers want a mapping of each frame: names are known, so one without bounds will do */
};

static const char *const wait_category[TRACE_WAITS] = {
	[TRACE_SYNC] = "sync",     [TRACE_COND] = "cond",   [TRACE_NET] = "net",
	[TRACE_SELECT] = "select", [TRACE_SLEEP] = "sleep", [TRACE_SYSCALL] = "syscall",
};

/* A stack of a life, or a frame of one. */
struct life_key {
	const void *thing;
	size_t life;
};

struct writer {
	struct region *region;
	struct out *out;
	const struct trace_snapshot *snapshot;
	struct trace_order order;
	struct trace_frames frames;
	struct intern stacks, stack_frames; /* iid = number + 1 */
	struct life_key *spare;             /* the next key of these */
	const struct trace_life *mapped;    /* the last life whose sequence has the mapping */
	size_t stack_texts;                 /* bytes */
	uint64_t pid;
	struct message event, part, interned, packet, head;
	bool failed;
};

/* ---- packets ---- */

static uint64_t sequence_of(const struct writer *w, const struct trace_life *l)
{
	return l ? LIVES_SEQUENCE + (uint64_t)(l - w->order.lives) : SHARED_SEQUENCE;
}

static uint64_t track_of(const struct writer *w, const struct trace_life *l)
{
	return l ? LIVES_TRACK + (uint64_t)(l - w->order.lives) : PROCESS_TRACK;
}

/* Write the packet, whose content is ready, to the sequence of a life, or to the shared one. */
static void write_packet(struct writer *w, const struct trace_life *l, uint64_t flags)
{
	message_uint(&w->packet, PACKET_SEQUENCE_ID, sequence_of(w, l));
	message_uint(&w->packet, PACKET_SEQUENCE_FLAGS, flags);
	message_head(&w->head, TRACE_PACKET, w->packet.len);
	out_bytes(w->out, w->head.at, w->head.len);
	out_bytes(w->out, w->packet.at, w->packet.len);
	w->failed |= w->head.failed || w->packet.failed;
	w->head.len = w->packet.len = 0;
}

/* Write the event and the interned data that it needs. */
static void write_event(struct writer *w, const struct trace_life *l, uint64_t ns)
{
	message_uint(&w->packet, PACKET_TIMESTAMP, ns);
	message_uint(&w->packet, PACKET_CLOCK_ID, PERFETTO_MONOTONIC);
	message_part(&w->packet, PACKET_TRACK_EVENT, &w->event);
	if (w->interned.len)
		message_part(&w->packet, PACKET_INTERNED_DATA, &w->interned);
	write_packet(w, l, STATE_NEEDED);
}

static struct span at_most(struct span s, size_t bytes)
{
	if (s.len > bytes)
		for (s.len = bytes; s.len && ((unsigned char)s.at[s.len] & 0xc0) == 0x80;) /* whole characters */
			s.len--;
	return s;
}

/* ---- the parts of an event ---- */

static void put_head(struct writer *w, uint64_t track, unsigned type, const char *category, struct span name)
{
	message_uint(&w->event, EVENT_TYPE, type);
	message_uint(&w->event, EVENT_TRACK, track);
	if (category)
		message_str(&w->event, EVENT_CATEGORIES, category);
	if (name.len)
		message_bytes(&w->event, EVENT_NAME, at_most(name, NAME_MAX_BYTES));
}

static void put_object(struct writer *w, const struct trace_event *e)
{
	if (!e->object)
		return;
	message_str(&w->part, ANNOTATION_NAME, "object");
	message_uint(&w->part, e->kind == TRACE_SYNC || e->kind == TRACE_COND ? ANNOTATION_POINTER : ANNOTATION_UINT,
	             e->object);
	message_part(&w->event, EVENT_ANNOTATIONS, &w->part);
}

/* "worker [1234]" */
static void put_thread(struct writer *w, const char *name, int tid, uint64_t ns)
{
	char text[320];
	struct line line = LINE(text);
	const struct trace_life *l = tid ? trace_order_alive(&w->order, tid, ns) : NULL;
	if (!tid)
		return;
	line_str(&line, l ? l->name : "thread");
	line_str(&line, " [");
	line_dec(&line, tid);
	line_str(&line, "]");
	message_str(&w->part, ANNOTATION_NAME, name);
	message_str(&w->part, ANNOTATION_STRING, text);
	message_part(&w->event, EVENT_ANNOTATIONS, &w->part);
}

/* "pthread_mutex_lock < work < main" */
static void intern_text(struct writer *w, uint64_t iid, const struct stack *stack)
{
	char text[STACK_TEXT_MAX];
	struct span at = {text, 0};
	for (size_t i = 0; i < stack->depth; i++) {
		struct span function = w->frames.frames[trace_frames_number(&w->frames, stack, i)].function;
		if (at.len + 3 + function.len > sizeof text)
			break;
		if (i)
			memcpy(text + at.len, " < ", 3), at.len += 3;
		memcpy(text + at.len, function.at, function.len);
		at.len += function.len;
	}
	w->stack_texts += at.len;
	message_uint(&w->part, INTERNED_IID, iid);
	message_bytes(&w->part, INTERNED_STR, at);
	message_part(&w->interned, INTERNED_ANNOTATION_STRINGS, &w->part);
}

/* Returns the iid of a thing in the sequence of a life; 0: no memory. */
static uint64_t iid_of(struct writer *w, struct intern *t, const void *thing, const struct trace_life *l, bool *is_new)
{
	int64_t n = -1;
	*is_new = false;
	if (!w->spare)
		w->spare = region_alloc(w->region, sizeof *w->spare);
	if (w->spare) {
		*w->spare = (struct life_key){thing, (size_t)(l - w->order.lives)};
		n = intern(t, w->region, (struct span){(const char *)w->spare, sizeof *w->spare}, is_new);
	}
	if (n < 0)
		w->failed = true;
	if (*is_new)
		w->spare = NULL; /* the table keeps it */
	return (uint64_t)(n + 1);
}

static uint64_t intern_frame(struct writer *w, const struct trace_life *l, const struct trace_frame *frame)
{
	bool is_new;
	uint64_t iid = iid_of(w, &w->stack_frames, frame, l, &is_new);
	if (!is_new)
		return iid;
	message_uint(&w->part, INTERNED_IID, iid);
	message_bytes(&w->part, INTERNED_STR, frame->function);
	message_part(&w->interned, INTERNED_FUNCTION_NAMES, &w->part);
	message_uint(&w->part, INTERNED_IID, iid);
	message_uint(&w->part, FRAME_FUNCTION, iid);
	message_uint(&w->part, FRAME_MAPPING, ONLY_MAPPING);
	message_uint(&w->part, FRAME_ADDRESS, frame->address);
	message_part(&w->interned, INTERNED_FRAMES, &w->part);
	return iid;
}

/* The outermost frame comes first. Readers know the list of frames as separate numbers alone, not packed. */
static void intern_callstack(struct writer *w, const struct trace_life *l, uint64_t iid, const struct stack *stack)
{
	uint64_t frames[stack->depth];
	if (w->mapped != l) {
		message_uint(&w->part, INTERNED_IID, ONLY_MAPPING);
		message_part(&w->interned, INTERNED_MAPPINGS, &w->part);
		w->mapped = l;
	}
	for (size_t i = 0; i < stack->depth; i++)
		frames[i] = intern_frame(w, l, &w->frames.frames[trace_frames_number(&w->frames, stack, i)]);
	message_uint(&w->part, INTERNED_IID, iid);
	for (size_t i = stack->depth; i-- > 0;)
		message_uint(&w->part, CALLSTACK_FRAMES, frames[i]);
	message_part(&w->interned, INTERNED_CALLSTACKS, &w->part);
}

static void put_stack(struct writer *w, const struct trace_life *l, const struct stack *stack)
{
	bool is_new;
	if (!stack || !stack->depth || w->stack_texts >= STACK_TEXTS_MAX)
		return;
	uint64_t iid = iid_of(w, &w->stacks, stack, l, &is_new);
	if (!iid)
		return;
	if (is_new) {
		intern_text(w, iid, stack);
		intern_callstack(w, l, iid, stack);
	}
	message_str(&w->part, ANNOTATION_NAME, "stack");
	message_uint(&w->part, ANNOTATION_STRING_IID, iid);
	message_part(&w->event, EVENT_ANNOTATIONS, &w->part);
	message_uint(&w->event, EVENT_CALLSTACK_IID, iid);
}

/* ---- a thread ---- */

static void write_track(struct writer *w, const struct trace_life *l)
{
	struct message *m = &w->event;
	message_uint(&w->part, THREAD_PID, w->pid);
	message_uint(&w->part, THREAD_TID, l->tid > 0 ? (uint64_t)l->tid : 0);
	message_str(&w->part, THREAD_NAME, l->name);
	message_uint(m, TRACK_UUID, track_of(w, l));
	message_part(m, TRACK_THREAD, &w->part);
	message_part(&w->packet, PACKET_TRACK_DESCRIPTOR, m);
	write_packet(w, l, STATE_CLEARED);
}

static void write_begin(struct writer *w, const struct trace_life *l, const struct trace_item *wait)
{
	const struct trace_event *e = wait->event;
	const char *call = e ? trace_call_name(e->call) : NULL;
	put_head(w, track_of(w, l), TYPE_BEGIN, e ? wait_category[e->kind] : NULL, span_of(call ? call : "blocked"));
	if (e) {
		put_object(w, e);
		put_thread(w, "woken by", e->other_tid, e->woken_ns);
		put_stack(w, l, e->stack);
	}
	write_event(w, l, wait->start_ns);
}

/* End a slice. A wait that is not over ends with the trace, as slices need both a begin and an end. */
static void write_end(struct writer *w, const struct trace_life *l, const struct trace_item *wait)
{
	put_head(w, track_of(w, l), TYPE_END, NULL, SPAN(""));
	write_event(w, l, wait->end_ns == TRACE_LASTS ? w->order.end_ns : wait->end_ns);
}

static void write_sample(struct writer *w, const struct trace_life *l, const struct trace_item *point)
{
	const struct stack *stack = point->event->stack;
	struct span leaf = SPAN("CPU sample");
	if (stack && stack->depth)
		leaf = w->frames.frames[trace_frames_number(&w->frames, stack, 0)].function;
	put_head(w, track_of(w, l), TYPE_INSTANT, "cpu", leaf);
	put_stack(w, l, stack);
	write_event(w, l, point->start_ns);
}

static void write_log(struct writer *w, const struct trace_life *l, const struct trace_item *point)
{
	const struct trace_event *e = point->event;
	const char *end = memchr(e->text, 0, sizeof e->text), *category = trace_log_category(e->category);
	struct span raw = {e->text, end ? (size_t)(end - e->text) : sizeof e->text};
	char *text = utf8_line(w->region, raw);
	if (!text) {
		w->failed = true;
		return;
	}
	put_head(w, track_of(w, l), TYPE_INSTANT, category ? category : "log", (struct span){text, raw.len});
	put_stack(w, l, e->stack);
	write_event(w, l, point->start_ns);
}

static void write_point(struct writer *w, const struct trace_life *l, const struct trace_item *point)
{
	if (point->event->kind == TRACE_CPU)
		write_sample(w, l, point);
	else if (point->event->kind == TRACE_LOG)
		write_log(w, l, point);
}

static void write_birth(struct writer *w, const struct trace_life *l)
{
	if (l->was_there)
		return;
	put_head(w, track_of(w, l), TYPE_INSTANT, "thread", SPAN("begins"));
	if (l->born) {
		put_thread(w, "created by", l->born->creator_tid, l->born->created_ns);
		put_stack(w, l, l->born->stack);
	}
	write_event(w, l, l->start_ns);
}

static void write_death(struct writer *w, const struct trace_life *l)
{
	if (!l->has_ended)
		return;
	put_head(w, track_of(w, l), TYPE_INSTANT, "thread", SPAN("ends"));
	write_event(w, l, l->end_ns);
}

static void write_life(struct writer *w, const struct trace_life *l)
{
	const struct trace_item *p = l->points, *points_end = p + l->point_count;
	write_track(w, l);
	write_birth(w, l);
	for (const struct trace_item *wait = l->waits; wait < l->waits + l->wait_count; wait++) {
		for (; p < points_end && p->start_ns <= wait->start_ns; p++)
			write_point(w, l, p);
		write_begin(w, l, wait);
		for (; p < points_end && p->start_ns < wait->end_ns; p++)
			write_point(w, l, p);
		write_end(w, l, wait);
	}
	for (; p < points_end; p++)
		write_point(w, l, p);
	write_death(w, l);
}

/* ---- what is not a thread's ---- */

static void put_clock(struct writer *w, unsigned id, int clock)
{
	message_uint(&w->part, CLOCK_ID, id);
	message_uint(&w->part, CLOCK_TIMESTAMP, os_clock_ns(clock));
	message_part(&w->event, SNAPSHOT_CLOCKS, &w->part);
}

/* Write all clocks at one moment, so that the viewer can show the time of day. */
static void write_clocks(struct writer *w)
{
	put_clock(w, PERFETTO_MONOTONIC, CLOCK_MONOTONIC);
	put_clock(w, PERFETTO_BOOTTIME, CLOCK_BOOTTIME);
	put_clock(w, PERFETTO_REALTIME, CLOCK_REALTIME);
	message_uint(&w->event, SNAPSHOT_PRIMARY, PERFETTO_MONOTONIC);
	message_part(&w->packet, PACKET_CLOCK_SNAPSHOT, &w->event);
	write_packet(w, NULL, STATE_CLEARED);
}

/* Returns the name of the program's file, without its folders. */
static struct span program_name(struct writer *w)
{
	const struct module_list *modules = &w->frames.names.modules;
	struct span path = modules->count ? names_shown_path(&w->frames.names, modules->at[0]) : SPAN("");
	while (path.len && memchr(path.at, '/', path.len))
		span_cut(&path, '/');
	char *name = utf8_line(w->region, path);
	if (!name)
		w->failed = true;
	return name ? (struct span){name, path.len} : SPAN("");
}

static void write_process(struct writer *w)
{
	struct span name = program_name(w);
	message_uint(&w->part, PROCESS_PID, w->pid);
	if (name.len)
		message_bytes(&w->part, PROCESS_NAME, name);
	message_uint(&w->event, TRACK_UUID, PROCESS_TRACK);
	message_part(&w->event, TRACK_PROCESS, &w->part);
	message_part(&w->packet, PACKET_TRACK_DESCRIPTOR, &w->event);
	write_packet(w, NULL, STATE_NEEDED);
}

static void write_in_use(struct writer *w, uint64_t ns, uint64_t in_use)
{
	put_head(w, HEAP_TRACK, TYPE_COUNTER, NULL, SPAN(""));
	message_uint(&w->event, EVENT_COUNTER_VALUE, in_use);
	write_event(w, NULL, ns);
}

static void write_heap(struct writer *w)
{
	uint64_t in_use = w->snapshot->in_use_bytes;
	size_t count;
	const struct trace_item **heap = trace_order_heap(&w->order, w->region, &count);
	message_uint(&w->part, COUNTER_UNIT, UNIT_BYTES);
	message_uint(&w->event, TRACK_UUID, HEAP_TRACK);
	message_uint(&w->event, TRACK_PARENT, PROCESS_TRACK);
	message_str(&w->event, TRACK_NAME, "heap in use");
	message_part(&w->event, TRACK_COUNTER, &w->part);
	message_part(&w->packet, PACKET_TRACK_DESCRIPTOR, &w->event);
	write_packet(w, NULL, STATE_NEEDED);
	write_in_use(w, w->order.begin_ns, in_use);
	for (size_t i = 0; heap && i < count; i++) {
		in_use = trace_heap_after(in_use, heap[i]->event);
		write_in_use(w, heap[i]->start_ns, in_use);
	}
	write_in_use(w, w->order.end_ns, in_use); /* else the counter would seem to end at the last change */
	if (!heap)
		w->failed = true;
}

static void write_comments(struct writer *w)
{
	for (size_t i = 0; i < w->snapshot->comment_count; i++) {
		struct span raw = span_of(w->snapshot->comments[i]);
		char *text = utf8_line(w->region, raw);
		if (!text) {
			w->failed = true;
			return;
		}
		put_head(w, PROCESS_TRACK, TYPE_INSTANT, "pprofshim", (struct span){text, raw.len});
		write_event(w, NULL, w->order.end_ns);
	}
}

static void start_messages(struct writer *w)
{
	struct message *all[] = {&w->event, &w->part, &w->interned, &w->packet, &w->head};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		message_init(all[i], w->region);
}

int trace_encode_perfetto(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p)
{
	struct writer *w = region_alloc(r, sizeof *w);
	if (!w)
		return -ENOMEM;
	w->region = r;
	w->out = o;
	w->snapshot = s;
	start_messages(w);
	w->pid = (uint64_t)house_pid();
	int rc = trace_frames_make(&w->frames, r, s, p);
	if (rc == 0)
		rc = trace_order_make(&w->order, r, s);
	if (rc < 0)
		return rc;
	write_clocks(w);
	write_process(w);
	write_heap(w);
	write_comments(w);
	for (size_t i = 0; i < w->order.count && !w->failed && !o->failed && !pace(); i++)
		write_life(w, &w->order.lives[i]);
	return w->failed || o->failed ? -ENOMEM : 0;
}
