/* command.h - the commands of pprofshim, and what they share.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_COMMAND_H
#define PPROFSHIM_COMMAND_H

#include <stdbool.h>

#define COMMAND_PROGRAM "pprofshim"

enum { STATUS_FAILED = 1, STATUS_USAGE = 2 };

struct command {
	const char *name;
	int (*run)(const struct command *c, int argc, char **argv); /* argv[0] is the command; returns the status */
	const char *profile;                                        /* what it asks an endpoint for */
	unsigned seconds;                                           /* and over how long; 0: what is there now */
	const char *const *types; /* sample types that it looks for, the first that is there; NULL: the profile's own */
	const char *help;
};

/* The table of commands, up to one without a name. */
extern const struct command commands[];

int run_command(const struct command *c, int argc, char **argv);
int show_command(const struct command *c, int argc, char **argv);

/* Say what is wrong in one line, and end. */
void die(int status, const char *format, ...) __attribute__((format(printf, 2, 3), noreturn));

/* Returns the width of the terminal that stdout is, or of COLUMNS; 0: it is none, and lines may have any length. */
unsigned terminal_columns(void);

/* Write out all that was printed, and end with that status; with STATUS_FAILED if it could not be written. */
int finish_output(int status);

#endif
