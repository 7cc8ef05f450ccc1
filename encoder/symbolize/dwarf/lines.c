/* lines.c - run the line number programs, keeping only the rows that are asked for.
 *
 * Runs in: pprofshim-symbolize. libdw has such a reader, but it keeps every row of every unit, which takes more memory
 * than RLIMIT_DATA allows for a large program. Format: DWARF 5, chapter 6.2, and its versions 2 to 4.
 *
 * The data may be hostile: cursor.h never reads past an end, and a program ends only where its bytes end.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/dwarf/lines.h"

#include <dwarf.h>
#include <gelf.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/bytes/sort.h"

enum {
	ENTRY_FORMATS_MOST = 32, /* columns of version 5's tables */
	OPCODES = 256,
};

/* --- the header ------------------------------------------------------------------------------- */

struct program {
	struct cursor code;
	unsigned version, offset_size, address_size;
	uint8_t instruction, line_range, opcode_base;
	int8_t line_base;
	uint8_t operands[OPCODES];
};

static void *grown(void *array, size_t *cap, size_t size)
{
	size_t more = *cap ? *cap * 2 : 64;
	void *p = realloc(array, more * size);
	if (p)
		*cap = more;
	return p;
}

static bool add_dir(struct lines *l, struct bytes dir)
{
	if (l->dirs == l->dirs_cap) {
		struct bytes *more = grown(l->dir, &l->dirs_cap, sizeof *more);
		if (!more)
			return false;
		l->dir = more;
	}
	l->dir[l->dirs++] = dir;
	return true;
}

static bool add_file(struct lines *l, struct line_file file)
{
	if (l->files == l->files_cap) {
		struct line_file *more = grown(l->file, &l->files_cap, sizeof *more);
		if (!more)
			return false;
		l->file = more;
	}
	l->file[l->files++] = file;
	return true;
}

/* Read a file entry of versions 2 to 4 or DW_LNE_define_file. */
static struct line_file old_file(struct cursor *c, struct bytes name)
{
	struct line_file f = {.name = name, .dir = cursor_uleb(c)};
	cursor_uleb(c); /* time */
	cursor_uleb(c); /* size */
	return f;
}

static bool read_old_tables(struct lines *l, struct cursor *c)
{
	for (struct bytes s; (s = cursor_string(c)).len && !c->bad;)
		if (!add_dir(l, s))
			return false;
	for (struct bytes s; !c->bad && (s = cursor_string(c)).len && !c->bad;)
		if (!add_file(l, old_file(c, s)))
			return false;
	return !c->bad;
}

struct value {
	struct bytes text;
	uint64_t number;
};

static bool read_value(const struct lines *l, struct cursor *c, unsigned form, unsigned offset_size, struct value *v)
{
	*v = (struct value){0};
	switch (form) {
	case DW_FORM_string: v->text = cursor_string(c); break;
	case DW_FORM_line_strp: v->text = cursor_string_at(l->line_str, cursor_fixed(c, offset_size)); break;
	case DW_FORM_strp: v->text = cursor_string_at(l->str, cursor_fixed(c, offset_size)); break;
	case DW_FORM_udata: v->number = cursor_uleb(c); break;
	case DW_FORM_data1: v->number = cursor_fixed(c, 1); break;
	case DW_FORM_data2: v->number = cursor_fixed(c, 2); break;
	case DW_FORM_data4: v->number = cursor_fixed(c, 4); break;
	case DW_FORM_data8: v->number = cursor_fixed(c, 8); break;
	case DW_FORM_data16: cursor_skip(c, 16); break;
	case DW_FORM_block: cursor_skip(c, cursor_uleb(c)); break;
	case DW_FORM_block1: cursor_skip(c, cursor_fixed(c, 1)); break;
	case DW_FORM_strx: cursor_uleb(c); break; /* no producer is known to use these here */
	case DW_FORM_strx1: cursor_skip(c, 1); break;
	case DW_FORM_strx2: cursor_skip(c, 2); break;
	case DW_FORM_strx3: cursor_skip(c, 3); break;
	case DW_FORM_strx4: cursor_skip(c, 4); break;
	default: return false;
	}
	return !c->bad;
}

static bool read_entry(const struct lines *l, struct cursor *c, const struct program *p, const uint64_t (*format)[2],
                       unsigned formats, struct line_file *entry)
{
	struct value v;
	*entry = (struct line_file){0};
	for (unsigned i = 0; i < formats; i++) {
		if (!read_value(l, c, (unsigned)format[i][1], p->offset_size, &v))
			return false;
		if (format[i][0] == DW_LNCT_path)
			entry->name = v.text;
		else if (format[i][0] == DW_LNCT_directory_index)
			entry->dir = v.number;
	}
	return true;
}

