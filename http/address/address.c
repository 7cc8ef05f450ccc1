/* address.c - where to listen: PPROF_ADDR read, printed, bound.
 *
 * Runs in: init (the app's thread, before main), listener. So: no libc but mem*, no errno; system calls through
 * shim/base/os.h; its descriptors are CLOEXEC and have high numbers.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/address/address.h"

#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "http/address/fd.h"
#include "http/address/ip.h"
#include "shim/base/os.h"

enum {
	BACKLOG = 128,
	NEXT_PORTS = 10, /* tried above a port that is taken */
	PATH_MOST = 107, /* sun_path less a NUL */
};

static int refuse(const char **why, const char *reason)
{
	*why = reason;
	return -EINVAL;
}

static bool parse_owner(struct span s, struct address *a)
{
	uint64_t uid, gid;
	struct span user = span_cut(&s, ':');
	if (!text_parse_uint(user, 10, &uid) || !text_parse_uint(s, 10, &gid) || uid >= UINT32_MAX || gid >= UINT32_MAX)
		return false;
	a->has_owner = true;
	a->uid = (uint32_t)uid;
	a->gid = (uint32_t)gid;
	return true;
}

static bool parse_mode(struct span s, struct address *a)
{
	uint32_t mode = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.at[i] < '0' || s.at[i] > '7')
			return false;
		mode = mode * 8 + (uint32_t)(s.at[i] - '0');
	}
	a->has_mode = true;
	a->mode = mode;
	return s.len >= 3 && s.len <= 4 && mode <= 0777;
}

static int parse_file_options(struct span options, struct address *a, const char **why)
{
	while (options.len) {
		struct span value = span_cut(&options, '&');
		struct span name = span_cut(&value, '=');
		if (span_is(name, "mode") ? parse_mode(value, a) : span_is(name, "owner") && parse_owner(value, a))
			continue;
		return refuse(why, "after the path of a unix socket: ?mode=660, ?owner=UID:GID, or both joined by &");
	}
	return 0;
}

static int parse_unix(struct span path, struct address *a, const char **why)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&a->sa;
	struct span options = path;
	path = span_cut(&options, '?');
	if (options.len && path.len && path.at[0] == '@')
		return refuse(why, "an abstract socket has no file, and so no mode and no owner");
	int rc = parse_file_options(options, a, why);
	if (rc < 0)
		return rc;
	if (path.len < 2 || (path.at[0] != '/' && path.at[0] != '@'))
		return refuse(why, "unix: wants an absolute path or @name");
	if (path.len > PATH_MOST)
		return refuse(why, "the path of a unix socket has at most 107 bytes");
	if (memchr(path.at, '\0', path.len))
		return refuse(why, "NUL in the path of a unix socket");
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path.at, path.len);
	a->kind = ADDRESS_UNIX;
	a->sa_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
	if (path.at[0] == '@') { /* abstract: a NUL first, none at the end */
		un->sun_path[0] = '\0';
		a->sa_len--;
	}
	return 0;
}

static void set_v4(struct address *a, const uint8_t ip[4])
{
	struct sockaddr_in *in = (struct sockaddr_in *)&a->sa;
	in->sin_family = AF_INET;
	memcpy(&in->sin_addr, ip, 4);
	a->sa_len = sizeof *in;
}

static void set_v6(struct address *a, const uint8_t ip[16])
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->sa;
	in6->sin6_family = AF_INET6;
	memcpy(&in6->sin6_addr, ip, 16);
	a->sa_len = sizeof *in6;
}

static void set_port(struct address *a, uint16_t port)
{
	const uint8_t wire[2] = {(uint8_t)(port >> 8), (uint8_t)port};
	a->port = port;
	if (a->sa.ss_family == AF_INET6)
		memcpy(&((struct sockaddr_in6 *)&a->sa)->sin6_port, wire, 2);
	else
		memcpy(&((struct sockaddr_in *)&a->sa)->sin_port, wire, 2);
}

static int parse_host(struct span host, bool bracketed, struct address *a, const char **why)
{
	static const uint8_t loopback[4] = {127, 0, 0, 1}, any[16];
	uint8_t ip[16];
	if (bracketed) {
		if (!ip_parse_v6(host, ip))
			return refuse(why, "no IPv6 address between the brackets");
		set_v6(a, ip);
	} else if (host.len == 0) {
		set_v6(a, any); /* both families; address_listen falls back where there is no IPv6 */
	} else if (span_is_nocase(host, "localhost")) {
		set_v4(a, loopback);
	} else if (ip_parse_v4(host, ip)) {
		set_v4(a, ip);
	} else {
		return refuse(why, "the host must be an IP address, localhost or nothing (names are not looked up)");
	}
	return 0;
}

