/* offspring.c - the memory and the birth of the listener and of the visitor.
 *
 * Runs in: init, app's thread inside a hook or our handler (raw system calls alone there; the pthread only in init).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/offspring.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"
#include "shim/libc/real.h"
#include "shim/base/self.h"

enum {
	STACK_BYTES = 128 * 1024,
	BLOCK_BYTES = 4096,
	GUARD_BYTES = 4096,
	ALTERNATE_BYTES = 32 * 1024, /* the kernel's largest signal frames take 12 */
};

/* Thread-local variables of objects that the program was started with lie at fixed distances below the thread block.
 * Our block has zeros there, far enough down for the two that its code may touch: libc's errno (set by a libc function
 * that libunwind calls), and our own. */
static size_t find_tls_room(void)
{
	enum { MORE = 4096 };
#if ARCH_HAS_CLONE
	uintptr_t block = arch_own_block();
#else
	uintptr_t block = 0;
#endif
	uintptr_t lowest = (uintptr_t)&errno < (uintptr_t)&self ? (uintptr_t)&errno : (uintptr_t)&self;
	return lowest < block ? (block - lowest + MORE + 4095) & ~(size_t)4095 : MORE;
}

static char *stack_top(const struct offspring_room *r)
{
	return r->memory + GUARD_BYTES + STACK_BYTES;
}

static char *block_of(const struct offspring_room *r)
{
	return stack_top(r) + r->tls_bytes;
}

void *offspring_alternate_stack(const struct offspring_room *r, size_t *bytes)
{
	*bytes = ALTERNATE_BYTES;
	return block_of(r) + BLOCK_BYTES;
}

static bool map_memory(struct offspring_room *r)
{
	if (r->memory) { /* of one that ended */
		memset(stack_top(r), 0, r->tls_bytes + BLOCK_BYTES);
		return true;
	}
	r->tls_bytes = find_tls_room();
	size_t bytes = GUARD_BYTES + STACK_BYTES + r->tls_bytes + BLOCK_BYTES + ALTERNATE_BYTES;
	char *p = os_map(bytes);
	if (os_failed(p))
		return false;
	os_call(SYS_mprotect, p, GUARD_BYTES, PROT_NONE);
	os_call(SYS_madvise, p, bytes, MADV_DONTFORK); /* a fork child does not need it, and should not pay for it */
	r->memory = p;
	return true;
}

/* For a pthread: what to run, and where to store its id. One listener at a time. */
static struct {
	void (*run)(void *);
	shared_int *tid;
} ordinary;

static void *run_as_pthread(void *arg)
{
	shared_store_relaxed(ordinary.tid, os_tid());
	ordinary.run(arg);
	shared_store_relaxed(ordinary.tid, 0);
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

#if ARCH_HAS_CLONE
enum { AS_THREAD = CLONE_VM | CLONE_FS | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM };

static long spawn_bare(struct offspring_room *r, unsigned long flags, void (*run)(void *), shared_int *tid)
{
	if (!map_memory(r))
		return -ENOMEM;
	arch_fill_block(block_of(r));
	flags |= CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
	long pid = arch_clone(flags, stack_top(r), shared_word(tid), shared_word(tid), block_of(r), run, NULL);
	return pid < 0 ? pid : 0;
}

bool offspring_is_me(const struct offspring_room *r)
{
	return r->memory && arch_own_block() == (uintptr_t)block_of(r);
}

/* Valgrind aborts at a clone that it does not know. */
static bool is_valgrind(void)
{
	return arch_is_valgrind();
}
#else
enum { AS_THREAD = 0 };

static long spawn_bare(struct offspring_room *r, unsigned long flags, void (*run)(void *), shared_int *tid)
{
	(void)r, (void)flags, (void)run, (void)tid, (void)map_memory;
	return -ENOSYS; /* no assembly for this architecture */
}

bool offspring_is_me(const struct offspring_room *r)
{
	(void)r;
	return false;
}

static bool is_valgrind(void)
{
	return false;
}
#endif

static bool is_refusal(long r)
{
	return r == -EPERM || r == -ENOSYS || r == -EINVAL;
}

/* With close_range a process or thread can leave the program's file table. Since Linux 6.11 that copies nothing of the
 * table. */
static unsigned long table_flag(void)
{
	return os_call(SYS_close_range, ~0u, ~0u, 0) < 0 ? 0 : CLONE_FILES;
}

/* Makes an ordinary thread only before main: in a hook that would allocate, and take libc's locks. */
long offspring_listener(struct offspring_room *r, void (*run)(void *), shared_int *tid, enum offspring_kind *kind,
                        bool in_init)
{
	unsigned long table = table_flag();
	*kind = OFFSPRING_PROCESS;
	r->has_own_table = !table;
	/* a tracer of the program must see no child that the program did not make */
	long error = is_valgrind() ? -ENOSYS : spawn_bare(r, CLONE_VM | CLONE_UNTRACED | table, run, tid);
	if (!is_refusal(error))
		return error;
	*kind = OFFSPRING_THREAD;
	error = spawn_bare(r, (unsigned long)AS_THREAD | table, run, tid);
	if (!is_refusal(error) || !in_init)
		return error;
	*kind = OFFSPRING_SHARING;
	r->has_own_table = false;
	ordinary.run = run;
	ordinary.tid = tid;
	return spawn_pthread();
}

long offspring_visitor(struct offspring_room *r, void (*run)(void *), shared_int *tid)
{
	return spawn_bare(r, (unsigned long)AS_THREAD | CLONE_FILES, run, tid);
}
