# SPDX-License-Identifier: MIT OR 0BSD
"""The hostile acts of hostile.py, in groups: each yields (name, act), and an
act is called in a process of its own."""

import contextlib
import copy
import ctypes
import functools
import gc
import io
import itertools
import operator
import pickle
import socket
import ssl
import tempfile
import types
import weakref

from hostile import Wrong

from classes import CLASSES, make_pki, public_classes
from degu import _degu, misc, util
from degu.applib import FilesApp, Router
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
)
from degu.client import Client
from degu.server import Server
from peers import Running, dial

GROUPS = {}


def group(function):
    GROUPS[function.__name__] = function
    return function


# ----------------------------------------------------------------- both ends

def echo(session, request, api):
    """What was asked for, and what came with it."""
    body = request.body.read() if request.body else b''
    return (200, 'OK', {}, request.uri.encode() + b' ' + body)


@contextlib.contextmanager
def reached(evil=echo, on_connect=None, **options):
    """A connection to a server that calls evil() for what is below /evil, and
    echoes else.  Afterwards everybody has to get the answer that is theirs."""
    def app(*args):
        return (evil if args[1].path[:1] == ['evil'] else echo)(*args)

    app.on_connect = on_connect
    with Running(app, **options) as running:
        conn = Client(running.address, timeout=5).connect()
        try:
            yield conn
        finally:
            ask_own(conn)
            conn.close()
            app.on_connect = None
            if running.thread.is_alive():
                ask_own(Client(running.address, timeout=5))


def ask_own(conn):
    """Raises Wrong if the answer belongs to another request."""
    for uri in ('/own', '/own/2'):
        try:
            answer = conn.get(uri, {}).body.read()
        except Exception:
            return
        if answer != uri.encode() + b' ':
            raise Wrong(uri, answer)


def expect(found, *wanted):
    if found not in wanted:
        raise Wrong(found[:100])


# -------------------------------------------------- what is done to an object

def enter(thing):
    with thing:
        pass


PROTOCOL = [
    repr, str, hash, len, iter, next, list, dict, bool, bytes, int, dir, vars,
    enter, copy.copy, copy.deepcopy, weakref.ref, gc.get_referents, memoryview,
    operator.index, lambda x: x == x, lambda x: x == {}, lambda x: x < x,
    lambda x: x | {}, lambda x: {} | x, lambda x: x[0], lambda x: x['method'],
    lambda x: operator.setitem(x, 'method', x), lambda x: x in x,
    lambda x: operator.delitem(x, 'method'), lambda x: x(), reversed,
    lambda x: x(x, x, x), lambda x: pickle.dumps(x, 2),
    lambda x: x.__sizeof__(),
    lambda x: setattr(x, '__class__', dict), lambda x: operator.ior(x, {1: 2})]

# Where it is given to something else.
PLACES = [
    lambda x: BodyIter([x], 5).write_to(io.BytesIO()),
    lambda x: ChunkedBodyIter([x]).write_to(io.BytesIO()),
    lambda x: Body(x, 5).read(), lambda x: ChunkedBody(x).read(),
    lambda x: Connection(x).get('/'), lambda x: Server(x, echo),
    lambda x: _degu.write_to(x, io.BytesIO()), lambda x: Client(x).connect(),
    lambda x: misc.format_headers({'x': x}), lambda x: Router({'a': x}),
    lambda x: Body(io.BytesIO(b'hello'), 5).write_to(x),
    lambda x: client_gives({'x': x}, None), lambda x: client_gives(x, None),
    lambda x: client_gives({}, x), lambda x: server_gives(x),
    lambda x: server_gives((200, 'OK', {}, x)),
    lambda x: server_gives((200, 'OK', {'x': x}, None))]


def client_gives(headers, body):
    with reached() as conn:
        conn.put('/', headers, body)


def server_gives(answer):
    with reached(lambda *args: answer) as conn:
        conn.get('/evil').body.read()


