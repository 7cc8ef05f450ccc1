/* sample.c - one stack as a signal handler takes it.
 *
 * Runs in: signal handler (sample_take), listener.
 * So: system calls and copies alone.
 * Shared: the copies; each is its taker's from the exchange of `taken` until the listener gives it back.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/sample.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>

#include "shim/arena.h"
#include "shim/layout.h"
#include "shim/modules.h"
#include "shim/os.h"
#include "shim/settings.h"

enum { COPIES = 32, COPY_BYTES = 16 * 1024, PAGE = 4096 };

struct copy {
	uint32_t taken; /* atomic */
	uint32_t bytes;
	uintptr_t from;
	char stack[COPY_BYTES];
};
static struct copy *copies; /* atomic; never unmapped */

bool sample_start(void)
{
	if (!copies)
		__atomic_store_n(&copies, (struct copy *)arena_alloc_in(ARENA_RINGS, COPIES * sizeof *copies), __ATOMIC_RELEASE);
	return copies != NULL;
}

size_t sample_depth(void)
{
	return settings.stack_depth;
}

size_t sample_bytes(void)
{
	return (sizeof(struct sample) + sample_depth() * sizeof(uintptr_t) + 63) & ~(size_t)63;
}

/* What of this thread's stack can be read from here on, at most COPY_BYTES. */
static size_t readable_bytes(uintptr_t from)
{
	uintptr_t end = (from | (PAGE - 1)) + 1, stack_end = unwind_stack_end(from);
	if (!os_readable((const void *)(from & ~(uintptr_t)7)))
		return 0;
	while (end - from < COPY_BYTES && end < stack_end && os_readable((const void *)end))
		end += PAGE;
	return end - from < COPY_BYTES ? end - from : COPY_BYTES;
}

/* Copy so much, or what there is of it. Where the end of the stack is not known, the last pages may be others', and be unmapped
 * meanwhile: then the kernel copies, which does not crash. Where it may not (a filter of system calls), the first page is all. */
static size_t copy_stack(char *to, uintptr_t from, size_t bytes)
{
	struct iovec here = {to, bytes}, there = {(void *)from, bytes};
	size_t page = PAGE - (from & (PAGE - 1));
	if (bytes > page && unwind_stack_end(from) == UINTPTR_MAX) {
		long n = os_call(SYS_process_vm_readv, os_pid(), &here, 1, &there, 1, 0);
		if (n >= 0)
			return (size_t)n;
		bytes = page;
	}
	if (bytes)
		memcpy(to, (const void *)from, bytes);
	return bytes;
}

static int take_copy(uintptr_t from)
{
	struct copy *all = __atomic_load_n(&copies, __ATOMIC_ACQUIRE);
	for (int i = 0; all && i < COPIES; i++) {
		if (__atomic_load_n(&all[i].taken, __ATOMIC_RELAXED) ||
		    __atomic_exchange_n(&all[i].taken, 1, __ATOMIC_ACQUIRE))
			continue;
		all[i].from = from;
		all[i].bytes = (uint32_t)copy_stack(all[i].stack, from, readable_bytes(from));
		return i;
	}
	return -1;
}

void sample_take(struct sample *s, struct unwind_frame f)
{
	s->tid = os_tid();
	memset(s->name, 0, sizeof s->name);
	os_call(SYS_prctl, PR_GET_NAME, s->name);
	s->depth = (uint16_t)unwind_walk_known(f, s->pc, sample_depth(), &s->rest);
	s->place = modules_place_of(s->pc, s->depth);
	s->copy = -1;
	s->is_short = false;
	if (s->rest.pc) {
		s->copy = (int16_t)take_copy(s->rest.sp);
		s->is_short = s->copy < 0;
	}
}

static bool read_copy(void *memory, uintptr_t at, uintptr_t *value)
{
	const struct copy *c = memory;
	if (at < c->from || at - c->from + sizeof *value > c->bytes)
		return false;
	memcpy(value, c->stack + (at - c->from), sizeof *value);
	return true;
}

/* The first frame of the rest is the last one that the handler wrote, or one of ours that is not shown. */
void sample_finish(struct sample *s)
{
	if (s->copy < 0)
		return;
	size_t at = s->depth && s->pc[s->depth - 1] == s->rest.pc ? s->depth - 1u : s->depth;
	struct unwind_elsewhere e = {.read = read_copy, .memory = &copies[s->copy], .is_leaf = at == 0};
	if (at < sample_depth())
		s->depth = (uint16_t)(at + unwind_walk_elsewhere(s->rest, &e, s->pc + at, sample_depth() - at));
	if (!s->place)
		s->place = modules_place_of(s->pc + at, s->depth - at);
	sample_drop(s);
}

void sample_drop(struct sample *s)
{
	if (s->copy >= 0)
		__atomic_store_n(&copies[s->copy].taken, 0, __ATOMIC_RELEASE);
	s->copy = -1;
}

FORKED_CODE void sample_forget_late(void)
{
	for (int i = 0; copies && i < COPIES; i++)
		if (copies[i].taken) /* a page that need not be copied stays shared */
			copies[i].taken = 0;
}

FORKED_CODE void sample_fork_child(void)
{
	sample_forget_late();
}
