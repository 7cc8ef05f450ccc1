/* hooks_transfer.c - calls that move bytes and may come back with less than was asked for, when a signal arrives in the
 * middle: writes of all kinds, and reads that wait for all (MSG_WAITALL). When that signal was ours alone, the rest
 * follows.
 *
 * Runs in: app's thread, in a signal handler too. As hooks_wait.c.
 *
 * What ends the rest early is not told: what was moved is, as the kernel does; the error comes with the next call. A
 * socket's error is told once, so the rest of a socket is moved without blocking, after poll, which takes no error away.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>

#include "shim/exports.h"
#include "shim/hooks_wait.h"
#include "shim/real.h"

/* What programs built with _FORTIFY_SOURCE call; libc's headers declare these for them alone. */
EXPORT ssize_t __recv_chk(int fd, void *buf, size_t count, size_t size, int flags);
EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t count, size_t size, int flags, struct sockaddr *addr,
                              socklen_t *len);

#define ENTER(call) HOOK_ENTER(call, fd, 0)
#define LEAVE(call) HOOK_LEAVE(call, fd)

/* Until it is made without our signal in it: r = real call. */
#define MAKE(r, call) \
	do \
		(r) = (call); \
	while (__builtin_expect((r) == -1, 0) && errno == EINTR && waits_was_cut_short())

enum direction { WRITES, SENDS, RECEIVES };

/* A transfer that may have a rest. */
struct transfer {
	enum direction direction;
	int fd, flags;
	const struct msghdr *msg; /* of a message: its address; else NULL */
	const struct iovec *iov;
	size_t count;
};

static size_t bytes_in(const struct iovec *iov, size_t count)
{
	size_t n = 0;
	for (size_t i = 0; i < count; i++)
		n += iov[i].iov_len;
	return n;
}

/* Move what is left after `done` bytes: of a piece that was begun, or the pieces after it. *asked: how much that is. */
static ssize_t move_rest(const struct transfer *t, size_t done, size_t *asked)
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
	*asked = bytes_in(iov, count);
	if (t->direction == WRITES)
		return real_writev(t->fd, iov, (int)count);
	struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = count};
	if (t->direction == SENDS && t->msg) {
		msg.msg_name = t->msg->msg_name;
		msg.msg_namelen = t->msg->msg_namelen;
	}
	return t->direction == SENDS ? real_sendmsg(t->fd, &msg, t->flags | MSG_DONTWAIT | MSG_NOSIGNAL)
	                             : real_recvmsg(t->fd, &msg, t->flags | MSG_DONTWAIT);
}

static int option_of(int fd, int option)
{
	int value = -1;
	socklen_t bytes = sizeof value;
	return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0 ? value : -1;
}

/* A transfer that may not wait comes back with what it could move at once. */
static bool may_wait(const struct transfer *t)
{
	return !(t->flags & MSG_DONTWAIT) && !(os_call(SYS_fcntl, t->fd, F_GETFL) & O_NONBLOCK);
}

/* Wait a little until the socket can move more. 1: try; 0: it has an error (which is left there), or a signal of the program's
 * came. Not every end wakes poll (a Unix socket's peer that shut down), so a try is made now and then. */
static bool socket_is_ready(const struct transfer *t, int *waited_ms)
{
	enum { STEP_MS = 50 };
	struct timeval limit = {0};
	socklen_t bytes = sizeof limit;
	struct pollfd p = {.fd = t->fd, .events = t->direction == RECEIVES ? POLLIN : POLLOUT};
	int r;
	MAKE(r, real_poll(&p, 1, STEP_MS));
	if (r < 0 || p.revents & (POLLERR | POLLNVAL) || (t->direction != RECEIVES && p.revents & POLLHUP))
		return false;
	*waited_ms = r ? 0 : *waited_ms + STEP_MS;
	getsockopt(t->fd, SOL_SOCKET, t->direction == RECEIVES ? SO_RCVTIMEO : SO_SNDTIMEO, &limit, &bytes);
	int64_t limit_ms = (int64_t)limit.tv_sec * 1000 + limit.tv_usec / 1000;
	return limit_ms == 0 || *waited_ms <= limit_ms;
}

