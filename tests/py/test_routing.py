# SPDX-License-Identifier: MIT OR 0BSD
"""AllowedMethods, MethodFilter and Router: called by hand, and behind a real
server where what counts is who gets in and what stands on the wire."""

import logging

import pytest

from degu.applib.routing import AllowedMethods, MethodFilter, Router
from degu.base import Session, api
from degu.misc import RequestLogger, mkreq
from degu.rgi import Validator
from degu.server import Server
from peers import App, Running, answers, dial, everything, talk

METHODS = ('GET', 'PUT', 'POST', 'HEAD', 'DELETE', 'PATCH', 'OPTIONS')
NOT_ALLOWED = (405, 'Method Not Allowed', {}, None)
GONE = (410, 'Gone', {}, None)
LAST = b'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'


def call(app, method='GET', uri='/', **more):
    request = mkreq(method, uri, **more)
    return (app(Session(('127.0.0.1', 1)), request, api), request)


def named(name):
    """An app that tells its name and what is left of the path."""
    def app(session, request, api):
        return (200, name, {}, '|'.join(request.mount + ['>'] +
                                        request.path).encode())
    return app


class Guard:
    """An app with an on_connect, and who was asked."""

    def __init__(self, answer=True, log=None, name=''):
        self.answer = answer
        self.log = [] if log is None else log
        self.name = name

    def on_connect(self, session, sock):
        self.log.append((self.name, type(session).__name__,
                         type(sock).__name__))
        if isinstance(self.answer, BaseException):
            # A new one: one that is raised often keeps all its tracebacks.
            raise type(self.answer)(*self.answer.args)
        return self.answer

    def __call__(self, session, request, api):
        return (200, 'OK', {}, b'in')


class Flipped(Guard):
    """The older order of arguments."""

    def on_connect(self, sock, session):
        return super().on_connect(session, sock)


def is_served(address):
    """A refused connection ends without a byte, or with a reset."""
    try:
        return talk(address, LAST) != b''
    except ConnectionResetError:
        return False


def lets_in(app):
    """Does a server with this app serve a connection?"""
    with Running(app) as server:
        return is_served(server.address)


# ------------------------------------------------------------ AllowedMethods

def test_allowed_methods_keeps_the_tuple_as_given():
    one = AllowedMethods('PUT', 'GET', 'PUT')
    assert one.methods == ('PUT', 'GET', 'PUT')
    assert repr(one) == "AllowedMethods('PUT', 'GET', 'PUT')"
    assert repr(AllowedMethods()) == 'AllowedMethods()'


@pytest.mark.parametrize('method', METHODS)
def test_each_of_the_seven_methods_may_be_allowed(method):
    assert AllowedMethods(method).isallowed(method) is True
    assert AllowedMethods().isallowed(method) is False
    others = AllowedMethods(*(m for m in METHODS if m != method))
    assert others.isallowed(method) is False


@pytest.mark.parametrize('method', [
    'get', 'TRACE', 'CONNECT', '', 'GET ', b'GET', None, 1, ['GET'], 'GE'])
def test_bad_method(method):
    with pytest.raises(ValueError) as caught:
        AllowedMethods('GET', method)
    assert str(caught.value).startswith('bad method: %r' % (method,))


def test_isallowed_is_about_the_whole_word():
    one = AllowedMethods('GET')
    for method in ('get', 'GE', 'GETT', '', None, b'GET'):
        assert one.isallowed(method) is False


# -------------------------------------------------------------- MethodFilter

def test_calling_allowed_methods_makes_a_filter_of_both():
    (one, app) = (AllowedMethods('GET'), App())
    made = one(app)
    assert type(made) is MethodFilter
    assert made.app is app and made.allowed_methods is one


def test_a_subclass_of_allowed_methods_does_as_well():
    class Sub(AllowedMethods):
        pass

    assert type(Sub('GET')(App()).allowed_methods) is Sub


