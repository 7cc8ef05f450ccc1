/* fuzz_request.c - any bytes as a request to the helper: the answer is whole lines of the protocol, and its end.
 *
 * Runs in: its own process, under libFuzzer. Objects are made up here.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: encoder/symbolize/serve.c encoder/symbolize/reply.c encoder/symbolize/request.c */
#define _GNU_SOURCE
#include "test/fuzz/input.h"

#include "encoder/symbolize/demangle.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/symbolize/protocol.h"
#include "encoder/symbolize/serve.h"

/* --- made-up files ------------------------------------------------------------------------------------ */

struct object {
	const char *note;
};

static struct object object;
static int objects_open;
static char huge[SYMBOLIZE_LINE_MAX + 7];
static struct frame many[SYMBOLIZE_FRAMES_MAX + 9];

struct object *object_open(const char *path, const char *build_id, const char **why)
{
	if (path[0] == 'n')
		*why = "no such file";
	if (path[0] != '/' || (build_id && strlen(build_id) % 2))
		return NULL;
	objects_open++;
	object.note = path[1] == 'd' ? "damaged" : NULL;
	return &object;
}

void object_close(struct object *o)
{
	(void)o;
	objects_open--;
}

const char *object_note(const struct object *o)
{
	return o->note;
}

void object_lookup(struct object *o, const uint64_t *addresses, size_t count,
                   void (*tell)(void *arg, const struct answer *a), void *arg)
{
	(void)o;
	for (size_t i = 0; i < count; i++) {
		MUST(i == 0 || addresses[i] > addresses[i - 1]);
		size_t frames = addresses[i] % 8 == 7 ? sizeof many / sizeof *many : addresses[i] % 8;
		tell(arg, &(struct answer){.address = addresses[i],
		                           .start = addresses[i] & ~UINT64_C(7),
		                           .count = frames,
		                           .frame = many + addresses[i] / 8 % 2 % (frames + 1),
		                           .calls = addresses[i] % 16 == 9 ? huge : NULL});
	}
}

void object_jumps(struct object *o, const uint64_t *addresses, size_t count,
                  void (*tell)(void *arg, const struct jumps *j), void *arg)
{
	struct jump jump[] = {{1, 2, 3, "g\t\n"}, {3, 0, 0, ""}, {3, 4, 5, huge}};
	(void)o;
	for (size_t i = 0; i < count; i++) {
		MUST(i == 0 || addresses[i] > addresses[i - 1]);
		tell(arg,
		     &(struct jumps){.address = addresses[i], .first = 1, .count = addresses[i] % 4, .jump = jump});
	}
}

char *demangle(const char *name, bool whole)
{
	MUST(!whole);
	return name[0] == '_' ? strdup(name + 1) : name[0] == 'h' ? strdup(huge) : NULL;
}

/* --- the answer ---------------------------------------------------------------------------------------- */

static void check_line(const char *line, size_t len)
{
	size_t tabs = 0;
	MUST(len && len < SYMBOLIZE_LINE_MAX && strchr("onacfgde", line[0]) &&
	     (line[0] == 'e' ? len == 1 : line[1] == ' '));
	for (size_t i = 0; i < len; i++) {
		tabs += line[i] == '\t';
		MUST((unsigned char)line[i] >= 0x20 || line[i] == '\t');
	}
	MUST(tabs == (line[0] == 'f' ? 3 : line[0] == 'g' ? 1 : 0));
}

static void check(int fd)
{
	struct stat s;
	MUST(fstat(fd, &s) == 0 && s.st_size >= 2);
	size_t len = (size_t)s.st_size;
	char *all = malloc(len);
	MUST(all && pread(fd, all, len, 0) == (ssize_t)len);
	for (size_t at = 0, n; at < len; at += n + 1) {
		const char *end = memchr(all + at, '\n', len - at);
		MUST(end);
		n = (size_t)(end - all) - at;
		check_line(all + at, n);
		MUST((all[at] == 'e') == (at + n + 1 == len));
	}
	free(all);
}

static void make_frames(void)
{
	memset(huge, 'x', sizeof huge - 1);
	memset(huge + 4000, 0xc3, 1000);
	for (size_t i = 0; i < sizeof many / sizeof *many; i++)
		many[i] = (struct frame){"f\t\n", "_Z1f", "/a.c", (unsigned)i, 1};
	many[0] = (struct frame){huge, huge, huge, 4294967295u, 4294967295u};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int in, out;
	if (!many[1].name)
		make_frames();
	file_fill(&in, data, size);
	file_fill(&out, NULL, 0);
	MUST(serve(in, out) == 0);
	MUST(objects_open == 0);
	check(out);
	return 0;
}
