/* go_writer.c - the bytes of Go's trace: events, and what they refer to by number, which is stacks and strings.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * A stack is interned by its address and, as its root frame names the thread, by its thread. They are all
 * written behind the last event: readers accept them anywhere.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/trace/go_writer.h"

#include <errno.h>

enum {
	VARINT_MAX = 10,
	STACK_FRAMES_MAX = 128, /* with more, `go tool trace -pprof` of Go 1.26 fails */
	STACK_BYTES_MAX = 2048, /* limit of Go 1.26's reader for the arguments of one event */
	FRAME_BYTES_MAX = 4 * VARINT_MAX,
	OWN_FRAMES_MAX = 1 << 20, /* frames of stacks written once for each of their threads; 14 bytes each */
};

/* A frame as it is written: texts by their numbers; 0: not known. */
struct go_frame_fields {
	uint64_t pc, function, file, line;
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

void go_write_varint(struct go_writer *w, uint64_t v)
{
	uint8_t bytes[VARINT_MAX];
	out_bytes(w->out, bytes, put_varint(bytes, v));
}

void go_write_event(struct go_writer *w, unsigned type, const uint64_t *args, size_t count)
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

void go_begin_batch(struct go_writer *w, uint64_t p, uint64_t tick)
{
	EVENT(w, GO_BATCH, p, tick);
	w->now = tick;
}

/* ---- ids ---- */

uint64_t go_string_id(struct go_writer *w, struct span s)
{
	bool is_new;
	int64_t n = s.len ? intern(&w->strings, w->region, s, &is_new) : -1;
	if (n < 0 && s.len)
		w->failed = true;
	return (uint64_t)(n + 1);
}

/* If many threads have many stacks, later stacks lack the frame that names the thread, which bounds the size of the
 * file. */
static struct go_stack_key make_key(struct go_writer *w, const struct stack *stack, const struct trace_life *l)
{
	bool is_any = stack && stack->depth && w->own_frames >= OWN_FRAMES_MAX;
	return (struct go_stack_key){stack, is_any ? GO_STACK_OF_ANY : (size_t)(l - w->order.lives)};
}

uint64_t go_stack_id(struct go_writer *w, const struct stack *stack, const struct trace_life *l)
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
		w->own_frames += w->spare->life != GO_STACK_OF_ANY && stack ? stack->depth : 0;
		w->spare = NULL; /* the table keeps it */
	}
	return (uint64_t)(n + 1);
}

/* "worker [tid 1234]" */
static char *make_label(struct go_writer *w, const struct trace_life *l)
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
static int name_goroutines(struct go_writer *w)
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

int go_prepare_names(struct go_writer *w)
{
	w->frame_fields = region_alloc(w->region, w->frames.places.count * sizeof *w->frame_fields + 1);
	return w->frame_fields ? name_goroutines(w) : -ENOMEM;
}

/* ---- stacks and strings, behind the last event ---- */

/* Readers identify a frame by its pc, so a frame at the same address in another object gets a pc of its own. The pc of
 * a root frame is the number of its P. */
static uint64_t pc_of(const struct go_writer *w, size_t frame)
{
	const struct trace_frame *f = &w->frames.frames[frame];
	return f->is_other || f->address <= w->order.count ? UINT64_C(1) << 62 | frame : f->address;
}

static size_t put_frame(uint8_t *to, const struct go_frame_fields *f)
{
	size_t n = put_varint(to, f->pc);
	n += put_varint(to + n, f->function);
	n += put_varint(to + n, f->file);
	return n + put_varint(to + n, f->line);
}

/* Strings get their numbers when they are first used. */
static const struct go_frame_fields *fields_of(struct go_writer *w, size_t frame)
{
	struct go_frame_fields *fields = &w->frame_fields[frame];
	const struct trace_frame *f = &w->frames.frames[frame];
	if (!fields->function)
		*fields = (struct go_frame_fields){pc_of(w, frame), go_string_id(w, f->function),
		                                   f->file.len ? go_string_id(w, f->file) : 0, f->line};
	return fields;
}

/* Write the frames from the leaf on, as many as readers accept, and the root frame. */
static void write_stack(struct go_writer *w, uint64_t id, const struct go_stack_key *key)
{
	uint8_t bytes[STACK_BYTES_MAX], head[2 * VARINT_MAX];
	const struct stack *stack = trace_frames_stack(&w->frames, key->stack);
	size_t n = 0, count = 0, depth = stack ? stack->depth : 0;
	for (; count < depth && count < STACK_FRAMES_MAX - 1 && n + 2 * FRAME_BYTES_MAX + sizeof head < sizeof bytes;
	     count++) {
		size_t frame = trace_frames_number(&w->frames, stack, count);
		n += put_frame(bytes + n, fields_of(w, frame));
	}
	if (key->life != GO_STACK_OF_ANY) {
		struct go_frame_fields root = {.pc = key->life + 1,
		                               .function = go_string_id(w, span_of(w->goroutines[key->life].label))};
		n += put_frame(bytes + n, &root);
		count++;
	}
	size_t head_len = put_varint(head, id);
	head_len += put_varint(head + head_len, count);
	out_bytes(w->out, &(uint8_t){GO_STACK | 3 << 6}, 1);
	go_write_varint(w, head_len + n);
	out_bytes(w->out, head, head_len);
	out_bytes(w->out, bytes, n);
}

/* Returns the keys of a table in the order of their numbers; NULL: no memory. */
static struct span *keys_of(struct go_writer *w, const struct intern *t)
{
	struct span *keys = region_alloc(w->region, t->count * sizeof *keys + 1);
	for (size_t i = 0; keys && i < t->cap; i++)
		if (t->entry[i].number_plus_1)
			keys[t->entry[i].number_plus_1 - 1] = t->entry[i].key;
	if (!keys)
		w->failed = true;
	return keys;
}

static void write_strings(struct go_writer *w)
{
	struct span *keys = keys_of(w, &w->strings);
	for (size_t i = 0; keys && i < w->strings.count; i++) {
		out_bytes(w->out, &(uint8_t){GO_STRING}, 1);
		go_write_varint(w, i + 1);
		go_write_varint(w, keys[i].len);
		out_span(w->out, keys[i]);
	}
}

void go_write_tables(struct go_writer *w)
{
	go_begin_batch(w, 0, go_tick_of(w, w->order.end_ns));
	EVENT(w, GO_FREQUENCY, 1000000000);
	struct span *keys = keys_of(w, &w->stacks);
	for (size_t i = 0; keys && i < w->stacks.count; i++)
		write_stack(w, i + 1, (const struct go_stack_key *)(const void *)keys[i].at);
	write_strings(w);
}
