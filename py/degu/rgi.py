# SPDX-License-Identifier: MIT OR 0BSD
"""The contract between a server, its middleware and its apps, as a check.

`Validator` is for tests: it stands between a server and an app and refuses
what either of them must not do, with a sentence about what was wrong: wrong
types, and what does not fit together.  Which bytes may stand in a header and
what the limits are, the server says when it sends; what a file or an iterator
holds shows when it is read.

The server that is meant is `degu.server`, by RFC 9110 and 9112; but only what
the forms of an app are is imported, and the classes are those of *api*.
"""

from typing import Any

from degu._earlier import settle_app, settle_on_connect

__all__ = ('REQUEST_METHODS', 'Validator')

REQUEST_METHODS = ('GET', 'PUT', 'POST', 'DELETE', 'HEAD', 'PATCH', 'OPTIONS')

_WITH_BODY = ('PUT', 'POST', 'PATCH')

# States of a body.
_READY = 0
_CONSUMED = 2

# What an earlier app knows a request by; script is mount now.
_ITEMS = ('method', 'uri', 'script', 'path', 'query', 'headers', 'body')

_BYTES = (bytes, bytearray, memoryview)

_FRAMING = ('content-length', 'transfer-encoding')

# Header values that may be an instance of this class of the api.
_RANGES = {'range': 'Range', 'content-range': 'ContentRange'}

# What concerns one connection only is the server's; an answer may just say
# connection: close.  The others belong in messages that go the other way
# (RFC 9110 7.2, 10.1.1, 14.2, 14.4).
_NO_REQUEST = (
    'connection', 'keep-alive', 'proxy-connection', 'expect', 'content-range'
)
_NO_RESPONSE = ('keep-alive', 'proxy-connection', 'expect', 'range', 'host')


def _bad(label: str, rule: str, value: Any) -> ValueError:
    return ValueError(f'{label}: {rule}; got {value!r}')


def _need(label: str, value: Any, *types: type) -> None:
    """Refuses other types and subclasses, as the server does."""
    if type(value) not in types:
        names = ' or '.join(getattr(item, '__name__', '?') for item in types)
        raise TypeError(
            f'{label}: need {names}; got a {type(value)!r}: {value!r}'
        )


def _get(label: str, thing: Any, name: str) -> Any:
    if not hasattr(thing, name):
        raise ValueError(f'{label}: {type(thing)!r} has no attribute {name!r}')
    return getattr(thing, name)


def _same(label: str, value: Any, wanted: Any) -> None:
    if value is not wanted and value != wanted:
        raise _bad(label, f'must be {wanted!r}', value)


def _nbytes(label: str, data: Any) -> int:
    _need(label, data, *_BYTES)
    view = memoryview(data)
    if not view.c_contiguous:
        raise _bad(label, 'a memoryview must be contiguous', data)
    return view.nbytes


# ---------------------------------------------------------------------- session


def _check_session(session: Any) -> None:
    address = _get('session', session, 'address')
    _need('session.address', address, tuple, str, bytes)
    if type(address) is tuple and len(address) not in (2, 4):
        raise _bad('session.address', 'must have 2 or 4 items', address)
    requests = _get('session', session, 'requests')
    _need('session.requests', requests, int)
    if requests < 0:
        raise _bad('session.requests', 'must be >= 0', requests)
    store = _get('session', session, 'store')
    # A session is its own store, of a class of its own; the keys are the app's.
    if not isinstance(store, dict):
        raise TypeError(f'session.store: need a dict; got {store!r}')
    for key in store:
        if not isinstance(key, str):
            raise TypeError(f'session.store: keys must be str; got {key!r}')
    if isinstance(session, dict) and 'client' not in session:
        raise _bad('session', "must have the item 'client'", session)


# ---------------------------------------------------------------------- headers


def _check_value(label: str, name: str, value: Any, api: Any) -> None:
    if name == 'content-length':
        _need(label, value, int)
        if value < 0:
            raise _bad(label, 'must be >= 0', value)
    elif name == 'set-cookie' and type(value) is list:
        for (index, item) in enumerate(value):
            _need(f'{label}[{index}]', item, str)
    elif name in _RANGES and type(value) is not str:
        _need(label, value, _get('api', api, _RANGES[name]), str)
    else:
        _need(label, value, str)
        # The letters' case is free, and the server hands it on as it came.
        if name == 'transfer-encoding' and value.lower() != 'chunked':
            raise _bad(label, "must be 'chunked'", value)


