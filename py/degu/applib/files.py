# SPDX-License-Identifier: MIT OR 0BSD
"""An app that serves the files below one directory.

What a path leads to.  Its parts are percent-decoded once, to bytes, which are
the names of files.  Parts that the server's parser would refuse are a 400 here
too: empty ones but the last, dot segments in any spelling, and those that hold
a NUL, a slash or a backslash once decoded.  Each name is opened in the
directory that the name before it led to, the first in the one that the app
keeps open.  Symbolic links are not followed, wherever they stand in the path
and wherever they lead; dir_name itself may be one.  A link, a FIFO, a device
and a socket are a 404, and so is what is not there; what may not be read is a
403.  Names that begin with a dot are names like any other.

Directories.  With a slash at its end a path leads to index.html in that
directory, or else to a listing, if that was asked for, or else to nothing.
Without it there is a 301 to the path with it.

Types.  The last suffix of the name decides, by the defaults of Python's
mimetypes and the table below; the machine's own files of types have no say.
text/* is said to be UTF-8.  A compressed file is sent as what it is; there is
never a content-encoding.

Conditions (RFC 9110 13) are looked at in the order of 13.2.2: if-match,
if-unmodified-since, if-none-match, if-modified-since, and if-range for a GET
with a range.  Dates in all three forms of 5.6.7 count, others are ignored.  The
etag is a strong one, made of time, size and inode.  They hold for files, not
for listings.

Ranges (RFC 9110 14.2): `bytes=5-9`, `bytes=5-` and `bytes=-5`, cut to the size
of the file.  Lists, other units and what cannot be read are ignored.
"""

import contextlib
import errno
import html
import io
import mimetypes
import os
import re
import stat
import time
from email.utils import formatdate
from typing import Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

from degu.applib._conditions import check_conditions, find_range
from degu.base import API, Request, Session

__all__ = ('FilesApp',)

_Answer = tuple[int, str, dict[str, Any], Any]

# O_NONBLOCK is for a FIFO that takes the place of a file at the last moment.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_FOLDER = _FLAGS | os.O_DIRECTORY

# What the OSErrors are called that mean: no file of that name is served.
_MISSING = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENXIO,
    errno.ENODEV,
}

# A file up to this many bytes is read at once.
_SMALL = 65536

_DEFAULT_TYPE = 'application/octet-stream'

# What some of Python 3.10 to 3.13 do not know, or call by an older name; and
# what mimetypes takes for an encoding of something else.
_TYPES = {
    **mimetypes.MimeTypes().types_map[True],
    '.avif': 'image/avif',
    '.bmp': 'image/bmp',
    '.br': _DEFAULT_TYPE,
    '.bz2': 'application/x-bzip2',
    '.flac': 'audio/flac',
    '.gz': 'application/gzip',
    '.ico': 'image/vnd.microsoft.icon',
    '.js': 'text/javascript',
    '.json': 'application/json',
    '.markdown': 'text/markdown',
    '.md': 'text/markdown',
    '.mjs': 'text/javascript',
    '.n3': 'text/n3',
    '.nq': 'application/n-quads',
    '.nt': 'application/n-triples',
    '.ogg': 'audio/ogg',
    '.ogv': 'video/ogg',
    '.opus': 'audio/ogg',
    '.otf': 'font/otf',
    '.rst': 'text/x-rst',
    '.rtf': 'text/rtf',
    '.srt': 'text/plain',
    '.tgz': 'application/gzip',
    '.trig': 'application/trig',
    '.ttf': 'font/ttf',
    '.vtt': 'text/vtt',
    '.wasm': 'application/wasm',
    '.wav': 'audio/wav',
    '.webm': 'video/webm',
    '.webmanifest': 'application/manifest+json',
    '.webp': 'image/webp',
    '.woff': 'font/woff',
    '.woff2': 'font/woff2',
    '.xz': 'application/x-xz',
    '.z': 'application/x-compress',
    '.zst': 'application/zstd',
}

# RFC 3986 3.3, a segment that is not empty.
_PART = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")

_PAGE = """\
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<title>{title}</title>
</head>
<body>
<h1>{title}</h1>
<ul>
{items}</ul>
</body>
</html>
"""


class _Descriptor:
    """A file descriptor that is closed once nobody holds this object."""

    __slots__ = ('fd',)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)

    def __reduce__(self) -> Any:
        raise TypeError('cannot pickle a file descriptor')


