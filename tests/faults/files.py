# SPDX-License-Identifier: MIT OR 0BSD
"""Files: ways out, things that are no files, and files that change meanwhile.

Paths and what they lead to are Python's FilesApp's; sending is both servers'.
"""

import contextlib
import itertools
import os
import socket
import tempfile
import threading
import time

from faults import case
from subjects import GET, Server, read_answer, read_to_end, until

GOOD = b'This is in the tree. '
SECRET = b'This is not in the tree.'
LARGE = b'0123456789abcdef' * (1 << 20)  # 16 MiB, more than sockets hold
LAST = b'GET /last HTTP/1.1\r\nconnection: close\r\n\r\n'
RACE = 1.5  # seconds
AT_ONCE = 0.3


@contextlib.contextmanager
def tree():
    """A folder with one that is served, and one that is not."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ('root', 'root/sub', 'root/sub/sub', 'outside'):
            os.mkdir(folder + '/' + name)
            write(folder + '/' + name + '/data',
                  SECRET if name == 'outside' else GOOD)
        write(folder + '/secret', SECRET)
        yield folder


def write(name, data):
    with open(name, 'wb') as file:
        file.write(data)


def serve(kind, folder, **options):
    return Server(kind, files=folder + '/root', **options)


def raw(server, target):
    """(status, all that came, seconds) for any bytes as a target."""
    with server.connect() as sock:
        begin = time.monotonic()
        sock.sendall(b'GET ' + target + b' HTTP/1.1\r\n'
                     b'connection: close\r\n\r\n')
        data = read_to_end(sock)
        seconds = time.monotonic() - begin
    return (int(data[9:12] or 0), data, seconds)


# ------------------------------------------------------------------ ways out

DOTS = (b'..', b'%2e%2e', b'%2E%2E', b'.%2e', b'%2e.', b'%252e%252e',
        b'%%32%65%%32%65', b'%c0%ae%c0%ae', b'%u002e%u002e', b'..%00', b'..;',
        b'..\0', b'.%00.', b'...', b'\xef\xbc\x8e\xef\xbc\x8e')
SLASHES = (b'/', b'%2f', b'%2F', b'\\', b'%5c', b'%5C', b'%252f', b'%255c',
           b'//', b'/./', b'%c0%af', b'/%2e/')
BEFORE = (b'/', b'/sub/', b'/sub%2f', b'//', b'')


def spellings(folder):
    for (before, dots, slash) in itertools.product(BEFORE, DOTS, SLASHES):
        for depth in (1, 2):
            yield before + (dots + slash) * depth + b'secret'
    for (there, slash) in itertools.product(
            (folder.encode() + b'/secret', b'/etc/passwd'), SLASHES):
        name = there.replace(b'/', slash)
        for before in (b'', b'/', b'http://host', b'http://host/', b'file://',
                       b'/file:', b'/sub', b'/sub/', b'/sub' + slash):
            yield before + name
    for dots in DOTS:
        yield b'http://host/' + dots + b'/secret'


@case('none leads out', 'python server', quick=True)
def dots(kind):
    """Each spelling of .., of a slash and of what is absolute: refused."""
    count = wrong = 0
    with tree() as folder, serve(kind, folder) as server:
        good = server.ask(b'/sub/data') == (200, GOOD) == \
            server.ask(b'/%73ub/d%61ta')
        for target in spellings(folder):
            (status, data, _) = raw(server, target)
            count += 1
            wrong += status not in (400, 404) or SECRET in data or \
                b'root:' in data
        good = good and server.ask(b'/sub/data') == (200, GOOD)
    return (good and not wrong, f'{wrong} of {count}')


@case('none is followed', 'python server', quick=True)
def links(kind):
    """Symbolic links, to files and directories, at the end of a path and in
    the middle, out of the tree and within it."""
    (count, wrong) = (0, 0)
    with tree() as folder, serve(kind, folder) as server:
        for (i, to) in enumerate((
                '../secret', folder + '/secret', '../outside', '..', '/',
                folder, '.', 'sub', 'data', 'sub/data', '/etc', '/proc/self',
                '/dev/stdin', 'link0', 'sub/../../secret', '../root')):
            for place in ('', 'sub/', 'sub/sub/'):
                name = f'{place}link{i}'
                os.symlink(to, f'{folder}/root/{name}')
                for rest in ('', '/', '/data', '/secret', '/root/data',
                             '/sub/data', '/outside/data', '/passwd',
                             '/root' + folder + '/secret'):
                    (status, data, _) = raw(server, f'/{name}{rest}'.encode())
                    count += 1
                    wrong += status != 404 or SECRET in data or GOOD in data
        good = server.ask(b'/sub/sub/data') == (200, GOOD)
    return (good and not wrong, f'{wrong} of {count}')


def swap_files(folder):
    """The file is a link out for a while, each time."""
    name = folder + '/root/sub/data'
    os.symlink(folder + '/secret', folder + '/link')
    os.replace(folder + '/link', name)
    write(folder + '/file', GOOD)
    os.replace(folder + '/file', name)


def swap_folders(folder):
    """The directory in the middle is."""
    name = folder + '/root/sub'
    os.rename(name, folder + '/aside')
    os.symlink(folder + '/outside', name)
    os.unlink(name)
    os.rename(folder + '/aside', name)


def swap_parents(folder):
    """What is open as a directory is moved out of the tree."""
    name = folder + '/root/sub/sub'
    os.rename(name, folder + '/aside')
    os.symlink('../../outside', name)
    os.unlink(name)
    os.rename(folder + '/aside', name)


def swap_pipes(folder):
    """The file is a FIFO."""
    name = folder + '/root/sub/data'
    os.mkfifo(folder + '/fifo')
    os.replace(folder + '/fifo', name)
    write(folder + '/file', GOOD)
    os.replace(folder + '/file', name)


@contextlib.contextmanager
def in_background(act, *args):
    """Again and again, until the end of the block, which must see it done."""
    (done, count) = (threading.Event(), itertools.count())

    def repeat():
        while not done.is_set():
            act(*args)
            next(count)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if next(count) < 100:
        raise RuntimeError('swapped too seldom')


def race(kind, swap, target):
    """(how many were right, missing, other things, the slowest in s)"""
    (right, missing, other, slowest) = (0, 0, 0, 0)
    with tree() as folder, \
            serve(kind, folder, max_requests=1000000) as server:
        with in_background(swap, folder), server.connect() as sock:
            end = time.monotonic() + RACE
            while time.monotonic() < end:
                begin = time.monotonic()
                sock.sendall(GET % target)
                answer = read_answer(sock)
                slowest = max(slowest, time.monotonic() - begin)
                right += answer == (200, GOOD)
                missing += answer == (404, b'')
                other += answer not in ((200, GOOD), (404, b''))
    return (right, missing, other, slowest)


def lost(kind, swap, target):
    (right, missing, other, _) = race(kind, swap, target)
    return (right > 20 and missing > 20 and not other,
            f'{other} of {right + missing + other}')


@case('none leads out', 'python server', quick=True)
def file_becomes_link(kind):
    """For 1.5 s a file and a link out take turns."""
    return lost(kind, swap_files, b'/sub/data')


@case('none leads out', 'python server', quick=True)
def folder_becomes_link(kind):
    """The same with a directory in the middle."""
    return lost(kind, swap_folders, b'/sub/data')


@case('none leads out', 'python server', quick=True)
def deep_folder_becomes_link(kind):
    """The same with the last directory, and a link with dots."""
    return lost(kind, swap_parents, b'/sub/sub/data')


# ----------------------------------------------------------- what is no file

@case('refused in 0.3 s', 'python server', quick=True)
def no_files(kind):
    """FIFOs, sockets, directories, and links to devices."""
    with tree() as folder, serve(kind, folder) as server:
        root = folder + '/root'
        os.mkfifo(root + '/fifo')
        os.mkdir(root + '/with')
        os.mkfifo(root + '/with/index.html')
        os.symlink('/dev/zero', root + '/device')
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(root + '/socket')
        wanted = {b'/fifo': 404, b'/fifo/': 404, b'/fifo/x': 404,
                  b'/with/': 404, b'/socket': 404, b'/socket/': 404,
                  b'/device': 404, b'/sub': 301, b'/sub/': 404, b'/': 404}
        found = {target: raw(server, target) for target in wanted}
    slowest = max(seconds for (_, _, seconds) in found.values())
    good = all(found[target][0] == status
               for (target, status) in wanted.items())
    return (good and slowest < AT_ONCE, f'{slowest:.2f} s')


@case('refused in 0.3 s', 'python server', quick=True)
def devices(kind):
    """/dev itself is served: none of its devices is."""
    names = [name for name in ('null', 'zero', 'full', 'random', 'urandom',
                               'tty', 'ptmx', 'console', 'kmsg')
             if os.path.exists('/dev/' + name)]
    with Server(kind, files='/dev') as server:
        found = [raw(server, b'/' + name.encode()) for name in names]
    slowest = max(seconds for (_, _, seconds) in found)
    return (len(found) > 3 and {status for (status, _, _) in found} == {404}
            and slowest < AT_ONCE, f'{slowest:.2f} s')


@case('none takes 0.3 s', 'python server', quick=True)
def file_becomes_pipe(kind):
    """For 1.5 s a file and a FIFO take turns."""
    (right, missing, other, slowest) = race(kind, swap_pipes, b'/sub/data')
    return (right > 20 and missing > 20 and not other and slowest < AT_ONCE,
            f'{slowest:.2f} s of {right + missing}')


@case('404', 'python server', quick=True)
def names_too_long(kind):
    """And paths too deep, as far as a head may have them."""
    targets = [b'/' + b'a' * 256, b'/' + b'a' * 8000, b'/' + b'%61' * 256,
               b'/' + b'%c3%a4' * 128, b'/sub/' + b'a' * 256 + b'/x',
               b'/' + b'sub/' * 2000, b'/' + b'a/' * 4000,
               b'/' + b'sub/' * 1999 + b'data']
    with tree() as folder, serve(kind, folder) as server:
        found = [raw(server, target)[0] for target in targets]
        whole = 'a' * 255
        write(folder + '/root/' + whole, GOOD)
        good = server.ask(b'/' + whole.encode()) == (200, GOOD)
    return (good and set(found) == {404},
            ' '.join(map(str, sorted(set(found)))))


# ------------------------------------------------- files that change meanwhile

def begin(server):
    """A connection that has asked for the large file and another one, and has
    had a little."""
    sock = server.connect()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.sendall(GET % b'/large' + LAST)
    return (sock, sock.recv(1000))


def while_sent(kind, change):
    """(head, the body that came, what came behind as many bytes as the head
    says, descriptors left over), once change(folder) has been made."""
    with tree() as folder, serve(kind, folder) as server:
        write(folder + '/root/large', LARGE)
        write(folder + '/root/last', GOOD)
        before = server.settled()
        (sock, data) = begin(server)
        with sock:
            change(folder)
            data += read_to_end(sock)
        left = server.settled() - before
        well = server.ask(b'/last') == (200, GOOD)
    (head, _, body) = data.partition(b'\r\n\r\n')
    good = well and head.startswith(b'HTTP/1.1 200 ') and \
        b'\r\ncontent-length: %d' % len(LARGE) in head
    return (good, body[:len(LARGE)], body[len(LARGE):], left)


def whole(kind, change):
    """All that was announced, and then the answer to the next request."""
    (good, body, rest, left) = while_sent(kind, change)
    good = good and body == LARGE and \
        rest.startswith(b'HTTP/1.1 200 ') and \
        rest.partition(b'\r\n\r\n')[2] == GOOD
    return (good and not left, f'{len(body)} B, {left} left')


def name_of(folder):
    return folder + '/root/large'


def append(folder):
    with open(name_of(folder), 'ab') as file:
        file.write(SECRET * 100000)


def replace(folder):
    write(folder + '/new', SECRET * 1000000)
    os.replace(folder + '/new', name_of(folder))


def is_of(body, size):
    """Is it the file, as far as it came?  Of what the file has lost the kernel
    may have made zeros on its way out (sendfile() sends pages, not copies)."""
    pieces = ((at, body[at:at + 4096]) for at in range(0, len(body), 4096))
    return all(LARGE.startswith(piece) or
               at >= size and not piece.strip(b'\0')
               for (at, piece) in pieces)


@case('the connection is cut', 'server', quick=True)
def shrinks(kind):
    """A file becomes shorter while it is sent, a request behind it: what was
    announced does not come, and nothing else in its place."""
    (good, body, rest, left) = while_sent(
        kind, lambda folder: os.truncate(name_of(folder), 1 << 20))
    good = good and 0 < len(body) < len(LARGE) and not rest and \
        is_of(body, 1 << 20)
    return (good and not left, f'{len(body)} B, {left} left')


@case('the announced length', 'server', quick=True)
def grows(kind):
    """It becomes longer: the answer is as long as it was announced, and the
    next one follows."""
    return whole(kind, append)


@case('the old one, whole', 'server', quick=True)
def is_replaced(kind):
    """Another takes its name."""
    return whole(kind, replace)


@case('the old one, whole', 'server', quick=True)
def is_removed(kind):
    """It is removed."""
    return whole(kind, lambda folder: os.unlink(name_of(folder)))


@case('the old one, whole', 'server', quick=True)
def becomes_unreadable(kind):
    """Nobody may read it any more, nor its directory."""
    def forbid(folder):
        os.chmod(name_of(folder), 0)
        os.chmod(folder + '/root', 0o300)

    # The next one must be had all the same: from who may do everything.
    return whole(kind, forbid)


def change_size(name):
    """Not atomically."""
    for size in (3000, 60000, 200000, 10, 0):
        os.truncate(name, size)


@case('none is torn', 'server', quick=True)
def small_ones_change(kind):
    """A file changes its size for 1.5 s, and another is asked for behind it,
    each time: that answer is right, or the connection is cut."""
    (right, cut, wrong) = (0, 0, 0)
    with tree() as folder, serve(kind, folder) as server:
        name = folder + '/root/small'
        write(name, b'')
        write(folder + '/root/last', GOOD)
        before = server.settled()
        with in_background(change_size, name):
            end = time.monotonic() + RACE
            while time.monotonic() < end:
                with server.connect() as sock:
                    sock.sendall(GET % b'/small' + LAST)
                    data = read_to_end(sock)
                verdict = second_answer(data)
                right += verdict is True
                cut += verdict is None
                wrong += verdict is False
        left = server.settled() - before
    return (right > 20 and not wrong and not left,
            f'{wrong} of {right + cut + wrong}')


def second_answer(data):
    """True if it is the other file, None if the first message is not whole, or
    was said to be the last."""
    (head, _, rest) = data.partition(b'\r\n\r\n')
    (_, _, length) = head.partition(b'content-length: ')
    length = int(length.split(b'\r\n')[0] or 0)
    (body, rest) = (rest[:length], rest[length:])
    if body.strip(b'\0'):
        return False
    if not rest and (len(body) < length or b'connection: close' in head):
        return None
    return rest.startswith(b'HTTP/1.1 200 ') and \
        rest.partition(b'\r\n\r\n')[2] == GOOD


@case('no descriptor left', 'server', quick=True)
def left_over(kind):
    """100 who leave in the middle of a file, 100 files that shrink, 100 that
    are missing."""
    with tree() as folder, serve(kind, folder) as server:
        write(folder + '/root/last', GOOD)
        server.ask(b'/last')
        before = server.settled()
        for i in range(100):
            write(folder + '/root/large', LARGE[:4 << 20])
            (sock, _) = begin(server)
            with sock:
                if i % 2:
                    os.truncate(folder + '/root/large', 1000)
                    read_to_end(sock)
            server.ask(b'/missing')
        until(lambda: server.settled() <= before, 3)
        left = server.settled() - before
        well = server.ask(b'/last') == (200, GOOD)
    return (well and left <= 0, f'{left} left')
