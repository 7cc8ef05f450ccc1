/* fetch.c - take a profile: open its file, or ask an endpoint for it over HTTP.
 *
 * Runs in: pprofshim. What an endpoint answers may be anything; at most 1 GiB of it is taken.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "encoder/command/command.h"
#include "encoder/command/target.h"

enum {
	HEAD_MAX = 64 * 1024,
	SILENCE_S = 60, /* beyond what the endpoint needs: it may have much to look up */
	STEP_MS = 200,
	TRIES = 5,
};

static const int64_t BODY_MAX = INT64_C(1) << 30;

struct fetching {
	const struct target *t;
	int socket, file;
	int64_t begin_ns, last_ns; /* when the last byte came */
	char head[HEAD_MAX + 1];
	size_t head_bytes;
	int64_t body_bytes, length; /* length: -1, not known */
	unsigned refusals;
	bool is_shown; /* how far it is, on a terminal */
};

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* --- how far it is --------------------------------------------------------------------------------- */

static void clear_line(const struct fetching *f)
{
	if (f->is_shown)
		fputs("\r\033[K", stderr);
}

static void show(const struct fetching *f)
{
	static const char bar[] = "########################################";
	enum { WIDTH = 40 };
	double passed_s = (double)(now_ns() - f->begin_ns) * 1e-9, whole_s = f->t->wait_s;
	if (!f->is_shown)
		return;
	if (f->body_bytes || whole_s < 1) {
		fprintf(stderr, "\r%" PRId64 " kB\033[K", f->body_bytes / 1000);
		return;
	}
	double part = passed_s < whole_s ? passed_s / whole_s : 1;
	fprintf(stderr, "\r[%-*.*s] %.0f s left\033[K", WIDTH, (int)(part * WIDTH), bar, whole_s * (1 - part));
}

static void __attribute__((noreturn)) give_up(const struct fetching *f, const char *why)
{
	clear_line(f);
	die(STATUS_FAILED, "%s: %s", f->t->text, why);
}

/* --- asking ---------------------------------------------------------------------------------------- */

