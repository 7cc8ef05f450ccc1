/* lock_semantics.c - what every lock call returns, for every kind of lock, in every state that has a defined answer.
 *
 * Runs in: a test program. Prints a line a call: its name, the object and its state, what it returned (an error's name,
 * as the call tells it), and ` errno NAME` if errno is not what it was before. The output is the same at each run, and
 * must be the same with the shim. A row in which somebody must wait first makes sure that he does.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <threads.h>

#include "contention.h"

static const char *error_name(int e)
{
	const char *name = strerrorname_np(e);
	return name ? name : e == PTHREAD_BARRIER_SERIAL_THREAD ? "SERIAL_THREAD" : "?";
}

/* One line. errno is set to a value that no call here sets. */
#define ROW(object, state, call) \
	do { \
		errno = EXFULL; \
		row(object, state, #call, (call)); \
	} while (0)

static void row(const char *object, const char *state, const char *call, int result)
{
	int e = errno;
	printf("%-28s %-40s %.*s = %s", object, state, (int)strcspn(call, "("), call,
	       result < 0 && result != PTHREAD_BARRIER_SERIAL_THREAD ? "-1" : error_name(result));
	if (e != EXFULL)
		printf(" errno %s", error_name(e));
	putchar('\n');
}

static struct timespec soon(clockid_t c)
{
	return timespec_of(now_ns(c) + 15 * MS);
}
static struct timespec late(clockid_t c)
{
	return timespec_of(now_ns(c) + 60 * SECOND);
}
static const struct timespec bad_times[] = {{2000000000, -1}, {2000000000, 1000000000}},
			     over[] = {{-1, 0}, {0, 0}, {1, 5}};

/* ---- another thread, that does what it is told ---- */

struct other {
	int (*take)(void *), (*give)(void *);
	void *object;
	int took, gave, tid, told, dies;
	pthread_t thread;
};

static void *other_main(void *arg)
{
	struct other *o = arg;
	__atomic_store_n(&o->tid, own_tid(), __ATOMIC_SEQ_CST);
	o->took = o->take(o->object);
	__atomic_store_n(&o->told, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&o->told, __ATOMIC_SEQ_CST) == 1)
		nap(200000);
	if (o->give && !o->dies)
		o->gave = o->give(o->object);
	return NULL;
}

/* It takes the object, and is waited for, or it must fall asleep in the attempt. */
static void other_begin(struct other *o, int waits)
{
	must(pthread_create(&o->thread, NULL, other_main, o));
	if (waits) {
		while (!__atomic_load_n(&o->tid, __ATOMIC_SEQ_CST))
			nap(100000);
		until_asleep(o->tid);
	} else {
		while (!__atomic_load_n(&o->told, __ATOMIC_SEQ_CST))
			nap(100000);
	}
}

static void other_end(struct other *o)
{
	while (__atomic_load_n(&o->told, __ATOMIC_SEQ_CST) != 1)
		nap(100000);
	__atomic_store_n(&o->told, 2, __ATOMIC_SEQ_CST);
	must(pthread_join(o->thread, NULL));
}

/* A moment later: 20 ms. So the caller is in its call by then. */
static void *end_later(void *arg)
{
	nap(20 * MS);
	other_end(arg);
	return NULL;
}
static pthread_t other_end_later(struct other *o)
{
	pthread_t t;
	must(pthread_create(&t, NULL, end_later, o));
	return t;
}

struct call {
	int (*call)(void *);
	void *object;
	int result;
};
static void *call_main(void *arg)
{
	struct call *c = arg;
	c->result = c->call(c->object);
	return NULL;
}
static int by_another(int (*call)(void *), void *object)
{
	struct call c = {call, object, 0};
	pthread_t t;
	must(pthread_create(&t, NULL, call_main, &c));
	must(pthread_join(t, NULL));
	return c.result;
}

/* ---- mutexes ---- */

static int m_lock(void *m)
{
	return pthread_mutex_lock(m);
}
static int m_trylock(void *m)
{
	return pthread_mutex_trylock(m);
}
static int m_unlock(void *m)
{
	return pthread_mutex_unlock(m);
}
static int m_soon(void *m)
{
	struct timespec t = soon(CLOCK_REALTIME);
	return pthread_mutex_timedlock(m, &t);
}
static int m_late(void *m)
{
	struct timespec t = late(CLOCK_REALTIME);
	return pthread_mutex_timedlock(m, &t);
}
static int m_clock_soon(void *m)
{
	struct timespec t = soon(CLOCK_MONOTONIC);
	return pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &t);
}
static int m_clock_late(void *m)
{
	struct timespec t = late(CLOCK_MONOTONIC);
	return pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &t);
}
static int m_cpu_clock(void *m)
{
	struct timespec t = late(CLOCK_MONOTONIC);
	return pthread_mutex_clocklock(m, CLOCK_PROCESS_CPUTIME_ID, &t);
}