int address_parse(struct span text, struct address *a, const char **why)
{
	*a = (struct address){.kind = ADDRESS_OFF};
	if (span_is(text, "off"))
		return 0;
	if (span_starts(text, "unix:"))
		return parse_unix((struct span){text.at + 5, text.len - 5}, a, why);

	struct span host, rest = text;
	bool bracketed = text.len && text.at[0] == '[';
	if (bracketed) {
		rest.at++, rest.len--;
		host = span_cut(&rest, ']');
		if (rest.len == 0 || rest.at[0] != ':')
			return refuse(why, "missing port (use host:port or :port)");
		rest.at++, rest.len--;
	} else {
		if (text.len == 0 || !memchr(text.at, ':', text.len))
			return refuse(why, "missing port (use host:port or :port)");
		host = span_cut(&rest, ':');
		if (rest.len && memchr(rest.at, ':', rest.len))
			return refuse(why, "too many colons (write an IPv6 address in brackets)");
	}
	uint64_t port;
	if (!text_parse_uint(rest, 10, &port) || port > 65535)
		return refuse(why, "the port must be a number from 0 to 65535");
	int rc = parse_host(host, bracketed, a, why);
	if (rc < 0)
		return rc;
	a->kind = ADDRESS_TCP;
	set_port(a, (uint16_t)port);
	return 0;
}

static bool is_all_zero(const uint8_t *p, size_t n)
{
	while (n && p[n - 1] == 0)
		n--;
	return n == 0;
}

static void print_host(const struct address *a, struct line *l)
{
	uint8_t ip[16];
	bool v6 = a->sa.ss_family == AF_INET6;
	if (v6)
		memcpy(ip, &((const struct sockaddr_in6 *)&a->sa)->sin6_addr, 16);
	else
		memcpy(ip, &((const struct sockaddr_in *)&a->sa)->sin_addr, 4);
	if (is_all_zero(ip, v6 ? 16 : 4)) {
		line_str(l, "localhost");
	} else if (v6) {
		line_str(l, "[");
		ip_print_v6(ip, l);
		line_str(l, "]");
	} else {
		ip_print_v4(ip, l);
	}
}

void address_print(const struct address *a, struct line *l)
{
	if (a->kind == ADDRESS_OFF) {
		line_str(l, "off");
	} else if (a->kind == ADDRESS_UNIX) {
		const char *path = ((const struct sockaddr_un *)&a->sa)->sun_path;
		size_t len = a->sa_len - offsetof(struct sockaddr_un, sun_path) - 1;
		line_str(l, path[0] ? "unix:" : "unix:@");
		line_bytes(l, path[0] ? path : path + 1, len);
	} else {
		line_str(l, a->secure ? "https://" : "http://");
		print_host(a, l);
		line_str(l, ":");
		line_dec(l, a->port);
		line_str(l, "/debug/pprof/");
	}
}

