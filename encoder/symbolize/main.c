/* main.c - pprofshim-symbolize: which of its four uses this is.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "encoder/symbolize/addr2line.h"
#include "encoder/symbolize/fill_in.h"
#include "encoder/symbolize/dwarf/lookup.h"
#include "encoder/symbolize/merge_command.h"
#include "encoder/symbolize/protocol.h"
#include "encoder/symbolize/serve.h"

static const char usage[] =
	"Usage: " SYMBOLIZE_PROGRAM " [options] FILE [ADDRESS...]\n"
	"       " SYMBOLIZE_PROGRAM " [options] PROFILE >COMPLETED.pb.gz\n"
	"       " SYMBOLIZE_PROGRAM " " SYMBOLIZE_MERGE " [options] PROFILE... >MERGED.pb.gz\n"
	"Print functions, files, lines and inlined calls at hexadecimal addresses of an ELF file,\n"
	"of lines of standard input if none is given; or add them to a saved pprof profile; or merge profiles.\n"
	"\n"
	"  -e, --exe FILE         the ELF file; every argument is an address\n"
	"  -a, --addresses        print each address, too\n"
	"  -f, --functions        print functions' names, too\n"
	"  -C, --demangle         as they are in the source\n"
	"  -p, --pretty-print     a line for each function\n"
	"  -s, --basenames        print files without their folders\n"
	"  -i, --inlines          print inlined calls, too; always on\n"
	"      --binary FILE      this may be the file of some mapping of the profile; any number of times\n"
	"      --debug-dirs DIRS  folders of debug files, separated by colons, before /usr/lib/debug;\n"
	"                         default: the environment variable PPROF_DEBUG_DIRS\n"
	"      --help, --version\n"
	"\n"
	"More in the manual: man " SYMBOLIZE_PROGRAM "\n";

struct options {
	struct by_hand how;
	bool pipe;
	const char *exe;
	const char *debug_dirs;
	struct binaries binaries;
	char **argument;
	size_t arguments;
};

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fprintf(stderr, SYMBOLIZE_PROGRAM ": ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

/* --- arguments ------------------------------------------------------------------------------------- */

enum { OPTION_PIPE = 256, OPTION_BINARY, OPTION_DEBUG_DIRS, OPTION_HELP, OPTION_VERSION };

static const struct option long_options[] = {
	{"exe", required_argument, NULL, 'e'},
	{"addresses", no_argument, NULL, 'a'},
	{"functions", no_argument, NULL, 'f'},
	{"demangle", optional_argument, NULL, 'C'}, /* addr2line's --demangle=STYLE */
	{"pretty-print", no_argument, NULL, 'p'},
	{"basenames", no_argument, NULL, 's'},
	{"inlines", no_argument, NULL, 'i'},
	{&SYMBOLIZE_PIPE[2], no_argument, NULL, OPTION_PIPE},
	{&SYMBOLIZE_DEBUG_DIRS[2], required_argument, NULL, OPTION_DEBUG_DIRS},
	{"binary", required_argument, NULL, OPTION_BINARY},
	{"help", no_argument, NULL, OPTION_HELP},
	{"version", no_argument, NULL, OPTION_VERSION},
	{0},
};

static void __attribute__((noreturn)) print_and_exit(const char *text)
{
	fputs(text, stdout);
	exit(fflush(stdout) == 0 ? 0 : 1);
}

static void take_option(struct options *o, int c, char **argv)
{
	switch (c) {
	case 'e': o->exe = optarg; break;
	case 'a': o->how.addresses = true; break;
	case 'f': o->how.functions = true; break;
	case 'C': o->how.demangle = true; break;
	case 'p': o->how.pretty = true; break;
	case 's': o->how.base_names = true; break;
	case 'i': break;
	case OPTION_PIPE: o->pipe = true; break;
	case OPTION_DEBUG_DIRS: o->debug_dirs = optarg; break;
	case OPTION_BINARY: o->binaries.path[o->binaries.count++] = optarg; break;
	case OPTION_HELP: print_and_exit(usage);
	case OPTION_VERSION: print_and_exit(SYMBOLIZE_PROGRAM " of pprofshim, not released\n");
	case ':': die("%s needs a value; --help says which", argv[optind - 1]);
	default: die("%s is no option; --help lists them", argv[optind - 1]);
	}
}

