/* small_altstack.c - a program with an alternate signal stack for its own SIGSEGV alone, which computes.
 *
 * small_altstack SIZE
 * Runs in: a test program; what it prints must be the same with the shim and without. The stack lies in the middle of
 * memory that is painted. Until the end of stdin. Truth: `ready`; at the end `used 0`, `below 0` (bytes of it, and of
 * what lies below it, that somebody wrote), `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ROOM = 64 * 1024, PAINT = 0x6b };

static size_t painted_over(const char *from, const char *to)
{
	size_t n = 0;
	for (; from < to; from++)
		n += *from != PAINT;
	return n;
}

int main(int argc, char **argv)
{
	size_t size = argc > 1 ? (size_t)atol(argv[1]) : 2048;
	char *area = mmap(NULL, 2 * ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
	     *stack = area + ROOM;
	memset(area, PAINT, 2 * ROOM);
	stack_t s = {.ss_sp = stack, .ss_size = size};
	if (sigaltstack(&s, NULL) != 0)
		return 3;
	puts("ready");
	fflush(stdout);
	volatile double x = 1;
	for (struct pollfd in = {.fd = 0, .events = POLLIN}; poll(&in, 1, 0) == 0;)
		for (int i = 0; i < 1000000; i++)
			x = x * 1.0000001 + 1e-9;
	printf("used %zu\nbelow %zu\nend 1\n", painted_over(stack, stack + size), painted_over(area, stack));
	return 0;
}
