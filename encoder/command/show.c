/* show.c - pprofshim top, heap, allocs and so on: the table of a profile.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "encoder/command/command.h"
#include "encoder/command/target.h"
#include "encoder/report/chosen.h"
#include "encoder/report/print.h"
#include "encoder/report/recording.h"
#include "encoder/saved/profile_file.h"
#include "shim/base/arena.h"

static const char options_help[] =
	"TARGET is a saved profile (- for standard input), or who is asked for one: "
	"http://[user:password@]host:port/,\n"
	"host:port, unix:/path. A host is an IP address or localhost.\n"
	"\n"
	"  -n, --rows N         the N first rows; default: 40 on a terminal, else all; 0: all\n"
	"  -c, --cum            sort by cum, what was counted in a function and in all that it called\n"
	"  -a, --all            rows of less than 0.5 % of all, too\n"
	"  -f, --focus REGEX    samples with a function, file or object that matches, alone\n"
	"  -i, --ignore REGEX   no samples with a function, file or object that matches\n"
	"  -d, --diff OLDER     what is new against an older profile; 100 % is the older one\n"
	"  -t, --type TYPE      the sample type: inuse_space, alloc_objects, …\n"
	"  -l, --lines          rows are lines, not functions\n"
	"  -b, --by LABEL       rows are the values of a label: thread, process, …\n"
	"  -s, --seconds N      ask for what happens in the next N seconds; default for CPU time: 30\n"
	"      --token-file F   the file with the token to show; default: the environment variable PPROF_TOKEN\n"
	"      --tree           the call tree, from the roots\n"
	"      --folded         a line for each stack, as flamegraph.pl reads it\n"
	"      --json           the table as one JSON object\n"
	"      --pprof FILE     save what is shown as a profile for go tool pprof\n"
	"      --help\n";

enum { OPTION_TREE = 256, OPTION_FOLDED, OPTION_JSON, OPTION_PPROF, OPTION_TOKEN_FILE, OPTION_HELP };

static const struct option long_options[] = {
	{"rows", required_argument, NULL, 'n'},
	{"cum", no_argument, NULL, 'c'},
	{"all", no_argument, NULL, 'a'},
	{"focus", required_argument, NULL, 'f'},
	{"ignore", required_argument, NULL, 'i'},
	{"diff", required_argument, NULL, 'd'},
	{"type", required_argument, NULL, 't'},
	{"lines", no_argument, NULL, 'l'},
	{"by", required_argument, NULL, 'b'},
	{"seconds", required_argument, NULL, 's'},
	{"token-file", required_argument, NULL, OPTION_TOKEN_FILE},
	{"tree", no_argument, NULL, OPTION_TREE},
	{"folded", no_argument, NULL, OPTION_FOLDED},
	{"json", no_argument, NULL, OPTION_JSON},
	{"pprof", required_argument, NULL, OPTION_PPROF},
	{"help", no_argument, NULL, OPTION_HELP},
	{0},
};

struct show {
	const struct command *command;
	enum { TABLE, TREE = OPTION_TREE, FOLDED, JSON } form;
	const char *file, *older, *type, *pprof;
	struct pattern focus, ignore;
	struct table_options table;
	bool has_most;
	unsigned seconds;
	char *token; /* NULL: none */
};

/* --- options --------------------------------------------------------------------------------------- */

static void set_pattern(struct pattern *p, const char *option, const char *text)
{
	pattern_free(p);
	if (!pattern_set(p, text, false))
		die(STATUS_USAGE, "--%s %s: %s", option, text, p->why);
}

static unsigned read_number(const char *option, const char *text, unsigned most)
{
	char *end;
	errno = 0;
	unsigned long number = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || number > most)
		die(STATUS_USAGE, "--%s %s: a number up to %u is wanted", option, text, most);
	return (unsigned)number;
}

/* The first line of the file. */
static void read_token(struct show *s, const char *path)
{
	size_t cap = 0;
	FILE *f = fopen(path, "re");
	ssize_t n = f ? getline(&s->token, &cap, f) : -1;
	if (n <= 0)
		die(STATUS_FAILED, "%s: %s", path, f ? "a token is wanted in it" : strerror(errno));
	s->token[strcspn(s->token, "\r\n")] = '\0';
	fclose(f);
}

static void __attribute__((noreturn)) print_help_and_exit(const struct command *c)
{
	printf("Usage: " COMMAND_PROGRAM " %s [options] TARGET\nShow %s.\n%s", c->name, c->help, options_help);
	exit(finish_output(0));
}

static void take_option(struct show *s, int c, char **argv)
{
	switch (c) {
	case 'n': s->table.most = read_number("rows", optarg, 1000000), s->has_most = true; break;
	case 's': s->seconds = read_number("seconds", optarg, 86400); break;
	case OPTION_TOKEN_FILE: read_token(s, optarg); break;
	case 'c': s->table.by_cum = true; break;
	case 'a': s->table.fraction = 0; break;
	case 'f': set_pattern(&s->focus, "focus", optarg); break;
	case 'i': set_pattern(&s->ignore, "ignore", optarg); break;
	case 'd': s->older = optarg; break;
	case 't': s->type = optarg; break;
	case 'l': s->table.lines = true; break;
	case 'b': s->table.label = optarg; break;
	case OPTION_TREE:
	case OPTION_FOLDED:
	case OPTION_JSON: s->form = c; break;
	case OPTION_PPROF: s->pprof = optarg; break;
	case OPTION_HELP: print_help_and_exit(s->command);
	case ':': die(STATUS_USAGE, "%s needs a value; --help says which", argv[optind - 1]);
	default: die(STATUS_USAGE, "%s is no option; --help lists them", argv[optind - 1]);
	}
}

