/* wire.c - the sockets of a door.
 *
 * Runs in: listener. System calls alone; none waits. No errno.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/door/wire.h"

#include <sys/uio.h>

#include "http/address/fd.h"
#include "shim/base/os.h"

enum { BACKLOG = 1024 }; /* that many may join at once; the kernel's somaxconn may say less */

/* Is every address of that port the same door's? */
static bool is_common(struct span url)
{
	const struct span scheme = SPAN("://");
	const char *at = span_find(url, scheme);
	struct span host = at ? (struct span){at + scheme.len, url.len - (size_t)(at - url.at) - scheme.len} : url;
	return span_starts(host, "127.0.0.1:") || span_starts(host, "localhost:") || span_starts(host, "[::1]:");
}

struct wire_name wire_name_of(const struct address *a, const char *lock)
{
	struct wire_name n = {.sa = {.sun_family = AF_UNIX}};
	struct line l = {n.sa.sun_path + 1, sizeof n.sa.sun_path - 1, 0};
	char text[96];
	struct line url = LINE(text);
	address_print(a, &url);
	line_str(&l, "pprofshim/");
	line_dec(&l, a->port);
	line_str(&l, "/door");
	line_str(&l, lock);
	if (!is_common((struct span){url.at, url.len}))
		line_bytes(&l, url.at, url.len);
	n.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + l.len);
	return n;
}

static int open_socket(void)
{
	return fd_raise((int)os_call(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

static int close_failed(int fd, long rc)
{
	if (rc >= 0)
		return fd;
	os_close(fd);
	return (int)rc;
}

int wire_listen(int fd)
{
	return (int)os_call(SYS_listen, fd, BACKLOG);
}

int wire_bind(const struct wire_name *name)
{
	int fd = open_socket();
	if (fd < 0)
		return fd;
	long rc = os_call(SYS_bind, fd, &name->sa, name->len);
	if (rc >= 0)
		rc = wire_listen(fd);
	return close_failed(fd, rc);
}

int wire_connect(const struct wire_name *name)
{
	int fd = open_socket();
	return fd < 0 ? fd : close_failed(fd, os_call(SYS_connect, fd, &name->sa, name->len));
}

bool wire_peer_of(int fd, struct wire_peer *p)
{
	socklen_t len = sizeof *p; /* struct ucred, which <sys/socket.h> keeps for _GNU_SOURCE */
	return os_call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, p, &len) >= 0;
}

/* Room for one descriptor. */
union control {
	struct cmsghdr head;
	char room[CMSG_SPACE(sizeof(int))];
};

int wire_send(int fd, const union protocol_message *m, size_t size, int passed_fd)
{
	union control control = {
		.head = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec part = {(void *)m, size};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (passed_fd >= 0) {
		memcpy(CMSG_DATA(&control.head), &passed_fd, sizeof passed_fd);
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
	}
	long n = os_call(SYS_sendmsg, fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	return n < 0 ? (int)n : 0;
}

static int passed_in(struct msghdr *message)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(message);
	int fd = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len >= CMSG_LEN(sizeof fd))
		memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

long wire_receive(int fd, union protocol_message *m, int *passed_fd)
{
	union control control = {0};
	struct iovec part = {m, sizeof *m};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (passed_fd) {
		message.msg_control = &control;
		message.msg_controllen = sizeof control;
		*passed_fd = -1;
	}
	long n = os_call(SYS_recvmsg, fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n >= 0 && passed_fd)
		*passed_fd = passed_in(&message);
	return n > 0 && message.msg_flags & MSG_TRUNC ? (long)sizeof *m + 1 : n;
}
