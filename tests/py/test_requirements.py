# SPDX-License-Identifier: MIT OR 0BSD
"""The requirements, line by line: R1 to R196, in the order of the documents.

Five documents, written years apart, show how Degu is used.  A test here has
the number of its line in its name and checks what the line says, nothing
else, through real sockets.  The documents are called by what they are:
newest README, README with bodies, tutorial, server page, first API page.
"""

import contextlib
import errno
import gc
import gzip
import importlib
import importlib.machinery
import importlib.util
import inspect
import io
import json
import multiprocessing.process
import os
import re
import select
import shutil
import signal
import socket
import ssl
import stat
import sys
import textwrap
import threading
import warnings
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import pytest

import degu
import degu.base
import degu.client
import degu.misc
import degu.server
from degu.applib.proxy import ProxyApp as OurProxyApp
from degu.base import ChunkedBodyIter, Response
from degu.client import Client, SSLClient, build_client_sslctx
from degu.misc import TempPKI, TempServer, TempSSLServer
from degu.server import Server, SSLServer, build_server_sslctx
from handshakes import shake
from nginx import TEXT, run_nginx
from peers import (
    WAIT,
    Running,
    answers,
    child,
    dial,
    everything,
    family_of,
    is_bare,
    listening,
    outcome,
    receive_head,
    run_program,
    talk,
    until,
)
from secure import SecureRunning

# Lines without a test in this file, and why.
LEFT_OUT = {
    1: 'character: what Degu is',
    3: 'documentation: what Degu is for',
    4: 'documentation: the licence; decided otherwise',
    5: 'documentation: the oldest Python; decided otherwise',
    6: 'documentation: a version of Python; decided otherwise',
    35: 'documentation: links',
    36: 'documentation: packages and help',
    38: 'performance: measured by the benchmarks',
    40: 'performance: measured by the benchmarks',
    41: 'performance: measured by the benchmarks',
    42: 'character: fit for talk between processes',
    51: 'documentation: a warning',
    52: 'documentation: a warning',
    53: 'documentation: the alternatives',
    54: 'documentation: what Degu is for',
    57: 'character: what the pattern of R56 is good for',
    91: 'character: what the proxy is good for',
    93: 'performance: measured by the benchmarks',
    130: 'documentation: advice',
    156: 'documentation: a convention',
    168: 'documentation: where the options stand',
    182: 'documentation: which of two ways is the safer one',
    192: 'documentation: a note that does not hold on Linux',
}

IPV4 = ('127.0.0.1', 0)
IPV6 = ('::1', 0, 0, 0)
GET = b'GET / HTTP/1.1\r\n\r\n'
EMPTY = b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
REFUSED = (TypeError, ValueError)
FOUR = ('Body', 'BodyIter', 'ChunkedBody', 'ChunkedBodyIter')


def test_every_line_is_tested_or_left_out():
    """Never neither, never both."""
    tested = set()
    for name in globals():
        if name.startswith('test_R'):
            tested.add(int(re.fullmatch(r'test_R(\d{3})_[a-z0-9_]+', name)[1]))
    assert tested & set(LEFT_OUT) == set()
    assert set(range(1, 197)) - tested - set(LEFT_OUT) == set()
    assert (tested | set(LEFT_OUT)) - set(range(1, 197)) == set()
    assert all(LEFT_OUT.values())


# ------------------------------------------------- apps, as the documents have
# them

# The newest README.
def app(session, request, api):
    if request.method != 'GET':
        return (405, 'Method Not Allowed', {}, None)
    if request.path != ['example']:
        return (404, 'Not Found', {}, None)
    return (200, 'OK', {}, b'hello, world')


# The README with bodies.
def msg_app(session, request, bodies):
    return (200, 'OK', {'x-msg': 'hello, world'}, None)


# The tutorial.
def example_app(request):
    return (200, 'OK', {'x-msg': 'Hello world'}, None)


class ProxyApp:
    """The tutorial's, but for what it imports by name."""

    def __init__(self, address):
        self.address = address
        self.threadlocal = threading.local()

    def get_client(self):
        if not hasattr(self.threadlocal, 'client'):
            self.threadlocal.client = Client(self.address)
        return self.threadlocal.client

    def __call__(self, request):
        client = self.get_client()
        response = client.request(
            request['method'],
            degu.base.build_uri(request['path'], request['query']),
            request['headers'],
            degu.base.make_output_from_input(request['body'])
        )
        return (
            response.status,
            response.reason,
            response.headers,
            degu.base.make_output_from_input(response.body)
        )


# The server page.
def hello_world_app(session, request, bodies):
    if request['method'] not in {'GET', 'HEAD'}:
        return (405, 'Method Not Allowed', {}, None)
    body = b'hello, world'
    headers = {'content-length': len(body), 'content-type': 'text/plain'}
    if request['method'] == 'GET':
        return (200, 'OK', headers, body)
    return (200, 'OK', headers, None)  # No response body for HEAD


# -------------------------------------------------------------------- helpers

class Seen:
    """An app that keeps what it is asked, and what it is called with."""

    def __init__(self, answer=(200, 'OK', {}, None)):
        self.answer = answer
        self.calls = []
        self.asked = []

    def __call__(self, session, request, bodies):
        self.calls.append((session, request, bodies))
        body = request.body and request.body.read()
        self.asked.append((request.method, request.uri, request.headers, body))
        return self.answer


@contextlib.contextmanager
def reached(app, address=b'', **options):
    """A connection to a server that runs app in a thread."""
    with Running(app, address, **options) as running:
        conn = Client(running.address).connect()
        try:
            yield conn
        finally:
            conn.close()


@contextlib.contextmanager
def bound(*args, **options):
    """A Server that does not serve."""
    server = Server(*args, **options)
    try:
        yield server
    finally:
        server.shutdown()
        server.serve_forever()
        assert server.sock.fileno() == -1


@contextlib.contextmanager
def temporary(*args, **options):
    """A TempServer, ended on the way out."""
    server = TempServer(*args, **options)
    try:
        yield server
    finally:
        server.terminate()


@contextlib.contextmanager
def started(*args, **options):
    """(process, address) of start_server(), ended on the way out."""
    (process, address) = degu.start_server(*args, **options)
    try:
        yield (process, address)
    finally:
        process.terminate()
        process.join(WAIT)
        process.close()


def kept(address, *args, **options):
    """A Client whose connection of its own, if any, is closed at the end."""
    return contextlib.closing(Client(address, *args, **options))


@pytest.fixture(scope='module')
def client_sslctx(pki):
    return build_client_sslctx(pki.get_client_config())


@contextlib.contextmanager
def secured(pki, app, address=b'', **options):
    """An SSLServer in a thread, as most are: from a dict."""
    with SecureRunning(pki.get_server_config(), app, address,
                       **options) as running:
        yield running


@contextlib.contextmanager
def safely(sslctx, address, **options):
    """A connection of an SSLClient."""
    with contextlib.closing(
            SSLClient(sslctx, address, **options).connect()) as conn:
        yield conn


def together(call, *items):
    """What call(item) returns for each item, all called at the same time."""
    with ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(call, items))


def head_of(address, data):
    """The lines of a response's head, from a connection that stays open."""
    with dial(address) as sock:
        sock.sendall(data)
        head = receive_head(sock).partition(b'\r\n\r\n')[0]
        return head.decode('ascii').split('\r\n')


TYPED = '''
import __main__, doctest, sys
test = doctest.DocTestParser().get_doctest(sys.argv[1], {}, 'typed', None, 0)
test.globs = __main__.__dict__
result = doctest.DocTestRunner(verbose=False).run(test, clear_globs=False)
wanted = int(sys.argv[2]) or result.attempted
sys.exit(result.failed or not wanted == result.attempted > 0)
'''


def typed(text, count=0):
    """Runs an example in a fresh interpreter, which then ends as one does at
    the end of a session: by itself, and with all that it has started.  count:
    of what is typed, if that is to be checked."""
    (status, output, errors) = outcome(
        TYPED, textwrap.dedent(text), str(count))
    assert (output, errors, status) == ('', '', 0)


@pytest.fixture(params=['IPv4', 'IPv6', 'file', 'abstract'])
def address(request, folder):
    """An address of each form."""
    return {'IPv4': IPV4, 'IPv6': IPV6, 'file': folder + '/socket',
            'abstract': b''}[request.param]


# In an interpreter of its own, as it may need another network.
LINK_LOCAL = '''
import ctypes, json, subprocess, sys

CLONE_NEWNET = 0x40000000
TENTATIVE = 0x48  # or found to be somebody else's

def leave(**found):
    print(json.dumps(found))
    sys.exit()

def find():
    with open('/proc/net/if_inet6') as file:
        for line in file:
            (digits, index, _, scope, flags, _) = line.split()
            if int(scope, 16) == 0x20 and not int(flags, 16) & TENTATIVE:
                host = ':'.join(digits[i:i + 4] for i in range(0, 32, 4))
                return (host, 0, 0, int(index, 16))

def give():
    """An address for the loopback device of a network that is only ours."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
        leave(skip='no link-local address, and no network of our own')
    for args in (['link', 'set', 'lo', 'up'],
                 ['address', 'add', 'fe80::1/64', 'dev', 'lo', 'nodad']):
        subprocess.run(['ip'] + args, check=True, capture_output=True)
    return find() or leave(skip='no link-local address')

try:
    address = find() or give()
except (OSError, subprocess.CalledProcessError) as error:
    leave(skip='no link-local address: ' + str(error))

from degu.client import Client
from peers import Running

seen = []

def app(session, request, bodies):
    seen.append(session.address)
    return (200, 'OK', {}, b'hello, world')

with Running(app, address) as running:
    conn = Client(running.address).connect()
    body = conn.get('/', {}).body.read()
    own = conn.sock.getsockname()
    conn.close()
leave(given=address, bound=running.address, own=own, seen=seen,
      body=body.decode('ascii'))
'''


@pytest.fixture(scope='module')
def link_local():
    """What came of a server that is bound to a link-local 4-tuple."""
    (status, output, errors) = outcome(LINK_LOCAL)
    assert (status, errors) == (0, '')
    found = json.loads(output)
    if 'skip' in found:
        pytest.skip(found['skip'])
    return found


# --------------------------------------------------- newest README: what it is

def test_R002_only_the_address_differs(address):
    """The app and the client's code are the same for all."""
    with temporary(address, app) as server:
        conn = Client(server.address).connect()
        assert conn.get('/example', {}).body.read() == b'hello, world'
        assert conn.get('/nope', {}) == (404, 'Not Found', {}, None)
        conn.close()


CHUNKS = [(None, b'one'), (None, b'two and'), (None, b'x' * 70000),
          (None, b'')]
EXTENDED = [(('k', 'v'), b'one'), (None, b'two'), (('key', 'value'), b'three'),
            (('last', 'one'), b'')]


def echo_chunks(session, request, bodies):
    """Takes the chunks apart and puts them together again."""
    chunks = list(request.body)
    return (200, 'OK', {}, bodies.ChunkedBodyIter(chunks))


def test_R007_chunks_are_read_and_written_at_both_ends():
    """Each of them, with its bounds."""
    with reached(echo_chunks) as conn:
        response = conn.post('/', {}, ChunkedBodyIter(CHUNKS))
        assert response.headers == {'transfer-encoding': 'chunked'}
        assert list(response.body) == CHUNKS
        response = conn.post('/', {}, ChunkedBodyIter(CHUNKS))
        assert [response.body.readchunk() for _ in CHUNKS] == CHUNKS
        response = conn.post('/', {}, ChunkedBodyIter(CHUNKS))
        assert response.body.read() == b''.join(data for (_, data) in CHUNKS)


def test_R008_each_chunk_has_its_extension():
    with reached(echo_chunks) as conn:
        response = conn.post('/', {}, ChunkedBodyIter(EXTENDED))
        assert list(response.body) == EXTENDED


def test_R009_link_local_addresses_are_reached(link_local):
    assert link_local['given'][0].startswith('fe80:')
    assert link_local['given'][3] > 0
    assert link_local['body'] == 'hello, world'


def test_R010_all_families_by_the_address_alone(address):
    with Running(app, address) as running:
        assert running.server.sock.family == family_of(address)
        conn = Client(running.address).connect()
        assert conn.sock.family == family_of(address)
        assert conn.get('/example', {}).body.read() == b'hello, world'
        conn.close()


