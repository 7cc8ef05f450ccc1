/* spawn.h - a helper process that the program does not notice.
 *
 * Runs in: listener; init and fork where it is said.
 *
 * It is the child of a child with exit signal 0: wait(-1) does not see it, no SIGCHLD is sent, fork handlers do not
 * run, and no page of the program is copied (clone(2) with CLONE_VM). Its only descriptors are two pipes. It has no
 * environment and a process group of its own; all signals are blocked. It is killed when the listener ends.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SPAWN_H
#define PPROFSHIM_SPAWN_H

#include <stdbool.h>
#include <stdint.h>

struct spawned {
	int pid;            /* of the keeper, the process in between; 0: none */
	int to_fd, from_fd; /* the helper's standard input and output; non-blocking; -1: closed */
	/* spawn_stop's */
	uint64_t stop_ns;
	bool is_killed;
};

/* Starts argv[0], and does not wait until that runs: its file may come from a server that does not answer. memory_bytes
 * limits its own memory (RLIMIT_DATA). The words of argv are read later, and must stay.
 * Returns 0 or a negative errno: that of clone; -ENOSYS: not on this architecture; -EPERM, too: the program has a
 * seccomp filter, which might kill it for our clone; -EBUSY: a helper exists already, or one of a listener that has
 * ended (spawn_has_leftovers). */
int spawn(struct spawned *s, char *const argv[], uint64_t memory_bytes);

/* The same with a socket, which stays the caller's, as its standard input and output. After life_s seconds
 * spawn_has_ended ends it; spawn_stop is not needed. */
int spawn_on_socket(struct spawned *s, char *const argv[], uint64_t memory_bytes, int fd, unsigned life_s);

/* Of the last helper: has execve worked, or failed? */
bool spawn_has_started(void);

/* Returns what execve failed with; 0: it has not. A helper that could not be started looks like one that ended. */
int spawn_error(void);

/* Is something left of the helper of a listener that has ended? Only for a moment, most times. */
bool spawn_has_leftovers(void);

/* Writes what the pipe has room for.
 * Returns how many bytes; -EPIPE: the helper reads no more. */
long spawn_write(struct spawned *s, const void *bytes, uint64_t count);

/* Closes the helper's input: it reads the end. */
void spawn_close_input(struct spawned *s);

/* Closes the pipes. The helper has a twentieth of a second to end. */
void spawn_stop(struct spawned *s);

/* After spawn_stop, again and again: kills a helper that had its time.
 * Returns true when it has ended, or can't be ended: *status is its exit status (as wait(2) has it), negative if not
 * known. */
bool spawn_has_ended(struct spawned *s, int *status);

/* Returns true if a helper runs. Any thread. */
bool spawn_is_running(void);

/* Kills the helper, if any: before the listener ends or changes its credentials (nothing may keep those that the
 * program gives up). The helper's owner sees it as if it had died by itself. */
void spawn_kill(void);

/* The same in a handler that interrupted the owner, when the owner is about to end: no process may be left behind. */
void spawn_leave(void);

/* The same without waiting for its end, in a handler that interrupted the owner. */
void spawn_dismiss(void);

/* Remembers how the program is confined at its start, to compare with later. Init, before the program can do
 * anything. */
void spawn_start(void);

/* The parent's helper is not the child's. */
void spawn_fork_child(void);

#endif
