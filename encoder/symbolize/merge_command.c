/* merge_command.c - pprofshim-symbolize merge: several profiles become one.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/merge_command.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "encoder/merge/inputs.h"
#include "encoder/symbolize/protocol.h"

#define NAME SYMBOLIZE_PROGRAM " " SYMBOLIZE_MERGE

static const char usage[] =
	"Usage: " NAME " [options] [--label KEY=VALUE]... PROFILE... >MERGED.pb.gz\n"
	"Merge saved pprof profiles of one kind, as go tool pprof -proto does. Files that cannot be read are left\n"
	"out; a comment in the profile names them.\n"
	"\n"
	"  -l, --label KEY=VALUE  a label for all samples of the next profile; up to eight\n"
	"  -t, --timeout SECONDS  how long to wait for profiles from pipes and sockets; default: 0, without end\n"
	"  -m, --memory BYTES     the most memory to take, with K, M or G; default: 2G\n"
	"      --help\n"
	"\n"
	"PROFILE is a file, - for standard input, or /dev/fd/N for an open descriptor.\n"
	"More in the manual: man " SYMBOLIZE_PROGRAM "\n";

enum { OPTION_HELP = 256 };

static const struct option long_options[] = {
	{"label", required_argument, NULL, 'l'},
	{"timeout", required_argument, NULL, 't'},
	{"memory", required_argument, NULL, 'm'},
	{"help", no_argument, NULL, OPTION_HELP},
	{0},
};

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, NAME ": ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

/* --- inputs ---------------------------------------------------------------------------------------- */

/* A descriptor of this process is used as it is: a socket cannot be opened by its name. */
static int descriptor_of(const char *path)
{
	static const char folder[] = "/dev/fd/";
	char *end;
	if (strcmp(path, "-") == 0)
		return STDIN_FILENO;
	if (strncmp(path, folder, sizeof folder - 1) != 0 || !path[sizeof folder - 1])
		return -1;
	long fd = strtol(path + sizeof folder - 1, &end, 10);
	return !*end && fd >= 0 && fd < INT32_MAX && fcntl((int)fd, F_GETFD) >= 0 ? (int)fd : -1;
}

/* Open an input; a FIFO without a writer does not hold us up: poll(2) waits for one. */
static void open_input(struct input *i)
{
	i->fd = descriptor_of(i->path);
	if (i->fd < 0)
		i->fd = open(i->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (i->fd < 0)
		i->wrong = strerrordesc_np(errno);
}

static void add_label(struct input *i, char *text)
{
	char *equals = strchr(text, '=');
	if (!equals || equals == text || !equals[1])
		die("--label %s: KEY=VALUE is wanted", text);
	if (i->labels == INPUT_LABELS_MAX)
		die("--label %s: a profile has at most %d labels", text, INPUT_LABELS_MAX);
	*equals = '\0';
	i->label[i->labels++] = (struct merge_label){text, equals + 1};
}

/* --- options --------------------------------------------------------------------------------------- */

static uint64_t read_number(const char *option, const char *text, uint64_t most, const char *units)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	const char *unit = *end ? strchr(units, *end) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	bool right = text[0] >= '0' && text[0] <= '9' && !errno && (!*end || (unit && !end[1]));
	if (!right || value > most >> shift)
		die("--%s %s: a number up to %llu is wanted", option, text, (unsigned long long)most);
	return value << shift;
}

static void take_option(struct inputs *s, int c, char **argv)
{
	switch (c) {
	case 'l': add_label(&s->at[s->count], optarg); break;
	case 't': s->timeout_s = (unsigned)read_number("timeout", optarg, 86400, ""); break;
	case 'm': s->memory_bytes = read_number("memory", optarg, UINT64_C(1) << 40, "KMG"); break;
	case OPTION_HELP: fputs(usage, stdout); exit(fflush(stdout) == 0 ? 0 : 1);
	case ':': die("%s needs a value; --help says which", argv[optind - 1]);
	default: die("%s is no option; --help lists them", argv[optind - 1]);
	}
}

/* Labels belong to the profile that follows them. */
static void read_arguments(struct inputs *s, int argc, char **argv)
{
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, "-:l:t:m:", long_options, NULL)) >= 0;)
		if (c == 1)
			s->at[s->count++].path = optarg;
		else
			take_option(s, c, argv);
	for (; optind < argc; optind++)
		s->at[s->count++].path = argv[optind];
	if (s->at[s->count].labels)
		die("--label %s: no profile follows it", s->at[s->count].label[0].key);
	if (s->count == 0)
		die("profiles are wanted; --help says more");
}

int merge_command(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], SYMBOLIZE_PIPE) == 0)
		return merge_serve(STDIN_FILENO) == 0 ? 0 : 1;
	struct inputs s = {.memory_bytes = UINT64_C(2) << 30};
	s.at = calloc((size_t)argc + 1, sizeof *s.at);
	if (!s.at)
		die("there is no memory");
	read_arguments(&s, argc, argv);
	if (isatty(STDOUT_FILENO))
		die("a profile is not for a terminal; let it go to a file: " NAME " … >merged.pb.gz");
	inputs_heed_limits(&s);
	for (size_t i = 0; i < s.count; i++)
		open_input(&s.at[i]);
	const char *wrong = inputs_merge(&s, STDOUT_FILENO, stderr);
	if (wrong)
		die("%s", wrong);
	free(s.at);
	return 0;
}
