# SPDX-License-Identifier: MIT OR 0BSD
"""Runs degu.h on emulated microcontrollers, without an operating system.

    firmware.py DIRECTORY [BOARD...]

Builds for each board and runs there (a) vectors.c, which puts all of
tests/vectors through layers 3 to 6 on the target, and of which must be right
all that fit the limits of config.h; (b) device.c, a device on a UART that QEMU
puts on a Unix socket, to which the Python client, the C client, curl and noise
talk, and which is itself a client of a Python server.
"""

import fcntl
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [ROOT + '/py', ROOT + '/tests/vectors']

import vectors  # noqa: E402

from degu.base import api  # noqa: E402
from degu.client import Client  # noqa: E402
from degu.server import Server  # noqa: E402

LIMIT = 180    # seconds for one program, or for one board's device
ANSWER = 15    # seconds for an answer, which may be one to what is not complete
SILENCE = 0.2  # seconds: more than device.c's QUIET_MS, with time to spare
NOISE = 100_000
# config.h
HEAD, FIELDS, LINE, TRAILER = 1024, 16, 128, 256
TOO_LARGE = {'E_PREAMBLE_SIZE', 'E_TARGET_SIZE', 'E_HEADER_COUNT',
             'E_CHUNK_LINE_SIZE', 'E_TRAILER_SIZE'}
# No firmware of ours may hold these: memory that is allocated, text that is
# formatted by a library, divisions of 64 bits.
UNWANTED = re.compile(r'_?(malloc|calloc|realloc|free|sbrk)(_r)?|\w*printf\w*|'
                      r'__(aeabi_u?ldivmod|u?divdi3|u?moddi3)|\w*errno\w*')


class Totals:
    lock = threading.Lock()  # the boards run side by side
    passed = failed = 0


def check(label, good, what=''):
    with Totals.lock:
        Totals.passed += bool(good)
        Totals.failed += not good
    if not good:
        print('   FAILED: {}: {}'.format(label, what))


class Board:
    def __init__(self, name, tools, flags, flash, ram, machine, up):
        self.name = name
        self.tools = tools
        self.flags = flags
        self.flash = flash
        self.ram = ram
        self.machine = machine
        self.up = up  # how QEMU is told of the second UART

    def build(self, directory, image, sources, sizes, *flags):
        made = '{}/{}-{}.elf'.format(directory, image, self.name)
        (flash_size, ram_size, stack_size) = sizes
        symbols = {'__flash': self.flash, '__flash_size': flash_size,
                   '__ram': self.ram, '__ram_size': ram_size,
                   '__stack_size': stack_size}
        subprocess.run([
            self.tools + 'gcc', '--specs=picolibc.specs', *self.flags,
            '-std=c99', '-Os', '-g', '-Wall', '-Wextra', '-Werror',
            '-ffunction-sections', '-fdata-sections', '-I' + ROOT, '-include',
            HERE + '/config.h', *flags,
            *(os.path.join(HERE, source) for source in sources),
            *('-Wl,--defsym={}={}'.format(*s) for s in symbols.items()),
            '-o', made], check=True)
        return made

    def symbols(self, image):
        text = subprocess.run([self.tools + 'nm', image], check=True,
                              text=True, stdout=subprocess.PIPE).stdout
        return {line.split()[-1] for line in text.splitlines()}

    def ram_of(self, image):
        text = subprocess.run([self.tools + 'size', image], check=True,
                              text=True, stdout=subprocess.PIPE).stdout
        (code, data, bss) = map(int, text.splitlines()[1].split()[:3])
        return code + data, data + bss


BOARDS = [
    Board('mps2', 'arm-none-eabi-', ['-mcpu=cortex-m3', '-mthumb'],
          '0', '0x20000000', ['qemu-system-arm', '-M', 'mps2-an385'],
          ['-serial', 'chardev:up']),
    Board('virt', 'riscv64-unknown-elf-', ['-march=rv32imac', '-mabi=ilp32'],
          '0x80000000', '0x80400000',
          ['qemu-system-riscv32', '-M', 'virt', '-bios', 'none'],
          ['-device', 'pci-serial,chardev=up,addr=1']),
]


