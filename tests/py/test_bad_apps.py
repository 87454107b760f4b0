# SPDX-License-Identifier: MIT OR 0BSD
"""Apps, sources and files that do what they should not: each costs its own
connection at most, is in the log, and leaves nothing.  And objects of every
kind thrown at degu.base in any order.  test_bad_input.py has the table of bad
answers; here is what happens behind it."""

import builtins
import io
import logging
import random
import socket
import sys
import threading

import pytest

from degu.base import (
    Body,
    BodyIter,
    ChunkedBody,
    ChunkedBodyIter,
    Connection,
    ContentRange,
    Range,
    Request,
    Response,
    Session,
    api,
)
from degu.client import Client
from peers import (
    WAIT,
    Running,
    Script,
    answers,
    dial,
    everything,
    is_bare,
    outcome,
    send_all,
    talk,
    until,
)

GET = b'GET / HTTP/1.1\r\n\r\n'
LAST = b'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'
PUT = b'PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello'
PUT_CHUNKS = (b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n'
              b'5\r\nhello\r\n0\r\n\r\n')


class Switch:
    """Does what a test says, or says hello."""

    def __init__(self):
        self.answer = None

    def __call__(self, session, request, api):
        if self.answer is None:
            return (200, 'OK', {}, b'hello')
        return self.answer(session, request, api)


@pytest.fixture(scope='module')
def served():
    app = Switch()
    with Running(app, timeout=WAIT) as running:
        running.app = app
        yield running


@pytest.fixture
def app(served):
    """Afterwards the server is as it was."""
    yield served.app
    served.app.answer = None
    for _ in range(2):
        (answer,) = answers(talk(served.address, LAST))
        assert (answer.status, answer.body) == (200, b'hello')


def errors(caplog):
    return [record.exc_info and record.exc_info[1]
            for record in caplog.records if record.levelno >= logging.ERROR]


# ---------------------------------------------------- shapes of an answer

class Tuple(tuple):
    pass


class Four:
    """Looks like an answer and is none."""

    def __iter__(self):
        return iter((200, 'OK', {}, None))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return (200, 'OK', {}, None)[index]


def consumed(body):
    body.write_to(io.BytesIO())
    return body


def started(body):
    body.read(1)
    return body


def broken(body):
    with pytest.raises(Exception):
        body.write_to(Failing())
    return body


class Failing:
    """A file that can nothing."""

    def write(self, data):
        raise KeyError('write')

    def readinto(self, buffer):
        raise KeyError('readinto')

    def readline(self, size):
        raise KeyError('readline')


class Lying:
    """A file that claims to have done more, or less, or something else."""

    def __init__(self, returned):
        self.returned = returned
        self.calls = 0

    def readinto(self, buffer):
        self.calls += 1  # there are bodies that would never end
        return self.returned if self.calls < 100 else 0

    def readline(self, size):
        return self.returned


def first(error):
    raise error
    yield


class NoIter:
    def __iter__(self):
        raise KeyError('iter')


class BadIter:
    def __iter__(self):
        return 5


