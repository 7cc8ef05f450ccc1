/* token.c - the token of PPROF_TOKEN_FILE: read, read again when it has changed, compared.
 *
 * Runs in: listener. System calls alone; waits for the file system only.
 *
 * Each request looks whether the file is still the one that was read (kept_file.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/guard/token.h"

#include <stdint.h>
#include <sys/stat.h>

#include "shim/base/kept_file.h"
#include "shim/base/log.h"
#include "shim/base/os.h"

enum { TOKEN_MOST = 1024 };

static struct {
	const char *path;
	char text[TOKEN_MOST];
	size_t len;          /* 0: shut */
	struct stat seen;    /* of the file that was read last */
	const char *trouble; /* what is wrong with it; NULL: nothing, or not read yet */
} token;

void token_start(const char *path)
{
	token.path = path && path[0] ? path : NULL;
	token.len = 0;
	token.seen = (struct stat){0};
	token.trouble = NULL;
}

static void shut(const char *trouble)
{
	char text[512];
	struct line l = LINE(text);
	token.len = 0;
	if (token.trouble == trouble)
		return;
	token.trouble = trouble;
	line_str(&l, "PPROF_TOKEN_FILE=");
	line_str(&l, token.path);
	line_str(&l, " ");
	line_str(&l, trouble);
	log_warn(l.at);
}

static bool is_end(char c)
{
	return c == '\n' || c == '\r' || c == ' ' || c == '\t';
}

/* Take the bytes of a file, without white space at its end. */
static void take(const char *bytes, size_t n)
{
	while (n && is_end(bytes[n - 1]))
		n--;
	if (n == 0) {
		shut("is empty; the endpoint stays shut until the file holds a token");
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (bytes[i] <= ' ' || bytes[i] > '~') {
			shut("holds more than one word of printable ASCII; the endpoint stays shut");
			return;
		}
	memcpy(token.text, bytes, n);
	token.len = n;
	token.trouble = NULL;
}

static void read_token(int fd, const struct stat *s)
{
	char bytes[TOKEN_MOST + 1];
	if (!S_ISREG(s->st_mode)) {
		shut("is no regular file; the endpoint stays shut");
		return;
	}
	if (s->st_mode & (S_IROTH | S_IWOTH)) {
		shut("can be read or written by all users; the endpoint stays shut until chmod o-rw (in a Kubernetes "
		     "Secret: defaultMode: 0440)");
		return;
	}
	long n = os_read(fd, bytes, sizeof bytes);
	if (n < 0)
		shut("can't be read; the endpoint stays shut");
	else if ((size_t)n > TOKEN_MOST)
		shut("holds more than 1024 bytes; the endpoint stays shut");
	else
		take(bytes, (size_t)n);
}

enum token_state token_look(void)
{
	struct stat now;
	if (!token.path)
		return TOKEN_NONE;
	int fd = kept_file_open(token.path, &now);
	if (fd < 0) {
		if (!kept_file_is_denied(fd) || !token.len)
			shut("can't be opened; the endpoint stays shut");
		return token.len ? TOKEN_SET : TOKEN_SHUT;
	}
	if (!kept_file_is_same(&now, &token.seen) || !token.len) {
		read_token(fd, &now);
		token.seen = now;
	}
	os_close(fd);
	return token.len ? TOKEN_SET : TOKEN_SHUT;
}

bool token_is(struct span given)
{
	size_t differ = given.len ^ token.len;
	for (size_t i = 0; i < TOKEN_MOST; i++) {
		unsigned char ours = i < token.len ? (unsigned char)token.text[i] : 0;
		unsigned char theirs = i < given.len ? (unsigned char)given.at[i] : 0;
		differ |= (size_t)(ours ^ theirs);
	}
	return differ == 0 && token.len;
}

static int digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decode base64 (RFC 4648, 4), with its padding or without. Returns the bytes; -1: it is none, or too long. */
static long decode(struct span s, char *to, size_t room)
{
	uint32_t bits = 0;
	unsigned have = 0;
	size_t n = 0;
	for (unsigned pads = 0; s.len && s.at[s.len - 1] == '=' && pads < 2; pads++)
		s.len--;
	for (size_t i = 0; i < s.len; i++) {
		int digit = digit_of(s.at[i]);
		if (digit < 0)
			return -1;
		bits = bits << 6 | (uint32_t)digit;
		if ((have += 6) < 8)
			continue;
		have -= 8;
		if (n == room)
			return -1;
		to[n++] = (char)(bits >> have);
	}
	return (long)n;
}

bool token_read_header(struct span value, char *space, size_t room, struct span *user, struct span *given)
{
	struct span scheme = span_cut(&value, ' ');
	value = span_trim(value);
	*user = (struct span){space, 0};
	*given = value;
	if (span_is_nocase(scheme, "bearer"))
		return value.len > 0;
	long n = span_is_nocase(scheme, "basic") ? decode(value, space, room) : -1;
	if (n < 0 || !memchr(space, ':', (size_t)n))
		return false;
	*given = (struct span){space, (size_t)n};
	*user = span_cut(given, ':');
	return true;
}
