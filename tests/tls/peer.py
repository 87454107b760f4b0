# SPDX-License-Identifier: MIT OR 0BSD
"""The other end of each case of tests/vectors/tls.txt: clients and servers
that do what no decent one would, made of the standard library's ssl with weak
contexts, of raw bytes, and of the openssl command.

    peer.py connect SCRIPT HOST PORT [NAME=VALUE...]
    peer.py listen SCRIPT [NAME=VALUE...]

plays the script's part in one connection and prints how it ended for this
side; `listen` prints its address first.  CLIENTS and SERVERS are the scripts;
what they can be told:

    certificates=DIRECTORY   of make_certificates.py; must be given
    profile=1.2 or 1.3       of the end that is tested; must be given
    certificate=NAME         to show, or none
    authority=NAME           a server demands a certificate that it signed
    version=1.0 ...          TLS version, if not the profile's
    ciphers=LIST             instead of the profile's one cipher
    alpn=NAME,...            protocols that are offered or taken
    tickets=yes              a server hands out tickets
    at=PLACE, how=WAY        where the script does what it is for, and how;
                             how=slam: a server that refuses closes at once
    read=yes                 a client that resets waits until it was read
    pause=SECONDS            between the bytes of one that drips
    least=, most=SECONDS     how long the other end may stand it

How it ended is a word or a few: the status of a response or the request that
came, `alert ...` for what TLS was told, `end` (close_notify), `cut` (end of
file without it), `reset`, or the name that the ssl module has for it.
"""

import contextlib
import os
import re
import select
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import warnings

OPENSSL = 'openssl'
WAIT = 15  # seconds for any one step

CIPHERS = {'1.2': 'ECDHE-RSA-AES256-GCM-SHA384',
           '1.3': 'TLS_AES_256_GCM_SHA384'}
VERSIONS = {'1.0': ssl.TLSVersion.TLSv1, '1.1': ssl.TLSVersion.TLSv1_1,
            '1.2': ssl.TLSVersion.TLSv1_2, '1.3': ssl.TLSVersion.TLSv1_3}

IGNORE_EOF = 1 << 7  # SSL_OP_IGNORE_UNEXPECTED_EOF

HELLO = b'GET /hello HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n'
ANSWER = b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'
# The same as text for openssl's standard input.  It takes a line that begins
# with one of its letters for a command, so no line here does.
EARLY = b'GET /early HTTP/1.1\r\nhost: localhost\r\n\r\n'


class NotToBeHad(Exception):
    """This machine's libraries cannot play the script; its text says why."""


class Settings(dict):
    """What a script was told; `dialled` is set once a client has connected."""

    def __init__(self, *given, **more):
        super().__init__(*given, **more)
        self.dialled = threading.Event()

    def file(self, name):
        return os.path.join(self['certificates'], name)

    @property
    def version(self):
        return self.get('version', self['profile'])

    def seconds(self, name, default):
        return float(self.get(name, default))


# --------------------------------------------------------------- TLS by hand

def _name_of_alert(text):
    """'alert unknown ca' out of what OpenSSL calls it."""
    found = re.search(r'(?:sslv3|tlsv1|tlsv13)[ _]alert[ _]([a-z0-9_ ]+)',
                      text.lower())
    return 'alert ' + found[1].replace('_', ' ').strip() if found else None


def ended(error):
    """How it ended, in a few words, after this exception."""
    if isinstance(error, ssl.SSLEOFError) or \
            getattr(error, 'reason', '') == 'UNEXPECTED_EOF_WHILE_READING':
        return 'cut'
    if isinstance(error, ssl.SSLZeroReturnError):
        return 'end'
    if isinstance(error, ssl.SSLCertVerificationError):
        return 'not trusted: ' + error.verify_message
    if isinstance(error, ssl.SSLError):
        text = error.reason or str(error)
        return _name_of_alert(text) or text.lower().replace('_', ' ')
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return 'reset'
    if isinstance(error, TimeoutError):
        return 'no end'
    raise error


