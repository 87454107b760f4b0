# SPDX-License-Identifier: MIT OR 0BSD
"""FilesApp: called directly with requests made by hand, and through sockets
by hand, by curl and by wget."""

import concurrent.futures
import contextlib
import errno
import gc
import hashlib
import html.parser
import io
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import types
import urllib.parse
import warnings

import pytest

from degu.applib import FilesApp
from degu.base import Body, Range, Request, api
from degu.client import Client
from peers import (
    WAIT,
    Answer,
    Running,
    answers,
    dial,
    everything,
    outcome,
    receive_head,
    run_program,
    send_all,
    talk,
    until,
)

# RFC 9110 5.6.7, its example.
THEN = 784111777
IMF = 'Sun, 06 Nov 1994 08:49:37 GMT'
LATER = 'Sun, 06 Nov 1994 08:49:38 GMT'
BEFORE = 'Sun, 06 Nov 1994 08:49:36 GMT'

SECRET = b'This is not in the tree.'
DIGITS = b'0123456789'
BIG = bytes(range(256)) * 1000
PAGE = b'<!DOCTYPE html><title>x</title>'
FILES = {
    'A.txt': b'capital',
    '%41.txt': b'percent',
    '%2e%2e': b'dots',
    '.hidden': b'hidden',
    'big.bin': BIG,
    'digits': DIGITS,
    'empty': b'',
    'exact': BIG[:65536],
    'index.html': PAGE,
    'more': BIG[:65537],
    'names/a b+c&d.txt': b'space',
    'names/<script>alert(1)<': b'script',
    'names/"quotes\' > x': b'quotes',
    'names/%41': b'percent',
    'names/a:b?c#d': b'colon',
    'names/back\\slash': b'backslash',
    'names/gr\xfc\xdf \u65e5\u672c': b'unicode',
    'names/\udcff\udcfe': b'bytes',
    'names/tab\t\nline\x7f\u202e': b'controls',
    'names/www.example.com': b'',
    'names/inner/file.txt': b'inner',
    'sub/deep/er/x.css': b'a {}',
    'with/index.html': PAGE,
    'odd/index.html/file': b'here',
}
LINKS = {
    'link_file': 'digits',
    'link_out': '../secret.txt',
    'link_dir': 'sub',
    'link_up': '..',
    'link_root': '/',
    'dangling': 'nothing',
    'loop_a': 'loop_b',
    'loop_b': 'loop_a',
    'self': 'self',
    'sub/up': '../..',
    'names/link': '../digits',
    'linked/index.html': '../digits',
}


def make_tree(root):
    """The files, below root, and one beside it."""
    for (name, data) in FILES.items():
        os.makedirs(os.path.dirname(root + '/' + name), exist_ok=True)
        with open(root + '/' + name, 'wb') as file:
            file.write(data)
        os.utime(root + '/' + name, (THEN, THEN))
    for (name, target) in LINKS.items():
        os.makedirs(os.path.dirname(root + '/' + name), exist_ok=True)
        os.symlink(target, root + '/' + name)
    with open(os.path.dirname(root) + '/secret.txt', 'wb') as file:
        file.write(SECRET)
    os.mkfifo(root + '/fifo')
    os.mkdir(root + '/pipe')
    os.mkfifo(root + '/pipe/index.html')
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(root + '/socket')


def make_request(uri, method='GET', headers=None, mount=()):
    """What the server would make of it, and of what it would refuse."""
    (path, mark, query) = uri.partition('?')
    parts = [] if path == '/' else path[1:].split('/')
    assert parts[:len(mount)] == list(mount)
    return Request(method, uri, headers or {}, None, list(mount),
                   parts[len(mount):], query if mark else None)


def call(app, uri, method='GET', headers=None, mount=()):
    request = make_request(uri, method, headers, mount)
    (status, reason, headers, body) = app(None, request, api)
    assert headers.get('content-length', 1) is not None
    if method == 'HEAD':
        assert body is None
    if isinstance(body, Body):
        body = body.read()
    headers = {name: str(value) for (name, value) in headers.items()}
    return Answer(status, reason, headers, body or b'')


def ask(address, uri, method='GET', headers=None):
    lines = ['{} {} HTTP/1.1'.format(method, uri), 'connection: close']
    lines += ['{}: {}'.format(*item) for item in (headers or {}).items()]
    data = talk(address, ('\r\n'.join(lines) + '\r\n\r\n').encode('utf-8'))
    (answer,) = answers(data, method)
    assert answer.headers.pop('connection', 'close') == 'close'
    return answer


@pytest.fixture(scope='module')
def served():
    with tempfile.TemporaryDirectory(prefix='degu.') as name:
        root = name + '/tree'
        os.mkdir(root)
        make_tree(root)
        with FilesApp(root) as app, FilesApp(root, listing=True) as lister, \
                Running(app) as running, Running(lister) as listing:
            yield types.SimpleNamespace(
                root=root, app=app, lister=lister, address=running.address,
                listing=listing.address)


@pytest.fixture(params=['call', 'socket'])
def get(request, served):
    """get(uri, method, headers): the Answer, got in both ways."""
    if request.param == 'call':
        return lambda *args, **named: call(served.app, *args, **named)
    return lambda *args, **named: ask(served.address, *args, **named)


@pytest.fixture(params=['call', 'socket'])
def show(request, served):
    """The same for the app that makes listings."""
    if request.param == 'call':
        return lambda *args, **named: call(served.lister, *args, **named)
    return lambda *args, **named: ask(served.listing, *args, **named)


def quote(name):
    return '/' + urllib.parse.quote(os.fsencode(name), safe='/')


def count_descriptors():
    return len(os.listdir('/proc/self/fd'))


# --------------------------------------------------------------- the app itself

@pytest.mark.parametrize('name, error', [
    (b'/', TypeError),
    (None, TypeError),
    (type('Name', (str,), {})('/'), TypeError),
    ('', ValueError),
    ('relative', ValueError),
    ('./relative', ValueError),
    ('/usr/', ValueError),
    ('/usr/../usr', ValueError),
    ('/usr//lib', ValueError),
    ('/usr/./lib', ValueError),
    ('/usr\0', ValueError),
    ('/nothing.here', FileNotFoundError),
    ('/dev/null', NotADirectoryError),
])
def test_dir_name(name, error):
    with pytest.raises(error):
        FilesApp(name)


