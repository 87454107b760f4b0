# SPDX-License-Identifier: MIT OR 0BSD
"""The HTTP server."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from degu import IPv4_ANY, IPv4_LOOPBACK, IPv6_ANY, IPv6_LOOPBACK
from degu._address import (
    Address,
    check_address,
    check_rate,
    check_spin,
    check_timeout,
    microseconds,
)
from degu._degu import Loop, Reader
from degu._earlier import (
    check_bodies,
    settle_app,
    settle_on_connect,
    use_bodies,
)
from degu.base import API, DEFAULT_BODIES, Request, Response, Session

__all__ = (
    'Exchange',
    'IPv4_ANY',
    'IPv4_LOOPBACK',
    'IPv6_ANY',
    'IPv6_LOOPBACK',
    'Request',
    'SSLServer',
    'Server',
    'Session',
    'build_server_sslctx',
    'take_listeners',
)

if TYPE_CHECKING:
    import logging
    import ssl

    from degu._tls import build_server_sslctx

App = (
    Callable[[Session, Request, API], tuple[Any, ...] | Response]
    | Callable[[Request], tuple[Any, ...] | Response]
)


class Exchange(NamedTuple):
    """One exchange that is over, as the option *on_exchange* is told of it.

    *method* and *uri* are None if the head of the request was not good or did
    not come in time; *seconds* is 0.0 then, else the time from there to the end
    of the response.  *status* is that of the response, 0 if none was begun.
    The bytes count heads and framing, and under TLS what was protected;
    *bytes_in* those of the request that were read, *bytes_out* also interim
    responses.  *error* is the name of what went wrong, such as 'E_TIMEOUT',
    or None.
    """

    method: str | None
    uri: str | None
    status: int
    bytes_in: int
    bytes_out: int
    seconds: float
    error: str | None


def _log() -> 'logging.Logger':
    import logging  # takes a third of the time that importing this would

    return logging.getLogger('degu.server')


def _tell(text: str, *args: Any) -> None:
    """Logs what is no fault.  Who has not even imported logging cannot want
    to hear it."""
    if 'logging' in sys.modules:
        _log().info(text, *args, stacklevel=2)


# Seconds between tries to start a thread that the system could not give.
_RETRY_SECONDS = 0.1

# Seconds for which threads are waited for once the requests in hand have been
# cut.  Those that are inside an app then are left behind.
_JOIN_SECONDS = 1


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
        'bodies': DEFAULT_BODIES,
        'on_exchange': None,
        'timeout': 15,
        'min_rate': 256,
        'spin': 0,
        'max_connections': 25,
        'max_requests_per_connection': 100,
        'stop_timeout': 5,
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
    check_bodies(options['bodies'])
    hook = options['on_exchange']
    if hook is not None and not callable(hook):
        raise TypeError(f'on_exchange: not callable: {hook!r}')
    check_timeout(options['timeout'])
    check_rate(options['min_rate'])
    check_spin(options['spin'])
    check_timeout(options['stop_timeout'], 'stop_timeout')
    _check_count('max_connections', options['max_connections'])
    _check_count(
        'max_requests_per_connection', options['max_requests_per_connection']
    )
    return options


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


def _check_listener(sock: socket.socket) -> None:
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError(f'address: a socket that does not listen: {sock!r}')


# What a program is given first, as sd_listen_fds(3) has it.
_LISTEN_FDS_START = 3


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def take_listeners() -> list[socket.socket]:
    """The sockets that whoever started this process has passed to it, as
    systemd does with socket activation (sd_listen_fds(3)); none if there are
    none, or if they are for another process.

    They are not inherited by programs that this one starts, nor are the
    variables LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES: they are taken out of
    the environment, so that a second call returns none.

    Raises ValueError if the variables are no numbers, OSError if what was
    passed is no socket.
    """
    (pid, count, _) = (
        os.environ.pop(name, '')
        for name in ('LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES')
    )
    if not pid or not count:
        return []
    if not (_is_number(pid) and _is_number(count)):
        raise ValueError(f'bad LISTEN_PID or LISTEN_FDS: {pid!r}, {count!r}')
    if int(pid) != os.getpid():
        return []
    fds = range(_LISTEN_FDS_START, _LISTEN_FDS_START + int(count))
    for fd in fds:
        os.set_inheritable(fd, False)
    return [socket.socket(fileno=fd) for fd in fds]


def _identify(path: Any) -> tuple[int, int] | None:
    """What stands at the path of an AF_UNIX address."""
    if not isinstance(path, (str, bytes)) or path[:1] in ('', b'', b'\0'):
        return None
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


class _Bell:
    """What one thread sleeps by: `ring()` of another one wakes it, and in the
    main thread each signal does.

    A signal that arrives just before a system call does not interrupt it.
    So Python's own signal handler writes to a socket, as asyncio has it do.
    """

    def __init__(self) -> None:
        (self._ours, self._theirs) = socket.socketpair()
        self._theirs.setblocking(False)
        self._lock = threading.Lock()
        self._old: int | None = None

    def __enter__(self) -> '_Bell':
        if threading.current_thread() is threading.main_thread():
            with contextlib.suppress(ValueError):  # in a sub-interpreter
                self._old = signal.set_wakeup_fd(
                    self._theirs.fileno(), warn_on_full_buffer=False
                )
        return self

    def __exit__(self, *unused: object) -> None:
        if self._old is not None:
            signal.set_wakeup_fd(self._old)
        with self._lock:
            self._theirs.close()
        self._ours.close()

    def sleep(self, seconds: float | None) -> None:
        """At most so long, or until it rings."""
        self._ours.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            self._ours.recv(4096)

    def ring(self) -> None:
        """Not for signal handlers."""
        with self._lock, contextlib.suppress(OSError):
            self._theirs.send(b'.')


class Server:
    """Serves *app* at *address*; made and bound, not yet serving.

    *address* is (host, port) for IPv4, (host, port, flowinfo, scopeid) for
    IPv6, a str for the file of an AF_UNIX socket that does not exist yet, bytes
    for an abstract name, or a socket.socket that listens already.

    *app* is called as ``app(session, request, api)`` for each request and
    returns (status, reason, headers, body); its attribute *on_connect*, if
    there is one and it is not None, is called as ``on_connect(session, sock)``
    for each connection, which only the answer True keeps.

    The options are *timeout*, in seconds, of every step, 15 by default;
    *min_rate*, bytes a second that the other end has to keep up, on average,
    while a body or an answer is waited for, 256 by default, or 0; *spin*,
    seconds to look for input before waiting for it, 0 by default, for clients
    on this host that have a core of their own;
    *max_connections* at one time, 25; *max_requests_per_connection*, 100;
    *stop_timeout*, seconds that requests in hand have at the end, 5;
    *bodies*, classes of one's own in place of `degu.base.api`; and
    *on_exchange*, called as ``on_exchange(session, exchange)`` behind each
    exchange, with an `Exchange`.  An exception of it is logged.

    A ``with`` block ends with `close()`.

    Raises TypeError or ValueError for a bad address, app or option, and OSError
    if the address cannot be had; nothing is left behind then.  It may be
    subclassed, and not be pickled.
    """

    # Are its connections TLS?
    _is_secure = False

    def __init__(self, address: Any, app: App, **options: Any) -> None:
        self.options = _build_options(type(self).__name__, options)
        self._handler = settle_app(app)
        bodies = self.options['bodies']
        if bodies is not DEFAULT_BODIES:
            self._handler = use_bodies(self._handler, bodies)
        self._on_exchange = self.options['on_exchange']
        self._on_connect = settle_on_connect(getattr(app, 'on_connect', None))
        self.app = app
        self._file: tuple[int, int] | None = None
        if isinstance(address, socket.socket):
            _check_listener(address)
            self.sock = address
        else:
            self.sock = _listen(address)
            self._file = _identify(address)
        self.address: Address = self.sock.getsockname()
        self._loop: Loop | None = None
        self._threads: list[threading.Thread] = []
        self._stopped = False
        self._ended = False
        self._is_short = False  # of threads
        self._spawning = threading.Lock()
        # Who settles whether it will serve or be closed.
        self._lock = threading.Lock()
        self._server: int | None = None  # the thread of serve_forever()
        self._returned = threading.Event()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def __repr__(self) -> str:
        app = getattr(self.app, '__qualname__', None)
        if app is None:
            cls = type(self.app)
            name = f'{cls.__module__}.{cls.__qualname__}(<...>)'
        else:
            name = f'{self.app.__module__}.{app}'
        return f'{type(self).__name__}({self.address!r}, {name})'

    def __reduce__(self) -> Any:
        raise TypeError(f'cannot pickle {type(self).__name__!r} object')

    @property
    def timeout(self) -> Any:
        return self.options['timeout']

    @property
    def min_rate(self) -> Any:
        return self.options['min_rate']

    @property
    def spin(self) -> Any:
        return self.options['spin']

    @property
    def max_connections(self) -> Any:
        return self.options['max_connections']

    @property
    def max_requests(self) -> Any:
        return self.options['max_requests_per_connection']

    @property
    def stop_timeout(self) -> Any:
        return self.options['stop_timeout']

    def serve_forever(self) -> None:
        """Serves until `shutdown()` or, in the main thread, Ctrl-C; then the
        requests in hand have *stop_timeout* to be answered.  Returns at once
        if it has been closed."""
        with self._lock:
            if self._returned.is_set() and self._server is None:
                return
            if self._server is not None and not self._returned.is_set():
                raise RuntimeError('the server is serving already')
            if self.sock.fileno() < 0:
                raise RuntimeError('the server has ended: make another one')
            self._server = threading.get_ident()
        try:
            self._run()
        finally:
            self._close()
            self._returned.set()

    def _run(self) -> None:
        loop = self._loop = Loop(
            self.sock.fileno(),
            self._handler,
            self,
            self.max_connections,
            self.max_requests,
            max(1, round(self.timeout * 1000)),
            self.min_rate,
            microseconds(self.spin),
            round(self.stop_timeout * 1000),
            self._on_exchange is not None,
            self._is_secure,
        )
        _tell('Starting Degu %s @ %r', type(self).__name__, self.address)
        _tell(
            '[timeout=%r, max_connections=%r, max_requests=%r]',
            self.timeout,
            self.max_connections,
            self.max_requests,
        )
        try:
            if not self._stopped:
                self._sleep()
        finally:
            loop.stop()
            self._join()
            self._loop = None

    def close(self) -> None:
        """Ends the server: `shutdown()`, waits until `serve_forever()` has
        returned if it was called, in another thread, and gives back the socket
        and the file of an AF_UNIX address.  May be called again, and is not
        for signal handlers.

        Raises RuntimeError in the thread that serves."""
        self.shutdown()
        with self._lock:
            if self._server is None:
                self._close()
                self._returned.set()
        if not self._returned.is_set():
            if self._server == threading.get_ident():
                raise RuntimeError('close() inside of serve_forever()')
            self._returned.wait()

    def shutdown(self) -> None:
        """Makes `serve_forever()` return once the requests in hand are
        answered, or *stop_timeout* is over and they have been cut.  May be
        called from any thread and any signal handler."""
        self._stopped = True
        loop = self._loop
        if loop is not None:
            loop.stop()

    def _sleep(self) -> None:
        """Lets other threads serve until the first of them ends; this one
        is for Python's signal handlers."""
        with _Bell() as self._bell:
            self._start_thread()
            # A second, which notices when the first is inside the app.
            self._spawn()
            while not self._ended:
                self._bell.sleep(_RETRY_SECONDS if self._is_short else None)
                if self._is_short:
                    self._spawn()

    def _serve(self, loop: Loop) -> None:
        try:
            loop.serve()
        except Exception:
            _log().exception('A thread of %r ended:', self)
            loop.stop()
        self._ended = True
        self._bell.ring()

    def _start_thread(self) -> None:
        """Raises RuntimeError if the system has no thread more."""
        args = (self._loop,)
        try:
            # Whoever is inside an app must not keep the interpreter from its
            # end; but some sub-interpreters have no daemon threads.
            thread = threading.Thread(
                target=self._serve, args=args, name='degu', daemon=True
            )
        except RuntimeError:
            thread = threading.Thread(
                target=self._serve, args=args, name='degu'
            )
        # Before it starts, as Ctrl-C may come out of start().
        self._threads.append(thread)
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            self._threads.remove(thread)
            raise

    def _spawn(self) -> None:
        """Starts a thread beside those that are all waiting for an app; one
        more than there are connections is always free to refuse others.

        If the system has none to give, `_sleep()` tries again: the threads
        that there are may all be waiting for long."""
        with self._spawning:
            self._spawn_one()

    def _spawn_one(self) -> None:
        was_short = self._is_short
        self._is_short = False
        if self._loop is None or len(self._threads) > self.max_connections:
            return
        try:
            self._start_thread()
        except (RuntimeError, MemoryError) as error:
            self._is_short = True
            if not was_short:
                self._bell.ring()
                _log().warning(
                    'No thread more than %d: %s', len(self._threads), error
                )

    def _join(self) -> None:
        end = time.monotonic() + self.stop_timeout + _JOIN_SECONDS
        for thread in self._threads:
            # One that has not begun yet will find the loop stopped.
            with contextlib.suppress(RuntimeError):
                thread.join(max(0, end - time.monotonic()))
        self._threads = []

    def _close(self) -> None:
        self.sock.close()
        self.remove_file()

    def remove_file(self) -> None:
        """Removes the file of an AF_UNIX address if it is still the one that
        this server made, as the end of `serve_forever()` does."""
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
        secure: 'ssl.SSLSocket | None',
    ) -> Session | None:
        """The session of a new connection, or None to refuse it.  *secure* is
        its socket if that is a TLS one."""
        session = Session(address, credentials, self.max_requests)
        session._reader = reader
        _tell('+ %s New connection', session)
        try:
            if secure is not None:
                from degu._tls import peer_of

                session._peer = peer_of(secure)
            if self._on_connect is None:
                return session
            # A descriptor of its own: whatever is done to it, the server's
            # stays; but whether a call waits is common to both.
            sock: socket.socket | None = secure
            if sock is None:
                sock = session._sock = socket.socket(fileno=os.dup(fd))
            sock.settimeout(self.timeout)
            accepted = self._on_connect(session, sock) is True
            if secure is None:
                os.set_blocking(fd, True)
            elif secure.version() is None:
                raise ValueError('on_connect() has ended the TLS connection')
            else:
                secure.setblocking(False)
            if accepted:
                return session
            _log().warning('- %s Rejected by app.on_connect()', session)
        except BaseException as exception:
            self._failed(session, exception)
        self._closed(session, 'rejected')
        return None

    def _exchanged(self, session: Session, *facts: Any) -> None:
        self._on_exchange(session, Exchange(*facts))

    def _closed(self, session: Session, why: str) -> None:
        session._message = why
        if session._sock is not None:
            session._sock.close()
        # Not left to the last reference: without a GIL that may wait for the
        # thread that made the object, which sleeps.
        for conn in (session._kept or {}).values():
            with contextlib.suppress(OSError):
                conn.close()
        _tell('- %s Handled %d requests: %s', session, session.requests, why)

    def _refused(self, address: Any) -> None:
        _log().warning('Too many connections, rejecting %r', address)

    def _failed(
        self, session: Session | None, exception: BaseException
    ) -> None:
        _log().error(
            '- %s Error after handling %d requests:',
            session,
            session.requests if session else 0,
            exc_info=exception,
        )

    def _upstream_failed(
        self, session: Session, exception: BaseException
    ) -> None:
        _log().warning(
            '- %s Upstream failed after handling %d requests: %s: %s',
            session,
            session.requests,
            type(exception).__name__,
            exception,
        )


