# SPDX-License-Identifier: MIT OR 0BSD
"""The HTTP server."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from degu._address import Address, check_address, check_timeout
from degu._degu import Loop, Reader
from degu.base import API, Request, Response, Session

__all__ = ('Request', 'Server', 'Session')

log = logging.getLogger('degu.server')

App = Callable[[Session, Request, API], tuple[Any, ...] | Response]

# Seconds for which threads are waited for once serving has stopped.  Those
# that are inside an app then are left behind.
_JOIN_SECONDS = 6


def _check_count(name: str, value: Any) -> None:
    if type(value) is not int:
        raise TypeError(
            f'{name}: need an int; got a {type(value)!r}: {value!r}'
        )
    if not 0 < value < 2**31:
        raise ValueError(f'{name}: need 0 < {name} < 2**31; got {value!r}')


def _build_options(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """All options with their values, those that are not given included."""
    options = {
        'timeout': 15,
        'max_connections': 25,
        'max_requests_per_connection': 100,
    }
    given = dict(given)
    if 'max_requests' in given:
        if 'max_requests_per_connection' in given:
            raise TypeError(
                'max_requests is another name of max_requests_per_connection; '
                'got both'
            )
        given['max_requests_per_connection'] = given.pop('max_requests')
    unknown = sorted(set(given) - set(options))
    if unknown:
        raise TypeError(f'unsupported {name}() **options: {", ".join(unknown)}')
    options.update(given)
    check_timeout(options['timeout'])
    _check_count('max_connections', options['max_connections'])
    _check_count(
        'max_requests_per_connection', options['max_requests_per_connection']
    )
    return options


def _check_app(app: Any) -> Any:
    """The app's on_connect, or None."""
    if not callable(app):
        raise TypeError(f'app: not callable: {app!r}')
    on_connect = getattr(app, 'on_connect', None)
    if on_connect is not None and not callable(on_connect):
        raise TypeError(f'app.on_connect: not callable: {on_connect!r}')
    return on_connect


def _listen(address: Any) -> socket.socket:
    """A socket that listens at *address*."""
    family = check_address(address)
    if family == socket.AF_INET and ':' in address[0]:
        raise ValueError(
            'address: an IPv6 address has 4 items, '
            f'(host, port, flowinfo, scopeid); got {address!r}'
        )
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        sock.bind(address)
        sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return sock


def _identify(path: Any) -> tuple[int, int] | None:
    """What stands at the path of an AF_UNIX address."""
    if not isinstance(path, (str, bytes)) or path[:1] in ('', b'', b'\0'):
        return None
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


class Server:
    """Serves *app* at *address*; made and bound, not yet serving.

    The options are *timeout*, in seconds, of every step; *max_connections* at
    one time; and *max_requests_per_connection*.
    """

    def __init__(self, address: Any, app: App, **options: Any) -> None:
        self.options = _build_options(type(self).__name__, options)
        self._on_connect = _check_app(app)
        self.app = app
        self._file: tuple[int, int] | None = None
        if isinstance(address, socket.socket):
            self.sock = address
        else:
            self.sock = _listen(address)
            self._file = _identify(address)
        self.address: Address = self.sock.getsockname()
        self._loop: Loop | None = None
        self._threads: list[threading.Thread] = []
        self._stopped = False

    def __repr__(self) -> str:
        app = getattr(self.app, '__qualname__', None)
        if app is None:
            cls = type(self.app)
            name = f'{cls.__module__}.{cls.__qualname__}(<...>)'
        else:
            name = f'{self.app.__module__}.{app}'
        return f'{type(self).__name__}({self.address!r}, {name})'

    @property
    def timeout(self) -> Any:
        return self.options['timeout']

    @property
    def max_connections(self) -> Any:
        return self.options['max_connections']

    @property
    def max_requests(self) -> Any:
        return self.options['max_requests_per_connection']

    def serve_forever(self) -> None:
        """Serves until `shutdown()` or, in the main thread, Ctrl-C."""
        if self._loop is not None:
            raise RuntimeError('the server is serving already')
        loop = self._loop = Loop(
            self.sock.fileno(),
            self.app,
            self,
            self.max_connections,
            self.max_requests,
            max(1, round(self.timeout * 1000)),
        )
        log.info('Starting Degu %s @ %r', type(self).__name__, self.address)
        log.info(
            '[timeout=%r, max_connections=%r, max_requests=%r]',
            self.timeout,
            self.max_connections,
            self.max_requests,
        )
        try:
            if not self._stopped:
                self._spawn()
                loop.serve(
                    threading.current_thread() is threading.main_thread()
                )
        finally:
            loop.stop()
            self._join()
            self._loop = None
            self._close()

    def shutdown(self) -> None:
        """Makes `serve_forever()` return once the requests in hand are
        answered.  May be called from any thread and any signal handler."""
        self._stopped = True
        loop = self._loop
        if loop is not None:
            loop.stop()

    def _serve(self, loop: Loop) -> None:
        try:
            loop.serve(False)
        except Exception:
            log.exception('A thread of %r ended:', self)
            loop.stop()

    def _spawn(self) -> None:
        """Starts a thread beside those that are all waiting for an app."""
        loop = self._loop
        if loop is None or len(self._threads) >= self.max_connections:
            return
        thread = threading.Thread(
            target=self._serve, args=(loop,), name='degu', daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            log.warning('No thread more than %d: %s', len(self._threads), error)
        else:
            self._threads.append(thread)

    def _join(self) -> None:
        end = time.monotonic() + _JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0, end - time.monotonic()))
        self._threads = []

    def _close(self) -> None:
        """Closes the socket and removes the file that it made."""
        self.sock.close()
        if self._file is not None and _identify(self.address) == self._file:
            os.unlink(self.address)  # type: ignore[arg-type]
        self._file = None

    # The loop calls these, and `_spawn()`.

    def _connected(
        self,
        reader: Reader,
        fd: int,
        address: Any,
        credentials: tuple[int, int, int] | None,
    ) -> Session | None:
        """The session of a new connection, or None to refuse it."""
        session = Session(address, credentials, self.max_requests)
        session._reader = reader
        log.info('+ %s New connection', session)
        if self._on_connect is None:
            return session
        # A descriptor of its own: whatever is done to it, the server's stays.
        sock = session._sock = socket.socket(fileno=os.dup(fd))
        try:
            sock.settimeout(self.timeout)
            if self._on_connect(session, sock) is True:
                return session
            log.warning('- %s Rejected by app.on_connect()', session)
        except BaseException as exception:
            if isinstance(exception, KeyboardInterrupt):
                raise
            self._failed(session, exception)
        self._closed(session, 'rejected')
        return None

    def _closed(self, session: Session, why: str) -> None:
        session._message = why
        if session._sock is not None:
            session._sock.close()
        log.info('- %s Handled %d requests: %s', session, session.requests, why)

    def _failed(
        self, session: Session | None, exception: BaseException
    ) -> None:
        log.error(
            '- %s Error after handling %d requests:',
            session,
            session.requests if session else 0,
            exc_info=exception,
        )
