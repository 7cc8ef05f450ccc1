/* contention_load.c - a load for memcached: gets and sets of a few hot keys, many in one write, by some threads.
 *
 * contention_load PORT THREADS OPERATIONS [KEYS]      (of each thread; 16 keys)
 * Runs in: a test program. Prints `operations N` and `ns N`, for how long. An answer that is none of memcached's makes
 * it abort.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "contention.h"

enum { BATCH = 32, VALUE = 100 };
static int port, keys = 16;
static long operations;

static void send_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, data, size, 0);
		if (n <= 0)
			abort();
		data += n;
		size -= (size_t)n;
	}
}

/* Each command's answer is one line that ends it: STORED, the number of a touch or an incr, or END. */
static void read_answers(int fd, int expected)
{
	static _Thread_local char buffer[65536];
	static _Thread_local size_t kept;
	while (expected > 0) {
		ssize_t n = recv(fd, buffer + kept, sizeof buffer - kept, 0);
		if (n <= 0)
			abort();
		kept += (size_t)n;
		char *line = buffer, *end;
		while ((end = memchr(line, '\n', kept - (size_t)(line - buffer))) != NULL) {
			if (strncmp(line, "END", 3) == 0 || strncmp(line, "STORED", 6) == 0)
				expected--;
			else if (strncmp(line, "VALUE", 5) != 0 && line[0] != 'v')
				abort();
			line = end + 1;
		}
		kept -= (size_t)(line - buffer);
		memmove(buffer, line, kept);
	}
}

static void *load(void *arg)
{
	uint64_t random = 88172645463325252u + (uint64_t)(long)arg;
	struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	char text[BATCH * (VALUE + 64)], value[VALUE + 1];
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	must(connect(fd, (struct sockaddr *)&to, sizeof to));
	memset(value, 'v', VALUE);
	value[VALUE] = 0;
	for (long i = 0; i < operations; i += BATCH) {
		int at = 0;
		for (int k = 0; k < BATCH; k++) {
			uint64_t x = next_random(&random);
			if (x % 3 == 0)
				at += sprintf(text + at, "set key%d 0 0 %d\r\n%s\r\n", (int)((x >> 8) % (uint64_t)keys),
				              VALUE, value);
			else
				at += sprintf(text + at, "get key%d\r\n", (int)((x >> 8) % (uint64_t)keys));
		}
		send_all(fd, text, (size_t)at);
		read_answers(fd, BATCH);
	}
	close(fd);
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t t[64];
	if (argc < 4)
		return 2;
	port = atoi(argv[1]);
	int threads = atoi(argv[2]);
	operations = atol(argv[3]);
	if (argc > 4)
		keys = atoi(argv[4]);
	int64_t began = now_ns(CLOCK_MONOTONIC);
	for (long i = 0; i < threads; i++)
		must(pthread_create(&t[i], NULL, load, (void *)i));
	for (int i = 0; i < threads; i++)
		must(pthread_join(t[i], NULL));
	printf("operations %ld\nns %lld\n", threads * operations, (long long)(now_ns(CLOCK_MONOTONIC) - began));
	return 0;
}
