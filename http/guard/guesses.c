/* guesses.c - the wrong tokens of each peer.
 *
 * Runs in: listener. A static table, no system call.
 *
 * Only wrong answers wait. Behind a port-forward all clients have one address, and a client that has the token must
 * not wait for one that guesses.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/guard/guesses.h"

enum {
	PEERS = 64, /* one more takes the place of the one that guessed longest ago */
	FIRST_MS = 100,
	MOST_MS = 5000,
};
static const uint64_t FORGET_NS = UINT64_C(60000000000);

static struct guesser {
	struct peer peer;
	uint64_t last_ns;
	unsigned next_ms; /* 0: the row is free */
} table[PEERS];

static struct guesser *find(const struct peer *p)
{
	struct guesser *oldest = table;
	for (struct guesser *g = table; g < table + PEERS; g++) {
		if (g->next_ms && peer_is_like(&g->peer, p))
			return g;
		if (!g->next_ms || g->last_ns < oldest->last_ns)
			oldest = g;
	}
	*oldest = (struct guesser){.peer = *p};
	return oldest;
}

unsigned guesses_count(const struct peer *p, uint64_t now_ns)
{
	struct guesser *g = find(p);
	if (!g->next_ms || now_ns - g->last_ns > FORGET_NS)
		g->next_ms = FIRST_MS;
	unsigned ms = g->next_ms;
	g->next_ms = ms * 2 < MOST_MS ? ms * 2 : MOST_MS;
	g->last_ns = now_ns;
	return ms;
}
