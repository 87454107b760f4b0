# SPDX-License-Identifier: MIT OR 0BSD
"""Proves functions of degu.h with the model checker CBMC, two at a time.

    prove.py               all proofs of this directory
    prove.py NAME...       those whose names begin with one of these
    prove.py --quick       without those that take long (marked LONG)
    prove.py --list        their names

A proof fails if one of its properties does, if what it says is reached is not,
or if it is not done in time.  Ends with the list, and with 1 if one failed.
What *.loops says of loops has to fit: one that is not there is an error in any
run, one that no proof has met is an error in a run of all.
"""

import glob
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LIMIT = 300  # seconds for one proof
MEMORY = 6 << 30
HOW = ('They belong to CBMC 6 (cprover.diffblue.com); on Debian '
       'tests/proofs/get_cbmc.sh gets it.')
TOOLS = ('goto-cc', 'goto-instrument', 'cbmc')
CHECKS = ['--pointer-overflow-check', '--unsigned-overflow-check',
          '--conversion-check', '--unwinding-assertions',
          '--object-bits', '8']
# Small limits, so that they are reached; what is proved of them holds for
# others as well, as the code knows them by name only.
LIMITS = {'DEGU_HEADER_MAX': 3}


class Failed(Exception):
    pass


class Proof:
    """One PROOF() of a file, with what stands in front of it."""

    form = re.compile(
        r'^BOUND\("(?P<bound>[^"]*)"\)\n(?P<marks>(?:[A-Z]+(?:\([^)]*\))?\n)*)'
        r'PROOF\((?P<name>\w+)\)', re.M)

    def __init__(self, path, found):
        self.path = path
        self.name = found['name']
        self.bound = found['bound']
        marks = dict(re.findall(r'([A-Z]+)(?:\(([^)]*)\))?', found['marks']))
        self.unwound = 'UNWOUND' in marks
        self.long = 'LONG' in marks
        self.contracts = [
            word for (mark, option) in (
                ('CONTRACTED', '--replace-call-with-contract'),
                ('ENFORCED', '--enforce-contract'))
            for name in re.findall(r'[\w/]+', marks.get(mark, ''))
            for word in (option, name)]
        self.unwind = int(marks.get('UNWIND', 32))
        self.summed = re.findall(r'\w+', marks.get('SUMMED', ''))

    @property
    def title(self):
        return re.sub(r'__(.*)', r' (\1)', self.name).replace('_)', ')')


def proofs():
    found = []
    for path in sorted(glob.glob(HERE + '/*.c')):
        with open(path) as file:
            text = file.read()
        here = [Proof(path, match) for match in Proof.form.finditer(text)]
        if len(here) != len(re.findall(r'^PROOF\(', text, re.M)):
            raise Failed(path + ': a PROOF() without its BOUND()')
        found += here
    return found


def limit_memory():
    """For this process and those that it starts: a proof that needs more is
    too large, and would stop the machine before it says so."""
    (_, most) = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or most > MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, most))


