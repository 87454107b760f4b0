# SPDX-License-Identifier: MIT OR 0BSD
"""Servers with TLS in processes of their own: what they are made from, whom
they let in, and what they raise here."""

import multiprocessing
import pickle
import signal
import ssl

import pytest

import degu
from degu import EmbeddedServer, EmbeddedSSLServer, start_sslserver
from degu import _process as processes
from degu.client import SSLClient
from degu.exceptions import CertificateRefusedError
from degu.misc import TempPKI, TempServer, TempSSLServer


def hello(session, request, api):
    return (200, 'OK', {}, repr(session.peer.subject).encode())


def build_hello(*args):
    return hello


def get(config, address):
    conn = SSLClient(config, address).connect()
    try:
        return conn.get('/').body.read()
    finally:
        conn.close()


class Held:
    """start_sslserver() in the form of the others."""

    def __init__(self, *args, **options):
        (self.process, self.address) = start_sslserver(*args, **options)

    def terminate(self):
        self.process.terminate()
        self.process.join()


def temp(sslconfig, address, build_func, *args, **options):
    return TempSSLServer(sslconfig, address, build_func, *args or (None,),
                         **options)


@pytest.fixture(params=[temp, Held, EmbeddedSSLServer],
                ids=['temp', 'start_sslserver', 'embedded'])
def maker(request):
    """In a forked process, whatever this platform's way is."""
    old = multiprocessing.get_start_method(True)
    multiprocessing.set_start_method('fork', force=True)
    yield request.param
    multiprocessing.set_start_method(old, force=True)


@pytest.mark.parametrize('address', [
    ('127.0.0.1', 0), ('::1', 0, 0, 0), ('::', 0, 0, 0), b''])
def test_round_trip(maker, pki, address):
    server = maker(pki.get_server_config(), address, build_hello, 1)
    text = repr('CN=' + pki.client_id).encode()
    assert get(pki.get_client_config(), server.address) == text
    with pytest.raises((ssl.SSLError, CertificateRefusedError)):
        get(pki.get_anonymous_client_config(), server.address)
    assert server.process.daemon
    server.terminate()
    assert server.process.exitcode == -signal.SIGTERM


@pytest.mark.parametrize('sslconfig', [
    None, 5, 'sslconfig', [], ssl, object(), ssl.create_default_context()])
def test_config_that_is_no_dict(maker, sslconfig, monkeypatch):
    """There is no process for it."""
    monkeypatch.setattr(processes, 'launch', None)
    with pytest.raises(TypeError, match="^sslconfig: need a <class 'dict'>"):
        maker(sslconfig, b'', build_hello, 1)


def test_config_that_will_not_do(maker, pki):
    config = pki.get_server_config()
    for (change, error) in [
            ({'ca_file': 'x'}, ValueError), ({'ca_fille': 'x'}, ValueError),
            ({'cert_file': '/nowhere/at/all'}, FileNotFoundError),
            ({'cert_file': config['ca_file']}, ssl.SSLError)]:
        with pytest.raises(error):
            maker(dict(config, **change), b'', build_hello, 1)


def raises(unused):
    raise KeyError('here')


def test_other_errors(maker, pki):
    config = pki.get_server_config()
    with pytest.raises(KeyError, match='here'):
        maker(config, b'', raises, 1)
    with pytest.raises(ValueError, match='timeout'):
        maker(config, b'', build_hello, 1, timeout=0)
    with pytest.raises(TypeError, match='build_func'):
        maker(config, b'', None, hello, hello)
    with pytest.raises(ValueError, match='absolute'):
        maker(config, 'relative', build_hello, 1)


def test_options_are_the_servers(maker, pki):
    server = maker(pki.get_server_config(), b'', build_hello, 1,
                   pins=['0' * 64])
    with pytest.raises((OSError, CertificateRefusedError)):
        get(pki.get_client_config(), server.address)
    server.terminate()


def test_temp_server_of_an_object(pki):
    with TempSSLServer(pki, b'', hello) as server:
        assert server.sslconfig == pki.get_server_config()
        assert server.app is hello and server.options == {}
        assert get(pki.get_client_config(), server.address)
        assert repr(server) == 'TempSSLServer(<sslconfig>, {!r}, {!r})'.format(
            server.address, hello)
        with pytest.raises(TypeError, match='cannot pickle'):
            pickle.dumps(server)
    with TempSSLServer(pki, b'', build_hello, 1, timeout=7) as server:
        assert server.options == {'timeout': 7}
        assert get(pki.get_client_config(), server.address)


def test_temp_server_without_a_client_authority(monkeypatch):
    monkeypatch.delenv('LD_PRELOAD', raising=False)
    with TempPKI(client_pki=False) as pki:
        with pytest.raises(ValueError, match='no client authority'):
            TempSSLServer(pki, b'', hello)
        config = pki.get_anonymous_server_config()
        with TempSSLServer(config, b'', hello) as server:
            assert server.sslconfig is config
            assert get(pki.get_anonymous_client_config(),
                       server.address) == b'None'


class Other:
    def get_server_config(self):
        return 'no dict'


def test_object_without_a_dict():
    with pytest.raises(TypeError, match='sslconfig: need a'):
        TempSSLServer(Other(), b'', hello)


def test_embedded_server_keeps_what_it_was_given(pki):
    config = pki.get_server_config()
    server = EmbeddedSSLServer(config, ('127.0.0.1', 0), build_hello, 1, 'two',
                               timeout=7)
    assert server.sslconfig is config
    assert (server.build_func, server.build_args, server.options) == (
        build_hello, (1, 'two'), {'timeout': 7})
    server.terminate()


def test_classes():
    assert not issubclass(EmbeddedSSLServer, EmbeddedServer)
    assert not issubclass(TempSSLServer, TempServer)
    assert degu.EmbeddedSSLServer is EmbeddedSSLServer
    assert degu.start_sslserver is start_sslserver
    assert {'EmbeddedSSLServer', 'start_sslserver'} <= set(degu.__all__)


def test_fork_takes_no_certificates_away(pki):
    """The child's copy of a TempPKI has no say in its folder."""
    TempSSLServer(pki, b'', hello).terminate()
    with TempSSLServer(pki, b'', hello) as server:
        assert get(pki.get_client_config(), server.address)
