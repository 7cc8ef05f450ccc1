/* process.c - calls before or after which the listener has to do something: setuid & co., chroot, unshare, bind.
 *
 * Runs in: app's thread. errno as the real function left it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>

#include "shim/base/exports.h"
#include "shim/listener/listener.h"
#include "shim/profiles/quota.h"
#include "shim/libc/real.h"

/* libc changes the identity of each thread that it knows by a signal that needs an entry of the limit of pending ones:
 * meanwhile our timers use none. The listener, which libc does not know of, is told before, waits by itself, and has
 * the same identity after. No lock is held and no signal blocked meanwhile: libc waits for each thread. */
#define FOLLOWED(symbol, params, args) \
	EXPORT ALIGNED int symbol params \
	{ \
		struct listener_hold hold = listener_identity_changes(); \
		quota_pause(); \
		int r = real_##symbol args; \
		quota_resume(); \
		listener_identity_changed(hold, r == 0); \
		return r; \
	}

FOLLOWED(setuid, (uid_t uid), (uid))
FOLLOWED(setgid, (gid_t gid), (gid))
FOLLOWED(seteuid, (uid_t euid), (euid))
FOLLOWED(setegid, (gid_t egid), (egid))
FOLLOWED(setreuid, (uid_t ruid, uid_t euid), (ruid, euid))
FOLLOWED(setregid, (gid_t rgid, gid_t egid), (rgid, egid))
FOLLOWED(setresuid, (uid_t ruid, uid_t euid, uid_t suid), (ruid, euid, suid))
FOLLOWED(setresgid, (gid_t rgid, gid_t egid, gid_t sgid), (rgid, egid, sgid))
FOLLOWED(setgroups, (size_t count, const gid_t *groups), (count, groups))
FOLLOWED(capset, (void *header, const void *capabilities), (header, capabilities))

/* Asks name services, which may take long and run anything: the listener goes on meanwhile. */
EXPORT ALIGNED int initgroups(const char *user, gid_t group)
{
	quota_pause();
	int r = real_initgroups(user, group);
	quota_resume();
	if (r == 0)
		listener_groups_changed();
	return r;
}

/* A listener that is still to come is born before: it then keeps the folder that has /proc, and the files of objects.
 */
EXPORT ALIGNED int chroot(const char *path)
{
	listener_start_pending();
	return real_chroot(path);
}

/* Some namespaces may only be changed by a process of one thread with file system state of its own (ARCHITECTURE.md,
 * Namespaces). If the call fails for that reason, the listener makes room, and comes back later. mounts: the call may
 * have left a mount namespace. */
#define ALONE(symbol, params, args, mounts) \
	EXPORT ALIGNED int symbol params \
	{ \
		int saved = errno; \
		int r = real_##symbol args; \
		if (r == 0 && (mounts)) \
			listener_leaves_mounts(); \
		if (r == 0 || (errno != EINVAL && errno != EUSERS) || !listener_pause()) \
			return r; \
		errno = saved; \
		r = real_##symbol args; \
		listener_resume(); \
		return r; \
	}

ALONE(unshare, (int flags), (flags), flags &CLONE_NEWNS)
ALONE(setns, (int fd, int type), (fd, type), type == 0 || (type & CLONE_NEWNS))

static uint16_t port_of(const struct sockaddr *addr, socklen_t len)
{
	if (len >= sizeof(struct sockaddr_in) && addr->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)addr)->sin_port);
	if (len >= sizeof(struct sockaddr_in6) && addr->sa_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)addr)->sin6_port);
	return 0;
}

/* If the program wants the port that we are on, it gets it (ARCHITECTURE.md, Ports). */
EXPORT ALIGNED int bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	int saved = errno;
	int r = real_bind(fd, addr, len);
	if (r == 0 || errno != EADDRINUSE || !listener_serves_port(port_of(addr, len)))
		return r;
	listener_make_room();
	errno = saved;
	return real_bind(fd, addr, len);
}