def _check_headers(
    label: str, headers: Any, api: Any, barred: tuple[str, ...]
) -> None:
    _need(label, headers, dict)
    for (name, value) in headers.items():
        _need(f'{label}: a header name', name, str)
        if name != name.casefold():
            raise _bad(label, 'header names are in lower case', name)
        if name in barred:
            raise ValueError(f'{label}: {name!r} must not be here')
        _check_value(f'{label}[{name!r}]', name, value, api)
    if headers.keys() >= set(_FRAMING):
        raise _bad(label, f'only one of {_FRAMING} may be here', headers)


def _refuse(label: str, what: str, headers: Any, *names: str) -> None:
    for name in names:
        if name in headers:
            raise ValueError(f'{label}: {what} goes without header {name!r}')


# ---------------------------------------------------------------------- request


def _check_uri(request: Any) -> None:
    """Whatever was shifted from path to mount, they make up the uri."""
    parts = []
    for name in ('mount', 'path'):
        items = _get('request', request, name)
        _need(f'request.{name}', items, list)
        for (index, item) in enumerate(items):
            _need(f'request.{name}[{index}]', item, str)
        parts += items
    query = _get('request', request, 'query')
    _need('request.query', query, type(None), str)
    uri = _get('request', request, 'uri')
    _need('request.uri', uri, str)
    rebuilt = '/' + '/'.join(parts) + ('' if query is None else '?' + query)
    if rebuilt != uri:
        rule = f'mount, path and query make up {rebuilt!r}'
        raise _bad('request.uri', rule, uri)


def _check_request_body(method: str, headers: Any, body: Any, api: Any) -> None:
    label = 'request.body'
    if body is None:
        _refuse(label, 'None', headers, *_FRAMING)
        return
    kinds = (_get('api', api, 'Body'), _get('api', api, 'ChunkedBody'))
    _need(label, body, *kinds)
    if method not in _WITH_BODY:
        raise _bad('request.method', f'must be of {_WITH_BODY}', method)
    chunked = type(body) is kinds[1]
    (absent, present) = _FRAMING if chunked else _FRAMING[::-1]
    _refuse(label, repr(body), headers, absent, 'range')
    if present not in headers:
        raise ValueError(f'{label}: {body!r} needs a header {present!r}')
    if not chunked:
        length = _get(label, body, 'content_length')
        _same(f'request.headers[{present!r}]', headers[present], length)
    _same(f'{label}.chunked', _get(label, body, 'chunked'), chunked)
    _same(f'{label}.state', _get(label, body, 'state'), _READY)


def _check_request(request: Any, api: Any) -> tuple[str, Any]:
    """Method and body, which the app could replace while it runs."""
    method = _get('request', request, 'method')
    if method not in REQUEST_METHODS:
        raise _bad('request.method', f'must be of {REQUEST_METHODS}', method)
    _check_uri(request)
    headers = _get('request', request, 'headers')
    _check_headers('request.headers', headers, api, _NO_REQUEST)
    body = _get('request', request, 'body')
    _check_request_body(method, headers, body, api)
    if isinstance(request, dict):
        for name in _ITEMS:
            if name not in request:
                raise _bad('request', f'must have the item {name!r}', request)
            value = getattr(request, 'mount' if name == 'script' else name)
            _same(f'request[{name!r}]', request[name], value)
    return (method, body)


def _check_consumed(body: Any, response: Any) -> None:
    """A body that is handed back is read while it is sent."""
    if isinstance(response, tuple) and response[3:] == (body,):
        return
    if body is not None and body.state != _CONSUMED:
        rule = f'must be {_CONSUMED} after the app, which reads it to its end'
        raise _bad('request.body.state', rule, body.state)


# --------------------------------------------------------------------- response


def _check_response_body(headers: dict[str, Any], body: Any, api: Any) -> None:
    label = 'response[3]'
    kind = type(body)
    if body is None:
        _refuse(label, 'None', headers, *_FRAMING)
        return
    names = ('Body', 'BodyIter', 'ChunkedBody', 'ChunkedBodyIter')
    kinds = [_get('api', api, name) for name in names]
    chunked = kind in kinds[2:]
    _need(label, body, *_BYTES, *kinds)
    _refuse(label, repr(kind), headers, _FRAMING[not chunked])
    if chunked and hasattr(body, 'content_length'):
        raise ValueError(f'{label}: {kind!r} must have no content_length')
    if not chunked:
        # None: as long as another server sends; it goes out in chunks.
        length = (_nbytes(label, body) if kind in _BYTES
                  else _get(label, body, 'content_length'))
        given = headers.get('content-length', length)
        _same("response[2]['content-length']", given, length)
    if kind in _BYTES:
        return
    _same(f'{label}.state', _get(label, body, 'state'), _READY)
    if kind not in kinds[1::2]:
        _same(f'{label}.chunked', _get(label, body, 'chunked'), chunked)