@contextmanager
def qemu(board, image, *options, **how):
    """A process of its own group, which is gone in the end, also when this
    program is killed."""
    process = subprocess.Popen(
        ['setpriv', '--pdeathsig', 'KILL', *board.machine, '-display', 'none',
         '-monitor', 'none', '-kernel', image, *options],
        stdin=subprocess.DEVNULL, start_new_session=True, **how)
    watchdog = threading.Timer(LIMIT, os.killpg, (process.pid, signal.SIGKILL))
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# ------------------------------------------------- the vectors on the target

def heads_fit(data):
    """Do the heads, chunk lines and trailers of a stream fit?  Walks as far as
    it can be understood; behind a fault nothing is read any more."""
    while data:
        (head, end, rest) = data.partition(b'\r\n\r\n')
        if len(head + end) > HEAD or head.count(b'\r\n') > FIELDS:
            return False
        if re.search(rb'(?im)^transfer-encoding:', head):
            (fits, rest) = chunks_fit(rest)
            if not fits:
                return False
        length = re.search(rb'(?im)^content-length: *(\d+)', head)
        data = rest[int(length[1]):] if length else rest
    return True


def chunks_fit(data):
    """(do they, what stands behind them)"""
    while True:
        (line, end, rest) = data.partition(b'\r\n')
        if len(line + end) > LINE:
            return False, b''
        size = re.match(rb'[0-9A-Fa-f]{1,16}', line)
        if not size or not end:
            return True, b''
        if int(size[0], 16) == 0:
            return trailer_fits(rest)
        data = rest[int(size[0], 16) + 2:]


def trailer_fits(data):
    if data.startswith(b'\r\n'):
        return True, data[2:]
    (trailer, end, rest) = data.partition(b'\r\n\r\n')
    return (len(trailer + end) <= TRAILER and
            trailer.count(b'\r\n') < FIELDS, rest)


def fits(case):
    """Does it stay within config.h, whatever comes out of it?"""
    kind = case.kind[0]
    if kind in ('request', 'response', 'requests', 'responses'):
        return heads_fit(case.input)
    if kind == 'body':
        return case.kind[1] != 'chunked' or chunks_fit(case.input)[0]
    if kind in ('fields', 'trailer'):
        return (len(case.input) <= (HEAD if kind == 'fields' else TRAILER) and
                case.input.count(b'\r\n') <= FIELDS)
    return kind != 'chunk-line' or len(case.input) <= LINE


def judge_vectors(board, text):
    cases = [case for case in vectors.cases() if case.kind[0] != 'tls']
    results = {words[1]: words for words in map(str.split, text.splitlines())
               if words and words[0] in ('ok', 'differs')}
    check('all vectors were run', set(results) == {c.name for c in cases} and
          '\n{} cases\n'.format(len(cases)) in text, text[-200:])
    fitting = [case.name for case in cases if fits(case)]
    check('most of them fit', 10 * len(fitting) > 9 * len(cases), len(fitting))
    for name in fitting:
        check('vector ' + name, results.get(name, [''])[0] == 'ok',
              results.get(name))
    # What is too large for the target is refused there as just that.
    for name in set(results) - set(fitting):
        check('vector ' + name, results[name][0] == 'ok' or
              results[name][2] in TOO_LARGE, results[name])
    print('   {}: {} vectors, {} fit its limits'.format(
        board.name, len(cases), len(fitting)))


def run_vectors(board, directory):
    data = '{}/vectors-{}.txt'.format(directory, board.name)
    with open(data, 'wb') as file:
        for path in sorted(vectors.HERE.glob('*.txt')):
            if path.name != 'tls.txt':
                file.write(path.read_bytes() + b'\n')
    image = board.build(directory, 'vectors', ['vectors.c', 'core.c'],
                        ('0x400000', '0x400000', '0x4000'),
                        '--oslib=semihost', '--crt0=semihost',
                        '-DVECTORS="{}"'.format(data))
    with qemu(board, image, '-serial', 'none', '-semihosting-config',
              'enable=on,target=native', stdout=subprocess.PIPE,
              stderr=subprocess.STDOUT) as process:
        text = process.stdout.read().decode()
        check('the vectors came to an end', process.wait() == 0,
              process.returncode)
    judge_vectors(board, text)


