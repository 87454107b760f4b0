# SPDX-License-Identifier: MIT OR 0BSD
"""Everything that `make bench` measures, and the table at its end.

    bench.py           all of it, and then the page in doc/performance
    bench.py NAME...   some of it, and a table of that
    bench.py --list    their names

Contestants take turns, round after round; quoted are medians, and ratios of
neighbours in time.  Rates drift with whatever else a machine does, so where the
CPU time of both ends is known the ratio is of that.  What a part has found is
in build/bench/NAME.json.  Nothing here fails because of time: a target that is
missed is said to be; a wrong answer ends the run.
"""

import datetime
import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, ROOT + '/py')
os.environ['PYTHONPATH'] = ROOT + '/py'

import bulk  # noqa: E402
import clients  # noqa: E402
import memory  # noqa: E402
import page  # noqa: E402
import pairs  # noqa: E402
import parsers  # noqa: E402
import servers  # noqa: E402
import start  # noqa: E402
from contest import BUILD, say  # noqa: E402
from table import HEAD, cells, in_text, summary  # noqa: E402

AREAS = {
    'pairs': pairs.one_core,
    'calls': pairs.system_calls,
    'spin': pairs.two_cores,
    'parsers': parsers.in_c,
    'objects': parsers.in_python,
    'servers': servers.answers,
    'clients': clients.requests_in_turn,
    'plain': bulk.plain,
    'tls': bulk.tls,
    'memory': memory.idle,
    'start': start.first_answer,
}


def write(name, data):
    with open(os.path.join(BUILD, name + '.json'), 'w') as file:
        json.dump(data, file, indent=1)
        file.write('\n')


def measure(names):
    found = {}
    for name in names:
        (rows, data) = AREAS[name]()
        found[name] = {'rows': [row._asdict() for row in rows], 'data': data}
        write(name, found[name])
    return found


def print_tables(found):
    for area in found.values():
        for one in area['data'].get('tables', []):
            print('\n{}\n\n{}'.format(one['title'],
                                      in_text(one['head'], one['rows'])))
    rows = page.all_rows(found)
    print('\n{}\n\n{}'.format(in_text(HEAD, [cells(row) for row in rows]),
                              summary(rows)))


def main(*names):
    if names == ('--list',):
        print('\n'.join(AREAS))
        return
    unknown = set(names) - set(AREAS)
    if unknown:
        raise SystemExit('no such part: ' + ', '.join(sorted(unknown)))
    os.makedirs(BUILD, exist_ok=True)
    machine = page.machine()
    say(page.describe(machine))
    found = measure(names or AREAS)
    print_tables(found)
    if not names:
        facts = {'date': datetime.datetime.now(datetime.timezone.utc).strftime(
            '%Y-%m-%d'), 'machine': machine, 'areas': list(AREAS),
            'versions': page.versions()}
        write('facts', facts)
        page.write(found, facts)
        print('\nwritten: doc/performance, build/bench/*.json')


if __name__ == '__main__':
    main(*sys.argv[1:])
