/* test_trace_perfetto.c - execution traces for perfetto, read field by field: tracks are known, slices nest, times are
 * in order.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/names/answers.c encoder/names/helper_program.c encoder/names/object_file.c encoder/names/trouble.c
 * links: encoder/bytes/protobuf.c encoder/trace/perfetto.c encoder/trace/perfetto_writer.c
 * links: encoder/trace/order.c encoder/trace/frames.c encoder/names/tails.c encoder/names/ways.c
 * links: encoder/bytes/intern.c encoder/names/names.c encoder/names/cache.c encoder/names/symbolizer.c
 * links: encoder/names/site.c
 * links: encoder/names/container.c encoder/names/jit.c shim/base/own_file.c shim/listener/spawn.c
 * links: shim/listener/keeper.c shim/listener/filters.c
 * links: encoder/names/elf_symbols.c encoder/names/maps.c encoder/bytes/sort.c encoder/bytes/out.c
 * links: encoder/bytes/utf8.c shim/base/text.c shim/base/arena.c shim/base/sync.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "encoder/names/names.h"
#include "encoder/trace/trace.h"
#include "test/unit/encoder/trace/trace_made.h"

enum { TRACKS_MAX = 256, IIDS_MAX = 1 << 17 }; /* most of that memory is never touched */
enum table { FUNCTIONS, FRAMES, STACKS, MAPPINGS, TEXTS, TABLES };
static const unsigned table_field[TABLES] = {5, 6, 7, 19, 29}; /* of InternedData */

struct track {
	bool known;
	uint64_t last_ns, slice_ns; /* the sum of the outermost slices */
	uint64_t began_ns;
	unsigned depth;
};
struct file {
	struct track tracks[TRACKS_MAX];
	struct {
		bool begun;
		uint64_t last_ns;
		bool iids[TABLES][IIDS_MAX];
	} sequences[TRACKS_MAX];
	uint64_t counter, counter_ns;
	size_t slices, instants, callstacks;
};

struct field {
	unsigned number, type;
	uint64_t value; /* or the length */
	const uint8_t *at;
};

static uint64_t varint(const uint8_t **at, const uint8_t *end)
{
	uint64_t v = 0;
	for (unsigned shift = 0;; shift += 7) {
		assert_true(*at < end && shift < 64);
		v |= (uint64_t)(**at & 0x7f) << shift;
		if (*(*at)++ < 0x80)
			return v;
	}
}

static bool next_field(const uint8_t **at, const uint8_t *end, struct field *f)
{
	if (*at == end)
		return false;
	uint64_t key = varint(at, end);
	*f = (struct field){.number = (unsigned)(key >> 3), .type = key & 7};
	assert_true(f->number && (f->type == 0 || f->type == 2));
	f->value = varint(at, end);
	f->at = *at;
	if (f->type == 2) {
		assert_true(f->value <= (uint64_t)(end - *at));
		*at += f->value;
	}
	return true;
}

/* The first field of this number; absent: all zero. */
static struct field find(struct field message, unsigned number)
{
	const uint8_t *at = message.at;
	struct field f;
	while (next_field(&at, message.at + message.value, &f))
		if (f.number == number)
			return f;
	return (struct field){0};
}

static void read_descriptor(struct file *f, struct field d)
{
	uint64_t uuid = find(d, 1).value, parent = find(d, 5).value;
	assert_in_range(uuid, 1, TRACKS_MAX - 1);
	assert_false(f->tracks[uuid].known);
	assert_true(!parent || f->tracks[parent].known);
	assert_true(find(d, 3).number || find(d, 4).number || find(d, 8).number);
	f->tracks[uuid].known = true;
}

static void read_annotations(struct file *f, struct field event, uint64_t sequence)
{
	const uint8_t *at = event.at;
	struct field a;
	while (next_field(&at, event.at + event.value, &a)) {
		if (a.number != 4)
			continue;
		uint64_t iid = find(a, 17).value;
		assert_int_equal(find(a, 10).type, 2);
		assert_true(iid < IIDS_MAX && (!iid || f->sequences[sequence].iids[TEXTS][iid]));
		uint64_t callstack = find(event, 56).value;
		assert_true(!iid || f->sequences[sequence].iids[STACKS][callstack]);
	}
	f->callstacks += find(event, 56).number != 0;
}

