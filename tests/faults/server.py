# SPDX-License-Identifier: MIT OR 0BSD
"""The Python server of `make faults`, as plain as a user's; see server.c.
With files=FOLDER it is a FilesApp, with upstream=ADDRESS a ProxyApp."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time

from degu.applib import FilesApp, ProxyApp
from degu.client import Client
from degu.server import Server, take_listeners

ZEROS = bytes(65536)
FILES = 'for f in /proc/$$/fd/*; do readlink $f; done'


def zeros(count):
    while count:
        piece = ZEROS[:count]
        count -= len(piece)
        yield piece


def chunks(count):
    for _ in range(count):
        yield (None, b'x')
    yield (None, b'')


def fork(seconds):
    if os.fork() == 0:
        time.sleep(seconds)
        os._exit(0)


def app(session, request, api):
    (what, number) = ([*request.path, '', ''])[:2]
    if what == 'hello':
        body = b'hello, world'
    elif what == 'count':
        body = b'%d' % (request.body and sum(map(len, pieces(request.body))))
    elif what == 'read':
        body = b'%d' % len(request.body.read())
    elif what == 'memory':
        body = b'x' * int(number)
    elif what == 'echo':
        body = request.body
    elif what == 'bytes':
        body = api.BodyIter(zeros(int(number)), int(number))
    elif what == 'chunks':
        body = api.ChunkedBodyIter(chunks(int(number)))
    elif what == 'run':
        body = subprocess.run(FILES, shell=True, close_fds=False,
                              stdout=subprocess.PIPE).stdout
    elif what == 'fork':
        fork(3)
        body = b'hello, world'
    elif what == 'fail':
        raise ValueError('as asked')
    elif what == 'sleep':
        time.sleep(int(number) / 1000)
        body = b'hello, world'
    else:
        return (404, 'Not Found', {}, None)
    return (200, 'OK', {}, body)


def pieces(body):
    return (chunk[1] for chunk in body) if body.chunked else body


def tell(session, exchange):
    (method, uri, status, bytes_in, bytes_out, _, error) = exchange
    print(method or '-', uri or '-', status, bytes_in, bytes_out, error or '-',
          text_of(session.address), flush=True)


def expect_signals():
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def address_of(text):
    """Python's form of one of C's: @name, a path, or HOST:PORT."""
    if text.startswith('fd:'):
        return socket.socket(fileno=int(text[3:]))
    if text.startswith('@'):
        return b'\0' + text[1:].encode()
    if '/' in text:
        return text
    (host, _, port) = text.rpartition(':')
    if host.startswith('['):
        return (host[1:-1], int(port), 0, 0)
    return (host, int(port))


def text_of(address):
    if isinstance(address, bytes):
        return '@' + address[1:].decode()
    if isinstance(address, str):
        return address
    host = address[0]
    return '{}:{}'.format('[' + host + ']' if ':' in host else host, address[1])


def choose(words):
    """The app, and the options that are left."""
    given = dict(word.split('=', 1) for word in words)
    if 'files' in given:
        return (FilesApp(given.pop('files')), given)
    if 'upstream' in given:
        where = address_of(given.pop('upstream'))
        wait = int(given.get('timeout', 65000)) / 1000
        return (ProxyApp(Client(where, timeout=wait)), given)
    return (app, given)


def main(address, *words):
    (chosen, options) = choose(words)
    for (name, number) in options.items():
        options[name] = int(number)
        if name in ('timeout', 'stop_timeout'):
            options[name] /= 1000
    if options.pop('signals', 0):
        expect_signals()
    if options.pop('logs', 0):
        logging.basicConfig(format='%(message)s', level=logging.INFO)
    if options.pop('facts', 0):
        options['on_exchange'] = tell
    (where,) = take_listeners() or [address_of(address)]
    with Server(where, chosen, **options) as server:
        signal.signal(signal.SIGTERM, lambda *_: server.shutdown())
        print(text_of(server.address), flush=True)
        server.serve_forever()


if __name__ == '__main__':
    main(*sys.argv[1:])
