/* fuzz_jit.c - any bytes as a perf map: read backwards and in parts, it says what it says when read from its beginning.
 *
 * Runs in: its own process, under libFuzzer. The file is in memory.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/base/text.c test/fuzz/region_malloc.c */
#define _GNU_SOURCE
#include "test/fuzz/input.h"

#include "shim/base/house.h"
#include "shim/base/os.h"

struct house house = {.pid = SHARED_INIT(1)};

static int map;

#define os_open(path, flags) dup(map)
#include "encoder/names/jit.c"
#undef os_open

enum { QUERIES = 64 };

static void make_queries(struct jit_query *q)
{
	for (size_t i = 0; i < QUERIES; i++)
		q[i] = (struct jit_query){.address = i < 60 ? i * 3 + 0x10 : UINT64_MAX - (QUERIES - 1 - i) * 0x1000};
}

/* Every line from the first; the last one about an address counts. False: there is one of which only a part is read. */
static bool read_forward(const char *bytes, size_t len, struct jit_query *q)
{
	for (size_t at = 0; at < len;) {
		const char *end = memchr(bytes + at, '\n', len - at);
		if (!end)
			break;
		struct code c;
		struct span line = {bytes + at, (size_t)(end - bytes) - at};
		at += line.len + 1;
		if (line.len >= NAME_MAX_BYTES)
			return false;
		if (!parse_line(line, &c))
			continue;
		for (size_t i = 0; i < QUERIES; i++)
			if (q[i].address - c.start < c.size)
				q[i].name = c.name, q[i].start = c.start;
	}
	return true;
}

/* Lines of nothing behind the bytes put the border between two parts into them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char file[4 * PART_BYTES];
	struct jit_query got[QUERIES], want[QUERIES];
	struct region r = {0};
	if (size < 1 || size > 2 * PART_BYTES)
		return 0;
	size_t len = size - 1, behind = data[0] ? PART_BYTES - (len * data[0] / 256) % PART_BYTES : 0;
	memcpy(file, data + 1, len);
	for (size_t i = 0; i < behind; i++)
		file[len + i] = i % 512 && i + 1 < behind ? 'x' : '\n';
	file_fill(&map, file, len + behind);
	make_queries(got);
	make_queries(want);
	MUST(jit_names(&r, got, QUERIES) == 0);
	if (read_forward(file, len + behind, want))
		for (size_t i = 0; i < QUERIES; i++)
			MUST(got[i].name.len == want[i].name.len && got[i].start == want[i].start &&
			     (!got[i].name.len || memcmp(got[i].name.at, want[i].name.at, got[i].name.len) == 0));
	region_release(&r);
	return 0;
}
