# SPDX-License-Identifier: MIT OR 0BSD
"""Compiles the extension for the Python that runs this, without its packages.

    build_extension.py DIRECTORY [FLAG...]

puts it into DIRECTORY if it is older than its sources.  CC, CFLAGS and LDFLAGS
come from the environment; the flags given are added to both.
"""

import os
import shlex
import subprocess
import sys
import sysconfig

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def sources():
    folder = os.path.join(ROOT, 'py', 'src')
    return sorted(os.path.join(folder, name) for name in os.listdir(folder)
                  if name.endswith(('.c', '.h')))


def build(directory, flags=()):
    target = os.path.join(
        directory, '_degu' + sysconfig.get_config_var('EXT_SUFFIX'))
    include = sysconfig.get_path('include')
    if not os.path.exists(os.path.join(include, 'Python.h')):
        raise SystemExit('{} has no Python.h (Debian: python3-dev)'.format(
            sys.executable))
    files = sources() + [os.path.join(ROOT, 'degu.h')]
    newest = max(os.path.getmtime(name) for name in files)
    if os.path.exists(target) and os.path.getmtime(target) > newest:
        return target
    command = shlex.split(os.environ.get('CC', 'cc'))
    command += shlex.split(os.environ.get('CFLAGS', '-O3'))
    command += ['-fPIC', '-fno-plt', '-shared', '-fvisibility=hidden',
                '-pthread', '-I' + ROOT, '-I' + include, *flags]
    command += [name for name in files if name.endswith('.c')]
    command += shlex.split(os.environ.get('LDFLAGS', ''))
    # The old one may be mapped into a running process: never written over.
    command += ['-o', target + '.new']
    print(shlex.join(command), flush=True)
    if subprocess.run(command).returncode:
        raise SystemExit(1)
    os.replace(target + '.new', target)
    return target


if __name__ == '__main__':
    build(sys.argv[1], sys.argv[2:])
