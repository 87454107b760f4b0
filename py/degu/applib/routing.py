# SPDX-License-Identifier: MIT OR 0BSD
"""Apps that choose another app by the path or the method of a request.

None of them hides the `on_connect` of the apps inside: it decides who gets in.
"""

from collections.abc import Callable, Iterator
from typing import Any

from degu._earlier import settle_app, settle_on_connect
from degu.base import API, Request, Session

__all__ = ('AllowedMethods', 'MethodFilter', 'Router')

METHODS = ('GET', 'PUT', 'POST', 'HEAD', 'DELETE', 'PATCH', 'OPTIONS')

# Levels of a Router's map; one that holds itself has no end of them.
MAX_DEPTH = 10

AppMap = dict[str | None, Any]


class AllowedMethods:
    """A set of methods; called with an app, the `MethodFilter` of both.

    ``AllowedMethods('GET', 'HEAD')(app)``.  `methods` is the tuple as given.
    Raises ValueError for a method that Degu has not.
    """

    def __init__(self, *methods: str) -> None:
        for method in methods:
            if method not in METHODS:
                raise ValueError(f'bad method: {method!r}; need some of '
                                 f'{", ".join(METHODS)}')
        self.methods = methods

    def __repr__(self) -> str:
        names = ', '.join(map(repr, self.methods))
        return f'{type(self).__name__}({names})'

    def __call__(self, app: Any) -> 'MethodFilter':
        return MethodFilter(app, self)

    def isallowed(self, method: str) -> bool:
        """Is it one of them?"""
        return method in self.methods


class MethodFilter:
    """Hands a request on to *app* if its method is one of *allowed_methods*,
    an `AllowedMethods`; else it is a 405.  Raises TypeError."""

    def __init__(self, app: Any, allowed_methods: AllowedMethods) -> None:
        if not isinstance(allowed_methods, AllowedMethods):
            raise TypeError(
                'allowed_methods: need an AllowedMethods; '
                f'got a {type(allowed_methods)!r}: {allowed_methods!r}'
            )
        self._handler = settle_app(app)
        self.app = app
        self.allowed_methods = allowed_methods

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.app!r}, {self.allowed_methods!r})'

    @property
    def on_connect(self) -> Any:
        """The inner app's."""
        return getattr(self.app, 'on_connect', None)

    def __call__(self, session: Session, request: Request, api: API) -> Any:
        if self.allowed_methods.isallowed(request.method):
            return self._handler(session, request, api)
        return (405, 'Method Not Allowed', {}, None)


def _check_map(appmap: Any, depth: int = 1) -> None:
    """Raises TypeError or ValueError unless it is a map as Router has it."""
    if type(appmap) is not dict:
        raise TypeError(
            f'appmap: need a dict; got a {type(appmap)!r}: {appmap!r}'
        )
    if depth > MAX_DEPTH:
        raise ValueError(f'appmap: more than {MAX_DEPTH} levels')
    for (key, value) in appmap.items():
        if key is not None and type(key) is not str:
            raise TypeError(
                f'appmap key: need a str or None; got a {type(key)!r}: {key!r}'
            )
        if key is not None and not key.isascii():
            raise ValueError(f'appmap key: not ASCII: {key!r}')
        if type(value) is dict:
            _check_map(value, depth + 1)
        elif not callable(value):
            raise TypeError(f'appmap[{key!r}]: not callable: {value!r}')
        elif settle_app(value) is not value:
            raise TypeError(
                f'appmap[{key!r}]: must take (session, request, api); '
                f'got {value!r}'
            )


class Router:
    """Hands a request on to the app that *appmap* has for its path.

    A key of the dict is a part of the path as it stands in the URI; ``''``
    behind a slash at the end; None where the path ends.  A value is an app,
    called with (session, request, api) once the parts that led to it have been
    shifted to `request.mount`; or a dict again, up to ten levels.  What is not
    in the map is a 410.

    The map is read anew for each request and may be changed.  A connection is
    kept only if the `on_connect` of each app in the map, if it has one, returns
    True.  Raises TypeError or ValueError.
    """

    def __init__(self, appmap: AppMap) -> None:
        _check_map(appmap)
        self._appmap = appmap

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self._appmap!r})'

    @property
    def appmap(self) -> AppMap:
        """The dict that was given."""
        return self._appmap

    def on_connect(self, session: Session, sock: Any) -> bool:
        """Does every app let this connection in?"""
        return all(
            handler(session, sock) is True
            for handler in _handlers(self._appmap, set(), 1)
        )

    def __call__(self, session: Session, request: Request, api: API) -> Any:
        if type(request) is not Request:
            raise TypeError(
                f'request: need a Request; got a {type(request)!r}: {request!r}'
            )
        found: Any = self._appmap
        for _ in range(MAX_DEPTH):
            try:
                found = found[request.shift_path()]
            except KeyError:
                return (410, 'Gone', {}, None)
            if type(found) is not dict:
                return found(session, request, api)
        raise ValueError(f'appmap: more than {MAX_DEPTH} levels')


def _handlers(
    appmap: AppMap, seen: set[int], depth: int
) -> Iterator[Callable[[Session, Any], Any]]:
    """The on_connect of each app, that of an app with two keys once."""
    if depth > MAX_DEPTH:
        raise ValueError(f'appmap: more than {MAX_DEPTH} levels')
    for app in list(appmap.values()):
        if type(app) is dict:
            yield from _handlers(app, seen, depth + 1)
        elif id(app) not in seen:
            seen.add(id(app))
            handler = settle_on_connect(getattr(app, 'on_connect', None))
            if handler is not None:
                yield handler
