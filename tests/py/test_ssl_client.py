# SPDX-License-Identifier: MIT OR 0BSD
"""SSLClient, and Connection over an ssl.SSLSocket: whom it trusts, how ends are
told apart, time, threads and signals; servers are the module ssl's, and where
they need not be raw, ours and other programs."""

import contextlib
import gc
import os
import pickle
import select
import signal
import socket
import ssl
import subprocess
import threading
import time
import weakref

import pytest

from degu.base import ChunkedBodyIter, api
from degu.client import Client, Connection, SSLClient
from degu.exceptions import (
    CertificateRefusedError,
    EmptyPreambleError,
    ProtocolError,
    TruncatedError,
)
from nginx import TEXT, run_nginx
from peers import (
    SLOWER,
    WAIT,
    App,
    child,
    dial,
    everything,
    foreign_environment,
    is_asleep,
    listening,
    outcome,
    receive_head,
    reset,
    until,
)
from secure import SecureRunning, cut, drain, is_cut
from test_ssl_server import facts

TCP = ('127.0.0.1', 0)
HEAD = b'HTTP/1.1 200 OK\r\n'
HELLO = HEAD + b'content-length: 5\r\n\r\nhello'
EMPTY = HEAD + b'content-length: 0\r\n\r\n'
GONE = (OSError, CertificateRefusedError)


def answering(*answers):
    """A handler that gives one of these for each head, then a close_notify,
    and waits for the client's."""
    def run(sock):
        for answer in answers:
            assert receive_head(sock)
            sock.sendall(answer)
        if answers:
            with contextlib.suppress(OSError):
                sock.unwrap()
    return run


# ----------------------------------------------------------------- constructor

def test_context_comes_first(ends):
    """Then the pins, then what a Client has."""
    no_check = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for (args, options, error, text) in [
            ((None, 5), {'pins': 5}, TypeError, '^sslctx must be'),
            (([], 5), {'pins': 5}, TypeError, '^sslctx must be'),
            ((no_check, 5), {'pins': 5}, ValueError, '^sslctx.protocol must'),
            ((ends.server, 5), {'pins': 5},
             *((TypeError, '^pins: ') if ends.protocol == 'TLSv1.2' else
               (ValueError, '^sslctx.protocol must'))),
            (({'x': 5}, 5), {}, ValueError, "unknown keys: 'x'"),
            ((ends.client, 5), {'pins': 5}, TypeError, '^pins: '),
            ((ends.client, 5), {'pins': ()}, ValueError, '^pins: '),
            ((ends.client, 5), {}, TypeError, '^address: '),
            ((ends.client, TCP, 5), {}, TypeError, '^headers: '),
            ((ends.client, TCP), {'x': 5}, TypeError,
             r'^unsupported SSLClient\(\) \*\*options: x$'),
            ((ends.client, TCP), {'ssl_host': 5}, TypeError, '^ssl_host: ')]:
        with pytest.raises(error, match=text):
            SSLClient(*args, **options)


def test_attributes(ends):
    client = SSLClient(ends.client, ('::1', 443, 0, 0), timeout=7,
                       pins=['a' * 64])
    assert isinstance(client, Client)
    assert client.sslctx is ends.client and client.timeout == 7
    assert client.host == '[::1]' and client.ssl_host == '::1'
    assert client.options == {'timeout': 7, 'pins': ['a' * 64]}
    assert repr(client) == "SSLClient(<sslctx>, ('::1', 443, 0, 0))"
    with pytest.raises(TypeError, match="cannot pickle 'SSLClient' object"):
        pickle.dumps(client)
    with pytest.raises(AttributeError):
        client.other = 5
    client = SSLClient(sslctx=ends.client_config, address=('localhost', 80))
    assert type(client.sslctx) is ssl.SSLContext
    assert client.host == 'localhost:80' and client.ssl_host == 'localhost'
    assert SSLClient(ends.client, b'\0x').ssl_host is None
    assert SSLClient(ends.client, b'\0x', ssl_host='a').ssl_host == 'a'
    assert SSLClient(ends.client, TCP, ssl_host=None).ssl_host is None


