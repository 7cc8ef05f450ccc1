/* test_lock_owners.c - owners of locks, as deadlock.c reads them from memory.
 *
 * Runs in: its own process; each test in a child, for threads in a deadlock never end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/deadlock.c shim/waits/waits.c shim/threads/threads.c shim/threads/creations.c
 * links: shim/threads/timers.c
 * links: shim/threads/handles.c
 * links: shim/threads/tasks.c shim/base/powers.c shim/profiles/sampling.c shim/libc/clock.c shim/libc/real.c
 * links: shim/base/losses.c shim/base/text.c
 * links: shim/stack/stacks.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/handlers.c test/unit/support/cut/queues.c test/unit/support/cut/heap_counts.c */
#include "test/unit/shim/profiles/deadlock_made.h"

/* --- owners ------------------------------------------------------------------------------------- */

static int owner_of(unsigned call, const volatile void *object)
{
	const struct wait w = {.state = SHARED_INIT(1 << 8 | call), .object = (uintptr_t)object};
	return deadlock_owner(&w);
}

static void owners_of_mutexes(void)
{
	static const int types[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
	                            PTHREAD_MUTEX_ADAPTIVE_NP};
	for (size_t i = 0; i < COUNT(types); i++)
		for (int robust = 0; robust < 2; robust++)
			for (int pi = 0; pi < 2; pi++)
				for (int shared = 0; shared < 2; shared++) {
					pthread_mutexattr_t attr;
					pthread_mutex_t m;
					pthread_mutexattr_init(&attr);
					pthread_mutexattr_settype(&attr, types[i]);
					pthread_mutexattr_setrobust(&attr, robust ? PTHREAD_MUTEX_ROBUST
					                                          : PTHREAD_MUTEX_STALLED);
					pthread_mutexattr_setprotocol(&attr,
					                              pi ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE);
					pthread_mutexattr_setpshared(&attr, shared ? PTHREAD_PROCESS_SHARED
					                                           : PTHREAD_PROCESS_PRIVATE);
					if (pthread_mutex_init(&m, &attr) != 0)
						continue;
					CHECK(owner_of(WAIT_pthread_mutex_lock, &m) == 0);
					CHECK(pthread_mutex_lock(&m) == 0);
					CHECK(owner_of(WAIT_pthread_mutex_lock, &m) == os_tid());
					CHECK(owner_of(WAIT_pthread_mutex_timedlock, &m) == os_tid());
					CHECK(owner_of(WAIT_pthread_mutex_clocklock, &m) == os_tid());
					CHECK(owner_of(WAIT_pthread_cond_wait, &m) == -1);
					CHECK(pthread_mutex_unlock(&m) == 0);
					CHECK(owner_of(WAIT_pthread_mutex_lock, &m) == 0);
					pthread_mutex_destroy(&m);
				}
	mtx_t m;
	mtx_init(&m, mtx_plain);
	mtx_lock(&m);
	CHECK(owner_of(WAIT_mtx_lock, &m) == os_tid() && owner_of(WAIT_mtx_timedlock, &m) == os_tid());
	mtx_unlock(&m);
}

static void test_a_mutex_of_any_kind_knows_its_owner(void **state)
{
	(void)state;
	in_child_after(child_begin, owners_of_mutexes);
}

static void owners_of_rwlocks(void)
{
	static const unsigned calls[] = {WAIT_pthread_rwlock_rdlock,      WAIT_pthread_rwlock_timedrdlock,
	                                 WAIT_pthread_rwlock_clockrdlock, WAIT_pthread_rwlock_wrlock,
	                                 WAIT_pthread_rwlock_timedwrlock, WAIT_pthread_rwlock_clockwrlock};
	pthread_rwlock_t l;
	pthread_rwlock_init(&l, NULL);
	for (size_t i = 0; i < COUNT(calls); i++) {
		CHECK(owner_of(calls[i], &l) == 0);
		pthread_rwlock_wrlock(&l);
		CHECK(owner_of(calls[i], &l) == os_tid());
		pthread_rwlock_unlock(&l);
		CHECK(owner_of(calls[i], &l) == 0);
		pthread_rwlock_rdlock(&l);
		CHECK(owner_of(calls[i], &l) == 0); /* readers are not known */
		pthread_rwlock_unlock(&l);
	}
}

