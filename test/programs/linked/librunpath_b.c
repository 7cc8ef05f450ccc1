/* librunpath_b.c - the sibling.
 *
 * Runs in: a test program.
 *
 * SPDX-License-Identifier: Apache-2.0 */
int runpath_answer(void);
int runpath_answer(void)
{
	return 42;
}
