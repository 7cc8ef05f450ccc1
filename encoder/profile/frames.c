/* frames.c - the stacks of a dump as lines.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * Many threads wait in a few places, so each place is looked up once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/profile/frames.h"

#include <errno.h>

#include "encoder/bytes/intern.h"
#include "encoder/bytes/utf8.h"
#include "encoder/names/tails.h"

/* An address as a stack has it. (No struct site: the object at an address may change between two lookups.) */
struct place {
	uintptr_t pc, place;
};

/* Returns the text that is printed for it. */
struct frame {
	struct name name;
	const char *path; /* of the object */
	uint64_t file_address;
	bool is_libc, is_library; /* it lies in libc; in the library of C++ */
};

struct frames {
	struct region *region;
	struct names names;
	struct intern places; /* number n is frame n */
	struct frame *frames;
	struct frame_line *lines; /* room for the longest stack */
	size_t lines_most;
	bool failed;
};

static size_t depth_of(const struct stack *s)
{
	return s ? s->depth : 0;
}

static int64_t number_of(struct frames *f, const struct place *p)
{
	bool is_new;
	int64_t n = intern(&f->places, f->region, (struct span){(const char *)p, sizeof *p}, &is_new);
	if (n < 0)
		f->failed = true;
	return n;
}

/* Number the places of a stack; `list` has room for each new place, and a spare one. */
static void collect_places(struct frames *f, struct place *list, const struct stack *s)
{
	for (size_t i = 0; i < depth_of(s) && !f->failed; i++) {
		struct place *spare = &list[f->places.count];
		*spare = (struct place){s->pc[i], s->place};
		number_of(f, spare);
	}
}

/* Is the file at the path that library? "libc.so.6", or of older ones "libc-2.31.so" */
static bool is_named(struct span path, const char *library)
{
	while (path.len && memchr(path.at, '/', path.len))
		span_cut(&path, '/');
	size_t n = strlen(library);
	return span_starts(path, library) && path.len > n && (path.at[n] == '.' || path.at[n] == '-');
}

static struct frame look_up(struct frames *f, struct site site)
{
	const struct map *map = site.module ? NULL : maps_find(&f->names.maps, site.address);
	struct span path = site.module ? names_shown_path(&f->names, site.module) : map ? map->path : SPAN("");
	uint64_t base = !site.module && path.len ? map->start : 0;
	if (!path.len)
		path = site.module                      ? SPAN("[program]")
		       : names_jit_map(&f->names, site) ? SPAN("[jit]")
		                                        : SPAN("[anonymous]");
	struct frame frame = {
		.name = names_of(&f->names, site),
		.path = utf8_line(f->region, path),
		.file_address = names_file_address(site) - base,
		.is_libc = is_named(path, "libc") || is_named(path, "libpthread"),
		.is_library = is_named(path, "libstdc++") || is_named(path, "libc++"),
	};
	if (!frame.path)
		f->failed = true;
	return frame;
}

static struct place *find_places(struct frames *f, const struct dump_snapshot *s)
{
	size_t most = 1; /* and the spare one */
	for (size_t i = 0; i < s->count; i++)
		most += depth_of(s->threads[i].stack) + depth_of(s->threads[i].created_by);
	struct place *list = region_alloc(f->region, most * sizeof *list);
	for (size_t i = 0; list && i < s->count; i++) {
		collect_places(f, list, s->threads[i].stack);
		collect_places(f, list, s->threads[i].created_by);
	}
	return list;
}

static size_t count_lines(struct frames *f, const struct stack *s)
{
	size_t count = 0;
	for (size_t i = 0; i < depth_of(s); i++) {
		int64_t n = number_of(f, &(struct place){s->pc[i], s->place});
		count += n < 0 ? 0 : f->frames[n].name.count;
	}
	return count;
}

/* Make room for the lines of the longest stack. */
static int make_room(struct frames *f, const struct dump_snapshot *s)
{
	for (size_t i = 0; i < s->count; i++) {
		size_t one = count_lines(f, s->threads[i].stack), other = count_lines(f, s->threads[i].created_by);
		f->lines_most = one > f->lines_most ? one : f->lines_most;
		f->lines_most = other > f->lines_most ? other : f->lines_most;
	}
	f->lines = region_alloc(f->region, f->lines_most * sizeof *f->lines + 1);
	return f->lines && !f->failed ? 0 : -ENOMEM;
}

static int look_up_all(struct frames *f, const struct place *list, struct patience *p)
{
	size_t count = f->places.count;
	struct site *sites = region_alloc(f->region, count * sizeof *sites + 1);
	f->frames = region_alloc(f->region, count * sizeof *f->frames + 1);
	if (!list || !sites || !f->frames || f->failed)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		sites[i] = names_site(&f->names, list[i].pc, list[i].place);
	int r = names_prepare(&f->names, sites, count, p);
	for (size_t i = 0; i < count && r == 0; i++)
		f->frames[i] = look_up(f, sites[i]);
	return r;
}

