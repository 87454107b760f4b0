# SPDX-License-Identifier: MIT OR 0BSD
"""The page of the results, doc/performance, and the README's section: what is
between their markers, and the plots, all of the same data.

    page.py        writes them again from what build/bench has
"""

import json
import os
import re
import shutil
import subprocess
import sys
from statistics import geometric_mean

import plot
from contest import BUILD, ROOT, Row
from table import HEAD, cells, in_markdown, summary

FOLDER = os.path.join(ROOT, 'doc', 'performance')
PAGE = os.path.join(FOLDER, 'README.md')
README = os.path.join(ROOT, 'README.md')
# Those that the README has, by the beginning of what they say.
CHOSEN = ('C pair, AF_UNIX, one core', 'Python pair, AF_UNIX, one core',
          'Python pair, AF_UNIX, two', 'parser, degu.h -O2',
          'Python server, CPU', 'Python client, sequential, against pycurl',
          'Python client, sequential, against http.client',
          'Python client, sequential, against requests',
          'Python client, sequential, against raw',
          'bulk, Python, plain, IPv6, one', 'bulk, Python, TLSv1.2, IPv6, one',
          'idle connection, Python', 'start, from')
VERSIONS = ('aiohttp', 'granian', 'gunicorn', 'httptools', 'pycurl', 'requests',
            'urllib3', 'uvicorn', 'uvloop')


# ------------------------------------------------------------------- machine

def first_line(*command):
    if not shutil.which(command[0]):
        return None
    out = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT).stdout
    return out.partition('\n')[0].strip()


def machine():
    """What is said of it: nothing that names it."""
    with open('/proc/cpuinfo') as file:
        text = file.read()
    found = re.search(r'^model name\s*: (.*)', text, re.M)
    return {
        'processor': found[1] if found else os.uname().machine,
        'virtual': ' hypervisor' in text,
        'cores': len(os.sched_getaffinity(0)),
        'kernel': re.match(r'[\d.]*\d', os.uname().release)[0],
        'compiler': first_line(os.environ.get('CC', 'cc').split()[0],
                               '--version'),
        'python': sys.version.split()[0],
        'openssl': ' '.join(
            (first_line('openssl', 'version') or '').split()[:2]),
        'load': round(os.getloadavg()[0], 2),
    }


def versions():
    """Of the peers that are there."""
    python = os.path.join(BUILD, 'venv', 'bin', 'python')
    if not os.path.exists(python):
        python = sys.executable
    found = json.loads(subprocess.run(
        [python, '-c', 'import json, sys\n'
         'from importlib.metadata import version, PackageNotFoundError\n'
         'def of(name):\n'
         '    try:\n'
         '        return version(name)\n'
         '    except PackageNotFoundError:\n'
         '        return None\n'
         'print(json.dumps({name: of(name) for name in sys.argv[1:]}))',
         *VERSIONS], check=True, text=True, stdout=subprocess.PIPE).stdout)
    nginx = shutil.which('nginx') or '/usr/sbin/nginx'
    found['nginx'] = (first_line(nginx, '-v') or '').rpartition('/')[2]
    return {name: text for (name, text) in found.items() if text}


def describe(facts):
    return ('{cores} core{s} of {processor}{virtual}, Linux {kernel}; '
            '{compiler}; CPython {python}; {openssl}').format(
        s='s' if facts['cores'] > 1 else '',
        **dict(facts, virtual=', virtual' if facts['virtual'] else ''))


# --------------------------------------------------------------------- plots

