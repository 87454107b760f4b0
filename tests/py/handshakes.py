# SPDX-License-Identifier: MIT OR 0BSD
"""TLS handshakes between two plain sockets of one thread, and certificates
for them."""

import contextlib
import os
import select
import socket
import ssl
import tempfile
from typing import NamedTuple

from peers import WAIT, run_program


class Pair(NamedTuple):
    """Both ends after a handshake, and what it has raised there."""
    server: ssl.SSLSocket
    client: ssl.SSLSocket
    server_error: Exception | None
    client_error: Exception | None


def step(sock):
    """(is it done, its error) of one more step of a handshake."""
    try:
        sock.do_handshake()
    except ssl.SSLWantReadError:
        return (False, None)
    except OSError as error:
        return (True, error)
    return (True, None)


@contextlib.contextmanager
def shake(server, client, **options):
    """The Pair of these contexts; *options* are wrap_socket()'s of the
    client."""
    plain = socket.socketpair()
    for sock in plain:
        sock.setblocking(False)
    with contextlib.ExitStack() as stack:
        ends = []
        for (sock, context, more) in [
                (plain[0], server, {'server_side': True}),
                (plain[1], client, options)]:
            ends.append(stack.enter_context(context.wrap_socket(
                sock, do_handshake_on_connect=False,
                suppress_ragged_eofs=False, **more)))
        errors = {}
        while len(errors) < 2:
            for end in ends:
                if end not in errors:
                    (done, error) = step(end)
                    if done:
                        errors[end] = error
            if any(errors.values()):
                break
        for end in ends:
            if end not in errors:
                # Nothing more comes: what there is has been sent.
                errors[end] = step(end)[1]
            end.settimeout(WAIT)
        yield Pair(*ends, *(errors[end] for end in ends))


def is_refused(pair):
    """Has one end refused the other, in time?"""
    return bool(pair.server_error or pair.client_error)


def read_error(sock):
    """What the next read raises."""
    assert select.select([sock], [], [], WAIT)[0]
    try:
        sock.recv(1)
    except OSError as error:
        return error
    return None


def openssl(*args, data=None):
    """What the program prints, about *data* if there is any."""
    with tempfile.NamedTemporaryFile() as file:
        if data is not None:
            file.write(data)
            file.flush()
            args += ('-in', file.name)
        return run_program(['openssl', *args], check=True).stdout


def self_signed(folder, name, *args):
    """The files of a certificate that is its own authority, and of its
    key."""
    paths = [os.path.join(folder, name + end) for end in ('.cert', '.key')]
    openssl('req', '-x509', '-nodes', '-subj', '/CN=' + name, '-days', '9',
            '-out', paths[0], '-keyout', paths[1], *args)
    return {'cert_file': paths[0], 'key_file': paths[1]}
