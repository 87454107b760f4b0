# SPDX-License-Identifier: MIT OR 0BSD
"""A program: does each action of Work often, and prints as JSON by how much
each round added to Python's memory blocks, resident memory and descriptors.

test_leaks.py runs it and judges.
"""

import copy
import gc
import io
import json
import logging
import os
import pickle
import random
import sys
import sysconfig
import threading

from degu.base import Connection, Session, api
from degu.client import Client
from peers import Running, Script, talk

GET = b'GET / HTTP/1.1\r\n\r\n'
LAST = b'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'
CHUNKS = [(('a', 'b "c'), b'hello'), (None, b'world'), (('d', None), b'')]


TIMES = 50
# Then to count blocks adds to what is resident: what is freed after it is not
# taken again (3.13).
FREE_THREADED = bool(sysconfig.get_config_var('Py_GIL_DISABLED'))


def app(session, request, api):
    session.store['request'] = request
    kind = request.path[0] if request.path else ''
    if kind == 'fail':
        raise RuntimeError('here')
    if kind == 'bad':
        return (200, 'OK', {'a': 'b\r\n'}, b'hello')
    if kind == 'cut':
        return (200, 'OK', {}, api.BodyIter(broken(), 200000))
    if kind == 'unread' or request.body is None:
        return (200, 'OK', {'set-cookie': [fresh(), 'b'],
                            fresh(): fresh()}, b'hello')
    if kind == 'relay':
        return (200, 'OK', {}, request.body)
    if request.body.chunked:
        return (200, 'OK', {}, api.ChunkedBodyIter(list(request.body)))
    return (200, 'OK', {}, api.BodyIter([request.body.read()],
                                        request.body.content_length))


def fresh():
    """A text that is not kept anywhere else."""
    return 'x' * random.randrange(40, 60)


def broken():
    yield b'x' * 100000
    raise KeyError('here')


class Guarded:
    def __call__(self, session, request, api):
        raise AssertionError('nobody gets here')

    def on_connect(self, session, sock):
        session.store['sock'] = sock
        return False


def accept(session, sock):
    session.store['sock'] = sock
    return True


def drop(call):
    """What fails by design."""
    try:
        call()
    except (ValueError, TypeError, OSError, KeyError, RuntimeError,
            AttributeError):
        return
    raise AssertionError('nothing was raised')


class Failing(io.BytesIO):
    def readinto(self, buf):
        raise KeyError('here')

    def write(self, data):
        raise KeyError('here')


