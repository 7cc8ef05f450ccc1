// contention_rust.rs - waits of known length in the locks of Rust's standard library, at known sites.
//
// contention_rust [ROUNDS [HOLD_US]]      (20 rounds, 10000 us)
// Runs in: a test program, compiled by the test where rustc is found. Truth as in contention.h: `block:SITE:syscall COUNT
// NS 0 0` by the program's own clock; std waits by futex, through libc's syscall(). Then `ready 1`; ends with stdin.
//
// SPDX-License-Identifier: Apache-2.0
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

static COUNT: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
static NS: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
static CALLING: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

static MUTEX: Mutex<u64> = Mutex::new(0);
static RWLOCK: RwLock<u64> = RwLock::new(0);
static COND_MUTEX: Mutex<u64> = Mutex::new(0);
static COND: Condvar = Condvar::new();

fn waited(i: usize, since: Instant) {
    COUNT[i].fetch_add(1, SeqCst);
    NS[i].fetch_add(since.elapsed().as_nanos() as u64, SeqCst);
}

#[no_mangle]
#[inline(never)]
pub extern "C" fn wait_in_rust_mutex() {
    let t = Instant::now();
    let mut g = MUTEX.lock().unwrap();
    waited(0, t);
    *g += 1;
}

#[no_mangle]
#[inline(never)]
pub extern "C" fn wait_in_rust_rwlock() {
    let t = Instant::now();
    let mut g = RWLOCK.write().unwrap();
    waited(1, t);
    *g += 1;
}

#[no_mangle]
#[inline(never)]
pub extern "C" fn wait_in_rust_condvar(round: u64) {
    let mut g = COND_MUTEX.lock().unwrap();
    while *g != round {
        let t = Instant::now();
        g = COND.wait(g).unwrap();
        waited(2, t);
    }
}

#[no_mangle]
#[inline(never)]
pub extern "C" fn wait_in_rust_park() {
    let t = Instant::now();
    thread::park();
    waited(3, t);
}

fn main() {
    let args: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let rounds = args.first().copied().unwrap_or(20);
    let hold = Duration::from_micros(args.get(1).copied().unwrap_or(10000));
    let settle = Duration::from_millis(3);
    for round in 1..=rounds {
        let (m, r) = (MUTEX.lock().unwrap(), RWLOCK.write().unwrap());
        let waiters: Vec<_> = (0..4).map(|i| thread::spawn(move || {
            CALLING[i].store(round, SeqCst);
            match i {
                0 => wait_in_rust_mutex(),
                1 => wait_in_rust_rwlock(),
                2 => wait_in_rust_condvar(round),
                _ => wait_in_rust_park(),
            }
        })).collect();
        while CALLING.iter().any(|c| c.load(SeqCst) != round) {
            thread::yield_now();
        }
        thread::sleep(hold + settle);
        drop(m);
        drop(r);
        *COND_MUTEX.lock().unwrap() = round;
        COND.notify_all();
        waiters[3].thread().unpark();
        for w in waiters {
            w.join().unwrap();
        }
    }
    for (i, name) in ["mutex", "rwlock", "condvar", "park"].iter().enumerate() {
        println!("block:wait_in_rust_{}:syscall {} {} 0 0", name, COUNT[i].load(SeqCst), NS[i].load(SeqCst));
    }
    println!("ready 1");
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
