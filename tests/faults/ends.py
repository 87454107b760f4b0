# SPDX-License-Identifier: MIT OR 0BSD
"""How a server ends, what it was given and what it leaves; and how a client
learns that a kept connection has ended."""

import os
import select
import socket
import struct
import sys
import tempfile
import threading
import time

from faults import case
from subjects import (
    GET,
    PATIENCE,
    Peer,
    Server,
    connect,
    read_answer,
    read_head,
    read_to_end,
    run_client,
    start,
)

EMPTY = b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'
# A request of which the server waits for the rest, which never comes.
STUCK = (b'PUT /count HTTP/1.1\r\nexpect: 100-continue\r\n'
         b'content-length: 9\r\n\r\n')


def hold(server):
    """A connection with an exchange that is in flight for ever."""
    sock = server.connect()
    sock.sendall(STUCK)
    if not sock.recv(100).startswith(b'HTTP/1.1 100 '):
        raise RuntimeError('not in flight')
    return sock


def ending(server):
    """A thread that ends it; its result comes to stand in a list."""
    seconds = []
    thread = threading.Thread(target=lambda: seconds.append(server.end()))
    thread.start()
    return (thread, seconds)


@case('closed within 0.5 s', 'server', quick=True)
def idle_connections_end(kind):
    """SIGTERM: connections that wait, or have sent half a head, beside an
    exchange in flight, which has two seconds."""
    with Server(kind, stop_timeout=2000) as server, hold(server), \
            server.connect() as used, server.connect() as fresh, \
            server.connect() as half:
        used.sendall(GET % b'/hello')
        read_answer(used)
        half.sendall(b'GET / HT')
        well = server.is_well()  # and it has seen the others
        (thread, _) = ending(server)
        begin = time.monotonic()
        ended = [read_to_end(sock) for sock in (used, fresh, half)]
        seconds = time.monotonic() - begin
        thread.join()
        return (well and ended[:2] == [b'', b''] and seconds < 0.5,
                f'{seconds:.2f} s')


@case('ends within 1 s', 'server', quick=True)
def idle_server_ends(kind):
    """SIGTERM: nobody is there but an idle connection."""
    with Server(kind) as server, server.connect() as sock:
        sock.sendall(GET % b'/hello')
        read_answer(sock)
        seconds = server.end()
        return (seconds < 1 and read_to_end(sock) == b'', f'{seconds:.2f} s')


@case('answered, ends within 1 s more', 'server', quick=True)
def exchange_finishes(kind):
    """SIGTERM: an exchange in flight that takes a second."""
    with Server(kind) as server, server.connect() as sock:
        sock.sendall(STUCK[:-2] + b'connection: keep-alive\r\n\r\n')
        sock.recv(100)
        (thread, seconds) = ending(server)
        time.sleep(1)  # how long the exchange takes
        alive = server.process.poll() is None
        sock.sendall(b'123456789')
        data = read_to_end(sock)
        sock.close()  # it would be waited for, 2 s
        thread.join()
        good = (data.startswith(b'HTTP/1.1 200 ') and data.endswith(b'\n9') and
                b'connection: close' in data)
        return (alive and good and 1 <= seconds[0] < 2, f'{seconds[0]:.2f} s')


@case('nobody else is served', 'server', quick=True)
def nobody_is_accepted(kind):
    """Who comes when the server ends."""
    with Server(kind, stop_timeout=1000) as server, hold(server) as sock, \
            server.connect() as idle:
        server.is_well()
        (thread, _) = ending(server)
        # Until it has begun to end; a server that does not is found out.
        select.select([idle], [], [], 0.5)
        try:
            with server.connect() as late:
                late.sendall(GET % b'/hello')
                data = read_to_end(late)
        except ConnectionError:
            data = b''
        thread.join()
        read_to_end(sock)
        return (data == b'', data.decode() or 'not served')


@case('cut at 0.5 s, ends within 1 s more', 'server', quick=True)
def deadline_cuts(kind):
    """An exchange that never ends, stop_timeout=0.5."""
    with Server(kind, stop_timeout=500) as server, hold(server) as sock:
        (thread, seconds) = ending(server)
        begin = time.monotonic()
        data = read_to_end(sock)
        cut = time.monotonic() - begin
        thread.join()
        return (data == b'' and 0.4 < cut < 1.5 and
                0.4 < seconds[0] < 1.5, f'{seconds[0]:.2f} s')


@case('cut at 0.5 s, ends within 1 s more', 'server', quick=True)
def deadline_cuts_answers(kind):
    """100 MB to somebody who takes nothing, stop_timeout=0.5."""
    with Server(kind, stop_timeout=500) as server, server.connect() as sock:
        sock.sendall(GET % b'/bytes/100000000')
        sock.recv(1)
        seconds = server.end()
        return (0.4 < seconds < 1.5 and len(read_to_end(sock)) < 100000000,
                f'{seconds:.2f} s')


@case('ends within 2.5 s', 'python server', quick=True)
def app_goes_on(kind):
    """An app that takes no notice for 20 s, stop_timeout=0.5."""
    with Server(kind, stop_timeout=500) as server, server.connect() as sock:
        sock.sendall(GET % b'/sleep/20000')
        sock.settimeout(0.2)
        try:
            sock.recv(1)
            return (False, 'answered')
        except socket.timeout:
            pass  # it is in the app
        seconds = server.end()
        return (0.4 < seconds < 2.5, f'{seconds:.2f} s')


