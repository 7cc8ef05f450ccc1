/* merge_serve.c - the listener's helper at merging: profiles of all processes behind a door become one (protocol.h).
 *
 * Runs in: pprofshim-symbolize, started by a listener. The profiles come from other processes, which may be hostile.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/merge_command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "encoder/merge/inputs.h"
#include "encoder/symbolize/serve.h"

enum {
	TEXT_MAX = 1 << 20,
	MEMBERS_MAX = 4096,
	FDS_AT_ONCE = 253, /* the kernel's limit */
	CHUNK = 64 * 1024,
};

struct request {
	char text[TEXT_MAX + 1];
	size_t len;
	int fd[MEMBERS_MAX];
	size_t fds, taken;
	struct input input[MEMBERS_MAX];
	struct inputs inputs;
	const char *name; /* of the profile */
};

/* --- the request ----------------------------------------------------------------------------------- */

static void keep_descriptors(struct request *q, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (q->fds < MEMBERS_MAX)
				q->fd[q->fds++] = fd;
			else
				close(fd);
		}
	}
}

static bool is_whole(const struct request *q)
{
	return q->len >= 2 && memcmp(q->text + q->len - 2, "\n\n", 2) == 0;
}

static int request_read(int fd, struct request *q)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_AT_ONCE * sizeof(int))];
	} control;
	while (!is_whole(q)) {
		struct iovec part = {q->text + q->len, TEXT_MAX - q->len};
		struct msghdr m = {
			.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
		ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
		if (n > 0)
			q->len += (size_t)n;
		else if (n == 0 || errno != EINTR)
			return n == 0 ? -EPIPE : -errno;
		if (n > 0)
			keep_descriptors(q, &m);
	}
	return 0;
}

/* Cut the text at a separator. Returns the part before it; *rest is what follows. */
static char *cut(char **rest, char separator)
{
	char *part = *rest, *end = strchr(part, separator);
	*rest = end ? end + 1 : part + strlen(part);
	if (end)
		*end = '\0';
	return part;
}

/* "pid\tprogram\twhy" */
static void take_member(struct request *q, char *line)
{
	if (q->inputs.count == MEMBERS_MAX)
		return;
	struct input *i = &q->input[q->inputs.count++];
	char *pid = cut(&line, '\t'), *program = cut(&line, '\t');
	*i = (struct input){.fd = -1, .path = "a process", .is_http = true};
	if (*program)
		i->label[i->labels++] = (struct merge_label){"process", program};
	if (*pid)
		i->label[i->labels++] = (struct merge_label){"pid", pid};
	if (*line)
		i->wrong = line;
	else if (q->taken < q->fds)
		i->fd = q->fd[q->taken++];
	else
		i->wrong = "its connection was lost";
}

static void take_lines(struct request *q)
{
	for (char *rest = q->text; *rest;) {
		char *line = cut(&rest, '\n'), *kind = cut(&line, ' ');
		if (strcmp(kind, "m") == 0)
			take_member(q, line);
		else if (strcmp(kind, "t") == 0) {
			q->inputs.timeout_s = (unsigned)strtoul(cut(&line, ' '), NULL, 10);
			q->name = line;
		}
	}
}

/* --- the answer ------------------------------------------------------------------------------------ */

static int send_all(int fd, const char *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = send(fd, bytes + done, len - done, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return -errno;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int send_error(int fd, const char *why)
{
	char answer[1024];
	int n = snprintf(answer, sizeof answer,
	                 "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n"
	                 "X-Content-Type-Options: nosniff\r\nX-Go-Pprof: 1\r\nCache-Control: no-store\r\n"
	                 "Content-Length: %zu\r\n\r\npprofshim: no process has a profile: %.200s\n",
	                 strlen("pprofshim: no process has a profile: \n") + strnlen(why, 200), why);
	return send_all(fd, answer, (size_t)n);
}

static int send_file(int fd, int file)
{
	char *part = malloc(CHUNK);
	int error = part ? 0 : -ENOMEM;
	lseek(file, 0, SEEK_SET);
	while (!error) {
		ssize_t n = read(file, part, CHUNK);
		if (n <= 0)
			break;
		error = send_all(fd, part, (size_t)n);
	}
	free(part);
	return error;
}

static int send_profile(int fd, int file, const char *name)
{
	char head[512];
	int n = snprintf(head, sizeof head,
	                 "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n"
	                 "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
	                 "Content-Disposition: attachment; filename=\"%.64s\"\r\nContent-Length: %lld\r\n\r\n",
	                 name, (long long)lseek(file, 0, SEEK_END));
	int error = send_all(fd, head, (size_t)n);
	return error ? error : send_file(fd, file);
}

static int answer(struct request *q, int fd)
{
	int file = memfd_create("merged", MFD_CLOEXEC);
	if (file < 0)
		return send_error(fd, strerror(errno));
	const char *wrong = inputs_merge(&q->inputs, file, NULL);
	int error = wrong ? send_error(fd, wrong) : send_profile(fd, file, q->name);
	close(file);
	return error;
}

int merge_serve(int fd)
{
	struct request *q = calloc(1, sizeof *q);
	int error = q ? 0 : -ENOMEM;
	serve_prepare();
	serve_shed_powers();
	if (q) {
		q->inputs = (struct inputs){.at = q->input, .memory_bytes = UINT64_C(2) << 30, .has_client = true};
		q->inputs.client = fd;
		q->name = "profile";
		inputs_heed_limits(&q->inputs);
		error = request_read(fd, q);
	}
	if (!error) {
		take_lines(q);
		error = answer(q, fd);
	}
	free(q);
	return error;
}
