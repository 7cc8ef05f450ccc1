/* test_gzip.c - what is compressed unpacks to what went in; the chunks of an out.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/bytes/gzip.c encoder/bytes/out.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "encoder/bytes/gzip.h"
#include "test/unit/support/count.h"

static char *join(const struct out *o)
{
	char *all = malloc(o->len + 1);
	size_t at = 0;
	for (const struct out_chunk *c = o->first; c; c = c->next) {
		assert_true(c->used <= c->cap);
		memcpy(all + at, c->bytes, c->used);
		at += c->used;
	}
	assert_int_equal(at, o->len);
	return all;
}

static void expect_unpacked(const struct out *o, const char *want, size_t len)
{
	char *packed = join(o), *got = malloc(len + 1);
	z_stream z = {.next_in = (unsigned char *)packed,
	              .avail_in = (unsigned)o->len,
	              .next_out = (unsigned char *)got,
	              .avail_out = (unsigned)len + 1};
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);     /* + 16: gzip's header and no other */
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END); /* checks its sum and length, too */
	assert_int_equal(z.total_out, len);
	assert_int_equal(z.avail_in, 0); /* nothing behind it */
	assert_memory_equal(got, want, len);
	inflateEnd(&z);
	free(packed);
	free(got);
}

static void test_what_goes_in_comes_out(void **state)
{
	static const struct {
		size_t len, piece;
		unsigned noise; /* of 256 values: how random */
	} rows[] = {{0, 1, 1},     {1, 1, 1},           {100, 7, 4},      {5000, 5000, 256},
	            {70000, 1, 2}, {300000, 4096, 256}, {2000000, 131, 8}};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		uint64_t before = arena_mapped_bytes(), x = 88172645463325252u;
		struct region r = {0};
		struct gzip *g = region_alloc(&r, sizeof *g);
		struct out o;
		char *in = malloc(rows[i].len + 1);
		for (size_t k = 0; k < rows[i].len; k++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			in[k] = (char)(x % rows[i].noise);
		}
		out_init(&o, &r);
		assert_int_equal(gzip_begin(g, &r, &o), 0);
		for (size_t k = 0; k < rows[i].len; k += rows[i].piece)
			gzip_bytes(g, in + k, rows[i].len - k < rows[i].piece ? rows[i].len - k : rows[i].piece);
		gzip_bytes(g, in, 0);
		gzip_end(g);
		assert_false(o.failed);
		expect_unpacked(&o, in, rows[i].len);
		if (rows[i].noise < 16 && rows[i].len > 10000)
			assert_true(o.len < rows[i].len / 2);
		free(in);
		region_release(&r);
		assert_int_equal(arena_mapped_bytes(), before);
	}
}

static void test_the_same_input_gives_the_same_bytes(void **state)
{
	(void)state;
	struct region r = {0};
	struct out o[2];
	char *all[2];
	for (int i = 0; i < 2; i++) {
		struct gzip *g = region_alloc(&r, sizeof *g);
		out_init(&o[i], &r);
		assert_int_equal(gzip_begin(g, &r, &o[i]), 0);
		gzip_bytes(g, "pprof pprof pprof", 17);
		gzip_end(g);
		all[i] = join(&o[i]);
	}
	assert_int_equal(o[0].len, o[1].len);
	assert_memory_equal(all[0], all[1], o[0].len);
	assert_memory_equal(all[0], "\x1f\x8b\x08\0\0\0\0\0", 8); /* no name, no time */
	free(all[0]);
	free(all[1]);
	region_release(&r);
}

static void test_without_memory_it_says_so_and_nothing_leaks(void **state)
{
	(void)state;
	pid_t child = fork();
	if (child == 0) {
		int failures = 0, successes = 0;
		for (size_t room = 0; room < 1 << 20; room += 1 << 16) {
			struct region r = {0};
			struct out o;
			struct gzip g;
			out_init(&o, &r);
			arena_set_limit(arena_mapped_bytes() + room);
			if (gzip_begin(&g, &r, &o) == -ENOMEM) {
				failures++;
			} else {
				for (uint64_t i = 0, x = 1; i < 200000;
				     i++, x = x * 6364136223846793005u + 1442695040888963407u)
					gzip_bytes(&g, (char *)&x + 4, 4);
				gzip_end(&g);
				successes += !o.failed;
			}
			region_release(&r);
			if (arena_mapped_bytes())
				_exit(2);
		}
		_exit(failures > 2 && successes == 0 ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_an_out_keeps_every_byte_in_order(void **state)
{
	(void)state;
	struct region r = {0};
	struct out o;
	char want[100];
	out_init(&o, &r);
	out_bytes(&o, NULL, 0);
	assert_int_equal(o.len, 0);
	for (int i = 0; i < 5000; i++) {
		out_str(&o, "line ");
		out_dec(&o, -i);
		out_span(&o, SPAN(" = 0x"));
		out_hex(&o, (uint64_t)i * 0x123456789);
		out_bytes(&o, "\n", 1);
	}
	char *all = join(&o), *at = all;
	for (int i = 0; i < 5000; i++) {
		struct line l = LINE(want);
		line_str(&l, "line ");
		line_dec(&l, -i);
		line_str(&l, " = 0x");
		line_hex(&l, (uint64_t)i * 0x123456789);
		line_str(&l, "\n");
		assert_memory_equal(at, want, l.len);
		at += l.len;
	}
	assert_int_equal(at - all, o.len);
	free(all);
	region_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_goes_in_comes_out),
		cmocka_unit_test(test_the_same_input_gives_the_same_bytes),
		cmocka_unit_test(test_without_memory_it_says_so_and_nothing_leaks),
		cmocka_unit_test(test_an_out_keeps_every_byte_in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
