/* routes.c - which endpoint answers a request.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"

#include <errno.h>

#include "http/guard/guard.h"
#include "http/endpoints/parameters.h"
#include "http/endpoints/pod.h"
#include "http/endpoints/processes.h"
#include "http/server/path.h"

#define ROOT "/debug/pprof"
#define PROCESSES "/pid/"
#define POD "/pod/debug/pprof/"

enum { PROFILE_NONE = -1 };

static const struct endpoint endpoints[] = {
#define ENDPOINT(name, handler, kind, count, takes, description) {name, answer_##handler, PROFILE_##kind, takes},
#include "http/endpoints/endpoints.def"
};

/* The query goes along. No cache keeps the answer: another program may have the port next. */
static void redirect(struct exchange *x, struct span path)
{
	struct span query = x->request.query;
	char *to = region_alloc(x->region, path.len + 1 + query.len);
	if (!to) {
		answer_failure(x, -ENOMEM);
		return;
	}
	memcpy(to, path.at, path.len);
	to[path.len] = '?';
	if (query.len)
		memcpy(to + path.len + 1, query.at, query.len);
	response_begin(&x->answer, 301, TYPE_TEXT);
	response_header(&x->answer, "Location", (struct span){to, path.len + (query.len ? 1 + query.len : 0)});
	out_str(&x->answer.body, "moved to ");
	out_span(&x->answer.body, path);
	out_str(&x->answer.body, "\n");
}

static const struct endpoint *find_endpoint(struct span name)
{
	for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++)
		if (span_is(name, endpoints[i].name))
			return &endpoints[i];
	return NULL;
}

/* Returns false if there is no such endpoint: then the answer says so. */
static bool choose_endpoint(struct exchange *x, struct span name)
{
	x->endpoint = find_endpoint(name);
	if (!x->endpoint) {
		response_error(&x->answer, 404, "Unknown profile");
		return false;
	}
	x->query = (struct query){.url = x->request.query, .body = SPAN(""), .region = x->region};
	if (x->request.form && x->body)
		x->query.body = (struct span){x->body, x->body_len};
	return true;
}

static void answer_by_name(struct exchange *x, struct span name)
{
	if (choose_endpoint(x, name))
		x->endpoint->answer(x);
}

/* Of all processes behind the door there are the profiles that can be merged. */
static void answer_of_pod(struct exchange *x, struct span name)
{
	if (!choose_endpoint(x, name))
		return;
	if (x->endpoint->kind == PROFILE_NONE)
		response_error(&x->answer, 404, "pprofshim: all processes together have no such profile; see /pid/");
	else
		pod_answer(x);
}

/* A path that is not clean is answered with the clean one, as Go's mux does; so a path has one form, whoever asks. */
static void route(struct exchange *x)
{
	static const size_t root_len = sizeof ROOT "/" - 1;
	struct span path = x->request.path;
	char *to = region_alloc(x->region, 2 * (path.len + 1));
	if (!to) {
		answer_failure(x, -ENOMEM);
		return;
	}
	struct span clean = path_clean(path, to), name = path_decode(clean, to + path.len + 1);
	if (span_is(name, "/") || span_is(name, ROOT))
		redirect(x, SPAN(ROOT "/"));
	else if (clean.len != path.len || memcmp(clean.at, path.at, path.len) != 0)
		redirect(x, clean);
	else if (span_is(name, "/pid"))
		redirect(x, SPAN("/pid/"));
	else if (span_starts(clean, PROCESSES))
		processes_answer(x, (struct span){clean.at + sizeof PROCESSES - 1, clean.len - (sizeof PROCESSES - 1)},
		                 answer_by_name);
	else if (span_starts(name, POD))
		answer_of_pod(x, (struct span){name.at + sizeof POD - 1, name.len - (sizeof POD - 1)});
	else if (!span_starts(name, ROOT "/"))
		response_error(&x->answer, 404, "404 page not found");
	else
		answer_by_name(x, (struct span){name.at + root_len, name.len - root_len});
}

void endpoint_answer(struct exchange *x)
{
	if (!guard_admits(x))
		return;
	if (x->request.method == METHOD_OTHER) {
		response_error(&x->answer, 405, "method not allowed: GET, HEAD and POST are");
		response_header(&x->answer, "Allow", SPAN("GET, HEAD, POST"));
	} else {
		route(x);
	}
}
