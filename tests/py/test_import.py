# SPDX-License-Identifier: MIT OR 0BSD
"""What an import costs and loads; subinterpreters."""

import os
import re
import sys

import pytest

import degu
from cases import ROOT
from peers import outcome

LOADED = '''
import sys
before = set(sys.modules)
import {}
print(*sorted(set(sys.modules) - before))
'''


def loaded(name):
    (status, output, errors) = outcome(LOADED.format(name))
    assert (status, errors) == (0, '')
    return set(output.split())


def test_package():
    """python-api 1: no submodule, and nothing heavy."""
    assert loaded('degu') == {'degu'}


@pytest.mark.parametrize('name, without', [
    ('degu.base', {'ssl', 'socket', 'multiprocessing', 'degu.server',
                   'degu.client', 'degu.misc'}),
    ('degu.server', {'ssl', 'multiprocessing', 'degu.client', 'degu.misc',
                     'inspect', 'logging'}),
    ('degu.client', {'ssl', 'multiprocessing', 'degu.server', 'degu.misc'}),
    ('degu.misc', {'ssl', 'degu.client'})])
def test_modules(name, without):
    found = loaded(name)
    assert name in found and not found & without


@pytest.mark.parametrize('name', ['degu', 'degu.base', 'degu.client',
                                  'degu.misc', 'degu.server'])
def test_names(name):
    """What a module promises it has."""
    code = 'import {0}\nfor name in {0}.__all__:\n    getattr({0}, name)\n'
    assert outcome(code.format(name)) == (0, '', '')


SERVES = '''
import socket, sys, threading
from degu.server import Server

def app(session, request, api):
    return (200, 'OK', {}, b'hello')

def ask():
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(server.address)
        sock.sendall(b'GET / HTTP/1.1\\r\\n\\r\\n')
        sock.recv(4096)
    server.shutdown()

server = Server(b'', app)
threading.Thread(target=ask).start()
server.serve_forever()
print(*{'inspect', 'logging'} & set(sys.modules))
'''


def test_start():
    """What takes long to import is not needed for an answer."""
    assert outcome(SERVES) == (0, '\n', '')


LOGS = '''
import sys
from degu.server import Server

def app(session, request, api):
    return (200, 'OK', {}, b'hello')

server = Server(b'', app)
server.shutdown()
assert 'logging' not in sys.modules
import logging
logging.basicConfig(level=logging.INFO, format='%(name)s %(funcName)s',
                    stream=sys.stdout)
server.serve_forever()
'''


def test_logging_later():
    """Who imports logging is told, by the function that has it to tell."""
    assert outcome(LOGS) == (0, 'degu.server _run\n' * 2, '')


def test_version():
    with open(os.path.join(ROOT, 'degu.h'), encoding='utf-8') as file:
        (version,) = re.findall(r'DEGU_VERSION_STRING "(.*)"', file.read())
    assert degu.__version__ == version


def test_typed():
    folder = os.path.dirname(degu.__file__)
    assert os.path.exists(os.path.join(folder, 'py.typed'))


def test_imported_again():
    """Multi-phase initialisation: another module object, other classes, and
    both go on working."""
    code = '''
import gc, io, sys
import degu._degu, degu.base
one = degu.base.api
for round in range(5):
    for name in [name for name in sys.modules if name.startswith('degu')]:
        del sys.modules[name]
    import degu.base
    two = degu.base.api
    assert two is not one and two.Range is not one.Range
    assert two.Range(0, 5) != one.Range(0, 5)
    for api in (one, two):
        assert api.Body(io.BytesIO(b'hello'), 5).read() == b'hello'
    gc.collect()
'''
    assert outcome(code) == (0, '', '')


# The module's name, and the way to run a text, changed from release to release.
INTERPRETERS = '''
import sys, threading
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

def run(text):
    number = interpreters.create()
    try:
        failed = interpreters.run_string(
            number, 'import sys; sys.path[:] = %r\\n' % sys.path + text)
        assert failed is None, failed
    finally:
        interpreters.destroy(number)

WORK = """
import gc, io
from degu.base import Connection, ProtocolError, api
class Script:
    def __init__(self):
        self.data = DATA
    def recv_into(self, buf):
        n = min(len(buf), len(self.data))
        buf[:n] = self.data[:n]
        self.data = self.data[n:]
        return n
    def send(self, data):
        return len(data)
    def close(self):
        pass
DATA = b'HTTP/1.1 200 OK\\\\r\\\\ncontent-length: 5\\\\r\\\\n\\\\r\\\\nhello'
for _ in range(300):
    conn = Connection(Script(), None)
    assert conn.get('/', {'a': 'b'}).body.read() == b'hello'
    try:
        conn.get('/', {'A': 'b'})
    except ProtocolError:
        pass
    else:
        raise AssertionError
    assert str(api.Range(0, 5)) == 'bytes=0-4'
assert api.Body(io.BytesIO(b'x'), 1).read() == b'x'
gc.collect()
"""
'''


def test_subinterpreters():
    """One behind the other, and beside the main one."""
    assert outcome(INTERPRETERS + '''
for _ in range(3):
    run(WORK)
exec(WORK)
run(WORK)
exec(WORK)
''') == (0, '', '')


def test_subinterpreters_in_threads():
    """At the same time; from 3.12 on each with a lock of its own."""
    assert outcome(INTERPRETERS + '''
failures = []

def guarded():
    try:
        run(WORK)
    except BaseException as error:
        failures.append(error)

threads = [threading.Thread(target=guarded) for _ in range(3)]
for thread in threads:
    thread.start()
exec(WORK)
for thread in threads:
    thread.join()
assert failures == [], failures
''') == (0, '', '')


def test_own_lock():
    """From 3.12 on the extension says that it can have one."""
    if sys.version_info < (3, 12):
        return
    assert outcome(INTERPRETERS + '''
run('import degu._degu')
''') == (0, '', '')
