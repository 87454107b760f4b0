# SPDX-License-Identifier: MIT OR 0BSD
"""What is left behind, by much work and by exchanges that fail; and what one
has to do with another."""

import contextlib
import ctypes
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from faults import case
from floods import HELLO, all_threads
from subjects import (
    GET,
    Client,
    Peer,
    Server,
    read_answer,
    read_head,
    reset,
    until,
)

KIB = 1024
ROOM = {'timeout': 15000, 'max_connections': 64}
MOST = 200 * KIB
RESETS = 300
PUT = b'PUT /count HTTP/1.1\r\n'
LENGTH = b'content-length: 1000\r\n\r\n'
CHUNKED = b'transfer-encoding: chunked\r\n\r\n'
OK = b'HTTP/1.1 200 OK\r\n'


# ---- Much work ----

def many(subject, client, count):
    """Bytes that so many requests cost, behind a few."""
    assert client.ask('GET /hello 0', 5000)[0] == 200
    before = subject.memory()
    assert client.ask('GET /hello 0', count)[0] == 200
    size = subject.memory() - before
    return (size <= MOST, f'{size // KIB} KiB')


def many_served(kind, count):
    with Server(kind, **ROOM) as server, \
            Client('c', server.address) as client:
        return many(server, client, count)


def many_asked(kind, count):
    with Server('c', **ROOM) as server, \
            Client(kind, server.address) as client:
        return many(client, client, count)


@case('at most 200 KiB', 'server')
def million_requests(kind):
    """What a million requests leave in the server."""
    return many_served(kind, 1000000)


@case('at most 200 KiB', 'client')
def million_requests_made(kind):
    """What a million requests leave in the client."""
    return many_asked(kind, 1000000)


@case('at most 200 KiB', 'server', quick=True)
def some_requests(kind):
    """The same after 30,000."""
    return many_served(kind, 30000)


@case('at most 200 KiB', 'client', quick=True)
def some_requests_made(kind):
    """The same after 30,000."""
    return many_asked(kind, 30000)


# ---- Exchanges that fail ----

# What a peer sends before it leaves, and whether it waits for an answer.
BAD_REQUESTS = {
    'nothing': (b'', False),
    'half a head': (b'GET /hello HT', False),
    'no head': (b'\0\1\2\3\r\n\r\n', True),
    'bad field': (b'GET / HTTP/1.1\r\nbad field\r\n\r\n', True),
    'endless head': (b'GET / HTTP/1.1\r\na: ' + b'x' * 70000, True),
    'half a body': (PUT + LENGTH + b'x' * 500, False),
    'half a chunk': (PUT + CHUNKED + b'10\r\nxxxx', False),
    'half a line': (PUT + CHUNKED + b'1', False),
    'bad chunk': (PUT + CHUNKED + b'x\r\n', True),
    'bad trailer': (PUT + CHUNKED + b'0\r\nx', False),
    'two lengths': (PUT + b'content-length: 1\r\n' + CHUNKED, True),
    'unread body': (b'PUT /hello HTTP/1.1\r\n' + LENGTH, True),
    'unread answer': (GET % b'/bytes/10000000', False),
    'unread chunks': (GET % b'/chunks/100000', False),
    'failing app': (GET % b'/fail', True),
}


def fail_at(server, data, waits, resets):
    with server.connect() as sock:
        # It may be cut before it has been heard.
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            if waits:
                sock.recv(1)
        if resets:
            reset(sock)


def surplus(subject, before):
    """(descriptors, threads, bytes) more than before."""
    until(lambda: subject.descriptors() <= before[0], 3)
    return [now - then for (now, then) in zip(figures(subject), before)]


def figures(subject):
    return (subject.settled(), subject.threads(), subject.memory())


def worst(found):
    """Of [(descriptors, threads, bytes)] by name."""
    (name, size) = max(((name, left[2]) for (name, left) in found.items()),
                       key=lambda item: item[1])
    holes = [name for (name, left) in found.items()
             if left[0] > 0 or left[1] > 0]
    if holes:
        return (False, '{}: {}'.format(holes[0], found[holes[0]]))
    return (size <= MOST, f'{size // KIB} KiB, {name}')


def bad_requests(kind, count):
    with Server(kind, timeout=15000, max_connections=16) as server:
        all_threads(server, 16)
        found = {}
        for (name, (data, waits)) in BAD_REQUESTS.items():
            for i in range(count + 500):
                if i == 500:
                    assert server.is_well()
                    before = figures(server)
                fail_at(server, data, waits, resets=i % 2)
            assert server.is_well()
            found[name] = surplus(server, before)
    return worst(found)


@case('200 KiB, nothing else', 'server')
def bad_requests_6000(kind):
    """What 6,000 of each exchange that a client spoils leave."""
    return bad_requests(kind, 6000)


@case('200 KiB, nothing else', 'server', quick=True)
def bad_requests_200(kind):
    """The same after 200 of each."""
    return bad_requests(kind, 200)


