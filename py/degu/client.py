# SPDX-License-Identifier: MIT OR 0BSD
"""The HTTP client."""

import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from degu._address import (
    Address,
    check_address,
    check_rate,
    check_spin,
    check_timeout,
    microseconds,
)
from degu.base import Connection, DeguError, Response

if TYPE_CHECKING:
    import ssl

    from degu._tls import build_client_sslctx

__all__ = (
    'Client',
    'Connection',
    'Response',
    'SSLClient',
    'build_client_sslctx',
)

OnConnect = Callable[[Connection], bool]


# What may be sent again after a connection was closed in its face.
_REPEATABLE = ('GET', 'HEAD')


def _check_header(name: str, value: Any) -> None:
    if value is not None and type(value) is not str:
        raise TypeError(
            f'{name}: need a str or None; got a {type(value)!r}: {value!r}'
        )


def _check_name(what: str, name: str) -> None:
    """May a header of this name be a client's own?"""
    if not name or name != name.lower():
        raise ValueError(f'{what}: not a header name in lower case: {name!r}')
    if name in ('content-length', 'transfer-encoding'):
        raise ValueError(
            f'{what}: {name!r} belongs to a request with a body, '
            'not to a client'
        )


def _check_headers(headers: Any) -> dict[str, str]:
    """A copy of a client's own headers."""
    if type(headers) is not dict:
        raise TypeError(
            f'headers: need a dict; got a {type(headers)!r}: {headers!r}'
        )
    for (name, value) in headers.items():
        if type(name) is not str or type(value) is not str:
            raise TypeError(
                f'headers: need str names and values; got {name!r}: {value!r}'
            )
        _check_name('headers', name)
    return dict(headers)


def exchange_kept(
    client: 'Client',
    conn: Connection | None,
    method: str,
    uri: str,
    headers: dict[str, Any] | None,
    body: Any,
    forget: bool = False,
) -> tuple[Connection, Response]:
    """One request on a connection that was kept, or on a new one if that
    cannot be used any more: the connection to keep, and the response.

    What the other end closed before the first byte of its response is sent
    once more if it is a GET or HEAD; else the error is raised (RFC 9110
    9.2.2, RFC 9112 9.3.1), of which `sent` and `answered` tell more.  A body
    that is still unread is an error, or with *forget* only the end of its
    connection.  After any error the connection is closed, unless nothing of
    the request had been sent.
    """
    if conn is not None and _is_usable(conn, forget):
        try:
            return (conn, conn.request(method, uri, headers, body))
        except ConnectionError as error:
            if method not in _REPEATABLE or getattr(error, 'answered', True):
                raise
    conn = _connect(client)
    try:
        return (conn, conn.request(method, uri, headers, body))
    except BaseException:
        conn.close()
        raise


def _connect(client: 'Client') -> Connection:
    try:
        return client.connect()
    except (DeguError, OSError) as error:
        for name in ('sent', 'answered'):
            setattr(error, name, False)
        raise


def _is_usable(conn: Connection, forget: bool) -> bool:
    """Closes it if it is not."""
    if conn.closed:
        return False
    try:
        conn.check()
    except (DeguError, OSError) as error:
        conn.close()
        if getattr(error, 'code', None) == 'E_ORDER' and not forget:
            raise
        return False
    return True


