/* symbol.c - /debug/pprof/symbol: the names of addresses.
 *
 * Runs in: listener. Memory of the exchange's region; nothing here waits: a handler that needs time sets
 * x->resume and returns.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"

static int encode_symbols(struct exchange *x, struct patience *p)
{
	struct span query = x->request.query;
	if (x->request.method == METHOD_POST)
		query = (struct span){x->body ? x->body : "", x->body_len};
	response_begin(&x->answer, 200, TYPE_TEXT);
	return symbol_answer(x->region, &x->answer.body, query, p);
}

void answer_symbol(struct exchange *x)
{
	answer_when_named(x, encode_symbols, 0);
}
