# SPDX-License-Identifier: MIT OR 0BSD
"""TempPKI: what its certificates are, and what is left of it: nothing."""

import contextlib
import copy
import gc
import glob
import os
import pickle
import ssl
import stat
import tempfile

import pytest

from degu import _pki
from degu._tls import build_client_sslctx, build_server_sslctx
from degu.misc import TempPKI
from handshakes import is_refused, openssl, shake
from peers import outcome


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary folders are made; it is empty afterwards."""
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.delenv('LD_PRELOAD', raising=False)
    yield tmp_path
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def quick(monkeypatch):
    """No program is run: the files are empty."""
    def touch(*commands):
        for args in commands:
            for (option, path) in zip(args, args[1:]):
                if option in ('-out', '-keyout'):
                    open(path, 'w').close()

    monkeypatch.setattr(_pki, '_openssl', touch)


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


# -------------------------------------------------------------- certificates

def text_of(path):
    return openssl('x509', '-noout', '-text', '-in', path).decode()


def test_files(pki):
    assert mode_of(pki.ssldir) == 0o700
    assert os.path.basename(pki.ssldir).startswith('TempPKI.')
    keys = glob.glob(pki.ssldir + '/*.key')
    assert len(keys) == 4
    assert {mode_of(path) for path in keys} == {0o400}


def test_configurations(pki):
    server = pki.get_server_config()
    assert sorted(server) == ['ca_file', 'cert_file', 'key_file']
    client = pki.get_client_config()
    assert sorted(client) == ['ca_file', 'cert_file', 'check_hostname',
                              'key_file']
    assert client['check_hostname'] is False
    assert pki.get_anonymous_client_config() == {
        'ca_file': client['ca_file'], 'check_hostname': False}
    assert pki.get_anonymous_server_config() == {
        'cert_file': server['cert_file'], 'key_file': server['key_file'],
        'allow_unauthenticated_clients': True}
    for (method, name) in [
            (pki.get_server_config, 'server_sslconfig'),
            (pki.get_client_config, 'client_sslconfig'),
            (pki.get_anonymous_server_config, 'anonymous_server_sslconfig'),
            (pki.get_anonymous_client_config, 'anonymous_client_sslconfig')]:
        assert method() == getattr(pki, name)
        assert type(method()) is dict
        assert method() is not method()


def test_names(pki):
    names = {pki.server_ca_id, pki.server_id, pki.client_ca_id, pki.client_id}
    assert len(names) == 4
    for name in names:
        path = os.path.join(pki.ssldir, name + '.cert')
        subject = openssl('x509', '-noout', '-subject', '-nameopt',
                          'RFC2253', '-in', path)
        assert subject.decode() == 'subject=CN=' + name + '\n'


def test_authorities(pki):
    for name in (pki.server_ca_id, pki.client_ca_id):
        text = text_of(os.path.join(pki.ssldir, name + '.cert'))
        assert 'Version: 3 (0x2)' in text
        assert 'Basic Constraints: critical\n' in text
        assert 'CA:TRUE, pathlen:0\n' in text
        assert 'Key Usage: critical\n' in text
        assert 'Certificate Sign, CRL Sign\n' in text
        assert 'Subject Key Identifier' in text
        assert 'sha384WithRSAEncryption' in text
        assert 'Public-Key: (2048 bit)' in text


def test_ends(pki):
    for (name, usage, names) in [
            (pki.server_id, 'TLS Web Server Authentication',
             'DNS:localhost, IP Address:127.0.0.1, '
             'IP Address:0:0:0:0:0:0:0:1'),
            (pki.client_id, 'TLS Web Client Authentication',
             'DNS:' + pki.client_id)]:
        text = text_of(os.path.join(pki.ssldir, name + '.cert'))
        lines = [line.strip() for line in text.splitlines()]
        assert 'Version: 3 (0x2)' in lines
        assert {usage, names, 'CA:FALSE', 'Digital Signature'} <= set(lines)
        assert 'Subject Key Identifier' in text
        assert 'Authority Key Identifier' in text
        assert 'sha384WithRSAEncryption' in text


@pytest.mark.parametrize('protocol', ['TLSv1.2', 'TLSv1.3'])
def test_strictest_verification(pki, protocol):
    server = build_server_sslctx(
        dict(pki.get_server_config(), protocol=protocol))
    client = build_client_sslctx(
        dict(pki.get_client_config(), protocol=protocol, check_hostname=True))
    for sslctx in (server, client):
        sslctx.verify_flags |= ssl.VERIFY_X509_STRICT
    with shake(server, client, server_hostname='localhost') as pair:
        assert not is_refused(pair)
    for (purpose, own, authority) in [
            ('sslserver', pki.server_id, pki.server_ca_id),
            ('sslclient', pki.client_id, pki.client_ca_id)]:
        (own, authority) = (os.path.join(pki.ssldir, name + '.cert')
                            for name in (own, authority))
        openssl('verify', '-x509_strict', '-purpose', purpose, '-CAfile',
                authority, own)


def test_two_of_them_know_nothing_of_each_other(pki, folder):
    with TempPKI() as other:
        for (server, client) in [
                (pki.get_server_config(),
                 dict(other.get_client_config(),
                      ca_file=pki.get_client_config()['ca_file'])),
                (other.get_server_config(), pki.get_client_config())]:
            with shake(build_server_sslctx(server),
                       build_client_sslctx(client)) as pair:
                assert is_refused(pair)


def test_no_client_authority(folder):
    """Its server does not quietly take everybody (F11)."""
    with TempPKI(client_pki=False) as pki:
        assert pki.client_ca_id is None and pki.client_id is None
        assert len(glob.glob(pki.ssldir + '/*.key')) == 2
        for method in (pki.get_server_config, pki.get_client_config):
            with pytest.raises(ValueError, match='no client authority'):
                method()
        for name in ('server_sslconfig', 'client_sslconfig'):
            with pytest.raises(AttributeError, match='no client authority'):
                getattr(pki, name)
        with shake(build_server_sslctx(pki.get_anonymous_server_config()),
                   build_client_sslctx(pki.get_anonymous_client_config())) as (
                       pair):
            assert not is_refused(pair)


def test_longer_keys(folder):
    with TempPKI(False, bits=3072) as pki:
        path = os.path.join(pki.ssldir, pki.server_id + '.cert')
        assert 'Public-Key: (3072 bit)' in text_of(path)


# ----------------------------------------------------------------- arguments

@pytest.mark.parametrize('args, error', [
    ((True, 2047), ValueError), ((True, 1024), ValueError),
    ((True, 0), ValueError), ((True, -2048), ValueError),
    ((True, 16385), ValueError), ((True, 2048.0), TypeError),
    ((True, '2048'), TypeError), ((True, True), TypeError),
    ((True, None), TypeError), ((None,), TypeError), ((1,), TypeError),
    (('no',), TypeError)])
def test_bad_argument(folder, args, error):
    with pytest.raises(error, match='^(bits|client_pki): need'):
        TempPKI(*args)


# ------------------------------------------------------------------- failures

def test_no_openssl(folder, monkeypatch):
    monkeypatch.setenv('PATH', str(folder))
    with pytest.raises(RuntimeError, match="Debian's package openssl"):
        TempPKI()


def script(monkeypatch, folder, text):
    """Another program in the place of openssl."""
    path = folder / 'bin'
    path.mkdir()
    (path / 'openssl').write_text('#!/bin/sh\n' + text)
    (path / 'openssl').chmod(0o700)
    monkeypatch.setenv('PATH', str(path), prepend=os.pathsep)


@pytest.fixture
def elsewhere(tmp_path_factory):
    return tmp_path_factory.mktemp('program')


def test_openssl_that_fails(folder, elsewhere, monkeypatch):
    script(monkeypatch, elsewhere, 'echo "no luck: é" >&2\nexit 3\n')
    with pytest.raises(RuntimeError, match='status 3: no luck: é'):
        TempPKI()


def test_openssl_that_cannot_be_run(folder, elsewhere, monkeypatch):
    script(monkeypatch, elsewhere, '')
    (elsewhere / 'bin' / 'openssl').chmod(0o600)
    monkeypatch.setenv('PATH', str(elsewhere / 'bin'))
    with pytest.raises(PermissionError):
        TempPKI()


def test_openssl_that_makes_nothing(folder, elsewhere, monkeypatch):
    script(monkeypatch, elsewhere, 'exit 0\n')
    with pytest.raises(FileNotFoundError):
        TempPKI()


def test_interrupted(folder, monkeypatch):
    """Those that still run are ended."""
    started = []
    start = _pki._start

    def interrupted(args):
        if started:
            raise KeyboardInterrupt
        started.append(start(args))
        return started[0]

    monkeypatch.setattr(_pki, '_start', interrupted)
    with pytest.raises(KeyboardInterrupt):
        TempPKI()
    assert started[0].returncode is not None


# ------------------------------------------------------------------ its removal

def test_close(folder, quick):
    pki = TempPKI()
    assert os.path.isdir(pki.ssldir)
    assert repr(pki) == 'TempPKI({!r})'.format(pki.ssldir)
    for _ in range(3):
        pki.close()
        assert not os.path.exists(pki.ssldir)


def test_context_manager(folder, quick):
    with contextlib.suppress(KeyError):
        with TempPKI() as pki:
            assert os.path.isdir(pki.ssldir)
            raise KeyError
    assert not os.path.exists(pki.ssldir)


def test_dropped(folder, quick):
    path = TempPKI().ssldir
    assert not os.path.exists(path)


def test_dropped_in_a_cycle(folder, quick):
    pki = TempPKI()
    pki.itself = pki
    path = pki.ssldir
    del pki
    gc.collect()
    assert not os.path.exists(path)


@pytest.mark.parametrize('end', ['close()', '__exit__()', '__del__'])
def test_forked_copy(folder, quick, end):
    """Removes nothing: neither by itself nor when it is told to."""
    pki = TempPKI()
    pid = os.fork()
    if pid == 0:
        try:
            if end == 'close()':
                pki.close()
            elif end == '__exit__()':
                pki.__exit__(None, None, None)
            else:
                del pki
                gc.collect()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert len(os.listdir(pki.ssldir)) > 4
    pki.close()


AT_THE_END = '''
import os, sys
os.environ.pop('LD_PRELOAD', None)
from degu.misc import TempPKI
pki = TempPKI(client_pki=False)
if os.fork() == 0:
    sys.exit()  # with all that a process does at its end
os.wait()
print(os.path.isdir(pki.ssldir), pki.ssldir)
'''


def test_end_of_the_process():
    (status, output, errors) = outcome(AT_THE_END)
    assert (status, errors) == (0, '')
    (was_there, path) = output.split()
    assert was_there == 'True' and not os.path.exists(path)


@pytest.mark.parametrize('operate', [pickle.dumps, copy.copy, copy.deepcopy])
def test_not_for_pickling(pki, operate):
    """A copy would remove the folder with it."""
    with pytest.raises(TypeError, match='cannot pickle'):
        operate(pki)
