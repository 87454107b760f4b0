# SPDX-License-Identifier: MIT OR 0BSD
"""Checks the manual against degu.h and degu_tls.h.

    check_docs.py           check
    check_docs.py --write   first renew what is generated: doc/errors.md, and
                            the declarations in doc/c-api.md and doc/tls.md

What is checked:

- every public function and type has its declaration, the header's, in a block
  that begins with ```h: those of degu.h in doc/c-api.md, those of degu_tls.h
  in doc/tls.md;
- every public macro and enumerator is named there, every limit of degu.h with
  its default in the table;
- every name that a module of the Python package exports stands as code in the
  text of a page in doc/python, whose index leads to each of them;
- a name with our prefix exists in one of the headers, in all documents;
- the inputs in doc/errors.md give the errors they are listed for, and the page
  is not stale;
- a ```c block with a main() compiles, with OpenSSL if it includes degu_tls.h,
  and one that begins with ```c run exits with 0;
- a link within the repository leads somewhere.

CC chooses the compiler.  The last line is the sum of all checks.
"""

import ast
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CC = shlex.split(os.environ.get('CC', 'cc'))
FLAGS = ['-O1', '-Wall', '-Wextra', '-Werror', '-I' + ROOT, '-pthread']
TLS_LIBRARIES = ['-lssl', '-lcrypto']
API = 'doc/c-api.md'
TLS_API = 'doc/tls.md'
ERRORS = 'doc/errors.md'
PYTHON = 'doc/python'
PACKAGE = 'py/degu'
NAME = re.compile(r'\b(?:degu|DEGU)_\w+')


class Totals:
    passed = 0
    failed = 0


def check(good, label, text=''):
    Totals.passed += bool(good)
    Totals.failed += not good
    if not good:
        print('FAILED: ' + label + (': ' + text if text else ''))


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as file:
        return file.read()


def write(name, text):
    with open(os.path.join(ROOT, name), 'w', encoding='utf-8') as file:
        file.write(text)


# -------------------------------------------------------------- the header

def without_comments(text):
    return re.sub(r'/\*.*?\*/', ' ', text, flags=re.S)


def squeeze(text):
    """One declaration with no blanks but those that part two words."""
    text = re.sub(r'\b(DEGU_API|DEGU_NODISCARD)\b', ' ', text)
    text = re.sub(r'\s+', ' ', without_comments(text)).strip()
    return re.sub(r' ?([^\w ]) ?', r'\1', text)


def declarations(text):
    """The declarations in C text, each as it stands there."""
    text = re.sub(r'^#ifdef __cplusplus\n.*?^#endif\n', '', text,
                  flags=re.S | re.M)
    text = re.sub(r'^#(?:\\\n|/\*[\s\S]*?\*/|.)*\n', '', text, flags=re.M)
    found = []
    (depth, begin, comment) = (0, 0, False)
    for (at, pair) in enumerate(zip(text, text[1:] + ' ')):
        if pair == ('/', '*'):
            comment = True
        elif pair == ('*', '/'):
            comment = False
        if comment:
            continue
        depth += (pair[0] == '{') - (pair[0] == '}')
        if pair[0] == ';' and depth == 0:
            found.append(text[begin:at + 1])
            begin = at + 1
    return found


def declared_name(declaration):
    flat = squeeze(declaration)
    for pattern in (r'^typedef [\w ]+\(\*(\w+)\)\(', r'^typedef.*?(\w+);$',
                    r'^[\w *]*?(\w+)\('):
        found = re.match(pattern, flat)
        if found:
            return found[1]
    return None


