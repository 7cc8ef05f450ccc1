/* helper_program.c - the file of the helper program: where it is, whether it may be run, and with how much memory.
 *
 * Runs in: listener. Static state of its own; one owner, no lock.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "encoder/names/helper_program.h"

#include <errno.h>
#include <string.h>

#include "encoder/names/container.h"
#include "encoder/names/symbolizer.h"
#include "encoder/names/trouble.h"
#include "encoder/symbolize/protocol.h"
#include "shim/base/own_file.h"

static struct {
	struct encoder_options options;
	char path[4096], library[4096];
} program;

void helper_program_start(const struct encoder_options *options)
{
	memset(&program, 0, sizeof program);
	program.options = *options;
}

bool helper_program_is_known(void)
{
	return program.path[0];
}

char *helper_program_path(void)
{
	return program.path;
}

const char *helper_program_debug_dirs(void)
{
	return program.options.debug_dirs;
}

bool helper_program_is_refused(void)
{
	bool is_named = program.options.symbolizer;
	int r = is_named ? own_file_may_run(program.path) : own_file_may_run_beside(program.path, program.library);
	if (r != -EINVAL && r != -EPERM && r != -ELOOP)
		return false;
	if (is_named)
		trouble_remember(
			"PPROF_SYMBOLIZER is no absolute path, or others than root and this user can change it or a "
			"folder on its way",
			0, "; it is not run");
	else
		trouble_remember("the helper can be changed by others than the library beside it", 0,
		                 "; it is not run");
	trouble_rest();
	return true;
}

uint64_t helper_program_memory_bytes(void)
{
	uint64_t room = container_room(), most = program.options.symbolizer_memory_bytes;
	return room != UINT64_MAX && room / 2 < most ? room / 2 : most;
}

/* ---- where it is ---- */

static void set_path(struct span folder, const char *name)
{
	struct line l = LINE(program.path);
	if (folder.len + strlen(name) >= l.cap)
		return;
	line_bytes(&l, folder.at, folder.len);
	line_str(&l, name);
}

void symbolizer_locate(const struct maps *maps)
{
	if (program.path[0] || program.options.symbolizer_off)
		return;
	if (program.options.symbolizer) {
		set_path((struct span){0}, program.options.symbolizer);
		return;
	}
	const struct map *ours = maps_find(maps, (uintptr_t)symbolizer_locate);
	struct span folder = ours ? ours->path : (struct span){0};
	if (folder.len < sizeof program.library)
		memcpy(program.library, folder.at, folder.len);
	while (folder.len && folder.at[folder.len - 1] != '/')
		folder.len--;
	if (folder.len)
		set_path(folder, SYMBOLIZE_PROGRAM);
}