def use_attribute(name, thing):
    """Read, called, set and deleted."""
    for operate in (
            lambda: getattr(thing, name)(), lambda: getattr(thing, name)(None),
            lambda: getattr(thing, name)('a', 'b'),
            lambda: getattr(thing, name)(thing, thing, thing),
            lambda: setattr(thing, name, thing), lambda: delattr(thing, name),
            lambda: getattr(thing, name)):
        with contextlib.suppress(Exception):
            operate()


def chain(make, operate):
    return lambda: operate(make())


def numbered(make, operations):
    for (number, operate) in enumerate(operations):
        yield (getattr(operate, '__name__', '') + str(number),
               chain(make, operate))


def uses(cls, make):
    yield from numbered(make, PROTOCOL)
    yield from numbered(make, PLACES)
    for name in dir(cls):
        yield (name, chain(make, functools.partial(use_attribute, name)))


# --------------------------------------------------------------- half-made

@functools.cache
def every_class():
    """The public ones, and those that only the extension makes."""
    own = {one for one in vars(_degu).values() if isinstance(one, type)}
    return tuple(sorted(public_classes() | own, key=lambda cls: cls.__name__))


def ways(cls):
    """Of an object without its __init__()."""
    for base in cls.__mro__:
        if '__new__' in vars(base):
            for args in ((), ((),), (1, 2, 3)):
                yield lambda base=base, args=args: base.__new__(cls, *args)


@group
def unmade():
    """Objects without __init__(), if there are any to be had."""
    for cls in every_class():
        for (number, make) in enumerate(ways(cls)):
            name = '{}.__new__ {}'.format(cls.__name__, number)
            yield (name, make)
            with contextlib.suppress(Exception):
                make()
                for (use, act) in uses(cls, make):
                    yield (name + ' ' + use, act)


def begin_again(args, thing):
    """A second __init__(), and a look at what is left."""
    for _ in range(2):
        with contextlib.suppress(Exception):
            thing.__init__(*args)
    for operate in PROTOCOL[:20]:
        with contextlib.suppress(Exception):
            operate(thing)


@group
def again():
    """A second __init__(), also while the object is in use."""
    make_pki()
    folder = tempfile.mkdtemp()
    for cls in sorted(CLASSES, key=lambda cls: cls.__name__):
        make = functools.partial(CLASSES[cls][0], folder)
        for args in ((), (None,), (make,), (b'', echo), (1, 2, 3), ({}, b'')):
            yield (cls.__name__ + ' {}'.format(len(args)),
                   chain(make, functools.partial(begin_again, args)))
    for (number, (make, first)) in enumerate(itertools.product(
            IN_USE, ((), (io.BytesIO(b'other'), 5), (b'other',)))):
        yield ('in use {}'.format(number), functools.partial(make, first))


def body_begins_again(args):
    class File(io.BytesIO):
        def readinto(self, view):
            with contextlib.suppress(Exception):
                body.__init__(*args)
            return super().readinto(view)

    body = Body(File(b'hello'), 5)
    expect(body.read(), b'hello')


def iter_begins_again(args):
    def source():
        for piece in (b'he', b'llo'):
            with contextlib.suppress(Exception):
                body.__init__(*args)
            yield piece

    body = BodyIter(source(), 5)
    file = io.BytesIO()
    body.write_to(file)
    expect(file.getvalue(), b'hello')


def all_begin_again(args):
    def evil(session, request, api):
        for one in (session, request, request.body, api):
            with contextlib.suppress(Exception):
                one.__init__(*args)
        return echo(session, request, api)

    with reached(evil) as conn:
        answer = conn.put('/evil', {}, b'hello')
        for one in (conn, answer, answer.body):
            with contextlib.suppress(Exception):
                one.__init__(*args)
        expect(answer.body.read(), b'/evil hello')


def server_begins_again(args):
    with Running(echo) as running:
        with contextlib.suppress(Exception):
            running.server.__init__(*args)
        client = Client(running.address, timeout=5)
        client.get('/').body.read()
        with contextlib.suppress(Exception):
            client.__init__(*args)
        client.__init__(running.address)
        ask_own(client)


