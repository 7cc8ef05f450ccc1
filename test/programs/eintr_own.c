/* eintr_own.c - the program's own signals interrupt its calls exactly as often as they are sent.
 *
 * eintr_own [ROUNDS [NAME [bare]]]      of each call; NAME: only the calls whose name begins so; bare: handlers are set
 * by syscall(SYS_rt_sigaction) Runs in: a test program; it must print the same with the shim and without. A victim
 * thread waits in each call of the table in turn; the main thread, whenever the kernel says that the victim sleeps,
 * sends it one signal: handlers without SA_RESTART must end the call with EINTR, each signal once; with SA_RESTART, and
 * in calls that are never interrupted, the handler runs and the call goes on. Truth: `ready`; `NAME interrupted N`, or
 * `NAME restarted N`; `end 1`.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "clocks.h"
#include "truth.h"

static int pipe_fd[2], pair_fd[2], full_fd[2], listener, epoll, lock_fd[2], messages = -1, semaphores = -1;
static pid_t child;
static sem_t sem;
static uint32_t word;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static const struct timespec minute = {60, 0};

static atomic_int in_call, rounds_left, victim_tid, handled, wrong_sender;
static atomic_long returned;
static pthread_t victim;
static int by_syscall;

static void die(const char *name, const char *what, long value, long expected)
{
	printf("%s %s %ld %ld\n", name, what, value, expected);
	fprintf(stderr, "eintr_own: %s: %s: %ld for %ld, errno %d\n", name, what, value, expected, errno);
	fflush(stdout);
	if (messages >= 0)
		msgctl(messages, IPC_RMID, NULL);
	if (semaphores >= 0)
		semctl(semaphores, 0, IPC_RMID);
	if (child > 0)
		kill(child, SIGKILL);
	_exit(1);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)sig, (void)context;
	int e = errno;
	/* At the limit of pending signals, which other processes of the user may have reached, the kernel tells nothing
	 * of a sender. */
	int is_told = info->si_code != SI_USER || info->si_pid != 0;
	if (is_told && (info->si_code != SI_QUEUE || info->si_pid != getpid() || info->si_value.sival_int != 4711))
		atomic_fetch_add(&wrong_sender, 1);
	burn_here(500000);
	atomic_fetch_add(&handled, 1);
	errno = e;
}

/* ---- the calls; each returns what it returned ---- */

static int expect_left(int r, const struct timespec *left)
{
	if (r != 0 && (left->tv_sec < 0 || left->tv_sec > 60 || (left->tv_sec == 0 && left->tv_nsec == 0)))
		die("a sleep", "tells of time left", left->tv_sec, 59);
	return r;
}

static int c_nanosleep(void)
{
	struct timespec left = {-1, -1};
	return expect_left(nanosleep(&minute, &left), &left);
}
static int c_clock_nanosleep(void)
{
	struct timespec left = {-1, -1};
	errno = expect_left(clock_nanosleep(CLOCK_MONOTONIC, 0, &minute, &left), &left);
	return errno ? -1 : 0;
}
static int c_clock_nanosleep_abs(void)
{
	struct timespec at = timespec_of(now_ns(CLOCK_MONOTONIC) + 60 * SECOND);
	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
	return errno ? -1 : 0;
}
static int c_usleep(void)
{
	return usleep(60000000);
}
/* Tells the seconds that are left. */
static int c_sleep(void)
{
	unsigned left = sleep(60);
	errno = left >= 1 && left <= 60 ? EINTR : ERANGE;
	return left ? -1 : 0;
}
static int c_poll(void)
{
	struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};
	return poll(&p, 1, -1);
}
static int c_poll_timed(void)
{
	struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};
	return poll(&p, 1, 60000);
}
static int c_select(void)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(pipe_fd[0], &set);
	return select(pipe_fd[0] + 1, &set, NULL, NULL, NULL);
}
static int c_epoll_wait(void)
{
	struct epoll_event e;
	return epoll_wait(epoll, &e, 1, -1);
}
static int c_read(void)
{
	char c;
	return (int)read(pipe_fd[0], &c, 1);
}
static int c_recv(void)
{
	char c;
	return (int)recv(pair_fd[0], &c, 1, 0);
}
static int c_recv_all(void)
{
	char c[100];
	return (int)recv(pair_fd[0], c, sizeof c, MSG_WAITALL);
}
static int c_write(void)
{
	return (int)write(full_fd[1], "x", 1);
}
static int c_accept(void)
{
	return accept(listener, NULL, NULL);
}
static int c_sem_wait(void)
{
	return sem_wait(&sem);
}
static int c_sem_timedwait(void)
{
	struct timespec at = timespec_of(now_ns(CLOCK_REALTIME) + 60 * SECOND);
	return sem_timedwait(&sem, &at);
}
static int c_pause(void)
{
	return pause();
}
static int c_sigwaitinfo(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigwaitinfo(&set, NULL);
}
static int c_sigtimedwait(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	return sigtimedwait(&set, NULL, &minute);
}
static int c_waitpid(void)
{
	return waitpid(child, NULL, 0);
}
static int c_waitid(void)
{
	siginfo_t info;
	return waitid(P_PID, (id_t)child, &info, WEXITED);
}
static int c_msgrcv(void)
{
	long m[4];
	return (int)msgrcv(messages, m, sizeof(long), 0, 0);
}
static int c_semop(void)
{
	struct sembuf down = {0, -1, 0};
	return semop(semaphores, &down, 1);
}
static int c_flock(void)
{
	return flock(lock_fd[1], LOCK_EX);
}
static int c_futex(void)
{
	return (int)syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}
