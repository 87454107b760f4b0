# SPDX-License-Identifier: MIT OR 0BSD
"""Many threads at one object: each answer belongs to its request, or there is
an exception.

Without a GIL (`make free-threaded`) they are inside at the same time; with one
they take turns, which the interval below makes as short as it can be.
"""

import ast
import io
import os
import sys
import sysconfig
import threading
import time

import pytest

from degu._degu import parse_head
from degu.base import DeguError, Request, api
from degu.client import Client
from peers import Running, outcome

SECONDS = float(os.environ.get('DEGU_STORM_SECONDS', '1'))
COUNT = 6
FREE = sysconfig.get_config_var('Py_GIL_DISABLED')
# What a thread may be told; anything else is an error of ours.
REFUSED = (DeguError, OSError, RuntimeError, ValueError)


@pytest.fixture(autouse=True)
def short_turns():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def storm(work, count=COUNT, seconds=SECONDS):
    """Calls work(number, turn) in threads, again and again; what it returned,
    counted, with True for what was as it should be."""
    found = []
    failures = []
    barrier = threading.Barrier(count)
    end = time.monotonic() + seconds

    def run(number):
        (turn, mine) = (0, {})
        barrier.wait()
        try:
            while time.monotonic() < end and not failures:
                result = work(number, turn)
                mine[result] = mine.get(result, 0) + 1
                turn += 1
        except BaseException as error:
            failures.append(error)
        found.append(mine)

    threads = [threading.Thread(target=run, args=(number,))
               for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    total = {}
    for mine in found:
        for (result, times) in mine.items():
            total[result] = total.get(result, 0) + times
    return total


def connect(client):
    """A queue of an AF_UNIX listener that is full says so at once."""
    while True:
        try:
            return client.connect()
        except BlockingIOError:
            time.sleep(0.001)


def echo(session, request, api):
    """The target, headers and body of the request, in that order."""
    body = request.body.read() if request.body else b''
    text = '{} {} '.format(request.uri, sorted(
        item for item in request.headers.items()
        if item[0].startswith('x-'))).encode()
    return (200, 'OK', {}, text + body)


@pytest.fixture(scope='module')
def served():
    with Running(echo, max_connections=50, timeout=10,
                 max_requests_per_connection=10**6) as server:
        yield server


def test_no_lock_is_taken_back(monkeypatch):
    """An extension that does not say that it can do without a GIL turns it on
    for all, with a warning."""
    if not FREE:
        pytest.skip('this Python has a GIL')
    assert not sys._is_gil_enabled()
    monkeypatch.delenv('PYTHON_GIL', raising=False)
    assert outcome('import sys, degu.base, degu.client, degu.misc, degu.rgi, '
                   'degu.server; print(sys._is_gil_enabled())') == (
                       0, 'False\n', '')


def test_one_connection(served):
    """In use is refused; whoever gets in has the answer to its request."""
    client = Client(served.address)
    conn = connect(client)
    lock = threading.Lock()

    def fresh(old):
        nonlocal conn
        with lock:
            if conn is old:
                old.close()
                conn = connect(client)

    def work(number, turn):
        mine = conn
        uri = '/{}/{}'.format(number, turn)
        try:
            response = mine.post(uri, {'x-a': uri}, uri.encode())
            if response.status != 200:
                return response.status
            data = response.body.read()
        except REFUSED as error:
            if mine.closed or type(error) is not RuntimeError:
                fresh(mine)
            return type(error).__name__
        return data == "{0} [('x-a', '{0}')] {0}".format(uri).encode()

    found = storm(work)
    conn.close()
    assert found.get(True, 0) > 10 and False not in found, found


def test_one_connection_closed(served):
    """close() beside requests: it ends, and only this."""
    client = Client(served.address)
    conns = [connect(client)]

    def work(number, turn):
        conn = conns[-1]
        if number == 0:
            conns.append(connect(client))
            conn.close()
            conn.close()
            return 'closed' if conn.closed else 'open'
        uri = '/{}/{}'.format(number, turn)
        try:
            return conn.get(uri).body.read() == (uri + ' [] ').encode()
        except REFUSED as error:
            return type(error).__name__

    found = storm(work)
    conns[-1].close()
    assert found.get('closed') and found.get(True), found
    assert False not in found and 'open' not in found, found


@pytest.mark.parametrize('size', [1, 4096])
def test_one_body(size):
    """Each byte is handed out once."""
    data = os.urandom(1 << 22 if size > 1 else 1 << 16)
    body = api.Body(io.BytesIO(data), len(data))
    lock = threading.Lock()
    pieces = []

    def work(number, turn):
        try:
            piece = body.read(size)
        except (RuntimeError, ValueError):
            return 'busy'  # or read to its end by another
        with lock:
            pieces.append(piece)
        return True

    assert storm(work).get(True)
    while body.state != 2:
        pieces.append(body.read(65536))
    assert sum(map(len, pieces)) == len(data)
    counts = [bytes([n]) for n in range(256)]
    joined = b''.join(pieces)
    assert [joined.count(n) for n in counts] == [data.count(n) for n in counts]


def test_one_body_from_a_connection(served):
    """While one thread reads it, another takes the next request's turn."""
    client = Client(served.address)
    conn = connect(client)
    bodies = [conn.post('/', {}, b'x' * 300000).body]

    def work(number, turn):
        body = bodies[-1]
        try:
            if number == 0 and body.state == 2:
                bodies.append(conn.post('/', {}, b'x' * 300000).body)
                return 'next'
            piece = body.read(3000)
        except REFUSED as error:
            return type(error).__name__
        return not piece.strip(b'x/ []')

    found = storm(work)
    conn.close()
    assert found.get(True) and False not in found, found


def test_one_headers_dict(served):
    """It may change while it is sent; what is sent is what was there."""
    headers = {'x-{}'.format(n): 'v' for n in range(8)}
    local = threading.local()
    stock = [str(n) * 50 for n in range(10)]

    def work(number, turn):
        if number % 2:
            name = 'x-{}'.format(turn % 12)
            headers[name] = stock[turn % 10] + str(turn)
            headers.pop('x-{}'.format((turn + 5) % 12), None)
            return 'changed'
        if not hasattr(local, 'conn'):
            local.conn = connect(Client(served.address))
        data = local.conn.get('/', headers).body.read().decode()
        pairs = ast.literal_eval(data[2:])
        return all(name.startswith('x-') and
                   (value == 'v' or value[0] * 50 == value[:50])
                   for (name, value) in pairs)

    found = storm(work)
    assert found.get(True) and False not in found, found


def test_one_list_in_headers():
    """set-cookie: of a list that grows and shrinks."""
    cookies = ['a=1']

    def app(session, request, api):
        return (200, 'OK', {'set-cookie': cookies}, None)

    local = threading.local()
    with Running(app, timeout=10, max_requests_per_connection=10**6) as server:
        def work(number, turn):
            if number % 2:
                cookies.append('b={}'.format(turn) * 5)
                del cookies[:1 + turn % 3]
                return 'changed'
            if not hasattr(local, 'conn'):
                local.conn = connect(Client(server.address))
            found = local.conn.get('/').headers.get('set-cookie', 'a=')
            return set(''.join(found)) <= set('ab=0123456789')

        found = storm(work)
    assert found.get(True) and False not in found, found


def test_one_source():
    """A BodyIter is sent once, if two ask for it at the same moment."""
    times = 5000 if FREE else 200
    sources = [api.BodyIter(iter([b'hello', b'world']), 10)
               for _ in range(times)]
    files = ([], [])
    at = [0, 0]

    def work(number):
        for (turn, source) in enumerate(sources):
            at[number] = turn
            while at[1 - number] < turn:
                pass  # asleep it would be late
            file = io.BytesIO()
            try:
                source.write_to(file)
            except ValueError:
                pass
            files[number].append(file.getvalue())
        at[number] = times

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {tuple(sorted(pair)) for pair in zip(*files)} == {
        (b'', b'helloworld')}


def test_names_of_all():
    """Texts that are seen again and again, in any thread."""
    heads = [''.join('name-{}: v\r\n'.format(n) for n in range(at, at + 20))
             for at in range(0, 3000, 15)]
    wanted = [{'name-{}'.format(n): 'v' for n in range(at, at + 20)}
              for at in range(0, 3000, 15)]

    def work(number, turn):
        at = (turn + number) % len(heads)
        head = ('GET / HTTP/1.1\r\n' + heads[at] + '\r\n').encode()
        return parse_head(head, False, 0) == wanted[at]

    assert set(storm(work)) == {True}


def test_one_bytearray(served):
    """Sent by many, it cannot be resized meanwhile, and can be afterwards."""
    data = bytearray(b'x' * 5000)
    # Python's own views are not counted safely in 3.13.
    bodies = [data, memoryview(data)]
    local = threading.local()

    def work(number, turn):
        if not hasattr(local, 'conn'):
            local.conn = connect(Client(served.address))
        response = local.conn.post('/', {}, bodies[number % 2])
        return response.body.read() == b'/ [] ' + b'x' * 5000

    assert set(storm(work)) == {True}
    bodies.pop().release()
    data.append(1)


def test_one_request():
    """As an attribute and as an item it is the same, whoever sets it."""
    request = Request('GET', '/', {}, None, [], ['a'] * 100, None)
    stock = [[str(n)] for n in range(20)]

    def work(number, turn):
        if number == 0:
            request['path'] = list(stock[turn % 20])
        elif number == 1:
            request.update(query='q' * (turn % 30), body=bytearray(turn % 9))
        elif number == 2:
            repr(request)
        elif number == 3:
            request.shift_path()
        else:
            request.build_proxy_uri()
            assert list(request) and len(request.headers) == 0
            assert type(request.mount) is type(request['script']) is list
        return True

    assert set(storm(work)) == {True}
    request['path'] = ['b']
    assert request.path == request['path'] == ['b']


def test_one_server():
    """Clients come, go, break off; the others have their answers."""
    def app(session, request, api):
        session['last'] = request.uri
        return echo(session, request, api)

    with Running(app, max_connections=COUNT + 2, timeout=10) as server:
        def talk(number, turn, conn):
            for step in range(turn % 5):
                uri = '/{}/{}/{}'.format(number, turn, step)
                if number == 0:
                    conn.sock.sendall(b'GET /half')
                    return 'broken'
                response = conn.put(uri, {'x-n': uri}, b'abc')
                if response.status == 503:
                    return 'full'
                assert response.body.read() == (
                    "{0} [('x-n', '{0}')] abc".format(uri)).encode()
            return True

        def work(number, turn):
            conn = connect(Client(server.address))
            try:
                return talk(number, turn, conn)
            except (DeguError, ConnectionError):
                return 'full'  # and told so before all was sent
            finally:
                conn.close()

        found = storm(work)
    assert found.get(True, 0) > 10 and found.get('broken'), found


def test_stopped_by_all():
    """shutdown() and close() from everywhere, and only one end."""
    def work(number, turn):
        with Running(echo, timeout=10) as server:
            conn = connect(Client(server.address))
            conn.get('/').body.read()
            threads = [threading.Thread(target=server.server.shutdown)
                       for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            conn.close()
        return True

    assert set(storm(work, 2)) == {True}


def test_connections_are_made_by_all():
    """What is imported with the first of a kind is there once."""
    code = '''
import socket, sys, threading
from degu.base import Connection
barrier = threading.Barrier(8)
made = []
def work():
    (ours, theirs) = socket.socketpair()
    barrier.wait()
    conn = Connection(ours)
    made.append(conn.closed)
    conn.close()
    theirs.close()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(made)
'''
    assert outcome(code) == (0, '{}\n'.format([False] * 8), '')
