# SPDX-License-Identifier: MIT OR 0BSD
"""Servers in processes of their own: how they start, how they can fail to, and
how each of them ends without leaving a process or a file."""

import contextlib
import copy
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import tempfile
import threading
import time

import pytest

import degu
from degu import EmbeddedServer, start_server
from degu.client import Client
from degu.misc import TempServer
from degu.server import Server
from peers import WAIT, child, until

FORK = multiprocessing.get_context('fork')


def hello(session, request, api):
    return (200, 'OK', {}, b'hello')


def build_hello(*args):
    return hello


def get(address):
    conn = Client(address).connect()
    try:
        return conn.get('/').body.read()
    finally:
        conn.close()


def children():
    """Of this process, zombies too."""
    found = set()
    for task in os.listdir('/proc/self/task'):
        with contextlib.suppress(OSError):
            with open(f'/proc/self/task/{task}/children') as file:
                found |= set(file.read().split())
    return found


@pytest.fixture(autouse=True)
def no_process_is_left():
    before = children()
    yield
    gc.collect()
    assert children() <= before


@pytest.fixture
def path():
    """Of a socket; nothing is there afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        yield os.path.join(folder, 'socket')
        assert os.listdir(folder) == []


def is_gone(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rsplit(')', 1)[1].split()[0] == 'Z'
    except (FileNotFoundError, ProcessLookupError):
        return True


def temp(address, build_func, *args, **options):
    return TempServer(address, build_func, *(args or (None,)), **options)


def started(address, build_func, *args, **options):
    """start_server() in the form of the others."""
    (process, bound) = start_server(address, build_func, *args, **options)
    return Held(process, bound)


class Held:
    def __init__(self, process, address):
        self.process = process
        self.address = address

    def terminate(self):
        self.process.terminate()
        self.process.join()


MAKERS = [temp, started, EmbeddedServer]


@pytest.fixture(params=MAKERS, ids=['temp', 'start_server', 'embedded'])
def maker(request):
    """In a forked process, whatever this platform's way is."""
    old = multiprocessing.get_start_method(True)
    multiprocessing.set_start_method('fork', force=True)
    yield request.param
    multiprocessing.set_start_method(old, force=True)


# ------------------------------------------------ a child that is never ready

class Odd(Exception):
    """Cannot be made again of its args."""

    def __init__(self, a, b):
        super().__init__(f'{a} and {b}')


class Full(Exception):
    """Can, with all it has."""

    def __init__(self, a, b):
        super().__init__(a, b)
        self.a = a

    def __str__(self):
        return f'full of {self.a}'


class Unpicklable(Exception):
    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class Mute(Exception):
    def __str__(self):
        raise RuntimeError('no text')


class Bomb(Exception):
    """Its copy would end the parent."""

    def __reduce__(self):
        return (os._exit, (7,))


class Impostor(Exception):
    """Becomes something else on the way."""

    def __reduce__(self):
        return (int, (5,))


def raises(make):
    raise make()


def raises_class_of_the_child():
    """Which the parent does not have."""
    class Local(Exception):
        pass

    Local.__qualname__ = 'Local'
    Local.__module__ = __name__
    globals()['Local'] = Local
    raise Local('of the child')


def kills_itself(number):
    os.kill(os.getpid(), number)
    time.sleep(WAIT)


def leaves_a_grandchild(release):
    """Which keeps all that was open."""
    if os.fork() == 0:
        os.read(release, 1)
        os._exit(0)
    os._exit(3)


def is_raised(args, options, error, text, maker, address=b''):
    begun = time.monotonic()
    with pytest.raises(error) as info:
        maker(address, *args, **options)
    assert time.monotonic() - begun < 5
    assert type(info.value) is error
    assert text in str(info.value)
    return info.value