static int c_futex_timed(void)
{
	return (int)syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &minute, NULL, 0);
}

/* The signal is blocked but for the call itself. */
static int with_signal_blocked(int (*call)(const sigset_t *mask))
{
	sigset_t set, old;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, &old);
	sigdelset(&old, SIGUSR1);
	int r = call(&old), e = errno;
	sigset_t now;
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	if (!sigismember(&now, SIGUSR1))
		die("a mask", "was not put back", 0, 1);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = e;
	return r;
}
static int masked_ppoll(const sigset_t *mask)
{
	struct pollfd p = {.fd = pipe_fd[0], .events = POLLIN};
	return ppoll(&p, 1, NULL, mask);
}
static int masked_pselect(const sigset_t *mask)
{
	fd_set set;
	FD_ZERO(&set);
	FD_SET(pipe_fd[0], &set);
	return pselect(pipe_fd[0] + 1, &set, NULL, NULL, &minute, mask);
}
static int masked_epoll_pwait(const sigset_t *mask)
{
	struct epoll_event e;
	return epoll_pwait(epoll, &e, 1, -1, mask);
}
static int c_ppoll(void)
{
	return with_signal_blocked(masked_ppoll);
}
static int c_pselect(void)
{
	return with_signal_blocked(masked_pselect);
}
static int c_epoll_pwait(void)
{
	return with_signal_blocked(masked_epoll_pwait);
}
static int c_sigsuspend(void)
{
	return with_signal_blocked(sigsuspend);
}

/* ---- the table ---- */

static const struct row {
	const char *name;
	int (*call)(void);
} rows[] = {
	{"nanosleep", c_nanosleep},
	{"clock_nanosleep", c_clock_nanosleep},
	{"clock_nanosleep_abstime", c_clock_nanosleep_abs},
	{"usleep", c_usleep},
	{"sleep", c_sleep},
	{"poll", c_poll},
	{"poll_timed", c_poll_timed},
	{"ppoll", c_ppoll},
	{"select", c_select},
	{"pselect", c_pselect},
	{"epoll_wait", c_epoll_wait},
	{"epoll_pwait", c_epoll_pwait},
	{"read", c_read},
	{"recv", c_recv},
	{"recv_msg_waitall", c_recv_all},
	{"write", c_write},
	{"accept", c_accept},
	{"sem_wait", c_sem_wait},
	{"sem_timedwait", c_sem_timedwait},
	{"pause", c_pause},
	{"sigsuspend", c_sigsuspend},
	{"sigwaitinfo", c_sigwaitinfo},
	{"sigtimedwait", c_sigtimedwait},
	{"waitpid", c_waitpid},
	{"waitid", c_waitid},
	{"msgrcv", c_msgrcv},
	{"semop", c_semop},
	{"flock", c_flock},
	{"futex", c_futex},
	{"futex_timed", c_futex_timed},
};
enum { ROWS = sizeof rows / sizeof *rows };
static const struct row *current;
static long burst_ns = 300000;

