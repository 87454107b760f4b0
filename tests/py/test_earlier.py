# SPDX-License-Identifier: MIT OR 0BSD
"""Forms of apps that earlier versions had: what is settled when a server is
made, what request and session are as dicts, and the option bodies."""

import copy
import functools
import io
import json
import logging
import types
from collections import namedtuple

import pytest

from degu._earlier import settle_app, settle_on_connect
from degu.base import (
    DEFAULT_BODIES,
    Body,
    BodyIter,
    ChunkedBody,
    ChunkedBodyIter,
    Session,
    api,
    bodies,
    build_uri,
    make_output_from_input,
)
from degu.client import Client
from degu.misc import mkreq
from degu.server import Server
from peers import Running, answers, dial, everything, is_bare, talk

LAST = b' / HTTP/1.1\r\nconnection: close\r\n'
GET = b'GET' + LAST + b'\r\n'
HEAD = b'HEAD' + LAST + b'\r\n'
PUT = b'PUT' + LAST + b'content-length: 5\r\n\r\nhello'
CHUNKS = b'5;k=v\r\nhello\r\n1\r\n!\r\n3;flag\r\nabc\r\n0;z=9\r\n\r\n'
PUT_CHUNKS = b'PUT' + LAST + b'transfer-encoding: chunked\r\n\r\n' + CHUNKS
KEYS = ('method', 'uri', 'script', 'path', 'query', 'headers', 'body')


# ------------------------------------------------------------ how an app looks

def three(session, request, api):
    return (session, request, api)


def one(request):
    return request


class Three:
    def __call__(self, session, request, api):
        return (session, request, api)

    def method(self, session, request, api):
        return (session, request, api)

    @classmethod
    def of_class(cls, session, request, api):
        return (session, request, api)

    @staticmethod
    def static(session, request, api):
        return (session, request, api)


class One:
    def __call__(self, request):
        return request

    def method(self, request):
        return request

    @classmethod
    def of_class(cls, request):
        return request

    @staticmethod
    def static(request):
        return request


def passing(function):
    """The usual wrapper: it takes what its function takes."""
    @functools.wraps(function)
    def wrapper(*args, **kw):
        return function(*args, **kw)

    return wrapper


def to_three(function):
    """One that makes the newest form of the oldest."""
    @functools.wraps(function)
    def wrapper(session, request, api):
        assert function(request) is request
        return (session, request, api)

    return wrapper


def to_one(function):
    @functools.wraps(function)
    def wrapper(request):
        assert function(None, request, None) == (None, request, None)
        return request

    return wrapper


def giving_more(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args, 'more')

    return wrapper


class Decorated:
    def __init__(self, function):
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *args):
        return self.function(*args)


class Wrapped:
    """Whose methods are wrapped, as are its calls."""

    @passing
    def __call__(self, request):
        return request

    @passing
    def method(self, request):
        return request

    @to_three
    def adapted(self, *args):
        raise AssertionError


class Ring:
    """Wraps itself."""

    def __init__(self):
        self.__wrapped__ = self

    def __call__(self, *args):
        return args


class Signed:
    """Says itself what it takes."""

    def __init__(self):
        import inspect
        self.__signature__ = inspect.signature(one)

    def __call__(self, *args):
        (request,) = args
        return request


def four(session, request, api, more):
    assert more == 'more'
    return (session, request, api)


GOT_THREE = [
    three, Three(), Three().method, Three.of_class, Three().of_class,
    Three.static, lambda *args: args, lambda a, /, b, c: (a, b, c),
    lambda a, b=None, c=None: (a, b, c), lambda a, *rest: (a, *rest),
    lambda a, b, c, *, d=None: (a, b, c), lambda a, b, c, d=5: (a, b, c),
    lambda a=1, b=2, c=3: (a, b, c),
    functools.partial(three), functools.partial(four, more='more'),
    functools.partial(lambda x, a, b, c: (a, b, c), 'x'),
    functools.partial(lambda a, *rest: rest, 'x'),
    passing(three), passing(passing(three)), to_three(one),
    passing(to_three(one)), to_three(passing(one)), to_three(to_one(three)),
    giving_more(four), Decorated(three), Decorated(to_three(one)), Ring(),
    passing(functools.partial(lambda x, a, b, c: (a, b, c), 'x')),
    namedtuple('Fields', 'a b c'),
    types.MethodType(lambda self, a, b, c: (a, b, c), 'self')]

