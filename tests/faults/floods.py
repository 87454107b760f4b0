# SPDX-License-Identifier: MIT OR 0BSD
"""Many at once, and more than there are places."""

import contextlib
import os
import signal
import socket
import time

from faults import case
from subjects import GET, Server, read_answer, reset, until

HELLO = (200, b'hello, world')
BURST = 40
ROOM = {'timeout': 5000, 'max_connections': 64}
FULL = {'timeout': 15000, 'max_connections': 4}


@contextlib.contextmanager
def crowd(server, count, data=b''):
    """So many connections, each of which has sent this."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(server.connect()) for _ in range(count)]
        for sock in socks:
            sock.sendall(data)
        yield socks


def all_threads(server, count):
    """Makes it have all the threads that it may ever need."""
    with crowd(server, count, GET % b'/sleep/200') as socks:
        assert [read_answer(sock) for sock in socks] == [HELLO] * count


def burst(server, finish):
    """(how many of a burst are served, seconds until the last was)"""
    begin = time.monotonic()
    with crowd(server, BURST, GET % b'/hello') as socks:
        for sock in socks if finish else ():
            sock.shutdown(socket.SHUT_WR)
        served = sum(read_answer(sock) == HELLO for sock in socks)
    return (served, time.monotonic() - begin)


def worst_burst(kind, finish):
    with Server(kind, **ROOM) as server:
        found = [burst(server, finish) for _ in range(20)]
    served = min(one[0] for one in found)
    seconds = max(one[1] for one in found)
    return (served == BURST and seconds < 0.3, f'{served}, {seconds:.3f} s')


@case('40 served within 0.3 s', 'server', quick=True)
def connections(kind):
    """40 connections at once; the worst of 20 such bursts."""
    return worst_burst(kind, finish=False)


@case('40 served within 0.3 s', 'server', quick=True)
def half_closing(kind):
    """The same with clients that say at once that it was their last word."""
    return worst_burst(kind, finish=True)


@contextlib.contextmanager
def asleep(server):
    """The server does nothing, so that all comes at the same time."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@case('100 served within 0.3 s', 'server', quick=True)
def backlog(kind):
    """100 that came while the server could accept nobody, each with its
    request and its end."""
    with Server(kind, timeout=5000, max_connections=128) as server:
        with contextlib.ExitStack() as stack:
            with asleep(server):
                socks = stack.enter_context(
                    crowd(server, 100, GET % b'/hello'))
                for sock in socks:
                    sock.shutdown(socket.SHUT_WR)
            begin = time.monotonic()
            served = sum(read_answer(sock) == HELLO for sock in socks)
            seconds = time.monotonic() - begin
    return (served == 100 and seconds < 0.3, f'{served}, {seconds:.3f} s')


@contextlib.contextmanager
def full(kind):
    """A server all of whose places are taken, and who has taken them."""
    with Server(kind, **FULL) as server, \
            crowd(server, FULL['max_connections'], GET % b'/hello') as socks:
        for sock in socks:
            assert read_answer(sock) == HELLO
        yield (server, socks)


@case('500/s', 'server', quick=True)
def refusals(kind):
    """Connections over max_connections, one after another: each a 503."""
    with full(kind) as (server, _):
        count = 1000
        begin = time.monotonic()
        refused = sum(server.ask()[0] == 503 for _ in range(count))
        rate = count / (time.monotonic() - begin)
    return (refused == count and rate >= 500,
            f'{rate:.0f}/s' if refused == count else f'{refused} of {count}')


@case('100 times 503', 'server', quick=True)
def refused_at_once(kind):
    """100 over max_connections at the same time, each with its request: all
    are told, and none is reset, which may cost the answer elsewhere."""
    with full(kind) as (server, _), contextlib.ExitStack() as stack:
        with asleep(server):
            socks = stack.enter_context(crowd(server, 100, GET % b'/hello'))
        refused = sum(read_answer(sock)[0] == 503 and ends_well(sock)
                      for sock in socks)
    return (refused == 100, f'{refused}')


def ends_well(sock):
    try:
        return sock.recv(1) == b''
    except ConnectionError:
        return False


@case('CPU under 1 %', 'server', quick=True)
def full_and_quiet(kind):
    """All places are taken, and 100 more have been refused and do not leave:
    the CPU time of three seconds."""
    with full(kind) as (server, _), crowd(server, 100) as socks:
        for sock in socks:
            assert read_answer(sock)[0] == 503
        share = server.load()
    return (share < 1, f'{share:.1f} %')


@case('CPU under 1 %', 'server', quick=True)
def full_and_unread(kind):
    """All places are taken by peers that have sent half a head: the CPU time
    of three seconds."""
    with Server(kind, **FULL) as server, \
            crowd(server, FULL['max_connections'], b'GET / HTTP/1.1\r\n'):
        assert until(lambda: server.ask()[0] == 503)
        share = server.load()
    return (share < 1, f'{share:.1f} %')


@case('served within 0.1 s', 'server', quick=True)
def freed_place(kind):
    """One of those who have all places leaves, and the next comes, in the same
    moment; the worst of 100 times."""
    worst = 0
    with full(kind) as (server, socks):
        for i in range(100):
            socks[i % len(socks)].close()
            begin = time.monotonic()
            socks[i % len(socks)] = sock = until_let_in(server)
            worst = max(worst, time.monotonic() - begin)
            sock.settimeout(5)
        for sock in socks:
            sock.close()
    return (worst < 0.1, f'{worst:.3f} s')


def until_let_in(server):
    """A connection that has been served."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        sock = server.connect()
        sock.sendall(GET % b'/hello')
        if read_answer(sock) == HELLO:
            return sock
        sock.close()
    raise RuntimeError('never let in')


@case('served within 0.1 s', 'server', quick=True)
def place_after_last_answer(kind):
    """The same when it is the server that ends a connection."""
    worst = 0
    with full(kind) as (server, socks):
        for i in range(100):
            old = socks[i % len(socks)]
            old.sendall(b'GET /hello HTTP/1.1\r\nconnection: close\r\n\r\n')
            assert read_answer(old) == HELLO
            begin = time.monotonic()
            socks[i % len(socks)] = until_let_in(server)
            worst = max(worst, time.monotonic() - begin)
            old.close()
        for sock in socks:
            sock.close()
    return (worst < 0.1, f'{worst:.3f} s')


@case('no descriptor left', 'server', quick=True)
def gone_before_accepted(kind):
    """1,000 that have left, or reset, before they are accepted."""
    with Server(kind, **ROOM) as server:
        assert server.is_well()
        before = server.settled()
        for resets in (False, True) * 5:
            with asleep(server):
                leave(server, 100, resets)
            assert server.is_well()
        until(lambda: server.descriptors() <= before)
        left = server.descriptors() - before
    return (left <= 0, f'{left} left')


def leave(server, count, resets):
    for _ in range(count):
        with server.connect() as sock:
            sock.sendall(GET % b'/hello')
            if resets:
                reset(sock)