static const struct {
	const char *name;
	int type, robust, protocol, shared;
} kinds[] = {
	{"normal", PTHREAD_MUTEX_NORMAL, 0, PTHREAD_PRIO_NONE, 0},
	{"recursive", PTHREAD_MUTEX_RECURSIVE, 0, PTHREAD_PRIO_NONE, 0},
	{"errorcheck", PTHREAD_MUTEX_ERRORCHECK, 0, PTHREAD_PRIO_NONE, 0},
	{"adaptive", PTHREAD_MUTEX_ADAPTIVE_NP, 0, PTHREAD_PRIO_NONE, 0},
	{"normal shared", PTHREAD_MUTEX_NORMAL, 0, PTHREAD_PRIO_NONE, 1},
	{"errorcheck shared", PTHREAD_MUTEX_ERRORCHECK, 0, PTHREAD_PRIO_NONE, 1},
	{"robust", PTHREAD_MUTEX_NORMAL, 1, PTHREAD_PRIO_NONE, 0},
	{"robust recursive", PTHREAD_MUTEX_RECURSIVE, 1, PTHREAD_PRIO_NONE, 0},
	{"robust errorcheck", PTHREAD_MUTEX_ERRORCHECK, 1, PTHREAD_PRIO_NONE, 0},
	{"robust shared", PTHREAD_MUTEX_NORMAL, 1, PTHREAD_PRIO_NONE, 1},
	{"inherit", PTHREAD_MUTEX_NORMAL, 0, PTHREAD_PRIO_INHERIT, 0},
	{"inherit recursive", PTHREAD_MUTEX_RECURSIVE, 0, PTHREAD_PRIO_INHERIT, 0},
	{"inherit errorcheck", PTHREAD_MUTEX_ERRORCHECK, 0, PTHREAD_PRIO_INHERIT, 0},
	{"inherit robust errorcheck", PTHREAD_MUTEX_ERRORCHECK, 1, PTHREAD_PRIO_INHERIT, 0},
	{"inherit shared", PTHREAD_MUTEX_NORMAL, 0, PTHREAD_PRIO_INHERIT, 1},
	{"protect", PTHREAD_MUTEX_NORMAL, 0, PTHREAD_PRIO_PROTECT, 0},
	{"protect errorcheck", PTHREAD_MUTEX_ERRORCHECK, 0, PTHREAD_PRIO_PROTECT, 0},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static pthread_mutex_t *mutex_of_kind(int k)
{
	pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
	                          (kinds[k].shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t a;
	pthread_mutexattr_init(&a);
	must(pthread_mutexattr_settype(&a, kinds[k].type));
	must(pthread_mutexattr_setrobust(&a, kinds[k].robust ? PTHREAD_MUTEX_ROBUST : PTHREAD_MUTEX_STALLED));
	must(pthread_mutexattr_setprotocol(&a, kinds[k].protocol));
	must(pthread_mutexattr_setpshared(&a, kinds[k].shared ? PTHREAD_PROCESS_SHARED : PTHREAD_PROCESS_PRIVATE));
	must(pthread_mutex_init(m, &a));
	return m;
}

static int checks_owner(int k)
{
	return kinds[k].type == PTHREAD_MUTEX_ERRORCHECK || kinds[k].type == PTHREAD_MUTEX_RECURSIVE || kinds[k].robust;
}

static void mutex_free(const char *n, pthread_mutex_t *m)
{
	int (*const takes[])(void *) = {m_lock, m_trylock, m_soon, m_clock_soon};
	for (int i = 0; i < 4; i++) {
		ROW(n, "free: lock, trylock, timed, clock", takes[i](m));
		ROW(n, "own", pthread_mutex_unlock(m));
	}
	for (int i = 0; i < 2; i++) {
		ROW(n, "free, a time that is none", pthread_mutex_timedlock(m, &bad_times[i]));
		ROW(n, "after it", pthread_mutex_unlock(m));
	}
	ROW(n, "free, a time that is over", pthread_mutex_timedlock(m, &over[0]));
	ROW(n, "after it", pthread_mutex_unlock(m));
	ROW(n, "free, the CPU's clock", m_cpu_clock(m));
}

static void mutex_held(const char *n, pthread_mutex_t *m, int k)
{
	struct other o = {m_lock, m_unlock, m, 0, 0, 0, 0, 0, 0};
	other_begin(&o, 0);
	ROW(n, "held by another", pthread_mutex_trylock(m));
	ROW(n, "held by another, until soon", m_soon(m));
	ROW(n, "held by another, until soon", m_clock_soon(m));
	ROW(n, "held by another, the CPU's clock", m_cpu_clock(m));
	for (int i = 0; i < 2; i++) {
		ROW(n, "held by another, a time that is none", pthread_mutex_timedlock(m, &bad_times[i]));
		ROW(n, "held by another, a time that is none",
		    pthread_mutex_clocklock(m, CLOCK_MONOTONIC, &bad_times[i]));
	}
	for (int i = 0; i < 3; i++)
		ROW(n, "held by another, a time that is over", pthread_mutex_timedlock(m, &over[i]));
	if (checks_owner(k))
		ROW(n, "held by another", pthread_mutex_unlock(m));
	if (!kinds[k].robust)
		ROW(n, "held by another", pthread_mutex_destroy(m));
	other_end(&o);
	ROW(n, "taken by the other", o.took);
	ROW(n, "given by the other", o.gave);
	/* One waits for the other's unlock. */
	int (*const takes[])(void *) = {m_lock, m_late, m_clock_late};
	for (int i = 0; i < 3; i++) {
		struct other p = {m_lock, m_unlock, m, 0, 0, 0, 0, 0, 0};
		other_begin(&p, 0);
		pthread_t t = other_end_later(&p);
		ROW(n, "waited for: lock, timed, clock", takes[i](m));
		pthread_join(t, NULL);
		ROW(n, "own, after a wait", pthread_mutex_unlock(m));
	}
	/* Three wait at once, with time-outs or without. */
	must(pthread_mutex_lock(m));
	struct other w[3] = {{m_lock, m_unlock, m, 0, 0, 0, 0, 0, 0},
	                     {m_late, m_unlock, m, 0, 0, 0, 0, 0, 0},
	                     {m_soon, NULL, m, 0, 0, 0, 0, 0, 0}};
	for (int i = 0; i < 3; i++) {
		must(pthread_create(&w[i].thread, NULL, other_main, &w[i]));
		while (!__atomic_load_n(&w[i].tid, __ATOMIC_SEQ_CST))
			nap(100000);
	}
	while (__atomic_load_n(&w[2].told, __ATOMIC_SEQ_CST) != 1)
		nap(100000);
	until_asleep(w[0].tid);
	until_asleep(w[1].tid);
	ROW(n, "own, two wait and one did", pthread_mutex_unlock(m));
	other_end(&w[2]);
	/* The one that has it lets it go when told: both are. */
	for (int i = 0; i < 2; i++)
		while (!__atomic_load_n(&w[0].told, __ATOMIC_SEQ_CST) && !__atomic_load_n(&w[1].told, __ATOMIC_SEQ_CST))
			nap(100000);
	int first = __atomic_load_n(&w[0].told, __ATOMIC_SEQ_CST) ? 0 : 1;
	other_end(&w[first]);
	other_end(&w[!first]);
	for (int i = 0; i < 3; i++) {
		ROW(n, "taken by a waiter", w[i].took);
		ROW(n, "given by a waiter", w[i].gave);
	}
}

static void mutex_own(const char *n, pthread_mutex_t *m, int k)
{
	int recursive = kinds[k].type == PTHREAD_MUTEX_RECURSIVE;
	must(pthread_mutex_lock(m));
	ROW(n, "own", pthread_mutex_trylock(m));
	if (recursive)
		ROW(n, "own twice", pthread_mutex_unlock(m));
	ROW(n, "own, until soon", m_soon(m));
	if (recursive)
		ROW(n, "own twice", pthread_mutex_unlock(m));
	ROW(n, "own, until soon", m_clock_soon(m));
	if (recursive)
		ROW(n, "own twice", pthread_mutex_unlock(m));
	if (recursive || kinds[k].type == PTHREAD_MUTEX_ERRORCHECK) {
		ROW(n, "own", pthread_mutex_lock(m));
		if (recursive) {
			ROW(n, "own twice, seen by another", by_another(m_trylock, m));
			ROW(n, "own twice", pthread_mutex_unlock(m));
			unsigned depth = m->__data.__count;
			m->__data.__count = UINT_MAX;
			ROW(n, "own, as deep as can be", pthread_mutex_lock(m));
			ROW(n, "own, as deep as can be", pthread_mutex_trylock(m));
			ROW(n, "own, as deep as can be", m_soon(m));
			m->__data.__count = depth;
		}
	}
	ROW(n, "own, seen by another", by_another(m_trylock, m));
	if (checks_owner(k))
		ROW(n, "own, unlocked by another", by_another(m_unlock, m));
	ROW(n, "own", pthread_mutex_consistent(m));
	ROW(n, "own", pthread_mutex_unlock(m));
	ROW(n, "free again, for another", by_another(m_soon, m) == 0 ? 0 : EINVAL);
	/* The other ended with the mutex; of those that are not robust, nothing more is asked. */
}

static void mutex_unowned(const char *n, int k)
{
	pthread_mutex_t *m = mutex_of_kind(k);
	if (checks_owner(k))
		ROW(n, "free", pthread_mutex_unlock(m));
	ROW(n, "free", pthread_mutex_consistent(m));
	ROW(n, "free", pthread_mutex_destroy(m));
	ROW(n, "destroyed", pthread_mutex_lock(m));
	ROW(n, "destroyed", pthread_mutex_trylock(m));
	ROW(n, "destroyed", m_soon(m));
	ROW(n, "destroyed", pthread_mutex_unlock(m));
}

/* A child holds what is shared. */
static void mutex_of_child(const char *n, int k)
{
	pthread_mutex_t *m = mutex_of_kind(k);
	int *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), status;
	for (int dies = 0; dies <= kinds[k].robust; dies++) {
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			must(pthread_mutex_lock(m));
			__atomic_store_n(seen, 1 + 2 * dies, __ATOMIC_SEQ_CST);
			while (__atomic_load_n(seen, __ATOMIC_SEQ_CST) == 1 + 2 * dies)
				nap(200000);
			nap(15 * MS);
			if (!dies)
				must(pthread_mutex_unlock(m));
			_exit(0);
		}
		while (__atomic_load_n(seen, __ATOMIC_SEQ_CST) != 1 + 2 * dies)
			nap(200000);
		ROW(n, "held by a child", pthread_mutex_trylock(m));
		ROW(n, "held by a child, until soon", m_soon(m));
		__atomic_store_n(seen, 2 + 2 * dies, __ATOMIC_SEQ_CST);
		ROW(n, dies ? "left by a child that ended" : "waited for, held by a child", pthread_mutex_lock(m));
		if (dies)
			ROW(n, "left by a child that ended", pthread_mutex_consistent(m));
		ROW(n, "own", pthread_mutex_unlock(m));
		while (waitpid(pid, &status, 0) != pid)
			;
		ROW(n, "the child's status", status);
	}
}

