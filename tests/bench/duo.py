# SPDX-License-Identifier: MIT OR 0BSD
"""The Python pair of the benchmark, in two processes.

    duo.py server FAMILY              prints its address, serves until it ends
    duo.py client ADDRESS PID SECONDS prints round trips a second and the CPU
                                      time in us that both ends take for one
    duo.py bytes ADDRESS              prints the bytes of both messages

The work is that of duo.c: a POST of 108 bytes, answered by 108.
"""

import ast
import os
import socket
import sys
import threading
import time

from degu.client import Client
from degu.server import Server

BODY = b'A' * 108
BATCH = 64


def app(session, request, api):
    return (200, 'OK', {}, request.body.read())


def serve(family):
    address = ('::1', 0, 0, 0) if family == 'inet6' else b''
    server = Server(address, app, max_requests_per_connection=10**9)
    print(repr(server.address), flush=True)
    server.serve_forever()


def process_cpu(pid):
    """Seconds on a core so far of all threads, to the nanosecond."""
    total = 0
    for task in os.listdir('/proc/{}/task'.format(pid)):
        with open('/proc/{}/task/{}/schedstat'.format(pid, task)) as file:
            total += int(file.read().split()[0])
    return total / 1e9


def run(conn, seconds):
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for i in range(BATCH):
            conn.post('/', {}, BODY).body.read()
        count += BATCH
    return count


def measure(address, pid, seconds):
    conn = Client(address, host=None).connect()
    run(conn, seconds / 10)
    (theirs, ours, start) = (
        process_cpu(pid), time.process_time(), time.monotonic())
    count = run(conn, seconds)
    took = time.monotonic() - start
    used = time.process_time() - ours + process_cpu(pid) - theirs
    conn.close()
    print('{:.0f} {:.3f}'.format(count / took, used / count * 1e6))


def count_bytes(address):
    """What the client says to a bare socket, and what the server answers."""
    listener = socket.create_server(('127.0.0.1', 0))
    said = []

    def listen():
        (sock, _) = listener.accept()
        said.append(sock.recv(65536))
        sock.close()

    thread = threading.Thread(target=listen)
    thread.start()
    conn = Client(listener.getsockname(), host=None).connect()
    try:
        conn.post('/', {}, BODY)
    except OSError:
        pass
    thread.join()
    family = socket.AF_INET6 if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family) as sock:
        sock.connect(address)
        sock.sendall(said[0])
        print(len(said[0]), len(sock.recv(65536)))


if __name__ == '__main__':
    if sys.argv[1] == 'server':
        serve(sys.argv[2])
    elif sys.argv[1] == 'client':
        measure(ast.literal_eval(sys.argv[2]), int(sys.argv[3]),
                float(sys.argv[4]))
    else:
        count_bytes(ast.literal_eval(sys.argv[2]))
