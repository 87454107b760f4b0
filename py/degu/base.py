# SPDX-License-Identifier: MIT OR 0BSD
"""What server and client have in common."""

from degu._degu import Body, ChunkedBody, Connection, Request, api
from degu._values import (
    API,
    BodyIter,
    ChunkedBodyIter,
    ContentRange,
    Range,
    Response,
    Session,
)
from degu.exceptions import (
    DeguError,
    EmptyPreambleError,
    ProtocolError,
    TruncatedError,
)

__all__ = (
    'API',
    'APIType',
    'Body',
    'BodyIter',
    'ChunkedBody',
    'ChunkedBodyIter',
    'Connection',
    'ContentRange',
    'DeguError',
    'EmptyPreambleError',
    'ProtocolError',
    'Range',
    'Request',
    'Response',
    'ResponseType',
    'Session',
    'TruncatedError',
    'api',
    'bodies',
)

# Both are classes and can be called.
APIType = API
ResponseType = Response

# The name before Range and ContentRange were in it.
bodies = api
