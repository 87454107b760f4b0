# SPDX-License-Identifier: MIT OR 0BSD
"""Instructions that the Python server spends on a request, app included.

    instructions.py [TREE]

TREE is another checkout, its extension built, to compare with this one; PYTHON
the interpreter.  Counted by valgrind, between a complete head and the last byte
of its answer, so that neither the machine's load nor who waits for whom plays
a part.  Printed is the slope between a short run and a long one, which differs
by some instructions from time to time, as cache lines of the allocator do.
"""

import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PYTHON = os.environ.get('PYTHON', sys.executable)
FEW = 500
MANY = 2500

# Each answers the same, told apart by how it learns what is asked.
APPS = {
    'app(session, request, api), attributes': '''
def app(session, request, api):
    if request.method != 'GET' or request.path != ['example']:
        return stop()
    return (200, 'OK', {}, b'hello, world')
''',
    'app(session, request, bodies), items': '''
def app(session, request, bodies):
    if request['method'] != 'GET' or request['path'] != ['example']:
        return stop()
    return (200, 'OK', {}, b'hello, world')
''',
    'app(request), items': '''
def app(request):
    if request['method'] != 'GET' or request['path'] != ['example']:
        return stop()
    return (200, 'OK', {}, b'hello, world')
''',
}

SERVER = '''
import sys
sys.path.insert(0, sys.argv[1] + '/py')
from degu.server import Server
{}
def stop():
    server.shutdown()
    return (404, 'Not Found', {{}}, None)

server = Server(sys.argv[2], app, max_requests=10**9, timeout=1000)
print(flush=True)
server.serve_forever()
'''

CLIENT = '''
import sys
sys.path.insert(0, sys.argv[1] + '/py')
from degu.client import Client
conn = Client(sys.argv[2], timeout=1000).connect()
for _ in range(int(sys.argv[3])):
    conn.get('/example', {'accept': 'text/plain',
                          'user-agent': 'bench'}).body.read()
conn.get('/stop', {})
conn.close()
'''


def count(tree, app, requests):
    """Instructions of one run."""
    with tempfile.TemporaryDirectory(prefix='degu.') as folder:
        address = folder + '/socket'
        server = subprocess.Popen(
            ['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null',
             '--toggle-collect=loop_handle', PYTHON, '-c', SERVER.format(app),
             tree, address],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if server.stdout.readline():
            subprocess.run([PYTHON, '-c', CLIENT, tree, address,
                            str(requests)], check=True)
        (_, errors) = server.communicate()
    found = re.search(r'Collected : (\d+)', errors)
    if not found:
        raise SystemExit(errors)
    return int(found[1])


def main():
    trees = [*sys.argv[1:], ROOT]
    for (name, app) in APPS.items():
        for tree in trees:
            try:
                slope = (count(tree, app, MANY) - count(tree, app, FEW)) / (
                    MANY - FEW)
                text = '{:7.0f}'.format(slope)
            except subprocess.CalledProcessError:
                text = '      -'
            print('{}  {:40} {}'.format(
                text, name, '' if tree == ROOT else tree), flush=True)


if __name__ == '__main__':
    main()
