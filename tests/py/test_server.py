# SPDX-License-Identifier: MIT OR 0BSD
"""Server and TempServer: addresses, options, sessions, on_connect, limits,
time, threads and the end."""

import contextlib
import gc
import importlib.util
import io
import logging
import os
import queue
import select
import signal
import socket
import stat
import sys
import threading
import time

import pytest

from degu.base import Session
from degu.client import Client
from degu.misc import TempServer
from degu.server import Exchange, Server, take_listeners
from peers import (
    WAIT,
    App,
    Running,
    answers,
    child,
    dial,
    drip,
    everything,
    is_bare,
    outcome,
    receive_head,
    send_all,
    talk,
    until,
)

GET = b'GET / HTTP/1.1\r\n\r\n'
LAST = b'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'


def hello(session, request, api):
    return (200, 'OK', {}, b'hello')


@pytest.fixture(params=['IPv4', 'IPv6', 'path', 'bytes', 'abstract', 'named'])
def address(request, folder):
    return {
        'IPv4': ('127.0.0.1', 0),
        'IPv6': ('::1', 0, 0, 0),
        'path': folder + '/socket',
        'bytes': os.fsencode(folder) + b'/socket',
        'abstract': b'',
        'named': b'\0degu \0\xff-%d' % os.getpid(),
    }[request.param]


def finish(server):
    """Gives back what a server has that shall not serve."""
    server.shutdown()
    server.serve_forever()
    assert server.sock.fileno() == -1


def is_alive(address):
    return [answer[:2] + answer[3:] for answer in answers(
        talk(address, LAST))] == [(200, 'OK', b'hello')]


# ------------------------------------------------------------------- addresses

def test_address(address):
    """One address argument for the server and for the client (R10, R11)."""
    with Running(hello, address) as running:
        server = running.server
        assert server.address == server.sock.getsockname()
        assert server.sock.family == (
            socket.AF_UNIX if isinstance(address, (str, bytes)) else
            socket.AF_INET if len(address) == 2 else socket.AF_INET6)
        if isinstance(address, tuple):
            assert server.address[1] > 1023
            assert (server.address[0], *server.address[2:]) == \
                (address[0], *address[2:])
        elif address:
            assert os.fsencode(server.address) == os.fsencode(address)
        else:
            assert server.address[:1] == b'\0' and len(server.address) > 1
        conn = Client(server.address).connect()
        assert conn.get('/', {}).body.read() == b'hello'
        assert conn.get('/', {}).body.read() == b'hello'
        conn.close()


def test_address_loses_nothing(address):
    """The same again on the same address, once the first has ended."""
    with Running(hello, address) as running:
        assert is_alive(running.address)
        kept = running.address
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        dial(kept)
    with Running(hello, kept) as running:
        assert running.address == kept
        assert is_alive(kept)


@pytest.mark.parametrize('address', [('0.0.0.0', 0), ('::', 0, 0, 0)])
def test_any_address(address):
    """R125, R196."""
    server = Server(address, hello)
    assert server.address == (address[0], server.address[1], *address[2:])
    assert server.address[1] > 1023
    finish(server)


@pytest.mark.parametrize('address, error', [
    ((), ValueError), (('127.0.0.1',), ValueError),
    (('::1', 0, 0), ValueError), (('::1', 0, 0, 0, 0), ValueError),
    (('::1', 0), ValueError), (('::', 0), ValueError),
    (('fe80::1%1', 0), ValueError),
    (('127.0.0.1', -1), ValueError), (('127.0.0.1', 65536), ValueError),
    (('::1', 70000, 0, 0), ValueError),
    (('127.0.0.1', '80'), TypeError), (('127.0.0.1', None), TypeError),
    (('127.0.0.1', True), TypeError), (('127.0.0.1', 80.0), TypeError),
    ((b'127.0.0.1', 0), TypeError), ((None, 0), TypeError),
    (('::1', 0, '0', 0), TypeError), (('::1', 0, 0, None), TypeError),
    (None, TypeError), (80, TypeError), (['127.0.0.1', 0], TypeError),
    (bytearray(b''), TypeError), ({}, TypeError), (hello, TypeError),
    ('', ValueError), ('socket', ValueError), ('./socket', ValueError),
    ('/tmp/../tmp/degu', ValueError), ('/tmp/./degu', ValueError),
    ('/tmp/degu/', ValueError), ('~/degu', ValueError)])
def test_bad_address(address, error):
    """R120 to R128; a sentence that names what was given (D10)."""
    with pytest.raises(error) as info:
        Server(address, hello)
    assert not isinstance(info.value, OSError)
    assert len(str(info.value)) > 20


def test_family_follows_the_form_alone():
    """R127: no look at the host."""
    with pytest.raises(OSError):
        Server(('127.0.0.1', 0, 0, 0), hello)


def test_path_is_removed(folder):
    """S25: what the server made it takes away."""
    path = folder + '/socket'
    with Running(hello, path):
        assert stat.S_ISSOCK(os.lstat(path).st_mode)
    assert os.listdir(folder) == []


def test_path_of_somebody_else_is_not_removed(folder):
    path = folder + '/socket'
    with Running(hello, path):
        os.unlink(path)
        open(path, 'w').close()
    assert os.listdir(folder) == ['socket']


def test_path_too_long(folder):
    with pytest.raises((OSError, ValueError)):
        Server(folder + '/' + 'a' * 200, hello)
    assert os.listdir(folder) == []


def test_in_use():
    server = Server(('127.0.0.1', 0), hello)
    with pytest.raises(OSError):
        Server(server.address, hello)
    finish(server)


def test_ready_socket():
    """A socket that listens already is used as it is."""
    with socket.socket(socket.AF_INET) as sock:
        sock.bind(('127.0.0.1', 0))
        sock.listen()
        with Running(hello, sock) as running:
            assert running.server.sock is sock
            assert running.address == sock.getsockname()
            assert is_alive(running.address)


def test_ready_socket_that_does_not_listen():
    with socket.socket(socket.AF_INET) as sock:
        sock.bind(('127.0.0.1', 0))
        with pytest.raises(ValueError, match='listen'):
            Server(sock, hello)
        assert sock.fileno() > -1


def test_file_of_a_ready_socket_is_not_removed(folder):
    """Who made it may pass it on again."""
    path = folder + '/socket'
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        with Running(hello, sock) as running:
            assert is_alive(running.address)
    assert os.listdir(folder) == ['socket']


def test_descriptor_is_not_inherited():
    server = Server(('127.0.0.1', 0), hello)
    assert not os.get_inheritable(server.sock.fileno())
    assert not server.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    assert server.sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    finish(server)


# --------------------------------------------------------------------- options

