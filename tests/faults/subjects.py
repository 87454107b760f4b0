# SPDX-License-Identifier: MIT OR 0BSD
"""The programs under test, as processes, and the raw other end of each."""

import os
import re
import socket
import struct
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


def start(words, stdin=subprocess.DEVNULL, **more):
    return subprocess.Popen(
        words, text=True, stdin=stdin, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
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
    body = bytearray(body)
    length = int(re.search(rb'content-length: (\d+)', head + b'\r\n').group(1))
    while len(body) < length:
        more = sock.recv(65536)
        if not more:
            return (0, bytes(body))
        body += more
    return (int(head[9:12]), bytes(body))


def reset(sock):
    """Closes it with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack('ii', 1, 0))
    sock.close()


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


def until(holds, most=PATIENCE):
    """Whether it came true in that many seconds; for what tells of itself by
    no event."""
    end = time.monotonic() + most
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


class Process:
    """What the kernel tells of *process*."""

    def __init__(self, process):
        self.process = process
        self.pid = process.pid

    def descriptors(self):
        return len(os.listdir('/proc/{}/fd'.format(self.pid)))

    def settled(self):
        """The same once it changes no more: what has just been closed here
        is closed there a little later."""
        (count, last) = (self.descriptors(), -1)
        while count != last:
            time.sleep(0.05)
            (count, last) = (self.descriptors(), count)
        return count

    def threads(self):
        return len(os.listdir('/proc/{}/task'.format(self.pid)))

    def _status(self, name):
        with open('/proc/{}/status'.format(self.pid)) as file:
            (line,) = [line for line in file if line.startswith(name + ':')]
        return int(line.split()[1]) * 1024

    def memory(self):
        """Resident, in bytes."""
        return self._status('VmRSS')

    def address_space(self):
        return self._status('VmSize')

    def peak(self):
        """The most that was resident, since forget_peak()."""
        return self._status('VmHWM')

    def forget_peak(self):
        with open('/proc/{}/clear_refs'.format(self.pid), 'w') as file:
            file.write('5')

    def cpu(self):
        """Seconds it has computed."""
        with open('/proc/{}/stat'.format(self.pid)) as file:
            words = file.read().rpartition(')')[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf('SC_CLK_TCK')

    def load(self, seconds=3):
        """Percent of a processor that it takes in that time."""
        before = self.cpu()
        # Nothing shall happen: it is the time that is measured.
        time.sleep(seconds)
        return (self.cpu() - before) / seconds * 100

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


class Server(Process):
    """A server in a process of its own; a context manager.

    *options* are timeout and stop_timeout, in ms, min_rate, max_connections,
    max_requests, facts, 1 to have a line for each exchange on stdout, and
    signals, 1 to have SIGUSR1 interrupt and SIGPIPE at its default; *limits* is
    called in the process before it is the server, *more* is for subprocess,
    *before* stands in front of the command."""

    def __init__(self, kind, address='127.0.0.1:0', limits=None, before=(),
                 more=None, **options):
        words = ['{}={}'.format(*item) for item in options.items()]
        super().__init__(start(
            [*before, *command(kind, 'server'), address, *words],
            preexec_fn=limits, **(more or {})))
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

    def end(self):
        """Seconds from SIGTERM until it has ended, as it should."""
        begin = time.monotonic()
        self.process.terminate()
        if self.process.wait(PATIENCE):
            raise RuntimeError('server: exit code {}'.format(
                self.process.returncode))
        return time.monotonic() - begin


class Client(Process):
    """A client in a process of its own, told line by line what to ask; a
    context manager.  *options* are timeout, in ms, min_rate, signals, as
    above, and read, 1 to have bodies whole."""

    def __init__(self, kind, address, **options):
        words = ['{}={}'.format(*item) for item in options.items()]
        super().__init__(start([*command(kind, 'client'), address, *words],
                               stdin=subprocess.PIPE))

    def ask(self, request, times=1):
        """(status or 'error', seconds, length or text) of the last of so many
        times 'METHOD TARGET BYTES'."""
        self.tell(request, times)
        return self.hear()

    def tell(self, request, times=1):
        print(request, times, file=self.process.stdin, flush=True)

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError('client: ' + self.process.stderr.read())
        return outcome(line)


def outcome(line):
    """Of a line of a client's."""
    (status, seconds, rest) = line.rstrip('\n').split(' ', 2)
    return (status if status == 'error' else int(status), float(seconds), rest)


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
    return [outcome(line) for line in out.splitlines()]


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
