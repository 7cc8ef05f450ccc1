#!/usr/bin/python3
# whole.py - the share of CPU samples whose stack reaches its thread's beginning: whole.py [-k WORD] [--seconds N]
#
# Runs in: a process of its own. Takes a CPU profile of programs of the machine, one a row, and prints
# `whole NAME SAMPLES PERCENT target 99.5 ok|under`, and below a row that is under the stacks that are cut most often.
# What is not installed is skipped, with a line. Exit status: 0 even if a row is under (this is a bench, not a test).
#
# SPDX-License-Identifier: Apache-2.0
import argparse
import collections
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "test", "e2e"))
sys.dont_write_bytecode = True

import shim  # noqa: E402

BUILD = os.environ.get("BUILD_DIR") or os.path.join(ROOT, "build")
LIB = os.environ.get("PPROFSHIM_LIB") or os.path.join(BUILD, "libpprofshim.so")
TARGET = 99.5
# One of these is among the last three frames of a whole stack. (_start has no name where symbols were stripped.)
BEGINNINGS = {"_start", "__libc_start_main", "clone", "clone3", "__clone", "__clone3", "start_thread"}

SPEED = ("md5 sha1 sha256 sha512 rmd160 aes-128-cbc aes-192-cbc aes-256-cbc camellia-128-cbc des-ede3 "
         "rsa2048 rsa4096 dsa2048 ecdsap256 ecdsap384 ecdsap521 ecdhp256 ecdhx25519 ecdhx448 ed25519 ed448 ffdh2048 "
         "ghash").split()
EVP = ("aes-128-gcm aes-256-gcm aes-128-ctr aes-128-xts aes-128-ccm aes-128-ocb chacha20 chacha20-poly1305 sha3-256 "
       "shake128 blake2b512 sm3 sm4-cbc aria-128-cbc").split()

FORTRAN = """recursive subroutine relax(n, total)
  integer, intent(in) :: n
  real(8), intent(inout) :: total
  real(8) :: field(300, 300)
  integer :: i, j, k
  field = total
  do k = 1, n
    do j = 2, 299
      do i = 2, 299
        field(i, j) = 0.25d0 * (field(i-1, j) + field(i+1, j) + field(i, j-1) + field(i, j+1)) + 1d-9
      end do
    end do
    total = total + sum(sqrt(abs(field))) * 1d-9
  end do
end subroutine
program grid
  real(8) :: total
  total = 1
  do
    call relax(3, total)
    if (total < 0) exit
  end do
end program
"""
PYTHON = """
import json, re
while True:
    json.loads(json.dumps(list(range(1000)))); re.sub('a+', 'b', 'aaba' * 300)
    sorted(str(i) for i in range(2000)); {i: [i] for i in range(2000)}
"""
NODE = """
function f(n) { return n < 2 ? n : f(n - 1) + f(n - 2); }
for (;;) { f(18); JSON.parse(JSON.stringify([...Array(500).keys()]));
  const a = []; for (let i = 0; i < 500; i++) a.push('x' + i); a.sort(); a.join(',').replace(/x/g, 'y'); }
"""
JAVA = """
public class Bench {
  static int f(int n) { return n < 2 ? n : f(n - 1) + f(n - 2); }
  public static void main(String[] a) {
    java.util.Map<String, Integer> m = new java.util.HashMap<>();
    for (int i = 0;; i++) { m.merge("k" + i % 5000, f(15), Integer::sum); if (m.size() < 0) return; }
  }
}
"""
LUA = """
local function f(n) return n < 2 and n or f(n-1) + f(n-2) end
while true do f(20); local s = ('x'):rep(100):gsub('x', 'y') end
"""
RUST = """
use std::{future::Future, pin::Pin, sync::Arc, task::{Context, Poll, Wake, Waker}};
struct Nobody; impl Wake for Nobody { fn wake(self: Arc<Self>) {} }
struct Twice(bool);
impl Future for Twice { type Output = ();
  fn poll(mut self: Pin<&mut Self>, c: &mut Context<'_>) -> Poll<()> {
    if self.0 { return Poll::Ready(()); } self.0 = true; c.waker().wake_by_ref(); Poll::Pending } }
async fn work(n: u64) -> u64 { let mut x = n; for i in 0..20000u64 { x = x.wrapping_mul(6364136223846793005) ^ i; } x }
async fn task(n: u64) -> u64 { let mut s = 0u64; for i in 0..10 { Twice(false).await; s ^= work(n + i).await; } s }
fn run(n: u64) -> u64 { let w = Waker::from(Arc::new(Nobody)); let mut c = Context::from_waker(&w);
  let mut all: Vec<Pin<Box<dyn Future<Output = u64>>>> = (0..8).map(|i| Box::pin(task(n + i)) as _).collect();
  let mut s = 0; while !all.is_empty() { all.retain_mut(|f| match f.as_mut().poll(&mut c) {
    Poll::Ready(v) => { s ^= v; false } Poll::Pending => true }); } s }
fn main() { let t = std::thread::spawn(|| loop { std::hint::black_box(run(1)); });
  loop { std::hint::black_box(run(2)); if t.is_finished() { break } } }
"""
CXX = "#include <algorithm>\n"
CXX += "#include <functional>\n#include <map>\n#include <regex>\n#include <string>\n#include <vector>\n"
CXX += "".join("template struct std::map<std::string, std::vector<std::array<int, %d>>>;\n" % i
               for i in range(1, 400))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def tool(*names):
    for name in names:
        path = name if os.path.isabs(name) and os.access(name, os.X_OK) else shutil.which(name)
        if path:
            return path
    raise FileNotFoundError(names[0] + " is not installed")


