/* answer.c - functions that the handlers of several endpoints share.
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits: a handler that needs time sets
 * x->resume and returns.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"
#include "shim/base/os.h"
#include "shim/base/pace.h"
#include "shim/base/proc.h"

void answer_failure(struct exchange *x, int rc)
{
	char text[128];
	struct line l = LINE(text);
	if (rc == -ENOMEM) {
		line_str(&l, TEXT_OUT_OF_MEMORY);
	} else if (rc == -ENOENT) {
		line_str(&l, "pprofshim: this is not known: " PROC_IS_MISSING);
	} else {
		line_str(&l, "pprofshim: this could not be made, error ");
		line_dec(&l, -(int64_t)rc);
	}
	response_error(&x->answer, rc == -ENOMEM ? 503 : 500, text);
}

void answer_attachment(struct exchange *x, const char *suffix)
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

void *answer_own(struct exchange *x, size_t size)
{
	x->own = region_alloc(x->region, size);
	if (!x->own)
		answer_failure(x, -ENOMEM);
	return x->own;
}

/* ---- answers that need names ---- */

/* `encode` makes the whole answer, and is called again as long as it returns -EAGAIN. */
struct names_wait {
	int (*encode)(struct exchange *x, struct patience *p);
	struct patience patience;
};

static void make_answer(struct exchange *x);

static void await_names(struct exchange *x)
{
	unsigned ms = encoder_wait_ms(&x->names_wait->patience);
	if (!ms) {
		make_answer(x);
		return;
	}
	x->resume = await_names;
	x->resume_ns = os_clock_ns(CLOCK_MONOTONIC) + ms * UINT64_C(1000000);
}

void answer_end_wait(struct exchange *x)
{
	if (x->abandon)
		x->abandon(x);
	x->abandon = NULL;
}

/* All answers share one table of names. So one answer is encoded at a time, and others wait for their turn; clients
 * without such answers do not wait. */
static int encode_alone(struct exchange *x)
{
	static struct pace_turn encoding;
	if (!pace_take_turn(&encoding))
		return -ENOMEM;
	int rc = x->names_wait->encode(x, &x->names_wait->patience);
	pace_leave_turn(&encoding);
	return rc;
}

/* Make the answer. The memory of an attempt that lacked names is released. */
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
	answer_end_wait(x);
	if (rc < 0)
		answer_failure(x, rc);
}

void answer_when_named(struct exchange *x, int (*encode)(struct exchange *x, struct patience *p), unsigned most_s)
{
	struct names_wait *w = region_alloc(x->region, sizeof *w);
	if (!w) {
		answer_end_wait(x);
		answer_failure(x, -ENOMEM);
		return;
	}
	w->encode = encode;
	w->patience.most_s = most_s;
	x->names_wait = w;
	make_answer(x);
}

/* ---- recordings: the CPU profile, the trace ---- */

void answer_pause(struct exchange *x, void (*resume)(struct exchange *x), uint64_t ns, uint64_t end_ns)
{
	x->resume = resume;
	x->resume_ns = ns < end_ns ? ns : end_ns;
}

void answer_refuse(struct exchange *x, int rc, const char *what, const char *busy)
{
	char text[256];
	struct line l = LINE(text);
	line_str(&l, "Could not enable ");
	line_str(&l, what);
	line_str(&l, ": ");
	switch (rc) {
	case -EBUSY: line_str(&l, busy); break;
	case -ENOSYS: line_str(&l, "not possible on this system"); break;
	case -ENOMEM: line_str(&l, TEXT_OUT_OF_MEMORY); break;
	case -ENOSPC:
		line_str(&l, "no room for one more thread in the program; raise the limit (ulimit -u, pids.max; "
		             "haproxy: insecure-fork-wanted)");
		break;
	case -ETIME:
		line_str(&l, proc_is_there() ? "no thread of the program takes signal 33 now; ask again"
		                             : PROC_IS_MISSING ", which tells who takes signal 33");
		break;
	default: line_str(&l, "error "); line_dec(&l, -(int64_t)rc);
	}
	response_error(&x->answer, rc == -ENOMEM || rc == -ETIME || rc == -ENOSPC ? 503 : 500, text);
}
