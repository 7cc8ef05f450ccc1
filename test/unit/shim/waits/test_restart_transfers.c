/* test_restart_transfers.c - transfers that a signal of ours cuts short move all bytes, and no register is changed.
 *
 * Runs in: a process of its own, as standing_made.h says.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: shim/waits/restart.c shim/waits/restart_look.c shim/waits/restart_transfers.c shim/waits/calls.c
 * links: shim/waits/waits.c shim/profiles/deadlock.c shim/threads/tasks.c
 * links: shim/base/powers.c
 * links: shim/base/house.c shim/libc/clock.c shim/libc/real.c shim/base/text.c shim/base/arena.c shim/base/sync.c
 * links: test/unit/support/cut/queues.c */
#include <sys/ioctl.h>

#include "test/unit/shim/waits/standing_made.h"

enum { LARGE = 300000 };

/* --- transfers --------------------------------------------------------------------------------------------- */

static char sent[LARGE], received[LARGE];

static long t_write(struct stander *s)
{
	return write(s->fd[1], sent, LARGE);
}
static long t_writev(struct stander *s)
{
	struct iovec v[] = {{sent, 1000}, {sent + 1000, 0}, {sent + 1000, 150000}, {sent + 151000, LARGE - 151000}};
	return writev(s->fd[1], v, COUNT(v));
}
static long t_send(struct stander *s)
{
	return send(s->fd[1], sent, LARGE, 0);
}
static long t_sendmsg(struct stander *s)
{
	struct iovec v[] = {{sent, 70000}, {sent + 70000, LARGE - 70000}};
	return sendmsg(s->fd[1], &(struct msghdr){.msg_iov = v, .msg_iovlen = 2}, MSG_NOSIGNAL);
}
static long t_recv(struct stander *s)
{
	return recv(s->fd[0], received, LARGE, MSG_WAITALL);
}
static long t_recvmsg(struct stander *s)
{
	struct iovec v[] = {{received, 70000}, {received + 70000, LARGE - 70000}};
	return recvmsg(s->fd[0], &(struct msghdr){.msg_iov = v, .msg_iovlen = 2}, MSG_WAITALL);
}

static const struct transfer {
	struct stander kind;
	bool is_pipe, receives;
} transfers[] = {
#define TRANSFER(text, function, pipe, receive) \
	{.kind = {.name = text, .call = function}, .is_pipe = pipe, .receives = receive},
	TRANSFER("write to a pipe", t_write, true, false) TRANSFER("writev to a pipe", t_writev, true, false)
		TRANSFER("write to a socket", t_write, false, false)
			TRANSFER("writev to a socket", t_writev, false, false) TRANSFER("send", t_send, false, false)
				TRANSFER("sendmsg", t_sendmsg, false, false) TRANSFER("recv", t_recv, false, true)
					TRANSFER("recvmsg", t_recvmsg, false, true)
#undef TRANSFER
};

static void fill_sent(void)
{
	for (size_t i = 0; i < LARGE; i++)
		sent[i] = (char)(i * 31 + i / 251);
}

/* Take a piece from the thread that sends, or give one to the thread that receives. */
static size_t other_side(const struct transfer *t, struct stander *s, size_t at)
{
	enum { PIECE = 7001 };
	size_t n = LARGE - at < PIECE ? LARGE - at : PIECE;
	ssize_t moved = t->receives ? write(s->fd[1], sent + at, n) : read(s->fd[0], received + at, n);
	assert_true(moved > 0);
	return (size_t)moved;
}

static void begin_transfer(const struct transfer *t, struct stander *s)
{
	struct stander kind = t->kind;
	fill_sent();
	memset(received, 0, sizeof received);
	if (t->is_pipe)
		make_pipe(&kind);
	else
		make_pair(&kind);
	start(s, &kind);
}

static void test_a_transfer_moves_all_it_was_asked_for(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(transfers); i++) {
		struct stander s;
		begin_transfer(&transfers[i], &s);
		for (size_t at = 0, piece = 0; at < LARGE; piece++) {
			at += other_side(&transfers[i], &s, at);
			if (piece % 5 == 0 && await_blocked(&s))
				interrupt(&s, piece % 2 == 0);
		}
		finish(&s);
		if (s.result != LARGE)
			fail_msg("%s: %ld bytes, errno %d", s.name, s.result, s.error);
		assert_memory_equal(sent, received, LARGE);
		close_both(&s);
	}
}

static int unread(const struct stander *s)
{
	int bytes = 0;
	assert_int_equal(ioctl(s->fd[0], FIONREAD, &bytes), 0);
	return bytes;
}

