# SPDX-License-Identifier: MIT OR 0BSD
"""The Python client of `make faults`; see client.c.  With read=1 it has bodies
whole."""

import select
import sys
import time

from server import address_of, expect_signals, pieces, zeros

from degu.base import DeguError
from degu.client import Client


class Asker:
    """Has one connection, until it ends."""

    def __init__(self, address, whole, **options):
        self.client = Client(address_of(address), **options)
        self.whole = whole
        self.conn = None

    def exchange(self, method, target, count):
        """'STATUS {} LENGTH'"""
        if self.conn is None:
            self.conn = self.client.connect()
        body = self.conn.api.BodyIter(zeros(count), count) if count else None
        response = self.conn.request(method, target, {}, body)
        total = 0
        if response.body:
            total = (len(response.body.read()) if self.whole else
                     sum(map(len, pieces(response.body))))
        return '{} {{:.3f}} {}'.format(response.status, total)

    def ask(self, method, target, count, times=1):
        """As often as that, of which the last is told."""
        if method == 'WAIT':
            select.select([self.conn.sock], [], [], 20)
            return
        for _ in range(int(times)):
            start = time.monotonic()
            try:
                line = self.exchange(method, target, int(count))
            except (DeguError, OSError) as error:
                line = 'error {{:.3f}} {} {}'.format(
                    progress(error),
                    str(error).translate({ord(c): ' ' for c in '{}\n'}))
                if self.conn is not None:
                    self.conn.close()
            if self.conn is not None and self.conn.closed:
                self.conn = None
        print(line.format(time.monotonic() - start), flush=True)


def progress(error):
    if not getattr(error, 'sent', True):
        return 'unsent'
    return 'answered' if getattr(error, 'answered', True) else 'unanswered'


def main(address, *words):
    words = list(words)
    options = {'read': 0}
    while words and '=' in words[0]:
        (name, _, number) = words.pop(0).partition('=')
        options[name] = (int(number) / 1000 if name == 'timeout'
                         else int(number))
    if options.pop('signals', 0):
        expect_signals()
    asker = Asker(address, options.pop('read'), **options)
    if not words:
        for line in sys.stdin:
            asker.ask(*line.split())
    while words:
        asker.ask(*(words.pop(0) for _ in range(3)))


if __name__ == '__main__':
    main(*sys.argv[1:])
