# SPDX-License-Identifier: MIT OR 0BSD
"""degu.rgi: what the Validator refuses, on both sides of an app, and that the
server sends what it lets through."""

import io
import re
import string
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degu.base import (
    API,
    Request,
    Response,
    Session,
    TruncatedError,
    api,
)
from degu.client import Client
from degu.rgi import REQUEST_METHODS, Validator
from peers import App, Running, answers, dial, everything, talk

MOST = 9999999999999999
LAST = b'connection: close\r\n\r\n'

# ------------------------------------------------------------ stand-ins for api
#
# The Validator asks for attributes only, so these can be wrong in ways that
# the real ones cannot.


class Body:
    chunked = False

    def __init__(self, content_length=5, state=0):
        self.content_length = content_length
        self.state = state


class ChunkedBody:
    chunked = True

    def __init__(self, state=0):
        self.state = state


class BodyIter:
    def __init__(self, content_length=5, state=0, source=iter(())):
        self.content_length = content_length
        self.state = state
        self.source = source


class ChunkedBodyIter:
    def __init__(self, state=0, source=iter(())):
        self.state = state
        self.source = source


class Range:
    pass


class ContentRange:
    pass


FAKES = API(Body, ChunkedBody, BodyIter, ChunkedBodyIter, Range, ContentRange)

UNSET = object()


def altered(thing, **attributes):
    """The thing with other attributes, or without those that are UNSET."""
    for (name, value) in attributes.items():
        if value is UNSET:
            delattr(thing, name)
        else:
            setattr(thing, name, value)
    return thing


def session(**attributes):
    return altered(SimpleNamespace(
        address=('127.0.0.1', 1234), requests=0, store={}), **attributes)


def request(**attributes):
    return altered(SimpleNamespace(
        method='GET', uri='/', headers={}, body=None, mount=[], path=[],
        query=None), **attributes)


def put(headers, body, method='PUT'):
    return request(method=method, headers=headers, body=body)


def consume(request):
    if request.body is not None:
        request.body.state = 2


def answer(response, **attributes):
    """What the Validator makes of an app that answers this to a request."""
    def app(session, request, api):
        consume(request)
        return response

    result = Validator(app)(session(), request(**attributes), FAKES)
    assert result is response


def call(session, request, api=FAKES):
    """Calls an app that does all it must; was it called?"""
    app = App(lambda session, request, api: (
        consume(request), (204, 'No Content', {}, None))[1])
    try:
        response = Validator(app)(session, request, api)
    except (TypeError, ValueError):
        assert app.calls == 0
        raise
    assert response == (204, 'No Content', {}, None) and app.calls == 1
    if request.body is not None:
        request.body.state = 0  # as it was


class Text(str):
    pass


class Dict(dict):
    pass


# -------------------------------------------------------------------- the class

def test_methods():
    assert REQUEST_METHODS == (
        'GET', 'PUT', 'POST', 'DELETE', 'HEAD', 'PATCH', 'OPTIONS')


def test_constructor():
    app = App()
    assert Validator(app).app is app
    assert repr(Validator(app)) == 'Validator({!r})'.format(app)
    for wrong in (None, 5, 'app', (app,)):
        with pytest.raises(TypeError, match=re.escape(repr(wrong))):
            Validator(wrong)
    for wrong in (lambda: None, lambda one, two: None,
                  lambda one, two, three, four: None):
        with pytest.raises(TypeError):
            Validator(wrong)
    app.on_connect = None
    Validator(app)
    for wrong in (5, 'on_connect', False, ()):
        app.on_connect = wrong
        with pytest.raises(TypeError, match='on_connect'):
            Validator(app)


def test_call():
    """The app gets the same three objects, and its answer is handed on."""
    (one, two) = (session(), request())
    response = Response(200, 'OK', {}, b'hello')
    got = []
    validator = Validator(lambda *args: got.append(args) or response)
    assert validator(one, two, FAKES) is response
    assert [id(item) for item in got[0]] == [id(one), id(two), id(FAKES)]
    assert Validator(validator)(one, two, FAKES) is response


def test_call_of_a_request_only_app():
    response = (200, 'OK', {}, b'hello')
    got = []

    def app(request):
        got.append(request)
        return response

    one = request()
    assert Validator(app)(session(), one, FAKES) is response
    assert got == [one]


@pytest.mark.parametrize('error', [KeyError('x'), TypeError('mine')])
def test_an_error_of_the_app(error):
    def app(session, request, api):
        raise error.with_traceback(None)  # or it keeps those of all runs

    with pytest.raises(type(error)) as caught:
        Validator(app)(session(), request(), FAKES)
    assert caught.value is error


# ------------------------------------------------------------------ 5.1 session

class EarlierSession(dict):
    requests = 0

    def __init__(self, address, **items):
        super().__init__(client=address, **items)
        self.address = address

    @property
    def store(self):
        return self


