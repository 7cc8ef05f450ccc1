/* headers.c - what a merge takes of profiles besides their samples.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "encoder/merge/merged.h"

static const char *text_of(const Pprof__Profile *p, int64_t number)
{
	return p->string_table[number];
}

static struct value_type type_of(struct merge *m, const Pprof__Profile *p, const Pprof__ValueType *t)
{
	if (!t)
		return (struct value_type){0};
	return (struct value_type){merged_string(m, text_of(p, t->type)), merged_string(m, text_of(p, t->unit))};
}

static bool is_text(const struct merge *m, uint32_t number, const char *text)
{
	struct span known = m->strings.key[number];
	return strlen(text) == known.len && memcmp(text, known.at, known.len) == 0;
}

/* Nothing is added to the tables: a profile that is refused leaves no trace. */
static bool is_same_type(const struct merge *m, const Pprof__Profile *p, const Pprof__ValueType *t,
                         struct value_type known)
{
	return is_text(m, known.type, t ? text_of(p, t->type) : "") &&
	       is_text(m, known.unit, t ? text_of(p, t->unit) : "");
}

static const char *begin(struct merge *m, const Pprof__Profile *p)
{
	m->types = p->n_sample_type;
	m->type = region_alloc(&m->region, m->types * sizeof *m->type);
	if (!m->type)
		return "there is no memory for it";
	for (size_t i = 0; i < m->types; i++)
		m->type[i] = type_of(m, p, p->sample_type[i]);
	m->period_type = type_of(m, p, p->period_type);
	m->drop_frames = merged_string(m, text_of(p, p->drop_frames));
	m->keep_frames = merged_string(m, text_of(p, p->keep_frames));
	return m->full ? "there is no memory for it" : NULL;
}

const char *headers_agree(struct merge *m, const Pprof__Profile *p)
{
	if (m->count == 0)
		return begin(m, p);
	bool same = p->n_sample_type == m->types && is_same_type(m, p, p->period_type, m->period_type);
	for (size_t i = 0; same && i < m->types; i++)
		same = is_same_type(m, p, p->sample_type[i], m->type[i]);
	return same ? NULL : "its samples are of other types than those of the first profile";
}

static void add_comments(struct merge *m, const Pprof__Profile *p)
{
	for (size_t i = 0; i < p->n_comment; i++) {
		uint32_t text = merged_string(m, text_of(p, p->comment[i]));
		merged_number(m, &m->comments, &text, sizeof text);
	}
}

void headers_add(struct merge *m, const struct source *s)
{
	const Pprof__Profile *p = s->p;
	if (p->time_nanos && (m->time_ns == 0 || p->time_nanos < m->time_ns))
		m->time_ns = p->time_nanos;
	m->duration_ns = (int64_t)((uint64_t)m->duration_ns + (uint64_t)p->duration_nanos);
	if (m->period == 0 || m->period < p->period)
		m->period = p->period;
	if (!m->default_type)
		m->default_type = merged_string(m, text_of(p, p->default_sample_type));
	if (!m->doc_url)
		m->doc_url = merged_string(m, text_of(p, p->doc_url));
	add_comments(m, p);
}
