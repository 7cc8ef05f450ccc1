/* own_file.c - open a file that a setting names, if nobody else had a hand in it.
 *
 * Runs in: init, listener. So: system calls alone.
 *
 * The path is walked folder by folder. Somebody who may write into a folder may put there: a link to a file that we may
 * write and he may not; a FIFO, to stop us; a second name of a file of ours; a program.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/own_file.h"

#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "shim/base/os.h"
#include "shim/base/text.h"

enum { OTHERS_WRITE = S_IWGRP | S_IWOTH };

/* fstat's kernel structure is libc's on 64-bit Linux. */
static bool look(int fd, struct stat *s)
{
	return os_call(SYS_fstat, fd, s) == 0;
}

static uid_t user(void)
{
	return (uid_t)os_call(SYS_geteuid, 0);
}

static bool is_trusted(const struct stat *s)
{
	return s->st_uid == 0 || s->st_uid == user();
}

/* Can nobody else replace an entry of root's or this user's in this folder? In a sticky folder they can't. Only libc's
 * name services know the members of a group: a folder that any group may write counts as others', as sshd and sudo
 * have it. */
static bool is_safe_folder(int fd)
{
	struct stat s;
	return look(fd, &s) && is_trusted(&s) && (!(s.st_mode & OTHERS_WRITE) || (s.st_mode & S_ISVTX));
}

/* Open one entry of a folder as a place only (O_PATH): that reads nothing and waits for nothing. */
static int open_entry(int folder, const char *name)
{
	struct stat s;
	int fd = (int)os_call(SYS_openat, folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	if (fd < 0 || (look(fd, &s) && !S_ISLNK(s.st_mode)))
		return fd;
	bool good = is_trusted(&s) && is_safe_folder(folder);
	os_close(fd);
	return good ? (int)os_call(SYS_openat, folder, name, O_PATH | O_CLOEXEC, 0) : -ELOOP;
}

/* Open the folder that holds the last part of the path; write that part to `name`. safe: every folder on the way must
 * be. */
static int open_folder(const char *path, bool safe, char name[NAME_MAX + 1])
{
	struct span rest = span_of(path);
	int fd =
		path[0] == '/' ? (int)os_call(SYS_openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0) : -EINVAL;
	while (fd >= 0) {
		struct span part = span_cut(&rest, '/');
		int error = part.len > NAME_MAX ? -ENAMETOOLONG : safe && !is_safe_folder(fd) ? -EPERM : 0;
		if (error) {
			os_close(fd);
			return error;
		}
		memcpy(name, part.at, part.len);
		name[part.len] = '\0';
		if (!rest.len)
			return fd;
		if (!part.len)
			continue;
		int next = open_entry(fd, name);
		os_close(fd);
		fd = next;
	}
	return fd;
}

/* Is this entry a file that may be appended to? */
static bool is_own(const struct stat *s)
{
	return S_ISREG(s->st_mode) && s->st_uid == user() && s->st_nlink == 1;
}

static int append_in(int folder, const char *name)
{
	struct stat s;
	int there = (int)os_call(SYS_openat, folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
	bool good = there == -ENOENT || (there >= 0 && look(there, &s) && is_own(&s));
	if (there >= 0)
		os_close(there);
	if (!good)
		return there < 0 ? there : -EPERM;
	int fd = (int)os_call(SYS_openat, folder, name,
	                      O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || (look(fd, &s) && is_own(&s)))
		return fd;
	os_close(fd);
	return -EPERM;
}

int own_file_append(const char *path)
{
	char name[NAME_MAX + 1];
	int folder = open_folder(path, false, name);
	if (folder < 0)
		return folder;
	int fd = append_in(folder, name);
	os_close(folder);
	return fd;
}

int own_file_may_run(const char *path)
{
	char name[NAME_MAX + 1];
	int folder = open_folder(path, true, name);
	if (folder < 0)
		return folder;
	struct stat s;
	int fd = open_entry(folder, name);
	os_close(folder);
	if (fd < 0)
		return fd;
	bool good = look(fd, &s) && S_ISREG(s.st_mode) && is_trusted(&s) && !(s.st_mode & OTHERS_WRITE);
	os_close(fd);
	return good ? 0 : -EPERM;
}

static int look_at(const char *path, struct stat *s)
{
	int fd = (int)os_call(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC, 0);
	if (fd < 0)
		return fd;
	bool known = look(fd, s);
	os_close(fd);
	return known ? 0 : -EIO;
}

/* May somebody write the file who may not write the other one? */
static bool is_less_safe(const struct stat *s, const struct stat *other)
{
	mode_t more = s->st_mode & ~other->st_mode & OTHERS_WRITE;
	return !(is_trusted(s) || s->st_uid == other->st_uid) || more ||
	       (s->st_mode & S_IWGRP && s->st_gid != other->st_gid);
}

int own_file_may_run_beside(const char *path, const char *neighbour)
{
	struct stat s, other = {0};
	int r = look_at(path, &s);
	if (r < 0)
		return r;
	look_at(neighbour, &other); /* if it is gone: as if only root could write it */
	return S_ISREG(s.st_mode) && !is_less_safe(&s, &other) ? 0 : -EPERM;
}
