/* debug_file.c - find separate debug files where gdb and elfutils look for them.
 *
 * Runs in: pprofshim-symbolize. A debug file is used only if it has the same build id or, where one of the two files
 * has none, the CRC in .gnu_debuglink.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "encoder/symbolize/elf/debug_file.h"

#include <elfutils/libdwelf.h>
#include <gelf.h>
#include <limits.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MINI_MEMORY = 64 * 1024 * 1024, /* for the decompressor; xz -9 needs it */
	MINI_MOST = 128 * 1024 * 1024,  /* unpacked */
	PART = 64 * 1024,
};

static const char *debug_dirs;

void debug_file_set_dirs(const char *dirs)
{
	debug_dirs = dirs;
}

/* What a candidate must match. */
struct wanted {
	const struct elf_file *of; /* not this file itself */
	const uint8_t *id;
	size_t id_len;
	bool by_crc;
	uint32_t crc;
};

static bool is_same_file(const struct elf_file *a, const struct elf_file *b)
{
	struct stat sa, sb;
	return fstat(a->fd, &sa) == 0 && fstat(b->fd, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static bool fits(const struct elf_file *f, const struct wanted *w)
{
	if (is_same_file(f, w->of))
		return false;
	if (w->id_len && f->id_len)
		return f->id_len == w->id_len && memcmp(f->id, w->id, w->id_len) == 0;
	return w->by_crc && elf_file_has_crc(f, w->crc);
}

static struct elf_file *try_path(const char *path, const struct wanted *w)
{
	const char *why;
	struct elf_file *f = elf_file_open(path, &why);
	if (!f || fits(f, w))
		return f;
	elf_file_close(f);
	return NULL;
}

/* Call `try` for each debug folder until one returns a file: PPROF_DEBUG_DIRS first, then the distribution's. */
static struct elf_file *in_each_dir(struct elf_file *(*try)(const char *dir, const char *rest, const struct wanted *w),
                                    const char *rest, const struct wanted *w)
{
	struct elf_file *found = NULL;
	for (const char *d = debug_dirs; d && *d && !found;) {
		char dir[PATH_MAX];
		size_t len = strcspn(d, ":");
		if (len && len < sizeof dir) {
			memcpy(dir, d, len);
			dir[len] = '\0';
			found = try(dir, rest, w);
		}
		d += len + (d[len] == ':');
	}
	return found ? found : try("/usr/lib/debug", rest, w);
}

static struct elf_file *try_id(const char *dir, const char *suffix, const struct wanted *w)
{
	char path[PATH_MAX], hex[2 * BUILD_ID_MOST + 1];
	for (size_t i = 0; i < w->id_len; i++)
		snprintf(hex + 2 * i, 3, "%02x", w->id[i]);
	int n = snprintf(path, sizeof path, "%s/.build-id/%.2s/%s%s", dir, hex, hex + 2, suffix);
	return n > 0 && (size_t)n < sizeof path ? try_path(path, w) : NULL;
}

static struct elf_file *find_by_id(const struct wanted *w)
{
	return w->id_len >= 2 && w->id_len <= BUILD_ID_MOST ? in_each_dir(try_id, ".debug", w) : NULL;
}

/* Try <dir>/<folder of the file>/<link>, then <dir>/<link>. */
static struct elf_file *try_below(const char *dir, const char *rest, const struct wanted *w)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof path, "%s/%s", dir, rest);
	struct elf_file *f = n > 0 && (size_t)n < sizeof path ? try_path(path, w) : NULL;
	const char *base = strrchr(rest, '/');
	if (f || !base)
		return f;
	n = snprintf(path, sizeof path, "%s%s", dir, base);
	return n > 0 && (size_t)n < sizeof path ? try_path(path, w) : NULL;
}

static struct elf_file *find_beside(const char *folder, const char *link, const struct wanted *w)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof path, "%s/%s", folder, link);
	struct elf_file *f = n > 0 && (size_t)n < sizeof path ? try_path(path, w) : NULL;
	if (f)
		return f;
	n = snprintf(path, sizeof path, "%s/.debug/%s", folder, link);
	return n > 0 && (size_t)n < sizeof path ? try_path(path, w) : NULL;
}

