# SPDX-License-Identifier: MIT OR 0BSD
"""degu.misc: requests by hand, header lines, chunks, RequestLogger; and what a
server logs."""

import io
import json
import logging
import re

import hypothesis
import hypothesis.strategies as st
import pytest

from degu.base import ContentRange, ProtocolError, Range, Request
from degu.misc import (
    RequestLogger,
    format_headers,
    format_request,
    format_response,
    mkreq,
    mkuri,
    parse_headers,
    write_chunk,
)
from peers import (
    Running,
    answers,
    dial,
    everything,
    is_bare,
    receive_head,
    talk,
    until,
)

LAST = b'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'
ONES = ('host', 'content-length', 'transfer-encoding', 'content-type',
        'content-range', 'range', 'authorization', 'expect', 'if-match',
        'if-none-match', 'if-modified-since', 'if-unmodified-since',
        'if-range', 'location', 'etag', 'date')


# -------------------------------------------------------------------- requests

@pytest.mark.parametrize('uri, shift, mount, path, query', [
    ('/', 0, [], [], None), ('/?', 0, [], [], ''), ('/?a', 0, [], [], 'a'),
    ('/a', 0, [], ['a'], None), ('/a', 1, ['a'], [], None),
    ('/a/', 1, ['a'], [''], None), ('/a/b?c?d', 1, ['a'], ['b'], 'c?d'),
    ('/a/b/', 3, ['a', 'b', ''], [], None), ('/a?b/c', 0, [], ['a'], 'b/c'),
    ('/%2f', 0, [], ['%2f'], None), ('//', 0, [], ['', ''], None)])
def test_mkreq(uri, shift, mount, path, query):
    request = mkreq('GET', uri, shift=shift)
    assert type(request) is Request
    assert (request.uri, request.mount, request.path, request.query) == (
        uri, mount, path, query)
    assert (request.headers, request.body) == ({}, None)
    for _ in range(len(path)):
        assert request.shift_path() is not None
    assert request.shift_path() is None


def test_mkreq_hands_on_what_it_is_given():
    headers = {}
    body = object()
    request = mkreq('PUT', '/', headers, body)
    assert request.headers is headers and request.body is body
    assert mkreq('GET', '/').headers is not mkreq('GET', '/').headers
    assert mkreq('GET', '/a', cls=dict)['path'] == ['a']


@pytest.mark.parametrize('args, error', [
    (('get', '/'), ValueError), ((5, '/'), TypeError),
    (('GET', '/', None, None, -1), ValueError),
    (('GET', '/', None, None, '1'), TypeError),
    (('GET', '/', None, None, True), TypeError),
    (('GET', '/', None, None, 1), IndexError),
    (('GET', '/a', None, None, 2), IndexError)])
def test_mkreq_refuses(args, error):
    with pytest.raises(error):
        mkreq(*args)


@pytest.mark.parametrize('parts, query, uri', [
    ((), None, '/'), ((), '', '/?'), (('a',), None, '/a'),
    (('a', ''), 'b', '/a/?b'), (('',), None, '/')])
def test_mkuri(parts, query, uri):
    assert mkuri(*parts, query=query) == uri


def test_mkreq_is_what_an_app_gets():
    seen = []

    def app(request):
        seen.append(dict(request))
        return (200, 'OK', {}, None)

    uris = ['/', '/?', '/a/b/?c=d', '/a%20b', '/a;b=c@d?/?']
    with Running(app) as running, dial(running.address) as sock:
        for uri in uris:
            sock.sendall(format_request('GET', uri, {'a': 'b'})
                         + b'\r\n\r\n')
            receive_head(sock)
    assert seen == [dict(mkreq('GET', uri, {'a': 'b'})) for uri in uris]


# ------------------------------------------------------------------- the table

