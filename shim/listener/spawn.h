/* spawn.h - a helper process that the program does not notice.
 *
 * Runs in: listener; init and fork where it is said.
 *
 * It is the child of a child with the exit signal 0: wait(-1) does not see it, no SIGCHLD is sent, fork handlers do not
 * run, and no page of the program is copied (clone(2) with CLONE_VM). It has no descriptors but two pipes, nothing of
 * the environment, a process group of its own, all signals blocked, and is killed when the listener ends.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SPAWN_H
#define PPROFSHIM_SPAWN_H

#include <stdbool.h>
#include <stdint.h>

struct spawned {
	int pid;            /* of the process that stands between; 0: none */
	int to_fd, from_fd; /* the helper's standard input and output; from_fd is non-blocking; -1: closed */
};

/* Start argv[0]. memory_bytes is what it may have of its own (RLIMIT_DATA). 0 or a negative errno: what clone or execve
 * said; -ENOSYS: not on this architecture; -EPERM, too: the program has put itself behind a seccomp filter, which might
 * kill it for our clone; -EBUSY: there is one already. */
int spawn(struct spawned *s, char *const argv[], uint64_t memory_bytes);

/* Of the last one, what execve said when it was later than spawn could wait: 0, or a negative errno. */
int spawn_error(void);

/* Write all of it, until then at the latest (CLOCK_MONOTONIC). 0; -ETIMEDOUT; -EPIPE: it reads no more. */
int spawn_write(struct spawned *s, const void *bytes, uint64_t count, uint64_t until_ns);

/* No more is written: the helper reads the end. */
void spawn_close_input(struct spawned *s);

/* Close the pipes, kill it if it does not end at once, and take its exit status (wait(2)'s; negative: not known). */
int spawn_end(struct spawned *s);

/* Does any run? Any thread may ask. */
bool spawn_is_running(void);

/* Kill whatever runs: before the listener ends, or takes on other credentials (nothing may keep those that the program
 * gives up). To the helper's owner it looks as if it had died. */
void spawn_kill(void);

/* The same in a handler that interrupted the owner, which ends now: it must leave nobody behind. */
void spawn_leave(void);

/* Without waiting for it, in a handler that interrupted the owner. */
void spawn_dismiss(void);

/* Remember how the program is confined from the start, to compare with. Init, before the program can do anything. */
void spawn_start(void);

/* The parent's helper is not the child's. */
void spawn_fork_child(void);

#endif
