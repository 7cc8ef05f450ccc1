/* os.h - the one boundary to the kernel: system calls that touch no errno, no TLS, no libc.
 *
 * Runs in: everywhere (app's thread inside a hook, signal handler, listener, init, fork child).
 * So: a function makes at most one system call, and may be called by a thread that libc does not know. Functions that
 * return what the kernel says return 0 or more on success and a negative errno on failure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_OS_H
#define PPROFSHIM_OS_H

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "shim/arch/arch.h"
#include "shim/base/confined.h"

/* Numbers are those of <sys/syscall.h>; only calls that every Linux architecture has (openat, epoll_pwait, …) are used.
 */
#define os_call(nr, ...) OS_CALL_PAD_(nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define OS_CALL_PAD_(nr, a, b, c, d, e, f, ...) \
	arch_call6((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static inline long os_read(int fd, void *buf, size_t n)
{
	return os_call(SYS_read, fd, buf, n);
}

static inline long os_pread(int fd, void *buf, size_t n, uint64_t offset)
{
	return os_call(SYS_pread64, fd, buf, n, offset);
}

static inline long os_write(int fd, const void *buf, size_t n)
{
	return os_call(SYS_write, fd, buf, n);
}

static inline long os_open(const char *path, int flags)
{
	return os_call(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
}

static inline long os_close(int fd)
{
	return os_call(SYS_close, fd);
}

/* Map anonymous private memory, readable and writable.
 * Returns a negative errno, cast to a pointer, on failure: test with os_failed(). */
static inline void *os_map(size_t bytes)
{
	return (void *)os_call(SYS_mmap, 0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
	                       -1, 0);
}

static inline int os_failed(const void *p)
{
	return (uintptr_t)p >= (uintptr_t)-4095;
}

static inline long os_unmap(void *p, size_t bytes)
{
	return os_call(SYS_munmap, p, bytes);
}

/* Sleep while *word == value, at most until timeout (relative; NULL: for ever). */
static inline long os_futex_wait(uint32_t *word, uint32_t value, const struct timespec *timeout)
{
	return os_call(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout);
}

/* The same until a point in time, in nanoseconds of CLOCK_MONOTONIC. */
static inline long os_futex_wait_until(uint32_t *word, uint32_t value, uint64_t end_ns)
{
	const struct timespec end = {.tv_sec = (time_t)(end_ns / 1000000000), .tv_nsec = (long)(end_ns % 1000000000)};
	return os_call(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, &end, 0, FUTEX_BITSET_MATCH_ANY);
}

static inline long os_futex_wake(uint32_t *word, int count)
{
	return os_call(SYS_futex, word, FUTEX_WAKE_PRIVATE, count);
}

static inline int os_pid(void)
{
	return (int)os_call(SYS_getpid, 0);
}

static inline int os_tid(void)
{
	return (int)os_call(SYS_gettid, 0);
}

/* Can the eight bytes at p be read? rt_sigprocmask copies the new set in before it refuses a bad `how`, so it answers
 * EFAULT where a load would fault and EINVAL where not, and changes nothing. It needs no descriptor. A confined process
 * (confined.h) makes no such call, and gets false. */
static inline bool os_readable(const void *p)
{
	return (uintptr_t)p >= 4096 && !confined() &&
	       os_call(SYS_rt_sigprocmask, -1, p, 0, 8) != -EFAULT; /* NULL is no set to copy */
}

/* Can the eight bytes at p be written? The same call stores the signal mask there, or answers EFAULT where a store
 * would fault. In a confined process the answer is yes. */
static inline bool os_writable(void *p)
{
	return confined() || os_call(SYS_rt_sigprocmask, 0, 0, p, 8) != -EFAULT;
}

/* Nanoseconds of CLOCK_MONOTONIC or CLOCK_REALTIME. A real system call: the listener must not enter
 * libc's vDSO glue. */
static inline uint64_t os_clock_ns(int clock)
{
	struct timespec ts = {0};
	os_call(SYS_clock_gettime, clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Sleeps step_ns (less than a second), unless CLOCK_MONOTONIC is past until_ns. For loops whose patience is a time: on
 * a busy machine a step takes many times its length.
 * Returns false if the time is over. */
static inline bool os_step(uint64_t until_ns, long step_ns)
{
	const struct timespec step = {.tv_nsec = step_ns};
	if (os_clock_ns(CLOCK_MONOTONIC) >= until_ns)
		return false;
	os_call(SYS_nanosleep, &step, NULL);
	return true;
}

/* The bit of a signal in the kernel's masks. */
#define OS_SIGNAL_BIT(n) ((uint64_t)1 << ((n)-1))

/* What getdents64 writes: struct linux_dirent64. */
struct os_dir_entry {
	uint64_t ino, off;
	unsigned short bytes;
	unsigned char type;
	char name[];
};

#endif