static int open_socket(const struct address *a)
{
	return fd_raise((int)os_call(SYS_socket, a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

/* Bind, and give a socket's file its mode and its owner before anybody can connect. The umask is this process's: in
 * init there is no other thread yet, and the listener has its own. */
static long bind_to(int fd, const struct address *a)
{
	long old = a->has_mode ? os_call(SYS_umask, ~a->mode & 0777) : 0;
	long rc = os_call(SYS_bind, fd, &a->sa, a->sa_len);
	if (a->has_mode)
		os_call(SYS_umask, old);
	const char *path = ((const struct sockaddr_un *)&a->sa)->sun_path;
	if (rc == 0 && a->has_owner)
		rc = os_call(SYS_fchownat, AT_FDCWD, path, a->uid, a->gid, AT_SYMLINK_NOFOLLOW);
	return rc;
}

/* Try a->sa once. Returns the fd, or a negative errno. */
static int listen_once(const struct address *a)
{
	int on = 1, off = 0;
	int fd = open_socket(a);
	if (fd < 0)
		return fd;
	if (a->kind == ADDRESS_TCP)
		os_call(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (a->sa.ss_family == AF_INET6)
		os_call(SYS_setsockopt, fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	long rc = bind_to(fd, a);
	if (rc == 0)
		rc = os_call(SYS_listen, fd, BACKLOG); /* says "taken" too: two may have bound under REUSEADDR */
	if (rc == 0)
		return fd;
	os_close(fd);
	return (int)rc;
}

/* Is this file's owner one that we make files for? */
static bool is_owner(const struct address *a, uid_t uid)
{
	return uid == (uid_t)os_call(SYS_geteuid, 0) || (a->has_owner && uid == a->uid);
}

/* Is there a socket file of ours at the path, without a listener? */
static bool is_stale_socket(const struct address *a)
{
	struct stat st;
	const char *path = ((const struct sockaddr_un *)&a->sa)->sun_path;
	if (!path[0] || os_call(SYS_newfstatat, AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	    !S_ISSOCK(st.st_mode) || !is_owner(a, st.st_uid))
		return false;
	int fd = open_socket(a);
	if (fd < 0)
		return false;
	long rc = os_call(SYS_connect, fd, &a->sa, a->sa_len);
	os_close(fd);
	return rc == -ECONNREFUSED;
}

/* If two processes find the same stale file at once, both may replace it; the later one wins. */
static int listen_unix(const struct address *a)
{
	int fd = listen_once(a);
	if (fd != -EADDRINUSE || !is_stale_socket(a))
		return fd;
	os_call(SYS_unlinkat, AT_FDCWD, ((const struct sockaddr_un *)&a->sa)->sun_path, 0);
	return listen_once(a);
}

bool address_is_loopback(const struct address *a)
{
	static const uint8_t v6[16] = {[15] = 1}, mapped[13] = {[10] = 0xff, [11] = 0xff, [12] = 127};
	if (a->kind != ADDRESS_TCP)
		return false;
	if (a->sa.ss_family == AF_INET)
		return *(const uint8_t *)&((const struct sockaddr_in *)&a->sa)->sin_addr == 127;
	const void *ip = &((const struct sockaddr_in6 *)&a->sa)->sin6_addr;
	return memcmp(ip, v6, sizeof v6) == 0 || memcmp(ip, mapped, sizeof mapped) == 0;
}

static bool is_wildcard_v6(const struct address *a)
{
	return a->sa.ss_family == AF_INET6 &&
	       is_all_zero((const uint8_t *)&((const struct sockaddr_in6 *)&a->sa)->sin6_addr, 16);
}

static void read_port_back(int fd, struct address *a)
{
	struct sockaddr_storage bound = {0};
	socklen_t len = sizeof bound;
	uint8_t wire[2];
	if (os_call(SYS_getsockname, fd, &bound, &len) < 0)
		return;
	if (bound.ss_family == AF_INET6)
		memcpy(wire, &((struct sockaddr_in6 *)&bound)->sin6_port, 2);
	else
		memcpy(wire, &((struct sockaddr_in *)&bound)->sin_port, 2);
	set_port(a, (uint16_t)(wire[0] << 8 | wire[1]));
}

static int listen_tcp(struct address *a)
{
	static const uint8_t any[4];
	struct address attempt = *a;
	int fd = listen_once(&attempt);
	if ((fd == -EAFNOSUPPORT || fd == -EADDRNOTAVAIL) && is_wildcard_v6(&attempt)) {
		set_v4(&attempt, any); /* the kernel has no IPv6 */
		set_port(&attempt, a->port);
		fd = listen_once(&attempt);
	}
	if (fd >= 0) {
		*a = attempt;
		if (a->port == 0)
			read_port_back(fd, a);
	}
	return fd;
}

int address_listen_here(struct address *a)
{
	switch (a->kind) {
	case ADDRESS_TCP: return listen_tcp(a);
	case ADDRESS_UNIX: return listen_unix(a);
	default: return -EINVAL;
	}
}

int address_listen(struct address *a)
{
	int fd = address_listen_here(a);
	unsigned first = a->port;
	for (unsigned port = first + 1; fd == -EADDRINUSE && a->kind == ADDRESS_TCP; port++) {
		if (port > first + NEXT_PORTS || port > 65535)
			break;
		struct address next = *a;
		set_port(&next, (uint16_t)port);
		fd = address_listen_here(&next);
		if (fd >= 0)
			*a = next;
	}
	return fd;
}