static bool read_new_table(struct lines *l, struct cursor *c, const struct program *p, bool of_files)
{
	uint64_t format[ENTRY_FORMATS_MOST][2];
	unsigned formats = (unsigned)cursor_fixed(c, 1);
	if (formats > ENTRY_FORMATS_MOST)
		return false;
	for (unsigned i = 0; i < formats; i++) {
		format[i][0] = cursor_uleb(c);
		format[i][1] = cursor_uleb(c);
	}
	uint64_t count = cursor_uleb(c);
	if (c->bad || (count && !formats) || count > cursor_left(c)) /* an entry has a byte at least */
		return false;
	for (uint64_t i = 0; i < count; i++) {
		struct line_file entry;
		if (!read_entry(l, c, p, format, formats, &entry))
			return false;
		if (!(of_files ? add_file(l, entry) : add_dir(l, entry.name)))
			return false;
	}
	return true;
}

static bool read_header(struct lines *l, uint64_t offset, struct program *p)
{
	if (offset >= l->line.len)
		return false;
	struct cursor c = {l->line.at + offset, l->line.at + l->line.len, false};
	uint64_t length = cursor_fixed(&c, 4);
	p->offset_size = 4;
	if (length == UINT32_MAX) {
		length = cursor_fixed(&c, 8);
		p->offset_size = 8;
	}
	if (c.bad || length > cursor_left(&c))
		return false;
	c.end = c.at + length;
	l->version = p->version = (unsigned)cursor_fixed(&c, 2);
	p->address_size = 8;
	if (p->version < 2 || p->version > 5)
		return false;
	if (p->version == 5) {
		p->address_size = (unsigned)cursor_fixed(&c, 1);
		cursor_skip(&c, 1); /* size of a segment's selector */
	}
	uint64_t header = cursor_fixed(&c, p->offset_size);
	if (c.bad || header > cursor_left(&c))
		return false;
	p->code = (struct cursor){c.at + header, c.end, false};
	p->instruction = (uint8_t)cursor_fixed(&c, 1);
	if (p->version >= 4)
		cursor_skip(&c, 1); /* operations of an instruction: VLIW only */
	cursor_skip(&c, 1);         /* default_is_stmt */
	p->line_base = (int8_t)cursor_fixed(&c, 1);
	p->line_range = (uint8_t)cursor_fixed(&c, 1);
	p->opcode_base = (uint8_t)cursor_fixed(&c, 1);
	for (unsigned i = 1; i < p->opcode_base; i++)
		p->operands[i] = (uint8_t)cursor_fixed(&c, 1);
	c.end = p->code.at;
	if (c.bad || c.at > c.end)
		return false;
	if (p->version < 5)
		return read_old_tables(l, &c);
	return read_new_table(l, &c, p, false) && read_new_table(l, &c, p, true);
}

/* --- the program ------------------------------------------------------------------------------ */

struct machine {
	uint64_t address, file;
	unsigned line;
	/* the row before this one, and the sequence of both */
	bool in_sequence;
	uint64_t row_address, row_file, low, sequence;
	unsigned row_line;
	/* queries */
	struct line_query *q;
	size_t count, next;
};

static void begin_sequence(struct machine *m)
{
	m->address = 0;
	m->file = m->line = 1;
	m->in_sequence = false;
	m->sequence++;
}

/* Addresses from the last row up to this one belong to the last row. */
static void give_to_last_row(struct machine *m)
{
	for (; m->next < m->count && m->q[m->next].address < m->address; m->next++) {
		struct line_query *q = &m->q[m->next];
		q->try_file = m->row_file;
		q->try_line = m->row_line;
		q->try_sequence = m->sequence;
	}
}

static void row(struct machine *m)
{
	if (!m->in_sequence)
		m->low = m->address;
	if (m->in_sequence && m->address > m->row_address)
		give_to_last_row(m);
	else if (!m->in_sequence || m->address < m->row_address)
		m->next = sort_first_from(m->q, m->count, sizeof *m->q, m->address);
	m->in_sequence = true;
	m->row_address = m->address;
	m->row_file = m->file;
	m->row_line = m->line;
}

/* If sequences overlap, some are of code that the linker dropped, or of none. The one that ends first is used. */
static void end_sequence(struct machine *m)
{
	row(m);
	for (size_t i = sort_first_from(m->q, m->count, sizeof *m->q, m->low);
	     i < m->count && m->q[i].address < m->address; i++) {
		struct line_query *q = &m->q[i];
		if (q->try_sequence != m->sequence || (q->found && q->high <= m->address))
			continue;
		q->found = true;
		q->high = m->address;
		q->file = q->try_file;
		q->line = q->try_line;
	}
	begin_sequence(m);
}

static bool extended(struct lines *l, struct machine *m, struct cursor *c)
{
	uint64_t len = cursor_uleb(c);
	if (c->bad || len > cursor_left(c))
		return false;
	if (!len)
		return true;
	struct cursor in = {c->at, c->at + len, false};
	struct bytes name;
	c->at = in.end;
	switch (cursor_fixed(&in, 1)) {
	case DW_LNE_end_sequence: end_sequence(m); break;
	case DW_LNE_set_address: m->address = cursor_fixed(&in, (unsigned)(len > 9 ? 8 : len - 1)); break;
	case DW_LNE_define_file: name = cursor_string(&in); return add_file(l, old_file(&in, name));
	default: break;
	}
	return true;
}