class Header:
    """The declaration part of a header, and the page that explains it."""

    def __init__(self, name, guard, page):
        self.name = name
        self.page = page
        text = read(name)
        self.text = text[:text.index('#endif /* {} */'.format(guard))]
        body = self.text[self.text.index('#ifndef {}\n'.format(guard)):]
        self.declared = {}
        for declaration in declarations(body):
            name = declared_name(declaration)
            if name and not name.startswith('degu_priv_'):
                self.declared[name] = declaration
        self.errors = self.read_errors(body)
        code = without_comments(body)
        self.constants = set(re.findall(r'^#\s*define (DEGU_\w+)', code, re.M))
        for found in re.finditer(r'typedef enum \w+ {(.*?)}', code, re.S):
            self.constants |= set(re.findall(r'^\s*(DEGU_\w+) =', found[1],
                                             re.M))
        self.constants = {name for name in self.constants if
                          name != guard and
                          not name.startswith('DEGU_PRIV_')}
        self.names = set(NAME.findall(self.text)) | {
            'DEGU_' + error[0] for error in self.errors}

    @staticmethod
    def read_errors(body):
        """(name, number, status, sentence) of each, in order."""
        block = re.search(r'#define DEGU_ERRORS\(X\)(.*?)[^\\]\n', body, re.S)
        if not block:
            return []
        row = r'X\((\w+), (-?\d+), (\d+),[\s\\]*"([^"]*)"\)'
        return [(name, int(number), int(status), text) for
                (name, number, status, text) in
                re.findall(row, block[1] + ')')]

    def default(self, macro):
        found = re.search(r'^#define {} (\S+)$'.format(macro), self.text, re.M)
        return found[1] if found else None


# --------------------------------------------------------------- documents

def below(folder, suffix):
    """The files of this suffix in a folder and the folders in it."""
    found = []
    for (where, folders, names) in os.walk(os.path.join(ROOT, folder)):
        folders.sort()
        found += [os.path.relpath(os.path.join(where, name), ROOT)
                  for name in sorted(names) if name.endswith(suffix)]
    return found


def documents():
    names = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md']
    names += below('doc', '.md')
    return [name for name in names if os.path.exists(ROOT + '/' + name)]


def blocks(text):
    """(first line, info string, code) of each fenced block."""
    found = []
    start = None
    for (number, line) in enumerate(text.split('\n'), 1):
        if start is None and line.startswith('```'):
            (start, info, code) = (number + 1, line[3:].strip(), [])
        elif start is not None and line.startswith('```'):
            found.append((start, info, '\n'.join(code) + '\n'))
            start = None
        elif start is not None:
            code.append(line)
    return found


def without_declarations(text):
    return re.sub(r'^```h\n.*?^```', '', text, flags=re.S | re.M)


def without_blocks(text):
    return re.sub(r'^```.*?^```', '', text, flags=re.S | re.M)


def anchors(text):
    """What a heading can be linked by."""
    found = set()
    for heading in re.findall(r'^#+ (.*)$', without_blocks(text), re.M):
        slug = re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')
        found.add(slug)
    return found


def check_links(name):
    text = read(name)
    for target in re.findall(r'\]\(([^)\s]+)\)', without_blocks(text)):
        if re.match(r'\w+:', target):
            continue
        (path, _, anchor) = target.partition('#')
        where = os.path.normpath(os.path.join(
            ROOT, os.path.dirname(name), path)) if path else ROOT + '/' + name
        good = os.path.exists(where)
        if good and anchor:
            with open(where, encoding='utf-8') as file:
                good = anchor in anchors(file.read())
        check(good, '{}: a link to {}'.format(name, target))


# ------------------------------------------------------------------- names

def check_declaration(header, line, declaration):
    """A type whose fields are private may be shown without them."""
    where = '{}:{}'.format(header.page, line)
    name = declared_name(declaration)
    real = header.declared.get(name)
    if real is None:
        check(False, where, 'not in {}: {}'.format(header.name, name))
        return None
    opaque = re.match(r'typedef (struct|enum) {0} {0};$'.format(name),
                      squeeze(declaration))
    good = squeeze(declaration) == squeeze(real) or (
        opaque and re.match(r'typedef {} {}\{{'.format(opaque[1], name),
                            squeeze(real)))
    check(good, where, '{} has {}'.format(header.name, ' '.join(
        without_comments(real).split())))
    return name


def check_api(header):
    text = read(header.page)
    shown = []
    for (line, info, code) in blocks(text):
        if info == 'h':
            shown += [check_declaration(header, line, one) for one in
                      declarations(code)]
    for name in header.declared:
        check(shown.count(name) == 1, header.page,
              '{} is declared {} times'.format(name, shown.count(name)))
    words = set(NAME.findall(without_declarations(text)))
    for name in sorted(header.constants):
        check(name in words, header.page, name + ' is not explained')


