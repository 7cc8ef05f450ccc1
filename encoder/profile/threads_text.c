/* threads_text.c - the dump of all threads for people: what is stuck, then one block a thread.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * Format: as Go prints goroutines (encoder/FORMATS.md, "Thread dump"), so that readers of such dumps accept it. Facts
 * that Go's format has no place for are in lines that begin with "# ", above the header.
 *
 *   DEADLOCK: thread 7 (a) in work (/src/program.c:12) waits for pthread_mutex_lock 0x5580 held by thread 8 (b) in …,
 *   which waits for …
 *   STALLED: thread 9 (c) in … has been waiting for 75 seconds in pthread_mutex_lock 0x5590 held by thread 8 (b) in …
 *
 *   # thread a
 *   # waits in pthread_mutex_lock for 0x5580 since 2m5s, held by thread 8 (b)
 *   # created by start <- main
 *   goroutine 7 [pthread_mutex_lock, 2 minutes]:
 *   work(...)
 *           /src/program.c:12 +0x1c
 *   created by start
 *           /src/program.c:40 +0x30
 *
 * An inlined function has lines of its own, before those of the function it was inlined into. If no source is known,
 * the object's file is printed instead, with line 0. The last number of a frame is the address in its function, as Go
 * has it. From debug=3 on nothing is folded, and each frame has its object with an address that addr2line takes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/profile/threads_text.h"

#include <errno.h>

#include "encoder/bytes/utf8.h"
#include "encoder/profile/frames.h"
#include "encoder/profile/go_text.h"
#include "shim/base/pace.h"

#define SECOND UINT64_C(1000000000)

struct dump {
	struct region *region;
	struct out *out;
	const struct dump_snapshot *snapshot;
	struct frames *frames;
	bool *is_printed; /* of each thread: its block, among those of a deadlock */
	bool is_whole;    /* nothing is folded, and addresses are told */
	size_t folded;    /* lines */
	bool failed;
};

static size_t depth_of(const struct stack *s)
{
	return s ? s->depth : 0;
}

/* ---- pieces of text ---- */

/* Print a name, in which any byte may be. Characters that would end the line are replaced. */
static void print_clean(struct dump *d, const char *raw)
{
	char *clean = utf8_line(d->region, span_of(raw));
	if (clean)
		out_str(d->out, clean);
	else
		d->failed = true;
}

static void print_thread(struct dump *d, int tid, const char *name)
{
	out_str(d->out, "thread ");
	out_dec(d->out, tid);
	if (!name || !name[0])
		return;
	out_str(d->out, " (");
	print_clean(d, name);
	out_str(d->out, ")");
}

static void print_object(struct out *o, const struct dump_thread *t)
{
	switch (t->object_kind) {
	case DUMP_NO_OBJECT: return;
	case DUMP_ADDRESS:
		out_str(o, "0x");
		out_hex(o, t->object);
		return;
	case DUMP_FD: out_str(o, "descriptor "); break;
	case DUMP_FDS:
		out_dec(o, (int64_t)t->object);
		out_str(o, t->object == 1 ? " descriptor" : " descriptors");
		return;
	case DUMP_TID: out_str(o, "thread "); break;
	case DUMP_PID: out_str(o, "process "); break;
	}
	out_dec(o, (int64_t)t->object);
}

/* "pthread_mutex_lock 0x5580" */
static void print_wait(struct dump *d, const struct dump_thread *t)
{
	print_clean(d, t->state);
	if (t->object_kind != DUMP_NO_OBJECT)
		out_str(d->out, " ");
	print_object(d->out, t);
}

static void print_owner(struct dump *d, const struct dump_thread *t)
{
	out_str(d->out, "held by ");
	print_thread(d, t->owner_tid, t->owner_name);
	if (!t->owner_name)
		out_str(d->out, ", which has ended");
}

/* "1.204s", "3m12s", "2h5m10s" */
static void print_duration(struct out *o, uint64_t ns)
{
	char text[64];
	struct line l = LINE(text);
	uint64_t seconds = ns / SECOND, ms = ns / 1000000 % 1000;
	if (seconds >= 3600) {
		line_dec(&l, (int64_t)(seconds / 3600));
		line_str(&l, "h");
	}
	if (seconds >= 60) {
		line_dec(&l, (int64_t)(seconds / 60 % 60));
		line_str(&l, "m");
	}
	line_dec(&l, (int64_t)(seconds % 60));
	if (seconds < 60) {
		line_str(&l, ms < 10 ? ".00" : ms < 100 ? ".0" : ".");
		line_dec(&l, (int64_t)ms);
	}
	line_str(&l, "s");
	out_bytes(o, l.at, l.len);
}

/* ---- stacks ---- */