# ----------------------------------------------------------- the way to a file


class _BadPath(Exception):
    pass


def _decode(part: str) -> bytes:
    """The name of a file that one part of a path stands for.

    Raises _BadPath if it can stand for none.
    """
    if not _PART.fullmatch(part):
        raise _BadPath
    name = unquote_to_bytes(part)
    if name in (b'.', b'..') or any(byte in name for byte in b'\0/\\'):
        raise _BadPath
    return name


def _open(folder: _Descriptor, name: bytes) -> tuple[_Descriptor, bool]:
    """A file or directory, and if it is a file.

    Raises FileNotFoundError for other things, other OSErrors as they come.
    """
    # Looked at first, as opening a device may do something to it.
    status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        found = _Descriptor(os.open(name, _FLAGS, dir_fd=folder.fd))
        status = os.fstat(found.fd)
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            return (found, stat.S_ISREG(status.st_mode))
    raise FileNotFoundError(errno.ENOENT, 'not a file or directory')


# --------------------------------------------------------- what is to be sent


def _guess_type(name: bytes) -> str:
    suffix = os.path.splitext(os.fsdecode(name))[1].lower()
    kind = _TYPES.get(suffix, _DEFAULT_TYPE)
    return kind + '; charset=utf-8' if kind.startswith('text/') else kind


def _show(name: bytes) -> str:
    """A name as text for HTML, without what has no shape of its own."""
    text = name.decode('utf-8', 'replace')
    return html.escape(
        ''.join(char if char.isprintable() else '\ufffd' for char in text)
    )


def _make_body(file: _Descriptor, start: int, stop: int, api: API) -> Any:
    """These bytes of the file, as the body of an answer.

    Raises OSError if a small file has become shorter; with a large one that
    is met while the body is sent.
    """
    length = stop - start
    if length <= _SMALL:
        data = os.pread(file.fd, length, start)
        if len(data) < length:
            raise OSError(errno.EIO, 'the file has become shorter')
        return data or None
    # The exact type, which the extension knows a faster way for.  It warns of
    # a descriptor that nobody has closed; this one is not its own, but goes
    # when the object goes that holds it.
    source = io.FileIO(file.fd, closefd=False)
    setattr(source, 'descriptor', file)
    source.seek(start)
    return api.Body(source, length)


