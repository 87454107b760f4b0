# SPDX-License-Identifier: MIT OR 0BSD
"""Repeats the Python tests a hundred times and more, and measures what grows.

    leaks.py [PYTEST ARGUMENT...]      default: each module of tests/py

Each argument has a process of its own, as many at a time as there are cores
(LEAKS_JOBS).  A function of tests is run once with each of its parameters,
which fills what is filled once, and then in ROUNDS rounds of REPEATS runs, the
parameters taken in turn, all of them in each round.  After each round the
collector runs, and these are counted: Python's memory blocks, references where
the interpreter counts them (python3-dbg), descriptors, threads, and the bytes
that malloc has given out.  What leaks adds to every round, so the least that a
round added is the growth; where it is more than nothing there are up to MORE
further rounds.  What grows is repeated in another process, and counts if it
grows there too: a cache may fill for long, a leak is in both.

A function of which one run takes longer than SLOW, because it starts programs
or waits for time, has rounds of one run with each parameter, as many as
LEAKS_SECONDS (5) allow but two at least, and is listed with its runs.  One
that passes at first has to pass always.  Hypothesis makes ten examples, not a
hundred (DEGU_EXAMPLES), and the same in each run.  What the children of tests
leak is not seen here.
"""

import ctypes
import gc
import glob
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import hypothesis
import pytest
import run as runner
from _pytest.fixtures import FixtureDef
from _pytest.runner import runtestprotocol
from hypothesis.strategies._internal import utils as strategies

HERE = os.path.dirname(os.path.abspath(__file__))
JOBS = int(os.environ.get('LEAKS_JOBS', os.cpu_count()))
ROUNDS = 4
REPEATS = 25
MORE = 30
SLOW = 0.15
# Left out, each with its reason.
LEFT_OUT = {
    'test_tls_config.py::test_resumption':
        'SSLSocket.session of CPython 3.11 leaks'}
if hasattr(sys, 'gettotalrefcount'):
    for name in ('bodies', 'errors'):
        LEFT_OUT['test_wsgi_app.py::test_flask_' + name] = \
            'Flask without Degu: two references for each answer of an error'
SECONDS = float(os.environ.get('LEAKS_SECONDS', '5'))
WHAT = ('blocks', 'references', 'descriptors', 'threads', 'bytes')


class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        'arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks',
        'uordblks', 'fordblks', 'keepcost')]


library = ctypes.CDLL(None)
mallinfo = library.mallinfo2
mallinfo.restype = Mallinfo
references = getattr(sys, 'gettotalrefcount', lambda: 0)
forget_strategies = getattr(strategies, 'clear_strategy_cache', None) or \
    strategies.clear_cache


variables = {}


def set_variable(name, value):
    """As os.putenv(): setenv() keeps every value that a variable ever had."""
    text = ctypes.create_string_buffer(name + b'=' + value)
    if library.putenv(text):
        raise OSError('putenv')
    variables[name] = text  # which is in use as it is


def sample():
    # These keep what was used last, up to some thousand: names of attributes,
    # patterns, and what Hypothesis was told to search.
    sys._clear_type_cache()
    re.purge()
    forget_strategies()
    for _ in range(3):  # what is freed may free more
        gc.collect()
    info = mallinfo()
    return (sys.getallocatedblocks(), references(),
            len(os.listdir('/proc/self/fd')),
            len(os.listdir('/proc/self/task')), info.uordblks + info.hblkhd)


def about(note):
    """What such a note, a function or a partial one, would end."""
    for cell in getattr(note, '__closure__', None) or ():
        if isinstance(cell.cell_contents, FixtureDef):
            return cell.cell_contents
    return getattr(note, 'func', note)


def tidy(session):
    """pytest notes each run that used a fixture which stays, to end it later:
    one note of each is enough."""
    notes = [kept for (kept, _) in session._setupstate.stack.values()]
    notes += [one._finalizers
              for found in session._fixturemanager._arg2fixturedefs.values()
              for one in found]
    for kept in notes:
        kept[:] = {about(note): note for note in kept}.values()


class Function:
    """A function of tests with all of its parameters, repeated."""

    def __init__(self, items):
        self.items = items
        for item in items:
            # The same examples in each run: Hypothesis keeps some of them.
            if getattr(item.obj, 'is_hypothesis_test', False):
                hypothesis.seed(0)(item.obj)
        self.name = items[0].nodeid.split('[')[0]
        self.runs = 0  # that were measured
        self.slow = False
        self.failed = None
        self.skipped = False  # with all of its parameters
        self.growth = None

    def once(self, item, following=None):
        """Runs one test, and says whether it was not skipped; what a module
        shares stays for the next."""
        item._initrequest()
        reports = runtestprotocol(item, log=False,
                                  nextitem=following or item.parent)
        for report in reports:
            if report.failed and not self.failed:
                self.failed = 'run {}, {}: {}'.format(
                    self.runs, item.nodeid, report.longreprtext)
        # Kept for what would report it.
        item._report_sections.clear()
        return not any(report.skipped for report in reports)

    def begin(self):
        """The first runs, which tell how long one takes."""
        started = time.monotonic()
        self.items = [item for item in self.items if self.once(item)]
        self.skipped = not self.items
        self.slow = (time.monotonic() - started >
                     SLOW * max(1, len(self.items)))
        self.end = time.monotonic() + SECONDS

    def round(self):
        count = len(self.items)
        for number in range(count if self.slow else max(REPEATS, count)):
            self.runs += 1
            self.once(self.items[number % count])
            if self.failed:
                break
        tidy(self.items[0].session)
        return sample()

    def enough(self, rounds):
        if self.slow:
            return rounds >= 2 and time.monotonic() > self.end
        return rounds >= ROUNDS

    def measure(self):
        self.begin()
        if self.failed or self.skipped:
            return
        tidy(self.items[0].session)
        least = [float('inf')] * len(WHAT)
        old = sample()
        (rounds, more) = (0, 0)
        while not self.enough(rounds) or (max(least) > 0 and more < MORE):
            more += self.enough(rounds)
            new = self.round()
            if self.failed:
                return
            rounds += 1
            least = [min(known, b - a)
                     for (known, a, b) in zip(least, old, new)]
            old = new
        self.growth = {what: n for (what, n) in zip(WHAT, least) if n > 0}


