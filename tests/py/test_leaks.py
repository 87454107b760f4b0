# SPDX-License-Identifier: MIT OR 0BSD
"""Nothing is kept that nobody needs, and no abuse ends the interpreter.

All of it in child processes, so that a crash is a failed test.
"""

import json
import os

import pytest

from growth import TIMES, Work
from peers import HERE, outcome

ACTIONS = [name for name in vars(Work) if not name.startswith('_')] + ['serve']
# Sanitizers keep what was freed for a while.
SANITIZED = 'DEGU_SANITIZED' in os.environ


@pytest.fixture(scope='module')
def growth():
    with open(os.path.join(HERE, 'growth.py')) as file:
        (status, output, errors) = outcome(file.read())
    assert (status, errors) == (0, '')
    return json.loads(output)


@pytest.mark.parametrize('action', ACTIONS)
def test_growth(growth, action):
    """Memory and descriptors are flat over many of these."""
    (blocks, resident, descriptors) = growth[action]
    assert blocks < TIMES // 2
    assert SANITIZED or resident < TIMES * 4096
    assert descriptors <= 0


# -------------------------------------------------------------------- cycles

CYCLES = '''
import gc, io
from degu.base import Connection, Request, Session, api
from peers import Running, Script, talk, until
count = 0

class Witness:
    def __init__(self, *kept):
        self.kept = list(kept)

    def __del__(self):
        global count
        count += 1

class Sock(Witness, Script):
    def __init__(self, data):
        Script.__init__(self, data)
        self.kept = []

class File(Witness, io.BytesIO):
    def __init__(self, data):
        io.BytesIO.__init__(self, data)
        self.kept = []

    def write(self, data):
        return len(data)

def make():
    global count
    {}

gc.disable()
make()
gc.collect()
assert count == {}, count
'''


@pytest.mark.parametrize('code', [
    # A session that is found in its own store, as S24 has it.
    "s = Session(1); w = Witness(s); s.store['w'] = w",
    "s = Session(Witness()); s.store['s'] = s",
    "p = []; r = Request('GET', '/', {}, None, [], p, None); "
    "p += [r, Witness(r)]",
    "h = {}; r = Request('GET', '/', h, None, [], [], None); "
    "h['r'] = r; h['w'] = Witness()",
    "i = []; i += [api.BodyIter(i, 5), Witness()]",
    "i = []; i += [api.ChunkedBodyIter(i), Witness()]",
    "f = File(b'hello'); f.kept += [api.Body(f, 5)]",
    "f = File(b'hello'); b = api.Body(f, 5); b.read(2); f.kept += [b]",
    "f = File(b'0\\r\\n\\r\\n'); f.kept += [api.ChunkedBody(f)]",
    "s = Sock(b''); s.kept += [Connection(s, None)]",
    "s = Sock(b'HTTP/1.1 200 OK\\r\\ncontent-length: 5\\r\\n\\r\\nhello'); "
    "s.kept += [Connection(s, None).get('/', {})]"])
def test_cycles(code):
    """What holds itself is found by the collector."""
    assert outcome(CYCLES.format(code, 1)) == (0, '', '')


@pytest.mark.parametrize('more', [
    "session.store['me'] = session", "session.store['me'] = (session, request)",
    "request.headers['me'] = (session, request)",
    "request.path.append([session, request, request.body])"])
def test_cycles_of_a_server(more):
    """S24, as an app makes them; gone when the connection is."""
    code = '''
def app(session, request, api):
        session.store['witness'] = Witness(session)
        {}
        return (200, 'OK', {{}}, request.body and request.body.read())
    with Running(app) as running:
        for _ in range(3):
            talk(running.address, b'PUT /a HTTP/1.1\\r\\ncontent-length: 5'
                 b'\\r\\nconnection: close\\r\\n\\r\\nhello')
'''.format(more).strip()
    assert outcome(CYCLES.format(code, 3)) == (0, '', '')