@pytest.mark.parametrize('args, error, text', [
    ((raises, lambda: KeyError('here')), KeyError, 'here'),
    ((raises, lambda: OSError(5, 'here')), OSError, 'here'),
    ((raises, lambda: FileNotFoundError(2, 'none', 'x')), FileNotFoundError,
     "'x'"),
    ((raises, lambda: UnicodeDecodeError('a', b'b', 0, 1, 'here')),
     UnicodeDecodeError, 'here'),
    ((raises, lambda: Full(1, 2)), Full, 'full of 1'),
    ((raises, lambda: Odd(1, 2)), RuntimeError, 'Odd: 1 and 2'),
    ((raises, lambda: Unpicklable('here')), RuntimeError,
     'Unpicklable: here'),
    ((raises, lambda: Impostor('here')), RuntimeError, 'Impostor: here'),
    ((raises, SystemExit), RuntimeError, 'SystemExit'),
    ((raises, lambda: SystemExit(3)), RuntimeError, 'SystemExit: 3'),
    ((raises, KeyboardInterrupt), RuntimeError, 'KeyboardInterrupt'),
    ((raises, GeneratorExit), RuntimeError, 'GeneratorExit'),
    ((raises, lambda: BaseException('here')), RuntimeError,
     'BaseException: here'),
    ((raises, StopIteration), StopIteration, ''),
    ((raises_class_of_the_child,), RuntimeError, 'Local: of the child'),
    ((os._exit, 3), RuntimeError, 'exit code 3'),
    ((kills_itself, signal.SIGKILL), RuntimeError, 'exit code -9'),
    ((kills_itself, signal.SIGTERM), RuntimeError, 'exit code -15'),
    ((build_hello, ), ValueError, ''),
    ((lambda *args: None, 1), TypeError, 'not callable: None'),
    ((lambda *args: 'app', 1), TypeError, "not callable: 'app'"),
    ((lambda *args: lambda a, b: None, 1), TypeError, 'request alone'),
    ((lambda: hello, 1, 2), TypeError, 'positional argument'),
    ((None, 5), TypeError, 'not callable'),
    ((None, hello, hello), TypeError, 'build_func')])
def test_child_that_dies_first(args, error, text, maker, path):
    """Its own error in the parent, at once, and no process left."""
    options = {'timeout': 0} if error is ValueError and not text else {}
    if maker is temp and len(args) == 1:
        # With no more arguments it would be the app.
        args = (no_arguments(args[0]), None)
    is_raised(args, options, error, text, maker, path)


def no_arguments(function):
    return lambda unused: function()


def test_exception_with_no_text(maker):
    with pytest.raises((RuntimeError, Mute)):
        maker(b'', raises, Mute)


def test_exception_that_does_things_when_it_is_copied():
    """It does them in the child first."""
    with pytest.raises(RuntimeError, match='exit code 7'):
        TempServer(b'', raises, Bomb)


@pytest.mark.parametrize('address, options, error, text', [
    (('127.0.0.1', 0, 0), {}, ValueError, '2 or 4 items'),
    (5, {}, TypeError, 'address'), ('relative', {}, ValueError, 'absolute'),
    ('/nowhere/at/all', {}, FileNotFoundError, ''),
    (('127.0.0.1', -1), {}, ValueError, 'port'),
    (('192.0.2.1', 0), {}, OSError, ''), ('/' + 'a' * 200, {}, OSError, ''),
    (b'', {'timeout': 0}, ValueError, 'timeout'),
    (b'', {'timeout': 'x'}, TypeError, 'timeout'),
    (b'', {'max_connections': True}, TypeError, 'max_connections'),
    (b'', {'other': 1}, TypeError, 'other'),
    (b'', {'max_requests': 1, 'max_requests_per_connection': 1}, TypeError,
     'both'), (b'', {'bodies': 5}, TypeError, 'bodies')])
def test_bad_address_or_option(address, options, error, text, maker):
    with pytest.raises(error, match=text or None):
        maker(address, build_hello, 1, **options)


def test_where_it_was_raised_is_told():
    """By the cause, which shows the child's traceback."""
    with pytest.raises(KeyError) as info:
        TempServer(b'', raises, lambda: KeyError('here'))
    text = str(info.value.__cause__)
    assert 'Traceback' in text and 'in raises' in text and 'here' in text


def test_child_whose_pipe_outlives_it():
    """A grandchild holds the pipe's end and the sentinel."""
    (wait, release) = os.pipe()
    try:
        begun = time.monotonic()
        with pytest.raises(RuntimeError, match='exit code 3'):
            TempServer(b'', leaves_a_grandchild, wait)
        assert time.monotonic() - begun < 5
    finally:
        os.write(release, b'.')
        os.close(release)
        os.close(wait)


def is_waiting(pid):
    """Does the main thread of the process wait in the kernel?"""
    with open('/proc/{}/stat'.format(pid)) as file:
        return file.read().rsplit(')', 1)[1].split()[0] == 'S'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGALRM])
