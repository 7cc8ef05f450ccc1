/* unversioned.c - call libunversioned.c.
 *
 * Runs in: a process of its own, bare or under the shim.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

int take_turns(int count);

int main(void)
{
	printf("%d turns\n", take_turns(1000));
	return 0;
}
