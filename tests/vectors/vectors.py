# SPDX-License-Identifier: MIT OR 0BSD
"""Reads the files of tests/vectors; README.md tells their form.

Run as a program it checks them, and lists the errors that no case gives.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\*(\d+))?')
ESCAPE = re.compile(r'\\(x[0-9a-f]{2}|.)')
PLAIN = {'r': '\r', 'n': '\n', 't': '\t', '\\': '\\', '"': '"'}
KINDS = {
    'request', 'response', 'fields', 'trailer', 'target', 'method', 'length',
    'range', 'content-range', 'chunk-line', 'body', 'requests', 'responses',
    'tls',
}


@dataclass
class Case:
    """One case: `wants` holds (key, values) for each line behind the input.

    A value is bytes for a string, None for `none`, else a word as str.
    """

    file: str
    line: int
    name: str = ''
    kind: list = field(default_factory=list)
    input: bytes = b''
    mark: int | None = None
    why: str = ''
    wants: list = field(default_factory=list)

    @property
    def verdict(self):
        """'ok', 'more', or the name of the error."""
        for key, values in self.wants:
            if key == 'error':
                return values[0]
            if key in ('ok', 'more'):
                return key
        raise ValueError(f'{self.file}:{self.line}: no verdict')

    def all(self, key):
        return [values for k, values in self.wants if k == key]


def _unescape(text):
    def one(match):
        code = match.group(1)
        return chr(int(code[1:], 16)) if code[0] == 'x' and len(code) == 3 \
            else PLAIN[code]

    return ESCAPE.sub(one, text).encode('latin-1')


def _values(text):
    values, joined = [], False
    pos = 0
    while pos < len(text):
        if text[pos] == ' ':
            pos += 1
        elif text[pos] == '+':
            joined = True
            pos += 1
        elif text[pos] == '"':
            match = STRING.match(text, pos)
            if match is None:
                raise ValueError(text)
            value = _unescape(match.group(1)) * int(match.group(2) or 1)
            if joined:
                values[-1] += value
            else:
                values.append(value)
            joined = False
            pos = match.end()
        else:
            word = text[pos:].split(' ', 1)[0]
            values.append(None if word == 'none' else word)
            pos += len(word)
    return values


def _parse(path):
    case, why = None, []
    for number, line in enumerate(path.read_text('ascii').split('\n'), 1):
        if line == '':
            if case is not None:
                yield case
            case, why = None, []
        elif line[0] == '#':
            why.append(line[1:].strip())
        else:
            key, _, rest = line.partition(':')
            if case is None:
                case = Case(path.name, number, why='\n'.join(why))
            try:
                values = _values(rest)
            except (ValueError, KeyError) as err:
                raise ValueError(f'{path.name}:{number}: {line}') from err
            if key == 'case':
                case.name = values[0]
            elif key == 'kind':
                case.kind = values
            elif key == 'in':
                for value in values:
                    if value == '^':
                        case.mark = len(case.input)
                    else:
                        case.input += value
            else:
                case.wants.append((key, values))


def cases(*names):
    """All cases of these files, or of all files."""
    paths = [HERE / name for name in names] or sorted(HERE.glob('*.txt'))
    return [case for path in paths for case in _parse(path)]


def main():
    found, names, faults = set(), set(), []
    for case in cases():
        where = f'{case.file}:{case.line}'
        if case.name in names or not case.name:
            faults.append(f'{where}: no name of its own: {case.name!r}')
        if not case.kind or case.kind[0] not in KINDS:
            faults.append(f'{where}: unknown kind {case.kind}')
        names.add(case.name)
        for key, values in case.wants:
            if key == 'error':
                found.add(values[0])
                if '^' in values and case.mark is None:
                    faults.append(f'{where}: ^ stands nowhere in the input')
    print('\n'.join(faults) or 'no faults')
    print(f'{len(names)} cases, {len(found)} errors: {" ".join(sorted(found))}')
    header = HERE.parent.parent / 'degu.h'
    if header.exists():
        named = re.findall(r'X\((E_\w+), -\d+', header.read_text('utf-8'))
        print('given by no case:', ' '.join(sorted(set(named) - found)))
        faults += sorted(found - set(named))
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
