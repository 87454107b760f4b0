# SPDX-License-Identifier: MIT OR 0BSD
"""Repeats the Python tests a hundred times and more, and measures what grows.

    leaks.py [PYTEST ARGUMENT...]      default: tests/py

A function of tests is run once with each of its parameters, which fills what
is filled once, and then in ROUNDS rounds of REPEATS runs, the parameters taken
in turn, all of them in each round.  After each round the collector runs, and
these are counted: Python's memory blocks, references where the interpreter
counts them (python3-dbg), descriptors, threads, and the bytes that malloc has
given out.  What leaks adds to every round, so the least that a round added is
the growth; where it is more than nothing there are up to MORE further rounds.

What grows is repeated in another process, and counts if it grows there too: a
cache may fill for long, a leak is in both.  A test that can be run once in a
process, because it uses its parameters up, is listed.

LEAKS_SECONDS (5) is what one function may take; where a hundred runs take
longer, because programs are started or time is waited for, there are fewer,
two rounds at least, and the function is listed with their number.  What the
children of tests leak is not seen here.
"""

import ctypes
import gc
import os
import subprocess
import sys
import time

import pytest
from _pytest.fixtures import FixtureDef
from _pytest.runner import runtestprotocol

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = 4
REPEATS = 25
MORE = 30
SECONDS = float(os.environ.get('LEAKS_SECONDS', '5'))
WHAT = ('blocks', 'references', 'descriptors', 'threads', 'bytes')


class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        'arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks',
        'uordblks', 'fordblks', 'keepcost')]


mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Mallinfo
references = getattr(sys, 'gettotalrefcount', lambda: 0)


def sample():
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
        self.name = items[0].nodeid.split('[')[0]
        self.runs = 0  # that were measured
        self.failed = None  # the first time,
        self.used_up = False  # or one of the others
        self.skipped = False
        self.growth = None

    def once(self, item):
        """Runs one test; what is shared by a module stays for the next."""
        item._initrequest()
        for report in runtestprotocol(item, log=False, nextitem=item.parent):
            if report.failed:
                self.failed = report.longreprtext
            self.skipped = self.skipped or report.skipped
        # Kept for what would report it.
        item._report_sections.clear()

    def round(self):
        for number in range(max(REPEATS, len(self.items))):
            self.once(self.items[number % len(self.items)])
            self.runs += 1
            if self.failed or (time.monotonic() > self.end and
                               number + 1 >= len(self.items)):
                break
        tidy(self.items[0].session)
        return sample()

    def measure(self):
        self.end = time.monotonic() + SECONDS
        for item in self.items:
            self.once(item)
        if self.failed:
            return
        tidy(self.items[0].session)
        least = [float('inf')] * len(WHAT)
        old = sample()
        for number in range(ROUNDS + MORE):
            if self.skipped:
                return
            new = self.round()
            if self.failed:
                self.used_up = True
                self.failed = None
                return
            least = [min(known, b - a)
                     for (known, a, b) in zip(least, old, new)]
            old = new
            late = time.monotonic() > self.end
            if number + 1 >= (2 if late else ROUNDS) and max(least) <= 0:
                break
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
                else None
            items[-1]._initrequest()
            runtestprotocol(items[-1], log=False, nextitem=following)
            report(function)
            items.clear()
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
    elif function.used_up:
        print('once: {}'.format(function.name), flush=True)
    elif not function.skipped and function.runs < ROUNDS * REPEATS:
        print('fewer: {}: {} runs'.format(function.name, function.runs),
              flush=True)


def grows_again(function):
    """Does it in a process that begins anew, with more time?"""
    return subprocess.run(
        [sys.executable, __file__, function.name], stdout=subprocess.DEVNULL,
        env=dict(os.environ, LEAKS_AGAIN='1',
                 LEAKS_SECONDS=str(10 * SECONDS))).returncode != 0


def main(arguments):
    repeat = Repeat()
    status = pytest.main(['-q', '-p', 'no:cacheprovider',
                          *(arguments or [HERE + '/py'])], [repeat])
    done = repeat.functions
    bad = [one for one in done if one.failed]
    for one in done:
        if one.growth and ('LEAKS_AGAIN' in os.environ or grows_again(one)):
            print('LEAKS: ' + one.name)
            bad.append(one)
    skipped = [one for one in done if one.skipped]
    once = [one for one in done if one.used_up]
    runs = [one.runs for one in done if not one.skipped and not one.used_up]
    print('{} functions, {} runs, {} with fewer than {}, {} once, {} skipped; '
          'counted: {}'.format(len(done), sum(runs),
                               sum(n < ROUNDS * REPEATS for n in runs),
                               ROUNDS * REPEATS, len(once), len(skipped),
                               ', '.join(
                                   what for what in WHAT
                                   if what != 'references' or
                                   hasattr(sys, 'gettotalrefcount'))))
    print('{} passed, {} failed'.format(len(runs) - len(bad), len(bad)))
    return 1 if bad or status not in (0, 5) or not done else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
