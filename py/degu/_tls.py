# SPDX-License-Identifier: MIT OR 0BSD
"""TLS: the two profiles, what a handshake must have come to, and who is at
the other end.

Imports `ssl`, so only who wants TLS imports it.
"""

import errno
import hashlib
import logging
import os
import re
import socket
import ssl
import stat
import threading
import warnings
from collections.abc import Iterable
from typing import Any, NoReturn

from degu._x509 import has_rsa_key, key_of, names_of, subject_of
from degu.exceptions import CertificateRefusedError

log = logging.getLogger('degu.server')

# One protocol and one cipher a profile, so that nobody can be talked down.
_CIPHERS = {
    'TLSv1.2': 'ECDHE-RSA-AES256-GCM-SHA384',
    'TLSv1.3': 'TLS_AES_256_GCM_SHA384',
}
_ALPN = 'http/1.1'

_PATHS = ('cert_file', 'key_file', 'ca_file', 'ca_path')
_COMMON_KEYS = (*_PATHS, 'protocol', 'allow_readable_key')
_SERVER_KEYS = frozenset((*_COMMON_KEYS, 'allow_unauthenticated_clients'))
_CLIENT_KEYS = frozenset((*_COMMON_KEYS, 'check_hostname'))

# By default some versions of Python have OpenSSL take a bare end of file for
# the end that the other end meant; that would hide a body that is cut short
# (RFC 9112 section 9.8).
_IGNORE_EOF = getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0)


class PinError(ssl.SSLCertVerificationError):
    """The other end's key is none of the pinned ones."""


# ---------------------------------------------------------------- validation


def _check_dict(sslconfig: Any, keys: frozenset[str]) -> None:
    """It must be a dict, of known keys only: one that is misspelt would
    quietly ask for less than was meant."""
    if not isinstance(sslconfig, dict):
        raise TypeError(
            f'sslconfig: need a {dict!r}; got a {type(sslconfig)!r}: '
            f'{sslconfig!r}'
        )
    unknown = [key for key in sslconfig if key not in keys]
    if unknown:
        raise ValueError(
            f'sslconfig: unknown keys: {", ".join(map(repr, unknown))}; '
            f'known are {", ".join(map(repr, sorted(keys)))}'
        )


def _wrong_type(key: str, cls: type, value: Any) -> TypeError:
    return TypeError(
        f'sslconfig[{key!r}]: need a {cls!r}; got a {type(value)!r}: {value!r}'
    )


def _get_bool(sslconfig: dict[str, Any], key: str, default: bool) -> bool:
    value = sslconfig.get(key, default)
    if type(value) is not bool:
        raise _wrong_type(key, bool, value)
    return value


def _check_paths(sslconfig: dict[str, Any]) -> None:
    for key in _PATHS:
        if key not in sslconfig:
            continue
        path = sslconfig[key]
        if not isinstance(path, str):
            raise _wrong_type(key, str, path)
        if os.path.abspath(path) != path:
            raise ValueError(
                f'sslconfig[{key!r}] is not an absolute, normalized path: '
                f'{path!r}'
            )


def _get_protocol(sslconfig: dict[str, Any]) -> str:
    protocol = sslconfig.get('protocol', 'TLSv1.2')
    if not isinstance(protocol, str) or protocol not in _CIPHERS:
        raise ValueError(
            f"sslconfig['protocol']: need 'TLSv1.2' or 'TLSv1.3'; "
            f'got {protocol!r}'
        )
    return protocol


# ------------------------------------------------------------------ contexts

_filter_lock = threading.Lock()


def _build_tls_1_2() -> ssl.SSLContext:
    """An SSLContext(PROTOCOL_TLSv1_2), without the DeprecationWarning of what
    is asked for on purpose.

    warnings.catch_warnings() would undo what other threads do to the filters
    meanwhile.  So there is a filter for this line alone, and it stays; it is
    put before those that have been added since.
    """
    with _filter_lock:
        warnings.filterwarnings(
            'ignore',
            r'ssl\.PROTOCOL_TLSv1_2 is deprecated',
            DeprecationWarning,
            r'degu\._tls\Z',
        )
        return ssl.SSLContext(ssl.PROTOCOL_TLSv1_2)


