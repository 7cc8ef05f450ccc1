/* inputs.c - profiles that arrive at descriptors, merged.
 *
 * Runs in: pprofshim-symbolize. One thread, one poll(2) for all inputs. They are taken into the merge in their order,
 * as the first one decides on some things; those that came early wait in memory, packed as they are.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/merge/inputs.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "encoder/bytes/utf8.h"
#include "encoder/saved/profile_file.h"

enum {
	CHUNK = 64 * 1024,
	NOTE_MAX = 1024, /* bytes of a note */
	NAME_MAX_BYTES = 256,
	/* divisors of the memory: inputs that wait, one unpacked profile, its messages; the merge has the rest */
	WAITING_PART = 8,
	UNPACKED_PART = 8,
	MESSAGES_PART = 4,
};

static const char too_much[] = "it is larger than its share of memory";

/* --- reading --------------------------------------------------------------------------------------- */

struct reading {
	struct inputs *s;
	struct pollfd *poll;
	size_t *which;         /* of a pollfd: its input */
	uint64_t waiting_most; /* bytes */
	uint64_t began_ms;
};

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void end_input(struct input *i, const char *wrong)
{
	close(i->fd);
	i->fd = -1;
	if (!wrong)
		return;
	i->wrong = wrong;
	free(i->bytes);
	i->bytes = NULL;
	i->len = i->cap = 0;
}

/* The largest of those that wait gives way, so that the small ones come through. */
static void drop_largest(struct inputs *s)
{
	struct input *largest = &s->at[0];
	for (size_t i = 1; i < s->count; i++)
		if (s->at[i].cap > largest->cap)
			largest = &s->at[i];
	if (largest->fd >= 0)
		end_input(largest, too_much);
	else {
		free(largest->bytes);
		largest->bytes = NULL;
		largest->len = largest->cap = 0;
		largest->wrong = too_much;
	}
}

static uint64_t waiting_bytes(const struct inputs *s)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < s->count; i++)
		sum += s->at[i].cap;
	return sum;
}

/* Grow the buffer of an input. If all are too large together, the largest input is left out, which may be this one. */
static bool make_room(const struct reading *r, struct input *i)
{
	if (i->cap - i->len >= CHUNK)
		return true;
	size_t cap = i->cap ? 2 * i->cap : 2 * CHUNK;
	unsigned char *bytes = realloc(i->bytes, cap);
	if (!bytes) {
		end_input(i, "there is no memory for it");
		return false;
	}
	i->bytes = bytes;
	i->cap = cap;
	while (!i->wrong && waiting_bytes(r->s) > r->waiting_most)
		drop_largest(r->s);
	return !i->wrong;
}

static void read_some(const struct reading *r, struct input *i)
{
	if (!make_room(r, i))
		return;
	ssize_t n = read(i->fd, i->bytes + i->len, CHUNK);
	if (n > 0)
		i->len += (size_t)n;
	else if (n == 0 ||
	         (i->is_http && errno == ECONNRESET)) /* who ends with a request unread resets the connection */
		end_input(i, NULL);
	else if (errno != EINTR && errno != EAGAIN)
		end_input(i, strerrordesc_np(errno));
}

/* Returns the milliseconds until the inputs are late; -1: they never are. */
static int patience_ms(const struct reading *r)
{
	if (!r->s->timeout_s)
		return -1;
	uint64_t passed = now_ms() - r->began_ms, all = (uint64_t)r->s->timeout_s * 1000;
	return passed < all ? (int)(all - passed < INT32_MAX ? all - passed : INT32_MAX) : 0;
}

/* Returns the number of inputs that are still open. The client stands behind them. */
static size_t list_open(const struct reading *r)
{
	size_t n = 0;
	for (size_t i = 0; i < r->s->count; i++)
		if (r->s->at[i].fd >= 0) {
			r->poll[n] = (struct pollfd){.fd = r->s->at[i].fd, .events = POLLIN};
			r->which[n++] = i;
		}
	r->poll[n] = (struct pollfd){.fd = r->s->has_client ? r->s->client : -1, .events = POLLRDHUP};
	return n;
}

/* Wait, and read what there is. Once the time is over, an input that has nothing to read is late. */
static void read_round(const struct reading *r)
{
	size_t n = list_open(r);
	int wait_ms = patience_ms(r), ready = poll(r->poll, n + 1, wait_ms);
	if (ready > 0 && r->poll[n].revents)
		exit(0);
	bool over = wait_ms == 0 || ready == 0;
	if (ready < 0 && errno == EINTR)
		return;
	for (size_t k = 0; k < n; k++) {
		struct input *i = &r->s->at[r->which[k]];
		if (i->fd < 0)
			continue; /* it gave way to another one in this round */
		if (ready < 0 || r->poll[k].revents)
			read_some(r, i);
		else if (over) {
			i->late = true;
			end_input(i, "it did not answer in time");
		}
	}
}

/* --- merging --------------------------------------------------------------------------------------- */

struct merging {
	struct merge *m;
	const struct inputs *s;
	FILE *notes;
	const char *wrong; /* with the first input that was left out */
};

static const char *label_of(const struct input *i, const char *key)
{
	for (size_t k = 0; k < i->labels; k++)
		if (strcmp(i->label[k].key, key) == 0)
			return i->label[k].value;
	return NULL;
}

