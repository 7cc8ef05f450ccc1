/* tls.h - TLS between each connection and its socket.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TLS_H
#define PPROFSHIM_TLS_H

#include "http/server/secure.h"

/* Paths of files in PEM form; NULL or "": not set. The texts must stay where they are. */
struct tls_options {
	const char *certificate; /* of the server, and the intermediate ones after it */
	const char *key;         /* its private key */
	const char *client_ca;   /* authorities: a client must show a certificate of one; not set: it needs none */
};

/* A listener begins. Say in the log what is wrong with the files, as at each new client: then the endpoint is shut.
 * Returns the layer; NULL if no file is set: then nothing else of this room is touched. */
const struct secure_layer *tls_start(const struct tls_options *options);

#endif
