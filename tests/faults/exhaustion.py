# SPDX-License-Identifier: MIT OR 0BSD
"""Out of descriptors, threads and memory; and what one peer may cost."""

import contextlib
import resource
import socket
import time

from faults import case
from floods import HELLO, all_threads, crowd
from subjects import (
    GET,
    PATIENCE,
    Client,
    Peer,
    Server,
    read_answer,
    read_head,
    read_to_end,
    until,
)

MIB = 1 << 20
STACK = 64 * MIB
ROOM = {'timeout': 15000, 'max_connections': 64}
LOAD = 2  # percent of a processor that is no busy loop


@contextlib.contextmanager
def limit(server, what, amount):
    """A limit for the process as it runs."""
    (soft, hard) = resource.prlimit(server.pid, what)
    resource.prlimit(server.pid, what, (amount, hard))
    try:
        yield
    finally:
        resource.prlimit(server.pid, what, (soft, hard))


def recovery(server, target=b'/hello'):
    """Seconds until it serves again."""
    begin = time.monotonic()
    while time.monotonic() - begin < PATIENCE:
        with contextlib.suppress(OSError):
            if server.ask(target, timeout=5)[0] == 200:
                break
    return time.monotonic() - begin


def verdict(server, seconds, load=0):
    """It holds if the server lives, was back in time and did not spin."""
    alive = server.process.poll() is None
    return (alive and seconds < 1 and load < LOAD,
            f'{seconds:.2f} s, {load:.1f} %' if alive else 'died')


@case('back within 1 s, CPU under 2 %', 'server', quick=True)
def descriptors_left_by_peers(kind):
    """60 connections, which hold all descriptors and then leave."""
    with Server(kind, **ROOM) as server:
        assert server.is_well()
        few = server.settled() + 10
        with limit(server, resource.RLIMIT_NOFILE, few):
            with crowd(server, 60) as socks:
                assert until(lambda: server.descriptors() == few)
                load = server.load()
                # Who is in already does not notice.
                socks[0].sendall(GET % b'/hello')
                assert read_answer(socks[0]) == HELLO
            seconds = recovery(server)
        return verdict(server, seconds, load)


@case('back within 1 s, CPU under 2 %', 'server', quick=True)
def descriptors_given_back(kind):
    """No descriptor at all is free, until the limit is lifted."""
    with Server(kind, **ROOM) as server:
        assert server.is_well()
        server.settled()
        with limit(server, resource.RLIMIT_NOFILE, 1):
            with crowd(server, 20):
                load = server.load()
        return verdict(server, recovery(server), load)


def large_stacks():
    """No thread more is what fails first when address space is short."""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (STACK, hard))


