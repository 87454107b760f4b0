# SPDX-License-Identifier: MIT OR 0BSD
"""What holds for every test here: it leaves no descriptor and no thread."""

import contextlib
import gc
import importlib.util
import multiprocessing.popen_fork
import os
import signal
import sys
import tempfile
import threading
import time

import hypothesis
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
if importlib.util.find_spec('degu') is None:
    sys.path.insert(0, os.path.join(ROOT, 'py'))

# A shell makes what it starts in the background ignore this one.
with contextlib.suppress(ValueError):  # in a sub-interpreter
    signal.signal(signal.SIGINT, signal.default_int_handler)



def only_main(what):
    """In place of what ends the process, or is refused, in a sub-interpreter:
    the test is skipped, and the run lists it with this reason."""
    def refuse(*args, **keywords):
        pytest.skip(what + ' is for the main interpreter alone')
    return refuse


if 'DEGU_ISOLATED' in os.environ:  # tests/interpreter.py
    os.fork = only_main('os.fork()')
    multiprocessing.popen_fork.Popen._launch = os.fork
    signal.signal = only_main('signal.signal()')
    signal.setitimer = only_main('signal.setitimer()')

# These wait for a signal, or refuse in a thread of theirs.
MAIN_ONLY = {'test_ctrl_c_in_server': 'a signal',
             'test_several_threads_make_servers': 'os.fork()'}


def pytest_collection_modifyitems(items):
    for item in items if 'DEGU_ISOLATED' in os.environ else ():
        what = MAIN_ONLY.get(item.originalname)
        if what:
            item.add_marker(pytest.mark.skip(
                reason=what + ' is for the main interpreter alone'))

# DEGU_EXAMPLES=1000 searches longer than a test run should.
hypothesis.settings.register_profile(
    'degu', deadline=None, database=None, print_blob=True,
    max_examples=int(os.environ.get('DEGU_EXAMPLES', '100')),
    suppress_health_check=[hypothesis.HealthCheck.too_slow,
                           hypothesis.HealthCheck.data_too_large])
hypothesis.settings.load_profile('degu')


def pytest_make_parametrize_id(config, val, argname):
    """A long text is told by its start and its length."""
    if isinstance(val, (bytes, str)) and len(val) > 200:
        return '{!r}... {}'.format(val[:40], len(val))
    return None


def pytest_collection_finish(session):
    """Thousands of tests are not for the collector to look at each time."""
    gc.collect()
    gc.freeze()


def descriptors():
    """What is open: number and kind.  0 to 2 are pytest's to change."""
    found = {}
    for number in set(os.listdir('/proc/self/fd')) - {'0', '1', '2'}:
        try:
            found[number] = os.readlink('/proc/self/fd/' + number)
        except OSError:
            continue
    return found


def threads():
    return set(threading.enumerate())


def workers():
    """Threads of a server, which makes more of them as it needs."""
    return {thread for thread in threads() if thread.name == 'degu'}


def surplus(before, allowed=set):
    """What is there now and was not, once the late ones had their time."""
    (fds, old) = before
    deadline = time.monotonic() + 5
    while True:
        new_fds = [item for item in descriptors().items()
                   if item not in fds.items()]
        new_threads = threads() - old - allowed()
        if not new_fds and not new_threads:
            return None
        if time.monotonic() > deadline:
            return (new_fds, new_threads)
        gc.collect()
        time.sleep(0.005)


@pytest.fixture
def folder():
    """A directory whose name is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix='degu.') as name:
        yield name


@pytest.fixture(scope='session')
def pki():
    """Certificates of a server, of a client, and of their authorities."""
    from degu.misc import TempPKI

    with pytest.MonkeyPatch.context() as patch:
        # The program openssl is nothing for a sanitizer.
        patch.delenv('LD_PRELOAD', raising=False)
        made = TempPKI()
    with made:
        yield made


@pytest.fixture(scope='module', autouse=True)
def leaves_nothing(request):
    """A module's own servers are among what must be gone after it."""
    before = (descriptors(), threads())

    def check():
        assert surplus(before) is None

    # Behind the end of all fixtures, whichever of them the last test used.
    request.node.addfinalizer(check)


def settle():
    """Waits for threads that Python has done with and that still end: a fork
    meanwhile would copy the locks that a sanitizer holds for them."""
    if 'DEGU_SANITIZED' not in os.environ:
        return
    deadline = time.monotonic() + 1
    while (len(os.listdir('/proc/self/task')) > len(threads())
           and time.monotonic() < deadline):
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def leaves_nothing_each(request):
    """The same for a single test, with the servers that its module keeps."""
    kept = 'served' in request.fixturenames
    if kept:
        request.getfixturevalue('served')
    settle()
    before = (descriptors(), threads())
    yield
    assert surplus(before, workers if kept else set) is None


@pytest.fixture(scope='session', params=['TLSv1.2', 'TLSv1.3'])
def ends(request, pki):
    """Both profiles."""
    from secure import Ends

    return Ends(pki, request.param)
