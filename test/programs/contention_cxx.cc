// contention_cxx.cc - waits of known length in the C++ library's locks, at known sites.
//
// contention_cxx [ROUNDS [HOLD_US]]      (20 rounds, 10000 us)
// Runs in: a test program. Truth: see contention.h; the call named is the one of libc in which the library waits. Then
// `ready`; ends with stdin. Compiled as C++20, it has that standard's atomics, semaphores, latches and barriers, too.
//
// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <shared_mutex>
#include <thread>
#if __cplusplus >= 202002L
#include <atomic>
#include <barrier>
#include <latch>
#include <semaphore>
#endif

#include "contention.h"

#define BLOCK(kind, call) tally kind##_waits = {"block", "wait_in_" #kind, call, 0, 0, 0, 0, nullptr}
#define MUTEX(kind, call) tally kind##_held = {"mutex", "let_go_" #kind, call, 0, 0, 0, 0, nullptr}
#define WAIT(kind) extern "C" SITE void wait_in_##kind(race *r, int i)
#define TIMED(queue, kind, ...)                    \
	do {                                           \
		int64_t since = queue_enter(queue, i);     \
		__VA_ARGS__;                               \
		queue_leave(queue, i, since, &kind##_waits); \
		KEEP(r);                                   \
	} while (0)

static std::mutex plain;
static std::recursive_mutex again;
static std::timed_mutex timed;
static std::shared_mutex read_by_many, written;
static std::mutex cond_mutex;
static std::condition_variable cond;
static int produced;

#define LOCK(kind, lock_name, unlock_name, mutex, lock, unlock, wait_lock)                                 \
	static BLOCK(kind, lock_name);                                                                         \
	static MUTEX(kind, unlock_name);                                                                       \
	extern "C" SITE void hold_##kind(race *r) { mutex.lock; KEEP(r); }                                     \
	extern "C" SITE void let_go_##kind(race *r) { queue_charge(&r->queue, &kind##_held); mutex.unlock; KEEP(r); } \
	WAIT(kind) { TIMED(&r->queue, kind, mutex.wait_lock); }
#define LEAVE(kind, mutex, unlock) \
	extern "C" SITE void let_go_##kind##_waiters(race *r) { queue_charge(&r->queue, &kind##_held_by_waiters); mutex.unlock; KEEP(r); }
#define HELD_BY_WAITERS(kind, call) \
	static tally kind##_held_by_waiters = {"mutex", "let_go_" #kind "_waiters", call, 0, 0, 0, 0, nullptr}

LOCK(std_mutex, "pthread_mutex_lock", "pthread_mutex_unlock", plain, lock(), unlock(), lock())
HELD_BY_WAITERS(std_mutex, "pthread_mutex_unlock");
LEAVE(std_mutex, plain, unlock())
LOCK(recursive_mutex, "pthread_mutex_lock", "pthread_mutex_unlock", again, lock(), unlock(), lock())
HELD_BY_WAITERS(recursive_mutex, "pthread_mutex_unlock");
LEAVE(recursive_mutex, again, unlock())
LOCK(timed_mutex, "pthread_mutex_clocklock", "pthread_mutex_unlock", timed, lock(), unlock(), try_lock_for(std::chrono::minutes(1)))
HELD_BY_WAITERS(timed_mutex, "pthread_mutex_unlock");
LEAVE(timed_mutex, timed, unlock())
LOCK(shared_lock, "pthread_rwlock_rdlock", "pthread_rwlock_unlock", read_by_many, lock(), unlock(), lock_shared())
HELD_BY_WAITERS(shared_lock, "pthread_rwlock_unlock");
LEAVE(shared_lock, read_by_many, unlock_shared())
LOCK(unique_lock, "pthread_rwlock_wrlock", "pthread_rwlock_unlock", written, lock_shared(), unlock_shared(), lock())
HELD_BY_WAITERS(unique_lock, "pthread_rwlock_unlock");
LEAVE(unique_lock, written, unlock())

static BLOCK(condition_variable, "pthread_cond_wait");
WAIT(condition_variable)
{
	std::unique_lock<std::mutex> lock(cond_mutex);
	while (produced == 0)
		TIMED(nullptr, condition_variable, cond.wait(lock));
	produced--;
}
static void produce(race *)
{
	std::lock_guard<std::mutex> lock(cond_mutex);
	produced++;
	cond.notify_one();
}

static BLOCK(wait_for, "pthread_cond_clockwait");
WAIT(wait_for)
{
	static std::mutex own;
	static std::condition_variable never;
	std::unique_lock<std::mutex> lock(own);
	auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(r->hold_ns);
	while (std::chrono::steady_clock::now() < until)
		TIMED(nullptr, wait_for, never.wait_until(lock, until));
}

static BLOCK(thread_join, "pthread_join");
WAIT(thread_join)
{
	std::thread t([r] { nap(r->hold_ns); });
	TIMED(nullptr, thread_join, t.join());
}

static BLOCK(future, "syscall");
WAIT(future)
{
	std::promise<int> promise;
	std::future<int> future = promise.get_future();
	std::thread t([r, &promise] { nap(r->hold_ns); promise.set_value(1); });
	TIMED(nullptr, future, future.wait());
	t.join();
}

#if __cplusplus >= 202002L
static std::atomic<int> number;
static BLOCK(atomic, "syscall");
WAIT(atomic)
{
	TIMED(nullptr, atomic, number.wait(r->round - 1));
}
static void store(race *r)
{
	number.store(r->round);
	number.notify_all();
}

/* Of a size that is no futex's: it waits on a proxy. */
static std::atomic<long> wide;
static BLOCK(wide_atomic, "syscall");
WAIT(wide_atomic)
{
	TIMED(nullptr, wide_atomic, wide.wait(r->round - 1));
}
static void store_wide(race *r)
{
	wide.store(r->round);
	wide.notify_all();
}

static std::counting_semaphore<8> semaphore(0);
static BLOCK(semaphore, "syscall");
WAIT(semaphore)
{
	TIMED(nullptr, semaphore, semaphore.acquire());
}
static void release(race *)
{
	semaphore.release(2);
}

static std::latch *latch;
static BLOCK(latch, "syscall");
WAIT(latch)
{
	TIMED(nullptr, latch, latch->wait());
}
static void new_latch(race *)
{
	static std::latch *last; /* who waited may still look at it */
	delete last;
	last = latch;
	latch = new std::latch(1);
}
static void count_down(race *)
{
	latch->count_down();
}

static std::barrier barrier(2);
static BLOCK(barrier, "syscall");
WAIT(barrier)
{
	TIMED(nullptr, barrier, barrier.arrive_and_wait());
}
static void arrive(race *)
{
	barrier.arrive_and_wait();
}
#endif

#define LOCKED(kind, waiters) {#kind, hold_##kind, let_go_##kind, wait_in_##kind, let_go_##kind##_waiters, waiters, 0, 1, 0, 0, {}, 0, {}, {}, {}, 0, {}}
#define WAITED(kind, begin, let_go, waiters, burns) {#kind, begin, let_go, wait_in_##kind, nullptr, waiters, burns, 0, 0, 0, {}, 0, {}, {}, {}, 0, {}}

static race races[] = {
	LOCKED(std_mutex, 3), LOCKED(recursive_mutex, 2), LOCKED(timed_mutex, 2), LOCKED(shared_lock, 3), LOCKED(unique_lock, 2),
	WAITED(condition_variable, nullptr, produce, 1, 0), WAITED(wait_for, nullptr, nullptr, 1, 1),
	WAITED(thread_join, nullptr, nullptr, 1, 1), WAITED(future, nullptr, nullptr, 1, 1),
#if __cplusplus >= 202002L
	WAITED(atomic, nullptr, store, 2, 0), WAITED(wide_atomic, nullptr, store_wide, 2, 0), WAITED(semaphore, nullptr, release, 2, 0),
	WAITED(latch, new_latch, count_down, 2, 0), WAITED(barrier, nullptr, arrive, 1, 0),
#endif
};

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 20;
	int64_t hold_ns = (argc > 2 ? atoll(argv[2]) : 10000) * 1000;
	tallies_begin();
	races_run(races, sizeof races / sizeof *races, rounds, hold_ns);
	tallies_print();
	ready_and_wait();
	return 0;
}
