/* test_cpu.c - CPU profiles of threads that work for a known time at known places.
 *
 * Runs in: its own process, with real timers; the main thread of a child takes the profile, as the listener would. What
 * is measured is CPU time, so other load on the machine matters little; what has to do with chance is measured up to
 * six times. A busy machine takes something off a thread's first 100 ms, in which ticks count, not time (cpu.c says
 * why): threads work for far longer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/profiles/cpu.c shim/profiles/cpu_profile.c shim/profiles/comments.c
 * links: shim/stack/ring.c shim/stack/sample.c shim/waits/signals.c shim/waits/questions.c shim/waits/waits.c
 * links: shim/waits/restart.c shim/waits/restart_look.c shim/waits/restart_transfers.c shim/profiles/deadlock.c
 * links: shim/threads/threads.c shim/threads/creations.c shim/threads/timers.c
 * links: shim/threads/handles.c
 * links: shim/libc/libc_thread.c shim/profiles/ticks.c shim/profiles/quota.c shim/threads/tasks.c shim/base/powers.c
 * links: shim/profiles/sampling.c shim/libc/clock.c
 * links: shim/stack/unwind.c shim/stack/step.c shim/stack/bounds.c shim/stack/rules.c shim/stack/code.c
 * links: shim/stack/look.c
 * links: shim/stack/learn.c shim/stack/tables.c
 * links: shim/stack/eh_frame.c
 * links: shim/stack/own_stack.c shim/stack/unwind_libc.c shim/libc/modules.c shim/libc/loaded.c shim/libc/headers.c
 * links: shim/libc/real.c shim/base/losses.c shim/base/settings.c shim/stack/stacks.c
 * links: shim/base/text.c shim/base/arena.c shim/base/sync.c shim/waits/calls.c
 * links: test/unit/support/cut/handlers.c test/unit/support/cut/queues.c test/unit/support/cut/heap_counts.c */
#include "test/unit/shim/profiles/cpu_made.h"

/* --- work at known places ---------------------------------------------------------------------------- */

static bool is_by_interval; /* the fall-back's signals, not those of a thread's own timer */

/* Work of this thread in step with its CPU clock, without the clock: a tick comes every `tick_us`, and work is red
 * for the first `red_us` of each cycle. Returns the periods, and writes how many samples were red, and how many in all.
 */
static uint64_t tick_in_step(unsigned tick_us, unsigned cycle_us, unsigned red_us, uint64_t *red, uint64_t *all)
{
	enum { SECONDS = 60, DRAIN_US = 100000 };
	static uintptr_t no_callers[64];
	struct unwind_frame f = {.sp = (uintptr_t)no_callers};
	struct cpu_snapshot s;
	uint64_t mask = 1ull << 32, now_us = 0;
	self.cpu_age_us = 100000; /* for a young thread, ticks count as the kernel's */
	CHECK(snapshot_cpu_begin(&region, 100) == 0);
	while ((now_us += tick_us) < SECONDS * 1000000ull) {
		f.pc = (uintptr_t)(now_us % cycle_us < red_us ? __start_place_red : __start_place_blue) + 1;
		os_call(SYS_rt_sigprocmask, SIG_BLOCK, &mask, 0, 8); /* no true tick */
		if (is_by_interval)
			cpu_interval(f);
		else
			CHECK(cpu_tick(f, (int)tick_us - 1));
		os_call(SYS_rt_sigprocmask, SIG_UNBLOCK, &mask, 0, 8);
		if (now_us % DRAIN_US < tick_us)
			snapshot_cpu_drain();
	}
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	*red = ns_of(&s, 0, RED) / s.period_ns;
	*all = ns_of(&s, 0, ANY) / s.period_ns;
	return now_us * 1000 / s.period_ns;
}

/* Three points of 6000 samples are 5 standard errors where all of them are drawn alone; in strata there are fewer. */
static void stratified(void)
{
	static const unsigned cycles_us[] = {10000, 20000, 25000, 40000, 50000, 100000, 16180};
	for (size_t i = 0; i < COUNT(cycles_us); i++)
		for (unsigned tick_us = 250; tick_us <= 1000; tick_us *= 4)
			for (unsigned percent = 10; percent <= 70; percent += 60) {
				uint64_t red, all, cycle_us = cycles_us[i];
				uint64_t due = tick_in_step(tick_us, (unsigned)cycle_us,
				                            (unsigned)(cycle_us * percent / 100), &red, &all);
				CHECK(is_near(all * 1000000, due * 1000000, 1));
				CHECK(100 * red + 3 * all >= percent * all && 100 * red <= (percent + 3) * all);
			}
}

