# SPDX-License-Identifier: MIT OR 0BSD
"""The example of the newest README, as it is typed at the prompt (R14-R34)."""

import doctest
import textwrap

EXAMPLE = textwrap.dedent('''
    >>> def app(session, request, api):
    ...     if request.method != 'GET':
    ...         return (405, 'Method Not Allowed', {}, None)
    ...     if request.path != ['example']:
    ...         return (404, 'Not Found', {}, None)
    ...     return (200, 'OK', {}, b'hello, world')
    ...

    >>> from degu.misc import TempServer
    >>> server = TempServer(('127.0.0.1', 0), app)

    >>> from degu.client import Client
    >>> client = Client(server.address)

    >>> conn = client.connect()
    >>> response = conn.get('/example', {})

    >>> response
    Response(status=200, reason='OK', headers={'content-length': 12}, \
body=Body(<reader>, 12))

    >>> response.body.read()
    b'hello, world'

    >>> conn.get('/nope', {})
    Response(status=404, reason='Not Found', headers={}, body=None)

    The app's other branch (R19), and what a Response is (R28):

    >>> other = conn.put('/example', {}, None)
    >>> other
    Response(status=405, reason='Method Not Allowed', headers={}, body=None)
    >>> other == (405, 'Method Not Allowed', {}, None)
    True
    >>> (status, reason, headers, body) = response
    >>> (status, reason, headers) == response[:3]
    True
    >>> response._fields
    ('status', 'reason', 'headers', 'body')
    >>> conn.close()

    The port is the kernel's choice and an unprivileged one (R22, R23):

    >>> server.address[0], server.address[1] > 1023
    ('127.0.0.1', True)
    >>> server.terminate()
''')


def test_example():
    test = doctest.DocTestParser().get_doctest(
        EXAMPLE, {'__name__': '__main__'}, 'README', None, 0)
    runner = doctest.DocTestRunner(verbose=False)
    report = []
    result = runner.run(test, out=report.append)
    assert result.failed == 0, ''.join(report)
    assert result.attempted == 19
