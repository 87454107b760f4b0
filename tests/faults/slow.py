# SPDX-License-Identifier: MIT OR 0BSD
"""Who is slow: dripping, silent, or honest."""

import contextlib
import socket
import threading
import time

from faults import case
from subjects import (
    GET,
    Peer,
    Server,
    drip,
    read_answer,
    read_head,
    run_client,
)

HEAD = b'GET /hello HTTP/1.1\r\nuser-agent: ' + b'x' * 400
CUT = 2.0  # seconds, with timeout=1


@case('cut within 2 s', 'server', quick=True)
def head_drips(kind):
    """A byte of the head each 0.4 s against timeout=1."""
    with Server(kind, timeout=1000) as server, server.connect() as sock:
        seconds = drip(sock, HEAD)
        return (seconds < CUT and server.is_well(), f'{seconds:.2f} s')


@case('cut within 2 s', 'server', quick=True)
def body_drips(kind):
    """A byte of the body each 0.4 s against timeout=1."""
    with Server(kind, timeout=1000) as server, server.connect() as sock:
        sock.sendall(b'PUT /count HTTP/1.1\r\ncontent-length: 1000\r\n\r\n')
        seconds = drip(sock, b'x' * 1000)
        return (seconds < CUT and server.is_well(), f'{seconds:.2f} s')


@case('cut within 2 s', 'server', quick=True)
def chunks_drip(kind):
    """The same with chunks, and their lines."""
    with Server(kind, timeout=1000) as server, server.connect() as sock:
        sock.sendall(b'PUT /count HTTP/1.1\r\n'
                     b'transfer-encoding: chunked\r\n\r\n')
        seconds = drip(sock, b'1\r\nx\r\n' * 200)
        return (seconds < CUT and server.is_well(), f'{seconds:.2f} s')


@case('cut within 2 s', 'server', quick=True)
def relay_drips(kind):
    """The same with a body that the server sends back as it comes."""
    with Server(kind, timeout=1000) as server, server.connect() as sock:
        sock.sendall(b'POST /echo HTTP/1.1\r\ncontent-length: 1000\r\n\r\n')
        begin = time.monotonic()
        sock.settimeout(0.4)
        while time.monotonic() - begin < 10:
            try:
                sock.send(b'x')
                if not sock.recv(65536):
                    break
            except socket.timeout:
                continue
            except ConnectionError:
                break
        seconds = time.monotonic() - begin
        return (seconds < CUT and server.is_well(), f'{seconds:.2f} s')


@case('its place free within 3 s', 'server', quick=True)
def reader_drips(kind):
    """Who takes 10 bytes of an answer each 0.4 s, on the only place,
    timeout=1."""
    with Server(kind, timeout=1000, max_connections=1) as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        (host, _, port) = server.address.rpartition(':')
        sock.connect((host, int(port)))
        with sock:
            sock.sendall(GET % b'/bytes/100000000')
            sock.recv(10)
            threading.Thread(target=take, args=(sock,), daemon=True).start()
            seconds = until_served(server)
        return (seconds < 3, f'{seconds:.2f} s')


def take(sock):
    with contextlib.suppress(OSError):
        while sock.recv(10):
            time.sleep(0.4)


def until_served(server, most=10):
    """Seconds until an honest client gets its answer."""
    begin = time.monotonic()
    while time.monotonic() - begin < most:
        with contextlib.suppress(ConnectionError):
            if server.ask()[0] == 200:
                break
        time.sleep(0.02)
    return time.monotonic() - begin


@case('64 MiB arrive', 'server')
def honest_reader(kind):
    """64 MiB at 1 MiB/s, timeout=1."""
    with Server(kind, timeout=1000) as server, server.connect() as sock:
        sock.sendall(GET % b'/bytes/67108864')
        read_head(sock)
        total = 0
        begin = time.monotonic()
        while True:
            data = sock.recv(65536)
            if not data:
                break
            total += len(data)
            if total >= 67108864:
                break
            # Early by what was read, late by nothing.
            time.sleep(max(0, begin + total / 1048576 - time.monotonic()))
        return (total >= 67108864 - 65536, f'{total / 1048576:.0f} MiB')


@case('64 MiB arrive', 'server')
def honest_sender(kind):
    """64 MiB at 1 MiB/s, timeout=1."""
    with Server(kind, timeout=1000) as server, server.connect() as sock:
        sock.sendall(b'PUT /count HTTP/1.1\r\n'
                     b'content-length: 67108864\r\n\r\n')
        begin = time.monotonic()
        for i in range(1024):
            sock.sendall(bytes(65536))
            time.sleep(max(0, begin + (i + 1) / 16 - time.monotonic()))
        (status, body) = read_answer(sock)
        return ((status, body) == (200, b'67108864'),
                '{} MiB'.format(int(body or 0) >> 20))


@case('served within 3 s', 'server', quick=True)
def drippers_everywhere(kind):
    """50 that drip against 50 places, timeout=1: an honest client."""
    with Server(kind, timeout=1000, max_connections=50) as server:
        crowd = [server.connect() for _ in range(50)]
        threading.Thread(target=drip_all, args=(crowd,), daemon=True).start()
        full = server.ask()[0] == 503
        seconds = until_served(server)
        return (full and seconds < 3, f'{seconds:.2f} s')


def drip_all(crowd):
    for byte in HEAD:
        for sock in crowd:
            with contextlib.suppress(OSError):
                sock.send(bytes([byte]))
        time.sleep(0.4)


@case('error within 2 s', 'client', quick=True)
def answer_drips(kind):
    """A head of an answer, a byte each 0.4 s, timeout=1."""
    def play(sock):
        read_head(sock)
        drip(sock, b'HTTP/1.1 200 OK\r\nserver: ' + b'x' * 400)

    return client_gives_up(kind, play)


@case('error within 2 s', 'client', quick=True)
def answer_body_drips(kind):
    """A body of an answer, a byte each 0.4 s, timeout=1."""
    def play(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n')
        drip(sock, b'x' * 1000)

    return client_gives_up(kind, play)


@case('error within 2 s', 'client', quick=True)
def answer_chunks_drip(kind):
    """Chunks of an answer, timeout=1."""
    def play(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 200 OK\r\n'
                     b'transfer-encoding: chunked\r\n\r\n')
        drip(sock, b'1\r\nx\r\n' * 200)

    return client_gives_up(kind, play)


@case('error within 3 s', 'client')
def server_reads_slowly(kind):
    """Of 100 MB it takes 10 bytes each 0.4 s, timeout=1."""
    def play(sock):
        begin = time.monotonic()
        while time.monotonic() - begin < 15 and sock.recv(10):
            time.sleep(0.4)

    return client_gives_up(kind, play, 'PUT / 100000000', 3)


def client_gives_up(kind, play, request='GET / 0', bar=CUT):
    with Peer(play) as peer:
        ((status, seconds, _),) = run_client(kind, peer.address, request,
                                             timeout=1000)
    return (status == 'error' and seconds < bar, f'{seconds:.2f} s')
