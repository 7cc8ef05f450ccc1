/* steps.h - the steps that the two halves of a connection share: receiving (connection.c) and sending (sending.c).
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_STEPS_H
#define PPROFSHIM_STEPS_H

#include "http/server/connection.h"
#include "shim/base/os.h"

static inline uint64_t steps_now_ns(void)
{
	return os_clock_ns(CLOCK_MONOTONIC);
}

static inline void steps_enter(struct connection *c, enum connection_state state, uint32_t deadline_ms)
{
	c->state = state;
	c->deadline_ns = steps_now_ns() + deadline_ms * UINT64_C(1000000);
}

static inline void steps_end(struct connection *c)
{
	c->state = CONNECTION_OVER;
}

static inline long steps_receive(struct connection *c, void *to, size_t room)
{
	if (c->secure)
		return c->layer->receive(c->secure, to, room);
	return os_call(SYS_recvfrom, c->fd, to, room, MSG_DONTWAIT, 0, 0);
}

/* After a receive: is there no data yet? Any other result without data ends the connection. */
static inline bool steps_must_wait(long received)
{
	return received == -EAGAIN || received == -EINTR;
}

/* Begin to wait for the next request of a connection whose answer has been sent. In connection.c. */
void connection_begin_head(struct connection *c);

#endif