static struct options read_options(int argc, char **argv)
{
	struct options o = {.debug_dirs = getenv("PPROF_DEBUG_DIRS")};
	o.binaries.path = calloc((size_t)argc + 1, sizeof *o.binaries.path);
	if (!o.binaries.path)
		die("there is no memory");
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":e:afCpsi", long_options, NULL)) >= 0;)
		take_option(&o, c, argv);
	o.argument = argv + optind;
	o.arguments = (size_t)(argc - optind);
	return o;
}

/* --- the two uses by hand -------------------------------------------------------------------------- */

static struct object *open_object(const char *file)
{
	const char *why = NULL;
	struct object *o = object_open(file, NULL, &why);
	if (!o)
		die("%s: %s; an ELF file is wanted here", file, why ? why : "it cannot be read");
	if (object_note(o))
		fprintf(stderr, SYMBOLIZE_PROGRAM ": %s: %s\n", file, object_note(o));
	return o;
}

static int print_arguments(const struct by_hand *how, struct object *o, char **argument, size_t count)
{
	uint64_t *address = calloc(count, sizeof *address);
	if (!address)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		if (!by_hand_parse(argument[i], &address[i]))
			die("%s is no hexadecimal address", argument[i]);
	bool all = by_hand_print(how, o, address, count, stdout);
	free(address);
	return all ? 0 : -ENOMEM;
}

static void print_addresses(const struct options *o, const char *file, char **argument, size_t count)
{
	struct object *object = open_object(file);
	int error = count ? print_arguments(&o->how, object, argument, count)
	                  : by_hand_lines(&o->how, object, STDIN_FILENO, stdout);
	object_close(object);
	if (error)
		die("%s: %s", file, strerror(-error));
	if (ferror(stdout) || fflush(stdout) != 0)
		die("the output could not be written: %s", strerror(errno));
}

/* An ELF file is searched for addresses; any other file is a profile. */
static bool is_elf(int fd)
{
	char magic[4];
	return pread(fd, magic, sizeof magic, 0) == sizeof magic && memcmp(magic, "\177ELF", sizeof magic) == 0;
}

/* "-" is standard input. */
static int open_argument(const char *path)
{
	int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("%s: %s; an ELF file or a saved profile is wanted here", path, strerror(errno));
	return fd;
}

static void complete(const struct options *o, int fd)
{
	if (isatty(STDOUT_FILENO))
		die("a profile is not for a terminal; let it go to a file: " SYMBOLIZE_PROGRAM " %s >completed.pb.gz",
		    o->argument[0]);
	const char *wrong = complete_file(fd, STDOUT_FILENO, &o->binaries, stderr);
	if (wrong)
		die("%s: %s", o->argument[0], wrong);
}

static void by_hand_or_complete(const struct options *o)
{
	if (o->exe) {
		print_addresses(o, o->exe, o->argument, o->arguments);
		return;
	}
	if (o->arguments == 0)
		die("an ELF file or a saved profile is wanted; --help says more");
	int fd = open_argument(o->argument[0]);
	if (o->arguments == 1 && !is_elf(fd))
		complete(o, fd);
	else
		print_addresses(o, o->argument[0], o->argument + 1, o->arguments - 1);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], SYMBOLIZE_MERGE) == 0)
		return merge_command(argc - 1, argv + 1);
	struct options o = read_options(argc, argv);
	int status = 0;
	lookup_set_debug_dirs(o.debug_dirs);
	if (o.pipe) {
		serve_prepare();
		status = serve(STDIN_FILENO, STDOUT_FILENO) == 0 ? 0 : 1;
	} else {
		by_hand_or_complete(&o);
	}
	free(o.binaries.path);
	return status;
}
