# SPDX-License-Identifier: MIT OR 0BSD
"""Builds the harnesses and fuzzes them, as many at a time as there are cores.

    run.py [HARNESS...]        with libFuzzer, which is part of clang
    run.py --afl [HARNESS...]  with AFL++, in persistent mode
    run.py --seeds             chooses the seeds of fuzz/corpus anew (seeds.py)
    run.py --keep [HARNESS...] takes over into fuzz/corpus what was found since
                               and reaches new edges, as found-...

FUZZ_SECONDS is the time for all of them together, 60 by default, building not
counted.  New inputs go to build/fuzz/corpus, with which the next run begins,
findings to build/fuzz/findings, what the engines say to build/fuzz/log.  Prints
a line for each harness every minute, ends with a table, and with 1 if something
was found.
"""

import glob
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import seeds

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BUILD = os.path.join(ROOT, 'build', 'fuzz')
SECONDS = int(os.environ.get('FUZZ_SECONDS', '60'))
CORES = len(os.sched_getaffinity(0))
SANITIZE = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all']
CLANG = shlex.split(os.environ.get('FUZZ_CC', 'clang'))
LONGEST = 4096  # bytes of an input
EVERY = 60  # seconds between two lines of a harness
FOUND = 'found-'  # begins the names of inputs that no person has made
LIBRARIES = {'tls': ['-lssl', '-lcrypto']}


class Failed(Exception):
    pass


def harnesses():
    return [os.path.basename(path)[len('fuzz_'):-len('.c')]
            for path in sorted(glob.glob(HERE + '/fuzz_*.c'))]


def folder(*names):
    path = os.path.join(BUILD, *names)
    os.makedirs(path, exist_ok=True)
    return path


def inputs(name):
    """The directories with this harness's inputs that are in the tree."""
    return [path for path in (os.path.join(HERE, kind, name)
                              for kind in ('corpus', 'regressions'))
            if os.path.isdir(path)]


def dictionary(name):
    own = os.path.join(HERE, 'dictionaries', name + '.dict')
    return own if os.path.exists(own) else \
        os.path.join(HERE, 'dictionaries', 'http.dict')


def files(path):
    return {os.path.join(path, name) for name in os.listdir(path)}


def build(name, engine):
    """What an OSS-Fuzz build script does, for one harness."""
    compiler = {'libfuzzer': CLANG, 'afl': ['afl-clang-fast']}[engine]
    target = os.path.join(folder(engine), name)
    done = subprocess.run(
        [*compiler, '-O1', '-g', *SANITIZE, '-fsanitize=fuzzer',
         os.path.join(HERE, 'fuzz_{}.c'.format(name)), '-o', target,
         *LIBRARIES.get(name, [])],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=dict(os.environ, AFL_QUIET='1'))
    if done.returncode:
        raise Failed(done.stdout[-6000:])
    return target


def content(path):
    with open(path, 'rb') as file:
        return file.read()


def merge(name, into, *sources, edges=False):
    """Adds to a directory those inputs of others that reach what its own do
    not; edges: and not only more or less often."""
    done = subprocess.run(
        [os.path.join(BUILD, 'libfuzzer', name), '-merge=1', '-timeout=10',
         '-max_len={}'.format(LONGEST), *(['-use_counters=0'] if edges else []),
         into, *sources],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors='replace')
    if done.returncode:
        raise Failed('\n'.join(reason(done.stdout)) or done.stdout[-3000:])


def watched(name, command, numbers, **env):
    """Runs an engine, with a line from time to time, and returns what it
    said."""
    log = os.path.join(folder('log'), name)
    started = time.monotonic()
    with open(log, 'wb') as file:
        process = subprocess.Popen(command, stdout=file,
                                   stderr=subprocess.STDOUT,
                                   env=dict(os.environ, **env))
    try:
        while True:
            try:
                process.wait(EVERY)
                return content(log).decode(errors='replace')
            except subprocess.TimeoutExpired:
                text = content(log).decode(errors='replace')
                print(line(name, started, numbers(text)), flush=True)
    finally:
        process.kill()


def line(name, started, numbers):
    return '{}: {} s, {} executions, {} edges, {} inputs'.format(
        name, round(time.monotonic() - started), *numbers)


def libfuzzer_numbers(text):
    """(executions, edges, inputs) by what it has said so far."""
    found = re.findall(r'^#(\d+)\t.* cov: (\d+) .*\bcorp: (\d+)', text, re.M)
    (done, edges, inputs) = map(int, found[-1]) if found else (0, 0, 0)
    units = re.findall(r'number_of_executed_units: *(\d+)', text)
    return (int(units[-1]) if units else done, edges, inputs)


def with_libfuzzer(name, target, seconds):
    """(executions, edges, inputs) and what it said."""
    text = watched(name, [
        target, '-max_total_time={}'.format(seconds), '-timeout=10',
        '-max_len={}'.format(LONGEST), '-print_final_stats=1',
        '-dict=' + dictionary(name),
        '-artifact_prefix={}/'.format(folder('findings', name)),
        folder('corpus', name), *inputs(name)], libfuzzer_numbers)
    return (libfuzzer_numbers(text), text)


def afl_numbers(out):
    try:
        with open(out + '/default/fuzzer_stats') as file:
            stats = dict(line.split(':', 1) for line in file)
    except OSError:  # not yet
        return None
    stats = {key.strip(): value.strip() for (key, value) in stats.items()}
    return (int(stats['execs_done']), int(stats['edges_found']),
            int(stats['corpus_count']))


