// cancel_waits.cc - calls that block and never return: cancelled, left by an exception, by siglongjmp, by pthread_exit.
//
// cancel_waits [ROUNDS]
// Runs in: a test program; what it prints before `ready` must be the same with the shim and without. A thread blocks in
// each cancellation point of the table, is cancelled there, and must end with PTHREAD_CANCELED and its cleanups run;
// a call with cancellation pending must not be made. After `ready` three threads live that left a wait by a signal
// handler: `left-by-throw` and `left-by-jump` burn CPU, `left-then-sem` waits in sem_wait: a dump must say so.
//
// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdlib>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "clocks.h"

#define SITE __attribute__((noinline, noclone))

namespace {

int pipe_fd[2], pair_fd[2], full_fd[2], listener, epoll_fd, messages, full_messages;
pid_t child;
sem_t never, at_work;
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
pthread_t sleeper;
const timespec minute = {60, 0};

timespec in_a_minute(clockid_t clock)
{
	return timespec_of(now_ns(clock) + 60 * SECOND);
}

pollfd on_pipe()
{
	return {pipe_fd[0], POLLIN, 0};
}

void c_poll() { pollfd p = on_pipe(); poll(&p, 1, -1); }
void c_ppoll() { pollfd p = on_pipe(); ppoll(&p, 1, &minute, nullptr); }
void c_select() { fd_set s; FD_ZERO(&s); FD_SET(pipe_fd[0], &s); select(pipe_fd[0] + 1, &s, nullptr, nullptr, nullptr); }
void c_pselect() { fd_set s; FD_ZERO(&s); FD_SET(pipe_fd[0], &s); pselect(pipe_fd[0] + 1, &s, nullptr, nullptr, &minute, nullptr); }
void c_epoll_wait() { epoll_event e; epoll_wait(epoll_fd, &e, 1, -1); }
void c_epoll_pwait() { epoll_event e; epoll_pwait(epoll_fd, &e, 1, -1, nullptr); }
void c_accept() { accept(listener, nullptr, nullptr); }
void c_accept4() { accept4(listener, nullptr, nullptr, SOCK_CLOEXEC); }
void c_read() { char c; if (read(pipe_fd[0], &c, 1) > 0) abort(); }
void c_readv() { char c; iovec v = {&c, 1}; if (readv(pipe_fd[0], &v, 1) > 0) abort(); }
void c_recv() { char c; recv(pair_fd[0], &c, 1, 0); }
void c_recvfrom() { char c; recvfrom(pair_fd[0], &c, 1, 0, nullptr, nullptr); }
void c_recvmsg() { char c; iovec v = {&c, 1}; msghdr m = {}; m.msg_iov = &v; m.msg_iovlen = 1; recvmsg(pair_fd[0], &m, 0); }
void c_write() { if (write(full_fd[1], "x", 1) > 0) abort(); }
void c_writev() { char c = 0; iovec v = {&c, 1}; if (writev(full_fd[1], &v, 1) > 0) abort(); }
void c_nanosleep() { nanosleep(&minute, nullptr); }
void c_clock_nanosleep() { clock_nanosleep(CLOCK_MONOTONIC, 0, &minute, nullptr); }
void c_usleep() { usleep(60000000); }
void c_sleep() { sleep(60); }
void c_sigwait() { sigset_t s; int sig; sigemptyset(&s); sigaddset(&s, SIGUSR2); sigwait(&s, &sig); }
void c_sigwaitinfo() { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR2); sigwaitinfo(&s, nullptr); }
void c_sigtimedwait() { sigset_t s; sigemptyset(&s); sigaddset(&s, SIGUSR2); sigtimedwait(&s, nullptr, &minute); }
void c_pause() { pause(); }
void c_sigsuspend() { sigset_t s; sigemptyset(&s); sigsuspend(&s); }
void c_wait() { wait(nullptr); }
void c_waitpid() { waitpid(child, nullptr, 0); }
void c_waitid() { siginfo_t i; waitid(P_PID, (id_t)child, &i, WEXITED); }
void c_msgrcv() { long m[4]; msgrcv(messages, m, sizeof(long), 0, 0); }
void c_msgsnd() { struct { long type; char text[1000]; } m = {1, {}}; msgsnd(full_messages, &m, sizeof m.text, 0); }
void c_sem_wait() { sem_wait(&never); }
void c_sem_timedwait() { timespec t = in_a_minute(CLOCK_REALTIME); sem_timedwait(&never, &t); }
void c_sem_clockwait() { timespec t = in_a_minute(CLOCK_MONOTONIC); sem_clockwait(&never, CLOCK_MONOTONIC, &t); }
void c_join() { pthread_join(sleeper, nullptr); }
void c_timedjoin() { timespec t = in_a_minute(CLOCK_REALTIME); pthread_timedjoin_np(sleeper, nullptr, &t); }