@contextlib.contextmanager
def no_thread_more(server):
    """RLIMIT_NPROC does not bind root, and counts what else the user runs: so
    a new thread finds no room for its stack, and all else does."""
    with limit(server, resource.RLIMIT_AS,
               server.address_space() + STACK // 2):
        yield


@case('back within 1 s, CPU under 2 %', 'server', quick=True)
def threads(kind):
    """No thread more can be had, while 8 requests take 0.3 s each: they are
    answered one by one, and side by side afterwards."""
    with Server(kind, limits=large_stacks, **ROOM) as server:
        assert server.is_well()
        with no_thread_more(server):
            before = server.threads()
            with crowd(server, 8, GET % b'/sleep/300') as socks:
                spent = server.cpu()
                begin = time.monotonic()
                answers = [read_answer(sock) for sock in socks]
                load = (server.cpu() - spent) / (time.monotonic() - begin)
            assert answers == [HELLO] * 8, answers
            assert server.threads() == before
        with crowd(server, 8, GET % b'/sleep/300') as socks:
            begin = time.monotonic()
            assert [read_answer(sock) for sock in socks] == [HELLO] * 8
            seconds = time.monotonic() - begin
        return verdict(server, seconds, load * 100)


@case('back within 1 s, CPU under 2 %', 'server', quick=True)
def threads_all_inside(kind):
    """Every thread there is, is in a handler for 5 s when threads can be had
    again."""
    with Server(kind, limits=large_stacks, **ROOM) as server:
        assert server.is_well()
        with no_thread_more(server):
            count = server.threads()
            with crowd(server, count, GET % b'/sleep/5000') as socks:
                load = server.load(1)
                assert server.threads() == count
                seconds = recovery_after(server)
                for sock in socks:
                    assert read_answer(sock) == HELLO
        return verdict(server, seconds, load)


def recovery_after(server):
    """The same behind the end of the limit that holds now."""
    hard = resource.prlimit(server.pid, resource.RLIMIT_AS)[1]
    resource.prlimit(server.pid, resource.RLIMIT_AS, (hard, hard))
    return recovery(server)


@case('back within 1 s', 'server', quick=True)
def memory_of_an_app(kind):
    """64 MiB for an answer cannot be had: that fails alone."""
    with Server(kind, **ROOM) as server:
        assert server.is_well()
        with limit(server, resource.RLIMIT_AS,
                   server.address_space() + 32 * MIB):
            for _ in range(20):
                (status, _) = server.ask(b'/memory/67108864')
                assert status in (0, 500), status
                assert server.is_well()
        (status, body) = server.ask(b'/memory/67108864')
        assert (status, len(body)) == (200, 67108864)
        return verdict(server, recovery(server))


@case('back within 1 s, CPU under 2 %', 'server', quick=True)
def memory(kind):
    """Not a page more can be had, while all kinds of requests come.

    The threads are there before: in CPython start() waits for ever for one
    that finds no memory for its first steps."""
    with Server(kind, timeout=15000, max_connections=32) as server:
        all_threads(server, 32)
        with limit(server, resource.RLIMIT_AS, 4096):
            harass(server)
            load = server.load()
        seconds = recovery(server)
        begin = time.monotonic()
        all_threads(server, 32)
        return verdict(server, max(seconds, time.monotonic() - begin), load)


def harass(server):
    """Requests of which nobody knows how they end."""
    field = b'x-%d: ' + b'y' * 1000 + b'\r\n'
    large = b''.join(field % i for i in range(15))
    chunk = b'8000\r\n' + bytes(32768) + b'\r\n0\r\n\r\n'
    kinds = (
        GET % b'/hello',
        b'GET /hello HTTP/1.1\r\n' + large + b'\r\n',
        GET % b'/memory/1000000',
        GET % b'/bytes/1000000',
        GET % b'/chunks/1000',
        GET % b'/sleep/1',
        b'PUT /read HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n' +
        bytes(1000000),
        b'PUT /read HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n' + chunk,
        b'POST /echo HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n' + chunk,
    )
    for _ in range(20):
        with contextlib.ExitStack() as stack:
            socks = []
            for request in kinds * 2:
                sock = stack.enter_context(server.connect(timeout=2))
                socks.append(sock)
                with contextlib.suppress(OSError):
                    sock.sendall(request)
                    sock.shutdown(socket.SHUT_WR)
            for sock in socks:
                with contextlib.suppress(OSError):
                    read_to_end(sock)


@case('under 100 KiB each', 'server', quick=True)
def claims(kind):
    """40 peers that claim 16 MiB, and send nothing of them."""
    head = b'PUT /read HTTP/1.1\r\ncontent-length: 16777216\r\n\r\n'
    return cost_of_40(kind, head)


@case('under 100 KiB each', 'server', quick=True)
def claims_of_chunks(kind):
    """The same with a chunk of 16 MiB."""
    head = (b'PUT /read HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n'
            b'1000000\r\n')
    return cost_of_40(kind, head)


def cost_of_40(kind, head):
    with Server(kind, **dict(ROOM, timeout=60000)) as server:
        assert server.is_well()
        before = server.memory()
        with crowd(server, 40, head):
            # Each is in a thread of its own: the app waits for it.
            assert until(lambda: server.threads() > 40)
            time.sleep(0.2)
            each = (server.memory() - before) / 40 / 1024
            assert server.is_well()
    return (each < 100, f'{each:.0f} KiB')


MILLION = 1000000
CHUNKED = b'transfer-encoding: chunked\r\n\r\n'


def send_chunks(sock, count):
    for _ in range(count // 1000):
        sock.sendall(b'1\r\nx\r\n' * 1000)
    sock.sendall(b'0\r\n\r\n')


def growth_of_server(kind, target):
    """Bytes that it takes at most while the chunks come."""
    with Server(kind, **ROOM) as server:
        for count in (2000, MILLION):
            before = server.memory()
            server.forget_peak()
            with server.connect() as sock:
                sock.sendall(b'PUT %s HTTP/1.1\r\n' % target + CHUNKED)
                send_chunks(sock, count)
                assert read_answer(sock) == (200, b'%d' % count)
        return server.peak() - before


def growth_of_client(kind, **options):
    def play(sock):
        for count in (2000, MILLION):
            read_head(sock)
            sock.sendall(b'HTTP/1.1 200 OK\r\n' + CHUNKED)
            send_chunks(sock, count)

    with Peer(play) as peer, Client(kind, peer.address, **options) as client:
        for count in (2000, MILLION):
            before = client.memory()
            client.forget_peak()
            (status, _, length) = client.ask('GET / 0')
            assert (status, length) == (200, str(count)), (status, length)
        return client.peak() - before


def growth(size, bar):
    return (size <= bar, f'{size / 1024:.0f} KiB')


@case('at most 200 KiB', 'server', quick=True)
def million_chunks(kind):
    """A million chunks of a byte, one after another."""
    return growth(growth_of_server(kind, b'/count'), 200 * 1024)


@case('at most 200 KiB', 'client', quick=True)
def million_chunks_back(kind):
    """The same in an answer."""
    return growth(growth_of_client(kind), 200 * 1024)


@case('at most 8 MiB', 'python server', quick=True)
def million_chunks_whole(kind):
    """The same, by read()."""
    return growth(growth_of_server(kind, b'/read'), 8 * MIB)


@case('at most 8 MiB', 'python client', quick=True)
def million_chunks_back_whole(kind):
    """The same in an answer, by read()."""
    return growth(growth_of_client(kind, read=1), 8 * MIB)
