/* wants_port.c - a program that binds the very port the library listens on.
 *
 * wants_port PORT [ADDRESS]     answers every connection with "HELLO".
 * Runs in: a test program. Truth: `bound 1`, then `ready`; serves until stdin ends.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "truth.h"

int main(int argc, char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 6060))};
	inet_pton(AF_INET, argc > 2 ? argv[2] : "127.0.0.1", &a.sin_addr);
	nanosleep(&(struct timespec){0, 200000000}, NULL);
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	errno = 0;
	int r = bind(s, (struct sockaddr *)&a, sizeof a);
	printf("bound %d\nerrno %d\n", r == 0, errno);
	printf("listening %d\nready 1\n", listen(s, 16) == 0);
	fflush(stdout);
	struct pollfd fds[2] = {{.fd = 0, .events = POLLIN}, {.fd = s, .events = POLLIN}};
	while (poll(fds, 2, -1) > 0) {
		char c;
		if (fds[0].revents && read(0, &c, 1) <= 0)
			break;
		if (fds[1].revents) {
			int fd = accept(s, NULL, NULL);
			if (fd >= 0 && write(fd, "HELLO", 5) == 5)
				close(fd);
		}
	}
	puts("end 1");
	return 0;
}
