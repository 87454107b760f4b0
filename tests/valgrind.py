# SPDX-License-Identifier: MIT OR 0BSD
"""The tests under valgrind's memcheck: nothing that was never written decides
anything, no memory is touched that is not ours, none is lost.

    valgrind.py                    the C tests, then the Python tests
    valgrind.py c [TEST...]        e.g. test_format
    valgrind.py python [PYTEST...] e.g. tests/py/test_body.py

A command of its own, for it takes hours.  Descriptors that are left are
printed; the tests count their own.  Programs that tests start run without it,
and in test_server one test is left out, see there.
"""

import glob
import os
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


def python_test(name):
    """Is it good?  Copies that tests fork are under memcheck as well, and
    write what they find into files of their own."""
    with tempfile.TemporaryDirectory(prefix='degu-valgrind.') as folder:
        try:
            # Tests look at the exit status of copies.
            runner.run(name, [
                *MEMCHECK, '--error-exitcode=0',
                '--log-file=' + folder + '/%p', sys.executable, '-m',
                'pytest', '-q', '--capture=sys', '-p', 'no:cacheprovider',
                '-p', 'no:faulthandler', name],
                PYTHONMALLOC='malloc', DEGU_SANITIZED='1')
            good = True
        except runner.Failed:
            good = False
        for path in sorted(glob.glob(folder + '/*')):
            with open(path, errors='replace') as file:
                text = file.read()
            if text:
                good = False
                print(text[:20000])
    return good


def main(kind='', *arguments):
    runner.LIMIT = 24 * 3600
    if kind in ('', 'c'):
        c_tests(arguments)
    if kind in ('', 'python'):
        python_tests(arguments)


if __name__ == '__main__':
    try:
        main(*sys.argv[1:])
    except runner.Failed as error:
        raise SystemExit('FAILED: {}'.format(error))