@pytest.mark.parametrize('app, allowed', [
    (None, AllowedMethods('GET')), (17, AllowedMethods('GET')),
    (App(), ('GET',)), (App(), None), (App(), AllowedMethods),
    (lambda: None, AllowedMethods('GET')),
    (lambda a, b: None, AllowedMethods('GET'))])
def test_bad_arguments_of_a_filter(app, allowed):
    with pytest.raises(TypeError):
        MethodFilter(app, allowed)


@pytest.mark.parametrize('method', METHODS)
def test_filter_passes_the_same_objects_on(method):
    got = []

    def app(session, request, api):
        got.append((session, request, api))
        return (200, 'OK', {}, None)

    one = AllowedMethods(method)(app)
    session = Session(('127.0.0.1', 1))
    for asked in METHODS:
        request = mkreq(asked, '/a')
        answer = one(session, request, api)
        if asked == method:
            assert answer == (200, 'OK', {}, None)
            [(a, b, c)] = got
            assert a is session and b is request and c is api
        else:
            assert answer == NOT_ALLOWED
    assert len(got) == 1


def test_filter_takes_both_forms_of_apps():
    def newest(session, request, api):
        return (200, 'OK', {}, b'three')

    def oldest(request):
        return (200, 'OK', {}, request['method'].encode())

    def both(session, request=None, api=None):
        return (200, 'OK', {}, b'both')

    allow = AllowedMethods('GET')
    assert call(allow(newest))[0][3] == b'three'
    assert call(allow(oldest))[0][3] == b'GET'
    assert call(allow(both))[0][3] == b'both'
    assert call(allow(oldest), 'PUT')[0] == NOT_ALLOWED
    with Running(allow(oldest)) as server:
        [answer] = answers(talk(server.address, LAST))
        assert answer.body == b'GET'


def test_an_error_of_the_inner_app_is_its_own():
    def app(session, request, api):
        raise TypeError('mine')

    with pytest.raises(TypeError, match='^mine$'):
        call(AllowedMethods('GET')(app))


# ----------------------------------------------------- Router: construction

@pytest.mark.parametrize('appmap, error', [
    (None, TypeError), ([], TypeError), ((), TypeError),
    (type('D', (dict,), {})(), TypeError), ({1: App()}, TypeError),
    ({b'a': App()}, TypeError), ({('a',): App()}, TypeError),
    ({True: App()}, TypeError), ({'\xe4': App()}, ValueError),
    ({'a': {'\u20ac': App()}}, ValueError), ({'a': None}, TypeError),
    ({'a': 17}, TypeError), ({'a': {'b': 'c'}}, TypeError),
    ({'a': {'b': []}}, TypeError),
    ({'a': type('D', (dict,), {})()}, TypeError)])
def test_bad_maps(appmap, error):
    with pytest.raises(error):
        Router(appmap)


def test_map_is_the_object_given():
    appmap = {'a': App()}
    assert Router(appmap).appmap is appmap
    assert Router({}).appmap == {}


def nest(levels, app, key='a'):
    appmap = {key: app}
    for _ in range(levels - 1):
        appmap = {key: appmap}
    return appmap


def test_ten_levels_and_no_eleventh():
    (answer, request) = call(Router(nest(10, named('deep'))),
                             uri='/' + '/'.join('a' * 12))
    assert answer == (200, 'deep', {}, b'a|' * 10 + b'>|a|a')
    assert call(Router(nest(10, named('deep'))), uri='/a/a')[0] == GONE
    with pytest.raises(ValueError, match='10 levels'):
        Router(nest(11, named('deep')))


@pytest.mark.parametrize('key', ['a', '', None])
def test_a_map_that_holds_itself(key):
    appmap = {}
    appmap[key] = appmap
    with pytest.raises(ValueError, match='10 levels'):
        Router(appmap)


@pytest.mark.parametrize('key, uri', [('a', '/' + '/'.join('a' * 20)),
                                      (None, '/')])