def _check_no_body(
    status: int, head: bool, headers: dict[str, Any], body: Any
) -> None:
    """HEAD, 204 and 304: RFC 9110 8.6, 9.3.2, 15.3.5 and 15.4.5."""
    what = 'the answer to HEAD' if head else f'status {status}'
    if body is not None and (
        type(body) not in _BYTES or _nbytes('response[3]', body)
    ):
        raise TypeError(
            f'response[3]: must be None in {what}; got a {type(body)!r}'
        )
    if status == 204:
        _refuse('response[2]', 'status 204', headers, *_FRAMING)
    elif status < 300 and not headers.keys() & set(_FRAMING):
        rule = f'one of {_FRAMING} must be in {what}, to say what GET gets'
        raise _bad('response[2]', rule, headers)


def _check_response(response: Any, method: str, api: Any) -> None:
    if not isinstance(response, tuple):
        raise TypeError(
            'response: need a tuple, (status, reason, headers, body); '
            f'got a {type(response)!r}: {response!r}'
        )
    if len(response) != 4:
        raise _bad('response', 'need 4 items', response)
    (status, reason, headers, body) = response
    _need('response[0]', status, int)
    if not 200 <= status <= 599:
        raise _bad('response[0]', 'need 200 <= status <= 599', status)
    _need('response[1]', reason, str)
    _check_headers('response[2]', headers, api, _NO_RESPONSE)
    connection = headers.get('connection', 'close')
    _same("response[2]['connection']", connection, 'close')
    if method == 'HEAD' or status in (204, 304):
        _check_no_body(status, method == 'HEAD', headers, body)
    else:
        _check_response_body(headers, body, api)


# -------------------------------------------------------------------- Validator


class Validator:
    """An app that calls *app* and checks what goes in and what comes out.

    *app* is a callable, app(session, request, api) or app(request), whose
    attribute on_connect may be missing, None, or a handler with the parameters
    session and sock in either order.  TypeError if it is none of these.
    `app` is the app as given.
    """

    def __init__(self, app: Any) -> None:
        if not callable(app):
            raise TypeError(f'app: not callable: {app!r}')
        self.app = app
        self._app = settle_app(app)
        self._on_connect = settle_on_connect(getattr(app, 'on_connect', None))

    def __repr__(self) -> str:
        return f'Validator({self.app!r})'

    def __call__(self, session: Any, request: Any, api: Any) -> Any:
        """Checks *session* and *request*, calls the app, and checks that it
        kept the request's target, that it read the request's body to its end
        or hands it back, and its response, which is returned as it is.

        A response is a tuple (status, reason, headers, body): an int from 200
        to 599; a str, which may be empty; a dict of names in lower case, with
        values that are str, for content-length an int, for content-range also
        an api.ContentRange, for set-cookie also a list of str; and None,
        bytes, bytearray, memoryview or one of the four bodies of *api*, not
        begun.  After HEAD, and with status 204 and 304, the body is None; and
        after HEAD with another 2xx content-length or transfer-encoding tells
        what GET would get (RFC 9110 8.6, 9.3.2).

        TypeError for what is of another type, ValueError for all else; the
        first thing wrong is named, on whichever side of the app it is.  What
        the app raises is handed on.
        """
        _check_session(session)
        (method, body) = _check_request(request, api)
        response = self._app(session, request, api)
        _check_uri(request)
        _check_consumed(body, response)
        _check_response(response, method, api)
        return response

    def on_connect(self, session: Any, sock: Any) -> bool:
        """What the app's handler says of a new connection, a bool; True if
        it has none.  Of *sock* nothing is asked here.

        TypeError if it says anything else; TypeError or ValueError about a
        session that is not as it should be, such as one that has answered a
        request already.
        """
        _check_session(session)
        if session.requests != 0:
            rule = 'must be 0 when app.on_connect() is called'
            raise _bad('session.requests', rule, session.requests)
        if self._on_connect is None:
            return True
        accepted: bool = self._on_connect(session, sock)
        _need('app.on_connect(): result', accepted, bool)
        return accepted
