# SPDX-License-Identifier: MIT OR 0BSD
"""SSLServer: what it is made of, handshakes, on_connect, bodies, time, and the
end; clients are the module ssl's and, where they need not be raw, ours."""

import contextlib
import gc
import hashlib
import io
import json
import logging
import os
import pickle
import re
import resource
import signal
import socket
import ssl
import tempfile
import threading
import time

import pytest

from conftest import workers
from degu.applib.files import FilesApp
from degu.applib.proxy import ProxyApp
from degu.base import Body, BodyIter, ChunkedBodyIter, api
from degu.client import Client, SSLClient, build_client_sslctx
from degu.exceptions import CertificateRefusedError
from degu.rgi import Validator
from degu.server import Server, SSLServer, build_server_sslctx
from growth import FREE_THREADED
from handshakes import openssl, self_signed
from peers import (
    SLOWER,
    WAIT,
    App,
    Running,
    answers,
    child,
    dial,
    drip,
    everything,
    outcome,
    receive_head,
    reset,
    until,
)
from secure import Records, SecureRunning, cut, drain, is_cut

GET = b'GET / HTTP/1.1\r\n\r\n'
LAST = b'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'
TCP = ('127.0.0.1', 0)
GONE = (OSError, CertificateRefusedError)


def hello(session, request, api):
    return (200, 'OK', {}, b'hello')


@pytest.fixture(params=['IPv4', 'IPv6', 'path', 'abstract'])
def address(request, folder):
    return {'IPv4': TCP, 'IPv6': ('::1', 0, 0, 0), 'path': folder + '/socket',
            'abstract': b''}[request.param]


def finish(server):
    """Gives back what a server has that shall not serve."""
    server.shutdown()
    server.serve_forever()
    assert server.sock.fileno() == -1


def is_alive(ends, address):
    return [answer[:2] + answer[3:] for answer in answers(
        ends.talk(address, LAST))] == [(200, 'OK', b'hello')]


def lines(caplog):
    """What has been logged since the server began."""
    return [record.getMessage() for record in caplog.records
            if not record.getMessage().startswith(('Starting', '['))]


# ----------------------------------------------------------------- constructor

def test_address(ends, address):
    with ends.running(hello, address) as running:
        server = running.server
        assert type(server) is SSLServer and isinstance(server, Server)
        assert server.address == server.sock.getsockname()
        with ends.connect(server.address) as conn:
            for _ in range(2):
                assert conn.get('/').body.read() == b'hello'
            assert conn.sock.version() == ends.protocol
        assert is_alive(ends, server.address)


def test_context_comes_first(ends):
    """Then the pins, then what a Server has."""
    for (args, options, error, text) in [
            ((None, 5, 5), {'pins': 5, 'x': 5}, TypeError, '^sslctx must be'),
            (({}, 5, 5), {'pins': 5}, KeyError, 'cert_file'),
            ((ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), 5, 5), {}, ValueError,
             '^sslctx.protocol must be'),
            ((ends.server, 5, 5), {'pins': 5, 'x': 5}, TypeError, '^pins: '),
            ((ends.server, 5, 5), {'pins': []}, ValueError, '^pins: '),
            ((ends.server, 5, 5), {'x': 5}, TypeError,
             r'^unsupported SSLServer\(\) \*\*options: x$'),
            ((ends.server, 5, hello), {}, TypeError, '^address: ')]:
        with pytest.raises(error, match=text):
            SSLServer(*args, **options)


def test_attributes(ends):
    server = SSLServer(ends.server, TCP, hello, timeout=7, pins=['A' * 64])
    assert server.sslctx is ends.server
    assert server.app is hello and server.timeout == 7
    assert server.max_connections == 25 and server.max_requests == 100
    assert server.options['pins'] == {'a' * 64}
    assert repr(server) == 'SSLServer(<sslctx>, {!r}, {})'.format(
        server.address, __name__ + '.hello')
    with pytest.raises(TypeError, match="cannot pickle 'SSLServer' object"):
        pickle.dumps(server)
    finish(server)
    server = SSLServer(sslctx=ends.server_config, address=b'', app=hello)
    assert type(server.sslctx) is ssl.SSLContext
    assert 'pins' not in server.options
    finish(server)


def test_derived(ends):
    class Mine(SSLServer):
        pass

    server = Mine(ends.server, TCP, hello)
    assert repr(server).startswith('Mine(<sslctx>, ')
    finish(server)


def test_dropped(ends):
    """One that has never served leaves nothing."""
    server = SSLServer(ends.server, b'', hello)
    server.sock.close()
    del server
    gc.collect()


def test_options(ends):
    app = App()
    with ends.running(app, max_requests=2, bodies=api) as running:
        with ends.connect(running.address) as conn:
            conn.get('/').body.read()
            assert not conn.closed
            conn.get('/').body.read()
            assert conn.closed
    assert app.calls == 2


def test_max_connections(ends):
    """One too many is closed before its handshake."""
    with ends.running(hello, max_connections=2) as running:
        with ends.connect(running.address) as one:
            with ends.connect(running.address) as two:
                assert one.get('/').body.read() == b'hello'
                assert two.get('/').body.read() == b'hello'
                with pytest.raises(OSError):
                    ends.dial(running.address)
        until(lambda: can_connect(ends, running.address))


def can_connect(ends, address):
    with contextlib.suppress(OSError):
        return is_alive(ends, address)
    return False


def test_ready_socket(ends):
    with socket.socket(socket.AF_INET) as sock:
        sock.bind(TCP)
        sock.listen()
        with ends.running(hello, sock) as running:
            assert running.server.sock is sock
            assert is_alive(ends, running.address)


