# SPDX-License-Identifier: MIT OR 0BSD
"""An upstream that answers too much, too early, too little or wrongly: none of
its answers reaches a request that it was not for.

The columns of servers are a proxy of this language, asked by raw clients; those
of clients ask the upstream themselves.  A target says what the upstream shall
do, and how long the right answer is: /what/length.  Each length is asked for
once, so that no two answers are taken for each other.
"""

import collections
import contextlib
import itertools
import random
import re
import socket
import threading
import time

from faults import case
from subjects import Peer, Server, read_to_end, reset, run_client

HEAD = b'HTTP/1.1 200 OK\r\n'
EVIL = HEAD + b'content-length: 7\r\n\r\nanother'
TIMEOUT = 1000  # ms
OWN = 100  # the shortest right answer; those to nobody are shorter


# ---------------------------------------------------------------- the upstream

def body(length):
    """What stands in a body tells whose it is."""
    return (b'%d.' % length * length)[:length]


def right(length):
    return HEAD + b'content-length: %d\r\n\r\n' % length + body(length)


def chunked(length, end=b'0\r\n\r\n'):
    return HEAD + b'transfer-encoding: chunked\r\n\r\n%x\r\n' % length + \
        body(length) + b'\r\n' + end


def behind(rest):
    """A right answer, with this behind it in one piece."""
    return lambda sock, length: sock.sendall(right(length) + rest)


def framed(fields, start=HEAD):
    """As many bytes as asked for, behind this head."""
    return lambda sock, length: sock.sendall(
        start + fields % {b'n': length} + b'\r\n' + body(length) + EVIL)


def in_chunks(fields):
    """The same, as a chunk."""
    return lambda sock, length: sock.sendall(
        HEAD + fields % {b'n': length} + b'\r\n' +
        chunked(length).partition(b'\r\n\r\n')[2] + EVIL)


def bodied(start, fields=b''):
    """An answer that can have no body, and one all the same: EVIL."""
    fields = fields or b'content-length: %d\r\n' % len(EVIL)
    return lambda sock, length: sock.sendall(
        b'HTTP/1.1 ' + start + b'\r\n' + fields + b'\r\n' + EVIL)


def broken(message, end):
    """All but the end of an answer, and then *end*."""
    def play(sock, length):
        sock.sendall(message(length))
        end(sock)
        return True  # that was all
    return play


def hang_up(sock):
    sock.shutdown(socket.SHUT_WR)
    read_to_end(sock)


def never_end(sock, length):
    """Interim answers until the other end has gone."""
    with contextlib.suppress(ConnectionError):
        while True:
            sock.sendall(b'HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n' * 99)
    return True


def drip_interim(sock, length):
    with contextlib.suppress(ConnectionError):
        while True:
            sock.sendall(b'HTTP/1.1 102 Processing\r\n\r\n')
            time.sleep(0.3)
    return True


def interim(*statuses):
    first = b''.join(b'HTTP/1.1 %d X\r\nx: y\r\n\r\n' % i for i in statuses)
    return lambda sock, length: sock.sendall(first + right(length))


CHUNKED = b'transfer-encoding: chunked\r\n'
LENGTH = b'content-length: %(n)d\r\n'
CUTS = {
    'in the head': lambda n: right(n)[:30],
    'behind the head': lambda n: right(n)[:-n],
    'in the body': lambda n: right(n)[:-1],
    'in a chunk': lambda n: chunked(n)[:-20],
    'in a chunk line': lambda n: chunked(n, b'5'),
    'before the last chunk': lambda n: chunked(n, b''),
    'in the last chunk': lambda n: chunked(n, b'0\r\n'),
    'in a trailer': lambda n: chunked(n, b'0\r\nx: y'),
}