# -------------------------------------------------------- HTTP over a UART

class Collector:
    """A Degu server on the host, to which the device reports."""

    def __init__(self, path):
        self.got = []
        self.server = Server(path, self.app)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def app(self, session, request, api):
        self.got.append((request.method, request.uri,
                         request.headers.get('host'), request.body.read()))
        if len(self.got) == 2:
            return (503, 'Service Unavailable', {}, b'too much')
        return (201, 'Created', {}, None)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.thread.join(LIMIT)


def connected(path):
    """A socket that is the other end of the UART, once QEMU listens."""
    end = time.monotonic() + ANSWER
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(ANSWER)
        try:
            sock.connect(path)
            return sock
        except OSError:
            sock.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.01)


def wakes(path):
    """Waits for the device, which loses what comes while it starts."""
    end = time.monotonic() + LIMIT / 2
    with connected(path) as sock:
        got = b''
        while not got.startswith(b'HTTP/1.1 200 OK\r\n'):
            sock.sendall(b'GET / HTTP/1.1\r\nhost: d\r\n\r\n')
            got = quiet(sock)
            if time.monotonic() > end:
                break
    check('the device is there', got.startswith(b'HTTP/1.1 200 OK\r\n'), got)


def talk_python(board, path):
    client = Client(path)
    conn = client.connect()
    response = conn.get('/', {})
    check('GET / from Python', (response.status, response.body.read()) ==
          (200, {'mps2': b'mps2-an385', 'virt': b'virt'}[board.name]))
    check('HEAD', conn.head('/', {}).headers ==
          {'content-length': {'mps2': 10, 'virt': 4}[board.name]})
    check('PUT', conn.put('/setting', {}, b'23').status == 204)
    check('GET what was put', conn.get('/setting', {}).body.read() == b'23')
    first = int(conn.get('/sensor', {}).body.read())
    check('readings', first // 1000 == 23 and
          int(conn.get('/sensor', {}).body.read()) == first + 1, first)
    chunks = [(('level', '3'), b'fan on'), (('note', 'a "b" c'), b'x' * 30),
              (('plain', None), b'.'), (None, b'bare'), (None, b'')]
    response = conn.post('/log', {}, api.ChunkedBodyIter(chunks))
    check('POST in chunks', (response.status, response.body.read()) ==
          (200, b'4'))
    got = list(conn.get('/log', {}).body)
    check('the chunks and their extensions', got == chunks, got)
    check('404', conn.get('/none', {}).status == 404)
    response = conn.delete('/log', {})
    check('405', (response.status, response.headers['allow']) ==
          (405, 'GET, POST'))
    response = conn.post('/log', {}, b'plain')
    # Read to its end: what the device still sends goes to whoever comes next.
    check('411', (response.status, response.body.read()) ==
          (411, b'in chunks'))
    conn.close()


def talk_c(path, program):
    done = subprocess.run([program, path], text=True, timeout=LIMIT,
                          stdout=subprocess.PIPE)
    lines = done.stdout.splitlines()
    check('the C client', done.returncode == 0 and len(lines) == 6 and
          all(line.endswith(' ok') for line in lines), done.stdout)