def test_R011_one_address_argument_in_the_same_forms(address):
    """Also by the same name, and nothing else is needed."""
    with Running(app, address) as running:
        conn = Client(address=running.address).connect()
        assert conn.get('/example', {}).status == 200
        conn.close()
    with bound(address=address, app=app) as server:
        assert type(server.address) is type(address)


# ------------------------------------------------------ newest README: the app

def test_R012_opinionated_tls(pki):
    """A dict of paths is all that is asked for; what comes of it is TLSv1.2
    with one cipher, and what would weaken it is refused."""
    with secured(pki, app, IPV4) as running:
        with safely(pki.get_client_config(), running.address) as conn:
            assert conn.get('/example').body.read() == b'hello, world'
            assert conn.sock.version() == 'TLSv1.2'
            assert conn.sock.cipher()[0] == 'ECDHE-RSA-AES256-GCM-SHA384'
            assert conn.sock.compression() is None
    weak = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for wrong in (weak, dict(pki.get_client_config(), protocol='TLSv1.1')):
        with pytest.raises(ValueError):
            SSLClient(wrong, IPV4)


def test_R013_client_certificates(pki, client_sslctx):
    """They let a connection in, and say whose it is."""
    app = Seen()
    with secured(pki, app, IPV4) as running:
        with safely(client_sslctx, running.address) as conn:
            conn.get('/')
        ((session, _, _),) = app.calls
        assert session.peer.subject == 'CN=' + pki.client_id
        with pytest.raises((OSError, ValueError)):
            with safely(pki.get_anonymous_client_config(),
                        running.address) as conn:
                conn.get('/')
    assert len(app.calls) == 1


def test_R014_app_of_session_request_api():
    """The whole of the README's example, typed."""
    typed('''
        >>> def app(session, request, api):
        ...     if request.method != 'GET':
        ...         return (405, 'Method Not Allowed', {}, None)
        ...     if request.path != ['example']:
        ...         return (404, 'Not Found', {}, None)
        ...     return (200, 'OK', {}, b'hello, world')
        ...

        >>> from degu.misc import TempServer
        >>> server = TempServer(('127.0.0.1', 0), app)

        >>> from degu.client import Client
        >>> client = Client(server.address)

        >>> conn = client.connect()
        >>> response = conn.get('/example', {})

        >>> response
        Response(status=200, reason='OK', headers={'content-length': 12}, \
body=Body(<reader>, 12))

        >>> response.body.read()
        b'hello, world'

        >>> conn.get('/nope', {})
        Response(status=404, reason='Not Found', headers={}, body=None)

        The app's other branch (R19), and what a Response is (R28):

        >>> other = conn.put('/example', {}, None)
        >>> other
        Response(status=405, reason='Method Not Allowed', headers={}, body=None)
        >>> other == (405, 'Method Not Allowed', {}, None)
        True
        >>> (status, reason, headers, body) = response
        >>> (status, reason, headers) == response[:3]
        True
        >>> response._fields
        ('status', 'reason', 'headers', 'body')
        >>> conn.close()

        The port is the kernel's choice and an unprivileged one (R22, R23):

        >>> server.address[0], server.address[1] > 1023
        ('127.0.0.1', True)
        >>> server.terminate()
    ''', 19)


def test_R014_app_that_takes_more_or_less_gets_three():
    """If it can take three arguments, it does; one is for R58."""
    def few(session, request=None, api=None):
        return (200, 'OK', {}, None if api is None else b'three')

    def many(*args):
        return (200, 'OK', {}, b'three' if len(args) == 3 else None)

    for app in (few, many):
        with reached(app) as conn:
            assert conn.get('/', {}).body.read() == b'three'
    for wrong in (lambda: None, lambda session, request: None,
                  lambda session, request, api, more: None):
        with pytest.raises(TypeError):
            Server(b'', wrong)


def test_R015_request_method():
    found = []

    def app(session, request, api):
        found.append(request.method)
        return (200, 'OK', {}, None)

    with reached(app) as conn:
        conn.get('/', {})
        conn.put('/', {}, None)
    assert found == ['GET', 'PUT']
    assert [type(item) for item in found] == [str, str]


def test_R016_request_path():
    found = []

    def app(session, request, api):
        found.append(request.path)
        return (200, 'OK', {}, None)

    with reached(app) as conn:
        for uri in ('/example', '/', '/a/b?c=d', '/a/'):
            conn.get(uri, {})
    assert found == [['example'], [], ['a', 'b'], ['a', '']]
    assert all(type(item) is list for item in found)


def test_R017_answer_is_a_plain_tuple():
    with reached(app) as conn:
        response = conn.get('/example', {})
        assert response[:3] == (200, 'OK', {'content-length': 12})
        assert response.body.read() == b'hello, world'


@pytest.mark.parametrize('body', [None, b'x', b'hello, world', bytes(70000)],
                         ids=['None', 'short', 'hello', 'long'])
def test_R018_body_is_none_or_bytes(body):
    with reached(Seen((200, 'OK', {}, body))) as conn:
        for _ in range(2):
            response = conn.get('/', {})
            assert (response.body and response.body.read()) == body


def test_R019_method_not_allowed():
    with temporary(IPV4, app) as server:
        conn = Client(server.address).connect()
        for response in (conn.put('/example', {}, None),
                         conn.delete('/example', {}),
                         conn.post('/nope', {}, None)):
            assert repr(response) == (
                "Response(status=405, reason='Method Not Allowed', "
                "headers={}, body=None)")
        conn.close()


# ------------------------------------------ newest README: throw-away servers

def test_R020_temp_server_is_in_misc():
    typed('''
        >>> from degu.misc import TempServer
        >>> TempServer.__name__
        'TempServer'
    ''')


def test_R021_temp_server_is_ready(address):
    """No wait and no second try is needed."""
    with temporary(address, app) as server:
        assert answers(talk(
            server.address, b'GET /example HTTP/1.1\r\n'
            b'connection: close\r\n\r\n'))[0].body == b'hello, world'


def test_R022_random_port():
    with temporary(IPV4, app) as one, temporary(IPV4, app) as two:
        assert one.address[0] == two.address[0] == '127.0.0.1'
        assert 0 < one.address[1] != two.address[1] > 0


def test_R023_port_is_unprivileged():
    with temporary(IPV4, app) as server:
        assert server.address[1] > 1023


def test_R024_server_address_is_for_the_client():
    with temporary(IPV4, app) as server:
        client = Client(server.address)
        conn = client.connect()
        assert conn.sock.getpeername() == server.address == client.address
        assert conn.get('/example', {}).status == 200
        conn.close()


# --------------------------- newest README: client, connection and response

def test_R025_making_a_client_opens_no_connection():
    """On the loopback device a connection is there at once, or not at all."""
    with socket.create_server(IPV4) as listener:
        client = Client(listener.getsockname())
        assert select.select([listener], [], [], 0)[0] == []
        conn = client.connect()
        assert select.select([listener], [], [], WAIT)[0] == [listener]
        listener.accept()[0].close()
        conn.close()


def test_R026_connect_returns_an_open_connection():
    """A new one each time."""
    with Running(app) as running:
        client = Client(running.address)
        conns = [client.connect(), client.connect()]
        assert conns[0] is not conns[1]
        assert conns[0].sock is not conns[1].sock
        for conn in conns:
            assert not conn.closed
            assert conn.get('/example', {}).status == 200
            assert not conn.closed
            conn.close()
            assert conn.closed


def test_R027_conn_get():
    app = Seen()
    with reached(app) as conn:
        conn.get('/a?b', {'c': 'd'})
    assert app.asked == [('GET', '/a?b', {'c': 'd'}, None)]


def test_R028_response_is_a_namedtuple():
    with reached(app) as conn:
        response = conn.get('/example', {})
        assert type(response) is Response and isinstance(response, tuple)
        assert response._fields == ('status', 'reason', 'headers', 'body')
        (status, reason, headers, body) = response
        assert status is response.status and status == 200
        assert reason is response.reason and reason == 'OK'
        assert headers is response.headers and body is response.body
        assert body.read() == b'hello, world'


def test_R029_repr_of_a_response_with_a_body():
    with reached(app, IPV4) as conn:
        response = conn.get('/example', {})
        assert repr(response) == (
            "Response(status=200, reason='OK', "
            "headers={'content-length': 12}, body=Body(<reader>, 12))")


def test_R030_bytes_get_a_length_and_no_other_header():
    """For every client: the header that is there is what was sent."""
    with Running(app) as running:
        assert head_of(running.address, b'GET /example HTTP/1.1\r\n\r\n') == [
            'HTTP/1.1 200 OK', 'content-length: 12']
        conn = Client(running.address).connect()
        assert conn.get('/example', {}).headers == {'content-length': 12}
        conn.close()


def test_R031_length_is_an_int_and_names_are_in_lower_case():
    """At both ends, whatever the other one's spelling."""
    def peer(sock):
        receive_head(sock)
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n'
                     b'X-MSG: Hello\r\n\r\nhello')

    with listening(peer) as address:
        conn = Client(address).connect()
        headers = conn.get('/', {}).headers
        assert headers == {'content-length': 5, 'x-msg': 'Hello'}
        assert type(headers['content-length']) is int
        conn.close()
    app = Seen()
    with Running(app) as running:
        talk(running.address,
             b'PUT / HTTP/1.1\r\nCONTENT-LENGTH: 5\r\nX-Msg: Hello\r\n'
             b'Connection: close\r\n\r\nhello')
    (_, _, headers, _) = app.asked[0]
    assert headers == {'content-length': 5, 'x-msg': 'Hello'}
    assert type(headers['content-length']) is int


