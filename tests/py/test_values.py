# SPDX-License-Identifier: MIT OR 0BSD
"""Range, ContentRange, Request, Session, Response and api as values: what
they take and refuse, how they print, compare, hash and pickle."""

import copy
import io
import pickle

import pytest

import degu
from degu import base
from degu.base import (
    ContentRange,
    EmptyPreambleError,
    ProtocolError,
    Range,
    Request,
    Response,
    Session,
    TruncatedError,
    api,
)

MOST = 9999999999999999


def test_constants():
    assert degu.IPv6_LOOPBACK == ('::1', 0, 0, 0)
    assert degu.IPv6_ANY == ('::', 0, 0, 0)
    assert degu.IPv4_LOOPBACK == ('127.0.0.1', 0)
    assert degu.IPv4_ANY == ('0.0.0.0', 0)
    assert degu.ADDRESS_CONSTANTS == (
        degu.IPv6_LOOPBACK, degu.IPv6_ANY, degu.IPv4_LOOPBACK, degu.IPv4_ANY)


# -------------------------------------------------------------------- ranges

def test_range():
    one = Range(0, 5)
    assert (one.start, one.stop) == (0, 5)
    assert repr(one) == 'Range(0, 5)'
    assert str(one) == 'bytes=0-4'
    assert one.content_length(9) == 5
    assert one.content_length(3) == 3
    assert one.content_range(9) == ContentRange(0, 5, 9)
    assert one.content_range(3) == ContentRange(0, 3, 3)
    last = Range(MOST - 1, MOST)
    assert str(last) == 'bytes={0}-{0}'.format(MOST - 1)


def test_content_range():
    one = ContentRange(0, 5, 9)
    assert (one.start, one.stop, one.total) == (0, 5, 9)
    assert repr(one) == 'ContentRange(0, 5, 9)'
    assert str(one) == 'bytes 0-4/9'
    assert str(ContentRange(MOST - 1, MOST, MOST)) == \
        'bytes {0}-{0}/{1}'.format(MOST - 1, MOST)


@pytest.mark.parametrize('args', [
    (), (1,), (1, 2, 3), ('0', 5), (0, '5'), (0.0, 5), (0, None),
    (False, True), (b'0', 5)])
def test_range_type_error(args):
    with pytest.raises(TypeError):
        Range(*args)


@pytest.mark.parametrize('args', [
    (0, 0), (5, 5), (5, 4), (-1, 5), (0, -1), (0, MOST + 1), (MOST, MOST),
    (2**64, 2**64 + 1), (-2**70, 1), (0, 2**70)])
def test_range_value_error(args):
    with pytest.raises(ValueError):
        Range(*args)


@pytest.mark.parametrize('args', [
    (), (1, 2), (1, 2, 3, 4), ('0', 5, 9), (0, 5, None), (0, 5, True),
    (0, 5.0, 9)])
def test_content_range_type_error(args):
    with pytest.raises(TypeError):
        ContentRange(*args)


@pytest.mark.parametrize('args', [
    (0, 0, 9), (5, 5, 9), (5, 4, 9), (0, 10, 9), (-1, 5, 9), (0, 5, -1),
    (0, 5, MOST + 1), (0, 2**64, 2**65), (0, 1, 0)])
def test_content_range_value_error(args):
    with pytest.raises(ValueError):
        ContentRange(*args)


def test_range_of_total():
    for method in (Range(5, 9).content_length, Range(5, 9).content_range):
        for total in (0, 4, 5):
            with pytest.raises(ValueError):
                method(total)
        for total in (-1, MOST + 1):
            with pytest.raises(ValueError):
                method(total)
        for total in ('9', 9.0, True, None):
            with pytest.raises(TypeError):
                method(total)
    assert Range(5, 9).content_length(6) == 1


def test_ranges_compare():
    """S31: with anything, by value, and with the text on the wire."""
    for (one, same, others) in [
            (Range(0, 5), Range(0, 5), [Range(0, 6), Range(1, 5)]),
            (ContentRange(0, 5, 9), ContentRange(0, 5, 9),
             [ContentRange(1, 5, 9), ContentRange(0, 4, 9),
              ContentRange(0, 5, 8)])]:
        assert one == same and not one != same
        assert hash(one) == hash(same)
        assert one == str(one) and str(one) == one
        assert one != str(one) + ' ' and hash(one) == hash(str(one))
        assert {one: 1}[same] == 1 and one in [None, same]
        for other in others + [None, 5, b'bytes=0-4', (0, 5), object()]:
            assert one != other and not one == other
    assert Range(0, 5) != ContentRange(0, 5, 5)


