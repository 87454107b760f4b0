# SPDX-License-Identifier: MIT OR 0BSD
"""What a certificate says of its owner, read out of its DER (RFC 5280).

The certificate has been parsed and judged by OpenSSL before; but OpenSSL also
takes what is not DER, so everything here is checked again, and what is not
as X.690 section 10 has it is a ValueError.
"""

import socket
import ssl
from typing import NamedTuple

_INTEGER = 0x02
_OCTET_STRING = 0x04
_OID = 0x06
_SEQUENCE = 0x30
_SET = 0x31

# Tags of tbsCertificate's optional fields: [0] version, [3] extensions.
_VERSION = 0xA0
_EXTENSIONS = 0xA3

_SUBJECT_ALT_NAME = '2.5.29.17'

# rsaEncryption and id-RSASSA-PSS (RFC 8017 appendix A).
_RSA = ('1.2.840.113549.1.1.1', '1.2.840.113549.1.1.10')

# Tags of GeneralName (RFC 5280 4.2.1.6) that are told.
_EMAIL = 0x81
_DNS = 0x82
_URI = 0x86
_IP = 0x87
_KINDS = {_EMAIL: 'email', _DNS: 'DNS', _URI: 'URI'}

# How the characters of a string type are written; a value of another type is
# shown as hex.
_CODECS = {
    0x0C: 'utf-8',
    0x12: 'latin-1',  # NumericString
    0x13: 'latin-1',  # PrintableString
    0x14: 'latin-1',  # T61String, as OpenSSL takes it
    0x16: 'latin-1',  # IA5String
    0x1C: 'utf-32-be',  # UniversalString
    0x1E: 'utf-16-be',  # BMPString
}

# More than any object identifier that is in use.
_MAX_OID = 64


class _Part(NamedTuple):
    tag: int
    content: bytes
    whole: bytes


def _bad(what: str) -> ValueError:
    return ValueError(f'certificate: not as DER has it: {what}')


def _parts(data: bytes) -> list[_Part]:
    """The elements that *data* is made of, up to its very end."""
    found = []
    pos = 0
    while pos < len(data):
        (start, stop) = _content(data, pos)
        found.append(_Part(data[pos], data[start:stop], data[pos:stop]))
        pos = stop
    return found


def _content(data: bytes, pos: int) -> tuple[int, int]:
    """Where the content of the element at *pos* starts and stops."""
    if len(data) - pos < 2:
        raise _bad('an element that is cut short')
    if data[pos] & 0x1F == 0x1F:
        raise _bad('a tag of several bytes')  # no certificate has such
    length = data[pos + 1]
    start = pos + 2
    if length >= 0x80:
        count = length & 0x7F
        # TLS has no certificate whose length takes more than three bytes; and
        # a count of 0, the indefinite form, is none of DER's.
        if not 1 <= count <= 3 or len(data) - start < count:
            raise _bad('the form of a length')
        length = int.from_bytes(data[start:start + count], 'big')
        start += count
        if length < 0x80 or length >> 8 * (count - 1) == 0:
            raise _bad('a length that has a shorter form')
    if length > len(data) - start:
        raise _bad('an element that is cut short')
    return (start, start + length)


def _inside(part: _Part, tag: int) -> list[_Part]:
    if part.tag != tag:
        raise _bad(f'tag {part.tag:#04x} in the place of {tag:#04x}')
    return _parts(part.content)


def _fields(der: bytes) -> list[_Part]:
    """The fields of tbsCertificate, from the serial number on."""
    outer = _parts(der)
    if len(outer) != 1:
        raise _bad('bytes that are no part of it')
    inner = _inside(outer[0], _SEQUENCE)
    if len(inner) != 3:
        raise _bad('its three parts')
    fields = _inside(inner[0], _SEQUENCE)
    if fields and fields[0].tag == _VERSION:
        fields = fields[1:]
    # Serial number, signature, issuer, validity, subject, key.
    if [field.tag for field in fields[:6]] != [_INTEGER] + 5 * [_SEQUENCE]:
        raise _bad('its fields')
    return fields