# What the upstream does instead of the right answer.
LEFT_OVER = {
    'evil': behind(EVIL),
    'two': behind(EVIL * 2),
    'a byte': behind(b'x'),
    'a line': behind(b'\r\n'),
    'half a head': behind(EVIL[:20]),
    'interim': behind(b'HTTP/1.1 100 Continue\r\n\r\n'),
    'chunked': lambda sock, length: sock.sendall(chunked(length) + EVIL),
    'long': behind(EVIL + bytes(100000)),
}
INTERIM = {
    'one': interim(100),
    'some': interim(102, 103, 103, 100),
    'sixteen less one': interim(*[103] * 15),
}
TOO_MANY = {
    'many': interim(*[100] * 17),
    'very many': interim(*[103] * 1000),
    'endless': never_end,
    'with a length': lambda sock, length: sock.sendall(
        b'HTTP/1.1 103 X\r\ncontent-length: %d\r\n\r\n' % len(EVIL) + EVIL +
        right(length)),
    'unasked switch': lambda sock, length: sock.sendall(
        b'HTTP/1.1 101 X\r\nupgrade: x\r\n\r\n' + EVIL),
}
BODIED = {
    '204': bodied(b'204 No Content'),
    '204 chunked': bodied(b'204 No Content', CHUNKED),
    '204 bare': bodied(b'204 No Content', b'x: y\r\n'),
    '304': bodied(b'304 Not Modified'),
    '304 chunked': bodied(b'304 Not Modified', CHUNKED),
    '304 bare': bodied(b'304 Not Modified', b'x: y\r\n'),
    '205': bodied(b'205 Reset Content', b'content-length: 0\r\n'),
    'HEAD': bodied(b'200 OK'),
    'HEAD chunked': bodied(b'200 OK', CHUNKED),
}
TRUNCATED = {
    **{name + ', closed': broken(make, hang_up)
       for (name, make) in CUTS.items()},
    **{name + ', reset': broken(make, reset) for (name, make) in CUTS.items()},
    'nothing, closed': broken(lambda n: b'', hang_up),
    'nothing, reset': broken(lambda n: b'', reset),
}
SILENT = {
    'silent': broken(lambda n: b'', read_to_end),
    'silent in the body': broken(CUTS['in the body'], read_to_end),
    'silent in a chunk': broken(CUTS['in a chunk'], read_to_end),
    'interim drips': drip_interim,
}
FRAMING = {
    'two lengths': framed(LENGTH + b'content-length: 5\r\n'),
    'two the same': framed(LENGTH * 2),
    'a list': framed(b'content-length: %(n)d, %(n)d\r\n'),
    'both': framed(LENGTH + CHUNKED),
    'both, other way': framed(CHUNKED + LENGTH),
    'both, in chunks': in_chunks(LENGTH + CHUNKED),
    'both, other way, in chunks': in_chunks(CHUNKED + LENGTH),
    'twice in chunks': in_chunks(CHUNKED * 2),
    'negative': framed(b'content-length: -%(n)d\r\n'),
    'plus': framed(b'content-length: +%(n)d\r\n'),
    'hex': framed(b'content-length: 0x%(n)d\r\n'),
    'empty': framed(b'content-length: \r\n'),
    'enormous': framed(b'content-length: 18446744073709551716\r\n'),
    'space': framed(b'content-length : %(n)d\r\n'),
    'folded': framed(b'content-length:\r\n %(n)d\r\n'),
    'gzip': framed(b'transfer-encoding: gzip, chunked\r\n'),
    'identity': framed(b'transfer-encoding: identity\r\n' + LENGTH),
    'xchunked': framed(b'transfer-encoding: xchunked\r\n'),
    'bare lf': framed(LENGTH, b'HTTP/1.1 200 OK\n'),
    'bare cr': framed(b'x: y\r' + LENGTH),
    'nul': framed(b'x: \0\r\n' + LENGTH),
    'status 600': framed(LENGTH, b'HTTP/1.1 600 OK\r\n'),
    'status 20': framed(LENGTH, b'HTTP/1.1 20 OK\r\n'),
    'HTTP/2': framed(LENGTH, b'HTTP/2 200 OK\r\n'),
    'no status': framed(LENGTH, b'HTTP/1.1\r\n'),
    'no line': framed(LENGTH, b''),
    '1.0 chunked': framed(CHUNKED, b'HTTP/1.0 200 OK\r\n'),
    'bad chunk size': lambda sock, n: sock.sendall(
        chunked(n).replace(b'\r\n\r\n', b'\r\n\r\n-', 1) + EVIL),
    'enormous chunk': lambda sock, n: sock.sendall(
        chunked(n).replace(b'\r\n\r\n', b'\r\n\r\n1' + b'0' * 14, 1) + EVIL),
    'chunk without end': lambda sock, n: sock.sendall(
        chunked(n).replace(b'\r\n0\r\n', b'0\r\n') + EVIL),
}
TABLES = (LEFT_OVER, INTERIM, TOO_MANY, BODIED, TRUNCATED, SILENT, FRAMING)
# Before the body of the request is read.
EARLY = {
    'early': lambda sock, length: sock.sendall(right(length)),
    'early chunks': lambda sock, length: sock.sendall(chunked(length)),
    'early and left-over': behind(EVIL),
}
EARLY_BROKEN = {
    'early, half of it': broken(CUTS['in the body'], hang_up),
    'early, closed': broken(lambda n: b'', reset),
}


