# SPDX-License-Identifier: MIT OR 0BSD
"""Apps that are ready to be used: routing, files, a proxy, WSGI programs."""

from degu.applib.files import FilesApp
from degu.applib.proxy import ProxyApp
from degu.applib.routing import AllowedMethods, MethodFilter, Router
from degu.applib.wsgi import WSGIApp

__all__ = (
    'AllowedMethods',
    'FilesApp',
    'MethodFilter',
    'ProxyApp',
    'Router',
    'WSGIApp',
)
