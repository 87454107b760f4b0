# SPDX-License-Identifier: MIT OR 0BSD
"""reference.py, which reads HTTP in another way, agrees with the extension on
what is good, on all that it says, and on the status that answers what is not:
over tests/vectors, and over what hypothesis makes of good messages by breaking
them a little."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import reference
from cases import CASES, first, framing, headers, of_kind, text
from degu.base import (
    Connection,
    EmptyPreambleError,
    ProtocolError,
    TruncatedError,
)
from degu.misc import parse_headers
from peers import Running, Script, answers, is_bare, talk


class Recorder:
    """Reads every body to its end, and notes what an app can see."""

    def __init__(self):
        self.seen = []

    def __call__(self, session, request, api):
        self.seen.append([(request.method, request.uri, request.path,
                           request.query, request.headers)])
        self.seen[-1].append(received(request.body))
        # To HEAD as well as to GET this has no length.
        return (204, 'No Content', {}, None)


def received(body):
    if body is None:
        return None
    if body.chunked:
        return list(body)
    # Without a size it would refuse what it cannot take as a whole.
    return b''.join(iter(lambda: body.read(65536), b''))


@pytest.fixture(scope='module')
def served():
    recorder = Recorder()
    with Running(recorder, timeout=20, max_connections=8) as running:
        running.recorder = recorder
        yield running


# ---------------------------------------------------------------- comparisons

def check_requests(served, data):
    """The app sees the same requests and bodies, and what is refused gets the
    bare answer behind theirs."""
    (good, half, fault) = reference.requests_of(data)
    served.recorder.seen = seen = []
    found = [answer for answer in answers(talk(served.address, data, end=True))
             if answer.status != 100]
    want = [[(request.method, request.uri, request.path, request.query,
              request.headers), body] for (request, body) in good]
    if half:
        want.append([(half.method, half.uri, half.path, half.query,
                      half.headers)])
    assert seen == want, fault
    for (answer, (request, _)) in zip(found, good):
        assert answer.status == 204
        assert (answer.headers.get('connection') == 'close') == request.close
    if fault is None:
        assert len(found) == len(good)
        return
    (error,) = found[len(good):]
    assert error.status == fault.status, fault
    assert error.headers == {'content-length': '0', 'connection': 'close'}


def check_answer(data, method):
    """The caller sees the same response and body, or an exception."""
    sock = Script(data)
    conn = Connection(sock, None)
    errors = (ProtocolError, TruncatedError, EmptyPreambleError)
    try:
        (want, fault, content) = reference.answer_of(data, method)
    except reference.Refused:
        with pytest.raises(errors):
            conn.request(method, '/', {}, None)
        assert conn.closed and sock.closed == 1
        return
    response = conn.request(method, '/', {}, None)
    assert (response.status, response.reason) == (want.status, want.reason)
    assert response.headers == want.headers
    check_types(response.headers, want.headers)
    body = response.body
    assert (body is None) == (want.framing[0] == 'none')
    if body is not None:
        assert body.chunked == (want.framing[0] == 'chunked')
    if body is not None and not body.chunked:
        assert body.content_length == (want.framing + (None,))[1]
    if fault:
        with pytest.raises(errors):
            received(body)
        assert conn.closed
        return
    assert received(body) == content
    assert conn.closed == (want.close or want.framing[0] == 'until-close')


def check_types(got, want):
    assert {name: type(value) for (name, value) in got.items()} == \
        {name: type(value) for (name, value) in want.items()}


def check_lines(lines, isresponse):
    """parse_headers() by the reference: the fields of a PUT or a 200."""
    start = b'HTTP/1.1 200 OK\r\n' if isresponse else b'PUT / HTTP/1.1\r\n'
    data = start + lines + (b'\r\n\r\n' if lines else b'\r\n')
    try:
        want = (reference.response_of(data, 'GET') if isresponse else
                reference.request_of(data))
        whole = want.used == len(data)
    except reference.Refused:
        whole = False
    if not whole:
        with pytest.raises(ProtocolError):
            parse_headers(lines, isresponse)
        return
    got = parse_headers(lines, isresponse)
    assert got == want.headers
    check_types(got, want.headers)


# -------------------------------------------------------------------- vectors

def test_reference_by_vectors():
    """First of all: the reference says what the vectors say."""
    checked = 0
    for case in of_kind('request', 'response'):
        try:
            if case.kind[0] == 'request':
                got = reference.request_of(case.input)
            else:
                got = reference.response_of(case.input, case.kind[1])
        except reference.Refused as fault:
            assert case.verdict != 'ok', (case.name, fault)
            checked += 1
            continue
        assert case.verdict == 'ok', case.name
        (kind, length) = framing(case)
        assert got.framing == ((kind, length) if length else (kind,))
        assert got.close == (first(case, 'close') == 'yes'), case.name
        assert got.used == int(first(case, 'head', got.used))
        if headers(case) is not None:
            assert got.headers == headers(case), case.name
        if first(case, 'target'):
            assert got.uri == text(first(case, 'target'))
        checked += 1
    assert checked > 400


@pytest.mark.parametrize('case', of_kind('target', 'chunk-line', 'trailer',
                                         'body'),
                         ids=lambda case: case.name)
def test_reference_by_parts(case):
    (kind, *rest) = case.kind
    try:
        if kind == 'target':
            reference.target_of(case.input)
        elif kind == 'chunk-line':
            line = reference.line_at(case.input, reference.CHUNK_LINE_MAX)
            reference.require(len(line) + 2 == len(case.input), 'two lines')
            reference.require(reference.CHUNK.fullmatch(line), 'chunk line')
        elif kind == 'trailer':
            used = reference.trailers_of(case.input + b'\r\n')
            assert used == len(case.input) + 2
        else:
            length = int(rest[1]) if len(rest) > 1 else None
            (_, fault, body) = reference.body_of(
                case.input, (rest[0], length) if length else
                ('none' if rest[0] == 'length' else rest[0],))
            if fault:
                raise fault
    except reference.Refused as fault:
        assert case.verdict != 'ok', fault
    else:
        assert case.verdict == 'ok'


@pytest.mark.parametrize('case', of_kind('request', 'requests'),
                         ids=lambda case: case.name)
def test_requests(served, case):
    check_requests(served, case.input)


@pytest.mark.parametrize('case', of_kind('response', 'responses'),
                         ids=lambda case: case.name)
def test_responses(case):
    check_answer(case.input, case.kind[1])


@pytest.mark.parametrize('case', [case for case in of_kind('body')
                                  if case.kind[1] != 'until-close'],
                         ids=lambda case: case.name)
def test_bodies(served, case):
    (kind, length) = ([*case.kind[1:], 0])[:2]
    line = b'content-length: %d' % int(length) if kind == 'length' else \
        b'transfer-encoding: chunked'
    rest = line + b'\r\n\r\n' + case.input
    check_requests(served, b'PUT / HTTP/1.1\r\n' + rest)
    check_answer(b'HTTP/1.1 200 OK\r\n' + rest, 'GET')


# ----------------------------------------------------------------- hypothesis

SHORT = [case for case in CASES if len(case.input) <= 400]
REQUESTS = [case.input for case in SHORT
            if case.kind[0] in ('request', 'requests')] + [
    b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n' + case.input
    for case in SHORT if case.kind[:2] == ['body', 'chunked']] + [
    b'GET ' + case.input + b' HTTP/1.1\r\n\r\n'
    for case in SHORT if case.kind[0] == 'target']
RESPONSES = [case.input for case in SHORT
             if case.kind[0] in ('response', 'responses')] + [
    b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n' + case.input
    for case in SHORT if case.kind[:2] == ['body', 'chunked']]

SCRAPS = [
    b'\r\n', b'\n', b'\r', b'\r\n\r\n', b'\0', b' ', b'\t', b':', b',', b';',
    b'=', b'"', b'\\', b'%', b'%2e', b'%2F', b'%00', b'.', b'..', b'/', b'?',
    b'#', b'0', b'1', b'5', b'+', b'-', b'[', b']', b'::', b'a', b'Z', b'\x7f',
    b'\x80', b'HTTP/1.0', b'HTTP/1.1', b'0\r\n\r\n', b'close',
    b'content-length: 5\r\n', b'content-length: 0\r\n', b'Content-Length:6\r\n',
    b'transfer-encoding: chunked\r\n', b'Transfer-Encoding: Chunked\r\n',
    b'transfer_encoding: chunked\r\n', b'connection: close\r\n',
    b'connection: host, x-a\r\n', b'x-a: b\r\n', b'host: [::1]:80\r\n',
    b'host: a:65536\r\n', b'expect: 100-continue\r\n', b'expect: x\r\n',
    b'range: bytes=0-4\r\n', b'content-range: bytes 0-4/9\r\n',
    b'set-cookie: a=b\r\n', b'etag: "a"\r\n', b'keep-alive: x\r\n',
    b'GET / HTTP/1.1\r\n', b'HTTP/1.1 100 Continue\r\n\r\n', b'hello',
]
scraps = st.one_of(st.sampled_from(SCRAPS), st.binary(min_size=1, max_size=2))
places = st.integers(0, 400)


@st.composite
def changed(draw, sources):
    """A message in which a little is other than it was."""
    data = draw(st.sampled_from(sources))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(places) % (len(data) + 1)
        kind = draw(st.sampled_from(['put', 'put', 'over', 'drop', 'twice',
                                     'line', 'join']))
        if kind == 'put':
            data = data[:at] + draw(scraps) + data[at:]
        elif kind == 'over':
            scrap = draw(scraps)
            data = data[:at] + scrap + data[at + len(scrap):]
        elif kind == 'drop':
            data = data[:at] + data[at + draw(st.integers(1, 3)):]
        elif kind == 'twice':
            data = data[:at] + data[at:at + draw(st.integers(1, 40))] + \
                data[at:]
        elif kind == 'line':
            at = data.find(b'\r\n', at) + 2
            data = data[:at] + draw(scraps) + data[at:]
        else:
            data += draw(st.sampled_from(sources))
    return data


@given(data=changed(REQUESTS))
@example(b'PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello'
         b'GET / HTTP/1.1\r\n\r\n')
@example(b'GET / HTTP/1.1\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n')
def test_changed_requests(served, data):
    check_requests(served, data)


@given(data=changed(RESPONSES), method=st.sampled_from(['GET', 'HEAD', 'PUT']))
def test_changed_responses(data, method):
    check_answer(data, method)


@given(data=changed([b'\r\n'.join([b'host: a', b'accept: */*', b'x-a: b'])] +
                    [source.split(b'\r\n', 1)[-1].split(b'\r\n\r\n')[0]
                     for source in REQUESTS + RESPONSES]),
       isresponse=st.booleans())
def test_changed_lines(data, isresponse):
    check_lines(data, isresponse)


@given(path=st.lists(st.sampled_from(
    [b'/', b'.', b'%2e', b'%2E', b'%2f', b'%5c', b'%00', b'%41', b'a', b'~',
     b'?', b'%', b'%4', b'[', b'#', b'@', b'"']), max_size=12).map(b''.join))
def test_targets(served, path):
    check_requests(served, b'GET /' + path + b' HTTP/1.1\r\n\r\n')


@given(host=st.lists(st.sampled_from(
    [b'[', b']', b'::', b':', b'1', b'ffff', b'12345', b'1.2.3.4', b'.', b'0',
     b'256', b'a', b'%41', b'%', b'@', b'65535', b'65536', b'v1.a']),
    max_size=12).map(b''.join), inside=st.booleans())
def test_hosts(served, host, inside):
    host = b'[' + host + b']' if inside else host
    check_requests(served,
                   b'GET / HTTP/1.1\r\nhost: ' + host + b'\r\n\r\n')


@given(stream=st.lists(st.sampled_from(
    [b'5\r\nhello', b'5;a=b\r\nhello', b'00005;a="b\\"";c\r\nhello', b'\r\n',
     b'\r\n', b'\n', b'\r', b'\rX', b'0\r\n', b'0;z\r\n', b'x-a: b\r\n',
     b'x-a: b\n', b'host: a\r\n', b' ', b';', b'G',
     b'GET / HTTP/1.1\r\n\r\n']), max_size=10).map(b''.join))
@example(b'5\r\nhello\rX0\r\n\r\n')
@example(b'5\r\nhello\r\n0\r\n\n')
def test_chunks(served, stream):
    rest = b'transfer-encoding: chunked\r\n\r\n' + stream
    check_requests(served, b'PUT / HTTP/1.1\r\n' + rest)
    check_answer(b'HTTP/1.1 200 OK\r\n' + rest, 'GET')


@given(between=st.lists(st.sampled_from(
    [b'\n', b'\r', b'\r\n', b' ', b'\0', b'0\r\n\r\n']), max_size=2).map(
        b''.join), lines=st.lists(st.sampled_from(
            [b'content-length: 0\r\n', b'content-length: 1\r\n',
             b'transfer-encoding: chunked\r\n', b'connection: close\r\n',
             b'Content-Length : 1\r\n', b'content-length: 01\r\n',
             b'content_length: 1\r\n', b'content-length:\t1 \r\n']),
            max_size=2).map(b''.join),
       method=st.sampled_from([b'GET', b'PUT', b'HEAD', b'DELETE']))
def test_messages_begin_where_the_last_ended(served, between, lines, method):
    check_requests(served, method + b' /a HTTP/1.1\r\n' + lines + b'\r\n' +
                   between + b'GET /b HTTP/1.1\r\n\r\n')


numbers = st.sampled_from(['0', '1', '5', '9', '05', '', '+1', '0x1', '1_0',
                           '9999999999999998', '9999999999999999',
                           '10000000000000000'])


@given(numbers=st.tuples(numbers, numbers, numbers), isresponse=st.booleans(),
       line=st.sampled_from(['range: bytes={}-{}', 'range: bytes={}-{},1-2',
                             'Range: Bytes={}-{}', 'content-length: {}',
                             'content-range: bytes {}-{}/{}',
                             'content-range: bytes {}-{}/*']))
@example(('0', '0', '1'), False, 'range: bytes={}-{}')
@example(('0', '0', '1'), True, 'content-range: bytes {}-{}/{}')
def test_numbers(numbers, isresponse, line):
    check_lines(line.format(*numbers).encode(), isresponse)


LIMITS = {
    'head-fits': (204, b'GET / HTTP/1.1\r\na: %s\r\n\r\n' %
                  (b'b' * (reference.PREAMBLE_MAX - 23))),
    'head': (431, b'GET / HTTP/1.1\r\na: %s\r\n\r\n' %
             (b'b' * (reference.PREAMBLE_MAX - 22))),
    'line': (414, b'GET /%s HTTP/1.1\r\n\r\n' %
             (b'a' * reference.PREAMBLE_MAX)),
    'line-end-at-the-limit': (414, b'GET /%s\n' %
                              (b'a' * (reference.PREAMBLE_MAX - 5))),
    'bare-lf-at-the-limit': (400, b'GET /%s\n' %
                             (b'a' * (reference.PREAMBLE_MAX - 6))),
    'fields-fit': (204, b'GET / HTTP/1.1\r\n%s\r\n' %
                   (b'a: b\r\n' * reference.HEADER_MAX)),
    'fields': (431, b'GET / HTTP/1.1\r\n%s\r\n' %
               (b'a: b\r\n' * (reference.HEADER_MAX + 1))),
    'name-fits': (204, b'GET / HTTP/1.1\r\n%s: b\r\n\r\n' %
                  (b'a' * reference.NAME_MAX)),
    'name': (431, b'GET / HTTP/1.1\r\n%s\x7f\r\n\r\n' %
             (b'a' * (reference.NAME_MAX + 1))),
    'method': (501, b'FOO\x20\x20/ HTTP/9.9\r\na\r\n\r\n'),
    'method-syntax': (400, b'F(O / HTTP/1.1\r\n\r\n'),
    'version': (505, b'GET / HTTP/1.0 x\r\na\r\n\r\n'),
    'version-syntax': (400, b'GET / HTTP/10.1\r\n\r\n'),
    'coding': (501, b'PUT / HTTP/1.1\r\ntransfer-encoding: gzip\r\n'
               b'content-length: 1\r\n\r\n'),
    'coding-behind-length': (501, b'PUT / HTTP/1.1\r\ncontent-length: 1\r\n'
                             b'transfer-encoding: gzip\r\n\r\n'),
    'two-framings': (400, b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n'
                     b'content-length: 1\r\nexpect: x\r\n\r\n'),
    'expect': (417, b'GET / HTTP/1.1\r\nexpect: x\r\na\r\n\r\n'),
    'trailers': (431, b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n'
                 b'0\r\na: %s' % (b'b' * reference.TRAILER_MAX)),
    'trailer-expect': (400, b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n'
                       b'\r\n0\r\nexpect: x\r\n\r\n'),
    'trailer-name': (431, b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n'
                     b'\r\n0\r\n%s: b\r\n\r\n' %
                     (b'a' * (reference.NAME_MAX + 1))),
    'chunk': (413, b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n'
              b'1000001\r\n'),
    'chunk-fits': (400, b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n'
                   b'\r\n1000000\r\n'),
    'chunk-line': (400, b'PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n'
                   b'\r\n%s' % (b'0' * reference.CHUNK_LINE_MAX)),
}


@pytest.mark.parametrize('name', LIMITS)
def test_statuses(served, name):
    """By rule, by the reference and by the server: the first fault's."""
    (status, data) = LIMITS[name]
    (good, _, fault) = reference.requests_of(data)
    assert (204 if good else fault.status) == status
    check_requests(served, data)


