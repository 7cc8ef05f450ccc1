/* test_profile.c - snapshots made by hand, encoded, unpacked with zlib and protobuf-c, and compared.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/answers.c encoder/names/helper_program.c encoder/names/object_file.c encoder/names/trouble.c
 * links: encoder/bytes/protobuf.c encoder/profile/profile.c encoder/profile/writer.c
 * links: encoder/profile/mappings.c encoder/profile/profile.pb-c.c encoder/names/names.c
 * links: encoder/names/site.c encoder/names/tails.c encoder/names/ways.c
 * links: encoder/names/cache.c encoder/names/symbolizer.c encoder/names/container.c encoder/names/jit.c
 * links: shim/base/own_file.c shim/listener/spawn.c shim/listener/keeper.c shim/listener/filters.c
 * links: encoder/names/elf_symbols.c encoder/names/maps.c
 * links: encoder/profile/rows.c encoder/bytes/sort.c encoder/bytes/intern.c encoder/bytes/gzip.c encoder/bytes/out.c
 * links: encoder/bytes/utf8.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#include "test/unit/encoder/profile/profile_made.h"

static void expect_types(const Pprof__Profile *p, const char *const *names, size_t count, const char *period_name,
                         const char *period_unit, int64_t period, const char *preset)
{
	assert_int_equal(p->n_sample_type, count);
	for (size_t i = 0; i < count; i++) {
		assert_string_equal(text(p, p->sample_type[i]->type), names[2 * i]);
		assert_string_equal(text(p, p->sample_type[i]->unit), names[2 * i + 1]);
	}
	assert_non_null(p->period_type);
	assert_string_equal(text(p, p->period_type->type), period_name);
	assert_string_equal(text(p, p->period_type->unit), period_unit);
	assert_int_equal(p->period, period);
	assert_string_equal(text(p, p->default_sample_type), preset);
}

static const char *const heap_types[] = {"alloc_objects", "count", "alloc_space", "bytes",
                                         "inuse_objects", "count", "inuse_space", "bytes"};

static void test_each_kind_has_its_types_in_order_even_without_samples(void **state)
{
	static const char *const thread_types[] = {"threadcreate", "count"};
	(void)state;
	struct profile_snapshot s = heap(PROFILE_HEAP, 0);
	Pprof__Profile *p = encode(&s, NULL);
	expect_types(p, heap_types, 4, "space", "bytes", 524288, "inuse_space");
	assert_int_equal(p->n_sample, 0);
	assert_int_equal(p->n_location, 0);
	assert_true(p->n_mapping > 0);
	assert_int_equal(p->time_nanos, 1234567890123456789);
	assert_int_equal(p->duration_nanos, 0);
	assert_non_null(strstr(text(p, p->drop_frames), "operator new"));
	drop(p);
	s.kind = PROFILE_ALLOCS;
	p = encode(&s, NULL);
	expect_types(p, heap_types, 4, "space", "bytes", 524288, "alloc_space");
	drop(p);
	s = (struct profile_snapshot){.kind = PROFILE_THREADCREATE, .threads = {.time_ns = 42}};
	p = encode(&s, NULL);
	expect_types(p, thread_types, 1, "threadcreate", "count", 1, "");
	assert_int_equal(p->time_nanos, 42);
	drop(p);
	s = (struct profile_snapshot){.kind = PROFILE_GOROUTINE, .dump = {.time_ns = 43}};
	p = encode(&s, NULL);
	expect_types(p, (const char *const[]){"goroutine", "count"}, 1, "goroutine", "count", 1, "");
	assert_int_equal(p->time_nanos, 43);
	assert_string_equal(text(p, p->drop_frames), "");
	drop(p);
	for (enum profile_kind kind = PROFILE_BLOCK; kind <= PROFILE_MUTEX; kind++) {
		s = (struct profile_snapshot){.kind = kind, .contention = {.time_ns = 46}};
		p = encode(&s, NULL);
		expect_types(p, (const char *const[]){"contentions", "count", "delay", "nanoseconds"}, 2, "contentions",
		             "count", 1, "");
		assert_int_equal(p->time_nanos, 46);
		assert_int_equal(p->duration_nanos, 0);
		assert_string_equal(text(p, p->drop_frames), "");
		drop(p);
	}
	s = (struct profile_snapshot){.kind = PROFILE_CPU,
	                              .cpu = {.time_ns = 44, .duration_ns = 45, .period_ns = 10000000}};
	p = encode(&s, NULL);
	expect_types(p, (const char *const[]){"samples", "count", "cpu", "nanoseconds"}, 2, "cpu", "nanoseconds",
	             10000000, "");
	assert_int_equal(p->time_nanos, 44);
	assert_int_equal(p->duration_nanos, 45);
	assert_int_equal(p->n_comment, 0);
	assert_string_equal(text(p, p->drop_frames), "");
	drop(p);
}

static void expect_sample(const Pprof__Profile *p, size_t i, const struct stack *stack, const int64_t value[4],
                          int64_t bytes)
{
	const Pprof__Sample *s = p->sample[i];
	assert_int_equal(s->n_location_id, stack->depth);
	for (size_t k = 0; k < stack->depth; k++)
		assert_int_equal(p->location[s->location_id[k] - 1]->address, stack->pc[k]);
	assert_memory_equal(s->value, value, 4 * sizeof *value);
	if (bytes) {
		assert_int_equal(s->n_label, 1);
		assert_string_equal(text(p, s->label[0]->key), "bytes");
		assert_int_equal(s->label[0]->num, bytes);
		assert_int_equal(s->label[0]->str, 0);
	} else {
		assert_int_equal(s->n_label, 0);
	}
}

static void test_heap_samples_hold_the_estimates_their_stack_and_their_size(void **state)
{
	(void)state;
	struct profile_snapshot s = heap(PROFILE_HEAP, COUNT(heap_rows));
	Pprof__Profile *p = encode(&s, NULL);
	assert_int_equal(p->n_sample, 5); /* the all-zero one is left out */
	expect_sample(p, 0, stacks[0], (int64_t[]){200, 3200, 100, 1600}, 16);
	expect_sample(p, 1, stacks[0], (int64_t[]){70, 4200, 70, 4200}, 64);
	expect_sample(p, 2, stacks[1], (int64_t[]){500, 30000, 0, 0}, 64);
	expect_sample(p, 3, stacks[2], (int64_t[]){1, 0, 1, 0}, 0);
	expect_sample(p, 4, stacks[3], (int64_t[]){128, 524288, 128, 524288}, 4096);
	drop(p);
}

