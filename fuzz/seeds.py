# SPDX-License-Identifier: MIT OR 0BSD
"""What the seeds of fuzz/corpus are chosen from: the cases of tests/vectors, in
the form that each harness takes, and for the harnesses of which the vectors say
nothing those listed here.

    seeds.py DIRECTORY    writes them all, a directory for each harness

`run.py --seeds` keeps those of them that reach something new, and ALWAYS.
"""

import base64
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..', 'tests', 'vectors'))
import vectors  # noqa: E402

LONGEST = 1200  # bytes of a seed
READS = range(7)  # ways to read a body: bodies.h
ANSWERS = range(12)  # and to answer: ten bodies, a reply, nothing

FORMAT = {
    'plain-get': ('0000', ['/', 'host', 'a', 'accept', '*/*']),
    'get-query': ('0000', ['/a/b/?c=%2F', 'user-agent', 'x (y)']),
    'put-length': ('1011', ['/a', 'content-type', 'text/plain']),
    'put-length-said': ('1012', ['/a', 'content-length', '9']),
    'put-length-wrong': ('1012', ['/a', 'content-length', '5']),
    'put-chunked': ('102', ['/a', 'transfer-encoding', 'chunked', 'expect',
                            '100-continue']),
    'post-close': ('20001', ['/', 'connection', 'close']),
    'range': ('0000', ['/', 'range', 'bytes=0-4']),
    'content-range': ('0000', ['OK', 'content-range', 'bytes 0-4/9']),
    'range-of-numbers': ('00000012', ['/']),
    'largest-numbers': ('001700677', ['/']),
    'beyond-the-largest': ('001800889', ['/']),
    'head': ('3000', ['OK', 'content-length', '9']),
    'not-modified': ('03', ['Not Modified', 'etag', '"a"']),
    'no-content': ('02', ['No Content', 'transfer-encoding', 'chunked']),
    'interim': ('01', ['Continue']),
    'until-close': ('003', ['OK']),
    'extensions': ('0000', ['/', 'k', 'v', 'q', 'a "b\\', 'n', '']),
    'twice': ('0000', ['/', 'host', 'a', 'host', 'a']),
    'cookies': ('0000', ['OK', 'set-cookie', 'a=b', 'set-cookie', 'c=d']),
    'smuggled-value': ('0000', ['/', 'a', 'b\r\nc: d']),
    'smuggled-name': ('0000', ['/', 'a: b\r\nc', 'd']),
    'smuggled-target': ('0000', ['/ HTTP/1.1\r\na: b', 'c', 'd']),
    'capital': ('0000', ['/', 'Host', 'a']),
    'blank-before': ('0000', ['/', 'a', ' b']),
    'blank-behind': ('0000', ['/', 'a', 'b\t']),
    'blanks': ('0000', ['/', 'host', ' a ']),
    'bad-host': ('0000', ['/', 'host', 'a/b']),
    'bad-paths': ('0000', ['/a//b/%2e%2e/%00']),
    'trailers': ('0000', ['/', 'x-sum', '1', 'x-more', '']),
    'barred-trailer': ('0000', ['/', 'content-length', '0']),
    'target-of-two': ('0000', ['/a', 'b=c', '']),
    'hop': ('0000', ['/', 'keep-alive', 'timeout=5']),
    'put-length-none': ('1017', ['/a']),
    'put-length-beyond': ('1018', ['/a']),
    'put-until-close': ('103', ['/a']),
    'put-range': ('1011', ['/a', 'range', 'bytes=0-4']),
    'get-body': ('0011', ['/a']),
    'get-expect': ('0000', ['/a', 'expect', '100-continue']),
    'no-method': ('7000', ['/a']),
    'status-99': ('06', ['OK']),
    'status-600': ('07', ['OK']),
    'content-with-304': ('0311', ['OK']),
    'coding-without-chunks': ('1000', ['/a', 'transfer-encoding', 'chunked']),
    'long-name': ('0000', ['/', 'n' * 33, 'v']),
    'long-target': ('0000', ['/' + 'a' * 1010]),
    'long-value': ('0000', ['/', 'a', 'v' * 1000]),
    'long-extension': ('0000', ['/', 'k', 'v' * 122]),
    'many': ('0000', ['/'] + ['a', 'b'] * 13),
}

