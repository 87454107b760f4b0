# SPDX-License-Identifier: MIT OR 0BSD
"""Servers in processes of their own.

The child builds the app, makes the server and tells its address; whatever
happens to it before that is raised in the parent.  It ends when its parent
does, and takes the file of an AF_UNIX address with it.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from degu._address import Address
from degu.server import Server, SSLServer

# A process that does not heed SIGTERM for so many seconds is killed.
_PATIENCE = 5

BuildFunc = Callable[..., Any] | None
SSLConfig = dict[str, Any]


class ChildError(Exception):
    """The cause of an exception that a server's process has raised: where it
    was raised there."""

    def __str__(self) -> str:
        return f'\n\n{self.args[0]}'


# -------------------------------------------------------------- in the child


# What a child says that has failed: its exception, pickled; a text, if that
# cannot be had in the parent; and the traceback.
Failure = tuple[bytes, str, str]


def _tell(exception: BaseException) -> Failure:
    data = b''
    with contextlib.suppress(Exception):
        pickled = pickle.dumps(exception)
        pickle.loads(pickled)  # whatever that does, it does it here first
        data = pickled
    text = (
        'the server process ended: '
        f'{type(exception).__name__}: {exception}'
    )
    return (data, text, traceback.format_exc())


def _build_app(build_func: BuildFunc, args: tuple[Any, ...]) -> Any:
    if build_func is not None:
        return build_func(*args)
    if len(args) != 1:
        raise TypeError(
            'build_func: None means that the app itself is the one argument '
            f'behind it; got {len(args)}'
        )
    return args[0]


def _build(
    sslconfig: SSLConfig | None,
    address: Address,
    build_func: BuildFunc,
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> Server:
    """The server: with TLS if there is an *sslconfig*."""
    app = _build_app(build_func, args)
    if sslconfig is None:
        return Server(address, app, **options)
    return SSLServer(sslconfig, address, app, **options)


def _watch_parent(server: Server) -> None:
    """Ends this process when its parent has gone without a word."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    server.remove_file()
    os._exit(0)


def _heed_terminate(server: Server) -> None:
    def end(number: int, frame: Any) -> None:
        server.remove_file()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)


def _serve(server: Server) -> None:
    threading.Thread(target=_watch_parent, args=(server,), daemon=True).start()
    server.serve_forever()


