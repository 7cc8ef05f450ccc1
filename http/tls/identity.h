/* identity.h - the certificate, the key and the authorities of the files that the settings name.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_IDENTITY_H
#define PPROFSHIM_IDENTITY_H

#include <mbedtls/ssl.h>

#include "http/tls/tls.h"

struct identity {
	mbedtls_ssl_config config;
	mbedtls_x509_crt chain, authorities;
	mbedtls_pk_context key;
	unsigned users; /* sessions, and whether it is the present one */
};

/* Use these files from now on. What was read before is forgotten, not freed: its memory is gone. */
void identity_start(const struct tls_options *options);

/* Read the files if they are not those that were read last, and say in the log what is wrong with them, once for each
 * trouble.
 * Returns the present identity for a session, which gives it back; NULL: the endpoint is shut. */
struct identity *identity_take(void);
void identity_give_back(struct identity *i);

#endif