static void read_event(struct file *f, struct field event, uint64_t ns, uint64_t sequence)
{
	uint64_t uuid = find(event, 11).value;
	struct track *t = &f->tracks[uuid];
	assert_true(uuid < TRACKS_MAX && t->known);
	assert_true(ns >= t->last_ns);
	t->last_ns = ns;
	read_annotations(f, event, sequence);
	switch (find(event, 9).value) {
	case 1:
		assert_true(find(event, 23).value);
		assert_int_equal(t->depth++, 0);
		t->began_ns = ns;
		break;
	case 2:
		assert_int_equal(t->depth--, 1);
		t->slice_ns += ns - t->began_ns;
		f->slices++;
		break;
	case 3: f->instants++; break;
	case 4:
		f->counter = find(event, 30).value;
		f->counter_ns = ns;
		break;
	default: fail();
	}
}

static enum table table_of(unsigned field)
{
	enum table t = 0;
	while (t < TABLES && table_field[t] != field)
		t++;
	assert_true(t < TABLES);
	return t;
}

/* Entries that an entry refers to are there already. */
static void read_entry(struct file *f, enum table table, struct field s, uint64_t sequence)
{
	const uint8_t *at = s.at;
	struct field frame;
	if (table == FRAMES) {
		assert_true(f->sequences[sequence].iids[FUNCTIONS][find(s, 2).value]);
		assert_true(f->sequences[sequence].iids[MAPPINGS][find(s, 3).value]);
	}
	while (table == STACKS && next_field(&at, s.at + s.value, &frame))
		if (frame.number == 2) {
			assert_int_equal(frame.type, 0); /* readers know no packed list here */
			assert_true(f->sequences[sequence].iids[FRAMES][frame.value]);
		}
	if (table == FUNCTIONS || table == TEXTS)
		assert_true(find(s, 2).value > 0);
}

static void read_interned(struct file *f, struct field data, uint64_t sequence)
{
	const uint8_t *at = data.at;
	struct field s;
	while (next_field(&at, data.at + data.value, &s)) {
		uint64_t iid = find(s, 1).value;
		enum table table = table_of(s.number);
		assert_true(iid && iid < IIDS_MAX && !f->sequences[sequence].iids[table][iid]);
		read_entry(f, table, s, sequence);
		f->sequences[sequence].iids[table][iid] = true;
	}
}

static void read_packet(struct file *f, struct field packet)
{
	uint64_t sequence = find(packet, 10).value, ns = find(packet, 8).value;
	assert_in_range(sequence, 1, TRACKS_MAX - 1);
	assert_int_equal(find(packet, 13).value, f->sequences[sequence].begun ? 2 : 1);
	f->sequences[sequence].begun = true;
	if (find(packet, 12).number)
		read_interned(f, find(packet, 12), sequence);
	if (find(packet, 60).number)
		read_descriptor(f, find(packet, 60));
	if (!find(packet, 11).number)
		return;
	assert_int_equal(find(packet, 58).value, 3);
	assert_true(ns >= f->sequences[sequence].last_ns);
	f->sequences[sequence].last_ns = ns;
	read_event(f, find(packet, 11), ns, sequence);
}

static struct file *encode(const struct made *m)
{
	struct file *f = calloc(1, sizeof *f);
	struct region r = {0};
	struct out o;
	struct field packet;
	out_init(&o, &r);
	assert_int_equal(trace_encode_perfetto(&r, &o, &m->snapshot, NULL), 0);
	uint8_t *bytes = made_join(&o);
	const uint8_t *at = bytes;
	while (next_field(&at, bytes + o.len, &packet)) {
		assert_int_equal(packet.number, 1);
		read_packet(f, packet);
	}
	for (size_t i = 0; i < TRACKS_MAX; i++)
		assert_int_equal(f->tracks[i].depth, 0);
	free(bytes);
	region_release(&r);
	return f;
}