def test_a_map_that_holds_itself_later(key, uri):
    """The request ends in an error and never hangs; nobody is let in."""
    appmap = {}
    router = Router(appmap)
    appmap[key] = appmap
    with pytest.raises(ValueError, match='10 levels'):
        call(router, uri=uri)
    with pytest.raises(ValueError, match='10 levels'):
        router.on_connect(Session(('127.0.0.1', 1)), None)
    # What is not in it is not in it, however deep the map goes.
    assert call(router, uri='/b')[0] == GONE


def test_eleven_levels_later():
    appmap = nest(10, named('deep'))
    router = Router(appmap)
    innermost = appmap
    for _ in range(9):
        innermost = innermost['a']
    innermost['b'] = {'c': named('eleventh')}
    path = '/' + 'a/' * 9
    assert call(router, uri=path + 'a')[0][1] == 'deep'
    with pytest.raises(ValueError, match='10 levels'):
        call(router, uri=path + 'b/c')


# ---------------------------------------------------------- Router: requests

MAP = {
    None: named('root'),
    '': named('slash'),
    'a': named('a'),
    'b': {
        None: named('b'),
        '': named('b/'),
        'c': named('b/c'),
        'd': {'': named('b/d/')},
    },
    'e%20f': named('percent'),
    'g+': {'~': named('tilde')},
}


@pytest.mark.parametrize('uri, reason, body', [
    ('/', 'root', b'>'),
    ('/a', 'a', b'a|>'),
    ('/a/', 'a', b'a|>|'),
    ('/a/x/y', 'a', b'a|>|x|y'),
    ('/a?b', 'a', b'a|>'),
    ('/b', 'b', b'b|>'),
    ('/b?', 'b', b'b|>'),
    ('/b/', 'b/', b'b||>'),
    ('/b/c', 'b/c', b'b|c|>'),
    ('/b/c/', 'b/c', b'b|c|>|'),
    ('/b/d/', 'b/d/', b'b|d||>'),
    ('/e%20f', 'percent', b'e%20f|>'),
    ('/g+/~/%7e', 'tilde', b'g+|~|>|%7e'),
    ('/x', None, ['x']),
    ('/A', None, ['A']),
    ('/b/x', None, ['b', 'x']),
    ('/b/d', None, ['b', 'd']),
    ('/b/d/x/y', None, ['b', 'd', 'x']),
    # Never decoded, so another spelling is another part.
    ('/%61', None, ['%61']),
    ('/e f', None, ['e f']),
    ('/g%2b/~', None, ['g%2b']),
    ('/g+', None, ['g+']),
])
def test_what_a_path_leads_to(uri, reason, body):
    (answer, request) = call(Router(MAP), uri=uri)
    if reason is None:
        assert answer == GONE
        assert request.mount == body
    else:
        assert answer[:2] == (200, reason)
        assert answer[3] == body
    assert request.uri == uri


def test_each_gone_is_a_new_answer():
    """Middleware may change the headers of one."""
    router = Router({})
    call(router)[0][2]['x'] = 'y'
    assert call(router)[0] == GONE
    call(AllowedMethods()(App()))[0][2]['x'] = 'y'
    assert call(AllowedMethods()(App()))[0] == NOT_ALLOWED


def test_map_is_read_anew():
    appmap = {'a': named('old')}
    router = Router(appmap)
    assert call(router, uri='/b')[0] == GONE
    appmap['b'] = {'c': named('new')}
    assert call(router, uri='/b/c')[0][1] == 'new'
    del appmap['a']
    assert call(router, uri='/a')[0] == GONE


@pytest.mark.parametrize('args', [(), (1,), (1, 2), (1, 2, 3, 4)])
def test_number_of_arguments(args):
    with pytest.raises(TypeError):
        Router({})(*args)


