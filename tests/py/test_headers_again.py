# SPDX-License-Identifier: MIT OR 0BSD
"""Heads that come again and again on one connection: what is remembered of the
last one shows nowhere."""

import pytest

from degu.base import Connection
from peers import Running, Script, talk

HEADS = [
    b'',
    b'a: 1\r\n',
    b'a: 2\r\n',
    b'a: 1\r\nb: 2\r\n',
    b'A:1\r\nB:2\r\n',
    b'a: 1\r\nb: 2\r\nc: 3\r\n',
    b'a: 1,\r\na: 2\r\n',
    b'ab: 1\r\n',
    b'a: b 1\r\n',
    b'a: \r\nb: \r\n',
    # As many fields out of the same text, and not the same ones.
    b'a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\nconnection: b\r\n',
    b'a: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\nconnection: c\r\n',
    b'x: bytes=0-4\r\n',
    b'a: b\r\nhost: x\r\n',
]
OF_REQUESTS = [*HEADS, b'range: bytes=0-4\r\n', b'range: bytes=1-4\r\n']
OF_RESPONSES = [*HEADS, b'content-range: bytes 0-4/9\r\n',
                b'set-cookie: a\r\nset-cookie: b\r\n']


def in_all_orders(heads):
    """Each behind each other one, and behind itself, twice."""
    return [head for one in heads for other in heads
            for head in (one, other, one, one, one)]


def requests(heads):
    return b''.join(b'GET /' + b'x' * (i % 3) + b' HTTP/1.1\r\n' + head
                    + b'\r\n' for (i, head) in enumerate(heads))


def seen_by_app(heads):
    """What the app sees of each, which then makes something else of it."""
    seen = []

    def app(session, request, api):
        seen.append(list(request.headers.items()))
        request.headers['a'] = 'changed'
        request.headers.pop('b', None)
        return (200, 'OK', {}, None)

    with Running(app, max_requests=len(heads) + 1) as server:
        talk(server.address, requests(heads), end=True)
    return seen


class OneByOne(Script):
    """The next answer when the next request comes."""

    def __init__(self, answers):
        super().__init__()
        self.answers = iter(answers)

    def send(self, data):
        self.data += next(self.answers)
        return len(data)


def seen_by_client(heads):
    seen = []
    conn = Connection(OneByOne(b'HTTP/1.1 200 OK\r\n' + head + b'\r\n'
                               for head in heads), None)
    for _ in heads:
        headers = conn.head('/').headers
        seen.append(list(headers.items()))
        for value in headers.values():
            if isinstance(value, list):
                value.append('changed')
        headers['a'] = 'changed'
        headers.pop('b', None)
    return seen


@pytest.mark.parametrize('seen_by, heads', [
    (seen_by_app, OF_REQUESTS), (seen_by_client, OF_RESPONSES)])
def test_again(seen_by, heads):
    first = {head: seen_by([head])[0] for head in heads}
    assert first[b'a: 1,\r\na: 2\r\n'] == [('a', '1,, 2')]
    order = in_all_orders(heads)
    for (head, seen) in zip(order, seen_by(order), strict=True):
        assert seen == first[head]