def test_interrupted_while_it_starts(number, path):
    """The parent's handler raises: the child is ended."""
    class Interrupted(Exception):
        pass

    def interrupt(*args):
        raise Interrupted

    def build(unused):
        Server(path + '2', hello).remove_file()
        # Not in the middle of its fork, where a handler that raises leaves
        # locks of Python behind.
        until(lambda: all(is_waiting(os.getppid()) for _ in range(50)))
        os.kill(os.getppid(), number)
        time.sleep(WAIT)

    old = signal.signal(number, interrupt)
    try:
        with pytest.raises(Interrupted):
            TempServer(path, build, None)
    finally:
        signal.signal(number, old)


# ------------------------------------------------------------------- its forms

@pytest.mark.parametrize('args', [
    (None, hello), (build_hello, 1), (build_hello, 1, 2, 3)])
def test_args_form(args, maker):
    server = maker(b'', *args)
    assert get(server.address) == b'hello'
    assert server.process.daemon and server.process.pid != os.getpid()
    server.terminate()
    assert server.process.exitcode == -signal.SIGTERM


def test_temp_server_of_an_app():
    with TempServer(b'', hello) as server:
        assert server.app is hello and server.options == {}
        assert get(server.address) == b'hello'


def test_build_function_without_arguments():
    """TempServer takes it for an app (F9), the others do not."""
    def build():
        return hello

    with pytest.raises(TypeError):
        TempServer(b'', build)
    (process, address) = start_server(b'', build)
    assert get(address) == b'hello'
    process.terminate()
    process.join()


def test_embedded_server_keeps_what_it_was_given():
    with contextlib.closing(Closing(EmbeddedServer(
            ('127.0.0.1', 0), build_hello, 1, 'two', timeout=7))) as held:
        server = held.server
        assert (server.build_func, server.build_args, server.options) == (
            build_hello, (1, 'two'), {'timeout': 7})
        assert server.address[0] == '127.0.0.1' and server.address[1] > 1023


class Closing:
    def __init__(self, server):
        self.server = server

    def close(self):
        self.server.terminate()


def test_in_the_package():
    assert degu.EmbeddedServer is EmbeddedServer
    assert degu.start_server is start_server
    with pytest.raises(AttributeError):
        degu.none_of_its_names


@pytest.mark.parametrize('operate', [pickle.dumps, copy.copy, copy.deepcopy])
def test_not_for_pickling(operate):
    """A copy would end the server with it."""
    with TempServer(b'', hello) as server:
        with pytest.raises(TypeError):
            operate(server)
        assert get(server.address) == b'hello'


# ------------------------------------------------------------------ how it ends

def test_context_manager(path):
    with TempServer(path, hello) as server:
        process = server.process
        assert get(path) == b'hello'
    assert process.exitcode == -signal.SIGTERM
    assert not os.path.exists(path)
    with pytest.raises(KeyError):
        with TempServer(path, hello) as server:
            process = server.process
            raise KeyError
    assert process.exitcode == -signal.SIGTERM


def test_terminate_twice(path):
    server = TempServer(path, hello)
    for _ in range(3):
        server.terminate()
        assert server.process.exitcode == -signal.SIGTERM
    del server
    gc.collect()


def drop(held):
    held.clear()
    gc.collect()


def drop_in_a_cycle(held):
    held[0].itself = held[0]
    held.clear()
    gc.collect()


def end_process(held):
    held[0].process.terminate()
    held[0].process.join()


def end_from_a_thread(held):
    thread = threading.Thread(target=held[0].terminate)
    thread.start()
    thread.join(WAIT)


def end_by_pid(held):
    os.kill(held[0].process.pid, signal.SIGTERM)
    held[0].process.join(WAIT)


@pytest.mark.parametrize('end', [
    lambda held: held[0].terminate(), drop, drop_in_a_cycle, end_process,
    end_from_a_thread, end_by_pid, lambda held: held[0].__exit__(None)])
def test_file_goes_with_the_server(end, path):
    held = [TempServer(path, hello)]
    process = held[0].process
    assert os.path.exists(path)
    end(held)
    assert not os.path.exists(path)
    assert process.exitcode == -signal.SIGTERM


