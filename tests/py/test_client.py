# SPDX-License-Identifier: MIT OR 0BSD
"""Client and Connection: what is sent, what comes back, and a typed exception
for each way in which an exchange can fail."""

import contextlib
import gc
import io
import os
import signal
import socket
import threading
import time

import pytest

from degu.base import (
    Body,
    ChunkedBody,
    Connection,
    EmptyPreambleError,
    ProtocolError,
    Response,
    TruncatedError,
    api,
)
from degu.client import Client
from peers import (
    WAIT,
    App,
    Running,
    Script,
    child,
    dial,
    everything,
    is_asleep,
    listening,
    outcome,
    receive_head,
    reset,
    until,
)

EMPTY = b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
HELLO = b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'


# ------------------------------------------------------------------- addresses

@pytest.mark.parametrize('address, error', [
    ((), ValueError), (('127.0.0.1',), ValueError), (('::1', 0, 0), ValueError),
    (('127.0.0.1', '80'), TypeError), (('127.0.0.1', True), TypeError),
    (('127.0.0.1', None), TypeError), ((None, 80), TypeError),
    (('127.0.0.1', 65536), ValueError), (('127.0.0.1', -1), ValueError),
    (('::1', 80, '0', 0), TypeError), (None, TypeError), (80, TypeError),
    (['127.0.0.1', 80], TypeError), ('', ValueError), ('socket', ValueError),
    ('/a/../b', ValueError)])
def test_bad_address(address, error):
    with pytest.raises(error) as info:
        Client(address)
    assert len(str(info.value)) > 20


@pytest.mark.parametrize('address, host', [
    (('127.0.0.1', 8080), '127.0.0.1:8080'), (('127.0.0.1', 80), '127.0.0.1'),
    (('::1', 8080, 0, 0), '[::1]:8080'), (('::1', 80, 0, 0), '[::1]'),
    (('fe80::1%eth0', 81, 0, 0), '[fe80::1]:81'),
    (('[::1]', 81), '[::1]:81'), (('example.com', 81), 'example.com:81'),
    (b'\0name', None), ('/run/name', None)])
def test_host(address, host):
    """The scope of an address is nobody's but ours."""
    client = Client(address)
    assert client.host == host
    assert client.base_headers == (host and (('host', host),))
    assert repr(client) == 'Client({!r})'.format(address)
    assert client.address is address and client.options == {}


def test_client_options():
    def on_connect(conn):
        return True

    client = Client(b'\0name', host='me', authorization='Basic xyz',
                    timeout=5, spin=0.5, on_connect=on_connect)
    assert (client.host, client.authorization) == ('me', 'Basic xyz')
    assert client.timeout == 5 and client.on_connect is on_connect
    assert (client.spin, Client(b'').spin) == (0.5, 0)
    assert client.base_headers == (('authorization', 'Basic xyz'),
                                   ('host', 'me'))
    assert Client(b'').timeout == 65
    assert Client(b'', timeout=None).timeout is None
    assert Client(('127.0.0.1', 80), host=None).base_headers is None


@pytest.mark.parametrize('options, error', [
    ({'host': 5}, TypeError), ({'host': b'a'}, TypeError),
    ({'authorization': 5}, TypeError), ({'timeout': '5'}, TypeError),
    ({'timeout': True}, TypeError), ({'timeout': 0}, ValueError),
    ({'timeout': -1}, ValueError), ({'timeout': float('nan')}, ValueError),
    ({'timeout': float('inf')}, ValueError), ({'timeout': 1e300}, ValueError),
    ({'spin': None}, TypeError), ({'spin': '1'}, TypeError),
    ({'spin': True}, TypeError), ({'spin': -1}, ValueError),
    ({'spin': 1.1}, ValueError), ({'spin': float('nan')}, ValueError),
    ({'on_connect': 5}, TypeError), ({'other': 5}, TypeError)])
def test_bad_client_options(options, error):
    """S30: when the client is made, and with a sentence."""
    with pytest.raises(error) as info:
        Client(b'', **options)
    assert list(options)[0] in str(info.value)


def test_set_base_header():
    client = Client(('127.0.0.1', 8080))
    client.set_base_header('x-a', 'b')
    client.set_base_header('123', 'c')
    assert client.base_headers == (
        ('123', 'c'), ('host', '127.0.0.1:8080'), ('x-a', 'b'))
    for name in ('123', 'host', 'x-a', 'gone'):
        client.set_base_header(name, None)
    assert client.base_headers is None
    for (name, value) in [(5, 'a'), (b'a', 'b'), (None, 'a'), ('a', 5),
                          ('a', b'b')]:
        with pytest.raises(TypeError):
            client.set_base_header(name, value)
    for name in ('A', '', 'x-A'):
        with pytest.raises(ValueError):
            client.set_base_header(name, 'a')


# --------------------------------------------------------------------- methods

@pytest.mark.parametrize('call, want', [
    (lambda conn: conn.get('/a?b', {'c': 'd'}), 'GET /a?b'),
    (lambda conn: conn.head('/a?b', {'c': 'd'}), 'HEAD /a?b'),
    (lambda conn: conn.delete('/a?b', {'c': 'd'}), 'DELETE /a?b'),
    (lambda conn: conn.put('/a?b', {'c': 'd'}, None), 'PUT /a?b'),
    (lambda conn: conn.post('/a?b', {'c': 'd'}, None), 'POST /a?b'),
    (lambda conn: conn.put('/a?b', {'c': 'd'}, b''), 'PUT /a?b'),
    *[(lambda conn, method=method:
       conn.request(method, '/a?b', {'c': 'd'}, None), method + ' /a?b')
      for method in ('GET', 'HEAD', 'DELETE', 'PUT', 'POST', 'PATCH',
                     'OPTIONS')]])
def test_methods(call, want):
    """D1: PUT, POST and PATCH say that nothing comes."""
    sock = Script(EMPTY)
    conn = Connection(sock, None)
    response = call(conn)
    assert type(response) is Response
    # An answer to HEAD keeps the length of what is not there.
    kept = {'content-length': 0} if want.startswith('HEAD') else {}
    assert response == (200, 'OK', kept, None)
    lines = sorted(sock.sent.decode('ascii').split('\r\n')[1:-2])
    zero = ['content-length: 0'] if want.startswith('P') else []
    assert sock.sent.decode('ascii').split('\r\n')[0] == want + ' HTTP/1.1'
    assert lines == ['c: d'] + zero
    assert not conn.closed


@pytest.mark.parametrize('name, count', [
    ('request', 4), ('get', 2), ('head', 2), ('delete', 2), ('put', 3),
    ('post', 3), ('get_range', 4), ('close', 0)])
def test_argument_counts(name, count):
    conn = Connection(Script(EMPTY), None)
    for wrong in {count + 1, max(count - 1, 0), 9} - {count}:
        with pytest.raises(TypeError):
            getattr(conn, name)(*range(wrong))
    assert not conn.closed and conn.sock.sent == b''


