# SPDX-License-Identifier: MIT OR 0BSD
"""The public classes, and how to make one of each."""

import functools
import importlib
import inspect
import io
import pkgutil
import socket

import degu
from degu.applib import (
    AllowedMethods,
    FilesApp,
    MethodFilter,
    ProxyApp,
    Router,
    WSGIApp,
)
from degu.base import (
    API,
    Body,
    BodyIter,
    CertificateRefusedError,
    ChunkedBody,
    ChunkedBodyIter,
    Connection,
    ContentRange,
    DeguError,
    EmptyPreambleError,
    ProtocolError,
    Range,
    Request,
    Response,
    Session,
    TruncatedError,
    api,
)
from degu.client import Client, SSLClient
from degu.misc import RequestLogger, TempPKI, TempServer, TempSSLServer
from degu.rgi import Validator
from degu.server import Exchange, Server, SSLServer


def app(session, request, api):
    return (200, 'OK', {}, b'hello')


def make_connection(folder):
    (ours, theirs) = socket.socketpair()
    theirs.close()
    return Connection(ours, None)


@functools.cache
def make_pki():
    return TempPKI()


def sslconfig():
    return make_pki().get_server_config()


# class: (how to make one, subclasses, pickles)
CLASSES = {
    API: (lambda folder: API(*api), True, True),
    AllowedMethods: (lambda folder: AllowedMethods('GET'), True, True),
    Body: (lambda folder: Body(io.BytesIO(b'a'), 1), False, False),
    BodyIter: (lambda folder: BodyIter([b'a'], 1), False, False),
    Exchange: (lambda folder: Exchange('GET', '/', 200, 18, 40, 0.1, None),
               True, True),
    CertificateRefusedError: (
        lambda folder: CertificateRefusedError('a'), True, True),
    ChunkedBody: (lambda folder: ChunkedBody(io.BytesIO()), False, False),
    ChunkedBodyIter: (lambda folder: ChunkedBodyIter([]), False, False),
    Client: (lambda folder: Client(b'x'), True, False),
    Connection: (make_connection, False, False),
    ContentRange: (lambda folder: ContentRange(1, 2, 3), False, True),
    DeguError: (lambda folder: DeguError('a', 'E_NAME', 400, 5), True, True),
    EmptyPreambleError: (lambda folder: EmptyPreambleError('a'), True, True),
    degu.EmbeddedServer: (
        lambda folder: degu.EmbeddedServer(b'', None, app), True, False),
    degu.EmbeddedSSLServer: (
        lambda folder: degu.EmbeddedSSLServer(sslconfig(), b'', None, app),
        True, False),
    FilesApp: (FilesApp, True, False),
    MethodFilter: (
        lambda folder: MethodFilter(app, AllowedMethods('GET')), True, True),
    ProtocolError: (lambda folder: ProtocolError('a'), True, True),
    ProxyApp: (lambda folder: ProxyApp(Client(b'x')), True, False),
    Range: (lambda folder: Range(1, 2), False, True),
    Request: (lambda folder: Request('GET', '/', {}, None, [], [], None),
              False, False),
    RequestLogger: (lambda folder: RequestLogger(app), True, True),
    Response: (lambda folder: Response(200, 'OK', {}, None), True, True),
    Router: (lambda folder: Router({'a': app}), True, True),
    SSLClient: (lambda folder: SSLClient({}, ('::1', 1)), True, False),
    SSLServer: (
        lambda folder: SSLServer(sslconfig(), b'', app), True, False),
    Server: (lambda folder: Server(b'', app), True, False),
    Session: (lambda folder: Session(b'x'), False, False),
    TempPKI: (lambda folder: TempPKI(), True, False),
    TempSSLServer: (
        lambda folder: TempSSLServer(make_pki(), b'', app), True, False),
    TempServer: (lambda folder: TempServer(b'', app), True, False),
    TruncatedError: (lambda folder: TruncatedError('a'), True, True),
    Validator: (lambda folder: Validator(app), True, True),
    WSGIApp: (lambda folder: WSGIApp(app), True, True),
}


def end(thing):
    if isinstance(thing, Connection):
        thing.close()
    if isinstance(thing, Server):
        thing.sock.close()


def public_classes():
    """What is there, whether or not it stands in the table."""
    found = set()
    for module in pkgutil.walk_packages(degu.__path__, 'degu.'):
        if '._' not in module.name:
            names = importlib.import_module(module.name)
            found |= {getattr(names, name) for name in
                      getattr(names, '__all__', ())
                      if inspect.isclass(getattr(names, name))}
    found |= {getattr(degu, name) for name in degu.__all__
              if inspect.isclass(getattr(degu, name))}
    return found
