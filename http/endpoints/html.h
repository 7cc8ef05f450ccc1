/* html.h - texts of others in a page.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_HTML_H
#define PPROFSHIM_HTML_H

#include "encoder/encoder.h"

/* Write a text, with entities for what would be markup. */
void html_text(struct out *o, struct span s);

#endif
