/* preload.c - can a program be started with the library preloaded?
 *
 * Runs in: pprofshim. Files may hold anything.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "encoder/command/preload.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef LIBDIR
#define LIBDIR "/usr/local/lib"
#endif

enum { INTERPRETERS_MAX = 4, HEADERS_MAX = 64, NOTES_MAX = 4096 };

/* --- the library ----------------------------------------------------------------------------------- */

const char *preload_find_library(char *path, size_t room)
{
	static const char *const folder[] = {"%s/libpprofshim.so", "%s/../lib/libpprofshim.so",
	                                     LIBDIR "/libpprofshim.so"};
	char own[PATH_MAX], whole[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
	own[n > 0 ? n : 0] = '\0';
	char *slash = strrchr(own, '/');
	if (slash)
		*slash = '\0';
	for (size_t i = 0; i < sizeof folder / sizeof folder[0]; i++) {
		int len = i < 2 ? snprintf(whole, sizeof whole, folder[i], own)
		                : snprintf(whole, sizeof whole, "%s", folder[i]);
		char *real = len > 0 && (size_t)len < sizeof whole ? realpath(whole, NULL) : NULL;
		bool fits = real && strlen(real) < room;
		if (fits)
			strcpy(path, real);
		free(real);
		if (fits)
			return strpbrk(path, " :\t\n")
			               ? "the library's path has a space or a colon, which LD_PRELOAD cannot have"
			               : NULL;
	}
	return "libpprofshim.so is not there: neither beside this program nor in " LIBDIR;
}

/* --- the program ----------------------------------------------------------------------------------- */

static int try_program(const char *path)
{
	struct stat s;
	if (stat(path, &s) != 0)
		return errno;
	if (S_ISDIR(s.st_mode))
		return EACCES;
	return access(path, X_OK) == 0 ? 0 : errno;
}

int preload_find_program(const char *name, char *path, size_t room)
{
	const char *folders = getenv("PATH");
	int result = ENOENT;
	if (strchr(name, '/')) {
		snprintf(path, room, "%s", name);
		return try_program(name);
	}
	for (const char *at = folders ? folders : "/usr/bin:/bin";; at++) {
		size_t len = strcspn(at, ":");
		int n = snprintf(path, room, "%.*s%s%s", (int)len, at, len ? "/" : "", name);
		int error = n > 0 && (size_t)n < room ? try_program(path) : ENOENT;
		if (!error)
			return 0;
		result = error == EACCES ? EACCES : result;
		at += len;
		if (!*at)
			return result;
	}
}

/* --- what kind of file it is ------------------------------------------------------------------------ */

struct image {
	Elf64_Ehdr head;
	Elf64_Phdr segment[HEADERS_MAX];
	char interpreter[256]; /* "": none, it is linked statically */
	bool is_go;
};

static bool is_go_note(int fd, const Elf64_Phdr *h)
{
	char note[NOTES_MAX];
	ssize_t n = pread(fd, note, h->p_filesz < sizeof note ? h->p_filesz : sizeof note, (off_t)h->p_offset);
	return n >= 16 && memmem(note, (size_t)n, "\4\0\0\0Go\0", 8) != NULL;
}

/* Returns 0, or -1: it is no ELF file of 64 bits that makes sense. */
static int read_image(int fd, struct image *m)
{
	*m = (struct image){.interpreter = ""};
	if (pread(fd, &m->head, sizeof m->head, 0) != sizeof m->head || memcmp(m->head.e_ident, ELFMAG, SELFMAG) != 0)
		return -1;
	size_t count = m->head.e_phnum < HEADERS_MAX ? m->head.e_phnum : HEADERS_MAX;
	if (m->head.e_ident[EI_CLASS] != ELFCLASS64 || m->head.e_phentsize != sizeof m->segment[0])
		return 0;
	ssize_t n = pread(fd, m->segment, count * sizeof m->segment[0], (off_t)m->head.e_phoff);
	for (size_t i = 0; n > 0 && i < (size_t)n / sizeof m->segment[0]; i++) {
		const Elf64_Phdr *h = &m->segment[i];
		if (h->p_type == PT_INTERP && h->p_filesz < sizeof m->interpreter)
			n = pread(fd, m->interpreter, h->p_filesz, (off_t)h->p_offset) > 0 ? n : 0;
		m->is_go |= h->p_type == PT_NOTE && is_go_note(fd, h);
	}
	return 0;
}

static bool gains_rights(int fd)
{
	struct stat s;
	if (fstat(fd, &s) != 0)
		return false;
	if (((s.st_mode & S_ISUID) && s.st_uid != geteuid()) ||
	    ((s.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && s.st_gid != getegid()))
		return true;
	return geteuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

static const char *image_refusal(const struct image *m, const char *library)
{
	struct image own;
	int fd = open(library, O_RDONLY | O_CLOEXEC);
	int read = fd < 0 ? -1 : read_image(fd, &own);
	if (fd >= 0)
		close(fd);
	if (read < 0)
		return "the library cannot be read";
	if (m->head.e_machine != own.head.e_machine || m->head.e_ident[EI_CLASS] != own.head.e_ident[EI_CLASS])
		return "it is for another machine than the library";
	if (!*m->interpreter)
		return m->is_go ? "it is a Go program without cgo, which has no use for the library; Go has "
		                  "net/http/pprof"
		                : "it is linked statically, and preloads nothing";
	return strstr(m->interpreter, "ld-musl") ? "it is for musl; the library profiles programs for glibc" : NULL;
}

/* "#! interpreter argument". Returns whether it is a script; its interpreter is in `path` then. */
static bool read_script(int fd, char *path, size_t room)
{
	char line[PATH_MAX + 2];
	ssize_t n = pread(fd, line, sizeof line - 1, 0);
	line[n > 0 ? n : 0] = '\0';
	if (strncmp(line, "#!", 2) != 0)
		return false;
	char *begin = line + 2 + strspn(line + 2, " \t");
	begin[strcspn(begin, " \t\r\n")] = '\0';
	snprintf(path, room, "%s", begin);
	return true;
}

const char *preload_refusal(const char *path, const char *library)
{
	char at[PATH_MAX];
	struct image m;
	snprintf(at, sizeof at, "%s", path);
	for (int i = 0; i <= INTERPRETERS_MAX; i++) {
		int fd = open(at, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return NULL; /* what cannot be looked at may well be started */
		if (read_script(fd, at, sizeof at)) {
			close(fd);
			continue;
		}
		const char *why = gains_rights(fd)
		                          ? "it gains rights when it starts (set-user-ID or file capabilities), so "
		                            "that it preloads nothing"
		                  : read_image(fd, &m) == 0 ? image_refusal(&m, library)
		                                            : NULL;
		close(fd);
		return why;
	}
	return NULL;
}