def _build_tls_1_3(is_server: bool) -> ssl.SSLContext:
    sslctx: Any = ssl.SSLContext(
        ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT
    )
    sslctx.minimum_version = ssl.TLSVersion.TLSv1_3
    sslctx.maximum_version = ssl.TLSVersion.TLSv1_3
    if is_server:
        # Without tickets nobody can resume a session; OP_NO_TICKET alone
        # would leave those that the server keeps the state of.
        sslctx.num_tickets = 0
    # Before 3.15 OpenSSL's other suites stay: check_handshake() refuses them.
    if hasattr(sslctx, 'set_ciphersuites'):
        sslctx.set_ciphersuites(_CIPHERS['TLSv1.3'])
    return sslctx  # type: ignore[no-any-return]


def _build_sslctx(sslconfig: dict[str, Any], is_server: bool) -> ssl.SSLContext:
    """A context of one of the two profiles, that trusts nobody yet.

    What `ssl` has no way to turn off is the server's cache of TLS 1.2
    sessions.  It holds no more than sessions of this very context, whose
    client it has authenticated, and pins are asked again.  They are 20480 at
    most, of 8 KB with a client's certificate, each for two hours.
    """
    if _get_protocol(sslconfig) == 'TLSv1.2':
        sslctx = _build_tls_1_2()
    else:
        sslctx = _build_tls_1_3(is_server)
    # The level is set, not inherited: what it is by default depends on the
    # system.  The list is for TLS 1.2 only, the level for both.
    sslctx.set_ciphers(f'{_CIPHERS["TLSv1.2"]}:@SECLEVEL=2')
    sslctx.options |= (
        ssl.OP_NO_COMPRESSION  # CRIME
        | ssl.OP_CIPHER_SERVER_PREFERENCE
        | ssl.OP_SINGLE_ECDH_USE
        | ssl.OP_NO_RENEGOTIATION
        | ssl.OP_NO_TICKET
    )
    _heed_eof(sslctx)
    # A host is known by its subjectAltName only (RFC 9525 section 2).
    sslctx.hostname_checks_common_name = False
    sslctx.set_alpn_protocols([_ALPN])
    return sslctx


def _heed_eof(sslctx: ssl.SSLContext) -> None:
    # As ints: ~ of an enum.Flag forgets the bits that it has no name for.
    options = int(sslctx.options) & ~int(_IGNORE_EOF)
    sslctx.options = options  # type: ignore[assignment]


def _refuse_encrypted() -> NoReturn:
    raise ValueError(
        'sslconfig: the private key is encrypted, and nobody is asked for '
        'passwords'
    )


def _load_own(sslctx: ssl.SSLContext, sslconfig: dict[str, Any]) -> None:
    """The certificate of this end, and its key, which may be in the same
    file; OpenSSL checks that they belong together."""
    cert_file = sslconfig['cert_file']
    key_name = 'key_file' if 'key_file' in sslconfig else 'cert_file'
    allow_readable = _get_bool(sslconfig, 'allow_readable_key', False)
    os.stat(cert_file)  # its error names the file, that of ssl does not
    mode = os.stat(sslconfig[key_name]).st_mode
    sslctx.load_cert_chain(
        cert_file, sslconfig.get('key_file'), _refuse_encrypted
    )
    # Only now: before, it is not known whether cert_file has the key.
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and not allow_readable:
        raise ValueError(
            f'sslconfig[{key_name!r}]: group or others may read or write the '
            f'key: {sslconfig[key_name]!r} has mode {stat.S_IMODE(mode):04o}; '
            "take that from them, or set sslconfig['allow_readable_key']"
        )


def _check_key_type(sslconfig: dict[str, Any]) -> None:
    """Under TLS 1.2 the cipher wants a server's key to be RSA: with another it
    could serve nobody."""
    if _get_protocol(sslconfig) != 'TLSv1.2':
        return
    with open(sslconfig['cert_file'], encoding='latin-1') as file:
        found = re.search(
            '-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----',
            file.read(),
            re.DOTALL,
        )
    if found and not has_rsa_key(ssl.PEM_cert_to_DER_cert(found[0])):
        raise ValueError(
            f"sslconfig['cert_file']: {sslconfig['cert_file']!r} is not of an "
            'RSA key, which a server needs under TLSv1.2'
        )


def _load_authorities(
    sslctx: ssl.SSLContext, sslconfig: dict[str, Any]
) -> None:
    for key in ('ca_file', 'ca_path'):
        if key not in sslconfig:
            continue
        path = sslconfig[key]
        mode = os.stat(path).st_mode
        # OpenSSL takes a folder that is none for one without authorities.
        if key == 'ca_path' and not stat.S_ISDIR(mode):
            raise NotADirectoryError(
                errno.ENOTDIR, os.strerror(errno.ENOTDIR), path
            )
    sslctx.load_verify_locations(
        sslconfig.get('ca_file'), sslconfig.get('ca_path')
    )


