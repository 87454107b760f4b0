# SPDX-License-Identifier: MIT OR 0BSD
"""The tests under valgrind's memcheck: nothing that was never written decides
anything, no memory is touched that is not ours, none is lost.

    valgrind.py                    the C tests, then the Python tests
    valgrind.py c [TEST...]        e.g. test_format
    valgrind.py python [PYTEST...] e.g. tests/py/test_body.py

A command of its own, for it takes hours.  Descriptors that are left are
printed; the tests count their own.  Programs that tests start run without it,
and in test_server one test is left out, see there.  What copies of a process
lose is not seen, only what they touch.  Hypothesis makes ten examples, not a
hundred (DEGU_EXAMPLES).
"""

import glob
import os
import re
import sys
import tempfile

import run as runner

MEMCHECK = ['valgrind', '--quiet', '--error-exitcode=99', '--leak-check=full',
            '--show-leak-kinds=definite', '--errors-for-leak-kinds=definite',
            '--num-callers=30', '--fair-sched=try',
            '--suppressions=' + os.path.join(runner.HERE, 'valgrind.supp')]
C_FLAGS = ['-O1', '-g', '-DUNDER_VALGRIND', '-pthread', '-I' + runner.ROOT]


def c_tests(tests):
    jobs = []
    for test in tests or runner.c_tests():
        source = os.path.join(runner.HERE, 'c', test + '.c')
        jobs.append((os.path.join(runner.BUILD, 'valgrind', test),
                     [*runner.CC, *C_FLAGS, source,
                      *runner.LIBRARIES.get(test, [])]))
    runner.compile_all(jobs)
    for (target, _) in jobs:
        test = os.path.basename(target)
        runner.run(test, [*MEMCHECK, '--track-fds=yes', target,
                          *runner.c_arguments(test)],
                   shown=('Open file descriptor',))


def python_tests(arguments):
    """A run for each module, all of them even if one fails."""
    bad = [name for name in arguments or
           sorted(glob.glob(runner.HERE + '/py/test_*.py'))
           if not python_test(os.path.relpath(name, runner.ROOT))]
    if bad:
        raise runner.Failed(', '.join(bad))


# Not about the tests: what valgrind has no model for, the ioctl TIOCGPTPEER.
UNKNOWN = 'noted but unhandled ioctl 0x5441'
LOST = ' definitely lost in loss record '


def findings(text, copy):
    """What memcheck says of a process.  In a copy, which a fork leaves with
    one thread, all is lost that others of its parent had in hand."""
    found = re.split(r'\n==\d+== ?\n', text)
    return [one for one in found if one.strip() and UNKNOWN not in one
            and not (copy and LOST in one)]


def python_test(name):
    """Is it good?  Copies that tests fork are under memcheck as well, and
    write what they find into files of their own."""
    with tempfile.TemporaryDirectory(prefix='degu-valgrind.') as folder:
        first = os.path.join(folder, 'first')  # holds the number of that one
        try:
            # Tests look at the exit status of copies.
            runner.run(name, [
                'sh', '-c', 'echo $$ > "$0"; exec "$@"', first,
                *MEMCHECK, '--error-exitcode=0',
                '--log-file=' + folder + '/%p.log', sys.executable, '-m',
                'pytest', '-q', '--capture=sys', '-p', 'no:cacheprovider',
                '-p', 'no:faulthandler', name],
                PYTHONMALLOC='malloc', DEGU_SANITIZED='1', DEGU_SLOWER='20')
            good = True
        except runner.Failed:
            good = False
        with open(first) as file:
            first = file.read().strip() + '.log'
        logs = glob.glob(folder + '/*.log')
        assert os.path.join(folder, first) in logs
        for path in sorted(logs):
            with open(path, errors='replace') as file:
                found = findings(file.read(), os.path.basename(path) != first)
            if found:
                good = False
                print('\n\n'.join(found)[:20000])
    return good


def main(kind='', *arguments):
    runner.LIMIT = 24 * 3600
    os.environ.setdefault('DEGU_EXAMPLES', '10')
    if kind in ('', 'c'):
        c_tests(arguments)
    if kind in ('', 'python'):
        python_tests(arguments)


if __name__ == '__main__':
    try:
        main(*sys.argv[1:])
    except runner.Failed as error:
        raise SystemExit('FAILED: {}'.format(error))
