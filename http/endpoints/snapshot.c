/* snapshot.c - the profiles from counters: their values now, or the difference over some seconds.
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits: a handler that needs time sets
 * x->resume and returns.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"
#include "http/endpoints/parameters.h"
#include "http/endpoints/take.h"
#include "shim/base/os.h"

enum { PATIENCE_OF_PEOPLE_S = 5 }; /* users who read a text, maybe about a deadlock, can ask again */

struct own {
	struct profile_snapshot now;
	struct profile_snapshot before; /* for a delta */
	int64_t debug;                  /* for a text form */
	int rate_token;                 /* for a contention delta with a rate of its own: restores the old rate */
};

static int encode_text(struct exchange *x, struct patience *p)
{
	const struct own *own = x->own;
	response_begin(&x->answer, 200, TYPE_TEXT);
	return profile_encode_text(x->region, &x->answer.body, &own->now, own->debug, p);
}

static int encode_now(struct exchange *x, struct patience *p)
{
	const struct own *own = x->own;
	answer_attachment(x, "");
	return profile_encode(x->region, &x->answer.body, &own->now, NULL, p);
}

static int encode_delta(struct exchange *x, struct patience *p)
{
	const struct own *own = x->own;
	answer_attachment(x, "-delta");
	return profile_encode(x->region, &x->answer.body, &own->now, &own->before, p);
}

static void answer_now(struct exchange *x, int64_t debug)
{
	struct own *own = x->own;
	int rc = profile_take(x->region, (enum profile_kind)x->endpoint->kind, &own->now);
	own->debug = debug;
	if (rc == 0 && own->now.kind == PROFILE_GOROUTINE && debug >= 2)
		snapshot_dump_descriptors(x->region, &own->now.dump);
	if (rc < 0)
		answer_failure(x, rc);
	else if (debug)
		answer_when_named(x, encode_text, PATIENCE_OF_PEOPLE_S);
	else
		answer_when_named(x, encode_now, 0);
}

/* A contention delta may have a rate of its own, which keeps more events while the request lasts (snapshot.h). */
static const struct rate {
	int kind; /* of the endpoint */
	enum contention_kind contention;
	enum parameter_id parameter;
	const char *alone, *off; /* texts of errors */
} rates[] = {
#define RATE(kind, id, name, variable) \
	{ \
		PROFILE_##kind, CONTENTION_##kind, PARAMETER_##id, \
			"\"" name "\" needs \"seconds\": it holds while a difference is being taken", \
			"pprofshim: nothing is recorded, as the program was started with " variable \
			"=0; start it with another value, or without" \
	}
	RATE(BLOCK, RATE, "rate", "PPROF_BLOCK_RATE"),
	RATE(MUTEX, FRACTION, "fraction", "PPROF_MUTEX_FRACTION"),
#undef RATE
};

/* Returns NULL for a profile without a rate. */
static const struct rate *rate_of(const struct endpoint *e)
{
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
		if (rates[i].kind == e->kind)
			return &rates[i];
	return NULL;
}

static void restore_rate(struct exchange *x)
{
	const struct own *own = x->own;
	snapshot_contention_restore(rate_of(x->endpoint)->contention, own->rate_token);
}

/* Raise the rate for this request. False: it failed, and the answer says why. */
static bool raise_rate(struct exchange *x, int64_t value)
{
	const struct rate *rate = rate_of(x->endpoint);
	struct own *own = x->own;
	int token = snapshot_contention_raise(rate->contention, (uint64_t)value);
	own->rate_token = token;
	if (token >= 0)
		x->abandon = restore_rate;
	else if (token == -ENOSYS)
		response_error(&x->answer, 400, rate->off);
	else if (token == -EBUSY)
		response_error(&x->answer, 503,
		               "pprofshim: too many requests have a rate of their own already; ask again later");
	else
		answer_failure(x, token);
	return token >= 0;
}

static void finish_delta(struct exchange *x)
{
	struct own *own = x->own;
	int rc = profile_take(x->region, own->before.kind, &own->now);
	answer_end_wait(x);
	if (rc == 0)
		answer_when_named(x, encode_delta, 0);
	else
		answer_failure(x, rc);
}

/* Begin a delta. rate 0: use the current rate. */
static void begin_delta(struct exchange *x, int64_t seconds, int64_t rate)
{
	struct own *own = x->own;
	if (rate && !raise_rate(x, rate))
		return;
	int rc = profile_take(x->region, (enum profile_kind)x->endpoint->kind, &own->before);
	if (rc < 0) {
		answer_end_wait(x);
		answer_failure(x, rc);
		return;
	}
	uint64_t end_ns = os_clock_ns(CLOCK_MONOTONIC) + (uint64_t)seconds * 1000000000u;
	answer_pause(x, finish_delta, end_ns, end_ns);
}

/* Check the length of a delta; *seconds is 0 if none is asked for. The order of the checks and their texts are Go's
 * (encoder/FORMATS.md). Its "not supported" cannot happen, as all six profiles have deltas.
 * Returns NULL, or what is wrong. */
static const char *check_seconds(struct exchange *x, int64_t debug, int64_t *seconds)
{
	const char *wrong = parameter_read(x, PARAMETER_SECONDS, seconds);
	if (wrong)
		return wrong;
	return *seconds && debug ? "seconds and debug params are incompatible" : NULL;
}

/* Check the rate that was asked for; *value is 0 if there was none. Returns NULL, or what is wrong. */
static const char *check_rate(struct exchange *x, bool is_delta, int64_t *value)
{
	const struct rate *rate = rate_of(x->endpoint);
	*value = 0;
	if (!rate)
		return NULL;
	const char *wrong = parameter_read(x, rate->parameter, value);
	if (wrong)
		return wrong;
	return *value && !is_delta ? rate->alone : NULL;
}

void answer_snapshot(struct exchange *x)
{
	int64_t debug, seconds, rate = 0;
	parameter_read(x, PARAMETER_DEBUG, &debug);
	const char *wrong = check_seconds(x, debug, &seconds);
	if (!wrong)
		wrong = check_rate(x, seconds > 0, &rate);
	if (x->query.failed)
		answer_failure(x, -ENOMEM);
	else if (wrong)
		response_error(&x->answer, 400, wrong);
	else if (!answer_own(x, sizeof(struct own)))
		return;
	else if (seconds)
		begin_delta(x, seconds, rate);
	else
		answer_now(x, debug);
}
