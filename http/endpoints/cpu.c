/* cpu.c - /debug/pprof/profile: the CPU profile.
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits: a handler that needs time sets
 * x->resume and returns.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"
#include "http/endpoints/parameters.h"
#include "shim/base/os.h"

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
	snapshot_cpu_abandon(x->region);
}

static void finish_profile(struct exchange *x)
{
	struct own *own = x->own;
	own->now.kind = PROFILE_CPU;
	int rc = snapshot_cpu_end(x->region, &own->now.cpu);
	x->abandon = NULL;
	if (rc == 0)
		answer_when_named(x, encode_profile, 0);
	else
		answer_failure(x, rc);
}

/* The samples wait in a ring of limited length. Take them out whenever the ring asks for it, up to the end. */
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

void answer_profile(struct exchange *x)
{
	int64_t seconds, hz; /* hz 0: use the setting */
	const char *wrong = parameter_read(x, PARAMETER_CPU_SECONDS, &seconds);
	const char *wrong_hz = parameter_read(x, PARAMETER_HZ, &hz);
	if (x->query.failed)
		answer_failure(x, -ENOMEM);
	else if (wrong || wrong_hz)
		response_error(&x->answer, 400, wrong ? wrong : wrong_hz);
	else
		begin_profile(x, seconds, (unsigned)hz);
}