@pytest.mark.parametrize('listing', [None, 1, 'yes'])
def test_listing_is_bool(listing):
    with pytest.raises(TypeError):
        FilesApp('/usr', listing=listing)


def test_life(folder):
    before = count_descriptors()
    with FilesApp(folder) as app:
        assert repr(app) == 'FilesApp({!r})'.format(folder)
        assert app.dir_name == folder and app.listing is False
        assert os.path.samestat(os.fstat(app.dir_fd), os.stat(folder))
        assert not os.get_inheritable(app.dir_fd)
        assert not hasattr(app, 'on_connect')
        assert count_descriptors() == before + 1
    assert count_descriptors() == before
    assert app.dir_fd == -1
    app.close()
    with pytest.raises(ValueError):
        call(app, '/')
    app = FilesApp(folder)
    assert count_descriptors() == before + 1
    del app
    assert count_descriptors() == before


def test_root_may_be_a_link_and_may_move(folder):
    os.mkdir(folder + '/tree')
    os.symlink('tree', folder + '/link')
    with open(folder + '/tree/x', 'wb') as file:
        file.write(b'there')
    with FilesApp(folder + '/link') as app:
        os.rename(folder + '/tree', folder + '/elsewhere')
        os.unlink(folder + '/link')
        assert call(app, '/x').body == b'there'


def test_close_spares_calls_in_hand(folder):
    with open(folder + '/x', 'wb') as file:
        file.write(BIG)
    app = FilesApp(folder)
    before = count_descriptors()
    body = app(None, make_request('/x'), api)[3]
    app.close()
    assert count_descriptors() == before
    assert body.read() == BIG
    del body
    assert count_descriptors() == before - 1


@pytest.mark.parametrize('method', [
    'PUT', 'POST', 'PATCH', 'DELETE', 'OPTIONS'])
def test_method(get, method):
    for uri in ('/digits', '/', '/nothing', '/..%3b'):
        answer = get(uri, method)
        assert answer.status == 405
        assert answer.headers['allow'] == 'GET, HEAD'
        assert answer.body == b''


def test_method_with_body(served):
    data = talk(served.address, b'PUT /digits HTTP/1.1\r\n'
                b'content-length: 3\r\n\r\nabc')
    (answer,) = answers(data)
    assert answer.status == 405 and answer.headers['allow'] == 'GET, HEAD'


# ------------------------------------------------------------ the way to a file

@pytest.mark.parametrize('name', sorted(FILES))
def test_files(get, name):
    """All of them by their names but the one that no path leads to."""
    answer = get(quote(name))
    if '\\' in name:
        assert answer.status == 400
        return
    assert answer[:2] == (200, 'OK')
    assert answer.body == FILES[name]
    assert answer.headers['accept-ranges'] == 'bytes'
    assert answer.headers['x-content-type-options'] == 'nosniff'
    assert answer.headers['last-modified'] == IMF
    assert 'content-encoding' not in answer.headers


@pytest.mark.parametrize('uri, body', [
    ('/', PAGE),
    ('/?x=1', PAGE),
    ('/?', PAGE),
    ('/digits?..', DIGITS),
    ('/d%69gits', DIGITS),
    ('/%64%69%67%69%74%73', DIGITS),
    ('/%41.txt', b'capital'),
    ('/%2541.txt', b'percent'),
    ('/%252541.txt', b''),
    ('/with/', PAGE),
    ('/sub/deep/er/x.css', b'a {}'),
])
def test_names(get, uri, body):
    answer = get(uri)
    assert answer.status == (200 if body else 404)
    assert answer.body == body


REFUSED = [
    '/.', '/..', '/./', '/../', '/./digits', '/../secret.txt',
    '/sub/../digits', '/sub/..', '/sub/.', '/sub/../../secret.txt',
    '/%2e%2e/secret.txt', '/%2E%2E/secret.txt', '/.%2e/secret.txt',
    '/.%2E/secret.txt', '/%2e./secret.txt', '/%2e', '/%2e/', '/%2e%2e',
    '/%2e%2e/', '/sub/%2e%2e/%2e%2e/secret.txt', '/sub/%2e/deep',
    '/..%2fsecret.txt', '/..%2Fsecret.txt', '/%2e%2e%2fsecret.txt',
    '/..%5csecret.txt', '/..%5Csecret.txt', '/..\\secret.txt',
    '/sub%2fdeep/er/x.css', '/sub%5cdeep', '/%2f', '/%2fetc%2fpasswd',
    '/%5c', '//', '//etc/passwd', '//digits', '/sub//deep/', '/sub//',
    '/sub/deep//er', '/digits//', '/%00', '/digits%00', '/digits%00.html',
    '/%00/../secret.txt', '/sub%00/deep', '/%', '/%2', '/%zz', '/digits%',
    '/%u002e%u002e/secret.txt', '/a\x01b', '/a\x7fb', '/\xe4', '/a"b',
    '/<script>', '/a|b', '/a^b', '/a`b', '/{a}', '/[a]',
]


@pytest.mark.parametrize('uri', REFUSED)
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_refused(get, uri, method):
    answer = get(uri, method)
    assert (answer.status, answer.body) == (400, b'')


@pytest.mark.parametrize('uri', REFUSED[:40])
def test_refused_below_a_router(served, uri):
    """An app of its own, whatever the server in front of it lets through."""
    assert call(served.app, '/static' + uri, mount=['static']).status == 400


@pytest.mark.parametrize('part', [
    '/etc/passwd', '../secret.txt', 'sub/deep', '\0', 'digits\n', '\udcff',
    '\u2025', '\uff0e\uff0e', 'digits?', 'digits#x', ' digits', ''])
def test_refused_as_a_part(served, part):
    """What no server would make of a target."""
    for path in ([part, 'x'], ['sub', part, ''], ['sub', part, 'x']):
        request = Request('GET', '/x', {}, None, [], path, None)
        assert served.app(None, request, api)[0] == 400


