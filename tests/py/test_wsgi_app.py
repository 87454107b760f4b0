# SPDX-License-Identifier: MIT OR 0BSD
"""WSGI programs behind a real server: what they see, what they may answer,
and that they are closed whatever happens."""

import gc
import io
import logging
import os
import shutil
import sys
import tempfile
import urllib.parse
import weakref
import wsgiref.validate

import pytest

from degu.applib.wsgi import WSGIApp
from degu.base import Request, Session, api
from degu.client import Client
from peers import (
    Running,
    answers,
    dial,
    everything,
    is_bare,
    receive_head,
    run_program,
    talk,
    until,
)

TEXT = [('Content-Type', 'text/plain')]
LAST = b'connection: close\r\n\r\n'
GET = b'GET / HTTP/1.1\r\n' + LAST


def ask(app, head=GET, method='GET', address=b'', **keywords):
    """The one answer to a request that is the last of its connection."""
    with Running(WSGIApp(app, **keywords), address) as running:
        (answer,) = answers(talk(running.address, head), method)
        return answer


def environ_of(head=GET, address=b'', wrap=None, **keywords):
    """The variables that a program gets for a request."""
    seen = []

    def app(environ, start_response):
        seen.append(environ)
        start_response('200 OK', TEXT)
        return [b'']

    rgi = WSGIApp(app, **keywords)
    with Running(wrap(rgi) if wrap else rgi, address) as running:
        (answer,) = answers(talk(running.address, head))
        assert answer.status == 200
    return seen[0]


def post(data, fields=b''):
    return (b'POST / HTTP/1.1\r\ncontent-length: %d\r\n' % len(data) +
            fields + LAST + data)


def chunked(*parts):
    return (b'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n' + LAST +
            b''.join(b'%x\r\n%s\r\n' % (len(part), part)
                     for part in (*parts, b'')))


class Iterable:
    """What a program returns; counts how often it is closed."""

    def __init__(self, *items):
        self.items = iter(items)
        self.taken = 0
        self.closed = 0

    def __iter__(self):
        return self

    def __next__(self):
        item = next(self.items)
        self.taken += 1
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self):
        self.closed += 1


def answering(iterable, headers=TEXT, status='200 OK'):
    def app(environ, start_response):
        start_response(status, list(headers))
        return iterable
    return app


def length(number):
    return [('Content-Length', str(number))]


@pytest.fixture
def errors(caplog):
    """The exceptions that the server logged."""
    class Errors:
        def __iter__(self):
            return iter([record.exc_info[1] for record in caplog.records
                         if record.exc_info])

        def only(self):
            until(lambda: list(self))
            (error,) = self
            return error

    with caplog.at_level(logging.ERROR):
        yield Errors()
    # The frames of a traceback keep what the tests look for at the end.
    for record in caplog.records:
        record.exc_info = None
    caplog.clear()


# --------------------------------------------------------------- construction

def test_construction():
    app = answering([])
    wsgi = WSGIApp(app)
    assert wsgi.app is app
    assert wsgi.url_scheme == 'http'
    assert repr(wsgi) == 'WSGIApp({!r})'.format(app)
    assert wsgi.on_connect is None
    with pytest.raises(TypeError, match='app: not callable: 17'):
        WSGIApp(17)
    with pytest.raises(ValueError, match="url_scheme: .*'ftp'"):
        WSGIApp(app, url_scheme='ftp')
    with pytest.raises(TypeError):
        WSGIApp(app, 'https')


@pytest.mark.parametrize('accepts', [True, False])
def test_on_connect_is_handed_on(accepts):
    class Program:
        sessions = []

        def __call__(self, environ, start_response):
            start_response('200 OK', TEXT)
            return [b'hello']

        def on_connect(self, session, sock):
            self.sessions.append(type(session))
            return accepts

    with Running(WSGIApp(Program())) as running:
        data = talk(running.address, GET if accepts else b'')
    assert (b'hello' in data) is accepts
    assert Program.sessions == [Session]


# -------------------------------------------------------------------- environ

