# SPDX-License-Identifier: MIT OR 0BSD
"""The command line of `python -m degu`."""

import argparse
import re
from typing import Any

from degu._address import Address, check_timeout, parse_address

DEFAULT_ADDRESS = '127.0.0.1:8000'

_DESCRIPTION = 'Serves a directory or an app, gets what is at a URI.'

_EXIT = """\
exit codes: 0 success, 1 failure, 2 bad usage
"""

_ADDRESSES = """\
An ADDRESS is one of
  127.0.0.1:80          IPv4; port 0 is one that is free
  [::1]:80              IPv6
  [fe80::1%eth0]:80     IPv6 with the interface that a link-local one needs
  /run/app.sock         a socket in the file system (AF_UNIX)
  @name                 an abstract one (Linux); @ alone is one that is free
"""

_SERVE = _ADDRESSES + """
A socket that listens already may be passed as systemd does it, in LISTEN_FDS
and LISTEN_PID (sd_listen_fds(3)).  It has to be one, and --address left out.

The first line on stdout is the ADDRESS that the server is bound to.  Ctrl-C and
SIGTERM end it once the requests in hand are answered, at most some seconds
later; a second one ends it at once.

""" + _EXIT

_GET = _ADDRESSES + """  example.org:80        a host name

A status from 400 on is a failure: its status line goes to stderr; its body is
shown, but not written to a FILE.  Redirects are not followed.

exit codes: 0 success, 1 failure, 2 bad usage, 130 Ctrl-C
"""


def _parse_remote(text: str) -> Address:
    """Also host:port, with a name (RFC 1123 2.1) that is looked up later."""
    match = re.fullmatch(r'([\w.-]*[a-zA-Z][\w.-]*):(\d{1,5})', text, re.ASCII)
    if match and int(match[2]) < 65536:
        return (match[1], int(match[2]))
    address: Address = parse_address(text)
    return address


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
        check_timeout(seconds)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return seconds


def _count(text: str) -> int:
    if not re.fullmatch('[0-9]{1,9}', text) or int(text) == 0:
        raise argparse.ArgumentTypeError(f'not a positive number: {text!r}')
    return int(text)


def _header(text: str) -> tuple[str, str]:
    (name, colon, value) = text.partition(':')
    if not name or not colon:
        raise argparse.ArgumentTypeError(f"need 'name: value'; got {text!r}")
    return (name.lower(), value.strip(' \t'))


def _range(text: str) -> tuple[int, int]:
    match = re.fullmatch('([0-9]{1,15})-([0-9]{1,15})', text)
    if not match or int(match[1]) > int(match[2]):
        raise argparse.ArgumentTypeError(
            f'need first-last, such as 0-99; got {text!r}'
        )
    return (int(match[1]), int(match[2]) + 1)


def _add_serve(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        'serve', parents=[common], epilog=_SERVE,
        help='serve a directory or an app',
        description='Serves the files of a directory, or an app.',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('target', metavar='DIR|MODULE:APP',
        help='a directory; or an app: a module that can be imported from here '
             'and a name in it, such as pkg.mod:app or mod:site.app')
    add('--address',
        help=f'where to listen (default: {DEFAULT_ADDRESS}, or the socket '
             'that was passed)')
    add('--listing', action='store_true',
        help='list directories; without it they are not found')
    add('--wsgi', action='store_true', help='the app is a WSGI program')
    add('--timeout', type=_timeout, metavar='SECONDS',
        help='how long to wait for a client in each step (default: 15)')
    add('--max-connections', type=_count, metavar='N',
        help='how many connections at one time (default: 25)')
    add('--quiet', action='store_true',
        help='log warnings and errors only (stderr)')
    parser.set_defaults(command='serve', parser=parser, parse=parse_address)


def _add_get(commands: Any, common: argparse.ArgumentParser) -> None:
    parser = commands.add_parser(
        'get', parents=[common], epilog=_GET, help='get what is at a URI',
        description='Gets what is at a URI, to stdout or a file.',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('address', metavar='ADDRESS', help='of the server; see below')
    add('uri', metavar='URI', help='path and query, such as /a/b?c=d')
    either = parser.add_mutually_exclusive_group().add_argument
    either('-o', dest='output', metavar='FILE',
           help='write to FILE, which is there once all of it came: until '
                'then it is FILE.part, which is removed after a failure')
    either('--head', action='store_true',
           help='ask for status line and headers only, and show them')
    add('-i', dest='include', action='store_true',
        help='show status line and headers first, on stdout')
    add('-H', dest='headers', metavar="'NAME: VALUE'", type=_header,
        action='append', default=[], help='send this header; repeatable')
    add('--range', type=_range, metavar='A-B',
        help='ask for the bytes from A to B, B included, counted from 0')
    add('--timeout', type=_timeout, default=65.0, metavar='SECONDS',
        help='how long to wait in each step (default: 65)')
    parser.set_defaults(command='get', parser=parser, parse=_parse_remote)


def build_parser() -> argparse.ArgumentParser:
    """What it parses has a command: 'serve', 'get' or 'version'."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('-v', '--verbose', action='store_true',
                        help='tracebacks of errors, and all there is to log')
    parser = argparse.ArgumentParser(
        prog='python -m degu', description=_DESCRIPTION, epilog=_EXIT)
    commands = parser.add_subparsers(
        metavar='COMMAND', required=True,
        description='COMMAND --help tells the rest.')
    _add_serve(commands, common)
    _add_get(commands, common)
    version = commands.add_parser(
        'version', parents=[common], help='print versions',
        description='Prints the versions of Degu, Python and the extension.')
    version.set_defaults(command='version', parser=version)
    return parser


def get_address(args: argparse.Namespace) -> Address:
    """The address that was given.  SystemExit(2) if it is none."""
    try:
        address: Address = args.parse(args.address)
    except ValueError as error:
        args.parser.error(str(error))
    return address