MISSING = [
    '/nothing', '/nothing/', '/nothing/at/all', '/digits/', '/digits/x',
    '/digits/x/', '/empty/', '/DIGITS', '/digits%20', '/%20', '/%0d%0a',
    '/%252e%252e/secret.txt', '/%252fetc', '/%c0%ae%c0%ae/secret.txt',
    '/%c0%ae%c0%ae%c0%afsecret.txt', '/%e0%80%ae%e0%80%ae/secret.txt',
    '/%ef%bc%8e%ef%bc%8e/secret.txt', '/..;/secret.txt', '/..%3b/secret.txt',
    '/..%20/secret.txt', '/.../secret.txt', '/..../secret.txt', '/~root/',
    '/~/', '/C:/', '/file:', '/data:text,x', '/proc/self/environ',
    '/' + 256 * 'a', '/' + 256 * 'a' + '/', '/sub/' + 5000 * '%61',
    '/' + 2500 * 'a/', '/' + 2000 * 'sub/',
    '/fifo', '/fifo/', '/fifo/x', '/socket', '/socket/', '/pipe/',
    '/linked/', '/sub/', '/names/', '/odd/',
    *('/' + name for name in sorted(LINKS)),
    *('/' + name + '/' for name in sorted(LINKS)),
    '/link_dir/deep/er/x.css', '/link_up/secret.txt', '/link_up/tree/digits',
    '/link_root/etc/passwd', '/sub/up/digits',
    '/loop_a/x',
]


@pytest.mark.parametrize('uri', MISSING)
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_missing(get, uri, method):
    answer = get(uri, method)
    assert answer[:2] == (404, 'Not Found')
    assert answer.headers.get('content-length', '0') == '0'
    assert answer.body == b''


def test_device():
    """Devices stand where they stand; none is opened, see below."""
    with FilesApp('/dev') as app:
        for name in ('null', 'zero', 'tty', 'random'):
            if os.path.exists('/dev/' + name):
                assert call(app, '/' + name).status == 404


def test_specials_are_not_opened(served, monkeypatch):
    opened = []
    real = os.open

    def spy(name, *args, **named):
        opened.append(name)
        return real(name, *args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'open', spy)
        for uri in ('/fifo', '/socket', '/link_file', '/pipe/'):
            assert call(served.app, uri).status == 404
    assert opened == [b'pipe']


@pytest.mark.parametrize('name', ['fifo', 'socket', 'link_file', 'link_root'])
def test_replaced_at_the_last_moment(served, monkeypatch, name):
    """What was a file when looked at: no link is followed, nothing waits."""
    real = os.stat
    with monkeypatch.context() as patch:
        patch.setattr(os, 'stat', lambda *args, **named: real(
            served.root + '/digits'))
        assert call(served.app, '/' + name).status == 404


@pytest.mark.parametrize('number, expected', [
    (errno.EACCES, 403),
    (errno.EPERM, 403),
    (errno.ENOENT, 404),
    (errno.ENOTDIR, 404),
    (errno.ELOOP, 404),
    (errno.ENAMETOOLONG, 404),
    (errno.ENXIO, 404),
    (errno.ENODEV, 404),
    (errno.EMFILE, None),
    (errno.ENFILE, None),
    (errno.EIO, None),
    (errno.ENOMEM, None),
])
def test_errors(served, monkeypatch, number, expected):
    def fail(*args, **named):
        raise OSError(number, os.strerror(number))

    before = count_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, 'open', fail)
        if expected is None:
            with pytest.raises(OSError) as caught:
                call(served.app, '/sub/deep/er/x.css')
            assert caught.value.errno == number
            del caught
        else:
            answer = call(served.app, '/sub/deep/er/x.css')
            assert answer[2:] == ({}, b'') and answer.status == expected
    assert count_descriptors() == before


UNPRIVILEGED = '''
import os
import sys
from degu.applib import FilesApp
from degu.base import Request, api
if os.getuid() == 0:
    try:
        os.setgroups([])
        os.setuid(65534)
    except PermissionError:
        sys.exit(77)
app = FilesApp(sys.argv[1], listing=True)
for uri in sys.argv[2:]:
    path = [] if uri == '/' else uri[1:].split('/')
    request = Request('GET', uri, {}, None, [], path, None)
    print(app(None, request, api)[0])
'''


def test_permissions(folder):
    os.chmod(folder, 0o755)
    for name in ('file', 'dir/file', 'dir/index.html', 'page/index.html'):
        os.makedirs(os.path.dirname(folder + '/' + name), exist_ok=True)
        with open(folder + '/' + name, 'wb') as file:
            file.write(DIGITS)
    os.chmod(folder + '/file', 0)
    os.chmod(folder + '/page/index.html', 0)
    os.chmod(folder + '/dir', 0)
    try:
        (status, output, errors) = outcome(
            UNPRIVILEGED, folder, '/', '/file', '/file/', '/dir', '/dir/',
            '/dir/file', '/dir/nothing', '/page', '/page/')
    finally:
        os.chmod(folder + '/dir', 0o755)
    if status == 77:
        pytest.skip('root here may not become another user')
    assert (status, errors) == (0, '')
    assert [int(line) for line in output.split()] == [
        200, 403, 403, 403, 403, 403, 403, 301, 403]


# ------------------------------------------------------------------ directories

@pytest.mark.parametrize('uri, location', [
    ('/sub', '/sub/'),
    ('/sub?', '/sub/?'),
    ('/sub?a=1&b=//x?y', '/sub/?a=1&b=//x?y'),
    ('/sub?/', '/sub/?/'),
    ('/s%75b', '/s%75b/'),
    ('/sub/deep', '/sub/deep/'),
    ('/with', '/with/'),
    ('/odd/index.html', '/odd/index.html/'),
])
@pytest.mark.parametrize('method', ['GET', 'HEAD'])
def test_redirect(get, show, uri, location, method):
    for answer in (get(uri, method), show(uri, method)):
        assert answer[:2] == (301, 'Moved Permanently')
        assert answer.headers.pop('content-length', '0') == '0'
        assert answer.headers == {'location': location}


@pytest.mark.parametrize('uri, mount, location', [
    ('/static', ['static'], '/static/'),
    ('/static?q', ['static'], '/static/?q'),
    ('/static/sub', ['static'], '/static/sub/'),
    ('//evil.example', ['', 'evil.example'], '/evil.example/'),
    ('//evil.example/sub', ['', 'evil.example'], '/evil.example/sub/'),
    ('///evil.example/sub', ['', '', 'evil.example'], '/evil.example/sub/'),
    ('/\\evil.example/sub', ['\\evil.example'], '/evil.example/sub/'),
])
def test_redirect_below_a_router(served, uri, mount, location):
    """Never to another host, whatever the target looks like."""
    answer = call(served.app, uri, mount=mount)
    assert (answer.status, answer.headers['location']) == (301, location)


