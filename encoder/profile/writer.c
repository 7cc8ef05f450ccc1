/* writer.c - a profile as it is written: a series of small Profile messages, compressed.
 *
 * Runs in: listener. All memory from the request's region.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/profile/writer.h"

#include "encoder/bytes/utf8.h"

void profile_writer_start(struct profile_writer *w, struct region *r, struct out *o)
{
	struct message *all[] = {&w->profile, &w->part, &w->inner, &w->location, &w->string};
	w->region = r;
	w->out = o;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		message_init(all[i], r);
}

void profile_write_message(struct profile_writer *w, struct message *m)
{
	if (m->failed)
		w->failed = true;
	else
		gzip_bytes(&w->gzip, m->at, m->len);
	m->len = 0;
}

void profile_write_part(struct profile_writer *w, unsigned field)
{
	message_part(&w->profile, field, &w->part);
	profile_write_message(w, &w->profile);
}

int64_t profile_string_id(struct profile_writer *w, struct span s)
{
	bool is_new;
	int64_t id = intern(&w->strings, w->region, s, &is_new);
	if (id < 0)
		w->failed = true;
	if (id < 0 || !is_new)
		return id;
	char *text = utf8_copy(w->region, s);
	if (!text) {
		w->failed = true;
		return 0;
	}
	message_str(&w->string, PROFILE_STRING_TABLE, text);
	profile_write_message(w, &w->string);
	return id;
}

int64_t profile_text_id(struct profile_writer *w, const char *s)
{
	return profile_string_id(w, span_of(s));
}
