/* take.c - the counters of one kind of profile, as the library has them now.
 *
 * Runs in: listener. Memory of the region that is given.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/take.h"

#include <errno.h>

#include "shim/base/os.h"

int profile_take(struct region *r, enum profile_kind kind, struct profile_snapshot *s)
{
	s->kind = kind;
	s->mono_ns = os_clock_ns(CLOCK_MONOTONIC);
	switch (kind) {
	case PROFILE_HEAP:
	case PROFILE_ALLOCS: return snapshot_heap(r, &s->heap);
	case PROFILE_THREADCREATE: return snapshot_threads(r, &s->threads);
	case PROFILE_GOROUTINE: return snapshot_dump(r, &s->dump);
	case PROFILE_BLOCK: return snapshot_contention(r, CONTENTION_BLOCK, &s->contention);
	case PROFILE_MUTEX: return snapshot_contention(r, CONTENTION_MUTEX, &s->contention);
	case PROFILE_CPU: break;
	}
	return -EINVAL;
}
