/* maps.c - read /proc/self/maps. Format: proc(5).
 *
 * Runs in: listener. Lives in a request's region; system calls and mem* alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/maps.h"

#include "shim/base/os.h"

static int read_text(struct region *r, struct span *text)
{
	int fd = (int)os_open("/proc/self/maps", O_RDONLY);
	if (fd < 0)
		return fd;
	size_t cap = 64 * 1024, len = 0;
	char *buf = region_alloc(r, cap);
	long n = buf ? 1 : -ENOMEM;
	while (n > 0) {
		if (len == cap) {
			char *bigger = region_alloc(r, cap *= 2);
			if (!bigger) {
				n = -ENOMEM;
				break;
			}
			buf = memcpy(bigger, buf, len);
		}
		n = os_read(fd, buf + len, cap - len);
		len += n > 0 ? (size_t)n : 0;
	}
	os_close(fd);
	*text = (struct span){buf, len};
	return n < 0 ? (int)n : 0;
}

/* "start-end perms offset major:minor inode   path" */
static bool parse_line(struct span line, struct map *m)
{
	static const char deleted[] = " (deleted)";
	uint64_t start, end, offset;
	struct span range = span_cut(&line, ' ');
	struct span low = span_cut(&range, '-');
	span_cut(&line, ' '); /* permissions */
	if (!text_parse_uint(low, 16, &start) || !text_parse_uint(range, 16, &end) ||
	    !text_parse_uint(span_cut(&line, ' '), 16, &offset))
		return false;
	span_cut(&line, ' '); /* device */
	span_cut(&line, ' '); /* inode */
	while (line.len && line.at[0] == ' ')
		line.at++, line.len--;
	size_t tail = sizeof deleted - 1;
	*m = (struct map){
		.start = start,
		.end = end,
		.offset = offset,
		.deleted = line.len > tail && memcmp(line.at + line.len - tail, deleted, tail) == 0,
		.path = line,
	};
	if (m->deleted)
		m->path.len -= tail;
	return true;
}

int maps_read(struct region *r, struct maps *m)
{
	*m = (struct maps){0};
	int error = read_text(r, &m->text);
	if (error < 0)
		return error;
	size_t lines = 0;
	for (struct span rest = m->text; rest.len; lines++)
		span_cut(&rest, '\n');
	m->at = region_alloc(r, lines * sizeof *m->at + 1);
	if (!m->at)
		return -ENOMEM;
	for (struct span rest = m->text; rest.len;)
		m->count += parse_line(span_cut(&rest, '\n'), &m->at[m->count]);
	return 0;
}

const struct map *maps_first_above(const struct maps *m, uintptr_t address)
{
	size_t low = 0, high = m->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (address >= m->at[middle].end)
			low = middle + 1;
		else
			high = middle;
	}
	return m->at + low;
}

const struct map *maps_find(const struct maps *m, uintptr_t address)
{
	const struct map *map = maps_first_above(m, address);
	return map < m->at + m->count && address >= map->start ? map : NULL;
}

/* The kernel's names of shared memory: memfd_create(2), MAP_HUGETLB, and anonymous shared mappings. */
bool maps_is_object(const struct map *map)
{
	static const char *const memory[] = {"/memfd:", "/anon_hugepage", "/dev/zero", "/SYSV"};
	for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
		if (span_starts(map->path, memory[i]))
			return false;
	return span_starts(map->path, "/") || span_is(map->path, "[vdso]") || span_is(map->path, "[vsyscall]");
}