GOT_ONE = [
    one, One(), One().method, One.of_class, One().of_class, One.static,
    lambda request, /: request, lambda request, other=5: request,
    lambda request, *, other=5: request, lambda request=None: request,
    functools.partial(lambda x, request: request, 'x'),
    functools.partial(lambda request, b, c: request, b=1, c=2),
    passing(one), passing(passing(one)), to_one(three),
    passing(to_one(three)), to_one(to_three(one)), Decorated(one),
    Decorated(to_one(three)), Wrapped(), Wrapped().method, Signed(),
    functools.partial(passing(one))]


@pytest.mark.parametrize('app', GOT_THREE)
def test_app_of_three(app):
    handler = settle_app(app)
    assert handler is app
    assert tuple(handler('S', 'R', 'A')) == ('S', 'R', 'A')


@pytest.mark.parametrize('app', GOT_ONE)
def test_app_of_one(app):
    assert settle_app(app)('S', 'R', 'A') == 'R'


class NoArguments:
    def __call__(self):
        raise AssertionError


@pytest.mark.parametrize('app', [
    lambda: None, lambda a, b: None, lambda a, b, c, d: None,
    lambda *, request: None, lambda a, *, b: None, lambda **kw: None,
    lambda a, b, c, *, d: None,
    NoArguments(), functools.partial(three, 1),
    functools.partial(three, api=1), functools.partial(one, 1),
    functools.partial(one, request=1), functools.partial(lambda a, b: None),
    Three.__call__, One.__call__, functools.partial(isinstance, 1, 2)])
def test_app_of_another_form_is_refused(app):
    """With both forms named, and with nothing left behind."""
    with pytest.raises(TypeError) as info:
        Server(b'', app)
    assert '(session, request, api)' in str(info.value)
    assert 'request alone' in str(info.value)


def test_app_without_signature_gets_three():
    """dict.update and the like do not tell what they take."""
    import inspect
    for builtin in (max, min, print, type, dict.pop, getattr):
        try:
            signature = inspect.signature(builtin)
        except ValueError:
            assert settle_app(builtin) is builtin
        else:
            assert signature


@pytest.mark.parametrize('app', [None, 5, 'app', b'', (), object(), three(
    1, 2, 3)])
def test_app_must_be_callable(app):
    with pytest.raises(TypeError, match='not callable'):
        settle_app(app)


def test_form_is_not_found_out_by_calling():
    calls = []

    def app(*args):
        calls.append(args)

    def on_connect(session, sock):
        calls.append((session, sock))

    app.on_connect = on_connect
    with Running(app) as running:
        assert calls == []
        assert running.server.app is app


@pytest.mark.parametrize('make', [
    lambda calls: lambda request: fails(calls, request),
    lambda calls: lambda session, request, api: fails(calls, request),
    lambda calls: lambda *args: fails(calls, args),
    lambda calls: to_three(lambda request: fails(calls, request))])
def test_type_error_of_the_app_is_its_own(make, caplog):
    """One 500, one call: it is not taken for another form."""
    calls = []
    with Running(make(calls)) as running:
        assert is_bare(talk(running.address, GET), 500)
    assert len(calls) == 1
    (record,) = [record for record in caplog.records
                 if record.levelno == logging.ERROR]
    assert str(record.exc_info[1]).endswith("but 2 were given")


def fails(calls, request):
    calls.append(request)
    one(request, request)


# ----------------------------------------------------- how an on_connect looks

def flip(function):
    @functools.wraps(function)
    def wrapper(session, sock):
        return function(sock, session)

    return wrapper


class Handlers:
    def new(self, session, sock):
        return (session, sock)

    def old(self, sock, session):
        return (session, sock)

    @classmethod
    def of_class(cls, sock, session):
        return (session, sock)

    @passing
    def wrapped(self, sock, session):
        return (session, sock)

    def __call__(self, sock, session):
        return (session, sock)


def old(sock, session):
    return (session, sock)


def new(session, sock):
    return (session, sock)


@pytest.mark.parametrize('handler', [
    new, old, lambda session, b: (session, b), lambda a, session: (session, a),
    lambda sock, b: (b, sock), lambda a, sock: (a, sock),
    lambda _session, _sock: (_session, _sock),
    lambda __sock, _: (_, __sock), lambda _, __session: (__session, _),
    lambda session, sock, /: (session, sock),
    lambda sock, session, /: (session, sock),
    lambda session, sock, more=None: (session, sock),
    lambda sock, session, *more, **kw: (session, sock),
    lambda session, sock, *, more=None: (session, sock),
    functools.partial(lambda x, session, sock: (session, sock), 'x'),
    functools.partial(lambda x, sock, session: (session, sock), 'x'),
    functools.partial(lambda sock, session, x: (session, sock), x='x'),
    Handlers(), Handlers().new, Handlers().old, Handlers.of_class,
    Handlers().wrapped, passing(new), passing(old), passing(passing(old)),
    flip(old), passing(flip(old)), flip(passing(old)),
    functools.partial(flip(old))])