def test_index_below_a_router(served):
    assert call(served.app, '/static/', mount=['static']).body == PAGE
    assert call(served.app, '/static/', mount=['static', '']).body == PAGE
    answer = call(served.app, '/static/sub//', mount=['static'])
    assert answer.status == 400


class Links(html.parser.HTMLParser):
    """[(link, text)] of a page, which must have no other elements than a
    listing has."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.link = None
        self.title = ''
        self.inside = []
        self.feed(page.decode('utf-8'))
        self.close()
        assert self.inside == []

    def handle_starttag(self, tag, attributes):
        assert tag in ('html', 'head', 'meta', 'title', 'body', 'h1', 'ul',
                       'li', 'a')
        if tag != 'meta':
            self.inside.append(tag)
        if tag == 'a':
            ((name, link),) = attributes
            assert name == 'href'
            self.found.append((link, ''))

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        if self.inside[-1:] == ['a']:
            (link, text) = self.found.pop()
            self.found.append((link, text + data))
        if self.inside[-1:] == ['title']:
            self.title += data


def test_listing(show):
    answer = show('/names/')
    assert answer[:2] == (200, 'OK')
    assert answer.headers['content-type'] == 'text/html; charset=utf-8'
    assert answer.headers['x-content-type-options'] == 'nosniff'
    assert answer.body.startswith(b'<!DOCTYPE html>\n')
    page = Links(answer.body)
    assert page.title == '/names/'
    assert page.found == [
        ('../', '../'),
        ('%22quotes%27%20%3E%20x', '"quotes\' > x'),
        ('%2541', '%41'),
        ('%3Cscript%3Ealert%281%29%3C', '<script>alert(1)<'),
        ('a%20b%2Bc%26d.txt', 'a b+c&d.txt'),
        ('a%3Ab%3Fc%23d', 'a:b?c#d'),
        ('gr%C3%BC%C3%9F%20%E6%97%A5%E6%9C%AC', 'gr\xfc\xdf \u65e5\u672c'),
        ('inner/', 'inner/'),
        ('tab%09%0Aline%7F%E2%80%AE', 'tab\ufffd\ufffdline\ufffd\ufffd'),
        ('www.example.com', 'www.example.com'),
        ('%FF%FE', '\ufffd\ufffd'),
    ]
    for (link, _) in page.found[1:]:
        name = os.fsdecode(urllib.parse.unquote_to_bytes(link))
        answer = show(urllib.parse.urljoin('/names/', link))
        assert answer.status == 200
        if link != 'inner/':
            assert answer.body == FILES['names/' + name]


def test_listing_is_not_shown_by_links_and_specials(show):
    assert Links(show('/linked/').body).found == [('../', '../')]
    assert Links(show('/pipe/').body).found == [('../', '../')]
    assert Links(show('/odd/').body).found == [
        ('../', '../'), ('index.html/', 'index.html/')]
    assert Links(show('/sub/').body).found == [
        ('../', '../'), ('deep/', 'deep/')]
    assert show('/').body == PAGE


def test_listing_of_the_root(folder):
    for name in ('b', 'a', 'c/d'):
        os.makedirs(folder + '/' + name)
    with FilesApp(folder, listing=True) as app:
        expected = [('a/', 'a/'), ('b/', 'b/'), ('c/', 'c/')]
        assert Links(call(app, '/').body).found == expected
        assert Links(call(app, '/x/', mount=['x']).body).found == expected
        assert Links(call(app, '/x/', mount=['x', '']).body).found == expected
        assert call(app, '/a/', 'HEAD').headers['content-length'] == str(
            len(call(app, '/a/').body))


def test_listings_at_a_time(folder):
    """A descriptor's place in the directory must not be shared."""
    for number in range(3000):
        with open(folder + '/%04d' % number, 'wb'):
            pass
    with FilesApp(folder, listing=True) as app, \
            concurrent.futures.ThreadPoolExecutor(8) as pool:
        pages = set(pool.map(lambda _: call(app, '/').body, range(40)))
    (page,) = pages
    assert len(Links(page).found) == 3000


# ------------------------------------------------------------------------ types

TYPES = {
    'a.html': 'text/html; charset=utf-8',
    'a.HTM': 'text/html; charset=utf-8',
    'a.css': 'text/css; charset=utf-8',
    'a.js': 'text/javascript; charset=utf-8',
    'a.mjs': 'text/javascript; charset=utf-8',
    'a.txt': 'text/plain; charset=utf-8',
    'a.csv': 'text/csv; charset=utf-8',
    'a.json': 'application/json',
    'a.svg': 'image/svg+xml',
    'a.png': 'image/png',
    'a.jpg': 'image/jpeg',
    'a.gif': 'image/gif',
    'a.webp': 'image/webp',
    'a.ico': 'image/vnd.microsoft.icon',
    'a.mp4': 'video/mp4',
    'a.webm': 'video/webm',
    'a.wasm': 'application/wasm',
    'a.woff2': 'font/woff2',
    'a.wav': 'audio/wav',
    'a.bmp': 'image/bmp',
    'a.vtt': 'text/vtt; charset=utf-8',
    'a.md': 'text/markdown; charset=utf-8',
    'a.pdf': 'application/pdf',
    'a.tar': 'application/x-tar',
    'a.tar.gz': 'application/gzip',
    'a.tgz': 'application/gzip',
    'a.txt.gz': 'application/gzip',
    'a.html.xz': 'application/x-xz',
    'a.css.br': 'application/octet-stream',
    'a.tar.bz2': 'application/x-bzip2',
    'a.zip': 'application/zip',
    'a.html.': 'application/octet-stream',
    'a.unknown': 'application/octet-stream',
    '.html': 'application/octet-stream',
    'html': 'application/octet-stream',
    'a.html b': 'application/octet-stream',
    'data:text': 'application/octet-stream',
    'data:text,a.png': 'image/png',
    'http:[a.png': 'image/png',
    '\udcff.css': 'text/css; charset=utf-8',
}

