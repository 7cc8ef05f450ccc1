/* fuzz_door.c - any bytes as a message between processes: one that is believed has its size, ends its texts and has
 * numbers that a process may have.
 *
 * Runs in: its own process, under libFuzzer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/door/protocol.c http/door/table.c http/address/fd.c
 * links: test/fuzz/region_malloc.c shim/base/text.c */
#include "test/fuzz/input.h"

#include <stdbool.h>
#include <string.h>

#include "http/door/protocol.h"
#include "http/door/table.h"

static void check_texts(const union protocol_message *m, enum protocol_kind kind)
{
	if (kind == PROTOCOL_STATUS) {
		MUST(strlen(m->status.program) < sizeof m->status.program);
		MUST(strlen(m->status.command) < sizeof m->status.command);
		MUST(strlen(m->status.warning) < sizeof m->status.warning);
	}
	if (kind == PROTOCOL_WELCOME) {
		MUST(strlen(m->welcome.name) < sizeof m->welcome.name && m->welcome.name[0]);
		MUST(strlen(m->welcome.url) < sizeof m->welcome.url);
	}
	if (kind == PROTOCOL_REFUSED)
		MUST(m->refused.why < PROTOCOL_REFUSALS);
	if (kind == PROTOCOL_HELLO)
		MUST(m->hello.pid > 0 && m->hello.listener > 0);
}

/* A member is found by its own name, and by no other spelling of it. */
static void check_name(const uint8_t *data, size_t size, int32_t pid)
{
	static struct table table = {.own_pid = 1};
	char text[24];
	struct line l = LINE(text);
	struct member *m = table_add(&table, 1000);
	MUST(m);
	table_name(&table, m, pid);
	table_print_name(m, &l);
	MUST(table_find(&table, span_of(text)) == m);
	struct span name = {(const char *)data, size};
	MUST((table_find(&table, name) == m) == span_is(name, text));
	table_remove(&table, m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	union protocol_message m = {0};
	memcpy(&m, data, size < sizeof m ? size : sizeof m);
	enum protocol_kind kind = protocol_kind(&m, size);
	MUST(kind < PROTOCOL_KINDS);
	if (size > sizeof m || size < sizeof m.head)
		MUST(kind == PROTOCOL_BAD);
	check_texts(&m, kind);
	check_name(data, size, kind == PROTOCOL_HELLO ? m.hello.pid : 42);
	return 0;
}
