/* init.c - start the library, before the program's first constructor.
 *
 * Runs in: init: the loader's thread, before main (-z initfirst: before other libraries' constructors, and before
 * libc's own, so no libc function but those used below).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/start/init.h"

#include <string.h>
#include <sys/auxv.h>

#include "shim/base/arena.h"
#include "shim/libc/clock.h"
#include "shim/profiles/delays.h"
#include "shim/base/exports.h"
#include "shim/start/fork.h"
#include "shim/start/serving.h"
#include "shim/start/wanted.h"
#include "shim/profiles/heap.h"
#include "shim/hooks/malloc.h"
#include "shim/base/house.h"
#include "shim/base/layout.h"
#include "shim/libc/libc_thread.h"
#include "shim/listener/listener.h"
#include "shim/profiles/live.h"
#include "shim/base/log.h"
#include "shim/base/losses.h"
#include "shim/libc/modules.h"
#include "shim/base/os.h"
#include "shim/libc/real.h"
#include "shim/waits/signals.h"
#include "shim/waits/waits.h"
#include "shim/waits/queues.h"
#include "shim/profiles/trace_events.h"
#include "shim/profiles/dump.h"
#include "shim/profiles/trace_events.h"
#include "shim/profiles/cpu.h"
#include "shim/base/random.h"
#include "shim/profiles/sampling.h"
#include "shim/base/settings.h"
#include "shim/listener/spawn.h"
#include "shim/stack/here.h"
#include "shim/base/text.h"
#include "shim/threads/threads.h"
#include "shim/stack/sample.h"
#include "shim/stack/unwind.h"
#include "shim/listener/visitor.h"

/* Enough to make a profile, whatever PPROF_MEMORY_LIMIT says: else a loss could not be reported. */
enum { LEAST_FOR_REQUESTS = 12 << 20 };

extern char **__environ;

/* Libc's own functions: a program may define these, too, and it has not started yet. */
static unsigned long (*get_auxval)(unsigned long type);
static const char *(*get_glibc_version)(void); /* NULL: musl */

FORKED_CODE void init_fork_child(void)
{
	listener_set_pending(serving_is_wanted());
}

/* 16 random bytes that the kernel gives every new program image. */
static uint64_t random_seed(void)
{
	uint64_t seed = os_clock_ns(CLOCK_MONOTONIC) ^ (uint64_t)os_pid() << 32;
	const void *random = (const void *)get_auxval(AT_RANDOM);
	uint64_t given = 0;
	if (random)
		memcpy(&given, random, sizeof given);
	return seed ^ given;
}

static void note_own_malloc(void)
{
	if (real_program_defines("malloc"))
		losses_count(own_malloc);
}

/* Copies a text that is needed later: programs write over their environment (setproctitle). An empty text counts as not
 * set. */
static const char *keep_text(const char *text)
{
	size_t n = text ? strlen(text) : 0;
	char *copy = n ? arena_alloc(n + 1) : NULL;
	return copy ? memcpy(copy, text, n) : NULL;
}

static void start_heap(void)
{
	hooks_malloc_start();
	note_own_malloc();
	stack_here_start(settings.stack_depth);
	uint64_t rate = settings.heap_rate;
	if (rate && live_start(real_malloc_is_libc(), rate, settings.memory_limit) < 0) {
		losses_count(heap_off);
		rate = 0;
	}
	random_start(random_seed());
	sampling_start(rate);
}

static void leave_us_out(void)
{
	extern HIDDEN const char __ehdr_start, etext; /* the linker's: this library's first byte, its code's end */
	unwind_leave_out(&__ehdr_start, &etext);
}

static const char *our_path(void)
{
	const struct module *us = modules_find((uintptr_t)&our_path);
	return us ? us->path : "libpprofshim.so";
}

/* Is this a libc that we can't serve correctly yet? That is musl, or a glibc with a separate thread library (before
 * 2.34), which is started before us. There the program runs as without us. */
static bool is_unknown_libc(void)
{
	uint64_t major = 0, minor = 0;
	struct span rest = get_glibc_version ? span_of(get_glibc_version()) : (struct span){0};
	bool read =
		text_parse_uint(span_cut(&rest, '.'), 10, &major) && text_parse_uint(span_cut(&rest, '.'), 10, &minor);
	return !read || major < 2 || (major == 2 && minor < 34);
}

