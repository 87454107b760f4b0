# SPDX-License-Identifier: MIT OR 0BSD
"""Servers to try things with."""

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
from typing import Any

from degu._address import Address
from degu.server import App, Server

__all__ = ('TempServer',)


def _portable(exception: BaseException) -> BaseException:
    """The exception, or one of the same text, if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(exception))
    except Exception:
        return RuntimeError(f'{type(exception).__name__}: {exception}')
    return exception


def _watch_parent() -> None:
    """Ends this process when its parent has gone without a word."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(0)


def _run_server(
    pipe: Any,
    address: Address,
    app: App,
    options: Any,
) -> None:
    # Ctrl-C at the prompt is meant for the parent, and so are its handlers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_watch_parent, daemon=True).start()
    try:
        server = Server(address, app, **options)
    except BaseException as exception:
        pipe.send(_portable(exception))
        pipe.close()
        return
    pipe.send((server.address,))
    pipe.close()
    server.serve_forever()


class TempServer:
    """A `Server` in a process of its own, ready when the constructor returns.

    The process ends when this object does.
    """

    def __init__(self, address: Address, app: App, **options: Any) -> None:
        # The parent's app is wanted, which may have been typed at a prompt,
        # so the process is forked whatever the platform's default is.
        context = multiprocessing.get_context('fork')
        (ours, theirs) = context.Pipe(duplex=False)
        self._pid = os.getpid()
        self.app = app
        self.options = dict(options)
        self.process = context.Process(
            target=_run_server,
            args=(theirs, address, app, options),
            daemon=True,
        )
        with ours:
            try:
                self.process.start()
            finally:
                theirs.close()
            self.address: Address = self._receive(ours)

    def _receive(self, pipe: Any) -> Any:
        """The address that the server is bound to, or what kept it."""
        multiprocessing.connection.wait([pipe, self.process.sentinel])
        message: Any = None
        try:
            if pipe.poll():
                message = pipe.recv()
        except EOFError:
            pass
        if isinstance(message, tuple):
            return message[0]
        self.terminate()
        if isinstance(message, BaseException):
            raise message
        raise RuntimeError(
            f'the server process ended, exit code {self.process.exitcode}'
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.address!r}, {self.app!r})'

    def __del__(self) -> None:
        # A forked copy of this object is not its owner.
        if getattr(self, '_pid', None) == os.getpid():
            self.terminate()

    def terminate(self) -> None:
        """Ends the process; may be called again."""
        process = getattr(self, 'process', None)
        if process is not None and process.pid is not None:
            process.terminate()
            process.join()
