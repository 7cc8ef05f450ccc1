/* object_file.c - the file that an object was loaded from.
 *
 * Runs in: listener. No lock; reads the list of objects, which is never freed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/object_file.h"

#include <sys/stat.h>

#include "encoder/names/elf_symbols.h"
#include "shim/base/os.h"

enum { CWD_MAX = 4096 };

static bool has_same_head(int fd, const struct module *m)
{
	char head[4096];
	return m->head_bytes <= sizeof head && os_pread(fd, head, m->head_bytes, 0) == (long)m->head_bytes &&
	       text_hash(head, m->head_bytes) == m->head_hash;
}

/* Does the path hold the file that was loaded, as far as can be told? */
static bool is_same(const char *path, const struct module *m)
{
	int fd = (int)os_open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	bool same = fd >= 0 && elf_has_build_id(fd, m->build_id, m->build_id_len) &&
	            (!m->head_bytes || has_same_head(fd, m));
	if (fd >= 0)
		os_close(fd);
	return same;
}

bool object_file_is_programs(const char *path)
{
	struct stat its, ours; /* the kernel's structure is libc's on 64-bit Linux */
	return path && path[0] == '/' && os_call(SYS_newfstatat, AT_FDCWD, path, &its, 0) == 0 &&
	       os_call(SYS_newfstatat, AT_FDCWD, "/proc/self/exe", &ours, 0) == 0 && its.st_ino == ours.st_ino &&
	       its.st_dev == ours.st_dev;
}

struct span object_file_executable(struct region *r)
{
	char path[CWD_MAX] = "";
	long len = os_call(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof path);
	char *copy = len > 0 && len < CWD_MAX ? region_alloc(r, (size_t)len) : NULL;
	return copy ? (struct span){memcpy(copy, path, (size_t)len), (size_t)len} : (struct span){0};
}

const char *object_file_find(const struct names *n, const struct module *m)
{
	struct span s = names_path(n, m);
	char *path = region_alloc(n->region, s.len + CWD_MAX);
	struct line l = {path, s.len + CWD_MAX, 0};
	if (!path)
		return NULL;
	if (s.len && s.at[0] != '/' && memchr(s.at, '/', s.len)) { /* unloaded: the path is as the loader got it */
		os_call(SYS_readlinkat, AT_FDCWD, "/proc/self/cwd", path, CWD_MAX - 2);
		l.len = strlen(path);
		line_str(&l, "/");
	}
	line_bytes(&l, s.at, s.len);
	if (path[0] == '/' && !memchr(path, '\n', strlen(path)) && is_same(path, m))
		return path;
	if (!n->modules.count || m != n->modules.at[0])
		return NULL;
	char self[32] = ""; /* our pid in /proc, which may be that of another pid namespace */
	os_call(SYS_readlinkat, AT_FDCWD, "/proc/self", self, sizeof self - 1);
	l.len = 0;
	line_str(&l, "/proc/");
	line_str(&l, self);
	line_str(&l, "/exe");
	return is_same(path, m) ? path : NULL;
}
