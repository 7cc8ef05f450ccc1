/* drop_caps.c - a process that sheds its capabilities, but not root.
 *
 * Runs in: a process of its own, as root. Truth: the number of threads that still have a capability permitted.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int capset(cap_user_header_t header, const cap_user_data_t data);

static unsigned long long permitted(const char *tid)
{
	char path[300], line[256];
	unsigned long long caps = 0;
	snprintf(path, sizeof path, "/proc/self/task/%s/status", tid);
	FILE *f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, "CapPrm:", 7) == 0)
			caps = strtoull(line + 7, NULL, 16);
	if (f)
		fclose(f);
	return caps;
}

int main(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};
	int left = 0;
	printf("capset %d\n", capset(&header, none));
	DIR *d = opendir("/proc/self/task");
	for (struct dirent *e; d && (e = readdir(d));)
		left += e->d_name[0] != '.' && permitted(e->d_name) != 0;
	printf("threads_with_capabilities %d\n", left);
	return 0;
}