SESSIONS = [
    session(),
    session(address=('::1', 1, 0, 0)),
    session(address=''),
    session(address='/run/socket'),
    session(address=b'\0name'),
    session(requests=0),
    session(requests=10**20),
    session(store={'_user': 1, '': None}),
    session(store=Dict(key=1)),
    Session(('127.0.0.1', 1)),
    EarlierSession(''),
    EarlierSession(b'', _user=5),
]

BAD_SESSIONS = [
    (session(address=UNSET), ValueError, 'address'),
    (session(requests=UNSET), ValueError, 'requests'),
    (session(store=UNSET), ValueError, 'store'),
    (session(address=()), ValueError, 'address'),
    (session(address=('::1',)), ValueError, '::1'),
    (session(address=('::1', 1, 0)), ValueError, '::1'),
    (session(address=['::1', 1]), TypeError, '::1'),
    (session(address=None), TypeError, 'address'),
    (session(address=5), TypeError, 'address'),
    (session(requests=-1), ValueError, '-1'),
    (session(requests='1'), TypeError, 'requests'),
    (session(requests=1.0), TypeError, '1.0'),
    (session(requests=True), TypeError, 'True'),
    (session(requests=None), TypeError, 'requests'),
    (session(store=None), TypeError, 'store'),
    (session(store=[]), TypeError, 'store'),
    (session(store={'a': 1, b'b': 2}), TypeError, "b'b'"),
    (session(store={None: 1}), TypeError, 'None'),
    (altered(EarlierSession(''), address=UNSET), ValueError, 'address'),
    (Dict(client=''), ValueError, 'address'),
]


@pytest.mark.parametrize('session', SESSIONS)
def test_session(session):
    call(session, request())
    if session.requests == 0:
        assert Validator(App()).on_connect(session, None) is True


