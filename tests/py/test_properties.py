# SPDX-License-Identifier: MIT OR 0BSD
"""What holds for every input that hypothesis can think of: what is sent
arrives, what must not leave does not, and nothing ends the server."""

import io
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from degu.base import (
    Connection,
    EmptyPreambleError,
    ProtocolError,
    Response,
    api,
)
from degu.client import Client
from peers import App, Running, Script, answers, talk

LAST = b'GET / HTTP/1.1\r\nconnection: close\r\n\r\n'
EMPTY = b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'

# ------------------------------------------------------------------ strategies

ALPHA = string.ascii_letters + string.digits
PCHAR = ALPHA + "-._~!$&'()*+,;=:@"
TOKEN = string.ascii_lowercase + string.digits + "!#$%&'*+-.^_`|~"
VISIBLE = ''.join(map(chr, range(0x21, 0x7f)))

# Those that the library gives a meaning.
KNOWN = {'connection', 'keep-alive', 'proxy-connection', 'expect', 'host',
         'content-length', 'transfer-encoding', 'range', 'content-range',
         'set-cookie'}

escapes = st.integers(1, 255).filter(
    lambda byte: byte not in (0x2e, 0x2f, 0x5c)).map('%{:02x}'.format)
parts = st.lists(st.one_of(st.sampled_from(PCHAR), escapes),
                 max_size=12).map(''.join)
inner = parts.filter(lambda part: part not in ('', '.', '..'))
last = parts.filter(lambda part: part not in ('.', '..'))
paths = st.tuples(st.lists(inner, max_size=5), last).map(
    lambda pair: pair[0] + [pair[1]])
queries = st.none() | st.lists(
    st.one_of(st.sampled_from(PCHAR + '/?'), escapes,
              st.sampled_from(['%00', '%2F', '%5c', '..', '//'])),
    max_size=20).map(''.join)
names = st.text(TOKEN, min_size=1, max_size=64).filter(
    lambda name: name not in KNOWN)
values = st.text(VISIBLE + ' \t', max_size=60).map(
    lambda value: value.strip(' \t'))
headers = st.dictionaries(names, values, max_size=12)
reasons = st.text(VISIBLE + ' \t', max_size=20)
pieces = st.lists(st.binary(max_size=300), max_size=6)
extensions = st.none() | st.tuples(
    st.text(TOKEN + string.ascii_uppercase, min_size=1, max_size=10),
    st.none() | st.text(VISIBLE + ' \t', max_size=20))
chunk_lists = st.tuples(
    st.lists(st.tuples(extensions, st.binary(min_size=1, max_size=300)),
             max_size=6), extensions).map(
    lambda pair: pair[0] + [(pair[1], b'')])
statuses = st.integers(200, 599).filter(lambda n: n not in (204, 304))


def sent_body(kind, data, chunks):
    """A body to send, and what must arrive: None, bytes or a chunk list."""
    if kind == 'bytes':
        whole = b''.join(data)
        return (whole, whole or None)
    if kind == 'pieces':
        whole = b''.join(data)
        return (api.BodyIter(data, len(whole)), whole or None)
    if kind == 'chunks':
        return (api.ChunkedBodyIter(chunks), chunks)
    return (None, None)


def received(body):
    if body is None:
        return None
    if body.chunked:
        return list(body)
    return body.read()


kinds = st.sampled_from(['none', 'bytes', 'pieces', 'chunks'])


# ------------------------------------------------------------------- exchanges

class Mirror:
    """Notes what arrives, and answers what it was told."""

    def __call__(self, session, request, api):
        self.request = request
        self.body = received(request.body)
        (answer, self.answer) = (self.answer, None)
        return answer


@pytest.fixture(scope='module')
def served():
    mirror = Mirror()
    # The connection is idle between the tests, which may be slow.
    with Running(mirror, max_requests=10**9, timeout=600) as running:
        running.mirror = mirror
        running.conn = Client(running.address).connect()
        mirror.answer = (204, 'No Content', {}, None)
        running.conn.get('/', {})
        yield running
        running.conn.close()