ODD_TYPES = '''
import mimetypes
import sys
mimetypes.knownfiles[:] = [sys.argv[1] + '/mime.types']
mimetypes.init()
assert mimetypes.guess_type('a.css')[0] == 'text/odd'
mimetypes.add_type('text/odd', '.png')
from degu.applib import FilesApp
from degu.base import Request, api
app = FilesApp(sys.argv[1])
for name in ('a.css', 'a.png', 'a.odd'):
    request = Request('GET', '/' + name, {}, None, [], [name], None)
    print(app(None, request, api)[2]['content-type'])
'''


def test_types(folder):
    with FilesApp(folder) as app:
        for (name, expected) in TYPES.items():
            with open(folder + '/' + name, 'wb') as file:
                file.write(b'x')
            answer = call(app, quote(name))
            assert (name, answer.headers['content-type']) == (name, expected)
            assert 'content-encoding' not in answer.headers


def test_types_of_the_machine(folder):
    with open(folder + '/mime.types', 'w') as file:
        file.write('text/odd css odd\n')
    for name in ('a.css', 'a.png', 'a.odd'):
        with open(folder + '/' + name, 'wb'):
            pass
    (status, output, errors) = outcome(ODD_TYPES, folder)
    assert (status, errors) == (0, '')
    assert output.split('\n') == [
        'text/css; charset=utf-8', 'image/png', 'application/octet-stream', '']


# ------------------------------------------------------------------- conditions

CONDITIONS = [
    ({}, 200),
    ({'if-match': '*'}, 200),
    ({'if-match': '{etag}'}, 200),
    ({'if-match': '"x", {etag}'}, 200),
    ({'if-match': '"x",{etag} , "y"'}, 200),
    ({'if-match': '"a,b", , {etag}'}, 200),
    ({'if-match': 'W/{etag}'}, 412),
    ({'if-match': '"x"'}, 412),
    ({'if-match': '"*"'}, 412),
    ({'if-match': ''}, 412),
    ({'if-match': 'nonsense'}, 412),
    ({'if-match': '{etag}', 'if-unmodified-since': BEFORE}, 200),
    ({'if-match': '"x"', 'if-unmodified-since': LATER}, 412),
    ({'if-match': '"x"', 'if-none-match': '{etag}'}, 412),
    ({'if-match': '{etag}', 'if-none-match': '{etag}'}, 304),
    ({'if-unmodified-since': IMF}, 200),
    ({'if-unmodified-since': LATER}, 200),
    ({'if-unmodified-since': BEFORE}, 412),
    ({'if-unmodified-since': 'nonsense'}, 200),
    ({'if-unmodified-since': BEFORE, 'if-none-match': '*'}, 412),
    ({'if-none-match': '*'}, 304),
    ({'if-none-match': '{etag}'}, 304),
    ({'if-none-match': 'W/{etag}'}, 304),
    ({'if-none-match': '"x", W/"y", {etag}'}, 304),
    ({'if-none-match': '"x"'}, 200),
    ({'if-none-match': 'W/"x"'}, 200),
    ({'if-none-match': ''}, 200),
    ({'if-none-match': 'nonsense'}, 200),
    ({'if-none-match': '"x"', 'if-modified-since': IMF}, 200),
    ({'if-none-match': '{etag}', 'if-modified-since': BEFORE}, 304),
    ({'if-modified-since': IMF}, 304),
    ({'if-modified-since': LATER}, 304),
    ({'if-modified-since': BEFORE}, 200),
    ({'if-modified-since': 'Sunday, 06-Nov-94 08:49:37 GMT'}, 304),
    ({'if-modified-since': 'Sunday, 06-Nov-94 08:49:36 GMT'}, 200),
    ({'if-modified-since': 'Sun Nov  6 08:49:37 1994'}, 304),
    ({'if-modified-since': 'Sun Nov  6 08:49:36 1994'}, 200),
    ({'if-modified-since': 'Wednesday, 01-Jan-20 00:00:00 GMT'}, 304),
    ({'if-modified-since': 'Sat, 31 Dec 2016 23:59:60 GMT'}, 304),
    ({'if-modified-since': 'Fri, 31 Dec 9999 23:59:59 GMT'}, 304),
    ({'if-modified-since': 'Sat, 01 Jan 0001 00:00:00 GMT'}, 200),
    # What is no HTTP-date is ignored.
    ({'if-modified-since': ''}, 200),
    ({'if-modified-since': '1800000000'}, 200),
    ({'if-modified-since': 'Sun, 06 Nov 1994 08:49:37'}, 200),
    ({'if-modified-since': 'Sun, 06 Nov 1994 08:49:37 +0000'}, 200),
    ({'if-modified-since': 'Sun, 06 Nov 1994 08:49:37 gmt'}, 200),
    ({'if-modified-since': 'Sun, 6 Nov 1994 08:49:37 GMT'}, 200),
    ({'if-modified-since': 'Sun, 31 Feb 2024 08:49:37 GMT'}, 200),
    ({'if-modified-since': 'Sun, 06 Nov 2024 24:49:37 GMT'}, 200),
    ({'if-modified-since': 'Sun, 06 Nov 2024 08:49:61 GMT'}, 200),
    ({'if-modified-since': 'Sun, 06 Nov 0000 08:49:37 GMT'}, 200),
    ({'if-modified-since': 'Son, 06 Nov 2024 08:49:37 GMT'}, 200),
    ({'if-modified-since': 'Sun, 06 Nov 2024 08:49:37 GMT x'}, 200),
    ({'if-modified-since': IMF + ', ' + IMF}, 200),
]


@pytest.mark.parametrize('headers, status', CONDITIONS)
@pytest.mark.parametrize('name', ['/digits', '/big.bin', '/empty'])
def test_conditions(get, name, headers, status):
    plain = get(name)
    etag = plain.headers['etag']
    assert etag[0] == etag[-1] == '"' and len(etag) > 8
    headers = {key: value.replace('{etag}', etag)
               for (key, value) in headers.items()}
    for method in ('GET', 'HEAD'):
        answer = get(name, method, headers)
        assert answer.status == status
        if status == 200:
            assert answer.headers['etag'] == etag
            assert answer.body == (plain.body if method == 'GET' else b'')
        else:
            assert answer.body == b''
        if status == 304:
            # A Validator wants the length in all that answers HEAD.
            length = answer.headers.pop('content-length', None)
            assert length == (str(len(plain.body)) if method == 'HEAD'
                              else None)
            assert answer.headers == {'etag': etag, 'last-modified': IMF}