/* "process 42 (nginx)", or the path. */
static void name_input(const struct input *i, char *to, size_t cap)
{
	const char *pid = label_of(i, "pid"), *process = label_of(i, "process");
	if (pid && process)
		snprintf(to, cap, "process %.*s (%.*s)", NAME_MAX_BYTES, pid, NAME_MAX_BYTES, process);
	else if (pid || process)
		snprintf(to, cap, "process %.*s", NAME_MAX_BYTES, pid ? pid : process);
	else
		snprintf(to, cap, "%.*s", NAME_MAX_BYTES, i->path);
}

static void note(const struct merging *g, const char *text)
{
	struct region r = {0};
	const char *clean = utf8_line(&r, span_of(text));
	merge_note(g->m, clean ? clean : "an input was left out, and there is no memory to name it");
	if (g->notes && clean)
		fprintf(g->notes, "%s\n", clean);
	region_release(&r);
}

static void note_left_out(struct merging *g, const struct input *i)
{
	char name[NOTE_MAX / 2 + 32], text[NOTE_MAX];
	name_input(i, name, sizeof name);
	if (i->late)
		snprintf(text, sizeof text, "%s did not answer in %u s", name, g->s->timeout_s);
	else
		snprintf(text, sizeof text, "%s is left out: %s", name, i->wrong);
	note(g, text);
	if (!g->wrong)
		g->wrong = i->wrong;
}

static void note_lost(const struct merging *g, const struct input *i, size_t lost)
{
	char name[NOTE_MAX / 2 + 32], text[NOTE_MAX];
	name_input(i, name, sizeof name);
	snprintf(text, sizeof text, "%s: there was no memory for %zu of its samples", name, lost);
	note(g, text);
}

/* Leave out the head of an HTTP answer.
 * Returns NULL, or why there is no profile behind it. */
static const char *skip_head(struct input *i, const unsigned char **at, size_t *len)
{
	static const char version[] = "HTTP/1.1 ", ok[] = "HTTP/1.1 200 ", empty[] = "\r\n\r\n";
	const unsigned char *end = *len ? memmem(*at, *len, empty, sizeof empty - 1) : NULL;
	if (!end)
		return *len ? "it ended before its answer was whole" : "it ended before it answered";
	if (*len < sizeof ok || memcmp(*at, version, sizeof version - 1) != 0)
		return "it sent no HTTP answer";
	const unsigned char *body = end + sizeof empty - 1;
	size_t rest = *len - (size_t)(body - *at);
	if (memcmp(*at, ok, sizeof ok - 1) != 0) {
		rest -= rest && body[rest - 1] == '\n';
		snprintf(i->why, sizeof i->why, "%.*s", (int)(rest < 120 ? rest : 120), (const char *)body);
		return i->why;
	}
	*at = body, *len = rest;
	return NULL;
}

/* An input has ended: merge it, or say why not. */
static void take(struct merging *g, struct input *i)
{
	struct profile_limits limits = {.unpacked_bytes = g->s->memory_bytes / UNPACKED_PART,
	                                .message_bytes = g->s->memory_bytes / MESSAGES_PART};
	Pprof__Profile *p = NULL;
	const unsigned char *at = i->bytes;
	size_t lost = 0, len = i->len;
	if (!i->wrong && i->is_http)
		i->wrong = skip_head(i, &at, &len);
	if (!i->wrong)
		i->wrong = profile_unpack(at, len, &limits, &p);
	free(i->bytes);
	i->bytes = NULL;
	i->len = i->cap = 0;
	if (!i->wrong)
		i->wrong = merge_add(g->m, p, i->label, i->labels, &lost);
	if (p)
		pprof__profile__free_unpacked(p, NULL);
	if (i->wrong)
		note_left_out(g, i);
	else if (lost)
		note_lost(g, i, lost);
}

static void read_and_take(struct reading *r, struct merging *g)
{
	for (size_t next = 0; next < r->s->count; next++) {
		struct input *i = &r->s->at[next];
		while (i->fd >= 0)
			read_round(r);
		take(g, i);
	}
}

void inputs_heed_limits(struct inputs *s)
{
	struct rlimit data, files;
	if (getrlimit(RLIMIT_DATA, &data) == 0 && data.rlim_cur != RLIM_INFINITY && data.rlim_cur < s->memory_bytes)
		s->memory_bytes = data.rlim_cur;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

const char *inputs_merge(struct inputs *s, int out, FILE *notes)
{
	static const char no_memory[] = "there is not enough memory";
	struct reading r = {.s = s, .waiting_most = s->memory_bytes / WAITING_PART, .began_ms = now_ms()};
	arena_set_limit(s->memory_bytes);
	struct merging g = {.m = merge_new(), .s = s, .notes = notes};
	const char *wrong = no_memory;
	r.poll = calloc(s->count + 1, sizeof *r.poll);
	r.which = calloc(s->count + 1, sizeof *r.which);
	if (g.m && r.poll && r.which) {
		read_and_take(&r, &g);
		wrong = merge_count(g.m) ? merge_write(g.m, out) : g.wrong ? g.wrong : "there is nothing to merge";
	}
	free(r.poll);
	free(r.which);
	if (g.m)
		merge_free(g.m);
	return wrong;
}