# --------------------------------------------------------- contexts and serving

def test_context_is_replaced(ends):
    """For new connections; the others keep what they have."""
    with ends.running(hello) as running:
        server = running.server
        with ends.connect(server.address) as conn:
            assert conn.get('/').body.read() == b'hello'
            with pytest.raises(GONE):
                nobody(ends, server.address)
            sslctx = build_server_sslctx(ends.open_config)
            server.sslctx = sslctx
            assert server.sslctx is sslctx
            assert nobody(ends, server.address) == b'hello'
            assert conn.get('/').body.read() == b'hello'
            server.sslctx = ends.server_config
            with pytest.raises(GONE):
                nobody(ends, server.address)
            assert conn.get('/').body.read() == b'hello'


def nobody(ends, address):
    with contextlib.closing(
            SSLClient(ends.nobody, address).connect()) as conn:
        return conn.get('/').body.read()


def test_bad_context_leaves_the_old_one(ends):
    with ends.running(hello) as running:
        server = running.server
        optional = build_server_sslctx(ends.server_config)
        optional.verify_mode = ssl.CERT_OPTIONAL
        for (bad, error) in [
                (None, TypeError), ({}, KeyError), (optional, ValueError),
                (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ValueError),
                (dict(ends.server_config, cert_file='/nowhere/at/all'),
                 FileNotFoundError),
                (dict(ends.server_config, key_file=ends.client_config[
                    'key_file']), ssl.SSLError)]:
            with pytest.raises(error):
                server.sslctx = bad
            assert server.sslctx is ends.server
        assert is_alive(ends, server.address)


# ------------------------------------------------------------------- the peer

class Noted:
    """An app that keeps its sessions and what on_connect() was called with,
    which it answers by."""

    def __init__(self, answer=True):
        self.answer = answer
        self.events = []
        self.ready = threading.Event()

    def __call__(self, session, request, api):
        self.events.append(('request', session))
        return (200, 'OK', {}, b'hello')

    def on_connect(self, session, sock):
        self.events.append(('connect', session, sock))
        self.ready.set()
        if callable(self.answer):
            return self.answer(session, sock)
        return self.answer


def facts(config):
    """(DER, SHA-256 of it, SHA-256 of its key) of a certificate."""
    der = openssl('x509', '-in', config['cert_file'], '-outform', 'DER')
    key = openssl('x509', '-in', config['cert_file'], '-noout', '-pubkey')
    spki = openssl('pkey', '-pubin', '-outform', 'DER', data=key)
    return (der, hashlib.sha256(der).hexdigest(),
            hashlib.sha256(spki).hexdigest())


def test_peer(ends, address):
    """At both ends, against the files, and before the first request."""
    app = Noted(lambda session, sock: session.peer is not None)
    with ends.running(app, address) as running:
        with ends.connect(running.address) as conn:
            conn.get('/').body.read()
            theirs = conn.peer
            assert conn.peer is theirs
        ((_, session, _), (_, again)) = app.events
        assert again is session and session.peer is session.peer
        assert conn.peer is theirs  # of a connection that is closed
    for (peer, config, name) in (
            (session.peer, ends.client_config, ends.pki.client_id),
            (theirs, ends.server_config, ends.pki.server_id)):
        assert (peer.certificate, peer.sha256, peer.key_sha256) == facts(config)
        assert peer.subject == 'CN=' + name
        assert peer.protocol == ends.protocol
        assert peer.cipher in ('ECDHE-RSA-AES256-GCM-SHA384',
                               'TLS_AES_256_GCM_SHA384')
        assert len(peer.chain) == 2 and peer.chain[0] == peer.certificate
    assert theirs.names == (('DNS', 'localhost'), ('IP', '127.0.0.1'),
                            ('IP', '::1'))
    assert session.peer.names == (('DNS', ends.pki.client_id),)
    assert theirs.chain[1] == openssl(
        'x509', '-in', ends.client_config['ca_file'], '-outform', 'DER')


def test_peer_of_a_plain_connection():
    app = Noted()
    with Running(app) as running:
        with contextlib.closing(Client(running.address).connect()) as conn:
            conn.get('/').body.read()
            assert conn.peer is None
    ((_, session, sock), _) = app.events
    assert session.peer is None and type(sock) is socket.socket
    with pytest.raises(AttributeError):
        session.peer = 5


def test_anonymous_peer(ends):
    app = Noted()
    with SecureRunning(ends.open_config, app) as running:
        assert nobody(ends, running.address) == b'hello'
        with ends.connect(running.address) as conn:  # nobody has asked for it
            conn.get('/').body.read()
    for (_, session, *_) in app.events:
        peer = session.peer
        assert (peer.certificate, peer.sha256, peer.key_sha256, peer.subject,
                peer.names, peer.chain) == (None, None, None, None, (), ())
        assert peer.protocol == ends.protocol


# ----------------------------------------------------------------- on_connect

def test_on_connect(ends):
    """Its socket's handshake is done, and it waits as long as the server."""
    seen = []

    def look(session, sock):
        seen.append((type(sock), sock.version(), sock.gettimeout(),
                     sock.getpeercert(True), sock.server_side))
        return True

    with ends.running(Noted(look), timeout=7) as running:
        with ends.connect(running.address) as conn:
            assert conn.get('/').body.read() == b'hello'
    assert seen == [(ssl.SSLSocket, ends.protocol, 7,
                     facts(ends.client_config)[0], True)]


