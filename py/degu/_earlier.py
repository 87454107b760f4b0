# SPDX-License-Identifier: MIT OR 0BSD
"""Forms of apps that earlier versions had, and nothing else.

A server asks once, when it is made, what its app looks like; what it then
calls for each request is the app itself if it has the newest form,
``app(session, request, api)``.
"""

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

from degu._degu import Body, ChunkedBody
from degu._values import (
    API,
    READY,
    BodyIter,
    ChunkedBodyIter,
    encode_chunk,
    join_uri,
)

Handler = Callable[[Any, Any, Any], Any]
OnConnect = Callable[[Any, Any], Any]


# inspect.CO_VARARGS.
_TAKES_MORE = 4

# What makes the signature of a function another than that of its code.
_HIDING = {'__signature__', '__wrapped__'}

# A chain of wrappers longer than this one is a ring.
_MAX_WRAPPERS = 100


def _wrapped(function: Any) -> Any:
    """What functools.wraps() says it wraps, bound as it is bound; or None."""
    if isinstance(function, functools.partial):
        inner = _wrapped(function.func)
        if inner is not None:
            inner = functools.partial(
                inner, *function.args, **function.keywords
            )
    elif isinstance(function, types.MethodType):
        inner = getattr(function.__func__, '__wrapped__', None)
        if callable(inner):
            inner = types.MethodType(inner, function.__self__)
    else:
        inner = getattr(function, '__wrapped__', None)
        if inner is None:
            call = getattr(function, '__call__', None)  # noqa: B004
            if isinstance(call, types.MethodType):
                inner = _wrapped(call)
    return inner if callable(inner) else None


def _signatures(function: Any) -> Iterator[Any]:
    """The inspect.Signature of what is called, and then of what it wraps,
    which counts only where the wrapper takes anything; None for one that is
    not to be had."""
    import inspect  # costs a part of the time that a server needs to start

    for _ in range(_MAX_WRAPPERS):
        if function is None:
            break
        try:
            yield inspect.signature(function, follow_wrapped=False)
        except (TypeError, ValueError):
            yield None
        function = _wrapped(function)


def _takes(signature: Any, count: int) -> bool:
    """Does it take this number of positional arguments?  What has no signature
    is taken for the newest form."""
    if signature is None:
        return count == 3
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def settle_app(app: Any) -> Handler:
    """What is called with (session, request, api) for *app*, which takes these
    three or the request alone.

    Found out by the signature, never by calling.  Raises TypeError for
    anything else.
    """
    if not callable(app):
        raise TypeError(f'app: not callable: {app!r}')
    (three, one) = _forms(app)
    if three:
        return app  # type: ignore[no-any-return]
    if not one:
        raise TypeError(
            'app: must take (session, request, api), or the request alone; '
            f'got {app!r}'
        )
    return lambda session, request, api: app(request)


def _takes_plainly(function: types.FunctionType, count: int) -> bool:
    """The same of a function that nothing is hidden behind."""
    code = function.__code__
    most = code.co_argcount
    least = most - len(function.__defaults__ or ())
    if code.co_kwonlyargcount > len(function.__kwdefaults__ or ()):
        return False
    return least <= count and (
        count <= most or bool(code.co_flags & _TAKES_MORE)
    )


def _forms(app: Any) -> tuple[bool, bool]:
    """Does it take three arguments, does it take one?  A wrapper that takes
    both does what the function that it wraps does."""
    if type(app) is types.FunctionType and not vars(app).keys() & _HIDING:
        return (_takes_plainly(app, 3), _takes_plainly(app, 1))
    forms = None
    for signature in _signatures(app):
        found = (_takes(signature, 3), _takes(signature, 1))
        if forms is None or any(found):
            forms = found
        if forms != (True, True):
            break
    return forms or (False, False)


def settle_on_connect(on_connect: Any) -> OnConnect | None:
    """What is called with (session, sock) for an app's *on_connect*, whose
    parameters tell their order by their names; None for None.

    It decides who gets in, so nothing is guessed: TypeError if neither
    parameter is named ``session`` or ``sock``, leading underscores aside.
    """
    if on_connect is None:
        return None
    if not callable(on_connect):
        raise TypeError(f'app.on_connect: not callable: {on_connect!r}')
    match _names(on_connect):
        case (first, second) if first == second:
            pass
        case ('session', _) | (_, 'sock'):
            return on_connect  # type: ignore[no-any-return]
        case ('sock', _) | (_, 'session'):
            return lambda session, sock: on_connect(sock, session)
    raise TypeError(
        'app.on_connect: must take (session, sock) or (sock, session), under '
        f'these names; got {on_connect!r}'
    )


