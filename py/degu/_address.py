# SPDX-License-Identifier: MIT OR 0BSD
"""The one *address* argument of servers and clients."""

import math
import os
import socket
from typing import Any, Union

from degu._degu import format_address, parse_address

__all__ = (
    'Address',
    'check_address',
    'check_timeout',
    'format_address',
    'parse_address',
)

Address = Union[tuple[str, int], tuple[str, int, int, int], str, bytes]


def check_address(address: Any) -> socket.AddressFamily:
    """The family that the form of *address* stands for.

    Never a look at the host: ``(host, port)`` is IPv4 to a server, whatever
    the host, and ``(host, port, flowinfo, scopeid)`` is IPv6.
    """
    if isinstance(address, tuple):
        if len(address) not in (2, 4):
            raise ValueError(
                f'address: must have 2 or 4 items; got {address!r}'
            )
        if not isinstance(address[0], str):
            raise TypeError(f'address: the host must be a str; got {address!r}')
        for number in address[1:]:
            if type(number) is not int:
                raise TypeError(
                    f'address: only ints behind the host; got {address!r}'
                )
        if not 0 <= address[1] <= 65535:
            raise ValueError(f'address: no such port: {address!r}')
        return socket.AF_INET if len(address) == 2 else socket.AF_INET6
    if isinstance(address, str):
        if not os.path.isabs(address) or os.path.normpath(address) != address:
            raise ValueError(
                f'address: not an absolute, normalized file name: {address!r}'
            )
        return socket.AF_UNIX
    if isinstance(address, bytes):
        return socket.AF_UNIX
    raise TypeError(
        f'address: need a tuple, str or bytes; got a {type(address)!r}: '
        f'{address!r}'
    )


def _need_seconds(value: Any, name: str) -> None:
    if type(value) not in (int, float):
        raise TypeError(
            f'{name}: need an int or float; got a {type(value)!r}: {value!r}'
        )


def check_timeout(timeout: Any, name: str = 'timeout') -> None:
    """Refuses what is not a time in seconds that can be waited."""
    _need_seconds(timeout, name)
    # A million seconds is longer than anybody waits and fits everywhere.
    if not 0 < timeout <= 1000000:
        raise ValueError(
            f'{name}: need 0 < {name} <= 1000000; got {timeout!r}'
        )


def check_rate(rate: Any) -> None:
    """Refuses what is not a number of bytes a second, or 0 for none."""
    if type(rate) is not int:
        raise TypeError(
            f'min_rate: need an int; got a {type(rate)!r}: {rate!r}'
        )
    if not 0 <= rate < 2**31:
        raise ValueError(f'min_rate: need 0 <= min_rate < 2**31; got {rate!r}')


def check_spin(spin: Any) -> None:
    """Refuses what is not a time in seconds to spin, or 0 for not at all."""
    _need_seconds(spin, 'spin')
    if not 0 <= spin <= 1:
        raise ValueError(f'spin: need 0 <= spin <= 1; got {spin!r}')


def microseconds(seconds: float) -> int:
    """A time that is not 0 stays one that is not."""
    return math.ceil(seconds * 1000000)
