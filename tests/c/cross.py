# SPDX-License-Identifier: MIT OR 0BSD
"""The C tests everywhere: other processors, other C libraries; as a table.

    cross.py DIRECTORY [--quick]      for the programs; quick: less of them

Other processors are those of clang, with Debian's libraries for them, run by
qemu-user; s390x has its bytes in the other order.  Windows programs are
compiled and linked, without sockets, and not run.
"""

import glob
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LIMIT = 600  # seconds for one program
FLAGS = ['-Wall', '-Wextra', '-Werror', '-g', '-O1', '-I' + ROOT]
TESTS = ['test_vectors', 'test_exchange', 'test_table', 'test_format',
         'test_server']
# The C library of Windows has no mmap() or glob(), and here no sockets.
WINDOWS = ['test_table', 'test_exchange', 'test_format']


def foreign(triple, emulator):
    """(command that compiles, command that runs) for another processor."""
    gcc = sorted(glob.glob('/usr/lib/gcc-cross/{}/[0-9]*'.format(triple)))
    where = ['/usr/{}/lib'.format(triple), *gcc[-1:]]
    return (['clang', '--target=' + triple, '-nostdlibinc', '-isystem',
             '/usr/{}/include'.format(triple), '-static', '-pthread',
             *('-B' + path for path in where),
             *('-L' + path for path in where)], [emulator])


TARGETS = {
    'armhf': foreign('arm-linux-gnueabihf', 'qemu-arm'),
    'arm64': foreign('aarch64-linux-gnu', 'qemu-aarch64'),
    'riscv64': foreign('riscv64-linux-gnu', 'qemu-riscv64'),
    's390x': foreign('s390x-linux-gnu', 'qemu-s390x'),
    'x86 -m32': (['gcc', '-m32', '-pthread'], []),
    'musl': (['musl-gcc', '-static', '-pthread'], []),
    'windows': (['x86_64-w64-mingw32-gcc', '-DDEGU_NO_SOCKETS'], None),
}


def run(command):
    """(did it go well, what it printed)"""
    try:
        done = subprocess.run(
            command, cwd=ROOT, timeout=LIMIT, text=True, errors='replace',
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        return done.returncode == 0, done.stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)


class Job:
    def __init__(self, directory, target, test):
        (self.compiler, self.runner) = TARGETS[target]
        self.name = (target, test)
        self.program = '{}/{}-{}'.format(directory, test,
                                         target.replace(' ', ''))
        self.source = '{}/{}.c'.format(HERE, test)
        (self.good, self.result, self.text) = (False, '', '')

    def work(self):
        (self.good, self.text) = run([*self.compiler, *FLAGS, self.source,
                                      '-o', self.program])
        if not self.good:
            self.result = 'NOT COMPILED'
        elif self.runner is None:
            self.result = 'compiles'
        else:
            (self.good, self.text) = run([*self.runner, self.program])
            made = re.search(r'^(\d+) passed, 0 failed$', self.text, re.M)
            self.good = self.good and made is not None
            self.result = made[1] if self.good else 'FAILED'
        return self


def tests_of(target, quick):
    """The quick ones are those that other stages do not run for it."""
    tests = [test for test in TESTS if target != 'windows' or test in WINDOWS]
    if not quick:
        return tests
    return [] if target in ('x86 -m32', 'musl') else tests[:1]


def main(directory, quick):
    os.makedirs(directory, exist_ok=True)
    started = time.monotonic()
    jobs = [Job(directory, target, test) for target in TARGETS
            for test in tests_of(target, quick)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done = {job.name: job for job in pool.map(Job.work, jobs)}
    print('{:14}'.format('checks') + ''.join(
        '{:>13}'.format(target) for target in TARGETS))
    for test in TESTS:
        if not any((target, test) in done for target in TARGETS):
            continue
        print('{:14}'.format(test) + ''.join('{:>13}'.format(
            done[target, test].result if (target, test) in done else '-')
            for target in TARGETS))
    failed = [job for job in jobs if not job.good]
    for job in failed:
        print('{}: {}'.format(' '.join(job.name), job.text[-2000:]))
    print('in {:.0f} s'.format(time.monotonic() - started))
    print('{} passed, {} failed'.format(len(jobs) - len(failed), len(failed)))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(os.path.abspath(sys.argv[1]), '--quick' in sys.argv[2:]))
