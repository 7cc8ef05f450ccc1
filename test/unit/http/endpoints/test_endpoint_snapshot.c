/* test_endpoint_snapshot.c - deltas, and those of contention at a rate of their own.
 *
 * Runs in: its own process; the server in a thread of it (test/unit/support/served.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: test/unit/support/served.c test/unit/support/stub_encoder.c */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/unit/support/served.h"

/* ---- deltas ---- */

static bool two_deltas(void)
{
	stub.takes = 0;
	int from = now_ms(), first = dial(), second = dial();
	say(first, GET("/debug/pprof/heap?seconds=1"));
	say(second, GET("/debug/pprof/allocs?seconds=1"));
	ask_for_others();
	bool waits = is_open(first), soon = now_ms() - from < 900;
	assert_true(waits || !soon);
	struct reply r = hear(first);
	assert_int_equal(r.status, 200);
	assert_has(&r, "Content-Disposition: attachment; filename=\"heap-delta\"\r\n");
	assert_has(&r, "Content-Type: application/octet-stream\r\n");
	r = hear(second);
	assert_has(&r, "Content-Disposition: attachment; filename=\"allocs-delta\"\r\n");
	bool in_time = takes_ms(from, 1000, 1900) && soon;
	assert_true(!soon || stub.had_before); /* else one of the others was the last */
	assert_int_equal(taken(), 24);
	say(first, GET("/nothing"));
	assert_int_equal(hear(first).status, 404);
	close(first);
	close(second);
	return in_time;
}

static void test_a_delta_waits_while_others_are_served(void **state)
{
	(void)state;
	expect_in_a_turn(two_deltas);
}