def test_environ():
    environ = environ_of(
        b'GET /a%20b/c%C3%A9/?q=%41&r HTTP/1.1\r\nhost: example.org:8080\r\n'
        b'accept: text/html\r\nx-many: 1\r\nx-many: 2\r\nrange: bytes=5-9\r\n'
        + LAST, ('127.0.0.1', 0))
    assert type(environ) is dict
    assert environ['REMOTE_ADDR'] == '127.0.0.1'
    assert 1 <= int(environ.pop('REMOTE_PORT')) <= 65535
    assert type(environ.pop('wsgi.input')) is io.BytesIO
    assert environ == {
        'REQUEST_METHOD': 'GET',
        'SCRIPT_NAME': '',
        'PATH_INFO': '/a b/c\xc3\xa9/',
        'QUERY_STRING': 'q=%41&r',
        'SERVER_NAME': 'example.org',
        'SERVER_PORT': '8080',
        'SERVER_PROTOCOL': 'HTTP/1.1',
        'REMOTE_ADDR': '127.0.0.1',
        'HTTP_HOST': 'example.org:8080',
        'HTTP_ACCEPT': 'text/html',
        'HTTP_X_MANY': '1, 2',
        'HTTP_RANGE': 'bytes=5-9',
        'wsgi.version': (1, 0),
        'wsgi.url_scheme': 'http',
        'wsgi.input_terminated': True,
        'wsgi.errors': sys.stderr,
        'wsgi.multithread': True,
        'wsgi.multiprocess': False,
        'wsgi.run_once': False,
    }


def test_environ_of_a_body():
    environ = environ_of(post(b'{}', b'content-type: text/json\r\n'))
    assert environ['CONTENT_LENGTH'] == '2'
    assert environ['CONTENT_TYPE'] == 'text/json'
    assert not [key for key in environ if key.startswith('HTTP_CONTENT')]
    assert 'CONTENT_LENGTH' not in environ_of(chunked(b'1'))


def test_environ_is_not_shared():
    seen = []

    def app(environ, start_response):
        seen.append(dict(environ))
        environ['HTTP_X'] = 'mine'
        start_response('200 OK', TEXT)
        return []

    with Running(WSGIApp(app)) as running:
        talk(running.address, b'GET / HTTP/1.1\r\n\r\n' + GET)
    assert len(seen) == 2 and 'HTTP_X' not in seen[1]


@pytest.mark.parametrize('field', [b'proxy: http://evil', b'x_real_ip: ::1',
                                   b'content_length: 99'])
def test_treacherous_headers_are_left_out(field):
    """A header must not look like another one, or like a variable that
    clients obey (CVE-2016-5385)."""
    environ = environ_of(b'GET / HTTP/1.1\r\n' + field + b'\r\n' + LAST)
    assert not {'HTTP_PROXY', 'HTTP_X_REAL_IP', 'CONTENT_LENGTH',
                'HTTP_CONTENT_LENGTH'} & set(environ)


@pytest.mark.parametrize('uri,shift,script,path', [
    ('/', 0, '', '/'),
    ('/a', 0, '', '/a'),
    ('/a/', 0, '', '/a/'),
    ('/a', 1, '/a', ''),
    ('/a/', 1, '/a', '/'),
    ('/a%3F/b%3f/c', 1, '/a?', '/b?/c'),
    ('/a/b/c/', 3, '/a/b/c', '/'),
    ('/%FF', 1, '/\xff', ''),
])
def test_mount_and_path(uri, shift, script, path):
    def wrap(inner):
        def app(session, request, api):
            for _ in range(shift):
                request.shift_path()
            return inner(session, request, api)
        return app

    environ = environ_of(b'GET %s?x HTTP/1.1\r\n' % uri.encode() + LAST,
                         wrap=wrap)
    assert (environ['SCRIPT_NAME'], environ['PATH_INFO']) == (script, path)


@pytest.mark.parametrize('host,scheme,name,port', [
    (None, 'http', 'localhost', '80'),
    (None, 'https', 'localhost', '443'),
    ('', 'http', 'localhost', '80'),
    ('example.org', 'http', 'example.org', '80'),
    ('example.org', 'https', 'example.org', '443'),
    ('example.org:81', 'https', 'example.org', '81'),
    ('[::1]', 'http', '[::1]', '80'),
    ('[::1]:81', 'http', '[::1]', '81'),
])
def test_server_name(host, scheme, name, port):
    field = b'' if host is None else b'host: %s\r\n' % host.encode()
    environ = environ_of(b'GET / HTTP/1.1\r\n' + field + LAST,
                         url_scheme=scheme)
    assert environ['wsgi.url_scheme'] == scheme
    assert (environ['SERVER_NAME'], environ['SERVER_PORT']) == (name, port)


def test_remote_address():
    assert environ_of(address=('::1', 0, 0, 0))['REMOTE_ADDR'] == '::1'
    environ = environ_of(address=b'')
    assert not {'REMOTE_ADDR', 'REMOTE_PORT'} & set(environ)