@pytest.mark.parametrize('session, error, text', BAD_SESSIONS)
def test_bad_session(session, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call(session, request())
    with pytest.raises(error, match=re.escape(text)):
        Validator(App()).on_connect(session, None)


def test_session_lost_its_client():
    one = EarlierSession('')
    del one['client']
    with pytest.raises(ValueError, match='client'):
        call(one, request())


# ------------------------------------------------------------------ 5.2 request

class EarlierRequest(dict):
    """Items that are attributes as well."""

    def __init__(self, **items):
        super().__init__(
            method='GET', uri='/', headers={}, body=None, script=[], path=[],
            query=None)
        self.update(items)

    def __getattr__(self, name):
        try:
            return self['script' if name == 'mount' else name]
        except KeyError:
            raise AttributeError(name) from None


REQUESTS = [
    *[request(method=method) for method in REQUEST_METHODS],
    request(path=['']),
    request(uri='/foo/', path=['foo', '']),
    request(uri='/foo/bar?k=v', path=['foo', 'bar'], query='k=v'),
    request(uri='/foo?', path=['foo'], query=''),
    request(uri='/foo', mount=['foo']),
    request(uri='/foo/', mount=['foo'], path=['']),
    request(uri='/a/b?c', mount=['a'], path=['b'], query='c'),
    *[put({'content-length': 5}, Body(5), method)
      for method in ('PUT', 'POST', 'PATCH')],
    put({'content-length': MOST}, Body(MOST)),
    put({'transfer-encoding': 'chunked'}, ChunkedBody()),
    put({'transfer-encoding': 'Chunked'}, ChunkedBody()),
    put({'x': '', 'content-length': 0}, Body(0)),
    request(headers={'range': Range()}),
    request(headers={'range': 'bytes=5-'}),
    request(headers={'range': 'lines=1-2, 3-4'}),
    request(headers={'host': 'localhost:80', "x!#$%&'*+-.^_`|~9": 'a \t b'}),
    request(headers={'x' * 64: ''}),
    request(headers={'set-cookie': ['a=1', 'b=2']}),
    Request('GET', '/a', {}, None, ['a'], [], None),
    EarlierRequest(),
    EarlierRequest(uri='/a/b', script=['a'], path=['b']),
    EarlierRequest(method='PUT', headers={'content-length': 5}, body=Body(5)),
]

BAD_REQUESTS = [
    *[(request(**{name: UNSET}), ValueError, name) for name in (
        'method', 'uri', 'headers', 'body', 'mount', 'path', 'query')],
    (request(method='TRACE'), ValueError, 'TRACE'),
    (request(method='get'), ValueError, 'get'),
    (request(method=''), ValueError, "''"),
    (request(method=None), ValueError, 'None'),
    (request(method=b'GET'), ValueError, "b'GET'"),
    (request(method=['GET']), ValueError, 'GET'),
    (request(uri=None), TypeError, 'uri'),
    (request(uri=b'/'), TypeError, 'uri'),
    (request(mount=None), TypeError, 'mount'),
    (request(mount=('a',), uri='/a'), TypeError, 'mount'),
    (request(mount=['a', 1], uri='/a/1'), TypeError, 'mount[1]'),
    (request(path=None), TypeError, 'path'),
    (request(path='a', uri='/a'), TypeError, 'path'),
    (request(path=[b'a'], uri='/a'), TypeError, 'path[0]'),
    (request(query=b''), TypeError, 'query'),
    (request(query=5), TypeError, 'query'),
    # the invariant
    (request(uri='/a'), ValueError, '/a'),
    (request(uri='/a', path=['b']), ValueError, '/b'),
    (request(uri='/?'), ValueError, '/?'),
    (request(uri='/', query=''), ValueError, '/?'),
    (request(uri='/a/', path=['a']), ValueError, '/a/'),
    (request(uri='/a/b', mount=['b'], path=['a']), ValueError, '/b/a'),
    (request(uri=''), ValueError, "''"),
    (request(uri='*', method='OPTIONS'), ValueError, '*'),
    # bodies and their headers
    *[(put({'content-length': 5}, Body(5), method), ValueError, method)
      for method in ('GET', 'HEAD', 'DELETE', 'OPTIONS')],
    (put({'content-length': 5}, None), ValueError, 'content-length'),
    (put({'content-length': 0}, None), ValueError, 'content-length'),
    (put({'transfer-encoding': 'chunked'}, None), ValueError,
     'transfer-encoding'),
    (put({}, Body(5)), ValueError, 'content-length'),
    (put({'transfer-encoding': 'chunked'}, Body(5)), ValueError,
     'transfer-encoding'),
    (put({'content-length': 6}, Body(5)), ValueError, '6'),
    (put({'content-length': 5}, Body(None)), ValueError, 'None'),
    (put({}, Body(None)), ValueError, 'content-length'),
    (put({'content-length': 5}, altered(Body(), chunked=True)), ValueError,
     'chunked'),
    (put({'content-length': 5}, altered(Body(), content_length=UNSET)),
     ValueError, 'content_length'),
    (put({'content-length': 5}, altered(Body(), state=UNSET)), ValueError,
     'state'),
    (put({}, ChunkedBody()), ValueError, 'transfer-encoding'),
    (put({'content-length': 5}, ChunkedBody()), ValueError, 'content-length'),
    (put({'transfer-encoding': 'chunked'},
         altered(ChunkedBody(), chunked=False)), ValueError, 'chunked'),
    *[(put({'content-length': 5}, Body(5, state)), ValueError, str(state))
      for state in (1, 2, 3)],
    *[(put({'transfer-encoding': 'chunked'}, ChunkedBody(state)), ValueError,
       str(state)) for state in (1, 2, 3)],
    *[(put({'content-length': 5}, body), TypeError, 'request.body')
      for body in (b'hello', 'hello', bytearray(b'hello'), BodyIter(),
                   ChunkedBodyIter(), 5, False, Body)],
    (put({'content-length': 5, 'range': Range()}, Body(5)), ValueError,
     'range'),
    # headers that this way round have no place
    *[(request(headers={name: 'close'}), ValueError, name)
      for name in ('connection', 'keep-alive', 'proxy-connection', 'expect',
                   'content-range')],
    (request(headers={'content-range': ContentRange()}), ValueError,
     'content-range'),
    # items
    (altered(EarlierRequest(), method='PUT'), ValueError, 'GET'),
    (altered(EarlierRequest(), mount=['a'], uri='/a'), ValueError, '/a'),
    (altered(EarlierRequest(), headers={'x': ''}), ValueError, 'headers'),
    (altered(Dict(), **vars(request())), ValueError, 'method'),
]


@pytest.mark.parametrize('request_', REQUESTS)
def test_request(request_):
    call(session(), request_)


@pytest.mark.parametrize('request_, error, text', BAD_REQUESTS)
def test_bad_request(request_, error, text):
    with pytest.raises(error, match=re.escape(text)):
        call(session(), request_)


def test_shifting():
    """The app may shift the path, but must not lose any of it."""
    def shift(session, request, api):
        request.mount.append(request.path.pop(0))
        return (200, 'OK', {}, None)

    def lose(session, request, api):
        request.path.pop(0)
        return (200, 'OK', {}, None)

    def spoil(session, request, api):
        request.path[0] = 5
        return (200, 'OK', {}, None)

    one = request(uri='/a/b', path=['a', 'b'])
    Validator(shift)(session(), one, FAKES)
    assert (one.mount, one.path) == (['a'], ['b'])
    with pytest.raises(ValueError, match='/a/b'):
        Validator(lose)(session(), one, FAKES)
    with pytest.raises(TypeError, match='path'):
        Validator(spoil)(session(), request(uri='/a', path=['a']), FAKES)


@pytest.mark.parametrize('state', [0, 1, 3])
@pytest.mark.parametrize('headers, body', [
    ({'content-length': 5}, Body), ({'transfer-encoding': 'chunked'},
                                    lambda: ChunkedBody())])
def test_unread_body(state, headers, body):
    def app(session, request, api):
        request.body.state = state
        return (200, 'OK', {}, None)

    with pytest.raises(ValueError, match='state.*got {}'.format(state)):
        Validator(app)(session(), put(headers, body()), FAKES)


@pytest.mark.parametrize('headers, body', [
    ({'content-length': 5}, Body), ({'transfer-encoding': 'chunked'},
                                    ChunkedBody)])
def test_body_handed_back(headers, body):
    """D13: it is streamed while the answer is sent, if it is still whole."""
    def app(session, request, api):
        return (200, 'OK', {}, request.body)

    one = put(headers, body())
    assert Validator(app)(session(), one, FAKES)[3] is one.body

    def late(session, request, api):
        request.body.state = 1
        return (200, 'OK', {}, request.body)

    with pytest.raises(ValueError, match='state'):
        Validator(late)(session(), put(headers, body()), FAKES)


def test_replaced_body():
    """What counts is the body that the request came with."""
    def app(session, request, api):
        request.body = None
        request.method = 'GET'
        return (200, 'OK', {}, None)

    with pytest.raises(ValueError, match='request.body.state'):
        Validator(app)(session(), put({'content-length': 5}, Body()), FAKES)
    with pytest.raises(TypeError, match='HEAD'):
        Validator(lambda session, request, api: (
            setattr(request, 'method', 'GET'),
            (200, 'OK', {'content-length': 5}, b'hello'))[1])(
                session(), request(method='HEAD'), FAKES)


# ----------------------------------------------------------------- 5.3 response

RESPONSES = [
    (200, 'OK', {}, None),
    Response(200, 'OK', {}, None),
    (200, '', {}, None),
    (599, 'Any thing, \t ~!', {}, None),
    (404, 'Not Found', {}, None),
    (200, 'OK', {'connection': 'close'}, None),
    (200, 'OK', {'content-range': ContentRange()}, b'hello'),
    (416, 'Range Not Satisfiable', {'content-range': 'bytes */5'}, None),
    (200, 'OK', {'set-cookie': 'a=1'}, None),
    (200, 'OK', {'set-cookie': []}, None),
    (200, 'OK', {'set-cookie': ['a=1', '', 'b=2']}, None),
    (200, 'OK', {'x-{}'.format(n): '' for n in range(62)}, None),
    # bytes
    *[(200, 'OK', headers, kind(b'hello'))
      for kind in (bytes, bytearray, memoryview)
      for headers in ({}, {'content-length': 5})],
    (200, 'OK', {}, b''),
    (200, 'OK', {'content-length': 0}, b''),
    (200, 'OK', {}, memoryview(b'0123')[1:3]),
    (200, 'OK', {'content-length': 8}, memoryview(bytes(8)).cast('I')),
    # body objects
    *[(200, 'OK', headers, kind(5))
      for kind in (Body, BodyIter)
      for headers in ({}, {'content-length': 5})],
    (200, 'OK', {}, Body(None)),
    (200, 'OK', {}, BodyIter(5, 0, [b'he', bytearray(b'll'), b'',
                                    memoryview(b'o')])),
    (200, 'OK', {}, BodyIter(0, 0, ())),
    *[(200, 'OK', headers, kind())
      for kind in (ChunkedBody, ChunkedBodyIter)
      for headers in ({}, {'transfer-encoding': 'chunked'})],
    (200, 'OK', {'transfer-encoding': 'CHUNKED'}, ChunkedBody()),
    (200, 'OK', {}, ChunkedBodyIter(0, [(None, b'')])),
    (200, 'OK', {}, ChunkedBodyIter(0, (
        (None, b'hello'), (('Key', 'any "value"\t'), bytearray(b'x')),
        (('k', None), memoryview(b'x')), (('k', ''), b'')))),
    (200, 'OK', {}, ChunkedBodyIter(0, [(('k', '"' * 2041), b'')])),
    (200, 'OK', {}, ChunkedBodyIter(0, [(None, bytes(16777216)),
                                        (None, b'')])),
    # no content
    (204, 'No Content', {}, None),
    (204, 'No Content', {}, b''),
    (304, 'Not Modified', {}, None),
    (304, 'Not Modified', {'content-length': 5}, None),
    (304, 'Not Modified', {'transfer-encoding': 'chunked'}, None),
]


def wrong(status=200, reason='OK', headers=None, body=None):
    return (status, reason, {} if headers is None else headers, body)


BAD_RESPONSES = [
    *[(response, TypeError, 'response') for response in (
        None, [200, 'OK', {}, None], 'abcd', b'abcd', {}, 200)],
    *[(response, ValueError, 'response') for response in (
        (), (200, 'OK', {}), (200, 'OK', {}, None, None))],
    *[(wrong(status=status), TypeError, 'response[0]') for status in (
        '200', 200.0, None, True)],
    *[(wrong(status=status), ValueError, str(status)) for status in (
        -1, 0, 99, 100, 101, 103, 199, 600, 1000, 2**70)],
    *[(wrong(reason=reason), TypeError, 'response[1]') for reason in (
        None, b'OK', 5, Text('OK'))],
    # headers that this way round have no place
    *[(wrong(headers={name: 'x'}), ValueError, name) for name in (
        'keep-alive', 'proxy-connection', 'expect', 'range', 'host')],
    (wrong(headers={'range': Range()}), ValueError, 'range'),
    *[(wrong(headers={'connection': value}), ValueError, repr(value))
      for value in ('keep-alive', 'Close', 'close, x', '')],
    (wrong(headers={'set-cookie': ('a', 'b')}), TypeError, 'set-cookie'),
    (wrong(headers={'set-cookie': ['a', 5]}), TypeError, "set-cookie'][1]"),
    # headers and body
    *[(wrong(headers=headers), ValueError, 'response[3]')
      for headers in ({'content-length': 5}, {'content-length': 0},
                      {'transfer-encoding': 'chunked'})],
    *[(wrong(headers={'transfer-encoding': 'chunked'}, body=body), ValueError,
       'transfer-encoding')
      for body in (b'hello', b'', bytearray(b'hello'), memoryview(b'hello'),
                   Body(), BodyIter(), Body(None))],
    *[(wrong(headers={'content-length': length}, body=body), ValueError,
       'content-length')
      for length in (0, 4, 6)
      for body in (b'hello', bytearray(b'hello'), memoryview(b'hello'),
                   Body(5), BodyIter(5), Body(None), ChunkedBody(),
                   ChunkedBodyIter())],
    *[(wrong(body=kind(5, state)), ValueError, 'state')
      for kind in (Body, BodyIter) for state in (1, 2, 3)],
    *[(wrong(body=kind(state)), ValueError, 'state')
      for kind in (ChunkedBody, ChunkedBodyIter) for state in (1, 2, 3)],
    *[(wrong(body=altered(kind(), state=UNSET)), ValueError, 'state')
      for kind in (Body, BodyIter, ChunkedBody, ChunkedBodyIter)],
    *[(wrong(body=altered(kind(), content_length=UNSET)), ValueError,
       'content_length') for kind in (Body, BodyIter)],
    (wrong(body=altered(Body(), chunked=True)), ValueError, 'chunked'),
    (wrong(body=altered(ChunkedBody(), chunked=False)), ValueError, 'chunked'),
    *[(wrong(body=altered(kind(), content_length=5)), ValueError,
       'content_length') for kind in (ChunkedBody, ChunkedBodyIter)],
    *[(wrong(body=body), TypeError, 'response[3]') for body in (
        'hello', 5, True, False, 0, '', [b'hello'], iter(()), {}, Body,
        io.BytesIO(b'hello'), type('Bytes', (bytes,), {})(b'hello'),
        type('Body', (Body,), {})())],
    (wrong(body=memoryview(b'0123')[::2]), ValueError, 'contiguous'),
    # no content
    *[(wrong(status=status, body=body), TypeError, str(status))
      for status in (204, 304)
      for body in (b'x', bytearray(b'x'), memoryview(b'x'), Body(), BodyIter(),
                   ChunkedBody(), ChunkedBodyIter(), 'x', False)],
    *[(wrong(status=204, headers=headers), ValueError, '204')
      for headers in ({'content-length': 0}, {'content-length': 5},
                      {'transfer-encoding': 'chunked'})],
]


@pytest.mark.parametrize('response', RESPONSES)
def test_response(response):
    answer(response)


@pytest.mark.parametrize('response, error, text', BAD_RESPONSES)
def test_bad_response(response, error, text):
    with pytest.raises(error, match=re.escape(text)):
        answer(response)


def test_head():
    """S17: only an answer that GET would give a body needs to say its
    length."""
    for status in (200, 206, 299):
        for headers in ({'content-length': 0}, {'content-length': MOST},
                        {'transfer-encoding': 'chunked'}):
            for body in (None, b''):
                answer((status, 'OK', headers, body), method='HEAD')
        with pytest.raises(ValueError, match='HEAD'):
            answer((status, 'OK', {}, None), method='HEAD')
    for status in (204, 300, 304, 404, 405, 500):
        answer((status, 'Other', {}, None), method='HEAD')
    for status in (304, 404):
        answer((status, 'Other', {'content-length': 5}, None), method='HEAD')
    with pytest.raises(ValueError, match='204'):
        answer((204, 'No Content', {'content-length': 5}, None), method='HEAD')
    for body in (b'x', Body(), BodyIter(), ChunkedBody(), ChunkedBodyIter(),
                 False, ''):
        for headers in ({}, {'content-length': 1}):
            with pytest.raises(TypeError, match='HEAD'):
                answer((200, 'OK', headers, body), method='HEAD')


# ------------------------------------------------------------------ 5.4 headers

BAD_HEADERS = [
    *[(headers, TypeError, '') for headers in (
        None, [], (), 'x', Dict(), [('x', 'y')])],
    *[({name: 'x'}, TypeError, 'name') for name in (
        None, 5, b'x', Text('x'), ('x',))],
    *[({name: 'x'}, ValueError, repr(name)) for name in (
        'X', 'Content-Type', 'xY', 'ß', 'ﬃ')],
    *[({'x': value}, TypeError, "['x']") for value in (
        None, 5, b'x', True, ['x'], Text('x'), Range(), ContentRange())],
    *[({'content-length': value}, TypeError, 'content-length') for value in (
        '5', 5.0, True, None, b'5')],
    *[({'content-length': value}, ValueError, str(value)) for value in (
        -1, -2**70)],
    *[({'transfer-encoding': value}, TypeError, 'transfer-encoding')
      for value in (None, True, b'chunked', ['chunked'])],
    *[({'transfer-encoding': value}, ValueError, repr(value)) for value in (
        '', 'gzip', 'gzip, chunked', 'identity', 'chunked, chunked',
        'chunked;q=1')],
    ({'content-length': 5, 'transfer-encoding': 'chunked'}, ValueError,
     'content-length'),
]


@pytest.mark.parametrize('headers, error, text', BAD_HEADERS)
def test_bad_headers(headers, error, text):
    with pytest.raises(error, match=r'request\.(headers|body).*'
                       + re.escape(text)):
        call(session(), request(headers=headers))
    for method in ('GET', 'HEAD'):
        with pytest.raises(error, match=r'response\[2\].*' + re.escape(text)):
            answer((200, 'OK', headers, None), method=method)


@pytest.mark.parametrize('value', [5, None, b'bytes=0-4', [], True])
def test_bad_ranges(value):
    with pytest.raises(TypeError, match='range'):
        call(session(), request(headers={'range': value}))
    with pytest.raises(TypeError, match='content-range'):
        answer((206, 'Partial Content', {'content-range': value}, None))


def test_ranges_do_not_stand_in_for_each_other():
    with pytest.raises(TypeError, match='ContentRange'):
        call(session(), request(headers={'range': ContentRange()}))
    with pytest.raises(TypeError, match='Range'):
        answer((206, 'Partial Content', {'content-range': Range()}, None))
    with pytest.raises(TypeError, match='Range'):
        call(session(), request(headers={'range': api.Range(0, 5)}))


def test_api():
    """Only what is needed of it."""
    call(session(), request(headers={'range': 'bytes=0-4'}), None)
    with pytest.raises(ValueError, match='Range'):
        call(session(), request(headers={'range': Range()}), None)
    with pytest.raises(ValueError, match='Body'):
        call(session(), put({'content-length': 5}, Body()), None)


# --------------------------------------------------------------- 5.5 on_connect

def connect(on_connect, **attributes):
    app = App()
    app.on_connect = on_connect
    return Validator(app).on_connect(session(**attributes), 'socket')


@pytest.mark.parametrize('result', [True, False])
def test_on_connect(result):
    got = []

    def newer(session, sock):
        got.append((session.store, sock))
        return result

    def older(sock, session):
        got.append((session.store, sock))
        return result

    def underscored(_sock, __session):
        return older(_sock, __session)

    for on_connect in (newer, older, underscored):
        assert connect(on_connect, store={'a': 1}) is result
    assert got == [({'a': 1}, 'socket')] * 3


def test_no_on_connect():
    assert connect(None) is True
    assert Validator(App()).on_connect(session(), None) is True


@pytest.mark.parametrize('result', [None, 1, 0, 'yes', [True]])
def test_bad_result_of_on_connect(result):
    with pytest.raises(TypeError, match=re.escape(repr(result))):
        connect(lambda session, sock: result)


def test_on_connect_comes_first():
    for on_connect in (None, lambda session, sock: True):
        with pytest.raises(ValueError, match='requests'):
            connect(on_connect, requests=1)


def test_on_connect_in_doubt():
    for on_connect in (lambda one, two: True, lambda session: True):
        with pytest.raises(TypeError, match='on_connect'):
            connect(on_connect)


# -------------------------------------------------------------- with the server

KINDS = {
    'none': lambda api: None,
    'empty': lambda api: b'',
    'bytes': lambda api: b'hello',
    'bytearray': lambda api: bytearray(b'hello'),
    'memoryview': lambda api: memoryview(b'hello'),
    'file': lambda api: api.Body(io.BytesIO(b'hello'), 5),
    'pieces': lambda api: api.BodyIter([b'he', b'llo'], 5),
    'iterator': lambda api: api.BodyIter(iter([b'he', b'llo']), 5),
    'chunk file': lambda api: api.ChunkedBody(
        io.BytesIO(b'5\r\nhello\r\n0\r\n\r\n')),
    'chunks': lambda api: api.ChunkedBodyIter(
        [(('k', 'v'), b'hello'), (None, b'')]),
    'chunk iterator': lambda api: api.ChunkedBodyIter(
        iter([(None, b'hello'), (None, b'')])),
}


def respond(request, api):
    """PUT /KIND: reads a body and answers one of the kind; PUT /echo hands
    the same one back; GET ranges of ten digits; HEAD."""
    if request.method == 'HEAD':
        return (200, 'OK', {'content-length': 10}, None)
    span = request.headers.get('range')
    if span is not None:
        if type(span) is str:
            return (416, 'Range Not Satisfiable',
                    {'content-range': 'bytes */10'}, None)
        return (206, 'Partial Content',
                {'content-range': span.content_range(10)},
                b'0123456789'[span.start:span.stop])
    if request.path == ['echo']:
        return (200, 'OK', {'x': 'y'}, request.body)
    if request.body is not None:
        assert request.body.read() == b'ping'
    kind = request.path[0].replace('%20', ' ')
    return (200, 'OK', {'set-cookie': ['a', 'b']}, KINDS[kind](api))


def newer_app(session, request, api):
    return respond(request, api)


def older_app(request):
    return respond(request, api)


@pytest.fixture(scope='module')
def served(leaves_nothing):
    with Running(Validator(newer_app)) as newer:
        with Running(Validator(older_app)) as older:
            yield {'newer': newer.address, 'older': older.address}


@pytest.fixture(params=['newer', 'older'])
def address(served, request):
    return served[request.param]


@pytest.fixture
def conn(address):
    conn = Client(address).connect()
    yield conn
    conn.close()


def content(body):
    if body is None:
        return b''
    if body.chunked:
        return b''.join(data for (_, data) in body)
    return body.read()


@pytest.mark.parametrize('kind', KINDS)
def test_served(conn, kind):
    uri = '/' + kind.replace(' ', '%20')
    expected = b'' if kind in ('none', 'empty') else b'hello'
    bodies = [b'ping', api.BodyIter([b'pi', b'ng'], 4),
              api.Body(io.BytesIO(b'ping'), 4),
              api.ChunkedBodyIter([(None, b'ping'), (None, b'')])]
    for method in ('PUT', 'POST', 'PATCH'):
        for body in [None, b''] + (bodies if method == 'PUT' else [b'ping']):
            response = conn.request(method, uri, {}, body)
            assert response.status == 200
            assert response.headers['set-cookie'] == ['a', 'b']
            assert content(response.body) == expected
    for method in ('GET', 'DELETE', 'OPTIONS'):
        response = conn.request(method, uri, {}, None)
        assert (response.status, content(response.body)) == (200, expected)


def test_served_echo(conn):
    for (body, chunked) in [
            (b'hello', False), (api.BodyIter([b'hello'], 5), False),
            (api.ChunkedBodyIter([(('k', 'v'), b'hello'), (None, b'')]), True)]:
        response = conn.put('/echo', {}, body)
        assert (response.status, response.body.chunked) == (200, chunked)
        assert content(response.body) == b'hello'
    assert conn.put('/echo', {}, b'') == (200, 'OK', {'x': 'y'}, None)


def test_served_head(conn):
    for _ in range(2):
        assert conn.head('/any', {}) == (200, 'OK', {'content-length': 10},
                                         None)


def test_served_ranges(conn):
    response = conn.get_range('/', {}, 2, 5)
    assert response.status == 206
    assert response.headers['content-range'] == api.ContentRange(2, 5, 10)
    assert response.body.read() == b'234'
    response = conn.get('/', {'range': 'bytes=20-'})
    assert response == (416, 'Range Not Satisfiable',
                        {'content-range': 'bytes */10'}, None)


def test_served_as_it_comes(address):
    """Fields that a peer may spell in its own way, or that end here."""
    data = talk(
        address,
        b'PUT /bytes HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n'
        b'Keep-Alive: 5\r\nTransfer-Encoding: Chunked\r\nX:  y \r\n'
        b'Set-Cookie: a\r\nset-cookie: b\r\nVia: a\r\nVia: b\r\n\r\n'
        b'4;k=v\r\nping\r\n0\r\nA: b\r\n\r\n'
        b'PUT /bytes?q HTTP/1.1\r\nExpect: 100-continue\r\n'
        b'content-length: 4\r\n' + LAST + b'ping')
    assert data.count(b'HTTP/1.1 200 OK\r\n') == 2
    assert data.count(b'HTTP/1.1') <= 3


def test_served_on_connect():
    """The Validator hands on what the app's handler says (S18)."""
    app = App()
    app.on_connect = lambda sock, session: session.requests == 0
    with Running(Validator(app)) as running:
        found = answers(talk(running.address, b'GET / HTTP/1.1\r\n' + LAST))
        assert [item.status for item in found] == [200]
    app.on_connect = lambda session, sock: False
    with Running(Validator(app)) as running, dial(running.address) as sock:
        assert everything(sock) == b''
    assert app.calls == 1


# --------------------------------------------------------- whatever is returned

TOKEN = string.ascii_lowercase + string.digits + "!#$%&'*+-.^_`|~"
VISIBLE = ''.join(map(chr, range(0x21, 0x7f)))

anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3),
    st.binary(max_size=3), st.lists(st.none(), max_size=2),
    st.builds(object), st.dictionaries(st.text(max_size=2), st.none(),
                                       max_size=1))
