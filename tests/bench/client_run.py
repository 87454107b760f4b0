# SPDX-License-Identifier: MIT OR 0BSD
"""One client's turn:  client_run.py NAME PORT PID SECONDS

GET / of the server there, one request after the other through one connection,
for so long.  Prints requests a second and the CPU time in us that the client
and the server, which is PID, take for one.
"""

import asyncio
import os
import sys
import time

from duo import Account

HELLO = b'hello, world'
BATCH = 20


def check(body):
    if body != HELLO:
        raise SystemExit('came: {!r}'.format(body))


def degu(port):
    from degu.client import Client
    conn = Client(('127.0.0.1', port)).connect()
    return lambda: conn.get('/', {}).body.read()


def http_client(port):
    from http.client import HTTPConnection
    conn = HTTPConnection('127.0.0.1', port)

    def get():
        conn.request('GET', '/')
        return conn.getresponse().read()
    return get


def urllib3(port):
    import urllib3
    pool = urllib3.HTTPConnectionPool('127.0.0.1', port, maxsize=1)
    return lambda: pool.urlopen('GET', '/').data


def requests(port):
    import requests
    session = requests.Session()
    session.trust_env = False
    url = 'http://127.0.0.1:{}/'.format(port)
    return lambda: session.get(url).content


def pycurl(port):
    from io import BytesIO

    import pycurl
    curl = pycurl.Curl()
    curl.setopt(curl.URL, 'http://127.0.0.1:{}/'.format(port))
    curl.setopt(curl.PROXY, '')

    def get():
        body = BytesIO()
        curl.setopt(curl.WRITEDATA, body)
        curl.perform()
        return body.getvalue()
    return get


def run(get, seconds):
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(BATCH):
            check(get())
        count += BATCH
    return count


async def run_async(get, seconds):
    count = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(BATCH):
            check(await get())
        count += BATCH
    return count


async def aiohttp(port, pid, seconds):
    import aiohttp
    url = 'http://127.0.0.1:{}/'.format(port)
    async with aiohttp.ClientSession() as session:
        async def get():
            async with session.get(url) as response:
                return await response.read()
        await run_async(get, seconds / 10)
        account = Account(pid)
        account.print(await run_async(get, seconds))


def main(name, port, pid, seconds):
    os.environ['no_proxy'] = '*'
    if name == 'aiohttp':
        asyncio.run(aiohttp(port, pid, seconds))
        return
    get = {'degu': degu, 'http.client': http_client, 'urllib3': urllib3,
           'requests': requests, 'pycurl': pycurl}[name](port)
    run(get, seconds / 10)
    account = Account(pid)
    account.print(run(get, seconds))


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