static void test_a_delta_whose_client_goes_away_is_dropped(void **state)
{
	(void)state;
	int closes = dial(), resets = dial();
	say(closes, GET("/debug/pprof/heap?seconds=1"));
	say(resets, GET("/debug/pprof/heap?seconds=1"));
	for (int i = 0; i < 20000 && taken() < 2; i++)
		sleep_ms(1);
	close(closes);
	setsockopt(resets, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	close(resets);
	wait_for_no_memory();
	sleep_ms(1100);
	assert_int_equal(taken(), 2);
}

/* ---- deltas of contention at a rate of their own ---- */

static bool rates_of_their_own(void)
{
	static const struct {
		const char *request, *file;
		enum profile_kind kind;
		enum contention_kind side;
		uint64_t rate;
	} rows[] = {
		{GET("/debug/pprof/block?seconds=1&rate=1"), "filename=\"block-delta\"\r\n", PROFILE_BLOCK,
	         CONTENTION_BLOCK, 1},
		{GET("/debug/pprof/mutex?fraction=%2b9223372036854775807&rate=x&seconds=1"),
	         "filename=\"mutex-delta\"\r\n", PROFILE_MUTEX, CONTENTION_MUTEX, INT64_MAX},
		{"POST /debug/pprof/block?rate=7 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n"
	         "Content-Type: application/x-www-form-urlencoded\r\n\r\nseconds=1&rate=5",
	         "filename=\"block-delta\"\r\n", PROFILE_BLOCK, CONTENTION_BLOCK, 5},
	};
	bool in_time = true;
	stub.raises = stub.restores = stub.takes = 0;
	for (int i = 0; i < (int)(sizeof rows / sizeof *rows); i++) {
		int from = now_ms(), fd = dial();
		say(fd, rows[i].request);
		wait_for(&stub.raises, i + 1);
		sleep_ms(500);
		int restored = counted(&stub.restores);
		bool soon = now_ms() - from < 950;
		assert_true(restored == i || !soon);
		in_time &= soon;
		struct reply r = hear(fd);
		assert_int_equal(r.status, 200);
		assert_has(&r, rows[i].file);
		assert_int_equal(stub.kind, rows[i].kind);
		assert_true(stub.had_before);
		assert_int_equal(stub.raise_kind, rows[i].side);
		assert_int_equal(stub.rate, rows[i].rate);
		assert_int_equal(stub.takes_at_raise, 2 * i);
		assert_int_equal(stub.takes_at_restore, 2 * i + 2);
		close(fd);
		sleep_ms(50);
		assert_int_equal(counted(&stub.restores), i + 1); /* once */
	}
	return in_time;
}

static void test_a_rate_holds_from_before_the_first_snapshot_until_after_the_second(void **state)
{
	(void)state;
	expect_in_a_turn(rates_of_their_own);
}

static void test_a_delta_without_a_rate_raises_none(void **state)
{
	(void)state;
	int block = dial(), heap = dial();
	say(block, GET("/debug/pprof/block?seconds=1&fraction=1"));
	say(heap, GET("/debug/pprof/heap?seconds=1&rate=1&fraction=1"));
	assert_int_equal(hear(block).status, 200);
	assert_int_equal(hear(heap).status, 200);
	assert_int_equal(counted(&stub.raises) + counted(&stub.restores), 0);
	close(block);
	close(heap);
}

static void test_a_rate_that_cannot_be_had_is_refused_in_one_line(void **state)
{
	static const struct {
		const char *request;
		int error, status;
		const char *text;
	} rows[] = {
		{GET("/debug/pprof/block?seconds=1&rate=1"), -ENOSYS, 400,
	         "pprofshim: nothing is recorded, as the program was started with PPROF_BLOCK_RATE=0; start it with "
	         "another value, or without\n"},
		{GET("/debug/pprof/mutex?seconds=1&fraction=1"), -ENOSYS, 400,
	         "pprofshim: nothing is recorded, as the program was started with PPROF_MUTEX_FRACTION=0; start it "
	         "with another value, or without\n"},
		{GET("/debug/pprof/mutex?seconds=1&fraction=1"), -EBUSY, 503,
	         "pprofshim: too many requests have a rate of their own already; ask again later\n"},
		{GET("/debug/pprof/block?seconds=1&rate=1"), -ENOMEM, 503,
	         "pprofshim: no memory left for this answer; ask again when others are done, or raise "
	         "PPROF_MEMORY_LIMIT\n"},
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		stub.raise_error = rows[i].error;
		struct reply r = ask(rows[i].request);
		assert_int_equal(r.status, rows[i].status);
		assert_string_equal(r.body, rows[i].text);
		assert_has(&r, "X-Go-Pprof: 1\r\n");
		assert_lacks(&r, "Content-Disposition");
	}
	assert_int_equal(taken(), 0);
	assert_int_equal(counted(&stub.restores), 0);
}

static bool failing_snapshots(void)
{
	stub.takes = stub.restores = 0;
	stub.error = -ENOMEM; /* of the first */
	assert_int_equal(ask(GET("/debug/pprof/block?seconds=1&rate=1")).status, 503);
	assert_int_equal(counted(&stub.restores), 1);
	stub.error = 0;
	int from = now_ms(), fd = dial();
	say(fd, GET("/debug/pprof/block?seconds=1&rate=1"));
	wait_for_least(&stub.takes, 2);
	sleep_ms(50);
	wire_acquire();
	stub.error = -ENOMEM;
	wire_release();
	bool in_time = now_ms() - from < 950;
	int status = hear(fd).status;
	assert_true(status == 503 || !in_time);
	close(fd);
	wait_for(&stub.restores, 2);
	sleep_ms(50);
	assert_int_equal(counted(&stub.restores), 2);
	return in_time;
}

static void test_a_rate_is_restored_when_a_snapshot_fails(void **state)
{
	(void)state;
	expect_in_a_turn(failing_snapshots);
}

static void test_a_rate_is_restored_once_when_its_client_goes_away(void **state)
{
	(void)state;
	int leaves = dial(), stays = dial();
	say(leaves, GET("/debug/pprof/block?seconds=1&rate=1"));
	say(stays, GET("/debug/pprof/block?seconds=30&rate=2"));
	wait_for(&stub.raises, 2);
	close(leaves);
	wait_for(&stub.restores, 1);
	sleep_ms(1100);
	assert_int_equal(counted(&stub.restores), 1);
	assert_int_equal(taken(), 2);
	run.move_fd = -1;
	give_order(order_move);
	assert_int_equal(counted(&stub.restores), 2);
	close(stays);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SERVED(test_a_delta_waits_while_others_are_served),
		SERVED(test_a_delta_whose_client_goes_away_is_dropped),
		SERVED(test_a_rate_holds_from_before_the_first_snapshot_until_after_the_second),
		SERVED(test_a_delta_without_a_rate_raises_none),
		SERVED(test_a_rate_that_cannot_be_had_is_refused_in_one_line),
		SERVED(test_a_rate_is_restored_when_a_snapshot_fails),
		SERVED(test_a_rate_is_restored_once_when_its_client_goes_away),
	};
	signal(SIGPIPE, SIG_DFL); /* one from the server would end us */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
