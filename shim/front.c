/* front.c - tell other processes under the shim who holds the port.
 *
 * Runs in: init (front_is_ours, a descriptor that is closed again at once); listener (front_claim).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/front.h"

#include <stddef.h>
#include <sys/un.h>

#include "shim/os.h"
#include "shim/text.h"

static socklen_t name_of(uint16_t port, struct sockaddr_un *name)
{
	*name = (struct sockaddr_un){.sun_family = AF_UNIX};
	struct line l = {name->sun_path + 1, sizeof name->sun_path - 1, 0};
	line_str(&l, "pprofshim/");
	line_dec(&l, port);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + l.len);
}

static int open_socket(void)
{
	return (int)os_call(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

bool front_is_ours(uint16_t port)
{
	struct sockaddr_un name;
	socklen_t len = name_of(port, &name);
	int fd = open_socket();
	long r = fd < 0 ? fd : os_call(SYS_connect, fd, &name, len);
	if (fd >= 0)
		os_close(fd);
	return r == 0;
}

int front_claim(uint16_t port)
{
	struct sockaddr_un name;
	socklen_t len = name_of(port, &name);
	int fd = open_socket();
	if (fd < 0)
		return fd;
	long r = os_call(SYS_bind, fd, &name, len);
	if (r == 0)
		return fd;
	os_close(fd);
	return (int)r;
}