static void *be_interrupted(void *arg)
{
	atomic_store(&victim_tid, own_tid());
	while (atomic_load(&rounds_left) > 0) {
		burn_here(burst_ns);
		int before = atomic_load(&handled);
		atomic_store(&in_call, 1);
		int r = current->call(), e = errno;
		atomic_store(&in_call, 0);
		if (r != -1 || e != EINTR)
			die(current->name, "returned, not interrupted", r, e);
		if (atomic_load(&handled) != before + 1)
			die(current->name, "signals handled in one call", atomic_load(&handled) - before, 1);
		atomic_fetch_sub(&rounds_left, 1);
		atomic_fetch_add(&returned, 1);
	}
	return arg;
}

static void send_signal(void)
{
	union sigval v = {.sival_int = 4711};
	while (pthread_sigqueue(victim, SIGUSR1, v) != 0)
		;
}

static void wait_for(const char *what, const atomic_int *value, int is)
{
	for (int64_t from = now_ns(CLOCK_MONOTONIC); atomic_load(value) != is; syscall(SYS_sched_yield))
		if (now_ns(CLOCK_MONOTONIC) - from > 120 * SECOND)
			die(current->name, what, atomic_load(value), is);
}

static void wait_until_blocked(void)
{
	wait_for("came to call", &in_call, 1);
	until_asleep(atomic_load(&victim_tid));
}

static void interrupt_rounds(const struct row *row, int rounds)
{
	current = row;
	atomic_store(&victim_tid, 0);
	atomic_store(&rounds_left, rounds);
	atomic_store(&returned, 0);
	pthread_create(&victim, NULL, be_interrupted, NULL);
	for (int i = 0; i < rounds; i++) {
		wait_until_blocked();
		send_signal();
		wait_for("the signal was lost to it", &rounds_left, rounds - i - 1);
	}
	pthread_join(victim, NULL);
	printf("%s interrupted %ld\n", row->name, (long)returned);
	fflush(stdout);
}

/* ---- calls that go on after the handler ---- */

static atomic_int let;

static int g_read(void)
{
	return c_read() - 1;
}
static int g_recv_all(void)
{
	char c[3];
	return recv(pair_fd[0], c, 3, MSG_WAITALL) == 3 ? 0 : -1;
}
static int g_mutex(void)
{
	return pthread_mutex_lock(&mutex) || pthread_mutex_unlock(&mutex);
}
static int g_cond(void)
{
	int r = pthread_mutex_lock(&mutex);
	while (r == 0 && !atomic_load(&let))
		r = pthread_cond_wait(&cond, &mutex);
	return pthread_mutex_unlock(&mutex) || r;
}
static int g_flock(void)
{
	return flock(lock_fd[1], LOCK_EX) || flock(lock_fd[1], LOCK_UN);
}
static int g_sem(void)
{
	return sem_wait(&sem);
}
static void r_byte(void)
{
	pthread_kill(victim, 0);
	if (write(pipe_fd[1], "x", 1) != 1)
		die("write", "one byte", 0, 1);
}
static void r_bytes(void)
{
	if (write(pair_fd[1], "xyz", 3) != 3)
		die("write", "three bytes", 0, 3);
}
static void r_mutex(void)
{
	pthread_mutex_unlock(&mutex);
}
static void r_cond(void)
{
	atomic_store(&let, 1);
	pthread_mutex_lock(&mutex);
	pthread_cond_signal(&cond);
	pthread_mutex_unlock(&mutex);
}
static void r_flock(void)
{
	flock(lock_fd[0], LOCK_UN);
}
static void r_sem(void)
{
	sem_post(&sem);
}
static void h_mutex(void)
{
	pthread_mutex_lock(&mutex);
}
static void h_flock(void)
{
	flock(lock_fd[0], LOCK_EX);
}
static void h_none(void)
{
	atomic_store(&let, 0);
}

static const struct on_row {
	struct row row;
	void (*hold)(void);
	void (*let_go)(void);
} going_on[] = {
	{{"read_restart", g_read}, h_none, r_byte},
	{{"recv_msg_waitall_restart", g_recv_all}, h_none, r_bytes},
	{{"pthread_mutex_lock", g_mutex}, h_mutex, r_mutex},
	{{"pthread_cond_wait", g_cond}, h_none, r_cond},
	{{"flock_restart", g_flock}, h_flock, r_flock},
	{{"sem_wait_restart", g_sem}, h_none, r_sem},
};
enum { GOING_ON = sizeof going_on / sizeof *going_on };