/* Returns false if nothing had been moved yet when the signal came: on a busy machine the call gets no processor. */
static bool ends_with_a_part(const struct transfer *t, int way)
{
	struct stander s;
	begin_transfer(t, &s);
	size_t at = other_side(t, &s, 0);
	raise_before = way == 0;
	raise_ours_in_programs = way == 1;
	await_blocked(&s);
	if (way == 2) { /* in the middle of the rest */
		interrupt(&s, true);
		at += other_side(t, &s, at);
		while (t->receives && !is_done(&s) &&
		       unread(&s)) /* a thread that is woken seems blocked until it runs */
			nap();
		await_blocked(&s);
	}
	os_call(SYS_tgkill, getpid(), s.tid, way == 0 ? OURS : PROGRAMS);
	finish(&s);
	bool moved = s.result != -1 || s.error != EINTR;
	if (moved && (s.result <= 0 || s.result >= LARGE || (size_t)s.result < at))
		fail_msg("%s: %ld bytes, errno %d", s.name, s.result, s.error);
	install(NULL);
	close_both(&s);
	return moved;
}

static void test_the_programs_signal_ends_a_transfer_too(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(transfers); i++)
		for (int way = 0; way < 3; way++) {
			int tries = 0;
			while (!ends_with_a_part(&transfers[i], way))
				assert_true(++tries < 20);
		}
}

/* One that may not wait came back with what it could move at once. */
static void test_a_transfer_that_may_not_wait_has_no_rest(void **state)
{
	(void)state;
	struct stander s = {.name = "none"};
	make_pipe(&s);
	fcntl(s.fd[1], F_SETFL, O_NONBLOCK);
	standing = &s;
	self.thread = &s.record;
	/* A signal that is due when the call returns: it is sent in it, by another thread. */
	for (int i = 0; i < 2000; i++) {
		char drain[65536];
		raise_here(OURS);
		ssize_t n = write(s.fd[1], sent, LARGE);
		assert_true(n > 0 && n < LARGE);
		for (ssize_t got = 0; got < n;)
			got += read(s.fd[0], drain, sizeof drain);
	}
	standing = NULL;
	close_both(&s);
}

enum { REGISTERS_CUT = -3 };
#if defined(__x86_64__)
/* All registers but those that a system call leaves undefined, after a transfer with a rest. */
static long t_registers(struct stander *s)
{
	uint64_t vector[4] = {0x1122334455667788, 0x99aabbccddeeff00, 0x0123456789abcdef, 0xfedcba9876543210},
		 after[4] = {0};
	long result = SYS_write, fd = s->fd[1], same;
	register long r10 __asm__("r10") = 10, r8 __asm__("r8") = 8, r9 __asm__("r9") = 9, r12 __asm__("r12") = 12;
	const char *from = sent;
	size_t count = LARGE;
	__asm__ volatile("movdqu (%[v]), %%xmm0\n\tmovdqu 16(%[v]), %%xmm15\n\tsyscall\n\t"
	                 "movdqu %%xmm0, (%[after])\n\tmovdqu %%xmm15, 16(%[after])"
	                 : "+a"(result), "+D"(fd), "+S"(from), "+d"(count), "+r"(r10), "+r"(r8), "+r"(r9), "+r"(r12)
	                 : [v] "r"(vector), [after] "b"(after)
	                 : "rcx", "r11", "xmm0", "xmm15", "memory");
	same = memcmp(vector, after, sizeof vector) == 0 && fd == s->fd[1] && from == sent && count == LARGE &&
	       r10 == 10 && r8 == 8 && r9 == 9 && r12 == 12;
	if (same && result < (long)LARGE) { /* cut: its number was not known any more, see below */
		for (size_t at = result > 0 ? (size_t)result : 0; at < LARGE;) {
			ssize_t n = write(s->fd[1], sent + at, LARGE - at);
			at += n > 0 ? (size_t)n : 0;
		}
		return REGISTERS_CUT;
	}
	return same ? result : -2;
}
#endif

static void test_no_register_is_changed(void **state)
{
	(void)state;
#if defined(__x86_64__)
	const struct transfer t = {.kind = {.name = "registers", .call = t_registers}, .is_pipe = true};
	/* Its number is in no instruction. A writer that wakes up late, between the look at it and the signal, blocks
	 * again in a call that nobody has looked at. */
	long result = REGISTERS_CUT;
	for (int tries = 0; tries < 20 && result == REGISTERS_CUT; tries++) {
		struct stander s;
		begin_transfer(&t, &s);
		for (size_t at = 0; at < LARGE;) {
			at += other_side(&t, &s, at);
			if (at < LARGE / 2 && await_blocked(&s))
				interrupt(&s, true);
		}
		finish(&s);
		result = s.result;
		close_both(&s);
	}
	assert_int_equal(result, LARGE);
#else
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_transfer_moves_all_it_was_asked_for),
		TEST(test_the_programs_signal_ends_a_transfer_too),
		TEST(test_a_transfer_that_may_not_wait_has_no_rest),
		TEST(test_no_register_is_changed),
	};
	return RUN(tests);
}
