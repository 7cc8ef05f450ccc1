/* jit.c - names of code that was made at run time, from /tmp/perf-<pid>.map.
 *
 * Runs in: listener. The file grows while it is read and may have hundreds of megabytes, and every user can write to
 * /tmp. So it is used only if nobody but this user and root can have written it, and read in parts of a fixed size.
 *
 * The last line about an address counts, so the file is read backwards. A query is answered by the first line that
 * covers it, and then leaves the search. So memory grows with the queries, never with the file; a line costs a binary
 * search however much code it claims; and the search ends when all queries are answered.
 *
 * Format: Linux, tools/perf/Documentation/jit-interface.txt.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/jit.h"

#include <sys/stat.h>

#include "encoder/bytes/sort.h"
#include "shim/base/house.h"
#include "shim/base/os.h"

enum {
	PART_BYTES = 48 * 1024,
	FILE_MAX_BYTES = 64 << 20, /* read from the file's end */
	NAME_MAX_BYTES = 4096,
	LINE_MAX_BYTES = NAME_MAX_BYTES + 256, /* two numbers stand before the name */
};

struct search {
	int fd;
	char *part, *line;          /* buffers: PART_BYTES, LINE_MAX_BYTES */
	uint64_t part_at, part_end; /* the range of the file that `part` holds */
	struct region *region;
	struct jit_query *queries;
	size_t count, open_count; /* open: not answered */
	size_t *open;             /* [count + 1]: a later query on the way to the next open one; itself: it is open */
};

struct code {
	uintptr_t start;
	size_t size;
	struct span name;
};

/* --- a line ----------------------------------------------------------------------------------------- */

static bool take_number(struct span *line, uint64_t *value)
{
	*line = span_trim(*line);
	struct span digits = span_cut(line, ' ');
	if (span_starts(digits, "0x") || span_starts(digits, "0X"))
		digits = (struct span){digits.at + 2, digits.len - 2};
	return text_parse_uint(digits, 16, value);
}

static bool parse_line(struct span line, struct code *c)
{
	uint64_t start, size, end;
	if (!take_number(&line, &start) || !take_number(&line, &size) || __builtin_add_overflow(start, size, &end))
		return false;
	c->start = start;
	c->size = size;
	c->name = span_trim(line);
	if (c->name.len > NAME_MAX_BYTES)
		c->name.len = NAME_MAX_BYTES;
	return c->name.len > 0;
}

/* --- queries ---------------------------------------------------------------------------------------- */

/* Returns the first open query from i on; `count`: none. Shortens the path for the next search. */
static size_t first_open(struct search *s, size_t i)
{
	while (s->open[i] != i) {
		s->open[i] = s->open[s->open[i]];
		i = s->open[i];
	}
	return i;
}

static bool covers(const struct search *s, const struct code *c, size_t i)
{
	return i < s->count && s->queries[i].address - c->start < c->size;
}

/* Answer the queries that this code covers, unless a later line has. Returns 0, or -ENOMEM. */
static int answer(struct search *s, const struct code *c)
{
	size_t i = first_open(s, sort_first_from(s->queries, s->count, sizeof *s->queries, c->start));
	if (!covers(s, c, i))
		return 0;
	char *name = region_alloc(s->region, c->name.len);
	if (!name)
		return -ENOMEM;
	memcpy(name, c->name.at, c->name.len);
	for (; covers(s, c, i); i = first_open(s, i)) {
		s->queries[i].name = (struct span){name, c->name.len};
		s->queries[i].start = c->start;
		s->open[i] = i + 1;
		s->open_count--;
	}
	return 0;
}

/* --- the file, backwards ---------------------------------------------------------------------------- */

/* False: it became shorter, or cannot be read. */
static bool read_whole(int fd, char *buf, size_t n, uint64_t at)
{
	while (n) {
		long got = os_pread(fd, buf, n, at);
		if (got <= 0)
			return false;
		buf += got;
		at += (uint64_t)got;
		n -= (size_t)got;
	}
	return true;
}

