/* secure.c - does the kernel say AT_SECURE, and does anything listen on the port that it is told?
 *
 * Runs in: a process of its own, set-user-ID or not; linked with the library.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/socket.h>

static int is_answered(int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	return fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0;
}

int main(int argc, char **argv)
{
	printf("secure %d\n", getauxval(AT_SECURE) != 0);
	printf("listens %d\n", argc > 1 && is_answered(atoi(argv[1])));
	return 0;
}