# ----------------------------------------------------------------- wsgi.input

def reading(read):
    """The answer of a program is the repr of what read(input) returned."""
    def app(environ, start_response):
        result = repr(read(environ['wsgi.input'])).encode()
        start_response('200 OK', TEXT)
        return [result]
    return app


LINES = b'one\ntwo\n\nthree'
PARTS = (LINES[:2], LINES[2:7], LINES[7:8], LINES[8:])


@pytest.mark.parametrize('data', [post(LINES), chunked(*PARTS),
                                  chunked(LINES)])
@pytest.mark.parametrize('read,result', [
    (lambda file: file.read(), LINES),
    (lambda file: file.read(-1), LINES),
    (lambda file: file.read(5), LINES[:5]),
    (lambda file: [file.read(5) for _ in range(4)],
     [LINES[:5], LINES[5:10], LINES[10:], b'']),
    (lambda file: file.read(0), b''),
    (lambda file: file.read(100) + file.read() + file.read(1), LINES),
    (lambda file: [file.readline() for _ in range(6)],
     [b'one\n', b'two\n', b'\n', b'three', b'', b'']),
    (lambda file: [file.readline(-1), file.readline(2), file.readline(2)],
     [b'one\n', b'tw', b'o\n']),
    (lambda file: file.readlines(), LINES.splitlines(True)),
    (lambda file: file.readlines(5), [b'one\n', b'two\n']),
    (lambda file: list(file), LINES.splitlines(True)),
    (lambda file: [file.readline(), file.read(2), next(file), file.read()],
     [b'one\n', b'tw', b'o\n', b'\nthree']),
])
def test_input(data, read, result):
    assert ask(reading(read), data).body == repr(result).encode()


@pytest.mark.parametrize('data', [GET, post(b'')])
def test_input_without_a_body(data):
    for read in (lambda file: file.read(), lambda file: file.read(3),
                 lambda file: file.readline()):
        assert ask(reading(read), data).body == b"b''"
    assert ask(reading(list), data).body == b'[]'


@pytest.mark.parametrize('coded', [True, False])
def test_large_input(coded):
    """More than one read() of the body's own takes."""
    data = os.urandom(1 << 20) * 17 + b'!'
    request = chunked(data[:9], data[9:16 << 20], data[16 << 20:]) \
        if coded else post(data)
    result = []
    assert ask(reading(lambda file: result.append(file.read())),
               request).status == 200
    assert result == [data]


def test_input_is_streamed():
    """Each chunk is there as soon as it came."""
    def app(environ, start_response):
        start_response('200 OK', TEXT)
        return iter(environ['wsgi.input'].readline, b'')

    with Running(WSGIApp(app)) as running, dial(running.address) as sock:
        sock.sendall(b'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n')
        data = b''
        for _ in range(3):
            sock.sendall(b'3\r\nab\n\r\n')
            expected = b'3\r\nab\n\r\n'
            data = receive_head(sock) if not data else data
            while not data.endswith(expected):
                data += sock.recv(4096)
        sock.sendall(b'0\r\n\r\n')


def read_and_note(noted):
    """Reads the body, and notes why it cannot."""
    def read(file):
        try:
            return file.read()
        except Exception as error:
            noted.append(error)
            raise
    return reading(read)


@pytest.mark.parametrize('data', [
    chunked(b'abc')[:-6] + b'x\r\n',
    b'POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
])
def test_malformed_input(data, errors):
    """Decision D2: 400, as the program does not catch it.  The program is
    not to blame: nothing is logged as its failure."""
    noted = []
    with Running(WSGIApp(read_and_note(noted))) as running:
        assert is_bare(talk(running.address, data), 400)
    (error,) = noted
    assert isinstance(error, ValueError)
    assert not list(errors)


def test_input_cut_short(errors):
    noted = []
    with Running(WSGIApp(read_and_note(noted))) as running:
        talk(running.address, post(b'abc')[:-1], end=True)
    (error,) = noted
    assert isinstance(error, ConnectionError)
    assert not list(errors)


def test_input_left_unread():
    answer = ask(answering([b'no']), post(b'a' * 100000))
    assert answer.body == b'no' and answer.headers['connection'] == 'close'


def test_expect_100_continue():
    with Running(WSGIApp(reading(lambda file: file.read()))) as running:
        with dial(running.address) as sock:
            sock.sendall(post(b'abc', b'expect: 100-continue\r\n')[:-3])
            assert receive_head(sock) == b'HTTP/1.1 100 Continue\r\n\r\n'
            sock.sendall(b'abc')
            assert everything(sock).endswith(b"b'abc'")