def test_file_goes_however_soon_it_ends():
    """Whoever has the address may end the server at once."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(20):
            TempServer(os.path.join(folder, str(number)), hello).terminate()
        assert os.listdir(folder) == []


def test_file_of_somebody_else_stays(path):
    with TempServer(path, hello):
        os.unlink(path)
        with open(path, 'w'):
            pass
    os.unlink(path)


def test_ends_while_it_answers(path):
    """terminate() does not wait for the app."""
    (asked, tell) = os.pipe()

    def app(session, request, api):
        os.write(tell, b'.')
        time.sleep(WAIT)

    try:
        server = TempServer(path, app)
        conn = Client(path).connect()

        def run():
            with pytest.raises((ConnectionError, ValueError)):
                conn.get('/')

        thread = threading.Thread(target=run)
        thread.start()
        os.read(asked, 1)
        begun = time.monotonic()
        server.terminate()
        assert time.monotonic() - begun < 3
        assert server.process.exitcode == -signal.SIGTERM
        thread.join(WAIT)
    finally:
        os.close(asked)
        os.close(tell)


PARENT = '''
import os, signal, sys
from degu import EmbeddedServer, start_server
from degu.client import Client
from degu.misc import TempServer
from test_process import build_hello, hello, get
path = sys.argv[1]
servers = [TempServer(path + '1', hello), TempServer(path + '2', hello)]
(process, address) = start_server(path + '3', None, hello)
pids = [server.process.pid for server in servers] + [process.pid]
print(*pids, flush=True)
'''


@pytest.mark.parametrize('end', [
    'os.kill(os.getpid(), signal.SIGKILL)', 'os._exit(0)', 'sys.exit(0)',
    'os.kill(os.getpid(), signal.SIGTERM)', 'raise SystemExit("x")'])
def test_servers_do_not_outlive_their_parent(end):
    """However it ends; nor do the files of their sockets."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'socket')
        with child(PARENT + end, path) as process:
            (output, errors) = process.communicate(timeout=WAIT)
            assert errors in ('', 'x\n')
        pids = [int(pid) for pid in output.split()]
        assert len(pids) == 3
        until(lambda: all(is_gone(pid) for pid in pids))
        assert os.listdir(folder) == []


def test_forked_copy_does_not_end_the_server(path):
    """os.fork(), and then all that could."""
    server = TempServer(path, hello)
    pid = os.fork()
    if pid == 0:
        try:
            server.terminate()
            with server:
                pass
            server.__del__()
            del server
            gc.collect()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert get(path) == b'hello'
    server.terminate()


def test_sibling_does_not_end_the_server():
    """A process of multiprocessing has copies of the others' objects."""
    first = TempServer(b'', hello)
    second = TempServer(b'', hello)
    second.terminate()
    process = FORK.Process(target=first.terminate)
    process.start()
    process.join()
    assert process.exitcode == 0
    process.close()
    assert get(first.address) == b'hello'
    first.terminate()


def test_ctrl_c_is_for_the_parent():
    """It comes to both, as they are in one group."""
    code = '''
import os, signal
from degu.misc import TempServer
from test_process import hello, get
os.setpgid(0, 0)
with TempServer(b'', hello) as server:
    for _ in range(3):
        try:
            os.killpg(0, signal.SIGINT)
            signal.pause()
        except KeyboardInterrupt:
            pass
        assert get(server.address) == b'hello'
print(server.process.exitcode)
'''
    with child(code) as process:
        assert process.communicate(timeout=WAIT) == ('-15\n', '')


@pytest.mark.skipif('DEGU_SANITIZED' in os.environ, reason='a fork copies '
                    'locks that the sanitizer holds for other threads')