def check_macros(header):
    """The rows of the table: | `DEGU_X` | default | text |"""
    rows = re.findall(r'^\| `(DEGU_\w+)` \| (\d+) \|', read(API), re.M)
    check(rows, API, 'has no table of macros')
    for (macro, default) in rows:
        check(header.default(macro) == default, API,
              '{} is {}'.format(macro, header.default(macro)))
    limits = re.findall(r'^#ifndef (DEGU_\w+)\n#define \1 \d', header.text,
                        re.M)
    for macro in limits:
        check(macro in dict(rows), API, 'the table lacks ' + macro)


def check_names(known, name):
    """Every name with our prefix exists; one that ends with _ begins some."""
    for word in sorted(set(NAME.findall(read(name)))):
        good = word in known or (word.endswith('_') and any(
            other.startswith(word) for other in known))
        check(good, name, 'no header has ' + word)


def explained(text):
    """The words that stand in headings and as code in the text of a page."""
    text = without_blocks(text)
    parts = re.findall(r'^#+ (.*)$', text, re.M)
    parts += re.findall(r'`([^`\n]+)`', text)
    return set(re.findall(r'\w+', ' '.join(parts)))


def exported(name):
    """The names that a module has in __all__."""
    found = []
    for node in ast.parse(read(name)).body:
        if isinstance(node, ast.Assign) and (
                getattr(node.targets[0], 'id', None) == '__all__'):
            found += ast.literal_eval(node.value)
    return found


def check_python_names():
    pages = below(PYTHON, '.md')
    words = set().union(*(explained(read(page)) for page in pages))
    names = 0
    for module in below(PACKAGE, '.py'):
        if re.match(r'_(?!_init)', os.path.basename(module)):
            continue
        for public in exported(module):
            names += 1
            check(public in words, PYTHON, '{} of {} is not explained'.format(
                public, module))
    check(names > 50, PACKAGE, '{} names'.format(names))
    index = read(PYTHON + '/index.md')
    for page in pages:
        base = os.path.basename(page)
        check(base == 'index.md' or '](' + base + ')' in index, PYTHON,
              'the index does not lead to ' + page)


# ---------------------------------------------------------------- programs