# -------------------------------------------------------------------- answers

def generator(environ, start_response):
    """Nothing has happened when a call of it returns."""
    start_response('200 OK', TEXT)
    yield b'hel'
    yield b''
    yield b'lo'


class Class:
    """The class is the program, an instance what it returns."""

    def __init__(self, environ, start_response):
        self.start = start_response

    def __iter__(self):
        self.start('200 OK', TEXT)
        yield b'hello'


def writing(environ, start_response):
    write = start_response('200 OK', TEXT)
    write(b'he')
    write(b'')
    write(b'll')
    return [b'o']


def only_writing(environ, start_response):
    write = start_response('200 OK', TEXT)
    write(b'hello')
    return []


def opened_file(environ, start_response):
    start_response('200 OK', TEXT)
    return io.BytesIO(b'hello')


@pytest.mark.parametrize('app', [
    generator, Class, writing, only_writing, answering([b'hello']),
    answering((b'hello',)), answering([b'hel', b'lo']),
    answering([b'', b'hello', b'']), opened_file,
])
def test_kinds_of_programs(app):
    answer = ask(app)
    assert answer.status == 200 and answer.reason == 'OK'
    assert answer.headers['content-type'] == 'text/plain'
    assert answer.body == b'hello'


@pytest.mark.parametrize('app', [writing, only_writing, answering([b'hello']),
                                 answering((b'hello',))])
def test_length_of_what_is_there(app):
    """A list of one needs no chunks ("Handling the Content-Length")."""
    assert ask(app).headers['content-length'] == '5'


@pytest.mark.parametrize('items', [[b'hello'], [b'hel', b'', b'lo'],
                                   [b'', b'hello', b'']])
@pytest.mark.parametrize('wrap', [list, iter, lambda items: Iterable(*items)])
def test_length_that_is_given(items, wrap):
    answer = ask(answering(wrap(items), TEXT + length(5)))
    assert answer.body == b'hello'
    assert answer.headers['content-length'] == '5'


def test_without_a_length():
    app = answering(Iterable(b'hel', b'', b'lo'))
    with Running(WSGIApp(app)) as running:
        data = talk(running.address, GET)
    assert data.endswith(b'\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n')


def test_piece_larger_than_a_chunk():
    data = b'x' * (16 * 1024 * 1024 + 1)
    assert ask(answering(iter([data]))).body == data


@pytest.mark.parametrize('iterable', [[], (), [b''], iter(()), iter([b''])])
@pytest.mark.parametrize('headers', [TEXT, TEXT + length(0)])
def test_empty_body(iterable, headers):
    answer = ask(answering(iterable, headers))
    assert answer.body == b'' and answer.headers['content-length'] == '0'


@pytest.mark.parametrize('status', ['204 No Content', '304 Not Modified'])
def test_statuses_without_a_body(status):
    body = Iterable(b'abc', b'def')
    answer = ask(answering(body, length(6), status))
    assert answer.status == int(status[:3]) and answer.body == b''
    assert answer.headers.get('content-length') == (
        '6' if status[:3] == '304' else None)
    assert body.closed == 1


@pytest.mark.parametrize('headers', [TEXT, TEXT + length(6)])
def test_head(headers):
    body = Iterable(b'abc', b'def')
    answer = ask(answering(body, headers), b'HEAD / HTTP/1.1\r\n' + LAST,
                 'HEAD')
    assert answer.status == 200
    assert answer.headers.get('content-length') == dict(headers).get(
        'Content-Length')
    assert body.closed == 1 and body.taken == 1


@pytest.mark.parametrize('status,expected', [
    ('200 OK', (200, 'OK')),
    ('200 ', (200, '')),
    ('200', (200, '')),
    ("418 I'm a teapot", (418, "I'm a teapot")),
    ('599 Own', (599, 'Own')),
])
def test_status(status, expected):
    assert ask(answering([b'x'], status=status))[:2] == expected


def test_headers():
    with Running(WSGIApp(answering([b'x'], [
            ('X-One', 'a'), ('Set-Cookie', 'a=1'), ('x-one', 'b'),
            ('Set-Cookie', 'b=2; path=/'), ('SET-COOKIE', 'c=3'),
            ('X-Empty', '')]))) as running:
        conn = Client(running.address).connect()
        response = conn.get('/', {})
        assert response.body.read() == b'x'
        conn.close()
    assert response.headers == {
        'x-one': 'a, b', 'x-empty': '', 'content-length': 1,
        'set-cookie': ['a=1', 'b=2; path=/', 'c=3']}


