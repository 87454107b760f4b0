# SPDX-License-Identifier: MIT OR 0BSD
"""Everything that D2 lists, from raw sockets: the exact status, connection:
close and nothing more; the app is not called, or can do no harm; the next
connection is unharmed."""

import io
import logging
import socket
import threading

import pytest

from degu.base import Connection, ProtocolError, TruncatedError, api
from peers import (
    App,
    Running,
    answers,
    dial,
    everything,
    is_bare,
    listening,
    receive_head,
    talk,
)

GET = b'GET / HTTP/1.1\r\n\r\n'
LAST = b'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'
READ_MAX = 16777216


class Switch(App):
    """Does what the test says, or says hello."""

    def __init__(self):
        super().__init__()
        self.hello = self.answer


@pytest.fixture(scope='module', params=['unix', 'tcp'])
def served(request):
    address = b'' if request.param == 'unix' else ('127.0.0.1', 0)
    app = Switch()
    with Running(app, address, timeout=20) as running:
        running.app = app
        yield running


@pytest.fixture
def app(served):
    """The app under test; afterwards the next connection is tried."""
    served.app.answer = served.app.hello
    served.app.calls = 0
    yield served.app
    served.app.answer = served.app.hello
    (answer,) = answers(talk(served.address, LAST))
    assert (answer.status, answer.body) == (200, b'hello')


def head(*lines, method=b'GET', target=b'/', version=b'HTTP/1.1'):
    return b'\r\n'.join([b' '.join([method, target, version]), *lines,
                         b'', b''])


# ----------------------------------------------------------------------- heads

MALFORMED = [
    b'\r\n' + GET, b'\n', b'GET / HTTP/1.1\n\n', b'GET / HTTP/1.1\r\r\n',
    b'GET / HTTP/1.1\r\na: b\n\r\n', b'GET /\r\n\r\n', b' GET / HTTP/1.1\r\n',
    b'GET  / HTTP/1.1\r\n\r\n', b'GET /  HTTP/1.1\r\n\r\n',
    b'GET / HTTP/1.1 \r\n\r\n', b'GET / http/1.1\r\n\r\n',
    b'GET / HTTP/1.1\0\r\n\r\n', b'GET\0/ HTTP/1.1\r\n\r\n',
    b'G@T / HTTP/1.1\r\n\r\n', b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    b'GET * HTTP/1.1\r\n\r\n', b'GET http://a/ HTTP/1.1\r\n\r\n',
    b'GET a:80 HTTP/1.1\r\n\r\n', b'GET /#a HTTP/1.1\r\n\r\n',
    b'GET //a HTTP/1.1\r\n\r\n', b'GET /a//b HTTP/1.1\r\n\r\n',
    b'GET /../a HTTP/1.1\r\n\r\n', b'GET /%2e%2E/a HTTP/1.1\r\n\r\n',
    b'GET /./a HTTP/1.1\r\n\r\n', b'GET /%00 HTTP/1.1\r\n\r\n',
    b'GET /%2f HTTP/1.1\r\n\r\n', b'GET /%5C HTTP/1.1\r\n\r\n',
    b'GET /%2 HTTP/1.1\r\n\r\n', b'GET /%gg HTTP/1.1\r\n\r\n',
    b'GET /\xc3\xa9 HTTP/1.1\r\n\r\n', b'GET /" HTTP/1.1\r\n\r\n',
    head(b'a'), head(b'a b: c'), head(b'a : b'), head(b': b'),
    head(b' a: b'), head(b'a: b', b' c'), head(b'a: b', b'\tc: d'),
    head(b'a: \0'), head(b'a: \x7f'), head(b'a: \xe9'), head(b'a: b\rc'),
    head(b'\xe9: b'), head(b'host: a', b'Host: a'), head(b'host: a b'),
    head(b'host: a:65536'), head(b'host: :80'), head(b'host: [v1.a]'),
    head(b'host: a/b'), head(b'host: u@a'), head(b'range: bytes=0-1') and
    head(b'range: bytes=0-1', b'range: bytes=0-1'),
    head(b'content-range: bytes 0-1/5'),
    head(b'content-length: 5'), head(b'transfer-encoding: chunked'),
    head(b'content-length: 5', method=b'HEAD'),
    head(b'content-length: 5', method=b'DELETE'),
    head(b'content-length: 5', method=b'OPTIONS'),
]

FRAMING = [
    (b'content-length: +5',), (b'content-length: -5',),
    (b'content-length: 05',),
    (b'content-length: 5,5',), (b'content-length: 5 5',),
    (b'content-length: 0x5',), (b'content-length:',),
    (b'content-length: 99999999999999999',), (b'content-length: 5a',),
    (b'content-length: 5', b'content-length: 5'),
    (b'content-length: 0', b'Content-Length: 0'),
    (b'content-length: 5', b'content-length: 6'),
    (b'content-length: 5', b'transfer-encoding: chunked'),
    (b'transfer-encoding: chunked', b'content-length: 5'),
    (b'transfer-encoding: chunked', b'transfer-encoding: chunked'),
    (b'transfer-encoding:',),
    (b'content-length: 5', b'range: bytes=0-1'),
    (b'transfer-encoding: chunked', b'range: bytes=0-1'),
]


@pytest.mark.parametrize('data', MALFORMED + [
    head(*lines, method=b'PUT') + b'hello' for lines in FRAMING])
@pytest.mark.parametrize('step', [None, 1])
def test_malformed(served, app, data, step):
    assert is_bare(talk(served.address, data, step, end=True), 400)
    assert app.calls == 0