def test_context_is_replaced(ends):
    """A bad one leaves the old."""
    with ends.running(App()) as running:
        client = ends.make(running.address)
        for (bad, error) in [(None, TypeError), ({'x': 5}, ValueError),
                             (ssl.create_default_context(), ValueError)]:
            with pytest.raises(error):
                client.sslctx = bad
            assert client.sslctx is ends.client
        assert client.get('/').body.read() == b'hello'
        client.sslctx = ends.nobody_config
        assert client.get('/').body.read() == b'hello'  # the one that is kept
        client.close()
        with pytest.raises(GONE):
            client.get('/')


def test_contexts_are_no_plain_clients(ends):
    with pytest.raises(TypeError, match='pins'):
        Client(TCP, pins=['a' * 64])


# -------------------------------------------------------------- whom to trust

def test_host_names(ends):
    """Against the certificate's names; an address has no scope in there."""
    config = dict(ends.client_config, check_hostname=True)
    with ends.running(App(), ('::1', 0, 0, 0)) as running:
        for (host, good) in [('localhost', True), ('::1', True),
                             ('::1%lo', True), ('127.0.0.1', True),
                             ('other', False), ('::2', False)]:
            client = SSLClient(config, running.address, ssl_host=host)
            if good:
                with contextlib.closing(client.connect()) as conn:
                    assert conn.get('/').body.read() == b'hello'
            else:
                with pytest.raises(ssl.SSLCertVerificationError):
                    client.connect()
        with pytest.raises(ValueError, match='check_hostname requires'):
            SSLClient(config, running.address, ssl_host=None).connect()
        with contextlib.closing(
                SSLClient(config, running.address).connect()) as conn:
            assert conn.get('/').body.read() == b'hello'


def test_pins(ends):
    (_, _, right) = facts(ends.server_config)
    (_, _, wrong) = facts(ends.client_config)
    with ends.running(App()) as running:
        for pins in ([right], [wrong, right.upper()], iter([right])):
            with ends.connect(running.address, pins=pins) as conn:
                assert conn.get('/').body.read() == b'hello'
        with pytest.raises(ssl.SSLCertVerificationError,
                           match='none of the pinned ones: ' + right) as info:
            ends.make(running.address, pins=[wrong]).connect()
        assert type(info.value).__name__ == 'PinError'
        # Also for the connection that a client keeps.
        client = ends.make(running.address, pins=[wrong])
        with pytest.raises(ssl.SSLCertVerificationError):
            client.get('/')


def test_wrong_authority(ends):
    config = dict(ends.client_config, ca_file=ends.server_config['ca_file'])
    app = App()
    with ends.running(app) as running:
        with pytest.raises(ssl.SSLCertVerificationError):
            SSLClient(config, running.address).connect()
        with pytest.raises(ssl.SSLCertVerificationError):
            SSLClient(config, running.address).get('/')
    assert app.calls == 0


@pytest.mark.parametrize('size', [0, 5, 5000000])
def test_refused(ends, size):
    """In TLS 1.3 behind a handshake that seemed to succeed: the cause says
    what the other end has said, however much had been sent by then."""
    with ends.running(App(), TCP) as running:
        for _ in range(5):
            with pytest.raises(GONE) as info:
                with contextlib.closing(SSLClient(
                        ends.nobody, running.address).connect()) as conn:
                    conn.put('/', {}, b'x' * size)
            if ends.protocol == 'TLSv1.3':
                assert type(info.value) is CertificateRefusedError
                assert info.value.code == 'E_CERTIFICATE_REFUSED'
                assert isinstance(info.value.__cause__, ssl.SSLError)
                assert 'certificate required' in str(info.value.__cause__)
                assert conn.closed