static void ask(struct fetching *f)
{
	const struct target *t = f->t;
	f->socket = socket(t->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (f->socket < 0)
		give_up(f, strerror(errno));
	if (connect(f->socket, (const struct sockaddr *)&t->address, t->address_bytes) != 0)
		die(STATUS_FAILED, "%s: nobody answers there (%s); is the program running, and is that its PPROF_ADDR?",
		    t->text, strerror(errno));
	bool shown = *t->authorization;
	char *request;
	int len = asprintf(&request, "GET %s HTTP/1.0\r\nHost: %s\r\nUser-Agent: " COMMAND_PROGRAM "\r\n%s%s%s\r\n",
	                   t->path, t->host, shown ? "Authorization: " : "", t->authorization, shown ? "\r\n" : "");
	if (len < 0)
		give_up(f, "there is not enough memory");
	if (send(f->socket, request, (size_t)len, MSG_NOSIGNAL) != len) /* a few KiB fit into any socket's buffer */
		give_up(f, "it hung up");
	free(request);
}

/* Wait for bytes. Returns how many came; 0: the end. */
static size_t take(struct fetching *f, char *to, size_t room)
{
	int64_t most_ns = (SILENCE_S + (int64_t)f->t->wait_s) * INT64_C(1000000000);
	for (;;) {
		show(f);
		int ready = poll(&(struct pollfd){.fd = f->socket, .events = POLLIN}, 1, STEP_MS);
		ssize_t n = ready > 0 ? read(f->socket, to, room) : -1;
		if (ready > 0 && n < 0 && errno != EINTR)
			give_up(f, strerror(errno));
		if (n >= 0) {
			f->last_ns = now_ns();
			return (size_t)n;
		}
		if (now_ns() - f->last_ns > most_ns)
			give_up(f, "it has been silent for too long");
	}
}

/* --- the answer ------------------------------------------------------------------------------------ */

/* Take the head, up to its empty line. Returns where the body begins in it. */
static char *take_head(struct fetching *f)
{
	for (;;) {
		size_t n = take(f, f->head + f->head_bytes, HEAD_MAX - f->head_bytes);
		f->head_bytes += n;
		f->head[f->head_bytes] = '\0';
		char *end = memmem(f->head, f->head_bytes, "\r\n\r\n", 4);
		if (end) {
			*end = '\0';
			return end + 4;
		}
		if (n == 0 || f->head_bytes == HEAD_MAX)
			give_up(f, f->head_bytes && memcmp(f->head, "HTTP/", f->head_bytes < 5 ? f->head_bytes : 5) != 0
			                   ? "it speaks no HTTP; if it speaks TLS, save the profile with curl, and "
			                     "give its file"
			                   : "the answer ended before it began");
	}
}

static void write_body(struct fetching *f, const char *at, size_t len)
{
	f->body_bytes += (int64_t)len;
	if (f->body_bytes > BODY_MAX)
		give_up(f, "the answer is larger than a gibibyte");
	for (ssize_t n; len; at += n, len -= (size_t)n)
		if ((n = write(f->file, at, len)) < 0)
			give_up(f, strerror(errno));
}

static int64_t length_of(const char *head)
{
	const char *at = strcasestr(head, "\r\nContent-Length:");
	return at ? strtoll(at + 17, NULL, 10) : -1;
}

/* Read the first line of what the endpoint says, without control characters. */
static void read_saying(const struct fetching *f, char *said, size_t room)
{
	ssize_t n = pread(f->file, said, room - 1, 0);
	said[n > 0 ? n : 0] = '\0';
	said[strcspn(said, "\r\n")] = '\0';
	for (char *c = said; *c; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c >= 0x7f)
			*c = '?';
}

/* End the program, unless the endpoint had no processor at that moment, and says so. */
static void heed_refusal(struct fetching *f, int status)
{
	char said[200];
	read_saying(f, said, sizeof said);
	if (status == 503 && strstr(said, "ask again") && ++f->refusals < TRIES)
		return;
	clear_line(f);
	if (status == 401)
		die(STATUS_FAILED, "%s: it wants a token; set PPROF_TOKEN, or name its file with --token-file",
		    f->t->text);
	die(STATUS_FAILED, "%s: it answers %d: %s", f->t->text, status, *said ? said : "nothing more");
}

/* Returns whether it is the profile, which the file has then. */
static bool take_answer(struct fetching *f)
{
	char bytes[16384];
	const char *body = take_head(f);
	int status = strncmp(f->head, "HTTP/1.", 7) == 0 ? atoi(f->head + 8) : 0;
	f->length = length_of(f->head);
	if (strcasestr(f->head, "\r\nTransfer-Encoding:"))
		give_up(f, "it answers in pieces, though it was asked as HTTP/1.0");
	write_body(f, body, f->head_bytes - (size_t)(body - f->head));
	while (f->length < 0 || f->body_bytes < f->length) {
		size_t n = take(f, bytes, sizeof bytes);
		if (n == 0)
			break;
		write_body(f, bytes, n);
	}
	if (f->body_bytes < f->length)
		give_up(f, "the answer is cut off");
	if (status != 200)
		heed_refusal(f, status);
	return status == 200;
}

/* Ask once. Returns whether the file has the profile. */
static bool try(struct fetching *f)
{
	f->begin_ns = f->last_ns = now_ns();
	f->head_bytes = 0;
	f->body_bytes = 0;
	if (ftruncate(f->file, 0) != 0 || lseek(f->file, 0, SEEK_SET) != 0)
		give_up(f, strerror(errno));
	ask(f);
	bool done = take_answer(f);
	close(f->socket);
	return done;
}

static int fetch(const struct target *t)
{
	struct fetching *f = calloc(1, sizeof *f);
	if (!f)
		die(STATUS_FAILED, "there is not enough memory");
	*f = (struct fetching){.t = t, .is_shown = isatty(STDERR_FILENO)};
	f->file = memfd_create("profile", MFD_CLOEXEC);
	if (f->file < 0)
		give_up(f, strerror(errno));
	while (!try(f)) {
	}
	clear_line(f);
	int file = f->file;
	free(f);
	if (lseek(file, 0, SEEK_SET) != 0)
		die(STATUS_FAILED, "%s: %s", t->text, strerror(errno));
	return file;
}

int target_open(const struct target *t)
{
	if (!t->is_file)
		return fetch(t);
	int fd = strcmp(t->text, "-") == 0 ? STDIN_FILENO : open(t->text, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(STATUS_FAILED, "%s: %s; a saved profile, a URL, host:port or unix:/path is wanted here", t->text,
		    strerror(errno));
	return fd;
}