BAD_ANSWERS = {
    'nothing': b'',
    'half a head': OK,
    'no head': b'\0\1\2\3\r\n\r\n',
    'bad field': OK + b'bad field\r\n\r\n',
    'endless head': OK + b'a: ' + b'x' * 70000,
    'half a body': OK + LENGTH + b'x' * 500,
    'half a chunk': OK + CHUNKED + b'10\r\nxxxx',
    'half a line': OK + CHUNKED + b'1',
    'bad chunk': OK + CHUNKED + b'x\r\n',
    'bad trailer': OK + CHUNKED + b'0\r\nx',
    'two lengths': OK + b'content-length: 1\r\n' + CHUNKED,
}


def bad_answers(kind, count):
    answer = [b'']
    number = itertools.count()

    def play(sock):
        read_head(sock)
        sock.sendall(answer[0])
        if next(number) % 2:
            reset(sock)

    found = {}
    with Peer(play) as peer, Client(kind, peer.address) as client:
        for (name, data) in BAD_ANSWERS.items():
            answer[0] = data
            assert client.ask('GET / 0', 500)[0] == 'error'
            before = figures(client)
            assert client.ask('GET / 0', count)[0] == 'error'
            found[name] = surplus(client, before)
    return worst(found)


@case('200 KiB, nothing else', 'client')
def bad_answers_6000(kind):
    """What 6,000 of each exchange that a server spoils leave."""
    return bad_answers(kind, 6000)


@case('200 KiB, nothing else', 'client', quick=True)
def bad_answers_200(kind):
    """The same after 200 of each."""
    return bad_answers(kind, 200)


# ---- Resets, and the death of the other end ----

STAGES = {
    'accepted': b'',
    'in a head': b'GET /hello HT',
    'in a body': PUT + LENGTH + b'x' * 500,
    'in a chunk': PUT + CHUNKED + b'10\r\nxxxx',
    'in the app': GET % b'/sleep/5',
    'in the answer': GET % b'/bytes/10000000',
}


@case('no other notices', 'server', quick=True)
def resets(kind):
    """300 at each of six stages, while another connection asks on."""
    with Server(kind, max_requests=100000, **ROOM) as server, \
            server.connect() as other:
        served = 0
        other.sendall(GET % b'/hello')
        assert read_answer(other) == HELLO
        before = figures(server)
        for data in STAGES.values():
            for _ in range(RESETS):
                fail_at(server, data, waits=False, resets=True)
                other.sendall(GET % b'/hello')
                served += read_answer(other) == HELLO
        left = surplus(server, before)
    return (served == RESETS * len(STAGES) and left[0] <= 0,
            f'{served} served, {left[0]} left')


@case('each an error', 'client', quick=True)
def resets_by_server(kind):
    """300 at each of six stages; the next request is answered."""
    stages = [None, b'', b'HTTP/1.1 20', OK + LENGTH + b'x',
              OK + CHUNKED + b'10\r\nx', OK + CHUNKED + b'10\r\n']
    now = [None]

    def play(sock):
        if now[0] == 'well':
            read_head(sock)
            sock.sendall(OK + b'content-length: 2\r\n\r\nok')
            return
        if now[0] is not None:
            read_head(sock)
            sock.sendall(now[0])
        reset(sock)

    found = 0
    with Peer(play) as peer, Client(kind, peer.address) as client:
        for stage in stages:
            for _ in range(RESETS):
                now[0] = stage
                (status, seconds, _) = client.ask('GET / 0')
                found += status == 'error' and seconds < 1
            now[0] = 'well'
            assert client.ask('GET / 0')[0] == 200
    return (found == RESETS * len(stages), f'{found} errors')


VICTIM = '''
import socket, sys, time
sys.path.insert(0, {here!r})
from subjects import *
def play(sock):
    if {answers}:
        read_head(sock)
    sock.sendall({data!r})
    print('now', flush=True)
    time.sleep(600)
if {answers}:
    peer = Peer(play)
    print(peer.address, flush=True)
    time.sleep(600)
play(connect(sys.argv[1]))
'''


