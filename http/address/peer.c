/* peer.c - who is at the other end of a connection.
 *
 * Runs in: listener. System calls alone, memory of the caller.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/address/peer.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "http/address/ip.h"
#include "shim/base/os.h"

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}; /* ::ffff:0:0/96 (RFC 4291, 2.5.5.2) */

static bool is_v4(const uint8_t ip[16])
{
	return memcmp(ip, mapped, sizeof mapped) == 0;
}

static uint16_t read_port(const void *wire)
{
	const uint8_t *p = wire;
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void take_v4(struct peer *p, const struct sockaddr_in *in)
{
	p->kind = PEER_TCP;
	memcpy(p->ip, mapped, sizeof mapped);
	memcpy(p->ip + sizeof mapped, &in->sin_addr, 4);
	p->port = read_port(&in->sin_port);
}

static void take_v6(struct peer *p, const struct sockaddr_in6 *in6)
{
	p->kind = PEER_TCP;
	memcpy(p->ip, &in6->sin6_addr, sizeof p->ip);
	p->port = read_port(&in6->sin6_port);
}

static void take_unix(struct peer *p, int fd)
{
	struct {
		int32_t pid;
		uint32_t uid, gid;
	} cred; /* struct ucred, which <sys/socket.h> keeps for _GNU_SOURCE */
	socklen_t len = sizeof cred;
	if (os_call(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return;
	p->kind = PEER_UNIX;
	p->uid = cred.uid;
	p->pid = cred.pid;
}

struct peer peer_of(int fd)
{
	struct peer p = {.kind = PEER_UNKNOWN};
	struct sockaddr_storage sa = {0};
	socklen_t len = sizeof sa;
	if (os_call(SYS_getpeername, fd, &sa, &len) < 0)
		return p;
	switch (sa.ss_family) {
	case AF_INET: take_v4(&p, (const struct sockaddr_in *)&sa); break;
	case AF_INET6: take_v6(&p, (const struct sockaddr_in6 *)&sa); break;
	case AF_UNIX: take_unix(&p, fd); break;
	}
	return p;
}

bool peer_is_like(const struct peer *a, const struct peer *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == PEER_TCP)
		return memcmp(a->ip, b->ip, is_v4(a->ip) ? 16 : 8) == 0;
	return a->uid == b->uid;
}

static void print_ip(const uint8_t ip[16], struct line *l)
{
	if (is_v4(ip)) {
		ip_print_v4(ip + sizeof mapped, l);
		return;
	}
	line_str(l, "[");
	ip_print_v6(ip, l);
	line_str(l, "]");
}

void peer_print(const struct peer *p, struct line *l)
{
	switch (p->kind) {
	case PEER_TCP:
		print_ip(p->ip, l);
		line_str(l, ":");
		line_dec(l, p->port);
		break;
	case PEER_UNIX:
		line_str(l, "uid=");
		line_dec(l, p->uid);
		line_str(l, ",pid=");
		line_dec(l, p->pid);
		break;
	case PEER_UNKNOWN: line_str(l, "-"); break;
	}
}
