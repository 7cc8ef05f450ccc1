/* frames.c - the functions on the stacks of a trace, each address looked up once.
 *
 * Runs in: listener. Memory of the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/trace/frames.h"

#include <errno.h>

#include "encoder/bytes/utf8.h"
#include "shim/base/pace.h"

enum { TEXT_MAX = 4096 };

/* An address as a stack has it. (No struct site: the object at an address may change between two lookups.) */
struct place {
	uintptr_t pc, place;
};

struct finding {
	struct trace_frames *frames;
	struct intern stacks; /* seen */
	struct place *spare;  /* the next key of places */
	bool failed;
};

static void find_place(struct finding *k, uintptr_t pc, uint64_t place)
{
	struct trace_frames *f = k->frames;
	bool is_new = false;
	if (!k->spare)
		k->spare = region_alloc(f->region, sizeof *k->spare);
	if (k->spare)
		*k->spare = (struct place){pc, place};
	if (!k->spare ||
	    intern(&f->places, f->region, (struct span){(const char *)k->spare, sizeof *k->spare}, &is_new) < 0)
		k->failed = true;
	else if (is_new)
		k->spare = NULL; /* the table keeps it */
}

/* The key is the pointer's own bytes, which stay in place in the snapshot. */
static void find_places(struct finding *k, const struct stack *const *stack)
{
	bool is_new;
	if (!*stack)
		return;
	int64_t n = intern(&k->stacks, k->frames->region, (struct span){(const char *)stack, sizeof *stack}, &is_new);
	if (n < 0)
		k->failed = true;
	for (size_t i = 0; n >= 0 && is_new && i < (*stack)->depth; i++)
		find_place(k, (*stack)->pc[i], (*stack)->place);
}

static int find_all_places(struct trace_frames *f, const struct trace_snapshot *s)
{
	struct finding k = {.frames = f};
	for (size_t i = 0; i < s->chunk_count; i++, pace()) /* to the end even if unwanted: later code relies on it */
		for (size_t at = 0;
		     at < trace_chunk_count(&s->chunks[i]) && at < sizeof s->chunks[i].at / sizeof *s->chunks[i].at;
		     at++) {
			const struct trace_event *e = &s->chunks[i].at[at];
			find_places(&k, &e->stack);
			if (e->kind < TRACE_WAITS)
				find_places(&k, &e->woken_by);
		}
	return k.failed ? -ENOMEM : 0;
}

/* The cut may be within a character. */
static struct span cut(struct trace_frames *f, struct span text)
{
	if (text.len > TEXT_MAX)
		text.len = TEXT_MAX;
	return (struct span){utf8_line(f->region, text), text.len};
}

static int look_up(struct trace_frames *f, struct trace_frame *frame, struct site site)
{
	struct name name = names_of(&f->names, site);
	const struct name_frame *outer = &name.frame[name.count - 1]; /* in a trace, an address has one frame */
	bool is_new;
	*frame = (struct trace_frame){.function = cut(f, outer->function),
	                              .file = cut(f, outer->file),
	                              .line = outer->line,
	                              .address = site.address};
	struct span address = {(const char *)&frame->address, sizeof frame->address};
	if (!frame->function.at || !frame->file.at || intern(&f->addresses, f->region, address, &is_new) < 0)
		return -ENOMEM;
	frame->is_other = !is_new;
	return 0;
}

/* A table may grow before it looks for a key. Let it grow here, where a failure can be reported. */
static int settle(struct trace_frames *f)
{
	bool is_new;
	for (size_t i = 0; i < f->places.cap; i++)
		if (f->places.entry[i].number_plus_1)
			return intern(&f->places, f->region, f->places.entry[i].key, &is_new) < 0 ? -ENOMEM : 0;
	return 0;
}

int trace_frames_make(struct trace_frames *f, struct region *r, const struct trace_snapshot *s,
                      struct patience *patience)
{
	*f = (struct trace_frames){.region = r};
	if (find_all_places(f, s) < 0 || names_begin(&f->names, r) < 0)
		return -ENOMEM;
	size_t count = f->places.count;
	struct site *sites = region_alloc(r, count * sizeof *sites + 1);
	f->frames = region_alloc(r, count * sizeof *f->frames + 1);
	if (!sites || !f->frames)
		return -ENOMEM;
	for (size_t i = 0; i < f->places.cap; i++) {
		const struct intern_entry *e = &f->places.entry[i];
		const struct place *p = (const struct place *)(const void *)e->key.at;
		if (e->number_plus_1)
			sites[e->number_plus_1 - 1] = names_site(&f->names, p->pc, p->place);
	}
	int rc = names_prepare(&f->names, sites, count, patience);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++, pace())
		if (look_up(f, &f->frames[i], sites[i]) < 0)
			return -ENOMEM;
	return settle(f);
}

size_t trace_frames_number(struct trace_frames *f, const struct stack *s, size_t i)
{
	const struct place p = {s->pc[i], s->place};
	bool is_new; /* always false: the key is in the table, so it is not kept and needs no memory */
	return (size_t)intern(&f->places, f->region, (struct span){(const char *)&p, sizeof p}, &is_new);
}