SHAPES = [
    lambda: [200, 'OK', {}, None], Four, lambda: Tuple((200, 'OK', {})),
    lambda: (200, 'OK', {}, None, None), lambda: iter((200, 'OK', {}, None)),
    lambda: (None, 'OK', {}, None), lambda: (True, 'OK', {}, None),
    lambda: ('200', 'OK', {}, None), lambda: (10**30, 'OK', {}, None),
    lambda: (200, None, {}, None), lambda: (200, 'OK', None, None),
    lambda: (200, 'OK', {}, NotImplemented), lambda: (200, 'OK', {}, ...),
    lambda: (200, 'OK', {}, Body), lambda: Response,
    lambda: Response(200, 'OK', {}, 5), lambda: Response('x', 'OK', {}, None),
    lambda: (200, 'OK', {'a': [1]}, None), lambda: (200, 'OK', {(): 1}, None),
    lambda: (200, 'OK', mkdict(65), None),
    lambda: (200, 'OK', {}, consumed(Body(io.BytesIO(b'hello'), 5))),
    lambda: (200, 'OK', {}, started(Body(io.BytesIO(b'hello'), 5))),
    lambda: (200, 'OK', {}, broken(Body(io.BytesIO(b'hello'), 5))),
    lambda: (200, 'OK', {}, consumed(BodyIter([b'hello'], 5))),
    lambda: (200, 'OK', {}, broken(BodyIter([b'hello'], 5))),
    lambda: (200, 'OK', {}, consumed(ChunkedBodyIter([(None, b'')]))),
    lambda: (200, 'OK', {}, consumed(ChunkedBody(io.BytesIO(b'0\r\n\r\n')))),
    lambda: (200, 'OK', {}, Body(Failing(), 5)),
    lambda: (200, 'OK', {}, ChunkedBody(Failing())),
    lambda: (200, 'OK', {}, ChunkedBody(io.BytesIO(b''))),
    lambda: (200, 'OK', {}, ChunkedBody(io.BytesIO(b'x\r\n'))),
    *[lambda value=value: (200, 'OK', {}, Body(Lying(value), 5))
      for value in (None, 6, -1, 2**70, True, '5', b'hello', 0, 5.0)],
    *[lambda value=value: (200, 'OK', {}, ChunkedBody(Lying(value)))
      for value in (None, 5, '5\r\n', b'', b'x' * 5000, bytearray(b'5\r\n'))],
    lambda: (200, 'OK', {}, BodyIter(NoIter(), 5)),
    lambda: (200, 'OK', {}, BodyIter(BadIter(), 5)),
    lambda: (200, 'OK', {}, ChunkedBodyIter(NoIter())),
    *[lambda error=error: (200, 'OK', {}, BodyIter(first(error), 5))
      for error in (KeyError, SystemExit, GeneratorExit, KeyboardInterrupt,
                    MemoryError, ConnectionResetError, TimeoutError)],
    *[lambda error=error: (200, 'OK', {}, ChunkedBodyIter(first(error)))
      for error in (KeyError, SystemExit, BrokenPipeError)],
    *[lambda item=item: (200, 'OK', {}, BodyIter([item], 5))
      for item in (None, 5, 'hello', [b'hello'], (None, b'hello'), ...,
                   b'hello!', memoryview(b'h-e-l-l-o')[::2])],
    *[lambda item=item: (200, 'OK', {}, ChunkedBodyIter([item, (None, b'')]))
      for item in (None, 5, b'hello', (b'hello',), [None, b'x'], (5, b'x'),
                   (None, 'x'), (('k',), b'x'), ((b'k', 'v'), b'x'),
                   (None, b''), (('k', 'v', 'w'), b'x'))]]


def mkdict(count):
    return {str(number): 'x' for number in range(count)}


@pytest.mark.parametrize('number', range(len(SHAPES)))
@pytest.mark.parametrize('data', [GET, PUT])
def test_bad_shape(served, app, number, data, caplog):
    """A bare 500, one entry in the log; whatever the request was."""
    app.answer = lambda *args: SHAPES[number]()
    assert is_bare(talk(served.address, data), 500)
    assert len(errors(caplog)) == 1


# --------------------------------------------------- what handlers raise

class Own(BaseException):
    def __str__(self):
        raise KeyError('no text')

    __repr__ = __str__


def deep(*args):
    return deep(*args)


def raising(error):
    def answer(*args):
        if isinstance(error, type):
            raise error
        raise error.with_traceback(None)  # or it would keep all it ever had
    return answer


def chained(*args):
    try:
        1 // 0
    except ZeroDivisionError as error:
        raise KeyError('here') from error


def cyclic(*args):
    error = KeyError('here')
    error.own = error
    error.__context__ = ValueError()
    error.__context__.__context__ = error
    raise error


# Python 3.10 has none.
GROUP = getattr(builtins, 'ExceptionGroup', lambda text, errors: errors[0])


@pytest.mark.parametrize('answer', [
    deep, chained, cyclic, raising(Own()), raising(Own),
    raising(GeneratorExit), raising(SystemExit(0)), raising(MemoryError()),
    raising(StopIteration), raising(GROUP('x', [KeyError()])),
    lambda *args: sys.exit(), lambda *args: bytes(2**62),
    lambda *args: exec('def'), lambda *args: first(KeyError).throw(OSError)])
@pytest.mark.parametrize('data', [GET, PUT, PUT_CHUNKS])
def test_handler_raises(served, app, answer, data):
    app.answer = answer
    assert is_bare(talk(served.address, data), 500)


@pytest.mark.parametrize('when', ['first', 'middle', 'end'])
@pytest.mark.parametrize('chunked', [False, True])
@pytest.mark.parametrize('error', [KeyError, SystemExit, ConnectionError])
def test_source_raises(served, app, when, chunked, error, caplog):
    """Before a byte has left it is a 500; later the peer sees the cut."""
    def source():
        for number in range(3):
            if number == {'first': 0, 'middle': 1, 'end': 2}[when]:
                raise error('here')
            data = b'x' * 100000
            yield (None, data) if chunked else data

    app.answer = lambda *args: (200, 'OK', {}, ChunkedBodyIter(source())
                                if chunked else BodyIter(source(), 300000))
    found = talk(served.address, GET)
    if when == 'first':
        assert is_bare(found, 500)
    else:
        assert found.startswith(b'HTTP/1.1 200 OK\r\n')
        with pytest.raises((AssertionError, ValueError)):
            answers(found)
        assert b'500 ' not in found
    (logged,) = errors(caplog)
    assert type(logged) is error


