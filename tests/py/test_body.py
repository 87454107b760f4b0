# SPDX-License-Identifier: MIT OR 0BSD
"""Body, ChunkedBody, BodyIter and ChunkedBodyIter over files: their states,
every way to read and to write them, and every way in which that fails."""

import io

import pytest

from degu.base import Connection, ProtocolError, TruncatedError, api
from peers import Script

(READY, STARTED, CONSUMED, ERROR) = range(4)
READ_MAX = 16777216
LENGTH_MAX = 9999999999999999


def chunked(data):
    return api.ChunkedBody(io.BytesIO(data))


class Oops(Exception):
    pass


class File:
    """A file whose methods do what they are told."""

    def __init__(self, readinto=None, readline=None, write=None):
        self._readinto = readinto
        self._readline = readline
        self._write = write
        self.written = b''

    def readinto(self, buf):
        return self._readinto(buf)

    def readline(self, size):
        return self._readline(size)

    def write(self, data):
        if self._write:
            return self._write(data)
        self.written += bytes(data)
        return len(data)


def fill(buf):
    buf[:] = b'x' * len(buf)
    return len(buf)


def fail(*unused):
    raise Oops('here')


# ---------------------------------------------------------------- constructors

def test_body_attributes():
    file = io.BytesIO(b'hello')
    for body in (api.Body(file, 5), api.Body(rfile=file, content_length=5)):
        assert body.rfile is file
        assert (body.content_length, body.state) == (5, READY)
        assert body.chunked is False
        assert repr(body) == 'Body(<rfile>, 5)'


def test_chunked_body_attributes():
    file = io.BytesIO()
    for body in (api.ChunkedBody(file), api.ChunkedBody(rfile=file)):
        assert body.rfile is file
        assert (body.state, body.chunked) == (READY, True)
        assert repr(body) == 'ChunkedBody(<rfile>)'


def test_iter_attributes():
    source = [b'hello']
    for body in (api.BodyIter(source, 5),
                 api.BodyIter(source=source, content_length=5)):
        assert body.source is source
        assert (body.content_length, body.state) == (5, READY)
        assert repr(body) == 'BodyIter(<source>, 5)'
    for body in (api.ChunkedBodyIter(source),
                 api.ChunkedBodyIter(source=source)):
        assert body.source is source and body.state == READY
        assert repr(body) == 'ChunkedBodyIter(<source>)'


@pytest.mark.parametrize('make', [
    lambda length: api.Body(io.BytesIO(), length),
    lambda length: api.BodyIter([], length)])
def test_content_length(make):
    for good in (0, 1, LENGTH_MAX):
        assert make(good).content_length == good
    for bad in (-1, LENGTH_MAX + 1, 2**64, -2**64, 2**64 + 5):
        with pytest.raises(ValueError):
            make(bad)
    for bad in ('5', 5.0, None, True, b'5'):
        with pytest.raises(TypeError):
            make(bad)


def test_constructor_arguments():
    for kind in (api.Body, api.ChunkedBody, api.BodyIter, api.ChunkedBodyIter):
        with pytest.raises(TypeError):
            kind()
        with pytest.raises(TypeError):
            kind(io.BytesIO(), 5, 6)
        with pytest.raises(TypeError):
            kind(io.BytesIO(), other=5)


def test_rfile_is_checked():
    class Flat:
        readinto = readline = 5

    class NoLine:
        readinto = print

    with pytest.raises(AttributeError):
        api.Body(object(), 5)
    with pytest.raises(TypeError):
        api.Body(Flat(), 5)
    for file in (object(), NoLine()):
        with pytest.raises(AttributeError):
            api.ChunkedBody(file)
    with pytest.raises(TypeError):
        api.ChunkedBody(Flat())


@pytest.mark.parametrize('body', [
    api.Body(io.BytesIO(), 0), api.ChunkedBody(io.BytesIO()),
    api.BodyIter([], 0), api.ChunkedBodyIter([])])
