/* status.c - how this process is, from its files in /proc and the profiler's counters.
 *
 * Runs in: listener. No memory but a region of its own for the search for deadlocks, released at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/door/status.h"

#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/text.h"
#include "shim/snapshot.h"

enum {
	TICKS_PER_SECOND = 100, /* of times in /proc, on every machine (USER_HZ) */
	PAGE_BYTES = 4096,
	CLOCK_OF_BOOT = 7, /* CLOCK_BOOTTIME */
	/* fields of /proc/<pid>/stat, behind the name; proc(5) counts the state as field 3 */
	FIELD_PARENT = 4 - 3,
	FIELD_USER = 14 - 3,
	FIELD_SYSTEM = 15 - 3,
	FIELD_START = 22 - 3,
	FIELD_RSS = 24 - 3,
	FIELDS,
};

struct stat_file {
	char text[512];
	struct span name;
	uint64_t fields[FIELDS];
};

static long read_file(const char *path, char *to, size_t room)
{
	int fd = (int)os_open(path, O_RDONLY);
	long n = fd < 0 ? fd : os_read(fd, to, room);
	if (fd >= 0)
		os_close(fd);
	return n;
}

/* The name is in brackets, and may have brackets too. */
static bool read_stat(int pid, struct stat_file *s)
{
	char path[32];
	struct line l = LINE(path);
	line_str(&l, "/proc/");
	line_dec(&l, pid);
	line_str(&l, "/stat");
	*s = (struct stat_file){0};
	long n = read_file(path, s->text, sizeof s->text);
	struct span rest = {s->text, n > 0 ? (size_t)n : 0};
	const char *open = rest.len ? memchr(s->text, '(', rest.len) : NULL, *close = NULL;
	for (size_t i = 0; i < rest.len; i++)
		close = s->text[i] == ')' ? s->text + i : close;
	if (!open || !close || close < open)
		return false;
	s->name = (struct span){open + 1, (size_t)(close - open) - 1};
	rest = (struct span){close + 2,
	                     rest.len > (size_t)(close + 2 - s->text) ? rest.len - (size_t)(close + 2 - s->text) : 0};
	for (size_t i = 0; i < FIELDS && rest.len; i++)
		text_parse_uint(span_cut(&rest, ' '), 10, &s->fields[i]);
	return true;
}

int status_parent_of(int pid)
{
	struct stat_file s;
	return read_stat(pid, &s) && s.fields[FIELD_PARENT] <= INT32_MAX ? (int)s.fields[FIELD_PARENT] : 0;
}

int status_parent(void)
{
	return status_parent_of(house_pid());
}

static void copy_text(char *to, size_t room, struct span s)
{
	struct line l = {to, room, 0};
	line_bytes(&l, s.at, s.len);
}

/* Without /proc the program's name is the last part of the path that it was started by. */
static void take_started_by(struct protocol_status *s)
{
	struct span path = span_of(house.path ? house.path : "");
	while (path.len && memchr(path.at, '/', path.len))
		span_cut(&path, '/');
	copy_text(s->program, sizeof s->program, path);
}

static void take_stat(struct protocol_status *s)
{
	struct stat_file f;
	if (!read_stat(house_pid(), &f)) {
		take_started_by(s);
		return;
	}
	uint64_t up_ms = os_clock_ns(CLOCK_OF_BOOT) / 1000000;
	uint64_t start_ms = f.fields[FIELD_START] * (1000 / TICKS_PER_SECOND);
	s->age_ms = up_ms > start_ms ? up_ms - start_ms : 0;
	s->cpu_ms = (f.fields[FIELD_USER] + f.fields[FIELD_SYSTEM]) * (1000 / TICKS_PER_SECOND);
	s->rss_bytes = f.fields[FIELD_RSS] * PAGE_BYTES;
	s->parent = f.fields[FIELD_PARENT] <= INT32_MAX ? (int32_t)f.fields[FIELD_PARENT] : 0;
	copy_text(s->program, sizeof s->program, f.name);
}

/* Of the program: it shares our memory. NULs between arguments become spaces, those at the end go. */
static void take_command(struct protocol_status *s)
{
	long n = read_file("/proc/self/cmdline", s->command, sizeof s->command - 1);
	size_t len = n > 0 ? (size_t)n : 0;
	if (len == sizeof s->command - 1) /* no half of a character */
		while (len && s->command[len - 1] & 0x80)
			len--;
	while (len && s->command[len - 1] == '\0')
		len--;
	for (size_t i = 0; i < len; i++)
		if (s->command[i] == '\0')
			s->command[i] = ' ';
	s->command[len] = '\0';
}

static void note_stuck(void *arg, const char *line)
{
	struct protocol_status *s = arg;
	s->deadlocks += span_starts(span_of(line), "DEADLOCK");
	if (!s->warning[0])
		copy_text(s->warning, sizeof s->warning, span_of(line));
}

static void note_loss(void *arg, const char *line)
{
	struct protocol_status *s = arg;
	s->losses++;
	if (!s->warning[0])
		copy_text(s->warning, sizeof s->warning, span_of(line));
}

void status_take(union protocol_message *m)
{
	struct region scratch = {0};
	protocol_begin(m, PROTOCOL_STATUS);
	m->status.threads = (uint32_t)snapshot_count_threads();
	take_stat(&m->status);
	take_command(&m->status);
	m->status.live_bytes = snapshot_heap_in_use();
	snapshot_stuck(&scratch, note_stuck, &m->status);
	region_release(&scratch);
	snapshot_losses(note_loss, &m->status);
}
