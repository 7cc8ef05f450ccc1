/* cmdline.c - /debug/pprof/cmdline: the arguments of the program.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/answer.h"
#include "shim/base/os.h"

/* Answer with argv joined by NUL, without the final NUL that the kernel adds. */
void answer_cmdline(struct exchange *x)
{
	struct out *o = &x->answer.body;
	char part[1024];
	long n;
	int fd = (int)os_open("/proc/self/cmdline", O_RDONLY);
	if (fd < 0) {
		answer_failure(x, fd);
		return;
	}
	response_begin(&x->answer, 200, TYPE_TEXT);
	while ((n = os_read(fd, part, sizeof part)) > 0)
		out_bytes(o, part, (size_t)n);
	os_close(fd);
	if (n < 0) {
		answer_failure(x, (int)n);
	} else if (o->last && o->last->used && o->last->bytes[o->last->used - 1] == '\0') {
		o->last->used--;
		o->len--;
	}
}