def build_server_sslctx(sslconfig: dict[str, Any]) -> ssl.SSLContext:
    """The `ssl.SSLContext` of a server.

    *sslconfig* is a dict with ``cert_file`` and ``key_file``, in PEM, and
    ``ca_file`` or ``ca_path`` or both, the authorities that must have signed
    a client's certificate.  Without these it must have
    ``allow_unauthenticated_clients``, which must be True.

    It may have ``protocol``: ``'TLSv1.2'``, the default, with the one cipher
    ECDHE-RSA-AES256-GCM-SHA384; or ``'TLSv1.3'``, with
    TLS_AES_256_GCM_SHA384.  A key that group or others may read is refused
    unless ``allow_readable_key`` is True.

    All paths are absolute and normalized.  Raises TypeError, ValueError or
    KeyError for a bad *sslconfig*, OSError or `ssl.SSLError` for files that
    cannot be used.
    """
    _check_dict(sslconfig, _SERVER_KEYS)
    _check_paths(sslconfig)
    for key in ('cert_file', 'key_file'):
        if key not in sslconfig:
            raise KeyError(key)
    sslctx = _build_sslctx(sslconfig, True)
    _load_own(sslctx, sslconfig)
    _check_key_type(sslconfig)
    has_authorities = 'ca_file' in sslconfig or 'ca_path' in sslconfig
    if 'allow_unauthenticated_clients' in sslconfig:
        if sslconfig['allow_unauthenticated_clients'] is not True:
            raise ValueError(
                'True is only allowed value for allow_unauthenticated_clients'
            )
        if has_authorities:
            raise ValueError(
                'ca_file/ca_path with allow_unauthenticated_clients'
            )
        sslctx.verify_mode = ssl.CERT_NONE
        return sslctx
    if not has_authorities:
        raise ValueError(
            'must include ca_file or ca_path '
            '(or allow_unauthenticated_clients)'
        )
    # CERT_OPTIONAL would only ask.
    sslctx.verify_mode = ssl.CERT_REQUIRED
    _load_authorities(sslctx, sslconfig)
    return sslctx


def build_client_sslctx(sslconfig: dict[str, Any]) -> ssl.SSLContext:
    """The `ssl.SSLContext` of a client.

    *sslconfig* is a dict that may have ``ca_file`` or ``ca_path`` or both,
    the authorities that must have signed the server's certificate, else they
    are the system's; ``check_hostname``, True by default, whether it must
    also be for the host, which it must if the authorities are the system's;
    and ``cert_file`` and ``key_file``, in PEM, the client's own certificate
    and its key, the latter left out if it is in the same file.

    ``protocol`` and ``allow_readable_key``, paths and what is raised are as
    for `degu.server.build_server_sslctx()`.
    """
    _check_dict(sslconfig, _CLIENT_KEYS)
    check_hostname = _get_bool(sslconfig, 'check_hostname', True)
    if 'key_file' in sslconfig and 'cert_file' not in sslconfig:
        raise ValueError(
            "sslconfig['key_file'] provided without sslconfig['cert_file']"
        )
    _check_paths(sslconfig)
    has_authorities = 'ca_file' in sslconfig or 'ca_path' in sslconfig
    if not has_authorities and not check_hostname:
        raise ValueError(
            'check_hostname must be True when using default verify paths'
        )
    sslctx = _build_sslctx(sslconfig, False)
    # In this order: ssl refuses to check names and not certificates.
    sslctx.verify_mode = ssl.CERT_REQUIRED
    sslctx.check_hostname = check_hostname
    if has_authorities:
        _load_authorities(sslctx, sslconfig)
    else:
        sslctx.set_default_verify_paths()
    if 'cert_file' in sslconfig:
        _load_own(sslctx, sslconfig)
    return sslctx


