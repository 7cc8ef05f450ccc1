/* table.c - the processes that have joined a door, and their names.
 *
 * Runs in: listener of the door's owner. No libc but mem*.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/door/table.h"

static struct member *place_at(const struct table *t, size_t place)
{
	struct member *block = t->blocks[place / TABLE_BLOCK];
	return block ? &block[place % TABLE_BLOCK] : NULL;
}

static struct member *make_block(struct table *t, size_t place)
{
	struct member *block = region_alloc(&t->region, TABLE_BLOCK * sizeof *block);
	for (size_t i = 0; block && i < TABLE_BLOCK; i++)
		block[i].fd = -1;
	t->blocks[place / TABLE_BLOCK] = block;
	return block;
}

static struct member *find_free(struct table *t)
{
	for (size_t place = 0; place < TABLE_MOST; place++) {
		struct member *m = place_at(t, place);
		if (!m)
			m = make_block(t, place);
		if (!m || m->fd < 0)
			return m;
	}
	return NULL;
}

struct member *table_add(struct table *t, int fd)
{
	struct member *m = find_free(t);
	if (!m)
		return NULL;
	*m = (struct member){.fd = fd, .identity = fd_identify(fd), .generation = m->generation + 1};
	t->count++;
	return m;
}

void table_remove(struct table *t, struct member *m)
{
	m->fd = -1;
	m->is_known = false;
	t->count--;
}

struct member *table_at(const struct table *t, size_t place)
{
	struct member *m = place < TABLE_MOST ? place_at(t, place) : NULL;
	return m && m->fd >= 0 ? m : NULL;
}

size_t table_place(const struct table *t, const struct member *m)
{
	for (size_t i = 0; i < TABLE_BLOCKS; i++)
		if (t->blocks[i] && m >= t->blocks[i] && m < t->blocks[i] + TABLE_BLOCK)
			return i * TABLE_BLOCK + (size_t)(m - t->blocks[i]);
	return TABLE_MOST;
}

static struct member *find(const struct table *t, int64_t pid, uint64_t twin)
{
	for (size_t place = 0; place < TABLE_MOST; place++) {
		struct member *m = table_at(t, place);
		if (m && m->is_known && m->pid == pid && m->twin == twin)
			return m;
	}
	return NULL;
}

void table_name(struct table *t, struct member *m, int32_t pid)
{
	uint32_t twin = 0;
	while ((twin == 0 && pid == t->own_pid) || find(t, pid, twin))
		twin = twin ? twin + 1 : 2;
	m->pid = pid;
	m->twin = twin;
	m->is_known = true;
}

void table_print_name(const struct member *m, struct line *l)
{
	line_dec(l, m->pid);
	if (m->twin) {
		line_str(l, "-");
		line_dec(l, m->twin);
	}
}

/* A name has one spelling: "042" is none. */
static bool read_number(struct span s, uint64_t *value)
{
	return s.len && s.at[0] != '0' && text_parse_uint(s, 10, value) && *value <= INT32_MAX;
}

struct member *table_find(const struct table *t, struct span name)
{
	uint64_t pid, twin = 0;
	bool has_twin = name.len && memchr(name.at, '-', name.len);
	struct span first = span_cut(&name, '-');
	if (!read_number(first, &pid) || (has_twin && !read_number(name, &twin)))
		return NULL;
	return find(t, (int64_t)pid, twin);
}

void table_clear(struct table *t)
{
	region_release(&t->region);
	*t = (struct table){.own_pid = t->own_pid};
}
