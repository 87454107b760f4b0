# SPDX-License-Identifier: MIT OR 0BSD
"""Classes that need no C.  The extension imports them and makes instances.

What they look like on the wire is asked of the extension, at the time of the
call, as it is not there yet when it imports this module.
"""

import io
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar, final

MAX_LENGTH = 9999999999999999

READY = 0


def _check_length(name: str, value: Any) -> int:
    if type(value) is not int:
        raise TypeError(
            f'{name}: need an int; got a {type(value)!r}: {value!r}'
        )
    if not 0 <= value <= MAX_LENGTH:
        raise ValueError(f'need 0 <= {name} <= {MAX_LENGTH}; got {value!r}')
    return value


def join_uri(path: Iterable[str], query: str | None) -> str:
    """The URI of these path parts; a *query* of '' leaves a question mark."""
    uri = '/' + '/'.join(path)
    return uri if query is None else f'{uri}?{query}'


class Response(NamedTuple):
    """What a server answers."""

    status: int
    reason: str
    headers: dict[str, Any]
    body: Any


class API(NamedTuple):
    """What an app may need to make its answer."""

    Body: Any
    ChunkedBody: Any
    BodyIter: Any
    ChunkedBodyIter: Any
    Range: Any
    ContentRange: Any


_Class = TypeVar('_Class', bound=type)


def _sealed(cls: _Class) -> _Class:
    """The extension knows these classes and none that are made of them."""

    def refuse(unused: Any, /, **keywords: Any) -> None:
        raise TypeError(f'{cls.__name__} cannot be subclassed')

    setattr(cls, '__init_subclass__', classmethod(refuse))
    return cls


class _Unique:
    __slots__ = ()

    def __reduce__(self) -> Any:
        raise TypeError(f'cannot pickle {type(self).__name__!r} object')


class _Value:
    """Equal to its like, and to a str of the text on the wire."""

    __slots__ = ('_key', '_text')

    _key: tuple[int, ...]
    _text: str

    def __repr__(self) -> str:
        return f'{type(self).__name__}{self._key}'

    def __str__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        if isinstance(other, _Value) and type(other) is type(self):
            return self._key == other._key
        if type(other) is str:
            return self._text == other
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Any:
        return (type(self), self._key)

    @property
    def start(self) -> int:
        return self._key[0]

    @property
    def stop(self) -> int:
        return self._key[1]


@final
@_sealed
class Range(_Value):
    """Bytes [start, stop) of something."""

    __slots__ = ()

    def __new__(cls, start: int, stop: int) -> 'Range':
        from degu._degu import format_range

        self = super().__new__(cls)
        self._key = (_check_length('start', start), _check_length('stop', stop))
        if start >= stop:
            raise ValueError(f'need start < stop; got {start} >= {stop}')
        self._text = format_range(start, stop)
        return self

    def _clamp(self, total: int) -> int:
        if _check_length('total', total) <= self.start:
            raise ValueError(f'{self!r} out of bounds (total={total})')
        return min(self.stop, total)

    def content_length(self, total: int) -> int:
        """How many of *total* bytes are in the range."""
        return self._clamp(total) - self.start

    def content_range(self, total: int) -> 'ContentRange':
        """The range as a part of *total* bytes."""
        return ContentRange(self.start, self._clamp(total), total)


@final
@_sealed
class ContentRange(_Value):
    """Bytes [start, stop) out of total."""

    __slots__ = ()

    def __new__(cls, start: int, stop: int, total: int) -> 'ContentRange':
        from degu._degu import format_range

        self = super().__new__(cls)
        self._key = (
            _check_length('start', start),
            _check_length('stop', stop),
            _check_length('total', total),
        )
        if not start < stop <= total:
            raise ValueError(
                f'need start < stop <= total; got {self._key!r}'
            )
        self._text = format_range(start, stop, total)
        return self

    @property
    def total(self) -> int:
        return self._key[2]


class _Source(_Unique):
    """A body of what an iterable yields, for output."""

    __slots__ = ('_length', '_source', '_state')

    _length: int
    _source: Any
    _state: int

    @property
    def source(self) -> Any:
        return self._source

    @property
    def state(self) -> int:
        return self._state

    def write_to(self, wfile: Any) -> int:
        """Writes all of it to a file; the number of bytes."""
        from degu._degu import write_to

        return write_to(self, wfile)


@final
@_sealed
class BodyIter(_Source):
    """The pieces that source yields, content_length bytes in all."""

    __slots__ = ()

    def __new__(cls, source: Iterable[Any], content_length: int) -> 'BodyIter':
        self = super().__new__(cls)
        self._source = source
        self._length = _check_length('content_length', content_length)
        self._state = READY
        return self

    def __repr__(self) -> str:
        return f'BodyIter(<source>, {self._length})'

    @property
    def content_length(self) -> int:
        return self._length


