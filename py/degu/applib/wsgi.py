# SPDX-License-Identifier: MIT OR 0BSD
"""WSGI programs (PEP 3333) as RGI apps.

What is said here about WSGI stands in PEP 3333, in the sections that the
comments name; the variables of a request in RFC 3875.
"""

import io
import itertools
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import is_hop_by_hop

from degu.base import API, Request, Session

__all__ = ('WSGIApp',)

Environ = dict[str, Any]

# Bytes asked of a request's body at once, and the most that fit in a chunk.
_READ_SIZE = 1024 * 1024
_CHUNK_SIZE = 16 * 1024 * 1024

_CONSUMED = 2

_PORTS = {'http': '80', 'https': '443'}

# Fields of a response that cannot be joined: they have one value (RFC 9110).
_SINGLE = frozenset((
    'content-length',
    'content-range',
    'content-type',
    'date',
    'etag',
    'last-modified',
    'location',
))


# ------------------------------------------------------------------- requests

class _RawInput(io.RawIOBase):
    """The data of a request's body; a BufferedReader makes lines of it."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self._body = body
        self._chunk = memoryview(b'')

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Any of `degu.exceptions` or OSError, if the body is no good."""
        if self._body.chunked:
            data = self._take_chunk(len(buffer))
        else:
            data = self._body.read(min(len(buffer), _READ_SIZE))
        buffer[:len(data)] = data
        return len(data)

    def _take_chunk(self, size: int) -> memoryview:
        if not self._chunk and self._body.state != _CONSUMED:
            self._chunk = memoryview(self._body.readchunk()[1])
        data = self._chunk[:size]
        self._chunk = self._chunk[size:]
        return data


def _build_input(body: Any) -> Any:
    """The file wsgi.input: read(), readline(), readlines() and lines."""
    return io.BytesIO() if body is None else io.BufferedReader(_RawInput(body))


def _build_path(parts: list[str]) -> str:
    """The path, decoded, with a character for each byte ("Unicode Issues").

    The server lets no %2f and no %00 through, so '/' is what it was.
    """
    path = ''.join('/' + part for part in parts)
    return unquote_to_bytes(path).decode('latin-1')


def _get_server(host: str, scheme: str) -> tuple[str, str]:
    """SERVER_NAME and SERVER_PORT, which cannot be empty.

    They are what the host header says.  An app is not told what its server is
    bound to, so without the header they are 'localhost' and the port that a
    URL of the scheme leaves out.
    """
    (name, colon, port) = host.rpartition(':')
    if not colon or port.endswith(']'):
        (name, port) = (host, '')
    return (name or 'localhost', port or _PORTS[scheme])


def _build_fields(headers: dict[str, Any]) -> Environ:
    """CONTENT_TYPE, CONTENT_LENGTH and HTTP_*, which the program may trust
    to come from the one header of that name.

    So x_y, which looks like x-y there, is left out; and proxy, which would
    be HTTP_PROXY, the variable that clients take their proxy from
    (CVE-2016-5385).
    """
    fields = {}
    for (name, value) in headers.items():
        if '_' in name or name == 'proxy':
            continue
        key = name.upper().replace('-', '_')
        if name not in ('content-type', 'content-length'):
            key = 'HTTP_' + key
        fields[key] = str(value)
    return fields


def _build_environ(session: Session, request: Request, scheme: str) -> Environ:
    """"environ Variables"; without REMOTE_ADDR and REMOTE_PORT for a peer
    that has no such address (AF_UNIX)."""
    headers = request.headers
    (server_name, server_port) = _get_server(headers.get('host', ''), scheme)
    environ = {
        'REQUEST_METHOD': request.method,
        'SCRIPT_NAME': _build_path(request.mount),
        'PATH_INFO': _build_path(request.path),
        'QUERY_STRING': request.query or '',
        'SERVER_NAME': server_name,
        'SERVER_PORT': server_port,
        'SERVER_PROTOCOL': 'HTTP/1.1',
        'wsgi.version': (1, 0),
        'wsgi.url_scheme': scheme,
        'wsgi.input': _build_input(request.body),
        'wsgi.input_terminated': True,
        'wsgi.errors': sys.stderr,
        'wsgi.multithread': True,
        'wsgi.multiprocess': False,
        'wsgi.run_once': False,
    }
    if not request.mount and not request.path:
        environ['PATH_INFO'] = '/'
    if isinstance(session.address, tuple):
        environ['REMOTE_ADDR'] = session.address[0]
        environ['REMOTE_PORT'] = str(session.address[1])
    environ.update(_build_fields(headers))
    return environ


# ------------------------------------------------------------------ responses

def _parse_status(status: Any) -> tuple[int, str]:
    """'200 OK' as (200, 'OK').  TypeError, ValueError."""
    if not isinstance(status, str):
        raise TypeError(f'status: need a str; got {status!r}')
    (code, _, reason) = status.partition(' ')
    if len(code) != 3 or not (code.isascii() and code.isdigit()):
        raise ValueError(f'status: need three digits first; got {status!r}')
    return (int(code), reason)


def _check_field(name: Any, value: Any) -> None:
    """TypeError, ValueError; what bytes a field may have, the server knows
    (it takes no more than visible ASCII and blanks inside)."""
    if not (isinstance(name, str) and isinstance(value, str)):
        raise TypeError(f'headers: need two str; got {(name, value)!r}')
    if is_hop_by_hop(name):
        raise ValueError(f'headers: {name!r} is the server\'s ("Other HTTP '
                         'Features")')


