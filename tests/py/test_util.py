# SPDX-License-Identifier: MIT OR 0BSD
"""degu.util: shift_path(), relative_uri() and absolute_uri()."""

from types import SimpleNamespace

import pytest

from degu.base import Request
from degu.util import absolute_uri, relative_uri, shift_path


def plain(mount, path, query):
    return SimpleNamespace(mount=mount, path=path, query=query)


def real(mount, path, query):
    return Request('GET', '/', {}, None, mount, path, query)


@pytest.fixture(params=[plain, real])
def make(request):
    return request.param


def test_shift_path(make):
    (mount, path) = ([], ['a', 'b', ''])
    request = make(mount, path, None)
    for (part, done, rest) in [('a', ['a'], ['b', '']),
                               ('b', ['a', 'b'], ['']),
                               ('', ['a', 'b', ''], [])]:
        assert shift_path(request) == part
        assert (request.mount, request.path) == (done, rest)
    assert request.mount is mount and request.path is path
    with pytest.raises(IndexError):
        shift_path(request)
    assert (mount, path) == (['a', 'b', ''], [])


@pytest.mark.parametrize('mount, path, query, relative, absolute', [
    ([], [], None, '/', '/'),
    ([], [''], None, '/', '/'),
    ([], ['a'], None, '/a', '/a'),
    ([], ['a', ''], None, '/a/', '/a/'),
    (['a'], [], None, '/', '/a'),
    (['a'], [''], None, '/', '/a/'),
    (['a'], ['b'], None, '/b', '/a/b'),
    (['a', 'b'], ['c', 'd', ''], None, '/c/d/', '/a/b/c/d/'),
    (['a'], ['b'], '', '/b?', '/a/b?'),
    (['a'], ['b'], 'k=v', '/b?k=v', '/a/b?k=v'),
    (['a'], [], 'k=v', '/?k=v', '/a?k=v'),
    ([], [], '', '/?', '/?'),
])
def test_uris(make, mount, path, query, relative, absolute):
    request = make(mount, path, query)
    (old_mount, old_path) = (list(mount), list(path))
    assert relative_uri(request) == relative
    assert absolute_uri(request) == absolute
    assert (request.mount, request.path) == (old_mount, old_path)


@pytest.mark.parametrize('mount, path, query', [
    ([], [1], None), ([None], ['a', b'b'], None)])
def test_bad_parts(make, mount, path, query):
    with pytest.raises(TypeError):
        relative_uri(make(mount, path, query))
    with pytest.raises(TypeError):
        absolute_uri(make(mount, path, query))


@pytest.mark.parametrize('function', [shift_path, relative_uri, absolute_uri])
def test_only_attributes(function):
    with pytest.raises(AttributeError):
        function({'mount': [], 'path': ['a'], 'query': None})