def test_what_ends_is_let_go_at_once():
    """No collector is needed where there is no cycle."""
    code = '''
def app(session, request, api):
        session.store['witness'] = Witness()
        return (200, 'OK', {}, b'hello')
    with Running(app) as running:
        for number in range(1, 4):
            talk(running.address, b'GET / HTTP/1.1\\r\\nconnection: close'
                 b'\\r\\n\\r\\n')
            until(lambda: count == number)
'''.strip()
    assert outcome(CYCLES.format(code.replace('{}', '{{}}').replace(
        '{{}}', '{}'), 3)) == (0, '', '')


# --------------------------------------------------------------------- abuse

OBJECTS = '''
import copy, gc, io, pickle, sys, weakref
from degu.base import (Connection, ContentRange, Range, Request, Response,
                       Session, api)
from degu.server import Server
from peers import Running, Script

DATA = b'HTTP/1.1 200 OK\\r\\ncontent-length: 5\\r\\n\\r\\nhello'

def objects():
    response = Connection(Script(DATA), None).get('/', {})
    return [Range(0, 5), ContentRange(0, 5, 9), Session(1, (1, 2, 3), 5),
            Request('GET', '/', {}, None, [], ['a'], 'q'),
            api.Body(io.BytesIO(b'hello'), 5),
            api.ChunkedBody(io.BytesIO(b'0\\r\\n\\r\\n')),
            api.BodyIter([b'hello'], 5), api.ChunkedBodyIter([(None, b'')]),
            Connection(Script(DATA), None), response, response.body,
            response.body.rfile, api]

WRONG = [None, 5, -1, 2**70, 'x', b'x', [], {}, (), object(), print,
         io.BytesIO(),
         api.Range(0, 5), 1.5, True, type]
'''


