# SPDX-License-Identifier: MIT OR 0BSD
"""Runs the tests, stage after stage, and stops at the first that fails.

    run.py            all of them
    run.py --list     their names
    run.py NAME...    some of them

CC and CFLAGS choose the compiler of the C tests.  PYTHONS lists further
interpreters to test the extension with; by default CPython 3.10 to 3.14, as far
as the path or pyenv have them, and one without a GIL (3.13t or 3.14t) that is
on the path or was built by `make free-threaded`.  The last line is the sum of
all checks.
"""

import glob
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BUILD = os.path.join(ROOT, 'build', 'tests')
CC = shlex.split(os.environ.get('CC', 'cc'))
CFLAGS = shlex.split(os.environ.get('CFLAGS', '-O2'))
LIMIT = 1200  # seconds for one program
SANITIZE = ['-O1', '-g', '-fsanitize=address,undefined',
            '-fno-sanitize-recover=all', '-fno-omit-frame-pointer']
MEMORY = ['-O1', '-g', '-fsanitize=memory', '-fsanitize-memory-track-origins=1',
          '-fno-omit-frame-pointer']  # clang's alone
REPLAY = ['-O0', '-g', *SANITIZE[2:]]  # compiles faster, and runs for a second
C_TESTS = ('test_vectors', 'test_table', 'test_format', 'test_exchange',
           'test_server', 'test_tls')
LIBRARIES = {'test_tls': ['-lssl', '-lcrypto']}


class Failed(Exception):
    pass


class Totals:
    lock = threading.Lock()
    passed = 0
    failed = 0

    @classmethod
    def add(cls, passed, failed):
        with cls.lock:
            cls.passed += passed
            cls.failed += failed


def environment(**more):
    env = dict(os.environ, PYTHONPATH=os.path.join(ROOT, 'py'),
               PYTHONDONTWRITEBYTECODE='1')
    env.pop('PYTHON_GIL', None)  # the extension has to say that it needs none
    env.update(more)
    return env


def count(text):
    """(passed, failed) from the last closing line of a runner, or None."""
    found = re.findall(r'^(\d+) passed, (\d+) failed\b', text, re.M)
    if found:
        return (int(found[-1][0]), int(found[-1][1]))
    found = re.findall(r'^=* ?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s', text, re.M)
    if not found:  # pytest's
        return None
    words = dict((what, int(n)) for (n, what) in
                 re.findall(r'(\d+) ([a-z]+)', found[-1]))
    failed = sum(words.get(w, 0) for w in ('failed', 'error', 'errors'))
    return (words.get('passed', 0), failed)


def run(label, command, counted=True, shown=(), cwd=ROOT, **env):
    """Runs one command as one or many checks, and reports it in a line."""
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment(**env), timeout=LIMIT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors='replace',
            stdin=subprocess.DEVNULL)
        (status, text) = (done.returncode, done.stdout)
    except subprocess.TimeoutExpired as error:
        (status, text) = ('no end after {} s'.format(LIMIT),
                          (error.stdout or b'').decode(errors='replace'))
    (passed, failed) = (count(text) if counted else None) or (
        int(status == 0), int(status != 0))
    if status and not failed:
        failed = 1
    if not status and not passed:
        (status, failed) = ('no check was made', 1)
    Totals.add(passed, failed)
    print('   {}: {} passed, {} failed ({:.1f} s)'.format(
        label, passed, failed, time.monotonic() - started), flush=True)
    for line in text.splitlines():
        if any(word in line for word in shown):
            print('      ' + line)
    if status or failed:
        print('\n'.join(text.splitlines()[-120:]))
        print('   command: ' + shlex.join(command))
        raise Failed('{} ({})'.format(label, status))
    return text


def check(label, good, text=''):
    """One check that is made here."""
    Totals.add(bool(good), not good)
    print('   {}: {}'.format(label, 'ok' if good else 'FAILED'), flush=True)
    if not good:
        print(text)
        raise Failed(label)