class Client:
    """Where and how to connect.

    *address* is (host, port) for IPv4 or a DNS name, (host, port, flowinfo,
    scopeid) for IPv6, a str for the file of an AF_UNIX socket, or bytes for an
    abstract name.  *headers* are sent with every request, and win over the
    request's own of the same name.

    The options are *host* and *authorization*, more such headers, the first by
    default made of the address, or None; *timeout*, in seconds, of connecting
    and of every step of an exchange, 65 by default, or None; *min_rate*, bytes
    a second that the other end has to keep up, on average, while a body is
    waited for, or room to send one, 256 by default, or 0; *spin*, seconds to
    look for an answer before waiting for it, 0 by default, for a server on this
    host that has a core of its own; and *on_connect*, called with each new
    connection, which only the answer True keeps.

    `connect()` makes connections.  `request()` and its shortcuts use one that
    the client keeps for the calling thread, so several threads may share a
    client.  It may be subclassed, and not be pickled: the address is all that
    another process needs.

    Raises TypeError or ValueError for a bad argument.
    """

    __slots__ = (
        '_family',
        '_kept',
        'address',
        'authorization',
        'base_headers',
        'host',
        'min_rate',
        'on_connect',
        'options',
        'spin',
        'timeout',
    )

    # The port that a host header leaves out.
    _default_port = 80

    def __init__(
        self,
        address: Address,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self._family = check_address(address)
        self._kept = threading.local()
        self.address = address
        self.options = dict(options)
        base = {} if headers is None else _check_headers(headers)
        self.host: str | None = options.pop(
            'host', base.pop('host', self._default_host())
        )
        self.authorization: str | None = options.pop('authorization', None)
        self.timeout: float | None = options.pop('timeout', 65)
        self.min_rate: int = options.pop('min_rate', 256)
        self.spin: float = options.pop('spin', 0)
        self.on_connect: OnConnect | None = options.pop('on_connect', None)
        if options:
            raise TypeError(
                f'unsupported {type(self).__name__}() **options: '
                f'{", ".join(sorted(options))}'
            )
        _check_header('host', self.host)
        _check_header('authorization', self.authorization)
        if self.timeout is not None:
            check_timeout(self.timeout)
        check_rate(self.min_rate)
        check_spin(self.spin)
        if self.on_connect is not None and not callable(self.on_connect):
            raise TypeError(f'on_connect: not callable: {self.on_connect!r}')
        self.base_headers: tuple[tuple[str, str], ...] | None = None
        if self.authorization:
            base['authorization'] = self.authorization
        if self.host:
            base['host'] = self.host
        self._set_base(base)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.address!r})'

    def __reduce__(self) -> Any:
        raise TypeError(f'cannot pickle {type(self).__name__!r} object')

    def _default_host(self) -> str | None:
        """The host header; a scope id is of no meaning to the other end."""
        if not isinstance(self.address, tuple):
            return None
        host = self.address[0].partition('%')[0]
        if ':' in host and not host.startswith('['):
            host = f'[{host}]'
        port = self.address[1]
        return host if port == self._default_port else f'{host}:{port}'

    def set_base_header(self, key: str, value: str | None) -> None:
        """Sends a header with every request of later connections, or no
        longer if *value* is None."""
        if type(key) is not str:
            raise TypeError(f'key: need a str; got a {type(key)!r}: {key!r}')
        _check_name('key', key)
        _check_header(key, value)
        headers = dict(self.base_headers or ())
        headers.pop(key, None)
        if value:
            headers[key] = value
        self._set_base(headers)

    def _set_base(self, headers: dict[str, str]) -> None:
        self.base_headers = tuple(sorted(headers.items())) or None

    def create_socket(self) -> socket.socket:
        """A new socket that is connected to the address."""
        if isinstance(self.address, tuple) and len(self.address) == 2:
            sock = socket.create_connection(self.address[:2], self.timeout)
        else:
            sock = socket.socket(self._family, socket.SOCK_STREAM)
            try:
                sock.settimeout(self.timeout)
                sock.connect(self.address)
            except BaseException:
                sock.close()
                raise
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        return sock

    def connect(self) -> Connection:
        """A new connection."""
        sock = self.create_socket()
        try:
            conn = Connection(
                sock,
                self.base_headers,
                self.min_rate,
                microseconds(self.spin),
            )
            if self.on_connect is not None:
                if self.on_connect(conn) is not True:
                    raise ValueError('on_connect() did not return True')
        except BaseException:
            sock.close()
            raise
        return conn

    # ---- one connection kept for each thread

    def request(
        self,
        method: str,
        uri: str,
        headers: dict[str, Any] | None = None,
        body: Any = None,
    ) -> Response:
        """Makes a request on a connection that is kept for the calling thread,
        and opened when there is none or it is of no more use.

        The response's body must be read before the next request; else that is
        an error, and ends the connection.  If the other end turns out to have
        closed it before the first byte of the response, as servers do with
        idle ones, a GET or HEAD is sent once more on a new one; for other
        methods the ConnectionError is raised.  Raises what `connect()` and
        `Connection.request()` do; `sent` and `answered` of the exception say
        whether the request may be sent again.
        """
        conn = self._take_kept()
        try:
            (conn, response) = exchange_kept(
                self, conn, method, uri, headers, body
            )
        finally:
            if conn is not None and not conn.closed:
                self._kept.conn = conn
                self._kept.pid = os.getpid()
        return response

    def _take_kept(self) -> Connection | None:
        """The calling thread's connection, if this is not a forked copy of
        the process that uses it."""
        kept = self._kept.__dict__
        conn: Connection | None = kept.pop('conn', None)
        return conn if kept.get('pid') == os.getpid() else None

    def get(
        self, uri: str, headers: dict[str, Any] | None = None
    ) -> Response:
        """``request('GET', uri, headers)``"""
        return self.request('GET', uri, headers)

    def head(
        self, uri: str, headers: dict[str, Any] | None = None
    ) -> Response:
        """``request('HEAD', uri, headers)``"""
        return self.request('HEAD', uri, headers)

    def delete(
        self, uri: str, headers: dict[str, Any] | None = None
    ) -> Response:
        """``request('DELETE', uri, headers)``"""
        return self.request('DELETE', uri, headers)

    def put(
        self,
        uri: str,
        headers: dict[str, Any] | None = None,
        body: Any = None,
    ) -> Response:
        """``request('PUT', uri, headers, body)``"""
        return self.request('PUT', uri, headers, body)

    def post(
        self,
        uri: str,
        headers: dict[str, Any] | None = None,
        body: Any = None,
    ) -> Response:
        """``request('POST', uri, headers, body)``"""
        return self.request('POST', uri, headers, body)

    def close(self) -> None:
        """Closes the connection that is kept for the calling thread."""
        conn = self._take_kept()
        if conn is not None:
            conn.close()


