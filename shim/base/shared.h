/* shared.h - fields that several threads, a signal handler or the listener use without a lock. A plain access to one
 * does not compile.
 *
 * Runs in: everywhere.
 *
 * SHARED(type) is a type that holds a value which only the functions below reach; shared_u32 and the like are such
 * types with a name. Each function says in its name which order it keeps, in the words of C11:
 *
 *   relaxed   this access alone is whole; others may be seen before or after it
 *   acquire   what the thread that stored the value had written before (release) is seen from here on
 *   release   what this thread wrote before is seen by whoever loads the value (acquire)
 *   seq_cst   all threads agree on one order of these accesses
 *
 * The thread that alone writes a field reads it by shared_own and needs no order for that.
 *
 * Why not _Atomic: it lets `field = 1` and `field++` compile, in the dearest order, and nobody sees them in a review.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SHARED_H
#define PPROFSHIM_SHARED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARED(type) \
	struct { \
		__typeof__(type) shared_raw; \
	}
#define SHARED_INIT(value) \
	{ \
		(value) \
	}

typedef SHARED(bool) shared_bool;
typedef SHARED(int) shared_int;
typedef SHARED(uint8_t) shared_u8;
typedef SHARED(int32_t) shared_i32;
typedef SHARED(uint32_t) shared_u32;
typedef SHARED(uint64_t) shared_u64;
typedef SHARED(size_t) shared_size;
typedef SHARED(uintptr_t) shared_address;

#define shared_load_relaxed(at) __atomic_load_n(&(at)->shared_raw, __ATOMIC_RELAXED)
#define shared_load_acquire(at) __atomic_load_n(&(at)->shared_raw, __ATOMIC_ACQUIRE)
#define shared_load_seq_cst(at) __atomic_load_n(&(at)->shared_raw, __ATOMIC_SEQ_CST)

#define shared_store_relaxed(at, value) __atomic_store_n(&(at)->shared_raw, (value), __ATOMIC_RELAXED)
#define shared_store_release(at, value) __atomic_store_n(&(at)->shared_raw, (value), __ATOMIC_RELEASE)
#define shared_store_seq_cst(at, value) __atomic_store_n(&(at)->shared_raw, (value), __ATOMIC_SEQ_CST)

/* These return the value from before. */
#define shared_exchange_relaxed(at, value) __atomic_exchange_n(&(at)->shared_raw, (value), __ATOMIC_RELAXED)
#define shared_exchange_acquire(at, value) __atomic_exchange_n(&(at)->shared_raw, (value), __ATOMIC_ACQUIRE)
#define shared_exchange_release(at, value) __atomic_exchange_n(&(at)->shared_raw, (value), __ATOMIC_RELEASE)
#define shared_exchange_acq_rel(at, value) __atomic_exchange_n(&(at)->shared_raw, (value), __ATOMIC_ACQ_REL)
#define shared_exchange_seq_cst(at, value) __atomic_exchange_n(&(at)->shared_raw, (value), __ATOMIC_SEQ_CST)
#define shared_add_relaxed(at, n) __atomic_fetch_add(&(at)->shared_raw, (n), __ATOMIC_RELAXED)
#define shared_add_acquire(at, n) __atomic_fetch_add(&(at)->shared_raw, (n), __ATOMIC_ACQUIRE)
#define shared_add_release(at, n) __atomic_fetch_add(&(at)->shared_raw, (n), __ATOMIC_RELEASE)
#define shared_add_seq_cst(at, n) __atomic_fetch_add(&(at)->shared_raw, (n), __ATOMIC_SEQ_CST)
#define shared_sub_relaxed(at, n) __atomic_fetch_sub(&(at)->shared_raw, (n), __ATOMIC_RELAXED)
#define shared_sub_release(at, n) __atomic_fetch_sub(&(at)->shared_raw, (n), __ATOMIC_RELEASE)
#define shared_sub_seq_cst(at, n) __atomic_fetch_sub(&(at)->shared_raw, (n), __ATOMIC_SEQ_CST)
#define shared_or_relaxed(at, bits) __atomic_fetch_or(&(at)->shared_raw, (bits), __ATOMIC_RELAXED)
#define shared_or_release(at, bits) __atomic_fetch_or(&(at)->shared_raw, (bits), __ATOMIC_RELEASE)
#define shared_or_seq_cst(at, bits) __atomic_fetch_or(&(at)->shared_raw, (bits), __ATOMIC_SEQ_CST)
#define shared_and_relaxed(at, bits) __atomic_fetch_and(&(at)->shared_raw, (bits), __ATOMIC_RELAXED)
#define shared_and_release(at, bits) __atomic_fetch_and(&(at)->shared_raw, (bits), __ATOMIC_RELEASE)
#define shared_and_seq_cst(at, bits) __atomic_fetch_and(&(at)->shared_raw, (bits), __ATOMIC_SEQ_CST)

/* Compare and swap. If the field holds *expected, it gets `value`. If not, *expected gets what it holds.
 * Returns whether the field got the value. */
#define shared_cas_relaxed(at, expected, value) \
	__atomic_compare_exchange_n(&(at)->shared_raw, (expected), (value), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define shared_cas_acquire(at, expected, value) \
	__atomic_compare_exchange_n(&(at)->shared_raw, (expected), (value), false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)
#define shared_cas_release(at, expected, value) \
	__atomic_compare_exchange_n(&(at)->shared_raw, (expected), (value), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define shared_cas_acq_rel(at, expected, value) \
	__atomic_compare_exchange_n(&(at)->shared_raw, (expected), (value), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define shared_cas_seq_cst(at, expected, value) \
	__atomic_compare_exchange_n(&(at)->shared_raw, (expected), (value), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

/* For the only thread that writes the field, or while no other thread can know of it: no order, no atomic access. */
#define shared_own(at) ((void)0, (at)->shared_raw)
#define shared_set_own(at, value) ((void)((at)->shared_raw = (value)))

/* A look at a hint: an old value does as well as a new one. The compiler may leave it out or do it twice. */
#define shared_glance(at) ((void)0, (at)->shared_raw)

/* Returns the address of the value, for what only takes plain words: a futex, an instruction of arch. */
#define shared_word(at) (&(at)->shared_raw)

/* Orders between a store and the loads and stores around it. fence_compiler orders a thread and its own handlers. */
#define shared_fence_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define shared_fence_release() __atomic_thread_fence(__ATOMIC_RELEASE)
#define shared_fence_seq_cst() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define shared_fence_compiler() __atomic_signal_fence(__ATOMIC_SEQ_CST)

/* The same for words whose type is not ours to choose: libc's locks, the loader's records, pointers to functions that
 * are called as they stand, what an embedding of memory hands out. */
#define word_load_relaxed(at) __atomic_load_n((at), __ATOMIC_RELAXED)
#define word_load_acquire(at) __atomic_load_n((at), __ATOMIC_ACQUIRE)
#define word_store_relaxed(at, value) __atomic_store_n((at), (value), __ATOMIC_RELAXED)
#define word_store_release(at, value) __atomic_store_n((at), (value), __ATOMIC_RELEASE)

#endif
