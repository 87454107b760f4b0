# SPDX-License-Identifier: MIT OR 0BSD
"""Round trips against the raw limit, the parser, system calls, and TLS.

    bench.py DIRECTORY-OF-THE-C-PROGRAMS [ROUNDS] [MILLISECONDS]

Both ends of each pair run on one core: a wake-up across cores costs more than
all the rest and measures the scheduler.  The contestants take turns, raw, C,
raw, Python, round after round; printed are medians, and the ratio of each to
the raw ping-pong of the same bytes beside it.  Rates drift with whatever else
the machine does; the ratio by CPU time stays right, so it is the one to quote.
The C pair's client has no timeout, as raw has none; with deadlines it has one.
The servers have all of theirs, and so has the Python client.
TLS is bench_tls.py's.  Nothing here fails because of time.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BARS = {'C pair': 0.88, 'C, deadlines': None, 'Python pair': 0.58}
DEADLINE_MS = '15000'
TRIPS = 1000


def output(*command):
    return subprocess.run(command, check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def numbers(*command):
    return [float(word) for word in output(*command).split()]


class PythonServer:
    """The Python pair's server, for as long as the block lasts."""

    def __init__(self, family):
        self.process = subprocess.Popen(
            [sys.executable, HERE + '/duo.py', 'server', family], text=True,
            stdout=subprocess.PIPE)
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise SystemExit('the Python server did not start')

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def python_run(family, ms):
    with PythonServer(family) as server:
        return numbers(sys.executable, HERE + '/duo.py', 'client',
                       server.address, str(server.process.pid),
                       str(ms / 1000))


def python_bytes(family):
    with PythonServer(family) as server:
        return numbers(sys.executable, HERE + '/duo.py', 'bytes',
                       server.address)


def raw_run(duo, family, ms, sizes):
    return numbers(duo, 'raw', family, str(ms),
                   *(str(int(size)) for size in sizes))


def round_trips(duo, family, rounds, ms):
    contestants = {
        'C pair': lambda: numbers(duo, 'degu', family, str(ms)),
        'C, deadlines': lambda: numbers(duo, 'degu', family, str(ms),
                                        DEADLINE_MS),
        'Python pair': lambda: python_run(family, ms),
    }
    sizes = dict.fromkeys(contestants, numbers(duo, 'bytes', family))
    sizes['Python pair'] = python_bytes(family)
    runs = {name: [] for name in sizes}
    raws = {name: [] for name in sizes}
    for _ in range(rounds):
        for (name, run) in contestants.items():
            raws[name].append(raw_run(duo, family, ms, sizes[name]))
            runs[name].append(run())
    for name in sizes:
        print_pair(family, name, sizes[name], runs[name], raws[name])


def print_pair(family, name, sizes, runs, raws):
    """Ratios are taken of neighbours in time, and then the median."""
    median = statistics.median
    by_rate = median(run[0] / raw[0] for (run, raw) in zip(runs, raws))
    by_cpu = median(raw[1] / run[1] for (run, raw) in zip(runs, raws))
    bar = BARS[name]
    print('{:6} {:12} {:>4.0f}/{:<4.0f} {:>9.0f} {:>9.0f} {:>7.2f} {:>7.2f} '
          '{:>7.3f} {:>7.3f}  {}'.format(
              family, name, *sizes, median(run[0] for run in runs),
              median(raw[0] for raw in raws),
              median(run[1] for run in runs), median(raw[1] for raw in raws),
              by_rate, by_cpu, '' if bar is None else '{} {}'.format(
                  bar, 'reached' if by_cpu >= bar else 'MISSED')),
          flush=True)


def system_calls(label, command, tmp):
    """What the kernel saw of so many exchanges of the C pair, both ends.
    command() gives the program with its arguments for FAMILY and COUNT."""
    if not shutil.which('strace'):
        print('system calls: n/a (Debian: strace)')
        return
    for family in ('unix', 'inet6'):
        table = tmp + '/strace'
        done = subprocess.run(
            ['strace', '-f', '-c', '-o', table, *command(family, TRIPS)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            print('system calls: n/a (strace may not trace here)')
            return
        with open(table) as file:
            text = file.read()
        os.unlink(table)
        counts = {}
        for match in re.finditer(
                r'^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$', text, re.M):
            counts[match[2]] = int(match[1])
        counts.pop('total', None)
        print('\nsystem calls a round trip, both ends, {}{} ({} of them, '
              'from strace -f -c)'.format(label, family, TRIPS))
        for (name, count) in sorted(counts.items(), key=lambda c: -c[1]):
            if count >= TRIPS / 10:
                print('    {:14} {:>8} {:>8.3f}'.format(
                    name, count, count / TRIPS))


def main(programs, rounds='9', ms='300'):
    duo = programs + '/bench_duo'
    os.environ['PYTHONPATH'] = ROOT + '/py'
    cores = os.sched_getaffinity(0)
    core = min(cores)
    os.sched_setaffinity(0, {core})
    print('POST of 108 bytes, answered by 108; both ends on core {}; {} rounds '
          'of {} ms, alternating'.format(core, rounds, ms))
    print('{:6} {:12} {:>9} {:>9} {:>9} {:>7} {:>7} {:>7} {:>7}  {}'.format(
        '', '', 'bytes', '1/s', 'raw 1/s', 'cpu us', 'raw us', 'rate',
        'by cpu', 'bar'))
    for family in ('unix', 'inet6'):
        round_trips(duo, family, int(rounds), int(ms))
    print()
    print(output(programs + '/bench_parse'), end='')
    system_calls('', lambda family, trips: [duo, 'trips', family, str(trips)],
                 programs)
    os.sched_setaffinity(0, cores)
    print(flush=True)
    subprocess.run([sys.executable, HERE + '/bench_tls.py', programs],
                   check=True)


if __name__ == '__main__':
    main(os.path.abspath(sys.argv[1]), *sys.argv[2:])
