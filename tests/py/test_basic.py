# SPDX-License-Identifier: MIT OR 0BSD
"""Does it work here?  Server and client against each other, in one process."""

import contextlib
import gc
import io
import os
import pickle
import signal
import socket
import threading
import time
import weakref

import pytest

from degu import ADDRESS_CONSTANTS, IPv4_LOOPBACK, IPv6_LOOPBACK
from degu.base import (
    DEFAULT_BODIES,
    Body,
    BodyIter,
    ChunkedBody,
    ChunkedBodyIter,
    Connection,
    ContentRange,
    EmptyPreambleError,
    ProtocolError,
    Range,
    Request,
    Response,
    Session,
    TruncatedError,
    api,
)
from degu.client import Client
from degu.misc import TempServer
from degu.server import Server


@contextlib.contextmanager
def serving(app, address=IPv4_LOOPBACK, **options):
    server = Server(address, app, **options)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(10)
        assert not thread.is_alive()


@contextlib.contextmanager
def peer(*answers):
    """A socket that answers each thing it gets with the next of *answers*."""
    (ours, theirs) = socket.socketpair()

    def answer():
        for data in answers:
            if not theirs.recv(65536):
                break
            theirs.sendall(data)
        theirs.close()

    thread = threading.Thread(target=answer)
    thread.start()
    conn = Connection(ours, None)
    try:
        yield conn
    finally:
        conn.close()
        thread.join(10)


def raw(server, data):
    """Sends bytes to a server, returns all that it answers."""
    with socket.create_connection(server.address, 10) as sock:
        sock.sendall(data)
        got = b''
        while True:
            more = sock.recv(65536)
            if not more:
                return got
            got += more


def example(session, request, api):
    if request.method != 'GET':
        return (405, 'Method Not Allowed', {}, None)
    if request.path != ['example']:
        return (404, 'Not Found', {}, None)
    return (200, 'OK', {}, b'hello, world')


def echo(session, request, api):
    return (200, 'OK', {}, request.body)


def addresses(tmp_path):
    return (
        IPv4_LOOPBACK,
        IPv6_LOOPBACK,
        str(tmp_path / 'a.sock'),
        b'',
    )


# ---- the main job ----


def test_readme():
    server = TempServer(('127.0.0.1', 0), example)
    conn = Client(server.address).connect()
    response = conn.get('/example', {})
    assert repr(response) == (
        "Response(status=200, reason='OK', headers={'content-length': 12}, "
        'body=Body(<reader>, 12))'
    )
    assert response.body.read() == b'hello, world'
    assert repr(conn.get('/nope', {})) == (
        "Response(status=404, reason='Not Found', headers={}, body=None)"
    )
    assert conn.post('/', {}, None) == (405, 'Method Not Allowed', {}, None)
    process = server.process
    conn.close()
    del server
    gc.collect()
    assert process.exitcode == -signal.SIGTERM


def test_addresses(tmp_path):
    assert len(ADDRESS_CONSTANTS) == 4
    for address in addresses(tmp_path):
        with serving(example, address) as server:
            conn = Client(server.address).connect()
            for i in range(3):
                assert conn.get('/example', {}).body.read() == b'hello, world'
            conn.close()
    assert not os.path.exists(str(tmp_path / 'a.sock'))


def test_request():
    seen = []

    def app(session, request, api):
        seen.append((session, request, repr(request)))
        return (200, 'OK', {}, None)

    with serving(app) as server:
        conn = Client(server.address, host=None).connect()
        conn.get('/a/b/?q=%20', {'x-a': 'b', 'x-n': 5})
        conn.get_range('/', {}, 3, 9)
        session = seen[0][0]
        assert session.requests == 1
        assert session.address == conn.sock.getsockname()
        conn.close()
    assert seen[0][2] == (
        "Request(method='GET', uri='/a/b/?q=%20', headers={'x-a': 'b', "
        "'x-n': '5'}, body=None, mount=[], path=['a', 'b', ''], query='q=%20')"
    )
    assert seen[1][1].headers == {'range': Range(3, 9)}
    assert seen[0][0] is seen[1][0]
    assert session.closed and session.requests == 2


