/* limits.h - what the server allows a client: sizes, deadlines, connections.
 *
 * Runs in: listener. Constants, and one table of deadlines that the unit test shortens before it starts
 * a server; nothing else writes it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_LIMITS_H
#define PPROFSHIM_LIMITS_H

#include <stdint.h>

enum {
	LIMIT_REQUEST_LINE = 20 * 1024, /* bytes without the line end; more: 414. A query of 16 KiB fits */
	LIMIT_HEADERS = 16 * 1024,      /* bytes with line ends, the empty line too; more: 431 */
	LIMIT_BLANK_LINES = 4,          /* before a request line (RFC 9112, 2.2); more: 400 */
	LIMIT_BODY = 4 << 20,           /* bytes; more: 413 */
	LIMIT_SECONDS = 60 * 60,        /* of a delta, a CPU profile or a trace; Go's limit is its WriteTimeout */
	LIMIT_CONNECTIONS = 64,         /* served at a time */
	LIMIT_REFUSALS = 8,             /* more that are answered with 503 at a time */
	LIMIT_SMALL_ANSWER = 1 << 20,   /* bytes that an answer may hold for long while its client does not read */
	LIMIT_DRAIN = 8 << 20,          /* bytes read and dropped after the last answer of a connection */

	/* A head within the limits above always fits; one beyond them is refused before this is full. */
	LIMIT_INPUT = 37 * 1024,
};

struct server_deadlines {
	uint32_t head_ms;            /* for a complete request head; then 408 */
	uint32_t body_ms;            /* for the body, from the head's end; then 408 */
	uint32_t idle_ms;            /* between two requests; then closed without an answer */
	uint32_t write_ms;           /* while the client takes no byte; then reset */
	uint32_t write_large_ms;     /* the same, if the answer holds more than LIMIT_SMALL_ANSWER */
	uint32_t write_gives_way_ms; /* while the client takes no byte; then a new client may have its place */
	uint32_t relay_take_ms;      /* until another process has read the request; then 504 */
	uint32_t relay_stall_ms;     /* in the middle of its answer; then reset */
	uint32_t linger_ms;          /* for the client to read the last answer and close */
	uint32_t accept_pause_ms;    /* without accepting, if the process has no descriptor left */
};
extern struct server_deadlines server_deadlines;

#endif