static void test_work_in_step_with_the_period_shows_all_its_parts(void **state)
{
	(void)state;
	in_one_child_of_six(stratified); /* where a sample is lost, a thread had no processor */
}

/* The fall-back's ticks are the kernel's: a cycle in which they lie at many places. */
static void stratified_by_interval(void)
{
	uint64_t red, all;
	is_by_interval = true;
	uint64_t due = tick_in_step((unsigned)(clock_tick_ns() / 1000), 50001, 5000, &red, &all);
	CHECK(is_near(all * 1000000, due * 1000000, 1));
	CHECK(100 * red + 3 * all >= 10 * all && 100 * red <= 13 * all);
}

static void test_so_it_does_where_the_interval_timer_serves(void **state)
{
	(void)state;
	in_one_child_of_six(stratified_by_interval);
}

/* --- time ------------------------------------------------------------------------------------------------ */

static void one_second(void)
{
	workers[0] = (struct worker){.name = "busy", .red_ms = 1000};
	struct cpu_snapshot s = profile_of(1, 0);
	uint64_t used = join(1);
	CHECK(s.period_ns == 10000000 && s.time_ns > 1600000000ull * 1000000000);
	CHECK(s.duration_ns >= used);
	for (size_t i = 0; i < s.comment_count; i++)
		dprintf(2, "# %s\n", s.comments[i]);
	CHECK(s.comment_count == 0);
	CHECK(is_near(ns_of(&s, workers[0].tid, RED), used, 10));
	CHECK(ns_of(&s, 0, BLUE) == 0);
	CHECK(ns_of(&s, 0, ANY) == ns_of(&s, workers[0].tid, ANY)); /* not those that slept, nor the listener */
	for (size_t i = 0; i < s.count; i++)
		CHECK(strcmp(s.rows[i].name, "busy") == 0 && s.rows[i].tid == workers[0].tid);
}

static void test_a_second_of_work_is_a_second_of_the_profile(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(one_second);
}

static void two_stacks(void)
{
	workers[0] = (struct worker){.name = "both", .red_ms = 800, .blue_ms = 800};
	struct cpu_snapshot s = profile_of(1, 200);
	join(1);
	CHECK(s.period_ns == 5000000);
	CHECK(is_near(ns_of(&s, 0, RED), workers[0].red_ns, 15) && is_near(ns_of(&s, 0, BLUE), workers[0].blue_ns, 15));
}

static void test_the_stacks_of_one_thread_are_told_apart(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(two_stacks);
}

static void two_threads(void)
{
	workers[0] = (struct worker){.name = "crimson", .red_ms = 900};
	workers[1] = (struct worker){.name = "azure", .blue_ms = 600, .known_late = true};
	meet = true;
	pthread_barrier_init(&begun, NULL, 3);
	start(2);
	pthread_barrier_wait(&begun); /* they were there before the profile; one has no record */
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	drain_until_done(2);
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	join(2);
	CHECK(is_near(ns_of(&s, workers[0].tid, RED), workers[0].used_ns, 15));
	CHECK(is_near(ns_of(&s, workers[1].tid, BLUE), workers[1].used_ns, 20));
	CHECK(ns_of(&s, workers[0].tid, BLUE) == 0 && ns_of(&s, workers[1].tid, RED) == 0);
	for (size_t i = 0; i < s.count; i++) {
		CHECK(s.rows[i].tid == workers[0].tid || s.rows[i].tid == workers[1].tid);
		CHECK(strcmp(s.rows[i].name, s.rows[i].tid == workers[0].tid ? "crimson" : "azure") == 0);
	}
}

static void test_threads_that_were_there_before_have_their_own_names_and_numbers(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(two_threads);
}

/* Each lives for about a tick: what it does in its last one counts, too. */
static void short_lives(void)
{
	enum { MANY = 240, AT_ONCE = 2 };
	uint64_t used = 0;
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	for (int i = 0; i < MANY; i += AT_ONCE) {
		for (int k = 0; k < AT_ONCE; k++)
			workers[k] = (struct worker){.red_ms = 6};
		start(AT_ONCE);
		used += join(AT_ONCE);
		if (i % 10 == 0)
			snapshot_cpu_drain();
	}
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	CHECK(is_near(ns_of(&s, 0, RED), used, 25));
}

