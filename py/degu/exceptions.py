# SPDX-License-Identifier: MIT OR 0BSD
"""What goes wrong between two ends of a connection.

The extension makes these out of the list of errors in degu.h; there is no
other list.  What has a name of its own in Python keeps it: `TimeoutError`,
`ConnectionResetError`, `ConnectionRefusedError`, `OSError`.
"""


__all__ = (
    'CertificateRefusedError',
    'DeguError',
    'EmptyPreambleError',
    'ProtocolError',
    'TruncatedError',
)


class DeguError(Exception):
    """The base class.

    `code` is the name in the list, such as `'E_TARGET'`; `status` what a
    server answers with, or 0; `offset` where in its head, trailer or chunk
    line the byte stands that caused it, or None.

    What a request raises, be it one of these or an OSError, has `sent` and
    `answered`.  Not `sent`: no byte of the request has left, so it may be sent
    again on a new connection, whatever its method.  Not `answered`: no byte of
    a response has come, so what may be done twice may be sent again (RFC 9110
    9.2.2).
    """

    # Who cannot say better says this.
    sent = True
    answered = True

    def __init__(self, message: str = '', code: str = '', status: int = 0,
                 offset: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.offset = offset


class ProtocolError(DeguError, ValueError):
    """A message, here or from the other end, that is not allowed."""


class TruncatedError(ProtocolError, ConnectionError):
    """The other end closed the connection inside a message."""


class CertificateRefusedError(DeguError, ConnectionError):
    """The other end has refused our certificate, or wants one.

    With TLS 1.3 a client learns it when it waits for its first response (RFC
    8446 4.4.2.4).  The cause is the `ssl.SSLError` that says so.
    """


class EmptyPreambleError(DeguError, ConnectionError):
    """The other end closed the connection before the first byte of a message.

    `sent` and `answered` say whether a request may be sent again.
    """
