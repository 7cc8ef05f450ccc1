/* log.c - the few lines that users may read.
 *
 * Runs in: init (stderr is still the one the program was started with); the listener, in its handler too. The listener
 * has no stderr of its own and opens the program's through /proc, if that is still the same file.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/log.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/base/os.h"
#include "shim/base/proc.h"
#include "shim/base/own_file.h"
#include "shim/base/powers.h"
#include "shim/base/settings.h"
#include "shim/base/text.h"

enum { STDERR = 2 };

static struct {
	bool info;      /* PPROF_LOG says more than warnings */
	bool access;    /* PPROF_LOG wants a line for each request */
	char path[256]; /* of the file, copied: programs write over their environment (setproctitle); "": stderr */
	struct stat stderr_then;
	struct span our_name; /* the name of our file, as it stands somewhere in LD_PRELOAD */
} logger = {.our_name = SPAN("libpprofshim.so")};

static enum log_parent parent FORKED;

static long stat_fd(int fd, struct stat *s)
{
	/* fstat's kernel structure is libc's on 64-bit Linux */
	return os_call(SYS_fstat, fd, s);
}

/* /dev/stderr is a link, and no file: stderr is what is written to without a file. */
static void take_file(struct span path)
{
	struct line l = LINE(logger.path);
	if (!span_is(path, "/dev/stderr") && path.len && path.at[0] == '/' && path.len < l.cap)
		line_bytes(&l, path.at, path.len);
}

static bool take_word(struct span word)
{
	if (span_is_nocase(word, "access"))
		logger.access = true;
	else if (span_is_nocase(word, "info"))
		logger.info = true;
	else if (word.len && word.at[0] == '/') {
		logger.info = true;
		take_file(word);
	} else
		return false;
	return true;
}

void log_start(const char *words, const char *file, const char *our_path)
{
	bool good = true;
	struct span rest = span_of(words ? words : "");
	logger.info = logger.access = false;
	logger.path[0] = '\0';
	logger.our_name = span_of(our_path);
	while (memchr(logger.our_name.at, '/', logger.our_name.len))
		span_cut(&logger.our_name, '/');
	while (rest.len)
		good &= take_word(span_trim(span_cut(&rest, ',')));
	if (file && file[0])
		take_file(span_of(file));
	stat_fd(STDERR, &logger.stderr_then);
	if (!good)
		log_warn("PPROF_LOG wants info, access or a path that begins with /, joined by commas; other words are "
		         "left out");
	if (file && file[0] && file[0] != '/')
		log_warn("PPROF_LOG_FILE is no path that begins with /; lines go to stderr");
}

/* Open the file, or stderr as the program has it now. In init that is descriptor 2 itself. The listener
 * has its own file table: it opens the program's descriptor 2 if that is still the same file. */
static int open_destination(void)
{
	if (logger.path[0])
		return own_file_append(logger.path);
	if (os_tid() == (house_pid() ? house_pid() : os_pid()))
		return STDERR;
	char path[64];
	struct line l = LINE(path);
	proc_put_program(&l, "/fd/2");
	bool were = powers_use(true); /* another process's descriptor: this needs the capabilities that it has */
	int fd = (int)os_open(path, O_WRONLY | O_APPEND | O_NOCTTY | O_NONBLOCK);
	powers_use(were);
	struct stat now;
	if (fd >= 0 && stat_fd(fd, &now) == 0 && now.st_dev == logger.stderr_then.st_dev &&
	    now.st_ino == logger.stderr_then.st_ino)
		return fd;
	if (fd >= 0)
		os_close(fd);
	return -1;
}

/* Messages quote settings. A user who sets them must not write lines of his own or control a terminal by them: all
 * but printable ASCII becomes \xNN. */
