# SPDX-License-Identifier: MIT OR 0BSD
"""An embedded HTTP/1.1 server and client.

The server is in `degu.server`, the client in `degu.client`, what both are
made of in `degu.base`, and throw-away servers in `degu.misc`.
"""

__all__ = (
    'ADDRESS_CONSTANTS',
    'IPv4_ANY',
    'IPv4_LOOPBACK',
    'IPv6_ANY',
    'IPv6_LOOPBACK',
)

__version__ = '0.1.0'

IPv6_LOOPBACK = ('::1', 0, 0, 0)
IPv6_ANY = ('::', 0, 0, 0)
IPv4_LOOPBACK = ('127.0.0.1', 0)
IPv4_ANY = ('0.0.0.0', 0)

ADDRESS_CONSTANTS = (IPv6_LOOPBACK, IPv6_ANY, IPv4_LOOPBACK, IPv4_ANY)