data = st.binary(max_size=40)
statuses = st.one_of(
    st.sampled_from([200, 204, 206, 304, 404]), st.integers(90, 610))
reasons = st.text(VISIBLE + ' \t', max_size=20)
values = st.text(VISIBLE + ' \t', max_size=10)
known = {
    'content-length': st.integers(-1, 41) | st.just(MOST),
    'transfer-encoding': st.sampled_from(['chunked', 'Chunked', 'gzip', '']),
    'connection': st.sampled_from(['close', 'keep-alive']),
    'content-range': st.sampled_from(
        ['bytes */5', api.ContentRange(0, 5, 9), api.Range(0, 5)]),
    'range': st.just('bytes=0-4'),
    'host': st.sampled_from(['a', 'a:b']),
    'set-cookie': values | st.lists(values | anything, max_size=2),
}
fields = st.one_of(
    st.tuples(st.text(TOKEN, min_size=1, max_size=66), values),
    st.tuples(st.text(max_size=3), st.text(max_size=3)),
    st.tuples(st.sampled_from(sorted(known)), anything),
    *[st.tuples(st.just(name), value) for (name, value) in known.items()])
headers = st.lists(fields, max_size=3).map(dict)
extensions = st.none() | st.tuples(
    st.text(TOKEN + string.ascii_uppercase, min_size=1, max_size=3),
    st.none() | st.text(VISIBLE + ' \t', max_size=5)) | anything