/* Find the folder of the real file: /bin/x is /usr/bin/x, and debug files lie below /usr/bin. */
static bool folder_of(const struct elf_file *f, char *folder)
{
	char *slash;
	if (!f->path || !realpath(f->path, folder) || !(slash = strrchr(folder, '/')))
		return false;
	*slash = '\0';
	return true;
}

static struct elf_file *find_by_link(const struct elf_file *f, struct wanted *w)
{
	GElf_Word crc;
	char folder[PATH_MAX], rest[PATH_MAX];
	const char *link = dwelf_elf_gnu_debuglink(f->elf, &crc);
	if (!link || !*link || strchr(link, '/') || !folder_of(f, folder))
		return NULL;
	w->by_crc = true;
	w->crc = crc;
	struct elf_file *found = find_beside(folder, link, w);
	int n = snprintf(rest, sizeof rest, "%s/%s", folder + 1, link);
	if (found || n <= 0 || (size_t)n >= sizeof rest)
		return found;
	return in_each_dir(try_below, rest, w);
}

struct elf_file *debug_file_find(const struct elf_file *f)
{
	struct wanted w = {.of = f, .id = f->id, .id_len = f->id_len};
	struct elf_file *found = find_by_id(&w);
	return found ? found : find_by_link(f, &w);
}

static struct elf_file *try_alt_name(const char *folder, const char *name, const struct wanted *w)
{
	char path[PATH_MAX];
	int n = name[0] == '/' ? snprintf(path, sizeof path, "%s", name)
	                       : snprintf(path, sizeof path, "%s/%s", folder, name);
	return n > 0 && (size_t)n < sizeof path ? try_path(path, w) : NULL;
}

struct elf_file *debug_file_find_alt(const struct elf_file *debug, const char *name, const uint8_t *id, size_t id_len)
{
	struct wanted w = {.of = debug, .id = id, .id_len = id_len};
	char folder[PATH_MAX];
	if (id_len < 2 || id_len > BUILD_ID_MOST)
		return NULL;
	struct elf_file *found = in_each_dir(try_id, ".debug", &w);
	if (!found && folder_of(debug, folder))
		found = try_alt_name(folder, name, &w);
	/* Debian's names are ../../../.dwz/x86_64-linux-gnu/x.debug, relative to the debug file. If that was moved into
	 * another debug folder, the part from ".dwz/" on is still right. */
	const char *dwz = strstr(name, ".dwz/");
	return found || !dwz ? found : in_each_dir(try_below, dwz, &w);
}

static bool write_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t done = write(fd, p, n);
		if (done <= 0)
			return false;
		p += done;
		n -= (size_t)done;
	}
	return true;
}

/* Unpack into fd. False: the data is damaged, or larger than MINI_MOST. */
static bool unpack(const Elf_Data *packed, int fd, uint8_t *part)
{
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_ret r = lzma_stream_decoder(&s, MINI_MEMORY, 0);
	s.next_in = packed->d_buf;
	s.avail_in = packed->d_size;
	while (r == LZMA_OK) {
		s.next_out = part;
		s.avail_out = PART;
		r = lzma_code(&s, LZMA_FINISH);
		if (s.total_out > MINI_MOST || !write_all(fd, part, PART - s.avail_out))
			r = LZMA_DATA_ERROR;
	}
	lzma_end(&s);
	return r == LZMA_STREAM_END;
}

struct elf_file *debug_file_unpack_mini(const struct elf_file *f)
{
	Elf_Scn *scn = elf_file_section(f, ".gnu_debugdata", NULL);
	Elf_Data *packed = scn ? elf_rawdata(scn, NULL) : NULL;
	if (!packed || !packed->d_buf || !packed->d_size)
		return NULL;
	int fd = memfd_create("symbols", MFD_CLOEXEC);
	uint8_t *part = malloc(PART);
	bool done = fd >= 0 && part && unpack(packed, fd, part);
	free(part);
	if (done)
		return elf_file_of(fd);
	if (fd >= 0)
		close(fd);
	return NULL;
}
