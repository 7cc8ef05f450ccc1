/* cpu.c - /debug/pprof/profile: the CPU profile.
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits: a handler that needs time sets
 * x->resume and returns.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"
#include "shim/base/os.h"

enum {
	DEFAULT_SECONDS = 30, /* when the request does not say */
	MOST_HZ = 1000,
};

struct own {
	struct profile_snapshot now;
	uint64_t until_ns; /* CLOCK_MONOTONIC */
};

static int encode_profile(struct exchange *x, struct patience *p)
{
	const struct own *own = x->own;
	answer_attachment(x, "");
	return profile_encode(x->region, &x->answer.body, &own->now, NULL, p);
}

static void abandon_profile(struct exchange *x)
{
	(void)x;
	snapshot_cpu_abandon();
}

static void finish_profile(struct exchange *x)
{
	struct own *own = x->own;
	own->now.kind = PROFILE_CPU;
	x->abandon = NULL;
	int rc = snapshot_cpu_end(&own->now.cpu);
	if (rc == 0)
		answer_when_named(x, encode_profile, 0);
	else
		answer_failure(x, rc);
}

/* The samples wait in a ring of limited length: they are taken out when it asks for it, up to the end. */
static void continue_profile(struct exchange *x)
{
	const struct own *own = x->own;
	uint64_t now_ns = os_clock_ns(CLOCK_MONOTONIC);
	if (now_ns >= own->until_ns) {
		finish_profile(x);
		return;
	}
	uint64_t pause_ms = snapshot_cpu_drain();
	answer_pause(x, continue_profile, now_ns + (pause_ms ? pause_ms : 1) * 1000000, own->until_ns);
}

static void begin_profile(struct exchange *x, int64_t seconds, unsigned hz)
{
	struct own *own = answer_own(x, sizeof *own);
	if (!own)
		return;
	int rc = snapshot_cpu_begin(x->region, hz);
	if (rc < 0) {
		answer_refuse(x, rc, "CPU profiling", "cpu profiling already in use");
		return;
	}
	x->abandon = abandon_profile;
	own->until_ns = os_clock_ns(CLOCK_MONOTONIC) + (uint64_t)seconds * 1000000000u;
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

void answer_profile(struct exchange *x)
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