static void print_place(struct dump *d, const struct frame_line *l)
{
	struct out *o = d->out;
	out_str(o, "\n\t");
	if (d->is_whole) {
		out_span(o, l->file);
		out_str(o, ":");
		out_dec(o, l->line);
	} else {
		go_text_place(o, l->file, l->line);
	}
	if (l->offset) {
		out_str(o, " +0x");
		out_hex(o, l->offset);
	}
	if (d->is_whole) {
		out_str(o, " (");
		out_str(o, l->object);
		out_str(o, " 0x");
		out_hex(o, l->file_address);
		out_str(o, ")");
	}
	out_str(o, "\n");
}

/* A reader wants a frame at least. */
static void print_stack(struct dump *d, const struct stack *s)
{
	size_t count;
	const struct frame_line *line = frames_of(d->frames, s, &count);
	for (size_t i = 0; i < count; i++) {
		if (line[i].is_folded && !d->is_whole) {
			d->folded++;
			continue;
		}
		go_text_function(d->out, line[i].function);
		out_str(d->out, "(...)");
		print_place(d, &line[i]);
	}
	if (!count)
		out_str(d->out, "thread_not_reached(...)\n\t??:0\n");
}

/* " in work (/src/program.c:12)" */
static void print_main(struct dump *d, const struct dump_thread *t)
{
	const struct frame_line *l = t ? frames_main(d->frames, t->stack) : NULL;
	if (!l)
		return;
	out_str(d->out, " in ");
	out_span(d->out, l->function);
	if (!l->line)
		return;
	out_str(d->out, " (");
	out_span(d->out, l->file);
	out_str(d->out, ":");
	out_dec(d->out, l->line);
	out_str(d->out, ")");
}

/* ---- a thread ---- */

static void print_header(struct dump *d, const struct dump_thread *t)
{
	struct out *o = d->out;
	char *state = utf8_line(d->region, span_of(t->state));
	out_str(o, "goroutine ");
	out_dec(o, t->tid);
	out_str(o, " [");
	if (state)
		go_text_state(o, span_of(state));
	else
		d->failed = true;
	if (t->since_ns >= (int64_t)(60 * SECOND)) {
		out_str(o, ", ");
		out_dec(o, t->since_ns / (int64_t)(60 * SECOND));
		out_str(o, " minutes");
	}
	out_str(o, "]:\n");
}

static void print_name(struct dump *d, const struct dump_thread *t)
{
	out_str(d->out, "# thread ");
	print_clean(d, t->name);
	out_str(d->out, "\n");
}

static void print_waiting(struct dump *d, const struct dump_thread *t)
{
	struct out *o = d->out;
	if (t->object_kind == DUMP_NO_OBJECT && t->since_ns < 0 && !t->owner_tid)
		return;
	out_str(o, "# waits in ");
	print_clean(d, t->state);
	if (t->object_kind != DUMP_NO_OBJECT) {
		out_str(o, " for ");
		print_object(o, t);
	}
	if (t->object_name) {
		out_str(o, " (");
		print_clean(d, t->object_name);
		out_str(o, ")");
	}
	if (t->since_ns >= 0) {
		out_str(o, " since ");
		print_duration(o, (uint64_t)t->since_ns);
	}
	if (t->owner_tid) {
		out_str(o, ", ");
		print_owner(d, t);
	}
	out_str(o, "\n");
}

static void print_reason(struct dump *d, const struct dump_thread *t)
{
	bool reached = depth_of(t->stack) > 0;
	if (reached && !t->reason)
		return;
	out_str(d->out, reached ? "# stack is short" : "# not reached");
	if (t->reason) {
		out_str(d->out, ": ");
		print_clean(d, t->reason);
	}
	out_str(d->out, "\n");
}

/* Is it worth a word where a thread was made? */
static bool is_creation(const struct dump *d, const struct frame_line *l)
{
	return d->is_whole || (l->is_own && !span_is(l->function, "_start"));
}

/* "# created by start <- main": Go's format has one frame for that, so that one is enough where it is all. */
static void print_creation(struct dump *d, const struct dump_thread *t)
{
	size_t count, worth = 0, printed = 0;
	const struct frame_line *line = frames_of(d->frames, t->created_by, &count);
	for (size_t i = 0; i < count; i++)
		worth += is_creation(d, &line[i]);
	for (size_t i = 0; worth > 1 && i < count; i++) {
		if (!is_creation(d, &line[i]))
			continue;
		out_str(d->out, printed++ ? " <- " : "# created by ");
		out_span(d->out, line[i].function);
	}
	if (printed)
		out_str(d->out, "\n");
}