def test_headers():
    def app(session, request, api):
        assert request.headers['accept'] == 'a, b'
        headers = {
            'set-cookie': ['a=1', 'b=2'],
            'content-range': ContentRange(0, 5, 9),
        }
        return (206, 'Partial Content', headers, b'hello')

    with serving(app) as server:
        text = b'GET / HTTP/1.1\r\nAccept: a\r\naccept: b\r\n'
        assert b'206' in raw(server, text + b'connection: close\r\n\r\n')
        conn = Client(server.address).connect()
        headers = {'accept': 'a, b', 'host': 'other:80'}
        response = conn.get('/', headers)
        assert response.headers == {
            'set-cookie': ['a=1', 'b=2'],
            'content-range': ContentRange(0, 5, 9),
            'content-length': 5,
        }
        assert headers == {'accept': 'a, b', 'host': 'other:80'}
        assert response.body.read(5) == b'hello'
        assert response.body.state == 2
        conn.close()


# ---- bodies ----


def test_body_from_file():
    body = Body(io.BytesIO(b'hello, world'), 12)
    assert (body.state, body.chunked, body.content_length) == (0, False, 12)
    assert repr(body) == 'Body(<rfile>, 12)'
    assert body.read(5) == b'hello'
    assert body.state == 1
    with pytest.raises(ValueError):
        iter(body)
    assert body.read() == b', world'
    assert body.state == 2
    assert body.read(5) == b''
    with pytest.raises(ValueError):
        body.read()
    body = Body(io.BytesIO(b'hello'), 6)
    with pytest.raises(TruncatedError):
        body.read()
    assert body.state == 3
    assert list(Body(io.BytesIO(b'x' * 1500000), 1400000)) == [
        b'x' * 1048576,
        b'x' * (1400000 - 1048576),
    ]
    file = io.BytesIO(b'helloworld')
    out = io.BytesIO()
    assert Body(file, 5).write_to(out) == 5
    assert (out.getvalue(), file.read()) == (b'hello', b'world')
    with pytest.raises(AttributeError):
        Body(b'', 5)


def test_chunked_body_from_file():
    text = b'5;k=v\r\nhello\r\n1;a="b\\"c"\r\n,\r\n0;z\r\n\r\nrest'
    chunks = [
        (('k', 'v'), b'hello'),
        (('a', 'b"c'), b','),
        (('z', None), b''),
    ]
    file = io.BytesIO(text)
    assert list(ChunkedBody(file)) == chunks
    assert file.read() == b'rest'
    body = ChunkedBody(io.BytesIO(text))
    assert body.readchunk() == chunks[0]
    assert body.read() == b','
    assert body.state == 2
    out = io.BytesIO()
    assert ChunkedBody(io.BytesIO(text)).write_to(out) == len(text) - 4
    assert list(ChunkedBody(io.BytesIO(out.getvalue()))) == chunks
    out = io.BytesIO()
    body = ChunkedBodyIter(iter(chunks))
    assert body.write_to(out) == len(text) - 4
    assert body.state == 2
    assert list(ChunkedBody(io.BytesIO(out.getvalue()))) == chunks
    with pytest.raises(ProtocolError) as info:
        ChunkedBody(io.BytesIO(b'xx\r\n')).read()
    assert info.value.code == 'E_CHUNK_SIZE'


def test_body_iter():
    out = io.BytesIO()
    assert BodyIter([b'he', b'', bytearray(b'llo')], 5).write_to(out) == 5
    assert out.getvalue() == b'hello'

    def broken():
        yield b'he'
        raise KeyError('x')

    body = BodyIter(broken(), 5)
    with pytest.raises(KeyError):
        body.write_to(out)
    assert body.state == 3
    for (source, length) in (([b'abc', b'def'], 5), ([b'abc'], 5)):
        with pytest.raises(ProtocolError):
            BodyIter(source, length).write_to(io.BytesIO())
    for source in (['abc'], 5, [None]):
        with pytest.raises(TypeError):
            BodyIter(source, 5).write_to(io.BytesIO())


