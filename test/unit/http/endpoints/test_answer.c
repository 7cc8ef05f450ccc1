/* test_answer.c - answers that are made again until all names are there.
 *
 * Runs in: its own process; the server in a thread of it (test/unit/support/served.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: test/unit/support/served.c test/unit/support/stub_encoder.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "shim/base/arena.h"
#include "test/unit/support/served.h"

static void test_an_answer_is_made_again_until_all_names_are_there(void **state)
{
	static const struct {
		const char *request, *body;
	} rows[] = {
		{GET("/debug/pprof/heap?debug=1"), "text form\n"},
		{GET("/debug/pprof/symbol?0x1"), "num_symbols: 1\n0x1"},
		{TRACE("seconds=0.1"), "go"},
	};
	(void)state;
	stub.drain_ms = 20;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		stub.rounds = 3;
		stub.looks = 0;
		stub.attempts = 0;
		struct reply r = ask(rows[i].request);
		assert_int_equal(r.status, 200);
		assert_string_equal(r.body, rows[i].body);
		assert_int_equal(counted(&stub.attempts), 4);
	}
	stub.looks = 0;
	assert_int_equal(ask(GET("/debug/pprof/heap?seconds=1")).status, 200);
	stub.looks = 0;
	assert_int_equal(ask(GET("/debug/pprof/profile?seconds=1")).status, 200);
}

static bool looked_up(void)
{
	int fd = dial(), from = now_ms();
	stub.attempts = 0;
	stub.rounds = 1;
	stub.never_named = true;
	say(fd, GET("/debug/pprof/heap"));
	wait_for(&stub.attempts, 1);
	uint64_t held = arena_mapped_bytes();
	for (int i = 0; i < 20; i++)
		assert_int_equal(ask(GET("/debug/pprof/")).status, 200);
	int attempts = counted(&stub.attempts);
	bool soon = now_ms() - from < 2000;
	assert_true(attempts == 1 || !soon);
	assert_true(held < 200 * 1000); /* what the attempt had taken is given back */
	__atomic_store_n(&stub.never_named, false, __ATOMIC_RELAXED);
	assert_int_equal(hear(fd).status, 200);
	assert_true(counted(&stub.attempts) == 2 || !soon);
	close(fd);
	return soon;
}

static void test_while_names_are_looked_up_others_are_served(void **state)
{
	(void)state;
	expect_in_a_turn(looked_up);
}

static void test_a_trace_whose_client_goes_away_before_it_is_named_is_given_back(void **state)
{
	(void)state;
	int fd = dial();
	stub.drain_ms = 20;
	stub.rounds = 1;
	stub.never_named = true;
	say(fd, TRACE("seconds=0.1"));
	wait_for(&stub.attempts, 1);
	assert_int_equal(counted(&stub.releases), 0);
	close(fd);
	wait_for(&stub.releases, 1);
	sleep_ms(50);
	assert_int_equal(counted(&stub.releases), 1);
	assert_int_equal(counted(&stub.abandons), 0);
}

static void test_the_index_tells_the_symbolizers_trouble(void **state)
{
	(void)state;
	stub.trouble = "it is <not> there";
	struct reply r = ask(GET("/debug/pprof/"));
	assert_non_null(strstr(r.body, "<li>it is &lt;not&gt; there</li>"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(test_an_answer_is_made_again_until_all_names_are_there),
		SERVED(test_while_names_are_looked_up_others_are_served),
		SERVED(test_a_trace_whose_client_goes_away_before_it_is_named_is_given_back),
		SERVED(test_the_index_tells_the_symbolizers_trouble),
	};
	signal(SIGPIPE, SIG_DFL); /* one from the server would end us */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
