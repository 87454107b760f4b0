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

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MODULES = ('slow', 'floods', 'exhaustion', 'left')
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
        self.columns = [column for column in COLUMNS
                        if column.endswith(ends)]
        self.quick = quick
        self.every.append(self)


def case(bar, *ends, quick=False):
    """The function gets 'c' or 'python', and returns (holds, figure)."""
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
    (holds, figure) = this.play(column.split()[0])
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
    if '--list' in arguments:
        print('\n'.join(one.name for one in chosen))
        return 0
    build()
    (rows, passed, failed) = ([], 0, 0)
    for one in chosen:
        cells = ['-'] * len(COLUMNS)
        for column in one.columns:
            begin = time.monotonic()
            (holds, figure) = measure(one.name, column)
            passed += holds
            failed += not holds
            cells[COLUMNS.index(column)] = figure if holds else \
                figure + ' FAILED'
            print('{}, {}: {} ({:.1f} s)'.format(
                one.name, column, cells[COLUMNS.index(column)],
                time.monotonic() - begin), flush=True)
        rows.append((one.name, cells, one.bar))
    table(rows)
    print('{} passed, {} failed'.format(passed, failed))
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    # Cases import this module, which shall be this one.
    sys.modules['faults'] = sys.modules['__main__']
    sys.exit(main(sys.argv[1:]))
