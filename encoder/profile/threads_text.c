/* threads_text.c - the dump of all threads for people: what is stuck, then one block a thread.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * Format: as Go prints goroutines (encoder/FORMATS.md, "Thread dump"), so that viewers of such dumps accept it. Facts
 * that Go's format has no place for are in lines that begin with "# ".
 *
 *   DEADLOCK: thread 7 (a) waits for pthread_mutex_lock 0x5580 held by thread 8 (b), which waits for …
 *   STALLED: thread 9 (c) has been waiting for 75 seconds in pthread_mutex_lock 0x5590 held by thread 8 (b)
 *
 *   goroutine 7 [pthread_mutex_lock, 2 minutes]:
 *   # thread a
 *   # waits in pthread_mutex_lock for 0x5580 since 2m5s, held by thread 8 (b)
 *   work+0x1c(...)
 *           /src/program.c:12 +0x12fc
 *   created by start+0x30(...)
 *           /src/program.c:40 +0x1400
 *
 * An inlined function has lines of its own, before those of the function it was inlined into. If no source is known,
 * the object's file is printed instead, with line 0. Addresses are those to look up (snapshot.h), as the file's headers
 * have them and addr2line takes them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/profile/threads_text.h"

#include <errno.h>

#include "encoder/bytes/intern.h"
#include "encoder/names/names.h"
#include "encoder/bytes/utf8.h"
#include "shim/base/pace.h"

#define SECOND UINT64_C(1000000000)

/* An address as a stack has it. (No struct site: the object at an address may change between two lookups.) */
struct place {
	uintptr_t pc, place;
};

/* What is printed for it. Many threads wait in a few places, so each place is looked up once. */
struct frame {
	struct name name;
	const char *path; /* of the object */
	uint64_t file_address;
};

struct dump {
	struct region *region;
	struct out *out;
	const struct dump_snapshot *snapshot;
	struct names names;
	struct intern places; /* number n is frame n */
	struct frame *frames;
	bool failed;
};

/* ---- frames, looked up all at once ---- */

static size_t depth_of(const struct stack *s)
{
	return s ? s->depth : 0;
}

static int64_t number_of(struct dump *d, const struct place *p)
{
	bool is_new;
	int64_t n = intern(&d->places, d->region, (struct span){(const char *)p, sizeof *p}, &is_new);
	if (n < 0)
		d->failed = true;
	return n;
}

/* Number the places of a stack; `list` has room for each new place, and a spare one. */
static void collect_places(struct dump *d, struct place *list, const struct stack *s)
{
	for (size_t i = 0; i < depth_of(s) && !d->failed; i++) {
		struct place *spare = &list[d->places.count];
		*spare = (struct place){s->pc[i], s->place};
		number_of(d, spare);
	}
}

static struct frame look_up(struct dump *d, struct site site)
{
	const struct map *map = site.module ? NULL : maps_find(&d->names.maps, site.address);
	struct span path = site.module ? names_path(&d->names, site.module) : map ? map->path : SPAN("");
	uint64_t base = !site.module && path.len ? map->start : 0;
	if (!path.len)
		path = site.module                      ? SPAN("[program]")
		       : names_jit_map(&d->names, site) ? SPAN("[jit]")
		                                        : SPAN("[anonymous]");
	struct frame f = {names_of(&d->names, site), utf8_line(d->region, path), names_file_address(site) - base};
	if (!f.path)
		d->failed = true;
	return f;
}

static struct place *find_places(struct dump *d)
{
	const struct dump_snapshot *s = d->snapshot;
	size_t most = 1; /* and the spare one */
	for (size_t i = 0; i < s->count; i++)
		most += depth_of(s->threads[i].stack) + depth_of(s->threads[i].created_by);
	struct place *list = region_alloc(d->region, most * sizeof *list);
	for (size_t i = 0; list && i < s->count; i++) {
		collect_places(d, list, s->threads[i].stack);
		collect_places(d, list, s->threads[i].created_by);
	}
	return list;
}

