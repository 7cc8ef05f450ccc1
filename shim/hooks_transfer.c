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

/* The rest of a vector after `done` bytes: what is left of a piece that was begun (`first`), then the pieces after it, as
 * they are. */
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

enum vector_call { WRITEV, SENDMSG, RECVMSG };

/* Of a message on a stream: without the control data, which went with the first part. */
static ssize_t move_rest(enum vector_call call, int fd, const struct msghdr *whole, int flags, struct rest *r)
{
	struct msghdr msg = *whole;
	msg.msg_iov = r->first.iov_len ? &r->first : (struct iovec *)r->after;
	msg.msg_iovlen = r->first.iov_len ? 1 : r->after_count;
	msg.msg_control = NULL;
	msg.msg_controllen = 0;
	switch (call) {
	case WRITEV: return real_writev(fd, msg.msg_iov, (int)msg.msg_iovlen);
	case SENDMSG: return real_sendmsg(fd, &msg, flags);
	default: return real_recvmsg(fd, &msg, flags);
	}
}

/* As MOVE_REST. A piece that was begun is finished by a call of its own, after which the others follow. */
static __attribute__((noinline)) ssize_t finish_vector(enum vector_call call, int fd, const struct msghdr *msg, int flags,
                                                       ssize_t done)
{
	size_t whole = bytes_in(msg->msg_iov, msg->msg_iovlen);
	bool goes_on = done > 0 && (size_t)done < whole && waits_was_cut_short();
	int saved = errno;
	while (goes_on) {
		struct rest r = rest_of(msg->msg_iov, msg->msg_iovlen, (size_t)done);
		size_t asked = r.first.iov_len ? r.first.iov_len : bytes_in(r.after, r.after_count);
		ssize_t more;
		MAKE(more, move_rest(call, fd, msg, flags, &r));
		if (more <= 0)
			break;
		done += more;
		goes_on = (size_t)done < whole && ((size_t)more == asked || waits_was_cut_short());
	}
	errno = saved;
	return done;
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
	ssize_t done;
	ENTER(writev);
	MAKE(done, real_writev(fd, iov, count));
	if (__builtin_expect(waits_may_be_cut_short(), 0)) {
		struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = done > 0 ? (size_t)count : 0};
		done = finish_vector(WRITEV, fd, &msg, 0, done);
	}
	waits_leave(&scope);
	return done;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t done;
	ENTER(sendmsg);
	MAKE(done, real_sendmsg(fd, msg, flags));
	if (__builtin_expect(waits_may_be_cut_short(), 0) && done > 0)
		done = finish_vector(SENDMSG, fd, msg, flags, done);
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

EXPORT ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	ssize_t done;
	ENTER(recvmsg);
	MAKE(done, real_recvmsg(fd, msg, flags));
	if (__builtin_expect(waits_may_be_cut_short(), 0) && done > 0 && wanted(1, flags))
		done = finish_vector(RECVMSG, fd, msg, flags, done);
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
