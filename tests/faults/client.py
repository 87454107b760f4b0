# SPDX-License-Identifier: MIT OR 0BSD
"""The Python client of `make faults`; see client.c."""

import sys
import time

from server import address_of, pieces, zeros

from degu.base import DeguError
from degu.client import Client


def exchange(conn, method, target, count):
    """(status, length of the body)"""
    body = conn.api.BodyIter(zeros(count), count) if count else None
    response = conn.request(method, target, {}, body)
    total = sum(map(len, pieces(response.body))) if response.body else 0
    return (response.status, total)


def main(address, *words):
    words = list(words)
    options = {}
    while words and '=' in words[0]:
        (name, _, number) = words.pop(0).partition('=')
        options[name] = (int(number) / 1000 if name == 'timeout'
                         else int(number))
    client = Client(address_of(address), **options)
    conn = None
    while words:
        (method, target, count) = (words.pop(0) for _ in range(3))
        start = time.monotonic()
        try:
            if conn is None:
                conn = client.connect()
            (status, total) = exchange(conn, method, target, int(count))
            line = '{} {{:.3f}} {}'.format(status, total)
        except (DeguError, OSError) as error:
            line = 'error {{:.3f}} {}'.format(
                str(error).translate({ord(c): ' ' for c in '{}\n'}))
            if conn is not None:
                conn.close()
        if conn is not None and conn.closed:
            conn = None
        print(line.format(time.monotonic() - start), flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
