# SPDX-License-Identifier: MIT OR 0BSD
"""Round trips of a client and a server, against a raw ping-pong of the same
bytes: on one core, and spinning on two.

On one core a wake-up costs least, and the ratio is that of CPU time, which
stays right when something else borrows the core.  The C pair's client has no
timeout, as raw has none; with deadlines it has one.  The servers have all of
theirs, and so has the Python client.
"""

import os
import re
import shutil
import subprocess
import sys

from contest import (
    BUILD,
    CORE,
    CORES,
    ROOT,
    Missing,
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

FAMILIES = {'unix': 'AF_UNIX', 'inet6': 'IPv6'}
TARGETS = {
    ('C pair', 'unix'): 0.95,
    ('C pair', 'inet6'): 0.95,
    ('C pair, deadlines', 'unix'): 0.92,
    ('C pair, deadlines', 'inet6'): 0.92,
    ('Python pair', 'unix'): 0.72,
    ('Python pair', 'inet6'): 0.74,
}
ROUNDS = 7
MS = 300
DEADLINE_MS = 15000
TRIPS = 1000
SPIN_US = 200
SPIN_ROUNDS = 5
SPIN_TARGET = 5


def duo():
    return build('duo', ('duo.c',), ('-DSPIN',) if c_spins() else ())


class PythonServer:
    """The Python pair's server, for as long as the block lasts."""

    def __init__(self, family, core, spin):
        self.process = subprocess.Popen(
            pinned(core, *script('duo.py', 'server', family, str(spin))),
            text=True, stdout=subprocess.PIPE)
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise SystemExit('the Python server did not start')

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


def python_pair(family, cores=(CORE, CORE), spin=0):
    """(round trips a second, CPU us of one); cores: server's, client's."""
    with PythonServer(family, cores[0], spin) as server:
        return numbers(*pinned(cores[1], *script(
            'duo.py', 'client', server.address, str(server.process.pid),
            str(MS / 1000), str(spin))))


def python_bytes(family):
    with PythonServer(family, CORE, 0) as server:
        return numbers(*script('duo.py', 'bytes', server.address))


class CPair:
    """Runs of duo.c."""

    def __init__(self, family, cores=(CORE, CORE)):
        self.program = duo()
        self.family = family
        self.cores = '{},{}'.format(*cores)

    def raw(self, sizes, spin=0):
        return numbers(self.program, 'raw', self.family, self.cores, str(MS),
                       str(spin), *('{:.0f}'.format(size) for size in sizes))

    def degu(self, timeout_ms=-1, spin=0):
        return numbers(self.program, 'degu', self.family, self.cores, str(MS),
                       str(spin), str(timeout_ms))

    def bytes(self):
        return numbers(self.program, 'bytes', self.family, self.cores)


# ------------------------------------------------------------------ one core

def one_core():
    rows = []
    data = {}
    for family in FAMILIES:
        pair = CPair(family)
        contestants = {
            'C pair': pair.degu,
            'C pair, deadlines': lambda pair=pair: pair.degu(DEADLINE_MS),
            'Python pair': lambda family=family: python_pair(family),
        }
        sizes = dict.fromkeys(contestants, pair.bytes())
        sizes['Python pair'] = python_bytes(family)
        beside = {}
        for (name, run) in contestants.items():
            beside['raw ' + name] = (
                lambda pair=pair, name=name: pair.raw(sizes[name]))
            beside[name] = run
        runs = turns('pairs, ' + FAMILIES[family], ROUNDS, beside)
        for name in contestants:
            row = describe(name, family, runs[name], runs['raw ' + name])
            rows.append(row)
            data['{}, {}'.format(name, FAMILIES[family])] = row.value
    return rows, data


def describe(name, family, runs, raws):
    return Row(
        '{}, {}, one core'.format(name, FAMILIES[family]),
        '{:.2f} us'.format(median(column(runs, 1))),
        'raw ping-pong {:.2f} us'.format(median(column(raws, 1))),
        ratio(column(raws, 1), column(runs, 1)),
        TARGETS[name, family])


# ------------------------------------------------------------------- strace

# A call that is traced takes ten times as long, and a slow pair makes others
# than a fast one: it looks whether a peer has gone.  So a group at a time, and
# those that belong to no message at almost full speed.
GROUPS = ('recvfrom,recvmsg', 'sendto,sendmsg',
          '!recvfrom,recvmsg,sendto,sendmsg')


def count_calls(command):
    """{name: how often} of all processes, or Missing."""
    if not shutil.which('strace'):
        raise Missing('strace is not installed')
    counts = {}
    for group in GROUPS:
        counts.update(count_group(group, command))
    return counts


def count_group(group, command):
    table = os.path.join(BUILD, 'strace')
    done = subprocess.run(['strace', '-f', '--seccomp-bpf', '-c', '-e',
                           'trace=' + group, '-o', table, *command],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise Missing('strace may not trace here')
    with open(table) as file:
        text = file.read()
    os.unlink(table)
    counts = {match[2]: int(match[1]) for match in re.finditer(
        r'^ *[\d.]+ +[\d.]+ +\d+ +(\d+) +(?:\d+ +)?(\w+)$', text, re.M)}
    counts.pop('total', None)
    return counts


def calls_row(label, command, target=None):
    """What the kernel saw of so many exchanges of a C pair, both ends.  What
    fewer than one in ten make is for the start, or for other connections."""
    what = 'system calls a round trip, C pair, ' + label
    try:
        counts = count_calls(command)
    except Missing as why:
        return Row(what, target=target, at_most=True, unit='calls',
                   missing=str(why)), {}
    often = {name: count / TRIPS for (name, count) in counts.items()
             if count >= TRIPS / 10}
    text = ', '.join('{} {:.2f}'.format(*item) for item in
                     sorted(often.items(), key=lambda item: -item[1]))
    return (Row(what, '{:.2f}'.format(sum(often.values())), text,
                sum(often.values()), target, True, 'calls'), often)


def system_calls():
    rows = []
    data = {}
    for (family, name) in FAMILIES.items():
        (row, data[name]) = calls_row(
            name, [duo(), 'trips', family, '{0},{0}'.format(CORE),
                   str(TRIPS)], 4)
        rows.append(row)
    return rows, data


# ----------------------------------------------------------------- two cores

def c_spins():
    with open(os.path.join(ROOT, 'degu.h')) as file:
        return 'spin_us' in file.read()


def python_spins():
    done = subprocess.run(
        [sys.executable, '-c', 'from degu.client import Client; '
         'Client(("::1", 1, 0, 0), spin=0.0001)'],
        stderr=subprocess.PIPE, text=True)
    if done.returncode and 'spin' not in done.stderr:
        raise SystemExit(done.stderr)
    return not done.returncode


def two_cores():
    """Client and server each on a core of their own, where who waits without
    spinning pays for a wake-up across cores."""
    if len(CORES) < 2:
        why = 'one core only'
        return [spin_row(who, FAMILIES[family], SPIN_TARGET, why)
                for who in ('Python', 'C') for family in FAMILIES], {}
    rows = []
    data = {}
    for (family, label) in FAMILIES.items():
        runs = turns('spinning, ' + label, SPIN_ROUNDS, spinners(family))
        rates = {name: median(column(run, 0)) for (name, run) in runs.items()}
        data[label] = rates
        for (who, target) in (('Python', SPIN_TARGET), ('C', None)):
            rows.append(compare_spins(who, label, target, runs, rates))
    return rows, data


def spinners(family):
    cores = (CORES[1], CORES[0])
    pair = CPair(family, cores)
    sizes = pair.bytes()
    found = {'raw': lambda: pair.raw(sizes),
             'raw, spin': lambda: pair.raw(sizes, SPIN_US),
             'C': pair.degu,
             'Python': lambda: python_pair(family, cores)}
    if c_spins():
        found['C, spin'] = lambda: pair.degu(spin=SPIN_US)
    if python_spins():
        found['Python, spin'] = lambda: python_pair(family, cores, SPIN_US)
    return found


def spin_row(who, label, target, why):
    return Row('{} pair, {}, two cores, spin'.format(who, label), target=target,
               missing=why)


def compare_spins(who, label, target, runs, rates):
    if who + ', spin' not in runs:
        return spin_row(who, label, target, 'no such option')
    return Row(
        '{} pair, {}, two cores, spin'.format(who, label),
        '{:,.0f}/s'.format(rates[who + ', spin']),
        'without {:,.0f}/s; raw {:,.0f}/s, spinning {:,.0f}/s'.format(
            rates[who], rates['raw'], rates['raw, spin']),
        ratio(column(runs[who + ', spin'], 0), column(runs[who], 0)), target)