IN_USE = [body_begins_again, iter_begins_again, all_begin_again,
          server_begins_again]


# ------------------------------------------------------------ hostile values

METHODS = (
    '__str__ __repr__ __bytes__ __index__ __int__ __float__ __len__ __iter__ '
    '__next__ __getitem__ __contains__ __hash__ __eq__ __lt__ __bool__ '
    '__format__ __call__ __fspath__ __buffer__ __enter__ __get__ __await__ '
    'keys items get read readinto recv_into send close write readline fileno '
    'gettimeout shutdown'.split())
BASES = (object, str, bytes, int, dict, list, tuple, bytearray)


def give_itself(self, *args, calls=iter(range(100000))):
    """As its own iterator it would never end."""
    if next(calls, None) is None:
        raise StopIteration
    return self


def again_and_again(self, *args):
    return str(self) + repr(self)


def look(self, *args, inside=[]):
    """At all that the collector knows, for the first few times."""
    if not inside and len(LOOKS) < 5:
        inside.append(self)
        LOOKS.append(self)
        abuse_every(None)
        inside.clear()
    return print


LOOKS = []


def fail(error):
    def method(self, *args):
        raise error
    return method


def give(result):
    return lambda self, *args: result


BEHAVIOURS = [
    fail(ValueError('hostile')), fail(KeyboardInterrupt()), fail(OSError()),
    give_itself, again_and_again, give(None), give(2**70),
    give(-1), give(b'x' * 100), give('\udc80'), give(1.5)]


def hostile_value(base, behaviour):
    """Of a class, and a class of that, whose every method misbehaves."""
    meta = type('Meta', (type,), {'__repr__': behaviour, '__call__':
                                  lambda cls, *args: type.__call__(cls, *args)})
    methods = dict.fromkeys(METHODS, behaviour)
    if behaviour is look:
        methods = {'__getattribute__': look}
    return meta('Evil', (base,), methods)()


class Liar:
    """Passes for what it is not."""

    def __init__(self, cls):
        self.cls = cls

    __class__ = property(lambda self: self.cls)


def hostile_values():
    for (base, behaviour) in itertools.product(BASES, range(len(BEHAVIOURS))):
        yield ('{} {}'.format(base.__name__, behaviour), functools.partial(
            hostile_value, base, BEHAVIOURS[behaviour]))
    yield ('look', functools.partial(hostile_value, object, look))
    for cls in (Body, BodyIter, dict, str, tuple, Request, Range, bytes, type):
        yield ('liar ' + cls.__name__, functools.partial(Liar, cls))


def on_client(operate):
    """operate(conn, value)"""
    def act(value):
        with reached() as conn:
            operate(conn, value)
    return act


def request_with(value):
    for number in range(7):
        args = ['GET', '/', {}, None, [], ['a'], None]
        args[number] = value
        with contextlib.suppress(Exception):
            request = Request(*args)
            request.shift_path()
            request.build_proxy_uri()
            repr(request)


def request_changed(value):
    request = Request('GET', '/', {}, None, [], ['a'], None)
    for operate in (
            lambda: request.update({'path': [value], 'query': value}),
            request.build_proxy_uri, request.shift_path,
            lambda: request.__setitem__(value, value), lambda: request[value],
            lambda: request.update(value), lambda: request.pop(value),
            lambda: request.setdefault(value, value), lambda: request | value,
            lambda: request.update(script=value), request.shift_path,
            lambda: request == value, lambda: repr(request), request.clear,
            request.shift_path, request.build_proxy_uri):
        with contextlib.suppress(Exception):
            operate()


def hooks_answer(value):
    with reached(on_connect=lambda session, sock: value,
                 on_exchange=lambda *args: value.text) as conn:
        conn.get('/')


