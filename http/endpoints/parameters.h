/* parameters.h - the parameters of requests, as endpoints.def has them.
 *
 * Runs in: listener. The table is read-only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PARAMETERS_H
#define PPROFSHIM_PARAMETERS_H

#include "http/server/exchange.h"

enum parameter_id {
#define PARAMETER(id, name, unit, values, preset, bad, must_be, description) PARAMETER_##id,
#include "http/endpoints/endpoints.def"
	PARAMETERS
};

/* Sets of parameters, for the column `takes`. */
#define TAKES(id) (1u << PARAMETER_##id)
#define NOTHING 0u

struct parameter {
	const char *name;
	const char *unit; /* of its value; "": none */
	struct {
		enum value_kind { VALUE_ANY, VALUE_INTEGER, VALUE_SECONDS, VALUE_NS, VALUE_WORD } kind;
		int64_t least, most;
		const char *words; /* with a '|' between two */
	} values;
	int64_t preset;
	enum { PRESET, REFUSED, REFUSED_UNLESS_EMPTY } bad;
	const char *wrong; /* the answer to a bad value that is refused */
	const char *description;
};
extern const struct parameter parameters[PARAMETERS];

/* Read a parameter of the request. Its value is an integer, a time in whole seconds or in nanoseconds, or the index of
 * a word; the preset where the endpoint does not take the parameter or the request does not have it.
 *
 * Returns NULL, or what is wrong with the value, for the client. */
const char *parameter_read(struct exchange *x, enum parameter_id id, int64_t *value);

#endif
