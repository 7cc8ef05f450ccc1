/* protocol.h - what the listener and pprofshim-symbolize say to each other over two pipes.
 *
 * Runs in: nothing of itself; included by the listener's side (encoder/names/symbolizer.c) and the helper's
 * (encoder/symbolize/serve.c).
 *
 * Both directions are lines of text that end with '\n'. A line begins with a letter and a space, or is the letter alone
 * if nothing follows. Addresses are hexadecimal without "0x", other numbers decimal. Addresses are those of the file's
 * headers (in memory minus bias). A text holds no control characters (the helper writes '?' for them). It may be
 * invalid UTF-8 if the file's text is: the listener makes it valid.
 *
 * The request, read to its end (EOF) before the work begins:
 *
 *   o <build id in hex, or "-">      an object; its lines follow
 *   p <path>                         where its file may be. Of several, the first that can be opened, is an ELF file
 *                                    and has that build id is taken
 *   a <address>                      an address to look up
 *   a <address + 2^63>               the call that ends after an address: what may have jumped on from there?
 *   d <mangled name>                 a name to simplify; belongs to no object
 *
 * The answer, streamed: objects in the order of the request, each address of an object once, in any order:
 *
 *   o <n>                            object n of the request, from 0, is at work now; the next lines are about it
 *   n <text>                         why something is not known, for users: one line, at most a few an object
 *   a <address> <start>              the answer to an address, and the start of the function (its symbol) around it;
 *                                    0: not known
 *   f <line> <start line>\t<file>\t<system name>\t<name>
 *                                    a frame of that address, innermost first; no frame: nothing is known. 0 and ""
 *                                    mean "not known". <name> is demangled, without parameters, and never "";
 *                                    <system name> is as linked
 *   c <start> <name>                 after `a`: a call ends after that address, and this is the function that it
 *                                    names in DWARF, else goes to by its machine code, as linked; before its frames.
 *                                    <start> is where its machine code goes to, which may be a stub; 0: not known
 *   g <from> <at> <to>\t<name>       after `a <address + 2^63> <start>`, where <start> is the function that the call
 *                                    names (0: not known): one of the jumps that may follow, of the function that
 *                                    begins at <from>, at address <at>, to the function <name>, which begins at <to>.
 *                                    0 and "" mean "not known", or "not in this file"
 *   d <n> <name>                     name n of the request, from 0, simplified
 *   e                                the answer is complete
 *
 * An object that could not be opened has `n` and no `a`. The reader must expect anything: a helper may die within a
 * line.
 *
 * As `merge --pipe` it merges profiles instead, over one socket, which is its standard input and output:
 *
 *   m <pid>\t<program>\t<why>        a profile, of this process. If <why> is not "", it cannot be had for that reason;
 *                                    else the next of the descriptors that come with the text (SCM_RIGHTS) brings it,
 *                                    as the answer to an HTTP request
 *   t <seconds> <name>               how long each may take, and the name of the profile
 *                                    (an empty line: that is all)
 *
 * The answer is one of HTTP, with its length.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_PROTOCOL_H
#define PPROFSHIM_PROTOCOL_H

/* argv of the helper when the listener starts it: pprofshim-symbolize --pipe [--debug-dirs DIR:DIR…] */
#define SYMBOLIZE_PIPE "--pipe"
#define SYMBOLIZE_MERGE "merge" /* its first word: it merges profiles */
#define SYMBOLIZE_DEBUG_DIRS "--debug-dirs"
#define SYMBOLIZE_PROGRAM "pprofshim-symbolize"

#define SYMBOLIZE_CALL (UINT64_C(1) << 63) /* added to an address: what is asked about is its call */

enum {
	SYMBOLIZE_JUMPS_MAX = 64,       /* of a call */
	SYMBOLIZE_LINE_MAX = 64 * 1024, /* bytes of a line, without its end; the writer cuts names to fit */
	SYMBOLIZE_FRAMES_MAX = 256,     /* of an address */
};

#endif