def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of its two positional parameters; () if it has not two.

    Those of what it wraps only if it has none of its own: a wrapper may have
    turned them round.
    """
    for signature in _signatures(function):
        if signature is None or not _takes(signature, 2):
            break
        names = tuple(
            p.name.lstrip('_') for p in signature.parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        )
        if names:
            return names[:2]
    return ()


# ------------------------------------------------------- the option "bodies"

def check_bodies(bodies: Any) -> None:
    """Raises TypeError unless it has the four wrapper classes by name."""
    for name in ('Body', 'BodyIter', 'ChunkedBody', 'ChunkedBodyIter'):
        if not callable(getattr(bodies, name, None)):
            raise TypeError(f'bodies: has no callable {name}: {bodies!r}')


class _InputFile:
    """A request's body as the file that a wrapper class reads.

    Chunks come out as they stand on the wire, for a class that knows them.
    """

    def __init__(self, body: Body | ChunkedBody) -> None:
        self._parts = self._read(body)
        self._part = b''
        self._pos = 0

    def __repr__(self) -> str:
        return '<reader>'

    @staticmethod
    def _read(body: Body | ChunkedBody) -> Iterator[bytes]:
        if isinstance(body, Body):
            yield from body
        else:
            for chunk in body:
                yield encode_chunk(chunk)

    def _fill(self) -> int:
        """How many bytes are left of a part, 0 at the end."""
        if self._pos == len(self._part):
            self._part = next(self._parts, b'')
            self._pos = 0
        return len(self._part) - self._pos

    def _take(self, size: int) -> bytes:
        """Up to *size* bytes, of one part; b'' at the end."""
        count = min(size, self._fill())
        data = self._part[self._pos:self._pos + count]
        self._pos += count
        return data

    def readinto(self, buffer: Any) -> int:
        data = self._take(len(buffer))
        buffer[:len(data)] = data
        return len(data)

    def read(self, size: int | None = -1) -> bytes:
        parts = []
        size = -1 if size is None else size
        while size:
            data = self._take(size if size > 0 else 1048576)
            if not data:
                break
            parts.append(data)
            size -= len(data) if size > 0 else 0
        return b''.join(parts)

    def readline(self, size: int | None = -1) -> bytes:
        line = b''
        limit = -1 if size is None else size
        while not line.endswith(b'\n') and (limit < 0 or len(line) < limit):
            count = self._fill()
            if not count:
                break
            end = self._part.find(b'\n', self._pos)
            count = count if end < 0 else end + 1 - self._pos
            line += self._take(count if limit < 0
                               else min(count, limit - len(line)))
        return line


_OWN = (Body, ChunkedBody, BodyIter, ChunkedBodyIter)


def _unwrap(bodies: Any, body: Any) -> Any:
    """What the server can send, for an instance of a foreign wrapper class,
    or for one of ours around the request's own body: to read that, the server
    must not be in the middle of sending it."""
    if isinstance(body, (Body, ChunkedBody)) and isinstance(
        body.rfile, _InputFile
    ):
        if body.state != READY:
            return body
        if isinstance(body, Body):
            return BodyIter(body, body.content_length or 0)
        return ChunkedBodyIter(body)
    if isinstance(body, _OWN) or not isinstance(
        body, tuple(cls for cls in (
            bodies.Body, bodies.BodyIter,
            bodies.ChunkedBody, bodies.ChunkedBodyIter,
        ) if isinstance(cls, type))
    ):
        return body
    source: Any = body
    length = getattr(source, 'content_length', None)
    if length is None:
        return ChunkedBodyIter(source)
    return BodyIter(source, length)


def use_bodies(app: Handler, bodies: Any) -> Handler:
    """The app with wrapper classes of the user's own (the server's option
    *bodies*): it gets them as its third argument, its requests' bodies are
    wrapped with them, and it may answer with instances of them."""

    def wrapped(session: Any, request: Any, api: API) -> Any:
        body = request.body
        if isinstance(body, Body):
            request['body'] = bodies.Body(
                _InputFile(body), body.content_length
            )
        elif isinstance(body, ChunkedBody):
            request['body'] = bodies.ChunkedBody(_InputFile(body))
        response = app(session, request, bodies)
        if not isinstance(response, tuple) or len(response) != 4:
            return response
        return (*response[:3], _unwrap(bodies, response[3]))

    return wrapped


# ------------------------------------------------- functions of degu.base

def build_uri(path: list[str], query: str | None) -> str:
    """The URI of these path parts and this query, `''` being none.

    Nothing is checked here; what is sent is.
    """
    return join_uri(path, query or None)


def make_output_from_input(body: Any) -> Any:
    """*body* itself, of a request or a response: it can be sent as it is.

    Raises TypeError unless it is a `Body`, a `ChunkedBody` or None.
    """
    if body is None or isinstance(body, (Body, ChunkedBody)):
        return body
    raise TypeError(
        'input_body: need a Body, a ChunkedBody or None; '
        f'got a {type(body)!r}: {body!r}'
    )
