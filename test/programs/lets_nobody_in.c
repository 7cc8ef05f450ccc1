/* lets_nobody_in.c - a program whose only thread blocks every signal, libc's own too, and waits.
 *
 * Nobody can ask it to let in what a CPU profile needs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void)
{
	uint64_t all = ~(uint64_t)0;
	char byte;
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, 0, sizeof all);
	puts("ready");
	fflush(stdout);
	return syscall(SYS_read, STDIN_FILENO, &byte, 1) < 0;
}
