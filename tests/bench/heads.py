# SPDX-License-Identifier: MIT OR 0BSD
"""Heads for the parsers, from the least to what a browser sends."""

BROWSER = (
    'GET /places/garden/lamps?floor=1&side=south HTTP/1.1',
    'Host: hub.example:8080',
    'Connection: keep-alive',
    'Cache-Control: max-age=0',
    'Upgrade-Insecure-Requests: 1',
    'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 '
    '(KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36',
    'Accept: text/html,application/xhtml+xml,application/xml;q=0.9,'
    'image/avif,image/webp,*/*;q=0.8',
    'Sec-Ch-Ua: "Chromium";v="120", "Not?A_Brand";v="8"',
    'Sec-Ch-Ua-Mobile: ?0',
    'Sec-Ch-Ua-Platform: "Linux"',
    'Sec-Fetch-Site: same-origin',
    'Sec-Fetch-Mode: navigate',
    'Sec-Fetch-User: ?1',
    'Sec-Fetch-Dest: document',
    'Referer: http://hub.example:8080/places/garden',
    'Accept-Encoding: gzip, deflate, br',
    'Accept-Language: en-GB,en;q=0.9,fr;q=0.8',
    'Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; '
    'seen=garden.hall.kitchen.cellar.attic.stairs.porch.shed.gate; '
    'visit=5d41402abc4b2a76b9719d911017c592.1763730000.1763733600.17; '
    'units=metric; columns=3; sort=name; fold=attic.cellar.shed; lang=en-GB',
    'If-None-Match: "5f2c-61f0"',
    'If-Modified-Since: Sat, 14 Nov 2026 09:30:00 GMT',
    'X-Request-Id: 8d1c5c1e-6f0a-4c39-9b0e-2f5a7d3b1c00',
)

JSON = (
    'HTTP/1.1 200 OK',
    'Server: hub.example (garden, hall, cellar)',
    'Date: Sat, 21 Nov 2026 12:00:00 GMT',
    'Content-Type: application/json; charset=utf-8',
    'Content-Length: 108',
    'Connection: keep-alive',
    'Cache-Control: no-store',
    'Etag: "6c-18bd0"',
    'Vary: accept-encoding',
    'X-Content-Type-Options: nosniff',
    'X-Request-Id: 8d1c5c1e-6f0a-4c39-9b0e-2f5a7d3b1c00',
)

# name: lines of the head
HEADS = {
    'least GET': ('GET / HTTP/1.1', 'Host: localhost'),
    'POST, 3 fields': (
        'POST /lamps/31 HTTP/1.1', 'Host: localhost:8080',
        'Content-Length: 108', 'Content-Type: application/json'),
    'GET, 20 fields': BROWSER,
    '200, 10 fields': JSON,
    'POST, length': ('POST / HTTP/1.1', 'content-length: 108'),
    '200, length': ('HTTP/1.1 200 OK', 'content-length: 108'),
}


def head(name):
    return '\r\n'.join((*HEADS[name], '', '')).encode()
