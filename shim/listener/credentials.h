/* credentials.h - the identity of the program, as its listener takes it on.
 *
 * Runs in: app's thread that has changed it (credentials_read); listener, in its handler too (credentials_take). System
 * calls alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_CREDENTIALS_H
#define PPROFSHIM_CREDENTIALS_H

#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Written by the thread that changed it, while listener_commands.change is odd. The listener reads it when it next
 * runs, first of all, in its handler; the program does not wait for that. So the listener copies, and then checks
 * listener_commands.change again. */
struct credentials {
	uint32_t version; /* 0: none yet */
	uid_t users[3];   /* real, effective, saved */
	gid_t groups[3];
	long more_count; /* of further groups; negative: not known, leave them */
	gid_t few[64];
	gid_t *more; /* the array `few`, or one for many */
	bool has_capabilities;
	struct __user_cap_data_struct capabilities[2];
};

/* Notes the caller's credentials in the one variable that there is; one thread at a time. */
void credentials_read(struct credentials *c);

/* Takes them on. Returns false if the listener's own identity does not allow that. */
bool credentials_take(const struct credentials *c);

#endif
