/* stub_encoder.c - an encoder for tests of the http room: it says what it is told to say, and counts.
 *
 * Runs in: the server's thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "test/unit/support/stub_encoder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "http/endpoints/take.h"
#include "encoder/encoder.h"

struct encoder_stub stub;

static int wire;

void wire_release(void)
{
	__atomic_add_fetch(&wire, 1, __ATOMIC_ACQ_REL);
}

void wire_acquire(void)
{
	__atomic_load_n(&wire, __ATOMIC_ACQUIRE);
}

void sleep_ms(int ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
	nanosleep(&t, NULL);
}

static int stub_result(void)
{
	int error = stub.error;
	wire_release();
	return error;
}

int taken(void)
{
	return __atomic_load_n(&stub.takes, __ATOMIC_ACQUIRE);
}

int profile_take(struct region *r, enum profile_kind kind, struct profile_snapshot *s)
{
	wire_acquire();
	*s = (struct profile_snapshot){.kind = kind};
	region_alloc(r, 1000);
	__atomic_add_fetch(&stub.takes, 1, __ATOMIC_RELEASE);
	return stub_result();
}

static void count(int *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_ACQ_REL);
}

int counted(const int *counter)
{
	return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
}

/* As the names' side does: an attempt that fails has used memory and written some of the answer. */
static bool names_are_missing(struct region *r, struct out *o, struct patience *p)
{
	wire_acquire();
	if (!p)
		abort();
	count(&stub.attempts);
	if (p->rounds >= stub.rounds)
		return false;
	p->rounds++;
	region_alloc(r, 200 * 1000);
	out_str(o, "half an answer");
	return true;
}

unsigned encoder_wait_ms(const struct patience *p)
{
	return __atomic_load_n(&stub.never_named, __ATOMIC_RELAXED) || stub.looks++ < 3 * p->rounds ? 2 : 0;
}

/* There is no helper. */
int encoder_merge(int fd, unsigned life_s)
{
	(void)fd, (void)life_s;
	count(&stub.merges);
	return -ENOENT;
}

const char *encoder_trouble(void)
{
	return stub.trouble;
}

int profile_encode(struct region *r, struct out *o, const struct profile_snapshot *now,
                   const struct profile_snapshot *before, struct patience *p)
{
	char block[1000];
	if (names_are_missing(r, o, p))
		return -EAGAIN;
	wire_acquire();
	sleep_ms(stub.busy_ms);
	stub.had_before = before != NULL;
	stub.duration_ns = now->kind == PROFILE_CPU ? now->cpu.duration_ns : 0;
	stub.kind = now->kind;
	for (size_t n = 0; n < stub.body_bytes; n += sizeof block) {
		memset(block, 'a' + (int)(n / sizeof block % 26), sizeof block);
		out_bytes(o, block, stub.body_bytes - n < sizeof block ? stub.body_bytes - n : sizeof block);
	}
	return stub_result();
}

int profile_encode_text(struct region *r, struct out *o, const struct profile_snapshot *now, int64_t debug,
                        struct patience *p)
{
	if (names_are_missing(r, o, p))
		return -EAGAIN;
	wire_acquire();
	stub.kind = now->kind;
	stub.debug = debug;
	out_str(o, "text form\n");
	return stub_result();
}

int symbol_answer(struct region *r, struct out *o, struct span query, struct patience *p)
{
	if (names_are_missing(r, o, p))
		return -EAGAIN;
	wire_acquire();
	out_str(o, "num_symbols: 1\n");
	out_span(o, query);
	return stub_result();
}

void snapshot_losses(void (*tell)(void *arg, const char *line), void *arg)
{
	wire_acquire();
	if (stub.loss)
		tell(arg, stub.loss);
}

uint64_t snapshot_count_threads(void)
{
	return 1;
}

struct snapshot_counts snapshot_counts(void)
{
	return (struct snapshot_counts){
		.heap = 101, .allocs = 202, .threadcreate = 303, .goroutine = 404, .block = 505, .mutex = 606};
}

void snapshot_dump_descriptors(struct region *r, struct dump_snapshot *s)
{
	(void)r, (void)s;
}

uint64_t snapshot_heap_in_use(void)
{
	return 12345678;
}

void snapshot_stuck(struct region *r, void (*tell)(void *arg, const char *line), void *arg)
{
	wire_acquire();
	region_alloc(r, 100);
	for (int i = 0; i < 2 && stub.stuck[i]; i++)
		tell(arg, stub.stuck[i]);
}

int snapshot_cpu_begin(struct region *r, unsigned hz)
{
	wire_acquire();
	stub.hz = hz;
	stub.scratch = region_alloc(r, sizeof *stub.scratch);
	int error = stub.begin_error;
	if (!error)
		count(&stub.begins);
	wire_release();
	return error;
}

unsigned snapshot_cpu_drain(void)
{
	wire_acquire();
	count(stub.scratch);
	count(&stub.drains);
	return stub.drain_ms;
}

int snapshot_cpu_end(struct region *r, struct cpu_snapshot *s)
{
	(void)r;
	wire_acquire();
	count(stub.scratch); /* its memory is still there */
	count(&stub.ends);
	*s = (struct cpu_snapshot){.duration_ns = 123};
	return stub.end_error;
}

void snapshot_cpu_abandon(struct region *r)
{
	(void)r;
	count(stub.scratch); /* and here */
	count(&stub.abandons);
}

enum { TOKEN = 3 };

int snapshot_contention_raise(enum contention_kind kind, uint64_t rate)
{
	wire_acquire();
	count(&stub.raises);
	stub.takes_at_raise = taken();
	stub.raise_kind = kind;
	stub.rate = rate;
	int error = stub.raise_error;
	wire_release();
	return error ? error : TOKEN;
}

void snapshot_contention_restore(enum contention_kind kind, int token)
{
	if (kind != stub.raise_kind || token != TOKEN)
		abort();
	stub.takes_at_restore = taken();
	count(&stub.restores);
}

int snapshot_trace_begin(struct region *r)
{
	return snapshot_cpu_begin(r, 0);
}

unsigned snapshot_trace_drain(void)
{
	unsigned ms = snapshot_cpu_drain();
	return stub.drains_until_full && counted(&stub.drains) >= (int)stub.drains_until_full ? 0 : ms;
}

int snapshot_trace_end(struct trace_snapshot *s)
{
	struct cpu_snapshot cpu;
	*s = (struct trace_snapshot){.begin_ns = 77};
	return snapshot_cpu_end(NULL, &cpu);
}

void snapshot_trace_release(void)
{
	count(stub.scratch);
	count(&stub.releases);
}

void snapshot_trace_abandon(void)
{
	snapshot_cpu_abandon(NULL);
}

static int encode_trace(struct out *o, const struct trace_snapshot *s, const char *text)
{
	if (s->begin_ns != 77 || counted(&stub.releases) == counted(&stub.ends))
		abort(); /* it is given back already */
	out_str(o, text);
	return stub_result();
}

int trace_encode_go(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p)
{
	if (names_are_missing(r, o, p))
		return -EAGAIN;
	return encode_trace(o, s, "go");
}

int trace_encode_perfetto(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p)
{
	if (names_are_missing(r, o, p))
		return -EAGAIN;
	return encode_trace(o, s, "perfetto");
}