def test_file_that_is_too_short(served, app, caplog):
    """What there was has left: the peer sees the cut."""
    app.answer = lambda *args: (200, 'OK', {}, Body(io.BytesIO(b'hell'), 5))
    assert talk(served.address, GET).endswith(b'\r\n\r\nhell')
    assert len(errors(caplog)) == 1


def test_log_that_fails(served, app):
    """A filter of the app's that raises ends no server."""
    class Filter(logging.Filter):
        def filter(self, record):
            raise KeyError('here')

    log = logging.getLogger('degu.server')
    own = Filter()
    hook = sys.unraisablehook
    sys.unraisablehook = lambda *args: None
    log.addFilter(own)
    try:
        app.answer = raising(ValueError())
        for _ in range(3):
            try:
                found = talk(served.address, GET)
            except ConnectionError:
                found = b''
            assert found == b'' or is_bare(found, 500)
    finally:
        log.removeFilter(own)
        sys.unraisablehook = hook


# ------------------------------------------ into the connection once more

class Eager:
    """Reads the request's body as soon as it is asked for an iterator."""

    def __init__(self, body):
        self.body = body

    def __iter__(self):
        return iter([self.body.read()])


def echo(body):
    yield from body


@pytest.mark.parametrize('make', [
    lambda body: BodyIter(Eager(body), 5), lambda body: BodyIter(body, 5),
    lambda body: BodyIter(echo(body), 5),
    lambda body: BodyIter((body.read(1) for _ in range(5)), 5),
    lambda body: BodyIter(iter(lambda: body.read(2), b''), 5),
    lambda body: BodyIter(map(bytes, [body.read()]), 5), lambda body: body])
def test_source_reads_the_requests_body(served, app, make):
    app.answer = lambda s, request, a: (200, 'OK', {}, make(request.body)
                                        if request.body else b'last')
    found = answers(talk(served.address, PUT + PUT + LAST))
    # One that reads only when the head has gone out costs the connection.
    if found[0].headers.get('connection') == 'close':
        assert [answer.body for answer in found] == [b'hello']
    else:
        assert [answer.body for answer in found] == [
            b'hello', b'hello', b'last']


class Nested:
    """A file in whose methods its own body is used."""

    body = None

    def __init__(self, operate):
        self.operate = operate
        self.errors = []

    def use(self):
        try:
            self.operate(self.body)
        except (RuntimeError, ValueError) as error:
            self.errors.append(error)

    def readinto(self, buffer):
        self.use()
        buffer[:1] = b'x'
        return 1

    def readline(self, size):
        self.use()
        return b'1\r\n'

    def write(self, data):
        self.use()
        return len(data)


@pytest.mark.parametrize('operate', [
    lambda body: body.read(), list, lambda body: next(iter(body)),
    lambda body: body.write_to(io.BytesIO()), lambda body: body.write_to(
        body.rfile)])
def test_file_uses_its_own_body(operate):
    """It is told so, and the outer call goes on."""
    file = Nested(operate)
    file.body = Body(file, 3)
    assert file.body.read() == b'xxx'
    assert len(file.errors) == 3
    file = Nested(operate)
    file.body = Body(io.BytesIO(b'hello'), 5)
    assert file.body.write_to(file) == 5
    assert file.errors and file.body.state == 2


def test_source_of_a_request_uses_its_own_connection(served, app):
    told = []

    def source(conn):
        for operate in (lambda: conn.get('/'), conn.check,
                        lambda: conn.put('/', {}, b'x')):
            try:
                operate()
            except RuntimeError as error:
                told.append(error)
        yield b'hello'

    app.answer = lambda s, request, a: (200, 'OK', {}, request.body.read())
    conn = Client(served.address).connect()
    response = conn.put('/', {}, BodyIter(source(conn), 5))
    assert response.body.read() == b'hello'
    assert len(told) == 3
    conn.close()