@pytest.mark.parametrize('request_', [None, {}, {'path': []}, 'GET'])
def test_only_a_request_is_one(request_):
    with pytest.raises(TypeError, match='^request: need a '):
        Router({None: App()})(None, request_, api)


def test_a_key_error_of_the_app_is_no_410():
    def app(session, request, api):
        raise KeyError('mine')

    with pytest.raises(KeyError, match='mine'):
        call(Router({'a': app}), uri='/a')


def test_routers_and_filters_inside_each_other():
    inner = Router({'b': AllowedMethods('GET')(named('inner'))})
    outer = Router({'a': inner, 'c': AllowedMethods('PUT')(inner)})
    assert call(outer, uri='/a/b/x')[0] == (200, 'inner', {}, b'a|b|>|x')
    assert call(outer, 'POST', '/a/b')[0] == NOT_ALLOWED
    assert call(outer, 'GET', '/c/b')[0] == NOT_ALLOWED
    assert call(outer, 'PUT', '/c/b')[0] == NOT_ALLOWED
    assert call(outer, uri='/a/c')[0] == GONE


def test_validator_agrees_with_all_of_them():
    app = Router({'a': AllowedMethods('GET')(named('a'))})
    validated = Validator(app)
    with Running(validated) as server:
        for (line, status) in ((b'GET /a/b', 200), (b'PUT /a', 405),
                               (b'GET /b', 410), (b'HEAD /b', 410)):
            data = line + b' HTTP/1.1\r\nconnection: close\r\n\r\n'
            [answer] = answers(talk(server.address, data),
                               line.split()[0].decode())
            assert answer.status == status


# ---------------------------------------------------------------- on_connect

WRAPPERS = {
    'filter': lambda app: AllowedMethods('GET')(app),
    'router': lambda app: Router({None: app}),
    'deep router': lambda app: Router({'': {}, 'a': {'b': {'c': app}}}),
    'logger': RequestLogger,
    'validator': Validator,
    'filter in router': lambda app: Router({None: AllowedMethods()(app)}),
    'router in filter': lambda app: AllowedMethods('GET')(Router({'': app})),
    'router in router': lambda app: Router({'a': Router({'b': app})}),
}


@pytest.mark.parametrize('cls', [Guard, Flipped])
@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
def test_no_middleware_hides_on_connect(wrap, cls):
    for (answer, served) in ((True, True), (False, False)):
        guard = cls(answer)
        assert lets_in(wrap(guard)) is served
        assert guard.log == [('', 'Session', 'socket')]


@pytest.mark.parametrize('answer', [
    None, 1, 'True', False, 0, [True], ValueError('no'), SystemExit(0)])
@pytest.mark.parametrize('wrap', ['filter', 'router', 'deep router'])
def test_only_true_lets_in(wrap, answer):
    guard = Guard(answer)
    assert lets_in(WRAPPERS[wrap](guard)) is False
    assert len(guard.log) == 1


def test_every_app_is_asked_until_one_refuses():
    log = []
    apps = [Guard(name != 'c', log, name) for name in 'abcd']
    appmap = {None: apps[0], 'x': {'y': apps[1], 'z': {'': apps[2]}},
              '': apps[3]}
    assert lets_in(Router(appmap)) is False
    assert [name for (name, *_) in log] == ['a', 'b', 'c']


def test_an_app_under_several_keys_is_asked_once():
    guard = Guard()
    appmap = {None: guard, 'a': guard, 'b': {'': guard, 'c': {'': guard}}}
    assert lets_in(Router(appmap)) is True
    assert len(guard.log) == 1


def test_an_app_that_comes_later_is_asked_too():
    appmap = {None: App()}
    with Running(Router(appmap)) as server:
        assert talk(server.address, LAST)
        for (cls, answer) in ((Guard, True), (Flipped, True), (Guard, False)):
            guard = appmap['later'] = cls(answer)
            assert is_served(server.address) is answer
            assert guard.log == [('', 'Session', 'socket')]
        del appmap['later']
        assert talk(server.address, LAST)