static void tell_printable(struct line *l, const char *text, size_t most)
{
	for (; *text && l->len < most; text++) {
		unsigned char c = (unsigned char)*text;
		char escaped[] = {'\\', 'x', "0123456789abcdef"[c >> 4], "0123456789abcdef"[c & 15]};
		if (c < ' ' || c > '~')
			line_bytes(l, escaped, sizeof escaped);
		else
			line_bytes(l, text, 1);
	}
}

static void tell(const char *line)
{
	char text[768];
	struct line l = LINE(text);
	line_str(&l, "pprofshim: ");
	tell_printable(&l, line, sizeof text - 8);
	line_str(&l, "\n");
	int fd = open_destination();
	if (fd < 0)
		return;
	os_write(fd, l.at, l.len);
	if (fd != STDERR)
		os_close(fd);
}

void log_warn(const char *line)
{
	if (log_parent() != PARENT_OURS)
		tell(line);
}

void log_info(const char *line)
{
	if (logger.info)
		tell(line);
}

void log_access(const char *line)
{
	if (logger.access)
		tell(line);
}

bool log_wants_access(void)
{
	return logger.access;
}

/* Does a process's first environment (its first bytes are in buf) preload us, and not disable us? */
static bool environ_is_ours(char *buf, size_t n)
{
	static const char preload[] = "LD_PRELOAD=", disable[] = "DISABLE_PPROF=";
	bool ours = false;
	struct span rest = {buf, n};
	while (rest.len) {
		struct span s = span_cut(&rest, '\0');
		if (span_starts(s, disable) && s.at + s.len < buf + n /* whole, with its NUL */ &&
		    !settings_is_no(s.at + sizeof disable - 1))
			return false;
		if (span_starts(s, preload) && span_find(s, logger.our_name))
			ours = true;
	}
	return ours;
}

/* Returns the pid of the program's parent; 0: it is hidden. The listener is a process of its own, whose parent is not
 * the program's. */
static uint64_t find_parent(void)
{
	char buf[512];
	if (!house_pid() || os_pid() == house_pid())
		return (uint64_t)os_call(SYS_getppid, 0);
	long n = proc_read((uint64_t)house_pid(), "/stat", buf, sizeof buf);
	struct span rest = {buf, n > 0 ? (size_t)n : 0};
	while (memchr(rest.at, ')', rest.len)) /* the name may have one, too */
		span_cut(&rest, ')');
	span_cut(&rest, ' ');
	span_cut(&rest, ' '); /* the state */
	uint64_t pid = 0;
	text_parse_uint(span_cut(&rest, ' '), 10, &pid);
	return pid;
}

/* With PPROF_ONLY a parent may run under the library, and not be served: a shell that is a container's entry point. The
 * kernel keeps 15 bytes of a name. */
static bool is_served(uint64_t pid)
{
	char name[16], listed[16];
	long n = settings.only && settings.only[0] ? proc_read(pid, "/comm", name, sizeof name) : 0;
	if (n <= 0)
		return true;
	struct span rest = span_of(settings.only), comm = {name, (size_t)n - (name[n - 1] == '\n')};
	while (rest.len) {
		struct span one = span_trim(span_cut(&rest, ','));
		struct line l = LINE(listed);
		line_bytes(&l, one.at, one.len);
		if (span_is(comm, listed))
			return true;
	}
	return false;
}

static enum log_parent look_at_parent(void)
{
	char buf[16 * 1024]; /* the main thread's stack has room, before main */
	uint64_t pid = find_parent();
	long n = proc_read(pid, "/environ", buf, sizeof buf);
	if (n == -EACCES)
		return PARENT_HIDDEN;
	return n > 0 && environ_is_ours(buf, (size_t)n) && is_served(pid) ? PARENT_OURS : PARENT_NOT_OURS;
}

enum log_parent log_parent(void)
{
	if (parent == PARENT_UNKNOWN)
		parent = look_at_parent();
	return parent;
}

FORKED_CODE void log_fork_child(void)
{
	parent = PARENT_OURS;
}