/* So much went, and more should have: was that our signal? Then the rest follows. Only streams have a rest: the others
 * move a message a call. */
static __attribute__((noinline)) ssize_t finish(const struct transfer *t, ssize_t done)
{
	size_t whole = done > 0 ? bytes_in(t->iov, t->count) : 0, asked;
	if (done <= 0 || (size_t)done >= whole || !waits_was_cut_short() || !may_wait(t))
		return done;
	int saved = errno, type = option_of(t->fd, SO_TYPE), waited_ms = 0;
	struct transfer rest = *t;
	if (type >= 0 && rest.direction == WRITES)
		rest.direction = SENDS;
	bool goes_on = type < 0 || type == SOCK_STREAM;
	while (goes_on && (size_t)done < whole) {
		ssize_t more;
		if (type >= 0 && (!may_wait(&rest) || !socket_is_ready(&rest, &waited_ms)))
			break;
		MAKE(more, move_rest(&rest, (size_t)done, &asked));
		if (more == 0 || (more < 0 && errno != EAGAIN))
			break;
		done += more > 0 ? more : 0;
		goes_on = type >= 0 || (size_t)more == asked || waits_was_cut_short();
	}
	errno = saved;
	return done;
}

/* `done` as it is, but for one load. */
#define FINISH(done, direction, flags, msg, ...) /* iov, count */ \
	if (__builtin_expect(waits_may_be_cut_short(), 0)) \
		done = finish(&(struct transfer){direction, fd, flags, msg, __VA_ARGS__}, done)

#define BUFFER (&(struct iovec){(void *)(uintptr_t)buf, count}), 1

HOOK_WATCHES(ssize_t, write, (int fd, const void *buf, size_t count), (fd, buf, count))
{
	ssize_t done;
	ENTER(write);
	MAKE(done, real_write(fd, buf, count));
	FINISH(done, WRITES, 0, NULL, BUFFER);
	LEAVE(write);
	return done;
}

HOOK_WATCHES(ssize_t, writev, (int fd, const struct iovec *iov, int count), (fd, iov, count))
{
	ssize_t done;
	ENTER(writev);
	MAKE(done, real_writev(fd, iov, count));
	FINISH(done, WRITES, 0, NULL, iov, (size_t)count);
	LEAVE(writev);
	return done;
}

HOOK_WATCHES(ssize_t, send, (int fd, const void *buf, size_t count, int flags), (fd, buf, count, flags))
{
	ssize_t done;
	ENTER(send);
	MAKE(done, real_send(fd, buf, count, flags));
	FINISH(done, SENDS, flags, NULL, BUFFER);
	LEAVE(send);
	return done;
}

HOOK_WATCHES(ssize_t, sendto, (int fd, const void *buf, size_t count, int flags, const struct sockaddr *addr, socklen_t len),
        (fd, buf, count, flags, addr, len))
{
	ssize_t done;
	ENTER(sendto);
	MAKE(done, real_sendto(fd, buf, count, flags, addr, len));
	FINISH(done, SENDS, flags, (&(struct msghdr){.msg_name = (void *)(uintptr_t)addr, .msg_namelen = len}), BUFFER);
	LEAVE(sendto);
	return done;
}

HOOK_WATCHES(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags))
{
	ssize_t done;
	ENTER(sendmsg);
	MAKE(done, real_sendmsg(fd, msg, flags));
	if (__builtin_expect(done > 0, 1))
		FINISH(done, SENDS, flags, msg, msg->msg_iov, msg->msg_iovlen);
	LEAVE(sendmsg);
	return done;
}

/* Messages, not bytes: which of them went is for the program to see. */
HOOK_WATCHES(int, sendmmsg, (int fd, struct mmsghdr *msgs, unsigned count, int flags), (fd, msgs, count, flags))
{
	ssize_t done;
	ENTER(sendmmsg);
	MAKE(done, real_sendmmsg(fd, msgs, count, flags));
	LEAVE(sendmmsg);
	return (int)done;
}