@final
@_sealed
class ChunkedBodyIter(_Source):
    """The chunks, (extension, data), that source yields."""

    __slots__ = ()

    def __new__(cls, source: Iterable[Any]) -> 'ChunkedBodyIter':
        self = super().__new__(cls)
        self._source = source
        self._length = 0
        self._state = READY
        return self

    def __repr__(self) -> str:
        return 'ChunkedBodyIter(<source>)'


def encode_chunk(chunk: tuple[Any, Any]) -> bytes:
    """One chunk, ``(extension, data)``, as it stands on the wire; empty data
    makes it the last one."""
    last = (None, b'')
    if isinstance(chunk, tuple) and len(chunk) == 2 and chunk[1]:
        return _encode([chunk, last])[:-len(_encode([last]))]
    return _encode([chunk])


def _encode(chunks: list[Any]) -> bytes:
    file = io.BytesIO()
    ChunkedBodyIter(chunks).write_to(file)
    return file.getvalue()


@final
@_sealed
class Session(_Unique, dict[Any, Any]):
    """One connection of a server, for as long as it lasts.

    It is a dict that belongs to the app, with the peer's address as its only
    item, ``'client'``, at the start.  What the server knows are attributes,
    which can only be read; it never looks at the items.  By convention keys of
    `on_connect` start with ``_`` and those of the app with ``__``; a key that
    the peer chose could be one of these, so choose none by what it sends.
    """

    __slots__ = (
        '_address',
        '_credentials',
        '_kept',
        '_max_requests',
        '_message',
        '_peer',
        '_reader',
        '_sock',
    )

    _address: Any
    _credentials: tuple[int, int, int] | None
    _max_requests: int
    _message: str | None
    # The server's: connections that end with this one, by their keys; who the
    # peer is under TLS, what counts requests, and what on_connect was given.
    _kept: dict[str, Any] | None
    _peer: Any
    _reader: Any
    _sock: Any

    def __new__(
        cls,
        address: Any,
        credentials: tuple[int, int, int] | None = None,
        max_requests: int | None = None,
    ) -> 'Session':
        self = super().__new__(cls)
        if credentials is not None:
            if type(credentials) is not tuple:
                raise TypeError(
                    f'credentials: need a tuple; got a {type(credentials)!r}'
                )
            if len(credentials) != 3:
                raise ValueError(
                    'credentials: need a 3-tuple; '
                    f'got a {len(credentials)}-tuple'
                )
        if max_requests is None:
            max_requests = 500
        _check_length('max_requests', max_requests)
        self._address = address
        self._credentials = credentials
        self._max_requests = max_requests
        self._kept = None
        self._message = None
        self._peer = None
        self._reader = None
        self._sock = None
        self['client'] = address
        return self

    def __init__(
        self,
        address: Any,
        credentials: tuple[int, int, int] | None = None,
        max_requests: int | None = None,
    ) -> None:
        """All is done; dict's own would take the address for items."""

    # One session is another only if it is the same; a dict may hold as much.

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Session):
            return self is other
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __repr__(self) -> str:
        if self._credentials is None:
            return f'Session({self._address!r})'
        return f'Session({self._address!r}, {self._credentials!r})'

    def __str__(self) -> str:
        if self._credentials is None:
            return repr(self._address)
        return f'{self._address!r} {self._credentials!r}'

    @property
    def address(self) -> Any:
        return self._address

    @property
    def credentials(self) -> tuple[int, int, int] | None:
        return self._credentials

    @property
    def max_requests(self) -> int:
        return self._max_requests

    @property
    def peer(self) -> Any:
        """Who is at the other end of a TLS connection, with `protocol`,
        `cipher`, `certificate`, `chain`, `sha256`, `key_sha256`, `subject`
        and `names`; None on any other connection."""
        return self._peer

    @property
    def requests(self) -> int:
        """How many requests have been answered."""
        return 0 if self._reader is None else int(self._reader.requests)

    @property
    def store(self) -> dict[Any, Any]:
        """The session itself, as the dict that it is."""
        return self

    @property
    def closed(self) -> bool:
        return self._message is not None

    @property
    def message(self) -> str | None:
        """Why the connection has ended."""
        return self._message

    def blames_request(self, error: BaseException) -> bool:
        """Was this very exception raised because the body of the request in
        hand is bad or broke off?  A server answers it, if the app lets it
        pass, with the status that this deserves."""
        return self._reader is not None and self._reader.fault is error


# Where users find them, and pickle.
for _cls in (Response, API, Range, ContentRange, BodyIter, ChunkedBodyIter,
             Session):
    _cls.__module__ = 'degu.base'