def test_refused_before_the_request(ends):
    """By a server that does not wait for it: what cannot be sent is not all
    that is said."""
    left = threading.Event()

    def run(sock):
        with contextlib.suppress(ssl.SSLError):
            ends.server.wrap_socket(sock, server_side=True)
        left.set()

    with listening(run, TCP) as address:
        client = SSLClient(ends.nobody, address)
        with pytest.raises(CertificateRefusedError if
                           ends.protocol == 'TLSv1.3' else GONE):
            with contextlib.closing(client.connect()) as conn:
                assert left.wait(WAIT)
                poll = select.poll()
                poll.register(conn.sock, 0)
                assert poll.poll(WAIT * 1000)  # it is cut
                conn.get('/')


def test_refused_on_a_kept_connection(ends):
    """And it is not tried again."""
    with ends.running(App()) as running:
        client = SSLClient(ends.nobody, running.address)
        for _ in range(2):
            with pytest.raises(GONE):
                client.get('/')
            assert client._take_kept() is None


@pytest.mark.parametrize('data', [
    b'', b'HTTP/1.1 400 Bad Request\r\n\r\n', b'\0' * 100])
def test_no_tls_there(ends, data):
    def run(sock):
        assert sock.recv(1)
        sock.sendall(data)

    with listening(run) as address:
        with pytest.raises(OSError):
            ends.make(address).connect()


def test_reset_before_the_handshake(ends, monkeypatch):
    """Which is said, however soon it comes."""
    def and_wait(client, create=Client.create_socket):
        sock = create(client)
        poll = select.poll()
        poll.register(sock, 0)
        assert poll.poll(WAIT * 1000)
        return sock

    monkeypatch.setattr(Client, 'create_socket', and_wait)
    with listening(reset, TCP) as address:
        with pytest.raises(ConnectionResetError, match='reset by peer'):
            ends.make(address).connect()


def test_dripping_handshake(ends):
    """The whole of it has the client's timeout."""
    def run(sock):
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b'\x16')
                if select.select([sock], [], [], 0.02)[0] and not sock.recv(
                        65536):
                    break

    with listening(run) as address:
        started = time.monotonic()
        with pytest.raises(OSError):
            ends.make(address, timeout=0.3 * SLOWER).connect()
        assert time.monotonic() - started < 2 * SLOWER


def test_silent_server(ends):
    def run(sock):
        with contextlib.suppress(ConnectionError):
            everything(sock)

    with listening(run) as address:
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            ends.make(address, timeout=0.3 * SLOWER).connect()
        assert 0.2 * SLOWER < time.monotonic() - started < 2 * SLOWER


# ------------------------------------------------------------------ how it ends

@pytest.mark.parametrize('rest', [
    b'HTTP/1.1 20', HEAD, HEAD + b'content-length: 9\r\n\r\nhello',
    HEAD + b'transfer-encoding: chunked\r\n\r\n5\r\nhel',
    HEAD + b'transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n',
    HEAD + b'transfer-encoding: chunked\r\n\r\n0\r\n'])
@pytest.mark.parametrize('clean', [False, True])
def test_truncated(ends, rest, clean):
    """In the head and in a body; a close_notify makes it no better."""
    def run(sock):
        receive_head(sock)
        sock.sendall(rest)
        with contextlib.suppress(OSError):
            (ssl.SSLSocket.unwrap if clean else cut)(sock)

    with ends.listening(run) as address, ends.connect(address) as conn:
        with pytest.raises(TruncatedError) as info:
            conn.get('/').body.read()
        assert info.value.code == 'E_TRUNCATED'
        assert conn.closed


@pytest.mark.parametrize('how', ['read', 'iter', 'part'])
def test_body_until_the_close(ends, how):
    """D7: only a close_notify ends it."""
    read = {'read': lambda body: body.read(),
            'iter': lambda body: b''.join(body),
            'part': lambda body: body.read(5) + body.read(99995) +
            body.read(5)}[how]
    for clean in (True, False):
        def run(sock):
            receive_head(sock)
            sock.sendall(HEAD + b'\r\n' + b'x' * 100000)
            with contextlib.suppress(OSError):
                (ssl.SSLSocket.unwrap if clean else cut)(sock)

        with ends.listening(run) as address, ends.connect(address) as conn:
            body = conn.get('/').body
            if clean:
                assert read(body) == b'x' * 100000
            else:
                with pytest.raises(TruncatedError):
                    read(body)