static void test_a_delta_is_the_difference_with_its_duration(void **state)
{
	(void)state;
	struct heap_row old_rows[2] = {{.raw = {1, 16, 1, 16}, .scaled = {100, 1600, 50, 800}},
	                               {.raw = {1, 60, 0, 0}, .scaled = {70, 4200, 0, 0}}};
	struct profile_snapshot now = heap(PROFILE_HEAP, 3), before = now;
	old_rows[0].stack = old_rows[1].stack = stacks[0];
	before.heap.rows = old_rows;
	before.heap.count = 2;
	before.heap.time_ns = 1;
	before.mono_ns = 2000;
	Pprof__Profile *p = encode(&now, &before);
	assert_int_equal(p->duration_nanos, 7000);
	assert_int_equal(p->time_nanos, 1234567890123456789);
	assert_int_equal(p->n_sample, 2);
	expect_sample(p, 0, stacks[0], (int64_t[]){100, 1600, 50, 800}, 16);
	expect_sample(p, 1, stacks[1], (int64_t[]){500, 30000, 0, 0}, 64);
	expect_types(p, heap_types, 4, "space", "bytes", 524288, "inuse_space");
	drop(p);
	p = encode(&now, &now);
	assert_int_equal(p->n_sample, 0);
	drop(p);
}

static void test_thread_samples_are_labelled_with_clean_names(void **state)
{
	(void)state;
	struct thread_row rows[] = {{stacks[0], "worker", 3},
	                            {stacks[0], "wei\xdfig", 1},
	                            {stacks[0], "wei\xc3\x9fig", 1},
	                            {stacks[0], NULL, 2},
	                            {stacks[1], "worker", 1}};
	static const char *const want[] = {"worker", "wei?ig", "wei\xc3\x9fig", NULL, "worker"};
	struct profile_snapshot s = {.kind = PROFILE_THREADCREATE,
	                             .threads = {.time_ns = 1, .count = COUNT(rows), .rows = rows}};
	Pprof__Profile *p = encode(&s, NULL);
	assert_int_equal(p->n_sample, COUNT(rows));
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_int_equal(p->sample[i]->value[0], rows[i].count);
		assert_int_equal(p->sample[i]->n_label, want[i] != NULL);
		if (want[i]) {
			assert_string_equal(text(p, p->sample[i]->label[0]->key), "thread");
			assert_string_equal(text(p, p->sample[i]->label[0]->str), want[i]);
			assert_int_equal(p->sample[i]->label[0]->num, 0);
		}
	}
	drop(p);
	struct profile_snapshot before = s;
	before.threads.count = 1;
	p = encode(&s, &before);
	assert_int_equal(p->n_sample, 2);
	assert_int_equal(p->sample[0]->value[0], 4);
	assert_int_equal(p->sample[0]->n_label, 0);
	assert_int_equal(p->sample[1]->value[0], 1);
	drop(p);
}