@pytest.mark.parametrize('code', [
    # Objects that were never made (S23).
    '''
for one in objects():
    kind = type(one)
    for make in (lambda: kind.__new__(kind), lambda: object.__new__(kind),
                 lambda: tuple.__new__(kind, (1, 2, 3, 4)),
                 lambda: kind.__new__(kind, None), lambda: kind(),
                 lambda: kind.__new__(object), lambda: kind.__new__()):
        try:
            half = make()
        except Exception:
            continue
        for name in dir(half):
            try:
                getattr(half, name)()
            except Exception:
                pass
''',
    # The constructor and initialiser again, with anything.
    '''
for one in objects():
    for args in ((), (None,), (b'', 5), (5, 6), (one, one), (1, 2, 3),
                 ('GET', '/', {}, None, [], [], None), (Script(DATA), None)):
        for call in (one.__init__, type(one), type(one).__init__):
            try:
                call(*args)
            except Exception:
                pass
        try:
            type(one).__init__(one, *args)
        except Exception:
            pass
    repr(one)
''',
    # Every method with a wrong self.
    '''
everything = objects()
for one in everything:
    for name in dir(type(one)):
        method = getattr(type(one), name)
        for other in everything + WRONG:
            if type(other) is type(one) or not callable(method):
                continue
            for args in ((), (None,), (1, 2)):
                try:
                    method(other, *args)
                except BaseException:
                    pass
''',
    # Every method with wrong arguments, until nothing is left to be read.
    '''
for args in [()] + [(a,) for a in WRONG] + [
        (a, b) for a in WRONG for b in ({}, None, 5)] + [
        ('/', {}, a) for a in WRONG] + [('GET', '/', {}, a) for a in WRONG]:
    for one in objects():
        for name in dir(one):
            try:
                method = getattr(one, name)
            except Exception:
                continue
            if name in ('__class__', '__subclasshook__', '__init_subclass__'):
                continue
            try:
                method(*args)
            except Exception:
                pass
''',
    # Changed and deleted attributes, of objects and of types.
    '''
for one in objects():
    for target in (one, type(one)):
        for name in dir(target) + ['new', '__dict__', '__weakref__']:
            if target is type(one) and name in ('__module__', '__doc__'):
                continue
            for value in WRONG[:6]:
                try:
                    setattr(target, name, value)
                except Exception:
                    pass
            try:
                delattr(target, name)
            except Exception:
                pass
    try:
        one.__class__ = Session
    except TypeError:
        pass
    try:
        repr(one)
    except AttributeError:
        pass
''',
    # Copies, pickles, weak references, subclasses.
    '''
for one in objects():
    for call in (copy.copy, copy.deepcopy, weakref.ref, hash, len, iter, next,
                 sys.getsizeof, vars, bytes, str, dir, gc.get_referents,
                 lambda x: x < x, lambda x: x == 5, lambda x: x[0],
                 lambda x: x['method'], lambda x: x + x,
                 lambda x: type('Sub', (type(x),), {})(5, 5),
                 lambda x: type('Sub', (type(x),), {'__init__': print})()):
        try:
            call(one)
        except Exception:
            pass
    for protocol in range(6):
        try:
            pickle.loads(pickle.dumps(one, protocol))
        except Exception:
            pass
''',
    # What the collector sees, and its clearing in any order.
    '''
for round in range(20):
    kept = objects()
    for one in gc.get_objects():
        type(one)
    for one in kept:
        gc.get_referents(one), gc.get_referrers(one)
    ring = []
    ring += kept + [ring]
    session = Session(ring)
    session.store['ring'] = ring
    ring.append(session)
    ring.append(api.BodyIter(ring, 5))
    del kept, ring, session
    gc.collect()
''',
    # A file that keeps the memory it was given (S23).
    '''
class Keeper:
    def __init__(self):
        self.views = []
    def readinto(self, buf):
        self.views.append(buf)
        try:
            self.views.append(memoryview(buf))
        except ValueError:
            pass
        buf[:] = b'x' * len(buf)
        return len(buf)
    recv_into = readinto
    def readline(self, size):
        return b'5\\\\r\\\\n'

for size in (5, 100000):
    keeper = Keeper()
    body = api.Body(keeper, size)
    data = None
    try:
        data = body.read()
    except (ValueError, BufferError):
        pass
    del body
    gc.collect()
    for view in keeper.views:
        try:
            view[:] = b'y' * len(view)
        except ValueError:
            pass
    assert data is None or data == b'x' * size
''',
    # Calls that come back while they are running.
    '''
class Nested:
    body = None
    def readinto(self, buf):
        for call in (lambda: self.body.read(), lambda: self.body.read(1),
                     lambda: next(self.body),
                     lambda: self.body.write_to(io.BytesIO())):
            try:
                call()
            except (ValueError, RuntimeError, StopIteration):
                pass
        self.body = None
        gc.collect()
        buf[:1] = b'x'
        return 1

file = Nested()
file.body = api.Body(file, 1)
assert file.body.read() == b'x'

def source():
    try:
        body.write_to(io.BytesIO())
    except (ValueError, RuntimeError):
        pass
    yield b'x'

body = api.BodyIter(source(), 1)
assert body.write_to(io.BytesIO()) == 1
''',
    # Dicts and lists that change while they are read.
    '''
class Key(str):
    def __hash__(self):
        headers.clear()
        return 5
    def __eq__(self, other):
        headers.clear()
        return True

headers = {}
for value in WRONG:
    headers = {'a': 'b', 'set-cookie': ['c', 'd'], 'e': value}
    headers[Key('x')] = value
    try:
        Connection(Script(DATA), None).get('/', headers)
    except Exception:
        pass

class Ugly:
    def __repr__(self):
        headers.clear()
        raise KeyError('repr')

for value in (Ugly(), [Ugly()]):
    headers = {'a': value, 'b': 'c'}
    for call in (lambda: Connection(Script(DATA), None).get('/', headers),
                 lambda: Connection(Script(DATA), None).get(value, headers),
                 lambda: Connection(Script(DATA), None).put('/', {}, value),
                 lambda: api.Body(value, value), lambda: Range(value, value),
                 lambda: Request(value, '/', {}, None, [], [], None),
                 lambda: Session(1, value), lambda: Session(value).__repr__()):
        try:
            call()
        except Exception:
            pass
''',
    # A dict of headers that the source of the body empties.
    '''
import logging
from peers import talk
logging.disable()

def clear():
    headers.clear()
    kept[:] = ['another {} '.format(n) * 4 for n in range(1000)]

class Source:
    def __iter__(self):
        clear()
        return iter(items)

def source():
    clear()
    yield from items
    raise KeyError('here')

kept = []
for bad in ({}, {'x-\\n': 'a'}, {'x-a': 'b\\n' * 100}, {'x-c': None},
            {'x-d': ['e', None]}):
    for (make, items) in (
            (lambda one: api.BodyIter(one, 200000), [b'x' * 100000] * 2),
            (lambda one: api.BodyIter(one, 5), [b'hello']),
            (lambda one: api.BodyIter(one, 5), []),
            (api.ChunkedBodyIter, [(None, b'x' * 100000)] * 2),
            (api.ChunkedBodyIter, [(None, b'hello'), (None, b'')])):
        for one in (Source, source):
            headers = {'x-%d' % n: 'value %d ' % n * 4 + '.'
                       for n in range(30)}
            headers.update(bad)
            headers.update({'y-%d' % n: 10**15 + n for n in range(20)})
            conn = Connection(Script(DATA), None)
            try:
                conn.put('/', headers, make(one()))
            except Exception:
                pass
            headers = {'x-%d' % n: 'value %d ' % n * 4 + '.'
                       for n in range(30)}
            headers.update(bad)
            headers['set-cookie'] = ['a=%d' % n for n in range(9)]
            with Running(lambda *args: (
                    200, 'OK', headers, make(one()))) as running:
                talk(running.address, b'GET / HTTP/1.1\\r\\n\\r\\n'
                     b'GET / HTTP/1.1\\r\\nconnection: close\\r\\n\\r\\n')
''',
    # The insides, called as nobody calls them.
    '''
loop = Server(b'', print)
from degu import _degu
for name in dir(_degu):
    thing = getattr(_degu, name)
    if not callable(thing):
        continue
    for args in ((), (-1,), (None,) * 8,
                 (-1, print, None, 5, 5, 5, print, print),
                 (10**9, print, None, 5, 5, 5, print, print),
                 (loop.sock.fileno(), print, None, 0, 0, 0, print, print),
                 (loop.sock.fileno(), print, None, -5, 5, -9, print, print)):
        try:
            thing(*args)
        except Exception:
            pass
loop.sock.close()
''',
    # Recursion to its limit.
    '''
class Deep:
    def __repr__(self):
        return repr(Session(self))
    def __iter__(self):
        return iter(api.BodyIter(self, 5).write_to(io.BytesIO()))

for call in (lambda: repr(Deep()), lambda: iter(Deep())):
    try:
        call()
    except RecursionError:
        pass
session = Session([])
session.address.append(session)
try:
    repr(session)
except RecursionError:
    pass
'''], ids=['unmade', 'init-again', 'wrong-self', 'wrong-arguments',
        'attributes', 'copies', 'collector', 'kept-memory', 'nested',
        'changing', 'emptied-headers', 'insides', 'deep'])
def test_abuse(code):
    """S23: an exception at most."""
    (status, output, errors) = outcome(OBJECTS + code + 'print("alive")\n')
    assert (status, errors) == (0, '')
    assert output.endswith('alive\n')


def test_exit_while_serving():
    """The interpreter ends while threads serve and a client is connected."""
    for end in ('', 'os._exit(0)', 'sys.exit(0)', 'raise SystemExit(0)'):
        assert outcome('''
import os, sys, threading
from degu.client import Client
from degu.server import Server
server = Server(b'', lambda *args: (200, 'OK', {}, b'hello'))
threading.Thread(target=server.serve_forever, daemon=True).start()
conn = Client(server.address).connect()
body = conn.get('/', {}).body
''' + end) == (0, '', '')


def test_exit_while_a_handler_blocks():
    assert outcome('''
import threading
from degu.client import Client
from degu.server import Server
entered = threading.Event()

def app(session, request, api):
    entered.set()
    threading.Event().wait()

server = Server(b'', app)
threading.Thread(target=server.serve_forever, daemon=True).start()
sock = Client(server.address).create_socket()
sock.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')
assert entered.wait(20)
sock.close()
''') == (0, '', '')
