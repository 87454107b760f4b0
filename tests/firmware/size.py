# SPDX-License-Identifier: MIT OR 0BSD
"""What degu.h costs a microcontroller, against the budget of budget.txt.

    size.py DIRECTORY          for the objects
    size.py DIRECTORY --write  and renew the table in the manual

The manual's table has to be what is measured, if its compilers are the same.

Flash is .text and .rodata of what the linker keeps for a program that only
parses heads, or chunk lines, is a server, a client, or both (size.c), built
with -Os and config.h, the compiler's own functions included, memcpy and its
like not.  RAM is what a connection and a message take beside their buffers;
layers 1 to 6 have none of their own, and that is checked.  Stack is the
deepest path from the functions that the program calls; what its callbacks need
comes on top.
"""

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.dirname(HERE))

import stack  # noqa: E402

FLAGS = ['-std=c99', '-Os', '-ffreestanding', '-ffunction-sections',
         '-fdata-sections', '-fno-asynchronous-unwind-tables', '-Wall',
         '-Wextra', '-Werror', '-I' + ROOT, '-include', HERE + '/config.h']
MANUAL = os.path.join(ROOT, 'doc', 'microcontroller.md')
LIBRARY = ('memcpy', 'memmove', 'memset', 'memcmp')
TARGETS = {
    'cortex-m0plus': ('arm-none-eabi-', ['-mcpu=cortex-m0plus', '-mthumb']),
    'cortex-m4': ('arm-none-eabi-', ['-mcpu=cortex-m4', '-mthumb']),
    'rv32imc': ('riscv64-unknown-elf-', ['-march=rv32imc', '-mabi=ilp32']),
    'x86-64': ('', ['-m64', '-fno-pic', '-no-pie', '-fcf-protection=none']),
}
PROGRAMS = {'parse': ['-DPARSE'], 'chunk': ['-DCHUNK'],
            'server': ['-DSERVER'], 'client': ['-DCLIENT'],
            'both': ['-DSERVER', '-DCLIENT']}
STRUCTS = ('conn', 'request', 'response')
# What the compiler may call in the place of an instruction: switches through
# a table, 32 bit division where the processor has none, 64 bit products.
HELPERS = re.compile(r'__gnu_thumb1_case_\w+|__aeabi_u?idiv(mod)?|'
                     r'__aeabi_lmul')


def output(*command):
    return subprocess.run(command, check=True, text=True,
                          stdout=subprocess.PIPE).stdout


class Target:
    """The programs, built for one processor."""

    def __init__(self, name, directory):
        (self.tools, self.flags) = TARGETS[name]
        self.folder = os.path.join(directory, name)
        os.makedirs(self.folder, exist_ok=True)
        self.core = self.compile('core', '-fcallgraph-info=su')
        with open(self.folder + '/core.ci') as file:
            self.graph_text = file.read()

    def compile(self, source, *flags, target=None):
        made = '{}/{}.o'.format(self.folder, target or source)
        output(self.tools + 'gcc', *FLAGS, *self.flags, *flags, '-c',
               '{}/{}.c'.format(HERE, source), '-o', made)
        return made

    def needs(self, made):
        """What an object wants from others."""
        return [line.split()[-1] for line in
                output(self.tools + 'nm', '-u', made).splitlines()]

    def sections(self, made):
        return {name: int(size) for (name, size) in re.findall(
            r'^(\.\S+) +(\d+) ', output(self.tools + 'size', '-A', made),
            re.M)}

    def measure(self, program):
        """{'flash': bytes, 'stack': bytes} of a program."""
        caller = self.compile('size', *PROGRAMS[program], target=program)
        made = '{}/{}.elf'.format(self.folder, program)
        # A library's functions are of no size here, and no others are there.
        output(self.tools + 'gcc', *self.flags, '-nostdlib', '-static',
               '-Wl,--gc-sections', '-Wl,-e,start', '-Wl,-z,noexecstack',
               '-Wl,--no-warn-rwx-segments',
               *('-Wl,--defsym={}=0'.format(name) for name in LIBRARY),
               caller, self.core, '-lgcc', '-o', made)
        flash = sum(size for (name, size) in self.sections(made).items()
                    if re.match(r'\.(text|rodata|srodata|data|sdata)\b', name))
        flash -= self.own_data(caller)
        kept = {line.split()[-1]
                for line in output(self.tools + 'nm', made).splitlines()}
        graph = stack.Graph(self.graph_text, kept)
        called = [name for name in self.needs(caller) if name in graph.frames]
        return {'flash': flash,
                'stack': max(graph.depth(name)[0] for name in called)}

    def own_data(self, caller):
        return sum(size for (name, size) in self.sections(caller).items()
                   if re.match(r'\.(text|rodata|srodata|data|sdata)\b', name))

    def structs(self):
        """Their sizes: those of the variables ram_... of a program."""
        caller = self.folder + '/parse.o'
        found = dict((name, int(size, 16)) for (size, name) in re.findall(
            r'^\w+ (\w+) \w ram_(\w+)$',
            output(self.tools + 'nm', '-S', caller), re.M))
        return {name: found[name] for name in STRUCTS}

    def faults(self):
        """What the core may not have or want."""
        found = [name for name in self.needs(self.core)
                 if name not in LIBRARY and not HELPERS.fullmatch(name)]
        found += ['{} bytes of {}'.format(size, name)
                  for (name, size) in self.sections(self.core).items()
                  if size and re.match(r'\.(s?data|s?bss)\b', name)]
        found += ['a frame of unknown size in ' + stack.short(name)
                  for (name, (_, kind)) in
                  stack.Graph(self.graph_text).frames.items()
                  if kind == 'dynamic']
        return found


