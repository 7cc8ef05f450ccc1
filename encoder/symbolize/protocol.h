/* protocol.h - what the listener and pprofshim-symbolize say to each other over two pipes.
 *
 * Runs in: nothing of itself; included by the listener's side (encoder/names/symbolizer.c) and the helper's
 * (encoder/symbolize/serve.c).
 *
 * Lines of text that end with '\n'. A line begins with its letter and a space (the letter alone where nothing follows);
 * numbers are hexadecimal without "0x" where they are addresses, else decimal. Addresses are those of the file's
 * headers (in memory minus bias). A text holds no control characters (the helper writes '?' for them) and is UTF-8 or
 * not, as in the file: who shows it makes it so.
 *
 * The request, read to its end (EOF) before the work begins:
 *
 *   o <build id in hex, or "-">      an object; its lines follow
 *   p <path>                         where its file may be; several: the first that can be opened, is an ELF file
 *                                    and has that build id counts
 *   a <address>                      one to look up
 *   d <mangled name>                 (of no object) a name to simplify
 *
 * The answer, streamed: objects in the order of the request, each address of an object once, in any order:
 *
 *   o <n>                            object n of the request, from 0, is being looked at now. What follows is of it
 *   n <text>                         why something is not known, for people: one line, at most a few an object
 *   a <address> <start>              an address is answered; start of the function (its symbol) around it, 0: not
 * known. f <line> <start line>\t<file>\t<system name>\t<name> its frames, innermost first; none: nothing is known. 0
 * and "" where not known; name is never "" (demangled, without parameters), system name is as linked d <n> <name> name
 * n of the request, from 0, simplified e                                all is said
 *
 * An object that could not be opened has `n` and no `a`. Who reads must expect anything: a helper may die within a
 * line.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PROTOCOL_H
#define PPROFSHIM_PROTOCOL_H

/* argv of the helper when the listener starts it: pprofshim-symbolize --pipe [--debug-dirs DIR:DIR…] */
#define SYMBOLIZE_PIPE "--pipe"
#define SYMBOLIZE_DEBUG_DIRS "--debug-dirs"
#define SYMBOLIZE_PROGRAM "pprofshim-symbolize"

enum {
	SYMBOLIZE_LINE_MAX = 64 * 1024, /* bytes of a line, without its end; who writes cuts names to fit */
	SYMBOLIZE_FRAMES_MAX = 256,     /* of an address */
};

#endif
