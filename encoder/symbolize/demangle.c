/* demangle.c - libiberty's demanglers, with limits on time and memory.
 *
 * Runs in: pprofshim-symbolize.
 *
 * A name may be hostile: substitutions make its text exponentially long, and nesting makes the demangler recurse once a
 * byte. So the lengths of a name and of its text are limited. Names above libiberty's own limit (1024 bytes; real C++
 * has longer ones) are demangled with a larger stack.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/symbolize/demangle.h"

#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
	NAME_MOST = 16 * 1024,  /* bytes of a mangled name: at most a few KiB of stack for each, see STACK_BYTES */
	NAME_LIBIBERTY = 1024,  /* up to this length, libiberty's own limit of recursion stays on */
	NAME_D_MOST = 4 * 1024, /* libiberty has no such limit for D */
	TEXT_MOST = 48 * 1024,  /* bytes of a demangled name */
	STACK_BYTES = 64 * 1024 * 1024,
};

struct text {
	jmp_buf full; /* the only way to stop libiberty; its callback interface allocates (almost) nothing */
	char *at;
	size_t len, cap;
};

static void add_text(const char *s, size_t n, void *arg)
{
	struct text *t = arg;
	if (n > TEXT_MOST - t->len)
		longjmp(t->full, 1);
	if (t->len + n + 1 > t->cap) {
		size_t cap = (t->len + n + 1) * 2;
		char *more = realloc(t->at, cap);
		if (!more)
			longjmp(t->full, 1);
		t->at = more;
		t->cap = cap;
	}
	memcpy(t->at + t->len, s, n);
	t->len += n;
	t->at[t->len] = '\0';
}

/* The main thread's stack may grow up to the limit that is set at the time. */
static void allow_large_stack(void)
{
	static bool done;
	struct rlimit limit;
	if (done || getrlimit(RLIMIT_STACK, &limit) < 0)
		return;
	done = true;
	if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < STACK_BYTES) {
		limit.rlim_cur = limit.rlim_max < STACK_BYTES ? limit.rlim_max : STACK_BYTES;
		setrlimit(RLIMIT_STACK, &limit);
	}
}

typedef int demangler(const char *mangled, int options, demangle_callbackref callback, void *opaque);

static int options_for(const char *name)
{
	if (strlen(name) <= NAME_LIBIBERTY)
		return 0;
	allow_large_stack();
	return DMGL_NO_RECURSE_LIMIT;
}

static char *run(demangler *demangle_with, const char *name, const int options)
{
	struct text *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	bool done = setjmp(t->full) == 0 && demangle_with(name, options | options_for(name), add_text, t) && t->len > 0;
	char *text = t->at;
	free(t);
	if (done)
		return text;
	free(text);
	return NULL;
}

/* Only the whole name has the suffixes of clones (.cold, .part.0), as " [clone .cold]". Copy them: they tell functions
 * apart. */
static char *with_clones(char *simple, const char *whole)
{
	const char *clones = strstr(whole, " [clone .");
	if (!clones)
		return simple;
	size_t len = strlen(simple), more = strlen(clones);
	char *both = realloc(simple, len + more + 1);
	if (!both)
		return simple;
	memcpy(both + len, clones, more + 1);
	return both;
}

static char *demangle_cxx(const char *name, bool whole)
{
	if (whole)
		return run(cplus_demangle_v3_callback, name, DMGL_PARAMS | DMGL_ANSI);
	/* libiberty fails at some parameters, so the name is made without them first */
	char *simple = run(cplus_demangle_v3_callback, name, DMGL_ANSI);
	char *all = simple && strchr(name, '.') ? demangle_cxx(name, true) : NULL;
	if (all)
		simple = with_clones(simple, all);
	free(all);
	return simple;
}

/* libiberty always prints D's parameters: cut the last pair of parentheses, unless it is a template's "!(…)". */
static void cut_parameters(char *text)
{
	size_t len = strlen(text), depth = 0;
	if (!len || text[len - 1] != ')')
		return;
	for (size_t i = len; i-- > 0;) {
		depth += text[i] == ')';
		depth -= text[i] == '(';
		if (depth)
			continue;
		if (i > 0 && text[i - 1] != '!')
			text[i] = '\0';
		return;
	}
}

static char *demangle_d(const char *name, bool whole)
{
	char *text = strlen(name) <= NAME_D_MOST ? dlang_demangle(name, DMGL_PARAMS) : NULL;
	if (text && strlen(text) > TEXT_MOST) {
		free(text);
		return NULL;
	}
	if (text && !whole)
		cut_parameters(text);
	return text;
}

/* Fortran: "__module_MOD_procedure" of gfortran. */
static char *demangle_fortran(const char *name)
{
	const char *module = name + strlen("__"), *mark = strstr(module, "_MOD_");
	if (!mark || mark == module || !mark[strlen("_MOD_")])
		return NULL;
	char *text = malloc(strlen(name) + 1);
	if (!text)
		return NULL;
	size_t len = (size_t)(mark - module);
	memcpy(text, module, len);
	memcpy(text + len, "::", 3);
	return strcat(text, mark + strlen("_MOD_"));
}

/* Legacy Rust looks like C++ (and its hash like a namespace), so Rust is tried first. */
static char *demangle_any(const char *name, bool whole)
{
	char *text = NULL;
	bool maybe_cxx = strncmp(name, "_Z", 2) == 0 || strncmp(name, "_GLOBAL_", 8) == 0;
	if (strncmp(name, "_ZN", 3) == 0 || strncmp(name, "_R", 2) == 0)
		text = run(rust_demangle_callback, name, DMGL_PARAMS | DMGL_ANSI);
	if (!text && maybe_cxx)
		text = demangle_cxx(name, whole);
	if (!text && strncmp(name, "_D", 2) == 0)
		text = demangle_d(name, whole);
	if (!text && !whole && strncmp(name, "__", 2) == 0)
		text = demangle_fortran(name);
	return text;
}

char *demangle(const char *name, bool whole)
{
	if (name[0] != '_' || strnlen(name, NAME_MOST + 1) > NAME_MOST)
		return NULL;
	char *text = demangle_any(name, whole);
	for (char *c = text; c && *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	return text;
}