class SSLClient(Client):
    """A `Client` whose connections are TLS.

    *sslctx* is a dict, from which `build_client_sslctx()` makes the context,
    or an `ssl.SSLContext` of one of its two profiles; the attribute *sslctx*
    is the context in use, and another may be put there.

    *address*, *headers* and *options* are as for `Client`.  There are two
    options more: *ssl_host*, the name that the server's certificate must be
    for if the context checks names, by default the host of the address, or
    None; and *pins*, an iterable of SHA-256 sums in hex, of which the
    server's public key must have one.

    ``Connection.peer`` tells who the server is.  Connecting raises
    `ssl.SSLError` when the server is not to be trusted or refuses us; with
    TLS 1.3 the latter may come as a `degu.exceptions.CertificateRefusedError`
    with the first request.
    """

    __slots__ = ('_pins', '_sslctx', 'ssl_host')

    _default_port = 443

    def __init__(
        self,
        sslctx: 'ssl.SSLContext | dict[str, Any]',
        address: Address,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        self._sslctx: ssl.SSLContext = tls().check_client_sslctx(sslctx)
        given = dict(options)
        self._pins = tls().check_pins(options.pop('pins', None))
        ssl_host = options.pop('ssl_host', _NOT_GIVEN)
        super().__init__(address, headers, **options)
        self.options = given
        if ssl_host is _NOT_GIVEN:
            ssl_host = address[0] if isinstance(address, tuple) else None
        _check_header('ssl_host', ssl_host)
        self.ssl_host: str | None = ssl_host

    @property
    def sslctx(self) -> 'ssl.SSLContext':
        return self._sslctx

    @sslctx.setter
    def sslctx(self, sslctx: Any) -> None:
        self._sslctx = tls().check_client_sslctx(sslctx)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(<sslctx>, {self.address!r})'

    def create_socket(self) -> 'ssl.SSLSocket':
        """A new `ssl.SSLSocket`, connected, its handshake done and its other
        end checked."""
        sock = super().create_socket()
        name = self.ssl_host
        secure: ssl.SSLSocket = tls().wrap_socket(
            self._sslctx,
            sock,
            # To a certificate an address has no scope.
            server_hostname=None if name is None else _bare(name),
        )
        try:
            secure.do_handshake()
            tls().check_handshake(secure, self._pins)
        except OSError as error:
            secure.close()
            raise tls().translate(error)
        except BaseException:
            secure.close()
            raise
        return secure


_NOT_GIVEN = object()


def _bare(name: str) -> str:
    return name.partition('%')[0]


def tls() -> Any:
    """The module that needs `ssl`, which takes long to import."""
    from degu import _tls

    return _tls


def __getattr__(name: str) -> Any:
    if name == 'build_client_sslctx':
        return tls().build_client_sslctx
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