class Repeat:
    """For pytest: functions in place of tests."""

    def __init__(self):
        self.functions = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if session.testsfailed:  # not even collected
            return True
        groups = {}
        for item in session.items:
            groups.setdefault(item.nodeid.split('[')[0], []).append(item)
        groups = list(groups.values())
        for (number, items) in enumerate(groups):
            function = Function(items)
            self.functions.append(function)
            function.measure()
            # The last run, behind which a module's fixtures go.
            following = groups[number + 1][0] if number + 1 < len(groups) \
                else session
            function.once(items[-1], following)
            report(function)
            items.clear()
            function.items = None
        return True


def report(function):
    if function.failed:
        print('FAILED: {}: {}'.format(function.name, function.failed),
              flush=True)
    elif function.growth:
        print('GROWS: {}: {} in each of its rounds ({} runs)'.format(
            function.name, ', '.join('{} {}'.format(n, what) for (what, n)
                                     in function.growth.items()),
            function.runs), flush=True)
    elif function.skipped:
        print('skipped: {}'.format(function.name), flush=True)
    elif function.runs < ROUNDS * REPEATS:
        print('fewer: {}: {} runs'.format(function.name, function.runs),
              flush=True)


def grows_again(function):
    """Does it in a process that begins anew, with more time?"""
    return subprocess.run(
        [sys.executable, __file__, '--here', function.name],
        stdout=subprocess.DEVNULL,
        env=dict(os.environ, LEAKS_AGAIN='1',
                 LEAKS_SECONDS=str(10 * SECONDS))).returncode != 0


def here(arguments):
    """In this process."""
    os.putenv = set_variable  # os.environ calls it
    repeat = Repeat()
    status = pytest.main(
        ['-q', '-p', 'no:cacheprovider', *arguments,
         *('--deselect=tests/py/' + name for name in LEFT_OUT)], [repeat])
    done = repeat.functions
    bad = [one for one in done if one.failed]
    for one in done:
        if one.growth and not one.failed and (
                'LEAKS_AGAIN' in os.environ or grows_again(one)):
            print('LEAKS: ' + one.name)
            bad.append(one)
    runs = [one.runs for one in done if not one.skipped]
    print('{} functions, {} runs, {} with fewer than {}, {} skipped; counted: '
          '{}'.format(len(done), sum(runs),
                      sum(n < ROUNDS * REPEATS for n in runs),
                      ROUNDS * REPEATS, sum(one.skipped for one in done),
                      ', '.join(what for what in WHAT if what != 'references'
                                or hasattr(sys, 'gettotalrefcount'))))
    print('{} passed, {} failed'.format(len(runs) - len(bad), len(bad)))
    return 1 if bad or status not in (0, 5) or not done else 0


def apart(argument):
    """(argument, status, text) of a process of its own."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, '--here', argument], text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, errors='replace')
    return (argument, done.returncode, done.stdout,
            time.monotonic() - started)


def main(arguments):
    if arguments[:1] == ['--here']:
        os.environ.setdefault('DEGU_EXAMPLES', '10')
        # A debug interpreter writes them by default; tests look at all that
        # the programs they start write.
        os.environ.setdefault('PYTHONWARNINGS', 'ignore::ResourceWarning')
        return here(arguments[1:])
    for (name, reason) in LEFT_OUT.items():
        print('left out: {}: {}'.format(name, reason))
    # The long ones first.
    arguments = arguments or sorted(glob.glob(HERE + '/py/test_*.py'),
                                    key=os.path.getsize, reverse=True)
    totals = [0, 0]
    good = True
    with ThreadPoolExecutor(JOBS) as pool:
        jobs = [pool.submit(apart, argument) for argument in arguments]
        for job in as_completed(jobs):
            (argument, status, text, seconds) = job.result()
            print('== {} ({:.0f} s, status {})\n{}'.format(
                os.path.relpath(argument), seconds, status, text), flush=True)
            (passed, failed) = runner.count(text) or (0, 1)
            totals = [totals[0] + passed, totals[1] + failed]
            good = good and status == 0
    print('{} passed, {} failed'.format(*totals))
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
