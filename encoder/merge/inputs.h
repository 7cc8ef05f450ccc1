/* inputs.h - profiles that arrive at descriptors, merged: files, pipes, sockets, all read at once.
 *
 * Runs in: pprofshim-symbolize. A sender may be slow, stop, lie, or send without end: then its input is left out, and
 * the result says so in a comment.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_INPUTS_H
#define PPROFSHIM_INPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "encoder/merge/merge.h"

enum { INPUT_LABELS_MAX = 8 };

struct input {
	int fd;           /* read to its end, and closed; negative: there is none, `wrong` says why */
	const char *path; /* as the user gave it */
	struct merge_label label[INPUT_LABELS_MAX];
	size_t labels;
	bool is_http;      /* the profile is the answer to an HTTP request */
	const char *wrong; /* why it is left out; NULL: it is not */
	/* while it is read: */
	bool late;
	unsigned char *bytes;
	size_t len, cap;
	char why[160]; /* the text of `wrong`, if it is of this input alone */
};

struct inputs {
	struct input *at;
	size_t count;
	unsigned timeout_s;    /* for each; 0: no end */
	uint64_t memory_bytes; /* that all this may take */
	bool has_client;
	int client; /* a socket: once its other end is closed, nobody wants the result */
};

/* Lower the memory to what this process may have, and let it have as many descriptors as it may. */
void inputs_heed_limits(struct inputs *s);

/* Merge the inputs, in their order, and write the result to `out`, a descriptor. An input that is left out is named in
 * a comment, and on `notes` (NULL: nowhere). The label "process" is taken for the name of the input's process, "pid"
 * for its number.
 * Returns NULL, or why there is no result. */
const char *inputs_merge(struct inputs *s, int out, FILE *notes);

#endif
