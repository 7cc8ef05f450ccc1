/* protocol.h - what the processes behind one door say to each other: messages of a SOCK_SEQPACKET socket.
 *
 * Runs in: listener, of both processes. A message comes from another process, which may lie: a receiver believes none
 * before protocol_kind has looked at it.
 *
 *   member                        owner of the door
 *   HELLO        ──────────────►
 *                ◄──────────────  WELCOME, with the member's name; or REFUSED
 *                ◄──────────────  ASK
 *   STATUS       ──────────────►
 *                ◄──────────────  PASS, with one end of a socket pair: a client
 *   TAKEN        ──────────────►
 *
 * The connection stays. Its end tells each side that the other process has died.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DOOR_PROTOCOL_H
#define PPROFSHIM_DOOR_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

enum { PROTOCOL_MAGIC = 0x70736431, PROTOCOL_VERSION = 1 };

enum protocol_kind {
	PROTOCOL_BAD, /* not a kind: the message is none of these */
	PROTOCOL_HELLO,
	PROTOCOL_WELCOME,
	PROTOCOL_REFUSED,
	PROTOCOL_ASK,
	PROTOCOL_STATUS,
	PROTOCOL_PASS,
	PROTOCOL_TAKEN,
	PROTOCOL_KINDS,
};

struct protocol_head {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
};

/* The numbers are those of the sender's pid namespace. */
struct protocol_hello {
	struct protocol_head head;
	int32_t pid;      /* of the program */
	int32_t listener; /* of the process that sends this */
	int32_t parent;   /* of the program */
	int32_t unused;
};

enum protocol_refusal {
	PROTOCOL_STRANGER, /* another user's */
	PROTOCOL_FULL,
	PROTOCOL_OTHER, /* another version of the library */
	PROTOCOL_REFUSALS,
};

/* All texts end with a NUL. */
struct protocol_welcome {
	struct protocol_head head;
	char name[24]; /* of the member in URLs */
	char url[120]; /* of the door */
};

struct protocol_refused {
	struct protocol_head head;
	uint32_t why; /* enum protocol_refusal */
	uint32_t unused;
};

/* How a process is. Numbers that are not known are 0. */
struct protocol_status {
	struct protocol_head head;
	uint64_t age_ms, rss_bytes, live_bytes, cpu_ms;
	uint32_t threads;
	uint32_t deadlocks;
	uint32_t losses; /* kinds of them */
	int32_t parent;  /* of the program, in its own pid namespace */
	char program[16];
	char command[160]; /* arguments, joined by spaces; cut off if it is longer */
	char warning[120]; /* the first of its warnings, or "" */
};

/* ASK, PASS and TAKEN are heads alone. */

union protocol_message {
	struct protocol_head head;
	struct protocol_hello hello;
	struct protocol_welcome welcome;
	struct protocol_refused refused;
	struct protocol_status status;
};

/* Write the head of a message of that kind. Returns its size in bytes. */
size_t protocol_begin(union protocol_message *m, enum protocol_kind kind);

/* Look at `size` bytes that were received.
 * Returns their kind; PROTOCOL_BAD: the size, the head, an end of a text or a number is wrong. */
enum protocol_kind protocol_kind(const union protocol_message *m, size_t size);

/* Is a message that was found bad one of another version of the library? */
int protocol_is_other_version(const union protocol_message *m, size_t size);

#endif