def measure(directory, name):
    """(rows, faults): rows as the budget has them, {(what, part): bytes}."""
    target = Target(name, directory)
    rows = {}
    for program in PROGRAMS:
        for (part, size) in target.measure(program).items():
            rows[part, program] = size
    for (struct, size) in target.structs().items():
        rows['ram', struct] = size
    return rows, target.faults()


def budget():
    """{target: {(what, part): bytes}} of budget.txt: limits, and aims."""
    limits = {name: {} for name in TARGETS}
    aims = {name: {} for name in TARGETS}
    with open(HERE + '/budget.txt') as file:
        for line in file:
            words = line.split('#')[0].split()
            if words:
                (what, part, *numbers) = words
                for (name, number) in zip(TARGETS, numbers, strict=True):
                    (limit, _, aim) = number.partition('/')
                    limits[name][what, part] = int(limit)
                    if aim:
                        aims[name][what, part] = int(aim)
    return (limits, aims)


def show(measured, limits):
    print('{:18}'.format('bytes (budget)') + ''.join(
        '{:>16}'.format(name) for name in TARGETS))
    for row in measured['x86-64']:
        print('{:18}'.format(' '.join(row)) + ''.join('{:>16}'.format(
            '{} ({}){}'.format(
                measured[name][row], limits[name][row],
                ' !' if measured[name][row] > limits[name][row] else ''))
            for name in TARGETS))


def version(tools):
    return tools + 'gcc ' + output(tools + 'gcc', '-dumpfullversion').strip()


def markdown(measured):
    """The manual's table, and the compilers that it is of."""
    tools = sorted({tools for (tools, _) in TARGETS.values()})
    compilers = 'Bytes, by ' + ', '.join(map(version, tools)) + ':\n'
    lines = ['| bytes | ' + ' | '.join(TARGETS) + ' |',
             '|---|' + '---:|' * len(TARGETS)]
    lines += ['| {} | {} |'.format(' '.join(row), ' | '.join(
        str(measured[name][row]) for name in TARGETS))
        for row in measured['x86-64']]
    return (compilers, '\n'.join(lines) + '\n')


def manual(measured, write):
    """Is its table as it should be?"""
    (compilers, table) = markdown(measured)
    with open(MANUAL) as file:
        text = file.read()
    if write:
        text = re.sub('(?s)(<!-- size -->\n).*(<!-- end of size -->)',
                      lambda found: found[1] + compilers + '\n' + table +
                      found[2], text)
        with open(MANUAL, 'w') as file:
            file.write(text)
    return compilers not in text or table in text


def main(directory, write=False):
    (limits, aims) = budget()
    (measured, bad) = ({}, [])
    for name in TARGETS:
        (measured[name], faults) = measure(directory, name)
        bad += ['{}: {}'.format(name, fault) for fault in faults]
        bad += ['{}: {} is {}, more than {}'.format(
            name, ' '.join(row), size, limits[name][row])
            for (row, size) in measured[name].items()
            if size > limits[name][row]]
    if not manual(measured, write):
        bad.append('doc/microcontroller.md has other sizes: --write')
    show(measured, limits)
    for name in TARGETS:
        for (row, aim) in aims[name].items():
            print('aim: {}: {} is {}, {} is aimed at'.format(
                name, ' '.join(row), measured[name][row], aim))
    print('\n'.join(bad))
    checks = sum(map(len, measured.values())) + len(TARGETS) + 1
    print('{} passed, {} failed'.format(checks - len(bad), len(bad)))
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], '--write' in sys.argv[2:]))
