/* test_guesses.c - how long wrong tokens wait, and whom that meets.
 *
 * Runs in: its own process, with clocks of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/guard/guesses.c http/address/peer.c http/address/ip.c shim/base/text.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/guard/guesses.h"

static const uint64_t SECOND = UINT64_C(1000000000);
static uint64_t now = 1000 * 1000000000ull;

static struct peer v4(uint8_t last)
{
	return (struct peer){.kind = PEER_TCP, .ip = {[10] = 0xff, 0xff, 10, 0, 0, last}, .port = last};
}

static void test_each_further_guess_waits_longer_up_to_a_limit(void **state)
{
	(void)state;
	static const unsigned ms[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};
	struct peer p = v4(1);
	for (size_t i = 0; i < sizeof ms / sizeof *ms; i++) {
		p.port++; /* another connection of the same peer */
		assert_int_equal(guesses_count(&p, now), ms[i]);
	}
	now += 61 * SECOND;
	assert_int_equal(guesses_count(&p, now), 100);
}

static void test_other_peers_do_not_wait_for_it(void **state)
{
	(void)state;
	struct peer a = v4(2), b = v4(3), u = {.kind = PEER_UNIX, .uid = 7}, w = {.kind = PEER_UNIX, .uid = 8};
	for (int i = 0; i < 5; i++)
		guesses_count(&a, now), guesses_count(&u, now);
	assert_int_equal(guesses_count(&b, now), 100);
	assert_int_equal(guesses_count(&w, now), 100);
	assert_int_equal(guesses_count(&u, now), 3200);
}

static void test_an_ipv6_network_of_64_bits_is_one_peer(void **state)
{
	(void)state;
	struct peer p = {.kind = PEER_TCP, .ip = {0x20, 1, 0xd, 0xb8, 1, 2, 3, 4}};
	assert_int_equal(guesses_count(&p, now), 100);
	p.ip[15] = 9;
	assert_int_equal(guesses_count(&p, now), 200);
	p.ip[7] = 5;
	assert_int_equal(guesses_count(&p, now), 100);
}

static void test_many_peers_take_the_places_of_the_oldest(void **state)
{
	(void)state;
	struct peer fixed = v4(9);
	guesses_count(&fixed, now += SECOND);
	for (unsigned i = 0; i < 200; i++) {
		struct peer p = {.kind = PEER_UNIX, .uid = 1000 + i};
		assert_int_equal(guesses_count(&p, now += 1000), 100);
		if (i % 30 == 0)
			assert_true(guesses_count(&fixed, now += 1000) > 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_further_guess_waits_longer_up_to_a_limit),
		cmocka_unit_test(test_other_peers_do_not_wait_for_it),
		cmocka_unit_test(test_an_ipv6_network_of_64_bits_is_one_peer),
		cmocka_unit_test(test_many_peers_take_the_places_of_the_oldest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