def key_of(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate."""
    return _fields(der)[5].whole


# ------------------------------------------------------------------- subject


def _oid(part: _Part) -> str:
    """The dotted form of an object identifier (X.690 8.19)."""
    data = part.content
    if part.tag != _OID or not 0 < len(data) <= _MAX_OID or data[-1] & 0x80:
        raise _bad('an object identifier')
    arcs = []
    arc = 0
    is_first = True  # byte of an arc
    for byte in data:
        if is_first and byte == 0x80:
            raise _bad('an object identifier')
        arc = arc << 7 | byte & 0x7F
        is_first = byte < 0x80
        if is_first:
            arcs.append(arc)
            arc = 0
    top = min(arcs[0] // 40, 2)
    return '.'.join(map(str, [top, arcs[0] - 40 * top, *arcs[1:]]))


def has_rsa_key(der: bytes) -> bool:
    """Is the key of a certificate for RSA signatures of either kind?"""
    algorithm = _inside(_fields(der)[5], _SEQUENCE)[:1]
    names = _inside(algorithm[0], _SEQUENCE)[:1] if algorithm else []
    if not names:
        raise _bad('the algorithm of its key')
    return _oid(names[0]) in _RSA


def _escape(text: str) -> str:
    """As RFC 4514 section 2.4 has it, and control characters as hex.

    A lone ``#`` is left as it is, as OpenSSL leaves it.
    """
    shown = []
    for (pos, char) in enumerate(text):
        is_last = pos == len(text) - 1
        if (
            char in ',+"\\<>;'
            or char == ' ' and (pos == 0 or is_last)
            or char == '#' and pos == 0 and not is_last
        ):
            shown.append('\\' + char)
        elif char < ' ' or char == '\x7f':
            shown.append(f'\\{ord(char):02X}')
        else:
            shown.append(char)
    return ''.join(shown)


def _attribute(part: _Part) -> str:
    """``CN=text``; the value of an attribute that OpenSSL has no name for, or
    of a type that is no text, is the hex of its DER (RFC 4514 section 2.4)."""
    pair = _inside(part, _SEQUENCE)
    if len(pair) != 2:
        raise _bad('an attribute of a name')
    (kind, value) = (_oid(pair[0]), pair[1])
    codec = _CODECS.get(value.tag)
    try:
        kind = ssl._ASN1Object.fromname(kind).shortname
    except ValueError:
        codec = None
    if codec is None:
        return f'{kind}=#{value.whole.hex().upper()}'
    return f'{kind}={_escape(value.content.decode(codec))}'


def subject_of(der: bytes) -> str:
    """The subject of a certificate as RFC 4514 text, its last part first:
    what OpenSSL prints with XN_FLAG_RFC2253, non-ASCII text unescaped."""
    return ','.join(
        '+'.join(
            _attribute(part) for part in reversed(_inside(names, _SET))
        )
        for names in reversed(_inside(_fields(der)[4], _SEQUENCE))
    )


# --------------------------------------------------------------------- names


def _alt_names(der: bytes) -> list[_Part]:
    """The entries of its subjectAltName."""
    found = []
    for field in _fields(der)[6:]:
        if field.tag != _EXTENSIONS:
            continue
        inner = _inside(field, _EXTENSIONS)
        if len(inner) != 1:
            raise _bad('its extensions')
        for extension in _inside(inner[0], _SEQUENCE):
            items = _inside(extension, _SEQUENCE)
            if len(items) not in (2, 3) or items[-1].tag != _OCTET_STRING:
                raise _bad('an extension')
            if _oid(items[0]) == _SUBJECT_ALT_NAME:
                found.append(items[-1].content)
    if not found:
        return []
    # No extension may be there twice (RFC 5280 section 4.2).
    if len(found) != 1 or len(outer := _parts(found[0])) != 1:
        raise _bad('its subjectAltName')
    return _inside(outer[0], _SEQUENCE)


def _is_plain(data: bytes) -> bool:
    return bool(data) and all(0x20 < byte < 0x7F for byte in data)


def names_of(der: bytes) -> tuple[tuple[str, str], ...]:
    """The names in a certificate's subjectAltName, in their order: (kind,
    text) with the kinds 'DNS', 'IP', 'URI' and 'email'.

    A name that has anything but printable ASCII, a NUL or a blank say, is
    left out, as is an IP address of no such length: these are for deceiving
    whoever compares names.
    """
    names = []
    for part in _alt_names(der):
        if part.tag == _IP and len(part.content) == 4:
            names.append(('IP', socket.inet_ntop(
                socket.AF_INET, part.content)))
        elif part.tag == _IP and len(part.content) == 16:
            names.append(('IP', socket.inet_ntop(
                socket.AF_INET6, part.content)))
        elif part.tag in _KINDS and _is_plain(part.content):
            names.append((_KINDS[part.tag], part.content.decode('ascii')))
    return tuple(names)