@pytest.mark.parametrize('uri, status', [
    ('/nothing', 404), ('/sub', 301), ('/names/', 200)])
def test_conditions_elsewhere(show, uri, status):
    """RFC 9110 13.2.1: they are for what would be a success."""
    for headers in ({'if-match': '"x"'}, {'if-none-match': '*'},
                    {'if-modified-since': LATER}, {'range': 'bytes=0-0'}):
        assert show(uri, 'GET', headers).status == status


def test_etag_changes(folder):
    def look():
        return call(app, '/x').headers['etag']

    with FilesApp(folder) as app:
        seen = []
        for (data, ns) in ((b'a', 1), (b'ab', 1), (b'ab', 2)):
            with open(folder + '/x', 'wb') as file:
                file.write(data)
            os.utime(folder + '/x', ns=(ns, ns))
            seen += [look(), look()]
        assert seen[::2] == seen[1::2]
        shutil.copy(folder + '/x', folder + '/y')
        os.utime(folder + '/y', ns=(2, 2))
        os.replace(folder + '/y', folder + '/x')
        assert len({*seen, look()}) == 4


@pytest.mark.parametrize('seconds, year', [
    (-2**31, '1970'), (-1, '1970'), (0, '1970'), (2**31, None),
    (2**33, None)])
def test_odd_times(folder, seconds, year):
    """RFC 9110 8.8.2.1: no date in the future, even if the file has one."""
    with open(folder + '/x', 'wb'):
        pass
    os.utime(folder + '/x', (seconds, seconds))
    with FilesApp(folder) as app:
        date = call(app, '/x').headers['last-modified']
        if year:
            assert date == 'Thu, 01 Jan 1970 00:00:00 GMT'
            assert call(app, '/x', headers={
                'if-modified-since': date}).status == 304
        else:
            assert date.split()[3] < '2038'


# ----------------------------------------------------------------------- ranges

RANGES = [
    ('bytes=0-0', 0, 1),
    ('bytes=0-9', 0, 10),
    ('bytes=2-4', 2, 5),
    ('bytes=9-9', 9, 10),
    ('bytes=9-99', 9, 10),
    ('bytes=5-9999999999999999', 5, 10),
    ('bytes=5-9999999999999999999', 5, 10),
    ('bytes=0-', 0, 10),
    ('bytes=4-', 4, 10),
    ('bytes=9-', 9, 10),
    ('bytes=04-06', 4, 7),
    ('bytes=-1', 9, 10),
    ('bytes=-10', 0, 10),
    ('bytes=-11', 0, 10),
    ('bytes=-9999999999999999999', 0, 10),
    ('Bytes=4-', 4, 10),
    ('bytes=10-', 10, 10),
    ('bytes=10-12', 10, 10),
    ('bytes=9999999999999999-', 10, 10),
    ('bytes=9999999999999999998-9999999999999999999', 10, 10),
    ('bytes=-0', 10, 10),
    # All else is ignored.
    ('bytes=5-4', 0, 0),
    ('bytes=-', 0, 0),
    ('bytes=', 0, 0),
    ('bytes', 0, 0),
    ('', 0, 0),
    ('bytes=0-1,3-4', 0, 0),
    ('bytes=0-1,', 0, 0),
    ('bytes= 0-1', 0, 0),
    ('bytes=0 -1', 0, 0),
    ('bytes =0-1', 0, 0),
    ('bytes=0-1 x', 0, 0),
    ('bytes=a-b', 0, 0),
    ('bytes=+1-2', 0, 0),
    ('bytes=1_0-', 0, 0),
    ('bytes=--1', 0, 0),
    ('bytes=0x1-', 0, 0),
    ('bytes=' + 5000 * '9' + '-', 0, 0),
    ('items=0-1', 0, 0),
]


@pytest.mark.parametrize('text, start, stop', RANGES)
def test_ranges(get, text, start, stop):
    """start == stop: not satisfiable at 10, ignored at 0."""
    answer = get('/digits', 'GET', {'range': text})
    if start < stop:
        assert answer[:2] == (206, 'Partial Content')
        assert answer.headers['content-range'] == 'bytes {}-{}/10'.format(
            start, stop - 1)
        assert answer.body == DIGITS[start:stop]
        assert answer.headers['etag'] and answer.headers['last-modified']
        assert answer.headers['content-type'] == 'application/octet-stream'
    elif start == 10:
        assert answer[:2] == (416, 'Range Not Satisfiable')
        assert answer.headers['content-range'] == 'bytes */10'
        assert answer.body == b''
    else:
        assert answer.status == 200 and answer.body == DIGITS
        assert 'content-range' not in answer.headers
    head = get('/digits', 'HEAD', {'range': text})
    assert head.status == 200 and 'content-range' not in head.headers
    assert head.headers['content-length'] == '10'
    assert get('/empty', 'GET', {'range': text}).status == (
        416 if stop else 200)


def test_range_value(served):
    answer = call(served.app, '/digits', headers={'range': Range(2, 99)})
    assert answer.status == 206 and answer.body == DIGITS[2:]
    response = served.app(None, make_request(
        '/digits', headers={'range': Range(2, 99)}), api)
    assert response[2]['content-range'] == api.ContentRange(2, 10, 10)


@pytest.mark.parametrize('text, start, stop', [
    ('bytes=0-65535', 0, 65536),
    ('bytes=0-65536', 0, 65537),
    ('bytes=1-', 1, len(BIG)),
    ('bytes=100000-', 100000, len(BIG)),
    ('bytes=-70000', len(BIG) - 70000, len(BIG)),
    ('bytes=-1', len(BIG) - 1, len(BIG)),
    ('bytes=100-200099', 100, 200100),
    ('bytes=0-9999999', 0, len(BIG)),
])
def test_ranges_of_a_large_file(get, text, start, stop):
    answer = get('/big.bin', 'GET', {'range': text})
    assert answer.status == 206
    assert answer.headers['content-range'] == 'bytes {}-{}/{}'.format(
        start, stop - 1, len(BIG))
    assert answer.body == BIG[start:stop]


