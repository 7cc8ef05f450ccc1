/* target.c - where a profile comes from: files, URLs, addresses, Unix sockets.
 *
 * Runs in: pprofshim. It is static, so no names are looked up: libc would load libraries for that.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/command/target.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "encoder/command/command.h"

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static void __attribute__((noreturn)) refuse(const struct target *t, const char *why)
{
	die(STATUS_USAGE, "%s: %s", t->text, why);
}

/* --- who is asked ---------------------------------------------------------------------------------- */

static uint16_t read_port(const struct target *t, const char *text)
{
	char *end;
	unsigned long port = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || port == 0 || port > 65535)
		refuse(t, "a port is a number up to 65535");
	return (uint16_t)port;
}

static bool set_ip(struct target *t, const char *host, uint16_t port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&t->address;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&t->address;
	if (strcasecmp(host, "localhost") == 0 || !*host)
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		t->address_bytes = sizeof *v4;
		return true;
	}
	if (inet_pton(AF_INET6, host, &v6->sin6_addr) != 1)
		return false;
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	t->address_bytes = sizeof *v6;
	return true;
}

/* host:port, host, [v6]:port or [v6] */
static void set_host(struct target *t, const char *text)
{
	char host[sizeof t->host];
	if (strlen(text) >= sizeof host)
		refuse(t, "that is too long for a host");
	strcpy(t->host, text);
	strcpy(host, text + (*text == '['));
	char *end = *text == '[' ? strchr(host, ']') : strchr(host, ':');
	uint16_t port = 80;
	if (end) {
		char *colon = *end == ']' ? end + 1 : end;
		port = *colon == ':' ? read_port(t, colon + 1) : port;
		*end = '\0';
	}
	if (!set_ip(t, host, port))
		refuse(t, "this program is static and looks up no names; an IP address or localhost is wanted");
}

static void set_unix(struct target *t, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&t->address;
	if (!*path || strlen(path) >= sizeof un->sun_path)
		refuse(t, "a socket's path has 1 to 107 bytes");
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	t->address_bytes = sizeof *un;
	strcpy(t->host, "localhost");
}

/* --- what is shown to it --------------------------------------------------------------------------- */

/* Basic of RFC 7617: user:password in base64. */
static void set_password(struct target *t, const char *text, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	if (len > 800)
		refuse(t, "that is too long for a user and a password");
	char *to = stpcpy(t->authorization, "Basic ");
	for (size_t i = 0; i < len; i += 3) {
		uint32_t bits = 0;
		for (size_t k = 0; k < 3; k++)
			bits = bits << 8 | (i + k < len ? (unsigned char)text[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			*to++ = i + k <= len ? digits[bits >> (18 - 6 * k) & 63] : '=';
	}
	*to = '\0';
}

static void set_token(struct target *t, const char *token)
{
	for (const char *c = token; *c; c++)
		if (*c <= ' ' || *c == 0x7f)
			die(STATUS_USAGE, "the token has a space or a control character in it");
	int n = snprintf(t->authorization, sizeof t->authorization, "Bearer %s", token);
	if (n < 0 || (size_t)n >= sizeof t->authorization)
		die(STATUS_USAGE, "the token is too long");
}

/* --- what is meant --------------------------------------------------------------------------------- */

static void set_url(struct target *t, const char *rest)
{
	char server[2048];
	size_t len = strcspn(rest, "/?#");
	if (len >= sizeof server || strlen(rest + len) >= sizeof t->path)
		refuse(t, "that is too long for a URL");
	memcpy(server, rest, len);
	server[len] = '\0';
	char *at = strrchr(server, '@');
	if (at)
		set_password(t, server, (size_t)(at - server));
	set_host(t, at ? at + 1 : server);
	for (const char *c = rest + len; *c; c++)
		if (*c <= ' ' || *c == 0x7f || *c == '#')
			refuse(t, "a URL has no spaces, control characters or #");
	strcpy(t->path, rest + len);
}

/* A path that is only a prefix, or none, gets what the command is about. */
static void complete_path(struct target *t, const char *profile, unsigned seconds)
{
	char prefix[sizeof t->path];
	size_t len = strlen(t->path);
	while (len && t->path[len - 1] == '/')
		len--;
	bool is_whole = strstr(t->path, "/debug/pprof/") && !(len >= 12 && starts(t->path + len - 12, "/debug/pprof"));
	const char *asked = strstr(t->path, "seconds=");
	t->wait_s = asked ? (unsigned)strtoul(asked + 8, NULL, 10) : seconds;
	if (is_whole)
		return;
	memcpy(prefix, t->path, len);
	prefix[len] = '\0';
	bool has_root = len >= 12 && starts(prefix + len - 12, "/debug/pprof");
	int n = snprintf(t->path, sizeof t->path, "%s%s/%s", prefix, has_root ? "" : "/debug/pprof", profile);
	if (seconds && n > 0 && (size_t)n < sizeof t->path)
		n += snprintf(t->path + n, sizeof t->path - (size_t)n, "?seconds=%u", seconds);
	if (n < 0 || (size_t)n >= sizeof t->path)
		refuse(t, "that is too long for a URL");
}

static bool is_host_and_port(const char *text)
{
	const char *colon = strrchr(text, ':');
	return colon && colon[1] && strspn(colon + 1, "0123456789") == strlen(colon + 1) && !strchr(text, '/');
}

void target_find(struct target *t, const char *text, const char *profile, unsigned seconds, const char *token)
{
	*t = (struct target){.text = text};
	t->is_file = strcmp(text, "-") == 0 || access(text, F_OK) == 0;
	if (t->is_file)
		return;
	if (starts(text, "https://"))
		refuse(t, "TLS is not spoken here; save the profile with curl, and give its file");
	if (starts(text, "http://"))
		set_url(t, text + 7);
	else if (starts(text, "unix:"))
		set_unix(t, text + 5);
	else if (is_host_and_port(text))
		set_host(t, text);
	else
		t->is_file = true; /* whoever opens it says that it is not there */
	if (!*t->authorization && token)
		set_token(t, token);
	if (!t->is_file)
		complete_path(t, profile, seconds);
}
