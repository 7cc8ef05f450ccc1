/* protobuf.h - messages of protobuf, written field by field.
 *
 * Runs in: listener. All memory from the request's region; no libc but mem*.
 *
 * Source of the format: the encoding guide of Protocol Buffers. A field is a key (its number << 3, and the wire type)
 * and a value: a varint, or a length and that many bytes. A message inside another one is written as bytes.
 *
 * A message is used again and again: the code that writes it out or puts it into another one empties it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PROTOBUF_H
#define PPROFSHIM_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/base/arena.h"
#include "shim/base/text.h"

struct message {
	struct region *region;
	uint8_t *at;
	size_t len, cap;
	bool failed; /* no memory: the content is not complete */
};

void message_init(struct message *m, struct region *region);

/* A varint alone, without a key. */
void message_varint(struct message *m, uint64_t value);

/* An integer field. A negative int64 is passed as the uint64 of the same bits. */
void message_uint(struct message *m, unsigned field, uint64_t value);

/* The same, but write nothing for 0, as proto3 does. */
void message_number(struct message *m, unsigned field, uint64_t value);

/* A repeated integer field, packed. Write nothing if count is 0. */
void message_packed(struct message *m, unsigned field, const uint64_t *values, size_t count);

void message_bytes(struct message *m, unsigned field, struct span bytes);
void message_str(struct message *m, unsigned field, const char *text);

/* The key and length of a field; the caller writes the bytes. */
void message_head(struct message *m, unsigned field, size_t bytes);

/* Put `part` into m as a field, and empty `part`. */
void message_part(struct message *m, unsigned field, struct message *part);

#endif
