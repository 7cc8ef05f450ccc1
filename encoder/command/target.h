/* target.h - where a profile comes from: a saved one, or an endpoint that is asked for it.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TARGET_H
#define PPROFSHIM_TARGET_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

struct target {
	const char *text; /* as the user gave it */
	bool is_file;
	struct sockaddr_storage address;
	socklen_t address_bytes;
	char host[280]; /* for the header Host */
	char path[4096];
	char authorization[1200]; /* the value of that header; "": none */
	unsigned wait_s;          /* how long the endpoint takes for it */
};

/* Find out what is meant: the name of a file that exists (or "-"), http://[user:password@]host[:port][/path],
 * host:port, unix:/path. A host is an IP address or localhost. Without a path, `profile` of /debug/pprof/ is asked for,
 * over `seconds` where that is not 0. `token` (NULL: none) is shown where the URL has no password.
 * Ends the program if it is none of these. */
void target_find(struct target *t, const char *text, const char *profile, unsigned seconds, const char *token);

/* Open a saved profile, or ask for it and take it whole; on a terminal, a line of stderr shows how far that is. Ends
 * the program, with what to do, if that fails. Returns a descriptor to read the profile from. */
int target_open(const struct target *t);

#endif
