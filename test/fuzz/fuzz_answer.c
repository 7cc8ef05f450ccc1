/* fuzz_answer.c - any bytes as what the helper says to the listener, in pieces of any size.
 *
 * Runs in: its own process, under libFuzzer. No helper is started.
 *
 * The names taken must not depend on how the bytes were cut, and belong to addresses that were asked about.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/answers.c encoder/names/helper_program.c encoder/names/trouble.c
 * links: encoder/names/cache.c encoder/bytes/intern.c encoder/bytes/utf8.c encoder/bytes/out.c encoder/names/maps.c
 * links: shim/base/own_file.c shim/base/text.c test/fuzz/region_malloc.c */
#define _GNU_SOURCE
#include "test/fuzz/input.h"

#include "shim/base/os.h"

static struct {
	const uint8_t *at;
	size_t left, piece;
	bool pause; /* between pieces, there is nothing for a moment */
	int status;
} said;

static long read_said(void *buf, size_t n)
{
	n = n < said.piece ? n : said.piece;
	n = n < said.left ? n : said.left;
	said.pause = !said.pause;
	if (said.pause && said.piece % 2)
		return -EAGAIN;
	if (n)
		memcpy(buf, said.at, n);
	said.at += n;
	said.left -= n;
	return (long)n;
}

#define os_read(fd, buf, n) read_said(buf, n)
#include "encoder/names/container.h"
#include "encoder/names/symbolizer.c"
#undef os_read

int spawn(struct spawned *s, char *const argv[], uint64_t memory_bytes)
{
	(void)argv, (void)memory_bytes;
	*s = (struct spawned){.pid = 1, .to_fd = -1, .from_fd = -1};
	return 0;
}

int spawn_on_socket(struct spawned *s, char *const argv[], uint64_t memory_bytes, int fd, unsigned life_s)
{
	(void)s, (void)argv, (void)memory_bytes, (void)fd, (void)life_s;
	return -ENOSYS;
}

int spawn_error(void)
{
	return 0;
}

bool spawn_has_leftovers(void)
{
	return false;
}

long spawn_write(struct spawned *s, const void *bytes, uint64_t count)
{
	(void)s, (void)bytes;
	return (long)count;
}

void spawn_close_input(struct spawned *s)
{
	(void)s;
}

void spawn_stop(struct spawned *s)
{
	(void)s;
}

bool spawn_has_ended(struct spawned *s, int *status)
{
	*s = (struct spawned){0};
	*status = said.status;
	return true;
}

void spawn_start(void) {}

/* The test has all memory that it wants. */
uint64_t container_room(void)
{
	return UINT64_MAX;
}

/* --- what was asked ------------------------------------------------------------------------------------ */

static const struct module module[] = {{.path = "/a", .build_id = {0xaa}, .build_id_len = 20}, {.path = "/b"}};
static const uint64_t addresses[] = {0x10, 0x20, 0x2f, 0x1000, 0xfffffffffffffff0};
enum { MODULES = 2, ADDRESSES = sizeof addresses / sizeof *addresses };

static uint64_t hash_text(uint64_t h, struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		MUST((unsigned char)s.at[i] >= 0x20 && s.at[i] != 0x7f);
		h = (h ^ (unsigned char)s.at[i]) * 0x100000001b3;
	}
	return h * 31 + s.len;
}

static uint64_t hash_of(const struct cached *c)
{
	uint64_t h = c->start;
	MUST(c->complete && c->count <= SYMBOLIZE_FRAMES_MAX);
	for (uint32_t i = 0; i < c->count; i++) {
		const struct name_frame *f = &c->frame[i];
		MUST(f->function.len > 0);
		h = hash_text(hash_text(hash_text(h, f->function), f->system), f->file) * 31 + f->line + f->start_line;
	}
	return h + c->count + 1;
}

/* A number for all that is known after these bytes. */
static uint64_t ask(const uint8_t *data, size_t size, size_t piece, int status)
{
	static const struct encoder_options options = {
		.symbolizer = "/helper", .debug_dirs = "/d", .symbolizer_memory_bytes = 1 << 30};
	struct question q[MODULES];
	uint64_t h = 0;
	cache_start(64 << 20);
	symbolizer_start(&options);
	symbolizer_locate(&(struct maps){0});
	for (size_t i = 0; i < MODULES; i++)
		q[i] = (struct question){&module[i], module[i].path, addresses, ADDRESSES - i};
	said.at = data, said.left = size, said.piece = piece, said.pause = false, said.status = status;
	MUST(symbolizer_ask(q, MODULES) == 0);
	while (symbolizer_poll())
		continue;
	MUST(!helper.process.pid && !helper.region.chunks);
	for (size_t i = 0; i < MODULES; i++)
		for (size_t k = 0; k < ADDRESSES; k++) {
			const struct cached *c = cache_find(cache_object(&module[i]), addresses[k]);
			MUST(!c || k < q[i].count);
			h = h * 0x100000001b3 + (c ? hash_of(c) : 0);
		}
	for (uint64_t other = 0; other < 0x40; other++)
		MUST(other == 0x10 || other == 0x20 || other == 0x2f || !cache_find(cache_object(&module[0]), other));
	const char *trouble = symbolizer_trouble();
	h = trouble ? hash_text(h, span_of(trouble)) : h;
	cache_forget();
	return h;
}

/* What follows the end is taken or not, as the pieces are. */
static size_t up_to_end(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (data[i] == 'e' && (i == 0 || data[i - 1] == '\n')) {
			const uint8_t *end = memchr(data + i, '\n', size - i);
			return end ? (size_t)(end - data) + 1 : size;
		}
	return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	static const int status[] = {0, 9, 256, 11 | 128, -1};
	size_t piece = 1 + data[0];
	int how = status[data[1] % 5];
	size = up_to_end(data += 2, size - 2);
	MUST(ask(data, size, ANSWERS_ROOM, how) == ask(data, size, piece, how));
	return 0;
}