def _parse_length(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f'headers: content-length: not a number: {value!r}')
    return int(value)


def _build_headers(fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The headers of an RGI response: names in lower case, repeated ones
    joined, but a list of set-cookie; content-length an int.

    TypeError, ValueError.
    """
    headers: dict[str, Any] = {}
    for (name, value) in fields:
        _check_field(name, value)
        key = name.lower()
        if key not in headers:
            headers[key] = value
        elif key in _SINGLE:
            raise ValueError(f'headers: {name!r} is there twice')
        elif key != 'set-cookie':
            headers[key] += ', ' + value
        elif isinstance(headers[key], str):
            headers[key] = [headers[key], value]
        else:
            headers[key].append(value)
    if 'content-length' in headers:
        headers['content-length'] = _parse_length(headers['content-length'])
    return headers


class _Answer:
    """What a program has said so far in one call."""

    def __init__(self) -> None:
        self.status = 0
        self.reason = ''
        self.headers: dict[str, Any] = {}
        self._has_data = False
        self._kept: deque[bytes] = deque()

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        """"The start_response() Callable".  A second call needs exc_info,
        and raises that once there is data, as the first answer stands then.

        TypeError, ValueError for an answer that cannot be sent.
        """
        try:
            if exc_info and self._has_data:
                raise exc_info[1].with_traceback(exc_info[2])
            if not exc_info and self.status:
                raise RuntimeError('start_response() was called before')
        finally:
            exc_info = None  # or this frame and the traceback are a cycle
        (code, reason) = _parse_status(status)
        self.headers = _build_headers(headers)
        (self.status, self.reason) = (code, reason)
        return self.write

    def write(self, data: bytes) -> None:
        """"The write() Callable": keeps data until the program returns, which
        is when sending begins."""
        if not isinstance(data, bytes):
            raise TypeError(f'need data as bytes; got a {type(data)!r}')
        if data:
            if not self.status:
                raise RuntimeError('data before start_response()')
            self._has_data = True
            self._kept.append(bytes(data))

    def pieces(self, iterable: Iterable[bytes]) -> Generator[bytes, None, None]:
        """The data, without empty pieces.  Once the first was asked for, the
        iterable is closed when this generator ends, is closed or is dropped
        ("Specification Details")."""
        try:
            for data in iterable:
                self.write(data)
                yield from self._take()
            if not self.status:
                raise RuntimeError('start_response() was not called')
            yield from self._take()
        finally:
            close = getattr(iterable, 'close', None)
            if close is not None:
                close()

    def _take(self) -> Iterator[bytes]:
        while self._kept:
            yield self._kept.popleft()


def _build_chunks(pieces: Iterable[bytes]) -> Iterator[tuple[None, bytes]]:
    for data in pieces:
        for pos in range(0, len(data), _CHUNK_SIZE):
            yield (None, data[pos:pos + _CHUNK_SIZE])
    yield (None, b'')


class WSGIApp:
    """The RGI app that a WSGI program is.

    *url_scheme* is 'http' or 'https', by which the program makes URLs of its
    own.  What the program raises, the server answers with 500 or, if the
    answer has begun, by cutting the connection.  TypeError, ValueError.
    """

    def __init__(
        self, app: Callable[..., Iterable[bytes]], *, url_scheme: str = 'http'
    ) -> None:
        if not callable(app):
            raise TypeError(f'app: not callable: {app!r}')
        if url_scheme not in _PORTS:
            raise ValueError(
                f"url_scheme: need 'http' or 'https'; got {url_scheme!r}"
            )
        self.app = app
        self.url_scheme = url_scheme

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.app!r})'

    @property
    def on_connect(self) -> Any:
        """The program's, if it has one (RGI: middleware hands it on)."""
        return getattr(self.app, 'on_connect', None)

    def __call__(
        self, session: Session, request: Request, api: API
    ) -> tuple[int, str, dict[str, Any], Any]:
        answer = _Answer()
        environ = _build_environ(session, request, self.url_scheme)
        iterable = self.app(environ, answer.start_response)
        pieces = answer.pieces(iterable)
        # A generator calls start_response() no earlier than it is asked.
        first = next(pieces, b'')
        body: Any = None
        if request.method == 'HEAD' or answer.status in (204, 304):
            pieces.close()
        elif first:
            whole = isinstance(iterable, (list, tuple)) and len(iterable) < 2
            body = _build_body(api, answer, first, pieces, whole)
        if answer.status == 204:
            answer.headers.pop('content-length', None)
        return (answer.status, answer.reason, answer.headers, body)


def _build_body(
    api: API,
    answer: _Answer,
    first: bytes,
    rest: Iterator[bytes],
    whole: bool,
) -> Any:
    """*whole*: all of it is in memory already, so its length need not be
    told by the program ("Handling the Content-Length Header")."""
    pieces = itertools.chain((first,), rest)
    if whole:
        return b''.join(pieces)
    if 'content-length' in answer.headers:
        return api.BodyIter(pieces, answer.headers['content-length'])
    return api.ChunkedBodyIter(_build_chunks(pieces))