def test_on_connect_reads_and_writes(ends):
    """A request in the same TLS record as what it has read is not lost."""
    got = []

    def greet(session, sock):
        sock.sendall(b'who?')
        got.append(sock.recv(2))
        sock.settimeout(None)
        return True

    with ends.running(Noted(greet)) as running:
        with ends.dial(running.address) as sock:
            assert sock.recv(4) == b'who?'
            sock.sendall(b'me' + LAST)
            (answer,) = answers(drain(sock))
            assert answer.body == b'hello'
    assert got == [b'me']


def test_on_connect_times_out(ends, caplog):
    """And what it has raised is the end of the connection."""
    def wait(session, sock):
        return sock.recv(1)

    with ends.running(Noted(wait), timeout=0.2 * SLOWER) as running:
        with ends.dial(running.address) as sock:
            assert drain(sock) == b''
    (record,) = [record for record in caplog.records if record.exc_info]
    assert isinstance(record.exc_info[1], TimeoutError)


def test_on_connect_leaves_the_server_waiting(ends):
    """It is the server that waits behind it, and that does not hold a
    thread."""
    with ends.running(Noted(), timeout=0.6 * SLOWER) as running:
        with dial(running.address) as sock, dial(running.address) as other:
            records = Records(ends, sock).shake()
            Records(ends, other).shake()
            until(lambda: len(running.server.app.events) == 2)
            for one in (sock, other):
                one.sendall(records.encrypt(GET)[:7])
            started = time.monotonic()
            assert is_alive(ends, running.address)
            assert time.monotonic() - started < 0.5 * SLOWER
            with contextlib.suppress(ConnectionError):
                everything(sock)
            assert time.monotonic() - started < 2 * SLOWER


def fail(session, sock):
    raise KeyError('here')


def leave(session, sock):
    raise SystemExit


@pytest.mark.parametrize('answer', [
    False, None, 1, 'yes', fail, leave], ids=repr)
def test_on_connect_refuses(ends, answer, caplog):
    """The client sees a clean end, and no answer."""
    caplog.set_level(logging.INFO)
    app = Noted(answer)
    with ends.running(app) as running:
        with ends.dial(running.address) as sock:
            assert drain(sock) == b''
        assert [name for (name, *_) in app.events] == ['connect']
        with pytest.raises((OSError, ValueError)):
            with ends.connect(running.address) as conn:
                conn.get('/')
        app.answer = True
        assert is_alive(ends, running.address)
    texts = ' '.join(lines(caplog))
    assert texts.count('rejected') == 2
    if not callable(answer):
        assert texts.count('Rejected by app.on_connect()') == 2


@pytest.mark.parametrize('spoil', [
    lambda sock: sock.close(), lambda sock: sock.detach() and None,
    lambda sock: sock.shutdown(socket.SHUT_RDWR)],
    ids=['close', 'detach', 'shutdown'])
def test_socket_that_on_connect_ends(ends, spoil, caplog):
    """It does not go on in plain text, and nobody else is disturbed."""
    def end(session, sock):
        number = sock.fileno()
        spoil(sock)
        if sock.fileno() == -1:
            with contextlib.suppress(OSError):
                os.close(number)
        return True

    app = Noted(end)
    with ends.running(app) as running:
        with dial(running.address) as plain:
            with contextlib.suppress(ConnectionError):
                secure = Records(ends, plain).shake()
                plain.sendall(secure.encrypt(LAST))
                assert b'hello' not in everything(plain)
        app.answer = True
        assert is_alive(ends, running.address)


@pytest.mark.parametrize('how', [socket.SHUT_RD, socket.SHUT_WR])
def test_app_ends_tls(ends, how):
    """shutdown() of an SSLSocket makes it a plain one: then nothing is sent."""
    socks = []

    class App:
        def on_connect(self, session, sock):
            socks.append(sock)
            return True

        def __call__(self, session, request, api):
            socks[-1].shutdown(how)
            return (200, 'OK', {}, b'in the clear')

    with ends.running(App(), TCP) as running:
        with dial(running.address) as sock:
            records = Records(ends, sock).shake()
            sock.sendall(records.encrypt(GET))
            assert b'HTTP' not in everything(sock)


def test_on_connect_ends_tls(ends, caplog):
    """What comes behind that is not served."""
    app = Noted(lambda session, sock: bool(sock.unwrap()))
    with ends.running(app) as running:
        with ends.dial(running.address) as sock:
            plain = sock.unwrap()
            with plain, contextlib.suppress(ConnectionError):
                plain.sendall(LAST)
                assert everything(plain) == b''
    assert [name for (name, *_) in app.events] == ['connect']
    assert 'on_connect() has ended the TLS connection' in caplog.text


def test_socket_of_on_connect_is_dead_afterwards(ends):
    app = Noted()
    with ends.running(app) as running:
        assert is_alive(ends, running.address)
        ((_, _, sock), _) = app.events
        until(lambda: sock.fileno() == -1)


# ----------------------------------------------------------------------- pins

def test_pins(ends, caplog):
    """Beside what the context demands."""
    caplog.set_level(logging.INFO)
    (_, _, right) = facts(ends.client_config)
    (_, _, wrong) = facts(ends.server_config)
    for (pins, good) in [([right], True), ([right.upper()], True),
                         ({wrong, right}, True), ([wrong], False)]:
        app = App()
        with ends.running(app, pins=pins) as running:
            if good:
                with ends.connect(running.address) as conn:
                    assert conn.get('/').body.read() == b'hello'
            else:
                with pytest.raises((OSError, ValueError)):
                    with ends.connect(running.address) as conn:
                        conn.get('/')
            with pytest.raises(GONE):
                nobody(ends, running.address)
        assert app.calls == good
    (line,) = [line for line in lines(caplog) if 'pinned' in line]
    assert line.endswith("TLS handshake failed: the other end's key is none "
                         'of the pinned ones: ' + right)


