/* fd_truth.c - threads that wait for descriptors of each kind, sockets, files, pipes, epoll, and for several at once.
 *
 * Runs in: a test program. Truth: `waits NAME FD PORT PEER` of each (0: none), where NAME is the thread's; `sets FD …`,
 * of those that others wait for at once; `peer INODE` of the socket that `reads-peer` is connected to; `ready`; waits
 * for the end of stdin. fd_truth FIFO: a path at which it makes one, and with ".s" behind it a socket.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

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

enum { SET = 7 };
static int set[SET];

/* One of them is left out, as the kernel does with negative ones. */
static void in_poll(int fd)
{
	struct pollfd p[SET + 1];
	for (int i = 0; i <= SET; i++)
		p[i] = (struct pollfd){.fd = i ? set[i - 1] : -1, .events = POLLIN};
	(void)fd;
	while (poll(p, SET + 1, 1000000) >= 0)
		;
}

/* Two are waited for: one to be read, one for what is exceptional. */
static void in_select(int fd)
{
	fd_set reads, exceptions;
	FD_ZERO(&reads);
	FD_ZERO(&exceptions);
	FD_SET(set[0], &reads);
	FD_SET(set[1], &exceptions);
	(void)fd;
	while (select(FD_SETSIZE, &reads, NULL, &exceptions, NULL) >= 0)
		;
}

static void in_epoll_of_many(int fd)
{
	struct epoll_event e = {.events = EPOLLIN};
	for (int i = 0; i < 2; i++)
		epoll_ctl(fd, EPOLL_CTL_ADD, set[i], &e);
	in_epoll(fd);
}

static void make_set(int fifo)
{
	set[0] = eventfd(0, 0);
	for (int i = 1; i < SET; i++)
		set[i] = i == 1 ? dup(fifo) : dup(set[0]);
	printf("sets");
	for (int i = 0; i < SET; i++)
		printf(" %d", set[i]);
	printf("\n");
}

/* Returns the server's end of a connection to a unix socket at a path; *client is the other one. */
static int connect_by_path(const char *fifo, int *client)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat s;
	int at = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(a.sun_path, sizeof a.sun_path, "%s.s", fifo);
	*client = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(at, (struct sockaddr *)&a, sizeof a) || listen(at, 1) ||
	    connect(*client, (struct sockaddr *)&a, sizeof a) || fstat(*client, &s))
		_exit(1);
	printf("peer %lu\n", (unsigned long)s.st_ino);
	return accept(at, NULL, NULL);
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
	int at_path, by_path = connect_by_path(argv[1], &at_path);
	epoll_ctl(epoll, EPOLL_CTL_ADD, pair[1], &e);
	make_set(fifo);
	struct waiter w[] = {
		{"accepts", in_accept, listener, port_of(listener), 0},
		{"serves", in_recv, server, port_of(server), port_of(client)},
		{"asks", in_read, client, port_of(client), port_of(server)},
		{"reads-fifo", in_read, fifo, 0, 0},
		{"reads-unix", in_read, pair[0], 0, 0},
		{"polls", in_epoll, epoll, 0, 0},
		{"reads-path", in_read, at_path, 0, 0},
		{"reads-peer", in_read, by_path, 0, 0},
		{"polls-many", in_poll, 0, 0, 0},
		{"selects", in_select, 0, 0, 0},
		{"epolls-many", in_epoll_of_many, epoll_create1(0), 0, 0},
	};
	for (size_t i = 0; i < sizeof w / sizeof *w; i++) {
		pthread_t t;
		pthread_create(&t, NULL, begin, &w[i]);
		printf("waits %s %d %d %d\n", w[i].name, w[i].fd, w[i].port, w[i].peer);
	}
	ready_and_wait();
	_exit(0);
}
