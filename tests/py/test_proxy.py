# SPDX-License-Identifier: MIT OR 0BSD
"""ProxyApp before raw peers, before this Degu and before nginx.

With raw sockets at both ends nothing that passes through can be repaired on the
way by the code under test.
"""

import contextlib
import hashlib
import logging
import os
import re
import socket
import struct
import threading

import pytest

from degu.applib.proxy import ProxyApp
from degu.applib.routing import Router
from degu.base import BodyIter, Session, api
from degu.client import Client
from degu.misc import RequestLogger, mkreq
from degu.rgi import Validator
from nginx import TEXT, run_nginx
from peers import (
    WAIT,
    App,
    Running,
    answers,
    child,
    dial,
    everything,
    family_of,
    is_bare,
    receive_head,
    send_all,
    talk,
    until,
)

TCP = ('127.0.0.1', 0)
CLOSE = b'connection: close\r\n'
LAST = b'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'
GET = b'GET / HTTP/1.1\r\n\r\n'
OK = b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok'
EMPTY = b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
HEAD = b'HTTP/1.1 200 OK\r\n'


# --------------------------------------------------------------- the two ends

def chunked_end(data):
    """Where a chunked body at the start of data ends, or None."""
    pos = 0
    while True:
        end = data.find(b'\r\n', pos)
        if end < 0:
            return None
        size = int(data[pos:end].split(b';')[0], 16)
        if size == 0:
            end = data.find(b'\r\n\r\n', end)
            return None if end < 0 else end + 4
        pos = end + 2 + size + 2


def whole(data):
    """The length of the message at the start of data, or None so far."""
    end = data.find(b'\r\n\r\n')
    if end < 0:
        return None
    head = data[:end + 2].lower()
    end += 4
    if b'\r\ntransfer-encoding: chunked\r\n' in head:
        more = chunked_end(data[end:])
        return None if more is None else end + more
    found = re.search(rb'\r\ncontent-length: (\d+)\r\n', head)
    end += int(found[1]) if found else 0
    return end if len(data) >= end else None


def read_message(sock):
    """One message as it stands on the wire; b'' at the end."""
    data = b''
    while whole(data) is None:
        part = sock.recv(65536)
        if not part:
            return data
        data += part
    assert whole(data) == len(data), 'something behind the message'
    return data


def cut(sock):
    """Closes so that the other end gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack('ii', 1, 0))
    sock.close()


class Upstream:
    """A raw server: handlers[n](sock) for connection n, the last of them for
    all others; `seen` is what they returned, in the order of connections."""

    def __init__(self, *handlers, address=b''):
        self.handlers = handlers
        self.listener = socket.socket(family_of(address), socket.SOCK_STREAM)
        self.listener.bind(address)
        self.listener.listen(20)
        self.address = self.listener.getsockname()
        self.count = 0
        self.results = {}
        self.failures = []
        self.threads = [threading.Thread(target=self._accept, daemon=True)]

    def _accept(self):
        while True:
            try:
                (sock, _) = self.listener.accept()
            except OSError:
                return
            handler = self.handlers[min(self.count, len(self.handlers) - 1)]
            self.count += 1
            thread = threading.Thread(
                target=self._run, args=(handler, sock, self.count),
                daemon=True)
            self.threads.append(thread)
            thread.start()

    @property
    def seen(self):
        return [result for (_, result) in sorted(self.results.items())]

    def _run(self, handler, sock, number):
        try:
            with sock:
                sock.settimeout(WAIT)
                self.results[number] = handler(sock)
        except BaseException as error:
            self.failures.append(error)

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, kind, *unused):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(WAIT)
            assert not thread.is_alive()
        if self.failures and kind is None:
            raise self.failures[0]


def replying(*replies):
    """A handler that answers one request with each, then waits for the end;
    it returns the requests.  None as the last one resets at once."""
    def handler(sock):
        requests = []
        for reply in replies:
            requests.append(read_message(sock))
            if reply is None:
                cut(sock)
                return requests
            sock.sendall(reply)
        rest = sock.recv(65536)
        return requests + ([rest] if rest else [])
    return handler


def closing(reply, reset=False):
    """A handler that answers one request with these bytes and goes."""
    def handler(sock):
        request = read_message(sock)
        sock.sendall(reply)
        if reset:
            cut(sock)
        return [request]
    return handler


@contextlib.contextmanager
def before(upstream, app=None, address=b'', timeout=WAIT, **options):
    """A ProxyApp's server, for an upstream or an address."""
    where = getattr(upstream, 'address', upstream)
    app = app or ProxyApp(Client(where, host=None, timeout=timeout))
    with Running(app, address, **options) as server:
        yield server


def through(data, *handlers, address=b'', **more):
    """(what comes back for data, the upstream after it)."""
    with Upstream(*handlers, address=address) as upstream:
        with before(upstream, **more) as server:
            return (talk(server.address, data), upstream)


def lines(data):
    """(start line, set of field lines, body)."""
    (head, body) = data.split(b'\r\n\r\n', 1)
    (start, *fields) = head.split(b'\r\n')
    assert len(set(fields)) == len(fields)
    return (start, set(fields), body)


# --------------------------------------------------------------- construction

@pytest.mark.parametrize('args', [
    (None,), (('127.0.0.1', 80),), (object(),), (Client(b'\0x'), None),
    (Client(b'\0x'), b'conn'), (Client(b'\0x'), 1)])
def test_bad_arguments(args):
    with pytest.raises(TypeError):
        ProxyApp(*args)


def test_attributes():
    client = Client(b'\0x')
    one = ProxyApp(client)
    assert one.client is client and one.key == 'conn'
    assert ProxyApp(client, 'other').key == 'other'
    assert getattr(one, 'on_connect', None) is None


@pytest.mark.parametrize('session, request_', [
    (None, mkreq('GET', '/')), ({}, mkreq('GET', '/')),
    (Session(('127.0.0.1', 1)), None), (Session(('127.0.0.1', 1)), {})])
def test_only_real_sessions_and_requests(session, request_):
    with pytest.raises(TypeError):
        ProxyApp(Client(b'\0x'))(session, request_, api)


@pytest.mark.parametrize('thing', [17, 'conn', object()])
def test_a_foreign_object_is_no_connection_and_is_not_kept(thing):
    session = Session(('127.0.0.1', 1), None)
    session['conn'] = thing
    with pytest.raises(TypeError, match='^conn: need a '):
        ProxyApp(Client(b'\0x'))(session, mkreq('GET', '/'), api)
    assert 'conn' not in session


# ------------------------------------------------- requests on their way there

def test_each_method_arrives_as_it_is():
    for method in (b'GET', b'HEAD', b'DELETE', b'OPTIONS'):
        data = (method + b' /a/%20b?c=%64 HTTP/1.1\r\nx-a: b\r\n' + CLOSE +
                b'\r\n')
        (_, upstream) = through(data, replying(EMPTY))
        [[got]] = upstream.seen
        assert got == method + b' /a/%20b?c=%64 HTTP/1.1\r\nx-a: b\r\n\r\n'
    for method in (b'PUT', b'POST', b'PATCH'):
        data = method + b' /a? HTTP/1.1\r\nx-a: b\r\n' + CLOSE + b'\r\n'
        (_, upstream) = through(data, replying(EMPTY))
        [[got]] = upstream.seen
        assert lines(got) == (method + b' /a? HTTP/1.1',
                              {b'x-a: b', b'content-length: 0'}, b'')


# Chunked bodies as they stand on the wire, and as they arrive if they are not
# the same: numbers may lose zeros and capitals, trailers stay behind.
CHUNKED = {
    'one': (b'5\r\nhello\r\n0\r\n\r\n', None),
    'empty': (b'0\r\n\r\n', None),
    'many': (b''.join(b'1\r\n%c\r\n' % c for c in b'hello') + b'0\r\n\r\n',
             None),
    'extensions': (b'5;a=b\r\nhello\r\n2;c;d="e \\" ;f";g=h\r\nhi\r\n'
                   b'0;i=j\r\n\r\n', None),
    'capitals': (b'00A\r\n' + b'x' * 10 + b'\r\n0000\r\n\r\n',
                 b'a\r\n' + b'x' * 10 + b'\r\n0\r\n\r\n'),
    'trailers': (b'1\r\na\r\n0\r\nx-a: b\r\nx-c: d\r\n\r\n',
                 b'1\r\na\r\n0\r\n\r\n'),
    'big': (b'30d40;a=b\r\n' + bytes(200000) + b'\r\n1\r\na\r\n0\r\n\r\n',
            None),
    'long line': (b'1;a="' + b'x' * 4084 + b'"\r\nb\r\n0;a="' +
                  b'y' * 4084 + b'"\r\n\r\n', None),
    'like another message': (
        b'27\r\nGET /evil HTTP/1.1\r\nhost: evil\r\n\r\n0\r\n\r\n\r\n'
        b'0\r\n\r\n', None),
}