class Keeper:
    """Keeps the buffer that it is given, and what is behind it."""

    def __init__(self, spoil):
        self.spoil = spoil
        self.kept = []
        self.calls = 0

    def readinto(self, buffer):
        self.calls += 1
        if self.calls > 100:
            return 0
        for kept in self.kept:
            try:
                self.spoil(kept)
            except (BufferError, ValueError, TypeError, AttributeError):
                pass
        self.kept.append(buffer.obj)
        self.kept.append(buffer)
        buffer[:] = b'x' * len(buffer)
        return len(buffer)


@pytest.mark.parametrize('spoil', [
    lambda kept: kept.clear(), lambda kept: kept.extend(b'x' * 100000),
    lambda kept: kept.__delitem__(slice(10, None)),
    lambda kept: kept.release(), lambda kept: kept.__setitem__(0, 5)])
def test_file_that_spoils_the_buffer(spoil):
    """Between two calls it can be as short as it likes."""
    file = Keeper(spoil)
    body = Body(file, 300000)
    for size in (1, 10, 70000, 100000):
        for kept in file.kept:
            try:
                spoil(kept)
            except (BufferError, ValueError, TypeError, AttributeError):
                pass
        file.kept = [kept for kept in file.kept
                     if isinstance(kept, bytearray)]
        assert body.read(size) == b'x' * size


# ------------------------------------------------------ anything, in any order

VALUES = [
    None, True, False, 0, 1, 5, -1, 2**31, 2**63, 10**16, 5.0, float('nan'),
    '', 'a', 'GET', 'PUT', 'HEAD', '/', '/a?b', 'a\r\n', '\xe9', '\ud800',
    'bytes=0-4', b'', b'hello', b'a' * 70000, bytearray(b'hello'),
    memoryview(b'hello'), memoryview(b'hello')[::2], (), (1, 2, 3), ('a', 'b'),
    (('a', 'b'),), (None, b''), [], ['a'], [b'hello'], [(None, b'x')],
    [(None, b'x'), (None, b'')], {}, {'a': 'b'}, {'content-length': 5},
    {'transfer-encoding': 'chunked'}, {5: None}, object(), int, print, ...]

FILES = [
    lambda rng: io.BytesIO(rng.choice([
        b'', b'hello', b'5\r\nhello\r\n0\r\n\r\n', b'x' * 70000])),
    lambda rng: Failing(), lambda rng: Lying(rng.choice(VALUES)),
    lambda rng: Keeper(lambda kept: kept.clear()),
    lambda rng: io.StringIO('hello'),
    lambda rng: Script(rng.choice([
        b'', b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello' * 3,
        b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello'
        b'\r\n0\r\n\r\n', b'junk\r\n\r\n', b'HTTP/1.1 200 OK\r\n\r\nhello']),
        rng.choice([None, 1])),
    lambda rng: socket.socket(), lambda rng: pair(rng),
    lambda rng: (value for value in rng.sample(VALUES, 3))]

CLASSES = [Request, Session, Range, ContentRange, Body, ChunkedBody, BodyIter,
           ChunkedBodyIter, Connection, Response, api._replace]


