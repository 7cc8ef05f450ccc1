/* sync.c - the slow half of the profiler's lock.
 *
 * Runs in: app's thread inside a hook, listener, fork. No libc, errno untouched.
 *
 * A futex lock after U. Drepper, "Futexes are tricky", 2011 (mutex 3: a thread that slept for the lock marks it as
 * waited for). Its word also names the holder.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/sync.h"

#include <string.h>

#include "shim/arch/arch.h"
#include "shim/base/confined.h"
#include "shim/base/layout.h"
#include "shim/base/shared.h"

enum {
	SPINS = 100,
	SPINS_CONFINED = 20000, /* the only wait where no system call may be made */
	STEP_MS = 5,            /* how often to look for the holder */
	TURNS_MOST = 1000,      /* most times that a thread loses to others that came later */
};
#define STAMP_MASK ((1u << LOCK_STAMP_BITS) - 1)

/* Stamps that the forking thread had in the processes that this one is a copy of, if it was busy when it forked. */
static uint32_t inherited_stamps[2] FORKED;

/* The stamp is not kept in a child of vfork: the child shares its parent's thread-local storage, and has another
 * tid. */
uint32_t lock_make_stamp(void)
{
	if (confined())
		return 0;
	uint32_t stamp = shared_load_relaxed(&house.generation) << LOCK_TID_BITS | (uint32_t)os_tid();
	if (house_is_ours())
		self.stamp = stamp;
	return stamp;
}

void lock_know_tid(int tid)
{
	self.stamp = shared_load_relaxed(&house.generation) << LOCK_TID_BITS | (uint32_t)tid;
}

FORKED_CODE void lock_fork_child(void)
{
	if (house.was_busy) {
		inherited_stamps[1] = inherited_stamps[0];
		inherited_stamps[0] = self.stamp;
	} else if (inherited_stamps[0]) {
		inherited_stamps[0] = inherited_stamps[1] = 0;
	}
	lock_know_tid(house_pid()); /* the first thread has the process's number */
}

static bool is_of_who_forked(uint32_t stamp)
{
	return stamp == inherited_stamps[0] || stamp == inherited_stamps[1];
}

FORKED_CODE bool lock_is_of_who_forked(const struct lock *l)
{
	return shared_own(&l->word) && is_of_who_forked(shared_own(&l->word) & STAMP_MASK);
}

/* Is the holder gone? A thread that waits for itself was thrown out of what it did (by a jump out of a handler, or as a
 * child of vfork that was killed), and will not release the lock. */
static bool is_abandoned(uint32_t word, uint32_t own_stamp, bool look)
{
	uint32_t stamp = word & STAMP_MASK;
	if (stamp == own_stamp)
		return true;
	if (is_of_who_forked(stamp))
		return false;
	return stamp >> LOCK_TID_BITS != shared_load_relaxed(&house.generation) ||
	       (look && os_call(SYS_tkill, stamp & ((1u << LOCK_TID_BITS) - 1), 0) == -ESRCH);
}

static bool exchange(struct lock *l, uint32_t *word, uint32_t to)
{
	return shared_cas_acquire(&l->word, word, to);
}

static bool spin(struct lock *l, uint32_t stamp)
{
	int spins = confined() ? SPINS_CONFINED : SPINS;
	for (int i = 0; i < spins; i++) {
		arch_pause();
		uint32_t word = shared_load_relaxed(&l->word);
		if (word == 0 && exchange(l, &word, stamp))
			return true;
		if (word & LOCK_STUCK)
			return false;
	}
	return false;
}

/* Sleep until the holder releases the lock, or for one step. The step's end is a point in time: a program whose signals
 * come more often than that would else begin it anew each time.
 * Returns false if the step ended without a release. */
static bool await_release(struct lock *l, uint32_t word)
{
	long r;
	if (!(word & LOCK_WAITED)) {
		if (!exchange(l, &word, word | LOCK_WAITED))
			return true;
		word |= LOCK_WAITED;
	}
	uint64_t end_ns = os_clock_ns(CLOCK_MONOTONIC) + STEP_MS * 1000000ull;
	do
		r = os_futex_wait_until(shared_word(&l->word), word, end_ns);
	while (r == -EINTR);
	return r != -ETIMEDOUT;
}

/* Look once at the lock, and at its holder if that takes long.
 * Returns true if the lock is ours now. */
static bool try_slowly(struct lock *l, uint32_t *word, uint32_t stamp, bool takes_long)
{
	*word = shared_load_relaxed(&l->word);
	if (*word == 0) /* other threads may sleep for it, too */
		return exchange(l, word, stamp | LOCK_WAITED);
	return is_abandoned(*word, stamp, takes_long || *word & LOCK_STUCK) &&
	       exchange(l, word, stamp | LOCK_WAITED | LOCK_INHERITED);
}

bool lock_wait(struct lock *l, uint32_t stamp)
{
	uint32_t word;
	if (spin(l, stamp))
		return true;
	if (confined())
		return false;
	for (int turns = 0, steps = 0; turns < TURNS_MOST; turns++) {
		if (try_slowly(l, &word, stamp, steps > 0))
			return true;
		if (word & LOCK_STUCK)
			return false;
		if (word == 0 || await_release(l, word))
			continue;
		if (++steps < LOCK_PATIENCE_MS / STEP_MS)
			continue;
		word = shared_load_relaxed(&l->word);
		if (word)
			exchange(l, &word, word | LOCK_STUCK);
		house_suspect();
		return false;
	}
	return false;
}

void lock_wake(struct lock *l)
{
	if (!confined()) /* else sleepers wake up by themselves after a step */
		os_futex_wake(shared_word(&l->word), 1);
}

#ifdef PPROF_DEBUG
static __thread uint32_t ranks_held, handlers;

static const char *const names[] = {
#define LOCK(name, file, meanwhile, heir) #name,
#include "shim/base/locks.def"
};

static void write_text(const char *text)
{
	os_write(2, text, strlen(text));
}

static void check(bool holds, const char *rule, enum lock_rank rank)
{
	if (holds)
		return;
	write_text(rule);
	write_text(names[rank]);
	write_text("\n");
	__builtin_trap();
}

void lock_check_take(enum lock_rank rank)
{
#ifndef PPROF_UNIT /* a unit test calls what stands under a hook, in threads that are not busy */
	check(self.busy || rank == LOCK_COMMANDS, "pprofshim: a thread that is not busy takes ", rank);
#endif
	check(!handlers, "pprofshim: our handler takes ", rank);
	check(ranks_held >> rank == 0, "pprofshim: a lock of the same or a later row of locks.def is held around ",
	      rank);
	ranks_held |= 1u << rank;
}

/* The highest rank is released first. */
void lock_check_release(void)
{
	check(ranks_held != 0, "pprofshim: none is held, but let go: at least ", LOCK_COMMANDS);
	ranks_held &= ~(1u << (31 - __builtin_clz(ranks_held)));
}

void lock_check_handler(bool in_handler)
{
	handlers += in_handler ? 1 : -1u;
}
#endif