/* What a child inherits is its parent's: owners are known by their thread's number. */
static void mutex_inherited(const char *n, int k)
{
	pthread_mutex_t *m = mutex_of_kind(k);
	int status;
	must(pthread_mutex_lock(m));
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		ROW(n, "held by the parent", pthread_mutex_trylock(m));
		/* A child that waits for a private mutex of priorities is told an error that libc does not know. */
		if (kinds[k].protocol == PTHREAD_PRIO_NONE || kinds[k].shared)
			ROW(n, "held by the parent, until soon", m_soon(m));
		if (checks_owner(k))
			ROW(n, "held by the parent", pthread_mutex_unlock(m));
		fflush(stdout);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) != pid)
		;
	ROW(n, "own, after fork", pthread_mutex_unlock(m));
}

/* Owners that die: when it is free to take, and while somebody waits. */
static void mutex_robust(const char *n, int k)
{
	int (*const takes[])(void *) = {m_lock, m_trylock, m_soon, m_clock_soon};
	for (int mended = 0; mended < 2; mended++)
		for (int i = 0; i < 4; i++)
			for (int waits = 0; waits < (i == 1 ? 1 : 2); waits++) {
				pthread_mutex_t *m = mutex_of_kind(k);
				struct other o = {m_lock, NULL, m, 0, 0, 0, 0, 1, 0},
					     p = {m_lock, m_unlock, m, 0, 0, 0, 0, 0, 0};
				int (*const late_takes[])(void *) = {m_lock, NULL, m_late, m_clock_late};
				pthread_t t;
				other_begin(&o, 0);
				if (waits)
					t = other_end_later(&o);
				else
					other_end(&o);
				ROW(n, waits ? "left while waited for" : "left", (waits ? late_takes : takes)[i](m));
				if (waits)
					must(pthread_join(t, NULL));
				other_begin(&p, 1); /* waits for what is not consistent yet */
				if (mended)
					ROW(n, "own, left by another", pthread_mutex_consistent(m));
				ROW(n, "own, left by another", pthread_mutex_unlock(m));
				other_end(&p);
				ROW(n, mended ? "mended, for who waited" : "not mended, for who waited", p.took);
				ROW(n, "the same, unlocked", p.gave);
				int after = takes[i](m);
				ROW(n, "after that", after);
				/* (glibc 2.36 leaves a mutex taken whose trylock said ENOTRECOVERABLE: nothing more is
				 * asked of it.) */
				if (after == 0)
					ROW(n, "after that", pthread_mutex_unlock(m));
				ROW(n, "after that", pthread_mutex_consistent(m));
			}
}

