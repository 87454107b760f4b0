# SPDX-License-Identifier: MIT OR 0BSD
"""The command `python -m degu`: serves a directory or an app, gets a URI."""

import argparse
import contextlib
import importlib
import logging
import os
import re
import signal
import stat
import sys
import time
import traceback
from collections.abc import Iterator
from typing import Any

import degu
from degu._address import format_address
from degu._arguments import DEFAULT_ADDRESS, build_parser, get_address

_PIECE = 65536
_MIB = 1024 * 1024


class _Failure(Exception):
    """The text tells a person all there is to tell."""


# --------------------------------------------------------------------- output

class _Stdout:
    """Standard output, unbuffered, so that nothing is left to fail when the
    interpreter ends.  OSError; SystemExit if whoever read it has gone, which
    needs no words."""

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(1, view):]
        except BrokenPipeError as error:
            raise SystemExit(1) from error


@contextlib.contextmanager
def _open_output(name: str | None) -> Iterator[Any]:
    """What to write to.  A regular file is replaced when the block ends
    without an exception; a device or a pipe is written to as it is."""
    if name is None:
        yield _Stdout()
        return
    name = os.path.realpath(name)
    if os.path.exists(name) and not stat.S_ISREG(os.stat(name).st_mode):
        with open(name, 'wb') as file:
            yield file
        return
    part = name + '.part'
    try:
        with open(part, 'wb') as file:
            yield file
        os.replace(part, name)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


class _Progress:
    """A line on stderr for a person who waits for more than a second."""

    def __init__(self, total: int | None, shown: bool) -> None:
        self._total = total
        self._done = 0
        self._start = time.monotonic()
        self._next = self._start + 1 if shown else float('inf')
        self._is_shown = False

    def add(self, count: int) -> None:
        self._done += count
        if time.monotonic() >= self._next:
            self._show()

    def _show(self) -> None:
        now = time.monotonic()
        mib = self._done / _MIB
        text = f'{mib:.1f} MiB  {mib / (now - self._start):.1f} MiB/s'
        if self._total:
            text = f'{self._done * 100 // self._total:3} %  {text}'
        # Blanks, as the text before may have been longer.
        print(f'\r{text:40}', end='', file=sys.stderr, flush=True)
        self._next = now + 0.2
        self._is_shown = True

    def end(self) -> None:
        if self._is_shown:
            self._show()
            print(file=sys.stderr)


# ------------------------------------------------------------------- commands

@contextlib.contextmanager
def _about(address: str) -> Iterator[None]:
    """Errors of the system inside the block name the address."""
    try:
        yield
    except OSError as error:
        raise _Failure(f'{address}: {error.strerror or error}') from error


def _load(name: str) -> Any:
    """The object that module:name is."""
    (module, _, names) = name.partition(':')
    if not re.fullmatch(r'\w+(\.\w+)*:\w+(\.\w+)*', name):
        raise _Failure(f'not a directory, and not module:app: {name!r}')
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found: Any = importlib.import_module(module)
    for part in names.split('.'):
        found = getattr(found, part)
    if not callable(found):
        raise _Failure(f'not callable: {name}')
    return found


def _build_app(args: argparse.Namespace) -> Any:
    from degu.applib import FilesApp, WSGIApp

    target = args.target
    if ':' not in target or os.path.isdir(target):
        if args.wsgi:
            args.parser.error('--wsgi needs module:app')
        return FilesApp(os.path.abspath(target), listing=args.listing)
    if args.listing:
        args.parser.error('--listing needs a directory')
    app = _load(target)
    return WSGIApp(app) if args.wsgi else app


def _take_address(args: argparse.Namespace) -> Any:
    """The socket that was passed to this process, or else the address."""
    from degu.server import take_listeners

    with _about('LISTEN_FDS'):
        passed = take_listeners()
    if not passed:
        if args.address is None:
            args.address = DEFAULT_ADDRESS
        return get_address(args)
    if len(passed) > 1:
        raise _Failure(f'LISTEN_FDS: need one socket; got {len(passed)}')
    if args.address is not None:
        args.parser.error('--address beside a socket that was passed')
    args.address = format_address(passed[0].getsockname())
    return passed[0]


