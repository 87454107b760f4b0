# SPDX-License-Identifier: MIT OR 0BSD
"""TLS: what a configuration may say, what the contexts made from it do, what
a handshake must have come to, and what is said of those that fail."""

import contextlib
import itertools
import logging
import os
import shutil
import ssl
import warnings

import pytest

from degu import _tls
from degu._tls import (
    PinError,
    build_client_sslctx,
    build_server_sslctx,
    check_client_sslctx,
    check_handshake,
    check_pins,
    check_server_sslctx,
    explain,
    is_refusal,
    peer_of,
)
from handshakes import is_refused, openssl, read_error, self_signed, shake
from peers import outcome

PROTOCOLS = ['TLSv1.2', 'TLSv1.3']
CIPHERS = {'TLSv1.2': 'ECDHE-RSA-AES256-GCM-SHA384',
           'TLSv1.3': 'TLS_AES_256_GCM_SHA384'}
BUILD = {'server': build_server_sslctx, 'client': build_client_sslctx}
HTTP = b'GET / HTTP/1.1\r\n\r\n'


@pytest.fixture(params=PROTOCOLS)
def protocol(request):
    return request.param


@pytest.fixture(params=sorted(BUILD))
def side(request):
    return request.param


@pytest.fixture
def config(pki, side):
    """A good one."""
    return (pki.get_server_config() if side == 'server'
            else pki.get_client_config())


@pytest.fixture(scope='module')
def other(tmp_path_factory):
    """A certificate of nobody's that is known."""
    folder = str(tmp_path_factory.mktemp('other'))
    return self_signed(folder, 'other', '-newkey', 'rsa:2048', '-addext',
                       'subjectAltName = DNS:other')


def fails(side, config, error, text=None):
    with pytest.raises(error, match=text) as info:
        BUILD[side](config)
    assert type(info.value) is error
    return info.value


# ------------------------------------------------------------------ validation

class Dict(dict):
    pass


@pytest.mark.parametrize('value', [None, 5, 'sslconfig', [], ()])
def test_config_must_be_a_dict(side, value):
    fails(side, value, TypeError, "^sslconfig: need a <class 'dict'>; got a")


def test_subclass_of_dict(side, config):
    assert type(BUILD[side](Dict(config))) is ssl.SSLContext


@pytest.mark.parametrize('key', ['ca_fille', 'password', 5, 'pins', ''])
def test_unknown_key(side, config, key):
    config[key] = True
    config['cert_file'] = 5
    error = fails(side, config, ValueError, 'unknown keys')
    assert repr(key) in str(error) and "'ca_file'" in str(error)


def test_keys_of_the_other_side(pki):
    config = pki.get_server_config()
    config['check_hostname'] = False
    fails('server', config, ValueError, 'unknown keys')
    config = pki.get_client_config()
    config['allow_unauthenticated_clients'] = True
    fails('client', config, ValueError, 'unknown keys')


@pytest.mark.parametrize('key', _tls._PATHS)
@pytest.mark.parametrize('value', [
    None, 5, True, b'/etc', os.DirEntry, ('/etc',)])
def test_path_of_wrong_type(side, config, key, value):
    config[key] = value
    config['protocol'] = 'wrong, too'
    error = fails(side, config, TypeError, "need a <class 'str'>; got a")
    assert str(error).startswith('sslconfig[{!r}]: '.format(key))


@pytest.mark.parametrize('key', _tls._PATHS)
@pytest.mark.parametrize('value', [
    '', '.', 'cert', './cert', '/etc/', '/etc/../cert', '/etc//cert',
    '/etc/./cert', '~/cert'])
def test_path_that_is_not_absolute_or_normalized(side, config, key, value):
    config[key] = value
    config['protocol'] = 'wrong, too'
    error = fails(side, config, ValueError, 'absolute, normalized path')
    assert str(error).startswith('sslconfig[{!r}] '.format(key))


@pytest.mark.parametrize('keys', [('cert_file', 'key_file'), ('cert_file',),
                                  ('key_file',)])
def test_server_needs_its_own(pki, keys):
    config = pki.get_server_config()
    config['protocol'] = 'wrong, too'
    for key in keys:
        del config[key]
    error = fails('server', config, KeyError)
    assert error.args == (keys[0],)


def test_paths_come_before_missing_keys():
    fails('server', {'ca_path': 'x'}, ValueError, 'absolute')


@pytest.mark.parametrize('value', [
    None, 1.2, 'TLSv1', 'TLSv1.1', 'tlsv1.2', 'TLSv1.2 ', 'TLSv1.4', True,
    ssl.PROTOCOL_TLS_CLIENT, ssl.TLSVersion.TLSv1_3, ['TLSv1.2']])