GOOD = [
    (b'', {}), (b'a: b', {'a': 'b'}), (b'A-B: c', {'a-b': 'c'}),
    (b'a:b', {'a': 'b'}), (b'a:  b', {'a': 'b'}), (b'a: b ', {'a': 'b'}),
    (b'a:\t b\t \t', {'a': 'b'}), (b'a:', {'a': ''}), (b'a: ', {'a': ''}),
    (b'a: b  c\td', {'a': 'b  c\td'}), (b'_.!#$%&\'*+^`|~1: b', {
        '_.!#$%&\'*+^`|~1': 'b'}),
    (b'a: !"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~', {
        'a': '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~'}),
    (b'a: b\r\nc: d', {'a': 'b', 'c': 'd'}), (b'a: b\r\nA: c', {'a': 'b, c'}),
    (b'a: b\r\nx: y\r\na: c\r\na:', {'a': 'b, c, ', 'x': 'y'}),
    (b'set-cookie: a\r\nSet-Cookie: b, c', {'set-cookie': ['a', 'b, c']}),
    (b'set-cookie: a', {'set-cookie': 'a'}),
    (b'n' * 64 + b': b', {'n' * 64: 'b'}),
    (b'content-length: 5', {'content-length': 5}),
    (b'content-length: 0', {}),
    (b'content-length: 9999999999999999', {'content-length': 10**16 - 1}),
    (b'transfer-encoding: chunked', {'transfer-encoding': 'chunked'}),
    (b'transfer-encoding: CHUNKED', {'transfer-encoding': 'CHUNKED'}),
    (b'connection: close\r\nkeep-alive: a\r\nproxy-connection: b', {}),
    (b'connection: keep-alive\r\na: b', {'a': 'b'}),
    (b'content-type: a/b', {'content-type': 'a/b'}),
    (b'\r\n'.join([b'a: b'] * 64), {'a': ', '.join('b' * 64)})]

REQUESTS = [
    (b'range: bytes=0-4', {'range': Range(0, 5)}),
    (b'range: bytes=5-', {'range': 'bytes=5-'}),
    (b'range: bytes=-5', {'range': 'bytes=-5'}),
    (b'range: bytes=9-1', {'range': 'bytes=9-1'}),
    (b'range: bytes=01-2', {'range': 'bytes=01-2'}),
    (b'range: bytes=0-1,3-4', {'range': 'bytes=0-1,3-4'}),
    (b'range: lines=0-1', {'range': 'lines=0-1'}),
    (b'expect: 100-continue\r\ncontent-length: 5', {'content-length': 5}),
    (b'host: a', {'host': 'a'}), (b'host:', {'host': ''}),
    (b'host: [::1]:80', {'host': '[::1]:80'})]

RESPONSES = [
    (b'content-range: bytes 0-4/9', {'content-range': ContentRange(0, 5, 9)}),
    (b'content-range: bytes */9', {'content-range': 'bytes */9'}),
    (b'content-range: bytes 0-4/*', {'content-range': 'bytes 0-4/*'})]

BAD = [
    b'a', b': b', b'a : b', b' a: b', b'a: b\r\n c', b'a: b\r\n\tc: d',
    b'a b: c', b'\xe9: b', b'a: \xe9', b'a: \0', b'a: \x7f', b'a: b\nc: d',
    b'a: b\rc: d', b'a: b\r\n', b'\r\na: b', b'\r\n', b'a: b\r\n\r\nc: d',
    b'a(: b', b'a: b\r', b'a: b\n', b'n' * 65 + b': b', b'a: ' + b'x' * 40000,
    b'\r\n'.join([b'a: b'] * 65),
    b'content-length: 05', b'content-length: +5', b'content-length: 5 5',
    b'content-length: 5,5', b'content-length: 10000000000000000',
    b'content-length:', b'content-length: -1', b'content-length: 0x5',
    b'content-length: 5\r\ntransfer-encoding: chunked',
    b'transfer-encoding: gzip', b'transfer-encoding: gzip, chunked',
    b'transfer-encoding: chunked, chunked', b'transfer-encoding:',
    *[b'%s: %s\r\n%s: %s' % (name.encode(), value, name.upper().encode(),
                              value)
      for name in ONES for value in (b'a', b'5')]]

BAD_REQUESTS = [
    b'content-range: bytes 0-4/9', b'content-length: 5\r\nrange: bytes=0-4',
    b'transfer-encoding: chunked\r\nrange: bytes=0-4', b'host: a b',
    b'host: a/b', b'host: u@a', b'host: :80', b'host: a:65536',
    b'expect: 200-ok']

BAD_RESPONSES = [b'range: bytes=0-4']


