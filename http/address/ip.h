/* ip.h - IP addresses as text.
 *
 * Runs in: listener, init. Memory of the caller alone, no libc but mem*.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_IP_H
#define PPROFSHIM_IP_H

#include <stdbool.h>
#include <stdint.h>

#include "shim/base/text.h"

/* Parse four decimal numbers, none with a leading zero, as Go and browsers do. */
bool ip_parse_v4(struct span s, uint8_t address[4]);

/* Parse groups, "::" and a dotted tail (RFC 4291, 2.2). No zone, no brackets. */
bool ip_parse_v6(struct span s, uint8_t address[16]);

void ip_print_v4(const uint8_t address[4], struct line *l);
void ip_print_v6(const uint8_t address[16], struct line *l); /* RFC 5952, without the dotted tail */

#endif
