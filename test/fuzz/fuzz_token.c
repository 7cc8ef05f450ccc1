/* fuzz_token.c - any bytes as an Authorization header and as the token's file: what is decoded lies in the space that
 * was given, and only the file's word is the token.
 *
 * Runs in: its own process, under libFuzzer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
/* links: http/guard/token.c shim/base/kept_file.c shim/base/text.c */
#define _GNU_SOURCE
#include "test/fuzz/input.h"

#include <stdio.h>

#include "http/guard/token.h"
#include "shim/base/log.h"
#include "shim/base/powers.h"

void log_warn(const char *line)
{
	MUST(strlen(line) < 512);
}

bool powers_use(bool all)
{
	return all;
}

static void check_header(struct span value)
{
	struct span user, token;
	char *space = malloc(value.len + 1);
	MUST(space);
	if (token_read_header(value, space, value.len, &user, &token)) {
		bool decoded = token.at >= space && token.at + token.len <= space + value.len;
		MUST(decoded || (token.at >= value.at && token.at + token.len <= value.at + value.len));
		MUST(user.at >= space && user.at + user.len <= space + value.len);
		token_is(token);
	}
	free(space);
}

/* The file's word, as the manual has it: printable ASCII without spaces at its end. */
static void check_file(const uint8_t *data, size_t size)
{
	while (size && strchr(" \t\r\n", data[size - 1]) && data[size - 1])
		size--;
	bool good = size && size <= 1024;
	for (size_t i = 0; i < size; i++)
		good = good && data[i] > ' ' && data[i] <= '~';
	MUST((token_look() == TOKEN_SET) == good);
	MUST(token_is((struct span){(const char *)data, size}) == good);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd;
	static char path[64];
	check_header((struct span){(const char *)data, size});
	if (size > 1024)
		return 0;
	file_fill(&fd, data, size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	token_start(path);
	check_file(data, size);
	return 0;
}