def test_on_connect_in_both_orders(handler):
    """By name; a wrapper's own names count, as it is what is called."""
    assert settle_on_connect(handler)('SESSION', 'SOCK') == ('SESSION', 'SOCK')


BAD_HANDLERS = [
    lambda a, b: True, lambda *args: True, lambda session: True,
    lambda: True, lambda session, sock, more: True,
    lambda *, session, sock: True, lambda session, *rest: True,
    lambda session, *, sock: True, lambda Session, Sock: True,
    lambda session_, sock_: True, lambda session, _session: True,
    lambda _sock, sock: True, lambda sock, __sock: True,
    lambda sess, socket: True, functools.partial(new, 1),
    functools.partial(new, sock=1), passing(lambda a, b: True),
    passing(lambda session: True), max, print, Handlers.new,
    5, 'yes', False, True, (), [], object()]


@pytest.mark.parametrize('handler', BAD_HANDLERS)
def test_doubtful_on_connect_is_refused(handler):
    """When the server is made, and not by guessing."""
    def app(session, request, api):
        raise AssertionError

    app.on_connect = handler
    with pytest.raises(TypeError, match='on_connect'):
        Server(b'', app)


def test_no_on_connect():
    assert settle_on_connect(None) is None
    for app in (three, one):
        app_like = functools.partial(app)
        app_like.on_connect = None
        with Running(app_like):
            pass


@pytest.mark.parametrize('handler', [
    flip(lambda sock, session: session['client'] == session.address
         and sock.fileno() >= 0),
    lambda _sock, session: session.requests == 0 and _sock.fileno() >= 0])
def test_on_connect_of_a_request_only_app(handler):
    def app(request):
        return (200, 'OK', {}, None)

    app.on_connect = handler
    with Running(app) as running:
        assert answers(talk(running.address, GET))[0].status == 200


# --------------------------------------------------------- request, as a dict

def fresh():
    return mkreq('PUT', '/a/b?c', {'x': 'y'}, None, 1)


def in_step(request):
    """Are items and attributes the same objects, and missing together?"""
    for key in KEYS:
        missing = object()
        item = dict(request).get(key, missing)
        if getattr(request, key, missing) is not item:
            return False
    return getattr(request, 'mount', 5) is getattr(request, 'script', 5)


def or_in_place(request, other):
    request |= other


def delete(request, key):
    del request[key]


def half_pairs():
    yield ('method', 'A')
    yield ('own', 5)
    raise KeyError('here')


CHANGES = [
    (lambda q: q.__setitem__('method', 'A'), {'method': 'A'}),
    (lambda q: q.__setitem__('script', ['x']), {'script': ['x']}),
    (lambda q: q.__setitem__('own', 5), {'own': 5}),
    (lambda q: q.update({'method': 'A'}, uri='B'),
     {'method': 'A', 'uri': 'B'}),
    (lambda q: q.update([('path', 1)]), {'path': 1}),
    (lambda q: q.update(), {}),
    (lambda q: or_in_place(q, {'body': 1}), {'body': 1}),
    (lambda q: or_in_place(q, [('query', 1)]), {'query': 1}),
    (lambda q: q.setdefault('method', 'A'), {}),
    (lambda q: q.setdefault('own'), {'own': None}),
    (lambda q: q.pop('own', None), {})]


@pytest.mark.parametrize('change, want', CHANGES)
@pytest.mark.parametrize('asked', [False, True])
def test_changed_items_are_changed_attributes(change, want, asked):
    request = fresh()
    plain = dict(request) if asked else dict(fresh())
    change(request)
    assert dict(request) == {**plain, **want}
    assert in_step(request)


@pytest.mark.parametrize('remove, gone', [
    *[(lambda q, key=key: delete(q, key), (key,)) for key in KEYS],
    *[(lambda q, key=key: q.pop(key), (key,)) for key in KEYS],
    (lambda q: q.popitem(), ('body',)),
    (lambda q: [q.popitem(), q.popitem()], ('body', 'headers')),
    (lambda q: q.clear(), KEYS)])
def test_removed_items_are_removed_attributes(remove, gone):
    request = fresh()
    remove(request)
    assert set(request) == set(KEYS) - set(gone)
    assert in_step(request)
    for key in gone:
        with pytest.raises(AttributeError):
            getattr(request, key)
        with pytest.raises(KeyError):
            request[key]
    request.update(fresh())
    assert in_step(request) and len(request) == 7
    assert repr(request) == repr(fresh())