static void test_a_read_write_lock_knows_its_writer(void **state)
{
	(void)state;
	in_child_after(child_begin, owners_of_rwlocks);
}

static void *lock_and_die(void *m)
{
	pthread_mutex_lock(m);
	return NULL;
}

/* glibc then keeps INT_MAX there, which is no thread. */
static void inconsistent(void)
{
	pthread_mutexattr_t attr;
	pthread_mutex_t m;
	pthread_t t;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&m, &attr);
	pthread_create(&t, NULL, lock_and_die, &m);
	pthread_join(t, NULL);
	CHECK(pthread_mutex_lock(&m) == EOWNERDEAD);
	CHECK(owner_of(WAIT_pthread_mutex_lock, &m) == 0 || owner_of(WAIT_pthread_mutex_lock, &m) == os_tid());
	pthread_mutex_consistent(&m);
	CHECK(owner_of(WAIT_pthread_mutex_lock, &m) == os_tid());
}

static void test_a_mutex_that_was_inherited_from_the_dead_has_no_made_up_owner(void **state)
{
	(void)state;
	in_child_after(child_begin, inconsistent);
}

static void bad_objects(void)
{
	char *gone = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(gone + 4096, 4096);
	const uintptr_t objects[] = {0,
	                             1,
	                             8,
	                             (uintptr_t)gone + 4096,
	                             (uintptr_t)gone + 4096 - 10,
	                             (uintptr_t)gone + 4096 - 26,
	                             (uintptr_t)gone + 8000,
	                             (uintptr_t)1 << 47,
	                             (uintptr_t)1 << 63,
	                             UINTPTR_MAX,
	                             UINTPTR_MAX - 8,
	                             UINTPTR_MAX - 11};
	memset(gone, 0xff, 4096);
	for (size_t i = 0; i < COUNT(objects); i++) {
		CHECK(owner_of(WAIT_pthread_mutex_lock, (void *)objects[i]) == 0);
		CHECK(owner_of(WAIT_pthread_rwlock_wrlock, (void *)objects[i]) == 0);
	}
	CHECK(owner_of(WAIT_pthread_mutex_lock, gone) == 0); /* a negative number is nobody */
	memset(gone, 0, 4096);
	*(int *)(gone + 8) = 77;
	CHECK(owner_of(WAIT_pthread_mutex_lock, gone) == 77);
	CHECK(owner_of(WAIT_poll, gone) == -1 && owner_of(WAIT_NONE, gone) == -1 &&
	      owner_of(WAIT_CHANGING, gone) == -1);
	char copy[4096], *other = gone;
	CHECK(peek((uintptr_t)other, copy, sizeof copy) && memcmp(copy, other, sizeof copy) == 0);
	CHECK(!peek((uintptr_t)other + 1, copy, sizeof copy)); /* all or nothing */
	CHECK(!peek((uintptr_t)other + 4096, copy, 1));
}

static void test_memory_that_is_no_more_has_no_owner_and_does_no_harm(void **state)
{
	(void)state;
	in_child_after(child_begin, bad_objects);
}

/* A container's filter that knows process_vm_readv as a debugger's tool. */
static void filtered(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {COUNT(code), code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		_exit(CHILD_SKIPPED);
	bad_objects();
}

static void test_the_same_where_a_filter_forbids_the_system_call(void **state)
{
	(void)state;
	in_child_after(child_begin, filtered);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_mutex_of_any_kind_knows_its_owner),
		cmocka_unit_test(test_a_read_write_lock_knows_its_writer),
		cmocka_unit_test(test_a_mutex_that_was_inherited_from_the_dead_has_no_made_up_owner),
		cmocka_unit_test(test_memory_that_is_no_more_has_no_owner_and_does_no_harm),
		cmocka_unit_test(test_the_same_where_a_filter_forbids_the_system_call),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
