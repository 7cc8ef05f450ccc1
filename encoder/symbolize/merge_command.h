/* merge_command.h - pprofshim-symbolize merge: several profiles become one.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_MERGE_COMMAND_H
#define PPROFSHIM_MERGE_COMMAND_H

#define MERGE_WORD "merge" /* the first argument */

/* argv[0] is that word. Returns the exit status. */
int merge_command(int argc, char **argv);

#endif