def make_context(settings, server_side):
    """As weak as it must be for what the script has to show."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side
                             else ssl.PROTOCOL_TLS_CLIENT)
    version = VERSIONS[settings.version]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    # Level 0 lets it have small keys, and SHA-1 for TLS before 1.2.
    ciphers = settings.get('ciphers', CIPHERS['1.2'])
    if settings.version < '1.2':
        ciphers = 'ALL'
    context.set_ciphers(ciphers + ':@SECLEVEL=0')
    # Some versions would take a bare end of file for close_notify.
    context.options = int(context.options) & ~IGNORE_EOF
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if settings.get('authority', 'none') != 'none':
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(
            settings.file(settings['authority'] + '.pem'))
    name = settings.get('certificate', 'none')
    if name != 'none':
        context.load_cert_chain(settings.file(name + '.pem'),
                                settings.file(name + '.key'))
    if 'alpn' in settings:
        context.set_alpn_protocols(settings['alpn'].split(','))
    if server_side and 'tickets' not in settings:
        # They would come in after the client's end, and reset it.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    return context


class Wire:
    """TLS over a socket with everything between them in our hands."""

    def __init__(self, sock, context, server_side=False, session=None):
        sock.settimeout(WAIT)
        self.sock = sock
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side,
            server_hostname=None if server_side else 'localhost',
            session=session)

    def flush(self):
        """An other end that is gone shows when something is read from it: it
        may have said why."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(self.outgoing.read())

    def pull(self):
        data = self.sock.recv(65536)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()

    def do(self, call, *arguments):
        while True:
            try:
                result = call(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                self.pull()
            except ssl.SSLError:
                self.flush()
                raise
            else:
                self.flush()
                return result

    def shake(self):
        self.do(self.tls.do_handshake)

    def send(self, data):
        self.do(self.tls.write, data)

    def recv(self):
        """b'' after close_notify; SSLEOFError after an end without it."""
        return self.do(self.tls.read, 65536)

    def everything(self):
        """(all that comes, how it ended)."""
        data = b''
        try:
            while True:
                part = self.recv()
                if not part:
                    return (data, 'end')
                data += part
        except OSError as error:
            return (data, ended(error))

    def notify(self):
        """Sends close_notify, and does not wait for an answer."""
        with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLError):
            self.tls.unwrap()
        self.flush()

    def cut(self):
        """Ends what we send, without close_notify."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)


def _rest(sock):
    """All that comes up to the end, and how that was, without TLS."""
    sock.settimeout(WAIT)
    data = b''
    try:
        while True:
            part = sock.recv(65536)
            if not part:
                return (data, 'cut')
            data += part
    except OSError as error:
        return (data, ended(error))


ALERTS = {0: 'close notify', 10: 'unexpected message', 40: 'handshake failure',
          46: 'certificate unknown', 47: 'illegal parameter',
          50: 'decode error', 70: 'protocol version', 80: 'internal error'}


def _told(data):
    """What bytes without encryption tell."""
    if re.match(rb'HTTP/1\.1 \d\d\d ', data):
        return data[9:12].decode()
    if data[:2] == b'\x15\x03' and len(data) >= 7:
        return 'alert ' + ALERTS.get(data[6], str(data[6]))
    return '{} bytes'.format(len(data)) if data else ''


def _join(*words):
    return ' '.join(word for word in words if word)


def _reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack('ii', 1, 0))
    sock.close()


class Clock:
    """Was the other end's patience what it should be?"""

    def __init__(self, settings):
        self.started = time.monotonic()
        self.least = settings.seconds('least', 0)
        self.most = settings.seconds('most', WAIT)

    def verdict(self):
        passed = time.monotonic() - self.started
        if passed < self.least:
            return 'too early: {:.2f} s'.format(passed)
        return 'too late: {:.2f} s'.format(passed) if passed > self.most else ''


# ------------------------------------------------------------------- clients

