/* house.c - which process the profiler lives in, and how a copy of that process finds out that it is one.
 *
 * Runs in: init; app's thread inside a hook, at a moment when it holds no lock of ours; fork.
 * So: raw system calls alone; no allocation but one page in init.
 * Shared: the mark. The thread that changes it from HOUSE_WIPED calls on_copy; no other waits for that. In a child of
 * libc's fork there is one thread, and at most one signal handler that comes before libc's fork handler.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/house.h"

#include "shim/base/confined.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/base/shared.h"

enum { PAGE = 4096, WIPE_ON_FORK = 18 /* MADV_WIPEONFORK; not in every libc's headers */ };

/* The mark where the kernel wipes no page (before Linux 4.14): it does not change in a copy. */
static struct house_mark unwiped FORKED = {.state = SHARED_INIT(HOUSE_MET)};

struct house house FORKED = {.generation = SHARED_INIT(1), .mark = &unwiped};

static void (*tell_of_copy)(void); /* immutable after init */

/* On such kernels: a page that copies do not have. It holds the pid, because something else may lie there in a copy. */
static const int *not_in_copies FORKED;

bool house_is_ours(void)
{
	return !confined() && os_pid() == house_pid();
}

static void *map_page(int advice)
{
	void *page = os_map(PAGE);
	if (os_failed(page))
		return NULL;
	if (os_call(SYS_madvise, page, PAGE, advice) == 0)
		return page;
	os_unmap(page, PAGE);
	return NULL;
}

void house_start(void (*on_copy)(void))
{
	shared_set_own(&house.pid, os_pid());
	tell_of_copy = on_copy;
	struct house_mark *mark = map_page(WIPE_ON_FORK);
	if (mark) {
		*mark = (struct house_mark){.state = SHARED_INIT(HOUSE_MET), .pid = house_pid()};
		house.mark = mark;
		return;
	}
	int *page = map_page(MADV_DONTFORK);
	if (page)
		*page = house_pid();
	not_in_copies = page;
}

FORKED_CODE void house_fork_child(void)
{
	shared_store_relaxed(&house.pid, confined() ? 0 : os_pid());
	shared_store_relaxed(&house.generation, shared_own(&house.generation) % HOUSE_GENERATIONS + 1);
	not_in_copies = NULL;
}

/* The thread is marked busy, so that a signal handler leaves alone what is half done. */
static FORKED_CODE void call_on_copy(void)
{
	bool was_busy = self.busy;
	shared_store_relaxed(&house.mark->state, HOUSE_BEING_MET);
	house.was_busy = was_busy;
	word_store_relaxed(&self.busy, true);
	shared_fence_compiler();
	if (tell_of_copy)
		tell_of_copy();
	house.mark->pid = house_pid();
	shared_store_release(&house.mark->state, HOUSE_MET);
	word_store_relaxed(&self.busy, was_busy);
}

FORKED_CODE void house_hear_of_copy(void)
{
	/* look at the pid, because emulators claim to wipe pages and do not */
	if (house.mark == &unwiped || shared_own(&house.mark->state) != HOUSE_MET || confined() ||
	    house.mark->pid != os_pid())
		call_on_copy();
}

/* Asked when the mark looks wiped. If it is a page that can be wiped, this is proof. */
static bool is_copy(void)
{
	if (house.mark != &unwiped)
		return true;
	return not_in_copies && !house_is_ours() && (!os_readable(not_in_copies) || *not_in_copies != house_pid());
}

bool house_meet(void)
{
	uint32_t state = HOUSE_WIPED;
	if (!shared_cas_acquire(&house.mark->state, &state, HOUSE_BEING_MET))
		return state == HOUSE_MET;
	if (is_copy())
		call_on_copy();
	else
		shared_store_release(&house.mark->state, HOUSE_MET);
	return true;
}

void house_suspect(void)
{
	uint32_t met = HOUSE_MET;
	if (house.mark == &unwiped)
		shared_cas_relaxed(&unwiped.state, &met, HOUSE_WIPED);
}