@pytest.mark.parametrize('data, status', [
    (head(b'expect: 200-ok'), 417),
    (head(b'expect: 100-continue, x'), 417),
    (head(method=b'TRACE'), 501), (head(method=b'CONNECT'), 501),
    (head(method=b'get'), 501), (head(method=b'GETX'), 501),
    (head(method=b'PROPFIND'), 501),
    (head(b'transfer-encoding: gzip', method=b'PUT'), 501),
    (head(b'transfer-encoding: gzip, chunked', method=b'PUT'), 501),
    (head(b'transfer-encoding: chunked, chunked', method=b'PUT'), 501),
    (head(b'transfer-encoding: identity', method=b'PUT'), 501),
    (head(version=b'HTTP/1.0'), 505), (head(version=b'HTTP/1.2'), 505),
    (head(version=b'HTTP/2.0'), 505), (head(version=b'HTTP/0.9'), 505),
    (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 501)])
@pytest.mark.parametrize('step', [None, 1])
def test_not_for_us(served, app, data, status, step):
    (answer,) = answers(talk(served.address, data, step, end=True))
    if data.startswith(b'PRI'):
        # Three faults at once; which one is named is nobody's business.
        status = answer.status
    assert answer == (status, answer.reason, {
        'content-length': '0', 'connection': 'close'}, b'')
    assert app.calls == 0


def sized_head(size, first=b'GET / HTTP/1.1\r\n'):
    """A head of this many bytes, CR LF CR LF included."""
    rest = size - len(first) - len(b'a: \r\n\r\n')
    return first + b'a: ' + b'x' * rest + b'\r\n\r\n'


def sized_line(size):
    """A head of one line of this many bytes, with its CR LF CR LF."""
    return b'GET /' + b'a' * (size - 18) + b' HTTP/1.1\r\n\r\n'


@pytest.mark.parametrize('good, bad, status', [
    (sized_head(32768), sized_head(32769), 431),
    (sized_line(32768), b'GET /' + b'a' * 32768, 414),
    (head(*[b'a: b'] * 64), head(*[b'a: b'] * 65), 431),
    (head(b'n' * 64 + b': b'), head(b'n' * 65 + b': b'), 431)])
def test_limits(served, app, good, bad, status):
    """N passes, N + 1 is refused (D8)."""
    last = LAST
    assert [answer.status for answer in answers(talk(
        served.address, good + last))] == [200, 200]
    assert app.calls == 2
    assert is_bare(talk(served.address, bad, end=True), status)
    assert app.calls == 2


def test_what_lies_behind_does_not_count(served, app):
    """Four heads of nearly the limit in one piece (rule 2)."""
    data = sized_head(32768) * 4 + LAST
    assert [answer.status for answer in answers(talk(
        served.address, data))] == [200] * 5


@pytest.mark.parametrize('data', [
    b'\r\n', b'GET / HTTP/1.0\r\n\r\n', head(b'content-length: 5')])
def test_answers_before_a_fault_are_sent(served, app, data):
    """An error answer comes behind those that were due before it."""
    found = answers(talk(served.address, GET + GET + data, end=True))
    assert [answer.status for answer in found][:2] == [200, 200]
    assert len(found) == 3 and found[2].status in (400, 505)
    assert app.calls == 2


@pytest.mark.parametrize('data', [
    b'X' * 1000000, b'GET /\r\n' + b'x' * 1000000,
    head(b'content-length: 500000') + b'x' * 500000,
    head(b'content-length: 5', b'content-length: 5', method=b'PUT') +
    GET * 20000])
def test_answer_is_not_lost_to_a_reset(served, app, data):
    """The peer goes on sending; the close is graceful (D2)."""
    with dial(served.address) as sock:
        sender = threading.Thread(target=push, args=(sock, data))
        sender.start()
        found = answers(everything(sock))
        sender.join()
    assert [answer.status for answer in found] in ([400], [414], [431])
    assert app.calls == 0


def push(sock, data):
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.parametrize('size', [1, 5, 17, 18])
def test_peer_that_goes_away(served, app, size, caplog):
    """In a head or behind it: nobody's error."""
    caplog.set_level(logging.DEBUG)
    sock = dial(served.address)
    sock.sendall(GET[:size])
    sock.close()
    talk(served.address, LAST)
    assert not [record for record in caplog.records
                if record.levelno >= logging.ERROR]


# ---------------------------------------------------------------------- bodies

def read_all(session, request, api):
    return (200, 'OK', {}, request.body.read())


def relay(session, request, api):
    return (200, 'OK', {}, request.body)


def iterate(session, request, api):
    for _ in request.body:
        pass
    return (200, 'OK', {}, None)


CHUNKED = head(b'transfer-encoding: chunked', method=b'POST')


@pytest.mark.parametrize('answer', [read_all, iterate])
@pytest.mark.parametrize('data', [
    b'\r\n', b'x\r\n', b'-5\r\n', b'5\r\nhellox', b'5\nhello\r\n0\r\n\r\n',
    b'11111111111111111\r\n', b'5;\r\nhello', b'5;a="\r\nhello',
    b'5;' + b'a' * 4096, b'0\r\nhost: a\r\n\r\n', b'0\r\na\r\n\r\n',
    b'0\r\ncontent-length: 5\r\n\r\n', b'0\r\n a: b\r\n\r\n'])