class Work:
    """The actions, over one server that stays."""

    def __init__(self, running, guarded):
        self.address = running.address
        self.guarded = guarded.address
        self.conn = Client(running.address).connect()

    def get(self):
        self.conn.get('/a/b?c', {fresh(): fresh()}).body.read()

    def put(self):
        self.conn.put('/', {}, b'hello').body.read()
        self.conn.put('/', {}, api.BodyIter([b'hello'], 5)).body.read()
        self.conn.put('/relay', {}, bytearray(b'hello')).body.read(5)

    def chunks(self):
        body = self.conn.post('/', {}, api.ChunkedBodyIter(CHUNKS)).body
        assert list(body) == CHUNKS
        self.conn.post('/relay', {}, api.ChunkedBodyIter(CHUNKS)).body.read()

    def ranges(self):
        self.conn.get_range('/', {}, 0, 5).body.read()
        one = api.Range(0, 5)
        two = copy.copy(one).content_range(9)
        assert pickle.loads(pickle.dumps(two)) == two != one
        hash(one), str(two), repr(one), one == 'bytes=0-4'
        drop(lambda: api.Range(5, 5))

    def connect(self):
        conn = Client(self.address).connect()
        conn.get('/', {}).body.read()
        conn.close()

    def leave_unread(self):
        conn = Client(self.address).connect()
        conn.get('/', {})
        drop(lambda: conn.get('/', {}))

    def malformed(self):
        for data in (b'\r\n', b'GET / HTTP/1.0\r\n\r\n', b'G' * 33000,
                     b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx',
                     b'PUT / HTTP/1.1\r\ncontent-length: 9\r\n\r\nx',
                     b'GET /', b''):
            talk(self.address, data, end=True)

    def app_fails(self):
        for path in (b'fail', b'bad', b'cut'):
            talk(self.address, b'GET /' + path + b' HTTP/1.1\r\n\r\n')
        talk(self.address, b'PUT /unread HTTP/1.1\r\ncontent-length: 5\r\n\r\n'
             b'hello')

    def on_connect(self):
        talk(self.address, LAST)
        try:
            talk(self.guarded, LAST)
        except ConnectionResetError:
            pass

    def client_fails(self):
        for data in (b'', b'HTTP', b'HTTP/1.1 200 OK\r\na\r\n\r\n',
                     b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell',
                     b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx'):
            conn = Connection(Script(data, 3), (('host', 'a'),))
            drop(lambda conn=conn: conn.get('/', {}).body.read())

    def client_refuses(self):
        conn = Connection(Script(), None)
        for args in [('GET', '/\r\n', {}, None), ('GET', '/', {'A': 'b'}, None),
                     ('GET', '/', {'a': 5.0}, None), ('G', '/', {}, None),
                     ('PUT', '/', {}, 'x'), ('GET', '/', {}, b'x'),
                     ('PUT', '/', {}, api.BodyIter([5], 5)),
                     ('PUT', '/', {}, api.BodyIter(broken(), 5))]:
            drop(lambda args=args: conn.request(*args))

    def files(self):
        out = io.BytesIO()
        api.Body(io.BytesIO(b'hello'), 5).write_to(out)
        api.ChunkedBodyIter(CHUNKS).write_to(out)
        out.seek(5)
        assert list(api.ChunkedBody(out)) == CHUNKS
        list(api.Body(io.BytesIO(b'x' * 3000000), 3000000))
        api.Body(io.BytesIO(b'hello'), 5).read(2)

    def files_fail(self):
        drop(lambda: api.Body(io.BytesIO(b'hell'), 5).read())
        drop(lambda: api.Body(Failing(), 5).read())
        drop(lambda: api.Body(io.BytesIO(b'hello'), 5).write_to(Failing()))
        drop(lambda: api.ChunkedBody(io.BytesIO(b'5\r\nhel')).read())
        drop(lambda: api.ChunkedBodyIter([5]).write_to(io.BytesIO()))
        drop(lambda: api.BodyIter(5, 5).write_to(io.BytesIO()))
        drop(lambda: api.BodyIter(broken(), 5).write_to(io.BytesIO()))
        drop(lambda: api.Body(object(), 5))
        drop(lambda: api.Body(io.BytesIO(), -1))

    def cycles(self):
        """Each of these holds itself."""
        sock = Script(b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello')
        sock.conn = Connection(sock, None)
        sock.body = sock.conn.get('/', {}).body
        file = Failing()
        file.body = api.Body(file, 5)
        items = []
        items += [api.BodyIter(items, 5), api.ChunkedBodyIter(items)]
        session = Session(None)
        session.store['session'] = session

    def served_cycles(self):
        talk(self.address, GET + LAST)


def serve():
    with Running(app) as running:
        talk(running.address, LAST)


def descriptors():
    return len(os.listdir('/proc/self/fd'))


def resident():
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * 4096


def measure(action, times):
    """The least that any of the rounds added, eight or up to forty: what
    leaks adds to each of them, what fills a cache ends some time."""
    if not FREE_THREADED:
        return rounds(action, times, sys.getallocatedblocks)
    (_, *others) = rounds(action, times, lambda: 0)
    return (rounds(action, times, sys.getallocatedblocks)[0], *others)


def rounds(action, times, blocks):
    def look():
        for _ in range(times):
            action()
        gc.collect()
        return (blocks(), resident(), descriptors())

    least = (float('inf'),) * 3
    last = look()
    for number in range(40):
        now = look()
        least = tuple(min(known, new - old) for (known, new, old)
                      in zip(least, now, last))
        last = now
        if number >= 7 and least[0] < times // 4:
            break
    return least


def main():
    logging.getLogger('degu.server').addHandler(logging.NullHandler())
    logging.getLogger('degu.server').propagate = False
    found = {}
    app.on_connect = accept
    with Running(app, max_requests=10**9) as running:
        with Running(Guarded()) as guarded:
            work = Work(running, guarded)
            for name in vars(Work):
                if not name.startswith('_'):
                    found[name] = measure(getattr(work, name), TIMES)
            work.conn.close()
    found['serve'] = measure(serve, TIMES // 5)
    found['threads'] = [threading.active_count() - 1, 0, 0]
    json.dump(found, sys.stdout)


if __name__ == '__main__':
    main()