def _send_file(
    file: _Descriptor, name: bytes, request: Request, api: API
) -> _Answer:
    status = os.fstat(file.fd)
    size = status.st_size
    # RFC 9110 8.8.2.1: not after the answer itself.
    modified = max(0, min(status.st_mtime_ns // 10**9, int(time.time())))
    etag = f'"{status.st_mtime_ns:x}-{size:x}-{status.st_ino:x}"'
    headers: dict[str, Any] = {
        'etag': etag,
        'last-modified': formatdate(modified, usegmt=True),
    }
    if request.method == 'HEAD':
        headers['content-length'] = size
    verdict = check_conditions(request.headers, etag, modified)
    if verdict == 412:
        return (412, 'Precondition Failed', {}, None)
    if verdict == 304:
        return (304, 'Not Modified', headers, None)
    headers['accept-ranges'] = 'bytes'
    headers['content-type'] = _guess_type(name)
    headers['x-content-type-options'] = 'nosniff'
    if request.method == 'HEAD':
        return (200, 'OK', headers, None)
    span = find_range(request.headers, etag, modified, size)
    if span is None:
        return (200, 'OK', headers, _make_body(file, 0, size, api))
    (start, stop) = span
    if start >= size:
        headers = {'accept-ranges': 'bytes', 'content-range': f'bytes */{size}'}
        return (416, 'Range Not Satisfiable', headers, None)
    headers['content-range'] = api.ContentRange(start, stop, size)
    body = _make_body(file, start, stop, api)
    return (206, 'Partial Content', headers, body)


def _make_listing(folder: _Descriptor, path: str, is_root: bool) -> bytes:
    """The page about a directory; path is what it is called there."""
    # The place in a directory is shared by all that use one descriptor.
    own = _Descriptor(os.open('.', _FOLDER, dir_fd=folder.fd))
    names = []
    with os.scandir(own.fd) as entries:
        for entry in entries:
            name = os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                names.append((name, '/'))
            elif entry.is_file(follow_symlinks=False):
                names.append((name, ''))
    lines = [] if is_root else ['<li><a href="../">../</a></li>\n']
    for (name, slash) in sorted(names):
        if b'\\' not in name:  # no path leads there
            link = quote_from_bytes(name, safe='') + slash
            lines.append(
                f'<li><a href="{link}">{_show(name)}{slash}</a></li>\n'
            )
    title = _show(unquote_to_bytes(path))
    page = _PAGE.format(title=title, items=''.join(lines))
    return page.encode('utf-8')


# -------------------------------------------------------------------- the app


class FilesApp:
    """Serves the files below the directory *dir_name*, a `str`.

    It must be absolute and normalized.  With *listing* directories without an
    index.html show what is in them.  A directory must be readable by the
    server, not just searchable.

    It may be subclassed, and not be pickled.

    Raises TypeError, ValueError, and OSError if there is no such directory,
    which is kept open from then on.  May be called by many threads at a time;
    calls that others are in do not suffer from `close()`.
    """

    def __init__(self, dir_name: str, *, listing: bool = False) -> None:
        if type(dir_name) is not str:
            raise TypeError(
                f'dir_name: need a str; got a {type(dir_name)!r}: {dir_name!r}'
            )
        if type(listing) is not bool:
            raise TypeError(
                f'listing: need a bool; got a {type(listing)!r}: {listing!r}'
            )
        normal = os.path.normpath(dir_name)
        if not os.path.isabs(dir_name) or normal != dir_name:
            raise ValueError(
                f'dir_name: not an absolute, normalized path: {dir_name!r}'
            )
        self.dir_name = dir_name
        self.listing = listing
        self._root: _Descriptor | None = _Descriptor(
            os.open(dir_name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        )

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.dir_name!r})'

    def __enter__(self) -> 'FilesApp':
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @property
    def dir_fd(self) -> int:
        """The directory's descriptor, -1 once it was closed."""
        root = self._root
        return -1 if root is None else root.fd

    def close(self) -> None:
        """Lets go of the directory; calls raise ValueError from then on."""
        self._root = None

    def __call__(self, session: Session, request: Request, api: API) -> _Answer:
        """The answer to a request, whose path is what routing has left of it.

        Raises OSError for what is not the client's fault.
        """
        if request.method not in ('GET', 'HEAD'):
            return (405, 'Method Not Allowed', {'allow': 'GET, HEAD'}, None)
        try:
            (status, reason, headers, body) = self._answer(request, api)
        except _BadPath:
            (status, reason, headers, body) = (400, 'Bad Request', {}, None)
        except PermissionError:
            (status, reason, headers, body) = (403, 'Forbidden', {}, None)
        except OSError as error:
            if error.errno not in _MISSING:
                raise
            (status, reason, headers, body) = (404, 'Not Found', {}, None)
        if request.method == 'HEAD':
            headers.setdefault('content-length', len(body or b''))
            body = None
        return (status, reason, headers, body)

    def _answer(self, request: Request, api: API) -> _Answer:
        """Raises OSError for what cannot be opened, and _BadPath."""
        here = self._root
        if here is None:
            raise ValueError(f'{self!r} is closed')
        (*parts, last) = request.path or ['']
        if last:
            parts.append(last)
        is_file = False
        names = [_decode(part) for part in parts]
        for name in names:
            (here, is_file) = _open(here, name)
        if is_file:
            if not last:
                return (404, 'Not Found', {}, None)
            return _send_file(here, name, request, api)
        # Below a router the path may be used up without a slash.
        (path, mark, query) = request.uri.partition('?')
        if not path.endswith('/'):
            # Two slashes at its beginning would make it another host.
            where = '/' + path.lstrip('/\\') + '/' + mark + query
            return (301, 'Moved Permanently', {'location': where}, None)
        with contextlib.suppress(FileNotFoundError):
            (index, is_file) = _open(here, b'index.html')
            if is_file:
                return _send_file(index, b'index.html', request, api)
        if not self.listing:
            return (404, 'Not Found', {}, None)
        headers = {
            'content-type': 'text/html; charset=utf-8',
            'x-content-type-options': 'nosniff',
        }
        return (200, 'OK', headers, _make_listing(here, path, not names))
