/* host.c - is a Host header one that an honest client of a loopback address sends?
 *
 * Runs in: listener. Memory of the caller alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/address/host.h"

#include "http/address/ip.h"

/* Is the rest after the name empty, or a colon and perhaps digits (RFC 3986 lets the port be empty)? */
static bool is_port(struct span s)
{
	uint64_t port;
	if (s.len == 0)
		return true;
	if (s.at[0] != ':')
		return false;
	s.at++, s.len--;
	return s.len == 0 || (text_parse_uint(s, 10, &port) && port <= 65535);
}

static bool is_bracketed_v6(struct span host)
{
	uint8_t address[16];
	host.at++, host.len--;
	if (!host.len || !memchr(host.at, ']', host.len))
		return false;
	struct span literal = span_cut(&host, ']');
	return ip_parse_v6(literal, address) && is_port(host);
}

static bool is_below_localhost(struct span name)
{
	static const char suffix[] = ".localhost";
	const size_t n = sizeof suffix - 1;
	return name.len > n && span_is_nocase((struct span){name.at + name.len - n, n}, suffix);
}

bool host_is_local(struct span host)
{
	uint8_t address[4];
	if (host.len && host.at[0] == '[')
		return is_bracketed_v6(host);
	const char *colon = host.len ? memchr(host.at, ':', host.len) : NULL;
	struct span name = {host.at, colon ? (size_t)(colon - host.at) : host.len};
	struct span port = {host.at + name.len, host.len - name.len};
	if (!is_port(port))
		return false;
	return ip_parse_v4(name, address) || span_is_nocase(name, "localhost") || is_below_localhost(name);
}
