# SPDX-License-Identifier: MIT OR 0BSD
"""The Python pair of the benchmark, in two processes.

    duo.py server FAMILY SPIN   prints its address, serves until it ends
    duo.py client ADDRESS PID SECONDS SPIN
                                prints round trips a second and the CPU time in
                                us that both ends take for one
    duo.py bytes ADDRESS        prints the bytes of both messages

The work is that of duo.c: a POST of 108 bytes, answered by 108.  SPIN is the
option of that name in us, 0 to leave it out.
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


def spinning(spin):
    return {'spin': spin / 1e6} if spin else {}


def serve(family, spin):
    address = ('::1', 0, 0, 0) if family == 'inet6' else b''
    server = Server(address, app, max_requests_per_connection=10**9,
                    **spinning(spin))
    print(repr(server.address), flush=True)
    server.serve_forever()


def process_cpu(pid):
    """Seconds on a core so far of all threads, to the nanosecond."""
    total = 0
    for task in os.listdir('/proc/{}/task'.format(pid)):
        with open('/proc/{}/task/{}/schedstat'.format(pid, task)) as file:
            total += int(file.read().split()[0])
    return total / 1e9


class Account:
    """Of this process and of the server, from now on."""

    def __init__(self, pid):
        self.pid = pid
        self.theirs = process_cpu(pid)
        self.ours = time.process_time()
        self.start = time.monotonic()

    def of(self, count):
        """(how many a second, seconds of CPU time of both ends for one)"""
        took = time.monotonic() - self.start
        used = (time.process_time() - self.ours + process_cpu(self.pid) -
                self.theirs)
        return count / took, used / count

    def print(self, count):
        (rate, used) = self.of(count)
        print('{:.0f} {:.3f}'.format(rate, used * 1e6))


def run(conn, seconds):
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for i in range(BATCH):
            conn.post('/', {}, BODY).body.read()
        count += BATCH
    return count


def measure(address, pid, seconds, spin):
    conn = Client(address, host=None, **spinning(spin)).connect()
    run(conn, seconds / 10)
    account = Account(pid)
    account.print(run(conn, seconds))
    conn.close()


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
        serve(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1] == 'client':
        measure(ast.literal_eval(sys.argv[2]), int(sys.argv[3]),
                float(sys.argv[4]), int(sys.argv[5]))
    else:
        count_bytes(ast.literal_eval(sys.argv[2]))