def tool(*words):
    try:
        done = subprocess.run(words, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        raise Failed('no end after {} s'.format(LIMIT))
    return done


def must(*words):
    done = tool(*words)
    if done.returncode:
        raise Failed(' '.join(words) + '\n' + done.stdout[-3000:])
    return done.stdout


# ------------------------------------------------- what loops keep true

def clauses_of(kind, what):
    """'moves p to end' says that a pointer never goes back, nor beyond end, and
    that every turn takes it further.  Pointers that may be anything must not
    be compared as such."""
    if kind != 'moves':
        return [(kind, what)]
    (pointer, end) = what.split(' to ')
    order = '(unsigned long)__CPROVER_loop_entry({0}) <= (unsigned long){0}' \
        ' && (unsigned long){0} <= (unsigned long){1}'
    return [(kind, text.format(pointer, end)) for (kind, text) in (
        ('assigns', '{0}'),
        ('keeps', '__CPROVER_same_object({0}, {1})'),
        ('keeps', order),
        ('falls', '(unsigned long){1} - (unsigned long){0}'))]


def contracts():
    """[(function, loop, {'assigns': [...], ...})] of the files *.loops"""
    lines = []
    for path in sorted(glob.glob(HERE + '/*.loops')):
        with open(path) as file:
            lines += [line for line in file.read().split('\n')
                      if line.strip() and not line.startswith('#')]
    found = []
    for line in lines:
        if line.startswith(' '):
            (kind, what) = line.split(None, 1)
            for (kind, what) in clauses_of(kind, what):
                found[-1][2].setdefault(kind, []).append(what)
        else:
            (function, loop) = line.split(':', 1)
            found.append((function, loop.strip(), {}))
    return found


def misfits():
    """What *.loops says of loops that are not there."""
    bodies = {}
    for path in [ROOT + '/degu.h'] + glob.glob(HERE + '/*.[ch]'):
        with open(path) as file:
            bodies.update(re.findall(
                r'^\w[^;{}]*?\b(\w+)\([^;{}]*\)\n\{\n(.*?)^\}', file.read(),
                re.M | re.S))
    (wrong, known) = ([], set())
    for (function, text, _) in contracts():
        lines = [line.strip() for line in
                 bodies.get(function, '').split('\n')]
        if function not in bodies:
            wrong.append('no function ' + function)
        elif lines.count(text) != 1:
            wrong.append('{} has {} lines "{}"'.format(
                function, lines.count(text), text))
        elif (function, text) in known:
            wrong.append('{}: "{}" is there twice'.format(function, text))
        known.add((function, text))
    return wrong


def source_line(path, number, memory={}):
    if path not in memory:
        with open(path) as file:
            memory[path] = file.read().split('\n')
    return memory[path][number - 1].strip()


def loops_of(program):
    """{function: [(number, text)]} of a goto program."""
    found = {}
    text = must('goto-instrument', '--show-loops', program)
    for (function, number, path, line) in re.findall(
            r'Loop (\w+)\.(\d+):\n\s*file (\S+) line (\d+)', text):
        found.setdefault(function, []).append(
            (number, source_line(path, int(line))))
    return found


def names_of(program):
    """{function: {name in the source: name for CBMC}}"""
    found = {}
    text = must('goto-instrument', '--show-symbol-table', program)
    for symbol in re.findall(r'^Symbol\.*: (\w+::\S+)$', text, re.M):
        parts = symbol.split('::')
        if parts[-1].isidentifier():
            found.setdefault(parts[0], {})[parts[-1]] = symbol
    return found


def annotate(program, path):
    """Writes what goto-instrument wants to know of the loops in program; gives
    {number with function: (function, text)}."""
    functions = {}
    applied = {}
    (loops, names) = (loops_of(program), names_of(program))
    for (function, text, clauses) in contracts():
        if function not in loops:
            continue
        numbers = [number for (number, line) in loops[function]
                   if line == text]
        if len(numbers) != 1:
            raise Failed('*.loops: {} has {} loops "{}" among {}'.format(
                function, len(numbers), text, loops[function]))
        applied[function + '.' + numbers[0]] = (function, text)
        functions.setdefault(function, []).append({
            'loop_id': numbers[0],
            'assigns': ', '.join(clauses['assigns']),
            'invariants': ' && '.join('({})'.format(what)
                                      for what in clauses['keeps']),
            'decreases': ', '.join(clauses['falls']),
            'symbol_map': '; '.join('{}, {}'.format(*pair) for pair in
                                    sorted(names[function].items()))})
    with open(path, 'w') as file:
        json.dump({'sources': [], 'functions': [functions] if functions else
                   [], 'output': 'stdout'}, file)
    return applied


# ------------------------------------------------------------- one proof

def prepare(proof, folder):
    """(path of the program that is to be explored, what annotate() gave)"""
    harness = 'prove_' + proof.name
    whole = os.path.join(folder, 'whole')
    program = os.path.join(folder, 'program')
    must('goto-cc', *['-D{}={}'.format(*pair) for pair in LIMITS.items()],
         '-DDEGU_NO_SIMD', '--function', harness, proof.path, '-o', whole)
    if proof.summed:
        must('goto-instrument', *[
            word for name in proof.summed
            for word in ('--replace-calls', '{0}:sum_{0}'.format(name))],
            whole, whole)
    must('goto-instrument', '--drop-unused-functions', whole, program)
    loops = os.path.join(folder, 'loops.json')
    applied = {} if proof.unwound else annotate(program, loops)
    if not (applied or proof.contracts):
        return (program, applied)
    annotated = os.path.join(folder, 'annotated')
    must('goto-instrument', '--dfcc', harness, *proof.contracts,
         '--apply-loop-contracts', '--loop-contracts-file', loops, program,
         annotated)
    return (annotated, applied)


def judge(text):
    """(number of properties, what is wrong with them)"""
    found = re.findall(r'^\[(\S+)\] (?:file \S+ )?(?:line \d+ )?(.*): '
                       r'([A-Z]+)$', text, re.M)
    wrong = []
    for (name, what, status) in found:
        reached = what.startswith('reached: ')
        if status != ('FAILURE' if reached else 'SUCCESS'):
            wrong.append('{} {}: {}'.format(name, what, status))
    if not re.search(r'^VERIFICATION (SUCCESSFUL|FAILED)$', text, re.M):
        wrong.append(text[-2000:])
    if not any(what.startswith('reached: ') for (_, what, _) in found):
        wrong.append('it does not say what is reached')
    return (len(found), wrong)


def loops_met(text, applied):
    """Those that CBMC has looked into; what it says of a loop without a
    condition names the function only."""
    named = re.findall(r'invariant before entry for loop (\w+\.\d+)', text)
    nameless = re.findall(
        r'^\[(\w+?)(?:_wrapped_for_contract_checking)?\.\d+\] ', text, re.M)
    return {loop for (name, loop) in applied.items()
            if name in named or (loop[0] in nameless and ';;' in loop[1])}


def prove(proof):
    """(proof, properties, seconds, faults, loops met)"""
    started = time.monotonic()
    met = set()
    with tempfile.TemporaryDirectory(prefix='degu-proof.') as folder:
        try:
            (program, applied) = prepare(proof, folder)
            done = tool('cbmc', *CHECKS, '--unwind', str(proof.unwind),
                        program)
            (count, wrong) = judge(done.stdout)
            met = loops_met(done.stdout, applied)
        except Failed as error:
            (count, wrong) = (0, [str(error)])
    seconds = time.monotonic() - started
    print('{}: {} properties, {} wrong ({:.1f} s)'.format(
        proof.title, count, len(wrong), seconds), flush=True)
    for fault in wrong:
        print('   ' + fault, flush=True)
    return (proof, count, seconds, len(wrong), met)


def table(rows):
    print('\n{:<38}{:<62}{:>10}{:>9}'.format(
        'function', 'bound', 'properties', 'seconds'))
    for (proof, count, seconds, wrong, _) in rows:
        print('{:<38}{:<62}{:>10}{:>9.1f}{}'.format(
            proof.title, proof.bound, count, seconds,
            '  FAILED' if wrong else ''))


def complain(wrong):
    for what in wrong:
        print('*.loops: ' + what)


def main(arguments):
    names = [name for name in arguments if not name.startswith('-')]
    options = set(arguments) - set(names)
    if options - {'--quick', '--list'}:
        print(__doc__)
        return 2
    wrong = misfits()
    if wrong:
        complain(wrong)
        return 1
    chosen = [proof for proof in proofs()
              if not (proof.long and '--quick' in options)
              and (not names or proof.name.startswith(tuple(names)))]
    if '--list' in options:
        print('\n'.join(proof.title for proof in chosen))
        return 0
    missing = [name for name in TOOLS if not shutil.which(name)]
    if missing:
        print('not there: {}.  {}'.format(' '.join(missing), HOW))
        return 1
    limit_memory()
    started = time.monotonic()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        rows = list(pool.map(prove, chosen))
    table(rows)
    if not arguments:
        met = set().union(*(row[-1] for row in rows))
        wrong = ['not used by any proof: {}: {}'.format(*loop)
                 for loop in contracts() if loop[:2] not in met]
        complain(wrong)
    failed = sum(1 for row in rows if row[3])
    print('{} passed, {} failed ({:.0f} s)'.format(
        len(rows) - failed, failed, time.monotonic() - started))
    return 1 if failed or wrong or not rows else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
