# SPDX-License-Identifier: MIT OR 0BSD
"""The same greeting from each Python server:  apps.py NAME PORT

Each is one process with one worker, does not log, and keeps connections open.
"""

import asyncio
import os
import sys

HELLO = b'hello, world'
PLAIN = 'text/plain'
MANY = 10**9


def degu(port):
    from degu.server import Server

    def app(session, request, api):
        return (200, 'OK', {'content-type': PLAIN}, HELLO)
    Server(('127.0.0.1', port), app, max_requests_per_connection=MANY,
           max_connections=300, timeout=60).serve_forever()


def http_server(port):
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'
        wbufsize = -1  # head and body leave in one write

        def do_GET(self):
            self.send_response(200)
            self.send_header('Content-Type', PLAIN)
            self.send_header('Content-Length', str(len(HELLO)))
            self.end_headers()
            self.wfile.write(HELLO)

        def log_message(self, *unused):
            pass
    ThreadingHTTPServer(('127.0.0.1', port), Handler).serve_forever()


def aiohttp(port):
    from aiohttp import web

    async def hello(request):
        return web.Response(body=HELLO, content_type=PLAIN)
    app = web.Application()
    app.router.add_get('/', hello)
    web.run_app(app, host='127.0.0.1', port=port, access_log=None, print=None,
                loop=asyncio.new_event_loop())


async def asgi(scope, receive, send):
    await send({'type': 'http.response.start', 'status': 200, 'headers': [
        (b'content-type', PLAIN.encode()),
        (b'content-length', str(len(HELLO)).encode())]})
    await send({'type': 'http.response.body', 'body': HELLO})


async def rsgi(scope, protocol):
    protocol.response_bytes(200, [('content-type', PLAIN)], HELLO)


def wsgi(environ, start_response):
    start_response('200 OK', [('Content-Type', PLAIN),
                              ('Content-Length', str(len(HELLO)))])
    return [HELLO]


def uvicorn(port, loop='uvloop'):
    import uvicorn
    uvicorn.run(asgi, host='127.0.0.1', port=port, loop=loop, http='httptools',
                access_log=False, log_level='critical', lifespan='off',
                timeout_keep_alive=60)


def gunicorn(port):
    from gunicorn.app.wsgiapp import run
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    sys.argv = ['gunicorn', '-k', 'gthread', '-w', '1', '--threads', '30',
                '-b', '127.0.0.1:{}'.format(port), '--keep-alive', '60',
                '--worker-connections', '300', '--log-level', 'critical',
                'apps:wsgi']
    run()


def granian(port):
    from granian import Granian
    Granian('apps:rsgi', address='127.0.0.1', port=port, interface='rsgi',
            workers=1, log_enabled=False).serve()


if __name__ == '__main__':
    {'degu': degu, 'http.server': http_server, 'aiohttp': aiohttp,
     'uvicorn': uvicorn, 'gunicorn': gunicorn, 'granian': granian,
     'uvicorn-asyncio': lambda port: uvicorn(port, 'asyncio'),
     }[sys.argv[1]](int(sys.argv[2]))
