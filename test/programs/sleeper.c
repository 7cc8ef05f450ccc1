/* sleeper.c - one thread, one call with a time-out that nobody keeps up to date.
 *
 * usage: sleeper MICROSECONDS   prints "ready", and "slept 0" in the end
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	puts("ready");
	fflush(stdout);
	printf("slept %d\n", usleep((useconds_t)atol(argv[argc - 1])));
	return 0;
}