def _dial(address, settings):
    sock = socket.create_connection(address, WAIT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    settings.dialled.set()
    return sock


def _status(data):
    found = re.match(rb'HTTP/1\.1 (\d\d\d) ', data)
    return found[1].decode() if found else ''


def _exchange(wire, request=HELLO):
    """Handshake, one request, and all that comes of it."""
    try:
        wire.shake()
        # Under TLS 1.3 a refusal of our certificate comes behind this.
        wire.send(request)
    except OSError as error:
        return ended(error)
    (data, end) = wire.everything()
    wire.notify()
    return _join(_status(data), end)


def client_https(address, settings):
    """A client like any other, but for its settings."""
    with _dial(address, settings) as sock:
        return _exchange(Wire(sock, make_context(settings, False)))


def client_plain(address, settings):
    """HTTP without TLS."""
    with _dial(address, settings) as sock:
        sock.sendall(HELLO)
        (data, end) = _rest(sock)
        return _join(_told(data), end)


def client_garbage(address, settings):
    """Neither TLS nor HTTP."""
    with _dial(address, settings) as sock:
        sock.sendall(bytes(range(200, 256)) * 4)
        (data, end) = _rest(sock)
        return _join(_told(data), end)


def client_silent(address, settings):
    """Says nothing, and waits."""
    clock = Clock(settings)
    with _dial(address, settings) as sock:
        (data, end) = _rest(sock)
        return _join(_told(data), end, clock.verdict())


def _flight(wire, first):
    """What this side sends next, unsent; with first, the very first."""
    if not first:
        wire.flush()
        while not wire.outgoing.pending:
            wire.pull()
            with contextlib.suppress(ssl.SSLWantReadError):
                wire.tls.do_handshake()
    return wire.outgoing.read()


def _begin(wire):
    with contextlib.suppress(ssl.SSLWantReadError):
        wire.tls.do_handshake()


def _drip(sock, data, pause):
    """One byte each pause, until all are sent or something comes back."""
    for pos in range(len(data)):
        if select.select([sock], [], [], pause)[0]:
            return
        try:
            sock.sendall(data[pos:pos + 1])
        except OSError:
            return


def _patience(sock):
    """How the other end lost it.  A byte that comes in too late makes a reset
    of its close."""
    (data, end) = _rest(sock)
    return _join(_told(data), 'closed' if end in ('cut', 'reset') else end)


def client_drip(address, settings):
    """Shakes hands a byte at a time: at=hello its first flight, at=flight its
    second."""
    clock = Clock(settings)
    with _dial(address, settings) as sock:
        wire = Wire(sock, make_context(settings, False))
        _begin(wire)
        data = _flight(wire, settings['at'] == 'hello')
        _drip(sock, data, settings.seconds('pause', 0.02))
        return _join(_patience(sock), clock.verdict())


def _until_read(sock):
    """Waits until the other end, on this machine, has read all we sent."""
    (host, port) = sock.getsockname()
    ours = '{:08X}:{:04X}'.format(
        int.from_bytes(socket.inet_aton(host), sys.byteorder), port)
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        with open('/proc/net/tcp', encoding='ascii') as file:
            for line in file:
                fields = line.split()
                if fields[2] == ours and fields[4].endswith(':00000000'):
                    return
        time.sleep(0.001)
    raise TimeoutError('nobody reads what was sent')


def client_vanish(address, settings):
    """Goes away: at=connect, in the middle of its hello (half), behind it
    (hello), in the middle of its second flight (flight); how=reset or
    close; read=yes: not before the server has read what it was sent."""
    sock = _dial(address, settings)
    with sock:
        if settings['at'] != 'connect':
            wire = Wire(sock, make_context(settings, False))
            _begin(wire)
            data = _flight(wire, settings['at'] != 'flight')
            if settings['at'] != 'hello':
                data = data[:len(data) // 2]
            sock.sendall(data)
        if settings['at'] == 'hello':
            # So that it is this end that it finds, not a reset by its own
            # flight that nobody reads.
            select.select([sock], [], [], WAIT)
            sock.recv(65536)
        if settings.get('how') == 'reset':
            if 'read' in settings:
                _until_read(sock)
            _reset(sock)
    return 'gone'


REQUESTS = {
    'idle': b'GET /hello HTTP/1.1\r\nhost: localhost\r\n\r\n',
    'head': b'GET /hello HTTP/1.1\r\nhost: loc',
    'length': b'POST /body HTTP/1.1\r\nhost: localhost\r\n'
              b'content-length: 100\r\n\r\nfewer',
    'chunked': b'POST /body HTTP/1.1\r\nhost: localhost\r\n'
               b'transfer-encoding: chunked\r\n\r\n5\r\nchunk\r\n5\r\nch',
    'chunked-end': b'POST /body HTTP/1.1\r\nhost: localhost\r\n'
                   b'transfer-encoding: chunked\r\n\r\n5\r\nchunk\r\n',
}


def client_cut(address, settings):
    """Ends the connection in the middle of a request, or (at=idle) behind it:
    how=cut without close_notify, how=notify with it, how=reset."""
    with _dial(address, settings) as sock:
        wire = Wire(sock, make_context(settings, False))
        wire.shake()
        wire.send(REQUESTS[settings['at']])
        data = b''
        while settings['at'] == 'idle' and b'hello, world' not in data:
            data += wire.recv()
        how = settings.get('how', 'cut')
        if how == 'notify':
            wire.notify()
        if how == 'reset':
            _reset(sock)
            return 'gone'
        wire.cut()
        (more, end) = wire.everything()
        return _join(_status(data + more), end)


def client_broken_record(address, settings):
    """A record with a bit changed, behind a handshake as it should be."""
    with _dial(address, settings) as sock:
        wire = Wire(sock, make_context(settings, False))
        wire.shake()
        wire.tls.write(HELLO)
        record = bytearray(wire.outgoing.read())
        record[-1] ^= 1
        sock.sendall(record)
        (data, end) = wire.everything()
        return _join(_status(data), end)


def _ticket(context, settings):
    """A session of another server, one that hands out tickets."""
    other = Settings(certificates=settings['certificates'],
                     profile=settings['profile'], certificate='server',
                     how='notify', tickets='yes')
    with Listener('https', other) as listener:
        with _dial(listener.address, settings) as sock:
            wire = Wire(sock, context)
            _exchange(wire)
            session = wire.tls.session
    if session is None or not session.has_ticket:
        raise NotToBeHad('no session ticket to try')
    return session


def client_resume(address, settings):
    """Offers a session: a ticket that another server has made (at=ticket), or
    what an earlier connection to this one left (at=session)."""
    context = make_context(settings, False)
    if settings['at'] == 'ticket':
        session = _ticket(context, settings)
        begin = ''
    else:
        with _dial(address, settings) as sock:
            wire = Wire(sock, context)
            first = _exchange(wire)
            session = wire.tls.session
        if first != '200 end':
            return 'at first: ' + first
        # A session without an id and without a ticket cannot be offered.
        offered = session.has_ticket or (
            session.id and settings['profile'] == '1.2')
        begin = 'a session:' if offered else 'nothing to resume:'
    with _dial(address, settings) as sock:
        wire = Wire(sock, context, session=session)
        outcome = _exchange(wire)
        return _join(begin, outcome,
                     'resumed' if wire.tls.session_reused else '')


# ------------------------------------------------------------------- servers

def _request(wire):
    """The first line of the request that comes."""
    data = b''
    while b'\r\n\r\n' not in data:
        part = wire.recv()
        if not part:
            return 'end'
        data += part
    return data.split(b' HTTP/', 1)[0].decode('ascii')


LENGTH = b'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n'
CHUNKED = b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'
UNTIL_CLOSE = b'HTTP/1.1 200 OK\r\n\r\n'
RESPONSES = {
    'whole': ANSWER,
    'head': b'HTTP/1.1 200 OK\r\ncontent-le',
    'nothing': b'',
    'length': LENGTH + b'fewer',
    'length-whole': LENGTH + b'x' * 100,
    'chunked': CHUNKED + b'5\r\nchunk\r\n5\r\nch',
    'chunked-end': CHUNKED + b'5\r\nchunk\r\n',
    'chunked-whole': CHUNKED + b'5\r\nchunk\r\n0\r\n\r\n',
    'until-close': UNTIL_CLOSE + b'some of it',
}


def server_https(sock, settings):
    """A server like any other, but for its settings: at=RESPONSE what it
    answers, how=notify, cut or reset what it then does; without them it waits
    for the client's end."""
    wire = Wire(sock, make_context(settings, True), server_side=True)
    try:
        wire.shake()
        request = _request(wire)
    except OSError as error:
        if settings.get('how') != 'slam':
            # Whatever we said is to arrive, so the client closes first.
            wire.cut()
            _rest(sock)
        return ended(error)
    resumed = 'resumed' if wire.tls.session_reused else ''
    wire.send(RESPONSES[settings.get('at', 'whole')])
    how = settings.get('how')
    if how == 'reset':
        # Behind what was sent, so that this arrives.
        time.sleep(0.05)
        _reset(sock)
        return request
    if how == 'notify':
        wire.notify()
    if how:
        wire.cut()
    (unused, end) = wire.everything()
    if not how:
        wire.notify()
    return _join(request, end, resumed)


def server_plain(sock, settings):
    """HTTP without TLS, that says what it thinks of TLS."""
    data = sock.recv(65536)
    sock.sendall(b'HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n'
                 b'connection: close\r\n\r\n')
    # The client may have gone already: that is no TLS.
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
    _rest(sock)
    return 'TLS' if data[:2] == b'\x16\x03' else 'no TLS'


def server_friend(sock, settings):
    """HTTP without TLS, as it should be."""
    data = b''
    while b'\r\n\r\n' not in data:
        data += sock.recv(65536)
    sock.sendall(ANSWER)
    _rest(sock)
    return 'served'


def server_garbage(sock, settings):
    """Neither TLS nor HTTP."""
    sock.recv(65536)
    sock.sendall(bytes(range(200, 256)) * 4)
    (data, end) = _rest(sock)
    return _join(_told(data), end)


def server_silent(sock, settings):
    """Takes the connection, and says nothing."""
    clock = Clock(settings)
    (data, end) = _rest(sock)
    return _join(end, clock.verdict())


def server_drip(sock, settings):
    """Answers the client's hello a byte at a time."""
    clock = Clock(settings)
    wire = Wire(sock, make_context(settings, True), server_side=True)
    _begin(wire)
    data = _flight(wire, False)
    _drip(sock, data, settings.seconds('pause', 0.02))
    return _join(_patience(sock), clock.verdict())


def server_vanish(sock, settings):
    """Goes away: at=accept, behind the client's hello (hello), in the middle
    of its own flight (flight); how=reset or close."""
    if settings['at'] == 'hello':
        sock.recv(65536)
    elif settings['at'] == 'flight':
        wire = Wire(sock, make_context(settings, True), server_side=True)
        _begin(wire)
        data = _flight(wire, False)
        sock.sendall(data[:len(data) // 2])
    elif settings.get('how') == 'reset':
        # Not before the client knows that it is connected.
        select.select([sock], [], [], WAIT)
    else:
        # Read, and ended in order: a close that leaves something unread
        # would be a reset.
        sock.shutdown(socket.SHUT_WR)
        _rest(sock)
    if settings.get('how') == 'reset':
        _reset(sock)
    return 'gone'


def server_imposed(sock, settings):
    """Answers with a version or a cipher that the client has not offered:
    at=1.1 or so, how=c02f or so."""
    sock.recv(65536)
    version = b'\x03' + bytes([int(settings['at'][-1]) + 1])
    cipher = bytes.fromhex(settings['how'])
    # Secure renegotiation, extended master secret.
    extensions = b'\xff\x01\x00\x01\x00' + b'\x00\x17\x00\x00'
    body = (version + bytes(32) + b'\0' + cipher + b'\0' +
            len(extensions).to_bytes(2, 'big') + extensions)
    message = b'\x02' + len(body).to_bytes(3, 'big') + body
    sock.sendall(b'\x16' + version + len(message).to_bytes(2, 'big') + message)
    (data, end) = _rest(sock)
    return _join(_told(data), end)


def server_broken_record(sock, settings):
    """A response with a bit changed."""
    wire = Wire(sock, make_context(settings, True), server_side=True)
    wire.shake()
    request = _request(wire)
    wire.tls.write(ANSWER)
    record = bytearray(wire.outgoing.read())
    record[-1] ^= 1
    sock.sendall(record)
    (unused, end) = wire.everything()
    return _join(request, end)


# ------------------------------------------------------- the openssl command

class Tool:
    """openssl s_client or s_server: what it is told and what it says."""

    def __init__(self, *arguments):
        self.said = b''
        self.deadline = time.monotonic() + WAIT
        self.process = subprocess.Popen(
            [OPENSSL, *arguments], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()

    def tell(self, data):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def hush(self):
        """The end of what it is told."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def until(self, pattern=None):
        """The match in what it says from here on; None at its end.  Without
        a pattern, waits for the end."""
        begun = len(self.said)
        stream = self.process.stdout
        while True:
            found = pattern and re.search(pattern, self.said[begun:])
            if found:
                return found
            left = self.deadline - time.monotonic()
            if left <= 0 or not select.select([stream], [], [], left)[0]:
                raise TimeoutError('openssl does not end: {!r}'.format(
                    self.said[-500:]))
            part = os.read(stream.fileno(), 65536)
            if not part:
                return None
            self.said += part

    def text(self):
        return self.said.decode('utf-8', 'replace')


def _profile_options(settings):
    """Version and cipher as openssl's options."""
    option = '-ciphersuites' if settings.version == '1.3' else '-cipher'
    return ['-tls' + settings.version.replace('.', '_'), option,
            settings.get('ciphers', CIPHERS[settings.version])]


def _files(settings):
    name = settings.get('certificate', 'none')
    if name == 'none':
        return []
    return ['-cert', settings.file(name + '.pem'), '-key',
            settings.file(name + '.key')]


def _s_client(address, settings, *more):
    """For IPv4 only."""
    return Tool('s_client', '-connect', '{}:{}'.format(*address),
                *_profile_options(settings), *_files(settings), *more)


def _s_server(settings, *more):
    return Tool('s_server', '-accept', '127.0.0.1:0',
                *_profile_options(settings), *_files(settings), *more)


def _outcome(tool):
    """How openssl's connection ended."""
    text = tool.text()
    found = re.search(r'HTTP/1\.1 (\d\d\d) ', text)
    if found:
        return found[1]
    # error:0A000126:SSL routines:function:reason:file:line:
    found = re.search(r':error:[0-9A-F]+:SSL routines:[^:]*:([^:]+):', text)
    return found and (_name_of_alert(found[1]) or found[1]) or 'nothing'


ONE_MORE = HELLO.replace(b'connection: close\r\n', b'')


def client_openssl(address, settings):
    """A request by openssl s_client."""
    with _s_client(address, settings) as tool:
        tool.tell(HELLO)
        tool.until()
        return _outcome(tool)


def client_renegotiate(address, settings):
    """Asks for another handshake behind the first response."""
    with _s_client(address, settings) as tool:
        tool.tell(ONE_MORE)
        if not tool.until(b'hello, world'):
            return _outcome(tool)
        tool.tell(b'R\n')
        found = tool.until(b'no renegotiation|verify return|alert [a-z ]+')
        return found[0].decode() if found else 'cut'


def client_key_update(address, settings):
    """Asks for new keys behind the first response, as TLS 1.3 lets it."""
    with _s_client(address, settings) as tool:
        tool.tell(ONE_MORE)
        if not tool.until(b'hello, world'):
            return _outcome(tool)
        tool.tell(b'K\n')
        if not tool.until(b'KEYUPDATE'):
            raise NotToBeHad('openssl s_client knows no key update')
        tool.tell(HELLO)
        return '200' if tool.until(b'hello, world') else _outcome(tool)


def client_early_data(address, settings):
    """Sends a request as early data, with a ticket of another server, and
    another request behind the handshake."""
    folder = tempfile.mkdtemp(prefix='degu-peer.')
    try:
        session = folder + '/session.pem'
        early = folder + '/early'
        with open(early, 'wb') as file:
            file.write(EARLY)
        other = Settings(settings, certificate='server')
        with _s_server(other, '-early_data', '-naccept', '1') as server:
            port = _port(server)
            with _s_client(('127.0.0.1', port), settings, '-sess_out',
                           session) as tool:
                # Tickets come before this, and make no output at once.
                server.tell(b'here\n')
                tool.until(b'here')
                tool.tell(b'Q\n')
                tool.until()
        with _s_client(address, settings, '-sess_in', session, '-early_data',
                       early) as tool:
            found = tool.until(b'Early data was ([a-z ]+)')
            if not found:
                return _outcome(tool)
            tool.tell(HELLO)
            tool.until()
            return 'early data {}, {}'.format(found[1].decode(),
                                              _outcome(tool))
    finally:
        shutil.rmtree(folder)


def _port(tool):
    return int(tool.until(rb'ACCEPT 127\.0\.0\.1:(\d+)\s')[1])


# The head of a request, whole.
REQUEST = rb'GET [^\n]*\n(?:[^\r\n]+\r?\n)*\r?\n'


def openssl_server(tool, settings):
    """Waits for a request by openssl s_server, and answers it."""
    if not tool.until(REQUEST):
        return _outcome(tool)
    tool.tell(ANSWER)
    return 'GET /hello'


def openssl_renegotiate(tool, settings):
    """Asks for another handshake before it answers."""
    if not tool.until(REQUEST):
        return _outcome(tool)
    tool.tell(b'r\n')
    tool.until(b'SSL_accept|ERROR')
    tool.tell(ANSWER)
    tool.until()
    return _outcome(tool)


def openssl_early_tickets(tool, settings):
    """Hands out tickets that allow early data; for two connections."""
    outcomes = []
    for unused in range(2):
        found = tool.until(b'(?s)(No early data|Early data was).*?' + REQUEST)
        if not found:
            return _outcome(tool)
        outcomes.append('reused' if b'Reused session-id' in tool.said
                        else found[1].decode().lower())
        tool.tell(ANSWER)
    return ', '.join(outcomes)


CLIENTS = {name[7:].replace('_', '-'): script
           for (name, script) in sorted(globals().items())
           if name.startswith('client_')}
SERVERS = {name[7:].replace('_', '-'): script
           for (name, script) in sorted(globals().items())
           if name.startswith('server_')}
OPENSSL_SERVERS = {
    'openssl': (openssl_server, ('-naccept', '1', '-num_tickets', '0')),
    'renegotiate': (openssl_renegotiate, ('-naccept', '1')),
    'early-tickets': (openssl_early_tickets, ('-naccept', '2',
                                              '-early_data')),
}


# ----------------------------------------------------------------- listening

class Listener:
    """A server script on a port of its own, in a thread, until the block
    ends; `outcomes` then has one for each connection."""

    def __init__(self, script, settings, address=('127.0.0.1', 0)):
        self.script = SERVERS[script]
        self.settings = settings
        self.outcomes = []
        self.failure = None
        self.sock = socket.create_server(address)
        self.address = self.sock.getsockname()[:2]
        (self.bell, self.ringer) = socket.socketpair()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def _run(self):
        try:
            while True:
                (ready, _, _) = select.select([self.sock, self.bell], [], [])
                if self.sock not in ready:
                    break
                (sock, _) = self.sock.accept()
                with sock:
                    sock.settimeout(WAIT)
                    self.outcomes.append(self.script(sock, self.settings))
        except Exception as error:
            self.failure = error

    def __exit__(self, *unused):
        self.ringer.close()
        self.thread.join(2 * WAIT)
        self.bell.close()
        self.sock.close()
        if self.failure:
            raise self.failure


class ToolListener:
    """The same with openssl s_server."""

    def __init__(self, script, settings):
        (self.script, options) = OPENSSL_SERVERS[script]
        self.settings = settings
        self.outcomes = []
        self.failure = None
        if settings.get('authority', 'none') != 'none':
            options += ('-Verify', '3', '-verify_return_error', '-CAfile',
                        settings.file(settings['authority'] + '.pem'))
        if 'alpn' in settings:
            options += ('-alpn', settings['alpn'])
        self.tool = _s_server(settings, *options)
        self.address = ('127.0.0.1', _port(self.tool))
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def _run(self):
        try:
            self.outcomes.append(self.script(self.tool, self.settings))
            self.tool.until()
        except Exception as error:
            self.failure = error

    def __exit__(self, *unused):
        self.thread.join(2 * WAIT)
        self.tool.__exit__()
        if self.failure:
            raise self.failure


def listen(script, settings):
    return (Listener if script in SERVERS else ToolListener)(script, settings)


def main(arguments):
    if len(arguments) < 2 or arguments[0] not in ('connect', 'listen'):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    settings = Settings(word.split('=', 1) for word in arguments
                        if '=' in word)
    words = [word for word in arguments if '=' not in word]
    if words[0] == 'connect':
        (script, host, port) = words[1:]
        print(CLIENTS[script]((host, int(port)), settings))
        return 0
    with listen(words[1], settings) as listener:
        print('{} {}'.format(*listener.address), flush=True)
        sys.stdin.read()
    print('\n'.join(listener.outcomes))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