def charts(found):
    """{file name: (what it shows, SVG)}"""
    def show(name, title, note, bars):
        if bars:
            made[name] = (title, plot.chart(title, note, bars))

    made = {}
    show('targets.svg', 'All targets', 'the line is the target, met at or '
         'behind it; costs are turned over', target_bars(found))
    show('pairs.svg', 'Round trips on one core',
         'what a raw ping-pong takes of CPU time, as a share of what we take',
         [(row.what.replace(', one core', ''), row.value,
           '{:.2f}'.format(row.value), True, row.target)
          for row in rows_of(found, 'pairs')])
    for (family, rates) in found.get('spin', {}).get('data', {}).items():
        show('spin-{}.svg'.format(family.lower().replace('_', '-')),
             'Round trips across two cores, ' + family,
             'a second; spin: both ends try for a while before they sleep',
             quantities(rates, '{:,.0f}', ('C', 'Python')))
    show('parsers.svg', 'A head parsed in memory',
         'ns, geometric mean over all heads; less is better',
         parser_bars(found))
    data = found.get('servers', {}).get('data', {})
    show('servers.svg', 'Servers with 25 connections',
         'CPU microseconds of an answer; less is better',
         quantities({name: us[-1] for (name, us) in
                     data.get('us', {}).items()}, '{:.1f}'))
    data = found.get('clients', {}).get('data', {})
    show('clients.svg', 'Clients for Python',
         'CPU microseconds of a request, both ends; less is better',
         quantities(data.get('us', {}), '{:.1f}'))
    show('bulk.svg', 'Large bodies', 'as a share of what bare C does',
         [(row.what, row.value, '{:.2f}'.format(row.value), True, row.target)
          for row in rows_of(found, 'plain') + rows_of(found, 'tls')
          if row.what.startswith('bulk') and not row.missing])
    data = found.get('memory', {}).get('data', {})
    show('memory.svg', 'An idle connection',
         'KiB of the server; less is better',
         quantities(data.get('kib', {}), '{:.1f}'))
    return made


def rows_of(found, area):
    return [Row(**row) for row in found.get(area, {}).get('rows', [])]


def all_rows(found):
    return [row for area in found for row in rows_of(found, area)]


def target_bars(found):
    bars = []
    for row in all_rows(found):
        if row.target is None or row.missing or not row.value:
            continue
        share = row.value / row.target
        share = min(1 / share if row.at_most else share, 2)
        bars.append((row.what, share, '{:.0%}'.format(share), True, 1))
    return bars


def quantities(values, form, ours=('degu',)):
    return [(name, value, form.format(value), name.startswith(ours), None)
            for (name, value) in sorted(values.items(), key=lambda i: i[1])]


def parser_bars(found):
    ns = found.get('parsers', {}).get('data', {}).get('ns', {})
    return quantities({name: geometric_mean(each)
                       for (name, each) in ns.items()}, '{:.0f}')


# ---------------------------------------------------------------------- page

def between(path, name, text):
    """Puts it between the markers of this name in the file."""
    with open(path, encoding='utf-8') as file:
        before = file.read()
    marks = '<!-- {}: written by make bench -->', '<!-- {}: end -->'
    (begin, end) = (mark.format(name) for mark in marks)
    if before.count(begin) != 1 or before.count(end) != 1:
        raise SystemExit('{}: no place for {}'.format(path, name))
    head = before[:before.index(begin) + len(begin)]
    tail = before[before.index(end):]
    with open(path, 'w', encoding='utf-8') as file:
        file.write('{}\n\n{}\n\n{}'.format(head, text, tail))


def write(found, facts):
    """*found*: {area: {'rows': ..., 'data': ...}}"""
    rows = all_rows(found)
    where = '{}. {}.'.format(facts['date'], describe(facts['machine']))
    between(PAGE, 'machine', '{}\n\nLoad average at the beginning: {}. '
            'Peers: {}.'.format(where, facts['machine']['load'], ', '.join(
                '{} {}'.format(*item)
                for item in sorted(facts['versions'].items()))))
    between(PAGE, 'table', '{}\n\n{}.{}'.format(
        in_markdown(HEAD, [cells(row) for row in rows]), summary(rows),
        missed(rows)))
    made = charts(found)
    for (name, (_, svg)) in made.items():
        with open(os.path.join(FOLDER, name), 'w') as file:
            file.write(svg)
    between(PAGE, 'plots', '\n\n'.join(
        '![{}]({})'.format(title, name)
        for (name, (title, _)) in made.items()))
    between(PAGE, 'peers', '\n\n'.join(
        '### {}\n\n{}'.format(one['title'], in_markdown(one['head'],
                                                        one['rows']))
        for area in found.values() for one in area['data'].get('tables', [])))
    chosen = [row for row in rows if row.what.startswith(CHOSEN) and
              'instructions' not in row.what]
    between(README, 'performance', where + '\n\n' + in_markdown(
        HEAD, [cells(row) for row in chosen]))


def missed(rows):
    names = [row.what for row in rows if row.is_met() is False]
    return '\n\nMissed:\n\n' + '\n'.join('- ' + name for name in names) \
        if names else ''


def main():
    with open(os.path.join(BUILD, 'facts.json')) as file:
        facts = json.load(file)
    found = {}
    for name in facts['areas']:
        with open(os.path.join(BUILD, name + '.json')) as file:
            found[name] = json.load(file)
    write(found, facts)


if __name__ == '__main__':
    main()
