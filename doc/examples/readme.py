# SPDX-License-Identifier: MIT OR 0BSD
"""A server and a client at one Python prompt.

An app is a function of three arguments; its answer is four things.

>>> def app(session, request, api):
...     if request.path != ['example']:
...         return (404, 'Not Found', {}, None)
...     if request.method == 'GET':
...         return (200, 'OK', {}, b'hello, world')
...     return (405, 'Method Not Allowed', {}, None)
...

A throw-away server, in a process of its own, on a port of the kernel's choice:

>>> from degu.misc import TempServer
>>> server = TempServer(('127.0.0.1', 0), app)

And a client:

>>> from degu.client import Client
>>> conn = Client(server.address).connect()
>>> response = conn.get('/example', {})
>>> response
Response(status=200, reason='OK', headers={'content-length': 12}, \
body=Body(<reader>, 12))
>>> response.body.read()
b'hello, world'
>>> conn.get('/other', {})
Response(status=404, reason='Not Found', headers={}, body=None)
>>> conn.put('/example', {}, b'new')
Response(status=405, reason='Method Not Allowed', headers={}, body=None)
>>> conn.close()
>>> server.terminate()
"""

if __name__ == '__main__':
    import doctest
    import sys

    sys.exit(doctest.testmod().failed != 0)