ADDRESS = {
    'ipv4': b'127.0.0.1:80',
    'ipv4-port-0': b'0.0.0.0:0',
    'ipv4-short': b'127.1:80',
    'ipv4-largest': b'255.255.255.255:65535',
    'ipv4-too-large': b'1.2.3.4:65536',
    'ipv6': b'[::1]:8080',
    'ipv6-scope': b'[fe80::1%2]:80',
    'ipv6-interface': b'[fe80::1%lo]:80',
    'ipv6-flow': b'[::1]:80;flowinfo=1048575',
    'ipv6-scope-flow': b'[fe80::a:b:c:d%4294967295]:80;flowinfo=5',
    'ipv6-mapped': b'[::ffff:192.0.2.1]:80',
    'ipv6-full': b'[1:2:3:4:5:6:7:8]:65535',
    'ipv6-no-port': b'[::1]',
    'path': b'/run/app.sock',
    'path-longest': b'/' + b'a' * 107,
    'path-too-long': b'/' + b'a' * 108,
    'abstract': b'@name',
    'abstract-chosen': b'@',
    'abstract-escaped': b'@a%00%FFb%25',
    'abstract-half-escape': b'@a%4',
    'raw-ipv4': b'\x01\x00\x50\x00' + bytes(8) + b'\x7f\x00\x00\x01',
    'raw-ipv6': b'\x02\x50\x00\x00\x05\x00\x00\x00\x02\x00\x00\x00' +
                b'\xfe\x80' + bytes(13) + b'\x01',
    'raw-path': b'\x03' + bytes(11) + b'/run/x',
    'raw-abstract': b'\x04' + bytes(11) + b'a\x00b',
}


# Kept whatever they reach: no new code, and yet another thing to get wrong.
ALWAYS = {
    'value': {
        # Each byte, the first of its kind behind a whole vector register.
        'every-byte': b''.join(b'a' * 17 + bytes([byte])
                               for byte in range(256)),
        'ipv6-gap-of-none': b'[1:2:3:4:5:6:7:8::]',
        'ipv6-gap-of-none-inside': b'[1:2:3:4::5:6:7:8]',
        'ipv6-gap-of-one': b'[1:2:3:4:5:6:7::]',
        'ipv6-ipv4-too-many': b'[1:2:3:4:5:6:7:1.2.3.4]',
    },
    'trailers': {
        'every-capital': b'ABCDEFGHIJKLMNOPQRSTUVWXYZ: a\r\n',
        'every-other': b"!#$%&'*+-.^_`|~0123456789: a\r\n",
    },
}


def digit(choice):
    return chr(ord('0') + choice)


# Of an exchange over TLS, in the order of the script (fuzz_tls.c).
TLS_CHOICES = ('pieces', 'profile', 'client', 'trust', 'end', 'hesitates',
               'other', 'certificate', 'alpn', 'name', 'record', 'damage',
               'at', 'at_more', 'stuck', 'dirty')
TLS_REQUESTS = (b'PUT /a HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello'
                b'POST /b HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n'
                b'5;a=b\r\nhello\r\n0\r\n\r\nGET /c HTTP/1.1\r\n\r\n')
