# SPDX-License-Identifier: MIT OR 0BSD
"""From `import degu` to the first answer, in a new interpreter, whose own start
stands beside it.
"""

import ast
import http.client
import subprocess
import sys
import time

from contest import CORE, GREETING, Row, column, median, pinned, turns

ROUNDS = 15
TARGET_MS = 40
SERVER = '''
import time
begun = time.monotonic()
import degu
from degu.server import Server
def app(session, request, api):
    return (200, 'OK', {}, b'hello, world')
server = Server(('127.0.0.1', 0), app)
print((begun, server.address), flush=True)
server.serve_forever()
'''


def first_answer():
    runs = turns('start', ROUNDS, {'server': server, 'nothing': interpreter})
    (import_ms, all_ms) = (median(column(runs['server'], index))
                           for index in range(2))
    bare_ms = median(runs['nothing'])
    return [Row('start, from import to the first answer',
                '{:.1f} ms'.format(import_ms),
                'an interpreter alone {:.1f} ms'.format(bare_ms),
                import_ms, TARGET_MS, True, 'ms'),
            Row('start, interpreter and all', '{:.1f} ms'.format(all_ms),
                'an interpreter alone {:.1f} ms'.format(bare_ms),
                all_ms, None, True, 'ms')], {
        'import': import_ms, 'all': all_ms, 'interpreter': bare_ms}


def server():
    """ms until there was an answer: since the import, since the beginning."""
    started = time.monotonic()
    with subprocess.Popen(pinned(CORE, sys.executable, '-c', SERVER),
                          text=True, stdout=subprocess.PIPE) as process:
        line = process.stdout.readline()
        if not line:
            raise SystemExit('the server did not start')
        (begun, address) = ast.literal_eval(line)
        conn = http.client.HTTPConnection(*address, timeout=10)
        conn.request('GET', '/')
        response = conn.getresponse()
        answer = (response.status, response.read())
        answered = time.monotonic()
        conn.close()
        process.terminate()
    if answer != (200, GREETING):
        raise SystemExit('came: {}'.format(answer))
    return (answered - begun) * 1e3, (answered - started) * 1e3


def interpreter():
    begun = time.monotonic()
    subprocess.run(pinned(CORE, sys.executable, '-c', 'pass'), check=True)
    return (time.monotonic() - begun) * 1e3