static void read_arguments(struct show *s, int argc, char **argv)
{
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":n:caf:i:d:t:lb:s:", long_options, NULL)) >= 0;)
		take_option(s, c, argv);
	if (optind + 1 != argc)
		die(STATUS_USAGE, "one target is wanted; " COMMAND_PROGRAM " %s --help says more", s->command->name);
	s->file = argv[optind];
	if (!s->has_most && s->form == TABLE && isatty(STDOUT_FILENO))
		s->table.most = 40;
}

/* --- profiles -------------------------------------------------------------------------------------- */

static Pprof__Profile *read_profile(const struct show *s, const char *path)
{
	struct target t;
	target_find(&t, path, s->command->profile, s->seconds, s->token ? s->token : getenv("PPROF_TOKEN"));
	int fd = target_open(&t);
	Pprof__Profile *p;
	const char *wrong = profile_read(fd, &p);
	if (wrong)
		die(STATUS_FAILED, "%s: %s", path, wrong);
	if (fd != STDIN_FILENO)
		close(fd);
	return p;
}

static Pprof__Profile *read_profiles(const struct show *s)
{
	Pprof__Profile *older = s->older ? read_profile(s, s->older) : NULL, *now = read_profile(s, s->file), *joined;
	bool of_older;
	const char *wrong = recording_join(now, older, &joined, &of_older);
	if (wrong)
		die(STATUS_FAILED, "%s: %s", of_older ? s->older : s->file, wrong);
	pprof__profile__free_unpacked(now, NULL);
	if (older)
		pprof__profile__free_unpacked(older, NULL);
	return joined;
}

static void die_of_type(const struct show *s, const Pprof__Profile *p, const char *wanted)
{
	fprintf(stderr, COMMAND_PROGRAM ": %s has no samples of type %s; it has:", s->file, wanted);
	for (size_t i = 0; i < p->n_sample_type; i++) {
		fputc(' ', stderr);
		print_name(stderr, p->string_table[p->sample_type[i]->type], 0);
	}
	fputc('\n', stderr);
	exit(STATUS_FAILED);
}

/* The option decides, else the command, else the profile. */
static size_t find_type(const struct show *s, const Pprof__Profile *p)
{
	int type = -1;
	const char *const *types = s->command->types;
	if (s->type || !types)
		type = recording_type(p, s->type);
	for (size_t i = 0; !s->type && types && types[i] && type < 0; i++)
		type = recording_type(p, types[i]);
	if (type < 0)
		die_of_type(s, p, s->type ? s->type : types[0]);
	return (size_t)type;
}

static void choose(struct show *s, Pprof__Profile *p)
{
	bool focused, ignored;
	report_drop_frames(p);
	report_filter(p, &s->focus, &s->ignore, &focused, &ignored);
	if (s->focus.is_set && !focused)
		fprintf(stderr, COMMAND_PROGRAM ": nothing matches --focus\n");
	if (s->ignore.is_set && !ignored)
		fprintf(stderr, COMMAND_PROGRAM ": nothing matches --ignore\n");
}

static void save(const char *path, const Pprof__Profile *p)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	const char *wrong = fd < 0 ? strerror(errno) : profile_write(fd, p);
	if (!wrong && close(fd) != 0)
		wrong = strerror(errno);
	if (wrong)
		die(STATUS_FAILED, "%s: %s", path, wrong);
}

/* --- output ---------------------------------------------------------------------------------------- */

static bool print_rows(const struct show *s, const Pprof__Profile *p)
{
	struct table t;
	const char *word = s->table.label ? s->table.label : s->table.lines ? "lines" : "functions";
	bool made = table_make(&t, p, &s->table);
	if (made && s->form == JSON)
		print_json(stdout, &t);
	else if (made)
		print_table(stdout, &t, word, terminal_columns());
	table_free(&t);
	return made;
}

static bool print(const struct show *s, const Pprof__Profile *p)
{
	switch (s->form) {
	case TREE: return print_tree(stdout, p, &s->table, terminal_columns());
	case FOLDED: return print_folded(stdout, p, s->table.type);
	default: return print_rows(s, p);
	}
}

int show_command(const struct command *c, int argc, char **argv)
{
	struct show s = {.command = c, .seconds = c->seconds, .table = {.fraction = 0.005}};
	read_arguments(&s, argc, argv);
	arena_set_limit(UINT64_C(1) << 40); /* RLIMIT_DATA is the real limit */
	Pprof__Profile *p = read_profiles(&s);
	s.table.type = find_type(&s, p);
	s.table.total = recording_total(p, s.table.type);
	choose(&s, p);
	if (s.pprof)
		save(s.pprof, p);
	if (!print(&s, p))
		die(STATUS_FAILED, "there is not enough memory for that profile");
	pprof__profile__free_unpacked(p, NULL);
	free(s.token);
	pattern_free(&s.focus);
	pattern_free(&s.ignore);
	return finish_output(0);
}
