# SPDX-License-Identifier: MIT OR 0BSD
"""The other end: raw sockets on both sides, and a Degu server in a thread.

Nothing in here uses the code under test but Running.
"""

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import NamedTuple

from degu.server import Server

HERE = os.path.dirname(os.path.abspath(__file__))
WAIT = 20
# How many times longer the times are that tests give to what is to run out of
# them: under valgrind a handshake takes half a second.
SLOWER = int(os.environ.get('DEGU_SLOWER', '1'))


# ------------------------------------------------------------------ servers

class Running:
    """A Server with serve_forever() in a thread, stopped on the way out."""

    def __init__(self, app, address=b'', **options):
        self.server = self.make(app, address, options)
        self.address = self.server.address
        self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def make(self, app, address, options):
        return Server(address, app, **options)

    def _run(self):
        try:
            self.server.serve_forever()
        except BaseException as error:
            self.error = error

    def stop(self):
        self.server.shutdown()
        self.thread.join(WAIT)
        assert not self.thread.is_alive()
        if self.error:
            raise self.error

    def __enter__(self):
        self.thread.start()
        # What it opens for itself is there when the tests begin to count.
        until(lambda: self.server._threads or not self.thread.is_alive())
        return self

    def __exit__(self, *unused):
        self.stop()


class App:
    """An app that answers what it was told to, and counts its calls."""

    def __init__(self, answer=(200, 'OK', {}, b'hello')):
        self.answer = answer
        self.calls = 0

    def __call__(self, session, request, api):
        self.calls += 1
        if callable(self.answer):
            return self.answer(session, request, api)
        return self.answer


@contextlib.contextmanager
def listening(handler, address=b'', backlog=5):
    """A raw server: handler(sock) for one connection, in a thread."""
    family = family_of(address)
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind(address)
        listener.listen(backlog)
        listener.settimeout(WAIT)
        failures = []

        def run():
            try:
                (sock, _) = listener.accept()
                with sock:
                    sock.settimeout(WAIT)
                    handler(sock)
            except Exception as error:
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            thread.join(WAIT)
            assert not thread.is_alive()
        if failures:
            raise failures[0]


# ------------------------------------------------------------------ clients

def family_of(address):
    if isinstance(address, (str, bytes)):
        return socket.AF_UNIX
    return socket.AF_INET if len(address) == 2 else socket.AF_INET6


def dial(address):
    sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    sock.settimeout(WAIT)
    try:
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


