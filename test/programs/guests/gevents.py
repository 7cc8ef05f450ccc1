# gevents.py - gevent: a server, forty clients, a child and its pool of threads.
#
# SPDX-License-Identifier: Apache-2.0
import socket
import subprocess
import time

import gevent
import gevent.monkey
from gevent.server import StreamServer

gevent.monkey.patch_all()


def echo(s, a):
    while True:
        d = s.recv(1000)
        if not d:
            return
        s.sendall(d.upper())


srv = StreamServer(("127.0.0.1", 0), echo)
srv.start()


def client(i):
    with socket.create_connection(("127.0.0.1", srv.server_port)) as s:
        for k in range(20):
            s.sendall(b"line %d" % k)
            s.recv(1000)
    time.sleep(0.01)
    return i


print(sum(g.get() for g in [gevent.spawn(client, i) for i in range(40)]))
print(subprocess.check_output(["echo", "child"]).decode().strip())
print(gevent.get_hub().threadpool.apply(sum, ([1, 2, 3],)))