@pytest.mark.parametrize('lines, want', GOOD)
@pytest.mark.parametrize('isresponse', [False, True])
def test_parse_headers(lines, want, isresponse):
    for src in (lines, bytearray(lines), memoryview(lines)):
        got = parse_headers(src, isresponse)
        assert got == want and list(got) == list(want)
        assert [type(value) for value in got.values()] == [
            type(value) for value in want.values()]


@pytest.mark.parametrize('lines, want, isresponse', [
    *[(*case, False) for case in REQUESTS],
    *[(*case, True) for case in RESPONSES]])
def test_parse_headers_of_one_kind(lines, want, isresponse):
    assert parse_headers(lines, isresponse) == want
    assert isresponse or parse_headers(lines) == want


@pytest.mark.parametrize('lines, isresponse', [
    *[(lines, isresponse) for lines in BAD for isresponse in (False, True)],
    *[(lines, False) for lines in BAD_REQUESTS],
    *[(lines, True) for lines in BAD_RESPONSES]])
def test_parse_headers_refuses(lines, isresponse):
    """With a place inside what was given."""
    with pytest.raises(ProtocolError) as info:
        parse_headers(lines, isresponse)
    assert info.value.code.startswith('E_')
    assert info.value.offset is None or 0 <= info.value.offset <= len(lines)


@pytest.mark.parametrize('lines, offset', [
    (b'a: b\r\nc d: e', 7), (b'a: \0', 3), (b'\xe9: a', 0)])
def test_parse_headers_tells_the_place(lines, offset):
    with pytest.raises(ProtocolError) as info:
        parse_headers(lines)
    assert info.value.offset == offset


@pytest.mark.parametrize('args', [
    (), ('a: b',), (5,), (None,), ([b'a'],), (b'', 1), (b'', None),
    (b'', 'x'), (b'', True, 5)])
def test_parse_headers_arguments(args):
    with pytest.raises(TypeError):
        parse_headers(*args)


# ----------------------------------------------------------------------- bytes

@pytest.mark.parametrize('headers, want', [
    ({}, b''), ({'a': 'b'}, b'a: b'),
    ({'b': 5, 'a': Range(0, 5)}, b'a: bytes=0-4\r\nb: 5'),
    ({'a': 'x\r\ny'}, b'a: x\r\ny'), ({'A ': '\xe9'}, b'A : \xc3\xa9')])
def test_format(headers, want):
    """Bad lines too: they are for raw sockets."""
    assert format_headers(headers) == want
    lines = b'\r\n' + want if want else b''
    assert format_request('GET', '/a', headers) == b'GET /a HTTP/1.1' + lines
    assert format_response(200, 'OK', headers) == b'HTTP/1.1 200 OK' + lines


class Slow:
    """Takes so many bytes at a time."""

    def __init__(self, most):
        self.most = most
        self.data = b''

    def write(self, data):
        self.data += bytes(data[:self.most])
        return min(self.most, len(data))


@pytest.mark.parametrize('chunk, want', [
    ((None, b'hello'), b'5\r\nhello\r\n'), ((None, b''), b'0\r\n\r\n'),
    ((('k', 'v'), b'x'), b'1;k=v\r\nx\r\n'), ((('k', None), b''),
                                              b'0;k\r\n\r\n'),
    ((None, bytearray(b'x' * 31)), b'1f\r\n' + b'x' * 31 + b'\r\n'),
    ((None, memoryview(b'ab')), b'2\r\nab\r\n')])
@pytest.mark.parametrize('most', [1, 3, 1000])
def test_write_chunk(chunk, want, most):
    file = Slow(most)
    assert write_chunk(file, chunk) == len(want)
    assert file.data == want


@pytest.mark.parametrize('chunk, error', [
    (None, TypeError), (b'x', TypeError), ((None,), TypeError),
    ([None, b'x'], TypeError), ((None, 'x'), TypeError),
    (('k', b'x'), TypeError), ((('k', 'v', 'w'), b'x'), TypeError),
    ((('k\r\n', 'v'), b'x'), ValueError), ((('', 'v'), b'x'), ValueError),
    ((('k', 'v\r\n'), b'x'), ValueError), ((None, b'x', 5), TypeError),
    ((None, bytes(16777217)), ValueError)])
def test_write_chunk_refuses(chunk, error):
    file = io.BytesIO()
    with pytest.raises(error):
        write_chunk(file, chunk)
    assert file.getvalue() == b''


