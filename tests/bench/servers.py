# SPDX-License-Identifier: MIT OR 0BSD
"""What an answer costs a server: GET of 12 bytes over connections that stay,
asked for by wrk.

What is compared is the server's CPU time for an answer; how many it gives in a
second depends on wrk as well.  With one connection both are on one core, as a
wake-up across cores costs more than all the rest; with more, wrk has a core of
its own.
"""

import os
import re
import shutil
import subprocess
import sys

from contest import (
    BUILD,
    CORES,
    Missing,
    Row,
    Served,
    build,
    column,
    median,
    pinned,
    ratio,
    script,
    turns,
)

import peers

ROUNDS = 3
CONNECTIONS = (1, 8, 25)
OURS = 'degu, Python'
OURS_IN_C = 'degu, C'
NGINX = 'nginx'
TARGETS = {1: 0.87, 8: 1.09, 25: 1.0}  # of nginx's CPU time
NGINX_CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
worker_processes 1;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 60;
    client_body_temp_path {folder}/nginx.body;
    proxy_temp_path {folder}/nginx.proxy;
    fastcgi_temp_path {folder}/nginx.fastcgi;
    uwsgi_temp_path {folder}/nginx.uwsgi;
    scgi_temp_path {folder}/nginx.scgi;
    server {{
        listen 127.0.0.1:{port};
        default_type text/plain;
        location / {{ return 200 'hello, world'; }}
    }}
}}
"""


def app(name, modules=(), find_python=None):
    """A server of apps.py, which needs these modules, or this Python."""
    def make():
        for module in modules:
            peers.need_module(module)
        python = find_python() if find_python else sys.executable
        return lambda port: script('apps.py', name, str(port), python=python)
    return make


def program(name, libraries=(), header=None):
    def make():
        if header and not os.path.exists(header):
            raise Missing('there is no ' + header)
        path = build(name, (name + '.c',), libraries=libraries)
        return lambda port: [path, str(port)]
    return make


def nginx():
    program = shutil.which('nginx') or shutil.which('nginx', path='/usr/sbin')
    if not program:
        raise Missing('nginx is not installed')

    def command(port):
        config = os.path.join(BUILD, 'nginx.conf')
        with open(config, 'w') as file:
            file.write(NGINX_CONFIG.format(folder=BUILD, port=port))
        return [program, '-c', config]
    return command


SERVERS = {
    OURS: app('degu'),
    NGINX: nginx,
    OURS_IN_C: program('hello'),
    'libmicrohttpd': program('mhd', ('-lmicrohttpd',),
                             '/usr/include/microhttpd.h'),
    'granian': app('granian', find_python=peers.granian),
    'uvicorn, httptools, uvloop': app('uvicorn', ['uvicorn', 'httptools',
                                                  'uvloop']),
    'uvicorn, httptools, asyncio': app('uvicorn-asyncio', ['uvicorn',
                                                           'httptools']),
    'aiohttp': app('aiohttp', ['aiohttp']),
    'gunicorn, gthread': app('gunicorn', ['gunicorn']),
    'http.server': app('http.server'),
}


def commands():
    """({name: command}, {name: why there is none})"""
    (found, missing) = ({}, {})
    for (name, make) in SERVERS.items():
        try:
            found[name] = make()
        except Missing as why:
            missing[name] = str(why)
    return found, missing


def load(port, connections, core):
    """(answers, answers a second)"""
    out = subprocess.run(
        pinned(core, 'wrk', '-t1', '-c', str(connections), '-d1s',
               '--timeout', '5s', 'http://127.0.0.1:{}/'.format(port)),
        check=True, text=True, stdout=subprocess.PIPE).stdout
    count = int(re.search(r'(\d+) requests in', out)[1])
    bad = re.search(r'Non-2xx.*|Socket errors.*', out)
    if bad or not count:
        raise SystemExit('wrk: ' + out)
    return count, float(re.search(r'Requests/sec: +([\d.]+)', out)[1])


def measure(command):
    """[(CPU us an answer, answers a second)], by connections."""
    found = []
    with Served(command, CORES[-1]) as server:
        for connections in CONNECTIONS:
            before = server.cpu()
            (count, rate) = load(server.port, connections,
                                 CORES[-1] if connections == 1 else CORES[0])
            found.append(((server.cpu() - before) / count * 1e6, rate))
    return found


def answers():
    if not shutil.which('wrk'):
        return [Row(name_of('Python server', n), target=target, at_most=True,
                    missing='wrk is not installed')
                for (n, target) in TARGETS.items()], {}
    (found, missing) = commands()
    runs = turns('servers', ROUNDS, {
        name: lambda command=command: measure(command)
        for (name, command) in found.items()})
    rows = [compare(OURS, 'Python server', runs, missing, n, TARGETS)
            for n in CONNECTIONS]
    rows += [compare(OURS_IN_C, 'C server', runs, missing, n, {})
             for n in CONNECTIONS]
    us = {name: [median(column(column(run, index), 0))
                 for index in range(len(CONNECTIONS))]
          for (name, run) in runs.items()}
    rates = {name: [median(column(column(run, index), 1))
                    for index in range(len(CONNECTIONS))]
             for (name, run) in runs.items()}
    return rows, {'us': us, 'rates': rates, 'missing': missing,
                  'tables': [peers_table(us, rates, missing)]}


def name_of(label, connections):
    return '{}, CPU an answer, {} connection{}'.format(
        label, connections, 's' if connections > 1 else '')


def compare(ours, label, runs, missing, connections, targets):
    what = name_of(label, connections)
    index = CONNECTIONS.index(connections)
    target = targets.get(connections)
    if NGINX in missing:
        return Row(what, target=target, at_most=True, missing=missing[NGINX])
    (mine, theirs) = (column(column(runs[name], index), 0)
                      for name in (ours, NGINX))
    return Row(what, '{:.1f} us'.format(median(mine)),
               'nginx {:.1f} us'.format(median(theirs)),
               ratio(mine, theirs), target, True)


def peers_table(us, rates, missing):
    head = ['server']
    for n in CONNECTIONS:
        head += ['{}: CPU us'.format(n), '{}: answers/s'.format(n)]
    rows = []
    for name in SERVERS:
        if name in missing:
            rows.append([name, 'missing: ' + missing[name]] +
                        [''] * (len(head) - 2))
            continue
        row = [name]
        for (cost, rate) in zip(us[name], rates[name]):
            row += ['{:.1f}'.format(cost), '{:,.0f}'.format(rate)]
        rows.append(row)
    return {'title': 'Servers, by number of connections', 'head': head,
            'rows': rows}
