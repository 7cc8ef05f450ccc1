/* container.c - how much memory the container has left.
 *
 * Runs in: listener. System calls alone; buffers of its own, one owner.
 *
 * If a helper takes more memory than the container has, the kernel kills one of the container's processes, or, where
 * Kubernetes sets memory.oom.group, all of them: the program, too. So the limit of every group around this process is
 * read before a helper starts.
 *
 * Formats: the kernel's Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files", and cgroup-v1/memory.rst;
 * proc(5), mountinfo; cgroups(7), /proc/PID/cgroup.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/container.h"

#include "shim/base/os.h"
#include "shim/base/text.h"

enum { PATH_BYTES = 4096, LINE_BYTES = 4096, READ_BYTES = 4096 };

/* A limit this large means "no limit", for which version 1 has no word. */
#define NO_LIMIT (UINT64_C(1) << 60)

/* The file names and keys of one version of control groups. */
struct version {
	const char *limit, *used;
	const char *cached[2], *not_cached; /* keys of memory.stat: files that the kernel drops when it needs memory */
};
static const struct version versions[] = {
	{"memory.limit_in_bytes", "memory.usage_in_bytes", {"total_inactive_file", "total_active_file"}, NULL},
	{"memory.max", "memory.current", {"file", NULL}, "shmem"},
};

/* Where the groups of one version are. */
struct place {
	bool is_mounted, is_member;
	char mount[PATH_BYTES]; /* the folder */
	char root[PATH_BYTES];  /* the group that is there */
	char group[PATH_BYTES]; /* this process's */
};
static struct place places[2];

/* ---- files, line by line ---- */

static struct {
	int fd;
	long count, at;
	char bytes[READ_BYTES], line[LINE_BYTES];
} file;

static bool open_file(const char *path)
{
	file.count = file.at = 0;
	file.fd = (int)os_open(path, O_RDONLY);
	return file.fd >= 0;
}

/* Read the next line; a line that is too long is cut. False: there was none. */
static bool next_line(struct span *line)
{
	size_t len = 0;
	for (;;) {
		if (file.at == file.count) {
			file.at = 0;
			file.count = os_read(file.fd, file.bytes, sizeof file.bytes);
			if (file.count <= 0) {
				file.count = 0;
				break;
			}
		}
		char c = file.bytes[file.at++];
		if (c == '\n') {
			*line = (struct span){file.line, len};
			return true;
		}
		if (len < sizeof file.line)
			file.line[len++] = c;
	}
	*line = (struct span){file.line, len};
	return len > 0;
}

static void close_file(void)
{
	os_close(file.fd);
}

/* ---- where the groups are ---- */

static bool keep_path(char to[PATH_BYTES], struct span s)
{
	if (s.len >= PATH_BYTES)
		return false;
	memcpy(to, s.at, s.len);
	to[s.len] = '\0';
	return true;
}

static bool has_word(struct span list, const char *word)
{
	while (list.len)
		if (span_is(span_cut(&list, ','), word))
			return true;
	return false;
}

/* "0::/pod", or "4:cpu,memory:/pod". */
static void take_membership(struct span line)
{
	span_cut(&line, ':');
	struct span controllers = span_cut(&line, ':');
	struct place *p = &places[controllers.len == 0];
	if ((controllers.len == 0 || has_word(controllers, "memory")) && !p->is_member)
		p->is_member = keep_path(p->group, line);
}

/* "36 35 98:0 /root /mount options [tags] - cgroup2 source options" */
static void take_mount(struct span line)
{
	struct span root, mount;
	for (int i = 0; i < 3; i++)
		span_cut(&line, ' ');
	root = span_cut(&line, ' ');
	mount = span_cut(&line, ' ');
	while (line.len && !span_is(span_cut(&line, ' '), "-"))
		;
	struct span type = span_cut(&line, ' ');
	span_cut(&line, ' ');
	bool is_second = span_is(type, "cgroup2"), is_first = span_is(type, "cgroup") && has_word(line, "memory");
	struct place *p = &places[is_second];
	if ((is_first || is_second) && !p->is_mounted)
		p->is_mounted = keep_path(p->root, root) && keep_path(p->mount, mount);
}