/* A ceiling is a real-time priority: who has none of these is refused. In threads of their own, as libc keeps accounts.
 */
static int lock_protect(void *m)
{
	int result = pthread_mutex_lock(m);
	if (result == 0) {
		ROW("protect", "own", pthread_mutex_trylock(m));
		ROW("protect", "own, until soon", m_soon(m));
		ROW("protect", "own", pthread_mutex_unlock(m));
	}
	return result;
}
static int lock_protect_in_real_time(void *m)
{
	struct sched_param real_time = {.sched_priority = 1};
	if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &real_time) != 0)
		return 0; /* not allowed here */
	return lock_protect(m);
}
static void mutex_protect(const char *n, pthread_mutex_t *m)
{
	int ceiling = 0;
	ROW(n, "free", pthread_mutex_getprioceiling(m, &ceiling));
	ROW(n, "free, a ceiling that is none",
	    pthread_mutex_setprioceiling(m, sched_get_priority_max(SCHED_FIFO) + 1, &ceiling));
	ROW(n, "free, in no real time", by_another(lock_protect, m));
	ROW(n, "free, in real time", by_another(lock_protect_in_real_time, m));
}

static void mutexes(void)
{
	for (int k = 0; k < KINDS; k++) {
		const char *n = kinds[k].name;
		pthread_mutex_t *m = mutex_of_kind(k);
		if (kinds[k].protocol == PTHREAD_PRIO_PROTECT) {
			mutex_protect(n, m);
			continue;
		}
		mutex_free(n, m);
		mutex_held(n, m, k);
		mutex_own(n, mutex_of_kind(k), k);
		mutex_unowned(n, k);
		if (kinds[k].shared)
			mutex_of_child(n, k);
		mutex_inherited(n, k);
		if (kinds[k].robust)
			mutex_robust(n, k);
	}
	static pthread_mutex_t statics[] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP,
	                                    PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP,
	                                    PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP};
	for (int k = 0; k < 4; k++) {
		char n[40];
		snprintf(n, sizeof n, "static %s", kinds[k].name);
		mutex_free(n, &statics[k]);
		mutex_held(n, &statics[k], k);
		mutex_own(n, &statics[k], k);
	}
}

/* ---- locks of readers and writers ---- */

static int rd_lock(void *l)
{
	return pthread_rwlock_rdlock(l);
}
static int wr_lock(void *l)
{
	return pthread_rwlock_wrlock(l);
}
static int rd_try(void *l)
{
	return pthread_rwlock_tryrdlock(l);
}
static int wr_try(void *l)
{
	return pthread_rwlock_trywrlock(l);
}
static int rw_unlock(void *l)
{
	return pthread_rwlock_unlock(l);
}
static int rd_soon(void *l)
{
	struct timespec t = soon(CLOCK_REALTIME);
	return pthread_rwlock_timedrdlock(l, &t);
}
static int wr_soon(void *l)
{
	struct timespec t = soon(CLOCK_REALTIME);
	return pthread_rwlock_timedwrlock(l, &t);
}
static int rd_clock(void *l)
{
	struct timespec t = soon(CLOCK_MONOTONIC);
	return pthread_rwlock_clockrdlock(l, CLOCK_MONOTONIC, &t);
}
static int wr_clock(void *l)
{
	struct timespec t = soon(CLOCK_MONOTONIC);
	return pthread_rwlock_clockwrlock(l, CLOCK_MONOTONIC, &t);
}
static int rd_cpu(void *l)
{
	struct timespec t = soon(CLOCK_MONOTONIC);
	return pthread_rwlock_clockrdlock(l, CLOCK_THREAD_CPUTIME_ID, &t);
}
static int wr_cpu(void *l)
{
	struct timespec t = soon(CLOCK_MONOTONIC);
	return pthread_rwlock_clockwrlock(l, CLOCK_THREAD_CPUTIME_ID, &t);
}

