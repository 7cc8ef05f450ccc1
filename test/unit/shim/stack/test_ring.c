/* test_ring.c - samples from many writers, which signal handlers interrupt, to one reader: none lost but what is
 * counted.
 *
 * Runs in: its own process; each test in a child, for the ring is one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/stack/ring.c shim/base/arena.c shim/base/sync.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shim/base/arena.h"
#include "shim/stack/ring.h"
#include "test/unit/support/child.h"

enum { WORDS = 16, LEAST_BYTES = (sizeof(struct sample) + WORDS * sizeof(uintptr_t) + 63) & ~63u };

static size_t bytes_each = 1088; /* 128 frames */
static int dropped;

size_t sample_bytes(void) /* sample.c's */
{
	return bytes_each;
}

void sample_drop(struct sample *s) /* sample.c's */
{
	(void)s;
	dropped++;
}

static uintptr_t word_of(uint32_t number, int writer, unsigned i)
{
	return ((uintptr_t)number * 64 + (unsigned)writer) * 0x9e3779b97f4a7c15u + i;
}

static void fill(struct sample *s, uint32_t number, int writer)
{
	s->tid = writer;
	s->weight = number;
	s->copy = -1;
	for (unsigned i = 0; i < WORDS; i++)
		s->pc[i] = word_of(number, writer, i);
}

static bool is_whole(const struct sample *s, uint32_t number)
{
	bool whole = s->weight == number;
	for (unsigned i = 0; i < WORDS; i++)
		whole &= s->pc[i] == word_of(number, s->tid, i);
	return whole;
}

static bool put(int writer)
{
	uint32_t number;
	struct sample *s = ring_begin(&number);
	if (!s)
		return false;
	fill(s, number, writer);
	ring_commit(s, number);
	return true;
}

static uint32_t fill_up(void)
{
	uint32_t n = 0;
	while (put(1))
		n++;
	return n;
}

static void in_order(void)
{
	CHECK(ring_front() == NULL); /* not even started */
	CHECK(ring_start() == 0);
	CHECK(ring_front() == NULL && !ring_skip());
	for (uint32_t i = 0; i < 5000; i++) { /* several times round */
		CHECK(put(1) && put(2));
		for (int writer = 1; writer <= 2; writer++) {
			struct sample *s = ring_front();
			CHECK(s && s == ring_front() && s->tid == writer && is_whole(s, i * 2 + (uint32_t)writer - 1));
			ring_next();
		}
		CHECK(ring_front() == NULL);
	}
	CHECK(ring_lost() == 0);
}

static void test_samples_come_in_the_order_in_which_they_were_begun(void **state)
{
	(void)state;
	in_child(in_order);
}

static void full(void)
{
	CHECK(ring_start() == 0);
	uint32_t places = fill_up(), number;
	CHECK(places >= 64 && (places & (places - 1)) == 0 && places * bytes_each <= 2 << 20);
	CHECK(ring_lost() == 1);
	for (int i = 0; i < 9; i++)
		CHECK(ring_begin(&number) == NULL);
	CHECK(ring_lost() == 10);
	CHECK(is_whole(ring_front(), 0));
	ring_next();
	CHECK(put(3) && !put(3)); /* one place, and no more */
	CHECK(ring_lost() == 11);
	for (uint32_t i = 1; i <= places; i++) {
		CHECK(ring_front() && is_whole(ring_front(), i) && ring_front()->tid == (i == places ? 3 : 1));
		ring_next();
	}
	CHECK(ring_front() == NULL && ring_lost() == 11);
	CHECK(ring_start() == 0 && ring_lost() == 0); /* counted anew */
}

static void test_a_full_ring_counts_what_it_loses(void **state)
{
	(void)state;
	in_child(full);
}

static void test_the_ring_is_of_the_documented_size_whatever_a_sample_takes(void **state)
{
	static const size_t sizes[] = {LEAST_BYTES, LEAST_BYTES + 64, 1088, 4160, 8192};
	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		bytes_each = sizes[i];
		in_child(full);
	}
	bytes_each = 1088;
}

static void out_of_order(void)
{
	uint32_t n[3];
	struct sample *s[3];
	CHECK(ring_start() == 0);
	for (int i = 0; i < 3; i++)
		CHECK((s[i] = ring_begin(&n[i])) && n[i] == (uint32_t)i);
	CHECK(s[0] != s[1] && s[1] != s[2]);
	for (int i = 2; i >= 0; i--) {
		CHECK(ring_front() == NULL);
		fill(s[i], n[i], i);
		ring_commit(s[i], n[i]);
	}
	for (int i = 0; i < 3; i++) {
		CHECK(ring_front() == s[i] && is_whole(s[i], n[i]) && s[i]->tid == i);
		ring_next();
	}
	CHECK(ring_front() == NULL);
}

