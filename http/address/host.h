/* host.h - is a Host header one that an honest client of a loopback address sends?
 *
 * Runs in: listener. Memory of the caller alone.
 *
 * DNS rebinding: a page of evil.example lets its name resolve to 127.0.0.1, and the browser then hands
 * it our answers as its own. The browser names evil.example in Host, so the name gives it away.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HOST_H
#define PPROFSHIM_HOST_H

#include <stdbool.h>

#include "shim/base/text.h"

/* An IP literal, localhost or a name below localhost, with or without a port. */
bool host_is_local(struct span host);

#endif
