/* pid.c - /pid/PROCESS/debug/pprof/…: the pages of another process, by the owner of the door.
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits: the relay passes bytes on (relay.h).
 *
 * The request that goes on has only what our own server looks at. Who may ask, the owner has decided.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/door/door.h"
#include "http/endpoints/answer.h"
#include "http/endpoints/processes.h"
#include "http/server/relay.h"
#include "shim/base/os.h"

#define ROOT "/debug/pprof"

enum {
	PATIENCE_MS =
		30 * 1000, /* with the time that is asked for, until an answer begins: names may take half of it */
	HEADERS = 256,     /* more than the headers of a request take */
};

/* Returns how long the process may rightly take before its answer begins, in milliseconds. */
static uint64_t patience_ms(struct exchange *x, struct span page)
{
	struct span value;
	uint64_t ns = 0;
	bool is_told = query_find(&x->query, "seconds", &value) && query_parse_seconds(value, &ns);
	uint64_t most_ms = LIMIT_SECONDS * UINT64_C(1000);
	uint64_t ms = is_told ? ns / 1000000 : span_is(page, ROOT "/profile") ? 30 * 1000 : 1000;
	return PATIENCE_MS + (ms < most_ms ? ms : most_ms);
}

static void line_span(struct line *l, struct span s)
{
	line_bytes(l, s.at, s.len);
}

/* Returns the head of the request to the process; empty: no memory. */
static struct span make_head(struct exchange *x, struct span page)
{
	const struct request *q = &x->request;
	size_t room = q->method_name.len + page.len + q->query.len + HEADERS;
	struct line l = {region_alloc(x->region, room), room, 0};
	if (!l.at)
		return (struct span){0};
	line_span(&l, q->method_name);
	line_str(&l, " ");
	line_span(&l, page);
	line_str(&l, q->query.len ? "?" : "");
	line_span(&l, q->query);
	line_str(&l, " HTTP/1.1\r\nHost: localhost\r\n");
	if (q->form)
		line_str(&l, "Content-Type: application/x-www-form-urlencoded\r\n");
	if (x->body) {
		line_str(&l, "Content-Length: ");
		line_dec(&l, (int64_t)x->body_len);
		line_str(&l, "\r\n");
	}
	line_str(&l, "\r\n");
	return (struct span){l.at, l.len};
}

static void refuse(struct exchange *x, int rc)
{
	if (rc == -ENOENT)
		response_error(&x->answer, 404, "pprofshim: there is no such process here; /pid/ lists them");
	else if (rc == -EBUSY)
		response_error(&x->answer, 504,
		               "pprofshim: the process takes no requests; it may be stopped (SIGSTOP) or frozen");
	else
		answer_failure(x, rc);
}

static void pass_on(struct exchange *x, struct span process, struct span page)
{
	struct span head = make_head(x, page);
	int fd = head.len ? door_connect(process) : -ENOMEM;
	if (fd < 0) {
		refuse(x, fd);
	} else if (!relay_ask(x, fd, head, patience_ms(x, page))) {
		os_close(fd);
		refuse(x, -ENOMEM);
	}
}

static void redirect(struct exchange *x, struct span process)
{
	struct line l = {region_alloc(x->region, process.len + 32), process.len + 32, 0};
	if (!l.at) {
		refuse(x, -ENOMEM);
		return;
	}
	line_str(&l, "/pid/");
	line_span(&l, process);
	line_str(&l, ROOT "/");
	response_begin(&x->answer, 301, TYPE_TEXT);
	response_header(&x->answer, "Location", (struct span){l.at, l.len});
	out_str(&x->answer.body, "moved\n");
}

void processes_answer(struct exchange *x, struct span path, void (*itself)(struct exchange *x, struct span name))
{
	struct span page = path, process = span_cut(&page, '/');
	page = (struct span){process.at + process.len, path.len - process.len};
	if (!process.len) {
		processes_answer_json(x);
	} else if (!page.len || span_is(page, "/") || span_is(page, ROOT)) {
		redirect(x, process);
	} else if (!span_starts(page, ROOT "/")) {
		response_error(&x->answer, 404, "404 page not found");
	} else if (door_is_self(process)) {
		itself(x, (struct span){page.at + sizeof ROOT, page.len - sizeof ROOT});
	} else {
		x->query = (struct query){.url = x->request.query, .body = SPAN(""), .region = x->region};
		pass_on(x, process, page);
	}
}