ENTRIES = [
    *(lambda v, cls=cls, count=count: cls(*[v] * count) for (cls, count) in (
        (Session, 1), (Session, 3), (Range, 2), (ContentRange, 3), (Body, 2),
        (BodyIter, 2), (Connection, 1), (Connection, 3), (Client, 1),
        (FilesApp, 1), (Client, 2))),
    *map(on_client, (
        lambda conn, v: conn.get(v), lambda conn, v: conn.get('/', v),
        lambda conn, v: conn.get('/', {'x': v}),
        lambda conn, v: conn.get('/', {v: 'x'}),
        lambda conn, v: conn.get('/', {'set-cookie': v}),
        lambda conn, v: conn.get('/', {'set-cookie': ['a', v]}),
        lambda conn, v: conn.get('/', {'content-length': v, 'range': v}),
        lambda conn, v: conn.get_range('/', v, 0, 1),
        lambda conn, v: conn.get_range('/', {}, v, v),
        lambda conn, v: conn.get_range('/', {'range': v}, 0, 1),
        lambda conn, v: conn.request(v, v), lambda conn, v: conn.put(
            '/', {}, v), lambda conn, v: conn.put('/', {}, BodyIter(v, 5)),
        lambda conn, v: conn.put('/', {}, BodyIter([v], 5)),
        lambda conn, v: conn.put('/', {}, ChunkedBodyIter([(v, b'x')])),
        lambda conn, v: conn.put('/', {}, ChunkedBodyIter([((v, v), b'x')])),
        lambda conn, v: conn.put('/', {}, ChunkedBodyIter([(None, v)])),
        lambda conn, v: conn.put('/', {}, Body(v, 5)),
        lambda conn, v: conn.put('/', {}, ChunkedBody(v)),
        lambda conn, v: conn.get('/').body.read(v),
        lambda conn, v: conn.get('/').body.write_to(v),
        lambda conn, v: Connection(conn.sock, ((v, v),)).get('/'))),
    *PLACES, request_with, request_changed, hooks_answer,
    lambda v: server_gives((v, 'OK', {}, None)),
    lambda v: server_gives((200, v, {}, None)),
    lambda v: server_gives((200, 'OK', v, None)),
    lambda v: server_gives((200, 'OK', {v: 'x', 'set-cookie': [v]}, None)),
    lambda v: server_gives(Response(200, 'OK', {}, BodyIter([v], 5))),
    lambda v: server_gives((200, 'OK', {}, ChunkedBodyIter(v))),
    lambda v: Client(b'x', timeout=v), lambda v: Client(b'x', on_connect=v),
    lambda v: Server(b'', v), lambda v: Server(b'', echo, bodies=v),
    lambda v: Server(b'', echo, timeout=v, max_connections=v),
    lambda v: util.relative_uri(v), lambda v: util.shift_path(v),
    lambda v: misc.mkreq(v, v), lambda v: misc.parse_headers(v),
    lambda v: misc.write_chunk(v, v), lambda v: misc.format_response(
        v, v, v), lambda v: misc.format_request(v, v, v),
    lambda v: _degu.parse_head(v, v, v), lambda v: _degu.format_address(v),
    lambda v: _degu.parse_address(v), lambda v: _degu.format_range(v, v, v),
    lambda v: _degu.Loop(v, v, v, v, v, v, v, v),
    lambda v: _degu.Loop(0, v, v, 5, 5, 5, 5, 5).serve()]


@group
def values():
    """Each hostile value at each place that takes one."""
    every_class()  # before the fork
    for ((value, make), (number, entry)) in itertools.product(
            hostile_values(), enumerate(ENTRIES)):
        yield ('{} at {}'.format(value, number), chain(make, entry))


# ----------------------------------------------------------- hostile sources

class Scene:
    """What a source can get hold of."""

    def __init__(self, headers, **more):
        self.headers = headers
        self.__dict__.update(more)


def fill(scene):
    scene.headers.update((str(number), 'x' * number) for number in range(1000))


def swap(scene):
    for name in list(scene.headers):
        scene.headers[name + 'x'] = scene.headers.pop(name)


def lists(scene):
    scene.headers['set-cookie'].clear()
    scene.headers['set-cookie'] += [object()] * 100


def collect(scene):
    with contextlib.suppress(AttributeError):
        del scene.conn
    for _ in range(3):
        gc.collect()