def compile_all(jobs):
    """Compiles (target, command) pairs, as many at a time as cores."""
    def work(job):
        (target, command) = job
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return subprocess.run(command + ['-o', target], cwd=ROOT, text=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for (job, done) in zip(jobs, pool.map(work, jobs)):
            if done.returncode:
                print(done.stdout[-8000:])
                Totals.add(0, 1)
                raise Failed('compiling ' + os.path.basename(job[0]))


def side_by_side(work, jobs):
    """work(job) for all, more of them at a time than cores, for tests wait a
    lot.  A failure is raised when those that run have ended."""
    with ThreadPoolExecutor(os.cpu_count() + 1) as pool:
        started = [pool.submit(work, job) for job in jobs]
        try:
            for job in started:
                job.result()
        finally:
            for job in started:
                job.cancel()


# ------------------------------------------------------------------ C tests

def still():
    """A prefix that gives sanitizers the address space that they expect."""
    command = ['setarch', '-R']
    try:
        works = subprocess.run(command + ['true'], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        works = False
    return command if works else []


def c_tests():
    found = sorted(os.path.basename(path)[:-2] for path in
                   glob.glob(HERE + '/c/test_*.c'))
    missing = set(C_TESTS) - set(found)
    if missing:
        raise Failed('not there: ' + ', '.join(sorted(missing)))
    return found


def certificates():
    """The folder of those that the TLS tests need, made once a week."""
    folder = os.path.join(BUILD, 'certificates')
    script = HERE + '/tls/make_certificates.py'
    oldest = max(time.time() - 7 * 86400, os.path.getmtime(script))
    if not os.path.isdir(folder) or os.path.getmtime(folder) < oldest:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(BUILD, exist_ok=True)
        run('certificates', [sys.executable, script, folder], counted=False)
    return folder


def c_arguments(test):
    if test == 'test_vectors':
        return sorted(glob.glob(HERE + '/vectors/*.txt'))
    return [certificates()] if test == 'test_tls' else []


def c_stage(variants):
    """variants: (name, tests, compiler and flags)"""
    jobs = []
    for (name, tests, compiler) in variants:
        for test in tests:
            target = os.path.join(BUILD, name, test)
            jobs.append((target, [*compiler, '-Wall', '-Wextra', '-g',
                                  '-I' + ROOT, '-pthread',
                                  '{}/c/{}.c'.format(HERE, test),
                                  *LIBRARIES.get(test, [])]))
    compile_all(jobs)
    certificates()

    def test(target):
        arguments = c_arguments(os.path.basename(target))
        label = '/'.join(target.split(os.sep)[-2:])
        run(label, [*still(), target, *arguments],
            UBSAN_OPTIONS='print_stacktrace=1',
            TSAN_OPTIONS='halt_on_error=1')

    side_by_side(test, [target for (target, _) in jobs])


def stage_c():
    c_stage([('plain', c_tests(), CC + CFLAGS),
             ('asan', c_tests(), CC + SANITIZE)])


def stage_c_variants():
    tables = ['test_table', 'test_vectors']
    plain = CC + CFLAGS
    anywhere = [test for test in c_tests() if test != 'test_tls']
    variants = [('tsan', ['test_tls', 'test_server'],
                 CC + ['-O1', '-g', '-fsanitize=thread']),
                ('no-simd', tables, plain + ['-DDEGU_NO_SIMD']),
                ('small', anywhere, plain + ['-DDEGU_SMALL']),
                ('32-bit', anywhere, plain + ['-m32']),
                ('poll', ['test_server', 'test_tls'],
                 plain + ['-DDEGU_USE_POLL']),
                # Layers 1 to 6, which call nothing that it would have to know.
                ('msan', ['test_vectors', 'test_table', 'test_format',
                          'test_exchange'], ['clang', *MEMORY])]
    c_stage(variants)


def fuzz_variants():
    """{name: command} for all harnesses in one replay program."""
    return {'gcc': CC + REPLAY, 'clang': ['clang', *REPLAY],
            '32-bit': CC + ['-m32', *REPLAY],
            'c++': ['g++', '-x', 'c++', *REPLAY],
            'msan': ['clang', *MEMORY],
            'no-simd': CC + ['-O2', '-DDEGU_NO_SIMD'],
            'small': CC + ['-DDEGU_SMALL', *REPLAY],
            'limits': CC + ['-DFUZZ_DEFAULT_LIMITS', *REPLAY]}


REPLAYS = {
    'replay': ['-DFUZZ_EVERY', ROOT + '/fuzz/replay.c'],
    'replay-tls': [ROOT + '/fuzz/fuzz_tls.c', ROOT + '/fuzz/replay.c',
                   '-lssl', '-lcrypto']}


def replay_inputs(tls):
    """The folders of one of the programs above."""
    return sorted(path for kind in ('corpus', 'regressions')
                  for path in glob.glob('{}/fuzz/{}/*/'.format(ROOT, kind))
                  if path.endswith('/tls/') == tls)


def stage_fuzz():
    """Corpora and regressions through all harnesses, in every build with the
    same results; where the limits are others, so are these."""
    every = fuzz_variants()
    jobs = [(os.path.join(BUILD, 'replay', name), command +
             ['-Wall', '-Wextra', *REPLAYS['replay']])
            for (name, command) in every.items()]
    # That of TLS needs a library, which is there for one architecture.
    jobs += [(os.path.join(BUILD, 'replay', name + '-tls'), every[name] +
              ['-Wall', '-Wextra', *REPLAYS['replay-tls']])
             for name in ('gcc', 'clang')]
    compile_all(jobs)
    digests = {}

    def replay(target):
        name = os.path.basename(target)
        tls = name.endswith('-tls')
        text = run('replay, ' + name,
                   [*still(), target, *replay_inputs(tls)],
                   ASAN_OPTIONS='abort_on_error=1',
                   UBSAN_OPTIONS='abort_on_error=1')
        if name != 'limits':
            digests.setdefault(tls, {})[name] = \
                re.findall(r'.*, digest .*', text)

    side_by_side(replay, [target for (target, _) in jobs])
    for same in digests.values():
        check('all builds agree', len(set(map(tuple, same.values()))) == 1,
              '\n'.join(name + '\n   ' + '\n   '.join(lines)
                        for (name, lines) in same.items()))
    oss_fuzz()


def oss_fuzz():
    """The script that OSS-Fuzz builds with, and one of what it makes."""
    with tempfile.TemporaryDirectory(prefix='degu-oss-fuzz.') as tmp:
        for name in ('out', 'work'):
            os.mkdir(tmp + '/' + name)
        os.symlink(ROOT, tmp + '/degu')
        flags = '-O0 -fsanitize=address,undefined'
        run('oss-fuzz/build.sh', ['bash', '-eu', ROOT +
                                  '/fuzz/oss-fuzz/build.sh'], counted=False,
            CC='clang', CXX='clang++', CFLAGS=flags, CXXFLAGS=flags,
            LIB_FUZZING_ENGINE='-fsanitize=fuzzer', SRC=tmp,
            OUT=tmp + '/out', WORK=tmp + '/work')
        made = set(os.listdir(tmp + '/out'))
        wanted = {os.path.basename(path)[:-2] + end
                  for path in glob.glob(ROOT + '/fuzz/fuzz_*.c')
                  for end in ('', '_seed_corpus.zip', '.dict', '.options')}
        check('all that it makes', made == wanted, str(made ^ wanted))
        with zipfile.ZipFile(tmp + '/out/fuzz_value_seed_corpus.zip') as seeds:
            seeds.extractall(tmp + '/seeds')
        run('a harness over its seeds', [
            tmp + '/out/fuzz_value', '-runs=0', tmp + '/seeds'],
            counted=False)


def stage_proofs():
    """The quick ones; `make prove` has all."""
    if shutil.which('goto-instrument'):
        run('quick proofs', [sys.executable, HERE + '/proofs/prove.py',
                             '--quick'])
    else:
        print('   not run: CBMC is not here (tests/proofs/get_cbmc.sh)')


def stage_compile():
    run('compile.sh', ['sh', HERE + '/c/compile.sh', str(os.cpu_count())])
    run('stack.py', [sys.executable, HERE + '/stack.py', BUILD + '/stack'],
        shown=('deepest',))


CONSUMER = '''\
#define DEGU_IMPLEMENTATION
#include HEADER
int main(void)
{
    char head[] = "GET / HTTP/1.1\\r\\n\\r\\n";
    degu_request request;
    size_t len = 0;
    return degu_scan_head(head, sizeof head - 1, &len) != DEGU_OK ||
           degu_parse_request(head, len, &request) != DEGU_OK;
}
'''


def stage_install():
    with tempfile.TemporaryDirectory(prefix='degu-install.') as tmp:
        install_into(tmp)


def install_into(tmp):
    def make(*words):
        return ['make', '-s', *words]

    source = tmp + '/consumer.c'
    with open(source, 'w') as file:
        file.write(CONSUMER)
    prefix = tmp + '/prefix'
    run('make install', make('install', 'prefix=' + prefix), counted=False)
    header = '-DHEADER="degu.h"'
    run('plain cc', CC + [header, '-I' + prefix + '/include', source, '-o',
                          tmp + '/plain'], counted=False)
    run('it runs', [tmp + '/plain'], counted=False)
    run('pkg-config', ['sh', '-c', '{} {} {} $(pkg-config --cflags --libs '
                       'degu) -o {}'.format(
                           shlex.join(CC), shlex.quote(header), source,
                           tmp + '/packaged')], counted=False,
        PKG_CONFIG_PATH=prefix + '/share/pkgconfig')
    run('it runs', [tmp + '/packaged'], counted=False)
    run('with degu_tls.h',
        CC + ['-DHEADER=<degu_tls.h>', '-I' + prefix + '/include', source,
              '-o', tmp + '/tls', *LIBRARIES['test_tls'], '-pthread'],
        counted=False)
    run('it runs', [tmp + '/tls'], counted=False)
    os.mkdir(tmp + '/foreign')
    shutil.copy(ROOT + '/degu.h', tmp + '/foreign/degu.h')
    run('header copied into a foreign tree',
        CC + ['-DHEADER="foreign/degu.h"', source, '-o', tmp + '/foreign/run'],
        counted=False, cwd=tmp)
    run('it runs', [tmp + '/foreign/run'], counted=False)
    run('make uninstall', make('uninstall', 'prefix=' + prefix), counted=False)
    left = [name for (_, _, names) in os.walk(prefix) for name in names]
    check('nothing is left', not left, str(left))
    run('DESTDIR', make('install', 'prefix=/usr', 'DESTDIR=' + tmp + '/root'),
        counted=False)
    with open(tmp + '/root/usr/share/pkgconfig/degu.pc') as file:
        text = file.read()
    check('degu.pc knows prefix, not DESTDIR', 'prefix=/usr\n' in text and
          tmp not in text and '@' not in text, text)


# ------------------------------------------------------------------- Python

VERSIONS = ('3.10', '3.11', '3.12', '3.13', '3.14', '3.13t', '3.14t')


def version_of(python):
    done = subprocess.run(
        [python, '-c', 'import sys; print(sys.implementation.name, '
         '"%d.%d" % sys.version_info[:2] + sys.abiflags.strip("d"))'],
        text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return done.stdout.split() if done.returncode == 0 else None


def other_pythons():
    """{'3.12': path} of what PYTHONS says or this machine has; one each.
    '3.13t' is one without a GIL."""
    if 'PYTHONS' in os.environ:
        candidates = os.environ['PYTHONS'].split()
    else:
        names = ['python' + version for version in VERSIONS] + [
            ROOT + '/build/free-threaded/python/bin/python3.13t']
        candidates = [path for path in map(shutil.which, names) if path]
        if shutil.which('pyenv'):
            root = subprocess.run(['pyenv', 'root'], text=True,
                                  stdout=subprocess.PIPE).stdout.strip()
            candidates += sorted(glob.glob(root + '/versions/3.1*/bin/python'))
    ours = '{}.{}'.format(*sys.version_info[:2])
    found = {}
    for path in candidates:
        (name, version) = version_of(path) or (None, None)
        if name == 'cpython' and version != ours:
            found.setdefault(version, path)
    return found


def with_pytest(python, version):
    """This interpreter, or one of a virtual environment, that has pytest."""
    probe = ['-c', 'import pytest, hypothesis']
    if subprocess.run([python, *probe], stderr=subprocess.DEVNULL,
                      env=environment()).returncode == 0:
        return python
    folder = os.path.join(ROOT, 'build', 'venv-' + version)
    inner = folder + '/bin/python'
    if not os.path.exists(inner) or subprocess.run(
            [inner, *probe], stderr=subprocess.DEVNULL).returncode:
        run('pytest for ' + version,
            ['sh', '-c', '{0} -m venv --clear {1} && {1}/bin/python -m pip '
             'install -q --disable-pip-version-check pytest '
             '"hypothesis<6.156"'.format(  # no machine code: see interpreter.py
                 shlex.quote(python), shlex.quote(folder))], counted=False)
    return inner


def build_extension(python, version):
    run('extension for ' + version,
        [python, HERE + '/build_extension.py', 'py/degu'], counted=False,
        CC=shlex.join(CC))


def python_tests(python, version, *options):
    run('tests on ' + version,
        [python, *options, '-m', 'pytest', '-q', '-p', 'no:cacheprovider',
         '-o', 'faulthandler_timeout=60', 'tests/py'])


def interpreter_tests(python, version):
    """All that in a sub-interpreter; what only the main one may is listed."""
    run('tests in a sub-interpreter of ' + version,
        [python, HERE + '/interpreter.py', '-q', '-rs', '-p',
         'no:cacheprovider', '-p', 'no:faulthandler', 'tests/py'],
        shown=('SKIPPED',))


def stage_python():
    ours = (sys.executable, '{}.{}.{}'.format(*sys.version_info[:3]))
    build_extension(*ours)
    python_tests(*ours, '-X', 'dev')


def made_ready(version, python):
    python = with_pytest(python, version)
    build_extension(python, version)
    return (python, version)


def stage_free_threaded():
    """Those without a GIL alone."""
    found = [one for one in sorted(other_pythons().items())
             if one[0].endswith('t')]
    check('there is a CPython without a GIL', found)
    for one in found:
        python_tests(*made_ready(*one), '-X', 'dev')


def stage_pythons():
    """The other interpreters, and ours with sanitizers, side by side."""
    others = other_pythons()
    for version in ('3.10', '3.11', '3.12', '3.13'):
        if version not in others and \
                version != '{}.{}'.format(*sys.version_info[:2]):
            print('   not run: no CPython {} here'.format(version))
    if not any(version.endswith('t') for version in others):
        print('   not run: no CPython without a GIL (make free-threaded)')
    ready = [made_ready(*one) for one in sorted(others.items())]
    isolated = [one for one in ready if one[1] in ('3.13', '3.14')]
    folder = sanitized_package()
    # The one that takes longest goes first.  Those of Debian's Python have
    # shown already what -X dev, a third slower, has to say.
    side_by_side(lambda test: test(), [lambda: sanitized_tests(folder)] + [
        lambda one=one: python_tests(*one) for one in ready] + [
        lambda one=one: interpreter_tests(*one) for one in isolated])


def sanitizer_libraries():
    names = ('libasan.so', 'libubsan.so')
    return ':'.join(subprocess.run(
        CC + ['-print-file-name=' + name], text=True,
        stdout=subprocess.PIPE).stdout.strip() for name in names)


def sanitized_package():
    """A copy of the package with the extension built with sanitizers."""
    folder = os.path.join(BUILD, 'asan-py')
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT + '/py/degu', folder + '/degu',
                    ignore=shutil.ignore_patterns('*.so', '__pycache__'))
    run('extension with sanitizers',
        [sys.executable, HERE + '/build_extension.py', folder + '/degu'],
        counted=False, CC=shlex.join(CC), CFLAGS=' '.join(SANITIZE))
    return folder


def sanitized_tests(folder):
    run('tests with sanitizers',
        # The sanitizer's report goes past what pytest would hold back.
        [*still(), sys.executable, '-m', 'pytest', '-q', '--capture=sys',
         '-p', 'no:cacheprovider', '-p', 'no:faulthandler', 'tests/py'],
        PYTHONPATH=folder, DEGU_SANITIZED='1', PYTHONMALLOC='malloc',
        LD_PRELOAD=sanitizer_libraries(),
        ASAN_OPTIONS='detect_leaks=1:allocator_may_return_null=1',
        UBSAN_OPTIONS='print_stacktrace=1')


def stage_package():
    """An sdist that builds in an empty directory without a network."""
    with tempfile.TemporaryDirectory(prefix='degu-package.') as tmp:
        package_into(tmp)


def package_into(tmp):
    hook = ('import sys; from setuptools import build_meta; '
            'print(build_meta.build_{}(sys.argv[1]))')
    shutil.copytree(ROOT, tmp + '/tree', ignore=shutil.ignore_patterns(
        'build', 'dist', '.git', '*.so', '__pycache__', '*.egg-info'))
    run('sdist', [sys.executable, '-c', hook.format('sdist'), tmp],
        counted=False, cwd=tmp + '/tree')
    shutil.rmtree(tmp + '/tree')
    (sdist,) = glob.glob(tmp + '/*.tar.gz')
    os.mkdir(tmp + '/empty')
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
        archive.extractall(tmp + '/empty')
    check('degu.h and the licences are in it',
          {'degu.h', 'LICENSE', 'MIT.txt', '0BSD.txt', 'README.md'} <=
          {os.path.basename(name) for name in names}, '\n'.join(names))
    (source,) = glob.glob(tmp + '/empty/*')
    run('wheel', [sys.executable, '-c', hook.format('wheel'), tmp],
        counted=False, cwd=source)
    (wheel,) = glob.glob(tmp + '/*.whl')
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp + '/site')
    text = run('it imports', [
        sys.executable, '-c',
        'import degu, degu.applib, degu.client, degu.rgi; '
        'print(degu.__file__, degu.__version__)'], counted=False, cwd=tmp,
        PYTHONPATH=tmp + '/site')
    check('from where it should', text.startswith(tmp + '/site/'), text)


# -------------------------------------------------------------------- texts

def documents():
    return [path for path in [ROOT + '/README.md'] +
            sorted(glob.glob(ROOT + '/doc/**/*.md', recursive=True))
            if os.path.exists(path)]


def blocks(path, language):
    """(first line, text) of each fenced block in this language."""
    with open(path) as file:
        lines = file.read().split('\n')
    (start, found) = (None, [])
    for (number, line) in enumerate(lines, 1):
        if start is None and re.match(r'```({})\b'.format(language), line):
            start = number + 1
        elif start is not None and line.startswith('```'):
            found.append((start, '\n'.join(lines[start - 1:number - 1]) + '\n'))
            start = None
    return found


DOCTEST = '''
import doctest, sys
text = open(sys.argv[1]).read()
test = doctest.DocTestParser().get_doctest(
    text, {'__name__': '__main__'}, sys.argv[2], sys.argv[2], 0)
runner = doctest.DocTestRunner()
(failed, tried) = runner.run(test)
print('%d passed, %d failed' % (tried - failed, failed))
sys.exit(failed != 0)
'''


def stage_doctest():
    os.makedirs(BUILD, exist_ok=True)
    text = BUILD + '/doctest.txt'
    for path in documents():
        name = os.path.relpath(path, ROOT)
        examples = [block for block in blocks(path, 'python|pycon')
                    if '>>>' in block[1]]
        if not examples:
            continue
        # Everything else becomes empty lines, so line numbers are right.
        lines = ''
        for (start, block) in examples:
            lines += '\n' * (start - 1 - lines.count('\n')) + block
        with open(text, 'w') as file:
            file.write(lines)
        run(name, [sys.executable, '-c', DOCTEST, text, name])
    run('doc/examples/readme.py',
        [sys.executable, ROOT + '/doc/examples/readme.py'], counted=False)
    run('check_docs.py', [sys.executable, HERE + '/doc/check_docs.py'])


def stage_readme():
    """Every C block compiles; programs run, the clients against each server.

    They would all listen on one port; here they use an abstract name."""
    os.makedirs(BUILD + '/readme', exist_ok=True)
    address = '@degu-readme-{}'.format(os.getpid())
    programs = []
    for path in sorted(glob.glob(ROOT + '/doc/examples/*.c')):
        with open(path) as file:
            programs.append((os.path.relpath(path, ROOT), file.read()))
    for path in documents():
        name = os.path.relpath(path, ROOT)
        programs += [('{}:{}'.format(name, line), text)
                     for (line, text) in blocks(path, 'c')]
    (servers, clients) = ([], [])
    for (index, (name, text)) in enumerate(programs):
        program = '{}/readme/{}'.format(BUILD, index)
        is_program = re.search(r'\bmain\(', text)
        secure = '"degu_tls.h"' in text
        if not re.search('#include "degu(_tls)?.h"', text):
            text = '#include "degu.h"\n' + text
        with open(program + '.c', 'w') as file:
            file.write(text.replace('127.0.0.1:8080', address))
        flags = ['-Wall', '-Wextra', '-Werror', '-I' + ROOT, '-pthread',
                 program + '.c']
        run(name + ' compiles',
            CC + flags + (CFLAGS + ['-o', program] if is_program else
                          ['-fsyntax-only', '-Wno-unused']) +
            (['-lssl', '-lcrypto'] if secure and is_program else []),
            counted=False)
        if secure:
            continue  # needs certificates
        if 'degu_server_open(' in text and is_program:
            servers.append((name, program))
        elif 'degu_client_open(' in text and is_program:
            clients.append((name, program))
        elif is_program:
            run(name + ' runs', [program], counted=False)
    for (name, program) in servers:
        serve_clients(name, program, clients, address)


def listens(address):
    """Waits, ten seconds at most, for somebody to listen there."""
    for _ in range(1000):
        with socket.socket(socket.AF_UNIX) as sock:
            if sock.connect_ex('\0' + address[1:]) == 0:
                return True
        time.sleep(0.01)
    return False


def serve_clients(name, program, clients, address):
    server = subprocess.Popen([program], stdout=subprocess.DEVNULL)
    try:
        check(name + ' listens', listens(address))
        for (client, program) in clients:
            text = run('{} talks to {}'.format(client, name), [program],
                       counted=False)
            check('it says hello', 'hello, world' in text, text)
    finally:
        server.terminate()
        server.wait()


def stage_demo():
    run('programs', ['make', '-s', 'build/demo_server', 'build/demo_client'],
        counted=False)
    run('demo.py', [sys.executable, HERE + '/demo/demo.py', 'build'])


def stage_tls():
    command = [sys.executable, HERE + '/tls/matrix.py']
    run('failure matrix', command, CC=shlex.join(CC))
    run('failure matrix, C with sanitizers',
        [*still(), *command, '--ends', 'c', '--sanitize'], CC=shlex.join(CC))


def stage_faults():
    """The quick ones; `make faults` has all."""
    run('quick faults', [sys.executable, HERE + '/faults/faults.py',
                         '--quick'], CC=shlex.join(CC))


def stage_firmware():
    """On emulated microcontrollers, and on lwIP."""
    lwip = os.path.join(BUILD, 'lwip')
    compile_all([(lwip, CC + ['-O1', '-g', '-Wall', '-Wextra', '-I' + ROOT,
                              '-isystem', '/usr/include/lwip',
                              HERE + '/firmware/lwip.c', '-llwip',
                              '-pthread'])])
    run('lwIP', [lwip])
    run('firmware.py', [sys.executable, HERE + '/firmware/firmware.py',
                        ROOT + '/build/firmware'],
        shown=(' fit ', ' flash', ' noise in '), CC=shlex.join(CC))


def stage_size():
    run('size.py', [sys.executable, HERE + '/firmware/size.py',
                    ROOT + '/build/size'],
        shown=('bytes', 'flash ', 'stack ', 'ram '))


def stage_cross():
    """The quick ones; `make cross` has all."""
    run('cross.py', [sys.executable, HERE + '/c/cross.py',
                     ROOT + '/build/cross', '--quick'],
        shown=('checks', 'test_'))


def stage_rules():
    run('lint.py --rules', [sys.executable, HERE + '/lint.py', '--rules'],
        counted=False)


STAGES = {
    'rules': stage_rules,
    'c': stage_c,
    'c-variants': stage_c_variants,
    'fuzz': stage_fuzz,
    'proofs': stage_proofs,
    'compile': stage_compile,
    'size': stage_size,
    'cross': stage_cross,
    'install': stage_install,
    'python': stage_python,
    'doctest': stage_doctest,
    'readme': stage_readme,
    'demo': stage_demo,
    'tls': stage_tls,
    'faults': stage_faults,
    'firmware': stage_firmware,
    'pythons': stage_pythons,
    'package': stage_package,
}
# What STAGES do anyway, by itself.
PARTS = {'free-threaded': stage_free_threaded}
# These suites wait as much as they work, and compilers only work: what stands
# from the one to the other goes on beside them.  The C tests before and what
# looks at the clock behind have the machine to themselves.
(BESIDE, FIRST, LAST) = ('pythons', 'fuzz', 'readme')


def stage(name, started):
    print('== {} ({:.0f} s)'.format(name, time.monotonic() - started),
          flush=True)
    try:
        (STAGES.get(name) or PARTS[name])()
    except Failed as error:
        Totals.failed = max(Totals.failed, 1)
        return 'FAILED in stage {}: {}'.format(name, error)
    return None


def lanes(names):
    """Lists of stages, two of which go on at the same time, in a list."""
    if not {BESIDE, FIRST, LAST} <= set(names):
        return [[names]]
    (first, last) = (names.index(FIRST), names.index(LAST) + 1)
    rest = [name for name in names[last:] if name != BESIDE]
    return [[names[:first]], [names[first:last], [BESIDE]], [rest]]


def main(names):
    if names == ['--list']:
        print('\n'.join(STAGES))
        return 0
    started = time.monotonic()
    failures = []

    def go(lane):
        for name in lane:
            if not failures:
                failures.extend(filter(None, [stage(name, started)]))

    for beside in lanes(names or list(STAGES)):
        with ThreadPoolExecutor(len(beside)) as pool:
            list(pool.map(go, beside))
    print('== done in {:.0f} s'.format(time.monotonic() - started))
    print('\n'.join(failures + ['{} passed, {} failed'.format(
        Totals.passed, Totals.failed)]))
    return 1 if Totals.failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