@given(method=st.sampled_from(['PUT', 'POST', 'PATCH']), path=paths,
       query=queries, asked=headers, kind=kinds, data=pieces,
       chunks=chunk_lists, status=statuses, reason=reasons, told=headers,
       back=kinds, other=pieces, others=chunk_lists)
def test_what_is_sent_arrives(served, method, path, query, asked, kind, data,
                              chunks, status, reason, told, back, other,
                              others):
    uri = '/' + '/'.join(path) + ('' if query is None else '?' + query)
    (body, want) = sent_body(kind, data, chunks)
    (answer, echo) = sent_body(back, other, others)
    served.mirror.answer = (status, reason, told, answer)
    # A dict that says what the library would say anyway changes nothing.
    conn = served.conn
    response = conn.request(method, uri, asked, body)

    got = served.mirror.request
    assert (got.method, got.uri, got.query) == (method, uri, query)
    assert got.path == ([] if path == [''] else path)
    assert got.build_proxy_uri() == uri
    assert framed(asked, want) == got.headers
    assert served.mirror.body == want

    assert (response.status, response.reason) == (status, reason)
    assert response.headers == framed(told, echo)
    assert received(response.body) == echo
    assert not conn.closed


def framed(given, body):
    """The headers as they arrive beside this body."""
    if body is None:
        return given
    if isinstance(body, list):
        return dict(given, **{'transfer-encoding': 'chunked'})
    return dict(given, **{'content-length': len(body)})


@given(chunks=chunk_lists, step=st.integers(1, 50))
def test_chunks_survive_files(chunks, step):
    out = io.BytesIO()
    api.ChunkedBodyIter(chunks).write_to(out)

    class Slow(io.BytesIO):
        def readinto(self, buf):
            return super().readinto(buf[:step])

    for kind in (io.BytesIO, Slow):
        assert list(api.ChunkedBody(kind(out.getvalue()))) == chunks
        again = io.BytesIO()
        api.ChunkedBody(kind(out.getvalue())).write_to(again)
        assert again.getvalue() == out.getvalue()


@given(data=st.binary(max_size=200), sizes=st.lists(st.integers(0, 60)))
def test_read_in_any_sizes(data, sizes):
    for body in (api.Body(io.BytesIO(data), len(data)),
                 body_of(data, 1), body_of(data, 7), body_until_close(data)):
        found = b''
        for size in sizes:
            part = body.read(size)
            rest = len(data) - len(found)
            assert len(part) == min(size, rest)
            found += part
        if body.state < 2:
            found += body.read()
        assert found == data[:len(found)]
        assert body.state == 2 and len(found) == len(data)


def body_of(data, step):
    head = b'HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n' % len(data)
    body = Connection(Script(head + data, step), None).get('/', {}).body
    return body or api.Body(io.BytesIO(), 0)


def body_until_close(data):
    return Connection(Script(b'HTTP/1.1 200 OK\r\n\r\n' + data, 5),
                      None).get('/', {}).body


# --------------------------------------------------------- what must not leave

anything = st.text(max_size=30)
near = st.text(TOKEN + ' \t\r\n\0:%/?"\x7f\xe9\ud800', max_size=12)


def parse_sent(data):
    """(start line, [(name, value)], body) by nothing but the letter."""
    (head, body) = data.split(b'\r\n\r\n', 1)
    (line, *fields) = head.split(b'\r\n')
    pairs = [tuple(field.split(b': ', 1)) for field in fields]
    return (line, pairs, body)


@given(uri=st.one_of(anything, near.map('/{}'.format)),
       given_headers=st.dictionaries(st.one_of(anything, near, names),
                                     st.one_of(anything, near, values),
                                     max_size=4))
