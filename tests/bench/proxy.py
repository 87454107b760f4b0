# SPDX-License-Identifier: MIT OR 0BSD
"""What a ProxyApp costs: 1 GiB up and down, before this Degu and before nginx
if that is there, with content-length and chunked.

    proxy.py [MEBIBYTES]

Prints a table; the status is 0 only if every digest is right and the proxy's
process, a new one for each line, has never had 64 MiB.  Each way is gone once
with digests, which would cost more than the way itself, and once by the clock.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, 'py'))

from degu.applib.proxy import ProxyApp  # noqa: E402
from degu.base import BodyIter, ChunkedBodyIter  # noqa: E402
from degu.client import Client  # noqa: E402
from degu.misc import TempServer  # noqa: E402

LIMIT = 64 * 1024
PIECE = bytes(range(256)) * 4096  # 1 MiB
TCP = ('127.0.0.1', 0)
NGINX = shutil.which('nginx') or shutil.which('nginx', path='/usr/sbin:/sbin')
CONFIG = """{user}
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    server {{
        listen unix:{folder}/sock;
        root {folder};
        location /dav/ {{ dav_methods PUT; create_full_put_path on; }}
        location /chunked/ {{
            alias {folder}/;
            ssi on; ssi_types *;
        }}
    }}
}}
"""


def source(count):
    for _ in range(count):
        yield PIECE


def make_body(count, chunked):
    if chunked:
        chunks = ((('n', 'm'), piece) for piece in source(count))
        return ChunkedBodyIter(with_last(chunks))
    return BodyIter(source(count), count * len(PIECE))


def with_last(chunks):
    yield from chunks
    yield (None, b'')


class Sink:
    """Takes uploads and tells their digest, gives downloads."""

    def __call__(self, session, request, api):
        if request.body is None:
            count = int(request.path[1])
            return (200, 'OK', {}, make_body(count, request.path[0] == 'c'))
        digest = take(request.body, request.uri == '/check')
        return (200, 'OK', {'x-digest': digest}, None)


def take(body, check):
    """The digest of a body, or with not *check* its length."""
    if not check:
        return str(sum(len(item[1] if body.chunked else item)
                       for item in body))
    found = hashlib.blake2b()
    for item in body:
        found.update(item[1] if body.chunked else item)
    return found.hexdigest()


def high_water(pid):
    with open(f'/proc/{pid}/status') as file:
        return next(int(line.split()[1]) for line in file
                    if line.startswith('VmHWM:'))


def clock(work):
    start = time.perf_counter()
    result = work()
    return (time.perf_counter() - start, result)


class Degu:
    name = 'Degu'

    def __enter__(self):
        self.server = TempServer(TCP, Sink())
        self.address = self.server.address
        return self

    def __exit__(self, *unused):
        self.server.terminate()

    def up(self, conn, count, chunked, check):
        uri = '/check' if check else '/'
        response = conn.put(uri, {}, make_body(count, chunked))
        return response.headers['x-digest']

    def down(self, conn, count, chunked, check):
        kind = 'c' if chunked else 'l'
        return take(conn.get(f'/{kind}/{count}').body, check)


class Nginx:
    """Uploads become files of it."""

    name = 'nginx'

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix='degu.')
        os.mkdir(self.folder + '/dav')
        user = 'user root;' if os.getuid() == 0 else ''
        with open(self.folder + '/conf', 'w') as file:
            file.write(CONFIG.format(folder=self.folder, user=user))
        self.process = subprocess.Popen(
            [NGINX, '-p', self.folder, '-e', self.folder + '/error.log',
             '-c', self.folder + '/conf'], stdin=subprocess.DEVNULL)
        self.address = self.folder + '/sock'
        end = time.monotonic() + 10
        while not os.path.exists(self.address):
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError('nginx did not start')
            time.sleep(0.01)
        return self

    def __exit__(self, *unused):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)

    def up(self, conn, count, chunked, check):
        response = conn.put('/dav/up', {}, make_body(count, chunked))
        if response.status not in (201, 204):
            raise RuntimeError(response)
        if response.body:
            response.body.read()
        name = self.folder + '/dav/up'
        size = os.path.getsize(name)
        found = hashlib.blake2b()
        with open(name, 'rb') as file:
            while check and (data := file.read(1 << 20)):
                found.update(data)
        os.unlink(name)
        return found.hexdigest() if check else str(size)

    def down(self, conn, count, chunked, check):
        name = self.folder + '/down'
        if not os.path.exists(name):
            with open(name, 'wb') as file:
                for piece in source(count):
                    file.write(piece)
        response = conn.get('/chunked/down' if chunked else '/down')
        if response.body.chunked is not chunked:
            raise RuntimeError(response)
        return take(response.body, check)


def transfer(upstream, address, way, *args):
    """(seconds, digest)"""
    conn = Client(address, host='a.example').connect()
    try:
        return clock(lambda: getattr(upstream, way)(conn, *args))
    finally:
        conn.close()


def line(upstream, way, count, chunked, wanted):
    size = str(count * len(PIECE))
    proxy = TempServer(
        TCP, ProxyApp(Client(upstream.address, host='a.example')))
    try:
        (_, one) = transfer(upstream, upstream.address, way, count, chunked,
                            True)
        (_, two) = transfer(upstream, proxy.address, way, count, chunked, True)
        (direct, three) = transfer(upstream, upstream.address, way, count,
                                   chunked, False)
        (seconds, four) = transfer(upstream, proxy.address, way, count,
                                   chunked, False)
        high = high_water(proxy.process.pid)
    finally:
        proxy.terminate()
    good = one == two == wanted and three == four == size and high < LIMIT
    print('%-6s %-5s %-8s %8.0f %8.0f %7.2f %8.1f   %s' % (
        upstream.name, way, 'chunked' if chunked else 'length',
        count / direct, count / seconds, direct / seconds, high / 1024,
        'ok' if good else 'WRONG'), flush=True)
    return good


def main(count):
    wanted = hashlib.blake2b()
    for piece in source(count):
        wanted.update(piece)
    print(f'{count} MiB each; MiB/s without and with the proxy, their ratio, '
          'and the peak of its memory')
    print('before way   framing    direct  proxied   ratio  MiB peak')
    good = True
    for cls in (Degu, Nginx):
        if cls is Nginx and NGINX is None:
            print('no nginx here')
            continue
        with cls() as upstream:
            for way in ('up', 'down'):
                for chunked in (False, True):
                    good &= line(upstream, way, count, chunked,
                                 wanted.hexdigest())
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1024))
