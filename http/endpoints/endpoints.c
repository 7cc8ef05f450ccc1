/* endpoints.c - what each route answers.
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits: a handler that needs time sets
 * x->resume and returns.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/endpoints.h"

#include "http/address/host.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"

#define ROOT "/debug/pprof"

static void answer_cmdline(struct exchange *x);
static void answer_profile(struct exchange *x);
static void answer_snapshot(struct exchange *x);
static void answer_symbol(struct exchange *x);
static void answer_trace(struct exchange *x);

enum {
	COUNT_NONE = -1,
	COUNT_heap = offsetof(struct snapshot_counts, heap),
	COUNT_allocs = offsetof(struct snapshot_counts, allocs),
	COUNT_threadcreate = offsetof(struct snapshot_counts, threadcreate),
	COUNT_goroutine = offsetof(struct snapshot_counts, goroutine),
	COUNT_block = offsetof(struct snapshot_counts, block),
	COUNT_mutex = offsetof(struct snapshot_counts, mutex),
	PROFILE_NONE = -1,

	DEFAULT_SECONDS = 30, /* of a CPU profile, when the request does not say */
	DEFAULT_TRACE_NS = 1000000000,
	MOST_HZ = 1000,
	PATIENCE_OF_PEOPLE_S = 5, /* who look at a text form, maybe at a deadlock, and can ask again */
};