static void expect_stack(const Pprof__Profile *p, const Pprof__Sample *s, const struct stack *stack)
{
	assert_int_equal(s->n_location_id, stack->depth);
	for (size_t k = 0; k < stack->depth; k++)
		assert_int_equal(p->location[s->location_id[k] - 1]->address, stack->pc[k]);
}

static void test_cpu_samples_have_both_values_and_name_their_thread_twice(void **state)
{
	(void)state;
	struct cpu_row rows[] = {{stacks[0], "worker", 101, 3, 30000000},
	                         {stacks[0], "worker", 102, 1, 9999999},
	                         {stacks[1], "b\xff", 103, 7, 70000000},
	                         {stacks[2], "", 104, 1, 1}};
	static const char *const names[] = {"worker", "worker", "b?", NULL};
	const char *comments[] = {"5 samples lost: the ring was full", "one timer for all: \xff"};
	struct profile_snapshot s = {.kind = PROFILE_CPU,
	                             .cpu = {.time_ns = 1,
	                                     .duration_ns = 2,
	                                     .period_ns = 3,
	                                     .count = COUNT(rows),
	                                     .rows = rows,
	                                     .comment_count = 2,
	                                     .comments = comments}};
	loss = "7 things lost";
	Pprof__Profile *p = encode(&s, NULL);
	loss = NULL;
	assert_int_equal(p->n_sample, COUNT(rows));
	for (size_t i = 0; i < COUNT(rows); i++) {
		const Pprof__Sample *sample = p->sample[i];
		expect_stack(p, sample, rows[i].stack);
		assert_int_equal(sample->value[0], rows[i].count);
		assert_int_equal(sample->value[1], rows[i].ns);
		assert_int_equal(sample->n_label, names[i] ? 2 : 1);
		if (names[i]) {
			assert_string_equal(text(p, sample->label[0]->key), "thread");
			assert_string_equal(text(p, sample->label[0]->str), names[i]);
			assert_int_equal(sample->label[0]->num, 0);
		}
		const Pprof__Label *tid = sample->label[sample->n_label - 1];
		assert_string_equal(text(p, tid->key), "tid");
		assert_int_equal(tid->str, 0);
		assert_int_equal(tid->num, rows[i].tid);
	}
	assert_string_equal(name_at(p, p->sample[0]->location_id[0]), "first_function_of_the_test");
	assert_int_equal(p->n_comment, 3);
	assert_string_equal(text(p, p->comment[0]), comments[0]);
	assert_string_equal(text(p, p->comment[1]), "one timer for all: ?");
	assert_string_equal(text(p, p->comment[2]), "7 things lost");
	drop(p);
}