@pytest.mark.parametrize('data, there', CHUNKED.values(), ids=CHUNKED)
@pytest.mark.parametrize('step', [None, 7])
def test_chunks_arrive_with_boundaries_and_extensions(data, there, step):
    """Both ways, in one exchange."""
    if step and len(data) > 100000:
        step = 4000
    head = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n'

    def handler(sock):
        request = read_message(sock)
        send_all(sock, head + b'\r\n' + data, step)
        return [request, sock.recv(1)]

    with Upstream(handler) as upstream, before(upstream) as server:
        got = talk(server.address, b'POST / HTTP/1.1\r\ntransfer-encoding: '
                   b'chunked\r\n' + CLOSE + b'\r\n' + data, step)
    [[request, end]] = upstream.seen
    assert end == b''
    assert request == (b'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n'
                       b'\r\n' + (there or data))
    assert got == head + CLOSE + b'\r\n' + (there or data)


@pytest.mark.parametrize('size', [1, 2, 4095, 32768, 40000, 1000003])
def test_bodies_with_a_length_arrive_as_they_are(size):
    body = (hashlib.sha256(b'%d' % size).digest() * (size // 32 + 1))[:size]
    reply = b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n' % size
    (got, upstream) = through(
        b'PUT / HTTP/1.1\r\ncontent-length: %d\r\n' % size + CLOSE + b'\r\n' +
        body, replying(reply + b'\r\n' + body))
    [[request]] = upstream.seen
    assert request == (b'PUT / HTTP/1.1\r\ncontent-length: %d\r\n\r\n' % size +
                       body)
    assert got == reply + CLOSE + b'\r\n' + body


def test_a_length_of_zero_is_no_body():
    (got, upstream) = through(
        b'PUT / HTTP/1.1\r\ncontent-length: 0\r\n' + CLOSE + b'\r\n',
        replying(EMPTY))
    assert upstream.seen == [
        [b'PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\n']]
    assert got == EMPTY[:-2] + CLOSE + b'\r\n'


@pytest.mark.parametrize('text', [
    b'bytes=0-4', b'bytes=0-0', b'bytes=5-', b'bytes=-5', b'bytes=0-4,6-7',
    b'lines=1-2', b'bytes=9-1', b'bytes=00-4', b'bytes=0-9999999999999998'])
def test_ranges_arrive_as_they_are(text):
    """So do answers to them."""
    for (status, field) in (
            (b'206 Partial Content', b'content-range: bytes 0-1/9'),
            (b'206 Partial Content', b'content-range: bytes 0-1/*'),
            (b'416 Range Not Satisfiable', b'content-range: bytes */9'),
            (b'200 OK', b'accept-ranges: bytes')):
        reply = b'HTTP/1.1 ' + status + b'\r\n' + field + b'\r\n'
        end = b'content-length: 2\r\n\r\nab'
        (got, upstream) = through(
            b'GET / HTTP/1.1\r\nrange: ' + text + b'\r\n' + CLOSE + b'\r\n',
            replying(reply + end))
        assert upstream.seen == [
            [b'GET / HTTP/1.1\r\nrange: ' + text + b'\r\n\r\n']]
        assert lines(got) == (
            b'HTTP/1.1 ' + status,
            {field, b'content-length: 2', b'connection: close'}, b'ab')


def test_repeated_fields_arrive_joined_and_cookies_apart():
    reply = (b'HTTP/1.1 200 OK\r\nset-cookie: a=b; expires=Thu, 1 Jan\r\n'
             b'x-a: 1\r\nset-cookie: c=d\r\nx-a: 2\r\nx-empty:\r\n'
             b'content-length: 0\r\n\r\n')
    (got, upstream) = through(
        b'GET / HTTP/1.1\r\nx-a: 1\r\nx-a: 2, 3\r\nx-b:   c \t\r\n' + CLOSE +
        b'\r\n', replying(reply))
    assert upstream.seen == [
        [b'GET / HTTP/1.1\r\nx-a: 1, 2, 3\r\nx-b: c\r\n\r\n']]
    assert lines(got)[1] == {
        b'set-cookie: a=b; expires=Thu, 1 Jan', b'set-cookie: c=d',
        b'x-a: 1, 2', b'x-empty: ', b'content-length: 0',
        b'connection: close'}


@pytest.mark.parametrize('method', [b'GET', b'PUT'])
def test_64_field_lines_pass_both_ways(method):
    fields = b''.join(b'x-%d: y\r\n' % i for i in range(61))
    reply = b'HTTP/1.1 200 OK\r\n' + fields + (
        b'x-a: b\r\ncontent-length: 2\r\n\r\nok')
    request = fields + b'host: a\r\n' + (
        b'content-length: 2\r\n\r\nok' if method == b'PUT' else b'\r\n')
    with Upstream(replying(reply)) as upstream:
        client = Client(upstream.address, host='b')
        with before(upstream, ProxyApp(client)) as server:
            with dial(server.address) as sock:
                sock.sendall(method + b' / HTTP/1.1\r\n' + request)
                got = read_message(sock)
    assert lines(got) == lines(reply)
    [[there]] = upstream.seen
    assert lines(there)[1] == lines(method + b' / HTTP/1.1\r\n' + request)[
        1] - {b'host: a'} | {b'host: b'}


# -------------------------------------------------------- hop-by-hop fields

# What one end tells the other of their connection, and what goes on of it.
HOPS = [
    (b'connection: keep-alive\r\nkeep-alive: timeout=5, max=100\r\n', set()),
    (b'connection: x-foo\r\nx-foo: bar\r\n', set()),
    (b'x-foo: bar\r\nx-foot: baz\r\nconnection: keep-alive, X-Foo\r\n',
     {b'x-foot: baz'}),
    (b'connection: x-a\r\nx-a: 1\r\nx-b: 2\r\nx-a: 3\r\nconnection:x-b\r\n',
     set()),
    (b'proxy-connection: keep-alive\r\n', set()),
    (b'proxy-connection: close\r\n', set()),
    (b'te: trailers\r\nconnection: te\r\n', set()),
    (b'te: trailers\r\n', set()),
    (b'trailer: x-a\r\n', set()),
    (b'upgrade: websocket\r\nconnection: upgrade\r\n', set()),
    (b'upgrade: h2c\r\nconnection: Upgrade, HTTP2-Settings\r\n'
     b'http2-settings: AAMAAABkAAQAAP__\r\n', set()),
    (b'proxy-authorization: Basic QTpC\r\n', set()),
    (b'proxy-authenticate: Basic\r\n', set()),
    # None of these is a word for one connection only (RFC 9110 7.6.1).
    (b'connection: , ,\r\nx-a: b\r\n', {b'x-a: b'}),
    (b'connection: x-a x-b\r\nx-b: c\r\n', {b'x-b: c'}),
    (b'connection: "x-a"\r\nx-a: b\r\n', {b'x-a: b'}),
    (b'connection: etag\r\netag: "a"\r\n', {b'etag: "a"'}),
    (b'connection: cache-control\r\n', set()),
]


@pytest.mark.parametrize('fields, rest', HOPS)
def test_hop_by_hop_fields_stay_behind(fields, rest):
    with Upstream(replying(b'HTTP/1.1 200 OK\r\n' + fields +
                           b'content-length: 0\r\n\r\n')) as upstream:
        with before(upstream) as server, dial(server.address) as sock:
            sock.sendall(b'GET / HTTP/1.1\r\n' + fields + b'\r\n')
            got = read_message(sock)
    [[request]] = upstream.seen
    assert lines(request)[1] == rest
    assert lines(got)[1] == rest | {b'content-length: 0'}


@pytest.mark.parametrize('named', [
    b'content-length', b'transfer-encoding', b'host', b'authorization',
    b'Content-Length, close', b'expect', b'range', b'content-type'])
def test_connection_cannot_take_away_what_a_message_needs(named):
    """Whoever is before us may have passed such a word on (smuggling)."""
    (got, upstream) = through(
        b'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nauthorization: b'
        b'\r\ncontent-type: c/d\r\nconnection: ' + named +
        b', close\r\n\r\nhello', replying(OK))
    [[request]] = upstream.seen
    (_, fields, body) = lines(request)
    assert body == b'hello'
    assert fields == {b'host: a', b'content-length: 5', b'authorization: b',
                      b'content-type: c/d'}
    (got, upstream) = through(
        b'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nconnection: ' +
        named + b', close\r\n\r\n5\r\nhello\r\n0\r\n\r\n', replying(OK))
    [[request]] = upstream.seen
    assert lines(request)[1:] == ({b'transfer-encoding: chunked'},
                                  b'5\r\nhello\r\n0\r\n\r\n')


def test_close_from_one_end_is_not_the_others():
    reply = b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n'
    with Upstream(closing(reply + b'ab')) as upstream:
        with before(upstream) as server, dial(server.address) as sock:
            for _ in range(3):
                sock.sendall(b'PUT / HTTP/1.1\r\ncontent-length: 1\r\n\r\na')
                assert read_message(sock) == (
                    b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab')
    assert upstream.count == 3


def test_expect_is_answered_here():
    """100 comes from the proxy when it wants the body, and upstream sees
    nothing of it."""
    with Upstream(replying(OK)) as upstream, before(upstream) as server:
        with dial(server.address) as sock:
            sock.sendall(b'PUT / HTTP/1.1\r\nexpect: 100-continue\r\n'
                         b'content-length: 5\r\n\r\n')
            assert receive_head(sock) == b'HTTP/1.1 100 Continue\r\n\r\n'
            sock.sendall(b'hello')
            assert read_message(sock) == OK
    assert upstream.seen == [
        [b'PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello']]


def test_no_100_for_a_dead_upstream():
    with before(b'\0degu-nobody-listens-here') as server:
        got = talk(server.address,
                   b'PUT / HTTP/1.1\r\nexpect: 100-continue\r\n'
                   b'content-length: 5\r\n\r\n')
    assert is_bare(got, 502)


def test_own_headers_of_the_client_win():
    with Upstream(replying(EMPTY)) as upstream:
        client = Client(upstream.address, {'x-own': '1'}, host='a.example',
                        authorization='Basic QQ==')
        with before(upstream, ProxyApp(client)) as server:
            talk(server.address, b'GET / HTTP/1.1\r\nhost: evil\r\n'
                 b'authorization: Basic evil\r\nx-own: 2\r\nX-OWN: 3\r\n'
                 b'x-own-: 4\r\n' + CLOSE + b'\r\n')
    [[request]] = upstream.seen
    assert lines(request)[1] == {b'host: a.example', b'x-own: 1',
                                 b'authorization: Basic QQ==', b'x-own-: 4'}


# --------------------------------------------------- responses without a body

@pytest.mark.parametrize('method, reply', [
    (b'HEAD', b'HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n'),
    (b'HEAD', b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'),
    (b'HEAD', b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'),
    (b'HEAD', b'HTTP/1.1 404 Not Found\r\n\r\n'),
    (b'GET', b'HTTP/1.1 304 Not Modified\r\ncontent-length: 1234\r\n\r\n'),
    (b'GET', b'HTTP/1.1 304 \r\netag: "a"\r\n\r\n'),
    (b'GET', b'HTTP/1.1 204 No Content\r\n\r\n'),
    (b'PUT', b'HTTP/1.1 204 No Content\r\nx-a: b\r\n\r\n'),
    (b'GET', b'HTTP/1.1 205 Reset Content\r\ncontent-length: 0\r\n\r\n'),
    (b'GET', EMPTY),
])
def test_responses_without_a_body_arrive_as_they_are(method, reply):
    """And the connection behind the proxy carries the next exchange."""
    with Upstream(replying(reply, OK)) as upstream:
        with before(upstream) as server, dial(server.address) as sock:
            sock.sendall(method + b' / HTTP/1.1\r\n\r\n')
            assert lines(receive_head(sock)) == lines(reply)
            sock.sendall(GET)
            assert read_message(sock) == OK
    assert upstream.count == 1


def test_204_with_a_length_loses_it():
    reply = b'HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n'
    (got, _) = through(LAST, replying(reply))
    assert got == b'HTTP/1.1 204 No Content\r\n' + CLOSE + b'\r\n'


# ----------------------------------------------- until the connection is closed

@pytest.mark.parametrize('version', [b'1.1', b'1.0'])
@pytest.mark.parametrize('address', [b'', TCP], ids=['unix', 'tcp'])
def test_a_body_until_the_close_comes_as_chunks(version, address):
    body = os.urandom(100000)
    with Upstream(closing(b'HTTP/' + version + b' 200 OK\r\nx-a: b\r\n\r\n' +
                          body), address=address) as upstream:
        with before(upstream) as server, dial(server.address) as sock:
            for _ in range(2):
                sock.sendall(GET)
                data = b''
                while whole(data) is None:
                    data += sock.recv(65536)
                [answer] = answers(data)
                assert answer.body == body
                host = {'transfer-encoding': 'chunked', 'x-a': 'b'}
                assert answer.headers == host
    assert upstream.count == 2


def test_an_empty_body_until_the_close():
    (got, _) = through(LAST, closing(b'HTTP/1.1 200 OK\r\n\r\n'))
    [answer] = answers(got)
    assert answer.body == b''
    assert answer.headers['transfer-encoding'] == 'chunked'


# -------------------------------------------------------------- below a router

@pytest.mark.parametrize('uri, there', [
    (b'/a/b/c?d', b'/b/c?d'), (b'/a', b'/'), (b'/a/', b'/'), (b'/a?', b'/?'),
    (b'/a/?b=/c', b'/?b=/c'), (b'/a/%2e%2ex/', b'/%2e%2ex/'),
    (b'/x/y/z', b'/z'), (b'/x/y', b'/')])
def test_below_a_router_only_the_rest_is_asked_for(uri, there):
    with Upstream(replying(EMPTY)) as upstream:
        proxy = ProxyApp(Client(upstream.address))
        app = RequestLogger(Router({'a': proxy, 'x': {'y': proxy}}))
        with before(upstream, app) as server:
            talk(server.address, b'GET ' + uri + b' HTTP/1.1\r\n' + CLOSE +
                 b'\r\n')
    assert upstream.seen == [[b'GET ' + there + b' HTTP/1.1\r\n\r\n']]


def test_two_proxies_below_one_router_have_a_key_each():
    with Upstream(replying(OK, OK)) as one, Upstream(replying(OK, OK)) as two:
        app = Router({'a': ProxyApp(Client(one.address), 'a'),
                      'b': ProxyApp(Client(two.address), 'b')})
        with before(one, app) as server, dial(server.address) as sock:
            for path in (b'/a/1', b'/b/2', b'/a/3', b'/b/4'):
                sock.sendall(b'GET ' + path + b' HTTP/1.1\r\n\r\n')
                assert read_message(sock) == OK
    assert [r.split()[1] for r in one.seen[0]] == [b'/1', b'/3']
    assert [r.split()[1] for r in two.seen[0]] == [b'/2', b'/4']


def test_two_proxies_with_one_key_never_meet():
    """No request, and no password, for one server goes to the other."""
    with Upstream(replying(OK)) as one, Upstream(replying(OK)) as two:
        app = Router({
            'a': ProxyApp(Client(one.address, authorization='Basic YTpi')),
            'b': ProxyApp(Client(two.address))})
        with before(one, app) as server, dial(server.address) as sock:
            for path in (b'/a/1', b'/b/2', b'/a/3', b'/b/4'):
                sock.sendall(b'GET ' + path + b' HTTP/1.1\r\n\r\n')
                assert read_message(sock) == OK
    assert sorted(r.split()[1] for [r] in one.seen) == [b'/1', b'/3']
    assert sorted(r.split()[1] for [r] in two.seen) == [b'/2', b'/4']
    assert all(b'authorization' in r for [r] in one.seen)
    assert not any(b'authorization' in r for [r] in two.seen)


def test_two_proxies_with_one_client_may_share():
    with Upstream(replying(OK, OK)) as upstream:
        client = Client(upstream.address)
        app = Router({'a': ProxyApp(client), 'b': ProxyApp(client)})
        with before(None, app) as server, dial(server.address) as sock:
            for path in (b'/a', b'/b'):
                sock.sendall(b'GET ' + path + b' HTTP/1.1\r\n\r\n')
                assert read_message(sock) == OK
    assert upstream.count == 1


@pytest.mark.parametrize('method, reply', [
    (b'GET', HEAD + b'\r\nuntil the close'),
    (b'GET', HEAD + b'set-cookie: a=b\r\nset-cookie: c=d\r\n'
     b'content-length: 1\r\n\r\na'),
    (b'GET', HEAD + b'transfer-encoding: chunked\r\n\r\n1;a\r\na\r\n'
     b'0\r\n\r\n'),
    (b'HEAD', HEAD + b'content-length: 5\r\n\r\n'),
    (b'HEAD', HEAD + b'transfer-encoding: chunked\r\n\r\n'),
    (b'GET', b'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n'),
    (b'GET', b'HTTP/1.1 204 \r\n\r\n'),
    (b'GET', b'HTTP/1.1 206 A\r\ncontent-range: bytes 0-0/2\r\n'
     b'content-length: 1\r\n\r\na')])
def test_validator_has_nothing_against_it(method, reply):
    with Upstream(closing(reply)) as upstream:
        app = Validator(Router({'a': ProxyApp(Client(upstream.address))}))
        with before(None, app) as server:
            got = talk(server.address, method + b' /a/b HTTP/1.1\r\n' +
                       CLOSE + b'range: bytes=0-0\r\n\r\n')
    assert got.split(b'\r\n')[0] == reply.split(b'\r\n')[0]


# ------------------------------------------------------ upstream is at fault

def silent(sock):
    read_message(sock)
    return sock.recv(1)


# What upstream does, and the status for it.
FAULTS = {
    'closes at once': (lambda sock: sock.close(), 502),
    'resets at once': (cut, 502),
    'closes before a byte': (closing(b''), 502),
    'resets before a byte': (closing(b'', True), 502),
    'closes in the status line': (closing(b'HTTP/1.1 20'), 502),
    'closes in the head': (closing(b'HTTP/1.1 200 OK\r\nx-a: b'), 502),
    'resets in the head': (closing(b'HTTP/1.1 200 OK\r\nx-a: b', True), 502),
    'garbage': (closing(b'\x16\x03\x01\x00\x01hello, world\r\n\r\n'), 502),
    'another protocol': (closing(b'220 ready\r\n\r\n'), 502),
    'HTTP/2': (closing(b'HTTP/2 200 OK\r\n\r\n'), 502),
    'bad header': (closing(b'HTTP/1.1 200 OK\r\nx a: b\r\n\r\n'), 502),
    'bare LF': (closing(b'HTTP/1.1 200 OK\nx-a: b\n\n'), 502),
    'split header': (closing(b'HTTP/1.1 200 OK\r\nx-a: b\rc: d\r\n\r\n'), 502),
    'folded': (closing(b'HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\n\r\n'), 502),
    'status 600': (closing(b'HTTP/1.1 600 X\r\n\r\n'), 502),
    'two lengths': (closing(b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n'
                            b'content-length: 2\r\n\r\nab'), 502),
    'length and coding': (closing(
        b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked'
        b'\r\n\r\n0\r\n\r\n'), 502),
    'gzip coding': (closing(
        b'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n'
        b'0\r\n\r\n'), 502),
    '65 fields': (closing(b'HTTP/1.1 200 OK\r\n' + b'x-a: b\r\n' * 65 +
                          b'\r\n'), 502),
    'endless head': (closing(b'HTTP/1.1 200 OK\r\nx-a: ' + b'x' * 40000), 502),
    '101': (replying(b'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n'
                     b'connection: upgrade\r\n\r\n'), 502),
    '1xx with a length': (replying(
        b'HTTP/1.1 103 Early Hints\r\ncontent-length: 2\r\n\r\nab'), 502),
    'only 1xx': (closing(b'HTTP/1.1 100 Continue\r\n\r\n'), 502),
    '1xx flood': (closing(b'HTTP/1.1 100 Continue\r\n\r\n' * 17 + OK), 502),
}


@pytest.mark.parametrize('method', [b'GET', b'POST'])
@pytest.mark.parametrize('handler, status', FAULTS.values(), ids=FAULTS)
def test_a_faulty_upstream_is_a_502(handler, status, method, caplog):
    """The answer is bare but for what HTTP wants, the client's connection
    goes on unless its own body is unread, and it is logged."""
    with Upstream(handler, handler, replying(OK), address=TCP) as upstream:
        with before(upstream, address=TCP) as server:
            with dial(server.address) as sock:
                sock.sendall(method + b' /some HTTP/1.1\r\n\r\n')
                got = read_message(sock)
                assert lines(got) == (
                    b'HTTP/1.1 %d Bad Gateway' % status,
                    {b'content-length: 0'}, b'')
    assert upstream.count == 1
    [record] = [r for r in caplog.records if r.name == 'degu.applib']
    assert record.levelno == logging.WARNING
    assert method.decode() + ' /some' in record.getMessage()


def test_sixteen_interim_responses_are_skipped():
    many = b''.join(b'HTTP/1.1 10%d X\r\nx-a: b\r\n\r\n' % (i % 3 * 2)
                    for i in range(15)).replace(b' 104 ', b' 103 ')
    (got, _) = through(LAST, replying(many + OK))
    assert got == OK[:-4] + CLOSE + b'\r\nok'


@pytest.mark.parametrize('address', [
    b'\0degu-nobody-listens-here', '/nonexistent/degu', None],
    ids=['abstract', 'path', 'tcp'])
@pytest.mark.parametrize('data', [
    b'', b'content-length: 5\r\n\r\nhello',
    b'content-length: 2000000\r\n\r\n' + bytes(2000000)],
    ids=['GET', 'PUT', 'long PUT'])
def test_a_dead_upstream_is_a_502(address, data, caplog):
    if address is None:
        with socket.socket() as taken:  # bound, and nobody listens
            taken.bind(TCP)
            return dead_upstream(taken.getsockname(), data, caplog)
    return dead_upstream(address, data, caplog)


def dead_upstream(address, data, caplog):
    line = b'PUT / HTTP/1.1\r\n' + data if data else GET
    with before(address) as server:
        with dial(server.address) as sock:
            send_all(sock, line)
            got = read_message(sock)
            assert lines(got) == (
                b'HTTP/1.1 502 Bad Gateway',
                {b'content-length: 0'} |
                ({b'connection: close'} if data else set()), b'')
    assert [r.name for r in caplog.records
            if r.levelno >= logging.WARNING] == ['degu.applib']


@pytest.mark.parametrize('line', [
    GET, b'PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello'])
def test_a_silent_upstream_is_a_504(line):
    with Upstream(silent) as upstream:
        with before(upstream, timeout=0.1) as server:
            with dial(server.address) as sock:
                sock.sendall(line)
                got = read_message(sock)
                assert lines(got) == (b'HTTP/1.1 504 Gateway Timeout',
                                      {b'content-length: 0'}, b'')
            # The connection behind is gone before the client's is.
    assert upstream.seen == [b'']


BROKEN = {
    'length': b'content-length: 100\r\n\r\nsome',
    'chunk': b'transfer-encoding: chunked\r\n\r\n64\r\nsome',
    'chunk line': b'transfer-encoding: chunked\r\n\r\n1\r\na\r\n5;',
    'chunk end': b'transfer-encoding: chunked\r\n\r\n1\r\na',
    'no last chunk': b'transfer-encoding: chunked\r\n\r\n1\r\na\r\n',
    'half a last chunk': b'transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n',
    'bad chunk': b'transfer-encoding: chunked\r\n\r\n1\r\na\r\nxyz\r\n',
    'bad chunk end': b'transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n',
    'bad trailer': b'transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n'
                   b'content-length: 5\r\n\r\n',
}


def is_cut(data):
    """Can the other end see that the message is not whole?"""
    return whole(data) is None


@pytest.mark.parametrize('rest', BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize('reset', [False, True], ids=['close', 'reset'])
def test_a_broken_upstream_cuts_the_client_visibly(rest, reset, caplog):
    with Upstream(closing(HEAD + rest, reset), address=TCP) as upstream:
        with before(upstream, address=TCP) as server:
            with dial(server.address) as sock:
                sock.sendall(GET * 2)
                got = b''
                with contextlib.suppress(ConnectionResetError):
                    while part := sock.recv(65536):
                        got += part
    if got.startswith(b'HTTP/1.1 200'):
        assert is_cut(got)
    else:
        # Nothing had left yet.
        assert reset or b'xyz' in rest
        assert answers(got)[0].status == 502
        assert got.count(b'HTTP/1.1') == 1
    assert upstream.count == 1
    assert 'GET' in caplog.text or 'Upstream failed after' in caplog.text


def test_a_reset_is_no_end_of_a_body_until_the_close():
    """Over TCP; the last chunk must not come."""
    body = b'x' * 100000
    ready = threading.Event()

    def handler(sock):
        read_message(sock)
        sock.sendall(HEAD + b'\r\n' + body)
        assert ready.wait(WAIT)
        cut(sock)

    with Upstream(handler, address=TCP) as upstream:
        with before(upstream, address=TCP) as server:
            with dial(server.address) as sock:
                sock.sendall(GET)
                got = b''
                while got.count(b'x') < len(body):
                    got += sock.recv(65536)
                ready.set()
                with contextlib.suppress(ConnectionResetError):
                    got += everything(sock)
    assert is_cut(got)
    assert got.count(b'x') == len(body)


def test_a_head_is_followed_by_nothing_and_then_the_cut():
    """No byte of the response has left: the client gets an error, not half a
    response."""
    for rest in (b'content-length: 5\r\n\r\n',
                 b'transfer-encoding: chunked\r\n\r\n'):
        (got, _) = through(LAST, closing(HEAD + rest))
        assert is_cut(got) or is_bare(got, 502)


@pytest.mark.parametrize('rest, status', [(b'-1\r\n', 502), (b'5', 504)])
def test_a_body_that_is_wrong_from_its_start(rest, status, caplog):
    """The head of the answer has not left when that is found."""
    def handler(sock):
        read_message(sock)
        sock.sendall(HEAD + b'transfer-encoding: chunked\r\n\r\n' + rest)
        with contextlib.suppress(ConnectionResetError):
            return sock.recv(1)

    (got, _) = through(GET * 2, handler, timeout=0.2)
    assert is_bare(got, status)
    [record] = [r for r in caplog.records if 'Upstream failed' in r.message]
    assert record.levelname == 'WARNING' and not record.exc_info


@pytest.mark.parametrize('kind', ['length', 'chunked'])
def test_an_early_answer_is_handed_on(kind):
    """Upstream answers and goes while the body is still being sent: the answer
    arrives, the connection ends, and nothing of the rest is taken for a
    request."""
    size = 8000000
    body = bytes(size)
    line = b'content-length: %d\r\n\r\n' % size
    if kind == 'chunked':
        line = b'transfer-encoding: chunked\r\n\r\n7a1200\r\n'
        body += b'\r\n0\r\n\r\n'

    def handler(sock):
        data = sock.recv(1000)
        sock.sendall(b'HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n'
                     b'connection: close\r\n\r\nbig')
        sock.shutdown(socket.SHUT_WR)
        sock.recv(100000)
        return data

    with Upstream(handler, address=TCP) as upstream:
        with before(upstream, address=TCP) as server:
            with dial(server.address) as sock:
                send_all(sock, b'PUT / HTTP/1.1\r\n' + line + body + GET)
                got = b''
                with contextlib.suppress(ConnectionResetError):
                    while part := sock.recv(65536):
                        got += part
    assert lines(got) == (
        b'HTTP/1.1 413 Too Large',
        {b'content-length: 3', b'connection: close'}, b'big')
    assert upstream.count == 1


def test_an_early_answer_without_a_close_is_not_followed_by_another():
    """Upstream reads the body to its end after it has answered."""
    def handler(sock):
        data = receive_head(sock)
        sock.sendall(OK)
        size = 1000000 - len(data.split(b'\r\n\r\n', 1)[1])
        while size:
            size -= len(sock.recv(size))
        got = [read_message(sock)]
        sock.sendall(EMPTY)
        return got + [sock.recv(1)]

    with Upstream(handler) as upstream, before(upstream) as server:
        with dial(server.address) as sock:
            sock.sendall(b'PUT / HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n' +
                         bytes(1000000))
            assert read_message(sock) == OK
            sock.sendall(b'GET /next HTTP/1.1\r\n\r\n')
            assert read_message(sock) == EMPTY
    assert upstream.seen == [[b'GET /next HTTP/1.1\r\n\r\n', b'']]


# ------------------------------------------------------ smuggling: one reading

@pytest.mark.parametrize('data', [
    b'content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    b'transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n'
    b'0\r\n\r\n',
    b'transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n',
    b'transfer-encoding: xchunked\r\n\r\n0\r\n\r\n',
    b'transfer-encoding : chunked\r\n\r\n0\r\n\r\n',
    b'transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n',
    b'content-length: +5\r\n\r\nhello', b'content-length: 5, 5\r\n\r\nhello',
    b'content-length: 5\r\ncontent-length: 5\r\n\r\nhello',
    b'content-length: 0x5\r\n\r\nhello', b'content-length:\r\n\r\nhello',
    b'content-length: 5\r\n x\r\n\r\nhello', b'x-a: b\rc: d\r\n\r\n',
    b'x-a: b\nc: d\r\n\r\n', b'x-a: b\x00\r\n\r\n',
    b'host: a\r\nhost: b\r\n\r\n',
    b'host: a b\r\n\r\n', b'host: a@b\r\n\r\n', b'host: a/b\r\n\r\n'])
def test_what_can_be_read_in_two_ways_does_not_pass(data):
    (got, upstream) = through(b'POST / HTTP/1.1\r\n' + data, replying(OK))
    assert is_bare(got, 400) or is_bare(got, 501)
    assert upstream.count == 0


@pytest.mark.parametrize('name', [
    b'content_length', b'transfer_encoding', b'content-length_', b'x-host',
    b'content.length', b'transfer-encodin'])
def test_names_that_look_like_framing_frame_nothing(name):
    (got, upstream) = through(
        b'POST / HTTP/1.1\r\n' + name + b': 100\r\ncontent-length: 2\r\n' +
        CLOSE + b'\r\nhi', replying(OK))
    [[request]] = upstream.seen
    assert lines(request) == (b'POST / HTTP/1.1',
                              {name + b': 100', b'content-length: 2'}, b'hi')


BAD_CHUNKS = {
    'no size': b'\r\nhello\r\n0\r\n\r\n',
    'not hex': b'5\r\nhello\r\nxyz\r\n',
    'first not hex': b'xyz\r\n',
    'prefix': b'0x5\r\nhello\r\n0\r\n\r\n',
    'sign': b'-5\r\nhello\r\n0\r\n\r\n',
    '17 digits': b'1' * 17 + b'\r\nhello',
    'blank': b'5 \r\nhello\r\n0\r\n\r\n',
    'blank extension': b'5; a\r\nhello\r\n0\r\n\r\n',
    'bad extension': b'5;a=\r\nhello\r\n0\r\n\r\n',
    'LF': b'5\nhello\n0\n\n',
    'LF in the extension': b'5;a="\n"\r\nhello\r\n0\r\n\r\n',
    'no end of data': b'5\r\nhello!\r\n0\r\n\r\n',
    'trailer that frames': b'5\r\nhello\r\n0\r\ncontent-length: 5\r\n\r\n',
    'trailer that routes': b'5\r\nhello\r\n0\r\nhost: a\r\n\r\n',
    'bad trailer': b'5\r\nhello\r\n0\r\nx a: b\r\n\r\n',
    'second chunk': b'20000\r\n' + bytes(0x20000) + b'\r\nzz\r\n',
    'long line': b'1;a=' + b'x' * 5000 + b'\r\na\r\n0\r\n\r\n',
}


@pytest.mark.parametrize('body', BAD_CHUNKS.values(), ids=BAD_CHUNKS)
@pytest.mark.parametrize('kept', [False, True], ids=['new', 'kept'])
def test_a_malformed_body_is_the_clients_fault(body, kept, caplog):
    """400, and upstream never sees a whole message nor another one."""
    def handler(sock):
        got = []
        if kept:
            got.append(read_message(sock))
            sock.sendall(OK)
        data = b''
        with contextlib.suppress(ConnectionResetError):
            while part := sock.recv(65536):
                data += part
        return got + [data]

    with Upstream(handler) as upstream, before(upstream) as server:
        with dial(server.address) as sock:
            if kept:
                sock.sendall(GET)
                assert read_message(sock) == OK
            send_all(sock, b'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n'
                     b'\r\n' + body + GET)
            got = everything(sock)
        assert is_bare(got, 400)
    [[*_, data]] = upstream.seen
    assert data == b'' or is_cut(data)
    assert upstream.count == 1
    assert not [r for r in caplog.records if r.name == 'degu.applib']


def test_a_client_that_stalls_in_its_body_is_told_408():
    def handler(sock):
        return everything(sock)

    with Upstream(handler) as upstream:
        app = ProxyApp(Client(upstream.address, timeout=WAIT))
        with Running(app, timeout=0.6) as server:
            with dial(server.address) as sock:
                sock.sendall(b'PUT / HTTP/1.1\r\ncontent-length: 9\r\n\r\nhi')
                got = everything(sock)
    assert is_bare(got, 408)
    assert is_cut(upstream.seen[0])


@pytest.mark.parametrize('fields, parts', [
    (b'content-length: 10\r\n', [b'hello', b'world']),
    (b'transfer-encoding: chunked\r\n',
     [b'5\r\nhello\r\n', b'5;a=b\r\nwor', b'ld\r\n', b'0\r\n\r\n']),
    (b'', [b'hello', b'world'])], ids=['length', 'chunked', 'close'])
def test_nothing_that_has_come_is_held_back(fields, parts):
    """Upstream says the next thing only when the last has arrived: events, and
    their head before the first of them."""
    arrived = threading.Semaphore(0)

    def handler(sock):
        read_message(sock)
        for part in (HEAD + fields + b'\r\n', *parts):
            sock.sendall(part)
            assert arrived.acquire(timeout=WAIT)

    with Upstream(handler) as upstream, before(upstream) as server:
        with dial(server.address) as sock:
            sock.sendall(GET)
            got = receive_head(sock)
            arrived.release()
            for part in parts:
                if fields:
                    data = b''
                    while len(data) < len(part.split(b'\r\n0')[0]):
                        data += sock.recv(65536)
                    assert data == part
                else:
                    assert sock.recv(65536) == b'5\r\n' + part + b'\r\n'
                arrived.release()
            assert got.startswith(HEAD)


# --------------------------------------------------------- the client goes away

@pytest.mark.parametrize('head, part', [
    (b'content-length: 1000000\r\n', bytes(300000)),
    (b'content-length: 1000000\r\n', b'a'),
    (b'transfer-encoding: chunked\r\n', b'f4240\r\n' + bytes(300000)),
    (b'transfer-encoding: chunked\r\n', b'1\r\na\r\n')])
@pytest.mark.parametrize('reset', [False, True], ids=['close', 'reset'])
def test_a_client_that_goes_during_an_upload(head, part, reset):
    """Upstream sees the cut, at once, and no other message."""
    got = []
    ended = threading.Event()

    def handler(sock):
        data = b''
        with contextlib.suppress(ConnectionResetError):
            while part := sock.recv(65536):
                data += part
        got.append(data)
        ended.set()

    with Upstream(handler, address=TCP) as upstream:
        with before(upstream, address=TCP) as server:
            sock = dial(server.address)
            sock.sendall(b'PUT / HTTP/1.1\r\n' + head + b'\r\n' + part)
            (cut if reset else socket.socket.close)(sock)
            assert ended.wait(WAIT)
    assert is_cut(got[0])
    assert got[0].count(b'HTTP/1.1') <= 1
    assert upstream.count == 1


@pytest.mark.parametrize('reset', [False, True], ids=['close', 'reset'])
@pytest.mark.parametrize('kind', ['length', 'chunked', 'close'])
def test_a_client_that_goes_during_a_download(kind, reset):
    """The connection behind it ends at once, not when upstream is done."""
    ended = threading.Event()
    head = {'length': b'content-length: 1000000000\r\n\r\n',
            'chunked': b'transfer-encoding: chunked\r\n\r\n3b9aca00\r\n',
            'close': b'\r\n'}[kind]

    def handler(sock):
        read_message(sock)
        sock.sendall(HEAD + head)
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(bytes(65536))
        ended.set()

    with Upstream(handler, address=TCP) as upstream:
        with before(upstream, address=TCP) as server:
            with dial(server.address) as sock:
                sock.sendall(GET)
                while len(sock.recv(65536)) < 100:
                    pass
                if reset:
                    cut(sock)
            assert ended.wait(WAIT)
    assert upstream.count == 1


def test_a_client_that_takes_nothing_is_left_behind():
    """The body of a response that is not read holds nobody for longer than
    the server's timeout."""
    ended = threading.Event()

    def handler(sock):
        read_message(sock)
        sock.sendall(HEAD + b'content-length: 100000000\r\n\r\n')
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(bytes(65536))
        ended.set()

    with Upstream(handler) as upstream:
        app = ProxyApp(Client(upstream.address))
        with Running(app, timeout=0.2) as server, dial(server.address) as sock:
            sock.sendall(GET)
            assert ended.wait(WAIT)
            got = b''
            with contextlib.suppress(ConnectionResetError):
                got = everything(sock)
            assert is_cut(got)


# --------------------------------------------------------- kept connections

def ask(sock, line=GET):
    sock.sendall(line)
    return read_message(sock)


PUT = b'PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello'
POST = b'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n'


@pytest.mark.parametrize('line', [GET, PUT, POST])
@pytest.mark.parametrize('way', ['closes', 'resets', 'says more'])
def test_idle_connection_that_ended_is_not_used(line, way, caplog):
    """Whatever the method, as nothing has been sent on it."""
    gone = threading.Event()

    def first(sock):
        read_message(sock)
        sock.sendall(OK)
        if way == 'says more':
            sock.sendall(OK)
            gone.set()
            with contextlib.suppress(ConnectionResetError):
                sock.recv(1)
            return
        (cut if way == 'resets' else socket.socket.close)(sock)
        gone.set()

    with Upstream(first, replying(EMPTY), address=TCP) as upstream:
        with before(upstream) as server, dial(server.address) as sock:
            assert ask(sock) == OK
            assert gone.wait(WAIT)
            assert ask(sock, line) == EMPTY
    assert upstream.count == 2
    assert not [r for r in caplog.records if r.name == 'degu.applib']


@pytest.mark.parametrize('line, reply', [
    (b'HEAD / HTTP/1.1\r\n\r\n', OK), (GET, OK + b'x'),
    (GET, b'HTTP/1.1 304 A\r\ncontent-length: 2\r\n\r\nok'),
    (GET, b'HTTP/1.1 204 A\r\ncontent-length: 2\r\n\r\nok'),
    (GET, b'HTTP/1.1 205 A\r\ncontent-length: 0\r\n\r\nok'),
    (GET, OK + b'HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil'),
    (GET, OK + b'HTTP/1.1 100 Continue\r\n\r\n'), (GET, OK + b'\r\n')])
def test_bytes_behind_a_response_are_nobodys_answer(line, reply):
    def first(sock):
        read_message(sock)
        sock.sendall(reply)
        with contextlib.suppress(ConnectionResetError):
            return sock.recv(65536)

    with Upstream(first, replying(EMPTY)) as upstream:
        with before(upstream) as server, dial(server.address) as sock:
            sock.sendall(line)
            got = receive_head(sock)
            if b'ok' not in got and line == GET and b' 200 ' in reply:
                got += sock.recv(2)
            assert b'evil' not in got
            sock.sendall(PUT)
            assert read_message(sock) == EMPTY
    assert upstream.count == 2
    assert not upstream.seen[0]


@pytest.mark.parametrize('line, status', [
    (GET, 200), (b'HEAD / HTTP/1.1\r\n\r\n', 200), (PUT, 502), (POST, 502),
    (b'DELETE / HTTP/1.1\r\n\r\n', 502), (b'OPTIONS / HTTP/1.1\r\n\r\n', 502)])
@pytest.mark.parametrize('reset', [False, True], ids=['close', 'reset'])
def test_connection_that_ends_at_the_moment_of_use(line, status, reset):
    """GET and HEAD are sent once more, others not."""
    def first(sock):
        read_message(sock)
        sock.sendall(OK)
        got = read_message(sock)
        if reset:
            cut(sock)
        return got

    with Upstream(first, replying(EMPTY), address=TCP) as upstream:
        with before(upstream) as server, dial(server.address) as sock:
            assert ask(sock) == OK
            sock.sendall(line)
            got = receive_head(sock)
            assert got.startswith(b'HTTP/1.1 %d ' % status)
    assert upstream.seen[0] == line
    assert upstream.count == (2 if status == 200 else 1)


def test_a_request_is_sent_no_more_than_twice():
    def first(sock):
        read_message(sock)
        sock.sendall(OK)
        read_message(sock)

    with Upstream(first, closing(b''), replying(OK)) as upstream:
        with before(upstream) as server, dial(server.address) as sock:
            assert ask(sock) == OK
            assert ask(sock).startswith(b'HTTP/1.1 502 ')
            assert upstream.count == 2
            assert ask(sock) == OK
            assert upstream.count == 3


def test_half_a_response_is_no_reason_to_ask_again():
    def first(sock):
        read_message(sock)
        sock.sendall(OK)
        read_message(sock)
        sock.sendall(b'HTTP/1.1 200')

    with Upstream(first, replying(OK)) as upstream:
        with before(upstream) as server, dial(server.address) as sock:
            assert ask(sock) == OK
            assert ask(sock).startswith(b'HTTP/1.1 502 ')
            assert upstream.count == 1


@pytest.mark.parametrize('reply', [
    OK, b'HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nabc',
    b'HTTP/1.1 500 Oops\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n'
    b'0\r\n\r\n'])
def test_a_connection_is_kept_after_whatever_status(reply):
    with Upstream(replying(reply, reply, reply)) as upstream:
        with before(upstream) as server, dial(server.address) as sock:
            for _ in range(3):
                assert ask(sock) == reply
    assert upstream.count == 1


def test_sessions_share_no_connection():
    """And the end of a session is the end of its connection."""
    ended = []

    def handler(sock):
        got = []
        while data := read_message(sock):
            got.append(data.split()[1])
            sock.sendall(OK)
        ended.append(got)
        return got

    with Upstream(handler) as upstream, before(upstream) as server:
        with dial(server.address) as one, dial(server.address) as two:
            for i in range(3):
                for (name, sock) in ((b'one', one), (b'two', two)):
                    line = b'GET /%s/%d HTTP/1.1\r\n\r\n' % (name, i)
                    assert ask(sock, line) == OK
            assert upstream.count == 2
            assert ended == []
            one.close()
            until(lambda: ended)
            assert ended == [[b'/one/0', b'/one/1', b'/one/2']]
            assert ask(two) == OK
        until(lambda: len(ended) == 2)


def test_many_sessions_at_one_time():
    """Bodies of their own both ways, none of which meets another."""
    def app(session, request, api):
        return (200, 'OK', {'x-uri': request.uri}, request.body)

    failures = []
    with Running(app) as behind, before(behind) as server:
        def client(number):
            try:
                conn = Client(server.address).connect()
                for i in range(10):
                    body = b'%d' % number * (1 + i * 5000)
                    uri = '/%d/%d' % (number, i)
                    response = conn.put(uri, {}, body)
                    assert response.headers['x-uri'] == uri
                    assert response.body.read() == body
                conn.close()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=client, args=(i,))
                   for i in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
    assert not failures


@pytest.mark.parametrize('reply', [
    OK, b'HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n'
    b'5\r\nhello\r\n0\r\n\r\n', b'HTTP/1.1 200 OK\r\n\r\nuntil the close'])
def test_a_body_that_middleware_drops_harms_no_later_request(reply, caplog):
    """The connection with the unread body is not used again, and the next
    request does not suffer for it."""
    dropped = []

    class Drops:
        def __init__(self, app):
            self.app = app

        def __call__(self, session, request, api):
            response = self.app(session, request, api)
            if request.uri == '/drop':
                dropped.append(response.body)
                return (200, 'OK', {}, b'mine')
            return response

    with Upstream(closing(reply), replying(EMPTY)) as upstream:
        app = Drops(ProxyApp(Client(upstream.address)))
        with before(upstream, app) as server, dial(server.address) as sock:
            got = ask(sock, b'GET /drop HTTP/1.1\r\n\r\n')
            assert answers(got)[0].body == b'mine'
            assert ask(sock) == EMPTY
            assert ask(sock, b'GET /drop HTTP/1.1\r\n\r\n') != b''
        dropped.clear()
    assert upstream.count >= 2


def test_a_connection_that_the_session_lends_is_given_back():
    """A handler may look at it between two requests."""
    keys = []

    class Looks(ProxyApp):
        def __call__(self, session, request, api):
            keys.append(sorted(session))
            return super().__call__(session, request, api)

    with Upstream(replying(OK, OK)) as upstream:
        app = Looks(Client(upstream.address), 'mine')
        with before(upstream, app) as server, dial(server.address) as sock:
            assert ask(sock) == OK == ask(sock)
    assert keys == [['client'], ['client', 'mine', 'mine of']]


def test_client_that_refuses_its_server_is_an_error():
    """on_connect of the client is the app's own code."""
    with Upstream(lambda sock: sock.recv(1)) as upstream:
        client = Client(upstream.address, on_connect=lambda conn: False)
        with before(upstream, ProxyApp(client)) as server:
            got = talk(server.address, LAST)
    assert answers(got)[0].status in (500, 502)
    assert upstream.seen == [b'']


# ---------------------------------------------------------- before this Degu

def mirror(session, request, api):
    if request.uri == '/iter':
        return (200, 'OK', {}, BodyIter([b'hello', b'', b'world'], 10))
    if request.uri == '/fail':
        raise RuntimeError('here')
    if request.uri == '/unread':
        return (413, 'No', {}, b'too much')
    if request.uri == '/partly':
        return (200, 'OK', {}, request.body.read(3))
    headers = {'x-method': request.method}
    if request.method == 'HEAD':
        headers['content-length'] = 5
    return (200, 'OK', headers, request.body)


@pytest.fixture
def pair():
    """(server behind, server before, connection to this one)."""
    with Running(mirror, TCP) as behind:
        with before(behind, address=TCP) as server:
            with contextlib.closing(Client(server.address).connect()) as conn:
                yield (behind, server, conn)


@pytest.mark.parametrize('method', [
    'GET', 'PUT', 'POST', 'HEAD', 'DELETE', 'PATCH', 'OPTIONS'])
def test_each_method_before_degu(pair, method):
    (_, _, conn) = pair
    for _ in range(2):
        body = b'hello' if method.startswith('P') else None
        response = conn.request(method, '/a', {}, body)
        assert response.headers['x-method'] == method
        assert (response.body.read() if response.body else None) == body
    if method == 'HEAD':
        assert response.headers['content-length'] == 5


@pytest.mark.parametrize('body, got', [
    (api.ChunkedBodyIter, [(('a', 'b c'), b'x' * 70000), (None, b'y'),
                           (('d', None), b'')]), (b'x' * 3000000, None)])
def test_bodies_before_degu(pair, body, got):
    (_, _, conn) = pair
    for _ in range(2):
        given = body(got) if got else body
        response = conn.post('/', {}, given)
        assert (list(response.body) if got else response.body.read()) == (
            got or body)


def test_what_the_app_behind_does(pair):
    (_, _, conn) = pair
    assert conn.get('/iter').body.read() == b'helloworld'
    assert conn.get('/fail')[:2] == (500, 'Internal Server Error')
    assert conn.get('/iter').body.read() == b'helloworld'


@pytest.mark.parametrize('uri, text', [('/unread', b'too much'),
                                       ('/partly', b'xxx')])
@pytest.mark.parametrize('size', [5, 500000, 20000000])
def test_an_app_behind_that_leaves_the_body(pair, uri, text, size):
    (_, server, conn) = pair
    response = conn.put(uri, {}, b'x' * size)
    assert response.body.read() == text


def test_more_requests_than_the_connection_behind_allows():
    with Running(App(), max_requests_per_connection=2) as behind:
        with before(behind) as server, dial(server.address) as sock:
            for line in (GET, PUT, POST, GET, PUT, POST, PUT, PUT, PUT):
                got = ask(sock, line)
                assert got.startswith(b'HTTP/1.1 200 ')
                if b'connection: close' in got:
                    break


def test_proxy_before_proxy():
    with Running(mirror) as behind, before(behind) as one:
        with before(one) as two, before(two) as three:
            data = (b'PATCH / HTTP/1.1\r\ntransfer-encoding: chunked\r\n' +
                    CLOSE + b'\r\n3;a=b\r\nabc\r\n0;c\r\n\r\n')
            got = talk(three.address, data)
    assert got.endswith(b'\r\n\r\n3;a=b\r\nabc\r\n0;c\r\n\r\n')


# --------------------------------------------------------- before a real nginx

@pytest.fixture(scope='module')
def nginx():
    """A folder with the socket of a running nginx."""
    with run_nginx() as folder:
        yield folder


@pytest.fixture
def conn(nginx):
    """A connection to a proxy before nginx."""
    client = Client(nginx + '/sock', host='a.example', timeout=WAIT)
    with before(None, ProxyApp(client)) as server:
        with contextlib.closing(Client(server.address).connect()) as conn:
            yield conn


def test_nginx_files(conn):
    for _ in range(12):  # more than nginx lets through one connection
        response = conn.get('/a.txt')
        assert response.status == 200
        assert response.headers['content-length'] == len(TEXT)
        assert response.headers['content-type'] == 'text/plain'
        assert response.body.read() == TEXT
        head = conn.head('/a.txt')
        assert head.status == 200 and head.body is None
        assert head.headers['content-length'] == len(TEXT)
    response = conn.get('/empty')
    assert response.status == 200 and response.body is None


def test_nginx_ranges_and_conditions(conn):
    response = conn.get_range('/a.txt', {}, 5, 100)
    assert response.status == 206
    assert str(response.headers['content-range']) == (
        'bytes 5-99/%d' % len(TEXT))
    assert response.body.read() == TEXT[5:100]
    response = conn.get('/a.txt', {'range': 'bytes=-7'})
    assert (response.status, response.body.read()) == (206, TEXT[-7:])
    response = conn.get('/a.txt', {'range': 'bytes=0-0,2-2'})
    assert response.status == 206
    assert response.headers['content-type'].startswith('multipart/byteranges')
    assert response.body.read().count(b'content-range') in (0, 2)
    response = conn.get('/a.txt', {'range': 'bytes=99999999-'})
    assert response.status == 416
    assert response.headers['content-range'] == 'bytes */%d' % len(TEXT)
    response.body.read()
    etag = conn.head('/a.txt').headers['etag']
    response = conn.get('/a.txt', {'if-none-match': etag})
    assert (response.status, response.body) == (304, None)
    response = conn.get('/a.txt', {'if-match': '"x"'})
    assert response.status == 412
    response.body.read()
    assert conn.get('/a.txt').body.read() == TEXT


def test_nginx_statuses(conn):
    for (method, uri, status) in (
            ('GET', '/none', 404), ('GET', '/redirect', 301),
            ('GET', '/nothing', 204), ('DELETE', '/a.txt', 405),
            ('OPTIONS', '/a.txt', 405), ('POST', '/a.txt', 405),
            ('PATCH', '/echo', 200), ('GET', '/dav', 301)):
        for _ in range(2):
            response = conn.request(method, uri, {'x-a': 'b'})
            assert response.status == status, (method, uri)
            if response.body:
                text = response.body.read()
                if uri == '/echo':
                    assert text == b'PATCH /echo b'
    assert conn.get('/a.txt').body.read() == TEXT


@pytest.mark.parametrize('chunked', [False, True])
def test_nginx_upload(conn, nginx, chunked):
    data = os.urandom(65536) * 128
    for uri in ('/dav/a', '/dav/b/c/d'):
        body = data
        if chunked:
            body = api.ChunkedBodyIter(
                [(None, data[:5]), (('a', 'b'), data[5:]), (None, b'')])
        response = conn.put(uri, {}, body)
        assert response.status in (201, 204)
        if response.body:
            response.body.read()
        with open(nginx + '/www' + uri, 'rb') as file:
            assert file.read() == data
    assert conn.delete('/dav/a').status == 204
    response = conn.get('/dav/b/c/d')
    assert response.body.read() == data
    assert conn.delete('/dav/b/c/d').status == 204


@pytest.mark.parametrize('uri, size, status', [
    ('/a.txt', 8000000, 405), ('/small', 2000, 413), ('/small', 8000000, 413)])
def test_nginx_refuses_an_upload(conn, uri, size, status):
    """Its answer arrives although it does not take the body."""
    response = conn.put(uri, {}, bytes(size))
    assert response.status == status
    assert b'nginx' in response.body.read()


def test_nginx_zipped(conn):
    """Chunked, with a vary that gets through."""
    import gzip

    for _ in range(2):
        response = conn.get('/zipped/a.txt', {'accept-encoding': 'gzip'})
        assert response.headers['content-encoding'] == 'gzip'
        assert response.headers['vary'] == 'Accept-Encoding'
        assert response.headers['transfer-encoding'] == 'chunked'
        assert response.body.chunked
        assert gzip.decompress(response.body.read()) == TEXT
        head = conn.head('/zipped/a.txt', {'accept-encoding': 'gzip'})
        assert head.status == 200 and head.body is None


def test_nginx_headers_and_close(conn):
    for _ in range(2):
        response = conn.get('/headers')
        assert response.headers['x-big'] == 'y' * 3500
        assert response.headers['set-cookie'] == ['a=b', 'c=d']
        assert 'connection' not in response.headers
        assert response.body.read() == b'hi'
        response = conn.get('/close')
        assert response.body.read() == b'bye'
        assert not conn.closed
    response = conn.get('/echo', {'x-a': 'z' * 30000})
    assert response.body.read() == b'GET /echo ' + b'z' * 30000


# --------------------------------------------------------------------- memory

MEMORY = """
import sys
from degu.applib.proxy import ProxyApp
from degu.client import Client
from degu.server import Server

def high():
    with open('/proc/self/status') as file:
        for line in file:
            if line.startswith('VmHWM:'):
                return int(line.split()[1])

server = Server(('127.0.0.1', 0),
                ProxyApp(Client(('127.0.0.1', int(sys.argv[1])))))
print(server.address[1], flush=True)
import threading
thread = threading.Thread(target=server.serve_forever)
thread.start()
for line in sys.stdin:
    print(high(), flush=True)
server.shutdown()
thread.join()
"""


def pieces(count):
    piece = bytes(range(256)) * 256
    for _ in range(count):
        yield piece


@pytest.mark.parametrize('chunked', [False, True], ids=['length', 'chunked'])
def test_nothing_is_held(chunked):
    """64 MiB each way through a process of its own."""
    count = 1024
    wanted = hashlib.sha256()
    for piece in pieces(count):
        wanted.update(piece)

    def make():
        if chunked:
            return api.ChunkedBodyIter(
                (None, p) for p in [*pieces(count), b''])
        return api.BodyIter(pieces(count), count * 65536)

    def digest(body):
        found = hashlib.sha256()
        for item in body:
            found.update(item[1] if chunked else item)
        return found.hexdigest()

    def app(session, request, api):
        if request.body is None:
            return (200, 'OK', {}, make())
        return (200, 'OK', {'x-digest': digest(request.body)}, None)

    with Running(app, TCP) as behind:
        with child(MEMORY, str(behind.address[1])) as process:
            def high():
                process.stdin.write('\n')
                process.stdin.flush()
                return int(process.stdout.readline())

            port = int(process.stdout.readline())
            conn = Client(('127.0.0.1', port)).connect()
            assert conn.get('/').body
            conn.close()
            conn = Client(('127.0.0.1', port)).connect()
            start = high()
            assert digest(conn.get('/').body) == wanted.hexdigest()
            response = conn.put('/', {}, make())
            assert response.headers['x-digest'] == wanted.hexdigest()
            growth = high() - start
            conn.close()
            process.stdin.close()
            assert process.wait(WAIT) == 0
    assert growth < 16 * 1024
