# SPDX-License-Identifier: MIT OR 0BSD
"""The Python client of `make demo`.

    client.py ADDRESS UPLOAD DOWNLOAD MS [PROFILE AUTHORITY [CERTIFICATE KEY]]

ADDRESS is a Python literal.  Does every step of the demo, prints a line for
each, and how many round trips a second it made, as client.c does.  PROFILE is
TLSv1.2 or TLSv1.3; the server's certificate must be for localhost.
"""

import ast
import os
import sys
import time

from degu.base import api
from degu.client import Client, SSLClient

CHUNKS = [
    (('part', '1'), b'chunks '),
    (('note', 'two words'), b'keep their '),
    (None, b'boundaries'),
    (('sum', '28'), b''),
]


def expect(got, want):
    if got != want:
        raise AssertionError('expected {!r}, got {!r}'.format(want, got))


def get(conn):
    response = conn.get('/hello', {})
    expect(response.status, 200)
    expect(response.body.read(), b'hello, world')


def head(conn):
    expect(conn.head('/hello', {}),
           (200, 'OK', {'content-length': 12}, None))


def missing(conn):
    expect(conn.get('/missing', {}), (404, 'Not Found', {}, None))


def upload(conn, path):
    with open(path, 'rb') as source:
        body = api.Body(source, os.path.getsize(path))
        expect(conn.put('/file', {}, body), (200, 'OK', {}, None))


def download(conn, path):
    response = conn.get('/file', {})
    expect(response.status, 200)
    with open(path, 'wb') as target:
        for piece in response.body:
            target.write(piece)
        expect(target.tell(), response.headers['content-length'])


def chunked(conn):
    response = conn.post('/chunks', {}, api.ChunkedBodyIter(CHUNKS))
    expect(response.status, 200)
    expect(list(response.body), CHUNKS)


def refused(conn):
    """A bad request does not leave, and the connection stays as it was."""
    try:
        conn.get('/two words', {})
    except ValueError:
        get(conn)
    else:
        raise AssertionError('a bad target was sent')


def rate(conn, seconds):
    count = 0
    (start, now) = (time.monotonic(), time.monotonic())
    while now - start < seconds:
        for i in range(64):
            conn.get('/hello', {}).body.read()
        count += 64
        now = time.monotonic()
    print('rate', round(count / (now - start)))


def make_client(address, *tls):
    if not tls:
        return Client(address, timeout=20)
    sslconfig = dict(zip(('protocol', 'ca_file', 'cert_file', 'key_file'), tls))
    return SSLClient(sslconfig, address, timeout=20, ssl_host='localhost')


def main(address, source, target, milliseconds, *tls):
    try:
        conn = make_client(ast.literal_eval(address), *tls).connect()
    except OSError as error:
        print('connect FAILED:', error)
        return True
    failed = False
    steps = (
        ('GET', lambda: get(conn)),
        ('HEAD', lambda: head(conn)),
        ('404', lambda: missing(conn)),
        ('PUT', lambda: upload(conn, source)),
        ('download', lambda: download(conn, target)),
        ('chunked', lambda: chunked(conn)),
        ('bad', lambda: refused(conn)),
        ('pace', lambda: rate(conn, int(milliseconds) / 1000)),
    )
    for (name, step) in steps:
        try:
            step()
            print(name, 'ok')
        except Exception as error:
            failed = True
            print('{} FAILED: {}: {}'.format(name, type(error).__name__, error))
    conn.close()
    return failed


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