static void test_threads_of_a_few_milliseconds_are_counted_right_together(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(short_lives);
}

/* --- several at a time --------------------------------------------------------------------------------- */

static void shared_run(void)
{
	enum { MOST = 8 };
	struct cpu_snapshot s;
	struct region others[MOST] = {0};
	CHECK(snapshot_cpu_end(&region, &s) != 0);
	snapshot_cpu_abandon(&region); /* nothing */
	CHECK(snapshot_cpu_drain() > 0);
	for (int i = 0; i < 3; i++) {
		CHECK(snapshot_cpu_begin(&region, 0) == 0);
		for (int k = 1; k < MOST; k++)
			CHECK(snapshot_cpu_begin(&others[k], k == 2 ? 50 : 0) == 0);
		CHECK(snapshot_cpu_begin(&others[0], 0) == -EBUSY);
		CHECK(snapshot_cpu_drain() > 0);
		for (int k = 3; k < MOST; k++)
			snapshot_cpu_abandon(&others[k]);
		CHECK(snapshot_cpu_end(&region, &s) == 0 && timers_held() > 0); /* the first one may end first */
		CHECK(s.period_ns == 10000000 && s.count == 0 && !comment_with(&s, "another profile"));
		CHECK(snapshot_cpu_end(&region, &s) != 0);
		CHECK(snapshot_cpu_end(&others[2], &s) == 0);
		CHECK(s.period_ns == 10000000 && comment_with(&s, "100 samples a second, not 50: another profile"));
		CHECK(snapshot_cpu_end(&others[1], &s) == 0 && timers_held() == 0);
		for (int k = 0; k < MOST; k++)
			region_release(&others[k]);
		region_release(&region);
	}
}

static void test_profiles_share_a_run_and_the_last_one_ends_it(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, shared_run);
}

/* Red work, then blue. One profile sees both, one that begins between them only blue, and one that ends there only
 * red. */
static void windows(void)
{
	struct region red = {0}, blue = {0};
	struct cpu_snapshot of_red, of_blue, of_both;
	CHECK(snapshot_cpu_begin(&region, 0) == 0 && snapshot_cpu_begin(&red, 0) == 0);
	workers[0] = (struct worker){.red_ms = 1000};
	start(1);
	drain_until_done(1);
	uint64_t red_ns = join(1);
	CHECK(snapshot_cpu_end(&red, &of_red) == 0 && snapshot_cpu_begin(&blue, 0) == 0);
	workers[0] = (struct worker){.blue_ms = 500};
	start(1);
	drain_until_done(1);
	uint64_t blue_ns = join(1);
	CHECK(snapshot_cpu_end(&region, &of_both) == 0 && snapshot_cpu_end(&blue, &of_blue) == 0);
	CHECK(is_near(ns_of(&of_red, 0, RED), red_ns, 25) && ns_of(&of_red, 0, BLUE) == 0);
	CHECK(is_near(ns_of(&of_blue, 0, BLUE), blue_ns, 25) && ns_of(&of_blue, 0, RED) == 0);
	CHECK(ns_of(&of_both, 0, RED) == ns_of(&of_red, 0, RED));
	CHECK(ns_of(&of_both, 0, BLUE) == ns_of(&of_blue, 0, BLUE));
	CHECK(of_both.duration_ns >= of_red.duration_ns && of_both.duration_ns >= of_blue.duration_ns);
	CHECK(of_blue.time_ns >= of_both.time_ns + of_red.duration_ns);
}

static void test_each_profile_has_its_own_window(void **state)
{
	(void)state;
	in_one_child_of_six(windows);
}

static void no_timer(struct thread *t, void *arg)
{
	(void)arg;
	CHECK(shared_own(&t->timer) == THREAD_NO_TIMER);
}

static void abandoned(void)
{
	workers[0] = (struct worker){.red_ms = 600};
	meet = true;
	pthread_barrier_init(&begun, NULL, 2);
	start(1);
	pthread_barrier_wait(&begun);
	uint64_t mapped = 0;
	for (int i = 0; i < 8; i++) {
		CHECK(snapshot_cpu_begin(&region, 250) == 0);
		usleep(20000);
		if (i % 2)
			snapshot_cpu_drain();
		snapshot_cpu_abandon(&region);
		region_release(&region);
		usleep(10000);
		CHECK(!ring_front()); /* nobody writes any more */
		threads_each(no_timer, NULL);
		if (i == 3)
			mapped = arena_mapped_bytes();
	}
	CHECK(arena_mapped_bytes() == mapped);
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 250) == 0);
	drain_until_done(1);
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	join(1);
}

