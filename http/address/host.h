/* host.h - is a Host header one that an honest client of a loopback address sends?
 *
 * Runs in: listener. Memory of the caller alone.
 *
 * DNS rebinding: evil.example lets its name resolve to 127.0.0.1, and the browser then gives our answers to a page of
 * evil.example as its own. But the browser still sends "Host: evil.example", which shows the attack.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HOST_H
#define PPROFSHIM_HOST_H

#include <stdbool.h>

#include "shim/base/text.h"

/* Is it an IP literal, localhost or a name below localhost, with or without a port? */
bool host_is_local(struct span host);

#endif