def pair(rng):
    """A socket whose other end has said all it had to say."""
    (ours, theirs) = socket.socketpair()
    ours.settimeout(0.001)
    theirs.send(rng.choice([
        b'x', b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello',
        b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\nhello']))
    theirs.close()
    return ours


def pick(rng, pool):
    kind = rng.random()
    if kind < 0.35 and pool:
        return rng.choice(pool)
    return rng.choice(FILES)(rng) if kind < 0.55 else rng.choice(VALUES)


# Arguments that are good but for a slip now and then reach further in.
SENSIBLE = {
    Request: lambda rng, pool: ('GET', '/', {}, None, [], ['a'], None),
    Range: lambda rng, pool: (0, 5), ContentRange: lambda rng, pool: (0, 5, 9),
    Session: lambda rng, pool: ('a', (1, 2, 3), 5),
    Body: lambda rng, pool: (rng.choice(FILES)(rng), 5),
    ChunkedBody: lambda rng, pool: (rng.choice(FILES)(rng),),
    BodyIter: lambda rng, pool: (pick(rng, pool), 5),
    ChunkedBodyIter: lambda rng, pool: (pick(rng, pool),),
    Connection: lambda rng, pool: (rng.choice(FILES)(rng), None),
    'request': lambda rng, pool: (
        rng.choice(['GET', 'PUT', 'HEAD']), '/', {}, pick(rng, pool)),
    'put': lambda rng, pool: ('/', {}, pick(rng, pool)),
    'get': lambda rng, pool: ('/', {}), 'read': lambda rng, pool: (3,),
    'write_to': lambda rng, pool: (io.BytesIO(),)}


def arguments(rng, pool, what):
    if what in SENSIBLE and rng.random() < 0.7:
        args = list(SENSIBLE[what](rng, pool))
        if args and rng.random() < 0.3:
            args[rng.randrange(len(args))] = pick(rng, pool)
        return args
    return [pick(rng, pool) for _ in range(rng.randrange(5))]


PROTOCOL = [repr, str, hash, len, iter, list, dict, bool, bytes, next, dir,
            lambda x: x == x, lambda x: x | {}, lambda x: {} | x,
            lambda x: x < x, lambda x: x[0], lambda x: x['method'],
            lambda x: x.__reduce__(), lambda x: type(x)(x), lambda x: x.body,
            lambda x: type(x).__new__(type(x)), lambda x: x.__init__(1, 2),
            lambda x: setattr(x, 'state', 0), lambda x: x.clear(),
            lambda x: x.update(headers=x), lambda x: x.update(body=x)]


def act(rng, pool):
    """One thing done to something: what came of it."""
    kind = rng.random()
    if kind < 0.4 or not pool:
        cls = rng.choice(CLASSES)
        return cls(*arguments(rng, pool, cls))
    target = rng.choice(pool)
    if kind < 0.55:
        return rng.choice(PROTOCOL)(target)
    names = [name for name in dir(type(target)) if not name.startswith('__')]
    if not names or isinstance(target, type):
        return None
    name = rng.choice(names)
    value = getattr(target, name)
    if not callable(value):
        return value
    return value(*arguments(rng, pool, name))


OWN = (Request, Session, Range, ContentRange, Body, ChunkedBody, BodyIter,
       ChunkedBodyIter, Connection, Response)


def run_random(seed, steps=60):
    """One life of random acts.  Anything but an Exception gets out."""
    rng = random.Random(seed)
    pool = []
    for _ in range(steps):
        try:
            made = act(rng, pool)
        except Exception as error:
            # Ours say what is wrong; SystemError is the interpreter's.
            assert not isinstance(error, SystemError), error
        else:
            if isinstance(made, OWN):
                pool.append(made)
        if len(pool) > 12:
            del pool[rng.randrange(len(pool))]


CODE = '''
import gc, os, sys, warnings
warnings.simplefilter('ignore')
sys.setrecursionlimit(300)
from test_bad_apps import run_random
before = set(os.listdir('/proc/self/fd'))
begin = int(sys.argv[1])
for seed in range(begin, begin + int(sys.argv[2])):

    sys.stdout.write('%d\\n' % seed)
    sys.stdout.flush()
    run_random(seed)
    if seed % 50 == 0:
        gc.collect()
gc.collect()
left = set(os.listdir('/proc/self/fd')) - before
assert len(left) <= 1, left
print('done')
'''


@pytest.mark.parametrize('begin', [0, 100000])
def test_anything_in_any_order(begin):
    """Ordinary exceptions, never a crash, and no descriptor left.  The last
    line of its output is the seed for run_random()."""
    (status, output, told) = outcome(CODE, str(begin), '2000')
    last = output.split()[-1:]
    assert (status, last) == (0, ['done']), (last, told[-3000:])


# ----------------------------------------------- threads that share by error

def test_threads_share_a_connection(served, app):
    """Each gets the answer to its own request, or an error."""
    app.answer = lambda s, request, a: (
        200, 'OK', {}, request.uri.encode() * 100)
    conns = [Client(served.address).connect() for _ in range(3)]
    wrong = []

    def run(number):
        for count in range(60):
            uri = f'/{number}-{count}'
            try:
                response = conns[count % 3].get(uri)
                data = response.body.read()
            except (RuntimeError, ValueError, OSError):
                continue
            if data != uri.encode() * 100:
                wrong.append((uri, data))

    threads = [threading.Thread(target=run, args=(number,))
               for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert wrong == []
    for conn in conns:
        conn.close()


def test_threads_share_a_request(served, app):
    """An app's own threads read its body, and it does not wait for them."""
    done = []

    def answer(session, request, api):
        def run():
            try:
                while request.body.read(7):
                    pass
            except (RuntimeError, ValueError, OSError) as error:
                done.append(error)
            else:
                done.append(None)

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        return (200, 'OK', {}, b'early')

    app.answer = answer
    with dial(served.address) as sock:
        send_all(sock, b'PUT / HTTP/1.1\r\ncontent-length: 50000\r\n\r\n')
        send_all(sock, b'x' * 1000)
        try:
            found = everything(sock)
        except ConnectionResetError:
            found = b''
    assert found == b'' or found.startswith(b'HTTP/1.1 ')
    until(lambda: len(done) == 3)