def test_one_cookie():
    assert ask(answering([], [('Set-Cookie', 'a=1')])).headers[
        'set-cookie'] == 'a=1'


@pytest.mark.parametrize('status,headers,kind', [
    ('20 OK', TEXT, ValueError),
    ('2000 OK', TEXT, ValueError),
    ('OK', TEXT, ValueError),
    ('\u0662\u0660\u0660 OK', TEXT, ValueError),
    ('', TEXT, ValueError),
    (200, TEXT, TypeError),
    (b'200 OK', TEXT, TypeError),
    ('100 Continue', TEXT, ValueError),
    ('600 Beyond', TEXT, ValueError),
    ('200 O\nK', TEXT, ValueError),
    ('200 OK', [('X', 'h\xe9')], ValueError),
    ('200 OK', [('X', '\u20ac')], ValueError),
    ('200 OK', [('X', 'a\r\nY: b')], ValueError),
    ('200 OK', [('X Y', 'a')], ValueError),
    ('200 OK', [('X', 1)], TypeError),
    ('200 OK', [(b'X', b'1')], TypeError),
    ('200 OK', [('X',)], ValueError),
    ('200 OK', None, TypeError),
    ('200 OK', [('Connection', 'close')], ValueError),
    ('200 OK', [('Transfer-Encoding', 'chunked')], ValueError),
    ('200 OK', [('Upgrade', 'x')], ValueError),
    ('200 OK', length('five'), ValueError),
    ('200 OK', length('+5'), ValueError),
    ('200 OK', length('-5'), ValueError),
    ('200 OK', length('\u0665'), ValueError),
    ('200 OK', length(5) + length(5), ValueError),
    ('200 OK', TEXT + TEXT, ValueError),
])
def test_bad_answers(status, headers, kind, errors):
    """500, with nothing but the log to tell why; and the program's iterable
    is closed if there was one."""
    body = Iterable(b'hello')

    def app(environ, start_response):
        start_response(status, headers)
        return body

    with Running(WSGIApp(app)) as running:
        assert is_bare(talk(running.address, GET), 500)
    assert isinstance(errors.only(), kind)
    assert body.closed == (1 if body.taken else 0)


@pytest.mark.parametrize('value', [b'hello', 'hello', 17, None, ['hello'],
                                   [17], [None]])
def test_bad_iterables(value, errors):
    with Running(WSGIApp(answering(value))) as running:
        assert is_bare(talk(running.address, GET), 500)
    assert isinstance(errors.only(), TypeError)


@pytest.mark.parametrize('number', [4, 6])
def test_length_that_is_wrong(number, errors):
    """Known before the first byte for a list of one, else the connection is
    cut, which shows at the other end."""
    with Running(WSGIApp(answering([b'hello'], length(number)))) as running:
        assert is_bare(talk(running.address, GET), 500)
    body = Iterable(b'he', b'llo')
    with Running(WSGIApp(answering(body, length(number)))) as running:
        data = talk(running.address, GET)
    assert len(data.split(b'\r\n\r\n')[1]) < number
    assert body.closed == 1
    assert all(isinstance(error, ValueError) for error in errors)


# ------------------------------------------------------------- start_response

def test_never_called(errors):
    body = Iterable()
    with Running(WSGIApp(lambda environ, start: body)) as running:
        assert is_bare(talk(running.address, GET), 500)
    assert 'start_response() was not called' in str(errors.only())
    assert body.closed == 1


def test_data_before_the_call(errors):
    body = Iterable(b'', b'x')
    with Running(WSGIApp(lambda environ, start: body)) as running:
        assert is_bare(talk(running.address, GET), 500)
    assert 'data before start_response()' in str(errors.only())
    assert body.closed == 1


def test_called_twice(errors):
    def app(environ, start_response):
        start_response('200 OK', TEXT)
        start_response('200 OK', TEXT)

    with Running(WSGIApp(app)) as running:
        assert is_bare(talk(running.address, GET), 500)
    assert 'was called before' in str(errors.only())


def failing(environ, start_response):
    """Changes its mind before there is data."""
    start_response('200 OK', [('X-First', '1')])
    try:
        yield b''
        raise KeyError('lost')
    except KeyError:
        start_response('500 Sorry', TEXT, sys.exc_info())
    yield b'lost'


