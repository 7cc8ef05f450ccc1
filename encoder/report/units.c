/* units.c - values of profiles as people read them.
 *
 * Runs in: pprofshim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/report/units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
	const char *name, *alias[4];
	double factor;
};

struct dimension {
	struct unit unit[10];
	struct unit preset; /* for what is smaller than all of them, and units of another dimension */
};

static const struct dimension dimensions[] = {
	{{{"B", {"b", "byte"}, 1},
          {"kB", {"kb", "kbyte", "kilobyte"}, 0x1p10},
          {"MB", {"mb", "mbyte", "megabyte"}, 0x1p20},
          {"GB", {"gb", "gbyte", "gigabyte"}, 0x1p30},
          {"TB", {"tb", "tbyte", "terabyte"}, 0x1p40},
          {"PB", {"pb", "pbyte", "petabyte"}, 0x1p50}},
         {"B", {NULL}, 1}},
	{{{"ns", {"ns", "nanosecond"}, 1},
          {"us", {"us", "\316\274s", "microsecond"}, 1e3},
          {"ms", {"ms", "millisecond"}, 1e6},
          {"s", {"s", "sec", "second"}, 1e9},
          {"hrs", {"hour", "hr"}, 3600e9}},
         {"s", {NULL}, 1e9}},
};

enum { DIMENSIONS = sizeof dimensions / sizeof dimensions[0] };

/* "Bytes" is "byte": without regard to case, and without the s of a plural. */
static const struct unit *find_unit(const struct dimension *d, const char *name)
{
	size_t len = strlen(name);
	if (len > 2 && (name[len - 1] == 's' || name[len - 1] == 'S'))
		len--;
	for (const struct unit *u = d->unit; u->name; u++)
		for (size_t i = 0; i < 4 && u->alias[i]; i++)
			if (strlen(u->alias[i]) == len && strncasecmp(u->alias[i], name, len) == 0)
				return u;
	return NULL;
}

static const struct dimension *find_dimension(const char *of, const struct unit **unit)
{
	for (size_t i = 0; i < DIMENSIONS; i++)
		if ((*unit = find_unit(&dimensions[i], of)))
			return &dimensions[i];
	return NULL;
}

int64_t units_size(int64_t value)
{
	return value >= 0 ? value : value == INT64_MIN ? INT64_MAX : -value;
}

/* The largest unit of which the value has one; NULL: `of` is a count or something that we do not know. */
static const struct unit *fitting(const char *of, int64_t value)
{
	const struct unit *from, *best = NULL;
	const struct dimension *d = find_dimension(of, &from);
	if (!d)
		return NULL;
	for (const struct unit *u = d->unit; u->name; u++)
		if ((double)value * from->factor / u->factor >= 1)
			best = u;
	return best ? best : &d->preset;
}

const char *units_choose(const char *of, int64_t smallest, int64_t largest)
{
	const struct unit *low = fitting(of, smallest), *high = fitting(of, largest);
	if (!low)
		return of;
	/* Of values that differ much the smallest are shown as hundredths of a larger unit. */
	if (strcmp(low->name, high->name) != 0 && smallest < largest / 100.0)
		low = fitting(of, 100 * smallest);
	return low->name;
}

/* Units of which nobody wants to read the name. */
static const char *name_of_other(const char *of)
{
	static const char *const bare[] = {"count", "sample", "unit", "minimum", "auto"};
	for (size_t i = 0; i < sizeof bare / sizeof bare[0]; i++)
		if (strcmp(of, bare[i]) == 0)
			return "";
	return of;
}

const char *units_label(char to[UNITS_TEXT], int64_t value, const char *of, const char *in)
{
	const struct unit *from, *unit = NULL;
	const struct dimension *d = find_dimension(of, &from);
	double scaled = (double)value;
	if (d) {
		unit = find_unit(d, in);
		unit = unit ? unit : &d->preset;
		scaled = scaled * from->factor / unit->factor;
	}
	int n = snprintf(to, UNITS_TEXT, "%.2f", scaled);
	if (n > 3 && strcmp(to + n - 3, ".00") == 0)
		to[n -= 3] = '\0';
	if (strcmp(to, "0") == 0 || strcmp(to, "-0") == 0)
		return strcpy(to, "0");
	snprintf(to + n, (size_t)(UNITS_TEXT - n), "%.12s", unit ? unit->name : name_of_other(in));
	return to;
}

const char *units_share(char to[UNITS_TEXT], int64_t value, int64_t total)
{
	double percent = total ? fabs((double)value / (double)total) * 100 : 0;
	if (percent >= 99.95 && percent <= 100.05)
		return strcpy(to, "  100%");
	snprintf(to, UNITS_TEXT, percent >= 1 ? "%5.2f%%" : "%5.2g%%", percent);
	return to;
}
