/* settings.h - the environment variables, read once.
 *
 * Runs in: init writes; everybody reads.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SETTINGS_H
#define PPROFSHIM_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/text.h"

#define SETTINGS_BYTES uint64_t
#define SETTINGS_UINT uint64_t
#define SETTINGS_TEXT const char *

/* One field a row of settings.def; a TEXT that is not set is NULL. Immutable after init. */
struct settings {
#define SETTING(field, variable, type, preset, least, most) SETTINGS_##type field;
#include "shim/settings.def"
#undef SETTING
};
extern struct settings settings;

/* Is this one of the ways to say no: NULL, "", 0, false, no, off? */
bool settings_is_no(const char *text);

/* Is the name in the list, whose names are separated by commas? */
bool settings_lists(const char *list, struct span name);

/* Read the texts, then the numbers, from the environment. For each number that is no good, `complain` gets one
 * line: what is wrong and what is used instead. */
void settings_read_texts(char *const *environ);
void settings_read_numbers(char *const *environ, void (*complain)(const char *line));

/* Pass one line to `complain` if names of the environment look like settings and are none, with what may have been
 * meant. */
void settings_tell_unknown(char *const *environ, void (*complain)(const char *line));

#endif
