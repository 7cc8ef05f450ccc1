/* hooks_transfer.c - calls that move bytes and may come back with less than was asked for, when a signal arrives in the
 * middle: writes of all kinds, and reads that wait for all (MSG_WAITALL). When that signal was ours alone, the rest
 * follows.
 *
 * Runs in: app's thread, in a signal handler too. As hooks_wait.c.
 *
 * Whatever ends the rest early (an error, the end of the stream) is not told: what was moved is, as the kernel
 * does; the error comes with the next call.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>

#include "shim/exports.h"
#include "shim/real.h"
#include "shim/waits.h"

/* What programs built with _FORTIFY_SOURCE call; libc's headers declare these for them alone. */
EXPORT ssize_t __recv_chk(int fd, void *buf, size_t count, size_t size, int flags);
EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t count, size_t size, int flags, struct sockaddr *addr,
                              socklen_t *len);

#define ENTER(call) \
	struct wait_scope scope; \
	waits_enter(&scope, WAIT_##call, (uintptr_t)fd, UNWIND_CALLER(), 0)

/* Until it is made without our signal in it: r = real call. */
#define MAKE(r, call) \
	do \
		(r) = (call); \
	while (__builtin_expect((r) == -1, 0) && errno == EINTR && waits_was_cut_short())

/* So much went, and more should have: was that our signal? Then `call` is made for the rest. It may refer to `done`. */
#define MOVE_REST(done, whole, call) \
	while (__builtin_expect(waits_may_be_cut_short(), 0) && (done) > 0 && (size_t)(done) < (whole) && \
	       waits_was_cut_short()) { \
		int saved = errno; \
		ssize_t more; \
		MAKE(more, call); \
		if (more <= 0) { \
			errno = saved; \
			break; \
		} \
		(done) += more; \
	}

EXPORT ssize_t write(int fd, const void *buf, size_t count)
{
	ssize_t done;
	ENTER(write);
	MAKE(done, real_write(fd, buf, count));
	MOVE_REST(done, count, real_write(fd, (const char *)buf + done, count - (size_t)done))
	waits_leave(&scope);
	return done;
}

EXPORT ssize_t send(int fd, const void *buf, size_t count, int flags)
{
	ssize_t done;
	ENTER(send);
	MAKE(done, real_send(fd, buf, count, flags));
	MOVE_REST(done, count, real_send(fd, (const char *)buf + done, count - (size_t)done, flags))
	waits_leave(&scope);
	return done;
}

EXPORT ssize_t sendto(int fd, const void *buf, size_t count, int flags, const struct sockaddr *addr, socklen_t len)
{
	ssize_t done;
	ENTER(sendto);
	MAKE(done, real_sendto(fd, buf, count, flags, addr, len));
	MOVE_REST(done, count, real_sendto(fd, (const char *)buf + done, count - (size_t)done, flags, addr, len))
	waits_leave(&scope);
	return done;
}

/* The rest of a vector after `done` bytes: a part of one piece, in a vector of its own; then those after it, as they
 * are. Returns what is left of a piece that was begun (`first`), or the pieces after it. */
struct rest {
	struct iovec first;
	const struct iovec *after;
	size_t after_count;
};

static struct rest rest_of(const struct iovec *iov, size_t count, size_t done)
{
	while (count && done >= iov->iov_len) {
		done -= iov->iov_len;
		iov++;
		count--;
	}
	if (!count || !done)
		return (struct rest){.after = iov, .after_count = count};
	return (struct rest){
	    .first = {(char *)iov->iov_base + done, iov->iov_len - done},
	    .after = iov + 1,
	    .after_count = count - 1,
	};
}

static size_t bytes_in(const struct iovec *iov, size_t count)
{
	size_t n = 0;
	for (size_t i = 0; i < count; i++)
		n += iov[i].iov_len;
	return n;
}

static ssize_t write_rest(int fd, struct rest r)
{
	return r.first.iov_len ? real_write(fd, r.first.iov_base, r.first.iov_len)
	                       : real_writev(fd, r.after, (int)r.after_count);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	ssize_t done;
	ENTER(writev);
	MAKE(done, real_writev(fd, iov, count));
	MOVE_REST(done, bytes_in(iov, (size_t)count), write_rest(fd, rest_of(iov, (size_t)count, (size_t)done)))
	waits_leave(&scope);
	return done;
}

/* The rest of a message on a stream: without the control data, which went with the first part. */
static struct msghdr message_of(struct msghdr msg, struct rest *r)
{
	msg.msg_iov = r->first.iov_len ? &r->first : (struct iovec *)r->after;
	msg.msg_iovlen = r->first.iov_len ? 1 : r->after_count;
	msg.msg_control = NULL;
	msg.msg_controllen = 0;
	return msg;
}

static ssize_t send_rest(int fd, const struct msghdr *msg, size_t done, int flags)
{
	struct rest r = rest_of(msg->msg_iov, msg->msg_iovlen, done);
	struct msghdr m = message_of(*msg, &r);
	return real_sendmsg(fd, &m, flags);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t done;
	ENTER(sendmsg);
	MAKE(done, real_sendmsg(fd, msg, flags));
	MOVE_REST(done, bytes_in(msg->msg_iov, msg->msg_iovlen), send_rest(fd, msg, (size_t)done, flags))
	waits_leave(&scope);
	return done;
}

EXPORT int sendmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags)
{
	ssize_t done;
	ENTER(sendmmsg);
	MAKE(done, real_sendmmsg(fd, msgs, count, flags));
	MOVE_REST(done, count, real_sendmmsg(fd, msgs + done, count - (unsigned)done, flags))
	waits_leave(&scope);
	return (int)done;
}

