# SPDX-License-Identifier: MIT OR 0BSD
"""The Python ends that matrix.py tests: what ends.c is, with the same words,
in Python; all that the server logs is among what it prints."""

import logging
import os
import re
import sys
import threading
import time

from degu.base import DeguError
from degu.client import Client, SSLClient
from degu.server import Server, SSLServer

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
PROTOCOLS = {'1.2': 'TLSv1.2', '1.3': 'TLSv1.3'}
FILES = {'certificate': 'cert_file', 'key': 'key_file',
         'authority': 'ca_file', 'folder': 'ca_path'}
lock = threading.Lock()


def say(*words):
    with lock:
        print(*words, flush=True)


def name_of(error):
    """An error of degu.h by its code, another by its class; up to 3.11 ssl
    has none of its own for an end of file with some versions of OpenSSL."""
    code = getattr(error, 'code', None)
    if isinstance(error, DeguError) and code:
        return code
    if getattr(error, 'reason', None) == 'UNEXPECTED_EOF_WHILE_READING':
        return 'SSLEOFError'
    return type(error).__name__


def words_of(error):
    return ' '.join(str(error).split())


def read_sentences():
    """{sentence: code} of the list of errors in degu.h."""
    with open(ROOT + '/degu.h', encoding='utf-8') as file:
        found = re.findall(r'X\((\w+), -?\d+, \d+,[\s\\]*"([^"]*)"\)',
                           file.read())
    return {sentence: code for (code, sentence) in found}


class Setup:
    """What the command line says."""

    def __init__(self, words):
        self.values = dict(word.split('=', 1) for word in words)
        self.pins = [word[4:] for word in words if word.startswith('pin=')]
        self.is_plain = self.values.get('plain') == 'yes'
        self.timeout = int(self.values.get('timeout', '10000')) / 1000

    def is_on(self, name):
        return self.values.get(name) == 'yes'

    def sslconfig(self):
        config = {'protocol': PROTOCOLS[self.values['profile']]}
        for (name, key) in FILES.items():
            if name in self.values:
                config[key] = self.values[name]
        if self.is_on('readable'):
            config['allow_readable_key'] = True
        return config

    def options(self):
        options = {'timeout': self.timeout}
        if self.pins or 'no-pins' in self.values:
            options['pins'] = self.pins
        return options


# ----------------------------------------------------------------- the server

class Lines(logging.Handler):
    """Prints what the log says: reasons, and all that is not said of every
    connection."""

    def __init__(self):
        super().__init__()
        self.sentences = read_sentences()

    def emit(self, record):
        text = ' '.join(record.getMessage().split())
        (start, _, reason) = text.partition(': ')
        if record.exc_info:
            say('traceback', text, repr(record.exc_info[1]))
        elif 'Handled' in start:
            say('close', self.sentences.get(reason, '?'), reason)
        elif start.endswith('TLS handshake failed'):
            say('handshake', reason)
        elif not text.startswith(('Starting', '[timeout=', '+ ')):
            say('log', record.levelname, text)


class App:
    def __call__(self, session, request, api):
        say('called', request.uri)
        if request.uri != '/body':
            return (200, 'OK', {}, b'hello, world')
        try:
            request.body.read()
        except Exception as error:
            say('body', name_of(error), words_of(error))
            raise
        say('body OK')
        return (200, 'OK', {}, None)

    def on_connect(self, session, sock):
        peer = getattr(session, 'peer', None)
        if peer is not None:
            say('connect', peer.protocol, peer.cipher, peer.subject)
        return True


def make_server(setup):
    address = ('127.0.0.1', 0)
    if setup.is_plain:
        return Server(address, App(), timeout=setup.timeout)
    config = setup.sslconfig()
    if setup.is_on('anonymous'):
        config['allow_unauthenticated_clients'] = True
    return SSLServer(config, address, App(), **setup.options())


def run_server(setup):
    log = logging.getLogger('degu')
    log.addHandler(Lines())
    log.setLevel(logging.INFO)
    try:
        server = make_server(setup)
    except Exception as error:
        say('open', name_of(error), words_of(error))
        return
    say('open OK')
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    # What it opens for itself is there when descriptors begin to be counted.
    while not server._threads and thread.is_alive():
        time.sleep(0.001)
    say('listening {}:{}'.format(*server.address))
    sys.stdin.read()
    server.shutdown()
    thread.join()


# ----------------------------------------------------------------- the client

def make_client(setup, address):
    (host, port) = address.rsplit(':', 1)
    address = (host, int(port))
    if setup.is_plain:
        return Client(address, timeout=setup.timeout)
    config = setup.sslconfig()
    options = setup.options()
    name = setup.values.get('name', 'localhost')
    if name == 'any':
        config['check_hostname'] = False
    elif name != 'none':
        options['ssl_host'] = name
    return SSLClient(config, address, **options)


def step(name, call, *arguments):
    """The result, or None after an error, which is printed."""
    try:
        result = call(*arguments)
    except Exception as error:
        say(name, name_of(error), words_of(error))
        return None
    say(name, 'OK')
    return result


def read(response):
    if response.body is not None:
        response.body.read()
    return True


def exchange(client):
    conn = step('connect', client.connect)
    if conn is None:
        return
    try:
        response = step('request', conn.request, 'GET', '/hello', {}, None)
        if response is not None:
            say('status', response.status)
            step('body', read, response)
    finally:
        conn.close()


def count_descriptors():
    return len(os.listdir('/proc/self/fd'))


def run_client(setup, address):
    try:
        client = make_client(setup, address)
    except Exception as error:
        say('open', name_of(error), words_of(error))
        return
    say('open OK')
    before = count_descriptors()
    for _ in range(int(setup.values.get('times', '1'))):
        exchange(client)
    if 'again' in setup.values:
        say('again')
        # Another client, as it is for another address; of one context.
        again = client.__class__
        (host, port) = setup.values['again'].rsplit(':', 1)
        options = client.options
        if setup.is_plain:
            exchange(again((host, int(port)), **options))
        else:
            exchange(again(client.sslctx, (host, int(port)), **options))
    say('left', count_descriptors() - before)


def main(words):
    if words[0] == 'server':
        run_server(Setup(words[1:]))
    else:
        run_client(Setup(words[2:]), words[1])
    say('done')


if __name__ == '__main__':
    main(sys.argv[1:])