static void tell_unknown_libc(void)
{
	log_start(settings.log, settings.log_file, "libpprofshim.so");
	log_info("this libc is not served yet (musl, or a glibc before 2.34): the program runs as without the library");
}

/* A thread's record is about to be another's: clears what the layers above threads keep in it. */
static void forget_record(struct thread *t)
{
	waits_reset(&t->wait);
	t->restart = (struct restart){0};
	t->acquire = (struct acquire){0};
	queues_forget(t);
	trace_forget(t);
}

static const struct signals_takers takers = {
	.tick = cpu_tick,
	.interval = cpu_interval,
	.answer = dump_answer,
	.refuse = dump_refuse,
	.is_knock = visitor_is_knock,
	.knock = visitor_start_wanted,
};

static void finish_quickly(void *arg)
{
	(void)arg;
	if (listener_was_born)
		listener_ends_with_program();
}

/* quick_exit calls handlers in reverse order: ours is the first registered, and so runs after all of the program's. */
static void note_quick_exit(void)
{
	int (*note)(void (*call)(void *), void *object) =
		(int (*)(void (*)(void *), void *))real_find("__cxa_at_quick_exit").address;
	if (note)
		note(finish_quickly, NULL);
}

static void start(char *const *envp)
{
	self_hold(); /* calls from here are not sampled */
	modules_on_change(unwind_forget);
	threads_on_reuse(forget_record);
	signals_start(&takers);
	fork_start();
	clock_start();
	threads_start();
	libc_thread_start(get_auxval(AT_HWCAP2));
	leave_us_out();
	self.stack = unwind_main_stack(get_auxval(AT_EXECFN)); /* the program's name lies there */
	sample_main_stack(self.stack.hi, (uintptr_t)envp);
	modules_refresh();
	log_start(settings.log, settings.log_file, our_path());
	settings_read_numbers(envp, log_warn);
	settings_tell_unknown(envp, log_warn);
	arena_set_limit(settings.memory_limit);
	arena_set_least_for_requests(LEAST_FOR_REQUESTS);
	house.path = keep_text((const char *)get_auxval(AT_EXECFN));
	settings.symbolizer = keep_text(settings.symbolizer);
	settings.debug_dirs = keep_text(settings.debug_dirs);
	settings.token_file = keep_text(settings.token_file);
	settings.tls_cert = keep_text(settings.tls_cert);
	settings.tls_key = keep_text(settings.tls_key);
	settings.tls_client_ca = keep_text(settings.tls_client_ca);
	spawn_start();
	serving_read_address();
	start_heap();
	delays_start(settings.block_rate, settings.mutex_fraction);
	serving_start();
	note_quick_exit();
	self_release();
	house.on = true;
}

/* A process that waits for the program must find nothing left of it: its memory, and with that its mapped files, go
 * with the last process that shares it. */
__attribute__((destructor)) static void finish(void)
{
	self_calls_begin();
	if (house_is_on() && !confined() && listener_is_our_process())
		listener_stop_for_good(NULL);
	self_calls_end();
}

/* A program that gained rights at its start (AT_SECURE) may have its environment from a user who must not gain any by
 * us: then we do not even read it. (glibc's loader passes the environment to constructors, and has not set __environ
 * yet; musl's has set it, and passes nothing.) */
__attribute__((constructor)) static void init(int argc, char **argv, char **envp)
{
	real_start();
	get_auxval = (unsigned long (*)(unsigned long))real_find("getauxval").address;
	get_glibc_version = (const char *(*)(void))real_find("gnu_get_libc_version").address;
	bool secure = !get_auxval || get_auxval(AT_SECURE);
	if (!secure)
		settings_read_texts(get_glibc_version ? envp : __environ);
	bool wanted_here =
		!secure && settings_is_no(settings.disable) &&
		wanted_program((const char *)get_auxval(AT_EXECFN), get_glibc_version && argc > 0 ? argv[0] : NULL);
	if (wanted_here && !is_unknown_libc()) {
		exports_fit();
		house.arguments = argc;
		start(envp);
		return;
	}
	exports_withdraw();
	sampling_start(0);
	if (wanted_here)
		tell_unknown_libc();
}
