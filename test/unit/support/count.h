/* count.h - how many elements an array has.
 *
 * Runs in: unit tests.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef PPROFSHIM_TEST_COUNT_H
#define PPROFSHIM_TEST_COUNT_H

#define COUNT(a) (sizeof(a) / sizeof *(a))

#endif