@pytest.mark.parametrize('args, error', [
    (('get', '/', {}, None), ValueError),
    (('TRACE', '/', {}, None), ValueError),
    (('', '/', {}, None), ValueError), (('G T', '/', {}, None), ValueError),
    (('GET\r\n', '/', {}, None), ValueError),
    (('\xe9', '/', {}, None), ValueError),
    ((b'GET', '/', {}, None), TypeError), ((None, '/', {}, None), TypeError),
    (('GET', b'/', {}, None), TypeError), (('GET', None, {}, None), TypeError),
    (('GET', '', {}, None), ValueError), (('GET', 'a', {}, None), ValueError),
    (('GET', '*', {}, None), ValueError), (('GET', '/ ', {}, None), ValueError),
    (('GET', '/\r\n', {}, None), ValueError),
    (('GET', '/ HTTP/1.1\r\na: b', {}, None), ValueError),
    (('GET', '/\xe9', {}, None), ValueError),
    (('GET', '/\0', {}, None), ValueError),
    (('GET', '/\ud800', {}, None), ValueError),
    (('GET', '//', {}, None), ValueError),
    (('GET', '/..', {}, None), ValueError),
    (('GET', '/#', {}, None), ValueError),
    (('GET', '/' + 'a' * 40000, {}, None), ValueError),
    (('GET', 'http://a/', {}, None), ValueError),
    (('GET', '/', [], None), TypeError),
    (('GET', '/', [('a', 'b')], None), TypeError),
    (('GET', '/', {5: 'a'}, None), TypeError),
    (('GET', '/', {b'a': 'a'}, None), TypeError),
    (('GET', '/', {'A': 'a'}, None), ValueError),
    (('GET', '/', {'': 'a'}, None), ValueError),
    (('GET', '/', {'a b': 'a'}, None), ValueError),
    (('GET', '/', {'a:': 'a'}, None), ValueError),
    (('GET', '/', {'\xe9': 'a'}, None), ValueError),
    (('GET', '/', {'a' * 65: 'a'}, None), ValueError),
    (('GET', '/', {'a': None}, None), TypeError),
    (('GET', '/', {'a': b'b'}, None), TypeError),
    (('GET', '/', {'a': True}, None), TypeError),
    (('GET', '/', {'a': 5.0}, None), TypeError),
    (('GET', '/', {'a': ['b']}, None), TypeError),
    (('GET', '/', {'a': -1}, None), ValueError),
    (('GET', '/', {'a': 'b\r\n'}, None), ValueError),
    (('GET', '/', {'a': 'b\r\nc: d'}, None), ValueError),
    (('GET', '/', {'a': '\n'}, None), ValueError),
    (('GET', '/', {'a': '\0'}, None), ValueError),
    (('GET', '/', {'a': ' b'}, None), ValueError),
    (('GET', '/', {'a': 'b '}, None), ValueError),
    (('GET', '/', {'a': '\xe9'}, None), ValueError),
    (('GET', '/', {'a': 'x' * 40000}, None), ValueError),
    (('GET', '/', {str(n): 'x' for n in range(65)}, None), ValueError),
    (('PUT', '/', {str(n): 'x' for n in range(64)}, None), ValueError),
    (('GET', '/', {'connection': 'keep-alive'}, None), ValueError),
    (('GET', '/', {'keep-alive': 'x'}, None), ValueError),
    (('GET', '/', {'proxy-connection': 'close'}, None), ValueError),
    (('GET', '/', {'host': 'a b'}, None), ValueError),
    (('GET', '/', {'expect': '200-ok'}, None), ValueError),
    (('GET', '/', {'content-range': api.ContentRange(0, 1, 2)}, None),
     ValueError),
    (('PUT', '/', {'range': api.Range(0, 1)}, b'x'), ValueError),
    (('GET', '/', {'content-length': 5}, None), ValueError),
    (('PUT', '/', {'content-length': 5}, None), ValueError),
    (('PUT', '/', {'content-length': 5}, b'x'), ValueError),
    (('PUT', '/', {'content-length': True}, b'x'), TypeError),
    (('PUT', '/', {'transfer-encoding': 'chunked'}, b'x'), ValueError),
    (('PUT', '/', {'transfer-encoding': 'chunked'}, None), ValueError),
    (('PUT', '/', {'content-length': 5, 'transfer-encoding': 'chunked'},
      b'hello'), ValueError),
    (('PUT', '/', {'content-length': 5}, lambda: api.ChunkedBodyIter([])),
     ValueError),
    (('GET', '/', {}, b'x'), ValueError), (('HEAD', '/', {}, b'x'), ValueError),
    (('DELETE', '/', {}, b'x'), ValueError),
    (('OPTIONS', '/', {}, b'x'), ValueError),
    (('GET', '/', {}, lambda: api.BodyIter([b'x'], 1)), ValueError),
    (('GET', '/', {}, lambda: api.ChunkedBodyIter([])), ValueError),
    (('PUT', '/', {}, 'x'), TypeError), (('PUT', '/', {}, 5), TypeError),
    (('PUT', '/', {}, [b'x']), TypeError), (('PUT', '/', {}, True), TypeError),
    (('PUT', '/', {}, lambda: api.BodyIter(None, 5)), TypeError),
    (('PUT', '/', {}, lambda: api.BodyIter([5], 5)), TypeError),
    (('PUT', '/', {}, lambda: api.BodyIter([], 5)), ValueError),
    (('PUT', '/', {}, lambda: api.BodyIter([b'hello!'], 5)), ValueError),
    (('PUT', '/', {}, lambda: api.ChunkedBodyIter([])), ValueError)])
def test_refused_before_the_first_byte(args, error):
    """D9; a second, right request then goes out on the same connection."""
    sock = Script(EMPTY)
    conn = Connection(sock, None)
    (*first, body) = args
    with pytest.raises(error):
        conn.request(*first, body() if callable(body) else body)
    assert sock.sent == b'' and not conn.closed and sock.closed == 0
    assert conn.get('/', {}) == (200, 'OK', {}, None)


def test_headers_are_not_changed():
    """D10: never, by nothing."""
    headers = {'a': 'b', 'host': 'mine'}
    before = dict(headers)
    sock = Script()
    conn = Connection(sock, (('authorization', 'x'), ('host', 'theirs')))
    for call in (lambda: conn.get('/', headers),
                 lambda: conn.head('/', headers),
                 lambda: conn.put('/', headers, b'hello'),
                 lambda: conn.post('/', headers, None),
                 lambda: conn.put('/', headers, api.ChunkedBodyIter(
                     [(None, b'')])),
                 lambda: conn.get_range('/', headers, 0, 5)):
        sock.data = b'HTTP/1.1 204 No Content\r\n\r\n'
        call()
        assert headers == before


def test_base_headers():
    """They win over the request's own; here a proxy hands on a host."""
    sock = Script(EMPTY)
    base = (('authorization', 'x'), ('host', 'theirs'))
    conn = Connection(sock, base)
    assert conn.base_headers is base
    conn.get('/', {'host': 'mine', 'a': 'b'})
    assert sorted(sock.sent.split(b'\r\n')[1:-2]) == [
        b'a: b', b'authorization: x', b'host: theirs']


@pytest.mark.parametrize('base, error', [
    ([], TypeError), ({}, TypeError), ('a', TypeError), (('ab',), TypeError),
    ((('a',),), TypeError), ((('a', 'b', 'c'),), TypeError),
    ((('a', None),), TypeError), (((5, 'a'),), TypeError),
    ((['a', 'b'],), TypeError)])
def test_bad_base_headers(base, error):
    sock = Script()
    with pytest.raises(error):
        Connection(sock, base)


def test_attributes():
    sock = Script()
    conn = Connection(sock, None)
    assert conn.sock is sock and conn.base_headers is None
    assert conn.api is api and conn.bodies is api
    assert conn.closed is False
    for name in ('sock', 'base_headers', 'api', 'closed', 'other'):
        with pytest.raises((AttributeError, TypeError)):
            setattr(conn, name, None)


