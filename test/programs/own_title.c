/* own_title.c - a program that writes a title over its arguments, as database and mail servers do.
 *
 * own_title TITLE ARGUMENT...
 * Runs in: a test program. The title is the first argument itself, written over all of them; the rest of their room is
 * filled with NULs. Prints `ready`, waits for the end of stdin.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "truth.h"

int main(int argc, char **argv)
{
	char *end = argv[argc - 1] + strlen(argv[argc - 1]) + 1;
	char *title = strdup(argc > 1 ? argv[1] : "");
	size_t room = (size_t)(end - argv[0]), len = strlen(title);
	memset(argv[0], 0, room);
	memcpy(argv[0], title, len < room ? len : room - 1);
	free(title);
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		continue;
	return 0;
}