def test_pins_of_an_open_server(ends):
    """They are a way of trust: nobody else comes in."""
    (_, _, right) = facts(ends.client_config)
    app = App()
    with SecureRunning(ends.server, app, pins=[right]) as running:
        running.server.sslctx = ends.open_config
        # A client is not asked for what the context does not want.
        with pytest.raises((OSError, ValueError)):
            nobody(ends, running.address)
    assert app.calls == 0


# --------------------------------------------------------------------- bodies

DATA = os.urandom(65536) * 49  # more than 3 MiB
SIZES = [0, 1, 5, 16383, 16384, 16385, 70001, len(DATA)]


class Bodies:
    """An app that reads in one of the ways, and answers in one."""

    def __init__(self, path):
        self.path = path

    def __call__(self, session, request, api):
        (read, write) = request.path
        data = getattr(self, 'read_' + read)(request.body)
        return (200, 'OK', {}, getattr(self, 'write_' + write)(data, api))

    def read_relay(self, body):
        return body

    def read_none(self, body):
        assert body is None
        return DATA

    def read_all(self, body):
        return content(body)

    def read_parts(self, body):
        found = b''
        while body and (part := body.read(10007)):
            found += part
        return found

    def read_iter(self, body):
        if body and body.chunked:
            return b''.join(data for (_, data) in body)
        return b''.join(body or ())

    def read_chunk(self, body):
        found = b''
        while True:
            (_, data) = body.readchunk()
            if not data:
                return found
            found += data

    def write_relay(self, data, api):
        return data

    def write_bytes(self, data, api):
        return data

    def write_iter(self, data, api):
        return api.BodyIter(pieces(data), len(data))

    def write_chunks(self, data, api):
        return api.ChunkedBodyIter(chunks(data))

    def write_file(self, data, api):
        with open(self.path, 'wb') as file:
            file.write(data)
        return api.Body(open(self.path, 'rb'), len(data))


def pieces(data, size=30011):
    return [data[pos:pos + size] for pos in range(0, len(data), size)]


def chunks(data):
    return [(('a', 'b'), part) for part in pieces(data)] + [(None, b'')]


@pytest.fixture
def conn(ends, folder):
    with ends.reached(Bodies(folder + '/file')) as conn:
        yield conn


def content(body):
    return body.read() if body else b''


@pytest.mark.parametrize('read, write', [
    ('all', 'bytes'), ('parts', 'iter'), ('iter', 'chunks'), ('all', 'file'),
    ('relay', 'relay')])
@pytest.mark.parametrize('size', SIZES)
def test_body_with_a_length(conn, read, write, size):
    # Nobody reads what is relayed while it is sent.
    size = min(size, 70001) if read == 'relay' else size
    for body in (DATA[:size], BodyIter(pieces(DATA[:size]), size),
                 Body(io.BytesIO(DATA[:size]), size)):
        response = conn.put('/{}/{}'.format(read, write), {}, body)
        assert response.status == 200
        assert content(response.body) == DATA[:size]


@pytest.mark.parametrize('read, write', [
    ('all', 'chunks'), ('iter', 'bytes'), ('chunk', 'chunks'),
    ('relay', 'relay')])
@pytest.mark.parametrize('size', SIZES)
def test_chunked_body(conn, read, write, size):
    size = min(size, 70001) if read == 'relay' else size
    response = conn.post('/{}/{}'.format(read, write), {},
                         ChunkedBodyIter(chunks(DATA[:size])))
    assert response.status == 200
    assert response.body is None or response.body.chunked == (
        write != 'bytes')
    assert content(response.body) == DATA[:size]
    if write == 'relay':
        response = conn.post('/relay/relay', {},
                             ChunkedBodyIter(chunks(DATA[:size])))
        assert list(response.body) == chunks(DATA[:size])


def test_body_of_a_response(conn):
    """In each of the client's ways to read it."""
    reader = Bodies(None)
    for write in ('bytes', 'iter', 'chunks', 'file'):
        for read in ('all', 'parts', 'iter', 'chunk'):
            if read == ('parts' if write == 'chunks' else 'chunk'):
                continue
            body = conn.get('/none/' + write).body
            assert getattr(reader, 'read_' + read)(body) == DATA


@pytest.mark.parametrize('size', [0, 5, 16384, len(DATA)])
def test_file_as_a_request(conn, folder, size):
    with open(folder + '/x', 'wb') as file:
        file.write(DATA[:size])
    with open(folder + '/x', 'rb') as file:
        response = conn.put('/all/bytes', {},
                            Body(file, size))
        assert content(response.body) == DATA[:size]


def test_relay_from_one_connection_to_another(ends, conn):
    with ends.running(Bodies(None)) as running:
        with ends.connect(running.address) as other:
            for write in ('bytes', 'chunks'):
                body = conn.get('/none/' + write).body
                assert content(
                    other.put('/all/bytes', {}, body).body) == DATA


def test_files_app(ends, folder):
    with open(folder + '/a.txt', 'wb') as file:
        file.write(DATA)
    with ends.reached(FilesApp(folder)) as conn:
        response = conn.get('/a.txt')
        assert response.body.read() == DATA
        assert conn.head('/a.txt').headers['content-length'] == len(DATA)
        response = conn.get_range('/a.txt', {}, 5, 20000)
        assert response.status == 206
        assert response.body.read() == DATA[5:20000]
        response = conn.get('/b.txt')
        assert response.status == 404