@pytest.mark.parametrize('name', ['close', 'recv_into', 'send'])
def test_sock_is_checked(name):
    class Without:
        pass

    class Flat:
        pass

    for other in ('close', 'recv_into', 'send'):
        setattr(Flat, other, print)
        if other != name:
            setattr(Without, other, print)
    setattr(Flat, name, 5)
    with pytest.raises(AttributeError):
        Connection(Without(), None)
    with pytest.raises(TypeError):
        Connection(Flat(), None)


def test_get_range():
    sock = Script(b'HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 2-4/9'
                  b'\r\ncontent-length: 3\r\n\r\n345')
    conn = Connection(sock, None)
    response = conn.get_range('/', {}, 2, 5)
    assert sock.sent == b'GET / HTTP/1.1\r\nrange: bytes=2-4\r\n\r\n'
    assert response.headers == {'content-length': 3,
                                'content-range': api.ContentRange(2, 5, 9)}
    assert type(response.headers['content-range']) is api.ContentRange
    assert response.body.read() == b'345'


@pytest.mark.parametrize('given', [api.Range(2, 5), 'bytes=2-4'])
def test_get_range_given(given):
    sock = Script(EMPTY)
    Connection(sock, None).get_range('/', {'range': given}, 2, 5)
    assert sock.sent == b'GET / HTTP/1.1\r\nrange: bytes=2-4\r\n\r\n'


@pytest.mark.parametrize('headers, start, stop, error', [
    ({}, 5, 5, ValueError), ({}, -1, 5, ValueError), ({}, 0, '5', TypeError),
    ({}, True, 5, TypeError), ({'range': 'bytes=0-1'}, 0, 5, ValueError),
    ({'range': api.Range(0, 4)}, 0, 5, ValueError), ([], 0, 5, TypeError)])
def test_get_range_refuses(headers, start, stop, error):
    sock = Script(EMPTY)
    conn = Connection(sock, None)
    with pytest.raises(error):
        conn.get_range('/', headers, start, stop)
    assert sock.sent == b'' and not conn.closed


# ------------------------------------------------------------------- responses

@pytest.mark.parametrize('data, want', [
    (b'HTTP/1.1 200 OK\r\nA:1\r\na: 2 \r\nb:\r\ncontent-length: 0\r\n\r\n',
     {'a': '1, 2', 'b': ''}),
    (b'HTTP/1.1 200 OK\r\nset-cookie: a=1\r\ncontent-length: 0\r\n\r\n',
     {'set-cookie': 'a=1'}),
    (b'HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nSet-Cookie: b=2, c\r\n'
     b'set-cookie:\r\ncontent-length: 0\r\n\r\n',
     {'set-cookie': ['a=1', 'b=2, c', '']}),
    (b'HTTP/1.1 200 OK\r\nconnection: x\r\nkeep-alive: timeout=5\r\n'
     b'proxy-connection: keep-alive\r\ncontent-length: 0\r\n\r\n', {}),
    (b'HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n', {}),
    (b'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n',
     {'content-length': 5}),
    (b'HTTP/1.1 416 No\r\ncontent-range: bytes */5\r\ncontent-length: 0\r\n'
     b'\r\n', {'content-range': 'bytes */5'}),
    (b'HTTP/1.1 206 Yes\r\ncontent-range: bytes 0-1/2\r\ncontent-length: 0'
     b'\r\n\r\n', {'content-range': api.ContentRange(0, 2, 2)})])
@pytest.mark.parametrize('step', [None, 1])
def test_response_headers(data, want, step):
    response = Connection(Script(data, step), None).get('/', {})
    assert response.headers == want
    assert response.body is None


@pytest.mark.parametrize('reason', [
    'OK', '', 'a', "I'm a teapot", 'x\ty', '!~'])
def test_reason(reason):
    data = EMPTY.replace(b'OK', reason.encode())
    assert Connection(Script(data), None).get('/', {}).reason == reason


def test_head_has_no_body():
    """Whatever the headers say."""
    for field in (b'content-length: 5', b'transfer-encoding: chunked', b'a: b'):
        sock = Script(b'HTTP/1.1 200 OK\r\n' + field + b'\r\n\r\n' + EMPTY, 1)
        conn = Connection(sock, None)
        response = conn.head('/', {})
        assert response.body is None and len(response.headers) == 1
        assert not conn.closed
        assert conn.get('/', {}) == (200, 'OK', {}, None)


@pytest.mark.parametrize('count', [1, 2, 16])
def test_interim_responses_are_skipped(count):
    """D4, S9."""
    for step in (None, 1):
        interim = (b'HTTP/1.1 100 Continue\r\n\r\n'
                   b'HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n')
        data = (interim * count)[:None if count == 1 else count // 2 * len(
            interim)]
        conn = Connection(Script(data + HELLO, step), None)
        response = conn.get('/', {})
        assert response.status == 200 and response.body.read() == b'hello'
        assert not conn.closed


@pytest.mark.parametrize('data', [
    b'HTTP/1.1 100 Continue\r\n\r\n' * 17 + HELLO,
    b'HTTP/1.1 101 Switching Protocols\r\n\r\n' + HELLO,
    b'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n',
    b'HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\nhello',
    b'HTTP/1.1 100 Continue\r\ntransfer-encoding: chunked\r\n\r\n',
    b'HTTP/1.1 099 X\r\n\r\n', b'HTTP/1.1 600 X\r\n\r\n',
    b'HTTP/1.1 20 X\r\n\r\n', b'HTTP/1.1 2000 X\r\n\r\n',
    b'HTTP/1.1 +20 X\r\n\r\n', b'HTTP/1.1 200\r\n\r\n',
    b'HTTP/1.1  200 OK\r\n\r\n', b'HTTP/2.0 200 OK\r\n\r\n',
    b'HTTP/1.2 200 OK\r\n\r\n', b'http/1.1 200 OK\r\n\r\n',
    b'HTTP/1.1 200 O\xe9\r\n\r\n', b'HTTP/1.1 200 O\0\r\n\r\n',
    b'\r\n' + EMPTY, b'\n' + EMPTY, b'HTTP/1.1 200 OK\n\n', b'hello\r\n\r\n',
    b'SSH-2.0-OpenSSH\r\n' * 3000,
    b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello',
    b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n'
    b'transfer-encoding: chunked\r\n\r\n',
    b'HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n',
    b'HTTP/1.1 200 OK\r\ncontent-length: 05\r\n\r\nhello',
    b'HTTP/1.1 200 OK\r\nrange: bytes=0-1\r\n\r\n',
    b'HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n', b'HTTP/1.1 200 OK\r\na\r\n\r\n',
    b'HTTP/1.1 200 OK\r\na : b\r\n\r\n', b'HTTP/1.1 200 OK\r\n: b\r\n\r\n',
    b'HTTP/1.1 200 OK\r\n' + b'a: b\r\n' * 65 + b'\r\n',
    b'HTTP/1.1 200 OK\r\n' + b'a' * 65 + b': b\r\n\r\n',
    b'HTTP/1.1 200 OK\r\na: ' + b'b' * 32768 + b'\r\n\r\n'])
@pytest.mark.parametrize('step', [None, 1])
def test_protocol_error(data, step):
    if step and len(data) > 5000:
        step = 1000
    sock = Script(data, step)
    conn = Connection(sock, None)
    with pytest.raises(ProtocolError) as info:
        conn.get('/', {})
    error = info.value
    assert type(error) is ProtocolError and isinstance(error, ValueError)
    assert error.code.startswith('E_') and str(error)
    assert conn.closed and sock.closed == 1
    with pytest.raises(ProtocolError) as info:
        conn.get('/', {})
    assert info.value.code == 'E_FINISHED'