/* Returns the line of the function that made the thread: not one of std::thread. */
static const struct frame_line *find_creator(struct dump *d, const struct dump_thread *t)
{
	size_t count;
	const struct frame_line *line = frames_of(d->frames, t->created_by, &count);
	const struct frame_line *main = frames_main(d->frames, t->created_by);
	return d->is_whole && count ? line : main;
}

static void print_creator(struct dump *d, const struct dump_thread *t)
{
	const struct frame_line *l = find_creator(d, t);
	if (!l)
		return;
	out_str(d->out, "created by ");
	go_text_function(d->out, l->function);
	print_place(d, l);
}

static void print_block(struct dump *d, const struct dump_thread *t)
{
	print_name(d, t);
	print_waiting(d, t);
	print_reason(d, t);
	print_creation(d, t);
	print_header(d, t);
	print_stack(d, t->stack);
	print_creator(d, t);
	out_str(d->out, "\n");
}

/* ---- what is stuck ---- */

static const struct dump_thread *thread_of(const struct dump *d, const struct dump_stuck *k, size_t i)
{
	return &d->snapshot->threads[k->chain[i % k->count]];
}

static const struct dump_thread *thread_with(const struct dump *d, int tid)
{
	for (size_t i = 0; tid && i < d->snapshot->count; i++)
		if (d->snapshot->threads[i].tid == tid)
			return &d->snapshot->threads[i];
	return NULL;
}

static void print_deadlock(struct dump *d, const struct dump_stuck *k)
{
	const struct dump_thread *first = thread_of(d, k, 0);
	out_str(d->out, "DEADLOCK: ");
	print_thread(d, first->tid, first->name);
	print_main(d, first);
	for (size_t i = 0; i < k->count; i++) {
		const struct dump_thread *owner = thread_of(d, k, i + 1);
		out_str(d->out, i ? ", which waits for " : " waits for ");
		print_wait(d, thread_of(d, k, i));
		out_str(d->out, " held by ");
		print_thread(d, owner->tid, owner->name);
		if (owner != first)
			print_main(d, owner);
	}
	out_str(d->out, "\n\n");
	for (size_t i = 0; i < k->count; i++) {
		print_block(d, thread_of(d, k, i));
		d->is_printed[k->chain[i]] = true;
	}
}

static void print_stalled(struct dump *d, const struct dump_stuck *k)
{
	const struct dump_thread *t = thread_of(d, k, 0);
	out_str(d->out, "STALLED: ");
	print_thread(d, t->tid, t->name);
	print_main(d, t);
	out_str(d->out, " has been waiting ");
	if (t->since_ns >= 0) {
		out_str(d->out, "for ");
		out_dec(d->out, t->since_ns / (int64_t)SECOND);
		out_str(d->out, " seconds ");
	}
	out_str(d->out, "in ");
	print_wait(d, t);
	if (t->owner_tid) {
		out_str(d->out, " ");
		print_owner(d, t);
		print_main(d, thread_with(d, t->owner_tid));
	}
	out_str(d->out, "\n\n");
}

static void print_stuck(struct dump *d, const struct dump_stuck *k)
{
	if (!k->count)
		return;
	if (k->is_deadlock)
		print_deadlock(d, k);
	else
		print_stalled(d, k);
}

static void print_note(struct out *o, const char *note)
{
	if (!note)
		return;
	out_str(o, "# ");
	out_str(o, note);
	out_str(o, "\n\n");
}

static void print_folded(const struct dump *d)
{
	if (!d->folded)
		return;
	out_str(d->out, "# ");
	out_dec(d->out, (int64_t)d->folded);
	out_str(d->out, " inner frames of libc and outer ones of std::thread are folded; debug=3 has all\n");
}

static void print_all(struct dump *d)
{
	const struct dump_snapshot *s = d->snapshot;
	print_note(d->out, frames_note(d->frames));
	print_note(d->out, s->note);
	for (size_t i = 0; i < s->deadlock_count && !d->failed; i++)
		print_stuck(d, &s->stuck[i]);
	for (size_t i = 0; i < s->count && !d->failed && !pace(); i++)
		if (!d->is_printed[i])
			print_block(d, &s->threads[i]);
	print_folded(d);
}

int dump_print(struct region *r, struct out *o, const struct dump_snapshot *s, int64_t debug, struct patience *p)
{
	struct dump *d = region_alloc(r, sizeof *d);
	if (!d)
		return -ENOMEM;
	*d = (struct dump){.region = r, .out = o, .snapshot = s, .is_whole = debug >= 3};
	d->is_printed = region_alloc(r, s->count + 1);
	if (!d->is_printed)
		return -ENOMEM;
	memset(d->is_printed, 0, s->count + 1);
	int rc = frames_prepare(&d->frames, r, &d->snapshot, p);
	if (rc < 0)
		return rc;
	print_all(d);
	return d->failed || o->failed ? -ENOMEM : 0;
}