@pytest.mark.parametrize('spin', [1e-6, 0.0001, 1])
def test_spin(address, spin):
    """Whether it pays or not: what is answered, when an idle connection is
    closed, and how soon the end is, are as without."""
    with Running(hello, address, timeout=0.5, spin=spin) as running:
        client = Client(running.address, spin=spin)
        conn = client.connect()
        for _ in range(90):
            assert conn.get('/', {}).body.read() == b'hello'
        started = time.monotonic()
        idle = dial(running.address)
        assert everything(idle) == b''
        assert 0.4 < time.monotonic() - started < 3
        idle.close()
        conn = client.connect()
        assert conn.get('/', {}).body.read() == b'hello'
        started = time.monotonic()
    assert time.monotonic() - started < 2


def test_options():
    """Names and defaults of R157 to R167."""
    server = Server(b'', hello)
    assert server.app is hello
    options = dict(server.options)
    assert options.pop('timeout') == 15
    assert options.pop('max_connections') == 25
    assert options.pop('max_requests_per_connection') == 100
    assert options.pop('min_rate') == 256
    assert options.pop('spin') == 0
    assert options.pop('stop_timeout') == 5
    finish(server)
    given = {'timeout': 0.5, 'max_connections': 7, 'min_rate': 0, 'spin': 1,
             'max_requests_per_connection': 1000000, 'stop_timeout': 0.1}
    server = Server(b'', hello, **given)
    assert {name: server.options[name] for name in given} == given
    assert (server.stop_timeout, server.spin) == (0.1, 1)
    finish(server)
    server = Server(b'', hello, max_requests=5)
    assert server.options['max_requests_per_connection'] == 5
    finish(server)


@pytest.mark.parametrize('options, error', [
    ({'timeout': None}, TypeError), ({'timeout': '15'}, TypeError),
    ({'timeout': True}, TypeError), ({'timeout': 0}, ValueError),
    ({'timeout': -1}, ValueError), ({'timeout': 0.0}, ValueError),
    ({'timeout': float('inf')}, ValueError),
    ({'timeout': float('nan')}, ValueError), ({'timeout': 10**30}, ValueError),
    ({'timeout': 1e300}, ValueError),
    ({'on_exchange': 5}, TypeError),
    ({'min_rate': None}, TypeError), ({'min_rate': 1.0}, TypeError),
    ({'min_rate': True}, TypeError), ({'min_rate': -1}, ValueError),
    ({'min_rate': 2**31}, ValueError),
    ({'spin': None}, TypeError), ({'spin': '1'}, TypeError),
    ({'spin': True}, TypeError), ({'spin': -1e-6}, ValueError),
    ({'spin': 1.000001}, ValueError), ({'spin': float('nan')}, ValueError),
    ({'stop_timeout': None}, TypeError), ({'stop_timeout': '5'}, TypeError),
    ({'stop_timeout': True}, TypeError), ({'stop_timeout': 0}, ValueError),
    ({'stop_timeout': -1}, ValueError),
    ({'stop_timeout': 2000000}, ValueError),
    ({'stop_timeout': float('nan')}, ValueError),
    ({'max_connections': None}, TypeError),
    ({'max_connections': '5'}, TypeError),
    ({'max_connections': 5.0}, TypeError),
    ({'max_connections': True}, TypeError),
    ({'max_connections': 0}, ValueError),
    ({'max_connections': -1}, ValueError),
    ({'max_connections': 2**70}, ValueError),
    ({'max_requests_per_connection': None}, TypeError),
    ({'max_requests_per_connection': 5.0}, TypeError),
    ({'max_requests_per_connection': True}, TypeError),
    ({'max_requests_per_connection': 0}, ValueError),
    ({'max_requests_per_connection': -5}, ValueError),
    ({'max_requests_per_connection': 2**70}, ValueError),
    ({'max_requests': '5'}, TypeError), ({'max_requests': 0}, ValueError),
    ({'max_requests': 5, 'max_requests_per_connection': 5}, TypeError),
    ({'other': 5}, TypeError), ({'timeouts': 5, 'b': 1}, TypeError)])
def test_bad_options(folder, options, error):
    """S30: a sentence with the option's name, and nothing was bound."""
    with pytest.raises(error) as info:
        Server(folder + '/socket', hello, **options)
    assert not isinstance(info.value, AssertionError)
    assert all(name in str(info.value) for name in options)
    assert os.listdir(folder) == []


def test_options_are_keywords():
    with pytest.raises(TypeError):
        Server(b'', hello, 15)


class WithHandler:
    def __init__(self, on_connect):
        self.on_connect = on_connect

    def __call__(self, session, request, api):
        return (200, 'OK', {}, b'hello')


@pytest.mark.parametrize('app', [None, 5, 'app', object(), [hello],
                                 WithHandler(5), WithHandler('yes'),
                                 WithHandler(False)])
def test_bad_app(folder, app):
    """R111, R151."""
    with pytest.raises(TypeError):
        Server(folder + '/socket', app)
    assert os.listdir(folder) == []


def test_arguments():
    for args in ((), (b'',)):
        with pytest.raises(TypeError):
            Server(*args)


def test_repr():
    server = Server(b'\0degu-repr-%d' % os.getpid(), hello)
    assert repr(server) == 'Server({!r}, {}.hello)'.format(
        server.address, __name__)
    finish(server)


def test_serving_twice():
    with Running(hello) as running:
        assert is_alive(running.address)
        with pytest.raises(RuntimeError):
            running.server.serve_forever()
        assert is_alive(running.address)


# -------------------------------------------------------------------- sessions

class Notes:
    """Keeps what each call saw of its session."""

    def __init__(self):
        self.seen = []

    def __call__(self, session, request, api):
        session.store.setdefault('paths', []).append(request.uri)
        self.seen.append((session, session.address, session.credentials,
                          session.requests, list(session.store['paths'])))
        return (200, 'OK', {}, None)


def test_session():
    """R153: one for a connection, another for another."""
    app = Notes()
    with Running(app, ('127.0.0.1', 0)) as running:
        names = []
        for path in ('a', 'b'):
            conn = Client(running.address).connect()
            names.append(conn.sock.getsockname())
            for number in range(3):
                conn.get('/{}{}'.format(path, number), {})
            conn.close()
    assert [seen[1] for seen in app.seen] == [names[0]] * 3 + [names[1]] * 3
    assert [seen[2] for seen in app.seen] == [None] * 6
    assert [seen[3] for seen in app.seen] == [0, 1, 2] * 2
    assert [seen[4] for seen in app.seen] == [
        ['/a0'], ['/a0', '/a1'], ['/a0', '/a1', '/a2'],
        ['/b0'], ['/b0', '/b1'], ['/b0', '/b1', '/b2']]
    assert len({id(seen[0]) for seen in app.seen}) == 2
    assert app.seen[0][0] is app.seen[2][0]