def _run(
    pipe: Any,
    sslconfig: SSLConfig | None,
    address: Address,
    build_func: BuildFunc,
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> None:
    # Ctrl-C at the prompt is meant for the parent, and so are its handlers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        server = _build(sslconfig, address, build_func, args, options)
    except BaseException as exception:
        pipe.send((None, _tell(exception)))
        pipe.close()
        return
    # First, as who knows the address may end the server at once.
    _heed_terminate(server)
    pipe.send((server.address, None))
    pipe.close()
    _serve(server)


# ------------------------------------------------------------- in the parent


def _retell(failure: Failure) -> Exception:
    """The child's exception, or one with its text if it cannot be had here or
    would end this process too."""
    (data, text, _) = failure
    with contextlib.suppress(Exception):
        exception = pickle.loads(data)
        if isinstance(exception, Exception):
            return exception
    return RuntimeError(text)


def _receive(pipe: Any, process: BaseProcess) -> Any:
    """The child's message; EOFError if it ended without one."""
    while process.exitcode is None:
        # The sentinel may have been inherited by another child, which then
        # keeps it from telling the end of this one: so it is not all.
        if multiprocessing.connection.wait([pipe, process.sentinel], 1):
            break
    if not pipe.poll():
        raise EOFError
    return pipe.recv()


def _end(process: BaseProcess) -> None:
    """Ends a child, if it runs."""
    if process.pid is None:
        return
    process.terminate()
    end = time.monotonic() + _PATIENCE
    pause = 0.001
    # For the same reason no join() with a timeout, which asks the sentinel.
    while process.exitcode is None and time.monotonic() < end:
        multiprocessing.connection.wait([process.sentinel], pause)
        pause = min(2 * pause, 0.1)
    if process.exitcode is None:
        process.kill()
    process.join()


def launch(
    method: str | None,
    sslconfig: SSLConfig | None,
    address: Address,
    build_func: BuildFunc,
    args: tuple[Any, ...],
    options: dict[str, Any],
) -> tuple[BaseProcess, Address]:
    """A process with a server that is ready, and the address it is bound to.

    *method* is how to start it, None for the platform's way; *sslconfig*
    what its `SSLServer` is made from, None for a `Server`.
    """
    context: Any = multiprocessing.get_context(method)
    (ours, theirs) = context.Pipe(duplex=False)
    process: BaseProcess = context.Process(
        target=_run,
        args=(theirs, sslconfig, address, build_func, args, options),
        daemon=True,
    )
    with ours:
        try:
            try:
                process.start()
            finally:
                theirs.close()
            (bound, failure) = _receive(ours, process)
        except EOFError:
            _end(process)
            raise RuntimeError(
                'the server process ended before it was ready, '
                f'exit code {process.exitcode}'
            ) from None
        except BaseException:
            _end(process)
            raise
    if failure is not None:
        _end(process)
        raise _retell(failure) from ChildError(failure[2])
    return (process, bound)


def start_server(
    address: Address,
    build_func: BuildFunc,
    *build_args: Any,
    **options: Any,
) -> tuple[BaseProcess, Address]:
    """Starts a `Server` in a process of its own: (process, address).

    The app is what ``build_func(*build_args)`` returns in that process; with
    None as *build_func* it is the one argument behind it.  *options* are the
    server's.  `address` is the one it is bound to, fit for a `Client`.

    The process is a daemon; ``process.terminate()`` ends the server, and the
    end of this process does.  It is forked, so it shares this process's open
    files.  What building the server raises there is raised here; RuntimeError
    if the process ends before it is ready.
    """
    return launch('fork', None, address, build_func, build_args, options)


def check_sslconfig(sslconfig: Any) -> SSLConfig:
    """Only a dict crosses into another process."""
    if not isinstance(sslconfig, dict):
        raise TypeError(
            f'sslconfig: need a {dict!r}; got a {type(sslconfig)!r}: '
            f'{sslconfig!r}'
        )
    return sslconfig


def start_sslserver(
    sslconfig: SSLConfig,
    address: Address,
    build_func: BuildFunc,
    *build_args: Any,
    **options: Any,
) -> tuple[BaseProcess, Address]:
    """Starts an `SSLServer` in a process of its own: (process, address).

    *sslconfig* is the dict from which that process builds its context; all
    else is as for `start_server()`.
    """
    return launch(
        'fork',
        check_sslconfig(sslconfig),
        address,
        build_func,
        build_args,
        options,
    )


class ServerProcess:
    """A server in a process of its own, ready when the constructor returns,
    which ends when this object does.  Not for pickling."""

    process: BaseProcess
    address: Address

    def _start(
        self,
        method: str | None,
        sslconfig: SSLConfig | None,
        address: Address,
        build_func: BuildFunc,
        args: tuple[Any, ...],
        options: dict[str, Any],
    ) -> None:
        self._pid = os.getpid()
        (self.process, self.address) = launch(
            method, sslconfig, address, build_func, args, options
        )

    def __reduce__(self) -> Any:
        raise TypeError(f'cannot pickle {type(self).__name__!r} object')

    def __del__(self) -> None:
        self.terminate()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *unused: object) -> None:
        self.terminate()

    def terminate(self) -> None:
        """Ends the process; may be called again.  Does nothing in a forked
        copy of the process that made it."""
        if getattr(self, '_pid', None) != os.getpid():
            return
        process = getattr(self, 'process', None)
        if process is not None:
            _end(process)


class EmbeddedServer(ServerProcess):
    """A `Server` in a process of its own, which `multiprocessing` starts in
    the platform's way.

    The app is what ``build_func(*build_args)`` returns in that process: so
    this process needs nothing that only the app needs.  *options* are the
    server's.  The constructor raises what building the server has raised
    there, and RuntimeError if the process ends before it is ready.

    Attributes: `process`, the multiprocessing.Process; `address`, the one the
    server is bound to; `build_func`, `build_args`, `options` as given.
    """

    def __init__(
        self,
        address: Address,
        build_func: BuildFunc,
        *build_args: Any,
        **options: Any,
    ) -> None:
        self.build_func = build_func
        self.build_args = build_args
        self.options = options
        self._start(None, None, address, build_func, build_args, options)


class EmbeddedSSLServer(ServerProcess):
    """An `SSLServer` in a process of its own, which `multiprocessing` starts
    in the platform's way.

    *sslconfig* is the dict from which that process builds its context, and an
    attribute as given; TypeError, before there is a process, for anything
    else.  All else is as for `EmbeddedServer`.
    """

    def __init__(
        self,
        sslconfig: SSLConfig,
        address: Address,
        build_func: BuildFunc,
        *build_args: Any,
        **options: Any,
    ) -> None:
        self.sslconfig = check_sslconfig(sslconfig)
        self.build_func = build_func
        self.build_args = build_args
        self.options = options
        self._start(
            None, sslconfig, address, build_func, build_args, options
        )