def test_malformed_body(served, app, answer, data):
    """400 where the app reads; the app cannot go on with it (rule 24)."""
    app.answer = answer
    assert is_bare(talk(served.address, CHUNKED + data + GET), 400)
    assert app.calls == 1


@pytest.mark.parametrize('answer', [read_all, iterate])
@pytest.mark.parametrize('data', [
    head(b'content-length: 6', method=b'PUT') + b'hello',
    head(b'content-length: 5000000', method=b'PUT') + b'hello',
    CHUNKED, CHUNKED + b'5', CHUNKED + b'5\r\nhello\r\n'])
def test_short_body(served, app, answer, data):
    app.answer = answer
    assert is_bare(talk(served.address, data, end=True), 400)
    assert app.calls == 1


def test_large_trailers(served, app):
    """8 KiB of trailers, the last CR LF included."""
    app.answer = read_all
    line = b'a: ' + b'x' * 8183 + b'\r\n'
    data = CHUNKED + b'0\r\n' + line
    assert len(line) + 2 == 8190
    assert answers(talk(served.address, data + b'\r\n', end=True))[0].body == \
        b''
    line = b'a: ' + b'x' * 8186 + b'\r\n'
    data = CHUNKED + b'0\r\n' + line + b'\r\n'
    assert is_bare(talk(served.address, data, end=True), 431)


@pytest.mark.parametrize('answer, data', [
    (read_all, head(b'content-length: %d' % (READ_MAX + 1), method=b'PUT')),
    (iterate, CHUNKED + b'%x\r\n' % (READ_MAX + 1)),
    (read_all, CHUNKED + b'%x\r\n' % (READ_MAX + 1) + b'x' * READ_MAX +
     b'x\r\n0\r\n\r\n')], ids=['length', 'chunk', 'chunks'])
def test_body_limit(served, app, answer, data):
    """More than is read as a whole (D2: 413)."""
    app.answer = answer
    with dial(served.address) as sock:
        sender = threading.Thread(target=push, args=(sock, data))
        sender.start()
        assert is_bare(everything(sock), 413)
        sender.join()


@pytest.mark.parametrize('size', [READ_MAX - 1, READ_MAX])
def test_largest_chunk(served, app, size):
    """S1: such a line alone, and then the end, once ended the process."""
    app.answer = read_all
    assert is_bare(talk(served.address, CHUNKED + b'%x\r\n' % size, end=True),
                   400)


@pytest.mark.parametrize('data', [
    CHUNKED + b'x\r\n', CHUNKED + b'5\r\nhello0',
    head(b'content-length: 5000', method=b'PUT') + b'hello'])
def test_malformed_body_is_the_apps_to_see(served, app, data):
    """D13: it may answer itself; that goes out, and the connection ends."""
    seen = []

    def answer(session, request, api):
        try:
            request.body.read()
        except ProtocolError as error:
            seen.append(error)
        return (422, 'Unprocessable Content', {}, b'why')

    app.answer = answer
    found = answers(talk(served.address, data, end=True))
    assert found == [(422, 'Unprocessable Content', {
        'connection': 'close', 'content-length': '3'}, b'why')]
    assert len(seen) == 1


@pytest.mark.parametrize('status', [200, 405, 413])
@pytest.mark.parametrize('data', [
    head(b'content-length: 5', method=b'PUT') + b'hello',
    head(b'content-length: 500000', method=b'PUT') + b'x' * 500000,
    CHUNKED + b'5\r\nhello\r\n0\r\n\r\n'])
def test_unread_body(served, app, status, data):
    """D13, S8: the answer arrives, and what follows is no request."""
    app.answer = (status, 'Reason', {}, b'hello')
    with dial(served.address) as sock:
        sender = threading.Thread(target=push, args=(sock, data + GET))
        sender.start()
        found = answers(everything(sock))
        sender.join()
    assert found == [(status, 'Reason', {
        'connection': 'close', 'content-length': '5'}, b'hello')]
    assert app.calls == 1


def test_half_read_body(served, app):
    def answer(session, request, api):
        return (200, 'OK', {}, request.body.read(3))

    app.answer = answer
    (found,) = answers(talk(served.address, head(
        b'content-length: 5', method=b'PUT') + b'hello' + GET))
    assert (found.body, found.headers['connection']) == (b'hel', 'close')


@pytest.mark.parametrize('data, status', [
    (head(b'content-length: 6', method=b'PUT') + b'hello', 400),
    (CHUNKED + b'5\r\nhello\r\n', 400), (CHUNKED + b'x', 400)])
def test_relay_of_a_bad_body(served, app, data, status):
    """As long as nothing has left it is a 400; then it is a cut."""
    app.answer = relay
    found = talk(served.address, data, end=True)
    assert is_cut(found) or is_bare(found, status)


# Ways to read all of a body, none of which the app has to look into.
READS = [lambda body: body.read(), list,
         lambda body: body.write_to(io.BytesIO())]


@pytest.mark.parametrize('data, reads, status', [
    (head(b'content-length: %d' % (READ_MAX + 1), method=b'PUT'), READS[:1],
     413),
    (CHUNKED + b'%x\r\n' % (READ_MAX + 1), READS[1:2], 413),
    (CHUNKED + b'x\r\n', READS, 400),
    (CHUNKED + b'5\r\nhello0', READS, 400)],
    ids=['length', 'chunk', 'line', 'end'])
