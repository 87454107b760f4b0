# SPDX-License-Identifier: MIT OR 0BSD
"""The connection that a Client keeps for each thread, and the headers that are
its own (F6, F7, F8)."""

import contextlib
import gc
import os
import select
import socket
import tempfile
import threading

import pytest

from degu.base import (
    BodyIter,
    ChunkedBodyIter,
    Connection,
    DeguError,
    EmptyPreambleError,
    ProtocolError,
    Response,
    TruncatedError,
)
from degu.client import Client
from degu.server import Server
from peers import (
    WAIT,
    App,
    Running,
    Script,
    listening,
    receive_head,
    reset,
    until,
)

EMPTY = b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
HELLO = b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'
TCP = ('127.0.0.1', 0)
SAFE = ['GET', 'HEAD']
OTHER = ['PUT', 'POST', 'PATCH', 'DELETE', 'OPTIONS']


class Peer:
    """Plays one of scripts for each connection: bytes to send after each head
    that comes, or a function of the socket.  Then it closes."""

    def __init__(self, *scripts, address=b''):
        family = socket.AF_UNIX if isinstance(address, bytes) else (
            socket.AF_INET)
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.bind(address)
        self.listener.listen(5)
        self.address = self.listener.getsockname()
        self.heads = []
        self.failures = []
        self.closed = threading.Semaphore(0)
        self.thread = threading.Thread(target=self.run, args=(scripts,))

    def play(self, sock, script):
        for step in script:
            if callable(step):
                step(sock)
                continue
            head = receive_head(sock)
            assert head.endswith(b'\r\n\r\n'), 'no request came'
            self.heads.append(head)
            sock.sendall(step)

    def run(self, scripts):
        try:
            for script in scripts:
                (sock, _) = self.listener.accept()
                with sock:
                    sock.settimeout(WAIT)
                    self.play(sock, script)
                self.closed.release()
        except Exception as error:
            self.failures.append(error)
            self.listener.close()

    @property
    def methods(self):
        return [head.split(b' ')[0].decode() for head in self.heads]

    def __enter__(self):
        self.listener.settimeout(WAIT)
        self.thread.start()
        return self

    def wait_closed(self):
        assert self.closed.acquire(timeout=WAIT)

    def __exit__(self, kind, *unused):
        if kind:
            # Whoever still waits for a connection gets one that ends.
            self.listener.settimeout(0.01)
        self.thread.join(WAIT)
        self.listener.close()
        assert not self.thread.is_alive()
        if not kind and self.failures:
            raise self.failures[0]


class Counting:
    """An app that knows through which connection it was asked."""

    def __init__(self, answer=(200, 'OK', {}, b'hello')):
        self.answer = answer
        self.sessions = []
        self.closed = 0

    def __call__(self, session, request, api):
        if request.body is not None:
            request.body.read()
        if session not in self.sessions:
            self.sessions.append(session)
        if request.method == 'HEAD':
            return (200, 'OK', {'content-length': 5}, None)
        return self.answer


# ---------------------------------------------------------- kept and reopened

def test_one_connection_for_a_thread():
    app = Counting()
    with Running(app) as running:
        client = Client(running.address)
        for _ in range(5):
            assert client.get('/').body.read() == b'hello'
            assert client.put('/', {}, b'x').body.read() == b'hello'
            assert client.head('/').body is None
        assert len(app.sessions) == 1
        conn = client.connect()
        conn.get('/').body.read()
        client.get('/').body.read()
        assert len(app.sessions) == 2
        client.close()
        assert not conn.closed
        client.get('/').body.read()
        assert len(app.sessions) == 3
        conn.close()
        client.close()
        client.close()


