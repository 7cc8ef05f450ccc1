/* bounds.c - where stacks end, and how memory is read where that is not known.
 *
 * Runs in: app's thread inside a hook, signal handler, listener; init (unwind_main_stack).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include "shim/base/confined.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"
#include "shim/stack/unwind.h"

enum { PAGE = 4096, WORD = sizeof(uintptr_t) };

static uintptr_t page_after(uintptr_t at)
{
	return (at & ~(uintptr_t)(PAGE - 1)) + PAGE;
}

/* Linux keeps at least 128 MiB free for the main thread's stack, below its end (mmap_base). An emulator that maps its
 * guest's stack maps as much as the limit says. */
struct stack_bounds unwind_main_stack(uintptr_t near_its_end)
{
	enum { MAINS_REACH = 128 << 20 };
	struct {
		uint64_t now, most;
	} limit = {0, 0};
	os_call(SYS_prlimit64, 0, RLIMIT_STACK, NULL, &limit);
	uintptr_t reach = limit.now < MAINS_REACH ? limit.now & ~(uintptr_t)(PAGE - 1) : MAINS_REACH;
	uintptr_t end = page_after(near_its_end);
	return (struct stack_bounds){.lo = end - reach, .hi = end};
}

/* Libc puts a thread's control block at the end of its stack, where the thread pointer points. A thread's stack has at
 * least 16 KiB, which in old versions include a guard page. Its frames end soon after its first one. */
struct stack_bounds unwind_thread_stack(uintptr_t at, size_t bytes)
{
	enum { LEAST = 12 << 10, OUTER_FRAMES = 1 << 10 };
	uintptr_t end = page_after((uintptr_t)__builtin_thread_pointer());
	uintptr_t reach = bytes > LEAST ? bytes : LEAST;
	if (at >= end || end - at > reach) /* another libc puts it elsewhere */
		return (struct stack_bounds){0};
	uintptr_t frames_end = (at | (WORD - 1)) + 1 + OUTER_FRAMES;
	return (struct stack_bounds){.lo = end - reach, .hi = frames_end < end ? frames_end : end};
}

size_t unwind_read_safely(void *to, uintptr_t from, size_t bytes)
{
	static shared_bool refused; /* the kernel has no such call, or a filter that was there before us forbids it */
	struct iovec here = {to, bytes}, there = {(void *)from, bytes};
	if (confined() || from < PAGE)
		return 0;
	if (!shared_load_relaxed(&refused)) {
		long n = os_call(SYS_process_vm_readv, os_pid(), &here, 1, &there, 1, 0);
		if (n >= 0 || n == -EFAULT || n == -ENOMEM)
			return n >= 0 ? (size_t)n : 0;
		shared_store_relaxed(&refused, true);
	}
	/* Ask for each page whether it can be read, and read it at once. */
	size_t done = 0;
	while (done < bytes && os_readable((const void *)((from + done) & ~(uintptr_t)(WORD - 1)))) {
		size_t page = page_after(from + done) - (from + done), n = page < bytes - done ? page : bytes - done;
		memcpy((char *)to + done, (const char *)from + done, n);
		done += n;
	}
	return done;
}
