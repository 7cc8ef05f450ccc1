/* secure.h - what a layer between a connection and its socket does: TLS (http/tls). Without one, bytes go as they are.
 *
 * Runs in: listener. Nothing here waits.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SECURE_H
#define PPROFSHIM_SECURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct secure; /* a client's session */

enum secure_step {
	SECURE_WAITS,  /* for events (interest) */
	SECURE_READY,  /* the handshake is over: requests may be read */
	SECURE_FAILED, /* it can't be; what says so to the client is sent */
	SECURE_PLAIN,  /* the client speaks HTTP without TLS */
};

struct secure_layer {
	/* Returns a session for a new client; NULL: the endpoint is shut, or there is no memory. */
	struct secure *(*open)(int fd);

	/* Go on with the handshake. */
	enum secure_step (*shake_hands)(struct secure *s);

	/* As recv and sendmsg do without waiting: bytes; 0: the client has ended it; or a negative errno. What send
	 * refuses with -EAGAIN is sent again, unchanged, before anything else. */
	long (*receive)(struct secure *s, void *to, size_t room);
	long (*send)(struct secure *s, const struct iovec *parts, size_t n);

	/* Returns the epoll events that a session waits for before it can go on to read. */
	uint32_t (*interest)(const struct secure *s);

	/* Returns who the client has proved to be; "": nobody. */
	const char *(*user)(const struct secure *s);

	/* Tell the client that nothing follows. */
	void (*say_end)(struct secure *s);

	/* Free the session. The socket is the connection's. */
	void (*close)(struct secure *s);
};

#endif
