/* fd_truth.c - threads that wait for descriptors of each kind: sockets, files, pipes, epoll.
 *
 * Runs in: a test program. Truth: `waits NAME FD PORT PEER` of each (0: none), where NAME is the thread's; `ready`;
 * waits for the end of stdin. fd_truth FIFO: a path at which it makes one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "truth.h"

struct waiter {
	const char *name;
	void (*wait)(int fd);
	int fd, port, peer;
};

static void in_read(int fd)
{
	char c;
	while (read(fd, &c, 1) > 0)
		;
}

static void in_recv(int fd)
{
	char c;
	while (recv(fd, &c, 1, 0) > 0)
		;
}

static void in_accept(int fd)
{
	while (accept(fd, NULL, NULL) >= 0)
		;
}

static void in_epoll(int fd)
{
	struct epoll_event e;
	while (epoll_wait(fd, &e, 1, -1) > 0)
		;
}

static void *begin(void *arg)
{
	struct waiter *w = arg;
	pthread_setname_np(pthread_self(), w->name);
	w->wait(w->fd);
	return NULL;
}

static int port_of(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	getsockname(fd, (struct sockaddr *)&a, &len);
	return ntohs(a.sin_port);
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event e = {.events = EPOLLIN};
	socklen_t len = sizeof a;
	int pair[2], epoll = epoll_create1(0);
	int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
	if (argc < 2 || mkfifo(argv[1], 0600) || bind(listener, (struct sockaddr *)&a, len) || listen(listener, 5) ||
	    getsockname(listener, (struct sockaddr *)&a, &len) || connect(client, (struct sockaddr *)&a, len) ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return 1;
	int server = accept(listener, NULL, NULL), fifo = open(argv[1], O_RDWR);
	epoll_ctl(epoll, EPOLL_CTL_ADD, pair[1], &e);
	struct waiter w[] = {
		{"accepts", in_accept, listener, port_of(listener), 0},
		{"serves", in_recv, server, port_of(server), port_of(client)},
		{"asks", in_read, client, port_of(client), port_of(server)},
		{"reads-fifo", in_read, fifo, 0, 0},
		{"reads-unix", in_read, pair[0], 0, 0},
		{"polls", in_epoll, epoll, 0, 0},
	};
	for (size_t i = 0; i < sizeof w / sizeof *w; i++) {
		pthread_t t;
		pthread_create(&t, NULL, begin, &w[i]);
		printf("waits %s %d %d %d\n", w[i].name, w[i].fd, w[i].port, w[i].peer);
	}
	ready_and_wait();
	_exit(0);
}