def test_wsgi_app(ends):
    from degu.applib.wsgi import WSGIApp

    def app(environ, start_response):
        data = environ['wsgi.input'].read()
        start_response('200 OK', [('x-scheme', environ['wsgi.url_scheme'])])
        return [data, b'!']

    with ends.reached(WSGIApp(app)) as conn:
        response = conn.put('/a', {}, DATA)
        assert response.body.read() == DATA + b'!'
        assert conn.put('/a', {}, ChunkedBodyIter(chunks(DATA))).body.read() \
            == DATA + b'!'


def test_proxy_app(ends, folder):
    """TLS before it, and behind it."""
    with ends.running(Bodies(folder + '/file'), TCP) as behind:
        proxy = ProxyApp(ends.make(behind.address))
        with ends.reached(proxy) as conn:
            for _ in range(3):
                for way in ('/all/bytes', '/iter/chunks', '/all/file'):
                    for body in (DATA, ChunkedBodyIter(chunks(DATA))):
                        assert content(conn.put(way, {}, body).body) == DATA


def test_validated(ends):
    with ends.reached(Validator(hello)) as conn:
        for _ in range(3):
            assert conn.get('/').body.read() == b'hello'


# ----------------------------------------------------------------- connections

def test_many_requests(ends):
    app = App()
    with ends.reached(app, max_requests=500) as conn:
        for number in range(500):
            assert conn.get('/%d' % number).body.read() == b'hello'
        assert conn.closed
    assert app.calls == 500


def test_pipelined_in_one_record(ends):
    """With and without bodies, and the last one half there."""
    seen = []

    def app(session, request, api):
        body = request.body and request.body.read()
        seen.append((request.uri, body))
        return (200, 'OK', {}, request.uri.encode())

    put = b'PUT /%d HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello'
    data = b''.join(
        b'GET /%d HTTP/1.1\r\n\r\n' % i if i % 2 else put % i
        for i in range(40))
    with ends.running(app) as running:
        with ends.dial(running.address) as sock:
            sock.sendall(data + LAST[:9])
            found = b''
            while found.count(b'\r\n\r\n/39') < 1:
                found += sock.recv(65536)
            sock.sendall(LAST[9:])
            found += drain(sock)
    assert [answer.body for answer in answers(found)] == [
        b'/%d' % i for i in range(40)] + [b'/']
    assert len(seen) == 41 and seen[2] == ('/2', b'hello')


def test_request_with_the_end_of_the_handshake(ends):
    """In the same packet, which the socket then shows no more."""
    with ends.running(Noted()) as running:
        with dial(running.address) as sock:
            records = Records(ends, sock).shake(GET + GET)
            found = b''
            while found.count(b'hello') < 2:
                found += records.decrypt(sock.recv(65536))
    assert len(answers(found)) == 2


def test_out_of_descriptors(ends, caplog):
    """A connection that finds none for its TLS is a line in the log."""
    caplog.set_level(logging.INFO)
    with ends.running(hello, TCP) as running:
        assert is_alive(ends, running.address)
        caplog.clear()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with dial(running.address):
            until(lambda: len(workers()) >= 2)
        until(lambda: lines(caplog))
        with contextlib.ExitStack() as stack:
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(WAIT)
            # Valgrind's own are above the limit.
            highest = max(number for number in map(int, os.listdir(
                '/proc/self/fd')) if number < limits[0])
            resource.setrlimit(resource.RLIMIT_NOFILE, (
                highest + 100, limits[1]))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
            taken = []
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(waiting.fileno()))
            os.close(taken.pop())  # for accept() alone
            try:
                waiting.connect(running.address)
                with contextlib.suppress(ConnectionError):
                    assert waiting.recv(1) == b''
            finally:
                for number in taken:
                    os.close(number)
        assert is_alive(ends, running.address)
    (line,) = [line for line in lines(caplog)[1:] if 'handshake' in line]
    assert line.endswith('TLS handshake failed: Too many open files')
    assert not any(record.exc_info for record in caplog.records)


def test_pipelined_over_many_records(ends):
    """One byte in each."""
    with ends.running(hello) as running:
        with ends.dial(running.address) as sock:
            for byte in GET + GET + LAST:
                sock.sendall(bytes([byte]))
            assert len(answers(drain(sock))) == 3


def test_large_head_in_small_records(ends):
    def app(session, request, api):
        return (200, 'OK', {}, request.headers['x-a'].encode())

    with ends.running(app) as running:
        with ends.dial(running.address) as sock:
            head = b'GET / HTTP/1.1\r\nconnection: close\r\nx-a: '
            for part in pieces(head + b'z' * 20000 + b'\r\n\r\n', 1000):
                sock.sendall(part)
            (answer,) = answers(drain(sock))
    assert answer.body == b'z' * 20000