@case('ends within 1 s, exit code 0', 'python server', quick=True)
def command_ends(kind):
    """python -m degu serve: SIGTERM, with an idle connection."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'socket')
        process = start([sys.executable, '-m', 'degu', 'serve', folder,
                         '--quiet', '--address', path])
        address = process.stdout.readline().strip()
        with connect(address) as sock:
            begin = time.monotonic()
            process.terminate()
            (_, errors) = process.communicate(timeout=PATIENCE)
            seconds = time.monotonic() - begin
            closed = read_to_end(sock) == b''
        return (closed and (process.returncode, errors) == (0, '') and
                not os.listdir(folder) and seconds < 1, f'{seconds:.2f} s')


@case('removed', 'server', quick=True)
def own_file(kind):
    """The file of an AF_UNIX address."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'socket')
        with Server(kind, path) as server:
            good = server.is_well() and os.listdir(folder) == ['socket']
            server.end()
        left = os.listdir(folder)
        return (good and not left, ' '.join(left) or 'removed')


@case('kept', 'server', quick=True)
def file_of_another(kind):
    """The same when another server has taken the path meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'socket')
        with Server(kind, path) as server:
            os.unlink(path)
            with Server(kind, path) as other:
                server.end()
                good = os.listdir(folder) == ['socket'] and other.is_well()
                other.end()
        left = os.listdir(folder)
        return (good and not left, 'kept' if good else 'removed')


def listener(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return sock


def serves_what_it_was_given(kind, path, **given):
    """Who came before it is answered; twice; and the file stays."""
    for _ in range(2):
        with connect(path) as early:
            early.sendall(GET % b'/hello')
            with Server(kind, **given) as server:
                if read_answer(early) != (200, b'hello, world') or \
                        server.address != path or not server.is_well():
                    return (False, 'not served')
                server.end()
    return (os.path.exists(path), 'served')


@case('served, twice', 'server', quick=True)
def socket_as_address(kind):
    """A socket that listens already, as address."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'socket')
        with listener(path) as sock:
            return serves_what_it_was_given(
                kind, path, address=f'fd:{sock.fileno()}',
                more={'pass_fds': [sock.fileno()]})


@case('served, twice', 'server', quick=True)
def socket_activation(kind):
    """LISTEN_FDS and LISTEN_PID."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'socket')
        with listener(path) as sock:
            if sock.fileno() != 3:  # where sd_listen_fds(3) has the first
                os.dup2(sock.fileno(), 3)
            activate = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"'
            return serves_what_it_was_given(
                kind, path, before=['/bin/sh', '-c', activate, 'sh'],
                more={'pass_fds': [3]})


@case('not served', 'server', quick=True)
def socket_of_another(kind):
    """LISTEN_PID is another process: the address is served."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'socket')
        with listener(path) as sock:
            if sock.fileno() != 3:
                os.dup2(sock.fileno(), 3)
            with Server(kind, before=['/usr/bin/env', 'LISTEN_FDS=1',
                                      'LISTEN_PID=1'],
                        more={'pass_fds': [3]}) as server:
                good = server.address != path and server.is_well()
                return (good, 'not served' if good else 'served')


# ---------------------------------------------------------------- the clients

def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack('ii', 1, 0))


def second_request(kind, play, *between):
    """What is said of a POST on a connection that has had one exchange; and
    whether nothing of it came to the server."""
    heads = []

    def talk(sock):
        heads.append(read_head(sock))
        sock.sendall(EMPTY)
        play(sock, heads)

    with Peer(talk) as peer:
        (first, second) = run_client(kind, peer.address, 'GET / 0', *between,
                                     'POST /orders 0')
    return (first[0] == 200 and second[0] == 'error' and second[2].split()[0],
            len(heads))


@case('unsent', 'client', quick=True)
def stale(kind):
    """The server has closed a kept connection."""
    (said, heads) = second_request(kind, lambda *_: None, 'WAIT - 0')
    return ((said, heads) == ('unsent', 1), said)


@case('unsent', 'client', quick=True)
def stale_and_reset(kind):
    """The same with a reset."""
    (said, heads) = second_request(kind, lambda sock, _: reset(sock),
                                   'WAIT - 0')
    return ((said, heads) == ('unsent', 1), said)


@case('unsent', 'client', quick=True)
def stale_with_an_error(kind):
    """It has sent a 408 before it closed."""
    (said, heads) = second_request(kind, lambda sock, _: sock.sendall(
        b'HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n'),
        'WAIT - 0')
    return ((said, heads) == ('unsent', 1), said)


def take_and(end):
    def play(sock, heads):
        heads.append(read_head(sock))
        end(sock)
    return play


@case('unanswered', 'client', quick=True)
def closed_unanswered(kind):
    """It closes when the request has come."""
    (said, heads) = second_request(kind, take_and(lambda sock: None))
    return ((said, heads) == ('unanswered', 2), said)


@case('unanswered', 'client', quick=True)
def reset_unanswered(kind):
    """It resets when the request has come."""
    (said, heads) = second_request(kind, take_and(reset))
    return ((said, heads) == ('unanswered', 2), said)


@case('answered', 'client', quick=True)
def closed_in_the_answer(kind):
    """It closes behind the first byte of an answer."""
    (said, heads) = second_request(kind, take_and(
        lambda sock: sock.sendall(b'H')))
    return ((said, heads) == ('answered', 2), said)