@pytest.mark.parametrize(
    'make',
    [
        lambda: b'hello, world',
        lambda: bytearray(b'hello, world'),
        lambda: memoryview(b'hello, world'),
        lambda: api.Body(io.BytesIO(b'hello, world'), 12),
        lambda: api.BodyIter(iter([b'hello, ', b'world']), 12),
        lambda: api.ChunkedBody(
            io.BytesIO(b'c;k=v\r\nhello, world\r\n0\r\n\r\n')
        ),
        lambda: api.ChunkedBodyIter(
            [(('k', 'v'), b'hello, world'), (None, b'')]
        ),
    ],
)
def test_bodies_both_ways(make):
    def app(session, request, api):
        assert request.body.read() == b'hello, world'
        return (200, 'OK', {}, make())

    with serving(app) as server, serving(echo) as other:
        conn = Client(server.address).connect()
        for i in range(3):
            response = conn.post('/', {}, make())
            assert response.body.read() == b'hello, world'
        conn.close()
        conn = Client(other.address).connect()
        for i in range(3):
            response = conn.put('/', {}, make())
            assert response.body.read() == b'hello, world'
        conn.close()


def test_large_bodies(tmp_path):
    big = os.urandom(5000000)

    def app(session, request, api):
        assert request.body.read() == big
        if request.path == ['chunks']:
            chunks = [(None, big), (None, b'')]
            return (200, 'OK', {}, api.ChunkedBodyIter(chunks))
        return (200, 'OK', {}, big)

    for address in addresses(tmp_path):
        with serving(app, address) as server:
            conn = Client(server.address).connect()
            for body in (
                big,
                BodyIter([big[:3000000], big[3000000:]], len(big)),
                ChunkedBodyIter([(None, big), (None, b'')]),
            ):
                assert b''.join(conn.put('/', {}, body).body) == big
            response = conn.put('/chunks', {}, big)
            assert list(response.body) == [(None, big), (None, b'')]
            conn.close()


def test_proxy():
    with serving(echo) as server:
        client = Client(server.address)

        def proxy(session, request, api):
            if 'conn' not in session.store:
                session.store['conn'] = client.connect()
            return session.store['conn'].request(
                request.method,
                request.build_proxy_uri(),
                request.headers,
                request.body,
            )

        with serving(proxy) as front:
            conn = Client(front.address).connect()
            for i in range(3):
                response = conn.post('/a?b', {}, b'x' * 100)
                assert response.body.read() == b'x' * 100
                chunks = [(('k', 'v'), b'hello'), (None, b'')]
                response = conn.post('/a', {}, ChunkedBodyIter(chunks))
                assert list(response.body) == chunks
            conn.close()


# ---- values ----


def test_values():
    r = Range(0, 5)
    assert (r.start, r.stop) == (0, 5)
    assert (repr(r), str(r)) == ('Range(0, 5)', 'bytes=0-4')
    assert r == Range(0, 5) and r != Range(0, 6) and r == 'bytes=0-4'
    assert r != None and r != 5 and r not in [None]  # noqa: E711
    assert {r: 1}['bytes=0-4'] == 1
    assert pickle.loads(pickle.dumps(r)) == r
    assert r.content_length(3) == 3
    c = r.content_range(9)
    assert (repr(c), str(c)) == ('ContentRange(0, 5, 9)', 'bytes 0-4/9')
    assert pickle.loads(pickle.dumps(c)) == c and hash(c) == hash(str(c))
    for args in ((5, 5), (-1, 5), (0, 10**16), (True, 5), ('0', 5), (0.0, 5)):
        with pytest.raises((TypeError, ValueError)):
            Range(*args)
    with pytest.raises(TypeError):
        r < Range(1, 2)
    with pytest.raises(ValueError):
        ContentRange(0, 10, 9)
    response = Response(200, 'OK', {}, None)
    assert response == (200, 'OK', {}, None)
    assert pickle.loads(pickle.dumps(response)) == response
    assert api._fields == (
        'Body',
        'ChunkedBody',
        'BodyIter',
        'ChunkedBodyIter',
        'Range',
        'ContentRange',
    )


