/* run.c - pprofshim run: start a program with the library preloaded.
 *
 * Runs in: pprofshim, until it becomes the program.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "encoder/command/command.h"
#include "encoder/command/preload.h"

enum { STATUS_REFUSED = 125, STATUS_NOT_STARTED = 126, STATUS_NOT_FOUND = 127 }; /* as of env(1) */

static const char *const variables[] = {
#define SETTING(field, variable, type, preset, least, most) variable,
#include "shim/settings.def"
#undef SETTING
};

enum { VARIABLES = sizeof variables / sizeof variables[0], OPTION_QUIET = 256 + VARIABLES, OPTION_HELP };

/* PPROF_HEAP_RATE is --heap-rate. */
static const char *option_of(const char *variable)
{
	char *name = strdup(strncmp(variable, "PPROF_", 6) == 0 ? variable + 6 : variable);
	if (!name)
		die(STATUS_REFUSED, "there is not enough memory");
	for (char *c = name; *c; c++)
		*c = *c == '_' ? '-' : (char)tolower((unsigned char)*c);
	return name;
}

static void __attribute__((noreturn)) print_help_and_exit(const struct option *options)
{
	printf("Usage: " COMMAND_PROGRAM " run [options] [--] PROGRAM [ARGUMENT...]\n"
	       "Start a program with the library. The options set environment variables; man 7 pprofshim says what "
	       "each does.\n"
	       "\n");
	for (size_t i = 0; i < VARIABLES; i++)
		printf("  --%-20s VALUE   %s\n", options[i].name, variables[i]);
	printf("  --%-20s         do not say where the profiles are\n  --help\n", "quiet");
	exit(finish_output(0));
}

/* Set the variables of the options. Returns whether the URL is to be told. */
static bool take_options(int argc, char **argv)
{
	struct option options[VARIABLES + 3] = {{0}};
	bool quiet = false;
	for (size_t i = 0; i < VARIABLES; i++)
		options[i] = (struct option){option_of(variables[i]), required_argument, NULL, 256 + (int)i};
	options[VARIABLES] = (struct option){"quiet", no_argument, NULL, OPTION_QUIET};
	options[VARIABLES + 1] = (struct option){"help", no_argument, NULL, OPTION_HELP};
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, "+:", options, NULL)) >= 0;) {
		if (c == OPTION_HELP)
			print_help_and_exit(options);
		if (c == ':' || c == '?')
			die(STATUS_REFUSED, "%s %s", argv[optind - 1],
			    c == ':' ? "needs a value" : "is no option; " COMMAND_PROGRAM " run --help lists them");
		quiet |= c == OPTION_QUIET;
		if (c != OPTION_QUIET && setenv(variables[c - 256], optarg, 1) != 0)
			die(STATUS_REFUSED, "there is not enough memory");
	}
	return !quiet;
}

static void preload(const char *library)
{
	const char *before = getenv("LD_PRELOAD");
	char *all = NULL;
	if (before && strstr(before, library))
		return;
	if (asprintf(&all, "%s%s%s", library, before && *before ? ":" : "", before ? before : "") < 0 ||
	    setenv("LD_PRELOAD", all, 1) != 0)
		die(STATUS_REFUSED, "there is not enough memory");
	free(all);
}

static void say_where(void)
{
	const char *address = getenv("PPROF_ADDR");
	if (!address || !*address)
		address = "127.0.0.1:6060";
	if (strcmp(address, "off") == 0)
		return;
	if (strncmp(address, "unix:", 5) == 0)
		fprintf(stderr, COMMAND_PROGRAM ": profiles will be at %s\n", address);
	else
		fprintf(stderr, COMMAND_PROGRAM ": profiles will be at http://%s%s/debug/pprof/\n",
		        *address == ':' ? "localhost" : "", address);
}

int run_command(const struct command *c, int argc, char **argv)
{
	char library[PATH_MAX], path[PATH_MAX];
	bool tells = take_options(argc, argv);
	(void)c;
	if (optind == argc)
		die(STATUS_REFUSED, "a program is wanted; " COMMAND_PROGRAM " run --help says more");
	char **program = argv + optind;
	int error = preload_find_program(program[0], path, sizeof path);
	if (error)
		die(error == ENOENT || error == ENOTDIR ? STATUS_NOT_FOUND : STATUS_NOT_STARTED, "%s: %s", program[0],
		    strerror(error));
	const char *why = preload_find_library(library, sizeof library);
	if (why)
		die(STATUS_REFUSED, "%s", why);
	why = preload_refusal(path, library);
	if (why)
		die(STATUS_REFUSED, "%s: %s", program[0], why);
	preload(library);
	if (tells)
		say_where();
	execvp(program[0], program);
	die(errno == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_STARTED, "%s: %s", program[0], strerror(errno));
}
