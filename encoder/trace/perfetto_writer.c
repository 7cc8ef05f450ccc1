/* perfetto_writer.c - the packets of a trace for ui.perfetto.dev, the parts of an event, and stacks as interned data.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * A stack is a callstack, and for older readers the text of its functions, the leaf first. It is sent once for each
 * thread, as interned data belongs to one sequence.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/trace/perfetto_writer.h"

#include <string.h>

#include "shim/base/house.h"

enum {
	STACK_TEXT_MAX = 4096,
	STACK_TEXTS_MAX = 16 << 20, /* bytes of all stacks; later ones are left out */
	NAME_MAX_BYTES = 256,       /* of an event; the name of a function may be longer */
	SHARED_SEQUENCE = 1,
	LIVES_SEQUENCE = 2, /* and the following ones: threads */
	ONLY_MAPPING = 1,   /* readers want a mapping of each frame: names are known, so one without bounds will do */
};

/* A stack of a life, or a frame of one. */
struct life_key {
	const void *thing;
	size_t life;
};

void perfetto_writer_start(struct perfetto_writer *w, struct region *r, struct out *o, const struct trace_snapshot *s)
{
	struct message *all[] = {&w->event, &w->part, &w->interned, &w->packet, &w->head};
	w->region = r;
	w->out = o;
	w->snapshot = s;
	w->pid = (uint64_t)house_pid();
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		message_init(all[i], r);
}

/* ---- packets ---- */

static uint64_t sequence_of(const struct perfetto_writer *w, const struct trace_life *l)
{
	return l ? LIVES_SEQUENCE + (uint64_t)(l - w->order.lives) : SHARED_SEQUENCE;
}

uint64_t perfetto_track_of(const struct perfetto_writer *w, const struct trace_life *l)
{
	return l ? LIVES_TRACK + (uint64_t)(l - w->order.lives) : PROCESS_TRACK;
}

void perfetto_write_packet(struct perfetto_writer *w, const struct trace_life *l, uint64_t flags)
{
	message_uint(&w->packet, PACKET_SEQUENCE_ID, sequence_of(w, l));
	message_uint(&w->packet, PACKET_SEQUENCE_FLAGS, flags);
	message_head(&w->head, TRACE_PACKET, w->packet.len);
	out_bytes(w->out, w->head.at, w->head.len);
	out_bytes(w->out, w->packet.at, w->packet.len);
	w->failed |= w->head.failed || w->packet.failed;
	w->head.len = w->packet.len = 0;
}

void perfetto_write_event(struct perfetto_writer *w, const struct trace_life *l, uint64_t ns)
{
	message_uint(&w->packet, PACKET_TIMESTAMP, ns);
	message_uint(&w->packet, PACKET_CLOCK_ID, PERFETTO_MONOTONIC);
	message_part(&w->packet, PACKET_TRACK_EVENT, &w->event);
	if (w->interned.len)
		message_part(&w->packet, PACKET_INTERNED_DATA, &w->interned);
	perfetto_write_packet(w, l, STATE_NEEDED);
}

static struct span at_most(struct span s, size_t bytes)
{
	if (s.len > bytes)
		for (s.len = bytes; s.len && ((unsigned char)s.at[s.len] & 0xc0) == 0x80;) /* whole characters */
			s.len--;
	return s;
}

/* ---- the parts of an event ---- */

void perfetto_put_head(struct perfetto_writer *w, uint64_t track, unsigned type, const char *category, struct span name)
{
	message_uint(&w->event, EVENT_TYPE, type);
	message_uint(&w->event, EVENT_TRACK, track);
	if (category)
		message_str(&w->event, EVENT_CATEGORIES, category);
	if (name.len)
		message_bytes(&w->event, EVENT_NAME, at_most(name, NAME_MAX_BYTES));
}

void perfetto_put_object(struct perfetto_writer *w, const struct trace_event *e)
{
	if (!e->object)
		return;
	message_str(&w->part, ANNOTATION_NAME, "object");
	message_uint(&w->part, e->kind == TRACE_SYNC || e->kind == TRACE_COND ? ANNOTATION_POINTER : ANNOTATION_UINT,
	             e->object);
	message_part(&w->event, EVENT_ANNOTATIONS, &w->part);
}

/* "worker [1234]" */
void perfetto_put_thread(struct perfetto_writer *w, const char *name, int tid, uint64_t ns)
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
static void intern_text(struct perfetto_writer *w, uint64_t iid, const struct stack *stack)
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
static uint64_t iid_of(struct perfetto_writer *w, struct intern *t, const void *thing, const struct trace_life *l,
                       bool *is_new)
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

static uint64_t intern_frame(struct perfetto_writer *w, const struct trace_life *l, const struct trace_frame *frame)
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
static void intern_callstack(struct perfetto_writer *w, const struct trace_life *l, uint64_t iid,
                             const struct stack *stack)
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

void perfetto_put_stack(struct perfetto_writer *w, const struct trace_life *l, const struct stack *stack)
{
	bool is_new;
	if (!stack || !stack->depth || w->stack_texts >= STACK_TEXTS_MAX)
		return;
	uint64_t iid = iid_of(w, &w->stacks, stack, l, &is_new);
	if (!iid)
		return;
	if (is_new) {
		const struct stack *whole = trace_frames_stack(&w->frames, stack);
		intern_text(w, iid, whole);
		intern_callstack(w, l, iid, whole);
	}
	message_str(&w->part, ANNOTATION_NAME, "stack");
	message_uint(&w->part, ANNOTATION_STRING_IID, iid);
	message_part(&w->event, EVENT_ANNOTATIONS, &w->part);
	message_uint(&w->event, EVENT_CALLSTACK_IID, iid);
}