@pytest.mark.parametrize('clean', [False, True])
def test_closed_before_a_byte(ends, clean):
    """An ordinary close, either way."""
    def run(sock):
        receive_head(sock)
        with contextlib.suppress(OSError):
            (ssl.SSLSocket.unwrap if clean else cut)(sock)

    with ends.listening(run) as address, ends.connect(address) as conn:
        with pytest.raises(EmptyPreambleError):
            conn.get('/')
        assert conn.closed


def test_reset(ends):
    def run(sock):
        receive_head(sock)
        sock.sendall(HELLO[:-1])
        reset(sock)

    with ends.listening(run, TCP) as address, ends.connect(address) as conn:
        with pytest.raises(ConnectionError):
            conn.get('/').body.read()


def test_broken_record(ends):
    def run(sock):
        receive_head(sock)
        sock.sendall(HELLO[:-1])
        socket.socket.sendall(sock, b'\x17\x03\x03\x00\x20' + bytes(32))
        with contextlib.suppress(OSError):
            sock.recv(1)

    with ends.listening(run) as address, ends.connect(address) as conn:
        body = conn.get('/').body
        with pytest.raises(ssl.SSLError):
            body.read()
        assert conn.closed


@pytest.mark.parametrize('state', ['fresh', 'used', 'dropped', 'last', 'kept'])
def test_regular_end_says_so(ends, state):
    """With a close_notify, so the server knows that nothing is missing."""
    ended = []

    def run(sock):
        if state != 'fresh':
            receive_head(sock)
            sock.sendall(HELLO.replace(
                b'\r\n\r\n', b'\r\nconnection: close\r\n\r\n')
                if state == 'last' else HELLO)
        ended.append(sock.recv(1))

    with ends.listening(run) as address:
        client = ends.make(address)
        if state == 'kept':
            assert client.get('/').body.read() == b'hello'
            client.close()
        else:
            conn = client.connect()
            if state != 'fresh':
                assert conn.get('/').body.read() == b'hello'
            if state == 'dropped':
                del conn
                gc.collect()
            elif state != 'last':  # that one is closed
                conn.close()
    assert ended == [b'']


def test_cut_is_no_regular_end(ends):
    """A request that breaks off."""
    ended = []

    def run(sock):
        receive_head(sock)
        ended.append(is_cut(sock))

    def source():
        yield b'x' * 100
        raise KeyError('here')

    with ends.listening(run) as address, ends.connect(address) as conn:
        with pytest.raises(KeyError):
            conn.put('/', {}, api.BodyIter(source(), 1000))
        assert conn.closed
    assert ended == [True]


def test_timed_out(ends):
    """A record that drips is no progress."""
    def run(sock):
        receive_head(sock)
        with contextlib.suppress(OSError):
            socket.socket.sendall(sock, b'\x17\x03\x03\x40\x00')
            while not select.select([sock], [], [], 0.02)[0]:
                socket.socket.sendall(sock, b'x')

    with ends.listening(run) as address:
        with ends.connect(address, timeout=0.3 * SLOWER) as conn:
            started = time.monotonic()
            with pytest.raises(TimeoutError):
                conn.get('/')
            assert 0.2 * SLOWER < time.monotonic() - started < 2 * SLOWER
            assert conn.closed


def test_early_answer(ends):
    """To a request whose body nobody reads."""
    def run(sock):
        receive_head(sock)
        sock.sendall(HEAD.replace(b'200 OK', b'413 No') +
                     b'content-length: 2\r\nconnection: close\r\n\r\nno')
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(OSError):
            drain(sock)

    with ends.listening(run, TCP) as address, ends.connect(address) as conn:
        response = conn.put('/', {}, bytes(100000))
        assert response.status == 413 and response.body.read() == b'no'


# ---------------------------------------------------------------- request()

def test_kept_connection(ends):
    app = App()
    with ends.running(app, max_requests=3) as running:
        client = ends.make(running.address)
        socks = set()
        for count in range(9):
            assert client.get('/%d' % count).body.read() == b'hello'
            if count % 3 == 0:
                socks.add(weakref.ref(client._kept.conn.sock))
        assert app.calls == 9 and len(socks) == 3
        client.close()


