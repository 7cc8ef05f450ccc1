/* test_owner.c - the owner of a door: who joins, what is believed of what they say, whom clients are passed to.
 *
 * Runs in: its own process. The members are sockets of the test.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/door/door.c http/door/owner.c http/door/member.c http/door/table.c http/door/protocol.c http/door/wire.c
 * links: http/address/address.c http/address/host.c http/address/ip.c http/address/fd.c http/address/peer.c
 * links: shim/base/arena.c shim/base/sync.c shim/base/text.c */
#include "test/unit/http/door/door_made.h"

static struct wire_name name;

static int begin(void **state)
{
	static char lock[32];
	struct address a;
	(void)state;
	memset(&told, 0, sizeof told);
	arena_set_limit(64 << 20);
	name = made_name(&a, lock);
	struct door_life with_lock = life;
	with_lock.lock = lock;
	assert_int_equal(door_open(&a, &with_lock), DOOR_OWNER);
	for (int i = 0; i < 100 && !told.owned; i++)
		turn();
	assert_int_equal(told.owned, 1);
	return 0;
}

static int end(void **state)
{
	(void)state;
	close(door.epoll_fd);
	door_close();
	return arena_mapped_bytes() == 0 ? 0 : -1;
}

static int knock(void)
{
	int fd = wire_connect(&name);
	assert_true(fd >= 0);
	turn();
	return fd;
}

static size_t hello(union protocol_message *m, int32_t pid)
{
	size_t size = protocol_begin(m, PROTOCOL_HELLO);
	m->hello.pid = m->hello.listener = pid;
	m->hello.parent = 1;
	return size;
}

static int member(int32_t pid)
{
	union protocol_message m;
	int fd = knock();
	say(fd, &m, hello(&m, pid));
	assert_int_equal(hear(fd, &m, NULL), PROTOCOL_WELCOME);
	return fd;
}

static void assert_put_out(int fd)
{
	union protocol_message m;
	assert_int_equal(hear(fd, &m, NULL), PROTOCOL_BAD);
	close(fd);
	assert_int_equal(door.table.count, 0);
}

/* Of processes in our own pid namespace the kernel knows the number: what they say is no matter. */
static void test_who_says_hello_is_welcome_by_a_name(void **state)
{
	(void)state;
	union protocol_message m;
	char want[24];
	int fd = knock();
	say(fd, &m, hello(&m, 4242));
	assert_int_equal(hear(fd, &m, NULL), PROTOCOL_WELCOME);
	snprintf(want, sizeof want, "%d", (int)getpid());
	assert_int_equal(strncmp(m.welcome.name, want, strlen(want)), 0);
	assert_string_equal(m.welcome.url, "http://127.0.0.1:1/debug/pprof/");
	assert_int_equal(door.table.count, 1);
	close(fd);
	for (int i = 0; i < 100 && door.table.count; i++)
		turn();
	assert_int_equal(door.table.count, 0);
}

static void test_who_says_anything_else_is_put_out(void **state)
{
	(void)state;
	for (int kind = PROTOCOL_BAD; kind <= PROTOCOL_KINDS; kind++) {
		union protocol_message m;
		if (kind == PROTOCOL_HELLO)
			continue;
		int fd = knock();
		protocol_begin(&m, PROTOCOL_ASK);
		m.head.kind = (uint16_t)kind;
		say(fd, &m, kind == PROTOCOL_STATUS ? sizeof m.status : sizeof m.head);
		assert_put_out(fd);
	}
}

static void test_hello_is_said_once(void **state)
{
	(void)state;
	union protocol_message m;
	int fd = member(1);
	say(fd, &m, hello(&m, 1));
	assert_put_out(fd);
}

static void test_another_version_is_told_so(void **state)
{
	(void)state;
	union protocol_message m;
	int fd = knock();
	size_t size = hello(&m, 1);
	m.head.version++;
	say(fd, &m, size);
	assert_int_equal(hear(fd, &m, NULL), PROTOCOL_REFUSED);
	assert_int_equal(m.refused.why, PROTOCOL_OTHER);
	assert_put_out(fd);
}