def test_only_the_error_of_the_body_is_answered_as_one(
        served, app, data, reads, status):
    """Let out it is a 413 or 400; an app that has caught it and then fails by
    itself is at fault, whether it does so there or later."""
    def let_out(body):
        read(body)

    def let_out_again(body):
        try:
            read(body)
        except ValueError:
            raise

    def fail_there(body):
        try:
            read(body)
        except ValueError as error:
            raise KeyError('here') from error

    def fail_later(body):
        try:
            read(body)
        except ValueError:
            pass
        raise KeyError('here')

    def another(body):
        try:
            read(body)
        except ValueError:
            pass
        raise ProtocolError('x', 'E_BODY_LIMIT', 413)

    for read in reads:
        for (act, want) in [(let_out, status), (let_out_again, status),
                            (fail_there, 500), (fail_later, 500),
                            (another, 500)]:
            app.answer = lambda session, request, api: act(request.body)
            assert is_bare(talk(served.address, data), want), (act, want)


class Full:
    """A file that takes so many bytes, and then no more."""

    def __init__(self, room):
        self.room = room

    def write(self, data):
        if len(data) > self.room:
            raise OSError('full')
        self.room -= len(data)
        return len(data)


@pytest.mark.parametrize('room', [0, 70000])
@pytest.mark.parametrize('data', [
    head(b'content-length: 5', method=b'PUT') + b'hello',
    head(b'content-length: 200000', method=b'PUT') + b'x' * 200000,
    CHUNKED + b'5\r\nhello\r\n0\r\n\r\n',
    CHUNKED + (b'30d4\r\n' + b'x' * 12500 + b'\r\n') * 16 + b'0\r\n\r\n'],
    ids=['length', 'long', 'chunk', 'chunks'])
def test_file_that_does_not_take_the_body(served, app, data, room):
    """The app may answer that it could not keep it; what is left of the body
    is no request, so that is the last answer."""
    if len(data) < room:
        room = 1
    caught = []

    def answer(session, request, api):
        try:
            request.body.write_to(Full(room))
        except OSError as error:
            caught.append(error)
        return (507, 'Insufficient Storage', {}, b'full')

    app.answer = answer
    with dial(served.address) as sock:
        sender = threading.Thread(target=push, args=(sock, data + GET))
        sender.start()
        found = answers(everything(sock))
        sender.join()
    assert found == [(507, 'Insufficient Storage', {
        'connection': 'close', 'content-length': '4'}, b'full')]
    assert [str(error) for error in caught] == ['full'] and app.calls == 1


def is_cut(data):
    """Does the peer see that this is not all?"""
    try:
        answers(data)
    except (AssertionError, ValueError):
        return True
    return False


# ------------------------------------------------- small mercies for good input

def test_no_body(served, app):
    """D1: content-length: 0 is no body and no header."""
    seen = []

    def answer(session, request, api):
        seen.append((request.method, request.body, request.headers))
        return (200, 'OK', {}, None)

    app.answer = answer
    for method in (b'GET', b'HEAD', b'PUT', b'POST', b'PATCH', b'DELETE',
                   b'OPTIONS'):
        data = head(b'content-length: 0', b'connection: close', method=method)
        (found,) = answers(talk(served.address, data), method.decode())
        assert found.status == 200
        assert seen.pop() == (method.decode(), None, {})


def test_hidden_headers(served, app):
    """D3: these are the library's."""
    seen = []

    def answer(session, request, api):
        seen.append(request.headers)
        return (200, 'OK', {}, request.body.read())

    app.answer = answer
    data = head(b'Connection: x, Close', b'Keep-Alive: timeout=5',
                b'Proxy-Connection: keep-alive', b'Expect: 100-Continue',
                b'content-length: 5', b'A: b', method=b'PUT') + b'hello'
    talk(served.address, data)
    assert seen == [{'content-length': 5, 'a': 'b'}]


def test_repeated_headers(served, app):
    """D6."""
    seen = []

    def answer(session, request, api):
        seen.append(request.headers)
        return (200, 'OK', {'set-cookie': ['a=1', 'b=2'], 'x': 'y, z'}, None)

    app.answer = answer
    data = head(b'A: 1', b'a:2', b'accept: x', b'a:', b'set-cookie: c',
                b'connection: close', b'set-cookie: d')
    found = talk(served.address, data)
    assert seen == [{'a': '1, 2, ', 'accept': 'x', 'set-cookie': ['c', 'd']}]
    assert found.count(b'\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n') == 1


@pytest.mark.parametrize('value', [
    b'bytes=5-', b'bytes=-5', b'bytes=0-1,3-4', b'items=0-1', b'bytes=9-1',
    b'bytes=00-1', b'bytes=0-9999999999999999'])
def test_odd_range(served, app, value):
    """D13: handed on as text."""
    seen = []

    def answer(session, request, api):
        seen.append(request.headers['range'])
        return (200, 'OK', {}, None)

    app.answer = answer
    talk(served.address, head(b'range: ' + value, b'connection: close'))
    assert seen == [value.decode()]


def test_range(served, app):
    def answer(session, request, api):
        wanted = request.headers['range']
        return (206, 'Partial Content', {
            'content-range': wanted.content_range(9)},
            b'123456789'[wanted.start:wanted.stop])

    app.answer = answer
    (found,) = answers(talk(served.address, head(
        b'range: bytes=2-4', b'connection: close')))
    assert found.headers['content-range'] == 'bytes 2-4/9'
    assert found.body == b'345'