@contextlib.contextmanager
def victim(data, *arguments):
    """A process that is in the middle of something, to be killed."""
    text = VICTIM.format(here=os.path.dirname(os.path.abspath(__file__)),
                         data=data, answers=not arguments)
    process = subprocess.Popen([sys.executable, '-c', text, *arguments],
                               stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@case('gone within 1 s', 'server', quick=True)
def killed_clients(kind):
    """kill -9 of a client in a head, a body and a chunk."""
    worst_of_all = 0
    with Server(kind, **ROOM) as server:
        assert server.is_well()
        before = server.settled()
        for name in ('in a head', 'in a body', 'in a chunk'):
            with victim(STAGES[name], server.address) as process:
                assert process.stdout.readline() == 'now\n'
                assert until(lambda: server.descriptors() > before)
                process.kill()
                begin = time.monotonic()
                assert until(lambda: server.descriptors() <= before)
                worst_of_all = max(worst_of_all, time.monotonic() - begin)
            assert server.is_well()
    return (worst_of_all < 1, f'{worst_of_all:.2f} s')


@case('an error within 1 s', 'client', quick=True)
def killed_servers(kind):
    """kill -9 of a server in a head, a body and a chunk."""
    worst_of_all = 0
    for name in ('half a head', 'half a body', 'half a chunk'):
        with victim(BAD_ANSWERS[name]) as process, \
                Client(kind, process.stdout.readline().strip()) as client:
            client.tell('GET / 0')
            assert process.stdout.readline() == 'now\n'
            process.kill()
            begin = time.monotonic()
            assert client.hear()[0] == 'error'
            worst_of_all = max(worst_of_all, time.monotonic() - begin)
    return (worst_of_all < 1, f'{worst_of_all:.2f} s')


# ---- Signals ----

@contextlib.contextmanager
def interruptions(process):
    """A signal to each of its threads in every millisecond."""
    libc = ctypes.CDLL(None)
    enough = threading.Event()
    sent = []

    def interrupt():
        while not enough.wait(0.001):
            with contextlib.suppress(FileNotFoundError):
                for thread in os.listdir(f'/proc/{process.pid}/task'):
                    libc.tgkill(process.pid, int(thread), signal.SIGUSR1)
                    sent.append(None)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        yield sent
    finally:
        enough.set()
        thread.join()


WORK = (('GET /hello 0', 200, '12'), ('GET /bytes/5000000 0', 20, '5000000'),
        ('PUT /count 5000000', 20, '7'), ('GET /chunks/3000 0', 20, '3000'),
        ('POST /echo 1000000', 20, '1000000'), ('GET /sleep/50 0', 10, '12'))


def all_interrupted(subject, client):
    assert client.ask('GET /hello 0')[0] == 200
    with interruptions(subject) as sent:
        for (request, times, length) in WORK:
            for _ in range(times):
                (status, _, found) = client.ask(request)
                if (status, found) != (200, length):
                    return (False, f'{request}: {status} {found}')
        alive = subject.process.poll() is None
        return (alive and len(sent) > 200, f'{len(sent)} signals')


@case('all answered', 'server', quick=True)
def interrupted_server(kind):
    """EINTR in each millisecond and thread, in all kinds of exchanges."""
    with Server(kind, signals=1, **ROOM) as server, \
            Client('c', server.address) as client:
        return all_interrupted(server, client)


@case('all answered', 'client', quick=True)
def interrupted_client(kind):
    """The same in a client."""
    with Server('c', **ROOM) as server, \
            Client(kind, server.address, signals=1) as client:
        return all_interrupted(client, client)


@case('stays alive', 'server', quick=True)
def broken_pipe(kind):
    """SIGPIPE at its default, and 300 that leave in the middle of an
    answer."""
    with Server(kind, signals=1, **ROOM) as server:
        for target in (b'/bytes/10000000', b'/chunks/1000000',
                       b'/memory/10000000'):
            for i in range(100):
                with server.connect() as sock:
                    sock.sendall(GET % target)
                    sock.recv(100)
                    if i % 2:
                        reset(sock)
        return (server.is_well() and server.process.poll() is None,
                'alive')


@case('stays alive', 'client', quick=True)
def broken_pipe_of_client(kind):
    """SIGPIPE at its default, and 300 servers that have said that they send
    nothing, and leave, in the middle of a request."""
    def play(sock):
        read_head(sock)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(1)
        reset(sock)

    with Peer(play) as peer, \
            Client(kind, peer.address, signals=1) as client:
        assert client.ask('PUT / 10000000', 300)[0] == 'error'
        return (client.process.poll() is None, 'alive')


# ---- Other processes ----

@case('no socket', 'server', quick=True)
def inherited(kind):
    """What a program that a handler starts finds open."""
    with Server(kind, **ROOM) as server, server.connect():
        (status, body) = server.ask(b'/run')
        files = body.decode().split()
        ours = [file for file in files
                if file.startswith(('socket:', 'anon_inode:'))]
        return (status == 200 and files and not ours,
                f'{len(ours)} of {len(files)}')


@case('no other notices', 'server', quick=True)
def forked(kind):
    """A handler forks, and the copy of the process stays for 3 s: others are
    served, and find their connections ended as without it."""
    with Server(kind, **dict(ROOM, timeout=1000)) as server, \
            server.connect() as idle, server.connect() as last, \
            server.connect() as half:
        idle.sendall(GET % b'/hello')
        last.sendall(GET % b'/hello')
        assert read_answer(idle) == read_answer(last) == HELLO
        half.sendall(b'GET /hel')
        assert server.ask(b'/fork') == HELLO
        begin = time.monotonic()
        last.sendall(b'GET /hello HTTP/1.1\r\nconnection: close\r\n\r\n')
        assert read_answer(last) == HELLO
        assert last.recv(1) == b''
        assert time.monotonic() - begin < 0.5, 'a last answer'
        assert server.is_well()
        assert half.recv(1000).startswith(b'HTTP/1.1 408')
        assert half.recv(1) == b''
        assert time.monotonic() - begin < 2, 'half a head'
        assert idle.recv(1) == b''
        seconds = time.monotonic() - begin
        return (seconds < 2, f'{seconds:.2f} s')
