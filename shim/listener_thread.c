/* listener_thread.c - the memory and the birth of the listener's thread: a bare clone(2), else a pthread.
 *
 * Runs in: init, app's thread inside a hook (raw system calls alone there; the pthread only in init).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener_thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "shim/layout.h"
#include "shim/listener_clone.h"
#include "shim/os.h"
#include "shim/real.h"
#include "shim/sampler.h"

enum {
	STACK_BYTES = 128 * 1024,
	BLOCK_BYTES = 4096,
	GUARD_BYTES = 4096,
};

static char *memory FORKED; /* guard, stack, TLS room, thread block */
static size_t tls_room FORKED;

/* Thread-local variables of the objects that a program was started with lie at fixed distances below the thread block. The
 * listener has zeros there, as far down as two that code of its may touch: libc's errno (set by a libc function that
 * libunwind calls), and our own. */
static size_t find_tls_room(void)
{
	enum { MORE = 4096 };
#ifdef LISTENER_CLONE
	uintptr_t block = listener_clone_own_block();
#else
	uintptr_t block = 0;
#endif
	uintptr_t lowest = (uintptr_t)&errno < (uintptr_t)&sampler_thread ? (uintptr_t)&errno : (uintptr_t)&sampler_thread;
	return lowest < block ? (block - lowest + MORE + 4095) & ~(size_t)4095 : MORE;
}

static bool map_memory(void)
{
	if (memory) /* of a listener that ended */
		return true;
	tls_room = find_tls_room();
	size_t bytes = GUARD_BYTES + STACK_BYTES + tls_room + BLOCK_BYTES;
	char *p = os_map(bytes);
	if (os_failed(p))
		return false;
	os_call(SYS_mprotect, p, GUARD_BYTES, PROT_NONE);
	os_call(SYS_madvise, p, bytes, MADV_DONTFORK); /* a child has no use for it, and need not pay for it */
	memory = p;
	return true;
}

/* For a pthread: what it is to run, and where its id goes. One listener at a time. */
static struct {
	void (*run)(void *);
	int *tid;
} ordinary;

static void *run_as_pthread(void *arg)
{
	__atomic_store_n(ordinary.tid, os_tid(), __ATOMIC_RELAXED);
	ordinary.run(arg);
	__atomic_store_n(ordinary.tid, 0, __ATOMIC_RELAXED);
	return NULL;
}

/* An ordinary thread, which libc knows of. */
static long spawn_pthread(void)
{
	pthread_t thread;
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	long r = -real_pthread_create(&thread, &attr, run_as_pthread, NULL);
	pthread_attr_destroy(&attr);
	return r;
}

#ifdef LISTENER_CLONE
static long spawn_bare(void (*run)(void *), int *tid, bool *own_table)
{
	if (!map_memory())
		return -ENOMEM;
	char *stack_top = memory + GUARD_BYTES + STACK_BYTES;
	char *block = stack_top + tls_room;
	memset(block, 0, BLOCK_BYTES);
	listener_clone_block(block);
	/* With close_range the thread can leave the program's table without ever holding a copy of it. */
	*own_table = os_call(SYS_close_range, ~0u, ~0u, 0) < 0;
	unsigned long flags = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
	                      CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | (*own_table ? 0 : CLONE_FILES);
	long r = listener_clone(flags, stack_top, tid, block, run, NULL);
	*own_table &= r >= 0;
	return r < 0 ? r : 0;
}
#else
static long spawn_bare(void (*run)(void *), int *tid, bool *own_table)
{
	(void)run, (void)tid, (void)own_table, (void)map_memory;
	return -ENOSYS; /* no assembly for this architecture */
}
#endif

/* The ordinary thread only before main: in a hook it would allocate, and take libc's locks. */
long listener_thread_start(void (*run)(void *), int *tid, bool *own_table, bool in_init)
{
	long r = spawn_bare(run, tid, own_table);
	bool refused = r == -EPERM || r == -ENOSYS || r == -EINVAL;
	if (!refused || !in_init)
		return r;
	ordinary.run = run;
	ordinary.tid = tid;
	*own_table = false;
	return spawn_pthread();
}

FORKED_CODE void listener_thread_fork_child(void)
{
	memory = NULL;
}
