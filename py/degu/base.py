# SPDX-License-Identifier: MIT OR 0BSD
"""What server and client have in common."""

from degu._degu import Body, ChunkedBody, Connection, Request, api
from degu._earlier import build_uri, make_output_from_input
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
    CertificateRefusedError,
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
    'CertificateRefusedError',
    'ChunkedBody',
    'ChunkedBodyIter',
    'Connection',
    'ContentRange',
    'DEFAULT_BODIES',
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
    'build_uri',
    'make_output_from_input',
)

# Both are classes and can be called.
APIType = API
ResponseType = Response

# Names that it had before Range and ContentRange were in it.
DEFAULT_BODIES = api
bodies = api
