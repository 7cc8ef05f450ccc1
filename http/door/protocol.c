/* protocol.c - messages between processes behind one door: their sizes, and what is never believed.
 *
 * Runs in: listener. No libc but mem*, no memory but the caller's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/door/protocol.h"

#include <stdbool.h>
#include <string.h>

static const size_t sizes[PROTOCOL_KINDS] = {
	[PROTOCOL_HELLO] = sizeof(struct protocol_hello),     [PROTOCOL_WELCOME] = sizeof(struct protocol_welcome),
	[PROTOCOL_REFUSED] = sizeof(struct protocol_refused), [PROTOCOL_ASK] = sizeof(struct protocol_head),
	[PROTOCOL_STATUS] = sizeof(struct protocol_status),   [PROTOCOL_PASS] = sizeof(struct protocol_head),
	[PROTOCOL_TAKEN] = sizeof(struct protocol_head),
};

size_t protocol_begin(union protocol_message *m, enum protocol_kind kind)
{
	memset(m, 0, sizeof *m);
	m->head = (struct protocol_head){PROTOCOL_MAGIC, PROTOCOL_VERSION, (uint16_t)kind};
	return sizes[kind];
}

static bool ends(const char *text, size_t room)
{
	return memchr(text, '\0', room) != NULL;
}

#define ENDS(array) ends(array, sizeof(array))

static bool is_sound(const union protocol_message *m)
{
	switch (m->head.kind) {
	case PROTOCOL_HELLO: return m->hello.pid > 0 && m->hello.listener > 0 && m->hello.parent >= 0;
	case PROTOCOL_WELCOME: return ENDS(m->welcome.name) && ENDS(m->welcome.url) && m->welcome.name[0];
	case PROTOCOL_REFUSED: return m->refused.why < PROTOCOL_REFUSALS;
	case PROTOCOL_STATUS:
		return ENDS(m->status.program) && ENDS(m->status.command) && ENDS(m->status.warning) &&
		       m->status.parent >= 0;
	default: return true;
	}
}

static bool has_head(const union protocol_message *m, size_t size)
{
	return size >= sizeof m->head && m->head.magic == PROTOCOL_MAGIC;
}

enum protocol_kind protocol_kind(const union protocol_message *m, size_t size)
{
	if (!has_head(m, size) || m->head.version != PROTOCOL_VERSION)
		return PROTOCOL_BAD;
	unsigned kind = m->head.kind;
	if (kind == PROTOCOL_BAD || kind >= PROTOCOL_KINDS || size != sizes[kind] || !is_sound(m))
		return PROTOCOL_BAD;
	return (enum protocol_kind)kind;
}

int protocol_is_other_version(const union protocol_message *m, size_t size)
{
	return has_head(m, size) && m->head.version != PROTOCOL_VERSION;
}
