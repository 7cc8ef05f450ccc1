/* confine.c - prctl(PR_SET_SECCOMP) and seccomp(2) are seen coming.
 *
 * Runs in: app's thread, in a signal handler too; a child of vfork, which shares our memory: what it does to itself
 * is none of the
 * program's business.
 * So: no lock but the listener's own, errno as the real function left it.
 *
 * One thread's filter is taken for the whole process: which thread a hook runs on costs a look that idle hooks do not
 * have.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "shim/base/confined.h"

#include <assert.h>
#include <errno.h>
#include <linux/prctl.h>

#include "shim/base/os.h"
#include "shim/listener/listener.h"
#include "shim/libc/real.h"

bool confined_begin(void)
{
	if (confined() || !listener_is_our_process())
		return false;
	listener_stop_for_good();
	__atomic_store_n(&os_confined, true, __ATOMIC_SEQ_CST);
	return true;
}

void confined_undo(void)
{
	__atomic_store_n(&os_confined, false, __ATOMIC_SEQ_CST);
	listener_resume();
}

/* A filter is there from 0 on: seccomp(2) may answer with the number of a thread that kept it from being everybody's,
 * or of a
 * descriptor. */
static long end(bool first, long r, bool holds)
{
	if (first && !holds) {
		int saved = errno;
		confined_undo();
		errno = saved;
	}
	return r;
}

typedef int (*prctl_function)(int, unsigned long, unsigned long, unsigned long, unsigned long);

/* As the table's real functions are found (real.c), which variadic ones are not. */
static int find_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
static __attribute__((used)) prctl_function real_prctl = find_prctl;

static int find_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
	__atomic_store_n((void **)&real_prctl, real_find("prctl").address, __ATOMIC_RELEASE);
	return real_prctl(option, a, b, c, d);
}

static __attribute__((used)) SLOW int prctl_seccomp(int option, unsigned long a, unsigned long b, unsigned long c,
                                                    unsigned long d)
{
	bool first = confined_begin();
	int r = real_prctl(option, a, b, c, d);
	return (int)end(first, r, r == 0);
}

/* PR_SET_PTRACER. */
static __attribute__((used)) SLOW int prctl_ptracer(int option, unsigned long a, unsigned long b, unsigned long c,
                                                    unsigned long d)
{
	listener_leaves_ptracer_to_program();
	return real_prctl(option, a, b, c, d);
}

/* Its arguments are all in registers, however many a caller gives; what is not looked at is jumped on with all of
 * them as they
 * were. */
#if defined(__x86_64__)
static_assert(PR_SET_SECCOMP == 22 && PR_SET_PTRACER == 0x59616d61, "as the entry has it");
__asm__(".text\n"
        ".p2align 4\n"
        ".globl prctl\n"
        ".type prctl, @function\n"
        "prctl:\n"
        "\t.cfi_startproc\n"
        "\tcmp $22, %edi\n"
        "\tje prctl_seccomp\n"
        "\tcmp $0x59616d61, %edi\n"
        "\tje prctl_ptracer\n"
        "\tjmp *real_prctl(%rip)\n"
        "\t.cfi_endproc\n"
        ".size prctl, . - prctl\n");
#else
EXPORT int prctl_of_five(int option, unsigned long a, unsigned long b, unsigned long c,
                         unsigned long d) __asm__("prctl");
int prctl_of_five(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
	return option == PR_SET_SECCOMP ? prctl_seccomp(option, a, b, c, d)
	       : option == 0x59616d61   ? prctl_ptracer(option, a, b, c, d)
	                                : real_prctl(option, a, b, c, d);
}
#endif

/* Is it one that shuts the caller in? (linux/seccomp.h: SECCOMP_SET_MODE_STRICT, SECCOMP_SET_MODE_FILTER) */
static bool shuts_in(long nr, long operation)
{
	return nr == SYS_prctl ? operation == PR_SET_SECCOMP : operation == 0 || operation == 1;
}

/* With SECCOMP_FILTER_FLAG_TSYNC, a thread id says that nothing was done. */
static bool holds(long nr, const long a[5], long r)
{
	enum { TSYNC = 1, NEW_LISTENER = 8 };
	return r == 0 || (nr == SYS_seccomp && r > 0 && (!(a[1] & TSYNC) || (a[1] & NEW_LISTENER)));
}

long confined_by_number(long nr, const long a[5])
{
	if (nr == SYS_prctl && a[0] == PR_SET_PTRACER)
		listener_leaves_ptracer_to_program();
	bool first = shuts_in(nr, a[0]) && confined_begin();
	long r = real_syscall(nr, a[0], a[1], a[2], a[3], a[4], 0);
	return end(first, r, holds(nr, a, r));
}
