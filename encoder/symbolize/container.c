/* container.c - how much memory the container has left.
 *
 * Runs in: pprofshim-symbolize, at its start.
 *
 * Format: the kernel's Documentation/admin-guide/cgroup-v2.rst, "Memory Interface Files".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/container.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The number in a file of a group; UINT64_MAX: there is none ("max", or no such file). */
static uint64_t read_number(const char *group, const char *name)
{
	char path[2 * PATH_MAX + 32];
	unsigned long long value;
	snprintf(path, sizeof path, "%s/%s", group, name);
	FILE *f = fopen(path, "re");
	bool is_number = f && fscanf(f, "%llu", &value) == 1;
	if (f)
		fclose(f);
	return is_number ? value : UINT64_MAX;
}

/* Bytes of files that the kernel drops when it needs memory. */
static uint64_t read_cache(const char *group)
{
	char path[2 * PATH_MAX + 32], key[64];
	unsigned long long value, file = 0, shmem = 0;
	snprintf(path, sizeof path, "%s/memory.stat", group);
	FILE *f = fopen(path, "re");
	while (f && fscanf(f, "%63s %llu", key, &value) == 2) {
		file = strcmp(key, "file") == 0 ? value : file;
		shmem = strcmp(key, "shmem") == 0 ? value : shmem;
	}
	if (f)
		fclose(f);
	return file > shmem ? file - shmem : 0;
}

static uint64_t room_in(const char *group)
{
	uint64_t most = read_number(group, "memory.max"), used = read_number(group, "memory.current");
	if (most == UINT64_MAX || used == UINT64_MAX)
		return UINT64_MAX;
	uint64_t cache = read_cache(group);
	used = used > cache ? used - cache : 0;
	return most > used ? most - used : 0;
}

/* The group's path: inside a container mostly "/". False: not version 2. */
static bool find_group(const char *membership, char *group, size_t size)
{
	char line[PATH_MAX];
	bool found = false;
	FILE *f = fopen(membership, "re");
	while (f && !found && fgets(line, sizeof line, f)) {
		line[strcspn(line, "\n")] = '\0';
		found = strncmp(line, "0::/", 4) == 0;
	}
	if (f)
		fclose(f);
	if (found)
		snprintf(group, size, "%s", line + 3);
	return found;
}

uint64_t container_room(const char *root, const char *membership)
{
	char group[PATH_MAX], path[2 * PATH_MAX];
	uint64_t least = UINT64_MAX;
	if (!find_group(membership, group, sizeof group))
		return least;
	for (char *end = group + strlen(group); end; end = strrchr(group, '/')) {
		*end = '\0';
		snprintf(path, sizeof path, "%s%s", root, group);
		uint64_t room = room_in(path);
		least = room < least ? room : least;
	}
	return least;
}

void container_leave_room(void)
{
	struct rlimit limit;
	uint64_t room = container_room("/sys/fs/cgroup", "/proc/self/cgroup");
	if (room == UINT64_MAX || getrlimit(RLIMIT_DATA, &limit) < 0 || limit.rlim_cur <= room / 2)
		return;
	limit.rlim_cur = room / 2;
	setrlimit(RLIMIT_DATA, &limit);
}