def test_several_threads_make_servers():
    """Whose children have each other's pipes."""
    servers = []
    failures = []
    gate = threading.Barrier(6)

    def run(number):
        gate.wait(WAIT)
        try:
            if number % 3 == 2:
                TempServer(b'', raises, lambda: KeyError(number))
            else:
                servers.append(TempServer(b'', hello))
        except KeyError as error:
            failures.append(error.args[0])

    threads = [threading.Thread(target=run, args=(number,))
               for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert sorted(failures) == [2, 5] and len(servers) == 4
    assert [get(server.address) for server in servers] == [b'hello'] * 4
    assert len({server.address for server in servers}) == 4
    for server in servers:
        server.terminate()


def test_several_threads_end_a_server(path):
    server = TempServer(path, hello)
    errors = []

    def run():
        try:
            server.terminate()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert errors == []
    assert not os.path.exists(path)


def test_threads_of_the_parent_do_not_stop_a_child():
    """It is forked, and has their locks but not them."""
    stop = threading.Event()

    def run():
        while not stop.is_set():
            gc.collect()
            with open(os.devnull) as file:
                file.read()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        for _ in range(5):
            with TempServer(b'', hello) as server:
                assert get(server.address) == b'hello'
    finally:
        stop.set()
        thread.join(WAIT)


# ------------------------------------------------------------ ways to start one

MODULE = '''
import multiprocessing, os, re, sys, time


class Odd(Exception):
    def __init__(self, a, b):
        super().__init__(f'{a} and {b}')


def app(session, request, api):
    return (200, 'OK', {}, str(os.getpid()).encode())


def build(kind, word):
    if kind == 'exit':
        os._exit(3)
    if kind == 'odd':
        raise Odd(1, 2)
    if kind == 'key':
        raise KeyError(word)
    return app


def main(method, path):
    multiprocessing.set_start_method(method)
    from degu import EmbeddedServer
    from degu.client import Client
    server = EmbeddedServer(path, build, 'good', 'word', timeout=7)
    conn = Client(server.address).connect()
    assert int(conn.get('/').body.read()) == server.process.pid
    conn.close()
    for (kind, text) in (('exit', 'exit code 3'), ('key', 'word'),
                         ('odd', 'Odd: 1 and 2')):
        try:
            EmbeddedServer(b'', build, kind, 'word')
        except (RuntimeError, KeyError) as error:
            assert text in str(error), error
        else:
            raise AssertionError(kind)
    try:
        EmbeddedServer(b'', build, 'good', 'word', other=1)
    except TypeError as error:
        assert 'other' in str(error)
    else:
        raise AssertionError
    try:
        EmbeddedServer(b'', lambda: app).terminate()
    except Exception as error:
        assert re.search('pickle|local object', str(error)), error
    else:
        assert method == 'fork'
    server.terminate()
    assert server.process.exitcode == -15, server.process.exitcode
    assert not os.path.exists(path)
    server = EmbeddedServer(path, build, 'good', 'word')
    process = server.process
    del server
    assert process.exitcode == -15 and not os.path.exists(path)
    server = EmbeddedServer(path, build, 'good', 'word')
    print(server.process.pid, flush=True)
    if sys.argv[3] == 'kill':
        os.kill(os.getpid(), 9)


if __name__ == '__main__':
    main(*sys.argv[1:3])
'''


@pytest.mark.parametrize('method, how', [
    ('spawn', 'end'), ('spawn', 'kill'), ('forkserver', 'end'),
    ('forkserver', 'kill'), ('fork', 'end')])
def test_start_methods(method, how):
    """EmbeddedServer's is the platform's, or the one that was set."""
    with tempfile.TemporaryDirectory() as folder:
        file_name = os.path.join(folder, 'an_app.py')
        path = os.path.join(folder, 'socket')
        with open(file_name, 'w') as file:
            file.write(MODULE)
        with run_file(file_name, method, path, how) as process:
            (output, errors) = process.communicate(timeout=WAIT)
        # multiprocessing's tracker may have a word after a kill.
        assert how == 'kill' or (errors, process.returncode) == ('', 0)
        assert output, errors
        until(lambda: is_gone(int(output)))
        assert not os.path.exists(path)


@contextlib.contextmanager
def run_file(*args):
    """An interpreter with a file as its main module."""
    import subprocess

    env = dict(os.environ, PYTHONPATH=os.pathsep.join(
        entry for entry in sys.path if entry))
    with subprocess.Popen(
            [sys.executable, *args], env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def test_temp_server_is_forked_whatever_was_set():
    """Its app may have been typed at a prompt."""
    code = '''
import multiprocessing
multiprocessing.set_start_method('spawn')
from degu import start_server
from degu.client import Client
from degu.misc import TempServer
word = b'typed'
app = lambda session, request, api: (200, 'OK', {}, word)
with TempServer(b'', app) as server:
    print(Client(server.address).get('/').body.read())
(process, address) = start_server(b'', lambda: app)
print(Client(address).get('/').body.read())
process.terminate()
process.join()
'''
    with child(code) as process:
        (output, errors) = process.communicate(timeout=WAIT)
    assert (output, errors) == ("b'typed'\n" * 2, '')