def test_attributes_are_read_only(body):
    for name in ('state', 'rfile', 'source', 'content_length', 'chunked',
                 'other'):
        with pytest.raises((AttributeError, TypeError)):
            setattr(body, name, 1)


# ------------------------------------------------------------------ Body, input

def test_body_read():
    body = api.Body(io.BytesIO(b'hello, world'), 5)
    assert body.read() == b'hello'
    assert body.state == CONSUMED
    assert body.read(5) == b'' and body.read(0) == b''
    with pytest.raises(ValueError):
        body.read()
    assert body.state == CONSUMED
    assert api.Body(io.BytesIO(b'hello'), 5).read(None) == b'hello'


def test_body_read_size():
    """D10: whoever has read the last byte is done (S15)."""
    body = api.Body(io.BytesIO(b'hello, world'), 12)
    assert (body.read(5), body.state) == (b'hello', STARTED)
    assert (body.read(0), body.state) == (b'', STARTED)
    assert (body.read(2), body.state) == (b', ', STARTED)
    assert (body.read(5), body.state) == (b'world', CONSUMED)
    assert body.read(5) == b''
    body = api.Body(io.BytesIO(b'hello'), 5)
    assert (body.read(6), body.state) == (b'hello', CONSUMED)
    body = api.Body(io.BytesIO(b'hello'), 5)
    assert (body.read(0), body.state) == (b'', STARTED)
    assert (body.read(), body.state) == (b'hello', CONSUMED)


def test_body_read_size_is_checked():
    body = api.Body(io.BytesIO(b'hello'), 5)
    for bad in ('5', 5.0, True, b'5'):
        with pytest.raises(TypeError):
            body.read(bad)
    for bad in (-1, READ_MAX + 1, 2**64, -2**64):
        with pytest.raises(ValueError):
            body.read(bad)
    with pytest.raises(TypeError):
        body.read(1, 2)
    assert body.state == READY
    assert body.read(READ_MAX) == b'hello'


def test_body_read_limit():
    """16 MiB is the most that one read() gives; the state stays."""
    body = api.Body(File(fill), READ_MAX + 1)
    with pytest.raises(ValueError):
        body.read()
    assert body.state == READY
    assert len(body.read(1)) == 1
    assert len(body.read()) == READ_MAX
    assert body.state == CONSUMED


def test_body_of_length_zero():
    for operate in (lambda body: body.read(), lambda body: body.read(5),
                    lambda body: b''.join(body)):
        body = api.Body(File(fail), 0)
        assert operate(body) == b''
        assert body.state == CONSUMED
    body = api.Body(File(fail), 0)
    assert body.write_to(io.BytesIO()) == 0
    assert body.state == CONSUMED


@pytest.mark.parametrize('size, pieces', [
    (1, [1]), (1048576, [1048576]), (1048577, [1048576, 1]),
    (3000000, [1048576, 1048576, 902848])])