def test_session_of_ipv6():
    app = Notes()
    with Running(app, ('::1', 0, 0, 0)) as running:
        conn = Client(running.address).connect()
        conn.get('/', {})
        assert app.seen[0][1] == conn.sock.getsockname()
        conn.close()


def test_credentials():
    """The kernel tells who is at the other end of an AF_UNIX connection."""
    app = Notes()
    with Running(app) as running:
        conn = Client(running.address).connect()
        conn.get('/', {})
        conn.close()
    assert app.seen[0][2] == (os.getpid(), os.getuid(), os.getgid())


@pytest.mark.parametrize('name', ['', 'abstract', 'path'])
def test_unix_peer(folder, name):
    """An unbound peer has no name, a bound one has the one it chose."""
    app = Notes()
    with Running(app) as running:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(WAIT)
            if name == 'path':
                sock.bind(folder + '/peer')
            elif name:  # which all processes of a host share
                sock.bind(b'\0degu \0\xff%%s%%d-peer-%d' % os.getpid())
            sock.connect(running.address)
            sock.sendall(LAST)
            assert answers(everything(sock))[0].status == 200
            mine = sock.getsockname()
    assert app.seen[0][1] == mine


def test_session_when_it_ends():
    """The session tells why it ended, and what it holds is let go of."""
    app = Notes()
    with Running(app) as running:
        talk(running.address, LAST)
        (session,) = {seen[0] for seen in app.seen}
        until(lambda: session.closed)
        assert session.requests == 1
        assert session.message is not None


# ------------------------------------------------------------------ on_connect

def test_on_connect():
    """R146 to R150: once a connection, before its first request."""
    calls = []

    class Handler(App):
        def on_connect(self, session, sock):
            assert isinstance(sock, socket.socket)
            assert sock.getpeername() == session.address
            assert session.requests == 0 and self.calls == 0
            session.store['_user'] = 'admin'
            calls.append(session)
            return True

    def answer(session, request, api):
        assert session is calls[0] and session.store['_user'] == 'admin'
        return (200, 'OK', {}, b'hello')

    with Running(Handler(answer), ('127.0.0.1', 0)) as running:
        conn = Client(running.address).connect()
        for _ in range(3):
            gc.collect()
            assert conn.get('/', {}).body.read() == b'hello'
        conn.close()
        assert len(calls) == 1


def boom(session, sock):
    raise RuntimeError('boom')


def leave(session, sock):
    raise SystemExit


@pytest.mark.parametrize('handler', [
    lambda session, sock: False, lambda session, sock: None,
    lambda session, sock: 1, lambda session, sock: 'yes',
    lambda session, sock: [True], boom, leave])
def test_on_connect_refuses(handler, caplog):
    """Only True itself accepts; the peer gets no answer (D2)."""
    app = App()
    app.on_connect = handler
    with Running(app, ('127.0.0.1', 0)) as running:
        for _ in range(3):
            with dial(running.address) as sock:
                try:
                    sock.sendall(GET)
                    assert sock.recv(1000) == b''
                except ConnectionResetError:
                    pass
        app.on_connect = None
    assert app.calls == 0
    assert [record.name for record in caplog.records
            if record.levelno >= logging.WARNING] == ['degu.server'] * 3


def test_on_connect_is_looked_up_when_the_server_is_made():
    """R152: None turns the handler of a base class off."""
    class Base:
        def __call__(self, session, request, api):
            return (200, 'OK', {}, b'hello')

        def on_connect(self, session, sock):
            return False

    class Derived(Base):
        on_connect = None

    with Running(Derived()) as running:
        assert is_alive(running.address)


def test_socket_of_on_connect_is_dead_afterwards():
    """Whoever keeps it cannot reach what has its number then."""
    kept = []

    class Handler(App):
        def on_connect(self, session, sock):
            kept.append(sock)
            return True

    with Running(Handler()) as running:
        talk(running.address, LAST)
        until(lambda: kept[0].fileno() == -1)
        assert is_alive(running.address)
        with pytest.raises(OSError):
            kept[0].send(b'x')


@pytest.mark.parametrize('spoil', [
    lambda sock: None, lambda sock: sock.settimeout(None),
    lambda sock: sock.settimeout(0.05), lambda sock: sock.setblocking(False),
    lambda sock: sock.setblocking(True), lambda sock: sock.close()],
    ids=['nothing', 'no timeout', 'timeout', 'nonblocking', 'blocking',
         'closed'])
def test_socket_of_on_connect_leaves_the_server_waiting(spoil):
    """Whatever is done to that socket, whose flags are those of the server's
    own, that one still waits: here for the second half of a body."""
    entered = threading.Event()
    kept = []
    blocking = []

    def answer(session, request, api):
        blocking.append(os.get_blocking(kept[0]))
        entered.set()
        return (200, 'OK', {}, request.body.read())

    def on_connect(session, sock):
        kept.append(os.dup(sock.fileno()))
        spoil(sock)
        return True

    app = App(answer)
    app.on_connect = on_connect
    with Running(app, ('127.0.0.1', 0)) as running:
        with dial(running.address) as sock:
            for _ in range(2):
                entered.clear()
                sock.sendall(b'PUT / HTTP/1.1\r\ncontent-length: 10\r\n\r\n'
                             b'hello')
                assert entered.wait(WAIT)
                # The app waits by now, or would have failed.
                assert not select.select([sock], [], [], 0.1)[0]
                sock.sendall(b'world')
                found = receive_head(sock)
                while not found.endswith(b'helloworld'):
                    found += sock.recv(1000)
                assert answers(found)[0].status == 200
        os.close(*kept)
    assert blocking == [True, True]


# ---------------------------------------------------------------------- limits

@pytest.mark.parametrize('address', [b'', ('127.0.0.1', 0)])
def test_max_connections(address):
    """R160: one more gets a 503 at once, until one is closed."""
    app = App()
    with Running(app, address, max_connections=2) as running:
        conns = [Client(running.address).connect() for _ in range(2)]
        for conn in conns:
            assert conn.get('/', {}).body.read() == b'hello'
        started = time.monotonic()
        for _ in range(5):
            with dial(running.address) as sock:
                assert is_bare(everything(sock), 503)
        assert time.monotonic() - started < 1
        assert app.calls == 2
        for conn in conns:
            assert conn.get('/', {}).body.read() == b'hello'
        conns[0].close()
        until(lambda: answers(talk(running.address, LAST))[0].status == 200)
        conns[1].close()


