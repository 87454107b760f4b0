# SPDX-License-Identifier: MIT OR 0BSD
"""tests/vectors through the Python side: raw socket against Degu's server,
whole and byte by byte; Degu's client against scripted and raw servers."""

import threading

import pytest

from cases import (
    CASES,
    STATUS,
    first,
    framing,
    headers,
    name_of,
    of_kind,
    parts,
    text,
)
from degu.base import (
    Body,
    ChunkedBody,
    Connection,
    EmptyPreambleError,
    ProtocolError,
    TruncatedError,
    api,
)
from peers import (
    WAIT,
    Running,
    Script,
    answers,
    dial,
    everything,
    is_bare,
    listening,
    receive_head,
    send_all,
    talk,
)

STEPS = (None, 1)
# Byte by byte costs a system call a byte.
SHORT = 600


class Recorder:
    """Reads what the session's first request is told to, and notes it."""

    def __init__(self):
        self.read = None
        self.forget()

    def forget(self):
        self.requests = []
        self.events = []

    def __call__(self, session, request, api):
        self.requests.append(request)
        self.events.append(('request', request.method, request.uri))
        if self.read and request.body is not None:
            self.read(request.body, self.events)
        return (200, 'OK', {}, None)


def read_pieces(body, events):
    """Notes a body as it comes, chunk by chunk if it has them."""
    for item in body:
        if body.chunked:
            events.append(('chunk', len(item[1]), item[0]))
            item = item[1]
        if item:
            events.append(('data', item))


def expected_events(case):
    """What read_pieces() must note; trailers are not shown in Python."""
    events = []
    for (key, values) in case.wants:
        if key == 'request':
            events.append(('request', values[0], text(values[1])))
        elif key == 'chunk':
            events.append(('chunk', int(values[0]), None))
        elif key == 'ext' and events[-1][2] is None:
            (kind, size, _) = events[-1]
            events[-1] = (kind, size, (text(values[0]), text(values[1])))
        elif key == 'data':
            events.append(('data', values[0]))
    return events


def joined(events):
    """Data that came in pieces as one; a body cut off shows no more than the
    whole pieces before the cut."""
    made = []
    for event in events:
        if event[0] == 'data' and made and made[-1][0] == 'data':
            made[-1] = ('data', made[-1][1] + event[1])
        else:
            made.append(event)
    return made


@pytest.fixture(scope='module')
def served():
    recorder = Recorder()
    with Running(recorder, timeout=20, max_connections=8) as running:
        running.recorder = recorder
        yield running


@pytest.fixture
def recorder(served):
    served.recorder.forget()
    served.recorder.read = None
    return served.recorder


def steps(cases):
    return [pytest.param(case, step, id='{}-{}'.format(case.name, step))
            for case in cases for step in STEPS
            if step is None or len(case.input) <= SHORT]


def check_refused(data, case, recorder):
    """The status of the list, nothing more, and the app never knew."""
    assert is_bare(data, STATUS[case.verdict])
    assert recorder.requests == []


# ------------------------------------------------------------- server: heads

@pytest.mark.parametrize('case, step', steps(of_kind('request')))
def test_request(served, recorder, case, step):
    data = talk(served.address, case.input, step, end=True)
    if case.verdict == 'more':
        assert recorder.requests == []
        assert data == b'' if not case.input else is_bare(data, 400)
        return
    if case.verdict != 'ok':
        check_refused(data, case, recorder)
        return
    (request, *rest) = recorder.requests
    check_request(case, request)
    (answer, *others) = answers(data, request.method)
    # What stands behind the head is another message's.
    more = len(case.input) > int(first(case, 'head', len(case.input)))
    assert more or (rest, others) == ([], [])
    unread = framing(case)[0] != 'none'
    closes = unread or first(case, 'close') == 'yes'
    assert answer.status == 200
    assert (answer.headers.get('connection') == 'close') == closes


def check_request(case, request):
    if first(case, 'method'):
        assert request.method == first(case, 'method')
    if first(case, 'target'):
        assert request.uri == text(first(case, 'target'))
    if first(case, 'path'):
        assert '/' + '/'.join(request.path) == text(first(case, 'path'))
    if parts(case) is not None:
        assert request.path == parts(case)
    assert request.mount == []
    assert request.query == text(first(case, 'query'))
    (kind, length) = framing(case)
    assert type(request.body) is {'none': type(None), 'length': Body,
                                  'chunked': ChunkedBody}[kind]
    if length is not None:
        assert request.body.content_length == length
    if headers(case) is not None:
        assert request.headers == headers(case)
        types = [type(value) for value in request.headers.values()]
        assert types == [type(value) for value in headers(case).values()]
    if first(case, 'host'):
        assert request.headers['host'] == text(first(case, 'host'))