def test_exc_info_before_data():
    answer = ask(failing)
    assert answer[:2] == (500, 'Sorry') and answer.body == b'lost'
    assert 'x-first' not in answer.headers


@pytest.mark.parametrize('first', [
    lambda environ, start: start('500 Sorry', TEXT, (None, None, None)),
    lambda environ, start: start('500 Sorry', TEXT, None),
])
def test_exc_info_in_the_first_call(first):
    def app(environ, start_response):
        first(environ, start_response)
        return [b'x']
    assert ask(app).status == 500


@pytest.mark.parametrize('by_write', [True, False])
def test_exc_info_after_data(by_write, errors):
    def app(environ, start_response):
        write = start_response('200 OK', TEXT)
        if by_write:
            write(b'hel')
        else:
            yield b'hel'
        try:
            raise KeyError('lost')
        except KeyError:
            start_response('500 Sorry', TEXT, sys.exc_info())

    with Running(WSGIApp(app)) as running:
        data = talk(running.address, GET)
    if by_write:
        assert is_bare(data, 500)
    else:
        assert data.endswith(b'\r\n\r\n3\r\nhel\r\n')
    assert isinstance(errors.only(), KeyError)


# --------------------------------------------------------------------- close()

@pytest.mark.parametrize('headers', [TEXT, TEXT + length(5)])
def test_close_at_the_end(headers):
    body = Iterable(b'hel', b'lo')
    assert ask(answering(body, headers)).body == b'hello'
    assert body.closed == 1


def test_raised_before_data(errors):
    body = Iterable(b'', KeyError('mine'))
    with Running(WSGIApp(answering(body))) as running:
        assert is_bare(talk(running.address, GET), 500)
    assert isinstance(errors.only(), KeyError) and body.closed == 1


def test_raised_by_the_call(errors):
    def app(environ, start_response):
        raise KeyError('mine')

    with Running(WSGIApp(app)) as running:
        assert is_bare(talk(running.address, GET), 500)
    assert isinstance(errors.only(), KeyError)


@pytest.mark.parametrize('headers', [TEXT, TEXT + length(5)])
def test_raised_in_the_middle(headers, errors):
    body = Iterable(b'he', KeyError('mine'))
    with Running(WSGIApp(answering(body, headers))) as running:
        data = talk(running.address, GET)
    assert data.startswith(b'HTTP/1.1 200 OK') and b'he' in data[-6:]
    assert not data.endswith(b'0\r\n\r\n')
    assert isinstance(errors.only(), KeyError) and body.closed == 1


@pytest.mark.parametrize('headers', [TEXT, TEXT + length(10 ** 12)])
def test_client_that_is_gone(headers):
    """Closed at once, by the thread that served it: nothing but the server's
    references keep the iterable."""
    piece = b'x' * 65536
    body = Iterable()
    body.items = iter(lambda: piece, b'')
    with Running(WSGIApp(answering(body, headers))) as running:
        with dial(running.address) as sock:
            sock.sendall(GET)
            receive_head(sock)
        until(lambda: body.closed)
        taken = body.taken
        assert body.closed == 1
    assert body.closed == 1 and body.taken == taken


def test_close_that_fails(errors):
    class Bad(Iterable):
        def close(self):
            super().close()
            raise KeyError('mine')

    body = Bad(b'hello')
    with Running(WSGIApp(answering(body))) as running:
        data = talk(running.address, GET)
    assert not data.endswith(b'0\r\n\r\n')
    assert isinstance(errors.only(), KeyError) and body.closed == 1


def test_close_that_fails_after_head(errors):
    def close():
        raise KeyError('mine')

    body = Iterable(b'hello')
    body.close = close
    with Running(WSGIApp(answering(body))) as running:
        data = talk(running.address, b'HEAD / HTTP/1.1\r\n' + LAST)
    assert is_bare(data, 500)
    assert isinstance(errors.only(), KeyError)


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Mine:
    """Something of a program's."""


def test_nothing_of_the_program_is_kept(no_collector):
    """No reference cycle keeps a program's objects for a while."""
    kept = []

    def app(environ, start_response):
        mine = environ['mine'] = Mine()
        kept.append(weakref.ref(mine))
        environ['write'] = start_response('200 OK', TEXT)
        yield b'x'
        assert mine

    with Running(WSGIApp(app)) as running:
        assert b'x' in talk(running.address, GET)
        until(lambda: kept[0]() is None)


