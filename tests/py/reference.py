# SPDX-License-Identifier: MIT OR 0BSD
"""HTTP/1.1 as Degu reads it, a second time: slow, whole, and short enough to be
checked by reading it next to RFC 9110, 9112, 3986 and doc/strictness.md.

Nothing here knows degu.h, nor the package but for its two value types.  All
input is there at once; a message that is not complete is refused like any other
that is not good.  A refusal has the status that a server answers with: of the
first fault, read from left to right, once a head has its end.
"""

import re
from dataclasses import dataclass, field

from degu.base import ContentRange, Range

# ------------------------------------------------------------------- grammar

# RFC 9110 5.6.2, 5.5 and 5.6.4, without obs-text.
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
VALUE = rb'[\t -~]*'
QUOTED = rb'"(?:[\t !#-\[\]-~]|\\[\t -~])*"'

# RFC 3986 2 and 3.
ESCAPE = rb'%[0-9A-Fa-f]{2}'
UNRESERVED = rb'[A-Za-z0-9\-._~]'
SUB_DELIM = rb"[!$&'()*+,;=]"
PCHAR = rb'(?:' + UNRESERVED + b'|' + ESCAPE + b'|' + SUB_DELIM + b'|[:@])'
PATH = rb'(?:/' + PCHAR + b'*)+'
QUERY = rb'(?:' + PCHAR + b'|[/?])*'
TARGET = re.compile(b'(' + PATH + rb')(?:\?(' + QUERY + b'))?')

# RFC 3986 3.2.2, alternative by alternative.
OCTET = rb'(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9][0-9]|[0-9])'
IPV4 = OCTET + (rb'\.' + OCTET) * 3
H16 = rb'[0-9A-Fa-f]{1,4}'
LS32 = b'(?:' + H16 + b':' + H16 + b'|' + IPV4 + b')'


def _groups(least, most):
    return b'(?:%s:){%d,%d}' % (H16, least, most)


IPV6 = b'|'.join([
    _groups(6, 6) + LS32,
    b'::' + _groups(5, 5) + LS32,
    b'(?:' + H16 + b')?::' + _groups(4, 4) + LS32,
    b'(?:' + _groups(0, 1) + H16 + b')?::' + _groups(3, 3) + LS32,
    b'(?:' + _groups(0, 2) + H16 + b')?::' + _groups(2, 2) + LS32,
    b'(?:' + _groups(0, 3) + H16 + b')?::' + H16 + b':' + LS32,
    b'(?:' + _groups(0, 4) + H16 + b')?::' + LS32,
    b'(?:' + _groups(0, 5) + H16 + b')?::' + H16,
    b'(?:' + _groups(0, 6) + H16 + b')?::',
])
REG_NAME = b'(?:' + UNRESERVED + b'|' + ESCAPE + b'|' + SUB_DELIM + b')+'
HOST = re.compile(rb'(?:\[(?:' + IPV6 + rb')\]|' + REG_NAME +
                  rb')(?::([0-9]*))?')

NUMBER = rb'(0|[1-9][0-9]{0,15})'
FIELD = re.compile(b'(' + TOKEN + b'):(' + VALUE + b')')
EXTENSION = re.compile(b';(' + TOKEN + b')(?:=(' + TOKEN + b'|' + QUOTED +
                       b'))?')
CHUNK = re.compile(rb'([0-9A-Fa-f]{1,16})((?:' + EXTENSION.pattern + b')*)')

PREAMBLE_MAX = 32768
HEADER_MAX = 64
NAME_MAX = 64
CHUNK_LINE_MAX = 4096
TRAILER_MAX = 8192
CHUNK_MAX = 16777216  # of data: more is not read as a whole
INTERIM_MAX = 16

METHODS = ('GET', 'PUT', 'POST', 'HEAD', 'DELETE', 'PATCH', 'OPTIONS')
WITH_BODY = ('PUT', 'POST', 'PATCH')
SINGLE = {
    'host', 'content-length', 'transfer-encoding', 'content-type',
    'content-range', 'range', 'authorization', 'expect', 'if-match',
    'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range',
    'location', 'etag', 'date',
}
HOPS = {'connection', 'keep-alive', 'proxy-connection'}