def test_error_names_the_bytes():
    """What is wrong, and where (decisions.md)."""
    conn = Connection(Script(b'HTTP/1.1 200 OK\r\na: b\x01c\r\n\r\n'), None)
    with pytest.raises(ProtocolError) as info:
        conn.get('/', {})
    assert info.value.code == 'E_VALUE'
    assert info.value.offset == 21
    assert '\\x01c' in str(info.value)


@pytest.mark.parametrize('data', [
    b'HTTP/1.0 200 OK\r\n\r\nhello',
    b'HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello',
    b'HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello',
    b'HTTP/1.1 200 OK\r\nconnection: x, Close\r\n'
    b'transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
    b'HTTP/1.1 200 OK\r\n\r\nhello'])
@pytest.mark.parametrize('step', [None, 1])
def test_last_response(data, step):
    """The body is read to its end, and then there is no further request."""
    sock = Script(data, step)
    conn = Connection(sock, None)
    response = conn.get('/', {})
    assert not conn.closed
    assert response.body.read() == b'hello'
    assert conn.closed and sock.closed == 1
    with pytest.raises(ProtocolError):
        conn.get('/', {})


def test_last_response_without_body():
    sock = Script(EMPTY.replace(b'\r\n\r\n', b'\r\nconnection: close\r\n\r\n'))
    conn = Connection(sock, None)
    assert conn.get('/', {}) == (200, 'OK', {}, None)
    assert conn.closed and sock.closed == 1


def test_app_like_close():
    """D3: a caller may set connection: close, and only that."""
    sock = Script(EMPTY)
    conn = Connection(sock, None)
    conn.get('/', {'connection': 'close'})
    assert sock.sent == b'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'
    assert conn.closed


def test_unread_body():
    """Nothing else may be sent until it is read; no harm is done."""
    conn = Connection(Script(HELLO + EMPTY, len(HELLO)), None)
    response = conn.get('/', {})
    with pytest.raises(ValueError):
        conn.get('/', {})
    assert response.body.read() == b'hello'


@pytest.mark.parametrize('status', [400, 404, 405, 416, 500, 503])
def test_usable_after_any_status(status):
    """D10."""
    data = b'HTTP/1.1 %d X\r\ncontent-length: 5\r\n\r\nhello' % status
    sock = Script(data * 3, len(data))
    conn = Connection(sock, None)
    for _ in range(3):
        response = conn.get('/', {})
        assert (response.status, response.body.read()) == (status, b'hello')
    assert not conn.closed


def test_unasked_bytes_in_the_buffer():
    """Rule 15: they are never the answer to what is sent after them."""
    sock = Script(EMPTY + EMPTY)
    conn = Connection(sock, None)
    conn.get('/', {})
    sent = sock.sent
    with pytest.raises(ProtocolError) as info:
        conn.get('/', {})
    assert info.value.code == 'E_UNASKED'
    assert sock.sent == sent and conn.closed and sock.closed == 1


@pytest.mark.parametrize('address', [b'', ('127.0.0.1', 0)])
@pytest.mark.parametrize('surplus', [b'x', EMPTY, b''])
def test_unasked_bytes_in_the_socket(address, surplus):
    """The same with bytes, or the end, that came in later."""
    again = threading.Event()
    done = threading.Event()

    def run(sock):
        receive_head(sock)
        sock.sendall(EMPTY)
        assert again.wait(WAIT)
        if surplus:
            sock.sendall(surplus)
        else:
            sock.shutdown(socket.SHUT_WR)
        done.set()
        with contextlib.suppress(ConnectionResetError):
            assert everything(sock) == b''

    with listening(run, address) as address:
        conn = Client(address).connect()
        conn.get('/', {})
        again.set()
        assert done.wait(WAIT)
        time.sleep(0.01)
        with pytest.raises(ProtocolError if surplus else
                           EmptyPreambleError) as info:
            conn.get('/', {})
        assert info.value.code == ('E_UNASKED' if surplus else 'E_CLOSED')
        assert conn.closed


# ------------------------------------------------------------------- the wire

@pytest.fixture(params=['unix', 'tcp'])
def near(request):
    return b'' if request.param == 'unix' else ('127.0.0.1', 0)


def test_refused(near):
    with socket.socket(socket.AF_UNIX if near == b'' else
                       socket.AF_INET) as sock:
        sock.bind(near)
        with pytest.raises(ConnectionRefusedError):
            Client(sock.getsockname()).connect()
    with pytest.raises(FileNotFoundError):
        Client('/nowhere/at/all').connect()


def test_closed_before_a_byte(near):
    """May be tried again, so it has a name of its own."""
    with listening(receive_head, near) as address:
        conn = Client(address).connect()
        with pytest.raises(EmptyPreambleError) as info:
            conn.get('/', {})
        assert isinstance(info.value, ConnectionError)
        assert info.value.code == 'E_CLOSED'
        assert conn.closed


@pytest.mark.parametrize('data', [b'H', b'HTTP/1.1 200 OK\r\n',
                                  HELLO[:-6], EMPTY[:-1]])
def test_closed_inside_the_head(near, data):
    def run(sock):
        receive_head(sock)
        sock.sendall(data)

    with listening(run, near) as address:
        conn = Client(address).connect()
        with pytest.raises(TruncatedError) as info:
            conn.get('/', {})
        assert info.value.code == 'E_TRUNCATED'
        assert not isinstance(info.value, EmptyPreambleError)
        assert conn.closed