static void test_contention_samples_have_both_values_and_name_the_call_they_waited_in(void **state)
{
	(void)state;
	struct stack *waits = stack_of(0, (size_t)3, (uintptr_t)second_function_of_the_test,
	                               (uintptr_t)first_function_of_the_test + 1, (uintptr_t)0x9010);
	struct contention_row rows[] = {
		{waits, 3, 5000000000}, {stacks[1], 7, 0}, {stacks[0], 0, 0}, {stacks[2], 1, 1}};
	struct profile_snapshot s = {.kind = PROFILE_BLOCK,
	                             .mono_ns = 700,
	                             .contention = {.time_ns = 1, .count = COUNT(rows), .rows = rows}};
	Pprof__Profile *p = encode(&s, NULL);
	assert_int_equal(p->n_sample, 3);
	expect_stack(p, p->sample[0], waits);
	assert_int_equal(p->sample[0]->value[0], 3);
	assert_int_equal(p->sample[0]->value[1], 5000000000);
	assert_int_equal(p->sample[0]->n_label, 0);
	assert_string_equal(name_at(p, p->sample[0]->location_id[0]),
	                    "second_function_of_the_test"); /* its first byte */
	assert_string_equal(name_at(p, p->sample[0]->location_id[1]), "first_function_of_the_test");
	expect_stack(p, p->sample[1], stacks[1]);
	assert_int_equal(p->sample[1]->value[0], 7);
	assert_int_equal(p->n_comment, 0);
	drop(p);
	struct contention_row old[] = {{waits, 1, 4000000000}, {stacks[1], 7, 0}};
	struct profile_snapshot now = s, before = s;
	now.kind = before.kind = PROFILE_MUTEX;
	before.mono_ns = 200;
	before.contention.rows = old;
	before.contention.count = COUNT(old);
	p = encode(&now, &before);
	assert_int_equal(p->duration_nanos, 500);
	assert_int_equal(p->n_sample, 2);
	expect_stack(p, p->sample[0], waits);
	assert_int_equal(p->sample[0]->value[0], 2);
	assert_int_equal(p->sample[0]->value[1], 1000000000);
	expect_stack(p, p->sample[1], stacks[2]);
	assert_int_equal(p->sample[1]->value[1], 1);
	drop(p);
	free(waits);
}

static void test_a_goroutine_profile_counts_threads_by_stack_and_tells_who_is_missing(void **state)
{
	(void)state;
	struct dump_thread t[6] = {{.tid = 1, .stack = stacks[0]}, {.tid = 2, .stack = stacks[1]},
	                           {.tid = 3, .reason = "asleep"}, {.tid = 4, .stack = stacks[1]},
	                           {.tid = 5, .stack = stacks[4]}, {.tid = 6, .stack = stacks[1]}};
	for (size_t i = 0; i < COUNT(t); i++)
		t[i].name = "pool", t[i].state = "running";
	struct profile_snapshot s = {
		.kind = PROFILE_GOROUTINE, .mono_ns = 100, .dump = {.time_ns = 1, .count = COUNT(t), .threads = t}};
	Pprof__Profile *p = encode(&s, NULL);
	assert_int_equal(p->n_sample, 2);
	expect_stack(p, p->sample[0], stacks[0]);
	assert_int_equal(p->sample[0]->value[0], 1);
	expect_stack(p, p->sample[1], stacks[1]);
	assert_int_equal(p->sample[1]->value[0], 3);
	assert_int_equal(p->sample[1]->n_label, 0);
	assert_int_equal(p->n_comment, 1);
	assert_string_equal(text(p, p->comment[0]), "2 threads could not be reached: see goroutine?debug=2");
	drop(p);
	struct profile_snapshot now = s;
	now.mono_ns = 150;
	now.dump.threads = t + 1;
	now.dump.count = 3;
	p = encode(&now, &s);
	assert_int_equal(p->duration_nanos, 50);
	assert_int_equal(p->n_sample, 2);
	expect_stack(p, p->sample[0], stacks[1]);
	assert_int_equal(p->sample[0]->value[0], -1);
	expect_stack(p, p->sample[1], stacks[0]);
	assert_int_equal(p->sample[1]->value[0], -1);
	assert_string_equal(text(p, p->comment[0]), "1 thread could not be reached: see goroutine?debug=2");
	drop(p);
}

static void test_a_loss_is_a_comment(void **state)
{
	(void)state;
	struct profile_snapshot s = heap(PROFILE_HEAP, 1);
	loss = "7 things lost \xff";
	Pprof__Profile *p = encode(&s, NULL);
	loss = NULL;
	assert_int_equal(p->n_comment, 1);
	assert_string_equal(text(p, p->comment[0]), "7 things lost ?");
	drop(p);
	p = encode(&s, NULL);
	assert_int_equal(p->n_comment, 0);
	drop(p);
}

static void test_a_stack_without_frames_does_no_harm(void **state)
{
	(void)state;
	struct heap_row row = {.stack = stacks[4], .class_bytes = 16, .raw = {1, 16, 0, 0}, .scaled = {1, 16, 0, 0}};
	struct profile_snapshot s = heap(PROFILE_HEAP, 1);
	s.heap.rows = &row;
	Pprof__Profile *p = encode(&s, NULL);
	assert_int_equal(p->n_sample, 1);
	assert_int_equal(p->sample[0]->n_location_id, 0);
	drop(p);
}