def abuse_every(scene):
    """Whatever the collector finds of ours."""
    for one in gc.get_objects():
        if isinstance(one, every_class()):
            for name in ('close', 'clear', 'read', 'shift_path', 'check'):
                with contextlib.suppress(Exception):
                    getattr(one, name)()


def stop(scene):
    raise KeyError('as asked')


def leave(scene):
    raise SystemExit


def nest(scene):
    scene.body.write_to(io.BytesIO())


def again_body(scene):
    scene.body._state = 0
    scene.body.write_to(io.BytesIO())


def unslot(scene):
    del scene.body._state
    del scene.body._source


MISCHIEF = [
    lambda scene: scene.headers.clear(), fill, swap, lists, collect,
    abuse_every, stop, leave, nest, again_body, unslot,
    lambda scene: scene.conn.close(), lambda scene: scene.conn.sock.close(),
    lambda scene: scene.conn.sock.detach(), lambda scene: scene.conn.check(),
    lambda scene: scene.conn.get('/'), lambda scene: scene.conn.put(
        '/', {}, scene.body), lambda scene: scene.conn.sock.settimeout(0),
    lambda scene: scene.conn.sock.shutdown(2),
    lambda scene: scene.conn.sock.send(b''),
    lambda scene: scene.session.clear(), lambda scene: scene.request.clear(),
    lambda scene: scene.request.body.read(),
    lambda scene: scene.request.body.write_to(io.BytesIO()),
    lambda scene: scene.request.update(body=None), lambda scene: None]

PIECES = [
    b'hello', bytearray(b'hello'), memoryview(b'hello'), 'hello', None, 5,
    b'', bytes(1 << 26), memoryview(b'h-e-l-l-o-')[::2], (None, b'hello'),
    (('k', 'v'), b'hello'), (None, bytes(1 << 25)), ((None, None), b'x'),
    [b'hello'], Response(200, 'OK', {}, b'hello')]


class Source:
    """Does it when it is asked for an iterator, for the first item, for the
    second, or when it goes; all of which is Python."""

    def __init__(self, when, mischief, piece):
        self.when = when
        self.mischief = mischief
        self.pieces = [piece, piece]
        if isinstance(piece, tuple):
            self.pieces.append((None, b''))
        self.step = 0
        self.scene = None

    def act(self):
        if self.scene and self.step == self.when:
            (scene, self.scene) = (self.scene, None)
            self.mischief(scene)
        self.step += 1

    def __iter__(self):
        self.act()
        return self

    def __next__(self):
        self.act()
        if not self.pieces:
            raise StopIteration
        return self.pieces.pop(0)

    def __del__(self):
        self.act()


def new_headers(**more):
    return {'x-a': 'y' * 50, 'set-cookie': ['a=b', 'c=d' * 20], 'x-n': 5,
            **more}


def make_body(kind, source):
    return BodyIter(source, 10) if kind == 'length' else \
        ChunkedBodyIter(source)


def client_source(kind, source):
    with reached() as conn:
        headers = new_headers()
        body = make_body(kind, source)
        source.scene = Scene(headers, conn=conn, body=body)
        answer = conn.put('/put', headers, body)
        expect(answer.body.read(), b'/put hellohello')


def server_source(kind, source):
    def evil(session, request, api):
        headers = new_headers(**{
            'content-range': ContentRange(0, 5, 10)})
        body = make_body(kind, source)
        source.scene = Scene(headers, body=body, session=session,
                             request=request)
        return (206, 'OK', headers, body)

    with reached(evil) as conn:
        answer = conn.put('/evil', {}, b'x' * 100000)
        data = answer.body.read()
        if answer.status == 206:
            expect(data, b'hellohello')