@pytest.mark.parametrize('change, error', [
    (lambda q: q.update(half_pairs()), KeyError),
    (lambda q: q.update([('method', 'A'), 5]), TypeError),
    (lambda q: or_in_place(q, half_pairs()), KeyError),
    (lambda q: or_in_place(q, [('method', 'A'), 5]), TypeError),
    (lambda q: or_in_place(q, 5), TypeError),
    (lambda q: delete(q, 'none'), KeyError),
    (lambda q: q.pop('none'), KeyError),
    (lambda q: q.pop(), TypeError), (lambda q: q.pop([]), TypeError),
    (lambda q: q.__setitem__([], 1), TypeError),
    (lambda q: q.setdefault(), TypeError), (lambda q: q.get(), TypeError),
    (lambda q: q.update(1, 2), TypeError), (lambda q: q.items(1), TypeError),
    (lambda q: q.clear(1), TypeError), (lambda q: q['none'], KeyError),
    (lambda q: q | 5, TypeError), (lambda q: 5 | q, TypeError),
    (lambda q: q < q, TypeError), (lambda q: type(q).fromkeys('ab'), TypeError),
    (lambda q: setattr(q, 'method', 'A'), AttributeError),
    (lambda q: setattr(q, 'own', 'A'), AttributeError),
    (lambda q: delattr(q, 'method'), (AttributeError, TypeError)),
    (copy.copy, TypeError), (copy.deepcopy, TypeError)])
def test_a_change_that_fails_half_way(change, error):
    """What was done is in both, what was not in neither."""
    request = fresh()
    with pytest.raises(error):
        change(request)
    assert in_step(request)


def takes(**kw):
    return kw


@pytest.mark.parametrize('copied', [
    dict, lambda q: q.copy(), lambda q: {**q}, lambda q: takes(**q),
    lambda q: dict(q.items()), lambda q: dict(zip(q.keys(), q.values())),
    lambda q: {key: q[key] for key in q}, lambda q: q | {}, lambda q: {} | q,
    lambda q: json.loads(json.dumps(q)), lambda q: dict(**q),
    lambda q: {key: q.get(key) for key in reversed(list(q))},
    lambda q: dict(types.MappingProxyType(q)),
    lambda q: json.loads(json.JSONEncoder(indent=1).encode(q))])
def test_whole_request_as_a_dict(copied):
    assert copied(fresh()) == {
        'method': 'PUT', 'uri': '/a/b?c', 'script': ['a'], 'path': ['b'],
        'query': 'c', 'headers': {'x': 'y'}, 'body': None}
    assert type(copied(fresh())) is dict


def test_request_compares_and_iterates():
    request = fresh()
    assert tuple(request) == KEYS and len(request) == 7
    assert tuple(reversed(request)) == KEYS[::-1]
    assert 'method' in request and 'none' not in request
    assert request == dict(request) and dict(request) == request
    assert not request != dict(request)
    assert request != {} and {} != request and request != 5
    assert request == request and request != fresh()
    assert hash(request) == hash(request) and {request: 1}[request] == 1
    assert isinstance(request, dict)
    assert '{method} {uri}'.format_map(request) == 'PUT /a/b?c'
    assert '%(method)s' % request == 'PUT'
    for (key, value) in request.items():
        assert request[key] is value


def test_request_in_a_match_statement():
    match fresh():
        case {'method': 'PUT', 'path': [part], **rest}:
            assert part == 'b' and set(rest) == set(KEYS) - {'method', 'path'}
        case _:
            raise AssertionError
    match fresh():
        case {'none': _}:
            raise AssertionError
        case {'headers': {'x': value}}:
            assert value == 'y'


def test_request_that_contains_itself():
    request = fresh()
    request['own'] = request
    assert request['own'] is request
    assert repr(request) == repr(fresh())
    request['headers'] = request
    assert 'headers=Request(...)' in repr(request)
    request.clear()


@pytest.mark.parametrize('change', [
    lambda q: dict.__setitem__(q, 'secret', 1),
    lambda q: dict.update(q, secret=1), lambda q: dict.clear(q),
    lambda q: dict.pop(q, 'method'), lambda q: dict.popitem(q),
    lambda q: dict.__setitem__(q, 'method', 'secret'),
    lambda q: exec('secret = 1', q)])