def test_no_such_protocol(side, config, value):
    config['protocol'] = value
    error = fails(side, config, ValueError, "need 'TLSv1.2' or 'TLSv1.3'")
    assert repr(value) in str(error)


@pytest.mark.parametrize('key', ['cert_file', 'key_file', 'ca_file',
                                 'ca_path'])
def test_file_that_is_not_there(side, config, key):
    config[key] = '/nowhere/at/all'
    error = fails(side, config, FileNotFoundError)
    assert error.filename == '/nowhere/at/all'


def test_folder_of_authorities_that_is_none(side, config):
    config['ca_path'] = config.pop('ca_file')
    fails(side, config, NotADirectoryError)


@pytest.mark.parametrize('key', ['cert_file', 'key_file', 'ca_file'])
def test_file_of_something_else(side, config, key, tmp_path):
    path = tmp_path / 'file'
    path.write_bytes(b'something else')
    path.chmod(0o600)
    config[key] = str(path)
    fails(side, config, ssl.SSLError)


def test_key_of_another_certificate(side, config, other):
    config['key_file'] = other['key_file']
    fails(side, config, ssl.SSLError, 'KEY_VALUES_MISMATCH')


def test_encrypted_key(side, config, tmp_path):
    """Nobody is asked for a password."""
    path = str(tmp_path / 'key')
    openssl('rsa', '-aes256', '-passout', 'pass:x', '-in', config['key_file'],
            '-out', path)
    config['key_file'] = path
    fails(side, config, ValueError, 'encrypted')


@pytest.mark.parametrize('value', [None, False, 1, 'True', []])
def test_anonymous_clients_by_nothing_but_true(pki, value):
    config = pki.get_server_config()
    config['allow_unauthenticated_clients'] = value
    fails('server', config, ValueError, 'True is only allowed value')
    del config['ca_file']
    fails('server', config, ValueError, 'True is only allowed value')


@pytest.mark.parametrize('key', ['ca_file', 'ca_path'])
def test_anonymous_clients_and_an_authority(pki, key):
    config = pki.get_anonymous_server_config()
    config[key] = '/nowhere/at/all'
    fails('server', config, ValueError, 'ca_file/ca_path with allow')


def test_server_must_be_told_whom_to_trust(pki):
    config = pki.get_server_config()
    del config['ca_file']
    fails('server', config, ValueError, 'must include ca_file or ca_path')
    config['cert_file'] = '/nowhere/at/all'
    fails('server', config, FileNotFoundError)


@pytest.mark.parametrize('value', [None, 1, 0, 'False', []])
def test_check_hostname_must_be_a_bool(pki, value):
    config = pki.get_client_config()
    config['check_hostname'] = value
    del config['cert_file']
    config['ca_file'] = 5
    fails('client', config, TypeError,
          r"sslconfig\['check_hostname'\]: need a <class 'bool'>; got a")


def test_client_key_without_certificate():
    config = {'key_file': 'relative'}
    fails('client', config, ValueError,
          r"'key_file'\] provided without sslconfig\['cert_file'\]")


def test_system_authorities():
    fails('client', {'check_hostname': False}, ValueError,
          'check_hostname must be True when using default verify paths')
    for config in ({}, {'check_hostname': True}):
        sslctx = build_client_sslctx(config)
        assert sslctx.check_hostname
        assert sslctx.verify_mode == ssl.CERT_REQUIRED


def test_system_authorities_come_after_paths():
    fails('client', {'check_hostname': False, 'cert_file': 'x'}, ValueError,
          'absolute')


def test_certificate_and_key_in_one_file(pki, tmp_path):
    config = pki.get_client_config()
    path = tmp_path / 'both'
    path.touch(0o600)
    with open(path, 'ab') as file:
        for key in ('cert_file', 'key_file'):
            with open(config[key], 'rb') as part:
                shutil.copyfileobj(part, file)
    del config['key_file']
    fails('client', config, ssl.SSLError)
    config['cert_file'] = str(path)
    with shake(build_server_sslctx(pki.get_server_config()),
               build_client_sslctx(config)) as pair:
        assert not is_refused(pair)
    path.chmod(0o604)
    fails('client', config, ValueError, "'cert_file'.*may read")