/* Give the threads' stacks the frames of functions that ended in a jump. Returns 0, -ENOMEM or -EAGAIN. */
static int complete_stacks(struct frames *f, struct dump_thread *threads, size_t count, struct patience *p)
{
	struct tails_stack *stacks = region_alloc(f->region, (2 * count + 1) * sizeof *stacks);
	if (!stacks)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		stacks[2 * i] = (struct tails_stack){threads[i].stack, TAILS_NOTHING};
		stacks[2 * i + 1] = (struct tails_stack){threads[i].created_by, TAILS_CREATOR};
	}
	int r = tails_insert(&f->names, stacks, 2 * count, p);
	for (size_t i = 0; i < count; i++) {
		threads[i].stack = stacks[2 * i].stack;
		threads[i].created_by = stacks[2 * i + 1].stack;
	}
	return r;
}

/* Replace the snapshot by a copy, as it lasts longer than the memory of this try. */
static int complete(struct frames *f, const struct dump_snapshot **s, struct patience *p)
{
	struct dump_snapshot *copy = region_alloc(f->region, sizeof *copy);
	size_t count = (*s)->count;
	struct dump_thread *threads = region_alloc(f->region, count * sizeof *threads + 1);
	if (!copy || !threads)
		return -ENOMEM;
	*copy = **s;
	if (count)
		memcpy(threads, copy->threads, count * sizeof *threads);
	copy->threads = threads;
	*s = copy;
	return complete_stacks(f, threads, count, p);
}

int frames_prepare(struct frames **made, struct region *r, const struct dump_snapshot **s, struct patience *p)
{
	struct frames *f = *made = region_alloc(r, sizeof *f);
	if (!f)
		return -ENOMEM;
	*f = (struct frames){.region = r};
	int rc = names_begin(&f->names, r);
	if (rc == 0)
		rc = complete(f, s, p);
	if (rc == 0)
		rc = look_up_all(f, find_places(f, *s), p);
	return rc < 0 ? rc : make_room(f, *s);
}

const char *frames_note(const struct frames *f)
{
	return f->names.note;
}

/* ---- what says nothing to people ---- */

static bool starts_with_any(struct span s, const char *const *prefixes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (span_starts(s, prefixes[i]))
			return true;
	return false;
}

/* The functions that libstdc++, libc++ and Rust's std run between the start of a thread and the function that it was
 * made for. */
static bool is_of_thread(struct span function)
{
	static const char *const prefixes[] = {
		"std::thread::",
		"std::jthread::",
		"std::__invoke",
		"std::invoke",
		"void std::__invoke",
		"execute_native_thread_routine",
		"std::__1::__thread_",
		"std::__1::__invoke",
		"void* std::__1::__thread_proxy",
		"std::sys::",
		"std::panic",
		"__rust_try",
		"core::ops::function::FnOnce",
		"<alloc::boxed::Box<",
		"<core::panic::unwind_safe::AssertUnwindSafe<",
	};
	return starts_with_any(function, prefixes, sizeof prefixes / sizeof *prefixes);
}

static bool is_of_language(struct span function)
{
	static const char *const prefixes[] = {"std::", "__gthread", "__gnu_cxx::", "core::", "<core::", "<alloc::"};
	return starts_with_any(function, prefixes, sizeof prefixes / sizeof *prefixes);
}

/* Of libc's innermost lines the outermost stays: the function that was called. */
static void fold_inner(struct frame_line *line, size_t count)
{
	size_t n = 0;
	while (n < count && line[n].is_libc)
		n++;
	for (size_t i = 0; n < count && i + 1 < n; i++)
		line[i].is_folded = true;
}

/* From the outside: libc's start of the thread stays, what follows of std::thread does not. */
static void fold_outer(struct frame_line *line, size_t count)
{
	size_t end = count, n;
	while (end && line[end - 1].is_libc)
		end--;
	for (n = end; n && (line[n - 1].is_library || is_of_thread(line[n - 1].function)); n--)
		continue;
	for (size_t i = n; n && i < end; i++)
		line[i].is_folded = true;
}

static struct frame_line line_of(const struct frame *frame, size_t k)
{
	const struct name_frame *n = &frame->name.frame[k];
	bool has_source = n->file.len && n->line;
	return (struct frame_line){
		.function = n->function,
		.file = has_source ? n->file : span_of(frame->path),
		.line = has_source ? n->line : 0,
		.offset = k + 1 == frame->name.count ? frame->name.offset : 0,
		.object = frame->path,
		.file_address = frame->file_address,
		.is_own = !frame->is_libc && !frame->is_library && !is_of_language(n->function),
		.is_libc = frame->is_libc,
		.is_library = frame->is_library,
	};
}

const struct frame_line *frames_of(struct frames *f, const struct stack *s, size_t *count)
{
	*count = 0;
	for (size_t i = 0; i < depth_of(s); i++) {
		int64_t n = number_of(f, &(struct place){s->pc[i], s->place});
		for (size_t k = 0; n >= 0 && k < f->frames[n].name.count; k++)
			f->lines[(*count)++] = line_of(&f->frames[n], k);
	}
	fold_inner(f->lines, *count);
	fold_outer(f->lines, *count);
	return f->lines;
}

const struct frame_line *frames_main(struct frames *f, const struct stack *s)
{
	size_t count;
	const struct frame_line *line = frames_of(f, s, &count);
	for (size_t i = 0; i < count; i++)
		if (line[i].is_own)
			return &line[i];
	for (size_t i = 0; i < count; i++)
		if (!line[i].is_folded)
			return &line[i];
	return count ? line : NULL;
}
