/* response.c - an answer: status, headers, body; errors through one function.
 *
 * Runs in: listener. Memory of the exchange's region; no libc but mem*.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/server/response.h"

#include <assert.h>

#include "http/server/limits.h"

static const struct {
	unsigned status;
	const char *text;
} statuses[] = {
	{200, "OK"},
	{301, "Moved Permanently"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{408, "Request Timeout"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{417, "Expectation Failed"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
};

static const char *status_text(unsigned status)
{
	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
		if (statuses[i].status == status)
			return statuses[i].text;
	return "Unknown";
}

void response_init(struct response *r, struct region *region)
{
	*r = (struct response){.region = region};
}

/* Headers that every answer has. */
#define ALWAYS "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"

void response_begin(struct response *r, unsigned status, const char *type)
{
	r->status = status;
	out_init(&r->head, r->region);
	out_init(&r->body, r->region);
	out_str(&r->head, "HTTP/1.1 ");
	out_dec(&r->head, status);
	out_str(&r->head, " ");
	out_str(&r->head, status_text(status));
	out_str(&r->head, "\r\n");
	response_header(r, "Content-Type", span_of(type));
	out_str(&r->head, ALWAYS);
}

void response_header(struct response *r, const char *name, struct span value)
{
	out_str(&r->head, name);
	out_str(&r->head, ": ");
	out_span(&r->head, value);
	out_str(&r->head, "\r\n");
}

void response_error(struct response *r, unsigned status, const char *text)
{
	response_begin(r, status, TYPE_TEXT);
	response_header(r, "X-Go-Pprof", SPAN("1"));
	out_str(&r->body, text);
	out_str(&r->body, "\n");
}

const struct out_chunk *response_finish(struct response *r, struct response_end end)
{
	char digits[20];
	uint64_t length = r->body.len + r->body.more_bytes;
	response_header(r, "Content-Length", (struct span){digits, text_format_uint(digits, length, 10)});
	if (end.close)
		response_header(r, "Connection", SPAN("close"));
	else if (end.http10)
		response_header(r, "Connection", SPAN("keep-alive"));
	out_str(&r->head, "\r\n");
	if (r->head.failed || r->body.failed)
		return NULL;
	if (end.head_only)
		r->body.more = NULL;
	r->head.last->next = end.head_only ? NULL : r->body.first;
	return r->head.first;
}

static_assert(LIMIT_CONNECTIONS == 64, "TOO_MANY says so");

/* An answer that needs no memory, with the headers of response_begin. `length` counts the text and its line end; the
 * unit test checks it. */
#define WHOLE_ANSWER(status_line, text, length) \
	"HTTP/1.1 " status_line "\r\n" \
	"Content-Type: " TYPE_TEXT "\r\n" ALWAYS "X-Go-Pprof: 1\r\n" \
	"Content-Length: " length "\r\n" \
	"Connection: close\r\n" \
	"\r\n" text "\n"

#define OUT_OF_MEMORY WHOLE_ANSWER("503 Service Unavailable", TEXT_OUT_OF_MEMORY, "103")
#define TOO_MANY \
	WHOLE_ANSWER("503 Service Unavailable", "pprofshim: too many connections; 64 are served at a time", "57")

#define WANTS_TLS WHOLE_ANSWER("400 Bad Request", "pprofshim: this port speaks HTTPS alone; ask for https://", "58")

const struct out_chunk *response_out_of_memory(void)
{
	static const struct out_chunk chunk = {
		.used = sizeof OUT_OF_MEMORY - 1,
		.cap = sizeof OUT_OF_MEMORY,
		.bytes = OUT_OF_MEMORY,
	};
	return &chunk;
}

const struct out_chunk *response_too_many(void)
{
	static const struct out_chunk chunk = {
		.used = sizeof TOO_MANY - 1,
		.cap = sizeof TOO_MANY,
		.bytes = TOO_MANY,
	};
	return &chunk;
}

const struct out_chunk *response_wants_tls(void)
{
	static const struct out_chunk chunk = {
		.used = sizeof WANTS_TLS - 1,
		.cap = sizeof WANTS_TLS,
		.bytes = WANTS_TLS,
	};
	return &chunk;
}