@pytest.mark.parametrize('mode', [0o640, 0o604, 0o444, 0o644, 0o440])
def test_key_that_others_may_read(side, config, mode, tmp_path):
    path = shutil.copy(config['key_file'], tmp_path / 'key')
    config['key_file'] = str(path)
    os.chmod(path, mode)
    error = fails(side, config, ValueError, r"'key_file'\].*may read")
    assert '{:04o}'.format(mode) in str(error)
    config['allow_readable_key'] = False
    fails(side, config, ValueError, r"'key_file'\].*may read")
    config['allow_readable_key'] = True
    assert BUILD[side](config)
    config['allow_readable_key'] = 1
    fails(side, config, TypeError, "need a <class 'bool'>")


@pytest.mark.parametrize('mode', [0o600, 0o400, 0o700])
def test_key_that_only_its_owner_may_read(side, config, mode, tmp_path):
    path = shutil.copy(config['key_file'], tmp_path / 'key')
    config['key_file'] = str(path)
    os.chmod(path, mode)
    assert BUILD[side](config)


def test_config_is_not_changed(side, config):
    before = dict(config)
    BUILD[side](config)
    assert config == before


def test_key_too_short(side, config, tmp_path):
    """For security level 2."""
    config.update(self_signed(str(tmp_path), 'short', '-newkey', 'rsa:1024'))
    fails(side, config, ssl.SSLError, 'KEY_TOO_SMALL')


# -------------------------------------------------------------------- contexts

def test_attributes(side, config, protocol):
    config['protocol'] = protocol
    sslctx = BUILD[side](config)
    assert type(sslctx) is ssl.SSLContext
    assert sslctx.verify_mode == ssl.CERT_REQUIRED
    assert sslctx.check_hostname is False
    for option in ('NO_COMPRESSION', 'CIPHER_SERVER_PREFERENCE',
                   'NO_RENEGOTIATION', 'NO_TICKET', 'SINGLE_ECDH_USE'):
        flag = getattr(ssl, 'OP_' + option)
        assert sslctx.options & flag == flag
    assert not int(sslctx.options) & 0x80  # SSL_OP_IGNORE_UNEXPECTED_EOF
    assert sslctx.security_level == 2
    assert sslctx.verify_flags == ssl.VERIFY_X509_TRUSTED_FIRST
    assert sslctx.hostname_checks_common_name is False
    assert sslctx.post_handshake_auth is False
    ciphers = [cipher['name'] for cipher in sslctx.get_ciphers()
               if cipher['protocol'] != 'TLSv1.3']
    assert ciphers == [CIPHERS['TLSv1.2']]
    if protocol == 'TLSv1.2':
        assert sslctx.protocol == ssl.PROTOCOL_TLSv1_2
    else:
        only = ssl.TLSVersion.TLSv1_3
        assert sslctx.protocol == (
            ssl.PROTOCOL_TLS_SERVER if side == 'server'
            else ssl.PROTOCOL_TLS_CLIENT)
        assert sslctx.minimum_version == sslctx.maximum_version == only
        if side == 'server':
            assert sslctx.num_tickets == 0


def test_default_is_tls_1_2(side, config):
    assert BUILD[side](config).protocol == ssl.PROTOCOL_TLSv1_2


def test_suite_where_it_can_be_set(side, config, protocol, monkeypatch):
    """From Python 3.15 on."""
    found = []
    monkeypatch.setattr(ssl.SSLContext, 'set_ciphersuites',
                        lambda self, suites: found.append(suites),
                        raising=False)
    BUILD[side](dict(config, protocol=protocol))
    assert found == ([] if protocol == 'TLSv1.2' else [CIPHERS['TLSv1.3']])


def test_anonymous_server(pki):
    sslctx = build_server_sslctx(pki.get_anonymous_server_config())
    assert sslctx.verify_mode == ssl.CERT_NONE


WARNS = '''
import sys, warnings
(cert, key, ca) = sys.argv[1:]
warnings.simplefilter('error')
import degu._tls
config = {'cert_file': cert, 'key_file': key, 'ca_file': ca}
shown = []
warnings.showwarning = lambda *args, **more: shown.append(args)
for action in ('error', 'always', 'default', 'once', 'module'):
    for _ in range(2):
        warnings.resetwarnings()
        warnings.simplefilter(action)
        degu._tls.build_server_sslctx(config)
        degu._tls.build_client_sslctx(config)
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            degu._tls.check_server_sslctx(config)
    # Only of ours nothing is said.
    import ssl
    shown.clear()
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLSv1_2)
    except DeprecationWarning:
        shown.append(1)
    print(action, len(shown))
    shown.clear()
'''


def test_no_deprecation_warning(pki):
    config = pki.get_server_config()
    (status, output, errors) = outcome(
        WARNS, config['cert_file'], config['key_file'], config['ca_file'])
    assert (status, errors) == (0, '')
    assert output.split() == ['error', '1', 'always', '1', 'default', '1',
                              'once', '1', 'module', '1']