TLS_UNTIL_CLOSE = b'HTTP/1.1 200 OK\r\n\r\nuntil the close'
TLS_SERVED = {
    'well': ({}, TLS_REQUESTS + b'<<<c'),
    'cut': ({}, TLS_REQUESTS[:70]),
    'no-close-notify': ({}, TLS_REQUESTS),
    'reset': ({'end': 1}, TLS_REQUESTS),
    'large-answers': ({'app': '00100100'}, TLS_REQUESTS + b'<<<c'),
    'read-as-chunks': ({'app': '100100100'}, TLS_REQUESTS + b'<<<c'),
    'read-by-half': ({'app': '2'}, TLS_REQUESTS + b'<<<c'),
    'small-records': ({'record': 2, 'pieces': 2, 'hesitates': 1},
                      TLS_REQUESTS + b'<<<c'),
    'by-pin': ({'trust': 1}, TLS_REQUESTS + b'<<<c'),
    'by-both': ({'trust': 2}, TLS_REQUESTS + b'<<<c'),
    'wrong-pin': ({'trust': 3}, TLS_REQUESTS),
    'anonymous': ({'trust': 4, 'certificate': 2}, TLS_REQUESTS + b'<<<c'),
    'no-certificate': ({'certificate': 2}, TLS_REQUESTS),
    'stranger': ({'certificate': 1}, TLS_REQUESTS),
    'stranger-by-pin': ({'certificate': 1, 'trust': 1}, TLS_REQUESTS),
    'other-version': ({'other': 1}, TLS_REQUESTS),
    'alpn-none': ({'alpn': 1}, TLS_REQUESTS + b'<<<c'),
    'alpn-both': ({'alpn': 2}, TLS_REQUESTS + b'<<<c'),
    'alpn-other': ({'alpn': 3}, TLS_REQUESTS),
    'alpn-prefix': ({'alpn': 4}, TLS_REQUESTS),
    'new-keys': ({'hesitates': 1},
                 b'<<<k' * 3 + TLS_REQUESTS[:30] + b'<<<K' +
                 TLS_REQUESTS[30:] + b'<<<k' * 20 + b'<<<c'),
    'takes-none': ({'hesitates': 1, 'stuck': 1}, b'<<<K' * 3 + TLS_REQUESTS),
    'handshake-again': ({}, TLS_REQUESTS + b'<<<r' + TLS_REQUESTS),
    'junk': ({}, TLS_REQUESTS + b'<<<!\x17\x03\x03\0\x05hello'),
    'alert-in-the-clear': ({}, TLS_REQUESTS + b'<<<!\x15\x03\x03\0\2\1\0'),
    'half-a-record': ({}, TLS_REQUESTS + b'<<<!\x17\x03'),
    'http-inside': ({}, TLS_REQUESTS + b'<<<!GET / HTTP/1.1\r\n\r\n'),
    'flipped-hello': ({'damage': 2, 'at': 1}, TLS_REQUESTS),
    'flipped-data': ({'damage': 2, 'at': 40}, TLS_REQUESTS * 30),
    'cut-hello': ({'damage': 1, 'at': 0, 'at_more': 7}, TLS_REQUESTS),
    'cut-data': ({'damage': 1, 'at': 40}, TLS_REQUESTS * 30),
    'doubled': ({'damage': 3, 'at': 2}, TLS_REQUESTS),
    'left-hanging': ({'dirty': 1}, TLS_REQUESTS + b'<<<c'),
}
TLS_ASKED = {
    'until-close': ({}, TLS_UNTIL_CLOSE + b'<<<c'),
    'until-a-cut': ({}, TLS_UNTIL_CLOSE),
    'until-reset': ({'end': 1}, TLS_UNTIL_CLOSE),
    'until-junk': ({}, TLS_UNTIL_CLOSE + b'<<<!\x15\x03\x03\0\2\1\0'),
    'length': ({'name': 1}, b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n'
               b'hello<<<c'),
    'chunks': ({'name': 2, 'record': 1}, b'HTTP/1.1 100 Continue\r\n\r\n'
               b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'
               b'<<<K5\r\nhello\r\n0\r\n\r\n<<<c'),
    'other-name': ({'name': 3}, TLS_UNTIL_CLOSE),
    'other-address': ({'name': 5}, TLS_UNTIL_CLOSE),
    'no-name': ({'name': 4}, TLS_UNTIL_CLOSE),
    'no-name-by-pin': ({'name': 4, 'trust': 1}, TLS_UNTIL_CLOSE + b'<<<c'),
    'any-name': ({'name': 3, 'trust': 4}, TLS_UNTIL_CLOSE + b'<<<c'),
    'stranger': ({'certificate': 1}, TLS_UNTIL_CLOSE),
    'alpn-other': ({'alpn': 3}, TLS_UNTIL_CLOSE),
    'alpn-prefix': ({'alpn': 4}, TLS_UNTIL_CLOSE),
    'handshake-again': ({}, TLS_UNTIL_CLOSE + b'<<<r' + b'more<<<c'),
    'flipped-data': ({'damage': 2, 'at': 60}, TLS_UNTIL_CLOSE * 40 + b'<<<c'),
    'flipped-certificate': ({'damage': 2, 'at': 10}, TLS_UNTIL_CLOSE),
}
TLS_RECORDS = {
    'http': b'GET / HTTP/1.1\r\n\r\n',
    'proxy': b'CONNECT a:1 HTTP/1.1\r\n\r\n',
    'nothing': b'',
    'alert': b'\x15\x03\x03\0\2\2\x28',
    'alert-certificate': b'\x15\x03\x03\0\2\2\x2a',
    'close-notify': b'\x15\x03\x03\0\2\1\0',
    'ssl-2': b'\x80\x1c\1\x03\x03\0\3\0\0\0\x10\0\0\4' + bytes(16),
    'hello-half': b'\x16\x03\1\0\x30\1\0\0\x2c\x03\x03' + bytes(20),
    'hello-short': b'\x16\x03\1\0\x2f\1\0\0\x2b\x03\x03' + bytes(33) +
                   b'\0\2\xc0\x30\1\0\0\0',
    'data-early': b'\x17\x03\x03\0\5hello',
    'too-long': b'\x16\x03\x03\xff\xff' + bytes(40),
}
TLS_TEXTS = {
    'client': ('000000', ['@', '@', '@', 'localhost']),
    'client-no-key': ('000000', ['', '', '@', '127.0.0.1']),
    'client-by-pin': ('000011', ['', '', '', '[::1%lo]']),
    'client-of-the-system': ('00', ['', '', '', '.example.com']),
    'client-long-name': ('000000', ['', '', '@', 'a' * 300]),
    'client-empty-name': ('000000', ['', '', '@', '[]']),
    'client-any-name': ('001', ['', '', '@', 'a:b']),
    'client-any-name-of-all': ('001', ['', '', '', 'a']),
    'server': ('10', ['@', '@', '@', '']),
    'server-newer': ('11', ['@', '@', '@', '']),
    'server-for-nobody': ('10', ['@', '@', '', '']),
    'server-for-all': ('1001', ['@', '@', '', '']),
    'server-without-key': ('10', ['@', '', '@', '']),
    'server-with-junk': ('10', ['-----BEGIN CERTIFICATE-----\nAAAA\n'
                                '-----END CERTIFICATE-----\n', '@', '@', '']),
    'server-any-name': ('101', ['@', '@', '@', '']),
    'pins-without-any': ('000010', ['', '', '', '']),
    'no-such-profile': ('02', ['', '', '@', '']),
    'key-is-none': ('10', ['@', 'x', '@', '']),
    'key-of-another': ('10', ['@', '-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYD'
                              'K2VwBCIEICRtMjsRU+AS/XWDyhaPIQVh/ZNPKsaz6dxuVUNE'
                              'WBDY\n-----END PRIVATE KEY-----\n', '@', '']),
}


