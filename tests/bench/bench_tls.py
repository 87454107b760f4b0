# SPDX-License-Identifier: MIT OR 0BSD
"""TLS against bare SSL_write() and SSL_read(), as part of `make bench`.

    bench_tls.py DIRECTORY-OF-THE-C-PROGRAMS [ROUNDS]

In each profile, with certificates at both ends: a large body up and down, with
both ends on one core and, over AF_INET6, on a core each; small round trips; and
handshakes.
The contestants take turns, bare, C, Python, round after round; printed are
medians, and the ratio of each to bare in the same round.  On one core the ratio
is that of CPU time, which stays right when something else borrows the core; on
two that of rates, which then does not.
"""

import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [ROOT + '/py', HERE]
from bench import numbers, python_bytes, system_calls  # noqa: E402

from degu.misc import TempPKI  # noqa: E402

BARS = {'C pair': 0.90, 'Python pair': 0.75}  # of large bodies, over AF_INET6
MIB = 64
TRIPS_MS = 60
SHAKES_MS = 100
LARGE = ('down', 'up')


def words(sslconfig):
    return [sslconfig['ca_file'], sslconfig['cert_file'], sslconfig['key_file']]


class PythonPair:
    """A server and a client for one family and profile."""

    def __init__(self, family, profile, files):
        script = [sys.executable, HERE + '/tls.py']
        self.server = subprocess.Popen(
            [*script, 'server', family, profile, *files[:3]], text=True,
            stdout=subprocess.PIPE)
        address = self.server.stdout.readline().strip()
        if not address:
            raise SystemExit('the Python server did not start')
        self.client = subprocess.Popen(
            [*script, 'client', address, str(self.server.pid), profile,
             *files[3:]], text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in (self.client, self.server):
            process.terminate()
            process.communicate()

    def run(self, work, amount, core):
        print(work, amount, core, file=self.client.stdin, flush=True)
        line = self.client.stdout.readline()
        if not line:
            raise SystemExit('the Python client has ended')
        return [float(word) for word in line.split()]


class Bench:
    """All the work for one family and profile."""

    def __init__(self, program, family, profile, files, python, rounds):
        self.program = program
        self.family = family
        self.profile = profile
        self.files = files
        self.python = python
        self.rounds = rounds
        self.shares = []
        self.core = min(os.sched_getaffinity(0))

    def c_run(self, who, work, amount, core=0):
        return numbers(self.program, who, work, str(amount), self.family,
                       self.profile, '{},{}'.format(self.core, core),
                       *self.files)

    def compete(self, label, work, amount, core, sizes, unit, bars):
        """sizes: what bare has to send and receive in each one's place."""
        names = list(BARS)
        runs = {name: [] for name in names}
        bares = {name: [] for name in names}
        for _ in range(self.rounds):
            bare = None
            for name in names:
                # One run will do for both, if it is of the same bytes.
                if bare is None or sizes:
                    bare = self.c_run('bare', work + sizes.get(name, ''),
                                      amount, core)
                if core == self.core:
                    self.shares.append(bare[0] * bare[1])
                bares[name].append(bare)
                runs[name].append(
                    self.c_run('degu', work, amount, core)
                    if name == 'C pair' else
                    self.python.run(work, amount, core))
        for name in names:
            self.show(label, name, runs[name], bares[name],
                      core == self.core, unit, bars.get(name))

    def show(self, label, name, runs, bares, one_core, unit, bar):
        """unit: (of the rate, of the CPU time, which is so much less)."""
        median = statistics.median
        (form, cpu_name, times) = unit
        by_rate = median(run[0] / bare[0] for (run, bare) in zip(runs, bares))
        by_cpu = median(bare[1] / run[1] for (run, bare) in zip(runs, bares))
        ratio = by_cpu if one_core else by_rate
        print('{:6} {:7} {:15} {:12} {:>8} {:>8} {:>7.1f} {:>7.1f} {:2} '
              '{:>6.3f} {:>6.3f}  {}'.format(
                  self.family, self.profile[3:], label, name,
                  form.format(median(run[0] for run in runs)),
                  form.format(median(bare[0] for bare in bares)),
                  median(run[1] for run in runs) * times,
                  median(bare[1] for bare in bares) * times, cpu_name,
                  by_rate, by_cpu, '' if bar is None else '{:.2f} {}'.format(
                      bar, 'reached' if ratio >= bar else 'MISSED')),
              flush=True)

    def large_bodies(self):
        cores = sorted(os.sched_getaffinity(0))[:2]
        bars = BARS
        if self.family == 'unix':
            (cores, bars) = (cores[:1], {})
        for core in cores:
            for work in LARGE:
                label = '{}, {}'.format(
                    work, 'one core' if core == self.core else 'two cores')
                self.compete(label, work, MIB, core, {},
                             ('{:.3f}', 'ms', 1e3), bars)

    def small_ones(self):
        sizes = {'C pair': self.c_run('degu', 'bytes', 1, self.core),
                 'Python pair': python_bytes(self.family)}
        self.compete('round trips', 'trips', TRIPS_MS, self.core,
                     {name: '={:.0f},{:.0f}'.format(*size)
                      for (name, size) in sizes.items()},
                     ('{:.0f}', 'us', 1e6), {})
        self.compete('handshakes', 'shakes', SHAKES_MS, self.core, {},
                     ('{:.0f}', 'us', 1e6), {})


def run(programs, rounds=5):
    os.environ['PYTHONPATH'] = ROOT + '/py'
    program = programs + '/bench_tls'
    allowed = os.sched_getaffinity(0)
    print('TLS: a body of {} MiB, GiB/s and CPU ms a GiB; POST of 108 bytes '
          'answered by 108,\nconnections with a handshake and one request, '
          'both a second and in CPU us; {} rounds,\nalternating; the bar is of '
          'the ratio by CPU on one core, by rate on two'.format(MIB, rounds))
    print('{:6} {:7} {:15} {:12} {:>8} {:>8} {:>7} {:>10} {:>6} {:>6}  '
          '{}'.format('', '', '', '', '1/s', 'bare 1/s', 'cpu', 'bare cpu',
                      'rate', 'by cpu', 'bar'))
    with TempPKI() as pki:
        files = (words(pki.get_server_config()) +
                 words(pki.get_client_config()))
        shares = []
        for family in ('inet6', 'unix'):
            for profile in ('TLSv1.2', 'TLSv1.3'):
                # Children begin where this process is.
                os.sched_setaffinity(0, {min(allowed)})
                with PythonPair(family, profile, files) as python:
                    os.sched_setaffinity(0, allowed)
                    bench = Bench(program, family, profile, files, python,
                                  rounds)
                    bench.large_bodies()
                    bench.small_ones()
                    shares += bench.shares
        print('bare had {:.0%} of its core: with much less than all of it only '
              'ratios by CPU mean anything'.format(statistics.median(shares)))
        system_calls('TLS, ', lambda family, trips: [
            program, 'degu', 'count', str(trips), family, 'TLSv1.3', '0,0',
            *files], programs)


if __name__ == '__main__':
    run(os.path.abspath(sys.argv[1]), *map(int, sys.argv[2:]))
