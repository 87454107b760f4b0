# SPDX-License-Identifier: MIT OR 0BSD
"""Threads that share by error what belongs to one of them: each storm lasts
some seconds, and says how many answers there were, how many refusals, and how
many answers that were another's."""

import contextlib
import io
import sys
import threading
import time

from degu.base import Body, BodyIter, ChunkedBody
from degu.client import Client
from peers import Running, until

SECONDS = 4
THREADS = 6
STORMS = {}


def storm(function):
    STORMS[function.__name__] = function
    return function


class Count:
    """What the threads have come to; each has its own, or one would be lost."""

    def __init__(self):
        self.good = self.refused = self.wrong = 0


def blow(act):
    """act(number, turn) again and again in each thread: True for the right
    answer, False for a wrong one, None for none; what it raises is a refusal.
    """
    counts = [Count() for _ in range(THREADS)]
    end = time.monotonic() + SECONDS

    def run(number):
        turn = 0
        while time.monotonic() < end:
            turn += 1
            try:
                right = act(number, turn)
                counts[number].good += right is True
                counts[number].wrong += right is False
            except (RuntimeError, ValueError, OSError):
                counts[number].refused += 1

    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=run, args=(number,), daemon=True)
               for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10 * SECONDS)
    if any(thread.is_alive() for thread in threads):
        raise SystemExit('a thread does not end')
    return {name: sum(getattr(count, name) for count in counts)
            for name in ('good', 'refused', 'wrong')}


def payload(uri, size=3000):
    """What no other request has."""
    return (uri.encode() + b' ') * (size // len(uri))


def app(session, request, api):
    data = payload(request.uri)
    if request.body and request.body.read() != data:
        return (400, 'Bad Request', {}, b'mixed up')
    if request.path[0] == 'chunked':
        return (200, 'OK', {}, api.ChunkedBodyIter(
            [(None, data[:1000]), (None, data[1000:]), (None, b'')]))
    return (200, 'OK', {}, data)


class Shared:
    """Some connections, each made anew when it has ended."""

    def __init__(self, address, count=3):
        self.client = Client(address, timeout=5)
        self.conns = [self.client.connect() for _ in range(count)]

    def take(self, turn):
        at = turn % len(self.conns)
        if self.conns[at].closed:
            self.conns[at] = self.client.connect()
        return self.conns[at]


@storm
def connections():
    """Requests of all kinds on connections that are everybody's."""
    with Running(app, max_requests=10**6, max_connections=100) as running:
        shared = Shared(running.address)

        def act(number, turn):
            kind = ('plain', 'chunked')[turn // 2 % 2]
            uri = '/{}/{}-{}'.format(kind, number, turn)
            conn = shared.take(turn)
            if turn % 5 == 0:
                data = payload(uri)
                answer = conn.put(uri, {}, BodyIter([data], len(data)))
            else:
                answer = conn.get(uri)
            if turn % 3:
                return answer.body.read() == payload(uri)
            file = io.BytesIO()
            answer.body.write_to(file)
            file.seek(0)
            data = ChunkedBody(file) if kind == 'chunked' else file
            return data.read() == payload(uri)

        return blow(act)


@storm
def closing():
    """The same while others close, check and detach."""
    with Running(app, max_requests=10**6, max_connections=100) as running:
        shared = Shared(running.address, 2)

        def act(number, turn):
            conn = shared.take(turn)
            if number == 0:
                time.sleep(0.001)
                return conn.close()
            if number == 1:
                return conn.check()
            uri = '/plain/{}-{}'.format(number, turn)
            return conn.get(uri).body.read() == payload(uri)

        return blow(act)


class Slow:
    """A file in which others get their turn."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def readinto(self, view):
        size = self.file.readinto(view[:5000])
        time.sleep(0)
        return size

    def readline(self, size):
        return self.file.readline(size)


BLOCK = b'%07d\n'
LINES = b''.join(BLOCK % number for number in range(20000))
CHUNKS = b''.join(b'8\r\n%b\r\n' % (BLOCK % number)
                  for number in range(2000)) + b'0\r\n\r\n'


@storm
def bodies():
    """One body read by all: what each gets is in one piece, and nobody gets
    what another has."""
    shared = [None, set()]
    lock = threading.Lock()

    def new(turn):
        body = Body(Slow(LINES), len(LINES)) if turn % 2 else \
            ChunkedBody(Slow(CHUNKS))
        shared[:] = [body, set()]

    def act(number, turn):
        (body, seen) = shared
        if body is None or body.state > 1:
            return new(turn)
        if isinstance(body, Body):
            data = body.read(80)
        else:
            data = body.readchunk()[1]
        lines = data.split()
        with lock:
            good = all(len(line) == 7 for line in lines) and \
                seen.isdisjoint(lines)
            seen.update(lines)
        return good

    return blow(act)


@storm
def requests():
    """An app whose threads go on with its request's body when it has
    answered, and clients that look at what they get."""
    def forgetful(session, request, api):
        def rest(body=request.body):
            with contextlib.suppress(RuntimeError, ValueError, OSError):
                while body.read(500):
                    pass
            with contextlib.suppress(RuntimeError, ValueError, OSError):
                body.write_to(io.BytesIO())

        if request.body:
            for _ in range(3):
                threading.Thread(target=rest, daemon=True).start()
        return (200, 'OK', {}, payload(request.uri))

    with Running(forgetful, max_connections=100) as running:
        client = Client(running.address, timeout=5)

        def act(number, turn):
            conn = client.connect()
            try:
                for step in range(5):
                    uri = '/plain/{}-{}-{}'.format(number, turn, step)
                    data = payload(uri, 200000) if step % 2 else None
                    answer = conn.request('PUT' if data else 'GET', uri, {},
                                          data)
                    if answer.status == 500:
                        raise RuntimeError('a thread was still reading')
                    if answer.body.read() != payload(uri):
                        return False
                return True
            finally:
                conn.close()

        found = blow(act)
        until(lambda: threading.active_count() < 40)
        return found