/* Take the line from `begin` to its newline at `end`. If it reaches beyond the part in memory, its first
 * LINE_MAX_BYTES are read again. */
static int take_line(struct search *s, uint64_t begin, uint64_t end)
{
	struct span line = {s->part + (begin - s->part_at), end - begin};
	if (end > s->part_end) {
		line.at = s->line;
		if (line.len > LINE_MAX_BYTES)
			line.len = LINE_MAX_BYTES;
		if (!read_whole(s->fd, s->line, line.len, begin))
			return -EIO;
	}
	struct code c;
	return parse_line(line, &c) ? answer(s, &c) : 0;
}

static bool read_part_before(struct search *s, uint64_t end, uint64_t floor)
{
	size_t n = end - floor < PART_BYTES ? end - floor : PART_BYTES;
	s->part_at = end - n;
	s->part_end = end;
	return read_whole(s->fd, s->part, n, s->part_at);
}

/* Take the lines that end before `size`, the last one first, down to `floor`. Text after the last newline is still
 * being written and is skipped. So is text right after `floor`, which may cut a line, unless the file begins there. */
static int take_lines(struct search *s, uint64_t floor, uint64_t size)
{
	bool ended = false; /* is there a newline at `end`? */
	uint64_t end = 0;
	int error = 0;
	for (uint64_t at = size; at > floor && s->open_count && !error; at = s->part_at) {
		if (!read_part_before(s, at, floor))
			return -EIO;
		for (size_t i = at - s->part_at; i-- > 0 && s->open_count && !error;) {
			if (s->part[i] != '\n')
				continue;
			if (ended)
				error = take_line(s, s->part_at + i + 1, end);
			ended = true;
			end = s->part_at + i;
		}
	}
	return ended && floor == 0 && s->open_count && !error ? take_line(s, 0, end) : error;
}

/* --- whose file it is ------------------------------------------------------------------------------- */

/* A file with a second name may be another user's link to a file of ours that is no map. */
static bool is_trusted(const struct stat *st)
{
	return S_ISREG(st->st_mode) && !(st->st_mode & (S_IWGRP | S_IWOTH)) && st->st_nlink <= 1 &&
	       (st->st_uid == 0 || st->st_uid == (uid_t)os_call(SYS_geteuid, 0));
}

static int open_map(void)
{
	char path[64];
	struct line l = LINE(path);
	line_str(&l, "/tmp/perf-");
	line_dec(&l, house_pid());
	line_str(&l, ".map");
	long fd = os_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	return fd == -ELOOP ? -EPERM : (int)fd;
}

static int size_if_trusted(int fd, uint64_t *size)
{
	struct stat st;
	long error = os_call(SYS_fstat, fd, &st); /* the kernel's structure is libc's on 64-bit Linux */
	if (error < 0)
		return (int)error;
	*size = (uint64_t)st.st_size;
	return is_trusted(&st) ? 0 : -EPERM;
}

static int search_begin(struct search *s)
{
	s->part = region_alloc(s->region, PART_BYTES);
	s->line = region_alloc(s->region, LINE_MAX_BYTES);
	s->open = region_alloc(s->region, (s->count + 1) * sizeof *s->open);
	if (!s->part || !s->line || !s->open)
		return -ENOMEM;
	for (size_t i = 0; i <= s->count; i++)
		s->open[i] = i;
	return 0;
}

int jit_names(struct region *r, struct jit_query *queries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		queries[i] = (struct jit_query){.address = queries[i].address};
	struct search s = {.fd = open_map(), .region = r, .queries = queries, .count = count, .open_count = count};
	if (s.fd < 0)
		return s.fd;
	uint64_t size = 0;
	int error = size_if_trusted(s.fd, &size);
	if (!error)
		error = search_begin(&s);
	if (!error)
		error = take_lines(&s, size > FILE_MAX_BYTES ? size - FILE_MAX_BYTES : 0, size);
	os_close(s.fd);
	return error;
}