def test_continue(served, app):
    """D4: when the app first reads, and at most once."""
    def answer(session, request, api):
        first = request.body.read(2)
        return (200, 'OK', {}, first + request.body.read())

    app.answer = answer
    with dial(served.address) as sock:
        sock.sendall(head(b'expect: 100-continue', b'content-length: 5',
                          b'connection: close', method=b'PUT'))
        assert receive_head(sock) == b'HTTP/1.1 100 Continue\r\n\r\n'
        sock.sendall(b'hello')
        assert answers(everything(sock))[0].body == b'hello'


def test_no_continue(served, app):
    """Never when the app does not read, and never behind an answer."""
    for _ in range(3):
        (found,) = answers(talk(served.address, head(
            b'expect: 100-continue', b'content-length: 5', method=b'PUT')))
        assert found.status == 200
        assert found.headers['connection'] == 'close'


def test_continue_with_the_body_there(served, app):
    """It may be left out then (D13); the answer is the same."""
    app.answer = read_all
    data = head(b'expect: 100-continue', b'content-length: 5',
                b'connection: close', method=b'PUT') + b'hello'
    found = answers(talk(served.address, data))
    assert found[-1].body == b'hello'
    assert [answer.status for answer in found] in ([200], [100, 200])


def test_connection_close(served, app):
    """Rule 14: answered so, and nothing behind it is looked at."""
    (found,) = answers(talk(served.address, LAST + b'\0\0' + GET))
    assert found.headers['connection'] == 'close'
    assert app.calls == 1


def test_pipelining(served, app):
    def answer(session, request, api):
        body = request.body and request.body.read()
        return (200, 'OK', {}, body or request.uri.encode())

    app.answer = answer
    put = head(b'content-length: 5', method=b'PUT') + b'hello'
    data = (put + head(target=b'/a') + CHUNKED + b'2\r\nhe\r\n0\r\n\r\n' +
            head(b'connection: close', target=b'/b'))
    bodies = [b'hello', b'/a', b'he', b'/b']
    for step in (None, 1, 7):
        found = answers(talk(served.address, data, step))
        assert [answer.body for answer in found] == bodies


def test_head(served, app):
    """R99: the length of what is not there."""
    app.answer = (200, 'OK', {'content-length': 12, 'a': 'b'}, None)
    data = talk(served.address, head(method=b'HEAD') * 2 +
                head(b'connection: close', method=b'HEAD'))
    found = answers(data, 'HEAD')
    assert [answer.headers for answer in found] == [
        {'content-length': '12', 'a': 'b'}] * 2 + [
        {'content-length': '12', 'a': 'b', 'connection': 'close'}]


def test_large_bodies(served, app):
    """There and back, through buffers smaller than they are."""
    data = bytes(range(256)) * 16384
    app.answer = read_all
    put = head(b'content-length: %d' % len(data), b'connection: close',
               method=b'PUT')
    with dial(served.address) as sock:
        sender = threading.Thread(target=sock.sendall, args=(put + data,))
        sender.start()
        (found,) = answers(everything(sock))
        sender.join()
    assert found.body == data


@pytest.mark.parametrize('data, body', [
    (head(b'content-length: 5', method=b'PUT') + b'hello', b'hello'),
    (CHUNKED + b'5;a=b\r\nhello\r\n0;c\r\n\r\n', b'hello')])
def test_relay(served, app, data, body):
    """An input body handed back as an output body is streamed (D13)."""
    app.answer = relay
    found = talk(served.address, data, end=True)
    assert answers(found)[0].body == body
    assert (b'5;a=b\r\nhello\r\n0;c\r\n\r\n' in found) == \
        data.startswith(b'POST')


def chunks_of(body):
    """Of a body with a length."""
    for part in body:
        yield (None, part)
    yield (None, b'')


def parts_of(body):
    """Of a chunked one."""
    for (_, part) in body:
        yield part


@pytest.mark.parametrize('data, make, body', [
    (CHUNKED + b'5;a=b\r\nhello\r\n0;c\r\n\r\n',
     lambda body: api.ChunkedBodyIter(body), b'hello'),
    (CHUNKED + b'5;a=b\r\nhello\r\n0;c\r\n\r\n',
     lambda body: api.ChunkedBodyIter(chunk for chunk in body), b'hello'),
    (CHUNKED + b'5;a=b\r\nhello\r\n0;c\r\n\r\n',
     lambda body: api.BodyIter(parts_of(body), 5), b'hello'),
    (head(b'content-length: 5', method=b'PUT') + b'hello',
     lambda body: api.BodyIter(body, body.content_length), b'hello'),
    (head(b'content-length: 5', method=b'PUT') + b'hello',
     lambda body: api.BodyIter((part for part in body), 5), b'hello'),
    (head(b'content-length: 5', method=b'PUT') + b'hello',
     lambda body: api.ChunkedBodyIter(chunks_of(body)), b'hello'),
    (head(b'content-length: 3000000', method=b'PUT') + b'hello' * 600000,
     lambda body: api.BodyIter((part for part in body), 3000000),
     b'hello' * 600000),
    (CHUNKED + (b'30d4\r\n' + b'x' * 12500 + b'\r\n') * 40 + b'0\r\n\r\n',
     lambda body: api.ChunkedBodyIter(body), b'x' * 500000)], ids=[
         'chunks', 'chunks-generated', 'parts-of-chunks', 'parts',
         'parts-generated', 'chunks-of-parts', 'long-parts', 'long-chunks'])