static void take_lines(const char *path, void (*take)(struct span line))
{
	struct span line;
	if (!open_file(path))
		return;
	while (next_line(&line))
		take(line);
	close_file();
}

/* ---- a group ---- */

static bool open_in(const char *group, const char *name)
{
	static char path[PATH_BYTES + 64];
	struct line l = LINE(path);
	line_str(&l, group);
	line_str(&l, "/");
	line_str(&l, name);
	return open_file(path);
}

/* Returns UINT64_MAX if there is no number ("max", or no such file). */
static uint64_t read_number(const char *group, const char *name)
{
	struct span line;
	uint64_t value;
	if (!open_in(group, name))
		return UINT64_MAX;
	bool is_number = next_line(&line) && text_parse_uint(span_trim(line), 10, &value);
	close_file();
	return is_number ? value : UINT64_MAX;
}

static uint64_t read_cache(const char *group, const struct version *v)
{
	uint64_t cached = 0, not_cached = 0, value;
	struct span line;
	if (!open_in(group, "memory.stat"))
		return 0;
	while (next_line(&line)) {
		struct span key = span_cut(&line, ' ');
		if (!text_parse_uint(span_trim(line), 10, &value))
			continue;
		if (span_is(key, v->cached[0]) || (v->cached[1] && span_is(key, v->cached[1])))
			cached += value;
		if (v->not_cached && span_is(key, v->not_cached))
			not_cached = value;
	}
	close_file();
	return cached > not_cached ? cached - not_cached : 0;
}

static uint64_t room_in(const char *group, const struct version *v)
{
	uint64_t most = read_number(group, v->limit), used = read_number(group, v->used);
	if (most >= NO_LIMIT || used == UINT64_MAX)
		return UINT64_MAX;
	uint64_t cache = read_cache(group, v);
	used = used > cache ? used - cache : 0;
	return most > used ? most - used : 0;
}

/* Find the folder of the group below the mount: its path, without the path of the group that is the mount's root. */
static bool find_folder(const struct place *p, char folder[2 * PATH_BYTES])
{
	size_t root_len = strlen(p->root);
	struct span group = span_of(p->group);
	bool is_below =
		root_len > 1 && span_starts(group, p->root) && (group.len == root_len || group.at[root_len] == '/');
	struct line l = {folder, 2 * PATH_BYTES, 0};
	if (!p->is_mounted || !p->is_member)
		return false;
	if (is_below)
		group = (struct span){group.at + root_len, group.len - root_len};
	line_str(&l, p->mount);
	line_bytes(&l, group.at, group.len);
	while (l.len && folder[l.len - 1] == '/')
		folder[--l.len] = '\0';
	return true;
}

/* The least room of all groups from this one up to the mount. A group without a folder (it is in another name space)
 * is skipped. */
static uint64_t room_below(const struct place *p, const struct version *v)
{
	static char folder[2 * PATH_BYTES];
	uint64_t least = UINT64_MAX;
	if (!find_folder(p, folder))
		return least;
	for (size_t end = strlen(folder), mount_len = strlen(p->mount); end >= mount_len && end; end--) {
		if (end > mount_len && folder[end] != '/' && folder[end] != '\0')
			continue;
		folder[end] = '\0';
		uint64_t room = room_in(folder, v);
		least = room < least ? room : least;
	}
	return least;
}

uint64_t container_room_of(const char *membership, const char *mounts)
{
	uint64_t least = UINT64_MAX;
	for (int i = 0; i < 2; i++)
		places[i].is_mounted = places[i].is_member = false;
	take_lines(membership, take_membership);
	take_lines(mounts, take_mount);
	for (int i = 0; i < 2; i++) {
		uint64_t room = room_below(&places[i], &versions[i]);
		least = room < least ? room : least;
	}
	return least;
}

uint64_t container_room(void)
{
	return container_room_of("/proc/self/cgroup", "/proc/self/mountinfo");
}
