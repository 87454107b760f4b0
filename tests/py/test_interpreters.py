# SPDX-License-Identifier: MIT OR 0BSD
"""Several interpreters in one process, each with a GIL of its own: nothing of
one is seen in another, and each ends cleanly.

tests/interpreter.py runs all other tests inside of one.
"""

import sys

import pytest

from peers import outcome
from test_import import INTERPRETERS

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12),
    reason='this Python has no interpreters with a GIL of their own')

# What each of them does: a server, its client, and everything else that is
# kept somewhere.
WORK = r'''
ALL = """
import gc, io, threading, weakref
from degu.base import Request, api
from degu.client import Client
from degu.server import Server

def app(session, request, api):
    return (200, 'OK', {'x-me': ME}, request.body)

server = Server(b'', app)
thread = threading.Thread(target=server.serve_forever)
thread.start()
conn = Client(server.address).connect()
for turn in range(50):
    response = conn.post('/' + ME, {'x-b': ME}, api.BodyIter([ME.encode()] * 3,
                                                             3 * len(ME)))
    assert response.headers['x-me'] == ME, response
    assert response.body.read() == ME.encode() * 3
conn.close()
server.close()
thread.join()
request = Request('GET', '/', {}, None, [], [ME], None)
assert dict(request)['path'] == [ME]
"""

def work(name):
    run('ME = %r' % name + ALL)
'''


def test_at_the_same_time():
    assert outcome(INTERPRETERS + WORK + '''
failures = []
def guarded(name):
    try:
        for _ in range(3):
            work(name)
    except BaseException as error:
        failures.append(error)
threads = [threading.Thread(target=guarded, args=('me-%d' % n,))
           for n in range(4)]
for thread in threads:
    thread.start()
ME = 'main'
exec(ALL)
for thread in threads:
    thread.join()
assert failures == [], failures
print('ended')
''') == (0, 'ended\n', '')


def test_nothing_is_shared():
    """Neither classes nor what an instance could be kept in."""
    assert outcome(INTERPRETERS + r'''
import os
(ours, theirs) = os.pipe()
NAMES = """
import os
import degu._degu, degu.base, degu.exceptions
found = [value for module in (degu._degu, degu.base, degu.exceptions)
         for value in vars(module).values()
         if getattr(value, '__module__', '').startswith('degu')]
found.append(degu.base.api)
assert len(found) > 15, found
text = ' '.join(str(id(value)) for value in found)
"""
space = {}
exec(NAMES, space)
here = set(space['text'].split())
# Both are there at a time, so the same place would be the same object.
run(NAMES + "os.write(%d, text.encode())\n" % theirs)
there = set(os.read(ours, 65536).decode().split())
assert len(there) == len(here) and not here & there, here & there
print('nothing')
''') == (0, 'nothing\n', '')


def test_ended_in_the_middle():
    """A request that is kept, an open connection, a body half read."""
    assert outcome(INTERPRETERS + r'''
for _ in range(5):
    run("""
import io, socket
import degu.base
from degu.base import Connection, Request, api
(ours, theirs) = socket.socketpair()
conn = Connection(ours)
theirs.sendall(b'')
body = api.Body(io.BytesIO(b'hello'), 5)
assert body.read(2) == b'he'
loop = [conn, body]
loop.append(loop)
degu.base.kept = [Request('GET', '/', {}, body, [], [], None), loop]
ours.close()
theirs.close()
""")
print('ended')
''') == (0, 'ended\n', '')