static void test_what_is_committed_out_of_order_is_read_in_order(void **state)
{
	(void)state;
	in_child(out_of_order);
}

static void skipping(void)
{
	uint32_t late, next;
	CHECK(ring_start() == 0);
	struct sample *a = ring_begin(&late), *b = ring_begin(&next);
	fill(b, next, 2);
	ring_commit(b, next);
	CHECK(ring_front() == NULL); /* the first is in the way */
	CHECK(ring_skip());
	CHECK(ring_lost() == 1);
	CHECK(ring_front() == b && is_whole(b, next));
	CHECK(!ring_skip()); /* a complete one is not passed over */
	CHECK(ring_front() == b);
	ring_next();
	CHECK(!ring_skip() && ring_lost() == 1); /* there is none */
	fill(a, late, 1);
	ring_commit(a, late); /* after all: it does no harm */
	CHECK(ring_front() == NULL && !ring_skip());
	for (int i = 0; i < 10000; i++) {
		CHECK(put(4) && ring_front() && is_whole(ring_front(), next + 1 + (uint32_t)i));
		ring_next();
	}
	CHECK(ring_lost() == 1);
}

static void test_a_sample_that_is_never_completed_is_passed_over(void **state)
{
	(void)state;
	in_child(skipping);
}

static void restarted(void)
{
	uint32_t late;
	CHECK(ring_start() == 0);
	CHECK(put(1));
	struct sample *s = ring_begin(&late);
	CHECK(put(1) && put(1) && dropped == 0);
	CHECK(ring_start() == 0);
	CHECK(dropped == 3); /* what was complete may hold a copy of a stack */
	CHECK(ring_front() == NULL && ring_lost() == 0);
	CHECK(put(5));
	fill(s, late, 1);
	ring_commit(s, late);
	CHECK(is_whole(ring_front(), 4) && ring_front()->tid == 5);
	ring_next();
	CHECK(ring_front() == NULL);
	uint32_t places = fill_up();
	for (uint32_t i = 0; i < places; i++) {
		CHECK(ring_front() && is_whole(ring_front(), 5 + i));
		ring_next();
	}
	CHECK(ring_front() == NULL);
	CHECK(ring_start() == 0 && dropped == 3);
}

static void test_a_commit_after_a_restart_is_none_of_the_new_ones(void **state)
{
	(void)state;
	in_child(restarted);
}

/* A writer was stopped, and passed over; its place comes round again while it still writes. */
static void late_writer(void)
{
	uint32_t late, places;
	CHECK(ring_start() == 0);
	struct sample *s = ring_begin(&late);
	CHECK(ring_skip() && ring_lost() == 1);
	places = fill_up();
	for (int round = 0; round < 3; round++) {
		CHECK(places == ring_places() - 1); /* that one is left out */
		for (uint32_t i = 0; i < places; i++) {
			CHECK(ring_front() && ring_front() != s && is_whole(ring_front(), ring_front()->weight));
			fill(s, late, 9); /* it is at it all the time */
			ring_next();
		}
		CHECK(!ring_front());
		places = fill_up();
	}
	ring_commit(s, late);
	while (ring_front()) {
		CHECK(ring_front()->tid == 1);
		ring_next();
	}
	CHECK(fill_up() == ring_places()); /* all can be had again */
}

static void test_the_place_of_a_writer_that_is_late_is_nobody_elses(void **state)
{
	(void)state;
	in_child(late_writer);
}

static void gone_writers(void)
{
	uint32_t late, number;
	CHECK(ring_start() == 0);
	for (int i = 0; i < 70; i++)
		CHECK(ring_begin(&late) && ring_skip());
	CHECK(ring_start() == 0 && ring_places() > 70);
	uint32_t places = fill_up();
	CHECK(places == ring_places() - 70);
	ring_empty();
	ring_forget_late(); /* no handler is at work: they will not come back */
	CHECK(fill_up() == ring_places() && !ring_begin(&number));
}

static void test_places_of_writers_that_are_gone_can_be_had_again(void **state)
{
	(void)state;
	in_child(gone_writers);
}

static void no_memory(void)
{
	arena_set_limit(0);
	while (arena_alloc(16))
		continue;
	CHECK(ring_start() == -ENOMEM);
	CHECK(ring_front() == NULL);
}

