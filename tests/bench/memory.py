# SPDX-License-Identifier: MIT OR 0BSD
"""What an idle connection costs a server in memory.

Each of 200 connections has had an answer and stays open.  The growth of the
server's memory, shared pages in proportion, is divided by their number; a
connection before them has made the server load what it loads late.
"""

import socket
import time

from contest import GREETING, Row, Served, column, median, turns
from servers import OURS, OURS_IN_C, commands

COUNT = 200
ROUNDS = 3
TARGET_KIB = 8
REQUEST = b'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n'
CALM = 0.1  # seconds for what a server does behind an answer


def ask(port):
    sock = socket.create_connection(('127.0.0.1', port), 10)
    sock.sendall(REQUEST)
    got = b''
    while not got.endswith(GREETING):
        data = sock.recv(4096)
        if not data:
            raise SystemExit('came: {!r}'.format(got))
        got += data
    return sock


def measure(command):
    """(KiB of the server, KiB of a connection)"""
    with Served(command) as server:
        ask(server.port).close()
        time.sleep(CALM)
        before = server.memory()
        socks = [ask(server.port) for _ in range(COUNT)]
        time.sleep(CALM)
        after = server.memory()
        for sock in socks:
            sock.close()
    return before, (after - before) / COUNT


def idle():
    (found, missing) = commands()
    runs = turns('memory', ROUNDS, {
        name: lambda command=command: measure(command)
        for (name, command) in found.items()})
    kib = {name: median(column(run, 1)) for (name, run) in runs.items()}
    table = {'title': 'Memory, with {} idle connections'.format(COUNT),
             'head': ['server', 'MiB without', 'KiB a connection'],
             'rows': [[name, '{:.1f}'.format(median(column(run, 0)) / 1024),
                       '{:.1f}'.format(kib[name])]
                      for (name, run) in runs.items()] +
             [[name, 'missing: ' + why, ''] for (name, why) in missing.items()]}
    rows = []
    for (label, name, target) in (('Python', OURS, TARGET_KIB),
                                  ('C', OURS_IN_C, None)):
        rows.append(Row('idle connection, {} server'.format(label),
                        '{:.1f} KiB'.format(kib[name]),
                        ', '.join('{} {:.1f} KiB'.format(peer, kib[peer])
                                  for peer in ('nginx', 'aiohttp')
                                  if peer in kib),
                        kib[name], target, True, 'KiB'))
    return rows, {'kib': kib, 'tables': [table]}