def certificates():
    """{name: DER} of those that certificates.h has."""
    with open(os.path.join(HERE, 'certificates.h')) as file:
        text = file.read()
    found = re.findall(r'char fuzz_(\w+)\[\] =\s+"-----BEGIN CERTIFICATE-----'
                       r'\\n"([^;]*?)"-----END', text)
    return {name: base64.b64decode(re.sub(r'\\n|[" \n]', '', lines))
            for (name, lines) in found}


def tls_seeds():
    """The script of each kind of fuzz_tls.c, and what it is about."""
    found = {}
    for (kind, cases) in (('serves', TLS_SERVED), ('asks', TLS_ASKED)):
        for (name, (choices, events)) in cases.items():
            for profile in range(2):
                wanted = dict(choices, profile=profile,
                              client=int(kind == 'asks'))
                script = '0' + ''.join(
                    digit(wanted.get(choice, 0)) for choice in TLS_CHOICES
                    if choice != 'name' or kind == 'asks')
                script += wanted.get('app', '')
                found['{}-1.{}-{}'.format(kind, profile + 2, name)] = \
                    script.encode() + b'\n' + events
    for (name, data) in TLS_RECORDS.items():
        for client in '01':
            found['records-{}-{}'.format('asks' if client == '1' else 'serves',
                                         name)] = \
                '110{}'.format(client).encode() + b'\n' + data
    for (name, der) in certificates().items():
        found['der-' + name] = b'2\n' + der
        for (what, text) in (('nul', b'local\0ost'), ('blank', b'local ost'),
                             ('high', b'local\xffost')):
            if b'localhost' in der:
                found['der-{}-{}'.format(name, what)] = \
                    b'2\n' + der.replace(b'localhost', text)
    good = certificates()['good']
    address = b'\x87\x10' + bytes(15) + b'\1'
    found['der-address-of-5'] = b'2\n' + good.replace(
        address, b'\x87\5hello\x82\x09elsewhere')
    for (name, (script, texts)) in TLS_TEXTS.items():
        found['texts-' + name] = \
            '3{}\n{}'.format(script, '|'.join(texts)).encode()
    return found


# What OpenSSL does with them is not seen.
ALWAYS['tls'] = tls_seeds()