def test_nothing_is_left_for_the_next_request(change):
    """dict's own methods pass ours by; the object is used again."""
    for _ in range(3):
        request = fresh()
        change(request)
        del request
        assert dict(fresh()) == dict(mkreq(
            'PUT', '/a/b?c', {'x': 'y'}, None, 1))
        assert tuple(fresh()) == KEYS


def spoil_items(request):
    for key in KEYS:
        request[key] = 5


def remove_items(request):
    for key in KEYS:
        del request[key]


SPOILS = [
    lambda q: q.__setitem__('method', 'HEAD'), lambda q: q.clear(),
    lambda q: q.__setitem__('method', 'GET'),
    lambda q: q.__setitem__('headers', {'connection': 'close'}),
    lambda q: q.__setitem__('headers', None), spoil_items, remove_items,
    lambda q: q.__setitem__('path', None),
    *[lambda q, key=key: delete(q, key) for key in KEYS]]


@pytest.mark.parametrize('spoil', SPOILS)
@pytest.mark.parametrize('newest', [False, True])
def test_server_does_not_read_the_items(spoil, newest):
    """Whatever becomes of them: each method is answered as what it was, and a
    body that was read is read."""
    def app(request):
        body = request.body and request.body.read()
        head = request.method == 'HEAD'
        spoil(request)
        return (200, 'OK', {'content-length': 5} if head else {},
                None if head else body or b'hello')

    with Running((lambda s, q, a: app(q)) if newest else app) as running:
        with dial(running.address) as sock:
            sock.sendall(GET.replace(b'connection: close\r\n', b'')
                         + HEAD.replace(b'connection: close\r\n', b'')
                         + PUT.replace(b'connection: close\r\n', b'') + GET)
            found = everything(sock)
    (first, rest) = found.split(b'hello', 1)
    (head, rest) = rest.split(b'\r\n\r\n', 1)
    assert answers(first + b'hello')[0].status == 200
    assert answers(head + b'\r\n\r\n', 'HEAD')[0].status == 200
    assert [answer.body for answer in answers(rest)] == [b'hello'] * 2


@pytest.mark.parametrize('spoil', [
    lambda q: q.__setitem__('body', None), lambda q: delete(q, 'body'),
    lambda q: q.clear(), lambda q: q.__setitem__(
        'body', Body(io.BytesIO(b''), 0))])
@pytest.mark.parametrize('data', [PUT, PUT_CHUNKS])
def test_unread_body_is_noticed_without_its_item(spoil, data):
    """Its bytes are not taken for the next request."""
    calls = []

    def app(request):
        calls.append(request.uri)
        spoil(request)
        return (200, 'OK', {}, b'hello')

    with Running(app) as running:
        with dial(running.address) as sock:
            sock.sendall(data.replace(b'connection: close\r\n', b'')
                         + b'GET /smuggled HTTP/1.1\r\n\r\n')
            (answer,) = answers(everything(sock))
    assert answer.headers['connection'] == 'close'
    assert calls == ['/']


# --------------------------------------------------------- session, as a dict

def test_session_is_the_apps(caplog):
    """Overwritten, emptied: the log and the count use the attributes."""
    caplog.set_level(logging.INFO)
    seen = []

    def app(session, request, api):
        seen.append((session.address, session.requests, session.store
                     is session))
        spoil = [lambda: session.__setitem__('client', 'forged'),
                 session.clear, lambda: session.update(requests=99)]
        spoil[len(seen) - 1]()
        return (200, 'OK', {}, None)

    app.on_connect = lambda session, sock: (
        session.update(client='forged'), True)[1]
    with Running(app, ('127.0.0.1', 0), max_requests=3) as running:
        with dial(running.address) as sock:
            peer = sock.getsockname()
            sock.sendall(b'GET / HTTP/1.1\r\n\r\n' * 4)
            found = answers(everything(sock))
    assert [answer.status for answer in found] == [200] * 3
    assert seen == [(peer, 0, True), (peer, 1, True), (peer, 2, True)]
    texts = [record.getMessage() for record in caplog.records]
    assert not [text for text in texts if 'forged' in text]
    assert f'+ {peer!r} New connection' in texts
    assert [text for text in texts
            if text.startswith(f'- {peer!r} Handled 3 requests')]


