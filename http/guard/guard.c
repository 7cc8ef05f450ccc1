/* guard.c - may this request be answered?
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/guard/guard.h"

#include "http/address/host.h"
#include "http/guard/guesses.h"
#include "http/guard/token.h"
#include "shim/base/os.h"

static void refuse_host(struct exchange *x)
{
	response_error(&x->answer, 403,
	               "pprofshim: refused, the Host header is neither localhost nor an IP address, as in a DNS "
	               "rebinding attack; ask for http://localhost/ or http://127.0.0.1/ with the port, or set "
	               "PPROF_ADDR to listen on another address");
}

static void refuse_site(struct exchange *x)
{
	response_error(
		&x->answer, 403,
		"pprofshim: refused, a page of another site asks for this (Sec-Fetch-Site: cross-site); type the "
		"address, or follow a link of these pages");
}

static void refuse_all(struct exchange *x)
{
	response_error(&x->answer, 503,
	               "pprofshim: shut, the file of PPROF_TOKEN_FILE is no good; the program's log says why");
}

static void refuse_token(struct exchange *x)
{
	response_error(&x->answer, 401,
	               "pprofshim: this wants the token of PPROF_TOKEN_FILE: Authorization: Bearer TOKEN, or "
	               "http://user:TOKEN@host/");
	response_header(&x->answer, "WWW-Authenticate", SPAN("Basic realm=\"pprofshim\", Bearer"));
}

/* Room for what Basic decodes to: three quarters of the header. */
static bool has_token(struct exchange *x)
{
	struct span value = x->request.authorization, user, given;
	char *space = region_alloc(x->region, value.len + 1);
	bool good = space && token_read_header(value, space, value.len, &user, &given) && token_is(given);
	struct line name = LINE(x->user); /* or it keeps the name of the certificate */
	if (good && user.len)
		line_bytes(&name, user.at, user.len);
	return good;
}

/* A client that sends no token at all has not guessed: browsers and curl --anyauth ask once without. */
static bool check_token(struct exchange *x)
{
	enum token_state state = token_look();
	if (state == TOKEN_NONE || (state == TOKEN_SET && has_token(x)))
		return true;
	if (state == TOKEN_SHUT) {
		refuse_all(x);
	} else if (!x->request.authorization.len) {
		refuse_token(x);
	} else {
		uint64_t now = os_clock_ns(CLOCK_MONOTONIC);
		x->resume = refuse_token;
		x->resume_ns = now + guesses_count(&x->peer, now) * UINT64_C(1000000);
	}
	return false;
}

bool guard_admits(struct exchange *x)
{
	if (x->is_passed)
		return true;
	if (x->loopback && x->request.host.len && !host_is_local(x->request.host))
		refuse_host(x);
	else if (span_is_nocase(x->request.fetch_site, "cross-site"))
		refuse_site(x);
	else
		return check_token(x);
	return false;
}