class Bench:

    def __init__(self, folder, seconds):
        self.folder, self.seconds = folder, seconds

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def built(self, name, text, *command):
        source, out = self.file(name, text), os.path.join(self.folder, name.split(".")[0])
        subprocess.run(list(command) + [source, "-o", out], check=True, cwd=self.folder, capture_output=True)
        return [out]

    def rows(self):
        """[(name, function that returns the command)]"""
        openssl = "openssl"
        for a in SPEED:
            yield "openssl-" + a, lambda a=a: [tool(openssl), "speed", "-seconds", "60", a]
        for a in EVP:
            yield "openssl-evp-" + a, lambda a=a: [tool(openssl), "speed", "-seconds", "60", "-evp", a]
        yield "fortran", lambda: self.built("grid.f90", FORTRAN, tool("gfortran"), "-O1", "-g", "-frecursive")
        yield "rust-async", lambda: self.built("tasks.rs", RUST, tool("rustc"), "--edition=2021", "-O", "-g")
        yield "python3", lambda: [tool("/usr/bin/python3"), "-c", PYTHON]
        yield "node", lambda: [tool("node"), "-e", NODE]
        yield "java", lambda: [tool("java"), self.file("Bench.java", JAVA)]
        yield "java-frame-pointers", lambda: [tool("java"), "-XX:+PreserveFramePointer", self.file("Bench.java", JAVA)]
        yield "luajit", lambda: [tool("luajit"), "-e", LUA]
        yield "luajit-interpreter", lambda: [tool("luajit"), "-joff", "-e", LUA]
        yield "cc1plus", self.compiler
        yield "postgres", self.postgres

    def compiler(self):
        """The compiler itself, without its driver."""
        path = subprocess.run([tool("g++"), "-print-prog-name=cc1plus"], capture_output=True, text=True).stdout.strip()
        source, made = self.file("many.cc", "#include <array>\n" + CXX), os.path.join(self.folder, "many.ii")
        subprocess.run([tool("g++"), "-E", source, "-o", made], check=True)
        return [tool(path), "-quiet", "-fpreprocessed", "-O2", made, "-o", "/dev/null"]

    def postgres(self):
        """A backend that serves nobody else: single-user mode."""
        initdb, server = tool("initdb", "/usr/lib/postgresql/15/bin/initdb"), \
            tool("postgres", "/usr/lib/postgresql/15/bin/postgres")
        data, user = os.path.join(self.folder, "pg"), []
        if os.geteuid() == 0:
            os.chmod(self.folder, 0o777)
            user = [tool("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
        r = subprocess.run(user + [initdb, "-D", data, "-A", "trust", "-U", "bench", "--no-sync"], capture_output=True,
                           text=True)
        if r.returncode:
            raise FileNotFoundError("initdb: " + r.stderr.strip().splitlines()[-1])
        self.file("in.sql", "select count(*), sum(sqrt(a.i * b.i)) from generate_series(1, 9000) a(i), "
                            "generate_series(1, 9000) b(i) where (a.i + b.i) % 7 = 3;\n")
        return user + ["sh", "-c", "exec %s --single -D %s postgres <%s/in.sql" % (server, data, self.folder)]

    def profile(self, argv):
        """The samples of a profile, by stack."""
        port = free_port()
        env = {k: v for k, v in os.environ.items() if not k.startswith("PPROF_") and k != "LD_PRELOAD"}
        env.update(LD_PRELOAD=LIB, PPROF_ADDR="127.0.0.1:%d" % port, LC_ALL="C")
        url = "http://127.0.0.1:%d/debug/pprof/profile?hz=250&seconds=%d" % (port, self.seconds)
        child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, start_new_session=True, cwd=self.folder)
        try:
            for _ in range(20):
                time.sleep(0.5)
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    return shim.Profile(urllib.request.urlopen(url, timeout=self.seconds + 60).read())
            raise RuntimeError("it does not answer")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def report(self, name, prof):
        total = whole = 0
        cut = collections.Counter()
        for s in prof.samples:
            total += s.values[0]
            if BEGINNINGS & set(s.names[-3:]):
                whole += s.values[0]
            else:
                cut[" < ".join(s.names[:3] + ["..."] + s.names[-2:] if len(s.names) > 6 else s.names)] += s.values[0]
        percent = 100.0 * whole / total if total else 0.0
        print("whole %-28s %6d %6.2f target %.1f %s" % (name, total, percent, TARGET,
                                                        "ok" if percent >= TARGET else "under"), flush=True)
        if percent < TARGET:
            for stack, n in cut.most_common(3):
                print("      %6d  %s" % (n, stack))
            for comment in prof.comments:
                if "[truncated]" in comment:
                    print("      " + comment)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", default="", metavar="WORD")
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="whole") as folder:
        bench = Bench(folder, options.seconds)
        for name, command in bench.rows():
            if options.k not in name:
                continue
            try:
                bench.report(name, bench.profile(command()))
            except FileNotFoundError as e:
                print("whole %s skipped: %s" % (name, e))
            except (RuntimeError, OSError, subprocess.SubprocessError) as e:
                print("whole %s failed: %s" % (name, e))


if __name__ == "__main__":
    main()