def test_request_object():
    request = Request('GET', '/a/b', {}, None, [], ['a', 'b'], '')
    assert request.shift_path() == 'a'
    assert (request.mount, request.path) == (['a'], ['b'])
    assert request.build_proxy_uri() == '/b?'
    with pytest.raises(ValueError):
        Request('FOO', '/', {}, None, [], [], None)
    with pytest.raises(TypeError):
        Request('GET', '/', {}, None, (), [], None)
    session = Session(('::1', 1, 0, 0), (1, 2, 3))
    assert repr(session) == "Session(('::1', 1, 0, 0), (1, 2, 3))"
    assert (session.requests, session.closed) == (0, False)
    assert session == {'client': ('::1', 1, 0, 0)}
    for cls in (Request, Session, Body, ChunkedBody, BodyIter, Connection):
        with pytest.raises(TypeError):
            cls.__new__(cls)


# ---- errors ----


def test_server_options():
    server = Server(IPv4_LOOPBACK, example)
    assert server.options == {
        'bodies': DEFAULT_BODIES,
        'timeout': 15,
        'min_rate': 256,
        'spin': 0,
        'on_exchange': None,
        'max_connections': 25,
        'max_requests_per_connection': 100,
        'stop_timeout': 5,
    }
    server.sock.close()
    server = Server(IPv4_LOOPBACK, example, max_requests=7)
    assert server.options['max_requests_per_connection'] == 7
    server.sock.close()
    for options in (
        {'timeout': 0},
        {'timeout': None},
        {'timeout': float('inf')},
        {'max_connections': True},
        {'max_connections': 0},
        {'max_requests': -1},
        {'bodies': None},
        {'foo': 1},
    ):
        with pytest.raises((TypeError, ValueError)):
            Server(IPv4_LOOPBACK, example, **options)
        with pytest.raises((TypeError, ValueError)):
            TempServer(IPv4_LOOPBACK, example, **options)
    for address in (('::1', 0), ('::1', 0, 0), 'relative', 5, None):
        with pytest.raises((TypeError, ValueError)):
            Server(address, example)
    for app in (None, 5):
        with pytest.raises(TypeError):
            Server(IPv4_LOOPBACK, app)


def test_bad_requests():
    with serving(example) as server:
        for (data, status) in (
            (b'\r\n', b'400'),
            (b'FOO / HTTP/1.1\r\n\r\n', b'501'),
            (b'GET / HTTP/1.0\r\n\r\n', b'505'),
            (b'GET /\xff HTTP/1.1\r\n\r\n', b'400'),
            (b'GET / HTTP/1.1\r\nexpect: me\r\n\r\n', b'417'),
        ):
            got = raw(server, data)
            assert got.startswith(b'HTTP/1.1 ' + status), (data, got)
            assert b'\r\nconnection: close\r\n' in got
        conn = Client(server.address).connect()
        assert conn.get('/example', {}).status == 200
        conn.close()


@pytest.mark.parametrize(
    'answer',
    [
        None,
        5,
        (200, 'OK', {}),
        (99, 'OK', {}, None),
        (True, 'OK', {}, None),
        (200, 'O\r\nK', {}, None),
        (200, 'OK', None, None),
        (200, 'OK', {'a': None}, None),
        (200, 'OK', {'a': 'b\r\nc: d'}, None),
        (200, 'OK', {'A': 'b'}, None),
        (200, 'OK', {5: 'b'}, None),
        (200, 'OK', {'content-length': 5}, b'hell'),
        (200, 'OK', {}, 'text'),
        (204, 'No Content', {}, b'hello'),
        (100, 'Continue', {}, None),
    ],
)
def test_bad_answers(answer):
    with serving(lambda session, request, api: answer) as server:
        got = raw(server, b'GET / HTTP/1.1\r\n\r\n')
        assert got.startswith(b'HTTP/1.1 500 ')
        assert got.endswith(b'\r\n\r\n')


def test_app_raises():
    def app(session, request, api):
        raise SystemExit(request.path)

    with serving(app) as server:
        for i in range(3):
            got = raw(server, b'GET / HTTP/1.1\r\n\r\n')
            assert got.startswith(b'HTTP/1.1 500 ')


def test_source_raises():
    def app(session, request, api):
        return (200, 'OK', {}, api.BodyIter(source(), 10))

    def source():
        yield b'hello'
        raise KeyError('x')

    with serving(app) as server:
        conn = Client(server.address).connect()
        with pytest.raises(TruncatedError):
            conn.get('/', {}).body.read()
        assert conn.closed