@pytest.mark.parametrize('returned, error', [
    (None, TypeError), ('5', TypeError), (5.0, TypeError), (0, OSError),
    (-1, OSError), (9999, OSError), (True, TypeError)])
def test_write_chunk_of_a_bad_file(returned, error):
    """It does not write for ever."""
    class Bad:
        calls = 0

        def write(self, data):
            self.calls += 1
            assert self.calls < 3
            return returned

    with pytest.raises(error):
        write_chunk(Bad(), (None, b'hello'))


# --------------------------------------------------------------- RequestLogger

def of_three(session, request, api):
    return (200, 'OK', {}, b'hello')


def of_one(request):
    return (404, 'Not Found', {}, None)


@pytest.mark.parametrize('app, want', [
    (of_three, '200 OK'), (of_one, '404 Not Found')])
def test_request_logger(app, want, caplog):
    caplog.set_level(logging.INFO)
    logger = RequestLogger(app)
    assert logger.app is app and logger.on_connect is None
    with Running(logger) as running:
        talk(running.address, b'GET /a?b HTTP/1.1\r\n\r\n' + LAST)
    assert [record.getMessage() for record in caplog.records
            if record.name == 'degu.misc'] == [
        f'[0] GET /a?b --> {want}', f'[1] GET / --> {want}']


@pytest.mark.parametrize('handler, accepts', [
    (lambda session, sock: True, True), (lambda sock, session: True, True),
    (lambda session, sock: session is None, False),
    (lambda sock, session: sock.fileno() < 0, False), (None, True)])
def test_request_logger_hands_on_connect_on(handler, accepts):
    class Guarded:
        on_connect = staticmethod(handler) if handler else None

        def __call__(self, request):
            return of_one(request)

    for app in (RequestLogger(Guarded()),
                RequestLogger(RequestLogger(Guarded()))):
        with Running(app) as running:
            assert bool(talk_or_nothing(running.address)) is accepts


def talk_or_nothing(address):
    try:
        return talk(address, LAST)
    except ConnectionError:
        return b''


@pytest.mark.parametrize('wrong', [None, 5, lambda a, b: None])
def test_request_logger_checks_its_app(wrong):
    with pytest.raises(TypeError):
        RequestLogger(wrong)


@pytest.mark.parametrize('answer', [None, 5, (), (200,), KeyError('here')])
def test_request_logger_of_a_bad_app(answer):
    def app(request):
        if isinstance(answer, Exception):
            raise answer.with_traceback(None)
        return answer

    with Running(RequestLogger(app)) as running:
        assert is_bare(talk(running.address, LAST), 500)


# ----------------------------------------------------------- the server's log

@pytest.fixture
def logged(caplog):
    """(level, message) of degu.server"""
    caplog.set_level(logging.INFO)
    return lambda: [(record.levelname, record.getMessage())
                    for record in caplog.records
                    if record.name == 'degu.server']


def test_log_of_a_connection(logged):
    def app(session, request, api):
        return of_three(session, request, api)

    with Running(app, ('127.0.0.1', 0), timeout=7, max_connections=3,
                 max_requests=2) as running:
        with dial(running.address) as sock:
            peer = sock.getsockname()
            sock.sendall(LAST.replace(b'connection: close\r\n', b'') * 2)
            assert len(answers(everything(sock))) == 2
        address = running.address
    found = logged()
    assert found[:3] == [
        ('INFO', f'Starting Degu Server @ {address!r}'),
        ('INFO', '[timeout=7, max_connections=3, max_requests=2]'),
        ('INFO', f'+ {peer!r} New connection')]
    ((level, text),) = found[3:]
    assert level == 'INFO'
    assert text.startswith(f'- {peer!r} Handled 2 requests: ')


def test_log_of_a_rejected_peer(logged):
    def app(request):
        raise AssertionError

    app.on_connect = lambda session, sock: 1
    with Running(app, ('127.0.0.1', 0)) as running:
        with dial(running.address) as sock:
            peer = sock.getsockname()
            assert sock.recv(1) == b''
    assert ('WARNING', f'- {peer!r} Rejected by app.on_connect()') in logged()


