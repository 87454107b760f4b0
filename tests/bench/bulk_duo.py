# SPDX-License-Identifier: MIT OR 0BSD
"""The Python pair for large bodies, and for TLS, in two processes.

    bulk_duo.py server FAMILY PROFILE AUTHORITY CERTIFICATE KEY
    bulk_duo.py client ADDRESS PID PROFILE AUTHORITY CERTIFICATE KEY

The server prints its address and serves until it ends.  The client reads lines
WORK AMOUNT CORE, which mean what they mean to bulk.c, goes to that core, and
answers each with what is done in a second and the seconds of CPU time that
both ends take for one.
"""

import ast
import os
import sys
import time

from duo import BODY, Account, run

from degu.base import api
from degu.client import Client, SSLClient
from degu.server import Server, SSLServer

PIECE = b'A' * 65536


def make_body(size):
    return api.BodyIter([PIECE] * (size // len(PIECE)), size)


def app(session, request, api):
    """POST / brings back what it sent, GET /SIZE so many bytes, PUT nothing."""
    if request.method == 'POST':
        return (200, 'OK', {}, request.body.read())
    if request.method == 'PUT':
        count = sum(len(piece) for piece in request.body)
        return (200 if count == request.body.content_length else 400, 'OK', {},
                None)
    return (200, 'OK', {}, make_body(int(request.path[0])))


def sslconfig(profile, authority, certificate, key):
    return {'protocol': profile, 'ca_file': authority,
            'cert_file': certificate, 'key_file': key}


def make_server(address, profile, *files):
    if profile == 'plain':
        return Server(address, app, max_requests_per_connection=10**9)
    return SSLServer(sslconfig(profile, *files), address, app,
                     max_requests_per_connection=10**9)


def make_client(address, profile, *files):
    if profile == 'plain':
        return Client(address, host=None)
    return SSLClient(sslconfig(profile, *files), address, host=None,
                     ssl_host='localhost')


def serve(family, *tls):
    server = make_server(('::1', 0, 0, 0) if family == 'inet6' else b'', *tls)
    print(repr(server.address), flush=True)
    server.serve_forever()


class Works:
    """Each does its work on a connection, and returns how often."""

    def __init__(self, client):
        self.client = client

    def down(self, conn, mib):
        size = int(mib) << 20
        count = 0
        for piece in conn.get('/{}'.format(size), {}).body:
            count += len(piece)
        if count != size:
            raise AssertionError('{} bytes came'.format(count))
        return mib / 1024

    def up(self, conn, mib):
        response = conn.put('/', {}, make_body(int(mib) << 20))
        if response.status != 200:
            raise AssertionError('status {}'.format(response.status))
        return mib / 1024

    def trips(self, conn, ms):
        return run(conn, ms / 1000)

    def shakes(self, conn, ms):
        end = time.monotonic() + ms / 1000
        count = 0
        while time.monotonic() < end:
            conn = self.client.connect()
            conn.post('/', {}, BODY).body.read()
            conn.close()
            count += 1
        return count


def measure(client, pid, work, amount):
    do = getattr(Works(client), work)
    conn = client.connect()
    conn.post('/', {}, BODY).body.read()
    account = Account(pid)
    found = account.of(do(conn, amount))
    conn.close()
    return found


def main(address, pid, *tls):
    client = make_client(address, *tls)
    for line in sys.stdin:
        (work, amount, core) = line.split()
        os.sched_setaffinity(0, {int(core)})
        print('{:.6f} {:.12f}'.format(
            *measure(client, pid, work, float(amount))), flush=True)


if __name__ == '__main__':
    if sys.argv[1] == 'server':
        serve(*sys.argv[2:])
    else:
        main(ast.literal_eval(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