def test_max_connections_does_not_stall():
    """S12: nobody waits behind a connection that is refused."""
    with Running(hello, max_connections=1) as running:
        conn = Client(running.address).connect()
        conn.get('/', {}).body.read()
        socks = [dial(running.address) for _ in range(20)]
        for sock in socks:
            with sock:
                assert is_bare(everything(sock), 503)
        assert conn.get('/', {}).body.read() == b'hello'
        conn.close()


def test_max_requests():
    """R163: the last answer says that it is the last."""
    app = App()
    with Running(app, max_requests_per_connection=3) as running:
        found = answers(talk(running.address, GET * 10))
        assert [answer.status for answer in found] == [200] * 3
        assert [answer.headers.get('connection') for answer in found] == \
            [None, None, 'close']
        assert app.calls == 3
        conn = Client(running.address).connect()
        for number in range(3):
            assert not conn.closed
            assert conn.get('/', {}).body.read() == b'hello'
        assert conn.closed


def test_many_requests():
    """S11: there is no cap on the option."""
    with Running(hello, max_requests_per_connection=2**31 - 1) as running:
        assert is_alive(running.address)


@pytest.mark.parametrize('status', [400, 401, 404, 405, 410, 416, 500, 503])
def test_connection_outlives_an_error(status):
    """D10: any complete exchange leaves the connection usable."""
    app = App((status, 'Reason', {}, None))
    with Running(app) as running:
        conn = Client(running.address).connect()
        for _ in range(2):
            assert conn.get('/', {}) == (status, 'Reason', {}, None)
            assert not conn.closed
        conn.close()


# ------------------------------------------------------------------------ time

@pytest.fixture
def hasty():
    app = App(lambda session, request, api: (
        200, 'OK', {}, request.body and request.body.read()))
    with Running(app, timeout=0.3) as running:
        running.app = app
        yield running


HEAD = b'GET / HTTP/1.1\r\n' + b'a: b\r\n' * 50


def test_dripping_head(hasty):
    """Time is absolute: 408 when the head is not there in time."""
    with dial(hasty.address) as sock:
        started = time.monotonic()
        assert is_bare(drip(sock, HEAD, 0.05), 408)
        assert 0.2 < time.monotonic() - started < 2
    assert hasty.app.calls == 0
    assert answers(talk(hasty.address, LAST))[0].status == 200


def test_half_a_head(hasty):
    with dial(hasty.address) as sock:
        sock.sendall(GET + b'GET /')
        found = answers(everything(sock))
        assert [answer.status for answer in found] == [200, 408]


def test_idle(hasty):
    """Between messages there is nobody to answer."""
    for before in (b'', GET):
        started = time.monotonic()
        found = answers(talk(hasty.address, before))
        assert [answer.status for answer in found] == [200] * bool(before)
        assert 0.2 < time.monotonic() - started < 2


