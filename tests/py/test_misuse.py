# SPDX-License-Identifier: MIT OR 0BSD
"""What a hostile or careless object can do to the extension from inside of the
calls that it gets: each of these has ended in freed or foreign memory once."""

import gc
import json
import os
import socket
import subprocess
import sys

import pytest

from degu import _degu
from degu.base import Body, Connection, Request
from peers import HERE, outcome

# ------------------------------------------------------------- the view given

class Shortener:
    """Gives back the view that it is given, which frees what is behind it to
    be made shorter, and claims to have filled it."""

    def __init__(self, shorten):
        self.shorten = shorten

    def readinto(self, view):
        (behind, size) = (view.obj, len(view))
        view.release()
        self.shorten(behind, size)
        return size

    recv_into = readinto

    def readline(self, size):
        return b'1000\r\n'

    def send(self, data):
        return len(data)

    def close(self):
        pass


def empty(behind, size):
    behind.clear()


def shrink(behind, size):
    del behind[size - 1:]


@pytest.mark.parametrize('shorten', [empty, shrink])
def test_buffer_shortened_in_the_call(shorten):
    with pytest.raises(BufferError):
        Body(Shortener(shorten), 60000).read()
    with pytest.raises(BufferError):
        Connection(Shortener(shorten)).get('/')


def test_buffer_long_enough():
    """It is none of our business what is behind the bytes that count."""
    def trim(behind, size):
        del behind[size:]

    assert Body(Shortener(trim), 60000).read() == bytes(60000)


def test_buffer_of_the_reader():
    """By way of the collector it is to be had without a view."""
    class File:
        def readinto(self, view):
            view.release()
            (reader,) = [one for one in gc.get_referents(body)
                         if not isinstance(one, type)]
            for one in gc.get_referents(reader):
                if isinstance(one, bytearray):
                    one.clear()
            return 60000

    body = Body(File(), 60000)
    with pytest.raises(BufferError):
        body.read()


# Where a view of our memory would be kept for long.
KEEPER = '''
import socket, ssl
from degu.base import Connection

class Keeper:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def write(self, view):
        kept.append(memoryview(view))
        return len(view)

    def read(self, size, view):
        kept.append(memoryview(view))
        return len(view)

kept = []
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
(ours, theirs) = socket.socketpair()
theirs.send(b'x')
sock = context.wrap_socket(ours, do_handshake_on_connect=False)
sock._sslobj = Keeper(sock._sslobj)
conn = Connection(sock)
try:
    conn.put('/', {}, b'x' * 100)
except TypeError as error:
    print(len(kept), '_sslobj' in str(error))
'''


def test_object_of_openssl():
    """It is given our own memory, so it has to be OpenSSL's."""
    assert outcome(KEEPER)[:2] == (0, '0 True\n')


# ----------------------------------------------- what an error message prints

class Vanishing(type):
    """The text of such a class takes its object out of where it is."""

    def __repr__(cls):
        cls.vanish()
        return 'Vanishing'


def vanishing(vanish):
    return Vanishing('Own', (), {
        'vanish': staticmethod(vanish), '__repr__': lambda self: 'gone'})()


def connection():
    (ours, theirs) = socket.socketpair()
    return (Connection(ours), theirs)


def test_value_that_vanishes():
    (conn, theirs) = connection()
    values = []
    values.append(vanishing(values.clear))
    with pytest.raises(TypeError, match='Vanishing: gone'):
        conn.get('/', {'set-cookie': values})
    assert values == []
    conn.close()
    theirs.close()


def test_item_that_vanishes():
    request = Request('GET', '/', {}, None, [], [], None)
    for name in ('path', 'script'):
        request[name] = vanishing(lambda name=name: request.update({name: []}))
        with pytest.raises(TypeError, match='Vanishing: gone'):
            request.shift_path()


def test_range_that_vanishes():
    """The copy of the headers is found by the collector."""
    class Own:
        def __eq__(self, other):
            for one in gc.get_objects():
                if type(one) is dict and one.get('range') is self:
                    one.clear()
            return False

        __hash__ = None

        def __repr__(self):
            return 'gone'

    (conn, theirs) = connection()
    with pytest.raises(ValueError, match='mismatch.*gone'):
        conn.get_range('/', {'range': Own()}, 0, 5)
    conn.close()
    theirs.close()


# ---------------------------------------------------------------- half-made

def test_no_connection_before_its_socket_is_known():
    """Nobody can come by one that is half made."""
    class Sock:
        def __getattr__(self, name):
            found.extend(one for one in gc.get_objects()
                         if type(one) is Connection and one not in others)
            return print

    found = []
    others = [one for one in gc.get_objects() if type(one) is Connection]
    conn = Connection(Sock())
    assert found == []
    assert conn.sock.close is print


@pytest.mark.parametrize('first', [-1, 2, 10**6, 2**62, -2**63])
def test_head_that_begins_nowhere(first):
    with pytest.raises(ValueError, match='first'):
        _degu.parse_head(b'G', False, first)


# ------------------------------------------------------- some of make faults

@pytest.mark.parametrize('group, step', [
    ('unmade', 301), ('again', 31), ('values', 301), ('sources', 53),
    ('files', 53), ('callbacks', 53)])
def test_hostile_acts(group, step):
    """Each in a process of its own, here also with sanitizers."""
    script = os.path.join(HERE, '..', 'faults', 'hostile.py')
    process = subprocess.run(
        [sys.executable, script, group, str(step)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    found = json.loads(process.stdout.splitlines()[-1])
    assert found['acts'] > 2, process.stderr
    assert (found['crashes'], found['wrong']) == (0, 0), process.stderr