static void test_thousands_of_samples_are_all_there(void **state)
{
	enum { N = 5000 };
	(void)state;
	struct heap_row *rows = calloc(N, sizeof *rows);
	for (size_t i = 0; i < N; i++) {
		rows[i] = (struct heap_row){
			.stack = stack_of(0, (size_t)2, (uintptr_t)0x5000000000 + i * 16, (uintptr_t)0x9010),
			.class_bytes = 8 + i % 3 * 8,
			.raw = {1, 8, 0, 0},
			.scaled = {i + 1, (i + 1) * 8, 0, 0}};
	}
	struct profile_snapshot s = heap(PROFILE_ALLOCS, N);
	s.heap.rows = rows;
	Pprof__Profile *p = encode(&s, NULL);
	assert_int_equal(p->n_sample, N);
	assert_int_equal(p->n_location, N + 1);
	for (size_t i = 0; i < N; i++) {
		assert_int_equal(p->sample[i]->value[0], i + 1);
		assert_int_equal(p->location[p->sample[i]->location_id[0] - 1]->address, 0x5000000000 + i * 16);
	}
	drop(p);
	for (size_t i = 0; i < N; i++)
		free((void *)rows[i].stack);
	free(rows);
}

static void test_without_memory_the_encoder_says_so(void **state)
{
	(void)state;
	pid_t child = fork();
	if (child == 0) {
		struct profile_snapshot s = heap(PROFILE_HEAP, COUNT(heap_rows));
		int failures = 0, error = -1;
		uint64_t base = arena_mapped_bytes();
		for (size_t room = 0; error && room < 8 << 20; room += 1 << 16) {
			struct region r = {0};
			struct out o;
			out_init(&o, &r);
			arena_set_limit(base + room);
			error = profile_encode(&r, &o, &s, NULL, NULL);
			if (error && error != -ENOMEM)
				_exit(2);
			failures += error == -ENOMEM;
			region_release(&r);
		}
		_exit(error == 0 && failures > 2 ? 0 : 1);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_any_bytes_become_well_formed_text(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		const char *out;
	} rows[] = {
		{"", 0, ""},
		{"abc", 3, "abc"},
		{"a\0b", 3, "a?b"},
		{"\xc3\xa4", 2, "\xc3\xa4"},
		{"\xe2\x82\xac", 3, "\xe2\x82\xac"},
		{"\xf0\x9f\x98\x80", 4, "\xf0\x9f\x98\x80"},
		{"a\xff", 2, "a?"},
		{"\xc3", 1, "?"},
		{"\xe2\x82", 2, "??"},
		{"\x80", 1, "?"},
		{"\xc0\x80", 2, "??"},
		{"\xc1\xbf", 2, "??"},
		{"\xe0\x80\x80", 3, "???"},
		{"\xed\xa0\x80", 3, "???"},
		{"\xf0\x80\x80\x80", 4, "????"},
		{"\xf4\x90\x80\x80", 4, "????"},
		{"\xf5\x80\x80\x80", 4, "????"},
		{"\xf8\x88\x80\x80\x80", 5, "?????"},
		{"\xc3\xa4\xff", 3, "???"},
		{"\xed\x9f\xbf", 3, "\xed\x9f\xbf"},
		{"\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf"},
		{"\xc3\x28", 2, "?("},
	};
	(void)state;
	struct region r = {0};
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_string_equal(utf8_copy(&r, (struct span){rows[i].in, rows[i].len}), rows[i].out);
	region_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_kind_has_its_types_in_order_even_without_samples),
		cmocka_unit_test(test_heap_samples_hold_the_estimates_their_stack_and_their_size),
		cmocka_unit_test(test_a_delta_is_the_difference_with_its_duration),
		cmocka_unit_test(test_thread_samples_are_labelled_with_clean_names),
		cmocka_unit_test(test_cpu_samples_have_both_values_and_name_their_thread_twice),
		cmocka_unit_test(test_contention_samples_have_both_values_and_name_the_call_they_waited_in),
		cmocka_unit_test(test_a_goroutine_profile_counts_threads_by_stack_and_tells_who_is_missing),
		cmocka_unit_test(test_a_loss_is_a_comment),
		cmocka_unit_test(test_a_stack_without_frames_does_no_harm),
		cmocka_unit_test(test_thousands_of_samples_are_all_there),
		cmocka_unit_test(test_without_memory_the_encoder_says_so),
		cmocka_unit_test(test_any_bytes_become_well_formed_text),
	};
	return cmocka_run_group_tests(tests, start, NULL);
}
