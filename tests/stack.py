# SPDX-License-Identifier: MIT OR 0BSD
"""The stack that layers 1 to 6 need: a table by function, and the deepest call.

    stack.py DIRECTORY      for the objects; GCC is taken from the environment

Fails if a function's frame is larger than FRAME or of a size that is known
only when it is called, if the deepest path needs more than PATH, and if a
function calls itself, by whatever way: then there would be no deepest one.
A call through degu_body.send counts as one of each function that may be there.
What callbacks need, those of io and of bodies, is the program's and comes on
top.  (dynamic,bounded: arguments are pushed, no more than the bytes shown.)
"""

import os
import re
import shlex
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LEVELS = ('-O2', '-Os')
FRAME = 512   # bytes
PATH = 1536
NODE = re.compile(r'node: { title: "([^"]+)" label: "[^"]*'
                  r'\\n(\d+) bytes \(([a-z,]+)\)')
EDGE = re.compile(r'edge: { sourcename: "([^"]+)" targetname: "([^"]+)"')
# The functions that degu_body.send points to, and where they are called.
SENDER = 'degu_priv_send_content'
SENT = ('degu_priv_send_bytes', 'degu_priv_send_pull', 'degu_priv_send_push',
        'degu_priv_send_chunks', 'degu_priv_relay')


class Graph:
    """What the compiler says about one object; kept are the names of the
    functions that a linker leaves of it, if not all."""

    def __init__(self, text, kept=None):
        self.frames = {name: (int(size), kind)
                       for (name, size, kind) in NODE.findall(text)}
        self.calls = {}
        for (caller, callee) in EDGE.findall(text):
            if callee in self.frames:  # not what another object has
                self.calls.setdefault(caller, set()).add(callee)
        full = {short(name): name for name in self.frames}
        lost = [name for name in (SENDER, *SENT) if name not in full]
        if lost:
            raise SystemExit('not there as a function: ' + ' '.join(lost))
        self.calls[full[SENDER]].update(
            full[name] for name in SENT if kept is None or name in kept)
        self.deepest = {}

    def depth(self, name, above=()):
        """(bytes, path) of the deepest call from here."""
        if name in above:
            raise SystemExit('it calls itself: ' + ' '.join(
                map(short, (*above, name))))
        if name not in self.deepest:
            below = [self.depth(callee, (*above, name))
                     for callee in sorted(self.calls.get(name, ()))]
            (size, path) = max(below, default=(0, ()))
            self.deepest[name] = (self.frames[name][0] + size, (name, *path))
        return self.deepest[name]

    def worst(self):
        return max(map(self.depth, self.frames))


def short(name):
    """Without the file, which stands in front of what is static."""
    return name.rsplit(':', 1)[-1]


def compile_core(directory, level, more=()):
    base = os.path.join(directory, 'core' + level)
    with open(base + '.c', 'w') as file:
        file.write('#define DEGU_IMPLEMENTATION\n#include "degu.h"\n')
    subprocess.run(shlex.split(os.environ.get('GCC', 'gcc')) + [
        '-std=c99', level, '-ffreestanding', '-DDEGU_NO_SOCKETS',
        '-fcallgraph-info=su', *more, '-I' + ROOT, '-c', base + '.c', '-o',
        base + '.o'], check=True)
    with open(base + '.ci') as file:
        return Graph(file.read())


def show(graphs):
    """A line for each function, by the largest first; inlined ones have none
    of their own."""
    names = {name for graph in graphs for name in map(short, graph.frames)}
    rows = []
    for name in names:
        found = [next((frame for (full, frame) in graph.frames.items()
                       if short(full) == name), None) for graph in graphs]
        rows.append((-max(frame[0] for frame in found if frame), name, found))
    print('{:32}'.format('bytes of stack') + ''.join(
        '{:>22}'.format('gcc ' + level) for level in LEVELS))
    for (_, name, found) in sorted(rows):
        print('{:32}'.format(name) + ''.join(
            '{:>22}'.format('{} {}'.format(*frame) if frame else '-')
            for frame in found))


def main(directory):
    os.makedirs(directory, exist_ok=True)
    graphs = [compile_core(directory, level) for level in LEVELS]
    show(graphs)
    (passed, failed) = (0, [])
    for (level, graph) in zip(LEVELS, graphs):
        for (name, (size, kind)) in graph.frames.items():
            if size > FRAME or kind == 'dynamic':
                failed.append('{} at {}: {} bytes, {}'.format(
                    short(name), level, size, kind))
            else:
                passed += 1
        (size, path) = graph.worst()
        print('deepest at {}: {} bytes in {}'.format(
            level, size, ' > '.join(map(short, path))))
        if size > PATH:
            failed.append('deepest at {}: more than {}'.format(level, PATH))
        else:
            passed += 1
    print('\n'.join(failed))
    print('{} passed, {} failed'.format(passed, len(failed)))
    return 1 if failed or not passed else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