@pytest.mark.parametrize('length', [1, 12, 100000])
def test_R032_read_returns_the_whole_body(length):
    body = bytes(range(256)) * (length // 256 + 1)
    with reached(Seen((200, 'OK', {}, body))) as conn:
        found = conn.get('/', {}).body.read()
        assert type(found) is bytes and found == body


def test_R033_second_request_goes_through_the_same_connection():
    app = Seen((200, 'OK', {}, b'hello, world'))
    with reached(app, IPV4) as conn:
        sock = conn.sock
        for _ in range(2):
            assert conn.get('/', {}).body.read() == b'hello, world'
        assert conn.sock is sock and not conn.closed
        own = sock.getsockname()
    assert [session.address for (session, _, _) in app.calls] == [own, own]


def test_R034_answer_without_a_body_arrives_bare(address):
    """What frames it on the way is there for other clients only."""
    answer = (404, 'Not Found', {}, None)
    with Running(Seen(answer), address) as running:
        conn = Client(running.address).connect()
        for _ in range(2):
            response = conn.get('/nope', {})
            assert response == answer
            assert repr(response) == (
                "Response(status=404, reason='Not Found', headers={}, "
                "body=None)")
        conn.close()
        assert head_of(running.address, GET) == [
            'HTTP/1.1 404 Not Found', 'content-length: 0']


# ------------------------------------------------- newest README: performance

def test_R037_one_backend_in_c():
    """What an app reads and what a client reads is of one class, in C."""
    from degu import _degu

    assert isinstance(_degu.__spec__.loader,
                      importlib.machinery.ExtensionFileLoader)
    app = Seen((200, 'OK', {}, b'hello, world'))
    with reached(app) as conn:
        response = conn.put('/', {}, b'hello')
        (_, request, _) = app.calls[0]
        assert type(response.body) is type(request.body) is degu.base.Body
        assert not inspect.isfunction(type(response.body).read)
        assert response.body.read() == b'hello, world'


@pytest.mark.parametrize('address', [b'', IPV4, IPV6],
                         ids=['AF_UNIX', 'AF_INET', 'AF_INET6'])
def test_R039_many_requests_one_after_another(address):
    count = 2000
    body = b'x' * 110
    calls = []

    def app(session, request, api):
        calls.append(session.address)
        return (200, 'OK', {}, request.body.read())

    with reached(app, address, max_requests_per_connection=count + 1) as conn:
        own = conn.sock.getsockname()
        for _ in range(count):
            assert conn.post('/', {}, body).body.read() == body
        assert not conn.closed
    assert calls == [own] * count


# -------------------------------------------------------- README with bodies

def test_R043_app_of_session_request_bodies():
    """The whole of the README's example, typed."""
    typed('''
        >>> def app(session, request, bodies):
        ...     return (200, 'OK', {'x-msg': 'hello, world'}, None)
        ...

        >>> from degu.misc import TempServer
        >>> server = TempServer(('127.0.0.1', 0), app)

        >>> from degu.client import Client
        >>> client = Client(server.address)

        >>> conn = client.connect()
        >>> conn.request('PUT', '/hello', {}, None)
        Response(status=200, reason='OK', headers={'x-msg': 'hello, world'}, \
body=None)

        >>> conn.put('/hello', {}, None)
        Response(status=200, reason='OK', headers={'x-msg': 'hello, world'}, \
body=None)
    ''')


def test_R044_header_of_the_app_arrives_alone():
    with reached(msg_app, IPV4) as conn:
        assert conn.get('/', {}).headers == {'x-msg': 'hello, world'}


def test_R045_conn_request_by_position():
    app = Seen()
    with reached(app) as conn:
        headers = {'x-a': 'b'}
        conn.request('POST', '/a?b', headers, b'hello')
        # The caller's dict is the caller's.
        assert headers == {'x-a': 'b'}
    assert app.asked == [
        ('POST', '/a?b', {'x-a': 'b', 'content-length': 5}, b'hello')]


def test_R046_put_without_a_body():
    app = Seen()
    with reached(app) as conn:
        assert conn.request('PUT', '/hello', {}, None).status == 200
        assert not conn.closed
    assert app.asked == [('PUT', '/hello', {}, None)]


HELLO = ("Response(status=200, reason='OK', "
         "headers={'x-msg': 'hello, world'}, body=None)")


def test_R047_answer_to_put():
    with temporary(IPV4, msg_app) as server:
        conn = Client(server.address).connect()
        assert repr(conn.request('PUT', '/hello', {}, None)) == HELLO
        conn.close()


def test_R048_conn_put():
    app = Seen((200, 'OK', {'x-msg': 'hello, world'}, None))
    with reached(app) as conn:
        assert repr(conn.put('/hello', {}, None)) == HELLO
        assert conn.put('/hello', {}, None) == \
            conn.request('PUT', '/hello', {}, None)
    assert app.asked == [('PUT', '/hello', {}, None)] * 3


def test_R049_two_requests_when_there_is_no_body():
    app = Seen((200, 'OK', {'x-msg': 'hello, world'}, None))
    with reached(app, IPV4) as conn:
        own = conn.sock.getsockname()
        conn.request('PUT', '/hello', {}, None)
        conn.put('/hello', {}, None)
        assert not conn.closed
    assert [session.address for (session, _, _) in app.calls] == [own, own]


def test_R050_client_put():
    """And the other shortcuts, all through one connection."""
    app = Seen((200, 'OK', {'x-msg': 'hello, world'}, None))
    with Running(app) as running, kept(running.address) as client:
        assert repr(client.put('/hello', {}, None)) == HELLO
        client.post('/', {}, b'hello')
        client.get('/', {})
        client.head('/', {})
        client.delete('/', {})
        assert len({id(session) for (session, _, _) in app.calls}) == 1
    assert [method for (method, _, _, _) in app.asked] == [
        'PUT', 'POST', 'GET', 'HEAD', 'DELETE']


# ------------------------------------------------- tutorial: where Degu fits

def test_R055_a_server_and_a_client_made_to_match():
    """Whatever the one sends, the other hands out, in both directions."""
    answer = (299, 'Some Reason', {'x-a': 'b', 'set-cookie': ['c=d', 'e=f']},
              None)
    app = Seen(answer)
    with reached(app) as conn:
        assert isinstance(conn, degu.client.Connection)
        assert conn.request('PATCH', '/a;b?c=%20', {'x-d': 'e'}, None) == answer
    assert app.asked == [('PATCH', '/a;b?c=%20', {'x-d': 'e'}, None)]


def build_store(name):
    """A REST API with a memory."""
    things = {}

    def app(session, request, api):
        if request.method == 'PUT':
            things[request.uri] = request.body.read()
            return (201, 'Created', {'x-server': name}, None)
        if request.uri not in things:
            return (404, 'Not Found', {'x-server': name}, None)
        return (200, 'OK', {'x-server': name}, things[request.uri])

    return app


def test_R056_embedded_server_on_a_random_port():
    """The pattern without TLS: an application starts a server, learns its
    port, and peers make their requests."""
    server = degu.EmbeddedServer(IPV4, build_store, 'me')
    try:
        assert server.process.is_alive()
        assert server.address[0] == '127.0.0.1' and server.address[1] > 1023
        peers = [Client(server.address).connect() for _ in range(3)]
        for (number, conn) in enumerate(peers):
            data = b'from %d' % number
            assert conn.put('/%d' % number, {}, data) == (
                201, 'Created', {'x-server': 'me'}, None)
        for (number, conn) in enumerate(peers):
            response = conn.get('/%d' % ((number + 1) % 3), {})
            assert response.body.read() == b'from %d' % ((number + 1) % 3)
            conn.close()
    finally:
        server.terminate()
    assert not server.process.is_alive()


def test_R056_embedded_ssl_server_on_a_random_port(pki, client_sslctx):
    """The pattern itself: the application embeds an SSLServer."""
    server = SSLServer(pki.get_server_config(), ('::', 0, 0, 0),
                       build_store('me'))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert server.address[1] > 1023
        address = ('::1', *server.address[1:])
        with safely(client_sslctx, address) as one:
            with safely(client_sslctx, address) as two:
                assert one.put('/a', {}, b'hello') == (
                    201, 'Created', {'x-server': 'me'}, None)
                assert two.get('/a').body.read() == b'hello'
    finally:
        server.shutdown()
        thread.join(WAIT)
    assert not thread.is_alive()


# --------------------------------------------- tutorial: a request-only app

def test_R058_app_of_a_request():
    """What the tutorial types before TLS comes in."""
    typed('''
        >>> def example_app(request):
        ...     return (200, 'OK', {'x-msg': 'Hello world'}, None)
        ...

        >>> from degu.misc import TempServer
        >>> server = TempServer(('127.0.0.1', 0), None, example_app)

        >>> from degu.client import Client
        >>> client = Client(server.address)
        >>> client.request('GET', '/')
        Response(status=200, reason='OK', headers={'x-msg': 'Hello world'}, \
body=None)
    ''')


def test_R059_none_before_the_app(address):
    with temporary(address, None, example_app) as server:
        conn = Client(server.address).connect()
        assert conn.get('/', {}) == example_app(None)
        conn.close()


def pid_app(request):
    return (200, 'OK', {'x-pid': str(os.getpid())}, None)


def test_R060_temp_server_has_a_process():
    with temporary(IPV4, None, pid_app) as server, \
            kept(server.address) as client:
        assert isinstance(server.process, multiprocessing.process.BaseProcess)
        assert server.process.is_alive()
        pid = int(client.request('GET', '/').headers['x-pid'])
        assert pid == server.process.pid != os.getpid()


def test_R061_process_ends_with_the_temp_server():
    server = TempServer(IPV4, None, example_app)
    (process, address) = (server.process, server.address)
    assert process.is_alive()
    del server
    gc.collect()
    process.join(WAIT)
    assert not process.is_alive()
    with pytest.raises(ConnectionRefusedError):
        dial(address)


def test_R062_only_its_own_loopback_address_is_served():
    """Another address of the same machine is another address already."""
    with temporary(IPV4, None, example_app) as server:
        (host, port) = server.address
        assert host == '127.0.0.1'
        with pytest.raises(ConnectionRefusedError):
            dial(('127.0.0.2', port))
        dial(('127.0.0.1', port)).close()


def test_R063_client_request_without_connect():
    app = Seen()
    with Running(app) as running, kept(running.address) as client:
        assert client.request('GET', '/').status == 200
        assert client.request('GET', '/').status == 200
        assert len({id(session) for (session, _, _) in app.calls}) == 1
    assert app.asked == [('GET', '/', {}, None)] * 2


def test_R063_client_request_of_several_threads():
    """Each has a connection, and its own answer."""
    barrier = threading.Barrier(2)
    sessions = []

    def app(session, request, bodies):
        sessions.append(session)
        barrier.wait(WAIT)
        return (200, 'OK', {'x-uri': request.uri}, None)

    with Running(app) as running:
        client = Client(running.address)

        def ask(uri):
            try:
                return [client.request('GET', uri).headers['x-uri']
                        for _ in range(3)]
            finally:
                client.close()

        assert together(ask, '/a', '/b') == [['/a'] * 3, ['/b'] * 3]
        assert len({id(session) for session in sessions}) == 2


def test_R064_answer_to_client_request():
    with temporary(IPV4, None, example_app) as server, \
            kept(server.address) as client:
        assert repr(client.request('GET', '/')) == (
            "Response(status=200, reason='OK', "
            "headers={'x-msg': 'Hello world'}, body=None)")


def test_R065_response_equals_what_the_app_returned(address):
    with temporary(address, None, example_app) as server, \
            kept(server.address) as client:
        assert client.request('GET', '/') == example_app(None)


def test_R066_client_and_app_mirror_each_other():
    """What the one gives is what the other gets, body for body."""
    given = ('POST', '/a/b?c=d', {'x-e': 'f', 'content-length': 5}, b'hello')
    answer = (201, 'Created', {'x-g': 'h', 'content-length': 3}, b'bye')
    found = []

    def app(request):
        found.extend(request[key]
                     for key in ('method', 'uri', 'headers', 'body'))
        found[3] = (type(found[3]), found[3].read())
        return answer

    with reached(app) as conn:
        response = conn.request(*given)
        assert (*found[:3], found[3][1]) == given
        assert type(response.body) is found[3][0]
        assert (*response[:3], response.body.read()) == answer


# ------------------------------------------------ tutorial: a reverse proxy

def test_R067_helpers_are_in_base():
    typed('''
        >>> from degu.base import build_uri, make_output_from_input
        >>> build_uri(['a'], None), make_output_from_input(None)
        ('/a', None)
    ''')


def test_R068_instance_is_an_app():
    class RequestOnly:
        def __call__(self, request):
            return (200, 'OK', {'x-msg': 'Hello world'}, None)

    app = RequestOnly()
    with Running(app) as running, kept(running.address) as client:
        assert running.server.app is app
        assert client.request('GET', '/') == app(None)


def test_R069_request_only_app_reads_items():
    found = []

    def app(request):
        found.append((request['method'], request['path'], request['query'],
                      request['headers'],
                      request['body'] and request['body'].read()))
        return (200, 'OK', {}, None)

    with reached(app) as conn:
        conn.get('/a/b?c=d', {'e': 'f'})
        conn.put('/', {}, b'hello')
    assert found == [('GET', ['a', 'b'], 'c=d', {'e': 'f'}, None),
                     ('PUT', [], None, {'content-length': 5}, b'hello')]


@pytest.mark.parametrize('path, query, uri', [
    ([], None, '/'), ([], '', '/'), (['a'], None, '/a'),
    (['a', 'b'], '', '/a/b'), (['a', ''], None, '/a/'),
    ([], 'c=d', '/?c=d'), (['a', 'b'], 'c=d&e', '/a/b?c=d&e')])
def test_R070_build_uri(path, query, uri):
    assert degu.base.build_uri(path, query) == uri


def test_R071_make_output_from_input():
    make = degu.base.make_output_from_input

    def app(session, request, api):
        return (200, 'OK', {}, make(request.body))

    assert make(None) is None
    for wrong in ('hello', b'hello', 5, [], object()):
        with pytest.raises(TypeError):
            make(wrong)
    with reached(app) as one, reached(app) as two:
        # Each body comes in four times: twice at an app, twice at a client.
        response = one.put('/', {}, b'hello')
        response = two.put('/', {}, make(response.body))
        assert response.body.read() == b'hello'
        response = one.put('/', {}, ChunkedBodyIter(EXTENDED))
        response = two.put('/', {}, make(response.body))
        assert list(response.body) == EXTENDED


def test_R072_client_request_by_position():
    app = Seen()
    with Running(app) as running, kept(running.address) as client:
        client.request('POST', '/a?b', {'x-a': 'b'}, b'hello')
    assert app.asked == [
        ('POST', '/a?b', {'x-a': 'b', 'content-length': 5}, b'hello')]


@contextlib.contextmanager
def proxied(app, **options):
    """(server of app, server of the proxy before it); the first one has an
    IPv4 address, so the proxy's client has a host of its own."""
    with Running(app, IPV4, **options) as behind:
        with Running(ProxyApp(behind.address)) as before:
            yield (behind, before)


def test_R073_incoming_headers_are_handed_on():
    """But the host is the one of the proxy's client."""
    app = Seen()
    with proxied(app) as (behind, before):
        assert is_served(before.address, b'host: example.com\r\nx-a: b\r\n')
        host = '127.0.0.1:%d' % behind.address[1]
    assert app.asked == [('GET', '/', {'host': host, 'x-a': 'b'}, None)]


def is_served(address, fields=b''):
    data = b'GET / HTTP/1.1\r\nconnection: close\r\n' + fields + b'\r\n'
    return [answer.status for answer in answers(talk(address, data))] == [200]


def test_R074_response_has_attributes():
    with reached(hello_world_app) as conn:
        response = conn.request('GET', '/')
        assert response.status == 200
        assert response.reason == 'OK'
        assert response.headers == {'content-length': 12,
                                    'content-type': 'text/plain'}
        assert response.body.read() == b'hello, world'


@pytest.mark.parametrize('body', [None, b'hello', ChunkedBodyIter])
def test_R075_headers_of_a_response_are_given_back(body):
    """Those that frame the body included."""
    def source(session, request, api):
        if body is ChunkedBodyIter:
            return (200, 'OK', {'x-a': 'b'}, body(CHUNKS))
        return (200, 'OK', {'x-a': 'b'}, body)

    with proxied(source) as (behind, before):
        with kept(before.address) as client, kept(behind.address) as direct:
            one = client.request('GET', '/')
            two = direct.request('GET', '/')
            assert one[:3] == two[:3]
            assert one.headers['x-a'] == 'b'
            for response in (one, two):
                if response.body:
                    response.body.read()


def mirror(session, request, bodies):
    """An answer of the same kind as the request."""
    headers = {'x-method': request.method, 'x-uri': request.uri}
    body = request.body
    if request.method == 'HEAD':
        headers['content-length'] = 12
    elif isinstance(body, bodies.ChunkedBody):
        body = bodies.ChunkedBodyIter(list(body))
    elif body is not None:
        body = body.read()
    return (299, 'Some Reason', headers, body)


@pytest.mark.parametrize('method, uri, body', [
    ('GET', '/', None), ('GET', '/a/b/?c=d&e=%20', None),
    ('HEAD', '/a', None), ('DELETE', '/a?b', None), ('PUT', '/', None),
    ('PUT', '/a/b', b'hello'), ('POST', '/a?b', bytes(200000)),
    ('POST', '/a', EXTENDED)], ids=[
        'GET', 'query', 'HEAD', 'DELETE', 'nothing', 'PUT', 'long', 'chunks'])
def test_R076_proxy_changes_nothing(method, uri, body):
    """Neither in the request nor in the response."""
    def ask(client):
        given = ChunkedBodyIter(body) if body is EXTENDED else body
        response = client.request(method, uri, {'x-a': 'b'}, given)
        if body is EXTENDED:
            found = list(response.body)
        else:
            found = response.body and response.body.read()
        assert response[:2] == (299, 'Some Reason')
        assert response.headers['x-method'] == method
        assert response.headers['x-uri'] == uri
        assert found == body
        return response.headers

    with proxied(mirror) as (behind, before):
        with kept(before.address) as client, kept(behind.address) as direct:
            assert ask(client) == ask(direct)
            # The connection and the one behind it are used again.
            assert ask(client) == ask(direct)


def test_R076_proxy_outlives_the_connection_behind_it():
    """The one that it keeps ends after so many requests, and that is not for
    the client to notice."""
    with proxied(msg_app, max_requests_per_connection=3) as (_, before):
        conn = Client(before.address).connect()
        for _ in range(10):
            assert conn.get('/', {}) == (
                200, 'OK', {'x-msg': 'hello, world'}, None)
        conn.close()


def test_R077_app_is_called_from_several_threads():
    """Both requests are in hand at the same time, so no thread has both, and
    each has a client of its own."""
    barrier = threading.Barrier(2)
    clients = []

    def app(session, request, api):
        barrier.wait(WAIT)
        return (200, 'OK', {'x-uri': request.uri}, None)

    class Counting(ProxyApp):
        def get_client(self):
            client = super().get_client()
            clients.append((threading.get_ident(), client))
            return client

    with Running(app, IPV4) as behind:
        with Running(Counting(behind.address)) as before:
            def ask(uri):
                with kept(before.address) as client:
                    return client.request('GET', uri).headers['x-uri']

            assert together(ask, '/a', '/b') == ['/a', '/b']
            ((one, first), (two, second)) = clients
            assert one != two and first is not second
            # They are the threads' to keep.
            del first, second
            clients.clear()


# ----------------------------------------------- tutorial: build functions

class Built:
    """An app that no pickle can carry."""

    def __init__(self, *args):
        self.args = args
        self.pid = os.getpid()
        self.lock = threading.Lock()

    def __reduce__(self):
        raise AssertionError('pickled')

    def __call__(self, request):
        with self.lock:
            return (200, 'OK', {'x-args': repr(self.args),
                                'x-pid': str(self.pid)}, None)


def build(*args):
    return Built(*args)


def test_R078_build_func_in_place_of_the_app():
    """And its arguments behind it; options go to the server."""
    with temporary(IPV4, build, ('::1', 5), 'a') as server, \
            kept(server.address) as client:
        assert client.request('GET', '/').headers['x-args'] == \
            "(('::1', 5), 'a')"
    with temporary(IPV4, build, 1, max_requests_per_connection=1) as server:
        conn = Client(server.address).connect()
        assert conn.request('GET', '/').headers['x-args'] == '(1,)'
        assert conn.closed


def test_R078_build_func_of_a_temp_ssl_server(pki, client_sslctx):
    with TempSSLServer(pki, IPV4, build, ('::1', 5)) as server:
        with safely(client_sslctx, server.address) as conn:
            assert conn.get('/').headers['x-args'] == "(('::1', 5),)"


def test_R079_build_func_is_called_in_the_new_process():
    calls = []

    def build_and_note(*args):
        calls.append(args)
        return build(*args)

    with temporary(IPV4, build_and_note, 'a', 2) as server, \
            kept(server.address) as client:
        for _ in range(2):
            headers = client.request('GET', '/').headers
            assert headers == {'x-args': "('a', 2)",
                               'x-pid': str(server.process.pid)}
    assert calls == []
    # What it returns must be an app, and what it raises is heard of here.
    with pytest.raises(TypeError):
        TempServer(IPV4, lambda value: value, 5)
    with pytest.raises(ZeroDivisionError):
        TempServer(IPV4, lambda value: 1 // value, 0)


def test_R080_app_is_never_pickled():
    """It is built there, or has been there since the fork."""
    for args in ((build, 'a'), (None, Built('a'))):
        with temporary(IPV4, *args) as server, \
                kept(server.address) as client:
            assert client.request('GET', '/').headers['x-args'] == "('a',)"


MODULE = '''
file = open(__file__)

def app(request):
    return (200, 'OK', {'x-open': str(not file.closed)}, None)
'''


def test_R081_parent_has_nothing_of_what_the_app_needs(folder):
    path = os.path.join(folder, 'only_the_app_needs_it.py')
    with open(path, 'w') as file:
        file.write(MODULE)

    def build_from(path):
        spec = importlib.util.spec_from_file_location('only_of_it', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.app

    with temporary(IPV4, build_from, path) as server:
        conn = Client(server.address).connect()
        assert conn.request('GET', '/').headers == {'x-open': 'True'}
        conn.close()
        for number in os.listdir('/proc/self/fd'):
            with contextlib.suppress(FileNotFoundError):
                assert os.readlink('/proc/self/fd/' + number) != path
        assert not any(getattr(module, '__file__', None) == path
                       for module in list(sys.modules.values()))


# ------------------------------------------- tutorial: TLS and trade-offs

# The whole of the example, word by word.
TUTORIAL = '''
>>> def example_app(request):
...     return (200, 'OK', {'x-msg': 'Hello world'}, None)
...

>>> from degu.misc import TempServer
>>> server = TempServer(('127.0.0.1', 0), None, example_app)

>>> from degu.client import Client
>>> client = Client(server.address)
>>> client.request('GET', '/')
Response(status=200, reason='OK', headers={'x-msg': 'Hello world'}, body=None)

>>> from degu.base import build_uri, make_output_from_input
>>> import threading
>>> class ProxyApp:
...     def __init__(self, address):
...         self.address = address
...         self.threadlocal = threading.local()
...
...     def get_client(self):
...         if not hasattr(self.threadlocal, 'client'):
...             self.threadlocal.client = Client(self.address)
...         return self.threadlocal.client
...
...     def __call__(self, request):
...         client = self.get_client()
...         response = client.request(
...             request['method'],
...             build_uri(request['path'], request['query']),
...             request['headers'],
...             make_output_from_input(request['body'])
...         )
...         return (
...             response.status,
...             response.reason,
...             response.headers,
...             make_output_from_input(response.body)
...         )
...

>>> def build_proxy_app(address):
...     return ProxyApp(address)
...

>>> from degu.misc import TempPKI, TempSSLServer
>>> pki = TempPKI(client_pki=True)
>>> proxy_server = TempSSLServer(pki, ('::', 0, 0, 0), build_proxy_app, \
server.address)

>>> from degu.client import SSLClient, build_client_sslctx
>>> sslctx = build_client_sslctx(pki.get_client_config())
>>> proxy_client = SSLClient(sslctx, proxy_server.address)
>>> proxy_client.request('GET', '/')
Response(status=200, reason='OK', headers={'x-msg': 'Hello world'}, body=None)
'''


def test_R082_temp_pki_and_temp_ssl_server():
    typed('''
        >>> from degu.misc import TempPKI, TempSSLServer
        >>> TempPKI.__name__, TempSSLServer.__name__
        ('TempPKI', 'TempSSLServer')
    ''')


def issuer(path):
    """(subject, issuer) of a certificate, as the program openssl has them."""
    return run_program(['openssl', 'x509', '-noout', '-subject', '-issuer',
                        '-in', path], check=True).stdout.decode().split('\n')


def test_R083_throw_away_chains(monkeypatch):
    """One for the server and one for clients, and gone with it."""
    monkeypatch.delenv('LD_PRELOAD', raising=False)
    with TempPKI(client_pki=True) as pki:
        (server, client) = (pki.get_server_config(), pki.get_client_config())
        subjects = set()
        for (own, other) in ((server, client), (client, server)):
            (subject, by, _) = issuer(own['cert_file'])
            (top, itself, _) = issuer(other['ca_file'])
            assert by.split('=', 1)[1] == top.split('=', 1)[1]
            assert itself.split('=', 1)[1] == top.split('=', 1)[1]
            subjects |= {subject, top}
        assert len(subjects) == 4
    assert not os.path.exists(server['cert_file'])


def test_R084_temp_ssl_server_takes_the_pki(pki, client_sslctx):
    with TempSSLServer(pki, IPV4, example_app) as server:
        with safely(client_sslctx, server.address) as conn:
            assert conn.get('/') == example_app(None)


def test_R085_any_ipv6_address():
    with Running(example_app, ('::', 0, 0, 0)) as running:
        port = running.address[1]
        assert running.server.sock.family == socket.AF_INET6
        with kept(('::1', port, 0, 0)) as client:
            assert client.request('GET', '/') == example_app(None)


@pytest.mark.parametrize('who', ['nobody', 'of another authority', 'server'])
def test_R086_only_clients_of_the_authority(pki, client_sslctx, who,
                                            monkeypatch):
    monkeypatch.delenv('LD_PRELOAD', raising=False)
    config = pki.get_anonymous_client_config()
    with contextlib.ExitStack() as stack:
        if who == 'server':  # its certificate is of the other chain
            server = pki.get_server_config()
            config.update({key: server[key]
                           for key in ('cert_file', 'key_file')})
        elif who != 'nobody':
            other = stack.enter_context(TempPKI()).get_client_config()
            config.update({key: other[key]
                           for key in ('cert_file', 'key_file')})
        sslctx = build_client_sslctx(config)
    app = Seen()
    with secured(pki, app, ('::', 0, 0, 0)) as running:
        address = ('::1', *running.address[1:])
        with pytest.raises((OSError, ValueError)):
            with safely(sslctx, address) as conn:
                conn.get('/')
        assert app.calls == []
        with safely(client_sslctx, address) as conn:
            assert conn.get('/').status == 200


def test_R087_ssl_client():
    typed('''
        >>> from degu.client import SSLClient, build_client_sslctx
        >>> SSLClient.__name__, build_client_sslctx.__name__
        ('SSLClient', 'build_client_sslctx')
    ''')


def test_R088_client_config(pki):
    config = pki.get_client_config()
    assert type(config) is dict
    assert isinstance(build_client_sslctx(config), ssl.SSLContext)


@pytest.mark.parametrize('any_address', [('::', 0, 0, 0), ('0.0.0.0', 0)])
def test_R089_any_address_is_for_the_client(pki, client_sslctx, any_address):
    with TempSSLServer(pki, any_address, example_app) as server:
        assert server.address[0] == any_address[0]
        with safely(client_sslctx, server.address) as conn:
            assert conn.get('/') == example_app(None)


def test_R090_proxy_with_tls():
    """The tutorial's, typed word by word."""
    typed(TUTORIAL)


BEHIND_NGINX = '''
>>> class Server:
...     address = {!r}
...
>>> server = Server()
>>> from degu.client import Client
'''


def test_R090_proxy_with_tls_before_nginx():
    """The same text from the proxy on, with nginx in the app's place."""
    start = TUTORIAL.index('>>> from degu.base import build_uri')
    stop = TUTORIAL.rindex('>>> proxy_client.request')
    with run_nginx() as folder:
        typed(BEHIND_NGINX.format(folder + '/sock') + TUTORIAL[start:stop] +
              '''
>>> for _ in range(7):  # more than nginx lets through one connection
...     response = proxy_client.request('GET', '/a.txt')
...     assert response.status == 200
...     text = response.body.read()
...
>>> (len(text), response.headers['content-type'])
({}, 'text/plain')
'''.format(len(TEXT)))


def test_R090_our_proxy_app_with_tls_before_nginx(pki, client_sslctx):
    data = os.urandom(300000)
    chunks = [(None, data[:5]), (('a', 'b'), data[5:]), (None, b'')]
    with run_nginx() as folder:
        proxy = OurProxyApp(Client(folder + '/sock', host='a.example'))
        with secured(pki, proxy, IPV6) as running:
            with safely(client_sslctx, running.address) as conn:
                for _ in range(3):
                    response = conn.get('/a.txt')
                    assert response.body.read() == TEXT
                    response = conn.head('/a.txt')
                    assert response.headers['content-length'] == len(TEXT)
                    assert conn.put('/dav/a', {}, data).status in (201, 204)
                    assert conn.get('/dav/a').body.read() == data
                    assert conn.put('/dav/b', {}, ChunkedBodyIter(
                        chunks)).status in (201, 204)
                    assert conn.get('/dav/b').body.read() == data
                    assert conn.delete('/dav/b').status == 204
                    response = conn.get('/dav/b')
                    assert response.status == 404
                    response.body.read()
                    response = conn.get('/zipped/a.txt',
                                        {'accept-encoding': 'gzip'})
                    assert response.body.chunked
                    assert gzip.decompress(response.body.read()) == TEXT
                    response = conn.request('PATCH', '/echo', {'x-a': 'b'})
                    assert response.body.read() == b'PATCH /echo b'


@pytest.mark.parametrize('data', [
    b'PUT / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n'
    b'\r\n0\r\n\r\n',
    b'PUT / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello',
    b'PUT / HTTP/1.1\r\ncontent-length: +5\r\n\r\nhello',
    b'GET / HTTP/1.1\r\nx-a: b\r\n c\r\n\r\n',
    b'GET / HTTP/1.1\r\nx-a : b\r\n\r\n',
    b'GET / HTTP/1.1\nx-a: b\n\n',
    b'GET /a/../b HTTP/1.1\r\n\r\n'])
def test_R092_security_before_compatibility(data):
    """What two ends could read in two ways is refused."""
    app = Seen()
    with Running(app) as running:
        assert is_bare(talk(running.address, data), 400)
    assert app.calls == []


def test_R092_security_before_compatibility_in_what_is_sent():
    app = Seen()
    with reached(app) as conn:
        for (uri, headers) in [('/', {'x-a': 'b\r\nx-c: d'}),
                               ('/', {'x-a\r\nx-c': 'd'}),
                               ('/ HTTP/1.1\r\nx-c: d\r\n\r\n', {})]:
            with pytest.raises(ValueError):
                conn.request('GET', uri, headers, None)
    assert app.calls == []


def test_R094_restrictive_contexts(pki):
    """Nothing but one version and one cipher, with names of no host but in
    the place for them, and without what has been found to be weak."""
    for sslctx in (build_server_sslctx(pki.get_server_config()),
                   build_client_sslctx(pki.get_client_config())):
        names = [cipher['name'] for cipher in sslctx.get_ciphers()
                 if cipher['protocol'] != 'TLSv1.3']
        assert names == ['ECDHE-RSA-AES256-GCM-SHA384']
        assert sslctx.verify_mode == ssl.CERT_REQUIRED
        assert sslctx.security_level == 2
        assert sslctx.hostname_checks_common_name is False
        for option in ('NO_COMPRESSION', 'NO_RENEGOTIATION', 'NO_TICKET',
                       'CIPHER_SERVER_PREFERENCE', 'SINGLE_ECDH_USE'):
            flag = getattr(ssl, 'OP_' + option)
            assert sslctx.options & flag == flag
    for config in (pki.get_server_config(), pki.get_client_config()):
        build = (build_client_sslctx if 'check_hostname' in config
                 else build_server_sslctx)
        with pytest.raises(ValueError):
            build(dict(config, ciphers='ALL'))


def test_R095_full_ipv6_semantics(link_local):
    """All four items, at both ends; the scope of a peer is told to the app."""
    app = Seen()
    with reached(app, IPV6) as conn:
        own = conn.sock.getsockname()
        assert len(own) == 4 and own[:1] + own[2:] == ('::1', 0, 0)
        conn.get('/', {})
    assert [session.address for (session, _, _) in app.calls] == [own]
    assert link_local['seen'] == [link_local['own']]
    assert link_local['own'][3] == link_local['given'][3]


# --------------------------------------------- server page: introduction

def test_R096_request_by_item():
    """The whole of the page's first example, typed."""
    typed('''
        >>> def hello_world_app(session, request, bodies):
        ...     if request['method'] not in {'GET', 'HEAD'}:
        ...         return (405, 'Method Not Allowed', {}, None)
        ...     body = b'hello, world'
        ...     headers = {'content-length': len(body), \
'content-type': 'text/plain'}
        ...     if request['method'] == 'GET':
        ...         return (200, 'OK', headers, body)
        ...     return (200, 'OK', headers, None)  # No response body for HEAD

        >>> from degu.server import Server
        >>> server = Server(('::1', 0, 0, 0), hello_world_app)

        >>> from degu import start_server
        >>> (process, address) = start_server(('::1', 0, 0, 0), None, \
hello_world_app)

        >>> from degu.client import Client
        >>> client = Client(address)
        >>> conn = client.connect()
        >>> response = conn.request('GET', '/')
        >>> response.body.read()
        b'hello, world'

        >>> process.terminate()
        >>> process.join()
    ''')


def test_R097_content_length_of_the_app():
    """If it is the body's; another one is never sent."""
    with reached(Seen((200, 'OK', {'content-length': 12}, b'hello, world'))) \
            as conn:
        response = conn.get('/', {})
        assert response.headers == {'content-length': 12}
        assert response.body.read() == b'hello, world'
    for wrong in (11, 13):
        app = Seen((200, 'OK', {'content-length': wrong}, b'hello, world'))
        with Running(app) as running:
            assert is_bare(talk(running.address, GET), 500)


def test_R098_content_type_of_the_app():
    with reached(hello_world_app) as conn:
        response = conn.get('/', {})
        assert response.headers == {'content-length': 12,
                                    'content-type': 'text/plain'}
        assert response.body.read() == b'hello, world'


def test_R099_answer_to_head():
    with reached(hello_world_app) as conn:
        for _ in range(2):
            assert conn.head('/', {}) == (
                200, 'OK',
                {'content-length': 12, 'content-type': 'text/plain'}, None)
        assert conn.get('/', {}).body.read() == b'hello, world'


def test_R100_other_methods_are_the_apps_to_refuse():
    with reached(hello_world_app) as conn:
        for method in ('PUT', 'POST', 'DELETE', 'PATCH', 'OPTIONS'):
            assert conn.request(method, '/') == (
                405, 'Method Not Allowed', {}, None)


def test_R101_server_is_bound_and_not_yet_serving():
    """The kernel takes the connection; the request has to wait."""
    before = threading.active_count()
    running = Running(hello_world_app, IPV6)
    assert threading.active_count() == before
    assert running.server.address[1] > 0
    with dial(running.address) as sock:
        sock.sendall(GET)
        assert select.select([sock], [], [], 0)[0] == []
        with running:
            assert receive_head(sock).startswith(b'HTTP/1.1 200 OK\r\n')


SERVING = '''
from degu.server import Server

def app(session, request, bodies):
    return (200, 'OK', {}, None)

server = Server(('127.0.0.1', 0), app)
print(server.address[1], flush=True)
server.serve_forever()
print('returned', flush=True)
'''


def test_R102_serve_forever_blocks():
    """However many come and go."""
    with child(SERVING) as process:
        address = ('127.0.0.1', int(process.stdout.readline()))
        for _ in range(20):
            assert is_served(address)
        assert process.poll() is None
        process.terminate()
        (output, _) = process.communicate(timeout=WAIT)
        assert output == ''
        assert process.returncode == -signal.SIGTERM


def test_R103_start_server():
    """None, and the one argument is the app; else a build function."""
    typed('''
        >>> def hello_world_app(session, request, bodies):
        ...     return (200, 'OK', {}, b'hello, world')
        >>> from degu import start_server
        >>> (process, address) = start_server(('::1', 0, 0, 0), None, \
hello_world_app)
        >>> process.is_alive(), address[0], address[2:]
        (True, '::1', (0, 0))
    ''')
    with started(b'', None, hello_world_app) as (_, address):
        assert is_served(address)
    with started(b'', build, 'a', timeout=5) as (_, address):
        with kept(address) as client:
            assert client.request('GET', '/').headers['x-args'] == "('a',)"


def test_R104_start_server_has_a_process():
    before = threading.active_count()
    with started(b'', None, pid_app) as (process, address):
        assert isinstance(process, multiprocessing.process.BaseProcess)
        assert process in multiprocessing.active_children()
        assert threading.active_count() == before
        with kept(address) as client:
            headers = client.request('GET', '/').headers
            assert headers == {'x-pid': str(process.pid)}
        assert process.pid != os.getpid()


def test_R105_address_of_start_server(address):
    with started(address, None, hello_world_app) as (_, found):
        assert type(found) is type(address)
        conn = Client(found).connect()
        assert conn.get('/', {}).body.read() == b'hello, world'
        conn.close()


def test_R106_conn_request_with_defaults():
    """By position and by name; None headers are none."""
    app = Seen()
    with reached(app) as conn:
        conn.request('GET', '/')
        conn.request('GET', '/', None)
        conn.request(method='GET', uri='/')
        conn.request('GET', '/', headers=None, body=None)
        assert app.asked == [('GET', '/', {}, None)] * 4
        conn.request(method='PUT', uri='/', headers={'a': 'b'}, body=b'c')
        assert app.asked[4] == (
            'PUT', '/', {'a': 'b', 'content-length': 1}, b'c')


def test_R107_body_of_the_answer():
    with started(IPV6, None, hello_world_app) as (_, address):
        conn = Client(address).connect()
        response = conn.request('GET', '/')
        assert response.body.read() == b'hello, world'
        conn.close()


def test_R108_terminate_ends_the_server_at_once():
    """Even when it is inside an app that never returns."""
    (ours, theirs) = os.pipe()

    def app(request):
        os.write(theirs, b'.')
        threading.Event().wait()

    try:
        with started(b'', None, app) as (process, address):
            with dial(address) as sock:
                sock.sendall(GET)
                assert os.read(ours, 1) == b'.'
                process.terminate()
                process.join(WAIT)
                assert process.exitcode is not None
                with contextlib.suppress(ConnectionResetError):
                    assert everything(sock) == b''
    finally:
        os.close(ours)
        os.close(theirs)


# ---------------------------------------------------- server page: Server

def test_R109_server_of_address_and_app():
    with bound(b'', hello_world_app, timeout=5, max_connections=3) as server:
        assert server.app is hello_world_app
        assert server.address[:1] == b'\0'
        assert server.options['timeout'] == 5
        assert server.options['max_connections'] == 3
    with pytest.raises(TypeError):
        Server(hello_world_app, b'')


def test_R110_forms_of_an_address(address):
    with bound(address, app) as server:
        assert server.sock.family == family_of(address)


@pytest.mark.parametrize('wrong', [None, 5, 'app', object(), [app], {}])
def test_R111_app_must_be_callable(wrong, folder):
    with pytest.raises(TypeError):
        Server(folder + '/socket', wrong)
    assert os.listdir(folder) == []


class Guarded:
    """An app whose on_connect answers what it was told to."""

    def __init__(self, accept=True):
        self.accept = accept
        self.events = []
        self.peers = []

    def __call__(self, session, request, bodies):
        self.events.append(('request', session))
        return (200, 'OK', {}, None)

    def on_connect(self, sock, session):
        self.events.append(('connect', session))
        self.peers.append((sock, sock.getpeername(), sock.getsockname()))
        return self.accept


def test_R112_app_may_have_on_connect():
    app = Guarded()
    with Running(app) as running:
        assert is_served(running.address)
    assert [name for (name, _) in app.events] == ['connect', 'request']


def test_R113_options_are_keywords():
    with pytest.raises(TypeError):
        Server(b'', app, 15)
    with pytest.raises(TypeError):
        Server(b'', app, {'timeout': 15})


def test_R114_server_address_is_the_bound_one(address):
    with bound(address, app) as server:
        assert server.address == server.sock.getsockname()
        if isinstance(address, tuple):
            assert server.address[1] > 0
            assert server.address == (
                address[0], server.address[1], *address[2:])


@pytest.mark.parametrize('given', [app, example_app, Guarded(),
                                   Built('a').__call__])
def test_R115_server_app_is_the_app(given):
    """Whatever its form, that object itself."""
    with bound(b'', given) as server:
        assert server.app is given


OPTIONS = {'timeout': 15, 'max_connections': 25,
           'max_requests_per_connection': 100}


@pytest.mark.parametrize('given', [
    {}, {'timeout': 0.5}, {'max_connections': 7},
    {'max_requests_per_connection': 3}, {'timeout': 1, 'max_connections': 2}])
def test_R116_server_options(given):
    """Those that were given, and the defaults of the others."""
    with bound(b'', app, **given) as server:
        assert type(server.options) is dict
        want = {**OPTIONS, 'bodies': degu.base.DEFAULT_BODIES, **given}
        assert want.items() <= server.options.items()


def test_R117_server_sock(address):
    with bound(address, app) as server:
        assert isinstance(server.sock, socket.socket)
        assert server.sock.getsockopt(socket.SOL_SOCKET,
                                      socket.SO_ACCEPTCONN) == 1


def test_R118_connections_are_served_at_the_same_time():
    """None of these is answered before all are there."""
    barrier = threading.Barrier(3)

    def app(session, request, bodies):
        barrier.wait(WAIT)
        return (200, 'OK', {}, None)

    with Running(app) as running:
        assert together(is_served, *[running.address] * 3) == [True] * 3


# -------------------------------------------------- server page: address

def test_R119_addresses(address):
    server = Server(address, app)
    assert server.sock.family == family_of(address)
    assert server.address == server.sock.getsockname()
    server.shutdown()
    server.serve_forever()


def test_R119_addresses_of_an_ssl_server(address, pki, client_sslctx):
    server = SSLServer(pki.get_server_config(), address, app)
    assert server.sock.family == family_of(address)
    assert server.address == server.sock.getsockname()
    server.shutdown()
    server.serve_forever()
    with secured(pki, app, address) as running:
        with safely(client_sslctx, running.address) as conn:
            assert conn.get('/example').status == 200


def test_R120_tuples():
    with bound(IPV4, app) as server:
        assert server.sock.family == socket.AF_INET
        assert len(server.address) == 2
    with bound(IPV6, app) as server:
        assert server.sock.family == socket.AF_INET6
        assert len(server.address) == 4
    for wrong in ((), ('127.0.0.1',), ('::1', 0, 0), ('::1', 0, 0, 0, 0)):
        with pytest.raises(REFUSED):
            Server(wrong, app)


def test_R121_names(folder):
    path = folder + '/socket'
    with bound(path, app) as server:
        assert server.address == path
        assert stat.S_ISSOCK(os.lstat(path).st_mode)
    name = b'\0degu-requirements-%d' % os.getpid()
    with bound(name, app) as server:
        assert server.address == name
        with open('/proc/net/unix', 'rb') as file:  # names of any bytes
            assert any(line.endswith(b'@' + name[1:] + b'\n')
                       for line in file)


def test_R122_address_is_bound_as_given():
    """Nothing is put in another one's place."""
    with bound(IPV4, app) as server:
        other = ('127.0.0.2', server.address[1])
        with bound(other, app) as second:
            assert second.address == other
        with pytest.raises(OSError) as info:
            Server(server.address, app)
        assert info.value.errno == errno.EADDRINUSE
    # An address that is nobody's, kept for documentation.
    with pytest.raises(OSError) as info:
        Server(('192.0.2.1', 0), app)
    assert info.value.errno == errno.EADDRNOTAVAIL


def test_R123_scope_of_a_link_local_address(link_local):
    """A server needs it, and has it."""
    (host, port, flowinfo, scope) = link_local['bound']
    assert port > 0
    assert [host, 0, flowinfo, scope] == [
        socket.inet_ntop(socket.AF_INET6, socket.inet_pton(
            socket.AF_INET6, link_local['given'][0])),
        *link_local['given'][1:]]
    with pytest.raises(OSError):
        Server(('fe80::1', 0, 0, 0), app)


@pytest.mark.parametrize('address', [IPV4, IPV6])
def test_R124_port_zero(address):
    with bound(address, app) as one, bound(address, app) as two:
        assert 0 < one.address[1] != two.address[1] > 0
        assert one.address[1] == one.sock.getsockname()[1]


@pytest.mark.parametrize('address', [
    ('127.0.0.1', 0), ('0.0.0.0', 0), ('::1', 0, 0, 0), ('::', 0, 0, 0)])
def test_R125_usual_addresses(address):
    with bound(address, app) as server:
        assert server.address == (address[0], server.address[1], *address[2:])


@pytest.mark.parametrize('address', [
    ('::1', 0), ('::', 0), ('fe80::1', 0), ('::ffff:127.0.0.1', 0)])
def test_R126_ipv6_needs_four_items(address):
    with pytest.raises(REFUSED):
        Server(address, app)


def test_R127_family_follows_the_form():
    """Four items are AF_INET6, also for a host that is an IPv4 address and
    for one that looks like it."""
    with pytest.raises(OSError):
        Server(('127.0.0.1', 0, 0, 0), app)
    with bound(('::ffff:127.0.0.1', 0, 0, 0), app) as server:
        assert server.sock.family == socket.AF_INET6


@pytest.mark.parametrize('name', [
    '', 'socket', './socket', '../socket', '{}/./socket', '{}/../socket',
    '{}//socket', '{}/socket/', '//{}/socket'])
def test_R128_file_name_is_absolute_and_normalized(name, folder):
    with pytest.raises(REFUSED):
        Server(name.format(folder), app)
    assert os.listdir(folder) == []


@pytest.mark.parametrize('kind', ['file', 'folder', 'socket'])
def test_R129_file_must_not_exist(kind, folder):
    """What is there stays as it is."""
    path = folder + '/socket'
    if kind == 'file':
        open(path, 'w').close()
    elif kind == 'folder':
        os.mkdir(path)
    else:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
    before = os.lstat(path)
    with pytest.raises(OSError):
        Server(path, app)
    assert os.lstat(path) == before


def test_R131_kernel_assigns_a_name():
    with bound(b'', app) as one, bound(b'', app) as two:
        for server in (one, two):
            assert type(server.address) is bytes
            assert server.address[:1] == b'\0' and len(server.address) > 1
        assert one.address != two.address


# ------------------------------------- server page: the request handler

def my_rgi_app(session, request, bodies):
    return (200, 'OK', {'content-type': 'text/plain'}, b'hello, world')


def test_R132_my_rgi_app():
    with reached(my_rgi_app) as conn:
        for _ in range(2):
            response = conn.request('GET', '/')
            assert response[:3] == (
                200, 'OK',
                {'content-type': 'text/plain', 'content-length': 12})
            assert response.body.read() == b'hello, world'


def test_R133_session_is_a_dict():
    """It starts with the one item; what else is known are attributes."""
    app = Seen()
    with reached(app, IPV4) as conn:
        conn.get('/', {})
        (session, _, _) = app.calls[0]
        assert isinstance(session, dict)
        assert type(session) is degu.base.Session
        assert session == {'client': conn.sock.getsockname()}
        assert session.store is session
        session['client'] = 'somebody else'
        assert session.address == conn.sock.getsockname()


def test_R134_session_client_is_the_peer(address):
    app = Seen()
    with reached(app, address) as conn:
        conn.get('/', {})
        (session, _, _) = app.calls[0]
        assert session['client'] == conn.sock.getsockname()


class Shifting:
    """Keeps what a request is, one part shifted off its path."""

    def __init__(self):
        self.requests = []

    def __call__(self, session, request, bodies):
        request.shift_path()
        self.requests.append(request)
        return (200, 'OK', {}, None)


REQUEST = {
    'method': 'GET',
    'uri': '/foo/bar/baz?stuff=junk',
    'script': ['foo'],
    'path': ['bar', 'baz'],
    'query': 'stuff=junk',
    'headers': {'accept': 'text/plain'},
    'body': None,
}


@pytest.fixture
def shifted():
    """The request that the server page shows."""
    app = Shifting()
    with reached(app) as conn:
        conn.get('/foo/bar/baz?stuff=junk', {'accept': 'text/plain'})
    return app.requests[0]


def test_R135_request_is_a_dict(shifted):
    """Of these seven items, which are attributes as well."""
    assert isinstance(shifted, dict)
    assert type(shifted) is degu.base.Request
    assert shifted == REQUEST and len(shifted) == 7
    for name in REQUEST:
        assert getattr(shifted, name) is shifted[name]
    assert shifted.mount is shifted['script']
    shifted['query'] = 'other'
    assert shifted.query == 'other'
    with pytest.raises(AttributeError):
        shifted.query = 'stuff=junk'


def test_R136_request_method(shifted):
    assert shifted['method'] == 'GET'


def test_R137_request_uri(shifted):
    assert shifted['uri'] == '/foo/bar/baz?stuff=junk'


def test_R138_request_script_and_path(shifted):
    assert shifted['script'] == ['foo']
    assert shifted['path'] == ['bar', 'baz']
    assert shifted.shift_path() == 'bar'
    assert shifted['script'] == ['foo', 'bar']
    assert shifted['path'] == ['baz']
    assert type(shifted['script']) is type(shifted['path']) is list


def test_R139_request_query(shifted):
    assert shifted['query'] == 'stuff=junk'
    app = Seen()
    with reached(app) as conn:
        for uri in ('/', '/?', '/?a=b?c'):
            conn.get(uri, {})
    assert [request['query'] for (_, request, _) in app.calls] == [
        None, '', 'a=b?c']


def test_R140_request_headers(shifted):
    assert shifted['headers'] == {'accept': 'text/plain'}
    app = Seen()
    with Running(app) as running:
        assert is_served(running.address, b'Accept: text/plain\r\nX-A: B\r\n')
    (_, request, _) = app.calls[0]
    assert type(request['headers']) is dict
    assert request['headers'] == {'accept': 'text/plain', 'x-a': 'B'}


def test_R141_request_without_a_body(shifted):
    """A length of zero is no body either."""
    assert shifted['body'] is None
    app = Seen()
    with Running(app) as running:
        assert is_served(running.address, b'content-length: 0\r\n')
    (_, request, _) = app.calls[0]
    assert request['body'] is None and request['headers'] == {}


def test_R142_bodies_is_a_namedtuple():
    app = Seen()
    with reached(app) as conn:
        conn.get('/', {})
    (_, _, bodies) = app.calls[0]
    assert isinstance(bodies, tuple)
    assert set(FOUR) <= set(bodies._fields)
    assert all(isinstance(getattr(bodies, name), type) for name in FOUR)


def test_R143_bodies_are_those_of_base():
    app = Seen()
    with reached(app) as conn:
        conn.get('/', {})
    (_, _, bodies) = app.calls[0]
    for name in FOUR:
        assert getattr(bodies, name) is getattr(degu.base, name)


PIECES = [b'hello', b', ', b'world']


@pytest.mark.parametrize('make, framing', [
    (lambda bodies: bodies.Body(io.BytesIO(b'hello, world'), 12),
     {'content-length': 12}),
    (lambda bodies: bodies.BodyIter(PIECES, 12), {'content-length': 12}),
    (lambda bodies: bodies.ChunkedBody(io.BytesIO(
        b'5\r\nhello\r\n7;k=v\r\n, world\r\n0\r\n\r\n')),
     {'transfer-encoding': 'chunked'}),
    (lambda bodies: bodies.ChunkedBodyIter(
        [(None, piece) for piece in PIECES] + [(None, b'')]),
     {'transfer-encoding': 'chunked'})], ids=FOUR)
def test_R144_each_can_be_a_response_body(make, framing):
    def app(session, request, bodies):
        return (200, 'OK', {'x-a': 'b'}, make(bodies))

    with reached(app) as conn:
        for _ in range(2):
            response = conn.get('/', {})
            assert response[:3] == (200, 'OK', {'x-a': 'b', **framing})
            assert response.body.read() == b'hello, world'


@pytest.mark.parametrize('answer', [
    None, 200, 'OK', b'hello', {}, (), (200, 'OK', {}),
    (200, 'OK', {}, None, None), [200, 'OK', {}, None],
    ('200', 'OK', {}, None), (200, b'OK', {}, None), (200, 'OK', None, None),
    (200, 'OK', {}, 'hello'), (200, 'OK', {}, ['hello'])])
def test_R145_answer_must_be_a_tuple_of_four(answer):
    """Anything else ends the connection, here before the second request."""
    app = Seen(answer)
    with Running(app) as running:
        assert is_bare(talk(running.address, GET + GET), 500)
    assert len(app.calls) == 1


def test_R145_response_of_a_client_is_an_answer():
    """As it is a tuple of four."""
    answer = Response(200, 'OK', {'x-a': 'b'}, None)
    with reached(Seen(answer)) as conn:
        assert conn.get('/', {}) == answer


# ---------------------------------- server page: the connection handler

class MyRGIApp:
    def __call__(self, session, request, bodies):
        return (200, 'OK', {'content-type': 'text/plain'}, b'hello, world')

    def on_connect(self, sock, session):
        return True


def test_R146_on_connect_of_sock_and_session():
    """As the page types it; and each argument goes by its name."""
    with reached(MyRGIApp(), IPV4) as conn:
        assert conn.request('GET', '/').body.read() == b'hello, world'
    found = []

    def note(sock, session):
        found.append((isinstance(sock, socket.socket),
                      isinstance(session, degu.base.Session)))
        return True

    class First(MyRGIApp):
        def on_connect(self, sock, session):
            return note(sock, session)

    class Second(MyRGIApp):
        def on_connect(self, session, sock):
            return note(sock, session)

    class Third(MyRGIApp):
        def on_connect(self, _session, unused):
            return note(unused, _session)

    for cls in (First, Second, Third):
        with reached(cls()) as conn:
            assert conn.get('/', {}).body.read() == b'hello, world'
    assert found == [(True, True)] * 3

    class Unclear(MyRGIApp):
        def on_connect(self, one, other):
            return True

    with pytest.raises(TypeError):
        Server(b'', Unclear())


def test_R147_sock_is_a_socket():
    """Of this connection."""
    app = Guarded()
    with reached(app, IPV4) as conn:
        conn.get('/', {})
        ((sock, peer, own),) = app.peers
        assert type(sock) is socket.socket
        assert peer == conn.sock.getsockname()
        assert own == conn.sock.getpeername()


def test_R147_sock_is_an_ssl_socket(pki, client_sslctx):
    app = Guarded()
    with secured(pki, app, IPV4) as running:
        with safely(client_sslctx, running.address) as conn:
            conn.get('/')
            ((sock, peer, own),) = app.peers
            assert type(sock) is ssl.SSLSocket
            assert peer == conn.sock.getsockname()
            assert own == conn.sock.getpeername()


def test_R148_session_is_the_one_of_the_requests():
    app = Guarded()
    with reached(app) as conn:
        conn.get('/', {})
        conn.get('/', {})
    (connect, one, two) = app.events
    assert connect[1] is one[1] is two[1]
    assert isinstance(connect[1], dict)


def test_R149_on_connect_comes_before_any_request():
    """It waits for the first of them no more than that one for it."""
    app = Guarded()
    with Running(app) as running, dial(running.address) as sock:
        until(lambda: app.events)
        assert [name for (name, _) in app.events] == ['connect']
        for count in (1, 2):
            sock.sendall(GET)
            receive_head(sock)
            assert [name for (name, _) in app.events] == \
                ['connect'] + ['request'] * count


@pytest.mark.parametrize('accept', [True, False, None, 1, 'yes'])
def test_R150_true_accepts(accept):
    """And nothing but True itself does."""
    app = Guarded(accept)
    # So long that the end of who is idle is not taken for a rejection.
    with Running(app, timeout=600) as running:
        if accept is True:
            assert is_served(running.address)
        else:
            with dial(running.address) as sock:
                assert everything(sock) == b''
    assert [name for (name, _) in app.events] == \
        ['connect'] + ['request'] * (accept is True)


@pytest.mark.parametrize('wrong', [5, 'yes', False, True, (), object()])
def test_R151_on_connect_is_callable_or_none(wrong, folder):
    class App(MyRGIApp):
        on_connect = wrong

    with pytest.raises(TypeError):
        Server(folder + '/socket', App())
    assert os.listdir(folder) == []


def test_R152_on_connect_is_turned_off():
    """That of the class below would let nobody in."""
    class MyRGIApp:
        def __call__(self, session, request, bodies):
            return (200, 'OK', {'content-type': 'text/plain'}, b'hello, world')

        def on_connect(self, sock, session):
            return False

    class MyRGIAppSubclass(MyRGIApp):
        on_connect = None

    with Running(MyRGIApp(), timeout=600) as running:
        with dial(running.address) as sock:
            assert everything(sock) == b''
    with reached(MyRGIAppSubclass()) as conn:
        assert conn.get('/', {}).body.read() == b'hello, world'


# ------------------------------------------ server page: the session's life

def test_R153_one_session_for_each_connection():
    app = Seen()
    with Running(app) as running:
        client = Client(running.address)
        conns = [client.connect(), client.connect()]
        for conn in conns * 3:
            conn.get('/', {})
        for conn in conns:
            conn.close()
    sessions = [session for (session, _, _) in app.calls]
    assert sessions[0] is sessions[2] is sessions[4]
    assert sessions[1] is sessions[3] is sessions[5]
    assert sessions[0] is not sessions[1]


def test_R154_request_handler_keeps_things():
    found = []

    def my_rgi_app(session, request, bodies):
        body = session.get('__body')
        found.append(body)
        if body is None:
            body = b'hello, world'
            session['__body'] = body
        return (200, 'OK', {'content-type': 'text/plain'}, body)

    for _ in range(2):
        with reached(my_rgi_app) as conn:
            for _ in range(3):
                assert conn.get('/', {}).body.read() == b'hello, world'
    assert found == [None, b'hello, world', b'hello, world'] * 2


def test_R155_connection_handler_keeps_things():
    class MyRGIApp:
        def __call__(self, session, request, bodies):
            if session.get('_user') != 'admin':
                return (403, 'Forbidden', {}, None)
            return (200, 'OK', {'content-type': 'text/plain'}, b'hello, world')

        def on_connect(self, sock, session):
            # Somehow authenticate the user who made the connection:
            session['_user'] = 'admin'
            return True

    class Anybody(MyRGIApp):
        on_connect = None

    with reached(MyRGIApp()) as conn:
        for _ in range(2):
            assert conn.get('/', {}).body.read() == b'hello, world'
    with reached(Anybody()) as conn:
        assert conn.get('/', {}) == (403, 'Forbidden', {}, None)


# ---------------------------------------------------- server page: options

Bodies = namedtuple('Bodies', FOUR)


def test_R157_option_bodies():
    """The object given is what the app gets, and incoming bodies are made by
    it."""
    made = []

    def body(rfile, content_length):
        made.append(('Body', content_length))
        return degu.base.Body(rfile, content_length)

    def chunked_body(rfile):
        made.append(('ChunkedBody', None))
        return degu.base.ChunkedBody(rfile)

    bodies = Bodies(body, degu.base.BodyIter, chunked_body, ChunkedBodyIter)
    app = Seen((200, 'OK', {}, None))
    with reached(app, bodies=bodies) as conn:
        conn.put('/', {}, b'hello')
        conn.put('/', {}, ChunkedBodyIter([(None, b'world'), (None, b'')]))
        conn.put('/', {}, None)
        assert not conn.closed
    assert made == [('Body', 5), ('ChunkedBody', None)]
    assert [call[2] is bodies for call in app.calls] == [True] * 3
    assert [asked[3] for asked in app.asked] == [b'hello', b'world', None]


@pytest.mark.parametrize('wrong', [
    None, 5, (), FOUR, Bodies(1, 2, 3, 4),
    namedtuple('Bodies', FOUR[:3])(list, list, list)])
def test_R157_option_bodies_must_have_the_four(wrong):
    with pytest.raises(REFUSED):
        Server(b'', app, bodies=wrong)


@pytest.mark.parametrize('wrong', [None, '15', b'15', True, (), 0, 0.0, -1,
                                   -0.5, float('nan')])
def test_R158_timeout_must_be_positive(wrong):
    with pytest.raises(REFUSED):
        Server(b'', app, timeout=wrong)


def test_R158_timeout_ends_a_silent_peer():
    """With a word to whom has begun a request, and without before that."""
    with Running(app, timeout=0.6) as running:
        with dial(running.address) as one, dial(running.address) as two:
            two.sendall(GET[:10])
            assert everything(one) == b''
            assert is_bare(everything(two), 408)


@pytest.mark.parametrize('wrong', [None, '25', True, 5.0, (), 0, -1])
def test_R159_max_connections_must_be_positive(wrong):
    with pytest.raises(REFUSED):
        Server(b'', app, max_connections=wrong)


def test_R160_too_many_connections():
    with Running(app, max_connections=2) as running:
        client = Client(running.address)
        conns = [client.connect(), client.connect()]
        for conn in conns:
            conn.get('/nope', {})
        for _ in range(2):
            with dial(running.address) as sock:
                assert is_bare(everything(sock), 503)
        # Those that are there go on, and one that leaves makes room.
        for conn in conns:
            assert conn.get('/nope', {}).status == 404
        conns[0].close()
        data = b'GET /nope HTTP/1.1\r\nconnection: close\r\n\r\n'
        until(lambda: answers(talk(running.address, data))[0].status == 404)
        conns[1].close()


def test_R161_memory_is_bounded():
    """No more than that many sessions are there, whoever else comes."""
    app = Guarded()
    with Running(app, max_connections=3) as running:
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(dial(running.address))
                     for _ in range(8)]
            for sock in socks[3:]:
                assert is_bare(everything(sock), 503)
            for sock in socks[:3]:
                sock.sendall(GET)
                receive_head(sock)
            assert len({id(session) for (_, session) in app.events}) == 3


@pytest.mark.parametrize('wrong', [None, '100', True, 5.0, (), 0, -1])
def test_R162_max_requests_per_connection_must_be_positive(wrong):
    with pytest.raises(REFUSED):
        Server(b'', app, max_requests_per_connection=wrong)


def test_R163_last_request():
    """The last answer says so, and nothing is read behind its request."""
    app = Seen()
    with Running(app, max_requests_per_connection=3) as running:
        found = answers(talk(running.address, GET * 5))
        assert [answer.headers.get('connection') for answer in found] == [
            None, None, 'close']
        assert len(app.calls) == 3
        # The next connection begins anew.
        assert len(answers(talk(running.address, GET * 5))) == 3


def test_R164_default_of_bodies():
    with bound(b'', app) as server:
        assert server.options['bodies'] is degu.base.DEFAULT_BODIES
    given = Seen()
    with reached(given) as conn:
        conn.get('/', {})
    assert given.calls[0][2] is degu.base.DEFAULT_BODIES


def test_R165_default_of_timeout():
    with bound(b'', app) as server:
        assert server.options['timeout'] == 15


def test_R166_default_of_max_connections():
    """And that many there can be."""
    with Running(app) as running:
        assert running.server.options['max_connections'] == 25
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(dial(running.address))
                     for _ in range(26)]
            for sock in socks[:25]:
                sock.sendall(GET)
                assert receive_head(sock).startswith(b'HTTP/1.1 404 ')
            assert is_bare(everything(socks[25]), 503)


def test_R167_default_of_max_requests_per_connection():
    """The hundredth is the last."""
    with Running(app) as running:
        options = running.server.options
        assert options['max_requests_per_connection'] == 100
        assert len(answers(talk(running.address, GET * 101))) == 100


# --------------------------------------------- server page: SSLServer

def test_R169_ssl_server():
    found = inspect.signature(SSLServer)
    assert list(found.parameters) == ['sslctx', 'address', 'app', 'options']
    assert found.parameters['options'].kind is inspect.Parameter.VAR_KEYWORD


def test_R170_https_with_tls_1_2(pki):
    """To whoever else speaks it: the program openssl, with what it offers by
    itself."""
    config = pki.get_client_config()
    with secured(pki, app, IPV4) as running:
        done = run_program(
            ['openssl', 's_client', '-quiet', '-verify_return_error',
             '-connect', '127.0.0.1:%d' % running.address[1],
             '-CAfile', config['ca_file'], '-cert', config['cert_file'],
             '-key', config['key_file']],
            input=b'GET /example HTTP/1.1\r\nconnection: close\r\n\r\n')
        assert b'hello, world' in done.stdout
        for protocol in ('-tls1_1', '-tls1_3'):
            done = run_program(
                ['openssl', 's_client', protocol, '-brief',
                 '-connect', '127.0.0.1:%d' % running.address[1]])
            assert done.returncode


def test_R171_subclass_of_server(pki):
    assert issubclass(SSLServer, Server)
    with bound(IPV4, app) as plain:
        server = SSLServer(pki.get_server_config(), IPV4, app)
        assert set(vars(plain)) <= set(vars(server))
        assert set(dir(plain)) <= set(dir(server))
        assert server.options == plain.options and server.app is app
        server.shutdown()
        server.serve_forever()


def test_R172_context(pki, client_sslctx):
    """One's own of this module's kind, too."""
    own = own_context(pki)
    for sslctx in (build_server_sslctx(pki.get_server_config()), own):
        with SecureRunning(sslctx, app, IPV4) as running:
            assert running.server.sslctx is sslctx
            with safely(client_sslctx, running.address) as conn:
                assert conn.get('/example').body.read() == b'hello, world'


def own_context(pki):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        sslctx = ssl.SSLContext(ssl.PROTOCOL_TLSv1_2)
    config = pki.get_server_config()
    sslctx.load_cert_chain(config['cert_file'], config['key_file'])
    sslctx.load_verify_locations(config['ca_file'])
    sslctx.verify_mode = ssl.CERT_REQUIRED
    return sslctx


def test_R173_dict_for_a_context(pki, monkeypatch):
    """It is build_server_sslctx() that makes the context of it."""
    server = SSLServer(pki.get_server_config(), IPV4, app)
    wanted = build_server_sslctx(pki.get_server_config())
    for name in ('protocol', 'verify_mode', 'options'):
        assert getattr(server.sslctx, name) == getattr(wanted, name)
    server.shutdown()
    server.serve_forever()
    for wrong in ({}, dict(pki.get_server_config(), cert_file='x')):
        (one, two) = (raised(SSLServer, wrong, IPV4, app),
                      raised(build_server_sslctx, wrong))
        assert (type(one), str(one)) == (type(two), str(two))


def raised(call, *args):
    with pytest.raises(Exception) as info:
        call(*args)
    return info.value


def test_R174_address_app_and_options(pki):
    """The same errors and the same meaning."""
    config = pki.get_server_config()
    for (address, given, options) in [
            (5, app, {}), (IPV4, 5, {}), (('::1', 0, 0), app, {}),
            (IPV4, app, {'timeout': 0}), (IPV4, app, {'max_connections': 0}),
            (IPV4, app, {'bodies': 5}), (IPV4, app, {'max_requests': 'x'})]:
        (one, two) = (raised(lambda: SSLServer(config, address, given,
                                               **options)),
                      raised(lambda: Server(address, given, **options)))
        assert (type(one), str(one)) == (type(two), str(two))
    with secured(pki, app, IPV4, max_requests_per_connection=2,
                 timeout=7) as running:
        assert running.server.timeout == 7
        with safely(pki.get_client_config(), running.address) as conn:
            assert conn.get('/example').body.read() and not conn.closed
            assert conn.get('/example').body.read() and conn.closed


def test_R175_sslctx_attribute(pki):
    sslctx = build_server_sslctx(pki.get_server_config())
    for (given, is_ours) in ((sslctx, True), (pki.get_server_config(), False)):
        server = SSLServer(given, IPV4, app)
        assert isinstance(server.sslctx, ssl.SSLContext)
        assert (server.sslctx is sslctx) == is_ours
        server.shutdown()
        server.serve_forever()


def test_R176_build_server_sslctx():
    typed('''
        >>> from degu.server import build_server_sslctx
        >>> sslconfig = {
        ...     'cert_file': '/my/server.cert',
        ...     'key_file': '/my/server.key',
        ...     'ca_file': '/my/client.ca',
        ... }
        >>> sslctx = build_server_sslctx(sslconfig)
        Traceback (most recent call last):
        ...
        FileNotFoundError: [Errno 2] No such file or directory: \
'/my/server.cert'
    ''')
    assert len(inspect.signature(build_server_sslctx).parameters) == 1


def test_R177_counterpart_of_the_clients(pki):
    """What the two make understands each other."""
    assert len(inspect.signature(build_client_sslctx).parameters) == 1
    server = build_server_sslctx(pki.get_server_config())
    client = build_client_sslctx(pki.get_client_config())
    with shake(server, client) as pair:
        assert (pair.server_error, pair.client_error) == (None, None)
        assert pair.server.getpeercert() and pair.client.getpeercert()


def test_R178_config_is_a_dict(pki):
    for wrong in (None, [], 'x', tuple(pki.get_server_config().items())):
        with pytest.raises(TypeError):
            build_server_sslctx(wrong)


@pytest.mark.parametrize('key', ['cert_file', 'key_file'])
def test_R179_certificate_and_key(pki, key):
    config = pki.get_server_config()
    for wrong in (5, None, os.fsencode(config[key])):
        with pytest.raises(TypeError):
            build_server_sslctx(dict(config, **{key: wrong}))
    del config[key]
    with pytest.raises(KeyError, match=key):
        build_server_sslctx(config)


@pytest.mark.parametrize('keys', [
    ['ca_file'], ['ca_path'], ['ca_file', 'ca_path']])
def test_R180_authorities(pki, keys, tmp_path):
    """Each of them is believed."""
    config = pki.get_server_config()
    shutil.copy(config['ca_file'], str(tmp_path / 'a.pem'))
    run_program(['openssl', 'rehash', str(tmp_path)], check=True)
    places = {'ca_file': config.pop('ca_file'), 'ca_path': str(tmp_path)}
    config.update({key: places[key] for key in keys})
    client = build_client_sslctx(pki.get_client_config())
    nobody = build_client_sslctx(pki.get_anonymous_client_config())
    with shake(build_server_sslctx(config), client) as pair:
        assert (pair.server_error, pair.client_error) == (None, None)
    with shake(build_server_sslctx(config), nobody) as pair:
        assert pair.server_error


def test_R181_nobody_is_let_in_by_omission(pki):
    config = pki.get_server_config()
    del config['ca_file']
    for more in ({}, {'allow_unauthenticated_clients': False},
                 {'allow_unauthenticated_clients': 1}):
        with pytest.raises(ValueError):
            build_server_sslctx(dict(config, **more))
    nobody = build_client_sslctx(pki.get_anonymous_client_config())
    server = build_server_sslctx(
        dict(config, allow_unauthenticated_clients=True))
    with shake(server, nobody) as pair:
        assert (pair.server_error, pair.client_error) == (None, None)


def built(pki):
    """A context of each kind that there is without the key 'protocol'."""
    return [build_server_sslctx(pki.get_server_config()),
            build_server_sslctx(pki.get_anonymous_server_config())]


def test_R183_protocol(pki):
    for sslctx in built(pki):
        assert sslctx.protocol == ssl.PROTOCOL_TLSv1_2


def test_R184_verify_mode(pki):
    assert [sslctx.verify_mode for sslctx in built(pki)] == [
        ssl.CERT_REQUIRED, ssl.CERT_NONE]


def test_R185_no_compression(pki):
    for sslctx in built(pki):
        assert sslctx.options & ssl.OP_NO_COMPRESSION


def test_R186_cipher(pki):
    for sslctx in built(pki):
        assert [cipher['name'] for cipher in sslctx.get_ciphers()
                if cipher['protocol'] != 'TLSv1.3'] == [
                    'ECDHE-RSA-AES256-GCM-SHA384']


# ---------------------------------------------------------- first API page

@pytest.mark.parametrize('name, within', [
    ('degu', '__version__'), ('degu.server', 'Server'),
    ('degu.client', 'Client')])
def test_R187_modules(name, within):
    assert hasattr(importlib.import_module(name), within)


def is_constant(name, value):
    """The same object in both places."""
    found = getattr(degu.server, name)
    return found == value and found is getattr(degu, name)


def test_R188_ipv6_loopback():
    assert is_constant('IPv6_LOOPBACK', ('::1', 0, 0, 0))


def test_R189_ipv6_any():
    assert is_constant('IPv6_ANY', ('::', 0, 0, 0))


def test_R190_ipv4_loopback():
    assert is_constant('IPv4_LOOPBACK', ('127.0.0.1', 0))


def test_R191_ipv4_any():
    """Two items, whatever the page calls it."""
    assert is_constant('IPv4_ANY', ('0.0.0.0', 0))


@pytest.mark.parametrize('by_name', [False, True])
def test_R193_headers_of_a_client(by_name):
    """Of every request of every connection; they win over the request's."""
    app = Seen()
    given = {'x-a': 'b', 'x-c': 'd'}
    with Running(app) as running:
        with contextlib.closing(
                Client(running.address, headers=given) if by_name else
                Client(running.address, given)) as client:
            given['x-e'] = 'f'
            for conn in (client.connect(), client.connect()):
                conn.get('/', {})
                own = {'x-a': 'mine', 'x-g': 'h'}
                conn.get('/', own)
                assert own == {'x-a': 'mine', 'x-g': 'h'}
                conn.close()
            client.request('GET', '/')
    want = {'x-a': 'b', 'x-c': 'd'}
    assert [headers for (_, _, headers, _) in app.asked] == [
        want, {**want, 'x-g': 'h'}, want, {**want, 'x-g': 'h'}, want]


def test_R193_headers_of_a_client_are_optional():
    app = Seen()
    with Running(app) as running:
        for given in (None, {}):
            with kept(running.address, given) as client:
                client.request('GET', '/')
    assert app.asked == [('GET', '/', {}, None)] * 2


@pytest.mark.parametrize('wrong', [
    {'X-A': 'b'}, {'x-a': 5}, {5: 'a'}, {'content-length': '5'},
    {'transfer-encoding': 'chunked'}, 5, 'x-a: b'])
def test_R193_headers_of_a_client_are_checked(wrong):
    with pytest.raises(REFUSED):
        Client(b'\0nobody', wrong)


def test_R194_client_request_by_position_and_by_name():
    app = Seen()
    with Running(app) as running, kept(running.address) as client:
        client.request('GET', '/')
        client.request('GET', '/', {'a': 'b'})
        client.request('PUT', '/', {'a': 'b'}, b'c')
        client.request(method='GET', uri='/')
        client.request(method='GET', uri='/', headers={'a': 'b'})
        client.request(method='PUT', uri='/', headers={'a': 'b'}, body=b'c')
        client.request('PUT', '/', body=b'c', headers=None)
    three = [('GET', '/', {}, None), ('GET', '/', {'a': 'b'}, None),
             ('PUT', '/', {'a': 'b', 'content-length': 1}, b'c')]
    assert app.asked == three + three + [
        ('PUT', '/', {'content-length': 1}, b'c')]


def test_R195_ssl_client(pki, client_sslctx):
    """By position and by name; the headers are optional (F8)."""
    found = inspect.signature(SSLClient)
    assert list(found.parameters)[:3] == ['sslctx', 'address', 'headers']
    app = Seen()
    with secured(pki, app, IPV4) as running:
        headers = {'x-a': 'b', 'host': 'c'}
        for client in (
                SSLClient(client_sslctx, running.address, headers),
                SSLClient(sslctx=client_sslctx, address=running.address,
                          headers=headers),
                SSLClient(client_sslctx, running.address)):
            assert client.request('GET', '/').status == 200
            client.close()
    assert [asked[2].get('x-a') for asked in app.asked] == ['b', 'b', None]
    assert [asked[2]['host'] for asked in app.asked] == [
        'c', 'c', '127.0.0.1:%d' % running.address[1]]


def test_R196_address_of_port_zero():
    with bound(('::', 0, 0, 0), app) as server:
        (host, port, flowinfo, scope) = server.address
        assert (host, flowinfo, scope) == ('::', 0, 0)
        assert 0 < port < 65536