@pytest.mark.parametrize('head', [
    b'PUT / HTTP/1.1\r\ncontent-length: 60\r\n\r\n',
    b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n'])
def test_silent_body(hasty, head):
    """A body that does not come is a 408 as well."""
    started = time.monotonic()
    assert is_bare(talk(hasty.address, head), 408)
    assert 0.2 < time.monotonic() - started < 2


@pytest.mark.parametrize('head, body', [
    (b'PUT / HTTP/1.1\r\ncontent-length: 60\r\n\r\n', b'x' * 60),
    (b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n',
     b'1\r\nx\r\n' * 11 + b'0\r\n\r\n')])
def test_dripping_body(hasty, head, body):
    """A peer that drips bytes does not extend the time of a read()."""
    with dial(hasty.address) as sock:
        sock.sendall(head)
        started = time.monotonic()
        assert is_bare(drip(sock, body, 0.05), 408)
        assert 0.2 < time.monotonic() - started < 2


@pytest.mark.parametrize('answer', [
    lambda session, request, api: (200, 'OK', {}, request.body),
    lambda session, request, api: (
        200, 'OK', {'x-written': request.body.write_to(io.BytesIO())}, None)],
    ids=['relay', 'file'])
@pytest.mark.parametrize('head, body', [
    (b'PUT / HTTP/1.1\r\ncontent-length: 60\r\n\r\n', b'x' * 60),
    (b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3c\r\n', b'x' * 60),
    (b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n',
     b'1\r\nx\r\n' * 11 + b'0\r\n\r\n')], ids=['length', 'chunk', 'chunks'])
def test_dripping_body_that_is_handed_on(hasty, head, body, answer):
    """Neither does it where each byte goes on as it comes, back to the peer or
    into a file: all of them together have the time of one step."""
    hasty.app.answer = answer
    with dial(hasty.address) as sock:
        sock.sendall(head)
        started = time.monotonic()
        found = b''
        for (number, byte) in enumerate(body, 1):
            send_all(sock, bytes([byte]))
            part = b'x'
            while part and 0 < (pause := (
                    started + 0.05 * number - time.monotonic())):
                if select.select([sock], [], [], pause)[0]:
                    part = sock.recv(65536)
                    found += part
            if not part:
                break
        assert time.monotonic() - started < 1.5
    if found.startswith(b'HTTP/1.1 200 OK\r\n'):
        # It has begun, so it is cut, not ended.
        assert not found.endswith(b'0\r\n\r\n') and found.count(b'x') < 11
    else:
        assert is_bare(found, 408)
    assert hasty.app.calls == 1


def test_timeout_is_the_apps_to_see():
    """A TimeoutError, which the app may answer itself; then the close."""
    seen = []

    def app(session, request, api):
        try:
            request.body.read()
        except TimeoutError as error:
            seen.append(error)
        return (200, 'OK', {}, b'late')

    with Running(app, timeout=0.3) as running:
        (answer,) = answers(talk(
            running.address, b'PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nx'))
        assert (answer.status, answer.body) == (200, b'late')
        assert answer.headers['connection'] == 'close'
        assert len(seen) == 1


def test_peer_that_does_not_read():
    """It is cut, and sees that it was."""
    size = 16777216
    with Running(App((200, 'OK', {}, b'x' * size)), timeout=0.3) as running:
        with dial(running.address) as sock:
            sock.sendall(GET)
            poll = select.poll()
            poll.register(sock, select.POLLRDHUP)
            assert poll.poll(WAIT * 1000)
            try:
                assert len(everything(sock)) < size
            except ConnectionResetError:
                pass
        assert answers(talk(running.address, LAST))[0].status == 200


# --------------------------------------------------------------------- threads

def test_blocking_handlers_stop_nobody():
    """R118; as many may block as there may be connections, but one."""
    go = threading.Event()
    entered = threading.Semaphore(0)

    def app(session, request, api):
        if request.path:
            entered.release()
            assert go.wait(WAIT)
        return (200, 'OK', {}, b'hello')

    with Running(app, max_connections=9) as running:
        socks = [dial(running.address) for _ in range(8)]
        for sock in socks:
            sock.sendall(b'GET /block HTTP/1.1\r\nconnection: close\r\n\r\n')
        for _ in socks:
            assert entered.acquire(timeout=WAIT)
        for _ in range(5):
            assert is_alive(running.address)
        go.set()
        for sock in socks:
            with sock:
                assert answers(everything(sock))[0].body == b'hello'


def test_slow_peers_hold_no_thread():
    """Half a head costs a place, not a thread."""
    with Running(hello, max_connections=60) as running:
        assert is_alive(running.address)
        before = threading.active_count()
        socks = [dial(running.address) for _ in range(50)]
        for sock in socks:
            sock.sendall(b'GET /')
        for _ in range(5):
            assert is_alive(running.address)
        assert threading.active_count() <= before + 2
        for sock in socks:
            sock.sendall(b' HTTP/1.1\r\nconnection: close\r\n\r\n')
        for sock in socks:
            with sock:
                assert answers(everything(sock))[0].body == b'hello'


def test_requests_of_a_connection_are_sequential():
    inside = []

    def app(session, request, api):
        inside.append(request.uri)
        assert len(inside) == 1
        time.sleep(0.001)
        inside.remove(request.uri)
        return (200, 'OK', {}, request.uri.encode())

    with Running(app) as running:
        data = b''.join(b'GET /%d HTTP/1.1\r\n\r\n' % number
                        for number in range(20)) + LAST
        bodies = [answer.body for answer in answers(talk(
            running.address, data))]
        assert bodies == [b'/%d' % number for number in range(20)] + [b'/']


def test_many_clients():
    """Every answer goes to whom it belongs."""
    def app(session, request, api):
        return (200, 'OK', {}, request.uri.encode())

    failures = []

    def run(number):
        try:
            conn = Client(running.address).connect()
            for count in range(50):
                uri = '/{}/{}'.format(number, count)
                assert conn.get(uri, {}).body.read() == uri.encode()
            conn.close()
        except BaseException as error:
            failures.append(error)

    with Running(app) as running:
        threads = [threading.Thread(target=run, args=(number,))
                   for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert failures == []


# --------------------------------------------------------------------- the end

def test_shutdown_before_serving():
    server = Server(b'', hello)
    server.shutdown()
    server.shutdown()
    server.serve_forever()
    with pytest.raises(ConnectionRefusedError):
        dial(server.address)


def test_shutdown_closes_idle_connections():
    with Running(hello) as running:
        with dial(running.address) as idle, dial(running.address) as half:
            idle.sendall(GET)
            receive_head(idle)
            half.sendall(b'GET / HT')
            assert is_alive(running.address)
            started = time.monotonic()
            running.stop()
            assert time.monotonic() - started < 2
            everything(idle)
            with pytest.raises(ConnectionRefusedError):
                dial(running.address)


class Held:
    """An app that stays inside until it may go."""

    def __init__(self):
        self.entered = threading.Event()
        self.go = threading.Event()

    def __call__(self, session, request, api):
        self.entered.set()
        assert self.go.wait(WAIT)
        return (200, 'OK', {}, b'hello')


def test_shutdown_finishes_what_is_in_flight():
    app = Held()

    with Running(app) as running:
        with dial(running.address) as sock:
            sock.sendall(GET)
            assert app.entered.wait(WAIT)
            running.server.shutdown()
            assert running.thread.is_alive()
            app.go.set()
            (answer,) = answers(everything(sock))
            assert answer.body == b'hello'
            assert answer.headers['connection'] == 'close'
        running.thread.join(WAIT)
        assert not running.thread.is_alive()


@pytest.fixture
def stuck():
    """(a server whose app waits, a connection that it was asked on)"""
    app = Held()

    with Running(app, stop_timeout=0.3) as running:
        with dial(running.address) as sock:
            sock.sendall(GET)
            assert app.entered.wait(WAIT)
            yield (running, sock)
        app.go.set()


def test_stop_timeout_cuts_what_is_in_flight(stuck):
    (running, sock) = stuck
    started = time.monotonic()
    running.server.shutdown()
    assert everything(sock) == b''
    assert 0.25 < time.monotonic() - started < 1.2
    running.thread.join(WAIT)
    assert not running.thread.is_alive()
    assert 0.25 < time.monotonic() - started < 3


def test_with_block(address, folder):
    """Its end is the end: nothing is served, nothing is left."""
    server = Server(address, hello)
    with server as same:
        assert same is server
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert is_alive(server.address)
    # serve_forever() has returned, or is about to.
    assert server.sock.fileno() == -1
    thread.join(WAIT)
    assert not thread.is_alive()
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        dial(server.address)
    assert os.listdir(folder) == []
    server.close()
    with pytest.raises(RuntimeError, match='ended'):
        server.serve_forever()


def test_with_block_that_never_serves(address, folder):
    with Server(address, hello) as server:
        pass
    assert server.sock.fileno() == -1
    assert os.listdir(folder) == []
    # A thread that comes too late.
    server.serve_forever()
    with server:
        pass


def test_with_block_keeps_the_file_of_somebody_else(folder):
    path = folder + '/socket'
    with Server(path, hello):
        os.unlink(path)
        open(path, 'w').close()
    assert os.listdir(folder) == ['socket']


def test_with_block_that_raises():
    with pytest.raises(ZeroDivisionError):
        with Running(hello) as running, running.server:
            1 / 0
    assert running.server.sock.fileno() == -1


def test_with_block_around_serve_forever():
    with Server(b'', hello) as server:
        timer = threading.Timer(0.05, server.shutdown)
        timer.start()
        server.serve_forever()
    timer.join()


def test_with_block_waits_for_what_is_in_flight():
    app = Held()

    with Running(app) as running, dial(running.address) as sock:
        sock.sendall(GET)
        assert app.entered.wait(WAIT)
        closer = threading.Thread(target=running.server.close)
        closer.start()
        until(lambda: running.server._stopped)
        closer.join(0.1)
        assert closer.is_alive()
        app.go.set()
        (answer,) = answers(everything(sock))
        assert answer.body == b'hello'
        closer.join(WAIT)
        assert not closer.is_alive()
        assert running.server.sock.fileno() == -1


def test_close_from_many_threads_while_serving_begins():
    for _ in range(50):
        server = Server(b'', hello)
        threads = [threading.Thread(target=call) for call in (
            server.serve_forever, server.close, server.close)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
            assert not thread.is_alive()
        assert server.sock.fileno() == -1


def test_close_in_the_thread_that_serves():
    """It would wait for itself."""
    more = '''
def stop(*unused):
    try:
        server.close()
    except RuntimeError as error:
        print(error, flush=True)
signal.signal(signal.SIGTERM, stop)
'''
    with child(SERVE.format(wait=5, more=more)) as process:
        assert is_alive(('127.0.0.1', int(process.stdout.readline())))
        process.send_signal(signal.SIGTERM)
        (output, errors) = process.communicate(timeout=WAIT)
        assert output == 'close() inside of serve_forever()\nreturned\n'
        assert (errors, process.returncode) == ('', 0)


def test_shutdown_by_the_app():
    def app(session, request, api):
        running.server.shutdown()
        return (200, 'OK', {}, b'hello')

    with Running(app) as running:
        assert is_alive(running.address)
        running.thread.join(WAIT)
        assert not running.thread.is_alive()


SERVE = '''
import signal, sys, threading
from degu.base import Session
from degu.client import Client
from degu.server import Exchange, Server
entered = threading.Event()

def app(session, request, api):
    if request.path:
        print('entered', flush=True)
        threading.Event().wait({wait})
    return (200, 'OK', {{}}, b'hello')

server = Server(('127.0.0.1', 0), app)
{more}
print(server.address[1], flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    print('interrupted', flush=True)
else:
    print('returned', flush=True)
'''


@pytest.mark.parametrize('blocked', [False, True])
def test_keyboard_interrupt(blocked):
    """Ctrl-C ends serve_forever(), also while a handler is busy."""
    with child(SERVE.format(wait=0.5, more='')) as process:
        address = ('127.0.0.1', int(process.stdout.readline()))
        assert is_alive(address)
        sock = dial(address)
        if blocked:
            sock.sendall(b'GET /block HTTP/1.1\r\n\r\n')
            assert process.stdout.readline() == 'entered\n'
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        (output, errors) = process.communicate(timeout=WAIT)
        assert (output, errors) == ('interrupted\n', '')
        assert process.returncode == 0
        assert time.monotonic() - started < 3
        sock.close()


def test_interrupt_while_a_thread_starts(monkeypatch):
    """Who has begun to serve before start() returned is waited for."""
    entered = threading.Event()
    left = threading.Event()
    interrupted = []

    def app(session, request, api):
        entered.set()
        threading.Event().wait(0.3)
        left.set()
        return (200, 'OK', {}, b'hello')

    def start(thread):
        plain(thread)
        if thread.name == 'degu' and not interrupted:
            interrupted.append(True)
            assert entered.wait(WAIT)
            raise KeyboardInterrupt

    server = Server(b'', app)
    plain = threading.Thread.start
    monkeypatch.setattr(threading.Thread, 'start', start)
    with dial(server.address) as sock:
        sock.sendall(b'GET / HTTP/1.1\r\n\r\n')
        with pytest.raises(KeyboardInterrupt):
            server.serve_forever()
        assert left.is_set()
        assert receive_head(sock).endswith(b'hello')


def test_shutdown_by_a_signal():
    """shutdown() may be called in a signal handler."""
    more = 'signal.signal(signal.SIGTERM, lambda *args: server.shutdown())'
    with child(SERVE.format(wait=5, more=more)) as process:
        address = ('127.0.0.1', int(process.stdout.readline()))
        assert is_alive(address)
        process.send_signal(signal.SIGTERM)
        (output, errors) = process.communicate(timeout=WAIT)
        assert (output, errors) == ('returned\n', '')
        assert process.returncode == 0


SIGNALS = '''
import ctypes, functools, itertools, os, signal, socket, threading
from degu.base import api
from degu.base import Session
from degu.client import Client
from degu.server import Exchange, Server

def at_random(number):
    signal.setitimer(signal.ITIMER_REAL, 1e-5 + number * 1e-5)
    return b'hello'

# The last item is refused by a function of the C library, which sends the
# signal; nothing behind that runs the interpreter, which would see it.
def at_the_end(number):
    kill = functools.partial(ctypes.CDLL(None).kill, os.getpid())
    return api.BodyIter(itertools.chain(
        [b'hello'], filter(kill, [int(signal.SIGALRM)])), 5)

def app(session, request, api):
    return (200, 'OK', {{}}, {how}(number) if request.path else None)

def interfere():
    with socket.create_connection(server.address, 2) as sock:
        try:
            sock.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')
            sock.recv(1000)
            sock.sendall(b'GET /now HTTP/1.1\\r\\n\\r\\n')
            while sock.recv(1000):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            print('lost', number, flush=True)
            os._exit(1)
    # The server has been waiting for this end to close.
    if not returned.wait(2):
        print('stuck', number, flush=True)
        os._exit(1)

signal.signal(signal.SIGALRM, lambda *args: server.shutdown())
for number in range({count}):
    server = Server(('127.0.0.1', 0), app)
    returned = threading.Event()
    thread = threading.Thread(target=interfere)
    thread.start()
    server.serve_forever()
    returned.set()
    thread.join()
print('returned')
'''


@pytest.mark.parametrize('how, count', [('at_random', 120), ('at_the_end', 60)])
def test_no_signal_is_lost(how, count):
    """shutdown() by a signal handler ends serve_forever() at once whenever the
    signal comes, just before the server waits included."""
    assert outcome(SIGNALS.format(how=how, count=count)) == (
        0, 'returned\n', '')


NO_THREADS = '''
import threading
from degu.base import Session
from degu.client import Client
from degu.server import Exchange, Server
start = threading.Thread.start
left = {left}

def refuse(thread):
    global left
    if left == 0:
        raise RuntimeError("can't start new thread")
    left -= 1
    start(thread)

def app(session, request, api):
    if request.path == ['stop']:
        server.shutdown()
    return (200, 'OK', {{}}, b'hello')

server = Server(('127.0.0.1', 0), app)
threading.Thread.start = refuse
print(server.address[1], flush=True)
try:
    server.serve_forever()
except (KeyboardInterrupt, RuntimeError) as error:
    print(repr(error))
else:
    print('returned')
print(server.sock.fileno())
'''


@pytest.mark.parametrize('stop', [True, False])
def test_no_second_thread(stop):
    """One serves as well, which the log tells; both ends of it are regular,
    with a connection open."""
    with child(NO_THREADS.format(left=1)) as process:
        address = ('127.0.0.1', int(process.stdout.readline()))
        with dial(address) as sock, dial(address) as idle:
            for _ in range(3):
                sock.sendall(GET)
                assert b'200 OK' in receive_head(sock)
            assert select.select([process.stderr], [], [], WAIT)[0]
            assert process.stderr.readline() == (
                "No thread more than 1: can't start new thread\n")
            idle.sendall(b'GET /')
            assert is_alive(address)
            if stop:
                talk(address, b'GET /stop HTTP/1.1\r\n\r\n')
            else:
                process.send_signal(signal.SIGINT)
            (output, errors) = process.communicate(timeout=WAIT)
        assert output == ('returned' if stop else 'KeyboardInterrupt()') + \
            '\n-1\n'
        assert (process.returncode, errors) == (0, '')


def test_no_thread_at_all():
    """There is nobody to serve, so that is an error, and the end."""
    (status, output, errors) = outcome(NO_THREADS.format(left=0))
    assert (status, errors) == (0, '')
    assert output.split('\n', 1)[1] == \
        'RuntimeError("can\'t start new thread")\n-1\n'


INTERPRETER = '''
import sys, threading
from degu.client import Client
from degu.base import Session
from degu.client import Client
from degu.server import Exchange, Server

def get():
    try:
        conn = Client(server.address).connect()
        for _ in range(3):
            response = conn.put("/", {}, b"hello")
            print(response.status, response.body.read())
        conn.close()
    finally:
        server.shutdown()

server = Server(b"", lambda session, request, api: (
    200, "OK", {}, request.body.read()))
thread = threading.Thread(target=get)
thread.start()
server.serve_forever()
thread.join()
print("returned", flush=True)
'''

INTERPRETERS = '''
try:
    import _interpreters
except ImportError:
    import _xxsubinterpreters as _interpreters
code = {!r}
name = _interpreters.create()
if hasattr(_interpreters, 'exec'):
    assert _interpreters.exec(name, code) is None
else:
    assert _interpreters.run_string(name, code) is None
_interpreters.destroy(name)
'''


@pytest.mark.skipif(
    sys.version_info < (3, 12) or not any(
        importlib.util.find_spec(name)
        for name in ('_interpreters', '_xxsubinterpreters')),
    reason='this Python has no isolated sub-interpreters')
def test_isolated_interpreter():
    """Where there are neither daemon threads nor signals it serves as well."""
    assert outcome(INTERPRETERS.format(INTERPRETER)) == (
        0, "200 b'hello'\n" * 3 + 'returned\n', '')


def test_signals_do_not_disturb():
    """A handler that just returns is run, and serving goes on."""
    # print() may be interrupted in itself, and says so by raising.
    more = ('import os; signal.signal(signal.SIGUSR1, '
            'lambda *args: os.write(1, b"signal\\n"))')
    with child(SERVE.format(wait=5, more=more)) as process:
        address = ('127.0.0.1', int(process.stdout.readline()))
        for _ in range(3):
            process.send_signal(signal.SIGUSR1)
            assert process.stdout.readline() == 'signal\n'
            assert is_alive(address)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=WAIT) == ('interrupted\n', '')


def test_out_of_descriptors():
    """S10: too many connections for the process's limit end nothing."""
    more = '''
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
server.options['max_connections'] = 100
'''
    with child(SERVE.format(wait=5, more=more)) as process:
        address = ('127.0.0.1', int(process.stdout.readline()))
        socks = [dial(address) for _ in range(60)]
        for sock in socks:
            sock.sendall(LAST)
        for sock in socks[:10]:
            assert answers(everything(sock))[0].status == 200
        for sock in socks:
            sock.close()
        assert is_alive(address)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=WAIT) == ('interrupted\n', '')


def test_a_server_that_never_served_can_be_dropped():
    """No cycle keeps it; the socket warns, as Python's sockets do."""
    code = '''
import gc, os, warnings
from degu.base import Session
from degu.client import Client
from degu.server import Exchange, Server
before = len(os.listdir('/proc/self/fd'))
gc.disable()
warnings.simplefilter('ignore')
for _ in range(20):
    Server(b'', print)
assert len(os.listdir('/proc/self/fd')) == before
'''
    assert outcome(code) == (0, '', '')


# ---------------------------------------------------------- socket activation

# Becomes a program that has descriptors from 3 on, as systemd starts one: the
# last argument is what to run, those before it are the descriptors.
ACTIVATE = '''
import fcntl, os, sys
# Out of the way of the places they are for.
fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, 50) for fd in sys.argv[1:-1]]
for (place, fd) in enumerate(fds, 3):
    os.dup2(fd, place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)),
                  LISTEN_FDNAMES='a:b')
os.execv(sys.executable, [sys.executable, '-c', sys.argv[-1]])
'''
TAKE = '''
import os, socket, sys
from degu.server import Server, take_listeners
socks = take_listeners()
for sock in socks:
    print(sock.fileno(), os.get_inheritable(sock.fileno()),
          repr(sock.getsockname()), type(sock) is socket.socket)
print([name for name in os.environ if name.startswith('LISTEN')])
print(take_listeners(), flush=True)
def app(session, request, api):
    return (200, 'OK', {}, b'hello')
if socks:
    Server(socks[0], app).serve_forever()
'''


@contextlib.contextmanager
def activated(code, *socks):
    fds = [sock.fileno() for sock in socks]
    with child(ACTIVATE, *map(str, fds), code, pass_fds=fds) as process:
        yield process


def test_take_listeners(folder):
    with socket.socket(socket.AF_INET) as one, \
            socket.socket(socket.AF_UNIX) as two:
        one.bind(('127.0.0.1', 0))
        two.bind(folder + '/socket')
        for sock in (one, two):
            sock.listen()
        # It may come before there is anybody to hear it.
        with dial(one.getsockname()) as early:
            early.sendall(LAST)
            with activated(TAKE, one, two) as process:
                for (number, sock) in enumerate((one, two), 3):
                    assert process.stdout.readline() == (
                        '{} False {!r} True\n'.format(
                            number, sock.getsockname()))
                assert process.stdout.readline() == '[]\n'
                assert process.stdout.readline() == '[]\n'
                assert answers(everything(early))[0].body == b'hello'
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=WAIT)
    assert os.listdir(folder) == ['socket']


def test_take_listeners_that_are_no_sockets():
    code = '''
from degu.server import take_listeners
try:
    take_listeners()
except OSError as error:
    print('refused')
'''
    with open(os.devnull) as file, activated(code, file) as process:
        assert process.communicate(timeout=WAIT) == ('refused\n', '')


@pytest.mark.parametrize('pid, count, error', [
    ('', '1', None), ('1', '1', None), (None, '1', None), ('me', None, None),
    ('me', '0', None), ('me', '', None), ('me', 'x', ValueError),
    ('me', '-1', ValueError), ('x', '1', ValueError),
    ('me', '9999999999', ValueError)])
def test_take_listeners_of_others(monkeypatch, pid, count, error):
    for (name, value) in (('PID', pid), ('FDS', count), ('FDNAMES', 'a')):
        if value is not None:
            monkeypatch.setenv('LISTEN_' + name,
                               str(os.getpid()) if value == 'me' else value)
    if error:
        with pytest.raises(error):
            take_listeners()
    else:
        assert take_listeners() == []
    assert not [name for name in os.environ if name.startswith('LISTEN_')]


# ------------------------------------------------------------------------- log

def test_log(caplog):
    """Start, new connection, end: all of it INFO, none of it an error."""
    caplog.set_level(logging.DEBUG)
    with Running(hello) as running:
        assert is_alive(running.address)
        with dial(running.address) as sock:
            sock.sendall(GET)
            receive_head(sock)
    assert {record.name for record in caplog.records} == {'degu.server'}
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    texts = [record.getMessage() for record in caplog.records]
    assert any(repr(running.address) in text for text in texts)
    assert sum(text.startswith('+ ') for text in texts) == 2
    assert sum(text.startswith('- ') for text in texts) == 2


# ------------------------------------------------------------------ TempServer

def test_temp_server(address):
    """R20 to R24: a server in a process of its own, ready at once."""
    server = TempServer(address, hello, max_connections=3)
    assert server.app is hello
    assert server.options == {'max_connections': 3}
    assert repr(server) == 'TempServer({!r}, {!r})'.format(
        server.address, hello)
    assert server.process.is_alive() and server.process.pid != os.getpid()
    assert is_alive(server.address)
    server.terminate()
    server.terminate()
    assert server.process.exitcode == -signal.SIGTERM


def test_temp_server_ends_where_its_parent_does_not():
    """A handler of the parent for SIGTERM is not the server's."""
    code = '''
import signal
from degu.misc import TempServer
signal.signal(signal.SIGTERM, lambda *args: print('handled', flush=True))
server = TempServer(b'', print)
server.terminate()
print(server.process.exitcode)
'''
    with child(code) as process:
        (output, errors) = process.communicate(timeout=10)
        assert (output, errors) == ('-15\n', '')


def test_temp_server_takes_closures():
    word = b'closure'
    server = TempServer(b'', lambda session, request, api: (
        200, 'OK', {}, word))
    assert answers(talk(server.address, LAST))[0].body == word


def test_temp_server_ends_with_its_object():
    """R61."""
    server = TempServer(b'', hello)
    pid = server.process.pid
    del server
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize('args, options, error', [
    ((b'', None), {}, TypeError), ((b'', hello), {'other': 1}, TypeError),
    ((b'', hello), {'timeout': 0}, ValueError),
    ((('127.0.0.1', 0, 0), hello), {}, ValueError),
    (('/nowhere/at/all', hello), {}, OSError)])
def test_temp_server_raises(args, options, error):
    """What fails in the child is raised in the parent."""
    with pytest.raises(error):
        TempServer(*args, **options)


def test_temp_server_in_a_forked_copy():
    """S19: a copy that ends does not end the server."""
    code = '''
import gc, os, warnings
warnings.simplefilter('ignore')
from degu.client import Client
from degu.misc import TempServer
server = TempServer(b'', lambda *args: (200, 'OK', {}, b'hello'))
pid = os.fork()
if pid == 0:
    del server
    gc.collect()
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
conn = Client(server.address).connect()
assert conn.get('/', {}).body.read() == b'hello'
'''
    assert outcome(code) == (0, '', '')


def test_temp_server_does_not_outlive_its_parent():
    code = '''
import os, sys
from degu.misc import TempServer
server = TempServer(b'', print)
print(server.process.pid, flush=True)
{}
'''
    for end in ('', 'os._exit(0)', 'os.kill(os.getpid(), 9)'):
        (_, output, errors) = outcome(code.format(end))
        assert errors == ''

        def gone():
            try:
                os.kill(int(output), 0)
            except ProcessLookupError:
                return True
            with open('/proc/{}/stat'.format(int(output))) as file:
                return file.read().rsplit(')', 1)[1].split()[0] == 'Z'

        until(gone)


def test_python_is_new_enough():
    assert sys.version_info >= (3, 10)


# ----------------------------------------------------------------- on_exchange

class Told:
    """What the hook was told of, and waiting for it."""

    def __init__(self):
        self.exchanges = queue.Queue()

    def __call__(self, session, exchange):
        assert type(session) is Session
        self.exchanges.put(exchange)

    def next(self):
        return self.exchanges.get(timeout=10)


def reads(session, request, api):
    if request.path == ['fail']:
        raise ValueError('no')
    data = request.body.read() if request.body else b'hello'
    return (200, 'OK', {}, data)


def test_on_exchange():
    told = Told()
    with Running(reads, on_exchange=told) as running:
        client = Client(running.address)
        assert client.get('/a?b').body.read() == b'hello'
        one = told.next()
        assert isinstance(one, Exchange)
        assert one[:3] == ('GET', '/a?b', 200)
        assert one.error is None and 0 < one.seconds < 10
        assert one.bytes_out == len(
            b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello')
        assert client.put('/', {}, bytes(100000)).body.read() == bytes(100000)
        two = told.next()
        assert two[:3] == ('PUT', '/', 200)
        assert 100000 < two.bytes_in < 100200
        assert 100000 < two.bytes_out < 100100
        assert client.get('/fail').status == 500
        assert told.next()[:3] == ('GET', '/fail', 500)
        client.close()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(running.address)
            sock.sendall(b'GET /a b HTTP/1.1\r\n\r\n')
            assert sock.recv(1000).startswith(b'HTTP/1.1 400 ')
        bad = told.next()
        assert bad[:3] == (None, None, 400)
        assert bad.seconds == 0.0 and bad.error
        assert bad.bytes_in == 21
    assert told.exchanges.empty()  # idle connections are no exchanges


def test_on_exchange_raises(caplog):
    """It is logged, and nobody else notices."""
    def raises(session, exchange):
        raise RuntimeError('the hook')

    with Running(reads, on_exchange=raises) as running:
        client = Client(running.address)
        for _ in range(3):
            assert client.get('/').body.read() == b'hello'
        client.close()
    assert [str(record.exc_info[1]) for record in caplog.records
            if record.exc_info] == ['the hook'] * 3


@pytest.mark.parametrize('text', [
    b'PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhe',
    b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nx\r\n\r\n'])
def test_fault_of_a_peer_is_a_line(text, caplog):
    """Not a traceback; that is for what an app does wrong."""
    caplog.set_level(logging.INFO)
    with Running(reads) as running:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(running.address)
            sock.sendall(text)
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1000).startswith(b'HTTP/1.1 400 ')
            assert sock.recv(1000) == b''
    lines = [record for record in caplog.records
             if record.getMessage()[:2] in ('+ ', '- ')]
    assert len(lines) == 2
    assert not any(record.exc_info for record in caplog.records)
