# SPDX-License-Identifier: MIT OR 0BSD
"""What Python takes for the head of a request, in its memory: a process of the
benchmark's.

    objects.py DIRECTORY-OF-THE-EXTENSION-FIELDS NAME...

Prints, for each of these heads, a line with the CPU ns of: the Request with its
headers, a dict of the same names and values alone, and httptools' parser with
callbacks that make such a dict, or nan.

A server's Request is made at one go; here it takes two calls, to parse the head
and to make the object, as nothing else is to be had without a socket.
"""

import sys
import time
import timeit

from heads import head

from degu._degu import Request, parse_head

NUMBER = 4000
REPEAT = 5


def ours(text):
    line = text.index(b'\r\n') + 2
    (method, uri, _) = text[:line].decode().split()
    path = uri.partition('?')[0][1:].split('/')

    def run():
        return Request(method, uri, parse_head(text, False, line), None, [],
                       path, None)
    return run


def dict_alone(text):
    from fields import build
    headers = parse_head(text, False, text.index(b'\r\n') + 2)
    pairs = tuple((sys.intern(name), str(value).encode())
                  for (name, value) in headers.items())
    return lambda: build(pairs)


class Collector:
    """What httptools calls."""

    def __init__(self):
        self.headers = {}

    def on_url(self, url):
        self.url = url.decode()

    def on_header(self, name, value):
        self.headers[name.decode().lower()] = value.decode()


def peer(text):
    try:
        from httptools import HttpRequestParser
    except ImportError:
        return None

    def run():
        collector = Collector()
        HttpRequestParser(collector).feed_data(text)
        return collector
    return run


def main(directory, *names):
    sys.path.insert(0, directory)
    for name in names:
        text = head(name)
        best = [float('inf')] * 3
        timers = [run and timeit.Timer(run, timer=time.process_time)
                  for run in (ours(text), dict_alone(text), peer(text))]
        for _ in range(REPEAT):
            for (index, timer) in enumerate(timers):
                took = (timer.timeit(NUMBER) if timer else
                        float('nan')) / NUMBER * 1e9
                best[index] = took if took != took else min(best[index], took)
        print(*('{:.1f}'.format(ns) for ns in best), flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
