/* date.h - the calendar.
 *
 * Runs in: everywhere.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_DATE_H
#define PPROFSHIM_DATE_H

#include <stdint.h>

struct date {
	unsigned year, month, day; /* month and day from 1 on */
};

/* The proleptic Gregorian calendar, in years that begin with March: then the leap day is the last, and months have 153
 * days in five (Richards, Explanatory Supplement to the Astronomical Almanac, 15.11). */
static inline struct date date_of(uint64_t days_since_1970)
{
	uint64_t days = days_since_1970 + 719468; /* since 1 March 0 */
	uint64_t era = days / 146097, of_era = days % 146097;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	uint64_t march = (5 * of_year + 2) / 153; /* 0: March */
	return (struct date){
		.year = (unsigned)(era * 400 + year + (march >= 10)),
		.month = (unsigned)(march < 10 ? march + 3 : march - 9),
		.day = (unsigned)(of_year - (153 * march + 2) / 5 + 1),
	};
}

#endif
