# SPDX-License-Identifier: MIT OR 0BSD
"""Certificates to try things with, made by the program openssl."""

import base64
import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

_DAYS = 3650

_CONFIG = '''\
[req]
distinguished_name = name
prompt = no
string_mask = utf8only
[name]
CN = {id}
[extensions]
subjectKeyIdentifier = hash
{extensions}
'''

# pathlen:0: it signs certificates of ends, not of further authorities.
_AUTHORITY = '''\
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
'''

_END = '''\
authorityKeyIdentifier = keyid:always
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = {usage}
subjectAltName = {names}
'''

_SERVER = _END.format(
    usage='serverAuth', names='DNS:localhost, IP:127.0.0.1, IP:::1'
)


def _random_id() -> str:
    return base64.b32encode(os.urandom(15)).decode()


def _start(args: list[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ['openssl', *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError:
        raise RuntimeError(
            "there is no program openssl; it is in Debian's package openssl"
        ) from None


def _finish(process: subprocess.Popen[bytes]) -> None:
    (_, errors) = process.communicate()
    if process.returncode:
        raise RuntimeError(
            f'openssl failed with status {process.returncode}: '
            + errors.decode(errors='replace').strip()
        )


def _openssl(*commands: list[str]) -> None:
    """Runs openssl with these arguments, all at the same time; RuntimeError
    if there is none, or with its own words if one of them fails."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for args in commands:
            processes.append(_start(args))
        for process in processes:
            _finish(process)
    finally:
        for process in processes:
            with process:
                process.kill()


def _remove(folder: str, pid: int) -> None:
    # A forked copy of the process that made it has no say in it.
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


class TempPKI:
    """Throw-away certificates: one of a server with the authority that has
    signed it, and unless *client_pki* is False the same for its clients.

    They lie with their keys, of RSA with *bits*, in a folder that only its
    owner can read, `ssldir`.  It is removed by `close()`, by leaving the
    context manager, or with this object, at the latest when the process ends
    that has made it.  The server's certificate is for localhost, 127.0.0.1 and
    ::1.  Runs the program `openssl`; RuntimeError if that fails, or is not
    there.

    The configurations are new dicts, for `build_server_sslctx()` and
    `build_client_sslctx()`.  Those with clients' certificates raise
    ValueError if there is no client authority.
    """

    def __init__(self, client_pki: bool = True, bits: int = 2048) -> None:
        if type(client_pki) is not bool:
            raise TypeError(
                f'client_pki: need a bool; got a {type(client_pki)!r}: '
                f'{client_pki!r}'
            )
        if type(bits) is not int:
            raise TypeError(
                f'bits: need an int; got a {type(bits)!r}: {bits!r}'
            )
        # OpenSSL takes no longer ones, and today's no shorter ones.
        if not 2048 <= bits <= 16384:
            raise ValueError(f'bits: need 2048 <= bits <= 16384; got {bits!r}')
        self.server_ca_id = _random_id()
        self.server_id = _random_id()
        self.client_ca_id = _random_id() if client_pki else None
        self.client_id = _random_id() if client_pki else None
        self.ssldir = tempfile.mkdtemp(prefix='TempPKI.')  # with mode 0700
        self._finalizer = weakref.finalize(
            self, _remove, self.ssldir, os.getpid()
        )
        try:
            self._create(bits)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.ssldir!r})'

    def __reduce__(self) -> Any:
        raise TypeError(f'cannot pickle {type(self).__name__!r} object')

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the folder; may be called again.  Does nothing in a forked
        copy of the process that made it."""
        self._finalizer()

    # ---- making them

    def _path(self, name: str, kind: str) -> str:
        return os.path.join(self.ssldir, f'{name}.{kind}')

    def _create(self, bits: int) -> None:
        pairs = [(self.server_ca_id, self.server_id)]
        ends = [(self.server_id, _SERVER)]
        if self.client_ca_id is not None and self.client_id is not None:
            pairs.append((self.client_ca_id, self.client_id))
            ends.append((self.client_id, _END.format(
                usage='clientAuth', names=f'DNS:{self.client_id}'
            )))
        for (name, extensions) in [
            *((authority, _AUTHORITY) for (authority, _) in pairs), *ends
        ]:
            with open(self._path(name, 'cnf'), 'x') as file:
                file.write(_CONFIG.format(id=name, extensions=extensions))
        # What takes long is to find primes.
        _openssl(
            *(self._create_authority(name, bits) for (name, _) in pairs),
            *(self._create_request(name, bits) for (_, name) in pairs),
        )
        _openssl(*(self._sign(*pair) for pair in pairs))
        for pair in pairs:
            for name in pair:
                os.chmod(self._path(name, 'key'), 0o400)

    def _create_key(self, name: str, bits: int) -> list[str]:
        return [
            '-config', self._path(name, 'cnf'), '-newkey', f'rsa:{bits}',
            '-nodes', '-keyout', self._path(name, 'key'), '-sha384',
        ]

    def _create_authority(self, name: str, bits: int) -> list[str]:
        return [
            'req', '-x509', *self._create_key(name, bits),
            '-days', str(_DAYS), '-extensions', 'extensions',
            '-out', self._path(name, 'cert'),
        ]

    def _create_request(self, name: str, bits: int) -> list[str]:
        return [
            'req', *self._create_key(name, bits),
            '-out', self._path(name, 'csr'),
        ]

    def _sign(self, authority: str, name: str) -> list[str]:
        return [
            'x509', '-req', '-in', self._path(name, 'csr'),
            '-CA', self._path(authority, 'cert'),
            '-CAkey', self._path(authority, 'key'),
            '-set_serial', str(int.from_bytes(b'\1' + os.urandom(15), 'big')),
            '-days', str(_DAYS), '-sha384',
            '-extfile', self._path(name, 'cnf'), '-extensions', 'extensions',
            '-out', self._path(name, 'cert'),
        ]

    # ---- configurations

    def _own(self, name: str) -> dict[str, Any]:
        return {
            'cert_file': self._path(name, 'cert'),
            'key_file': self._path(name, 'key'),
        }

    def get_server_config(self) -> dict[str, Any]:
        """Of a server that takes clients with a certificate only."""
        if self.client_ca_id is None:
            raise ValueError(
                'there is no client authority; whoever wants a server for '
                'anybody asks for get_anonymous_server_config()'
            )
        config = self._own(self.server_id)
        config['ca_file'] = self._path(self.client_ca_id, 'cert')
        return config

    def get_client_config(self) -> dict[str, Any]:
        """Of a client with a certificate."""
        if self.client_id is None:
            raise ValueError(
                'there is no client authority; a client without a certificate '
                'has get_anonymous_client_config()'
            )
        return {
            **self.get_anonymous_client_config(), **self._own(self.client_id)
        }

    def get_anonymous_server_config(self) -> dict[str, Any]:
        """Of a server that takes anybody."""
        config = self._own(self.server_id)
        config['allow_unauthenticated_clients'] = True
        return config

    def get_anonymous_client_config(self) -> dict[str, Any]:
        """Of a client without a certificate."""
        return {
            'ca_file': self._path(self.server_ca_id, 'cert'),
            # Peers are reached by address, and known by their authority.
            'check_hostname': False,
        }

    @staticmethod
    def _get(method: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        try:
            return method()
        except ValueError as error:
            raise AttributeError(str(error)) from None

    @property
    def server_sslconfig(self) -> dict[str, Any]:
        """What `get_server_config()` returns; AttributeError where that
        raises ValueError."""
        return self._get(self.get_server_config)

    @property
    def client_sslconfig(self) -> dict[str, Any]:
        """What `get_client_config()` returns; AttributeError where that
        raises ValueError."""
        return self._get(self.get_client_config)

    @property
    def anonymous_server_sslconfig(self) -> dict[str, Any]:
        """What `get_anonymous_server_config()` returns."""
        return self.get_anonymous_server_config()

    @property
    def anonymous_client_sslconfig(self) -> dict[str, Any]:
        """What `get_anonymous_client_config()` returns."""
        return self.get_anonymous_client_config()