def _check_sslctx(sslctx: Any, protocol: int) -> None:
    """Is it a context of a profile?  *protocol* is what it has for TLS 1.3."""
    if not isinstance(sslctx, ssl.SSLContext):
        raise TypeError(
            'sslctx must be an ssl.SSLContext, or a dict to build one from; '
            f'got a {type(sslctx)!r}: {sslctx!r}'
        )
    only = ssl.TLSVersion.TLSv1_3
    if sslctx.protocol != ssl.PROTOCOL_TLSv1_2 and (
        sslctx.protocol, sslctx.minimum_version, sslctx.maximum_version
    ) != (protocol, only, only):
        raise ValueError(
            'sslctx.protocol must be ssl.PROTOCOL_TLSv1_2, or '
            f'ssl.{ssl._SSLMethod(protocol).name} with TLSv1_3 as its minimum '
            'and maximum version'
        )


def check_server_sslctx(sslctx: Any) -> ssl.SSLContext:
    """The context that a server is to use, for a context or an *sslconfig*.

    Raises TypeError or ValueError for one that will not do, and what
    `build_server_sslctx()` does; warns of one that lets anybody in.
    """
    if isinstance(sslctx, dict):
        sslctx = build_server_sslctx(sslctx)
    _check_sslctx(sslctx, ssl.PROTOCOL_TLS_SERVER)
    if sslctx.verify_mode == ssl.CERT_OPTIONAL:
        raise ValueError('sslctx.verify_mode cannot be ssl.CERT_OPTIONAL')
    if sslctx.verify_mode == ssl.CERT_NONE:
        log.warning('Security concern: sslctx allows unauthenticated clients!')
    _heed_eof(sslctx)
    return sslctx  # type: ignore[no-any-return]


def check_client_sslctx(sslctx: Any) -> ssl.SSLContext:
    """The context that a client is to use, for a context or an *sslconfig*.

    Raises TypeError or ValueError for one that will not do, and what
    `build_client_sslctx()` does.
    """
    if isinstance(sslctx, dict):
        sslctx = build_client_sslctx(sslctx)
    _check_sslctx(sslctx, ssl.PROTOCOL_TLS_CLIENT)
    if not sslctx.options & ssl.OP_NO_COMPRESSION:
        raise ValueError('sslctx.options must include ssl.OP_NO_COMPRESSION')
    if sslctx.verify_mode != ssl.CERT_REQUIRED:
        raise ValueError('sslctx.verify_mode must be ssl.CERT_REQUIRED')
    _heed_eof(sslctx)
    return sslctx  # type: ignore[no-any-return]


# ---------------------------------------------------------------------- pins


def check_pins(pins: Iterable[str] | None) -> frozenset[str] | None:
    """*pins* in lower case: SHA-256 of SubjectPublicKeyInfo, 64 hex digits.

    None stands for none.  An empty set is a ValueError: whoever gives one
    wants pins.
    """
    if pins is None:
        return None
    if isinstance(pins, (str, bytes)) or not isinstance(pins, Iterable):
        raise TypeError(
            'pins: need an iterable of str or None; '
            f'got a {type(pins)!r}: {pins!r}'
        )
    found = set()
    for pin in pins:
        if not isinstance(pin, str):
            raise TypeError(
                f'pins: need str in it; got a {type(pin)!r}: {pin!r}'
            )
        if not re.fullmatch('[0-9a-fA-F]{64}', pin):
            raise ValueError(f'pins: need 64 hex digits; got {pin!r}')
        found.add(pin.lower())
    if not found:
        raise ValueError('pins: need at least one')
    return frozenset(found)


def _check_pin(certificate: bytes | None, pins: frozenset[str]) -> None:
    if certificate is None:
        raise PinError(
            ssl.SSL_ERROR_SSL,
            'the other end has shown no certificate, and its key is pinned',
        )
    try:
        found = _sha256(key_of(certificate))
    except ValueError as error:
        raise PinError(ssl.SSL_ERROR_SSL, str(error)) from None
    if found not in pins:
        raise PinError(
            ssl.SSL_ERROR_SSL,
            f"the other end's key is none of the pinned ones: {found}",
        )


def check_handshake(
    sslsock: ssl.SSLSocket, pins: frozenset[str] | None
) -> None:
    """Is this connection, whose handshake has just been done, one of our
    profiles, and with one of the *pins*, as `check_pins()` gives them?

    Raises `PinError`, a subclass of ssl.SSLCertVerificationError, for the
    latter, and `ssl.SSLError` for the rest.
    """
    if sslsock.context.protocol != ssl.PROTOCOL_TLSv1_2:
        (protocol, cipher) = (sslsock.version(), _cipher(sslsock))
        if (protocol, cipher) != ('TLSv1.3', _CIPHERS['TLSv1.3']):
            raise ssl.SSLError(
                ssl.SSL_ERROR_SSL,
                f'the other end chose {protocol} with {cipher}; need TLSv1.3 '
                f'with {_CIPHERS["TLSv1.3"]}',
            )
    selected = sslsock.selected_alpn_protocol()
    if selected not in (None, _ALPN):
        raise ssl.SSLError(
            ssl.SSL_ERROR_SSL,
            f'the other end chose {selected!r} by ALPN; need {_ALPN!r}',
        )
    if pins is not None:
        _check_pin(sslsock.getpeercert(True), pins)


