# SPDX-License-Identifier: MIT OR 0BSD
"""`python -m degu`, as a person or a script starts it."""

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import unquote_to_bytes

import pytest

import degu
from degu.client import Client
from peers import (
    HERE,
    WAIT,
    Running,
    answers,
    dial,
    listening,
    receive_head,
    talk,
    until,
)

LAST = b'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'
APP = '''
class Site:
    def app(self, session, request, api):
        return (200, 'OK', {}, b'rgi ' + request.uri.encode())

site = Site()
app = site.app
number = 17

def refusing(session, request, api):
    return (200, 'OK', {}, b'')
refusing.on_connect = 17

def wsgi(environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'wsgi ' + environ['PATH_INFO'].encode()]

def slow(session, request, api):
    import time
    print('asked', flush=True)
    time.sleep(0.5)
    return (200, 'OK', {}, b'done')
'''


@pytest.fixture
def folder():
    """A directory with a program, a package and a file; its name is short
    enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix='degu.') as name:
        os.mkdir(name + '/pkg')
        for (path, text) in (('program.py', APP), ('pkg/__init__.py', ''),
                             ('pkg/mod.py', APP), ('broken.py', '1 / 0'),
                             ('file.txt', 'content')):
            with open(os.path.join(name, path), 'w') as file:
                file.write(text)
        yield name


@contextlib.contextmanager
def started(*args, cwd=None, program=('-m', 'degu'), **streams):
    """The command in a process, which does not outlive the block."""
    env = dict(os.environ, COLUMNS='80', PYTHONDONTWRITEBYTECODE='1')
    if 'ASAN_OPTIONS' in env:
        env['ASAN_OPTIONS'] += ':detect_leaks=0'
    package = os.path.dirname(os.path.dirname(degu.__file__))
    env['PYTHONPATH'] = package
    streams = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.PIPE,
               'stderr': subprocess.PIPE, **streams}
    process = subprocess.Popen([sys.executable, *program, *args], env=env,
                               cwd=cwd or HERE, **streams)
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def run(*args, **keywords):
    """(exit code, stdout, stderr) of a command that ends by itself."""
    with started(*args, **keywords) as process:
        (output, errors) = process.communicate(timeout=WAIT)
        return (process.returncode, output, (errors or b'').decode())


@contextlib.contextmanager
def serving(*args, **keywords):
    """(process, address as text) of a server."""
    if '--address' not in args:
        args = (*args, '--address', '@')
    with started('serve', *args, **keywords) as process:
        line = process.stdout.readline().decode()
        assert line.endswith('\n'), process.stderr.read()
        yield (process, line[:-1])


def stop(process, number=signal.SIGTERM):
    """(exit code, stderr) after a signal."""
    process.send_signal(number)
    (output, errors) = process.communicate(timeout=WAIT)
    assert output == b''
    return (process.returncode, errors.decode())


def parsed(text):
    """The address that was printed, as Python has it."""
    if text[0] == '/':
        return text
    if text[0] == '@':
        return b'\0' + unquote_to_bytes(text[1:])
    (host, port) = text.rsplit(':', 1)
    if host[0] == '[':
        return (host[1:-1], int(port), 0, 0)
    return (host, int(port))


def body_of(address, uri='/'):
    request = LAST.replace(b' / ', b' ' + uri.encode() + b' ')
    (answer,) = answers(talk(parsed(address), request))
    return (answer.status, answer.body)


def is_one_line(errors):
    return errors.startswith('degu: ') and errors.count('\n') == 1


# --------------------------------------------------------------------- usage

@pytest.mark.parametrize('args', [
    (), ('bad',), ('serve',), ('get',), ('get', '@x'), ('version', 'x'),
    ('get', '@x', '/', 'z'), ('get', '127.0.0.1', '/'), ('get', ':80', '/'),
    ('get', 'localhost:99999', '/'), ('get', '1.2.3:80', '/'),
    ('get', 'a b:80', '/'), ('get', '[::1:80', '/'),
    ('get', '@x', '/', '-H', 'nocolon'), ('get', '@x', '/', '-H', ': x'),
    ('get', '@x', '/', '--range', '5'), ('get', '@x', '/', '--range', '9-5'),
    ('get', '@x', '/', '--timeout', '0'),
    ('get', '@x', '/', '--timeout', 'soon'),
    ('get', '@x', '/', '--head', '-o', 'x'), ('get', '@x', '/', '--bad'),
    ('serve', '.', '--address', 'localhost:80'),
    ('serve', '.', '--address', 'nowhere'), ('serve', '.', '--address', ''),
    ('serve', '.', '--address', '127.0.0.1:65536'),
    ('serve', '.', '--timeout', '-1'), ('serve', '.', '--timeout', 'nan'),
    ('serve', '.', '--max-connections', '0'),
    ('serve', '.', '--max-connections', 'x'),
    ('serve', '.', '--wsgi'), ('serve', 'a:b', '--listing'),
])
def test_bad_usage(args):
    (code, output, errors) = run(*args)
    assert (code, output) == (2, b'')
    assert errors.startswith('usage: ') and 'Traceback' not in errors
    assert ': error: ' in errors.splitlines()[-1]


@pytest.mark.parametrize('command', [(), ('serve',), ('get',), ('version',)])
def test_help(command):
    (code, output, errors) = run(*command, '--help')
    assert (code, errors) == (0, '')
    assert output.startswith(b'usage: python -m degu')
    assert max(map(len, output.splitlines())) <= 80
    if command in (('serve',), ('get',)):
        for text in (b'127.0.0.1:80', b'[fe80::1%eth0]:80', b'@name',
                     b'exit codes: 0 success, 1 failure, 2 bad usage'):
            assert text in output


def test_version():
    (code, output, errors) = run('version')
    assert (code, errors) == (0, '')
    assert output.decode().splitlines() == [
        'degu ' + degu.__version__,
        'Python ' + sys.version.split()[0],
        'extension ' + degu.__version__]


# --------------------------------------------------------------------- serve

@pytest.mark.parametrize('form', ['127.0.0.1:0', '[::1]:0', '{}/socket',
                                  '@', '@degu%20test%20{}'])
def test_serve_and_get_at_every_address(form, folder):
    with serving('.', '--address', form.format(folder), cwd=folder) as (
            process, address):
        assert address != form or form[0] == '/'
        assert re.fullmatch({
            '1': r'127\.0\.0\.1:[1-9]\d+', '[': r'\[::1\]:[1-9]\d+',
            '{': re.escape(folder + '/socket'),
        }.get(form[0], '@.+'), address)
        assert body_of(address, '/file.txt') == (200, b'content')
        assert run('get', address, '/file.txt') == (0, b'content', '')
        (code, errors) = stop(process)
    assert code == 0 and 'Traceback' not in errors
    assert not os.path.exists(folder + '/socket')


def test_default_address(folder):
    """8000, which somebody may have: then it is what the error names."""
    with started('serve', folder) as process:
        line = process.stdout.readline()
        if line:
            assert line == b'127.0.0.1:8000\n'
            assert stop(process)[0] == 0
        else:
            assert process.stderr.read().startswith(
                b'degu: 127.0.0.1:8000: Address already in use')


@pytest.mark.parametrize('args,uri,body', [
    (('program:app',), '/x', b'rgi /x'),
    (('program:site.app',), '/x', b'rgi /x'),
    (('pkg.mod:app',), '/x', b'rgi /x'),
    (('--wsgi', 'program:wsgi'), '/x', b'wsgi /x'),
    (('pkg.mod:wsgi', '--wsgi'), '/', b'wsgi /'),
])
def test_serve_app(args, uri, body, folder):
    with serving(*args, cwd=folder) as (process, address):
        assert body_of(address, uri) == (200, body)
        assert stop(process)[0] == 0


def test_serve_directory(folder):
    os.mkdir(folder + '/a:b')
    with open(folder + '/a:b/x', 'w') as file:
        file.write('y')
    with serving('a:b', cwd=folder) as (process, address):
        assert body_of(address, '/x') == (200, b'y')
        assert body_of(address, '/')[0] == 404
        assert stop(process)[0] == 0
    with serving(folder, '--listing') as (process, address):
        (status, body) = body_of(address, '/')
        assert status == 200 and b'file.txt' in body
        assert stop(process)[0] == 0


@pytest.mark.parametrize('target,text', [
    ('nowhere', 'nowhere: N'),
    ('nowhere:app', "ModuleNotFoundError: No module named 'nowhere'"),
    ('program:none', 'AttributeError: '),
    ('program:site.none', 'AttributeError: '),
    ('program:number', 'not callable: program:number'),
    ('program:refusing', 'app.on_connect: not callable'),
    ('broken:app', 'ZeroDivisionError: division by zero'),
    ('program:', 'not a directory, and not module:app'),
    (':app', 'not a directory, and not module:app'),
    ('a:b:c', 'not a directory, and not module:app'),
    ('.program:app', 'not a directory, and not module:app'),
])
def test_bad_targets(target, text, folder):
    (code, output, errors) = run('serve', target, '--address', '@', cwd=folder)
    assert (code, output) == (1, b'')
    assert is_one_line(errors) and text in errors


def test_verbose_shows_tracebacks(folder):
    (code, _, errors) = run('serve', '-v', 'broken:app', cwd=folder)
    assert code == 1
    assert errors.startswith('Traceback') and '1 / 0' in errors
    assert is_one_line(errors.splitlines(True)[-1])


def test_address_in_use(folder):
    path = folder + '/file.txt'
    (code, output, errors) = run('serve', '.', '--address', path, cwd=folder)
    assert (code, output) == (1, b'')
    assert errors == 'degu: {}: Address already in use\n'.format(path)
    assert os.path.getsize(path)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_a_server(number, folder):
    path = folder + '/socket'
    with serving('.', '--quiet', '--address', path, cwd=folder) as (
            process, address):
        # A connection that waits does not keep it.
        with dial(path):
            assert stop(process, number) == (0, '')
    assert not os.path.exists(path)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_let_a_request_finish(number, folder):
    with serving('program:slow', '--quiet', cwd=folder) as (process, address):
        with dial(parsed(address)) as sock:
            sock.sendall(LAST)
            assert process.stdout.readline() == b'asked\n'
            assert stop(process, number) == (0, '')
            assert receive_head(sock).endswith(b'done')


def test_second_signal_ends_it_at_once(folder):
    with serving('program:slow', '--quiet', cwd=folder) as (process, address):
        with dial(parsed(address)) as sock:
            sock.sendall(LAST)
            assert process.stdout.readline() == b'asked\n'
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
            assert stop(process)[0] == -signal.SIGTERM
            assert receive_head(sock) == b''


# Becomes the command, with a descriptor at 3 and further ones behind it.
ACTIVATE = '''
import fcntl, os, sys
fds = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, 50)
       for fd in sys.argv[1].split()]
for (place, fd) in enumerate(fds, 3):
    os.dup2(fd, place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)))
os.execv(sys.executable, [sys.executable, '-m', 'degu', *sys.argv[2:]])
'''


@contextlib.contextmanager
def activated(*socks, args=()):
    """The command with these sockets, as systemd would start it."""
    fds = [sock.fileno() for sock in socks]
    program = ('-c', ACTIVATE, ' '.join(map(str, fds)))
    with started('serve', HERE, *args, program=program,
                 pass_fds=fds) as process:
        yield process


@pytest.fixture
def listener(folder):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(folder + '/socket')
        sock.listen()
        yield sock


def test_passed_socket(listener, folder):
    """It is served, and its file is left to whoever made it."""
    with activated(listener) as process:
        assert process.stdout.readline() == b'%s/socket\n' % folder.encode()
        (status, body) = body_of(folder + '/socket', '/test_main.py')
        assert status == 200 and b'test_passed_socket' in body
        assert stop(process)[0] == 0
    assert os.path.exists(folder + '/socket')


def test_passed_sockets_that_will_not_do(listener, folder):
    other = folder + '/other'
    with socket.socket(socket.AF_UNIX) as silent, open(os.devnull) as file:
        silent.bind(other)
        for (socks, args, code, text) in (
                ((listener, listener), (), 1, 'need one socket; got 2'),
                ((listener,), ('--address', '@'), 2, '--address beside'),
                ((silent,), (), 1, 'does not listen'),
                ((file,), (), 1, 'LISTEN_FDS: ')):
            with activated(*socks, args=args) as process:
                (output, errors) = process.communicate(timeout=WAIT)
            assert (process.returncode, output) == (code, b'')
            assert text in errors.decode()
            assert code == 2 or is_one_line(errors.decode())


def test_socket_that_was_passed_to_another_process(folder, monkeypatch):
    monkeypatch.setenv('LISTEN_PID', '1')
    monkeypatch.setenv('LISTEN_FDS', '1')
    with serving(folder, '--listing') as (_, address):
        assert address.startswith('@')
        assert b'file.txt' in body_of(address)[1]


def test_logs(folder):
    with serving('.', cwd=folder) as (process, address):
        body_of(address)
        (code, errors) = stop(process)
    lines = errors.splitlines()
    assert code == 0 and len(lines) >= 4
    for line in lines:
        assert re.match(r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ INFO ', line)
    assert 'New connection' in errors
    with serving('.', '--quiet', cwd=folder) as (process, address):
        body_of(address)
        assert stop(process) == (0, '')


def test_server_options(folder):
    with serving('.', '--timeout', '7.5', '--max-connections', '1',
                 cwd=folder) as (process, address):
        with dial(parsed(address)) as first:
            first.sendall(b'GET /file.txt HTTP/1.1\r\n\r\n')
            receive_head(first)
            with dial(parsed(address)) as second:
                assert b' 503 ' in receive_head(second)
        (code, errors) = stop(process)
    assert code == 0
    assert '[timeout=7.5, max_connections=1, ' in errors


def test_serve_without_a_reader(folder):
    """Nobody would know the address."""
    (ours, theirs) = os.pipe()
    os.close(ours)
    path = folder + '/socket'
    try:
        assert run('serve', '.', '--quiet', '--address', path, cwd=folder,
                   stdout=theirs) == (1, None, '')
    finally:
        os.close(theirs)
    assert not os.path.exists(path)


# ----------------------------------------------------------------------- get

def echo(session, request, api):
    """What the URI says: a status, or how the body comes."""
    what = request.path[0] if request.path else ''
    lines = ''.join('{}: {}\n'.format(*item)
                    for item in sorted(request.headers.items()))
    if what.isdigit():
        return (int(what), 'As Asked', {'x-y': 'z'}, b'explanation\n')
    if what == 'cookies':
        return (200, 'OK', {'set-cookie': ['a=1', 'b=2']}, b'body')
    if what == 'chunked':
        chunks = [(None, b'chunk\n')] * 3 + [(None, b'')]
        return (200, 'OK', {}, api.ChunkedBodyIter(chunks))
    if what == 'large':
        return (200, 'OK', {}, api.BodyIter([bytes(1 << 20)] * 8, 8 << 20))
    if what == 'cut':
        return (200, 'OK', {}, api.BodyIter([bytes(1 << 20)], 8 << 20))
    if what == 'range':
        value = request.headers['range']
        headers = {'content-range': value.content_range(26)}
        return (206, 'Partial Content', headers,
                b'abcdefghijklmnopqrstuvwxyz'[value.start:value.stop])
    if request.method == 'HEAD':
        return (200, 'OK', {'content-length': 17}, None)
    return (200, 'OK', {}, lines.encode())


@pytest.fixture(scope='module')
def served(leaves_nothing):
    with Running(echo, ('127.0.0.1', 0)) as running:
        yield '{}:{}'.format(*running.address)


def test_get(served):
    assert run('get', served, '/') == (0, b'host: %s\n' % served.encode(), '')
    assert run('get', served, '/chunked') == (0, b'chunk\n' * 3, '')
    assert run('get', served, '/large') == (0, bytes(8 << 20), '')


def test_get_from_a_name(served):
    port = served.split(':')[1]
    assert run('get', 'localhost:' + port, '/') == (
        0, b'host: localhost:%s\n' % port.encode(), '')


def test_get_headers(served):
    assert run('get', served, '/', '-H', 'X-One:  a b ', '-H', 'x-two:',
               '-H', 'x-one:c', '-H', 'Host: example.org') == (
        0, b'host: example.org\nx-one: a b, c\nx-two: \n', '')


def test_get_include(served):
    assert run('get', served, '/cookies', '-i') == (
        0, b'HTTP/1.1 200 OK\nset-cookie: a=1\nset-cookie: b=2\n'
           b'content-length: 4\n\nbody', '')


def test_get_head(served):
    assert run('get', served, '/', '--head') == (
        0, b'HTTP/1.1 200 OK\ncontent-length: 17\n\n', '')


def test_get_range(served):
    assert run('get', served, '/range', '--range', '2-4') == (0, b'cde', '')
    assert run('get', served, '/range', '--range', '0-0') == (0, b'a', '')


@pytest.mark.parametrize('status', [400, 404, 500])
def test_get_bad_status(served, status, folder):
    uri = '/{}'.format(status)
    line = 'degu: {} As Asked\n'.format(status)
    assert run('get', served, uri) == (1, b'explanation\n', line)
    (code, output, errors) = run('get', served, uri, '-i')
    assert (code, errors) == (1, line)
    assert output.startswith(b'HTTP/1.1 %d As Asked\nx-y: z\n' % status)
    path = folder + '/file.txt'
    assert run('get', served, uri, '-o', path) == (1, b'', line)
    with open(path) as file:
        assert file.read() == 'content'


def test_get_until_the_close():
    """The data is shown as it comes."""
    lock = threading.Event()

    def handler(sock):
        receive_head(sock)
        sock.sendall(b'HTTP/1.1 200 OK\r\n\r\nfirst\n')
        assert lock.wait(WAIT)
        sock.sendall(b'second\n')

    with listening(handler, ('127.0.0.1', 0)) as address:
        with started('get', '{}:{}'.format(*address), '/') as process:
            assert process.stdout.readline() == b'first\n'
            lock.set()
            assert process.communicate(timeout=WAIT) == (b'second\n', b'')
            assert process.returncode == 0


@pytest.mark.parametrize('address,uri,text', [
    ('127.0.0.1:1', '/', '127.0.0.1:1: Connection refused'),
    ('/nowhere/socket', '/', '/nowhere/socket: No such file'),
    ('@degu%20nobody', '/', '@degu%20nobody: Connection refused'),
    ('name.invalid:80', '/', 'name.invalid:80: '),
    (None, 'nowhere', 'ProtocolError'),
    (None, '/a b', 'ProtocolError'),
])
def test_get_failures(served, address, uri, text):
    (code, output, errors) = run('get', address or served, uri)
    assert (code, output) == (1, b'')
    assert is_one_line(errors) and text in errors
    (code, output, errors) = run('get', '-v', address or served, uri)
    assert code == 1 and errors.startswith('Traceback')


def test_get_timeout():
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(b'')
        listener.listen()
        name = '@' + listener.getsockname()[1:].decode()
        (code, output, errors) = run('get', name, '/', '--timeout', '0.2')
    assert (code, output) == (1, b'') and is_one_line(errors)
    assert 'timed out' in errors.lower() or 'in time' in errors.lower()


# ----------------------------------------------------------------- get -o FILE

def test_output_file(served, folder):
    path = folder + '/out'
    for _ in range(2):
        assert run('get', served, '/large', '-o', path) == (0, b'', '')
        assert os.path.getsize(path) == 8 << 20
        assert not os.path.exists(path + '.part')
    assert run('get', served, '/chunked', '-i', '-o', 'out', cwd=folder) == (
        0, b'HTTP/1.1 200 OK\ntransfer-encoding: chunked\n\n', '')
    with open(path, 'rb') as file:
        assert file.read() == b'chunk\n' * 3


def test_output_file_through_a_link(served, folder):
    os.symlink('file.txt', folder + '/link')
    assert run('get', served, '/chunked', '-o', folder + '/link')[0] == 0
    assert os.path.islink(folder + '/link')
    assert os.path.getsize(folder + '/file.txt') == 18


def test_output_cut_short(served, folder):
    """What was there stays, and nothing else."""
    path = folder + '/file.txt'
    before = sorted(os.listdir(folder))
    (code, output, errors) = run('get', served, '/cut', '-o', path)
    assert (code, output) == (1, b'') and is_one_line(errors)
    assert sorted(os.listdir(folder)) == before
    assert os.path.getsize(path) == len('content')
    (code, output, errors) = run('get', served, '/cut')
    assert code == 1 and output == bytes(1 << 20) and is_one_line(errors)


@pytest.mark.parametrize('name,text', [
    ('/nowhere/file', 'No such file'), ('', 'Is a directory')])
def test_output_that_cannot_be(served, folder, name, text):
    (code, output, errors) = run('get', served, '/', '-o', name or folder)
    assert (code, output) == (1, b'')
    assert is_one_line(errors) and text in errors


def test_output_to_a_device(served):
    """A device is no file to be replaced."""
    assert run('get', served, '/large', '-o', '/dev/null') == (0, b'', '')
    assert not os.path.isfile('/dev/null')
    (code, output, errors) = run('get', served, '/large', '-o', '/dev/full')
    assert code == 1 and errors == 'degu: No space left on device\n'
    with open('/dev/full', 'wb') as full:
        (code, output, errors) = run('get', served, '/', stdout=full)
    assert code == 1 and errors == 'degu: No space left on device\n'


def test_broken_pipe(served):
    with started('get', served, '/large') as process:
        assert process.stdout.read(1) == b'\0'
        process.stdout.close()
        assert process.stderr.read() == b''
        assert process.wait(WAIT) == 1


def stalling(sock):
    """Half of a body, until the other end goes."""
    receive_head(sock)
    sock.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n' +
                 bytes(100000))
    sock.recv(1)


@pytest.mark.parametrize('to_file', [True, False])
def test_interrupted(folder, to_file):
    args = ('-o', folder + '/out') if to_file else ()
    with listening(stalling, ('127.0.0.1', 0)) as address:
        with started('get', '{}:{}'.format(*address), '/', *args) as process:
            if to_file:
                until(lambda: os.path.exists(folder + '/out.part'))
            else:
                assert process.stdout.read(1) == b'\0'
            time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            (_, errors) = process.communicate(timeout=WAIT)
    assert (process.returncode, errors) == (130, b'')
    assert not [name for name in os.listdir(folder) if 'out' in name]


# ------------------------------------------------------------------- progress

def dripping(sock):
    """A body that takes more than a second."""
    receive_head(sock)
    sock.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n')
    for _ in range(16):
        sock.sendall(bytes(65536))
        time.sleep(0.1)


def read_terminal(number):
    """All that is written to a terminal until its last writer has gone."""
    data = b''
    while select.select([number], [], [], WAIT)[0]:
        try:
            part = os.read(number, 65536)
        except OSError:
            break
        if not part:
            break
        data += part
    return data.decode()


def watched(handler, *args, stdout=subprocess.DEVNULL, terminal_out=False):
    """What a person at a terminal sees of a get."""
    (ours, theirs) = pty.openpty()
    try:
        with listening(handler, ('127.0.0.1', 0)) as address:
            with started('get', '{}:{}'.format(*address), '/', *args,
                         stdout=theirs if terminal_out else stdout,
                         stderr=theirs) as process:
                os.close(theirs)
                theirs = None
                text = read_terminal(ours)
                assert process.wait(WAIT) == 0
        return text
    finally:
        os.close(ours)
        if theirs is not None:
            os.close(theirs)


@pytest.mark.parametrize('to_file', [True, False])
def test_progress(folder, to_file):
    text = watched(dripping, *(('-o', folder + '/out') if to_file else ()))
    lines = text.replace('\r\n', '\n').split('\r')
    assert lines[0] == '' and len(lines) > 3
    for line in lines[1:]:
        assert re.fullmatch(
            r' *\d+ %  [01]\.\d MiB  [01]\.\d MiB/s *\n?', line)
    assert '100 %  1.0 MiB' in lines[-1] and lines[-1].endswith('\n')


def test_progress_without_a_length(folder):
    def handler(sock):
        receive_head(sock)
        sock.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
        for _ in range(13):
            sock.sendall(bytes(65536))
            time.sleep(0.1)

    text = watched(handler, '-o', folder + '/out')
    assert '0.8 MiB' in text and '%' not in text


def test_no_progress_for_what_is_quick():
    def handler(sock):
        receive_head(sock)
        sock.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello')

    assert watched(handler) == ''


def test_no_progress_beside_the_data():
    text = watched(dripping, terminal_out=True)
    assert 'MiB' not in text and text.count('\0') == 1 << 20


def test_no_progress_for_a_program(folder):
    with listening(dripping, ('127.0.0.1', 0)) as address:
        assert run('get', '{}:{}'.format(*address), '/', '-o',
                   folder + '/out') == (0, b'', '')


def test_degu_client_gets_from_the_command(folder):
    with serving('program:app', '--address', '127.0.0.1:0', cwd=folder) as (
            process, address):
        conn = Client(parsed(address)).connect()
        assert conn.get('/a?b', {}).body.read() == b'rgi /a?b'
        conn.close()
        assert stop(process)[0] == 0