static void rw_timed(const char *n, const char *state, pthread_rwlock_t *l)
{
	ROW(n, state, rd_try(l));
	ROW(n, state, wr_try(l));
	ROW(n, state, rd_soon(l));
	ROW(n, state, wr_soon(l));
	ROW(n, state, rd_clock(l));
	ROW(n, state, wr_clock(l));
	ROW(n, state, rd_cpu(l));
	ROW(n, state, wr_cpu(l));
	for (int i = 0; i < 2; i++) {
		ROW(n, state, pthread_rwlock_timedrdlock(l, &bad_times[i]));
		ROW(n, state, pthread_rwlock_timedwrlock(l, &bad_times[i]));
	}
	ROW(n, state, pthread_rwlock_timedrdlock(l, &over[0]));
	ROW(n, state, pthread_rwlock_timedwrlock(l, &over[0]));
}

static void rwlock_of(const char *n, int kind, int shared)
{
	pthread_rwlock_t *l = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_rwlockattr_t a;
	pthread_rwlockattr_init(&a);
	must(pthread_rwlockattr_setkind_np(&a, kind));
	must(pthread_rwlockattr_setpshared(&a, shared));
	must(pthread_rwlock_init(l, &a));
	int (*const takes[])(void *) = {rd_lock, wr_lock, rd_try, wr_try, rd_soon, wr_soon, rd_clock, wr_clock};
	for (int i = 0; i < 8; i++) {
		ROW(n, "free: rd, wr, try, timed, clock", takes[i](l));
		ROW(n, "own", pthread_rwlock_unlock(l));
	}
	must(pthread_rwlock_wrlock(l));
	ROW(n, "own as writer", rd_lock(l));
	ROW(n, "own as writer", wr_lock(l));
	rw_timed(n, "own as writer", l);
	ROW(n, "own as writer", pthread_rwlock_unlock(l));

	struct other writer = {wr_lock, rw_unlock, l, 0, 0, 0, 0, 0, 0};
	other_begin(&writer, 0);
	rw_timed(n, "held by a writer", l);
	pthread_t t = other_end_later(&writer);
	ROW(n, "held by a writer, waited for", rd_lock(l));
	must(pthread_join(t, NULL));
	ROW(n, "own as reader, seen by another", by_another(wr_try, l));
	ROW(n, "own as reader", wr_try(l));
	ROW(n, "own as reader", wr_soon(l));
	ROW(n, "own as reader", rd_lock(l));
	ROW(n, "own as reader twice", pthread_rwlock_unlock(l));
	ROW(n, "own as reader", pthread_rwlock_unlock(l));

	struct other reader = {rd_lock, rw_unlock, l, 0, 0, 0, 0, 0, 0};
	other_begin(&reader, 0);
	ROW(n, "held by a reader", rd_try(l));
	ROW(n, "own, with another reader", pthread_rwlock_unlock(l));
	ROW(n, "held by a reader", wr_try(l));
	ROW(n, "held by a reader", wr_soon(l));
	/* A writer waits: may a reader still come in? That is what the kind says. */
	struct other late_writer = {wr_lock, rw_unlock, l, 0, 0, 0, 0, 0, 0};
	other_begin(&late_writer, 1);
	int result = pthread_rwlock_tryrdlock(l);
	ROW(n, "held by a reader, a writer waits", result);
	if (result == 0)
		ROW(n, "own, with another reader", pthread_rwlock_unlock(l));
	result = rd_soon(l);
	ROW(n, "held by a reader, a writer waits", result);
	if (result == 0)
		ROW(n, "own, with another reader", pthread_rwlock_unlock(l));
	other_end(&reader);
	while (!__atomic_load_n(&late_writer.told, __ATOMIC_SEQ_CST))
		nap(100000);
	ROW(n, "held by the writer that waited", rd_try(l));
	/* Readers and a writer wait for it at once. */
	struct other more[4] = {{rd_lock, rw_unlock, l, 0, 0, 0, 0, 0, 0},
	                        {rd_soon, rw_unlock, l, 0, 0, 0, 0, 0, 0},
	                        {wr_soon, rw_unlock, l, 0, 0, 0, 0, 0, 0},
	                        {rd_lock, rw_unlock, l, 0, 0, 0, 0, 0, 0}};
	for (int i = 0; i < 4; i++) {
		must(pthread_create(&more[i].thread, NULL, other_main, &more[i]));
		while (!__atomic_load_n(&more[i].tid, __ATOMIC_SEQ_CST))
			nap(100000);
	}
	while (!__atomic_load_n(&more[1].told, __ATOMIC_SEQ_CST) || !__atomic_load_n(&more[2].told, __ATOMIC_SEQ_CST))
		nap(100000);
	other_end(&late_writer);
	for (int i = 0; i < 4; i++) {
		more[i].give = more[i].told == 1 && more[i].took != 0 ? NULL : more[i].give;
		other_end(&more[i]);
		ROW(n, "who waited for a writer", more[i].took);
		ROW(n, "the same, unlocked", more[i].gave);
	}
	if (shared == PTHREAD_PROCESS_SHARED) {
		int *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), status;
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			must(pthread_rwlock_wrlock(l));
			__atomic_store_n(seen, 1, __ATOMIC_SEQ_CST);
			while (__atomic_load_n(seen, __ATOMIC_SEQ_CST) == 1)
				nap(200000);
			nap(15 * MS);
			_exit(pthread_rwlock_unlock(l));
		}
		while (__atomic_load_n(seen, __ATOMIC_SEQ_CST) != 1)
			nap(200000);
		rw_timed(n, "held by a child", l);
		__atomic_store_n(seen, 2, __ATOMIC_SEQ_CST);
		ROW(n, "waited for, held by a child", pthread_rwlock_wrlock(l));
		while (waitpid(pid, &status, 0) != pid)
			;
		ROW(n, "the child's status", status);
		ROW(n, "own", pthread_rwlock_unlock(l));
	}
	ROW(n, "free", pthread_rwlock_destroy(l));
}