def reset(sock):
    """Ends the connection with a reset: nothing may linger."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack('ii', 1, 0))
    sock.close()


def everything(sock):
    """All that comes up to a clean end; a reset is an error."""
    parts = []
    while True:
        part = sock.recv(65536)
        if not part:
            return b''.join(parts)
        parts.append(part)


def send_all(sock, data, step=None):
    """Sends data, step bytes at a time; an end that no longer listens is no
    error, it may have had enough."""
    try:
        if step is None:
            sock.sendall(data)
            return
        for pos in range(0, len(data), step):
            sock.sendall(data[pos:pos + step])
    except (BrokenPipeError, ConnectionResetError):
        pass


def talk(address, data, step=None, end=False):
    """Sends data, and with end the end; returns all that comes back."""
    with dial(address) as sock:
        send_all(sock, data, step)
        if end:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
        return everything(sock)


def drip(sock, data, pause):
    """One byte each pause seconds until something comes back; all of it."""
    for pos in range(len(data)):
        if select.select([sock], [], [], pause)[0]:
            break
        send_all(sock, data[pos:pos + 1])
    return everything(sock)


def receive_head(sock):
    data = b''
    while b'\r\n\r\n' not in data:
        part = sock.recv(65536)
        if not part:
            break
        data += part
    return data


class Answer(NamedTuple):
    status: int
    reason: str
    headers: dict
    body: bytes


def _chunks(data):
    """(bytes of the body, what lies behind it)."""
    body = b''
    while True:
        (line, data) = data.split(b'\r\n', 1)
        size = int(line.split(b';')[0], 16)
        if size == 0:
            break
        assert data[size:size + 2] == b'\r\n'
        body += data[:size]
        data = data[size + 2:]
    while not data.startswith(b'\r\n'):
        data = data.split(b'\r\n', 1)[1]
    return (body, data[2:])


def answers(data, method='GET'):
    """The responses that data holds, none of them cut short."""
    found = []
    while data:
        (head, data) = data.split(b'\r\n\r\n', 1)
        (line, *fields) = head.decode('ascii').split('\r\n')
        (version, status, reason) = line.split(' ', 2)
        assert version == 'HTTP/1.1'
        headers = dict(field.split(': ', 1) for field in fields)
        assert len(headers) == len(fields)
        status = int(status)
        body = b''
        if headers.get('transfer-encoding') == 'chunked':
            (body, data) = _chunks(data)
        elif method != 'HEAD' and status not in (204, 304) and status >= 200:
            length = int(headers['content-length'])
            assert len(data) >= length, 'cut short'
            (body, data) = (data[:length], data[length:])
        found.append(Answer(status, reason, headers, body))
    return found


def is_bare(data, status):
    """Is this the answer of D2, and nothing else?"""
    found = answers(data)
    return (len(found) == 1 and found[0].status == status and
            found[0].headers == {'content-length': '0',
                                 'connection': 'close'})


# -------------------------------------------------------- objects for sockets

class Script:
    """What a client needs of a socket: hands out data, step bytes at a time,
    and then the end; keeps what it is sent."""

    def __init__(self, data=b'', step=None, most=None):
        self.data = data
        self.step = step
        self.most = most
        self.sent = b''
        self.closed = 0

    def recv_into(self, buf):
        count = min(len(buf), len(self.data), self.step or len(buf))
        buf[:count] = self.data[:count]
        self.data = self.data[count:]
        return count

    def send(self, data):
        count = min(len(data), self.most or len(data))
        self.sent += bytes(data[:count])
        return count

    def close(self):
        self.closed += 1


# ----------------------------------------------------------------- processes

@contextlib.contextmanager
def child(code, *args, pass_fds=()):
    """An interpreter with this code, which finds degu and these files; it
    does not outlive the block.

    What leaks is found in the tests' own process and by growth.py: CPython
    leaks what threads begin with, if they are still ending when it ends.
    """
    env = dict(os.environ)
    if 'ASAN_OPTIONS' in env:
        env['ASAN_OPTIONS'] += ':detect_leaks=0'
    paths = [HERE] + [path for path in sys.path if path]
    env['PYTHONPATH'] = os.pathsep.join(paths)
    process = subprocess.Popen(
        [sys.executable, '-X', 'faulthandler', '-c', code, *args], env=env,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, pass_fds=pass_fds)
    with process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def foreign_environment():
    """For programs that are not ours: nothing that sanitizers preload."""
    return {name: value for (name, value) in os.environ.items()
            if name != 'LD_PRELOAD'}


def run_program(command, **options):
    """The subprocess.CompletedProcess of a program that is not ours, what it
    printed included."""
    if 'input' not in options:
        options['stdin'] = subprocess.DEVNULL
    return subprocess.run(command, env=foreign_environment(), timeout=WAIT * 2,
                          stdout=subprocess.PIPE, **{
                              'stderr': subprocess.PIPE, **options})


def outcome(code, *args):
    """(status, output, errors) of a process that ends by itself."""
    with child(code, *args) as process:
        (output, errors) = process.communicate(timeout=60)
        return (process.returncode, output, errors)


def is_asleep(process):
    """Has it one thread only, and waits that one in the kernel?"""
    with open('/proc/{}/stat'.format(process.pid)) as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return fields[0] == 'S' and fields[17] == '1'


def until(condition):
    """Waits for what announces itself in no other way."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)
