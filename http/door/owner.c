/* owner.c - the process that has the door: who joins, how they are, and clients that are passed on to them.
 *
 * Runs in: listener. Nothing waits. A member may lie: one that breaks the protocol is removed. One that does not read
 * (it is stopped) holds up one message and TABLE_PASSES clients at most: nothing more is sent until it answers.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <sys/epoll.h>

#include "http/door/door_state.h"
#include "http/door/status.h"
#include "shim/base/house.h"
#include "shim/base/log.h"

enum {
	ACCEPT_AT_ONCE = 32,
	MESSAGES_AT_ONCE = 4,
	PAUSE_MS = 500,
	SILENCE_MS = 5000, /* until a process has said hello */
};

/* Returns the user that we are, or can be again: some servers are not root for moments. */
static uint32_t own_uid(void)
{
	uint32_t real, effective, saved;
	if (os_call(SYS_getresuid, &real, &effective, &saved) < 0)
		return (uint32_t)os_call(SYS_geteuid, 0);
	return real && saved ? effective : 0;
}

/* An owner that runs as root admits every process. Any other owner admits its own user's alone: its clients must not
 * read the profiles of another user, or of root. */
static bool may_join(uint32_t uid)
{
	return door.uid == 0 || uid == door.uid;
}

void owner_begin(int fd)
{
	(void)fd;
	door.uid = own_uid();
	door.role = DOOR_OWNER;
	door.tries = 0;
	door_again(1);
}

/* ---- who joins ---- */

static uint64_t tag_of(const struct member *m)
{
	return (uint64_t)m->generation << 32 | (table_place(&door.table, m) + 1);
}

static void forget(struct member *m)
{
	door_drop(m->fd, m->identity);
	table_remove(&door.table, m);
}

/* Those that have said nothing for too long by then go. When is the next one's time? */
static void sweep(uint64_t now_ns)
{
	door.sweep_ns = 0;
	for (size_t place = 0; place < TABLE_MOST; place++) {
		struct member *m = table_at(&door.table, place);
		uint64_t end_ns = m ? m->come_ns + SILENCE_MS * UINT64_C(1000000) : 0;
		if (!m || m->is_known)
			continue;
		if (end_ns <= now_ns)
			forget(m);
		else if (!door.sweep_ns || end_ns < door.sweep_ns)
			door.sweep_ns = end_ns;
	}
}

static void refuse(int fd, enum protocol_refusal why)
{
	union protocol_message m;
	size_t size = protocol_begin(&m, PROTOCOL_REFUSED);
	m.refused.why = why;
	wire_send(fd, &m, size, -1);
	os_close(fd);
}

static void refuse_for_room(int fd)
{
	if (door.table.refused++ == 0)
		log_warn("no room for more processes behind this port (limit 1000): new ones use ports of their own");
	refuse(fd, PROTOCOL_FULL);
}

static void admit(int fd)
{
	struct wire_peer peer;
	struct member *m;
	if (!wire_peer_of(fd, &peer) || !may_join(peer.uid)) {
		refuse(fd, PROTOCOL_STRANGER);
	} else if (!(m = table_add(&door.table, fd))) {
		refuse_for_room(fd);
	} else {
		m->come_ns = door_now_ns();
		if (!door.sweep_ns)
			door.sweep_ns = m->come_ns + SILENCE_MS * UINT64_C(1000000);
		if (door_watch(EPOLL_CTL_ADD, fd, EPOLLIN, tag_of(m)) < 0)
			forget(m);
	}
}

/* No descriptor is left, or no memory. The processes in the queue would wake us all the while. */
static void pause_accepting(void)
{
	door.accept_ns = door_now_ns() + PAUSE_MS * UINT64_C(1000000);
	door_watch(EPOLL_CTL_MOD, door.fd, 0, DOOR_TAG);
}

void owner_accept(void)
{
	for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
		long fd = os_call(SYS_accept4, door.fd, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd == -EAGAIN || fd == -EINTR)
			return;
		if (fd < 0) {
			pause_accepting();
			return;
		}
		admit(fd_raise((int)fd));
	}
}

/* Is /proc that of our own pid namespace? */
static bool proc_is_ours(void)
{
	char text[16];
	uint64_t pid;
	long n = os_call(SYS_readlinkat, AT_FDCWD, "/proc/self", text, sizeof text);
	return n > 0 && text_parse_uint((struct span){text, (size_t)n}, 10, &pid) && (int)pid == os_pid();
}

/* Returns the member's program by our own numbers; 0: the kernel does not tell. */
static int32_t find_pid(const struct member *m, const struct protocol_hello *hello)
{
	struct wire_peer peer;
	if (!wire_peer_of(m->fd, &peer) || peer.pid <= 0 || !proc_is_ours())
		return 0;
	return hello->pid == hello->listener ? peer.pid : status_parent_of(peer.pid);
}

static bool welcome(struct member *m, const struct protocol_hello *hello)
{
	union protocol_message out;
	int32_t pid = find_pid(m, hello);
	table_name(&door.table, m, pid > 0 ? pid : hello->pid);
	m->parent = pid > 0 ? status_parent_of(pid) : 0;
	size_t size = protocol_begin(&out, PROTOCOL_WELCOME);
	struct line name = LINE(out.welcome.name), url = LINE(out.welcome.url);
	table_print_name(m, &name);
	line_str(&url, door.url);
	sweep(0); /* if nobody is left who has to say something, nothing wakes us for that */
	return wire_send(m->fd, &out, size, -1) == 0;
}