def test_answer_made_of_the_body_as_it_comes(served, app, data, make, body):
    """The source of an answer may read the request's body.  If it is the last
    answer, it says so."""
    app.answer = lambda session, request, api: (
        200, 'OK', {}, make(request.body) if request.body else b'none')
    with dial(served.address) as sock:
        sender = threading.Thread(target=push, args=(sock, data + LAST))
        sender.start()
        raw = everything(sock)
        sender.join()
    found = answers(raw)
    assert found[0].status == 200 and found[0].body == body
    assert [answer.body for answer in found[1:]] == (
        [] if found[0].headers.get('connection') == 'close' else [b'none'])
    if b'5;a=b' in data and b'chunked' in raw:
        assert b'\r\n\r\n5;a=b\r\nhello\r\n0;c\r\n\r\n' in raw


@pytest.mark.parametrize('make', [
    lambda body: api.ChunkedBodyIter(body),
    lambda body: api.BodyIter(parts_of(body), 100005)],
    ids=['chunks', 'parts'])
def test_answer_made_of_a_malformed_body(served, app, make):
    """A 400 as long as nothing has left, and then a cut, if the answer lacks
    anything."""
    app.answer = lambda session, request, api: (
        200, 'OK', {}, make(request.body))
    assert is_bare(talk(served.address, CHUNKED + b'x\r\n'), 400)
    found = talk(served.address, CHUNKED + b'5\r\nhello\r\nx\r\n')
    assert is_cut(found) or is_bare(found, 400)
    long = b'186a0\r\n' + b'x' * 100000 + b'\r\n'
    with dial(served.address) as sock:
        sender = threading.Thread(
            target=push, args=(sock, CHUNKED + long + b'x\r\n'))
        sender.start()
        found = everything(sock)
        sender.join()
    assert is_cut(found) and found.startswith(b'HTTP/1.1 200 OK\r\n')
    assert app.calls == 3


# ------------------------------------------------- what apps do wrong: nothing

class Text(str):
    pass


class Number(int):
    pass


class Mapping(dict):
    pass


class Data(bytes):
    pass


def fails():
    raise KeyError('here')
    yield


def ok(headers=None, body=None, status=200, reason='OK'):
    return (status, reason, {} if headers is None else headers, body)


BAD_RESPONSES = [
    None, 5, 'OK', b'OK', (), (200,), (200, 'OK', {}), [200, 'OK', {}, None],
    (200, 'OK', {}, None, None), {'status': 200}, object(), api.Body,
    *[ok(status=status) for status in (
        None, '200', 200.0, True, b'200', 0, -1, 99, 600, 2**31, 2**64, -2**64,
        100, 101, 103, 199, Number(200))],
    *[ok(reason=reason) for reason in (
        None, 5, b'OK', Text('OK'), 'OK\r\n', 'OK\r\nx: y', 'O\nK', 'O\0K',
        '\xe9', '\u20ac', '\ud800', '\x7f', 'a' * 40000)],
    *[(200, 'OK', headers, None) for headers in (
        None, [], 'a', (), [('a', 'b')], Mapping())],
    *[ok({name: 'x'}) for name in (
        None, 5, b'a', '', 'A', 'a b', 'a:', 'a\r\n', 'a\n', 'a\0', '\xe9',
        ' a', 'a ', '\ud800', 'a' * 65, Text('a'))],
    *[ok({'a': value}) for value in (
        None, b'x', True, 5.0, ['x'], ('x',), {}, object(), Text('x'), -1,
        2**64, Number(5), Data(b'x'), 'x\r\n', 'x\r\nb: c', 'x\n', 'x\r', '\0',
        ' x', 'x ', '\tx', '\xe9', '\u20ac', '\x7f', '\ud800', 'x' * 40000)],
    *[ok({'set-cookie': value}) for value in (
        [5], [None], [['x']], ['x\r\ny'], [' x'], ('x',), ['x'] * 65,
        [Text('x')])],
    ok({'connection': 'keep-alive'}), ok({'connection': ''}),
    ok({'connection': 'close, x'}), ok({'keep-alive': 'timeout=5'}),
    ok({'proxy-connection': 'close'}),
    ok({'range': api.Range(0, 1)}), ok({'range': 'bytes=0-1'}),
    ok({'content-length': 9}), ok({'content-length': 9}, b'hello'),
    ok({'content-length': 0}, b'hello'), ok({'content-length': -1}),
    ok({'content-length': True}, b'x'), ok({'content-length': 5.0}, b'hello'),
    ok({'content-length': 'x'}), ok({'content-length': '05'}, b'hello'),
    ok({'content-length': 4}, api.BodyIter([b'hello'], 5)),
    ok({'transfer-encoding': 'chunked'}),
    ok({'transfer-encoding': 'chunked'}, b'hello'),
    ok({'transfer-encoding': 'chunked', 'content-length': 5}, b'hello'),
    ok({'transfer-encoding': 'chunked'}, api.BodyIter([b'hello'], 5)),
    ok({'content-length': 5}, api.ChunkedBodyIter([(None, b'')])),
    ok({'transfer-encoding': 'gzip'}, api.ChunkedBodyIter([(None, b'')])),
    ok({str(number): 'x' for number in range(65)}),
    ok({str(number): 'x' for number in range(64)}),
    ok({str(number): 'x' for number in range(64)}, b'hello'),
    ok({str(number): 'x' * 1000 for number in range(33)}),
    ok(body='hello'), ok(body=5), ok(body=True), ok(body=[b'hello']),
    ok(body={}), ok(body=object()), ok(body=Data(b'hello')), ok(body=api.Body),
    ok(body=memoryview(b'hello')[::2]), ok(body=iter([b'hello'])),
    ok(body=b'hello', status=204), ok(body=b'hello', status=304),
    ok({'content-length': 0}, status=204),
    ok({'content-length': 5}, status=204),
    ok({'transfer-encoding': 'chunked'}, status=204),
    ok(body=api.BodyIter(None, 5)), ok(body=api.BodyIter([5], 5)),
    ok(body=api.BodyIter(fails(), 5)), ok(body=api.BodyIter([], 5)),
    ok(body=api.BodyIter([b'hello!'], 5)),
    ok(body=api.ChunkedBodyIter(None)), ok(body=api.ChunkedBodyIter([5])),
    ok(body=api.ChunkedBodyIter(fails())), ok(body=api.ChunkedBodyIter([])),
    ok(body=api.ChunkedBodyIter([(('a\r\n', 'b'), b'x'), (None, b'')])),
    ok(body=api.ChunkedBodyIter([(('a', 'b\r\n'), b'x'), (None, b'')])),
]