@pytest.mark.parametrize('case', of_kind('target'), ids=name_of)
def test_target(served, recorder, case):
    data = talk(served.address, b'GET ' + case.input + b' HTTP/1.1\r\n\r\n',
                end=True)
    if case.verdict != 'ok':
        assert answers(data)[0].status in (400, 414)
        assert recorder.requests == []
        return
    (request,) = recorder.requests
    assert request.uri == text(case.input)
    assert request.query == text(first(case, 'query'))
    if parts(case) is not None:
        assert request.path == parts(case)
    assert answers(data)[0].status == 200


# ------------------------------------------------------------ server: bodies

def put(kind, length, data):
    field = b'content-length: %d' % length if kind == 'length' else \
        b'transfer-encoding: chunked'
    return b'PUT / HTTP/1.1\r\n' + field + b'\r\n\r\n' + data


def verdict(case):
    """Who wants whole chunks has a limit for them."""
    if any(int(size) > 16777216 for (size,) in case.all('chunk')):
        return 'E_CHUNK_LIMIT'
    return case.verdict


def check_stream(case, recorder):
    """The events, then the answer that the verdict asks for."""
    want = expected_events(case)
    got = joined(recorder.events)
    if case.verdict in ('ok', 'E_CLOSED', 'E_FINISHED'):
        assert got == want
        return
    # What the app had seen when the fault showed is right as far as it goes.
    assert got == want[:len(got)] or kept(got) == kept(want)[:len(kept(got))]


def kept(events):
    return [event for event in events if event[0] != 'data']


@pytest.mark.parametrize('case, step', steps(
    case for case in of_kind('body') if case.kind[1] != 'until-close'))
def test_request_body(served, recorder, case, step):
    (kind, length) = (case.kind[1], int(([*case.kind, 0])[2]))
    if kind == 'length' and length == 0:
        return
    recorder.read = read_pieces
    data = talk(served.address, put(kind, length, case.input), step, end=True)
    # What stands behind the body is another message's.
    starts = [index for (index, event) in enumerate(recorder.events)
              if event[0] == 'request']
    (start, stop) = ([*starts, None])[:2]
    recorder.events = recorder.events[start + 1:stop]
    check_stream(case, recorder)
    if case.verdict == 'ok':
        assert answers(data)[0].status == 200
    else:
        assert is_bare(data, STATUS[verdict(case)])


@pytest.mark.parametrize('case', of_kind('chunk-line'), ids=name_of)
def test_chunk_line(served, recorder, case):
    size = int(first(case, 'size', 0))
    if size > 100000:
        return
    recorder.read = read_pieces
    stream = case.input
    if case.verdict == 'ok':
        stream += b'x' * size + b'\r\n' + (b'0\r\n\r\n' if size else b'')
    data = talk(served.address, put('chunked', 0, stream), end=True)
    if case.verdict != 'ok':
        assert is_bare(data, 400)
        return
    assert answers(data)[0].status == 200
    (kind, got, extension) = recorder.events[1]
    assert (kind, got) == ('chunk', size)
    given = case.all('ext')
    want = tuple(text(value) for value in given[0]) if given else None
    assert extension == want


@pytest.mark.parametrize('case', of_kind('trailer'), ids=name_of)
def test_trailer(served, recorder, case):
    recorder.read = read_pieces
    data = talk(served.address, put(
        'chunked', 0, b'0\r\n' + case.input + b'\r\n'), end=True)
    if case.verdict == 'ok':
        assert answers(data)[0].status == 200
    else:
        assert answers(data)[0].status in (400, 431)
        assert is_bare(data, answers(data)[0].status)


@pytest.mark.parametrize('case, step', steps(of_kind('requests')))
def test_requests(served, recorder, case, step):
    recorder.read = read_pieces
    data = talk(served.address, case.input, step, end=True)
    check_stream(case, recorder)
    found = answers(data)
    good = [answer for answer in found if answer.status == 200]
    if case.verdict in ('ok', 'E_CLOSED', 'E_FINISHED'):
        assert good == found
        assert len(good) == len(recorder.requests)
    else:
        assert found[-1].status == STATUS[case.verdict]
        assert found[-1].headers == {'content-length': '0',
                                     'connection': 'close'}