static void rwlocks(void)
{
	rwlock_of("rwlock, readers first", PTHREAD_RWLOCK_PREFER_READER_NP, PTHREAD_PROCESS_PRIVATE);
	rwlock_of("rwlock, writers first", PTHREAD_RWLOCK_PREFER_WRITER_NP, PTHREAD_PROCESS_PRIVATE);
	rwlock_of("rwlock, writers really first", PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP,
	          PTHREAD_PROCESS_PRIVATE);
	rwlock_of("rwlock, shared", PTHREAD_RWLOCK_DEFAULT_NP, PTHREAD_PROCESS_SHARED);
}

/* ---- C11 ---- */

static int c_unlock(void *m)
{
	return mtx_unlock(m);
}
static int c_lock(void *m)
{
	return mtx_lock(m);
}

static void c11(void)
{
	static const struct {
		const char *name;
		int kind;
	} mtx_kinds[] = {{"mtx_plain", mtx_plain},
	                 {"mtx_timed", mtx_timed},
	                 {"mtx_plain recursive", mtx_plain | mtx_recursive},
	                 {"mtx_timed recursive", mtx_timed | mtx_recursive}};
	for (int i = 0; i < 4; i++) {
		const char *n = mtx_kinds[i].name;
		mtx_t m;
		struct timespec t;
		must(mtx_init(&m, mtx_kinds[i].kind));
		printf("%s free: %d", n, mtx_lock(&m));
		printf(" %d", mtx_unlock(&m));
		printf(" %d", mtx_trylock(&m));
		if (mtx_kinds[i].kind & mtx_recursive)
			printf(" own: %d %d", mtx_lock(&m), mtx_unlock(&m));
		else
			printf(" own: %d", mtx_trylock(&m));
		printf(" %d\n", mtx_unlock(&m));
		struct other o = {c_lock, c_unlock, &m, 0, 0, 0, 0, 0, 0};
		other_begin(&o, 0);
		t = soon(CLOCK_REALTIME);
		printf("%s held by another: %d %d", n, mtx_trylock(&m), mtx_timedlock(&m, &t));
		printf(" %d %d\n", mtx_timedlock(&m, &bad_times[0]), mtx_timedlock(&m, &over[0]));
		pthread_t thread = other_end_later(&o);
		printf("%s waited for: %d", n, mtx_lock(&m));
		must(pthread_join(thread, NULL));
		printf(" %d\n", mtx_unlock(&m));
		cnd_t c;
		must(cnd_init(&c));
		must(mtx_lock(&m));
		t = soon(CLOCK_REALTIME);
		printf("%s cnd: %d", n, cnd_timedwait(&c, &m, &t));
		printf(" %d", cnd_timedwait(&c, &m, &bad_times[1]));
		printf(" %d %d\n", cnd_signal(&c), mtx_unlock(&m));
		mtx_destroy(&m);
	}
}

/* ---- semaphores, spin locks, barriers, threads ---- */

static int s_wait(void *s)
{
	return sem_wait(s) == 0 ? 0 : errno;
}
static int s_soon(void *s)
{
	struct timespec t = soon(CLOCK_REALTIME);
	return sem_timedwait(s, &t);
}
static int s_clock_soon(void *s)
{
	struct timespec t = soon(CLOCK_MONOTONIC);
	return sem_clockwait(s, CLOCK_MONOTONIC, &t);
}
static int s_cpu_clock(void *s)
{
	struct timespec t = soon(CLOCK_MONOTONIC);
	return sem_clockwait(s, CLOCK_PROCESS_CPUTIME_ID, &t);
}
static int s_post(void *s)
{
	return sem_post(s);
}

static void semaphores(void)
{
	for (int shared = 0; shared < 2; shared++) {
		const char *n = shared ? "sem shared" : "sem";
		sem_t *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		int value = -1;
		must(sem_init(s, shared, 1));
		ROW(n, "1", sem_wait(s));
		ROW(n, "0", sem_trywait(s));
		ROW(n, "0, until soon", s_soon(s));
		ROW(n, "0, until soon", s_clock_soon(s));
		ROW(n, "0, the CPU's clock", s_cpu_clock(s));
		for (int i = 0; i < 2; i++)
			ROW(n, "0, a time that is none", sem_timedwait(s, &bad_times[i]));
		ROW(n, "0, a time that is over", sem_timedwait(s, &over[0]));
		ROW(n, "0", sem_post(s));
		ROW(n, "1, a time that is over", sem_timedwait(s, &over[0]));
		struct other o = {s_wait, s_post, s, 0, 0, 0, 0, 0, 0};
		other_begin(&o, 1);
		ROW(n, "0, one waits", sem_getvalue(s, &value) == 0 ? value : -1);
		ROW(n, "0, one waits", sem_post(s));
		other_end(&o);
		ROW(n, "who waited", o.took);
		ROW(n, "1", sem_getvalue(s, &value) == 0 ? !value : -1);
		ROW(n, "1", sem_destroy(s));
		must(sem_init(s, shared, INT_MAX));
		ROW(n, "as high as can be", sem_post(s));
	}
}

static int sp_lock(void *s)
{
	return pthread_spin_lock(s);
}
static int sp_unlock(void *s)
{
	return pthread_spin_unlock(s);
}
static int b_wait(void *b)
{
	return pthread_barrier_wait(b);
}
static int nothing(void *p)
{
	(void)p;
	return 0;
}