def with_afl(name, target, seconds):
    """The same; what it has found goes to where libFuzzer begins."""
    seeds = os.path.join(folder('afl-seeds'), name)
    shutil.rmtree(seeds, ignore_errors=True)
    os.makedirs(seeds)
    for path in [*inputs(name), folder('corpus', name)]:
        for file in files(path):
            shutil.copy(file, seeds)
    out = os.path.join(folder('afl-out'), name)
    shutil.rmtree(out, ignore_errors=True)
    text = watched(
        name, ['afl-fuzz', '-i', seeds, '-o', out, '-V', str(seconds), '-x',
               dictionary(name), '-G', str(LONGEST), '-t', '2000', '--',
               target], lambda text: afl_numbers(out) or (0, 0, 0),
        AFL_NO_UI='1', AFL_SKIP_CPUFREQ='1', AFL_NO_AFFINITY='1',
        AFL_FAST_CAL='1',  # as TLS is slow
        AFL_QUIET='1', AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES='1')
    numbers = afl_numbers(out)
    if numbers is None:
        raise Failed(name + ': ' + text[-3000:])
    for kind in ('crashes', 'hangs'):
        for path in glob.glob('{}/default/{}/id*'.format(out, kind)):
            shutil.copy(path, os.path.join(
                folder('findings', name), 'afl-' + os.path.basename(path)))
    merge(name, folder('corpus', name), *inputs(name), out + '/default/queue')
    return (numbers, text)


ENGINES = {'libfuzzer': with_libfuzzer, 'afl': with_afl}


def reason(text):
    """The lines of a run that tell why it ended."""
    marks = ('fuzz:', 'ERROR:', 'runtime error:', 'Test unit written')
    return [line for line in text.splitlines()
            if any(mark in line for mark in marks)]


def fuzz(name, engine, seconds):
    """A row of the table."""
    started = time.monotonic()
    before = files(folder('findings', name))
    (numbers, text) = ENGINES[engine](
        name, os.path.join(BUILD, engine, name), seconds)
    found = sorted(files(folder('findings', name)) - before)
    print('{}, {} findings'.format(line(name, started, numbers), len(found)),
          flush=True)
    if found:
        print('\n'.join('   ' + line for line in [*reason(text), *found]))
    return (name, *numbers, len(found))


def table(rows):
    titles = ('harness', 'executions', 'edges', 'corpus', 'findings')
    total = ('all', *(sum(row[i] for row in rows) for i in range(1, 5)))
    lines = [titles, *rows, total]
    for columns in lines:
        print('{:<12}{:>12}{:>8}{:>8}{:>10}'.format(*columns))


def fuzz_all(names, engine):
    if engine == 'afl' and not shutil.which('afl-fuzz'):
        raise Failed('afl-fuzz is not there; it is in the package afl++')
    if engine == 'libfuzzer' and not shutil.which(CLANG[0]):
        raise Failed(CLANG[0] + ' is not there; it is in the package clang')
    each = max(1, SECONDS * CORES // len(names))
    print('{} harnesses, {} s each, {} at a time, with {}'.format(
        len(names), each, CORES, engine), flush=True)
    with ThreadPoolExecutor(CORES) as pool:
        # Those of AFL++ are merged by the other one.
        for kind in {engine, 'libfuzzer'}:
            list(pool.map(lambda name: build(name, kind), names))
        rows = list(pool.map(lambda name: fuzz(name, engine, each), names))
    table(rows)
    return 1 if any(row[-1] for row in rows) else 0


def empty(*names):
    path = os.path.join(BUILD, *names)
    shutil.rmtree(path, ignore_errors=True)
    return folder(*names)


def choose_seeds(name):
    """Keeps, of the candidates, those that reach what the others do not."""
    candidates = os.path.join(BUILD, 'candidates', name)
    kept = empty('kept', name)
    build(name, 'libfuzzer')
    merge(name, kept, candidates)
    wanted = {content(path) for path in files(kept)}
    always = seeds.ALWAYS.get(name, {})
    corpus = os.path.join(HERE, 'corpus', name)
    os.makedirs(corpus, exist_ok=True)
    for path in files(corpus):
        if not os.path.basename(path).startswith(FOUND):
            os.remove(path)
    for path in sorted(files(candidates)):
        data = content(path)
        if data in wanted or os.path.basename(path) in always:
            wanted.discard(data)
            shutil.copy(path, corpus)
    print('{}: {} of {} seeds'.format(name, len(files(corpus)),
                                      len(files(candidates))), flush=True)


def keep(name):
    """What reaches edges that nothing in the tree does, to fuzz/corpus."""
    build(name, 'libfuzzer')
    kept = empty('kept', name)
    known = set()
    for path in inputs(name):
        for file in files(path):
            known.add(content(file))
            shutil.copy(file, kept)
    merge(name, kept, folder('corpus', name), edges=True)
    added = [data for data in map(content, files(kept)) if data not in known]
    for data in added:
        to = FOUND + hashlib.sha1(data).hexdigest()[:8]
        with open(os.path.join(HERE, 'corpus', name, to), 'wb') as file:
            file.write(data)
    print('{}: {} inputs more, {} bytes'.format(
        name, len(added), sum(map(len, added))), flush=True)


def choose_all_seeds():
    shutil.rmtree(folder('candidates'))
    seeds.write(folder('candidates'))
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(choose_seeds, harnesses()))
    return 0


def main(arguments):
    names = [name for name in arguments if not name.startswith('-')]
    options = set(arguments) - set(names)
    if options - {'--afl', '--seeds', '--keep'} or \
            set(names) - set(harnesses()):
        print(__doc__ + '\nHarnesses: ' + ' '.join(harnesses()))
        return 2
    try:
        if '--seeds' in options:
            return choose_all_seeds()
        if '--keep' in options:
            list(map(keep, names or harnesses()))
            return 0
        return fuzz_all(names or harnesses(),
                        'afl' if '--afl' in options else 'libfuzzer')
    except Failed as error:
        print(error)
        return 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
