/* split.h - .dwo files, which libdw opens by itself, with sections that are packed by zstd.
 *
 * Runs in: pprofshim-symbolize.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_SPLIT_H
#define PPROFSHIM_SPLIT_H

/* Close all .dwo files. Only when no object with DWARF is open any more. */
void split_release(void);

#endif