/* The mutex is held again when the cleanups run, or the unlock would fail. */
void unlock(void *) { if (pthread_mutex_unlock(&mutex) != 0) abort(); }
template <class Wait> void with_mutex(Wait wait)
{
	pthread_mutex_lock(&mutex);
	pthread_cleanup_push(unlock, nullptr);
	for (;;)
		wait();
	pthread_cleanup_pop(1);
}
void c_cond_wait() { with_mutex([] { pthread_cond_wait(&cond, &mutex); }); }
void c_cond_timedwait() { with_mutex([] { timespec t = in_a_minute(CLOCK_REALTIME); pthread_cond_timedwait(&cond, &mutex, &t); }); }
void c_cond_clockwait() { with_mutex([] { timespec t = in_a_minute(CLOCK_MONOTONIC); pthread_cond_clockwait(&cond, &mutex, CLOCK_MONOTONIC, &t); }); }

struct row {
	const char *name;
	void (*call)();
};
const row rows[] = {
	{"poll", c_poll}, {"ppoll", c_ppoll}, {"select", c_select}, {"pselect", c_pselect}, {"epoll_wait", c_epoll_wait},
	{"epoll_pwait", c_epoll_pwait}, {"accept", c_accept}, {"accept4", c_accept4}, {"read", c_read}, {"readv", c_readv},
	{"recv", c_recv}, {"recvfrom", c_recvfrom}, {"recvmsg", c_recvmsg}, {"write", c_write}, {"writev", c_writev},
	{"nanosleep", c_nanosleep}, {"clock_nanosleep", c_clock_nanosleep}, {"usleep", c_usleep}, {"sleep", c_sleep},
	{"sigwait", c_sigwait}, {"sigwaitinfo", c_sigwaitinfo}, {"sigtimedwait", c_sigtimedwait}, {"pause", c_pause},
	{"sigsuspend", c_sigsuspend}, {"wait", c_wait}, {"waitpid", c_waitpid}, {"waitid", c_waitid}, {"msgrcv", c_msgrcv},
	{"msgsnd", c_msgsnd}, {"sem_wait", c_sem_wait}, {"sem_timedwait", c_sem_timedwait}, {"sem_clockwait", c_sem_clockwait},
	{"pthread_join", c_join}, {"pthread_timedjoin_np", c_timedjoin}, {"pthread_cond_wait", c_cond_wait},
	{"pthread_cond_timedwait", c_cond_timedwait}, {"pthread_cond_clockwait", c_cond_clockwait},
};

int cleanups, destructors, returned;
volatile int victim;

struct counted {
	~counted() { destructors++; }
};
void count_cleanup(void *) { cleanups++; }

SITE void in_call(const row *r)
{
	counted object;
	r->call();
	returned++;
}

void *be_cancelled(void *arg)
{
	const row *r = static_cast<const row *>(arg);
	pthread_cleanup_push(count_cleanup, nullptr);
	burn_here(100000);
	victim = own_tid();
	in_call(r);
	pthread_cleanup_pop(0);
	return nullptr;
}

/* Cancelled before the call: it must not begin. */
void *be_cancelled_before(void *arg)
{
	pthread_cancel(pthread_self());
	return be_cancelled(arg);
}

void cancel_all(int rounds)
{
	for (const row &r : rows) {
		int cancelled = 0;
		cleanups = destructors = returned = 0;
		for (int i = 0; i < 2 * rounds; i++) {
			pthread_t t;
			void *result = nullptr;
			victim = 0;
			pthread_create(&t, nullptr, i < rounds ? be_cancelled : be_cancelled_before, const_cast<row *>(&r));
			if (i < rounds) {
				while (!victim)
					sched_yield();
				until_asleep(victim);
				pthread_cancel(t);
			}
			pthread_join(t, &result);
			cancelled += result == PTHREAD_CANCELED;
		}
		printf("%s cancelled %d cleanups %d destructors %d returned %d\n", r.name, cancelled, cleanups, destructors, returned);
		fflush(stdout);
	}
}

