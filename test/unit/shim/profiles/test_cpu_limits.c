/* test_cpu_limits.c - CPU profiles without timers, without room, one at a time, and in a fork's child.
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
 * links: shim/stack/learn.c shim/stack/tables.c shim/stack/eh_frame.c shim/stack/own_stack.c shim/stack/unwind_libc.c
 * links: shim/libc/modules.c
 * links: shim/libc/loaded.c shim/libc/headers.c
 * links: shim/libc/real.c shim/base/losses.c shim/base/settings.c shim/stack/stacks.c
 * links: shim/base/text.c shim/base/arena.c shim/base/sync.c shim/waits/calls.c
 * links: test/unit/support/cut/handlers.c test/unit/support/cut/queues.c test/unit/support/cut/heap_counts.c */
#include "test/unit/shim/profiles/cpu_made.h"

/* --- limits -------------------------------------------------------------------------------------------- */

static void too_fast(void)
{
	if (clock_tick_ns() <= 1000000)
		_exit(CHILD_SKIPPED);
	workers[0] = (struct worker){.red_ms = 600};
	struct cpu_snapshot s = profile_of(1, 1000);
	CHECK(s.period_ns == clock_tick_ns());
	char want[64];
	snprintf(want, sizeof want, "%d samples a second, not 1000", (int)(1000000000 / clock_tick_ns()));
	CHECK(comment_with(&s, want));
	CHECK(is_near(ns_of(&s, 0, RED), join(1), 20));
}

static void test_a_rate_above_the_kernels_tick_is_cut_down_and_said(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(too_fast);
}

static void no_timers(void)
{
	struct rlimit none = {0, 0};
	CHECK(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
	workers[0] = (struct worker){.red_ms = 500};
	meet = true;
	pthread_barrier_init(&begun, NULL, 2);
	start(1);
	pthread_barrier_wait(&begun);
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	drain_until_done(1);
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	const char *comment = comment_with(&s, "setitimer");
	CHECK(comment && strstr(comment, "ulimit -i") && strstr(comment, "(error 11)"));
	CHECK(is_near(ns_of(&s, 0, RED), join(1), 30));
	struct itimerval left;
	CHECK(getitimer(ITIMER_PROF, &left) == 0 && !left.it_value.tv_sec &&
	      !left.it_value.tv_usec); /* it is off again */
	CHECK(signal(SIGPROF, SIG_IGN) != SIG_ERR);
}

static void test_without_timers_the_interval_timer_serves_and_that_is_said(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(no_timers);
}

static void on_sigprof(int sig)
{
	(void)sig;
}

static void no_timers_and_no_sigprof(void)
{
	struct rlimit none = {0, 0};
	CHECK(setrlimit(RLIMIT_SIGPENDING, &none) == 0);
	struct sigaction action = {.sa_handler = on_sigprof}, after;
	CHECK(sigaction(SIGPROF, &action, NULL) == 0); /* the program's */
	workers[0] = (struct worker){.red_ms = 50};
	meet = true;
	pthread_barrier_init(&begun, NULL, 2);
	start(1);
	pthread_barrier_wait(&begun);
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	drain_until_done(1);
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	join(1);
	CHECK(s.count == 0 && comment_with(&s, "the program uses SIGPROF itself"));
	CHECK(sigaction(SIGPROF, NULL, &after) == 0 && after.sa_handler == on_sigprof);
}

static void test_a_program_that_uses_sigprof_keeps_it(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_child_after(child_begin, no_timers_and_no_sigprof);
}

static void deaf_thread(void)
{
	workers[0] = (struct worker){.name = "deaf", .red_ms = 800, .deaf = true};
	workers[1] = (struct worker){.name = "hears", .red_ms = 200};
	meet = true;
	pthread_barrier_init(&begun, NULL, 3);
	start(2);
	pthread_barrier_wait(&begun);
	struct cpu_snapshot s;
	CHECK(snapshot_cpu_begin(&region, 0) == 0);
	while (__atomic_load_n(&workers[1].used_ns, __ATOMIC_ACQUIRE) == 0) {
		snapshot_cpu_drain();
		usleep(10000);
	}
	usleep(1000); /* the deaf one has used as much by now, or has not had a processor */
	bool there = __atomic_load_n(&workers[0].used_ns, __ATOMIC_ACQUIRE) == 0;
	CHECK(snapshot_cpu_end(&region, &s) == 0);
	char want[64];
	snprintf(want, sizeof want, "thread %d (deaf) not sampled", workers[0].tid);
	CHECK(!there || comment_with(&s, want));
	CHECK(!comment_with(&s, "(hears)"));
	CHECK(ns_of(&s, workers[0].tid, ANY) == 0);
	join(2);
	if (!there)
		_exit(CHILD_SKIPPED);
}

static void test_a_thread_that_blocks_our_signal_is_named(void **state)
{
	(void)state;
#if SANITIZED
	skip();
#endif
	in_one_child_of_six(deaf_thread);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_rate_above_the_kernels_tick_is_cut_down_and_said),
		cmocka_unit_test(test_without_timers_the_interval_timer_serves_and_that_is_said),
		cmocka_unit_test(test_a_program_that_uses_sigprof_keeps_it),
		cmocka_unit_test(test_a_thread_that_blocks_our_signal_is_named),
	};
	return cmocka_run_group_tests(tests, measure_steps, NULL);
}