static void test_an_abandoned_profile_leaves_nothing_behind(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, abandoned);
}

static void count_timer(struct thread *t, void *count)
{
	*(uint32_t *)count += shared_own(&t->timer) != THREAD_NO_TIMER;
}

static uint32_t timers_of_threads(void)
{
	uint32_t count = 0;
	threads_each(count_timer, &count);
	CHECK(timers_held() - count <= 1); /* one more, while signals of theirs may be on their way */
	return count;
}

/* The program needs what the timers take: for a moment, then for good. */
static void given_back(void)
{
	workers[0] = workers[1] = (struct worker){.red_ms = 300};
	meet = true;
	pthread_barrier_init(&begun, NULL, 3);
	start(2);
	pthread_barrier_wait(&begun);
	struct cpu_snapshot s;
	quota_pause();
	CHECK(snapshot_cpu_begin(&region, 250) == 0 && timers_of_threads() == 0); /* not now */
	quota_resume();
	CHECK(timers_of_threads() == 3 && quota_is_used());
	for (int i = 0; i < 20; i++) {
		quota_pause();
		quota_pause();
		CHECK(timers_of_threads() == 0);
		snapshot_cpu_drain();
		quota_resume();
		CHECK(timers_of_threads() == 0);
		quota_resume();
		CHECK(timers_of_threads() == 3);
	}
	CHECK(quota_give_back() && timers_of_threads() == 0);
	while (quota_give_back()) /* for a while, until the last signals are taken */
		CHECK(timers_of_threads() == 0);
	CHECK(!quota_is_used());
	quota_pause();
	quota_resume();
	CHECK(timers_of_threads() == 0);
	drain_until_done(2);
	CHECK(timers_of_threads() == 0 && snapshot_cpu_end(&region, &s) == 0);
	CHECK(comment_with(&s, "the program needed the pending signals"));
	CHECK(comment_with(&s, "20 times the timers were taken away"));
	join(2);
	CHECK(snapshot_cpu_begin(&region, 250) == 0 && timers_of_threads() > 0); /* the next one has timers again */
	CHECK(snapshot_cpu_end(&region, &s) == 0 && timers_held() == 0);
}

static void test_timers_go_when_the_program_needs_what_they_take(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, given_back);
}

/* The child of a fork in the middle of a profile has none, and may take one. */
static void forked(void)
{
	workers[0] = (struct worker){.red_ms = 100};
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	pid_t child = fork();
	if (child == 0) {
		cpu_fork_child();
		cpu_profile_fork_child();
		sample_fork_child();
		house_fork_child();
		threads_fork_child();
		struct region own = {0};
		CHECK(snapshot_cpu_end(&region, &s) != 0);
		CHECK(snapshot_cpu_begin(&own, 0) == 0);
		start(1);
		drain_until_done(1);
		CHECK(snapshot_cpu_end(&own, &s) == 0);
		join(1);
		CHECK(ns_of(&s, workers[0].tid, RED) > 0);
		_exit(0);
	}
	int status;
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(snapshot_cpu_end(&region, &s) == 0);
}

static void test_the_child_of_a_fork_has_no_profile_and_may_take_one(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, forked);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_second_of_work_is_a_second_of_the_profile),
		cmocka_unit_test(test_work_in_step_with_the_period_shows_all_its_parts),
		cmocka_unit_test(test_so_it_does_where_the_interval_timer_serves),
		cmocka_unit_test(test_the_stacks_of_one_thread_are_told_apart),
		cmocka_unit_test(test_threads_that_were_there_before_have_their_own_names_and_numbers),
		cmocka_unit_test(test_threads_of_a_few_milliseconds_are_counted_right_together),
		cmocka_unit_test(test_profiles_share_a_run_and_the_last_one_ends_it),
		cmocka_unit_test(test_each_profile_has_its_own_window),
		cmocka_unit_test(test_an_abandoned_profile_leaves_nothing_behind),
		cmocka_unit_test(test_timers_go_when_the_program_needs_what_they_take),
		cmocka_unit_test(test_the_child_of_a_fork_has_no_profile_and_may_take_one),
	};
	return cmocka_run_group_tests(tests, measure_steps, NULL);
}