// ---- left by a signal handler

struct left {};
thread_local sigjmp_buf back;
thread_local int by_jump;
volatile int thrown, jumped;

void on_signal(int)
{
	if (by_jump)
		siglongjmp(back, 1);
	throw left();
}

const row leave_rows[] = {{"poll", c_poll}, {"read", c_read}, {"select", c_select}, {"nanosleep", c_nanosleep},
                          {"epoll_wait", c_epoll_wait}, {"recv", c_recv}, {"sem_wait", c_sem_wait}};

void leave_by_throw(const row &r)
{
	try {
		victim = own_tid();
		in_call(&r);
	} catch (const left &) {
		thrown = thrown + 1;
	}
	sigset_t s; /* an exception does not put the mask back */
	sigemptyset(&s);
	sigaddset(&s, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &s, nullptr);
}

void leave_by_jump(const row &r)
{
	if (sigsetjmp(back, 1) == 0) {
		victim = own_tid();
		in_call(&r);
	}
	jumped = jumped + 1;
}

SITE void parked_running()
{
	for (;;)
		burn_here(MS);
}

SITE void parked_in_sem()
{
	for (;;)
		sem_wait(&never);
}

void *leave(void *arg)
{
	long how = reinterpret_cast<long>(arg);
	static const char *const names[] = {"left-by-throw", "left-by-jump", "left-then-sem"};
	pthread_setname_np(pthread_self(), names[how]);
	by_jump = how > 0;
	for (const row &r : leave_rows)
		by_jump ? leave_by_jump(r) : leave_by_throw(r);
	victim = 0;
	sem_post(&at_work);
	how == 2 ? parked_in_sem() : parked_running();
	return nullptr;
}

void leave_all()
{
	struct sigaction a = {};
	a.sa_handler = on_signal;
	sigaction(SIGUSR1, &a, nullptr);
	for (long how = 0; how < 3; how++) {
		pthread_t t;
		victim = 0;
		pthread_create(&t, nullptr, leave, reinterpret_cast<void *>(how));
		for (size_t i = 0; i < sizeof leave_rows / sizeof *leave_rows; i++) {
			while (!victim)
				sched_yield();
			int tid = victim;
			until_asleep(tid);
			victim = 0;
			pthread_kill(t, SIGUSR1);
		}
		while (sem_wait(&at_work) != 0)
			;
	}
	printf("thrown %d\njumped %d\n", thrown, jumped);
}

void *sleep_long(void *)
{
	for (;;)
		pause();
	return nullptr;
}

void set_up()
{
	epoll_event e = {};
	e.events = EPOLLIN;
	sockaddr any = {};
	any.sa_family = AF_UNIX;
	if (pipe(pipe_fd) != 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair_fd) != 0 || pipe2(full_fd, O_NONBLOCK) != 0)
		abort();
	while (write(full_fd[1], "x", 1) == 1)
		;
	fcntl(full_fd[1], F_SETFL, 0);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	if (bind(listener, &any, sizeof any.sa_family) != 0 || listen(listener, 4) != 0)
		abort();
	epoll_fd = epoll_create1(0);
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, pipe_fd[0], &e);
	messages = msgget(IPC_PRIVATE, 0600);
	full_messages = msgget(IPC_PRIVATE, 0600);
	struct {
		long type;
		char text[1000];
	} m = {1, {}};
	while (msgsnd(full_messages, &m, sizeof m.text, IPC_NOWAIT) == 0)
		;
	sem_init(&never, 0, 0);
	sem_init(&at_work, 0, 0);
	pthread_create(&sleeper, nullptr, sleep_long, nullptr);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
}

void clean_up()
{
	kill(child, SIGKILL);
	waitpid(child, nullptr, 0);
	msgctl(messages, IPC_RMID, nullptr);
	msgctl(full_messages, IPC_RMID, nullptr);
}

} // namespace

int main(int argc, char **argv)
{
	char c;
	set_up();
	puts("began 1");
	fflush(stdout);
	cancel_all(argc > 1 ? atoi(argv[1]) : 3);
	leave_all();
	clean_up();
	puts("ready 1");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	_exit(0);
}
