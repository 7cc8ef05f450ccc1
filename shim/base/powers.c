/* powers.c - the capabilities that the listener uses.
 *
 * Runs in: listener, in its handler too. System calls alone.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/powers.h"

#include <linux/capability.h>

#include "shim/base/os.h"

bool powers_use(bool all)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	bool were = false;
	if (os_call(SYS_capget, &header, data) < 0)
		return false;
	for (int i = 0; i < 2; i++) {
		were |= data[i].effective != 0;
		data[i].effective = all ? data[i].permitted : 0;
	}
	os_call(SYS_capset, &header, data);
	return were;
}
