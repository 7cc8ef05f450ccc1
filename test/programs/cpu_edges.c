/* cpu_edges.c - threads that burn CPU where an unwinder has it hard: a leaf, a function with alloca, a signal handler,
 * the vDSO, stubs of the procedure linkage table, and code without unwind tables.
 *
 * cpu_edges LIBPLT [SECONDS]      (libplt.so; 0 or none: until stdin ends)
 * Runs in: a test program. Each thread is named after its case (leaf, vla, handler, vdso, plt, no_unwind, generated)
 * and stays in edge_<case>, called by edge_<case>_caller. Truth: `ready`; at the end `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <alloca.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "clocks.h"
#include "truth.h"

static atomic_bool stop;
static atomic_int in_handler;
static long (*plt_loop)(long);
static void (*generated)(long);

static int go_on(void)
{
	return !atomic_load_explicit(&stop, memory_order_relaxed);
}

/* Calls nothing, and needs no frame. */
SITE static void edge_leaf(long n)
{
	spin(n);
}

SITE static void edge_leaf_caller(void)
{
	while (go_on())
		edge_leaf(2000000);
}

SITE static void edge_vla(size_t n)
{
	char array[n];
	char *more = alloca(n / 2 + 1);
	memset(array, 1, n);
	memset(more, 2, n / 2 + 1);
	KEEP(array);
	KEEP(more);
	spin(2000000);
	KEEP(array);
}

SITE static void edge_vla_caller(void)
{
	for (size_t n = 1; go_on(); n++)
		edge_vla(100 + n % 5000);
}

/* The handler burns; what it interrupted is below it on the stack. It begins with a turn on the processor, right after
 * a tick, and a turn shorter than a tick would never be sampled: its length is anything up to a few ticks. */
SITE static void edge_handler(int sig)
{
	static uint64_t random = 2463534242u;
	(void)sig;
	spin(steps_of((int64_t)(1 + next_random(&random) % 12) * MS));
	atomic_store(&in_handler, 0);
}

SITE static void edge_handler_caller(void)
{
	while (go_on())
		spin(1000);
	KEEP(&stop);
}

SITE static void edge_vdso(void)
{
	struct timespec t;
	for (int i = 0; i < 100000; i++)
		clock_gettime(CLOCK_MONOTONIC, &t);
	KEEP(&t);
}

SITE static void edge_vdso_caller(void)
{
	while (go_on())
		edge_vdso();
}

SITE static void edge_plt_caller(void)
{
	while (go_on())
		KEEP(plt_loop(1000000));
}

/* By hand, without a line of .cfi; on x86_64 it uses the frame pointer for something else. */
void edge_no_unwind(long n);
#if defined(__x86_64__)
__asm__(".text\n.globl edge_no_unwind\n.type edge_no_unwind,@function\nedge_no_unwind:\n"
        "push %rbp\nsub $24, %rsp\nmov $0x10, %rbp\n1: dec %rdi\njnz 1b\nadd $24, %rsp\npop %rbp\nret\n"
        ".size edge_no_unwind, .-edge_no_unwind\n");
static const unsigned char code[] = {0x55, 0x48, 0xc7, 0xc5, 0x10, 0, 0, 0, /* push rbp; mov rbp, 0x10 */
                                     0x48, 0xff, 0xcf, 0x75, 0xfb,          /* dec rdi; jnz -5 */
                                     0x5d, 0xc3};                           /* pop rbp; ret */
#elif defined(__aarch64__)
__asm__(".text\n.globl edge_no_unwind\n.type edge_no_unwind,%function\nedge_no_unwind:\n"
        "1: subs x0, x0, #1\nb.ne 1b\nret\n"
        ".size edge_no_unwind, .-edge_no_unwind\n");
static const unsigned code[] = {0xf1000400, 0x54ffffe1, 0xd65f03c0};
#else
void edge_no_unwind(long n)
{
	spin(n);
}
static const unsigned char code[1];
#endif

SITE static void edge_no_unwind_caller(void)
{
	while (go_on())
		edge_no_unwind(2000000);
	KEEP(&stop);
}

SITE static void edge_generated_caller(void)
{
	while (go_on())
		generated(2000000);
	KEEP(&stop);
}

static void generate(void)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(page, code, sizeof code);
	mprotect(page, 4096, PROT_READ | PROT_EXEC);
	__builtin___clear_cache(page, (char *)page + 4096);
	generated = sizeof code > 1 ? (void (*)(long))page : edge_no_unwind;
}

static struct edge {
	const char *name;
	void (*run)(void);
	pthread_t thread;
} edges[] = {{.name = "leaf", .run = edge_leaf_caller},
             {.name = "vla", .run = edge_vla_caller},
             {.name = "handler", .run = edge_handler_caller},
             {.name = "vdso", .run = edge_vdso_caller},
             {.name = "plt", .run = edge_plt_caller},
             {.name = "no_unwind", .run = edge_no_unwind_caller},
             {.name = "generated", .run = edge_generated_caller}};
enum { EDGES = sizeof edges / sizeof *edges };

static void *run(void *arg)
{
	struct edge *e = arg;
	pthread_setname_np(pthread_self(), e->name);
	e->run();
	return NULL;
}

static void *send_signals(void *arg)
{
	struct edge *handler = arg;
	uint64_t random = 88172645463325252u;
	while (go_on()) {
		if (!atomic_exchange(&in_handler, 1))
			pthread_kill(handler->thread, SIGUSR1);
		/* Never in step with the kernel's tick, or that may miss a thread for seconds on end. */
		struct timespec t = {0, (long)(next_random(&random) % (7 * MS))};
		syscall(SYS_nanosleep, &t, NULL);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t sender;
	struct sigaction a = {.sa_handler = edge_handler, .sa_flags = SA_RESTART};
	void *lib = argc > 1 ? dlopen(argv[1], RTLD_LAZY) : NULL;
	plt_loop = lib ? (long (*)(long))dlsym(lib, "plt_loop") : NULL;
	if (!plt_loop)
		return 2;
	generate();
	steps_of(0);
	sigaction(SIGUSR1, &a, NULL);
	for (int i = 0; i < EDGES; i++)
		pthread_create(&edges[i].thread, NULL, run, &edges[i]);
	pthread_create(&sender, NULL, send_signals, &edges[2]);
	if (argc > 2 && atoi(argv[2]) > 0) {
		puts("ready 1");
		fflush(stdout);
		sleep((unsigned)atoi(argv[2]));
	} else {
		ready_and_wait();
	}
	atomic_store(&stop, 1);
	pthread_join(sender, NULL);
	for (int i = 0; i < EDGES; i++)
		pthread_join(edges[i].thread, NULL);
	puts("end 1");
	return 0;
}
