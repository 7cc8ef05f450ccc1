/* answers.c - what the helper program says, line by line, taken into the cache.
 *
 * Runs in: listener. The answers are not trusted.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/answers.h"

#include <errno.h>
#include <string.h>

#include "encoder/bytes/sort.h"
#include "encoder/symbolize/protocol.h"

enum { TEXT_BYTES = 4 * SYMBOLIZE_LINE_MAX }; /* of an address's frames */

int answers_prepare(struct answers *a, struct region *r, const struct question *q, size_t count)
{
	a->at = region_alloc(r, count * sizeof *a->at + 1);
	a->line = region_alloc(r, SYMBOLIZE_LINE_MAX + 1 + ANSWERS_ROOM);
	a->frame = region_alloc(r, SYMBOLIZE_FRAMES_MAX * sizeof *a->frame);
	a->frame_text = region_alloc(r, TEXT_BYTES);
	a->jump = region_alloc(r, SYMBOLIZE_JUMPS_MAX * sizeof *a->jump);
	if (!a->at || !a->line || !a->frame || !a->frame_text || !a->jump)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		struct asked *asked = &a->at[i];
		*asked = (struct asked){
			.object = cache_object(q[i].module),
			.asked = q[i].count,
			.address = region_alloc(r, q[i].count * sizeof *asked->address + 1),
			.is_answered = region_alloc(r, q[i].count + 1),
		};
		if (!asked->object || !asked->address || !asked->is_answered)
			return -ENOMEM;
		memcpy(asked->address, q[i].address, q[i].count * sizeof *asked->address);
	}
	a->count = a->current = count;
	return 0;
}

char *answers_room(const struct answers *a)
{
	return a->line + SYMBOLIZE_LINE_MAX + 1;
}

bool *answers_find(const struct asked *a, uint64_t address)
{
	size_t i = sort_first_from(a->address, a->asked, sizeof *a->address, address);
	return i < a->asked && a->address[i] == address && !a->is_answered[i] ? &a->is_answered[i] : NULL;
}

static void put_address(struct answers *a)
{
	if (!a->has_address)
		return;
	struct asked *asked = &a->at[a->current];
	a->has_address = false;
	*answers_find(asked, a->address) = true;
	asked->answered++;
	if (a->address & CACHE_CALL) {
		cache_put_jumps(asked->object, a->address, a->start, a->jump, a->jumps);
		return;
	}
	cache_put(asked->object, a->address, a->start, a->frame, a->frame_count, true);
	if (a->calls.len)
		cache_put_callee(asked->object, a->address, a->calls, a->called);
}

static bool cut_number(struct span *rest, char separator, unsigned base, uint64_t *value)
{
	return text_parse_uint(span_cut(rest, separator), base, value);
}

static void take_address(struct answers *a, struct span rest)
{
	a->has_address = cut_number(&rest, ' ', 16, &a->address) && cut_number(&rest, ' ', 16, &a->start) &&
	                 a->current < a->count && answers_find(&a->at[a->current], a->address);
	a->frame_count = 0;
	a->frame_text_len = 0;
	a->calls = (struct span){0};
	a->jumps = 0;
}

/* Copy a text that is kept until the address is complete. False: there is no room for it. */
static bool keep_part(struct answers *a, struct span *text)
{
	char *copy = a->frame_text + a->frame_text_len;
	if (text->len > TEXT_BYTES - a->frame_text_len)
		return false;
	memcpy(copy, text->at, text->len);
	a->frame_text_len += text->len;
	text->at = copy;
	return true;
}

/* "start name" */
static void take_callee(struct answers *a, struct span rest)
{
	if (a->has_address && cut_number(&rest, ' ', 16, &a->called) && keep_part(a, &rest))
		a->calls = rest;
}

/* "from at to\tname" */
static void take_jump(struct answers *a, struct span rest)
{
	struct way_jump j;
	if (a->has_address && a->jumps < SYMBOLIZE_JUMPS_MAX && cut_number(&rest, ' ', 16, &j.from) &&
	    cut_number(&rest, ' ', 16, &j.at) && cut_number(&rest, '\t', 16, &j.to) && keep_part(a, &rest)) {
		j.name = rest;
		a->jump[a->jumps++] = j;
	} else {
		a->start = 0; /* a jump is missing: the list must not count as complete */
	}
}

static uint32_t line_number(uint64_t n)
{
	return n <= INT32_MAX ? (uint32_t)n : 0;
}

/* "12 10\tfile\tsystem\tname" */
static void take_frame(struct answers *a, struct span rest)
{
	uint64_t line, start_line;
	if (!a->has_address || a->frame_count >= SYMBOLIZE_FRAMES_MAX || !cut_number(&rest, ' ', 10, &line) ||
	    !cut_number(&rest, '\t', 10, &start_line) || !keep_part(a, &rest))
		return;
	struct name_frame f = {.line = line_number(line), .start_line = line_number(start_line)};
	f.file = span_cut(&rest, '\t');
	f.system = span_cut(&rest, '\t');
	f.function = rest;
	if (f.function.len)
		a->frame[a->frame_count++] = f;
}

static void take_line(struct answers *a, struct span line)
{
	uint64_t n;
	struct span letter = span_cut(&line, ' ');
	char c = letter.len == 1 ? letter.at[0] : '\0';
	if (c != 'f' && c != 'c' && c != 'g')
		put_address(a);
	switch (c) {
	case 'o':
		a->current = text_parse_uint(line, 10, &n) && n < a->count ? n : a->count;
		a->begun = a->current < a->count ? a->current + 1 : a->begun;
		break;
	case 'a': take_address(a, line); break;
	case 'f': take_frame(a, line); break;
	case 'c': take_callee(a, line); break;
	case 'g': take_jump(a, line); break;
	case 'e': a->is_done = true; break;
	default: break;
	}
}

void answers_take(struct answers *a, const char *bytes, size_t n)
{
	while (n) {
		const char *end = memchr(bytes, '\n', n);
		size_t part = end ? (size_t)(end - bytes) : n;
		size_t fits = SYMBOLIZE_LINE_MAX + 1 - a->line_len;
		memcpy(a->line + a->line_len, bytes, part < fits ? part : fits);
		a->line_len += part < fits ? part : fits;
		if (end) {
			if (a->line_len <= SYMBOLIZE_LINE_MAX)
				take_line(a, (struct span){a->line, a->line_len});
			a->line_len = 0;
			part++;
		}
		bytes += part;
		n -= part;
	}
}
