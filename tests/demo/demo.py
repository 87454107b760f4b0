# SPDX-License-Identifier: MIT OR 0BSD
"""The main job, shown: two servers, four clients, four kinds of address.

Starts the C server and the Python server on each kind of address and drives
each with the C client, the Python client and curl: GET, HEAD, a 404 without a
body, PUT of a file of 64 MiB and its download with the same SHA-256, a chunked
POST whose extensions come back, and a bad request.  Then the same with TLS in
both profiles, each end with a certificate that the other one's authority has
signed, and with the program openssl as one client more; a client without a
certificate and one with that of another authority are refused.  Prints who
talked to whom.  Exit status 0: everything worked.

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
sys.path.insert(0, ROOT + '/py')
from degu.misc import TempPKI  # noqa: E402

PLAIN_STEPS = ('GET', 'HEAD', '404', 'PUT', 'download', 'chunked', 'bad')
STEPS = (*PLAIN_STEPS, 'no cert', 'foreign')
# What can be typed into openssl s_client, and how the answer begins and ends.
TYPED = {
    'GET': (b'GET /hello', b'200 OK', b'\r\n\r\nhello, world'),
    'HEAD': (b'HEAD /hello', b'200 OK', b'\r\n\r\n'),
    '404': (b'GET /missing', b'404 Not Found', b'\r\n\r\n'),
    'bad': (b'GET  /hello', b'400 Bad Request', b'\r\n\r\n'),
}
# How the clients say that the server has refused their certificate, or that
# they have none; TLS 1.2 has no alert of its own for that.
REFUSED = re.compile(rb'refused our certificate|wants a certificate|alert')
PACE_MS = '300'
FILE_MIB = 64
SMALL_MIB = 8  # with TLS, which takes longer, but over IPv6
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

    def curl(self, scheme):
        """The options that lead curl here, and the start of its URLs."""
        if isinstance(self.literal, bytes):
            name = self.literal[1:].decode()
            return (['--abstract-unix-socket', name], scheme + '://localhost')
        if isinstance(self.literal, str):
            return (['--unix-socket', self.literal], scheme + '://localhost')
        return ([], scheme + '://' + self.text)

    def s_client(self):
        """The options that lead openssl s_client here."""
        if isinstance(self.literal, str):
            return ['-unix', self.literal]
        return ['-connect', self.text]


class TLS:
    """A profile with the certificates for it, as the programs of the demo
    take them: PROFILE AUTHORITY [CERTIFICATE KEY]."""

    def __init__(self, profile, pki, foreign):
        self.profile = profile
        self.server = self.words(pki.get_server_config())
        self.client = self.words(pki.get_client_config())
        self.strangers = {
            'no cert': self.client[:2],
            'foreign': self.client[:2] +
                       self.words(foreign.get_client_config())[2:],
        }

    def words(self, sslconfig):
        return [self.profile, sslconfig['ca_file'], sslconfig['cert_file'],
                sslconfig['key_file']]


def curl_options(words):
    if not words:
        return []
    (profile, *files) = words
    options = ['--tlsv1.2', '--tls-max', '1.2']
    if profile == 'TLSv1.3':
        options = ['--tlsv1.3']
    for pair in zip(('--cacert', '--cert', '--key'), files):
        options += pair
    return options


def s_client_options(words):
    (profile, *files) = words
    options = ['-tls1_3' if profile == 'TLSv1.3' else '-tls1_2',
               '-verify_return_error', '-verify_hostname', 'localhost']
    for pair in zip(('-CAfile', '-cert', '-key'), files):
        options += pair
    return options


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
        self.target = tmp + '/download'
        self.env = dict(os.environ, PYTHONPATH=ROOT + '/py')
        self.passed = 0
        self.failures = []
        self.digest = {mib: self.create(mib) for mib in (SMALL_MIB, FILE_MIB)}
        self.choose(FILE_MIB)

    def create(self, mib):
        with open('{}/upload.{}'.format(self.tmp, mib), 'wb') as file:
            for _ in range(mib):
                file.write(os.urandom(1 << 20))
        return digest(file.name)

    def choose(self, mib):
        """The file that goes up and comes down from here on."""
        self.mib = mib
        self.source = '{}/upload.{}'.format(self.tmp, mib)

    def start(self, language, kind, tls):
        """A server that is ready, and its address."""
        (text, literal) = wanted(kind, self.tmp)
        if language == 'C':
            command = [self.programs + '/demo_server', text]
        else:
            command = [sys.executable, HERE + '/server.py', repr(literal)]
        command += tls.server if tls else []
        process = subprocess.Popen(command, env=self.env, text=True,
                                   stdout=subprocess.PIPE)
        line = process.stdout.readline().strip()
        if not line:
            raise SystemExit('the {} server did not start on {}'.format(
                language, text))
        if language == 'C':
            return (process, Address.from_text(kind, line))
        return (process, Address.from_literal(kind, ast.literal_eval(line)))

    def run_degu_client(self, language, address, words, target):
        if language == 'C':
            command = [self.programs + '/demo_client', address.text]
        else:
            command = [sys.executable, HERE + '/client.py',
                       repr(address.literal)]
        return subprocess.run(
            command + [self.source, target, PACE_MS, *words], env=self.env,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT)

    def degu_client(self, language, address, words):
        done = self.run_degu_client(language, address, words, self.target)
        text = done.stdout.decode()
        results = {}
        for line in text.splitlines():
            (step, _, result) = line.partition(' ')
            results[step] = result
        if done.returncode and 'ok' not in results.values():
            results['GET'] = 'FAILED: ' + text.strip()[-300:]
        return results

    def curl_client(self, address, words):
        (options, url) = address.curl('https' if words else 'http')
        options += curl_options(words)
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

    def type_in(self, address, words, line):
        """What openssl s_client prints with these lines typed into it."""
        return subprocess.run(
            ['openssl', 's_client', '-quiet', *address.s_client(),
             *s_client_options(words)],
            input=line + b' HTTP/1.1\r\nconnection: close\r\n\r\n',
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LIMIT)

    def s_client(self, address, words):
        results = {}
        for (step, (line, start, end)) in TYPED.items():
            done = self.type_in(address, words, line)
            ok = (done.stdout.startswith(b'HTTP/1.1 ' + start + b'\r\n') and
                  done.stdout.endswith(end))
            results[step] = 'ok' if ok else 'FAILED: {!r}'.format(
                done.stdout + done.stderr)
        return results

    def stranger(self, client, address, words):
        """A client that the server must refuse, and that must say so."""
        if client == 'curl':
            (options, url) = address.curl('https')
            done = subprocess.run(
                ['curl', '--silent', '--show-error', '--globoff', '--noproxy',
                 '*', '--max-time', '20', *options, *curl_options(words),
                 url + '/hello'], stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=LIMIT)
        elif client == 's_client':
            done = self.type_in(address, words, b'GET /hello')
        else:
            done = self.run_degu_client(client.split()[0], address, words,
                                        os.devnull)
        text = done.stdout + (done.stderr or b'')
        ok = (done.returncode and REFUSED.search(text) and
              b' ok\n' not in text and b'HTTP/1.1' not in text)
        return 'ok' if ok else 'FAILED: was not refused: {!r}'.format(text)

    def row(self, server, client, kind, tls, results, steps):
        """Counts and prints one line of the table."""
        if results.get('download') == 'ok':
            if digest(self.target) != self.digest[self.mib]:
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
                self.failures.append('{} server, {}, {}, {}, {}: {}'.format(
                    server, client, kind, tls.profile if tls else 'plain',
                    step, result))
        if client == 'curl':
            cells[STEPS.index('chunked')] += '*'
        print_row(server, client, kind, tls.profile[4:] if tls else '-',
                  *cells, results.get('rate', '-'))

    def talk(self, client, address, tls):
        """The steps that a client can make, and what has come of them."""
        if os.path.exists(self.target):
            os.unlink(self.target)
        words = tls.client if tls else []
        steps = PLAIN_STEPS
        if client == 'curl':
            results = self.curl_client(address, words)
        elif client == 'bare socket':
            results = self.bare_socket(address)
            steps = ('bad',)
        elif client == 's_client':
            results = self.s_client(address, words)
            steps = tuple(TYPED)
        else:
            results = self.degu_client(client.split()[0], address, words)
        if tls:
            for (who, words) in tls.strangers.items():
                results[who] = self.stranger(client, address, words)
            steps += tuple(tls.strangers)
        return (steps, results)

    def drive(self, language, kind, tls=None):
        (process, address) = self.start(language, kind, tls)
        last = 's_client' if tls else 'bare socket'
        try:
            for client in ('C client', 'Python client', 'curl', last):
                (steps, results) = self.talk(client, address, tls)
                self.row(language, client, kind, tls, results, steps)
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


def print_row(server, client, kind, tls, *cells):
    form = ('{:6} {:13} {:13} {:3}' + ' {:>4}' * 4 +
            ' {:>8} {:>8} {:>4} {:>7} {:>7} {:>7}')
    print(form.format(server, client, kind, tls, *cells), flush=True)


def main(programs):
    for program in ('curl', 'openssl'):
        if not shutil.which(program):
            raise SystemExit('the demo needs {0} (Debian: {0})'.format(program))
    started = time.monotonic()
    # All on one core: waking another costs more than a round trip, and the
    # rates would tell of the scheduler.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tmp = tempfile.mkdtemp(prefix='degu-demo.')
    try:
        demo = Demo(programs, tmp)
        print_row('server', 'client', 'address', 'TLS', *STEPS, 'round')
        print_row('', '', '', '', '', '', '', '64M*', '64M*', '+ext', '400',
                  'refused', 'refused', 'trips/s')
        for language in ('C', 'Python'):
            for kind in ('IPv4', 'IPv6', 'AF_UNIX path', 'abstract name'):
                demo.drive(language, kind)
        with TempPKI() as pki, TempPKI() as foreign:
            for language in ('C', 'Python'):
                for profile in ('TLSv1.2', 'TLSv1.3'):
                    for kind in ('IPv4', 'IPv6', 'AF_UNIX path'):
                        demo.choose(FILE_MIB if kind == 'IPv6' else SMALL_MIB)
                        demo.drive(language, kind,
                                   TLS(profile, pki, foreign))
    finally:
        shutil.rmtree(tmp)
    print('64M* the file has {} MiB, with TLS over IPv4 and AF_UNIX {} MiB.'
          .format(FILE_MIB, SMALL_MIB))
    print('ok* curl cannot send chunk extensions; its chunks come back '
          'without.')
    print('bad: curl and a bare socket send a bad request and are answered '
          '400,\n     the Degu clients refuse to send one.')
    print('s_client is the program openssl, with requests typed into it.')
    print('no cert, foreign: a client without a certificate and one with that '
          'of\n     another authority are refused, and say so.')
    print('64 MiB with SHA-256 {}..., {:.0f} seconds in all'.format(
        demo.digest[FILE_MIB][:16], time.monotonic() - started))
    for failure in demo.failures:
        print('FAILED:', failure)
    print('{} passed, {} failed'.format(demo.passed, len(demo.failures)))
    return 1 if demo.failures else 0


if __name__ == '__main__':
    sys.exit(main(os.path.abspath(sys.argv[1])))