static void test_without_memory_there_is_no_ring(void **state)
{
	(void)state;
	in_child(no_memory);
}

/* --- many at once ------------------------------------------------------------------------------- */

enum { WRITERS = 4, SIGNALS = 2 };
static struct {
	uint64_t written, refused; /* atomic */
	uint32_t done;             /* atomic: writers that are */
	pthread_t writer[WRITERS];
} many;
static __thread int own = -1;

static void put_counted(int writer, bool interrupted)
{
	uint32_t number;
	struct sample *s = ring_begin(&number);
	if (!s) {
		__atomic_fetch_add(&many.refused, 1, __ATOMIC_RELAXED);
		return;
	}
	s->tid = writer;
	s->weight = number;
	for (unsigned i = 0; i < WORDS; i++) {
		s->pc[i] = word_of(number, writer, i);
		if (interrupted && i == number % WORDS)
			raise(SIGUSR1);
	}
	ring_commit(s, number);
	__atomic_fetch_add(&many.written, 1, __ATOMIC_RELAXED);
}

static void on_signal(int sig)
{
	if (own >= 0)
		put_counted(WRITERS + own * SIGNALS + (sig == SIGUSR2), false);
}

static void *write_many(void *arg)
{
	own = (int)(intptr_t)arg;
	int rounds = getenv("RING_ROUNDS") ? atoi(getenv("RING_ROUNDS")) : 60000;
	for (int i = 0; i < rounds; i++) {
		put_counted(own, i % 4 == 0);
		if (i % 64 == 0)
			sched_yield();
	}
	__atomic_fetch_add(&many.done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void *pester(void *arg)
{
	(void)arg;
	for (unsigned i = 0; __atomic_load_n(&many.done, __ATOMIC_ACQUIRE) < WRITERS; i++) {
		pthread_kill(many.writer[i % WRITERS], SIGUSR2);
		usleep(20);
	}
	return NULL;
}

static void writers_and_handlers(void)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	CHECK(ring_start() == 0);
	for (intptr_t i = 0; i < WRITERS; i++)
		CHECK(pthread_create(&many.writer[i], NULL, write_many, (void *)i) == 0);
	pthread_t other;
	CHECK(pthread_create(&other, NULL, pester, NULL) == 0);
	uint64_t got = 0, of[WRITERS * (SIGNALS + 1)] = {0};
	for (bool last = false; !last;) {
		last = __atomic_load_n(&many.done, __ATOMIC_ACQUIRE) == WRITERS;
		if (last) {
			pthread_join(other, NULL); /* it sends signals as long as there are writers */
			for (int i = 0; i < WRITERS; i++)
				pthread_join(many.writer[i], NULL);
		}
		for (struct sample *s; (s = ring_front()); got++) {
			CHECK(s->tid >= 0 && s->tid < WRITERS * (SIGNALS + 1));
			CHECK(is_whole(s, (uint32_t)got)); /* numbers are without a gap */
			of[s->tid]++;
			ring_next();
		}
		if (got % 7 == 0)
			usleep(500); /* so that it is full sometimes */
	}
	CHECK(got == many.written);
	CHECK(ring_lost() == many.refused);
	CHECK(got > 1000);
	for (int i = 0; i < WRITERS; i++)
		CHECK(of[i] && of[WRITERS + i * SIGNALS]);
	CHECK(!ring_skip());
}

static void test_writers_and_handlers_at_once_lose_nothing_but_what_is_counted(void **state)
{
	(void)state;
	in_child(writers_and_handlers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_samples_come_in_the_order_in_which_they_were_begun),
		cmocka_unit_test(test_a_full_ring_counts_what_it_loses),
		cmocka_unit_test(test_the_ring_is_of_the_documented_size_whatever_a_sample_takes),
		cmocka_unit_test(test_what_is_committed_out_of_order_is_read_in_order),
		cmocka_unit_test(test_a_sample_that_is_never_completed_is_passed_over),
		cmocka_unit_test(test_a_commit_after_a_restart_is_none_of_the_new_ones),
		cmocka_unit_test(test_the_place_of_a_writer_that_is_late_is_nobody_elses),
		cmocka_unit_test(test_places_of_writers_that_are_gone_can_be_had_again),
		cmocka_unit_test(test_without_memory_there_is_no_ring),
		cmocka_unit_test(test_writers_and_handlers_at_once_lose_nothing_but_what_is_counted),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