@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_stale_connection(ends, method):
    """Closed by a server that was idle, so that no method notices."""
    app = App()
    with ends.running(app, timeout=0.2 * SLOWER) as running:
        client = ends.make(running.address)
        for _ in range(2):
            assert client.request(method, '/').body.read() == b'hello'
            sock = client._kept.conn.sock
            assert select.select([sock], [], [], WAIT)[0]
            del sock
        client.close()


@pytest.mark.parametrize('end', [ssl.SSLSocket.unwrap, cut, reset])
@pytest.mark.parametrize('method', ['GET', 'POST'])
def test_closed_in_its_face(ends, end, method):
    """After the request was read: sent once more if that is safe."""
    count = 0

    def run(sock):
        nonlocal count
        with ends.server.wrap_socket(sock, server_side=True) as secure:
            for answer in (EMPTY, b''):
                if not receive_head(secure):
                    return
                count += 1
                secure.sendall(answer)
            with contextlib.suppress(OSError):
                end(secure)

    with contextlib.ExitStack() as stack:
        address = stack.enter_context(listening(run, TCP))
        client = ends.make(address)
        assert client.request(method, '/').status == 200
        spare = stack.enter_context(listening(run, TCP))
        client.address = spare
        if method == 'GET':
            assert client.get('/').status == 200
        else:
            with pytest.raises(ConnectionError):
                client.request(method, '/')
            SSLClient(ends.client, spare).connect().close()
        client.close()
    assert count == (3 if method == 'GET' else 2)


def test_check(ends):
    with ends.running(App(), timeout=0.3 * SLOWER) as running:
        with ends.connect(running.address) as conn:
            conn.check()
            assert conn.get('/').body.read() == b'hello'
            conn.check()
            response = conn.get('/')
            with pytest.raises(ProtocolError) as info:
                conn.check()
            assert info.value.code == 'E_ORDER'
            assert response.body.read() == b'hello'
            assert select.select([conn.sock], [], [], WAIT)[0]
            with pytest.raises(EmptyPreambleError):
                conn.check()


def test_check_finds_what_nobody_asked_for(ends):
    """In the record of the response, and in one behind it."""
    for data in ([HELLO + EMPTY], [HELLO, EMPTY]):
        sent = threading.Event()

        def run(sock):
            receive_head(sock)
            for part in data:
                sock.sendall(part)
            sent.set()
            with contextlib.suppress(OSError):
                sock.recv(1)

        with ends.listening(run) as address, ends.connect(address) as conn:
            assert conn.get('/').body.read() == b'hello'
            assert sent.wait(WAIT)
            with pytest.raises(ValueError):
                conn.check()


# ------------------------------------------------------------- other programs