# ------------------------------------------------------------------- clients

def exchange(case, sock):
    """A connection over sock, and the response to this case's method."""
    conn = Connection(sock, None)
    return (conn, conn.request(case.kind[1], '/', {}, None))


def check_error(name, error):
    """The error of the list under its Python name."""
    assert error.code == name
    assert error.status == STATUS[name]
    assert type(error) is {'E_CLOSED': EmptyPreambleError,
                           'E_TRUNCATED': TruncatedError}.get(
                               name, ProtocolError)


@pytest.mark.parametrize('case, step', steps(of_kind('response')))
def test_response(case, step):
    sock = Script(case.input, step)
    if case.verdict == 'more':
        with pytest.raises((TruncatedError, EmptyPreambleError)):
            exchange(case, sock)
        assert sock.closed == 1
        return
    if case.verdict == 'ok' and int(first(case, 'status', 200)) < 200:
        # An interim response is no answer; behind it nothing came.
        with pytest.raises(TruncatedError):
            exchange(case, sock)
        assert sock.closed == 1
        return
    if case.verdict != 'ok':
        with pytest.raises(ProtocolError) as info:
            exchange(case, sock)
        check_error(case.verdict, info.value)
        assert sock.closed == 1
        return
    (conn, response) = exchange(case, sock)
    check_response(case, response)
    if framing(case)[0] == 'none':
        assert conn.closed == (first(case, 'close') == 'yes')
    conn.close()


def check_response(case, response):
    if first(case, 'status'):
        assert response.status == int(first(case, 'status'))
    if first(case, 'reason') is not None:
        assert response.reason == text(first(case, 'reason'))
    (kind, length) = framing(case)
    assert type(response.body) is {
        'none': type(None), 'length': Body, 'chunked': ChunkedBody,
        'until-close': Body}[kind]
    if kind in ('length', 'until-close'):
        assert response.body.content_length == length
    if headers(case) is not None:
        assert response.headers == headers(case)


def answer_head(kind, length):
    field = {'length': b'content-length: %d\r\n' % length,
             'chunked': b'transfer-encoding: chunked\r\n',
             'until-close': b''}[kind]
    return b'HTTP/1.1 200 OK\r\n' + field + b'\r\n'


@pytest.mark.parametrize('case, step', steps(of_kind('body')))
def test_response_body(case, step):
    (kind, length) = (case.kind[1], int(([*case.kind, 0])[2]))
    if kind == 'length' and length == 0:
        return
    sock = Script(answer_head(kind, length) + case.input, step)
    conn = Connection(sock, None)
    response = conn.get('/', {})
    events = []
    if case.verdict == 'ok':
        read_pieces(response.body, events)
        assert joined(events) == expected_events(case)
        assert response.body.state == 2
        return
    with pytest.raises(ProtocolError) as info:
        read_pieces(response.body, events)
    check_error(verdict(case), info.value)
    assert response.body.state == 3
    assert conn.closed and sock.closed == 1


@pytest.mark.parametrize('case, step', steps(of_kind('body')))
def test_response_body_whole(case, step):
    """The same read in one go, without boundaries."""
    (kind, length) = (case.kind[1], int(([*case.kind, 0])[2]))
    if kind == 'length' and (length == 0 or length > 16777216):
        return
    sock = Script(answer_head(kind, length) + case.input, step)
    body = Connection(sock, None).get('/', {}).body
    if case.verdict == 'ok':
        want = b''.join(event[1] for event in expected_events(case)
                        if event[0] == 'data')
        assert body.read() == want
        return
    with pytest.raises(ProtocolError) as info:
        body.read()
    check_error(case.verdict, info.value)
    assert body.state == 3 and sock.closed == 1


@pytest.mark.parametrize('case, step', steps(of_kind('responses')))
def test_responses(case, step):
    closed = threading.Event()

    def run(sock):
        receive_head(sock)
        send_all(sock, case.input, step)
        sock.close()
        closed.set()

    with listening(run) as address:
        sock = dial(address)
        try:
            check_responses(case, Connection(sock, None), closed)
        finally:
            sock.close()