@group
def sources():
    """Iterators of bodies that turn on what sends them."""
    for (end, kind, when, (number, mischief)) in itertools.product(
            (client_source, server_source), ('length', 'chunked'), range(4),
            enumerate(MISCHIEF)):
        piece = b'hello' if kind == 'length' else (None, b'hello')
        yield ('{} {} {} {}'.format(end.__name__, kind, when, number),
               lambda end=end, kind=kind, when=when, mischief=mischief,
               piece=piece: end(kind, Source(when, mischief, piece)))
    for (end, kind, (number, piece)) in itertools.product(
            (client_source, server_source), ('length', 'chunked'),
            enumerate(PIECES)):
        yield ('{} {} piece {}'.format(end.__name__, kind, number),
               lambda end=end, kind=kind, piece=piece: end(
                   kind, Source(9, stop, piece)))


# ------------------------------------------------- hostile files and sockets

def keep(file, view):
    file.kept.append(view)


def keep_part(file, view):
    file.kept.append(memoryview(view)[10:])


def keep_below(file, view):
    file.kept.append(view.obj)


def keep_raw(file, view):
    file.kept.append((ctypes.c_char * len(view)).from_buffer(view))


def give_back(file, view):
    file.kept.append(view.obj)
    view.release()


def empty(file, view):
    below = view.obj
    view.release()
    below.clear()


def grow(file, view):
    below = view.obj
    view.release()
    below.extend(bytes(1 << 20))
    file.kept.append(below)


def end_file(file, view):
    file.close()


def forget(file, view):
    file.owner = None
    gc.collect()


def turn(file, view):
    """Its methods are others from now on."""
    type(file).readinto = type(file).recv_into = stop


VIEWS = [keep, keep_part, keep_below, keep_raw, give_back, empty, grow,
         end_file, forget, turn, lambda file, view: gc.collect(),
         lambda file, view: file.owner.read(), lambda file, view: next(
             file.owner), lambda file, view: file.owner.get('/'),
         lambda file, view: file.owner.close(),
         lambda file, view: file.owner.write_to(file),
         lambda file, view: file.owner.check(),
         lambda file, view: abuse_every(None), leave_view := (
             lambda file, view: leave(None)), lambda file, view: None]

COUNTS = [None, '5', 5.0, True, -1, -2**63, 2**31, 2**63, 2**70, 10**6, b'x',
          object(), float('nan'), [5]]