class Refused(Exception):
    """What was sent is no good, for the reason given."""

    def __init__(self, why, status):
        super().__init__(why)
        self.status = status


def require(good, why, status=400):
    if not good:
        raise Refused(why, status)


# -------------------------------------------------------------------- values

def length_of(value):
    """The number, or None."""
    match = re.fullmatch(NUMBER, value)
    return int(match[1]) if match else None


def range_of(value):
    match = re.fullmatch(b'bytes=' + NUMBER + b'-' + NUMBER, value)
    if match is None:
        return None
    (start, last) = (int(match[1]), int(match[2]))
    # The exclusive end is a length too, of sixteen digits.
    return Range(start, last + 1) \
        if start <= last < 9999999999999999 else None


def content_range_of(value):
    match = re.fullmatch(b'bytes ' + NUMBER + b'-' + NUMBER + b'/' + NUMBER,
                         value)
    if match is None:
        return None
    (start, last, total) = map(int, match.groups())
    return ContentRange(start, last + 1, total) \
        if start <= last < total else None


def is_host(value):
    if value == b'':
        return True
    match = HOST.fullmatch(value)
    return match is not None and int(match[1] or 0) <= 65535


# -------------------------------------------------------------------- fields

def token_at(text):
    """What text begins with, if it begins with one."""
    match = re.match(TOKEN, text)
    return match[0] if match else b''


@dataclass
class Fields:
    """Lines as (name, value), names in lower case."""

    lines: list = field(default_factory=list)

    def has(self, name):
        return any(name == other for (other, _) in self.lines)

    def value(self, name):
        return next(value for (other, value) in self.lines if name == other)

    def without(self, *names):
        return Fields([line for line in self.lines if line[0] not in names])

    def options(self):
        """The words of all connection lines."""
        return {word.strip(b' \t').lower().decode('ascii')
                for (name, value) in self.lines if name == 'connection'
                for word in value.split(b',')}

    def shown(self):
        """What is not for the library, nor for this connection only."""
        hops = {name for name in self.options()
                if name not in SINGLE and name != 'set-cookie'}
        return self.without('expect', *HOPS, *hops)

    def headers(self, **values):
        """The dict of them; values says what some of them mean."""
        made = {}
        for (name, value) in self.lines:
            text = value.decode('ascii')
            if name not in made:
                made[name] = text
            elif name != 'set-cookie':
                made[name] += ', ' + text
            elif isinstance(made[name], list):
                made[name].append(text)
            else:
                made[name] = [made[name], text]
        if 'content-length' in made:
            made['content-length'] = int(made['content-length'])
        made.update((name.replace('_', '-'), value)
                    for (name, value) in values.items() if value is not None)
        return made


def fields_of(lines, trailer=False):
    fields = Fields()
    for line in lines:
        require(len(fields.lines) < HEADER_MAX, 'number of fields', 431)
        name = token_at(line).lower().decode('ascii')
        require(len(name) <= NAME_MAX, 'length of a name', 431)
        require(not trailer or name not in SINGLE | HOPS,
                'a field of a trailer')
        match = FIELD.fullmatch(line)
        require(match, 'a field line')
        value = match[2].strip(b' \t')
        require(name not in SINGLE or not fields.has(name), 'twice')
        check_value(name, value)
        fields.lines.append((name, value))
        require(not (fields.has('content-length') and
                     fields.has('transfer-encoding')), 'two framings')
    return fields


def check_value(name, value):
    if name == 'host':
        require(is_host(value), 'host')
    if name == 'content-length':
        require(length_of(value) is not None, 'content-length')
    if name == 'transfer-encoding':
        require(value, 'no transfer-encoding')
        require(value.lower() == b'chunked', 'transfer-encoding', 501)
    if name == 'expect':
        require(value.lower() == b'100-continue', 'expect', 417)