/* Only a read that waits for all has a rest. */
static bool wants_all(int flags)
{
	return (flags & (MSG_WAITALL | MSG_PEEK | MSG_DONTWAIT)) == MSG_WAITALL;
}

HOOK_WATCHES(ssize_t, recv, (int fd, void *buf, size_t count, int flags), (fd, buf, count, flags))
{
	ssize_t done;
	ENTER(recv);
	MAKE(done, real_recv(fd, buf, count, flags));
	if (__builtin_expect(wants_all(flags), 0))
		FINISH(done, RECEIVES, flags, NULL, BUFFER);
	LEAVE(recv);
	return done;
}

HOOK_WATCHES(ssize_t, __recv_chk, (int fd, void *buf, size_t count, size_t size, int flags),
        (fd, buf, count, size, flags))
{
	ssize_t done;
	ENTER(__recv_chk);
	MAKE(done, real___recv_chk(fd, buf, count, size, flags));
	if (__builtin_expect(wants_all(flags), 0))
		FINISH(done, RECEIVES, flags, NULL, BUFFER);
	LEAVE(__recv_chk);
	return done;
}

HOOK_WATCHES(ssize_t, recvfrom, (int fd, void *buf, size_t count, int flags, struct sockaddr *addr, socklen_t *len),
        (fd, buf, count, flags, addr, len))
{
	ssize_t done;
	ENTER(recvfrom);
	MAKE(done, real_recvfrom(fd, buf, count, flags, addr, len));
	if (__builtin_expect(wants_all(flags), 0))
		FINISH(done, RECEIVES, flags, NULL, BUFFER);
	LEAVE(recvfrom);
	return done;
}

/* One word more than there are registers: in C, it would be moved on the way. A size that is too small is the real one's to tell. */
static __attribute__((used, noinline)) ssize_t recvfrom_chk_watched(int fd, void *buf, size_t count, size_t size, int flags,
                                                                    struct sockaddr *addr, socklen_t *len)
{
	if (count > size)
		return real___recvfrom_chk(fd, buf, count, size, flags, addr, len);
	return recvfrom_watched(fd, buf, count, flags, addr, len);
}

#if defined(__x86_64__)
__asm__(".text\n"
        ".p2align 4\n"
        ".globl __recvfrom_chk\n"
        ".type __recvfrom_chk, @function\n"
        "__recvfrom_chk:\n"
        "\t.cfi_startproc\n"
        "\ttestb $12, waits_watchers(%rip)\n"
        "\tjne recvfrom_chk_watched\n"
        "\tjmp *real___recvfrom_chk(%rip)\n"
        "\t.cfi_endproc\n"
        ".size __recvfrom_chk, . - __recvfrom_chk\n");
static_assert(HOOK_WATCHED == 12, "as the hook has it");
#else
EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t count, size_t size, int flags, struct sockaddr *addr,
                              socklen_t *len)
{
	return waits_test(HOOK_WATCHED) ? recvfrom_chk_watched(fd, buf, count, size, flags, addr, len)
	                                : real___recvfrom_chk(fd, buf, count, size, flags, addr, len);
}
#endif

HOOK_WATCHES(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))
{
	ssize_t done;
	ENTER(recvmsg);
	MAKE(done, real_recvmsg(fd, msg, flags));
	if (__builtin_expect(wants_all(flags), 0) && done > 0 && !msg->msg_control)
		FINISH(done, RECEIVES, flags, NULL, msg->msg_iov, msg->msg_iovlen);
	LEAVE(recvmsg);
	return done;
}

HOOK_WATCHES(int, recvmmsg, (int fd, struct mmsghdr *msgs, unsigned count, int flags, struct timespec *time),
        (fd, msgs, count, flags, time))
{
	ssize_t done;
	ENTER(recvmmsg);
	MAKE(done, real_recvmmsg(fd, msgs, count, flags, time));
	LEAVE(recvmmsg);
	return (int)done;
}
