# SPDX-License-Identifier: MIT OR 0BSD
"""Functions of a request's path, for any object with the attributes they use.

`Request` has methods that do the same, and which are to be preferred:
`shift_path()`, that returns None at the end of the path, and
`build_proxy_uri()`.
"""

from typing import Any

from degu._values import join_uri

__all__ = ('absolute_uri', 'relative_uri', 'shift_path')


def shift_path(request: Any) -> str:
    """Moves the first item of the list `request.path` to the end of the list
    `request.mount`, both in place, and returns it, a str.

    IndexError, with nothing changed, if the path is empty.
    """
    part: str = request.path.pop(0)
    request.mount.append(part)
    return part


def relative_uri(request: Any) -> str:
    """What is left of the request's target: `request.path`, a list of str,
    and `request.query`, None or a str; `request.mount` is left out.

    An empty query keeps its question mark.  TypeError if an item of the path
    is no str.
    """
    return join_uri(request.path, request.query)


def absolute_uri(request: Any) -> str:
    """The request's target as it came in, however far its path has been
    shifted: `request.mount` and `request.path`, two lists of str, and
    `request.query`, None or a str.

    An empty query keeps its question mark.  TypeError if an item of the lists
    is no str.
    """
    return join_uri(request.mount + request.path, request.query)