@example('/ HTTP/1.1\r\na: b', {})
@example('/', {'a\r\nb': 'c'})
@example('/', {'a': 'b\r\nc: d'})
def test_nothing_is_smuggled_out(uri, given_headers):
    """Either all of it is what it says, or not a byte leaves."""
    sock = Script(EMPTY)
    conn = Connection(sock, None)
    try:
        conn.get(uri, given_headers)
    except ValueError:
        assert sock.sent == b'' and not conn.closed
        return
    (line, pairs, body) = parse_sent(sock.sent)
    assert line == b'GET ' + uri.encode('ascii') + b' HTTP/1.1'
    assert sorted(pairs) == sorted(
        (name.encode('ascii'), value.encode('ascii'))
        for (name, value) in given_headers.items())
    assert body == b''
    for byte in (b'\r', b'\n', b'\0'):
        assert all(byte not in part for pair in pairs for part in pair)
        assert byte not in line


@given(reason=st.one_of(anything, near, reasons),
       told=st.dictionaries(st.one_of(anything, near, names),
                            st.one_of(anything, near, values), max_size=4))
def test_nothing_is_smuggled_back(served, reason, told):
    served.mirror.answer = (200, reason, told, None)
    data = talk(served.address, LAST)
    (line, pairs, body) = parse_sent(data)
    if line != b'HTTP/1.1 200 ' + reason.encode('utf-8', 'replace'):
        assert line.startswith(b'HTTP/1.1 500 ')
        assert sorted(pairs) == [(b'connection', b'close'),
                                 (b'content-length', b'0')]
    else:
        want = [(name.encode('ascii'), value.encode('ascii'))
                for (name, value) in told.items()]
        assert sorted(pairs) == sorted(
            [*want, (b'content-length', b'0')] +
            [(b'connection', b'close')] * ('connection' not in told))
    assert body == b''


# ----------------------------------------------------------- what must not hurt

SCRAPS = [b'GET', b'PUT', b'POST', b'HEAD', b' ', b'/', b'/a?b', b'HTTP/1.1',
          b' HTTP/1.1\r\n', b'GET / HTTP/1.1\r\n', b'PUT / HTTP/1.1\r\n',
          b'\r\n', b'\r\n\r\n', b'\n', b'\r', b':', b'a: b\r\n', b'host: a\r\n',
          b'content-length: 5\r\n', b'content-length: 0\r\n',
          b'transfer-encoding: chunked\r\n', b'connection: close\r\n',
          b'expect: 100-continue\r\n', b'range: bytes=0-4\r\n', b'hello',
          b'5\r\nhello\r\n', b'0\r\n\r\n', b'0\r\n', b'5;a=b\r\n',
          b'ffffff\r\n',
          b'HTTP/1.1 200 OK\r\n', b'HTTP/1.0 200 OK\r\n',
          b'HTTP/1.1 100 Continue\r\n\r\n', b'\0', b'%2e', b'%', b'"', b';']
noise = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(st.sampled_from(SCRAPS), st.binary(max_size=5)),
             max_size=25).map(b''.join))


@given(data=noise, end=st.booleans())
def test_noise_at_the_server(served, data, end):
    """All that comes back is whole responses, and the next peer is served."""
    served.mirror.answer = None
    # Without an end the answer to a half message takes its time.
    if not end:
        data += b'\0\r\n\r\n'
    found = answers(talk(served.address, data, end=True))
    assert all(100 <= answer.status <= 599 for answer in found)
    served.mirror.answer = (200, 'OK', {}, b'hello')
    (answer,) = answers(talk(served.address, LAST))
    assert (answer.status, answer.body) == (200, b'hello')


def outcome_of(data, step, method):
    """All that a caller can see of an exchange with a server that says data:
    the same for every way to cut it."""
    sock = Script(data, step)
    conn = Connection(sock, None)
    seen = []
    try:
        for _ in range(3):
            response = conn.request(method, '/', {}, None)
            assert type(response) is Response
            seen.append((response.status, response.reason, response.headers))
            body = response.body
            if body is not None:
                seen.append(body.read())
    except (ProtocolError, EmptyPreambleError) as error:
        # Whether it lies in the buffer by the time one asks is chance.
        if error.code != 'E_UNASKED':
            seen.append((type(error), error.code))
        assert conn.closed
    return seen


@given(data=st.one_of(noise, noise.map(lambda data: b'HTTP/1.1 200 OK\r\n' +
                                       data)),
       method=st.sampled_from(['GET', 'HEAD', 'PUT']), step=st.integers(1, 9))
