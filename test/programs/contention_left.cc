// contention_left.cc - waits for locks that never return, and what they leave behind: nothing.
//
// Runs in: a test program. Threads wait, some for a lock that main holds, and are cancelled there or leave by siglongjmp or by
// an exception out of a handler. When all are gone, main keeps the lock for 300 ms more and lets it go at
// unlock_of_nobodys: nobody waits, so nobody is charged. `gone N`, `ready`; then it waits in pthread_cond_wait, at
// wait_of_main, for the end of stdin.
//
// SPDX-License-Identifier: Apache-2.0
#include <csetjmp>
#include <csignal>
#include <semaphore.h>

#include "contention.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER, cond_mutex = PTHREAD_MUTEX_INITIALIZER, main_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER, main_cond = PTHREAD_COND_INITIALIZER;
static sem_t sem;
static int gone, ended;

static thread_local sigjmp_buf back;
static thread_local int leave_by_jump;

extern "C" SITE void leave(int)
{
	if (leave_by_jump)
		siglongjmp(back, 1);
	throw 7;
}

/* Waits that may be left: sem_wait, and a mutex by a jump alone (libc does not unwind through it; a rwlock counts who waits). */
extern "C" SITE void left_in_mutex() { pthread_mutex_lock(&mutex); abort(); }
extern "C" SITE void left_in_sem() { while (sem_wait(&sem) != 0) { } abort(); }
static void unlock_cond_mutex(void *) { pthread_mutex_unlock(&cond_mutex); }
extern "C" SITE void left_in_cond()
{
	pthread_mutex_lock(&cond_mutex);
	pthread_cleanup_push(unlock_cond_mutex, nullptr);
	for (;;)
		pthread_cond_wait(&cond, &cond_mutex);
	pthread_cleanup_pop(0);
}

struct leaver {
	void (*wait)();
	enum { JUMP, THROW, CANCEL } how;
	int tid;
	pthread_t thread;
};

static void *wait_and_leave(void *arg)
{
	leaver *l = static_cast<leaver *>(arg);
	leave_by_jump = l->how == leaver::JUMP;
	if (l->how == leaver::CANCEL)
		__atomic_fetch_add(&gone, 1, __ATOMIC_SEQ_CST); /* it must be so in the end */
	__atomic_store_n(&l->tid, own_tid(), __ATOMIC_SEQ_CST);
	if (l->how == leaver::JUMP) {
		if (sigsetjmp(back, 1) == 0)
			l->wait();
	} else if (l->how == leaver::THROW) {
		try {
			l->wait();
		} catch (int) {
		}
	} else {
		l->wait();
	}
	__atomic_fetch_add(&gone, 1, __ATOMIC_SEQ_CST);
	return nullptr;
}

extern "C" SITE void unlock_of_nobodys()
{
	must(pthread_mutex_unlock(&mutex));
	KEEP(&mutex);
}

static void *read_stdin(void *)
{
	char c;
	while (read(0, &c, 1) > 0)
		;
	must(pthread_mutex_lock(&main_mutex));
	ended = 1;
	must(pthread_cond_signal(&main_cond));
	must(pthread_mutex_unlock(&main_mutex));
	return nullptr;
}

extern "C" SITE void wait_of_main()
{
	must(pthread_mutex_lock(&main_mutex));
	while (!ended)
		must(pthread_cond_wait(&main_cond, &main_mutex));
	must(pthread_mutex_unlock(&main_mutex));
}

int main()
{
	leaver leavers[] = {
		{left_in_mutex, leaver::JUMP, 0, {}}, {left_in_sem, leaver::JUMP, 0, {}},
		{left_in_sem, leaver::THROW, 0, {}}, {left_in_sem, leaver::CANCEL, 0, {}}, {left_in_cond, leaver::CANCEL, 0, {}},
	};
	struct sigaction act = {};
	act.sa_handler = leave;
	sigaction(SIGUSR1, &act, nullptr);
	sem_init(&sem, 0, 0);
	must(pthread_mutex_lock(&mutex));
	for (leaver &l : leavers) {
		must(pthread_create(&l.thread, nullptr, wait_and_leave, &l));
		while (!__atomic_load_n(&l.tid, __ATOMIC_SEQ_CST))
			nap(100000);
		until_asleep(l.tid);
		nap(10 * MS);
		l.how == leaver::CANCEL ? must(pthread_cancel(l.thread)) : must(pthread_kill(l.thread, SIGUSR1));
		must(pthread_join(l.thread, nullptr));
	}
	nap(300 * MS);
	unlock_of_nobodys();
	/* It is what it was. */
	must(pthread_mutex_trylock(&mutex));
	printf("gone %d\nready 1\n", gone);
	fflush(stdout);
	pthread_t t;
	must(pthread_create(&t, nullptr, read_stdin, nullptr));
	wait_of_main();
	return 0;
}
