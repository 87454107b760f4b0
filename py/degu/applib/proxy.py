# SPDX-License-Identifier: MIT OR 0BSD
"""A reverse proxy (RFC 9110 3.7: gateway)."""

import logging
from typing import Any

from degu.base import API, Connection, DeguError, Request, Response, Session
from degu.client import Client, exchange_kept

__all__ = ('ProxyApp',)

log = logging.getLogger('degu.applib')

# What is between two ends only (RFC 9110 7.6.1), besides what the library keeps
# for itself; trailers are not handed on, so neither is what tells of them.
_HOP_BY_HOP = frozenset((
    'proxy-authenticate',
    'proxy-authorization',
    'te',
    'trailer',
    'upgrade',
))


def _end_to_end(headers: dict[str, Any]) -> dict[str, Any]:
    if _HOP_BY_HOP.isdisjoint(headers):
        return headers
    return {
        name: value for (name, value) in headers.items()
        if name not in _HOP_BY_HOP
    }


def _need(name: str, value: Any, cls: type) -> None:
    if type(value) is not cls:
        raise TypeError(
            f'{name}: need a {cls!r}; got a {type(value)!r}: {value!r}'
        )


class ProxyApp:
    """Hands requests on to the server that *client* connects to, and its
    responses back.

    Bodies pass through as they come, chunks with their boundaries and their
    extensions; nothing is held.  What is left of the path is asked for, below
    the mount.  The client's own headers (host, authorization) win over those
    of the request.

    Each session has a connection of its own to the server, under the *key* of
    the session, which is opened when it is needed; see `Client.request()` for
    when a request is sent once more.  Several proxies in one app do best with
    a *key* each; with one, they take turns at opening connections.

    A server that cannot be reached or does not answer properly is a 502, one
    that takes too long for a head a 504; if it breaks off inside a body, the
    response breaks off too, as the other end can see.  Each of these is
    logged.  A request is sent to its end before its response is read; so a
    server that answers while it still reads a body has to hold, or leave
    unread, what the sockets in between do not.

    Raises TypeError.
    """

    def __init__(self, client: Any, key: str = 'conn') -> None:
        if not callable(getattr(client, 'connect', None)):
            raise TypeError(
                f'client: need a Client; got a {type(client)!r}: {client!r}'
            )
        if type(key) is not str:
            raise TypeError(f'key: need a str; got a {type(key)!r}: {key!r}')
        self.client: Client = client
        self.key = key
        self._mark = f'{key} of'  # whose it is

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.client!r}, {self.key!r})'

    def __call__(self, session: Session, request: Request, api: API) -> Any:
        _need('session', session, Session)
        _need('request', request, Request)
        try:
            response = self._exchange(session, request)
        except (DeguError, OSError) as error:
            if session.blames_request(error):
                raise
            # Its text only: who keeps log records must not keep the session,
            # and with it the connection, which is in the frames of error.
            log.warning(
                '%s: %s %s: %s',
                self, request.method, request.uri, repr(error),
            )
            if isinstance(error, TimeoutError):
                return (504, 'Gateway Timeout', {}, None)
            return (502, 'Bad Gateway', {}, None)
        return response._replace(headers=_end_to_end(response.headers))

    def _take(self, session: Session) -> Connection | None:
        """The connection that is kept for this session, if it is one to our
        server: another ProxyApp may have the same key."""
        conn: Connection | None = session.pop(self.key, None)
        client = session.pop(self._mark, self.client)
        if conn is None:
            return None
        _need('conn', conn, Connection)
        if client is self.client:
            return conn
        conn.close()
        return None

    def _exchange(self, session: Session, request: Request) -> Response:
        conn = self._take(session)
        try:
            (kept, response) = exchange_kept(
                self.client,
                conn,
                request.method,
                request.build_proxy_uri(),
                _end_to_end(request.headers),
                request.body,
                forget=True,
            )
        except BaseException:
            # Now, not when whoever holds the exception lets go of it.
            if conn is not None:
                conn.close()
            raise
        _need('conn', kept, Connection)
        session[self.key] = kept
        session[self._mark] = self.client
        if session._kept is None:
            session._kept = {}
        session._kept[self.key] = kept
        return response