@pytest.mark.parametrize('one', [Range(0, 5), ContentRange(0, 5, 9)])
def test_ranges_do_not_order(one):
    for compare in ('__lt__', '__le__', '__gt__', '__ge__'):
        assert getattr(one, compare)(one) is NotImplemented
    with pytest.raises(TypeError):
        sorted([one, one])


@pytest.mark.parametrize('one', [Range(0, 5), ContentRange(0, 5, 9)])
def test_ranges_are_values(one):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(one, protocol))
        assert again == one and type(again) is type(one)
    assert copy.copy(one) == one and copy.deepcopy(one) == one
    for name in ('start', 'stop', 'total', 'other'):
        with pytest.raises((AttributeError, TypeError)):
            setattr(one, name, 1)
    with pytest.raises((AttributeError, TypeError)):
        del one.start


# ------------------------------------------------------------------- request

def request(method='GET', uri='/', headers=None, body=None, mount=None,
            path=None, query=None):
    return Request(method, uri, {} if headers is None else headers, body,
                   [] if mount is None else mount,
                   [] if path is None else path, query)


def test_request():
    (headers, body, mount, path) = ({}, object(), ['a'], ['b'])
    one = Request('PUT', '/a/b?c', headers, body, mount, path, 'c')
    assert (one.method, one.uri, one.query) == ('PUT', '/a/b?c', 'c')
    assert one.headers is headers and one.body is body
    assert one.mount is mount and one.path is path
    same = Request(method='PUT', uri='/a/b?c', headers=headers, body=body,
                   mount=mount, path=path, query='c')
    assert same != one and one == one and len({one, same}) == 2
    assert repr(request()) == (
        "Request(method='GET', uri='/', headers={}, body=None, mount=[], "
        "path=[], query=None)")
    assert str(request()) == repr(request())


@pytest.mark.parametrize('method, bit', [
    ('GET', 1), ('PUT', 2), ('POST', 4), ('HEAD', 8), ('DELETE', 16),
    ('PATCH', 32), ('OPTIONS', 64)])
def test_request_method(method, bit):
    assert request(method).method == method
    assert request(method).m == bit


@pytest.mark.parametrize('method', ['', 'get', 'Get', 'TRACE', 'CONNECT',
                                    'GET ', 'G', 'GET\r\n', 'G\xe9T'])
def test_request_bad_method(method):
    with pytest.raises(ValueError):
        request(method)


@pytest.mark.parametrize('change', [
    {'method': b'GET'}, {'method': None}, {'mount': ()}, {'path': ()},
    {'path': 'a'}, {'mount': {}}])
def test_request_type_error(change):
    with pytest.raises(TypeError):
        request(**change)


def test_request_needs_all():
    with pytest.raises(TypeError):
        Request()
    with pytest.raises(TypeError):
        Request('GET', '/', {}, None, [], [])
    with pytest.raises(TypeError):
        Request('GET', '/', {}, None, [], [], None, None)


@pytest.mark.parametrize('name', ['method', 'uri', 'headers', 'body', 'mount',
                                  'path', 'query', 'm', 'other'])
def test_request_is_read_only(name):
    one = request()
    with pytest.raises((AttributeError, TypeError)):
        setattr(one, name, None)
    with pytest.raises((AttributeError, TypeError)):
        delattr(one, name)


def test_shift_path():
    (mount, path) = (['a'], ['b', '', 'c'])
    one = request(mount=mount, path=path)
    assert one.shift_path() == 'b'
    assert (mount, path) == (['a', 'b'], ['', 'c'])
    assert [one.shift_path(), one.shift_path()] == ['', 'c']
    assert one.shift_path() is None
    assert (mount, path) == (['a', 'b', '', 'c'], [])
    with pytest.raises(TypeError):
        one.shift_path(1)


@pytest.mark.parametrize('path, query, uri', [
    ([], None, '/'), ([''], None, '/'), (['a'], None, '/a'),
    (['a', ''], None, '/a/'), (['a', 'b'], 'c=d', '/a/b?c=d'),
    ([], '', '/?'), (['a'], '', '/a?'), (['%20'], '%00', '/%20?%00')])
def test_build_proxy_uri(path, query, uri):
    one = request(mount=['m'], path=path, query=query)
    assert one.build_proxy_uri() == uri


@pytest.mark.parametrize('path, query', [
    ([1], None), ([None], None), ([b'a'], None), (['a', 5], None),
    ([], 5), ([], b'a')])