def test_nothing_is_kept_by_exc_info(no_collector):
    kept = []

    def app(environ, start_response):
        mine = Mine()
        kept.append(weakref.ref(mine))
        start_response('200 OK', TEXT)(b'x')
        try:
            raise KeyError(mine)
        except KeyError:
            start_response('500 Sorry', TEXT, sys.exc_info())

    request = Request('GET', '/', {}, None, [], [], None)
    caught = False
    try:
        WSGIApp(app)(Session(''), request, api)
    except KeyError:
        caught = True
    assert caught and kept[0]() is None


# ------------------------------------------------------------------- validator

@wsgiref.validate.validator
def echo(environ, start_response):
    """Answers with the method, the path and the body."""
    parts = [environ['REQUEST_METHOD'], environ['PATH_INFO']]
    body = environ['wsgi.input'].read(-1)
    headers = TEXT + length(len(' '.join(parts)) + len(body))
    start_response('200 OK', headers)
    if environ['REQUEST_METHOD'] == 'HEAD':
        return []
    return [' '.join(parts).encode('latin-1'), body]


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('address', [b'', ('127.0.0.1', 0), ('::1', 0, 0, 0)])
@pytest.mark.parametrize('data,method,body', [
    (GET, 'GET', b'GET /'),
    (b'DELETE /x/ HTTP/1.1\r\nhost: a\r\n' + LAST, 'DELETE', b'DELETE /x/'),
    (b'OPTIONS / HTTP/1.1\r\n' + LAST, 'OPTIONS', b'OPTIONS /'),
    (b'HEAD / HTTP/1.1\r\n' + LAST, 'HEAD', b''),
    (post(b'abc'), 'POST', b'POST /abc'),
    (chunked(b'a', b'bc'), 'POST', b'POST /abc'),
    (post(b'').replace(b'POST', b'PATCH'), 'PATCH', b'PATCH /'),
])
def test_validator_is_content(address, data, method, body, capfd):
    assert ask(echo, data, method, address).body == body
    assert capfd.readouterr().err == ''


def test_validator_reads_lines():
    @wsgiref.validate.validator
    def app(environ, start_response):
        file = environ['wsgi.input']
        lines = [file.readline(), file.readline(3), *file.readlines(1), *file]
        environ['wsgi.errors'].write('')
        environ['wsgi.errors'].flush()
        start_response('200 OK', TEXT)
        return [b'|'.join(lines)]

    assert ask(app, post(LINES)).body == b'one\n|two|\n|\n|three'


# ----------------------------------------------------------------------- Flask

@pytest.fixture(scope='module')
def served(leaves_nothing):
    """A Flask program of everyday things, and its address."""
    flask = pytest.importorskip('flask', reason='Flask is not installed')
    program = flask.Flask(__name__)
    request = flask.request

    @program.route('/')
    def root():
        return 'hello ' + request.args.get('name', 'you')

    @program.route('/form', methods=['POST'])
    def form():
        return flask.jsonify(request.form)

    @program.route('/json', methods=['PUT'])
    def json():
        return {'got': request.get_json()}

    @program.route('/upload', methods=['POST'])
    def upload():
        file = request.files['file']
        return '{} {}'.format(file.filename, len(file.read()))

    @program.route('/sum', methods=['POST'])
    def count():
        return str(sum(map(len, iter(lambda: request.stream.read(9999), b''))))

    @program.route('/stream')
    def stream():
        return flask.Response(('%d\n' % n for n in range(1000)),
                              mimetype='text/plain')

    @program.route('/large')
    def large():
        piece = b'0123456789abcdef' * 4096
        return flask.Response((piece for _ in range(512)),
                              headers={'content-length': str(512 << 16)})

    @program.route('/file')
    def file():
        return flask.send_file(__file__, conditional=True)

    @program.route('/cookies')
    def cookies():
        response = flask.make_response(request.cookies.get('a', 'none'))
        response.set_cookie('a', '1')
        response.set_cookie('b', '2', httponly=True)
        return response

    @program.route('/old')
    def old():
        return flask.redirect(flask.url_for('root', name='r\xe9'))

    @program.route('/nothing')
    def nothing():
        return ('', 204)

    @program.route('/error')
    def error():
        raise KeyError('mine')

    @program.route('/p/<name>/')
    def page(name):
        return name

    @program.route('/wo')
    def where():
        return request.url + ' ' + str(request.remote_addr)

    with Running(WSGIApp(program), ('127.0.0.1', 0)) as running:
        yield running.address


@pytest.fixture
def conn(served):
    conn = Client(served).connect()
    yield conn
    conn.close()


