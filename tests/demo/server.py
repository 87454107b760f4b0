# SPDX-License-Identifier: MIT OR 0BSD
"""The Python server of `make demo`.

    server.py ADDRESS [PROFILE AUTHORITY CERTIFICATE KEY]

ADDRESS is a Python literal; the address in use is printed in the same form.
PROFILE is TLSv1.2 or TLSv1.3.  The app is the twin of server.c.
"""

import ast
import sys

from degu.server import Server, SSLServer

stored = []


def put_file(request):
    stored[:] = [] if request.body is None else [bytes(p) for p in request.body]
    return (200, 'OK', {}, None)


def get_file(request, api):
    if not stored:
        return (404, 'Not Found', {}, None)
    length = sum(len(piece) for piece in stored)
    if request.method == 'HEAD':
        return (200, 'OK', {'content-length': length}, None)
    return (200, 'OK', {}, api.BodyIter(stored, length))


def app(session, request, api):
    (method, path) = (request.method, request.path)
    if path == ['hello'] and method == 'GET':
        return (200, 'OK', {}, b'hello, world')
    if path == ['hello'] and method == 'HEAD':
        return (200, 'OK', {'content-length': 12}, None)
    if path == ['file'] and method in ('GET', 'HEAD'):
        return get_file(request, api)
    if path == ['file'] and method == 'PUT':
        return put_file(request)
    if path == ['chunks'] and method == 'POST':
        return (200, 'OK', {}, api.ChunkedBodyIter(list(request.body)))
    return (404, 'Not Found', {}, None)


def make_server(address, *tls, **options):
    if not tls:
        return Server(address, app, **options)
    (profile, authority, certificate, key) = tls
    sslconfig = {'protocol': profile, 'ca_file': authority,
                 'cert_file': certificate, 'key_file': key}
    return SSLServer(sslconfig, address, app, **options)


if __name__ == '__main__':
    server = make_server(ast.literal_eval(sys.argv[1]), *sys.argv[2:],
                         max_requests_per_connection=10**9)
    print(repr(server.address), flush=True)
    server.serve_forever()