static void standard(struct machine *m, struct cursor *c, const struct program *p, unsigned op)
{
	switch (op) {
	case DW_LNS_copy: row(m); break;
	case DW_LNS_advance_pc: m->address += cursor_uleb(c) * p->instruction; break;
	case DW_LNS_advance_line: m->line += (unsigned)cursor_sleb(c); break;
	case DW_LNS_set_file: m->file = cursor_uleb(c); break;
	case DW_LNS_set_column: cursor_uleb(c); break;
	case DW_LNS_const_add_pc:
		if (p->line_range)
			m->address += (uint64_t)((255 - p->opcode_base) / p->line_range) * p->instruction;
		break;
	case DW_LNS_fixed_advance_pc: m->address += cursor_fixed(c, 2); break;
	case DW_LNS_set_isa: cursor_uleb(c); break;
	case DW_LNS_negate_stmt:
	case DW_LNS_set_basic_block:
	case DW_LNS_set_prologue_end:
	case DW_LNS_set_epilogue_begin: break;
	default:
		for (unsigned i = 0; i < p->operands[op]; i++)
			cursor_uleb(c);
	}
}

static void special(struct machine *m, const struct program *p, unsigned op)
{
	unsigned adjusted = op - p->opcode_base;
	if (p->line_range) {
		m->address += (uint64_t)(adjusted / p->line_range) * p->instruction;
		m->line += (unsigned)(p->line_base + (int)(adjusted % p->line_range));
	}
	row(m);
}

static bool run(struct lines *l, const struct program *p, struct line_query *q, size_t count)
{
	struct machine m = {.q = q, .count = count};
	struct cursor c = p->code;
	begin_sequence(&m);
	while (c.at < c.end && !c.bad) {
		unsigned op = *c.at++;
		if (op >= p->opcode_base)
			special(&m, p, op);
		else if (op)
			standard(&m, &c, p, op);
		else if (!extended(l, &m, &c))
			return false;
	}
	return !c.bad;
}

bool lines_read(struct lines *l, uint64_t offset, const char *comp_dir, struct line_query *q, size_t count)
{
	struct program p = {0};
	l->dirs = l->files = 0;
	l->comp_dir = comp_dir ? comp_dir : "";
	return read_header(l, offset, &p) && run(l, &p, q, count);
}

/* --- files ------------------------------------------------------------------------------------ */

struct path {
	char at[2 * PATH_MAX];
	size_t len;
};

/* Append a part, with one '/' between two. Neither "." nor ".." is resolved. */
static void append(struct path *p, struct bytes part)
{
	if (p->len && part.len && p->at[p->len - 1] != '/' && p->len < sizeof p->at)
		p->at[p->len++] = '/';
	for (; p->len > 1 && part.len && part.at[0] == '/'; part.len--)
		part.at++;
	if (part.len > sizeof p->at - p->len)
		part.len = sizeof p->at - p->len;
	if (part.len)
		memcpy(p->at + p->len, part.at, part.len);
	p->len += part.len;
}

static bool is_absolute(struct bytes b)
{
	return b.len && b.at[0] == '/';
}

static struct bytes dir_of(const struct lines *l, const struct line_file *f)
{
	uint64_t index = l->version >= 5 ? f->dir : f->dir - 1; /* before version 5, 0 is the compilation's folder */
	return index < l->dirs ? l->dir[index] : (struct bytes){NULL, 0};
}

const char *lines_file(struct lines *l, struct texts *texts, uint64_t index)
{
	index -= l->version < 5;
	if (index >= l->files)
		return "";
	struct line_file *f = &l->file[index];
	if (f->path)
		return f->path;
	struct path p = {.len = 0};
	if (!is_absolute(f->name)) {
		struct bytes dir = dir_of(l, f);
		if (!is_absolute(dir))
			append(&p, (struct bytes){(const void *)l->comp_dir, strlen(l->comp_dir)});
		append(&p, dir);
	}
	append(&p, f->name);
	f->path = texts_keep(texts, p.at, p.len);
	return f->path ? f->path : "";
}

/* --- sections --------------------------------------------------------------------------------- */

static struct bytes section(const struct elf_file *f, const char *name, const char *z_name)
{
	GElf_Shdr s;
	Elf_Scn *scn = elf_file_section(f, name, z_name);
	if (!scn || !gelf_getshdr(scn, &s))
		return (struct bytes){NULL, 0};
	/* if libdw has unpacked the section in place, the next two lines do nothing */
	if (s.sh_flags & SHF_COMPRESSED)
		elf_compress(scn, 0, 0);
	else if (elf_file_section(f, z_name, NULL) == scn)
		elf_compress_gnu(scn, 0, 0);
	Elf_Data *d = elf_getdata(scn, NULL);
	return d && d->d_buf ? (struct bytes){d->d_buf, d->d_size} : (struct bytes){NULL, 0};
}

void lines_open(struct lines *l, const struct elf_file *f)
{
	l->line = section(f, ".debug_line", ".zdebug_line");
	l->line_str = section(f, ".debug_line_str", ".zdebug_line_str");
	l->str = section(f, ".debug_str", ".zdebug_str");
}

void lines_close(struct lines *l)
{
	free(l->dir);
	free(l->file);
	*l = (struct lines){0};
}