def test_flask(conn, served):
    response = conn.get('/?name=me', {})
    assert response[:2] == (200, 'OK')
    assert response.headers['content-type'] == 'text/html; charset=utf-8'
    assert response.body.read() == b'hello me'
    assert conn.get('/p/caf%C3%A9/', {}).body.read() == 'caf\xe9'.encode()
    response = conn.get('/p/x', {})
    assert response.status == 308 and response.body.read()
    assert conn.get('/wo?a=%20', {}).body.read() == \
        'http://127.0.0.1:{}/wo?a=%20 127.0.0.1'.format(served[1]).encode()


def test_flask_bodies(conn):
    form = urllib.parse.urlencode({'a': '1', 'b': 'x y\xe9'}).encode()
    response = conn.post('/form', {
        'content-type': 'application/x-www-form-urlencoded'}, form)
    assert response.body.read() == b'{"a":"1","b":"x y\\u00e9"}\n'
    response = conn.put('/json', {'content-type': 'application/json'},
                        b'[1, 2]')
    assert response.body.read() == b'{"got":[1,2]}\n'
    chunks = [(None, b'x' * 50000), (None, b'y' * 50001), (None, b'')]
    response = conn.post('/sum', {}, conn.api.ChunkedBodyIter(chunks))
    assert response.body.read() == b'100001'
    response = conn.post('/json', {}, b'')
    assert response.status == 405
    assert sorted(response.headers['allow'].split(', ')) == ['OPTIONS', 'PUT']
    response.body.read()
    # Nothing of all this has cost the connection.
    assert conn.get('/', {}).body.read() == b'hello you'


@pytest.mark.parametrize('coded', [True, False])
def test_flask_upload(conn, coded):
    data = os.urandom(3 << 20)
    body = (b'--limit\r\ncontent-disposition: form-data; name="file"; '
            b'filename="x.bin"\r\ncontent-type: application/octet-stream'
            b'\r\n\r\n' + data + b'\r\n--limit--\r\n')
    chunks = [(None, body[:999999]), (None, body[999999:]), (None, b'')]
    response = conn.post(
        '/upload', {'content-type': 'multipart/form-data; boundary=limit'},
        conn.api.ChunkedBodyIter(chunks) if coded else body)
    assert response.body.read() == b'x.bin %d' % len(data)


def test_flask_downloads(conn):
    response = conn.get('/stream', {})
    assert response.body.chunked
    assert response.body.read() == b''.join(
        b'%d\n' % n for n in range(1000))
    response = conn.get('/large', {})
    assert response.headers['content-length'] == 512 << 16
    assert sum(map(len, response.body)) == 512 << 16
    with open(__file__, 'rb') as file:
        data = file.read()
    response = conn.get('/file', {})
    assert response.body.read() == data
    tag = response.headers['etag']
    assert conn.get('/file', {'if-none-match': tag})[::3] == (304, None)
    response = conn.get_range('/file', {}, 5, 25)
    assert response.status == 206 and response.body.read() == data[5:25]


def test_flask_cookies(conn):
    response = conn.get('/cookies', {'cookie': 'a=7'})
    assert response.body.read() == b'7'
    assert response.headers['set-cookie'] == [
        'a=1; Path=/', 'b=2; HttpOnly; Path=/']


def test_flask_answers_without_a_body(conn):
    response = conn.head('/?name=x', {})
    assert response[::3] == (200, None)
    assert response.headers['content-length'] == 7
    assert conn.get('/nothing', {})[::3] == (204, None)
    response = conn.get('/old', {})
    assert response.status == 302
    assert response.headers['location'] == '/?name=r%C3%A9'
    response.body.read()
    assert conn.head('/old', {})[::3] == (302, None)


def test_flask_errors(conn, caplog):
    response = conn.get('/none', {})
    assert response.status == 404 and b'404' in response.body.read()
    response = conn.get('/error', {})
    assert response.status == 500
    assert b'Internal Server Error' in response.body.read()
    # It was Flask's own answer, so the connection goes on.
    assert conn.get('/', {}).status == 200


@pytest.mark.skipif(shutil.which('curl') is None, reason='no curl')
def test_flask_and_curl(served):
    with tempfile.NamedTemporaryFile() as file:
        file.write(b'z' * 2000000)
        file.flush()
        done = run_program(
            ['curl', '-sSf', '-F', 'file=@{};filename=z'.format(file.name),
             'http://{}:{}/upload'.format(*served)])
    assert (done.returncode, done.stdout, done.stderr) == \
        (0, b'z 2000000', b'')