def test_build_proxy_uri_type_error(path, query):
    with pytest.raises(TypeError):
        request(path=path, query=query).build_proxy_uri()


# ------------------------------------------------------------------- session

def test_session():
    one = Session(('127.0.0.1', 80))
    assert one.address == ('127.0.0.1', 80)
    assert one.credentials is None
    assert (one.requests, one.closed, one.message) == (0, False, None)
    assert one == {'client': ('127.0.0.1', 80)} and one.store is one
    assert repr(one) == "Session(('127.0.0.1', 80))"
    assert str(one) == "('127.0.0.1', 80)"
    two = Session(b'', (1, 2, 3), 7)
    assert two.credentials == (1, 2, 3)
    assert two.max_requests == 7
    assert one.max_requests == 500
    assert repr(two) == "Session(b'', (1, 2, 3))"
    assert str(two) == "b'' (1, 2, 3)"
    assert one.store is not two.store


@pytest.mark.parametrize('args, error', [
    ((), TypeError), ((1, [1, 2, 3]), TypeError), ((1, 'abc'), TypeError),
    ((1, (1, 2)), ValueError), ((1, (1, 2, 3, 4)), ValueError),
    ((1, None, '5'), TypeError), ((1, None, True), TypeError),
    ((1, None, 5.0), TypeError), ((1, None, -1), ValueError),
    ((1, None, 1, 1), TypeError)])
def test_session_refuses(args, error):
    with pytest.raises(error):
        Session(*args)


@pytest.mark.parametrize('name', ['address', 'credentials', 'max_requests',
                                  'requests', 'store', 'closed', 'message',
                                  'other'])
def test_session_is_read_only(name):
    with pytest.raises((AttributeError, TypeError)):
        setattr(Session(1), name, None)


# ------------------------------------------------------------ Response and api

def test_response():
    one = Response(200, 'OK', {}, None)
    assert repr(one) == (
        "Response(status=200, reason='OK', headers={}, body=None)")
    assert one == (200, 'OK', {}, None) and isinstance(one, tuple)
    assert (one.status, one.reason, one.headers, one.body) == one
    assert len(one) == 4
    for count in (0, 3, 5):
        with pytest.raises(TypeError):
            Response(*range(count))
    with pytest.raises(AttributeError):
        one.status = 5
    ranged = Response(206, 'Partial Content',
                      {'content-range': ContentRange(0, 5, 9)}, b'hello')
    again = pickle.loads(pickle.dumps(ranged))
    assert again == ranged and type(again) is Response


def test_api():
    assert (api.Body, api.ChunkedBody, api.BodyIter, api.ChunkedBodyIter,
            api.Range, api.ContentRange) == api
    assert isinstance(api, tuple)
    assert repr(api).startswith('API(Body=<class ')
    for name in ('Body', 'ChunkedBody', 'BodyIter', 'ChunkedBodyIter', 'Range',
                 'ContentRange'):
        assert getattr(api, name) is getattr(base, name)
        assert getattr(api, name).__name__ == name
    assert base.bodies is api


def test_classes_pickle_by_name():
    for one in api:
        assert pickle.loads(pickle.dumps(one)) is one


def test_what_reads_cannot_be_copied():
    for one in (api.Body(io.BytesIO(), 0), api.ChunkedBody(io.BytesIO()),
                api.BodyIter([], 0), api.ChunkedBodyIter([])):
        with pytest.raises(TypeError):
            pickle.dumps(one)
        with pytest.raises(TypeError):
            copy.copy(one)


# ---------------------------------------------------------------- exceptions

@pytest.mark.parametrize('kind, bases', [
    (ProtocolError, ValueError), (TruncatedError, ValueError),
    (TruncatedError, ConnectionError), (EmptyPreambleError, ConnectionError),
    (EmptyPreambleError, OSError)])
def test_exceptions(kind, bases):
    """The types bind: callers catch them by what they were."""
    assert issubclass(kind, bases)
    one = kind('text', 'E_TARGET', 400, 5)
    assert str(one) == 'text'
    assert (one.code, one.status, one.offset) == ('E_TARGET', 400, 5)
    again = pickle.loads(pickle.dumps(one))
    assert type(again) is kind and str(again) == 'text'
    assert (again.code, again.status, again.offset) == ('E_TARGET', 400, 5)


def test_empty_preamble_error_is_no_protocol_error():
    """It may be safe to try again, which no other is."""
    assert not issubclass(EmptyPreambleError, ProtocolError)
    assert not issubclass(EmptyPreambleError, ValueError)