chunks = st.lists(st.tuples(extensions, data | anything), max_size=3)
whole = st.lists(st.tuples(st.none(), data.filter(bool)), max_size=3).map(
    lambda chunks: chunks + [(None, b'')])


def encoded(chunks):
    return b''.join(b'%x\r\n%b\r\n' % (len(data), data)
                    for (_, data) in chunks)


bodies = st.one_of(
    st.none(), data, data.map(bytearray), data.map(memoryview),
    st.tuples(data, st.integers(1, 3)).map(
        lambda pair: memoryview(pair[0])[::pair[1]]),
    data.map(lambda data: api.Body(io.BytesIO(data), len(data))),
    data.map(lambda data: api.BodyIter(iter([data]), len(data))),
    st.lists(data, max_size=3).map(
        lambda parts: api.BodyIter(parts, len(b''.join(parts)))),
    whole.map(lambda chunks: api.ChunkedBody(io.BytesIO(encoded(chunks)))),
    whole.map(lambda chunks: api.ChunkedBodyIter(iter(chunks))),
    whole.map(api.ChunkedBodyIter))
bad_sources = st.one_of(
    st.tuples(st.lists(data | anything, max_size=3), st.integers(0, 99)).map(
        lambda pair: api.BodyIter(*pair)),
    chunks.map(api.ChunkedBodyIter))
