/* main.c - pprofshim: which command this is.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "encoder/command/command.h"

static const char *const inuse[] = {"inuse_space", "space", NULL};
static const char *const allocated[] = {"alloc_space", NULL};
static const char *const cpu[] = {"cpu", NULL};
static const char *const delay[] = {"delay", NULL};

const struct command commands[] = {
	{"run", run_command, NULL, 0, NULL,
         "start a program with the library: run [options] [--] PROGRAM [ARGUMENT...]"},
	{"top", show_command, "profile", 30, NULL, "the functions of a profile, by the profile's own choice of value"},
	{"heap", show_command, "heap", 0, inuse, "who holds the memory"},
	{"allocs", show_command, "allocs", 0, allocated, "who allocated most"},
	{"cpu", show_command, "profile", 30, cpu, "where the CPU time goes"},
	{"block", show_command, "block", 0, delay, "who waited for locks, and how long"},
	{"mutex", show_command, "mutex", 0, delay, "who made others wait for locks"},
	{"threadcreate", show_command, "threadcreate", 0, NULL, "who created threads"},
	{0},
};

void die(int status, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fflush(stdout);
	fprintf(stderr, COMMAND_PROGRAM ": ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(status);
}

unsigned terminal_columns(void)
{
	struct winsize size = {0};
	const char *set = getenv("COLUMNS");
	if (!isatty(STDOUT_FILENO))
		return 0;
	unsigned long columns = set ? strtoul(set, NULL, 10) : 0;
	if (columns > 0 && columns < 100000)
		return (unsigned)columns;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

int finish_output(int status)
{
	bool failed = ferror(stdout) != 0;
	if (fflush(stdout) != 0 || failed)
		die(STATUS_FAILED, "the output could not be written: %s", strerror(errno));
	return status;
}

static int print_help(void)
{
	printf("Usage: " COMMAND_PROGRAM " COMMAND [options] TARGET\n"
	       "Show what a pprof profile has, without Go. TARGET is a saved profile, or who is asked for one:\n"
	       "a URL, host:port or unix:/path.\n\n");
	for (const struct command *c = commands; c->name; c++)
		printf("  %-14s %s\n", c->name, c->help);
	printf("\n" COMMAND_PROGRAM " COMMAND --help lists the options. More in the manual: man " COMMAND_PROGRAM
	       ".1\n");
	return finish_output(0);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		die(STATUS_USAGE, "a command is wanted; " COMMAND_PROGRAM " --help lists them");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
		return print_help();
	if (strcmp(argv[1], "--version") == 0) {
		puts(COMMAND_PROGRAM ", not released");
		return finish_output(0);
	}
	for (const struct command *c = commands; c->name; c++)
		if (strcmp(argv[1], c->name) == 0)
			return c->run(c, argc - 1, argv + 1);
	die(STATUS_USAGE, "%s is no command; " COMMAND_PROGRAM " --help lists them", argv[1]);
}
