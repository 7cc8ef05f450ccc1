/* merge_command.h - pprofshim-symbolize merge: several profiles become one.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_MERGE_COMMAND_H
#define PPROFSHIM_MERGE_COMMAND_H

/* argv[0] is the word SYMBOLIZE_MERGE. Returns the exit status. */
int merge_command(int argc, char **argv);

/* Merge profiles for the listener, over a socket (protocol.h), which is closed when all is said. In merge_serve.c.
 * Returns 0, or a negative errno. */
int merge_serve(int fd);

#endif
