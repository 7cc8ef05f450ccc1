/* credentials.c - read the identity of the program, and take it on.
 *
 * Runs in: app's thread that has changed it, with signals blocked; listener, in its handler too. So: system calls and
 * the arena alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/credentials.h"

#include <string.h>
#include <sys/prctl.h>

#include "shim/base/arena.h"
#include "shim/base/os.h"
#include "shim/base/powers.h"

/* Capabilities belong to a thread: one that has dropped them must not leave behind a listener that has them. */
static struct __user_cap_header_struct capability_header(void)
{
	return (struct __user_cap_header_struct){.version = _LINUX_CAPABILITY_VERSION_3};
}

/* Returns room for so many groups. An old array is reused, or left alone as the listener may be reading it. */
static gid_t *room_for_groups(struct credentials *c, long count)
{
	static gid_t *many;
	static long room_count;
	if (count <= (long)(sizeof c->few / sizeof *c->few))
		return c->few;
	if (count > room_count) {
		many = arena_alloc((size_t)count * 2 * sizeof *many);
		room_count = many ? count * 2 : 0;
	}
	return many;
}

void credentials_read(struct credentials *c)
{
	long count = os_call(SYS_getgroups, 0, NULL);
	os_call(SYS_getresuid, &c->users[0], &c->users[1], &c->users[2]);
	os_call(SYS_getresgid, &c->groups[0], &c->groups[1], &c->groups[2]);
	c->more = room_for_groups(c, count);
	c->more_count = c->more ? os_call(SYS_getgroups, count, c->more) : -ENOMEM;
	struct __user_cap_header_struct header = capability_header();
	c->has_capabilities = os_call(SYS_capget, &header, c->capabilities) == 0;
	c->version++;
}

static void take_groups(const struct credentials *c)
{
	if (c->more_count >= 0)
		os_call(SYS_setgroups, c->more_count,
		        c->more_count > (long)(sizeof c->few / sizeof *c->few) ? c->more : c->few);
	os_call(SYS_setresgid, c->groups[0], c->groups[1], c->groups[2]);
}

static bool has_groups(const struct credentials *c)
{
	gid_t own[3], few[sizeof c->few / sizeof *c->few];
	os_call(SYS_getresgid, &own[0], &own[1], &own[2]);
	long count = os_call(SYS_getgroups, sizeof few / sizeof *few, few);
	return memcmp(own, c->groups, sizeof own) == 0 &&
	       (c->more_count < 0 || count == -EINVAL || /* too many to compare */
	        (count == c->more_count && memcmp(few, c->few, (size_t)count * sizeof *few) == 0));
}

static bool has_users(const struct credentials *c)
{
	uid_t own[3];
	os_call(SYS_getresuid, &own[0], &own[1], &own[2]);
	return memcmp(own, c->users, sizeof own) == 0;
}

/* Takes no more capabilities than the program has. It may need those kept over a change of users (PR_SET_KEEPCAPS) for
 * the next change. */
static void take_capabilities(const struct credentials *c)
{
	struct __user_cap_header_struct header = capability_header();
	struct __user_cap_data_struct own[2];
	if (!c->has_capabilities || os_call(SYS_capget, &header, own) < 0)
		return;
	for (int i = 0; i < 2; i++) {
		own[i].effective = 0;
		own[i].permitted &= c->capabilities[i].permitted;
		own[i].inheritable &= c->capabilities[i].inheritable;
	}
	os_call(SYS_capset, &header, own);
}

/* Only a privileged process may change groups: so before it gives up privileges, or after it gained them.
 * Returns false if the listener's own identity does not allow the change. */
bool credentials_take(const struct credentials *c)
{
	powers_use(true);
	os_call(SYS_prctl, PR_SET_KEEPCAPS, c->has_capabilities);
	take_groups(c);
	os_call(SYS_setresuid, c->users[0], c->users[1], c->users[2]);
	if (!has_groups(c)) {
		powers_use(true);
		take_groups(c);
	}
	take_capabilities(c);
	os_call(SYS_prctl, PR_SET_KEEPCAPS, 0);
	powers_use(false);
	return has_users(c) && has_groups(c);
}
