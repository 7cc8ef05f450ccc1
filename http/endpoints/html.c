/* html.c - texts of others in a page.
 *
 * Runs in: listener.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "http/endpoints/html.h"

void html_text(struct out *o, struct span s)
{
	static const struct {
		char c;
		const char *entity;
	} entities[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&#34;"}, {'\'', "&#39;"}};
	for (size_t i = 0; i < s.len; i++) {
		const char *entity = NULL;
		for (size_t k = 0; k < sizeof entities / sizeof *entities; k++)
			if (s.at[i] == entities[k].c)
				entity = entities[k].entity;
		if (entity)
			out_str(o, entity);
		else
			out_bytes(o, &s.at[i], 1);
	}
}