def test_no_deprecation_warning_here(side, config):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter('always')
        BUILD[side](config)
    assert found == []


def test_nothing_of_ssl_before_it_is_needed():
    code = ('import sys, degu.server, degu.client, degu.misc\n'
            'print("ssl" in sys.modules, "degu._tls" in sys.modules)')
    assert outcome(code) == (0, 'False False\n', '')


# ------------------------------------------------------------------ handshakes

def both(pki, protocol, server=None, client=None):
    """Contexts of these configurations, by default the good ones."""
    server = dict(server or pki.get_server_config(), protocol=protocol)
    client = dict(client or pki.get_client_config(), protocol=protocol)
    return (build_server_sslctx(server), build_client_sslctx(client))


def plain(protocol, is_server, pki):
    """A context of somebody else's, for this protocol and any cipher."""
    sslctx = ssl.SSLContext(
        ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    version = {'TLSv1.2': ssl.TLSVersion.TLSv1_2,
               'TLSv1.3': ssl.TLSVersion.TLSv1_3}[protocol]
    sslctx.minimum_version = sslctx.maximum_version = version
    sslctx.check_hostname = False
    config = (pki.get_server_config() if is_server
              else pki.get_client_config())
    sslctx.load_cert_chain(config['cert_file'], config['key_file'])
    sslctx.load_verify_locations(config['ca_file'])
    return sslctx


def test_what_is_agreed_on(pki, protocol):
    with shake(*both(pki, protocol)) as pair:
        assert not is_refused(pair)
        for sock in (pair.server, pair.client):
            assert sock.version() == protocol
            assert sock.cipher()[0] == CIPHERS[protocol]
            assert sock.selected_alpn_protocol() == 'http/1.1'
            assert sock.compression() is None
            check_handshake(sock, None)
        pair.client.send(HTTP)
        assert pair.server.recv(100) == HTTP


def test_key_exchange_is_ephemeral(pki, protocol):
    """The group of TLS 1.2 is elliptic: nothing else is in its one cipher."""
    for other_protocol in PROTOCOLS:
        server = both(pki, protocol)[0]
        with shake(server, plain(other_protocol, False, pki)) as pair:
            assert is_refused(pair) == (protocol != other_protocol)


def test_other_protocols_are_refused(pki, protocol):
    for other_protocol in set(PROTOCOLS) - {protocol}:
        (server, client) = both(pki, protocol)
        with shake(plain(other_protocol, True, pki), client) as pair:
            assert is_refused(pair)
        with shake(server, plain(other_protocol, False, pki)) as pair:
            assert is_refused(pair)
            # OpenSSL's TLSv1_2_method() has no look at other versions.
            assert explain(pair.server_error) in (
                'there is no cipher in common with the other end',
                'the other end offers no version of TLS that is allowed here')


@pytest.mark.parametrize('cipher', [
    'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-RSA-CHACHA20-POLY1305',
    'AES256-GCM-SHA384', 'DHE-RSA-AES256-GCM-SHA384'])
def test_other_ciphers_are_refused(pki, cipher):
    (server, client) = both(pki, 'TLSv1.2')
    others = [plain('TLSv1.2', is_server, pki) for is_server in (True, False)]
    for sslctx in others:
        sslctx.set_ciphers(cipher)
    with shake(server, others[1]) as pair:
        assert explain(pair.server_error) == (
            'there is no cipher in common with the other end')
    with shake(others[0], client) as pair:
        assert is_refused(pair)


def test_certificates_of_the_1_3_profile(tmp_path, pki):
    """RSA and what is shorter."""
    for (name, args) in [
            ('ed25519', ['-newkey', 'ed25519']),
            ('p256', ['-newkey', 'ec', '-pkeyopt',
                      'ec_paramgen_curve:P-256'])]:
        own = self_signed(str(tmp_path), name, *args)
        server = dict(own, ca_file=own['cert_file'])
        client = dict(server, check_hostname=False)
        with shake(*both(pki, 'TLSv1.3', server, client)) as pair:
            assert not is_refused(pair)


def test_client_without_certificate(pki, protocol):
    contexts = both(pki, protocol,
                    client=pki.get_anonymous_client_config())
    with shake(*contexts) as pair:
        assert explain(pair.server_error) == (
            'the other end has shown no certificate')
        assert not is_refusal(pair.server_error)
        # In TLS 1.3 it had finished before the server has judged it.
        error = pair.client_error or read_error(pair.client)
        # Before TLS 1.3 this has no alert of its own.
        assert is_refusal(error) == (protocol == 'TLSv1.3')
        assert 'wants a certificate' in explain(error)


def test_client_of_another_authority(pki, protocol, other):
    client = dict(pki.get_client_config(), **other)
    with shake(*both(pki, protocol, client=client)) as pair:
        assert isinstance(pair.server_error, ssl.SSLCertVerificationError)
        assert 'self' in explain(pair.server_error)
        error = pair.client_error or read_error(pair.client)
        assert is_refusal(error)
        assert explain(error) == (
            'the other end has refused our certificate: unknown ca')


def test_client_with_a_servers_certificate(pki, protocol):
    """Its purpose is another."""
    server = dict(pki.get_server_config(),
                  ca_file=pki.get_client_config()['ca_file'])
    own = {key: server[key] for key in ('cert_file', 'key_file')}
    client = dict(pki.get_client_config(), **own)
    with shake(*both(pki, protocol, server, client)) as pair:
        assert 'purpose' in explain(pair.server_error)


def test_server_of_another_authority(pki, protocol, other):
    server = dict(pki.get_server_config(), **other)
    with shake(*both(pki, protocol, server)) as pair:
        assert isinstance(pair.client_error, ssl.SSLCertVerificationError)
        assert 'self' in explain(pair.client_error)
        assert is_refusal(pair.server_error)


def test_anonymous(pki, protocol):
    with shake(*both(pki, protocol, pki.get_anonymous_server_config(),
                     pki.get_anonymous_client_config())) as pair:
        assert not is_refused(pair)


@pytest.mark.parametrize('name, good', [
    ('localhost', True), ('127.0.0.1', True), ('::1', True),
    ('LocalHost', True), ('localhost.', False), ('other', False),
    ('127.0.0.2', False)])
def test_host_name(pki, protocol, name, good):
    client = dict(pki.get_client_config(), check_hostname=True)
    with shake(*both(pki, protocol, client=client),
               server_hostname=name) as pair:
        if good:
            assert not is_refused(pair)
        else:
            assert 'is not valid for' in explain(pair.client_error)
            assert name in explain(pair.client_error)


def test_common_name_is_no_host_name(pki, protocol, tmp_path):
    own = self_signed(str(tmp_path), 'host', '-newkey', 'rsa:2048')
    client = dict(own, ca_file=own['cert_file'], check_hostname=True)
    server = dict(own, ca_file=own['cert_file'])
    with shake(*both(pki, protocol, server, client),
               server_hostname='host') as pair:
        assert 'is not valid for' in explain(pair.client_error)


def test_authorities_in_a_folder(pki, protocol, tmp_path):
    server = pki.get_server_config()
    path = server.pop('ca_file')
    server['ca_path'] = str(tmp_path)
    with shake(*both(pki, protocol, server)) as pair:
        assert is_refused(pair)
    name = openssl('x509', '-noout', '-subject_hash', '-in', path)
    os.symlink(path, tmp_path / (name.decode().strip() + '.0'))
    with shake(*both(pki, protocol, server)) as pair:
        assert not is_refused(pair)


def end_tls(pair):
    """Both ends say goodbye, so that the session is one to resume."""
    for sock in (pair.client, pair.server, pair.client):
        with contextlib.suppress(ssl.SSLWantReadError):
            sock.setblocking(False)
            sock.unwrap()


@pytest.mark.skipif('DEGU_SANITIZED' in os.environ, reason='SSLSocket.session '
                    'of CPython 3.11 leaks')
def test_resumption(pki, protocol):
    """No tickets.  The cache of TLS 1.2 is there, and its sessions are those
    of clients that have been authenticated."""
    (server, client) = both(pki, protocol)
    with shake(server, client) as pair:
        first = peer_of(pair.server)
        session = pair.client.session
        assert not session or not session.has_ticket
        pair.server.send(b'.')
        pair.client.recv(1)
        if protocol == 'TLSv1.3':
            assert not pair.client.session or (
                not pair.client.session.has_ticket)
            return
        end_tls(pair)
    with shake(server, client, session=session) as pair:
        assert pair.server.session_reused
        again = peer_of(pair.server)
        assert again.certificate == first.certificate
        assert again.chain == (first.certificate,)
        with pytest.raises(PinError):
            check_handshake(pair.server, frozenset(['0' * 64]))


def test_bare_end_of_file(pki, protocol):
    """Is not taken for a close_notify."""
    with shake(*both(pki, protocol)) as pair:
        os.close(pair.client.detach())
        error = read_error(pair.server)
        assert isinstance(error, ssl.SSLError)
        assert explain(error) == (
            'the other end has gone without a close_notify')


# --------------------------------------------------------- contexts ready-made

def test_dict_in_the_place_of_a_context(pki):
    for (check, config) in [
            (check_server_sslctx, pki.get_server_config()),
            (check_client_sslctx, pki.get_client_config())]:
        assert check(config).protocol == ssl.PROTOCOL_TLSv1_2
        with pytest.raises(ValueError, match='unknown'):
            check(dict(config, x=5))


CHECKS = [check_server_sslctx, check_client_sslctx]


@pytest.mark.parametrize('check', CHECKS)
@pytest.mark.parametrize('value', [None, 5, 'sslctx', ssl, ssl.SSLContext])
def test_no_context(check, value):
    with pytest.raises(TypeError, match='sslctx must be an ssl.SSLContext'):
        check(value)


def context(protocol, verify_mode=ssl.CERT_REQUIRED, versions=(None, None)):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        sslctx = ssl.SSLContext(protocol)
    sslctx.check_hostname = False
    sslctx.verify_mode = verify_mode
    for (name, version) in zip(('minimum_version', 'maximum_version'),
                               versions):
        if version is not None:
            setattr(sslctx, name, version)
    return sslctx


V12 = ssl.TLSVersion.TLSv1_2
V13 = ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize('check, theirs', [
    (check_server_sslctx, ssl.PROTOCOL_TLS_SERVER),
    (check_client_sslctx, ssl.PROTOCOL_TLS_CLIENT)])
def test_protocol_of_a_context(check, theirs):
    protocols = (ssl.PROTOCOL_TLSv1_2, ssl.PROTOCOL_TLS_SERVER,
                 ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS,
                 ssl.PROTOCOL_TLSv1_1)
    versions = (None, V12, V13)
    for (protocol, low, high) in itertools.product(
            protocols, versions, versions):
        if protocol in (ssl.PROTOCOL_TLSv1_2, ssl.PROTOCOL_TLSv1_1):
            low = high = None  # these have no range
        sslctx = context(protocol, versions=(low, high))
        if protocol == ssl.PROTOCOL_TLSv1_2 or (
                (protocol, low, high) == (theirs, V13, V13)):
            assert check(sslctx) is sslctx
        else:
            with pytest.raises(ValueError, match='sslctx.protocol must be'):
                check(sslctx)


def test_verify_mode_of_a_context(caplog):
    for protocol in (ssl.PROTOCOL_TLSv1_2, ssl.PROTOCOL_TLS_SERVER):
        versions = ((None, None) if protocol == ssl.PROTOCOL_TLSv1_2
                    else (V13, V13))
        optional = context(protocol, ssl.CERT_OPTIONAL, versions)
        with pytest.raises(ValueError, match='cannot be ssl.CERT_OPTIONAL'):
            check_server_sslctx(optional)
        check_server_sslctx(context(protocol, ssl.CERT_REQUIRED, versions))
        assert not caplog.records
        check_server_sslctx(context(protocol, ssl.CERT_NONE, versions))
        assert caplog.record_tuples == [(
            'degu.server', logging.WARNING,
            'Security concern: sslctx allows unauthenticated clients!')]
        caplog.clear()
    for mode in (ssl.CERT_NONE, ssl.CERT_OPTIONAL):
        with pytest.raises(ValueError, match='must be ssl.CERT_REQUIRED'):
            check_client_sslctx(context(ssl.PROTOCOL_TLSv1_2, mode))


def test_anonymous_server_is_warned_of(pki, caplog):
    check_server_sslctx(pki.get_anonymous_server_config())
    assert [record.levelname for record in caplog.records] == ['WARNING']


def test_compression_of_a_context():
    sslctx = context(ssl.PROTOCOL_TLSv1_2, ssl.CERT_NONE)
    sslctx.options = int(sslctx.options) & ~int(ssl.OP_NO_COMPRESSION)
    with pytest.raises(ValueError, match='must include ssl.OP_NO_COMPRESS'):
        check_client_sslctx(sslctx)


@pytest.mark.parametrize('check', CHECKS)
def test_context_that_ignores_the_end_of_file(check):
    """As some versions of Python make them; nothing else is changed."""
    sslctx = context(ssl.PROTOCOL_TLSv1_2)
    before = int(sslctx.options)
    sslctx.options = before | 0x80
    assert int(check(sslctx).options) == before & ~0x80


# ------------------------------------------------------------------------ pins

def test_pins():
    pin = '0123456789abcdef' * 4
    assert check_pins(None) is None
    for pins in ([pin], {pin}, (pin, pin.upper()), iter([pin]),
                 frozenset([pin]), {pin: 5}):
        assert check_pins(pins) == frozenset([pin])
    assert check_pins(['0' * 64, pin]) == {'0' * 64, pin}


@pytest.mark.parametrize('pins, error', [
    ([], ValueError), (set(), ValueError), ('', TypeError),
    ('0' * 64, TypeError), (b'0' * 64, TypeError), (5, TypeError),
    (True, TypeError), ([None], TypeError), ([b'0' * 64], TypeError),
    (['0' * 63], ValueError), (['0' * 65], ValueError), ([''], ValueError),
    (['g' * 64], ValueError), (['0' * 63 + '\n'], ValueError),
    (['0' * 64 + '\n'], ValueError), (['٣' * 64], ValueError),
    ([':'.join(['00'] * 32)], ValueError), (['0' * 64, ''], ValueError)])
def test_what_is_no_pin(pins, error):
    with pytest.raises(error, match='^pins: need'):
        check_pins(pins)


def test_pinned_key(pki, protocol):
    with shake(*both(pki, protocol)) as pair:
        for sock in (pair.server, pair.client):
            pin = peer_of(sock).key_sha256
            for pins in ([pin], [pin.upper(), '0' * 64]):
                check_handshake(sock, check_pins(pins))
            for pins in (['0' * 64], [peer_of(sock).sha256]):
                with pytest.raises(PinError, match='none of the pinned'):
                    check_handshake(sock, check_pins(pins))


def test_pinned_key_of_an_anonymous_client(pki, protocol):
    with shake(*both(pki, protocol, pki.get_anonymous_server_config(),
                     pki.get_anonymous_client_config())) as pair:
        with pytest.raises(PinError, match='no certificate') as info:
            check_handshake(pair.server, check_pins(['0' * 64]))
    assert isinstance(info.value, ssl.SSLCertVerificationError)
    assert not is_refusal(info.value)


# -------------------------------------------------------- what was come to

class Fake:
    """A socket that has come to something that ours do not."""

    def __init__(self, **facts):
        self.facts = {'version': 'TLSv1.3', 'alpn': None,
                      'cipher': 'TLS_AES_256_GCM_SHA384', **facts}
        self.context = context(facts.pop('protocol',
                                         ssl.PROTOCOL_TLS_CLIENT))

    def version(self):
        return self.facts['version']

    def cipher(self):
        name = self.facts['cipher']
        return (name, self.facts['version'], 256) if name else None

    def selected_alpn_protocol(self):
        return self.facts['alpn']

    def getpeercert(self, binary_form):
        return self.facts['certificate']


@pytest.mark.parametrize('facts, text', [
    ({}, None), ({'alpn': 'http/1.1'}, None),
    ({'alpn': 'h2'}, "chose 'h2' by ALPN"), ({'alpn': ''}, 'ALPN'),
    ({'cipher': 'TLS_AES_128_GCM_SHA256'}, 'TLS_AES_128_GCM_SHA256'),
    ({'cipher': 'TLS_CHACHA20_POLY1305_SHA256'}, 'CHACHA20'),
    ({'cipher': None}, 'need TLSv1.3'),
    ({'version': 'TLSv1.2'}, 'chose TLSv1.2'), ({'version': None}, 'None'),
    ({'version': 'TLSv1.2', 'cipher': CIPHERS['TLSv1.2']}, 'chose TLSv1.2'),
    ({'protocol': ssl.PROTOCOL_TLSv1_2, 'version': 'TLSv1.2',
      'cipher': CIPHERS['TLSv1.2']}, None),
    ({'protocol': ssl.PROTOCOL_TLSv1_2, 'version': 'TLSv1.2',
      'cipher': CIPHERS['TLSv1.2'], 'alpn': 'h2'}, 'ALPN')])
def test_what_a_handshake_must_have_come_to(facts, text):
    if text is None:
        check_handshake(Fake(**facts), None)
        return
    with pytest.raises(ssl.SSLError, match=text) as info:
        check_handshake(Fake(**facts), None)
    assert explain(info.value) in str(info.value)


def test_pin_of_a_certificate_that_is_not_der():
    for certificate in (b'', b'0\x80\0\0', b'x'):
        with pytest.raises(PinError, match='not as DER'):
            check_handshake(Fake(certificate=certificate),
                            frozenset(['0' * 64]))


def test_other_protocol_by_alpn(pki, protocol):
    (server, _) = both(pki, protocol)
    client = plain(protocol, False, pki)
    client.set_alpn_protocols(['h2'])
    with shake(server, client) as pair:
        assert pair.server.selected_alpn_protocol() is None


# -------------------------------------------------------------- what is said

def made(reason=None, text='text', cls=ssl.SSLError, **attributes):
    error = cls(1, text)
    error.reason = reason
    for (name, value) in attributes.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize('alert', [
    'SSLV3_ALERT_BAD_CERTIFICATE', 'SSLV3_ALERT_UNSUPPORTED_CERTIFICATE',
    'SSLV3_ALERT_CERTIFICATE_REVOKED', 'SSLV3_ALERT_CERTIFICATE_EXPIRED',
    'SSLV3_ALERT_CERTIFICATE_UNKNOWN', 'TLSV1_ALERT_UNKNOWN_CA',
    'TLSV1_ALERT_ACCESS_DENIED', 'TLSV13_ALERT_CERTIFICATE_REQUIRED'])
def test_refusals(alert):
    assert is_refusal(made(alert))
    text = '[SSL] {} (_ssl.c:1000)'.format(alert.lower().replace('_', ' '))
    assert is_refusal(made(None, text))
    newer = text.replace('sslv3', 'ssl/tls').replace('tlsv13', 'tls')
    assert is_refusal(made(None, newer))
    assert 'certificate' in explain(made(alert))
    assert explain(made(alert)) == explain(made(None, newer))


@pytest.mark.parametrize('error', [
    made('SSLV3_ALERT_UNEXPECTED_MESSAGE'), made('TLSV1_ALERT_INTERNAL_ERROR'),
    made('TLSV1_ALERT_PROTOCOL_VERSION'), made('CERTIFICATE_VERIFY_FAILED'),
    # This may as well be about the cipher.
    made('SSLV3_ALERT_HANDSHAKE_FAILURE'),
    made(), ConnectionResetError(104, 'Connection reset by peer'),
    TimeoutError(), ValueError('alert unknown ca'), BrokenPipeError()])
def test_no_refusals(error):
    assert not is_refusal(error)


@pytest.mark.parametrize('error, text', [
    (made('SSLV3_ALERT_HANDSHAKE_FAILURE'),
     'the other end wants a certificate, or another cipher'),
    (made('TLSV1_ALERT_PROTOCOL_VERSION'),
     'the other end gives up: protocol version'),
    (made('BAD_LENGTH'), 'bad length'), (made(), 'text'),
    (TimeoutError(), 'timed out'), (TimeoutError('x'), 'timed out'),
    (ConnectionResetError(104, 'Connection reset by peer'),
     'Connection reset by peer'),
    (ValueError('some value'), 'some value'), (KeyError(), 'KeyError()'),
    (made(cls=ssl.SSLCertVerificationError, verify_message='Some words.'),
     'Some words'),
    (PinError(1, 'the pin'), 'the pin')])
def test_sentences(error, text):
    assert explain(error) == text


@pytest.mark.parametrize('data, text', [
    (HTTP, 'the other end speaks plain HTTP, not TLS'),
    (b'CONNECT a:1 HTTP/1.1\r\n\r\n',
     'the other end speaks plain HTTP, not TLS'),
    (b'SSH-2.0-OpenSSH_9.2\r\n', 'the other end does not speak TLS')])
def test_what_speaks_no_tls_to_a_server(pki, protocol, data, text):
    """The first handshake of a server whose client sends this."""
    server = both(pki, protocol)[0]
    incoming = ssl.MemoryBIO()
    incoming.write(data)
    end = server.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    with pytest.raises(ssl.SSLError) as info:
        end.do_handshake()
    assert explain(info.value) == text


def test_what_speaks_no_tls_to_a_client(pki, protocol):
    client = both(pki, protocol)[1]
    incoming = ssl.MemoryBIO()
    incoming.write(b'HTTP/1.1 400 Bad Request\r\n\r\n')
    end = client.wrap_bio(incoming, ssl.MemoryBIO())
    with pytest.raises(ssl.SSLError) as info:
        end.do_handshake()
    assert explain(info.value) == 'the other end does not speak TLS'


@pytest.mark.parametrize('key', [
    ('-newkey', 'rsa:2048'), ('-newkey', 'rsa-pss'),
    ('-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'),
    ('-newkey', 'ed25519')])
def test_kind_of_a_servers_key(tmp_path, protocol, key):
    """The one cipher of TLS 1.2 wants RSA."""
    config = self_signed(str(tmp_path), 'kind', *key)
    config['ca_file'] = config['cert_file']
    config['protocol'] = protocol
    if protocol == 'TLSv1.2' and 'rsa' not in key[1]:
        with pytest.raises(ValueError, match='RSA'):
            build_server_sslctx(config)
    else:
        build_server_sslctx(config)
    build_client_sslctx(config)