class SSLServer(Server):
    """A `Server` whose connections are TLS, and whose clients must show a
    certificate that one of its authorities has signed.

    *sslctx* is a dict, from which `build_server_sslctx()` makes the context,
    or an `ssl.SSLContext` of one of its two profiles.  The attribute *sslctx*
    is the context in use; another of them may be put there while the server
    serves, for connections that come later.

    *address*, *app* and *options* are as for `Server`.  There is one option
    more: *pins*, an iterable of SHA-256 sums in hex, lets in only clients
    with one of these public keys.

    What `on_connect` is given as *sock* is an `ssl.SSLSocket` whose handshake
    is done.  ``session.peer`` tells who the client is.

    Raises what `build_server_sslctx()` and `Server` do, TypeError or
    ValueError for a context that will not do.
    """

    _is_secure = True

    def __init__(
        self,
        sslctx: 'ssl.SSLContext | dict[str, Any]',
        address: Any,
        app: App,
        **options: Any,
    ) -> None:
        from degu import _tls

        self._tls = _tls
        self._sslctx = _tls.check_server_sslctx(sslctx)
        self._pins = _tls.check_pins(options.pop('pins', None))
        super().__init__(address, app, **options)
        if self._pins is not None:
            self.options['pins'] = self._pins

    @property
    def sslctx(self) -> 'ssl.SSLContext':
        return self._sslctx

    @sslctx.setter
    def sslctx(self, sslctx: Any) -> None:
        self._sslctx = self._tls.check_server_sslctx(sslctx)

    def __repr__(self) -> str:
        return super().__repr__().replace('(', '(<sslctx>, ', 1)

    # The loop calls these.

    def _secure(self, fd: int) -> 'ssl.SSLSocket':
        """A TLS socket, with a descriptor of its own, for a connection."""
        sock = socket.socket(fileno=os.dup(fd))
        sock.setblocking(False)
        return self._tls.wrap_socket(self._sslctx, sock, server_side=True)

    def _shaken(self, sock: 'ssl.SSLSocket') -> None:
        """Raises ssl.SSLError if this handshake should not have succeeded."""
        self._tls.check_handshake(sock, self._pins)

    def _unsafe(
        self, address: Any, why: str, error: BaseException | None
    ) -> None:
        """A handshake has failed."""
        _tell(
            '- %r TLS handshake failed: %s',
            address,
            why if error is None else self._tls.explain(error),
        )


def __getattr__(name: str) -> Any:
    """What needs `ssl` waits until somebody asks for it."""
    if name == 'build_server_sslctx':
        from degu._tls import build_server_sslctx

        return build_server_sslctx
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
