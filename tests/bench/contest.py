# SPDX-License-Identifier: MIT OR 0BSD
"""What all parts of the benchmark share: programs that are built and run, turns
that contestants take, processes and what they cost, and rows of the table.
"""

import functools
import glob
import http.client
import os
import random
import shlex
import socket
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, 'build', 'bench')
CORES = sorted(os.sched_getaffinity(0))
CORE = CORES[0]
TICK = os.sysconf('SC_CLK_TCK')
GREETING = b'hello, world'
begun = time.monotonic()


class Missing(Exception):
    """A peer, or an option of ours, is not there; the text says why."""


class Row(NamedTuple):
    """A row of the final table.

    *value* is compared with *target*: a ratio, which more is better of unless
    *at_most*, or a quantity of this *unit*.  Without a target it just stands
    there; without a value *missing* says why.
    """

    what: str
    ours: str = ''
    peer: str = ''
    value: float | None = None
    target: float | None = None
    at_most: bool = False
    unit: str = ''
    missing: str = ''

    def is_met(self):
        if self.value is None or self.target is None:
            return None
        # As exact as it is printed.
        value = round(self.value, 2)
        return value <= self.target if self.at_most else value >= self.target


def say(text):
    """Progress, with the seconds since the beginning."""
    print('[{:4.0f} s] {}'.format(time.monotonic() - begun, text), flush=True)


# ------------------------------------------------------------------ programs

@functools.cache
def build(name, sources, flags=(), libraries=()):
    """The path of a C program made of these tuples, by CC; *flags* may
    overrule -O2."""
    os.makedirs(BUILD, exist_ok=True)
    program = os.path.join(BUILD, name)
    command = [*shlex.split(os.environ.get('CC', 'cc')),
               '-O2', '-Wall', *flags, '-I' + ROOT, '-I' + HERE,
               *(os.path.join(HERE, source) for source in sources),
               '-o', program, '-pthread', *libraries]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode:
        raise SystemExit('{}\n{}'.format(shlex.join(command), done.stdout))
    return program


def pinned(core, *command):
    return ['taskset', '-c', str(core), *command]


def script(name, *arguments, python=sys.executable):
    """The command of a Python program of this directory."""
    return [python, os.path.join(HERE, name), *arguments]


def output(*command):
    return subprocess.run(command, check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def numbers(*command):
    return [float(word) for word in output(*command).split()]


# --------------------------------------------------------------------- turns

def turns(area, rounds, contestants):
    """Calls them one after the other, round after round: {name: [result]}."""
    results = {name: [] for name in contestants}
    for number in range(1, rounds + 1):
        say('{}, round {} of {}'.format(area, number, rounds))
        for (name, run) in contestants.items():
            results[name].append(run())
    return results


median = statistics.median


def ratio(over, under):
    """The median of what neighbours in time have to each other."""
    return median(a / b for (a, b) in zip(over, under))


def column(results, index):
    return [result[index] for result in results]


# ----------------------------------------------------------------- processes

def with_children(pid):
    found = [pid]
    for path in glob.glob('/proc/{}/task/*/children'.format(pid)):
        try:
            with open(path) as file:
                children = file.read().split()
        except OSError:  # the thread has ended
            continue
        for child in children:
            found += with_children(int(child))
    return found


def free_port():
    """Below the ephemeral ones, where who waits for a server to come up can be
    connected to himself."""
    while True:
        port = random.randrange(10000, 30000)
        with socket.socket() as sock:
            try:
                sock.bind(('127.0.0.1', port))
                return port
            except OSError:
                continue


class Served:
    """A program that serves at a port of 127.0.0.1, for as long as the block
    lasts, and has been seen to greet whoever asks for /.  *command* is called
    with the port."""

    def __init__(self, command, core=CORE):
        self.port = free_port()
        self.log = open(os.path.join(BUILD, 'served.log'), 'w+')
        command = command(self.port)
        self.command = shlex.join(command)
        self.process = subprocess.Popen(pinned(core, *command), cwd=HERE,
                                        stdout=self.log, stderr=self.log)
        try:
            self.wait()
        except BaseException:
            self.end()
            raise

    def wait(self):
        end = time.monotonic() + 20
        while True:
            try:
                return self.check()
            except OSError as error:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.log.seek(0)
                    raise SystemExit('{}: {}\n{}'.format(
                        self.command, error, self.log.read()))
                time.sleep(0.01)

    def check(self):
        conn = http.client.HTTPConnection('127.0.0.1', self.port, timeout=5)
        conn.request('GET', '/')
        response = conn.getresponse()
        answer = (response.status, response.read())
        conn.close()
        if answer != (200, GREETING):
            raise SystemExit('{}: {}'.format(self.command, answer))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.end()

    def end(self):
        for pid in reversed(with_children(self.process.pid)):
            try:
                os.kill(pid, 15)
            except ProcessLookupError:
                pass
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def cpu(self):
        """Seconds on a core so far, of threads that have ended as well."""
        total = 0
        for pid in with_children(self.process.pid):
            with open('/proc/{}/stat'.format(pid)) as file:
                fields = file.read().rsplit(')', 1)[1].split()
            total += sum(int(field) for field in fields[11:13])
        return total / TICK

    def memory(self):
        """KiB of memory in proportion to who shares it."""
        total = 0
        for pid in with_children(self.process.pid):
            with open('/proc/{}/smaps_rollup'.format(pid)) as file:
                total += sum(int(line.split()[1]) for line in file
                             if line.startswith('Pss:'))
        return total
