# SPDX-License-Identifier: MIT OR 0BSD
"""The other end with TLS: servers and clients of the module ssl, and a Degu
SSLServer in a thread."""

import contextlib
import ssl

from degu.client import SSLClient, build_client_sslctx
from degu.server import SSLServer, build_server_sslctx
from peers import WAIT, Running, dial, listening

PROTOCOLS = ('TLSv1.2', 'TLSv1.3')


class SecureRunning(Running):
    """A SSLServer; *config* is an sslconfig or a context."""

    def __init__(self, config, app, address=b'', **options):
        self.config = config
        super().__init__(app, address, **options)

    def make(self, app, address, options):
        return SSLServer(self.config, address, app, **options)


class Ends:
    """What both ends need, in one profile."""

    def __init__(self, pki, protocol):
        self.pki = pki
        self.protocol = protocol
        more = {'protocol': protocol}
        self.server_config = dict(pki.get_server_config(), **more)
        self.client_config = dict(pki.get_client_config(), **more)
        self.open_config = dict(pki.get_anonymous_server_config(), **more)
        self.nobody_config = dict(pki.get_anonymous_client_config(), **more)
        self.server = build_server_sslctx(self.server_config)
        self.client = build_client_sslctx(self.client_config)
        self.nobody = build_client_sslctx(self.nobody_config)

    def running(self, app, address=b'', **options):
        return SecureRunning(self.server, app, address, **options)

    def make(self, address, *args, **options):
        return SSLClient(self.client, address, *args,
                         **{'timeout': WAIT, **options})

    def connect(self, address, **options):
        return contextlib.closing(self.make(address, **options).connect())

    @contextlib.contextmanager
    def reached(self, app, address=b'', **options):
        """A connection to a server with these options."""
        with self.running(app, address, **options) as running:
            with self.connect(running.address) as conn:
                yield conn

    def dial(self, address, context=None):
        """A connected ssl.SSLSocket, which tells a bare end of file."""
        sock = dial(address)
        try:
            return (context or self.client).wrap_socket(
                sock, suppress_ragged_eofs=False)
        except BaseException:
            sock.close()
            raise

    def talk(self, address, data):
        """All that comes back, up to the close_notify."""
        with self.dial(address) as sock:
            sock.sendall(data)
            return drain(sock)

    def listening(self, handler, address=b'', context=None):
        """A raw server: handler(sslsock) for one connection."""
        def shake(sock):
            with (context or self.server).wrap_socket(
                    sock, server_side=True,
                    suppress_ragged_eofs=False) as secure:
                handler(secure)

        return listening(shake, address)


def drain(sock):
    """All up to the other end's close_notify; without one, or with a reset,
    an error."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b''.join(parts)


def cut(sock):
    """Ends the connection without a close_notify."""
    with contextlib.suppress(OSError):
        sock.shutdown(2)


def is_cut(sock):
    """Does the other end leave without a close_notify?"""
    try:
        drain(sock)
    except OSError:
        return True
    return False


class Records:
    """The client's end over a plain socket, whose TLS records are had as
    bytes, to send some of them."""

    def __init__(self, ends, sock):
        self.sock = sock
        self.input = ssl.MemoryBIO()
        self.output = ssl.MemoryBIO()
        self.tls = ends.client.wrap_bio(self.input, self.output)

    def hello(self):
        """The first bytes of a handshake."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.output.read()

    def shake(self, last=b''):
        """The whole handshake, with these bytes right behind it."""
        while True:
            try:
                self.tls.do_handshake()
                if last:
                    self.tls.write(last)
                self.sock.sendall(self.output.read())
                return self
            except ssl.SSLWantReadError:
                self.sock.sendall(self.output.read())
                self.input.write(self.sock.recv(65536))

    def encrypt(self, data):
        self.tls.write(data)
        return self.output.read()

    def decrypt(self, data):
        """The text in these records, the last of which is not a
        close_notify."""
        self.input.write(data)
        text = b''
        with contextlib.suppress(ssl.SSLWantReadError):
            while part := self.tls.read(65536):
                text += part
        return text
