# processes.py - ctypes, pools of processes and threads, asyncio, signals; what the process sees of itself.
#
# SPDX-License-Identifier: Apache-2.0
import asyncio
import concurrent.futures
import ctypes
import multiprocessing
import os
import signal
import threading
import time
import zlib

COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
numbers = (ctypes.c_int * 500)(*[i * 7919 % 1009 for i in range(500)])
ctypes.CDLL(None).qsort(numbers, 500, ctypes.sizeof(ctypes.c_int), COMPARE(lambda x, y: x[0] - y[0]))
print(list(numbers) == sorted(numbers))
with multiprocessing.get_context("fork").Pool(3) as p:
    print(sum(p.map(abs, range(-50, 50))))
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(lambda i: len(zlib.compress(bytes(i) * 9)), range(1000, 1100))))


async def main():
    p = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    out, _ = await p.communicate(b"through cat\n")
    print(out.decode(), end="")
    print(await asyncio.gather(*[asyncio.sleep(0.01 * i, i) for i in range(5)]))


asyncio.run(main())
got = []
signal.signal(signal.SIGALRM, lambda *_: got.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
time.sleep(0.3)
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(got) > 2)
print(threading.active_count(), len(os.listdir("/proc/self/fd")))