def stream_seeds(found, case):
    """Whole streams, and bodies behind a head: for both ends."""
    (kind, *rest) = case.kind
    if kind == 'body':
        field = {'length': b'content-length: ' + (rest + ['', '0'])[1].encode(),
                 'chunked': b'transfer-encoding: chunked',
                 'until-close': b'x: y'}[rest[0]]
        ask = b'PUT / HTTP/1.1\r\n' + field + b'\r\n\r\n'
        answer = b'HTTP/1.1 200 OK\r\n' + field + b'\r\n\r\n'
    else:
        (ask, answer) = (b'', b'')
    number = len(found['server']) + len(found['client'])
    (read, send) = (number % len(READS), number // 7 % len(ANSWERS))
    if kind in ('body', 'requests'):
        script = '00000{}0{}'.format(read, digit(send))
        found['server'][case.name] = \
            script.encode() + b'\n' + ask + case.input
    if kind in ('body', 'responses'):
        # The method, its body, two choices of that, how the answer is read.
        method = 'HEAD' in rest and '2' or str(number % 2)
        script = '00000{}{}00{}'.format(method, digit(send % 10), read)
        found['client'][case.name] = \
            script.encode() + b'\n' + answer + case.input


def exchange_seeds(found):
    """What the vectors have not: transports that fail, several answers."""
    ask = (b'PUT /a HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello'
           b'GET /b HTTP/1.1\r\n\r\n'
           b'POST /c HTTP/1.1\r\nexpect: 100-continue\r\n'
           b'transfer-encoding: chunked\r\n\r\n'
           b'5;a=b\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n'
           b'GET /d HTTP/1.1\r\nconnection: close\r\n\r\n')
    answer = (b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello<<<\n'
              b'HTTP/1.1 100 Continue\r\n\r\n'
              b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n'
              b'5;a="b\\""\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n<<<\n'
              b'HTTP/1.1 304 Not Modified\r\netag: "a"\r\n\r\n<<<\n'
              b'HTTP/1.1 200 OK\r\n\r\nuntil the close')
    for read in READS:
        for send in ANSWERS:
            name = 'read-{}-send-{}'.format(read, send)
            app = '{}0{}100'.format(read, digit(send)) * 4
            found['server'][name] = ('00000' + app).encode() + b'\n' + ask
            asks = '1{}10{}0'.format(digit(send % 10), read) * 4
            found['client'][name] = ('00000' + asks).encode() + b'\n' + answer
    for (name, transport) in {
            'small-buffers': '01100', 'smaller-in': '02000',
            'smaller-out': '00200', 'end-is-not-sure': '00010',
            'end-is-a-reset': '00020', 'end-is-late': '00030',
            'send-fails-soon': '00001', 'send-fails-later': '00007',
            'closes': '0000' + digit(10), 'is-to-end': '0000' + digit(20),
            'moves': '0000' + digit(30),
            'pieces-of-16': '50000'}.items():
        for (way, choices) in (('relay', '60000'), ('chunks', '10300')):
            found['server'][name + '-' + way] = \
                (transport + choices * 4).encode() + b'\n' + ask
            found['client'][name + '-' + way] = \
                (transport + '13' + choices * 4).encode() + b'\n' + answer


def all_seeds():
    """{harness: {name: bytes}}"""
    found = {name: {} for name in
             ('request', 'response', 'target', 'value', 'chunk_line',
              'trailers', 'server', 'client', 'format', 'address')}
    for case in vectors.cases():
        if len(case.input) > LONGEST:
            continue
        kind = case.kind[0]
        if kind in ('request', 'requests'):
            found['request'][case.name] = case.input
        if kind in ('response', 'responses'):
            found['response'][case.name] = case.input
        if kind == 'target':
            found['target'][case.name] = case.input
        if kind in ('length', 'range', 'content-range', 'method'):
            found['value'][case.name] = case.input
        host = re.search(rb'\r\nhost: *([^\r]*)\r', case.input, re.I)
        if kind == 'request' and case.file == 'host.txt' and host:
            found['value'][case.name] = host[1]
        if kind == 'chunk-line':
            found['chunk_line'][case.name] = case.input
        if kind in ('trailer', 'fields'):
            found['trailers'][case.name] = case.input
        if kind in ('body', 'requests', 'responses'):
            stream_seeds(found, case)
    exchange_seeds(found)
    for (name, (script, texts)) in FORMAT.items():
        found['format'][name] = '\n|'.join([script, '|'.join(texts)]).encode()
    found['address'] = dict(ADDRESS)
    for (harness, more) in ALWAYS.items():
        found.setdefault(harness, {}).update(more)
    return found


def write(directory):
    for (harness, seeds) in all_seeds().items():
        folder = os.path.join(directory, harness)
        os.makedirs(folder, exist_ok=True)
        for (name, data) in seeds.items():
            with open(os.path.join(folder, name), 'wb') as file:
                file.write(data)


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    write(sys.argv[1])