class Upstream(Peer):
    """Plays what it is asked for, on each connection as long as that may be;
    with *greeting* it says this on every second one before it has been asked.
    *said* is set once it has said what is taken for the next answer, if
    anything is."""

    def __init__(self, greeting=b''):
        self.plays = {name.replace(' ', '_'): play for table in TABLES
                      for (name, play) in table.items()}
        self.plays['honest'] = behind(b'')
        self.plays['first'] = self.answer_first
        self.plays['last'] = answer_last
        self.plays['later'] = self.speak_later
        self.early = {name.replace(' ', '_'): play
                      for (name, play) in (EARLY | EARLY_BROKEN).items()}
        self.greeting = greeting
        self.numbers = itertools.count()
        self.said = threading.Event()
        super().__init__(self._obey)

    def speak_later(self, sock, length):
        sock.sendall(right(length))
        time.sleep(0.2)  # the answer has been taken, and nothing is asked
        sock.sendall(EVIL)
        self.said.set()

    def answer_first(self, sock, length):
        sock.sendall(right(length))
        self.said.set()

    def _obey(self, sock):
        sock.settimeout(20)
        if self.greeting and next(self.numbers) % 2 == 0:
            sock.sendall(self.greeting)
        data = b''
        while True:
            while b'\r\n\r\n' not in data:
                more = sock.recv(65536)
                if not more:
                    return
                data += more
            (head, _, data) = data.partition(b'\r\n\r\n')
            (what, length) = re.match(rb'\S+ /(\S+)/(\d+) ', head).groups()
            what = what.decode()
            if what in self.early and self.early[what](sock, int(length)):
                return
            found = re.search(rb'content-length: (\d+)', head)
            data = skip(sock, data, int(found.group(1)) if found else 0)
            if what in self.plays and self.plays[what](sock, int(length)):
                return


def answer_last(sock, length):
    sock.sendall(right(length).replace(b'\r\n', b'\r\nconnection: close\r\n',
                                       1))
    return True


def skip(sock, data, length):
    """What comes behind so many bytes."""
    while len(data) < length:
        length -= len(data)
        data = sock.recv(65536)
        if not data:
            raise ConnectionError
    return data[length:]


# ----------------------------------------------------------------- the clients

class Ask:
    """A request, and what becomes of it."""

    def __init__(self, what, length, method='GET', size=0):
        self.what = what.replace(' ', '_')
        self.length = length
        self.method = method
        self.size = size  # of its own body

    @property
    def target(self):
        return '/{}/{}'.format(self.what, self.length)


class Raw:
    """A client of a proxy, with one connection at a time."""

    def __init__(self, server):
        self.server = server
        self.sock = None

    def ask(self, ask):
        """(status, body), or None if no whole answer came."""
        if self.sock is None:
            self.sock = self.server.connect()
        answer = None
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(
                '{} {} HTTP/1.1\r\ncontent-length: {}\r\n\r\n'.format(
                    ask.method, ask.target, ask.size).encode() +
                bytes(ask.size))
            answer = self._read(ask.method)
        if answer is None:
            self.close()
        return answer

    def _read(self, method):
        data = self._fill(b'', lambda data: b'\r\n\r\n' in data)
        (head, _, data) = data.partition(b'\r\n\r\n')
        status = int(head[9:12])
        head = head.lower() + b'\r\n'
        if method == 'HEAD' or status in (204, 304):
            found = b''
        elif CHUNKED in head:
            (found, data) = self._read_chunks(data)
        else:
            length = int(re.search(rb'content-length: (\d+)\r', head).group(1))
            data = self._fill(data, lambda data: len(data) >= length)
            (found, data) = (data[:length], data[length:])
        if data:
            raise RuntimeError('behind an answer: {!r}'.format(data))
        if b'connection: close\r\n' in head:
            self.close()
        return (status, found)

    def _read_chunks(self, data):
        body = b''
        while True:
            data = self._fill(data, lambda data: b'\r\n' in data)
            (line, _, data) = data.partition(b'\r\n')
            size = int(line, 16)
            data = self._fill(data, lambda data: len(data) >= size + 2)
            body += data[:size]
            data = data[size + 2:]
            if size == 0:
                return (body, data)

    def _fill(self, data, enough):
        """Raises ConnectionError at an end that comes too early."""
        while not enough(data):
            more = self.sock.recv(65536)
            if not more:
                raise ConnectionError
            data += more
        return data

    def close(self):
        if self.sock is not None:
            self.sock.close()
        self.sock = None