def compile_c(folder, label, code):
    source = os.path.join(folder, 'block.c')
    with open(source, 'w', encoding='utf-8') as file:
        file.write(code)
    libraries = TLS_LIBRARIES if '"degu_tls.h"' in code else []
    done = subprocess.run(
        CC + FLAGS + [source, '-o', source[:-2]] + libraries, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(done.returncode == 0, label + ' does not compile',
          done.stdout[:4000])
    return source[:-2] if done.returncode == 0 else None


def check_programs(folder, name):
    for (line, info, code) in blocks(read(name)):
        if info.split()[:1] != ['c'] or not re.search(r'\bmain\(', code):
            continue
        label = '{}:{}'.format(name, line)
        program = compile_c(folder, label, code)
        if program and 'run' in info.split():
            done = subprocess.run([program], timeout=60, text=True,
                                  stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            check(done.returncode == 0, label + ' fails', done.stdout[:4000])


# ------------------------------------------------------------------ errors

# The smallest input for each error that bytes from outside can cause: what
# reads it, and the text in the table.  No byte but one of a "..." run can be
# left out; a test of this program sees to that.
CASES = {
    'E_EMPTY_LINE': ('request', r'"\r\n"'),
    'E_LINE_END': ('request', r'"\n"'),
    'E_START_LINE': ('request', r'"a\r\n\r\n"'),
    'E_TARGET': ('request', r'"GET /#\r\n\r\n"'),
    'E_TARGET_FORM': ('request', r'"GET \r\n\r\n"'),
    'E_PERCENT': ('request', r'"GET /%\r\n\r\n"'),
    'E_PATH_EMPTY': ('request', r'"GET //\r\n\r\n"'),
    'E_PATH_DOTS': ('request', r'"GET /.\r\n\r\n"'),
    'E_PATH_ESCAPE': ('request', r'"GET /%2f\r\n\r\n"'),
    'E_STATUS': ('response', r'"HTTP/1.1 \r\n\r\n"'),
    'E_REASON': ('response', r'"HTTP/1.1 200 \x7f\r\n\r\n"'),
    'E_NAME': ('request', r'"GET / HTTP/1.1\r\n:\r\n\r\n"'),
    'E_VALUE': ('request', r'"GET / HTTP/1.1\r\na:\x7f\r\n\r\n"'),
    'E_FOLDED': ('request', r'"GET / HTTP/1.1\r\n \r\n\r\n"'),
    'E_COLON': ('request', r'"GET / HTTP/1.1\r\na\r\n\r\n"'),
    'E_REPEATED': ('request', r'"GET / HTTP/1.1\r\ndate:\r\ndate:\r\n\r\n"'),
    'E_LENGTH': ('request',
                 r'"PUT / HTTP/1.1\r\ncontent-length:\r\n\r\n"'),
    'E_LENGTH_AND_CODING': (
        'request', r'"PUT / HTTP/1.1\r\ncontent-length:0\r\n'
        r'transfer-encoding:chunked\r\n\r\n"'),
    'E_BODY_METHOD': ('request',
                      r'"GET / HTTP/1.1\r\ncontent-length:1\r\n\r\n"'),
    'E_RANGE_BODY': (
        'request',
        r'"PUT / HTTP/1.1\r\ncontent-length:1\r\nrange:\r\n\r\n"'),
    'E_RANGE_PLACE': ('request',
                      r'"GET / HTTP/1.1\r\ncontent-range:\r\n\r\n"'),
    'E_HOST': ('request', r'"GET / HTTP/1.1\r\nhost:/\r\n\r\n"'),
    'E_RANGE': ('range', r'""'),
    'E_CODING_SYNTAX': (
        'request', r'"PUT / HTTP/1.1\r\ntransfer-encoding:\r\n\r\n"'),
    'E_METHOD_SYNTAX': ('request', r'" \r\n\r\n"'),
    'E_CHUNK_SIZE': ('chunked', r'"\r\n"'),
    'E_CHUNK_EXTENSION': ('chunked', r'"0;\r\n"'),
    'E_CHUNK_END': ('chunked', r'"1\r\naa"'),
    'E_TRAILER': ('chunked', r'"0\r\ndate:\r\n\r\n"'),
    'E_PREAMBLE_SIZE': (
        'request', r'"a\r\n" + "a" * (DEGU_PREAMBLE_MAX - 3)'),
    'E_TARGET_SIZE': ('request', r'"a" * DEGU_PREAMBLE_MAX'),
    'E_HEADER_COUNT': (
        'request',
        r'"GET / HTTP/1.1\r\n" + "a:\r\n" * (DEGU_HEADER_MAX + 1) + "\r\n"'),
    'E_NAME_SIZE': (
        'request',
        r'"GET / HTTP/1.1\r\n" + "a" * (DEGU_NAME_MAX + 1) + "\r\n\r\n"'),
    'E_CHUNK_LINE_SIZE': ('chunked', r'"0" * DEGU_CHUNK_LINE_MAX'),
    'E_TRAILER_SIZE': ('chunked', r'"0\r\n" + "a" * DEGU_TRAILER_MAX'),
    'E_BODY_LIMIT': ('drain', r'"a" * 101'),
    'E_INTERIM_COUNT': (
        'response', r'"HTTP/1.1 100 \r\n\r\n" * (DEGU_INTERIM_MAX + 1)'),
    'E_METHOD': ('request', r'"a \r\n\r\n"'),
    'E_CODING': ('request',
                 r'"PUT / HTTP/1.1\r\ntransfer-encoding:a\r\n\r\n"'),
    'E_VERSION': ('request', r'"GET / HTTP/2.0\r\n\r\n"'),
    'E_EXPECT': ('request', r'"GET / HTTP/1.1\r\nexpect:\r\n\r\n"'),
    'E_INTERIM': ('response', r'"HTTP/1.1 101 \r\n\r\n"'),
    'E_CLOSED': ('request', r'""'),
    'E_TRUNCATED': ('request', r'"a"'),
}

# Reads "KIND HEX" lines and writes what comes of the bytes.
PROBE = r"""
#define DEGU_IMPLEMENTATION
#define DEGU_NO_SOCKETS
#include "degu.h"
#include <stdio.h>
#include <string.h>

static char input[1 << 17], data[1 << 16], in[DEGU_RECV_BUFFER],
    out[DEGU_SEND_BUFFER];
static size_t count, used;

static ptrdiff_t give(void *ctx, void *buf, size_t len, unsigned flags)
{
    size_t n = len < count - used ? len : count - used;
    (void)ctx;
    if (flags & DEGU_IO_PEEK)
        return DEGU_E_AGAIN;
    memcpy(buf, data + used, n);
    used += n;
    return (ptrdiff_t)n;
}

static ptrdiff_t take(void *ctx, const degu_str *pieces, size_t n, unsigned f)
{
    (void)ctx;
    (void)n;
    (void)f;
    return (ptrdiff_t)pieces->len;
}

static degu_err read_all(degu_conn *conn)
{
    char part[4096];
    size_t len;
    degu_err err;
    do
        err = degu_read_body(conn, part, sizeof part, &len);
    while (!err);
    return err == DEGU_END ? DEGU_OK : err;
}

static degu_err probe(const char *kind)
{
    degu_io io = {NULL, give, take};
    degu_request request;
    degu_response response;
    degu_range range;
    degu_conn conn;
    degu_err err;
    int server = !strcmp(kind, "request");
    if (!strcmp(kind, "range"))
        return degu_parse_range(degu_bytes(data, count), &range);
    degu_conn_init(&conn, server ? DEGU_SERVER : DEGU_CLIENT, io, in,
                   sizeof in, out, sizeof out);
    if (server)
        return degu_read_request(&conn, &request);
    if (!strcmp(kind, "response")) {
        err = degu_send_request(&conn, DEGU_GET, degu_string("/"), NULL, 0,
                                degu_no_body());
        return err ? err : degu_read_response(&conn, &response);
    }
    err = degu_expect_body(
        &conn, strcmp(kind, "drain") ? DEGU_CHUNKED : DEGU_LENGTH, 200);
    if (!err && !strcmp(kind, "drain"))
        return degu_drain_body(&conn, 100);
    return err ? err : read_all(&conn);
}

int main(void)
{
    while (fgets(input, sizeof input, stdin)) {
        char *hex = strchr(input, ' ');
        unsigned byte;
        *hex++ = '\0';
        for (count = 0; sscanf(hex + 2 * count, "%2x", &byte) == 1; count++)
            data[count] = (char)byte;
        used = 0;
        puts(degu_err_name(probe(input)));
    }
    return 0;
}
"""


def case_bytes(header, expression):
    names = {name: int(header.default(name)) for name in
             set(NAME.findall(expression))}
    return eval(expression, names).encode('latin-1')


def shorter(data):
    """The same without one byte; of long ones only at the ends."""
    places = range(len(data)) if len(data) <= 200 else (0, len(data) - 1)
    return [data[:at] + data[at + 1:] for at in places]


def check_cases(folder, header):
    program = compile_c(folder, 'the probe', PROBE)
    if not program:
        return
    known = {error[0]: error for error in header.errors}
    jobs = []
    for (name, (kind, expression)) in CASES.items():
        check(name in known, 'CASES', 'no error ' + name)
        data = case_bytes(header, expression)
        jobs.append((name, kind, data, True))
        jobs += [(name, kind, less, False) for less in shorter(data)]
    done = subprocess.run(
        [program], text=True, stdout=subprocess.PIPE, timeout=60,
        input=''.join('{} {}\n'.format(kind, data.hex()) for
                      (_, kind, data, _) in jobs))
    got = done.stdout.split()
    check(len(got) == len(jobs), 'the probe ended early')
    for ((name, _, data, whole), came) in zip(jobs, got):
        check((came == name) == whole, name, '{} gives {}'.format(
            data[:80], came))


ERRORS_TEXT = """\
<!-- Written by tests/doc/check_docs.py --write; do not edit. -->
# Errors

Every outcome there is, in the order of the list `DEGU_ERRORS` in `degu.h`,
from which this page is made. The numbers are permanent. In C the names begin
with `DEGU_`; `degu_err_name()`, `degu_strerror()` and `degu_err_status()` give
name, sentence and status of a number. In Python they are `code`, the text and
`status` of an exception ([Python](python/base.md#exceptions)).

*Status* is what a server answers with when a peer causes the error, or when a
handler does; 0 means that nothing is answered. The same error on output means
that this end asked to send what no reader may accept.

*Smallest input* is the shortest text that causes the error, where bytes from
the other end can: a request's head (no mark), a response to GET (R), a chunked
body (C), a body of 200 bytes of which 100 may be drained (D), or a value for
`degu_parse_range()` (V). Not one byte of it can be left out. `E_CHUNK_LIMIT` is
given by the Python package alone, which reads a chunk as a whole.

| number | name | status | sentence | smallest input |
|---:|---|---:|---|---|
"""
MARKS = {'request': '', 'response': 'R: ', 'chunked': 'C: ', 'drain': 'D: ',
         'range': 'V: '}


def errors_page(header):
    text = ERRORS_TEXT
    for (name, number, status, sentence) in header.errors:
        (kind, expression) = CASES.get(name, ('request', ''))
        text += '| {} | `{}` | {} | {} | {} |\n'.format(
            number, name, status, sentence.replace('%', '&#37;'),
            MARKS[kind] + '`' + expression + '`' if expression else '')
    return text


# ----------------------------------------------------------------- writing

def render(declaration):
    """A declaration as it is shown: a type as it stands in the header, a
    function in as few lines as fit."""
    if '{' in declaration:
        return declaration.strip()
    flat = re.sub(r'\b(DEGU_API|DEGU_NODISCARD)\b', ' ', declaration)
    flat = re.sub(r'\s+', ' ', without_comments(flat)).strip()
    if len(flat) <= 80:
        return flat
    indent = flat.index('(') + 1
    if indent > 40:
        indent = 4
    flat = re.sub('(?<!,) ', '\0', flat)  # lines end behind commas only
    return textwrap.fill(flat, 80, subsequent_indent=' ' * indent,
                         break_long_words=False,
                         break_on_hyphens=False).replace('\0', ' ')


def renew_block(header, code):
    lines = []
    for declaration in declarations(code):
        real = header.declared.get(declared_name(declaration))
        opaque = declaration.lstrip().startswith('typedef') and (
            '{' not in declaration)
        if real is None or (opaque and '{' in real):
            lines.append(declaration.strip())
        else:
            lines.append(render(without_lead(real)))
    return '\n'.join(lines) + '\n'


def without_lead(declaration):
    """Without the comments in front."""
    return re.sub(r'\A(\s*/\*.*?\*/)*\s*', '', declaration, flags=re.S)


def renew(header):
    def one(found):
        return '```h\n' + renew_block(header, found[1]) + '```\n'

    write(header.page, re.sub(r'^```h\n(.*?)^```\n', one, read(header.page),
                              flags=re.S | re.M))


def main(arguments):
    header = Header('degu.h', 'DEGU_H', API)
    tls = Header('degu_tls.h', 'DEGU_TLS_H', TLS_API)
    check(len(header.declared) > 100 and len(header.errors) > 70, 'degu.h',
          '{} declarations, {} errors'.format(len(header.declared),
                                              len(header.errors)))
    check(len(tls.declared) > 15 and len(tls.constants) > 5, 'degu_tls.h',
          '{} declarations, {} constants'.format(len(tls.declared),
                                                 len(tls.constants)))
    if '--write' in arguments:
        renew(header)
        renew(tls)
        write(ERRORS, errors_page(header))
    check_api(header)
    check_api(tls)
    check_macros(header)
    check_python_names()
    check(read(ERRORS) == errors_page(header), ERRORS,
          'stale; run check_docs.py --write')
    with tempfile.TemporaryDirectory(prefix='degu-doc.') as folder:
        check_cases(folder, header)
        for name in documents():
            check_names(header.names | tls.names, name)
            check_links(name)
            check_programs(folder, name)
    print('{} passed, {} failed'.format(Totals.passed, Totals.failed))
    return 1 if Totals.failed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