@pytest.mark.parametrize('data', [
    HELLO[:-5], HELLO[:-1],
    b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n',
    b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n',
    b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe'])
def test_closed_inside_the_body(near, data):
    def run(sock):
        receive_head(sock)
        sock.sendall(data)

    with listening(run, near) as address:
        conn = Client(address).connect()
        response = conn.get('/', {})
        assert not conn.closed
        with pytest.raises(TruncatedError):
            response.body.read()
        assert response.body.state == 3
        assert conn.closed


@pytest.mark.parametrize('data', [b'', b'HTTP/1.1 200', HELLO[:-3]])
def test_reset(data):
    def run(sock):
        receive_head(sock)
        sock.sendall(data)
        reset(sock)

    with listening(run, ('127.0.0.1', 0)) as address:
        conn = Client(address).connect()
        with pytest.raises(ConnectionResetError) as info:
            conn.get('/', {}).body.read()
        assert info.value.errno is not None
        assert conn.closed


@pytest.mark.parametrize('spin', [0, 0.01, 1])
@pytest.mark.parametrize('data', [b'', b'HTTP/1.1 200', HELLO[:-3]])
def test_timed_out(near, data, spin):
    done = threading.Event()

    def run(sock):
        receive_head(sock)
        sock.sendall(data)
        assert done.wait(WAIT)

    with listening(run, near) as address:
        conn = Client(address, timeout=0.2, spin=spin).connect()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            conn.get('/', {}).body.read()
        assert 0.15 < time.monotonic() - started < 2
        assert conn.closed
        done.set()


def test_pause_of_the_reader(near):
    """What a reader does between two reads is not of the second one's time,
    even if that begins with bytes that have come before."""
    go_on = threading.Event()

    def run(sock):
        receive_head(sock)
        sock.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc')
        assert go_on.wait(WAIT)
        time.sleep(0.05)
        sock.sendall(b'def')

    with listening(run, near) as address:
        conn = Client(address, timeout=0.3).connect()
        body = conn.get('/', {}).body
        assert body.read(1) == b'a'
        time.sleep(0.5)
        go_on.set()
        assert body.read(5) == b'bcdef'
        conn.close()


@pytest.mark.parametrize('head, rest', [
    (b'', b'HTTP/1.1 200 OK\r\n' + b'a: b\r\n' * 10),
    (b'HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n', b'x' * 60),
    (b'HTTP/1.1 200 OK\r\n\r\n', b'x' * 60),
    (b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3c\r\n',
     b'x' * 60),
    (b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n',
     b'1;' + b'x' * 60)])
def test_dripping_server(near, head, rest):
    """Time is absolute: each byte a little later does not extend it."""
    stop = threading.Event()

    def run(sock):
        receive_head(sock)
        sock.sendall(head)
        with contextlib.suppress(ConnectionError):  # the client went first
            for byte in rest:
                if stop.wait(0.05):
                    return
                sock.sendall(bytes([byte]))

    with listening(run, near) as address:
        conn = Client(address, timeout=0.3).connect()
        started = time.monotonic()
        try:
            with pytest.raises(TimeoutError):
                conn.get('/', {}).body.read()
        finally:
            stop.set()
        assert time.monotonic() - started < 1.5
        assert conn.closed


@pytest.mark.parametrize('operate', [
    lambda body: body.write_to(io.BytesIO()),
    lambda body: Connection(Script(EMPTY), None).put('/', {}, body)],
    ids=['file', 'relay'])
@pytest.mark.parametrize('head, rest', [
    (b'content-length: 60\r\n\r\n', b'x' * 60), (b'\r\n', b'x' * 60),
    (b'transfer-encoding: chunked\r\n\r\n3c\r\n', b'x' * 60),
    (b'transfer-encoding: chunked\r\n\r\n', b'1\r\nx\r\n' * 10),
    (b'transfer-encoding: chunked\r\n\r\n', b'1;' + b'x' * 60)])
def test_dripping_server_is_not_handed_on(operate, head, rest):
    """Nor does it when the bytes go on to a file or another connection as they
    come: that is one step, not one for each of them."""
    stop = threading.Event()

    def run(sock):
        receive_head(sock)
        sock.sendall(b'HTTP/1.1 200 OK\r\n' + head)
        with contextlib.suppress(ConnectionError):  # the client went first
            for byte in rest:
                if stop.wait(0.05):
                    return
                sock.sendall(bytes([byte]))

    with listening(run) as address:
        conn = Client(address, timeout=0.3).connect()
        body = conn.get('/', {}).body
        started = time.monotonic()
        try:
            with pytest.raises(TimeoutError):
                operate(body)
            assert time.monotonic() - started < 1.5
        finally:
            stop.set()
            conn.close()
        assert body.state == 3 and conn.closed


def test_no_timeout():
    conn = Client(('127.0.0.1', 80), timeout=None)
    assert conn.timeout is None
    with Running(App()) as running:
        conn = Client(running.address, timeout=None).connect()
        assert conn.sock.gettimeout() is None
        assert conn.get('/', {}).body.read() == b'hello'
        conn.close()


@pytest.mark.parametrize('size', [3000000, 30000000])
@pytest.mark.parametrize('reset', [False, True])
def test_early_response(near, size, reset):
    """S8: a server that has enough answers and closes; its answer is read,
    where the kernel still has it."""
    def run(sock):
        receive_head(sock)
        sock.sendall(b'HTTP/1.1 413 Content Too Large\r\nconnection: close\r\n'
                     b'content-length: 5\r\n\r\nhello')
        sock.shutdown(socket.SHUT_WR)
        if not reset:
            # As Degu's server does: read on for a while.
            everything(sock)

    with listening(run, near) as address:
        conn = Client(address).connect()
        try:
            response = conn.put('/', {}, b'x' * size)
        except ConnectionError:
            assert reset
        else:
            assert response.status == 413
            if not reset:
                assert response.body.read() == b'hello'
                assert conn.closed
        conn.close()


def test_early_response_of_degu(near):
    """Both ends together: the app refuses a body that it never reads."""
    app = App((413, 'Content Too Large', {}, b'hello'))
    with Running(app, near) as running:
        for size in (5, 100000, 1500000):
            conn = Client(running.address).connect()
            response = conn.put('/', {}, b'x' * size)
            assert response.status == 413
            assert response.body.read() == b'hello'
            assert conn.closed


def test_expect_continue():
    """D4: a client may ask; the 100 is not the answer."""
    app = App(lambda session, request, api: (
        200, 'OK', {}, request.body.read()))
    with Running(app) as running:
        conn = Client(running.address).connect()
        response = conn.put('/', {'expect': '100-continue'}, b'hello')
        assert (response.status, response.body.read()) == (200, b'hello')
        assert not conn.closed
        conn.close()


def test_no_retry(near):
    """Nothing is ever sent twice."""
    heads = []

    def run(sock):
        heads.append(receive_head(sock))

    with listening(run, near) as address:
        conn = Client(address).connect()
        for _ in range(2):
            with pytest.raises((EmptyPreambleError, ProtocolError)):
                conn.get('/', {})
    assert len(heads) == 1


# --------------------------------------------------------------------- connect

def test_on_connect():
    calls = []

    def on_connect(conn):
        calls.append(conn.get('/', {}).body.read())
        return True

    with Running(App()) as running:
        conn = Client(running.address, on_connect=on_connect).connect()
        assert calls == [b'hello']
        assert conn.get('/', {}).body.read() == b'hello'
        conn.close()


@pytest.mark.parametrize('answer', [False, None, 1, 'yes'])
def test_on_connect_refuses(answer):
    kept = []

    def on_connect(conn):
        kept.append(conn.sock)
        return answer

    with Running(App()) as running:
        with pytest.raises(ValueError):
            Client(running.address, on_connect=on_connect).connect()
    assert kept[0].fileno() == -1


def test_on_connect_raises():
    kept = []

    def on_connect(conn):
        kept.append(conn.sock)
        raise KeyError('here')

    with Running(App()) as running:
        with pytest.raises(KeyError):
            Client(running.address, on_connect=on_connect).connect()
    assert kept[0].fileno() == -1


def test_create_socket():
    with Running(App()) as running:
        client = Client(running.address, timeout=5)
        with client.create_socket() as sock:
            assert type(sock) is socket.socket
            assert sock.gettimeout() == 5
            conn = Connection(sock, None)
            assert conn.get('/', {}).body.read() == b'hello'


def test_host_name():
    """A 2-tuple may name a host to a client."""
    with Running(App(), ('127.0.0.1', 0)) as running:
        conn = Client(('localhost', running.address[1])).connect()
        assert conn.get('/', {}).body.read() == b'hello'
        conn.close()


def test_host_arrives():
    seen = []

    def app(session, request, api):
        seen.append(request.headers)
        return (200, 'OK', {}, None)

    with Running(app, ('::1', 0, 0, 0)) as running:
        client = Client(running.address, authorization='x')
        conn = client.connect()
        conn.get('/', {})
        conn.close()
        port = running.address[1]
    assert seen == [{'host': '[::1]:{}'.format(port), 'authorization': 'x'}]


def test_close():
    sock = Script()
    conn = Connection(sock, None)
    assert conn.close() is None and conn.closed
    assert conn.close() is None and sock.closed == 1
    with pytest.raises(ValueError):
        conn.get('/', {})
    assert sock.sent == b''


def test_close_raises():
    class Bad(Script):
        def close(self):
            super().close()
            raise KeyError('close')

    sock = Bad()
    conn = Connection(sock, None)
    with pytest.raises(KeyError):
        conn.close()
    assert conn.closed and conn.close() is None and sock.closed == 1
    # While another error is handled this one is not shown.
    conn = Connection(Bad(b'x'), None)
    with pytest.raises(TruncatedError):
        conn.get('/', {})
    assert conn.closed


def test_socket_lives_as_long_as_its_readers():
    """The connection may go before the body, and the socket with the last."""
    with Running(App()) as running:
        body = Client(running.address).connect().get('/', {}).body
        gc.collect()
        assert body.read() == b'hello'


def test_socket_closed_by_somebody_else():
    """Its number may be another file's by now: it is not used any more."""
    with Running(App()) as running:
        conn = Client(running.address).connect()
        conn.get('/', {}).body.read()
        number = conn.sock.fileno()
        with open(os.devnull, 'rb+', buffering=0) as file:
            conn.sock.close()
            os.dup2(file.fileno(), number)
            try:
                with pytest.raises((ValueError, OSError)):
                    conn.get('/', {})
            finally:
                os.close(number)
        assert conn.closed


# -------------------------------------- bodies whose connection has been closed

@contextlib.contextmanager
def unfinished(data, timeout=WAIT):
    """A connection, and a body of which more is to come."""
    (ours, theirs) = socket.socketpair()
    ours.settimeout(timeout)

    def run():
        receive_head(theirs)
        theirs.sendall(b'HTTP/1.1 200 OK\r\n' + data)

    thread = threading.Thread(target=run)
    thread.start()
    with ours, theirs:
        conn = Connection(ours, None)
        body = conn.get('/', {}).body
        thread.join(WAIT)
        yield (conn, body)


@contextlib.contextmanager
def replaced(conn, close):
    """Closes, and gives the number of the descriptor to another socket, from
    which nobody may read and to which nobody may write."""
    number = conn.sock.fileno()
    (near, far) = socket.socketpair()
    with near, far:
        far.sendall(b'secret' * 20)
        far.shutdown(socket.SHUT_WR)
        close(conn)
        assert conn.sock.fileno() == -1
        os.dup2(near.fileno(), number)
        try:
            yield
        finally:
            os.close(number)
        assert near.recv(1000) == b'secret' * 20
        near.close()
        assert far.recv(1000) == b''


def hand_on(body):
    """As the body of a request on another connection."""
    sock = Script(EMPTY)
    conn = Connection(sock, None)
    try:
        conn.put('/', {}, body)
    finally:
        assert sock.sent == b'' and not conn.closed


UNFINISHED = [b'content-length: 60\r\n\r\nhello', b'\r\nhello',
              b'transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nwo']
closings = pytest.mark.parametrize('close', [
    lambda conn: conn.close(), lambda conn: conn.sock.close()],
    ids=['connection', 'socket'])


@closings
@pytest.mark.parametrize('operate', [
    lambda body: body.read(), list,
    lambda body: body.readchunk() if body.chunked else body.read(30),
    lambda body: body.write_to(io.BytesIO()), hand_on],
    ids=['read', 'iterate', 'part', 'write_to', 'send'])
@pytest.mark.parametrize('data', UNFINISHED)
def test_body_of_a_closed_connection(data, operate, close):
    """Neither what is in the buffer nor what has the socket's number now."""
    with unfinished(data) as (conn, body), replaced(conn, close):
        with pytest.raises(ValueError):
            operate(body)
        assert body.state == 3


@closings
@pytest.mark.parametrize('data', UNFINISHED)
def test_started_body_of_a_closed_connection(data, close):
    with unfinished(data) as (conn, body):
        part = body.readchunk() if body.chunked else body.read(2)
        assert part == ((None, b'hello') if body.chunked else b'he')
        with replaced(conn, close):
            with pytest.raises(ValueError):
                body.read()
            assert body.state == 3


@pytest.mark.parametrize('data', UNFINISHED)
def test_closed_behind_the_back_is_one_error(data):
    """Whichever way the body would have been read."""
    found = []
    for operate in (lambda body: body.read(),
                    lambda body: body.write_to(io.BytesIO())):
        with unfinished(data) as (conn, body):
            conn.sock.close()
            with pytest.raises(ValueError) as info:
                operate(body)
            found.append((type(info.value), str(info.value),
                          getattr(info.value, 'code', None), body.state))
    assert found[0] == found[1]


@pytest.mark.parametrize('timeout', [None, 5])
@pytest.mark.parametrize('operate', [
    lambda body: body.read(), list,
    lambda body: body.write_to(io.BytesIO())],
    ids=['read', 'iterate', 'write_to'])
@pytest.mark.parametrize('data', UNFINISHED, ids=['length', 'close', 'chunks'])
def test_closed_while_a_body_is_waited_for(data, operate, timeout):
    """By another thread: the one that waits is told at once, and until it has
    left, the number of the descriptor is nobody else's.  Nor is that the end
    of a body which the other side's close would end."""
    errors = []

    def wait(body):
        try:
            operate(body)
        except BaseException as error:
            errors.append(error)

    with unfinished(data, timeout) as (conn, body):
        thread = threading.Thread(target=wait, args=(body,), daemon=True)
        thread.start()
        until(lambda: body.state == 1)
        started = time.monotonic()
        conn.close()
        assert conn.closed
        (near, far) = socket.socketpair()
        with near, far:
            far.sendall(b'secret' * 20)
            thread.join(2)
            assert not thread.is_alive()
            assert time.monotonic() - started < 2
            kept = near.recv(1000, socket.MSG_DONTWAIT)
            assert kept == b'secret' * 20
        assert conn.sock.fileno() == -1
    assert len(errors) == 1 and isinstance(errors[0], (OSError, ValueError))
    assert body.state == 3 and conn.closed


@pytest.mark.parametrize('data', UNFINISHED, ids=['length', 'close', 'chunks'])
def test_closed_by_the_file_that_takes_the_body(data):
    """What it was given before is not all, and is not taken for it."""
    class Closing:
        def write(self, data):
            conn.close()
            return len(data)

    with unfinished(data) as (conn, body):
        with pytest.raises((OSError, ValueError)):
            body.write_to(Closing())
        assert body.state == 3 and conn.closed
        assert conn.sock.fileno() == -1


# -------------------------------------------------------- other kinds of socket

class Wrapper:
    """A socket in other clothes, such as a TLS one."""

    def __init__(self, sock):
        self.sock = sock

    def recv_into(self, buf):
        return self.sock.recv_into(buf)

    def send(self, data):
        return self.sock.send(data)

    def close(self):
        self.sock.close()


class Derived(socket.socket):
    """A subclass means to be called."""

    calls = 0

    def send(self, data, *args):
        Derived.calls += 1
        return super().send(data, *args)


def test_wrapped_socket(near):
    app = App(lambda session, request, api: (
        200, 'OK', {}, request.body and request.body.read()))
    with Running(app, near) as running:
        conn = Connection(Wrapper(dial(running.address)), None)
        data = bytes(range(256)) * 4000
        for _ in range(2):
            assert conn.get('/', {}) == (200, 'OK', {}, None)
            assert conn.put('/', {}, data).body.read() == data
        conn.close()


def test_derived_socket():
    Derived.calls = 0
    with Running(App()) as running:
        sock = Derived(socket.AF_UNIX)
        sock.connect(running.address)
        conn = Connection(sock, None)
        assert conn.get('/', {}).body.read() == b'hello'
        conn.close()
    assert Derived.calls == 1


def test_socketpair():
    (ours, theirs) = socket.socketpair()

    def run():
        receive_head(theirs)
        theirs.sendall(HELLO)

    thread = threading.Thread(target=run)
    thread.start()
    with theirs:
        conn = Connection(ours, None)
        assert conn.get('/', {}).body.read() == b'hello'
        thread.join()
        conn.close()


def test_non_blocking_socket_is_refused():
    (ours, theirs) = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        with pytest.raises(ValueError):
            Connection(ours, None)
        assert ours.fileno() != -1


@pytest.mark.parametrize('returned, error', [
    (None, TypeError), ('5', TypeError), (True, TypeError), (5.0, TypeError),
    (-1, ValueError), (10**6, ValueError),
    (2**70, (ValueError, OverflowError))])
def test_bad_socket_object(returned, error):
    class BadRead(Script):
        def recv_into(self, buf):
            return returned

    class BadWrite(Script):
        def send(self, data):
            return returned

    for kind in (BadRead, BadWrite):
        sock = kind(HELLO)
        conn = Connection(sock, None)
        with pytest.raises(error):
            conn.get('/', {})
        assert conn.closed and sock.closed == 1


def test_send_that_sends_nothing():
    class Stuck(Script):
        def send(self, data):
            return 0

    conn = Connection(Stuck(HELLO), None)
    with pytest.raises(OSError):
        conn.get('/', {})
    assert conn.closed


@pytest.mark.parametrize('error', [KeyError, OSError, TimeoutError, SystemExit,
                                   KeyboardInterrupt, GeneratorExit])
def test_socket_object_raises(error):
    """The exception is the one that the caller sees."""
    class BadRead(Script):
        def recv_into(self, buf):
            raise error('here')

    class BadWrite(Script):
        def send(self, data):
            raise error('here')

    for kind in (BadRead, BadWrite):
        conn = Connection(kind(), None)
        with pytest.raises(error):
            conn.get('/', {})
        assert conn.closed


# --------------------------------------------------------------- bodies sent

class Oops(Exception):
    pass


@pytest.mark.parametrize('items', [
    [b'x' * 100000], [b'x' * 100000, b'y' * 100000]])
def test_body_source_raises(items):
    """The caller sees the exception, the server a cut."""
    def source():
        yield from items
        raise Oops('here')

    for (body, wrap) in [(api.BodyIter(source(), 200000), None),
                         (api.ChunkedBodyIter((None, item)
                                              for item in source()), None)]:
        sock = Script(EMPTY)
        conn = Connection(sock, None)
        with pytest.raises(Oops):
            conn.put('/', {}, body)
        assert body.state == 3
        assert conn.closed or sock.sent == b''
        assert not sock.sent.endswith(b'0\r\n\r\n')


def test_source_that_raises_at_once():
    """Nothing has left: the connection is as good as before."""
    def source():
        raise Oops('here')
        yield

    sock = Script(EMPTY)
    conn = Connection(sock, None)
    with pytest.raises(Oops):
        conn.put('/', {}, api.BodyIter(source(), 5))
    assert sock.sent == b'' and not conn.closed
    assert conn.get('/', {}) == (200, 'OK', {}, None)


def test_memory_of_the_body_is_held():
    """A bytearray cannot shrink under the feet of what sends it."""
    data = bytearray(b'x' * 100)

    class Nosy(Script):
        def send(self, out):
            with pytest.raises(BufferError):
                data.clear()
            return super().send(out)

    sock = Nosy(EMPTY)
    Connection(sock, None).put('/', {}, data)
    assert sock.sent.endswith(b'x' * 100)
    data.clear()


class Emptying:
    """A source that empties the dict of headers as soon as it is asked for
    its items, and has the memory used again."""

    def __init__(self, headers, items):
        self.headers = headers
        self.items = items

    def __iter__(self):
        self.headers.clear()
        self.kept = ['another {} '.format(n) * 4 for n in range(1000)]
        return iter(self.items)


def fresh_headers():
    """A dict that alone keeps its names and values, and its lines."""
    headers = {'x-name-{}'.format(n): 'value {}'.format(n) * 4
               for n in range(40)}
    headers['x-number'] = 10**15 + len(headers)
    lines = sorted('{}: {}'.format(*item).encode() for item in headers.items())
    return (headers, lines)


def emptying(headers, items):
    """The same by a generator, when it is asked for its first item."""
    yield from Emptying(headers, items)


@pytest.mark.parametrize('source', [Emptying, emptying])
@pytest.mark.parametrize('size', [5, 100000])
@pytest.mark.parametrize('kind', ['length', 'chunked'])
def test_source_that_empties_the_headers(kind, size, source):
    """What was given is what is sent."""
    for most in (None, 1000):
        (headers, lines) = fresh_headers()
        if kind == 'length':
            body = api.BodyIter(source(headers, [b'x' * size] * 2), 2 * size)
            lines.append(b'content-length: %d' % (2 * size))
        else:
            body = api.ChunkedBodyIter(source(
                headers, [(None, b'x' * size), (None, b'')]))
            lines.append(b'transfer-encoding: chunked')
        sock = Script(EMPTY, most=most)
        conn = Connection(sock, None)
        assert conn.put('/', headers, body) == (200, 'OK', {}, None)
        assert headers == {} and body.state == 2
        (head, sent) = sock.sent.split(b'\r\n\r\n', 1)
        assert sorted(head.split(b'\r\n')[1:]) == sorted(lines)
        assert sent.count(b'x') == size * (2 if kind == 'length' else 1)


@pytest.mark.parametrize('source', [Emptying, emptying])
@pytest.mark.parametrize('count', [0, 1, 2])
def test_source_that_empties_the_headers_and_raises(count, source):
    """Before the first byte has left, and behind it."""
    def items():
        yield from [b'x' * 100000] * count
        raise Oops('here')

    (headers, lines) = fresh_headers()
    sock = Script(EMPTY)
    conn = Connection(sock, None)
    body = api.BodyIter(source(headers, items()), 300000)
    with pytest.raises(Oops):
        conn.put('/', headers, body)
    assert headers == {} and body.state == 3
    assert conn.closed == bool(sock.sent)
    if sock.sent:
        head = sock.sent.split(b'\r\n\r\n')[0]
        assert sorted(head.split(b'\r\n')[1:]) == sorted(
            lines + [b'content-length: 300000'])


@pytest.mark.parametrize('source', [Emptying, emptying])
def test_source_that_empties_headers_that_are_refused(source):
    """The message names the line at fault, which is gone from the dict."""
    (headers, _) = fresh_headers()
    headers['x-culprit-{}'.format(len(headers))] = 'a\n' * len(headers)
    sock = Script(EMPTY)
    conn = Connection(sock, None)
    with pytest.raises(ValueError, match='x-culprit-41'):
        conn.put('/', headers, api.BodyIter(source(headers, [b'hello']), 5))
    assert sock.sent == b'' and not conn.closed


def test_source_that_uses_its_own_connection():
    """Nothing may be sent in the middle of a message."""
    sock = Script(EMPTY + EMPTY, len(EMPTY))
    conn = Connection(sock, None)
    errors = []

    def source():
        try:
            conn.get('/', {})
        except Exception as error:
            errors.append(error)
        yield b'hello'

    conn.put('/', {}, api.BodyIter(source(), 5))
    assert len(errors) == 1
    assert sock.sent.count(b'HTTP/1.1') == 1
    assert sock.sent.endswith(b'\r\n\r\nhello')


def test_source_that_closes_its_own_connection():
    sock = Script(EMPTY)
    conn = Connection(sock, None)

    def source():
        yield b'he'
        conn.close()
        yield b'llo'

    try:
        conn.put('/', {}, api.BodyIter(source(), 5))
    except (ValueError, OSError):
        pass
    assert conn.closed and sock.closed == 1


def test_own_response_as_body():
    """A connection cannot send what it has yet to receive."""
    conn = Connection(Script(HELLO), None)
    body = conn.get('/', {}).body
    with pytest.raises((ValueError, RuntimeError)):
        conn.put('/', {}, body)


def test_proxy():
    """Request and response handed on through both ends, chunks and all."""
    def app(session, request, api):
        if request.body is None:
            return (200, 'OK', {'a': 'b'}, None)
        chunks = list(request.body)
        return (200, 'OK', {'a': 'b'}, api.ChunkedBodyIter(chunks))

    def proxy(session, request, api):
        conn = session.store.get('conn')
        if conn is None:
            conn = session.store['conn'] = Client(behind.address).connect()
        return conn.request(request.method, request.build_proxy_uri(),
                            request.headers, request.body)

    chunks = [(('k', 'v'), b'hello'), (None, b'world' * 10000), (None, b'')]
    with Running(app) as behind, Running(proxy) as front:
        conn = Client(front.address).connect()
        for _ in range(3):
            response = conn.post('/', {}, api.ChunkedBodyIter(chunks))
            assert list(response.body) == chunks
            assert response.headers == {'a': 'b',
                                        'transfer-encoding': 'chunked'}
            assert conn.get('/', {}) == (200, 'OK', {'a': 'b'}, None)
        conn.close()


# -------------------------------------------------------------------- threads

def test_two_threads():
    """S23: one at a time; the other is told, and nothing is mixed up."""
    go = threading.Event()
    inside = threading.Event()

    def app(session, request, api):
        inside.set()
        assert go.wait(WAIT)
        return (200, 'OK', {}, b'hello')

    results = []
    with Running(app) as running:
        conn = Client(running.address).connect()
        thread = threading.Thread(
            target=lambda: results.append(conn.get('/', {})))
        thread.start()
        assert inside.wait(WAIT)
        for call in (lambda: conn.get('/', {}),
                     lambda: conn.put('/', {}, b'x')):
            with pytest.raises(RuntimeError):
                call()
        go.set()
        thread.join()
        assert results[0].body.read() == b'hello'
        assert not conn.closed
        conn.close()


def test_many_threads():
    """Every call gives its own answer, or raises."""
    def app(session, request, api):
        return (200, 'OK', {}, request.uri.encode() * 100)

    wrong = []

    def run(number):
        for count in range(200):
            uri = '/{}/{}'.format(number, count)
            try:
                got = conn.get(uri, {}).body.read()
            except (ValueError, RuntimeError):
                continue
            except BaseException as error:
                wrong.append(error)
                return
            if got != uri.encode() * 100:
                wrong.append((uri, got))

    with Running(app, max_requests=10**6) as running:
        conn = Client(running.address).connect()
        threads = [threading.Thread(target=run, args=(number,))
                   for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        conn.close()


def test_body_in_many_threads():
    """S23: never a byte twice."""
    size = 200000
    data = bytes(range(256)) * (size // 256)
    body = api.Body(Slow(data), len(data))
    got = []

    def run():
        while body.state < 2:
            try:
                part = body.read(61)
            except (ValueError, RuntimeError):
                continue
            got.append(len(part))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(got) == len(data)


class Slow:
    """A file in which other threads get their turn."""

    def __init__(self, data):
        self.data = memoryview(data)

    def readinto(self, buf):
        time.sleep(0)
        count = min(len(buf), len(self.data))
        buf[:count] = self.data[:count]
        self.data = self.data[count:]
        return count


def test_closed_by_another_thread():
    """close() while a call waits: that call ends, with an exception."""
    inside = threading.Event()
    errors = []

    def run(sock):
        receive_head(sock)
        inside.set()
        with contextlib.suppress(ConnectionResetError):
            assert everything(sock) == b''

    def wait():
        try:
            conn.get('/', {})
        except BaseException as error:
            errors.append(error)

    with listening(run) as address:
        conn = Client(address, timeout=1).connect()
        thread = threading.Thread(target=wait)
        thread.start()
        assert inside.wait(WAIT)
        conn.close()
        thread.join(WAIT)
        assert not thread.is_alive()
    assert len(errors) == 1 and isinstance(errors[0], (OSError, ValueError))
    assert conn.closed


# --------------------------------------------------------------------- signals

BLOCKED = '''
import io, socket, threading, time
from degu.base import Connection
(ours, theirs) = socket.socketpair()
ours.settimeout({timeout})
conn = Connection(ours, None)
body = None

def talk():
    theirs.recv(1000)
    theirs.sendall({data!r})
    while {reads} and (body is None or body.state == 0):
        time.sleep(0.001)
    print('ready', flush=True)

threading.Thread(target=talk, daemon=True).start()
try:
    {call}
except KeyboardInterrupt:
    print('interrupted', conn.closed, flush=True)
'''


@pytest.mark.parametrize('timeout', [None, 30])
@pytest.mark.parametrize('data, call', [
    (b'HTTP/1.1 200', "conn.get('/', {})"),
    (HELLO[:-1], "body = conn.get('/', {}).body; body.read()"),
    (HELLO[:-1], "body = conn.get('/', {}).body; body.write_to(io.BytesIO())"),
    (b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n',
     "body = conn.get('/', {}).body; body.readchunk()"),
    (b'', "conn.put('/', {}, b'x' * 50000000)")])
def test_keyboard_interrupt(timeout, data, call):
    """Ctrl-C works in a client that waits in the kernel.  A signal that comes
    just before the call that waits does not end it, as with CPython's own
    sockets, so the child must be asleep when it is sent."""
    code = BLOCKED.format(timeout=timeout, data=data, call=call,
                          reads=call.startswith('body'))
    with child(code) as process:
        assert process.stdout.readline() == 'ready\n'
        until(lambda: is_asleep(process))
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        (output, errors) = process.communicate(timeout=5)
        assert (output, errors) == ('interrupted True\n', '')
        assert time.monotonic() - started < 2


def test_signals_do_not_extend_the_time():
    """A handler that returns is run, and the call goes on with what is left
    of its time (PEP 475)."""
    code = '''
import signal, socket, time
from degu.base import Connection
count = 0

def handler(*args):
    global count
    count += 1

signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
(ours, theirs) = socket.socketpair()
ours.settimeout(0.4)
started = time.monotonic()
try:
    Connection(ours, None).get('/', {})
except TimeoutError:
    print(count > 3, 0.35 < time.monotonic() - started < 2)
# An interpreter that ends puts back what the signal does by default.
signal.setitimer(signal.ITIMER_REAL, 0)
'''
    assert outcome(code) == (0, 'True True\n', '')


def test_types():
    """What reads a connection is told by its class."""
    sock = Script(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'
                  b'0\r\n\r\n')
    assert type(Connection(sock, None).get('/', {}).body) is ChunkedBody
    assert type(Connection(Script(HELLO), None).get('/', {}).body) is Body