@pytest.mark.parametrize('handler', [
    lambda one, other: True, lambda session: True, True])
def test_no_order_is_guessed(handler, caplog):
    """A filter says so at once, a router when somebody comes."""
    app = App()
    app.on_connect = handler
    with pytest.raises(TypeError, match='on_connect'):
        Server(b'', AllowedMethods('GET')(app))
    assert lets_in(Router({None: app})) is False
    assert app.calls == 0
    assert 'on_connect' in caplog.text


def test_an_on_connect_of_none_asks_nobody():
    app = App()
    app.on_connect = None
    for wrap in ('filter', 'router', 'deep router'):
        assert lets_in(WRAPPERS[wrap](app)) is True


def test_a_filter_has_the_on_connect_that_the_app_has_now():
    app = App()
    one = AllowedMethods('GET')(app)
    assert one.on_connect is None
    app.on_connect = Guard().on_connect
    assert one.on_connect == app.on_connect


@pytest.mark.parametrize('key', ['a', None])
def test_a_broken_map_lets_nobody_in(key, caplog):
    appmap = {}
    router = Router(appmap)
    with Running(router) as server:
        assert talk(server.address, LAST)
        appmap[key] = appmap
        assert not is_served(server.address)
        del appmap[key]
        assert talk(server.address, LAST)
    assert '10 levels' in caplog.text


def test_no_connection_is_let_in_while_the_map_changes_under_it():
    """An app that changes the map from its own on_connect."""
    appmap = {}
    late = Guard(False)

    class Adds(Guard):
        def on_connect(self, session, sock):
            appmap['b'] = late
            return True

    appmap['a'] = Adds()
    with Running(Router(appmap)) as server:
        is_served(server.address)
        assert not is_served(server.address)
    assert len(late.log) >= 1


# ------------------------------------------------------------- over a socket

BODIES = {
    'length': b'content-length: 5\r\n\r\nhello',
    'long': b'content-length: 300000\r\n\r\n' + bytes(300000),
    'chunked': b'transfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n',
}


@pytest.mark.parametrize('body', BODIES.values(), ids=BODIES)
@pytest.mark.parametrize('target, status', [(b'/a', 405), (b'/b', 410)])
def test_unread_body_never_becomes_a_request(target, status, body, caplog):
    """The answer arrives and says that the connection ends; what follows the
    body, and the body, are not looked at."""
    app = App()
    with Running(Router({'a': AllowedMethods('GET')(app)})) as server:
        with dial(server.address) as sock:
            sock.sendall(b'PUT ' + target + b' HTTP/1.1\r\n' + body +
                         b'GET /a HTTP/1.1\r\n\r\n')
            [answer] = answers(everything(sock))
    assert answer.status == status
    assert answer.headers == {'content-length': '0', 'connection': 'close'}
    assert app.calls == 0
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


@pytest.mark.parametrize('method', METHODS)
def test_405_and_410_leave_the_connection_open(method):
    with Running(Router({'a': AllowedMethods()(App())})) as server:
        data = b''.join(b'%s %s HTTP/1.1\r\n\r\n' % (method.encode(), target)
                        for target in (b'/a', b'/b', b'/a'))
        data += b'GET /a HTTP/1.1\r\nconnection: close\r\n\r\n'
        with dial(server.address) as sock:
            sock.sendall(data)
            got = everything(sock)
    if method == 'HEAD':
        assert got.count(b'HTTP/1.1 405 ') == 3
        assert got.count(b'HTTP/1.1 410 ') == 1
    else:
        assert [a.status for a in answers(got)] == [405, 410, 405, 405]


def test_an_app_of_one_argument_is_refused_at_once():
    """The map is read anew for each request, when it would be too late."""
    with pytest.raises(TypeError, match='session, request, api'):
        Router({'a': {'b': lambda request: None}})
