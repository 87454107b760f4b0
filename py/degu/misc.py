# SPDX-License-Identifier: MIT OR 0BSD
"""To try things with: throw-away servers, hand-made requests, bytes as they
stand on the wire."""

import logging
from typing import Any

from degu._address import Address
from degu._degu import parse_head
from degu._earlier import settle_app
from degu._pki import TempPKI
from degu._process import ServerProcess, check_sslconfig
from degu._values import encode_chunk, join_uri
from degu.base import API, Request, Session

__all__ = (
    'RequestLogger',
    'TempPKI',
    'TempSSLServer',
    'TempServer',
    'format_headers',
    'format_request',
    'format_response',
    'mkreq',
    'mkuri',
    'parse_headers',
    'write_chunk',
)

log = logging.getLogger('degu.misc')


class TempServer(ServerProcess):
    """A `Server` in a process of its own, ready when the constructor returns.

    Without *args*, *app* is the app.  With *args* it is a function that is
    called with them in that process and returns the app; None in its place
    means that the one argument is the app.  *options* are the server's.

    The process ends when this object does, with `terminate()`, or as a context
    manager; and when its parent does.  It is forked, so that the app may have
    been typed at a prompt, and shares the parent's open files.  The constructor
    raises what making the server has raised there, and RuntimeError if the
    process ends before it is ready.

    Attributes: `process`, a multiprocessing.Process; `address`, the one the
    server is bound to; `app`, `options` as given.
    """

    def __init__(
        self, address: Address, app: Any, *args: Any, **options: Any
    ) -> None:
        self.app = app
        self.options = options
        if args:
            self._start('fork', None, address, app, args, options)
        else:
            self._start('fork', None, address, None, (app,), options)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.address!r}, {self.app!r})'


class TempSSLServer(ServerProcess):
    """An `SSLServer` in a process of its own, ready when the constructor
    returns.

    *sslconfig* is the dict from which that process builds its context, or an
    object with a method `get_server_config()` that returns one, as `TempPKI`
    is; TypeError, before there is a process, for anything else.  All else is
    as for `TempServer`.

    Attributes: `sslconfig`, the dict; the others of `TempServer`.
    """

    def __init__(
        self,
        sslconfig: Any,
        address: Address,
        app: Any,
        *args: Any,
        **options: Any,
    ) -> None:
        if hasattr(sslconfig, 'get_server_config'):
            sslconfig = sslconfig.get_server_config()
        self.sslconfig = check_sslconfig(sslconfig)
        self.app = app
        self.options = options
        (build_func, build_args) = (app, args) if args else (None, (app,))
        self._start(
            'fork', sslconfig, address, build_func, build_args, options
        )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(<sslconfig>, {self.address!r}, '
            f'{self.app!r})'
        )


# ------------------------------------------------------------------ requests


def mkreq(
    method: str,
    uri: str,
    headers: dict[str, Any] | None = None,
    body: Any = None,
    shift: int = 0,
    cls: Any = Request,
) -> Any:
    """A request as an app would get it, *shift* parts of its path moved to
    `mount`.

    The URI is taken apart, not checked.  Raises TypeError or ValueError for a
    bad *method* or *shift*, IndexError when the path has not as many parts.
    """
    if type(shift) is not int:
        raise TypeError(f'shift: need an int; got a {type(shift)!r}: {shift!r}')
    if shift < 0:
        raise ValueError(f'need shift >= 0; got {shift!r}')
    (target, mark, query) = uri.partition('?')
    path = target[1:].split('/') if target[1:] else []
    if shift > len(path):
        raise IndexError(f'shift: {shift} of {len(path)} parts of {target!r}')
    return cls(
        method=method,
        uri=uri,
        headers={} if headers is None else headers,
        body=body,
        mount=path[:shift],
        path=path[shift:],
        query=query if mark else None,
    )


def mkuri(*path: str, query: str | None = None) -> str:
    """The URI of these path parts; a *query* of '' leaves a question mark."""
    return join_uri(path, query)


# --------------------------------------------------------------------- bytes


def parse_headers(src: Any, isresponse: bool = False) -> dict[str, Any]:
    """The dict that an app, or with *isresponse* a client, would get for these
    header lines, CR LF between them and none at the end.

    *src* is bytes or the like.  All rules of a message hold, so a header that
    belongs to the library is not in the dict (`connection`, say).  Raises
    `ProtocolError`, whose `offset` counts in *src*.
    """
    if type(isresponse) is not bool:
        raise TypeError(
            f'isresponse: need a bool; got a {type(isresponse)!r}: '
            f'{isresponse!r}'
        )
    start = b'HTTP/1.1 200 OK\r\n' if isresponse else b'PUT / HTTP/1.1\r\n'
    lines = bytes(memoryview(src))
    end = b'\r\n\r\n' if lines else b'\r\n'
    return parse_head(start + lines + end, isresponse, len(start))


def format_headers(headers: dict[str, Any]) -> bytes:
    """Header lines, sorted, CR LF between them and none at the end.

    For raw sockets, so nothing is checked: bad lines may be what is wanted.
    """
    lines = sorted(f'{name}: {value}' for (name, value) in headers.items())
    return '\r\n'.join(lines).encode()


def _format_head(line: str, headers: dict[str, Any]) -> bytes:
    return b'\r\n'.join(filter(None, [line.encode(), format_headers(headers)]))


def format_request(method: str, uri: str, headers: dict[str, Any]) -> bytes:
    """A request line and header lines, as `format_headers()` gives them."""
    return _format_head(f'{method} {uri} HTTP/1.1', headers)


def format_response(
    status: int, reason: str, headers: dict[str, Any]
) -> bytes:
    """A status line and header lines, as `format_headers()` gives them."""
    return _format_head(f'HTTP/1.1 {status} {reason}', headers)


def write_chunk(wfile: Any, chunk: tuple[Any, Any]) -> int:
    """Writes one chunk, ``(extension, data)``, to a file; the number of bytes.

    Empty data makes it the last one.  Raises TypeError, ValueError or
    `ProtocolError` for what is no chunk, before anything is written.
    """
    data = encode_chunk(chunk)
    rest = memoryview(data)
    while rest:
        count = wfile.write(rest)
        if type(count) is not int:
            raise TypeError(
                f'write(): need an int; got a {type(count)!r}: {count!r}'
            )
        if not 0 < count <= len(rest):
            raise OSError(
                f'expected to write {len(rest)} bytes, but sent {count}'
            )
        rest = rest[count:]
    return len(data)


# ---------------------------------------------------------------- middleware


class RequestLogger:
    """An app that hands everything to *app* and logs each answer, at level
    INFO: ``[requests] METHOD uri --> status reason``."""

    def __init__(self, app: Any) -> None:
        self._handler = settle_app(app)
        self.app = app

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.app!r})'

    @property
    def on_connect(self) -> Any:
        """The inner app's."""
        return getattr(self.app, 'on_connect', None)

    def __call__(self, session: Session, request: Request, api: API) -> Any:
        (method, uri) = (request.method, request.uri)
        response = self._handler(session, request, api)
        log.info(
            '[%d] %s %s --> %s %s',
            session.requests, method, uri, response[0], response[1],
        )
        return response