def curl(path, *words):
    return subprocess.run(
        ['curl', '-sS', '-m', str(ANSWER), '--unix-socket', path, '-w',
         ' %{http_code}', *words], text=True, timeout=LIMIT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout


def talk_curl(path):
    for (words, answer) in (
            (['-X', 'PUT', '-d', '42', 'http://d/setting'], ' 204'),
            (['http://d/setting'], '42 200'),
            (['-X', 'PUT', '-d', 'warm', 'http://d/setting'],
             'not a number 400'),
            (['-H', 'transfer-encoding: chunked', '-d', 'hello',
              'http://d/log'], '1 200'),
            (['http://d/log'], 'hello 200'),
            (['-X', 'PUT', '-d', '5' * 400, 'http://d/setting'], ' 413')):
        got = curl(path, *words)
        check('curl ' + words[-1], got == answer, got)
    time.sleep(SILENCE)  # the rest of that body is noise


def reports(path, collector):
    """The device as a client, at the other UART."""
    conn = Client(path).connect()
    texts = [conn.post('/report', {}, None).body.read() for _ in range(3)]
    conn.close()
    check('reports are answered', texts == [b'201', b'503', b'201'], texts)
    check('reports came', [words[:3] for words in collector.got] ==
          [('POST', '/report', 'collector')] * 3 and
          all(re.fullmatch(rb'42\d{3}', words[3]) for words in collector.got),
          collector.got)


# ----------------------------------------------------- bad input, and noise

def quiet(sock):
    """Waits until the device has taken all that was sent, as tcdrain(3) does
    for a UART; then all that comes until the line has been silent for a while,
    with the answer to what was sent last; b'' if there is none."""
    got = b''
    end = time.monotonic() + LIMIT
    while fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)) != bytes(4):
        if time.monotonic() > end:
            return got
        time.sleep(0.005)
    sock.settimeout(ANSWER)
    try:
        while True:
            more = sock.recv(65536)
            if not more:
                raise EOFError('QEMU has ended')
            got += more
            sock.settimeout(SILENCE)
    except TimeoutError:
        return got


GOOD = re.compile(rb'HTTP/1\.1 200 OK\r\ncontent-length: 2\r\n\r\n\d\d')


def answers(sock, label):
    """A good request, which is answered."""
    got = b''
    sock.settimeout(ANSWER)
    sock.sendall(b'GET /setting HTTP/1.1\r\nhost: d\r\n\r\n')
    try:
        while len(got) < 40 and GOOD.match(got) is None:
            got += sock.recv(65536)
    except TimeoutError:
        pass
    check(label, GOOD.fullmatch(got), got)


POST = b'POST /log HTTP/1.1\r\nhost: d\r\ntransfer-encoding: chunked\r\n\r\n'
PUT = b'PUT /setting HTTP/1.1\r\nhost: d\r\ncontent-length: '
BAD = (
    (b'\n', 400),
    (b'GET /\n\n', 400),
    (b'GET  / HTTP/1.1\r\nhost: d\r\n\r\n', 400),
    (b'GET / HTTP/1.1\r\nhost: d\r\nhost: e\r\n\r\n', 400),
    (b'GET / HTTP/2.0\r\nhost: d\r\n\r\n', 505),
    (b'BREW / HTTP/1.1\r\nhost: d\r\n\r\n', 501),
    (b'GET /' + b'a' * 1024 + b' HTTP/1.1\r\n', 414),
    (b'GET / HTTP/1.1\r\n' + b'a: b\r\n' * 17 + b'\r\n', 431),
    (b'GET / HTTP/1.1\r\na: ' + b'b' * 1024 + b'\r\n\r\n', 431),
    (b'GET / HT', 408),
    (PUT + b'2\r\n\r\n1', 408),
    (PUT + b'200000\r\n\r\n' + b'1' * 2000, 413),
    (PUT + b'+2\r\n\r\n12', 400),
    (POST + b'x\r\n', 400),
    (POST + b'1;' + b'a' * 128 + b'\r\n1\r\n', 400),
    (POST + b'1\r\nab', 400),
    (POST + b'31\r\n' + b'a' * 0x31, 413),
    (POST + b'1\r\na\r\n' * 9 + b'0\r\n\r\n', 413),
    (POST + b'1\r\na\r\n0\r\nhost: d\r\n\r\n', 400),
)


def padded(size, lines):
    """A head of so many bytes and field lines."""
    head = b'GET / HTTP/1.1\r\n' + b'a: b\r\n' * (lines - 1) + b'c: '
    return head + b'd' * (size - len(head) - 4) + b'\r\n\r\n'