def _serve(args: argparse.Namespace) -> int:
    from degu.server import Server

    address = _take_address(args)
    app = _build_app(args)
    options = {'timeout': args.timeout, 'max_connections': args.max_connections}
    options = {key: value for (key, value) in options.items() if value}
    with _about(args.address):
        server = Server(address, app, **options)

    def stop(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        server.shutdown()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        text = format_address(server.address)
        _Stdout().write(os.fsencode(text) + b'\n')
    except BaseException:
        server.shutdown()
        raise
    finally:
        # If it is to stop already, this gives back what it listens at.
        server.serve_forever()
    return 0


def _request(conn: Any, args: argparse.Namespace) -> Any:
    headers: dict[str, Any] = {}
    for (name, value) in args.headers:
        headers[name] = (
            f'{headers[name]}, {value}' if name in headers else value
        )
    if args.range:
        headers['range'] = conn.api.Range(*args.range)
    return conn.request('HEAD' if args.head else 'GET', args.uri, headers, None)


def _format_head(response: Any) -> bytes:
    lines = [f'HTTP/1.1 {response.status} {response.reason}']
    for (name, values) in response.headers.items():
        if type(values) is not list:
            values = [values]
        lines.extend(f'{name}: {value}' for value in values)
    return '\n'.join(lines + ['', '']).encode('ascii')


def _pieces(body: Any) -> Iterator[bytes]:
    """The data as early as the kind of body lets it be seen."""
    if body is None:
        return
    if body.chunked:
        yield from (data for (_, data) in body)
    elif body.content_length is None:
        yield from body
    else:
        while data := body.read(_PIECE):
            yield data


def _transfer(body: Any, output: Any, name: str | None) -> None:
    shown = sys.stderr.isatty() and (name is not None or not os.isatty(1))
    length = None if body is None or body.chunked else body.content_length
    progress = _Progress(length, shown)
    try:
        for data in _pieces(body):
            output.write(data)
            progress.add(len(data))
    finally:
        progress.end()


def _get(args: argparse.Namespace) -> int:
    from degu.client import Client

    # The client has a host header of its own, which would replace it.
    hosts = [value for (name, value) in args.headers if name == 'host']
    options = {'host': hosts[-1]} if hosts else {}
    client = Client(get_address(args), timeout=args.timeout, **options)
    with _about(args.address):
        conn = client.connect()
    try:
        response = _request(conn, args)
        failed = response.status >= 400
        if args.include or args.head:
            _Stdout().write(_format_head(response))
        if not (failed and args.output):
            with _open_output(args.output) as output:
                _transfer(response.body, output, args.output)
    finally:
        conn.close()
    if failed:
        raise _Failure(f'{response.status} {response.reason}')
    return 0


def _version(args: argparse.Namespace) -> int:
    from degu import _degu

    python = sys.version.split()[0]
    _Stdout().write(
        f'degu {degu.__version__}\nPython {python}\n'
        f'extension {_degu.version}\n'.encode()
    )
    return 0


_COMMANDS = {'serve': _serve, 'get': _get, 'version': _version}


def _describe(error: Exception) -> str:
    """One line."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
        if error.filename is not None:
            text = f'{os.fsdecode(error.filename)}: {text}'
    elif not isinstance(error, (_Failure, OSError)):
        text = f'{type(error).__name__}: {text}'
    return ' '.join(text.split()) or type(error).__name__


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; the exit code.  SystemExit(2) for bad usage."""
    args = build_parser().parse_args(arguments)
    logs = args.command == 'serve' and not args.quiet
    logging.basicConfig(
        format='%(asctime)s %(levelname)s %(message)s',
        level=(logging.DEBUG if args.verbose else
               logging.INFO if logs else logging.WARNING),
    )
    try:
        return _COMMANDS[args.command](args)
    except KeyboardInterrupt:
        return 130 if args.command == 'get' else 0
    except Exception as error:
        if args.verbose:
            traceback.print_exc()
        print(f'degu: {_describe(error)}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
