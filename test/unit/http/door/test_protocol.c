/* test_protocol.c - messages between processes behind one door: those that are believed, and those that are not.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/door/protocol.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http/door/protocol.h"

static union protocol_message m;

static size_t begin(enum protocol_kind kind)
{
	size_t size = protocol_begin(&m, kind);
	if (kind == PROTOCOL_HELLO)
		m.hello.pid = m.hello.listener = 7;
	if (kind == PROTOCOL_WELCOME)
		strcpy(m.welcome.name, "7");
	return size;
}

static void test_every_kind_is_known_by_its_own_size_alone(void **state)
{
	(void)state;
	for (enum protocol_kind kind = PROTOCOL_HELLO; kind < PROTOCOL_KINDS; kind++) {
		size_t size = begin(kind);
		for (size_t n = 0; n <= sizeof m; n++)
			assert_int_equal(protocol_kind(&m, n), n == size ? kind : PROTOCOL_BAD);
	}
}

static void test_an_unknown_head_is_bad(void **state)
{
	(void)state;
	size_t size = begin(PROTOCOL_ASK);
	m.head.magic ^= 1;
	assert_int_equal(protocol_kind(&m, size), PROTOCOL_BAD);
	assert_false(protocol_is_other_version(&m, size));
	size = begin(PROTOCOL_ASK);
	m.head.kind = PROTOCOL_BAD;
	assert_int_equal(protocol_kind(&m, size), PROTOCOL_BAD);
	m.head.kind = PROTOCOL_KINDS;
	assert_int_equal(protocol_kind(&m, size), PROTOCOL_BAD);
	size = begin(PROTOCOL_ASK);
	assert_false(protocol_is_other_version(&m, size));
	m.head.version++;
	assert_int_equal(protocol_kind(&m, size), PROTOCOL_BAD);
	assert_true(protocol_is_other_version(&m, size));
	assert_false(protocol_is_other_version(&m, sizeof m.head - 1));
}

static void test_a_text_without_an_end_is_bad(void **state)
{
	(void)state;
	const struct {
		enum protocol_kind kind;
		char *text;
		size_t room;
	} texts[] = {
		{PROTOCOL_WELCOME, m.welcome.name, sizeof m.welcome.name},
		{PROTOCOL_WELCOME, m.welcome.url, sizeof m.welcome.url},
		{PROTOCOL_STATUS, m.status.program, sizeof m.status.program},
		{PROTOCOL_STATUS, m.status.command, sizeof m.status.command},
		{PROTOCOL_STATUS, m.status.warning, sizeof m.status.warning},
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		size_t size = begin(texts[i].kind);
		memset(texts[i].text, 'x', texts[i].room - 1);
		assert_int_equal(protocol_kind(&m, size), texts[i].kind);
		texts[i].text[texts[i].room - 1] = 'x';
		assert_int_equal(protocol_kind(&m, size), PROTOCOL_BAD);
	}
}

static void test_numbers_that_no_process_has_are_bad(void **state)
{
	(void)state;
	size_t size = begin(PROTOCOL_HELLO);
	for (int32_t pid = -1; pid <= 0; pid++) {
		begin(PROTOCOL_HELLO);
		m.hello.pid = pid;
		assert_int_equal(protocol_kind(&m, size), PROTOCOL_BAD);
		begin(PROTOCOL_HELLO);
		m.hello.listener = pid;
		assert_int_equal(protocol_kind(&m, size), PROTOCOL_BAD);
	}
	begin(PROTOCOL_HELLO);
	m.hello.parent = -1;
	assert_int_equal(protocol_kind(&m, size), PROTOCOL_BAD);
	size = begin(PROTOCOL_REFUSED);
	m.refused.why = PROTOCOL_REFUSALS;
	assert_int_equal(protocol_kind(&m, size), PROTOCOL_BAD);
	size = begin(PROTOCOL_STATUS);
	m.status.parent = -1;
	assert_int_equal(protocol_kind(&m, size), PROTOCOL_BAD);
	size = begin(PROTOCOL_WELCOME);
	m.welcome.name[0] = '\0';
	assert_int_equal(protocol_kind(&m, size), PROTOCOL_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_is_known_by_its_own_size_alone),
		cmocka_unit_test(test_an_unknown_head_is_bad),
		cmocka_unit_test(test_a_text_without_an_end_is_bad),
		cmocka_unit_test(test_numbers_that_no_process_has_are_bad),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