def short(value):
    return repr(value)[:60]


@pytest.mark.parametrize('response', BAD_RESPONSES, ids=short)
def test_bad_response(served, app, response, caplog):
    """A bare 500, an entry in the log with the exception, and not a byte of
    what was returned."""
    app.answer = lambda *args: response
    assert is_bare(talk(served.address, GET), 500)
    (record,) = [record for record in caplog.records
                 if record.levelno >= logging.WARNING]
    assert record.name == 'degu.server' and record.levelno == logging.ERROR
    assert isinstance(record.exc_info[1], (TypeError, ValueError, KeyError,
                                           BufferError))


@pytest.mark.parametrize('body', [
    b'hello', api.BodyIter([b'hello'], 5), api.ChunkedBodyIter([(None, b'')])])
def test_no_content_to_head(served, app, body):
    """Rule 19: refused, not cut off."""
    app.answer = lambda *args: ok(body=body)
    assert is_bare(talk(served.address, head(method=b'HEAD')), 500)


class Failure(BaseException):
    pass


@pytest.mark.parametrize('error', [
    RuntimeError('x'), KeyError(), ValueError('\ud800'), AssertionError(),
    OSError(5, 'x'), ConnectionResetError(), TimeoutError(), MemoryError(),
    StopIteration(), StopAsyncIteration(), GeneratorExit(), SystemExit(0),
    SystemExit('text'), KeyboardInterrupt(), RecursionError(), Failure(),
    ProtocolError('x', 'E_TARGET', 400), TruncatedError('x')],
    ids=lambda error: type(error).__name__)
def test_app_raises(served, app, error, caplog):
    """Whatever it is: 500 and a log entry (D13)."""
    def answer(*args):
        raise error.with_traceback(None)  # or it keeps all it ever had

    app.answer = answer
    assert is_bare(talk(served.address, GET), 500)
    (record,) = [record for record in caplog.records
                 if record.levelno >= logging.WARNING]
    assert record.exc_info[1] is error
    assert record.levelno == logging.ERROR


def test_app_raises_with_an_unread_body(served, app):
    app.answer = fail
    with dial(served.address) as sock:
        data = head(b'content-length: 500000', method=b'PUT') + b'x' * 500000
        sender = threading.Thread(target=push, args=(sock, data))
        sender.start()
        assert is_bare(everything(sock), 500)
        sender.join()


def fail(*args):
    raise RuntimeError('here')


@pytest.mark.parametrize('make', [
    lambda: api.BodyIter(late(b'x' * 100000), 200000),
    lambda: api.BodyIter([b'x' * 100000], 200000),
    lambda: api.BodyIter([b'x' * 150000] * 2, 200000),
    lambda: api.ChunkedBodyIter(late((None, b'x' * 100000))),
    lambda: api.ChunkedBodyIter([(None, b'x' * 100000)]),
    lambda: api.ChunkedBodyIter([(None, b'x' * 100000), 5])])
def test_cut(served, app, make, caplog):
    """After a byte has left the connection is cut: no end, no other answer
    (rule 20)."""
    app.answer = lambda *args: ok(body=make())
    data = talk(served.address, GET + GET)
    assert data.startswith(b'HTTP/1.1 200 OK\r\n')
    assert is_cut(data) and data.count(b'HTTP/1.1') == 1
    assert len(data) < 200200
    assert app.calls == 1
    assert [record for record in caplog.records
            if record.levelno == logging.ERROR]


def test_surplus(served, app):
    """What is too much stays here, and nothing follows."""
    app.answer = lambda *args: ok(body=api.BodyIter([b'x' * 99999] * 3, 199998))
    (found,) = answers(talk(served.address, GET + GET))
    assert found.body == b'x' * 199998
    assert app.calls == 1


def late(item):
    yield item
    raise KeyError('late')


def test_used_bodies(served, app):
    """A body goes out once."""
    body = api.BodyIter([b'hello'], 5)
    app.answer = lambda *args: ok(body=body)
    found = answers(talk(served.address, GET + GET))
    assert [answer.status for answer in found] == [200, 500]


def test_own_headers_stay(served, app):
    """D10: a dict of headers that an app keeps is never changed."""
    headers = {'a': 'b'}
    bodies = iter([b'hello', b'hi', None])
    app.answer = lambda *args: ok(headers, next(bodies))
    found = answers(talk(served.address, GET + GET + LAST))
    assert [answer.body for answer in found] == [b'hello', b'hi', b'']
    assert headers == {'a': 'b'}