@given(parts=st.tuples(
    st.sampled_from([b'GET', b'PUT', b'FOO', b'get', b'(', b'', b'GET ']),
    st.sampled_from([b' / ', b' //a ', b'  ', b' /', b' x ', b' /\t ']),
    st.sampled_from([b'HTTP/1.1', b'HTTP/1.0', b'HTTP/2.0', b'HTTP/11', b'',
                     b'HTTP/1.1 ', b'HTTP/2.0 x', b'http/1.1'])),
    lines=st.lists(st.sampled_from(
        [b'a: b', b'a b', b' a: b', b'n' * 65 + b': b', b'n' * 65, b'a: \x7f',
         b'expect: x', b'expect: 100-continue', b'transfer-encoding: gzip',
         b'transfer-encoding:', b'transfer-encoding: chunked',
         b'content-length: 1', b'content-length: x', b'content-length: 0',
         b'host: a/b', b'range: bytes=0-4', b'content-range: x',
         b'content-range: bytes 0-4/9', b'date:', b'']), max_size=5),
    chunks=st.sampled_from([b'', b'x', b'5\r\nhello\r\n0\r\n\r\n']))
def test_first_faults(served, parts, lines, chunks):
    """Heads with several faults are answered by the first of them."""
    check_requests(served, b'\r\n'.join([b''.join(parts), *lines]) +
                   b'\r\n\r\n' + chunks)


@given(head=st.binary(max_size=60))
def test_noise(served, head):
    """What the reference refuses gets one bare answer, and nothing else."""
    check_requests(served, head + b'\r\n\r\n')
    if not reference.requests_of(head + b'\r\n\r\n')[0]:
        data = talk(served.address, head + b'\r\n\r\n', end=True)
        assert is_bare(data, answers(data)[0].status)