def test_session_as_a_dict():
    session = Session(('::1', 5, 0, 0), (1, 2, 3), 7)
    assert dict(session) == {'client': ('::1', 5, 0, 0)}
    assert session.store is session
    session.store['__x'] = 1
    session |= {'__y': 2}
    assert isinstance(session, Session)
    assert session | {'z': 3} == {**session, 'z': 3}
    assert session.copy() == session == dict(session)
    assert session != Session(('::1', 5, 0, 0), (1, 2, 3), 7)
    assert hash(session) == hash(session) and {session: 1}[session] == 1
    del session['client']
    assert session.address == ('::1', 5, 0, 0) and 'client' not in session
    assert session.pop('__x') == 1 and session.popitem() == ('__y', 2)
    assert not session
    for name in ('address', 'requests', 'store', 'max_requests', 'closed'):
        with pytest.raises(AttributeError):
            setattr(session, name, 5)
    for function in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            function(session)
    match session:
        case {'client': _}:
            raise AssertionError


# --------------------------------------------------------- the option "bodies"

Bodies = namedtuple('Bodies', 'Body BodyIter ChunkedBody ChunkedBodyIter')


class Lines:
    """A foreign body that reads its file by read() or readline()."""

    def __init__(self, rfile, content_length=None):
        self.rfile = rfile
        self.content_length = content_length

    def data(self):
        return self.rfile.read(self.content_length)

    def __iter__(self):
        yield self.data()


class Buffered(Lines):
    """By readinto(), a few bytes at a time."""

    def data(self):
        parts = []
        buffer = bytearray(3)
        while count := self.rfile.readinto(memoryview(buffer)):
            parts.append(bytes(buffer[:count]))
        return b''.join(parts)


class Chunks:
    """By readline() and read(), as the wire has it."""

    def __init__(self, rfile):
        self.rfile = rfile

    def __iter__(self):
        while True:
            line = self.rfile.readline(4096)
            assert line.endswith(b'\r\n')
            (size, _, text) = line[:-2].decode().partition(';')
            extension = None
            if text:
                (key, equals, value) = text.partition('=')
                extension = (key, value if equals else None)
            data = self.rfile.read(int(size, 16))
            assert self.rfile.readline() == b'\r\n'
            yield (extension, data)
            if not data:
                assert self.rfile.read() == b'' == self.rfile.readline()
                break

    def data(self):
        return b''.join(data for (_, data) in self)


class Raw(Lines):
    """Chunks as they stand on the wire."""

    def __init__(self, rfile):
        super().__init__(rfile)


class Given:
    """A foreign body of what an app has."""

    def __init__(self, source, content_length=None):
        self.source = source
        self.content_length = content_length

    def __iter__(self):
        return iter(self.source)


class Spaces:
    """A module or a class will do as well as a namedtuple."""

    Body = Lines
    BodyIter = Given
    ChunkedBody = Chunks
    ChunkedBodyIter = Given


MAKES = {
    'reading': Bodies(Lines, Given, Chunks, Given),
    'buffered': Bodies(Buffered, Given, Chunks, Given),
    'functions': Bodies(
        lambda rfile, length: Body(rfile, length),
        lambda source, length: BodyIter(source, length),
        lambda rfile: ChunkedBody(rfile),
        lambda source: ChunkedBodyIter(source)),
    'partials': Bodies(*[functools.partial(cls) for cls in (
        Body, BodyIter, ChunkedBody, ChunkedBodyIter)]),
    'class': Spaces, 'instance': Spaces(),
    'own order': namedtuple('B', 'ChunkedBodyIter X Body BodyIter ChunkedBody')(
        Given, 5, Lines, Given, Chunks),
    'default, copied': Bodies(Body, BodyIter, ChunkedBody, ChunkedBodyIter)}


@pytest.fixture(params=MAKES)
def made(request):
    return MAKES[request.param]


def contents(body):
    return body.data() if hasattr(body, 'data') else body.read()


def test_foreign_bodies_are_read(made):
    def app(session, request, bodies):
        assert bodies is made
        body = request['body']
        assert body is request.body
        if made is MAKES['reading'] and body is not None:
            assert type(body) in (Lines, Chunks)
        return (200, 'OK', {}, None if body is None else contents(body))

    with Running(app, bodies=made) as running:
        for (data, want) in ((PUT, b'hello'), (PUT_CHUNKS, b'hello!abc'),
                             (GET, b'')):
            ((status, _, _, body),) = answers(talk(running.address, data))
            assert (status, body) == (200, want)


def test_foreign_bodies_are_handed_back(made):
    """Chunks byte for byte, with their extensions."""
    with Running(lambda s, request, b: (200, 'OK', {}, request.body),
                 bodies=made) as running:
        (head, data) = talk(running.address, PUT).split(b'\r\n\r\n', 1)
        assert b'content-length: 5' in head and data == b'hello'
        (head, data) = talk(running.address, PUT_CHUNKS).split(b'\r\n\r\n', 1)
        assert b'transfer-encoding: chunked' in head and data == CHUNKS


