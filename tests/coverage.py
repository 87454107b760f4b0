# SPDX-License-Identifier: MIT OR 0BSD
"""What of degu.h and degu_tls.h the C tests and the inputs of fuzz/ run.

    coverage.py          a table; what is missing in layers 1 to 6, and why
    coverage.py --all    the same, and what is missing in the rest

Every program is built with clang's coverage and run; a line or a side of a
branch counts when one of them ran it.  A branch is what clang takes for one:
each condition that is not made of others with && or ||, and each case of a
switch; it has two sides.  A condition of a macro counts where that is used.

Ends with 1 if a line of layers 1 to 6 was not run, or less than BAR percent of
their branches; if a side that was not run has no reason in coverage.txt; if
that has a reason for one that was run, or is no more.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys

import run

OUT = os.path.join(run.ROOT, 'build', 'coverage')
REASONS = os.path.join(run.HERE, 'coverage.txt')
BAR = 95  # percent of the branches
LAST = 6  # layer for which the bars are
FLAGS = ['-O0', '-g', '-fprofile-instr-generate', '-fcoverage-mapping',
         '-fprofile-update=atomic', '-I' + run.ROOT, '-pthread']
NO_BRANCH = (0, 0)  # how often true, how often false


class Source:
    """A header, and what was run of it."""

    def __init__(self, name):
        self.path = os.path.join(run.ROOT, name)
        with open(self.path) as file:
            text = file.read()
        self.text = text.split('\n')
        bare = re.sub(r'/\*.*?\*/', lambda found: '\n' * found[0].count('\n'),
                      text, flags=re.S)
        # Braces alone, and what the preprocessor takes, are no lines of code.
        self.is_code = [bool(re.match(r'[^#]*\w', line))
                        for line in bare.split('\n')]
        self.layer = []  # of each line
        layer = name
        for line in self.text:
            found = re.match(r'/\* (\d)  (\w.*?) +\*/$', line)
            layer = '{}  {}'.format(*found.groups()) if found else layer
            self.layer.append(layer)
        self.lines = {}  # number: how often
        self.branches = {}  # Branch: (how often true, how often false)

    def add_line(self, number, count):
        if self.is_code[number - 1]:
            self.lines[number] = self.lines.get(number, 0) + count

    def add_branch(self, branch, true, false):
        before = self.branches.get(branch, NO_BRANCH)
        self.branches[branch] = (before[0] + true, before[1] + false)

    def between(self, line, column, last, end):
        """The text of a place, in one line."""
        lines = self.text[line - 1:last]
        lines[-1] = lines[-1][:end - 1]
        lines[0] = lines[0][column - 1:]
        return ' '.join(' '.join(lines).replace('\\', ' ').split())


# ------------------------------------------------------------------ programs

def programs():
    """(name, test or program of run.REPLAYS, flags)"""
    found = [('', test, []) for test in run.c_tests()]
    found += [('poll-', 'test_server', ['-DDEGU_USE_POLL'])]
    found += [('32-bit-', 'test_format', ['-m32', '-O2'])]
    kernels = ['test_table', 'test_vectors']
    found += [('small-', test, ['-DDEGU_SMALL'])
              for test in [*kernels, 'test_format']]
    # As a compiler builds it that is not known.
    found += [('portable-', test, ['-U__GNUC__', '-DDEGU_NO_SIMD'])
              for test in kernels + ['test_exchange', 'test_server']]
    return found + [('', 'replay', []), ('', 'replay-tls', []),
                    ('limits-', 'replay', ['-DFUZZ_DEFAULT_LIMITS'])]


def build_and_run():
    """The programs' paths; beside each stands PATH.profdata."""
    shutil.rmtree(OUT, ignore_errors=True)
    (jobs, commands) = ([], {})
    for (name, test, flags) in programs():
        target = os.path.join(OUT, name + test)
        if test in run.REPLAYS:
            words = run.REPLAYS[test]
            arguments = run.replay_inputs(test == 'replay-tls')
        else:
            words = ['{}/c/{}.c'.format(run.HERE, test),
                     *run.LIBRARIES.get(test, [])]
            arguments = run.c_arguments(test)
        jobs.append((target, ['clang', *FLAGS, *flags, *words]))
        commands[target] = [target, *arguments]
    run.compile_all(jobs)
    for (target, command) in commands.items():
        run.run(os.path.basename(target), command,
                LLVM_PROFILE_FILE=target + '.%p.profraw')
        tool('llvm-profdata', 'merge', '-sparse', '-o', target + '.profdata',
             *glob.glob(target + '.*.profraw'))
    return list(commands)


def tool(*command):
    return subprocess.run(command, check=True, text=True,
                          stdout=subprocess.PIPE).stdout


# ------------------------------------------------------------- what they ran

def read(program, sources):
    """Adds what one program ran.

    Programs are read one by one: where their flags differ, so do the places
    that they have in common, which llvm-cov would mix up."""
    by_path = {source.path: source for source in sources}
    data = json.loads(tool('llvm-cov', 'export', program, '-instr-profile',
                           program + '.profdata', *by_path))['data'][0]
    for file in data['files']:
        source = by_path[os.path.normpath(file['filename'])]
        for (number, count) in counts(file['segments']):
            source.add_line(number, count)
    for function in data['functions']:
        source = by_path.get(os.path.normpath(function['filenames'][0]))
        if source:
            read_branches(function, source)


