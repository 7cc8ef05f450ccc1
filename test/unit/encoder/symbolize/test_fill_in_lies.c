/* test_fill_in_lies.c - profiles that are damaged, packed otherwise, or large.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/symbolize/fill_in.c encoder/symbolize/completion.c encoder/symbolize/fill_lines.c
 * links: encoder/saved/profile_file.c encoder/saved/places.c encoder/profile/profile.pb-c.c
 * links: encoder/bytes/utf8.c */
#include "test/unit/encoder/symbolize/fill_in_made.h"

/* --- profiles and files that lie ------------------------------------------------------------------- */

static const char *wrong_with(const void *bytes, size_t len)
{
	int in = file_of(bytes, len), out = open("/dev/null", O_WRONLY);
	const char *wrong = complete_file(in, out, &(struct binaries){0}, stderr);
	close(in);
	close(out);
	return wrong;
}

static size_t gzip_of(const void *bytes, size_t len, unsigned char *out, size_t cap)
{
	z_stream z = {.next_in = (unsigned char *)(uintptr_t)bytes,
	              .avail_in = (unsigned)len,
	              .next_out = out,
	              .avail_out = (unsigned)cap};
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, 0), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

static void test_gzip_of_several_members_is_read(void **state)
{
	unsigned char bytes[4096], zipped[8192];
	(void)state;
	size_t len = pprof__profile__pack(make(), bytes), n = 0;
	for (size_t at = 0; at < len; at += 100)
		n += gzip_of(bytes + at, len - at < 100 ? len - at : 100, zipped + n, sizeof zipped - n);
	int in = file_of(zipped, n);
	Pprof__Profile *p;
	assert_null(profile_read(in, &p));
	assert_int_equal(pprof__profile__get_packed_size(p), len);
	pprof__profile__free_unpacked(p, NULL);
	close(in);
	/* cut anywhere, or with something behind it, it is refused */
	for (size_t cut = 1; cut < n; cut++)
		if (memcmp(zipped + cut, "\x1f\x8b\x08", 3) != 0)
			assert_non_null(wrong_with(zipped, cut));
	zipped[n] = 'x';
	assert_non_null(wrong_with(zipped, n + 1));
}

static void test_what_is_no_profile_is_refused(void **state)
{
	static const char *const others[] = {"",
	                                     "x",
	                                     "heap profile: 1: 2 [3: 4] @ heap/5\n",
	                                     "\x1f\x8b",
	                                     "\x1f\x8b\x08",
	                                     "{}",
	                                     "\n\x04\x08\x01\x10\x02"};
	(void)state;
	for (size_t i = 0; i < COUNT(others); i++)
		assert_non_null(wrong_with(others[i], strlen(others[i])));
	assert_non_null(complete_file(-1, -1, &(struct binaries){0}, stderr));
}

static void test_output_that_cannot_be_written_is_an_error(void **state)
{
	(void)state;
	int in = packed(make()), full = open("/dev/full", O_WRONLY);
	FILE *null = fopen("/dev/null", "w");
	assert_string_equal(complete_file(in, full, &(struct binaries){0}, null), "No space left on device");
	fclose(null);
	close(in);
	close(full);
}

static void test_numbers_that_point_nowhere_do_no_harm(void **state)
{
	(void)state;
	static const int64_t values[] = {-1, INT64_MIN, INT64_MAX, 1000};
	for (size_t i = 0; i < COUNT(values); i++) {
		Pprof__Profile *p = make();
		p->mapping[1]->filename = values[i];
		p->mapping[0]->build_id = values[i];
		p->function[0]->name = values[i];
		p->function[2]->filename = values[i];
		p->location[4]->line[0]->function_id = (uint64_t)values[i];
		p->location[5]->mapping_id = (uint64_t)values[i];
		p->location[2]->address = (uint64_t)values[i];
		pprof__profile__free_unpacked(complete_with(p, NULL, 0, NULL), NULL);
	}
	Pprof__Profile *p = make();
	p->function[0]->id = UINT64_MAX;
	int in = packed(p), out = open("/dev/null", O_WRONLY);
	assert_non_null(complete_file(in, out, &(struct binaries){0}, stderr));
	close(in);
	close(out);
}

static void test_any_bytes_are_a_profile_or_an_error(void **state)
{
	unsigned char good[4096], bytes[4096];
	size_t len = pprof__profile__pack(make(), good);
	uint64_t x = 88172645463325252u;
	int out = open("/dev/null", O_WRONLY);
	FILE *null = fopen("/dev/null", "w");
	(void)state;
	for (int round = 0; round < 20000; round++) {
		memcpy(bytes, good, len);
		for (unsigned k = 0; k <= round % 8u; k++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			bytes[x % len] =
				(x >> 40) & 1 ? (unsigned char)(x >> 32) : bytes[x % len] ^ (1u << (x >> 41) % 8);
		}
		int in = file_of(bytes, round % 16 ? len : x % len);
		complete_file(in, out, &(struct binaries){0}, null);
		close(in);
		assert_int_equal(objects_open, 0);
	}
	fclose(null);
	close(out);
}

/* More of everything than any table begins with. */
static void test_thousands_of_functions_fit(void **state)
{
	enum { N = 5000 };
	(void)state;
	Pprof__Profile *p = make();
	Pprof__Function *many = calloc(N, sizeof *many), **all = calloc(N, sizeof *all);
	Pprof__Location *at = calloc(N, sizeof *at), **ats = calloc(N, sizeof *ats);
	for (size_t i = 0; i < N; i++) {
		many[i] = (Pprof__Function)PPROF__FUNCTION__INIT;
		many[i].id = N - i;
		all[i] = &many[i];
		at[i] = (Pprof__Location)PPROF__LOCATION__INIT;
		at[i].id = i + 1, at[i].mapping_id = 1, at[i].address = 0x402000 + i;
		ats[i] = &at[i];
	}
	p->function = all, p->n_function = N;
	p->location = ats, p->n_location = N;
	p = complete_with(p, NULL, 0, NULL);
	assert_int_equal(p->n_function, 2 * N);
	for (size_t i = 0; i < N; i++) {
		char want[64];
		snprintf(want, sizeof want, "f%zx", 0x3000 + i);
		assert_int_equal(p->location[i]->line[0]->function_id, N + 1 + i);
		assert_string_equal(p->string_table[p->function[N + i]->name], want);
	}
	pprof__profile__free_unpacked(p, NULL);
	free(many), free(all), free(at), free(ats);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gzip_of_several_members_is_read),
		cmocka_unit_test(test_what_is_no_profile_is_refused),
		cmocka_unit_test(test_output_that_cannot_be_written_is_an_error),
		cmocka_unit_test(test_numbers_that_point_nowhere_do_no_harm),
		cmocka_unit_test(test_any_bytes_are_a_profile_or_an_error),
		cmocka_unit_test(test_thousands_of_functions_fit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