def check_responses(case, conn, closed):
    events = []
    response = body = None
    try:
        response = conn.request(case.kind[1], '/', {}, None)
        events.append(('response', response.status))
        body = response.body
        if body is not None:
            read_pieces(body, events)
        assert closed.wait(WAIT)
        conn.request('GET', '/', {}, None)
    except (ProtocolError, EmptyPreambleError, ConnectionError) as error:
        assert getattr(error, 'code', None) == case.verdict
    else:
        raise AssertionError('nothing was raised')
    assert conn.closed
    want = [('response', int(values[0]))
            for values in case.all('response')] + expected_events(case)
    if case.verdict in ('E_CLOSED', 'E_FINISHED', 'E_UNASKED'):
        assert joined(events) == want


# ------------------------------------------------------------ both directions

@pytest.mark.parametrize('case', of_kind('target'), ids=name_of)
def test_target_sent(case):
    """The writer has the reader's grammar (rule 17)."""
    sock = Script(b'HTTP/1.1 204 No Content\r\n\r\n')
    conn = Connection(sock, None)
    target = case.input.decode('latin-1')
    if case.verdict == 'ok':
        conn.get(target, {})
        assert sock.sent.split(b' ')[1] == case.input
        return
    with pytest.raises(ValueError):
        conn.get(target, {})
    assert sock.sent == b''


@pytest.mark.parametrize('case', of_kind('fields'), ids=name_of)
def test_fields(served, recorder, case):
    """Field lines alone, in a request and in a response."""
    data = talk(served.address, b'GET / HTTP/1.1\r\n' + case.input + b'\r\n',
                end=True)
    sock = Script(b'HTTP/1.1 204 No Content\r\n' + case.input + b'\r\n')
    if case.verdict != 'ok':
        assert is_bare(data, STATUS[case.verdict])
        assert recorder.requests == []
        with pytest.raises(ProtocolError) as info:
            Connection(sock, None).get('/', {})
        assert info.value.code == case.verdict
        return
    want = headers(case)
    if want is not None:
        assert recorder.requests[0].headers == want
        assert Connection(sock, None).get('/', {}).headers == want


def test_every_kind_is_run():
    """A kind that nobody reads here is a hole.  Values alone are covered by
    the heads in which they stand."""
    here = {'request', 'response', 'fields', 'trailer', 'target', 'chunk-line',
            'body', 'requests', 'responses', 'length', 'range',
            'content-range'}
    assert {case.kind[0] for case in CASES} <= here


@pytest.mark.parametrize('case', [
    case for case in of_kind('length', 'range', 'content-range')
    # A head's values are trimmed.
    if case.input == case.input.strip(b' \t')], ids=name_of)
def test_value(served, recorder, case):
    """A value as it arrives in a head.  What is not of the plain form is text
    (D13), or for a length refused."""
    (kind,) = case.kind
    if kind == 'content-range':
        sock = Script(b'HTTP/1.1 416 No\r\ncontent-length: 0\r\n' +
                      b'content-range: ' + case.input + b'\r\n\r\n')
        value = value_of(case, lambda: Connection(sock, None).get(
            '/', {}).headers['content-range'])
    else:
        name = {'length': b'content-length', 'range': b'range'}[kind]
        method = b'PUT' if kind == 'length' else b'GET'
        talk(served.address, method + b' / HTTP/1.1\r\n' + name + b': ' +
             case.input + b'\r\n\r\n', end=True)
        value = value_of(case, lambda: recorder.requests[0].headers.get(
            name.decode()))
    if case.verdict != 'ok':
        assert value is None or type(value) is str
    elif kind == 'length':
        assert (value or 0) == int(first(case, 'value'))
    else:
        (want,) = case.all(kind)
        made = api.Range if kind == 'range' else api.ContentRange
        assert value == made(*[int(number) for number in want])


def value_of(case, get):
    """What get() gives, or None where the head was refused, as it may be only
    if the case is an error."""
    try:
        return get()
    except (ProtocolError, IndexError):
        assert case.verdict != 'ok'
        return None


def test_requests_one_by_one(served, recorder):
    """Two requests of which the second comes with the first's last byte."""
    with dial(served.address) as sock:
        sock.sendall(b'GET /a HTTP/1.1\r\n\r\nGET /b HT')
        assert answers(receive_head(sock))[0].status == 200
        sock.sendall(b'TP/1.1\r\nconnection: close\r\n\r\n')
        assert answers(everything(sock))[0].status == 200
    assert [request.uri for request in recorder.requests] == ['/a', '/b']