def limits(sock):
    """The device's own, at N and at N + 1.  It has no room to keep so long an
    extension, which is another answer than that to one that is too long."""
    line = POST + b'1;' + b'a' * (LINE - 4) + b'\r\n1\r\n0\r\n\r\n'
    trailer = POST + b'0\r\na: ' + b'b' * (TRAILER - 7) + b'\r\n\r\n'
    for (data, status) in (
            (padded(HEAD, FIELDS), 200),
            (padded(HEAD + 1, FIELDS), 431),
            (padded(HEAD, FIELDS + 1), 431),
            (line, 413), (line.replace(b';', b';b'), 400),
            (trailer, 200), (trailer.replace(b'a:', b'aa:'), 431)):
        sock.sendall(data)
        got = quiet(sock)
        check('limit, {} bytes of {!r}'.format(len(data), data[:20]),
              got.startswith(b'HTTP/1.1 %d ' % status), got)


def bad_input(sock):
    for (data, status) in BAD:
        sock.sendall(data)
        got = quiet(sock)
        check(repr(data[:50]), re.fullmatch(
            rb'HTTP/1\.1 %d [^\r]*\r\n(?=[^$]*connection: close\r\n)'
            rb'[^$]*\r\n\r\n' % status, got), got)
        answers(sock, 'listens behind ' + repr(data[:50]))


def noise(sock):
    """Bursts of all sizes, each with an answer; then a good request."""
    generator = random.Random(7)
    (left, bursts) = (NOISE, 0)
    while left:
        burst = min(left, generator.choice((500, 2000, 20000)))
        sock.sendall(generator.randbytes(burst))
        got = quiet(sock)
        check('noise is answered', got.startswith(b'HTTP/1.1 4'), got[:80])
        left -= burst
        bursts += 1
    answers(sock, 'listens behind {} bytes of noise'.format(NOISE))
    print('   {} bytes of noise in {} bursts'.format(NOISE, bursts))


def half_gone(path):
    """The other end goes in the middle of a request; the next one waits."""
    sock = connected(path)
    sock.sendall(b'GET /sensor HTTP/1.1\r\nho')
    sock.close()
    sock = connected(path)
    quiet(sock)  # the answer to the other, or to nobody
    answers(sock, 'listens behind half a request')
    sock.close()


def run_device(board, directory, program):
    sizes = ('0x10000', '0x2000', '0x600')
    image = board.build(directory, 'device',
                        ['device.c', 'board_{}.c'.format(board.name),
                         'core.c'], sizes)
    unwanted = list(filter(UNWANTED.fullmatch, board.symbols(image)))
    check('nothing unwanted in the image', not unwanted, unwanted)
    (flash, ram) = board.ram_of(image)
    print('   {}: {} bytes of flash, {} of RAM, {} of them stack'.format(
        board.name, flash, ram, int(sizes[2], 16)))
    with tempfile.TemporaryDirectory(prefix='degu-firmware.') as tmp:
        (down, up) = (tmp + '/down', tmp + '/up')
        with Collector(up) as collector, qemu(
                board, image, '-serial',
                'unix:{},server=on,wait=off'.format(down), '-chardev',
                'socket,id=up,path=' + up, *board.up):
            wakes(down)
            talk_python(board, down)
            talk_c(down, program)
            talk_curl(down)
            reports(down, collector)
            half_gone(down)
            with connected(down) as sock:
                limits(sock)
                bad_input(sock)
                noise(sock)
            talk_python(board, down)


def run_board(board, directory, program):
    started = time.monotonic()
    try:
        run_vectors(board, directory)
        run_device(board, directory, program)
    except Exception:  # an answer that is no answer, or none
        check(board.name, False, traceback.format_exc())
    print('   {}: {:.0f} s'.format(board.name, time.monotonic() - started))


def main(directory, *names):
    os.makedirs(directory, exist_ok=True)
    program = directory + '/client'
    subprocess.run([*shlex.split(os.environ.get('CC', 'cc')), '-O1', '-Wall',
                    '-Wextra', '-I' + ROOT, '-pthread', HERE + '/client.c',
                    '-o', program], check=True)
    boards = [board for board in BOARDS if not names or board.name in names]
    with ThreadPoolExecutor(len(boards)) as pool:
        for ended in [pool.submit(run_board, board, directory, program)
                      for board in boards]:
            ended.result()
    print('{} passed, {} failed'.format(Totals.passed, Totals.failed))
    return 1 if Totals.failed or not Totals.passed else 0


if __name__ == '__main__':
    sys.exit(main(os.path.abspath(sys.argv[1]), *sys.argv[2:]))
