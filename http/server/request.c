/* request.c - the head of an HTTP/1 request, read as it comes in.
 *
 * Runs in: listener. No allocation, no libc but mem*. Each byte is read once by the scanner, and once more when its
 * line is complete.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/request.h"

#include <assert.h>

#include "http/server/limits.h"
#include "http/server/path.h"

static_assert(LIMIT_INPUT > 2 * LIMIT_BLANK_LINES + LIMIT_REQUEST_LINE + 2 + LIMIT_HEADERS + 1,
              "the parser must have decided before the input buffer is full");

static int bad(struct request *q, unsigned status, const char *reason)
{
	q->status = status;
	q->reason = reason;
	return REQUEST_BAD;
}

/* RFC 9110, 5.6.2. */
static bool is_token(struct span s)
{
	static const char others[] = "!#$%&'*+-.^_`|~";
	for (size_t i = 0; i < s.len; i++) {
		char c = s.at[i];
		bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (!alnum && !memchr(others, c, sizeof others - 1))
			return false;
	}
	return s.len > 0;
}

static enum request_method method_of(struct span s)
{
	static const char *const names[] = {
		[METHOD_GET] = "GET",
		[METHOD_HEAD] = "HEAD",
		[METHOD_POST] = "POST",
	};
	for (unsigned i = METHOD_GET; i < sizeof names / sizeof *names; i++)
		if (span_is(s, names[i]))
			return (enum request_method)i;
	return METHOD_OTHER;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int take_version(struct request *q, struct span s)
{
	if (s.len != 8 || !span_starts(s, "HTTP/") || !is_digit(s.at[5]) || s.at[6] != '.' || !is_digit(s.at[7]))
		return bad(q, 400, "malformed HTTP version");
	if (s.at[5] != '1' || s.at[7] > '1')
		return bad(q, 505, "unsupported protocol version: HTTP/1.0 and HTTP/1.1 are spoken here");
	q->http10 = s.at[7] == '0';
	return 0;
}

/* Cut off and return the part of *s before the first '/' or '?'. */
static struct span cut_authority(struct span *s)
{
	size_t n = 0;
	while (n < s->len && s->at[n] != '/' && s->at[n] != '?')
		n++;
	struct span authority = {s->at, n};
	s->at += n;
	s->len -= n;
	return authority;
}

static bool cut_scheme(struct span *s)
{
	static const char *const schemes[] = {"http://", "https://"};
	for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
		size_t n = strlen(schemes[i]);
		if (s->len >= n && span_is_nocase((struct span){s->at, n}, schemes[i])) {
			s->at += n;
			s->len -= n;
			return true;
		}
	}
	return false;
}

static int take_target(struct request *q, struct span s)
{
	if (s.len == 0)
		return bad(q, 400, "malformed request line");
	if (q->method == METHOD_OTHER) /* the target may be "*" or host:port; 405 follows */
		return 0;
	if (cut_scheme(&s)) {
		q->host = cut_authority(&s);
		q->absolute_ = true;
		if (q->host.len == 0)
			return bad(q, 400, "malformed request target");
	} else if (s.at[0] != '/') {
		return bad(q, 400, "malformed request target");
	}
	q->path = span_cut(&s, '?');
	q->query = s;
	if (q->path.len == 0)
		q->path = SPAN("/");
	return path_is_well_formed(q->path) ? 0 : bad(q, 400, "malformed request target: a '%' without two hex digits");
}

static int take_request_line(struct request *q, struct span line)
{
	struct span method = span_cut(&line, ' ');
	struct span target = span_cut(&line, ' ');
	if (!is_token(method) || memchr(target.at, '\t', target.len))
		return bad(q, 400, "malformed request line");
	q->method = method_of(method);
	q->method_name = method;
	int rc = take_version(q, line);
	return rc < 0 ? rc : take_target(q, target);
}

static int take_host(struct request *q, struct span value)
{
	if (q->hosts_++)
		return bad(q, 400, "too many Host headers");
	if (!q->absolute_) /* RFC 9112, 3.2.2: the target's host wins */
		q->host = value;
	return 0;
}

static int take_content_length(struct request *q, struct span value)
{
	uint64_t length;
	for (size_t i = 0; i < value.len; i++)
		if (!is_digit(value.at[i]))
			return bad(q, 400, "bad Content-Length");
	if (value.len == 0)
		return bad(q, 400, "bad Content-Length");
	if (!text_parse_uint(value, 10, &length))
		length = UINT64_MAX; /* too many digits: larger than any limit */
	if (q->have_length_ && length != q->content_length)
		return bad(q, 400, "Content-Length headers that differ");
	q->have_length_ = true;
	q->content_length = length;
	return 0;
}

static int take_transfer_encoding(struct request *q, struct span value)
{
	(void)value;
	q->transfer_coded_ = true;
	return 0;
}

