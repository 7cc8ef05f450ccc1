/* test_inputs.c - profiles from pipes: read at once, merged in their order, whoever is late or too large left out.
 *
 * Runs in: its own process.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/merge/tables.c encoder/merge/source.c encoder/merge/headers.c encoder/merge/samples.c
 * links: encoder/merge/write.c encoder/merge/inputs.c encoder/saved/profile_file.c encoder/saved/places.c
 * links: encoder/profile/profile.pb-c.c encoder/bytes/intern.c encoder/bytes/utf8.c
 * links: shim/base/text.c shim/base/sync.c */
#include "test/unit/encoder/merge/merge_made.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "encoder/merge/inputs.h"

enum { INPUTS = 3 };

static struct made one;
static struct input input[INPUTS];
static struct inputs inputs;
static int writer[INPUTS]; /* of the pipes; -1: closed */

static int set_up(void **state)
{
	(void)state;
	memset(input, 0, sizeof input);
	inputs = (struct inputs){.at = input, .count = INPUTS, .timeout_s = 100, .memory_bytes = 64 << 20};
	for (int i = 0; i < INPUTS; i++) {
		int fd[2];
		assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
		input[i].fd = fd[0], writer[i] = fd[1];
		input[i].path = i == 0 ? "first" : i == 1 ? "second" : "third";
	}
	made_at(&one, 0x400000);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < INPUTS; i++) {
		assert_int_equal(input[i].fd, -1);
		assert_null(input[i].bytes);
		if (writer[i] >= 0)
			close(writer[i]);
	}
	return 0;
}

/* Send a profile, and end. */
static void send_good(int i)
{
	assert_null(profile_write(writer[i], &one.p));
	close(writer[i]);
	writer[i] = -1;
}

static void send_bytes(int i, const void *bytes, size_t len)
{
	assert_int_equal(write(writer[i], bytes, len), len);
}

static Pprof__Profile *merged(void)
{
	int fd = memfd_create("merged", MFD_CLOEXEC);
	assert_null(inputs_merge(&inputs, fd, NULL));
	return written(fd);
}

static const char *last_comment(const Pprof__Profile *p)
{
	return text_of(p, p->comment[p->n_comment - 1]);
}

static void test_all_are_merged(void **state)
{
	(void)state;
	for (int i = INPUTS; i--;)
		send_good(i);
	Pprof__Profile *p = merged();
	assert_int_equal(p->sample[0]->value[0], INPUTS * 10);
	assert_int_equal(p->n_comment, 1);
	pprof__profile__free_unpacked(p, NULL);
}

static void test_who_stops_is_named_and_the_rest_comes(void **state)
{
	(void)state;
	inputs.timeout_s = 1;
	input[0].label[0] = (struct merge_label){"pid", "42"};
	input[0].label[1] = (struct merge_label){"process", "ng\ninx"};
	input[0].labels = 2;
	send_bytes(0, "\x1f\x8b", 2);
	send_good(1);
	send_good(2);
	Pprof__Profile *p = merged();
	assert_int_equal(p->sample[0]->value[0], 20);
	assert_string_equal(last_comment(p), "process 42 (ng?inx) did not answer in 1 s");
	pprof__profile__free_unpacked(p, NULL);
}

static void test_what_is_no_profile_is_named(void **state)
{
	(void)state;
	send_good(0);
	send_bytes(1, "nonsense", 8);
	close(writer[1]);
	writer[1] = -1;
	send_good(2);
	Pprof__Profile *p = merged();
	assert_int_equal(p->sample[0]->value[0], 20);
	assert_string_equal(last_comment(p),
	                    "second is left out: it is neither an ELF file nor a profile in pprof's protobuf form");
	pprof__profile__free_unpacked(p, NULL);
}

static void test_a_descriptor_that_was_never_there_is_named(void **state)
{
	(void)state;
	close(input[0].fd);
	input[0].fd = -1, input[0].wrong = "it was not found";
	close(input[1].fd);
	input[1].fd = 12345;
	send_good(2);
	Pprof__Profile *p = merged();
	assert_int_equal(p->sample[0]->value[0], 10);
	assert_string_equal(text_of(p, p->comment[p->n_comment - 2]), "first is left out: it was not found");
	assert_string_equal(last_comment(p), "second is left out: Bad file descriptor");
	pprof__profile__free_unpacked(p, NULL);
}

