/* contention.h - what the programs that wait for locks share: tallies of what each site really waited, or made others
 * wait, by the program's own clock; and rounds in which all waiters are asleep before the holder's time begins.
 *
 * Truth: `block:SITE:CALL COUNT NS VAR_US2 VAR_COUNT` (waits in CALL, called at SITE) and `mutex:SITE:CALL ...` (the
 * waits that CALL, which let a lock go at SITE, ended or interrupted: as Go's semrelease has it, what each waiter
 * waited since it came or since the last such call). The variances are those of the estimates when events are kept at
 * TRUTH_RATE (ns: one of d < rate is kept with p = d/rate) and TRUTH_FRACTION (p = 1/fraction), both from the
 * environment.
 *
 * Runs in: test programs, C and C++. Pauses are raw system calls, made past libc, so that they are nobody's waits.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef CONTENTION_H
#define CONTENTION_H

#include "clocks.h"
#include "truth.h"

struct tally {
	const char *side, *site, *call;
	long long count, ns, var_us2, var_count;
	struct tally *next;
};

enum { MOST_WAITERS = 64 };

/* The threads that wait for a lock: since when each has been charged to nobody. */
struct queue {
	long long since[MOST_WAITERS];
};

static struct tally *tallies;
static long long truth_rate = 1, truth_fraction = 1;

__attribute__((unused)) static void tallies_begin(void)
{
	if (getenv("TRUTH_RATE"))
		truth_rate = atoll(getenv("TRUTH_RATE"));
	if (getenv("TRUTH_FRACTION"))
		truth_fraction = atoll(getenv("TRUTH_FRACTION"));
}

static void tally_bump(long long *to, long long by)
{
	__atomic_fetch_add(to, by, __ATOMIC_RELAXED);
}

/* A call that took no longer than that waited for nobody, or for nothing worth telling. */
#define NO_WAIT_NS 5000