static void test_a_threads_waits_are_slices_of_its_track(void **state)
{
	(void)state;
	struct made *m = made_new(100 * MS);
	made_add_thread(m, (struct trace_thread){100, "main", true, false, false});
	made_add(m, (struct trace_event){.tid = 100,
	                                 .kind = TRACE_SYNC,
	                                 .stack = m->stacks[0],
	                                 .object = 0x55,
	                                 .start_ns = BEGIN_NS - 5 * MS,
	                                 .end_ns = BEGIN_NS + 10 * MS});
	made_add(m, (struct trace_event){.tid = 100,
	                                 .kind = TRACE_NET,
	                                 .call = 2,
	                                 .stack = m->stacks[0],
	                                 .start_ns = BEGIN_NS + 90 * MS,
	                                 .end_ns = UINT64_MAX});
	made_add(m, (struct trace_event){
			    .tid = 100, .kind = TRACE_CPU, .stack = m->stacks[1], .start_ns = BEGIN_NS + 5 * MS});
	made_add(m,
	         (struct trace_event){.tid = 100, .kind = TRACE_HEAP, .bytes = 4096, .start_ns = BEGIN_NS + 50 * MS});
	struct file *f = encode(m);
	assert_int_equal(f->slices, 2);
	assert_int_equal(f->tracks[3].slice_ns, 20 * MS);
	assert_int_equal(f->instants, 1);
	assert_int_equal(f->counter, 4096);
	free(f);
	made_free(m);
}

static void test_births_and_ends_are_instants(void **state)
{
	(void)state;
	struct made *m = made_new(100 * MS);
	made_add(m, (struct trace_event){.tid = 5,
	                                 .kind = TRACE_BORN,
	                                 .start_ns = BEGIN_NS + MS,
	                                 .created_ns = BEGIN_NS,
	                                 .creator_tid = 4});
	made_add(m, (struct trace_event){.tid = 5, .kind = TRACE_ENDED, .start_ns = BEGIN_NS + 5 * MS});
	struct file *f = encode(m);
	assert_int_equal(f->instants, 2);
	free(f);
	made_free(m);
}

static void test_waits_have_callstacks_and_the_heap_a_value_at_the_end(void **state)
{
	(void)state;
	struct made *m = made_new(100 * MS);
	made_add_thread(m, (struct trace_thread){100, "main", true, false, false});
	for (uint64_t i = 0; i < 3; i++)
		made_add(m, (struct trace_event){.tid = 100,
		                                 .kind = TRACE_SYNC,
		                                 .stack = m->stacks[i % 2],
		                                 .start_ns = BEGIN_NS + 10 * i * MS,
		                                 .end_ns = BEGIN_NS + (10 * i + 5) * MS});
	made_add(m,
	         (struct trace_event){.tid = 100, .kind = TRACE_HEAP, .bytes = 4096, .start_ns = BEGIN_NS + 40 * MS});
	struct file *f = encode(m);
	assert_int_equal(f->slices, 3);
	assert_int_equal(f->callstacks, 3);
	assert_int_equal(f->counter, 4096);
	assert_int_equal(f->counter_ns, BEGIN_NS + 100 * MS);
	free(f);
	made_free(m);
}

static void test_whatever_comes_in_the_file_is_valid(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 1500; seed++) {
		struct made *m = made_random(seed);
		free(encode(m));
		made_free(m);
	}
	names_start(&(struct encoder_options){.symbolizer_off = true, .memory_limit_bytes = 64 << 20});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_threads_waits_are_slices_of_its_track),
		cmocka_unit_test(test_births_and_ends_are_instants),
		cmocka_unit_test(test_waits_have_callstacks_and_the_heap_a_value_at_the_end),
		cmocka_unit_test(test_whatever_comes_in_the_file_is_valid),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
