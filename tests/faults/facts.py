# SPDX-License-Identifier: MIT OR 0BSD
"""What is told of each exchange, and what is logged of a peer's fault."""

from faults import case
from subjects import Server, read_answer, read_to_end


def converse(server, text):
    """The answer's status, and what the server tells, the address last and
    checked."""
    with server.connect() as sock:
        sock.sendall(text)
        (status, _) = read_answer(sock)
        (*facts, address) = server.process.stdout.readline().split()
        if address != '{}:{}'.format(*sock.getsockname()):
            facts.append(address)
    return (status, ' '.join(facts))


@case('6 of 6 told as they were', 'server', quick=True)
def exchanges(kind):
    """Good ones, ones that fail, and heads that are none."""
    put = b'PUT /count HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello'
    torn = b'PUT /count HTTP/1.1\r\n' \
        b'transfer-encoding: chunked\r\n\r\n5\nx'
    wanted = [
        (b'GET /hello?a HTTP/1.1\r\n\r\n', 200, 'GET /hello?a 200 25 51 -'),
        (put, 200, 'PUT /count 200 {} 39 -'.format(len(put))),
        (b'GET /fail HTTP/1.1\r\n\r\n', 500, 'GET /fail 500 22 '),
        (b'GET /a b HTTP/1.1\r\n\r\n', 400, '- - 400 21 '),
        (b'GET / HTTP/1.1\r\nx: \0\r\n\r\n', 400, '- - 400 24 '),
        (torn, 400, 'PUT /count 400 '),
    ]
    good = 0
    with Server(kind, timeout=1000, facts=1) as server:
        for (text, status, facts) in wanted:
            found = converse(server, text)
            good += found[0] == status and found[1].startswith(facts) and \
                found[1].endswith(' -') == (status == 200)
    return (good == len(wanted), '{} of {}'.format(good, len(wanted)))


@case('408, then 0: told', 'server', quick=True)
def ends_in_between(kind):
    """A head that does not come in time; an answer that nobody takes."""
    with Server(kind, timeout=500, facts=1) as server:
        slow = converse(server, b'GET /')
        with server.connect() as sock:
            sock.sendall(b'GET /bytes/100000000 HTTP/1.1\r\n\r\n')
            sock.recv(10)
            line = server.process.stdout.readline()
            read_to_end(sock)
    good = slow[0] == 408 and slow[1] == '- - 408 5 70 E_TIMEOUT' and \
        line.startswith('GET /bytes/100000000 200 ') and ' E_TIMEOUT ' in line
    return (good, slow[1] if not good else 'told')


@case('2 lines a connection, no traceback', 'python server', quick=True)
def logs(kind):
    """What the peers of all this do is no fault of the program's."""
    faults = [b'GET /a b HTTP/1.1\r\n\r\n', b'\x16\x03\x01', b'\0' * 100,
              b'PUT /count HTTP/1.1\r\ncontent-length: 5\r\n\r\nhe',
              b'PUT /count HTTP/1.1\r\n'
              b'transfer-encoding: chunked\r\n\r\nx\r\n']
    with Server(kind, timeout=300, logs=1) as server:
        for text in faults:
            with server.connect() as sock:
                sock.sendall(text)
                read_to_end(sock)
        server.is_well()
    server._drain.join()
    text = ''.join(server.log)
    lines = [line for line in server.log if line[:2] in ('+ ', '- ')]
    return ('Traceback' not in text and len(lines) == 2 * len(faults) + 2,
            '{} of {} connections'.format(len(lines), len(faults) + 1))