def test_client_errors():
    with serving(example) as server:
        conn = Client(server.address).connect()
        for args in (
            ('GET', '/\n', {}, None),
            ('GET', '/', {'a': 'b\n'}, None),
            ('GET', '/', {'a': 'ä'}, None),
            ('GET', '/', {}, b'body'),
            ('FOO', '/', {}, None),
        ):
            with pytest.raises(ValueError):
                conn.request(*args)
        with pytest.raises(ProtocolError) as info:
            conn.get('/', {'good': 'x', 'bad one': 'y'})
        assert info.value.code == 'E_NAME'
        assert 'bad one' in str(info.value)
        for args in (
            ('GET', b'/', {}, None),
            ('GET', '/', [], None),
            ('PUT', '/', {}, 'text'),
            ('GET',),
            ('GET', '/', {}, None, None),
        ):
            with pytest.raises(TypeError):
                conn.request(*args)
        assert not conn.closed
        assert conn.get('/example', {}).body.read() == b'hello, world'
        conn.get('/example', {})
        with pytest.raises(ValueError):
            conn.get('/example', {})
        conn.close()
        conn.close()
        with pytest.raises(ValueError):
            conn.get('/', {})
    with pytest.raises(ConnectionRefusedError):
        Client(server.address).connect()


def test_bad_peers():
    for (answer, error) in (
        (b'', EmptyPreambleError),
        (b'HTTP/1.1 200', TruncatedError),
        (b'HTTP/1.1 2000 OK\r\n\r\n', ProtocolError),
        (b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell', TruncatedError),
    ):
        with peer(answer) as conn:
            with pytest.raises(error) as info:
                conn.get('/', {}).body.read()
            assert conn.closed
            copy = pickle.loads(pickle.dumps(info.value))
            assert (copy.code, copy.args) == (info.value.code, info.value.args)
    with peer(b'HTTP/1.1 200 O\xff\r\n\r\n') as conn:
        with pytest.raises(ProtocolError) as info:
            conn.get('/', {})
        assert info.value.code == 'E_REASON'
        assert info.value.offset == 14
        assert '\\xff' in str(info.value)


def test_until_close():
    with peer(b'HTTP/1.1 200 OK\r\n\r\nhello') as conn:
        response = conn.get('/', {})
        assert repr(response.body) == 'Body(<reader>, None)'
        assert response.body.content_length is None
        assert response.body.read() == b'hello'
        assert conn.closed
    with peer(b'HTTP/1.1 200 OK\r\n\r\nhello') as conn:
        assert b''.join(conn.get('/', {}).body) == b'hello'


def test_timeout_and_unasked():
    (ours, theirs) = socket.socketpair()
    ours.settimeout(0.1)
    conn = Connection(ours, None)
    with pytest.raises(TimeoutError):
        conn.get('/', {})
    assert conn.closed
    with peer(
        b'HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n\r\n'
    ) as conn:
        assert conn.get('/', {}).status == 204
        with pytest.raises(ProtocolError) as info:
            conn.get('/', {})
        assert info.value.code == 'E_UNASKED'
    theirs.close()


class Duck:
    """No socket.socket, but as good."""

    def __init__(self, sock):
        self.sock = sock
        self.views = []

    def recv_into(self, view):
        self.views.append(view)
        return self.sock.recv_into(view)

    def send(self, data):
        return self.sock.send(data[:7])

    def close(self):
        self.sock.close()


def test_duck():
    with serving(echo) as server:
        for body in (b'hello', b'x' * 300000):
            sock = socket.create_connection(server.address)
            conn = Connection(Duck(sock), (('x-a', 'b'),))
            assert conn.post('/', {}, body).body.read() == body
            with pytest.raises(ValueError):
                conn.sock.views[0][0] = 1
            conn.close()
            assert sock.fileno() == -1

    class Broken(Duck):
        def recv_into(self, view):
            raise KeyError('x')

    (a, b) = socket.socketpair()
    conn = Connection(Broken(a), None)
    with pytest.raises(KeyError):
        conn.get('/', {})
    assert conn.closed
    b.close()
    for n in (-1, True, 1000000, None):
        duck = Duck(None)
        duck.recv_into = lambda view: n
        duck.send = len
        duck.close = lambda: None
        with pytest.raises((TypeError, ValueError)):
            Connection(duck, None).get('/', {})


# ---- sessions, threads, signals ----


def test_on_connect():
    class App:
        answer = True

        def __call__(self, session, request, api):
            return (200, 'OK', {'x-user': session.store['_user']}, None)

        def on_connect(self, session, sock):
            assert isinstance(sock, socket.socket)
            assert sock.getpeername() == session.address
            session.store['_user'] = 'admin'
            return self.answer

    app = App()
    with serving(app) as server:
        conn = Client(server.address).connect()
        assert conn.get('/', {}).headers == {'x-user': 'admin'}
        assert conn.get('/', {}).headers == {'x-user': 'admin'}
        conn.close()
        for app.answer in (False, None, 1):
            with pytest.raises(ConnectionError):
                Client(server.address).connect().get('/', {})
    with pytest.raises(TypeError):
        app.on_connect = 5
        Server(IPv4_LOOPBACK, app)


def test_credentials(tmp_path):
    def app(session, request, api):
        assert session.credentials == (os.getpid(), os.getuid(), os.getgid())
        return (200, 'OK', {}, None)

    with serving(app, str(tmp_path / 'sock')) as server:
        conn = Client(server.address).connect()
        assert conn.get('/', {}).status == 200
        conn.close()


def test_blocking_apps():
    barrier = threading.Barrier(5)

    def app(session, request, api):
        barrier.wait(10)
        return (200, 'OK', {}, None)

    def get():
        conn = Client(server.address).connect()
        results.append(conn.get('/', {}).status)
        conn.close()

    results = []
    with serving(app) as server:
        threads = [threading.Thread(target=get) for i in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert results == [200] * 5


def test_max_requests():
    with serving(example, max_requests=2) as server:
        conn = Client(server.address).connect()
        assert conn.get('/', {}).status == 404
        assert not conn.closed
        assert conn.get('/', {}).status == 404
        assert conn.closed


def test_two_threads_one_connection():
    def app(session, request, api):
        time.sleep(0.3)
        return (200, 'OK', {}, None)

    with serving(app) as server:
        conn = Client(server.address).connect()
        thread = threading.Thread(target=conn.get, args=('/', {}))
        thread.start()
        time.sleep(0.1)
        with pytest.raises(RuntimeError):
            conn.get('/', {})
        thread.join()
        assert conn.get('/', {}).status == 200
        conn.close()


def test_body_outlives_request():
    kept = []

    def app(session, request, api):
        kept.append(request.body)
        return (200, 'OK', {}, None)

    with serving(app) as server:
        conn = Client(server.address).connect()
        assert conn.post('/', {}, b'hello').status == 200
        with pytest.raises(ValueError):
            kept[0].read()
        conn.close()


def test_ctrl_c_in_client():
    (ours, theirs) = socket.socketpair()
    conn = Connection(ours, None)

    def interrupt(number, frame):
        raise KeyError('signal')

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyError):
            conn.get('/', {})
    finally:
        signal.signal(signal.SIGALRM, old)
    assert conn.closed
    theirs.close()


def test_ctrl_c_in_server():
    server = Server(IPv4_LOOPBACK, example)
    timer = threading.Timer(
        0.3, lambda: os.kill(os.getpid(), signal.SIGINT)
    )
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        server.serve_forever()
    assert server.sock.fileno() == -1


def test_socket_closed_behind():
    with serving(example) as server:
        conn = Client(server.address).connect()
        conn.sock.close()
        with pytest.raises(ValueError):
            conn.get('/', {})
        assert conn.closed


def test_cycles():
    class Thing:
        pass

    thing = Thing()
    ref = weakref.ref(thing)

    def app(session, request, api):
        thing = ref()
        if thing is not None:
            session.store['thing'] = thing
            thing.session = session
            thing.request = request
            request.headers['thing'] = thing
        return (200, 'OK', {}, None)

    with serving(app) as server:
        conn = Client(server.address).connect()
        response = conn.get('/', {})
        response.headers['response'] = response
        conn.close()
        del thing, conn, response
    gc.collect()
    assert ref() is None