def through(server, asks, said=None):
    """[(status, body) or None]; *said* is waited for where something comes
    out of turn."""
    client = Raw(server)
    answers = []
    try:
        for ask in asks:
            answers.append(client.ask(ask))
            if ask.what in ('first', 'later'):
                # A request that was refused never came there.
                if answers[-1] and answers[-1][0] == 200 and \
                        not said.wait(20):
                    raise RuntimeError('nothing came out of turn')
                said.clear()
    finally:
        client.close()
    return answers


def directly(kind, address, asks, then=None):
    """The same, of a client that prints lengths; a body is as it should be if
    its length is.  *then* is done behind what is asked for later."""
    words = []
    for ask in asks:
        words.append('{} {} {}'.format(ask.method, ask.target, ask.size))
        if ask.what == 'later':
            words.append(then)
    return [None if status == 'error' else
            (status, body(int(length)) if int(length) >= OWN else
             b'?' * int(length))
            for (status, _, length) in run_client(
                kind, address, *words, timeout=TIMEOUT)]


# -------------------------------------------------------------------- judgement

class Tally(collections.Counter):
    """Of exchanges: own answers, failed ones, wrong ones."""

    def add(self, ask, answer, status=200, length=None):
        wanted = (status, body(ask.length if length is None else length))
        if answer == wanted:
            verdict = 'own'
        elif answer is None or answer in ((502, b''), (504, b'')):
            verdict = 'failed'
        else:
            verdict = 'wrong'
        self[verdict] += 1
        return verdict

    def __str__(self):
        return '{} wrong of {}'.format(self['wrong'], sum(self.values()))


def sequence(names, method='GET', size=0):
    """Each of these, and two honest requests behind it."""
    lengths = itertools.count(OWN)
    for name in names:
        yield Ask(name, next(lengths), method, size)
        yield Ask('honest', next(lengths))
        yield Ask('honest', next(lengths))


def outcomes(end, kind, asks):
    with Upstream() as upstream:
        if end == 'client':
            return directly(kind, upstream.address, asks)
        with proxy(kind, upstream) as server:
            return through(server, asks)


def proxy(kind, upstream):
    return Server(kind, upstream=upstream.address, timeout=TIMEOUT,
                  max_requests=1000000)


def judge(end, kind, asks, verdicts, expected=lambda ask: (200, ask.length)):
    """Whether honest requests got their own answers, and what stands before
    them what it should, each as one of the *verdicts*; and the tally.

    A client says of a connection that is of no more use that nothing was sent;
    the next request has a new one.  A proxy finds out for itself."""
    tally = Tally()
    good = True
    asks = list(asks)
    answers = outcomes(end, kind, asks)
    for (i, (ask, answer)) in enumerate(zip(asks, answers)):
        if i % 3 == 0:
            good &= tally.add(ask, answer, *expected(ask)) in verdicts
        elif i % 3 == 1 and end == 'client':
            good &= tally.add(ask, answer) in ('own', 'failed')
        else:
            good &= tally.add(ask, answer) == 'own'
    return (good and len(answers) == len(asks), str(tally))


@case('0 wrong', 'server', 'client', quick=True)
def left_over(kind, end):
    """Bytes behind an answer."""
    return judge(end, kind, sequence(LEFT_OVER), ['own'])


@case('0 wrong', 'server', 'client', quick=True)
def interim_answers(kind, end):
    """Up to fifteen before an answer."""
    return judge(end, kind, sequence(INTERIM), ['own'])


@case('0 wrong', 'server', 'client', quick=True)
def too_many_interim_answers(kind, end):
    """And endless ones, and such as are none."""
    return judge(end, kind, sequence(TOO_MANY), ['failed'])


@case('0 wrong', 'server', 'client', quick=True)
def bodies_where_none_is(kind, end):
    """204, 304, 205 and HEAD, with bytes behind the head that are an answer
    themselves."""
    def expected(ask):
        return (200 if ask.method == 'HEAD' else int(ask.what[:3]), 0)

    asks = [*sequence([name for name in BODIED if name[0] != 'H']),
            *sequence([name for name in BODIED if name[0] == 'H'], 'HEAD')]
    return judge(end, kind, asks, ['own'], expected)