__attribute__((unused)) static void tally_add(struct tally *t, long long ns)
{
	if (ns < NO_WAIT_NS)
		return;
	if (__atomic_fetch_add(&t->count, 1, __ATOMIC_RELAXED) == 0) {
		t->next = __atomic_load_n(&tallies, __ATOMIC_RELAXED);
		while (!__atomic_compare_exchange_n(&tallies, &t->next, t, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			;
	}
	tally_bump(&t->ns, ns);
	if (t->side[0] == 'm') {
		tally_bump(&t->var_us2, (truth_fraction - 1) * (ns / 1000) * (ns / 1000));
		tally_bump(&t->var_count, truth_fraction - 1);
	} else if (ns > 0 && ns < truth_rate) {
		tally_bump(&t->var_us2, (ns / 1000) * ((truth_rate - ns) / 1000));
		tally_bump(&t->var_count, (truth_rate - ns) / ns);
	}
}

__attribute__((unused)) static void tallies_print(void)
{
	for (struct tally *t = __atomic_load_n(&tallies, __ATOMIC_ACQUIRE); t; t = t->next)
		printf("%s:%s:%s %lld %lld %lld %lld\n", t->side, t->site, t->call, t->count, t->ns, t->var_us2,
		       t->var_count);
}

/* Around the call that waits: waits = queue_enter(), the call, queue_leave(). A queue may be NULL. */
__attribute__((unused)) static int64_t queue_enter(struct queue *q, int i)
{
	int64_t t = now_ns(CLOCK_MONOTONIC);
	if (q)
		__atomic_store_n(&q->since[i], t, __ATOMIC_SEQ_CST);
	return t;
}

__attribute__((unused)) static void queue_leave(struct queue *q, int i, int64_t since, struct tally *t)
{
	int64_t now = now_ns(CLOCK_MONOTONIC);
	if (q)
		__atomic_store_n(&q->since[i], 0, __ATOMIC_SEQ_CST);
	tally_add(t, now - since);
}

/* Just before the call that lets the lock go. */
__attribute__((unused)) static void queue_charge(struct queue *q, struct tally *t)
{
	long long now = now_ns(CLOCK_MONOTONIC), sum = 0;
	for (int i = 0; i < MOST_WAITERS; i++) {
		long long since = __atomic_load_n(&q->since[i], __ATOMIC_SEQ_CST);
		if (since && since < now &&
		    __atomic_compare_exchange_n(&q->since[i], &since, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			sum += now - since;
	}
	if (sum)
		tally_add(t, sum);
}

/* Sleep, past libc. */
__attribute__((unused)) static void nap(int64_t ns)
{
	struct timespec t = timespec_of(ns);
#if defined(__x86_64__)
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(SYS_nanosleep), "D"(&t), "S"(0) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = SYS_nanosleep;
	register long x0 __asm__("x0") = (long)&t;
	register long x1 __asm__("x1") = 0;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
#else
	syscall(SYS_nanosleep, &t, NULL);
#endif
}

__attribute__((unused)) static void must(int result)
{
	if (result != 0) {
		fprintf(stderr, "a call that must succeed returned %d\n", result);
		abort();
	}
}

/* ---- rounds: one holds, some wait ---- */

struct race {
	const char *name;
	void (*hold)(struct race *r);        /* by the holder, before the others come; NULL: nothing */
	void (*let_go)(struct race *r);      /* what ends the wait of one of them, or of all */
	void (*wait)(struct race *r, int i); /* by each waiter */
	void (*leave)(struct race *r);       /* by each waiter, when it has the lock for its time; NULL: nothing */
	int waiters;
	int burns; /* waiters do not sleep */
	int keeps; /* waiters keep it for as long as the holder does */
	int rounds;
	int64_t hold_ns;
	struct queue queue;
	int round, tid[MOST_WAITERS], calling[MOST_WAITERS], done[MOST_WAITERS];
	pthread_t holder, thread[MOST_WAITERS];
};

struct race_waiter {
	struct race *race;
	int index;
};

static void *race_wait(void *arg)
{
	struct race_waiter w = *(struct race_waiter *)arg;
	struct race *r = w.race;
	free(arg);
	__atomic_store_n(&r->tid[w.index], own_tid(), __ATOMIC_SEQ_CST);
	for (int k = 1; k <= r->rounds; k++) {
		while (__atomic_load_n(&r->round, __ATOMIC_SEQ_CST) < k)
			nap(200000);
		__atomic_store_n(&r->calling[w.index], k, __ATOMIC_SEQ_CST);
		r->wait(r, w.index);
		if (r->keeps)
			nap(r->hold_ns);
		if (r->leave)
			r->leave(r);
		__atomic_store_n(&r->done[w.index], k, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

static void *race_hold(void *arg)
{
	struct race *r = (struct race *)arg;
	for (int i = 0; i < r->waiters; i++) {
		struct race_waiter *w = (struct race_waiter *)malloc(sizeof *w);
		w->race = r;
		w->index = i;
		must(pthread_create(&r->thread[i], NULL, race_wait, w));
	}
	for (int k = 1; k <= r->rounds; k++) {
		if (r->hold)
			r->hold(r);
		__atomic_store_n(&r->round, k, __ATOMIC_SEQ_CST);
		/* In its call and asleep: asleep in that call. */
		for (int i = 0; i < r->waiters; i++)
			while (__atomic_load_n(&r->calling[i], __ATOMIC_SEQ_CST) < k ||
			       (!r->burns && state_of(r->tid[i]) != 'S'))
				nap(100000);
		nap(r->hold_ns);
		if (r->let_go)
			r->let_go(r);
		for (int i = 0; i < r->waiters; i++)
			while (__atomic_load_n(&r->done[i], __ATOMIC_SEQ_CST) < k)
				nap(200000);
	}
	return arg;
}

__attribute__((unused)) static void races_run(struct race *races, int count, int rounds, int64_t hold_ns)
{
	for (int i = 0; i < count; i++) {
		races[i].rounds = rounds;
		races[i].hold_ns = hold_ns;
		must(pthread_create(&races[i].holder, NULL, race_hold, &races[i]));
	}
	/* The end of these threads is no wait that is counted. */
	for (int i = 0; i < count; i++)
		for (int k = 0; k < races[i].waiters; k++)
			while (__atomic_load_n(&races[i].done[k], __ATOMIC_SEQ_CST) < rounds)
				nap(MS);
}

#endif
