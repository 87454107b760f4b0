# SPDX-License-Identifier: MIT OR 0BSD
"""tests/vectors in Python's terms: what the app or the caller must see."""

import importlib.util
import os
import re
import sys

from degu.base import ContentRange, Range

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def _reader():
    spec = importlib.util.spec_from_file_location(
        'degu_vectors', os.path.join(HERE, '..', 'vectors', 'vectors.py'))
    module = importlib.util.module_from_spec(spec)
    sys.modules['degu_vectors'] = module
    spec.loader.exec_module(module)
    return module


def _statuses():
    """{'E_TARGET': 400, ...}: the list stands in degu.h, and only there."""
    with open(os.path.join(ROOT, 'degu.h'), encoding='utf-8') as file:
        text = file.read()
    return {name: int(status) for (name, status) in
            re.findall(r'X\((E_\w+), -\d+, (\d+),', text)}


# tests/tls plays those about TLS.
CASES = [case for case in _reader().cases() if case.kind[0] != 'tls']
STATUS = _statuses()


def of_kind(*kinds):
    return [case for case in CASES if case.kind[0] in kinds]


def name_of(case):
    return case.name


def text(value):
    return None if value is None else value.decode('ascii')


def first(case, key, default=None):
    for (name, values) in case.wants:
        if name == key:
            return values[0]
    return default


def numbers(case, key):
    for (name, values) in case.wants:
        if name == key and values[0] is not None:
            return [int(value) for value in values]
    return None


def headers(case):
    """The dict that the header lines make (D6), or None if they are not all
    given."""
    lines = [(text(name), text(value))
             for (name, value) in case.all('header')]
    if not lines:
        return {} if first(case, 'fields', '') == '0' else None
    made = {}
    for (name, value) in lines:
        if name not in made:
            made[name] = value
        elif name != 'set-cookie':
            made[name] += ', ' + value
        elif isinstance(made[name], list):
            made[name].append(value)
        else:
            made[name] = [made[name], value]
    if 'content-length' in made:
        made['content-length'] = int(made['content-length'])
    if numbers(case, 'range'):
        made['range'] = Range(*numbers(case, 'range'))
    if numbers(case, 'content-range'):
        made['content-range'] = ContentRange(*numbers(case, 'content-range'))
    return made


def parts(case):
    """The path as a list, where the case gives its parts."""
    found = case.all('part')
    return [text(value) for (value,) in found] if found else None


def framing(case):
    """('none', None), ('length', 5), ('chunked', None), ..."""
    for (name, values) in case.wants:
        if name == 'framing':
            length = int(values[1]) if len(values) > 1 else None
            return (values[0] or 'none', length)
    return ('none', None)
