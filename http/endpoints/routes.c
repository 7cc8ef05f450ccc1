/* routes.c - which endpoint answers a request.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"

#include <errno.h>

#include "http/address/host.h"
#include "http/endpoints/parameters.h"

#define ROOT "/debug/pprof"

enum { PROFILE_NONE = -1 };

static const struct endpoint endpoints[] = {
#define ENDPOINT(name, handler, kind, count, takes, description) {name, answer_##handler, PROFILE_##kind, takes},
#include "http/endpoints/endpoints.def"
};

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
	for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++)
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
