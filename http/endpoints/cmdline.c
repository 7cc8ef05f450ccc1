/* cmdline.c - /debug/pprof/cmdline: the arguments of the program.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"
#include "shim/base/house.h"
#include "shim/base/os.h"

/* NULs wait until it is known whether something follows them. */
struct line_so_far {
	struct out *out;
	size_t waiting; /* NULs at the end */
	size_t nuls;    /* in all */
};

static void put_nuls(struct line_so_far *l, size_t count)
{
	for (size_t i = 0; i < count; i++)
		out_bytes(l->out, "", 1);
	l->waiting = 0;
}

static void add(struct line_so_far *l, struct span text)
{
	while (text.len) {
		const char *nul = memchr(text.at, '\0', text.len);
		size_t len = nul ? (size_t)(nul - text.at) : text.len;
		if (len) {
			put_nuls(l, l->waiting);
			out_bytes(l->out, text.at, len);
		}
		l->waiting += nul != NULL;
		l->nuls += nul != NULL;
		len += nul != NULL;
		text = (struct span){text.at + len, text.len - len};
	}
}

/* The kernel puts a NUL behind every argument. Where a program has overwritten its arguments by a title, as servers do,
 * their room is filled with NULs: all of these go. */
static void end(struct line_so_far *l)
{
	if (l->waiting && l->nuls == (size_t)house.arguments)
		put_nuls(l, l->waiting - 1); /* arguments that are empty */
}

/* Answer with argv joined by NUL, without the final NUL that the kernel adds. */
void answer_cmdline(struct exchange *x)
{
	struct line_so_far line = {.out = &x->answer.body};
	char part[1024];
	long n;
	int fd = (int)os_open("/proc/self/cmdline", O_RDONLY);
	if (fd < 0) {
		answer_failure(x, fd);
		return;
	}
	response_begin(&x->answer, 200, TYPE_TEXT);
	while ((n = os_read(fd, part, sizeof part)) > 0)
		add(&line, (struct span){part, (size_t)n});
	os_close(fd);
	end(&line);
	if (n < 0)
		answer_failure(x, (int)n);
}
