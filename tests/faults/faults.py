# SPDX-License-Identifier: MIT OR 0BSD
"""What a network, a kernel or a careless app can do, done to both servers and
both clients.

    faults.py [--quick] [NAME...]    cases whose names begin so; all by default
    faults.py --list

A case is a function of one of the modules below.  Each runs once for each
program that it is about, in a process of its own, says whether the program has
met the bar, and a figure.  Ends with the table, and with 1 if a cell of it does
not hold.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MODULES = ('slow', 'floods', 'exhaustion', 'left', 'ends', 'facts', 'misuse',
           'files', 'proxies')
COLUMNS = ('c server', 'python server', 'c client', 'python client')
LIMIT = 600  # seconds for one cell


class Case:
    """*bar* says what has to hold; *ends* are 'server' or 'client', or whole
    names of columns; quick ones take a few seconds, and are part of the
    tests."""

    every = []

    def __init__(self, play, bar, ends, quick):
        self.play = play
        self.name = '{}.{}'.format(play.__module__, play.__name__)
        self.about = play.__doc__
        self.bar = bar
        self.both = {'server', 'client'} <= set(ends)
        self.columns = [column for column in COLUMNS
                        if column.endswith(ends)]
        self.quick = quick
        self.every.append(self)


def case(bar, *ends, quick=False):
    """The function gets 'c' or 'python', and if it is about both ends 'server'
    or 'client'; it returns (holds, figure)."""
    return lambda play: Case(play, bar, ends, quick)


def load():
    for name in MODULES:
        importlib.import_module(name)


def build():
    folder = os.path.join(ROOT, 'build', 'faults')
    os.makedirs(folder, exist_ok=True)
    for end in ('server', 'client'):
        subprocess.run(
            [*os.environ.get('CC', 'cc').split(), '-O2', '-Wall', '-Wextra',
             '-I' + ROOT, '-pthread', os.path.join(HERE, end + '.c'), '-o',
             os.path.join(folder, end)], check=True)


def play(name, column):
    """In a process of its own: prints the outcome as JSON."""
    (this,) = [one for one in Case.every if one.name == name]
    words = column.split()
    (holds, figure) = this.play(*words if this.both else words[:1])
    print(json.dumps([bool(holds), str(figure)]))


def measure(name, column):
    """(holds, figure)"""
    process = subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), '--play', name, column],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'py')),
        start_new_session=True)
    try:
        (out, err) = process.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.communicate()
        return (False, 'no end after {} s'.format(LIMIT))
    if process.returncode:
        print(err, file=sys.stderr)
        return (False, (err.strip().splitlines() or ['?'])[-1])
    return tuple(json.loads(out.splitlines()[-1]))


def report(one, column):
    """(holds, what stands in the table)"""
    begin = time.monotonic()
    (holds, figure) = measure(one.name, column)
    if not holds:
        figure += ' FAILED'
    print('{}, {}: {} ({:.1f} s)'.format(
        one.name, column, figure, time.monotonic() - begin), flush=True)
    return (holds, figure)


def table(rows):
    width = max(len(row[0]) for row in rows)
    form = '{:%d}' % width + '  {:16}' * len(COLUMNS) + '  {}'
    print()
    print(form.format('case', *COLUMNS, 'bar').rstrip())
    for (name, cells, bar) in rows:
        print(form.format(name, *cells, bar))


def main(arguments):
    load()
    if arguments[:1] == ['--play']:
        return play(*arguments[1:])
    quick = '--quick' in arguments
    names = tuple(word for word in arguments if not word.startswith('--'))
    chosen = [one for one in Case.every
              if (one.quick or not quick) and
              (not names or one.name.startswith(names))]
    if not chosen:
        sys.exit('no such case; faults.py --list names all')
    if '--list' in arguments:
        print('\n'.join(one.name for one in chosen))
        return 0
    build()
    cells = [(one, column) for one in chosen for column in one.columns]
    (found, failed) = ({}, 0)
    # Most of the time they wait, and quick ones have bars with much room.
    with ThreadPoolExecutor(os.cpu_count() if quick else 1) as pool:
        for ((one, column), (holds, figure)) in zip(
                cells, pool.map(lambda cell: report(*cell), cells)):
            failed += not holds
            found[one.name, column] = figure
    table([(one.name, [found.get((one.name, column), '-')
                       for column in COLUMNS], one.bar) for one in chosen])
    print('{} passed, {} failed'.format(len(cells) - failed, failed))
    return 1 if failed else 0


if __name__ == '__main__':
    # Cases import this module, which shall be this one.
    sys.modules['faults'] = sys.modules['__main__']
    sys.exit(main(sys.argv[1:]))