# -------------------------------------------------------------------- errors

# What is said of an error of OpenSSL's, by the name that ssl has for it.
_SENTENCES = {
    'PEER_DID_NOT_RETURN_A_CERTIFICATE':
        'the other end has shown no certificate',
    'HTTP_REQUEST': 'the other end speaks plain HTTP, not TLS',
    'HTTPS_PROXY_REQUEST': 'the other end speaks plain HTTP, not TLS',
    'WRONG_VERSION_NUMBER': 'the other end does not speak TLS',
    'UNSUPPORTED_PROTOCOL':
        'the other end offers no version of TLS that is allowed here',
    'NO_SHARED_CIPHER': 'there is no cipher in common with the other end',
    'UNEXPECTED_EOF_WHILE_READING':
        'the other end has gone without a close_notify',
}

# Alerts by which the other end refuses a certificate (RFC 8446 section 6.2).
_REFUSALS = frozenset((
    'ACCESS_DENIED',
    'BAD_CERTIFICATE',
    'CERTIFICATE_EXPIRED',
    'CERTIFICATE_REQUIRED',
    'CERTIFICATE_REVOKED',
    'CERTIFICATE_UNKNOWN',
    'UNKNOWN_CA',
    'UNSUPPORTED_CERTIFICATE',
))


def _reason_of(error: BaseException) -> str | None:
    """The name that ssl has for it; errors that are not of OpenSSL's making
    have no such attribute."""
    if not isinstance(error, ssl.SSLError):
        return None
    return getattr(error, 'reason', None)


def _alert_of(error: BaseException) -> str | None:
    """The alert that the other end has sent, if the error is one; told by the
    text where ssl does not know the name, 'tlsv13 alert unknown ca' say."""
    if not isinstance(error, ssl.SSLError):
        return None
    text = _reason_of(error) or error.strerror or ''
    found = re.search('_ALERT_([A-Z_]+)', text.upper().replace(' ', '_'))
    return found[1].strip('_') if found else None


def is_eof(error: BaseException) -> bool:
    """Is it the end of file without a close_notify?  It has a class of its own
    in later releases of Python only."""
    return (
        isinstance(error, ssl.SSLEOFError)
        or _reason_of(error) == 'UNEXPECTED_EOF_WHILE_READING'
    )


def is_refusal(error: BaseException) -> bool:
    """Does this error say that the other end has refused our certificate, or
    wants one?

    TLS 1.2 has no alert for a certificate that is missing but
    handshake_failure (RFC 5246 section 7.4.6), which may as well be about the
    cipher: that does not say it.
    """
    return _alert_of(error) in _REFUSALS


def wrap_socket(
    sslctx: ssl.SSLContext, sock: socket.socket, **options: Any
) -> ssl.SSLSocket:
    """The TLS socket that takes the place, and the descriptor, of the
    connected *sock*, its handshake still to be done.

    *sock* is closed if this fails.  A connection that was reset meanwhile is
    a `ConnectionResetError`, as it is when that happens a moment later."""
    try:
        # wrap_socket() would raise, too, and leave a socket behind.
        sock.getpeername()
        return sslctx.wrap_socket(
            sock,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            **options,
        )
    except BaseException as error:
        sock.close()
        if getattr(error, 'errno', None) != errno.ENOTCONN:
            raise
        reset = errno.ECONNRESET
        raise ConnectionResetError(reset, os.strerror(reset)) from None