@pytest.mark.parametrize('condition, holds', [
    ('{etag}', True),
    (IMF, True),
    ('Sun Nov  6 08:49:37 1994', True),
    ('W/{etag}', False),
    ('"x"', False),
    ('*', False),
    ('', False),
    (BEFORE, False),
    (LATER, False),
    ('nonsense', False),
])
def test_if_range(get, condition, holds):
    etag = get('/digits', 'HEAD').headers['etag']
    headers = {'range': 'bytes=2-4',
               'if-range': condition.replace('{etag}', etag)}
    answer = get('/digits', 'GET', headers)
    assert answer.status == (206 if holds else 200)
    assert answer.body == (DIGITS[2:5] if holds else DIGITS)
    headers['range'] = 'bytes=20-'
    assert get('/digits', 'GET', headers).status == (416 if holds else 200)
    del headers['range']
    assert get('/digits', 'GET', headers).status == 200


@pytest.mark.parametrize('headers, status', [
    ({'if-none-match': '{etag}'}, 304),
    ({'if-match': '"x"'}, 412),
    ({'if-match': '{etag}'}, 206),
    ({'if-modified-since': IMF}, 304),
    ({'if-unmodified-since': IMF}, 206),
    ({'if-unmodified-since': BEFORE, 'if-range': '{etag}'}, 412),
])
def test_range_and_conditions(get, headers, status):
    etag = get('/digits', 'HEAD').headers['etag']
    headers = {key: value.replace('{etag}', etag)
               for (key, value) in headers.items()}
    headers['range'] = 'bytes=2-4'
    assert get('/digits', 'GET', headers).status == status


# ------------------------------------------------------------------------- HEAD

@pytest.mark.parametrize('uri', [
    '/', '/digits', '/empty', '/exact', '/more', '/big.bin', '/names/',
    '/with', '/with/', '/sub/', '/nothing', '/fifo', '/link_file', '/..',
    '/%41.txt'])
def test_head(served, uri):
    """HEAD says what GET says, on the wire, listings and errors included."""
    for address in (served.address, served.listing):
        got = ask(address, uri)
        head = ask(address, uri, 'HEAD')
        assert head[:3] == got[:3] and head.body == b''
        assert int(got.headers['content-length']) == len(got.body)


def test_kept_alive(served):
    """One connection for all of it, HEAD, errors and empty files too."""
    conn = Client(served.address).connect()
    for _ in range(3):
        assert conn.get('/empty', {}).body is None
        assert conn.head('/empty', {}).headers['content-length'] == 0
        assert conn.get('/nothing', {}).status == 404
        assert conn.head('/big.bin', {}).body is None
        assert conn.get('/big.bin', {}).body.read() == BIG
        assert conn.get_range('/big.bin', {}, 5, 99999).body.read() == \
            BIG[5:99999]
        assert conn.get('/big.bin', {'if-none-match': '*'}).status == 304
        assert conn.get('/digits', {'range': 'bytes=10-'}).headers == {
            'accept-ranges': 'bytes', 'content-range': 'bytes */10'}
        assert conn.get('/with', {}).status == 301
        assert conn.delete('/digits', {}).status == 405
        assert conn.get('/digits', {}).body.read() == DIGITS
    conn.close()


# ----------------------------------------------------------------- large bodies

def make_large(name, size):
    """size bytes that are not the same everywhere; their digest."""
    digest = hashlib.sha256()
    with open(name, 'wb') as file:
        for number in range(size // 65536):
            piece = hashlib.sha256(b'%d' % number).digest() * 2048
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def test_body(served):
    """The file of a large body is of the type that can be sent faster, it
    warns of nothing and is closed with the body."""
    gc.collect()
    gc.disable()
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter('always')
            for (name, size) in (('/exact', 65536), ('/more', 65537)):
                before = count_descriptors()
                body = served.app(None, make_request(name), api)[3]
                if size == 65536:
                    assert type(body) is bytes and body == BIG[:size]
                    continue
                assert type(body) is Body and body.content_length == size
                assert type(body.rfile) is io.FileIO
                assert body.rfile.tell() == 0
                assert not os.get_inheritable(body.rfile.fileno())
                assert count_descriptors() == before + 1
                del body
                assert count_descriptors() == before
            body = served.app(None, make_request(
                '/big.bin', headers={'range': 'bytes=1000-'}), api)[3]
            assert body.rfile.tell() == 1000
            assert stat.S_ISREG(os.fstat(body.rfile.fileno()).st_mode)
            body.rfile.close()
            del body
            assert count_descriptors() == before
        assert seen == []
    finally:
        gc.enable()


def test_large_file(folder):
    digest = make_large(folder + '/large', 32 << 20)
    with FilesApp(folder) as app, Running(app) as running:
        conn = Client(running.address).connect()
        got = hashlib.sha256()
        for piece in conn.get('/large', {}).body:
            got.update(piece)
        assert got.hexdigest() == digest
        body = conn.get('/large', {'range': 'bytes=-100000'}).body
        with open(folder + '/large', 'rb') as file:
            file.seek(-100000, os.SEEK_END)
            assert body.read() == file.read()
        conn.close()


def is_open(path):
    for number in os.listdir('/proc/self/fd'):
        with contextlib.suppress(OSError):
            if os.readlink('/proc/self/fd/' + number) == path:
                return True
    return False


def begin(address):
    """A connection that has asked for /large twice and got a little."""
    sock = dial(address)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    send_all(sock, b'GET /large HTTP/1.1\r\n\r\n'
             b'GET /last HTTP/1.1\r\nconnection: close\r\n\r\n')
    return (sock, receive_head(sock))


@pytest.mark.parametrize('address', [b'', ('127.0.0.1', 0)])
def test_file_shrinks(folder, address):
    """The end comes before the length that was announced."""
    make_large(folder + '/large', 32 << 20)
    with FilesApp(folder) as app, Running(app, address) as running:
        (sock, data) = begin(running.address)
        with sock:
            os.truncate(folder + '/large', 1 << 20)
            with contextlib.suppress(ConnectionResetError):
                data += everything(sock)
        assert b'content-length: 33554432\r\n' in data
        assert data.count(b'HTTP/1.1 ') == 1
        assert len(data) < 32 << 20


def test_file_grows(folder):
    digest = make_large(folder + '/large', 32 << 20)
    with open(folder + '/last', 'wb') as file:
        file.write(DIGITS)
    with FilesApp(folder) as app, Running(app) as running:
        (sock, data) = begin(running.address)
        with sock:
            with open(folder + '/large', 'ab') as file:
                file.write(BIG)
            (first, last) = answers(data + everything(sock))
        assert hashlib.sha256(first.body).hexdigest() == digest
        assert last.body == DIGITS


def test_small_file_shrinks(served, monkeypatch):
    """Between the look at its size and the reading of it."""
    with monkeypatch.context() as patch:
        patch.setattr(os, 'pread', lambda fd, size, start: b'short')
        with pytest.raises(OSError):
            call(served.app, '/digits')


@pytest.mark.parametrize('address', [b'', ('127.0.0.1', 0)])
def test_client_goes_away(folder, address):
    """No descriptor stays, without the garbage collector's help."""
    make_large(folder + '/large', 32 << 20)
    with FilesApp(folder) as app, Running(app, address) as running:
        gc.collect()
        gc.disable()
        try:
            for _ in range(10):
                (sock, _) = begin(running.address)
                with sock:
                    assert is_open(folder + '/large')
            until(lambda: not is_open(folder + '/large'))
        finally:
            gc.enable()


def test_many_at_a_time(served):
    names = ['digits', 'big.bin', 'empty', 'more', 'exact', 'A.txt',
             'sub/deep/er/x.css', 'with/index.html']
    page = ask(served.listing, '/names/').body
    barrier = threading.Barrier(8)

    def download(number):
        barrier.wait(WAIT)
        conn = Client(served.listing).connect()
        for turn in range(24):
            name = names[(number + turn) % len(names)]
            response = conn.get(quote(name), {})
            body = response.body.read() if response.body else b''
            assert body == FILES[name]
            assert conn.get('/names/', {}).body.read() == page
        conn.close()
        return number

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(download, range(8))) == list(range(8))