def test_body_iterate(size, pieces):
    data = bytes(range(256)) * (size // 256 + 1)
    body = api.Body(io.BytesIO(data), size)
    found = list(body)
    assert [len(piece) for piece in found] == pieces
    assert b''.join(found) == data[:size]
    assert body.state == CONSUMED
    with pytest.raises(ValueError):
        iter(body)


def test_body_iterate_in_part():
    body = api.Body(io.BytesIO(b'x' * 1048576 + b'hello'), 1048581)
    for piece in body:
        break
    assert len(piece) == 1048576 and body.state == STARTED
    with pytest.raises(ValueError):
        iter(body)
    with pytest.raises(ValueError):
        body.write_to(io.BytesIO())
    assert body.read() == b'hello'


def test_body_iterate_last_piece():
    """Breaking off behind the last piece leaves nothing unread (S15)."""
    body = api.Body(io.BytesIO(b'hello'), 5)
    assert next(iter(body)) == b'hello'
    assert body.state == CONSUMED


@pytest.mark.parametrize('operate', [
    lambda body: body.read(), lambda body: body.read(6),
    lambda body: list(body), lambda body: body.write_to(io.BytesIO())])
def test_body_short(operate):
    """Short is wrong (rule 11)."""
    body = api.Body(io.BytesIO(b'hello'), 6)
    with pytest.raises(TruncatedError):
        operate(body)
    check_broken(body)


def check_broken(body):
    assert body.state == ERROR
    for operate in (lambda: body.read(), lambda: body.read(5),
                    lambda: list(body), lambda: body.write_to(io.BytesIO())):
        with pytest.raises((ValueError, TypeError)):
            operate()
    assert body.state == ERROR


@pytest.mark.parametrize('operate', [
    lambda body: body.read(), lambda body: body.read(3),
    lambda body: list(body), lambda body: body.write_to(io.BytesIO())])
@pytest.mark.parametrize('readinto, error', [
    (fail, Oops), (lambda buf: None, TypeError), (lambda buf: '5', TypeError),
    (lambda buf: True, TypeError), (lambda buf: 1.0, TypeError),
    (lambda buf: -1, ValueError), (lambda buf: len(buf) + 1, ValueError),
    (lambda buf: 2**70, (ValueError, OverflowError))])
def test_body_bad_file(operate, readinto, error):
    """The exception is the one that the caller sees (D10)."""
    body = api.Body(File(readinto), 5)
    with pytest.raises(error):
        operate(body)
    check_broken(body)


def test_body_fails_in_the_middle():
    calls = []

    def readinto(buf):
        calls.append(len(buf))
        if len(calls) > 1:
            raise Oops
        buf[:2] = b'he'
        return 2

    file = io.BytesIO()
    body = api.Body(File(readinto), 5)
    with pytest.raises(Oops):
        body.write_to(file)
    check_broken(body)
    assert b'hello'.startswith(file.getvalue())


def test_body_never_takes_too_much():
    """A file may hold another body behind this one."""
    file = io.BytesIO(b'helloworld')
    assert api.Body(file, 5).read() == b'hello'
    assert api.Body(file, 5).read() == b'world'


@pytest.mark.parametrize('step', [1, 3, 70000])
def test_body_in_small_steps(step):
    data = bytes(range(256)) * 10

    class Slow(io.BytesIO):
        def readinto(self, buf):
            return super().readinto(buf[:step])

    assert api.Body(Slow(data), 2560).read() == data
    assert b''.join(api.Body(Slow(data), 2560)) == data
    out = io.BytesIO()
    assert api.Body(Slow(data), 2560).write_to(out) == 2560
    assert out.getvalue() == data


# ----------------------------------------------------------- ChunkedBody, input

STREAM = (b'5;a=b;c=d\r\nhello\r\n'
          b'2;q="x y\\"z"\r\n, \r\n'
          b'005;e\r\nworld\r\n'
          b'0;last=1\r\nname: value\r\n\r\n')
CHUNKS = [(('a', 'b'), b'hello'), (('q', 'x y"z'), b', '),
          (('e', None), b'world'), (('last', '1'), b'')]


def test_readchunk():
    body = chunked(STREAM + b'behind')
    for (number, chunk) in enumerate(CHUNKS):
        assert body.state == (STARTED if number else READY)
        assert body.readchunk() == chunk
    assert body.state == CONSUMED
    for operate in (body.readchunk, body.read,
                    lambda: body.write_to(io.BytesIO())):
        with pytest.raises(ValueError):
            operate()
    assert body.rfile.read() == b'behind'


def test_chunked_read():
    body = chunked(STREAM)
    assert (body.read(), body.state) == (b'hello, world', CONSUMED)
    body = chunked(STREAM)
    body.readchunk()
    assert (body.read(), body.state) == (b', world', CONSUMED)
    with pytest.raises(TypeError):
        chunked(STREAM).read(5)


def test_chunked_iterate():
    body = chunked(STREAM)
    assert list(body) == CHUNKS
    assert body.state == CONSUMED
    body = chunked(STREAM)
    body.readchunk()
    with pytest.raises(ValueError):
        iter(body)
    with pytest.raises(ValueError):
        body.write_to(io.BytesIO())
    assert body.read() == b', world'


def test_chunked_write_to():
    out = io.BytesIO()
    body = chunked(STREAM)
    count = body.write_to(out)
    assert body.state == CONSUMED
    assert count == len(out.getvalue())
    # What was written says the same again.
    assert list(chunked(out.getvalue())) == CHUNKS


def test_chunk_without_extension():
    assert chunked(b'1\r\nx\r\n0\r\n\r\n').readchunk() == (None, b'x')


@pytest.mark.parametrize('stream', [
    b'', b'5', b'5\r\n', b'5\r\nhel', b'5\r\nhello', b'5\r\nhello\r',
    b'5\r\nhello\r\n', b'5\r\nhello\r\n0', b'5\r\nhello\r\n0\r\n',
    b'5\r\nhello\r\n0\r\n\r', b'0\r\na: b\r\n'])
@pytest.mark.parametrize('operate', [
    lambda body: body.read(), lambda body: list(body),
    lambda body: body.write_to(io.BytesIO())])
def test_chunked_truncated(stream, operate):
    body = chunked(stream)
    with pytest.raises(TruncatedError):
        operate(body)
    check_broken(body)


@pytest.mark.parametrize('stream', [
    b'\r\n', b'g\r\n', b'-1\r\n', b'0x5\r\nhello\r\n0\r\n\r\n',
    b' 5\r\nhello\r\n0\r\n\r\n', b'5 \r\nhello\r\n0\r\n\r\n',
    b'5\nhello\r\n0\r\n\r\n', b'5\r\nhello\n0\r\n\r\n',
    b'5\r\nhellox\r\n0\r\n\r\n', b'5;\r\nhello\r\n0\r\n\r\n',
    b'5;a=\r\nhello\r\n0\r\n\r\n', b'5; a\r\nhello\r\n0\r\n\r\n',
    b'11111111111111111\r\n', b'0\r\nhost: a\r\n\r\n', b'0\r\na b\r\n\r\n',
    b'5;' + b'a' * 4096 + b'\r\nhello\r\n0\r\n\r\n'])
@pytest.mark.parametrize('operate', [
    lambda body: body.read(), lambda body: list(body),
    lambda body: body.write_to(io.BytesIO())])
def test_chunked_malformed(stream, operate):
    body = chunked(stream)
    with pytest.raises(ProtocolError) as info:
        operate(body)
    assert not isinstance(info.value, TruncatedError)
    check_broken(body)


@pytest.mark.parametrize('size', [READ_MAX - 1, READ_MAX])
def test_largest_chunk(size):
    """S1: such a line, when it came alone, once ended the process."""
    line = b'%x\r\n' % size
    for operate in (lambda body: body.readchunk(), lambda body: body.read(),
                    lambda body: body.write_to(io.BytesIO())):
        with pytest.raises(TruncatedError):
            operate(chunked(line))
    body = chunked(line + b'x' * size + b'\r\n0\r\n\r\n')
    assert body.readchunk() == (None, b'x' * size)
    assert body.readchunk() == (None, b'')


def test_chunk_too_large_to_be_read_as_a_whole():
    line = b'%x\r\n' % (READ_MAX + 1)
    body = chunked(line + b'x' * (READ_MAX + 1) + b'\r\n0\r\n\r\n')
    with pytest.raises(ProtocolError) as info:
        body.readchunk()
    assert info.value.status == 413
    check_broken(body)


def test_chunks_too_large_to_be_read_as_a_whole():
    """Exactly 16 MiB in all is fine, one byte more is not."""
    half = b'800000\r\n' + b'x' * 0x800000 + b'\r\n'
    assert len(chunked(half + half + b'0\r\n\r\n').read()) == READ_MAX
    body = chunked(half + half + b'1\r\nx\r\n0\r\n\r\n')
    with pytest.raises(ValueError):
        body.read()
    check_broken(body)


@pytest.mark.parametrize('readline, error', [
    (fail, Oops), (lambda size: None, TypeError), (lambda size: '5', TypeError),
    (lambda size: bytearray(b'5\r\n'), TypeError),
    (lambda size: b'5' * (size + 1), ValueError),
    (lambda size: b'', TruncatedError)])
def test_chunked_bad_line(readline, error):
    body = api.ChunkedBody(File(fill, readline))
    with pytest.raises(error):
        body.readchunk()
    check_broken(body)


@pytest.mark.parametrize('readinto, error', [
    (fail, Oops), (lambda buf: None, TypeError), (lambda buf: -1, ValueError),
    (lambda buf: len(buf) + 1, ValueError),
    (lambda buf: 0, TruncatedError)])
def test_chunked_bad_data(readinto, error):
    body = api.ChunkedBody(File(readinto, lambda size: b'5\r\n'))
    with pytest.raises(error):
        body.readchunk()
    check_broken(body)


# -------------------------------------------------------------------- write_to

def bodies():
    return [api.Body(io.BytesIO(b'hello'), 5),
            chunked(b'5\r\nhello\r\n0\r\n\r\n'),
            api.BodyIter([b'hello'], 5),
            api.ChunkedBodyIter([(None, b'hello'), (None, b'')])]


WRITTEN = [b'hello', b'5\r\nhello\r\n0\r\n\r\n'] * 2


def test_write_to():
    for (body, want) in zip(bodies(), WRITTEN):
        out = io.BytesIO()
        assert body.write_to(out) == len(want)
        assert out.getvalue() == want
        assert body.state == CONSUMED
        with pytest.raises(ValueError):
            body.write_to(out)
        assert out.getvalue() == want


def test_write_to_in_small_steps():
    for (body, want) in zip(bodies(), WRITTEN):
        out = []
        file = File(write=lambda data: out.append(bytes(data[:1])) or 1)
        assert body.write_to(file) == len(want)
        assert b''.join(out) == want


def test_write_to_needs_write():
    class Flat:
        write = 5

    for body in bodies():
        with pytest.raises(AttributeError):
            body.write_to(object())
        with pytest.raises(TypeError):
            body.write_to(Flat())
        with pytest.raises(TypeError):
            body.write_to()
        assert body.state == READY
        assert body.write_to(io.BytesIO()) in (5, 15)


@pytest.mark.parametrize('write, error', [
    (fail, Oops), (lambda data: None, TypeError),
    (lambda data: True, TypeError),
    (lambda data: '5', TypeError), (lambda data: -1, ValueError),
    (lambda data: len(data) + 1, ValueError), (lambda data: 0, OSError)])
def test_write_to_bad_file(write, error):
    for body in bodies():
        with pytest.raises(error):
            body.write_to(File(write=write))
        assert body.state == ERROR


# -------------------------------------------------------- BodyIter, ChunkedIter

def written(body):
    out = io.BytesIO()
    assert body.write_to(out) == len(out.getvalue())
    assert body.state == CONSUMED
    return out.getvalue()


@pytest.mark.parametrize('source', [
    [b'hello'], [b'', b'he', b'', b'llo', b''], (b'hello',),
    [bytearray(b'he'), memoryview(b'llo')]])
def test_body_iter(source):
    assert written(api.BodyIter(source, 5)) == b'hello'
    assert written(api.BodyIter(iter(source), 5)) == b'hello'


def test_body_iter_empty():
    assert written(api.BodyIter([], 0)) == b''
    assert written(api.BodyIter([b'', b''], 0)) == b''


def test_body_iter_large_item():
    """S6: more than 16 MiB in one item once ended the process."""
    item = b'x' * (READ_MAX + 1)
    assert written(api.BodyIter([item], len(item))) == item


@pytest.mark.parametrize('source', [
    [b'hello!'], [b'hello', b'!'], [b'abc', b'def'], [b'hello', b'', b'!'],
    [b'x' * 100000]])
def test_body_iter_too_long(source):
    """Never more bytes than announced (rule 20)."""
    body = api.BodyIter(source, 5)
    out = io.BytesIO()
    with pytest.raises(ValueError):
        body.write_to(out)
    assert body.state == ERROR
    assert len(out.getvalue()) <= 5
    assert b''.join(source).startswith(out.getvalue())


@pytest.mark.parametrize('source', [[], [b''], [b'hell'], [b'he', b'', b'll']])
def test_body_iter_too_short(source):
    body = api.BodyIter(source, 5)
    with pytest.raises(ValueError):
        body.write_to(io.BytesIO())
    assert body.state == ERROR


@pytest.mark.parametrize('item', ['hello', None, 5, [b'hello'], (None, b'x')])
def test_body_iter_bad_item(item):
    body = api.BodyIter([item], 5)
    with pytest.raises(TypeError):
        body.write_to(io.BytesIO())
    assert body.state == ERROR


@pytest.mark.parametrize('kind', [
    lambda source: api.BodyIter(source, 5), api.ChunkedBodyIter])
@pytest.mark.parametrize('source', [None, 5, object()])
def test_iter_not_iterable(kind, source):
    body = kind(source)
    with pytest.raises(TypeError):
        body.write_to(io.BytesIO())
    assert body.state == ERROR


@pytest.mark.parametrize('error', [
    Oops, KeyError, SystemExit, KeyboardInterrupt, GeneratorExit, OSError,
    ConnectionResetError, TimeoutError, MemoryError])
@pytest.mark.parametrize('before', [b'', b'he', b'hello'])
def test_body_iter_source_raises(before, error):
    """S7: what the source raises is what the caller sees, also when it comes
    behind the last byte."""
    def source():
        yield before
        raise error('here')

    body = api.BodyIter(source(), 5)
    with pytest.raises(error):
        body.write_to(io.BytesIO())
    assert body.state == ERROR


@pytest.mark.parametrize('items', [[], [(None, b'hello')],
                                   [(None, b'hello'), (None, b'')]])
def test_chunked_iter_source_raises(items):
    def source():
        yield from items
        raise Oops

    body = api.ChunkedBodyIter(source())
    with pytest.raises(Oops):
        body.write_to(io.BytesIO())
    assert body.state == ERROR


@pytest.mark.parametrize('chunks, want', [
    ([(None, b'')], b'0\r\n\r\n'),
    ([(None, b'hello'), (None, b'')], b'5\r\nhello\r\n0\r\n\r\n'),
    ([(('a', 'b'), b'x' * 26), (('c', None), b'')],
     b'1a;a=b\r\n' + b'x' * 26 + b'\r\n0;c\r\n\r\n'),
    ([(('a', 'x "y\\'), b'x'), (('b', ''), b'')],
     b'1;a="x \\"y\\\\"\r\nx\r\n0;b=""\r\n\r\n'),
    ([(None, bytearray(b'he')), (None, memoryview(b'llo')), (None, b'')],
     b'2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n')])
def test_chunked_iter(chunks, want):
    assert written(api.ChunkedBodyIter(chunks)) == want
    assert list(chunked(want)) == [
        (extension, bytes(data)) for (extension, data) in chunks]


@pytest.mark.parametrize('chunks, error', [
    ([], ValueError), ([(None, b'hello')], ValueError),
    ([(None, b''), (None, b'')], ValueError),
    ([(None, b''), (None, b'hello')], ValueError),
    ([b''], TypeError), ([None], TypeError), ([(None,)], TypeError),
    ([(None, b'', b'')], TypeError), ([[None, b'']], TypeError),
    ([(None, 'x')], TypeError), ([(None, None)], TypeError),
    ([('a', b'')], TypeError), ([(('a',), b'')], TypeError),
    ([(('a', 'b', 'c'), b'')], TypeError), ([(['a', 'b'], b'')], TypeError),
    ([((b'a', 'b'), b'')], TypeError), ([(('a', b'b'), b'')], TypeError),
    ([(('a', 5), b'')], TypeError), ([((None, 'b'), b'')], TypeError),
    ([(('', 'b'), b'')], ValueError), ([(('a b', 'b'), b'')], ValueError),
    ([(('a;', 'b'), b'')], ValueError), ([(('a=', 'b'), b'')], ValueError),
    ([(('\xe9', 'b'), b'')], ValueError), ([(('a', '\xe9'), b'')], ValueError),
    ([(('a', 'b\r\n'), b'')], ValueError),
    ([(('a\r\n', 'b'), b'')], ValueError),
    ([(('a', '\n'), b'')], ValueError), ([(('a', '\0'), b'')], ValueError),
    ([(('a', '\x7f'), b'')], ValueError),
    ([(('a', '\ud800'), b'')], ValueError),
    ([(('a', 'b' * 4096), b'')], ValueError),
    ([(None, b'x' * (READ_MAX + 1)), (None, b'')], ValueError)])
def test_chunked_iter_refuses(chunks, error):
    """D9: what goes out passes the grammar of what comes in."""
    for before in ([], [(None, b'hello')]):
        body = api.ChunkedBodyIter(before + chunks)
        out = io.BytesIO()
        with pytest.raises(error):
            body.write_to(out)
        assert body.state == ERROR
        # No last chunk: the other end sees that it is cut.
        assert out.getvalue() == b'5\r\nhello\r\n' * (
            len(out.getvalue()) // 10)


def test_largest_chunk_is_sent():
    """S1 on the way out."""
    data = b'x' * READ_MAX
    assert written(api.ChunkedBodyIter([(None, data), (None, b'')])) == \
        b'1000000\r\n' + data + b'\r\n0\r\n\r\n'


# ------------------------------------------------------- bodies of a connection

def response_body(stream, step=None):
    sock = Script(b'HTTP/1.1 200 OK\r\n' + stream, step)
    conn = Connection(sock, None)
    return (conn, sock, conn.get('/', {}).body)


def test_connection_body():
    (conn, sock, body) = response_body(b'content-length: 5\r\n\r\nhello')
    assert repr(body) == 'Body(<reader>, 5)'
    assert body.read() == b'hello'
    assert not conn.closed


def test_connection_chunked_body():
    (conn, sock, body) = response_body(
        b'transfer-encoding: chunked\r\n\r\n' + STREAM)
    assert repr(body) == 'ChunkedBody(<reader>)'
    assert list(body) == CHUNKS
    assert not conn.closed


@pytest.mark.parametrize('operate', [
    lambda body: body.read(), lambda body: b''.join(body),
    lambda body: body.read(3) + body.read(),
    lambda body: body.read(100)])
@pytest.mark.parametrize('step', [None, 1])
def test_until_close_body(operate, step):
    """D7: read until the close, length unknown."""
    (conn, sock, body) = response_body(b'\r\nhello, world', step)
    assert body.content_length is None and body.chunked is False
    assert repr(body) == 'Body(<reader>, None)'
    assert operate(body) == b'hello, world'
    assert body.state == CONSUMED
    assert conn.closed and sock.closed == 1


def test_until_close_body_empty():
    (conn, sock, body) = response_body(b'\r\n')
    assert body.read() == b''
    assert body.state == CONSUMED and conn.closed


def test_until_close_body_limit():
    (conn, sock, body) = response_body(b'\r\n' + b'x' * READ_MAX)
    assert len(body.read()) == READ_MAX
    (conn, sock, body) = response_body(b'\r\n' + b'x' * (READ_MAX + 1))
    with pytest.raises(ValueError):
        body.read()


@pytest.mark.parametrize('stream, want', [
    (b'content-length: 5\r\n\r\nhello', b'hello'),
    (b'transfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n',
     b'5;a=b\r\nhello\r\n0\r\n\r\n')])
def test_connection_body_write_to(stream, want):
    (conn, sock, body) = response_body(stream, 1)
    out = io.BytesIO()
    assert body.write_to(out) == len(want)
    assert out.getvalue() == want
    assert body.state == CONSUMED


def test_until_close_body_write_to():
    """The bytes of a Body are what is written."""
    (conn, sock, body) = response_body(b'\r\nhello')
    out = io.BytesIO()
    assert body.write_to(out) == 5
    assert out.getvalue() == b'hello'


def test_writing_fails_reading_ends():
    """A body cut in the middle leaves no connection to go on with."""
    (conn, sock, body) = response_body(b'content-length: 5\r\n\r\nhello')
    with pytest.raises(Oops):
        body.write_to(File(write=fail))
    assert body.state == ERROR
    assert conn.closed and sock.closed == 1


def test_body_of_an_earlier_message():
    """A body belongs to its message."""
    sock = Script(b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello', 57)
    conn = Connection(sock, None)
    body = conn.get('/', {}).body
    body.read()
    sock.data = b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nworld'
    other = conn.get('/', {}).body
    assert body.read(5) == b''
    with pytest.raises(ValueError):
        body.read()
    assert other.read() == b'world'


def test_body_keeps_the_socket():
    """The response's body is good after the connection object is gone."""
    sock = Script(b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello', 1)
    body = Connection(sock, None).get('/', {}).body
    assert body.read() == b'hello'


@pytest.mark.parametrize('body, want', [
    (api.Body(io.BytesIO(b'hello'), 5), b'hello'),
    (api.BodyIter([b'he', b'llo'], 5), b'hello'),
    (chunked(b'5;a=b\r\nhello\r\n0\r\n\r\n'), b'5;a=b\r\nhello\r\n0\r\n\r\n'),
    (api.ChunkedBodyIter([(None, b'hello'), (None, b'')]),
     b'5\r\nhello\r\n0\r\n\r\n'),
    (b'hello', b'hello'), (bytearray(b'hello'), b'hello'),
    (memoryview(b'hello'), b'hello'), (memoryview(b'xhello')[1:], b'hello')])
@pytest.mark.parametrize('most', [None, 1])
def test_sent(body, want, most):
    """Every kind as a request's body, through a socket that takes all, and one
    that takes a byte at a time."""
    if hasattr(body, 'state') and body.state == CONSUMED:
        body = copy_of(body)
    sock = Script(b'HTTP/1.1 204 No Content\r\n\r\n', most=most)
    Connection(sock, None).put('/', {}, body)
    (head, sent) = sock.sent.split(b'\r\n\r\n', 1)
    assert sent == want
    field = b'content-length: 5' if want == b'hello' else \
        b'transfer-encoding: chunked'
    assert head == b'PUT / HTTP/1.1\r\n' + field


def copy_of(body):
    """A fresh one from the same source."""
    if isinstance(body, (api.BodyIter, api.ChunkedBodyIter)):
        kind = type(body)
        return kind(body.source, 5) if kind is api.BodyIter else \
            kind(body.source)
    body.rfile.seek(0)
    return api.Body(body.rfile, 5) if isinstance(body, api.Body) else \
        api.ChunkedBody(body.rfile)


def test_relay():
    """An input body is an output body (D13); chunks keep their boundaries."""
    for (stream, want) in [
            (b'content-length: 5\r\n\r\nhello', b'hello'),
            (b'transfer-encoding: chunked\r\n\r\n' + STREAM, CHUNKS),
            (b'\r\nhello', [(None, b'hello'), (None, b'')])]:
        (conn, sock, body) = response_body(stream)
        there = Script(b'HTTP/1.1 204 No Content\r\n\r\n')
        Connection(there, None).put('/', {}, body)
        (head, sent) = there.sent.split(b'\r\n\r\n', 1)
        if isinstance(want, bytes):
            assert sent == want
        else:
            assert list(chunked(sent)) == want
        assert body.state == CONSUMED


def test_relay_of_a_broken_body():
    """The error of the source is the caller's, and both connections end."""
    (conn, sock, body) = response_body(b'content-length: 5\r\n\r\nhel')
    there = Script(b'HTTP/1.1 204 No Content\r\n\r\n')
    to = Connection(there, None)
    with pytest.raises(TruncatedError):
        to.put('/', {}, body)
    assert body.state == ERROR
    assert conn.closed
    assert not there.sent or to.closed