static void *go_on(void *arg)
{
	const struct on_row *o = arg;
	atomic_store(&victim_tid, own_tid());
	burn_here(burst_ns);
	atomic_store(&in_call, 1);
	int r = o->row.call();
	if (r != 0)
		die(o->row.name, "ended with", r, 0);
	atomic_store(&in_call, 0);
	return arg;
}

static void go_on_rounds(const struct on_row *o, int rounds)
{
	int before = atomic_load(&handled);
	current = &o->row;
	for (int i = 0; i < rounds; i++) {
		o->hold();
		atomic_store(&in_call, 0);
		atomic_store(&victim_tid, 0);
		pthread_create(&victim, NULL, go_on, (void *)o);
		for (int j = 0; j < 2; j++) {
			wait_until_blocked();
			send_signal();
			wait_for("the handler did not run", &handled, before + 2 * i + j + 1);
		}
		wait_until_blocked();
		o->let_go();
		pthread_join(victim, NULL);
	}
	printf("%s restarted %d\n", o->row.name, atomic_load(&handled) - before);
	fflush(stdout);
}

/* ---- */

/* The same handler, by the bare call: libc's restorer is kept. */
static void set_again(void)
{
	struct {
		void (*handler)(int, siginfo_t *, void *);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} a;
	if (syscall(SYS_rt_sigaction, SIGUSR1, NULL, &a, sizeof a.mask) != 0 || a.handler != on_signal)
		die("rt_sigaction", "handler", 0, 1);
	a.handler = on_signal;
	if (syscall(SYS_rt_sigaction, SIGUSR1, &a, NULL, sizeof a.mask) != 0)
		die("rt_sigaction", "set", -1, 0);
}

static void install(int flags, int full_mask)
{
	struct sigaction a = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | flags};
	if (full_mask)
		memset(&a.sa_mask, 0xff, sizeof a.sa_mask);
	else
		sigemptyset(&a.sa_mask);
	sigaction(SIGUSR1, &a, NULL);
	if (by_syscall)
		set_again();
}

static void set_up(void)
{
	char path[] = "/tmp/eintr_own.XXXXXX", c = 0;
	struct epoll_event e = {.events = EPOLLIN};
	struct sockaddr_storage any = {.ss_family = AF_UNIX};
	if (pipe(pipe_fd) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair_fd) != 0 || pipe2(full_fd, O_NONBLOCK) != 0)
		die("pipe", "set-up", -1, 0);
	while (write(full_fd[1], &c, 1) == 1)
		;
	fcntl(full_fd[1], F_SETFL, 0);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&any, sizeof(sa_family_t)) != 0 || listen(listener, 4) != 0)
		die("listen", "set-up", -1, 0);
	epoll = epoll_create1(0);
	epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_fd[0], &e);
	lock_fd[0] = mkstemp(path);
	lock_fd[1] = open(path, O_RDWR);
	unlink(path);
	flock(lock_fd[0], LOCK_EX);
	sem_init(&sem, 0, 0);
	messages = msgget(IPC_PRIVATE, 0600);
	semaphores = semget(IPC_PRIVATE, 1, 0600);
	semctl(semaphores, 0, SETVAL, 0);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 10;
	const char *only = argc > 2 ? argv[2] : "";
	by_syscall = argc > 3;
	set_up();
	puts("ready 1");
	fflush(stdout);
	for (int full = 0; full < 2; full++) {
		install(0, full);
		for (int i = 0; i < ROWS; i++)
			if (strncmp(rows[i].name, only, strlen(only)) == 0)
				interrupt_rounds(&rows[i], rounds);
	}
	flock(lock_fd[0], LOCK_UN);
	install(SA_RESTART, 0);
	for (int i = 0; i < GOING_ON; i++)
		if (strncmp(going_on[i].row.name, only, strlen(only)) == 0)
			go_on_rounds(&going_on[i], rounds);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	msgctl(messages, IPC_RMID, NULL);
	semctl(semaphores, 0, IPC_RMID);
	printf("wrong_sender %d\nend 1\n", (int)wrong_sender);
	return 0;
}
