/* claim.c - tell other processes that have the library which process has the port.
 *
 * Runs in: init (claim_is_ours, claim_is_left: a descriptor that is closed again at once); listener (claim_make).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/listener/claim.h"

#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include "shim/base/house.h"
#include "shim/base/os.h"
#include "shim/base/proc.h"
#include "shim/base/text.h"

enum { BEGINNING = -1 }; /* in place of a pid */

/* "pprofshim/<port>", or with a pid "pprofshim/<port>/<pid>". */
static void put_name(struct line *l, uint16_t port)
{
	line_str(l, "pprofshim/");
	line_dec(l, port);
}

static socklen_t name_of(uint16_t port, int pid, struct sockaddr_un *name)
{
	*name = (struct sockaddr_un){.sun_family = AF_UNIX};
	struct line l = {name->sun_path + 1, sizeof name->sun_path - 1, 0};
	put_name(&l, port);
	if (pid == BEGINNING) {
		line_str(&l, "/begins");
	} else if (pid) {
		line_str(&l, "/");
		line_dec(&l, pid);
	}
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + l.len);
}

static int open_socket(void)
{
	return (int)os_call(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

bool claim_is_ours(uint16_t port)
{
	struct sockaddr_un name;
	socklen_t len = name_of(port, 0, &name);
	int fd = open_socket();
	long r = fd < 0 ? fd : os_call(SYS_connect, fd, &name, len);
	if (fd >= 0)
		os_close(fd);
	return r == 0;
}

static int claim(uint16_t port, int pid)
{
	struct sockaddr_un name;
	socklen_t len = name_of(port, pid, &name);
	int fd = open_socket();
	long r = fd < 0 ? fd : os_call(SYS_bind, fd, &name, len);
	if (r < 0 && fd >= 0)
		os_close(fd);
	return r < 0 ? (int)r : fd;
}

int claim_begin(uint16_t port)
{
	return claim(port, BEGINNING);
}

struct claim claim_make(uint16_t port)
{
	return (struct claim){.port_fd = claim(port, 0), .pid_fd = claim(port, house_pid())};
}

void claim_give_up(struct claim *c)
{
	if (c->port_fd >= 0)
		os_close(c->port_fd);
	if (c->pid_fd >= 0)
		os_close(c->pid_fd);
	*c = (struct claim){-1, -1};
}

/* A process that has ended but was not reaped yet is dead, too. */
static bool is_dead(int pid)
{
	char text[512];
	long n = proc_read((uint64_t)pid, "/stat", text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	const char *state = NULL;
	for (const char *at = text; *at; at++) /* behind the name, which may have brackets, too */
		state = *at == ')' ? at : state;
	return n == -ENOENT || n == -ESRCH || (state && (state[2] == 'Z' || state[2] == 'X'));
}

/* Returns the pid in a line of the kernel's table that ends in "@pprofshim/<port>/<pid>"; 0 if there is none. */
static int pid_in(struct span line, struct span name)
{
	uint64_t pid;
	const char *at = span_find(line, name);
	if (!at)
		return 0;
	at += name.len;
	struct span rest = span_trim((struct span){at, line.len - (size_t)(at - line.at)});
	return text_parse_uint(rest, 10, &pid) && pid <= INT32_MAX ? (int)pid : 0;
}

bool claim_is_left(uint16_t port)
{
	char text[4096], name[32];
	struct line l = LINE(name);
	size_t len = 0;
	int pid = 0, fd = (int)os_open("/proc/net/unix", O_RDONLY);
	line_str(&l, "@");
	put_name(&l, port);
	line_str(&l, "/");
	for (long n; fd >= 0 && !pid && (n = os_read(fd, text + len, sizeof text - len)) > 0;) {
		struct span rest = {text, len + (size_t)n};
		while (!pid && memchr(rest.at, '\n', rest.len))
			pid = pid_in(span_cut(&rest, '\n'), (struct span){l.at, l.len});
		len = rest.len < sizeof text / 2 ? rest.len : 0;
		memmove(text, rest.at, len);
	}
	if (fd >= 0)
		os_close(fd);
	return pid && is_dead(pid);
}
