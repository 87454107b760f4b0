# SPDX-License-Identifier: MIT OR 0BSD
"""Instructions that the Python server spends on a request, app included, and
that the Python client does.

    instructions.py [TREE]

TREE is another checkout, its extension built, to compare with this one; PYTHON
the interpreter.  Counted by valgrind: of the server between a complete head and
the last byte of its answer, of the client all that its program does, so that
neither the machine's load nor who waits for whom plays a part.  Printed is the
slope between a short run and a long one, which differs by some instructions
from time to time, as cache lines of the allocator do.
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
ATTRIBUTES = '''
def app(session, request, api):
    if request.method != 'GET' or request.path != ['example']:
        return stop()
    return (200, 'OK', {}, b'hello, world')
'''
ITEMS = '''
def app(session, request, bodies):
    if request['method'] != 'GET' or request['path'] != ['example']:
        return stop()
    return (200, 'OK', {}, b'hello, world')
'''
REQUEST_ALONE = '''
def app(request):
    if request['method'] != 'GET' or request['path'] != ['example']:
        return stop()
    return (200, 'OK', {}, b'hello, world')
'''
ECHO = '''
def app(session, request, api):
    if request.body is None:
        return stop()
    return (200, 'OK', {}, request.body.read())
'''

GET = '''
    conn.get('/example', {'accept': 'text/plain',
                          'user-agent': 'bench'}).body.read()
'''
# What a browser sends, but for what the server makes nothing of.
BROWSER = '''
    conn.get('/example', {
        'accept': 'text/html,application/xhtml+xml,*/*;q=0.8',
        'accept-encoding': 'gzip, deflate, br',
        'accept-language': 'en-US,en;q=0.5',
        'cookie': 'session=0123456789abcdef0123456789abcdef; theme=dark',
        'sec-fetch-dest': 'document', 'sec-fetch-mode': 'navigate',
        'sec-fetch-site': 'none', 'upgrade-insecure-requests': '1',
        'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:109.0)',
        'x-number': NUMBER}).body.read()
'''
POST = '''
    conn.post('/', {}, b'A' * 108).body.read()
'''

# Whose instructions, the app, and what the client does again and again.
WORKS = {
    'server, app(session, request, api), attributes':
        ('server', ATTRIBUTES, GET),
    'server, app(session, request, bodies), items': ('server', ITEMS, GET),
    'server, app(request), items': ('server', REQUEST_ALONE, GET),
    'server, 10 headers, the same ones again':
        ('server', ATTRIBUTES, BROWSER.replace('NUMBER', "'1'")),
    'server, 10 headers, of which one is new':
        ('server', ATTRIBUTES, BROWSER.replace('NUMBER', 'str(i)')),
    'server, POST of 108 bytes, answered by 108': ('server', ECHO, POST),
    'client, GET': ('client', ATTRIBUTES, GET),
    'client, POST of 108 bytes, answered by 108': ('client', ECHO, POST),
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
for i in range(int(sys.argv[3])):{}
conn.get('/stop', {{}})
conn.close()
'''
CALLGRIND = ['valgrind', '--tool=callgrind', '--callgrind-out-file=/dev/null']
VALGRIND = {'server': [*CALLGRIND, '--toggle-collect=loop_handle'],
            'client': CALLGRIND}


def collected(errors):
    found = re.search(r'Collected : (\d+)', errors)
    if not found:
        raise SystemExit(errors)
    return int(found[1])


def count(tree, who, app, work, requests):
    """Instructions of one run."""
    watched = {'server': [], 'client': []}
    watched[who] = VALGRIND[who]
    with tempfile.TemporaryDirectory(prefix='degu.') as folder:
        address = folder + '/socket'
        server = subprocess.Popen(
            [*watched['server'], PYTHON, '-c', SERVER.format(app), tree,
             address],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if server.stdout.readline():
            client = subprocess.run(
                [*watched['client'], PYTHON, '-c', CLIENT.format(work), tree,
                 address, str(requests)],
                check=True, text=True, stderr=subprocess.PIPE)
        (_, errors) = server.communicate()
    return collected(errors if who == 'server' else client.stderr)


def main():
    trees = [*sys.argv[1:], ROOT]
    for (name, work) in WORKS.items():
        for tree in trees:
            try:
                slope = (count(tree, *work, MANY) - count(tree, *work, FEW)) / (
                    MANY - FEW)
                text = '{:7.0f}'.format(slope)
            except subprocess.CalledProcessError:
                text = '      -'
            print('{}  {:47} {}'.format(
                text, name, '' if tree == ROOT else tree), flush=True)


if __name__ == '__main__':
    main()