/* Only a read that waits for all has a rest. */
static size_t wanted(size_t count, int flags)
{
	return (flags & (MSG_WAITALL | MSG_PEEK | MSG_DONTWAIT)) == MSG_WAITALL ? count : 0;
}

EXPORT ssize_t recv(int fd, void *buf, size_t count, int flags)
{
	ssize_t done;
	ENTER(recv);
	MAKE(done, real_recv(fd, buf, count, flags));
	MOVE_REST(done, wanted(count, flags), real_recv(fd, (char *)buf + done, count - (size_t)done, flags))
	waits_leave(&scope);
	return done;
}

EXPORT ssize_t __recv_chk(int fd, void *buf, size_t count, size_t size, int flags)
{
	ssize_t done;
	ENTER(__recv_chk);
	MAKE(done, real___recv_chk(fd, buf, count, size, flags));
	MOVE_REST(done, wanted(count, flags), real_recv(fd, (char *)buf + done, count - (size_t)done, flags))
	waits_leave(&scope);
	return done;
}

/* On a stream, the only kind that has a rest, there is no address to come with it. */
EXPORT ssize_t recvfrom(int fd, void *buf, size_t count, int flags, struct sockaddr *addr, socklen_t *len)
{
	ssize_t done;
	ENTER(recvfrom);
	MAKE(done, real_recvfrom(fd, buf, count, flags, addr, len));
	MOVE_REST(done, wanted(count, flags), real_recv(fd, (char *)buf + done, count - (size_t)done, flags))
	waits_leave(&scope);
	return done;
}

EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t count, size_t size, int flags, struct sockaddr *addr,
                              socklen_t *len)
{
	ssize_t done;
	ENTER(__recvfrom_chk);
	MAKE(done, real___recvfrom_chk(fd, buf, count, size, flags, addr, len));
	MOVE_REST(done, wanted(count, flags), real_recv(fd, (char *)buf + done, count - (size_t)done, flags))
	waits_leave(&scope);
	return done;
}

static ssize_t receive_rest(int fd, const struct msghdr *msg, size_t done, int flags)
{
	struct rest r = rest_of(msg->msg_iov, msg->msg_iovlen, done);
	struct msghdr m = message_of(*msg, &r);
	return real_recvmsg(fd, &m, flags);
}

EXPORT ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t done;
	ENTER(recvmsg);
	MAKE(done, real_recvmsg(fd, msg, flags));
	MOVE_REST(done, wanted(bytes_in(msg->msg_iov, msg->msg_iovlen), flags), receive_rest(fd, msg, (size_t)done, flags))
	waits_leave(&scope);
	return done;
}

/* Messages, not bytes. With a time-out of its own the rest may be late, never early. */
EXPORT int recvmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags, struct timespec *time)
{
	ssize_t done;
	ENTER(recvmmsg);
	MAKE(done, real_recvmmsg(fd, msgs, count, flags, time));
	MOVE_REST(done, flags & (MSG_WAITFORONE | MSG_DONTWAIT) ? 0 : count,
	          real_recvmmsg(fd, msgs + done, count - (unsigned)done, flags, time))
	waits_leave(&scope);
	return (int)done;
}
