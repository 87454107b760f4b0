# SPDX-License-Identifier: MIT OR 0BSD
"""The HTTP client."""

import socket
from collections.abc import Callable
from typing import Any

from degu._address import Address, check_address, check_timeout
from degu.base import Connection, Response

__all__ = ('Client', 'Connection', 'Response')

OnConnect = Callable[[Connection], bool]


def _check_header(name: str, value: Any) -> None:
    if value is not None and type(value) is not str:
        raise TypeError(
            f'{name}: need a str or None; got a {type(value)!r}: {value!r}'
        )


class Client:
    """Where and how to connect; it holds no connection.

    The options are *host* and *authorization*, headers of every request;
    *timeout*, in seconds, of connecting and of every step of an exchange, or
    None; and *on_connect*, called with each new connection, which only the
    answer True keeps.
    """

    __slots__ = (
        '_family',
        'address',
        'authorization',
        'base_headers',
        'host',
        'on_connect',
        'options',
        'timeout',
    )

    # The port that a host header leaves out.
    _default_port = 80

    def __init__(self, address: Address, **options: Any) -> None:
        self._family = check_address(address)
        self.address = address
        self.options = dict(options)
        self.host: str | None = options.pop('host', self._default_host())
        self.authorization: str | None = options.pop('authorization', None)
        self.timeout: float | None = options.pop('timeout', 65)
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
        if self.on_connect is not None and not callable(self.on_connect):
            raise TypeError(f'on_connect: not callable: {self.on_connect!r}')
        self.base_headers: tuple[tuple[str, str], ...] | None = None
        self.set_base_header('authorization', self.authorization)
        self.set_base_header('host', self.host)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.address!r})'

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
        if not key or key != key.lower():
            raise ValueError(f'key: not a header name in lower case: {key!r}')
        _check_header(key, value)
        headers = dict(self.base_headers or ())
        headers.pop(key, None)
        if value:
            headers[key] = value
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
            conn = Connection(sock, self.base_headers)
            if self.on_connect is not None:
                if self.on_connect(conn) is not True:
                    raise ValueError('on_connect() did not return True')
        except BaseException:
            sock.close()
            raise
        return conn
