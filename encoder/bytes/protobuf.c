/* protobuf.c - messages of protobuf, written field by field.
 *
 * Runs in: listener. All memory from the request's region; no libc but mem*.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/bytes/protobuf.h"

#include <string.h>

enum {
	VARINT = 0,
	BYTES = 2,        /* wire type: a length and bytes */
	VARINT_MOST = 10, /* bytes */
	FIRST_CAP = 1024
};

void message_init(struct message *m, struct region *region)
{
	*m = (struct message){.region = region};
}

/* Make room for `bytes` more. A buffer that is too small stays in the region, so each new one is at least twice as
 * large as the one before. */
static bool make_room(struct message *m, size_t bytes)
{
	if (m->cap - m->len >= bytes)
		return true;
	size_t cap = m->cap * 2 + bytes + FIRST_CAP;
	uint8_t *at = m->failed ? NULL : region_alloc(m->region, cap);
	m->failed = !at;
	if (!at)
		return false;
	if (m->len)
		memcpy(at, m->at, m->len);
	m->at = at;
	m->cap = cap;
	return true;
}

static size_t varint_bytes(uint64_t value)
{
	size_t n = 1;
	for (; value >= 0x80; value >>= 7)
		n++;
	return n;
}

void message_varint(struct message *m, uint64_t value)
{
	if (!make_room(m, VARINT_MOST))
		return;
	for (; value >= 0x80; value >>= 7)
		m->at[m->len++] = (uint8_t)(value | 0x80);
	m->at[m->len++] = (uint8_t)value;
}

void message_uint(struct message *m, unsigned field, uint64_t value)
{
	message_varint(m, field << 3 | VARINT);
	message_varint(m, value);
}

void message_number(struct message *m, unsigned field, uint64_t value)
{
	if (value)
		message_uint(m, field, value);
}

void message_head(struct message *m, unsigned field, size_t bytes)
{
	message_varint(m, field << 3 | BYTES);
	message_varint(m, bytes);
}

void message_packed(struct message *m, unsigned field, const uint64_t *values, size_t count)
{
	size_t bytes = 0;
	for (size_t i = 0; i < count; i++)
		bytes += varint_bytes(values[i]);
	if (!count)
		return;
	message_head(m, field, bytes);
	for (size_t i = 0; i < count; i++)
		message_varint(m, values[i]);
}

void message_bytes(struct message *m, unsigned field, struct span bytes)
{
	message_head(m, field, bytes.len);
	if (!bytes.len || !make_room(m, bytes.len))
		return;
	memcpy(m->at + m->len, bytes.at, bytes.len);
	m->len += bytes.len;
}

void message_str(struct message *m, unsigned field, const char *text)
{
	message_bytes(m, field, span_of(text));
}

void message_part(struct message *m, unsigned field, struct message *part)
{
	m->failed |= part->failed;
	message_bytes(m, field, (struct span){(const char *)part->at, part->len});
	part->len = 0;
}