lines = st.dictionaries(
    st.text(TOKEN, min_size=1, max_size=64).filter(
        lambda name: name not in known),
    values.map(lambda value: value.strip(' \t')), max_size=3)
framings = st.sampled_from(
    [{}, {}, {}, {'content-length': 5}, {'transfer-encoding': 'chunked'}])
# Every part by itself is right.
likely = st.tuples(
    st.sampled_from([200, 204, 206, 304, 404]) | st.integers(200, 599),
    reasons, st.builds(lambda one, two: {**one, **two}, lines, framings),
    bodies)
unlikely = st.one_of(
    st.tuples(statuses, reasons, headers, bodies | bad_sources),
    st.builds(Response, statuses, reasons, headers, bodies),
    st.tuples(statuses | anything, st.text(max_size=3) | anything,
              headers | anything, bodies | anything),
    st.lists(anything, max_size=5).map(tuple), anything)
# If it gets through, is it sure to be sent?
responses = st.integers(0, 3).flatmap(
    lambda number: st.tuples(st.just(True), likely) if number
    else st.tuples(st.just(False), unlikely))


class Judge:
    """Between server and Validator: hands on, and keeps, what was judged."""

    def __init__(self):
        self.app = App()
        self.validator = Validator(self.app)
        self.refused = None

    def __call__(self, session, request, api):
        self.refused = None
        try:
            response = self.validator(session, request, api)
        except (TypeError, ValueError) as error:
            self.refused = error
            return (299, 'Refused', {}, None)
        assert response is self.app.answer
        return response


def test_whatever_is_returned():
    """It raises TypeError or ValueError, or the server sends the response; if
    bytes stand where they may not, or a source has not what it promised, that
    shows only then."""
    judge = Judge()

    @given(one=responses, method=st.sampled_from(['GET', 'HEAD', 'PUT']))
    def check(one, method):
        (sure, response) = one
        judge.app.answer = response
        conn = Client(running.address).connect()
        try:
            found = conn.request(method, '/', {}, None)
            content(found.body)
        except TruncatedError:
            assert not sure
            return
        finally:
            conn.close()
        if judge.refused:
            assert found[:2] == (299, 'Refused')
        elif sure or found.status != 500:
            assert found[:2] == response[:2]

    with Running(judge) as running:
        check()
