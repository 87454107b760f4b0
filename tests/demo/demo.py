# SPDX-License-Identifier: MIT OR 0BSD
"""The main job, shown: two servers, three clients, four kinds of address.

Starts the C server and the Python server on each kind of address and drives
each with the C client, the Python client and curl: GET, HEAD, a 404 without a
body, PUT of a file of 64 MiB and its download with the same SHA-256, a chunked
POST whose extensions come back, and a bad request.  Prints who talked to whom.
Exit status 0: everything worked.

    demo.py DIRECTORY-OF-THE-C-PROGRAMS

curl has no way to send chunk extensions, so from it the chunks come back bare.
The Degu clients refuse to send a bad request; so one is also written to a bare
socket, as is one by curl, and both are answered 400.
"""

import ast
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
STEPS = ('GET', 'HEAD', '404', 'PUT', 'download', 'chunked', 'bad')
PACE_MS = '300'
FILE_SIZE = 64 << 20
LIMIT = 60  # seconds for one client; none needs a tenth of it


class Address:
    """One place to listen, in the forms that the programs take."""

    def __init__(self, kind, text, literal):
        self.kind = kind
        self.text = text        # degu_parse_address()
        self.literal = literal  # the Python API

    @classmethod
    def from_text(cls, kind, text):
        if text.startswith('@'):
            name = re.sub(rb'%(..)', lambda m: bytes.fromhex(m[1].decode()),
                          text[1:].encode())
            return cls(kind, text, b'\0' + name)
        if text.startswith('/'):
            return cls(kind, text, text)
        (host, _, port) = text.rpartition(':')
        if host.startswith('['):
            return cls(kind, text, (host[1:-1], int(port), 0, 0))
        return cls(kind, text, (host, int(port)))

    @classmethod
    def from_literal(cls, kind, literal):
        if isinstance(literal, bytes):
            name = ''.join('%{:02x}'.format(b) for b in literal[1:])
            return cls(kind, '@' + name, literal)
        if isinstance(literal, str):
            return cls(kind, literal, literal)
        host = '[{}]' if len(literal) == 4 else '{}'
        return cls(kind, (host + ':{}').format(*literal[:2]), literal)

    def socket(self):
        family = (socket.AF_UNIX if not isinstance(self.literal, tuple) else
                  socket.AF_INET6 if len(self.literal) == 4 else
                  socket.AF_INET)
        sock = socket.socket(family)
        sock.settimeout(20)
        sock.connect(self.literal)
        return sock

    def curl(self):
        """The options that lead curl here, and the start of its URLs."""
        if isinstance(self.literal, bytes):
            name = self.literal[1:].decode()
            return (['--abstract-unix-socket', name], 'http://localhost')
        if isinstance(self.literal, str):
            return (['--unix-socket', self.literal], 'http://localhost')
        return ([], 'http://' + self.text)


def wanted(kind, tmp):
    """Where a server of this kind shall listen: no fixed ports or names."""
    return {
        'IPv4': ('127.0.0.1:0', ('127.0.0.1', 0)),
        'IPv6': ('[::1]:0', ('::1', 0, 0, 0)),
        'AF_UNIX path': (tmp + '/demo.sock',) * 2,
        'abstract name': ('@', b''),
    }[kind]


def digest(path):
    total = hashlib.sha256()
    with open(path, 'rb') as file:
        while piece := file.read(1 << 20):
            total.update(piece)
    return total.hexdigest()


