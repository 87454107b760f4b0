# SPDX-License-Identifier: MIT OR 0BSD
"""A real nginx, at a socket in a folder of its own."""

import contextlib
import os
import shutil
import subprocess
import tempfile

import pytest

from peers import WAIT, foreign_environment, until

NGINX = shutil.which('nginx') or shutil.which('nginx', path='/usr/sbin:/sbin')
CONFIG = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    {more}
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type application/octet-stream;
    client_max_body_size 100m;
    large_client_header_buffers 4 40k;
    types {{ text/plain txt; }}
    server {{
        listen unix:{folder}/sock;
        root {folder}/www;
        keepalive_requests 5;
        location /dav/ {{ dav_methods PUT DELETE; create_full_put_path on; }}
        location /zipped/ {{
            alias {folder}/www/;
            gzip on; gzip_vary on; gzip_min_length 1; gzip_proxied any;
            gzip_types text/plain;
        }}
        location = /small {{ client_max_body_size 1k; dav_methods PUT; }}
        location = /redirect {{ return 301 /a.txt; }}
        location = /headers {{
            add_header x-big "{big}";
            add_header set-cookie "a=b";
            add_header set-cookie "c=d";
            return 200 "hi";
        }}
        location = /close {{ keepalive_timeout 0; return 200 "bye"; }}
        location = /echo {{
            return 200 "$request_method $request_uri $http_x_a";
        }}
        location = /nothing {{ return 204; }}
    }}
}}
"""
TEXT = b''.join(b'%d bottles\n' % i for i in range(30000))


@contextlib.contextmanager
def run_nginx(more=''):
    """Its folder: the socket is sock, the files are in www; more: lines of its
    configuration."""
    if NGINX is None:
        pytest.skip('no nginx: the package is nginx-light')
    with tempfile.TemporaryDirectory(prefix='degu.') as folder:
        os.mkdir(folder + '/www')
        os.mkdir(folder + '/www/dav')
        os.chmod(folder, 0o755)
        with open(folder + '/www/a.txt', 'wb') as file:
            file.write(TEXT)
        open(folder + '/www/empty', 'w').close()
        if os.getuid() == 0:
            user = 'user root;\n'
        else:
            user = ''
        with open(folder + '/conf', 'w') as file:
            file.write(user + CONFIG.format(
                folder=folder, big='y' * 3500, more=more.format(folder=folder)))
        process = subprocess.Popen(
            [NGINX, '-p', folder, '-e', folder + '/error.log',
             '-c', folder + '/conf'],
            env=foreign_environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: os.path.exists(folder + '/sock')
                  or process.poll() is not None)
            if process.poll() is not None:
                with open(folder + '/error.log') as file:
                    pytest.fail(file.read())
            yield folder
        finally:
            process.terminate()
            process.wait(WAIT)
