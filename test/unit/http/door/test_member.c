/* test_member.c - a process that has joined a door: what it does for the owner, and what when that lies or dies.
 *
 * Runs in: its own process. The owner is a socket of the test.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/door/door.c http/door/owner.c http/door/member.c http/door/table.c http/door/protocol.c http/door/wire.c
 * links: http/address/address.c http/address/host.c http/address/ip.c http/address/fd.c http/address/peer.c
 * links: shim/base/arena.c shim/base/sync.c shim/base/text.c */
#include "test/unit/http/door/door_made.h"

static int listening, owner; /* where the owner listens, and its end of the connection */

static int begin(void **state)
{
	static char lock[32];
	struct address a;
	union protocol_message m;
	(void)state;
	memset(&told, 0, sizeof told);
	told.adopted_fd = -1;
	arena_set_limit(64 << 20);
	shared_store_relaxed(&house.pid, getpid());
	struct wire_name name = made_name(&a, lock);
	listening = wire_bind(&name);
	assert_true(listening >= 0);
	struct door_life with_lock = life;
	with_lock.lock = lock;
	assert_int_equal(door_open(&a, &with_lock), DOOR_JOINING);
	owner = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(owner >= 0);
	assert_int_equal(hear(owner, &m, NULL), PROTOCOL_HELLO);
	assert_int_equal(m.hello.pid, house_pid());
	assert_int_equal(m.hello.listener, getpid());
	return 0;
}

static int end(void **state)
{
	(void)state;
	close(owner);
	if (listening >= 0)
		close(listening);
	close(door.epoll_fd);
	door_close();
	return arena_mapped_bytes() == 0 ? 0 : -1;
}

static void welcome(void)
{
	union protocol_message m;
	size_t size = protocol_begin(&m, PROTOCOL_WELCOME);
	strcpy(m.welcome.name, "42-2");
	strcpy(m.welcome.url, "http://door/");
	say(owner, &m, size);
	assert_int_equal(door_role(), DOOR_MEMBER);
}

static void test_it_learns_its_name_and_tells_how_it_is(void **state)
{
	(void)state;
	union protocol_message m;
	welcome();
	assert_int_equal(told.joined, 1);
	assert_string_equal(told.name, "42-2");
	assert_string_equal(told.url, "http://door/");
	say_kind(owner, PROTOCOL_ASK);
	assert_int_equal(hear(owner, &m, NULL), PROTOCOL_STATUS);
	assert_int_equal(m.status.threads, 7);
	assert_int_equal(door_rest(), 0); /* it waits for nothing but the owner */
}

static void test_it_adopts_a_client_and_says_so(void **state)
{
	(void)state;
	union protocol_message m;
	int pair[2];
	char byte = 0;
	welcome();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	size_t size = protocol_begin(&m, PROTOCOL_PASS);
	assert_int_equal(wire_send(owner, &m, size, pair[1]), 0);
	close(pair[1]);
	assert_int_equal(hear(owner, &m, NULL), PROTOCOL_TAKEN);
	assert_true(told.adopted_fd >= 0);
	assert_int_equal(write(told.adopted_fd, "x", 1), 1);
	assert_int_equal(read(pair[0], &byte, 1), 1);
	close(told.adopted_fd);
	assert_int_equal(read(pair[0], &byte, 1), 0); /* that was the last descriptor of it */
	close(pair[0]);
}

/* It would otherwise stay open for ever. */
static void test_a_descriptor_that_comes_with_another_message_is_closed(void **state)
{
	(void)state;
	union protocol_message m;
	int pair[2];
	char byte;
	welcome();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	size_t size = protocol_begin(&m, PROTOCOL_ASK);
	assert_int_equal(wire_send(owner, &m, size, pair[1]), 0);
	close(pair[1]);
	assert_int_equal(hear(owner, &m, NULL), PROTOCOL_STATUS);
	assert_int_equal(read(pair[0], &byte, 1), 0);
	assert_int_equal(told.adopted_fd, -1);
	close(pair[0]);
}

static void test_a_client_that_is_lost_on_the_way_is_none(void **state)
{
	(void)state;
	union protocol_message m;
	welcome();
	say_kind(owner, PROTOCOL_PASS);
	assert_int_equal(hear(owner, &m, NULL), PROTOCOL_TAKEN);
	assert_int_equal(told.adopted_fd, -1);
}

static void test_who_is_refused_is_alone_and_says_why(void **state)
{
	(void)state;
	union protocol_message m;
	size_t size = protocol_begin(&m, PROTOCOL_REFUSED);
	m.refused.why = PROTOCOL_FULL;
	say(owner, &m, size);
	assert_int_equal(door_role(), DOOR_ALONE);
	assert_int_equal(told.alone, 1);
	assert_string_equal(told.why, "1000 processes are behind the door already");
}

static void test_an_owner_that_breaks_the_protocol_is_left(void **state)
{
	(void)state;
	union protocol_message m = {.head = {PROTOCOL_MAGIC, PROTOCOL_VERSION, PROTOCOL_KINDS}};
	welcome();
	say(owner, &m, sizeof m.head);
	assert_int_equal(door_role(), DOOR_ALONE);
	assert_int_equal(told.alone, 1);
}

static void test_a_second_welcome_breaks_it_too(void **state)
{
	(void)state;
	union protocol_message m;
	welcome();
	size_t size = protocol_begin(&m, PROTOCOL_WELCOME);
	strcpy(m.welcome.name, "1");
	say(owner, &m, size);
	assert_int_equal(door_role(), DOOR_ALONE);
	assert_int_equal(told.joined, 1);
}

static void test_when_the_owner_dies_it_has_the_door(void **state)
{
	(void)state;
	welcome();
	close(listening);
	listening = -1;
	shutdown(owner, SHUT_RDWR);
	for (int i = 0; i < 1000 && !told.owned; i++)
		turn();
	assert_int_equal(door_role(), DOOR_OWNER);
	assert_int_equal(told.owned, 1);
	assert_int_equal(told.alone, 0);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_it_learns_its_name_and_tells_how_it_is),
		TEST(test_it_adopts_a_client_and_says_so),
		TEST(test_a_descriptor_that_comes_with_another_message_is_closed),
		TEST(test_a_client_that_is_lost_on_the_way_is_none),
		TEST(test_who_is_refused_is_alone_and_says_why),
		TEST(test_an_owner_that_breaks_the_protocol_is_left),
		TEST(test_a_second_welcome_breaks_it_too),
		TEST(test_when_the_owner_dies_it_has_the_door),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