def head_of(data):
    """(start line, field lines, bytes used)"""
    require(data[:1] not in (b'\r', b'\n'), 'no start line')
    end = data.find(b'\r\n\r\n')
    whole = 0 <= end <= PREAMBLE_MAX - 4
    seen = data[:end + 4] if whole else data[:PREAMBLE_MAX]
    require(not re.search(rb'(?<!\r)\n', seen), 'a line end')
    if len(seen) == PREAMBLE_MAX and not whole:
        require(b'\n' in seen, 'size of the start line', 414)
        require(False, 'size of the head', 431)
    require(whole, 'not complete')
    (start, *lines) = data[:end].split(b'\r\n')
    return (start, lines, end + 4)


# --------------------------------------------------------------------- heads

@dataclass
class Request:
    method: str
    uri: str
    path: list
    query: str | None
    headers: dict
    framing: tuple  # ('none',), ('length', 5), ('chunked',), ('until-close',)
    close: bool
    used: int


@dataclass
class Response:
    status: int
    reason: str
    headers: dict
    framing: tuple
    close: bool
    used: int


def decoded(part):
    return re.sub(rb'%(..)', lambda match: bytes([int(match[1], 16)]), part)


def target_of(target):
    """(path as a list, query or None)"""
    match = TARGET.fullmatch(target)
    require(match, 'target')
    (path, query) = match.groups()
    (*inner, last) = parts = path.split(b'/')[1:]
    require(b'' not in inner, 'an empty part')
    for part in map(decoded, parts):
        require(part not in (b'.', b'..'), 'dots')
        require(not set(part) & set(b'\0/\\'), 'an escape')
    return ([part.decode('ascii') for part in parts] if parts != [b''] else [],
            None if query is None else query.decode('ascii'))


def framing_of(fields):
    """What the fields say, and the fields that are left to be shown."""
    if fields.has('transfer-encoding'):
        return (('chunked',), fields)
    if fields.has('content-length'):
        length = length_of(fields.value('content-length'))
        if length:
            return (('length', length), fields)
        return (('none',), fields.without('content-length'))
    return (None, fields)


def request_line_of(line):
    """(method, target)"""
    method = token_at(line)
    (rest, space) = (line[len(method) + 1:], line[len(method):len(method) + 1])
    require(method and space == b' ', 'method')
    method = method.decode('ascii')
    require(method in METHODS, 'a method that is not known', 501)
    (target, space, version) = rest.partition(b' ')
    target_of(target)
    require(space, 'two parts')
    require(re.match(rb'HTTP/[0-9]\.[0-9]', version), 'version')
    require(version[:8] == b'HTTP/1.1', 'another version', 505)
    require(len(version) == 8, 'more than three parts')
    return (method, target)


def request_of(data):
    (line, lines, used) = head_of(data)
    (method, target) = request_line_of(line)
    (path, query) = target_of(target)
    fields = fields_of(lines)
    require(not fields.has('content-range'), 'content-range in a request')
    (framing, shown) = framing_of(fields)
    framing = framing or ('none',)
    if framing != ('none',):
        require(method in WITH_BODY, 'a body with this method')
        require(not fields.has('range'), 'range with a body')
    ranged = range_of(fields.value('range')) if fields.has('range') else None
    return Request(method, target.decode('ascii'), path, query,
                   shown.shown().headers(range=ranged), framing,
                   'close' in fields.options(), used)


