/* uring_threads.c - a program for which io_uring makes threads of the kernel's: a worker and a poller.
 *
 * Runs in: a test program, until stdin ends. Prints `ready`, or `no io_uring` where the kernel has none for us.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "truth.h"

/* Make a ring, and let it read from a pipe. Returns false if that is not possible. */
static int make_ring(unsigned flags, int fd, int reads)
{
	static char buffer[64];
	struct io_uring_params p = {.flags = flags, .sq_thread_idle = 100000};
	int ring = (int)syscall(SYS_io_uring_setup, 8, &p);
	if (ring < 0)
		return 0;
	char *queue = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
	                   IORING_OFF_SQ_RING);
	struct io_uring_sqe *e =
		mmap(NULL, p.sq_entries * sizeof *e, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQES);
	if (queue == MAP_FAILED || (void *)e == MAP_FAILED)
		return 0;
	for (int i = 0; i < reads; i++) {
		e[i] = (struct io_uring_sqe){.opcode = IORING_OP_READ, .fd = fd, .len = 64, .flags = IOSQE_ASYNC};
		e[i].addr = (uintptr_t)buffer;
		((unsigned *)(void *)(queue + p.sq_off.array))[i] = (unsigned)i;
	}
	__atomic_fetch_add((unsigned *)(void *)(queue + p.sq_off.tail), (unsigned)reads, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, ring, reads, 0, 0, NULL, 0) >= 0;
}

int main(void)
{
	int ends[2];
	if (pipe(ends))
		return 1;
	if (!make_ring(0, ends[0], 2) || !make_ring(IORING_SETUP_SQPOLL, ends[0], 0))
		puts("no io_uring");
	ready_and_wait();
	return 0;
}