class File:
    """Of *data*; does something to each view that it gets, and writes later to
    all that it has kept."""

    def __init__(self, data, mischief, count=Ellipsis):
        self.data = io.BytesIO(data)
        self.mischief = mischief
        self.count = count
        self.kept = []
        self.owner = None
        self.depth = 0

    def spoil(self):
        for one in self.kept:
            for at in range(0, len(one), max(1, len(one) // 50)):
                with contextlib.suppress(Exception):
                    one[at] = b'!' if isinstance(one, ctypes.Array) else 33

    def act(self, view):
        del self.kept[10:]  # or it would take long
        if self.depth < 20:
            self.depth += 1
            with contextlib.suppress(Exception):
                self.mischief(self, view)
            self.depth -= 1

    def readinto(self, view):
        self.spoil()  # before: what it does to the view itself is its right
        size = self.data.readinto(view)
        self.act(view)
        return size if self.count is Ellipsis else self.count

    recv_into = readinto

    def readline(self, size=-1):
        self.act(memoryview(bytearray(100)))
        line = self.data.readline(size)
        return line if self.count is Ellipsis else self.count

    def write(self, data):
        self.spoil()
        self.act(memoryview(data))
        return len(data) if self.count is Ellipsis else self.count

    send = write

    def close(self):
        self.spoil()


DATA = b'0123456789abcdef' * 10000
CHUNKS = b'%x\r\n%b\r\n0\r\n\r\n' % (len(DATA), DATA)
ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n' % len(DATA)


def whole(file, body):
    return body.read()


def in_parts(file, body):
    parts = []
    while part := body.read(7000):
        parts.append(part)
        file.spoil()
    return b''.join(parts)


def in_turn(file, body):
    parts = []
    for part in body:
        file.spoil()
        parts.append(part if isinstance(part, bytes) else part[1])
    return b''.join(parts)


def relayed(file, body):
    out = io.BytesIO()
    body.write_to(out)
    return out.getvalue()


def sent_on(file, body):
    """As the body of a request."""
    with reached() as conn:
        return conn.put('/', {}, body).body.read()[2:]


def read_file(operate, file):
    body = file.owner = Body(file, len(DATA))
    check_data(operate, file, body)


def read_chunks(operate, file):
    file.data = io.BytesIO(CHUNKS)
    body = file.owner = ChunkedBody(file)
    check_data(operate, file, body)


def read_socket(operate, file):
    file.data = io.BytesIO(ANSWER + DATA)
    conn = file.owner = Connection(file)
    body = conn.put('/', {}, b'x').body
    check_data(operate, file, body)


def check_data(operate, file, body):
    data = operate(file, body)
    file.spoil()
    if file.mischief in (empty, grow, leave_view) or file.count is not Ellipsis:
        return  # these get what they have earned
    if not DATA.startswith(data) and not CHUNKS.startswith(data):
        raise Wrong(len(data), data[:100])


def write_file(operate, file):
    body = file.owner = Body(io.BytesIO(DATA), len(DATA))
    body.write_to(file)


@group
def files():
    """Files and socket objects that keep, shorten, lie and come back."""
    plays = list(itertools.product(
        (read_file, read_chunks, read_socket, write_file),
        (whole, in_parts, in_turn, relayed, sent_on)))
    for ((play, operate), (number, mischief)) in itertools.product(
            plays, enumerate(VIEWS)):
        yield ('{} {} {}'.format(play.__name__, operate.__name__, number),
               lambda play=play, operate=operate, mischief=mischief: play(
                   operate, File(DATA, mischief)))
    for ((play, operate), count) in itertools.product(plays, COUNTS):
        yield ('{} {} count {}'.format(
            play.__name__, operate.__name__, type(count).__name__),
            lambda play=play, operate=operate, count=count: play(
                operate, File(DATA, keep, count)))
    for (number, mischief) in enumerate(VIEWS):
        yield ('ssl {}'.format(number),
               lambda mischief=mischief: foreign_tls(mischief))


class Inner(File):
    """In the place of OpenSSL's own."""

    def __init__(self, inner, mischief):
        super().__init__(ANSWER + DATA, mischief)
        self.inner = inner

    def read(self, size, view):
        return self.readinto(view)

    def __getattr__(self, name):
        return getattr(self.inner, name)


def foreign_tls(mischief):
    (ours, theirs) = socket.socketpair()
    theirs.send(b'x')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    sock = context.wrap_socket(ours, do_handshake_on_connect=False)
    inner = sock._sslobj = Inner(sock._sslobj, mischief)
    conn = inner.owner = Connection(sock)
    try:
        conn.get('/').body.read()
    finally:
        del conn, inner.owner
        gc.collect()
        inner.spoil()


# ------------------------------------------------------------------ callbacks

class Dying:
    """Does something when it goes."""

    def __init__(self, operate):
        self.operate = operate

    def __del__(self):
        self.operate()


def ask_within(server):
    """From inside of a server its own client gets its own answer."""
    ask_own(Client(server.address, timeout=5))


DEEDS = [
    lambda server, session, sock: server.shutdown(),
    lambda server, session, sock: server.sock.close(),
    lambda server, session, sock: server._loop.stop(),
    lambda server, session, sock: server.serve_forever(),
    lambda server, session, sock: server.remove_file(),
    lambda server, session, sock: ask_within(server),
    lambda server, session, sock: session.clear(),
    lambda server, session, sock: session.update(client=session),
    lambda server, session, sock: setattr(session, '_reader', session),
    lambda server, session, sock: setattr(session, '_sock', None),
    lambda server, session, sock: setattr(session, '_message', session),
    lambda server, session, sock: sock and sock.close(),
    lambda server, session, sock: sock and sock.detach(),
    lambda server, session, sock: sock and sock.shutdown(2),
    lambda server, session, sock: sock and sock.setblocking(False),
    lambda server, session, sock: sock and sock.settimeout(0.001),
    lambda server, session, sock: session._reader.missing,
    lambda server, session, sock: Body(session._reader, 5).read(),
    lambda server, session, sock: setattr(server, '_connected', None),
    lambda server, session, sock: setattr(server, '_closed', session),
    lambda server, session, sock: setattr(server, '_failed', leave),
    lambda server, session, sock: server.__dict__.clear(),
    lambda server, session, sock: abuse_every(None),
    lambda server, session, sock: gc.collect(),
    lambda server, session, sock: stop(None),
    lambda server, session, sock: leave(None),
    lambda server, session, sock: None]


def from_hook(hook, deed):
    """on_connect and on_exchange."""
    server = []

    def on_connect(session, sock):
        if hook == 'on_connect' and server:
            deed(server[0], session, sock)
        return True

    def on_exchange(session, exchange):
        if hook == 'on_exchange' and server:
            deed(server[0], session, None)

    served(server, echo, on_connect, {'on_exchange': on_exchange})


def from_app(where, deed):
    """The app itself, what goes with the answer, and what goes later."""
    server = []

    def app(session, request, api):
        def operate():
            if server:
                deed(server[0], session, None)

        if where == 'app':
            operate()
        elif where == 'answer':
            request['own'] = session['own'] = Dying(operate)
        elif where == 'weak':
            uri = request.uri.encode()
            source = (piece for piece in (uri, b' '))
            weakref.finalize(source, operate)
            return (200, 'OK', {}, BodyIter(source, len(uri) + 1))
        elif where == 'cycle':
            session['cycle'] = [Dying(operate), session, request, api]
        return echo(session, request, api)

    served(server, app, None, {})


OWN = b'GET /own HTTP/1.1\r\nconnection: close\r\n\r\n'


def served(server, app, on_connect, options):
    """Some exchanges, and the answers looked at; the server may have ended."""
    def evil(*args):
        return app(*args)

    evil.on_connect = on_connect
    running = Running(evil, stop_timeout=1, timeout=5, **options)
    with contextlib.suppress(Exception), running:
        server.append(running.server)
        for _ in range(3):
            with contextlib.suppress(Exception):
                with dial(running.address) as sock:
                    sock.settimeout(5)
                    sock.sendall(OWN)
                    data = sock.makefile('rb').read()
                if b' 200 ' in data[:20] and not data.endswith(b'/own '):
                    raise Wrong(data)
        server.clear()


def storing(operate):
    """What an app keeps, and uses when its exchange is over."""
    kept = []

    def evil(session, request, api):
        kept.extend((session, request, request.body, request.body.rfile))
        return (200, 'OK', {}, b'x')

    with reached(evil) as conn:
        conn.put('/evil', {}, b'hello').body.read()
        for one in kept:
            with contextlib.suppress(Exception):
                operate(one)
    for one in kept:
        operate(one)


@group
def callbacks():
    """Hooks, apps, __del__() and weak references that come back in."""
    for (number, deed) in enumerate(DEEDS):
        for hook in ('on_connect', 'on_exchange'):
            yield ('{} {}'.format(hook, number),
                   lambda hook=hook, deed=deed: from_hook(hook, deed))
        for where in ('app', 'answer', 'weak', 'cycle'):
            yield ('{} {}'.format(where, number),
                   lambda where=where, deed=deed: from_app(where, deed))
    for (number, operate) in enumerate(
            [*PROTOCOL, *PLACES, lambda x: x.read(), lambda x: x.write_to(
                io.BytesIO()), lambda x: x.shift_path(), lambda x: x.clear()]):
        yield ('kept {}'.format(number),
               lambda operate=operate: storing(operate))
    yield ('deep', deep)


def deep():
    """Objects in objects in objects, which all go at once."""
    for make in (
            lambda x: Body(types.SimpleNamespace(readinto=x or print), 5).read,
            lambda x: BodyIter(x, 5), lambda x: ChunkedBodyIter(x),
            lambda x: Request('GET', '/', {}, x, [], [], None),
            lambda x: Response(200, 'OK', {}, x),
            lambda x: Connection(types.SimpleNamespace(
                recv_into=print, send=print, close=x or print)).get):
        thing = None
        for _ in range(20000):
            thing = make(thing)