@pytest.fixture
def s_server(ends, tmp_path):
    """The port of an openssl s_server -WWW, which sends tickets."""
    (tmp_path / 'a.txt').write_bytes(b'hello\n' * 10000)
    config = ends.server_config
    process = subprocess.Popen(
        ['openssl', 's_server', '-WWW', '-accept', '127.0.0.1:0',
         '-cert', config['cert_file'], '-key', config['key_file'],
         '-CAfile', config['ca_file'], '-Verify', '3',
         '-verify_return_error'],
        cwd=str(tmp_path), env=foreign_environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    with process:
        try:
            for line in process.stdout:
                if line.startswith(b'ACCEPT'):
                    break
            yield int(line.rsplit(b':', 1)[1])
        finally:
            process.kill()


def test_s_server(ends, s_server):
    """Until the close, in HTTP/1.0."""
    for _ in range(3):
        with ends.connect(('127.0.0.1', s_server)) as conn:
            response = conn.get('/a.txt')
            assert response.status == 200
            assert response.body.read() == b'hello\n' * 10000
            assert conn.closed


TLS_NGINX = '''
    server {{{{
        listen unix:{{folder}}/tls ssl;
        ssl_certificate {cert_file};
        ssl_certificate_key {key_file};
        ssl_client_certificate {ca_file};
        ssl_verify_client on;
        ssl_protocols {protocol};
        root {{folder}}/www;
        location /dav/ {{{{ dav_methods PUT DELETE; }}}}
    }}}}
'''


def test_nginx(ends):
    """With TLS 1.3 it sends tickets behind the handshake: they are none of a
    request's, and nothing that check() minds."""
    with run_nginx(TLS_NGINX.format(
            **ends.server_config)) as folder:
        client = ends.make(folder + '/tls', host='a.example')
        with contextlib.closing(client.connect()) as conn:
            if ends.protocol == 'TLSv1.3':
                # The tickets, or nginx has sent none.
                assert select.select([conn.sock], [], [], WAIT)[0]
            for _ in range(3):
                conn.check()
                assert conn.get('/a.txt').body.read() == TEXT
            data = os.urandom(300000)
            for body in (data, ChunkedBodyIter([(None, data), (None, b'')])):
                assert conn.put('/dav/a', {}, body).status in (201, 204)
                conn.check()
                assert conn.get('/dav/a').body.read() == data
        for _ in range(3):
            assert client.get('/a.txt').body.read() == TEXT
        client.close()
        # nginx answers these itself, and says why.
        response = SSLClient(ends.nobody, folder + '/tls',
                             host='a').connect().get('/a.txt')
        assert response.status == 400
        assert b'No required SSL certificate' in response.body.read()


# --------------------------------------------------------- sockets of our own

def own_context(ends):
    """As others make them, without a look at the end of file."""
    sslctx = ssl.create_default_context(cafile=ends.client_config['ca_file'])
    sslctx.check_hostname = False
    sslctx.load_cert_chain(ends.client_config['cert_file'],
                           ends.client_config['key_file'])
    return sslctx


def test_own_ssl_socket(ends):
    """Its timeout is the connection's, and it does not wait itself."""
    with ends.running(App()) as running:
        sock = own_context(ends).wrap_socket(dial(running.address))
        conn = Connection(sock, None)
        assert conn.sock is sock
        for _ in range(3):
            assert conn.get('/').body.read() == b'hello'
        conn.check()
        assert conn.peer.subject == 'CN=' + ends.pki.server_id
        conn.close()
        assert sock.fileno() == -1


def test_own_ssl_socket_tells_no_end_of_file(ends):
    """What ssl takes for an end need not be one: a body until the close is
    never believed; others are as whole as they say."""
    for (answer, good) in [
            (HELLO, True), (HEAD + b'\r\nhello', False),
            (HELLO[:-1], False)]:
        for clean in (True, False):
            def run(sock):
                receive_head(sock)
                sock.sendall(answer)
                with contextlib.suppress(OSError):
                    (ssl.SSLSocket.unwrap if clean else cut)(sock)

            with ends.listening(run) as address:
                conn = Connection(
                    own_context(ends).wrap_socket(dial(address)), None)
                body = conn.get('/').body
                if good or (clean and answer.startswith(HEAD + b'\r\n') and
                            not ends_are_hidden(conn.sock.context)):
                    assert body.read() == b'hello'
                else:
                    with pytest.raises(TruncatedError):
                        body.read()
                conn.close()


def ends_are_hidden(sslctx):
    return bool(int(sslctx.options) & 0x80)  # SSL_OP_IGNORE_UNEXPECTED_EOF


def test_own_ssl_socket_before_its_handshake(ends):
    """It is done with the first request."""
    with ends.running(App()) as running:
        sock = ends.client.wrap_socket(dial(running.address),
                                       do_handshake_on_connect=False)
        conn = Connection(sock, None)
        with pytest.raises(ValueError):
            conn.peer
        assert conn.get('/').body.read() == b'hello'
        assert conn.peer.protocol == ends.protocol
        conn.close()


def test_derived_ssl_socket(ends):
    """A subclass means to be called; its peer is as well known."""
    calls = []

    class Mine(ssl.SSLSocket):
        def recv_into(self, *args):
            calls.append('recv_into')
            return super().recv_into(*args)

        def send(self, *args):
            calls.append('send')
            return super().send(*args)

    context = own_context(ends)
    context.sslsocket_class = Mine
    with ends.running(App()) as running:
        conn = Connection(context.wrap_socket(dial(running.address)), None)
        assert conn.get('/').body.read() == b'hello'
        assert conn.peer.subject == 'CN=' + ends.pki.server_id
        conn.close()
    assert {'recv_into', 'send'} == set(calls)


def test_socket_closed_by_somebody_else(ends):
    with ends.running(App()) as running:
        with ends.connect(running.address) as conn:
            assert conn.get('/').body.read() == b'hello'
            conn.sock.close()
            with pytest.raises((OSError, ValueError)):
                conn.get('/')


def test_unwrapped_by_somebody_else(ends):
    """A request does not go out in plain text."""
    seen = []

    def run(sock):
        receive_head(sock)
        sock.sendall(HELLO)
        plain = sock.unwrap()
        with plain:
            seen.append(everything(plain))

    with ends.listening(run) as address, ends.connect(address) as conn:
        assert conn.get('/').body.read() == b'hello'
        conn.sock.setblocking(True)
        sock = conn.sock.unwrap()
        with pytest.raises((OSError, ValueError)):
            conn.get('/')
        sock.close()
    assert seen == [b'']


def test_peer_of_a_closed_connection(ends):
    """If nobody has asked before, nobody knows."""
    with ends.running(App()) as running:
        conn = ends.make(running.address).connect()
        conn.close()
        with pytest.raises(ValueError, match='has ended'):
            conn.peer


def test_on_connect(ends):
    """It knows who is there."""
    seen = []

    def look(conn):
        seen.append(conn.peer.subject)
        return len(seen) == 1

    with ends.running(App()) as running:
        client = ends.make(running.address, on_connect=look)
        client.connect().close()
        with pytest.raises(ValueError, match='did not return True'):
            client.connect()
    assert seen == ['CN=' + ends.pki.server_id] * 2


# -------------------------------------------------------------------- threads

def test_two_threads(ends):
    """One at a time; the other is told."""
    (go, inside) = (threading.Event(), threading.Event())

    def app(session, request, api):
        inside.set()
        assert go.wait(WAIT)
        return (200, 'OK', {}, b'hello')

    results = []
    with ends.reached(app) as conn:
        thread = threading.Thread(
            target=lambda: results.append(conn.get('/')))
        thread.start()
        assert inside.wait(WAIT)
        for call in (lambda: conn.get('/'), lambda: conn.put('/', {}, b'x'),
                     conn.check):
            with pytest.raises(RuntimeError):
                call()
        assert conn.peer.protocol == ends.protocol
        go.set()
        thread.join()
        assert results[0].body.read() == b'hello'


def test_many_threads(ends):
    """Every call gives its own answer, or raises; and then they close it."""
    def app(session, request, api):
        return (200, 'OK', {}, request.uri.encode() * 100)

    wrong = []

    def run(number):
        for count in range(100):
            uri = '/{}/{}'.format(number, count)
            try:
                got = conn.get(uri).body.read()
            except (ValueError, RuntimeError):
                continue
            except BaseException as error:
                wrong.append(error)
                return
            if got != uri.encode() * 100:
                wrong.append((uri, got))
        conn.close()

    with ends.reached(app, max_requests=10**6) as conn:
        threads = [threading.Thread(target=run, args=(number,))
                   for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    wrong = [one for one in wrong if not isinstance(one, OSError)]
    assert wrong == []


def test_closed_by_another_thread(ends):
    inside = threading.Event()
    errors = []

    def run(sock):
        receive_head(sock)
        inside.set()
        with contextlib.suppress(OSError):
            drain(sock)

    def wait():
        try:
            conn.get('/')
        except BaseException as error:
            errors.append(error)

    with ends.listening(run) as address:
        conn = ends.make(address, timeout=WAIT).connect()
        thread = threading.Thread(target=wait)
        thread.start()
        assert inside.wait(WAIT)
        started = time.monotonic()
        conn.close()
        thread.join(WAIT)
        assert time.monotonic() - started < 2 * SLOWER
    assert len(errors) == 1 and isinstance(errors[0], (OSError, ValueError))
    assert conn.closed


# -------------------------------------------------------------------- signals

BLOCKED = '''
import sys, threading
from degu.client import SSLClient
(port, ca, call) = sys.argv[1:]
config = {'ca_file': ca, 'check_hostname': False, 'protocol': PROTOCOL}
client = SSLClient(config, ('127.0.0.1', int(port)), timeout=TIMEOUT)
conn = None
try:
    if call != 'connect':
        conn = client.connect()
    if call == 'get':
        conn.get('/')
    elif call == 'read':
        conn.get('/').body.read()
    elif call == 'put':
        conn.put('/', {}, bytes(50000000))
    else:
        client.connect()
except KeyboardInterrupt:
    print('interrupted', conn and conn.closed, flush=True)
'''


@pytest.mark.parametrize('timeout', [None, 30])
@pytest.mark.parametrize('call', ['connect', 'get', 'read', 'put'])
def test_keyboard_interrupt(ends, timeout, call):
    """Ctrl-C in a client that waits, in its handshake too."""
    (reached, done) = (threading.Event(), threading.Event())

    def run(sock):
        if call == 'connect':
            assert sock.recv(1)
            reached.set()
            assert done.wait(WAIT)
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ends.server_config['cert_file'],
                                ends.server_config['key_file'])
        with context.wrap_socket(sock, server_side=True) as secure:
            receive_head(secure)
            if call == 'read':
                secure.sendall(HELLO[:-1])
            reached.set()
            assert done.wait(WAIT)

    code = BLOCKED.replace('PROTOCOL', repr(ends.protocol)).replace(
        'TIMEOUT', repr(timeout))
    with listening(run, TCP) as (_, port):
        with child(code, str(port), ends.client_config['ca_file'],
                   call) as process:
            assert reached.wait(WAIT)
            until(lambda: is_asleep(process))
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            (output, errors) = process.communicate(timeout=5)
            done.set()
            assert (output, errors) == ('interrupted {}\n'.format(
                None if call == 'connect' else True), '')
            assert time.monotonic() - started < 2


SIGNALS = '''
import signal, sys, time
from degu.client import SSLClient
(port, ca) = sys.argv[1:]
config = {'ca_file': ca, 'check_hostname': False, 'protocol': PROTOCOL}
count = 0

def handler(*args):
    global count
    count += 1

conn = SSLClient(config, ('127.0.0.1', int(port)), timeout=0.4).connect()
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
started = time.monotonic()
try:
    conn.get('/')
except TimeoutError:
    print(count > 3, 0.35 < time.monotonic() - started < 2)
signal.setitimer(signal.ITIMER_REAL, 0)
'''


def test_signals_do_not_extend_the_time(ends):
    def run(sock):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ends.server_config['cert_file'],
                                ends.server_config['key_file'])
        with context.wrap_socket(sock, server_side=True) as secure:
            with contextlib.suppress(OSError):
                everything(secure)

    with listening(run, TCP) as (_, port):
        assert outcome(SIGNALS.replace('PROTOCOL', repr(ends.protocol)),
                       str(port), ends.client_config['ca_file']) == (
            0, 'True True\n', '')


# ------------------------------------------------------------------------ rest

def test_open_server_and_no_certificate(ends):
    with SecureRunning(ends.open_config, App()) as running:
        with contextlib.closing(SSLClient(
                ends.nobody_config, running.address).connect()) as conn:
            assert conn.get('/').body.read() == b'hello'
            assert conn.peer.certificate


def test_refused_contexts_leave_no_socket(ends):
    """What fails in create_socket() closes what it has made."""
    with ends.running(App()) as running:
        before = len(os.listdir('/proc/self/fd'))
        errors = []
        for _ in range(20):
            with pytest.raises(OSError) as info:
                ends.make(running.address, pins=['0' * 64]).connect()
            errors.append(info.value)
        del info
        errors.clear()
        gc.collect()
        until(lambda: len(os.listdir('/proc/self/fd')) <= before)