/* Returns 0, -ENOMEM or -EAGAIN. */
static int prepare_frames(struct dump *d, struct patience *p)
{
	const struct place *list = find_places(d);
	size_t count = d->places.count;
	struct site *sites = region_alloc(d->region, count * sizeof *sites + 1);
	d->frames = region_alloc(d->region, count * sizeof *d->frames + 1);
	if (!list || !sites || !d->frames || d->failed || names_begin(&d->names, d->region) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		sites[i] = names_site(&d->names, list[i].pc, list[i].place);
	int r = names_prepare(&d->names, sites, count, p);
	if (r < 0)
		return r;
	for (size_t i = 0; i < count; i++)
		d->frames[i] = look_up(d, sites[i]);
	return 0;
}

/* If no source is known, print the object's file instead, with line 0. */
static void print_frame(struct out *o, const struct frame *f, const struct name_frame *n)
{
	out_span(o, n->function);
	if (f->name.offset) {
		out_str(o, "+0x");
		out_hex(o, f->name.offset);
	}
	out_str(o, "(...)\n\t");
	bool is_known = n->file.len && n->line;
	if (is_known)
		out_span(o, n->file);
	else
		out_str(o, f->path);
	out_str(o, ":");
	out_dec(o, is_known ? n->line : 0);
	out_str(o, " +0x");
	out_hex(o, f->file_address);
	out_str(o, "\n");
}

static void print_stack(struct dump *d, const struct stack *s)
{
	for (size_t i = 0; i < depth_of(s); i++) {
		int64_t n = number_of(d, &(struct place){s->pc[i], s->place});
		if (n < 0)
			return;
		const struct frame *f = &d->frames[n];
		for (size_t k = 0; k < f->name.count; k++)
			print_frame(d->out, f, &f->name.frame[k]);
	}
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
	if (!name)
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

/* ---- a thread ---- */

static void print_header(struct dump *d, const struct dump_thread *t)
{
	struct out *o = d->out;
	out_str(o, "goroutine ");
	out_dec(o, t->tid);
	out_str(o, " [");
	print_clean(d, t->state);
	if (t->since_ns >= (int64_t)(60 * SECOND)) {
		out_str(o, ", ");
		out_dec(o, t->since_ns / (int64_t)(60 * SECOND));
		out_str(o, " minutes");
	}
	out_str(o, "]:\n# thread ");
	print_clean(d, t->name);
	out_str(o, "\n");
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

static void print_block(struct dump *d, const struct dump_thread *t)
{
	print_header(d, t);
	print_waiting(d, t);
	print_reason(d, t);
	print_stack(d, t->stack);
	if (depth_of(t->created_by))
		out_str(d->out, "created by ");
	print_stack(d, t->created_by);
	out_str(d->out, "\n");
}

/* ---- what is stuck ---- */

static const struct dump_thread *thread_of(const struct dump *d, const struct dump_stuck *k, size_t i)
{
	return &d->snapshot->threads[k->chain[i % k->count]];
}

static void print_deadlock(struct dump *d, const struct dump_stuck *k)
{
	const struct dump_thread *first = thread_of(d, k, 0);
	out_str(d->out, "DEADLOCK: ");
	print_thread(d, first->tid, first->name);
	for (size_t i = 0; i < k->count; i++) {
		const struct dump_thread *owner = thread_of(d, k, i + 1);
		out_str(d->out, i ? ", which waits for " : " waits for ");
		print_wait(d, thread_of(d, k, i));
		out_str(d->out, " held by ");
		print_thread(d, owner->tid, owner->name);
	}
	out_str(d->out, "\n\n");
	for (size_t i = 0; i < k->count; i++)
		print_block(d, thread_of(d, k, i));
}

static void print_stalled(struct dump *d, const struct dump_stuck *k)
{
	const struct dump_thread *t = thread_of(d, k, 0);
	out_str(d->out, "STALLED: ");
	print_thread(d, t->tid, t->name);
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

int dump_print(struct region *r, struct out *o, const struct dump_snapshot *s, struct patience *p)
{
	struct dump *d = region_alloc(r, sizeof *d);
	if (!d)
		return -ENOMEM;
	*d = (struct dump){.region = r, .out = o, .snapshot = s};
	int rc = prepare_frames(d, p);
	if (rc < 0)
		return rc;
	print_note(o, d->names.note);
	print_note(o, s->note);
	for (size_t i = 0; i < s->deadlock_count && !d->failed; i++)
		print_stuck(d, &s->stuck[i]);
	for (size_t i = 0; i < s->count && !d->failed && !pace(); i++)
		print_block(d, &s->threads[i]);
	return d->failed || o->failed ? -ENOMEM : 0;
}