static bool take_status(struct member *m, const struct protocol_status *s)
{
	if (!m->is_asked)
		return false;
	m->is_asked = false;
	m->told_ns = door_now_ns();
	m->status = *s;
	return true;
}

/* Returns false if the member has to go. */
static bool believe(struct member *m, const union protocol_message *in, size_t size)
{
	switch (protocol_kind(in, size)) {
	case PROTOCOL_HELLO: return !m->is_known && welcome(m, &in->hello);
	case PROTOCOL_STATUS: return take_status(m, &in->status);
	case PROTOCOL_TAKEN: return m->passes && m->passes--;
	default: return false;
	}
}

static void part_with(struct member *m, const union protocol_message *in, long size)
{
	union protocol_message out;
	size_t out_size = protocol_begin(&out, PROTOCOL_REFUSED);
	out.refused.why = PROTOCOL_OTHER;
	if (size > 0 && protocol_is_other_version(in, (size_t)size))
		wire_send(m->fd, &out, out_size, -1);
	forget(m);
}

void owner_hear(uint64_t tag)
{
	struct member *m = table_at(&door.table, (size_t)(uint32_t)tag - 1);
	for (int i = 0; i < MESSAGES_AT_ONCE && m && m->generation == tag >> 32; i++) {
		union protocol_message in;
		long n = wire_receive(m->fd, &in, NULL);
		if (n == -EAGAIN || n == -EINTR)
			return;
		if (n > 0 && believe(m, &in, (size_t)n))
			continue;
		part_with(m, &in, n);
		return;
	}
}

/* ---- time ---- */

void owner_rest(uint64_t now_ns)
{
	if (door.sweep_ns && door.sweep_ns <= now_ns)
		sweep(now_ns);
	if (door.accept_ns && door.accept_ns <= now_ns) {
		door.accept_ns = 0;
		door_watch(EPOLL_CTL_MOD, door.fd, EPOLLIN, DOOR_TAG);
	}
}

void owner_close(void)
{
	for (size_t place = 0; place < TABLE_MOST; place++) {
		struct member *m = table_at(&door.table, place);
		if (m)
			forget(m);
	}
	table_clear(&door.table);
	door.sweep_ns = door.accept_ns = 0;
	door.is_open = false;
}

void owner_follow_identity(void)
{
	uint32_t uid = own_uid();
	if (uid == door.uid)
		return;
	door.uid = uid;
	wire_listen(door.fd);
	for (size_t place = 0; place < TABLE_MOST; place++) {
		struct member *m = table_at(&door.table, place);
		struct wire_peer peer;
		if (m && (!wire_peer_of(m->fd, &peer) || !may_join(peer.uid)))
			forget(m);
	}
}

/* ---- how they are ---- */

void door_ask_all(void)
{
	union protocol_message m;
	size_t size = protocol_begin(&m, PROTOCOL_ASK);
	door.asked_ns = door_now_ns();
	for (size_t place = 0; place < TABLE_MOST; place++) {
		struct member *at = table_at(&door.table, place);
		if (at && at->is_known && !at->is_asked)
			at->is_asked = wire_send(at->fd, &m, size, -1) == 0;
	}
}

size_t door_silent(void)
{
	size_t n = 0;
	for (size_t place = 0; place < TABLE_MOST; place++) {
		const struct member *m = table_at(&door.table, place);
		n += m && m->is_known && m->is_asked;
	}
	return n;
}

uint64_t door_refused(void)
{
	return door.table.refused;
}

static void list_member(struct door_process *p, const struct member *m)
{
	struct line name = LINE(p->name);
	table_print_name(m, &name);
	p->status = m->status;
	p->is_told = m->told_ns && m->told_ns >= door.asked_ns;
	p->pid = m->parent ? m->pid : 0;
	p->parent = m->parent;
}

static void list_self(struct door_process *p)
{
	union protocol_message m;
	struct line name = LINE(p->name);
	line_dec(&name, house_pid());
	status_take(&m);
	p->status = m.status;
	p->is_told = p->is_self = true;
	p->pid = house_pid();
	p->parent = m.status.parent;
}

struct door_process *door_list(struct region *r, size_t *count)
{
	struct door_process *list = region_alloc(r, (door.table.count + 1) * sizeof *list);
	*count = 0;
	if (!list)
		return NULL;
	list_self(&list[(*count)++]);
	for (size_t place = 0; place < TABLE_MOST; place++) {
		const struct member *m = table_at(&door.table, place);
		if (m && m->is_known)
			list_member(&list[(*count)++], m);
	}
	return list;
}

/* ---- clients ---- */

bool door_is_self(struct span name)
{
	char text[16];
	struct line l = LINE(text);
	line_dec(&l, house_pid());
	return span_is(name, text);
}

static int pass(struct member *m, const int pair[2])
{
	union protocol_message out;
	size_t size = protocol_begin(&out, PROTOCOL_PASS);
	int rc = wire_send(m->fd, &out, size, pair[1]);
	os_close(pair[1]);
	if (rc == 0) {
		m->passes++;
		return fd_raise(pair[0]);
	}
	os_close(pair[0]);
	return rc == -EAGAIN ? -EBUSY : rc;
}

int door_connect(struct span name)
{
	int pair[2];
	struct member *m = table_find(&door.table, name);
	if (!m)
		return -ENOENT;
	if (m->passes >= TABLE_PASSES)
		return -EBUSY;
	long rc = os_call(SYS_socketpair, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
	return rc < 0 ? (int)rc : pass(m, pair);
}
