/* fuzz_access.c - any bytes as a client's request: each gives one line of the access log, of ten words and printable
 * ASCII.
 *
 * Runs in: its own process, under libFuzzer. The line is taken where log.c would write it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/server/access.c http/server/request.c http/server/path.c
 * links: http/address/peer.c http/address/ip.c shim/base/text.c */
#define _GNU_SOURCE
#include "test/fuzz/input.h"

#include "http/server/access.h"
#include "http/server/request.h"
#include "shim/base/house.h"
#include "shim/base/log.h"

struct house house; /* base/house.c's, which needs much else */
static unsigned lines;

bool log_wants_access(void)
{
	return true;
}

void log_access(const char *line)
{
	size_t n = strlen(line);
	unsigned words = 1;
	MUST(n > 0 && n < 639); /* not cut off */
	for (size_t i = 0; i < n; i++) {
		MUST(line[i] >= ' ' && line[i] <= '~');
		words += line[i] == ' ';
	}
	MUST(words == 10);
	lines++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct request q = {0};
	struct peer p = {.kind = size % 3};
	memcpy(p.ip, data, size < sizeof p.ip ? size : sizeof p.ip);
	request_parse(&q, (const char *)data, size);
	struct access a = {
		.peer = &p,
		.method = q.method_name,
		.path = q.path,
		.query = q.query,
		.user = q.authorization,
		.status = (unsigned)size,
		.bytes = size,
	};
	lines = 0;
	access_tell(&a);
	MUST(lines == 1);
	return 0;
}