def test_foreign_bodies_are_answers(made):
    """Each of the four, made by the app (R144)."""
    cases = [
        (lambda b: b.Body(io.BytesIO(b'hello'), 5), b'hello'),
        (lambda b: b.BodyIter([b'he', b'', b'llo'], 5), b'hello'),
        (lambda b: b.BodyIter((c for c in [b'hello']), 5), b'hello'),
        (lambda b: b.ChunkedBody(io.BytesIO(CHUNKS)), CHUNKS),
        (lambda b: b.ChunkedBodyIter([
            (('k', 'v'), b'hello'), (None, b'!'), (('flag', None), b'abc'),
            (('z', '9'), b'')]), CHUNKS),
        (lambda b: b'hello', b'hello'), (lambda b: None, b''),
        (lambda b: api.BodyIter([b'hello'], 5), b'hello')]
    with Running(lambda s, q, b: (200, 'OK', {}, make(b)),
                 bodies=made) as running:
        for (make, want) in cases:
            found = talk(running.address, GET)
            assert found.startswith(b'HTTP/1.1 200 OK\r\n')
            assert found.split(b'\r\n\r\n', 1)[1] == want


def test_raw_chunks_are_as_they_were_sent():
    seen = []

    def app(session, request, bodies):
        seen.append(request.body.rfile.read())
        return (200, 'OK', {}, None)

    made = Bodies(Lines, Given, Raw, Given)
    with Running(app, bodies=made) as running:
        talk(running.address, PUT_CHUNKS)
    assert seen == [CHUNKS]


@pytest.mark.parametrize('data, answer', [
    (PUT, lambda body: None), (PUT_CHUNKS, lambda body: None),
    (PUT, lambda body: b'hello'), (PUT_CHUNKS, lambda body: b'hello'),
    (PUT_CHUNKS, lambda body: body.rfile.read(2))])
@pytest.mark.parametrize('name', ['reading', 'functions'])
def test_foreign_body_left_unread_ends_the_connection(name, data, answer):
    """What it says of itself does not matter (F4)."""
    calls = []

    def app(session, request, bodies):
        calls.append(request.uri)
        return (200, 'OK', {}, answer(request.body))

    with Running(app, bodies=MAKES[name]) as running:
        with dial(running.address) as sock:
            sock.sendall(data.replace(b'connection: close\r\n', b'')
                         + b'GET /smuggled HTTP/1.1\r\n\r\n')
            (found,) = answers(everything(sock))
    assert found.headers['connection'] == 'close' and calls == ['/']


def test_foreign_body_read_to_its_end_keeps_the_connection():
    made = MAKES['reading']
    with Running(lambda s, q, b: (200, 'OK', {}, q.body and q.body.data()),
                 bodies=made) as running:
        data = PUT.replace(b'connection: close\r\n', b'')
        more = PUT_CHUNKS.replace(b'connection: close\r\n', b'')
        found = answers(talk(running.address, data + more + data + GET))
    assert [answer.body for answer in found] == [
        b'hello', b'hello!abc', b'hello', b'']


@pytest.mark.parametrize('answer, status', [
    (lambda q, b: (200, 'OK', {}, contents(q.body)), 400),
    (lambda q, b: (200, 'OK', {}, q.body), 400)])
@pytest.mark.parametrize('name', ['reading', 'functions'])
def test_malformed_chunks_of_a_foreign_body(name, answer, status):
    with Running(lambda s, q, b: answer(q, b), bodies=MAKES[name]) as running:
        data = PUT_CHUNKS.replace(b'5;k=v', b'x;k=v')
        assert is_bare(talk(running.address, data), status)


@pytest.mark.parametrize('cls', [
    lambda *args: fails([], 1), lambda: None, lambda rfile, n: 5,
    lambda rfile, n: Given(5, n), lambda rfile, n: Lines(rfile, 'x'),
    lambda rfile, n: [rfile]])
def test_foreign_classes_that_fail(cls):
    """A 500, and nothing of the unread body is taken for a request."""
    made = MAKES['reading']._replace(Body=cls)
    with Running(lambda s, q, b: (200, 'OK', {}, q.body or b'ok'),
                 bodies=made) as running:
        data = PUT.replace(b'connection: close\r\n', b'')
        assert is_bare(talk(running.address, data + GET), 500)
        assert answers(talk(running.address, GET))[0].body == b'ok'


