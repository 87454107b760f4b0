# SPDX-License-Identifier: MIT OR 0BSD
"""Clients for Python, one request after the other through one connection, of
one and the same server, ours in C.  Both are on one core, and the ratio is that
of the CPU time of both for a request.  Beside it stands what a raw ping-pong
takes, which no client can be faster than.
"""

from contest import (
    CORE,
    Missing,
    Row,
    Served,
    build,
    column,
    median,
    numbers,
    pinned,
    ratio,
    script,
    turns,
)
from pairs import CPair

import peers

ROUNDS = 5
SECONDS = 0.4
OURS = 'degu'
RAW = 'raw ping-pong'
# Where seven times http.client was asked for, that took 43.1 us, raw 4.94.
RAW_TARGET = 0.80
SIZES = (41, 58)  # of a request and its answer
# name: how many times as fast we are to be, or None
CLIENTS = {'pycurl': 2.5, 'http.client': 7, 'urllib3': None, 'aiohttp': None,
           'requests': 40}


def requests_in_turn():
    hello = build('hello', ('hello.c',))
    missing = {}
    for name in CLIENTS:
        try:
            peers.need_module(name)
        except Missing as why:
            missing[name] = str(why)
    with Served(lambda port: [hello, str(port)]) as server:
        contestants = {
            name: lambda name=name: numbers(*pinned(CORE, *script(
                'client_run.py', name, str(server.port),
                str(server.process.pid), str(SECONDS))))
            for name in (OURS, *CLIENTS) if name not in missing}
        contestants[RAW] = lambda: CPair('inet6').raw(SIZES)
        runs = turns('clients', ROUNDS, contestants)
    rows = [compare(runs, missing, *item)
            for item in [*CLIENTS.items(), (RAW, RAW_TARGET)]]
    table = {'title': 'Clients', 'rows': [],
             'head': ['client', 'requests/s', 'CPU us of both ends']}
    for (name, run) in runs.items():
        table['rows'].append([name, '{:,.0f}'.format(median(column(run, 0))),
                              '{:.1f}'.format(median(column(run, 1)))])
    table['rows'] += [[name, 'missing: ' + why, '']
                      for (name, why) in missing.items()]
    return rows, {
        'us': {name: median(column(run, 1)) for (name, run) in runs.items()},
        'tables': [table]}


def compare(runs, missing, name, target):
    what = 'Python client, sequential, against ' + name
    if name in missing:
        return Row(what, target=target, missing=missing[name])
    return Row(what, '{:.1f} us'.format(median(column(runs[OURS], 1))),
               '{} {:.1f} us'.format(name, median(column(runs[name], 1))),
               ratio(column(runs[name], 1), column(runs[OURS], 1)), target)
