/* trace.c - /debug/pprof/trace: the execution trace.
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits: a handler that needs time sets
 * x->resume and returns.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"
#include "http/endpoints/parameters.h"
#include "shim/base/os.h"

static const struct format {
	const char *name, *suffix; /* of the file */
	int (*encode)(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p);
} formats[] = {
	/* in the order of their words in endpoints.def */
	{"go", "", trace_encode_go},
	{"perfetto", ".perfetto-trace", trace_encode_perfetto},
};

struct own {
	struct trace_snapshot trace;
	const struct format *format;
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

/* Release the trace, whose buffer is held until it is encoded. */
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

/* Record until the time is over or the buffer is full. */
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

static void begin_trace(struct exchange *x, uint64_t ns, const struct format *format)
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

void answer_trace(struct exchange *x)
{
	int64_t ns, format;
	const char *wrong = parameter_read(x, PARAMETER_TRACE_SECONDS, &ns);
	const char *wrong_format = parameter_read(x, PARAMETER_FORMAT, &format);
	if (x->query.failed)
		answer_failure(x, -ENOMEM);
	else if (wrong || wrong_format)
		response_error(&x->answer, 400, wrong ? wrong : wrong_format);
	else
		begin_trace(x, (uint64_t)ns, &formats[format]);
}
