/* unix_peers.c - which unix socket is connected to which.
 *
 * Runs in: listener. Two system calls for each question; the kernel answers within the first.
 *
 * Formats: netlink(7), sock_diag(7): struct unix_diag_req, struct unix_diag_msg, attributes UNIX_DIAG_NAME and
 * UNIX_DIAG_PEER.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/threads/unix_peers.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/prctl.h>

#include "shim/base/os.h"

struct question {
	struct nlmsghdr head;
	struct unix_diag_req body;
};

int unix_peers_open(void)
{
	if (os_call(SYS_prctl, PR_GET_SECCOMP) != 0)
		return -EPERM;
	return (int)os_call(SYS_socket, AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
}

static bool ask(int fd, uint32_t inode)
{
	const struct question q = {
		{.nlmsg_len = sizeof q, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
		{.sdiag_family = AF_UNIX,
	         .udiag_states = UINT32_MAX,
	         .udiag_ino = inode,
	         .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER,
	         .udiag_cookie = {UINT32_MAX, UINT32_MAX}}, /* any */
	};
	return os_call(SYS_sendto, fd, &q, sizeof q, MSG_DONTWAIT, NULL, 0) == sizeof q;
}

static void copy_name(struct unix_socket *s, const char *name, size_t len)
{
	size_t n = len < sizeof s->path - 1 ? len : sizeof s->path - 1;
	memcpy(s->path, name, n);
	s->path[n] = '\0';
	if (n && !s->path[0]) /* an abstract one begins with NUL; what is behind a further NUL is not told */
		s->path[0] = '@';
}

static void take(const struct rtattr *a, struct unix_socket *s)
{
	if (a->rta_type == UNIX_DIAG_NAME)
		copy_name(s, RTA_DATA(a), RTA_PAYLOAD(a));
	else if (a->rta_type == UNIX_DIAG_PEER && RTA_PAYLOAD(a) >= sizeof s->peer)
		memcpy(&s->peer, RTA_DATA(a), sizeof s->peer);
}

bool unix_peers_ask(int fd, uint32_t inode, struct unix_socket *s)
{
	_Alignas(struct nlmsghdr) char answer[1024];
	const struct nlmsghdr *head = (const void *)answer;
	memset(s, 0, sizeof *s);
	if (!ask(fd, inode))
		return false;
	long n = os_call(SYS_recvfrom, fd, answer, sizeof answer, MSG_DONTWAIT, NULL, NULL);
	if (n < (long)NLMSG_LENGTH(sizeof(struct unix_diag_msg)) || head->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return false;
	const struct unix_diag_msg *m = NLMSG_DATA(head);
	long rest = n - (long)NLMSG_LENGTH(sizeof *m);
	for (const struct rtattr *a = (const void *)(m + 1); RTA_OK(a, rest); a = RTA_NEXT(a, rest))
		take(a, s);
	return m->udiag_ino == inode;
}
