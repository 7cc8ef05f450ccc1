/* dump_polled.c - the descriptors that a thread waits for in poll, ppoll, select and pselect.
 *
 * Runs in: listener. The arrays are the program's: they are read by ways that cannot fault, in pieces, and only the
 * beginning of a very long one.
 *
 * Formats: poll(2), select(2): struct pollfd; sets of descriptors as words of 64 bits. The kernel changes them when the
 * call ends.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <sys/syscall.h>

#include "shim/base/arena.h"
#include "shim/base/peek.h"
#include "shim/profiles/dump_parts.h"

enum { PIECE = 256, POLL_MOST = 64 * PIECE, SETS = 3, WORD_BITS = 64, SET_WORDS = 16, SELECT_MOST = 65536 };

static void add(struct polled *p, int fd)
{
	if (p->count < DUMP_POLLED_MOST)
		p->fds[p->count++] = fd;
	p->total++;
}

/* The kernel ignores those that are negative. Of an array that is longer than we look, the rest is counted as it is. */
static void read_poll(struct polled *p, uintptr_t at, uint64_t count)
{
	struct pollfd piece[PIECE];
	uint64_t looked = 0;
	while (looked < count && looked < POLL_MOST) {
		size_t n = count - looked < PIECE ? (size_t)(count - looked) : PIECE;
		if (!peek(at + looked * sizeof *piece, piece, n * sizeof *piece))
			return;
		for (size_t i = 0; i < n; i++)
			if (piece[i].fd >= 0)
				add(p, piece[i].fd);
		looked += n;
	}
	p->total += (size_t)(count - looked);
}

/* Reads words of all the sets, as one set. A set may be NULL. */
static bool read_sets(const uintptr_t *sets, size_t from, size_t words, uint64_t *together)
{
	uint64_t one[SET_WORDS];
	for (size_t i = 0; i < words; i++)
		together[i] = 0;
	for (int s = 0; s < SETS; s++) {
		if (sets[s] && !peek(sets[s] + from * sizeof *one, one, words * sizeof *one))
			return false;
		for (size_t i = 0; sets[s] && i < words; i++)
			together[i] |= one[i];
	}
	return true;
}

static void read_select(struct polled *p, const uintptr_t *sets, uint64_t below)
{
	uint64_t words[SET_WORDS];
	size_t count = (size_t)(below < SELECT_MOST ? below : SELECT_MOST);
	for (size_t from = 0; from < count; from += SET_WORDS * WORD_BITS) {
		size_t bits = count - from < SET_WORDS * WORD_BITS ? count - from : SET_WORDS * WORD_BITS;
		if (!read_sets(sets, from / WORD_BITS, (bits + WORD_BITS - 1) / WORD_BITS, words))
			return;
		for (size_t i = 0; i < bits; i++)
			if (words[i / WORD_BITS] >> i % WORD_BITS & 1)
				add(p, (int)(from + i));
	}
}

void dump_read_polled(const struct task *t, struct polled *p)
{
	*p = (struct polled){0};
	if (t->state != TASK_BLOCKED)
		return;
	switch (t->nr) {
#ifdef SYS_poll
	case SYS_poll:
#endif
	case SYS_ppoll: read_poll(p, t->args[0], (uint32_t)t->args[1]); break;
#ifdef SYS_select
	case SYS_select:
#endif
	case SYS_pselect6:
		read_select(p, (const uintptr_t[SETS]){t->args[1], t->args[2], t->args[3]}, (uint32_t)t->args[0]);
		break;
	default: break;
	}
}

void dump_keep_polled(struct dump *d, struct dump_thread *out, const struct polled *p)
{
	int *fds;
	if (out->object_kind != DUMP_NO_OBJECT || !p->count || !(fds = region_alloc(d->region, sizeof p->fds)))
		return;
	memcpy(fds, p->fds, sizeof p->fds);
	out->object_kind = DUMP_FDS;
	out->object = p->total;
	out->polled = fds;
	out->polled_count = p->count;
}
