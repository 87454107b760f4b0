# SPDX-License-Identifier: MIT OR 0BSD
"""Large bodies against bare send() and recv(), and TLS against bare SSL_write()
and SSL_read(), with certificates at both ends.

A large body goes down and up, with both ends on one core and with a core each;
under TLS there are small round trips and handshakes as well.  On one core the
ratio is that of CPU time, on two that of rates.  A row has the worse of the two
directions.
"""

import contextlib
import subprocess

from contest import (
    CORE,
    CORES,
    Row,
    build,
    column,
    median,
    numbers,
    pinned,
    ratio,
    script,
    turns,
)
from pairs import FAMILIES, TRIPS, calls_row, python_bytes

from degu.misc import TempPKI

TARGET = 0.95
ROUNDS = 7
MIB = {'plain': 256, 'TLSv1.2': 64, 'TLSv1.3': 64}
TRIPS_MS = 60
SHAKES_MS = 100
SMALL_ROUNDS = 5
WORKS = ('down', 'up')
WHO = ('C', 'Python')


def program():
    return build('bulk', ('bulk.c',), libraries=('-lssl', '-lcrypto'))


@contextlib.contextmanager
def certificates():
    """The files for server and client."""
    with TempPKI() as pki:
        yield [config[key] for config in (pki.get_server_config(),
                                          pki.get_client_config())
               for key in ('ca_file', 'cert_file', 'key_file')]


class PythonPair:
    """A server and a client for one family and profile."""

    def __init__(self, family, profile, files):
        self.server = subprocess.Popen(
            pinned(CORE, *script('bulk_duo.py', 'server', family, profile,
                                 *files[:3])),
            text=True, stdout=subprocess.PIPE)
        address = self.server.stdout.readline().strip()
        if not address:
            raise SystemExit('the Python server did not start')
        self.client = subprocess.Popen(
            script('bulk_duo.py', 'client', address, str(self.server.pid),
                   profile, *files[3:]), text=True, stdin=subprocess.PIPE,
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


class Contest:
    """All the work for one family and profile."""

    def __init__(self, family, profile, files, python):
        self.program = program()
        self.family = family
        self.profile = profile
        self.files = files
        self.python = python

    def c_run(self, who, work, amount, core=CORE):
        return numbers(self.program, who, work, str(amount), self.family,
                       self.profile, '{},{}'.format(CORE, core), *self.files)

    def large_bodies(self):
        """{(who, one core?): {up or down: ratio}}"""
        found = {}
        for core in CORES[:2] if self.family == 'inet6' else [CORE]:
            for work in WORKS:
                runs = self.compete(ROUNDS, work, MIB[self.profile], core)
                index = 1 if core == CORE else 0
                for who in WHO:
                    pair = (column(runs[who], index),
                            column(runs['bare'], index))
                    found.setdefault((who, core == CORE), {})[work] = {
                        'ratio': ratio(*(reversed(pair) if index else pair)),
                        'ours': median(pair[0]), 'bare': median(pair[1])}
        return found

    def compete(self, rounds, work, amount, core):
        label = '{}, {}, {} on {}'.format(
            self.profile, FAMILIES[self.family], work,
            'one core' if core == CORE else 'two cores')
        return turns(label, rounds, {
            'bare': lambda: self.c_run('bare', work, amount, core),
            'C': lambda: self.c_run('degu', work, amount, core),
            'Python': lambda: self.python.run(work, amount, core)})

    def small_ones(self):
        """{(work, who): (CPU us, bare's)}, each one's bytes in bare's place."""
        sizes = {'C': self.c_run('degu', 'bytes', 1),
                 'Python': python_bytes(self.family)}
        found = {}
        for (work, amount) in (('trips', TRIPS_MS), ('shakes', SHAKES_MS)):
            runs = turns('{}, {}, {}'.format(
                self.profile, FAMILIES[self.family], work), SMALL_ROUNDS,
                self.small_contestants(work, amount, sizes))
            for who in WHO:
                found[work, who] = (column(runs[who], 1),
                                    column(runs['bare ' + who], 1))
        return found

    def small_contestants(self, work, amount, sizes):
        def bare(who):
            form = '={:.0f},{:.0f}'.format(*sizes[who])
            return self.c_run('bare', work + (form if work == 'trips' else ''),
                              amount)
        return {'bare C': lambda: bare('C'),
                'C': lambda: self.c_run('degu', work, amount),
                'bare Python': lambda: bare('Python'),
                'Python': lambda: self.python.run(work, amount, CORE)}


def large_rows(family, profile, found):
    rows = []
    for ((who, one_core), works) in found.items():
        (work, worse) = min(works.items(), key=lambda item: item[1]['ratio'])
        form = '{:,.0f} ms/GiB' if one_core else '{:.2f} GiB/s'
        scale = 1e3 if one_core else 1
        rows.append(Row(
            'bulk, {}, {}, {}, {}'.format(
                who, profile, FAMILIES[family],
                'one core' if one_core else 'two cores'),
            '{} {}'.format(form.format(worse['ours'] * scale), work),
            'bare C ' + form.format(worse['bare'] * scale),
            worse['ratio'], TARGET))
    if len(CORES) < 2 and family == 'inet6':
        rows += [Row('bulk, {}, {}, IPv6, two cores'.format(who, profile),
                     target=TARGET, missing='one core only') for who in WHO]
    return rows


def small_rows(family, profile, found):
    names = {'trips': 'round trip', 'shakes': 'handshake and request'}
    return [Row(
        '{}, {}, {}, {}'.format(names[work], who, profile, FAMILIES[family]),
        '{:.1f} us'.format(median(ours) * 1e6),
        'bare OpenSSL {:.1f} us'.format(median(bare) * 1e6),
        ratio(bare, ours)) for ((work, who), (ours, bare)) in found.items()]


def record(found):
    return {', '.join(map(str, key)): value for (key, value) in found.items()}


def plain():
    rows = []
    data = {}
    files = [''] * 6
    for family in ('inet6', 'unix'):
        with PythonPair(family, 'plain', files) as python:
            found = Contest(family, 'plain', files, python).large_bodies()
        rows += large_rows(family, 'plain', found)
        data[FAMILIES[family]] = record(found)
    return rows, data


def tls():
    (rows, small) = ([], [])
    data = {}
    with certificates() as files:
        for (family, profile) in (('inet6', 'TLSv1.2'), ('inet6', 'TLSv1.3'),
                                  ('unix', 'TLSv1.3')):
            with PythonPair(family, profile, files) as python:
                contest = Contest(family, profile, files, python)
                found = contest.large_bodies()
                rows += large_rows(family, profile, found)
                small += small_rows(family, profile, contest.small_ones())
            data['{}, {}'.format(profile, FAMILIES[family])] = record(found)
        (row, data['calls']) = calls_row(
            'TLSv1.3, IPv6', [program(), 'degu', 'count', str(TRIPS), 'inet6',
                              'TLSv1.3', '{0},{0}'.format(CORE), *files])
    return [*rows, *small, row], data
