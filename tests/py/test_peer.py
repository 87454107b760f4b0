# SPDX-License-Identifier: MIT OR 0BSD
"""Who is at the other end: what is read out of certificates, against what the
program openssl reads in them."""

import hashlib
import ipaddress
import os
import ssl

import hypothesis
import hypothesis.strategies as st
import pytest

from degu._tls import (
    Peer,
    build_client_sslctx,
    build_server_sslctx,
    check_handshake,
    peer_of,
)
from degu._x509 import key_of, names_of, subject_of
from handshakes import openssl, shake

CN = '2.5.4.3'
O = '2.5.4.10'  # noqa: E741
UTF8 = 0x0C
PRINTABLE = 0x13
T61 = 0x14
IA5 = 0x16
UNIVERSAL = 0x1C
BMP = 0x1E


# ------------------------------------------------------ certificates by hand

def element(tag, *parts):
    content = b''.join(parts)
    length = len(content)
    if length < 0x80:
        size = bytes([length])
    else:
        size = length.to_bytes((length.bit_length() + 7) // 8, 'big')
        size = bytes([0x80 | len(size)]) + size
    return bytes([tag]) + size + content


def seq(*parts):
    return element(0x30, *parts)


def oid(text):
    (first, second, *rest) = map(int, text.split('.'))
    content = b''
    for arc in [40 * first + second, *rest]:
        digits = [arc & 0x7F]
        while arc > 0x7F:
            arc >>= 7
            digits.insert(0, 0x80 | arc & 0x7F)
        content += bytes(digits)
    return element(0x06, content)


def name(*rdns):
    """Of relative names, each a list of (object identifier, tag, bytes)."""
    return seq(*(
        element(0x31, *(seq(oid(kind), element(tag, value))
                        for (kind, tag, value) in rdn)) for rdn in rdns))


def cn(value, tag=UTF8):
    data = value.encode() if isinstance(value, str) else value
    return name([(CN, tag, data)])


def san(*entries):
    """The extension, of (tag, bytes)."""
    inner = seq(*(element(tag, data) for (tag, data) in entries))
    return seq(oid('2.5.29.17'), element(0x04, inner))


ALGORITHM = seq(oid('1.2.840.113549.1.1.11'), element(5))
DATES = seq(element(0x17, b'260101000000Z'), element(0x17, b'360101000000Z'))
# Of P-256; what the point is matters to nobody here.
KEY = seq(seq(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7')),
          element(3, b'\0' + bytes.fromhex(
              '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2'
              '964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51'
              'f5')))


def certificate(subject=seq(), *extensions, before=b'', key=KEY):
    """One that nobody has signed."""
    more = element(0xA3, seq(*extensions)) if extensions else b''
    tbs = seq(element(0xA0, element(2, b'\2')), element(2, b'\1'), ALGORITHM,
              cn('ca'), DATES, subject, key, before, more)
    return seq(tbs, ALGORITHM, element(3, b'\0' + b'x' * 64))


def shown(der, *args):
    """What openssl prints of a certificate."""
    return openssl('x509', '-inform', 'DER', '-noout', *args, data=der)


def shown_subject(der):
    line = shown(der, '-subject', '-nameopt', 'RFC2253,-esc_msb')
    assert line.startswith(b'subject=') and line.endswith(b'\n')
    return line[len(b'subject='):-1].decode()


# ------------------------------------------------------------------- subject

@pytest.mark.parametrize('subject, text', [
    (name(), ''),
    (cn('device-7'), 'CN=device-7'),
    (name([(O, UTF8, b'Acme')], [(CN, UTF8, b'device-7')]),
     'CN=device-7,O=Acme'),
    (name([(O, UTF8, b'Acme'), (CN, UTF8, b'a')]), 'CN=a+O=Acme'),
    (name([(O, UTF8, b'1')], [(O, UTF8, b'2'), (O, UTF8, b'3')],
          [(O, UTF8, b'4')]), 'O=4,O=3+O=2,O=1'),
    (cn(''), 'CN='),
    (cn(',+"\\<>;='), 'CN=\\,\\+\\"\\\\\\<\\>\\;='),
    (cn('a, CN=b'), 'CN=a\\, CN=b'), (cn('a+CN=b'), 'CN=a\\+CN=b'),
    (cn('#a#'), 'CN=\\#a#'), (cn('a#'), 'CN=a#'), (cn('#'), 'CN=#'),
    (cn('##'), 'CN=\\##'), (cn(' a b '), 'CN=\\ a b\\ '),
    (cn(' '), 'CN=\\ '), (cn('  '), 'CN=\\ \\ '), (cn('   '), 'CN=\\  \\ '),
    (cn('a\nb\r\0\x1f\x7f\t'), 'CN=a\\0Ab\\0D\\00\\1F\\7F\\09'),
    (cn('Zoë 東 😀'), 'CN=Zoë 東 😀'), (cn('\xa0a\xa0'), 'CN=\xa0a\xa0'),
    (cn(b'plain', PRINTABLE), 'CN=plain'), (cn(b'a@b', IA5), 'CN=a@b'),
    (cn('Zoë'.encode('latin-1'), T61), 'CN=Zoë'),
    (cn('Zoë,東'.encode('utf-16-be'), BMP), 'CN=Zoë\\,東'),
    (cn('a😀\n'.encode('utf-32-be'), UNIVERSAL), 'CN=a😀\\0A'),
    (cn('12 3'.encode(), 0x12), 'CN=12 3'),
    (cn(b'\0\1\2', 3), 'CN=#0303000102'),
    (name([(CN, 0x30, b'\5\0')]), 'CN=#30020500'),
    (name([('1.3.6.1.4.1.99999.1', UTF8, b'a')]),
     '1.3.6.1.4.1.99999.1=#0C0161'),
    (name([('2.999.3', UTF8, b'long' * 40)]),
     '2.999.3=#0C81A0' + (b'long' * 40).hex().upper()),
    (name([('0.9.2342.19200300.100.1.1', UTF8, b'u')],
          [('0.9.2342.19200300.100.1.25', IA5, b'org')]), 'DC=org,UID=u'),
    (name([('1.2.840.113549.1.9.1', IA5, b'a@b')]), 'emailAddress=a@b'),
    (cn('x' * 300), 'CN=' + 'x' * 300)])
def test_subject(subject, text):
    der = certificate(subject)
    assert subject_of(der) == text
    assert shown_subject(der) == text


NAMES = ['2.5.4.' + str(number) for number in range(3, 55)]


def test_short_names():
    """Whatever openssl calls them."""
    der = certificate(name(*([(kind, UTF8, b'a')] for kind in NAMES)))
    text = subject_of(der)
    assert text == shown_subject(der)
    for part in ('CN', 'SN', 'serialNumber', 'C', 'L', 'ST', 'street', 'O',
                 'OU', 'title', 'GN'):
        assert part + '=a' in text.split(',')


VALUES = st.tuples(
    st.sampled_from([CN, O, '2.5.4.11', '1.3.6.1.4.1.99999.7']),
    st.just(UTF8),
    st.text(st.one_of(st.sampled_from(',+"\\<>;=# \0\n'),
                      st.characters(blacklist_categories=('Cs',))),
            max_size=6).map(str.encode))


@hypothesis.given(st.lists(st.lists(VALUES, min_size=1, max_size=3),
                           max_size=3))
@hypothesis.settings(max_examples=60)
def test_any_subject(rdns):
    der = certificate(name(*rdns))
    # A line feed is no part of what is printed, being escaped.
    assert subject_of(der) == shown_subject(der)


@pytest.mark.parametrize('subject', [
    cn(b'\xff'), cn(b'\xc0\x80'), cn(b'\xed\xa0\x80'),
    cn(b'a', BMP), cn(b'\xd8\x00', BMP), cn(b'\0\0\0', UNIVERSAL),
    cn(b'\0\x11\0\0', UNIVERSAL), seq(seq()), seq(element(0x31, seq())),
    seq(element(0x31, seq(oid(CN)))),
    seq(element(0x31, seq(element(UTF8, b'a'), oid(CN)))),
    name([(CN, UTF8, b'a')]) + b'\0',
    seq(element(0x31, seq(element(6), element(UTF8)))),
    seq(element(0x31, seq(element(6, b'\x80\x01'), element(UTF8)))),
    seq(element(0x31, seq(element(6, b'\x55\x84'), element(UTF8)))),
    seq(element(0x31, seq(element(6, b'\x7f' * 65), element(UTF8))))])
def test_bad_subject(subject):
    der = certificate(subject)
    with pytest.raises(ValueError):
        subject_of(der)
    peer = Peer('TLSv1.2', 'x', der, (der,))
    assert repr(peer) == "Peer('TLSv1.2', 'x', '?')"


# --------------------------------------------------------------------- names

def test_names():
    entries = [
        (0x82, b'localhost'), (0x87, b'\x7f\0\0\1'),
        (0x87, bytes(15) + b'\1'), (0x86, b'urn:degu:a,b'),
        (0x81, b'a@example.org'), (0x82, b'*.example.org'),
        (0x82, b'localhost'), (0x87, bytes.fromhex('fe80') + bytes(14)),
        (0x87, b'\xc0\0\2\1')]
    assert names_of(certificate(cn('a'), san(*entries))) == (
        ('DNS', 'localhost'), ('IP', '127.0.0.1'), ('IP', '::1'),
        ('URI', 'urn:degu:a,b'), ('email', 'a@example.org'),
        ('DNS', '*.example.org'), ('DNS', 'localhost'), ('IP', 'fe80::'),
        ('IP', '192.0.2.1'))


@pytest.mark.parametrize('entry', [
    (0x82, b'good.example\0.evil.example'), (0x82, b'\0'), (0x82, b''),
    (0x82, b'a b'), (0x82, b' a'), (0x82, b'a\n'), (0x82, b'\x7f'),
    (0x82, 'exämple'.encode()), (0x82, b'ex\xe4mple'), (0x82, b'a\x80'),
    (0x81, b'a@b\0c'), (0x86, b'http://a/\0'), (0x86, 'http://é/'.encode()),
    (0x87, b''), (0x87, b'\x7f\0\0'), (0x87, bytes(5)), (0x87, bytes(17)),
    (0x87, bytes(8)), (0x87, bytes(32)), (0xA4, cn('a')),
    (0xA0, oid('1.2.3') + element(0xA0, element(UTF8, b'a'))),
    (0x88, oid('1.2.3')[2:]), (0x83, b'a'), (0x02, b'a'), (UTF8, b'a')])
def test_names_that_are_left_out(entry):
    """Others beside them are not."""
    der = certificate(cn('a'), san((0x82, b'a'), entry, (0x82, b'b')))
    assert names_of(der) == (('DNS', 'a'), ('DNS', 'b'))
    assert names_of(certificate(cn('a'), san(entry))) == ()


def test_no_names():
    assert names_of(certificate(cn('a'))) == ()
    assert names_of(certificate(cn('a'), san())) == ()
    critical = seq(oid('2.5.29.19'), element(1, b'\xff'),
                   element(4, seq()))
    assert names_of(certificate(cn('a'), critical)) == ()
    assert names_of(certificate(cn('localhost'))) == ()


def test_names_of_a_critical_extension():
    extension = seq(oid('2.5.29.17'), element(1, b'\xff'),
                    element(4, seq(element(0x82, b'a'))))
    constraints = seq(oid('2.5.29.19'), element(4, seq()))
    der = certificate(seq(), constraints, extension,
                      before=element(0x81, b'\0id') + element(0x82, b'\0id'))
    assert names_of(der) == (('DNS', 'a'),)


@pytest.mark.parametrize('extensions', [
    (san((0x82, b'a')), san((0x82, b'b'))), (san(), san()), (seq(),),
    (seq(oid('2.5.29.17')),), (element(4, b'a'),),
    (seq(oid('2.5.29.17'), element(5)),),
    (seq(oid('2.5.29.17'), element(4)),),
    (seq(oid('2.5.29.17'), element(4, element(0x31))),),
    (seq(oid('2.5.29.17'), element(4, seq() + seq())),),
    (seq(oid('2.5.29.17'), element(4, seq()), element(4), element(4)),),
    (seq(oid('2.5.29.17'), element(4, seq(b'\x82\x05a'))),),
    (seq(oid('2.5.29.17'), element(4, seq(b'\x82\x81\x01a'))),)])
def test_bad_extensions(extensions):
    with pytest.raises(ValueError, match='not as DER has it'):
        names_of(certificate(cn('a'), *extensions))


def test_extensions_in_two_parts():
    der = certificate(cn('a'), before=element(0xA3, seq(), seq()))
    with pytest.raises(ValueError, match='its extensions'):
        names_of(der)


# ------------------------------------------------------------------------ key

def test_key():
    der = certificate(cn('a'))
    assert key_of(der) == KEY
    pem = shown(der, '-pubkey')
    assert openssl('pkey', '-pubin', '-outform', 'DER', data=pem) == KEY


def test_version_1():
    """Has no field that says so."""
    tbs = seq(element(2, b'\1'), ALGORITHM, cn('ca'), DATES, cn('a'), KEY)
    der = seq(tbs, ALGORITHM, element(3, b'\0x'))
    assert (key_of(der), subject_of(der), names_of(der)) == (KEY, 'CN=a', ())


# --------------------------------------------------- what is no certificate

READERS = [key_of, subject_of, names_of]


@pytest.mark.parametrize('der', [
    b'', b'0', b'0\0', b'0\x80\0\0', b'0\x81', b'0\x84\0\0\0\0',
    b'0\x83\xff\xff\xff', b'\x1f\x81\0', b'0\x88' + b'\xff' * 8,
    b'0\xff' + bytes(127), b'0\x81\x7f' + bytes(127), b'0\x82\0\x80' +
    bytes(128), seq(seq(), ALGORITHM), seq(seq(), ALGORITHM, element(3)),
    seq(seq(element(0xA0)), ALGORITHM, element(3)), certificate() + b'\0',
    certificate() + certificate(), seq(), element(0x31, seq()),
    seq(element(2), element(2), element(2))])
def test_not_der(der):
    for read in READERS:
        with pytest.raises(ValueError, match='not as DER has it'):
            read(der)


def long_certificate():
    """Lengths of one, two and three bytes."""
    entries = [(0x82, b'n%d.example' % number) for number in range(6000)]
    return certificate(cn('x' * 300), san(*entries))


def test_long_lengths():
    der = long_certificate()
    assert der[1] == 0x83
    assert len(names_of(der)) == 6000
    assert key_of(der) == KEY
    for cut in (1, 2, 3, 4, 5, 6, 1000, 65536, len(der) - 1):
        for read in READERS:
            with pytest.raises(ValueError):
                read(der[:cut])


def test_cut_short_anywhere(pki):
    with open(pki.get_server_config()['cert_file']) as file:
        der = ssl.PEM_cert_to_DER_cert(file.read())
    for stop in range(len(der)):
        for read in READERS:
            with pytest.raises(ValueError):
                read(der[:stop])


def test_any_bit_turned(pki):
    """A value or a ValueError, nothing else."""
    with open(pki.get_server_config()['cert_file']) as file:
        der = bytearray(ssl.PEM_cert_to_DER_cert(file.read()))
    good = [read(bytes(der)) for read in READERS]
    refused = 0
    for pos in range(len(der)):
        for bit in range(8):
            der[pos] ^= 1 << bit
            for read in READERS:
                try:
                    read(bytes(der))
                except ValueError:
                    refused += 1
            der[pos] ^= 1 << bit
    assert refused
    assert [read(bytes(der)) for read in READERS] == good


@hypothesis.given(st.binary(max_size=60))
def test_any_bytes(data):
    for read in READERS:
        with pytest.raises(ValueError):
            read(data)


# ------------------------------------------------------------------- the peer

@pytest.fixture(params=['TLSv1.2', 'TLSv1.3'])
def ends(request, pki):
    """(the client as the server sees it, the server as the client does)."""
    (server, client) = (
        dict(config, protocol=request.param)
        for config in (pki.get_server_config(), pki.get_client_config()))
    with shake(build_server_sslctx(server), build_client_sslctx(client)) as (
            pair):
        check_handshake(pair.server, None)
        yield (request.param, peer_of(pair.server), peer_of(pair.client))


def test_peer_against_openssl(ends, pki):
    (protocol, *peers) = ends
    owners = [(pki.client_id, pki.client_ca_id), (pki.server_id,
                                                  pki.server_ca_id)]
    for (peer, (own, authority)) in zip(peers, owners):
        chain = [openssl('x509', '-outform', 'DER', '-in', os.path.join(
            pki.ssldir, name + '.cert')) for name in (own, authority)]
        assert peer.certificate == chain[0]
        assert peer.chain == tuple(chain)
        assert peer.protocol == protocol
        assert peer.cipher in ('ECDHE-RSA-AES256-GCM-SHA384',
                               'TLS_AES_256_GCM_SHA384')
        fingerprint = shown(chain[0], '-fingerprint', '-sha256')
        assert peer.sha256 == (fingerprint.decode().strip().partition('=')[2]
                               .replace(':', '').lower())
        pem = shown(chain[0], '-pubkey')
        key = openssl('pkey', '-pubin', '-outform', 'DER', data=pem)
        assert peer.key_sha256 == hashlib.sha256(key).hexdigest()
        assert peer.subject == shown_subject(chain[0]) == 'CN=' + own
        assert peer.names == names_shown(chain[0])
        assert repr(peer) == 'Peer({!r}, {!r}, {!r})'.format(
            protocol, peer.cipher, peer.subject)


def names_shown(der):
    """What openssl prints as its subjectAltName."""
    lines = shown(der, '-ext', 'subjectAltName').decode().splitlines()
    found = []
    for text in lines[1].strip().split(', '):
        (kind, _, value) = text.partition(':')
        if kind == 'IP Address':
            (kind, value) = ('IP', str(ipaddress.ip_address(value)))
        found.append((kind, value))
    return tuple(found)


def test_names_of_the_servers(ends):
    (_, client, server) = ends
    assert server.names == (
        ('DNS', 'localhost'), ('IP', '127.0.0.1'), ('IP', '::1'))
    assert [kind for (kind, _) in client.names] == ['DNS']


@pytest.mark.parametrize('name', [
    'protocol', 'cipher', 'certificate', 'chain', 'sha256', 'key_sha256',
    'subject', 'names', 'other'])
def test_peer_is_immutable(name):
    peer = Peer('TLSv1.2', 'x', None, ())
    with pytest.raises(AttributeError):
        setattr(peer, name, 5)


def test_anonymous_peer(pki):
    with shake(build_server_sslctx(pki.get_anonymous_server_config()),
               build_client_sslctx(pki.get_anonymous_client_config())) as (
                   pair):
        peer = peer_of(pair.server)
        assert (peer.certificate, peer.chain, peer.names) == (None, (), ())
        assert (peer.sha256, peer.key_sha256, peer.subject) == (None,) * 3
        assert peer.protocol == 'TLSv1.2'
        assert repr(peer).endswith(', None)')


class NoChain:
    """A socket whose private part has no verified chain, or another form of
    it."""

    def __init__(self, sslobj):
        self._sslobj = sslobj

    def getpeercert(self, binary_form):
        return b'leaf'

    def version(self):
        return 'TLSv1.2'

    def cipher(self):
        return ('x', 'TLSv1.2', 256)


class Chain:
    def __init__(self, found):
        self.found = found

    def get_verified_chain(self):
        if isinstance(self.found, Exception):
            raise self.found.with_traceback(None)  # or it keeps all it had
        return self.found


@pytest.mark.parametrize('sslobj', [
    None, object(), Chain(None), Chain([]), Chain([5]),
    Chain(ssl.SSLError(1, 'x')), Chain(ValueError()), Chain(TypeError())])
def test_no_verified_chain(sslobj):
    assert peer_of(NoChain(sslobj)).chain == (b'leaf',)


def test_der_is_taken_at_once(ends):
    """The connection is gone by now, for one of them."""
    (_, client, server) = ends
    for peer in (client, server):
        assert type(peer.certificate) is bytes
        assert all(type(der) is bytes for der in peer.chain)