class Emptying:
    """A source that empties the dict of headers as soon as it is asked for
    its items, and has the memory used again."""

    def __init__(self, headers, items):
        self.headers = headers
        self.items = items

    def __iter__(self):
        self.headers['set-cookie'].clear()
        self.headers.clear()
        self.kept = ['another {} '.format(n) * 4 for n in range(1000)]
        return iter(self.items)


def emptying(headers, items):
    """The same by a generator, when it is asked for its first item."""
    yield from Emptying(headers, items)


def fresh_headers():
    """A dict that alone keeps its names and values."""
    headers = {'x-name-{}'.format(n): 'value {}'.format(n) * 4
               for n in range(40)}
    headers['x-number'] = 10**15 + len(headers)
    headers['content-range'] = api.ContentRange(0, 200000, 10**12)
    headers['set-cookie'] = ['cookie={}'.format(len(headers)) * 4]
    return headers


@pytest.mark.parametrize('source', [Emptying, emptying])
@pytest.mark.parametrize('make', [
    lambda source: api.BodyIter(source, 200000), api.ChunkedBodyIter])
def test_source_that_empties_the_headers(served, app, make, source):
    """What was returned is what is sent."""
    headers = fresh_headers()
    want = {name: str(value) for (name, value) in headers.items()}
    (want['set-cookie'],) = headers['set-cookie']
    item = b'x' * 100000
    items = [item, item]
    if make is api.ChunkedBodyIter:
        items = [(None, item), (None, item), (None, b'')]
        want['transfer-encoding'] = 'chunked'
    else:
        want['content-length'] = '200000'
    app.answer = lambda *args: (
        206, 'Some', headers, make(source(headers, items)))
    (found,) = answers(talk(served.address, LAST))
    want['connection'] = 'close'
    assert found == (206, 'Some', want, item + item)
    assert headers == {}


@pytest.mark.parametrize('source', [Emptying, emptying])
def test_source_that_empties_the_headers_and_raises(
        served, app, source, caplog):
    """A 500 before the first byte has left, and a cut behind it."""
    for items in ([], [b'x' * 100000], [b'x' * 100000] * 2):
        headers = fresh_headers()

        def raising():
            yield from items
            raise KeyError('late')

        app.answer = lambda *args: ok(headers, api.BodyIter(
            source(headers, raising()), 300000))
        found = talk(served.address, GET + GET)
        assert is_cut(found) or is_bare(found, 500) and len(items) < 2
        assert headers == {}
    assert [type(record.exc_info[1]) for record in caplog.records
            if record.levelno >= logging.ERROR] == [KeyError] * 3


@pytest.mark.parametrize('source', [Emptying, emptying])
def test_source_that_empties_headers_that_are_refused(
        served, app, source, caplog):
    """The entry in the log names the line, which is gone from the dict."""
    headers = fresh_headers()
    headers['x-culprit-{}'.format(len(headers))] = 'a\n' * len(headers)
    app.answer = lambda *args: ok(headers, api.BodyIter(
        source(headers, [b'hello']), 5))
    assert is_bare(talk(served.address, GET), 500)
    (record,) = [record for record in caplog.records
                 if record.levelno >= logging.WARNING]
    assert 'x-culprit-43' in str(record.exc_info[1])


@pytest.mark.parametrize('body, want', [
    (None, b''), (b'', b''), (bytearray(), b''), (memoryview(b''), b''),
    (b'hello', b'hello'), (bytearray(b'hello'), b'hello'),
    (memoryview(b'hello'), b'hello'), (memoryview(b'xhellox')[1:6], b'hello'),
    (b'x' * 17000000, b'x' * 17000000)], ids=short)
def test_bytes(served, app, body, want):
    """All that is bytes is a body, of any length (D10); none is no body."""
    app.answer = lambda *args: ok(body=body)
    (found,) = answers(talk(served.address, LAST))
    assert found.body == want
    assert found.headers['content-length'] == str(len(want))


@pytest.mark.parametrize('status', [204, 304])
def test_status_without_body(served, app, status):
    """D1: nothing is added where there can be nothing."""
    app.answer = (status, 'Reason', {}, None)
    found = answers(talk(served.address, GET + LAST))
    assert [answer.headers for answer in found] == [
        {}, {'connection': 'close'}]


def test_not_modified_tells_the_length(served, app):
    app.answer = (304, 'Not Modified', {'content-length': 5}, None)
    found = answers(talk(served.address, GET + LAST))
    assert [answer.headers['content-length'] for answer in found] == ['5'] * 2


def test_app_closes(served, app):
    """D3: an app may say connection: close, and only that."""
    app.answer = (200, 'OK', {'connection': 'close'}, None)
    (found,) = answers(talk(served.address, GET + GET))
    assert found.headers == {'connection': 'close', 'content-length': '0'}


def test_response_of_a_client(served, app):
    """A client's Response, headers and body, is an answer (a proxy's)."""
    def upstream(sock):
        receive_head(sock)
        sock.sendall(b'HTTP/1.1 200 Fine\r\nconnection: close\r\na: b\r\n'
                     b'keep-alive: x\r\ncontent-length: 5\r\n\r\nhello')

    with listening(upstream) as address:
        def answer(session, request, api):
            session.store['conn'] = Connection(dial(address), None)
            return session.store['conn'].get('/', request.headers)

        app.answer = answer
        (found,) = answers(talk(served.address, LAST))
    assert found == (200, 'Fine', {
        'a': 'b', 'content-length': '5', 'connection': 'close'}, b'hello')