@case('0 wrong', 'server', 'client', quick=True)
def truncated(kind, end):
    """Closed and reset in the head, a body, a chunk."""
    return judge(end, kind, sequence(TRUNCATED), ['failed'])


@case('0 wrong', 'server', 'client', quick=True)
def silent(kind, end):
    """The same without an end, timeout=1."""
    return judge(end, kind, sequence(SILENT), ['failed'])


@case('0 wrong', 'server', 'client', quick=True)
def framing(kind, end):
    """Lengths, codings and heads that can be read in two ways."""
    return judge(end, kind, sequence(FRAMING), ['failed'])


@case('0 wrong', 'server', 'client', quick=True)
def early(kind, end):
    """Before the body of the request is read, which it is behind that."""
    asks = [*sequence(EARLY, 'PUT', 5), *sequence(EARLY, 'PUT', 3000000)]
    return judge(end, kind, asks, ['own'])


@case('0 wrong', 'server', 'client', quick=True)
def early_and_broken(kind, end):
    """Before the body is read, half an answer or none, and the end."""
    asks = [*sequence(EARLY_BROKEN, 'PUT', 5),
            *sequence(EARLY_BROKEN, 'PUT', 3000000)]
    return judge(end, kind, asks, ['failed'])


@case('0 wrong', 'server', 'client', quick=True)
def before_a_request(kind, end):
    """On a kept connection, an answer that nobody asked for."""
    tally = Tally()
    asks = [Ask(what, OWN + i)
            for (i, what) in enumerate(['later', 'honest', 'honest'] * 5)]
    with Upstream() as upstream:
        if end == 'client':
            answers = directly(kind, upstream.address, asks, 'WAIT - 0')
        else:
            with proxy(kind, upstream) as server:
                answers = through(server, asks, upstream.said)
    verdicts = [tally.add(*both) for both in zip(asks, answers)]
    fresh = 'failed' if end == 'client' else 'own'
    return (verdicts == ['own', fresh, 'own'] * 5, str(tally))


@case('0 wrong', 'server', quick=True)
def before_any_request(kind):
    """On a new connection.  Of an answer that is on its way while the request
    is, nobody can say that it is none; what follows is not shifted by it."""
    tally = Tally()
    good = True
    asks = [Ask(what, OWN + i)
            for (i, what) in enumerate(['first', 'honest', 'last'] * 40)]
    with Upstream(EVIL) as upstream, proxy(kind, upstream) as server:
        answers = through(server, asks, upstream.said)
    for (ask, answer) in zip(asks, answers):
        if ask.what == 'first' and answer == (200, b'another'):
            tally['raced'] += 1
        else:
            good &= tally.add(ask, answer) == 'own' or ask.what == 'first'
    return (good and not tally['wrong'] and len(answers) == len(asks),
            str(tally))


# ------------------------------------------------------------ several at a time

def mixture(number, count):
    """What one of the clients asks for, and whether there is an answer."""
    choose = random.Random(number)
    fair = [*LEFT_OVER, *INTERIM, *EARLY]
    unfair = [*TOO_MANY, *TRUNCATED, *FRAMING, *EARLY_BROKEN]
    for i in range(count):
        what = choose.choice([choose.choice(fair), choose.choice(unfair),
                              'honest', 'honest'])
        yield Ask(what, OWN + number * count + i,
                  *(['PUT', 50000] if what.startswith('early') else []))


@case('0 wrong', 'server', quick=True)
def several(kind):
    """10 clients of one proxy at a time, with all of this at random."""
    return at_a_time(kind, 10, 100)


@case('0 wrong', 'server')
def very_many(kind):
    """The same with 20, and 1000 exchanges each."""
    return at_a_time(kind, 20, 1000)


def at_a_time(kind, clients, count):
    results = {}

    def play(server, number):
        asks = list(mixture(number, count))
        results[number] = list(zip(asks, through(server, asks)))

    with Upstream() as upstream, proxy(kind, upstream) as server:
        threads = [threading.Thread(target=play, args=(server, number))
                   for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    tally = Tally()
    good = len(results) == clients
    unfair = {name.replace(' ', '_') for name in
              (*TOO_MANY, *TRUNCATED, *FRAMING, *EARLY_BROKEN)}
    for (ask, answer) in itertools.chain.from_iterable(results.values()):
        good &= tally.add(ask, answer) == (
            'failed' if ask.what in unfair else 'own')
    return (good and sum(tally.values()) == clients * count, str(tally))