static void others(void)
{
	static pthread_spinlock_t spin_lock;
	must(pthread_spin_init(&spin_lock, 0));
	ROW("spin", "free", pthread_spin_lock(&spin_lock));
	ROW("spin", "own", pthread_spin_trylock(&spin_lock));
	ROW("spin", "own", pthread_spin_unlock(&spin_lock));
	ROW("spin", "free", pthread_spin_trylock(&spin_lock));
	ROW("spin", "own", pthread_spin_unlock(&spin_lock));
	struct other o = {sp_lock, sp_unlock, (void *)&spin_lock, 0, 0, 0, 0, 0, 0};
	other_begin(&o, 0);
	pthread_t t = other_end_later(&o);
	ROW("spin", "waited for", pthread_spin_lock(&spin_lock));
	must(pthread_join(t, NULL));
	ROW("spin", "own", pthread_spin_unlock(&spin_lock));

	pthread_barrier_t b;
	must(pthread_barrier_init(&b, NULL, 1));
	ROW("barrier", "of one", pthread_barrier_wait(&b));
	must(pthread_barrier_destroy(&b));
	must(pthread_barrier_init(&b, NULL, 3));
	for (int i = 0; i < 3; i++) {
		struct other w[2] = {{b_wait, NULL, &b, 0, 0, 0, 0, 0, 0}, {b_wait, NULL, &b, 0, 0, 0, 0, 0, 0}};
		other_begin(&w[0], 1);
		other_begin(&w[1], 1);
		int mine = pthread_barrier_wait(&b);
		other_end(&w[0]);
		other_end(&w[1]);
		ROW("barrier", "of three: how many are the serial one",
		    !((mine != 0) + (w[0].took != 0) + (w[1].took != 0) == 1));
	}
	ROW("barrier", "free", pthread_barrier_destroy(&b));

	struct other alive = {nothing, NULL, NULL, 0, 0, 0, 0, 0, 0};
	struct timespec until = soon(CLOCK_REALTIME), mono = soon(CLOCK_MONOTONIC);
	other_begin(&alive, 0);
	ROW("thread", "self", pthread_join(pthread_self(), NULL));
	ROW("thread", "alive", pthread_tryjoin_np(alive.thread, NULL));
	ROW("thread", "alive, until soon", pthread_timedjoin_np(alive.thread, NULL, &until));
	ROW("thread", "alive, until soon", pthread_clockjoin_np(alive.thread, NULL, CLOCK_MONOTONIC, &mono));
	/* (A time that is none makes glibc 2.36 wait for good.) */
	ROW("thread", "alive, a time that is over", pthread_timedjoin_np(alive.thread, NULL, &over[2]));
	other_end(&alive);
}

/* ---- conditions ---- */

static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
struct awaited {
	pthread_mutex_t *mutex;
	int entered, may_go;
};

static int co_wait(void *arg)
{
	struct awaited *w = arg;
	must(pthread_mutex_lock(w->mutex));
	__atomic_store_n(&w->entered, 1, __ATOMIC_SEQ_CST);
	int result = 0;
	while (result == 0 && !w->may_go)
		result = pthread_cond_wait(&cond, w->mutex);
	return result;
}
static int co_leave(void *arg)
{
	return pthread_mutex_unlock(((struct awaited *)arg)->mutex);
}

/* Takes the mutex, wakes the one who waits, and ends. */
static int wake_and_die(void *arg)
{
	struct awaited *w = arg;
	must(pthread_mutex_lock(w->mutex));
	w->may_go = 1;
	return pthread_cond_signal(&cond);
}

static int unlocked_in_cleanup;
static void cleanup(void *m)
{
	unlocked_in_cleanup = pthread_mutex_unlock(m);
}
static void *be_cancelled(void *arg)
{
	struct awaited *w = arg;
	must(pthread_mutex_lock(w->mutex));
	pthread_cleanup_push(cleanup, w->mutex);
	__atomic_store_n(&w->entered, own_tid(), __ATOMIC_SEQ_CST);
	for (;;)
		pthread_cond_wait(&cond, w->mutex);
	pthread_cleanup_pop(0);
	return NULL;
}

