# SPDX-License-Identifier: MIT OR 0BSD
"""The programs under test, as processes, and the raw other end of each."""

import os
import re
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PATIENCE = 20  # seconds that nothing should take
GET = b'GET %s HTTP/1.1\r\n\r\n'


def command(kind, end):
    """kind: 'c' or 'python'; end: 'server' or 'client'"""
    if kind == 'c':
        return [os.path.join(ROOT, 'build', 'faults', end)]
    return [sys.executable, os.path.join(HERE, end + '.py')]


def start(words, **more):
    return subprocess.Popen(
        words, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'py')), **more)


def connect(address, timeout=PATIENCE):
    """A raw connection to an address as the servers print it."""
    if address.startswith('@'):
        (family, where) = (socket.AF_UNIX, '\0' + address[1:])
    elif '/' in address:
        (family, where) = (socket.AF_UNIX, address)
    else:
        (host, _, port) = address.rpartition(':')
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        where = (host.strip('[]'), int(port))
    sock = socket.socket(family)
    sock.settimeout(timeout)
    sock.connect(where)
    return sock


def read_answer(sock):
    """(status, body) of one answer that has a length; b'' at the end comes as
    status 0."""
    data = b''
    while b'\r\n\r\n' not in data:
        more = sock.recv(65536)
        if not more:
            return (0, data)
        data += more
    (head, body) = data.split(b'\r\n\r\n', 1)
    length = int(re.search(rb'content-length: (\d+)', head + b'\r\n').group(1))
    while len(body) < length:
        more = sock.recv(65536)
        if not more:
            return (0, body)
        body += more
    return (int(head[9:12]), body)


def read_to_end(sock):
    """All that comes until the other end closes or resets."""
    data = b''
    try:
        while True:
            more = sock.recv(1 << 20)
            if not more:
                return data
            data += more
    except ConnectionError:
        return data


class Server:
    """A server in a process of its own; a context manager.

    *options* are timeout, in ms, min_rate, max_connections, max_requests."""

    def __init__(self, kind, address='127.0.0.1:0', limits=None, **options):
        words = ['{}={}'.format(*item) for item in options.items()]
        self.process = start([*command(kind, 'server'), address, *words],
                             preexec_fn=limits)
        self.pid = self.process.pid
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise RuntimeError(self.process.communicate()[1])
        # What it logs must not stop it.
        self.log = []
        self._drain = threading.Thread(
            target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self._drain.start()

    def connect(self, timeout=PATIENCE):
        return connect(self.address, timeout)

    def ask(self, target=b'/hello', timeout=PATIENCE):
        """(status, body) on a connection of its own."""
        with self.connect(timeout) as sock:
            sock.sendall(GET % target)
            return read_answer(sock)

    def is_well(self, timeout=PATIENCE):
        return self.ask(timeout=timeout) == (200, b'hello, world')

    def descriptors(self):
        return len(os.listdir('/proc/{}/fd'.format(self.pid)))

    def threads(self):
        return len(os.listdir('/proc/{}/task'.format(self.pid)))

    def memory(self):
        """Resident, in bytes."""
        with open('/proc/{}/statm'.format(self.pid)) as file:
            return int(file.read().split()[1]) * os.sysconf('SC_PAGESIZE')

    def cpu(self):
        """Seconds it has computed."""
        with open('/proc/{}/stat'.format(self.pid)) as file:
            words = file.read().rpartition(')')[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf('SC_CLK_TCK')

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()


def run_client(kind, address, *requests, **options):
    """[(status or 'error', seconds, length or text)] of these requests, each
    'METHOD TARGET BYTES'."""
    words = ['{}={}'.format(*item) for item in options.items()]
    for request in requests:
        words += request.split()
    process = start([*command(kind, 'client'), address, *words])
    (out, err) = process.communicate(timeout=6 * PATIENCE)
    if process.returncode or err:
        raise RuntimeError('client: {} {}'.format(process.returncode, err))
    found = []
    for line in out.splitlines():
        (status, seconds, rest) = line.split(' ', 2)
        found.append((status if status == 'error' else int(status),
                      float(seconds), rest))
    return found


class Peer:
    """A raw server: play(sock) is called for each connection, in a thread of
    its own.  A context manager."""

    def __init__(self, play, family=socket.AF_INET):
        self._play = play
        self._listener = socket.socket(family)
        if family == socket.AF_UNIX:
            self._listener.bind('')
            self.address = '@' + self._listener.getsockname()[1:].decode()
        else:
            self._listener.bind(('127.0.0.1', 0))
            self.address = '{}:{}'.format(*self._listener.getsockname())
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                (sock, _) = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(sock,),
                             daemon=True).start()

    def _talk(self, sock):
        with sock:
            try:
                self._play(sock)
            except ConnectionError:
                pass  # it may have been left

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self._listener.close()


def read_head(sock):
    data = b''
    while b'\r\n\r\n' not in data:
        more = sock.recv(65536)
        if not more:
            raise ConnectionError
        data += more
    return data


def drip(sock, data, each=0.4, most=PATIENCE):
    """Sends a byte each so often until the other end has gone; in seconds how
    long that was."""
    begin = time.monotonic()
    sock.settimeout(each)
    for byte in data:
        if time.monotonic() - begin > most:
            break
        try:
            sock.send(bytes([byte]))
            # To notice an end at once, and to wait.
            if not sock.recv(65536):
                break
            break  # an answer: it has given up
        except socket.timeout:
            continue
        except ConnectionError:
            break
    return time.monotonic() - begin
