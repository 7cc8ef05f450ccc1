/* libc_thread.c - tell libc's threads from others.
 *
 * Runs in: signal handler of any thread; listener; init.
 * So: system calls alone; no thread-local storage, so no stack guard of the compiler's, which lies there (Makefile:
 * CFLAGS_shim_libc_thread).
 * Shared: all of it is immutable after init.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/libc/libc_thread.h"

#include <stdint.h>

#include "shim/arch/arch.h"
#include "shim/base/confined.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/base/shared.h"

static struct {
	uintptr_t main_pointer; /* the main thread's thread pointer */
	uintptr_t distance;     /* from a thread pointer to the list; 0: not known (no such call, or another libc) */
} known;

/* Returns the list of a thread (0: the calling one); 0 if it has none, 1 if the kernel does not say. */
static inline uintptr_t robust_list_of(int tid)
{
	uintptr_t head = 0;
	size_t bytes;
	return os_call(SYS_get_robust_list, tid, &head, &bytes) == 0 ? head : 1;
}

void libc_thread_start(unsigned long hwcap2)
{
	uintptr_t head = robust_list_of(0);
	known.main_pointer = arch_thread_pointer();
	libc_thread_tells_pointer = arch_tells_thread_pointer(hwcap2);
	known.distance = head > 1 ? head - known.main_pointer : 0;
}

static inline bool looks_like_a_block(uintptr_t pointer)
{
	const uintptr_t *word = (const uintptr_t *)pointer;
	if (!ARCH_BLOCK_HOLDS_ITSELF)
		return pointer != 0;
	return pointer % sizeof *word == 0 && os_readable(word) && os_readable(word + 2) && word[0] == pointer &&
	       word[2] == pointer;
}

/* In a child that clone(2) made, the kernel has forgotten the list of the thread that lives on. (A thread that clone(2)
 * made without a thread pointer has another thread's pointer, and no list.) */
bool libc_thread_is_here(void)
{
	uintptr_t pointer = arch_thread_pointer(), head = known.distance ? robust_list_of(0) : 0;
	if (known.distance && head == pointer + known.distance)
		return true;
	if (pointer == known.main_pointer)
		return os_tid() == os_pid();
	return !known.distance && looks_like_a_block(pointer);
}

bool libc_thread_tells_pointer;
shared_address libc_thread_met[LIBC_THREAD_SLOTS] LARGE;

__attribute__((used)) bool libc_thread_meet(void)
{
	self_calls_begin();
	bool is_here = !confined() && libc_thread_is_here();
	self_calls_end();
	if (!is_here)
		return false;
	uintptr_t pointer = arch_thread_pointer();
	uint32_t hash = (uint32_t)(pointer >> 6) * 0x9e3779b1u >> 22;
	shared_store_relaxed(&libc_thread_met[hash], pointer);
	return true;
}

bool libc_thread_may_be(int tid)
{
	return !known.distance || robust_list_of(tid) != 0;
}