def response_of(data, method):
    (line, lines, used) = head_of(data)
    fields = fields_of(lines)
    match = re.fullmatch(rb'HTTP/1\.([01]) ([1-5][0-9][0-9]) (' + VALUE + b')',
                         line)
    require(match, 'status line')
    (old, status) = (match[1] == b'0', int(match[2]))
    require(not fields.has('range'), 'range in a response')
    coded = fields.has('transfer-encoding')
    require(not (old and coded), 'a coding in HTTP/1.0')
    (framing, shown) = framing_of(fields)
    if status < 200:
        require(framing is None and not fields.has('content-length'),
                'an interim response with a body')
        framing = ('none',)
    elif status == 204:
        shown = fields.without('content-length', 'transfer-encoding')
        framing = ('none',)
    elif method == 'HEAD' or status == 304:
        (shown, framing) = (fields, ('none',))
    else:
        framing = framing or ('until-close',)
    ranged = content_range_of(fields.value('content-range')) \
        if fields.has('content-range') else None
    return Response(status, match[3].decode('ascii'),
                    shown.shown().headers(content_range=ranged), framing,
                    old or 'close' in fields.options(), used)


# -------------------------------------------------------------------- bodies

def line_at(data, most, status=400):
    """The first line, without its CR LF; status: of one that is too long."""
    end = data.find(b'\n', 0, most)
    require(end >= 0 or len(data) < most, 'length of a line', status)
    require(end >= 0, 'not complete')
    require(end >= 1 and data[end - 1] == 13, 'a line end')
    return data[:end - 1]


def extension_of(text):
    """The first as (key, value), or None."""
    match = EXTENSION.match(text)
    if match is None:
        return None
    (key, value) = match.groups()
    if value is not None and value.startswith(b'"'):
        value = re.sub(rb'\\(.)', rb'\1', value[1:-1])
    return (key.decode('ascii'),
            None if value is None else value.decode('ascii'))


def trailers_of(data):
    """Bytes used by the trailers and the empty line behind them."""
    (lines, used) = ([], 0)
    while True:
        line = line_at(data[used:], TRAILER_MAX - used, 431)
        used += len(line) + 2
        if not line:
            break
        lines.append(line)
    fields_of(lines, trailer=True)
    return used


def chunks_of(data):
    """(bytes used, how it failed or None, [(extension, data)]): what came
    before a fault has come."""
    (chunks, used) = ([], 0)
    try:
        while True:
            line = line_at(data[used:], CHUNK_LINE_MAX)
            match = CHUNK.fullmatch(line)
            require(match, 'chunk line')
            used += len(line) + 2
            size = int(match[1], 16)
            content = data[used:used + size]
            if size == 0:
                used += trailers_of(data[used:])
                chunks.append((extension_of(match[2]), b''))
                return (used, None, chunks)
            require(size <= CHUNK_MAX, 'size of a chunk', 413)
            require(len(content) == size, 'not complete')
            used += size
            chunks.append((extension_of(match[2]), content))
            require(data[used:used + 2] == b'\r\n', 'the end of a chunk')
            used += 2
    except Refused as fault:
        return (used, fault, chunks)


def body_of(data, framing):
    """(bytes used, how it failed or None, what it holds)"""
    if framing[0] == 'none':
        return (0, None, None)
    if framing[0] == 'chunked':
        return chunks_of(data)
    length = framing[1] if framing[0] == 'length' else len(data)
    fault = None if len(data) >= length else Refused('not complete', 400)
    return (min(length, len(data)), fault, data[:length])


# -------------------------------------------------------------- whole streams

def requests_of(data):
    """([(Request, body) that are good], the Request of a bad body or None,
    how it failed or None)"""
    found = []
    while data:
        try:
            request = request_of(data)
        except Refused as fault:
            return (found, None, fault)
        data = data[request.used:]
        (used, fault, body) = body_of(data, request.framing)
        if fault:
            return (found, request, fault)
        found.append((request, body))
        data = data[used:]
        if request.close:
            break
    return (found, None, None)


def answer_of(data, method):
    """(Response, how its body failed or None, body): the answer to one
    request, interim ones skipped."""
    for _ in range(INTERIM_MAX + 1):
        response = response_of(data, method)
        require(response.status != 101, 'a 101 that nobody asked for')
        data = data[response.used:]
        if response.status >= 200:
            (_, fault, body) = body_of(data, response.framing)
            return (response, fault, body)
    raise Refused('number of interim responses', 0)
