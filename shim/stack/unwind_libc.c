/* unwind_libc.c - what the linked-in libraries (libunwind, protobuf-c, zlib) reach instead of libc.
 *
 * Runs in: app's thread inside a hook (libunwind), listener (protobuf-c, zlib).
 * So: no allocation from the program, no descriptor, no lock of libc's, no abort. The linker redirects each
 * name (-Wl,--wrap in the Makefile's WRAP; the two lists must agree: an unwrapped name here is unused, a
 * wrapped one that is missing fails the link).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/stack/unwind_libc.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/types.h>

#include "shim/base/arena.h"
#include "shim/base/os.h"
#include "shim/base/shared.h"

void *wrap_escape[5];
shared_int wrap_escape_tid;

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void __wrap_free(void *block);
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t bytes);
int __wrap_pipe2(int fd[2], int flags);
int __wrap_open(const char *path, int flags, ...);
int __wrap_stat(const char *path, void *answer);
int __wrap_fstat(int fd, void *answer);
int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *old);
int __wrap_sigfillset(sigset_t *set);
int __wrap_mincore(void *at, size_t bytes, unsigned char *pages);
int __wrap_pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);
_Noreturn void __wrap_abort(void);
_Noreturn void __wrap___assert_fail(const char *what, const char *file, unsigned line, const char *function);

/* libunwind allocates its address space once; no linked-in library frees and allocates in turns. */
void *__wrap_malloc(size_t bytes)
{
	return arena_alloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
	size_t total;
	return __builtin_mul_overflow(count, bytes, &total) ? NULL : arena_alloc(total);
}

void __wrap_free(void *block)
{
	(void)block;
}

/* libunwind's pools. Anonymous memory is all that the parts in use ask for. */
void *__wrap_mmap(void *at, size_t bytes, int prot, int flags, int fd, off_t offset)
{
	(void)at, (void)prot, (void)flags, (void)offset;
	void *p = fd == -1 ? arena_alloc(bytes) : NULL;
	return p ? p : MAP_FAILED;
}

int __wrap_munmap(void *at, size_t bytes)
{
	(void)at, (void)bytes;
	return 0;
}

/* libunwind's memory probe for local unwinding, which is not used. */
int __wrap_pipe2(int fd[2], int flags)
{
	(void)flags;
	fd[0] = fd[1] = -1;
	return -1;
}

/* Files of objects, for names and local unwinding, which are not used. (From glibc 2.33 on, stat and fstat have new
 * versions: with them no program would start on an older glibc.) */
int __wrap_open(const char *path, int flags, ...)
{
	(void)path, (void)flags;
	return -1;
}

int __wrap_stat(const char *path, void *answer)
{
	(void)path, (void)answer;
	return -1;
}

int __wrap_fstat(int fd, void *answer)
{
	(void)fd, (void)answer;
	return -1;
}

/* Its locks: the LEARN lock is held around every call. */
int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	(void)how, (void)set, (void)old;
	return 0;
}

/* A sanitizer's runtime that starts after us defines these two, and they cannot be called yet. */
int __wrap_mincore(void *at, size_t bytes, unsigned char *pages)
{
	return os_call(SYS_mincore, at, bytes, pages) < 0 ? -1 : 0;
}

int __wrap_sigfillset(sigset_t *set)
{
	memset(set, 0xff, sizeof *set);
	return 0;
}

int __wrap_pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *attr)
{
	(void)m, (void)attr;
	return 0;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
	(void)m;
	return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
	(void)m;
	return 0;
}

/* A library gave up. Leave libunwind by the jump that the learner set. In the listener there is no caller to return to,
 * so the listener ends and the program runs on. */
_Noreturn void __wrap_abort(void)
{
	if (shared_load_relaxed(&wrap_escape_tid) == os_tid())
		__builtin_longjmp(wrap_escape, 1);
	for (;;)
		os_call(SYS_exit, 0);
}

_Noreturn void __wrap___assert_fail(const char *what, const char *file, unsigned line, const char *function)
{
	(void)what, (void)file, (void)line, (void)function;
	__wrap_abort();
}