const struct endpoint endpoints[] = {
#define ENDPOINT(name, handler, kind, count, description) \
	{name, answer_##handler, PROFILE_##kind, COUNT_##count, description},
#include "http/endpoints/endpoints.def"
#undef ENDPOINT
};
const size_t endpoints_count = sizeof endpoints / sizeof *endpoints;

void answer_failure(struct exchange *x, int rc)
{
	char text[128];
	struct line l = LINE(text);
	line_str(&l, rc == -ENOMEM ? TEXT_OUT_OF_MEMORY : "pprofshim: this could not be made, error ");
	if (rc != -ENOMEM)
		line_dec(&l, -(int64_t)rc);
	response_error(&x->answer, rc == -ENOMEM ? 503 : 500, text);
}

/* argv joined with NUL, without the NUL that the kernel ends it with. */
static void answer_cmdline(struct exchange *x)
{
	struct out *o = &x->answer.body;
	char part[1024];
	long n;
	int fd = (int)os_open("/proc/self/cmdline", O_RDONLY);
	if (fd < 0) {
		answer_failure(x, fd);
		return;
	}
	response_begin(&x->answer, 200, TYPE_TEXT);
	while ((n = os_read(fd, part, sizeof part)) > 0)
		out_bytes(o, part, (size_t)n);
	os_close(fd);
	if (n < 0) {
		answer_failure(x, (int)n);
	} else if (o->last && o->last->used && o->last->bytes[o->last->used - 1] == '\0') {
		o->last->used--;
		o->len--;
	}
}

static void begin_attachment(struct exchange *x, const char *suffix)
{
	char text[64];
	struct line l = LINE(text);
	line_str(&l, "attachment; filename=\"");
	line_str(&l, x->endpoint->name);
	line_str(&l, suffix);
	line_str(&l, "\"");
	response_begin(&x->answer, 200, TYPE_BINARY);
	response_header(&x->answer, "Content-Disposition", (struct span){l.at, l.len});
}

/* ---- answers that need names ---- */

static void make_answer(struct exchange *x);

static void await_names(struct exchange *x)
{
	unsigned ms = encoder_wait_ms(&x->patience);
	if (!ms) {
		make_answer(x);
		return;
	}
	x->resume = await_names;
	x->resume_ns = os_clock_ns(CLOCK_MONOTONIC) + ms * UINT64_C(1000000);
}

static void end_wait(struct exchange *x)
{
	if (x->abandon)
		x->abandon(x);
	x->abandon = NULL;
}

/* Names, and what is known of them, are one table: one answer is encoded at a time, and others wait for their turn,
 * which holds up nobody else. */
static int encode_alone(struct exchange *x)
{
	static struct {
		int pid; /* whose: a fork child inherits it */
		bool is_on;
	} encoding;
	while (encoding.is_on && encoding.pid == os_pid())
		if (pace_sleep(2) || !pace_is_task())
			return -ENOMEM; /* nobody wants it, or there was no memory to wait with */
	encoding.pid = os_pid();
	encoding.is_on = true;
	int rc = x->encode(x);
	encoding.is_on = false;
	return rc;
}

/* What an attempt without all names took is given back. */
static void make_answer(struct exchange *x)
{
	struct region_mark mark = region_mark(x->region);
	int rc = encode_alone(x);
	if (rc == -EAGAIN) {
		response_init(&x->answer, x->region);
		region_rewind(x->region, mark);
		await_names(x);
		return;
	}
	end_wait(x);
	if (rc < 0)
		answer_failure(x, rc);
}

static void answer_when_named(struct exchange *x, int (*encode)(struct exchange *x))
{
	x->encode = encode;
	make_answer(x);
}

static int encode_symbols(struct exchange *x)
{
	struct span query = x->request.query;
	if (x->request.method == METHOD_POST)
		query = (struct span){x->body ? x->body : "", x->body_len};
	response_begin(&x->answer, 200, TYPE_TEXT);
	return symbol_answer(x->region, &x->answer.body, query, &x->patience);
}

static void answer_symbol(struct exchange *x)
{
	answer_when_named(x, encode_symbols);
}

static int encode_text(struct exchange *x)
{
	response_begin(&x->answer, 200, TYPE_TEXT);
	return profile_encode_text(x->region, &x->answer.body, &x->now, x->debug, &x->patience);
}

static int encode_now(struct exchange *x)
{
	begin_attachment(x, "");
	return profile_encode(x->region, &x->answer.body, &x->now, NULL, &x->patience);
}

static int encode_delta(struct exchange *x)
{
	begin_attachment(x, "-delta");
	return profile_encode(x->region, &x->answer.body, &x->now, &x->before, &x->patience);
}

static const struct trace_format {
	const char *name, *suffix; /* of the file */
	int (*encode)(struct region *r, struct out *o, const struct trace_snapshot *s, struct patience *p);
} trace_formats[] = {
	{"go", "", trace_encode_go},
	{"perfetto", ".perfetto-trace", trace_encode_perfetto},
};

static int encode_trace(struct exchange *x)
{
	begin_attachment(x, x->trace_format->suffix);
	return x->trace_format->encode(x->region, &x->answer.body, &x->trace, &x->patience);
}

/* ---- the six profiles that are counters since the start ---- */

static void answer_now(struct exchange *x, int64_t debug)
{
	int rc = profile_take(x->region, (enum profile_kind)x->endpoint->kind, &x->now);
	x->debug = debug;
	x->patience.most_s = debug ? PATIENCE_OF_PEOPLE_S : 0;
	if (rc == 0)
		answer_when_named(x, debug ? encode_text : encode_now);
	else
		answer_failure(x, rc);
}

/* Of contention, a delta may be at a rate of its own: one that keeps more events, while the request lasts (snapshot.h).
 */
static const struct rate {
	int kind; /* of the endpoint */
	enum contention_kind contention;
	const char *parameter;
	const char *not_positive, *alone, *off; /* what is wrong */
} rates[] = {
#define RATE(kind, parameter, variable) \
	{ \
		PROFILE_##kind, CONTENTION_##kind, parameter, \
			"invalid value for \"" parameter "\" - must be a positive integer", \
			"\"" parameter "\" needs \"seconds\": it holds while a difference is being taken", \
			"pprofshim: nothing is recorded, as the program was started with " variable \
			"=0; start it with another value, or without" \
	}
	RATE(BLOCK, "rate", "PPROF_BLOCK_RATE"),
	RATE(MUTEX, "fraction", "PPROF_MUTEX_FRACTION"),
#undef RATE
};

/* NULL: of a profile that has no rate. */
static const struct rate *rate_of(const struct endpoint *e)
{
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
		if (rates[i].kind == e->kind)
			return &rates[i];
	return NULL;
}

static void restore_rate(struct exchange *x)
{
	snapshot_contention_restore(rate_of(x->endpoint)->contention, x->rate_token);
}

/* False: it could not, and the answer says why. */
static bool raise_rate(struct exchange *x, int64_t value)
{
	const struct rate *rate = rate_of(x->endpoint);
	x->rate_token = snapshot_contention_raise(rate->contention, (uint64_t)value);
	if (x->rate_token >= 0)
		x->abandon = restore_rate;
	else if (x->rate_token == -ENOSYS)
		response_error(&x->answer, 400, rate->off);
	else if (x->rate_token == -EBUSY)
		response_error(&x->answer, 503,
		               "pprofshim: too many requests have a rate of their own already; ask again later");
	else
		answer_failure(x, x->rate_token);
	return x->rate_token >= 0;
}

static void finish_delta(struct exchange *x)
{
	int rc = profile_take(x->region, x->before.kind, &x->now);
	end_wait(x);
	if (rc == 0)
		answer_when_named(x, encode_delta);
	else
		answer_failure(x, rc);
}

/* rate 0: at the one that holds. */
static void begin_delta(struct exchange *x, int64_t seconds, int64_t rate)
{
	if (rate && !raise_rate(x, rate))
		return;
	int rc = profile_take(x->region, (enum profile_kind)x->endpoint->kind, &x->before);
	if (rc < 0) {
		end_wait(x);
		answer_failure(x, rc);
		return;
	}
	x->resume = finish_delta;
	x->resume_ns = os_clock_ns(CLOCK_MONOTONIC) + (uint64_t)seconds * 1000000000u;
}

/* What is wrong with a delta, or NULL. The order of the checks and their texts are Go's (encoder/FORMATS.md); its "not
 * supported" cannot happen: all six have deltas. */
static const char *check_seconds(struct span text, int64_t debug, int64_t *seconds)
{
	if (!text_parse_int(text, seconds) || *seconds <= 0)
		return "invalid value for \"seconds\" - must be a positive integer";
	if (*seconds > LIMIT_SECONDS)
		return "profile duration exceeds server's WriteTimeout";
	return debug ? "seconds and debug params are incompatible" : NULL;
}

/* What is wrong with the rate that was asked for, or NULL, and the rate; 0: none was. */
static const char *check_rate(struct exchange *x, bool is_delta, int64_t *value)
{
	const struct rate *rate = rate_of(x->endpoint);
	struct span text;
	*value = 0;
	if (!rate || !query_find(&x->query, rate->parameter, &text))
		return NULL;
	if (!text_parse_int(text, value) || *value <= 0)
		return rate->not_positive;
	return is_delta ? NULL : rate->alone;
}

static void answer_snapshot(struct exchange *x)
{
	struct span debug_text, seconds_text;
	int64_t debug = 0, seconds = 0, rate = 0;
	query_find(&x->query, "debug", &debug_text);
	query_find(&x->query, "seconds", &seconds_text);
	text_parse_int(debug_text, &debug);
	bool is_delta = seconds_text.len > 0;
	const char *wrong = is_delta ? check_seconds(seconds_text, debug, &seconds) : NULL;
	if (!wrong)
		wrong = check_rate(x, is_delta, &rate);
	if (x->query.failed)
		answer_failure(x, -ENOMEM);
	else if (wrong)
		response_error(&x->answer, 400, wrong);
	else if (is_delta)
		begin_delta(x, seconds, rate);
	else
		answer_now(x, debug);
}

/* ---- what records for a time: the CPU profile, the trace ---- */

static void pause_until(struct exchange *x, void (*resume)(struct exchange *x), uint64_t ns)
{
	x->resume = resume;
	x->resume_ns = ns < x->until_ns ? ns : x->until_ns;
}

/* It could not begin; `busy` is Go's text for -EBUSY. */
static void refuse(struct exchange *x, int rc, const char *what, const char *busy)
{
	char text[192];
	struct line l = LINE(text);
	line_str(&l, "Could not enable ");
	line_str(&l, what);
	line_str(&l, ": ");
	switch (rc) {
	case -EBUSY: line_str(&l, busy); break;
	case -ENOSYS: line_str(&l, "not possible on this system"); break;
	case -ENOMEM: line_str(&l, TEXT_OUT_OF_MEMORY); break;
	case -ETIME: line_str(&l, "no thread of the program takes signal 33 now; ask again"); break;
	default: line_str(&l, "error "); line_dec(&l, -(int64_t)rc);
	}
	response_error(&x->answer, rc == -ENOMEM || rc == -ETIME ? 503 : 500, text);
}

/* ---- the CPU profile ---- */

static void abandon_profile(struct exchange *x)
{
	(void)x;
	snapshot_cpu_abandon();
}

static void finish_profile(struct exchange *x)
{
	x->now.kind = PROFILE_CPU;
	x->abandon = NULL;
	int rc = snapshot_cpu_end(&x->now.cpu);
	if (rc == 0)
		answer_when_named(x, encode_now);
	else
		answer_failure(x, rc);
}

/* The samples wait in a ring of limited length: they are taken out when it asks for it, up to the end. */
static void continue_profile(struct exchange *x)
{
	uint64_t now_ns = os_clock_ns(CLOCK_MONOTONIC);
	if (now_ns >= x->until_ns) {
		finish_profile(x);
		return;
	}
	uint64_t pause_ms = snapshot_cpu_drain();
	pause_until(x, continue_profile, now_ns + (pause_ms ? pause_ms : 1) * 1000000);
}

static void begin_profile(struct exchange *x, int64_t seconds, unsigned hz)
{
	int rc = snapshot_cpu_begin(x->region, hz);
	if (rc < 0) {
		refuse(x, rc, "CPU profiling", "cpu profiling already in use");
		return;
	}
	x->abandon = abandon_profile;
	x->until_ns = os_clock_ns(CLOCK_MONOTONIC) + (uint64_t)seconds * 1000000000u;
	continue_profile(x);
}

/* As Go reads `seconds`: what is no number, and no time, is 30. */
static int64_t profile_seconds(struct exchange *x)
{
	struct span text;
	int64_t seconds;
	query_find(&x->query, "seconds", &text);
	return text_parse_int(text, &seconds) && seconds > 0 ? seconds : DEFAULT_SECONDS;
}

/* 0: as the setting says. False: it was asked for something impossible. */
static bool profile_hz(struct exchange *x, unsigned *hz)
{
	struct span text;
	int64_t value = 0;
	bool given = query_find(&x->query, "hz", &text);
	bool good = !given || (text_parse_int(text, &value) && value >= 1 && value <= MOST_HZ);
	*hz = (unsigned)value;
	return good;
}

static void answer_profile(struct exchange *x)
{
	unsigned hz;
	int64_t seconds = profile_seconds(x);
	bool hz_good = profile_hz(x, &hz);
	if (x->query.failed)
		answer_failure(x, -ENOMEM);
	else if (seconds > LIMIT_SECONDS)
		response_error(&x->answer, 400, "profile duration exceeds server's WriteTimeout");
	else if (!hz_good)
		response_error(&x->answer, 400, "invalid value for \"hz\" - must be an integer from 1 to 1000");
	else
		begin_profile(x, seconds, hz);
}

/* ---- the execution trace ---- */

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
	int rc = snapshot_trace_end(&x->trace);
	x->abandon = release_trace;
	if (rc == 0) {
		answer_when_named(x, encode_trace);
		return;
	}
	end_wait(x);
	answer_failure(x, rc);
}

