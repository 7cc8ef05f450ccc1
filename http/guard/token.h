/* token.h - the token of PPROF_TOKEN_FILE.
 *
 * Runs in: listener. The file is read where a request is answered; nothing else is touched.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TOKEN_H
#define PPROFSHIM_TOKEN_H

#include <stdbool.h>

#include "shim/base/text.h"

/* Use this file from now on; NULL or "": there is no token, and everybody may ask. The text must stay where it is. */
void token_start(const char *path);

enum token_state {
	TOKEN_NONE, /* no file is set */
	TOKEN_SHUT, /* the file is no good: nobody may ask */
	TOKEN_SET,
};

/* Read the file if it is not the one that was read last, and say in the log what is wrong with it, once for each
 * trouble. A file that can't be opened any more because the program has given up its rights leaves the token as it was.
 * Returns what holds now. */
enum token_state token_look(void);

/* Is this the token, as token_look found it? The time does not depend on where the two differ. */
bool token_is(struct span given);

/* Find the token in the value of an Authorization header: "Bearer TOKEN", or "Basic " and the base64 form of USER:TOKEN
 * (RFC 7617, RFC 6750). `room` bytes at `space` take what is decoded. *user is empty for Bearer.
 * Returns whether there is one. */
bool token_read_header(struct span value, char *space, size_t room, struct span *user, struct span *token);

#endif
