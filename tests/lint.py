# SPDX-License-Identifier: MIT OR 0BSD
"""Static analysis, and those rules of the house that a program can check.

Uses gcc -fanalyzer, clang-tidy, cppcheck, mypy --strict, stubtest and ruff as
far as they are there, and says which are not.  `make lint` installs those that
Debian 12 has; ruff is not among them.  With --rules only the rules, which are
quick.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
TEXT = ('.c', '.h', '.py', '.pyi', '.md', '.txt', '.toml', '.sh', '.in', '')
SKIPPED = {'.git', 'build', 'dist', '__pycache__', '.hypothesis',
           '.pytest_cache', '.mypy_cache', '.ruff_cache',
           'corpus', 'regressions'}  # bytes for harnesses
# Words that mark unfinished work, joined here so that this file has none.
MARKS = re.compile(r'\b(' + '|'.join(('TO' + 'DO', 'FIX' + 'ME', 'X' + 'XX')) +
                   r')\b')
CHECKS = ('-*,bugprone-*,cert-*,clang-analyzer-*,'
          '-bugprone-easily-swappable-parameters,'
          '-bugprone-reserved-identifier,-cert-dcl37-c,-cert-dcl51-cpp,'
          '-bugprone-assignment-in-if-condition,'
          # Not parenthesizable; -Wconversion does better.
          '-bugprone-macro-parentheses,-bugprone-narrowing-conversions,'
          '-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafe'
          'BufferHandling')
HEADERS = ('degu.h', 'degu_tls.h')
problems = []


def problem(text):
    problems.append(text)
    print('   ' + text)


def files():
    for (folder, folders, names) in os.walk(ROOT):
        folders[:] = sorted(name for name in set(folders) - SKIPPED
                            if not name.endswith('.egg-info'))
        for name in sorted(names):
            if os.path.splitext(name)[1] in TEXT:
                yield os.path.relpath(os.path.join(folder, name), ROOT)


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as file:
        return file.read()


def rules():
    for name in files():
        text = read(name)
        lines = text.splitlines()
        code = name.endswith(('.c', '.h', '.py', '.pyi', '.sh'))
        if code and 'SPDX-License-Identifier: MIT OR 0BSD' not in text:
            problem(name + ': no SPDX line')
        if text and not text.endswith('\n'):
            problem(name + ': no newline at the end')
        for (number, line) in enumerate(lines, 1):
            where = '{}:{}: '.format(name, number)
            if line != line.rstrip():
                problem(where + 'blanks at the end of the line')
            if MARKS.search(line):
                problem(where + 'a mark of unfinished work')
            if code and '\t' in line:
                problem(where + 'a tab')
            if code and len(line) > 80:
                problem(where + 'more than 80 columns')


def extension_holds_no_http():
    if not os.path.isdir(ROOT + '/py/src'):
        problem('py/src is not there')
        return
    for name in sorted(os.listdir(ROOT + '/py/src')):
        text = read('py/src/' + name)
        text = re.sub(r'/\*.*?\*/', '', text, flags=re.S)
        # The name of an attribute of the Python API, in its table.
        text = text.replace('{"chunked",', '{')
        for literal in re.findall(r'"(?:[^"\\\n]|\\.)*"', text):
            if re.search(r'\\r|\\n|HTTP/|keep-alive|^"chunked"$',
                         literal):
                problem('py/src/{}: HTTP in the extension: {}'.format(
                    name, literal))


def names_in_headers():
    """Public macros begin with DEGU_, nothing has two underscores in a row
    but what the compiler defines."""
    for header in HEADERS:
        text = read(header)
        for name in sorted(set(re.findall(r'^#\s*define (\w+)', text, re.M))):
            if not name.startswith('DEGU_') and name != '_GNU_SOURCE':
                problem('{}: macro {}'.format(header, name))
        for name in sorted(set(re.findall(r'\b[Dd]egu__\w*', text))):
            problem('{}: reserved in C++: {}'.format(header, name))


def openssl_stays_outside():
    """Only the implementation of degu_tls.h includes OpenSSL."""
    declared = read('degu_tls.h').partition('#endif /* DEGU_TLS_H */')[0]
    for (name, text) in (('degu.h', read('degu.h')),
                         ('degu_tls.h, declarations', declared)):
        if re.search(r'#\s*include\s*<openssl|\bSSL_\w+\b', text):
            problem('OpenSSL in ' + name)


def versions():
    header = re.search(r'DEGU_VERSION_STRING "(.*)"', read('degu.h'))[1]
    numbers = '.'.join(re.findall(
        r'#define DEGU_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)', read('degu.h')))
    said = {
        'degu.h, first line':
            re.search(r'version (\S+)', read('degu.h').split('\n')[0])[1],
        'degu_tls.h, first line': re.search(
            r'version (\S+)', read('degu_tls.h').split('\n')[0])[1],
        'degu.h, numbers': numbers,
        'CHANGELOG.md':
            re.search(r'^## (\d\S*)', read('CHANGELOG.md'), re.M)[1],
    }
    for (where, version) in said.items():
        if version != header:
            problem('{} says {}, DEGU_VERSION_STRING {}'.format(
                where, version, header))


def tool(name, command, **options):
    """Runs an analyser; what it prints with a failure is the problem."""
    if not shutil.which(command[0]):
        print('not there: ' + name)
        return
    print('== ' + name, flush=True)
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    if done.returncode:
        print(done.stdout[-6000:])
        problem(name + ' failed')


def mypy_is_old():
    found = re.search(r' (\d+)\.(\d+)', subprocess.run(
        ['mypy', '--version'], text=True, stdout=subprocess.PIPE).stdout)
    return (int(found[1]), int(found[2])) < (1, 5)


def analyse(tmp):
    source = tmp + '/degu.c'
    with open(source, 'w') as file:
        file.write('#define DEGU_IMPLEMENTATION\n#include "degu_tls.h"\n')
    cc = shlex.split(os.environ.get('CC', 'cc'))
    tool('gcc -fanalyzer', cc + [
        '-fanalyzer', '-Werror', '-O1', '-I' + ROOT, '-c', source, '-o',
        tmp + '/degu.o'])
    tool('clang-tidy', [
        'clang-tidy', '--quiet', '--checks=' + CHECKS,
        '--header-filter=degu(_tls)?.h', '--warnings-as-errors=*', source, '--',
        '-I' + ROOT])
    tool('cppcheck', [
        'cppcheck', '--quiet', '--enable=warning,performance,portability',
        '--std=c99', '--inline-suppr', '--error-exitcode=1',
        '--suppress=missingIncludeSystem', '-DDEGU_IMPLEMENTATION',
        '-DOPENSSL_VERSION_NUMBER=0x30000000L',
        '--force', '--max-configs=4', *HEADERS])
    tool('mypy --strict', ['mypy', '--strict', 'py/degu'],
         env=dict(os.environ, MYPYPATH=ROOT + '/py'))
    # Debian 12's takes classes of the standard library for variables of ours.
    tool('stubtest', ['stubtest', 'degu._degu' if mypy_is_old() else 'degu'],
         env=dict(os.environ, PYTHONPATH=ROOT + '/py',
                  MYPYPATH=ROOT + '/py'))
    tool('ruff', ['ruff', 'check', 'py', 'tests', 'doc', 'setup.py'])


def main():
    print('== rules', flush=True)
    for rule in (rules, extension_holds_no_http, names_in_headers,
                 openssl_stays_outside, versions):
        rule()
    if sys.argv[1:] != ['--rules']:
        with tempfile.TemporaryDirectory(prefix='degu-lint.') as tmp:
            analyse(tmp)
    print('{} problems'.format(len(problems)))
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