def test_log_of_one_too_many(logged):
    with Running(of_three, ('127.0.0.1', 0), max_connections=1) as running:
        with dial(running.address) as first:
            first.sendall(LAST.replace(b'connection: close\r\n', b''))
            receive_head(first)
            with dial(running.address) as second:
                peer = second.getsockname()
                assert is_bare(everything(second), 503)
    until(lambda: ('WARNING', 'Too many connections, rejecting '
                   f'{peer!r}') in logged())


@pytest.mark.parametrize('app', [
    lambda request: 1 // 0, lambda request: None])
def test_log_of_a_failed_app(app, logged, caplog):
    with Running(app, ('127.0.0.1', 0)) as running:
        with dial(running.address) as sock:
            peer = sock.getsockname()
            sock.sendall(LAST)
            assert is_bare(everything(sock), 500)
    ((level, text),) = [entry for entry in logged() if entry[0] != 'INFO']
    assert (level, text) == (
        'ERROR', f'- {peer!r} Error after handling 0 requests:')
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.exc_info[2] is not None or record.exc_info[1]


def test_log_takes_nothing_of_the_peer_as_it_is(logged):
    """No line of the log can be written by a request."""
    with Running(of_three) as running:
        for data in (b'GET /\r\nfake: line\x1b[31m HTTP/1.1\r\n\r\n',
                     b'\n- forged\n\r\n\r\n', LAST):
            talk(running.address, data)
    for (_, text) in logged():
        assert text.isprintable() and 'forged' not in text


# ----------------------------------------- the lines, as a server takes them

@pytest.fixture(scope='module')
def served():
    """An app that tells the headers it got."""
    def app(session, request, api):
        text = json.dumps(request.headers, default=str, sort_keys=True)
        return (200, 'OK', {}, text.encode())

    with Running(app) as running:
        yield running


def ask(served, lines):
    """What a real server's app gets for these lines; None if it refuses."""
    body = b''
    if re.search(rb'(?i)transfer-encoding:', lines):
        body = b'5\r\nhello\r\n0\r\n\r\n'
    data = (b'PUT / HTTP/1.1\r\n' + lines + (b'\r\n' if lines else b'')
            + b'\r\n' + body)
    with dial(served.address) as sock:
        sock.sendall(data)
        sock.shutdown(1)
        found = everything(sock)
    # A body that nobody reads is no matter: its answer goes out.
    match = re.match(rb'HTTP/1\.1 200 OK\r\n.*?\r\n\r\n(.*)', found, re.S)
    return match and json.loads(match[1][:int(re.search(
        rb'content-length: (\d+)', found)[1])])


def parsed(lines):
    try:
        return json.loads(json.dumps(parse_headers(lines), default=str))
    except ProtocolError:
        return None


@pytest.mark.parametrize('lines', [
    lines for lines in [*[case[0] for case in GOOD + REQUESTS], *BAD,
                        *BAD_REQUESTS]
    if not lines.startswith(b'\r\n') and b'\r\n\r\n' not in lines
    and not lines.endswith(b'\r\n')])
def test_parse_headers_agrees_with_a_server(served, lines):
    assert parsed(lines) == ask(served, lines)


NAMES = st.sampled_from([
    b'a', b'A', b'x-y', b'content-length', b'Content-Length', b'range',
    b'transfer-encoding', b'host', b'set-cookie', b'connection', b'expect',
    b'content-range', b'a ', b' a', b'', b'\xe9', b'etag', b'keep-alive'])
VALUES = st.one_of(
    st.sampled_from([b'5', b'0', b'chunked', b'close', b'bytes=0-4', b'a, b',
                     b'100-continue', b'', b'bytes 0-4/5', b'[::1]:8']),
    st.binary(max_size=8))
GAPS = st.sampled_from([b': ', b':', b':\t', b' : ', b':  ', b''])
LINES = st.lists(st.tuples(NAMES, GAPS, VALUES).map(b''.join), max_size=5)


@hypothesis.given(LINES.map(b'\r\n'.join))
@hypothesis.settings(max_examples=150, suppress_health_check=list(
    hypothesis.HealthCheck))
def test_parse_headers_agrees_with_a_server_on_anything(served, lines):
    if b'\r\n\r\n' in b'\r\n' + lines + b'\r\n':
        return  # the end of a head, for a server
    assert parsed(lines) == ask(served, lines)