class Demo:
    def __init__(self, programs, tmp):
        self.programs = programs
        self.tmp = tmp
        self.source = tmp + '/upload'
        self.target = tmp + '/download'
        self.env = dict(os.environ, PYTHONPATH=ROOT + '/py')
        self.passed = 0
        self.failures = []
        with open(self.source, 'wb') as file:
            for _ in range(FILE_SIZE >> 20):
                file.write(os.urandom(1 << 20))
        self.digest = digest(self.source)

    def start(self, language, kind):
        """A server that is ready, and its address."""
        (text, literal) = wanted(kind, self.tmp)
        if language == 'C':
            command = [self.programs + '/demo_server', text]
        else:
            command = [sys.executable, HERE + '/server.py', repr(literal)]
        process = subprocess.Popen(command, env=self.env, text=True,
                                   stdout=subprocess.PIPE)
        line = process.stdout.readline().strip()
        if not line:
            raise SystemExit('the {} server did not start on {}'.format(
                language, text))
        if language == 'C':
            return (process, Address.from_text(kind, line))
        return (process, Address.from_literal(kind, ast.literal_eval(line)))

    def degu_client(self, language, address):
        if language == 'C':
            command = [self.programs + '/demo_client', address.text]
        else:
            command = [sys.executable, HERE + '/client.py',
                       repr(address.literal)]
        done = subprocess.run(command + [self.source, self.target, PACE_MS],
                              env=self.env, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, timeout=LIMIT)
        results = {}
        for line in done.stdout.splitlines():
            (step, _, result) = line.partition(' ')
            results[step] = result
        if done.returncode and 'FAILED' not in done.stdout:
            results['GET'] = 'FAILED: ' + done.stdout.strip()[-300:]
        return results

    def curl_client(self, address):
        (options, url) = address.curl()
        body = self.tmp + '/body'

        def fetch(*arguments, output=body):
            """The status that curl got; '000' when it failed."""
            done = subprocess.run(
                ['curl', '--silent', '--globoff', '--noproxy', '*',
                 '--max-time', '20', '--output', output,
                 '--write-out', '%{http_code}', *options, *arguments],
                stdout=subprocess.PIPE, text=True, timeout=LIMIT)
            return '000' if done.returncode else done.stdout

        def content():
            with open(body, 'rb') as file:
                return file.read()

        def get():
            return fetch(url + '/hello') == '200' and (
                content() == b'hello, world')

        def head():
            return fetch('--head', url + '/hello') == '200' and (
                b'content-length: 12\r\n' in content().lower())

        def missing():
            return fetch('--include', url + '/missing') == '404' and (
                b'content-length: 0\r\n' in content().lower())

        def download():
            return fetch(url + '/file', output=self.target) == '200'

        def chunked():
            return fetch('--header', 'transfer-encoding: chunked',
                         '--data-binary', 'chunks without extensions',
                         url + '/chunks') == '200' and (
                content() == b'chunks without extensions')

        def bad():
            return fetch('--path-as-is', url + '/a/../hello') == '400'

        steps = {
            'GET': get, 'HEAD': head, '404': missing,
            'PUT': lambda: fetch('--upload-file', self.source,
                                 url + '/file') == '200',
            'download': download, 'chunked': chunked, 'bad': bad,
        }
        return {step: 'ok' if do() else 'FAILED' for (step, do) in
                steps.items()}

    def bare_socket(self, address):
        """A bad request as bytes: 400, then the close, and nothing else."""
        with address.socket() as sock:
            sock.sendall(b'GET  /hello HTTP/1.1\r\n\r\n')
            answer = b''
            while piece := sock.recv(4096):
                answer += piece
        ok = (answer.startswith(b'HTTP/1.1 400 ') and
              b'connection: close\r\n' in answer and
              answer.endswith(b'\r\n\r\n'))
        return {'bad': 'ok' if ok else 'FAILED: {!r}'.format(answer)}

    def row(self, server, client, kind, results, steps):
        """Counts and prints one line of the table."""
        if results.get('download') == 'ok':
            if digest(self.target) != self.digest:
                results['download'] = 'FAILED: another SHA-256'
        cells = []
        for step in STEPS:
            if step not in steps:
                cells.append('-')
                continue
            result = results.get(step, 'FAILED: not reached')
            cells.append('ok' if result == 'ok' else 'FAIL')
            self.passed += result == 'ok'
            if result != 'ok':
                self.failures.append('{} server, {}, {}, {}: {}'.format(
                    server, client, kind, step, result))
        if client == 'curl':
            cells[STEPS.index('chunked')] += '*'
        print_row(server, client, kind, *cells, results.get('rate', '-'))

    def drive(self, language, kind):
        (process, address) = self.start(language, kind)
        try:
            for client in ('C client', 'Python client', 'curl', 'bare socket'):
                if os.path.exists(self.target):
                    os.unlink(self.target)
                steps = STEPS
                if client == 'curl':
                    results = self.curl_client(address)
                elif client == 'bare socket':
                    results = self.bare_socket(address)
                    steps = ('bad',)
                else:
                    results = self.degu_client(client.split()[0], address)
                self.row(language, client, kind, results, steps)
            if process.poll() is not None:
                self.failures.append('the {} server on {} ended'.format(
                    language, kind))
        finally:
            process.terminate()
            status = process.wait(20)
            process.stdout.close()
        if language == 'C' and status:
            self.failures.append('the C server on {} ended with {}'.format(
                kind, status))
        if os.path.exists(self.tmp + '/demo.sock'):
            if language == 'C':
                self.failures.append('the C server left its socket behind')
            os.unlink(self.tmp + '/demo.sock')


def print_row(server, client, kind, *cells):
    form = '{:7} {:14} {:14}' + ' {:>4}' * 4 + ' {:>8} {:>8} {:>4} {:>11}'
    print(form.format(server, client, kind, *cells), flush=True)


def main(programs):
    if not shutil.which('curl'):
        raise SystemExit('the demo needs curl (Debian: curl)')
    started = time.monotonic()
    # All on one core: waking another costs more than a round trip, and the
    # rates would tell of the scheduler.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tmp = tempfile.mkdtemp(prefix='degu-demo.')
    try:
        demo = Demo(programs, tmp)
        print_row('server', 'client', 'address', *STEPS, 'round trips')
        print_row('', '', '', '', '', '', '64M', '64M', '+ext', '400',
                  'a second')
        for language in ('C', 'Python'):
            for kind in ('IPv4', 'IPv6', 'AF_UNIX path', 'abstract name'):
                demo.drive(language, kind)
    finally:
        shutil.rmtree(tmp)
    print('* curl cannot send chunk extensions; its chunks come back without.')
    print('bad: curl and a bare socket send a bad request and are answered '
          '400,\n     the Degu clients refuse to send one.')
    print('64 MiB with SHA-256 {}..., {:.0f} seconds in all'.format(
        demo.digest[:16], time.monotonic() - started))
    for failure in demo.failures:
        print('FAILED:', failure)
    print('{} passed, {} failed'.format(demo.passed, len(demo.failures)))
    return 1 if demo.failures else 0


if __name__ == '__main__':
    sys.exit(main(os.path.abspath(sys.argv[1])))
