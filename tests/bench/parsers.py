# SPDX-License-Identifier: MIT OR 0BSD
"""Heads parsed in memory: in C, against picohttpparser and llhttp, and to
Python objects, against a dict of the same names and values.

All contestants in C are shown to read the same in each head.  degu.h does more
than they: it checks every byte against what HTTP allows, folds names, refuses
fields that stand twice and knows how the body is framed.
"""

import math
import os
import platform
import statistics
import subprocess
import sysconfig

from contest import (
    BUILD,
    CORE,
    Missing,
    Row,
    build,
    column,
    median,
    numbers,
    output,
    pinned,
    ratio,
    script,
    turns,
)
from heads import HEADS, head

import peers

ROUNDS = 9
MS = 8
OBJECT_ROUNDS = 5
PORTABLE = 'degu.h portable -O2'
DEFAULT = 'degu.h -O2'
PICO = 'picohttpparser -O2'
PICO_BEST = 'picohttpparser -O3 -msse4.2'
LLHTTP = 'llhttp -O2'
# (ours, other, target)
CONTESTS = ((PORTABLE, PICO, 1.15), (DEFAULT, PICO_BEST, 1.3),
            (DEFAULT, LLHTTP, 3.5))
# What the least dict took where the targets were set, and the targets, in us.
OBJECTS = {'POST, 3 fields': (0.144, 0.30), 'GET, 20 fields': (1.053, 1.3)}
# Connection belongs to the library, which keeps it to itself.
HIDDEN = 'connection: '


def contestants():
    """{name: program, or why there is none}"""
    def ours(name, *flags):
        return build(name, ('parse.c', 'parse_degu.c'), flags)

    def pico(name, *flags):
        if '-msse4.2' in flags and platform.machine() != 'x86_64':
            raise Missing('its vectors are for x86-64')
        folder = peers.picohttpparser()
        return build(name, ('parse.c', 'parse_pico.c',
                            os.path.join(folder, 'picohttpparser.c')),
                     (*flags, '-I' + folder))

    def llhttp(name):
        (flags, libraries) = peers.llhttp()
        return build(name, ('parse.c', 'parse_llhttp.c'), flags, libraries)

    found = {}
    for (name, make) in {
            PORTABLE: lambda: ours('parse_portable', '-DDEGU_NO_SIMD'),
            PICO: lambda: pico('parse_pico'),
            DEFAULT: lambda: ours('parse_degu'),
            PICO_BEST: lambda: pico('parse_pico_best', '-O3', '-msse4.2'),
            LLHTTP: lambda: llhttp('parse_llhttp')}.items():
        try:
            found[name] = make()
        except Missing as why:
            found[name] = why
    return found


def write_heads():
    """The files, in order."""
    folder = os.path.join(BUILD, 'heads')
    os.makedirs(folder, exist_ok=True)
    files = []
    for (number, name) in enumerate(HEADS):
        text = head(name)
        kind = 'response' if text.startswith(b'HTTP/') else 'request'
        files.append(os.path.join(folder, '{}.{}'.format(number, kind)))
        with open(files[-1], 'wb') as file:
            file.write(text)
    return files


def agree(programs, files):
    for file in files:
        readings = {name: '\n'.join(
            line for line in output(program, 'show', file).lower().splitlines()
            if not line.startswith(HIDDEN))
            for (name, program) in programs.items()}
        if len(set(readings.values())) != 1:
            raise SystemExit('{} is read in different ways: {}'.format(
                file, readings))


def in_c():
    found = contestants()
    programs = {name: program for (name, program) in found.items()
                if not isinstance(program, Missing)}
    files = write_heads()
    agree(programs, files)
    runs = turns('parsers', ROUNDS, {
        name: lambda program=program: numbers(*pinned(
            CORE, program, 'ns', str(MS), *files))
        for (name, program) in programs.items()})
    data = {'heads': {name: len(head(name)) for name in HEADS},
            'ns': {name: [median(column(run, index))
                          for index in range(len(files))]
                   for (name, run) in runs.items()},
            'instructions': {name: numbers(program, 'steps', *files)
                             for (name, program) in programs.items()}}
    data['tables'] = [table_of(data, found)]
    rows = [compare(found, runs, *contest) for contest in CONTESTS]
    return rows + counted(data), data


def table_of(data, found):
    rows = []
    for (name, program) in found.items():
        if isinstance(program, Missing):
            rows.append([name, 'missing: ' + str(program)] +
                        [''] * (len(HEADS) - 1))
            continue
        rows.append([name, *('{:.0f} ns, {:.0f}'.format(*pair) for pair in zip(
            data['ns'][name], data['instructions'][name]))])
    return {'title': 'Parsers: CPU time and instructions of a head',
            'head': ['parser', *('{}, {} bytes'.format(*item) for item in
                                 data['heads'].items())],
            'rows': rows}


def means(runs):
    """The geometric mean over all heads, of each round."""
    return [statistics.geometric_mean(run) for run in runs]


def name_of(ours, other):
    return 'parser, {}, against {}'.format(ours, other.split()[0])


def compare(found, runs, ours, other, target):
    what = name_of(ours, other)
    if other not in runs:
        return Row(what, peer=other, target=target, missing=str(found[other]))
    return Row(what, '{:.1f} ns'.format(median(means(runs[ours]))),
               '{} {:.1f} ns'.format(other, median(means(runs[other]))),
               ratio(means(runs[other]), means(runs[ours])), target)


def counted(data):
    """The same of instructions, which are alike in each run."""
    rows = []
    for (ours, other, _) in CONTESTS:
        counts = [data['instructions'].get(name) for name in (ours, other)]
        if all(count and min(count) > 0 for count in counts):
            (mine, theirs) = map(statistics.geometric_mean, counts)
            rows.append(Row('{}, instructions'.format(name_of(ours, other)),
                            '{:.0f}'.format(mine),
                            '{} {:.0f}'.format(other, theirs), theirs / mine))
    return rows


# -------------------------------------------------------------------- Python

def in_python():
    build('fields.so', ('fields.c',),
          ('-shared', '-fPIC', '-I' + sysconfig.get_paths()['include']))
    runs = turns('Python objects', OBJECT_ROUNDS, {'all': python_run})['all']
    rows = []
    data = {}
    for (index, (name, (then, target))) in enumerate(OBJECTS.items()):
        here = column(runs, index)
        (ours, alone, tools) = (column(here, who) for who in range(3))
        rows.append(Row(
            'request to Python objects, ' + name,
            '{:.2f} us'.format(median(ours) / 1e3),
            'such a dict alone {:.2f} us'.format(median(alone) / 1e3),
            ratio(ours, alone), round(target / then, 2), True))
        rows.append(against_httptools(name, ours, tools))
        data[name] = {'degu': median(ours), 'dict': median(alone),
                      'httptools': None if math.isnan(tools[0])
                      else median(tools)}
    return rows, data


def python_run():
    lines = subprocess.run(
        pinned(CORE, *script('objects.py', BUILD, *OBJECTS)), check=True,
        text=True, stdout=subprocess.PIPE).stdout.splitlines()
    return [[float(word) for word in line.split()] for line in lines]


def against_httptools(name, ours, tools):
    what = 'request to Python objects, {}, httptools'.format(name)
    if math.isnan(tools[0]):
        return Row(what, missing='httptools is not installed')
    return Row(what, '{:.2f} us'.format(median(ours) / 1e3),
               'httptools {:.2f} us'.format(median(tools) / 1e3),
               ratio(tools, ours))
