/* frames.c - the functions on the stacks of a trace, each address looked up once.
 *
 * Runs in: listener. Memory of the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/trace/frames.h"

#include <errno.h>

#include "encoder/bytes/utf8.h"
#include "encoder/names/tails.h"
#include "shim/base/pace.h"

enum { TEXT_MAX = 4096 };

/* An address as a stack has it. (No struct site: the object at an address may change between two lookups.) */
struct place {
	uintptr_t pc, place;
};

/* --- stacks ----------------------------------------------------------------------------------- */

/* Number a stack. The key is the pointer's own bytes, which stay in place in the snapshot. Returns 0 or -ENOMEM. */
static int number_stack(struct trace_frames *f, const struct stack *const *stack)
{
	bool is_new;
	if (!*stack)
		return 0;
	return intern(&f->stacks, f->region, (struct span){(const char *)stack, sizeof *stack}, &is_new) < 0 ? -ENOMEM
	                                                                                                     : 0;
}

static int64_t number_of_stack(struct trace_frames *f, const struct stack *s)
{
	bool is_new; /* always false */
	return intern(&f->stacks, f->region, (struct span){(const char *)&s, sizeof(const struct stack *)}, &is_new);
}

static size_t count_events(const struct trace_chunk *c)
{
	size_t count = trace_chunk_count(c), most = sizeof c->at / sizeof *c->at;
	return count < most ? count : most;
}

static int number_stacks(struct trace_frames *f, const struct trace_snapshot *s)
{
	int r = 0;
	for (size_t i = 0; i < s->chunk_count; i++, pace()) /* to the end even if unwanted: later code relies on it */
		for (size_t at = 0; at < count_events(&s->chunks[i]); at++) {
			const struct trace_event *e = &s->chunks[i].at[at];
			r |= number_stack(f, &e->stack);
			if (e->kind < TRACE_WAITS)
				r |= number_stack(f, &e->woken_by);
		}
	return r ? -ENOMEM : 0;
}

/* The stack of a birth is that of pthread_create's caller; all others begin with the function that was called. */
static void mark_births(struct trace_frames *f, const struct trace_snapshot *s, struct tails_stack *stacks)
{
	for (size_t i = 0; i < s->chunk_count; i++, pace())
		for (size_t at = 0; at < count_events(&s->chunks[i]); at++) {
			const struct trace_event *e = &s->chunks[i].at[at];
			if (e->kind == TRACE_BORN && e->stack)
				stacks[number_of_stack(f, e->stack)].leaf = TAILS_CREATOR;
		}
}

/* Give all stacks the frames of functions that ended in a jump. Returns 0, -ENOMEM or -EAGAIN. */
static int complete_stacks(struct trace_frames *f, const struct trace_snapshot *s, struct patience *p)
{
	size_t count = f->stacks.count;
	struct tails_stack *stacks = region_alloc(f->region, count * sizeof *stacks + 1);
	f->whole = region_alloc(f->region, count * sizeof *f->whole + 1);
	if (!stacks || !f->whole)
		return -ENOMEM;
	for (size_t i = 0; i < f->stacks.cap; i++) {
		const struct intern_entry *e = &f->stacks.entry[i];
		if (e->number_plus_1)
			memcpy(&stacks[e->number_plus_1 - 1].stack, e->key.at, sizeof stacks->stack);
	}
	mark_births(f, s, stacks);
	int r = tails_insert(&f->names, stacks, count, p);
	for (size_t i = 0; i < count; i++)
		f->whole[i] = stacks[i].stack;
	return r;
}

const struct stack *trace_frames_stack(struct trace_frames *f, const struct stack *s)
{
	return s ? f->whole[number_of_stack(f, s)] : NULL;
}

/* --- their addresses -------------------------------------------------------------------------- */

static int find_places(struct trace_frames *f)
{
	struct place *spare = NULL; /* the next key */
	bool is_new;
	for (size_t i = 0; i < f->stacks.count; i++, pace())
		for (size_t k = 0; k < f->whole[i]->depth; k++) {
			if (!spare && !(spare = region_alloc(f->region, sizeof *spare)))
				return -ENOMEM;
			*spare = (struct place){f->whole[i]->pc[k], f->whole[i]->place};
			struct span key = {(const char *)spare, sizeof *spare};
			if (intern(&f->places, f->region, key, &is_new) < 0)
				return -ENOMEM;
			if (is_new)
				spare = NULL; /* the table keeps it */
		}
	return 0;
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
static int settle(struct region *r, struct intern *t)
{
	bool is_new;
	for (size_t i = 0; i < t->cap; i++)
		if (t->entry[i].number_plus_1)
			return intern(t, r, t->entry[i].key, &is_new) < 0 ? -ENOMEM : 0;
	return 0;
}

/* Returns 0, -ENOMEM or -EAGAIN. */
static int look_up_all(struct trace_frames *f, struct patience *p)
{
	size_t count = f->places.count;
	struct site *sites = region_alloc(f->region, count * sizeof *sites + 1);
	f->frames = region_alloc(f->region, count * sizeof *f->frames + 1);
	if (!sites || !f->frames)
		return -ENOMEM;
	for (size_t i = 0; i < f->places.cap; i++) {
		const struct intern_entry *e = &f->places.entry[i];
		const struct place *its = (const struct place *)(const void *)e->key.at;
		if (e->number_plus_1)
			sites[e->number_plus_1 - 1] = names_site(&f->names, its->pc, its->place);
	}
	int r = names_prepare(&f->names, sites, count, p);
	for (size_t i = 0; r == 0 && i < count; i++, pace())
		r = look_up(f, &f->frames[i], sites[i]);
	return r;
}

int trace_frames_make(struct trace_frames *f, struct region *r, const struct trace_snapshot *s,
                      struct patience *patience)
{
	*f = (struct trace_frames){.region = r};
	if (names_begin(&f->names, r) < 0 || number_stacks(f, s) < 0 || settle(r, &f->stacks) < 0)
		return -ENOMEM;
	int rc = complete_stacks(f, s, patience);
	if (rc == 0)
		rc = find_places(f);
	if (rc == 0)
		rc = look_up_all(f, patience);
	return rc < 0 ? rc : settle(r, &f->places);
}

size_t trace_frames_number(struct trace_frames *f, const struct stack *s, size_t i)
{
	const struct place p = {s->pc[i], s->place};
	bool is_new; /* always false: the key is in the table, so it is not kept and needs no memory */
	return (size_t)intern(&f->places, f->region, (struct span){(const char *)&p, sizeof p}, &is_new);
}