def test_one_connection_for_each_thread():
    app = Counting()
    count = 5
    gate = threading.Barrier(count)
    got = []

    def run(client):
        gate.wait(WAIT)
        for _ in range(20):
            got.append(client.get('/').body.read())
        gate.wait(WAIT)

    with Running(app) as running:
        client = Client(running.address)
        threads = [threading.Thread(target=run, args=(client,))
                   for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert got == [b'hello'] * (20 * count)
        assert len(app.sessions) == count
        # What a thread kept is closed when it has ended.
        until(lambda: gc.collect() >= 0 and all(
            session.closed for session in app.sessions))


@pytest.mark.parametrize('method', SAFE + OTHER)
@pytest.mark.parametrize('most', [1, 2, 3, 7])
def test_reopened_after_max_requests(most, method):
    """The server says that it closes: no method notices."""
    app = Counting()
    with Running(app, max_requests_per_connection=most) as running:
        client = Client(running.address)
        for _ in range(3 * most + 1):
            response = client.request(method, '/')
            if response.body is not None:
                response.body.read()
        client.close()
    assert [session.requests for session in app.sessions] == (
        [most] * 3 + [1])


@pytest.mark.parametrize('method', SAFE + OTHER)
def test_reopened_after_the_server_was_idle(method):
    """The close came before the next request: no method notices."""
    app = Counting()
    with Running(app, timeout=0.2) as running:
        client = Client(running.address)
        for count in range(2):
            response = client.request(method, '/')
            if response.body is not None:
                response.body.read()
            sock = client._kept.conn.sock
            assert select.select([sock], [], [], WAIT)[0]
        assert len(app.sessions) == 2
        client.close()


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_reopened_after_a_restart_at_the_same_path(method):
    with tempfile.TemporaryDirectory() as folder:
        address = os.path.join(folder, 'socket')
        client = Client(address)
        for word in (b'one', b'two'):
            with Running(Counting((200, 'OK', {}, word)), address):
                for _ in range(2):
                    assert client.request(method, '/').body.read() == word
        with pytest.raises(FileNotFoundError):
            client.request(method, '/')
        with Running(Counting(), address):
            assert client.request(method, '/').body.read() == b'hello'
            client.close()


# ----------------------------------------------------------- what is repeated

@pytest.mark.parametrize('method', SAFE)
@pytest.mark.parametrize('close', [None, reset])
@pytest.mark.parametrize('address', [b'', TCP])
def test_closed_before_the_first_byte_is_repeated(method, close, address):
    """The request was read, and no answer came: sent once more."""
    last = [close] if close else []
    with Peer([EMPTY, b'', *last], [EMPTY, EMPTY], address=address) as peer:
        client = Client(peer.address)
        for _ in range(3):
            assert client.request(method, '/').status == 200
    assert peer.methods == [method] * 4
    client.close()


@pytest.mark.parametrize('method', SAFE)
def test_repeated_only_once(method):
    with Peer([EMPTY, b''], [b''], [EMPTY]) as peer:
        client = Client(peer.address)
        client.request(method, '/')
        with pytest.raises(ConnectionError):
            client.request(method, '/')
        assert len(peer.heads) == 3
        assert client.request(method, '/').status == 200
    assert len(peer.heads) == 4
    client.close()


@pytest.mark.parametrize('method', SAFE + OTHER)
def test_first_request_of_a_connection_is_not_repeated(method):
    """It was not idle, so that is not what happened."""
    with Peer([b''], [EMPTY]) as peer:
        client = Client(peer.address)
        with pytest.raises(EmptyPreambleError):
            client.request(method, '/')
        assert len(peer.heads) == 1
        assert client.request(method, '/').status == 200
    client.close()


@pytest.mark.parametrize('method', OTHER)
@pytest.mark.parametrize('close', [None, reset])
@pytest.mark.parametrize('address', [b'', TCP])
def test_other_methods_are_not_repeated(method, close, address):
    """The error is raised, and the next call starts anew."""
    last = [close] if close else []
    with Peer([EMPTY, b'', *last], [EMPTY], address=address) as peer:
        client = Client(peer.address)
        client.request(method, '/')
        with pytest.raises(ConnectionError):
            client.request(method, '/')
        assert len(peer.heads) == 2
        assert client.request(method, '/').status == 200
    assert peer.methods == [method] * 3
    client.close()


@pytest.mark.parametrize('method', ['PUT', 'POST', 'PATCH'])
def test_body_is_not_sent_twice(method):
    pulled = []

    def source():
        pulled.append(1)
        yield b'hello'

    def take(sock):
        data = b''
        while not data.endswith(b'hello'):
            data += sock.recv(1000)

    with Peer([EMPTY, take]) as peer:
        client = Client(peer.address)
        client.request(method, '/')
        with pytest.raises(ConnectionError):
            client.request(method, '/', {}, BodyIter(source(), 5))
    assert pulled == [1]


@pytest.mark.parametrize('method', SAFE)
@pytest.mark.parametrize('kind, error', [
    ('end', TruncatedError), ('reset', ConnectionResetError)])
@pytest.mark.parametrize('start', [
    b'H', b'HTTP/1.1 200', EMPTY[:-1], b'HTTP/1.1 100 Continue\r\n\r\n',
    b'HTTP/1.1 103 Early Hints\r\na: b\r\n\r\nHTTP/1.1 2'])
def test_cut_inside_a_response_is_not_repeated(method, start, kind, error):
    """Not even a GET: an answer had begun."""
    def cut(sock):
        # At an AF_UNIX socket a reset stands behind what was sent.
        data = sock.recv(5) if kind == 'reset' else receive_head(sock)
        assert data.startswith(method.encode())
        sock.sendall(start)

    with Peer([EMPTY, cut], [EMPTY]) as peer:
        client = Client(peer.address)
        client.request(method, '/')
        with pytest.raises(error):
            client.request(method, '/')
        assert len(peer.heads) == 1
        assert client.request(method, '/').status == 200
    client.close()


@pytest.mark.parametrize('method', SAFE + OTHER)
@pytest.mark.parametrize('bad', [
    b'junk\r\n\r\n', b'HTTP/1.1 99 OK\r\n\r\n',
    b'HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n'])
def test_malformed_response_is_not_repeated(method, bad):
    with Peer([EMPTY, bad], [EMPTY]) as peer:
        client = Client(peer.address)
        client.request(method, '/')
        with pytest.raises(ProtocolError):
            client.request(method, '/')
        assert len(peer.heads) == 2
        assert client.request(method, '/').status == 200
    client.close()


@pytest.mark.parametrize('method', SAFE)
def test_timeout_is_not_repeated(method):
    done = threading.Event()
    with Peer([EMPTY, b'', lambda sock: done.wait(WAIT)]) as peer:
        client = Client(peer.address, timeout=0.5)
        client.request(method, '/')
        with pytest.raises(TimeoutError):
            client.request(method, '/')
        done.set()
    assert len(peer.heads) == 2
    client.close()


@pytest.mark.parametrize('method', ['GET', 'PUT'])
def test_refused_after_a_close(method):
    """Nobody listens any more: the error says so."""
    with Peer([EMPTY], address=TCP) as peer:
        client = Client(peer.address)
        client.request(method, '/')
        peer.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        client.request(method, '/')


def test_on_connect_is_for_kept_ones_too():
    seen = []

    def on_connect(conn):
        seen.append(conn)
        return len(seen) < 3

    with Running(Counting(), max_requests=1) as running:
        client = Client(running.address, on_connect=on_connect)
        assert client.get('/').body.read() == b'hello'
        assert client.get('/').body.read() == b'hello'
        for _ in range(2):
            with pytest.raises(ValueError):
                client.get('/')
        client.close()
        assert len({id(conn) for conn in seen}) == 4
        assert all(conn.closed or conn.sock.fileno() < 0 for conn in seen)


# ---------------------------------------------------------------- left unread

@pytest.mark.parametrize('method', ['GET', 'PUT'])
@pytest.mark.parametrize('started', [False, True])
@pytest.mark.parametrize('keep', [False, True])
def test_unread_body_is_an_error(method, started, keep):
    """It ends that connection; the next call works."""
    app = Counting()
    with Running(app) as running:
        client = Client(running.address)
        response = client.request(method, '/')
        if started:
            assert response.body.read(2) == b'he'
        if not keep:
            response = None
        with pytest.raises(ProtocolError) as info:
            client.request(method, '/')
        assert info.value.code == 'E_ORDER'
        assert client.request(method, '/').body.read() == b'hello'
        assert len(app.sessions) == 2
        if response:
            with pytest.raises(ValueError):
                response.body.read()
        client.close()


# ----------------------------------------------------------- nobody asked for

@pytest.mark.parametrize('method', SAFE + OTHER)
@pytest.mark.parametrize('junk', [b'x', EMPTY, b'\r\n'])
@pytest.mark.parametrize('split', [False, True])
def test_junk_that_waits_means_a_new_connection(method, junk, split):
    """It is never taken for an answer, whether it came with the last one or
    behind it."""
    sent = threading.Event()

    def later(sock):
        sock.sendall(junk)
        wait(sock)

    def wait(sock):
        sent.set()
        # The other end closes it with bytes unread.
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b''

    first = [EMPTY, later] if split else [EMPTY + junk, wait]
    with Peer(first, [b'HTTP/1.1 201 New\r\ncontent-length: 0\r\n\r\n']
              ) as peer:
        client = Client(peer.address)
        client.request(method, '/')
        assert sent.wait(WAIT)
        assert client.request(method, '/').status == 201
    assert len(peer.heads) == 2
    client.close()


def test_check():
    """What the next request would raise before it sends anything."""
    conn = Connection(Script(HELLO + EMPTY + EMPTY + b'x'))
    assert conn.check() is None
    response = conn.get('/')
    for _ in range(2):
        with pytest.raises(ProtocolError) as info:
            conn.check()
        assert info.value.code == 'E_ORDER'
        assert not conn.closed
    response.body.read()
    # Of a pipe of one's own making all that lies in the buffer is junk.
    with pytest.raises(ProtocolError) as info:
        conn.check()
    assert info.value.code == 'E_UNASKED'
    conn.close()
    with pytest.raises(ProtocolError) as info:
        conn.check()
    assert info.value.code == 'E_FINISHED'
    with pytest.raises(TypeError):
        conn.check(1)


@pytest.mark.parametrize('close', [None, reset])
def test_check_of_a_closed_connection(close):
    with Peer([EMPTY, *([close] if close else [])], address=TCP) as peer:
        conn = Client(peer.address).connect()
        assert conn.check() is None
        conn.get('/')
        peer.wait_closed()
        with pytest.raises(ConnectionError):
            conn.check()


def test_check_does_not_wait():
    with listening(lambda sock: sock.recv(1), TCP) as address:
        conn = Client(address, timeout=None).connect()
        for _ in range(100):
            assert conn.check() is None
        conn.close()


# ---------------------------------------------------- was it sent or answered

def progress(call, *args):
    """What the exception says."""
    with pytest.raises((DeguError, OSError)) as info:
        call(*args)
    return (info.value.sent, info.value.answered, str(info.value))


@pytest.mark.parametrize('method', SAFE + OTHER)
@pytest.mark.parametrize('close', [None, reset])
@pytest.mark.parametrize('address', [b'', TCP])
def test_stale_connection_says_that_nothing_was_sent(method, close, address):
    with Peer([EMPTY, *([close] if close else [])], address=address) as peer:
        conn = Client(peer.address).connect()
        conn.get('/')
        peer.wait_closed()
        (sent, answered, text) = progress(conn.request, method, '/')
        assert (sent, answered) == (False, False)
        assert 'nothing was sent' in text or (close and address)
        assert conn.closed
        # Nor was anything of the next, which is refused at once.
        assert progress(conn.request, method, '/')[:2] == (False, False)
    assert peer.methods == ['GET']


@pytest.mark.parametrize('check', [False, True])
def test_bytes_that_wait_say_that_nothing_was_sent(check):
    with Peer([EMPTY + b'x']) as peer:
        conn = Client(peer.address).connect()
        conn.get('/')
        call = (conn.check,) if check else (conn.request, 'POST', '/')
        assert progress(*call)[:2] == (False, False)
    assert peer.methods == ['GET']


def test_no_connection_says_that_nothing_was_sent():
    with socket.socket() as sock:
        sock.bind(TCP)
        client = Client(sock.getsockname())
        assert progress(client.request, 'POST', '/')[:2] == (False, False)


@pytest.mark.parametrize('method', OTHER)
@pytest.mark.parametrize('close', [None, reset])
def test_sent_and_not_answered(method, close):
    with Peer([EMPTY, b'', *([close] if close else [])], address=TCP) as peer:
        client = Client(peer.address)
        client.request(method, '/')
        (sent, answered, text) = progress(client.request, method, '/')
        assert (sent, answered) == (True, False)
        assert 'no answer came' in text or close
    assert peer.methods == [method] * 2


def test_timed_out_and_not_answered():
    done = threading.Event()
    with Peer([EMPTY, b'', lambda sock: done.wait(WAIT)]) as peer:
        conn = Client(peer.address, timeout=0.2).connect()
        conn.get('/')
        assert progress(conn.get, '/')[:2] == (True, False)
        done.set()


@pytest.mark.parametrize('start', [
    b'H', b'HTTP/1.1 200 OK\n\n', EMPTY[:-1],
    b'HTTP/1.1 103 Early Hints\r\n\r\n'])
@pytest.mark.parametrize('close', [None, reset])
def test_answered_in_part(start, close):
    with Peer([EMPTY, start, *([close] if close else [])],
              address=TCP) as peer:
        conn = Client(peer.address).connect()
        conn.get('/')
        assert progress(conn.get, '/')[:2] == (True, True)
    assert len(peer.heads) == 2


def test_callers_fault_says_that_nothing_was_sent():
    with Peer([HELLO]) as peer:
        conn = Client(peer.address).connect()
        for args in (('x',), ('/', {'a': '\r'})):
            assert progress(conn.get, *args)[:2] == (False, False)
        response = conn.get('/')
        assert progress(conn.get, '/')[:2] == (False, False)
        assert response.body.read() == b'hello'
        conn.close()


def test_source_that_fails_after_a_byte_says_that_it_was_sent():
    def source():
        yield bytes(100000)
        raise OSError('no more')

    with listening(lambda sock: sock.recv(1), TCP) as address:
        conn = Client(address).connect()
        body = conn.api.BodyIter(source(), 200000)
        assert progress(conn.put, '/', {}, body) == (True, False, 'no more')


# --------------------------------------------------------- closed and dropped

@pytest.mark.parametrize('drop', [
    lambda clients: clients.clear(), lambda clients: clients[0].close()])
def test_dropped_client_closes(drop):
    """Without a warning of Python's."""
    app = Counting()
    with Running(app) as running:
        clients = [Client(running.address)]
        clients[0].get('/').body.read()
        (session,) = app.sessions
        assert not session.closed
        drop(clients)
        gc.collect()
        until(lambda: session.closed)


def test_close_is_of_the_calling_thread():
    app = Counting()
    ready = threading.Event()
    done = threading.Event()

    def run(client):
        client.get('/').body.read()
        ready.set()
        assert done.wait(WAIT)
        client.get('/').body.read()

    with Running(app) as running:
        client = Client(running.address)
        thread = threading.Thread(target=run, args=(client,))
        thread.start()
        assert ready.wait(WAIT)
        client.close()
        done.set()
        thread.join(WAIT)
        assert len(app.sessions) == 1


@pytest.mark.parametrize('args, error', [
    (('FOO', '/'), ValueError), (('get', '/'), ValueError),
    ((5, '/'), TypeError), (('GET', 5), TypeError), (('GET', 'a'), ValueError),
    (('GET', '/', {'a': 'x\r\n'}), ValueError), (('GET', '/', 5), TypeError),
    (('GET', '/', {}, b'x'), ValueError), (('PUT', '/', {}, 'x'), TypeError),
    (('PUT', '/', {'content-length': 9}, b'x'), ValueError)])
def test_wrong_arguments_cost_no_connection(args, error):
    app = Counting()
    with Running(app) as running:
        client = Client(running.address)
        for _ in range(2):
            with pytest.raises(error):
                client.request(*args)
            assert client.get('/').body.read() == b'hello'
        assert len(app.sessions) == 1
        client.close()


def test_source_that_uses_the_same_client():
    """It gets a connection of its own, and neither is lost."""
    app = Counting()
    with Running(app) as running:
        client = Client(running.address)

        def source():
            yield client.get('/').body.read()

        for _ in range(3):
            response = client.put('/', {}, BodyIter(source(), 5))
            assert response.body.read() == b'hello'
        client.close()


def test_source_that_raises_ends_the_connection():
    app = Counting()

    def source():
        yield b'h' * 70000
        raise KeyError('here')

    with Running(app) as running:
        client = Client(running.address)
        client.get('/').body.read()
        with pytest.raises(KeyError):
            client.put('/', {}, BodyIter(source(), 80000))
        assert client.get('/').body.read() == b'hello'
        client.close()


@pytest.mark.parametrize('error', [ConnectionError, EmptyPreambleError,
                                   TruncatedError, BrokenPipeError])
def test_source_that_raises_what_a_connection_does(error):
    """It is the caller's, and nothing is sent again."""
    calls = []

    def source():
        calls.append(1)
        raise error('here')
        yield

    with Running(Counting()) as running:
        client = Client(running.address)
        client.get('/').body.read()
        with pytest.raises(error, match='here'):
            client.post('/', {}, ChunkedBodyIter(source()))
        assert calls == [1]
        client.close()


# ------------------------------------------------------------------ shortcuts

SHORTCUTS = [
    ('get', 'GET', ()), ('head', 'HEAD', ()), ('delete', 'DELETE', ()),
    ('put', 'PUT', ('body',)), ('post', 'POST', ('body',))]


@pytest.mark.parametrize('owner', ['client', 'conn'])
@pytest.mark.parametrize('name, method, more', SHORTCUTS)
def test_shortcuts_with_defaults_and_keywords(name, method, more, owner):
    app = Counting()
    with Running(app) as running:
        client = Client(running.address)
        target = client if owner == 'client' else client.connect()
        call = getattr(target, name)
        calls = [((), {'uri': '/'}), (('/',), {}), (('/', None), {}),
                 (('/', {'a': 'b'}), {}), (('/',), {'headers': {'a': 'b'}}),
                 ((), {'headers': None, 'uri': '/'})]
        if more:
            calls += [(('/', None, b'x'), {}), (('/',), {'body': b'x'}),
                      ((), {'body': None, 'uri': '/', 'headers': {}})]
        for (args, kw) in calls:
            response = call(*args, **kw)
            assert type(response) is Response and response.status == 200
            if response.body is not None:
                assert response.body.read() == b'hello'
        for (args, kw) in [((), {}), (('/', {}, None, None), {}),
                           (('/',), {'uri': '/'}), (('/',), {'other': 1}),
                           (('/', {}), {'headers': {}})]:
            with pytest.raises(TypeError):
                call(*args, **kw)
        if not more:
            with pytest.raises(TypeError):
                call('/', {}, b'x')
            with pytest.raises(TypeError):
                call('/', body=b'x')
        assert len(app.sessions) == 1
        target.close()


@pytest.mark.parametrize('method', SAFE + OTHER)
def test_request_with_defaults_and_keywords(method):
    app = Counting()
    with Running(app) as running:
        client = Client(running.address)
        for target in (client, client.connect()):
            for (args, kw) in [
                    ((method, '/'), {}), ((method,), {'uri': '/'}),
                    ((), {'uri': '/', 'method': method}),
                    ((method, '/', None, None), {}),
                    ((method, '/', {}), {'body': None})]:
                response = target.request(*args, **kw)
                if response.body is not None:
                    response.body.read()
            with pytest.raises(TypeError):
                target.request(method)
            with pytest.raises(TypeError):
                target.request(method, '/', {}, None, None)
            with pytest.raises(TypeError):
                target.request(method, '/', method=method)
            target.close()


# ----------------------------------------------------- a client's own headers

@contextlib.contextmanager
def seen_by(client_args=(), address=b'', **options):
    """(client, what an app got as headers)"""
    seen = []

    def app(request):
        seen.append(request.headers)
        if request.body is not None:
            request.body.read()
        return (200, 'OK', {}, None)

    with Running(app, address) as running:
        client = Client(running.address, *client_args, **options)
        try:
            yield (client, seen)
        finally:
            client.close()


@pytest.mark.parametrize('given', [
    {'x-own': 'own', 'authorization': 'me'},
    {'x-own': 'theirs', 'authorization': 'them', 'host': 'them'}, {}, None])
def test_own_headers_win(given):
    own = {'x-own': 'own', 'authorization': 'me'}
    unchanged = dict(own)
    before = None if given is None else dict(given)
    with seen_by((own,), TCP) as (client, seen):
        own['x-own'] = 'changed afterwards'
        client.get('/', given)
        client.put('/', given, b'hello')
        conn = client.connect()
        conn.get('/', given)
        conn.close()
        host = '{}:{}'.format(*client.address)
    assert given == before
    for headers in seen:
        headers.pop('content-length', None)
        assert headers == {**unchanged, 'host': host}


@pytest.mark.parametrize('headers, options, host', [
    (None, {}, 'address'), ({}, {}, 'address'),
    ({'host': 'a'}, {}, 'a'), (None, {'host': 'b'}, 'b'),
    ({'host': 'a'}, {'host': 'b'}, 'b'), (None, {'host': None}, None),
    ({'host': 'a'}, {'host': None}, None)])
def test_host(headers, options, host):
    with seen_by((headers,), TCP, **options) as (client, seen):
        client.get('/')
        if host == 'address':
            host = '{}:{}'.format(*client.address)
        assert client.host == host
    assert seen == [{} if host is None else {'host': host}]


def test_no_host_for_a_unix_socket():
    with seen_by() as (client, seen):
        client.get('/', {'host': 'mine'})
        client.get('/')
    assert seen == [{'host': 'mine'}, {}]


def test_headers_by_name_and_authorization():
    with seen_by(headers={'a': 'b'}, authorization='me') as (client, seen):
        client.get('/')
        assert client.base_headers == (('a', 'b'), ('authorization', 'me'))
    assert seen == [{'a': 'b', 'authorization': 'me'}]


@pytest.mark.parametrize('headers, error', [
    ([], TypeError), ((), TypeError), ('a', TypeError), (5, TypeError),
    ((('a', 'b'),), TypeError), ({5: 'a'}, TypeError),
    ({b'a': 'b'}, TypeError),
    ({'a': None}, TypeError), ({'a': 5}, TypeError), ({'a': b'b'}, TypeError),
    ({'a': ['b']}, TypeError), ({'set-cookie': ['b']}, TypeError),
    ({'A': 'b'}, ValueError), ({'Host': 'b'}, ValueError),
    ({'': 'b'}, ValueError), ({'content-length': '5'}, ValueError),
    ({'transfer-encoding': 'chunked'}, ValueError),
    (type('D', (dict,), {})(), TypeError)])
def test_headers_are_checked_when_the_client_is_made(headers, error):
    with pytest.raises(error):
        Client(b'nowhere', headers)


@pytest.mark.parametrize('name, value', [
    ('a b', 'c'), ('a:', 'b'), ('a', 'b\r\nc: d'), ('a', '\0'), ('a\r\n', 'b'),
    ('a', '\xe9'), ('a', ' b'), ('range', 'bytes=0-1'), ('n' * 65, 'b')])
def test_bad_headers_never_leave(name, value):
    """At the latest before the first byte of a request."""
    with seen_by() as (client, seen):
        try:
            mine = Client(client.address, {name: value})
        except ValueError:
            return
        with pytest.raises(ValueError):
            mine.put('/', {}, b'hello')
        mine.close()
        assert seen == []


def test_set_base_header():
    """Of later connections; the kept one has those it was made with."""
    with seen_by(({'a': 'b'},)) as (client, seen):
        client.get('/')
        client.set_base_header('c', 'd')
        client.set_base_header('a', None)
        client.get('/')
        client.close()
        client.get('/')
        client.set_base_header('c', None)
        assert client.base_headers is None
        client.close()
        client.get('/')
        client.set_base_header('none', None)
        for (key, value, error) in [
                (5, 'a', TypeError), ('A', 'a', ValueError),
                ('', 'a', ValueError), ('a', 5, TypeError),
                (b'a', 'a', TypeError), ('a', b'a', TypeError)]:
            with pytest.raises(error):
                client.set_base_header(key, value)
        assert client.base_headers is None
    assert seen == [{'a': 'b'}, {'a': 'b'}, {'c': 'd'}, {}]


@pytest.mark.parametrize('name', ['content-length', 'transfer-encoding'])
def test_set_base_header_refuses_what_the_client_does(name):
    client = Client(b'nowhere')
    with pytest.raises(ValueError):
        client.set_base_header(name, '5')
    assert client.base_headers is None


@pytest.mark.parametrize('headers', [
    {}, {'a': 'b'}, {'content-length': 5}, {'transfer-encoding': 'chunked'}])
@pytest.mark.parametrize('body', [
    None, b'hello', 'length', 'chunks'])
def test_callers_dict_is_unchanged(headers, body):
    """Whatever the request comes to (D10)."""
    with seen_by(({'own': 'x'},)) as (client, seen):
        before = dict(headers)
        made = {'length': BodyIter([b'hello'], 5), 'chunks': ChunkedBodyIter(
            [(None, b'hello'), (None, b'')])}.get(body, body)
        with contextlib.suppress(ValueError):
            client.put('/', headers, made)
        assert headers == before and list(headers) == list(before)


def test_many_calls_leave_nothing():
    """Descriptors are counted by the fixture."""
    with Running(App((200, 'OK', {}, None)), max_requests=2) as running:
        for _ in range(20):
            client = Client(running.address)
            for _ in range(5):
                client.get('/')
            del client
        with pytest.raises(OSError):
            Client(b'\0nobody-listens-here').get('/')
    server = Server(b'', App())
    server.sock.close()
