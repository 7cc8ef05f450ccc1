/* trace.c - /debug/pprof/trace: the execution trace.
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits: a handler that needs time sets
 * x->resume and returns.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"
#include "shim/base/os.h"

enum { DEFAULT_TRACE_NS = 1000000000 }; /* when the request does not say */

static const struct trace_format {
	const char *name, *suffix; /* of the file */
	int (*encode)(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p);
} trace_formats[] = {
	{"go", "", trace_encode_go},
	{"perfetto", ".perfetto-trace", trace_encode_perfetto},
};

struct own {
	struct trace_snapshot trace;
	const struct trace_format *format;
	uint64_t until_ns; /* CLOCK_MONOTONIC */
};

static int encode_trace(struct exchange *x, struct patience *p)
{
	const struct own *own = x->own;
	answer_attachment(x, own->format->suffix);
	return own->format->encode(x->region, &x->answer.body, &own->trace, p);
}

static void abandon_trace(struct exchange *x)
{
	(void)x;
	snapshot_trace_abandon();
}

/* Its buffer is held until it is encoded. */
static void release_trace(struct exchange *x)
{
	(void)x;
	snapshot_trace_release();
}

static void finish_trace(struct exchange *x)
{
	struct own *own = x->own;
	int rc = snapshot_trace_end(&own->trace);
	x->abandon = release_trace;
	if (rc == 0) {
		answer_when_named(x, encode_trace, 0);
		return;
	}
	answer_end_wait(x);
	answer_failure(x, rc);
}

/* Until its time is over, or its buffer full. */
static void continue_trace(struct exchange *x)
{
	const struct own *own = x->own;
	uint64_t now_ns = os_clock_ns(CLOCK_MONOTONIC);
	uint64_t pause_ms = now_ns < own->until_ns ? snapshot_trace_drain() : 0;
	if (pause_ms)
		answer_pause(x, continue_trace, now_ns + pause_ms * 1000000, own->until_ns);
	else
		finish_trace(x);
}

static void begin_trace(struct exchange *x, uint64_t ns, const struct trace_format *format)
{
	struct own *own = answer_own(x, sizeof *own);
	if (!own)
		return;
	own->format = format;
	int rc = snapshot_trace_begin(x->region);
	if (rc < 0) {
		answer_refuse(x, rc, "tracing", "tracing is already enabled");
		return;
	}
	x->abandon = abandon_trace;
	own->until_ns = os_clock_ns(CLOCK_MONOTONIC) + ns;
	continue_trace(x);
}

/* As Go reads `seconds` of a trace: what is no number, and no time, is 1. */
static uint64_t trace_ns(struct exchange *x)
{
	struct span text;
	uint64_t ns;
	query_find(&x->query, "seconds", &text);
	return query_parse_seconds(text, &ns) && ns ? ns : DEFAULT_TRACE_NS;
}

/* The first, when it was not asked for one. NULL: one that does not exist. */
static const struct trace_format *trace_format(struct exchange *x)
{
	struct span text;
	query_find(&x->query, "format", &text);
	for (size_t i = 0; i < sizeof trace_formats / sizeof *trace_formats; i++)
		if (!text.len || span_is(text, trace_formats[i].name))
			return &trace_formats[i];
	return NULL;
}

void answer_trace(struct exchange *x)
{
	uint64_t ns = trace_ns(x);
	const struct trace_format *format = trace_format(x);
	if (x->query.failed)
		answer_failure(x, -ENOMEM);
	else if (ns > (uint64_t)LIMIT_SECONDS * 1000000000u)
		response_error(&x->answer, 400, "profile duration exceeds server's WriteTimeout");
	else if (!format)
		response_error(&x->answer, 400, "invalid value for \"format\" - must be go or perfetto");
	else
		begin_trace(x, ns, format);
}