static int take_connection(struct request *q, struct span value)
{
	while (value.len) {
		struct span option = span_trim(span_cut(&value, ','));
		q->close_asked_ |= span_is_nocase(option, "close");
		q->keep_alive_asked_ |= span_is_nocase(option, "keep-alive");
	}
	return 0;
}

static int take_expect(struct request *q, struct span value)
{
	if (span_is_nocase(value, "100-continue"))
		q->expect_continue = true;
	else
		q->expects_other_ = true;
	return 0;
}

static int take_content_type(struct request *q, struct span value)
{
	struct span type = span_trim(span_cut(&value, ';'));
	q->form = span_is_nocase(type, "application/x-www-form-urlencoded");
	return 0;
}

static int take_authorization(struct request *q, struct span value)
{
	if (q->authorizations_++)
		return bad(q, 400, "too many Authorization headers");
	q->authorization = value;
	return 0;
}

/* Browsers alone send it, and pages can't set it (Fetch Metadata Request Headers, 2.3). */
static int take_fetch_site(struct request *q, struct span value)
{
	q->fetch_site = value;
	return 0;
}

static const struct {
	const char *name; /* lower case */
	int (*take)(struct request *q, struct span value);
} headers[] = {
	{"authorization", take_authorization},
	{"connection", take_connection},
	{"content-length", take_content_length},
	{"content-type", take_content_type},
	{"expect", take_expect},
	{"host", take_host},
	{"sec-fetch-site", take_fetch_site},
	{"transfer-encoding", take_transfer_encoding},
};

static int take_header(struct request *q, struct span line)
{
	if (line.at[0] == ' ' || line.at[0] == '\t')
		return bad(q, 400, "malformed header: folded line");
	if (!memchr(line.at, ':', line.len))
		return bad(q, 400, "malformed header: no colon");
	struct span name = span_cut(&line, ':');
	if (!is_token(name))
		return bad(q, 400, "malformed header name");
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
		if (span_is_nocase(name, headers[i].name))
			return headers[i].take(q, span_trim(line));
	return 0;
}

static int check_whole(struct request *q)
{
	if (!q->http10 && q->hosts_ == 0)
		return bad(q, 400, "missing required Host header");
	if (q->transfer_coded_)
		return bad(q, 501, "unsupported transfer encoding: send a Content-Length");
	if (q->content_length > LIMIT_BODY)
		return bad(q, 413, "request body too large: 4 MiB is the limit");
	if (q->http10) /* HTTP/1.0 does not have 100; RFC 9110, 10.1.1 */
		q->expect_continue = q->expects_other_ = false;
	if (q->expects_other_)
		return bad(q, 417, "unsupported expectation: only 100-continue is known");
	q->keep_alive = !q->close_asked_ && (!q->http10 || q->keep_alive_asked_);
	return 0;
}

/* Take the line that ends before `at`, with its CR. Returns 0: go on; 1: it was the empty line at the end. */
static int take_line(struct request *q, const char *buf, size_t at)
{
	struct span line = {buf + q->line_start_, at - q->line_start_};
	if (line.len && line.at[line.len - 1] == '\r')
		line.len--;
	q->line_start_ = at + 1;
	if (!q->have_line_) {
		if (line.len == 0)
			return ++q->blank_lines_ > LIMIT_BLANK_LINES ? bad(q, 400, "malformed request line") : 0;
		q->have_line_ = true;
		q->headers_start_ = at + 1;
		return take_request_line(q, line);
	}
	if (line.len)
		return take_header(q, line);
	return check_whole(q) < 0 ? REQUEST_BAD : 1;
}

/* May the byte at buf[at] stand there? Control characters may not (TLS and other binary greetings fail here), a CR only
 * before a LF, and no byte beyond the limits. */
static int check_byte(struct request *q, const char *buf, size_t at)
{
	unsigned char c = (unsigned char)buf[at];
	if (at > q->line_start_ && buf[at - 1] == '\r' && c != '\n')
		return bad(q, 400, "malformed request: bare CR");
	if ((c < ' ' && c != '\t' && c != '\r' && c != '\n') || c == 0x7f)
		return bad(q, 400, "malformed request: control character");
	if (q->have_line_ && at - q->headers_start_ >= LIMIT_HEADERS)
		return bad(q, 431, "request headers too large: 16 KiB is the limit");
	if (!q->have_line_ && c != '\n' && c != '\r' && at - q->line_start_ >= LIMIT_REQUEST_LINE)
		return bad(q, 414, "request line too long: 20 KiB is the limit");
	return 0;
}

long request_parse(struct request *q, const char *buf, size_t len)
{
	while (q->scanned_ < len) {
		size_t at = q->scanned_++;
		int rc = check_byte(q, buf, at);
		if (rc == 0 && buf[at] == '\n')
			rc = take_line(q, buf, at);
		if (rc < 0)
			return rc;
		if (rc > 0)
			return (long)q->scanned_;
	}
	return REQUEST_PARTIAL;
}