def counts(segments):
    """(line, how often) of all lines with code, as llvm-cov counts them.

    A segment is (line, column, count, has a count, a region begins, is a gap),
    and lasts until the next.  Code that a build leaves out has no count but is
    a region: so it is a line, not run there."""
    (wrapped, at) = (None, 0)
    for number in range(segments[0][0], segments[-1][0] + 1):
        here = []
        while at < len(segments) and segments[at][0] == number:
            here.append(segments[at])
            at += 1
        begun = [s[2] for s in here if s[3] and s[4] and not s[5]]
        if wrapped and wrapped[3]:
            begun.append(wrapped[2])
        left_out = [s for s in (wrapped, *here) if s and s[4] and not s[3]]
        if begun or left_out:
            yield (number, max(begun, default=0))
        wrapped = here[-1] if here else wrapped


def read_branches(function, source):
    """A region is (line, column, last line, end, count, file, file that it
    stands for, kind), a branch has how often it was false behind the count; a
    macro is a file of its own in the place where it stands."""
    uses = {region[6]: region for region in function['regions']
            if region[7] == 1}
    name = function['name'].split(':')[-1]
    for (line, column, last, end, true, false, file, *_) in \
            function['branches']:
        macro = source.between(line, column, last, end)
        (place, outer) = ((line, column), file)
        while outer in uses:
            place = tuple(uses[outer][:2])
            outer = uses[outer][5]
        number = place[0] if outer == 0 else line
        source.add_branch((number, place, (line, column), name, macro),
                          true, false)


# ------------------------------------------------------------------- reasons

def key(source, branch, side):
    """What an entry of coverage.txt says first: its two lines."""
    (number, _, _, function, condition) = branch
    return ('{}: {}'.format(function, source.text[number - 1].strip()),
            'never {}: {}'.format(side, condition))


def read_reasons():
    """{key: reasons} from blocks of lines, a reason for each side that looks
    like this; # begins a comment."""
    with open(REASONS) as file:
        text = re.sub(r'^#.*\n', '', file.read(), flags=re.M)
    found = {}
    for block in filter(None, re.split(r'\n{2,}', text.strip())):
        (where, what, *reason) = block.split('\n')
        found.setdefault((where, what), []).append(
            ' '.join(line.strip() for line in reason))
    return found


# -------------------------------------------------------------------- report

def missing_sides(source, is_meant):
    for (branch, seen) in sorted(source.branches.items()):
        if is_meant(source.layer[branch[0] - 1]):
            for (side, count) in zip(('true', 'false'), seen):
                if not count:
                    yield (branch, side)


def missing_lines(source, is_meant):
    return [number for (number, count) in sorted(source.lines.items())
            if not count and is_meant(source.layer[number - 1])]


def has_bars(layer):
    return layer[0].isdigit() and int(layer[0]) <= LAST


def row(label, source, is_meant):
    """Prints a row of the table; the lines and the sides that are missing."""
    lines = [n for n in source.lines if is_meant(source.layer[n - 1])]
    sides = 2 * sum(is_meant(source.layer[branch[0] - 1])
                    for branch in source.branches)
    missing = (len(missing_lines(source, is_meant)),
               len(list(missing_sides(source, is_meant))))
    numbers = []
    for (of, less) in zip((len(lines), sides), missing):
        numbers += [of, of - less, 100 * (of - less) / of if of else 100]
    print('{:<32}{:>6} {:>6} {:>7.2f} {:>9} {:>6} {:>7.2f}'.format(
        label, *numbers))
    return (missing, numbers[-1])


def table(sources):
    """Returns (lines missing, percent of branches) of what has bars."""
    print('\n{:<32}{:>6} {:>6} {:>7} {:>9} {:>6} {:>7}'.format(
        '', 'lines', 'run', '%', 'branches', 'run', '%'))
    for source in sources:
        for layer in sorted({source.layer[n - 1] for n in source.lines}):
            row(layer, source, lambda other: other == layer)
    ((lines, _), percent) = row('layers 1 to {}'.format(LAST), sources[0],
                                has_bars)
    return (lines, percent)


def show(source, is_meant, reasons):
    """Prints what is missing; how many sides are without reason."""
    name = os.path.basename(source.path)
    print('\nlines that were not run:')
    for number in missing_lines(source, is_meant):
        print('{}:{}: {}'.format(name, number, source.text[number - 1].strip()))
    print('\nsides of branches that were not run:')
    without = 0
    for (branch, side) in missing_sides(source, is_meant):
        (where, what) = key(source, branch, side)
        print('{}:{}: {}\n    {}'.format(name, branch[0], where, what))
        if reasons is not None:
            given = reasons.get((where, what))
            reason = given.pop(0) if given else ''
            print('    ' + (reason or 'WITHOUT A REASON'))
            without += not reason
    return without


def main(words):
    sources = [Source('degu.h'), Source('degu_tls.h')]
    try:
        for program in build_and_run():
            read(program, sources)
    except run.Failed as error:
        print('FAILED: {}'.format(error))
        return 1
    (lines, percent) = table(sources)
    reasons = read_reasons()
    without = show(sources[0], has_bars, reasons)
    stale = [key for (key, left) in reasons.items() for _ in left]
    for (where, what) in stale:
        print('\na reason for what was run, or is not there:\n'
              '{}\n    {}'.format(where, what))
    if '--all' in words:
        for source in sources:
            show(source, lambda layer: not has_bars(layer), None)
    good = not lines and percent >= BAR and not without and not stale
    print('\nlayers 1 to {}: {} lines not run (0 allowed), {:.2f} % of '
          'branches ({} wanted), {} without a reason, {} reasons too many: '
          '{}'.format(
              LAST, lines, percent, BAR, without, len(stale),
              'ok' if good else 'FAILED'))
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