def test_noise_at_the_client(data, method, step):
    """A response or a typed exception, the same however it comes in."""
    whole = outcome_of(data, None, method)
    parts = outcome_of(data, step, method)
    assert whole == parts[:len(whole)]


# ------------------------------------------------------------------ odd answers

plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.binary(max_size=8), st.just(object()), st.just(print),
    st.just(api.Range(0, 5)), st.just(api.ContentRange(0, 5, 9)))
nested = st.recursive(plain, lambda inside: st.one_of(
    st.lists(inside, max_size=4), st.lists(inside, max_size=4).map(tuple),
    st.dictionaries(st.one_of(st.text(max_size=8), st.integers()), inside,
                    max_size=3)), max_leaves=8)


def lazily(make):
    """A body object is good for one use, so each example gets its own."""
    return nested.map(lambda value: ('make', make, value))


odd_bodies = st.one_of(
    nested, lazily(lambda value: api.BodyIter(value, 5)),
    lazily(lambda value: api.BodyIter([value], 5)),
    lazily(lambda value: api.ChunkedBodyIter(value)),
    lazily(lambda value: api.ChunkedBodyIter([value, (None, b'')])),
    lazily(lambda value: api.ChunkedBodyIter([(value, b'x'), (None, b'')])),
    lazily(lambda value: api.ChunkedBodyIter([(None, value), (None, b'')])))
odd_headers = st.one_of(nested, st.dictionaries(
    st.one_of(st.sampled_from(sorted(KNOWN)), names, near), nested, max_size=4))
odd_answers = st.one_of(
    nested, st.tuples(
        st.one_of(st.integers(100, 599), st.sampled_from([200, 204, 304]),
                  plain), st.one_of(st.just('OK'), nested),
        st.one_of(st.just({}), odd_headers), odd_bodies))


def made(answer):
    if isinstance(answer, tuple) and len(answer) == 4:
        body = answer[3]
        if isinstance(body, tuple) and body[:1] == ('make',):
            return (*answer[:3], body[1](body[2]))
    return answer


@given(answer=odd_answers)
def test_odd_answers(served, answer):
    """Whatever an app returns: a response that can be read, or a 500, or a cut
    after which the next peer is served."""
    served.mirror.answer = made(answer)
    data = talk(served.address, LAST)
    assert data.startswith(b'HTTP/1.1 ')
    status = int(data[9:12])
    assert 200 <= status <= 599
    if status == 500 and not (isinstance(answer, tuple) and
                              answer[:1] == (500,)):
        (found,) = answers(data)
        assert found.headers == {'content-length': '0', 'connection': 'close'}
    served.mirror.answer = (200, 'OK', {}, b'hello')
    assert answers(talk(served.address, LAST))[0].body == b'hello'


@given(answer=nested)
def test_odd_on_connect(answer):
    assume(answer is not True)
    app = App()
    app.on_connect = lambda session, sock: answer
    with Running(app) as running:
        try:
            assert talk(running.address, LAST) == b''
        except ConnectionResetError:
            pass
    assert app.calls == 0


# ---------------------------------------------------------------------- values

lengths = st.one_of(st.integers(0, 50), st.integers(0, 9999999999999999))


@given(start=lengths, stop=lengths, total=lengths)
def test_ranges(served, start, stop, total):
    assume(start < stop)
    one = api.Range(start, stop)
    assert str(one) == 'bytes={}-{}'.format(start, stop - 1)
    served.mirror.answer = (200, 'OK', {}, None)
    served.conn.get_range('/', {}, start, stop)
    assert served.mirror.request.headers == {'range': one}
    if total <= start:
        with pytest.raises(ValueError):
            one.content_range(total)
        return
    given_range = one.content_range(total)
    assert one.content_length(total) == given_range.stop - given_range.start
    assert given_range == api.ContentRange(start, min(stop, total), total)
    headers = {'content-range': given_range}
    served.mirror.answer = (206, 'Partial', headers, None)
    response = served.conn.get('/', {})
    assert response.headers == {'content-range': given_range}
