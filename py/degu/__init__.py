# SPDX-License-Identifier: MIT OR 0BSD
"""An embedded HTTP/1.1 server and client.

The server is in `degu.server`, the client in `degu.client`, what both are made
of in `degu.base`, ready-made apps in `degu.applib`, a checking one in
`degu.rgi`, and what tests like to have in `degu.misc`.
"""

TYPE_CHECKING = False  # typing's, which costs time to import
if TYPE_CHECKING:
    from degu._process import (
        EmbeddedServer,
        EmbeddedSSLServer,
        start_server,
        start_sslserver,
    )

    __version__: str

__all__ = (
    'ADDRESS_CONSTANTS',
    'EmbeddedSSLServer',
    'EmbeddedServer',
    'IPv4_ANY',
    'IPv4_LOOPBACK',
    'IPv6_ANY',
    'IPv6_LOOPBACK',
    'start_server',
    'start_sslserver',
)

IPv6_LOOPBACK = ('::1', 0, 0, 0)
IPv6_ANY = ('::', 0, 0, 0)
IPv4_LOOPBACK = ('127.0.0.1', 0)
IPv4_ANY = ('0.0.0.0', 0)

ADDRESS_CONSTANTS = (IPv6_LOOPBACK, IPv6_ANY, IPv4_LOOPBACK, IPv4_ANY)


def __getattr__(name: str) -> object:
    """What takes long to import waits until somebody asks for it."""
    if name == '__version__':
        from degu._degu import version

        return version
    if name in (
        'EmbeddedSSLServer', 'EmbeddedServer', 'start_server', 'start_sslserver'
    ):
        from degu import _process

        return getattr(_process, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