static void conditions(void)
{
	for (int k = 0; k < KINDS; k++) {
		const char *n = kinds[k].name;
		pthread_mutex_t *m = mutex_of_kind(k);
		char name[60];
		snprintf(name, sizeof name, "cond, %s", n);
		if (kinds[k].protocol == PTHREAD_PRIO_PROTECT)
			continue;
		must(pthread_mutex_lock(m));
		struct timespec t = soon(CLOCK_REALTIME), mono = soon(CLOCK_MONOTONIC);
		ROW(name, "own, until soon", pthread_cond_timedwait(&cond, m, &t));
		ROW(name, "own, until soon", pthread_cond_clockwait(&cond, m, CLOCK_MONOTONIC, &mono));
		for (int i = 0; i < 2; i++)
			ROW(name, "own, a time that is none", pthread_cond_timedwait(&cond, m, &bad_times[i]));
		ROW(name, "own, a time that is over", pthread_cond_timedwait(&cond, m, &over[0]));
		ROW(name, "own, the CPU's clock", pthread_cond_clockwait(&cond, m, CLOCK_PROCESS_CPUTIME_ID, &mono));
		ROW(name, "own after that, seen by another", by_another(m_trylock, m));
		if (kinds[k].type == PTHREAD_MUTEX_RECURSIVE) {
			must(pthread_mutex_lock(m));
			t = soon(CLOCK_REALTIME);
			ROW(name, "own twice, until soon", pthread_cond_timedwait(&cond, m, &t));
			ROW(name, "own twice", pthread_mutex_unlock(m));
			ROW(name, "own once, seen by another", by_another(m_trylock, m));
		}
		ROW(name, "own", pthread_mutex_unlock(m));
		if (checks_owner(k)) {
			t = soon(CLOCK_REALTIME);
			ROW(name, "not own", pthread_cond_wait(&cond, m));
			ROW(name, "not own, until soon", pthread_cond_timedwait(&cond, m, &t));
		}
		/* Woken while another has the mutex. */
		struct awaited w = {m, 0, 0};
		struct other o = {co_wait, co_leave, &w, 0, 0, 0, 0, 0, 0};
		other_begin(&o, 1);
		must(pthread_mutex_lock(m));
		w.may_go = 1;
		ROW(name, "one waits", pthread_cond_signal(&cond));
		nap(10 * MS);
		ROW(name, "one was woken", pthread_mutex_unlock(m));
		other_end(&o);
		ROW(name, "who waited", o.took);
		ROW(name, "who waited, unlock", o.gave);
		/* Cancelled while it waits; while the mutex is free, or another's. */
		for (int held = 0; held < 2; held++) {
			pthread_t victim;
			void *result;
			struct awaited v = {m, 0, 0};
			unlocked_in_cleanup = -1;
			must(pthread_create(&victim, NULL, be_cancelled, &v));
			while (!__atomic_load_n(&v.entered, __ATOMIC_SEQ_CST))
				nap(100000);
			until_asleep(v.entered);
			if (held)
				must(pthread_mutex_lock(m));
			must(pthread_cancel(victim));
			if (held) {
				nap(10 * MS);
				must(pthread_mutex_unlock(m));
			}
			must(pthread_join(victim, &result));
			ROW(name, "cancelled", result != PTHREAD_CANCELED);
			ROW(name, "cancelled, unlock in cleanup", unlocked_in_cleanup);
			ROW(name, "free after that", pthread_mutex_trylock(m));
			ROW(name, "own", pthread_mutex_unlock(m));
		}
		if (kinds[k].robust) {
			struct awaited left = {m, 0, 0};
			struct other p = {co_wait, co_leave, &left, 0, 0, 0, 0, 0, 0};
			other_begin(&p, 1);
			ROW(name, "woken by one who ends with the mutex", by_another(wake_and_die, &left));
			while (!__atomic_load_n(&p.told, __ATOMIC_SEQ_CST))
				nap(100000);
			ROW(name, "who waited", p.took);
			other_end(&p);
			ROW(name, "who waited, unlock", p.gave);
			ROW(name, "after that", pthread_mutex_lock(m));
		}
	}
	ROW("cond", "nobody waits", pthread_cond_signal(&cond));
	ROW("cond", "nobody waits", pthread_cond_broadcast(&cond));
}

/* ---- signals ---- */

static int handled;
static pthread_mutex_t in_handler = PTHREAD_MUTEX_INITIALIZER;
static void handler(int sig)
{
	(void)sig;
	/* A lock that nobody else has, so that it may be asked for. */
	handled += pthread_mutex_trylock(&in_handler) == 0 && pthread_mutex_unlock(&in_handler) == 0;
}

static int wait_sem_or_eintr(void *s)
{
	return sem_wait(s) == 0 ? 0 : errno;
}
static int wait_cond(void *m)
{
	struct timespec t = timespec_of(now_ns(CLOCK_REALTIME) + 500 * MS);
	must(pthread_mutex_lock(m));
	return pthread_cond_timedwait(&cond, m, &t) == ETIMEDOUT ? 0 : 1;
}

static void signals(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, cond_mutex = PTHREAD_MUTEX_INITIALIZER;
	static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
	static sem_t sem;
	pthread_mutex_t *inherit = mutex_of_kind(10), *robust = mutex_of_kind(6);
	for (int restart = 0; restart < 2; restart++) {
		const struct {
			const char *name;
			int (*take)(void *), (*give)(void *), (*own)(void *), (*disown)(void *);
			void *object;
		} rows[] = {{"mutex", m_lock, m_unlock, m_lock, m_unlock, &mutex},
		            {"mutex until late", m_late, m_unlock, m_lock, m_unlock, &mutex},
		            {"mutex inherit", m_lock, m_unlock, m_lock, m_unlock, inherit},
		            {"mutex robust", m_lock, m_unlock, m_lock, m_unlock, robust},
		            {"rdlock", rd_lock, rw_unlock, wr_lock, rw_unlock, &rwlock},
		            {"wrlock", wr_lock, rw_unlock, rd_lock, rw_unlock, &rwlock},
		            {"cond until soon", wait_cond, m_unlock, nothing, nothing, &cond_mutex},
		            {"sem", wait_sem_or_eintr, NULL, nothing, s_post, &sem}};
		struct sigaction act = {.sa_handler = handler, .sa_flags = restart ? SA_RESTART : 0};
		sigaction(SIGUSR1, &act, NULL);
		sem_init(&sem, 0, 0);
		for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
			char name[60];
			snprintf(name, sizeof name, "signal%s, %s", restart ? " that restarts" : "", rows[i].name);
			struct other o = {rows[i].take, rows[i].give, rows[i].object, 0, 0, 0, 0, 0, 0};
			handled = 0;
			must(rows[i].own(rows[i].object));
			other_begin(&o, 1);
			for (int s = 0; s < 3; s++) {
				int before = __atomic_load_n(&handled, __ATOMIC_SEQ_CST);
				if (__atomic_load_n(&o.told,
				                    __ATOMIC_SEQ_CST)) /* it was interrupted, and that is its end */
					break;
				pthread_kill(o.thread, SIGUSR1);
				while (__atomic_load_n(&handled, __ATOMIC_SEQ_CST) == before)
					nap(100000);
				nap(3 * MS);
			}
			must(rows[i].disown(rows[i].object));
			other_end(&o);
			ROW(name, "interrupted", o.took);
			ROW(name, "unlock", o.gave);
			ROW(name, "handlers ran", !(handled >= 1 && handled <= 3));
		}
	}
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	mutexes();
	rwlocks();
	c11();
	semaphores();
	others();
	conditions();
	signals();
	puts("end 1");
	return 0;
}