/* Its file has 8 MiB, which is more than what may wait in memory. */
static void test_the_largest_gives_way(void **state)
{
	(void)state;
	inputs.memory_bytes = 32 << 20;
	int large = memfd_create("large", MFD_CLOEXEC);
	assert_int_equal(ftruncate(large, 8 << 20), 0);
	close(input[1].fd);
	input[1].fd = large;
	send_good(0);
	send_good(2);
	Pprof__Profile *p = merged();
	assert_int_equal(p->sample[0]->value[0], 20);
	assert_string_equal(last_comment(p), "second is left out: it is larger than its share of memory");
	pprof__profile__free_unpacked(p, NULL);
}

/* A small file of many messages. */
static void test_what_takes_more_than_its_share_is_left_out(void **state)
{
	(void)state;
	enum { MESSAGES = 1 << 20 };
	inputs.memory_bytes = 64 << 20;
	int many = memfd_create("many", MFD_CLOEXEC);
	uint8_t *bytes = malloc(2 * MESSAGES);
	for (size_t i = 0; i < MESSAGES; i++)
		bytes[2 * i] = 0x2a, bytes[2 * i + 1] = 0; /* an empty function */
	assert_int_equal(write(many, bytes, 2 * MESSAGES), 2 * MESSAGES);
	lseek(many, 0, SEEK_SET);
	free(bytes);
	close(input[1].fd);
	input[1].fd = many;
	send_good(0);
	send_good(2);
	Pprof__Profile *p = merged();
	assert_int_equal(p->sample[0]->value[0], 20);
	assert_string_equal(last_comment(p), "second is left out: it is larger than its share of memory");
	pprof__profile__free_unpacked(p, NULL);
}

static void test_the_head_of_an_http_answer_is_left_out(void **state)
{
	(void)state;
	static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Type: x\r\n\r\n";
	static const char bad[] = "HTTP/1.1 503 Service Unavailable\r\n\r\nno memory is left\n",
			  cut[] = "HTTP/1.1 200 OK\r\n";
	for (int i = 0; i < INPUTS; i++)
		input[i].is_http = true;
	send_bytes(0, ok, sizeof ok - 1);
	send_good(0);
	send_bytes(1, bad, sizeof bad - 1);
	send_bytes(2, cut, sizeof cut - 1);
	for (int i = 1; i < INPUTS; i++) {
		close(writer[i]);
		writer[i] = -1;
	}
	Pprof__Profile *p = merged();
	assert_int_equal(p->sample[0]->value[0], 10);
	assert_string_equal(text_of(p, p->comment[p->n_comment - 2]), "second is left out: no memory is left");
	assert_string_equal(last_comment(p), "third is left out: it ended before its answer was whole");
	pprof__profile__free_unpacked(p, NULL);
}

static void test_when_nobody_wants_the_result_it_ends(void **state)
{
	(void)state;
	int pair[2], status;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pid_t child = fork();
	if (child == 0) {
		inputs.has_client = true;
		inputs.client = pair[0];
		close(pair[1]);
		inputs_merge(&inputs, 1, NULL);
		_exit(1);
	}
	close(pair[0]);
	close(pair[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	for (int i = 0; i < INPUTS; i++) {
		close(input[i].fd);
		input[i].fd = -1;
	}
}

static void test_without_any_profile_there_is_no_result(void **state)
{
	(void)state;
	for (int i = 0; i < INPUTS; i++) {
		close(writer[i]);
		writer[i] = -1;
	}
	int out = memfd_create("merged", MFD_CLOEXEC);
	const char *wrong = inputs_merge(&inputs, out, NULL);
	assert_non_null(wrong);
	assert_ptr_equal(wrong, input[0].wrong);
	assert_int_equal(lseek(out, 0, SEEK_END), 0);
	close(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_are_merged, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_who_stops_is_named_and_the_rest_comes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_is_no_profile_is_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_a_descriptor_that_was_never_there_is_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_largest_gives_way, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_what_takes_more_than_its_share_is_left_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_the_head_of_an_http_answer_is_left_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_when_nobody_wants_the_result_it_ends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_without_any_profile_there_is_no_result, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