@pytest.mark.parametrize('operate, want', [
    (lambda f: f.read(), b'a\nbc\nd'), (lambda f: f.read(None), b'a\nbc\nd'),
    (lambda f: f.read(-1), b'a\nbc\nd'), (lambda f: f.read(0), b''),
    (lambda f: f.read(4), b'a\nbc'), (lambda f: f.read(99), b'a\nbc\nd'),
    (lambda f: f.readline(), b'a\n'), (lambda f: f.readline(None), b'a\n'),
    (lambda f: f.readline(1), b'a'), (lambda f: f.readline(0), b''),
    (lambda f: [f.readline() for _ in range(5)],
     [b'a\n', b'bc\n', b'd', b'', b'']),
    (lambda f: (f.read(3), f.readline(), f.read(), f.read(), f.readline()),
     (b'a\nb', b'c\n', b'd', b'', b''))])
def test_file_that_a_foreign_class_is_given(operate, want):
    """It reads as files of Python do."""
    seen = []

    class Trying(Lines):
        def data(self):
            seen.append(operate(self.rfile))

    made = MAKES['reading']._replace(Body=Trying)
    with Running(lambda s, q, b: (200, 'OK', {}, q.body.data()),
                 bodies=made) as running:
        talk(running.address, PUT.replace(b'length: 5', b'length: 6').replace(
            b'hello', b'a\nbc\nd'))
    assert seen == [want] == [operate(io.BytesIO(b'a\nbc\nd'))]


def test_small_reads_of_a_large_body():
    """They take time in proportion to its size."""
    size = 3000000
    made = MAKES['buffered']
    count = []

    def app(session, request, bodies):
        buffer = bytearray(60)
        while request.body.rfile.readinto(buffer):
            count.append(1)
        return (200, 'OK', {}, None)

    with Running(app, bodies=made) as running:
        data = b'PUT' + LAST + b'content-length: %d\r\n\r\n' % size
        assert answers(talk(running.address, data + bytes(size)))[0][0] == 200
    assert len(count) >= size // 60


def test_foreign_body_is_handed_on_by_a_proxy(made):
    with Running(lambda s, q, b: (200, 'OK', {}, q.body)) as behind:
        client = Client(behind.address)

        def app(session, request, bodies):
            body = request.body
            if isinstance(body, Lines):
                body = api.BodyIter(body, body.content_length)
            elif isinstance(body, Chunks):
                body = api.ChunkedBodyIter(body)
            with_conn = session.setdefault('__conn', client.connect())
            return with_conn.put('/', {}, body)

        with Running(app, bodies=made) as running:
            for (data, want) in ((PUT, b'hello'), (PUT_CHUNKS, CHUNKS)):
                found = talk(running.address, data)
                assert found.split(b'\r\n\r\n', 1)[1] == want


# ----------------------------------------------------- functions of degu.base

def test_default_bodies():
    assert DEFAULT_BODIES is api is bodies
    assert (api.Body, api.BodyIter, api.ChunkedBody, api.ChunkedBodyIter) == (
        Body, BodyIter, ChunkedBody, ChunkedBodyIter)
    assert Server.__init__ and DEFAULT_BODIES._fields[:4] == (
        'Body', 'ChunkedBody', 'BodyIter', 'ChunkedBodyIter')
    with Running(lambda s, q, b: (200, 'OK', {}, b'ok' if b is api else None),
                 bodies=DEFAULT_BODIES) as running:
        assert running.server.options['bodies'] is DEFAULT_BODIES
        assert answers(talk(running.address, GET))[0].body == b'ok'


@pytest.mark.parametrize('args, uri', [
    (([], None), '/'), (([], ''), '/'), ((['a'], None), '/a'),
    ((['a', 'b', ''], ''), '/a/b/'), (([''], None), '/'), (([], 'q'), '/?q'),
    ((['a'], 'b=c&d'), '/a?b=c&d'), ((['a%20b'], '?'), '/a%20b??')])
def test_build_uri(args, uri):
    assert build_uri(*args) == uri


@pytest.mark.parametrize('path', [[5], [None], [b'a']])
def test_build_uri_of_other_types(path):
    with pytest.raises(TypeError):
        build_uri(path, None)


def test_make_output_from_input():
    assert make_output_from_input(None) is None
    for body in (Body(io.BytesIO(b'hello'), 5), ChunkedBody(io.BytesIO())):
        assert make_output_from_input(body) is body
    for wrong in (b'', b'x', '', 5, (), [b'x'], BodyIter([], 0), Body,
                  ChunkedBodyIter([]), bytearray(), Lines(None), object()):
        with pytest.raises(TypeError):
            make_output_from_input(wrong)