static void test_a_status_is_asked_for_and_nobody_gives_one_unasked(void **state)
{
	(void)state;
	union protocol_message m;
	struct region r = {0};
	size_t count;
	int fd = member(1), silent = member(1);
	door_ask_all();
	assert_int_equal(door_silent(), 2);
	assert_int_equal(hear(fd, &m, NULL), PROTOCOL_ASK);
	protocol_begin(&m, PROTOCOL_STATUS);
	m.status.threads = 3;
	say(fd, &m, sizeof m.status);
	assert_int_equal(door_silent(), 1);
	struct door_process *list = door_list(&r, &count);
	assert_non_null(list);
	assert_int_equal(count, 3);
	assert_true(list[0].is_self && list[0].is_told && list[0].status.threads == 7);
	assert_true(list[1].is_told && list[1].status.threads == 3);
	assert_false(list[2].is_told);
	region_release(&r);
	close(silent);
	for (int i = 0; i < 100 && door.table.count > 1; i++)
		turn();
	say(fd, &m, sizeof m.status);
	assert_put_out(fd);
}

static void test_a_client_is_passed_on_and_no_more_than_sixteen_wait(void **state)
{
	(void)state;
	union protocol_message m;
	int fd = member(1), ours[TABLE_PASSES], theirs = -1;
	char text[24], byte = 0;
	struct line l = LINE(text);
	table_print_name(table_at(&door.table, 0), &l);
	assert_int_equal(door_connect(SPAN("999999")), -ENOENT);
	for (size_t i = 0; i < COUNT(ours); i++)
		assert_true((ours[i] = door_connect(span_of(text))) >= 0);
	assert_int_equal(door_connect(span_of(text)), -EBUSY);
	assert_int_equal(hear(fd, &m, &theirs), PROTOCOL_PASS);
	assert_true(theirs >= 0);
	assert_int_equal(write(ours[0], "x", 1), 1);
	assert_int_equal(read(theirs, &byte, 1), 1);
	assert_int_equal(byte, 'x');
	say_kind(fd, PROTOCOL_TAKEN);
	int more = door_connect(span_of(text));
	assert_true(more >= 0);
	close(more);
	close(theirs);
	for (size_t i = 0; i < COUNT(ours); i++)
		close(ours[i]);
	close(fd);
}

static void test_taking_what_was_not_passed_is_a_lie(void **state)
{
	(void)state;
	int fd = member(1);
	say_kind(fd, PROTOCOL_TAKEN);
	assert_put_out(fd);
}

/* Nothing is waited for once all have said who they are: an idle owner does not wake up. */
static void test_only_who_says_nothing_is_waited_for(void **state)
{
	(void)state;
	union protocol_message m;
	assert_int_equal(door_rest(), 0);
	int fd = knock();
	unsigned ms = door_rest();
	assert_true(ms > 0 && ms <= 5001);
	say(fd, &m, hello(&m, 1));
	assert_int_equal(hear(fd, &m, NULL), PROTOCOL_WELCOME);
	assert_int_equal(door_rest(), 0);
	int silent = knock();
	struct member *last = table_at(&door.table, 1);
	assert_non_null(last);
	last->come_ns -= UINT64_C(5000000000);
	door.sweep_ns = last->come_ns;
	assert_int_equal(door_rest(), 0);
	assert_int_equal(door.table.count, 1);
	assert_int_equal(hear(silent, &m, NULL), PROTOCOL_BAD);
	close(silent);
	close(fd);
}

static void test_descriptors_that_members_send_are_dropped(void **state)
{
	(void)state;
	union protocol_message m;
	int fd = knock(), before = dup(0);
	close(before);
	assert_int_equal(wire_send(fd, &m, hello(&m, 1), fd), 0);
	assert_int_equal(hear(fd, &m, NULL), PROTOCOL_WELCOME);
	int after = dup(0);
	close(after);
	assert_int_equal(after, before);
	close(fd);
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_who_says_hello_is_welcome_by_a_name),
		TEST(test_who_says_anything_else_is_put_out),
		TEST(test_hello_is_said_once),
		TEST(test_another_version_is_told_so),
		TEST(test_a_status_is_asked_for_and_nobody_gives_one_unasked),
		TEST(test_a_client_is_passed_on_and_no_more_than_sixteen_wait),
		TEST(test_taking_what_was_not_passed_is_a_lie),
		TEST(test_only_who_says_nothing_is_waited_for),
		TEST(test_descriptors_that_members_send_are_dropped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