def test_several_connections_at_a_time(ends):
    barrier = threading.Barrier(8)

    def app(session, request, api):
        barrier.wait(WAIT)
        return (200, 'OK', {}, request.body.read())

    failures = []

    def ask(number):
        try:
            data = bytes([number]) * 100000
            with ends.connect(running.address) as conn:
                for _ in range(5):
                    assert conn.put('/', {}, data).body.read() == data
        except Exception as error:
            failures.append(error)

    with ends.running(app) as running:
        threads = [threading.Thread(target=ask, args=(number,))
                   for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
    assert failures == []


# ------------------------------------------------------------- close_notify

def test_regular_ends_are_clean(ends):
    """Each of these is told by a close_notify."""
    with ends.running(hello, max_requests=2, timeout=0.3 * SLOWER) as running:
        assert len(answers(ends.talk(running.address, LAST))) == 1
        assert len(answers(ends.talk(running.address, GET + GET))) == 2
        # A bare answer, and time that is over.
        assert answers(ends.talk(running.address, b'\r\n'))[0].status == 400
        assert len(answers(ends.talk(running.address, GET))) == 1
        assert answers(ends.talk(running.address, GET[:5]))[0].status == 408


def test_shutdown_is_clean(ends):
    with ends.running(hello) as running:
        with ends.dial(running.address) as sock:
            sock.sendall(GET)
            assert receive_head(sock)
            running.stop()
            drain(sock)


def breaks(session, request, api):
    def source():
        yield b'x' * 100000
        raise KeyError('here')

    if request.path == ['chunked']:
        return (200, 'OK', {}, api.ChunkedBodyIter(
            (None, data) for data in source()))
    return (200, 'OK', {}, api.BodyIter(source(), 200000))


@pytest.mark.parametrize('uri', [b'/', b'/chunked'])
def test_cut_is_not_clean(ends, uri):
    """What is cut short must not look whole."""
    with ends.running(breaks) as running:
        with ends.dial(running.address) as sock:
            sock.sendall(b'GET ' + uri + b' HTTP/1.1\r\n\r\n')
            assert is_cut(sock)


def test_client_that_cuts(ends, caplog):
    """Between requests and inside one, with and without a close_notify."""
    caplog.set_level(logging.INFO)
    app = App()
    with ends.running(app) as running:
        for (data, end, why) in [
                (GET, cut, 'done'), (GET, ssl.SSLSocket.unwrap, 'done'),
                (GET[:7], cut, 'closed inside a message'),
                (GET[:7], ssl.SSLSocket.unwrap, 'closed inside a message')]:
            caplog.clear()
            with ends.dial(running.address) as sock:
                sock.sendall(data)
                if data == GET:
                    while not sock.recv(65536).endswith(b'hello'):
                        pass
                with contextlib.suppress(OSError):
                    end(sock)
            until(lambda: len(lines(caplog)) == 2)
            assert lines(caplog)[1].endswith(why)
            assert not any(record.exc_info for record in caplog.records)
    assert app.calls == 2


def test_client_that_cuts_a_body(ends):
    """The app learns of it, with and without a close_notify."""
    seen = []

    def app(session, request, api):
        try:
            request.body.read()
        except Exception as error:
            seen.append((type(error).__name__, error.code))
            raise

    with ends.running(app) as running:
        for head in (b'content-length: 9', b'transfer-encoding: chunked'):
            for end in (cut, ssl.SSLSocket.unwrap):
                with ends.dial(running.address) as sock:
                    sock.sendall(b'PUT / HTTP/1.1\r\n' + head +
                                 b'\r\n\r\n5\r\nhe')
                    until(lambda: workers())
                    with contextlib.suppress(OSError):
                        end(sock)
                    with contextlib.suppress(OSError):
                        drain(sock)
        until(lambda: len(seen) == 4)
    assert seen == [('TruncatedError', 'E_TRUNCATED')] * 4


def test_broken_record(ends, caplog):
    """A record that nobody has encrypted ends the connection, in a line."""
    caplog.set_level(logging.INFO)
    app = App()
    with ends.running(app) as running:
        with dial(running.address) as sock:
            records = Records(ends, sock).shake()
            data = bytearray(records.encrypt(GET))
            data[-1] ^= 1
            sock.sendall(data)
            with contextlib.suppress(ConnectionError):
                everything(sock)
        until(lambda: len(lines(caplog)) == 2)
    assert app.calls == 0
    assert lines(caplog)[1].endswith('TLS records that are broken or out of '
                                     'place')
    assert not any(record.exc_info for record in caplog.records)


# ---------------------------------------------------------- failed handshakes

def without_certificate(ends, address):
    with contextlib.suppress(*GONE):
        nobody(ends, address)


def unknown(ends, address):
    """With a certificate of its own."""
    with tempfile.TemporaryDirectory() as folder:
        sslctx = build_client_sslctx(dict(
            ends.nobody_config, **self_signed(folder, 'mine', '-newkey',
                                              'rsa:2048')))
    with contextlib.suppress(*GONE):
        with contextlib.closing(SSLClient(sslctx, address).connect()) as conn:
            conn.get('/')


def sends(data):
    def do(ends, address):
        with dial(address) as sock:
            sock.sendall(data)
            with contextlib.suppress(ConnectionError):
                everything(sock)
    return do


def leaves(end):
    def do(ends, address):
        with dial(address) as sock:
            sock.sendall(Records(ends, sock).hello())
            assert sock.recv(1)
            end(sock)
    return do


def goes_at_once(ends, address):
    dial(address).close()


FAILURES = [
    (goes_at_once, 'the other end has gone without a close_notify'),
    (leaves(reset), 'Connection reset by peer'),
    (leaves(socket.socket.close),
     '(the other end has gone without a close_notify|Connection reset by '
     'peer)'),
    (sends(GET), 'the other end speaks plain HTTP, not TLS'),
    (sends(bytes(1000)),
     '(the other end does not speak TLS|unsupported protocol)'),
    (sends(b'\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00'),
     '[a-z ]+'),
    (without_certificate, 'the other end has shown no certificate'),
    (unknown, 'self.signed certificate'),
]


@pytest.mark.parametrize('act, why', FAILURES, ids=[
    'gone', 'reset', 'left', 'HTTP', 'zeros', 'short hello', 'nobody',
    'unknown'])
def test_failed_handshake(ends, act, why, caplog):
    """One line with its reason, and the server serves on."""
    caplog.set_level(logging.INFO)
    app = App()
    with ends.running(app, TCP) as running:
        act(ends, running.address)
        until(lambda: lines(caplog))
        assert is_alive(ends, running.address)
    (line, new, handled) = lines(caplog)
    assert re.fullmatch(
        r"- \('127\.0\.0\.1', \d+\) TLS handshake failed: " + why, line), line
    assert new.startswith('+ ') and 'Handled 1 requests' in handled
    assert not any(record.exc_info for record in caplog.records)
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    assert app.calls == 1


def test_reset_before_it_is_accepted(ends, caplog):
    """Then there is nobody to make a TLS socket for."""
    caplog.set_level(logging.INFO)
    running = ends.running(hello, TCP)
    for data in (b'', b'hello'):
        sock = dial(running.address)
        sock.sendall(data)
        reset(sock)
    with running:
        assert is_alive(ends, running.address)
    failed = [line for line in lines(caplog) if 'handshake failed: ' in line]
    assert [line.partition('failed: ')[2] for line in failed] == [
        'Connection reset by peer'] * 2
    assert not any(record.exc_info for record in caplog.records)


def test_handshake_times_out(ends, caplog):
    caplog.set_level(logging.INFO)
    with ends.running(hello, timeout=0.2 * SLOWER) as running:
        with dial(running.address) as silent, dial(running.address) as half:
            records = Records(ends, half)
            half.sendall(records.hello())
            assert half.recv(65536)
            assert everything(silent) == b''
            everything(half)
    assert [line.partition('failed: ')[2] for line in lines(caplog)] == [
        'not done in time'] * 2


def test_dripping_handshake(ends):
    """It does not get more time by that, and nobody waits for it."""
    with ends.running(hello, timeout=0.5 * SLOWER) as running:
        with dial(running.address) as sock:
            thread = threading.Thread(target=others, args=(
                ends, running.address))
            started = time.monotonic()
            thread.start()
            with contextlib.suppress(ConnectionError):
                drip(sock, Records(ends, sock).hello(), 0.02 * SLOWER)
            assert 0.3 * SLOWER < time.monotonic() - started < 2 * SLOWER
            thread.join(WAIT)


def others(ends, address):
    started = time.monotonic()
    for _ in range(3):
        assert is_alive(ends, address)
    assert time.monotonic() - started < 0.45 * SLOWER


@pytest.mark.parametrize('data', [
    b'GET / HTTP/1.1\r\nx-a: ' + b'b' * 500,
    b'PUT / HTTP/1.1\r\ncontent-length: 500\r\n\r\n' + b'b' * 500])
def test_dripping_records(ends, data):
    """One TLS record, byte by byte, is no progress: this step has its time."""
    def app(session, request, api):
        return (200, 'OK', {}, request.body and request.body.read() or
                b'hello')

    with ends.running(app, timeout=0.5 * SLOWER) as running:
        with dial(running.address) as sock:
            records = Records(ends, sock).shake()
            thread = threading.Thread(target=others, args=(
                ends, running.address))
            started = time.monotonic()
            thread.start()
            with contextlib.suppress(ConnectionError):
                drip(sock, records.encrypt(data), 0.02 * SLOWER)
            assert 0.3 * SLOWER < time.monotonic() - started < 2 * SLOWER
            thread.join(WAIT)


def test_peer_that_does_not_read(ends):
    """Its answer is given up after the timeout."""
    ended = threading.Event()

    def source():
        try:
            while True:
                yield bytes(65536)
        finally:
            ended.set()

    def app(session, request, api):
        return (200, 'OK', {}, api.BodyIter(source(), 2**40))

    with ends.running(app, timeout=0.3 * SLOWER) as running:
        with ends.dial(running.address) as sock:
            sock.sendall(GET)
            assert ended.wait(WAIT)


@pytest.mark.parametrize('half', [False, True])
def test_silent_clients_hold_no_thread(ends, half):
    """Thirty of them, before their handshakes or in the midst."""
    with ends.running(hello, max_connections=40) as running:
        assert is_alive(ends, running.address)
        with contextlib.ExitStack() as stack:
            before = len(workers())
            for _ in range(30):
                sock = stack.enter_context(dial(running.address))
                if half:
                    sock.sendall(Records(ends, sock).hello())
                    assert sock.recv(1)
            started = time.monotonic()
            for _ in range(3):
                assert is_alive(ends, running.address)
            assert time.monotonic() - started < 2 * SLOWER
            assert len(workers()) < before + 10


# --------------------------------------------------------------------- the end

def test_shutdown_in_each_state(ends):
    """Idle, before and in the handshake, and at work."""
    (entered, go) = (threading.Event(), threading.Event())

    def app(session, request, api):
        if request.path:
            entered.set()
            go.wait(WAIT)
        return (200, 'OK', {}, b'hello')

    with ends.running(app) as running, contextlib.ExitStack() as stack:
        silent = stack.enter_context(dial(running.address))
        half = stack.enter_context(dial(running.address))
        records = Records(ends, half)
        half.sendall(records.hello())
        assert half.recv(1)
        idle = stack.enter_context(ends.dial(running.address))
        idle.sendall(GET)
        receive_head(idle)
        busy = stack.enter_context(ends.dial(running.address))
        busy.sendall(b'GET /wait HTTP/1.1\r\n\r\n')
        assert entered.wait(WAIT)
        started = time.monotonic()
        running.server.shutdown()
        assert everything(silent) == b''
        everything(half)
        drain(idle)
        go.set()
        (answer,) = answers(drain(busy))
        assert answer.body == b'hello'
        assert answer.headers['connection'] == 'close'
        busy.close()
        running.thread.join(WAIT)
        assert time.monotonic() - started < 3


SERVE = '''
import json, sys, threading
from degu.server import SSLServer

def app(session, request, api):
    if request.path:
        print('entered', flush=True)
        threading.Event().wait(0.5)
    return (200, 'OK', {}, b'hello')

server = SSLServer(json.loads(sys.argv[1]), ('127.0.0.1', 0), app)
print(server.address[1], flush=True)
try:
    server.serve_forever()
except KeyboardInterrupt:
    print('interrupted', flush=True)
'''


@pytest.mark.parametrize('state', ['idle', 'silent', 'busy'])
def test_keyboard_interrupt(ends, state):
    with child(SERVE, json.dumps(ends.server_config)) as process:
        address = ('127.0.0.1', int(process.stdout.readline()))
        assert is_alive(ends, address)
        with dial(address) as silent, ends.dial(address) as sock:
            if state == 'busy':
                sock.sendall(b'GET /wait HTTP/1.1\r\n\r\n')
                assert process.stdout.readline() == 'entered\n'
            if state == 'silent':
                silent.sendall(Records(ends, silent).hello()[:9])
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            if state == 'busy':
                assert receive_head(sock)
                sock.close()
            (output, errors) = process.communicate(timeout=WAIT)
            assert (output, errors) == ('interrupted\n', '')
            assert process.returncode == 0
            assert time.monotonic() - started < 3


# --------------------------------------------------------------------- leaks

GROWTH = '''
import contextlib, json, logging, socket, sys, threading
from degu.client import SSLClient
from degu.exceptions import CertificateRefusedError
from degu.misc import TempPKI
from growth import measure
from peers import dial, everything
from secure import Ends, Records, cut, drain

TIMES = 10
LAST = b'GET / HTTP/1.1\\r\\nconnection: close\\r\\n\\r\\n'

class App:
    def __call__(self, session, request, api):
        if request.body is None:
            return (200, 'OK', {}, b'hello')
        return (200, 'OK', {}, request.body)

    def on_connect(self, session, sock):
        session.store['sock'] = (session, sock)
        return session.peer.subject is not None

class FakePKI:
    def get_server_config(self): return dict(configs[0])
    def get_client_config(self): return dict(configs[1])
    def get_anonymous_server_config(self): return dict(configs[2])
    def get_anonymous_client_config(self): return dict(configs[3])

(configs, protocol) = json.loads(sys.argv[1])
logging.getLogger('degu.server').addHandler(logging.NullHandler())
logging.getLogger('degu.server').propagate = False
ends = Ends(FakePKI(), protocol)
found = {}

def good():
    with ends.connect(running.address) as conn:
        assert conn.get('/').body.read() == b'hello'
        conn.put('/', {}, b'x' * 20000).body.read()
        conn.peer.names

def dropped():
    ends.make(running.address).connect().get('/')

def raw():
    ends.talk(running.address, LAST)

def refused():
    client = SSLClient(ends.nobody, running.address)
    try:
        client.request('GET', '/')
    except (OSError, CertificateRefusedError):
        return
    raise AssertionError

def not_tls():
    with dial(running.address) as sock:
        sock.sendall(LAST)
        with contextlib.suppress(OSError):
            everything(sock)

def left():
    with dial(running.address) as sock:
        sock.sendall(Records(ends, sock).hello())
        sock.recv(1)

def cut_short():
    with ends.dial(running.address) as sock:
        sock.sendall(b'GET ')
        cut(sock)

def pinned():
    client = ends.make(running.address, pins=['0' * 64])
    try:
        client.connect()
    except OSError:
        return
    raise AssertionError

with ends.running(App(), max_connections=100) as running:
    for action in (good, dropped, raw, refused, not_tls, left, cut_short,
                   pinned):
        found[action.__name__] = measure(action, TIMES)
found['threads'] = [threading.active_count() - 1, 0, 0]
json.dump(found, sys.stdout)
'''


def test_growth(ends, monkeypatch):
    """Hundreds of handshakes, good ones and bad ones, leave nothing: no memory
    and no descriptor, and no warning of the developer's mode."""
    monkeypatch.setenv('PYTHONDEVMODE', '1')
    monkeypatch.setenv('PYTHONWARNINGS', 'error')
    (status, output, errors) = outcome(GROWTH, json.dumps([
        [ends.pki.get_server_config(), ends.pki.get_client_config(),
         ends.pki.get_anonymous_server_config(),
         ends.pki.get_anonymous_client_config()], ends.protocol]))
    assert (status, errors) == (0, '')
    found = json.loads(output)
    assert len(found) == 9
    for (name, (blocks, resident, fds)) in found.items():
        assert blocks < 5 and fds <= 0, (name, blocks, fds)
        # OpenSSL keeps up to 20480 sessions of TLS 1.2, and nothing in ssl
        # keeps it from that.
        if ends.protocol == 'TLSv1.3' and 'DEGU_SANITIZED' not in os.environ:
            assert resident < 10 * 4096, name
    assert found['threads'] == [0, 0, 0], found


def test_what_ends_is_let_go_at_once(ends):
    """No collector is needed where there is no cycle; but without a GIL what
    another thread has made is that one's to free, once it wakes, or the
    collector's."""
    class Witness:
        def __del__(self):
            gone.append(1)

    gone = []

    def is_gone(count):
        if FREE_THREADED:
            gc.collect()
        return len(gone) == count

    def app(session, request, api):
        session.store['witness'] = Witness()
        return (200, 'OK', {}, b'hello')

    gc.disable()
    try:
        with ends.running(app) as running:
            for count in (1, 2, 3):
                assert is_alive(ends, running.address)
                until(lambda: is_gone(count))
    finally:
        gc.enable()