def explain(error: BaseException) -> str:
    """A short sentence, for a log line, about what an operation on a TLS
    socket has raised."""
    alert = _alert_of(error)
    if alert == 'CERTIFICATE_REQUIRED':
        return 'the other end wants a certificate'
    if alert == 'HANDSHAKE_FAILURE':
        return 'the other end wants a certificate, or another cipher'
    if alert is not None:
        what = alert.replace('_', ' ').lower()
        if alert in _REFUSALS:
            return f'the other end has refused our certificate: {what}'
        return f'the other end gives up: {what}'
    # OpenSSL's words about what is wrong with a certificate.
    message = getattr(error, 'verify_message', None)
    if message:
        return str(message).rstrip('.')
    reason = _reason_of(error)
    if is_eof(error):
        reason = 'UNEXPECTED_EOF_WHILE_READING'
    if reason is not None:
        return _SENTENCES.get(reason) or reason.replace('_', ' ').lower()
    if isinstance(error, TimeoutError):
        return 'timed out'
    return getattr(error, 'strerror', None) or str(error) or repr(error)


def translate(error: BaseException) -> BaseException:
    """The exception to raise for *error*, which an operation on a TLS socket
    has raised: itself, or a `CertificateRefusedError` if it says that."""
    if not is_refusal(error):
        return error
    refused = CertificateRefusedError(explain(error), 'E_CERTIFICATE_REFUSED')
    refused.__cause__ = error
    return refused


# ---------------------------------------------------------------------- peer


def _cipher(sslsock: ssl.SSLSocket) -> str:
    found = sslsock.cipher()
    return found[0] if found else ''


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Peer:
    """Who is at the other end of a TLS connection.

    What is read out of the certificate, `key_sha256`, `subject` and `names`,
    is a ValueError if that is not DER.
    """

    __slots__ = ('_certificate', '_chain', '_cipher', '_protocol')

    def __init__(
        self,
        protocol: str,
        cipher: str,
        certificate: bytes | None,
        chain: tuple[bytes, ...],
    ) -> None:
        self._protocol = protocol
        self._cipher = cipher
        self._certificate = certificate
        self._chain = chain

    def __repr__(self) -> str:
        try:
            subject = self.subject
        except ValueError:
            subject = '?'
        return (
            f'{type(self).__name__}({self._protocol!r}, {self._cipher!r}, '
            f'{subject!r})'
        )

    @property
    def protocol(self) -> str:
        """The version of TLS: ``'TLSv1.2'`` or ``'TLSv1.3'``."""
        return self._protocol

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher."""
        return self._cipher

    @property
    def certificate(self) -> bytes | None:
        """The other end's certificate, DER; None if it has shown none."""
        return self._certificate

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates by which it was verified, DER: its own first, the
        authority's last.  Of a session that was resumed only its own."""
        return self._chain

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the certificate, in hex; None without one."""
        if self._certificate is None:
            return None
        return _sha256(self._certificate)

    @property
    def key_sha256(self) -> str | None:
        """SHA-256 of its SubjectPublicKeyInfo, in hex: what pins are; None
        without a certificate."""
        if self._certificate is None:
            return None
        return _sha256(key_of(self._certificate))

    @property
    def subject(self) -> str | None:
        """Its subject as RFC 4514 text, ``CN=device-7,O=Acme`` say; None
        without a certificate."""
        if self._certificate is None:
            return None
        return subject_of(self._certificate)

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """The names in its subjectAltName, in their order: (kind, text) with
        the kinds 'DNS', 'IP', 'URI' and 'email'.  A name that is not all
        printable ASCII is left out: it is there to deceive."""
        if self._certificate is None:
            return ()
        return names_of(self._certificate)


def _chain(sslsock: Any, leaf: bytes) -> tuple[bytes, ...]:
    """The verified chain; of a method that `ssl` shows from 3.13 on, and has
    under the same name before.  The leaf alone if there is none, as in a
    session that was resumed."""
    try:
        found = sslsock._sslobj.get_verified_chain()
        return tuple(
            ssl.PEM_cert_to_DER_cert(part.public_bytes()) for part in found
        ) or (leaf,)
    except (AttributeError, TypeError, ValueError, ssl.SSLError):
        return (leaf,)


def take_over(sslsock: Any) -> bool:
    """Makes a socket ready for the extension: it does not wait.  Can it tell a
    bare end of file from a close_notify?"""
    sslsock.setblocking(False)
    sslsock.suppress_ragged_eofs = False
    return not sslsock.context.options & _IGNORE_EOF


def peer_of(sslsock: ssl.SSLSocket) -> Peer:
    """Who is at the other end of a connected socket whose handshake is
    done."""
    try:
        leaf = sslsock.getpeercert(True)
    except AttributeError:
        raise ValueError('the TLS connection has ended') from None
    chain = () if leaf is None else _chain(sslsock, leaf)
    return Peer(sslsock.version() or '', _cipher(sslsock), leaf, chain)
