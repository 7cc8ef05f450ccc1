/* restart_transfers.c - move the rest of a transfer that our signal cut short.
 *
 * Runs in: our signal handler (restart_go_on_moving); app's thread, in the middle of a system call as the program sees
 * it (all else). So: no lock, no allocation, no libc, errno untouched; in the middle of a system call only general
 * registers (Makefile).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/waits/restart_transfers.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "shim/arch/entries.h"
#include "shim/base/os.h"
#include "shim/base/self.h"
#include "shim/waits/calls.h"

#if ARCH_HAS_RESTART
ARCH_MOVE_REST(restart_move_rest, restart_rest_of)

void restart_go_on_moving(ucontext_t *u, long nr)
{
	if (!calls_moves(nr) || (nr == SYS_write && ARCH_RESULT(u) >= *arch_argument(u, 2)))
		return;
	arch_go_on_in(u, restart_move_rest, nr);
}

/* The rest of a transfer. Used in the program's thread, with its registers. */
struct rest {
	int fd, flags;
	bool receives, is_socket;
	const struct iovec *iov;
	size_t count;
	const struct msghdr *msg;
	long addr, addr_bytes; /* of sendto */
	uint32_t handled;
};

static bool was_handled(const struct rest *t)
{
	return self.handled != t->handled;
}

/* Only streams are continued: messages have no rest, and files are not interrupted. A transfer that may not wait is
 * right as it is. */
static bool has_rest(struct rest *t)
{
	struct stat st;
	int type = 0;
	socklen_t bytes = sizeof type;
	if (t->receives ? (t->flags & (MSG_WAITALL | MSG_PEEK | MSG_DONTWAIT)) != MSG_WAITALL : t->flags & MSG_DONTWAIT)
		return false;
	if (os_call(SYS_fcntl, t->fd, F_GETFL) & O_NONBLOCK)
		return false;
	t->is_socket = os_call(SYS_getsockopt, t->fd, SOL_SOCKET, SO_TYPE, &type, &bytes) == 0;
	if (t->is_socket)
		return type == SOCK_STREAM && !(t->receives && t->msg && t->msg->msg_control);
	return os_call(SYS_fstat, t->fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode));
}

static uint64_t bytes_in(const struct iovec *iov, size_t count)
{
	uint64_t n = 0;
	for (size_t i = 0; i < count; i++)
		n += iov[i].iov_len;
	return n;
}

/* Waits a little until the socket can move more. Not every end wakes poll (a Unix socket's peer that shut down), so it
 * returns true now and then to make the caller try.
 * Returns false if the socket has an error (which is left there), a signal of the program came, or its time-out is
 * over. */
static bool is_ready(const struct rest *t, int64_t *waited_ms)
{
	enum { STEP_MS = 50 };
	struct timeval limit = {0};
	socklen_t bytes = sizeof limit;
	struct pollfd p = {.fd = t->fd, .events = t->receives ? POLLIN : POLLOUT};
	struct timespec step = {.tv_nsec = STEP_MS * 1000000};
	long r = os_call(SYS_ppoll, &p, 1, &step, NULL, 0);
	if ((r < 0 && r != -EINTR) || was_handled(t) || p.revents & (POLLERR | POLLNVAL) ||
	    (!t->receives && p.revents & POLLHUP))
		return false;
	*waited_ms = r > 0 ? 0 : *waited_ms + STEP_MS;
	os_call(SYS_getsockopt, t->fd, SOL_SOCKET, t->receives ? SO_RCVTIMEO : SO_SNDTIMEO, &limit, &bytes);
	int64_t limit_ms = (int64_t)limit.tv_sec * 1000 + limit.tv_usec / 1000;
	return limit_ms == 0 || *waited_ms <= limit_ms;
}

/* Moves what follows after `done` bytes: the rest of a piece that was begun, or the pieces after it. A socket reports
 * an error only once, so sockets are asked only for what they can do at once.
 * Returns bytes, or a negative errno. */
static long move_some(const struct rest *t, uint64_t done)
{
	const struct iovec *iov = t->iov;
	size_t count = t->count;
	for (; count && done >= iov->iov_len; count--)
		done -= iov++->iov_len;
	struct iovec piece = {(char *)iov->iov_base + done, iov->iov_len - done};
	if (done) {
		iov = &piece;
		count = 1;
	}
	if (!t->is_socket)
		return os_call(SYS_writev, t->fd, iov, count);
	struct msghdr msg;
	msg.msg_name = t->receives ? NULL : t->msg ? t->msg->msg_name : (void *)t->addr;
	msg.msg_namelen = t->receives ? 0 : t->msg ? t->msg->msg_namelen : (socklen_t)t->addr_bytes;
	msg.msg_iov = (struct iovec *)iov;
	msg.msg_iovlen = count;
	msg.msg_control = NULL;
	msg.msg_controllen = 0;
	msg.msg_flags = 0;
	return t->receives ? os_call(SYS_recvmsg, t->fd, &msg, t->flags | MSG_DONTWAIT)
	                   : os_call(SYS_sendmsg, t->fd, &msg, t->flags | MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* A step of a socket. Returns bytes, or a negative errno. */
static long move_when_ready(const struct rest *t, uint64_t done, int64_t *waited_ms)
{
	self_calls_begin();
	long more = !confined() && is_ready(t, waited_ms) ? move_some(t, done) : 0;
	self_calls_end();
	return more;
}

static bool may_have_rest(struct rest *t)
{
	self_calls_begin();
	bool has = !confined() && has_rest(t);
	self_calls_end();
	return has;
}

/* If something ends the rest early, that is not reported: like the kernel we return what was moved, and the error comes
 * with the next call. (A pipe's step may wait for the program, as its call did.) */
static uint64_t move_on(struct rest *t, uint64_t done)
{
	int64_t waited_ms = 0;
	uint64_t whole = bytes_in(t->iov, t->count);
	if (done >= whole || !may_have_rest(t))
		return done;
	while (done < whole && !was_handled(t)) {
		long more = t->is_socket ? move_when_ready(t, done, &waited_ms) : confined() ? 0 : move_some(t, done);
		if (more == 0 || (more < 0 && !(more == -EAGAIN && t->is_socket) && more != -EINTR))
			break;
		done += more > 0 ? (uint64_t)more : 0;
	}
	return done;
}

/* Called by the assembly entry. Returns the bytes that were moved in all. */
static __attribute__((used)) uint64_t restart_rest_of(const struct arch_moved *m)
{
	long second = arch_moved_argument(m, 1), third = arch_moved_argument(m, 2);
	struct iovec buffer = {(void *)second, (size_t)third};
	struct rest t;
	t.fd = (int)arch_moved_argument(m, 0);
	t.flags = 0;
	t.receives = m->nr == SYS_recvfrom || m->nr == SYS_recvmsg;
	t.is_socket = false;
	t.iov = &buffer;
	t.count = 1;
	t.msg = NULL;
	t.addr = t.addr_bytes = 0;
	t.handled = self.handled;
	if (m->nr == SYS_writev) {
		t.iov = (const struct iovec *)second;
		t.count = (size_t)third;
	} else if (m->nr == SYS_sendmsg || m->nr == SYS_recvmsg) {
		t.msg = (const struct msghdr *)second;
		t.iov = t.msg->msg_iov;
		t.count = t.msg->msg_iovlen;
		t.flags = (int)third;
	} else if (m->nr != SYS_write) {
		t.flags = (int)arch_moved_argument(m, 3);
		t.addr = arch_moved_argument(m, 4);
		t.addr_bytes = arch_moved_argument(m, 5);
	}
	return move_on(&t, m->done);
}
#endif