# --------------------------------------------------------- clients of the world

@pytest.fixture
def curl(served):
    """curl(*args): (status, headers and body as they came)."""
    if not shutil.which('curl'):
        pytest.skip('needs the package curl')
    with FilesApp(served.root, listing=True) as app, \
            Running(app, ('127.0.0.1', 0)) as running:
        base = 'http://127.0.0.1:{}'.format(running.address[1])

        def run(path, *args):
            done = run_program(
                ['curl', '-q', '--noproxy', '*', '-sS', '--max-time', '20',
                 '-w', '%{stderr}%{http_code}', *args, base + path])
            assert done.returncode == 0, done.stderr
            return (int(done.stderr), done.stdout)

        yield run


def test_curl(curl, folder):
    assert curl('/') == (200, PAGE)
    assert curl('/big.bin') == (200, BIG)
    assert curl('/empty') == (200, b'')
    assert curl('/sub', '-L')[0] == 200
    assert curl('/digits', '-r', '2-4') == (206, b'234')
    assert curl('/digits', '-r', '4-') == (206, b'456789')
    assert curl('/digits', '-r', '-3') == (206, b'789')
    assert curl('/digits', '-r', '0-1,4-5') == (200, DIGITS)
    assert curl('/digits', '-r', '10-')[0] == 416
    assert curl('/digits', '-z', IMF) == (304, b'')
    assert curl('/digits', '-z', BEFORE) == (200, DIGITS)
    assert curl('/digits', '-z', '-' + LATER) == (200, DIGITS)
    assert curl('/digits', '-z', '-' + BEFORE) == (412, b'')
    (status, head) = curl('/big.bin', '-I')
    assert status == 200 and b'content-length: 256000\r\n' in head.lower()
    assert curl('/digits', '-X', 'DELETE')[0] == 405
    assert curl('/digits', '-T', '/dev/null')[0] == 405
    for path in REFUSED[:25]:
        assert curl(path, '--path-as-is')[0] == 400
    etags = folder + '/etag'
    saved = ('--etag-save', etags, '--etag-compare', etags)
    assert curl('/digits', *saved) == (200, DIGITS)
    assert curl('/digits', *saved) == (304, b'')


def test_curl_continues(curl, folder):
    with open(folder + '/part', 'wb') as file:
        file.write(BIG[:100001])
    assert curl('/big.bin', '-C', '-', '-o', folder + '/part') == (206, b'')
    with open(folder + '/part', 'rb') as file:
        assert file.read() == BIG


def wget(folder, *args):
    done = run_program(
        ['wget', '--no-config', '--no-proxy', '--no-iri', '--no-hsts', '-nv',
         '--tries=1', '--timeout=20', '--restrict-file-names=nocontrol',
         *args], cwd=folder, stderr=subprocess.STDOUT)
    return (done.returncode, done.stdout.decode('utf-8', 'replace'))


def collect(root):
    """{name: data} of all files below root."""
    found = {}
    for (place, _, names) in os.walk(os.fsencode(root)):
        for name in names:
            path = os.path.join(place, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, 'rb') as file:
                    found[os.path.relpath(path, os.fsencode(root))] = \
                        file.read()
    return found


def test_wget(served, folder):
    """The tree below a listing, as a whole, and the rest of a file."""
    if not shutil.which('wget'):
        pytest.skip('needs the package wget')
    with FilesApp(served.root, listing=True) as app, \
            Running(app, ('127.0.0.1', 0)) as running:
        base = 'http://127.0.0.1:{}'.format(running.address[1])
        (status, text) = wget(folder, '-r', '-np', '-nH', base + '/names/')
        assert status == 0, text
        with open(folder + '/big.bin', 'wb') as file:
            file.write(BIG[:100001])
        (status, text) = wget(folder, '-c', base + '/big.bin')
        assert status == 0, text
        (status, text) = wget(folder, '-c', base + '/big.bin')
        assert status == 0, text
        (status, text) = wget(folder, '-N', base + '/digits')
        assert status == 0, text
        assert os.stat(folder + '/digits').st_mtime == THEN
        (status, text) = wget(folder, '-N', base + '/digits')
        assert status == 0, text
    got = collect(folder)
    assert got.pop(b'big.bin') == BIG
    assert got.pop(b'digits') == DIGITS
    # It unquotes twice what it makes a file's name of.
    assert {name: data for (name, data) in got.items()
            if not name.endswith(b'/index.html')} == {
                urllib.parse.unquote_to_bytes(os.fsencode(name)): data
                for (name, data) in FILES.items()
                if name.startswith('names/') and '\\' not in name}