/* Until its time is over, or its buffer full. */
static void continue_trace(struct exchange *x)
{
	uint64_t now_ns = os_clock_ns(CLOCK_MONOTONIC);
	uint64_t pause_ms = now_ns < x->until_ns ? snapshot_trace_drain() : 0;
	if (pause_ms)
		pause_until(x, continue_trace, now_ns + pause_ms * 1000000);
	else
		finish_trace(x);
}

static void begin_trace(struct exchange *x, uint64_t ns)
{
	int rc = snapshot_trace_begin(x->region);
	if (rc < 0) {
		refuse(x, rc, "tracing", "tracing is already enabled");
		return;
	}
	x->abandon = abandon_trace;
	x->until_ns = os_clock_ns(CLOCK_MONOTONIC) + ns;
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

static void answer_trace(struct exchange *x)
{
	uint64_t ns = trace_ns(x);
	x->trace_format = trace_format(x);
	if (x->query.failed)
		answer_failure(x, -ENOMEM);
	else if (ns > (uint64_t)LIMIT_SECONDS * 1000000000u)
		response_error(&x->answer, 400, "profile duration exceeds server's WriteTimeout");
	else if (!x->trace_format)
		response_error(&x->answer, 400, "invalid value for \"format\" - must be go or perfetto");
	else
		begin_trace(x, ns);
}

static void redirect_to_root(struct exchange *x)
{
	static const char root[] = ROOT "/";
	struct span query = x->request.query;
	struct span location = SPAN(ROOT "/");
	if (query.len) {
		size_t n = sizeof root - 1;
		char *to = region_alloc(x->region, n + 1 + query.len);
		if (!to) {
			answer_failure(x, -ENOMEM);
			return;
		}
		memcpy(to, root, n);
		to[n] = '?';
		memcpy(to + n + 1, query.at, query.len);
		location = (struct span){to, n + 1 + query.len};
	}
	response_begin(&x->answer, 301, TYPE_TEXT);
	response_header(&x->answer, "Location", location);
	out_str(&x->answer.body, "moved to " ROOT "/\n");
}

static const struct endpoint *find_endpoint(struct span name)
{
	for (size_t i = 0; i < endpoints_count; i++)
		if (span_is(name, endpoints[i].name))
			return &endpoints[i];
	return NULL;
}

static void route(struct exchange *x)
{
	static const size_t root_len = sizeof ROOT "/" - 1;
	struct span path = x->request.path;
	if (span_is(path, ROOT)) {
		redirect_to_root(x);
		return;
	}
	if (!span_starts(path, ROOT "/")) {
		response_error(&x->answer, 404, "404 page not found");
		return;
	}
	x->endpoint = find_endpoint((struct span){path.at + root_len, path.len - root_len});
	if (!x->endpoint) {
		response_error(&x->answer, 404, "Unknown profile");
		return;
	}
	x->query = (struct query){.url = x->request.query, .body = SPAN(""), .region = x->region};
	if (x->request.form && x->body)
		x->query.body = (struct span){x->body, x->body_len};
	x->endpoint->answer(x);
}

void endpoint_answer(struct exchange *x)
{
	if (x->loopback && x->request.host.len && !host_is_local(x->request.host)) {
		response_error(
			&x->answer, 403,
			"pprofshim: refused, the Host header is neither localhost nor an IP address, as in a DNS "
			"rebinding attack; ask for http://localhost/ or http://127.0.0.1/ with the port, or set "
			"PPROF_ADDR to listen on another address");
	} else if (x->request.method == METHOD_OTHER) {
		response_error(&x->answer, 405, "method not allowed: GET, HEAD and POST are");
		response_header(&x->answer, "Allow", SPAN("GET, HEAD, POST"));
	} else {
		route(x);
	}
}
